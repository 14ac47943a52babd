//! Sets of requests: by path, method and header fields.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

/// A set of paths.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Paths {
    All,
    Exact(String),
    /// This path, and all below it.
    Below(String),
    Regex(String),
}

impl Paths {
    /// The paths of a `path` of an operation, as far as it is not inverted.
    ///
    /// # Errors
    /// A type that is not known.
    pub(super) fn of(path: &Value) -> Result<Self, String> {
        let value = path["value"].as_str().unwrap_or("/");
        match path["type"].as_str().unwrap_or("PathPrefix") {
            "PathPrefix" => Ok(match value.strip_suffix('/').unwrap_or(value) {
                "" => Self::All,
                prefix => Self::Below(prefix.to_owned()),
            }),
            "Exact" => Ok(Self::Exact(value.to_owned())),
            "RegularExpression" => Ok(match head(value) {
                (literal, true) => Self::Exact(literal),
                _ => Self::Regex(value.to_owned()),
            }),
            other => Err(format!("the type of path {other:?} is not known here")),
        }
    }

    fn has(&self, path: &str) -> bool {
        match self {
            Self::All => true,
            Self::Exact(own) => own == path,
            Self::Below(prefix) => path
                .strip_prefix(prefix.as_str())
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('/')),
            Self::Regex(regex) => {
                regex_lite::Regex::new(&format!("^(?:{regex})$")).is_ok_and(|regex| regex.is_match(path))
            }
        }
    }

    /// Where two sets overlap, if they do.
    ///
    /// # Errors
    /// An overlap that no pattern can say.
    fn both(&self, other: &Self) -> Result<Option<Self>, String> {
        let (start, end) = match (self, other) {
            (one, other) if one == other => return Ok(Some(one.clone())),
            (Self::All, one) | (one, Self::All) => return Ok(Some(one.clone())),
            (Self::Exact(path), other) | (other, Self::Exact(path)) => {
                return Ok(other.has(path).then(|| Self::Exact(path.clone())));
            }
            (Self::Below(one), Self::Below(two)) => {
                let deeper = if one.len() > two.len() { self } else { other };
                let is_nested = self.has(two) || other.has(one);
                return Ok(is_nested.then(|| deeper.clone()));
            }
            (Self::Below(prefix), Self::Regex(regex)) | (Self::Regex(regex), Self::Below(prefix)) => {
                let (start, prefix) = (head(regex).0, format!("{prefix}/"));
                if start.starts_with(&prefix) {
                    return Ok(Some(Self::Regex(regex.clone())));
                }
                (start, prefix)
            }
            (Self::Regex(one), Self::Regex(two)) => (head(one).0, head(two).0),
        };
        match start.starts_with(&end) || end.starts_with(&start) {
            true => Err(format!(
                "the paths {self} and {other} may overlap, and the first rule that matches decides alone here; write the rules for them by hand, as docs/migration.md says"
            )),
            false => Ok(None),
        }
    }

    fn is_within(&self, other: &Self) -> bool {
        self.both(other).is_ok_and(|both| both.as_ref() == Some(self))
    }
}

impl std::fmt::Display for Paths {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::All => f.write_str("\"/\""),
            Self::Exact(text) | Self::Below(text) | Self::Regex(text) => write!(f, "{text:?}"),
        }
    }
}

/// The text that everything begins with that an expression matches, and whether that is all of it.
fn head(regex: &str) -> (String, bool) {
    let mut out = String::new();
    if regex.contains('|') {
        return (out, false);
    }
    let mut chars = regex.chars();
    while let Some(c) = chars.next() {
        let is_repeated = matches!(c, '*' | '+' | '?' | '{');
        if is_repeated {
            // What is repeated may be missing.
            out.pop();
        }
        match c {
            '\\' => match chars.next() {
                Some(c) if c.is_ascii_punctuation() => out.push(c),
                _ => return (out, false),
            },
            c if is_repeated || ".()[]}^$".contains(c) => return (out, false),
            c => out.push(c),
        }
    }
    (out, true)
}

/// A set of requests.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Region {
    pub(super) paths: Paths,
    /// None: all.
    pub(super) methods: Option<BTreeSet<String>>,
    /// The values that a field may have, by its name in small letters.
    pub(super) headers: BTreeMap<String, BTreeSet<String>>,
}

impl Region {
    pub(super) fn all() -> Self {
        Self::of_paths(Paths::All)
    }

    pub(super) fn of_paths(paths: Paths) -> Self {
        Self { paths, methods: None, headers: BTreeMap::new() }
    }

    /// The requests that are in both.
    ///
    /// # Errors
    /// Paths whose overlap cannot be said.
    pub(super) fn both(&self, other: &Self) -> Result<Option<Self>, String> {
        let methods = match (&self.methods, &other.methods) {
            (Some(one), Some(two)) => Some(one & two),
            (one, two) => one.clone().or_else(|| two.clone()),
        };
        let mut headers = self.headers.clone();
        for (name, values) in &other.headers {
            let own = headers.entry(name.clone()).or_insert_with(|| values.clone());
            *own = &*own & values;
        }
        if methods.as_ref().is_some_and(BTreeSet::is_empty) || headers.values().any(BTreeSet::is_empty) {
            return Ok(None);
        }
        let paths = self.paths.both(&other.paths)?;
        Ok(paths.map(|paths| Self { paths, methods, headers }))
    }

    /// Whether the two have requests in common, or may have.
    pub(super) fn may_overlap(&self, other: &Self) -> bool {
        !matches!(self.both(other), Ok(None))
    }

    pub(super) fn is_within(&self, other: &Self) -> bool {
        let methods = match (&self.methods, &other.methods) {
            (_, None) => true,
            (Some(one), Some(two)) => one.is_subset(two),
            (None, Some(_)) => false,
        };
        let is_header = |(name, values): (&String, &BTreeSet<String>)| {
            self.headers.get(name).is_some_and(|own| own.is_subset(values))
        };
        methods && self.paths.is_within(&other.paths) && other.headers.iter().all(is_header)
    }

    /// As a `match`; `more` is one condition on a header field besides.
    pub(super) fn to_match(&self, more: Option<Value>) -> Value {
        let mut matcher = match &self.paths {
            Paths::All => json!({ "prefix": "/" }),
            Paths::Exact(path) => json!({ "path": path }),
            Paths::Below(prefix) => json!({ "path_separated_prefix": prefix }),
            Paths::Regex(regex) => json!({ "safe_regex": { "regex": regex } }),
        };
        if let Some(methods) = &self.methods {
            matcher["methods"] = json!(methods);
        }
        let headers = self.headers.iter().map(|(name, values)| {
            let text = match (values.len(), values.first()) {
                (1, Some(value)) => json!({ "exact": value }),
                _ => {
                    let forms: Vec<String> = values.iter().map(|value| regex_lite::escape(value)).collect();
                    json!({ "safe_regex": { "regex": forms.join("|") } })
                }
            };
            json!({ "name": name, "string_match": text })
        });
        let headers: Vec<Value> = headers.chain(more).collect();
        if !headers.is_empty() {
            matcher["headers"] = json!(headers);
        }
        matcher
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(kind: &str, value: &str) -> Paths {
        Paths::of(&json!({ "type": kind, "value": value })).expect("a path")
    }

    #[test]
    fn an_overlap_has_the_paths_that_both_have_and_no_others() {
        let all = [
            path("PathPrefix", "/"),
            path("PathPrefix", "/a"),
            path("PathPrefix", "/a/"),
            path("PathPrefix", "/a/b"),
            path("PathPrefix", "/ab"),
            path("Exact", "/a"),
            path("Exact", "/a/b/c"),
            path("RegularExpression", "/a/b"),
            path("RegularExpression", "/a/[bc]+"),
            path("RegularExpression", "/b.*"),
            path("RegularExpression", "/ab?"),
            path("RegularExpression", r"/a\.c?"),
            path("RegularExpression", "/a|/b"),
            path("RegularExpression", "/(a|b)/c"),
        ];
        let mut paths = vec![String::new()];
        for _ in 0..5 {
            let longer =
                paths.iter().flat_map(|path| ["/", "a", "b", ".", "c"].map(|c| format!("{path}{c}")));
            paths = paths.iter().cloned().chain(longer).collect::<BTreeSet<_>>().into_iter().collect();
        }
        paths.retain(|path| path.starts_with('/'));
        let (mut said, mut apart) = (0, 0);
        for one in &all {
            for two in &all {
                let Ok(both) = one.both(two) else { continue };
                said += usize::from(both.is_some());
                apart += usize::from(both.is_none());
                for path in &paths {
                    let is_in = both.as_ref().is_some_and(|both| both.has(path));
                    assert_eq!(is_in, one.has(path) && two.has(path), "{one} and {two}: {both:?} and {path}");
                }
            }
        }
        assert!(said > 60 && apart > 30, "{said}, {apart}");
        assert!(path("PathPrefix", "/a").both(&path("RegularExpression", ".*c")).is_err());
    }
}
