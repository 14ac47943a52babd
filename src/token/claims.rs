//! The claims set (RFC 7519 section 4).

use super::ClaimPath;
use crate::json::{Json, Object};
use crate::reason::Reason;
use crate::time::Timestamp;

/// The claims of a token. The registered ones have the types that RFC 7519 section 4.1 gives them:
/// a claim of another type is refused, never taken for absent.
#[derive(Clone, PartialEq, Debug)]
pub struct Claims {
    /// `iss`
    pub issuer: Option<String>,
    /// `sub`
    pub subject: Option<String>,
    /// `exp`
    pub expires: Option<Timestamp>,
    /// `nbf`
    pub not_before: Option<Timestamp>,
    /// `iat`
    pub issued: Option<Timestamp>,
    /// The scopes of all scope claims, each once, in order (RFC 6749 section 3.3)
    pub scopes: Vec<String>,
    all: Object,
}

impl Claims {
    /// Reads a claims set. `scope_claims` are the claims that hold scopes, as a string separated by
    /// spaces or as a list.
    ///
    /// # Errors
    /// [`Reason::ClaimInvalid`] for a registered claim or a scope claim of a wrong type, or a date
    /// out of range.
    pub fn new(all: Object, scope_claims: &[ClaimPath]) -> Result<Self, Reason> {
        let mut scopes = Vec::new();
        for claim in scope_claims {
            add_scopes(&mut scopes, claim.find(&all))?;
        }
        string(&all, "jti")?;
        check_audience(all.get("aud"))?;
        Ok(Self {
            issuer: string(&all, "iss")?,
            subject: string(&all, "sub")?,
            expires: date(&all, "exp")?,
            not_before: date(&all, "nbf")?,
            issued: date(&all, "iat")?,
            scopes,
            all,
        })
    }

    /// Every claim, as it was written.
    pub fn all(&self) -> &Object {
        &self.all
    }
}

fn string(claims: &Object, name: &str) -> Result<Option<String>, Reason> {
    match claims.get(name) {
        None => Ok(None),
        Some(Json::String(text)) => Ok(Some(text.clone())),
        Some(_) => Err(Reason::ClaimInvalid),
    }
}

fn date(claims: &Object, name: &str) -> Result<Option<Timestamp>, Reason> {
    match claims.get(name) {
        None => Ok(None),
        Some(Json::Number(number)) => {
            Timestamp::from_number(*number).map(Some).map_err(|_| Reason::ClaimInvalid)
        }
        Some(_) => Err(Reason::ClaimInvalid),
    }
}

/// `aud` is a string or a list of strings (RFC 7519 section 4.1.3); which ones, the policy asks.
fn check_audience(aud: Option<&Json>) -> Result<(), Reason> {
    match aud {
        None | Some(Json::String(_)) => Ok(()),
        Some(Json::Array(many)) if many.iter().all(|one| one.as_str().is_some()) => Ok(()),
        Some(_) => Err(Reason::ClaimInvalid),
    }
}

fn add_scopes(scopes: &mut Vec<String>, claim: Option<&Json>) -> Result<(), Reason> {
    let mut add = |scope: &str| {
        if !scope.is_empty() && !scopes.iter().any(|held| held == scope) {
            scopes.push(scope.to_owned());
        }
    };
    match claim {
        None => Ok(()),
        Some(Json::String(list)) => {
            list.split(' ').for_each(&mut add);
            Ok(())
        }
        Some(Json::Array(list)) => list.iter().try_for_each(|scope| {
            add(scope.as_str().ok_or(Reason::ClaimInvalid)?);
            Ok(())
        }),
        Some(_) => Err(Reason::ClaimInvalid),
    }
}
