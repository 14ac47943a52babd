//! Why a request was refused: one closed list with one stable name each.

/// The reason of a refusal. Its name is what the log, the metrics, the filter state and the response
/// code details show; names never change.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Reason {
    /// The rule asks for a token and the request carries none.
    TokenMissing,
    /// More than one credential, or a repeated field that carries one (RFC 6750 section 2).
    TokenMultiple,
    /// The token is longer than `max_token_size`.
    TokenTooLarge,
    /// Not a compact JWS of a JSON header and a JSON claims set (RFC 7515 section 7.1, RFC 7519 section 7.2).
    TokenMalformed,
    /// A JWE (RFC 7516); this gate holds no decryption keys.
    TokenEncrypted,
    /// Bound to a key (`cnf`, RFC 7800) that the sender has not proven to hold.
    TokenBound,
    /// `typ` is none of `token_types` (RFC 8725 section 3.11).
    TypeNotAllowed,
    /// `alg` is none of `algorithms` (RFC 8725 section 3.1).
    AlgorithmNotAllowed,
    /// `crit` or `b64` is present; no extension is understood (RFC 7515 section 4.1.11, RFC 7797).
    CriticalHeader,
    /// No key of the provider fits `kid` and `alg`.
    KeyNotFound,
    /// The provider's keys could not be fetched, or are too old to trust.
    KeysUnavailable,
    /// The signature does not hold under any fitting key.
    SignatureInvalid,
    /// `iss` is no provider's that the rule accepts.
    IssuerUnknown,
    /// `aud` holds none of the accepted audiences (RFC 7519 section 4.1.3).
    AudienceMismatch,
    /// `sub` does not match `subjects`.
    SubjectMismatch,
    /// `exp` has passed (RFC 7519 section 4.1.4).
    Expired,
    /// `nbf` has not come (RFC 7519 section 4.1.5).
    NotYetValid,
    /// `iat` lies in the future.
    IssuedInFuture,
    /// `exp` is absent and required.
    ExpirationMissing,
    /// More of the token's life is left than `max_lifetime` allows.
    LifetimeExceeded,
    /// `iat` is longer ago than `max_age` allows.
    TooOld,
    /// A claim that is required is absent.
    ClaimMissing,
    /// A registered claim has a wrong type or value (RFC 7519 section 4.1).
    ClaimInvalid,
    /// The rule's scopes are not held (RFC 6750 section 3.1, `insufficient_scope`).
    ScopeInsufficient,
    /// The rule's roles are not held.
    RoleInsufficient,
    /// A claim condition of the rule is not met.
    ClaimMismatch,
    /// No rule matches and `unmatched` is `deny`.
    RouteUnmatched,
    /// The path could be read in two ways.
    PathAmbiguous,
    /// The host, a header, a query parameter or a cookie could be read in two ways.
    RequestAmbiguous,
    /// The token came over plaintext and `require_tls` forbids that.
    TransportInsecure,
    /// An unsafe request with a cookie token from another site.
    CsrfSuspected,
    /// Too many requests wait, or the host failed us.
    Overloaded,
    /// The configuration of the gate was refused, and there is no earlier one.
    ConfigurationRefused,
    /// The token was withdrawn.
    Revoked,
    /// Whether the token was withdrawn cannot be known.
    RevocationUnavailable,
    /// A one-time token came a second time.
    Replayed,
}

impl Reason {
    /// Every reason there is.
    pub const ALL: &[Self] = &[
        Self::TokenMissing,
        Self::TokenMultiple,
        Self::TokenTooLarge,
        Self::TokenMalformed,
        Self::TokenEncrypted,
        Self::TokenBound,
        Self::TypeNotAllowed,
        Self::AlgorithmNotAllowed,
        Self::CriticalHeader,
        Self::KeyNotFound,
        Self::KeysUnavailable,
        Self::SignatureInvalid,
        Self::IssuerUnknown,
        Self::AudienceMismatch,
        Self::SubjectMismatch,
        Self::Expired,
        Self::NotYetValid,
        Self::IssuedInFuture,
        Self::ExpirationMissing,
        Self::LifetimeExceeded,
        Self::TooOld,
        Self::ClaimMissing,
        Self::ClaimInvalid,
        Self::ScopeInsufficient,
        Self::RoleInsufficient,
        Self::ClaimMismatch,
        Self::RouteUnmatched,
        Self::PathAmbiguous,
        Self::RequestAmbiguous,
        Self::TransportInsecure,
        Self::CsrfSuspected,
        Self::Overloaded,
        Self::ConfigurationRefused,
        Self::Revoked,
        Self::RevocationUnavailable,
        Self::Replayed,
    ];

    /// The stable name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::TokenMissing => "token_missing",
            Self::TokenMultiple => "token_multiple",
            Self::TokenTooLarge => "token_too_large",
            Self::TokenMalformed => "token_malformed",
            Self::TokenEncrypted => "token_encrypted",
            Self::TokenBound => "token_bound",
            Self::TypeNotAllowed => "type_not_allowed",
            Self::AlgorithmNotAllowed => "algorithm_not_allowed",
            Self::CriticalHeader => "critical_header",
            Self::KeyNotFound => "key_not_found",
            Self::KeysUnavailable => "keys_unavailable",
            Self::SignatureInvalid => "signature_invalid",
            Self::IssuerUnknown => "issuer_unknown",
            Self::AudienceMismatch => "audience_mismatch",
            Self::SubjectMismatch => "subject_mismatch",
            Self::Expired => "expired",
            Self::NotYetValid => "not_yet_valid",
            Self::IssuedInFuture => "issued_in_future",
            Self::ExpirationMissing => "expiration_missing",
            Self::LifetimeExceeded => "lifetime_exceeded",
            Self::TooOld => "too_old",
            Self::ClaimMissing => "claim_missing",
            Self::ClaimInvalid => "claim_invalid",
            Self::ScopeInsufficient => "scope_insufficient",
            Self::RoleInsufficient => "role_insufficient",
            Self::ClaimMismatch => "claim_mismatch",
            Self::RouteUnmatched => "route_unmatched",
            Self::PathAmbiguous => "path_ambiguous",
            Self::RequestAmbiguous => "request_ambiguous",
            Self::TransportInsecure => "transport_insecure",
            Self::CsrfSuspected => "csrf_suspected",
            Self::Overloaded => "overloaded",
            Self::ConfigurationRefused => "configuration_refused",
            Self::Revoked => "revoked",
            Self::RevocationUnavailable => "revocation_unavailable",
            Self::Replayed => "replayed",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_stands_in_the_list_at_its_own_place() {
        for (at, reason) in Reason::ALL.iter().enumerate() {
            assert_eq!(*reason as usize, at, "{reason:?}");
        }
    }

    #[test]
    fn the_names_are_distinct_and_fit_for_a_header_and_a_metric() {
        let mut names: Vec<_> = Reason::ALL.iter().map(|r| r.as_str()).collect();
        assert!(names.iter().all(|n| n.bytes().all(|b| b.is_ascii_lowercase() || b == b'_')));
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), Reason::ALL.len());
        assert_eq!(names.len(), 36);
    }
}
