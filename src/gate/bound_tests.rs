//! Bound tokens and one-time tokens at the gate: which reason each request meets, what the client and the operator are
//! told, and when something is used up.

use std::cell::Cell;
use std::rc::Rc;

use harness::{Alg, Key};
use serde_json::{Value, json};

use super::*;
use crate::response::LocalReply;

const NOW: u64 = 1_800_000_000;

fn now() -> Timestamp {
    Timestamp::from_secs(NOW)
}

/// What a request comes over: the certificate of the client, in hexadecimal.
struct Peer(Option<&'static str>);

impl HostProperties for Peer {
    fn is_tls(&self) -> bool {
        self.0.is_some()
    }

    fn client_address(&self) -> Option<String> {
        None
    }

    fn peer_certificate_hash(&self) -> Option<String> {
        self.0.map(str::to_owned)
    }

    fn route_metadata(&self, _: &str) -> crate::request::Metadata {
        crate::request::Metadata::Absent
    }
}

const CERTIFICATE: &str = "468ed33be74eee6556d90c0149c1309e9ba61d6425303443c0748a02dd8de688";
const OTHER_CERTIFICATE: &str = "568ed33be74eee6556d90c0149c1309e9ba61d6425303443c0748a02dd8de688";
/// Base64url of the first.
const X5T: &str = "Ro7TO-dO7mVW2QwBScEwnpumHWQlMDRDwHSKAt2N5og";

fn signer() -> Key {
    Key::cached(Alg::ES256, "issuer")
}

fn own() -> Key {
    Key::cached(Alg::ES256, "own")
}

/// A gate with one provider and these fields of its own, of its rule and of the whole.
fn gate_with(provider: Value, rule: Value, whole: Value) -> Gate {
    let mut config = json!({
        "providers": { "corp": {
            "issuer": "i", "audiences": ["a"], "local_jwks": { "inline": harness::idp::jwks([&signer()]) },
        } },
        "rules": [{ "name": "r", "match": { "prefix": "/" }, "requires": { "provider_name": "corp" } }],
    });
    let mut put = |at: &str, more: Value| {
        let place = config.pointer_mut(at).unwrap();
        for (name, value) in more.as_object().unwrap() {
            place[name] = value.clone();
        }
    };
    put("/providers/corp", provider);
    put("/rules/0", rule);
    put("", whole);
    let config = Config::parse(config.to_string().as_bytes(), &|_| Some("s".repeat(32)));
    let config = config.unwrap_or_else(|problems| panic!("{problems:?}"));
    Gate::new(config, Environment::alone(1), now())
}

/// What a provider says that has proofs and certificates shown.
fn enforce() -> Value {
    json!({
        "sender_constrained": "enforce",
        "dpop": { "origins": ["https://api.example"], "algorithms": ["ES256", "EdDSA"] },
        "mtls": { "certificate": "connection" },
    })
}

fn gate() -> Gate {
    gate_with(enforce(), json!({}), json!({}))
}

fn token(more: Value) -> String {
    let mut claims = json!({ "iss": "i", "aud": "a", "sub": "alice", "exp": NOW + 200 });
    for (name, value) in more.as_object().unwrap() {
        claims[name] = value.clone();
    }
    signer().sign_jws(&json!({ "alg": "ES256", "kid": "issuer" }), claims.to_string().as_bytes())
}

fn jwk(key: &Key) -> Value {
    let jwk = key.public_jwk();
    json!({ "kty": "EC", "crv": "P-256", "x": jwk["x"], "y": jwk["y"] })
}

fn digest(text: &str) -> String {
    use base64::Engine as _;
    use sha2::Digest as _;
    base64::prelude::BASE64_URL_SAFE_NO_PAD.encode(sha2::Sha256::digest(text))
}

fn jkt(key: &Key) -> String {
    let jwk = jwk(key);
    let text = |name: &str| jwk[name].as_str().unwrap().to_owned();
    digest(&format!(r#"{{"crv":"P-256","kty":"EC","x":"{}","y":"{}"}}"#, text("x"), text("y")))
}

fn bound() -> String {
    token(json!({ "cnf": { "jkt": jkt(&own()) } }))
}

thread_local! {
    static NUMBER: Cell<usize> = const { Cell::new(0) };
}

/// A proof that is good for this token, and new.
fn proof(token: &str, more: Value) -> String {
    let number = NUMBER.with(|number| number.replace(number.get() + 1));
    let mut claims = json!({
        "jti": format!("j{number}"), "htm": "GET", "htu": "https://api.example/a", "iat": NOW, "ath": digest(token),
    });
    for (name, value) in more.as_object().unwrap() {
        claims[name] = value.clone();
    }
    let header = json!({ "typ": "dpop+jwt", "alg": "ES256", "jwk": jwk(&own()) });
    own().sign_jws(&header, claims.to_string().as_bytes())
}

/// What comes of a request: it passes, or what the client is told.
fn ask(
    gate: &mut Gate,
    authorization: &str,
    more: &[(&str, &str)],
    peer: Option<&'static str>,
) -> Result<Allow, (Reason, LocalReply)> {
    let mut fields: Vec<(&[u8], &[u8])> =
        vec![(b":method", b"GET"), (b":path", b"/a?b=c"), (b":authority", b"api.example")];
    if !authorization.is_empty() {
        fields.push((b"authorization", authorization.as_bytes()));
    }
    fields.extend(more.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes())));
    let peer = Peer(peer);
    match gate.decide(StreamId(1), &Request::new(&fields).within(&peer), now()) {
        Outcome::Allow(allow) => Ok(allow),
        Outcome::Deny(rejection) => Err((rejection.response.reason, rejection.response.reply(false))),
        Outcome::Answer(_) => panic!("no resource is configured"),
        Outcome::Wait => panic!("it waits"),
    }
}

/// The reason for which it is refused.
fn refused(gate: &mut Gate, authorization: &str, more: &[(&str, &str)]) -> Option<Reason> {
    ask(gate, authorization, more, None).err().map(|(reason, _)| reason)
}

fn detail(gate: &mut Gate) -> String {
    let effects = std::iter::from_fn(|| gate.next_effect());
    let lines = effects.filter_map(|effect| match effect {
        Effect::Log(_, line) => line.split_once("audit ").map(|(_, line)| line.to_owned()),
        _ => None,
    });
    let line: Value = serde_json::from_str(&lines.last().expect("an audit line")).unwrap();
    line["detail"].as_str().unwrap_or_default().to_owned()
}

fn challenges(reply: &LocalReply) -> Vec<&str> {
    let fields = reply.headers.iter().filter(|(name, _)| *name == "www-authenticate");
    fields.map(|(_, value)| &**value).collect()
}

#[test]
fn what_a_token_is_bound_to_must_be_shown() {
    let both = json!({ "cnf": { "jkt": jkt(&own()), "x5t#S256": X5T } });
    let certificate = json!({ "cnf": { "x5t#S256": X5T } });
    let stranger = json!({ "cnf": { "jkt": jkt(&signer()) } });
    const KEY: Option<&str> = Some(CERTIFICATE);
    const OTHER: Option<&str> = Some(OTHER_CERTIFICATE);
    use Reason::*;
    for (claims, scheme, proves, peer, expected) in [
        (json!({}), "Bearer", false, None, None),
        (json!({}), "Bearer", true, None, None),
        (json!({}), "DPoP", true, None, Some(ProofInvalid)),
        (json!({}), "DPoP", false, None, Some(ProofInvalid)),
        (json!({ "cnf": { "jkt": jkt(&own()) } }), "DPoP", true, None, None),
        (json!({ "cnf": { "jkt": jkt(&own()), "kc-jkt-type": "DPoP" } }), "dpop", true, OTHER, None),
        (json!({ "cnf": { "jkt": jkt(&own()) } }), "DPoP", false, None, Some(ProofMissing)),
        (json!({ "cnf": { "jkt": jkt(&own()) } }), "Bearer", true, None, Some(ProofMissing)),
        (stranger, "DPoP", true, None, Some(ProofInvalid)),
        (certificate.clone(), "Bearer", false, KEY, None),
        (certificate.clone(), "Bearer", false, OTHER, Some(CertificateMismatch)),
        (certificate.clone(), "Bearer", false, None, Some(CertificateMismatch)),
        (certificate, "DPoP", true, KEY, Some(ProofInvalid)),
        (both.clone(), "DPoP", true, KEY, None),
        (both.clone(), "DPoP", true, None, Some(CertificateMismatch)),
        (both.clone(), "DPoP", false, KEY, Some(ProofMissing)),
        (both, "Bearer", true, KEY, Some(ProofMissing)),
        (json!({ "cnf": { "jwk": {} } }), "Bearer", false, KEY, Some(TokenBound)),
        (json!({ "cnf": null }), "Bearer", false, KEY, Some(TokenBound)),
        (json!({ "cnf": "x" }), "DPoP", true, KEY, Some(TokenBound)),
    ] {
        let mut gate = gate();
        let token = token(claims.clone());
        let authorization = format!("{scheme} {token}");
        // The second time the token is known.
        for time in 0..2 {
            let proof = proof(&token, json!({}));
            let fields = [("dpop", proof.as_str())];
            let found = ask(&mut gate, &authorization, if proves { &fields } else { &[] }, peer);
            let what = format!("{claims} {scheme} {proves} {peer:?}, time {time}");
            assert_eq!(found.as_ref().err().map(|(reason, _)| *reason), expected, "{what}");
            if let Ok(allow) = found {
                let removed: Vec<_> = allow.remove.iter().map(|name| String::from_utf8_lossy(name)).collect();
                let expected = if proves { vec!["authorization", "dpop"] } else { vec!["authorization"] };
                assert_eq!(removed, expected, "{what}");
            }
        }
    }
}

#[test]
fn a_kind_that_is_not_set_up_binds_all_the_same() {
    let proofs = json!({ "sender_constrained": "enforce", "dpop": { "origins": ["https://api.example"] } });
    let certificates = json!({ "sender_constrained": "enforce", "mtls": { "certificate": "connection" } });
    let bound = bound();
    let by_certificate = token(json!({ "cnf": { "x5t#S256": X5T } }));
    let both = token(json!({ "cnf": { "jkt": jkt(&own()), "x5t#S256": X5T } }));
    for (provider, token, scheme) in [
        (&proofs, &by_certificate, "Bearer"),
        (&proofs, &both, "DPoP"),
        (&certificates, &bound, "DPoP"),
        (&certificates, &bound, "Bearer"),
        (&certificates, &both, "Bearer"),
    ] {
        let mut gate = gate_with(provider.clone(), json!({}), json!({}));
        let proof = proof(token, json!({}));
        let found = ask(&mut gate, &format!("{scheme} {token}"), &[("dpop", &proof)], Some(CERTIFICATE));
        assert_eq!(found.err().map(|(reason, _)| reason), Some(Reason::TokenBound), "{scheme} {provider}");
    }
}

#[test]
fn a_rule_may_require_a_proof_of_every_token() {
    use Reason::*;
    let (by_key, plain) = (bound(), token(json!({})));
    let by_certificate = token(json!({ "cnf": { "x5t#S256": X5T } }));
    for (required, token, scheme, expected) in [
        ("any", &plain, "Bearer", Some(ProofMissing)),
        ("any", &by_key, "DPoP", None),
        ("any", &by_certificate, "Bearer", None),
        ("dpop", &plain, "Bearer", Some(ProofMissing)),
        ("dpop", &plain, "DPoP", Some(ProofInvalid)),
        ("dpop", &by_key, "DPoP", None),
        ("dpop", &by_certificate, "Bearer", Some(ProofMissing)),
        ("mtls", &plain, "Bearer", Some(CertificateMismatch)),
        ("mtls", &by_key, "DPoP", Some(CertificateMismatch)),
        ("mtls", &by_certificate, "Bearer", None),
    ] {
        let mut gate = gate_with(enforce(), json!({ "requires_proof": required }), json!({}));
        let proof = proof(token, json!({}));
        let found = ask(&mut gate, &format!("{scheme} {token}"), &[("dpop", &proof)], Some(CERTIFICATE));
        assert_eq!(found.err().map(|(reason, _)| reason), expected, "{required} {scheme}");
    }
    // A provider that a route brings in, and that has nothing shown, accepts nothing there.
    let mut gate = gate_with(enforce(), json!({ "requires_proof": "any" }), json!({}));
    let mut config = gate.config().clone();
    let provider = Rc::make_mut(&mut config.providers[0]);
    (provider.constraint, provider.policy.reject_bound) = (None, false);
    gate = Gate::new(config, Environment::alone(1), now());
    assert_eq!(refused(&mut gate, &format!("Bearer {plain}"), &[]), Some(ProofMissing));
    assert_eq!(refused(&mut gate, &format!("Bearer {by_key}"), &[]), Some(ProofMissing));
}

#[test]
fn the_audit_line_says_what_is_wrong_with_a_proof() {
    let (bound, plain) = (bound(), token(json!({})));
    for (name, authorization, more, expected) in [
        ("proof_missing", format!("DPoP {bound}"), json!(null), "there is no field \"DPoP\""),
        (
            "proof_missing",
            format!("Bearer {bound}"),
            json!({}),
            "the token is bound to a key of proofs, and its scheme is not DPoP",
        ),
        (
            "proof_invalid",
            format!("DPoP {plain}"),
            json!({}),
            "the scheme is DPoP, and the token is bound to no key",
        ),
        ("proof_invalid", format!("DPoP {bound}"), json!({ "htm": "PUT" }), "its \"htm\" is another method"),
        (
            "proof_invalid",
            format!("DPoP {bound}"),
            json!({ "iat": NOW - 90 }),
            "\"iat\" is 1799999910, 90 s ago; max_age of dpop is 60 s",
        ),
        (
            "certificate_mismatch",
            format!("Bearer {}", token(json!({ "cnf": { "x5t#S256": X5T } }))),
            json!({}),
            "there is no certificate, or not just one",
        ),
    ] {
        let mut gate = gate();
        let proof = if more.is_null() { String::new() } else { proof(&bound, more.clone()) };
        let fields = [("dpop", proof.as_str())];
        let found = refused(&mut gate, &authorization, if more.is_null() { &[] } else { &fields });
        assert_eq!(found.map(Reason::as_str), Some(name), "{expected}");
        let detail = detail(&mut gate);
        assert!(detail.starts_with(expected), "{detail}, and not {expected}");
    }
    let mut gate = gate();
    let used = proof(&bound, json!({}));
    assert_eq!(refused(&mut gate, &format!("DPoP {bound}"), &[("dpop", &used)]), None);
    let replayed = refused(&mut gate, &format!("DPoP {bound}"), &[("dpop", &used)]);
    assert_eq!(replayed.map(Reason::as_str).as_slice(), ["proof_replayed",]);
    let mut gate = gate_with(
        json!({
            "sender_constrained": "enforce",
            "dpop": { "origins": ["https://api.example"], "nonce": { "key": { "environment_variable": "K" } } },
        }),
        json!({}),
        json!({}),
    );
    for (name, more) in [("nonce_required", json!({})), ("nonce_required", json!({ "nonce": "x" }))] {
        let proof = proof(&bound, more);
        let found = refused(&mut gate, &format!("DPoP {bound}"), &[("dpop", &proof)]);
        assert_eq!(found.map(Reason::as_str), Some(name));
        assert!(detail(&mut gate).contains("nonce"));
    }
    let once = json!({ "one_time": true });
    let mut gate = gate_with(json!({}), once, json!({}));
    for (name, fields) in [("", vec![]), ("replayed", vec![]), ("early_data", vec![("early-data", "1")])] {
        let found = refused(&mut gate, &format!("Bearer {plain}"), &fields);
        assert_eq!(found.map(Reason::as_str).unwrap_or_default(), name);
    }
}

#[test]
fn the_challenge_of_the_scheme_that_was_used_comes_first() {
    const BEARER: &str = "Bearer realm=\"corp\"";
    const DPOP: &str = "DPoP algs=\"ES256 EdDSA\", realm=\"corp\"";
    let (bound, bad) = (bound(), harness::idp::flip_bit(&bound()));
    let invalid =
        |challenge: &str, error: &str| format!("{challenge}, error=\"{error}\", error_description=");
    for (rule, authorization, expected) in [
        (json!({}), String::new(), vec![BEARER.to_owned(), DPOP.to_owned()]),
        (json!({}), format!("Bearer {bad}"), vec![invalid(BEARER, "invalid_token"), DPOP.to_owned()]),
        (json!({}), format!("DPoP {bad}"), vec![invalid(DPOP, "invalid_token"), BEARER.to_owned()]),
        (json!({}), format!("DPoP {bound}"), vec![invalid(DPOP, "invalid_dpop_proof"), BEARER.to_owned()]),
        (json!({}), format!("Bearer {bound}"), vec![invalid(BEARER, "invalid_token"), DPOP.to_owned()]),
        (json!({ "requires_proof": "dpop" }), String::new(), vec![DPOP.to_owned()]),
        (
            json!({ "requires_proof": "dpop" }),
            format!("Bearer {bound}"),
            vec![invalid(DPOP, "invalid_token")],
        ),
        (json!({ "requires_proof": "mtls" }), String::new(), vec![BEARER.to_owned()]),
    ] {
        let mut gate = gate_with(enforce(), rule.clone(), json!({}));
        let (_, reply) = ask(&mut gate, &authorization, &[], None).err().unwrap();
        let found = challenges(&reply);
        let what = format!("{rule} {authorization}: {found:?}");
        assert_eq!(found.len(), expected.len(), "{what}");
        assert!(found.iter().zip(&expected).all(|(own, start)| own.starts_with(start.as_str())), "{what}");
        assert!(!reply.headers.iter().any(|(name, _)| *name == "dpop-nonce"), "{what}");
    }
}

#[test]
fn a_client_without_a_nonce_learns_one_and_comes_again() {
    let provider = json!({
        "sender_constrained": "enforce",
        "dpop": { "origins": ["https://api.example"], "nonce": { "key": { "environment_variable": "K" } } },
    });
    let cors = json!({ "cors": { "allow_origins": ["https://app.example"] } });
    let mut gate = gate_with(provider, json!({}), cors);
    let bound = bound();
    let (authorization, first) = (format!("DPoP {bound}"), proof(&bound, json!({})));
    let fields = [("dpop", first.as_str()), ("origin", "https://app.example")];
    let (reason, reply) = ask(&mut gate, &authorization, &fields, None).err().unwrap();
    assert_eq!((reason, reply.status), (Reason::NonceRequired, 401));
    assert!(challenges(&reply)[0].contains("error=\"use_dpop_nonce\""), "{reply:?}");
    let field =
        |name: &str| reply.headers.iter().find(|(own, _)| *own == name).map(|(_, value)| value.clone());
    assert!(field("access-control-expose-headers").unwrap().contains("dpop-nonce"), "{reply:?}");
    let nonce = field("dpop-nonce").unwrap();
    let second = proof(&bound, json!({ "nonce": nonce, "iat": NOW - 100_000 }));
    assert_eq!(refused(&mut gate, &authorization, &[("dpop", &second)]), None);
    assert_eq!(refused(&mut gate, &authorization, &[("dpop", &second)]), Some(Reason::ProofReplayed));
    // Whoever is refused for something else may have it at once.
    let (_, reply) = ask(&mut gate, "", &[], None).err().unwrap();
    assert!(reply.headers.iter().any(|(name, _)| *name == "dpop-nonce"), "{reply:?}");
}

#[test]
fn nothing_is_used_up_by_a_refusal_or_by_a_rule_that_reports() {
    let bound = token(json!({ "cnf": { "jkt": jkt(&own()) }, "scope": "read" }));
    let (authorization, proof) = (format!("DPoP {bound}"), proof(&bound, json!({})));
    let fields = [("dpop", proof.as_str())];
    let store: Rc<dyn Store> = Rc::new(InMemoryStore::default());
    let gate_with = |rule: Value| {
        let config = gate_with(enforce(), rule, json!({})).config().clone();
        Gate::new(config, Environment { store: Rc::clone(&store), ..Environment::alone(1) }, now())
    };
    let once = |more: Value| {
        let mut rule = json!({ "one_time": true, "authorize": { "scopes": { "all_of": ["read"] } } });
        for (name, value) in more.as_object().unwrap() {
            rule[name] = value.clone();
        }
        rule
    };
    let strict = once(json!({ "authorize": { "scopes": { "all_of": ["write"] } } }));
    for _ in 0..2 {
        assert_eq!(
            refused(&mut gate_with(strict.clone()), &authorization, &fields),
            Some(Reason::ScopeInsufficient)
        );
        let mut reporting = gate_with(once(json!({ "mode": "report" })));
        assert_eq!(refused(&mut reporting, &authorization, &fields), None);
        let early = [("dpop", proof.as_str()), ("early-data", "1")];
        assert_eq!(refused(&mut reporting, &authorization, &early), None);
        assert_eq!(refused(&mut gate_with(once(json!({}))), &authorization, &early), Some(Reason::EarlyData));
    }
    let mut enforcing = gate_with(once(json!({})));
    assert_eq!(refused(&mut enforcing, &authorization, &fields), None);
    assert_eq!(refused(&mut enforcing, &authorization, &fields), Some(Reason::ProofReplayed));
    // A new proof does not make the token new, and is not used up by that.
    let second = super::bound_tests::proof(&bound, json!({}));
    for _ in 0..2 {
        assert_eq!(refused(&mut enforcing, &authorization, &[("dpop", &second)]), Some(Reason::Replayed));
    }
    let mut open = gate_with(json!({}));
    assert_eq!(refused(&mut open, &authorization, &[("dpop", &second)]), None);
}

#[test]
fn a_one_time_token_is_one_whatever_its_signature() {
    let rule = json!({ "one_time": true });
    let mut gate = gate_with(json!({}), rule.clone(), json!({ "one_time": { "max_lifetime": "200s" } }));
    use Reason::*;
    for (claims, expected) in [
        (json!({ "jti": "a" }), None),
        // ECDSA makes another signature each time.
        (json!({ "jti": "a" }), Some(Replayed)),
        (json!({ "jti": "a", "more": 1 }), Some(Replayed)),
        (json!({ "jti": "b" }), None),
        (json!({}), None),
        (json!({}), Some(Replayed)),
        (json!({ "more": 1 }), None),
        (json!({ "jti": "c", "exp": NOW + 201 }), Some(LifetimeExceeded)),
        (json!({ "jti": "c", "exp": NOW + 200 }), None),
    ] {
        let found = refused(&mut gate, &format!("Bearer {}", token(claims.clone())), &[]);
        assert_eq!(found, expected, "{claims}");
    }
    let mut endless = gate_with(json!({ "require_expiration": false }), rule, json!({}));
    let token = signer().sign_jws(&json!({ "alg": "ES256" }), br#"{"iss":"i","aud":"a","jti":"a"}"#);
    assert_eq!(refused(&mut endless, &format!("Bearer {token}"), &[]), Some(ExpirationMissing));
}

#[test]
fn a_full_table_accepts_nothing() {
    let mut gate = gate_with(
        json!({
            "sender_constrained": "enforce",
            "dpop": { "origins": ["https://api.example"], "replay_entries": 3 },
        }),
        json!({}),
        json!({}),
    );
    let bound = bound();
    let authorization = format!("DPoP {bound}");
    for number in 0..5 {
        let proof = proof(&bound, json!({}));
        let (found, fields) = (number < 3, [("dpop", proof.as_str())]);
        match ask(&mut gate, &authorization, &fields, None) {
            Ok(_) => assert!(found, "{number}"),
            Err((reason, reply)) => {
                assert_eq!((reason, reply.status, found), (Reason::Overloaded, 503, false), "{number}");
                assert!(reply.headers.iter().any(|(name, _)| *name == "retry-after"), "{reply:?}");
            }
        }
    }
}

/// A gate that asks its provider about tokens, which are opaque or, with `claims`, JWTs.
fn asking(more: Value, rule: Value) -> Gate {
    let mut config = json!({
        "providers": { "corp": {
            "issuer": "i",
            "audiences": ["a"],
            "introspection": {
                "http_uri": { "uri": "https://idp/i", "cluster": "c" },
                "client_id": "gate",
                "client_secret": { "environment_variable": "S" },
            },
        } },
        "rules": [{ "name": "r", "match": { "prefix": "/" }, "requires": { "provider_name": "corp" } }],
    });
    for (name, value) in enforce().as_object().unwrap().iter().chain(more.as_object().unwrap()) {
        config["providers"]["corp"][name] = value.clone();
    }
    if more.get("local_jwks").is_some() {
        config["providers"]["corp"]["introspection"]["claims"] = json!("answer");
    }
    for (name, value) in rule.as_object().unwrap() {
        config["rules"][0][name] = value.clone();
    }
    let config = Config::parse(config.to_string().as_bytes(), &|_| Some("s".repeat(32)));
    Gate::new(config.unwrap_or_else(|problems| panic!("{problems:?}")), Environment::alone(1), now())
}

/// What becomes of a request whose provider answers so, where it is asked.
fn answered(gate: &mut Gate, authorization: &str, proof: Option<&str>, answer: &Value) -> Option<Reason> {
    let mut fields: Vec<(&[u8], &[u8])> =
        vec![(b":method", b"GET"), (b":path", b"/a"), (b":authority", b"api.example")];
    fields.push((b"authorization", authorization.as_bytes()));
    fields.extend(proof.map(|proof| (&b"dpop"[..], proof.as_bytes())));
    let request = Request::new(&fields);
    let mut outcome = gate.decide(StreamId(1), &request, now());
    while let Outcome::Wait = outcome {
        let effects: Vec<_> = std::iter::from_fn(|| gate.next_effect()).collect();
        for effect in effects {
            match effect {
                Effect::Fetch { lookup, .. } => {
                    let body = answer.to_string().into_bytes();
                    let response = crate::fetch::HttpResponse { status: 200, body, ..Default::default() };
                    gate.fetched(lookup, Ok(response), now());
                }
                Effect::Wake(stream, waited) => outcome = gate.resume(stream, waited, &request, now()),
                Effect::Close(_) | Effect::Log(..) => {}
            }
        }
    }
    match outcome {
        Outcome::Deny(rejection) => Some(rejection.response.reason),
        Outcome::Allow(_) => None,
        Outcome::Wait | Outcome::Answer(_) => unreachable!("it was woken, and asks for no document"),
    }
}

#[test]
fn what_an_answer_binds_must_be_shown() {
    use Reason::*;
    const OPAQUE: &str = "an.opaque~token_with.dots+and/more";
    let active = |more: Value| {
        let mut answer = json!({ "active": true, "iss": "i", "aud": "a", "sub": "alice", "exp": NOW + 200 });
        for (name, value) in more.as_object().unwrap() {
            answer[name] = value.clone();
        }
        answer
    };
    let bound = active(json!({ "cnf": { "jkt": jkt(&own()) } }));
    let other = active(json!({ "cnf": { "jkt": jkt(&signer()) } }));
    let keys = json!({ "local_jwks": { "inline": harness::idp::jwks([&signer()]) } });
    let (plain, own_jwt) = (token(json!({})), super::bound_tests::bound());
    for (more, token, scheme, proves, answer, expected) in [
        (json!({}), OPAQUE, "DPoP", true, &bound, None),
        (json!({}), OPAQUE, "DPoP", false, &bound, Some(ProofMissing)),
        (json!({}), OPAQUE, "Bearer", true, &bound, Some(ProofMissing)),
        (json!({}), OPAQUE, "DPoP", true, &other, Some(ProofInvalid)),
        (json!({}), OPAQUE, "DPoP", true, &active(json!({})), Some(ProofInvalid)),
        (json!({}), OPAQUE, "Bearer", false, &active(json!({})), None),
        (json!({}), OPAQUE, "Bearer", false, &active(json!({ "token_type": "DPoP" })), Some(TokenBound)),
        // A JWT whose claims are the answer's: what either of them names must be shown.
        (keys.clone(), &plain, "DPoP", true, &bound, None),
        (keys.clone(), &plain, "Bearer", true, &bound, Some(ProofMissing)),
        (keys.clone(), &plain, "DPoP", true, &active(json!({})), Some(ProofInvalid)),
        (keys.clone(), &plain, "Bearer", false, &active(json!({})), None),
        (keys.clone(), &own_jwt, "DPoP", true, &active(json!({})), None),
        (keys.clone(), &own_jwt, "DPoP", true, &bound, None),
        (keys.clone(), &own_jwt, "DPoP", true, &other, Some(ProofInvalid)),
        (keys, &own_jwt, "Bearer", false, &active(json!({})), Some(ProofMissing)),
    ] {
        let mut gate = asking(more.clone(), json!({}));
        // The second time the answer is known.
        for time in 0..2 {
            let proof = proof(token, json!({}));
            let proof = proves.then_some(proof.as_str());
            let found = answered(&mut gate, &format!("{scheme} {token}"), proof, answer);
            assert_eq!(found, expected, "{more} {scheme} {token} {proves} {answer}, time {time}");
        }
    }
}

#[test]
fn an_opaque_token_is_taken_one_time_by_its_text() {
    let rule = json!({ "one_time": true });
    let mut gate = asking(json!({}), rule);
    for (token, number, expected) in [
        ("opaque-token-of-a-person.1", 1, None),
        // The next answer may say something else.
        ("opaque-token-of-a-person.1", 2, Some(Reason::Replayed)),
        ("opaque-token-of-a-person.2", 3, None),
    ] {
        let answer = json!({ "active": true, "iss": "i", "aud": "a", "exp": NOW + 200, "number": number });
        assert_eq!(answered(&mut gate, &format!("Bearer {token}"), None, &answer), expected, "{token}");
    }
}

#[test]
fn a_proof_passes_once_whichever_provider_takes_it() {
    let provider = |max_age: &str, skew: u64| {
        let mut provider = json!({ "issuer": "i", "audiences": ["a"], "local_jwks": { "inline": harness::idp::jwks([&signer()]) } });
        for (name, value) in enforce().as_object().unwrap() {
            provider[name] = value.clone();
        }
        provider["dpop"]["max_age"] = json!(max_age);
        provider["clock_skew_seconds"] = json!(skew);
        provider
    };
    let both = json!([{ "provider_name": "one" }, { "provider_name": "two" }]);
    let query = json!([{ "name": "two", "present_match": true }]);
    let config = json!({
        "providers": { "one": provider("60s", 30), "two": provider("300s", 60) },
        "rules": [
            { "match": { "path": "/both" }, "requires": { "requires_all": { "requirements": both } }, "one_time": true },
            { "match": { "path": "/a", "query_parameters": query }, "requires": { "provider_name": "two" } },
            { "match": { "path": "/a" }, "requires": { "provider_name": "one" } },
        ],
    });
    let config = Config::parse(config.to_string().as_bytes(), &|_| None);
    let mut gate =
        Gate::new(config.unwrap_or_else(|problems| panic!("{problems:?}")), Environment::alone(1), now());
    let bound = bound();
    let authorization = format!("DPoP {bound}");
    let mut asked = |target: &str, proof: &str, at: u64| {
        let fields = [
            (":method", "GET"),
            (":path", target),
            (":authority", "api.example"),
            ("authorization", authorization.as_str()),
            ("dpop", proof),
        ];
        let fields = fields.map(|(name, value)| (name.as_bytes(), value.as_bytes()));
        match gate.decide(StreamId(1), &Request::new(&fields), Timestamp::from_secs(at)) {
            Outcome::Deny(rejection) => Some(rejection.response.reason),
            Outcome::Allow(_) => None,
            Outcome::Answer(_) | Outcome::Wait => panic!("it waits"),
        }
    };
    // The query, which chooses the rule and the provider, is in no proof.
    let used = proof(&bound, json!({}));
    assert_eq!(asked("/a", &used, NOW), None);
    assert_eq!(asked("/a?two=1", &used, NOW), Some(Reason::ProofReplayed));
    // The one takes it no longer, and the other would.
    assert_eq!(asked("/a?two=1", &used, NOW + 100), Some(Reason::ProofReplayed));
    assert_eq!(asked("/a", &used, NOW + 100), Some(Reason::ProofInvalid));
    // Both in one request are one use.
    let both = proof(&bound, json!({ "htu": "https://api.example/both" }));
    assert_eq!(asked("/both", &both, NOW), None);
    assert_eq!(asked("/both", &both, NOW), Some(Reason::ProofReplayed));
}
