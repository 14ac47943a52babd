//! `limits`: who tries tokens costs little, and harms nobody else.

use crate::common;

use std::time::Duration;

use common::{Gateway, assert_problem, config, corp, local_provider, retry_after, with};
use harness::envoy::EnvoyBuilder;
use harness::idp::flip_bit;
use harness::wait::eventually;
use harness::{Alg, Key, Request, Response};
use portcullis::{
    Config, Environment, Gate, HostProperties, Outcome, Reason, RouteMetadataValue, StreamId, Timestamp,
};
use serde_json::{Value, json};

/// An Envoy that takes clients for whom they say they are, so that one test can be many of them.
fn gateway(rules: Value, more: Value) -> Gateway {
    start(rules, more, EnvoyBuilder::shared)
}

fn start(rules: Value, more: Value, change: impl FnOnce(EnvoyBuilder) -> EnvoyBuilder) -> Gateway {
    let configuration = |idp: &harness::Idp| {
        let mut all = with(config(local_provider(idp), rules), more);
        let spare = with(local_provider(idp), json!({ "from_headers": [{ "name": "x-spare" }] }));
        all["providers"]["spare"] = spare;
        all
    };
    Gateway::start_with(configuration, |builder| {
        change(builder).main(|main| main.hcm("use_remote_address", json!(false)))
    })
}

fn failures(more: Value) -> Value {
    json!({ "limits": { "failures": more } })
}

fn everywhere() -> Value {
    json!([{ "match": { "prefix": "/" }, "requires": corp() }])
}

fn send(gateway: &Gateway, client: &str, request: Request) -> Response {
    request.header("x-forwarded-for", client).send(gateway.addr())
}

fn ask(gateway: &Gateway, client: &str, token: &str) -> Response {
    send(gateway, client, Request::get("/").bearer(token))
}

/// A new token that is good.
fn fresh(gateway: &Gateway, at: usize) -> String {
    gateway.idp.token(json!({ "jti": format!("fresh-{at}") }))
}

#[test]
fn the_31st_forged_token_of_a_client_is_refused_and_neither_known_ones_nor_others_are() {
    let gateway = start(everywhere(), failures(json!({})), |builder| builder);
    let (attacker, other) = ("203.0.113.1", "203.0.113.2");
    let known = gateway.idp.token(json!({}));
    assert_eq!(ask(&gateway, attacker, &known).status, 200);
    let strange = Key::cached(Alg::ES256, "strange");
    for at in 0..30 {
        let token = match at % 3 {
            0 => flip_bit(&fresh(&gateway, at)),
            1 => format!("forged-{at}"),
            _ => gateway.idp.mint().claim("jti", format!("{at}")).key(&strange).sign(),
        };
        assert_eq!(ask(&gateway, attacker, &token).status, 401, "{at}");
    }
    for (at, token) in [
        ("forged", flip_bit(&fresh(&gateway, 31))),
        ("malformed", "forged".to_owned()),
        ("good and new", fresh(&gateway, 32)),
        ("expired", gateway.idp.mint().expires_in(-100).sign()),
    ] {
        let response = ask(&gateway, attacker, &token);
        assert_problem(at, &response, 429, "too_many_failures");
        assert!((1..=60).contains(&retry_after(&response)), "{at}: {response:?}");
        assert_eq!(response.headers_named("www-authenticate"), [""; 0], "{at}");
    }
    for _ in 0..3 {
        assert_eq!(ask(&gateway, attacker, &known).status, 200, "a token that is known");
    }
    assert_problem("none", &send(&gateway, attacker, Request::get("/")), 401, "token_missing");
    let grpc = Request::grpc("/").bearer("forged").header("x-forwarded-for", attacker);
    let grpc = grpc.send_h2(gateway.addr());
    assert_eq!(grpc.header("grpc-status").as_deref(), Some("8"), "{grpc:?}");
    let seconds = retry_after(&grpc);
    let pushback = if seconds <= 10 { (seconds * 1000).to_string() } else { "-1".to_owned() };
    assert_eq!(grpc.header("grpc-retry-pushback-ms"), Some(pushback));
    // Nobody else is harmed.
    assert_eq!(ask(&gateway, other, &fresh(&gateway, 33)).status, 200);
    assert_eq!(ask(&gateway, other, "forged").status, 401);
    for (client, status) in [("2001:db8::1", 401), ("2001:db8:0:1::1", 401)] {
        assert_eq!(ask(&gateway, client, "forged").status, status, "{client}");
    }
    let stats = "wasmcustom.portcullis.clients_blocked";
    // A request without a token is no failure.
    let without = Request::get("/");
    assert_eq!(common::wait_for_count(&gateway.envoy, stats, common::SOON, &without, |value| value > 0), 1);
    let warning = gateway.envoy.wait_for_log("use_remote_address", common::SOON);
    assert!(warning.contains("limits.failures"), "{warning}");
    gateway.assert_sound();
}

#[test]
fn what_honest_clients_do_wrong_is_no_failure() {
    let rules = json!([
        { "match": { "path": "/any" }, "requires": { "requires_any": { "requirements": [corp(), { "provider_name": "spare" }] } } },
        { "match": { "path": "/open" }, "requires": { "allow_missing_or_failed": {} } },
        { "match": { "path": "/report" }, "requires": corp(), "mode": "report" },
        { "match": { "path": "/public" } },
        { "match": { "prefix": "/" }, "requires": corp(), "authorize": { "scopes": { "none_of": ["x"] } } },
    ]);
    let gateway = gateway(rules, failures(json!({ "per_client": 3 })));
    let idp = &gateway.idp;
    let good = idp.token(json!({}));
    let get = |path: &str| Request::get(path);
    let forged = flip_bit(&good);
    // Whether the fourth request of its kind has the client refused.
    let cases: Vec<(&str, Request, bool)> = vec![
        ("malformed", get("/").bearer("forged"), true),
        ("a bad signature", get("/").bearer(&forged), true),
        (
            "a key of nobody",
            get("/").bearer(&idp.mint().key(&Key::cached(Alg::ES256, "strange")).sign()),
            true,
        ),
        ("a blank that is none", get("/").header("authorization", "Bearer\tx"), true),
        ("failed where that is allowed", get("/open").bearer(&forged), true),
        ("failed where it is only reported", get("/report").bearer(&forged), true),
        ("none", get("/"), false),
        ("an empty one", get("/").header("authorization", "Bearer "), false),
        ("expired", get("/").bearer(&idp.mint().expires_in(-100).sign()), false),
        ("for another service", get("/").bearer(&idp.mint().claim("aud", "x").sign()), false),
        ("of another issuer", get("/").bearer(&idp.mint().claim("iss", "https://x.example").sign()), false),
        ("without scopes", get("/").bearer(&idp.mint().claim("scope", "x").sign()), false),
        ("two of them", get("/").bearer(&good).bearer(&good), false),
        ("too large", get("/").bearer(&"x".repeat(9000)), false),
        ("one of two", get("/any").bearer(&forged).header("x-spare", &good), false),
        ("where nothing is asked", get("/public").bearer(&forged), false),
    ];
    for (at, (what, request, blocks)) in cases.into_iter().enumerate() {
        let client = format!("198.51.100.{}", at + 1);
        let first = send(&gateway, &client, request.clone()).status;
        for _ in 0..4 {
            let status = send(&gateway, &client, request.clone()).status;
            assert!(status == first || (blocks && status == 429), "{what}: {status}");
        }
        let new = idp.token(json!({ "jti": format!("{at}") }));
        let response = ask(&gateway, &client, &new);
        assert_eq!(response.status, if blocks { 429 } else { 200 }, "{what}: {response:?}");
    }
    gateway.assert_sound();
}

#[test]
fn a_block_ends_by_itself() {
    let gateway = gateway(everywhere(), failures(json!({ "per_client": 1, "window": "1s", "block": "1s" })));
    assert_eq!(ask(&gateway, "203.0.113.1", "forged").status, 401);
    let good = fresh(&gateway, 1);
    eventually("the end of the block", common::SOON, || {
        (ask(&gateway, "203.0.113.1", &good).status == 200).then_some(())
    });
    gateway.assert_sound();
}

/// A client of this address, without a proxy.
struct From(String);

impl HostProperties for From {
    fn is_tls(&self) -> bool {
        false
    }

    fn client_address(&self) -> Option<String> {
        Some(self.0.clone())
    }

    fn has_route_metadata(&self) -> bool {
        false
    }

    fn route_metadata(&self, _: &str) -> RouteMetadataValue {
        RouteMetadataValue::Absent
    }
}

const NOW: u64 = 1_800_000_000;

/// A gate with these limits, and a key that its tokens are signed with.
fn native(limits: Value) -> (Gate, Key) {
    let key = Key::cached(Alg::ES256, "key").with_kid("k");
    let config = json!({
        "providers": { "corp": {
            "issuer": "https://idp.example/", "audiences": ["a"], "require_expiration": false,
            "local_jwks": { "inline": harness::idp::jwks([&key]) },
        } },
        "rules": [{ "match": { "prefix": "/" }, "requires": corp() }],
        "limits": limits,
    });
    let config = Config::parse(config.to_string().as_bytes(), &|_| None).expect("a good configuration");
    (Gate::new(config, Environment::alone(1), Timestamp::from_secs(NOW)), key)
}

fn token(key: &Key, at: usize) -> String {
    let claims = json!({ "iss": "https://idp.example/", "aud": "a", "jti": at.to_string() });
    key.sign_parts(br#"{"alg":"ES256","kid":"k"}"#, claims.to_string().as_bytes())
}

fn decide(gate: &mut Gate, token: &str, from: &From, millis: u64) -> Option<Reason> {
    let authorization = format!("Bearer {token}");
    let fields =
        [(&b":method"[..], &b"GET"[..]), (b":path", b"/"), (b"authorization", authorization.as_bytes())];
    let request = portcullis::Request::new(&fields).within(from);
    let now = Timestamp::from_nanos((NOW * 1000 + millis) * 1_000_000);
    let outcome = gate.decide(StreamId(1), &request, now);
    while gate.next_effect().is_some() {}
    match outcome {
        Outcome::Allow(_) => None,
        Outcome::Deny(refusal) => Some(refusal.response.reason),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_worker_checks_so_many_signatures_in_a_second() {
    let (mut gate, key) = native(json!({ "verifications_per_second": 3 }));
    let from = From("203.0.113.1:1".to_owned());
    let mut ask = |token: &str, millis| decide(&mut gate, token, &from, millis);
    let tokens: Vec<String> = (0..4).map(|at| token(&key, at)).collect();
    for token in &tokens[..3] {
        assert_eq!(ask(token, 0), None);
    }
    assert_eq!(ask(&tokens[3], 500), Some(Reason::Overloaded));
    // What costs no signature is not counted, and has its own reason.
    assert_eq!(ask("forged", 600), Some(Reason::TokenMalformed));
    for token in &tokens[..3] {
        assert_eq!(ask(token, 900), None, "a token that is known");
    }
    assert_eq!(ask(&tokens[3], 1000), None, "the next second");
}

#[test]
fn a_signature_too_many_is_told_with_when_to_try_again() {
    let gateway = gateway(everywhere(), json!({ "limits": { "verifications_per_second": 1 } }));
    let mut at = 0;
    let overloaded = eventually("one that is too many", common::SOON, || {
        let mut answers = (0..3).map(|_| {
            at += 1;
            Request::get("/").bearer(&fresh(&gateway, at)).send(gateway.addr())
        });
        answers.find(|response| response.status == 503)
    });
    assert_problem("too many", &overloaded, 503, "overloaded");
    assert_eq!(retry_after(&overloaded), 1);
    gateway.assert_sound();
}

#[test]
fn a_refusal_costs_less_than_a_third_of_a_verification() {
    let (mut open, key) = native(json!({ "failures": { "per_client": 100_000, "window": "3600s" } }));
    let (mut blocked, _) = native(json!({ "failures": { "per_client": 1, "block": "3600s" } }));
    let from = From("203.0.113.1:1".to_owned());
    let forged = flip_bit(&token(&key, 1));
    assert_eq!(decide(&mut blocked, &forged, &from, 0), Some(Reason::SignatureInvalid));
    assert_eq!(decide(&mut blocked, &forged, &from, 1), Some(Reason::TooManyFailures));
    let cost = |gate: &mut Gate, expected: Reason| {
        let rounds = (0..5).map(|_| {
            let ((), time) = harness::wait::processor_time(|| {
                (0..50).for_each(|_| assert_eq!(decide(gate, &forged, &from, 2), Some(expected)));
            });
            time
        });
        rounds.min().unwrap_or(Duration::MAX)
    };
    let (verified, refused) =
        (cost(&mut open, Reason::SignatureInvalid), cost(&mut blocked, Reason::TooManyFailures));
    println!("a verification {verified:?}, a refusal {refused:?}");
    assert!(refused * 3 < verified, "a verification {verified:?}, a refusal {refused:?}");
}

#[test]
fn so_many_addresses_take_no_more_memory_than_a_few() {
    let (mut gate, _) = native(json!({ "failures": { "per_client": 30 } }));
    let mut ask = |address: u32| {
        let from = From(format!("{}:1", std::net::Ipv4Addr::from(address)));
        assert_eq!(decide(&mut gate, "forged", &from, 0), Some(Reason::TokenMalformed));
    };
    (0..50_000).for_each(&mut ask);
    let (_, _, few) = common::allocations::during(|| (50_000..50_100).for_each(&mut ask));
    (50_100..150_000).for_each(&mut ask);
    let (_, _, many) = common::allocations::during(|| (150_000..150_100).for_each(&mut ask));
    assert!(many <= few + few / 10, "a hundred requests: {few} bytes, and later {many}");
}
