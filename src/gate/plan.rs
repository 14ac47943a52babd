//! What follows from a rule before any request: whose tokens it looks for, where those are taken from.

use std::rc::Rc;
use std::time::Duration;

use super::outcome::Allow;
use crate::config::{Config, Keys, Provider};
use crate::request::Request;
use crate::rules::{ProviderId, Rule};
use crate::token::{Location, without_cookies, without_params};

/// What follows from a rule.
#[derive(Debug)]
pub(super) struct Plan {
    /// The providers that it names; all where it names none but looks for tokens.
    pub(super) providers: Vec<ProviderId>,
    /// How long a request may wait for their keys and for what withdraws their tokens.
    pub(super) patience: Duration,
    strip: Rc<Strip>,
}

/// The places from which tokens are taken away.
#[derive(Clone, Debug, Default)]
pub(super) struct Strip {
    headers: Vec<Rc<[u8]>>,
    cookies: Vec<String>,
    params: Vec<String>,
}

impl Plan {
    pub(super) fn new(rule: &Rule, config: &Config) -> Self {
        let mut ids = Vec::new();
        if let Some(requirement) = &rule.requires {
            requirement.collect_providers(&mut ids);
            if ids.is_empty() {
                ids.extend((0..config.providers.len()).map(ProviderId));
            }
        }
        let providers = || ids.iter().filter_map(|id| config.provider(*id));
        let mut strip = Strip::default();
        providers().filter(|provider| !provider.forward).for_each(|provider| strip.add(provider));
        let patience = |provider: &Rc<Provider>| match &provider.keys {
            Keys::Remote(remote) => remote.patience(),
            Keys::Local(_) => Duration::ZERO,
        };
        let patience = providers().map(patience).max().unwrap_or_default();
        let patience = patience.saturating_add(config.revocation.patience());
        Self { providers: ids, patience, strip: Rc::new(strip) }
    }

    /// Where tokens are taken from: the places of the rule's providers that keep them back, and those of
    /// every token that failed and was let through.
    pub(super) fn strip(&self, failed: impl Iterator<Item = ProviderId>, config: &Config) -> Rc<Strip> {
        let mut strip = Rc::clone(&self.strip);
        for provider in failed.filter_map(|id| config.provider(id)).filter(|provider| provider.forward) {
            Rc::make_mut(&mut strip).add(provider);
        }
        strip
    }
}

impl Strip {
    fn add(&mut self, provider: &Provider) {
        for location in &provider.locations {
            match location {
                Location::Header(_) => {
                    self.headers.extend(location.header_name().map(|name| Rc::from(name.as_bytes())));
                }
                Location::Cookie(name) => self.cookies.push(name.clone()),
                Location::Param(name) => self.params.push(name.clone()),
            }
        }
        self.headers.sort_unstable();
        self.headers.dedup();
    }

    /// Takes the tokens out of what goes on.
    pub(super) fn apply(&self, request: &Request<'_>, allow: &mut Allow) {
        let there = |name: &&Rc<[u8]>| request.fields().iter().any(|(own, _)| own.eq_ignore_ascii_case(name));
        allow.remove.extend(self.headers.iter().filter(there).map(Rc::clone));
        allow.cookie = without_cookies(request, &self.cookies);
        allow.target = request.target().and_then(|target| without_params(target, &self.params));
    }
}
