//! Why a request is rejected: one closed list of reasons, with one row for each, and the context of a single
//! rejection, which only the operator sees.

mod context;

pub use context::{Context, Detail, MAX_EXCERPT, Rejected, excerpt, excerpts};

/// How a refusal is answered, as HTTP and as gRPC.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ResponseStatus {
    /// 400 and `INVALID_ARGUMENT`
    BadRequest,
    /// 401 and `UNAUTHENTICATED`
    Unauthorized,
    /// 403 and `PERMISSION_DENIED`
    Forbidden,
    /// 425 (RFC 8470) and `UNAVAILABLE`
    TooEarly,
    /// 429 and `RESOURCE_EXHAUSTED`
    TooManyRequests,
    /// 503 and `UNAVAILABLE`
    Unavailable,
}

impl ResponseStatus {
    /// The HTTP status code (RFC 9110 section 15).
    pub const fn http(self) -> u16 {
        match self {
            Self::BadRequest => 400,
            Self::Unauthorized => 401,
            Self::Forbidden => 403,
            Self::TooEarly => 425,
            Self::TooManyRequests => 429,
            Self::Unavailable => 503,
        }
    }

    /// The gRPC status code.
    pub const fn grpc(self) -> i32 {
        match self {
            Self::BadRequest => 3,
            Self::Unauthorized => 16,
            Self::Forbidden => 7,
            Self::TooManyRequests => 8,
            Self::TooEarly | Self::Unavailable => 14,
        }
    }
}

/// What the client may know of a reason.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Disclosure {
    /// The reason itself.
    Always,
    /// The reason once the token's signature was verified, and until then no more than [`TOKEN_REJECTED`].
    Verified,
}

/// The challenge of a refusal (RFC 6750 section 3, RFC 9449 section 7.1).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Challenge {
    /// None.
    None,
    /// The realm alone.
    Realm,
    /// The realm, and the scopes to ask for.
    Scope,
    /// `error="invalid_request"`
    InvalidRequest,
    /// `error="invalid_token"`, with the detail as its description
    InvalidToken,
    /// `error="insufficient_scope"`, and the scopes to ask for
    InsufficientScope,
    /// `error="insufficient_user_authentication"`, how the user is to log in, and the scopes to ask for (RFC 9470)
    StepUp,
    /// `error="invalid_dpop_proof"` where the scheme is DPoP, else as [`Self::InvalidToken`]
    InvalidProof,
    /// `error="use_dpop_nonce"`
    UseNonce,
}

/// All that is fixed about a reason.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ReasonRow {
    /// Its stable name.
    pub name: &'static str,
    /// How it is answered.
    pub status: ResponseStatus,
    /// What the client may know of it.
    pub disclosure: Disclosure,
    /// The challenge that goes with it.
    pub challenge: Challenge,
    /// The title of its problem document.
    pub title: &'static str,
    /// The detail of its problem document. No quote, backslash or non-ASCII is in it, so that it can go into a
    /// challenge as it is.
    pub detail: &'static str,
}

/// What a client is told of a reason that it may not know: not which issuer, audience or key was expected.
pub const TOKEN_REJECTED: ReasonRow = ReasonRow {
    name: "token_rejected",
    status: ResponseStatus::Unauthorized,
    disclosure: Disclosure::Always,
    challenge: Challenge::InvalidToken,
    title: "Token rejected",
    detail: "The token is not accepted.",
};

/// Declares [`Reason`], one row for each: its documentation, the variant, and the fields of [`ReasonRow`] in order.
macro_rules! reasons {
    ($($(#[$about:meta])+ $reason:ident:
        $name:literal, $status:ident, $disclosure:ident, $challenge:ident, $title:literal, $detail:literal;)+) => {
        /// The reason of a refusal. Its name is what the log, the metrics, the filter state and the response
        /// code details show; names never change.
        #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
        pub enum Reason {
            $($(#[$about])+ $reason,)+
        }

        impl Reason {
            /// Every reason there is.
            pub const ALL: &[Self] = &[$(Self::$reason,)+];

            /// What is fixed about it.
            pub const fn row(self) -> &'static ReasonRow {
                match self {
                    $(Self::$reason => &ReasonRow {
                        name: $name,
                        status: ResponseStatus::$status,
                        disclosure: Disclosure::$disclosure,
                        challenge: Challenge::$challenge,
                        title: $title,
                        detail: $detail,
                    },)+
                }
            }
        }
    };
}

reasons! {
    /// The rule asks for a token and the request carries none.
    TokenMissing: "token_missing", Unauthorized, Always, Scope,
        "Token missing", "This request needs a bearer token.";
    /// More than one credential, or a repeated field that carries one (RFC 6750 section 2).
    TokenMultiple: "token_multiple", BadRequest, Always, InvalidRequest,
        "More than one token", "Send one token, in one place.";
    /// The token is longer than `max_token_size`.
    TokenTooLarge: "token_too_large", Unauthorized, Always, InvalidToken,
        "Token too large", "The token is longer than is accepted.";
    /// Not a compact JWS of a JSON header and a JSON claims set (RFC 7515 section 7.1, RFC 7519 section 7.2).
    TokenMalformed: "token_malformed", Unauthorized, Always, InvalidToken,
        "Token malformed", "The token is not a signed JWT in compact form.";
    /// A JWE (RFC 7516); this gate has no decryption keys.
    TokenEncrypted: "token_encrypted", Unauthorized, Always, InvalidToken,
        "Token encrypted", "Encrypted tokens are not accepted.";
    /// Bound to a key (`cnf`, RFC 7800) whose possession the sender has not proven.
    TokenBound: "token_bound", Unauthorized, Verified, InvalidToken,
        "Token bound to a key", "The token is bound to a key whose possession was not shown.";
    /// `typ` is none of `token_types` (RFC 8725 section 3.11).
    TypeNotAllowed: "type_not_allowed", Unauthorized, Verified, InvalidToken,
        "Token type not allowed", "Tokens of this type are not accepted.";
    /// `alg` is none of `algorithms` (RFC 8725 section 3.1).
    AlgorithmNotAllowed: "algorithm_not_allowed", Unauthorized, Verified, InvalidToken,
        "Algorithm not allowed", "The signature algorithm is not accepted.";
    /// `crit` or `b64` is present; no extension is understood (RFC 7515 section 4.1.11, RFC 7797).
    CriticalHeader: "critical_header", Unauthorized, Verified, InvalidToken,
        "Critical header", "The token needs an extension that is not supported.";
    /// No key of the provider fits `kid` and `alg`.
    KeyNotFound: "key_not_found", Unauthorized, Verified, InvalidToken,
        "Key not found", "No key fits the token.";
    /// The provider's keys could not be fetched, or are too old to trust.
    KeysUnavailable: "keys_unavailable", Unavailable, Always, None,
        "Keys unavailable", "The keys to check the token are not available. Try again later.";
    /// The signature is not valid under any fitting key.
    SignatureInvalid: "signature_invalid", Unauthorized, Verified, InvalidToken,
        "Signature invalid", "The signature does not hold.";
    /// `iss` is no issuer of a provider that the rule accepts.
    IssuerUnknown: "issuer_unknown", Unauthorized, Verified, InvalidToken,
        "Issuer unknown", "The issuer is not accepted.";
    /// `aud` has none of the accepted audiences (RFC 7519 section 4.1.3).
    AudienceMismatch: "audience_mismatch", Unauthorized, Verified, InvalidToken,
        "Audience mismatch", "The token was made for another service.";
    /// `sub` does not match `subjects`.
    SubjectMismatch: "subject_mismatch", Unauthorized, Verified, InvalidToken,
        "Subject not accepted", "The subject is not accepted.";
    /// `exp` has passed (RFC 7519 section 4.1.4).
    Expired: "expired", Unauthorized, Always, InvalidToken,
        "Token expired", "The token has expired.";
    /// `nbf` has not come (RFC 7519 section 4.1.5).
    NotYetValid: "not_yet_valid", Unauthorized, Always, InvalidToken,
        "Token not yet valid", "The token is not valid yet.";
    /// `iat` is in the future.
    IssuedInFuture: "issued_in_future", Unauthorized, Verified, InvalidToken,
        "Token from the future", "The token says it will be issued later than now.";
    /// `exp` is absent and required.
    ExpirationMissing: "expiration_missing", Unauthorized, Verified, InvalidToken,
        "Expiration missing", "The token never expires.";
    /// More of the token's life is left than `max_lifetime` allows.
    LifetimeExceeded: "lifetime_exceeded", Unauthorized, Verified, InvalidToken,
        "Lifetime too long", "The token is valid for longer than is accepted.";
    /// `iat` is longer ago than `max_age` allows.
    TooOld: "too_old", Unauthorized, Verified, InvalidToken,
        "Token too old", "The token was issued too long ago.";
    /// A claim that is required is absent.
    ClaimMissing: "claim_missing", Unauthorized, Verified, InvalidToken,
        "Claim missing", "The token lacks a claim that is needed.";
    /// A registered claim has a wrong type or value (RFC 7519 section 4.1).
    ClaimInvalid: "claim_invalid", Unauthorized, Verified, InvalidToken,
        "Claim invalid", "A claim of the token is malformed.";
    /// The token does not show that its user logged in as the rule asks (RFC 9470).
    AuthenticationInsufficient: "authentication_insufficient", Unauthorized, Verified, StepUp,
        "Authentication insufficient", "This request needs another or a newer log-in of the user.";
    /// The token does not grant the rule's scopes (RFC 6750 section 3.1, `insufficient_scope`).
    ScopeInsufficient: "scope_insufficient", Forbidden, Verified, InsufficientScope,
        "Scope insufficient", "The token does not grant the scopes that this request needs.";
    /// The token does not grant the rule's roles.
    RoleInsufficient: "role_insufficient", Forbidden, Verified, Realm,
        "Role insufficient", "The token does not grant a role that this request needs.";
    /// A claim condition of the rule is not met.
    ClaimMismatch: "claim_mismatch", Forbidden, Verified, Realm,
        "Not allowed", "The token does not allow this request.";
    /// No rule matches and `unmatched` is `deny`.
    RouteUnmatched: "route_unmatched", Forbidden, Always, None,
        "Not allowed", "No rule allows this request.";
    /// The path could be read in two ways.
    PathAmbiguous: "path_ambiguous", BadRequest, Always, None,
        "Path ambiguous", "The path can be read in more than one way.";
    /// The host, a header, a query parameter or a cookie could be read in two ways.
    RequestAmbiguous: "request_ambiguous", BadRequest, Always, None,
        "Request ambiguous", "The request can be read in more than one way.";
    /// The token came over plaintext and `require_tls` forbids that.
    TransportInsecure: "transport_insecure", Forbidden, Always, None,
        "Transport insecure", "Tokens are accepted over TLS only.";
    /// An unsafe request with a cookie token from another site.
    CsrfSuspected: "csrf_suspected", Forbidden, Always, None,
        "Request from another site", "This request must come from the same site.";
    /// Too many requests wait, or a host call failed.
    Overloaded: "overloaded", Unavailable, Always, None,
        "Overloaded", "Too many requests are waiting. Try again later.";
    /// Too many tokens of this client failed (RFC 6585 section 4).
    TooManyFailures: "too_many_failures", TooManyRequests, Always, None,
        "Too many failures", "Too many tokens from this address did not hold. Try again later.";
    /// The configuration of the gate was refused, and there is no earlier one.
    ConfigurationRefused: "configuration_refused", Unavailable, Always, None,
        "Not configured", "The gate has no valid configuration. Try again later.";
    /// The token was revoked.
    Revoked: "revoked", Unauthorized, Verified, InvalidToken,
        "Token revoked", "The token was revoked.";
    /// Whether the token was revoked cannot be known.
    RevocationUnavailable: "revocation_unavailable", Unavailable, Verified, None,
        "Status unavailable", "Whether the token was revoked cannot be told. Try again later.";
    /// A one-time token came a second time.
    Replayed: "replayed", Unauthorized, Verified, InvalidToken,
        "Token replayed", "The token can be used once only.";
    /// The sender of a token that is bound to a key does not prove to have that key (RFC 9449 section 7.1).
    ProofMissing: "proof_missing", Unauthorized, Always, InvalidProof,
        "Proof missing", "This request needs a token that is bound to a key, and a proof of that key.";
    /// A proof does not hold (RFC 9449 section 4.3).
    ProofInvalid: "proof_invalid", Unauthorized, Always, InvalidProof,
        "Proof invalid", "The proof does not hold for this request and this token.";
    /// A proof came a second time (RFC 9449 section 11.1).
    ProofReplayed: "proof_replayed", Unauthorized, Always, InvalidProof,
        "Proof replayed", "The proof was used before. Make one for each request.";
    /// A proof has no nonce that is good (RFC 9449 section 9).
    NonceRequired: "nonce_required", Unauthorized, Always, UseNonce,
        "Nonce required", "The proof needs the nonce that this answer has in DPoP-Nonce.";
    /// The request did not come with the certificate that the token is bound to (RFC 8705 section 3).
    CertificateMismatch: "certificate_mismatch", Unauthorized, Always, InvalidToken,
        "Certificate mismatch", "This request needs the client certificate that the token is bound to.";
    /// A request that must not be sent again came in early data (RFC 8470).
    EarlyData: "early_data", TooEarly, Always, None,
        "Too early", "This request is not accepted in TLS early data. Send it again after the handshake.";
    /// The provider says that the token is not active (RFC 7662 section 2.2).
    TokenInactive: "token_inactive", Unauthorized, Always, InvalidToken,
        "Token inactive", "The token is not active.";
    /// Whether the token is active cannot be known: the introspection endpoint gave no answer.
    IntrospectionUnavailable: "introspection_unavailable", Unavailable, Always, None,
        "Introspection unavailable", "The provider cannot be asked about the token. Try again later.";
}

impl Reason {
    /// The stable name.
    pub const fn as_str(self) -> &'static str {
        self.row().name
    }

    /// What it means, in a sentence.
    pub const fn detail(self) -> &'static str {
        self.row().detail
    }

    /// Whether a token that is rejected for this reason counts as a failure of the client that sent it: it was never a
    /// token of the provider. One that has run out, is for another service or is missing is an honest client's, too.
    pub const fn is_failure(self) -> bool {
        matches!(
            self,
            Self::TokenMalformed | Self::SignatureInvalid | Self::KeyNotFound | Self::TokenInactive
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_is_in_the_list_at_its_own_place() {
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
        assert_eq!(names.len(), 46);
    }

    #[test]
    fn every_reason_has_words_that_can_go_into_a_challenge() {
        for row in Reason::ALL.iter().map(|reason| reason.row()).chain([&TOKEN_REJECTED]) {
            for text in [row.title, row.detail] {
                assert!(!text.is_empty(), "{row:?}");
                assert!(text.bytes().all(|b| matches!(b, 0x20..=0x21 | 0x23..=0x5b | 0x5d..=0x7e)), "{text}");
            }
        }
    }
}
