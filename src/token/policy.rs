//! What a provider's tokens must say to be believed.

use std::time::Duration;

use super::{ClaimPath, Claims, Grants, Header, Issuer, Unverified};
use crate::crypto::AlgorithmSet;
use crate::json::Json;
use crate::reason::Reason;
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
    /// The longest token that is read, in bytes of its compact serialization.
    pub max_token_size: usize,
    /// The claims that hold scopes (RFC 6749 section 3.3) and roles.
    pub grants: Grants,
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
    /// Every check that needs no key, cheapest first. `audiences` are those to ask for, which a rule may
    /// have of its own.
    ///
    /// # Errors
    /// The reason of the first check that fails.
    pub fn check(&self, token: &Unverified<'_>, audiences: &[String], now: Timestamp) -> Result<(), Reason> {
        let claims = token.claims();
        self.check_header(token.header())?;
        self.check_issuer(claims)?;
        self.check_time(claims, now)?;
        self.check_audience(claims, audiences)?;
        if self
            .subjects
            .as_ref()
            .is_some_and(|subjects| !claims.subject.as_deref().is_some_and(|sub| subjects.holds(sub)))
        {
            return Err(Reason::SubjectMismatch);
        }
        let lacks =
            |claim: &ClaimPath| claim.find(claims.all()).is_none_or(|value| matches!(value, Json::Null));
        if self.required_claims.iter().any(lacks) {
            return Err(Reason::ClaimMissing);
        }
        if self.reject_bound && claims.all().contains("cnf") {
            return Err(Reason::TokenBound);
        }
        Ok(())
    }

    /// The checks of the header alone.
    ///
    /// # Errors
    /// [`Reason::AlgorithmNotAllowed`], [`Reason::TypeNotAllowed`].
    pub fn check_header(&self, header: &Header) -> Result<(), Reason> {
        if !self.algorithms.contains(header.algorithm) {
            return Err(Reason::AlgorithmNotAllowed);
        }
        let typ_fits = match &header.typ {
            None => self.token_types.absent,
            Some(typ) => self.token_types.names.contains(typ),
        };
        if typ_fits { Ok(()) } else { Err(Reason::TypeNotAllowed) }
    }

    fn check_issuer(&self, claims: &Claims) -> Result<(), Reason> {
        if self.issuers.is_empty() {
            return Ok(());
        }
        match &claims.issuer {
            Some(iss) if self.issuers.iter().any(|own| own.is(iss, claims.all())) => Ok(()),
            _ => Err(Reason::IssuerUnknown),
        }
    }

    /// RFC 7519 section 4.1.3, over the first audience claim that is there. No `audiences`: not checked.
    ///
    /// # Errors
    /// [`Reason::AudienceMismatch`], and [`Reason::ClaimInvalid`] for a claim of a wrong type.
    pub fn check_audience(&self, claims: &Claims, audiences: &[String]) -> Result<(), Reason> {
        if audiences.is_empty() {
            return Ok(());
        }
        let accepted = |audience: &str| audiences.iter().any(|own| self.same_audience(own, audience));
        let holds = match self.audience_claims.iter().find_map(|claim| claim.find(claims.all())) {
            None => false,
            Some(Json::String(one)) => accepted(one),
            Some(Json::Array(many)) => {
                if many.iter().any(|audience| audience.as_str().is_none()) {
                    return Err(Reason::ClaimInvalid);
                }
                many.iter().filter_map(Json::as_str).any(accepted)
            }
            Some(_) => return Err(Reason::ClaimInvalid),
        };
        if holds { Ok(()) } else { Err(Reason::AudienceMismatch) }
    }

    fn same_audience(&self, own: &str, audience: &str) -> bool {
        match self.audience_match {
            AudienceMatch::Exact => own == audience,
            AudienceMatch::Normalized => normalized(own) == normalized(audience),
        }
    }

    /// The checks whose outcome changes as time goes by: RFC 7519 sections 4.1.4 and 4.1.5, an `iat`
    /// that has not come, and the bounds on life and age.
    ///
    /// # Errors
    /// The reason of the first check that fails.
    pub fn check_time(&self, claims: &Claims, now: Timestamp) -> Result<(), Reason> {
        match claims.expires {
            None if self.require_expiration || self.max_lifetime.is_some() => {
                return Err(Reason::ExpirationMissing);
            }
            // `exp` 0 has passed however large the skew and wrong the clock.
            Some(exp) if now >= exp.plus(self.clock_skew) || exp == Timestamp::default() => {
                return Err(Reason::Expired);
            }
            Some(exp) if self.max_lifetime.is_some_and(|most| exp.since(now) > most) => {
                return Err(Reason::LifetimeExceeded);
            }
            _ => {}
        }
        if claims.not_before.is_some_and(|nbf| now < nbf.minus(self.clock_skew)) {
            return Err(Reason::NotYetValid);
        }
        match (claims.issued, self.max_age) {
            (Some(iat), _) if iat > now.plus(self.clock_skew) => Err(Reason::IssuedInFuture),
            (Some(iat), Some(most)) if now.since(iat) > most => Err(Reason::TooOld),
            (None, Some(_)) => Err(Reason::ClaimMissing),
            _ => Ok(()),
        }
    }
}

fn normalized(audience: &str) -> &str {
    let bare = audience.strip_prefix("https://").or_else(|| audience.strip_prefix("http://"));
    let bare = bare.unwrap_or(audience);
    bare.strip_suffix('/').unwrap_or(bare)
}
