//! A configuration in a file as the filter gets it, and the way back from the filter's paths to the file.

use portcullis::member_path;

use super::entries::{Entry, Given};
use crate::source::{File, Mark, Node, Value};

/// What reads the plain words of a file on the way to the filter.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Dialect {
    /// JSON, or YAML 1.2: the file is the configuration itself.
    Core,
    /// Envoy's reader of YAML: yes and no are booleans, and a number with a fraction is a text.
    Envoy,
    /// Kubernetes' tools: yes and no are booleans; numbers travel as doubles.
    Kubernetes,
}

/// The text that the filter gets for a configuration in a file.
pub(crate) fn text(file: &File, entry: &Entry) -> String {
    match &entry.given {
        Given::Values(..) if file.is_json && entry.way.is_empty() => file.text.clone(),
        Given::Values(node, dialect) => json(node, *dialect),
        Given::Text(node) => node.as_str().unwrap_or_default().to_owned(),
        Given::Nothing => String::new(),
    }
}

/// The JSON text that the filter gets for a value.
pub(crate) fn json(node: &Node, dialect: Dialect) -> String {
    let mut out = String::new();
    write(node, dialect, &mut out);
    out
}

fn write(node: &Node, dialect: Dialect, out: &mut String) {
    match &node.value {
        Value::Plain(word) => out.push_str(&plain(word, dialect)),
        Value::Text(text, _) => out.push_str(&quoted(text)),
        Value::List(elements) => {
            out.push('[');
            for (at, element) in elements.iter().enumerate() {
                if at > 0 {
                    out.push(',');
                }
                write(element, dialect, out);
            }
            out.push(']');
        }
        Value::Map(members) => {
            out.push('{');
            let mut first = true;
            for (at, member) in members.iter().enumerate() {
                // Of two the last counts; that there are two is told by itself.
                if members.iter().skip(at + 1).any(|later| later.key == member.key) {
                    continue;
                }
                if !first {
                    out.push(',');
                }
                first = false;
                out.push_str(&quoted(&member.key));
                out.push(':');
                write(&member.value, dialect, out);
            }
            out.push('}');
        }
    }
}

fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// What a word without quotes means.
fn plain(word: &str, dialect: Dialect) -> String {
    if matches!(word, "" | "~" | "null" | "Null" | "NULL") {
        return "null".to_owned();
    }
    if let Some(value) = boolean(word, dialect) {
        return value.to_string();
    }
    match (number(word), dialect) {
        (None, _) => quoted(word),
        (Some(Number::Whole(whole)), Dialect::Envoy) if i32::try_from(whole).is_err() => {
            quoted(&whole.to_string())
        }
        // A `google.protobuf.Value` holds a double.
        (Some(Number::Whole(whole)), Dialect::Kubernetes) if whole.unsigned_abs() > 1 << 53 => {
            double(whole as f64).unwrap_or_else(|| quoted(word))
        }
        (Some(Number::Whole(whole)), _) => whole.to_string(),
        (Some(Number::Other(_)), Dialect::Envoy) => quoted(word),
        // To the letter: the filter's own reader says what is too much.
        (Some(Number::Other(_)), Dialect::Core) if is_json_number(word) => word.to_owned(),
        (Some(Number::Other(value)), _) => double(value).unwrap_or_else(|| quoted(word)),
    }
}

fn boolean(word: &str, dialect: Dialect) -> Option<bool> {
    let lower = word.to_ascii_lowercase();
    let capitalised = |word: &str| {
        let rest = word.get(1..).unwrap_or_default();
        rest.bytes().all(|b| b.is_ascii_lowercase()) || word.bytes().all(|b| b.is_ascii_uppercase())
    };
    let value = match (lower.as_str(), dialect) {
        ("true", _) => true,
        ("false", _) => false,
        ("yes" | "on", Dialect::Envoy | Dialect::Kubernetes) | ("y", Dialect::Envoy) => true,
        ("no" | "off", Dialect::Envoy | Dialect::Kubernetes) | ("n", Dialect::Envoy) => false,
        _ => return None,
    };
    capitalised(word).then_some(value)
}

enum Number {
    Whole(i64),
    Other(f64),
}

fn number(word: &str) -> Option<Number> {
    let based = |digits: &str, radix| i64::from_str_radix(digits, radix).ok().map(Number::Whole);
    if let Some(digits) = word.strip_prefix("0x") {
        return based(digits, 16);
    }
    if let Some(digits) = word.strip_prefix("0o") {
        return based(digits, 8);
    }
    let first = word.trim_start_matches(['-', '+']).bytes().next()?;
    if !first.is_ascii_digit() && first != b'.' {
        return None;
    }
    match word.parse::<i64>() {
        Ok(whole) => Some(Number::Whole(whole)),
        Err(_) => word.parse::<f64>().ok().filter(|value| value.is_finite()).map(Number::Other),
    }
}

fn is_json_number(word: &str) -> bool {
    serde_json::from_str::<serde_json::Number>(word).is_ok()
}

fn double(value: f64) -> Option<String> {
    serde_json::Number::from_f64(value).map(|number| number.to_string())
}

/// Where the member is that a path of the filter names, or the nearest around it that is there.
pub(crate) fn place(root: &Node, path: &str) -> Mark {
    let mut at = root.at;
    let (mut node, mut done) = (root, String::new());
    while done.len() < path.len() {
        let Some((next, mark, way)) = step(node, &done, path) else { return at };
        (node, at, done) = (next, mark, way);
    }
    at
}

/// The member or element that comes next on the way: itself, where it is, and the path to it. Member names are put
/// together as the filter does it, so that none has to be taken apart.
fn step<'n>(node: &'n Node, done: &str, path: &str) -> Option<(&'n Node, Mark, String)> {
    let is_on_way = |way: &str| {
        let rest = path.strip_prefix(way);
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
    };
    let members = node.members().iter().rev();
    let members = members.map(|member| (&member.value, member.at, member_path(done, &member.key)));
    let elements = node.elements().iter().enumerate();
    let elements = elements.map(|(at, element)| (element, element.at, format!("{done}[{at}]")));
    members.chain(elements).filter(|(_, _, way)| is_on_way(way)).max_by_key(|(_, _, way)| way.len())
}
