//! `providers`: the issuers whose tokens are trusted, and their keys.

use std::rc::Rc;
use std::time::Duration;

use super::fields::{Fields, Item, join, variable};
use super::text::text_match;
use super::{Environment, grants};
use crate::crypto::{Algorithm, AlgorithmSet};
use crate::gate::{CacheSize, Csrf};
use crate::identity::{ClaimHeader, ListFormat, Outputs};
use crate::keys::{Endpoint, Format, Hidden, KeySet, Origin, Reading, Remote};
use crate::request::same_header;
use crate::rules::ProviderId;
use crate::token::{
    AudienceMatch, ClaimPath, Issuer, IssuerTemplate, Location, Policy, TokenTypes, Wanted, is_token_byte,
    normal_type,
};

/// A trusted issuer.
#[derive(Clone, Debug)]
pub struct Provider {
    /// Its place in the configuration.
    pub id: ProviderId,
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
    /// How many verdicts are kept.
    pub cache: CacheSize,
    /// What is asked of requests with a token in a cookie, where it is asked.
    pub csrf: Option<Csrf>,
    /// Whether the proxy chooses the route anew after a header was written.
    pub clear_route_cache: bool,
}

/// Where keys come from.
#[derive(Clone, Debug)]
pub enum Keys {
    /// They are in the configuration.
    Local(Rc<KeySet>),
    /// They are fetched.
    Remote(Box<Remote>),
}

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(24 * 3600);
const CENTURY: Duration = Duration::from_secs(100 * 366 * 24 * 3600);
const WEEK: Duration = Duration::from_secs(7 * 24 * 3600);

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

pub(super) fn read(
    id: ProviderId,
    name: &str,
    item: &Item<'_>,
    environment: Environment<'_>,
) -> Option<Provider> {
    if name.is_empty() || name.len() > 128 || name.chars().any(char::is_control) {
        item.error("a provider's name has 1 to 128 bytes and no control characters");
    }
    let mut fields = item.fields()?;
    let policy = policy(&mut fields);
    let keys = keys(&mut fields, environment, &policy);
    let locations = locations(&mut fields);
    let csrf = csrf(&mut fields, &locations);
    let forward = fields.bool("forward", false);
    let outputs = Outputs {
        payload_header: fields.get("forward_payload_header").and_then(|item| written_header(&item)),
        pad_payload: fields.bool("pad_forward_payload_header", false),
        claims: fields
            .get("claim_to_headers")
            .and_then(|item| claim_headers(&item, &policy.required_claims))
            .unwrap_or_default(),
    };
    let payload = outputs.payload_header.as_deref().unwrap_or_default().as_bytes();
    if outputs.claims.iter().any(|claim| same_header(claim.header.as_bytes(), payload)) {
        fields.error(
            "writes one header from \"forward_payload_header\" and from \"claim_to_headers\", or two that a server folds into one (`_` for `-`); rename one",
        );
    }
    let cache = fields.get("jwt_cache_config").and_then(|item| cache(&item)).unwrap_or_default();
    let clear_route_cache = fields.bool("clear_route_cache", false);
    fields.refuse(REFUSED);
    fields.finish();
    Some(Provider {
        id,
        name: name.to_owned(),
        policy,
        keys: keys?,
        locations,
        forward,
        outputs,
        cache,
        csrf,
        clear_route_cache,
    })
}

fn policy(fields: &mut Fields<'_>) -> Policy {
    let issuers = issuers(fields);
    let audiences = fields.texts("audiences");
    if audiences.as_ref().is_some_and(Vec::is_empty) {
        let text = "must name at least one audience; leave the field out to accept a token of any audience";
        fields.report.error(&join(&fields.path, "audiences"), text);
    }
    let audiences = audiences.unwrap_or_default();
    if audiences.is_empty() {
        fields.report.warning(
            &fields.path,
            "no \"audiences\": a token that the issuer made for another service passes here too",
        );
    }
    let span = |fields: &mut Fields<'_>, name| fields.get(name)?.duration(SECOND, CENTURY);
    let audience_claims = claim_paths(fields, "audience_claims").unwrap_or_else(|| paths(&["aud"]));
    let required_claims = claim_paths(fields, "required_claims").unwrap_or_default();
    Policy {
        wanted: Wanted::new(&issuers, &audience_claims, &required_claims),
        issuers,
        audiences,
        audience_claims,
        audience_match: fields.choice(
            "audience_match",
            &[("exact", AudienceMatch::Exact), ("normalized", AudienceMatch::Normalized)],
            AudienceMatch::Exact,
        ),
        subjects: fields.get("subjects").and_then(|item| text_match(&item)),
        algorithms: fields
            .get("algorithms")
            .and_then(|item| algorithms(&item))
            .unwrap_or_else(AlgorithmSet::asymmetric),
        token_types: fields.get("token_types").and_then(|item| token_types(&item)).unwrap_or_default(),
        reject_bound: reject_bound(fields),
        clock_skew: Duration::from_secs(fields.whole("clock_skew_seconds", 0, 300).unwrap_or(60)),
        require_expiration: fields.bool("require_expiration", true),
        max_lifetime: span(fields, "max_lifetime"),
        max_age: span(fields, "max_age"),
        required_claims,
        max_token_size: fields
            .whole("max_token_size", 64, 1 << 20)
            .and_then(|size| usize::try_from(size).ok())
            .unwrap_or(8192),
        grants: grants::read(fields),
    }
}

fn reject_bound(fields: &mut Fields<'_>) -> bool {
    let reject = fields.choice("sender_constrained", &[("reject", true), ("ignore", false)], true);
    if !reject {
        fields.report.warning(
            &fields.path,
            "\"sender_constrained\" is \"ignore\": a stolen token that is bound to a key passes without that key",
        );
    }
    reject
}

/// `issuer`: a text, a template, or a list of both; `issuer_claims` and `any_tenant` say what may
/// stand in a template.
fn issuers(fields: &mut Fields<'_>) -> Vec<Issuer> {
    let claims: Vec<(String, Vec<String>)> = fields
        .get("issuer_claims")
        .and_then(|item| item.entries())
        .unwrap_or_default()
        .into_iter()
        .filter_map(|(claim, values)| {
            let texts = values.texts()?;
            if texts.is_empty() {
                values.error("must name at least one value");
            }
            Some((claim.to_owned(), texts))
        })
        .collect();
    let any_tenant = fields.bool("any_tenant", false);
    let Some(item) = fields.get("issuer") else {
        fields.report.warning(
            &fields.path,
            "no \"issuer\": a token of any issuer passes whose signature these keys verify",
        );
        return Vec::new();
    };
    let items =
        if item.json.as_array().is_some() { item.list().unwrap_or_default() } else { vec![item.clone()] };
    if items.is_empty() {
        item.error("must name at least one issuer; leave the field out to accept every issuer");
    }
    let mut used: Vec<&str> = Vec::new();
    let mut issuers = Vec::new();
    for item in items {
        let Some(text) = item.text() else { continue };
        match IssuerTemplate::claims_of(text) {
            Some(names) if names.is_empty() => issuers.push(Issuer::Exact(text.to_owned())),
            Some(names) => {
                for name in
                    names.iter().filter(|name| !any_tenant && !claims.iter().any(|(own, _)| own == *name))
                {
                    item.error(format!(
                        "takes the claim {name:?} from the token; list its values in \"issuer_claims\", or set \"any_tenant\": true"
                    ));
                }
                used.extend(names);
                let allowed = |claim: &str| {
                    claims.iter().find(|(own, _)| own == claim).map(|(_, values)| values.clone())
                };
                issuers.push(Issuer::Template(IssuerTemplate::new(text, allowed)));
            }
            None => item.error("has a brace without its pair or without a claim's name in it"),
        }
    }
    if any_tenant && !used.is_empty() {
        fields.report.warning(
            &fields.path,
            "\"any_tenant\": the tokens of every tenant pass; check the tenant in \"authorize\"",
        );
    }
    for (claim, _) in claims.iter().filter(|(claim, _)| !used.contains(&claim.as_str())) {
        let path = format!("{}.issuer_claims", fields.path);
        fields.report.error(&join(&path, claim), "no issuer template has this claim; remove it");
    }
    if any_tenant && used.is_empty() {
        fields.report.error(&join(&fields.path, "any_tenant"), "no issuer is a template; remove it");
    }
    issuers
}

pub(super) fn paths(names: &[&str]) -> Vec<ClaimPath> {
    names.iter().map(|name| ClaimPath::parse(name)).collect()
}

pub(super) fn claim_paths(fields: &mut Fields<'_>, name: &'static str) -> Option<Vec<ClaimPath>> {
    let item = fields.get(name)?;
    let items = item.list()?;
    if items.is_empty() {
        item.error("must name at least one claim");
    }
    Some(items.iter().filter_map(claim_path).collect())
}

/// A claim's path: a text, or a list of names.
pub(super) fn claim_path(item: &Item<'_>) -> Option<ClaimPath> {
    if item.json.as_array().is_none() {
        return item.text().map(ClaimPath::parse);
    }
    let names = item.texts()?;
    if names.is_empty() {
        item.error("must name at least one member");
        return None;
    }
    Some(ClaimPath::of(names))
}

fn token_types(item: &Item<'_>) -> Option<TokenTypes> {
    let names = item.texts()?;
    if names.is_empty() {
        item.error("must name at least one type; \"absent\" stands for a token without \"typ\"");
    }
    let absent = names.iter().any(|name| name == "absent");
    let names = names.iter().filter(|name| *name != "absent").map(|name| normal_type(name)).collect();
    Some(TokenTypes { absent, names })
}

fn cache(item: &Item<'_>) -> Option<CacheSize> {
    let mut fields = item.fields()?;
    let default = CacheSize::default();
    let size =
        |value: Option<u64>, default| value.and_then(|value| usize::try_from(value).ok()).unwrap_or(default);
    let entries = size(fields.whole("jwt_cache_size", 0, 1_000_000), default.entries);
    let max_token = size(fields.whole("jwt_max_token_size", 1, 1 << 20), default.max_token);
    fields.finish();
    Some(CacheSize { entries, max_token })
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

fn keys(fields: &mut Fields<'_>, environment: Environment<'_>, policy: &Policy) -> Option<Keys> {
    let symmetric = policy.algorithms.iter().any(Algorithm::is_symmetric);
    let given = fields.present(&["remote_jwks", "discovery", "local_jwks"]);
    if given.len() != 1 {
        fields.error(if given.is_empty() {
            "has no keys; give one of \"remote_jwks\", \"discovery\" and \"local_jwks\"".to_owned()
        } else {
            format!("has keys from {}; keep one", given.join(" and "))
        });
    }
    let remote = fields.get("remote_jwks").and_then(|item| remote(&item, environment));
    let discovery = fields.get("discovery").and_then(|item| discovery(&item, policy, environment));
    if symmetric && given != ["local_jwks"] {
        fields.report.error(
            &join(&fields.path, "algorithms"),
            "names an HS algorithm, whose key is a secret; it needs \"local_jwks\"",
        );
    }
    let local = fields.get("local_jwks").and_then(|item| local(&item, environment, symmetric));
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

fn remote(item: &Item<'_>, environment: Environment<'_>) -> Option<Remote> {
    let mut fields = item.fields()?;
    let http_uri = fields.required("http_uri", "give { uri, cluster, timeout }");
    let endpoint = http_uri.and_then(|item| endpoint(&item));
    // Keys are always fetched ahead and retried; what `jwt_authn` says about that is accepted.
    for name in ["async_fetch", "retry_policy"] {
        fields.get(name).and_then(|item| item.fields());
    }
    source(fields, endpoint.map(Origin::Jwks), environment)
}

fn discovery(item: &Item<'_>, policy: &Policy, environment: Environment<'_>) -> Option<Remote> {
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
    source(fields, origin, environment)
}

/// The fields that every remote source has.
fn source(mut fields: Fields<'_>, origin: Option<Origin>, environment: Environment<'_>) -> Option<Remote> {
    let headers = fields.get("headers").and_then(|item| request_headers(&item, environment));
    let cache_duration = fields.duration("cache_duration", SECOND, WEEK, Duration::from_secs(600));
    let stale_if_error = fields.duration("stale_if_error", Duration::ZERO, WEEK, HOUR);
    let unknown_kid_cooldown = fields.duration("unknown_kid_cooldown", SECOND, DAY, Duration::from_secs(30));
    let max_bytes = fields.whole("max_bytes", 256, 32 << 20).unwrap_or(262_144);
    let max_keys = fields.whole("max_keys", 1, 100_000).unwrap_or(KeySet::MAX_KEYS as u64);
    let format = fields.choice("format", FORMATS, Format::Auto);
    let tried_without_kid = tried_without_kid(&mut fields);
    fields.finish();
    Some(Remote {
        origin: origin?,
        headers: headers.unwrap_or_default(),
        cache_duration,
        stale_if_error,
        unknown_kid_cooldown,
        max_bytes: usize::try_from(max_bytes).ok()?,
        max_keys: usize::try_from(max_keys).ok()?,
        format,
        tried_without_kid,
    })
}

/// How many keys are tried for a token that names none of them.
fn tried_without_kid(fields: &mut Fields<'_>) -> usize {
    let most = KeySet::MAX_TRIED_WITHOUT_KID as u64;
    let tried = fields.whole("keys_tried_without_kid", 1, most);
    tried.and_then(|tried| usize::try_from(tried).ok()).unwrap_or(KeySet::TRIED_WITHOUT_KID)
}

/// Fields for requests to a key endpoint that asks for credentials.
pub(super) fn request_headers(
    item: &Item<'_>,
    environment: Environment<'_>,
) -> Option<Vec<(String, Hidden)>> {
    let mut headers = Vec::new();
    for item in item.list()? {
        let Some(mut fields) = item.fields() else { continue };
        let name = fields.required("name", "name the header").and_then(|item| written_header(&item));
        let value = fields.required("environment_variable", "name the variable that holds the value");
        fields.finish();
        let Some(named) = value else { continue };
        let Some(value) = variable(&named, environment) else { continue };
        if !value.bytes().all(|byte| byte == b' ' || byte.is_ascii_graphic()) {
            named.error("holds something that cannot stand in a header");
        }
        headers.extend(name.map(|name| (name, Hidden(value))));
    }
    Some(headers)
}

pub(super) fn endpoint(item: &Item<'_>) -> Option<Endpoint> {
    let mut fields = item.fields()?;
    let uri = fields.required("uri", "give the absolute URI");
    let cluster = fields
        .required("cluster", "name the Envoy cluster that reaches the host")
        .and_then(|item| item.text())
        .map(str::to_owned);
    let timeout = fields.duration("timeout", Duration::from_millis(1), MINUTE, Duration::from_secs(5));
    fields.finish();
    let uri = uri?;
    let Some((scheme, authority, path)) = uri.text().and_then(Endpoint::split) else {
        uri.error("must be absolute and plain: https://host/path, without user or fragment");
        return None;
    };
    Some(Endpoint { scheme, authority, path, cluster: cluster?, timeout })
}

fn local(item: &Item<'_>, environment: Environment<'_>, symmetric: bool) -> Option<KeySet> {
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
    if let Some(text) = set.untried() {
        item.report.warning(&item.path, text);
    }
    for (at, skip) in set.skipped() {
        item.report.warning(&item.path, format!("keys[{at}] is not used: {}", skip.as_str()));
    }
    Some(set)
}

/// Where tokens are: `Authorization: Bearer` where nothing else is named.
fn locations(fields: &mut Fields<'_>) -> Vec<Location> {
    let headers = fields.get("from_headers").map(|item| from_headers(&item));
    let mut names = |field, form: fn(String) -> Location| {
        fields.get(field).map(|item| from_names(&item).into_iter().map(form).collect::<Vec<_>>())
    };
    let cookies = names("from_cookies", Location::Cookie);
    let params = names("from_params", Location::Param);
    if params.as_ref().is_some_and(|params| !params.is_empty()) {
        fields.report.warning(
            &join(&fields.path, "from_params"),
            "tokens in a URL end up in logs and histories of clients and other hops (RFC 9700 section 4.3.2)",
        );
    }
    match (headers, cookies, params) {
        (None, None, None) => vec![Location::bearer()],
        (headers, cookies, params) => [headers, cookies, params].into_iter().flatten().flatten().collect(),
    }
}

/// The names of cookies or query parameters.
fn from_names(item: &Item<'_>) -> Vec<String> {
    let items = item.list().unwrap_or_default();
    if items.is_empty() && item.json.as_array().is_some() {
        item.error("must name at least one; leave the field out for none");
    }
    let mut names: Vec<String> = Vec::new();
    for item in items {
        let Some(name) = item.text() else { continue };
        // A cookie's name is a token (RFC 6265 section 4.1.1); a parameter's needs no escapes.
        if !name.bytes().all(is_token_byte) {
            item.error("must be letters, digits and any of !#$%&'*+-.^_`|~ alone");
        } else if name.contains(['%', '&', '+', '#']) {
            item.error("has a character that could be read in two ways; rename it");
        } else if names.iter().any(|other| other == name) {
            item.error("is named above already");
        } else if names.iter().any(|other| other.replace('.', "_") == name.replace('.', "_")) {
            item.error("is a name that some servers take for one above (`_` for `.`); keep one of them");
        }
        names.push(name.to_owned());
    }
    names
}

fn csrf(fields: &mut Fields<'_>, locations: &[Location]) -> Option<Csrf> {
    let cookies = locations.iter().any(|location| matches!(location, Location::Cookie(_)));
    let Some(item) = fields.get("csrf") else {
        if cookies {
            fields.report.warning(
                &join(&fields.path, "from_cookies"),
                "no \"csrf\": a page of another site can have a browser send requests with this cookie; add \"csrf\": {}",
            );
        }
        return None;
    };
    if !cookies {
        item.error("is for tokens from cookies, and none is named in \"from_cookies\"; remove it");
    }
    let mut fields = item.fields()?;
    let origins = fields.get("allowed_origins").and_then(|item| item.list()).unwrap_or_default();
    fields.finish();
    let mut allowed_origins = Vec::new();
    for item in origins {
        let Some(text) = item.text() else { continue };
        let origin = text.to_ascii_lowercase();
        let host = origin.strip_prefix("https://").or_else(|| origin.strip_prefix("http://"));
        if host.is_none_or(|host| host.is_empty() || host.contains(['/', '?', '#', '@', '*', ' '])) {
            item.error("is not an origin; write scheme, host and a port that is not the usual one: https://app.example");
        }
        allowed_origins.push(origin);
    }
    Some(Csrf { allowed_origins })
}

fn from_headers(item: &Item<'_>) -> Vec<Location> {
    let items = item.list().unwrap_or_default();
    if items.is_empty() && item.json.as_array().is_some() {
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
            if name == "cookie" {
                item.error("cookies are named in \"from_cookies\"");
            } else if locations.iter().filter_map(Location::header_name).any(|other| other == name) {
                item.error("names a header that is named above already");
            } else if locations
                .iter()
                .filter_map(Location::header_name)
                .any(|other| same_header(other.as_bytes(), name.as_bytes()))
            {
                item.error("is a name that servers take for one above (`_` for `-`); keep one of them");
            }
            locations.push(location);
        }
    }
    locations
}

/// A header field name in lower case (RFC 9110 section 5.1).
pub(super) fn header_name(item: &Item<'_>) -> Option<String> {
    let name = item.text()?;
    if !name.bytes().all(is_token_byte) {
        item.error("is not a header name");
        return None;
    }
    Some(name.to_ascii_lowercase())
}

/// The name of a header to write.
fn written_header(item: &Item<'_>) -> Option<String> {
    let name = header_name(item)?;
    if NOT_WRITTEN.iter().any(|own| same_header(own.as_bytes(), name.as_bytes())) {
        item.error("belongs to the message itself; choose a header of your own, such as x-user");
        return None;
    }
    Some(name)
}

/// Headers that carry the message itself; writing them from a claim would rewrite the request.
const NOT_WRITTEN: &[&str] = &[
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

fn claim_headers(item: &Item<'_>, required: &[ClaimPath]) -> Option<Vec<ClaimHeader>> {
    let mut headers: Vec<ClaimHeader> = Vec::new();
    for item in item.list()? {
        let Some(mut fields) = item.fields() else {
            continue;
        };
        let header = fields.required("header_name", "name the header to write");
        let claim =
            fields.required("claim_name", "name the claim to take").and_then(|item| claim_path(&item));
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
        let (Some(header), Some(claim)) = (written_header(&header_item), claim) else {
            continue;
        };
        if headers.iter().any(|other| same_header(other.header.as_bytes(), header.as_bytes())) {
            header_item.error("is written by another entry already, in this spelling or in one that a server folds into it (`_` for `-`)");
        }
        let required = required.contains(&claim);
        headers.push(ClaimHeader { header, claim, format, required });
    }
    Some(headers)
}
