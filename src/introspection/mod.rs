//! Token introspection (RFC 7662): the provider is asked what it knows of a token.
//!
//! [`Calls`] bounds what that costs: one call for each token at a time, so many in flight, pauses after failures. A call
//! ends with a [`Finding`]; how long it counts is [`Introspection::keeps`]'s to say. Nothing here knows of requests.

mod answer;
mod calls;
mod form;
mod opaque;
mod settings;
mod signed;

pub use answer::MAX_ANSWER_BYTES;
pub(crate) use answer::{Answer, Finding};
pub use calls::MAX_QUEUED;
pub(crate) use calls::{Asked, CallUpdate, Calls, DigestHasher, Ended, TokenDigest};
pub use opaque::{MAX_OPAQUE, MIN_OPAQUE};
pub(crate) use opaque::{check_shape, is_signed};
pub use settings::{AnswerForm, ClaimSource, ClientAuthentication, GRACE, Introspection};
pub(crate) use signed::Verifier;
