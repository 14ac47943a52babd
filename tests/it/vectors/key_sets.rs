//! Key sets, each with whether it is one and how many of its keys are for us: those of `made_sets`, and the published ones of
//! `jwks_cases.jsonl` where they are at hand.

use portcullis::{
    FetchError, HttpResponse, InMemoryStore, JwkRejection, KeyFormat as Format, KeySet,
    KeySetError as SetError, KeySetOptions as Reading, Keys, OtherForm, RemoteKeySet as Source, SourceEvent,
    Timestamp,
};
use serde_json::{Value, json};

use crate::vectors::judge::{self, text};
use crate::vectors::made_sets;

/// Rows whose count can be argued: how they are read, how many keys count here, and why.
const PINNED: &[(&str, Format, usize, usize, &str)] = &[
    ("jwks/go-spiffe.jwks_missing_kid", Format::Spiffe, LIMIT, 1, WITHOUT_USE),
    ("jwks/go-spiffe.jwks_valid_1", Format::Spiffe, LIMIT, 1, WITHOUT_USE),
    ("jwks/go-spiffe.jwks_valid_2", Format::Spiffe, LIMIT, 2, WITHOUT_USE),
    ("jwks/crafted.many", Format::Auto, LIMIT, 0, "a thousand keys are more than max_keys, 500 by default"),
    ("jwks/crafted.many", Format::Auto, 1000, 1000, "max_keys may be raised"),
    (
        "jwks/crafted.kid-number",
        Format::Auto,
        LIMIT,
        0,
        "RFC 7517 section 4.5: \"the kid value is a case-sensitive string\"; a key that says it wrongly is no key",
    ),
];

const LIMIT: usize = KeySet::MAX_KEYS;
const WITHOUT_USE: &str = "the SPIFFE text asks for \"use\", and the sets of its own Go library have none: a key \
     without counts as one for tokens where it has a kid and no certificate, while one of another use, such as \
     x509-svid, never does";

/// Rows judged otherwise than they say: how many keys count here or why none does, and why ours is right.
const DIFFERS: &[(&str, Result<usize, SetError>, &str)] = &[
    (
        "jwks/josekit.test.jwks",
        Err(SetError::NoneUsable { count: 2, first: Some((0, JwkRejection::PrivateMaterial)) }),
        "both keys are private ones: RFC 7517 section 9.2, \"private and symmetric keys MUST be protected from \
         disclosure\"; who reads this set can sign with them, as crafted/jwks.private-rsa says too",
    ),
    (
        "jwks/crafted.bom",
        Ok(1),
        "RFC 8259 section 8.1: \"implementations that parse JSON texts MAY ignore the presence of a byte order mark\"; \
         servers write one, and a key set that is refused for it stops every request",
    ),
];

fn parse(text: &str, format: Format, max_keys: usize) -> Result<KeySet, SetError> {
    KeySet::parse(text.as_bytes(), Reading { format, max_keys, symmetric: true })
}

/// A source as the configuration makes it, with every limit at its default.
fn source() -> Source {
    let fields = json!({ "remote_jwks": { "http_uri": { "uri": "https://idp.example/k", "cluster": "c" } } });
    match &judge::provider(&fields).keys {
        Keys::Remote(remote) => Source::new((**remote).clone(), 1, None),
        Keys::Local(_) | Keys::None => panic!("not a remote source"),
    }
}

/// What becomes of an answer with this body, when a fetch is due: how many keys there are then, or what
/// the log says.
fn arrives(source: &mut Source, text: &str, at: u64) -> Result<usize, String> {
    let store = InMemoryStore::default();
    let now = Timestamp::from_secs(at);
    source.tick(&store, now);
    let answer = HttpResponse { status: 200, body: text.as_bytes().to_vec(), ..HttpResponse::default() };
    let news = source.answered(&store, Ok(answer), now);
    let failed = news.iter().find_map(|news| match news {
        SourceEvent::Log(log::Level::Warn, text) => Some(text.clone()),
        _ => None,
    });
    match failed {
        Some(text) => Err(text),
        None => Ok(source.keys(now).map_or(0, |set| set.keys().len())),
    }
}

#[test]
pub(crate) fn every_key_set_is_read_as_it_says() {
    let own = made_sets::rows();
    judge::settle(&own.iter().flat_map(judged).collect::<Vec<_>>());
    let used = own.iter().filter(|row| row["usable"] != 0).count();
    assert!(own.len() >= 90 && (40..60).contains(&used), "{} rows, {used} with keys", own.len());
    let Some(file) = harness::shared("vectors/jwks_cases.jsonl") else { return };
    let rows = judge::rows(&file);
    let (mut plain, mut pinned, mut differs) = (0, 0, 0);
    let mut complaints = Vec::new();
    for row in &rows {
        let (id, body) = (text(row, "id"), text(row, "text"));
        if row.get("ambiguous").is_some() {
            pinned += 1;
            let pins: Vec<_> = PINNED.iter().filter(|(own, ..)| *own == id).collect();
            if pins.is_empty() {
                complaints.push(format!("{id}: ambiguous and not pinned"));
            }
            for (_, format, max_keys, usable, why) in pins {
                let got = parse(body, *format, *max_keys);
                if got.as_ref().map_or(0, |set| set.keys().len()) != *usable {
                    complaints.push(format!("{id}: expected {usable} keys ({why}), got {got:?}"));
                }
            }
        } else if let Some((_, expected, why)) = DIFFERS.iter().find(|(own, ..)| *own == id) {
            differs += 1;
            let got = parse(body, Format::Auto, LIMIT).map(|set| set.keys().len());
            if got != *expected {
                complaints.push(format!("{id}: expected {expected:?} ({why}), got {got:?}"));
            }
        } else {
            plain += 1;
            complaints.extend(judged(row));
        }
    }
    println!(
        "jwks_cases.jsonl: {} rows; {plain} judged, {pinned} ambiguous and pinned, {differs} differ",
        rows.len()
    );
    judge::settle(&complaints);
    assert_eq!((plain, pinned, differs), (18, 5, DIFFERS.len()));
    assert_eq!(plain + pinned + differs, rows.len());
}

/// Whether a text is read as its row says, where it stands in the configuration and where it is fetched; if not, what
/// differs.
fn judged(row: &Value) -> Vec<String> {
    let (id, body) = (text(row, "id"), text(row, "text"));
    let mut complaints = Vec::new();
    let mut check = |holds: bool, complaint: String| {
        if !holds {
            complaints.push(complaint);
        }
    };
    // As it is fetched: the number of bytes counts, and a secret does not.
    let fetched = arrives(&mut source(), body, 1);
    let accept = row["accept"].as_bool();
    if fetched.as_ref().is_err_and(|text| text.contains("more than max_bytes")) {
        check(accept == Some(false), format!("{id}: expected {accept:?}, got {fetched:?}"));
        return complaints;
    }
    let usable = row["usable"].as_u64().and_then(|usable| usize::try_from(usable).ok());
    let got = parse(body, Format::Auto, LIMIT);
    // "Accepted" without a usable key is what we call NoneUsable: nothing can be verified with it,
    // and so it does not replace a set that is in use (RFC 7517 section 5 asks for no more).
    let (is_set, count) = match &got {
        Ok(set) => (true, set.keys().len()),
        Err(SetError::NoneUsable { .. }) => (true, 0),
        Err(_) => (false, 0),
    };
    check(
        accept == Some(is_set) && usable == Some(count),
        format!("{id}: expected accept {accept:?} with {usable:?} keys, got {got:?}"),
    );
    let secret = got.as_ref().is_ok_and(|set| {
        set.keys().iter().any(|key| matches!(key.key, portcullis::VerificationKey::Secret(_)))
    });
    check(
        fetched.is_ok() == (count > 0 && !secret),
        format!("{id}: {count} keys, of them secret: {secret}; fetched: {fetched:?}"),
    );
    complaints
}

/// J4: what is no key set never replaces one.
#[test]
pub(crate) fn j4_a_page_an_error_or_an_empty_set_leaves_the_keys_as_they_were() {
    const GOOD: &str = r#"{"keys":[{"kty":"EC","crv":"P-256","kid":"good","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}]}"#;
    let mut source = source();
    assert_eq!(arrives(&mut source, GOOD, 1), Ok(1));
    // Past the refresh, and then past the longest pause after a failure each time.
    let mut at = 600;
    let truncated = &GOOD[..GOOD.len() - 2];
    let jsonp = format!("callback({GOOD})");
    for text in [
        "<!DOCTYPE html><html><body>login</body></html>",
        &jsonp,
        r#"{"error":"server_error"}"#,
        r#"{"keys":[]}"#,
        r#"{"keys":{}}"#,
        r#"{"keys":[{"kty":"EC"}]}"#,
        truncated,
        "",
        "null",
    ] {
        at += 73;
        assert!(
            arrives(&mut source, text, at).is_err_and(|said| said.contains("fetching keys failed")),
            "{text}"
        );
        let now = Timestamp::from_secs(at);
        assert!(source.keys(now).is_some_and(|set| set.has_kid("good")), "{text}");
    }
}

/// J5: the bytes, the keys and the depth of a set are bounded.
#[test]
pub(crate) fn j5_a_set_is_bounded_in_bytes_keys_and_depth() {
    let mut source = source();
    let large = format!(r#"{{"keys":[],"x":"{}"}}"#, "a".repeat(262_144));
    let size = large.len();
    let said = |result: Result<usize, String>| result.expect_err("refused");
    let expected = FetchError::TooLarge { size, limit: 262_144 }.to_string();
    assert!(said(arrives(&mut source, &large, 1)).contains(&expected));
    let many = format!(r#"{{"keys":[{}]}}"#, vec!["{}"; 501].join(","));
    let too_many = FetchError::Unusable(SetError::TooMany { count: 501, limit: 500 }.to_string());
    assert!(said(arrives(&mut source, &many, 100)).contains(&too_many.to_string()));
    for (at, open, close) in [(200, "[", "]"), (300, "{\"a\":", "}")] {
        let deep = format!(r#"{{"keys":{}1{}}}"#, open.repeat(20_000), close.repeat(20_000));
        assert!(said(arrives(&mut source, &deep, at)).contains("not a key set: nested deeper"), "{open}");
    }
    assert!(source.keys(Timestamp::from_secs(1)).is_none());
}

/// A SPIFFE bundle of so many authorities for certificates, each of so many bytes, and one key for tokens.
fn bundle(authorities: usize, bytes: usize) -> String {
    let key = harness::Key::cached(harness::Alg::ES256, "svid").public_jwk();
    let mut keys: Vec<Value> = (0..authorities)
        .map(|_| json!({ "kty": "EC", "use": "x509-svid", "crv": "P-256", "x": key["x"], "y": key["y"], "x5c": ["M".repeat(bytes)] }))
        .collect();
    keys.push(json!({ "kty": "EC", "use": "jwt-svid", "kid": "svid", "crv": "P-256", "x": key["x"], "y": key["y"] }));
    json!({ "spiffe_refresh_hint": 300, "keys": keys }).to_string()
}

/// J5, of SPIFFE bundles: authorities for certificates do not count, and there is room for hundreds of them.
#[test]
pub(crate) fn j5_a_bundle_is_bounded_by_its_bytes_and_its_keys_for_tokens() {
    let fetched = |remote: Value, text: &str| {
        let mut fields = json!({ "http_uri": { "uri": "https://idp.example/k", "cluster": "c" } });
        for (name, value) in remote.as_object().expect("members") {
            fields[name] = value.clone();
        }
        match &judge::provider(&json!({ "remote_jwks": fields })).keys {
            Keys::Remote(remote) => arrives(&mut Source::new((**remote).clone(), 1, None), text, 1),
            Keys::Local(_) | Keys::None => panic!("not a remote source"),
        }
    };
    let usual = || json!({});
    let large = bundle(272, 2500);
    assert!((600_000..1 << 20).contains(&large.len()));
    let huge = bundle(500, 2500);
    assert!(huge.len() > 1 << 20);
    let jwks = format!(r#"{{"x":"{}","keys":[]}}"#, "x".repeat(600_000));
    for (remote, text, expected) in [
        (usual(), &large, Ok(1)),
        (json!({ "format": "spiffe" }), &large, Ok(1)),
        (json!({ "max_keys": 1 }), &large, Ok(1)),
        (usual(), &bundle(600, 10), Ok(1)),
        (usual(), &huge, Err("more than max_bytes (1048576)")),
        (json!({ "max_bytes": 4_000_000 }), &huge, Ok(1)),
        (json!({ "max_bytes": 500_000 }), &large, Err("more than max_bytes (500000)")),
        (json!({ "format": "jwks" }), &large, Err("more than max_bytes (262144)")),
        (usual(), &jwks, Err("more than max_bytes (262144)")),
        (
            usual(),
            &large.replace("jwt-svid", "wit-svid"),
            Err("none of the 273 keys of the SPIFFE bundle is for tokens"),
        ),
    ] {
        // A warning says that nothing binds it to its trust domain; it is used all the same.
        let got = match fetched(remote.clone(), text) {
            Err(text) if text.contains("\"prefix\": \"spiffe://NAME/\"") => Ok(1),
            got => got,
        };
        let as_expected = match (&got, expected) {
            (Ok(count), Ok(expected)) => *count == expected,
            (Err(text), Err(expected)) => text.contains(expected),
            _ => false,
        };
        assert!(as_expected, "{remote}: {got:?} for {expected:?}");
    }
}

/// What the configuration warns of: a SPIFFE provider that takes tokens of any trust domain.
#[test]
pub(crate) fn a_bundle_that_nothing_binds_to_its_trust_domain_is_warned_of() {
    let warnings = |provider: Value| {
        let config = json!({ "providers": { "p": provider }, "rules": [] }).to_string();
        let config = portcullis::Config::parse(config.as_bytes(), &|_| None).expect("a good configuration");
        let warnings = config.warnings.iter().map(ToString::to_string);
        warnings.filter(|text| text.contains("trust domain")).collect::<Vec<_>>()
    };
    let remote = json!({ "remote_jwks": { "format": "spiffe", "http_uri": { "uri": "https://idp.example/k", "cluster": "c" } } });
    let local = json!({ "local_jwks": { "inline_string": bundle(1, 10) } });
    for (binding, is_bound) in [
        (json!({}), false),
        (json!({ "issuer": "https://idp.example/" }), true),
        (json!({ "subjects": { "exact": "spiffe://example.org/web" } }), true),
        (json!({ "subjects": { "prefix": "spiffe://example.org/" } }), true),
        (json!({ "subjects": { "prefix": "spiffe://example.org/ns/" } }), true),
        (json!({ "subjects": { "prefix": "SPIFFE://example.org/", "ignore_case": true } }), true),
        (json!({ "subjects": { "prefix": "spiffe://example.org" } }), false),
        (json!({ "subjects": { "prefix": "spiffe:///" } }), false),
        (json!({ "subjects": { "prefix": "spiffe://" } }), false),
        (json!({ "subjects": { "prefix": "example.org/" } }), false),
        (json!({ "subjects": { "contains": "spiffe://example.org/" } }), false),
        (json!({ "subjects": { "suffix": "/web" } }), false),
        (json!({ "subjects": { "safe_regex": { "regex": "spiffe://example.org/.*" } } }), false),
    ] {
        for (keys, path) in
            [(&remote, "providers.p.remote_jwks"), (&local, "providers.p.local_jwks.inline_string")]
        {
            let mut provider = keys.clone();
            for (name, value) in binding.as_object().expect("members") {
                provider[name] = value.clone();
            }
            let found = warnings(provider);
            let named = matches!(&found[..], [one] if one.contains(path) && one.contains("spiffe://NAME/"));
            assert_eq!((found.is_empty(), named), (is_bound, !is_bound), "{binding}: {found:?}");
        }
    }
}

/// An answer that is encoded is none, and the log says what to do about it.
#[test]
pub(crate) fn an_answer_in_a_content_coding_is_refused_by_its_name() {
    for (field, is_coded) in [
        (None, false),
        (Some(""), false),
        (Some("identity"), false),
        (Some("Identity, identity"), false),
        (Some("gzip"), true),
        (Some("identity, br"), true),
        (Some("zstd\r\n"), true),
    ] {
        let (mut source, store, now) = (source(), InMemoryStore::default(), Timestamp::from_secs(1));
        let asked = source.tick(&store, now);
        let asks_for_identity = asked.iter().any(|event| match event {
            SourceEvent::Ask(request) => {
                request.headers.iter().any(|(name, value)| name == "accept-encoding" && value.0 == "identity")
            }
            _ => false,
        });
        assert!(asks_for_identity);
        let body = json!({ "keys": [harness::Key::cached(harness::Alg::ES256, "svid").public_jwk()] });
        let answer = HttpResponse {
            status: 200,
            body: body.to_string().into_bytes(),
            content_encoding: field.map(str::to_owned),
            ..HttpResponse::default()
        };
        let events = source.answered(&store, Ok(answer), now);
        assert_eq!(source.keys(now).is_none(), is_coded, "{field:?}");
        let named = events.iter().any(|event| match event {
            SourceEvent::Log(log::Level::Warn, text) => {
                let coding = field.unwrap_or_default().trim_end();
                text.contains(&format!("content-encoding {coding}"))
                    && text.contains("uncompressed")
                    && !text.contains('\n')
            }
            _ => false,
        });
        assert_eq!(named, is_coded, "{field:?}: {events:?}");
    }
}

/// J6 to J9: each key is judged alone; what is not for us, or dangerous, is passed over.
#[test]
pub(crate) fn j6_to_j9_one_bad_key_does_not_spoil_the_set() {
    let good = r#"{"kty":"EC","crv":"P-256","kid":"good","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}"#;
    let with = |more: &str| good.replace(r#""kid":"good""#, &format!(r#""kid":"bad",{more}"#));
    let cases: &[(&str, String, JwkRejection)] = &[
        ("J6", "1".to_owned(), JwkRejection::NotAnObject),
        ("J6", "{}".to_owned(), JwkRejection::UnknownType),
        ("J6", r#"{"kty":"AKP","alg":"ML-DSA-65","pub":"AA"}"#.to_owned(), JwkRejection::UnknownType),
        ("J6", r#"{"kty":"OKP","crv":"X25519","x":"AA"}"#.to_owned(), JwkRejection::UnknownCurve),
        ("J6", r#"{"kty":"RSA","n":"AQAB","e":1}"#.to_owned(), JwkRejection::BadMember),
        ("J6", with(r#""alg":"ES384""#), JwkRejection::OtherAlgorithm),
        ("J7", with(r#""use":"enc""#), JwkRejection::NotForSignatures),
        ("J7", with(r#""use":"Sig""#), JwkRejection::NotForSignatures),
        ("J7", with(r#""key_ops":["sign","encrypt"]"#), JwkRejection::NotForSignatures),
        ("J7", with(r#""key_ops":"verify""#), JwkRejection::NotForSignatures),
        (
            "J8",
            r#"{"kty":"oct","k":"AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8"}"#.to_owned(),
            JwkRejection::Symmetric,
        ),
        ("J9", with(r#""d":"AA""#), JwkRejection::PrivateMaterial),
    ];
    for (row, bad, expected) in cases {
        let text = format!(r#"{{"keys":[{bad},{good}]}}"#);
        let reading = Reading { format: Format::Auto, max_keys: 2, symmetric: false };
        let set =
            KeySet::parse(text.as_bytes(), reading).unwrap_or_else(|error| panic!("{row} {bad}: {error}"));
        assert_eq!(set.skipped(), [(0, *expected)], "{row} {bad}");
        assert!(set.has_kid("good") && set.keys().len() == 1, "{row} {bad}");
    }
}

/// J6 to J9, the other way round: what says nothing counts as nothing, and what can be meant in one way only is used.
#[test]
pub(crate) fn keys_are_read_as_they_are_published() {
    let key = harness::Key::cached(harness::Alg::ES256, "published").public_jwk();
    let rsa = harness::Key::cached(harness::Alg::RS256, "published").public_jwk();
    let plain = parse(&json!({ "keys": [key, rsa] }).to_string(), Format::Auto, LIMIT).expect("a key set");
    let fingerprints = |set: &KeySet| set.keys().iter().map(|key| key.fingerprint).collect::<Vec<_>>();
    for (names, is_same) in [
        (&["d", "p", "q", "dp", "dq", "qi", "oth", "k", "x5c", "x5t", "x5u", "key_ops", "use"][..], true),
        (&["kid"], false),
        (&["alg"], false),
        (&["kid", "alg", "use", "key_ops", "d"], false),
    ] {
        for nothing in [json!(null), json!(""), json!([])] {
            let mut set = json!({ "keys": [key, rsa] });
            for (at, name) in [0, 1].into_iter().flat_map(|at| names.iter().map(move |name| (at, *name))) {
                set["keys"][at][name] = nothing.clone();
            }
            let read =
                parse(&set.to_string(), Format::Auto, LIMIT).unwrap_or_else(|error| panic!("{set}: {error}"));
            assert_eq!((read.skipped(), read.keys().len()), (&[][..], 2), "{set}");
            assert_eq!(fingerprints(&read) == fingerprints(&plain), is_same, "{set}");
            for (read, name) in read.keys().iter().flat_map(|key| names.iter().map(move |name| (key, *name)))
            {
                assert!(name != "kid" || read.kid.is_none(), "{set}");
                assert!(name != "alg" || read.algorithm.is_none(), "{set}");
            }
        }
    }
    // What is there is no null.
    for something in [json!("AQAB"), json!(7), json!({}), json!(false), json!([null])] {
        for private in ["d", "p", "q", "dp", "dq", "qi", "oth"] {
            let mut set = json!({ "keys": [key, rsa] });
            set["keys"][0][private] = something.clone();
            let read = parse(&set.to_string(), Format::Auto, LIMIT).expect("one key is left");
            assert_eq!(read.skipped(), [(0, JwkRejection::PrivateMaterial)], "{set}");
        }
    }
}

/// The forms that are no key set, by what the error says of them.
#[test]
pub(crate) fn an_error_names_the_form_that_was_found_and_what_to_write() {
    let key = harness::Key::cached(harness::Alg::ES256, "published");
    let (jwk, pem) = (key.public_jwk(), key.public_pem());
    for (text, found, way) in [
        (jwk.to_string(), "a single key (a JWK), not a key set", r#"{"keys": [ … ]}"#),
        (json!([jwk]).to_string(), "a list, not a key set", r#"{"keys": [ … ]}"#),
        (json!([]).to_string(), "a list, not a key set", r#"{"keys": [ … ]}"#),
        (json!({ "keys": { "a": jwk } }).to_string(), "\"keys\" is not a list", r#"{"keys": [ … ]}"#),
        (json!({ "issuer": "x", "jwks_uri": "y" }).to_string(), "a metadata document", "\"discovery\""),
        (pem, "a PEM text", "a map from key ids"),
        ("\u{feff}\n <!DOCTYPE html>".to_owned(), "an HTML or XML page", "check the URI"),
        ("\"eyJ\"".to_owned(), "not an object", r#"{"keys": [ … ]}"#),
        ("{}".to_owned(), "no list \"keys\"", r#"{"keys": [ … ]}"#),
        (json!({ "keys": [] }).to_string(), "the key set is empty", ""),
        (
            json!({ "keys": [{ "kty": "oct", "k": "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8" }] })
                .to_string(),
            "symmetric key",
            "algorithms: [HS256]",
        ),
    ] {
        let reading = Reading { format: Format::Auto, max_keys: LIMIT, symmetric: false };
        let error = KeySet::parse(text.as_bytes(), reading).expect_err(&text).to_string();
        assert!(error.contains(found) && error.contains(way), "{text}: {error}");
        assert!(!error.contains("eyJ") && !error.contains("AAEC"), "nothing of the document: {error}");
    }
}

/// J10: whatever is no 200 is a failure; there is nothing that a redirect could lead to.
#[test]
pub(crate) fn j10_a_redirect_is_a_failure() {
    assert!(FetchError::Status(302).to_string().contains("redirects are not followed"));
}

/// J16: certificates and public keys in PEM are read where the format says so or is left to the document, and nowhere
/// else.
#[test]
pub(crate) fn j16_a_map_of_pem_texts_is_read_where_it_may_be_one() {
    let key = harness::Key::cached(harness::Alg::ES256, "kid-1");
    let map: Value = json!({ "kid-1": key.public_pem(), "other": "no PEM" });
    let text = map.to_string();
    for format in [Format::PemMap, Format::Auto] {
        let set = parse(&text, format, LIMIT).expect("a PEM map");
        assert_eq!(set.keys().len(), 1);
        assert!(set.has_kid("kid-1"));
        assert_eq!(set.skipped(), [(1, JwkRejection::BadPem)]);
    }
    for format in [Format::Jwks, Format::Spiffe] {
        assert_eq!(parse(&text, format, LIMIT).err(), Some(SetError::OtherForm(OtherForm::PemMap)));
    }
    let jwks = json!({ "keys": [key.public_jwk()] }).to_string();
    assert_eq!(parse(&jwks, Format::PemMap, LIMIT).err(), Some(SetError::OtherForm(OtherForm::KeySet)));
    // Private keys and secrets never pass for a public one.
    let private = "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n";
    assert!(parse(&json!({ "k": private }).to_string(), Format::PemMap, LIMIT).is_err());
}
