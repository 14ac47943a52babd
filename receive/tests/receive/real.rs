//! Logout tokens of real servers, at the time at which they were made.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use crate::common::Receiver;

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

fn is_taken(folder: &Path, algorithms: Option<&str>) {
    let read = |name: &str| fs::read_to_string(folder.join(name)).expect(name);
    let token = read("logout_token.jwt").trim().to_owned();
    let keys: Value = serde_json::from_str(&read("jwks.json")).expect("keys");
    let claims = claims(&token);
    let audience = match &claims["aud"] {
        Value::Array(many) => many[0].clone(),
        one => one.clone(),
    };
    let mut issuer =
        json!({ "issuer": claims["iss"], "audiences": [audience], "local_jwks": { "inline": keys } });
    if let Some(algorithm) = algorithms {
        issuer["algorithms"] = json!([algorithm]);
    }
    let config = json!({ "issuers": [issuer] });
    let issued = claims["iat"].as_u64().expect("iat");
    let receiver = Receiver::start_at(config.clone(), Some(issued + 30));
    let response = receiver.logout(&token);
    assert_eq!(response.status, 200, "{}: {}", folder.display(), response.text());
    let entries = receiver.entries();
    assert_eq!(entries.len(), 1, "{entries:?}");
    let member = if claims["sid"].is_string() { "sid" } else { "sub" };
    assert_eq!(entries[0][member], claims[member]);
    assert_eq!(entries[0]["issuer"], claims["iss"]);
    let later = Receiver::start_at(config, Some(issued + 3600));
    assert_eq!(later.logout(&token).status, 400);
    assert_eq!(later.entries(), Vec::<Value>::new());
}

#[test]
fn logout_tokens_of_real_servers_are_taken_in_their_time() {
    for name in ["real-keycloak", "real-hydra", "real-oidc-provider-opaque"] {
        match harness::shared(&format!("captured/{name}")) {
            Some(folder) => is_taken(&folder, None),
            None => harness::skip(
                "logout_tokens_of_real_servers_are_taken_in_their_time",
                &format!("../shared/captured/{name} is missing"),
            ),
        }
    }
}
