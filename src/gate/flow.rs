//! The way of one request through the gate, step by step.
//!
//! | step | what it does |
//! | --- | --- |
//! | `match_rule` | finds the rule that decides, by the request and by its route |
//! | `find_resource` | answers requests for metadata of protected resources, and finds the resource of any other |
//! | `meet_requirement` | asks for the tokens that the rule requires, each by the five steps that follow |
//! | `find_token` | takes the token from where the rule's provider has it |
//! | `authenticate` | is it verified: in the cache, or by its signature and claims |
//! | `check_proof` | does the request prove what the token asks its sender to prove |
//! | `check_revocation` | was it revoked |
//! | `introspect` | what its provider says of it, where it is to be asked |
//! | `authorize` | does it grant what the rule and the route ask for |
//! | `use_once` | uses up what may come once: proofs, one-time tokens; where the rule ends streams with their tokens, `streams` takes note of this one |
//! | `build_outcome` | what becomes of the request |
//!
//! A step that settles the outcome breaks off. The five steps of one token say instead what keeps it from being
//! accepted, since another token may meet the requirement.

use std::cell::OnceCell;
use std::ops::ControlFlow;
use std::rc::Rc;

use super::cached_token::CachedToken;
use super::outcome::{Allow, Outcome};
use super::trace::StepName;
use super::unmet::Obstacle;
use super::waiting::Waited;
use super::{Gate, StreamId};
use crate::config::Config;
use crate::proof::SingleUse;
use crate::reason::Rejected;
use crate::request::{Client, Request, RequestView};
use crate::response::ProtectedResource;
use crate::rules::{Mode, Rule, RuleId};
use crate::time::Timestamp;
use crate::token::ProviderId;

/// One request on its way.
pub(super) struct RequestFlow<'g, 'r> {
    pub(super) gate: &'g mut Gate,
    pub(super) config: &'g Config,
    pub(super) stream: StreamId,
    /// How long the request waited, if it did.
    pub(super) waited: Option<Waited>,
    pub(super) request: &'g Request<'r>,
    pub(super) now: Timestamp,
    pub(super) view: RequestView<'r>,
    /// The rule that decides.
    pub(super) rule: Option<Rc<Rule>>,
    /// The rule whose requirement is asked for, once that is known.
    pub(super) asks: Option<RuleId>,
    /// The requirement that its route named, which is asked for in place of the rule's.
    pub(super) requirement: Option<Rc<Rule>>,
    /// Whether the rule matches the request; otherwise its route named it.
    pub(super) is_matched: bool,
    /// The scopes that the route asks for.
    pub(super) route_scopes: Vec<String>,
    /// The protected resource that the request is for, where any is configured.
    pub(super) resource: Option<Rc<ProtectedResource>>,
    /// What becomes of the request where it passes.
    pub(super) allow: Allow,
    /// Who sent it, once that was asked.
    pub(super) client: OnceCell<Option<Client>>,
    /// For how many seconds more its tokens are refused that are not known.
    pub(super) blocked_for: Option<u64>,
    /// Whether a token failed in a way in which honest ones do not.
    pub(super) is_failure: bool,
    /// Why the first token was rejected that was there and was rejected.
    pub(super) failed: Option<Rejected>,
    /// Whether a provider may be asked for its token more than once, or its token is looked at again.
    pub(super) remembers: bool,
    /// What came of the providers' tokens that were asked for before.
    pub(super) results: Vec<(ProviderId, Result<Rc<CachedToken>, Obstacle>)>,
    /// The proofs that came with their tokens, none of which was used up yet.
    pub(super) proofs: Vec<(ProviderId, SingleUse)>,
}

impl<'g, 'r> RequestFlow<'g, 'r> {
    pub(super) fn new(
        gate: &'g mut Gate,
        config: &'g Config,
        (stream, waited): (StreamId, Option<Waited>),
        request: &'g Request<'r>,
        now: Timestamp,
    ) -> Self {
        let mut allow = Allow::default();
        if !gate.reserved.is_empty() {
            allow.remove = gate.reserved.among(request.fields()).into();
            allow.spoofed = !allow.remove.is_empty();
        }
        allow.state.selection = config.filter_state;
        Self {
            gate,
            config,
            stream,
            waited,
            request,
            now,
            view: config.rules.view(request),
            rule: None,
            asks: None,
            requirement: None,
            is_matched: false,
            route_scopes: Vec::new(),
            resource: None,
            allow,
            client: OnceCell::new(),
            blocked_for: None,
            is_failure: false,
            failed: None,
            remembers: false,
            results: Vec::new(),
            proofs: Vec::new(),
        }
    }

    /// Takes all steps. Where none of them settles the outcome, the request passes, changed as [`Self::allow`] says.
    pub(super) fn steps(&mut self) -> ControlFlow<Outcome> {
        self.gate.trace.begin(StepName::MatchRule, None);
        let rule = self.match_rule()?;
        self.find_resource()?;
        let requirement = self.requirement.take();
        let asks = requirement.as_ref().unwrap_or(&rule);
        self.asks = Some(asks.id);
        let plans = Rc::clone(&self.gate.plans);
        let plan = plans.get(asks.id.0);
        let accepted = self.meet_requirement(&rule, asks.requires.as_ref(), plan)?;
        self.gate.trace.begin(StepName::Authorize, accepted.first().map(|one| &*one.provider));
        self.authorize(&rule, plan, &accepted)?;
        match rule.stream_grace {
            Some(grace) => self.use_once_and_follow(&rule, plan, &accepted, grace)?,
            None if rule.one_time || !self.proofs.is_empty() => self.use_once(&rule, &accepted)?,
            None => {}
        }
        self.build_outcome(rule, plan, accepted);
        ControlFlow::Continue(())
    }

    /// Whether the request may wait: a rule that only reports says what there is.
    pub(super) fn may_wait(&self) -> bool {
        self.rule.as_ref().is_some_and(|rule| rule.mode == Mode::Enforce)
    }
}
