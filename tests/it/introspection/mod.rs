//! Opaque tokens, and JWTs that the provider is asked about (RFC 7662, RFC 9701).

mod answers;
mod attacks;
mod beside;
mod bound;
mod captured;
mod errors;
mod failures;
mod flood;
mod form;
mod gateway;
mod glewlwyd;
mod hybrid;
mod kept;
mod local;
mod oidc_provider;
mod recipes;
pub(crate) mod replay;
mod revoked;
mod rules;
mod signed;
mod waiting;
