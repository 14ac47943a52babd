//! Keys come and go; requests do not fail for it where they need not, and nobody gets in without them.

use crate::common;

use std::time::{Duration, Instant};

use common::{Gateway, HeldKeys, SOON, assert_problem, config, corp, provider, retry_after, with};
use harness::idp::flip_bit;
use harness::{Alg, Behaviour, Cluster, Connection, Envoy, Key, Request, Upstream, Wasm, eventually};
use serde_json::{Value, json};

fn rules() -> Value {
    json!([
        { "match": { "prefix": "/public/" } },
        { "match": { "prefix": "/" }, "requires": corp() },
    ])
}

/// A gateway whose keys are on a held endpoint.
fn held(
    change: impl FnOnce(harness::envoy::EnvoyBuilder) -> harness::envoy::EnvoyBuilder,
) -> (Gateway, HeldKeys) {
    let (idp, upstream) = (common::idp(), Upstream::start());
    let keys = HeldKeys::start(&idp.jwks());
    let remote = json!({ "http_uri": { "uri": keys.uri(), "cluster": "held", "timeout": "60s" } });
    let config = config(with(provider(&idp), json!({ "remote_jwks": remote })), rules());
    // Those who are let go at once share a few connections, since each costs this process a file.
    let few = json!({ "thresholds": [{ "max_connections": 64, "max_pending_requests": 2000 }] });
    let builder = Envoy::builder()
        .cluster("upstream", Cluster::new(upstream.addr()).field("circuit_breakers", few))
        .cluster("held", Cluster::new(keys.addr()))
        .filter(Wasm::portcullis(config));
    let envoy = change(builder).start().unwrap_or_else(|error| panic!("{error}"));
    (Gateway { idp, upstream, envoy }, keys)
}

/// Waits until Envoy has this many requests in hand.
fn in_hand(gateway: &Gateway, count: u64) {
    gateway.envoy.wait_for_stat("http.main.downstream_rq_active", SOON, |active| active == count);
}

#[test]
fn without_any_key_source_tokens_get_503_and_the_filter_heals_by_itself() {
    let gateway = Gateway::start_with(
        |idp| {
            idp.go_away();
            config(provider(idp), rules())
        },
        |builder| builder.shared().concurrency(2),
    );
    let (idp, addr) = (&gateway.idp, gateway.addr());
    let token = idp.token(json!({}));
    for number in 0..8 {
        let path = format!("/orders/{number}");
        let response = Request::get(&path).bearer(&token).send(addr);
        assert_problem("no keys", &response, 503, "keys_unavailable");
        assert!((1..=120).contains(&retry_after(&response)), "{response:?}");
        assert_eq!(common::challenge(&response), None, "no token could be any better");
        let line = gateway.logged(&path);
        assert_eq!(
            (&line["details"], &line["provider"]),
            (&json!("portcullis_keys_unavailable"), &json!("corp"))
        );
    }
    // What needs no key is decided as ever.
    assert_eq!(Request::get("/public/a").send(addr).status, 200);
    assert_problem("no token", &Request::get("/orders").send(addr), 401, "token_missing");
    assert_problem("no JWT", &Request::get("/orders").bearer("x").send(addr), 401, "token_malformed");
    assert_eq!(gateway.upstream.count(), 1);

    idp.come_back();
    for worker in 0..4 {
        eventually(&format!("connection {worker} gets in"), SOON, || {
            (Request::get("/orders").bearer(&token).send(addr).status == 200).then_some(())
        });
    }
    gateway.assert_sound();
}

#[test]
fn five_hundred_requests_on_a_cold_start_of_four_workers_all_get_in_with_one_fetch() {
    let (gateway, keys) = held(|builder| builder.concurrency(4));
    let addr = gateway.addr();
    let tokens = [gateway.idp.token(json!({})), gateway.idp.mint().alg(Alg::ES256).sign()];
    let mut waiting: Vec<Connection> =
        (0..500).map(|_| Connection::open(addr).expect("a connection")).collect();
    for (number, connection) in waiting.iter_mut().enumerate() {
        let request = Request::get(format!("/orders/{number}")).bearer(&tokens[number % 2]);
        connection.write(&request).expect("a request is sent");
    }
    in_hand(&gateway, 500);
    assert_eq!(gateway.upstream.count(), 0, "nobody passes before there are keys");
    keys.release();
    let deadline = Instant::now() + SOON;
    for (number, connection) in waiting.iter_mut().enumerate() {
        let response =
            connection.read(false, deadline).unwrap_or_else(|error| panic!("request {number}: {error}"));
        assert_eq!(response.status, 200, "request {number}: {}", response.text());
    }
    assert_eq!(gateway.upstream.count(), 500);
    assert_eq!(keys.asked(), 1, "one fetch for the whole proxy");
    gateway.assert_sound();
}

#[test]
fn a_slow_key_endpoint_delays_the_first_requests_and_fails_none() {
    let gateway = Gateway::start_with(
        |idp| {
            idp.behave(Behaviour::Delay(Duration::from_millis(700)));
            config(provider(idp), rules())
        },
        |builder| builder.concurrency(4),
    );
    let token = gateway.idp.token(json!({}));
    let answers =
        harness::burst(gateway.addr(), 200, |n| Request::get(format!("/orders/{n}")).bearer(&token));
    for (number, answer) in answers.iter().enumerate() {
        assert_eq!(answer.status, 200, "request {number}: {}", answer.text());
    }
    assert_eq!(gateway.idp.fetches(), 1, "one fetch for the whole proxy");
    gateway.assert_sound();
}

#[test]
fn requests_that_wait_for_keys_are_refused_when_the_keys_say_so() {
    let (gateway, keys) = held(|builder| builder);
    let addr = gateway.addr();
    let good = gateway.idp.token(json!({}));
    let forged = gateway.idp.mint().key(&Key::cached(Alg::RS256, "another").with_kid("rsa-1")).sign();
    let mut waiting: Vec<_> = (0..40)
        .map(|number| {
            let bad = number % 2 == 1;
            let mut connection = Connection::open(addr).expect("a connection");
            let token = if bad { &forged } else { &good };
            connection.write(&Request::get("/orders").bearer(token)).expect("a request is sent");
            (bad, connection)
        })
        .collect();
    in_hand(&gateway, 40);
    keys.release();
    for (bad, connection) in &mut waiting {
        let response = connection.read(false, Instant::now() + SOON).expect("an answer");
        if *bad {
            assert_problem("forged", &response, 401, "token_rejected");
        } else {
            assert_eq!(response.status, 200, "{}", response.text());
        }
    }
    assert_eq!(gateway.upstream.count(), 20);
    gateway.assert_sound();
}

#[test]
fn a_body_does_not_reach_the_upstream_before_the_verdict() {
    let (gateway, keys) = held(|builder| builder);
    let addr = gateway.addr();
    let body = vec![b'x'; 200 << 10];
    let good = gateway.idp.token(json!({}));
    let post = |token: &str| Request::post("/orders", &body).bearer(token);
    let chunked = post(&good).trailer("x-sum", "7");
    let requests = [(200, post(&good)), (200, chunked), (401, post(&flip_bit(&good)))];
    let mut waiting: Vec<_> = requests
        .iter()
        .map(|(status, request)| {
            let mut connection = Connection::open(addr).expect("a connection");
            connection.write(request).expect("a request is sent");
            (*status, connection)
        })
        .collect();
    in_hand(&gateway, 3);
    // All of it has arrived, as far as Envoy takes it in.
    gateway.envoy.wait_for_stat("http.main.downstream_cx_rx_bytes_total", SOON, |bytes| bytes > 100 << 10);
    for statistic in ["cluster.upstream.upstream_cx_total", "cluster.upstream.upstream_rq_total"] {
        assert_eq!(gateway.envoy.stat(statistic), 0, "{statistic}");
    }
    assert_eq!(gateway.upstream.count(), 0);

    keys.release();
    for (status, connection) in &mut waiting {
        let response = connection.read(false, Instant::now() + SOON).expect("an answer");
        assert_eq!(response.status, *status, "{}", response.text());
    }
    let arrived = gateway.upstream.requests();
    assert_eq!(arrived.len(), 2, "{arrived:?}");
    assert!(arrived.iter().all(|request| request.body_length == body.len() && !request.malformed));
    gateway.assert_sound();
}

#[test]
fn requests_behind_one_that_waits_on_the_same_connection_are_answered_too() {
    let (gateway, keys) = held(|builder| builder);
    let good = gateway.idp.token(json!({}));
    let bad = flip_bit(&good);
    let mut waiting: Vec<_> = [[&good, &good, &bad], [&bad, &good, &good], [&bad, &bad, &good]]
        .map(|tokens| {
            let mut connection = Connection::open(gateway.addr()).expect("a connection");
            let requests: Vec<u8> =
                tokens.iter().flat_map(|token| Request::get("/orders").bearer(token).to_bytes()).collect();
            connection.write_raw(&requests).expect("requests are sent");
            (tokens.map(|token| if *token == good { 200 } else { 401 }), connection)
        })
        .into();
    in_hand(&gateway, 3);
    keys.release();
    for (expected, connection) in &mut waiting {
        let found = expected.map(|_| {
            let response = connection.read(false, Instant::now() + SOON);
            response.unwrap_or_else(|error| panic!("{expected:?}: {error}")).status
        });
        assert_eq!(found, *expected);
    }
    gateway.assert_sound();
}

#[test]
fn clients_that_hang_up_while_they_wait_harm_nobody() {
    let (gateway, keys) = held(|builder| builder.concurrency(2));
    let addr = gateway.addr();
    let good = gateway.idp.token(json!({}));
    let mut waiting: Vec<Option<Connection>> = (0..60)
        .map(|number| {
            let mut connection = Connection::open(addr).expect("a connection");
            let request = Request::post(format!("/orders/{number}"), "body").bearer(&good);
            connection.write(&request).expect("a request is sent");
            Some(connection)
        })
        .collect();
    in_hand(&gateway, 60);
    for gone in waiting.iter_mut().step_by(2) {
        *gone = None;
    }
    in_hand(&gateway, 30);
    keys.release();
    for (number, connection) in waiting.iter_mut().enumerate() {
        let Some(connection) = connection else { continue };
        let response = connection.read(false, Instant::now() + SOON).expect("an answer");
        assert_eq!(response.status, 200, "request {number}: {}", response.text());
    }
    assert_eq!(gateway.upstream.count(), 30, "those who went are not served");
    for _ in 0..10 {
        assert_eq!(Request::get("/after").bearer(&good).send(addr).status, 200);
    }
    gateway.assert_sound();
}

#[test]
fn a_token_of_a_brand_new_key_passes_without_waiting_for_the_refresh() {
    let gateway = Gateway::start(|idp| config(provider(idp), rules()));
    let (idp, addr) = (&gateway.idp, gateway.addr());
    let before = idp.token(json!({}));
    assert_eq!(Request::get("/1").bearer(&before).send(addr).status, 200);

    idp.rotate(true);
    let answers = [Alg::RS256, Alg::ES256].map(|alg| {
        let token = idp.mint().alg(alg).sign();
        Request::get("/2").bearer(&token).send(addr).status
    });
    assert_eq!(answers, [200, 200], "a key of which nobody has heard yet");
    assert_eq!(Request::get("/3").bearer(&before).send(addr).status, 200, "that key is still published");

    idp.rotate(false);
    let after = idp.token(json!({}));
    assert_eq!(Request::get("/4").bearer(&after).send(addr).status, 200);
    let response = Request::get("/5").bearer(&before).send(addr);
    assert_problem("a removed key", &response, 401, "token_rejected");
    assert_eq!(gateway.logged("/5")["details"], "portcullis_key_not_found");
    gateway.assert_sound();
}

#[test]
fn many_at_once_with_a_brand_new_key_all_pass() {
    let gateway =
        Gateway::start_with(|idp| config(provider(idp), rules()), |builder| builder.shared().concurrency(2));
    let (idp, addr) = (&gateway.idp, gateway.addr());
    let before = idp.token(json!({}));
    for answer in harness::burst(addr, 20, |_| Request::get("/").bearer(&before)) {
        assert_eq!(answer.status, 200);
    }
    idp.rotate(true);
    let fetched = idp.fetches();
    let after = idp.token(json!({}));
    for answer in harness::burst(addr, 100, |_| Request::get("/").bearer(&after)) {
        assert_eq!(answer.status, 200, "{}", answer.text());
    }
    let more = idp.fetches() - fetched;
    assert_eq!(more, 1, "one fetch for the whole proxy");
    gateway.assert_sound();
}

#[test]
fn made_up_kids_do_not_hammer_the_identity_provider() {
    const WORKERS: usize = 2;
    let gateway = Gateway::start_with(
        |idp| {
            let mut corp = provider(idp);
            // Long enough that the test ends before another fetch is earned.
            corp["remote_jwks"]["unknown_kid_cooldown"] = json!("3600s");
            config(corp, rules())
        },
        |builder| builder.shared().concurrency(u32::try_from(WORKERS).expect("few")),
    );
    let (idp, addr) = (&gateway.idp, gateway.addr());
    let good = idp.token(json!({}));
    for answer in harness::burst(addr, 20, |_| Request::get("/").bearer(&good)) {
        assert_eq!(answer.status, 200);
    }
    idp.wait_for_fetches(1, SOON);
    let before = idp.fetches();
    let rogue = Key::cached(Alg::ES256, "another");
    for round in 0..10 {
        let answers = harness::burst(addr, 40, |number| {
            let token = idp.mint().key(&rogue).kid(&format!("made-up-{round}-{number}")).sign();
            Request::get("/orders").bearer(&token)
        });
        for answer in answers {
            common::assert_missing_kid("a made-up kid", &answer);
        }
        assert_eq!(Request::get("/").bearer(&good).send(addr).status, 200, "others are served all the while");
    }
    let more = idp.fetches() - before;
    assert!(more <= 3, "{more} fetches for 400 made-up kids");
    gateway.assert_sound();
}

#[test]
fn keys_that_are_no_use_do_not_spoil_those_that_are() {
    let gateway = Gateway::start(|idp| {
        let mut set = idp.jwks();
        let good = set["keys"].as_array().cloned().unwrap_or_default();
        let mut keys = vec![
            json!(7),
            json!({ "kty": "RSA" }),
            json!({ "kty": "OKP", "crv": "Ed448", "x": "AA", "kid": "rsa-1" }),
            json!({ "kty": "oct", "k": "c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0", "kid": "rsa-1", "alg": "HS256" }),
            with(good[0].clone(), json!({ "use": "enc", "kid": "for-encryption" })),
            with(good[0].clone(), json!({ "d": "AQAB", "kid": "private" })),
        ];
        keys.extend(good);
        set["keys"] = json!(keys);
        idp.publish(Some(set.to_string().into_bytes()));
        config(provider(idp), rules())
    });
    let (idp, addr) = (&gateway.idp, gateway.addr());
    for alg in [Alg::RS256, Alg::ES256] {
        let token = idp.mint().alg(alg).sign();
        assert_eq!(Request::get("/orders").bearer(&token).send(addr).status, 200, "{alg}");
    }
    for kid in ["for-encryption", "private"] {
        let token = idp.mint().kid(kid).sign();
        let response = Request::get("/orders").bearer(&token).send(addr);
        assert_problem(kid, &response, 401, "token_rejected");
    }
    let confused = Key::hmac(Alg::HS256, "rsa-1", b"secretsecretsecretsecretsecret");
    let response = Request::get("/orders").bearer(&idp.mint().key(&confused).sign()).send(addr);
    assert_problem("a published secret", &response, 401, "token_rejected");
    gateway.assert_sound();
}

#[test]
fn the_key_request_goes_to_the_configured_place_and_carries_no_token() {
    let gateway = Gateway::start(|idp| config(provider(idp), rules()));
    let token = gateway.idp.token(json!({}));
    assert_eq!(Request::get("/orders").bearer(&token).send(gateway.addr()).status, 200);
    let headers = gateway.idp.last_fetch_headers();
    let value = |name: &str| headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str());
    assert_eq!(value("host"), Some(gateway.idp.addr().to_string().as_str()));
    assert_eq!(value("authorization"), None);
    assert_eq!(value("accept-encoding"), Some("identity"), "what comes compressed could not be read");
    assert!(headers.iter().all(|(_, value)| !value.contains(&token)), "{headers:?}");
    assert_eq!(gateway.idp.discovery_fetches(), 0);
}

#[test]
fn keys_in_a_content_coding_are_refused_and_the_log_says_which() {
    let gateway = Gateway::start(|idp| {
        let headers = vec![("content-encoding".to_owned(), "gzip".to_owned())];
        let body = idp.jwks().to_string().into_bytes();
        idp.behave(Behaviour::Custom { status: 200, headers, body });
        config(provider(idp), rules())
    });
    let (idp, addr) = (&gateway.idp, gateway.addr());
    let token = idp.token(json!({}));
    let response = Request::get("/orders").bearer(&token).send(addr);
    assert_problem("encoded keys", &response, 503, "keys_unavailable");
    let line = gateway.envoy.wait_for_log("content-encoding gzip", SOON);
    assert!(line.contains("uncompressed"), "{line}");
    idp.behave(Behaviour::Well);
    eventually("keys that can be read", SOON, || {
        (Request::get("/orders").bearer(&token).send(addr).status == 200).then_some(())
    });
    gateway.assert_sound();
}
