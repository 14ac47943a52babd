//! Answers that are signed (RFC 9701 section 5).

use std::sync::Arc;

use super::settings::Introspection;
use crate::crypto::Backend;
use crate::json::{self, Json, Object, Piece};
use crate::keys::KeySet;
use crate::reason::Reason;
use crate::time::Timestamp;
use crate::token::{Issuer, Jws};

/// What signed answers are verified by.
#[derive(Clone, Copy)]
pub struct Verifier<'v> {
    /// The keys of the provider, where they are at hand.
    pub keys: Option<&'v KeySet>,
    /// Where signatures are checked.
    pub backend: &'v Backend,
}

/// The type of a signed answer, and of nothing else.
const TYPE: &str = "token-introspection+jwt";

/// Why a signed answer is not believed.
pub(super) enum SignedError {
    /// It says nothing that can be used. It says why.
    Unclear(String),
    /// No key at hand verifies it.
    Unverified {
        /// The key that it names.
        kid: Option<String>,
        /// What is wrong with it.
        why: &'static str,
    },
}

impl From<&str> for SignedError {
    fn from(why: &str) -> Self {
        Self::Unclear(why.to_owned())
    }
}

/// The members that a signed answer has under `token_introspection`, as text, and the fingerprint of the key that signed
/// them; or why it is not believed.
pub(super) fn open(
    settings: &Introspection,
    body: &[u8],
    verifier: Verifier<'_>,
    now: Timestamp,
) -> Result<(Arc<str>, [u8; 32]), SignedError> {
    let policy = &settings.answer_policy;
    let body = body.trim_ascii();
    if body.first() == Some(&b'{') {
        return Err("the answer is JSON and not signed: this server signs none; write \"accept\": \"json\", or set the client up for signed answers".into());
    }
    let jws = Jws::parse(body).map_err(|_| "the answer is no signed JWT")?;
    let header = jws.header();
    if header.typ.as_deref() != Some(TYPE) {
        return Err("\"typ\" of the signed answer is not \"token-introspection+jwt\"".into());
    }
    if !policy.algorithms.contains(header.algorithm) {
        let name = header.algorithm.name();
        let why = format!("the answer is signed with {name}, which is none of \"algorithms\"");
        return Err(SignedError::Unclear(why));
    }
    let keys = verifier.keys.ok_or("the keys that verify the answer are not at hand")?;
    let candidates = keys.candidates(header.kid.as_deref(), header.algorithm);
    let key = jws.verify(verifier.backend, candidates).map_err(|rejected| SignedError::Unverified {
        kid: header.kid.clone().filter(|kid| !keys.has_kid(kid)),
        why: match rejected.reason {
            Reason::KeyNotFound => "no key of the provider fits the signed answer",
            _ => "the signature of the answer does not hold",
        },
    })?;
    let payload = jws.payload().map_err(|_| NO_CLAIMS)?;
    let text = std::str::from_utf8(&payload).map_err(|_| NO_CLAIMS)?;
    let Ok(Json::Object(claims)) = json::parse(text.as_bytes()) else { return Err(NO_CLAIMS.into()) };
    check_claims(settings, &claims, now).map_err(SignedError::Unclear)?;
    if claims.get("token_introspection").and_then(Json::as_object).is_none() {
        return Err("the signed answer has no object \"token_introspection\"".into());
    }
    let all = Piece::again(text.trim_matches([' ', '\t', '\n', '\r']));
    let members = all.member("token_introspection").ok_or(NO_CLAIMS)?;
    Ok((Arc::from(members.raw()), key.fingerprint))
}

const NO_CLAIMS: &str = "the payload of the signed answer is no JSON object";

/// Who answered, to whom, and when.
fn check_claims(settings: &Introspection, claims: &Object, now: Timestamp) -> Result<(), String> {
    let policy = &settings.answer_policy;
    let issuer = claims.get("iss").and_then(Json::as_str);
    let is_issuer = |issuer: &str| policy.issuers.iter().any(|own: &Issuer| own.is(issuer, claims));
    if !issuer.is_some_and(is_issuer) {
        return Err("\"iss\" of the signed answer is not the provider's".to_owned());
    }
    let is_ours = |audience: &Json| {
        let audience = audience.as_str();
        audience.is_some_and(|one| {
            settings.client_id.as_deref() == Some(one) || policy.audiences.iter().any(|own| own == one)
        })
    };
    let is_for_us = match claims.get("aud") {
        Some(Json::Array(many)) => many.iter().any(is_ours),
        Some(one) => is_ours(one),
        None => false,
    };
    if !is_for_us {
        return Err(
            "\"aud\" of the signed answer holds neither \"client_id\" nor one of \"audiences\"".to_owned()
        );
    }
    let date = |name: &str| match claims.get(name) {
        Some(Json::Number(number)) => Timestamp::from_number(*number).map(Some).map_err(|_| ()),
        None => Ok(None),
        Some(_) => Err(()),
    };
    let unreadable = |name: &str| format!("{name:?} of the signed answer is no date");
    let issued = date("iat").map_err(|()| unreadable("iat"))?.ok_or_else(|| unreadable("iat"))?;
    let max = policy.clock_skew.saturating_add(settings.endpoint.timeout);
    if now.since(issued) > max || issued.since(now) > policy.clock_skew {
        return Err(format!("\"iat\" of the signed answer is not of now: it may be {} s old", max.as_secs()));
    }
    match date("exp").map_err(|()| unreadable("exp"))? {
        Some(expires) if now >= expires.plus(policy.clock_skew) => {
            Err("the signed answer has expired".to_owned())
        }
        _ => Ok(()),
    }
}
