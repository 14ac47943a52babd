//! What the pages say is there, is there: the tests that docs/security.md names, the files that a link leads to, the
//! metrics that docs/operations.md lists.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use harness::{Envoy, Request, Upstream, Wasm, workspace};
use portcullis::Reason;
use serde_json::{Value, json};

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Every file of this kind below a folder.
fn files(folder: &Path, extension: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in
        fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display())).flatten()
    {
        let path = entry.path();
        if path.is_dir() {
            found.extend(files(&path, extension));
        } else if path.extension().is_some_and(|it| it == extension) {
            found.push(path);
        }
    }
    found
}

/// The names of the tests in these files, and of the functions in the table `ROWS` of a test that runs each of them.
fn tests_in(files: &[PathBuf]) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for file in files {
        let text = read(file);
        let rows = text.split("\nconst ROWS:").nth(1).and_then(|rest| rest.split("\n];").next());
        names.extend(
            rows.into_iter()
                .flat_map(str::lines)
                .filter_map(|line| Some(line.trim().strip_suffix("),")?.rsplit_once(' ')?.1.to_owned())),
        );
        let mut is_test = false;
        for line in text.lines().map(str::trim) {
            let line = ["pub(super) ", "pub(crate) ", "pub "]
                .iter()
                .find_map(|it| line.strip_prefix(it))
                .unwrap_or(line);
            match line.strip_prefix("fn ") {
                _ if line == "#[test]" => is_test = true,
                Some(rest) if is_test => {
                    names.extend(rest.split('(').next().map(str::to_owned));
                    is_test = false;
                }
                _ if line.starts_with("#[") || line.starts_with("//") => {}
                _ => is_test = false,
            }
        }
    }
    names
}

/// The files of a module of the integration tests, or of a test program that stands alone.
fn module(name: &str) -> Vec<PathBuf> {
    let tests = workspace().join("tests");
    let name = &name.replace("::", "/");
    let file = tests.join("it").join(format!("{name}.rs"));
    let folders = [tests.join("it").join(name), tests.join(name)];
    if file.is_file() {
        return vec![file];
    }
    folders.iter().find(|folder| folder.is_dir()).map_or_else(Vec::new, |folder| files(folder, "rs"))
}

/// The words between single backticks.
fn quoted(text: &str) -> Vec<&str> {
    text.split('`').skip(1).step_by(2).collect()
}

/// The rows of the tables of a page, without their heads.
fn table_rows(page: &str) -> Vec<&str> {
    let is_row = |line: &&str| line.starts_with("| ") && !line.starts_with("| ---");
    let heads: BTreeSet<&str> = page
        .lines()
        .zip(page.lines().skip(1))
        .filter(|(_, next)| next.starts_with("| ---"))
        .map(|it| it.0)
        .collect();
    page.lines().filter(is_row).filter(|line| !heads.contains(line)).collect()
}

/// The tests that the last column of a row names, each of which must be there.
fn named_tests(row: &str) -> usize {
    let shown_by = row.trim_end_matches(" |").rsplit(" | ").next().expect("a last column");
    let tests: Vec<&str> = quoted(shown_by);
    assert!(!tests.is_empty(), "no test: {row}");
    for test in &tests {
        let (program, name) = test.rsplit_once("::").unwrap_or_else(|| panic!("{test} names no file"));
        let places = if program.ends_with(".rs") { vec![workspace().join(program)] } else { module(program) };
        assert!(tests_in(&places).contains(name), "{test} is no test");
    }
    tests.len()
}

#[test]
fn each_threat_names_tests_that_exist() {
    let page = read(&workspace().join("docs/security.md"));
    let rows = table_rows(page.split("## Threats").nth(1).expect("the threat table"));
    let named: usize = rows.iter().map(|row| named_tests(row)).sum();
    assert!(rows.len() >= 40 && named >= rows.len(), "{} rows, {named} tests", rows.len());
}

#[test]
fn each_line_of_the_checklist_names_a_setting_and_a_test_that_exists() {
    let page = read(&workspace().join("docs/checklist.md"));
    let rows = table_rows(page.split("## Keys in an HSM").next().expect("the lists"));
    for row in &rows {
        assert!(row.contains("](") || row.contains('`'), "no setting: {row}");
        named_tests(row);
    }
    assert!(rows.len() >= 40, "{} rows", rows.len());
}

#[test]
fn each_attack_that_is_tried_is_in_the_table() {
    let root = workspace();
    let page = read(&root.join("docs/security.md"));
    let table: BTreeSet<&str> =
        quoted(page.split("## Threats").nth(1).expect("the threat table")).into_iter().collect();
    for (program, letter, count) in [("attacks", 'h', 18), ("route_attacks", 'p', 21)] {
        let is_attack = |name: &String| {
            let number = name.strip_prefix(letter).and_then(|rest| rest.split('_').next());
            number.is_some_and(|number| number.parse::<u8>().is_ok())
        };
        let mut attacks = tests_in(&module(program));
        attacks.retain(is_attack);
        assert!(attacks.len() >= count, "{program}: {attacks:?}");
        for attack in attacks {
            let name = format!("{program}::{attack}");
            assert!(table.contains(name.as_str()), "{name} is not in docs/security.md");
        }
    }
}

/// How a challenge and a disclosure are called in the page of reasons.
const WORDS: [(&str, &str); 11] = [
    ("None", "no challenge"),
    ("Realm", "a challenge without `error`"),
    ("Scope", "a challenge with the scopes to ask for"),
    ("InvalidRequest", "`invalid_request`"),
    ("InvalidToken", "`invalid_token`"),
    ("InsufficientScope", "`insufficient_scope`"),
    ("StepUp", "`insufficient_user_authentication`"),
    ("InvalidProof", "`invalid_dpop_proof`"),
    ("UseNonce", "`use_dpop_nonce`"),
    ("Always", "shown to the client"),
    ("Verified", "shown to the client once the signature is verified, before that `token_rejected`"),
];

#[test]
fn the_page_of_reasons_has_each_with_its_answer_and_no_other() {
    let page = read(&workspace().join("docs/reasons.md"));
    let sections: Vec<(&str, &str)> = page
        .split("\n## ")
        .skip(1)
        .filter_map(|section| section.split_once('\n'))
        .map(|(heading, text)| (heading.trim_matches('`'), text.trim()))
        .collect();
    let names: Vec<&str> = sections.iter().map(|(name, _)| *name).collect();
    assert_eq!(names, Reason::ALL.iter().map(|reason| reason.as_str()).collect::<Vec<_>>());
    let word = |name: String| {
        WORDS.iter().find(|(own, _)| *own == name).unwrap_or_else(|| panic!("no words for {name}")).1
    };
    for (reason, (name, text)) in Reason::ALL.iter().zip(sections) {
        let row = reason.row();
        let (challenge, shown) =
            (word(format!("{:?}", row.challenge)), word(format!("{:?}", row.disclosure)));
        let answer = format!("{}, gRPC {}; {challenge}; {shown}.\n\n", row.status.http(), row.status.grpc());
        assert!(text.starts_with(&answer), "{name}: expected {answer}{text}");
        assert!(text.contains("*What to do:* "), "{name}: nothing to do");
    }
}

#[test]
fn the_refusal_that_the_page_of_outputs_shows_is_the_one_that_is_written() {
    let page = read(&workspace().join("docs/outputs.md"));
    let body = page.lines().find(|line| line.starts_with("{\"type\"")).expect("a problem document");
    // Every refusal in every form, as its own test holds it.
    let written = read(&workspace().join("src/response/replies.txt"));
    assert!(written.contains(&format!("{body:?} portcullis_token_missing")), "{body}");
}

#[test]
fn links_between_the_pages_lead_somewhere() {
    let root = workspace();
    let mut pages = files(&root.join("docs"), "md");
    pages.extend(files(&root.join("envoy"), "md"));
    pages.extend(["README.md", "SECURITY.md", "CHANGELOG.md", "CONTRIBUTING.md"].map(|name| root.join(name)));
    let mut links = 0;
    for page in pages {
        let text = read(&page);
        // What stands in a block of code is no link.
        let prose: String = text.split("```").step_by(2).collect();
        for target in prose.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            if target.contains("://") || target.starts_with("mailto:") {
                continue;
            }
            let (file, anchor) = target.split_once('#').unwrap_or((target, ""));
            let found =
                if file.is_empty() { page.clone() } else { page.parent().expect("a folder").join(file) };
            assert!(found.exists(), "{} links to {target}", page.display());
            if !anchor.is_empty() {
                let headings = read(&found);
                let slugs: Vec<String> =
                    headings.lines().filter(|line| line.starts_with('#')).map(slug).collect();
                assert!(
                    slugs.iter().any(|slug| slug == anchor),
                    "{}: no heading for {target} among {slugs:?}",
                    page.display()
                );
            }
            links += 1;
        }
    }
    assert!(links > 30, "{links} links");
}

#[test]
fn the_bound_on_long_lived_streams_is_one_that_envoy_takes() {
    let page = read(&workspace().join("docs/operations.md"));
    let section = page.split("## Long-lived streams").nth(1).expect("the section");
    let block = section.split("```yaml\n").nth(1).and_then(|rest| rest.split("```").next()).expect("a block");
    let block: Value = serde_norway::from_str(block).expect("YAML");
    let options = block["common_http_protocol_options"].clone();
    let mut route = block["routes"][0].clone();
    route["match"] = json!({ "prefix": "/" });
    route["route"]["cluster"] = json!("upstream");
    assert!(options["max_stream_duration"].is_string(), "{block}");
    assert!(route["route"]["max_stream_duration"].is_object(), "{block}");
    let upstream = Upstream::start();
    let envoy = Envoy::builder()
        .shared()
        .upstream(&upstream)
        .filter(Wasm::portcullis(json!({ "providers": {}, "rules": [{ "match": { "prefix": "/" } }] })))
        .main(|listener| listener.hcm("common_http_protocol_options", options).routes(json!([route])))
        .start()
        .unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(Request::get("/").send(envoy.addr()).status, 200);
}

/// The anchor that a heading gets.
fn slug(heading: &str) -> String {
    let text = heading.trim_start_matches('#').trim().to_lowercase();
    text.chars()
        .filter_map(|c| match c {
            ' ' => Some('-'),
            c if c.is_alphanumeric() || c == '-' || c == '_' => Some(c),
            _ => None,
        })
        .collect()
}

#[test]
fn each_metric_that_the_filter_can_write_is_in_the_operators_page_and_no_other() {
    let root = workspace();
    let page = read(&root.join("docs/operations.md"));
    let listed: BTreeSet<&str> = page
        .lines()
        .filter(|line| line.starts_with("| `portcullis_"))
        .flat_map(|line| quoted(line.split(" | ").next().unwrap_or_default()))
        .filter_map(|name| name.strip_prefix("portcullis_"))
        .collect();
    let source = ["src/metrics.rs", "src/gate/background.rs", "src/gate/introspector.rs"].map(|file| {
        let text = read(&root.join(file));
        text.split("#[cfg(test)]").next().expect("a beginning").to_owned()
    });
    let source = source.concat();
    // What the dynamic module alone counts.
    let mut written = BTreeSet::from(["panics"]);
    for rest in source.split("portcullis.").skip(1) {
        written.extend(rest.split(['.', '"']).next().filter(|name| !name.contains('{')));
    }
    for rest in source.split("gauge(").skip(1) {
        written.extend(rest.split('"').nth(1).filter(|_| !rest.starts_with("&self")));
    }
    let events =
        source.split("const EVENTS").nth(1).and_then(|rest| rest.split("];").next()).expect("the events");
    written.extend(events.split("(Event::").skip(1).filter_map(|rest| rest.split('"').nth(1)));
    assert_eq!(listed, written);
}
