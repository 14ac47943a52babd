//! An OpenID provider that nobody here wrote: glewlwyd, as Debian packages it. Its metadata, its keys, its tokens of every
//! algorithm that it signs with, its rotation, and the end of its old keys.

use crate::common;
pub(crate) mod server;

use common::{SOON, assert_problem};
use harness::{Cluster, Envoy, Request, Response, Upstream, Wasm, eventually};
use serde_json::{Value, json};
use server::{Glewlwyd, RESOURCE, make_key, size};

/// What it can sign with: the kind of key and the algorithm.
const ALGORITHMS: [(&str, &str); 10] = [
    ("RSA2048", "RS256"),
    ("RSA2048", "RS384"),
    ("RSA4096", "RS512"),
    ("RSA2048", "PS256"),
    ("RSA2048", "PS384"),
    ("RSA2048", "PS512"),
    ("EC256", "ES256"),
    ("EC384", "ES384"),
    ("EC521", "ES512"),
    ("Ed25519", "EdDSA"),
];

/// A key whose coordinates are all there, or one of which a leading zero is missing: the library that makes them drops
/// those, which RFC 7518 section 6.2.1.2 does not allow.
fn elliptic(kind: &str, alg: &str, kid: &str, bytes: usize, whole: bool) -> Value {
    let made = (0..100).map(|_| make_key(kind, alg, kid));
    made.into_iter()
        .find(|key| whole == ["x", "y"].iter().all(|member| size(key, member) == bytes))
        .unwrap_or_else(|| panic!("100 keys of kind {kind} and not one that is {bytes} bytes long: {whole}"))
}

fn keys() -> Vec<Value> {
    let mut keys: Vec<Value> = ALGORITHMS
        .iter()
        .map(|(kind, alg)| match *kind {
            "EC256" => elliptic(kind, alg, alg, 32, true),
            "EC384" => elliptic(kind, alg, alg, 48, true),
            "EC521" => elliptic(kind, alg, alg, 66, true),
            _ => make_key(kind, alg, alg),
        })
        .collect();
    keys.push(elliptic("EC521", "ES512", "short", 66, false));
    keys
}

fn gateway(server: &Glewlwyd, upstream: &Upstream) -> Envoy {
    let uri = format!("{}/.well-known/openid-configuration", server.issuer());
    let config = json!({
        "providers": { "glewlwyd": {
            "issuer": server.issuer(),
            "audiences": [RESOURCE],
            "token_types": ["at+jwt"],
            "discovery": {
                "http_uri": { "uri": uri, "cluster": "glewlwyd", "timeout": "20s" },
                "cache_duration": "2s",
                "unknown_kid_cooldown": "1s",
            },
        } },
        "rules": [{
            "match": { "prefix": "/" },
            "requires": { "provider_name": "glewlwyd" },
            "authorize": { "scopes": { "all_of": ["orders.read"] } },
        }],
    });
    Envoy::builder()
        .upstream(upstream)
        .cluster("glewlwyd", Cluster::new(server.addr()))
        .concurrency(2)
        .filter(Wasm::portcullis(config))
        .start()
        .unwrap_or_else(|error| panic!("{error}"))
}

#[test]
fn a_provider_that_nobody_here_wrote_is_understood_through_rotation_and_retirement() {
    if let Some(why) = server::missing() {
        let name = "a_provider_that_nobody_here_wrote_is_understood_through_rotation_and_retirement";
        return harness::skip(name, &why);
    }
    let mut server = Glewlwyd::start(keys());
    let upstream = Upstream::start();
    let envoy = gateway(&server, &upstream);
    let ask = |token: &str| -> Response { Request::get("/orders").bearer(token).send(envoy.addr()) };

    // Every algorithm.
    for (_, alg) in ALGORITHMS {
        let token = server.token(alg);
        let [header, ..] = common::parts(&token);
        let header: Value = serde_json::from_slice(&header).expect("a header");
        assert_eq!(
            (&header["alg"], &header["kid"]),
            (&json!(alg), &json!(alg)),
            "it signs as it was told to"
        );
        let response = ask(&token);
        assert_eq!(response.status, 200, "{alg}: {}", response.text());
        let forged = ask(&harness::idp::flip_bit(&token));
        assert_problem(alg, &forged, 401, "token_rejected");
    }
    assert!(server.published().contains(&"short".to_owned()));
    let response = ask(&server.token("short"));
    assert_eq!(response.status, 200, "a key whose coordinate lacks its leading zero: {}", response.text());

    // A new key signs; the old ones stay.
    let before = server.token("first");
    assert_eq!(ask(&before).status, 200);
    server.rotate(Some(make_key("RSA2048", "RS256", "fresh")));
    let after = server.token("first");
    let response = ask(&after);
    assert_eq!(response.status, 200, "a key that nobody has heard of yet: {}", response.text());
    assert_eq!(ask(&before).status, 200, "the key before it is still there");

    // The old ones go.
    server.rotate(None);
    assert_eq!(server.published(), ["fresh"]);
    // Each connection goes to either worker, and each worker learns of it with its own next tick.
    eventually("the old keys are gone on both workers", SOON, || {
        (0..30).all(|_| ask(&before).status == 401).then_some(())
    });
    assert_problem("a removed key", &ask(&before), 401, "token_rejected");
    assert_eq!(ask(&after).status, 200);
    assert_eq!(ask(&server.token("first")).status, 200);
    common::assert_sound(&envoy);
}
