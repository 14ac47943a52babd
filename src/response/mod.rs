//! An outcome as the client sees it: status, challenge (RFC 6750 section 3, RFC 9110 section 11.6.1)
//! and problem document (RFC 9457).
//!
//! Until a signature holds, whoever sent the token may be anyone, and is told no more than anyone
//! may know: not which issuer, audience or key was expected.

use std::borrow::Cow;

use crate::reason::Reason;

/// A refusal, before it is put into words.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ErrorResponse {
    /// Why.
    pub reason: Reason,
    /// Whether the token's signature held, so that its sender may know the reason.
    pub verified: bool,
    /// The `realm` of the challenge.
    pub realm: String,
    /// The `scope` of the challenge: what the client should ask for.
    pub scope: Option<String>,
    /// For a 503: in how many seconds to try again.
    pub retry_after: Option<u64>,
    /// The status, where it is another than the reason's own.
    pub status: Option<u16>,
    /// How it is told.
    pub style: Style,
}

/// How refusals are told.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Style {
    /// The form of the body.
    pub body: Body,
    /// Whether body and challenge are left out, as with `strip_failure_response` of `jwt_authn`.
    pub stripped: bool,
}

/// The form of a refusal's body.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Body {
    /// A problem document (RFC 9457).
    #[default]
    Problem,
    /// A line of text.
    Text,
    /// Nothing.
    None,
}

/// A local reply.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LocalReply {
    /// The HTTP status.
    pub status: u16,
    /// The header fields, in order.
    pub headers: Vec<(&'static str, Cow<'static, str>)>,
    /// The body.
    pub body: String,
    /// The gRPC status, for a client that speaks gRPC.
    pub grpc_status: Option<i32>,
    /// `%RESPONSE_CODE_DETAILS%`: `portcullis_<reason>`.
    pub details: String,
}

impl ErrorResponse {
    /// The refusal of a request for a reason that has no challenge with a scope.
    pub fn new(reason: Reason, realm: &str) -> Self {
        Self {
            reason,
            verified: false,
            realm: realm.to_owned(),
            scope: None,
            retry_after: None,
            status: None,
            style: Style::default(),
        }
    }

    /// The reply to a client; `grpc` where it speaks gRPC.
    pub fn reply(&self, grpc: bool) -> LocalReply {
        let status = self.status.unwrap_or_else(|| status(self.reason));
        let told = self.told();
        let (title, detail) = words(told);
        let mut headers = Vec::with_capacity(4);
        headers.push(("cache-control", Cow::Borrowed("no-store")));
        if let Some(challenge) = self.challenge(detail).filter(|_| !self.style.stripped) {
            headers.push(("www-authenticate", Cow::Owned(challenge)));
        }
        if status == 503 {
            headers.push(("retry-after", Cow::Owned(self.retry_after.unwrap_or(1).max(1).to_string())));
        }
        let form = if self.style.stripped { Body::None } else { self.style.body };
        let body = match form {
            Body::None => String::new(),
            // Envoy makes the body of a gRPC reply its `grpc-message`, which is one line.
            _ if grpc => title.to_owned(),
            Body::Text => {
                headers.push(("content-type", Cow::Borrowed("text/plain; charset=utf-8")));
                [detail, "\n"].concat()
            }
            Body::Problem => {
                headers.push(("content-type", Cow::Borrowed("application/problem+json")));
                problem(told, status, title, detail)
            }
        };
        let details = ["portcullis_", self.reason.as_str()].concat();
        LocalReply { status, headers, body, grpc_status: grpc.then(|| grpc_status(status)), details }
    }

    /// The reason as the client may know it.
    fn told(&self) -> &'static str {
        match self.reason {
            Reason::TokenMissing
            | Reason::TokenMultiple
            | Reason::TokenMalformed
            | Reason::TokenTooLarge
            | Reason::TokenEncrypted
            | Reason::Expired
            | Reason::NotYetValid
            | Reason::RouteUnmatched
            | Reason::PathAmbiguous
            | Reason::RequestAmbiguous
            | Reason::ConfigurationRefused
            | Reason::CsrfSuspected
            | Reason::TransportInsecure
            | Reason::KeysUnavailable
            | Reason::Overloaded => self.reason.as_str(),
            reason if self.verified => reason.as_str(),
            _ => "token_rejected",
        }
    }

    fn challenge(&self, detail: &str) -> Option<String> {
        let mut challenge = String::with_capacity(128);
        challenge.push_str("Bearer realm=\"");
        push_escaped(&mut challenge, &self.realm);
        challenge.push('"');
        let add_scope = |challenge: &mut String| {
            if let Some(scope) = &self.scope {
                challenge.push_str(", scope=\"");
                push_escaped(challenge, scope);
                challenge.push('"');
            }
        };
        match (status(self.reason), self.reason) {
            (401, Reason::TokenMissing) => add_scope(&mut challenge),
            (401, _) => {
                challenge.push_str(", error=\"invalid_token\", error_description=\"");
                challenge.push_str(detail);
                challenge.push('"');
            }
            (403, Reason::ScopeInsufficient) => {
                challenge.push_str(", error=\"insufficient_scope\"");
                add_scope(&mut challenge);
            }
            (403, Reason::RoleInsufficient | Reason::ClaimMismatch) => {}
            (_, Reason::TokenMultiple) => challenge.push_str(", error=\"invalid_request\""),
            _ => return None,
        }
        Some(challenge)
    }
}

/// The status of a refusal.
fn status(reason: Reason) -> u16 {
    match reason {
        Reason::TokenMultiple | Reason::PathAmbiguous | Reason::RequestAmbiguous => 400,
        Reason::ScopeInsufficient
        | Reason::RoleInsufficient
        | Reason::ClaimMismatch
        | Reason::RouteUnmatched
        | Reason::CsrfSuspected
        | Reason::TransportInsecure => 403,
        Reason::KeysUnavailable
        | Reason::RevocationUnavailable
        | Reason::Overloaded
        | Reason::ConfigurationRefused => 503,
        _ => 401,
    }
}

/// The gRPC status code of an HTTP status.
fn grpc_status(status: u16) -> i32 {
    match status {
        400 => 3,
        401 => 16,
        403 => 7,
        _ => 14,
    }
}

/// A fixed title and detail for what the client is told. No quote, backslash or non-ASCII stands in
/// them, so that they can go into a challenge as they are.
fn words(told: &str) -> (&'static str, &'static str) {
    match told {
        "token_missing" => ("Token missing", "This request needs a bearer token."),
        "token_multiple" => ("More than one token", "Send one token, in one place."),
        "token_too_large" => ("Token too large", "The token is longer than is accepted."),
        "token_malformed" => ("Token malformed", "The token is not a signed JWT in compact form."),
        "token_encrypted" => ("Token encrypted", "Encrypted tokens are not accepted."),
        "token_rejected" => ("Token rejected", "The token is not accepted."),
        "token_bound" => {
            ("Token bound to a key", "The token is bound to a key whose possession was not shown.")
        }
        "type_not_allowed" => ("Token type not allowed", "Tokens of this type are not accepted."),
        "algorithm_not_allowed" => ("Algorithm not allowed", "The signature algorithm is not accepted."),
        "critical_header" => ("Critical header", "The token needs an extension that is not supported."),
        "key_not_found" => ("Key not found", "No key fits the token."),
        "signature_invalid" => ("Signature invalid", "The signature does not hold."),
        "issuer_unknown" => ("Issuer unknown", "The issuer is not accepted."),
        "audience_mismatch" => ("Audience mismatch", "The token was made for another service."),
        "subject_mismatch" => ("Subject not accepted", "The subject is not accepted."),
        "expired" => ("Token expired", "The token has expired."),
        "not_yet_valid" => ("Token not yet valid", "The token is not valid yet."),
        "issued_in_future" => ("Token from the future", "The token says it will be issued later than now."),
        "expiration_missing" => ("Expiration missing", "The token never expires."),
        "lifetime_exceeded" => ("Lifetime too long", "The token is valid for longer than is accepted."),
        "too_old" => ("Token too old", "The token was issued too long ago."),
        "claim_missing" => ("Claim missing", "The token lacks a claim that is needed."),
        "claim_invalid" => ("Claim invalid", "A claim of the token is malformed."),
        "scope_insufficient" => {
            ("Scope insufficient", "The token does not grant the scopes that this request needs.")
        }
        "role_insufficient" => {
            ("Role insufficient", "The token does not grant a role that this request needs.")
        }
        "claim_mismatch" => ("Not allowed", "The token does not allow this request."),
        "route_unmatched" => ("Not allowed", "No rule allows this request."),
        "path_ambiguous" => ("Path ambiguous", "The path can be read in more than one way."),
        "request_ambiguous" => ("Request ambiguous", "The request can be read in more than one way."),
        "configuration_refused" => {
            ("Not configured", "The gate has no valid configuration. Try again later.")
        }
        "transport_insecure" => ("Transport insecure", "Tokens are accepted over TLS only."),
        "csrf_suspected" => ("Request from another site", "This request must come from the same site."),
        "keys_unavailable" => {
            ("Keys unavailable", "The keys to check the token are not available. Try again later.")
        }
        "overloaded" => ("Overloaded", "Too many requests are waiting. Try again later."),
        "revoked" => ("Token revoked", "The token was withdrawn."),
        "revocation_unavailable" => {
            ("Status unavailable", "Whether the token was withdrawn cannot be told. Try again later.")
        }
        "replayed" => ("Token replayed", "The token can be used once only."),
        _ => ("Refused", "The request was refused."),
    }
}

/// A problem document. Nothing in it needs an escape: title and detail are fixed words.
fn problem(told: &str, status: u16, title: &str, detail: &str) -> String {
    let mut body = String::with_capacity(256);
    body.push_str("{\"type\":\"urn:portcullis:reason:");
    body.push_str(told);
    body.push_str("\",\"title\":\"");
    body.push_str(title);
    body.push_str("\",\"status\":");
    body.push_str(&status.to_string());
    body.push_str(",\"detail\":\"");
    body.push_str(detail);
    body.push_str("\",\"reason\":\"");
    body.push_str(told);
    body.push_str("\"}");
    body
}

/// Adds a text inside a quoted-string (RFC 9110 section 5.6.4).
fn push_escaped(out: &mut String, text: &str) {
    for c in text.chars().filter(|c| !c.is_control()) {
        if matches!(c, '"' | '\\') {
            out.push('\\');
        }
        out.push(c);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header<'r>(reply: &'r LocalReply, name: &str) -> Option<&'r str> {
        reply.headers.iter().find(|(n, _)| *n == name).map(|(_, value)| &**value)
    }

    #[test]
    fn each_refusal_has_its_status_and_challenge() {
        use Reason::*;
        let realm = "Bearer realm=\"corp\"";
        for (reason, verified, scope, status, challenge, told) in [
            (TokenMissing, false, None, 401, Some(""), "token_missing"),
            (TokenMissing, false, Some("a b"), 401, Some(", scope=\"a b\""), "token_missing"),
            (
                Expired,
                false,
                Some("a"),
                401,
                Some(", error=\"invalid_token\", error_description=\"The token has expired.\""),
                "expired",
            ),
            (
                AudienceMismatch,
                false,
                None,
                401,
                Some(", error=\"invalid_token\", error_description=\"The token is not accepted.\""),
                "token_rejected",
            ),
            (
                AudienceMismatch,
                true,
                None,
                401,
                Some(
                    ", error=\"invalid_token\", error_description=\"The token was made for another service.\"",
                ),
                "audience_mismatch",
            ),
            (
                ScopeInsufficient,
                true,
                Some("a b"),
                403,
                Some(", error=\"insufficient_scope\", scope=\"a b\""),
                "scope_insufficient",
            ),
            (
                ScopeInsufficient,
                true,
                None,
                403,
                Some(", error=\"insufficient_scope\""),
                "scope_insufficient",
            ),
            (ClaimMismatch, true, None, 403, Some(""), "claim_mismatch"),
            (TokenMultiple, false, None, 400, Some(", error=\"invalid_request\""), "token_multiple"),
            (PathAmbiguous, false, None, 400, None, "path_ambiguous"),
            (RequestAmbiguous, false, None, 400, None, "request_ambiguous"),
            (ConfigurationRefused, false, None, 503, None, "configuration_refused"),
            (RouteUnmatched, false, None, 403, None, "route_unmatched"),
            (KeysUnavailable, false, None, 503, None, "keys_unavailable"),
        ] {
            let response = ErrorResponse {
                verified,
                scope: scope.map(str::to_owned),
                ..ErrorResponse::new(reason, "corp")
            };
            let reply = response.reply(false);
            assert_eq!(reply.status, status, "{reason:?}");
            let expected = challenge.map(|rest| format!("{realm}{rest}"));
            assert_eq!(header(&reply, "www-authenticate"), expected.as_deref(), "{reason:?}");
            assert!(reply.body.contains(&format!("\"reason\":\"{told}\"")), "{reason:?}: {}", reply.body);
            assert_eq!(header(&reply, "retry-after").is_some(), status == 503);
            assert_eq!(reply.details, format!("portcullis_{}", reason.as_str()));
        }
    }

    #[test]
    fn every_reason_has_words_that_can_stand_in_a_challenge() {
        for reason in Reason::ALL {
            let (title, detail) = words(reason.as_str());
            assert_ne!(title, "Refused", "{reason:?}");
            for text in [title, detail] {
                assert!(text.bytes().all(|b| matches!(b, 0x20..=0x21 | 0x23..=0x5b | 0x5d..=0x7e)), "{text}");
            }
        }
        assert_ne!(words("token_rejected").0, "Refused");
    }

    #[test]
    fn the_body_is_json_and_nothing_breaks_out_of_the_challenge() {
        let response = ErrorResponse::new(Reason::TokenMissing, "a\"b\\c\r\nd");
        let reply = response.reply(false);
        assert_eq!(header(&reply, "www-authenticate"), Some("Bearer realm=\"a\\\"b\\\\cd\""));
        let body = crate::json::parse(reply.body.as_bytes()).unwrap();
        assert_eq!(body.as_object().unwrap().get("status").map(ToString::to_string).as_deref(), Some("401"));
        let names: Vec<_> = body.as_object().unwrap().iter().map(|(name, _)| name.to_owned()).collect();
        assert_eq!(names, ["type", "title", "status", "detail", "reason"]);
    }

    #[test]
    fn a_grpc_client_gets_a_grpc_status() {
        for (reason, status) in [
            (Reason::TokenMissing, 16),
            (Reason::RouteUnmatched, 7),
            (Reason::PathAmbiguous, 3),
            (Reason::RequestAmbiguous, 3),
            (Reason::ConfigurationRefused, 14),
            (Reason::KeysUnavailable, 14),
        ] {
            let reply = ErrorResponse::new(reason, "r").reply(true);
            assert_eq!(reply.grpc_status, Some(status));
            assert!(!reply.body.contains('{'));
        }
    }
}
