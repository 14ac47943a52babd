//! `cnf`: which key a token is bound to (RFC 7800 section 3.1).

use std::cell::OnceCell;

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use sha2::{Digest as _, Sha256};

use super::key::ProofKey;
use crate::json::Object;

/// What a token says of the key that it is bound to. Members that are not known are passed over beside one that is.
#[derive(Debug, Default)]
pub struct Confirmation {
    /// `jkt`: the thumbprint of the key of its proofs (RFC 9449 section 6.1).
    pub(super) key: Option<String>,
    /// `x5t#S256`: the hash of its certificate (RFC 8705 section 3.1).
    pub(super) certificate: Option<String>,
    /// Whether a member that is known is no text, so that nothing can meet it.
    pub(super) is_broken: bool,
    /// The key of the last proof that had this thumbprint, with the text of its header.
    pub(super) proven: OnceCell<(Box<str>, ProofKey)>,
    /// `ath` of its proofs.
    hash: OnceCell<Box<str>>,
}

impl Confirmation {
    /// The `cnf` of a claims set, if there is one, whatever it is.
    pub fn of(claims: &Object) -> Option<Self> {
        let cnf = claims.get("cnf")?;
        let mut confirmation = Self::default();
        let mut member = |name| {
            let value = cnf.as_object().and_then(|cnf| cnf.get(name))?;
            let text = value.as_str().filter(|text| !text.is_empty());
            confirmation.is_broken |= text.is_none();
            text.map(str::to_owned)
        };
        (confirmation.key, confirmation.certificate) = (member("jkt"), member("x5t#S256"));
        Some(confirmation)
    }

    /// Whether nothing that it names can be shown: none of it is known.
    pub fn is_unknown(&self) -> bool {
        self.is_broken || (self.key.is_none() && self.certificate.is_none())
    }

    /// Whether it names the key of proofs (RFC 9449).
    pub fn names_key(&self) -> bool {
        self.key.is_some()
    }

    /// Whether it names a certificate (RFC 8705).
    pub fn names_certificate(&self) -> bool {
        self.certificate.is_some()
    }

    /// What `ath` of its proofs must be (RFC 9449 section 4.2); `token` is the text of the one token that it is of.
    pub(super) fn hash_of(&self, token: &[u8]) -> &str {
        self.hash.get_or_init(|| BASE64_URL_SAFE_NO_PAD.encode(Sha256::digest(token)).into())
    }
}
