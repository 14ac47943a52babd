//! The compact serialization (RFC 7515 section 7.1).

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;

use super::claims::Registered;
use super::reading::Outline;
use super::{ClaimPath, Claims, Header, Issuer, Policy, header};
use crate::crypto::{Backend, Key};
use crate::json::{self, Json, Object, Piece, Text};
use crate::keys::Jwk;
use crate::reason::{Detail, Reason, Rejected, excerpt};
use crate::time::Timestamp;

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

/// A token (RFC 7519 section 7.2) at which a first look showed nothing wrong, and whose signature was not checked.
/// Its claims cannot be trusted yet, and most of them were not read.
#[derive(Debug)]
pub struct Unverified<'t> {
    jws: Jws<'t>,
    text: Arc<str>,
    pub(super) outline: Outline,
    pub(super) registered: Registered,
}

/// A token whose signature was verified with a key of its provider, and whose claims are still to be read.
#[derive(Debug)]
pub struct Signed {
    text: Arc<str>,
    key: [u8; 32],
}

/// A token whose signature was verified with a key of its provider, and whose claims its policy accepts.
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
    pub fn parse(token: &'t [u8]) -> Result<Self, Rejected> {
        let token =
            std::str::from_utf8(token).map_err(|_| Reason::TokenMalformed.because("it is not UTF-8"))?;
        let parts = token
            .rsplit_once('.')
            .and_then(|(input, signature)| Some((input, input.split_once('.')?, signature)));
        let Some((signing_input, (head, payload), signature)) = parts else {
            return Err(NOT_THREE_PARTS);
        };
        if payload.contains('.') {
            // Five parts are a JWE (RFC 7516 section 7.1); every other number is nothing.
            let dots = payload.bytes().filter(|byte| *byte == b'.').take(3).count();
            let encrypted = Reason::TokenEncrypted.because("it has five parts, as a JWE");
            return Err(if dots == 2 { encrypted } else { NOT_THREE_PARTS });
        }
        let header = match header::known(head) {
            Some(header) => header,
            // What is too long is not even decoded.
            None if head.len() > MAX_HEADER_TEXT => return Err(header::TOO_LONG),
            None => Rc::new(Header::parse(&decode(head, "its header is empty or not base64url")?)?),
        };
        let signature = decode(signature, "its signature is empty or not base64url")?;
        Ok(Self { header, head, payload, signing_input, signature })
    }

    /// The JOSE header (RFC 7515 section 4).
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// The text of the header, in base64url.
    pub fn head(&self) -> &'t str {
        self.head
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
    pub fn payload(&self) -> Result<Vec<u8>, Rejected> {
        decode(self.payload, PAYLOAD_NOT_DECODED)
    }

    /// Whether the signature is this key's (RFC 7515 section 5.2, step 8), whoever named the key.
    pub fn is_signed_with(&self, backend: &Backend, key: &Key) -> bool {
        backend.verify(key, self.header.algorithm, self.signing_input.as_bytes(), &self.signature)
    }

    /// The first of `keys` under which the signature is valid, over the ASCII text of the first two parts
    /// (RFC 7515 section 5.2, step 8).
    ///
    /// # Errors
    /// [`Reason::KeyNotFound`] where no key fits, [`Reason::SignatureInvalid`] where it is valid under
    /// none, [`Reason::TokenMalformed`] where it is valid and the header has a member twice.
    pub fn verify<'k>(
        &self,
        backend: &Backend,
        keys: impl Iterator<Item = &'k Jwk>,
    ) -> Result<&'k Jwk, Rejected> {
        let algorithm = self.header.algorithm;
        let mut tried: usize = 0;
        for jwk in keys.filter(|jwk| jwk.allows(algorithm)) {
            if backend.verify(&jwk.key, algorithm, self.signing_input.as_bytes(), &self.signature) {
                if header::known(self.head).is_none() {
                    Header::check_strictly(&decode(self.head, "its header cannot be decoded")?)?;
                    header::remember(self.head, &self.header);
                }
                return Ok(jwk);
            }
            tried = tried.saturating_add(1);
        }
        let reason = if tried == 0 { Reason::KeyNotFound } else { Reason::SignatureInvalid };
        let kid = self.header.kid.as_deref().map(excerpt);
        Err(reason.with(Detail::Key { algorithm: algorithm.name(), kid, tried }))
    }
}

/// Whether a text is a token that could be bound to a key (`cnf`, RFC 7800). Nothing is read for that: the word may stand
/// anywhere in its payload, and behind an escape any word may.
pub(super) fn could_be_bound(token: &[u8]) -> bool {
    let mut parts = token.split(|byte| *byte == b'.');
    let (Some(_), Some(payload), Some(_), None) = (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return false;
    };
    let Ok(payload) = BASE64_URL_SAFE_NO_PAD.decode(payload) else { return false };
    payload.contains(&b'\\') || payload.split(|byte| *byte == b'"').any(|word| word == b"cnf")
}

impl<'t> Unverified<'t> {
    /// Takes a first look at a token of this policy's provider: a [`Jws`] whose payload is a JSON object.
    ///
    /// # Errors
    /// Those of [`Jws::parse`] and of [`Self::read`].
    pub fn parse(token: &'t [u8], policy: &Policy) -> Result<Self, Rejected> {
        Self::read(Jws::parse(token)?, policy)
    }

    /// The same for what is known to be well formed. Of the claims, those are kept for which the policy asks.
    ///
    /// # Errors
    /// [`Reason::TokenMalformed`] where the payload is no JSON object or one of those claims is in it twice,
    /// and [`Reason::ClaimInvalid`] for a registered claim of a wrong type.
    pub fn read(jws: Jws<'t>, policy: &Policy) -> Result<Self, Rejected> {
        let text = shared_text(jws.payload)?;
        let (mut outline, mut sound, mut twice) = (Outline::default(), true, None);
        let is_object = json::look_over(&text, |name, value| match name.plain() {
            // It is decoded with all others, once the signature holds.
            None => outline.miss(),
            Some(plain) if policy.wanted.contains(plain) => {
                let value = value.piece();
                let name = Text::of(&text, std::str::from_utf8(plain).unwrap_or_default());
                sound &= value.is_sound();
                if !outline.add(name, Text::of(&text, value.raw())) {
                    twice = Some(plain);
                }
            }
            Some(_) => {}
        });
        if !is_object || !sound {
            return Err(PAYLOAD_NOT_JSON);
        }
        if let Some(name) = twice {
            return Err(header::twice("payload", &String::from_utf8_lossy(name)));
        }
        let registered = Registered::read(&outline)?;
        Ok(Self { jws, text, outline, registered })
    }

    /// The JOSE header, to be kept while the token goes on.
    pub fn shared_header(&self) -> Rc<Header> {
        Rc::clone(&self.jws.header)
    }

    /// The JOSE header.
    pub fn header(&self) -> &Header {
        &self.jws.header
    }

    /// All its claims, read as strictly as once they are verified. Nobody has verified these: they are for who asks why a
    /// token is refused.
    ///
    /// # Errors
    /// Those of [`Signed::read`], but for the policy's own.
    pub fn claims(&self, policy: &Policy) -> Result<Claims, Rejected> {
        read_claims(&self.text, policy)
    }

    /// Checks the signature under each of `keys` in turn.
    ///
    /// # Errors
    /// Those of [`Jws::verify`].
    pub fn verify<'k>(
        self,
        backend: &Backend,
        keys: impl Iterator<Item = &'k Jwk>,
    ) -> Result<Signed, Rejected> {
        let key = self.jws.verify(backend, keys)?.fingerprint;
        Ok(Signed { text: self.text, key })
    }
}

/// Reads all claims of a payload, strictly.
fn read_claims(text: &Arc<str>, policy: &Policy) -> Result<Claims, Rejected> {
    let claims = match json::parse_shared(text) {
        Ok(Json::Object(claims)) => claims,
        Ok(_) => return Err(PAYLOAD_NOT_JSON),
        Err(error) => return Err(header::unreadable("payload", &error)),
    };
    Claims::new(claims, &policy.grants)
}

impl Signed {
    /// Reads all claims, strictly, and checks them by the policy. What was checked at first is checked again: it is
    /// this reading that counts, and the only one that lets a token pass.
    ///
    /// # Errors
    /// [`Reason::TokenMalformed`] where the payload is no JSON that is accepted, [`Reason::ClaimInvalid`] for a
    /// registered claim, a scope claim or a role claim of a wrong type, and those of the policy.
    pub fn read(self, policy: &Policy, audiences: &[String], now: Timestamp) -> Result<Verified, Rejected> {
        let claims = read_claims(&self.text, policy)?;
        policy.check_claims(&claims, audiences, now)?;
        Ok(Verified { text: self.text, claims, key: self.key })
    }
}

impl Verified {
    /// What a provider answered of a token (RFC 7662 section 2.2), held to a policy. `text` has the members as they came;
    /// `key` is the fingerprint of the key that signed them, zeros where nothing did.
    ///
    /// # Errors
    /// [`Reason::ClaimInvalid`] for a registered claim, a scope claim or a role claim of a wrong type, and those of
    /// [`Policy::check_answer`].
    pub fn of_answer(
        text: Arc<str>,
        members: Object,
        key: [u8; 32],
        policy: &Policy,
        now: Timestamp,
    ) -> Result<Self, Rejected> {
        let mut claims = Claims::new(members, &policy.grants)?;
        policy.check_answer(&claims, now)?;
        // Who was asked: lists of revoked tokens name the issuer.
        if claims.issuer.is_none() {
            claims.issuer = policy.issuers.iter().find_map(Issuer::exact).map(Text::from);
        }
        Ok(Self { text, claims, key })
    }

    /// What the token claims.
    pub fn claims(&self) -> &Claims {
        &self.claims
    }

    /// The claims set as it came: base64url without padding, of which every text has but one.
    pub fn payload(&self) -> String {
        BASE64_URL_SAFE_NO_PAD.encode(&*self.text)
    }

    /// The text of a claim's value in the token.
    pub fn written(&self, claim: &ClaimPath) -> Option<String> {
        let all = Piece::again(self.text.trim_matches([' ', '\t', '\n', '\r']));
        Some(claim.find_in(&all)?.raw().to_owned())
    }

    /// The fingerprint of the key that verified it.
    pub fn key(&self) -> &[u8; 32] {
        &self.key
    }
}

thread_local! {
    /// A buffer to decode in, kept from token to token.
    static BUFFER: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// The longest header in base64: four characters for three bytes.
const MAX_HEADER_TEXT: usize = header::MAX_HEADER.div_ceil(3).saturating_mul(4);

const NOT_THREE_PARTS: Rejected = Reason::TokenMalformed.because("it does not have three parts");
const PAYLOAD_NOT_DECODED: &str = "its payload is empty, not base64url or not UTF-8";
const PAYLOAD_NOT_JSON: Rejected = Reason::TokenMalformed.because("its payload is no JSON object");

/// The largest buffer that is kept.
const MAX_BUFFER_KEPT: usize = 64 * 1024;

/// A part of a token that is text.
fn shared_text(part: &str) -> Result<Arc<str>, Rejected> {
    BUFFER.with_borrow_mut(|buffer| {
        buffer.clear();
        let decoded = BASE64_URL_SAFE_NO_PAD.decode_vec(part, buffer);
        let text = match (decoded, std::str::from_utf8(buffer)) {
            (Ok(()), Ok(text)) if !text.is_empty() => Ok(Arc::from(text)),
            _ => Err(Reason::TokenMalformed.because(PAYLOAD_NOT_DECODED)),
        };
        buffer.clear();
        buffer.shrink_to(MAX_BUFFER_KEPT);
        text
    })
}

/// One non-empty part of a token. The decoder takes neither padding nor white space nor stray bits,
/// so that one meaning has one text.
fn decode(part: &str, otherwise: &'static str) -> Result<Vec<u8>, Rejected> {
    match BASE64_URL_SAFE_NO_PAD.decode(part) {
        Ok(bytes) if !bytes.is_empty() => Ok(bytes),
        _ => Err(Reason::TokenMalformed.because(otherwise)),
    }
}
