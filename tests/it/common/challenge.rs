//! `WWW-Authenticate`, read as strictly as RFC 9110 section 11.6.1, RFC 6750 section 3, RFC 9470 section 3
//! and RFC 9728 section 5.1 allow a sender to write it.

use std::collections::BTreeMap;

/// One challenge.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Challenge {
    pub scheme: String,
    /// In the order in which they came, quotes and escapes taken away.
    pub parameters: Vec<(String, String)>,
}

/// The challenges of a field value. What a sender must not write is an error, also where a reader would let it pass.
pub fn parse(text: &str) -> Result<Vec<Challenge>, String> {
    let mut reader = Reader { text, rest: text };
    let mut challenges: Vec<Challenge> = Vec::new();
    loop {
        let name = reader.token()?;
        match challenges.last_mut() {
            // `name=` goes on with the challenge before; a name alone, or with a blank behind it, is a new one.
            Some(challenge) if reader.rest.starts_with('=') => {
                let value = reader.value()?;
                challenge.parameters.push((name, value));
            }
            _ => {
                let mut challenge = Challenge { scheme: name, parameters: Vec::new() };
                if reader.rest.starts_with(' ') {
                    reader.rest = reader.rest.trim_start_matches(' ');
                    let name = reader.token()?;
                    let value = reader.value()?;
                    challenge.parameters.push((name, value));
                }
                challenges.push(challenge);
            }
        }
        if reader.rest.is_empty() {
            return Ok(challenges);
        }
        reader.comma()?;
    }
}

/// The parameters of the one Bearer challenge that a field value is (RFC 6750 section 3).
pub fn bearer(text: &str) -> Result<BTreeMap<String, String>, String> {
    let challenges = parse(text)?;
    let [challenge] = &challenges[..] else {
        return Err(format!("{} challenges: {text:?}", challenges.len()));
    };
    if challenge.scheme != "Bearer" {
        return Err(format!("the scheme {:?}", challenge.scheme));
    }
    if challenge.parameters.is_empty() {
        return Err("a Bearer challenge has one parameter at least".to_owned());
    }
    let mut parameters = BTreeMap::new();
    for (name, value) in &challenge.parameters {
        let is_char = |c: char| matches!(c, '\x20'..='\x21' | '\x23'..='\x5b' | '\x5d'..='\x7e');
        let fits = match name.as_str() {
            "realm" => true,
            "scope" => value.split(' ').all(|scope| !scope.is_empty() && scope.chars().all(is_char)),
            "acr_values" => value.split(' ').all(|one| !one.is_empty() && one.chars().all(is_char)),
            "max_age" => value.parse::<u32>().is_ok_and(|seconds| seconds.to_string() == *value),
            "resource_metadata" => {
                value.starts_with("https://") && value.chars().all(is_char) && !value.contains(' ')
            }
            "error" | "error_description" => !value.is_empty() && value.chars().all(is_char),
            _ => return Err(format!("the parameter {name:?}: {text:?}")),
        };
        if !fits {
            return Err(format!("{name} is {value:?}"));
        }
        if parameters.insert(name.clone(), value.clone()).is_some() {
            return Err(format!("{name} twice: {text:?}"));
        }
    }
    Ok(parameters)
}

struct Reader<'t> {
    text: &'t str,
    rest: &'t str,
}

impl Reader<'_> {
    fn error<T>(&self, what: &str) -> Result<T, String> {
        Err(format!("{what} before {:?} in {:?}", self.rest, self.text))
    }

    /// RFC 9110 section 5.6.2
    fn token(&mut self) -> Result<String, String> {
        let is_tchar = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c);
        let end = self.rest.find(|c| !is_tchar(c)).unwrap_or(self.rest.len());
        if end == 0 {
            return self.error("no name");
        }
        let (token, rest) = self.rest.split_at(end);
        self.rest = rest;
        Ok(token.to_owned())
    }

    /// `=` and a token or a quoted string (section 5.6.4), without blanks between, which a sender must not write.
    fn value(&mut self) -> Result<String, String> {
        let Some(rest) = self.rest.strip_prefix('=') else { return self.error("no =") };
        self.rest = rest;
        let Some(rest) = self.rest.strip_prefix('"') else { return self.token() };
        let mut value = String::new();
        let mut letters = rest.char_indices();
        while let Some((at, letter)) = letters.next() {
            match letter {
                '"' => {
                    self.rest = &rest[at + 1..];
                    return Ok(value);
                }
                // A sender should escape nothing else.
                '\\' => match letters.next() {
                    Some((_, escaped @ ('"' | '\\'))) => value.push(escaped),
                    _ => return self.error("an escape that is none"),
                },
                '\t' | ' '..='~' => value.push(letter),
                _ => return self.error("a character that no quoted string holds"),
            }
        }
        self.error("a quote that is not closed")
    }

    /// A comma, and something behind it.
    fn comma(&mut self) -> Result<(), String> {
        let Some(rest) = self.rest.trim_start_matches([' ', '\t']).strip_prefix(',') else {
            return self.error("no comma");
        };
        self.rest = rest.trim_start_matches([' ', '\t']);
        if self.rest.is_empty() { self.error("an empty element") } else { Ok(()) }
    }
}
