//! What came back.

use serde_json::Value;

/// A response.
#[derive(Clone, Debug, Default)]
pub struct Response {
    /// The status.
    pub status: u16,
    /// The header fields, names in lower case, in the order in which they came.
    pub headers: Vec<(String, Vec<u8>)>,
    /// The body.
    pub body: Vec<u8>,
    /// The trailers.
    pub trailers: Vec<(String, Vec<u8>)>,
}

impl Response {
    /// The first field of this name, without case.
    pub fn header(&self, name: &str) -> Option<String> {
        self.headers_named(name).into_iter().next()
    }

    /// Every field of this name, without case.
    pub fn headers_named(&self, name: &str) -> Vec<String> {
        named(&self.headers, name).collect()
    }

    /// The first trailer of this name, else the first header field: a gRPC status stands in either.
    pub fn trailer(&self, name: &str) -> Option<String> {
        named(&self.trailers, name).next().or_else(|| self.header(name))
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON.
    ///
    /// # Panics
    /// When it is none.
    #[track_caller]
    pub fn json(&self) -> Value {
        match serde_json::from_slice(&self.body) {
            Ok(value) => value,
            Err(error) => {
                panic!("status {}, and the body is not JSON ({error}): {:?}", self.status, self.text())
            }
        }
    }

    /// The member `reason` of a problem document.
    pub fn reason(&self) -> Option<String> {
        let problem: Value = serde_json::from_slice(&self.body).ok()?;
        Some(problem.get("reason")?.as_str()?.to_owned())
    }

    /// What the echo upstream says that it got under this header name: every field of it.
    ///
    /// # Panics
    /// When the body is not the echo's.
    #[track_caller]
    pub fn echoed(&self, name: &str) -> Vec<String> {
        let json = self.json();
        let Some(fields) = json["headers"].as_array() else {
            panic!("not the echo's answer: {}", self.text())
        };
        fields
            .iter()
            .filter(|field| field[0].as_str().is_some_and(|known| known.eq_ignore_ascii_case(name)))
            .filter_map(|field| field[1].as_str().map(str::to_owned))
            .collect()
    }
}

fn named<'a>(fields: &'a [(String, Vec<u8>)], name: &'a str) -> impl Iterator<Item = String> + 'a {
    fields
        .iter()
        .filter(move |(known, _)| known.eq_ignore_ascii_case(name))
        .map(|(_, value)| String::from_utf8_lossy(value).into_owned())
}
