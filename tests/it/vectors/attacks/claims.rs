//! What a token claims: the rows C.

use harness::idp::{Alg, Key};
use portcullis::FilterStateField;
use serde_json::{Value, json};

use crate::vectors::world::{
    Gates, ISSUER, NOW, claims, headed, is_refused, key, raw, token, trusting, usual, with,
};

#[test]
pub(crate) fn c1_to_c3_a_date_is_a_number_in_range() {
    let mut gates = Gates::of(&usual(json!({})));
    let with = |name: &str, text: &str| {
        let mut claims = claims(json!({}));
        claims[name] = json!("PLACE");
        raw(&key(), &claims.to_string().replace("\"PLACE\"", text))
    };
    let digits = "9".repeat(400);
    for name in ["exp", "nbf", "iat"] {
        for (text, expected) in [
            ("\"1800000100\"", "claim_invalid"),
            ("\"\"", "claim_invalid"),
            ("true", "claim_invalid"),
            ("null", "claim_invalid"),
            ("[1800000100]", "claim_invalid"),
            ("{}", "claim_invalid"),
            ("-1", "claim_invalid"),
            ("-0.5", "claim_invalid"),
            ("-1e300", "claim_invalid"),
            ("9223372036854775808", "claim_invalid"),
            ("18446744073709551615", "claim_invalid"),
            ("18446744073709551616", "claim_invalid"),
            ("1e30", "claim_invalid"),
            ("1e400", "token_malformed"),
            ("NaN", "token_malformed"),
            ("Infinity", "token_malformed"),
            ("01800000100", "token_malformed"),
            ("0x6b49d264", "token_malformed"),
            (&digits, "token_malformed"),
        ] {
            assert_eq!(gates.show(&with(name, text)), expected, "{name} {text:.30}");
        }
    }
    for (name, text, expected) in [
        ("exp", "1800000100.5", "allow"),
        ("exp", "1.8000001e9", "allow"),
        ("exp", "9223372036854775807", "allow"),
        ("exp", "18000001E+2", "allow"),
        ("exp", "0", "expired"),
        ("exp", "-0", "expired"),
        ("nbf", "0", "allow"),
        ("nbf", "9223372036854775807", "not_yet_valid"),
        ("iat", "0", "allow"),
        ("iat", "9223372036854775807", "issued_in_future"),
        ("iat", "1799999999.999", "allow"),
    ] {
        assert_eq!(gates.show(&with(name, text)), expected, "{name} {text}");
    }
}

#[test]
pub(crate) fn c4_to_c7_time_is_kept() {
    let at = |offset: i64| json!(i64::try_from(NOW).expect("a time") + offset);
    let cases: &[(&str, Value, Value, &str)] = &[
        (
            "C4: one second before the end",
            json!({ "clock_skew_seconds": 0 }),
            json!({ "exp": at(1) }),
            "allow",
        ),
        ("C4: at the end", json!({ "clock_skew_seconds": 0 }), json!({ "exp": at(0) }), "expired"),
        ("C4: nbf now", json!({ "clock_skew_seconds": 0 }), json!({ "nbf": at(0) }), "allow"),
        ("C4: nbf in a second", json!({ "clock_skew_seconds": 0 }), json!({ "nbf": at(1) }), "not_yet_valid"),
        ("C5: the last second of the skew", json!({}), json!({ "exp": at(-59) }), "allow"),
        ("C5: the end of the skew", json!({}), json!({ "exp": at(-60) }), "expired"),
        ("C5: nbf at the skew", json!({}), json!({ "nbf": at(60) }), "allow"),
        ("C5: nbf past the skew", json!({}), json!({ "nbf": at(61) }), "not_yet_valid"),
        ("C5: iat at the skew", json!({}), json!({ "iat": at(60) }), "allow"),
        ("C5: iat past the skew", json!({}), json!({ "iat": at(61) }), "issued_in_future"),
        (
            "C5: iat in a second, no skew",
            json!({ "clock_skew_seconds": 0 }),
            json!({ "iat": at(1) }),
            "issued_in_future",
        ),
        ("C5: the widest skew", json!({ "clock_skew_seconds": 300 }), json!({ "exp": at(-299) }), "allow"),
        (
            "C5: past the widest skew",
            json!({ "clock_skew_seconds": 300 }),
            json!({ "exp": at(-300) }),
            "expired",
        ),
        ("C6: no exp", json!({}), json!({ "exp": null }), "expiration_missing"),
        ("C6: no exp, not required", json!({ "require_expiration": false }), json!({ "exp": null }), "allow"),
        ("C6: exp 0, not required", json!({ "require_expiration": false }), json!({ "exp": 0 }), "expired"),
        ("C7: max_lifetime", json!({ "max_lifetime": "3600s" }), json!({ "exp": at(3600) }), "allow"),
        (
            "C7: past max_lifetime",
            json!({ "max_lifetime": "3600s" }),
            json!({ "exp": at(3601) }),
            "lifetime_exceeded",
        ),
        (
            "C7: no exp and max_lifetime",
            json!({ "max_lifetime": "3600s", "require_expiration": false }),
            json!({ "exp": null }),
            "expiration_missing",
        ),
        ("C7: far away", json!({}), json!({ "exp": i64::MAX }), "allow"),
        ("max_age", json!({ "max_age": "3600s" }), json!({ "iat": at(-3600) }), "allow"),
        ("past max_age", json!({ "max_age": "3600s" }), json!({ "iat": at(-3601) }), "too_old"),
        ("no iat and max_age", json!({ "max_age": "3600s" }), json!({ "iat": null }), "claim_missing"),
        ("no iat", json!({}), json!({ "iat": null }), "allow"),
    ];
    for (what, fields, claims, expected) in cases {
        let got = Gates::of(&usual(fields.clone())).show(&token(&key(), claims.clone()));
        assert_eq!(got, *expected, "{what}");
    }
    for skew in [json!(301), json!(-1), json!(1.5), json!("301"), json!("sixty")] {
        assert!(is_refused(&usual(json!({ "clock_skew_seconds": skew }))), "C5: a skew of {skew}");
    }
}

#[test]
pub(crate) fn c8_c9_c10_the_audience_is_ours() {
    let mut gates = Gates::of(&usual(json!({})));
    let two = usual(json!({ "audience_claims": ["aud", "client_id"] }));
    let mut open = usual(json!({}));
    open.as_object_mut().expect("fields").remove("audiences");
    let plain = |aud: Value| {
        raw(&key(), &{
            let mut claims = claims(json!({}));
            claims["aud"] = aud;
            claims.to_string()
        })
    };
    for (aud, expected, unasked) in [
        (json!("api"), "allow", "allow"),
        (json!(["api"]), "allow", "allow"),
        (json!(["other", "api"]), "allow", "allow"),
        (json!([]), "audience_mismatch", "allow"),
        (json!(["other"]), "audience_mismatch", "allow"),
        (json!(""), "audience_mismatch", "allow"),
        (json!("Api"), "audience_mismatch", "allow"),
        (json!("api "), "audience_mismatch", "allow"),
        (json!(" api"), "audience_mismatch", "allow"),
        (json!("apis"), "audience_mismatch", "allow"),
        (json!("ap"), "audience_mismatch", "allow"),
        (json!("api,other"), "audience_mismatch", "allow"),
        (json!("other api"), "audience_mismatch", "allow"),
        (json!("api\0"), "audience_mismatch", "allow"),
        (json!("*"), "audience_mismatch", "allow"),
        (json!("https://api"), "audience_mismatch", "allow"),
        (json!("api/"), "audience_mismatch", "allow"),
        (Value::Null, "claim_invalid", "claim_invalid"),
        (json!(1), "claim_invalid", "claim_invalid"),
        (json!(true), "claim_invalid", "claim_invalid"),
        (json!({ "api": "api" }), "claim_invalid", "claim_invalid"),
        (json!(["api", 1]), "claim_invalid", "claim_invalid"),
        (json!([["api"]]), "claim_invalid", "claim_invalid"),
        (json!(["api", null]), "claim_invalid", "claim_invalid"),
    ] {
        assert_eq!(gates.show(&plain(aud.clone())), expected, "{aud}");
        assert_eq!(Gates::of(&open).show(&plain(aud.clone())), unasked, "{aud} where none is asked for");
    }
    assert_eq!(gates.show(&token(&key(), json!({ "aud": null }))), "audience_mismatch", "absent");
    assert_eq!(
        Gates::of(&open).show(&token(&key(), json!({ "aud": null }))),
        "allow",
        "absent and not asked for"
    );
    // The first audience claim that is there counts, and no other.
    for (claims, expected) in [
        (json!({ "aud": "api", "client_id": "other" }), "allow"),
        (json!({ "aud": "other", "client_id": "api" }), "audience_mismatch"),
        (json!({ "aud": [], "client_id": "api" }), "audience_mismatch"),
        (json!({ "aud": null, "client_id": "api" }), "allow"),
        (json!({ "aud": null, "client_id": ["x", "api"] }), "allow"),
        (json!({ "aud": null, "client_id": "other" }), "audience_mismatch"),
        (json!({ "aud": null, "client_id": 1 }), "claim_invalid"),
        (json!({ "aud": null, "client_id": { "api": 1 } }), "claim_invalid"),
        (json!({ "aud": null, "client_id": ["api", 1] }), "claim_invalid"),
        (json!({ "aud": null }), "audience_mismatch"),
    ] {
        assert_eq!(Gates::of(&two).show(&token(&key(), claims.clone())), expected, "{claims}");
    }
    // C10: jwt_authn's comparison only where it is asked for.
    for (own, aud, expected) in [
        ("api", "https://api/", "allow"),
        ("https://api", "http://api", "allow"),
        ("api/", "api", "allow"),
        ("api", "api//", "audience_mismatch"),
        ("api", "HTTPS://api", "audience_mismatch"),
        ("api", "https://https://api", "audience_mismatch"),
        ("api", "Api", "audience_mismatch"),
        ("api", "https://api/x", "audience_mismatch"),
    ] {
        let provider = usual(json!({ "audiences": [own], "audience_match": "normalized" }));
        let got = Gates::of(&provider).show(&token(&key(), json!({ "aud": aud })));
        assert_eq!(got, expected, "{own} {aud}");
    }
}

#[test]
pub(crate) fn c11_the_issuer_is_one_of_ours_to_the_letter() {
    let mut one = Gates::of(&usual(json!({})));
    let mut list = Gates::of(&usual(json!({ "issuer": ["https://a.example/", ISSUER] })));
    for (issuer, expected) in [
        (json!("https://issuer.example"), "allow"),
        (json!("https://issuer.example/"), "issuer_unknown"),
        (json!("https://issuer.example.evil.example"), "issuer_unknown"),
        (json!("https://issuer.example@evil.example"), "issuer_unknown"),
        (json!("https://evil.example/https://issuer.example"), "issuer_unknown"),
        (json!("https://Issuer.example"), "issuer_unknown"),
        (json!("http://issuer.example"), "issuer_unknown"),
        (json!("https://issuer.example:443"), "issuer_unknown"),
        (json!("https://issuer.example/x"), "issuer_unknown"),
        (json!("https://issuer.example "), "issuer_unknown"),
        (json!("https://issuer.example\0"), "issuer_unknown"),
        (json!("https://a.example"), "issuer_unknown"),
        (json!(""), "issuer_unknown"),
        (Value::Null, "issuer_unknown"),
        (json!(["https://issuer.example"]), "claim_invalid"),
        (json!(1), "claim_invalid"),
        (json!({}), "claim_invalid"),
    ] {
        let token = token(&key(), json!({ "iss": issuer }));
        assert_eq!(one.show(&token), expected, "{issuer}");
        assert_eq!(list.show(&token), expected, "{issuer} and a list");
    }
    assert_eq!(list.show(&token(&key(), json!({ "iss": "https://a.example/" }))), "allow");
    // A template takes the claim's value, all of it and nothing else.
    let template = json!({ "issuer": "https://login.example/{tid}/v2.0", "issuer_claims": { "tid": ["t1", "t/2", ""] } });
    let mut gates = Gates::of(&usual(with(template, json!({ "issuer_claims": { "tid": ["t1", "t/2"] } }))));
    for (issuer, tid, expected) in [
        ("https://login.example/t1/v2.0", json!("t1"), "allow"),
        ("https://login.example/t1/v2.0", json!("t2"), "issuer_unknown"),
        ("https://login.example/t3/v2.0", json!("t3"), "issuer_unknown"),
        ("https://login.example/t/2/v2.0", json!("t/2"), "issuer_unknown"),
        ("https://login.example/t1/v2.0", Value::Null, "issuer_unknown"),
        ("https://login.example/t1/v2.0", json!(["t1"]), "issuer_unknown"),
        ("https://login.example/{tid}/v2.0", json!("{tid}"), "issuer_unknown"),
        ("https://login.example//v2.0", json!(""), "issuer_unknown"),
        ("https://login.example/t1/v2.0/", json!("t1"), "issuer_unknown"),
        ("https://login.evil/t1/v2.0", json!("t1"), "issuer_unknown"),
    ] {
        assert_eq!(
            gates.show(&token(&key(), json!({ "iss": issuer, "tid": tid }))),
            expected,
            "{issuer} {tid}"
        );
    }
}

#[test]
pub(crate) fn c12_a_key_serves_its_own_provider_alone() {
    let (ours, theirs) = (Key::cached(Alg::ES256, "ours"), Key::cached(Alg::ES256, "theirs"));
    let other = "https://other.example";
    // The same kid for two keys, too: a kid is a name within one provider.
    for (a, b) in [(ours.clone(), theirs.clone()), (ours.with_kid("same"), theirs.with_kid("same"))] {
        let mut gates = Gates::new(&json!({
            "providers": {
                "a": trusting([&a]),
                "b": with(trusting([&b]), json!({ "issuer": other })),
                "any": with(trusting([&b]), json!({ "issuer": [ISSUER, other] })),
            },
            "rules": [
                { "match": { "prefix": "/a" }, "requires": { "provider_name": "a" } },
                { "match": { "prefix": "/b" }, "requires": { "provider_name": "b" } },
                { "match": { "prefix": "/c" }, "requires": { "provider_name": "any" } },
            ],
        }));
        let same = a.kid() == b.kid();
        let lost = if same { "signature_invalid" } else { "key_not_found" };
        for (what, path, token, expected) in [
            ("a's own", "/a", token(&a, json!({})), "allow"),
            ("b's own", "/b", token(&b, json!({ "iss": other })), "allow"),
            ("a's for b's path", "/b", token(&a, json!({})), "issuer_unknown"),
            ("signed by a, says b, for b's path", "/b", token(&a, json!({ "iss": other })), lost),
            ("signed by a, says b, for a's path", "/a", token(&a, json!({ "iss": other })), "issuer_unknown"),
            ("signed by b, says a, for a's path", "/a", token(&b, json!({})), lost),
            (
                "b's kid and a's key",
                "/b",
                token(&a.with_kid(b.kid()), json!({ "iss": other })),
                "signature_invalid",
            ),
            (
                "no kid and a's key",
                "/b",
                headed(&a, json!({ "kid": null }), json!({ "iss": other })),
                "signature_invalid",
            ),
            ("a's, where both issuers but b's keys are trusted", "/c", token(&a, json!({})), lost),
            ("b's, there", "/c", token(&b, json!({})), "allow"),
        ] {
            // Twice: what one provider has verified says nothing for another.
            for _ in 0..2 {
                assert_eq!(gates.show_at(path, &token, NOW), expected, "{what}, same kid: {same}");
            }
        }
    }
}

#[test]
pub(crate) fn c13_subjects_and_required_claims() {
    for (fields, claims, expected) in [
        (json!({}), json!({ "sub": 1 }), "claim_invalid"),
        (json!({}), json!({ "sub": ["alice"] }), "claim_invalid"),
        (json!({}), json!({ "sub": { "a": 1 } }), "claim_invalid"),
        (json!({}), json!({ "sub": true }), "claim_invalid"),
        (json!({}), json!({ "jti": 1 }), "claim_invalid"),
        (json!({}), json!({ "jti": ["x"] }), "claim_invalid"),
        (json!({}), json!({ "sub": null }), "allow"),
        (json!({}), json!({ "sub": "" }), "allow"),
        (json!({ "subjects": { "exact": "alice" } }), json!({}), "allow"),
        (json!({ "subjects": { "exact": "alice" } }), json!({ "sub": "Alice" }), "subject_mismatch"),
        (json!({ "subjects": { "exact": "alice" } }), json!({ "sub": "alice " }), "subject_mismatch"),
        (json!({ "subjects": { "exact": "alice" } }), json!({ "sub": null }), "subject_mismatch"),
        (json!({ "subjects": { "prefix": "svc-" } }), json!({ "sub": "svc-a" }), "allow"),
        (json!({ "subjects": { "prefix": "svc-" } }), json!({ "sub": "x-svc-a" }), "subject_mismatch"),
        (json!({ "subjects": { "suffix": "@x" } }), json!({ "sub": "a@x" }), "allow"),
        (json!({ "subjects": { "suffix": "@x" } }), json!({ "sub": "a@xy" }), "subject_mismatch"),
        (json!({ "subjects": { "contains": "-" } }), json!({ "sub": "a-b" }), "allow"),
        (json!({ "subjects": { "safe_regex": { "regex": "a|b" } } }), json!({ "sub": "b" }), "allow"),
        (
            json!({ "subjects": { "safe_regex": { "regex": "a|b" } } }),
            json!({ "sub": "ab" }),
            "subject_mismatch",
        ),
        (json!({ "required_claims": ["sub", "jti"] }), json!({ "jti": "1" }), "allow"),
        (json!({ "required_claims": ["sub", "jti"] }), json!({}), "claim_missing"),
        (json!({ "required_claims": ["a.b"] }), json!({ "a": { "b": 0 } }), "allow"),
        (json!({ "required_claims": ["a.b"] }), json!({ "a": { "c": 0 } }), "claim_missing"),
        (json!({ "required_claims": ["empty"] }), json!({ "empty": "" }), "allow"),
    ] {
        let got = Gates::of(&usual(fields.clone())).show(&token(&key(), claims.clone()));
        assert_eq!(got, expected, "{fields} {claims}");
    }
    for name in ["sub", "jti", "iss"] {
        let mut claims = claims(json!({}));
        claims[name] = Value::Null;
        let got = Gates::of(&usual(json!({}))).show(&raw(&key(), &claims.to_string()));
        assert_eq!(got, "claim_invalid", "{name} null");
    }
    let mut claims = claims(json!({}));
    claims["x"] = Value::Null;
    let got = Gates::of(&usual(json!({ "required_claims": ["x"] }))).show(&raw(&key(), &claims.to_string()));
    assert_eq!(got, "claim_missing", "null is there and says nothing");
}

#[test]
pub(crate) fn c14_c15_a_token_of_another_type_is_refused() {
    let only = json!(["at+jwt"]);
    let absent = json!(["absent", "application/x"]);
    for (typ, by_default, only_access, absent_or_x) in [
        (Value::Null, true, false, true),
        (json!("JWT"), true, false, false),
        (json!("jwt"), true, false, false),
        (json!("application/jwt"), true, false, false),
        (json!("at+jwt"), true, true, false),
        (json!("AT+JWT"), true, true, false),
        (json!("application/at+jwt"), true, true, false),
        (json!("Application/AT+jwt"), true, true, false),
        (json!("x"), false, false, true),
        (json!("APPLICATION/X"), false, false, true),
        (json!("absent"), false, false, false),
        (json!("at+jwtx"), false, false, false),
        (json!(" at+jwt"), false, false, false),
        (json!("at+jwt; v=1"), false, false, false),
        (json!("text/at+jwt"), false, false, false),
        (json!("application/application/at+jwt"), false, false, false),
        (json!(""), false, false, false),
        (json!("JOSE"), false, false, false),
        (json!("logout+jwt"), false, false, false),
        (json!("dpop+jwt"), false, false, false),
        (json!("secevent+jwt"), false, false, false),
        (json!("statuslist+jwt"), false, false, false),
        (json!("token-introspection+jwt"), false, false, false),
        (json!("oauth-authz-req+jwt"), false, false, false),
    ] {
        let token = headed(&key(), json!({ "typ": typ }), json!({}));
        for (fields, allowed) in [
            (json!({}), by_default),
            (json!({ "token_types": only }), only_access),
            (json!({ "token_types": absent }), absent_or_x),
        ] {
            let expected = if allowed { "allow" } else { "type_not_allowed" };
            assert_eq!(Gates::of(&usual(fields.clone())).show(&token), expected, "{typ} {fields}");
        }
    }
    for typ in [json!(1), json!(["JWT"]), json!(true)] {
        let token = headed(&key(), json!({ "typ": typ }), json!({}));
        assert_eq!(Gates::of(&usual(json!({}))).show(&token), "token_malformed", "{typ}");
    }
}

#[test]
pub(crate) fn c16_scopes_are_compared_whole() {
    let mut gates = Gates::new(&json!({
        "providers": { "p": usual(json!({})) },
        "rules": [{
            "match": { "prefix": "/" },
            "requires": { "provider_name": "p" },
            "authorize": { "scopes": { "all_of": ["admin"] } },
        }],
    }));
    for (claims, expected) in [
        (json!({ "scope": "admin" }), "allow"),
        (json!({ "scope": "read admin" }), "allow"),
        (json!({ "scope": ["read", "admin"] }), "allow"),
        (json!({ "scp": "admin" }), "allow"),
        (json!({ "scp": ["admin"], "scope": "read" }), "allow"),
        (json!({ "scope": "read administrator" }), "scope_insufficient"),
        (json!({ "scope": "Admin" }), "scope_insufficient"),
        (json!({ "scope": "read,admin" }), "scope_insufficient"),
        (json!({ "scope": "read\tadmin" }), "scope_insufficient"),
        (json!({ "scope": "read\u{a0}admin" }), "scope_insufficient"),
        (json!({ "scope": "" }), "scope_insufficient"),
        (json!({ "scope": [] }), "scope_insufficient"),
        (json!({ "scope": ["read admin"] }), "scope_insufficient"),
        (json!({ "scopes": "admin" }), "scope_insufficient"),
        (json!({}), "scope_insufficient"),
        (json!({ "scope": 1 }), "claim_invalid"),
        (json!({ "scope": ["admin", 1] }), "claim_invalid"),
        (json!({ "scope": { "admin": true } }), "claim_invalid"),
    ] {
        assert_eq!(gates.show(&token(&key(), claims.clone())), expected, "{claims}");
    }
}

#[test]
pub(crate) fn c17_c18_the_issuer_goes_with_the_subject_and_names_are_taken_whole() {
    let mut gates = Gates::of(&usual(json!({
        "issuer": [ISSUER, "https://other.example"],
        "claim_to_headers": [
            { "header_name": "x-iss", "claim_name": "iss" },
            { "header_name": "x-sub", "claim_name": "sub" },
            { "header_name": "x-url", "claim_name": "https://x/y" },
            { "header_name": "x-dotted", "claim_name": "a.b" },
            { "header_name": "x-listed", "claim_name": ["a", "b"] },
            { "header_name": "x-proto", "claim_name": "__proto__.polluted" },
            { "header_name": "x-length", "claim_name": "sub.length" },
        ],
    })));
    let claims = json!({ "https://x/y": "url", "a.b": "literal", "a": { "b": "nested" } });
    let allow = gates.allowed(&token(&key(), claims));
    let mut pairs: Vec<_> = allow.added().collect();
    pairs.sort_unstable();
    let expected = [
        ("x-dotted", "literal"),
        ("x-iss", ISSUER),
        ("x-listed", "nested"),
        ("x-sub", "alice"),
        ("x-url", "url"),
    ];
    assert_eq!(pairs, expected);
    let allow = gates.allowed(&token(&key(), json!({ "iss": "https://other.example" })));
    assert!(allow.added().any(|header| header == ("x-iss", "https://other.example")));
    for (entry, value) in [(FilterStateField::Provider, "p"), (FilterStateField::Subject, "alice")] {
        assert_eq!(allow.state.get(entry), Some(value));
    }
}

#[test]
pub(crate) fn c19_a_bound_token_is_no_bearer_token() {
    let mut strict = Gates::of(&usual(json!({})));
    let mut lenient = Gates::of(&usual(json!({ "sender_constrained": "ignore" })));
    for cnf in [
        json!({ "jkt": "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I" }),
        json!({ "x5t#S256": "bwcK0esc3ACC3DB2Y5_lESsXE8o9ltc05O89jdN-dg2" }),
        json!({ "unknown": 1 }),
        json!({}),
        json!([]),
        json!("x"),
        json!(false),
    ] {
        let token = token(&key(), json!({ "cnf": cnf }));
        assert_eq!(strict.show(&token), "token_bound", "{cnf}");
        assert_eq!(lenient.show(&token), "allow", "{cnf}");
    }
    let mut null = claims(json!({}));
    null["cnf"] = Value::Null;
    assert_eq!(strict.show(&raw(&key(), &null.to_string())), "token_bound", "null is there, too");
    assert_eq!(strict.show(&token(&key(), json!({ "CNF": {} }))), "allow");
}
