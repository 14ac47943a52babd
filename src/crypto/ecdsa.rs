//! Elliptic-curve public keys and ECDSA in the form of RFC 7518 section 3.4: R and S at full length.

use p256::ecdsa::signature::Verifier as _;

use super::{KeyError, KeyKind};

/// A public key on P-256.
#[derive(Clone, Debug)]
pub struct EcKey(p256::ecdsa::VerifyingKey);

impl EcKey {
    /// A key on P-256 of its two coordinates, 32 bytes each.
    ///
    /// # Errors
    /// A coordinate of another length, or a point that is not on the curve.
    pub fn p256(x: &[u8], y: &[u8]) -> Result<Self, KeyError> {
        if x.len() != 32 || y.len() != 32 {
            return Err(KeyError::CoordinateLength);
        }
        let point = [&[4], x, y].concat();
        p256::ecdsa::VerifyingKey::from_sec1_bytes(&point).map(Self).map_err(|_| KeyError::NotOnCurve)
    }

    pub(super) fn kind(&self) -> KeyKind {
        KeyKind::P256
    }

    pub(super) fn verify(&self, message: &[u8], signature: &[u8]) -> bool {
        match p256::ecdsa::Signature::from_slice(signature) {
            Ok(signature) => self.0.verify(message, &signature).is_ok(),
            Err(_) => false,
        }
    }
}
