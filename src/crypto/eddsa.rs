//! Ed25519 (RFC 8032 section 5.1, RFC 8037).

use ed25519_dalek::{Signature, VerifyingKey};

use super::KeyError;

/// An Ed25519 public key that is not of low order.
#[derive(Clone, Debug)]
pub struct Ed25519Key(VerifyingKey);

impl Ed25519Key {
    /// A key of its 32 bytes (RFC 8032 section 5.1.2).
    ///
    /// # Errors
    /// [`KeyError::WrongLength`] for another length, [`KeyError::NotOnCurve`] for no point on the curve,
    /// [`KeyError::LowOrder`] for a point of low order.
    pub fn new(bytes: &[u8]) -> Result<Self, KeyError> {
        let bytes: &[u8; 32] = bytes.try_into().map_err(|_| KeyError::WrongLength)?;
        let key = VerifyingKey::from_bytes(bytes).map_err(|_| KeyError::NotOnCurve)?;
        if key.is_weak() { Err(KeyError::LowOrder) } else { Ok(Self(key)) }
    }

    /// The strict check: S below the group order, R not of low order.
    pub(super) fn verify(&self, message: &[u8], signature: &[u8]) -> bool {
        Signature::from_slice(signature)
            .is_ok_and(|signature| self.0.verify_strict(message, &signature).is_ok())
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }
}
