//! Work is bounded before a signature holds: what an unsigned token costs does not hang on what it says, and after the
//! signature no work grows faster than n log n.

use crate::common::allocations;
use crate::common::beside;
use crate::common::dearest;

use std::time::Duration;

use dearest::{FILLS, Genes, NOW, Random, decide, doors};
use harness::idp::b64;
use harness::wait::processor_time;
use harness::{Alg, Key};
use portcullis::{Config, Environment, Gate, Reason, Timestamp};
use serde_json::{Value, json};

/// How often a request allocates, and how many bytes in all.
fn allocated(gate: &mut Gate, fields: &[(String, String)]) -> (usize, usize) {
    // What is kept from request to request is there the second time.
    decide(gate, fields);
    let (_, times, bytes) = allocations::during(|| decide(gate, fields));
    (times, bytes)
}

#[test]
fn what_an_unsigned_token_says_allocates_nothing() {
    for door in doors() {
        let mut gate = door.gate();
        for (fill, name) in FILLS.iter().enumerate() {
            let what = format!("{}, {name}", door.name);
            let genes = Genes::plain(fill);
            let of = |gate: &mut Gate, size: usize| {
                let (token, twin) = genes.tokens(size);
                (allocated(gate, &genes.request(&token)), allocated(gate, &genes.request(&twin)), token.len())
            };
            let (small, _, _) = of(&mut gate, 1500);
            let (large, twin, length) = of(&mut gate, 64_000);
            assert!(
                large.0 <= small.0 + 16,
                "{what}: {} allocations for 1.5 KB and {} for 64 KB",
                small.0,
                large.0
            );
            // The payload's text twice, and a subject once, for each provider.
            assert!(
                large.1 <= 2 * twin.1 + 4096,
                "{what}: {} bytes, and a malformed one {}",
                large.1,
                twin.1
            );
            assert!(large.1 <= 5 * 3 * length, "{what}: {} bytes for {length}", large.1);
        }
    }
}

/// The tests are not optimized as a release is, and the machine has other things to do: so this margin is wide, and what
/// it catches is work that grows with the square of something. `make bench-micro` has the narrow one.
#[test]
fn no_unsigned_request_costs_much_more_than_a_malformed_one() {
    for door in doors() {
        let mut gate = door.gate();
        for (size, tries) in [(2000, 60), (8000, 60), (64_000, 10)] {
            let dearest = dearest::search(&mut gate, size, tries, 13);
            assert!(
                dearest.ratio() < 5.0,
                "{}, {size} B: {:?}, its twin {:?}: {}",
                door.name,
                dearest.cost,
                dearest.twin,
                dearest.genes.words()
            );
        }
    }
}

#[test]
fn the_search_makes_what_it_says() {
    let mut random = Random(1);
    let mut gate = doors().remove(0).gate();
    let mut reasons = Vec::new();
    let mut genes = Genes::plain(0);
    for _ in 0..400 {
        genes = genes.changed(&mut random);
        let size = [500, 2000, 8000][random.below(3)];
        let (token, twin) = genes.tokens(size);
        assert_eq!(token.len(), twin.len(), "{genes:?}");
        let reason = decide(&mut gate, &genes.request(&token)).expect("a refusal");
        if !reasons.contains(&reason) {
            reasons.push(reason);
        }
        assert_eq!(decide(&mut gate, &genes.request(&twin)), Some(Reason::TokenMalformed));
    }
    for reason in [Reason::KeyNotFound, Reason::IssuerUnknown, Reason::AudienceMismatch, Reason::Expired] {
        assert!(reasons.contains(&reason), "{reason:?} is not among {reasons:?}");
    }
}

/// What the requests of one client cost a worker is what all others on it wait for: the dearest unsigned token costs
/// Envoy at most half as much again as a malformed one of its length, by processor time. And good requests are served
/// beside four connections that send it; `make bench-flood` has the median of their times.
#[test]
fn four_connections_with_dear_tokens_hold_up_nobody() {
    let (envoy, good) = beside::start();
    for genes in beside::dear(40) {
        let [dear, malformed] = beside::pair(&genes);
        let mut ratios = Vec::new();
        let cheap = (0..4).any(|_| {
            let time = |bad| beside::processor_time(&envoy, bad, 500).as_secs_f64();
            let ratio = time(&dear) / time(&malformed);
            ratios.push(ratio);
            ratio <= 1.5
        });
        println!("{}: {ratios:.2?} times a malformed token's processor time", genes.words());
        assert!(cheap, "{}: {ratios:.2?} times a malformed token's processor time", genes.words());
        beside::median(envoy.addr(), &good, &dear, 50);
    }
}

/// A gate whose rule asks for so many scopes and roles, and the key that its tokens are signed with.
fn authorizing(asked: usize) -> (Gate, Key) {
    let key = Key::cached(Alg::ES256, "key").with_kid("k");
    let names = |first: &str| -> Vec<String> { (0..asked).map(|at| format!("{first}{at}")).collect() };
    let hierarchy: serde_json::Map<String, Value> =
        (0..asked).map(|at| (format!("h{at}:*"), json!([format!("i{at}")]))).collect();
    let config = json!({
        "providers": { "corp": {
            "local_jwks": { "inline": harness::idp::jwks([&key]) },
            "require_expiration": false,
            "max_token_size": 1 << 20,
            "role_claims": ["roles", { "claim": "grants", "format": "keys" }],
            "scope_hierarchy": hierarchy,
            "claim_to_headers": [{ "header_name": "x-roles", "claim_name": "roles", "list_format": "csv" }],
        } },
        "rules": [{
            "match": { "prefix": "/" },
            "requires": { "provider_name": "corp" },
            "authorize": { "scopes": { "none_of": names("no"), "any_of": ["last"] }, "roles": { "none_of": names("no") } },
        }],
    });
    let config = Config::parse(config.to_string().as_bytes(), &|_| None).expect("a sound configuration");
    (Gate::new(config, Environment::alone(1), Timestamp::from_secs(NOW)), key)
}

#[test]
fn a_signed_token_of_many_scopes_and_roles_costs_little_more_than_its_size() {
    let texts = |count: usize| -> Vec<String> { (0..count).map(|at| format!("h{at}:{at:x}")).collect() };
    type Claims = fn(Vec<String>) -> Value;
    let kinds: [(&str, Claims); 4] = [
        ("a text of scopes", |names| json!({ "scope": format!("{} last", names.join(" ")) })),
        ("a list of scopes", |mut names| {
            names.push("last".to_owned());
            json!({ "scp": names })
        }),
        ("a list of roles", |names| json!({ "scope": "last", "roles": names })),
        ("an object of roles", |names| {
            let grants: serde_json::Map<String, Value> =
                names.into_iter().map(|name| (name, json!(0))).collect();
            json!({ "scope": "last", "grants": grants })
        }),
    ];
    for (what, claims) in kinds {
        let (mut gate, key) = authorizing(200);
        let mut least = |count: usize| {
            let rounds = (0..5).map(|round| {
                // A new token each time, which no verdict is known of.
                let mut claims = claims(texts(count));
                claims["jti"] = json!(format!("{count}-{round}"));
                let token =
                    key.sign_jws(&json!({ "alg": "ES256", "kid": "k" }), claims.to_string().as_bytes());
                let request = Genes::plain(0).request(&token);
                let (refused, took) = processor_time(|| decide(&mut gate, &request));
                assert_eq!(refused, None, "{what}");
                took
            });
            rounds.min().expect("some")
        };
        let (few, many) = (least(1500), least(24_000));
        // Sixteen times as many: at most so many times as long, and a margin; with the square it were 256 times.
        let most = few * 16 * 6 + Duration::from_millis(5);
        assert!(many < most, "{what}: {few:?} for 1,500 and {many:?} for 24,000");
    }
}

#[test]
fn a_scope_or_role_claim_of_a_wrong_form_refuses_the_token_once_it_is_signed() {
    let (mut gate, key) = authorizing(1);
    let stranger = Key::cached(Alg::ES256, "stranger").with_kid("k");
    for claims in [
        json!({ "scope": 7 }),
        json!({ "scope": ["last", 7] }),
        json!({ "scp": { "last": 1 } }),
        json!({ "scp": true }),
        json!({ "scope": "last", "roles": 7 }),
        json!({ "scope": "last", "roles": ["a", null] }),
        json!({ "scope": "last", "roles": { "a": 1 } }),
        json!({ "scope": "last", "grants": ["a"] }),
        json!({ "scope": "last", "grants": "a" }),
        json!({ "scope": "last", "aud": ["a", 7] }),
    ] {
        let header = json!({ "alg": "ES256", "kid": "k" });
        let said = |gate: &mut Gate, key: &Key| {
            decide(gate, &Genes::plain(0).request(&key.sign_jws(&header, claims.to_string().as_bytes())))
        };
        assert_eq!(said(&mut gate, &key), Some(Reason::ClaimInvalid), "{claims}");
        assert_eq!(said(&mut gate, &stranger), Some(Reason::SignatureInvalid), "{claims}");
    }
}

#[test]
fn what_only_the_second_look_sees_is_refused_all_the_same() {
    let (mut gate, key) = authorizing(1);
    let header = r#"{"alg":"ES256","kid":"k"}"#;
    for (header, claims) in [
        (header, r#"{"scope":"last","x":1,"x":1}"#),
        (header, r#"{"scope":"last","x":{"y":1,"y":1}}"#),
        (header, r#"{"scope":"last","scope":"last"}"#),
        (header, r#"{"scope":"last","x":1e400}"#),
        (header, r#"{"scope":"last","\u0078":1,"x":1}"#),
        (r#"{"alg":"ES256","kid":"k","x":1,"x":1}"#, r#"{"scope":"last"}"#),
        (r#"{"alg":"ES256","kid":"k","x":{"y":1,"y":1}}"#, r#"{"scope":"last"}"#),
        (r#"{"alg":"ES256","kid":"k","x":1e400}"#, r#"{"scope":"last"}"#),
    ] {
        // Twice: what was refused is not remembered as good.
        for _ in 0..2 {
            let token = key.sign_parts(header.as_bytes(), claims.as_bytes());
            assert_eq!(
                decide(&mut gate, &Genes::plain(0).request(&token)),
                Some(Reason::TokenMalformed),
                "{claims}"
            );
        }
    }
    let token = key.sign_parts(header.as_bytes(), br#"{"scope":"last"}"#);
    assert_eq!(decide(&mut gate, &Genes::plain(0).request(&token)), None);
    let unsigned = format!("{}.{}.{}", b64(header), b64(r#"{"x":1,"x":1}"#), b64([7u8; 64]));
    assert_eq!(decide(&mut gate, &Genes::plain(0).request(&unsigned)), Some(Reason::SignatureInvalid));
}

/// The rows of the table of bounds: what is bounded, and the numbers of its second cell.
fn bounds() -> Vec<(String, Vec<usize>)> {
    let page = include_str!("../../docs/configuration/bounds.md");
    let rows =
        page.lines().filter_map(|line| line.strip_prefix("| ")).filter(|line| !line.starts_with("---"));
    let numbers = |cell: &str| -> Vec<usize> {
        let words = cell.split(|c: char| !c.is_ascii_digit() && c != ',').map(|word| word.replace(',', ""));
        words.filter_map(|word| word.parse().ok()).collect()
    };
    rows.skip(1)
        .map(|row| {
            let cells: Vec<&str> = row.split(" | ").collect();
            (cells[0].to_owned(), numbers(cells[1]))
        })
        .collect()
}

/// Whether a configuration with these rules and so large a token is taken.
fn is_taken(rules: &[Value], max_token_size: Option<usize>) -> bool {
    let mut provider =
        json!({ "local_jwks": { "inline": harness::idp::jwks([&Key::cached(Alg::ES256, "key")]) } });
    if let Some(size) = max_token_size {
        provider["max_token_size"] = json!(size);
    }
    let config = json!({ "providers": { "p": provider }, "rules": rules });
    Config::parse(config.to_string().as_bytes(), &|_| None).is_ok()
}

/// How many proofs and how many one-time tokens are remembered, where this many are asked for.
fn remembered(entries: Option<usize>) -> Option<(usize, usize)> {
    let mut provider = json!({
        "local_jwks": { "inline": harness::idp::jwks([&Key::cached(Alg::ES256, "key")]) },
        "sender_constrained": "enforce",
        "dpop": { "origins": ["https://api.example"] },
    });
    let mut one_time = json!({});
    if let Some(entries) = entries {
        provider["dpop"]["replay_entries"] = json!(entries);
        one_time["entries"] = json!(entries);
    }
    let config = json!({ "providers": { "p": provider }, "rules": [], "one_time": one_time });
    let config = Config::parse(config.to_string().as_bytes(), &|_| None).ok()?;
    Some((config.providers[0].dpop()?.replay_entries, config.one_time.entries))
}

#[test]
fn the_table_of_bounds_says_what_the_code_does() {
    let regex = |text: String| json!({ "match": { "safe_regex": { "regex": text } } });
    let usual = doors().remove(0).gate().config().providers[0].clone();
    assert_eq!(usual.policy.max_token_size, 1 << 20, "the largest that may be asked for");
    let default = portcullis::CacheSize::default();
    let endpoint = json!({ "uri": "https://id.example/introspect", "cluster": "id" });
    let asked = json!({ "introspection": { "http_uri": endpoint, "auth_method": "none" } });
    let asked = json!({ "providers": { "p": asked }, "rules": [] }).to_string();
    let asked = Config::parse(asked.as_bytes(), &|_| None).expect("a configuration");
    let introspection = asked.providers[0].introspection.as_ref().expect("an endpoint");
    let rows = bounds();
    let row = |what: &str| {
        let found = rows.iter().find(|(own, _)| own == what);
        found.unwrap_or_else(|| panic!("{what} is not in the table")).1.clone()
    };
    let expressions = row("regular expressions in all rules")[0];
    let many: Vec<Value> = (0..=expressions).map(|at| regex(format!("/{at}"))).collect();
    assert!(is_taken(&many[1..], None) && !is_taken(&many, None), "{expressions} expressions");
    let longest = row("a regular expression");
    assert!(is_taken(&[regex("a".repeat(longest[0]))], None));
    assert!(!is_taken(&[regex("a".repeat(longest[0] + 1))], None));
    let token = row("a token");
    assert!(is_taken(&[], Some(token[1])) && !is_taken(&[], Some(token[1] + 1)));
    let bound = remembered(None).expect("a sound configuration");
    assert!(remembered(Some(1_000_000)).is_some() && remembered(Some(1_000_001)).is_none());
    let held = [
        ("a token", vec![8192, 1 << 20]),
        ("its JOSE header", vec![portcullis::limits::MAX_HEADER]),
        ("nesting in its header and its claims", vec![portcullis::limits::MAX_DEPTH]),
        ("a text on which a regular expression is run", vec![portcullis::limits::MAX_MATCHED]),
        (
            "a path that is not read in one way; its readings",
            vec![
                portcullis::limits::MAX_READ_PATH,
                portcullis::limits::MAX_READINGS,
                portcullis::limits::MAX_READINGS_BYTES,
            ],
        ),
        (
            "all texts on which expressions are run for one request, counted once for each expression",
            vec![portcullis::limits::MAX_MATCHED_IN_ALL, portcullis::limits::MATCHED_EACH],
        ),
        (
            "a query with escapes, semicolons, plus signs, dots or brackets, where a rule asks for a parameter; readings of one parameter",
            vec![portcullis::limits::MAX_QUERY, portcullis::limits::MAX_PARAMETER_READINGS],
        ),
        (
            "what filters before this one wrote of a request, where a rule asks for it",
            vec![portcullis::limits::MAX_METADATA],
        ),
        ("a regular expression", vec![portcullis::limits::MAX_REGEX]),
        ("regular expressions in all rules", vec![expressions]),
        ("clients whose tokens failed, that one worker remembers", vec![portcullis::limits::MAX_REMEMBERED]),
        ("protected resources", vec![portcullis::limits::MAX_RESOURCES]),
        ("a header value that is written from a claim", vec![portcullis::limits::MAX_VALUE]),
        ("header fields that one list becomes", vec![portcullis::limits::MAX_FIELDS]),
        ("requests that wait for keys or lists, in one worker", vec![portcullis::limits::MAX_WAITING]),
        (
            "requests that wait for keys because their signature does not hold, in one worker",
            vec![portcullis::limits::MAX_DOUBTFUL],
        ),
        ("open streams that end with their tokens, in one worker", vec![portcullis::limits::MAX_STREAMS]),
        ("keys of one provider", vec![portcullis::KeySet::MAX_KEYS]),
        (
            "lines in the log for one header that is left out, of one worker",
            vec![usize::try_from(portcullis::limits::LEFT_OUT_SECONDS).expect("a small number")],
        ),
        ("a fetched key set", vec![portcullis::KeySet::MAX_BYTES, portcullis::KeySet::MAX_BUNDLE_BYTES]),
        ("an opaque token", vec![portcullis::limits::MIN_OPAQUE, portcullis::limits::MAX_OPAQUE]),
        ("an answer of an introspection endpoint", vec![portcullis::limits::MAX_ANSWER_BYTES]),
        ("calls of introspection at once, of one provider in one worker", vec![introspection.max_in_flight]),
        (
            "tokens that wait for their turn, of one provider in one worker",
            vec![portcullis::limits::MAX_QUEUED],
        ),
        (
            "answers of introspection that are kept, of tokens that are active and as many others",
            vec![introspection.size],
        ),
        ("tokens that are remembered", vec![default.entries]),
        ("a DPoP proof", vec![portcullis::limits::MAX_PROOF]),
        ("a certificate in the field Client-Cert", vec![portcullis::limits::MAX_CLIENT_CERT]),
        ("proofs that are remembered, of all providers together", vec![bound.0, 1_000_000]),
        ("one-time tokens that are remembered", vec![bound.1, 1_000_000]),
        (
            "text of a client's in an audit line",
            vec![portcullis::limits::MAX_TEXT, portcullis::limits::MAX_EXCERPT],
        ),
    ];
    for (what, values) in &held {
        assert_eq!(&row(what), values, "{what}");
    }
    assert_eq!(rows.len(), held.len(), "every row is held to something: {rows:?}");
}
