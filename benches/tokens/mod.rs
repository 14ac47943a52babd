//! What the benchmarks judge: a token that is good and tokens that are not, of several sizes.

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use harness::{Alg, Key};
use portcullis::{Config, Environment, Gate, Outcome, Reason, Request, StreamId, Timestamp};
use serde_json::json;

/// The lengths of the payloads' JSON text, so that the tokens have about 100 B, 1 KB, 8 KB and 64 KB.
pub const SIZES: [(&str, usize); 4] = [("100 B", 2), ("1 KB", 660), ("8 KB", 6000), ("64 KB", 49_000)];

/// A token and what becomes of it.
pub struct Case {
    /// Its kind.
    pub kind: &'static str,
    /// About how long it is.
    pub size: &'static str,
    /// The token.
    pub token: String,
    /// Why it is refused; nothing for the valid one.
    pub refused: Option<Reason>,
}

/// Every kind in every size, the valid one first.
pub fn cases() -> Vec<Case> {
    let key = Key::cached(Alg::ES256, "key");
    let mut cases = Vec::new();
    for (size, length) in SIZES {
        // A header that no token had before: the filter remembers those under which a signature held, and like is
        // to be compared with like.
        let header = format!(r#"{{"alg":"ES256","for":"{size}"}}"#);
        let payload = payload(length);
        let part = |bytes: &[u8]| BASE64_URL_SAFE_NO_PAD.encode(bytes);
        let valid = key.sign_parts(header.as_bytes(), payload.as_bytes());
        let signature = valid.rsplit('.').next().expect("a signature").to_owned();
        let secret = Key::hmac(Alg::HS256, "key", key.public_pem().as_bytes());
        let mut add = |kind, token: String, refused| cases.push(Case { kind, size, token, refused });

        add("valid", valid.clone(), None);
        add(
            "unsigned",
            format!("{}.{}.", part(br#"{"alg":"none"}"#), part(payload.as_bytes())),
            Some(Reason::AlgorithmNotAllowed),
        );
        add(
            "alg none, signed",
            format!("{}.{}.{signature}", part(br#"{"alg":"none"}"#), part(payload.as_bytes())),
            Some(Reason::AlgorithmNotAllowed),
        );
        add(
            "public key as a secret",
            secret.sign_parts(br#"{"alg":"HS256"}"#, payload.as_bytes()),
            Some(Reason::AlgorithmNotAllowed),
        );
        add(
            "key of another kind",
            format!("{}.{}.{signature}", part(br#"{"alg":"RS256"}"#), part(payload.as_bytes())),
            Some(Reason::KeyNotFound),
        );
        add(
            "JSON that breaks off",
            format!(
                "{}.{}.{signature}",
                part(header.as_bytes()),
                part(&payload.as_bytes()[..payload.len() - 1])
            ),
            Some(Reason::TokenMalformed),
        );
        let last = payload.len() - 1;
        let twice = format!("{}{}\"exp\":1,\"exp\":1}}", &payload[..last], if last > 1 { "," } else { "" });
        add(
            "a member twice",
            format!("{}.{}.{signature}", part(header.as_bytes()), part(twice.as_bytes())),
            Some(Reason::TokenMalformed),
        );
        add("five parts", format!("{valid}.{signature}.{signature}"), Some(Reason::TokenEncrypted));
        add("no base64", format!("{valid}!"), Some(Reason::TokenMalformed));
        add("dots", ".".repeat(valid.len()), Some(Reason::TokenMalformed));
        add("letters", "A".repeat(valid.len()), Some(Reason::TokenMalformed));
        add(
            "brackets",
            format!("{}.{}.{signature}", part(header.as_bytes()), part(&vec![b'['; length])),
            Some(Reason::TokenMalformed),
        );
        add(
            "a header as long as the token",
            format!("{}.{}.{signature}", part(format!("[{payload}]").as_bytes()), part(b"{}")),
            Some(Reason::TokenMalformed),
        );
    }
    cases
}

/// A claims set of many small claims, which cost more than a few large ones.
fn payload(length: usize) -> String {
    let mut payload = String::from("{");
    for number in 0.. {
        let member = format!("\"claim{number}\":[\"value\",{number}]");
        if payload.len() + member.len() + 2 > length {
            break;
        }
        if number > 0 {
            payload.push(',');
        }
        payload.push_str(&member);
    }
    payload.push('}');
    payload
}

/// A gate with the key and without a cache, all of whose arithmetic is done here.
pub fn gate() -> Gate {
    let key = Key::cached(Alg::ES256, "key");
    let config = json!({
        "providers": { "corp": {
            "local_jwks": { "inline": harness::idp::jwks([&key]) },
            "require_expiration": false,
            "max_token_size": 1 << 20,
            "jwt_cache_config": { "jwt_cache_size": 0 },
        } },
        "rules": [{ "match": { "prefix": "/" }, "requires": { "provider_name": "corp" } }],
    });
    match Config::parse(config.to_string().as_bytes(), &|_| None) {
        Ok(config) => Gate::new(config, Environment::alone(1), Timestamp::default()),
        Err(problems) => panic!("{problems:?}"),
    }
}

/// Why the gate refuses a request with this token, if it does.
pub fn judge(gate: &mut Gate, authorization: &str) -> Option<Reason> {
    let fields: [(&[u8], &[u8]); 4] = [
        (b":method", b"GET"),
        (b":path", b"/orders/7"),
        (b":authority", b"gateway.test"),
        (b"authorization", authorization.as_bytes()),
    ];
    match gate.decide(StreamId(1), &Request::new(&fields), Timestamp::from_secs(1_800_000_000)) {
        Outcome::Allow(_) => None,
        Outcome::Deny(refusal) => Some(refusal.response.reason),
        Outcome::Answer(_) => panic!("no resource is configured"),
        Outcome::Wait => panic!("there is nothing to wait for"),
    }
}
