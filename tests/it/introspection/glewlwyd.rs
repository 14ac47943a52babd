//! Glewlwyd, as Debian packages it: its JWTs are judged here, and it is asked whether they were revoked.

use std::time::{Duration, Instant};

use harness::{Cluster, Envoy, Request, Upstream, Wasm};
use serde_json::json;

use super::gateway::WORKERS;
use crate::common::{assert_problem, assert_sound};
use crate::keys_glewlwyd::server::{self, Glewlwyd, RESOURCE, SECRET, make_key};

/// How long an answer counts.
const ACTIVE: Duration = Duration::from_secs(2);

/// `/json` and `/signed` ask, `/read` does not.
fn gateway(server: &Glewlwyd, upstream: &Upstream) -> Envoy {
    let http_uri = |path: &str| json!({ "uri": format!("{}{path}", server.issuer()), "cluster": "glewlwyd", "timeout": "20s" });
    let provider = |accept: &str| {
        json!({
            "issuer": server.issuer(),
            "audiences": [RESOURCE],
            "token_types": ["at+jwt"],
            "discovery": { "http_uri": http_uri("/.well-known/openid-configuration") },
            "introspection": {
                "http_uri": http_uri("/introspect"),
                "client_id": "first",
                "client_secret": { "environment_variable": "SECRET" },
                "accept": accept,
                "cache": { "active": format!("{}s", ACTIVE.as_secs()), "inactive": "1s" },
            },
        })
    };
    let rule = |path: &str, provider: &str, introspect: bool| {
        json!({
            "match": { "prefix": path },
            "requires": { "provider_name": provider },
            "introspect": introspect,
            "authorize": { "scopes": { "all_of": ["orders.read"] } },
        })
    };
    let config = json!({
        "providers": { "json": provider("json"), "signed": provider("jwt") },
        "rules": [rule("/json", "json", true), rule("/signed", "signed", true), rule("/read", "json", false)],
    });
    Envoy::builder()
        .upstream(upstream)
        .cluster("glewlwyd", Cluster::new(server.addr()))
        .concurrency(u32::try_from(WORKERS).expect("few"))
        .log_level("info", "wasm:trace")
        .filter(Wasm::portcullis(config).env("SECRET", SECRET))
        .start()
        .unwrap_or_else(|error| panic!("{error}"))
}

#[test]
fn a_token_that_glewlwyd_revoked_is_refused_in_time() {
    if let Some(why) = server::missing() {
        return harness::skip("a_token_that_glewlwyd_revoked_is_refused_in_time", &why);
    }
    let server = Glewlwyd::start(vec![make_key("RSA2048", "RS256", "asked")]);
    let upstream = Upstream::start();
    let envoy = gateway(&server, &upstream);
    let ask = |path: &str, token: &str| Request::get(path).bearer(token).send(envoy.addr());
    // With signed answers it says 400 without a word about a token that is not active, which may be anything.
    for (path, status, reason) in
        [("/json", 401, "token_inactive"), ("/signed", 503, "introspection_unavailable")]
    {
        let (token, other) = (server.token("first"), server.token("first"));
        for _ in 0..10 {
            let response = ask(path, &token);
            assert_eq!(response.status, 200, "{path}: {}", response.text());
        }
        server.revoke("first", &token);
        let revoked = Instant::now();
        while revoked.elapsed() < ACTIVE + Duration::from_secs(1) {
            let response = ask(path, &token);
            assert!([200, status].contains(&response.status), "{path}: {}", response.text());
        }
        for _ in 0..10 {
            assert_problem(path, &ask(path, &token), status, reason);
            let response = ask(path, &other);
            assert_eq!(response.status, 200, "{path}: another token: {}", response.text());
        }
        assert_eq!(ask("/read", &token).status, 200, "nobody is asked here");
    }
    let log = envoy.log();
    assert!(!log.contains(SECRET), "a secret in the log");
    assert_sound(&envoy);
}
