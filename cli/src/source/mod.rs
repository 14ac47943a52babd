//! Files of configurations: YAML and JSON, with the place of every value.

mod json;
mod text;
mod yaml;

use std::path::Path;
use std::{fs, io};

use crate::output::Failure;

/// A place in a file, counted from 1, in characters.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct Mark {
    pub(crate) line: usize,
    pub(crate) column: usize,
}

/// The beginning of a file.
pub(crate) const START: Mark = Mark { line: 1, column: 1 };

/// A value and where it is.
#[derive(Clone, Debug)]
pub(crate) struct Node {
    pub(crate) value: Value,
    pub(crate) at: Mark,
}

/// A value as it was written. What a plain word of YAML means depends on who reads it.
#[derive(Clone, Debug)]
pub(crate) enum Value {
    /// A word without quotes in YAML, or one of JSON's words and numbers.
    Plain(String),
    /// A text in quotes or in a block, and where each of its characters is.
    Text(String, text::Places),
    List(Vec<Node>),
    Map(Vec<Member>),
}

/// A member of a map; a file may write the same one twice.
#[derive(Clone, Debug)]
pub(crate) struct Member {
    pub(crate) key: String,
    pub(crate) at: Mark,
    pub(crate) value: Node,
}

/// What is wrong with the text of a file.
#[derive(Debug)]
pub(crate) struct Unreadable {
    pub(crate) at: Mark,
    pub(crate) message: String,
}

/// No file is larger.
const MAX_FILE: u64 = 16 << 20;

/// No value is nested deeper.
const MAX_DEPTH: usize = 200;

/// How many values the documents of a file may have, those that aliases repeat among them.
const MAX_NODES: usize = 1_000_000;

impl Node {
    /// The members, where this is a map.
    pub(crate) fn members(&self) -> &[Member] {
        match &self.value {
            Value::Map(members) => members,
            _ => &[],
        }
    }

    /// The elements, where this is a list.
    pub(crate) fn elements(&self) -> &[Node] {
        match &self.value {
            Value::List(elements) => elements,
            _ => &[],
        }
    }

    /// The member of this name; of two the last, which readers of YAML keep.
    pub(crate) fn member(&self, key: &str) -> Option<&Member> {
        self.members().iter().rfind(|member| member.key == key)
    }

    /// The value of the member of this name.
    pub(crate) fn get(&self, key: &str) -> Option<&Node> {
        self.member(key).map(|member| &member.value)
    }

    /// The value of a member that protobuf's JSON knows by two names, `snake_case` and `lowerCamelCase`.
    pub(crate) fn field(&self, snake: &str) -> Option<&Node> {
        self.get(snake).or_else(|| self.get(&camel(snake)))
    }

    /// The value at the end of a way of fields.
    pub(crate) fn at_path(&self, way: &[&str]) -> Option<&Node> {
        way.iter().try_fold(self, |node, name| node.field(name))
    }

    /// The text or the word that this is.
    pub(crate) fn as_str(&self) -> Option<&str> {
        match &self.value {
            Value::Plain(text) | Value::Text(text, _) => Some(text),
            _ => None,
        }
    }

    /// Whether this is nothing, to every reader of YAML.
    pub(crate) fn is_null(&self) -> bool {
        matches!(&self.value, Value::Plain(word) if matches!(word.as_str(), "" | "~" | "null" | "Null" | "NULL"))
    }

    /// Whether this is the word true, to every reader of YAML.
    pub(crate) fn is_true(&self) -> bool {
        matches!(&self.value, Value::Plain(word) if matches!(word.as_str(), "true" | "True" | "TRUE"))
    }

    /// Whether this is the word false, to every reader of YAML.
    pub(crate) fn is_false(&self) -> bool {
        matches!(&self.value, Value::Plain(word) if matches!(word.as_str(), "false" | "False" | "FALSE"))
    }

    /// What a text holds that is JSON itself, with its places in the file.
    pub(crate) fn inner_json(&self) -> Option<Result<Node, Unreadable>> {
        match &self.value {
            Value::Text(text, places) => Some(json::read(text, places)),
            _ => None,
        }
    }

    /// The place of a line and column within a text.
    pub(crate) fn within(&self, line: usize, column: usize) -> Option<Mark> {
        match &self.value {
            Value::Text(text, places) => Some(places.within(text, line, column)),
            _ => None,
        }
    }

    /// What a text holds that is YAML itself, with its places in the file.
    pub(crate) fn inner_yaml(&self) -> Option<Result<Vec<Node>, Unreadable>> {
        match &self.value {
            Value::Text(text, places) => Some(yaml::read(text, places)),
            _ => None,
        }
    }
}

fn camel(snake: &str) -> String {
    let mut out = String::with_capacity(snake.len());
    let mut capital = false;
    for c in snake.chars() {
        match c {
            '_' => capital = true,
            c if capital => {
                out.push(c.to_ascii_uppercase());
                capital = false;
            }
            c => out.push(c),
        }
    }
    out
}

/// A file that was read.
pub(crate) struct File {
    /// As it was named.
    pub(crate) name: String,
    /// What it holds: the documents of YAML, or the value of JSON.
    pub(crate) documents: Result<Vec<Node>, Unreadable>,
    /// Its text.
    pub(crate) text: String,
    /// Whether it is JSON.
    pub(crate) is_json: bool,
}

impl File {
    /// Reads a file; `-` is standard input.
    ///
    /// # Errors
    /// Where it cannot be read, is too large or is no UTF-8. What its text lacks is in `documents`.
    pub(crate) fn read(path: &Path) -> Result<Self, Failure> {
        let name = path.display().to_string();
        let failed = |error: io::Error| Failure::of(&name, error);
        let bytes = match name.as_str() {
            "-" => read_bounded(io::stdin().lock()),
            _ => fs::File::open(path).and_then(read_bounded),
        };
        let text = String::from_utf8(bytes.map_err(failed)?)
            .map_err(|_| Failure::of(&name, "is not UTF-8; save it as UTF-8"))?;
        Ok(Self::of(name, text))
    }

    /// What it holds.
    ///
    /// # Errors
    /// What its text lacks, with the place.
    pub(crate) fn readable(&self) -> Result<&[Node], Failure> {
        let documents = self.documents.as_ref().map_err(|error| {
            Failure::of(format!("{}:{}:{}", self.name, error.at.line, error.at.column), &error.message)
        })?;
        Ok(documents)
    }

    /// A text as the file of that name.
    pub(crate) fn of(name: String, text: String) -> Self {
        let text = text.strip_prefix('\u{feff}').map(str::to_owned).unwrap_or(text);
        // JSON is YAML but for tabs and a few escapes, and the other way round a flow mapping is no JSON.
        let looks_like_json = text.trim_start().starts_with(['{', '[']);
        let places = text::Places::whole(&text);
        let is_named = name.ends_with(".json");
        let json = (is_named || looks_like_json).then(|| json::read(&text, &places));
        let (documents, is_json) = match json {
            Some(Ok(node)) => (Ok(vec![node]), true),
            Some(Err(error)) if is_named => (Err(error), true),
            Some(Err(error)) => match yaml::read(&text, &places) {
                Ok(documents) => (Ok(documents), false),
                Err(_) => (Err(error), true),
            },
            None => (yaml::read(&text, &places), false),
        };
        Self { name, documents, text, is_json }
    }
}

fn read_bounded(reader: impl io::Read) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    io::Read::read_to_end(&mut io::Read::take(reader, MAX_FILE + 1), &mut bytes)?;
    match bytes.len() as u64 > MAX_FILE {
        true => Err(io::Error::other(format!("is larger than {} MiB; split it", MAX_FILE >> 20))),
        false => Ok(bytes),
    }
}
