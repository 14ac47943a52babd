//! Tokens of every kind for every provider, signed on the fly.

use std::collections::{BTreeMap, BTreeSet};

use portcullis_explain::{Bench, Forge, RequestSketch, TokenSketch};
use serde_json::{Map, Value, json};

use super::super::input::list;

/// A token, and what is known of it.
pub(super) struct Token {
    pub(super) text: String,
    /// For which provider it was made.
    pub(super) provider: String,
    /// What is special about it; `good` where nothing is.
    pub(super) name: String,
    pub(super) claims: Map<String, Value>,
    /// Whether the signature is that of the provider's key.
    pub(super) is_genuine: bool,
    /// The rows that can be about it.
    pub(super) rows: Vec<&'static str>,
}

/// Claims that are asked for somewhere.
pub(super) struct Asked {
    pub(super) claims: Map<String, Value>,
    /// The rows that can be about a token with them.
    pub(super) rows: Vec<&'static str>,
}

/// All tokens, by their text.
pub(super) type Tokens = BTreeMap<String, Token>;

const GOOD: &str = "good";

impl Token {
    pub(super) fn is_good(&self) -> bool {
        self.name == GOOD
    }
}

/// Signs them, and lets the providers publish the keys.
pub(super) fn forge(today: &Value, more: &[Asked], bench: &mut Bench, now: u64) -> Result<Tokens, String> {
    let mut forge = Forge::new(7);
    let mut tokens = Tokens::new();
    let providers = today["providers"].as_object().cloned().unwrap_or_default();
    let mut audiences = BTreeSet::new();
    audiences_of_rules(today, &mut audiences);
    for (name, provider) in &providers {
        for (kind, rows, claims, header) in kinds(provider, &audiences, more, now) {
            let sketch = TokenSketch { claims: with_absent(&claims), header, ..TokenSketch::default() };
            let text = bench.carry(&mut RequestSketch::default(), &sketch, Some(name), (&mut forge, now))?;
            let provider = name.clone();
            let claims: Map<String, Value> =
                claims.into_iter().filter(|(_, value)| !value.is_null()).collect();
            if kind == GOOD {
                let forged = forged(&text);
                let token = Token {
                    text: forged.clone(),
                    provider: provider.clone(),
                    name: "signed by nobody".to_owned(),
                    claims: claims.clone(),
                    is_genuine: false,
                    rows: vec![],
                };
                tokens.insert(forged, token);
            }
            tokens.insert(text.clone(), Token { text, provider, name: kind, claims, is_genuine: true, rows });
        }
    }
    bench.publish(&mut forge, true)?;
    Ok(tokens)
}

/// The usual claims are left out where they are not asked for.
fn with_absent(claims: &Map<String, Value>) -> Map<String, Value> {
    let mut all: Map<String, Value> =
        ["iss", "aud", "sub", "iat", "exp"].map(|name| (name.to_owned(), Value::Null)).into_iter().collect();
    all.extend(claims.clone());
    all
}

/// The same with another signature.
fn forged(text: &str) -> String {
    let (input, signature) = text.rsplit_once('.').unwrap_or((text, ""));
    let turned: String = signature.chars().map(|c| if c == 'A' { 'B' } else { c }).rev().collect();
    // The last letter of a signature holds bits that must be zero.
    format!("{input}.{}A", &turned[..turned.len().saturating_sub(1)])
}

/// The audiences that rules ask for beside their providers.
fn audiences_of_rules(value: &Value, found: &mut BTreeSet<String>) {
    let of = &value["provider_and_audiences"]["audiences"];
    found.extend(list(of).iter().filter_map(Value::as_str).map(str::to_owned));
    match value {
        Value::Object(members) => members.values().for_each(|value| audiences_of_rules(value, found)),
        Value::Array(elements) => elements.iter().for_each(|value| audiences_of_rules(value, found)),
        _ => {}
    }
}

/// A text that meets a matcher of texts.
pub(super) fn meeting(matcher: &Value) -> String {
    let text = |name: &str| matcher[name].as_str().map(str::to_owned);
    let regex = matcher["safe_regex"]["regex"].as_str().map(plain_of);
    let found = ["exact", "prefix", "suffix", "contains"].iter().find_map(|name| text(name));
    found.or(regex).unwrap_or_else(|| "alice".to_owned())
}

/// A text that a simple expression is likely to match: its first alternative without signs.
pub(super) fn plain_of(regex: &str) -> String {
    let mut out = String::new();
    let mut chars = regex.chars().peekable();
    let mut class: Option<String> = None;
    let mut in_group: Vec<bool> = Vec::new();
    while let Some(c) = chars.next() {
        let skipped = in_group.contains(&true);
        let mut put = |c: char| {
            if !skipped {
                out.push(c)
            }
        };
        match (c, &mut class) {
            (']', Some(letters)) => {
                let first = letters.chars().find(|c| c.is_ascii_alphanumeric()).unwrap_or('x');
                put(first);
                class = None;
            }
            (c, Some(letters)) => letters.push(c),
            ('[', None) => class = Some(String::new()),
            ('\\', None) => match chars.next() {
                Some('d') => put('1'),
                Some('w') => put('x'),
                Some(c) => put(c),
                None => {}
            },
            ('(', None) => in_group.push(false),
            (')', None) => _ = in_group.pop(),
            ('|', None) => match in_group.last_mut() {
                Some(skipped) => *skipped = true,
                None => break,
            },
            ('.', None) => put('x'),
            ('*' | '+' | '?' | '^' | '$', None) => {}
            ('{', None) => while chars.next().is_some_and(|c| c != '}') {},
            (c, None) => put(c),
        }
    }
    out
}

/// What is special about a token, the rows about it, its claims, and more of its header.
type Made = (String, Vec<&'static str>, Map<String, Value>, Map<String, Value>);

fn kinds(provider: &Value, audiences: &BTreeSet<String>, more: &[Asked], now: u64) -> Vec<Made> {
    let text = |name: &str| provider[name].as_str().filter(|text| !text.is_empty());
    let issuer = text("issuer").unwrap_or("https://issuer.example");
    let audience = list(&provider["audiences"]).first().and_then(Value::as_str).unwrap_or("audience");
    let subject = meeting(&provider["subjects"]);
    let usual = [
        ("iss", json!(issuer)),
        ("aud", json!(audience)),
        ("sub", json!(subject)),
        ("iat", json!(now - 10)),
        ("exp", json!(now + 3_000)),
    ];
    let usual: Map<String, Value> = usual.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
    let with = |name: &str, value: Value| {
        let mut claims = usual.clone();
        claims.insert(name.to_owned(), value);
        claims
    };
    let made =
        |kind: &str, rows: &[&'static str], claims| (kind.to_owned(), rows.to_vec(), claims, Map::new());
    let mut all = vec![
        made(GOOD, &[], usual.clone()),
        made("of another issuer", &[], with("iss", json!("https://elsewhere.example"))),
        made("without an issuer", &[], with("iss", Value::Null)),
        made("for another audience", &[], with("aud", json!("elsewhere"))),
        made("for no audience", &[], with("aud", Value::Null)),
        made("for two audiences", &[], with("aud", json!(["elsewhere", audience]))),
        made("for its audience and a slash", &[], with("aud", json!(format!("{audience}/")))),
        made("for its audience as a URL", &[], with("aud", json!(format!("https://{audience}")))),
        made("of another subject", &[], with("sub", json!("mallory"))),
        made("without a subject", &[], with("sub", Value::Null)),
        made("expired", &["skew_limit"], with("exp", json!(now - 1_000))),
        made("expired a little ago", &[], with("exp", json!(now - 45))),
        made("expired some minutes ago", &["skew_limit"], with("exp", json!(now - 400))),
        made("without exp", &[], with("exp", Value::Null)),
        made("good for years", &[], with("exp", json!(now + 100_000_000))),
        made("not yet good", &["skew_limit"], with("nbf", json!(now + 1_000))),
        made("almost good", &[], with("nbf", json!(now + 45))),
        made("issued later", &["iat"], with("iat", json!(now + 1_000))),
        made("bound to a key", &[], with("cnf", json!({ "jkt": "x" }))),
    ];
    let kind = json!("logout+jwt");
    all.push((
        "of another kind".to_owned(),
        vec!["kinds"],
        usual.clone(),
        Map::from_iter([("typ".to_owned(), kind)]),
    ));
    for Asked { claims, rows } in more {
        let mut whole = usual.clone();
        whole.extend(claims.clone());
        all.push(made(&format!("with {}", Value::Object(claims.clone())), rows, whole));
    }
    for audience in audiences {
        all.push(made(&format!("for {audience:?}"), &[], with("aud", json!(audience))));
    }
    all
}
