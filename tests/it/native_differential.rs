//! Envoy's own `jwt_authn` and Portcullis in one Envoy, asked the same hundreds of times.
//!
//! Both have the same providers, keys and rules, and get the same requests. What one lets pass the other lets pass,
//! but for the [`DIFFERENCES`]: each says what differs and which rule asks for it. A case that differs without one,
//! a case that no longer differs, and a difference that no case shows all fail the test.

use crate::common::native;

use std::collections::BTreeSet;
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::alphabet::URL_SAFE;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use harness::envoy::MAIN;
use harness::idp::{b64, flip_bit, now};
use harness::{Alg, Envoy, Filter, Key, Listener, Request, TokenBuilder, Wasm};
use native::{Asked, Difference, NATIVE, OWN, Verdicts, differs, merged, misfit, reasons};
use serde_json::{Value, json};

const ISSUER: &str = "https://idp.example/";
const AUDIENCE: &str = "orders";

#[rustfmt::skip]
const DIFFERENCES: &[Difference] = &[
    // The form of a token
    differs("parts", &["token_malformed"], "jwt_authn drops empty parts (`.a..b.c.`); a compact JWS has three, none of them missing (RFC 7515 section 7.1)"),
    differs("base64", &["token_malformed"], "jwt_authn ignores padding, and stray bits at the end of a part; base64url in a JWS has none (RFC 7515 section 2), and with one text for one meaning no list of texts is evaded (RFC 4648 section 3.5)"),
    differs("size", &["token_too_large"], "a token over max_token_size (8,192 bytes) is refused before it is read; jwt_authn has no limit"),
    differs("header_size", &["token_malformed"], "a header over 4,096 bytes is nothing that an issuer writes; jwt_authn has no limit"),
    differs("depth", &["token_malformed"], "JSON nested deeper than 64 levels is refused; jwt_authn reads 100"),
    differs("json", &["token_malformed"], "jwt_authn's reader takes single quotes, names without quotes, commas at the end and control characters, which are not JSON (RFC 8259); another reader may see something else in them"),
    // The header
    differs("crit", &["critical_header"], "jwt_authn ignores crit; an extension that is not understood must be refused, and an empty list is none (RFC 7515 section 4.1.11)"),
    differs("b64", &["critical_header"], "jwt_authn ignores b64; a JWT's payload is always encoded (RFC 7797 section 7)"),
    differs("enc", &["token_encrypted", "token_malformed"], "jwt_authn ignores enc and zip, which belong to encrypted tokens (RFC 7516 section 4.1)"),
    differs("typ", &["type_not_allowed", "token_malformed"], "jwt_authn ignores typ; a JWT of another kind is no access token (RFC 8725 section 3.11)"),
    differs("empty_kid", &["key_not_found"], "jwt_authn takes an empty kid for none; it is a name that no key has (RFC 7515 section 4.1.4)"),
    differs("Ed25519", &[], "jwt_authn does not know the algorithm's name of its own (RFC 9864 section 2.2), only EdDSA"),
    // Keys and signatures
    differs("algorithms", &["algorithm_not_allowed"], "Portcullis has a list of algorithms, without HS* unless named (RFC 8725 section 3.1); jwt_authn takes whatever a key fits"),
    differs("alg_of_key", &["algorithm_not_allowed", "key_not_found", "signature_invalid"], "jwt_authn verifies with the kind of the key whatever alg says, where the key has no alg; an algorithm is used only with the kind of key that it names (RFC 8725 section 3.1)"),
    differs("ecdsa_length", &["signature_invalid"], "jwt_authn cuts an ECDSA signature in the middle wherever that is; r and s have the length of the order (RFC 7518 section 3.4)"),
    differs("kid", &["signature_invalid"], "jwt_authn tries keys without kid for every token; a kid that the set has names its key (RFC 7515 section 4.1.4)"),
    differs("use", &["key_not_found", "signature_invalid"], "jwt_authn ignores use and key_ops; a key for encrypting, or for signing, is none for verifying (RFC 7517 sections 4.2 and 4.3)"),
    differs("private_key", &["key_not_found"], "jwt_authn takes a key whose private half is published with it; whoever reads the set can sign"),
    differs("small_key", &["signature_invalid"], "jwt_authn takes RSA keys of any size; RFC 7518 section 3.3 asks for 2048 bits"),
    differs("short_secret", &["key_not_found", "algorithm_not_allowed"], "jwt_authn takes secrets of any length; they are as long as the hash (RFC 7518 section 3.2)"),
    // Claims
    differs("exp_missing", &["expiration_missing"], "require_expiration is on unless switched off: a token without exp is good for ever"),
    differs("exp_zero", &["expired"], "jwt_authn takes an exp of 0, and of a fraction of a second, for none; it is a date long past (RFC 7519 section 4.1.4)"),
    differs("edge", &["expired"], "a token is expired on its exp plus the skew, not after it (RFC 7519 section 4.1.4: on or after)"),
    differs("future", &["issued_in_future"], "jwt_authn does not compare iat; a token from the future comes from a clock, or a signer, that is wrong (RFC 7519 section 4.1.6)"),
    differs("date", &["claim_invalid"], "jwt_authn takes 2^63 seconds and more for the last date that it can hold; out of range is refused, as below 0"),
    differs("audience", &["audience_mismatch"], "jwt_authn drops http://, https:// and one slash at the end on both sides; StringOrURI values are compared as they are (RFC 7519 section 2), unless audience_match is normalized"),
    differs("events", &["type_not_allowed"], "a token with events is a logout token or another security event token (RFC 8417 section 2.2); jwt_authn does not look at it"),
    differs("scope", &["claim_invalid"], "a scope claim is a string or a list of strings (RFC 8693 section 4.2); jwt_authn does not look at it"),
    differs("cnf", &["token_bound"], "jwt_authn ignores cnf; a token that is bound to a key is no bearer token (RFC 7800 section 3)"),
    // Where a token is
    differs("scheme", &[], "jwt_authn compares `Bearer ` with case; a scheme has none (RFC 9110 section 11.1)"),
    differs("prefix", &["token_missing", "token_malformed"], "jwt_authn looks for `Bearer ` anywhere in the field; the scheme stands at its start (RFC 9110 section 11.4)"),
    differs("rest", &["token_malformed"], "jwt_authn ignores what stands behind a token and a blank; the whole credential is the token (RFC 6750 section 2.1)"),
    differs("several", &["token_multiple"], "jwt_authn takes the one that verifies, or verifies them all; two credentials in a request are refused (RFC 6750 section 2)"),
    differs("query", &["token_missing"], "jwt_authn looks into the query, too; there tokens end up in logs, so that it is off unless named (RFC 6750 section 5.3)"),
    differs("query_unread", &[], "what stands in the query is not looked at, so that a bad token there is none"),
    // Rules
    differs("path", &["path_ambiguous"], "jwt_authn matches the path as it came; one that another hop could read in another way is refused"),
    differs("unmatched", &["route_unmatched"], "jwt_authn lets pass what no rule matches; unmatched is deny unless set"),
];

/// A request for both.
struct Case {
    name: String,
    request: Request,
    /// The id of a [`Difference`]; "" where the verdicts are the same.
    differs: &'static str,
}

/// The requests. Each has a path of its own, `/<provider>/<number>`, by which the access log tells it.
#[derive(Default)]
struct Cases(Vec<Case>);

impl Cases {
    fn add(
        &mut self,
        provider: &str,
        name: impl Into<String>,
        differs: &'static str,
        change: impl FnOnce(Request) -> Request,
    ) {
        self.add_at(provider, "", name, differs, change);
    }

    /// With more behind the path.
    fn add_at(
        &mut self,
        provider: &str,
        rest: &str,
        name: impl Into<String>,
        differs: &'static str,
        change: impl FnOnce(Request) -> Request,
    ) {
        let request = change(Request::get(format!("/{provider}/{}{rest}", self.0.len())));
        self.0.push(Case { name: format!("{provider}: {}", name.into()), request, differs });
    }

    fn token(&mut self, provider: &str, name: impl Into<String>, differs: &'static str, token: &str) {
        self.add(provider, name, differs, |request| request.bearer(token));
    }
}

/// Algorithms that both verify with public keys.
const ALGS: [Alg; 10] = [
    Alg::RS256,
    Alg::RS384,
    Alg::RS512,
    Alg::PS256,
    Alg::PS384,
    Alg::PS512,
    Alg::ES256,
    Alg::ES384,
    Alg::ES512,
    Alg::EdDSA,
];

/// A key of an algorithm; all RSA algorithms share one key of a name, which takes its time to make.
fn key(alg: Alg, name: &str) -> Key {
    let kid = format!("{}-{name}", alg.name().to_lowercase());
    if matches!(alg, Alg::RS256 | Alg::RS384 | Alg::RS512 | Alg::PS256 | Alg::PS384 | Alg::PS512) {
        Key::cached(Alg::RS256, name).with_alg(alg).with_kid(&kid)
    } else {
        Key::cached(alg, &kid)
    }
}

fn mint(key: &Key) -> TokenBuilder {
    TokenBuilder::new(key, ISSUER, AUDIENCE)
}

/// A JWK without some members and with others.
fn jwk(key: &Key, without: &[&str], with: Value) -> Value {
    let mut jwk = key.public_jwk();
    let members = jwk.as_object_mut().expect("a JWK is an object");
    for name in without {
        members.remove(*name);
    }
    members.extend(with.as_object().expect("members").clone());
    jwk
}

/// The keys of the provider `mixed`.
struct Mixed {
    named: Key,
    anonymous: Key,
    encryption: Key,
    signing_only: Key,
    private: Key,
    twins: [Key; 2],
    es: Key,
    pss: Key,
}

impl Mixed {
    fn new() -> Self {
        let rsa = |name: &str, kid: &str| Key::cached(Alg::RS256, name).with_kid(kid);
        Self {
            named: rsa("a", "one"),
            anonymous: rsa("b", "none"),
            encryption: Key::cached(Alg::ES256, "encryption"),
            signing_only: Key::cached(Alg::ES256, "signing-only"),
            private: Key::cached(Alg::ES256, "private"),
            twins: [rsa("a", "twin"), rsa("b", "twin")],
            es: Key::cached(Alg::ES256, "one-ec").with_kid("one"),
            pss: rsa("a", "pss").with_alg(Alg::PS256),
        }
    }

    fn set(&self) -> Value {
        json!({ "keys": [
            self.named.public_jwk(),
            jwk(&self.anonymous, &["kid", "use"], json!({})),
            jwk(&self.encryption, &[], json!({ "use": "enc" })),
            jwk(&self.signing_only, &["use"], json!({ "key_ops": ["sign"] })),
            jwk(&self.private, &[], json!({ "d": b64([1; 32]) })),
            jwk(&self.twins[0], &["use"], json!({ "key_ops": ["verify"] })),
            self.twins[1].public_jwk(),
            self.es.public_jwk(),
            self.pss.public_jwk(),
            { "kty": "RSA", "kid": "small", "n": SMALL_MODULUS, "e": "AQAB" },
            { "kty": "EC", "crv": "P-256", "kid": "broken", "x": "AA", "y": "AA" },
            { "kty": "unknown", "kid": "unknown" },
        ] })
    }
}

/// An RSA modulus of 1024 bits, and a token of that key that is good until the year 2100.
pub(crate) const SMALL_MODULUS: &str = "0-bAF_tH9P-qr_CqBj1lrMrxY-eDJkd8etAEXHWc_48_bE-uzbJR7utz-GVXRu_4PBIBDLgouHSjl8DkmH8Z467xeFkoKcoUmbuIOEIYs9vfdxCsIHd8q0n7ZLJK3yUIfFxLFq0g5Ca058LZyFAXpAzK_e6-iNianqWPoUaHW1c";
pub(crate) const SMALL_TOKEN: &str = "eyJhbGciOiJSUzI1NiIsImtpZCI6InNtYWxsIn0.eyJpc3MiOiJodHRwczovL2lkcC5leGFtcGxlLyIsImF1ZCI6Im9yZGVycyIsInN1YiI6ImFsaWNlIiwiZXhwIjo0MTAyNDQ0ODAwfQ.yZ4cM9fVzHn-thLiOKgyOCV3Px_G4BfkRmS0AksdCVJIslrtvVZk1WTrIrrDf_7WLMhka2K9pw1FLhsW9tZRq-7jBBzYpC7-OGddRZgGDFwbtzKzTthmmURsDuFs9S1LrHlQZJdBKUC_aVuU-usCAleaDOLMOOHeaAyUxbNf6Iw";

/// The keys of the provider `bare`: with nothing but what the kind of key needs.
fn bare_keys() -> [Key; 4] {
    [Alg::RS256, Alg::ES256, Alg::ES384, Alg::EdDSA].map(|alg| key(alg, "bare"))
}

fn long_secret() -> Key {
    Key::hmac(Alg::HS256, "long", &[7; 32])
}

fn short_secret() -> Key {
    Key::hmac(Alg::HS256, "short", &[7; 16])
}

/// A provider of both filters, and what Portcullis is told besides.
fn providers() -> Vec<(&'static str, Value, Value)> {
    let keys = |set: Value| json!({ "local_jwks": { "inline_string": set.to_string() } });
    let all: Vec<Value> = ALGS.iter().map(|alg| key(*alg, "a").public_jwk()).collect();
    let all = json!({ "keys": all });
    let corp = |change: Value| {
        let usual = json!({ "issuer": ISSUER, "audiences": [AUDIENCE] });
        merged(&[&usual, &keys(all.clone()), &change])
    };
    let bare: Vec<Value> =
        bare_keys().iter().map(|key| jwk(key, &["kid", "alg", "use"], json!({}))).collect();
    let secrets = json!({ "keys": [
        long_secret().public_jwk(),
        jwk(&long_secret().with_kid("any"), &["alg"], json!({})),
        short_secret().public_jwk(),
        key(Alg::RS256, "a").public_jwk(),
    ] });
    let none = || json!({});
    vec![
        ("corp", corp(none()), none()),
        ("bare", corp(keys(json!({ "keys": bare }))), none()),
        ("mixed", corp(keys(Mixed::new().set())), none()),
        ("secret", corp(keys(secrets.clone())), none()),
        ("named-secret", corp(keys(secrets)), json!({ "algorithms": ["HS256", "HS384", "HS512"] })),
        ("audiences", corp(json!({ "audiences": ["https://api.example/", "billing"] })), none()),
        (
            "normalized",
            corp(json!({ "audiences": ["https://api.example/", "billing"] })),
            json!({ "audience_match": "normalized" }),
        ),
        ("subjects", corp(json!({ "subjects": { "prefix": "svc-" } })), none()),
        ("short-lived", corp(json!({ "max_lifetime": "300s" })), none()),
        ("expiring", corp(json!({ "require_expiration": true })), none()),
        ("endless", corp(none()), json!({ "require_expiration": false })),
        ("skewed", corp(json!({ "clock_skew_seconds": 200 })), none()),
        ("open", keys(all.clone()), none()),
        (
            "places",
            corp(json!({ "from_headers": [
                { "name": "x-token" },
                { "name": "authorization", "value_prefix": "Token " },
            ] })),
            none(),
        ),
    ]
}

fn config(own: bool) -> Value {
    let providers = providers();
    let mut rules = vec![json!({ "match": { "path": "/public" } })];
    rules.extend(providers.iter().map(|(name, _, _)| {
        json!({ "match": { "prefix": format!("/{name}/") }, "requires": { "provider_name": name } })
    }));
    let providers = providers.iter().map(|(name, both, more)| {
        ((*name).to_owned(), if own { merged(&[both, more]) } else { both.clone() })
    });
    json!({ "providers": Value::Object(providers.collect()), "rules": rules })
}

fn start() -> Envoy {
    let answer = || json!([{ "match": { "prefix": "/" }, "direct_response": { "status": 200 } }]);
    Envoy::builder()
        .shared()
        .main(|listener| listener.routes(answer()))
        .listener(Listener::new(NATIVE).filter(Filter::JwtAuthn(config(false))).routes(answer()))
        .listener(Listener::new(OWN).filter(Wasm::portcullis(config(true))).routes(answer()))
        .start()
        .unwrap_or_else(|error| panic!("{error}"))
}

/// Claims as JSON text: the usual ones, some of them replaced by any text or, by an empty one, left out.
fn claims(changes: &[(&str, &str)]) -> String {
    let mut members = vec![
        ("iss", format!("{ISSUER:?}")),
        ("aud", format!("{AUDIENCE:?}")),
        ("sub", "\"alice\"".to_owned()),
        ("exp", (now() + 300).to_string()),
    ];
    for (name, text) in changes {
        members.retain(|(known, _)| known != name);
        if !text.is_empty() {
            members.push((name, (*text).to_owned()));
        }
    }
    let members: Vec<String> = members.iter().map(|(name, text)| format!("{name:?}:{text}")).collect();
    format!("{{{}}}", members.join(","))
}

/// Every algorithm, each with the tricks that are played with signatures and keys.
fn algorithms(cases: &mut Cases) {
    for alg in ALGS {
        let own = key(alg, "a");
        let stranger = key(alg, "b").with_kid(own.kid());
        let good = mint(&own).sign();
        let parts: Vec<&str> = good.split('.').collect();
        let [header, payload, signature] = parts[..] else { panic!("three parts") };
        let raw = own.sign_raw(format!("{header}.{payload}").as_bytes());
        let mut add =
            |name: &str, differs, token: &str| cases.token("corp", format!("{alg}, {name}"), differs, token);

        add("good", "", &good);
        add("good again", "", &good);
        add("no kid", "", &mint(&own).without_header("kid").sign());
        add("a kid that nobody has", "", &mint(&own).kid("nobody").sign());
        add("an empty kid", "empty_kid", &mint(&own).kid("").sign());
        add("the kid of another algorithm", "", &mint(&own).kid(key(other(alg), "a").kid()).sign());
        add("a stranger's key", "", &mint(&stranger).sign());
        add("a stranger's key, no kid", "", &mint(&stranger).without_header("kid").sign());
        add(
            "a stranger's key in the header",
            "",
            &mint(&stranger).header("jwk", stranger.public_jwk()).sign(),
        );
        add("one bit of the signature", "", &flip_bit(&good));
        add("one bit of the payload", "", &format!("{header}.{}.{signature}", flip(payload)));
        add("other claims", "", &format!("{header}.{}.{signature}", b64(claims(&[("sub", "\"root\"")]))));
        add("the name of another algorithm", "", &mint(&own).header("alg", other(alg).name()).sign());
        add("its name in other letters", "", &mint(&own).header("alg", swapped(alg.name())).sign());
        add("no signature", "", &mint(&own).unsigned());
        add("no signature, None", "", &format!("{}.{payload}.", b64(r#"{"alg":"None"}"#)));
        add("alg none, signed", "", &mint(&own).header("alg", "none").sign());
        add("no alg", "", &mint(&own).without_header("alg").sign());
        add("an empty signature", "", &format!("{header}.{payload}."));
        add("a signature of zeros", "", &format!("{header}.{payload}.{}", b64(vec![0; raw.len()])));
        add("a short signature", "", &format!("{header}.{payload}.{}", b64(&raw[..raw.len() - 1])));
        let elliptic = matches!(alg, Alg::ES256 | Alg::ES384 | Alg::ES512);
        let differs = if elliptic { "ecdsa_length" } else { "" };
        add("a long signature", differs, &format!("{header}.{payload}.{}", b64([&raw[..], &[0]].concat())));
        add("a leading dot", "parts", &format!(".{good}"));
        add("a dot at the end", "parts", &format!("{good}."));
        add("two dots", "parts", &format!("{header}..{payload}.{signature}"));
        add("four parts", "", &format!("{good}.{signature}"));
        add("two parts", "", &format!("{header}.{payload}"));
        add("wrong padding", "", &format!("{good}{}", if signature.len() % 4 == 3 { "==" } else { "=" }));
        if signature.len() % 4 != 0 {
            add("padding", "base64", &format!("{good}{}", "=".repeat(4 - signature.len() % 4)));
            add("stray bits", "base64", &format!("{header}.{payload}.{}", stray(signature)));
        }
        for secret in [own.public_pem().into_bytes(), own.public_der()] {
            let confused = Key::hmac(Alg::HS256, own.kid(), &secret);
            add("the public key as a secret", "", &mint(&confused).sign());
        }
        if elliptic {
            let (r, s) = raw.split_at(raw.len() / 2);
            let wide = [&[0], r, &[0], s].concat();
            add(
                "r and s with a zero before them",
                "ecdsa_length",
                &format!("{header}.{payload}.{}", b64(wide)),
            );
            add("r and s the other way round", "", &format!("{header}.{payload}.{}", b64([s, r].concat())));
            add("r and s in DER", "", &format!("{header}.{payload}.{}", b64(der(r, s))));
        }
    }
}

/// Another algorithm of the same kind of key where there is one.
fn other(alg: Alg) -> Alg {
    match alg {
        Alg::RS256 => Alg::RS384,
        Alg::RS384 => Alg::PS384,
        Alg::RS512 => Alg::RS256,
        Alg::PS256 => Alg::RS256,
        Alg::PS384 => Alg::PS512,
        Alg::PS512 => Alg::PS256,
        Alg::ES256 => Alg::ES384,
        Alg::ES384 => Alg::ES256,
        Alg::ES512 => Alg::ES256,
        _ => Alg::RS256,
    }
}

fn swapped(name: &str) -> String {
    name.chars()
        .map(|c| if c.is_uppercase() { c.to_ascii_lowercase() } else { c.to_ascii_uppercase() })
        .collect()
}

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// The text with one bit in its middle turned over.
fn flip(part: &str) -> String {
    let mut bytes = part.as_bytes().to_vec();
    let at = bytes.len() / 2;
    let value = ALPHABET.iter().position(|letter| *letter == bytes[at]).expect("base64url");
    bytes[at] = ALPHABET[value ^ 1];
    String::from_utf8(bytes).expect("ASCII")
}

/// The text with another last letter that decodes to the same bytes.
fn stray(part: &str) -> String {
    let mut bytes = part.as_bytes().to_vec();
    let last = bytes.last_mut().expect("not empty");
    let value = ALPHABET.iter().position(|letter| letter == last).expect("base64url");
    *last = ALPHABET[value ^ 1];
    String::from_utf8(bytes).expect("ASCII")
}

/// An ECDSA signature as ASN.1 has it.
fn der(r: &[u8], s: &[u8]) -> Vec<u8> {
    let integer = |number: &[u8]| {
        let start = number.iter().position(|byte| *byte != 0).unwrap_or(number.len() - 1);
        let mut number = number[start..].to_vec();
        if number[0] >= 0x80 {
            number.insert(0, 0);
        }
        [&[2, u8::try_from(number.len()).expect("short")], &number[..]].concat()
    };
    let body = [integer(r), integer(s)].concat();
    let length = u8::try_from(body.len()).expect("short");
    if length < 0x80 {
        [&[0x30, length], &body[..]].concat()
    } else {
        [&[0x30, 0x81, length], &body[..]].concat()
    }
}

/// Tokens with a letter changed, added, or taken away anywhere.
fn mutants(cases: &mut Cases) {
    let mut random = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = |below: usize| {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        usize::try_from(random >> 16).expect("64 bits") % below
    };
    for alg in ALGS {
        let good = mint(&key(alg, "a")).sign();
        for number in 0..20 {
            let mut bytes = good.as_bytes().to_vec();
            let (at, letter) = (next(bytes.len()), ALPHABET[next(64)]);
            let what = match next(8) {
                0 => {
                    bytes.insert(at, letter);
                    "added"
                }
                1 => {
                    bytes.remove(at);
                    "removed"
                }
                2 => {
                    bytes[at] = b'.';
                    "a dot"
                }
                3 => {
                    let with = next(bytes.len());
                    bytes.swap(at, with);
                    "two exchanged"
                }
                _ => {
                    bytes[at] = letter;
                    "changed"
                }
            };
            let mutant = String::from_utf8(bytes).expect("ASCII");
            let differs = match (meaning(&mutant), meaning(&good)) {
                (changed, same) if mutant != good && changed == same => "base64",
                (changed, same) if alg.name().starts_with("ES") && same_halves(&changed, &same) => {
                    "ecdsa_length"
                }
                _ => "",
            };
            cases.token("corp", format!("{alg}, mutant {number}: {what} at {at}"), differs, &mutant);
        }
    }
}

/// What the parts of a token decode to, whatever their stray bits are.
fn meaning(token: &str) -> Vec<Option<Vec<u8>>> {
    let lenient = GeneralPurposeConfig::new()
        .with_decode_allow_trailing_bits(true)
        .with_decode_padding_mode(DecodePaddingMode::Indifferent);
    let engine = GeneralPurpose::new(&URL_SAFE, lenient);
    token.split('.').map(|part| engine.decode(part).ok()).collect()
}

/// Whether two tokens differ only in the length of a signature that, cut in the middle, has the same halves: a
/// byte too many at the end is then in neither.
fn same_halves(changed: &[Option<Vec<u8>>], good: &[Option<Vec<u8>>]) -> bool {
    let ([a, b, Some(changed)], [c, d, Some(good)]) = (changed, good) else { return false };
    let half = changed.len() / 2;
    (a, b) == (c, d) && changed.len() != good.len() && changed.get(..2 * half) == Some(good.as_slice())
}

/// What the header of a token may say.
fn headers(cases: &mut Cases) {
    let key = key(Alg::ES256, "a");
    let payload = claims(&[]);
    let kid = key.kid();
    let mut add = |name: &str, differs, header: &str| {
        cases.token(
            "corp",
            format!("header {name}"),
            differs,
            &key.sign_parts(header.as_bytes(), payload.as_bytes()),
        );
    };
    let with = |more: &str| format!(r#"{{"alg":"ES256","kid":"{kid}"{more}}}"#);
    add("plain", "", &with(""));
    add("with blanks", "", &format!(" {{ \"alg\" :\n\"ES256\"\t,\r\"kid\": \"{kid}\" }} "));
    add("with escapes", "", r#"{"\u0061lg":"\u0045S256"}"#);
    add(
        "with members that nobody knows",
        "",
        &with(r#","x":[1,{"y":null}],"jku":"https://evil.example/","x5u":"u""#),
    );
    for typ in ["JWT", "jwt", "application/jwt", "at+jwt", "application/at+jwt"] {
        add(&format!("typ {typ}"), "", &with(&format!(r#","typ":{typ:?}"#)));
    }
    for typ in [r#""logout+jwt""#, r#""JOSE""#, r#""""#] {
        add(&format!("typ {typ}"), "typ", &with(&format!(r#","typ":{typ}"#)));
    }
    add("typ 7", "typ", &with(r#","typ":7"#));
    add("cty", "", &with(r#","cty":"JWT""#));
    add("crit", "crit", &with(r#","crit":["exp"],"exp":1"#));
    add("crit of nothing", "crit", &with(r#","crit":[]"#));
    add(
        "crit that is known to nobody",
        "crit",
        &with(r#","crit":["http://example.com/x"],"http://example.com/x":1"#),
    );
    add("b64", "b64", &with(r#","b64":true"#));
    add("zip", "enc", &with(r#","zip":"DEF""#));
    add("enc", "enc", &with(r#","enc":"A128GCM""#));
    add("kid 7", "", r#"{"alg":"ES256","kid":7}"#);
    add("kid null", "", r#"{"alg":"ES256","kid":null}"#);
    add("alg 7", "", r#"{"alg":7}"#);
    add("alg null", "", r#"{"alg":null}"#);
    add("alg twice, the same", "", r#"{"alg":"ES256","alg":"ES256"}"#);
    add("alg twice, none last", "", r#"{"alg":"ES256","alg":"none"}"#);
    add("alg twice, none first", "", r#"{"alg":"none","alg":"ES256"}"#);
    add("a member twice, deep inside", "", &with(r#","x":{"a":1,"a":2}"#));
    add("not an object", "", "[]");
    add("no JSON", "", "alg=ES256");
    add("with a comma at the end", "json", &with(","));
    add("with single quotes", "json", r"{'alg':'ES256'}");
    add("without quotes", "json", r"{alg:'ES256'}");
    add("with a comment", "", &with("/**/"));
    add("and more", "", &with("").repeat(2));
    add("with a byte order mark", "", &format!("\u{feff}{}", with("")));
    add("with a NUL behind it", "", &format!("{}\0", with("")));
    add("of 5,000 bytes", "header_size", &with(&format!(r#","x":"{}""#, "x".repeat(5000))));
    add("deep", "", &with(&format!(r#","x":{}{}"#, "[".repeat(60), "]".repeat(60))));
    add("too deep", "depth", &with(&format!(r#","x":{}{}"#, "[".repeat(80), "]".repeat(80))));
    add("far too deep", "", &with(&format!(r#","x":{}{}"#, "[".repeat(500), "]".repeat(500))));
    let invalid = key.sign_parts(
        &[b"{\"alg\":\"ES256\",\"x\":\"", &[0xff, 0xfe][..], b"\"}"].concat(),
        payload.as_bytes(),
    );
    cases.token("corp", "header that is not UTF-8", "", &invalid);
    cases.token(
        "corp",
        "JWE",
        "",
        &format!("{}.AAAA.AAAA.AAAA.AAAA", b64(r#"{"alg":"dir","enc":"A128GCM"}"#)),
    );
    let ed = self::key(Alg::EdDSA, "a");
    cases.token("corp", "alg Ed25519", "Ed25519", &mint(&ed).header("alg", "Ed25519").sign());
    cases.token(
        "bare",
        "alg Ed25519",
        "Ed25519",
        &mint(&self::key(Alg::EdDSA, "bare")).header("alg", "Ed25519").sign(),
    );
}

/// What a claims set may say.
fn claim_sets(cases: &mut Cases) {
    let key = key(Alg::ES256, "a");
    let header = format!(r#"{{"alg":"ES256","kid":"{}"}}"#, key.kid());
    let sign = |payload: &[u8]| key.sign_parts(header.as_bytes(), payload);
    let in_secs = |secs: i64| (now() + secs).to_string();
    let mut add = |provider: &str, differs, changes: &[(&str, &str)]| {
        let name = changes.iter().map(|(name, text)| format!("{name} = {text} ")).collect::<String>();
        cases.token(provider, format!("claims {name}"), differs, &sign(claims(changes).as_bytes()));
    };
    add("corp", "", &[]);

    // exp: 60 seconds of skew
    for secs in [-1, -45] {
        add("corp", "", &[("exp", &in_secs(secs))]);
    }
    for secs in [-75, -100_000] {
        add("corp", "", &[("exp", &in_secs(secs))]);
    }
    for (provider, secs) in [("skewed", -180), ("skewed", -220), ("short-lived", 200), ("short-lived", 1000)]
    {
        add(provider, "", &[("exp", &in_secs(secs))]);
    }
    for (provider, missing, zero) in [
        ("corp", "exp_missing", "exp_zero"),
        ("expiring", "", ""),
        ("short-lived", "", ""),
        ("endless", "", "exp_zero"),
    ] {
        add(provider, missing, &[("exp", "")]);
        add(provider, zero, &[("exp", "0")]);
        add(provider, "", &[("exp", "null")]);
    }
    for text in ["-0", "0.5"] {
        add("corp", "exp_zero", &[("exp", text)]);
    }
    for text in ["9223372036854775808", "1e19"] {
        add("corp", "date", &[("exp", text)]);
        add("corp", "date", &[("iat", text)]);
        add("corp", "", &[("nbf", text)]);
    }
    for text in [
        "4102444800",
        "4102444800.0",
        "4102444800.9",
        "4.1024448e9",
        "41024448E2",
        "9007199254740993",
        "9223372036854774784",
        "9223372036854775807",
        "18446744073709551616",
        "1e18",
        "1e300",
        "1e400",
        "-1",
        "-0.5",
        "\"4102444800\"",
        "true",
        "[4102444800]",
        "{}",
        "\"\"",
        "NaN",
        "Infinity",
        "0x7fffffff",
        "04102444800",
        "+4102444800",
        ".5e10",
        "4102444800.",
    ] {
        add("corp", "", &[("exp", text)]);
    }

    // nbf and iat
    for secs in [-100, 45, 75, 100_000] {
        add("corp", "", &[("nbf", &in_secs(secs))]);
    }
    for (secs, differs) in [(-100, ""), (45, ""), (75, "future"), (100_000, "future")] {
        add("corp", differs, &[("iat", &in_secs(secs))]);
    }
    for text in ["0", "1.5", "-1", "1e300", "\"1\"", "null", "true", "[]"] {
        add("corp", "", &[("nbf", text)]);
        add("corp", "", &[("iat", text)]);
    }
    add("skewed", "", &[("nbf", &in_secs(180))]);
    add("skewed", "", &[("nbf", &in_secs(220))]);

    // iss
    for text in [
        "",
        "null",
        "\"\"",
        "7",
        "[\"https://idp.example/\"]",
        "\"https://idp.example\"",
        "\"https://idp.example//\"",
        "\"HTTPS://idp.example/\"",
        "\" https://idp.example/\"",
        "\"https://idp.example/\\u0000\"",
        "\"https:\\/\\/idp.example\\/\"",
        "\"\\u0068ttps://idp.example/\"",
    ] {
        add("corp", "", &[("iss", text)]);
    }
    for text in ["", "\"https://anyone.example/\"", "7", "null"] {
        add("open", "", &[("iss", text), ("aud", "")]);
    }

    // aud
    for text in [
        "",
        "null",
        "7",
        "{}",
        "\"\"",
        "[]",
        "[\"orders\"]",
        "[\"x\",\"orders\"]",
        "[\"x\"]",
        "[\"orders\",7]",
        "[7,\"orders\"]",
        "[[\"orders\"]]",
        "[null]",
        "\"orders \"",
        "\"Orders\"",
        "\"orders,x\"",
        "\"orders x\"",
    ] {
        add("corp", "", &[("aud", text)]);
    }
    for text in ["\"orders/\"", "\"https://orders\"", "\"http://orders/\"", "[\"x\",\"orders/\"]"] {
        add("corp", "audience", &[("aud", text)]);
    }
    for text in ["\"https://api.example/\"", "\"billing\"", "\"orders\"", "\"https://api.example//\""] {
        add("audiences", "", &[("aud", text)]);
        add("normalized", "", &[("aud", text)]);
    }
    for text in
        ["\"https://api.example\"", "\"http://api.example/\"", "\"api.example\"", "\"https://billing\""]
    {
        add("audiences", "audience", &[("aud", text)]);
        add("normalized", "", &[("aud", text)]);
    }
    for text in ["7", "[7]", "\"anything\""] {
        add("open", "", &[("aud", text)]);
    }

    // sub and the rest
    for text in
        ["", "null", "7", "[\"alice\"]", "\"\"", "\"svc-a\"", "\"SVC-a\"", "\" svc-a\"", "\"\\u0073vc-a\""]
    {
        add("corp", "", &[("sub", text)]);
        add("subjects", "", &[("sub", text)]);
    }
    for text in ["\"x\"", "7", "null", "[]"] {
        add("corp", "", &[("jti", text)]);
    }
    for text in ["\"orders:read\"", "[\"a\",\"b\"]", "null"] {
        add("corp", "", &[("scope", text)]);
    }
    for text in ["7", "[7]", "{}", "true", "[null]"] {
        add("corp", "scope", &[("scope", text)]);
    }
    for text in [r#"{"http://schemas.openid.net/event/backchannel-logout":{}}"#, "[]", "\"x\""] {
        add("corp", "events", &[("events", text)]);
    }
    add("corp", "", &[("events", "null")]);
    add("corp", "cnf", &[("cnf", r#"{"jkt":"x"}"#)]);
    add("corp", "cnf", &[("cnf", "null")]);

    let mut add = |name: &str, differs, payload: &[u8]| {
        cases.token("corp", format!("payload {name}"), differs, &sign(payload));
    };
    let usual = claims(&[]);
    let with = |more: &str| usual.replacen('{', &format!("{{{more},"), 1);
    add("with exp twice, the good one last", "", with("\"exp\":1").as_bytes());
    add("with exp twice, the bad one last", "", usual.replace('}', ",\"exp\":1}").as_bytes());
    add("with aud twice", "", with("\"aud\":\"x\"").as_bytes());
    add("with a member twice, deep inside", "", with(r#""x":{"a":1,"\u0061":2}"#).as_bytes());
    add("with a comma at the end", "json", usual.replace('}', ",}").as_bytes());
    add("with single quotes", "json", usual.replace('"', "'").as_bytes());
    add("with a name without quotes", "json", usual.replace("\"sub\"", "sub").as_bytes());
    add("with a comment", "", usual.replace('}', "/**/}").as_bytes());
    add("with a byte order mark", "", format!("\u{feff}{usual}").as_bytes());
    add("with blanks around", "", format!("\r\n\t {usual} \n").as_bytes());
    add("with more behind it", "", format!("{usual}{{}}").as_bytes());
    add("with a NUL behind it", "", format!("{usual}\0").as_bytes());
    add("with a control character", "json", with("\"x\":\"\u{1}\"").as_bytes());
    add("with half a surrogate pair", "", with("\"x\":\"\\ud800\"").as_bytes());
    add("with a number that is none", "", with("\"x\":NaN").as_bytes());
    add("with a number out of range", "", with("\"x\":1e999").as_bytes());
    add("with a leading zero", "", with("\"x\":01").as_bytes());
    add("that is not UTF-8", "", &[b"{\"x\":\"\xff\xfe\",", &usual.as_bytes()[1..]].concat());
    add("that is a list", "", format!("[{usual}]").as_bytes());
    add("that is a string", "", b"\"alice\"");
    add("that is no JSON", "", b"alice");
    add("that is empty", "", b"");
    add("without claims", "", b"{}");
    add("of 4,000 bytes", "", with(&format!("\"x\":\"{}\"", "x".repeat(3500))).as_bytes());
    add("of 9,000 bytes", "size", with(&format!("\"x\":\"{}\"", "x".repeat(9000))).as_bytes());
    add("deep", "", with(&format!("\"x\":{}{}", "[".repeat(60), "]".repeat(60))).as_bytes());
    add("too deep", "depth", with(&format!("\"x\":{}{}", "[".repeat(80), "]".repeat(80))).as_bytes());
    add("far too deep", "", with(&format!("\"x\":{}{}", "[".repeat(500), "]".repeat(500))).as_bytes());
    add(
        "with 500 claims",
        "",
        with(&(0..500).map(|n| format!("\"c{n}\":{n}")).collect::<Vec<_>>().join(",")).as_bytes(),
    );
}

/// Keys with and without `kid`, `alg`, `use` and `key_ops`.
fn key_sets(cases: &mut Cases) {
    for (key, more) in bare_keys().iter().zip([&[Alg::RS512, Alg::PS256][..], &[], &[], &[]]) {
        let mut add = |name: &str, differs, token: &str| {
            cases.token("bare", format!("{} {name}", key.alg()), differs, token);
        };
        add("without kid", "", &mint(key).without_header("kid").sign());
        add("with a kid", "", &mint(key).sign());
        add("bent", "", &flip_bit(&mint(key).without_header("kid").sign()));
        for alg in more {
            add(alg.name(), "", &mint(&key.with_alg(*alg)).without_header("kid").sign());
        }
        for alg in ["RS256", "RS384", "PS256", "ES256", "ES384", "ES512", "EdDSA", "HS256"] {
            if alg != key.alg().name() {
                // Of P-384 and RSA, another name is another hash or padding, which does not verify either.
                let verifies = match key.alg() {
                    Alg::ES256 => !matches!(alg, "ES384" | "ES512"),
                    Alg::EdDSA => true,
                    _ => false,
                };
                let differs = if verifies { "alg_of_key" } else { "" };
                add(
                    &format!("called {alg}"),
                    differs,
                    &mint(key).without_header("kid").header("alg", alg).sign(),
                );
            }
        }
        let confused = Key::hmac(Alg::HS256, "x", &key.public_der());
        add("as a secret", "", &mint(&confused).without_header("kid").sign());
    }

    let Mixed { named, anonymous, encryption, signing_only, private, twins, es, pss } = Mixed::new();
    let mut add = |name: &str, differs, token: String| cases.token("mixed", name, differs, &token);
    add("a key with a kid", "", mint(&named).sign());
    add("a key with a kid, none named", "", mint(&named).without_header("kid").sign());
    add("a key without kid, none named", "", mint(&anonymous).without_header("kid").sign());
    add("a key without kid, one that nobody has", "", mint(&anonymous).kid("nobody").sign());
    add("a key without kid, one that another has", "kid", mint(&anonymous).kid("one").sign());
    add("two keys of one kid and of two kinds", "", mint(&es).sign());
    add("the first of two keys of one kid", "", mint(&twins[0]).sign());
    add("the second of two keys of one kid", "", mint(&twins[1]).sign());
    add("the kid of the twins, another key", "", mint(&es).kid("twin").sign());
    add("a key for PS256", "", mint(&pss).sign());
    add("a key for PS256, used for RS256", "", mint(&pss.with_alg(Alg::RS256)).sign());
    add("a key for RS256, used for PS256", "", mint(&named.with_alg(Alg::PS256)).sign());
    add("a key for RS256, used for RS512", "", mint(&named.with_alg(Alg::RS512)).sign());
    add("a key for encryption", "use", mint(&encryption).sign());
    add("a key for encryption, no kid", "use", mint(&encryption).without_header("kid").sign());
    add("a key for making signatures", "use", mint(&signing_only).sign());
    add("a key whose private half is published", "private_key", mint(&private).sign());
    add("a key of 1024 bits", "small_key", SMALL_TOKEN.to_owned());
    add("a key off its curve", "", mint(&es).kid("broken").sign());
    add("a key of an unknown kind", "", mint(&es).kid("unknown").sign());

    for (provider, symmetric, asymmetric) in
        [("secret", "algorithms", ""), ("named-secret", "", "algorithms")]
    {
        let mut add = |name: &str, differs, token: String| cases.token(provider, name, differs, &token);
        add("HS256", symmetric, mint(&long_secret()).sign());
        add("HS256 without kid", symmetric, mint(&long_secret()).without_header("kid").sign());
        add("HS256 with a key for any", symmetric, mint(&long_secret().with_kid("any")).sign());
        add(
            "HS384 with 256 bits",
            "short_secret",
            mint(&long_secret().with_kid("any").with_alg(Alg::HS384)).sign(),
        );
        add("HS256, bent", "", flip_bit(&mint(&long_secret()).sign()));
        add("HS256 with 128 bits", "short_secret", mint(&short_secret()).sign());
        add("HS256, another secret", "", mint(&Key::hmac(Alg::HS256, "long", &[8; 32])).sign());
        add("RS256", asymmetric, mint(&key(Alg::RS256, "a")).sign());
    }
}

/// Where a request carries its token, and in which form.
fn places(cases: &mut Cases) {
    let good = mint(&key(Alg::ES256, "a")).sign();
    let second = mint(&key(Alg::EdDSA, "a")).sign();
    let bad = flip_bit(&good);
    let mut authorization = |name: &str, differs, value: String| {
        cases.add("corp", format!("Authorization {name}"), differs, |request| {
            request.header("authorization", value)
        });
    };
    authorization("Bearer", "", format!("Bearer {good}"));
    authorization("bearer", "scheme", format!("bearer {good}"));
    authorization("BEARER", "scheme", format!("BEARER {good}"));
    authorization("with two blanks", "", format!("Bearer  {good}"));
    authorization("with a tab", "", format!("Bearer\t{good}"));
    authorization("with blanks around", "", format!("  Bearer {good}  "));
    authorization("without scheme", "", good.clone());
    authorization("Basic", "", "Basic dTpw".to_owned());
    authorization("Basic with a token", "", format!("Basic {good}"));
    authorization("DPoP", "", format!("DPoP {good}"));
    authorization("of Bearer alone", "", "Bearer".to_owned());
    authorization("of Bearer and a blank", "", "Bearer ".to_owned());
    authorization("that is empty", "", String::new());
    authorization("with Bearer twice", "", format!("Bearer Bearer {good}"));
    authorization("with another scheme before", "prefix", format!("Basic dTpw Bearer {good}"));
    authorization("with a longer scheme", "prefix", format!("XBearer {good}"));
    authorization("with quotes", "", format!("Bearer \"{good}\""));
    authorization("as JSON", "", format!("Bearer {{\"token\":\"{good}\"}}"));
    authorization("with more behind a blank", "rest", format!("Bearer {good} x"));
    authorization("with more behind a comma", "", format!("Bearer {good},x"));
    authorization("with more behind a semicolon", "", format!("Bearer {good};x"));
    authorization("with two tokens", "", format!("Bearer {good}, Bearer {second}"));
    authorization("with a bad token and a good one", "", format!("Bearer {bad}, Bearer {good}"));
    authorization("with padding", "base64", format!("Bearer {good}=="));
    authorization("with other letters", "", format!("Bearer {}", good.replace('-', "+").replace('_', "/")));
    authorization("that is not ASCII", "", format!("Bearer {good}\u{e9}"));
    for (name, one, two) in [
        ("twice", &good, &good),
        ("twice, two tokens", &good, &second),
        ("twice, the bad one first", &bad, &good),
        ("twice, the bad one last", &good, &bad),
    ] {
        cases.add("corp", format!("Authorization {name}"), "", |request| request.bearer(one).bearer(two));
    }
    cases.add("corp", "Basic and Bearer", "several", |request| {
        request.header("authorization", "Basic dTpw").bearer(&good)
    });
    cases.add("corp", "nothing", "", |request| request);
    cases.add("corp", "a token in Proxy-Authorization", "", |request| {
        request.header("proxy-authorization", format!("Bearer {good}"))
    });
    cases.add("corp", "a token in a cookie", "", |request| {
        request.header("cookie", format!("access_token={good}"))
    });
    cases
        .add_at("corp", &format!("?access_token={good}"), "a token in the query", "query", |request| request);
    cases.add_at("corp", &format!("?access_token={bad}"), "a bad token in the query", "", |request| request);
    cases.add_at("corp", &format!("?access_token={good}"), "a token in each", "", |request| {
        request.bearer(&good)
    });
    cases.add_at(
        "corp",
        &format!("?access_token={bad}"),
        "a bad one in the query",
        "query_unread",
        |request| request.bearer(&good),
    );

    let mut add = |name: &str, differs, fields: &[(&str, &str)]| {
        cases.add("places", name, differs, |request| {
            fields.iter().fold(request, |request, (name, value)| request.header(name, value))
        });
    };
    let token = format!("Token {good}");
    add("a header of its own", "", &[("x-token", &good)]);
    add("a header in other letters", "", &[("X-Token", &good)]);
    add("a bad token in a header of its own", "", &[("x-token", &bad)]);
    add("a scheme of its own", "", &[("authorization", &token)]);
    add("the usual scheme, which is not looked for", "", &[("authorization", &format!("Bearer {good}"))]);
    add("both", "several", &[("x-token", &good), ("authorization", &token)]);
    add("both, of which one is bad", "", &[("x-token", &bad), ("authorization", &token)]);
    add("one and another scheme", "", &[("x-token", &good), ("authorization", "Basic dTpw")]);
    add("a header twice", "several", &[("x-token", &good), ("x-token", &good)]);
    add("an empty header", "", &[("x-token", "")]);
}

/// Rules and paths.
fn rules(cases: &mut Cases) {
    let good = mint(&key(Alg::ES256, "a")).sign();
    let bearer = |request: Request| request.bearer(&good);
    cases.add_at("corp", "/a%41", "an escape", "", bearer);
    cases.add_at("corp", "/a.b-c~d_e", "a plain path", "", bearer);
    cases.add_at("corp", "?a=%2F..//", "a query with everything", "", bearer);
    for path in
        ["//x", "/../x", "/%2e%2e/x", "/a%2Fb", "/a%5Cb", "/a%00b", "/a%zz", "/a%252fb", "/a\\b", "/%ff"]
    {
        cases.add_at("corp", path, format!("the path {path}"), "path", bearer);
    }
    for method in ["POST", "PUT", "DELETE", "PATCH", "OPTIONS"] {
        for (name, token) in [("with", Some(&good)), ("without", None)] {
            let path = format!("/corp/{}", cases.0.len());
            let request = Request::new(method, &path).body("");
            let request = token.iter().fold(request, |request, token| request.bearer(token));
            cases.0.push(Case { name: format!("{method} {name} a token"), request, differs: "" });
        }
    }
    let number = cases.0.len();
    let public = |request: Request, name: &str, differs| Case { name: name.to_owned(), request, differs };
    cases.0.push(public(Request::get("/public"), "a public path", ""));
    cases.0.push(public(Request::get("/public").bearer("x"), "a public path with a bad token", ""));
    let nowhere = Request::get(format!("/nowhere/{}", number + 2)).bearer(&good);
    cases.0.push(public(nowhere, "a path that no rule matches", "unmatched"));
}

/// The second in which a token expires, skew and all; true where that difference was seen.
///
/// # Panics
/// Where the verdicts are others than they should be.
fn edge(native: &mut Asked<'_>, own: &mut Asked<'_>) -> bool {
    const SKEW: i64 = 60;
    let key = key(Alg::ES256, "a");
    let deadline = Instant::now() + harness::SOON;
    while Instant::now() < deadline {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock after 1970");
        thread::sleep(Duration::from_secs(1) - Duration::from_nanos(since.subsec_nanos().into()));
        let second = now();
        let ask = |asked: &mut Asked<'_>, claim: &str, value: i64| {
            asked.allows(&Request::get("/corp/edge").bearer(&mint(&key).claim(claim, value).sign()))
        };
        let expired = (ask(native, "exp", second - SKEW), ask(own, "exp", second - SKEW));
        let begun = (ask(native, "nbf", second + SKEW), ask(own, "nbf", second + SKEW));
        if now() == second {
            assert_eq!(
                begun,
                (true, true),
                "a token in the first second of its life: (jwt_authn, Portcullis)"
            );
            assert_eq!(expired, (true, false), "a token in the second of its exp: (jwt_authn, Portcullis)");
            return true;
        }
    }
    false
}

#[test]
fn both_filters_come_to_the_same_verdicts_but_for_what_is_written_down() {
    let envoy = start();
    let mut cases = Cases::default();
    algorithms(&mut cases);
    mutants(&mut cases);
    headers(&mut cases);
    claim_sets(&mut cases);
    key_sets(&mut cases);
    places(&mut cases);
    rules(&mut cases);
    let Cases(cases) = cases;
    assert!(cases.len() >= 400, "only {} cases", cases.len());

    let [mut open, mut native, mut own] = [MAIN, NATIVE, OWN].map(|listener| Asked::new(&envoy, listener));
    let verdicts: Vec<(bool, bool)> = cases
        .iter()
        .map(|case| {
            // What Envoy itself refuses says nothing about its filters.
            assert!(open.allows(&case.request), "{}: refused without any filter", case.name);
            (native.allows(&case.request), own.allows(&case.request))
        })
        .collect();

    envoy.wait_for_access_log(3 * cases.len(), Duration::from_secs(30));
    let reasons = reasons(&envoy, |listener| listener == OWN);
    let (mut wrong, mut shown) = (Vec::new(), BTreeSet::new());
    for (number, (case, (native, own))) in cases.iter().zip(&verdicts).enumerate() {
        let reason = reasons.get(&number).map_or("", String::as_str);
        let verdicts = Verdicts { native: *native, own: *own, same_fields: true };
        if let Some(misfit) = misfit(DIFFERENCES, case.differs, verdicts, reason) {
            wrong.push(format!("{} {misfit}", case.name));
        }
        shown.insert(case.differs);
    }
    assert!(wrong.is_empty(), "{} of {} cases:\n{}", wrong.len(), cases.len(), wrong.join("\n"));

    if edge(&mut native, &mut own) {
        shown.insert("edge");
    }
    for Difference { id, why, .. } in DIFFERENCES {
        assert!(shown.contains(id), "no case shows the difference {id:?}: {why}");
    }
    let allowed = verdicts.iter().filter(|(native, _)| *native).count();
    println!("{} cases, of which jwt_authn allows {allowed}; {} differences", cases.len(), DIFFERENCES.len());
}
