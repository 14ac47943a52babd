//! How a token is judged here: the same steps in the same order as the gate takes.

use std::fs;
use std::path::{Path, PathBuf};

use portcullis::{
    Backend, Claims, Config, Json, Jws, KeyFormat as Format, KeySet, KeySetError as SetError,
    KeySetOptions as Reading, Provider, Reason, Timestamp, TokenPolicy as Policy, Unverified,
};
use serde_json::{Value, json};

use crate::vectors::host::backends;

/// Every algorithm there is, by name.
pub(crate) const ALGORITHMS: &[&str] = &[
    "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA", "HS256",
    "HS384", "HS512",
];

/// Why something was refused.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Refusal {
    /// The key set holds no key that can be used.
    Keys(SetError),
    /// The token does not pass.
    Token(Reason),
}

impl Refusal {
    /// The stable name of the reason; `keys` for a key set.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Keys(_) => "keys",
            Self::Token(reason) => reason.as_str(),
        }
    }
}

impl From<Reason> for Refusal {
    fn from(reason: Reason) -> Self {
        Self::Token(reason)
    }
}

/// The name of the reason of a refusal; `valid` where there is none.
pub(crate) fn named(verdict: &Result<(), Refusal>) -> &'static str {
    verdict.as_ref().map_or_else(Refusal::name, |()| "valid")
}

/// Reads a key set that may hold secrets, as `local_jwks` does.
pub(crate) fn local(jwks: &Value) -> Result<KeySet, Refusal> {
    read(jwks, true)
}

/// Reads a key set that was fetched.
pub(crate) fn remote(jwks: &Value) -> Result<KeySet, Refusal> {
    read(jwks, false)
}

fn read(jwks: &Value, symmetric: bool) -> Result<KeySet, Refusal> {
    let reading = Reading { format: Format::Auto, max_keys: KeySet::MAX_KEYS, symmetric };
    KeySet::parse(jwks.to_string().as_bytes(), reading).map_err(Refusal::Keys)
}

/// The policy of a provider with these fields, as the configuration reads them.
pub(crate) fn policy(fields: &Value) -> Policy {
    provider(fields).policy.clone()
}

/// A provider with these fields; where they name no keys, it has those of RFC 7515 appendix A.3.
pub(crate) fn provider(fields: &Value) -> std::rc::Rc<Provider> {
    const KEY: &str = r#"{"keys":[{"kty":"EC","crv":"P-256","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}]}"#;
    let mut fields = fields.clone();
    if fields.get("local_jwks").is_none() && fields.get("remote_jwks").is_none() {
        fields["local_jwks"] = json!({ "inline_string": KEY });
    }
    let config = json!({ "providers": { "p": fields }, "rules": [] });
    let config = Config::parse(config.to_string().as_bytes(), &|_| None);
    config.unwrap_or_else(|problems| panic!("{fields}: {problems:?}")).providers.remove(0)
}

/// Format and signature alone: the payload may be anything that is canonical base64url.
pub(crate) fn signed(token: &[u8], keys: &KeySet, backend: &Backend) -> Result<(), Reason> {
    let jws = Jws::parse(token)?;
    jws.payload()?;
    holds(&jws, keys, backend)
}

/// The signature alone.
pub(crate) fn holds(jws: &Jws<'_>, keys: &KeySet, backend: &Backend) -> Result<(), Reason> {
    let header = jws.header();
    jws.verify(backend, keys.candidates(header.kid.as_deref(), header.algorithm))?;
    Ok(())
}

/// All that can be said of a token without a key, at `now` in seconds since 1970.
pub(crate) fn plausible<'t>(token: &'t [u8], policy: &Policy, now: u64) -> Result<Unverified<'t>, Reason> {
    if token.len() > policy.max_token_size {
        return Err(Reason::TokenTooLarge);
    }
    let token = Unverified::parse(token, policy)?;
    policy.check(&token, &policy.audiences, Timestamp::from_secs(now))?;
    Ok(token)
}

/// What the second look at a token's claims says of them, which comes after its signature.
pub(crate) fn strict(token: &[u8], policy: &Policy) -> Result<(), Reason> {
    match portcullis::parse_json(&Jws::parse(token)?.payload()?) {
        Ok(Json::Object(claims)) => Claims::new(claims, &policy.grants).map(drop).map_err(Reason::from),
        _ => Err(Reason::TokenMalformed),
    }
}

/// The whole judgement.
pub(crate) fn accepted(
    token: &[u8],
    keys: &KeySet,
    policy: &Policy,
    now: u64,
    backend: &Backend,
) -> Result<(), Reason> {
    let token = plausible(token, policy, now)?;
    let (kid, algorithm) = (token.header().kid.clone(), token.header().algorithm);
    let token = token.verify(backend, keys.candidates(kid.as_deref(), algorithm))?;
    token.read(policy, &policy.audiences, Timestamp::from_secs(now))?;
    Ok(())
}

/// The judgement of both backends, which must be the same one.
pub(crate) fn by_both(what: &str, judge: impl Fn(&Backend) -> Result<(), Reason>) -> Result<(), Reason> {
    let [portable, host] = backends().map(|(_, backend)| judge(&backend));
    assert_eq!(portable, host, "{what}: the backends disagree (portable, host)");
    portable
}

/// A folder of shared data; where it is not there, the test says that it was skipped.
pub(crate) fn shared(folder: &str, test: &str) -> Option<PathBuf> {
    let found = harness::shared(folder);
    if found.is_none() {
        harness::skip(test, &harness::missing(folder));
    }
    found
}

/// The text of a file.
pub(crate) fn contents(file: &Path) -> String {
    fs::read_to_string(file).unwrap_or_else(|error| panic!("{}: {error}", file.display()))
}

/// The rows of a file with one JSON object a line.
pub(crate) fn rows(file: &Path) -> Vec<Value> {
    let read = |(at, line)| {
        serde_json::from_str(line)
            .unwrap_or_else(|error| panic!("{} line {}: {error}", file.display(), at + 1))
    };
    contents(file).lines().enumerate().map(read).collect()
}

/// A JSON file.
pub(crate) fn document(file: &Path) -> Value {
    serde_json::from_str(&contents(file)).unwrap_or_else(|error| panic!("{}: {error}", file.display()))
}

/// The text of a member.
pub(crate) fn text<'v>(value: &'v Value, name: &str) -> &'v str {
    value[name].as_str().unwrap_or_else(|| panic!("{name} of {value} is no text"))
}

/// Fails with every complaint at once.
pub(crate) fn settle(complaints: &[String]) {
    assert!(complaints.is_empty(), "{} complaints:\n{}", complaints.len(), complaints.join("\n"));
}
