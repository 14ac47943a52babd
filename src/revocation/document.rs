//! The list as a JSON document that a shell script can write, and the index of a large one.

use std::fmt;

use serde::Deserialize;

use super::identity::{Key, Kind};
use super::index::Index;
use super::list::Draft;
use crate::json::Json;

/// The most entries and cut-offs that a JSON document may have.
pub const MAX_ENTRIES: usize = 50_000;

/// What a document says.
#[derive(Debug)]
pub enum Document {
    /// The list itself.
    List(Draft),
    /// Where its pages are.
    Index(Index),
}

/// Why a document is not one that can be used. A document like this never replaces a good one.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ListError(String);

impl fmt::Display for ListError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    version: u64,
    entries: Option<Vec<Entry>>,
    cutoffs: Option<Vec<Cutoff>>,
    pages: Option<Vec<String>>,
    /// For people; not read.
    #[serde(default, rename = "comment")]
    _comment: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    issuer: Option<String>,
    jti: Option<String>,
    sid: Option<String>,
    sub: Option<String>,
    client_id: Option<String>,
    until: u64,
    #[serde(default, rename = "comment")]
    _comment: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Cutoff {
    issuer: Option<String>,
    sub: Option<String>,
    client_id: Option<String>,
    everyone: Option<bool>,
    issued_before: u64,
    until: Option<u64>,
    #[serde(default, rename = "comment")]
    _comment: Option<String>,
}

impl Document {
    /// Reads a document of at most `max` entries and cut-offs. `issuer` is that of entries that name
    /// none.
    ///
    /// # Errors
    /// What is wrong and where, in words that repeat nothing of the document.
    pub fn parse(text: &[u8], issuer: Option<&str>, max: usize) -> Result<Self, ListError> {
        let written: Written = serde_json::from_slice(text).map_err(|error| ListError(words(&error)))?;
        written.read(issuer, max)
    }

    /// The same for JSON that was read already.
    ///
    /// # Errors
    /// What is wrong and where.
    pub fn from_json(json: &Json, issuer: Option<&str>) -> Result<Self, ListError> {
        Self::parse(json.to_string().as_bytes(), issuer, MAX_ENTRIES)
    }
}

impl Draft {
    /// Takes in one line of a large list: an entry, or a cut-off, as they stand in a document. `issuer` is
    /// that of lines that name none.
    ///
    /// # Errors
    /// What is wrong with the line.
    pub fn line(&mut self, text: &[u8], issuer: Option<&str>) -> Result<(), ListError> {
        let wrong = |error: &serde_json::Error| ListError(words(error));
        let cutoff = |text| ListError(format!("the cut-off {text}"));
        let is_cutoff = match crate::json::parse(text) {
            Ok(Json::Object(object)) => object.contains("issued_before"),
            Ok(_) => return Err(ListError("not an object".to_owned())),
            Err(error) => return Err(ListError(error.to_string())),
        };
        if is_cutoff {
            let line: Cutoff = serde_json::from_slice(text).map_err(|error| wrong(&error))?;
            self.cutoff(line.key(issuer).map_err(cutoff)?, line.issued_before, line.until);
        } else {
            let line: Entry = serde_json::from_slice(text).map_err(|error| wrong(&error))?;
            let key = line.key(issuer).map_err(|text| ListError(format!("the entry {text}")))?;
            self.entry(key, Some(line.until));
        }
        Ok(())
    }
}

impl Written {
    fn read(self, issuer: Option<&str>, max: usize) -> Result<Document, ListError> {
        let error = |text: &str| Err(ListError(format!("not a revocation list: {text}")));
        if self.version != 1 {
            return error("\"version\" must be 1");
        }
        if let Some(pages) = self.pages {
            if self.entries.is_some() || self.cutoffs.is_some() {
                return error("\"pages\" stands beside \"entries\" or \"cutoffs\"; keep one");
            }
            return match Index::from_texts(&pages) {
                Some(index) => Ok(Document::Index(index)),
                None => error("\"pages\" must be 1, 2, 4 … 4096 SHA-256 digests in hexadecimal"),
            };
        }
        if self.entries.is_none() && self.cutoffs.is_none() {
            return error("needs \"entries\", \"cutoffs\" or \"pages\"; an empty list is [] and not nothing");
        }
        let (entries, cutoffs) = (self.entries.unwrap_or_default(), self.cutoffs.unwrap_or_default());
        let count = entries.len().saturating_add(cutoffs.len());
        if count > max {
            return Err(ListError(format!(
                "{count} entries and cut-offs, more than the {max} of a JSON list; make pages with portcullis revlist build"
            )));
        }
        let mut draft = Draft::default();
        for (at, entry) in entries.iter().enumerate() {
            let key = entry.key(issuer).map_err(|text| ListError(format!("entries[{at}] {text}")))?;
            draft.entry(key, Some(entry.until));
        }
        for (at, cutoff) in cutoffs.iter().enumerate() {
            let key = cutoff.key(issuer).map_err(|text| ListError(format!("cutoffs[{at}] {text}")))?;
            draft.cutoff(key, cutoff.issued_before, cutoff.until);
        }
        Ok(Document::List(draft))
    }
}

const NO_ISSUER: &str = "has no \"issuer\", and the configuration names none for the list";

impl Entry {
    fn key(&self, issuer: Option<&str>) -> Result<Key, &'static str> {
        let names = [
            (Kind::Token, &self.jti),
            (Kind::Session, &self.sid),
            (Kind::Subject, &self.sub),
            (Kind::Client, &self.client_id),
        ];
        let mut given = names.iter().filter_map(|(kind, value)| Some((*kind, value.as_deref()?)));
        let (Some((kind, value)), None) = (given.next(), given.next()) else {
            return Err("needs exactly one of \"jti\", \"sid\", \"sub\" and \"client_id\"");
        };
        let issuer = self.issuer.as_deref().or(issuer).ok_or(NO_ISSUER)?;
        Ok(Key::new(kind, issuer, value))
    }
}

impl Cutoff {
    fn key(&self, issuer: Option<&str>) -> Result<Key, &'static str> {
        let own = self.issuer.as_deref();
        match (&self.sub, &self.client_id, self.everyone) {
            (None, None, Some(true)) if own.is_none() => Ok(Key::new(Kind::Everyone, "", "")),
            (Some(sub), None, None) => Ok(Key::new(Kind::Subject, own.or(issuer).ok_or(NO_ISSUER)?, sub)),
            (None, Some(client), None) => {
                Ok(Key::new(Kind::Client, own.or(issuer).ok_or(NO_ISSUER)?, client))
            }
            // Never by default: an entry that lost its subject must not refuse everybody.
            (None, None, None) => match own {
                Some(issuer) => Ok(Key::new(Kind::Issuer, issuer, "")),
                None => {
                    Err("names nobody; give \"sub\", \"client_id\", \"issuer\" alone, or \"everyone\": true")
                }
            },
            _ => Err("names more than one of \"sub\", \"client_id\" and \"everyone\": true; keep one"),
        }
    }
}

/// What serde says, without what it quotes from the document.
fn words(error: &serde_json::Error) -> String {
    use serde_json::error::Category;
    let text = error.to_string();
    let what = match error.classify() {
        Category::Eof => "the text ends too early",
        Category::Data if text.starts_with("missing field") => {
            text.split(" at line").next().unwrap_or_default()
        }
        Category::Data if text.starts_with("unknown field") => "a field that is not known",
        Category::Data if text.starts_with("duplicate field") => "a field that is there twice",
        Category::Data => "a value of the wrong type",
        Category::Syntax | Category::Io => "not valid JSON",
    };
    format!("not a revocation list: {what} (line {}, column {})", error.line(), error.column())
}
