//! What a list may look like.

use portcullis::{
    Config, RevocationDocument as Document, RevocationIdentity as Identity, RevocationKey as Key,
    RevocationKind as Kind, RevocationStatus, Timestamp, limits::MAX_ENTRIES,
};
use serde_json::json;

use crate::revoked::fleet::config;

/// A document, the issuer of the configuration, and how many entries it has or what the message says.
type Case = (&'static str, Option<&'static str>, Result<usize, &'static str>);

const DOCUMENTS: &[Case] = &[
    (r#"{"version":1,"entries":[]}"#, None, Ok(0)),
    (r#"{"version":1,"cutoffs":[]}"#, None, Ok(0)),
    (r#"{"version":1,"entries":[],"comment":"why"}"#, None, Ok(0)),
    (r#"{"version":1,"entries":[{"issuer":"i","jti":"a","until":5,"comment":"leaked"}]}"#, None, Ok(1)),
    (r#"{"version":1,"entries":[{"jti":"a","until":5}]}"#, Some("i"), Ok(1)),
    (r#"{"version":1,"entries":[{"issuer":"","jti":"a","until":5}]}"#, None, Ok(1)),
    (r#"{"version":1,"cutoffs":[{"everyone":true,"issued_before":5}]}"#, None, Ok(1)),
    (
        r#"{"version":1,"cutoffs":[{"issuer":"i","issued_before":5},{"issuer":"i","issued_before":7}]}"#,
        None,
        Ok(1),
    ),
    (r#"{"version":1,"entries":[{"jti":"a","until":5}]}"#, None, Err("entries[0] has no \"issuer\"")),
    (r#"{"version":1,"entries":[{"issuer":"i","jti":"a"}]}"#, None, Err("missing field `until`")),
    (r#"{"version":1,"entries":[{"issuer":"i","until":5}]}"#, None, Err("entries[0] needs exactly one of")),
    (
        r#"{"version":1,"entries":[{"issuer":"i","jti":"a","sub":"b","until":5}]}"#,
        None,
        Err("entries[0] needs exactly one of"),
    ),
    (
        r#"{"version":1,"entries":[{"issuer":"i","jti":"a","until":-5}]}"#,
        None,
        Err("wrong type (line 1, column 58)"),
    ),
    (r#"{"version":1,"entries":[{"issuer":"i","jti":"a","until":"5"}]}"#, None, Err("wrong type")),
    (r#"{"version":1,"entries":[{"issuer":"i","jti":7,"until":5}]}"#, None, Err("wrong type")),
    (
        r#"{"version":1,"entries":[{"issuer":"i","jit":"a","until":5}]}"#,
        None,
        Err("a field that is not known"),
    ),
    (r#"{"version":1,"entries":[],"entries":[]}"#, None, Err("there twice")),
    (r#"{"version":1,"cutoffs":[{"issued_before":5}]}"#, Some("i"), Err("cutoffs[0] names nobody")),
    (
        r#"{"version":1,"cutoffs":[{"issuer":"i","everyone":true,"issued_before":5}]}"#,
        None,
        Err("cutoffs[0] names more"),
    ),
    (
        r#"{"version":1,"cutoffs":[{"issuer":"i","sub":"a","client_id":"b","issued_before":5}]}"#,
        None,
        Err("names more"),
    ),
    (r#"{"version":1,"cutoffs":[{"everyone":false,"issued_before":5}]}"#, None, Err("names more")),
    (r#"{"version":1,"cutoffs":[{"issuer":"i","sub":"a"}]}"#, None, Err("missing field `issued_before`")),
    (r#"{"version":1,"pages":[],"entries":[]}"#, None, Err("stands beside")),
    (r#"{"version":1,"pages":[]}"#, None, Err("1, 2, 4")),
    (r#"{"version":1,"pages":["xyz"]}"#, None, Err("SHA-256")),
    (r#"{"entries":[]}"#, None, Err("missing field `version`")),
    (r#"{"version":1}"#, None, Err("an empty list is []")),
    ("[]", None, Err("not a revocation list")),
    (r#"{"version":1,"entries":[]} x"#, None, Err("not valid JSON")),
    (r#"{"version":1,"#, None, Err("ends too early")),
];

#[test]
fn a_document_is_read_whole_or_not_at_all_and_the_message_says_what_to_mend() {
    for (text, issuer, expected) in DOCUMENTS.iter().copied() {
        match (Document::parse(text.as_bytes(), issuer, MAX_ENTRIES), expected) {
            (Ok(Document::List(draft)), Ok(count)) => assert_eq!(draft.len(), count, "{text}"),
            (Err(error), Err(part)) => assert!(error.to_string().contains(part), "{text}: {error}"),
            (read, _) => panic!("{text}: {read:?}"),
        }
    }
}

/// Whether the published schema accepts a document.
fn satisfies_schema(document: serde_json::Value) -> bool {
    let path = harness::workspace().join("docs/revocation-list.schema.json");
    let schema: serde_json::Value =
        serde_json::from_slice(&std::fs::read(path).expect("the schema")).expect("JSON");
    let (mut schemas, mut compiler) = (boon::Schemas::new(), boon::Compiler::new());
    compiler.add_resource("list.json", schema).expect("a resource");
    let schema = compiler.compile("list.json", &mut schemas).expect("a schema");
    schemas.validate(&document, schema).is_ok()
}

#[test]
fn the_schema_accepts_what_the_filter_accepts() {
    let mut count = 0;
    for (text, issuer, expected) in DOCUMENTS {
        let Ok(document) = serde_json::from_str(text) else { continue };
        // What no schema sees: an issuer that the configuration lacks, a member that is there twice.
        let unseen = expected.is_err_and(|part| part.contains("has no \"issuer\"") || part.contains("twice"));
        let accepted = expected.is_ok() || unseen;
        assert_eq!(satisfies_schema(document), accepted, "{text} (issuer {issuer:?})");
        count += 1;
    }
    assert!(count > 20, "{count}");
    let pages = json!({ "version": 1, "pages": ["0".repeat(64)] });
    assert!(satisfies_schema(pages.clone()));
    assert!(Document::parse(pages.to_string().as_bytes(), None, MAX_ENTRIES).is_ok());
}

#[test]
fn a_message_repeats_nothing_of_the_document() {
    let secret = "eyJhbGciOi-secret";
    for text in [
        format!(r#"{{"version":1,"{secret}":1}}"#),
        format!(r#"{{"version":1,"entries":[{{"jti":"a","until":"{secret}"}}]}}"#),
        format!(r#"{{"version":"{secret}"}}"#),
    ] {
        let error = Document::parse(text.as_bytes(), None, MAX_ENTRIES).expect_err("it is wrong");
        assert!(!error.to_string().contains("secret"), "{error}");
    }
}

#[test]
fn a_document_of_more_entries_than_one_may_have_is_refused_with_the_way_to_a_larger_one() {
    let entries: Vec<_> =
        (0..=MAX_ENTRIES).map(|n| json!({ "issuer": "i", "jti": n.to_string(), "until": 5 })).collect();
    let whole = json!({ "version": 1, "entries": entries }).to_string();
    let error = Document::parse(whole.as_bytes(), None, MAX_ENTRIES).expect_err("one too many");
    assert!(error.to_string().contains("revlist build"), "{error}");
    let most = json!({ "version": 1, "entries": &entries[1..] }).to_string();
    assert!(Document::parse(most.as_bytes(), None, MAX_ENTRIES).is_ok());
}

#[test]
fn names_that_run_together_are_not_one_name() {
    let keys = [
        Key::new(Kind::Token, "a", "bc"),
        Key::new(Kind::Token, "ab", "c"),
        Key::new(Kind::Session, "a", "bc"),
        Key::new(Kind::Token, "", "abc"),
    ];
    for (at, key) in keys.iter().enumerate() {
        assert!(!keys[at + 1..].contains(key));
    }
}

#[test]
fn what_two_entries_say_of_a_token_holds_until_the_later_ends() {
    let text = r#"{"version":1,
        "entries":[{"issuer":"i","jti":"a","until":50},{"issuer":"i","jti":"a","until":40},{"issuer":"i","sub":"s","until":70}],
        "cutoffs":[{"issuer":"i","issued_before":10,"until":90}]}"#;
    let Ok(Document::List(draft)) = Document::parse(text.as_bytes(), None, MAX_ENTRIES) else {
        panic!("{text}")
    };
    let list = draft.finish(2, Timestamp::from_secs(0));
    let identity = |claims: serde_json::Value| {
        let Ok(portcullis::Json::Object(all)) = portcullis::parse_json(claims.to_string().as_bytes()) else {
            panic!("an object")
        };
        Identity::new(&portcullis::Claims::new(all, &portcullis::Grants::default()).expect("claims"))
    };
    let cases = [
        (json!({ "iss": "i", "jti": "a", "iat": 20 }), Some(50)),
        (json!({ "iss": "i", "jti": "a", "sub": "s", "iat": 20 }), Some(70)),
        (json!({ "iss": "i", "jti": "a", "sub": "s", "iat": 5 }), Some(90)),
        (json!({ "iss": "i", "jti": "b" }), Some(90)),
        (json!({ "iss": "i", "jti": "b", "iat": 10 }), None),
        (json!({ "iss": "j", "jti": "a", "iat": 5 }), None),
    ];
    for (claims, end) in cases {
        let standing = list.standing(&identity(claims.clone()), Timestamp::from_secs(1));
        let expected = end.map_or(RevocationStatus::Good, |end| RevocationStatus::Revoked {
            until: Some(Timestamp::from_secs(end)),
        });
        assert_eq!(standing, expected, "{claims}");
    }
}

#[test]
fn a_configuration_that_cannot_work_is_refused_with_its_path() {
    let uri = json!({ "uri": "https://l.example/list.json", "cluster": "c" });
    let status = json!({ "uri_prefix": "https://s.example/", "cluster": "c" });
    let with = |mut value: serde_json::Value, name: &str, more: serde_json::Value| {
        value[name] = more;
        value
    };
    let list = json!({ "http_uri": uri });
    let cases = [
        (json!({}), "revocation: is empty"),
        (json!({ "lists": [] }), "revocation: is empty"),
        (json!({ "lists": [{}] }), "revocation.lists[0].http_uri: is missing"),
        (
            json!({ "lists": [with(list.clone(), "poll_interval", json!("0.5s"))] }),
            "revocation.lists[0].poll_interval: must be from 1s",
        ),
        (
            json!({ "lists": [with(list.clone(), "max_staleness", json!("5s"))] }),
            "below its \"poll_interval\"",
        ),
        (
            json!({ "lists": [with(list.clone(), "on_unavailable", json!("maybe"))] }),
            "revocation.lists[0].on_unavailable: must be one of",
        ),
        (
            json!({ "lists": [with(list.clone(), "pol_interval", json!("5s"))] }),
            "did you mean \"poll_interval\"?",
        ),
        (
            json!({ "lists": [with(list.clone(), "name", json!("a")), with(list.clone(), "name", json!("a"))] }),
            "give each list its own",
        ),
        (json!({ "lists": vec![list.clone(); 9] }), "keep at most 8"),
        (
            json!({ "status_lists": [with(status.clone(), "uri_prefix", json!("https://s.example/list"))] }),
            "end with a slash",
        ),
        (
            json!({ "status_lists": [with(status.clone(), "uri_prefix", json!("s.example/"))] }),
            "must be absolute",
        ),
        (
            json!({ "status_lists": [with(status.clone(), "provider", json!("q"))] }),
            "no such provider is configured; use one of \"p\", or add it to \"providers\"",
        ),
        (json!({ "status_lists": [with(status, "max_ttl", json!("1s"))] }), "must be from 5s"),
        (json!({ "inline": { "version": 1 } }), "revocation.inline: not a revocation list"),
        (json!({ "inline": { "version": 1, "pages": ["0".repeat(64)] } }), "revocation.inline: names pages"),
        (json!({ "list": [] }), "did you mean \"lists\"?"),
    ];
    for (revocation, part) in cases {
        let text = config(revocation.clone()).to_string();
        let problems = Config::parse(text.as_bytes(), &|_| None).expect_err("it is wrong");
        let all: Vec<String> = problems.iter().map(ToString::to_string).collect();
        assert!(all.iter().any(|problem| problem.contains(part)), "{revocation}: {all:?}");
    }
}

#[test]
fn what_is_dangerous_is_warned_of() {
    let revocation = json!({
        "lists": [{ "http_uri": { "uri": "http://l.example/list.json", "cluster": "c" }, "on_unavailable": "allow" }],
        "status_lists": [{ "uri_prefix": "https://s.example/", "cluster": "c", "on_unavailable": "allow" }],
    });
    let config = Config::parse(config(revocation).to_string().as_bytes(), &|_| None).expect("it is sound");
    let warnings: Vec<String> = config.warnings.iter().map(ToString::to_string).collect();
    for part in [
        "lists[0].http_uri: is http",
        "lists[0].on_unavailable: is \"allow\"",
        "status_lists[0].on_unavailable",
        "rules[0].revocation",
    ] {
        assert!(warnings.iter().any(|warning| warning.contains(part)), "{part}: {warnings:?}");
    }
}
