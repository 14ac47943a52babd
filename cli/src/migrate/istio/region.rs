//! Sets of paths and of hosts, and where two of them overlap.

use serde_json::{Value, json};

use super::template::{
    REST, begun, both_templates, ending_regex, ends_of, is_inside, is_of_segments, is_of_template, is_plain,
    template_regex,
};

/// A set of paths, as a pattern of an AuthorizationPolicy names it, or where several overlap.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Paths {
    Exact(String),
    /// A beginning and an end; either may be empty.
    Glob(String, String),
    /// A template with `{*}` and `{**}`.
    Template(String),
    /// A template that ends in `{*}` or `{**}`, and what its paths end with besides.
    Ending(String, String),
}

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

    fn has(&self, path: &str) -> bool {
        match self {
            Self::Exact(own) => own == path,
            Self::Glob(start, end) => path.starts_with(start) && path.ends_with(end),
            Self::Template(template) => is_of_template(template, path),
            Self::Ending(template, end) => path.ends_with(end.as_str()) && is_of_template(template, path),
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
                let (own_start, own_end) = ends_of(template);
                own_start.starts_with(start) && own_end.ends_with(end)
            }
            (Self::Template(template), Self::Template(other)) => is_inside(template, other),
            (Self::Ending(template, end), Self::Ending(other, other_end)) => {
                template == other && end.ends_with(other_end)
            }
            (Self::Ending(template, _), Self::Template(other)) => is_inside(template, other),
            (Self::Ending(template, own_end), Self::Glob(start, end)) => {
                ends_of(template).0.starts_with(start) && own_end.ends_with(end)
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
        let failed = || {
            format!(
                "the paths {self} and {other} overlap in a way that is no pattern; write the rules for both by hand, as docs/migration.md says"
            )
        };
        let ends = (self.end(), other.end());
        let end = match ends {
            (one, other) if one.ends_with(other) => one,
            (one, other) if other.ends_with(one) => other,
            _ => return Ok(None),
        };
        let template = match (self, other) {
            (Self::Exact(_), _) | (_, Self::Exact(_)) => return Ok(None),
            (Self::Glob(one, _), Self::Glob(other, _)) => {
                let longer = if one.len() > other.len() { one } else { other };
                let is_nested = one.starts_with(other.as_str()) || other.starts_with(one.as_str());
                return Ok(is_nested.then(|| Self::Glob(longer.clone(), end.to_owned())));
            }
            (Self::Glob(start, _), Self::Template(own) | Self::Ending(own, _))
            | (Self::Template(own) | Self::Ending(own, _), Self::Glob(start, _)) => begun(own, start),
            (Self::Template(one) | Self::Ending(one, _), Self::Template(two) | Self::Ending(two, _)) => {
                both_templates(one, two)
            }
        };
        let Some(template) = template.transpose().map_err(|()| failed())? else { return Ok(None) };
        let literal = ends_of(&template).1;
        if literal.ends_with(end) {
            return Ok(Some(Self::Template(template)));
        }
        match (literal.is_empty(), end.ends_with(literal)) {
            (true, _) => with_end(&template, end.to_owned()),
            (false, true) => Err(failed()),
            (false, false) => Ok(None),
        }
    }

    /// What its paths end with besides what a template says.
    fn end(&self) -> &str {
        match self {
            Self::Glob(_, end) | Self::Ending(_, end) => end,
            Self::Template(_) | Self::Exact(_) => "",
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
            Self::Template(template) if is_of_segments(template) => {
                json!({ "path_template": template.replace("{*}", "*").replace("{**}", "**") })
            }
            Self::Template(template) => json!({ "safe_regex": { "regex": template_regex(template) } }),
            Self::Ending(template, end) => json!({ "safe_regex": { "regex": ending_regex(template, end) } }),
        }
    }
}

/// The paths of a template with an operator at its end, as far as they end so.
fn with_end(template: &str, end: String) -> Result<Option<Paths>, String> {
    let failed = || {
        Err(format!(
            "the paths {template:?} and \"*{end}\" overlap in a way that is no pattern; write the rules for both by hand"
        ))
    };
    if !end.chars().all(is_plain) {
        return failed();
    }
    // Into an operator before the last one the end must not reach.
    if let Some(start) = template.strip_suffix("{**}").filter(|start| start.contains('{')) {
        let literal = start.rsplit('}').next().unwrap_or_default();
        let reaches = |length: usize| end.get(..length).is_some_and(|shared| shared.ends_with(literal));
        if (literal.len() + 1..=end.len()).any(reaches) {
            return failed();
        }
    }
    if template.ends_with(REST) && end.contains('/') {
        return failed();
    }
    let (Some(start), Some((head, tail))) = (template.strip_suffix("{*}"), end.rsplit_once('/')) else {
        return Ok(Some(Paths::Ending(template.to_owned(), end)));
    };
    // The operator stands for one segment, which is then what the end has behind its last slash.
    let head = format!("{head}/");
    let literal = start.rsplit('}').next().unwrap_or_default();
    match (literal.ends_with(&head), head.ends_with(literal) && start.contains('{')) {
        (true, _) if tail.is_empty() => Ok(None),
        (true, _) => Ok(Some(Paths::of(&format!("{start}{tail}")))),
        (false, true) => failed(),
        (false, false) => Ok(None),
    }
}

impl std::fmt::Display for Paths {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Exact(text) | Self::Template(text) => write!(f, "{text:?}"),
            Self::Ending(template, end) => write!(f, "{:?}", format!("{template} with the end {end}")),
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

#[cfg(test)]
mod tests {
    use super::*;

    const PATTERNS: &[&str] = &[
        "*",
        "/a",
        "/a*",
        "/a/*",
        "/ab*",
        "*b",
        "*/b",
        "*.js",
        "*a/b",
        "/a/{*}",
        "/a/{**}",
        "/a/{*}/b",
        "/a/{*}/{**}",
        "/b/{**}",
        "/a/b",
        "/a/b*",
        "/a/ba*",
        "/a/b/*",
        "/{*}/b/{*}",
        "/a/b/{**}",
    ];

    /// Whether the fields of a match are met by a path, as the filter has it.
    fn is_met(matcher: &Value, path: &str) -> bool {
        let text = |name: &str| matcher[name].as_str();
        let whole =
            |regex: &str| regex_lite::Regex::new(&format!("^(?:{regex})$")).expect("good").is_match(path);
        match (text("path"), text("prefix"), matcher["safe_regex"]["regex"].as_str(), text("path_template")) {
            (Some(own), ..) => own == path,
            (_, Some(prefix), ..) => path.starts_with(prefix),
            (_, _, Some(regex), _) => whole(regex),
            (_, _, _, Some(template)) => is_of_template(
                &template.replace("**", "{~}").replace('*', "{*}").replace("{~}", "{**}"),
                path,
            ),
            _ => panic!("{matcher}"),
        }
    }

    #[test]
    fn an_overlap_has_the_paths_that_both_have_and_no_others() {
        let letters = ["a", "b", "/", ".js"];
        let mut paths = vec!["/".to_owned()];
        for _ in 0..5 {
            let longer = paths.iter().flat_map(|path| letters.map(|letter| format!("{path}{letter}")));
            paths = paths.iter().cloned().chain(longer).collect();
            paths.sort();
            paths.dedup();
        }
        paths.retain(|path| !path.contains("//"));
        let mut compared = 0;
        for one in PATTERNS {
            for other in PATTERNS {
                let (first, second) = (Paths::of(one), Paths::of(other));
                let Ok(both) = first.both(&second) else { continue };
                compared += 1;
                let matcher = both.as_ref().map(Paths::to_match);
                for path in &paths {
                    let is_in = matcher.as_ref().is_some_and(|matcher| is_met(matcher, path));
                    assert_eq!(
                        is_in,
                        first.has(path) && second.has(path),
                        "{one} and {other}: {both:?} and {path}"
                    );
                }
            }
        }
        assert!(compared > 380, "{compared}");
    }
}
