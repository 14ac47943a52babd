//! Conditions on a text: Envoy's `StringMatcher`.

mod dialect;

use std::cell::Cell;
use std::fmt;

use regex_lite::Regex;

/// Control characters, and the two of Unicode that end a line or a paragraph.
pub fn could_end_a_line(c: char) -> bool {
    c.is_control() || matches!(c, '\u{2028}' | '\u{2029}')
}

/// Whether two texts are the same.
#[inline]
pub fn same_bytes(one: &[u8], other: &[u8]) -> bool {
    #[cfg(target_family = "wasm")]
    return words::same(one, other);
    #[cfg(not(target_family = "wasm"))]
    return one == other;
}

/// Whether a byte is in a text. Nearly always it is not, and the text is a token.
#[inline]
pub fn has_byte(text: &[u8], byte: u8) -> bool {
    #[cfg(target_family = "wasm")]
    return words::have(text, byte);
    #[cfg(not(target_family = "wasm"))]
    return memchr::memchr(byte, text).is_some();
}

/// Bytes looked at by words. The library that a wasm module compares and searches with looks at one byte at a time, and a
/// token has hundreds. All words are looked at, without a branch for each: what is looked up is nearly always the same,
/// and what is searched for is nearly always absent.
#[cfg(any(target_family = "wasm", test))]
mod words {
    #[inline]
    pub(super) fn same(one: &[u8], other: &[u8]) -> bool {
        if one.len() != other.len() {
            return false;
        }
        let differs = |one: &[u8; 8], other: &[u8; 8]| u64::from_ne_bytes(*one) ^ u64::from_ne_bytes(*other);
        // The last word has bytes of the one before it, where the length is no multiple of a word's.
        let (Some(last), Some(other_last)) = (one.last_chunk(), other.last_chunk()) else {
            return one == other;
        };
        let pairs = one.as_chunks().0.iter().zip(other.as_chunks().0);
        pairs.fold(differs(last, other_last), |all, (one, other)| all | differs(one, other)) == 0
    }

    #[inline]
    pub(super) fn have(text: &[u8], byte: u8) -> bool {
        const LOW: u64 = 0x0101_0101_0101_0101;
        const HIGH: u64 = 0x8080_8080_8080_8080;
        let sought = LOW.wrapping_mul(u64::from(byte));
        // The lowest byte of a word that is zero sets its high bit here, and no byte does where none is zero.
        let marks = |word: &[u8; 8]| {
            let other = u64::from_ne_bytes(*word) ^ sought;
            other.wrapping_sub(LOW) & !other
        };
        // The last word has bytes of the one before it, where the length is no multiple of a word's.
        let Some(last) = text.last_chunk() else { return text.contains(&byte) };
        text.as_chunks().0.iter().fold(marks(last), |all, word| all | marks(word)) & HIGH != 0
    }
}

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
    /// The whole of it matches this expression, in time linear in its length. It means what it means in Envoy.
    Regex(Expression),
    /// As the inner condition says, whose text is in lower case, of the text in lower case (ASCII letters).
    AnyCase(Box<TextMatch>),
}

/// A regular expression that matches whole texts.
#[derive(Clone, Debug)]
pub struct Expression {
    regex: Regex,
    /// What every text begins with that it matches: most texts are told apart without running it.
    prefix: String,
}

/// The longest regular expression that is taken, in bytes.
pub const MAX_REGEX: usize = 4096;

/// The longest text of a request on which an expression is run, in bytes.
pub const MAX_MATCHED: usize = 8192;

/// How much text all expressions together are run over for one request, in bytes: a text counts once for each that is
/// run. Measured on one machine, a byte takes 50 to 250 ns where an expression begins with `.*`, and all of it some
/// 5 ms; most expressions end at the first byte that differs, and one that begins with other letters is not run.
/// Rules with many expressions have [`MATCHED_EACH`] more for each, so that no path of usual length is refused.
pub const MAX_MATCHED_IN_ALL: usize = 64 * 1024;

/// How much more text expressions may be run over for each expression that the rules have, in bytes.
pub const MATCHED_EACH: usize = 272;

/// What a condition says of a text of a request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Judged {
    /// The text meets it.
    Holds,
    /// The text does not meet it.
    Fails,
    /// It was not looked at: the text is longer than [`MAX_MATCHED`], or [`MAX_MATCHED_IN_ALL`] is used up. It is not
    /// known what the rule says, and the request is to be refused.
    TooLong,
}

/// What is left of the text that expressions are run over for one request.
#[derive(Clone, Debug)]
pub struct Effort(Cell<usize>);

impl Default for Effort {
    fn default() -> Self {
        Self(Cell::new(MAX_MATCHED_IN_ALL))
    }
}

impl Effort {
    /// What may be spent where the rules have so many expressions.
    pub fn for_rules(expressions: usize) -> Self {
        Self(Cell::new(MAX_MATCHED_IN_ALL.saturating_add(expressions.saturating_mul(MATCHED_EACH))))
    }

    /// Whether an expression may be run over this text; takes what that costs.
    pub fn may_run(&self, text: &str) -> bool {
        text.len() <= MAX_MATCHED && self.spend(text)
    }

    /// Takes what running one expression over this text costs; whether that much was left.
    fn spend(&self, text: &str) -> bool {
        // An expression has a cost of its own, whatever the text.
        const START: usize = 16;
        let left = self.0.get().checked_sub(text.len().saturating_add(START));
        self.0.set(left.unwrap_or(0));
        left.is_some()
    }
}

impl TextMatch {
    /// A regular expression that must match the whole text.
    ///
    /// # Errors
    /// Why it is none, in words for the operator.
    pub fn regex(expression: &str) -> Result<Self, String> {
        if expression.len() > MAX_REGEX {
            return Err(format!("must have at most {MAX_REGEX} bytes"));
        }
        let compile = |text: &str| {
            let mut builder = regex_lite::RegexBuilder::new(text);
            builder
                .size_limit(1 << 20)
                .build()
                .map_err(|error| format!("is not a regular expression: {error}; correct it there"))
        };
        let translated = dialect::translated(expression)?;
        // Checked alone first, so that no unbalanced parenthesis escapes the group and its anchors.
        compile(expression)?;
        let regex = compile(&format!("^(?:{translated})$"))?;
        Ok(Self::Regex(Expression { regex, prefix: literal_prefix(expression) }))
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

    /// Whether it is an expression.
    pub fn is_regex(&self) -> bool {
        matches!(self, Self::Regex(_))
    }

    /// What it says of a text that a client chose, and whose token was not verified: expressions are run over so much
    /// text and no more. All else costs as much as the text is long, and is always known.
    pub fn judge(&self, text: &str, effort: &Effort) -> Judged {
        if let Self::Regex(Expression { prefix, .. }) = self
            && text.starts_with(prefix.as_str())
            && !effort.may_run(text)
        {
            return Judged::TooLong;
        }
        if self.holds(text) { Judged::Holds } else { Judged::Fails }
    }

    /// Whether the text meets the condition; for texts whose length is known to be bounded, or that are signed.
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
            Self::Regex(Expression { regex, prefix }) => {
                text.starts_with(prefix.as_str()) && regex.is_match(text)
            }
        }
    }
}

/// Says what it asks for, with the field's name in the configuration.
impl fmt::Display for TextMatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(own) => write!(f, "exact {own:?}"),
            Self::Prefix(own) => write!(f, "prefix {own:?}"),
            Self::Suffix(own) => write!(f, "suffix {own:?}"),
            Self::Contains(own) => write!(f, "contains {own:?}"),
            Self::Regex(Expression { regex, .. }) => write!(f, "safe_regex {:?}", regex.as_str()),
            Self::AnyCase(own) => write!(f, "{own}, ignore_case"),
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
                Some(escaped) if escaped.is_ascii_punctuation() && !matches!(escaped, '<' | '>') => escaped,
                _ => break,
            },
            // Flags are no part of what is matched: what follows them may repeat what stands before them.
            '(' if rest.peek() == Some(&'?') => {
                prefix.pop();
                break;
            }
            '.' | '[' | '(' | ')' | '|' | '$' | '^' | '*' | '+' | '?' | '{' => break,
            other => other,
        };
        // With these behind it, it may not be there at all; nor with two repetitions of which one is of these.
        let repeated = rest.next_if_eq(&'+').is_some();
        if matches!(rest.peek(), Some('*' | '?' | '{'))
            || (repeated && matches!(rest.peek(), Some('+' | '(')))
        {
            break;
        }
        prefix.push(literal);
        if repeated {
            break;
        }
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
    fn what_envoy_reads_otherwise_is_refused_with_what_to_write() {
        for (expression, advice) in [
            (r"/a/\<id\>", "write '<'"),
            (r"\>", "write '>'"),
            (r"\<", "word boundary"),
            (r"[\<a]", "write '<'"),
            (r"a\b{start}", r#"write "\b" alone"#),
            (r"\b{end-half}b", r#"write "\b" alone"#),
            (r"\b{2}", r#"write "\b" alone"#),
            (r"a{ 2 }", "without blanks"),
            (r"a{2, 3}", "without blanks"),
            (r"a{,3}", r"write "),
            (r"a{", r"\{"),
            (r"{id}", r"\{"),
            (r"a{x}", r"\{"),
            ("(?x)/a # comment", "of flags"),
            ("/a(?x)# (\n|/b", "of flags"),
            ("(?R)a$", "of flags"),
            ("(?u)a", "of flags"),
            ("(?-u:a)", "of flags"),
            ("(?=a)", "look-around"),
            ("(?!a)", "look-around"),
            ("(?<=a)b", "look-around"),
            ("(?<!a)b", "look-around"),
            ("a**", "into a group"),
            ("a+*", "into a group"),
            ("a+?*", "into a group"),
            ("a{2}{3}", "into a group"),
            ("a{2}*", "into a group"),
            ("a+(?s)??", "into a group"),
            ("a(?i)*", "into a group"),
            (r"[--/]", r#"write "\-""#),
            (r"[^--/]", r#"write "\-""#),
            (r"[a&&b]", "once"),
            (r"[a--b]", "once"),
            (r"[a~~b]", "once"),
            (r"[[a]b]", r#"write "\[""#),
            (r"\u0041", r"write "),
            (r"\U00000041", r"write "),
            (r"\x{}", "braces"),
            (r"\x4", "braces"),
            (r"\pL", "brackets"),
            (r"\P{Greek}", "brackets"),
            (r"\Qa.b\E", "backslash before each"),
            (r"\C", "(?s:.)"),
            (r"(a)\1", "no back-references"),
            (r"\012", "hexadecimal"),
            ("(?i)café", "write both"),
            (r"(?i)caf\x{e9}", "write both"),
            (r"(?i:a)é", "write both"),
            ("a\\", "backslash"),
            ("[a", "closing"),
        ] {
            let error = TextMatch::regex(expression).map(drop).expect_err(expression);
            assert!(error.contains(advice), "{expression}: {error}");
        }
    }

    #[test]
    fn what_is_left_means_what_it_means_to_envoy() {
        for (expression, yes, no) in [
            (
                r"a\sb",
                &["a b", "a\tb", "a\nb", "a\rb", "a\u{c}b"][..],
                &["a\u{b}b", "ab", "a\u{a0}b", "asb"][..],
            ),
            (r"a\Sb", &["a\u{b}b", "axb", "aéb"], &["a b", "a\tb", "ab"]),
            (r"a[\sx]b", &["a b", "axb", "a\u{c}b"], &["a\u{b}b", "asb"]),
            (r"a[^\sx]b", &["a\u{b}b", "ayb"], &["a b", "axb"]),
            (r"a[\S ]b", &["axb", "a b", "a\u{b}b", "a\u{10ffff}b"], &["a\tb"]),
            (r"a[^\S]b", &["a b"], &["axb", "a\u{b}b"]),
            (r"[[:space:]]", &["\u{b}", " "], &["x"]),
            (r"\x2f\x{2F}[\x41-\x43]\x{e9}", &["//Bé"], &["//Dé"]),
            (r"<id>", &["<id>"], &["id"]),
            (r"\bid\b", &["id"], &["xid"]),
            (r"a{2}", &["aa"], &["a"]),
            (r"a{2,}?b", &["aaab"], &["ab"]),
            (r"(?:a*)*b", &["aab", "b"], &["a"]),
            (r"[]a]+", &["]a"], &["b"]),
            (r"[^]a]+", &["b"], &["]"]),
            (r"[a\-z]", &["-"], &["m"]),
            (r"[-a]", &["-", "a"], &["b"]),
            (r"[a-]", &["-", "a"], &["b"]),
            (r"[[:alpha:][:^space:]]", &["a", "1"], &[" "]),
            (r"(?P<id>a)(?<x>b)(?:c)", &["abc"], &["ab"]),
            (r"(?i)STRASSE", &["strasse", "Strasse"], &["x"]),
            (r"(?is-m:A.)b", &["a\nb"], &["a\nB"]),
            (r"(?U)a+", &["aa"], &["b"]),
            (r"\Aa\z", &["a"], &["a\n"]),
            (r"\.\/\-\_\%\~\ \#\&", &["./-_%~ #&"], &[]),
            (r"é+", &["éé"], &["É"]),
        ] {
            let regex = TextMatch::regex(expression).unwrap_or_else(|error| panic!("{expression}: {error}"));
            for text in yes {
                assert!(regex.holds(text), "{expression} on {text:?}");
            }
            for text in no {
                assert!(!regex.holds(text), "{expression} on {text:?}");
            }
        }
    }

    /// Expressions out of a grammar of everything that the dialect has, and much that it has not, each with a text
    /// that it is likely to match.
    struct Grammar(u64);

    impl Grammar {
        fn below(&mut self, max: usize) -> usize {
            self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (self.0 >> 33) as usize % max
        }

        fn one_of(&mut self, list: &[&'static str]) -> &'static str {
            list[self.below(list.len())]
        }

        fn atom(&mut self, depth: usize) -> (String, String) {
            match self.below(if depth == 0 { 8 } else { 11 }) {
                0..=2 => {
                    let letter =
                        self.one_of(&["a", "b", "/", "-", "<", "é", "Z", "0", " ", "#", "%", "]", "}"]);
                    (letter.to_owned(), letter.to_owned())
                }
                3 | 4 => {
                    // Every ASCII character behind a backslash.
                    let escaped = char::from(u8::try_from(33 + self.below(94)).unwrap());
                    let text = match escaped {
                        'd' => '7',
                        's' | 'W' | 'D' => ' ',
                        'w' | 'S' => 'a',
                        'n' => '\n',
                        't' => '\t',
                        'r' => '\r',
                        'f' => '\u{c}',
                        'v' => '\u{b}',
                        'a' => '\u{7}',
                        other => other,
                    };
                    let empty = matches!(escaped, 'b' | 'B' | 'A' | 'z' | '<' | '>');
                    (format!("\\{escaped}"), if empty { String::new() } else { text.to_string() })
                }
                5 => {
                    let (class, text) = [
                        ("[ab]", "a"),
                        ("[^a]", "b"),
                        ("[]a]", "]"),
                        ("[|(]", "|"),
                        ("[a\\]b]", "]"),
                        ("[[:digit:]]", "1"),
                        ("[\\s|]", "|"),
                        ("[^)]", "("),
                        ("[-a]", "-"),
                        ("[--/]", "."),
                    ][self.below(10)];
                    (class.to_owned(), text.to_owned())
                }
                6 => {
                    let (text, match_) = [
                        (".", "x"),
                        ("^", ""),
                        ("$", ""),
                        ("\\x61", "a"),
                        ("\\x{2f}", "/"),
                        ("\\b{start}", ""),
                        ("(?i)", ""),
                        ("(?s)", ""),
                        ("(?x)", ""),
                        ("(?x)# (\n", ""),
                        ("(?i)(?s)", ""),
                    ][self.below(11)];
                    (text.to_owned(), match_.to_owned())
                }
                7 => ("a".to_owned(), "a".to_owned()),
                kind => {
                    let (inner, text) = self.alternatives(depth - 1);
                    let open =
                        ["(", "(?:", "(?i:", "(?s-i:", "(?P<n>"][self.below(if kind == 10 { 5 } else { 2 })];
                    (format!("{open}{inner})"), text)
                }
            }
        }

        fn piece(&mut self, depth: usize) -> (String, String) {
            let (mut expression, text) = self.atom(depth);
            let (mark, times) = [
                ("", 1),
                ("", 1),
                ("", 1),
                ("", 1),
                ("*", 0),
                ("+", 2),
                ("?", 0),
                ("{0}", 0),
                ("{0,2}", 0),
                ("{2}", 2),
                ("{1,}?", 1),
                ("+?", 1),
                ("*?", 0),
                ("+*", 0),
                ("++", 1),
                ("??", 0),
            ][self.below(16)];
            expression.push_str(mark);
            (expression, text.repeat(times))
        }

        fn sequence(&mut self, depth: usize) -> (String, String) {
            let (mut expression, mut text) = (String::new(), String::new());
            for _ in 0..1 + self.below(4) {
                let piece = self.piece(depth);
                expression.push_str(&piece.0);
                text.push_str(&piece.1);
            }
            (expression, text)
        }

        fn alternatives(&mut self, depth: usize) -> (String, String) {
            let (mut expression, mut text) = self.sequence(depth);
            while self.below(4) == 0 {
                let other = self.sequence(depth);
                expression = format!("{expression}|{}", other.0);
                if self.below(2) == 0 {
                    text = other.1;
                }
            }
            (expression, text)
        }
    }

    #[test]
    fn whatever_an_expression_matches_begins_as_it_says() {
        let mut grammar = Grammar(1);
        let (mut taken, mut matched, mut with_prefix) = (0, 0, 0);
        for _ in 0..60_000 {
            let (expression, text) = grammar.alternatives(2);
            // The engine itself, over what it is given, whether or not the dialect lets it through.
            let prefix = literal_prefix(&expression);
            let Ok(TextMatch::Regex(Expression { regex, .. })) = TextMatch::regex(&expression) else {
                continue;
            };
            taken += 1;
            for text in [text.clone(), text.to_uppercase(), text.chars().skip(1).collect(), String::new()] {
                if regex.is_match(&text) {
                    matched += 1;
                    with_prefix += usize::from(!prefix.is_empty());
                    assert!(text.starts_with(&prefix), "{expression:?} matches {text:?}, without {prefix:?}");
                }
            }
        }
        assert!(
            taken > 10_000 && matched > 10_000 && with_prefix > 1_000,
            "{taken}, {matched}, {with_prefix}"
        );
    }

    #[test]
    fn an_expression_is_run_over_so_much_text_and_no_more() {
        let regex = TextMatch::regex("/a/.*x").unwrap();
        let text = |bytes: usize| format!("/a/{}", "b".repeat(bytes - 3));
        assert_eq!(regex.judge(&text(MAX_MATCHED), &Effort::default()), Judged::Fails);
        assert_eq!(regex.judge(&text(MAX_MATCHED + 1), &Effort::default()), Judged::TooLong);
        assert_eq!(regex.judge("/a/x", &Effort::default()), Judged::Holds);
        // What it cannot match for its first letters is known at any length, and costs nothing.
        let effort = Effort::default();
        for _ in 0..10_000 {
            assert_eq!(regex.judge(&"/b".repeat(MAX_MATCHED), &effort), Judged::Fails);
        }
        // All expressions together.
        let rounds = (0..).take_while(|_| regex.judge(&text(1000), &effort) == Judged::Fails).count();
        assert_eq!(rounds, MAX_MATCHED_IN_ALL / 1016);
        assert_eq!(regex.judge("/a/x", &effort), Judged::TooLong, "and then none");
        // Other conditions are always known.
        for condition in
            [TextMatch::Exact("a".into()), TextMatch::Suffix("b".into()), TextMatch::Contains("c".into())]
        {
            assert_ne!(condition.judge(&text(100_000), &effort), Judged::TooLong);
        }
    }

    #[test]
    fn a_hostile_text_costs_no_more_than_its_length() {
        // Would take longer than the age of the universe with backtracking.
        let regex = TextMatch::regex("(a+)+b").unwrap();
        assert!(!regex.holds(&"a".repeat(5000)));
    }

    #[test]
    fn texts_are_the_same_where_every_byte_is() {
        let both = |one: &[u8], other: &[u8]| {
            assert_eq!(same_bytes(one, other), words::same(one, other));
            same_bytes(one, other)
        };
        for length in 0..40 {
            let text: Vec<u8> = (0..length).collect();
            assert!(both(&text, &text.clone()), "{length}");
            assert!(!both(&text, &[text.as_slice(), b"x"].concat()), "{length}");
            for at in 0..text.len() {
                let mut other = text.clone();
                other[at] ^= 0x80;
                assert!(!both(&text, &other), "{length}, {at}");
            }
        }
    }

    #[test]
    fn a_byte_is_found_wherever_it_stands() {
        let both = |text: &[u8]| {
            assert_eq!(has_byte(text, b','), words::have(text, b','));
            has_byte(text, b',')
        };
        for length in 0..40usize {
            for other in [b'a', b'-', b'+', 0, 0x80, 0xac, 0xff] {
                let text = vec![other; length];
                assert!(!both(&text), "{length} {other}");
                for at in 0..length {
                    let mut text = text.clone();
                    text[at] = b',';
                    assert!(both(&text), "{length} {other} {at}");
                }
            }
        }
        let all: Vec<u8> = (0..=255).filter(|byte| *byte != b',').collect();
        assert!((0..all.len()).all(|from| !both(&all[from..])));
    }
}
