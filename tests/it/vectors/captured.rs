//! Key sets in the forms of real servers, and the tokens and bundles of SPIRE: what is made here, and what was captured.

use harness::idp::flip_bit;
use portcullis::{
    HttpResponse, InMemoryStore, KeyFormat, KeySet, KeySetOptions, Keys, Reason, RemoteKeySet, SourceEvent,
    Timestamp,
};
use serde_json::{Value, json};

use crate::made::{self, Folder, Root};
use crate::vectors::judge;
use crate::vectors::providers::{judged, provider};

/// Each key set: how many of its keys verify signatures, and how many are for something else.
const SETS: &[(&str, usize, usize)] = &[
    ("real-canaille-introspection/jwks.json", 4, 0),
    ("real-glewlwyd-introspection/jwks.json", 7, 0),
    ("real-hydra/jwks.json", 2, 0),
    ("real-hydra/jwks.rotated.json", 3, 0),
    ("real-hydra/jwks.retired.json", 2, 0),
    ("real-keycloak/jwks.json", 7, 2),
    ("real-keycloak/jwks.rotated.json", 8, 2),
    ("real-keycloak/jwks.retired.json", 7, 2),
    ("real-kubernetes/jwks.json", 1, 0),
    ("real-kubernetes/jwks.rotated.json", 2, 0),
    ("real-oidc-provider-opaque/jwks.json", 10, 1),
    ("real-oidc-provider-opaque/jwks.rotated.json", 11, 1),
    ("real-oidc-provider-opaque/jwks.retired.json", 10, 1),
    ("real-spire/jwks.json", 1, 0),
    ("real-spire/jwks.rotated.json", 2, 0),
    ("real-spire/jwks.retired.json", 1, 0),
    ("real-spire/jwks.workload-api.json", 1, 0),
    ("real-spire/bundle.json", 1, 0),
    ("real-spire/bundle.prepared.json", 2, 0),
    ("real-spire/bundle.rotated.json", 2, 0),
    ("real-spire/bundle.retired.json", 1, 0),
    ("real-spire/bundle.rsa.json", 1, 0),
    ("real-spire/bundle.show.json", 1, 0),
    ("real-spring-authorization-server/jwks.json", 1, 0),
    ("real-zitadel-oidc/jwks.json", 1, 0),
];

#[test]
pub(crate) fn every_key_of_real_servers_is_used_for_what_it_is_for() {
    for root in made::captured() {
        every_key_is_used_for_what_it_is_for(&root);
    }
}

fn every_key_is_used_for_what_it_is_for(root: &Root) {
    for (path, usable, others) in SETS {
        let (folder, file) = path.split_once('/').expect("a folder and a file");
        let text = root.folder(folder).text(file);
        // What a mark before it, and a list for each absent member, change: nothing.
        for text in [
            text.clone(),
            format!("\u{feff}{text}"),
            text.replace("\"kty\"", "\"key_ops\":[],\"d\":null,\"kty\""),
        ] {
            let reading =
                KeySetOptions { format: KeyFormat::Auto, max_keys: KeySet::MAX_KEYS, symmetric: false };
            let set =
                KeySet::parse(text.as_bytes(), reading).unwrap_or_else(|error| panic!("{path}: {error}"));
            assert_eq!((set.keys().len(), set.skipped().len()), (*usable, *others), "{path}");
            let is_bundle = file.starts_with("bundle.");
            assert_eq!(set.is_bundle(), is_bundle, "{path}");
            let hint = (is_bundle && !file.contains(".show.")).then_some(300);
            assert_eq!(set.refresh_hint(), hint, "{path}");
        }
    }
    let is_set =
        |name: &String| name.ends_with(".json") && (name.starts_with("jwks") || name.starts_with("bundle"));
    let found = root.names().into_iter().flat_map(|name| root.folder(&name).names());
    assert_eq!(found.filter(is_set).count(), SETS.len(), "every key set has a row");
}

/// The first and the last second in which all tokens hold.
const HOLD: [u64; 2] = [1_796_010_030, 1_796_013_627];

/// Which token passes under which keys.
#[rustfmt::skip]
const JUDGED: &[(&str, &[&str], Result<(), Reason>)] = &[
    ("jwt_svid.jwt", &["bundle.json", "bundle.prepared.json", "bundle.rotated.json", "bundle.show.json", "jwks.json", "jwks.rotated.json", "jwks.workload-api.json"], Ok(())),
    ("jwt_svid.jwt", &["bundle.retired.json", "bundle.rsa.json", "jwks.retired.json"], Err(Reason::KeyNotFound)),
    ("jwt_svid.two-audiences.jwt", &["bundle.json", "bundle.rotated.json", "jwks.json"], Ok(())),
    ("jwt_svid.other-audience.jwt", &["bundle.json", "jwks.json"], Err(Reason::AudienceMismatch)),
    ("jwt_svid.other-workload.jwt", &["bundle.json", "jwks.json"], Err(Reason::SubjectMismatch)),
    ("jwt_svid.rotated.jwt", &["bundle.prepared.json", "bundle.rotated.json", "bundle.retired.json", "jwks.rotated.json", "jwks.retired.json"], Ok(())),
    ("jwt_svid.rotated.jwt", &["bundle.json", "bundle.show.json", "jwks.json"], Err(Reason::KeyNotFound)),
    ("jwt_svid.rsa.jwt", &["bundle.rsa.json"], Err(Reason::IssuerUnknown)),
];

#[test]
pub(crate) fn the_tokens_of_a_real_spire_are_judged_right_through_a_rotation() {
    for root in made::captured() {
        svids_are_judged_right(&root.folder("real-spire"));
    }
}

fn svids_are_judged_right(folder: &Folder) {
    let fields = json!({
        "issuer": "https://oidc.example.org",
        "audiences": ["spiffe://example.org/orders"],
        "subjects": { "exact": "spiffe://example.org/ns/shop/sa/web" },
    });
    let read = |file: &str| folder.text(file);
    for (token, files, expected) in JUDGED {
        let text = read(token);
        for file in *files {
            for format in ["auto", "spiffe"] {
                let provider = provider(&fields, &read(file), format);
                for now in HOLD {
                    let got = judged(token, &provider, text.trim_end(), now);
                    assert_eq!(got, *expected, "{token} under {file}, {format}");
                }
                if expected.is_ok() {
                    let bent = judged(token, &provider, &flip_bit(text.trim_end()), HOLD[0]);
                    assert_eq!(bent, Err(Reason::SignatureInvalid), "{token} under {file}, {format}");
                    let late = judged(token, &provider, text.trim_end(), HOLD[1] + 120);
                    assert_eq!(late, Err(Reason::Expired), "{token} under {file}, {format}");
                }
            }
        }
    }
}

/// A trust domain whose tokens name no issuer: the subject binds them.
#[test]
pub(crate) fn a_trust_domain_without_issuer_is_bound_by_its_subjects() {
    for root in made::captured() {
        subjects_bind_a_trust_domain(&root.folder("real-spire"));
    }
}

fn subjects_bind_a_trust_domain(folder: &Folder) {
    let token = folder.text("jwt_svid.rsa.jwt");
    let bundle = folder.text("bundle.rsa.json");
    for (subjects, expected) in [
        (json!({ "prefix": "spiffe://rsa.example/" }), Ok(())),
        (json!({ "exact": "spiffe://rsa.example/ns/shop/sa/web" }), Ok(())),
        (json!({ "prefix": "spiffe://example.org/" }), Err(Reason::SubjectMismatch)),
    ] {
        let fields = json!({ "audiences": ["spiffe://rsa.example/orders"], "subjects": subjects });
        let provider = provider(&fields, &bundle, "auto");
        assert_eq!(judged("RSA", &provider, token.trim_end(), HOLD[0]), expected, "{subjects}");
    }
}

/// A source of the real bundle, fetched at one second past `at`.
fn fetched(bundle: &str, remote: &Value, at: u64) -> (RemoteKeySet, Vec<SourceEvent>) {
    let uri = json!({ "uri": "https://idp.example/k", "cluster": "c" });
    let mut fields = json!({ "remote_jwks": { "http_uri": uri } });
    for (name, value) in remote.as_object().expect("members") {
        fields["remote_jwks"][name] = value.clone();
    }
    let Keys::Remote(remote) = &judge::provider(&fields).keys else { panic!("a remote source") };
    let (store, now) = (InMemoryStore::default(), Timestamp::from_secs(at));
    let mut source = RemoteKeySet::new((**remote).clone(), 1, None);
    source.tick(&store, now);
    let answer = HttpResponse { status: 200, body: bundle.as_bytes().to_vec(), ..HttpResponse::default() };
    let events = source.answered(&store, Ok(answer), now);
    (source, events)
}

#[test]
pub(crate) fn the_refresh_hint_of_a_real_bundle_is_heeded() {
    for root in made::captured() {
        the_refresh_hint_is_heeded(&root.folder("real-spire"));
    }
}

fn the_refresh_hint_is_heeded(folder: &Folder) {
    let now = Timestamp::from_secs(1000);
    for (file, remote, earliest, latest) in [
        ("bundle.json", json!({ "cache_duration": "3600s" }), 240, 270),
        ("bundle.show.json", json!({ "cache_duration": "3600s" }), 2880, 3240),
        ("bundle.json", json!({ "cache_duration": "100s" }), 80, 90),
        ("bundle.json", json!({ "cache_duration": "3600s", "format": "jwks" }), 0, 0),
    ] {
        let (source, events) = fetched(&folder.text(file), &remote, 1000);
        if latest == 0 {
            assert!(source.keys(now).is_none(), "{file}: no key for tokens is for signatures of other kinds");
            continue;
        }
        let due = source.status(now).next_refresh.expect("there are keys").since(now).as_secs();
        assert!((earliest..=latest).contains(&due), "{file} {remote}: due after {due} s");
        let warned = events.iter().any(|event| {
            matches!(event, SourceEvent::Log(log::Level::Warn, text) if text.contains("\"prefix\": \"spiffe://NAME/\""))
        });
        assert!(warned, "{file}: nothing binds this provider to the trust domain: {events:?}");
    }
}
