//! The step that uses up what may come once: proofs, and the tokens of rules that take each one time.
//!
//! It is the last before the outcome. A request that is refused for anything else uses nothing up, and a rule that only
//! reports uses up nothing either.

use std::ops::ControlFlow;
use std::rc::Rc;
use std::time::Duration;

use super::build_outcome::Refusal;
use super::flow::RequestFlow;
use super::outcome::{Accepted, Outcome};
use super::trace::StepName;
use crate::config::{Config, Provider};
use crate::fetch::Store;
use crate::proof::{Dpop, ReplayStore, RequiredProof, SingleUse, Used};
use crate::reason::{Detail, Reason, Rejected};
use crate::rules::{Mode, Rule};
use crate::time::Timestamp;

/// The tables of what came.
#[derive(Debug)]
pub(super) struct UsedUp {
    /// The proofs, where any provider takes them: of all providers, since one token may be that of several, and the rule,
    /// and with it the provider, can hang on what a proof does not say.
    proofs: Option<ReplayStore>,
    /// How long a proof may be good for after it came, where that depends on the provider.
    window: Option<Duration>,
    /// The tokens, where any rule takes them one time.
    tokens: Option<ReplayStore>,
}

impl UsedUp {
    pub(super) fn new(config: &Config) -> Self {
        let secret = config.shared_data_secret.as_ref().map(|secret| secret.0.as_str());
        let instance = config.instance.as_deref().unwrap_or_default();
        let taking = || config.providers.iter().filter_map(|provider| provider.dpop());
        let window = taking().map(Dpop::window).max();
        let entries = taking().fold(0usize, |all, dpop| all.saturating_add(dpop.replay_entries));
        let proofs = |window| ReplayStore::new(&["proofs", instance], entries, window, secret);
        let tokens = || {
            let skews = config.providers.iter().map(|provider| provider.policy.clock_skew);
            let window = config.one_time.max_lifetime.saturating_add(skews.max().unwrap_or_default());
            ReplayStore::new(&["tokens", instance], config.one_time.entries, window, secret)
        };
        Self {
            proofs: window.map(proofs),
            window: window.filter(|_| taking().nth(1).is_some()),
            tokens: config.rules.iter().any(|rule| rule.one_time).then(tokens),
        }
    }

    /// What must not come again, for as long as any provider could take it.
    pub(super) fn of_all(&self, proof: SingleUse, now: Timestamp) -> SingleUse {
        match self.window {
            Some(window) => proof.until_at_least(now.plus(window)),
            None => proof,
        }
    }
}

/// Something to be used up, and whose it is.
struct Due {
    provider: Rc<Provider>,
    what: SingleUse,
    is_token: bool,
}

impl RequestFlow<'_, '_> {
    /// Uses up the proofs and the tokens that were accepted. Breaks off where one came before.
    pub(super) fn use_once(&mut self, rule: &Rule, accepted: &[Accepted]) -> ControlFlow<Outcome> {
        match self.check_due(rule, accepted) {
            Ok(()) => ControlFlow::Continue(()),
            Err((rejected, provider)) => {
                self.allow.state.principal = accepted.first().map(|first| Rc::clone(&first.token));
                let refusal = Refusal { provider: Some(provider), verified: true, ..Refusal::new(rejected) };
                ControlFlow::Break(self.build_refusal(refusal))
            }
        }
    }

    fn check_due(&mut self, rule: &Rule, accepted: &[Accepted]) -> Result<(), (Rejected, Rc<Provider>)> {
        let Some(first) = accepted.first() else { return Ok(()) };
        self.gate.trace.begin(StepName::UseOnce, Some(&first.provider));
        let mut due: Vec<Due> = Vec::new();
        for one in accepted {
            let due_of = |what, is_token| Due { provider: Rc::clone(&one.provider), what, is_token };
            let proofs = self.proofs.iter().filter(|(own, _)| *own == one.provider.id);
            for (_, proof) in proofs {
                let proof = self.gate.used_up.of_all(proof.clone(), self.now);
                // Two providers may have accepted one token.
                if !due.iter().any(|due| due.what.is(&proof)) {
                    due.push(due_of(proof, false));
                }
            }
            if rule.one_time {
                let what = self.token_once(one).map_err(|rejected| (rejected, Rc::clone(&one.provider)))?;
                if !due.iter().any(|due| due.what.is(&what)) {
                    due.push(due_of(what, true));
                }
            }
        }
        let is_once = rule.one_time || rule.requires_proof == Some(RequiredProof::Dpop);
        // Whatever it says: several values, or another one, are as good as 1 (RFC 8470 section 5.1).
        if is_once && self.request.first("early-data").is_some() {
            return Err((EARLY, Rc::clone(&first.provider)));
        }
        if rule.mode == Mode::Report {
            return Ok(());
        }
        // Where one of several came before, the others stay as they are.
        if due.len() > 1 {
            due.iter().try_for_each(|due| {
                self.table_says(due, |table, store, now| table.look(store, &due.what, now))
            })?;
        }
        due.iter()
            .try_for_each(|due| self.table_says(due, |table, store, now| table.burn(store, &due.what, now)))
    }

    /// What must not come again of a token, which may be good for no longer than it is remembered.
    fn token_once(&self, one: &Accepted) -> Result<SingleUse, Rejected> {
        const ENDLESS: Rejected = Reason::ExpirationMissing
            .because("the rule takes each token one time, and this one has no \"exp\"");
        let expires = one.token.claims().expires.ok_or(ENDLESS)?;
        let limit = self.config.one_time.max_lifetime;
        if expires.since(self.now) > limit {
            let setting = "max_lifetime of one_time";
            let date = Detail::Date { claim: "exp", value: expires, now: self.now, setting, limit };
            return Err(Reason::LifetimeExceeded.with(date));
        }
        let until = expires.plus(one.provider.policy.clock_skew);
        let credential = self.credential(one.provider.id).ok_or(Reason::TokenMissing)?;
        Ok(one.token.single_use(&one.provider, &credential.token(), until))
    }

    fn table_says(
        &self,
        due: &Due,
        ask: impl FnOnce(&ReplayStore, &dyn Store, Timestamp) -> Used,
    ) -> Result<(), (Rejected, Rc<Provider>)> {
        let used_up = &self.gate.used_up;
        let table = if due.is_token { used_up.tokens.as_ref() } else { used_up.proofs.as_ref() };
        let rejected = match table.map_or(Used::Full, |table| ask(table, &*self.gate.store, self.now)) {
            Used::First => return Ok(()),
            Used::Again if due.is_token => Reason::Replayed.into(),
            Used::Again => Reason::ProofReplayed.into(),
            Used::Full if due.is_token => Reason::Overloaded.because(
                "no more tokens can be remembered (\"entries\" of one_time), or the workers share nothing",
            ),
            Used::Full => Reason::Overloaded.because(
                "no more proofs can be remembered (\"replay_entries\" of dpop), or the workers share nothing",
            ),
        };
        Err((rejected, Rc::clone(&due.provider)))
    }
}

const EARLY: Rejected =
    Reason::EarlyData.because("it came in TLS early data, which can be sent again by whoever saw it");
