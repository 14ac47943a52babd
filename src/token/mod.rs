//! A JSON Web Token: where a request carries it, what it says, and whether it is to be believed.
//!
//! The way of a token is one of types: bytes from a [`Location`], a [`Jws`] once they are well formed,
//! an [`Unverified`] once its claims are, and a [`Verified`] once its [`Policy`] and a key agree.
//! Nothing but [`Unverified::verify`] makes a `Verified`.

mod claims;
mod compact;
mod grants;
mod header;
mod issuer;
mod location;
mod path;
mod policy;

pub use claims::Claims;
pub use compact::{Jws, Unverified, Verified};
pub use grants::{Grants, RoleClaim, RoleFormat, ScopeHierarchy};
pub use header::{Header, normal_type};
pub use issuer::{Issuer, IssuerTemplate};
pub use location::{Credential, Found, HeaderPlace, Location, find, is_token_byte};
pub use path::ClaimPath;
pub use policy::{AudienceMatch, Policy, TokenTypes};
