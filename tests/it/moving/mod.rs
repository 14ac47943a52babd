//! The ways from `jwt_authn`, Istio and Envoy Gateway (docs/migration.md) lead to the same verdicts, but for what the page
//! says.
//!
//! Istio's and Envoy Gateway's rules are models of their documentation, in [`istio`], [`gateway`] and [`jwt`]: own code,
//! none of the filter's. Portcullis is asked through its own interface, and on a real Envoy beside the filters that istiod
//! itself has made of the policies ([`istiod`]).

mod ask;
mod compare;
mod gateway;
mod gateway_filters;
mod istio;
mod istiod;
mod jwt;
mod on_envoy;
mod page;
mod requests;
mod text;
mod tokens;

use std::collections::BTreeSet;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use harness::{idp, missing, shared, skip, workspace};

use crate::common::crd::Crds;
use crate::common::pages::{documents, files};
use compare::{Compared, Pair, compare};
use tokens::tokens;

/// The sets of policies that were written for this test, and the configurations that follow the page.
fn sets() -> Vec<Pair> {
    let folder = workspace().join("tests/it/moving/sets");
    let read = |file: std::path::PathBuf| {
        let text = fs::read_to_string(&file).expect("a file");
        let all = documents(&text).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        let at = all.iter().position(|document| document.get("apiVersion").is_none());
        let at = at.unwrap_or_else(|| panic!("{}: no configuration", file.display()));
        Pair {
            name: file.file_stem().expect("a name").to_string_lossy().into_owned(),
            today: all[..at].to_vec(),
            ours: all[at].clone(),
            stays: all[at + 1..].to_vec(),
        }
    };
    files(&folder, "yaml").into_iter().map(read).collect()
}

/// Nothing differs without a row, and both verdicts are there.
#[track_caller]
fn assert_same(all: &[(String, Compared)]) {
    let wrong: Vec<&String> = all.iter().flat_map(|(_, compared)| &compared.wrong).collect();
    let some: Vec<String> = wrong.iter().take(40).map(|line| (*line).clone()).collect();
    assert!(wrong.is_empty(), "{} differ without a row:\n{}", wrong.len(), some.join("\n"));
    for (name, compared) in all {
        let Compared { asked, passed, .. } = compared;
        assert!(*asked >= 300 && *passed >= 10 && asked - passed >= 10, "{name}: {passed} of {asked} pass");
    }
}

#[test]
fn each_pair_of_the_page_gives_the_same_verdicts() {
    let tokens = tokens();
    let pairs = page::pairs();
    let all: Vec<_> = pairs.iter().map(|pair| (pair.name.clone(), compare(pair, &tokens, 1000))).collect();
    assert_same(&all);
    assert!(pairs.len() >= 12, "only {} pairs were found", pairs.len());
}

#[test]
fn twelve_sets_of_policies_go_over_and_each_difference_is_in_the_page() {
    let tokens = tokens();
    let sets = sets();
    let all: Vec<_> = sets.iter().map(|pair| (pair.name.clone(), compare(pair, &tokens, 1000))).collect();
    assert_same(&all);
    assert!(sets.len() >= 12, "only {} sets were found", sets.len());
    let shown: BTreeSet<&str> = all.iter().flat_map(|(_, compared)| compared.shown.iter().copied()).collect();
    let known: BTreeSet<&str> = compare::rows().collect();
    assert_eq!(shown, known, "what showed, and what there are rows for");
    assert_eq!(
        page::rows().iter().map(String::as_str).collect::<BTreeSet<_>>(),
        known,
        "the rows of the page"
    );
}

/// The command-line tool as it was built beside these tests.
fn tool() -> Option<PathBuf> {
    let own = std::env::current_exe().ok()?;
    let built = own.parent()?.parent()?.join("portcullis");
    built.exists().then_some(built)
}

/// The pair with what `portcullis migrate` makes of its policies.
fn migrated(tool: &Path, pair: Pair) -> Pair {
    let keys = idp::jwks([&tokens::key(tokens::CORP)]).to_string();
    let documents = pair.today.iter().cloned().map(|mut document| {
        for provider in document["spec"]["jwt"]["providers"].as_array_mut().into_iter().flatten() {
            if let Some(local) = provider.get_mut("localJWKS") {
                local["inline"] = keys.clone().into();
            }
        }
        document.to_string()
    });
    let text = documents.collect::<Vec<_>>().join("\n---\n");
    let mut command = Command::new(tool);
    command.args(["migrate", "-"]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("the tool runs");
    child.stdin.take().expect("its input").write_all(text.as_bytes()).expect("it reads");
    let output = child.wait_with_output().expect("it ends");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}: {said}", pair.name);
    let written = documents_of(&String::from_utf8_lossy(&output.stdout));
    let [ours] = <[serde_json::Value; 1]>::try_from(written).expect("one configuration");
    Pair { ours, ..pair }
}

/// Policies of which the tool alone says what takes their place.
fn alone() -> Vec<Pair> {
    let file = workspace().join("tests/it/moving/policies/gateway.yaml");
    let all = documents_of(&fs::read_to_string(file).expect("a file")).into_iter();
    let pair = |document: serde_json::Value| Pair {
        name: document["metadata"]["name"].as_str().expect("a name").to_owned(),
        today: vec![document],
        ours: serde_json::Value::Null,
        stays: Vec::new(),
    };
    all.map(pair).collect()
}

fn documents_of(text: &str) -> Vec<serde_json::Value> {
    documents(text).unwrap_or_else(|error| panic!("{error}:\n{text}"))
}

#[test]
fn what_migrate_makes_of_them_gives_the_same_verdicts() {
    let Some(tool) = tool() else {
        return skip("what_migrate_makes_of_them_gives_the_same_verdicts", "the tool is not built");
    };
    let tokens = tokens();
    let pairs = page::pairs().into_iter().chain(sets()).chain(alone()).map(|pair| migrated(&tool, pair));
    let all: Vec<_> = pairs.map(|pair| (pair.name.clone(), compare(&pair, &tokens, 1000))).collect();
    assert_same(&all);
    assert!(all.len() >= 28, "only {} pairs", all.len());
}

#[test]
fn the_policies_are_ones_that_a_cluster_takes() {
    let Some(folder) = shared("crds") else {
        return skip("the_policies_are_ones_that_a_cluster_takes", &missing("crds"));
    };
    let crds = Crds::read(&folder);
    let mut problems = Vec::new();
    let mut count = 0;
    for Pair { name, today, stays, .. } in page::pairs().into_iter().chain(sets()).chain(alone()) {
        for document in today.iter().chain(&stays) {
            count += 1;
            problems.extend(crds.problems(document).into_iter().map(|problem| format!("{name}: {problem}")));
        }
    }
    assert!(problems.is_empty(), "{}", problems.join("\n"));
    assert!(count >= 30, "only {count} policies");
}
