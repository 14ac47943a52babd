//! Answers and tokens that somebody could have meant otherwise.

use harness::Key;
use harness::idp::{b64, jwks};
use serde_json::{Value, json};

use super::replay::{Replay, config, introspection, json_answer, opaque, status};
use crate::common::{AUDIENCE, idp, local_provider, provider, with};

const NOW: u64 = 1_800_000_000;

fn now() -> u64 {
    u64::try_from(harness::idp::now()).expect("a time after 1970")
}

fn opaque_provider() -> Value {
    json!({ "issuer": "https://id.example/", "audiences": ["orders"], "introspection": introspection(json!({})) })
}

fn judged(answer: &str) -> String {
    let config =
        config(&opaque_provider(), json!({ "authorize": { "scopes": { "all_of": ["orders.read"] } } }));
    Replay::new(&config, NOW).bearer(&opaque(1), NOW, |_| json_answer(answer))
}

#[test]
fn members_that_stand_twice_or_have_another_kind_let_nobody_in() {
    let with_rest = |more: &str| format!(r#"{{"active":true,"scope":"orders.read",{more}}}"#);
    assert_eq!(judged(&with_rest(r#""aud":"orders""#)), "allow");
    for more in [
        r#""aud":"billing","aud":"orders""#,
        r#""aud":"orders","aud":"billing""#,
        r#""aud":"orders","\u0061ud":"billing""#,
        r#""aud":"orders","exp":1900000000,"exp":1700000000"#,
        r#""aud":"orders","scope":"orders.write""#,
        r#""aud":["orders",7]"#,
        r#""aud":{"orders":true}"#,
        r#""aud":["billing",["orders"]]"#,
        r#""aud":"orders ""#,
        r#""aud":"Orders""#,
        r#""aud":"billing orders""#,
        r#""aud":"orders","exp":"1900000000""#,
        r#""aud":"orders","exp":true"#,
        r#""aud":"orders","exp":[1900000000]"#,
        r#""aud":"orders","exp":-1"#,
        r#""aud":"orders","exp":1700000000.5"#,
        r#""aud":"orders","nbf":"1700000000""#,
        r#""aud":"orders","nbf":4000000000"#,
        r#""aud":"orders","iss":["https://id.example/"]"#,
        r#""aud":"orders","iss":7"#,
        r#""aud":"orders","token_type":7"#,
        r#""aud":"orders","token_type":["Bearer"]"#,
        r#""aud":"orders","token_type":"Bearer ""#,
        r#""aud":"orders","token_type":"""#,
        r#""aud":"orders","token_use":["access_token"]"#,
        r#""aud":"orders","cnf":{}"#,
        r#""aud":"orders","cnf":"x""#,
        r#""aud":"orders","cnf":{"unknown":"x"}"#,
        r#""aud":"orders","sub":7"#,
    ] {
        assert_ne!(judged(&with_rest(more)), "allow", "{more}");
    }
    // What is `null` is absent, and what is not known is borne.
    for more in [
        r#""aud":"orders","exp":null,"nbf":null,"iss":null,"token_type":null,"cnf":null"#,
        r#""aud":["orders"],"active_until":1,"jwt":"eyJ","ext":{"active":false}"#,
        r#""aud":["billing","orders"],"exp":1.9e9"#,
    ] {
        assert_eq!(judged(&with_rest(more)), "allow", "{more}");
    }
}

/// Only what stands at the top of the answer counts.
#[test]
fn no_other_place_of_an_answer_says_that_a_token_is_active() {
    for answer in [
        r#"{"token_introspection":{"active":true,"aud":"orders","scope":"orders.read"}}"#,
        r#"{"data":{"active":true},"aud":"orders","scope":"orders.read"}"#,
        r#"{"error":"invalid_token","active":false,"active ":true}"#,
        r#""{\"active\":true}""#,
        "{\"active\":true,\"aud\":\"orders\",\"scope\":\"orders.read\"}\0",
        ")]}',\n{\"active\":true,\"aud\":\"orders\",\"scope\":\"orders.read\"}",
        "{'active': true, 'aud': 'orders', 'scope': 'orders.read'}",
        "{\"active\":TRUE,\"aud\":\"orders\"}",
        "{\"active\":true,}",
        "// yes\n{\"active\":true}",
    ] {
        assert_ne!(judged(answer), "allow", "{answer}");
    }
}

/// RFC 9449 section 6.2: a key that the answer names binds the token, also a JWT that names none itself.
#[test]
fn a_key_that_the_answer_names_binds_a_jwt_too() {
    let (idp, at) = (idp(), now());
    let token = idp.token(json!({ "sub": "alice" }));
    for claims in ["token", "answer"] {
        let block = introspection(json!({ "claims": claims }));
        let provider = with(local_provider(&idp), json!({ "introspection": block }));
        let config = config(&provider, json!({ "introspect": true }));
        for bound in [
            json!({ "cnf": { "jkt": "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I" } }),
            json!({ "token_type": "DPoP" }),
        ] {
            let answer = with(json!({ "active": true, "aud": AUDIENCE }), bound);
            let got = Replay::new(&config, at).bearer(&token, at, |_| json_answer(&answer));
            assert_eq!(got, "token_bound", "{answer}, claims: {claims}");
        }
    }
}

/// A signed answer may come under a key that is new: it is looked for, and the token passes a moment later.
#[test]
fn a_new_key_of_signed_answers_is_found() {
    let (idp, at) = (idp(), now());
    let block = introspection(json!({ "accept": "jwt" }));
    let config = config(&with(provider(&idp), json!({ "introspection": block })), json!({}));
    let sign = |idp: &harness::Idp| {
        let members = json!({ "active": true, "aud": AUDIENCE });
        let claims = json!({ "iss": idp.issuer(), "aud": "gate", "iat": at, "token_introspection": members });
        idp.sign_introspection(&claims)
    };
    let mut replay = Replay::new(&config, at);
    let mut ask = |number: u64, after: u64, jwks: &Value, answer: &str| {
        // What is due is fetched with the ticks of the host.
        replay.tick(at + after);
        for (lookup, _) in std::mem::take(&mut replay.in_flight) {
            replay.answered(lookup, json_answer(jwks), at + after);
        }
        replay.bearer(&opaque(number), at + after, |call| {
            if call.endpoint.path == "/jwks.json" { json_answer(jwks) } else { json_answer(answer) }
        })
    };
    let (before, answer) = (idp.jwks(), sign(&idp));
    assert_eq!(ask(1, 0, &before, &answer), "allow");
    idp.rotate(false);
    let (after, answer) = (idp.jwks(), sign(&idp));
    let healed = (1..=10).find(|second| ask(2, *second, &after, &answer) == "allow");
    assert!(healed.is_some_and(|seconds| seconds <= 6), "{healed:?}");
    // Nobody's key stays nobody's.
    let foreign = Key::cached(harness::Alg::RS256, "nobody");
    let header = json!({ "alg": "RS256", "kid": "nobody", "typ": "token-introspection+jwt" });
    let members = json!({ "active": true, "aud": AUDIENCE });
    let claims = json!({ "iss": idp.issuer(), "aud": "gate", "iat": at, "token_introspection": members });
    let forged = foreign.sign_jws(&header, claims.to_string().as_bytes());
    for second in 11..=20 {
        assert_eq!(ask(3, second, &after, &forged), "introspection_unavailable");
    }
    let with_it = jwks([&foreign]);
    assert_ne!(with_it, after);
}

/// A rule that takes tokens of either kind: a JWT is not shown to the other provider where its own takes it.
#[test]
fn tokens_of_both_kinds_may_come_under_one_rule() {
    let (idp, at) = (idp(), now());
    let requirements = json!([{ "provider_name": "corp" }, { "provider_name": "opaque" }]);
    let config = json!({
        "providers": {
            "corp": local_provider(&idp),
            "opaque": with(opaque_provider(), json!({ "audiences": [AUDIENCE] })),
        },
        "rules": [{ "match": { "prefix": "/" }, "requires": { "requires_any": { "requirements": requirements } } }],
    });
    let mut replay = Replay::new(&config, at);
    let yes = json!({ "active": true, "aud": AUDIENCE });
    assert_eq!(replay.bearer(&idp.token(json!({})), at, |_| json_answer(&yes)), "allow");
    assert!(replay.calls.is_empty());
    assert_eq!(replay.bearer(&opaque(1), at, |_| json_answer(&yes)), "allow");
    assert_eq!(replay.calls.len(), 1);
    assert_ne!(replay.bearer(&opaque(2), at, |_| json_answer(json!({ "active": false }))), "allow");
    assert_ne!(replay.bearer(&opaque(3), at, |_| status(500, "")), "allow");
}

/// `allow_missing_or_failed` is for tokens that fail, and what it lets pass has no identity.
#[test]
fn who_may_come_without_a_token_may_come_with_an_inactive_one_and_is_nobody() {
    let requirements = json!([{ "provider_name": "p" }, { "allow_missing_or_failed": {} }]);
    let config = json!({
        "providers": { "p": opaque_provider() },
        "rules": [{ "match": { "prefix": "/" }, "requires": { "requires_any": { "requirements": requirements } },
                    "authorize": { "scopes": { "all_of": ["orders.read"] } } }],
    });
    let mut replay = Replay::new(&config, NOW);
    let inactive = json!({ "active": false, "scope": "orders.read", "aud": "orders" });
    assert_ne!(replay.bearer(&opaque(1), NOW, |_| json_answer(&inactive)), "allow");
}

/// A five-part answer is an encrypted one, which nobody here can read.
#[test]
fn an_encrypted_answer_is_none() {
    let (idp, at) = (idp(), now());
    let block = introspection(json!({ "accept": "jwt" }));
    let config = config(&with(local_provider(&idp), json!({ "introspection": block })), json!({}));
    let header = b64(r#"{"alg":"RSA-OAEP-256","enc":"A256GCM","typ":"token-introspection+jwt"}"#);
    let answer = format!("{header}.{}.{}.{}.{}", b64("key"), b64("iv"), b64("text"), b64("tag"));
    let got = Replay::new(&config, at).bearer(&opaque(1), at, |_| json_answer(&answer));
    assert_eq!(got, "introspection_unavailable");
}

/// A 503 about one token names the time after which it is asked about again, and one about the endpoint its next try.
#[test]
fn every_503_says_when_to_come_again() {
    for (answer, least, most) in
        [(status(400, ""), 1, 10), (status(200, "{}"), 1, 10), (status(500, ""), 1, 10)]
    {
        let mut replay = Replay::new(&config(&opaque_provider(), json!({})), NOW);
        let what = format!("{answer:?}");
        assert_eq!(replay.bearer(&opaque(1), NOW, |_| answer.clone()), "introspection_unavailable");
        let seconds = replay.retry_after.unwrap_or_else(|| panic!("{what}: no time"));
        assert!((least..=most).contains(&seconds), "{what}: {seconds}");
    }
}
