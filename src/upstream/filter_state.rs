//! The fields of the filter state that other filters and the access log may read.

/// What was decided.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Decision {
    /// It passes.
    #[default]
    Allow,
    /// It is refused.
    Deny,
    /// It passes, for the rule only reports; it would have been refused.
    WouldDeny,
}

impl Decision {
    /// Its name in the filter state and the log.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Allow => "allow",
            Self::Deny => "deny",
            Self::WouldDeny => "would_deny",
        }
    }
}

/// An entry of the filter state.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FilterStateField {
    /// `allow`, `deny` or `would_deny`
    Decision,
    /// Why not
    Reason,
    /// The rule's name
    Rule,
    /// The provider's name
    Provider,
    /// `sub`
    Subject,
    /// The scopes, separated by spaces
    Scopes,
    /// A nonce for the next proof (RFC 9449 section 8.2), where the provider makes nonces and the request passes
    DpopNonce,
}

impl FilterStateField {
    /// Every entry.
    pub const ALL: [Self; 7] = [
        Self::Decision,
        Self::Reason,
        Self::Rule,
        Self::Provider,
        Self::Subject,
        Self::Scopes,
        Self::DpopNonce,
    ];

    /// Its name in the configuration.
    pub fn name(self) -> &'static str {
        self.key().strip_prefix("portcullis.").unwrap_or_default()
    }

    /// The key under which it is written; Envoy puts `wasm.` before it.
    pub fn key(self) -> &'static str {
        match self {
            Self::Decision => "portcullis.decision",
            Self::Reason => "portcullis.reason",
            Self::Rule => "portcullis.rule",
            Self::Provider => "portcullis.provider",
            Self::Subject => "portcullis.subject",
            Self::Scopes => "portcullis.scopes",
            Self::DpopNonce => "portcullis.dpop_nonce",
        }
    }
}

/// Which entries of the filter state are written.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct FilterStateFields(u8);

impl FilterStateFields {
    /// None of them.
    pub const NONE: Self = Self(0);
    /// Every one of them.
    pub const ALL: Self = Self(u8::MAX);

    /// This and one more.
    #[must_use]
    pub fn with(self, entry: FilterStateField) -> Self {
        Self(self.0 | Self::bit(entry))
    }

    /// Whether it is among them.
    pub fn has(self, entry: FilterStateField) -> bool {
        self.0 & Self::bit(entry) != 0
    }

    fn bit(entry: FilterStateField) -> u8 {
        1u8.checked_shl(entry as u32).unwrap_or(0)
    }
}
