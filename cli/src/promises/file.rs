//! A file of tests: requests, their tokens, and what the gate is to do.

use std::collections::BTreeMap;

use portcullis_explain::{RouteSketch, TokenSketch, parse_time};
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value};

/// The file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct TestFile {
    /// The file of the configuration, from the folder of this file on; or the configuration itself.
    pub(super) config: Value,
    /// The time of all tests.
    #[serde(default, deserialize_with = "time")]
    pub(super) now: Option<u64>,
    pub(super) tests: Vec<Test>,
}

/// One test.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Test {
    /// What it promises.
    pub(super) name: Option<String>,
    #[serde(default)]
    pub(super) request: RequestPart,
    #[serde(default)]
    pub(super) token: Tokens,
    /// What introspection endpoints answer.
    pub(super) introspection: Option<Value>,
    /// The time of this test.
    #[serde(default, deserialize_with = "time")]
    pub(super) now: Option<u64>,
    pub(super) expect: Expect,
}

/// The request.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RequestPart {
    pub(super) method: String,
    pub(super) path: String,
    pub(super) host: String,
    pub(super) headers: BTreeMap<String, Texts>,
    pub(super) tls: bool,
    pub(super) client_address: Option<String>,
    pub(super) metadata: Option<Value>,
    pub(super) route: RouteSketch,
}

impl Default for RequestPart {
    fn default() -> Self {
        Self {
            method: "GET".to_owned(),
            path: "/".to_owned(),
            host: "localhost".to_owned(),
            headers: BTreeMap::new(),
            tls: false,
            client_address: None,
            metadata: None,
            route: RouteSketch::default(),
        }
    }
}

/// One text or several.
#[derive(Clone, Deserialize)]
#[serde(untagged, expecting = "expected a text, or a list of texts")]
pub(super) enum Texts {
    One(String),
    Several(Vec<String>),
}

impl Texts {
    pub(super) fn all(&self) -> &[String] {
        match self {
            Self::One(one) => std::slice::from_ref(one),
            Self::Several(several) => several,
        }
    }
}

/// No token, one, or several.
#[derive(Default)]
pub(super) struct Tokens(pub(super) Vec<TokenPart>);

impl<'de> Deserialize<'de> for Tokens {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // Not by trial, which would hide what is wrong with a token.
        let value = Value::deserialize(deserializer)?;
        let tokens = match value {
            Value::Null => Ok(Vec::new()),
            Value::Array(_) => serde_json::from_value(value),
            one => serde_json::from_value(one).map(|one| vec![one]),
        };
        tokens.map(Self).map_err(serde::de::Error::custom)
    }
}

/// A token.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct TokenPart {
    /// Claims beside the usual ones, or in their place; null leaves one out.
    #[serde(default)]
    pub(super) claims: Map<String, Value>,
    pub(super) alg: Option<String>,
    pub(super) kid: Option<String>,
    /// How long ago it was issued.
    #[serde(default, deserialize_with = "span")]
    pub(super) age: u64,
    /// Whose token it is, in place of the provider that the rule asks for.
    pub(super) provider: Option<String>,
    /// Members of its JOSE header; or the name of the header field in which it comes as it is.
    #[serde(default)]
    pub(super) header: HeaderPart,
    /// The token itself, as `Authorization: Bearer` unless `header` names another field.
    pub(super) raw: Option<String>,
}

/// What `header` of a token says.
#[derive(Default, Deserialize)]
#[serde(
    untagged,
    expecting = "expected an object of members of the JOSE header, or the name of a header field"
)]
pub(super) enum HeaderPart {
    #[default]
    Nothing,
    Field(String),
    Members(Map<String, Value>),
}

impl TokenPart {
    pub(super) fn sketch(&self) -> TokenSketch {
        TokenSketch {
            claims: self.claims.clone(),
            alg: self.alg.clone(),
            kid: self.kid.clone(),
            age: self.age,
            header: match &self.header {
                HeaderPart::Members(members) => members.clone(),
                HeaderPart::Nothing | HeaderPart::Field(_) => Map::new(),
            },
        }
    }
}

/// What the gate is to do. What is not said is not looked at.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Expect {
    pub(super) status: Option<u16>,
    /// Null: it is not refused.
    #[serde(default, deserialize_with = "said")]
    pub(super) reason: Option<Option<String>>,
    /// Null: no rule.
    #[serde(default, deserialize_with = "said")]
    pub(super) rule: Option<Option<String>>,
    /// Header fields at the upstream; null: not there.
    #[serde(default)]
    pub(super) upstream: BTreeMap<String, Option<Texts>>,
    /// The scopes that a challenge asks for; null: none.
    #[serde(default, deserialize_with = "said")]
    pub(super) scope: Option<Option<String>>,
    /// Header fields of the gate's own answer; null: not there.
    #[serde(default)]
    pub(super) answer: BTreeMap<String, Option<Texts>>,
}

impl Expect {
    /// Whether nothing is looked at.
    pub(super) fn is_empty(&self) -> bool {
        self.status.is_none()
            && self.reason.is_none()
            && self.rule.is_none()
            && self.upstream.is_empty()
            && self.scope.is_none()
            && self.answer.is_empty()
    }
}

/// A member that is there, null among what it can be.
fn said<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Option<String>>, D::Error> {
    Option::<String>::deserialize(deserializer).map(Some)
}

fn time<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u64>, D::Error> {
    let text = match Value::deserialize(deserializer)? {
        Value::Number(number) => number.to_string(),
        Value::String(text) => text,
        _ => String::new(),
    };
    parse_time(&text).map(Some).map_err(serde::de::Error::custom)
}

/// A span in seconds: a number, or a number with s, m, h or d.
fn span<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    let value = Value::deserialize(deserializer)?;
    let parsed = match &value {
        Value::Number(number) => number.as_u64(),
        Value::String(text) => span_of(text),
        _ => None,
    };
    parsed.ok_or_else(|| {
        serde::de::Error::custom(format!(
            "{value} is no span of time; write seconds, or for example \"90s\", \"10m\", \"2h\", \"1d\""
        ))
    })
}

fn span_of(text: &str) -> Option<u64> {
    let units = [("s", 1), ("m", 60), ("h", 3600), ("d", 86_400)];
    let (number, unit) = units.iter().find_map(|(name, unit)| Some((text.strip_suffix(name)?, *unit)))?;
    number.parse::<u64>().ok()?.checked_mul(unit)
}
