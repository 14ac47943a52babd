//! `remote_jwks`, `discovery` and `local_jwks`: where the keys of a provider come from.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

use super::fields::{Fields, Item, join, variable};
use super::values::{DAY, HOUR, SECOND, WEEK, endpoint, request_headers};
use super::{Variables, protobuf};
use crate::crypto::Algorithm;
use crate::json::Json;
use crate::keys::{Format, KeySet, Origin, Reading, Remote, UNBOUND};
use crate::text::TextMatch;
use crate::token::{Issuer, Policy};

/// Where keys come from.
#[derive(Clone, Debug)]
pub enum Keys {
    /// They are in the configuration.
    Local(Arc<KeySet>),
    /// They are fetched.
    Remote(Box<Remote>),
    /// There are none: its tokens are opaque, and the provider is asked about each.
    None,
}

pub(super) fn keys(fields: &mut Fields<'_>, environment: Variables<'_>, policy: &Policy) -> Option<Keys> {
    let symmetric = policy.algorithms.iter().any(Algorithm::is_symmetric);
    let given = fields.present(&["remote_jwks", "discovery", "local_jwks"]);
    if given.is_empty() && !fields.present(&["introspection"]).is_empty() {
        if symmetric {
            let text = "names an HS algorithm, and there is no key for it; leave \"algorithms\" out: opaque tokens are not signed";
            fields.report.error(&join(&fields.path, "algorithms"), text);
        }
        // Known here too, for a user who misspells one of them.
        for name in ["remote_jwks", "discovery", "local_jwks"] {
            fields.get(name);
        }
        return Some(Keys::None);
    }
    if given.len() != 1 {
        fields.error(if given.is_empty() {
            "has no keys; give one of \"remote_jwks\", \"discovery\" and \"local_jwks\", or \"introspection\" for opaque tokens".to_owned()
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
        .or(local.map(|set| Keys::Local(Arc::new(set))))
}

const FORMATS: &[(&str, Format)] = &[
    ("auto", Format::Auto),
    ("jwks", Format::Jwks),
    ("pem_map", Format::PemMap),
    ("spiffe", Format::Spiffe),
];

fn remote(item: &Item<'_>, policy: &Policy, environment: Variables<'_>) -> Option<Remote> {
    let mut fields = item.message(protobuf::REMOTE_JWKS)?;
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
        item.error("needs an \"issuer\" without a template, because the document must name the same one; write the whole issuer");
    }
    let origin =
        document.zip(issuers).map(|(document, issuers)| Origin::Discovery { document, issuers, elsewhere });
    source(fields, origin, policy, environment)
}

/// Whether tokens are bound to one SPIFFE trust domain: by their issuer or by their subject.
fn is_bound(policy: &Policy) -> bool {
    fn is_one(subjects: &TextMatch) -> bool {
        match subjects {
            TextMatch::Exact(_) => true,
            TextMatch::AnyCase(inner) => is_one(inner),
            _ => false,
        }
    }
    let binds = |subjects: &TextMatch| is_one(subjects) || is_of_one_trust_domain(subjects);
    !policy.issuers.is_empty() || policy.subjects.as_ref().is_some_and(binds)
}

/// Whether every subject that it takes is a SPIFFE ID of one trust domain. The slash after its name makes it one.
pub(super) fn is_of_one_trust_domain(subjects: &TextMatch) -> bool {
    match subjects {
        TextMatch::Exact(text) | TextMatch::Prefix(text) => {
            let name = text.strip_prefix("spiffe://").and_then(|rest| rest.split_once('/'));
            name.is_some_and(|(name, _)| !name.is_empty())
        }
        TextMatch::AnyCase(inner) => is_of_one_trust_domain(inner),
        TextMatch::Suffix(_) | TextMatch::Contains(_) | TextMatch::Regex(_) => false,
    }
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
        max_pause: Remote::MAX_PAUSE,
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
    let max = KeySet::MAX_TRIED_WITHOUT_KID as u64;
    let tried = fields.whole("keys_tried_without_kid", 1, max);
    tried.and_then(|tried| usize::try_from(tried).ok()).unwrap_or(KeySet::TRIED_WITHOUT_KID)
}

fn local(item: &Item<'_>, policy: &Policy, environment: Variables<'_>, symmetric: bool) -> Option<KeySet> {
    let mut fields = item.message(protobuf::LOCAL_JWKS)?;
    let format = fields.choice("format", FORMATS, Format::Auto);
    let reading = Reading { format, max_keys: KeySet::MAX_KEYS, symmetric };
    let tried = tried_without_kid(&mut fields);
    if fields.host().read_file.is_none() {
        fields.refuse(&[(
            "filename",
            "it has no files (the dynamic module can read them); write the key set into \"inline\", \"inline_string\" or \"inline_bytes\", or name an \"environment_variable\"",
        )]);
    }
    fields.refuse(&[("watched_directory", "it has no files; fetch keys that change with \"remote_jwks\"")]);
    let (item, document) = document(&mut fields, environment);
    fields.finish();
    let (item, document) = (item?, document?);
    let set = match document {
        Document::Json(json) => KeySet::from_json(json, reading),
        Document::Text(bytes) => KeySet::parse(&bytes, reading),
    };
    let set = set.map_err(|error| item.error(error.to_string())).ok()?.trying_without_kid(tried);
    let unbound = set.is_bundle() && !is_bound(policy);
    for text in set.warnings().chain(unbound.then(|| UNBOUND.to_owned())) {
        item.warning(text);
    }
    for (at, skip) in set.skipped() {
        item.warning(format!("keys[{at}] is not used: {}", skip.as_str()));
    }
    Some(set)
}

/// A key set as it stands in the configuration.
enum Document<'c> {
    Json(&'c Json),
    Text(Vec<u8>),
}

/// The one place of four in which a key set is, and what is there.
fn document<'c>(
    fields: &mut Fields<'c>,
    environment: Variables<'_>,
) -> (Option<Item<'c>>, Option<Document<'c>>) {
    let read_file = fields.host().read_file;
    let given = fields.present(&["inline", "inline_string", "inline_bytes", "environment_variable"]);
    let file = fields.present(&["filename"]).len();
    let is_one = given.len().saturating_add(file) == 1;
    if read_file.is_some() && !is_one {
        fields.error(
            "needs exactly one of \"inline\", \"inline_string\", \"inline_bytes\", \"filename\" and \"environment_variable\"",
        );
    } else if given.len() != 1 && file == 0 {
        fields.error(
            "needs exactly one of \"inline\", \"inline_string\", \"inline_bytes\" and \"environment_variable\"",
        );
    }
    let inline = fields.get("inline");
    let text = fields.get("inline_string");
    let bytes = fields.get("inline_bytes");
    let variable_name = fields.get("environment_variable");
    let filename = read_file.and_then(|read| Some((fields.get("filename")?, read)));
    if let Some((item, read)) = filename {
        let text = item.text().map(|name| read(name).map_err(|why| item.error(why)));
        return match text {
            Some(Ok(bytes)) => (Some(item), Some(Document::Text(bytes))),
            _ => (None, None),
        };
    }
    let document = if let Some(item) = &inline {
        Some(Document::Json(item.json))
    } else if let Some(item) = &text {
        item.text().map(|text| Document::Text(text.as_bytes().to_vec()))
    } else if let Some(item) = &bytes {
        base64(item).map(Document::Text)
    } else {
        let value = variable_name.as_ref().and_then(|item| variable(item, environment));
        value.map(|value| Document::Text(value.into_bytes()))
    };
    (inline.or(text).or(bytes).or(variable_name), document)
}

/// Bytes in base64 as protobuf's JSON takes them: of either alphabet, with padding or without.
fn base64(item: &Item<'_>) -> Option<Vec<u8>> {
    const LENIENT: GeneralPurposeConfig =
        GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
    let engine = GeneralPurpose::new(&alphabet::STANDARD, LENIENT);
    let text = item.text()?.replace('-', "+").replace('_', "/");
    let bytes = engine.decode(text).ok();
    if bytes.is_none() {
        item.error("is not base64; write the bytes of the key set in base64, or the text itself as \"inline_string\"");
    }
    bytes
}
