//! What came of tests, for people and for programs.

use std::fmt::Write as _;

use portcullis_explain::Tone;
use quick_junit::{NonSuccessKind, Report, TestCase, TestCaseStatus, TestSuite};
use serde_json::json;

use super::run::{Suite, TestResult};
use crate::explain::paint;
use crate::output::{Failure, Terminal, printable};

/// For people: what does not hold, the gaps, and a count.
pub(super) fn text(suites: &[Suite], terminal: &Terminal) -> String {
    let mut text = String::new();
    for suite in suites {
        for result in &suite.results {
            if result.problems.is_empty() {
                let _ = writeln!(text, "{} {}", paint(terminal, Tone::Good, "✔"), printable(&result.name));
            } else {
                let place = format!("{}:{}", suite.name, result.line);
                let _ = writeln!(
                    text,
                    "{} {}  {}",
                    paint(terminal, Tone::Bad, "✘"),
                    printable(&result.name),
                    paint(terminal, Tone::Faint, &place)
                );
                reasons(result).for_each(|line| {
                    let _ = writeln!(text, "    {}", printable(&line));
                });
            }
        }
        let _ = writeln!(text, "{}", paint(terminal, Tone::Faint, &suite.gaps.line()));
    }
    let results = || suites.iter().flat_map(|suite| &suite.results);
    let failed = results().filter(|result| !result.problems.is_empty()).count();
    let tone = if failed == 0 { Tone::Good } else { Tone::Bad };
    let count = format!("{} held, {failed} failed", results().count() - failed);
    let _ = writeln!(text, "{}", paint(terminal, tone, &count));
    text
}

/// What is wrong with a result, and what the gate says of it.
fn reasons(result: &TestResult) -> impl Iterator<Item = String> {
    let because = result.explanation.as_ref().and_then(|explanation| explanation.detail.clone());
    result.problems.iter().cloned().chain(because.map(|detail| format!("because: {detail}")))
}

/// For programs.
pub(super) fn json(suites: &[Suite]) -> Result<String, Failure> {
    let suites: Vec<_> = suites
        .iter()
        .map(|suite| {
            let tests: Vec<_> = suite
                .results
                .iter()
                .map(|result| {
                    json!({
                        "name": result.name, "line": result.line, "held": result.problems.is_empty(),
                        "problems": result.problems, "explanation": result.explanation,
                    })
                })
                .collect();
            json!({ "file": suite.name, "tests": tests, "coverage": suite.gaps })
        })
        .collect();
    let json = serde_json::to_string_pretty(&json!({ "files": suites }));
    Ok(json.map_err(|error| Failure::of("standard output", error))? + "\n")
}

/// As JUnit's reports are read by CI systems.
pub(super) fn junit(suites: &[Suite]) -> Result<String, Failure> {
    let mut report = Report::new("portcullis test");
    for suite in suites {
        let mut own = TestSuite::new(suite.name.as_str());
        own.set_time(suite.took);
        for result in &suite.results {
            let status = if result.problems.is_empty() {
                TestCaseStatus::success()
            } else {
                let mut status = TestCaseStatus::non_success(NonSuccessKind::Failure);
                status.set_message(result.problems.join("; "));
                status.set_description(reasons(result).collect::<Vec<_>>().join("\n"));
                status
            };
            let mut case = TestCase::new(result.name.as_str(), status);
            case.set_classname(suite.name.as_str());
            case.set_time(result.took);
            case.extra.insert("file".into(), suite.name.as_str().into());
            case.extra.insert("line".into(), result.line.to_string().into());
            own.add_test_case(case);
        }
        own.set_system_out(suite.gaps.line());
        report.add_test_suite(own);
    }
    report.to_string().map_err(|error| Failure::of("standard output", error))
}

/// As the Test Anything Protocol has it (version 14).
pub(super) fn tap(suites: &[Suite]) -> String {
    let results: Vec<_> =
        suites.iter().flat_map(|suite| suite.results.iter().map(move |result| (suite, result))).collect();
    let mut text = format!("TAP version 14\n1..{}\n", results.len());
    for (at, (suite, result)) in results.iter().enumerate() {
        let word = if result.problems.is_empty() { "ok" } else { "not ok" };
        let name = printable(&result.name).replace(['\n', '\\'], " ").replace('#', "\\#");
        let _ = writeln!(text, "{word} {} - {name}", at + 1);
        if !result.problems.is_empty() {
            let at = format!("{}:{}", suite.name, result.line);
            let _ = writeln!(text, "  ---\n  at: {}\n  problems:", json!(at));
            for line in reasons(result) {
                let _ = writeln!(text, "  - {}", json!(line));
            }
            let _ = writeln!(text, "  ...");
        }
    }
    for suite in suites {
        let _ = writeln!(text, "# {}: {}", printable(&suite.name), suite.gaps.line());
    }
    text
}
