//! Envoy's own URI templates: `path_match_policy` with a `UriTemplateMatchConfig`.
//!
//! They can do what a [`Template`](super::Template) cannot (`/**.mpd`, `/{name=videos/*}/x`), and take
//! fewer characters for an operator. They are compiled to the regular expression that they stand for.

use std::fmt::Write as _;

use regex_lite::Regex;

use crate::request::canonical;
use crate::text::literal_prefix;

/// A compiled template.
#[derive(Clone, Debug)]
pub struct UriTemplate {
    regex: Regex,
    prefix: String,
    variables: Vec<String>,
}

/// The bounds that Envoy sets.
const MAX_VARIABLES: usize = 5;
const MAX_NAME: usize = 16;
const MAX_TEMPLATE: usize = 256;

/// What `*` and `**` take, the latter with slashes: `pchar` (RFC 3986) in which `%` stands for escapes.
const GLOB: &str = "a-zA-Z0-9\\-._~%!$&'()+,;:@=*";

/// Reads a template from its start.
struct Reader<'t> {
    rest: &'t str,
    raw: bool,
    expression: String,
    variables: Vec<String>,
    /// Whether `**` came; then no operator may follow.
    ended: bool,
}

impl UriTemplate {
    /// Reads a template, for paths in canonical form or for those that are compared as they arrive.
    ///
    /// # Errors
    /// What is wrong with it, in words for the operator.
    pub fn parse(text: &str, raw: bool) -> Result<Self, String> {
        if text.len() > MAX_TEMPLATE {
            return Err(format!("must have at most {MAX_TEMPLATE} bytes"));
        }
        let rest = text.strip_prefix('/').ok_or("must start with \"/\", such as /orders/{id}")?;
        let mut reader =
            Reader { rest, raw, expression: "/".to_owned(), variables: Vec::new(), ended: false };
        while !reader.rest.is_empty() {
            reader.segment()?;
            match reader.rest.strip_prefix('/') {
                Some(rest) => {
                    reader.expression.push('/');
                    reader.rest = rest;
                }
                None if reader.rest.is_empty() => {}
                // What stands behind an operator: the end of the last segment.
                None => {
                    let suffix = std::mem::take(&mut reader.rest);
                    if suffix.contains('/') {
                        return Err("has text behind an operator before the last segment; write the operator as a whole segment there".to_owned());
                    }
                    reader.literal(suffix, true)?;
                }
            }
        }
        let Reader { expression, variables, .. } = reader;
        let regex = Regex::new(&format!("^(?:{expression})$")).map_err(|error| error.to_string())?;
        Ok(Self { regex, prefix: literal_prefix(&expression), variables })
    }

    /// Whether a path has this form.
    pub fn matches(&self, path: &str) -> bool {
        self.regex.is_match(path)
    }

    /// What every path of this form begins with.
    pub(super) fn prefix(&self) -> &str {
        &self.prefix
    }

    /// The names that it binds.
    pub fn variables(&self) -> impl Iterator<Item = &str> {
        self.variables.iter().map(String::as_str)
    }

    /// The piece of a path of this form that a variable takes.
    pub fn piece<'p>(&self, name: &str, path: &'p str) -> Option<&'p str> {
        Some(self.regex.captures(path)?.name(name)?.as_str())
    }
}

impl Reader<'_> {
    /// A segment, or its beginning where it is an operator.
    fn segment(&mut self) -> Result<(), String> {
        if let Some(inner) = self.rest.strip_prefix('{') {
            let (inner, rest) = inner.split_once('}').ok_or("has a \"{\" without its \"}\"; add it")?;
            self.rest = rest;
            return self.variable(inner);
        }
        if self.rest.starts_with('*') {
            return self.operator();
        }
        let end = self.rest.find('/').unwrap_or(self.rest.len());
        let (literal, rest) = self.rest.split_at_checked(end).unwrap_or((self.rest, ""));
        self.rest = rest;
        self.literal(literal, false)
    }

    fn operator(&mut self) -> Result<(), String> {
        if self.ended {
            return Err("has an operator behind \"**\"; write \"**\" last".to_owned());
        }
        let written = if let Some(rest) = self.rest.strip_prefix("**") {
            (self.rest, self.ended) = (rest, true);
            write!(self.expression, "[{GLOB}/]*")
        } else {
            self.rest = self.rest.strip_prefix('*').unwrap_or(self.rest);
            write!(self.expression, "[{GLOB}]+")
        };
        written.map_err(|error| error.to_string())
    }

    /// `name` or `name=videos/*`, without its braces.
    fn variable(&mut self, inner: &str) -> Result<(), String> {
        let (name, pattern) = inner.split_once('=').unwrap_or((inner, "*"));
        let sound = name.starts_with(|c: char| c.is_ascii_alphabetic())
            && name.len() <= MAX_NAME
            && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
        if !sound {
            return Err(format!(
                "{name:?} is not a variable name; use a letter, then letters, digits and \"_\", at most {MAX_NAME}"
            ));
        }
        if self.variables.iter().any(|own| own == name) {
            return Err(format!("has the variable {name:?} twice; rename one"));
        }
        if self.variables.len() >= MAX_VARIABLES {
            return Err(format!("must have at most {MAX_VARIABLES} variables"));
        }
        self.variables.push(name.to_owned());
        write!(self.expression, "(?P<{name}>").map_err(|error| error.to_string())?;
        for (at, part) in pattern.split('/').enumerate() {
            if at > 0 {
                self.expression.push('/');
            }
            if matches!(part, "*" | "**") {
                let outer = self.rest;
                self.rest = match part {
                    "*" => "*",
                    _ => "**",
                };
                self.operator()?;
                self.rest = outer;
            } else {
                self.literal(part, false)?;
            }
        }
        self.expression.push(')');
        Ok(())
    }

    /// A literal segment, or what stands behind an operator.
    fn literal(&mut self, literal: &str, behind: bool) -> Result<(), String> {
        let known = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~%!$&'()+,;:@=".contains(&byte);
        if literal.is_empty() || !literal.bytes().all(known) {
            return Err(format!(
                "{literal:?} is not a literal segment; write operators as whole segments, and literal ones in the characters of a path"
            ));
        }
        let text = if self.raw {
            literal.to_owned()
        } else if literal.contains(';') {
            return Err(format!(
                "has \";parameters\" in {literal:?}, which are not compared; leave them out"
            ));
        } else {
            // Behind an operator it is judged as the end of a segment that it is.
            let start = if behind { "/x" } else { "/" };
            let path = canonical(&format!("{start}{literal}"))
                .map_err(|ambiguous| {
                    format!("no request path can match: {ambiguous}; write a path as requests have it, such as /orders/{{id}}")
                })?
                .into_owned();
            path.strip_prefix(start).unwrap_or(&path).to_owned()
        };
        self.expression.push_str(&regex_lite::escape(&text));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_template_matches_what_envoy_says_it_does() {
        for (template, yes, no) in [
            ("/", &["/"][..], &["/a", "//"][..]),
            ("/a", &["/a"], &["/a/", "/ab", "/A"]),
            ("/a/", &["/a/"], &["/a"]),
            ("/a/*", &["/a/b", "/a/b=c", "/a/*"], &["/a", "/a/", "/a/b/", "/a/b/c", "/a/b|c"]),
            ("/a/**", &["/a/", "/a/b/c/"], &["/a"]),
            ("/**", &["/", "/a/b"], &[]),
            ("/videos/*/*/*.m4s", &["/videos/1/hls/10.m4s"], &["/videos/1/hls/.m4s", "/videos/1/10.m4s"]),
            ("/**.mpd", &["/content/123/india/dash/55/manifest.mpd", "/.mpd"], &["/a.mpdx", "/a.mpd/b"]),
            ("/**/end", &["/a/b/end", "//end"], &["/end", "/a/b"]),
            ("/{name=videos/*}/x", &["/videos/7/x"], &["/videos/7", "/films/7/x"]),
            ("/{a}/{b=**}", &["/x/", "/x/y/z"], &["/x", "//y"]),
            ("/a.b+c", &["/a.b+c"], &["/axbbc"]),
            ("/%61/b%2d", &["/a/b-"], &["/%61/b-"]),
        ] {
            let parsed = UriTemplate::parse(template, false).unwrap();
            for path in yes {
                assert!(parsed.matches(path), "{template} should match {path}");
            }
            for path in no {
                assert!(!parsed.matches(path), "{template} should not match {path}");
            }
        }
    }

    #[test]
    fn a_variable_takes_its_piece_of_the_path() {
        let template = UriTemplate::parse("/{kind=videos/*}/{rest=**}", false).unwrap();
        assert_eq!(template.variables().collect::<Vec<_>>(), ["kind", "rest"]);
        assert_eq!(template.piece("kind", "/videos/7/a/b"), Some("videos/7"));
        assert_eq!(template.piece("rest", "/videos/7/a/b"), Some("a/b"));
        assert_eq!(template.piece("x", "/videos/7/a/b"), None);
        assert_eq!(UriTemplate::parse("/a.b/c*", false).map_or_else(|_| String::new(), |t| t.prefix), "");
        assert_eq!(UriTemplate::parse("/a.b/*", false).unwrap().prefix(), "/a.b/");
    }

    #[test]
    fn what_envoy_refuses_is_refused() {
        let long = format!("/{}", "a".repeat(MAX_TEMPLATE));
        for text in [
            "",
            "a",
            "/a*",
            "/{a}b/c",
            "/*x/y",
            "/{a",
            "/{a}{b}",
            "/{}",
            "/{1a}",
            "/{a=}",
            "/{a=/b}",
            "/{a}/{a}",
            "/{abcdefghijklmnopq}",
            "/{a}/{b}/{c}/{d}/{e}/{f}",
            "/**/*",
            "/{a=**}/{b}",
            "/***",
            "/a//b",
            "/a?b",
            "/a/../b",
            "/a%2Fb",
            "/a;b",
            "/a b",
            "/é",
            &long,
        ] {
            assert!(UriTemplate::parse(text, false).is_err(), "{text} was accepted");
        }
    }
}
