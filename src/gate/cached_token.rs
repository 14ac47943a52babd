//! A token that was verified, and all that was made of it so far.

use std::cell::{Cell, OnceCell, RefCell};
use std::rc::Rc;

use super::known::Kept;
use crate::config::Provider;
use crate::json::{Json, Text};
use crate::proof::{Confirmation, SingleUse};
use crate::reason::{Reason, Rejected};
use crate::revocation::{Identity, Reference};
use crate::rules::RuleId;
use crate::text::could_end_a_line;
use crate::time::Timestamp;
use crate::token::{Claims, Policy, Verified};
use crate::upstream::{ClaimHeader, Why};

/// A verified token with what follows from it: made once, used with every request that brings it.
#[derive(Debug)]
pub struct CachedToken {
    token: Verified,
    /// Whether it was made for the audiences of its provider.
    own_audience: bool,
    headers: Vec<(String, String)>,
    left_out: Vec<(usize, Why)>,
    /// Why it is rejected in any case: a required claim cannot become a header.
    unwritable: Option<Rejected>,
    /// What it is bound to (`cnf`, RFC 7800), if it is.
    confirmation: Option<Box<Confirmation>>,
    /// Whether the subject has a character that could end a line of a log.
    has_unsafe_subject: bool,
    scopes: OnceCell<String>,
    /// What the rules that look at the token alone decided. Few rules see one token.
    outcomes: RefCell<Vec<(RuleId, Result<(), Rejected>)>>,
    /// The names under which it can be revoked.
    identity: OnceCell<Result<Identity, Rejected>>,
    /// Where its status is.
    reference: OnceCell<Result<Option<Reference>, Rejected>>,
    checked: Cell<Option<Checked>>,
    /// Between which moments its time is known to be right: from the first on, and before the second.
    in_time: Cell<(Timestamp, Timestamp)>,
    /// Why the last check for revocation rejected it, if it did.
    revoked: RefCell<Option<Rejected>>,
    /// Whether it is what a provider answered, and not what a signature says.
    is_answer: bool,
    /// What other filters get of it: a serialized struct.
    #[cfg(feature = "native")]
    metadata: Option<Box<[u8]>>,
    /// What its provider says of it, where it was asked.
    introspected: RefCell<Option<Kept<Rc<CachedToken>>>>,
}

/// When a token was checked for revocation.
#[derive(Clone, Copy, Debug)]
struct Checked {
    /// The state of the sources by then.
    epoch: u64,
    /// When to check again, even if the sources have not changed.
    until: Timestamp,
    /// Whether it passed.
    passed: bool,
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
            unwritable: written.required.map(|output| {
                let ClaimHeader { claim, header, .. } = output;
                Reason::ClaimInvalid
                    .explained(format!("required claim {claim} cannot be written to the header {header:?}"))
            }),
            confirmation: Confirmation::of(token.claims().all()).map(Box::new),
            has_unsafe_subject: token
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
            in_time: Cell::default(),
            revoked: RefCell::default(),
            is_answer: false,
            #[cfg(feature = "native")]
            metadata: None,
            introspected: RefCell::default(),
        }
    }

    /// Makes what other filters get of it, where its provider writes metadata. `text` is the token.
    #[cfg(feature = "native")]
    pub(super) fn with_metadata(mut self, provider: &Provider, text: &[u8]) -> Self {
        let told = provider.metadata.as_ref().and_then(|own| own.of_token(self.claims().all(), text));
        self.metadata = told.map(Vec::into_boxed_slice);
        self
    }

    /// In the virtual machine no metadata can be written.
    #[cfg(not(feature = "native"))]
    pub(super) fn with_metadata(self, _: &Provider, _: &[u8]) -> Self {
        self
    }

    /// Whether other filters get it.
    pub(super) fn has_metadata(&self) -> bool {
        #[cfg(feature = "native")]
        return self.metadata.is_some();
        #[cfg(not(feature = "native"))]
        false
    }

    /// What other filters get of it: a serialized `google.protobuf.Struct`.
    #[cfg(feature = "native")]
    pub fn metadata(&self) -> Option<&[u8]> {
        self.metadata.as_deref()
    }

    /// What a provider answered of a token.
    pub(super) fn of_answer(answer: Verified, provider: &Provider) -> Self {
        let answer = Self { is_answer: true, ..Self::new(answer, provider) };
        // What was asked about need not be a token that has a header.
        answer.with_metadata(provider, b"")
    }

    /// Whether it is what a provider answered.
    pub(super) fn is_answer(&self) -> bool {
        self.is_answer
    }

    /// What its provider said of it, if what counts until then still does.
    pub(super) fn introspected(&self, counts: impl Fn(Timestamp) -> bool) -> Option<Kept<Rc<CachedToken>>> {
        self.introspected.borrow().as_ref().filter(|kept| counts(kept.until)).cloned()
    }

    /// Keeps what its provider says of it.
    pub(super) fn remember_introspection(&self, kept: Kept<Rc<CachedToken>>) {
        *self.introspected.borrow_mut() = Some(kept);
    }

    /// What the token claims.
    pub fn claims(&self) -> &Claims {
        self.token.claims()
    }

    /// Whether its time is right at `now`, by the policy of its provider: always the same for one token.
    ///
    /// # Errors
    /// Those of [`Policy::check_time`].
    pub(super) fn check_time(&self, policy: &Policy, now: Timestamp) -> Result<(), Rejected> {
        let (from, until) = self.in_time.get();
        if from <= now && now < until {
            return Ok(());
        }
        policy.check_time(self.claims(), now)?;
        self.in_time.set((now, policy.time_holds_until(self.claims()).unwrap_or(now)));
        Ok(())
    }

    /// The fingerprint of the key that verified it.
    pub fn key(&self) -> &[u8; 32] {
        self.token.key()
    }

    /// The header fields that it becomes.
    pub fn headers(&self) -> impl Iterator<Item = (&str, &str)> {
        self.headers.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// Which of its claims could not become headers, by the places of those headers in its provider, and why.
    pub(super) fn left_out(&self) -> &[(usize, Why)] {
        &self.left_out
    }

    /// Why it is rejected, where one of those is required.
    pub(super) fn unwritable(&self) -> Option<&Rejected> {
        self.unwritable.as_ref()
    }

    /// Whether it is bound to a key that its sender has to prove to possess (`cnf`, RFC 7800).
    pub(super) fn is_bound(&self) -> bool {
        self.confirmation.is_some()
    }

    /// What it is bound to, if it is.
    pub(super) fn confirmation(&self) -> Option<&Confirmation> {
        self.confirmation.as_deref()
    }

    /// What must not come again of it until then: its name among the tokens of its issuer (RFC 7519 section 4.1.7), or
    /// all that it claims, for one token can have several signatures. Of a token that its provider was asked about it is
    /// the text, without the signature where it has one: the next answer may say something else.
    pub(super) fn single_use(&self, provider: &Provider, text: &[u8], until: Timestamp) -> SingleUse {
        let claims = self.claims();
        let issuer = claims.issuer.as_deref();
        let name = if issuer.is_some() { "" } else { &provider.name };
        let (issuer, is_jwt) = (issuer.unwrap_or_default(), provider.leaves_claims_to_answers());
        match claims.all().get("jti").and_then(Json::as_str) {
            Some(jti) => SingleUse::new("jti", &[issuer, name, jti], until),
            None if self.is_answer() => {
                let text = String::from_utf8_lossy(text);
                let signed = text.rsplit_once('.').filter(|_| is_jwt).map(|(signed, _)| signed);
                SingleUse::new("text", &[issuer, name, signed.unwrap_or(&text)], until)
            }
            None => SingleUse::new("claims", &[issuer, name, &self.token.payload()], until),
        }
    }

    /// Whether its subject has a character that could end a line of a log.
    pub(super) fn has_unsafe_subject(&self) -> bool {
        self.has_unsafe_subject
    }

    /// Its scopes, separated by spaces. One with a space or a control character in it, which a list can have and no
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
    pub(super) fn check_audience(&self, provider: &Provider, own: Option<&[String]>) -> Result<(), Rejected> {
        let policy = &provider.policy;
        match own {
            None if self.own_audience => Ok(()),
            // By a rule's own audiences it was accepted, whatever is wrong with it by the provider's.
            None => policy
                .check_audience(self.claims(), &policy.audiences)
                .map_err(|rejected| Rejected { reason: Reason::AudienceMismatch, context: rejected.context }),
            Some(audiences) => policy.check_audience(self.claims(), audiences),
        }
    }

    /// The names under which it can be revoked, unless one of them cannot be read.
    pub(super) fn identity(&self) -> &Result<Identity, Rejected> {
        self.identity.get_or_init(|| Identity::read(self.claims()))
    }

    /// Where its status is, if it has one.
    pub(super) fn reference(&self) -> &Result<Option<Reference>, Rejected> {
        self.reference.get_or_init(|| Reference::read(self.claims()))
    }

    /// Whether the last check for revocation counts at `now`, by sources of this epoch, and what came of it.
    pub(super) fn checked(&self, epoch: u64, now: Timestamp) -> Option<Result<(), Rejected>> {
        let checked = self.checked.get().filter(|checked| checked.epoch == epoch && now < checked.until)?;
        if checked.passed {
            return Some(Ok(()));
        }
        self.revoked.borrow().clone().map(Err)
    }

    /// Keeps what came of a check for revocation by sources of this epoch, until then.
    pub(super) fn remember_check(&self, epoch: u64, until: Timestamp, outcome: &Result<(), Rejected>) {
        self.checked.set(Some(Checked { epoch, until, passed: outcome.is_ok() }));
        *self.revoked.borrow_mut() = outcome.as_ref().err().cloned();
    }

    /// What a rule that looks at nothing but the token decides: what was remembered, else what `decide`
    /// says.
    pub(super) fn outcome(
        &self,
        rule: RuleId,
        decide: impl FnOnce() -> Result<(), Rejected>,
    ) -> Result<(), Rejected> {
        if let Some((_, outcome)) = self.outcomes.borrow().iter().find(|(own, _)| *own == rule) {
            return outcome.clone();
        }
        let outcome = decide();
        let mut outcomes = self.outcomes.borrow_mut();
        if outcomes.len() < MAX_OUTCOMES {
            outcomes.push((rule, outcome.clone()));
        }
        outcome
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use super::*;
    use crate::config::Config;
    use crate::json;

    /// A token of these claims that was verified at some moment from `times`, where it can be at one.
    fn verified_at_any(
        claims: &str,
        policy: &Policy,
        provider: &Provider,
        mut times: impl Iterator<Item = u64>,
    ) -> Option<CachedToken> {
        let Json::Object(members) = json::parse(claims.as_bytes()).unwrap() else { panic!("{claims}") };
        times.find_map(|now| {
            let now = Timestamp::from_secs(now);
            let token = Verified::of_answer(Arc::from(claims), members.clone(), [0; 32], policy, now).ok()?;
            Some(CachedToken::new(token, provider))
        })
    }

    #[test]
    fn what_is_remembered_of_a_tokens_time_is_what_its_policy_says() {
        let config = r#"{"providers":{"p":{"local_jwks":{"inline_string":"{\"keys\":[{\"kty\":\"EC\",\"crv\":\"P-256\",\"x\":\"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU\",\"y\":\"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0\"}]}"}}},"rules":[]}"#;
        let config = Config::parse(config.as_bytes(), &|_| None).unwrap();
        let provider = &config.providers[0];
        let spans = [None, Some(Duration::from_secs(3)), Some(Duration::from_secs(7))];
        let mut compared = 0;
        for claims in [
            r#"{"exp":20}"#,
            r#"{"exp":20.5,"iat":10}"#,
            r#"{"exp":20,"nbf":12,"iat":10.25}"#,
            r#"{"iat":10}"#,
            r#"{"nbf":12}"#,
            r#"{"exp":9223372036854775807,"iat":10}"#,
            "{}",
        ] {
            for (max_age, max_lifetime, skew) in spans
                .iter()
                .flat_map(|age| spans.iter().flat_map(move |life| [0, 2].map(|skew| (*age, *life, skew))))
            {
                let clock_skew = Duration::from_secs(skew);
                let own = provider.policy.clone();
                let policy = Policy { max_age, max_lifetime, clock_skew, require_expiration: false, ..own };
                let Some(token) = verified_at_any(claims, &policy, provider, 0..40) else { continue };
                // Every moment after every other, half seconds between them.
                let moments: Vec<Timestamp> =
                    (0..60).map(|half| Timestamp::from_nanos(half * 500_000_000)).collect();
                for one in &moments {
                    for other in [one].into_iter().chain(&moments) {
                        let said = policy.check_time(token.claims(), *other);
                        assert_eq!(token.check_time(&policy, *other), said, "{claims} {policy:?} {other:?}");
                        compared += 1;
                    }
                }
            }
        }
        assert!(compared > 100_000, "{compared}");
    }
}
