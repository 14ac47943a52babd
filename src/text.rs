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
}

/// The longest regular expression that is taken, in bytes.
pub const MAX_REGEX: usize = 4096;

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

    /// Whether the text meets the condition.
    pub fn holds(&self, text: &str) -> bool {
        match self {
            Self::Exact(own) => text == own,
            Self::Prefix(own) => text.starts_with(own.as_str()),
            Self::Suffix(own) => text.ends_with(own.as_str()),
            Self::Contains(own) => text.contains(own.as_str()),
            Self::Regex(regex) => regex.is_match(text),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
