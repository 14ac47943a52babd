//! Requests that no client should send, made of good ones.

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use super::Random;
use crate::idp::{b64, now};
use crate::{Alg, Idp, Key, Request};

/// What mutants are made of.
#[derive(Debug)]
pub struct Stock {
    good: Vec<String>,
    own_key: Key,
    known: Vec<Key>,
}

impl Stock {
    /// Of the tokens and keys of a provider.
    pub fn new(idp: &Idp) -> Self {
        let good = [Alg::RS256, Alg::RS256, Alg::ES256].map(|alg| {
            let minted =
                idp.mint().alg(alg).claim("scope", "a").claim("realm", json!({ "groups": ["x", "y"] }));
            minted.expires_in(24 * 3600).sign()
        });
        Self { good: good.to_vec(), own_key: Key::cached(Alg::ES256, "another"), known: idp.keys() }
    }

    /// The tokens that are good.
    pub fn good(&self) -> &[String] {
        &self.good
    }

    /// One request, mutated in one to three ways; a few stay as they are.
    pub fn request(&self, random: &mut Random) -> Request {
        let good = &self.good[random.below(self.good.len())];
        let mut method = "GET".to_owned();
        let mut path =
            if random.below(4) == 0 { "/tenants/acme/orders".to_owned() } else { "/orders/7".to_owned() };
        let mut credentials = Some(format!("Bearer {good}"));
        let mut fields: Vec<(Vec<u8>, Vec<u8>)> = Vec::new();
        let mut body = None;
        if random.below(20) != 0 {
            for _ in 0..1 + random.below(3) {
                match random.below(10) {
                    0..=4 => credentials = Some(format!("Bearer {}", self.token(good, random))),
                    5 => credentials = self.credentials(good, random),
                    6 | 7 => path = self::path(random),
                    8 => fields.extend(self.fields(good, random)),
                    _ => {
                        let methods = [
                            "POST", "HEAD", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE", "CONNECT", "get",
                            "X-Y",
                        ];
                        random.pick(&methods).clone_into(&mut method);
                        body = Some(vec![b'x'; random.below(2000)]);
                    }
                }
            }
        }
        let mut request = Request::new(method, path);
        if let Some(credentials) = credentials {
            request = request.header("authorization", credentials);
        }
        for (name, value) in fields {
            request = request.header(name, value);
        }
        match body {
            Some(body) if random.below(3) == 0 => request.body(body).trailer("x-user", "mallory"),
            Some(body) => request.body(body),
            None => request,
        }
    }

    /// A token that is not the good one.
    fn token(&self, good: &str, random: &mut Random) -> String {
        let bent = match random.below(8) {
            0..=2 => self::letters(good, random),
            3 => self.parts(good, random),
            4 => self.structure(good, random),
            5 | 6 => self.forged(good, random),
            _ => {
                let [header, mut payload, signature] = parts(good);
                let at = random.below(payload.len());
                payload[at] ^= 1 << random.below(8);
                joined(header, payload, signature)
            }
        };
        // A mutation of nothing leaves a good token, which is no mutant.
        if self.good.contains(&bent) { "x".to_owned() } else { bent }
    }

    /// The three parts in another order, more of them, fewer, mixed with another token's.
    fn parts(&self, good: &str, random: &mut Random) -> String {
        let other = &self.good[random.below(self.good.len())];
        let pool: Vec<&str> =
            good.split('.').chain(other.split('.')).chain(["", "e30", "=", "eyJhbGciOiJub25lIn0"]).collect();
        let count = random.below(7);
        (0..count).map(|_| pool[random.below(pool.len())]).collect::<Vec<_>>().join(".")
    }

    /// JSON that is put together from bad parts, under the good signature or none.
    fn structure(&self, good: &str, random: &mut Random) -> String {
        let [header, payload, signature] = parts(good);
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("JSON");
        let (header, payload) = (odd_json(&text(header), random), odd_json(&text(payload), random));
        let signature = if random.below(3) == 0 { Vec::new() } else { signature };
        joined(header, payload, signature)
    }

    /// Signed by someone else, with claims and header parameters to their liking.
    fn forged(&self, good: &str, random: &mut Random) -> String {
        let [_, payload, _] = parts(good);
        let claims: Value = serde_json::from_slice(&payload).expect("claims");
        let known = &self.known[random.below(self.known.len())];
        let kid = match random.below(4) {
            0 => json!(known.kid()),
            1 => json!(format!("made-up-{}", random.below(1000))),
            2 => odd_value(random),
            _ => Value::Null,
        };
        let mut header = json!({ "alg": "ES256", "typ": "JWT" });
        if !kid.is_null() {
            header["kid"] = kid;
        }
        if random.below(2) == 0 {
            let names = ["alg", "typ", "kid", "crit", "jwk", "jku", "x5c", "b64", "zip", "enc", "cty"];
            header[random.pick(&names)] = odd_value(random);
        }
        let mut claims = claims;
        if random.below(2) == 0 {
            let names = ["exp", "nbf", "iat", "aud", "iss", "sub", "scope", "scp", "jti", "cnf", "realm"];
            claims[random.pick(&names)] = odd_value(random);
        }
        self.own_key.sign_jws(&header, claims.to_string().as_bytes())
    }

    /// Something else in Authorization than a Bearer token.
    fn credentials(&self, good: &str, random: &mut Random) -> Option<String> {
        let bad = self.token(good, random);
        Some(match random.below(12) {
            0 => return None,
            1 => String::new(),
            2 => "Bearer".to_owned(),
            3 => format!("Basic {good}"),
            4 => format!("Bearer{good}"),
            5 => format!("Bearer\t{good}"),
            6 => format!("Bearer {good},Bearer {bad}"),
            7 => format!("Bearer {good} {bad}"),
            8 => format!("Bearer \"{good}\""),
            9 => format!("Bearer token={good}"),
            10 => format!("BEARER   {bad}"),
            _ => format!("DPoP {good}"),
        })
    }

    /// Header fields that should do nothing, or be refused.
    fn fields(&self, good: &str, random: &mut Random) -> Vec<(Vec<u8>, Vec<u8>)> {
        let names = [
            "x-user",
            "X-User",
            "x_user",
            "X_USER",
            "x-groups",
            "x_groups",
            "x-jwt-payload",
            "authorization",
            "proxy-authorization",
            "cookie",
            "x-http-method-override",
            "x-original-url",
            "x-envoy-original-path",
            "x-forwarded-for",
            "x-forwarded-proto",
            "content-type",
            "te",
            "accept",
            "x-y",
            "connection",
            "x-wasm",
        ];
        let values: [&[u8]; 12] = [
            b"mallory",
            b"",
            b"\xff\xfe\x80",
            b"\xc3\xa9",
            b"a,b,c",
            b"application/grpc",
            b"application/grpc+proto;x",
            b"GET",
            b"/public",
            b"x-user",
            b"Bearer x",
            b"{\"a\":[]}",
        ];
        let count = if random.below(20) == 0 { 90 } else { 1 + random.below(4) };
        (0..count)
            .map(|_| {
                let value = match random.below(8) {
                    0 => format!("Bearer {}", self.token(good, random)).into_bytes(),
                    1 => vec![b'v'; random.below(3000)],
                    // Bytes that HTTP allows in a value, text or not.
                    2 => (0..random.below(40)).map(|_| random.byte() | 0x80).collect(),
                    _ => random.pick(&values).to_vec(),
                };
                (random.pick(&names).as_bytes().to_vec(), value)
            })
            .collect()
    }
}

/// The bytes of a token's three parts.
fn parts(token: &str) -> [Vec<u8>; 3] {
    let decode = |part: &str| BASE64_URL_SAFE_NO_PAD.decode(part).expect("base64url");
    let parts: Vec<Vec<u8>> = token.split('.').map(decode).collect();
    parts.try_into().expect("three parts")
}

/// A token of these parts.
fn joined(header: impl AsRef<[u8]>, payload: impl AsRef<[u8]>, signature: impl AsRef<[u8]>) -> String {
    format!("{}.{}.{}", b64(header), b64(payload), b64(signature))
}

/// Bytes changed, taken out, put in, repeated, cut off.
pub fn bent(mut bytes: Vec<u8>, random: &mut Random) -> Vec<u8> {
    const ODD: [&[u8]; 12] = [
        b"\0",
        b"\r\n",
        b"\r",
        b"\n",
        b"\xff\xfe",
        b": ",
        b"\t",
        b"%00",
        b"\r\n\r\n",
        b"Transfer-Encoding: chunked\r\n",
        b"Content-Length: 5\r\n",
        b"GET /admin HTTP/1.1\r\nhost: a\r\n\r\n",
    ];
    for _ in 0..1 + random.below(4) {
        if bytes.is_empty() {
            return bytes;
        }
        let at = random.below(bytes.len());
        let length = 1 + random.below(40.min(bytes.len() - at));
        match random.below(6) {
            0 => bytes[at] ^= 1 << random.below(8),
            1 => bytes[at] = random.byte(),
            2 => drop(bytes.drain(at..at + length)),
            3 => drop(bytes.splice(at..at, random.pick(&ODD).iter().copied())),
            4 => {
                let again = bytes[at..at + length].to_vec();
                drop(bytes.splice(at..at, again));
            }
            _ => bytes.truncate(at),
        }
    }
    bytes
}

/// Letters of the token changed, taken out, put in.
fn letters(good: &str, random: &mut Random) -> String {
    const LETTERS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.=+/%~\"";
    let mut bytes = good.as_bytes().to_vec();
    for _ in 0..1 + random.below(3) {
        if bytes.is_empty() {
            break;
        }
        let at = random.below(bytes.len());
        let letter = LETTERS[random.below(LETTERS.len())];
        match random.below(5) {
            0 | 1 => bytes[at] = letter,
            2 => bytes.insert(at, letter),
            3 => drop(bytes.remove(at)),
            _ => bytes.truncate(at),
        }
    }
    String::from_utf8(bytes).expect("ASCII")
}

/// JSON text changed so that it may be JSON no more.
fn odd_json(text: &str, random: &mut Random) -> Vec<u8> {
    let mut bytes = text.as_bytes().to_vec();
    let deep = 1 + random.below(3000);
    match random.below(12) {
        0 => bytes = format!("{}{}", "[".repeat(deep), "]".repeat(deep)).into_bytes(),
        1 => bytes = format!("{{\"a\":{}{}}}", "{\"a\":".repeat(deep), "}".repeat(deep)).into_bytes(),
        2 => bytes = "[".repeat(deep).into_bytes(),
        3 => bytes = Vec::new(),
        4 => bytes = b"null".to_vec(),
        5 => bytes = (0..random.below(200)).map(|_| random.byte()).collect(),
        6 => {
            bytes = text
                .replacen(
                    ':',
                    random.pick(&[
                        "::",
                        ":1e99999,\"x\":",
                        ":\"\\ud800\",\"x\":",
                        ":NaN,\"x\":",
                        ":0x1,\"x\":",
                    ]),
                    1,
                )
                .into_bytes()
        }
        7 => {
            bytes =
                text.replacen('{', &format!("{{\"exp\":{},", "9".repeat(random.below(400))), 1).into_bytes()
        }
        8 => {
            bytes = text
                .replacen('"', random.pick(&["\"\\u0000", "\"\\u", "\"\\x", "'", "\"\u{202e}"]), 1)
                .into_bytes()
        }
        9 => bytes.truncate(random.below(bytes.len().max(1))),
        10 => bytes.extend_from_slice(text.as_bytes()),
        _ => {
            let at = random.below(bytes.len());
            bytes[at] = random.byte();
        }
    }
    // Room for the other part below the largest token that is read.
    bytes.truncate(5000);
    bytes
}

/// A value of any type.
fn odd_value(random: &mut Random) -> Value {
    let numbers = [0.0, -0.0, -1.0, 1e308, 5e-324, 9_007_199_254_740_993.0, 1.5];
    match random.below(14) {
        0 => Value::Null,
        1 => json!(true),
        2 => json!(numbers[random.below(numbers.len())]),
        3 => json!(u64::MAX),
        4 => json!(i64::MIN),
        5 => json!(now() + 60),
        6 => json!(""),
        7 => json!("x".repeat(random.below(3000))),
        8 => json!("../../../dev/null\0\r\n%s'\"--<script>${jndi:ldap://x}"),
        9 => json!([]),
        10 => json!({}),
        11 => json!(["a", 1, null, ["b"], { "c": [] }]),
        12 => json!("none"),
        _ => json!(b64(random.word().to_le_bytes())),
    }
}

/// A segment that is long.
const LONG: &str = const {
    const LETTERS: [u8; 2000] = [b'x'; 2000];
    match std::str::from_utf8(&LETTERS) {
        Ok(text) => text,
        Err(_) => "x",
    }
};

/// A path that is put together from bad parts, often from the public one.
fn path(random: &mut Random) -> String {
    let pieces = [
        "/",
        "/",
        "/",
        "..",
        ".",
        "%2e",
        "%2E%2e",
        "%2f",
        "%5C",
        "\\",
        ";",
        "..;",
        ";a=b",
        "a",
        "orders",
        "public",
        "admin",
        "%70ublic",
        "tenants",
        "?",
        "%3f",
        "%23",
        "%25",
        "%252e",
        "%00",
        "%",
        "%zz",
        "%c0%af",
        "%c3%a9",
        "é",
        "~",
        "=",
        "&",
        "*",
        "{x}",
        "//",
        "%e2%80%ae",
        "\u{ff0f}",
        LONG,
    ];
    let start = random.pick(&[
        "/",
        "/public",
        "/public/",
        "/public?",
        "/tenants/acme/",
        "",
        "http://gateway.test/",
        "*",
        "/orders",
    ]);
    let count = random.below(6);
    let tail: String = (0..count).map(|_| random.pick(&pieces)).collect();
    format!("{start}{tail}")
}
