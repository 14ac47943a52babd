//! What follows from a rule before any request: whose tokens it looks for, where those are taken from.

use std::rc::Rc;
use std::time::Duration;

use super::outcome::Allow;
use crate::config::{Config, Keys, Provider};
use crate::request::{Request, cookies, query, same_header};
use crate::rules::{Requirement, Rule};
use crate::token::{HeaderPlace, Location, ProviderId};

/// What follows from a rule.
#[derive(Debug)]
pub(super) struct RulePlan {
    /// The providers whose tokens it looks at: those that it names, and then all where it names none or allows any
    /// token to be missing.
    pub(super) providers: Vec<ProviderId>,
    /// Every provider, with the audiences that the rule asks for where it names the provider.
    pub(super) everyone: Vec<(ProviderId, Option<Vec<String>>)>,
    /// How long a request may wait for their keys and for what withdraws their tokens.
    pub(super) patience: Duration,
    places: TokenLocations,
}

/// The places of the tokens that a rule looks at.
#[derive(Clone, Debug, Default)]
struct TokenLocations {
    headers: Vec<(Rc<[u8]>, HeaderPlace)>,
    /// Those of the headers whose names servers fold from other spellings.
    spelled: Vec<Rc<[u8]>>,
    cookies: Vec<String>,
    params: Vec<String>,
}

impl RulePlan {
    pub(super) fn new(rule: &Rule, config: &Config) -> Self {
        let mut ids = Vec::new();
        let mut everyone = Vec::new();
        if let Some(requirement) = &rule.requires {
            requirement.collect_providers(&mut ids);
            let all = || (0..config.providers.len()).map(ProviderId);
            if requirement.looks_at_all() {
                let others: Vec<_> = all().filter(|id| !ids.contains(id)).collect();
                ids.extend(others);
                everyone = all().flat_map(|id| demands_on(id, requirement)).collect();
            }
        }
        let providers = || ids.iter().filter_map(|id| config.provider(*id));
        let mut places = TokenLocations::default();
        providers().for_each(|provider| places.add(provider));
        let patience = |provider: &Rc<Provider>| match &provider.keys {
            Keys::Remote(remote) => remote.patience(),
            Keys::Local(_) => Duration::ZERO,
        };
        let patience = providers().map(patience).max().unwrap_or_default();
        let patience = patience.saturating_add(config.revocation.patience());
        Self { providers: ids, everyone, patience, places }
    }

    /// Whether some server could find a token in the places of this rule where the gate finds none, or another one.
    pub(super) fn is_ambiguous(&self, request: &Request<'_>) -> bool {
        let TokenLocations { spelled, cookies, params, .. } = &self.places;
        cookies::has_strays(request, cookies)
            || (!params.is_empty() && query::has_strays(request.target().unwrap_or_default(), params))
            || (!spelled.is_empty() && self.places.has_other_spelling(request))
    }

    /// Empties the places of tokens in what goes on, but for the tokens that may travel, and what belongs to no token
    /// at all. So nothing travels that was not judged.
    pub(super) fn empty_places(&self, request: &Request<'_>, travelling: &[&[u8]], allow: &mut Allow) {
        let may_travel = |place: &[u8]| travelling.iter().any(|token| holds(place, token));
        let TokenLocations { headers, cookies, params, .. } = &self.places;
        for (name, place) in headers {
            let mut values = request.all(place.name());
            let goes = |value: &[u8]| !place.is_of_another_scheme(value) && !may_travel(value);
            if values.any(goes) && !allow.remove.contains(name) {
                allow.remove.push(Rc::clone(name));
            }
        }
        if !cookies.is_empty() {
            let is_ours = |name: &[u8]| cookies.iter().any(|own| own.as_bytes() == name);
            allow.cookie = cookies::without(request, |name, value| is_ours(name) && !may_travel(value));
        }
        if !params.is_empty() {
            let is_ours = |part: &[u8]| params.iter().any(|own| query::is_named(part, own));
            let goes = |part: &[u8]| is_ours(part) && !may_travel(query::value(part));
            allow.target = request.target().and_then(|target| query::without(target, goes));
        }
    }
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

/// Whether a token is a part of this very text of the request.
fn holds(place: &[u8], token: &[u8]) -> bool {
    let (place, token) = (place.as_ptr_range(), token.as_ptr_range());
    place.start <= token.start && token.end <= place.end
}

impl TokenLocations {
    fn add(&mut self, provider: &Provider) {
        for location in &provider.locations {
            match location {
                Location::Header(place) => {
                    if self.headers.iter().any(|(_, known)| known == place) {
                        continue;
                    }
                    let name: Rc<[u8]> = Rc::from(place.name().as_bytes());
                    if !name.iter().all(u8::is_ascii_alphanumeric) {
                        self.spelled.push(Rc::clone(&name));
                    }
                    self.headers.push((name, place.clone()));
                }
                Location::Cookie(name) => add_once(&mut self.cookies, name),
                Location::Param(name) => add_once(&mut self.params, name),
            }
        }
    }

    /// Whether the request has a field that some server takes for one of the headers, and that is none of them.
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
