//! `providers`: the issuers whose tokens are trusted, and their keys.

use std::rc::Rc;
use std::time::Duration;

use super::cache::CacheSize;
use super::conditions::Owner;
use super::fields::{Fields, Item, join};
use super::keys::{Keys, is_of_one_trust_domain, keys};
use super::locations::{csrf, locations};
use super::text::text_match;
use super::values::{
    SECOND, claim_path, claim_paths, compared_texts, paths, warn_of_literals, written_header,
};
use super::{Variables, binding, cache, conditions, grants, introspection, metadata_outputs, protobuf};
use crate::crypto::{Algorithm, AlgorithmSet};
use crate::introspection::Introspection;
use crate::json::Json;
use crate::proof::{Constraint, Dpop};
use crate::request::{Csrf, same_header};
use crate::text::TextMatch;
use crate::token::{
    AudienceMatch, ClaimPath, Condition, Issuer, IssuerTemplate, Location, Policy, ProviderId, TokenTypes,
    Wanted, normal_type,
};
#[cfg(feature = "native")]
use crate::upstream::MetadataOutputs;
use crate::upstream::{ClaimHeader, Encoding, IdentityHeaders, ListFormat};

/// A trusted issuer.
#[derive(Clone, Debug)]
pub struct Provider {
    /// Its place in the configuration.
    pub id: ProviderId,
    /// Its name in the configuration.
    pub name: String,
    /// What its tokens must say.
    pub policy: Policy,
    /// How the sender of a token shows what the token is bound to, where that is asked for.
    pub constraint: Option<Constraint>,
    /// Where its keys come from.
    pub keys: Keys,
    /// How it is asked about tokens, where it is.
    pub introspection: Option<Rc<Introspection>>,
    /// Where a request carries its tokens.
    pub locations: Vec<Location>,
    /// Whether the upstream sees the token.
    pub forward: bool,
    /// What the upstream gets of the token.
    pub outputs: IdentityHeaders,
    /// What other filters get of it, where the host can tell them.
    #[cfg(feature = "native")]
    pub metadata: Option<MetadataOutputs>,
    /// How many verdicts are kept.
    pub cache: CacheSize,
    /// What is asked of requests with a token in a cookie, where it is asked.
    pub csrf: Option<Csrf>,
    /// Whether the proxy chooses the route again after a header was written.
    pub clear_route_cache: bool,
}

impl Provider {
    /// Whether proofs for its tokens need nonces that this gate makes.
    pub fn makes_nonces(&self) -> bool {
        self.dpop().is_some_and(|dpop| dpop.nonces.is_some())
    }

    /// What it asks of proofs, where it takes them.
    pub fn dpop(&self) -> Option<&Dpop> {
        self.constraint.as_ref()?.dpop.as_ref()
    }

    /// What a JWT of it must say by itself.
    pub(crate) fn token_policy(&self) -> &Policy {
        let of_answers = self.introspection.as_ref().and_then(|settings| settings.token_policy.as_ref());
        of_answers.unwrap_or(&self.policy)
    }
}

const CENTURY: Duration = Duration::from_secs(100 * 366 * 24 * 3600);
pub(super) fn read(
    id: ProviderId,
    name: &str,
    item: &Item<'_>,
    environment: Variables<'_>,
) -> Option<Provider> {
    if name.is_empty() || name.len() > 128 || name.chars().any(char::is_control) {
        item.error("must have a name of 1 to 128 bytes without control characters");
    }
    let mut fields = item.message(protobuf::PROVIDER)?;
    let (reject_bound, constraint) = binding::read(&mut fields, environment);
    let policy = policy(&mut fields, reject_bound);
    let keys = keys(&mut fields, environment, &policy);
    let introspection = introspection::read(&mut fields, environment, &policy);
    let locations = locations(&mut fields, policy.reject_bound);
    if let Some(constraint) = &constraint {
        binding::check_places(&fields, constraint, &locations);
    }
    let csrf = csrf(&mut fields, &locations);
    let forward = fields.bool("forward", false);
    let outputs = IdentityHeaders {
        payload_header: fields.get("forward_payload_header").and_then(|item| written_header(&item)),
        pad_payload: fields.bool("pad_forward_payload_header", false),
        claims: fields
            .get("claim_to_headers")
            .and_then(|item| claim_headers(&item, &policy))
            .unwrap_or_default(),
        skips_empty: fields.host().skips_empty_headers,
    };
    let payload = outputs.payload_header.as_deref().unwrap_or_default().as_bytes();
    if outputs.claims.iter().any(|claim| same_header(claim.header.as_bytes(), payload)) {
        fields.error(
            "writes one header from \"forward_payload_header\" and from \"claim_to_headers\", or two that a server folds into one (`_` for `-`); rename one",
        );
    }
    let cache = cache::read(&mut fields, policy.max_token_size);
    let clear_route_cache = fields.bool("clear_route_cache", false);
    #[cfg(feature = "native")]
    let metadata = metadata_outputs::read(&mut fields);
    #[cfg(not(feature = "native"))]
    metadata_outputs::refuse(&mut fields);
    fields.finish();
    Some(Provider {
        id,
        name: name.to_owned(),
        policy,
        constraint,
        keys: keys?,
        introspection: introspection.map(Rc::new),
        locations,
        forward,
        outputs,
        #[cfg(feature = "native")]
        metadata,
        cache,
        csrf,
        clear_route_cache,
    })
}

fn policy(fields: &mut Fields<'_>, reject_bound: bool) -> Policy {
    let subjects = fields.get("subjects").and_then(|item| text_match(&item));
    let issuers = issuers(fields, subjects.as_ref());
    let audiences = fields.get("audiences").and_then(|item| compared_texts(&item));
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
    let (required_claims, required_conditions) = required(fields);
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
        subjects,
        algorithms: fields
            .get("algorithms")
            .and_then(|item| algorithms(&item))
            .unwrap_or_else(AlgorithmSet::asymmetric),
        token_types: fields.get("token_types").and_then(|item| token_types(&item)).unwrap_or_default(),
        reject_bound,
        clock_skew: Duration::from_secs(fields.whole("clock_skew_seconds", 0, 300).unwrap_or(60)),
        require_expiration: fields.bool("require_expiration", true),
        max_lifetime: span(fields, "max_lifetime"),
        max_age: span(fields, "max_age"),
        required_claims,
        required_conditions,
        max_token_size: fields
            .whole("max_token_size", 64, 1 << 20)
            .and_then(|size| usize::try_from(size).ok())
            .unwrap_or(cache::MAX_TOKEN_SIZE),
        grants: grants::read(fields),
    }
}

/// `required_claims`: claims that must be there, and conditions that are met.
fn required(fields: &mut Fields<'_>) -> (Vec<ClaimPath>, Vec<Condition>) {
    let (mut claims, mut conditions) = (Vec::new(), Vec::new());
    let Some(item) = fields.get("required_claims") else { return (claims, conditions) };
    let items = item.list();
    if items.as_ref().is_some_and(Vec::is_empty) {
        item.error("must name at least one claim");
    }
    for item in items.unwrap_or_default() {
        match item.json {
            Json::Object(_) => conditions.extend(conditions::read(&item, Owner::Provider)),
            Json::String(_) | Json::Array(_) => claims.extend(claim_path(&item)),
            other => item.error(format!(
                "expected a claim, not {}; write its name, or a condition such as {{ \"claim\": \"typ\", \"any_of\": [\"Bearer\"] }}",
                other.kind()
            )),
        }
    }
    (claims, conditions)
}

/// `issuer`: a text, a template, or a list of both; `issuer_claims` and `any_tenant` say what may
/// stand in a template. JWT-SVIDs have none as a rule: subjects of one trust domain say whose they are.
fn issuers(fields: &mut Fields<'_>, subjects: Option<&TextMatch>) -> Vec<Issuer> {
    let claims = issuer_claims(fields);
    let any_tenant = fields.bool("any_tenant", false);
    let Some(item) = fields.get("issuer") else {
        if !subjects.is_some_and(is_of_one_trust_domain) {
            fields.report.warning(
                &fields.path,
                "no \"issuer\": a token of any issuer passes if these keys verify its signature",
            );
        }
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
        warn_of_literals(&item);
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
            None => item.error("has a brace without its pair, or without a claim's name in it; write the name between { and }, as in https://idp.example/{tid}/"),
        }
    }
    check_templates(fields, &claims, any_tenant, &used);
    issuers
}

/// `issuer_claims`: the values that a claim may have in a template, by its name.
fn issuer_claims(fields: &mut Fields<'_>) -> Vec<(String, Vec<String>)> {
    let entries = fields.get("issuer_claims").and_then(|item| item.entries()).unwrap_or_default();
    let texts = entries.into_iter().filter_map(|(claim, values)| {
        let texts = values.texts()?;
        if texts.is_empty() {
            values.error("must name at least one value");
        }
        Some((claim.to_owned(), texts))
    });
    texts.collect()
}

/// Reports what belongs to a template and has none; `used` are the claims of all templates.
fn check_templates(fields: &Fields<'_>, claims: &[(String, Vec<String>)], any_tenant: bool, used: &[&str]) {
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
                name.error(format!("is not a supported algorithm; use one of {}", known.join(", ")));
            }
        }
    }
    Some(set)
}

fn claim_headers(item: &Item<'_>, policy: &Policy) -> Option<Vec<ClaimHeader>> {
    let mut headers: Vec<ClaimHeader> = Vec::new();
    for item in item.list()? {
        let Some(mut fields) = item.message(protobuf::CLAIM_TO_HEADER) else {
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
        let encoding = fields.choice(
            "encoding",
            &[("utf8", Encoding::Utf8), ("percent", Encoding::Percent), ("base64", Encoding::Base64)],
            Encoding::Utf8,
        );
        fields.finish();
        let Some(header_item) = header else { continue };
        let (Some(header), Some(claim)) = (written_header(&header_item), claim) else {
            continue;
        };
        if headers.iter().any(|other| same_header(other.header.as_bytes(), header.as_bytes())) {
            header_item.error("is written by another entry already, in this spelling or in one that servers treat as the same (`_` for `-`); rename one");
        }
        let required = policy.requires(&claim);
        headers.push(ClaimHeader { header, claim, format, encoding, required });
    }
    Some(headers)
}
