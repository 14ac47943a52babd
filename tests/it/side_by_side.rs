//! Envoy's own `jwt_authn` and this filter in one process, asked the same.

use crate::common;

use common::{AUDIENCE, corp, idp, parts, provider};
use harness::idp::{flip_bit, now};
use harness::{Alg, Envoy, Filter, Idp, Key, Listener, Request, Upstream, Wasm};
use serde_json::{Value, json};

/// What both understand.
fn shared(idp: &Idp) -> Value {
    let header = |name: &str, claim: &str| json!({ "header_name": name, "claim_name": claim });
    json!({
        "providers": { "corp": common::with(provider(idp), json!({
            "forward": false,
            "forward_payload_header": "x-jwt-payload",
            "claim_to_headers": [
                header("x-user", "sub"),
                header("x-level", "level"),
                header("x-admin", "admin"),
                header("x-groups", "groups"),
                header("x-realm", "realm"),
                header("x-nested", "realm.name"),
                header("x-none", "none"),
            ],
        })) },
        "rules": [
            { "match": { "path": "/healthz" } },
            { "match": { "prefix": "/" }, "requires": corp() },
        ],
    })
}

fn start(idp: &Idp, upstream: &Upstream) -> Envoy {
    Envoy::builder()
        .shared()
        .upstream(upstream)
        .idp("idp", idp)
        .filter(Wasm::portcullis(shared(idp)))
        .listener(Listener::new("native").filter(Filter::JwtAuthn(shared(idp))))
        .start()
        .unwrap_or_else(|error| panic!("{error}"))
}

/// Whether a request passes the native filter, and whether it passes this one.
fn ask(envoy: &Envoy, request: &Request) -> (bool, bool) {
    let passes = |listener: &str| {
        let response = request.send(envoy.addr_of(listener));
        assert!(matches!(response.status, 200 | 400 | 401 | 403), "{listener}: {response:?}");
        response.status == 200
    };
    (passes("native"), passes("main"))
}

#[test]
fn both_filters_come_to_the_same_verdicts() {
    let (idp, upstream) = (idp(), Upstream::start());
    let envoy = start(&idp, &upstream);
    let clock = now();
    let good = || idp.mint();
    let other = Key::cached(Alg::RS256, "another");
    let pem = Key::hmac(Alg::HS256, "rsa-1", idp.key(Alg::RS256).public_pem().as_bytes());
    let [header, payload, signature] = parts(&good().sign());
    let bearer = |token: String| Request::get("/orders").bearer(&token);
    let table = [
        ("RS256", bearer(good().sign()), true),
        ("ES256", bearer(good().alg(Alg::ES256).sign()), true),
        ("no kid", bearer(good().without_header("kid").sign()), true),
        ("a list of audiences", bearer(good().claim("aud", json!(["x", AUDIENCE])).sign()), true),
        ("expired within the skew", bearer(good().expires_in(-20).sign()), true),
        ("a public path", Request::get("/healthz"), true),
        ("a public path with a bad token", Request::get("/healthz").bearer("x"), true),
        ("no token", Request::get("/orders"), false),
        ("another scheme", Request::get("/orders").header("authorization", "Basic dTpw"), false),
        ("no JWT", bearer("opaque".to_owned()), false),
        ("one bit of the signature", bearer(flip_bit(&good().sign())), false),
        ("one bit, ES256", bearer(flip_bit(&good().alg(Alg::ES256).sign())), false),
        ("other claims", bearer(common::joined(&header, [&payload[..], b" "].concat(), &signature)), false),
        ("another key, same kid", bearer(good().key(&other.with_kid("rsa-1")).sign()), false),
        ("another key", bearer(good().key(&other).sign()), false),
        ("no algorithm", bearer(good().unsigned()), false),
        ("the public key as a secret", bearer(good().key(&pem).sign()), false),
        ("expired", bearer(good().expires_in(-120).sign()), false),
        ("not valid yet", bearer(good().claim("nbf", clock + 120).sign()), false),
        ("another issuer", bearer(good().claim("iss", "https://elsewhere.example").sign()), false),
        ("another audience", bearer(good().claim("aud", "billing").sign()), false),
        ("no audience", bearer(good().without("aud").sign()), false),
        ("exp as text", bearer(good().claim("exp", "4102444800").sign()), false),
    ];
    for (name, request, passes) in &table {
        let (native, own) = ask(&envoy, request);
        assert_eq!((native, own), (*passes, *passes), "{name}: (jwt_authn, Portcullis)");
    }
    common::assert_sound(&envoy);
}

#[test]
fn where_the_interface_is_stricter_this_filter_is() {
    let (idp, upstream) = (idp(), Upstream::start());
    let envoy = start(&idp, &upstream);
    let clock = now();
    let good = || idp.mint();
    let bearer = |token: String| Request::get("/orders").bearer(&token);
    for (name, request) in [
        ("no exp", bearer(good().without("exp").sign())),
        ("issued in the future", bearer(good().claim("iat", clock + 120).sign())),
        ("the audience and a slash", bearer(good().claim("aud", format!("{AUDIENCE}/")).sign())),
        ("another kind of JWT", bearer(good().header("typ", "logout+jwt").sign())),
        ("bound to a key", bearer(good().claim("cnf", json!({ "jkt": "x" })).sign())),
        ("in the query", Request::get(format!("/orders?access_token={}", good().sign()))),
    ] {
        assert_eq!(ask(&envoy, &request), (true, false), "{name}: (jwt_authn, Portcullis)");
    }
    common::assert_sound(&envoy);
}

#[test]
fn both_filters_write_the_same_headers() {
    let (idp, upstream) = (idp(), Upstream::start());
    let envoy = start(&idp, &upstream);
    let names = [
        "x-user",
        "x-level",
        "x-admin",
        "x-groups",
        "x-realm",
        "x-nested",
        "x-none",
        "x-jwt-payload",
        "authorization",
    ];
    for (sub, level, groups) in [
        // Of these bytes base64 and base64url make different letters.
        ("alice", json!(7), json!(["staff", "?a?b?c??", "ÿÿÿ~~~"])),
        // Beyond ASCII, and whole numbers however they are written.
        ("J\u{fc}rgen \u{5c71}\u{7530}\u{592a}\u{90ce}", json!(1e3), json!("Zo\u{eb}")),
        ("\u{1f512}", json!(9_007_199_254_740_991_u64), json!([1000.0, 7])),
        ("a, b; c=\"d\"", json!(12.0), json!({ "a": 2.0 })),
    ] {
        let token = idp.token(json!({
            "sub": sub, "level": level, "admin": true, "groups": groups, "realm": { "name": "blue" },
        }));
        let [native, own] = ["native", "main"].map(|listener| {
            let request = Request::get("/orders")
                .bearer(&token)
                .header("x-none", "mallory")
                .header("x-user", "mallory");
            assert_eq!(request.send(envoy.addr_of(listener)).status, 200, "{listener}");
            let record = upstream.last();
            names.map(|name| (name, record.headers_named(name)))
        });
        assert_eq!(own, native, "Portcullis, then jwt_authn");
    }
}
