//! What a provider's tokens must say to be believed.

use std::borrow::Cow;
use std::time::Duration;

use super::reading::{ClaimSet, ClaimValue, Outline};
use super::reading::{MIXED_LIST, wrong_type};
use super::{Bindings, ClaimPath, Claims, Condition, Grants, Header, Issuer, Unverified, Wanted};
use crate::crypto::{Algorithm, AlgorithmSet};
use crate::json::{Json, Object};
use crate::reason::{Detail, Reason, Rejected, excerpt, excerpts};
use crate::text::TextMatch;
use crate::time::Timestamp;

/// A provider's demands on its tokens, besides a signature.
#[derive(Clone, Debug)]
pub struct Policy {
    /// `iss` (RFC 7519 section 4.1.1) is one of these; none: not checked.
    pub issuers: Vec<Issuer>,
    /// The audience claim (RFC 7519 section 4.1.3) holds one of these; none: not checked.
    pub audiences: Vec<String>,
    /// The first of these claims that is there is the audience claim.
    pub audience_claims: Vec<ClaimPath>,
    /// How audiences are compared.
    pub audience_match: AudienceMatch,
    /// A condition on `sub` (RFC 7519 section 4.1.2).
    pub subjects: Option<TextMatch>,
    /// `alg` is one of these (RFC 8725 section 3.1).
    pub algorithms: AlgorithmSet,
    /// `typ` is one of these (RFC 8725 section 3.11).
    pub token_types: TokenTypes,
    /// Whether a token with `cnf` is refused: it is bound to a key (RFC 7800) that its sender has not
    /// shown to hold.
    pub reject_bound: bool,
    /// By how much clocks may differ; at most five minutes.
    pub clock_skew: Duration,
    /// Whether `exp` (RFC 7519 section 4.1.4) must be there.
    pub require_expiration: bool,
    /// How long a token may be good for from now on: `exp` less the time.
    pub max_lifetime: Option<Duration>,
    /// How long ago it may have been issued: the time less `iat` (RFC 7519 section 4.1.6).
    pub max_age: Option<Duration>,
    /// Claims that must be there and not null.
    pub required_claims: Vec<ClaimPath>,
    /// Conditions that the claims must meet, on the token alone: each claim must be there, but where its absence is what
    /// is asked for.
    pub required_conditions: Vec<Condition>,
    /// The longest token that is read, in bytes of its compact serialization.
    pub max_token_size: usize,
    /// The claims that hold scopes (RFC 6749 section 3.3) and roles.
    pub grants: Grants,
    /// The claims that a first look at a token keeps.
    pub wanted: Wanted,
}

/// How audiences are compared.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum AudienceMatch {
    /// To the letter (RFC 7519 section 4.1.3)
    Exact,
    /// As `jwt_authn` does: a leading `http://` or `https://` and one trailing `/` do not count
    Normalized,
}

/// The accepted values of `typ` (RFC 8725 section 3.11).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TokenTypes {
    /// Whether it may be absent.
    pub absent: bool,
    /// The values, each as [`normal_type`](super::normal_type) has it.
    pub names: Vec<String>,
}

impl Default for TokenTypes {
    /// Absent, `JWT` or `at+jwt` (RFC 9068): no other kind of JWT passes for an access token.
    fn default() -> Self {
        Self { absent: true, names: vec!["jwt".to_owned(), "at+jwt".to_owned()] }
    }
}

impl Policy {
    /// Every check that needs no key and costs little, cheapest first, by what a first look showed. `audiences` are
    /// those to ask for, which a rule may have of its own. [`Self::check_claims`] asks all of it again once the
    /// signature is verified, and what is left out here: expressions on `sub`, required claims that are members of
    /// others, and conditions.
    ///
    /// # Errors
    /// The first check that fails.
    pub fn check(
        &self,
        token: &Unverified<'_>,
        audiences: &[String],
        now: Timestamp,
    ) -> Result<(), Rejected> {
        self.check_header(token.header())?;
        match self.check_outline(token, audiences, now) {
            // What seems to be missing may be there under a name with escapes.
            Err(rejected) if token.outline.is_partial() && self.could_differ(rejected.reason, token) => {
                Ok(())
            }
            checked => checked,
        }
    }

    /// Whether a claim that the first look did not see could have led to another result.
    fn could_differ(&self, reason: Reason, token: &Unverified<'_>) -> bool {
        match reason {
            Reason::IssuerUnknown => {
                let from_claims = |issuer: &Issuer| issuer.claims().next().is_some();
                token.registered.issuer.is_none() || self.issuers.iter().any(from_claims)
            }
            Reason::ExpirationMissing
            | Reason::AudienceMismatch
            | Reason::SubjectMismatch
            | Reason::ClaimInvalid
            | Reason::ClaimMissing => true,
            _ => false,
        }
    }

    fn check_outline(
        &self,
        token: &Unverified<'_>,
        audiences: &[String],
        now: Timestamp,
    ) -> Result<(), Rejected> {
        let claims = &token.registered;
        self.check_issuer(claims.issuer.as_deref(), &token.outline)?;
        check_events(&token.outline)?;
        self.check_dates((claims.expires, claims.not_before, claims.issued), now)?;
        self.check_short_audience(&token.outline, audiences)?;
        if !self.subjects.as_ref().is_some_and(TextMatch::is_regex) {
            self.check_subject(claims.subject.as_deref())?;
        }
        let lacks = |claim: &&ClaimPath| {
            let mut there = claim.claims().filter_map(|name| token.outline.claim(name));
            !there.any(|value| !value.is_null())
        };
        self.required_claims.iter().find(lacks).map_or(Ok(()), |claim| Err(missing(claim)))?;
        self.check_bound(&token.outline)
    }

    /// Whether a token needs this claim.
    pub fn requires(&self, claim: &ClaimPath) -> bool {
        let conditions = self.required_conditions.iter().filter(|condition| !condition.is_of_absence());
        self.required_claims.contains(claim) || conditions.map(|own| &own.claim).any(|own| own == claim)
    }

    /// Every check of what a provider answered of a token, but that of its audience, which a rule may have of its own. The
    /// issuer is compared where the answer has one (RFC 7662 section 2.2).
    ///
    /// # Errors
    /// The first check that fails.
    pub fn check_answer(&self, claims: &Claims, now: Timestamp) -> Result<(), Rejected> {
        if claims.issuer.is_some() {
            self.check_issuer(claims.issuer.as_deref(), claims.all())?;
        }
        check_events(claims.all())?;
        self.check_time(claims, now)?;
        self.check_subject(claims.subject.as_deref())?;
        self.check_required(claims.all())?;
        self.check_bound(claims.all())
    }

    pub(super) fn check_required(&self, claims: &Object) -> Result<(), Rejected> {
        let is_there =
            |claim: &ClaimPath| claim.find(claims).is_some_and(|value| !matches!(value, Json::Null));
        if let Some(claim) = self.required_claims.iter().find(|claim| !is_there(claim)) {
            return Err(missing_in(claim, claims));
        }
        let is_met = |condition: &&Condition| {
            condition.holds(claims, &NoRequest) && (condition.is_of_absence() || is_there(&condition.claim))
        };
        match self.required_conditions.iter().find(|condition| !is_met(condition)) {
            Some(condition) => Err(unmet(condition, claims)),
            None => Ok(()),
        }
    }

    /// The subject itself is never named: the operator may have hidden it.
    pub(super) fn check_subject(&self, subject: Option<&str>) -> Result<(), Rejected> {
        match &self.subjects {
            Some(subjects) if !subject.is_some_and(|sub| subjects.holds(sub)) => Err(Reason::SubjectMismatch
                .with(Detail::NotAccepted {
                    what: "claim \"sub\"".to_owned(),
                    found: subject.map(|_| ANOTHER.to_owned()),
                    accepted: subjects.to_string(),
                })),
            _ => Ok(()),
        }
    }

    pub(super) fn check_bound<C: ClaimSet>(&self, claims: &C) -> Result<(), Rejected> {
        if self.reject_bound && claims.claim("cnf").is_some() {
            return Err(BOUND);
        }
        Ok(())
    }

    /// The checks of the header alone.
    ///
    /// # Errors
    /// [`Reason::AlgorithmNotAllowed`], [`Reason::TypeNotAllowed`].
    pub fn check_header(&self, header: &Header) -> Result<(), Rejected> {
        if !self.algorithms.contains(header.algorithm) {
            return Err(self.algorithm_not_allowed(header));
        }
        let typ_fits = match &header.typ {
            None => self.token_types.absent,
            Some(typ) => self.token_types.names.contains(typ),
        };
        if typ_fits { Ok(()) } else { Err(self.type_not_allowed(header)) }
    }

    #[cold]
    fn algorithm_not_allowed(&self, header: &Header) -> Rejected {
        let names: Vec<_> = self.algorithms.iter().map(Algorithm::name).collect();
        Reason::AlgorithmNotAllowed.with(Detail::NotAccepted {
            what: "alg".to_owned(),
            found: Some(excerpt(header.algorithm.name())),
            accepted: names.join(", "),
        })
    }

    #[cold]
    fn type_not_allowed(&self, header: &Header) -> Rejected {
        let TokenTypes { absent, names } = &self.token_types;
        let absent = absent.then_some("absent");
        Reason::TypeNotAllowed.with(Detail::NotAccepted {
            what: "typ".to_owned(),
            found: header.typ.as_deref().map(excerpt),
            accepted: excerpts(absent.into_iter().chain(names.iter().map(String::as_str))),
        })
    }

    pub(super) fn check_issuer<C: ClaimSet>(&self, issuer: Option<&str>, claims: &C) -> Result<(), Rejected> {
        if self.issuers.is_empty() {
            return Ok(());
        }
        match issuer {
            Some(iss) if self.issuers.iter().any(|own| own.is(iss, claims)) => Ok(()),
            _ => Err(self.issuer_unknown(issuer)),
        }
    }

    #[cold]
    fn issuer_unknown(&self, issuer: Option<&str>) -> Rejected {
        let accepted: Vec<_> = self.issuers.iter().map(Issuer::text).collect();
        Reason::IssuerUnknown.with(Detail::NotAccepted {
            what: "claim \"iss\"".to_owned(),
            // What a claim says is for no log.
            found: issuer.map(|_| ANOTHER.to_owned()),
            accepted: excerpts(accepted.iter().map(|text| &**text)),
        })
    }

    /// RFC 7519 section 4.1.3, over the first audience claim that is there. No `audiences`: not checked.
    ///
    /// # Errors
    /// [`Reason::AudienceMismatch`], and [`Reason::ClaimInvalid`] for a claim of a wrong type.
    pub fn check_audience(&self, claims: &Claims, audiences: &[String]) -> Result<(), Rejected> {
        if audiences.is_empty() {
            return Ok(());
        }
        let mut present =
            self.audience_claims.iter().filter_map(|path| Some((path, path.find(claims.all())?)));
        let Some((path, claim)) = present.next() else { return Err(self.no_audience(audiences)) };
        let is_accepted = match claim {
            Json::String(one) => self.is_one_of(one, audiences),
            Json::Array(many) if many.iter().any(|audience| audience.as_str().is_none()) => {
                return Err(wrong_type(path, MIXED_LIST, AUDIENCE));
            }
            Json::Array(few) if few.len() <= FEW => {
                few.iter().filter_map(Json::as_str).any(|one| self.is_one_of(one, audiences))
            }
            // Many of the token's are compared with all of ours in n log n steps.
            Json::Array(many) => {
                let mut sorted: Vec<&str> = audiences.iter().map(|own| self.compared(own)).collect();
                sorted.sort_unstable();
                let mut theirs = many.iter().filter_map(Json::as_str);
                theirs.any(|one| sorted.binary_search(&self.compared(one)).is_ok())
            }
            other => return Err(wrong_type(path, other.kind(), AUDIENCE)),
        };
        if is_accepted {
            return Ok(());
        }
        let is_empty = claim.as_array().is_some_and(|list| list.is_empty());
        Err(audience_mismatch(&path, Some(is_empty), audiences))
    }

    /// The same as far as it costs little: a long list, or one with escapes, is left to [`Self::check_audience`].
    fn check_short_audience(&self, claims: &Outline, audiences: &[String]) -> Result<(), Rejected> {
        if audiences.is_empty() {
            return Ok(());
        }
        let mut present = self.audience_claims.iter().filter_map(|path| Some((path, path.find_in(claims)?)));
        let Some((path, claim)) = present.next() else { return Err(self.no_audience(audiences)) };
        let is_accepted = match (claim.text(), claim.elements()) {
            (Some(one), _) => self.is_one_of(&one, audiences),
            (None, Some(many)) => {
                let mut is_accepted = false;
                for (at, one) in many.enumerate() {
                    if at == FEW || one.has_escapes() {
                        return Ok(());
                    }
                    let one = one.text().ok_or_else(|| wrong_type(path, MIXED_LIST, AUDIENCE))?;
                    is_accepted |= self.is_one_of(&one, audiences);
                }
                is_accepted
            }
            (None, None) => return Err(wrong_type(path, claim.kind(), AUDIENCE)),
        };
        if is_accepted {
            return Ok(());
        }
        let is_empty = claim.elements().is_some_and(|mut list| list.next().is_none());
        Err(audience_mismatch(&path, Some(is_empty), audiences))
    }

    #[cold]
    fn no_audience(&self, audiences: &[String]) -> Rejected {
        let paths: Vec<_> = self.audience_claims.iter().map(ToString::to_string).collect();
        audience_mismatch(&paths.join(", "), None, audiences)
    }

    fn is_one_of(&self, audience: &str, audiences: &[String]) -> bool {
        audiences.iter().any(|own| self.compared(own) == self.compared(audience))
    }

    /// What of an audience is compared.
    fn compared<'a>(&self, audience: &'a str) -> &'a str {
        match self.audience_match {
            AudienceMatch::Exact => audience,
            AudienceMatch::Normalized => normalized(audience),
        }
    }

    /// The checks whose outcome changes as time goes by: RFC 7519 sections 4.1.4 and 4.1.5, an `iat`
    /// that has not come, and the bounds on life and age.
    ///
    /// # Errors
    /// The first check that fails.
    pub fn check_time(&self, claims: &Claims, now: Timestamp) -> Result<(), Rejected> {
        self.check_dates((claims.expires, claims.not_before, claims.issued), now)
    }

    /// Until when [`Self::check_time`] goes on to hold where it holds now: nothing but the end of a life or an age can
    /// come.
    pub fn time_holds_until(&self, claims: &Claims) -> Option<Timestamp> {
        let end = claims.expires.map(|exp| exp.plus(self.clock_skew));
        let aged = claims.issued.zip(self.max_age).map(|(iat, limit)| iat.plus(limit));
        end.into_iter().chain(aged).min()
    }

    fn check_dates(&self, (expires, not_before, issued): Dates, now: Timestamp) -> Result<(), Rejected> {
        let skew = ("clock_skew_seconds", self.clock_skew);
        match expires {
            None if self.require_expiration => {
                return Err(
                    Reason::ExpirationMissing.because("claim \"exp\" is absent; require_expiration needs it")
                );
            }
            None if self.max_lifetime.is_some() => {
                return Err(
                    Reason::ExpirationMissing.because("claim \"exp\" is absent; max_lifetime needs it")
                );
            }
            // `exp` 0 has passed however large the skew and wrong the clock.
            Some(exp) if now >= exp.plus(self.clock_skew) || exp == Timestamp::default() => {
                return Err(date(Reason::Expired, ("exp", exp), skew, now));
            }
            Some(exp) => match self.max_lifetime {
                Some(limit) if exp.since(now) > limit => {
                    return Err(date(Reason::LifetimeExceeded, ("exp", exp), ("max_lifetime", limit), now));
                }
                _ => {}
            },
            None => {}
        }
        if let Some(nbf) = not_before
            && now < nbf.minus(self.clock_skew)
        {
            return Err(date(Reason::NotYetValid, ("nbf", nbf), skew, now));
        }
        match (issued, self.max_age) {
            (Some(iat), _) if iat > now.plus(self.clock_skew) => {
                Err(date(Reason::IssuedInFuture, ("iat", iat), skew, now))
            }
            (Some(iat), Some(limit)) if now.since(iat) > limit => {
                Err(date(Reason::TooOld, ("iat", iat), ("max_age", limit), now))
            }
            (None, Some(_)) => Err(Reason::ClaimMissing.because("claim \"iat\" is absent; max_age needs it")),
            _ => Ok(()),
        }
    }
}

/// The rejection of a token that is bound to a key (RFC 7800) whose possession its sender has not proven.
pub const BOUND: Rejected =
    Reason::TokenBound.because("it has the claim \"cnf\", and sender_constrained is \"reject\"");

/// What is said of the value of a claim: its own words are for no log.
const ANOTHER: &str = "another";

/// What an audience claim must be.
const AUDIENCE: &str = "a string or a list of strings";

#[cold]
fn date(
    reason: Reason,
    (claim, value): (&'static str, Timestamp),
    (setting, limit): (&'static str, Duration),
    now: Timestamp,
) -> Rejected {
    reason.with(Detail::Date { claim, value, now, setting, limit })
}

/// Logout tokens and all other security event tokens have `events` (RFC 8417 section 2.2, OpenID Connect Back-Channel
/// Logout 1.0 section 2.4). Many are signed with the keys of access tokens, some are called `JWT` and never expire.
pub(super) fn check_events<C: ClaimSet>(claims: &C) -> Result<(), Rejected> {
    match claims.claim("events") {
        Some(events) if !events.is_null() => Err(SECURITY_EVENT),
        _ => Ok(()),
    }
}

const SECURITY_EVENT: Rejected = Reason::TypeNotAllowed
    .because("it has the claim \"events\": it is a logout token or another security event token");

/// What a token is judged by that is remembered for other requests.
struct NoRequest;

impl Bindings for NoRequest {
    fn path_variable(&self, _: &str) -> Option<Cow<'_, str>> {
        None
    }

    fn header(&self, _: &str) -> Option<Cow<'_, str>> {
        None
    }

    fn host(&self) -> Option<Cow<'_, str>> {
        None
    }
}

#[cold]
fn unmet(condition: &Condition, claims: &Object) -> Rejected {
    Reason::ClaimInvalid.explained(format!("{} (required_claims)", condition.unmet(claims)))
}

#[cold]
fn missing_in(claim: &ClaimPath, claims: &Object) -> Rejected {
    match claim.hint(claims) {
        hint if hint.is_empty() => missing(claim),
        hint => {
            Reason::ClaimMissing.explained(format!("claim {claim} is absent; required_claims needs it{hint}"))
        }
    }
}

#[cold]
fn missing(claim: &ClaimPath) -> Rejected {
    Reason::ClaimMissing.with(Detail::ClaimMissing { claim: claim.to_string(), setting: "required_claims" })
}

/// `is_empty`: whether it is an empty list, where it is there.
#[cold]
fn audience_mismatch(claim: &impl ToString, is_empty: Option<bool>, audiences: &[String]) -> Rejected {
    let found = is_empty.map(|is_empty| if is_empty { "an empty list" } else { ANOTHER });
    Reason::AudienceMismatch.with(Detail::NotAccepted {
        what: ["claim ", &claim.to_string()].concat(),
        found: found.map(str::to_owned),
        accepted: excerpts(audiences.iter().map(String::as_str)),
    })
}

/// How many audiences of a token are few: each is compared with all of ours.
const FEW: usize = 8;

/// `exp`, `nbf` and `iat`.
type Dates = (Option<Timestamp>, Option<Timestamp>, Option<Timestamp>);

fn normalized(audience: &str) -> &str {
    let bare = audience.strip_prefix("https://").or_else(|| audience.strip_prefix("http://"));
    let bare = bare.unwrap_or(audience);
    bare.strip_suffix('/').unwrap_or(bare)
}
