//! Logout tokens in the forms of real servers, at the time at which they were made: what is made here, and what was
//! captured, where the shared folder has it.

use std::fs;

use harness::idp::jwks;
use harness::{Alg, Key};
use serde_json::{Value, json};

use crate::common::{LOGOUT, Receiver};

/// A server's logout token: its header and claims, but for the key, `iat` and, where there is a lifetime in seconds, `exp`.
struct Form {
    name: &'static str,
    header: &'static str,
    claims: &'static str,
    lifetime: Option<u64>,
}

const FORMS: &[Form] = &[
    Form {
        name: "real-keycloak",
        header: r#"{"typ":"logout+jwt"}"#,
        claims: r#"{"iss":"https://keycloak.example.com/realms/demo","aud":"web.app","sub":"u-1","sid":"s-1","typ":"Logout"}"#,
        lifetime: Some(120),
    },
    // It says neither `exp` nor `sub`, and its type is that of every JWT.
    Form {
        name: "real-hydra",
        header: r#"{"typ":"JWT"}"#,
        claims: r#"{"iss":"https://hydra.example.com/","aud":["web"],"sid":"s-2"}"#,
        lifetime: None,
    },
    Form {
        name: "real-oidc-provider-opaque",
        header: r#"{"typ":"logout+jwt"}"#,
        claims: r#"{"iss":"https://op.example.com","aud":"web","sub":"u-3","sid":"s-3"}"#,
        lifetime: Some(120),
    },
    // OpenID Connect Back-Channel Logout 1.0 section 2.4: a user without a session.
    Form {
        name: "a user",
        header: r#"{"typ":"logout+jwt"}"#,
        claims: r#"{"iss":"https://id.example.com","aud":["web"],"sub":"u-4"}"#,
        lifetime: Some(120),
    },
];

impl Form {
    /// The token, and the key set that it holds under.
    fn made(&self) -> (String, Value) {
        let key = Key::cached(Alg::RS256, "rsa-1");
        let read = |text: &str| -> Value { serde_json::from_str(text).expect("JSON") };
        let (mut header, mut claims) = (read(self.header), read(self.claims));
        header["alg"] = json!(key.alg().name());
        header["kid"] = json!(key.kid());
        claims["iat"] = json!(ISSUED);
        claims["jti"] = json!(self.name);
        claims["events"] = json!({ LOGOUT: {} });
        if let Some(lifetime) = self.lifetime {
            claims["exp"] = json!(ISSUED + lifetime);
        }
        (key.sign_jws(&header, claims.to_string().as_bytes()), jwks([&key]))
    }
}

/// When the tokens are issued that are made here.
const ISSUED: u64 = 1_796_000_000;

fn claims(token: &str) -> Value {
    // A receiver reads it; the test only looks for names, without a decoder of its own.
    let payload = token.split('.').nth(1).expect("a payload");
    let mut bits = 0u32;
    let mut count = 0;
    let mut out = Vec::new();
    for byte in payload.bytes() {
        let alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
        let value = alphabet.iter().position(|own| *own == byte).expect("base64url");
        bits = (bits << 6) | value as u32;
        count += 6;
        if count >= 8 {
            count -= 8;
            out.push((bits >> count) as u8);
        }
    }
    serde_json::from_slice(&out).expect("claims")
}

fn is_taken(name: &str, token: &str, keys: &Value) {
    let claims = claims(token);
    let audience = match &claims["aud"] {
        Value::Array(many) => many[0].clone(),
        one => one.clone(),
    };
    let issuer =
        json!({ "issuer": claims["iss"], "audiences": [audience], "local_jwks": { "inline": keys } });
    let config = json!({ "issuers": [issuer] });
    let issued = claims["iat"].as_u64().expect("iat");
    let receiver = Receiver::start_at(config.clone(), Some(issued + 30));
    let response = receiver.logout(token);
    assert_eq!(response.status, 200, "{name}: {}", response.text());
    let entries = receiver.entries();
    assert_eq!(entries.len(), 1, "{entries:?}");
    let member = if claims["sid"].is_string() { "sid" } else { "sub" };
    assert_eq!(entries[0][member], claims[member]);
    assert_eq!(entries[0]["issuer"], claims["iss"]);
    let later = Receiver::start_at(config, Some(issued + 3600));
    assert_eq!(later.logout(token).status, 400);
    assert_eq!(later.entries(), Vec::<Value>::new());
}

#[test]
fn logout_tokens_of_real_servers_are_taken_in_their_time() {
    for form in FORMS {
        let (token, keys) = form.made();
        is_taken(form.name, &token, &keys);
        let Some(folder) = harness::shared(&format!("captured/{}", form.name)) else { continue };
        let read = |file: &str| fs::read_to_string(folder.join(file)).expect(file);
        let keys = serde_json::from_str(&read("jwks.json")).expect("keys");
        is_taken(form.name, read("logout_token.jwt").trim(), &keys);
    }
}
