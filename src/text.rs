//! Conditions on a text: Envoy's `StringMatcher`.

use regex_lite::Regex;

/// A condition on a text.
#[derive(Clone, Debug)]
pub enum TextMatch {
    /// It is this.
    Exact(String),
    /// It starts with this.
    Prefix(String),
    /// It ends with this.
    Suffix(String),
    /// It holds this.
    Contains(String),
    /// The whole of it matches this expression, in time linear in its length.
    Regex(Regex),
    /// As the inner condition says, whose text is in lower case, of the text in lower case (ASCII letters).
    AnyCase(Box<TextMatch>),
}

/// The longest regular expression that is taken, in bytes.
pub const MAX_REGEX: usize = 4096;

/// The longest text of a request over which a regular expression is run, in bytes.
pub const MAX_EXPRESSION_TEXT: usize = 8192;

impl TextMatch {
    /// A regular expression that must match the whole text.
    ///
    /// # Errors
    /// Why it is none, in words for the operator.
    pub fn regex(expression: &str) -> Result<Self, String> {
        if expression.len() > MAX_REGEX {
            return Err(format!("is longer than {MAX_REGEX} bytes"));
        }
        let compile = |text: &str| {
            let mut builder = regex_lite::RegexBuilder::new(text);
            builder
                .size_limit(1 << 20)
                .build()
                .map_err(|error| format!("is not a regular expression: {error}"))
        };
        // Checked alone first, so that no unbalanced parenthesis escapes the group and its anchors.
        compile(expression)?;
        compile(&format!("^(?:{expression})$")).map(Self::Regex)
    }

    /// The same condition, for which upper and lower case of ASCII letters are one. An expression stays as it
    /// is: `(?i)` says so inside.
    #[must_use]
    pub fn ignoring_case(self) -> Self {
        let lower = |text: String| text.to_ascii_lowercase();
        Self::AnyCase(Box::new(match self {
            Self::Exact(own) => Self::Exact(lower(own)),
            Self::Prefix(own) => Self::Prefix(lower(own)),
            Self::Suffix(own) => Self::Suffix(lower(own)),
            Self::Contains(own) => Self::Contains(lower(own)),
            same @ (Self::Regex(_) | Self::AnyCase(_)) => return same,
        }))
    }

    /// Whether the text meets the condition.
    pub fn holds(&self, text: &str) -> bool {
        match self {
            Self::AnyCase(own) => match &**own {
                Self::Exact(own) => text.eq_ignore_ascii_case(own),
                other => other.holds(&text.to_ascii_lowercase()),
            },
            Self::Exact(own) => text == own,
            Self::Prefix(own) => text.starts_with(own.as_str()),
            Self::Suffix(own) => text.ends_with(own.as_str()),
            Self::Contains(own) => text.contains(own.as_str()),
            Self::Regex(regex) => regex.is_match(text),
        }
    }
}

/// The text that everything begins with that an expression matches as a whole; perhaps empty, and never
/// too long.
pub fn literal_prefix(expression: &str) -> String {
    let mut prefix = String::new();
    if has_alternatives(expression) {
        return prefix;
    }
    let mut rest = expression.trim_start_matches('^').chars().peekable();
    while let Some(next) = rest.next() {
        let literal = match next {
            '\\' => match rest.next() {
                Some(escaped) if escaped.is_ascii_punctuation() => escaped,
                _ => break,
            },
            '.' | '[' | '(' | ')' | '|' | '$' | '^' | '*' | '+' | '?' | '{' => break,
            other => other,
        };
        // With these behind it, it may not be there at all.
        if matches!(rest.peek(), Some('*' | '?' | '{')) {
            break;
        }
        prefix.push(literal);
    }
    prefix
}

/// Whether a `|` may stand outside of all groups; "no" is sure.
fn has_alternatives(expression: &str) -> bool {
    let mut depth = 0usize;
    let mut rest = expression.chars().peekable();
    while let Some(next) = rest.next() {
        match next {
            '\\' => drop(rest.next()),
            '(' => depth = depth.saturating_add(1),
            ')' => depth = depth.saturating_sub(1),
            '|' if depth == 0 => return true,
            '[' => {
                rest.next_if_eq(&'^');
                rest.next_if_eq(&']');
                loop {
                    match rest.next() {
                        Some(']') => break,
                        Some('\\') => drop(rest.next()),
                        // A class in a class: not worth reading.
                        Some('[') | None => return true,
                        Some(_) => {}
                    }
                }
            }
            _ => {}
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_expression_begins_with_is_never_too_long() {
        for (expression, expected) in [
            ("/api/v1", "/api/v1"),
            ("^/api/v[0-9]+/.*", "/api/v"),
            ("/a\\.b\\-c\\d", "/a.b-c"),
            ("/ab?c", "/a"),
            ("/ab*", "/a"),
            ("/ab+", "/ab"),
            ("/ab{0,2}", "/a"),
            ("/a\\.?", "/a"),
            ("/a(b|c)/d", "/a"),
            ("/a|/b", ""),
            ("/a[(]|/b", ""),
            ("/a[]|]b", "/a"),
            ("/a\\||/b", ""),
            ("/a[[:alpha:]]", ""),
            ("(?i)/a", ""),
            ("/a$", "/a"),
            ("", ""),
        ] {
            assert_eq!(literal_prefix(expression), expected, "{expression}");
        }
    }

    #[test]
    fn case_counts_unless_it_is_ignored() {
        let condition = |form: fn(String) -> TextMatch| form("Ab".to_owned());
        for (form, yes, no) in [
            (condition(TextMatch::Exact), "Ab", "Abc"),
            (condition(TextMatch::Prefix), "Abc", "cAb"),
            (condition(TextMatch::Suffix), "cAb", "Abc"),
            (condition(TextMatch::Contains), "cAbc", "cba"),
        ] {
            let (upper, lower) = (yes.to_uppercase(), yes.to_lowercase());
            assert!(form.holds(yes) && !form.holds(&upper) && !form.holds(&lower), "{form:?}");
            let folded = form.ignoring_case();
            assert!(folded.holds(yes) && folded.holds(&upper) && folded.holds(&lower), "{folded:?}");
            assert!(!folded.holds(no), "{folded:?}");
        }
        let regex = TextMatch::regex("ab").unwrap().ignoring_case();
        assert!(regex.holds("ab") && !regex.holds("AB"), "an expression has its own flag");
    }

    #[test]
    fn an_expression_matches_the_whole_text() {
        for (expression, text, expected) in [
            ("admin", "admin", true),
            ("admin", "xadminx", false),
            ("a|b", "ax", false),
            ("a|b", "b", true),
            ("a", "a\n", false),
            (".*", "a\nb", false),
            ("(?i)ADMIN", "admin", true),
            ("^a$", "a", true),
        ] {
            assert_eq!(
                TextMatch::regex(expression).unwrap().holds(text),
                expected,
                "{expression} on {text:?}"
            );
        }
    }

    #[test]
    fn what_is_no_expression_or_too_large_is_refused() {
        for expression in ["(", "a)|(b", "[", "a{100000}{100000}", "(?=a)", &"a".repeat(MAX_REGEX + 1)] {
            assert!(TextMatch::regex(expression).is_err(), "{expression:.20}");
        }
    }

    #[test]
    fn a_hostile_text_costs_no_more_than_its_length() {
        // Would take longer than the age of the universe with backtracking.
        let regex = TextMatch::regex("(a+)+b").unwrap();
        assert!(!regex.holds(&"a".repeat(5000)));
    }
}
