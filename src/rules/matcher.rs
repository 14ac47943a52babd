//! The conditions under which a rule is for a request.

use std::borrow::Cow;
use std::cell::OnceCell;

use super::host::{HostMatch, host_of};
use super::path::text_of;
use super::template::Template;
use super::uri_template::UriTemplate;
use crate::request::Request;
use crate::text::TextMatch;

/// The conditions of a rule; all of them must hold.
#[derive(Clone, Debug)]
pub struct Match {
    /// What the path must be.
    pub path: PathMatch,
    /// Whether upper and lower case of ASCII letters differ in [`Self::path`]. An expression and Envoy's own
    /// template decide that for themselves.
    pub case_sensitive: bool,
    /// One of these methods, to the letter (RFC 9110 section 9.1); none: every method.
    pub methods: Vec<String>,
    /// One of these hosts; none: every host.
    pub hosts: Vec<HostMatch>,
    /// All of these.
    pub headers: Vec<HeaderMatch>,
    /// All of these.
    pub query_parameters: Vec<QueryMatch>,
    /// Only gRPC requests.
    pub grpc: bool,
}

/// A condition on the path, in the form in which the rule compares it.
#[derive(Clone, Debug)]
pub enum PathMatch {
    /// It starts with this text; like Envoy's, this does not stop at a `/`.
    Prefix(String),
    /// It is this text.
    Exact(String),
    /// It is this text, or starts with it and a `/`.
    Separated(String),
    /// It has this form.
    Template(Template),
    /// It has this form, as Envoy reads it.
    UriTemplate(UriTemplate),
    /// The whole of it matches.
    Regex(PathRegex),
    /// There is none: the request asks for a tunnel.
    Connect,
}

/// A regular expression for paths.
#[derive(Clone, Debug)]
pub struct PathRegex {
    /// The expression.
    pub expression: TextMatch,
    /// What every path that it matches begins with.
    pub prefix: String,
}

/// A condition on a header field: Envoy's `HeaderMatcher`. Values of one name are one value, joined by
/// commas.
#[derive(Clone, Debug)]
pub struct HeaderMatch {
    /// Its name, in lower case.
    pub name: String,
    /// What its value must be.
    pub value: ValueMatch,
    /// Whether it is the opposite that must hold. What is not there meets neither.
    pub invert: bool,
    /// Whether a field that is not there is one with an empty value.
    pub missing_is_empty: bool,
}

/// A condition on a value.
#[derive(Clone, Debug)]
pub enum ValueMatch {
    /// The text.
    Text(TextMatch),
    /// A whole number: the first or more, and less than the second.
    Range(i64, i64),
    /// Whether it is there.
    Present(bool),
}

/// A condition on a parameter of the query: Envoy's `QueryParameterMatcher`. The first of that name counts;
/// neither name nor value is decoded.
#[derive(Clone, Debug)]
pub struct QueryMatch {
    /// Its name.
    pub name: String,
    /// What its value must be.
    pub value: QueryValue,
}

/// A condition on the value of a parameter.
#[derive(Clone, Debug)]
pub enum QueryValue {
    /// The text.
    Text(TextMatch),
    /// Whether it is there.
    Present(bool),
}

/// What rules ask of a request besides its path, found out when the first of them asks.
pub(super) struct Facts<'r> {
    request: Request<'r>,
    host: OnceCell<Option<Cow<'r, str>>>,
}

impl<'r> Facts<'r> {
    pub(super) fn new(request: &Request<'r>) -> Self {
        Self { request: *request, host: OnceCell::new() }
    }

    pub(super) fn host(&self) -> Option<&str> {
        self.host.get_or_init(|| host_of(&self.request)).as_deref()
    }

    /// The value of a field, several joined by commas; `name` is in lower case.
    pub(super) fn header(&self, name: &str) -> Option<Cow<'r, [u8]>> {
        // Envoy knows but one of the two.
        let name = if name == "host" { ":authority" } else { name };
        let mut values = self.request.all(name);
        let first = values.next()?;
        let Some(second) = values.next() else { return Some(Cow::Borrowed(first)) };
        let mut all = [first, b",", second].concat();
        for value in values {
            all.push(b',');
            all.extend_from_slice(value);
        }
        Some(Cow::Owned(all))
    }

    /// The first value of a parameter, as it was sent.
    fn parameter(&self, name: &str) -> Option<&'r [u8]> {
        let target = self.request.target()?;
        let start = target.iter().position(|byte| *byte == b'?')?;
        let (_, query) = target.split_at_checked(start.checked_add(1)?)?;
        query.split(|byte| *byte == b'&').find_map(|pair| {
            let end = pair.iter().position(|byte| *byte == b'=').unwrap_or(pair.len());
            let (own, value) = pair.split_at_checked(end)?;
            (own == name.as_bytes()).then(|| value.strip_prefix(b"=").unwrap_or(value))
        })
    }
}

impl Match {
    /// For all requests of this path.
    pub fn of(path: PathMatch) -> Self {
        Self {
            path,
            case_sensitive: true,
            methods: Vec::new(),
            hosts: Vec::new(),
            headers: Vec::new(),
            query_parameters: Vec::new(),
            grpc: false,
        }
    }

    /// The names of the variables that the path binds.
    pub fn variables(&self) -> Vec<&str> {
        match &self.path {
            PathMatch::Template(template) => template.variables().collect(),
            PathMatch::UriTemplate(template) => template.variables().collect(),
            _ => Vec::new(),
        }
    }

    /// The text, decoded, of what a variable takes of a path that matches; nothing where the path binds no
    /// such variable, or where its text is not UTF-8.
    pub fn variable<'p>(&self, name: &str, path: &'p str) -> Option<Cow<'p, str>> {
        text_of(match &self.path {
            PathMatch::Template(template) => template.piece(name, path)?,
            PathMatch::UriTemplate(template) => template.piece(name, path)?,
            _ => return None,
        })
    }

    /// How many regular expressions it has.
    pub fn expressions(&self) -> usize {
        let path = matches!(self.path, PathMatch::Regex(_) | PathMatch::UriTemplate(_));
        let is_regex = |text: &&TextMatch| matches!(text, TextMatch::Regex(_));
        let headers = self.headers.iter().filter_map(|header| match &header.value {
            ValueMatch::Text(text) => Some(text),
            ValueMatch::Range(..) | ValueMatch::Present(_) => None,
        });
        let query = self.query_parameters.iter().filter_map(|parameter| match &parameter.value {
            QueryValue::Text(text) => Some(text),
            QueryValue::Present(_) => None,
        });
        headers.chain(query).filter(is_regex).count().saturating_add(usize::from(path))
    }

    /// Whether everything but the path holds.
    pub(super) fn others_hold(&self, facts: &Facts<'_>) -> bool {
        let request = &facts.request;
        let method = || {
            let method = request.method();
            self.methods.iter().any(|own| own.as_bytes() == method)
        };
        let host = || facts.host().is_some_and(|host| self.hosts.iter().any(|own| own.holds(host)));
        (self.methods.is_empty() || method())
            && (self.hosts.is_empty() || host())
            && (!self.grpc || is_grpc(request))
            && self.headers.iter().all(|header| header.holds(facts))
            && self.query_parameters.iter().all(|parameter| parameter.holds(facts))
    }

    /// Whether a request is one of these, where its path is this. Where many rules are asked, an index is
    /// faster.
    pub fn holds(&self, request: &Request<'_>, path: &str) -> bool {
        self.others_hold(&Facts::new(request)) && self.path_holds(path)
    }

    /// Whether the path holds.
    pub(super) fn path_holds(&self, path: &str) -> bool {
        if self.case_sensitive {
            return self.path.holds(path);
        }
        match &self.path {
            PathMatch::Regex(_) | PathMatch::UriTemplate(_) | PathMatch::Connect => self.path.holds(path),
            PathMatch::Prefix(_) | PathMatch::Exact(_) | PathMatch::Separated(_) | PathMatch::Template(_) => {
                self.path.in_lower_case().holds(&path.to_ascii_lowercase())
            }
        }
    }
}

impl PathMatch {
    fn holds(&self, path: &str) -> bool {
        match self {
            Self::Prefix(prefix) => path.starts_with(prefix.as_str()),
            Self::Exact(exact) => path == exact,
            Self::Separated(prefix) => {
                let rest = path.strip_prefix(prefix.as_str());
                rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
            }
            Self::Template(template) => template.matches(path),
            Self::UriTemplate(template) => template.matches(path),
            Self::Regex(regex) => regex.expression.holds(path),
            Self::Connect => false,
        }
    }

    /// The same for paths in lower case, where case is not the condition's own business.
    pub(super) fn in_lower_case(&self) -> Self {
        match self {
            Self::Prefix(text) => Self::Prefix(text.to_ascii_lowercase()),
            Self::Exact(text) => Self::Exact(text.to_ascii_lowercase()),
            Self::Separated(text) => Self::Separated(text.to_ascii_lowercase()),
            Self::Template(template) => Self::Template(template.in_lower_case()),
            Self::UriTemplate(_) | Self::Regex(_) | Self::Connect => self.clone(),
        }
    }
}

impl HeaderMatch {
    fn holds(&self, facts: &Facts<'_>) -> bool {
        let value = match facts.header(&self.name) {
            Some(value) => value,
            None if self.missing_is_empty => Cow::Borrowed(&b""[..]),
            None => return matches!(self.value, ValueMatch::Present(present) if present == self.invert),
        };
        self.value.holds(&value) != self.invert
    }

    /// The one value that meets the condition, where there is but one.
    pub(super) fn only_value(&self) -> Option<&str> {
        match &self.value {
            ValueMatch::Text(TextMatch::Exact(text)) if !self.invert && !self.missing_is_empty => Some(text),
            _ => None,
        }
    }
}

impl ValueMatch {
    fn holds(&self, value: &[u8]) -> bool {
        match self {
            Self::Text(text) => text.holds(&String::from_utf8_lossy(value)),
            Self::Range(start, end) => std::str::from_utf8(value)
                .ok()
                .and_then(|text| text.trim_ascii().parse::<i64>().ok())
                .is_some_and(|number| *start <= number && number < *end),
            Self::Present(present) => *present,
        }
    }
}

impl QueryMatch {
    fn holds(&self, facts: &Facts<'_>) -> bool {
        let value = facts.parameter(&self.name);
        match &self.value {
            QueryValue::Text(text) => value.is_some_and(|value| text.holds(&String::from_utf8_lossy(value))),
            QueryValue::Present(present) => value.is_some() == *present,
        }
    }
}

/// As Envoy tells it: `application/grpc`, with a suffix such as `+proto` or without.
fn is_grpc(request: &Request<'_>) -> bool {
    let content_type = request.first("content-type").unwrap_or_default();
    let rest = content_type.strip_prefix(b"application/grpc");
    rest.is_some_and(|rest| matches!(rest.first(), None | Some(b'+')))
}
