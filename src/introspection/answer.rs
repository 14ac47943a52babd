//! What an endpoint answered, and what that says (RFC 7662 sections 2.2 and 2.3).

use std::sync::Arc;

use super::settings::{AnswerForm, Introspection};
use super::signed::{self, SignedError, Verifier};
use crate::fetch::{FetchError, HttpResponse, content_coding};
use crate::json::{self, Json, Object};
use crate::reason::{Reason, Rejected};
use crate::time::Timestamp;

/// The largest answer that is read, in bytes.
pub const MAX_ANSWER_BYTES: usize = 65_536;

/// The members of an answer that says that a token is active.
#[derive(Clone, Debug)]
pub struct Answer {
    /// Their text.
    pub text: Arc<str>,
    /// All that are not `null`.
    pub members: Object,
    /// The fingerprint of the key that signed them; zeros where nothing did.
    pub key: [u8; 32],
}

/// What came of a call.
#[derive(Debug)]
pub enum Finding {
    /// The token is active.
    Active(Answer),
    /// It is not.
    Inactive(Rejected),
    /// An answer that says nothing of this token, and nothing against the endpoint.
    Unclear {
        /// What is wrong with it.
        why: String,
        /// Whether it refuses the gate, not the token.
        refuses_us: bool,
    },
    /// A signed answer that no key at hand verifies: another may be on its way.
    Unverified {
        /// The key that it names.
        kid: Option<String>,
        /// What is wrong with it.
        why: &'static str,
    },
    /// The endpoint does not answer this gate.
    Failed(FetchError),
}

/// Statuses that say that something is wrong with this token, not with the call.
const OF_THE_TOKEN: [u16; 4] = [400, 413, 414, 422];
/// The error of a token that the server does not know how to look up (RFC 7009 section 2.2.1); oidc-provider says so of
/// foreign JWTs.
const UNSUPPORTED: &str = "unsupported_token_type";

pub(super) fn read(
    settings: &Introspection,
    response: Result<HttpResponse, FetchError>,
    verifier: Verifier<'_>,
    now: Timestamp,
) -> Finding {
    let response = match response {
        Ok(response) => response,
        Err(FetchError::TooLarge { size, .. }) => {
            return unclear(format!("the answer has {size} bytes, more than {MAX_ANSWER_BYTES}"));
        }
        Err(error) => return Finding::Failed(error),
    };
    let status = response.status;
    if let Some(reason) = response.local_reply {
        let cluster = settings.endpoint.cluster.clone();
        return Finding::Failed(FetchError::LocalReply { cluster, status, reason });
    }
    match status {
        200 => read_good(settings, &response, verifier, now),
        401 | 400 | 413 | 414 | 422 => match error(&response.body) {
            Some(error) if error == UNSUPPORTED => Finding::Inactive(
                Reason::TokenInactive.because("the endpoint does not know tokens of this kind"),
            ),
            error if OF_THE_TOKEN.contains(&status) => {
                let error = error.as_deref().and_then(known_error);
                let why = match error {
                    Some(error) => format!("status {status}, error {error:?}"),
                    None => format!("status {status}"),
                };
                Finding::Unclear { why, refuses_us: error.is_some_and(|error| REFUSALS.contains(&error)) }
            }
            _ => Finding::Failed(FetchError::Status(status)),
        },
        _ => Finding::Failed(FetchError::Status(status)),
    }
}

/// Errors about the client that asks (RFC 6749 section 5.2).
const REFUSALS: [&str; 3] = ["invalid_client", "unauthorized_client", "access_denied"];

/// The `error` of a refusal (RFC 6749 section 5.2).
fn error(body: &[u8]) -> Option<String> {
    let json = json::parse(json::without_byte_order_mark(body)).ok()?;
    json.as_object()?.get("error")?.as_str().map(str::to_owned)
}

/// Those that can go into a log: what a server writes may repeat what it was sent.
fn known_error(error: &str) -> Option<&'static str> {
    const KNOWN: [&str; 6] = [
        "invalid_request",
        "invalid_client",
        "unauthorized_client",
        "invalid_token",
        "access_denied",
        "server_error",
    ];
    KNOWN.into_iter().find(|known| *known == error)
}

fn unclear(why: impl Into<String>) -> Finding {
    Finding::Unclear { why: why.into(), refuses_us: false }
}

fn read_good(
    settings: &Introspection,
    response: &HttpResponse,
    verifier: Verifier<'_>,
    now: Timestamp,
) -> Finding {
    if response.body.len() > MAX_ANSWER_BYTES {
        let size = response.body.len();
        return unclear(format!("the answer has {size} bytes, more than {MAX_ANSWER_BYTES}"));
    }
    if content_coding(response).is_some() {
        return unclear("the answer is compressed, although accept-encoding: identity was sent");
    }
    let (text, key) = match settings.form {
        AnswerForm::Json => match std::str::from_utf8(json::without_byte_order_mark(&response.body)) {
            Ok(text) => (Arc::from(text), [0; 32]),
            Err(_) => return unclear(NO_ANSWER),
        },
        AnswerForm::Jwt => match signed::open(settings, &response.body, verifier, now) {
            Ok(opened) => opened,
            Err(SignedError::Unverified { kid, why }) => return Finding::Unverified { kid, why },
            Err(SignedError::Unclear(why)) => return unclear(why),
        },
    };
    let Ok(Json::Object(members)) = json::parse_shared(&text) else {
        return unclear(NO_ANSWER);
    };
    match members.get("active") {
        Some(Json::Bool(true)) => Finding::Active(Answer { text, members: members.without_nulls(), key }),
        Some(Json::Bool(false)) => Finding::Inactive(Reason::TokenInactive.because("the provider says so")),
        _ => unclear(NO_ANSWER),
    }
}

const NO_ANSWER: &str = "the answer is no JSON object with a boolean \"active\"";

impl Answer {
    /// Whether the answer is about an access token (RFC 6749 section 7.1): refresh tokens and ID tokens are active at many
    /// servers.
    ///
    /// # Errors
    /// [`Reason::TypeNotAllowed`].
    pub fn check_type(&self) -> Result<(), Rejected> {
        let refused = |words| Err(Reason::TypeNotAllowed.because(words));
        match self.members.get("token_type").map(Json::as_str) {
            Some(Some(kind)) if kind.eq_ignore_ascii_case("bearer") || self.is_dpop() => {}
            None => {}
            Some(_) => return refused("token_type of the introspection answer is neither Bearer nor DPoP"),
        }
        match self.members.get("token_use") {
            Some(kind) if kind.as_str() != Some("access_token") => {
                refused("token_use of the introspection answer is not access_token")
            }
            _ => Ok(()),
        }
    }

    /// Whether it says that the token is bound to a key of its sender (RFC 9449 section 5).
    pub fn is_dpop(&self) -> bool {
        let kind = self.members.get("token_type").and_then(Json::as_str);
        kind.is_some_and(|kind| kind.eq_ignore_ascii_case("dpop"))
    }

    /// Whether it is about the JWT with these claims: who issued it, for whom, under which name.
    ///
    /// # Errors
    /// [`Reason::ClaimInvalid`], with the claim that differs.
    pub fn check_same(&self, claims: &Object) -> Result<(), Rejected> {
        let is_other = |name: &&'static str| {
            let own = claims.get(name).filter(|value| **value != Json::Null);
            self.members.get(name).zip(own).is_some_and(|(answered, own)| answered != own)
        };
        match ["iss", "sub", "jti"].into_iter().find(is_other) {
            Some(name) => Err(Reason::ClaimInvalid
                .explained(format!("claim {name:?} of the introspection answer is not that of the token"))),
            None => Ok(()),
        }
    }

    /// When the token ends, where the answer says it.
    pub fn expires(&self) -> Option<Timestamp> {
        match self.members.get("exp") {
            Some(Json::Number(number)) => Timestamp::from_number(*number).ok(),
            _ => None,
        }
    }
}
