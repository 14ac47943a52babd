//! A configuration as YAML, with comments at their places.

use serde_json::Value;

use super::change::Changes;

/// The maximum length of a line; a longer value is written over several lines.
const WIDTH: usize = 110;

/// The configuration, each change as a comment above what it is about.
pub(crate) fn text(config: &Value, changes: &Changes) -> String {
    let mut writer = Writer { out: String::new(), changes };
    writer.comments("", 0);
    writer.block(config, "", 0);
    writer.out
}

struct Writer<'c> {
    out: String,
    changes: &'c Changes,
}

impl Writer<'_> {
    /// The comments about one place.
    fn comments(&mut self, path: &str, indent: usize) {
        for change in self.changes.list().iter().filter(|change| change.path == path) {
            let mut line = String::new();
            for word in change.text.split_whitespace() {
                if !line.is_empty() && indent + line.chars().count() + word.chars().count() > WIDTH {
                    self.comment(&line, indent);
                    line.clear();
                }
                line.push(' ');
                line.push_str(word);
            }
            self.comment(&line, indent);
        }
    }

    fn comment(&mut self, words: &str, indent: usize) {
        self.out.push_str(&" ".repeat(indent));
        self.out.push('#');
        self.out.extend(words.chars().filter(|c| !c.is_control()));
        self.out.push('\n');
    }

    /// Whether a change is about a place within this one.
    fn has_comments_within(&self, path: &str) -> bool {
        let is_within = |at: &str| at.strip_prefix(path).is_some_and(|rest| rest.starts_with(['.', '[']));
        self.changes.list().iter().any(|change| is_within(&change.path))
    }

    /// A value behind a key or a dash: on the same line where it fits, else below.
    fn value(&mut self, value: &Value, path: &str, indent: usize, of_list: bool) {
        let one_line = flow(value);
        let fits = indent + one_line.chars().count() <= WIDTH && is_flat(value, 2);
        let is_scalar = !matches!(value, Value::Object(_) | Value::Array(_)) || is_empty(value);
        if is_scalar || (fits && !self.has_comments_within(path)) {
            self.out.push(' ');
            self.out.push_str(&one_line);
            self.out.push('\n');
            return;
        }
        self.out.push('\n');
        let start = self.out.len();
        self.block(value, path, if of_list { indent + 2 } else { indent });
        let first = self.out.get(start..).unwrap_or_default();
        if of_list && !first.trim_start().starts_with('#') {
            // The first member stands behind the dash.
            self.out.replace_range(start - 1..start + indent + 1, "");
        }
    }

    fn block(&mut self, value: &Value, path: &str, indent: usize) {
        match value {
            Value::Object(members) if !members.is_empty() => {
                for (key, value) in members {
                    let path = portcullis::member_path(path, key);
                    self.comments(&path, indent);
                    self.out.push_str(&" ".repeat(indent));
                    self.out.push_str(&scalar(key));
                    self.out.push(':');
                    self.value(value, &path, indent + 2, false);
                }
            }
            Value::Array(elements) if !elements.is_empty() => {
                for (at, element) in elements.iter().enumerate() {
                    let path = format!("{path}[{at}]");
                    self.comments(&path, indent);
                    self.out.push_str(&" ".repeat(indent));
                    self.out.push('-');
                    self.value(element, &path, indent, true);
                }
            }
            other => {
                self.out.push_str(&flow(other));
                self.out.push('\n');
            }
        }
    }
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Object(members) => members.is_empty(),
        Value::Array(elements) => elements.is_empty(),
        _ => false,
    }
}

/// Whether it is nested no deeper than this.
fn is_flat(value: &Value, depth: usize) -> bool {
    let within = |value: &Value| depth > 0 && is_flat(value, depth - 1);
    match value {
        Value::Object(members) => members.values().all(within),
        Value::Array(elements) => elements.iter().all(within),
        _ => true,
    }
}

/// A value on one line.
fn flow(value: &Value) -> String {
    match value {
        Value::Object(members) if members.is_empty() => "{}".to_owned(),
        Value::Object(members) => {
            let members = members
                .iter()
                .map(|(key, value)| format!("{}: {}", scalar(key), flow(value)))
                .collect::<Vec<_>>();
            format!("{{ {} }}", members.join(", "))
        }
        Value::Array(elements) => {
            format!("[{}]", elements.iter().map(flow).collect::<Vec<_>>().join(", "))
        }
        Value::String(text) => scalar(text),
        other => other.to_string(),
    }
}

/// A text: without quotes only where every reader of YAML reads it as a string.
fn scalar(text: &str) -> String {
    let words = ["true", "false", "yes", "no", "on", "off", "y", "n", "null"];
    let is_plain = text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '/')
        && text.chars().all(|c| c.is_ascii_alphanumeric() || "_-./".contains(c))
        && !words.contains(&text.to_ascii_lowercase().as_str());
    match is_plain {
        true => text.to_owned(),
        // A text of JSON is one of YAML, where what is no letter to YAML is escaped.
        false => {
            let mut out = String::new();
            for c in Value::from(text).to_string().chars() {
                match c {
                    '\u{7f}'..='\u{9f}' | '\u{2028}' | '\u{2029}' | '\u{feff}' | '\u{fffe}' | '\u{ffff}' => {
                        out.push_str(&format!("\\u{:04x}", u32::from(c)));
                    }
                    c => out.push(c),
                }
            }
            out
        }
    }
}
