//! A hundred thousand requests that no client should send: none traps the filter, and none gets in without a good
//! token. `PORTCULLIS_MUTANTS` sets their number, `PORTCULLIS_SEED` repeats a run.

use crate::common;

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use common::{Gateway, Random, SOON, config, corp, parts, provider, with};
use harness::idp::{b64, now};
use harness::wait::poll;
use harness::{Alg, Connection, Key, Record, Request};
use serde_json::{Value, json};

/// How many threads send.
const SENDERS: usize = 4;
/// How many connections each of them keeps open, with one request on each: Envoy takes three that wait for their
/// answers on one connection for an attack.
const CONNECTIONS: usize = 16;
/// The one path that needs no token.
const PUBLIC: &str = "/public";

/// A number from the environment.
fn number(variable: &str, default: u64) -> u64 {
    match std::env::var(variable) {
        Ok(text) => text.parse().unwrap_or_else(|error| panic!("{variable}={text}: {error}")),
        Err(_) => default,
    }
}

fn seed() -> u64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("a clock after 1970");
    number("PORTCULLIS_SEED", u64::from(now.subsec_nanos()) ^ now.as_secs())
}

#[test]
fn no_mutated_request_traps_the_filter_or_gets_in() {
    let count = usize::try_from(number("PORTCULLIS_MUTANTS", 100_000)).expect("a number");
    let seed = seed();
    println!("{count} mutants; PORTCULLIS_SEED={seed} repeats them");
    eprintln!("{count} mutants; PORTCULLIS_SEED={seed} repeats them");

    let gateway = Gateway::start_with(
        |idp| {
            let mut corp_provider = with(
                provider(idp),
                json!({
                    // The upstream shall see what it was that got in.
                    "forward": true,
                    "forward_payload_header": "x-jwt-payload",
                    "claim_to_headers": [
                        { "header_name": "x-user", "claim_name": "sub" },
                        { "header_name": "x-groups", "claim_name": "realm.groups", "list_format": "repeat" },
                    ],
                }),
            );
            // Made-up kids wait for a fetch now and then.
            corp_provider["remote_jwks"]["unknown_kid_cooldown"] = json!("1s");
            config(
                corp_provider,
                json!([
                    { "match": { "path": PUBLIC } },
                    { "match": { "path_template": "/tenants/{tenant}/**" }, "requires": corp(),
                      "authorize": { "scopes": { "any_of": ["a", "b"] } } },
                    { "match": { "prefix": "/" }, "requires": corp() },
                ]),
            )
        },
        |builder| {
            builder.concurrency(2).log_level("warning", "wasm:warning").main(|listener| {
                listener
                    .access_log(json!({ "details": "%RESPONSE_CODE_DETAILS%", "status": "%RESPONSE_CODE%" }))
            })
        },
    );
    let addr = gateway.addr();
    let stock = Stock::new(&gateway);
    assert_eq!(Request::get("/").bearer(&stock.good[0]).send(addr).status, 200, "the good token is good");

    let (next, done) = (AtomicUsize::new(0), AtomicBool::new(false));
    let mut strays = Vec::new();
    let mut seen = 0;
    thread::scope(|scope| {
        let senders: Vec<_> = (0..SENDERS)
            .map(|_| {
                let (gateway, stock, next) = (&gateway, &stock, &next);
                scope.spawn(move || send(gateway, stock, next, count, seed))
            })
            .collect();
        let watcher = scope.spawn(|| {
            let (mut strays, mut seen) = (Vec::new(), 0);
            loop {
                let last = done.load(Ordering::Acquire);
                let records = gateway.upstream.take();
                seen += records.len();
                strays.extend(records.iter().filter_map(|record| stock.stray(record)));
                if last {
                    return (strays, seen);
                }
                thread::sleep(Duration::from_millis(20));
            }
        });
        let sent = senders.into_iter().map(|sender| sender.join()).collect::<Result<Vec<()>, _>>();
        // Nothing may still be on its way to the upstream when it is looked at for the last time.
        let ended = poll(SOON, || (gateway.envoy.stat("http.main.downstream_rq_active") == 0).then_some(()));
        done.store(true, Ordering::Release);
        (strays, seen) = watcher.join().expect("the watcher");
        assert!(sent.is_ok(), "seed {seed}: a sender gave up");
        assert!(ended.is_some(), "seed {seed}: a request never ended");
    });

    strays.truncate(20);
    assert!(strays.is_empty(), "seed {seed}: got in:\n{}", strays.join("\n"));
    assert_eq!(seen, gateway.upstream.count(), "every request at the upstream was looked at");

    // Envoy is there and both workers decide as before.
    let answers = harness::burst(addr, 40, |number| {
        let request = Request::get("/after");
        if number % 2 == 0 { request.bearer(&stock.good[number % stock.good.len()]) } else { request }
    });
    for (number, answer) in answers.iter().enumerate() {
        assert_eq!(answer.status, if number % 2 == 0 { 200 } else { 401 }, "seed {seed}: {}", answer.text());
    }
    let tally = tally(&gateway, seed);
    for (details, count) in &tally {
        println!("{count:>8} {details}");
    }
    let reasons = tally.keys().filter(|details| details.starts_with("portcullis_")).count();
    let total: usize = tally.values().sum();
    if count >= 10_000 {
        assert!(reasons >= 10, "seed {seed}: only {reasons} kinds of refusal: {tally:?}");
        assert!(seen > count / 50, "seed {seed}: only {seen} of {count} got in: too few are any good");
        assert!(total > count / 2, "seed {seed}: only {total} of {count} were requests");
    }
    gateway.assert_sound();
}

/// How often each detail stands in the access log.
fn tally(gateway: &Gateway, seed: u64) -> BTreeMap<String, usize> {
    let mut tally = BTreeMap::new();
    for line in gateway.envoy.access_log() {
        let details = line["details"].as_str().unwrap_or("none").to_owned();
        assert!(!details.contains("wasm"), "seed {seed}: {line}");
        // Without a host or a provider that fails there is no reason for a 503.
        // A made-up key id could be new; nothing else makes the gate give up.
        let could_be_new = line["details"] == "portcullis_keys_unavailable";
        assert!(could_be_new || line["status"] != 503, "seed {seed}: {line}");
        assert!(could_be_new || line["status"] != "503", "seed {seed}: {line}");
        *tally.entry(details).or_default() += 1;
    }
    tally
}

/// Sends its share of the mutants.
fn send(gateway: &Gateway, stock: &Stock, next: &AtomicUsize, count: usize, seed: u64) {
    let addr = gateway.addr();
    let mut connections: Vec<Option<Connection>> = (0..CONNECTIONS).map(|_| None).collect();
    loop {
        let first = next.fetch_add(CONNECTIONS, Ordering::Relaxed);
        if first >= count {
            return;
        }
        let mut sent = Vec::with_capacity(CONNECTIONS);
        for (index, kept) in (first..count).zip(&mut connections) {
            // A mutant depends on the seed and its number alone, not on who sends it.
            let mut random = Random(seed ^ u64::try_from(index).expect("64 bits").wrapping_mul(0x9e37_79b9));
            let bytes = stock.request(&mut random).to_bytes();
            if random.below(8) == 0 {
                raw(addr, &bent(bytes, &mut random));
                continue;
            }
            let mut open = kept.take().unwrap_or_else(|| Connection::open(addr).expect("a connection"));
            // What cannot be written any more was answered before its end.
            let _ = open.write_raw(&bytes);
            sent.push((open, bytes, kept));
        }
        for (mut open, bytes, kept) in sent {
            match open.read(bytes.starts_with(b"HEAD "), Instant::now() + SOON) {
                Ok(response) if response.header("connection").is_some_and(|value| value == "close") => {}
                Ok(_) => *kept = Some(open),
                Err(error) => {
                    let late = error.kind() == std::io::ErrorKind::TimedOut;
                    let request = String::from_utf8_lossy(&bytes);
                    assert!(!late, "no answer to {request:?}; {}", on_the_way(gateway));
                }
            }
        }
    }
}

/// Where a request is that has no answer: in Envoy, at the upstream, or at the provider of keys.
fn on_the_way(gateway: &Gateway) -> String {
    let stats = [
        "http.main.downstream_rq_active",
        "cluster.upstream.upstream_rq_active",
        "cluster.upstream.upstream_rq_pending_active",
        "cluster.idp.upstream_rq_active",
    ];
    stats.map(|name| format!("{name} {}", gateway.envoy.stat(name))).join(", ")
}

/// Sends any bytes on a connection of their own, and reads until it ends.
fn raw(addr: SocketAddr, bytes: &[u8]) {
    let mut stream = TcpStream::connect(addr).expect("a connection");
    stream.set_read_timeout(Some(SOON)).expect("a timeout");
    // Envoy may close before it has read everything.
    let _ = stream.write_all(bytes).and_then(|()| stream.shutdown(Shutdown::Write));
    let mut answer = [0; 4096];
    loop {
        match stream.read(&mut answer) {
            Ok(0) => return,
            Ok(_) => {}
            Err(error) => {
                let late =
                    matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut);
                assert!(!late, "no end of the answer to {:?}", String::from_utf8_lossy(bytes));
                return;
            }
        }
    }
}

/// Bytes changed, taken out, put in, repeated, cut off.
fn bent(mut bytes: Vec<u8>, random: &mut Random) -> Vec<u8> {
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

/// What mutants are made of.
struct Stock {
    good: Vec<String>,
    own_key: Key,
    known: Vec<Key>,
}

impl Stock {
    fn new(gateway: &Gateway) -> Self {
        let idp = &gateway.idp;
        let good = [Alg::RS256, Alg::RS256, Alg::ES256].map(|alg| {
            let minted =
                idp.mint().alg(alg).claim("scope", "a").claim("realm", json!({ "groups": ["x", "y"] }));
            minted.expires_in(3600).sign()
        });
        let own_key = Key::cached(Alg::ES256, "another");
        Self { good: good.to_vec(), own_key, known: idp.keys() }
    }

    /// One request, mutated in one to three ways; a few stay as they are.
    fn request(&self, random: &mut Random) -> Request {
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
                common::joined(header, payload, signature)
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
        common::joined(header, payload, signature)
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

    /// What is wrong with a request that has reached the upstream.
    fn stray(&self, record: &Record) -> Option<String> {
        let wrong = |what: &str| {
            let fields: Vec<_> = record
                .headers
                .iter()
                .map(|(name, value)| format!("{name}: {}", String::from_utf8_lossy(value)))
                .collect();
            Some(format!("{what}: {} {:?} {fields:?}", record.method, record.path()))
        };
        if record.malformed {
            return wrong("no HTTP");
        }
        let named = |name: &str| {
            let fields = record.headers.iter().chain(&record.trailers);
            let same = fields.filter(|(known, _)| known.to_lowercase().replace('_', "-") == name);
            same.map(|(_, value)| String::from_utf8_lossy(value).into_owned()).collect::<Vec<_>>()
        };
        let users = named("x-user");
        let credentials = record.headers_named("authorization");
        let token = match credentials.as_slice() {
            [one] => one.split_once(' ').map(|(_, token)| token.trim_start_matches(' ')),
            _ => None,
        };
        let is_good = token.is_some_and(|token| self.good.iter().any(|good| good == token));
        if is_public(&record.path()) {
            return if users.is_empty() { None } else { wrong("an identity on a public path") };
        }
        if !is_good {
            return wrong("without the good token");
        }
        if users != ["alice"] || named("x-groups") != ["x", "y"] {
            return wrong("with another identity");
        }
        None
    }
}

/// Whether a path is the public one, in one of the spellings that mean the same.
fn is_public(path: &str) -> bool {
    let path = path.split('?').next().unwrap_or_default();
    let mut plain = String::new();
    let mut rest = path;
    while let Some(letter) = rest.chars().next() {
        let escaped =
            rest.get(1..3).filter(|_| letter == '%').and_then(|digits| u8::from_str_radix(digits, 16).ok());
        match escaped.map(char::from).filter(|letter| letter.is_ascii_alphanumeric()) {
            Some(letter) => {
                plain.push(letter);
                rest = &rest[3..];
            }
            None => {
                plain.push(letter);
                rest = &rest[letter.len_utf8()..];
            }
        }
    }
    plain.split_once(';').map_or(plain.as_str(), |(head, _)| head) == PUBLIC && !plain[1..].contains('/')
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
        _ => json!(b64(random.next().to_le_bytes())),
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
