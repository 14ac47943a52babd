//! Wrong configurations, and what is said of each: `refusals.txt` beside this file is read by people, and held here.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;

use harness::workspace;
use portcullis::Config;
use serde_json::{Value, json};

/// Set, the file is written anew.
const WRITE: &str = "PORTCULLIS_WRITE_REFUSALS";

/// The configuration that each case changes. It is good.
fn base() -> Value {
    let key = json!({
        "kty": "EC", "crv": "P-256", "kid": "k",
        "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU", "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0",
    });
    json!({
        "providers": {
            "corp": {
                "issuer": "https://idp.example/",
                "audiences": ["orders"],
                "remote_jwks": { "http_uri": { "uri": "https://idp.example/jwks", "cluster": "idp", "timeout": "5s" } },
            },
            "local": {
                "issuer": "https://local.example/",
                "audiences": ["orders"],
                "local_jwks": { "inline": { "keys": [key] } },
            },
        },
        "requirement_map": { "staff": { "provider_name": "corp" } },
        "rules": [
            { "name": "first", "match": { "path": "/open" } },
            { "match": { "prefix": "/" }, "requires": { "provider_name": "corp" } },
        ],
    })
}

/// One wrong configuration.
struct Case<'f> {
    /// The line of the file.
    line: &'f str,
    /// Where its error is.
    place: &'f str,
    text: String,
}

impl<'f> Case<'f> {
    /// Of a line: what is written where, and in front of `@` where the error is, if it is elsewhere.
    fn parse(line: &'f str) -> Self {
        let (place, change) = match line.split_once(" @ ") {
            Some((place, change)) => (Some(place), change),
            None => (None, line),
        };
        if let Some(text) = change.strip_prefix("text = ") {
            let text = if text == "nothing" { "" } else { text };
            return Self { line, place: place.unwrap_or("configuration"), text: text.to_owned() };
        }
        let mut config = base();
        let mut first = "";
        for change in change.split(" & ") {
            let (path, value) = change.split_once(" = ").unwrap_or_else(|| panic!("no change: {line}"));
            set(&mut config, &steps(path), value);
            first = if first.is_empty() { path } else { first };
        }
        Self { line, place: place.unwrap_or(first), text: config.to_string() }
    }

    /// What is said of it.
    fn problems(&self) -> Vec<String> {
        let variable = |name: &str| match name {
            "SHORT" => Some("a short one".to_owned()),
            "LINES" => Some("one line\nand another, which no header can hold".to_owned()),
            _ => None,
        };
        let problems = Config::parse(self.text.as_bytes(), &variable).err().unwrap_or_default();
        problems.iter().map(ToString::to_string).collect()
    }
}

/// The members and elements that a path goes through: `a.b[0]["c d"]`.
fn steps(path: &str) -> Vec<String> {
    let mut steps = Vec::new();
    let mut rest = path;
    while !rest.is_empty() {
        rest = rest.strip_prefix('.').unwrap_or(rest);
        if let Some(inside) = rest.strip_prefix('[') {
            let (index, behind) = inside.split_once(']').expect("a bracket's pair");
            steps.push(index.trim_matches('"').to_owned());
            rest = behind;
        } else {
            let end = rest.find(['.', '[']).unwrap_or(rest.len());
            steps.push(rest[..end].to_owned());
            rest = &rest[end..];
        }
    }
    steps
}

/// Writes a value into a configuration, or takes out what is there.
fn set(config: &mut Value, steps: &[String], value: &str) {
    let (last, way) = steps.split_last().expect("a path");
    let mut at = config;
    for step in way {
        at = match at {
            Value::Array(items) => &mut items[step.parse::<usize>().expect("an index")],
            object => {
                object.as_object_mut().expect("an object").entry(step.clone()).or_insert_with(|| json!({}))
            }
        };
    }
    let parsed = || serde_json::from_str(value).unwrap_or_else(|error| panic!("{value}: {error}"));
    match (at, value) {
        (Value::Object(members), "nothing") => {
            members.remove(last).expect("something to take out");
        }
        (Value::Object(members), _) => {
            members.insert(last.clone(), parsed());
        }
        (Value::Array(items), _) => items[last.parse::<usize>().expect("an index")] = parsed(),
        _ => panic!("no place for {value}"),
    }
}

/// Whether an error tells what to do: it asks for something ("must be from 1 to 9"), or what is wrong is followed by an
/// order, which begins a clause.
pub fn tells_what_to_do(message: &str) -> bool {
    const ASKS: &[&str] = &["must ", "needs ", "unknown field; did you mean ", "unknown field; known here: "];
    const ORDERS: &[&str] = &[
        "add", "ask", "choose", "compare", "correct", "fetch", "give", "keep", "leave", "let", "list",
        "make", "name", "put", "raise", "remove", "rename", "replace", "say", "set", "swap", "take", "try",
        "use", "write",
    ];
    let begins = |clause: &str| {
        let word = clause.split([' ', ',']).next().unwrap_or_default();
        ORDERS.contains(&word)
    };
    ASKS.iter().any(|ask| message.starts_with(ask))
        || message.split([';', ':', ',']).skip(1).map(str::trim_start).any(|clause| {
            begins(clause) || clause.strip_prefix("or ").or(clause.strip_prefix("and ")).is_some_and(begins)
        })
}

#[test]
fn every_wrong_configuration_is_refused_in_words_that_help() {
    let config = base().to_string();
    assert!(
        Config::parse(config.as_bytes(), &|_| None).is_ok(),
        "the configuration that cases change is good"
    );
    let file = workspace().join("tests/it/refusals.txt");
    let before = fs::read_to_string(&file).expect("the file of refusals");
    let (mut after, mut wrong, mut cases, mut texts) = (String::new(), Vec::new(), 0, BTreeSet::new());
    for line in before.lines().filter(|line| !line.starts_with("    ")) {
        writeln!(after, "{line}").expect("a text");
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let case = Case::parse(line);
        let problems = case.problems();
        cases += 1;
        if !problems.iter().any(|problem| problem.starts_with(&format!("{}: ", case.place))) {
            wrong.push(format!("{}\n  nothing is said at {}, but {problems:#?}", case.line, case.place));
        }
        for problem in problems {
            writeln!(after, "    {problem}").expect("a text");
            let (_, message) = problem.split_once(": ").expect("a place");
            if !tells_what_to_do(message) {
                wrong.push(format!("{}\n  does not tell what to do: {problem}", case.line));
            }
            texts.insert(message.to_owned());
        }
    }
    let writes = std::env::var_os(WRITE).is_some();
    if writes {
        fs::write(&file, &after).expect("the file is written");
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(cases >= 200 && texts.len() >= 150, "{cases} cases with {} texts", texts.len());
    let differs = before.lines().zip(after.lines()).find(|(before, after)| before != after);
    assert!(
        writes || before == after,
        "{WRITE}=1 writes the file anew; it says, and now would say: {differs:#?}"
    );
}
