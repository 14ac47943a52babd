//! Configurations of `jwt_authn` beside the real filter in one Envoy: both come to the same status and tell the upstream
//! the same, but for the rows of "Where the two differ" of `docs/migration.md`. A difference without a row, a row that is
//! not on the page, and a row that nothing shows fail the test.

use crate::common;
use crate::pasted_forms::{ANY, forms, requests};

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use common::with;
use harness::{Envoy, Filter, Listener, Request, Upstream, Wasm, workspace};
use portcullis::Config;

/// How a difference shows.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Shows {
    /// `jwt_authn` lets the request pass, Portcullis does not.
    Stricter,
    /// Portcullis lets it pass, `jwt_authn` does not.
    Looser,
    /// Both do, and the upstream is told something else.
    Fields,
    /// Both refuse, with another status.
    Status,
}

use Shows::{Fields, Looser, Status, Stricter};

/// The rows that a request shows here, and how.
const SHOWN: &[(&str, &[Shows])] = &[
    ("unmatched", &[Stricter]),
    ("places", &[Stricter, Fields]),
    ("bearer", &[Stricter, Looser, Fields]),
    ("several", &[Stricter, Status]),
    ("audiences", &[Stricter]),
    ("no_exp", &[Stricter]),
    ("skew_zero", &[Stricter]),
    ("iat", &[Stricter]),
    ("algorithms", &[Stricter]),
    ("keys", &[Stricter]),
    ("kinds", &[Stricter]),
    ("kid", &[Stricter]),
    ("path", &[Stricter, Status]),
    ("cookie", &[Fields]),
    ("other_place", &[Fields]),
    ("failed_token", &[Fields]),
    ("first_alone", &[Fields]),
    ("any_good", &[Stricter]),
    ("twice", &[Looser]),
    ("number", &[Fields]),
    ("answer", &[Status]),
];

/// The rows about a field that Portcullis refuses: a field, and what is written there.
const REFUSED: &[(&str, &str)] = &[
    ("filename", r#"{"providers":{"corp":{"local_jwks":{"filename":"/etc/jwks.json"}}}}"#),
    ("metadata", r#"{"providers":{"corp":{"payload_in_metadata":"payload"}}}"#),
    ("filter_state_rules", r#"{"filter_state_rules":{"name":"x","requires":{}}}"#),
    (
        "extract_only",
        r#"{"rules":[{"match":{"prefix":"/"},"requires":{"extract_only_without_validation":{}}}]}"#,
    ),
];

/// The rows that other tests show, each with its file.
const ELSEWHERE: &[(&str, &str)] = &[
    ("expiry", "tests/it/native_differential.rs"),
    ("cache", "tests/it/metrics.rs"),
    ("per_route", "tests/it/route_requirements.rs"),
    ("grants", "tests/it/authorize.rs"),
];

/// The rows of the page: their ids, and what they say.
fn rows() -> BTreeMap<String, String> {
    let page = fs::read_to_string(workspace().join("docs/migration.md")).expect("the page");
    let (_, rest) = page.split_once("\n### Where the two differ\n").expect("the section");
    let section = rest.split("\n#").next().unwrap_or_default();
    let row = |line: &str| {
        let id = line.split('`').nth(1).expect("an id").to_owned();
        (id, line.to_owned())
    };
    section.lines().filter(|line| line.starts_with("| `")).map(row).collect()
}

/// What came of a request: the status, and what the upstream was told.
type Outcome = (u16, Vec<String>);

fn outcome(envoy: &Envoy, upstream: &Upstream, listener: &str, request: &Request) -> Outcome {
    let answer = request.send(envoy.addr_of(listener));
    let records = upstream.take();
    let mut told = Vec::new();
    for record in &records {
        told.push(format!("{} {}", record.method, record.path()));
        let fields = record.headers.iter().filter(|(name, _)| name != "x-request-id");
        told.extend(fields.map(|(name, value)| format!("{name}: {}", String::from_utf8_lossy(value))));
    }
    told.sort();
    (answer.status, told)
}

/// How two outcomes differ, if they do.
fn difference(native: &Outcome, own: &Outcome) -> Option<Shows> {
    match (native.0 == 200, own.0 == 200) {
        (true, true) => (native.1 != own.1).then_some(Fields),
        (true, false) => Some(Stricter),
        (false, true) => Some(Looser),
        (false, false) => (native.0 != own.0).then_some(Status),
    }
}

/// Whether a row says that a status is another: the answer's own row speaks of 401 for another audience.
fn is_status(row: &str, native: &Outcome, own: &Outcome) -> bool {
    match row {
        "answer" => (native.0, own.0) == (403, 401),
        _ => own.0 == 400,
    }
}

#[test]
fn sixty_configurations_are_judged_as_jwt_authn_judges_them_but_for_the_rows_of_the_page() {
    let (idp, upstream) = (common::idp(), Upstream::start());
    let forms = forms(&idp);
    assert!(forms.len() >= 60, "{} configurations", forms.len());
    let mut builder = Envoy::builder().shared().upstream(&upstream).idp("idp", &idp);
    for (at, form) in forms.iter().enumerate() {
        let own = Wasm::portcullis(with(form.config.clone(), form.own.clone())).name(&format!("own-{at}"));
        let filters = [("native", Filter::JwtAuthn(form.config.clone())), ("own", own.into())];
        for (which, (whose, filter)) in filters.into_iter().enumerate() {
            let mut listener = Listener::new(&format!("{whose}-{at}")).without_access_log().filter(filter);
            if let Some(routes) = &form.routes {
                listener = listener.routes(routes[which].clone());
            }
            builder = builder.listener(listener);
        }
    }
    let envoy = builder.start().unwrap_or_else(|error| panic!("{error}"));
    let (mut wrong, mut shown, mut compared) = (Vec::new(), BTreeSet::new(), 0);
    for (at, form) in forms.iter().enumerate() {
        // Made for each, so that what is almost too old stays so.
        for asked in &requests(&idp) {
            let of = |whose: &str| outcome(&envoy, &upstream, &format!("{whose}-{at}"), &asked.request);
            let (native, own) = (of("native"), of("own"));
            compared += 1;
            let of = |whose: &str| -> Vec<&str> {
                form.rows.iter().filter(|(name, _)| *name == whose).map(|(_, row)| *row).collect()
            };
            let meant = of(asked.name);
            let Some(shows) = difference(&native, &own) else {
                if !meant.is_empty() {
                    wrong.push(format!("{}, {}: {meant:?} does not show", form.name, asked.name));
                }
                continue;
            };
            let fits = |row: &&str| {
                let known = SHOWN.iter().any(|(id, ways)| id == row && ways.contains(&shows));
                known && (shows != Status || is_status(row, &native, &own))
            };
            let rows = if meant.is_empty() { [&of(ANY), asked.rows, &["answer"]].concat() } else { meant };
            match rows.into_iter().find(fits) {
                Some(row) => _ = shown.insert(row),
                None => {
                    let only = |one: &Outcome, other: &Outcome| {
                        let fields = one.1.iter().filter(|field| !other.1.contains(field));
                        fields.map(|field| field.chars().take(50).collect()).collect::<Vec<String>>()
                    };
                    wrong.push(format!(
                        "{}, {}: {shows:?}: jwt_authn {} {:?}, Portcullis {} {:?}",
                        form.name,
                        asked.name,
                        native.0,
                        only(&native, &own),
                        own.0,
                        only(&own, &native)
                    ));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{} of {compared}:\n{}", wrong.len(), wrong.join("\n"));
    for (row, _) in SHOWN {
        assert!(shown.contains(row), "nothing shows the row {row:?}");
    }
    common::assert_sound(&envoy);
}

#[test]
fn the_rows_of_the_page_are_those_that_tests_show() {
    let page: BTreeSet<String> = rows().into_keys().collect();
    let ids = [
        SHOWN.iter().map(|(id, _)| *id).collect(),
        REFUSED.iter().map(|(id, _)| *id).collect(),
        ELSEWHERE.iter().map(|(id, _)| *id).collect::<Vec<_>>(),
    ];
    let tested: BTreeSet<String> = ids.concat().into_iter().map(str::to_owned).collect();
    assert_eq!(page, tested, "the ids on the page, and those of the tests");
    for (id, file) in ELSEWHERE {
        assert!(workspace().join(file).is_file(), "{id}: there is no {file}");
    }
    for (id, config) in REFUSED {
        let problems = Config::parse(config.as_bytes(), &|_| None).expect_err("refused");
        let says = |text: &str| problems.iter().any(|problem| problem.message.contains(text));
        assert!(says("cannot be done in a wasm filter; "), "{id}: {problems:#?}");
        let field = problems.iter().find(|problem| problem.message.contains("wasm filter")).expect("said");
        let name = field.path.rsplit('.').next().unwrap_or_default();
        assert!(
            rows()[*id].contains(&format!("`{name}`")) || rows()[*id].contains(&format!("{name}`")),
            "{id}: {name}"
        );
    }
}
