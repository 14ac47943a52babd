//! How programs read the other parts of a request: its host, fields, query, cookies, and the token in them.

use std::collections::BTreeSet;

use super::head::Head;
use super::paths::decode;

/// What a program takes for the host.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Host {
    pub text: String,
    /// The port that it has dropped.
    pub port: Option<String>,
}

/// How a program reads the authority. All of them drop case.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum HostReader {
    /// Envoy's virtual hosts: as it is.
    Literal,
    /// Without `:` and digits.
    WithoutPort,
    /// Without the last `:` and whatever stands behind it (Envoy's `ignore_port_in_host_matching`, nginx).
    WithoutAnyPort,
    /// Without a trailing dot (Envoy's `strip_trailing_host_dot`).
    WithoutDot,
    /// Without the port, then without the dot.
    WithoutBoth,
    /// What stands behind `@`, without port and dot (URL parsers).
    BehindUser,
}

impl HostReader {
    pub const ALL: [Self; 6] = [
        Self::Literal,
        Self::WithoutPort,
        Self::WithoutAnyPort,
        Self::WithoutDot,
        Self::WithoutBoth,
        Self::BehindUser,
    ];

    pub fn read(self, authority: &str) -> Host {
        let text = authority.to_ascii_lowercase();
        match self {
            Self::Literal => Host { text, port: None },
            Self::WithoutPort => without_port(&text, |port| port.bytes().all(|byte| byte.is_ascii_digit())),
            Self::WithoutAnyPort => without_port(&text, |_| true),
            Self::WithoutDot => Host { text: without_dot(&text), port: None },
            Self::WithoutBoth => {
                let host = without_port(&text, |_| true);
                Host { text: without_dot(&host.text), ..host }
            }
            Self::BehindUser => {
                let host = without_port(text.rsplit('@').next().unwrap_or_default(), |_| true);
                Host { text: without_dot(&host.text), ..host }
            }
        }
    }
}

fn without_port(text: &str, is_port: impl Fn(&str) -> bool) -> Host {
    match text.rsplit_once(':') {
        Some((host, port)) if is_port(port) && !is_inside_address(host) => {
            Host { text: host.to_owned(), port: Some(port.to_owned()) }
        }
        _ => Host { text: text.to_owned(), port: None },
    }
}

/// Whether a colon behind this is one of an IPv6 address.
fn is_inside_address(text: &str) -> bool {
    text.starts_with('[') && !text.ends_with(']')
}

fn without_dot(text: &str) -> String {
    text.strip_suffix('.').unwrap_or(text).to_owned()
}

/// Which of several values of a name counts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Which {
    First,
    Last,
    /// All of them, with this between them.
    Joined(&'static str),
    /// Each: a condition holds where it holds of one.
    Any,
}

/// How a program reads header fields.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FieldReader {
    pub which: Which,
    /// Whether names are compared as CGI hands them over: without case, and every other character is `_`.
    pub folds: bool,
}

impl FieldReader {
    pub fn all() -> Vec<Self> {
        let which = [Which::First, Which::Last, Which::Joined(","), Which::Joined(", "), Which::Any];
        let each = |folds: bool| which.iter().map(move |which| Self { which: *which, folds });
        each(false).chain(each(true)).collect()
    }

    /// The values of a field, of which each is asked.
    pub fn read(self, head: &Head, name: &str) -> Vec<String> {
        let same = |own: &str| {
            if self.folds { folded(own) == folded(name) } else { own.eq_ignore_ascii_case(name) }
        };
        let values = head.fields.iter().filter(|(own, _)| same(own)).map(|(_, value)| value.clone());
        choose(values.collect(), self.which)
    }
}

fn choose(values: Vec<String>, which: Which) -> Vec<String> {
    match which {
        Which::First => values.into_iter().take(1).collect(),
        Which::Last => values.into_iter().next_back().into_iter().collect(),
        Which::Joined(_) if values.is_empty() => Vec::new(),
        Which::Joined(between) => vec![values.join(between)],
        Which::Any => values,
    }
}

/// A name as CGI and its heirs have it.
pub fn folded(name: &str) -> String {
    let fold = |byte: u8| if byte.is_ascii_alphanumeric() { byte.to_ascii_lowercase() } else { b'_' };
    name.bytes().map(|byte| char::from(fold(byte))).collect()
}

/// How a program reads the query.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct QueryReader {
    pub which: Which,
    /// Whether `;` separates parameters too.
    pub semicolons: bool,
    pub decodes: bool,
    /// Whether names are made into variables, as PHP does it.
    pub variables: bool,
}

impl QueryReader {
    pub fn all() -> Vec<Self> {
        let plain = Self { which: Which::First, semicolons: false, decodes: false, variables: false };
        let mut all = vec![plain];
        for which in [Which::First, Which::Last, Which::Any] {
            let decoded = Self { which, decodes: true, ..plain };
            all.extend([
                Self { which, ..plain },
                decoded,
                Self { semicolons: true, ..decoded },
                Self { variables: true, ..decoded },
            ]);
        }
        all
    }

    /// The values of a parameter, of which each is asked.
    pub fn read(self, head: &Head, name: &str) -> Vec<String> {
        let own = if self.variables { variable(name) } else { name.to_owned() };
        let values = self.pairs(head.query()).into_iter().filter(|(name, _)| *name == own);
        choose(values.map(|(_, value)| value).collect(), self.which)
    }

    fn pairs(self, query: &str) -> Vec<(String, String)> {
        let separates = |c: char| c == '&' || (self.semicolons && c == ';');
        let part = |text: &str| if self.decodes { form_decoded(text) } else { text.to_owned() };
        let pair = |pair: &str| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let name = part(name);
            (if self.variables { variable(&name) } else { name }, part(value))
        };
        query.split(separates).map(pair).collect()
    }
}

/// A text with its escapes decoded, once.
pub fn percent_decoded(text: &str) -> String {
    String::from_utf8_lossy(&decode(text.as_bytes(), |_| true)).into_owned()
}

/// Text of a form: `+` is a blank, escapes are decoded.
fn form_decoded(text: &str) -> String {
    let bytes: Vec<u8> = text.bytes().map(|byte| if byte == b'+' { b' ' } else { byte }).collect();
    String::from_utf8_lossy(&decode(&bytes, |_| true)).into_owned()
}

/// The variable that PHP makes of a parameter's or cookie's name.
pub fn variable(name: &str) -> String {
    let name = name.trim_start_matches(' ').split('\0').next().unwrap_or_default();
    let (name, rest) = match name.find('[') {
        Some(at) if at > 0 && name[at..].contains(']') => name.split_at(at),
        _ => (name, ""),
    };
    let fold = |c: char| if matches!(c, '.' | ' ' | '[') { '_' } else { c };
    // What stands in brackets is an element of the variable.
    let _ = rest;
    name.chars().map(fold).collect()
}

/// The places of a token.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Places {
    /// Header fields and what stands before the token in each.
    pub headers: Vec<(&'static str, &'static str)>,
    pub cookies: Vec<&'static str>,
    pub params: Vec<&'static str>,
}

/// One way in which somebody could find a token in its place.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum TokenReader {
    /// RFC 6750 section 2.1, in any one of several fields.
    Header,
    /// The scheme may end with any white space, and a list may stand in the field.
    LenientHeader,
    /// The field's name is folded.
    FoldedHeader,
    /// RFC 6265.
    Cookie,
    /// Split at commas too.
    CookieCommas,
    /// Split at blanks too.
    CookieBlanks,
    /// Names and values decoded, names made into variables (PHP).
    CookieVariables,
    /// The query's parameters, as it is and decoded.
    Param,
    /// Split at `;` too.
    ParamSemicolons,
    /// Names made into variables.
    ParamVariables,
    /// The entry behind a marker in the list of a WebSocket's subprotocols (RFC 6455).
    Subprotocols,
    /// The same by its field's folded name, whatever case and quotes the marker has, and split at blanks too.
    LenientSubprotocols,
}

/// The field with the subprotocols of a WebSocket, whose prefix is a marker.
pub const SUBPROTOCOLS: &str = "sec-websocket-protocol";

impl TokenReader {
    pub const ALL: [Self; 12] = [
        Self::Header,
        Self::LenientHeader,
        Self::FoldedHeader,
        Self::Cookie,
        Self::CookieCommas,
        Self::CookieBlanks,
        Self::CookieVariables,
        Self::Param,
        Self::ParamSemicolons,
        Self::ParamVariables,
        Self::Subprotocols,
        Self::LenientSubprotocols,
    ];

    /// The credentials that it finds.
    pub fn read(self, head: &Head, places: &Places) -> BTreeSet<String> {
        let mut found: BTreeSet<String> = match self {
            Self::Header | Self::LenientHeader | Self::FoldedHeader => {
                let fields = places.headers.iter().filter(|(name, _)| *name != SUBPROTOCOLS);
                fields.flat_map(|place| self.in_headers(head, *place)).collect()
            }
            Self::Subprotocols | Self::LenientSubprotocols => {
                let lists = places.headers.iter().filter(|(name, _)| *name == SUBPROTOCOLS);
                lists.flat_map(|(_, marker)| self.in_subprotocols(head, marker)).collect()
            }
            Self::Cookie | Self::CookieCommas | Self::CookieBlanks | Self::CookieVariables => {
                let pairs = self.cookies(head);
                pairs
                    .into_iter()
                    .filter(|(name, _)| places.cookies.contains(&&**name))
                    .map(|(_, v)| v)
                    .collect()
            }
            Self::Param | Self::ParamSemicolons | Self::ParamVariables => {
                places.params.iter().flat_map(|name| self.in_query(head, name)).collect()
            }
        };
        found.remove("");
        found
    }

    fn in_headers(self, head: &Head, (name, prefix): (&str, &str)) -> Vec<String> {
        let same = |own: &str| match self {
            Self::FoldedHeader => folded(own) == folded(name),
            _ => own.eq_ignore_ascii_case(name),
        };
        let values = head.fields.iter().filter(|(own, _)| same(own)).map(|(_, value)| value);
        let lenient = self == Self::LenientHeader;
        let parts =
            values.flat_map(|value| if lenient { value.split(',').collect() } else { vec![value.as_str()] });
        parts.filter_map(|value| credential(value, prefix, lenient)).collect()
    }

    fn in_subprotocols(self, head: &Head, marker: &str) -> Vec<String> {
        let lenient = self == Self::LenientSubprotocols;
        let is_list = |name: &str| {
            name.eq_ignore_ascii_case(SUBPROTOCOLS) || (lenient && folded(name) == folded(SUBPROTOCOLS))
        };
        let mut found = Vec::new();
        for (_, list) in head.fields.iter().filter(|(name, _)| is_list(name)) {
            let splits = |c: char| c == ',' || (lenient && matches!(c, ' ' | '\t'));
            let around = |c: char| matches!(c, ' ' | '\t') || (lenient && c == '"');
            let entries = list.split(splits).map(|entry| entry.trim_matches(around));
            let entries: Vec<&str> = entries.filter(|entry| !entry.is_empty()).collect();
            for pair in entries.windows(2) {
                if pair[0] == marker || (lenient && pair[0].eq_ignore_ascii_case(marker)) {
                    found.push(pair[1].to_owned());
                }
            }
        }
        found
    }

    fn cookies(self, head: &Head) -> Vec<(String, String)> {
        let separates = |c: char| {
            c == ';'
                || (self == Self::CookieCommas && c == ',')
                || (self == Self::CookieBlanks && matches!(c, ' ' | '\t' | ','))
        };
        let fields = head.fields.iter().filter(|(name, _)| name.eq_ignore_ascii_case("cookie"));
        let pairs = fields.flat_map(|(_, field)| field.split(separates));
        let pair = |pair: &str| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let (name, value) = (name.trim(), value.trim());
            if self == Self::CookieVariables {
                return (variable(&form_decoded(name)), form_decoded(value));
            }
            let inner = value.strip_prefix('"').and_then(|value| value.strip_suffix('"'));
            (name.to_owned(), inner.unwrap_or(value).to_owned())
        };
        pairs.map(pair).collect()
    }

    fn in_query(self, head: &Head, name: &str) -> Vec<String> {
        let variables = self == Self::ParamVariables;
        let reader = |decodes| QueryReader {
            which: Which::Any,
            semicolons: self == Self::ParamSemicolons,
            decodes,
            variables,
        };
        [reader(true), reader(variables)].iter().flat_map(|reader| reader.read(head, name)).collect()
    }
}

/// The credential in one value of a field, where it is there.
fn credential(value: &str, prefix: &str, lenient: bool) -> Option<String> {
    let value = if lenient { value.trim() } else { value };
    let Some(scheme) = prefix.strip_suffix(' ') else { return Some(value.strip_prefix(prefix)?.to_owned()) };
    let (head, rest) = value.split_at_checked(scheme.len())?;
    let blank = |c: char| c == ' ' || (lenient && c == '\t');
    (head.eq_ignore_ascii_case(scheme) && rest.starts_with(blank))
        .then(|| rest.trim_matches(|c: char| matches!(c, ' ' | '\t')).to_owned())
}
