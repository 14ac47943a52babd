//! A reader of JSON (RFC 8259) and of base64url (RFC 4648 section 5) that shares no line with the
//! filter's. Slow, plain, and as strict as the texts allow.

/// A JSON value. Numbers stay the text that they were.
#[derive(Clone, PartialEq, Debug)]
pub(crate) enum Value {
    Null,
    Bool,
    Number(String),
    Text(String),
    List(Vec<Value>),
    Members(Vec<(String, Value)>),
}

impl Value {
    pub(crate) fn member(&self, name: &str) -> Option<&Value> {
        match self {
            Self::Members(members) => members.iter().find(|(own, _)| own == name).map(|(_, value)| value),
            _ => None,
        }
    }

    pub(crate) fn text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }
}

/// The deepest nesting: RFC 8259 section 9 lets a reader set a limit, and the filter's is this.
const DEEPEST: usize = 64;

/// The value of a whole text; none where it is not JSON, names a member twice, nests too deep or has
/// a number that no double comes near.
pub(crate) fn json(text: &[u8]) -> Option<Value> {
    // RFC 8259 section 8.1: UTF-8, and no byte order mark is added.
    let text: Vec<char> = std::str::from_utf8(text).ok()?.chars().collect();
    let mut reader = Reader { text: &text, at: 0 };
    let value = reader.element(0)?;
    (reader.at == text.len()).then_some(value)
}

struct Reader<'t> {
    text: &'t [char],
    at: usize,
}

impl Reader<'_> {
    fn peek(&self) -> Option<char> {
        self.text.get(self.at).copied()
    }

    fn next(&mut self) -> Option<char> {
        let next = self.peek();
        self.at += 1;
        next
    }

    fn takes(&mut self, wanted: char) -> bool {
        let there = self.peek() == Some(wanted);
        self.at += usize::from(there);
        there
    }

    fn blanks(&mut self) {
        while matches!(self.peek(), Some(' ' | '\t' | '\n' | '\r')) {
            self.at += 1;
        }
    }

    fn word(&mut self, word: &str, value: Value) -> Option<Value> {
        word.chars().all(|letter| self.takes(letter)).then_some(value)
    }

    /// A value with the blanks around it.
    fn element(&mut self, depth: usize) -> Option<Value> {
        self.blanks();
        let value = match self.peek()? {
            'n' => self.word("null", Value::Null),
            't' => self.word("true", Value::Bool),
            'f' => self.word("false", Value::Bool),
            '"' => self.string().map(Value::Text),
            '[' => self.list(depth + 1),
            '{' => self.members(depth + 1),
            _ => self.number(),
        }?;
        self.blanks();
        Some(value)
    }

    fn list(&mut self, depth: usize) -> Option<Value> {
        self.at += 1;
        if depth > DEEPEST {
            return None;
        }
        let mut items = Vec::new();
        self.blanks();
        if self.takes(']') {
            return Some(Value::List(items));
        }
        loop {
            items.push(self.element(depth)?);
            match self.next()? {
                ',' => {}
                ']' => return Some(Value::List(items)),
                _ => return None,
            }
        }
    }

    fn members(&mut self, depth: usize) -> Option<Value> {
        self.at += 1;
        if depth > DEEPEST {
            return None;
        }
        let mut members: Vec<(String, Value)> = Vec::new();
        self.blanks();
        if self.takes('}') {
            return Some(Value::Members(members));
        }
        loop {
            self.blanks();
            let name = self.string()?;
            self.blanks();
            if !self.takes(':') || members.iter().any(|(other, _)| *other == name) {
                return None;
            }
            let value = self.element(depth)?;
            members.push((name, value));
            match self.next()? {
                ',' => {}
                '}' => return Some(Value::Members(members)),
                _ => return None,
            }
        }
    }

    fn string(&mut self) -> Option<String> {
        if !self.takes('"') {
            return None;
        }
        let mut text = String::new();
        loop {
            match self.next()? {
                '"' => return Some(text),
                '\\' => text.push(self.escape()?),
                '\0'..='\u{1f}' => return None,
                plain => text.push(plain),
            }
        }
    }

    /// RFC 8259 section 7; half of a surrogate pair is no character.
    fn escape(&mut self) -> Option<char> {
        Some(match self.next()? {
            quote @ ('"' | '\\' | '/') => quote,
            'b' => '\u{8}',
            'f' => '\u{c}',
            'n' => '\n',
            'r' => '\r',
            't' => '\t',
            'u' => {
                let unit = self.unit()?;
                match unit {
                    0xd800..=0xdbff => {
                        let low = (self.takes('\\') && self.takes('u')).then(|| self.unit())??;
                        if !(0xdc00..=0xdfff).contains(&low) {
                            return None;
                        }
                        char::from_u32(0x10000 + ((unit - 0xd800) << 10) + (low - 0xdc00))?
                    }
                    _ => char::from_u32(unit)?,
                }
            }
            _ => return None,
        })
    }

    fn unit(&mut self) -> Option<u32> {
        (0..4).try_fold(0, |unit, _| Some(unit * 16 + self.next()?.to_digit(16)?))
    }

    fn digits(&mut self) -> usize {
        let start = self.at;
        while self.peek().is_some_and(|digit| digit.is_ascii_digit()) {
            self.at += 1;
        }
        self.at - start
    }

    /// RFC 8259 section 6.
    fn number(&mut self) -> Option<Value> {
        let start = self.at;
        self.takes('-');
        if !self.takes('0') && self.digits() == 0 {
            return None;
        }
        if self.takes('.') && self.digits() == 0 {
            return None;
        }
        if self.takes('e') || self.takes('E') {
            if !self.takes('+') {
                self.takes('-');
            }
            if self.digits() == 0 {
                return None;
            }
        }
        let text: String = self.text[start..self.at].iter().collect();
        text.parse::<f64>().is_ok_and(f64::is_finite).then_some(Value::Number(text))
    }
}

/// The bytes of a text in base64url without padding; none where another text would be the usual one
/// of the same bytes.
pub(crate) fn base64url(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    let (mut held, mut bits) = (0u32, 0);
    for letter in text.bytes() {
        let six = match letter {
            b'A'..=b'Z' => letter - b'A',
            b'a'..=b'z' => letter - b'a' + 26,
            b'0'..=b'9' => letter - b'0' + 52,
            b'-' => 62,
            b'_' => 63,
            _ => return None,
        };
        held = (held << 6) | u32::from(six);
        bits += 6;
        if bits >= 8 {
            bits -= 8;
            bytes.push((held >> bits) as u8);
            held &= (1 << bits) - 1;
        }
    }
    // Six bits alone make no byte, and what is left over is 0.
    (bits < 6 && held == 0).then_some(bytes)
}
