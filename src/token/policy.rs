//! What a provider's tokens must say to be believed.

use std::time::Duration;

use super::reading::{ClaimSet, ClaimValue, Outline};
use super::{ClaimPath, Claims, Grants, Header, Issuer, Unverified};
use crate::crypto::AlgorithmSet;
use crate::json::{Json, Place, SHORT};
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
    /// The claims that a first look at a token keeps.
    pub wanted: Wanted,
}

/// Names of claims, of which each is found in a few steps.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Wanted {
    /// In order.
    names: Vec<String>,
    /// A bit for each length that a name has.
    lengths: u64,
}

impl Wanted {
    /// The registered claims, and those at which these demands look.
    pub fn new(issuers: &[Issuer], audience_claims: &[ClaimPath], required_claims: &[ClaimPath]) -> Self {
        let paths = audience_claims.iter().chain(required_claims).flat_map(ClaimPath::claims);
        let more = paths.chain(issuers.iter().flat_map(Issuer::claims));
        let mut names: Vec<String> =
            more.filter(|name| registered(name.as_bytes()).is_none()).map(str::to_owned).collect();
        names.sort_unstable();
        names.dedup();
        let lengths = names.iter().fold(0, |all, name| all | length_bit(name.as_bytes()));
        Self { names, lengths }
    }

    /// The one of them that a member's name is.
    pub(super) fn named<'w>(&'w self, name: Place<'_>) -> Option<&'w str> {
        if let Some(plain) = name.plain() {
            return self.find(plain);
        }
        let mut room = [0; SHORT];
        if let Some(short) = name.piece().short(&mut room) {
            return self.find(short);
        }
        self.find(name.piece().text()?.as_bytes())
    }

    fn find(&self, name: &[u8]) -> Option<&str> {
        if name.len() == 3
            && let Some(registered) = registered(name)
        {
            return Some(registered);
        }
        if self.lengths & length_bit(name) == 0 {
            return None;
        }
        let at = self.names.binary_search_by(|own| own.as_bytes().cmp(name)).ok()?;
        self.names.get(at).map(String::as_str)
    }
}

/// The claim that a policy looks at in any case.
fn registered(name: &[u8]) -> Option<&'static str> {
    Some(match name {
        b"iss" => "iss",
        b"sub" => "sub",
        b"aud" => "aud",
        b"exp" => "exp",
        b"nbf" => "nbf",
        b"iat" => "iat",
        b"jti" => "jti",
        b"cnf" => "cnf",
        _ => return None,
    })
}

fn length_bit(name: &[u8]) -> u64 {
    1u64.wrapping_shl((name.len() & 63) as u32)
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
    /// signature holds, and what is left out here: expressions on `sub`, and claims inside of others that must be
    /// there.
    ///
    /// # Errors
    /// The reason of the first check that fails.
    pub fn check(&self, token: &Unverified<'_>, audiences: &[String], now: Timestamp) -> Result<(), Reason> {
        let claims = &token.registered;
        self.check_header(token.header())?;
        self.check_issuer(claims.issuer.as_deref(), &token.outline)?;
        self.check_dates((claims.expires, claims.not_before, claims.issued), now)?;
        self.glance_at_audience(&token.outline, audiences)?;
        if !self.subjects.as_ref().is_some_and(TextMatch::is_regex) {
            self.check_subject(claims.subject.as_deref())?;
        }
        let lacks = |claim: &ClaimPath| {
            let mut there = claim.claims().filter_map(|name| token.outline.claim(name));
            !there.any(|value| !value.is_null())
        };
        if self.required_claims.iter().any(lacks) {
            return Err(Reason::ClaimMissing);
        }
        self.check_bound(&token.outline)
    }

    /// Every check of the claims, once all of them were read.
    ///
    /// # Errors
    /// The reason of the first check that fails.
    pub fn check_claims(&self, claims: &Claims, audiences: &[String], now: Timestamp) -> Result<(), Reason> {
        self.check_issuer(claims.issuer.as_deref(), claims.all())?;
        self.check_time(claims, now)?;
        self.check_audience(claims, audiences)?;
        self.check_subject(claims.subject.as_deref())?;
        let lacks =
            |claim: &ClaimPath| claim.find(claims.all()).is_none_or(|value| matches!(value, Json::Null));
        if self.required_claims.iter().any(lacks) {
            return Err(Reason::ClaimMissing);
        }
        self.check_bound(claims.all())
    }

    fn check_subject(&self, subject: Option<&str>) -> Result<(), Reason> {
        match &self.subjects {
            Some(subjects) if !subject.is_some_and(|sub| subjects.holds(sub)) => Err(Reason::SubjectMismatch),
            _ => Ok(()),
        }
    }

    fn check_bound<C: ClaimSet>(&self, claims: &C) -> Result<(), Reason> {
        if self.reject_bound && claims.claim("cnf").is_some() { Err(Reason::TokenBound) } else { Ok(()) }
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

    fn check_issuer<C: ClaimSet>(&self, issuer: Option<&str>, claims: &C) -> Result<(), Reason> {
        if self.issuers.is_empty() {
            return Ok(());
        }
        match issuer {
            Some(iss) if self.issuers.iter().any(|own| own.is(iss, claims)) => Ok(()),
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
        let claim = self.audience_claims.iter().find_map(|claim| claim.find(claims.all()));
        let holds = match claim.ok_or(Reason::AudienceMismatch)? {
            Json::String(one) => self.is_one_of(one, audiences),
            Json::Array(many) if many.iter().any(|audience| audience.as_str().is_none()) => {
                return Err(Reason::ClaimInvalid);
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
            _ => return Err(Reason::ClaimInvalid),
        };
        if holds { Ok(()) } else { Err(Reason::AudienceMismatch) }
    }

    /// The same as far as it costs little: a long list, or one with escapes, is left to the second look.
    fn glance_at_audience(&self, claims: &Outline, audiences: &[String]) -> Result<(), Reason> {
        if audiences.is_empty() {
            return Ok(());
        }
        let claim = self.audience_claims.iter().find_map(|claim| claim.find_in(claims));
        let claim = claim.ok_or(Reason::AudienceMismatch)?;
        let holds = match (claim.text(), claim.elements()) {
            (Some(one), _) => self.is_one_of(&one, audiences),
            (None, Some(many)) => {
                let mut holds = false;
                for (at, one) in many.enumerate() {
                    if at == FEW || one.has_escapes() {
                        return Ok(());
                    }
                    holds |= self.is_one_of(&one.text().ok_or(Reason::ClaimInvalid)?, audiences);
                }
                holds
            }
            (None, None) => return Err(Reason::ClaimInvalid),
        };
        if holds { Ok(()) } else { Err(Reason::AudienceMismatch) }
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
    /// The reason of the first check that fails.
    pub fn check_time(&self, claims: &Claims, now: Timestamp) -> Result<(), Reason> {
        self.check_dates((claims.expires, claims.not_before, claims.issued), now)
    }

    fn check_dates(&self, (expires, not_before, issued): Dates, now: Timestamp) -> Result<(), Reason> {
        match expires {
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
        if not_before.is_some_and(|nbf| now < nbf.minus(self.clock_skew)) {
            return Err(Reason::NotYetValid);
        }
        match (issued, self.max_age) {
            (Some(iat), _) if iat > now.plus(self.clock_skew) => Err(Reason::IssuedInFuture),
            (Some(iat), Some(most)) if now.since(iat) > most => Err(Reason::TooOld),
            (None, Some(_)) => Err(Reason::ClaimMissing),
            _ => Ok(()),
        }
    }
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
