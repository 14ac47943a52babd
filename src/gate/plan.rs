//! What is computed from a rule when the configuration is read: the providers of its tokens, and where tokens are read from.

use std::rc::Rc;
use std::time::Duration;

use super::outcome::Allow;
use crate::config::{Config, Keys, Provider};
use crate::proof;
use crate::request::{Request, cookies, query, same_header};
use crate::rules::{Requirement, Rule};
use crate::token::{HeaderLocation, Location, ProviderId, SUBPROTOCOLS, Subprotocols};

/// What is computed from a rule.
#[derive(Debug)]
pub(super) struct RulePlan {
    /// The providers whose tokens it reads: those that it names, and then all others if it names none or allows a
    /// token to be missing.
    pub(super) providers: Vec<ProviderId>,
    /// Every provider, with the audiences that the rule asks for where it names the provider.
    pub(super) all_demands: Vec<(ProviderId, Option<Vec<String>>)>,
    /// How long a request may wait for keys and revocation lists in total.
    pub(super) max_wait: Duration,
    locations: TokenLocations,
}

/// The places of the tokens that a rule looks at.
#[derive(Clone, Debug, Default)]
struct TokenLocations {
    headers: Vec<(Rc<[u8]>, HeaderLocation)>,
    /// The headers among them whose names servers fold from other spellings.
    spelled: Vec<Rc<[u8]>>,
    subprotocols: Subprotocols,
    cookies: Vec<String>,
    params: Vec<String>,
    /// The fields with proofs and certificates of bound tokens.
    proofs: Vec<Rc<[u8]>>,
}

impl RulePlan {
    pub(super) fn new(rule: &Rule, config: &Config) -> Self {
        let mut ids = Vec::new();
        let mut all_demands = Vec::new();
        if let Some(requirement) = &rule.requires {
            requirement.collect_providers(&mut ids);
            let all = || (0..config.providers.len()).map(ProviderId);
            if requirement.looks_at_all() {
                let others: Vec<_> = all().filter(|id| !ids.contains(id)).collect();
                ids.extend(others);
                all_demands = all().flat_map(|id| demands_on(id, requirement)).collect();
            }
        }
        let providers = || ids.iter().filter_map(|id| config.provider(*id));
        let mut locations = TokenLocations::default();
        providers().for_each(|provider| locations.add(provider));
        let for_keys = |provider: &Rc<Provider>| match &provider.keys {
            Keys::Remote(remote) => remote.patience(),
            Keys::Local(_) | Keys::None => Duration::ZERO,
        };
        let for_keys = providers().map(for_keys).max().unwrap_or_default();
        let for_lists = if rule.ignores_revocation { Duration::ZERO } else { config.revocation.patience() };
        let asked = providers().filter_map(|provider| provider.introspection.as_ref());
        let for_answers = asked.map(|settings| settings.patience()).max().unwrap_or_default();
        let max_wait = for_keys.saturating_add(for_lists).saturating_add(for_answers);
        Self { providers: ids, all_demands, max_wait, locations }
    }

    /// The places of this rule where another server could find a token and the gate finds none, or another one.
    pub(super) fn ambiguity(&self, request: &Request<'_>) -> Option<&'static str> {
        let TokenLocations { spelled, cookies, params, .. } = &self.locations;
        if cookies::has_strays(request, cookies) {
            return Some("some servers would find another token in the cookies");
        }
        if !params.is_empty() && query::has_strays(request.target().unwrap_or_default(), params) {
            return Some("some servers would find another token in the query");
        }
        if !spelled.is_empty() && self.locations.has_other_spelling(request) {
            return Some("some servers would take another header for the one that carries the token");
        }
        None
    }

    /// Removes tokens from what is forwarded, except the accepted ones in `forwarded`. What is no token stays. So no token
    /// is forwarded that was not judged.
    pub(super) fn strip_tokens(&self, request: &Request<'_>, forwarded: &[&[u8]], allow: &mut Allow) {
        let stays = |value: &[u8]| forwarded.iter().any(|token| is_part(value, token));
        let TokenLocations { headers, subprotocols, cookies, params, proofs, .. } = &self.locations;
        for (name, place) in headers {
            let mut values = request.all(place.name());
            let goes = |value: &[u8]| !place.is_of_another_scheme(value) && !stays(value);
            if values.any(goes) && !allow.remove.contains(name) {
                allow.remove.push(Rc::clone(name));
            }
        }
        if forwarded.is_empty() {
            let is_there =
                |name: &&Rc<[u8]>| request.fields().iter().any(|(own, _)| own.eq_ignore_ascii_case(name));
            proofs.iter().filter(is_there).for_each(|name| allow.remove.push(Rc::clone(name)));
        }
        if let Some(left) = subprotocols.without(request, stays) {
            allow.left.push((SUBPROTOCOLS, left));
        }
        if !cookies.is_empty() {
            let is_ours = |name: &[u8]| cookies.iter().any(|own| own.as_bytes() == name);
            let left = cookies::without(request, |name, value| is_ours(name) && !stays(value));
            allow.left.extend(left.map(|left| ("cookie", left)));
        }
        if !params.is_empty() {
            let is_ours = |part: &[u8]| params.iter().any(|own| query::is_named(part, own));
            let goes = |part: &[u8]| is_ours(part) && !stays(query::value(part));
            allow.target = request.target().and_then(|target| query::without(target, goes));
        }
    }
}

/// The fields with proofs and certificates of a provider's bound tokens: a token of the scheme `DPoP` comes with a proof
/// (RFC 9449 section 4.1), and another proxy may have written the client's certificate.
pub(super) fn proof_fields(provider: &Provider) -> impl Iterator<Item = &str> {
    let accepts = |location: &Location| matches!(location, Location::Header(place) if place.accepts_dpop());
    let proof = provider.locations.iter().any(accepts).then_some(proof::FIELD);
    let certificate = provider.constraint.as_ref().and_then(|constraint| constraint.mtls?.field());
    proof.into_iter().chain(certificate)
}

/// What a requirement asks of the tokens of a provider: of one that it does not name, what the provider itself does.
fn demands_on(id: ProviderId, requirement: &Requirement) -> Vec<(ProviderId, Option<Vec<String>>)> {
    let mut demands = Vec::new();
    requirement.collect_demands(&mut demands);
    demands.retain(|(named, _)| *named == id);
    if demands.is_empty() {
        demands.push((id, None));
    }
    demands.into_iter().map(|(id, audiences)| (id, audiences.map(<[String]>::to_vec))).collect()
}

/// Whether a token is a part of this very value of the request, and not only of one like it.
fn is_part(value: &[u8], token: &[u8]) -> bool {
    let (value, token) = (value.as_ptr_range(), token.as_ptr_range());
    value.start <= token.start && token.end <= value.end
}

impl TokenLocations {
    fn add(&mut self, provider: &Provider) {
        for field in proof_fields(provider) {
            if !self.proofs.iter().any(|own| **own == *field.as_bytes()) {
                self.proofs.push(Rc::from(field.as_bytes()));
            }
        }
        for location in &provider.locations {
            match location {
                Location::Header(place) => {
                    if self.headers.iter().all(|(_, known)| known != place) {
                        let name = self.add_name(place.name());
                        self.headers.push((name, place.clone()));
                    }
                }
                Location::Subprotocols(place) => {
                    self.add_name(SUBPROTOCOLS);
                    self.subprotocols.add_all(place);
                }
                Location::Cookie(name) => add_once(&mut self.cookies, name),
                Location::Param(name) => add_once(&mut self.params, name),
            }
        }
    }

    /// Takes note of the name of a header.
    fn add_name(&mut self, name: &str) -> Rc<[u8]> {
        let name: Rc<[u8]> = Rc::from(name.as_bytes());
        if !name.iter().all(u8::is_ascii_alphanumeric) && !self.spelled.contains(&name) {
            self.spelled.push(Rc::clone(&name));
        }
        name
    }

    /// Whether the request has a field that some server reads as one of the headers, though it is none of them.
    fn has_other_spelling(&self, request: &Request<'_>) -> bool {
        let is_own = |name: &[u8]| self.spelled.iter().any(|own| own.eq_ignore_ascii_case(name));
        let is_like = |name: &[u8]| self.spelled.iter().any(|own| same_header(own, name));
        request.fields().iter().any(|(name, _)| is_like(name) && !is_own(name))
    }
}

fn add_once(names: &mut Vec<String>, name: &str) {
    if !names.iter().any(|own| own == name) {
        names.push(name.to_owned());
    }
}
