//! The dialect of regular expressions: that of Envoy's RE2.
//!
//! The engine reads most expressions as RE2 does, and some otherwise. An expression that would mean one thing here and
//! another in Envoy is refused, with what to write instead; one that RE2 does not know is refused as well. What is left
//! means the same in both, but for letters beyond ASCII that `(?i)` would make one with an ASCII letter (the Kelvin
//! sign with `k`, the long s with `s`), which RE2 folds.

/// The expression in the words of the engine.
///
/// # Errors
/// What would be read otherwise, and what to write instead.
pub(super) fn translated(expression: &str) -> Result<String, String> {
    let mut reader = Reader { rest: expression, out: String::with_capacity(expression.len()), folds: false };
    // Whether a repetition would repeat a repetition, or flags.
    let mut repeated = false;
    while let Some(next) = reader.next() {
        let repeats = match next {
            '\\' => reader.escape(false).map(|()| false)?,
            '[' => reader.class().map(|()| false)?,
            '(' => reader.group()?,
            '*' | '+' | '?' | '{' if repeated => {
                return Err(format!(
                    "repeats a repetition or flags by {next:?}, which Envoy refuses: put what is repeated into a group, (?:a*){next}"
                ));
            }
            '{' => reader.counts().map(|()| true)?,
            '*' | '+' | '?' => {
                reader.out.push(next);
                true
            }
            other => {
                reader.out.push(other);
                false
            }
        };
        // A `?` behind a repetition asks for the shortest match and changes nothing of what matches as a whole.
        if repeats
            && next != '('
            && let Some(rest) = reader.rest.strip_prefix('?')
        {
            reader.rest = rest;
            reader.out.push('?');
        }
        repeated = repeats;
    }
    let foreign = expression.chars().find(|letter| !letter.is_ascii() && has_case(*letter));
    match foreign {
        Some(letter) if reader.folds => Err(format!(
            "has (?i) and the letter {letter:?}, for which upper and lower case stay two here: write both in brackets, [éÉ]"
        )),
        _ => Ok(reader.out),
    }
}

struct Reader<'e> {
    rest: &'e str,
    out: String,
    /// Whether `(?i)` stands anywhere.
    folds: bool,
}

impl<'e> Reader<'e> {
    fn next(&mut self) -> Option<char> {
        let mut chars = self.rest.chars();
        let next = chars.next()?;
        self.rest = chars.as_str();
        Some(next)
    }

    /// What is taken from the rest up to the first character that is not `wanted`.
    fn take(&mut self, wanted: impl Fn(char) -> bool) -> &'e str {
        let end = self.rest.find(|c| !wanted(c)).unwrap_or(self.rest.len());
        let (taken, rest) = self.rest.split_at_checked(end).unwrap_or((self.rest, ""));
        self.rest = rest;
        taken
    }

    /// What stands behind a backslash; `inside` of a class in brackets.
    fn escape(&mut self, inside: bool) -> Result<(), String> {
        let Some(next) = self.next() else {
            return Err("ends with a backslash; write \\\\ for the character".to_owned());
        };
        let text: &str = match next {
            '<' | '>' => {
                return Err(format!(
                    "\"\\{next}\" means a word boundary to some engines and the character to Envoy: write {next:?} for the character, \"\\b\" for a boundary"
                ));
            }
            'b' if self.rest.starts_with('{') => {
                return Err(
                    "\"\\b{\" is a special boundary to some engines and none to Envoy: write \"\\b\" alone"
                        .to_owned(),
                );
            }
            'u' | 'U' => {
                return Err(format!(
                    "\"\\{next}\" is unknown to Envoy: write \"\\x{{…}}\" with the character's hexadecimal number"
                ));
            }
            'x' => return self.hexadecimal(),
            'p' | 'P' | 'X' => {
                return Err(format!(
                    "\"\\{next}\" is not supported: write the characters in brackets, [a-zà-ÿ]"
                ));
            }
            'Q' | 'E' => {
                return Err(
                    "\"\\Q\" is not supported: write a backslash before each special character".to_owned()
                );
            }
            'C' => return Err("\"\\C\" is not supported: write (?s:.) for any character".to_owned()),
            '0'..='9' => {
                return Err(format!(
                    "\"\\{next}\" is not supported: write \"\\x{{…}}\" with the character's hexadecimal number; there are no back-references"
                ));
            }
            // RE2 leaves the vertical tab out, the engine does not.
            's' if inside => "\\t\\n\\x0C\\r ",
            's' => "[\\t\\n\\x0C\\r ]",
            'S' if inside => "\\x00-\\x08\\x0B\\x0E-\\x1F!-\\x{10FFFF}",
            'S' => "[^\\t\\n\\x0C\\r ]",
            other => {
                self.out.push('\\');
                self.out.push(other);
                return Ok(());
            }
        };
        self.out.push_str(text);
        Ok(())
    }

    /// `\xFF` or `\x{FF}`, of which the `x` is taken.
    fn hexadecimal(&mut self) -> Result<(), String> {
        let (digits, rest) = match self.rest.strip_prefix('{') {
            Some(rest) => rest.split_once('}').unwrap_or_default(),
            None => self.rest.split_at_checked(2).unwrap_or_default(),
        };
        let number = Some(digits).filter(|digits| digits.bytes().all(|byte| byte.is_ascii_hexdigit()));
        let letter = number.and_then(|digits| char::from_u32(u32::from_str_radix(digits, 16).ok()?));
        let Some(letter) = letter else {
            return Err("\"\\x\" stands before two hexadecimal digits, or before the number of a character in braces: \"\\x2F\", \"\\x{E9}\"".to_owned());
        };
        if !letter.is_ascii() && has_case(letter) && self.folds {
            return Err(format!(
                "has (?i) and the letter {letter:?}, for which upper and lower case stay two here: write both"
            ));
        }
        self.rest = rest;
        self.out.push_str(&format!("\\x{{{digits}}}"));
        Ok(())
    }

    /// A class, of which the bracket is taken. Whether its ranges have two ends each is left to the engine.
    fn class(&mut self) -> Result<(), String> {
        self.out.push('[');
        if let Some(rest) = self.rest.strip_prefix('^') {
            self.rest = rest;
            self.out.push('^');
        }
        if self.rest.starts_with("--") {
            return Err("a class that begins with \"--\" is a range to Envoy and two characters here: write \"\\-\" for the character".to_owned());
        }
        let mut first = true;
        while let Some(next) = self.next() {
            match next {
                ']' if !first => {
                    self.out.push(']');
                    return Ok(());
                }
                '\\' => self.escape(true)?,
                '[' if self.rest.starts_with(':') => {
                    self.out.push('[');
                    let name = self.take(|c| c != ']');
                    self.out.push_str(name);
                    if self.rest.starts_with(']') {
                        self.next();
                        self.out.push(']');
                    }
                }
                '[' => {
                    return Err("has \"[\" in a class, which some engines take for a class in a class: write \"\\[\" for the character".to_owned());
                }
                '&' | '~' | '-' if self.rest.starts_with(next) => {
                    return Err(format!(
                        "has \"{next}{next}\" in a class, which some engines take for an operator: write the character once, \"\\{next}\""
                    ));
                }
                other => self.out.push(other),
            }
            first = false;
        }
        Err("has a class without a closing \"]\"; add it".to_owned())
    }

    /// A group, of which the parenthesis is taken. Whether it is flags and nothing else.
    fn group(&mut self) -> Result<bool, String> {
        self.out.push('(');
        let Some(rest) = self.rest.strip_prefix('?') else { return Ok(false) };
        // A name; or what looks around, which the engine refuses.
        if rest.starts_with("P<") || rest.starts_with(['<', '=', '!']) {
            return Ok(false);
        }
        self.rest = rest;
        let flags = self.take(|c| c != ')' && c != ':');
        if let Some(other) = flags.chars().find(|flag| !"imsU-".contains(*flag)) {
            return Err(format!(
                "\"(?{other}\" is unknown to Envoy or means something else there: of flags, write i, m, s or U alone"
            ));
        }
        self.folds |= flags.split('-').next().is_some_and(|on| on.contains('i'));
        self.out.push('?');
        self.out.push_str(flags);
        let alone = self.rest.strip_prefix(')');
        if let Some(rest) = alone {
            self.rest = rest;
            self.out.push(')');
        }
        Ok(alone.is_some())
    }

    /// `{2}`, `{2,}` or `{2,5}`, of which the brace is taken.
    fn counts(&mut self) -> Result<(), String> {
        let (counts, rest) = self.rest.split_once('}').unwrap_or_default();
        let (min, max) = counts.split_once(',').unwrap_or((counts, ""));
        let is_number = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
        if min.is_empty() || !is_number(min) || !is_number(max) {
            return Err("has \"{\" without counts, which Envoy takes for the character: write \"\\{\" for it, or {2}, {2,} or {2,5} without blanks".to_owned());
        }
        self.rest = rest;
        self.out.push_str(&format!("{{{counts}}}"));
        Ok(())
    }
}

fn has_case(letter: char) -> bool {
    !letter.to_lowercase().eq([letter]) || !letter.to_uppercase().eq([letter])
}
