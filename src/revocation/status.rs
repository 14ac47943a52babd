//! A Token Status List (draft-ietf-oauth-status-list): one to eight bits for each of many tokens, signed.

use miniz_oxide::inflate::{TINFLStatus, decompress_to_vec_zlib_with_limit};

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;

use crate::crypto::Backend;
use crate::json::{self, Json, Number, Object};
use crate::keys::KeySet;
use crate::reason::{Reason, Rejected};
use crate::time::Timestamp;
use crate::token::{Claims, Jws, Policy};

/// Where a token's status is (section 6.2 of the draft).
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Reference {
    /// The list.
    pub uri: String,
    /// The place in it.
    pub at: u64,
}

impl Reference {
    /// The reference in a claims set, where there is one.
    ///
    /// # Errors
    /// [`Reason::ClaimInvalid`] for a `status` that says nothing that can be understood: it is not known then
    /// whether the token is valid.
    pub fn read(claims: &Claims) -> Result<Option<Self>, Rejected> {
        const INVALID: Rejected = Reason::ClaimInvalid
            .because("claim \"status\" has no status_list with a string \"uri\" and a number \"idx\"");
        let Some(status) = claims.all().get("status") else { return Ok(None) };
        let member = |object: &Json, name| object.as_object().and_then(|object| object.get(name).cloned());
        let list = member(status, "status_list").ok_or(INVALID)?;
        match (member(&list, "uri"), member(&list, "idx")) {
            (Some(Json::String(uri)), Some(Json::Number(Number::Unsigned(at)))) => {
                Ok(Some(Self { uri: uri.to_string(), at }))
            }
            _ => Err(INVALID),
        }
    }
}

/// The statuses themselves.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Bits {
    width: u8,
    bytes: Vec<u8>,
}

impl Bits {
    /// Reads the member `status_list` (section 4.2 of the draft): `bits`, and `lst` in zlib and base64url.
    ///
    /// # Errors
    /// What is wrong; a list of more than `max` bytes is not read to its end.
    pub fn read(list: &Object, max: usize) -> Result<Self, StatusError> {
        let width = match list.get("bits") {
            Some(Json::Number(Number::Unsigned(width @ (1 | 2 | 4 | 8)))) => *width,
            _ => return Err(StatusError::Bits),
        };
        let text = list.get("lst").and_then(Json::as_str).ok_or(StatusError::Compression)?;
        let packed = BASE64_URL_SAFE_NO_PAD.decode(text).map_err(|_| StatusError::Compression)?;
        match decompress_to_vec_zlib_with_limit(&packed, max) {
            Ok(bytes) => Ok(Self { width: u8::try_from(width).unwrap_or(8), bytes }),
            Err(error) if error.status == TINFLStatus::HasMoreOutput => Err(StatusError::TooLong(max)),
            Err(_) => Err(StatusError::Compression),
        }
    }

    /// The status at a place; none past the end. The first is in the lowest bits of its byte.
    pub fn get(&self, at: u64) -> Option<u8> {
        let each = u64::from(8u8.checked_div(self.width)?);
        let byte = *self.bytes.get(usize::try_from(at.checked_div(each)?).ok()?)?;
        let place = u32::try_from(at.checked_rem(each)?).ok()?.checked_mul(self.width.into())?;
        let mask = u8::MAX.checked_shr(8u32.checked_sub(self.width.into())?)?;
        Some(byte.checked_shr(place)? & mask)
    }

    /// How many bytes it takes.
    pub fn size(&self) -> usize {
        self.bytes.len()
    }
}

/// A status list token that was verified.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StatusList {
    /// The statuses.
    pub bits: Bits,
    /// `iat`
    pub issued: Timestamp,
    /// `exp`
    pub expires: Option<Timestamp>,
    /// `ttl` in seconds
    pub ttl: Option<u64>,
}

/// Why a status list cannot be used.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum StatusError {
    /// The token is bad, for this reason
    Token(Reason),
    /// `sub` is not the URI from which it came
    OtherSubject,
    /// `iat` or the member `status_list` is missing, or a member has a wrong type
    Malformed,
    /// `bits` is none of 1, 2, 4 and 8
    Bits,
    /// `lst` is not zlib in base64url, whole and with its checksum
    Compression,
    /// More than so many bytes, unpacked
    TooLong(usize),
    /// There are no keys to verify it by
    NoKeys,
}

impl std::fmt::Display for StatusError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Token(reason) => write!(f, "the status list token is not accepted: {}", reason.as_str()),
            Self::OtherSubject => f.write_str("the \"sub\" of the status list token is not its URI"),
            Self::Malformed => f.write_str("the status list token lacks \"iat\" or \"status_list\""),
            Self::Bits => f.write_str("the \"bits\" of the status list are none of 1, 2, 4 and 8"),
            Self::Compression => f.write_str("the \"lst\" of the status list is not zlib in base64url"),
            Self::TooLong(max) => {
                write!(f, "the status list unpacks to more than max_list_bytes ({max})")
            }
            Self::NoKeys => f.write_str("there are no keys of its provider to verify it by"),
        }
    }
}

impl StatusList {
    /// Verifies a status list token (section 8.3 of the draft) that came from `uri`.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn verify(
        token: &[u8],
        uri: &str,
        trust: (&KeySet, &Policy, &Backend),
        max: usize,
        now: Timestamp,
    ) -> Result<Self, StatusError> {
        let (keys, policy, backend) = trust;
        let jws = Jws::parse(token.trim_ascii()).map_err(|rejected| StatusError::Token(rejected.reason))?;
        let header = jws.header();
        if header.typ.as_deref() != Some("statuslist+jwt") {
            return Err(StatusError::Token(Reason::TypeNotAllowed));
        }
        if !policy.algorithms.contains(header.algorithm) {
            return Err(StatusError::Token(Reason::AlgorithmNotAllowed));
        }
        let candidates = keys.candidates(header.kid.as_deref(), header.algorithm);
        jws.verify(backend, candidates).map_err(|rejected| StatusError::Token(rejected.reason))?;
        let payload = jws.payload().map_err(|rejected| StatusError::Token(rejected.reason))?;
        let Ok(Json::Object(claims)) = json::parse(&payload) else { return Err(StatusError::Malformed) };
        if claims.get("sub").and_then(Json::as_str) != Some(uri) {
            return Err(StatusError::OtherSubject);
        }
        let date = |name: &str| match claims.get(name) {
            None => Ok(None),
            Some(Json::Number(number)) => {
                Timestamp::from_number(*number).map(Some).map_err(|_| StatusError::Malformed)
            }
            Some(_) => Err(StatusError::Malformed),
        };
        let issued = date("iat")?.ok_or(StatusError::Malformed)?;
        if issued > now.plus(policy.clock_skew) {
            return Err(StatusError::Token(Reason::IssuedInFuture));
        }
        let expires = date("exp")?;
        // Clocks may differ for tokens; a list that its issuer calls too old is too old.
        if expires.is_some_and(|expires| now >= expires) {
            return Err(StatusError::Token(Reason::Expired));
        }
        let ttl = match claims.get("ttl") {
            None => None,
            Some(Json::Number(Number::Unsigned(ttl))) => Some(*ttl),
            // A number beyond all bounds is clamped like any other.
            Some(Json::Number(Number::Float(ttl))) if *ttl > 0.0 => Some(*ttl as u64),
            Some(_) => return Err(StatusError::Malformed),
        };
        let list = claims.get("status_list").and_then(Json::as_object).ok_or(StatusError::Malformed)?;
        Ok(Self { bits: Bits::read(list, max)?, issued, expires, ttl })
    }
}
