//! The claims set (RFC 7519 section 4).

use super::Grants;
use super::grants::Order;
use super::reading::{ClaimSet, ClaimValue, MIXED_LIST, wrong_type};
use crate::json::{Json, Object, Text};
use crate::reason::Rejected;
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
    /// The scopes that these imply besides themselves
    implied: Vec<Text>,
    /// The orders of the scopes, of the roles, and of the implied scopes.
    orders: [Order; 3],
    all: Object,
}

/// The registered claims of which a policy asks more than to be of their type.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Registered {
    pub(super) issuer: Option<Text>,
    pub(super) subject: Option<Text>,
    pub(super) expires: Option<Timestamp>,
    pub(super) not_before: Option<Timestamp>,
    pub(super) issued: Option<Timestamp>,
}

impl Registered {
    /// Reads them, of claims of which perhaps not all were read.
    ///
    /// # Errors
    /// [`Reason::ClaimInvalid`] for one of a wrong type, or a date out of range.
    pub(super) fn read<C: ClaimSet>(claims: &C) -> Result<Self, Rejected> {
        string(claims, "jti")?;
        check_audience(claims.claim("aud"))?;
        Ok(Self {
            issuer: string(claims, "iss")?,
            subject: string(claims, "sub")?,
            expires: date(claims, "exp")?,
            not_before: date(claims, "nbf")?,
            issued: date(claims, "iat")?,
        })
    }
}

impl Claims {
    /// Reads a claims set; `grants` says which claims hold scopes and roles. It takes no more than n·log n steps
    /// for n of them, and is for claims of a verified token.
    ///
    /// # Errors
    /// [`Reason::ClaimInvalid`](crate::Reason::ClaimInvalid) for a registered claim, a scope claim or a role claim of a wrong type, or
    /// a date out of range.
    pub fn new(all: Object, grants: &Grants) -> Result<Self, Rejected> {
        let mut scopes = Vec::new();
        for claim in &grants.scope_claims {
            add_scopes(&mut scopes, claim.find(&all))
                .map_err(|found| wrong_type(claim, found, "a string or a list of strings"))?;
        }
        let mut roles = Vec::new();
        for claim in &grants.role_claims {
            claim.add(&all, &mut roles)?;
        }
        let Registered { issuer, subject, expires, not_before, issued } = Registered::read(&all)?;
        check_texts(all.get("aud"))?;
        let (scopes, scope_order) = Order::of(scopes);
        let (roles, role_order) = Order::of(roles);
        let (implied, implied_order) = grants.hierarchy.implied(&scopes, &scope_order);
        let orders = [scope_order, role_order, implied_order];
        Ok(Self { issuer, subject, expires, not_before, issued, scopes, roles, implied, orders, all })
    }

    /// Whether the token grants this scope, by itself or by one that implies it.
    pub fn grants(&self, scope: &str) -> bool {
        let [own, _, implied] = &self.orders;
        own.holds(&self.scopes, scope) || implied.holds(&self.implied, scope)
    }

    /// Whether the token grants this role.
    pub fn has_role(&self, role: &str) -> bool {
        let [_, roles, _] = &self.orders;
        roles.holds(&self.roles, role)
    }

    /// Every claim, as it was written.
    pub fn all(&self) -> &Object {
        &self.all
    }
}

fn string<C: ClaimSet>(claims: &C, name: &'static str) -> Result<Option<Text>, Rejected> {
    let Some(value) = claims.claim(name) else { return Ok(None) };
    value.text().map(Some).ok_or_else(|| wrong_type(&format_args!("{name:?}"), value.kind(), "a string"))
}

fn date<C: ClaimSet>(claims: &C, name: &'static str) -> Result<Option<Timestamp>, Rejected> {
    let Some(value) = claims.claim(name) else { return Ok(None) };
    let date = value.number().and_then(|number| Timestamp::from_number(number).ok());
    let expected = "a number of seconds from 0 to 2^63";
    date.map(Some).ok_or_else(|| wrong_type(&format_args!("{name:?}"), value.kind(), expected))
}

/// `aud` is a string or a list (RFC 7519 section 4.1.3); which ones, the policy asks.
fn check_audience<'v>(aud: Option<impl ClaimValue<'v>>) -> Result<(), Rejected> {
    match aud {
        Some(aud) if !aud.is_list() && aud.string().is_none() => {
            Err(wrong_type(&"\"aud\"", aud.kind(), "a string or a list of strings"))
        }
        _ => Ok(()),
    }
}

/// The elements of a list `aud` are strings.
fn check_texts(aud: Option<&Json>) -> Result<(), Rejected> {
    match aud.and_then(Json::as_array) {
        Some(many) if many.iter().any(|one| one.as_str().is_none()) => {
            Err(wrong_type(&"\"aud\"", MIXED_LIST, "a string or a list of strings"))
        }
        _ => Ok(()),
    }
}

/// Adds the scopes of a claim; an absent claim and `null` hold none. An error is what was found instead of scopes.
fn add_scopes(scopes: &mut Vec<Text>, claim: Option<&Json>) -> Result<(), &'static str> {
    match claim {
        None | Some(Json::Null) => Ok(()),
        Some(Json::String(list)) => {
            scopes.extend(list.split(' ').map(|scope| list.part(scope)));
            Ok(())
        }
        Some(Json::Array(list)) => list.iter().try_for_each(|scope| {
            scopes.push(scope.as_text().ok_or(MIXED_LIST)?.clone());
            Ok(())
        }),
        Some(other) => Err(other.kind()),
    }
}
