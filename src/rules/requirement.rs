//! Which tokens a rule asks for: the requirements of `jwt_authn`.

use crate::token::ProviderId;

/// What a request must carry to be authenticated. "Missing" means no token at all: a token that is
/// there and bad fails, but for [`Self::AllowMissingOrFailed`].
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Requirement {
    /// A valid token of this provider.
    Provider {
        /// The provider.
        provider: ProviderId,
        /// The audiences of this rule, where it has its own.
        audiences: Option<Vec<String>>,
    },
    /// One of these is met; they are tried in order, and those that allow a token to be missing last.
    Any(Vec<Requirement>),
    /// Each of these is met; the first that is not decides.
    All(Vec<Requirement>),
    /// No token at all, or valid ones.
    AllowMissing,
    /// Anything; a token that is valid is used.
    AllowMissingOrFailed,
}

/// A provider whose tokens are looked at, and the audiences to ask for, where those are not its own.
pub type Demand<'r> = (ProviderId, Option<&'r [String]>);

impl Requirement {
    /// Adds what this demands of tokens, each demand once, in the order of first appearance.
    pub fn collect_demands<'r>(&'r self, into: &mut Vec<Demand<'r>>) {
        match self {
            Self::Provider { provider, audiences } => {
                let demand = (*provider, audiences.as_deref());
                if !into.contains(&demand) {
                    into.push(demand);
                }
            }
            Self::Any(parts) | Self::All(parts) => parts.iter().for_each(|part| part.collect_demands(into)),
            Self::AllowMissing | Self::AllowMissingOrFailed => {}
        }
    }

    /// Whether the tokens of every provider are looked at: a part that allows them to be missing is not in a
    /// list of alternatives with a provider.
    pub fn looks_at_all(&self) -> bool {
        match self {
            Self::Provider { .. } => false,
            Self::AllowMissing | Self::AllowMissingOrFailed => true,
            Self::All(parts) => parts.iter().any(Self::looks_at_all),
            Self::Any(parts) => {
                let mut named = Vec::new();
                self.collect_providers(&mut named);
                named.is_empty() && parts.iter().any(Self::looks_at_all)
            }
        }
    }

    /// Adds the providers that this names, each once, in the order of their names' first appearance.
    pub fn collect_providers(&self, into: &mut Vec<ProviderId>) {
        match self {
            Self::Provider { provider, .. } if !into.contains(provider) => into.push(*provider),
            Self::Any(parts) | Self::All(parts) => parts.iter().for_each(|part| part.collect_providers(into)),
            Self::Provider { .. } | Self::AllowMissing | Self::AllowMissingOrFailed => {}
        }
    }
}
