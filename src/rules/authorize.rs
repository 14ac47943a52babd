//! What a rule asks of a token that holds.

use std::borrow::Cow;

use super::Scopes;
use crate::reason::Reason;
use crate::token::Claims;

/// What the token of a request must grant; all that is given counts.
#[derive(Clone, Debug, Default)]
pub struct Authorize {
    /// The scopes.
    pub scopes: Option<Scopes>,
}

/// What a condition may compare a claim with besides values of its own.
pub trait Bindings {
    /// The text that a variable of the rule's path template stands for in this request, decoded.
    fn path_variable(&self, name: &str) -> Option<Cow<'_, str>>;
    /// The value of a header field that is there once; `name` is in lower case.
    fn header(&self, name: &str) -> Option<Cow<'_, str>>;
    /// The host that the request is for: in lower case, without port and trailing dot.
    fn host(&self) -> Option<Cow<'_, str>>;
}

impl Authorize {
    /// Whether a token with these claims may do what the request asks for.
    ///
    /// # Errors
    /// [`Reason::ScopeInsufficient`] where the scopes are not held.
    pub fn check(&self, claims: &Claims, _request: &dyn Bindings) -> Result<(), Reason> {
        match &self.scopes {
            Some(scopes) if !scopes.satisfied_by(&claims.scopes) => Err(Reason::ScopeInsufficient),
            _ => Ok(()),
        }
    }

    /// Whether the outcome depends on the request, and not on the token alone.
    pub fn depends_on_request(&self) -> bool {
        false
    }

    /// The `scope` of a challenge (RFC 6750 section 3): what a client should ask for.
    pub fn challenge(&self) -> Option<String> {
        self.scopes.as_ref()?.challenge()
    }
}
