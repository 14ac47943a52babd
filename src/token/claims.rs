//! The claims set (RFC 7519 section 4).

use super::Grants;
use super::grants::{add_once, add_part};
use crate::json::{Json, Object, Text};
use crate::reason::Reason;
use crate::time::Timestamp;

/// The claims of a token. The registered ones have the types that RFC 7519 section 4.1 gives them:
/// a claim of another type is refused, never taken for absent.
#[derive(Clone, PartialEq, Debug)]
pub struct Claims {
    /// `iss`
    pub issuer: Option<Text>,
    /// `sub`
    pub subject: Option<Text>,
    /// `exp`
    pub expires: Option<Timestamp>,
    /// `nbf`
    pub not_before: Option<Timestamp>,
    /// `iat`
    pub issued: Option<Timestamp>,
    /// The scopes of all scope claims, each once, in order (RFC 6749 section 3.3)
    pub scopes: Vec<Text>,
    /// The roles of all role claims, each once, in order
    pub roles: Vec<Text>,
    /// What the scopes stand for besides themselves
    implied: Vec<Text>,
    all: Object,
}

impl Claims {
    /// Reads a claims set; `grants` says which claims hold scopes and roles.
    ///
    /// # Errors
    /// [`Reason::ClaimInvalid`] for a registered claim, a scope claim or a role claim of a wrong type, or
    /// a date out of range.
    pub fn new(all: Object, grants: &Grants) -> Result<Self, Reason> {
        let mut scopes = Vec::new();
        for claim in &grants.scope_claims {
            add_scopes(&mut scopes, claim.find(&all))?;
        }
        let mut roles = Vec::new();
        for claim in &grants.role_claims {
            claim.add(&all, &mut roles)?;
        }
        string(&all, "jti")?;
        check_audience(all.get("aud"))?;
        Ok(Self {
            issuer: string(&all, "iss")?,
            subject: string(&all, "sub")?,
            expires: date(&all, "exp")?,
            not_before: date(&all, "nbf")?,
            issued: date(&all, "iat")?,
            implied: grants.hierarchy.implied(&scopes),
            scopes,
            roles,
            all,
        })
    }

    /// Whether the token grants this scope, by itself or by one that stands for it.
    pub fn grants(&self, scope: &str) -> bool {
        self.scopes.iter().chain(&self.implied).any(|held| *held == *scope)
    }

    /// Every claim, as it was written.
    pub fn all(&self) -> &Object {
        &self.all
    }
}

fn string(claims: &Object, name: &str) -> Result<Option<Text>, Reason> {
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

fn add_scopes(scopes: &mut Vec<Text>, claim: Option<&Json>) -> Result<(), Reason> {
    match claim {
        None => Ok(()),
        Some(Json::String(list)) => {
            list.split(' ').for_each(|scope| add_part(scopes, list, scope));
            Ok(())
        }
        Some(Json::Array(list)) => list.iter().try_for_each(|scope| {
            add_once(scopes, scope.as_text().ok_or(Reason::ClaimInvalid)?);
            Ok(())
        }),
        Some(_) => Err(Reason::ClaimInvalid),
    }
}
