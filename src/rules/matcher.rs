//! The conditions under which a rule is for a request.

use std::borrow::Cow;

use super::host::HostMatch;
use super::metadata::MetadataMatch;
use super::template::Template;
use super::uri_template::UriTemplate;
use crate::request::{Decoding, Held, ParameterReading, PathReading, RequestView, decoded, text_of};
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
    /// All of these.
    pub metadata: Vec<MetadataMatch>,
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

/// A condition on a header field: Envoy's `HeaderMatcher`. Of a field that is repeated it must hold for each
/// value and for all of them joined by commas, or for none of these.
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

/// A condition on a parameter of the query: Envoy's `QueryParameterMatcher`. It must hold under every
/// reading of the query, or under none: decoded and not, for the first and the last of that name.
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

impl Match {
    /// Every request that has a path.
    pub fn every_path() -> Self {
        Self::of(PathMatch::Prefix("/".to_owned()))
    }

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
            metadata: Vec::new(),
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

    /// What every path of this rule begins with.
    pub fn path_start(&self) -> Cow<'_, str> {
        match &self.path {
            PathMatch::Prefix(text) | PathMatch::Exact(text) | PathMatch::Separated(text) => {
                Cow::Borrowed(text)
            }
            PathMatch::Template(template) => Cow::Owned(template.start()),
            PathMatch::UriTemplate(template) => Cow::Borrowed(template.prefix()),
            PathMatch::Regex(regex) => Cow::Borrowed(&regex.prefix),
            PathMatch::Connect => Cow::Borrowed(""),
        }
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
        let metadata = self.metadata.iter().map(|own| own.value.expressions()).fold(0, usize::saturating_add);
        headers
            .chain(query)
            .filter(is_regex)
            .count()
            .saturating_add(usize::from(path))
            .saturating_add(metadata)
    }

    /// Whether everything but the path holds.
    pub fn others_held(&self, view: &RequestView<'_>) -> Held {
        let is_method = || {
            let method = view.request().method();
            self.methods.iter().any(|own| own.as_bytes() == method)
        };
        let mut held = Held::from(self.methods.is_empty() || is_method());
        if !self.hosts.is_empty() && held.is_possible() {
            held = held & HostMatch::any_held(&self.hosts, view.authority());
        }
        if self.grpc && held.is_possible() {
            held = held & view.request().grpc_held();
        }
        for header in &self.headers {
            held = if held.is_possible() { held & header.held(view) } else { return held };
        }
        for parameter in &self.query_parameters {
            held = if held.is_possible() { held & parameter.held(view) } else { return held };
        }
        for value in &self.metadata {
            held = if held.is_possible() { held & value.held(view) } else { return held };
        }
        held
    }

    /// Whether a request is one of these, under every reading. Where many rules are asked, an index is
    /// faster.
    pub fn held(&self, view: &RequestView<'_>) -> Held {
        self.others_held(view) & self.paths_held(view)
    }

    /// Whether all readings of the path are paths of this rule.
    pub(super) fn paths_held(&self, view: &RequestView<'_>) -> Held {
        Held::under(view.path().iter(), |reading| self.reading_held(reading, view))
    }

    /// Whether a reading is a path of this rule, for every program whose reading it is.
    fn reading_held(&self, reading: &PathReading<'_>, view: &RequestView<'_>) -> Held {
        let own = |decodings| match self.path.decoded(decodings) {
            Some(path) => self.with_path(path).path_held(&reading.text, view),
            None => self.path_held(&reading.text, view),
        };
        let last = if reading.is_stable() && self.path.has_escapes() { 2 } else { reading.decoded };
        Held::under(reading.decoded..=last, own)
    }

    fn with_path(&self, path: PathMatch) -> Self {
        Self { case_sensitive: self.case_sensitive, ..Self::of(path) }
    }

    /// Whether this text is a path of this rule.
    pub(super) fn path_held(&self, path: &str, view: &RequestView<'_>) -> Held {
        if self.case_sensitive {
            return self.path.held(path, view);
        }
        match &self.path {
            PathMatch::Regex(_) | PathMatch::UriTemplate(_) | PathMatch::Connect => {
                self.path.held(path, view)
            }
            PathMatch::Prefix(_) | PathMatch::Exact(_) | PathMatch::Separated(_) | PathMatch::Template(_) => {
                self.path.in_lower_case().held(&path.to_ascii_lowercase(), view)
            }
        }
    }
}

impl PathMatch {
    /// The member of `match` that it is.
    pub(super) fn member(&self) -> &'static str {
        match self {
            Self::Prefix(_) => "prefix",
            Self::Exact(_) => "path",
            Self::Separated(_) => "path_separated_prefix",
            Self::Template(_) => "path_template",
            Self::UriTemplate(_) => "path_match_policy",
            Self::Regex(_) => "safe_regex",
            Self::Connect => "connect_matcher",
        }
    }

    fn held(&self, path: &str, view: &RequestView<'_>) -> Held {
        Held::from(match self {
            Self::Prefix(prefix) => path.starts_with(prefix.as_str()),
            Self::Exact(exact) => path == exact,
            Self::Separated(prefix) => {
                let rest = path.strip_prefix(prefix.as_str());
                rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
            }
            Self::Template(template) => template.matches(path),
            Self::UriTemplate(_) if !view.effort().may_run(path) => return Held::Depends,
            Self::UriTemplate(template) => template.matches(path),
            Self::Regex(regex) => return Held::from(regex.expression.judge(path, view.effort())),
            Self::Connect => false,
        })
    }

    /// The same for paths that were decoded so often, where it is another one: what is escaped in it is
    /// decoded alike. An expression sees each reading as it is.
    pub(super) fn decoded(&self, decodings: usize) -> Option<Self> {
        if decodings == 0 || !self.has_escapes() {
            return None;
        }
        let text = |text: &str| decoded(text, decodings);
        Some(match self {
            Self::Prefix(own) => Self::Prefix(text(own)),
            Self::Exact(own) => Self::Exact(text(own)),
            Self::Separated(own) => Self::Separated(text(own)),
            Self::Template(own) => Self::Template(own.with_literals(text)),
            Self::UriTemplate(_) | Self::Regex(_) | Self::Connect => return None,
        })
    }

    /// Whether it has anything that decoding changes.
    pub(super) fn has_escapes(&self) -> bool {
        let changes = |text: &str| decoded(text, 1) != text || decoded(text, 2) != text;
        match self {
            Self::Prefix(own) | Self::Exact(own) | Self::Separated(own) => changes(own),
            Self::Template(own) => own.literals().any(changes),
            Self::UriTemplate(_) | Self::Regex(_) | Self::Connect => false,
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
    fn held(&self, view: &RequestView<'_>) -> Held {
        match view.only_header(&self.name) {
            Some(value) => self.value_held(value, view),
            None => Held::under(view.header(&self.name), |value| self.value_held(value.as_deref(), view)),
        }
    }

    fn value_held(&self, value: Option<&[u8]>, view: &RequestView<'_>) -> Held {
        match value.or(self.missing_is_empty.then_some(b"")) {
            Some(value) => self.value.held(value, view).inverted(self.invert),
            None => Held::from(matches!(self.value, ValueMatch::Present(present) if present == self.invert)),
        }
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
    fn held(&self, value: &[u8], view: &RequestView<'_>) -> Held {
        Held::from(match self {
            Self::Text(text) => return text_held(text, &String::from_utf8_lossy(value), view),
            Self::Range(start, end) => std::str::from_utf8(value)
                .ok()
                .and_then(|text| text.trim_ascii().parse::<i64>().ok())
                .is_some_and(|number| *start <= number && number < *end),
            Self::Present(present) => *present,
        })
    }
}

impl QueryMatch {
    fn held(&self, view: &RequestView<'_>) -> Held {
        let Some(readings) = view.parameter(&self.name) else { return Held::Depends };
        Held::under(readings, |reading| self.reading_held(&reading, view))
    }

    fn reading_held(&self, reading: &ParameterReading<'_>, view: &RequestView<'_>) -> Held {
        match (&self.value, reading.value.as_deref()) {
            (QueryValue::Text(_), None) => Held::Never,
            (QueryValue::Text(text), Some(value)) => {
                text_held(&decoded_text(text, reading.decoding), value, view)
            }
            (QueryValue::Present(present), value) => Held::from(value.is_some() == *present),
        }
    }
}

/// A condition on a text, for texts that were decoded so.
fn decoded_text(text: &TextMatch, decoding: Decoding) -> Cow<'_, TextMatch> {
    let (own, form): (_, fn(String) -> TextMatch) = match text {
        TextMatch::Exact(own) => (own, TextMatch::Exact),
        TextMatch::Prefix(own) => (own, TextMatch::Prefix),
        TextMatch::Suffix(own) => (own, TextMatch::Suffix),
        TextMatch::Contains(own) => (own, TextMatch::Contains),
        TextMatch::AnyCase(own) => {
            return Cow::Owned(decoded_text(own, decoding).into_owned().ignoring_case());
        }
        TextMatch::Regex(_) => return Cow::Borrowed(text),
    };
    match decoding.apply(own) {
        Cow::Borrowed(_) => Cow::Borrowed(text),
        Cow::Owned(decoded) => Cow::Owned(form(decoded)),
    }
}

fn text_held(text: &TextMatch, value: &str, view: &RequestView<'_>) -> Held {
    Held::from(text.judge(value, view.effort()))
}
