//! What a provider said of a token, and until when that counts.

use std::rc::Rc;

use crate::introspection::Answer;
use crate::reason::Rejected;
use crate::time::Timestamp;

/// What is known of a token, and until when.
#[derive(Clone, Debug)]
pub(super) struct Kept<T> {
    pub(super) until: Timestamp,
    pub(super) what: Known<T>,
}

/// What is known of a token. `T` is what is made of an answer.
#[derive(Clone, Debug)]
pub(super) enum Known<T> {
    /// It is active, by this answer, of which nothing was made yet.
    Answered(Rc<Answer>),
    /// It is active, and its own claims count.
    Active,
    /// It is active, and this is what the answer says.
    Token(T),
    /// It is rejected, or nothing can be said of it.
    Rejected(Rejected),
}
