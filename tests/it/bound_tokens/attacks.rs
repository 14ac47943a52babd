//! Attacks on proofs, each by its name, on a real Envoy: whoever has a stolen token, and proofs of other requests, gets
//! nowhere.

use harness::{Alg, Idp, Key, Request};
use serde_json::{Value, json};

use super::{Client, ORIGIN, digest, request, with_proofs};
use crate::common::{Gateway, config, corp, with};

/// What an attacker has: a token of somebody's, and everything but the key.
struct Loot {
    client: Client,
    stranger: Client,
    token: String,
    others_token: String,
    provider_key: Key,
}

/// A GET of `/orders` with the token and a proof that the client made with these changes.
fn changed(loot: &Loot, header: Value, claims: Value) -> Request {
    let own = loot.client.claims("GET", &format!("{ORIGIN}/orders"), &loot.token);
    let proof = loot.client.sign(&with(loot.client.header(), header), &with(own, claims));
    request("/orders", &loot.token, &proof)
}

fn htu(loot: &Loot, htu: &str) -> Request {
    changed(loot, json!({}), json!({ "htu": htu }))
}

fn good(loot: &Loot, path: &str) -> String {
    loot.client.proof(path, &loot.token)
}

type Attack = fn(&Loot) -> Request;

const ON_HTM: &[(&str, Attack)] = &[
    ("a proof of another method", |loot| changed(loot, json!({}), json!({ "htm": "POST" }))),
    ("a method in lower case", |loot| changed(loot, json!({}), json!({ "htm": "get" }))),
    ("a method with a blank", |loot| changed(loot, json!({}), json!({ "htm": "GET " }))),
    ("a proof of GET for HEAD", |loot| {
        let head = Request::new("HEAD", "/orders").host("api.example");
        head.header("authorization", format!("DPoP {}", loot.token)).header("dpop", good(loot, "/orders"))
    }),
    ("a proof of POST, and the method in another header", |loot| {
        changed(loot, json!({}), json!({ "htm": "POST" })).header("x-http-method-override", "POST")
    }),
    ("a list of methods", |loot| changed(loot, json!({}), json!({ "htm": ["GET"] }))),
];

const ON_HTU: &[(&str, Attack)] = &[
    ("a proof of another path", |loot| request("/orders", &loot.token, &good(loot, "/other"))),
    ("a proof of a path below", |loot| request("/orders", &loot.token, &good(loot, "/orders/7"))),
    ("a proof of the whole site", |loot| htu(loot, ORIGIN)),
    ("another case of the path", |loot| htu(loot, "https://api.example/Orders")),
    ("a slash more", |loot| htu(loot, "https://api.example/orders/")),
    ("another host", |loot| htu(loot, "https://evil.example/orders")),
    ("a host that begins alike", |loot| htu(loot, "https://api.example.evil.example/orders")),
    ("a host that ends alike", |loot| htu(loot, "https://evil-api.example/orders")),
    ("a user part", |loot| htu(loot, "https://api.example@evil.example/orders")),
    ("a user part before the host", |loot| htu(loot, "https://evil.example@api.example/orders")),
    ("a backslash behind the host", |loot| htu(loot, "https://api.example\\@evil.example/orders")),
    ("a backslash for the slash behind the host", |loot| htu(loot, "https://api.example\\orders")),
    ("the path as a fragment", |loot| htu(loot, "https://api.example#/orders")),
    ("the path as a query", |loot| htu(loot, "https://api.example?/orders")),
    ("plaintext", |loot| htu(loot, "http://api.example/orders")),
    ("another port", |loot| htu(loot, "https://api.example:8443/orders")),
    ("a relative reference", |loot| htu(loot, "/orders")),
    ("a reference without a scheme", |loot| htu(loot, "//api.example/orders")),
    ("an escaped slash", |loot| htu(loot, "https://api.example/x%2F..%2Forders")),
    ("an escape of an escape", |loot| htu(loot, "https://api.example/%256Frders")),
    ("a host that looks alike", |loot| htu(loot, "https://\u{430}pi.example/orders")),
    ("a host with an escape", |loot| htu(loot, "https://api%2Eexample/orders")),
    ("parameters of a segment", |loot| htu(loot, "https://api.example/orders;x")),
    ("a list of URIs", |loot| changed(loot, json!({}), json!({ "htu": ["https://api.example/orders"] }))),
    ("a proof for a gate elsewhere, and that host in forwarded fields", |loot| {
        htu(loot, "https://evil.example/orders")
            .header("x-forwarded-host", "evil.example")
            .header("forwarded", "host=evil.example;proto=https")
    }),
    ("a proof for a gate elsewhere, and that host in Host", |loot| {
        let claims = loot.client.claims("GET", "https://evil.example/orders", &loot.token);
        let proof = loot.client.sign(&loot.client.header(), &claims);
        Request::get("/orders")
            .host("evil.example")
            .header("authorization", format!("DPoP {}", loot.token))
            .header("dpop", proof)
    }),
    ("the path in other headers", |loot| {
        htu(loot, "https://api.example/other")
            .header("x-original-url", "/other")
            .header("x-rewrite-url", "/other")
    }),
];

const ON_ATH: &[(&str, Attack)] = &[
    ("no hash", |loot| changed(loot, json!({}), json!({ "ath": null }))),
    ("the hash of another token", |loot| {
        changed(loot, json!({}), json!({ "ath": digest(&loot.others_token) }))
    }),
    ("another token of the same key", |loot| request("/orders", &loot.others_token, &good(loot, "/orders"))),
    ("a hash with padding", |loot| {
        changed(loot, json!({}), json!({ "ath": format!("{}=", digest(&loot.token)) }))
    }),
    ("the hash of what is signed", |loot| {
        let (signed, _) = loot.token.rsplit_once('.').expect("a signature");
        changed(loot, json!({}), json!({ "ath": digest(signed) }))
    }),
    ("the token itself", |loot| changed(loot, json!({}), json!({ "ath": loot.token }))),
];

const ON_TIMES: &[(&str, Attack)] = &[
    ("a proof of two minutes ago", |loot| {
        changed(loot, json!({}), json!({ "iat": harness::idp::now() - 120 }))
    }),
    ("a proof of tomorrow", |loot| changed(loot, json!({}), json!({ "iat": harness::idp::now() + 86_400 }))),
    ("a time in milliseconds", |loot| changed(loot, json!({}), json!({ "iat": harness::idp::now() * 1000 }))),
    ("a time as text", |loot| changed(loot, json!({}), json!({ "iat": harness::idp::now().to_string() }))),
    ("a negative time", |loot| changed(loot, json!({}), json!({ "iat": -1 }))),
    ("no time", |loot| changed(loot, json!({}), json!({ "iat": null }))),
    ("a proof that has ended", |loot| changed(loot, json!({}), json!({ "exp": harness::idp::now() - 1 }))),
];

const ON_KEYS: &[(&str, Attack)] = &[
    ("a proof of the thief's own key", |loot| {
        request("/orders", &loot.token, &loot.stranger.proof("/orders", &loot.token))
    }),
    ("the client's key, and the thief's signature", |loot| {
        let claims = loot.client.claims("GET", &format!("{ORIGIN}/orders"), &loot.token);
        request("/orders", &loot.token, &loot.stranger.sign(&loot.client.header(), &claims))
    }),
    ("the thief's key under the client's key id", |loot| {
        let claims = loot.client.claims("GET", &format!("{ORIGIN}/orders"), &loot.token);
        let header = with(loot.stranger.header(), json!({ "kid": loot.client.jkt() }));
        request("/orders", &loot.token, &loot.stranger.sign(&header, &claims))
    }),
    ("a key with its private half", |loot| {
        let jwk = with(loot.client.jwk(), json!({ "d": "AAAA" }));
        changed(loot, json!({ "jwk": jwk }), json!({}))
    }),
    ("no key, but its id", |loot| changed(loot, json!({ "jwk": null, "kid": loot.client.jkt() }), json!({}))),
    ("a key from elsewhere", |loot| {
        changed(loot, json!({ "jwk": null, "jku": "https://evil.example/jwks.json" }), json!({}))
    }),
    ("no signature", |loot| {
        let claims = loot.client.claims("GET", &format!("{ORIGIN}/orders"), &loot.token).to_string();
        let header = with(loot.client.header(), json!({ "alg": "none" })).to_string();
        request(
            "/orders",
            &loot.token,
            &format!("{}.{}.", harness::idp::b64(header), harness::idp::b64(claims)),
        )
    }),
    ("a code made with the public key", |loot| {
        let key = Key::hmac(Alg::HS256, "k", &loot.client.0.public_der());
        let claims = loot.client.claims("GET", &format!("{ORIGIN}/orders"), &loot.token).to_string();
        let header = with(loot.client.header(), json!({ "alg": "HS256" }));
        request("/orders", &loot.token, &key.sign_jws(&header, claims.as_bytes()))
    }),
    ("a proof signed by the provider", |loot| {
        let claims = loot.client.claims("GET", &format!("{ORIGIN}/orders"), &loot.token).to_string();
        request("/orders", &loot.token, &loot.provider_key.sign_jws(&loot.client.header(), claims.as_bytes()))
    }),
    ("another type of token", |loot| changed(loot, json!({ "typ": "at+jwt" }), json!({}))),
    ("something critical", |loot| changed(loot, json!({ "crit": ["exp"], "exp": 1 }), json!({}))),
    ("an algorithm that is not listed", |loot| changed(loot, json!({ "alg": "ES384" }), json!({}))),
];

const ON_HEADERS: &[(&str, Attack)] = &[
    ("two proofs", |loot| {
        request("/orders", &loot.token, &good(loot, "/orders")).header("dpop", good(loot, "/orders"))
    }),
    ("two proofs in one field", |loot| {
        let both = format!("{},{}", good(loot, "/orders"), good(loot, "/orders"));
        request("/orders", &loot.token, &both)
    }),
    ("an empty field", |loot| request("/orders", &loot.token, "")),
    ("a proof in quotes", |loot| request("/orders", &loot.token, &format!("\"{}\"", good(loot, "/orders")))),
    ("no proof", |loot| {
        let get = Request::get("/orders").host("api.example");
        get.header("authorization", format!("DPoP {}", loot.token))
    }),
    ("a proof under another name", |loot| {
        let get = Request::get("/orders").host("api.example");
        get.header("authorization", format!("DPoP {}", loot.token)).header("x-dpop", good(loot, "/orders"))
    }),
    ("a proof in a trailer", |loot| {
        let post = Request::post("/orders", "a").host("api.example");
        let claims = loot.client.claims("POST", &format!("{ORIGIN}/orders"), &loot.token);
        post.header("authorization", format!("DPoP {}", loot.token))
            .trailer("dpop", loot.client.sign(&loot.client.header(), &claims))
    }),
    ("the bound token as Bearer", |loot| {
        Request::get("/orders").host("api.example").bearer(&loot.token).header("dpop", good(loot, "/orders"))
    }),
    ("the proof as the token", |loot| {
        let proof = good(loot, "/orders");
        request("/orders", &proof, &good(loot, "/orders"))
    }),
    ("the token as the proof", |loot| request("/orders", &loot.token, &loot.token)),
    ("the token in both schemes", |loot| {
        request("/orders", &loot.token, &good(loot, "/orders"))
            .header("authorization", format!("Bearer {}", loot.token))
    }),
];

fn loot(idp: &Idp) -> Loot {
    let client = Client::new("client");
    Loot {
        token: client.token(idp, json!({ "jti": "a" })),
        others_token: client.token(idp, json!({ "jti": "b" })),
        client,
        stranger: Client::new("thief"),
        provider_key: idp.key(Alg::ES256),
    }
}

fn attack(attacks: &[(&str, Attack)]) {
    let gateway = Gateway::start_with(
        |idp| {
            config(with_proofs(idp, json!({})), json!([{ "match": { "prefix": "/" }, "requires": corp() }]))
        },
        |builder| builder.shared().main(|main| main.normalize_path(true).merge_slashes(true)),
    );
    let loot = loot(&gateway.idp);
    for (name, attack) in attacks {
        let sent = attack(&loot);
        // Before the token is known, and after.
        for known in [false, true] {
            let response = sent.send(gateway.addr());
            assert!(matches!(response.status, 400 | 401), "{name}, {known}: {response:?}");
            assert!(gateway.upstream.requests().is_empty(), "{name} reached the upstream");
            if known {
                break;
            }
            // The client itself has no trouble.
            let own = request("/orders", &loot.token, &good(&loot, "/orders")).send(gateway.addr());
            assert_eq!(own.status, 200, "{name}: {}", own.text());
            gateway.upstream.take();
        }
    }
    gateway.assert_sound();
}

#[test]
fn a_proof_is_for_its_method() {
    attack(ON_HTM);
}

#[test]
fn a_proof_is_for_its_uri() {
    attack(ON_HTU);
}

#[test]
fn a_proof_is_for_its_token() {
    attack(ON_ATH);
}

#[test]
fn a_proof_is_for_its_time() {
    attack(ON_TIMES);
}

#[test]
fn a_proof_is_of_the_key_that_the_token_names() {
    attack(ON_KEYS);
}

#[test]
fn a_request_has_one_proof_in_its_place() {
    attack(ON_HEADERS);
}

#[test]
fn a_request_that_envoy_rewrites_is_the_one_that_was_signed() {
    let gateway = Gateway::start_with(
        |idp| {
            config(with_proofs(idp, json!({})), json!([{ "match": { "prefix": "/" }, "requires": corp() }]))
        },
        |builder| builder.shared().main(|main| main.normalize_path(true).merge_slashes(true)),
    );
    let loot = loot(&gateway.idp);
    for (target, signed) in [
        ("/a|b", "/a|b"),
        ("/a%7Cb", "/a|b"),
        ("/a//b", "/a//b"),
        ("/a/../b?q=1", "/a/../b"),
        ("/b", "/a/../b"),
        ("/%7Euser", "/~user"),
        ("/caf%C3%A9", "/caf\u{e9}"),
        ("/a[b]", "/a%5Bb%5D"),
        ("/", ""),
    ] {
        let sent = request(target, &loot.token, &good(&loot, signed));
        let response = sent.send(gateway.addr());
        assert_eq!(response.status, 200, "{target}, signed as {signed}: {}", response.text());
    }
    gateway.assert_sound();
}
