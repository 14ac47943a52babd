//! What the proxy's route says of its own requests: metadata under the name of this filter.

use crate::request::{Metadata, Surroundings};

/// The rules on a route.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct OnRoute {
    /// The rule to use, whatever the path says.
    pub(super) rule: Option<String>,
    /// Scopes that the token must grant besides.
    pub(super) scopes: Vec<String>,
}

/// What is there cannot be read, so that nothing can be allowed by it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Unreadable;

impl OnRoute {
    pub(super) fn read(surroundings: &dyn Surroundings) -> Result<Self, Unreadable> {
        let rule = match surroundings.route_metadata("rule") {
            Metadata::Absent => None,
            Metadata::Texts(texts) => match <[String; 1]>::try_from(texts) {
                Ok([name]) => Some(name),
                Err(_) => return Err(Unreadable),
            },
            Metadata::Unreadable => return Err(Unreadable),
        };
        let scopes = match surroundings.route_metadata("scopes") {
            Metadata::Absent => Vec::new(),
            // One text may hold several, as the `scope` of a token does (RFC 6749 section 3.3).
            Metadata::Texts(texts) => texts
                .iter()
                .flat_map(|text| text.split(' '))
                .filter(|scope| !scope.is_empty())
                .map(str::to_owned)
                .collect(),
            Metadata::Unreadable => return Err(Unreadable),
        };
        Ok(Self { rule, scopes })
    }
}
