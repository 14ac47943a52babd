//! A JSON Web Token: where a request carries it, what it says, and whether it is to be believed.
//!
//! The way of a token is one of types: bytes from a [`Location`], an [`Unverified`] once they are
//! well formed, and a [`Verified`] once its [`Policy`] and a key agree. Nothing but
//! [`Unverified::verify`] makes a `Verified`.

mod claims;
mod compact;
mod header;
mod location;
mod policy;

pub use claims::Claims;
pub use compact::{Unverified, Verified};
pub use header::Header;
pub use location::{Found, Location, find};
pub use policy::Policy;
