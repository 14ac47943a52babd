//! What holds of every token, path and JSON text: proptest looks for one of which it does not.
//!
//! Tokens are signed by an independent library (the harness's). `PROPTEST_CASES` asks for more cases.

use std::collections::BTreeSet;
use std::rc::Rc;

use harness::idp::{b64, jwks};
use harness::{Alg, Key};
use portcullis::{
    AmbiguousPaths, Backend, Certainty as Held, ClaimPath, Claims, Config, Effect, Environment, Gate, Grants,
    HttpResponse, Json, JsonNumber as Number, JsonObject as Object, Jws, KeyFormat as Format, KeySet,
    KeySetOptions as Reading, PathKind, PathReadings, Provider, Reason, Request, RequestView, Rule,
    RuleMatch, StreamId, Timestamp, Unverified, Verified, canonical_path as canonical,
};
use proptest::prelude::*;
use proptest::sample::select;
use serde_json::{Value, json};

const NOW: u64 = 1_750_000_000;

/// A set of one key.
fn set_of(key: &Key) -> KeySet {
    let reading = Reading { format: Format::Jwks, max_keys: 1, symmetric: true };
    KeySet::parse(jwks([key]).to_string().as_bytes(), reading).expect("a key set")
}

fn grants() -> Grants {
    Grants { scope_claims: vec![ClaimPath::parse("scope")], ..Grants::default() }
}

/// A provider with these fields, whose key is of no matter.
fn provider(fields: Value) -> Rc<Provider> {
    let key = Key::cached(Alg::ES256, "k");
    let mut provider = json!({ "local_jwks": { "inline": jwks([&key]) } });
    provider.as_object_mut().expect("an object").extend(fields.as_object().expect("an object").clone());
    let config = json!({ "providers": { "p": provider }, "rules": [] }).to_string();
    Config::parse(config.as_bytes(), &|_| None).expect("a sound configuration").providers.remove(0)
}

thread_local! {
    /// Asks for nothing that can be left out.
    static LENIENT: Rc<Provider> = provider(json!({ "require_expiration": false, "sender_constrained": "ignore" }));
}

fn verify(token: &[u8], set: &KeySet) -> Result<Verified, Reason> {
    let provider = LENIENT.with(Rc::clone);
    let policy = &provider.policy;
    let token = Unverified::parse(token, policy)?;
    let kid = token.header().kid.clone();
    let algorithm = token.header().algorithm;
    let signed = token.verify(&Backend::portable(), set.candidates(kid.as_deref(), algorithm))?;
    Ok(signed.read(policy, &[], Timestamp::from_secs(NOW))?)
}

/// Fewer cases of what is dear.
fn cases(cases: u32) -> ProptestConfig {
    let wanted = ProptestConfig { failure_persistence: None, ..ProptestConfig::default() };
    let asked = std::env::var_os("PROPTEST_CASES").is_some();
    if asked { wanted } else { ProptestConfig { cases, ..wanted } }
}

/// Any JSON value, as the harness's library has it.
fn any_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        any::<String>().prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 24, 5, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            prop::collection::btree_map(any::<String>(), inner, 0..5)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

/// Any JSON value, as the filter has it.
fn any_json() -> impl Strategy<Value = Json> {
    let leaf = prop_oneof![
        Just(Json::Null),
        any::<bool>().prop_map(Json::Bool),
        any::<u64>().prop_map(|number| Json::Number(Number::Unsigned(number))),
        (i64::MIN..0).prop_map(|number| Json::Number(Number::Negative(number))),
        any::<String>().prop_map(|text| Json::String(text.into())),
    ];
    leaf.prop_recursive(5, 40, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Json::Array),
            prop::collection::btree_map(any::<String>(), inner, 0..6).prop_map(|members| Json::Object(
                Object::new(members.into_iter().collect()).expect("once each")
            )),
        ]
    })
}

proptest! {
    #![proptest_config(cases(300))]

    #[test]
    fn what_an_independent_library_signs_is_verified(
        alg in select(&Alg::ALL[..]),
        claims in prop::collection::btree_map("[a-z]{2}[^\u{0}]{0,8}|", any_value(), 0..6),
        typ in any::<Option<String>>(),
    ) {
        let key = Key::cached(alg, "k");
        let claims = Value::Object(claims.into_iter().filter(|(name, _)| name != "scope").collect());
        let mut header = json!({ "alg": alg.name(), "kid": "k", "jku": "https://evil.example/" });
        if let Some(typ) = typ {
            header["typ"] = json!(typ);
        }
        let token = key.sign_jws(&header, claims.to_string().as_bytes());
        let verified = verify(token.as_bytes(), &set_of(&key));
        prop_assert!(verified.is_ok(), "{:?}", verified);
        let verified = verified.expect("checked above");
        prop_assert_eq!(verified.payload(), b64(claims.to_string()));
        prop_assert_eq!(verified.claims().all().len(), claims.as_object().map_or(0, |members| members.len()));
        // The same key under another name, another key under the same name: no.
        prop_assert!(verify(token.as_bytes(), &set_of(&key.with_kid("other"))).is_err());
        prop_assert!(verify(token.as_bytes(), &set_of(&Key::cached(alg, "stranger").with_kid("k"))).is_err());
    }

    #[test]
    fn a_token_with_one_change_is_refused(
        alg in select(&Alg::ALL[..]),
        at in any::<prop::sample::Index>(),
        change in 0..4,
        byte in any::<u8>(),
    ) {
        let key = Key::cached(alg, "k");
        let token = key.sign_jws(&json!({ "alg": alg.name(), "kid": "k" }), b"{\"sub\":\"alice\"}");
        let mut changed = token.clone().into_bytes();
        let at = at.index(changed.len());
        match change {
            0 => changed[at] ^= 1 << (byte % 8),
            1 => changed[at] = byte,
            2 => changed.insert(at, byte),
            _ => drop(changed.remove(at)),
        }
        prop_assume!(changed != token.as_bytes());
        let verified = verify(&changed, &set_of(&key));
        prop_assert!(verified.is_err(), "{}", String::from_utf8_lossy(&changed));
    }
}

#[test]
fn a_token_with_any_one_bit_flipped_is_refused() {
    for alg in [Alg::HS256, Alg::EdDSA, Alg::ES256, Alg::RS256] {
        let key = Key::cached(alg, "k");
        let set = set_of(&key);
        let token = key.sign_jws(&json!({ "alg": alg.name(), "kid": "k" }), b"{\"sub\":\"alice\"}");
        assert!(verify(token.as_bytes(), &set).is_ok());
        let mut token = token.into_bytes();
        for at in 0..token.len() {
            for bit in 0..8 {
                token[at] ^= 1 << bit;
                assert!(verify(&token, &set).is_err(), "{alg}, bit {bit} of byte {at}");
                token[at] ^= 1 << bit;
            }
        }
    }
}

/// The payload that a text in its place says, if it is one.
fn payload(text: &[u8]) -> Option<Vec<u8>> {
    let token = [b64("{\"alg\":\"HS256\"}").as_bytes(), b".", text, b".AAAA"].concat();
    Jws::parse(&token).ok()?.payload().ok()
}

proptest! {
    #![proptest_config(cases(4000))]

    #[test]
    fn bytes_have_one_text(
        text in prop::collection::vec(select(&b"ABCDQRSTZabcghijklmnopwxyz0189-_-_=+/ \n\r\t%\0\xc3"[..]), 0..10),
    ) {
        if let Some(bytes) = payload(&text) {
            let usual = b64(bytes).into_bytes();
            prop_assert_eq!(usual, text);
        }
    }

    #[test]
    fn every_text_that_a_library_writes_is_read(bytes in prop::collection::vec(any::<u8>(), 1..80)) {
        prop_assert_eq!(payload(b64(&bytes).as_bytes()), Some(bytes));
    }
}

#[test]
fn no_two_short_texts_say_the_same_bytes() {
    const LETTERS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut said = BTreeSet::new();
    let all: Vec<u8> = (0..=255).collect();
    for first in LETTERS {
        for second in &all {
            said.extend(payload(&[*first, *second]).map(|bytes| (bytes, 2)));
            said.extend(payload(&[b'Q', *first, *second]).map(|bytes| (bytes, 3)));
        }
    }
    // One byte in two letters, 256 of them; two bytes in three letters, of which the first is given.
    assert_eq!(said.iter().filter(|(bytes, length)| bytes.len() == 1 && *length == 2).count(), 256);
    assert_eq!(said.len(), 256 + 64 * 16);
}

// --- paths ---

fn unescaped(text: &[u8], at: usize) -> Option<u8> {
    hex_pair(text, at + 1)
}

fn hex_pair(text: &[u8], at: usize) -> Option<u8> {
    let digits = text.get(at..at + 2).filter(|pair| pair.iter().all(u8::is_ascii_hexdigit))?;
    u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
}

fn any_target() -> impl Strategy<Value = Vec<u8>> {
    const PIECES: &[&[u8]] = &[
        b"/",
        b"/",
        b"/",
        b"/a",
        b"/b.c",
        b"/..",
        b"/.",
        b"a",
        b"A",
        b"7",
        b".",
        b"..",
        b"~",
        b";",
        b";x=1",
        b"%61",
        b"%41",
        b"%2e",
        b"%2E",
        b"%2f",
        b"%5c",
        b"%3b",
        b"%3B",
        b"%25",
        b"%252e",
        b"%2525",
        b"2e",
        b"2F",
        b"%",
        b"%4",
        b"%g1",
        b"%20",
        b"%c3%a9",
        b"%C3",
        b"%A9",
        b"%00",
        b"%7f",
        b"%3f",
        b"%23",
        b"?",
        b"?x=/../",
        b"#",
        b"\\",
        b" ",
        b"\t",
        b"\xc3\xa9",
        b"\xff",
        b":",
        b"@",
        b"!$&'()*+,=",
        b"|",
        b"\"",
        b"%7C",
        b"%e2%82%ac",
        b"%ed%a0%80",
        b"%c0%af",
        b"http://h",
    ];
    let pieces = prop::collection::vec(select(PIECES), 0..9).prop_map(|pieces| pieces.concat());
    let rooted = pieces.prop_map(|path| [b"/", &path[..]].concat());
    prop_oneof![8 => rooted, 1 => prop::collection::vec(any::<u8>(), 0..12)]
}

proptest! {
    #![proptest_config(cases(20_000))]

    #[test]
    fn a_rule_has_one_form(path in any_target()) {
        let path = String::from_utf8_lossy(&path);
        let Ok(form) = canonical(&path) else { return Ok(()) };
        let again = canonical(&form);
        prop_assert_eq!(again.as_deref(), Ok(&*form));
        prop_assert!(form.starts_with('/') && !form.contains("//") && form.is_ascii());
        let lower = form.to_ascii_lowercase();
        for never in ["%2f", "%5c", "%2e", "%00", "%252f", "%255c", "%252e", "\\", "#", " "] {
            prop_assert!(!lower.contains(never), "{form} has {never}");
        }
    }

    #[test]
    fn the_readings_of_a_path_are_all_that_the_steps_come_to(target in any_target()) {
        let readings = PathReadings::of(&target, true);
        if readings.kind() == PathKind::Excessive {
            return Ok(());
        }
        let mut found = BTreeSet::new();
        for reading in readings.iter() {
            let last = if reading.is_stable() { 2 } else { reading.decoded };
            let bytes = match reading.decoded {
                0 => reading.text.as_bytes().to_vec(),
                _ => decoded_once(reading.text.as_bytes()),
            };
            found.extend((reading.decoded..=last).map(|level| (level, bytes.clone())));
        }
        let path = target.split(|byte| *byte == b'?').next().unwrap_or_default();
        let path = String::from_utf8_lossy(path);
        prop_assert_eq!(found, all_readings(path.as_bytes()), "{}", path);
        // What is clear hides nothing in any of them.
        if readings.kind() == PathKind::Clear {
            for reading in readings.iter() {
                prop_assert!(!reading.text.contains("//") && !reading.text.contains('\\'), "{}", path);
                prop_assert!(reading.text.split('/').all(|segment| segment != "." && segment != ".."), "{}", path);
            }
        }
    }
}

/// What a path may be taken for, a second time: over bytes, each with how often they were decoded.
fn all_readings(path: &[u8]) -> BTreeSet<(usize, Vec<u8>)> {
    let mut sent = path.to_vec();
    for at in 0..sent.len() {
        if sent[at] == b'%' && unescaped(&sent, at).is_some() {
            sent[at + 1..at + 3].make_ascii_uppercase();
        }
    }
    let mut all = BTreeSet::from([(0, sent)]);
    loop {
        let mut more = all.clone();
        for (level, bytes) in &all {
            if *level == 0 {
                more.insert((0, with_unreserved(bytes)));
                more.insert((0, decoded_where(bytes, |byte| b"/\\".contains(&byte))));
            }
            if *level < 2 {
                more.insert((level + 1, decoded_once(bytes)));
            }
            let segments: Vec<&[u8]> = bytes.split(|byte| *byte == b'/').collect();
            let cut: Vec<&[u8]> =
                segments.iter().map(|segment| segment.split(|byte| *byte == b';').next().unwrap()).collect();
            more.insert((*level, cut.join(&b'/')));
            more.insert((
                *level,
                bytes.iter().map(|byte| if *byte == b'\\' { b'/' } else { *byte }).collect(),
            ));
            let mut merged = bytes.clone();
            merged.dedup_by(|one, other| *one == b'/' && *other == b'/');
            more.insert((*level, merged));
            let bare: Vec<Vec<u8>> =
                segments.iter().map(|segment| decoded_where(segment, |byte| byte == b'.')).collect();
            if bare.iter().skip(1).any(|segment| matches!(&segment[..], b"." | b"..")) {
                let resolved: Vec<&[u8]> = segments
                    .iter()
                    .zip(&bare)
                    .map(|(segment, bare)| if matches!(&bare[..], b"." | b"..") { bare } else { *segment })
                    .collect();
                more.insert((*level, without_dots(&resolved[1..], true)));
            }
            if segments.iter().skip(1).any(|segment| matches!(*segment, b"." | b"..")) {
                more.extend([true, false].map(|slash| (*level, without_dots(&segments[1..], slash))));
            }
        }
        if more.len() == all.len() {
            return all;
        }
        all = more;
    }
}

fn without_dots(segments: &[&[u8]], slash: bool) -> Vec<u8> {
    let mut kept: Vec<&[u8]> = Vec::new();
    for segment in segments {
        match *segment {
            b"." => {}
            b".." => drop(kept.pop()),
            name => kept.push(name),
        }
    }
    let dots = matches!(segments.last(), Some(&(b"." | b"..")));
    if dots && (slash || kept.is_empty()) {
        kept.push(b"");
    }
    kept.iter().flat_map(|segment| [b"/", *segment].concat()).collect()
}

fn decoded_once(text: &[u8]) -> Vec<u8> {
    decoded_where(text, |_| true)
}

fn with_unreserved(text: &[u8]) -> Vec<u8> {
    decoded_where(text, |byte| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte))
}

fn decoded_where(text: &[u8], which: impl Fn(u8) -> bool) -> Vec<u8> {
    let mut out = Vec::new();
    let mut at = 0;
    while at < text.len() {
        let value = if text[at] == b'%' { unescaped(text, at).filter(|value| which(*value)) } else { None };
        out.push(value.unwrap_or(text[at]));
        at += if value.is_some() { 3 } else { 1 };
    }
    out
}

// --- the index of rules ---

/// Rules whose conditions meet, contain and cut each other.
fn any_rules() -> impl Strategy<Value = Value> {
    let path = prop::collection::vec(
        select(&["a", "b", "ab", "A", "a.b", "%20", "{x}", "*", "abc", "a-", "{y}"][..]),
        0..4,
    );
    let kind = select(
        &["prefix", "path", "path_separated_prefix", "path_template", "rest", "safe_regex", "uri", "cut"][..],
    );
    let host = select(&["", "", "", "h.example", "*.example", "*.a.example", "i.example"][..]);
    let header = select(&["", "", "", "1", "2", "!1", "1*"][..]);
    let method = select(&["", "", "GET", "POST"][..]);
    let policy = select(&["", "", "", "", "normalize", "match_raw", "reject"][..]);
    let rule = (kind, path, any::<bool>(), host, header, method, policy, 0..6);
    let rule = rule.prop_map(|(kind, segments, slash, host, header, method, policy, case)| {
        let literal = |text: &&str| !text.contains(['{', '*']);
        let plain: Vec<&str> = segments.iter().copied().filter(literal).collect();
        let end = if slash { "/" } else { "" };
        let text = format!("/{}{end}", plain.join("/")).replace("//", "/");
        // Each name once.
        let mut places: Vec<&str> = Vec::new();
        for segment in segments {
            let again = segment.starts_with('{') && places.contains(&segment);
            places.push(if again { "*" } else { segment });
        }
        let places = places.join("/");
        let mut conditions = match kind {
            "prefix" => json!({ "prefix": text }),
            "cut" => json!({ "prefix": text.strip_suffix(['b', '/']).filter(|text| !text.is_empty()).unwrap_or("/") }),
            "path" => json!({ "path": text }),
            "path_separated_prefix" => match text.trim_end_matches('/') {
                "" => json!({ "prefix": "/" }),
                text => json!({ "path_separated_prefix": text }),
            },
            "path_template" => json!({ "path_template": format!("/{places}") }),
            "rest" if places.is_empty() => json!({ "path_template": "/**" }),
            "rest" => json!({ "path_template": format!("/{places}/**") }),
            "safe_regex" if slash => json!({ "safe_regex": { "regex": format!("{}(/.*)?", text.replace('.', "\\.")) } }),
            "safe_regex" => json!({ "safe_regex": { "regex": format!("{text}?|/ab") } }),
            _ => json!({ "path_match_policy": { "name": "t", "typed_config": {
                "@type": "type.googleapis.com/envoy.extensions.path.match.uri_template.v3.UriTemplateMatchConfig",
                "path_template": format!("/{}", if places.is_empty() { "**" } else { &places }),
            } } }),
        };
        if case == 0 {
            conditions["case_sensitive"] = json!(false);
        }
        if !host.is_empty() {
            conditions["hosts"] = json!([host, "j.example"]);
        }
        match header {
            "" => {}
            "!1" => conditions["headers"] = json!([{ "name": "x-a", "exact_match": "1", "invert_match": true }]),
            "1*" => conditions["headers"] = json!([{ "name": "x-a", "prefix_match": "1" }, { "name": "host", "exact_match": "h.example" }]),
            value => conditions["headers"] = json!([{ "name": "x-a", "exact_match": value }]),
        }
        if !method.is_empty() {
            conditions["methods"] = json!([method]);
        }
        let mut rule = json!({ "match": conditions });
        if !policy.is_empty() {
            rule["ambiguous_paths"] = json!(policy);
        }
        rule
    });
    prop::collection::vec(rule, 0..24).prop_map(Value::from)
}

fn any_rule_target() -> impl Strategy<Value = Vec<u8>> {
    let pieces = prop::collection::vec(
        select(
            &[
                "/a", "/b", "/ab", "/A", "/a.b", "/%20", "/abc", "/", "b", "/x", "/a-", "/%61", "/a:b",
                "/a%3Ab", "/%2525", ";x", "?q",
            ][..],
        ),
        1..5,
    );
    let clear = pieces.prop_map(|pieces| format!("/{}", pieces.concat()).replace("//", "/").into_bytes());
    prop_oneof![4 => clear, 1 => any_target()]
}

/// The first rule that may match, found by trying one after the other, and whether it is sure.
fn first_by_trying(config: &Config, otherwise: &str, request: &Request<'_>) -> String {
    let policy = |rule: &Rule| match rule.ambiguous_paths {
        Some(AmbiguousPaths::Reject) => "reject",
        Some(AmbiguousPaths::Normalize) => "normalize",
        Some(AmbiguousPaths::MatchRaw) => "match_raw",
        None => otherwise,
    };
    let target = request.target().expect("a target");
    let view = RequestView::new(request, PathReadings::of(target, true));
    let as_sent = RequestView::new(request, PathReadings::as_sent(target));
    let kind = view.path().kind();
    let takes = |policy: &str| match policy {
        "reject" => kind == PathKind::Clear,
        "normalize" => matches!(kind, PathKind::Clear | PathKind::Suspicious),
        _ => true,
    };
    let all = |one: &str| config.rules.iter().map(policy).chain([otherwise]).all(|policy| policy == one);
    // Where everything is compared as it came, no other reading is looked for.
    if (kind == PathKind::Excessive && !all("match_raw")) || (kind != PathKind::Clear && all("reject")) {
        return "400".to_owned();
    }
    for rule in config.rules.iter() {
        let policy = policy(rule);
        match rule.matches.held(if policy == "match_raw" { &as_sent } else { &view }) {
            Held::Never => {}
            Held::Always if takes(policy) => return rule.name.clone(),
            Held::Always | Held::Depends => return format!("400 {}", rule.name),
        }
    }
    if takes(otherwise) { "nothing".to_owned() } else { "400".to_owned() }
}

proptest! {
    #![proptest_config(cases(3_000))]

    #[test]
    fn the_index_finds_what_trying_every_rule_finds(
        rules in any_rules(),
        otherwise in select(&["reject", "normalize", "match_raw"][..]),
        targets in prop::collection::vec(any_rule_target(), 1..8),
        method in select(&["GET", "POST"][..]),
        host in select(&["h.example", "x.a.example", "i.example", "none", "h.example:80", "x.a.example."][..]),
        header in select(&[None, Some("1"), Some("2"), Some("12"), Some("")][..]),
    ) {
        let text = json!({ "providers": {}, "rules": rules, "ambiguous_paths": otherwise }).to_string();
        let config = Config::parse(text.as_bytes(), &|_| None);
        let config = config.unwrap_or_else(|problems| panic!("{rules}: {problems:?}"));
        for target in &targets {
            let mut fields: Vec<(&[u8], &[u8])> =
                vec![(b":method", method.as_bytes()), (b":path", target), (b":authority", host.as_bytes())];
            fields.extend(header.map(|value| (&b"x-a"[..], value.as_bytes())));
            let request = Request::new(&fields);
            let found = match config.rules.find(&config.rules.view(&request)) {
                RuleMatch::Rule(rule) => rule.name.clone(),
                RuleMatch::Ambiguous(_, Some(rule)) => format!("400 {}", rule.name),
                RuleMatch::Ambiguous(_, None) => "400".to_owned(),
                RuleMatch::Nothing => "nothing".to_owned(),
            };
            prop_assert_eq!(&found, &first_by_trying(&config, otherwise, &request), "{} of {}", String::from_utf8_lossy(target), rules);
        }
    }
}

// --- JSON and claims ---

proptest! {
    #![proptest_config(cases(2000))]

    #[test]
    fn json_is_read_as_it_was_written(value in any_json()) {
        let text = value.to_string();
        prop_assert_eq!(portcullis::parse_json(text.as_bytes()), Ok(value.clone()));
        // And another library reads the same.
        let other: Value = serde_json::from_str(&text).expect("JSON");
        prop_assert_eq!(portcullis::parse_json(other.to_string().as_bytes()).expect("JSON").to_string().len(), text.len());
    }

    /// A double as it is written comes back to 14 digits; serde_json's quick reader of numbers gives no more.
    #[test]
    fn a_fraction_comes_back(number in any::<f64>().prop_filter("finite", |number| number.is_finite())) {
        let read = portcullis::parse_json(Json::Number(Number::Float(number)).to_string().as_bytes());
        let Ok(Json::Number(Number::Float(back))) = read else {
            return Err(TestCaseError::fail(format!("{number:e} became {read:?}")));
        };
        let close = (number - back).abs() <= number.abs() * 1e-14 + f64::MIN_POSITIVE;
        prop_assert!(close, "{number:e} became {back:e}");
    }

    /// Where a date or an amount is written with at most 15 digits, nothing is lost.
    #[test]
    fn a_short_fraction_comes_back_whole(digits in 0u64..1_000_000_000_000_000, point in 1usize..12) {
        let digits = format!("{digits:013}");
        let (whole, fraction) = digits.split_at(digits.len() - point);
        let whole = whole.trim_start_matches('0');
        let text = format!("{}{whole}.{fraction}", if whole.is_empty() { "0" } else { "" });
        let expected: f64 = text.parse().expect("a number");
        prop_assert_eq!(portcullis::parse_json(text.as_bytes()), Ok(Json::Number(Number::Float(expected))));
    }

    #[test]
    fn any_text_is_json_for_both_readers_or_for_neither_but_where_the_filter_is_stricter(text in "[\\[\\]{}\",:0-9.eE+\\-tfn\\\\u a]{0,12}") {
        let ours = portcullis::parse_json(text.as_bytes());
        let theirs: Result<Value, _> = serde_json::from_str(&text);
        prop_assert!(ours.is_err() || theirs.is_ok());
        if let (Err(error), Ok(_)) = (ours, theirs) {
            prop_assert!(error.to_string().contains("twice"), "{error}");
        }
    }

    #[test]
    fn a_registered_claim_of_a_wrong_type_is_never_accepted(
        name in select(&["iss", "sub", "jti", "aud", "exp", "nbf", "iat", "scope"][..]),
        value in any_value(),
        others in prop::collection::btree_map("[a-z]{4}", any_value(), 0..4),
    ) {
        let right = match (name, &value) {
            ("iss" | "sub" | "jti", value) => value.is_string(),
            ("aud" | "scope", Value::Array(items)) => items.iter().all(Value::is_string),
            ("scope", Value::Null) => true,
            ("aud" | "scope", value) => value.is_string(),
            (_, Value::Number(number)) => {
                number.as_f64().is_some_and(|n| (0.0..9_223_372_036_854_775_808.0).contains(&n)) && number.as_u64().is_none_or(|n| n < 1 << 63)
            }
            _ => false,
        };
        let mut claims: serde_json::Map<String, Value> = others.into_iter().collect();
        claims.insert(name.to_owned(), value);
        let claims = portcullis::parse_json(Value::Object(claims).to_string().as_bytes()).expect("JSON");
        let Json::Object(claims) = claims else { return Err(TestCaseError::fail("no object")) };
        prop_assert_eq!(Claims::new(claims, &grants()).is_ok(), right);
    }
}

/// A claims set of names and values that matter to a policy.
fn claims_that_matter() -> impl Strategy<Value = Value> {
    let name = select(
        &[
            "iss",
            "sub",
            "aud",
            "exp",
            "nbf",
            "iat",
            "jti",
            "cnf",
            "tid",
            "azp",
            "realm",
            "realm.roles",
            "scope",
            "x",
        ][..],
    );
    let word = select(
        &["https://i/", "https://i/t1/", "orders", "https://orders/", "t1", "t2", "", "é\n\"", "a"][..],
    );
    let date = prop_oneof![Just(NOW + 100), Just(NOW - 100), Just(NOW - 10_000), any::<u64>()];
    let value = prop_oneof![
        4 => word.clone().prop_map(Value::from),
        3 => prop::collection::vec(word.clone(), 0..4).prop_map(Value::from),
        3 => date.prop_map(Value::from),
        1 => word.prop_map(|word| json!({ "roles": [word, 1], "orders": null })),
        1 => any_value(),
    ];
    let more = prop::collection::btree_map(name, value, 0..6);
    (any::<bool>(), more).prop_map(|(usual, more)| {
        let mut claims = json!({});
        if usual {
            claims = json!({ "iss": "https://i/", "sub": "a", "aud": ["x", "orders"], "exp": NOW + 100, "tid": "t1" });
        }
        for (name, value) in more {
            claims[name] = value;
        }
        claims
    })
}

/// The same text in another spelling: blanks, and escapes of letters.
fn spelled(claims: &Value, spelling: u8) -> String {
    let pretty = || serde_json::to_string_pretty(claims).expect("JSON");
    let text = if spelling & 1 == 1 { pretty() } else { claims.to_string() };
    if spelling & 2 == 0 {
        return text;
    }
    let (mut out, mut inside, mut escaped) = (String::new(), false, false);
    for letter in text.chars() {
        inside ^= letter == '"' && !escaped;
        escaped = letter == '\\' && !escaped;
        match letter {
            'o' | 's' if inside && !out.ends_with('\\') => {
                out.push_str(&format!("\\u{:04x}", u32::from(letter)))
            }
            other => out.push(other),
        }
    }
    out
}

proptest! {
    #![proptest_config(cases(4000))]

    /// A token is looked at twice: in a hurry before its signature holds, and with care after. Whatever would be
    /// accepted with care is not refused in haste, and what both refuse they refuse for one reason, but for what is
    /// left to the second look.
    #[test]
    fn a_first_look_refuses_nothing_that_the_second_would_accept(
        claims in claims_that_matter(),
        spelling in 0u8..4,
        fields in select(vec![
            json!({}),
            json!({ "require_expiration": false, "sender_constrained": "ignore" }),
            json!({ "issuer": "https://i/", "audiences": ["orders"] }),
            json!({ "issuer": "https://i/{tid}/", "issuer_claims": { "tid": ["t1"] }, "audiences": ["orders", "x"] }),
            json!({ "audiences": ["http://orders", "y"], "audience_match": "normalized", "audience_claims": ["azp", "aud"] }),
            json!({ "audiences": ["orders"], "audience_claims": ["/realm/roles/0", "realm.roles"] }),
            json!({ "required_claims": ["sub", "realm.roles", "/aud/0", "tid"], "require_expiration": false }),
            json!({ "subjects": { "safe_regex": { "regex": "a|b" } }, "max_lifetime": "200s", "max_age": "50s" }),
            json!({ "subjects": { "exact": "a" } }),
        ]),
    ) {
        let policy = provider(fields).policy.clone();
        let key = Key::cached(Alg::ES256, "k");
        let token = key.sign_parts(br#"{"alg":"ES256","kid":"k"}"#, spelled(&claims, spelling).as_bytes());
        let now = Timestamp::from_secs(NOW);
        let first = Unverified::parse(token.as_bytes(), &policy)
            .and_then(|token| policy.check(&token, &policy.audiences, now).map(|()| token));
        let parsed = portcullis::parse_json(claims.to_string().as_bytes()).expect("JSON");
        let Json::Object(parsed) = parsed else { return Err(TestCaseError::fail("no object")) };
        let second = Claims::new(parsed, &policy.grants)
            .and_then(|claims| policy.check_claims(&claims, &policy.audiences, now));
        match (&first, &second) {
            (Ok(_), _) => {}
            (Err(first), Err(second)) => {
                let later = [
                    Reason::ClaimInvalid,
                    Reason::SubjectMismatch,
                    Reason::ClaimMissing,
                    Reason::AudienceMismatch,
                ];
                let (first, second) = (first.reason, second.reason);
                prop_assert!(first == second || later.contains(&second), "{first:?} and {second:?}");
            }
            (Err(first), Ok(())) => prop_assert!(false, "{first:?} for {claims}"),
        }
        if let Ok(token) = first {
            let signed = token.verify(&Backend::portable(), set_of(&key).keys().iter()).expect("it is signed");
            prop_assert_eq!(signed.read(&policy, &policy.audiences, now).map(drop), second);
        }
    }
}

// --- the cache of verdicts ---

fn gate(keys: &str, cached: usize) -> Gate {
    let text = format!(
        r#"{{"providers":{{"p":{{"issuer":"i","audiences":["a"],"max_lifetime":"900s","max_age":"800s",{keys},
        "jwt_cache_config":{{"jwt_cache_size":{cached}}},"claim_to_headers":[{{"header_name":"x-sub","claim_name":"sub"}}]}}}},
        "rules":[{{"match":{{"prefix":"/"}},"requires":{{"provider_name":"p"}},"authorize":{{"scopes":{{"all_of":["s"]}}}}}}]}}"#
    );
    Gate::new(
        Config::parse(text.as_bytes(), &|_| None).expect("a configuration"),
        Environment::alone(7),
        Timestamp::from_secs(NOW),
    )
}

fn ask(gate: &mut Gate, token: &str, now: Timestamp) -> String {
    let value = format!("Bearer {token}");
    let fields: [(&[u8], &[u8]); 3] =
        [(b":method", b"GET"), (b":path", b"/"), (b"authorization", value.as_bytes())];
    format!("{:?}", gate.decide(StreamId(1), &Request::new(&fields), now))
}

/// Tokens of several keys that are good at different times, or never.
fn tokens() -> Vec<String> {
    let mut tokens = Vec::new();
    for (at, kid) in [(0u64, "k1"), (1, "k2"), (2, "k3")] {
        let key = Key::cached(Alg::EdDSA, kid);
        for (exp, nbf, iat, scope) in
            [(300, 0, 0, "s"), (100, 50, 0, "s"), (1000, 0, 100, "s"), (600, 500, 0, "x"), (300, 0, 0, "s t")]
        {
            let (exp, nbf, iat) = (NOW + exp + at, NOW + nbf, NOW + iat);
            let claims = json!({"iss":"i","aud":"a","sub":format!("{kid}-{exp}"),"exp":exp,"nbf":nbf,"iat":iat,"scope":scope});
            tokens.push(key.sign_jws(&json!({"alg":"EdDSA","kid":kid}), claims.to_string().as_bytes()));
        }
    }
    let bent = tokens[0].clone();
    tokens.push(harness::idp::flip_bit(&bent));
    tokens
}

proptest! {
    #![proptest_config(cases(60))]

    #[test]
    fn a_cached_verdict_is_a_fresh_one(
        size in 1usize..6,
        asked in prop::collection::vec((any::<prop::sample::Index>(), -200i64..1200), 1..60),
    ) {
        let set = jwks([Key::cached(Alg::EdDSA, "k1"), Key::cached(Alg::EdDSA, "k2"), Key::cached(Alg::EdDSA, "k3")].iter());
        let keys = format!("\"local_jwks\":{{\"inline\":{set}}}");
        let (mut with, mut without) = (gate(&keys, size), gate(&keys, 0));
        let tokens = tokens();
        for (token, at) in asked {
            let token = token.get(&tokens);
            let now = Timestamp::from_secs(NOW.saturating_add_signed(at));
            prop_assert_eq!(ask(&mut with, token, now), ask(&mut without, token, now));
        }
    }

    #[test]
    fn a_cached_verdict_goes_with_its_key(
        size in 1usize..20,
        steps in prop::collection::vec((any::<prop::sample::Index>(), 0u64..40, any::<Option<u8>>()), 1..60),
    ) {
        let keys = r#""remote_jwks":{"http_uri":{"uri":"https://idp/k","cluster":"c","timeout":"5s"},"cache_duration":"60s","stale_if_error":"30s"}"#;
        let mut gates = [gate(keys, size), gate(keys, 0)];
        let tokens = tokens();
        let mut now = NOW;
        let all = ["k1", "k2", "k3"].map(|kid| Key::cached(Alg::EdDSA, kid));
        // Which keys are published; what is fetched otherwise is no key set.
        let mut published = 0b111;
        for (token, later, publish) in steps {
            now += later;
            published = publish.unwrap_or(published);
            let kept = all.iter().enumerate().filter(|(at, _)| published & (1 << at) != 0).map(|(_, key)| key);
            let body = if published & 8 == 0 { jwks(kept).to_string() } else { "no".to_owned() };
            let now = Timestamp::from_secs(now);
            let mut said = Vec::new();
            for gate in &mut gates {
                gate.tick(now);
                while let Some(effect) = gate.next_effect() {
                    if let Effect::Fetch { lookup, .. } = effect {
                        let body = body.clone().into_bytes();
                        gate.fetched(lookup, Ok(HttpResponse { status: 200, body, ..HttpResponse::default() }), now);
                    }
                }
                let token: &String = token.get(&tokens);
                said.push(ask(gate, token, now));
            }
            prop_assert_eq!(&said[0], &said[1]);
        }
    }
}
