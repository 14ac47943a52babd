//! `protected_resources`: the metadata of protected resources for clients (RFC 9728).

use std::rc::Rc;
use std::time::Duration;

use serde::Serialize;

use super::authorize::sound_scope;
use super::conditions::some;
use super::fields::{Fields, Item, join};
use super::matching;
use super::provider::Provider;
use super::resource_identifier::{Identifier, Safe, server};
use super::values::WEEK;
use crate::proof::RequiredProof;
use crate::response::{DescribedResource, MAX_RESOURCES, ProtectedResource, ProtectedResources, WELL_KNOWN};
use crate::rules::{AmbiguousPaths, HostMatch, HostName, HostPort, Match, PathMatch, Requirement, Rule};
use crate::token::{Issuer, Location};

/// What a resource's document says by itself comes from these.
#[derive(Clone, Copy)]
pub(super) struct ResourceContext<'c> {
    pub(super) rules: &'c [Rule],
    /// None for one with an error.
    pub(super) providers: &'c [Option<Rc<Provider>>],
    pub(super) ambiguous_paths: AmbiguousPaths,
}

/// The metadata document (RFC 9728 section 2).
#[derive(Serialize)]
struct Document<'c> {
    resource: &'c str,
    authorization_servers: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    scopes_supported: Vec<String>,
    bearer_methods_supported: Vec<&'static str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    dpop_signing_alg_values_supported: Vec<String>,
    #[serde(skip_serializing_if = "is_false")]
    dpop_bound_access_tokens_required: bool,
    #[serde(skip_serializing_if = "is_false")]
    tls_client_certificate_bound_access_tokens: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    resource_name: Option<&'c str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    resource_documentation: Option<&'c str>,
}

pub(super) fn read(fields: &mut Fields<'_>, around: ResourceContext<'_>) -> Option<ProtectedResources> {
    let item = fields.get("protected_resources")?;
    let items = some(&item, "resource")?;
    if items.len() > MAX_RESOURCES {
        item.error(format!(
            "has {} resources, and may have at most {MAX_RESOURCES}; divide them among plugins",
            items.len()
        ));
        return None;
    }
    let all: Vec<_> = items.iter().filter_map(|item| Some((item, resource(item, around)?))).collect();
    for (at, (item, described)) in all.iter().enumerate() {
        let same_place = |other: &DescribedResource| {
            let same_host = HostMatch::any_overlaps(&described.matches.hosts, &other.matches.hosts);
            described.paths.iter().find(|path| other.paths.contains(path)).filter(|_| same_host)
        };
        let before = all.iter().take(at);
        if let Some((other, path)) =
            before.filter_map(|(item, other)| Some((item, same_place(other)?))).next()
        {
            item.error(match path == WELL_KNOWN {
                true => format!("has its metadata document at {path}, as {} has; leave \"also_at_root\" out of one of them", other.path),
                false => format!("has its metadata document at {path}, as {} has; name each resource of a host once", other.path),
            });
        }
    }
    Some(ProtectedResources::new(
        all.into_iter().map(|(_, described)| described).collect(),
        around.ambiguous_paths,
    ))
}

fn resource(item: &Item<'_>, around: ResourceContext<'_>) -> Option<DescribedResource> {
    let mut fields = item.fields()?;
    let named =
        fields.required("resource", "name the resource by its URL, such as https://mcp.example.com/mcp");
    let identifier = named.as_ref().and_then(identifier);
    let matches = fields.get("match");
    if matches.is_none() {
        fields.report.error(&join(&fields.path, "match"), "is missing; say which requests are for the resource, such as { path_separated_prefix: /mcp, hosts: [mcp.example.com] }");
    }
    let matches = matches.and_then(|item| self::matches(&item, identifier.as_ref(), around.ambiguous_paths));
    let rules = matches.as_ref().map(|matches| rules_of(matches, around.rules)).unwrap_or_default();
    let servers = match fields.get("authorization_servers") {
        Some(item) => listed_servers(&item),
        None => servers_of(&fields, &rules, around.providers).filter(|_| matches.is_some()),
    };
    let scopes_supported = fields.get("scopes_supported").and_then(|item| scopes(&item)).unwrap_or_default();
    let resource_name = fields.get("resource_name").and_then(|item| plain_text(&item));
    let resource_documentation = fields.get("resource_documentation").and_then(|item| url(&item));
    let also_at_root = fields.bool("also_at_root", false);
    let own_audience = fields.choice("audience", &[("resource", true), ("provider", false)], false);
    let cache_duration = fields.duration("cache_duration", Duration::ZERO, WEEK, Duration::from_secs(3600));
    if own_audience {
        warn_of_audiences(&fields, &rules);
    }
    fields.finish();
    let (identifier, matches) = (identifier?, matches?);
    let mut paths = vec![identifier.document_path()];
    if also_at_root && !identifier.is_host() {
        paths.push(WELL_KNOWN.to_owned());
    }
    let asked = asked(&rules, around.providers);
    let needs_proofs = needs_proofs(&rules);
    let has_certificates =
        |provider: &&Rc<Provider>| provider.constraint.as_ref().is_some_and(|own| own.mtls.is_some());
    let document = Document {
        resource: identifier.text,
        authorization_servers: servers?,
        scopes_supported,
        bearer_methods_supported: if needs_proofs { Vec::new() } else { bearer_methods(&asked) },
        dpop_signing_alg_values_supported: proof_algorithms(&asked),
        dpop_bound_access_tokens_required: needs_proofs,
        tls_client_certificate_bound_access_tokens: asked.iter().any(has_certificates),
        resource_name,
        resource_documentation,
    };
    Some(DescribedResource {
        resource: ProtectedResource {
            metadata_url: identifier.document_url().into(),
            audiences: own_audience.then(|| identifier.spellings()),
        },
        matches,
        paths,
        document: serde_json::to_string(&document).ok()?,
        max_age: cache_duration.as_secs(),
    })
}

fn identifier<'c>(item: &Item<'c>) -> Option<Identifier<'c>> {
    let text = item.text()?;
    let identifier = Identifier::parse(text).map_err(|error| item.error(error)).ok()?;
    if text.ends_with('/') {
        item.warning("ends with \"/\": clients compare it exactly with the URL that they were given, which seldom has one; leave it out");
    }
    Some(identifier)
}

/// The requests of the resource; its document is served on the same hosts.
fn matches(
    item: &Item<'_>,
    identifier: Option<&Identifier<'_>>,
    ambiguous_paths: AmbiguousPaths,
) -> Option<Match> {
    let matches = matching::read(item, ambiguous_paths)?;
    if matches!(matches.path, PathMatch::Connect) {
        item.error(
            "is for CONNECT, which has no path and belongs to no resource; use \"path_separated_prefix\"",
        );
        return None;
    }
    let Some(identifier) = identifier else { return Some(matches) };
    let takes = |host: &HostMatch| {
        let name = match &host.name {
            HostName::Exact(name) => *name == identifier.host,
            HostName::Under(suffix) => identifier.host.ends_with(suffix.as_str()),
        };
        name && match (&host.port, &identifier.port) {
            (HostPort::Any, _) | (HostPort::None, None) => true,
            (HostPort::This(own), Some(port)) => own == port,
            (HostPort::None, Some(_)) | (HostPort::This(_), None) => false,
        }
    };
    if !matches.hosts.is_empty() && !matches.hosts.iter().any(takes) {
        let hosts = join(&item.path, "hosts");
        let (authority, host) = (identifier.authority(), &identifier.host);
        match identifier.port {
            Some(_) => item.report.error(&hosts, format!("does not include {authority}, which the resource names; write \"{authority}\", or \"{host}:*\" where Envoy strips ports (strip_any_host_port)")),
            None => item.report.warning(&hosts, format!("does not include {authority}, which the resource names: clients that ask there for its document get none")),
        }
    }
    Some(matches)
}

/// The rules that requests of a resource can meet: in their order, and none behind one that takes all of them.
fn rules_of<'r>(matches: &Match, rules: &'r [Rule]) -> Vec<&'r Rule> {
    let last = rules.iter().position(|rule| rule.matches.covers(matches));
    let until = last.map_or(rules.len(), |last| last.saturating_add(1));
    rules.iter().take(until).filter(|rule| rule.matches.overlaps(matches)).collect()
}

/// The providers that rules name, each once, in the order of rules and requirements.
fn providers_of<'p>(rules: &[&Rule], providers: &'p [Option<Rc<Provider>>]) -> Vec<&'p Rc<Provider>> {
    let mut ids = Vec::new();
    rules
        .iter()
        .filter_map(|rule| rule.requires.as_ref())
        .for_each(|requires| requires.collect_providers(&mut ids));
    ids.iter().filter_map(|id| providers.get(id.0)?.as_ref()).collect()
}

/// The issuers of the providers that the rules name, exactly.
fn servers_of(
    fields: &Fields<'_>,
    rules: &[&Rule],
    providers: &[Option<Rc<Provider>>],
) -> Option<Vec<String>> {
    let path = join(&fields.path, "authorization_servers");
    let mut servers: Vec<String> = Vec::new();
    for provider in providers_of(rules, providers) {
        let name = &provider.name;
        for issuer in &provider.policy.issuers {
            let Issuer::Exact(issuer) = issuer else {
                fields.report.error(&path, format!("is missing, and an issuer of the provider {name:?} is a template, which no client can ask; list the authorization servers"));
                return None;
            };
            match server(issuer) {
                Err(error) => {
                    fields.report.error(&path, format!("is missing, and an issuer of the provider {name:?} {error}; list the authorization servers"));
                    return None;
                }
                Ok(Safe(is_safe)) => {
                    if !is_safe {
                        fields.report.warning(&path, format!("takes the issuer of the provider {name:?}, which begins with http://: anybody on the network path can send clients elsewhere"));
                    }
                    if !servers.contains(issuer) {
                        servers.push(issuer.clone());
                    }
                }
            }
        }
    }
    // What is wrong with a provider or a rule is told already.
    if servers.is_empty() && !fields.report.has_errors() {
        fields.report.error(&path, "is missing, and no rule that its requests can meet names a provider with an \"issuer\"; list the authorization servers");
    }
    (!servers.is_empty()).then_some(servers)
}

fn listed_servers(item: &Item<'_>) -> Option<Vec<String>> {
    let mut servers = Vec::new();
    for item in some(item, "authorization server")? {
        let Some(text) = item.text() else { continue };
        match server(text) {
            Err(error) => item.error(format!(
                "{error}; write its exact issuer, such as https://idp.example/, without a query"
            )),
            Ok(Safe(is_safe)) => {
                if !is_safe {
                    item.warning(
                        "begins with http://: anybody on the network path can send clients elsewhere; use https://",
                    );
                }
                if servers.iter().any(|own| own == text) {
                    item.error("is named above already; remove it");
                }
                servers.push(text.to_owned());
            }
        }
    }
    (!servers.is_empty()).then_some(servers)
}

fn scopes(item: &Item<'_>) -> Option<Vec<String>> {
    let mut scopes = Vec::new();
    for item in some(item, "scope")? {
        let Some(text) = item.text() else { continue };
        if let Err(error) = sound_scope(text) {
            item.error(error);
        }
        scopes.push(text.to_owned());
    }
    Some(scopes)
}

fn plain_text<'c>(item: &Item<'c>) -> Option<&'c str> {
    let text = item.text()?;
    if text.chars().any(char::is_control) {
        item.error("has a control character or a line end; write it on one line");
        return None;
    }
    Some(text)
}

fn url<'c>(item: &Item<'c>) -> Option<&'c str> {
    let text = item.text()?;
    let rest = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
    if !rest.is_some_and(|rest| !rest.is_empty() && rest.bytes().all(|byte| byte.is_ascii_graphic())) {
        item.error("is not a URL of a page; write https://host/path");
        return None;
    }
    Some(text)
}

/// The providers whose tokens rules look at.
fn asked<'p>(rules: &[&Rule], providers: &'p [Option<Rc<Provider>>]) -> Vec<&'p Rc<Provider>> {
    let named = providers_of(rules, providers);
    let looks_at_all = |rule: &&Rule| rule.requires.as_ref().is_some_and(Requirement::looks_at_all);
    // Where routes say what is asked, it can be any.
    match named.is_empty() || rules.iter().any(looks_at_all) {
        true => providers.iter().flatten().collect(),
        false => named,
    }
}

/// How tokens may be sent (RFC 6750 section 2), as far as the documents of resources have words for it.
fn bearer_methods(asked: &[&Rc<Provider>]) -> Vec<&'static str> {
    let places = || asked.iter().flat_map(|provider| &provider.locations);
    let has_header = places().any(|place| matches!(place, Location::Header(place) if place.is_bearer()));
    let has_query = places().any(|place| matches!(place, Location::Param(name) if name == "access_token"));
    let methods = [("header", has_header), ("query", has_query)];
    methods.into_iter().filter_map(|(name, has)| has.then_some(name)).collect()
}

/// The algorithms of proofs (RFC 9449) that one of the providers takes.
fn proof_algorithms(asked: &[&Rc<Provider>]) -> Vec<String> {
    let mut all: Vec<String> = Vec::new();
    for name in asked.iter().filter_map(|provider| provider.dpop()).flat_map(|dpop| dpop.algs.split(' ')) {
        if !name.is_empty() && !all.iter().any(|own| own == name) {
            all.push(name.to_owned());
        }
    }
    all
}

/// Whether no token counts without a proof.
fn needs_proofs(rules: &[&Rule]) -> bool {
    let mut needs = rules.iter().filter(|rule| rule.requires.is_some()).map(|rule| rule.requires_proof);
    let first = needs.next();
    first == Some(Some(RequiredProof::Dpop)) && needs.all(|needed| needed == Some(RequiredProof::Dpop))
}

fn is_false(value: &bool) -> bool {
    !value
}

/// A rule's own audiences count before the resource's.
fn warn_of_audiences(fields: &Fields<'_>, rules: &[&Rule]) {
    for rule in rules {
        let mut demands = Vec::new();
        rule.requires.iter().for_each(|requires| requires.collect_demands(&mut demands));
        if demands.iter().any(|(_, audiences)| audiences.is_some()) {
            fields.report.warning(
                &join(&fields.path, "audience"),
                format!("does not count for the rule {:?} where that has \"provider_and_audiences\"; write \"provider_name\" there, or add the resource to its audiences", rule.name),
            );
        }
    }
}

#[cfg(test)]
mod tests;
