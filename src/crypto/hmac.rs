//! HMAC with a shared secret (RFC 7518 section 3.2).

use std::fmt;

use ::hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::{Sha256, Sha384, Sha512};

use super::{Hash, KeyError};

/// A secret of at least 256 bits (RFC 7518 section 3.2). Never shown.
#[derive(Clone)]
pub struct Secret(Box<[u8]>);

impl Secret {
    /// A secret of its bytes.
    ///
    /// # Errors
    /// [`KeyError::ShortSecret`]: it has fewer bytes than the shortest hash, 32.
    pub fn new(bytes: &[u8]) -> Result<Self, KeyError> {
        if bytes.len() < Hash::Sha256.size() { Err(KeyError::ShortSecret) } else { Ok(Self(bytes.into())) }
    }

    /// Its length in bytes.
    #[allow(clippy::len_without_is_empty, reason = "a secret is never empty")]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Compares in constant time, the whole tag at its full length.
    pub(super) fn verify(&self, hash: Hash, message: &[u8], tag: &[u8]) -> bool {
        match hash {
            Hash::Sha256 => Hmac::<Sha256>::new_from_slice(&self.0)
                .is_ok_and(|mac| mac.chain_update(message).verify_slice(tag).is_ok()),
            Hash::Sha384 => Hmac::<Sha384>::new_from_slice(&self.0)
                .is_ok_and(|mac| mac.chain_update(message).verify_slice(tag).is_ok()),
            Hash::Sha512 => Hmac::<Sha512>::new_from_slice(&self.0)
                .is_ok_and(|mac| mac.chain_update(message).verify_slice(tag).is_ok()),
        }
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}
