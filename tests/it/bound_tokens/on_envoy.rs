//! Bound tokens on a real Envoy: what the upstream gets, the challenges, nonces, and pages of other origins.

use harness::{Envoy, Idp, Request, Response, Upstream, Wasm};
use serde_json::{Value, json};

use super::{Client, ORIGIN, request, with_proofs};
use crate::common::{self, Gateway, assert_problem, challenge, config, corp, with};

/// A gateway with a rule for `/any`, and one for `/pay` that requires a proof.
fn start(more: Value, whole: Value) -> (Idp, Upstream, Envoy) {
    let (idp, upstream) = (common::idp(), Upstream::start());
    let rules = json!([
        { "match": { "prefix": "/any" }, "requires": corp() },
        { "match": { "prefix": "/pay" }, "requires": corp(), "requires_proof": "dpop" },
        { "match": { "prefix": "/scope" }, "requires": corp(), "authorize": { "scopes": { "all_of": ["x"] } } },
        { "match": { "prefix": "/once" }, "requires": corp(), "one_time": true },
        { "match": { "prefix": "/report" }, "requires": corp(), "requires_proof": "dpop", "mode": "report" },
    ]);
    let config = with(config(with_proofs(&idp, more), rules), whole);
    let wasm = Wasm::portcullis(config).env("NONCE_KEY", &"n".repeat(32));
    let route = json!([{
        "match": { "prefix": "/" },
        "route": { "cluster": "upstream" },
        "response_headers_to_add": [{
            "header": { "key": "dpop-nonce", "value": "%FILTER_STATE(wasm.portcullis.dpop_nonce:PLAIN)%" },
            "append_action": "ADD_IF_ABSENT",
            "keep_empty_value": false,
        }],
    }]);
    let envoy =
        Envoy::builder().shared().upstream(&upstream).filter(wasm).main(|main| main.routes(route)).start();
    (idp, upstream, envoy.unwrap_or_else(|error| panic!("{error}")))
}

/// The schemes of the challenges in their order, and the `error` of each.
fn challenges(response: &Response) -> Vec<(String, Option<String>)> {
    let fields = response.headers_named("www-authenticate");
    let parsed =
        fields.iter().flat_map(|field| challenge::parse(field).unwrap_or_else(|error| panic!("{error}")));
    let told = |challenge: challenge::Challenge| {
        let error = challenge.parameters.into_iter().find(|(name, _)| name == "error");
        (challenge.scheme, error.map(|(_, value)| value))
    };
    parsed.map(told).collect()
}

fn named(scheme: &str, error: &str) -> (String, Option<String>) {
    (scheme.to_owned(), (!error.is_empty()).then(|| error.to_owned()))
}

#[test]
fn a_bound_token_passes_with_a_proof_and_neither_travels() {
    for forward in [false, true] {
        let gateway = Gateway::start(|idp| {
            let provider = with(with_proofs(idp, json!({})), json!({ "forward": forward }));
            config(provider, json!([{ "match": { "prefix": "/" }, "requires": corp() }]))
        });
        let client = Client::new("client");
        let token = client.token(&gateway.idp, json!({}));
        // The first is verified, the others are known; over HTTP/2 as over HTTP/1.1.
        for number in 0..4 {
            let path = format!("/orders/{number}");
            let sent = request(&format!("{path}?q=1"), &token, &client.proof(&path, &token));
            let response =
                if number % 2 == 0 { sent.send(gateway.addr()) } else { sent.send_h2(gateway.addr()) };
            assert_eq!(response.status, 200, "{}", response.text());
            let record = gateway.upstream.last();
            for name in ["authorization", "dpop"] {
                assert_eq!(record.headers_named(name).len(), usize::from(forward), "{name}");
            }
        }
        // A proof beside a token that is bound to nothing says nothing, and does not travel.
        let plain = gateway.idp.token(json!({}));
        let stray = Request::get("/orders").bearer(&plain).header("dpop", "x").host("api.example");
        assert_eq!(stray.send(gateway.addr()).status, 200);
        assert_eq!(gateway.upstream.last().headers_named("dpop").len(), usize::from(forward));
        gateway.assert_sound();
    }
}

#[test]
fn each_refusal_has_the_challenge_of_its_scheme_first() {
    let (idp, upstream, envoy) = start(json!({}), json!({}));
    let client = Client::new("client");
    let (bound, plain) = (client.token(&idp, json!({})), idp.token(json!({})));
    let other = Client::new("other").proof("/any", &bound);
    let get = |path: &str| Request::get(path).host("api.example");
    let dpop = |path: &str, token: &str| get(path).header("authorization", format!("DPoP {token}"));
    let (bearer, proof) = (named("Bearer", ""), named("DPoP", ""));
    for (what, sent, reason, expected) in [
        ("no token", get("/any"), "token_missing", vec![bearer.clone(), proof.clone()]),
        ("no token, a proof required", get("/pay"), "token_missing", vec![proof.clone()]),
        (
            "a bound token as Bearer",
            get("/any").bearer(&bound).header("dpop", client.proof("/any", &bound)),
            "proof_missing",
            vec![named("Bearer", "invalid_token"), proof.clone()],
        ),
        (
            "the same, a proof required",
            get("/pay").bearer(&bound),
            "proof_missing",
            vec![named("DPoP", "invalid_token")],
        ),
        (
            "a token that is not bound, a proof required",
            get("/pay").bearer(&plain),
            "proof_missing",
            vec![named("DPoP", "invalid_token")],
        ),
        (
            "no proof",
            dpop("/any", &bound),
            "proof_missing",
            vec![named("DPoP", "invalid_dpop_proof"), bearer.clone()],
        ),
        (
            "another key",
            request("/any", &bound, &other),
            "proof_invalid",
            vec![named("DPoP", "invalid_dpop_proof"), bearer.clone()],
        ),
        (
            "a token that is not bound",
            request("/any", &plain, &client.proof("/any", &plain)),
            "proof_invalid",
            vec![named("DPoP", "invalid_dpop_proof"), bearer.clone()],
        ),
        (
            "a forged token",
            dpop("/any", &harness::idp::flip_bit(&bound)),
            "token_rejected",
            vec![named("DPoP", "invalid_token"), bearer.clone()],
        ),
        (
            "a forged token as Bearer",
            get("/any").bearer(&harness::idp::flip_bit(&bound)),
            "token_rejected",
            vec![named("Bearer", "invalid_token"), proof.clone()],
        ),
        (
            "what is opaque",
            dpop("/any", "a.b.c.d.e.f"),
            "token_malformed",
            vec![named("DPoP", "invalid_token"), bearer.clone()],
        ),
    ] {
        let response = sent.send(envoy.addr());
        assert_problem(what, &response, 401, reason);
        assert_eq!(challenges(&response), expected, "{what}");
        assert_eq!(response.header("dpop-nonce"), None, "{what}");
        if let Some(field) =
            response.headers_named("www-authenticate").iter().find(|own| own.starts_with("DPoP "))
        {
            assert!(field.starts_with("DPoP algs=\"ES256 EdDSA\""), "{what}: {field}");
        }
    }
    let short = request("/scope", &bound, &client.proof("/scope", &bound)).send(envoy.addr());
    assert_eq!(short.status, 403);
    assert_eq!(challenges(&short), [named("DPoP", "insufficient_scope"), bearer]);
    assert!(upstream.requests().is_empty());
    // A rule that only reports lets them through, and what it lets through is as it came.
    let reported = get("/report").bearer(&bound).send(envoy.addr());
    assert_eq!(reported.status, 200);
    assert_eq!(envoy.logged("/report", harness::SOON)["reason"], "proof_missing");
    common::assert_sound(&envoy);
}

#[test]
fn a_grpc_client_gets_a_grpc_status() {
    let (idp, _, envoy) = start(json!({}), json!({}));
    let client = Client::new("client");
    let bound = client.token(&idp, json!({}));
    let call = |path: &str| {
        let proof = client.sign(&client.header(), &client.claims("POST", &format!("{ORIGIN}{path}"), &bound));
        Request::grpc(path)
            .host("api.example")
            .header("authorization", format!("DPoP {bound}"))
            .header("dpop", proof)
    };
    for path in ["/pay", "/once"] {
        let response = call(path).header("early-data", "1").send_h2(envoy.addr());
        let found = |name: &str| response.header(name).or_else(|| response.trailer(name));
        assert_eq!(found("grpc-status").as_deref(), Some("14"), "{path}: {response:?}");
        assert_eq!(found("grpc-message").as_deref(), Some("Too early"), "{path}: {response:?}");
    }
    let missing = Request::grpc("/any").host("api.example").bearer(&bound).send_h2(envoy.addr());
    let found = missing.header("grpc-status").or_else(|| missing.trailer("grpc-status"));
    assert_eq!(found.as_deref(), Some("16"), "{missing:?}");
    common::assert_sound(&envoy);
}

#[test]
fn a_request_in_early_data_is_told_to_come_again_and_uses_nothing_up() {
    let (idp, upstream, envoy) = start(json!({}), json!({}));
    let client = Client::new("client");
    let bound = client.token(&idp, json!({}));
    for path in ["/pay", "/once"] {
        let proof = client.proof(path, &bound);
        let sent = request(path, &bound, &proof);
        for early in [vec!["1"], vec!["1", "1"], vec!["0"], vec![""], vec!["x"]] {
            let sent = early.iter().fold(sent.clone(), |sent, value| sent.header("early-data", value));
            let response = sent.send(envoy.addr());
            assert_problem(&format!("{path} {early:?}"), &response, 425, "early_data");
            assert_eq!(challenges(&response), [], "{path}");
        }
        // What is wrong with the token comes first.
        let forged = request(path, &harness::idp::flip_bit(&bound), &proof).header("early-data", "1");
        assert_eq!(forged.send(envoy.addr()).status, 401);
        assert_eq!(sent.send(envoy.addr()).status, 200, "{path}: nothing was used up");
        assert_eq!(sent.send(envoy.addr()).status, 401, "{path}: now it is");
    }
    let any = request("/any", &bound, &client.proof("/any", &bound)).header("early-data", "1");
    assert_eq!(any.send(envoy.addr()).status, 200, "elsewhere the table of proofs is enough");
    let report = request("/report", &bound, &client.proof("/report", &bound)).header("early-data", "1");
    assert_eq!(report.send(envoy.addr()).status, 200);
    assert_eq!(upstream.requests().len(), 4);
    common::assert_sound(&envoy);
}

#[test]
fn a_client_comes_again_with_the_nonce_that_it_was_given() {
    let nonce = json!({ "nonce": { "key": { "environment_variable": "NONCE_KEY" }, "lifetime": "60s" } });
    const APP: &str = "https://app.example";
    let whole = json!({ "cors": { "allow_origins": [APP] }, "filter_state": ["dpop_nonce"] });
    let (idp, upstream, envoy) = start(nonce, whole);
    let client = Client::new("client");
    let bound = client.token(&idp, json!({}));
    let proof = |nonce: Option<&str>, more: Value| {
        let claims = with(client.claims("GET", &format!("{ORIGIN}/any"), &bound), more);
        let claims = nonce.map_or(claims.clone(), |nonce| with(claims.clone(), json!({ "nonce": nonce })));
        client.sign(&client.header(), &claims)
    };
    let first = request("/any", &bound, &proof(None, json!({}))).header("origin", APP).send(envoy.addr());
    assert_problem("without a nonce", &first, 401, "nonce_required");
    assert_eq!(challenges(&first), [named("DPoP", "use_dpop_nonce"), named("Bearer", "")]);
    assert_eq!(first.header("cache-control").as_deref(), Some("no-store"));
    let exposed = first.header("access-control-expose-headers").expect("exposed fields");
    assert!(exposed.split(", ").any(|name| name == "dpop-nonce"), "{exposed}");
    let given = first.header("dpop-nonce").expect("a nonce");
    // With the nonce, the clock of the client does not count.
    let late = json!({ "iat": harness::idp::now() - 86_400 });
    let good = proof(Some(&given), late);
    let passed = request("/any", &bound, &good).send(envoy.addr());
    assert_eq!(passed.status, 200, "{}", passed.text());
    assert!(upstream.last().headers_named("dpop").is_empty());
    // The answer has one for the next request, by the setting of the route.
    let next = passed.header("dpop-nonce").expect("a nonce for the next");
    assert_eq!(request("/any", &bound, &proof(Some(&next), json!({}))).send(envoy.addr()).status, 200);
    let again = request("/any", &bound, &good).send(envoy.addr());
    assert_problem("again", &again, 401, "proof_replayed");
    let mut forged = given.clone().into_bytes();
    forged[0] ^= 1;
    let forged = String::from_utf8(forged).expect("text");
    for (nonce, reason) in
        [(forged.as_str(), "nonce_required"), ("", "nonce_required"), ("n1", "nonce_required")]
    {
        let response = request("/any", &bound, &proof(Some(nonce), json!({}))).send(envoy.addr());
        assert_problem(nonce, &response, 401, reason);
        assert!(response.header("dpop-nonce").is_some());
    }
    let plain = Request::get("/any").bearer(&idp.token(json!({}))).send(envoy.addr());
    assert_eq!(plain.status, 200);
    common::assert_sound(&envoy);
}
