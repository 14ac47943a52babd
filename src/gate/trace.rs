//! What the steps of a request's way saw, for who asks why: the tool's `explain`.
//!
//! It is kept with the feature `explain` alone, and by a gate that was asked to. In the filter a [`Trace`] is nothing, what would be told is never made,
//! and every call here is gone once it is compiled.

use crate::config::Provider;
use crate::reason::Rejected;

/// A step of `flow.rs`, by its name there.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum StepName {
    /// Which rule decides.
    MatchRule,
    /// Which protected resource the request is for.
    FindResource,
    /// Where the token is.
    FindToken,
    /// Whether it is verified.
    Authenticate,
    /// Whether its sender proves to be who it was issued to.
    CheckProof,
    /// Whether it was revoked.
    CheckRevocation,
    /// What its provider says of it.
    Introspect,
    /// Whether it grants what is asked for.
    Authorize,
    /// Whether it, or its proof, was used before.
    UseOnce,
}

impl StepName {
    /// Its name, as `flow.rs` has it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::MatchRule => "match_rule",
            Self::FindResource => "find_resource",
            Self::FindToken => "find_token",
            Self::Authenticate => "authenticate",
            Self::CheckProof => "check_proof",
            Self::CheckRevocation => "check_revocation",
            Self::Introspect => "introspect",
            Self::Authorize => "authorize",
            Self::UseOnce => "use_once",
        }
    }
}

/// A step that was taken.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Step {
    /// Which one.
    pub name: StepName,
    /// The provider whose token it was about.
    pub provider: Option<String>,
    /// What came of it.
    pub outcome: StepOutcome,
    /// What it looked at, in its order.
    pub checks: Vec<Check>,
}

/// What came of a step.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum StepOutcome {
    /// The next one was taken.
    Passed,
    /// For this reason the request or its token went no further.
    Failed(Rejected),
    /// The request waits for what is fetched.
    Waits,
}

/// One thing that a step looked at.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Check {
    /// What was looked at: a member of the configuration, or a part of the token.
    pub what: String,
    /// What was seen, or why it does not do. The words may name parts of the configuration and of the request, and are
    /// for the operator alone.
    pub outcome: Result<String, Rejected>,
}

impl Check {
    /// Something that was seen.
    pub fn seen(what: impl Into<String>, text: impl Into<String>) -> Self {
        Self { what: what.into(), outcome: Ok(text.into()) }
    }
}

/// The steps that were taken, while somebody wants to know.
#[derive(Default, Debug)]
pub(super) struct Trace {
    #[cfg(feature = "explain")]
    steps: Option<Vec<Step>>,
}

#[cfg(feature = "explain")]
impl Trace {
    /// From here on steps are kept.
    pub(super) fn keep(&mut self) {
        self.steps.get_or_insert_default();
    }

    /// A step begins.
    pub(super) fn begin(&mut self, name: StepName, provider: Option<&Provider>) {
        if let Some(steps) = &mut self.steps {
            let provider = provider.map(|provider| provider.name.clone());
            steps.push(Step { name, provider, outcome: StepOutcome::Passed, checks: Vec::new() });
        }
    }

    fn last(&mut self) -> Option<&mut Step> {
        self.steps.as_mut()?.last_mut()
    }

    /// The step that was begun last saw this.
    pub(super) fn saw<C: IntoIterator<Item = Check>>(&mut self, checks: impl FnOnce() -> C) {
        if let Some(step) = self.last() {
            step.checks.extend(checks());
        }
    }

    /// The step that was begun last went no further.
    pub(super) fn failed(&mut self, rejected: &Rejected) {
        self.end(|| StepOutcome::Failed(rejected.clone()));
    }

    /// The step that was begun last waits.
    pub(super) fn waits(&mut self) {
        self.end(|| StepOutcome::Waits);
    }

    fn end(&mut self, outcome: impl FnOnce() -> StepOutcome) {
        if let Some(step) = self.last().filter(|step| step.outcome == StepOutcome::Passed) {
            step.outcome = outcome();
        }
    }

    /// The steps of the last request, or all since they were taken last.
    pub(super) fn take(&mut self) -> Vec<Step> {
        self.steps.as_mut().map(std::mem::take).unwrap_or_default()
    }
}

#[cfg(not(feature = "explain"))]
impl Trace {
    #[inline(always)]
    pub(super) fn begin(&mut self, _: StepName, _: Option<&Provider>) {}

    #[inline(always)]
    pub(super) fn saw<C: IntoIterator<Item = Check>>(&mut self, _: impl FnOnce() -> C) {}

    #[inline(always)]
    pub(super) fn failed(&mut self, _: &Rejected) {}

    #[inline(always)]
    pub(super) fn waits(&mut self) {}
}
