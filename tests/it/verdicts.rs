//! A token that is good passes. Any other is refused, for the right reason, and the client learns no more of it than
//! it may.

use crate::common;

use std::collections::BTreeSet;

use common::{AUDIENCE, Gateway, assert_problem, challenge, config, corp, joined, parts, provider, with};
use harness::idp::{b64, flip_bit, now};
use harness::{Alg, Connection, Idp, Key, Request, Response, TokenBuilder};
use serde_json::{Value, json};

/// The subject of every token here: a word to look for where it must not be.
const SUBJECT: &str = "subject-nobody-is-told";

fn rules() -> Value {
    let scopes = |scopes: Value| json!({ "scopes": scopes });
    json!([
        { "name": "public", "match": { "prefix": "/public/" } },
        { "name": "orders", "match": { "prefix": "/orders/" }, "requires": corp(),
          "authorize": scopes(json!({ "all_of": ["orders:read"] })) },
        { "name": "both", "match": { "path": "/both" }, "requires": corp(),
          "authorize": scopes(json!({ "all_of": ["orders:read", "orders:write"] })) },
        { "name": "either", "match": { "path": "/either" }, "requires": corp(),
          "authorize": scopes(json!({ "any_of": ["orders:admin", "orders:write"] })) },
        { "name": "not-trial", "match": { "path": "/not-trial" }, "requires": corp(),
          "authorize": scopes(json!({ "none_of": ["trial"] })) },
        { "name": "me", "match": { "path": "/me" }, "requires": corp() },
        { "name": "grpc", "match": { "prefix": "/orders.Orders/" }, "requires": corp(),
          "authorize": scopes(json!({ "all_of": ["orders:read"] })) },
        { "name": "keyless", "match": { "prefix": "/keyless/" }, "requires": { "provider_name": "keyless" } },
    ])
}

fn start() -> Gateway {
    Gateway::alone(|idp| {
        let mut config = config(provider(idp), rules());
        // A cluster that is not there: never any keys.
        config["providers"]["keyless"] = with(
            provider(idp),
            json!({ "remote_jwks": { "http_uri": { "uri": idp.jwks_uri(), "cluster": "nowhere" } } }),
        );
        config
    })
}

/// A good token under construction.
fn token(idp: &Idp) -> TokenBuilder {
    idp.mint().claim("sub", SUBJECT).claim("scope", "openid orders:read")
}

/// A token that is refused.
struct Bad {
    name: String,
    token: String,
    /// For the operator.
    reason: &'static str,
    /// For the client.
    told: &'static str,
}

/// A token of which the client is told nothing.
fn rejected(name: impl Into<String>, token: String, reason: &'static str) -> Bad {
    Bad { name: name.into(), token, reason, told: "token_rejected" }
}

/// A token of which the client is told what is wrong, for it can see that itself.
fn plain(name: impl Into<String>, token: String, reason: &'static str) -> Bad {
    Bad { name: name.into(), token, reason, told: reason }
}

#[test]
fn tokens_signed_by_another_library_pass_over_http1_and_http2() {
    let gateway = start();
    let (idp, addr) = (&gateway.idp, gateway.addr());
    let good = || token(idp);
    let clock = now();
    let tokens = [
        ("RS256", good().alg(Alg::RS256)),
        ("ES256", good().alg(Alg::ES256)),
        ("no kid, RS256", good().alg(Alg::RS256).without_header("kid")),
        ("no kid, ES256", good().alg(Alg::ES256).without_header("kid")),
        ("no typ", good().without_header("typ")),
        ("typ at+jwt", good().header("typ", "at+jwt")),
        ("typ application/AT+JWT", good().header("typ", "application/AT+JWT")),
        ("an unknown header parameter", good().header("x-team", "blue")),
        ("aud as a list", good().claim("aud", json!(["billing", AUDIENCE]))),
        ("expired within the clock skew", good().expires_in(-20)),
        ("valid soon, within the clock skew", good().claim("nbf", clock + 20)),
        ("issued soon, within the clock skew", good().claim("iat", clock + 20)),
        ("times with a fraction", good().claim("exp", clock as f64 + 99.5)),
        ("no iat", good().without("iat")),
        ("scp as a list", good().without("scope").claim("scp", json!(["orders:read"]))),
        ("the scope alone", good().claim("scope", "orders:read")),
        ("claims in every script", good().claim("name", "Zoë Müller-Ωμέγα 山田")),
    ];
    for (number, (name, token)) in tokens.iter().enumerate() {
        let path = format!("/orders/{number}");
        let request = Request::get(&path).bearer(&token.sign());
        assert_eq!(request.send(addr).status, 200, "{name}");
        assert_eq!(request.send_h2(addr).status, 200, "{name} over HTTP/2");
        let line = gateway.logged(&path);
        for (field, expected) in [
            ("details", json!("via_upstream")),
            ("decision", json!("allow")),
            ("provider", json!("corp")),
            ("rule", json!("orders")),
            ("subject", json!(SUBJECT)),
            ("reason", Value::Null),
        ] {
            assert_eq!(line[field], expected, "{name}: {field} in {line}");
        }
        let scopes = line["scopes"].as_str().unwrap_or_default();
        assert!(scopes.split(' ').any(|scope| scope == "orders:read"), "{name}: {line}");
    }
    assert_eq!(gateway.upstream.count(), 2 * tokens.len());
    gateway.assert_sound();
}

/// Every way in which a token can be bad.
fn bad_tokens(idp: &Idp) -> Vec<Bad> {
    let good = || token(idp);
    let (rsa, ec) = (idp.key(Alg::RS256), idp.key(Alg::ES256));
    let mut cases = forgeries(idp);
    let clock = now();
    let compact = good().sign();
    let [header, payload, signature] = parts(&compact);
    let raw_payload = |text: &str| rsa.sign_jws(&json!({ "alg": "RS256", "kid": "rsa-1" }), text.as_bytes());
    let claims = good().payload().to_string();
    let twice = |more: &str| raw_payload(&format!("{},{more}}}", &claims[..claims.len() - 1]));

    // Time.
    cases.extend([
        plain("expired", good().expires_in(-120).sign(), "expired"),
        plain("exp 0", good().claim("exp", 0).sign(), "expired"),
        plain("not valid yet", good().claim("nbf", clock + 120).sign(), "not_yet_valid"),
        rejected("issued in the future", good().claim("iat", clock + 120).sign(), "issued_in_future"),
        rejected("no exp", good().without("exp").sign(), "expiration_missing"),
    ]);
    // For someone else.
    cases.extend([
        rejected("another issuer", good().claim("iss", "https://idp.elsewhere").sign(), "issuer_unknown"),
        rejected(
            "the issuer and a slash",
            good().claim("iss", format!("{}/", idp.issuer())).sign(),
            "issuer_unknown",
        ),
        rejected("no issuer", good().without("iss").sign(), "issuer_unknown"),
        rejected("another audience", good().claim("aud", "billing").sign(), "audience_mismatch"),
        rejected(
            "an audience that begins alike",
            good().claim("aud", format!("{AUDIENCE}-2")).sign(),
            "audience_mismatch",
        ),
        rejected(
            "the audience in capitals",
            good().claim("aud", "Warehouse-Gateway").sign(),
            "audience_mismatch",
        ),
        rejected("a list of others", good().claim("aud", json!(["a", "b"])).sign(), "audience_mismatch"),
        rejected("an empty list", good().claim("aud", json!([])).sign(), "audience_mismatch"),
        rejected("no audience", good().without("aud").sign(), "audience_mismatch"),
        rejected("another kind of JWT", good().header("typ", "logout+jwt").sign(), "type_not_allowed"),
        rejected("a proof, not a token", good().header("typ", "dpop+jwt").sign(), "type_not_allowed"),
        rejected("bound to a key", good().claim("cnf", json!({ "jkt": "x" })).sign(), "token_bound"),
    ]);
    // Claims of a wrong type are no claims.
    for (claim, value) in [
        ("exp", json!("4102444800")),
        ("exp", json!(true)),
        ("exp", Value::Null),
        ("exp", json!(-1)),
        ("exp", json!(1e300)),
        ("nbf", json!("0")),
        ("iat", json!([1])),
        ("iss", json!([idp.issuer()])),
        ("aud", json!({ "a": AUDIENCE })),
        ("aud", json!([AUDIENCE, 7])),
        ("sub", json!(7)),
        ("jti", json!(7)),
        ("scope", json!(7)),
    ] {
        let token = good().claim(claim, value.clone()).sign();
        cases.push(rejected(format!("{claim} = {value}"), token, "claim_invalid"));
    }
    // What asks for something that is not understood.
    for (name, value) in [
        ("crit", json!(["exp"])),
        ("crit", json!(["b64"])),
        ("crit", json!([])),
        ("crit", json!("x")),
        ("b64", json!(false)),
    ] {
        let token = good().header(name, value.clone()).sign();
        cases.push(rejected(format!("{name} = {value}"), token, "critical_header"));
    }
    // Forms.
    let with_signature =
        |signature: &str| format!("{}.{signature}", compact.rsplit_once('.').expect("dots").0);
    let text = compact.rsplit_once('.').expect("dots").1;
    let deep = format!("{}{}", "[".repeat(2000), "]".repeat(2000));
    let malformed = [
        ("no dots", "opaque".to_owned()),
        ("two parts", compact.rsplit_once('.').expect("dots").0.to_owned()),
        ("four parts", format!("{compact}.{text}")),
        ("six parts", format!("{compact}.{text}.{text}.{text}")),
        ("no signature", with_signature("")),
        ("no payload", format!("{}..{text}", b64(&header))),
        ("padding", format!("{compact}==")),
        ("padding in the middle", compact.replacen('.', "=.", 1)),
        ("a stray bit", with_signature(&stray_bit(text))),
        ("the other alphabet", with_signature(&format!("+/{}", &text[2..]))),
        ("a percent escape", compact.replacen('.', "%2E", 1)),
        ("something behind", format!("{compact} x")),
        ("in quotes", format!("\"{compact}\"")),
        ("a header that is no JSON", joined("{", &payload, &signature)),
        ("a header that is a list", joined("[]", &payload, &signature)),
        ("a header with alg twice", joined(r#"{"alg":"RS256","alg":"none"}"#, &payload, &signature)),
        ("a header with a kid that is a number", good().header("kid", 7).sign()),
        ("a header without alg", good().without_header("alg").sign()),
        ("a header whose alg is a list", good().header("alg", json!(["RS256"])).sign()),
        ("a deep header", joined(format!("{{\"x\":{deep}}}"), &payload, &signature)),
        ("a compressed payload", good().header("zip", "DEF").sign()),
        ("claims that are a list", raw_payload("[]")),
        ("claims that are a string", raw_payload("\"x\"")),
        ("claims that are no JSON", raw_payload("{\"sub\":}")),
        ("claims with a comment", raw_payload(&format!("{claims}//"))),
        ("claims with NaN", twice("\"x\":NaN")),
        ("claims with sub twice", twice("\"sub\":\"root\"")),
        ("claims with sub twice, one escaped", twice("\"s\\u0075b\":\"root\"")),
        ("claims with aud twice", twice(&format!("\"aud\":\"{AUDIENCE}\""))),
        ("a deep claim", twice(&format!("\"x\":{deep}"))),
        ("claims that are not UTF-8", rsa.sign_jws(&json!({ "alg": "RS256" }), b"{\"sub\":\"\xff\"}")),
        ("claims that begin with a BOM", raw_payload(&format!("\u{feff}{claims}"))),
    ];
    cases.extend(malformed.map(|(name, token)| plain(name, token, "token_malformed")));
    cases.extend([
        plain("too large", good().claim("pad", "x".repeat(9000)).sign(), "token_too_large"),
        plain("just dots", ".".repeat(9000), "token_too_large"),
        plain("one byte too large", of_length(8193, idp), "token_too_large"),
        plain(
            "encrypted",
            format!(
                "{}..{}.{}.{}",
                b64(r#"{"alg":"dir","enc":"A128GCM"}"#),
                b64("iv"),
                b64("text"),
                b64("tag")
            ),
            "token_encrypted",
        ),
        plain(
            "encrypted with a key",
            [r#"{"alg":"RSA-OAEP","enc":"A256GCM"}"#, "key", "iv", "text", "tag"].map(b64).join("."),
            "token_encrypted",
        ),
        rejected("a signature in DER", with_der_signature(&ec, &good()), "signature_invalid"),
    ]);
    cases
}

/// Tokens that the provider did not sign.
fn forgeries(idp: &Idp) -> Vec<Bad> {
    let good = || token(idp);
    let (rsa, ec) = (idp.key(Alg::RS256), idp.key(Alg::ES256));
    let other_rsa = Key::cached(Alg::RS256, "another");
    let other_ec = Key::cached(Alg::ES256, "another");
    let mut cases = Vec::new();

    for alg in [Alg::RS256, Alg::ES256] {
        let [header, payload, signature] = parts(&good().alg(alg).sign());
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("JSON");
        let kept = text(&header).replace("JWT", "jwt");
        cases.push(rejected(
            format!("{alg}, one bit of the header"),
            joined(kept, &payload, &signature),
            "signature_invalid",
        ));
        let nobler = text(&payload).replace(SUBJECT, &SUBJECT.replace("nobody", "nobode"));
        cases.push(rejected(
            format!("{alg}, a letter of the payload"),
            joined(&header, nobler, &signature),
            "signature_invalid",
        ));
        cases.push(rejected(
            format!("{alg}, one bit of the signature"),
            flip_bit(&good().alg(alg).sign()),
            "signature_invalid",
        ));
        let zero = vec![0; signature.len()];
        cases.push(rejected(
            format!("{alg}, a signature of zeros"),
            joined(&header, &payload, zero),
            "signature_invalid",
        ));
        cases.push(rejected(
            format!("{alg}, a signature with a byte more"),
            joined(&header, &payload, [signature.as_slice(), &[0]].concat()),
            "signature_invalid",
        ));
        cases.push(rejected(
            format!("{alg}, a signature with a byte less"),
            joined(&header, &payload, &signature[1..]),
            "signature_invalid",
        ));
    }
    for (key, own) in [(&other_rsa, &rsa), (&other_ec, &ec)] {
        let alg = key.alg();
        cases.extend([
            rejected(
                format!("{alg}, another key under the same kid"),
                good().key(&key.with_kid(own.kid())).sign(),
                "signature_invalid",
            ),
            rejected(
                format!("{alg}, another key under its own kid"),
                good().key(key).sign(),
                "key_not_found",
            ),
            rejected(
                format!("{alg}, a key in the token itself"),
                good().key(&key.with_kid(own.kid())).header("jwk", key.public_jwk()).sign(),
                "signature_invalid",
            ),
        ]);
    }
    // The other provider's key set would vouch for it, if anyone asked there.
    cases.push(rejected(
        "a key set named by the token",
        good()
            .key(&other_rsa.with_kid(rsa.kid()))
            .header("jku", idp.jwks_uri().replace("jwks", "evil"))
            .sign(),
        "signature_invalid",
    ));
    // An algorithm and a key that do not go together.
    cases.push(rejected(
        "RS256 under the kid of an EC key",
        good().key(&rsa.with_kid(ec.kid())).sign(),
        "key_not_found",
    ));
    cases.push(rejected(
        "PS256 with the RS256 key",
        good().key(&rsa.with_alg(Alg::PS256)).sign(),
        "key_not_found",
    ));

    // No algorithm at all.
    let claims = good().payload().to_string();
    for alg in ["none", "None", "NONE", "nOnE", "none ", " none", "none\0", "nοne", ""] {
        let header = json!({ "alg": alg, "typ": "JWT" }).to_string();
        let signed = rsa.sign_jws(&json!({ "alg": alg, "kid": rsa.kid() }), claims.as_bytes());
        cases.push(rejected(
            format!("alg {alg:?} without a signature"),
            joined(&header, &claims, ""),
            "algorithm_not_allowed",
        ));
        cases.push(rejected(format!("alg {alg:?} with a signature"), signed, "algorithm_not_allowed"));
    }
    for (alg, reason) in [
        ("rs256", "algorithm_not_allowed"),
        ("RS256\n", "algorithm_not_allowed"),
        ("HS256", "algorithm_not_allowed"),
        ("ES256K", "algorithm_not_allowed"),
        ("RS1", "algorithm_not_allowed"),
        // An algorithm that is known, with a key of another kind.
        ("EdDSA", "key_not_found"),
        ("ES384", "key_not_found"),
    ] {
        let signed = rsa.sign_jws(&json!({ "alg": alg, "kid": rsa.kid() }), claims.as_bytes());
        cases.push(rejected(format!("alg {alg:?}"), signed, reason));
    }
    // The public key, which everyone has, as the secret of an HMAC.
    for key in [&rsa, &ec] {
        for (form, secret) in public_forms(key) {
            for alg in [Alg::HS256, Alg::HS512] {
                let confused = Key::hmac(alg, key.kid(), &secret);
                cases.push(rejected(
                    format!("{alg} with the {} key as {form}", key.alg()),
                    good().key(&confused).sign(),
                    "algorithm_not_allowed",
                ));
            }
        }
    }
    cases
}

/// A public key in every form in which a library could take it for a secret.
fn public_forms(key: &Key) -> Vec<(&'static str, Vec<u8>)> {
    use base64::Engine as _;
    use base64::prelude::BASE64_URL_SAFE_NO_PAD;
    let jwk = key.public_jwk();
    let member = |name: &str| {
        BASE64_URL_SAFE_NO_PAD.decode(jwk[name].as_str().unwrap_or_default()).unwrap_or_default()
    };
    let pem = key.public_pem();
    let mut forms = vec![
        ("PEM", pem.clone().into_bytes()),
        ("PEM without its last newline", pem.trim_end().as_bytes().to_vec()),
        ("PEM with CRLF", pem.replace('\n', "\r\n").into_bytes()),
        ("DER", key.public_der()),
        ("JWK", jwk.to_string().into_bytes()),
        ("nothing", Vec::new()),
    ];
    if jwk["kty"] == "RSA" {
        forms.push(("modulus", member("n")));
        forms.push(("modulus in base64url", jwk["n"].as_str().unwrap_or_default().as_bytes().to_vec()));
    } else {
        forms.push(("x", member("x")));
        forms.push(("x and y", [member("x"), member("y")].concat()));
    }
    forms
}

/// A token of exactly this many bytes.
fn of_length(bytes: usize, idp: &Idp) -> String {
    let made = |pad: usize| token(idp).alg(Alg::ES256).claim("pad", "x".repeat(pad)).sign();
    let guess = (bytes - made(0).len()) * 3 / 4;
    (guess.saturating_sub(8)..guess + 8)
        .map(made)
        .chain((0..8).map(|more| {
            // Three of four lengths of base64 exist: a longer header makes up for the fourth.
            token(idp)
                .alg(Alg::ES256)
                .header("x", "y".repeat(more))
                .claim("pad", "x".repeat(guess - 16))
                .sign()
        }))
        .find(|token| token.len() == bytes)
        .unwrap_or_else(|| panic!("no token of {bytes} bytes"))
}

/// The same bytes in base64url that is not canonical: an unused bit of the last letter is set.
fn stray_bit(text: &str) -> String {
    const ALPHABET: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    assert_ne!(text.len() % 4, 0, "every bit of this text is used");
    let (head, last) = text.split_at(text.len() - 1);
    let at = ALPHABET.find(last).expect("base64url");
    format!("{head}{}", &ALPHABET[at + 1..at + 2])
}

/// An ES256 token whose signature is written in DER, as most other protocols have it.
fn with_der_signature(key: &Key, token: &TokenBuilder) -> String {
    let [header, payload, signature] = parts(&token.clone().key(key).sign());
    let integer = |bytes: &[u8]| {
        let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
        let mut digits = bytes[zeros..].to_vec();
        if digits.first().is_none_or(|first| *first >= 0x80) {
            digits.insert(0, 0);
        }
        [&[2, u8::try_from(digits.len()).expect("short")], digits.as_slice()].concat()
    };
    let both = [integer(&signature[..32]), integer(&signature[32..])].concat();
    let der = [&[0x30, u8::try_from(both.len()).expect("short")], both.as_slice()].concat();
    joined(header, payload, der)
}

/// The texts by which a token could be recognised.
fn traces(token: &str) -> impl Iterator<Item = &str> {
    token.split(['.', '%', ' ', '=', '"']).filter(|part| part.len() > 12)
}

#[track_caller]
fn assert_tells_nothing(name: &str, token: &str, idp: &Idp, response: &Response) {
    let told = format!("{:?} {}", response.headers, response.text());
    for secret in traces(token).chain([SUBJECT, AUDIENCE, idp.issuer(), "rsa-1", "ec-1"]) {
        assert!(!told.contains(secret), "{name}: {secret:?} is told: {told}");
    }
}

#[test]
fn a_bad_token_is_refused_for_the_right_reason_and_the_client_is_told_only_what_it_may() {
    let gateway = start();
    let (idp, addr) = (&gateway.idp, gateway.addr());
    let cases = bad_tokens(idp);
    for (number, Bad { name, token, told, .. }) in cases.iter().enumerate() {
        let path = format!("/orders/{number}");
        let request = Request::get(&path).bearer(token);
        for response in [request.send(addr), request.send_h2(addr)] {
            assert_problem(name, &response, 401, told);
            let challenge = challenge(&response).unwrap_or_else(|| panic!("{name}: no challenge"));
            let names: Vec<&str> = challenge.keys().map(String::as_str).collect();
            assert_eq!(names, ["error", "error_description", "realm"], "{name}");
            assert_eq!(
                (challenge["realm"].as_str(), challenge["error"].as_str()),
                ("corp", "invalid_token"),
                "{name}"
            );
            assert!(!challenge["error_description"].is_empty(), "{name}");
            assert_eq!(response.header("retry-after"), None, "{name}");
            assert_tells_nothing(name, token, idp, &response);
        }
    }
    let lines = gateway.envoy.wait_for_access_log(2 * cases.len(), common::SOON);
    for (number, Bad { name, reason, .. }) in cases.iter().enumerate() {
        let path = json!(format!("/orders/{number}"));
        let Some(line) = lines.iter().find(|line| line["path"] == path) else {
            panic!("{name}: not in the access log")
        };
        let expected = (json!(format!("portcullis_{reason}")), json!(reason), json!("deny"), json!("orders"));
        let found = (&line["details"], &line["reason"], &line["decision"], &line["rule"]);
        assert_eq!(found, (&expected.0, &expected.1, &expected.2, &expected.3), "{name}");
        assert_eq!(line["subject"], Value::Null, "{name}: nobody is known");
    }
    assert_eq!(gateway.upstream.count(), 0, "{:?}", gateway.upstream.requests());
    assert!(cases.len() > 120, "{} cases", cases.len());

    let log = gateway.envoy.log();
    for Bad { name, token, .. } in &cases {
        for secret in traces(token).chain([SUBJECT]) {
            assert!(!log.contains(secret), "{name}: {secret:?} in Envoy's log");
        }
    }
    gateway.assert_sound();
}

#[test]
fn no_flipped_bit_of_a_token_goes_unnoticed() {
    let gateway = start();
    let addr = gateway.addr();
    let known: BTreeSet<&str> =
        ["expired", "not_yet_valid", "token_malformed", "token_encrypted", "token_rejected"].into();
    for alg in [Alg::ES256, Alg::RS256] {
        let whole = token(&gateway.idp).alg(alg).sign();
        let mut connection = Connection::open(addr).expect("a connection");
        assert_eq!(connection.send(&Request::get("/orders/7").bearer(&whole)).status, 200);
        let decoded = parts(&whole);
        for (part, bytes) in decoded.iter().enumerate() {
            // Every bit of an elliptic-curve token; of an RSA signature, one in each byte.
            let all = alg == Alg::ES256;
            for bit in (0..bytes.len() * 8).filter(|bit| all || bit % 8 == (bit / 8) % 8) {
                let mut bent = decoded.clone();
                bent[part][bit / 8] ^= 1 << (bit % 8);
                let [header, payload, signature] = bent;
                let request = Request::get("/orders/7").bearer(&joined(header, payload, signature));
                let response = connection.send(&request);
                let told = response.reason().unwrap_or_default();
                // A key id of another spelling could be a new one.
                if part == 0 && response.status == 503 {
                    assert_eq!(told, "keys_unavailable", "{alg}: bit {bit} of part {part}");
                    continue;
                }
                assert_eq!(response.status, 401, "{alg}: bit {bit} of part {part}");
                assert!(known.contains(told.as_str()), "{alg}: bit {bit} of part {part}: {told}");
            }
        }
    }
    assert_eq!(gateway.upstream.count(), 2);
    gateway.assert_sound();
}

#[test]
fn the_longest_token_that_is_accepted_has_8192_bytes() {
    let gateway = start();
    let longest = of_length(8192, &gateway.idp);
    assert_eq!(Request::get("/orders/7").bearer(&longest).send(gateway.addr()).status, 200);
    gateway.assert_sound();
}

#[test]
fn a_token_that_names_its_own_keys_makes_nobody_fetch_them() {
    let gateway = start();
    let evil = common::idp();
    let rogue = Key::cached(Alg::RS256, "another").with_kid("rsa-1");
    evil.set_keys([rogue.clone()]);
    for name in ["jku", "x5u"] {
        let token = token(&gateway.idp).key(&rogue).header(name, evil.jwks_uri()).sign();
        let response = Request::get("/orders/7").bearer(&token).send(gateway.addr());
        assert_problem(name, &response, 401, "token_rejected");
    }
    let pointing_home = token(&gateway.idp).header("jku", evil.jwks_uri()).sign();
    assert_eq!(Request::get("/orders/7").bearer(&pointing_home).send(gateway.addr()).status, 200);
    assert_eq!(evil.fetches(), 0);
}

#[test]
fn a_request_without_a_token_learns_what_to_bring() {
    let gateway = start();
    let addr = gateway.addr();
    let token = token(&gateway.idp).sign();
    // Some server takes a tab for the blank: that is a token, and none that is well-formed.
    let tab = Request::get("/orders/d").header("authorization", format!("Bearer\t{token}"));
    assert_problem("a tab", &tab.send(addr), 401, "token_malformed");
    for (name, request, scope) in [
        ("no credentials", Request::get("/orders/a"), Some("orders:read")),
        (
            "another scheme",
            Request::get("/orders/b").header("authorization", "Basic dTpw"),
            Some("orders:read"),
        ),
        (
            "a scheme that begins alike",
            Request::get("/orders/c").header("authorization", format!("BearerX {token}")),
            Some("orders:read"),
        ),
        ("the token alone", Request::get("/orders/e").header("authorization", &token), Some("orders:read")),
        (
            "another field",
            Request::get("/orders/f").header("proxy-authorization", format!("Bearer {token}")),
            Some("orders:read"),
        ),
        ("the query", Request::get(format!("/orders/g?access_token={token}")), Some("orders:read")),
        (
            "a cookie",
            Request::get("/orders/h").header("cookie", format!("session={token}")),
            Some("orders:read"),
        ),
        ("no scope asked for", Request::get("/me"), None),
        ("two scopes asked for", Request::get("/both"), Some("orders:read orders:write")),
        ("one of two scopes asked for", Request::get("/either"), Some("orders:admin")),
        ("a scope forbidden", Request::get("/not-trial"), None),
    ] {
        let response = request.send(addr);
        assert_problem(name, &response, 401, "token_missing");
        let challenge = challenge(&response).unwrap_or_else(|| panic!("{name}: no challenge"));
        assert_eq!(challenge.get("realm").map(String::as_str), Some("corp"), "{name}");
        assert_eq!(challenge.get("scope").map(String::as_str), scope, "{name}");
        assert_eq!(challenge.len(), 1 + usize::from(scope.is_some()), "{name}: {challenge:?}");
    }
    assert_eq!(gateway.logged("/me")["details"], "portcullis_token_missing");
    for scheme in ["bearer", "BEARER", "Bearer "] {
        let request = Request::get("/orders/7").header("authorization", format!("{scheme} {token}"));
        assert_eq!(request.send(addr).status, 200, "{scheme:?}");
    }
    assert_eq!(gateway.upstream.count(), 3);
    gateway.assert_sound();
}

#[test]
fn a_token_without_the_scope_is_a_403_that_names_it() {
    let gateway = start();
    let (idp, addr) = (&gateway.idp, gateway.addr());
    let scoped = |scope: Value| token(idp).claim("scope", scope).sign();
    let refused = [
        ("no scope", "/orders/1", token(idp).without("scope").sign(), Some("orders:read")),
        ("none of its scopes", "/orders/2", scoped(json!("openid")), Some("orders:read")),
        ("a scope that begins alike", "/orders/3", scoped(json!("orders:readonly")), Some("orders:read")),
        ("a scope that ends alike", "/orders/4", scoped(json!("my-orders:read")), Some("orders:read")),
        ("another case", "/orders/5", scoped(json!("Orders:Read")), Some("orders:read")),
        ("a comma", "/orders/6", scoped(json!("openid,orders:read")), Some("orders:read")),
        ("one element with a blank", "/orders/7", scoped(json!(["openid orders:read"])), Some("orders:read")),
        ("one of both", "/both", scoped(json!("orders:read")), Some("orders:read orders:write")),
        ("neither", "/either", scoped(json!("orders:read")), Some("orders:admin")),
        ("the forbidden one", "/not-trial", scoped(json!("openid trial")), None),
    ];
    for (name, path, token, scope) in &refused {
        let response = Request::get(path).bearer(token).send(addr);
        assert_problem(name, &response, 403, "scope_insufficient");
        let challenge = challenge(&response).unwrap_or_else(|| panic!("{name}: no challenge"));
        assert_eq!(challenge.get("error").map(String::as_str), Some("insufficient_scope"), "{name}");
        assert_eq!(challenge.get("scope").map(String::as_str), *scope, "{name}");
        assert_eq!(challenge.get("realm").map(String::as_str), Some("corp"), "{name}");
        assert!(!challenge.contains_key("error_description") || !challenge["error_description"].is_empty());
        assert_tells_nothing(name, token, idp, &response);
        let line = gateway.logged(path);
        assert_eq!(line["details"], "portcullis_scope_insufficient", "{name}");
        assert_eq!(
            (&line["decision"], &line["reason"]),
            (&json!("deny"), &json!("scope_insufficient")),
            "{name}"
        );
    }
    assert_eq!(gateway.upstream.count(), 0);
    for (path, scope) in [
        ("/orders/8", json!(["orders:read"])),
        ("/both", json!("orders:write orders:read")),
        ("/either", json!("orders:write")),
        ("/not-trial", json!("openid")),
        ("/me", json!("")),
    ] {
        assert_eq!(Request::get(path).bearer(&scoped(scope)).send(addr).status, 200, "{path}");
    }
    gateway.assert_sound();
}

#[test]
fn a_grpc_client_gets_a_grpc_status_and_a_one_line_message() {
    let gateway = start();
    let (idp, addr) = (&gateway.idp, gateway.addr());
    let good = token(idp).sign();
    let call = || Request::grpc("/orders.Orders/Get");
    for (name, request, status, reason) in [
        ("no token", call(), "16", "token_missing"),
        ("a bad token", call().bearer(&flip_bit(&good)), "16", "signature_invalid"),
        ("no scope", call().bearer(&token(idp).without("scope").sign()), "7", "scope_insufficient"),
        ("no rule", Request::grpc("/other.Service/Get").bearer(&good), "7", "route_unmatched"),
        ("no keys", Request::grpc("/keyless/Get").bearer(&good), "14", "keys_unavailable"),
        ("two tokens", call().bearer(&good).bearer(&good), "3", "token_multiple"),
        ("two readings of the path", Request::grpc("/public/..;/orders.Orders/Get"), "3", "path_ambiguous"),
    ] {
        let response = request.send_h2(addr);
        assert_eq!(response.status, 200, "{name}: gRPC has its own status");
        assert_eq!(response.trailer("grpc-status").as_deref(), Some(status), "{name}: {response:?}");
        let message = response.trailer("grpc-message").unwrap_or_default();
        assert!(!message.is_empty() && !message.contains(['\n', '{', '%']), "{name}: {message:?}");
        assert!(response.text().is_empty(), "{name}: {}", response.text());
        let details = json!(format!("portcullis_{reason}"));
        harness::eventually(&format!("{details} in the access log"), common::SOON, || {
            gateway.envoy.access_log().into_iter().find(|line| line["details"] == details)
        });
    }
    assert_eq!(gateway.upstream.count(), 0);
    assert_eq!(call().bearer(&good).send_h2(addr).status, 200);
    assert_eq!(gateway.upstream.count(), 1);
    gateway.assert_sound();
}
