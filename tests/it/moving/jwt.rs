//! A model of `jwt_authn`: where it finds a token, and whether that is good. Own code, none of the filter's.

use harness::idp::now;
use serde_json::Value;

use super::ask::Ask;
use super::tokens::Tokens;

/// Whose tokens are good, and where they are.
#[derive(Clone, Debug, Default)]
pub struct Provider {
    pub name: String,
    /// Empty: not compared.
    pub issuer: String,
    /// Empty: not compared.
    pub audiences: Vec<String>,
    /// Names and prefixes.
    pub headers: Vec<(String, String)>,
    pub parameters: Vec<String>,
    pub cookies: Vec<String>,
    /// Claims whose text is a list with blanks between.
    pub space_delimited: Vec<String>,
}

/// What became of a provider's tokens.
#[derive(Clone, Debug, PartialEq)]
pub enum Found {
    Missing,
    Bad,
    /// The claims that others are told.
    Good(Value),
}

impl Provider {
    /// The texts in its places.
    fn texts(&self, ask: &Ask) -> Vec<String> {
        let usual = self.headers.is_empty() && self.parameters.is_empty() && self.cookies.is_empty();
        let (headers, parameters) = match usual {
            true => {
                (vec![("authorization".to_owned(), "Bearer ".to_owned())], vec!["access_token".to_owned()])
            }
            false => (self.headers.clone(), self.parameters.clone()),
        };
        let is_part = |letter: char| letter.is_ascii_alphanumeric() || "-_.=/+".contains(letter);
        let mut texts = Vec::new();
        for (name, prefix) in &headers {
            let value = ask.header(name).and_then(|value| Some(value.split_once(prefix.as_str())?.1));
            texts.extend(value.map(|value| value.chars().take_while(|letter| is_part(*letter)).collect()));
        }
        texts.extend(parameters.iter().flat_map(|name| ask.parameters(name)).map(str::to_owned));
        texts.extend(self.cookies.iter().flat_map(|name| ask.cookies(name)).map(str::to_owned));
        texts
    }

    /// Judges what is in its places: all of it must be good.
    pub fn judge(&self, ask: &Ask, tokens: &Tokens) -> Found {
        let texts = self.texts(ask);
        let mut payload = None;
        for text in &texts {
            let claims = tokens.get(text).and_then(|token| token.claims.as_ref());
            let Some(claims) = claims.filter(|claims| self.takes(claims)) else { return Found::Bad };
            payload = payload.or_else(|| Some(self.told(claims)));
        }
        payload.map_or(Found::Missing, Found::Good)
    }

    fn takes(&self, claims: &Value) -> bool {
        let is = |name: &str, kind: fn(&Value) -> bool| claims.get(name).is_none_or(kind);
        let forms = is("iss", Value::is_string)
            && is("sub", Value::is_string)
            && ["iat", "nbf", "exp"].iter().all(|name| is(name, Value::is_u64))
            && is("aud", |aud| {
                aud.is_string() || aud.as_array().is_some_and(|all| all.iter().all(Value::is_string))
            });
        let (clock, skew) = (now(), 60);
        let time = |name: &str| claims[name].as_i64().filter(|at| *at > 0);
        let in_time = time("nbf").is_none_or(|start| start <= clock + skew)
            && time("exp").is_none_or(|end| clock <= end + skew);
        let issuer = self.issuer.is_empty() || claims["iss"] == self.issuer.as_str();
        let mut audiences = strings(&claims["aud"]).into_iter().map(plain);
        let audience = self.audiences.is_empty()
            || audiences.any(|own| self.audiences.iter().any(|wanted| plain(wanted) == own));
        forms && in_time && issuer && audience
    }

    fn told(&self, claims: &Value) -> Value {
        let mut told = claims.clone();
        for name in &self.space_delimited {
            if let Some(text) = told[name].as_str() {
                told[name] = text.split(' ').filter(|part| !part.is_empty()).collect();
            }
        }
        told
    }
}

/// An audience as `jwt_authn` compares it.
fn plain(audience: &str) -> &str {
    let bare =
        audience.strip_prefix("https://").or_else(|| audience.strip_prefix("http://")).unwrap_or(audience);
    bare.strip_suffix('/').unwrap_or(bare)
}

/// The texts of a list, or the one text.
pub fn strings(value: &Value) -> Vec<&str> {
    match value {
        Value::Array(all) => all.iter().filter_map(Value::as_str).collect(),
        one => one.as_str().into_iter().collect(),
    }
}

/// The member at the end of a path of names.
pub fn member<'v>(claims: &'v Value, path: &[&str]) -> &'v Value {
    path.iter().fold(claims, |at, name| match at {
        Value::Object(members) => members.get(*name).unwrap_or(&Value::Null),
        _ => &Value::Null,
    })
}
