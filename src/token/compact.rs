//! The compact serialization (RFC 7515 section 7.1).

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;

use super::{Claims, Grants, Header, header};
use crate::crypto::Backend;
use crate::json::{self, Json};
use crate::keys::Jwk;
use crate::reason::Reason;

/// A well-formed signed object (RFC 7515 section 3.1) of any content, whose signature was not checked.
#[derive(Debug)]
pub struct Jws<'t> {
    header: Rc<Header>,
    /// The header's text.
    head: &'t str,
    payload: &'t str,
    signing_input: &'t str,
    signature: Vec<u8>,
}

/// A well-formed token (RFC 7519 section 7.2) whose signature was not checked. What it claims is not to be
/// believed.
#[derive(Debug)]
pub struct Unverified<'t> {
    jws: Jws<'t>,
    text: Arc<str>,
    claims: Claims,
}

/// A token whose signature held under a key of its provider.
#[derive(Debug)]
pub struct Verified {
    /// The payload's text, of which the claims are pieces.
    text: Arc<str>,
    claims: Claims,
    key: [u8; 32],
}

impl<'t> Jws<'t> {
    /// Reads a token strictly: three non-empty parts in canonical base64url without padding (RFC
    /// 7515 section 2), the first a JSON header. The payload stays as it is.
    ///
    /// # Errors
    /// [`Reason::TokenMalformed`], [`Reason::TokenEncrypted`] for a JWE, [`Reason::CriticalHeader`],
    /// [`Reason::AlgorithmNotAllowed`] for an algorithm that is not known.
    pub fn parse(token: &'t [u8]) -> Result<Self, Reason> {
        let token = std::str::from_utf8(token).map_err(|_| Reason::TokenMalformed)?;
        let (signing_input, signature) = token.rsplit_once('.').ok_or(Reason::TokenMalformed)?;
        let (header, payload) = signing_input.split_once('.').ok_or(Reason::TokenMalformed)?;
        if payload.contains('.') {
            // Five parts are a JWE (RFC 7516 section 7.1); every other number is nothing.
            let dots = payload.bytes().filter(|byte| *byte == b'.').take(3).count();
            return Err(if dots == 2 { Reason::TokenEncrypted } else { Reason::TokenMalformed });
        }
        let head = header;
        let header = match header::known(head) {
            Some(header) => header,
            None => Rc::new(Header::parse(&decode(head)?)?),
        };
        Ok(Self { header, head, payload, signing_input, signature: decode(signature)? })
    }

    /// The JOSE header (RFC 7515 section 4).
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// What is signed: header and payload as they came (RFC 7515 section 5.1). Unlike the whole text it says
    /// the same for every signature of one token.
    pub fn signing_input(&self) -> &'t str {
        self.signing_input
    }

    /// The payload, decoded.
    ///
    /// # Errors
    /// [`Reason::TokenMalformed`] where it is empty or not canonical base64url.
    pub fn payload(&self) -> Result<Vec<u8>, Reason> {
        decode(self.payload)
    }

    /// The first of `keys` under which the signature holds, over the ASCII text of the first two parts
    /// (RFC 7515 section 5.2, step 8).
    ///
    /// # Errors
    /// [`Reason::KeyNotFound`] where no key fits, [`Reason::SignatureInvalid`] where it holds under
    /// none.
    pub fn verify<'k>(
        &self,
        backend: &Backend,
        keys: impl Iterator<Item = &'k Jwk>,
    ) -> Result<&'k Jwk, Reason> {
        let algorithm = self.header.algorithm;
        let mut reason = Reason::KeyNotFound;
        for jwk in keys.filter(|jwk| jwk.allows(algorithm)) {
            if backend.verify(&jwk.key, algorithm, self.signing_input.as_bytes(), &self.signature) {
                header::remember(self.head, &self.header);
                return Ok(jwk);
            }
            reason = Reason::SignatureInvalid;
        }
        Err(reason)
    }
}

impl<'t> Unverified<'t> {
    /// Reads a token: a [`Jws`] whose payload is a JSON claims set. `grants` says which claims
    /// hold scopes and roles.
    ///
    /// # Errors
    /// Those of [`Jws::parse`], and [`Reason::ClaimInvalid`] for a registered claim of a wrong type.
    pub fn parse(token: &'t [u8], grants: &Grants) -> Result<Self, Reason> {
        Self::read(Jws::parse(token)?, grants)
    }

    /// The same for what is known to be well formed: reads the claims.
    ///
    /// # Errors
    /// [`Reason::TokenMalformed`] where the payload is no claims set, and [`Reason::ClaimInvalid`] for a
    /// registered claim of a wrong type.
    pub fn read(jws: Jws<'t>, grants: &Grants) -> Result<Self, Reason> {
        let text = shared_text(jws.payload)?;
        match json::parse_shared(&text) {
            Ok(Json::Object(claims)) => Ok(Self { jws, text, claims: Claims::new(claims, grants)? }),
            _ => Err(Reason::TokenMalformed),
        }
    }

    /// The JOSE header, to be kept while the token goes on.
    pub fn shared_header(&self) -> Rc<Header> {
        Rc::clone(&self.jws.header)
    }

    /// The JOSE header.
    pub fn header(&self) -> &Header {
        &self.jws.header
    }

    /// What the token claims.
    pub fn claims(&self) -> &Claims {
        &self.claims
    }

    /// Checks the signature under each of `keys` in turn.
    ///
    /// # Errors
    /// Those of [`Jws::verify`].
    pub fn verify<'k>(
        self,
        backend: &Backend,
        keys: impl Iterator<Item = &'k Jwk>,
    ) -> Result<Verified, Reason> {
        let key = self.jws.verify(backend, keys)?.fingerprint;
        Ok(Verified { text: self.text, claims: self.claims, key })
    }
}

impl Verified {
    /// What the token claims.
    pub fn claims(&self) -> &Claims {
        &self.claims
    }

    /// The claims set as it came: base64url without padding, of which every text has but one.
    pub fn payload(&self) -> String {
        BASE64_URL_SAFE_NO_PAD.encode(&*self.text)
    }

    /// The fingerprint of the key that verified it.
    pub fn key(&self) -> &[u8; 32] {
        &self.key
    }
}

thread_local! {
    /// Room to decode in, kept from token to token.
    static ROOM: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// The largest room that is kept.
const MOST_ROOM: usize = 16 * 1024;

/// A part of a token that is text.
fn shared_text(part: &str) -> Result<Arc<str>, Reason> {
    ROOM.with_borrow_mut(|room| {
        room.clear();
        let decoded = BASE64_URL_SAFE_NO_PAD.decode_vec(part, room);
        let text = match (decoded, std::str::from_utf8(room)) {
            (Ok(()), Ok(text)) if !text.is_empty() => Ok(Arc::from(text)),
            _ => Err(Reason::TokenMalformed),
        };
        room.shrink_to(MOST_ROOM);
        text
    })
}

/// One non-empty part of a token. The decoder takes neither padding nor white space nor stray bits,
/// so that one meaning has one text.
fn decode(part: &str) -> Result<Vec<u8>, Reason> {
    match BASE64_URL_SAFE_NO_PAD.decode(part) {
        Ok(bytes) if !bytes.is_empty() => Ok(bytes),
        _ => Err(Reason::TokenMalformed),
    }
}
