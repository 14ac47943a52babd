//! A token that was verified, and all that was made of it so far.

use std::cell::{Cell, OnceCell, RefCell};

use crate::config::Provider;
use crate::json::Text;
use crate::reason::Reason;
use crate::revocation::{Identity, Reference};
use crate::rules::RuleId;
use crate::time::Timestamp;
use crate::token::{Claims, Verified};

/// A token that held, with what follows from it: made once, used with every request that brings it.
#[derive(Debug)]
pub struct CachedToken {
    token: Verified,
    /// Whether it was made for the audiences of its provider.
    own_audience: bool,
    headers: Vec<(String, String)>,
    left_out: usize,
    lacks_required: bool,
    /// Whether the subject has a character that could end a line of a log.
    tears_lines: bool,
    scopes: OnceCell<String>,
    /// What the rules that look at the token alone decided. Few rules see one token.
    outcomes: RefCell<Vec<(RuleId, Result<(), Reason>)>>,
    /// The names under which it can be withdrawn.
    identity: OnceCell<Result<Identity, Reason>>,
    /// Where its status stands.
    reference: OnceCell<Result<Option<Reference>, Reason>>,
    checked: Cell<Option<Checked>>,
}

/// What was found out about whether a token was withdrawn.
#[derive(Clone, Copy, Debug)]
pub(super) struct Checked {
    /// What the sources had said by then.
    pub(super) epoch: u64,
    /// When to find out anew, even if they say nothing new.
    pub(super) until: Timestamp,
    pub(super) said: Result<(), Reason>,
}

/// Control characters, and the two of Unicode that end a line or a paragraph.
pub(super) fn could_end_a_line(c: char) -> bool {
    c.is_control() || matches!(c, '\u{2028}' | '\u{2029}')
}

/// How many rules' outcomes are remembered.
const MAX_OUTCOMES: usize = 16;

impl CachedToken {
    pub(super) fn new(token: Verified, provider: &Provider) -> Self {
        let own_audience = provider.policy.check_audience(token.claims(), &provider.policy.audiences).is_ok();
        let written = provider.outputs.headers(&token);
        Self {
            own_audience,
            headers: written.headers.into_iter().map(|(name, value)| (name.to_owned(), value)).collect(),
            left_out: written.left_out,
            lacks_required: written.lacks_required,
            tears_lines: token
                .claims()
                .subject
                .as_deref()
                .is_some_and(|subject| subject.contains(could_end_a_line)),
            token,
            scopes: OnceCell::new(),
            outcomes: RefCell::default(),
            identity: OnceCell::new(),
            reference: OnceCell::new(),
            checked: Cell::new(None),
        }
    }

    /// What the token claims.
    pub fn claims(&self) -> &Claims {
        self.token.claims()
    }

    /// The fingerprint of the key that verified it.
    pub fn key(&self) -> &[u8; 32] {
        self.token.key()
    }

    /// The headers that tell the upstream of it.
    pub fn headers(&self) -> impl Iterator<Item = (&str, &str)> {
        self.headers.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// How many claims are there and could not become headers.
    pub fn left_out(&self) -> usize {
        self.left_out
    }

    /// Whether one of those is required.
    pub fn lacks_required(&self) -> bool {
        self.lacks_required
    }

    /// Whether its subject has a character that could end a line of a log.
    pub fn tears_lines(&self) -> bool {
        self.tears_lines
    }

    /// Its scopes, separated by blanks. One with a blank or a control character in it, which a list can have and no
    /// scope has (RFC 6749 section 3.3), is left out: it would read as two.
    pub fn scopes(&self) -> &str {
        self.scopes.get_or_init(|| {
            let mut all = String::new();
            let reads_as_one =
                |scope: &&Text| !scope.contains(|c| char::is_whitespace(c) || could_end_a_line(c));
            for scope in self.claims().scopes.iter().filter(reads_as_one) {
                if !all.is_empty() {
                    all.push(' ');
                }
                all.push_str(scope);
            }
            all
        })
    }

    /// Whether it was made for one of a rule's audiences, or of its provider's where the rule has none.
    pub(super) fn check_audience(&self, provider: &Provider, own: Option<&[String]>) -> Result<(), Reason> {
        match own {
            None if self.own_audience => Ok(()),
            None => Err(Reason::AudienceMismatch),
            Some(audiences) => provider.policy.check_audience(self.claims(), audiences),
        }
    }

    /// The names under which it can be withdrawn, unless one of them cannot be read.
    pub(super) fn identity(&self) -> &Result<Identity, Reason> {
        self.identity.get_or_init(|| Identity::read(self.claims()))
    }

    /// Where its status stands, if it has one.
    pub(super) fn reference(&self) -> &Result<Option<Reference>, Reason> {
        self.reference.get_or_init(|| Reference::read(self.claims()))
    }

    /// What was found out last about whether it was withdrawn.
    pub(super) fn checked(&self) -> Option<Checked> {
        self.checked.get()
    }

    pub(super) fn remember(&self, checked: Checked) {
        self.checked.set(Some(checked));
    }

    /// What a rule that looks at nothing but the token decides: what was remembered, else what `decide`
    /// says.
    pub(super) fn outcome(
        &self,
        rule: RuleId,
        decide: impl FnOnce() -> Result<(), Reason>,
    ) -> Result<(), Reason> {
        if let Some((_, outcome)) = self.outcomes.borrow().iter().find(|(own, _)| *own == rule) {
            return *outcome;
        }
        let outcome = decide();
        let mut outcomes = self.outcomes.borrow_mut();
        if outcomes.len() < MAX_OUTCOMES {
            outcomes.push((rule, outcome));
        }
        outcome
    }
}
