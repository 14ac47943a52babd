//! Proofs that are made here, as rows: with the habits of client libraries, and with one thing wrong at a time.

use harness::{Alg, Key};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::{Client, digest};
use crate::common::with;

/// The time at which these proofs are made.
const NOW: u64 = 1_800_000_000;
const TOKEN: &str = "an-opaque-token.of-no-form~at+all/1";
/// The algorithms of the clients.
const ALGS: [Alg; 4] = [Alg::ES256, Alg::EdDSA, Alg::RS256, Alg::ES384];

/// A request, and a URI that a proof for it may have: host and target as they are sent, the path behind an Envoy with
/// `normalize_path` and `merge_slashes`, `htu`, and whether it is the same resource.
type Place = (&'static str, &'static str, &'static str, &'static str, bool);

const PLACES: &[Place] = &[
    ("api.example", "/orders", "/orders", "https://api.example/orders", true),
    ("api.example", "/orders?page=2", "/orders", "https://api.example/orders", true),
    ("api.example", "/orders?page=2", "/orders", "https://api.example/orders?page=3", true),
    ("api.example", "/orders", "/orders", "https://api.example/orders#top", true),
    ("api.example", "/", "/", "https://api.example", true),
    ("api.example", "/", "/", "https://api.example/", true),
    ("api.example", "/orders", "/orders", "HTTPS://API.Example/orders", true),
    ("api.example", "/orders", "/orders", "https://api.example:443/orders", true),
    ("api.example:443", "/orders", "/orders", "https://api.example/orders", true),
    ("api.example.", "/orders", "/orders", "https://api.example/orders", true),
    ("api.example:8443", "/orders", "/orders", "https://api.example:8443/orders", true),
    ("xn--bcher-kva.example", "/orders", "/orders", "https://xn--bcher-kva.example/orders", true),
    ("[::1]:8443", "/orders", "/orders", "https://[::1]:8443/orders", true),
    ("localhost:8080", "/orders", "/orders", "http://localhost:8080/orders", true),
    ("api.example", "/a/../orders", "/orders", "https://api.example/orders", true),
    ("api.example", "/a/./b", "/a/b", "https://api.example/a/b", true),
    ("api.example", "/%6frders", "/orders", "https://api.example/orders", true),
    ("api.example", "/~me", "/~me", "https://api.example/%7Eme", true),
    ("api.example", "/caf%c3%a9", "/caf%C3%A9", "https://api.example/caf%C3%A9", true),
    ("api.example", "/a//b", "/a/b", "https://api.example/a//b", true),
    ("api.example", "/a%2fb", "/a%2fb", "https://api.example/a%2Fb", true),
    ("api.example", "/a%20b", "/a%20b", "https://api.example/a b", true),
    ("api.example", "/orders", "/orders", "https://api.example/orders/", false),
    ("api.example", "/orders", "/orders", "https://api.example/order", false),
    ("api.example", "/orders", "/orders", "https://api.example/Orders", false),
    ("api.example", "/orders", "/orders", "https://api.example/", false),
    ("api.example", "/orders", "/orders", "http://api.example/orders", false),
    ("api.example", "/orders", "/orders", "https://api.example:8443/orders", false),
    ("api.example:8443", "/orders", "/orders", "https://api.example/orders", false),
    ("api.example", "/orders", "/orders", "https://xn--bcher-kva.example/orders", false),
    ("xn--bcher-kva.example", "/orders", "/orders", "https://b\u{fc}cher.example/orders", false),
    ("api.example", "/orders", "/orders", "//api.example/orders", false),
    ("api.example", "/orders", "/orders", "/orders", false),
    ("api.example", "/a%2fb", "/a%2fb", "https://api.example/a/b", false),
    ("api.example", "/x;v=1", "/x;v=1", "https://api.example/x", false),
    ("api.example", "/a%2Bb", "/a%2Bb", "https://api.example/a+b", false),
];

/// What a library does that others do not: what its rows are called, the flaw if that is one, and the proof with it.
type Habit = (&'static str, Option<&'static str>, fn(&mut Value, &mut Value));

const HABITS: &[Habit] = &[
    ("as the RFC has it", None, |_, _| {}),
    ("a key id beside the key", Some("kid in the header"), |header, _| header["kid"] = json!("client-1")),
    ("dates besides", Some("exp in the proof"), |_, claims| {
        claims["exp"] = json!(NOW + 60);
        claims["nbf"] = json!(NOW - 60);
    }),
    ("the use of the key", None, |header, _| header["jwk"]["use"] = json!("sig")),
    ("a nonce that nobody asked for", None, |_, claims| claims["nonce"] = json!("n-0S6_WzA2Mj")),
    ("claims of its own", None, |_, claims| claims["client"] = json!({ "name": "web", "version": [1, 2] })),
    ("no hash of the token", Some("ath missing"), |_, claims| {
        claims.as_object_mut().expect("claims").remove("ath");
    }),
    ("the hash in hex", Some("ath in hex"), |_, claims| {
        let hash = Sha256::digest(TOKEN);
        claims["ath"] = json!(hash.iter().map(|byte| format!("{byte:02x}")).collect::<String>());
    }),
    ("the method in lower case", Some("htm is not the method as sent"), |_, claims| {
        claims["htm"] = json!(claims["htm"].as_str().expect("a method").to_lowercase());
    }),
    ("user information in the URI", Some("user information in htu"), |_, claims| {
        let htu = claims["htu"].as_str().expect("a URI");
        claims["htu"] = json!(htu.replacen("://", "://me:secret@", 1));
    }),
];

/// A row for each place, method and habit; the algorithms take turns.
pub(super) fn of_clients() -> Vec<Value> {
    let clients = ALGS.map(|alg| Client::of(alg, "library"));
    let mut rows = Vec::new();
    for (host, target, behind, htu, same) in PLACES {
        for method in ["GET", "POST", "DELETE"] {
            for (library, flaw, habit) in HABITS {
                let client = &clients[rows.len() % clients.len()];
                let (mut header, mut claims) = (client.header(), client.claims(method, htu, TOKEN));
                claims["iat"] = json!(NOW);
                habit(&mut header, &mut claims);
                // A URI without a scheme has no place for it.
                let is_habit = claims["htu"] != *htu || *flaw != Some("user information in htu");
                rows.push(json!({
                    "library": library, "wire_method": method, "wire_host": host, "wire_target": target,
                    "path_after_envoy": behind, "access_token": TOKEN, "jkt": client.jkt(), "iat": NOW,
                    "proof": client.sign(&header, &claims), "htu": claims["htu"],
                    "flaws": flaw.filter(|_| is_habit).as_slice(), "as_envoy_reads": same,
                }));
            }
        }
    }
    rows
}

/// The request that the cases are about, with one thing changed.
#[derive(Clone)]
struct Shown {
    method: &'static str,
    url: &'static str,
    token: &'static str,
    jkt: String,
    now: u64,
    nonce: Option<&'static str>,
}

const URL: &str = "https://api.example/v1/orders";

/// The cases: a proof that is good, what may differ, and what may not.
pub(super) fn cases() -> Vec<Value> {
    let client = Client::new("case");
    let mut rows = Vec::new();
    let mut row = |id: &str, valid: bool, shown: &Shown, proofs: Vec<String>| {
        let expect = if valid { "valid" } else { "invalid" };
        rows.push(json!({
            "id": id, "reason": id, "expect": expect, "dpop": proofs, "method": shown.method, "url": shown.url,
            "access_token": shown.token, "expected_jkt": shown.jkt, "now": shown.now, "nonce": shown.nonce,
            "max_age": 120, "future_skew": 30,
        }));
    };
    let usual = Shown { method: "GET", url: URL, token: TOKEN, jkt: client.jkt(), now: NOW, nonce: None };
    let proof = |header: Value, claims: Value| {
        let own = with(client.claims("GET", URL, TOKEN), json!({ "iat": NOW }));
        client.sign(&with(client.header(), header), &with(own, claims))
    };
    for (id, valid, header) in headers(&client) {
        row(id, valid, &usual, vec![proof(header, json!({}))]);
    }
    for (id, valid, claims) in claims() {
        row(id, valid, &usual, vec![proof(json!({}), claims)]);
    }
    for (id, valid, shown) in requests(&usual) {
        row(id, valid, &shown, vec![proof(json!({}), json!({}))]);
    }
    for (id, proofs) in fields(&client, &proof(json!({}), json!({}))) {
        row(id, false, &usual, proofs);
    }
    let shown = Shown { nonce: Some("asked for"), ..usual.clone() };
    row("another nonce", false, &shown, vec![proof(json!({}), json!({ "nonce": "made up" }))]);
    for alg in [Alg::ES384, Alg::ES512, Alg::EdDSA, Alg::RS256, Alg::PS256] {
        let client = Client::of(alg, "case");
        let claims = with(client.claims("GET", URL, TOKEN), json!({ "iat": NOW }));
        let shown = Shown { jkt: client.jkt(), ..usual.clone() };
        row(alg.name(), true, &shown, vec![client.sign(&client.header(), &claims)]);
    }
    rows
}

/// What may stand in the header of a proof, and what may not.
fn headers(client: &Client) -> Vec<(&'static str, bool, Value)> {
    let jwk = |more: Value| json!({ "jwk": with(client.jwk(), more) });
    vec![
        ("a key id", true, json!({ "kid": "k" })),
        ("the key's own algorithm", true, jwk(json!({ "alg": "ES256" }))),
        ("no type", false, json!({ "typ": null })),
        ("the type JWT", false, json!({ "typ": "JWT" })),
        ("an access token's type", false, json!({ "typ": "at+jwt" })),
        ("alg none", false, json!({ "alg": "none" })),
        ("a symmetric algorithm", false, json!({ "alg": "HS256" })),
        ("an algorithm of another curve", false, json!({ "alg": "ES384" })),
        ("no algorithm", false, json!({ "alg": null })),
        ("no key", false, json!({ "jwk": null })),
        ("a key id for the key", false, json!({ "jwk": null, "kid": client.jkt() })),
        ("a key as text", false, json!({ "jwk": client.jwk().to_string() })),
        ("another client's key", false, json!({ "jwk": Client::new("other").jwk() })),
        ("a private member", false, jwk(json!({ "d": "AAAA" }))),
        ("a key for another algorithm", false, jwk(json!({ "alg": "ES384" }))),
        ("a key without a coordinate", false, jwk(json!({ "y": null }))),
        ("a secret", false, json!({ "jwk": { "kty": "oct", "k": "AAAA" } })),
        ("something critical", false, json!({ "crit": ["htm"], "htm": "GET" })),
        ("unencoded", false, json!({ "b64": false, "crit": ["b64"] })),
    ]
}

/// What may stand in the claims of a proof, and what may not.
fn claims() -> Vec<(&'static str, bool, Value)> {
    vec![
        ("as it should be", true, json!({})),
        ("made a little ahead", true, json!({ "iat": NOW + 30 })),
        ("made two minutes ago", true, json!({ "iat": NOW - 120 })),
        ("with a query", true, json!({ "htu": "https://api.example/v1/orders?page=2" })),
        ("with the usual port", true, json!({ "htu": "https://api.example:443/v1/orders" })),
        ("with an escape that needs none", true, json!({ "htu": "https://api.example/v1/%6Frders" })),
        ("with dot segments", true, json!({ "htu": "https://api.example/v0/../v1/orders" })),
        ("made too far ahead", false, json!({ "iat": NOW + 31 })),
        ("made too long ago", false, json!({ "iat": NOW - 121 })),
        ("without a time", false, json!({ "iat": null })),
        ("a time as text", false, json!({ "iat": NOW.to_string() })),
        ("a negative time", false, json!({ "iat": -1 })),
        ("for no method", false, json!({ "htm": null })),
        ("for another method", false, json!({ "htm": "POST" })),
        ("for a method in lower case", false, json!({ "htm": "get" })),
        ("for no URI", false, json!({ "htu": null })),
        ("for a relative URI", false, json!({ "htu": "/v1/orders" })),
        ("for another path", false, json!({ "htu": "https://api.example/v1/customers" })),
        ("for another version", false, json!({ "htu": "https://api.example/v2/orders" })),
        ("for another host", false, json!({ "htu": "https://evil.example/v1/orders" })),
        ("for another scheme", false, json!({ "htu": "http://api.example/v1/orders" })),
        ("for two URIs", false, json!({ "htu": [URL, URL] })),
        ("for no token", false, json!({ "ath": null })),
        ("for another token", false, json!({ "ath": digest("another") })),
        ("for the token, padded", false, json!({ "ath": format!("{}=", digest(TOKEN)) })),
        ("for the token itself", false, json!({ "ath": TOKEN })),
        ("without an id", false, json!({ "jti": null })),
        ("with an empty id", false, json!({ "jti": "" })),
        ("with a number for an id", false, json!({ "jti": 7 })),
        ("expired", false, json!({ "exp": NOW - 1 })),
        ("not yet valid", false, json!({ "nbf": NOW + 3600 })),
    ]
}

/// Requests to which the good proof is shown.
fn requests(usual: &Shown) -> Vec<(&'static str, bool, Shown)> {
    let to = |url| Shown { url, ..usual.clone() };
    let stranger = Client::new("other").jkt();
    vec![
        ("to the page two", true, to("https://api.example/v1/orders?page=2")),
        ("to a host in capitals", true, to("https://API.EXAMPLE/v1/orders")),
        ("to the usual port", true, to("https://api.example:443/v1/orders")),
        ("to a path in capitals", false, to("https://api.example/v1/ORDERS")),
        ("to a folder", false, to("https://api.example/v1/orders/")),
        ("to another port", false, to("https://api.example:8443/v1/orders")),
        ("to another host", false, to("https://shop.example/v1/orders")),
        ("of another method", false, Shown { method: "DELETE", ..usual.clone() }),
        ("with another token", false, Shown { token: "another", ..usual.clone() }),
        ("with a token of another key", false, Shown { jkt: stranger, ..usual.clone() }),
        ("with a token of no known key", false, Shown { jkt: "A".repeat(43), ..usual.clone() }),
        ("an hour later", false, Shown { now: NOW + 3600, ..usual.clone() }),
        ("no nonce", false, Shown { nonce: Some("asked for"), ..usual.clone() }),
    ]
}

/// What stands in the place of the one good proof.
fn fields(client: &Client, good: &str) -> Vec<(&'static str, Vec<String>)> {
    let claims = with(client.claims("GET", URL, TOKEN), json!({ "iat": NOW }));
    let claims_text = claims.to_string();
    let (signed, signature) = good.rsplit_once('.').expect("a signature");
    let thief = Client::new("thief");
    let code = Key::hmac(Alg::HS256, "k", &client.0.public_der());
    let zeros = harness::idp::b64([0; 64]);
    vec![
        ("no proof", vec![]),
        ("an empty field", vec![String::new()]),
        ("two proofs", vec![good.to_owned(), good.to_owned()]),
        ("two proofs in a field", vec![format!("{good}, {good}")]),
        ("a proof in quotes", vec![format!("\"{good}\"")]),
        ("no signature", vec![format!("{signed}.")]),
        ("half a proof", vec![signed.to_owned()]),
        ("a signature of zeros", vec![format!("{signed}.{zeros}")]),
        ("half a signature", vec![format!("{signed}.{}", &signature[..43])]),
        ("a bit turned", vec![harness::idp::flip_bit(good)]),
        ("a thief's signature", vec![thief.sign(&client.header(), &claims)]),
        ("a thief's proof", vec![thief.sign(&thief.header(), &claims)]),
        (
            "a code made with the public key",
            vec![code.sign_jws(&with(client.header(), json!({ "alg": "HS256" })), claims_text.as_bytes())],
        ),
        ("no claims", vec![client.0.sign_jws(&client.header(), b"")]),
        (
            "a list of claims",
            vec![client.0.sign_jws(&client.header(), format!("[{claims_text}]").as_bytes())],
        ),
        (
            "claims twice",
            vec![
                client.0.sign_jws(
                    &client.header(),
                    claims_text.replacen('{', "{\"htm\":\"POST\",", 1).as_bytes(),
                ),
            ],
        ),
        (
            "more than a proof needs",
            vec![client.sign(&client.header(), &with(claims, json!({ "pad": "x".repeat(8192) })))],
        ),
    ]
}
