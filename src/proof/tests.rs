//! Proofs as a client makes them, and each thing that can be wrong with one.

use harness::{Alg, Key};
use serde_json::{Value, json};

use super::*;
use crate::config::Config;
use crate::crypto::Backend;
use crate::json;
use crate::time::Timestamp;

const NOW: u64 = 1_800_000_000;
const TOKEN: &str = "header.payload.signature";

fn ath() -> String {
    use base64::Engine as _;
    use sha2::Digest as _;
    base64::prelude::BASE64_URL_SAFE_NO_PAD.encode(sha2::Sha256::digest(TOKEN))
}

/// What a provider with this `dpop` asks of proofs.
fn dpop(fields: Value) -> Dpop {
    let mut dpop = json!({ "origins": ["https://api.example"] });
    for (name, value) in fields.as_object().unwrap() {
        dpop[name] = value.clone();
    }
    let key = Key::cached(Alg::ES256, "k");
    let config = json!({
        "providers": { "p": {
            "local_jwks": { "inline": harness::idp::jwks([&key]) },
            "sender_constrained": "enforce",
            "dpop": dpop,
        } },
        "rules": [],
    });
    let secret = |_: &str| Some("s".repeat(32));
    let config = Config::parse(config.to_string().as_bytes(), &secret).unwrap();
    config.providers[0].dpop().unwrap().clone()
}

fn confirmation(thumbprint: &str) -> Confirmation {
    let claims = json!({ "cnf": { "jkt": thumbprint, "kc-jkt-type": "DPoP" } }).to_string();
    Confirmation::of(json::parse(claims.as_bytes()).unwrap().as_object().unwrap()).unwrap()
}

/// The members that make a key what it is.
fn jwk(key: &Key) -> Value {
    let jwk = key.public_jwk();
    let names = ["kty", "crv", "x", "y", "n", "e"];
    let members = names.iter().filter_map(|name| Some((name.to_string(), jwk.get(name)?.clone())));
    Value::Object(members.collect())
}

fn thumbprint(key: &Key) -> String {
    super::key::thumbprint(&json::parse(jwk(key).to_string().as_bytes()).unwrap()).unwrap()
}

fn header(key: &Key) -> Value {
    json!({ "typ": "dpop+jwt", "alg": key.alg().name(), "jwk": jwk(key) })
}

fn claims() -> Value {
    json!({ "jti": "a", "htm": "POST", "htu": "https://api.example/pay", "iat": NOW, "ath": ath() })
}

/// What becomes of a request with these proofs, or the words of the audit line.
fn judged(
    dpop: &Dpop,
    confirmation: &Confirmation,
    proofs: &[&str],
    now: u64,
) -> Result<SingleUse, Rejected> {
    let mut fields: Vec<(&[u8], &[u8])> =
        vec![(b":method", b"POST"), (b":path", b"/pay?a=b"), (b":authority", b"api.example")];
    fields.extend(proofs.iter().map(|proof| (&b"dpop"[..], proof.as_bytes())));
    let (request, now) = (Request::new(&fields), Timestamp::from_secs(now));
    dpop.check(confirmation, TOKEN.as_bytes(), &request, &Backend::portable(), now)
}

#[test]
fn a_proof_of_each_algorithm_holds_once_and_again() {
    let dpop = dpop(json!({ "algorithms": ["ES256", "ES384", "ES512", "EdDSA", "PS256", "RS256"] }));
    for alg in [Alg::ES256, Alg::ES384, Alg::ES512, Alg::EdDSA, Alg::PS256, Alg::RS256] {
        let key = Key::cached(alg, "own");
        let bound = confirmation(&thumbprint(&key));
        let proof = |jti: &str| {
            let mut claims = claims();
            claims["jti"] = json!(jti);
            key.sign_jws(&header(&key), claims.to_string().as_bytes())
        };
        let (first, again) =
            (judged(&dpop, &bound, &[&proof("a")], NOW), judged(&dpop, &bound, &[&proof("a")], NOW));
        assert!(first.is_ok(), "{alg:?}: {first:?}");
        // The key is known by now. The table, not this, says that it came before.
        assert_eq!(first, again, "{alg:?}");
        assert_ne!(first, judged(&dpop, &bound, &[&proof("b")], NOW), "{alg:?}");
        assert_eq!(
            judged(&dpop, &confirmation("other"), &[&proof("a")], NOW).unwrap_err(),
            Reason::ProofInvalid
        );
        let flipped = harness::idp::flip_bit(&proof("c"));
        assert_eq!(judged(&dpop, &bound, &[&flipped], NOW).unwrap_err(), Reason::ProofInvalid);
    }
}

#[test]
fn each_thing_that_is_wrong_with_a_proof_is_named() {
    let (key, other) = (Key::cached(Alg::ES256, "own"), Key::cached(Alg::ES256, "other"));
    let (dpop, bound) = (dpop(json!({})), confirmation(&thumbprint(&key)));
    type Change = fn(&mut Value, &mut Value);
    let cases: &[(&str, Change)] = &[
        ("\"typ\"", |head, _| head["typ"] = json!("JWT")),
        ("\"typ\"", |head, _| drop(head.as_object_mut().unwrap().remove("typ"))),
        ("\"crit\"", |head, _| head["crit"] = json!(["jwk"])),
        ("alg", |head, _| head["alg"] = json!("none")),
        ("\"alg\" of the proof", |head, _| head["alg"] = json!("HS256")),
        ("\"alg\" of the proof", |head, _| head["alg"] = json!("PS384")),
        ("signature", |head, _| head["alg"] = json!("ES384")),
        ("no \"jwk\"", |head, _| drop(head.as_object_mut().unwrap().remove("jwk"))),
        ("private", |head, _| head["jwk"]["d"] = json!("AQAB")),
        ("no object", |head, _| head["jwk"] = json!("a")),
        ("\"alg\" of \"jwk\"", |head, _| head["jwk"]["alg"] = json!("RS256")),
        ("\"htm\" is another", |_, claims| claims["htm"] = json!("post")),
        ("\"htm\" is missing", |_, claims| claims["htm"] = json!(null)),
        ("\"htu\" is missing", |_, claims| drop(claims.as_object_mut().unwrap().remove("htu"))),
        ("\"htu\" is missing", |_, claims| claims["htu"] = json!(["https://api.example/pay"])),
        ("another path", |_, claims| claims["htu"] = json!("https://api.example/")),
        ("another scheme", |_, claims| claims["htu"] = json!("https://api.example:8443/pay")),
        ("not an absolute", |_, claims| claims["htu"] = json!("/pay")),
        ("\"ath\" is missing", |_, claims| drop(claims.as_object_mut().unwrap().remove("ath"))),
        ("\"ath\" is not", |_, claims| {
            claims["ath"] = json!(format!("{}=", claims["ath"].as_str().unwrap()))
        }),
        ("\"ath\" is not", |_, claims| claims["ath"] = json!("00".repeat(32))),
        ("\"jti\" is empty", |_, claims| claims["jti"] = json!("")),
        ("\"jti\" is missing", |_, claims| claims["jti"] = json!(7)),
        ("\"iat\" is missing", |_, claims| drop(claims.as_object_mut().unwrap().remove("iat"))),
        ("no number", |_, claims| claims["iat"] = json!(NOW.to_string())),
        ("no number", |_, claims| claims["iat"] = json!(null)),
        ("no number", |_, claims| claims["exp"] = json!("x")),
        ("max_age", |_, claims| claims["iat"] = json!(NOW - 61)),
        ("clock_skew", |_, claims| claims["iat"] = json!(NOW + 6)),
        ("expired", |_, claims| claims["exp"] = json!(NOW)),
        ("not valid yet", |_, claims| claims["nbf"] = json!(NOW + 1)),
    ];
    for (words, change) in cases {
        let (mut head, mut claims) = (header(&key), claims());
        change(&mut head, &mut claims);
        let proof = key.sign_parts(head.to_string().as_bytes(), claims.to_string().as_bytes());
        let rejected = judged(&dpop, &bound, &[&proof], NOW).expect_err(words);
        assert_eq!(rejected, Reason::ProofInvalid, "{words}");
        assert!(rejected.context.to_string().contains(words), "{words}: {}", rejected.context);
    }
    // What a client may add or write otherwise.
    let harmless: &[Change] = &[
        |head, _| head["typ"] = json!("application/DPoP+JWT"),
        |head, _| head["kid"] = json!("a"),
        |head, _| head["jwk"]["kid"] = json!("a"),
        |head, _| head["jwk"]["alg"] = json!("ES256"),
        |head, _| head["jku"] = json!("https://evil.example"),
        |_, claims| claims["iat"] = json!(NOW - 60),
        |_, claims| claims["iat"] = json!(NOW as f64 + 4.5),
        |_, claims| claims["exp"] = json!(NOW + 1),
        |_, claims| claims["nonce"] = json!("whatever"),
        |_, claims| claims["htu"] = json!("HTTPS://API.example:443/x/../%70ay?c=d#e"),
        |_, claims| claims["more"] = json!({ "a": [1] }),
    ];
    for (at, change) in harmless.iter().enumerate() {
        let (mut head, mut claims) = (header(&key), claims());
        change(&mut head, &mut claims);
        let proof = key.sign_jws(&head, claims.to_string().as_bytes());
        let found = judged(&dpop, &bound, &[&proof], NOW);
        assert!(found.is_ok(), "{at}: {found:?}");
    }
    // Another key, with a header that says it is this one.
    let forged = other.sign_jws(&header(&key), claims().to_string().as_bytes());
    assert_eq!(judged(&dpop, &bound, &[&forged], NOW).unwrap_err(), Reason::ProofInvalid);
    let other = other.sign_jws(&header(&other), claims().to_string().as_bytes());
    assert_eq!(judged(&dpop, &bound, &[&other], NOW).unwrap_err(), Reason::ProofInvalid);
}

#[test]
fn what_is_not_one_proof_is_none() {
    let key = Key::cached(Alg::ES256, "own");
    let (dpop, bound) = (dpop(json!({})), confirmation(&thumbprint(&key)));
    let proof = key.sign_jws(&header(&key), claims().to_string().as_bytes());
    assert!(judged(&dpop, &bound, &[&proof], NOW).is_ok());
    assert_eq!(judged(&dpop, &bound, &[], NOW).unwrap_err(), Reason::ProofMissing);
    let twice_in_head = key.sign_parts(
        format!(r#"{{"typ":"dpop+jwt","alg":"ES256","a":1,"a":1,"jwk":{}}}"#, jwk(&key)).as_bytes(),
        claims().to_string().as_bytes(),
    );
    let twice = key.sign_parts(
        header(&key).to_string().as_bytes(),
        claims().to_string().replace("{", r#"{"jti":"b","#).as_bytes(),
    );
    let list = key.sign_parts(header(&key).to_string().as_bytes(), b"[]");
    let long = key.sign_parts(
        header(&key).to_string().as_bytes(),
        claims().to_string().replace("{", &format!("{{{:8000}", "")).as_bytes(),
    );
    for proofs in [
        vec![&*proof, &proof],
        vec![""],
        vec![&*format!("{proof},{proof}")],
        vec![&*format!("{proof} ")],
        vec![&*format!("{proof}.")],
        vec![&*format!("{proof}=")],
        vec![&*proof.replace('.', "")],
        vec![&proof[..proof.len() - 1]],
        vec!["a.b.c"],
        vec!["a.b.c.d.e"],
        vec![&*twice_in_head],
        vec![&*twice],
        vec![&*list],
        vec![&*long],
        vec!["\u{e9}"],
    ] {
        let found = judged(&dpop, &bound, &proofs, NOW);
        assert_eq!(found.map_err(|rejected| rejected.reason), Err(Reason::ProofInvalid), "{proofs:?}");
    }
}

#[test]
fn with_a_good_nonce_the_clock_of_the_client_does_not_count() {
    let key = Key::cached(Alg::ES256, "own");
    let bound = confirmation(&thumbprint(&key));
    let dpop = dpop(json!({ "nonce": { "key": { "environment_variable": "K" }, "lifetime": "120s" } }));
    let nonces = dpop.nonces.as_ref().unwrap();
    let with = |nonce: Option<Value>, iat: u64| {
        let mut claims = claims();
        claims["iat"] = json!(iat);
        if let Some(nonce) = nonce {
            claims["nonce"] = nonce;
        }
        key.sign_jws(&header(&key), claims.to_string().as_bytes())
    };
    let issued = |at: u64| Some(json!(nonces.issue(Timestamp::from_secs(at))));
    for (nonce, iat, expected) in [
        (issued(NOW), NOW, None),
        (issued(NOW - 120), NOW - 86_400, None),
        (issued(NOW), NOW + 86_400, None),
        (issued(NOW - 121), NOW, Some(Reason::NonceRequired)),
        (issued(NOW + 60), NOW, Some(Reason::NonceRequired)),
        (None, NOW, Some(Reason::NonceRequired)),
        (None, NOW - 86_400, Some(Reason::NonceRequired)),
        (Some(json!("")), NOW, Some(Reason::NonceRequired)),
        (Some(json!("n1")), NOW, Some(Reason::NonceRequired)),
        (Some(json!(7)), NOW, Some(Reason::NonceRequired)),
        (Some(json!(null)), NOW, Some(Reason::NonceRequired)),
    ] {
        let found = judged(&dpop, &bound, &[&with(nonce.clone(), iat)], NOW);
        assert_eq!(found.err().map(|rejected| rejected.reason), expected, "{nonce:?} {iat}");
    }
    // A proof that does not hold learns of no nonce.
    let forged = harness::idp::flip_bit(&with(issued(NOW), NOW));
    assert_eq!(judged(&dpop, &bound, &[&forged], NOW).unwrap_err(), Reason::ProofInvalid);
}

#[test]
fn a_token_names_what_it_is_bound_to_or_nothing_that_is_known() {
    for (claims, key, certificate, is_unknown) in [
        (r#"{"cnf":{"jkt":"a"}}"#, true, false, false),
        (r#"{"cnf":{"x5t#S256":"a"}}"#, false, true, false),
        (r#"{"cnf":{"jkt":"a","x5t#S256":"b"}}"#, true, true, false),
        (r#"{"cnf":{"jkt":"a","kc-jkt-type":"DPoP"}}"#, true, false, false),
        (r#"{"cnf":{"jkt":"a","x5t#S256":7}}"#, true, false, true),
        (r#"{"cnf":{"jkt":"","x5t#S256":"b"}}"#, false, true, true),
        (r#"{"cnf":{"jwk":{}}}"#, false, false, true),
        (r#"{"cnf":{}}"#, false, false, true),
        (r#"{"cnf":null}"#, false, false, true),
        (r#"{"cnf":"a"}"#, false, false, true),
        (r#"{"cnf":[{"jkt":"a"}]}"#, false, false, true),
    ] {
        let claims_json = json::parse(claims.as_bytes()).unwrap();
        let found = Confirmation::of(claims_json.as_object().unwrap()).unwrap();
        assert_eq!(
            (found.names_key(), found.names_certificate(), found.is_unknown()),
            (key, certificate, is_unknown),
            "{claims}"
        );
        let both = Constraint { dpop: Some(dpop(json!({}))), mtls: Some(CertificateSource::Connection) };
        assert_eq!(found.check_ways(&both).is_err(), is_unknown, "{claims}");
        let neither = Constraint { dpop: None, mtls: None };
        assert_eq!(found.check_ways(&neither).unwrap_err(), Reason::TokenBound, "{claims}");
    }
    assert!(Confirmation::of(json::parse(b"{}").unwrap().as_object().unwrap()).is_none());
}
