//! The cases of `refusals.txt`: each a good configuration with a change.

use portcullis::{Config, Problem};
use serde_json::{Value, json};

/// The environment that they are read in.
pub const VARIABLES: &[(&str, &str)] =
    &[("SHORT", "a short one"), ("LINES", "one line\nand another, which no header can hold")];

/// The configuration that each case changes. It is good.
pub fn base() -> Value {
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
pub struct Case<'f> {
    /// The line of the file.
    pub line: &'f str,
    /// Where its error is.
    pub place: &'f str,
    /// The configuration.
    pub text: String,
}

impl<'f> Case<'f> {
    /// The case of a line, where it has one.
    pub fn of_line(line: &'f str) -> Option<Self> {
        let is_case = !line.is_empty() && !line.starts_with(['#', ' ']);
        is_case.then(|| Self::parse(line))
    }

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
        // In one order, whichever features serde_json was built with.
        config.sort_all_objects();
        Self { line, place: place.unwrap_or(first), text: config.to_string() }
    }

    /// What is said of it.
    pub fn problems(&self) -> Vec<Problem> {
        let variable = |name: &str| {
            let known = VARIABLES.iter().find(|(own, _)| *own == name);
            known.map(|(_, value)| (*value).to_owned())
        };
        Config::parse(self.text.as_bytes(), &variable).err().unwrap_or_default()
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
