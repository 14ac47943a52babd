//! What the operator wrote, checked and compiled once.
//!
//! [`Config::parse`] reads the plugin configuration strictly: an unknown field, a wrong type or a
//! contradiction is an error, all errors are reported together, and nothing runs on a guess.

mod audit;
mod authorize;
mod binding;
mod cache;
mod conditions;
mod cors;
mod fields;
mod grants;
mod input;
mod introspection;
mod keys;
mod limits;
mod locations;
mod matching;
mod metadata;
mod metadata_outputs;
mod problem;
mod protected_resources;
mod protobuf;
mod provider;
mod requirement;
mod resource_identifier;
mod revocation;
mod route_rules;
mod rule;
mod streams;
mod text;
mod values;

use std::collections::BTreeMap;
use std::rc::Rc;

pub use cache::CacheSize;
pub use fields::join as member_path;
pub use keys::Keys;
pub use limits::{FailureLimit, Limits};
pub use problem::{HostFeatures, Problem, WritesMetadata};
pub use provider::Provider;
pub use revocation::Revocation;
pub use route_rules::RouteRules;

use crate::audit::AuditPolicy;
use crate::response::{Body, Cors, ProtectedResources, Style};

use crate::fetch::SecretValue;
use crate::json::Json;
use crate::proof::OneTime;
use crate::request::same_header;
use crate::rules::{AmbiguousPaths, Rule, Rules};
use crate::token::{ProviderId, RequestValue};
use crate::upstream::{FilterStateField, FilterStateFields};
use fields::{Fields, Item};
use problem::Report;
use values::secret;

/// A sound configuration.
#[derive(Clone, Debug)]
pub struct Config {
    /// The trusted issuers; a [`ProviderId`] is a place in this list.
    pub providers: Vec<Rc<Provider>>,
    /// The rules; the first that matches decides.
    pub rules: Rules,
    /// What a request gets that no rule matches.
    pub unmatched: Unmatched,
    /// Whether a browser's question whether it may send a request passes without a token.
    pub bypass_cors_preflight: bool,
    /// Whether a request is refused that brings a header which the filter writes; else the header is removed.
    pub refuses_spoofed_headers: bool,
    /// What the metadata of the proxy's routes may say.
    pub route_rules: RouteRules,
    /// The requirements that a route may name, by their names: each as a rule for every request, which decides where
    /// no other rule does.
    pub requirements: BTreeMap<String, Rc<Rule>>,
    /// The way that tokens must have come.
    pub require_tls: RequireTls,
    /// The realm of challenges; none: the provider's name.
    pub realm: Option<String>,
    /// How refusals are reported.
    pub style: Style,
    /// The origins whose pages may read the gate's own answers.
    pub cors: Option<Cors>,
    /// The resources whose metadata tells clients where to get tokens, where any are named.
    pub protected_resources: Option<ProtectedResources>,
    /// What those cost who try tokens.
    pub limits: Limits,
    /// How tokens are taken of rules that take each one time.
    pub one_time: OneTime,
    /// What is written to the filter state.
    pub filter_state: FilterStateFields,
    /// What is written to the log of single decisions.
    pub audit: AuditPolicy,
    /// What the plugin is called in its metrics, to be distinguished from others of the same proxy.
    pub instance: Option<String>,
    /// What the values that workers share are sealed with.
    pub shared_data_secret: Option<SecretValue>,
    /// Where revoked tokens are listed.
    pub revocation: Revocation,
    /// What is legal and dangerous.
    pub warnings: Vec<Problem>,
}

/// What a request gets that no rule matches.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Unmatched {
    /// It is refused.
    Deny,
    /// It passes, as with `jwt_authn`.
    Allow,
}

/// The way that tokens must have come, lest somebody read them on it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum RequireTls {
    /// Any.
    #[default]
    None,
    /// This hop of the connection is TLS.
    Connection,
    /// The hop before says `x-forwarded-proto: https`; the operator vouches for it.
    ForwardedProto,
}

/// Where the values of environment variables come from.
pub type Variables<'e> = &'e dyn Fn(&str) -> Option<String>;

impl Config {
    /// Reads the bytes of a plugin configuration, for the wasm plugin.
    ///
    /// # Errors
    /// Every problem that was found, never none.
    pub fn parse(bytes: &[u8], environment: Variables<'_>) -> Result<Self, Vec<Problem>> {
        Self::parse_for(HostFeatures::default(), bytes, environment)
    }

    /// Reads the bytes of a configuration, for a host that can do more than the wasm plugin.
    ///
    /// # Errors
    /// Every problem that was found, never none.
    pub fn parse_for(
        host: HostFeatures,
        bytes: &[u8],
        environment: Variables<'_>,
    ) -> Result<Self, Vec<Problem>> {
        let whole = |message| vec![Problem { path: String::new(), message }];
        let json = input::parse(bytes).map_err(whole)?;
        let report = Report::new(host);
        let config = read(&json, environment, &report);
        let (errors, warnings) = report.into_parts();
        match config {
            Some(config) if errors.is_empty() => Ok(Self { warnings, ..config }),
            _ if errors.is_empty() => Err(whole("cannot be read".to_owned())),
            _ => Err(errors),
        }
    }

    /// What a configuration that cannot be used calls its plugin, where that can be read.
    pub fn instance_of(bytes: &[u8]) -> Option<String> {
        let json = input::parse(bytes).ok()?;
        let instance = json.as_object()?.get("instance")?.as_str()?;
        (!instance.is_empty()).then(|| instance.to_owned())
    }

    /// Whether anything is accepted once: proofs, or the tokens of some rule.
    pub fn takes_once(&self) -> bool {
        self.providers.iter().any(|provider| provider.dpop().is_some())
            || self.rules.iter().any(|rule| rule.one_time)
    }

    /// The provider of an id; ids are only made for providers that are there.
    pub fn provider(&self, id: ProviderId) -> Option<&Rc<Provider>> {
        self.providers.get(id.0)
    }
}

fn read(json: &Json, environment: Variables<'_>, report: &Report) -> Option<Config> {
    let mut fields = Item::root(json, report).message(protobuf::FILTER)?;
    let (names, list) = providers(&mut fields, environment);
    let route_rules = route_rules::read(&mut fields);
    let (rules, requirements, ambiguous_paths) = rules(&mut fields, &names, route_rules);
    let unmatched = unmatched(&mut fields, rules.is_empty() && !requirements.is_empty());
    let shared_data_secret = fields.get("shared_data_secret").and_then(|item| secret(&item, environment));
    let revocation = fields
        .get("revocation")
        .and_then(|item| revocation::read(&item, &names, environment))
        .unwrap_or_default();
    let bypass_cors_preflight = fields.bool("bypass_cors_preflight", false);
    let refuses_spoofed_headers =
        fields.choice("spoofed_headers", &[("strip", false), ("reject", true)], false);
    let require_tls = require_tls(&mut fields);
    let realm = fields.get("realm").and_then(|item| realm(&item));
    let instance = fields.get("instance").and_then(|item| rule::name(&item));
    let style = style(&mut fields);
    let limits = limits::read(&mut fields);
    let around = protected_resources::ResourceContext { rules: &rules, providers: &list, ambiguous_paths };
    let protected_resources = protected_resources::read(&mut fields, around);
    let has_nonces = list.iter().flatten().any(|provider| provider.makes_nonces());
    let cors = fields.get("cors").and_then(|item| cors::read(&item, has_nonces));
    let one_time = fields.get("one_time").and_then(|item| binding::one_time(&item)).unwrap_or_default();
    let filter_state = fields.get("filter_state").and_then(|item| selection(&item)).unwrap_or_default();
    let audit = fields.get("audit").and_then(|item| audit::read(&item, environment)).unwrap_or_default();
    fields.refuse(&[
        (
            "filter_state_rules",
            "choose by path in \"rules\", or with \"rule\" or \"requirement\" in the metadata of the route",
        ),
        ("stat_prefix", "use \"instance\", which becomes a label of every metric"),
    ]);
    fields.finish();
    let providers = list.into_iter().collect::<Option<Vec<Rc<Provider>>>>()?;
    refuse_own_token_headers(&providers, report);
    refuse_bindings_to_own_headers(&rules, &providers, report);
    binding::check_required(&rules, &providers, report);
    introspection::check_rules(&rules, &providers, report);
    Some(Config {
        providers,
        rules: Rules::new(rules, ambiguous_paths),
        unmatched,
        bypass_cors_preflight,
        refuses_spoofed_headers,
        route_rules,
        requirements,
        require_tls,
        realm,
        instance,
        style,
        cors,
        protected_resources,
        limits,
        one_time,
        filter_state,
        audit,
        shared_data_secret,
        revocation,
        warnings: Vec::new(),
    })
}

/// The providers by their names, and what each says; none for one with an error.
fn providers<'a>(
    fields: &mut Fields<'a>,
    environment: Variables<'_>,
) -> (BTreeMap<&'a str, ProviderId>, Vec<Option<Rc<Provider>>>) {
    let providers = fields.required("providers", "name at least one trusted issuer");
    let mut names = BTreeMap::new();
    let mut list = Vec::new();
    for (name, item) in providers.and_then(|item| item.entries()).unwrap_or_default() {
        let id = ProviderId(list.len());
        names.insert(name, id);
        list.push(provider::read(id, name, &item, environment).map(Rc::new));
    }
    (names, list)
}

/// `rules` with all that says how they are read: `requirement_map`, `ambiguous_paths`, `public_rules`.
fn rules(
    fields: &mut Fields<'_>,
    providers: &requirement::Providers<'_>,
    route_rules: RouteRules,
) -> (Vec<Rule>, BTreeMap<String, Rc<Rule>>, AmbiguousPaths) {
    let named = fields.get("requirement_map").and_then(|item| requirement::read_map(&item, providers));
    let named = named.unwrap_or_default();
    let rules = match route_rules.is_on && !named.is_empty() {
        true => fields.get("rules"),
        false => fields.required("rules", "list at least one rule. If routes name requirements of \"requirement_map\" instead, leave \"route_rules\" on"),
    };
    let rules = rules.and_then(|item| item.list()).unwrap_or_default();
    let ambiguous_paths = rule::ambiguous_paths(fields).unwrap_or_default();
    let public = fields.choice(
        "public_rules",
        &[("implicit", rule::PublicRules::Implicit), ("explicit", rule::PublicRules::Explicit)],
        rule::PublicRules::Implicit,
    );
    let requirements = match route_rules.is_on {
        true => route_rules::requirements(&named, rules.len()),
        false => BTreeMap::new(),
    };
    (rule::read_all(&rules, providers, &named, ambiguous_paths, public), requirements, ambiguous_paths)
}

/// What becomes of requests that no rule matches.
fn unmatched(fields: &mut Fields<'_>, routes_alone: bool) -> Unmatched {
    let words = [("deny", Unmatched::Deny), ("allow", Unmatched::Allow)];
    let unmatched = fields.choice("unmatched", &words, Unmatched::Deny);
    if routes_alone && unmatched == Unmatched::Allow {
        fields.report.warning(
            &fields::join(&fields.path, "unmatched"),
            "is \"allow\" without \"rules\": a request of a route that names no requirement passes without a token",
        );
    }
    unmatched
}

fn require_tls(fields: &mut Fields<'_>) -> RequireTls {
    fields.choice(
        "require_tls",
        &[
            ("none", RequireTls::None),
            ("connection", RequireTls::Connection),
            ("forwarded_proto", RequireTls::ForwardedProto),
        ],
        RequireTls::None,
    )
}

/// The form of error responses.
fn style(fields: &mut Fields<'_>) -> Style {
    Style {
        body: fields.choice(
            "error_body",
            &[("problem", Body::Problem), ("text", Body::Text), ("none", Body::None)],
            Body::Problem,
        ),
        stripped: fields.bool("strip_failure_response", false),
    }
}

/// A header that tokens are read from is not written: what is written there would be judged.
fn refuse_own_token_headers(providers: &[Rc<Provider>], report: &Report) {
    for provider in providers {
        let read = |name: &&str| {
            providers
                .iter()
                .flat_map(|other| &other.locations)
                .filter_map(|place| place.header_name())
                .any(|place| same_header(place.as_bytes(), name.as_bytes()))
        };
        if let Some(name) = provider.outputs.names().find(read) {
            let path = fields::join("providers", &provider.name);
            report.error(
                &path,
                format!("writes the header {name:?}, but tokens are read from it, or from a header that some servers read as the same; choose another"),
            );
        }
    }
}

/// A realm is a quoted string in a header (RFC 9110 section 11.5).
fn realm(item: &Item<'_>) -> Option<String> {
    let text = item.text()?;
    if text.len() > 256 || !text.bytes().all(|byte| byte == b' ' || byte.is_ascii_graphic()) {
        item.error("must be at most 256 printable ASCII characters: it is sent in a header");
        return None;
    }
    Some(text.to_owned())
}

fn selection(item: &Item<'_>) -> Option<FilterStateFields> {
    let known: Vec<String> =
        FilterStateField::ALL.iter().map(|entry| format!("{:?}", entry.name())).collect();
    let mut selection = FilterStateFields::NONE;
    for item in item.list()? {
        let Some(text) = item.string() else { continue };
        match FilterStateField::ALL.into_iter().find(|entry| entry.name() == text) {
            Some(entry) => selection = selection.with(entry),
            None => item.error(format!("must be one of {}", known.join(", "))),
        }
    }
    Some(selection)
}

/// What a client sends under the name of a header that the filter writes is removed: a claim that must
/// equal it is bound to what nobody else sees.
fn refuse_bindings_to_own_headers(rules: &[Rule], providers: &[Rc<Provider>], report: &Report) {
    let written: Vec<&str> = providers.iter().flat_map(|provider| provider.outputs.names()).collect();
    for rule in rules {
        let places = rule.authorize.iter().flat_map(|authorize| authorize.clause().places());
        for place in places {
            if let RequestValue::Header(name) = place
                && written.iter().any(|own| same_header(own.as_bytes(), name.as_bytes()))
            {
                report.error(
                    &format!("rules[{}].authorize", rule.id.0),
                    format!(
                        "compares a claim with the header {name:?}, which a provider writes; choose another"
                    ),
                );
            }
        }
    }
}

#[cfg(test)]
mod pasted_tests;
#[cfg(test)]
mod tests;
