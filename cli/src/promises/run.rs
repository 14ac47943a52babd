//! Puts the tests of a file to the gate of their configuration.

use std::path::Path;
use std::time::{Duration, Instant};

use portcullis::{JsonObject, Timestamp};
use portcullis_explain::{Bench, Explanation, Forge, RequestSketch};
use serde_json::Value;

use super::coverage::{Coverage, Gaps};
use super::file::{Expect, HeaderPart, RequestPart, Test, TestFile, Texts};
use crate::check::written::{self, Dialect};
use crate::configuration;
use crate::explain::{metadata, system_time};
use crate::output::Failure;
use crate::source::File;

/// What came of a file.
pub(super) struct Suite {
    /// Its name.
    pub(super) name: String,
    pub(super) results: Vec<TestResult>,
    pub(super) gaps: Gaps,
    pub(super) took: Duration,
}

/// What came of a test.
pub(super) struct TestResult {
    pub(super) name: String,
    /// The line on which it begins.
    pub(super) line: usize,
    /// What is not as it was expected; none where the test holds.
    pub(super) problems: Vec<String>,
    /// What the gate did; none where it could not be asked.
    pub(super) explanation: Option<Explanation>,
    pub(super) took: Duration,
}

/// Runs the tests of a file.
pub(super) fn suite(path: &Path) -> Result<Suite, Failure> {
    let began = Instant::now();
    let file = File::read(path)?;
    let documents = file.readable()?;
    let [document] = documents else {
        return Err(Failure::of(&file.name, format!("has {} documents; write one", documents.len())));
    };
    let lines: Vec<usize> = document
        .get("tests")
        .into_iter()
        .flat_map(|tests| tests.elements())
        .map(|test| test.at.line)
        .collect();
    let json = written::json(document, Dialect::Core);
    let tests: TestFile = read(&json).map_err(|error| Failure::of(&file.name, error))?;
    let bench = match &tests.config {
        Value::String(config) => {
            let folder = path.parent().unwrap_or(Path::new(""));
            configuration::bench_of(&folder.join(config))?
        }
        config @ Value::Object(_) => configuration::bench(&file.name, config.to_string().as_bytes())?,
        _ => {
            return Err(Failure::of(
                &file.name,
                "config: give the name of a file, or the configuration itself",
            ));
        }
    };
    if tests.tests.is_empty() {
        return Err(Failure::of(&file.name, "tests: is empty; a file without tests promises nothing"));
    }
    let now = tests.now.unwrap_or_else(system_time);
    // Keys are made once for all tests: an RSA key takes long.
    let mut forge = Forge::default();
    let mut coverage = Coverage::default();
    let results = tests.tests.iter().zip(lines).enumerate();
    let results = results.map(|(at, (test, line))| {
        let result = run(at, test, line, &bench, (&mut forge, test.now.unwrap_or(now)));
        result.explanation.iter().for_each(|explanation| coverage.note(explanation));
        result
    });
    let results = results.collect();
    let gaps = coverage.gaps(bench.config());
    Ok(Suite { name: file.name, results, gaps, took: began.elapsed() })
}

/// Reads the file, and names the way to what cannot be read.
fn read(json: &str) -> Result<TestFile, String> {
    let mut reader = serde_json::Deserializer::from_str(json);
    serde_path_to_error::deserialize(&mut reader).map_err(|error| {
        let path = error.path().to_string();
        let text = error.inner().to_string();
        // The place in the text that was made of the file says nothing to anybody.
        let text = text.split(" at line ").next().unwrap_or_default().to_owned();
        if path == "." { text } else { format!("{path}: {text}") }
    })
}

fn run(at: usize, test: &Test, line: usize, bench: &Bench, forge: (&mut Forge, u64)) -> TestResult {
    let began = Instant::now();
    let name = test
        .name
        .clone()
        .unwrap_or_else(|| format!("tests[{at}] {} {}", test.request.method, test.request.path));
    let (problems, explanation) = match explained(test, bench, forge) {
        Ok(explanation) => (differences(&test.expect, &explanation), Some(explanation)),
        Err(error) => (vec![error], None),
    };
    TestResult { name, line, problems, explanation, took: began.elapsed() }
}

/// What the gate does with the request of a test.
///
/// # Errors
/// A test that cannot be put to it.
pub(super) fn explained(
    test: &Test,
    bench: &Bench,
    (forge, now): (&mut Forge, u64),
) -> Result<Explanation, String> {
    if test.expect.is_empty() {
        return Err(
            "expect: says nothing; write a status, a reason, a rule, or what the upstream gets".to_owned()
        );
    }
    let mut bench = bench.clone();
    let mut request = sketch(&test.request)?;
    if let Some(answer) = &test.introspection {
        bench.set_introspection(answer.to_string().into_bytes());
    }
    let mut secrets = Vec::new();
    for token in &test.token.0 {
        let token = match (&token.raw, &token.header) {
            (Some(raw), HeaderPart::Field(field)) => {
                request.headers.push((field.clone(), raw.clone()));
                raw.clone()
            }
            (Some(raw), _) => {
                request.headers.push(("authorization".to_owned(), format!("Bearer {raw}")));
                raw.clone()
            }
            (None, header) => {
                let provider = token.provider.as_deref();
                let mut carried = request.clone();
                let signed = bench.carry(&mut carried, &token.sketch(), provider, (&mut *forge, now))?;
                match header {
                    HeaderPart::Field(field) => request.headers.push((field.clone(), signed.clone())),
                    HeaderPart::Nothing | HeaderPart::Members(_) => request = carried,
                }
                signed
            }
        };
        secrets.push(token);
    }
    // Providers have keys, whether or not a token of theirs is there; for tokens from elsewhere those of the configuration.
    let is_signed_here = test.token.0.iter().any(|token| token.raw.is_none());
    bench.publish(forge, is_signed_here)?;
    Ok(bench.explain(&request, Timestamp::from_secs(now), &secrets))
}

fn sketch(request: &RequestPart) -> Result<RequestSketch, String> {
    let mut headers = Vec::new();
    for (name, values) in &request.headers {
        for value in values.all() {
            headers.push(RequestSketch::header_of(&format!("{name}: {value}"))?);
        }
    }
    let metadata = request.metadata.as_ref().map(|value| metadata(&value.to_string()));
    let metadata = metadata.transpose().map_err(|error| format!("request.metadata: {error}"))?;
    Ok(RequestSketch {
        method: request.method.clone(),
        path: request.path.clone(),
        host: request.host.clone(),
        headers,
        tls: request.tls,
        client_address: request.client_address.clone(),
        metadata: metadata.unwrap_or_else(JsonObject::default),
        route: request.route.clone(),
    })
}

/// What is not as it was expected.
fn differences(expect: &Expect, found: &Explanation) -> Vec<String> {
    let mut problems = Vec::new();
    let mut differs = |what: &str, expected: String, found: String| {
        if expected != found {
            problems.push(format!("{what}: expected {expected}, found {found}"));
        }
    };
    if let Some(status) = expect.status {
        differs("status", status.to_string(), found.status.to_string());
    }
    let or_none = |text: Option<&str>| text.unwrap_or("none").to_owned();
    if let Some(reason) = &expect.reason {
        differs("reason", or_none(reason.as_deref()), or_none(found.reason));
    }
    if let Some(rule) = &expect.rule {
        differs("rule", or_none(rule.as_deref()), or_none(found.rule.as_deref()));
    }
    if let Some(scope) = &expect.scope {
        differs("scope", or_none(scope.as_deref()), or_none(challenge_scope(found).as_deref()));
    }
    let upstream = found.upstream.as_ref().map(|upstream| &upstream.headers);
    let answer = found.answer.as_ref().map(|answer| &answer.headers);
    for (what, wanted, fields) in
        [("upstream", &expect.upstream, upstream), ("answer", &expect.answer, answer)]
    {
        for (name, wanted) in wanted {
            let values = fields.and_then(|fields| fields.0.get(&name.to_ascii_lowercase()));
            let text = |values: &[String]| format!("{values:?}");
            let wanted = wanted.as_ref().map_or("nothing".to_owned(), |wanted: &Texts| text(wanted.all()));
            let values = values.map_or("nothing".to_owned(), |values| text(values));
            differs(&format!("{what} {name}"), wanted, values);
        }
    }
    problems
}

/// The scopes that the first challenge with any asks for (RFC 6750 section 3).
fn challenge_scope(found: &Explanation) -> Option<String> {
    let challenges = found.answer.as_ref()?.headers.0.get("www-authenticate")?;
    let scope = |challenge: &String| {
        let (_, rest) = challenge.split_once("scope=\"")?;
        Some(rest.split_once('"')?.0.to_owned())
    };
    challenges.iter().find_map(scope)
}
