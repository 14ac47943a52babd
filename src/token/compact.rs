//! The compact serialization (RFC 7515 section 7.1).

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;

use super::{Claims, Header};
use crate::json;
use crate::keys::Jwk;
use crate::reason::Reason;

/// A well-formed token whose signature was not checked. What it claims is not to be believed.
#[derive(Debug)]
pub struct Unverified<'t> {
    header: Header,
    claims: Claims,
    payload: &'t str,
    signing_input: &'t str,
    signature: Vec<u8>,
}

/// A token whose signature held under a key of its provider.
#[derive(Debug)]
pub struct Verified {
    claims: Claims,
    payload: String,
}

impl<'t> Unverified<'t> {
    /// Reads a token strictly: three non-empty parts in canonical base64url without padding (RFC
    /// 7515 section 2), a JSON header and a JSON claims set. `scope_claims` are the claims that hold
    /// scopes.
    ///
    /// # Errors
    /// [`Reason::TokenMalformed`], [`Reason::TokenEncrypted`] for a JWE, [`Reason::CriticalHeader`],
    /// [`Reason::AlgorithmNotAllowed`] for an algorithm that is not known,
    /// [`Reason::ClaimInvalid`] for a registered claim of a wrong type.
    pub fn parse(token: &'t [u8], scope_claims: &[String]) -> Result<Self, Reason> {
        let token = std::str::from_utf8(token).map_err(|_| Reason::TokenMalformed)?;
        let (signing_input, signature) = token.rsplit_once('.').ok_or(Reason::TokenMalformed)?;
        let (header, payload) = signing_input.split_once('.').ok_or(Reason::TokenMalformed)?;
        if payload.contains('.') {
            // Five parts are a JWE (RFC 7516 section 7.1); every other number is nothing.
            let parts = payload.bytes().filter(|byte| *byte == b'.').take(3).count();
            return Err(if parts == 2 { Reason::TokenEncrypted } else { Reason::TokenMalformed });
        }
        let header = Header::parse(&decode(header)?)?;
        let signature = decode(signature)?;
        let claims = decode(payload)?;
        let claims = match json::parse(&claims) {
            Ok(json::Json::Object(claims)) => Claims::new(claims, scope_claims)?,
            _ => return Err(Reason::TokenMalformed),
        };
        Ok(Self { header, claims, payload, signing_input, signature })
    }

    /// The JOSE header.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// What the token claims.
    pub fn claims(&self) -> &Claims {
        &self.claims
    }

    /// Checks the signature under each of `keys` in turn.
    ///
    /// # Errors
    /// [`Reason::KeyNotFound`] where there is no key, [`Reason::SignatureInvalid`] where it holds
    /// under none.
    pub fn verify<'k>(self, keys: impl Iterator<Item = &'k Jwk>) -> Result<Verified, Reason> {
        let mut reason = Reason::KeyNotFound;
        for jwk in keys {
            let algorithm = self.header.algorithm;
            if jwk.allows(algorithm)
                && jwk.key.verify(algorithm, self.signing_input.as_bytes(), &self.signature)
            {
                return Ok(Verified { claims: self.claims, payload: self.payload.to_owned() });
            }
            reason = Reason::SignatureInvalid;
        }
        Err(reason)
    }
}

impl Verified {
    /// What the token claims.
    pub fn claims(&self) -> &Claims {
        &self.claims
    }

    /// The claims set as it came: base64url without padding.
    pub fn payload(&self) -> &str {
        &self.payload
    }
}

/// One non-empty part of a token. The decoder takes neither padding nor white space nor stray bits,
/// so that one meaning has one text.
fn decode(part: &str) -> Result<Vec<u8>, Reason> {
    match BASE64_URL_SAFE_NO_PAD.decode(part) {
        Ok(bytes) if !bytes.is_empty() => Ok(bytes),
        _ => Err(Reason::TokenMalformed),
    }
}
