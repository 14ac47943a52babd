//! Path templates: `/tenants/{tenant}/orders/**`.

use std::fmt;

use crate::request::{Ambiguous, canonical};

/// A path with places for segments. `*` and `{name}` take one segment that is not empty; `**` and
/// `{name=**}`, at the end, take the rest, which may be empty.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Template {
    segments: Vec<Segment>,
    rest: Option<SegmentVariable>,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Segment {
    Literal(String),
    One(SegmentVariable),
}

/// The most segments that a template has.
const MAX_SEGMENTS: usize = 128;

/// The name that a place binds, where it has one.
pub(super) type SegmentVariable = Option<String>;

/// Why a text is not a template.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum TemplateError {
    /// It does not start with `/`
    NoSlash,
    /// `**` stands before the end
    RestNotLast,
    /// `*`, `{` or `}` stands inside a segment
    PartialSegment(String),
    /// A name is empty or holds anything but letters, digits and `_`
    BadName(String),
    /// A name comes twice
    NameTwice(String),
    /// A query or segment parameters, which are not compared
    NotPath(String),
    /// It has too many segments
    TooLong,
    /// No request path can look like this
    Path(Ambiguous),
}

impl fmt::Display for TemplateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoSlash => f.write_str("must start with \"/\", such as /orders/{id}"),
            Self::RestNotLast => f.write_str(
                "has \"**\" before its end; write it as the last segment, or \"*\" for one segment",
            ),
            Self::PartialSegment(segment) => write!(
                f,
                "in {segment:?} a wildcard stands beside other text; write \"*\", \"**\", \"{{name}}\" and \"{{name=**}}\" as whole segments, such as /orders/{{id}}"
            ),
            Self::BadName(name) => {
                write!(f, "{name:?} is not a variable name; use letters, digits and \"_\"")
            }
            Self::NameTwice(name) => write!(f, "has the variable {name:?} twice; rename one"),
            Self::NotPath(segment) => {
                write!(
                    f,
                    "has a query or \";parameters\" in {segment:?}, which are not compared; leave them out"
                )
            }
            Self::TooLong => write!(f, "must have at most {MAX_SEGMENTS} segments"),
            Self::Path(ambiguous) => write!(
                f,
                "no request path can match: {ambiguous}; write a path as requests have it, such as /orders/{{id}}"
            ),
        }
    }
}

impl Template {
    /// Reads a template. Its literal segments are brought into the form in which request paths are
    /// compared.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &str) -> Result<Self, TemplateError> {
        Self::read(text, literal)
    }

    /// Reads a template for paths that are compared as they arrive.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse_raw(text: &str) -> Result<Self, TemplateError> {
        Self::read(text, |segment, _| match segment.contains('?') {
            true => Err(TemplateError::NotPath(segment.to_owned())),
            false => Ok(segment.to_owned()),
        })
    }

    fn read(
        text: &str,
        literal: impl Fn(&str, bool) -> Result<String, TemplateError>,
    ) -> Result<Self, TemplateError> {
        let mut template = Self { segments: Vec::new(), rest: None };
        let mut names: Vec<String> = Vec::new();
        let mut segments = text.strip_prefix('/').ok_or(TemplateError::NoSlash)?.split('/').peekable();
        while let Some(segment) = segments.next() {
            if template.segments.len() >= MAX_SEGMENTS {
                return Err(TemplateError::TooLong);
            }
            let last = segments.peek().is_none();
            let (place, rest) = match operator(segment)? {
                None => {
                    template.segments.push(Segment::Literal(literal(segment, last)?));
                    continue;
                }
                Some(operator) => operator,
            };
            if let Some(name) = &place {
                if names.contains(name) {
                    return Err(TemplateError::NameTwice(name.clone()));
                }
                names.push(name.clone());
            }
            if !rest {
                template.segments.push(Segment::One(place));
            } else if last {
                template.rest = Some(place);
            } else {
                return Err(TemplateError::RestNotLast);
            }
        }
        Ok(template)
    }

    /// The segments, and whether a rest follows.
    pub(super) fn parts(&self) -> (&[Segment], bool) {
        (&self.segments, self.rest.is_some())
    }

    /// The same for paths in lower case.
    pub(super) fn in_lower_case(&self) -> Self {
        self.with_literals(str::to_ascii_lowercase)
    }

    /// The same with other literal segments.
    pub(super) fn with_literals(&self, change: impl Fn(&str) -> String) -> Self {
        let segments = self.segments.iter().map(|segment| match segment {
            Segment::Literal(text) => Segment::Literal(change(text)),
            one @ Segment::One(_) => one.clone(),
        });
        Self { segments: segments.collect(), rest: self.rest.clone() }
    }

    /// What every path of this form begins with.
    pub(super) fn start(&self) -> String {
        let literal = |segment: &Segment| match segment {
            Segment::Literal(text) => Some(format!("/{text}")),
            Segment::One(_) => None,
        };
        let start: String = self.segments.iter().map_while(literal).collect();
        if start.is_empty() { "/".to_owned() } else { start }
    }

    /// Its literal segments.
    pub(super) fn literals(&self) -> impl Iterator<Item = &str> {
        self.segments.iter().filter_map(|segment| match segment {
            Segment::Literal(text) => Some(text.as_str()),
            Segment::One(_) => None,
        })
    }

    /// The names that it binds.
    pub fn variables(&self) -> impl Iterator<Item = &str> {
        let names = self.segments.iter().filter_map(|segment| match segment {
            Segment::One(place) => place.as_deref(),
            Segment::Literal(_) => None,
        });
        names.chain(self.rest.iter().flatten().map(String::as_str))
    }

    /// The piece of a path of this form that a variable takes.
    pub fn piece<'p>(&self, name: &str, path: &'p str) -> Option<&'p str> {
        let mut rest = path.strip_prefix('/')?;
        for segment in &self.segments {
            let (head, tail) = rest.split_once('/').unwrap_or((rest, ""));
            match segment {
                Segment::One(Some(own)) if own == name => return Some(head),
                _ => rest = tail,
            }
        }
        self.rest.iter().flatten().any(|own| own == name).then_some(rest)
    }

    /// Whether a canonical path has this form.
    pub fn matches(&self, path: &str) -> bool {
        let Some(mut rest) = path.strip_prefix('/') else {
            return false;
        };
        let mut segments = self.segments.iter().peekable();
        while let Some(segment) = segments.next() {
            let more = segments.peek().is_some() || self.rest.is_some();
            let (head, tail) = match rest.split_once('/') {
                Some((head, tail)) if more => (head, tail),
                None if !more => (rest, ""),
                _ => return false,
            };
            let fits = match segment {
                Segment::Literal(literal) => head == literal,
                Segment::One(_) => !head.is_empty(),
            };
            if !fits {
                return false;
            }
            rest = tail;
        }
        true
    }
}

/// The operator that a segment is, if it is one: the name that it binds, and whether it takes the
/// rest of the path.
fn operator(segment: &str) -> Result<Option<(SegmentVariable, bool)>, TemplateError> {
    let partial = || TemplateError::PartialSegment(segment.to_owned());
    match segment {
        "*" => return Ok(Some((None, false))),
        "**" => return Ok(Some((None, true))),
        _ => {}
    }
    let Some(inner) = segment.strip_prefix('{').and_then(|inner| inner.strip_suffix('}')) else {
        return if segment.contains(['*', '{', '}']) { Err(partial()) } else { Ok(None) };
    };
    let (name, rest) = match inner.split_once('=') {
        None | Some((_, "*")) => (inner.split('=').next().unwrap_or_default(), false),
        Some((name, "**")) => (name, true),
        Some(_) => return Err(partial()),
    };
    let sound = !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    if !sound {
        return Err(TemplateError::BadName(name.to_owned()));
    }
    Ok(Some((Some(name.to_owned()), rest)))
}

fn literal(segment: &str, last: bool) -> Result<String, TemplateError> {
    if segment.is_empty() && last {
        return Ok(String::new());
    }
    if segment.contains(['?', ';']) {
        return Err(TemplateError::NotPath(segment.to_owned()));
    }
    let path = format!("/{segment}");
    let path = canonical(&path).map_err(TemplateError::Path)?;
    if segment.is_empty() {
        return Err(TemplateError::Path(Ambiguous::EmptySegment));
    }
    Ok(path.trim_start_matches('/').to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_template_matches_whole_segments() {
        for (template, yes, no) in [
            ("/", &["/"][..], &["/a", "/a/"][..]),
            ("/a", &["/a"], &["/", "/a/", "/ab", "/a/b", "/A"]),
            ("/a/", &["/a/"], &["/a", "/a/b"]),
            ("/a/*", &["/a/b"], &["/a", "/a/", "/a/b/", "/a/b/c", "/b/b"]),
            ("/a/{x}", &["/a/b"], &["/a", "/a/", "/a/b/c"]),
            ("/a/{x=*}/c", &["/a/b/c"], &["/a//c", "/a/b/d", "/a/c"]),
            ("/a/**", &["/a/", "/a/b", "/a/b/c/"], &["/a", "/ab"]),
            ("/a/{x=**}", &["/a/", "/a/b/c"], &["/a"]),
            ("/**", &["/", "/a", "/a/b"], &[]),
            (
                "/t/{tenant}/orders/**",
                &["/t/1/orders/", "/t/1/orders/7"],
                &["/t/1/orders", "/t/1/2/orders/7"],
            ),
            ("/%61/b%2d", &["/a/b-"], &["/%61/b-"]),
        ] {
            let parsed = Template::parse(template).unwrap();
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
        let template = Template::parse("/t/{tenant}/*/{kind=*}/{rest=**}").unwrap();
        assert_eq!(template.variables().collect::<Vec<_>>(), ["tenant", "kind", "rest"]);
        let path = "/t/a%20b/x/y/z/w/";
        for (name, expected) in
            [("tenant", Some("a%20b")), ("kind", Some("y")), ("rest", Some("z/w/")), ("t", None)]
        {
            assert_eq!(template.piece(name, path), expected, "{name}");
        }
    }

    #[test]
    fn a_raw_template_has_its_literals_as_they_are() {
        let template = Template::parse_raw("/%61//..;x/{y}").unwrap();
        assert!(template.matches("/%61//..;x/a") && !template.matches("/a//..;x/a"));
        assert!(Template::parse_raw("/a?b").is_err());
        assert!(Template::parse_raw(&"/a".repeat(MAX_SEGMENTS)).is_ok());
        assert_eq!(Template::parse_raw(&"/a".repeat(MAX_SEGMENTS + 1)), Err(TemplateError::TooLong));
    }

    #[test]
    fn what_cannot_match_or_mean_one_thing_is_refused() {
        for text in [
            "", "a", "/a/**/b", "/a*", "/{a}b", "/{a", "/a}", "/{}", "/{a-b}", "/{a=b}", "/{a}/{a}", "/a//b",
            "/a/../b", "/a%2Fb", "/a?b", "/***", "/a;b",
        ] {
            assert!(Template::parse(text).is_err(), "{text} was accepted");
        }
    }
}
