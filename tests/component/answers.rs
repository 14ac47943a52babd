//! What a client is told, and what the operator's access log shows.

use harness::idp::{Alg, Key, b64, flip_bit};
use serde_json::{Value, json};

use crate::fake_host::{Request, Status, Vm};
use crate::fixtures::{
    AUDIENCE, ISSUER, NOW, decided, foreign_key, jwks, key, local_config, orders, token, warm, with,
};

/// The full reason, or `token_rejected`: it depends on whether claims are judged before the signature is.
const EITHER: &str = "";

/// What a request gets.
struct Case {
    name: &'static str,
    request: Request,
    status: u32,
    /// In `%RESPONSE_CODE_DETAILS%`, behind `portcullis_`.
    reason: &'static str,
    /// What the client reads as `reason`; [`EITHER`] where a claim is at fault.
    told: &'static str,
}

fn case(name: &'static str, request: Request, status: u32, reason: &'static str, told: &'static str) -> Case {
    Case { name, request, status, reason, told }
}

/// A bad token: 401, of which the client is told less than the log.
fn bad(name: &'static str, token: &str, reason: &'static str, told: &'static str) -> Case {
    case(name, orders(token), 401, reason, told)
}

fn cases() -> Vec<Case> {
    let good = token().sign();
    let (head, _) = good.rsplit_once('.').expect("three parts");
    let secret_of_public_key = Key::hmac(Alg::HS256, "current", key().public_pem().as_bytes());
    let not_json = key().sign_parts(b"{", b"{}");
    let array = key().sign_jws(&json!({ "alg": "ES256", "kid": "current" }), b"[]");
    let twice = key().sign_jws(
        &json!({ "alg": "ES256", "kid": "current" }),
        format!(r#"{{"iss":"{ISSUER}","aud":"{AUDIENCE}","exp":{},"sub":"a","sub":"b"}}"#, NOW + 60)
            .as_bytes(),
    );
    let jwe = format!(
        "{}.{}.{}.{}.{}",
        b64(r#"{"alg":"dir","enc":"A128GCM"}"#),
        "",
        b64("iv"),
        b64("x"),
        b64("tag")
    );
    vec![
        case("no token", Request::get("/orders/7"), 401, "token_missing", "token_missing"),
        case(
            "another scheme",
            Request::get("/orders/7").header("authorization", "Basic dTpw"),
            401,
            "token_missing",
            "token_missing",
        ),
        case("two tokens", orders(&good).bearer(&good), 400, "token_multiple", "token_multiple"),
        case(
            "two fields that the codec did not join",
            orders(&good).raw_header("authorization", "Bearer x"),
            400,
            "token_multiple",
            "token_multiple",
        ),
        case(
            "a token beside another scheme",
            Request::get("/orders/7").header("authorization", "Basic dTpw").bearer(&good),
            400,
            "token_multiple",
            "token_multiple",
        ),
        case("an empty token", orders(""), 401, "token_missing", "token_missing"),
        bad("no dots", "abc", "token_malformed", "token_malformed"),
        bad("no signature part", head, "token_malformed", "token_malformed"),
        bad("a header that is no JSON", &not_json, "token_malformed", "token_malformed"),
        bad("claims that are no object", &array, "token_malformed", "token_malformed"),
        bad("a claim given twice", &twice, "token_malformed", "token_malformed"),
        bad("padding", &format!("{good}="), "token_malformed", "token_malformed"),
        bad("a blank behind", &format!("{good} x"), "token_malformed", "token_malformed"),
        bad("a long token", &format!("{good}{}", "A".repeat(8192)), "token_too_large", "token_too_large"),
        bad("a JWE", &jwe, "token_encrypted", "token_encrypted"),
        bad("alg none", &token().unsigned(), "algorithm_not_allowed", "token_rejected"),
        bad(
            "alg none in another case",
            &key().sign_jws(&json!({ "alg": "nOnE" }), token().payload().to_string().as_bytes()),
            "algorithm_not_allowed",
            "token_rejected",
        ),
        bad(
            "HS256 with the public key",
            &token().key(&secret_of_public_key).sign(),
            "algorithm_not_allowed",
            "token_rejected",
        ),
        bad("crit", &token().header("crit", json!(["exp"])).sign(), "critical_header", "token_rejected"),
        bad(
            "an unencoded payload",
            &token().header("b64", false).sign(),
            "critical_header",
            "token_rejected",
        ),
        bad(
            "another type of JWT",
            &token().header("typ", "logout+jwt").sign(),
            "type_not_allowed",
            "token_rejected",
        ),
        bad("a flipped bit", &flip_bit(&good), "signature_invalid", "token_rejected"),
        bad(
            "another key under a known kid",
            &token().key(&foreign_key()).kid("current").sign(),
            "signature_invalid",
            "token_rejected",
        ),
        bad("an unknown kid", &token().key(&foreign_key()).sign(), "key_not_found", "token_rejected"),
        bad(
            "an embedded key",
            &token().key(&foreign_key()).kid("current").header("jwk", foreign_key().public_jwk()).sign(),
            "signature_invalid",
            "token_rejected",
        ),
        bad("another issuer", &token().claim("iss", "https://idp.example").sign(), "issuer_unknown", EITHER),
        bad("no issuer", &token().without("iss").sign(), "issuer_unknown", EITHER),
        bad("another audience", &token().claim("aud", "order").sign(), "audience_mismatch", EITHER),
        bad("no audience", &token().without("aud").sign(), "audience_mismatch", EITHER),
        bad("expired", &token().claim("exp", NOW - 60).sign(), "expired", "expired"),
        bad("exp 0", &token().claim("exp", 0).sign(), "expired", "expired"),
        bad("not yet valid", &token().claim("nbf", NOW + 90).sign(), "not_yet_valid", "not_yet_valid"),
        bad("from the future", &token().claim("iat", NOW + 90).sign(), "issued_in_future", EITHER),
        bad("no expiry", &token().without("exp").sign(), "expiration_missing", EITHER),
        bad("an expiry as text", &token().claim("exp", "2040").sign(), "claim_invalid", EITHER),
        bad("a subject that is a number", &token().claim("sub", 7).sign(), "claim_invalid", EITHER),
        bad("a null audience", &token().claim("aud", Value::Null).sign(), "claim_invalid", EITHER),
        bad("bound to a key", &token().claim("cnf", json!({ "jkt": "x" })).sign(), "token_bound", EITHER),
        case(
            "a scope missing",
            orders(&token().claim("scope", "orders:write orders:readx").sign()),
            403,
            "scope_insufficient",
            "scope_insufficient",
        ),
        case("no rule", Request::get("/elsewhere").bearer(&good), 403, "route_unmatched", "route_unmatched"),
        case(
            "a method no rule names",
            Request::new("DELETE", "/orders/7").bearer(&good),
            403,
            "route_unmatched",
            "route_unmatched",
        ),
        case(
            "a method in lower case",
            Request::new("get", "/orders/7"),
            403,
            "route_unmatched",
            "route_unmatched",
        ),
        case(
            "an ambiguous path",
            Request::get("/public/../orders/7"),
            400,
            "path_ambiguous",
            "path_ambiguous",
        ),
        case(
            "an encoded slash",
            Request::get("/public/%2e%2e%2forders"),
            400,
            "path_ambiguous",
            "path_ambiguous",
        ),
    ]
}

/// The members of `WWW-Authenticate: Bearer a="b", …`.
fn challenge(value: &str) -> Vec<(String, String)> {
    let parameters = value.strip_prefix("Bearer ").unwrap_or_else(|| panic!("{value}"));
    let split = parameters.split("\", ");
    split
        .map(|part| {
            let (name, value) = part.split_once("=\"").unwrap_or_else(|| panic!("{parameters}"));
            (name.to_owned(), value.trim_end_matches('"').to_owned())
        })
        .collect()
}

#[test]
fn each_reason_has_its_status_its_details_and_its_body() {
    let vm = warm();
    let mut wrong = Vec::new();
    for Case { name, request, status, reason, told } in cases() {
        let reply = decided(&vm, request).replied();
        let body: Value = serde_json::from_slice(&reply.body).expect("a problem document");
        let told = match told {
            EITHER if body["reason"] == reason => reason,
            EITHER => "token_rejected",
            told => told,
        };
        let expected = (status, format!("portcullis_{reason}"), json!(told));
        let got = (reply.status, reply.details.clone(), body["reason"].clone());
        if got != expected {
            wrong.push(format!("{name}: {got:?} instead of {expected:?}"));
        }
        assert_eq!(reply.header("content-type").as_deref(), Some("application/problem+json"), "{name}");
        assert_eq!(body["status"], json!(reply.status), "{name}");
        let mut members: Vec<&str> =
            body.as_object().expect("an object").keys().map(String::as_str).collect();
        members.sort_unstable();
        assert_eq!(members, ["detail", "reason", "status", "title", "type"], "{name}");
        for secret in ["eyJ", "alice", AUDIENCE, "idp.example"] {
            assert!(!reply.text().contains(secret), "{name}: the body tells {secret}: {}", reply.text());
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn a_challenge_says_what_rfc_6750_wants_and_no_more() {
    let vm = warm();
    for Case { name, request, .. } in cases() {
        let reply = decided(&vm, request).replied();
        let header = reply.header("www-authenticate");
        let parameters = header.as_deref().map(challenge).unwrap_or_default();
        let get = |wanted: &str| {
            let found = parameters.iter().find(|(name, _)| name == wanted);
            found.map(|(_, value)| value.as_str())
        };
        match (reply.status, reply.details.trim_start_matches("portcullis_")) {
            (401, "token_missing") => {
                assert_eq!((get("realm"), get("scope")), (Some("corp"), Some("orders:read")), "{name}");
                assert_eq!(parameters.len(), 2, "{name}: {parameters:?}");
            }
            (401, _) => {
                assert_eq!((get("realm"), get("error")), (Some("corp"), Some("invalid_token")), "{name}");
                let description = get("error_description").unwrap_or_default();
                assert!(!description.is_empty(), "{name}");
                assert!(!description.contains("_"), "{name}: words, not names: {description}");
            }
            (400, "token_multiple") => assert_eq!(get("error"), Some("invalid_request"), "{name}"),
            (403, "scope_insufficient") => {
                let challenge = (get("error"), get("scope"));
                assert_eq!(challenge, (Some("insufficient_scope"), Some("orders:read")), "{name}");
            }
            _ => assert_eq!(header, None, "{name}"),
        }
    }
}

#[test]
fn grpc_clients_get_a_grpc_status() {
    let vm = warm();
    let grpc = |request: Request| request.header("content-type", "application/grpc+proto");
    for (request, status) in [
        (Request::get("/orders/7"), 16),
        (orders("x"), 16),
        (orders(&token().claim("scope", "").sign()), 7),
        (Request::get("/elsewhere"), 7),
        (orders("a").bearer("b"), 3),
        (Request::get("/public/..;/x"), 3),
    ] {
        let reply = vm.request(grpc(request)).outcome().replied();
        assert_eq!(reply.effective_grpc_status(), status, "{reply:?}");
        let message = reply.text();
        assert!(
            !message.is_empty() && !message.contains(['\n', '{']),
            "grpc-message is one line: {message:?}"
        );
    }
}

#[test]
fn a_good_token_passes_and_the_token_stays_here() {
    let vm = warm();
    let good = token().sign();
    let forwarded = vm.request(orders(&good)).outcome().continued();
    assert_eq!(forwarded.values("x-user"), ["alice"]);
    assert_eq!(forwarded.values("x-tenant"), ["acme"]);
    let payload = good.split('.').nth(1).expect("a payload");
    assert_eq!(forwarded.values("x-jwt-payload"), [payload]);
    assert!(!forwarded.has("authorization"), "forward: false");
    assert_eq!(forwarded.values(":path"), ["/orders/7"]);

    let vm = Vm::start(with(local_config(), "/providers/corp/forward", json!(true)));
    let forwarded = vm.request(orders(&good)).outcome().continued();
    assert_eq!(forwarded.values("authorization"), [format!("Bearer {good}")]);
}

#[test]
fn the_access_log_and_later_filters_can_read_the_decision() {
    let all = json!(["decision", "reason", "rule", "provider", "subject", "scopes"]);
    let vm = Vm::start(with(local_config(), "/filter_state", all));
    let state = |request: Request| {
        let stream = vm.request(request);
        let text = |(key, value): (String, Vec<u8>)| {
            let key = key.strip_prefix("wasm.portcullis.").unwrap_or_else(|| panic!("{key}")).to_owned();
            (key, String::from_utf8(value).expect("text"))
        };
        stream.filter_state().into_iter().map(text).collect::<std::collections::BTreeMap<String, String>>()
    };
    let passed = state(orders(&token().sign()));
    for (key, value) in [
        ("decision", "allow"),
        ("provider", "corp"),
        ("subject", "alice"),
        ("scopes", "orders:read openid"),
        ("rule", "orders-read"),
    ] {
        assert_eq!(passed.get(key).map(String::as_str), Some(value), "{key}");
    }
    assert_eq!(passed.get("reason"), None);
    let public = state(Request::get("/healthz"));
    assert_eq!((public["decision"].as_str(), public["rule"].as_str()), ("allow", "health"));
    assert_eq!(public.get("subject"), None);
    let refused = state(orders(&flip_bit(&token().sign())));
    assert_eq!((refused["decision"].as_str(), refused["reason"].as_str()), ("deny", "signature_invalid"));
    assert_eq!(refused.get("subject"), None, "nothing of a token that did not hold");
    let unmatched = state(Request::get("/elsewhere"));
    assert_eq!((unmatched["decision"].as_str(), unmatched["reason"].as_str()), ("deny", "route_unmatched"));
}

#[test]
fn every_form_of_a_good_token_passes() {
    let rsa = Key::cached(Alg::RS256, "rsa");
    let inline = json!({ "keys": [key().public_jwk(), rsa.public_jwk()] });
    let config = with(local_config(), "/providers/corp/local_jwks", json!({ "inline": inline }));
    let vm = Vm::start(config);
    for (name, builder) in [
        ("ES256", token()),
        ("RS256", token().key(&rsa)),
        ("no typ", token().without_header("typ")),
        ("at+jwt", token().header("typ", "at+jwt")),
        ("application/at+jwt", token().header("typ", "application/AT+JWT")),
        ("no kid", token().without_header("kid")),
        ("several audiences", token().claim("aud", json!(["a", AUDIENCE]))),
        ("scopes as a list", token().without("scope").claim("scp", json!(["orders:read"]))),
        ("a fractional date", token().claim("exp", NOW as f64 + 10.5)),
        ("just expired, within the skew", token().claim("exp", NOW - 59)),
        ("almost valid, within the skew", token().claim("nbf", NOW + 60)),
        ("no iat", token().without("iat")),
    ] {
        let outcome = vm.request(orders(&builder.sign())).outcome();
        assert!(outcome.is_continued(), "{name}: {outcome:?}");
    }
    let scheme = |value: String| vm.request(Request::get("/orders/7").header("authorization", value));
    for prefix in ["Bearer ", "bearer ", "BEARER ", "Bearer   "] {
        assert!(scheme(format!("{prefix}{}", token().sign())).outcome().is_continued(), "{prefix:?}");
    }
}

#[test]
fn no_reason_is_ever_in_a_form_that_an_access_log_would_change() {
    let vm = warm();
    for Case { request, .. } in cases() {
        let details = decided(&vm, request).replied().details;
        assert!(details.bytes().all(|b| b.is_ascii_lowercase() || b == b'_'), "{details:?}");
    }
}

#[test]
fn a_key_set_in_the_configuration_needs_no_fetch() {
    let vm = Vm::start(local_config());
    vm.advance(std::time::Duration::from_secs(30));
    assert!(vm.request(orders(&token().sign())).outcome().is_continued());
    assert_eq!(vm.sent_calls(), []);
    assert!(jwks().contains("current"));
}

#[test]
fn tokens_are_never_logged() {
    let vm = warm();
    let mut secrets = Vec::new();
    for Case { request, .. } in cases() {
        decided(&vm, request);
    }
    for builder in
        [token(), token().claim("exp", 1), token().key(&foreign_key()), token().claim("scope", "x")]
    {
        let signed = builder.sign();
        vm.request(orders(&signed));
        secrets.extend(signed.split('.').map(str::to_owned));
    }
    for (_, message) in vm.logs() {
        assert!(!secrets.iter().any(|secret| message.contains(secret)), "{message}");
        assert!(!message.contains(['\n', '\r']), "{message:?}");
    }
}

#[test]
fn a_page_of_a_listed_origin_may_read_an_answer_that_a_failing_host_causes_too() {
    let cors = json!({ "allow_origins": ["https://app.example"] });
    let vm = Vm::start(with(local_config(), "/cors", cors));
    let sent = |origin: &str| orders(&token().sign()).header("origin", origin).header("x-user", "mallory");
    for (origin, allowed) in [("https://app.example", true), ("https://evil.example", false)] {
        let allowed = allowed.then_some(origin);
        vm.fail("proxy_remove_header_map_value", Status::INTERNAL_FAILURE);
        let reply = vm.request(sent(origin)).outcome().replied();
        vm.heal();
        assert_eq!((reply.status, reply.details.as_str()), (503, "portcullis_overloaded"));
        assert_eq!(reply.header("access-control-allow-origin").as_deref(), allowed, "{origin}");
        // And one that takes the place of the answer of another route.
        let stream = vm.request(sent(origin));
        vm.fail("proxy_get_property", Status::INTERNAL_FAILURE);
        stream.finish();
        vm.heal();
        let reply = stream.outcome().replied();
        assert_eq!(reply.details, "portcullis_request_ambiguous");
        assert_eq!(reply.header("access-control-allow-origin").as_deref(), allowed, "{origin}");
    }
}
