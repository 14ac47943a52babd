//! `providers`: the issuers whose tokens are trusted, and their keys.

use std::rc::Rc;
use std::time::Duration;

use super::Environment;
use super::fields::{Fields, Item};
use crate::crypto::{Algorithm, AlgorithmSet};
use crate::identity::{ClaimHeader, ListFormat, Outputs};
use crate::keys::KeySet;
use crate::keys::source::Remote;
use crate::token::{Location, Policy};

/// A trusted issuer.
#[derive(Clone, Debug)]
pub struct Provider {
    /// Its name in the configuration.
    pub name: String,
    /// What its tokens must say.
    pub policy: Policy,
    /// Where its keys come from.
    pub keys: Keys,
    /// Where a request carries its tokens.
    pub locations: Vec<Location>,
    /// Whether the upstream sees the token.
    pub forward: bool,
    /// What the upstream is told of the token.
    pub outputs: Outputs,
}

/// Where keys come from.
#[derive(Clone, Debug)]
pub enum Keys {
    /// They are in the configuration.
    Local(Rc<KeySet>),
    /// They are fetched.
    Remote(Remote),
}

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(24 * 3600);
const WEEK: Duration = Duration::from_secs(7 * 24 * 3600);

/// Fields that later versions have.
const NOT_YET: &[&str] = &[
    "audience_claims",
    "audience_match",
    "subjects",
    "token_types",
    "sender_constrained",
    "max_lifetime",
    "max_age",
    "required_claims",
    "discovery",
    "from_cookies",
    "from_params",
    "pad_forward_payload_header",
    "clear_route_cache",
    "jwt_cache_config",
    "max_token_size",
    "scope_claims",
    "role_claims",
    "scope_hierarchy",
    "csrf",
];

/// What `jwt_authn` has and wasm cannot: dynamic metadata is written by native filters only.
const REFUSED: &[(&str, &str)] = &[
    ("payload_in_metadata", "read the filter state wasm.portcullis.* or use \"claim_to_headers\""),
    ("header_in_metadata", "read the filter state wasm.portcullis.* instead"),
    ("failed_status_in_metadata", "read the filter state wasm.portcullis.reason instead"),
    (
        "normalize_payload_in_metadata",
        "scopes are split for \"authorize\" and in the filter state wasm.portcullis.scopes",
    ),
];

pub(super) fn read(name: &str, item: &Item<'_>, environment: Environment<'_>) -> Option<Provider> {
    if name.is_empty() || name.len() > 128 || name.chars().any(char::is_control) {
        item.error("a provider's name has 1 to 128 bytes and no control characters");
    }
    let mut fields = item.fields()?;
    let policy = policy(&mut fields);
    let keys = keys(&mut fields, environment);
    let locations =
        fields.get("from_headers").map_or_else(|| Some(vec![Location::bearer()]), |item| locations(&item));
    let forward = fields.bool("forward", false);
    let outputs = Outputs {
        payload_header: fields.get("forward_payload_header").and_then(|item| header_name(&item)),
        claims: fields.get("claim_to_headers").and_then(|item| claim_headers(&item)).unwrap_or_default(),
    };
    fields.not_yet(NOT_YET);
    fields.refuse(REFUSED);
    fields.finish();
    Some(Provider { name: name.to_owned(), policy, keys: keys?, locations: locations?, forward, outputs })
}

fn policy(fields: &mut Fields<'_>) -> Policy {
    let issuer = fields.text("issuer").map(str::to_owned);
    if fields.present(&["issuer"]).is_empty() {
        fields.report.warning(
            &fields.path,
            "no \"issuer\": a token of any issuer passes whose signature these keys verify",
        );
    }
    let audiences = fields.texts("audiences").unwrap_or_default();
    if audiences.is_empty() {
        fields.report.warning(
            &fields.path,
            "no \"audiences\": a token that the issuer made for another service passes here too",
        );
    }
    Policy {
        issuer,
        audiences,
        algorithms: fields
            .get("algorithms")
            .and_then(|item| algorithms(&item))
            .unwrap_or_else(AlgorithmSet::asymmetric),
        clock_skew: Duration::from_secs(fields.whole("clock_skew_seconds", 0, 300).unwrap_or(60)),
        require_expiration: fields.bool("require_expiration", true),
        max_token_size: 8192,
        scope_claims: vec!["scope".to_owned(), "scp".to_owned()],
    }
}

fn algorithms(item: &Item<'_>) -> Option<AlgorithmSet> {
    let mut set = AlgorithmSet::EMPTY;
    let names = item.list()?;
    if names.is_empty() {
        item.error("must name at least one algorithm");
    }
    for name in names {
        let Some(text) = name.string() else { continue };
        match Algorithm::from_name(text) {
            Some(algorithm) => set = set.with(algorithm),
            None => {
                let known: Vec<_> = Algorithm::ALL.iter().map(|algorithm| algorithm.name()).collect();
                name.error(format!("is not an algorithm of this version; use one of {}", known.join(", ")));
            }
        }
    }
    Some(set)
}

fn keys(fields: &mut Fields<'_>, environment: Environment<'_>) -> Option<Keys> {
    let given = fields.present(&["remote_jwks", "discovery", "local_jwks"]);
    if given.len() != 1 {
        fields.error(if given.is_empty() {
            "has no keys; give one of \"remote_jwks\" and \"local_jwks\"".to_owned()
        } else {
            format!("has keys from {}; keep one", given.join(" and "))
        });
    }
    let remote = fields.get("remote_jwks").and_then(|item| remote(&item));
    let local = fields.get("local_jwks").and_then(|item| local(&item, environment));
    remote.map(Keys::Remote).or(local.map(|set| Keys::Local(Rc::new(set))))
}

fn remote(item: &Item<'_>) -> Option<Remote> {
    let mut fields = item.fields()?;
    let http_uri = fields.required("http_uri", "give { uri, cluster, timeout }");
    let http_uri = http_uri.and_then(|item| uri(&item));
    let cache_duration = fields.duration("cache_duration", SECOND, WEEK, Duration::from_secs(600));
    let stale_if_error = fields.duration("stale_if_error", Duration::ZERO, WEEK, HOUR);
    let cooldown = fields.duration("unknown_kid_cooldown", SECOND, DAY, Duration::from_secs(30));
    let max_bytes = fields.whole("max_bytes", 256, 32 << 20).unwrap_or(262_144);
    let max_keys = fields.whole("max_keys", 1, 100_000).unwrap_or(KeySet::MAX_KEYS as u64);
    // Keys are always fetched ahead and retried; what `jwt_authn` says about that is accepted.
    for name in ["async_fetch", "retry_policy"] {
        fields.get(name).and_then(|item| item.fields());
    }
    fields.not_yet(&["headers", "format"]);
    fields.finish();
    let uri = http_uri?;
    Some(Remote {
        scheme: uri.scheme,
        authority: uri.authority,
        path: uri.path,
        cluster: uri.cluster,
        timeout: uri.timeout,
        cache_duration,
        stale_if_error,
        unknown_kid_cooldown: cooldown,
        max_bytes: usize::try_from(max_bytes).ok()?,
        max_keys: usize::try_from(max_keys).ok()?,
    })
}

struct HttpUri {
    scheme: String,
    authority: String,
    path: String,
    cluster: String,
    timeout: Duration,
}

fn uri(item: &Item<'_>) -> Option<HttpUri> {
    let mut fields = item.fields()?;
    let uri = fields.required("uri", "give the absolute URI of the key set");
    let cluster = fields
        .required("cluster", "name the Envoy cluster that reaches the host")
        .and_then(|item| item.text())
        .map(str::to_owned);
    let timeout = fields.duration("timeout", Duration::from_millis(1), MINUTE, Duration::from_secs(5));
    fields.finish();
    let uri = uri?;
    let Some((scheme, authority, path)) = uri.text().and_then(split_uri) else {
        uri.error("must be absolute and plain: https://host/path, without user or fragment");
        return None;
    };
    Some(HttpUri { scheme, authority, path, cluster: cluster?, timeout })
}

/// Scheme, authority, and path with query of an absolute http(s) URI (RFC 3986 section 3).
fn split_uri(uri: &str) -> Option<(String, String, String)> {
    let (scheme, rest) = uri.split_once("://")?;
    let scheme = scheme.to_ascii_lowercase();
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at_checked(end)?;
    let sound = matches!(scheme.as_str(), "http" | "https")
        && !authority.is_empty()
        && !authority.contains('@')
        && rest.bytes().all(|b| b.is_ascii_graphic() && b != b'#' && b != b'\\');
    let slash = if path.starts_with('/') { "" } else { "/" };
    sound.then(|| (scheme, authority.to_owned(), format!("{slash}{path}")))
}

fn local(item: &Item<'_>, environment: Environment<'_>) -> Option<KeySet> {
    let mut fields = item.fields()?;
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
    let variable = fields.get("environment_variable");
    fields.finish();
    let (item, set) = if let Some(item) = inline {
        let set = KeySet::from_json(item.json, KeySet::MAX_KEYS);
        (item, set)
    } else if let Some(item) = text {
        let set = KeySet::parse(item.text()?.as_bytes(), KeySet::MAX_KEYS);
        (item, set)
    } else {
        let item = variable?;
        let Some(text) = environment(item.text()?) else {
            item.error(
                "this environment variable is not set; name it in the vm_config's environment_variables",
            );
            return None;
        };
        let set = KeySet::parse(text.as_bytes(), KeySet::MAX_KEYS);
        (item, set)
    };
    let set = set.map_err(|error| item.error(error.to_string())).ok()?;
    for (at, skip) in set.skipped() {
        item.report.warning(&item.path, format!("keys[{at}] is not used: {}", skip.as_str()));
    }
    Some(set)
}

fn locations(item: &Item<'_>) -> Option<Vec<Location>> {
    let items = item.list()?;
    if items.is_empty() {
        item.error("must name at least one header; leave the field out for Authorization: Bearer");
    }
    let mut locations: Vec<Location> = Vec::new();
    for item in items {
        let Some(mut fields) = item.fields() else {
            continue;
        };
        let name = fields.required("name", "name the header").and_then(|item| header_name(&item));
        let prefix = fields.get("value_prefix");
        let prefix = prefix.map_or(Some(""), |item| item.string());
        fields.finish();
        if let (Some(name), Some(prefix)) = (name, prefix) {
            let location = Location::header(&name, prefix);
            if locations.iter().any(|other| other.header_name() == location.header_name()) {
                item.error("names a header that is named above already");
            }
            locations.push(location);
        }
    }
    (!locations.is_empty()).then_some(locations)
}

/// A header field name in lower case (RFC 9110 section 5.1).
fn header_name(item: &Item<'_>) -> Option<String> {
    let name = item.text()?;
    let token = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
    if !name.bytes().all(token) {
        item.error("is not a header name");
        return None;
    }
    Some(name.to_ascii_lowercase())
}

/// Headers that carry the message itself; writing them from a claim would rewrite the request.
const NOT_FOR_CLAIMS: &[&str] = &[
    "host",
    "connection",
    "content-length",
    "content-type",
    "transfer-encoding",
    "te",
    "upgrade",
    "trailer",
    "cookie",
];

fn claim_headers(item: &Item<'_>) -> Option<Vec<ClaimHeader>> {
    let mut headers: Vec<ClaimHeader> = Vec::new();
    for item in item.list()? {
        let Some(mut fields) = item.fields() else {
            continue;
        };
        let header = fields.required("header_name", "name the header to write");
        let claim = fields.required("claim_name", "name the claim to take").and_then(|item| item.text());
        let format = fields.choice(
            "list_format",
            &[
                ("base64_json", ListFormat::Base64Json),
                ("csv", ListFormat::Csv),
                ("json", ListFormat::Json),
                ("repeat", ListFormat::Repeat),
            ],
            ListFormat::Base64Json,
        );
        fields.finish();
        let Some(header_item) = header else { continue };
        let (Some(header), Some(claim)) = (header_name(&header_item), claim) else {
            continue;
        };
        if NOT_FOR_CLAIMS.contains(&header.as_str()) {
            header_item.error("belongs to the message itself; choose a header of your own, such as x-user");
        }
        if headers.iter().any(|other| other.header == header) {
            header_item.error("is written by another entry already");
        }
        headers.push(ClaimHeader { header, claim: claim.to_owned(), format });
    }
    Some(headers)
}
