//! Elliptic-curve public keys and ECDSA in the form of RFC 7518 section 3.4: R and S at full length.

use p256::ecdsa::signature::Verifier as _;
use p256::pkcs8::EncodePublicKey as _;

use super::{KeyError, KeyKind};

/// A public key on one of the curves of RFC 7518 section 6.2.1.1.
#[derive(Clone, Debug)]
pub struct EcKey {
    point: Point,
    spki: Box<[u8]>,
}

#[derive(Clone, Debug)]
enum Point {
    P256(p256::ecdsa::VerifyingKey),
    P384(p384::ecdsa::VerifyingKey),
    P521(p521::ecdsa::VerifyingKey),
}

impl EcKey {
    /// A key of the name of its curve and its two coordinates at full length, big-endian (RFC 7518
    /// sections 6.2.1.1 to 6.2.1.3: 32, 48 or 66 bytes each); none for a curve that
    /// is not verified here.
    ///
    /// # Errors
    /// [`KeyError::WrongLength`] for a coordinate of another length, [`KeyError::NotOnCurve`] for a point
    /// that is not on the curve.
    pub fn new(curve: &str, x: &[u8], y: &[u8]) -> Option<Result<Self, KeyError>> {
        let size = match curve {
            "P-256" => 32,
            "P-384" => 48,
            "P-521" => 66,
            _ => return None,
        };
        if x.len() != size || y.len() != size {
            return Some(Err(KeyError::WrongLength));
        }
        Some(Self::from_point(curve, &[&[4], x, y].concat()))
    }

    /// A key of the name of its curve and its point (SEC 1 section 2.3.3).
    pub(crate) fn from_point(curve: &str, sec1: &[u8]) -> Result<Self, KeyError> {
        let error = |_| KeyError::NotOnCurve;
        let point = match curve {
            "P-256" => Point::P256(p256::ecdsa::VerifyingKey::from_sec1_bytes(sec1).map_err(error)?),
            "P-384" => Point::P384(p384::ecdsa::VerifyingKey::from_sec1_bytes(sec1).map_err(error)?),
            _ => Point::P521(p521::ecdsa::VerifyingKey::from_sec1_bytes(sec1).map_err(error)?),
        };
        let spki = match &point {
            Point::P256(key) => key.to_public_key_der(),
            Point::P384(key) => key.to_public_key_der(),
            Point::P521(key) => key.to_public_key_der(),
        };
        let spki = spki.map_err(|_| KeyError::NotOnCurve)?;
        Ok(Self { point, spki: spki.as_bytes().into() })
    }

    /// The key as a DER `SubjectPublicKeyInfo` (RFC 5480).
    pub fn spki(&self) -> &[u8] {
        &self.spki
    }

    /// The signature as a DER `Ecdsa-Sig-Value` (RFC 3279 section 2.2.3); none where it is not R and
    /// S at full length, both from 1 to the order less 1.
    pub(super) fn signature_der(&self, signature: &[u8]) -> Option<Vec<u8>> {
        Some(match &self.point {
            Point::P256(_) => p256::ecdsa::Signature::from_slice(signature).ok()?.to_der().as_bytes().into(),
            Point::P384(_) => p384::ecdsa::Signature::from_slice(signature).ok()?.to_der().as_bytes().into(),
            Point::P521(_) => p521::ecdsa::Signature::from_slice(signature).ok()?.to_der().as_bytes().into(),
        })
    }

    pub(super) fn kind(&self) -> KeyKind {
        match &self.point {
            Point::P256(_) => KeyKind::P256,
            Point::P384(_) => KeyKind::P384,
            Point::P521(_) => KeyKind::P521,
        }
    }

    /// Each curve with the hash that RFC 7518 section 3.4 gives it.
    pub(super) fn verify(&self, message: &[u8], signature: &[u8]) -> bool {
        match &self.point {
            Point::P256(key) => p256::ecdsa::Signature::from_slice(signature)
                .is_ok_and(|signature| key.verify(message, &signature).is_ok()),
            Point::P384(key) => p384::ecdsa::Signature::from_slice(signature)
                .is_ok_and(|signature| key.verify(message, &signature).is_ok()),
            Point::P521(key) => p521::ecdsa::Signature::from_slice(signature)
                .is_ok_and(|signature| key.verify(message, &signature).is_ok()),
        }
    }
}
