//! `remote_jwks`, `discovery` and `local_jwks`: where the keys of a provider come from.

use std::rc::Rc;
use std::time::Duration;

use super::Variables;
use super::fields::{Fields, Item, join, variable};
use super::values::{DAY, HOUR, SECOND, WEEK, endpoint, request_headers};
use crate::crypto::Algorithm;
use crate::keys::{Format, KeySet, Origin, Reading, Remote, UNBOUND};
use crate::text::TextMatch;
use crate::token::{Issuer, Policy};

/// Where keys come from.
#[derive(Clone, Debug)]
pub enum Keys {
    /// They are in the configuration.
    Local(Rc<KeySet>),
    /// They are fetched.
    Remote(Box<Remote>),
}

pub(super) fn keys(fields: &mut Fields<'_>, environment: Variables<'_>, policy: &Policy) -> Option<Keys> {
    let symmetric = policy.algorithms.iter().any(Algorithm::is_symmetric);
    let given = fields.present(&["remote_jwks", "discovery", "local_jwks"]);
    if given.len() != 1 {
        fields.error(if given.is_empty() {
            "has no keys; give one of \"remote_jwks\", \"discovery\" and \"local_jwks\"".to_owned()
        } else {
            format!("has keys from {}; keep one", given.join(" and "))
        });
    }
    let remote = fields.get("remote_jwks").and_then(|item| remote(&item, policy, environment));
    let discovery = fields.get("discovery").and_then(|item| discovery(&item, policy, environment));
    if symmetric && given != ["local_jwks"] {
        fields.report.error(
            &join(&fields.path, "algorithms"),
            "names an HS algorithm, whose key is a secret that is not fetched; give it in \"local_jwks\", for example \"local_jwks\": { \"environment_variable\": \"JWKS\" } beside \"algorithms\": [\"HS256\"]",
        );
    }
    let local = fields.get("local_jwks").and_then(|item| local(&item, policy, environment, symmetric));
    remote
        .or(discovery)
        .map(|remote| Keys::Remote(Box::new(remote)))
        .or(local.map(|set| Keys::Local(Rc::new(set))))
}

const FORMATS: &[(&str, Format)] = &[
    ("auto", Format::Auto),
    ("jwks", Format::Jwks),
    ("pem_map", Format::PemMap),
    ("spiffe", Format::Spiffe),
];

fn remote(item: &Item<'_>, policy: &Policy, environment: Variables<'_>) -> Option<Remote> {
    let mut fields = item.fields()?;
    let http_uri = fields.required("http_uri", "give { uri, cluster, timeout }");
    let endpoint = http_uri.and_then(|item| endpoint(&item));
    // Keys are always fetched ahead and retried; what `jwt_authn` says about that is accepted.
    for name in ["async_fetch", "retry_policy"] {
        fields.get(name).and_then(|item| item.fields());
    }
    source(fields, endpoint.map(Origin::Jwks), policy, environment)
}

fn discovery(item: &Item<'_>, policy: &Policy, environment: Variables<'_>) -> Option<Remote> {
    let mut fields = item.fields()?;
    let http_uri = fields.required("http_uri", "give { uri, cluster, timeout } of the metadata document");
    let document = http_uri.and_then(|item| endpoint(&item));
    let elsewhere = fields.get("jwks").and_then(|item| {
        let mut fields = item.fields()?;
        let host = fields.required("host", "name the host of the key set, as jwks_uri has it");
        let cluster = fields.required("cluster", "name the Envoy cluster that reaches it");
        fields.finish();
        Some((host?.text()?.to_owned(), cluster?.text()?.to_owned()))
    });
    let exact = |issuer: &Issuer| match issuer {
        Issuer::Exact(issuer) => Some(issuer.clone()),
        Issuer::Template(_) => None,
    };
    let issuers: Option<Vec<String>> = policy.issuers.iter().map(exact).collect();
    let issuers = issuers.filter(|issuers| !issuers.is_empty());
    if issuers.is_none() {
        item.error("needs an \"issuer\" that is no template: the document must name the same one");
    }
    let origin =
        document.zip(issuers).map(|(document, issuers)| Origin::Discovery { document, issuers, elsewhere });
    source(fields, origin, policy, environment)
}

/// Whether tokens are bound to one SPIFFE trust domain: by their issuer or by their subject.
fn is_bound(policy: &Policy) -> bool {
    fn binds(subjects: &TextMatch) -> bool {
        match subjects {
            TextMatch::Exact(_) => true,
            TextMatch::Prefix(prefix) => {
                let name = prefix.strip_prefix("spiffe://").and_then(|rest| rest.split_once('/'));
                name.is_some_and(|(name, _)| !name.is_empty())
            }
            TextMatch::AnyCase(inner) => binds(inner),
            TextMatch::Suffix(_) | TextMatch::Contains(_) | TextMatch::Regex(_) => false,
        }
    }
    !policy.issuers.is_empty() || policy.subjects.as_ref().is_some_and(binds)
}

/// The fields that every remote source has.
fn source(
    mut fields: Fields<'_>,
    origin: Option<Origin>,
    policy: &Policy,
    environment: Variables<'_>,
) -> Option<Remote> {
    let headers = fields.get("headers").and_then(|item| request_headers(&item, environment));
    let cache_duration = fields.duration("cache_duration", SECOND, WEEK, Duration::from_secs(600));
    let stale_if_error = fields.duration("stale_if_error", Duration::ZERO, WEEK, HOUR);
    let unknown_kid_cooldown = fields.duration("unknown_kid_cooldown", SECOND, DAY, Duration::from_secs(30));
    let max_bytes = fields.whole("max_bytes", 256, 32 << 20);
    let max_keys = fields.whole("max_keys", 1, 100_000).unwrap_or(KeySet::MAX_KEYS as u64);
    let format = fields.choice("format", FORMATS, Format::Auto);
    let tried_without_kid = tried_without_kid(&mut fields);
    let is_bound = is_bound(policy);
    if format == Format::Spiffe && !is_bound {
        fields.report.warning(&fields.path, UNBOUND);
    }
    fields.finish();
    let max_bytes = max_bytes.and_then(|bytes| usize::try_from(bytes).ok());
    Some(Remote {
        origin: origin?,
        headers: headers.unwrap_or_default(),
        cache_duration,
        stale_if_error,
        unknown_kid_cooldown,
        max_bytes: max_bytes.unwrap_or(KeySet::MAX_BYTES),
        max_bundle_bytes: max_bytes.unwrap_or(KeySet::MAX_BUNDLE_BYTES),
        max_keys: usize::try_from(max_keys).ok()?,
        format,
        tried_without_kid,
        is_bound,
    })
}

/// How many keys are tried for a token that names none of them.
fn tried_without_kid(fields: &mut Fields<'_>) -> usize {
    let most = KeySet::MAX_TRIED_WITHOUT_KID as u64;
    let tried = fields.whole("keys_tried_without_kid", 1, most);
    tried.and_then(|tried| usize::try_from(tried).ok()).unwrap_or(KeySet::TRIED_WITHOUT_KID)
}

fn local(item: &Item<'_>, policy: &Policy, environment: Variables<'_>, symmetric: bool) -> Option<KeySet> {
    let mut fields = item.fields()?;
    let format = fields.choice("format", FORMATS, Format::Auto);
    let reading = Reading { format, max_keys: KeySet::MAX_KEYS, symmetric };
    let tried = tried_without_kid(&mut fields);
    fields.refuse(&[(
        "filename",
        "there are no files there; use \"inline\", \"inline_string\" or \"environment_variable\"",
    )]);
    fields.not_yet(&["inline_bytes"]);
    let given = fields.present(&["inline", "inline_string", "environment_variable"]);
    if given.len() != 1 {
        fields.error("needs exactly one of \"inline\", \"inline_string\" and \"environment_variable\"");
    }
    let inline = fields.get("inline");
    let text = fields.get("inline_string");
    let from_environment = fields.get("environment_variable");
    fields.finish();
    let (item, set) = if let Some(item) = inline {
        let set = KeySet::from_json(item.json, reading);
        (item, set)
    } else if let Some(item) = text {
        let set = KeySet::parse(item.text()?.as_bytes(), reading);
        (item, set)
    } else {
        let item = from_environment?;
        let text = variable(&item, environment)?;
        let set = KeySet::parse(text.as_bytes(), reading);
        (item, set)
    };
    let set = set.map_err(|error| item.error(error.to_string())).ok()?.trying_without_kid(tried);
    let unbound = set.is_bundle() && !is_bound(policy);
    for text in set.warnings().chain(unbound.then(|| UNBOUND.to_owned())) {
        item.report.warning(&item.path, text);
    }
    for (at, skip) in set.skipped() {
        item.report.warning(&item.path, format!("keys[{at}] is not used: {}", skip.as_str()));
    }
    Some(set)
}
