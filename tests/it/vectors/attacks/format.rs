//! The format of a token: the rows F.

use std::time::Duration;

use harness::idp::b64;
use harness::wait::processor_time;
use portcullis::{Jws, Reason};
use serde_json::{Value, json};

use crate::common::allocations;
use crate::vectors::world::{Gates, claims, headed, key, raw, token, usual};

#[test]
pub(crate) fn f1_a_million_dots_cost_one_look_each() {
    let good = token(&key(), json!({}));
    let dots = ".".repeat(1_000_000);
    let letters = ".a".repeat(500_000);
    for text in [
        dots.clone(),
        letters.clone(),
        format!("{good}{dots}"),
        format!("{dots}{good}"),
        good.replacen('.', &dots, 1),
        format!("{good}{letters}"),
    ] {
        let judge = || allocations::during(|| Jws::parse(text.as_bytes()).map(drop));
        let ((got, allocations, _), took) = processor_time(judge);
        assert_eq!(got.map_err(Reason::from), Err(Reason::TokenMalformed));
        assert_eq!(allocations, 0);
        assert!(took < Duration::from_secs(1), "{took:?}");
    }
    let mut gates = Gates::of(&usual(json!({})));
    for (text, expected) in [
        ("", "token_missing"),
        (".", "token_malformed"),
        ("..", "token_malformed"),
        ("...", "token_malformed"),
        ("a", "token_malformed"),
        ("a.b", "token_malformed"),
        ("a.b.c", "token_malformed"),
        ("a.b.c.d", "token_malformed"),
        ("a.b.c.d.e", "token_encrypted"),
        ("a.b.c.d.e.f", "token_malformed"),
        (&format!(".{good}"), "token_malformed"),
        (&format!("{good}."), "token_malformed"),
        (&good.replacen('.', "..", 1), "token_malformed"),
    ] {
        assert_eq!(gates.show(text), expected, "{text}");
    }
}

#[test]
pub(crate) fn f3_f20_what_is_encrypted_is_not_even_decoded() {
    let header = b64(r#"{"alg":"PBES2-HS256+A128KW","enc":"A128GCM","p2c":2147483647,"p2s":"AAAAAAAAAAA"}"#);
    let jwe = format!("{header}.AAAA.AAAA.AAAA.AAAA");
    let (got, allocations, _) = allocations::during(|| Jws::parse(jwe.as_bytes()).map(drop));
    assert_eq!((got.map_err(Reason::from), allocations), (Err(Reason::TokenEncrypted), 0));
    // In the form of a signed one, and inside a signed one.
    let mut gates = Gates::of(&usual(json!({})));
    assert_eq!(gates.show(&headed(&key(), json!({ "enc": "A128GCM" }), json!({}))), "token_encrypted");
    assert_eq!(gates.show(&raw(&key(), &jwe)), "token_malformed");
    assert_eq!(gates.show(&raw(&key(), &token(&key(), json!({})))), "token_malformed");
}

#[test]
pub(crate) fn f4_to_f9_one_token_has_one_text() {
    let mut gates = Gates::of(&usual(json!({})));
    // 64 bytes of signature leave four unused bits in the last character.
    let good = token(&key(), json!({ "sub": "a?a>a?a>" }));
    assert_eq!(gates.show(&good), "allow");
    let parts: Vec<_> = good.split('.').collect();
    let [header, payload, signature] = parts[..] else { panic!("three parts") };
    let last = signature.chars().last().expect("a character");
    let next = char::from(u8::try_from(last).expect("ASCII") + 1);
    let loose = format!("{header}.{payload}.{}{next}", &signature[..signature.len() - 1]);
    for (what, text) in [
        ("F4: padded signature", format!("{good}=")),
        ("F4: padded signature", format!("{good}==")),
        ("F4: padded header", format!("{header}=.{payload}.{signature}")),
        ("F4: padded payload", format!("{header}.{payload}=.{signature}")),
        ("F5: a plus", good.replacen(signature, &format!("+{}", &signature[1..]), 1)),
        ("F5: a slash", good.replacen(signature, &format!("/{}", &signature[1..]), 1)),
        ("F6: a blank inside", good.replacen('.', ". ", 1)),
        ("F6: a tab inside", good.replacen('.', "\t.", 1)),
        ("F6: a newline inside", good.replacen('.', ".\n", 1)),
        ("F6: CR LF at the end", format!("{good}\r\n")),
        ("F6: a NUL at the end", format!("{good}\0")),
        ("F6: a question mark", good.replacen('.', "?.", 1)),
        ("F7: unused bits", loose),
        ("F8: percent", good.replacen('.', "%2e", 1)),
        ("F8: a full-width dot", good.replacen('.', "\u{ff0e}", 1)),
        ("F8: quotes", format!("\"{good}\"")),
        ("F8: a semicolon", format!("{good};")),
        ("F9: text after a blank", format!("{good} x")),
        ("F9: a blank at the end", format!("{good} ")),
    ] {
        assert_eq!(gates.show(&text), "token_malformed", "{what}");
    }
    assert_eq!(gates.show(&format!("{good},{good}")), "token_multiple", "F8: a list");
    assert_eq!(gates.show(&format!("{good} {good}")), "token_encrypted", "F9: two tokens have five parts");
    assert_eq!(gates.show(&good), "allow", "and still the token itself");
}

#[test]
pub(crate) fn f10_f11_a_member_stands_once() {
    let mut gates = Gates::of(&usual(json!({})));
    let payload = claims(json!({})).to_string();
    for header in [
        r#"{"alg":"ES256","kid":"k-1","alg":"ES256"}"#,
        r#"{"alg":"none","kid":"k-1","alg":"ES256"}"#,
        r#"{"alg":"ES256","kid":"k-1","alg":"none"}"#,
        r#"{"alg":"ES256","kid":"k-1","\u0061lg":"ES256"}"#,
        r#"{"alg":"ES256","kid":"x","k\u0069d":"k-1"}"#,
        r#"{"alg":"ES256","kid":"k-1","x":{"a":1,"a":2}}"#,
    ] {
        let token = key().sign_parts(header.as_bytes(), payload.as_bytes());
        assert_eq!(gates.show(&token), "token_malformed", "{header}");
    }
    for more in [r#""sub":"mallory""#, r#""\u0073ub":"alice""#, r#""exp":1"#, r#""x":[{"a":{"b":1,"b":1}}]"#]
    {
        let twice = payload.replacen('{', &format!("{{{more},"), 1);
        assert_eq!(gates.show(&raw(&key(), &twice)), "token_malformed", "{more}");
    }
}

#[test]
pub(crate) fn f13_the_text_is_utf_8() {
    let mut gates = Gates::of(&usual(json!({})));
    let payload = claims(json!({ "x": "VALUE" })).to_string();
    let header = br#"{"alg":"ES256","kid":"k-1"}"#;
    assert_eq!(gates.show(&key().sign_parts(header, payload.as_bytes())), "allow");
    let utf16: Vec<u8> = payload.encode_utf16().flat_map(u16::to_le_bytes).collect();
    let with = |bytes: &[u8]| {
        let at = payload.find("VALUE").expect("the place");
        [&payload.as_bytes()[..at], bytes, &payload.as_bytes()[at + 5..]].concat()
    };
    for (what, payload) in [
        ("UTF-16", utf16),
        ("a byte order mark", [b"\xef\xbb\xbf", payload.as_bytes()].concat()),
        ("a lone byte", with(b"\xff")),
        ("an overlong form", with(b"\xc0\xaf")),
        ("a surrogate", with(b"\xed\xa0\x80")),
        ("past the last character", with(b"\xf5\x80\x80\x80")),
        ("an escaped lone surrogate", with(br"\ud800")),
        ("an escaped pair the wrong way", with(br"\udc00\ud800")),
        ("a raw newline", with(b"\n")),
        ("a raw NUL", with(b"\0")),
    ] {
        assert_eq!(gates.show(&key().sign_parts(header, &payload)), "token_malformed", "{what}");
    }
    for header in
        [&b"\xef\xbb\xbf{\"alg\":\"ES256\",\"kid\":\"k-1\"}"[..], b"{\"alg\":\"ES256\",\"kid\":\"k-1\xff\"}"]
    {
        assert_eq!(gates.show(&key().sign_parts(header, payload.as_bytes())), "token_malformed");
    }
}

#[test]
pub(crate) fn f14_nesting_is_bounded_in_header_and_claims() {
    let mut gates = Gates::of(&usual(json!({ "max_token_size": 1 << 20 })));
    let nested =
        |depth: usize, open: &str, close: &str| format!("{}1{}", open.repeat(depth), close.repeat(depth));
    let payload = claims(json!({})).to_string();
    for (open, close) in [("[", "]"), (r#"{"a":"#, "}")] {
        // The set of claims is one level, and 63 may follow.
        for (depth, expected) in
            [(63, "allow"), (64, "token_malformed"), (2000, "token_malformed"), (100_000, "token_malformed")]
        {
            let claims = payload.replacen('{', &format!(r#"{{"x":{},"#, nested(depth, open, close)), 1);
            assert_eq!(gates.show(&raw(&key(), &claims)), expected, "claims, {depth} of {open}");
        }
        for (depth, expected) in
            [(63, "allow"), (64, "token_malformed"), (600, "token_malformed"), (2000, "token_malformed")]
        {
            let header = format!(r#"{{"alg":"ES256","kid":"k-1","x":{}}}"#, nested(depth, open, close));
            let token = key().sign_parts(header.as_bytes(), payload.as_bytes());
            assert_eq!(gates.show(&token), expected, "header, {depth} of {open}");
        }
        // Never closed.
        assert_eq!(gates.show(&raw(&key(), &open.repeat(50_000))), "token_malformed");
        let header = open.repeat(700);
        assert_eq!(gates.show(&key().sign_parts(header.as_bytes(), payload.as_bytes())), "token_malformed");
    }
}

#[test]
pub(crate) fn f15_a_token_and_its_header_are_bounded() {
    let mut gates = Gates::of(&usual(json!({})));
    let fill = |bytes: usize| token(&key(), json!({ "x": "a".repeat(bytes) }));
    // Three bytes of a claim take four of the token; 8192 is the default.
    let fits = fill((8192 - fill(0).len()) / 4 * 3);
    assert!((8180..=8192).contains(&fits.len()), "{}", fits.len());
    assert_eq!(gates.show(&fits), "allow");
    for bytes in [6200, 100_000, 1_000_000] {
        assert_eq!(gates.show(&fill(bytes)), "token_too_large", "{bytes}");
    }
    // Too large is said before anything is read: also of what is no token.
    assert_eq!(gates.show(&"x".repeat(8193)), "token_too_large");
    assert_eq!(gates.show(&"x".repeat(8192)), "token_malformed");
    let mut gates = Gates::of(&usual(json!({ "max_token_size": 1 << 20 })));
    for (bytes, expected) in [(4000, "allow"), (4097, "token_malformed"), (500_000, "token_malformed")] {
        let token = headed(&key(), json!({ "x": "a".repeat(bytes) }), json!({}));
        assert_eq!(gates.show(&token), expected, "a header of {bytes} bytes");
    }
    // Many members: as many as there is room for.
    let many: Value =
        (0..20_000).map(|n| (format!("c{n}"), json!(n))).collect::<serde_json::Map<_, _>>().into();
    assert_eq!(gates.show(&token(&key(), many)), "allow");
}

#[test]
pub(crate) fn f16_header_and_claims_are_objects() {
    let mut gates = Gates::of(&usual(json!({})));
    for payload in ["null", "[]", "\"\"", "1", "true", "", " ", "[{}]", r#"["iss"]"#] {
        assert_eq!(gates.show(&raw(&key(), payload)), "token_malformed", "claims {payload:?}");
    }
    for header in ["null", "[]", "\"ES256\"", "1", "", r#"["alg","ES256"]"#, r#"[{"alg":"ES256"}]"#] {
        let token = key().sign_parts(header.as_bytes(), claims(json!({})).to_string().as_bytes());
        assert_eq!(gates.show(&token), "token_malformed", "header {header:?}");
    }
}

#[test]
pub(crate) fn f17_f18_f19_no_extension_is_understood() {
    let mut gates = Gates::of(&usual(json!({})));
    for crit in [
        json!(["exp"]),
        json!(["b64"]),
        json!(["alg"]),
        json!([]),
        json!(["x", "x"]),
        json!(["absent"]),
        json!([1]),
        json!("exp"),
        json!({}),
        json!(false),
    ] {
        let token = headed(&key(), json!({ "crit": crit, "exp": 1, "x": 1 }), json!({}));
        assert_eq!(gates.show(&token), "critical_header", "crit {crit}");
    }
    let null = key()
        .sign_parts(br#"{"alg":"ES256","kid":"k-1","crit":null}"#, claims(json!({})).to_string().as_bytes());
    assert_eq!(gates.show(&null), "critical_header", "crit null");
    for (header, expected) in [
        (json!({ "b64": false, "crit": ["b64"] }), "critical_header"),
        (json!({ "b64": false }), "critical_header"),
        (json!({ "b64": true }), "critical_header"),
        (json!({ "zip": "DEF" }), "token_malformed"),
        (json!({ "zip": "" }), "token_malformed"),
        (json!({ "zip": 1 }), "token_malformed"),
        (json!({ "unknown": "parameter", "cty": "JWT" }), "allow"),
    ] {
        assert_eq!(gates.show(&headed(&key(), header.clone(), json!({}))), expected, "{header}");
    }
    // A payload is never unpacked: refusing it takes no more memory than its header.
    let bomb = headed(&key(), json!({ "zip": "DEF" }), json!({ "x": "a".repeat(500_000) }));
    let (got, _, bytes) = allocations::during(|| Jws::parse(bomb.as_bytes()).map(drop));
    assert_eq!(got.map_err(Reason::from), Err(Reason::TokenMalformed));
    assert!(bytes < 4096, "{bytes} bytes");
}

#[test]
pub(crate) fn f21_no_claim_breaks_out_of_a_header() {
    let mut gates = Gates::of(&usual(json!({
        "claim_to_headers": [{ "header_name": "x-user", "claim_name": "sub" }],
    })));
    for sub in ["a\r\nx-admin: 1", "a\nb", "a\0b", "\r", "a\u{7f}", "a\u{85}b", "a\u{2028}", "\u{a0}a"] {
        let token = token(&key(), json!({ "sub": sub }));
        assert_eq!(gates.allowed(&token).added().next(), None, "{sub:?}");
    }
    for sub in ["caf\u{e9}", "\u{1f600}", "a b", "a: b"] {
        let token = token(&key(), json!({ "sub": sub }));
        assert_eq!(gates.allowed(&token).added().collect::<Vec<_>>(), [("x-user", sub)]);
    }
}
