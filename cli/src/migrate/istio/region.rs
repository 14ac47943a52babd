//! Sets of paths and of hosts, and where two of them overlap.

use serde_json::{Value, json};

/// A set of paths, as a pattern of an AuthorizationPolicy names it, or where several overlap.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Paths {
    Exact(String),
    /// A beginning and an end; either may be empty.
    Glob(String, String),
    /// A template with `{*}` and `{**}`.
    Template(String),
}

/// What `{*}` stands for, one letter of it.
const LETTER: &str = r"[a-zA-Z0-9\-._~%!$&'()+,;:@=]";

impl Paths {
    /// All paths.
    pub(crate) fn all() -> Self {
        Self::Glob(String::new(), String::new())
    }

    pub(crate) fn of(pattern: &str) -> Self {
        match (pattern.strip_prefix('*'), pattern.strip_suffix('*')) {
            _ if pattern.contains("{*}") || pattern.contains("{**}") => Self::Template(pattern.to_owned()),
            (Some(end), _) => Self::Glob(String::new(), end.to_owned()),
            (_, Some(start)) => Self::Glob(start.to_owned(), String::new()),
            _ => Self::Exact(pattern.to_owned()),
        }
    }

    /// The texts that a template begins and ends with.
    fn ends(template: &str) -> (&str, &str) {
        (template.split('{').next().unwrap_or_default(), template.rsplit('}').next().unwrap_or_default())
    }

    fn has(&self, path: &str) -> bool {
        match self {
            Self::Exact(own) => own == path,
            Self::Glob(start, end) => path.starts_with(start) && path.ends_with(end),
            Self::Template(template) => {
                regex_lite::Regex::new(&format!("^(?:{})$", template_regex(template)))
                    .is_ok_and(|regex| regex.is_match(path))
            }
        }
    }

    /// Whether every path of this set is in the other.
    pub(crate) fn is_within(&self, other: &Self) -> bool {
        match (self, other) {
            (one, other) if one == other => true,
            (Self::Exact(path), other) => other.has(path),
            (Self::Glob(start, end), Self::Glob(other_start, other_end)) => {
                start.starts_with(other_start) && end.ends_with(other_end)
            }
            (Self::Template(template), Self::Glob(start, end)) => {
                let (own_start, own_end) = Self::ends(template);
                own_start.starts_with(start) && own_end.ends_with(end)
            }
            _ => false,
        }
    }

    /// Where two sets overlap, if they do.
    ///
    /// # Errors
    /// Two patterns whose overlap is no pattern.
    pub(crate) fn both(&self, other: &Self) -> Result<Option<Self>, String> {
        if self.is_within(other) {
            return Ok(Some(self.clone()));
        }
        if other.is_within(self) {
            return Ok(Some(other.clone()));
        }
        let longer = |one: &str, other: &str, is_start: bool| {
            let has = |long: &str, short: &str| {
                if is_start { long.starts_with(short) } else { long.ends_with(short) }
            };
            match (has(one, other), has(other, one)) {
                (true, _) => Some(one.to_owned()),
                (_, true) => Some(other.to_owned()),
                _ => None,
            }
        };
        let ends = |set: &Self| match set {
            Self::Glob(start, end) => (start.clone(), end.clone()),
            Self::Template(template) => {
                let (start, end) = Self::ends(template);
                (start.to_owned(), end.to_owned())
            }
            Self::Exact(path) => (path.clone(), path.clone()),
        };
        if matches!((self, other), (Self::Exact(_), _) | (_, Self::Exact(_))) {
            return Ok(None);
        }
        let ((start, end), (other_start, other_end)) = (ends(self), ends(other));
        let (Some(start), Some(end)) = (longer(&start, &other_start, true), longer(&end, &other_end, false))
        else {
            return Ok(None);
        };
        match (self, other) {
            (Self::Glob(..), Self::Glob(..)) => Ok(Some(Self::Glob(start, end))),
            _ => Err(format!(
                "the paths {self} and {other} overlap in a way that is no pattern; write the rules for both by hand, as docs/migration.md says"
            )),
        }
    }

    /// The fields of `match`.
    pub(crate) fn to_match(&self) -> Value {
        match self {
            Self::Exact(path) => json!({ "path": path }),
            Self::Glob(start, end) if end.is_empty() => {
                json!({ "prefix": if start.is_empty() { "/" } else { start } })
            }
            Self::Glob(start, end) => {
                let escape = |text: &str| regex_lite::escape(text);
                let mut forms = vec![format!("{}.*{}", escape(start), escape(end))];
                // A path may begin and end in the same letters.
                let shared = (1..=end.len()).filter(|length| end.is_char_boundary(*length));
                let shared = shared.filter(|length| start.ends_with(end.get(..*length).unwrap_or_default()));
                forms.extend(shared.map(|length| {
                    format!("{}{}", escape(start), escape(end.get(length..).unwrap_or_default()))
                }));
                json!({ "safe_regex": { "regex": forms.join("|") } })
            }
            Self::Template(template) if !template.contains("{**}") || template.ends_with("{**}") => {
                json!({ "path_template": template.replace("{*}", "*").replace("{**}", "**") })
            }
            Self::Template(template) => json!({ "safe_regex": { "regex": template_regex(template) } }),
        }
    }
}

fn template_regex(template: &str) -> String {
    regex_lite::escape(template)
        .replace(r"\{\*\*\}", &format!("(?:{LETTER}|/)*"))
        .replace(r"\{\*\}", &format!("{LETTER}+"))
}

impl std::fmt::Display for Paths {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Exact(text) | Self::Template(text) => write!(f, "{text:?}"),
            Self::Glob(start, end) => write!(f, "{:?}", format!("{start}*{end}")),
        }
    }
}

/// A set of hosts.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Hosts {
    All,
    Exact(String),
    /// With any port, and without.
    AnyPort(String),
    Suffix(String),
}

impl Hosts {
    /// # Errors
    /// A pattern that cannot be said here.
    pub(crate) fn of(pattern: &str) -> Result<Self, String> {
        let pattern = pattern.to_ascii_lowercase();
        if pattern == "*" {
            return Ok(Self::All);
        }
        if let Some(host) = pattern.strip_suffix(":*") {
            return Ok(Self::AnyPort(host.to_owned()));
        }
        match pattern.strip_prefix('*') {
            Some(end) if end.starts_with('.') => Ok(Self::Suffix(end.to_owned())),
            None if !pattern.ends_with('*') => Ok(Self::Exact(pattern)),
            _ => Err(format!("the hosts {pattern:?} cannot be said here; name them")),
        }
    }

    pub(crate) fn is_within(&self, other: &Self) -> bool {
        match (self, other) {
            (_, Self::All) => true,
            (Self::Exact(host) | Self::AnyPort(host), Self::Suffix(end)) => host.ends_with(end.as_str()),
            (Self::Exact(host), Self::AnyPort(other)) => host == other,
            (Self::Suffix(one), Self::Suffix(other)) => one.ends_with(other.as_str()),
            (one, other) => one == other,
        }
    }

    /// Where two sets overlap: of two one is within the other, or they have nothing in common.
    pub(crate) fn both(&self, other: &Self) -> Option<Self> {
        if self.is_within(other) {
            return Some(self.clone());
        }
        other.is_within(self).then(|| other.clone())
    }

    pub(crate) fn to_match(&self) -> Option<String> {
        match self {
            Self::All => None,
            Self::Exact(host) => Some(host.clone()),
            Self::AnyPort(host) => Some(format!("{host}:*")),
            Self::Suffix(end) => Some(format!("*{end}")),
        }
    }
}
