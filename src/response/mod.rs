//! An outcome as the client sees it: status, challenge (RFC 6750 section 3, RFC 9110 section 11.6.1)
//! and problem document (RFC 9457).
//!
//! Until a signature is verified, the sender of the token may be anyone, and is told no more than anyone may know:
//! not which issuer, audience or key was expected. Of the context of a rejection the client is never told anything.

mod challenge;
mod cors;
mod resource;

use std::borrow::Cow;
use std::rc::Rc;

pub use challenge::DpopChallenge;
use challenge::{Parameters, challenges};
pub use cors::{Cors, CorsFields};
pub use resource::{DescribedResource, MAX_RESOURCES, ProtectedResource, ProtectedResources, WELL_KNOWN};

use serde::Serialize;

use crate::proof::NONCE_FIELD;
use crate::reason::{Disclosure, Reason, ReasonRow, ResponseStatus, TOKEN_REJECTED};
use crate::rules::StepUp;

/// A refusal as the client gets it, before it is put into words.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ErrorResponse {
    /// Why.
    pub reason: Reason,
    /// Whether the token's signature was verified, so that its sender may know the reason.
    pub verified: bool,
    /// The `realm` of the challenge.
    pub realm: String,
    /// The `scope` of the challenge: what the client should ask for.
    pub scope: Option<String>,
    /// What the challenges say of the scheme `DPoP`, where the provider takes it.
    pub dpop: Option<Box<DpopChallenge>>,
    /// For a 429 or 503: in how many seconds to try again.
    pub retry_after: Option<u64>,
    /// The status, where it is another than the reason's own.
    pub status: Option<ResponseStatus>,
    /// In which form it is written.
    pub style: Style,
    /// What it says to a page of another origin, where one may read it.
    pub cors: Option<Rc<CorsFields>>,
    /// Where the metadata of the protected resource is that the request was for (RFC 9728 section 5.1).
    pub resource_metadata: Option<Rc<str>>,
    /// How the user is to log in, where that is what lacks.
    pub step_up: Option<Rc<StepUp>>,
}

/// How refusals are written.
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

/// The problem document (RFC 9457 section 3.1) of a refusal; `reason` is an extension member.
#[derive(Serialize)]
struct ProblemDocument<'r> {
    r#type: String,
    title: &'r str,
    status: u16,
    detail: &'r str,
    reason: &'r str,
}

impl ErrorResponse {
    /// The refusal of a request for a reason that has no challenge with a scope.
    pub fn new(reason: Reason, realm: &str) -> Self {
        Self {
            reason,
            verified: false,
            realm: realm.to_owned(),
            scope: None,
            dpop: None,
            retry_after: None,
            status: None,
            style: Style::default(),
            cors: None,
            resource_metadata: None,
            step_up: None,
        }
    }

    /// The reply to a client; `grpc` where it speaks gRPC.
    pub fn reply(&self, grpc: bool) -> LocalReply {
        let status = self.status.unwrap_or(self.reason.row().status);
        let disclosed = self.disclosed();
        let mut headers = Vec::with_capacity(4);
        headers.push(("cache-control", Cow::Borrowed("no-store")));
        if !self.style.stripped {
            let all = self.challenges(disclosed.detail).into_iter().flatten();
            headers.extend(all.map(|challenge| ("www-authenticate", Cow::Owned(challenge))));
        }
        let nonce = self.dpop.as_ref().and_then(|dpop| dpop.nonce.as_ref());
        if let Some(nonce) = nonce.filter(|_| status == ResponseStatus::Unauthorized) {
            headers.push((NONCE_FIELD, Cow::Owned(nonce.clone())));
        }
        if matches!(status, ResponseStatus::Unavailable | ResponseStatus::TooManyRequests) {
            let seconds = self.retry_after.unwrap_or(1).max(1);
            headers.push(("retry-after", Cow::Owned(seconds.to_string())));
            if grpc {
                headers.push(("grpc-retry-pushback-ms", pushback(seconds)));
            }
        }
        let form = if self.style.stripped { Body::None } else { self.style.body };
        let body = match form {
            Body::None => String::new(),
            // Envoy makes the body of a gRPC reply its `grpc-message`, which is one line.
            _ if grpc => disclosed.title.to_owned(),
            Body::Text => {
                headers.push(("content-type", Cow::Borrowed("text/plain; charset=utf-8")));
                [disclosed.detail, "\n"].concat()
            }
            Body::Problem => {
                headers.push(("content-type", Cow::Borrowed("application/problem+json")));
                problem_document(disclosed, status)
            }
        };
        if let Some(cors) = &self.cors {
            headers.extend([
                ("access-control-allow-origin", Cow::Owned(cors.origin.clone())),
                ("vary", Cow::Borrowed("origin")),
                ("access-control-expose-headers", Cow::Owned(cors.exposed.clone())),
            ]);
        }
        LocalReply {
            status: status.http(),
            headers,
            body,
            grpc_status: grpc.then(|| status.grpc()),
            details: ["portcullis_", self.reason.as_str()].concat(),
        }
    }

    /// The reason as far as the client may know it.
    fn disclosed(&self) -> &'static ReasonRow {
        let row = self.reason.row();
        match row.disclosure {
            Disclosure::Always => row,
            Disclosure::Verified if self.verified => row,
            Disclosure::Verified => &TOKEN_REJECTED,
        }
    }

    fn challenges(&self, description: &str) -> [Option<String>; 2] {
        let parameters = Parameters {
            kind: self.reason.row().challenge,
            realm: &self.realm,
            scope: self.scope.as_deref(),
            description,
            step_up: self.step_up.as_deref(),
            resource_metadata: self.resource_metadata.as_deref(),
        };
        challenges(&parameters, self.dpop.as_deref())
    }
}

/// When a gRPC client is to try again, in milliseconds: it does not read `Retry-After`. One that would have to wait for
/// longer than calls last is told not to try again (gRPC A6, "Pushback").
fn pushback(seconds: u64) -> Cow<'static, str> {
    match seconds {
        0..=10 => Cow::Owned(seconds.saturating_mul(1000).to_string()),
        _ => Cow::Borrowed("-1"),
    }
}

fn problem_document(row: &ReasonRow, status: ResponseStatus) -> String {
    let document = ProblemDocument {
        r#type: ["urn:portcullis:reason:", row.name].concat(),
        title: row.title,
        status: status.http(),
        detail: row.detail,
        reason: row.name,
    };
    serde_json::to_string(&document).unwrap_or_default()
}

#[cfg(test)]
mod tests;
