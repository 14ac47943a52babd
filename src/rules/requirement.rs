//! Which tokens a rule asks for: the requirements of `jwt_authn`.

use super::ProviderId;

/// What a request must carry to be authenticated. "Missing" means no token at all: a token that is
/// there and bad fails, but for [`Self::AllowMissingOrFailed`].
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Requirement {
    /// A good token of this provider.
    Provider {
        /// The provider.
        provider: ProviderId,
        /// The audiences of this rule, where it has its own.
        audiences: Option<Vec<String>>,
    },
    /// One of these holds; they are tried in order, and those that allow a token to be missing last.
    Any(Vec<Requirement>),
    /// Each of these holds; the first that fails decides.
    All(Vec<Requirement>),
    /// No token at all, or good ones.
    AllowMissing,
    /// Anything; a token that is good is made use of.
    AllowMissingOrFailed,
}

impl Requirement {
    /// Adds the providers that this names, each once, in the order of their names' first appearance.
    pub fn collect_providers(&self, into: &mut Vec<ProviderId>) {
        match self {
            Self::Provider { provider, .. } if !into.contains(provider) => into.push(*provider),
            Self::Any(parts) | Self::All(parts) => parts.iter().for_each(|part| part.collect_providers(into)),
            Self::Provider { .. } | Self::AllowMissing | Self::AllowMissingOrFailed => {}
        }
    }
}
