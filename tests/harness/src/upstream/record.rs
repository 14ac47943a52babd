//! A request as it reached the upstream.

use serde_json::{Value, json};

/// A request as it reached the upstream, byte for byte where that matters.
#[derive(Clone, Debug, Default)]
pub struct Record {
    /// The method.
    pub method: String,
    /// The path with its query, as it came.
    pub path: Vec<u8>,
    /// `Host` or `:authority`.
    pub authority: Option<String>,
    /// `HTTP/1.1` or `HTTP/2`.
    pub version: &'static str,
    /// The header fields, names in lower case, repeated ones as often as they came. Over HTTP/1.1 in their order.
    pub headers: Vec<(String, Vec<u8>)>,
    /// The body, of which at most a mebibyte is kept.
    pub body: Vec<u8>,
    /// How long the whole body was.
    pub body_length: usize,
    /// The trailers.
    pub trailers: Vec<(String, Vec<u8>)>,
    /// Set when it could not be read as HTTP: then [`Self::path`] holds the bytes that came.
    pub malformed: bool,
}

impl Record {
    /// The path as text.
    pub fn path(&self) -> String {
        String::from_utf8_lossy(&self.path).into_owned()
    }

    /// The first field of this name, without case.
    pub fn header(&self, name: &str) -> Option<String> {
        self.headers_named(name).into_iter().next()
    }

    /// Every field of this name, without case.
    pub fn headers_named(&self, name: &str) -> Vec<String> {
        self.headers
            .iter()
            .filter(|(known, _)| known.eq_ignore_ascii_case(name))
            .map(|(_, value)| String::from_utf8_lossy(value).into_owned())
            .collect()
    }

    /// What the echo answers.
    pub fn to_json(&self) -> Value {
        json!({
            "method": self.method,
            "path": self.path(),
            "authority": self.authority,
            "version": self.version,
            "headers": lossy(&self.headers),
            "body_length": self.body_length,
            "trailers": lossy(&self.trailers),
        })
    }
}

fn lossy(fields: &[(String, Vec<u8>)]) -> Vec<[String; 2]> {
    fields.iter().map(|(name, value)| [name.clone(), String::from_utf8_lossy(value).into_owned()]).collect()
}
