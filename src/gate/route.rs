//! What the proxy's route says of its own requests: metadata under the name of this filter.

use crate::request::{Metadata, Surroundings};

/// The rules on a route. What is there and cannot be read is kept as such: nothing can be allowed by it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct OnRoute {
    /// The rule to use, whatever the path says.
    pub(super) rule: Result<Option<String>, Unreadable>,
    /// Scopes that the token must grant besides.
    pub(super) scopes: Result<Vec<String>, Unreadable>,
}

/// It cannot be read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Unreadable;

impl OnRoute {
    /// What a route says that has no rules.
    pub(super) fn none() -> Self {
        Self { rule: Ok(None), scopes: Ok(Vec::new()) }
    }

    pub(super) fn read(surroundings: &dyn Surroundings) -> Self {
        let rule = match surroundings.route_metadata("rule") {
            Metadata::Absent => Ok(None),
            Metadata::Texts(texts) => match <[String; 1]>::try_from(texts) {
                Ok([name]) => Ok(Some(name)),
                Err(_) => Err(Unreadable),
            },
            Metadata::Unreadable => Err(Unreadable),
        };
        let scopes = match surroundings.route_metadata("scopes") {
            Metadata::Absent => Ok(Vec::new()),
            // One text may hold several, as the `scope` of a token does (RFC 6749 section 3.3).
            Metadata::Texts(texts) => Ok(texts
                .iter()
                .flat_map(|text| text.split(' '))
                .filter(|scope| !scope.is_empty())
                .map(str::to_owned)
                .collect()),
            Metadata::Unreadable => Err(Unreadable),
        };
        Self { rule, scopes }
    }
}
