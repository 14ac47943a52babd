//! `issuers[]`: whose events are taken, and by which keys. Keys are read by the gate's own reader.

use portcullis::{Config as Gate, Keys, Problem, TokenPolicy};
use serde_json::{Map, Value, json};

use super::fields::{Fields, Item, Report};
use super::{Variables, check_https};

/// One issuer.
pub(crate) struct Issuer {
    /// Its `iss`.
    pub(crate) issuer: String,
    /// `aud` holds one of these; none: not checked.
    pub(crate) audiences: Vec<String>,
    /// Of which issuers the subjects may be that it names: its own always.
    pub(crate) subject_issuers: Vec<String>,
    /// What is taken of it.
    pub(crate) accept: Accept,
    /// What the gate would ask of its tokens: algorithms and clock skew count here.
    pub(crate) policy: TokenPolicy,
    /// Where its keys come from.
    pub(crate) keys: Keys,
}

/// What is taken of an issuer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Accept {
    /// Logout tokens (OpenID Connect Back-Channel Logout 1.0)
    pub(crate) backchannel_logout: bool,
    /// Security Event Tokens that are pushed (RFC 8935) or asked for (RFC 8936)
    pub(crate) events: bool,
}

/// How many issuers there may be.
const MAX_ISSUERS: usize = 64;

pub(super) fn read_all(
    fields: &mut Fields<'_>,
    environment: Variables<'_>,
    report: &Report,
    warnings: &mut Vec<Problem>,
) -> Option<Vec<Issuer>> {
    let Some(item) = fields.get("issuers") else { return Some(Vec::new()) };
    let list = item.list()?;
    if list.len() > MAX_ISSUERS {
        item.error(format!("has more than {MAX_ISSUERS} members"));
        return None;
    }
    let mut issuers: Vec<Issuer> = Vec::new();
    let mut all = true;
    for item in list {
        match read(&item, environment, report, warnings) {
            Some(issuer) if issuers.iter().any(|other| other.issuer == issuer.issuer) => {
                item.error("has the \"issuer\" of another one; keep one");
            }
            Some(issuer) => issuers.push(issuer),
            None => all = false,
        }
    }
    all.then_some(issuers)
}

const KEYS: [&str; 3] = ["local_jwks", "remote_jwks", "discovery"];

fn read(
    item: &Item<'_>,
    environment: Variables<'_>,
    report: &Report,
    warnings: &mut Vec<Problem>,
) -> Option<Issuer> {
    let mut fields = item.fields()?;
    let issuer = fields.required("issuer", "give the \"iss\" of its tokens");
    let issuer = issuer.and_then(|item| item.text()).map(str::to_owned);
    let audiences = fields.get("audiences").map(|item| item.texts().unwrap_or_default());
    let subject_issuers =
        fields.get("subject_issuers").map(|item| item.texts().unwrap_or_default()).unwrap_or_default();
    let accept = fields.get("accept").map_or(Accept::ALL, |item| accept(&item));
    let plain = fields.bool("insecure_http");
    let mut provider = Map::new();
    for name in ["algorithms", "clock_skew_seconds"] {
        if let Some(item) = fields.get(name) {
            provider.insert(name.to_owned(), item.value.clone());
        }
    }
    let mut sound = true;
    for name in KEYS {
        if let Some(item) = fields.get(name) {
            let value = with_cluster(&item, name, issuer.as_deref(), plain, &mut sound);
            provider.insert(name.to_owned(), value);
        }
    }
    let path = fields.path.clone();
    fields.finish();
    if audiences.is_none() {
        let message = "is missing: events that are meant for others are taken too; list the client ids or stream audiences that are yours".to_owned();
        warnings.push(Problem { path: format!("{path}.audiences"), message });
    }
    let issuer = issuer.filter(|_| sound)?;
    provider.insert("issuer".to_owned(), json!(issuer));
    let (policy, keys) = as_the_gate(&provider, &path, environment, report)?;
    let audiences = audiences.unwrap_or_default();
    Some(Issuer { issuer, audiences, subject_issuers, accept, policy, keys })
}

impl Accept {
    const ALL: Self = Self { backchannel_logout: true, events: true };
}

/// The kinds of events: as words, or as the URIs of the events.
fn accept(item: &Item<'_>) -> Accept {
    let mut accept = Accept { backchannel_logout: false, events: false };
    let items = match item.value {
        Value::String(_) => Some(vec![item.clone()]),
        _ => item.list(),
    };
    for item in items.iter().flatten() {
        let Some(text) = item.text() else { continue };
        let last = text.rsplit('/').next().unwrap_or_default().replace('-', "_");
        match last.as_str() {
            "backchannel_logout" => accept.backchannel_logout = true,
            "events" | "session_revoked" => accept.events = true,
            _ => item.error("must be \"backchannel_logout\" or \"events\""),
        }
    }
    if items.is_some_and(|items| items.is_empty()) {
        item.error("must not be empty; leave it out to take every kind");
    }
    accept
}

/// The block as the gate has it, which names a cluster: there are none here. A URI may be written without `http_uri`.
fn with_cluster(item: &Item<'_>, name: &str, issuer: Option<&str>, plain: bool, sound: &mut bool) -> Value {
    let mut value = item.value.clone();
    if name == "local_jwks" {
        return value;
    }
    if let Value::String(uri) = &value {
        value = json!({ "uri": uri });
    }
    let Value::Object(block) = &mut value else { return value };
    if name == "discovery" && !block.contains_key("uri") && !block.contains_key("http_uri") {
        // OpenID Connect Discovery 1.0 section 4.
        let base = issuer.unwrap_or_default().trim_end_matches('/');
        block.insert("uri".to_owned(), json!(format!("{base}/.well-known/openid-configuration")));
    }
    if let Some(uri) = block.remove("uri") {
        let mut inner = Map::from_iter([("uri".to_owned(), uri)]);
        inner.extend(block.remove("timeout").map(|timeout| ("timeout".to_owned(), timeout)));
        if block.insert("http_uri".to_owned(), Value::Object(inner)).is_some() {
            item.error("has \"uri\" and \"http_uri\"; keep one");
            *sound = false;
        }
    }
    for name in ["http_uri", "jwks"] {
        if let Some(Value::Object(inner)) = block.get_mut(name) {
            inner.entry("cluster").or_insert_with(|| json!("https"));
        }
    }
    if let Some(uri) = block.get("http_uri").and_then(|inner| inner["uri"].as_str()) {
        *sound &= check_https(item, uri, plain);
    }
    value
}

/// What the gate makes of a provider like this.
fn as_the_gate(
    provider: &Map<String, Value>,
    path: &str,
    environment: Variables<'_>,
    report: &Report,
) -> Option<(TokenPolicy, Keys)> {
    let gate = json!({
        "providers": { "issuer": provider },
        "rules": [{ "match": { "prefix": "/" }, "requires": { "provider_name": "issuer" } }],
    });
    match Gate::parse(gate.to_string().as_bytes(), environment) {
        Ok(gate) => {
            let provider = gate.providers.first()?;
            Some((provider.policy.clone(), provider.keys.clone()))
        }
        Err(problems) => {
            for Problem { path: found, message } in problems {
                let rest = found.strip_prefix("providers.issuer").unwrap_or_default();
                // The gate's own text names where Envoy has its variables.
                let text = message.split("; name it in the vm_config").next().unwrap_or_default();
                report.error(&format!("{path}{rest}"), text);
            }
            None
        }
    }
}
