//! A JSON Web Token: where a request carries it, what it says, and whether it is accepted.
//!
//! The way of a token is one of types: bytes from a [`Location`], a [`Jws`] once they are well formed,
//! an [`Unverified`] once a first look at its claims showed nothing wrong, a [`Signed`] once a key agrees, and a
//! [`Verified`] once all of its claims were read and its [`Policy`] agrees. Nothing but [`Signed::read`] makes a
//! `Verified`, and, of what a provider itself says of a token, [`Verified::of_answer`].
//!
//! Until the signature is verified, nothing is built of what a token says, and no part of it is looked at more than a few
//! times, so that a forged token costs little more than one that is no token at all.

mod checks;
mod claims;
mod compact;
mod condition;
mod credential;
mod grants;
mod header;
mod header_location;
mod issuer;
mod location;
mod path;
mod policy;
mod reading;
mod subprotocols;
#[cfg(test)]
pub(crate) mod testing;
mod wanted;

pub use claims::Claims;
pub use compact::{Jws, Signed, Unverified, Verified};
pub use condition::{Bindings, ClaimOperator, Condition, RequestValue, Scalar};
pub use credential::{Credential, CredentialSource, Found, Scheme};
pub use grants::{Grants, RoleClaim, RoleFormat, ScopeHierarchy};
pub use header::{Header, MAX_HEADER, normal_type};
pub use header_location::{HeaderLocation, is_token_byte};
pub use issuer::{Issuer, IssuerTemplate};
pub use location::{Location, find, listed, occupied};
pub use path::ClaimPath;
pub use policy::{AudienceMatch, BOUND, Policy, TokenTypes};
pub use subprotocols::{Marker, SUBPROTOCOLS, Subprotocols};
pub use wanted::Wanted;

/// The index of a provider in the configuration.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ProviderId(pub usize);
