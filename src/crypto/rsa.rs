//! RSA public keys, RSASSA-PKCS1-v1_5 and RSASSA-PSS (RFC 8017 sections 8.1.2 and 8.2.2).

use ::rsa::pkcs8::EncodePublicKey as _;
use ::rsa::{BoxedUint, Pkcs1v15Sign, Pss, PublicKey};
use sha2::{Digest as _, Sha256, Sha384, Sha512};

use super::{Algorithm, KeyError};

/// An RSA public key of 2048 to 8192 bits with an odd exponent from 3 to 33 bits.
#[derive(Clone, Debug)]
pub struct RsaKey {
    key: PublicKey,
    spki: Box<[u8]>,
    size: usize,
}

impl RsaKey {
    /// A key of a modulus and an exponent, both big-endian (RFC 7518 sections 6.3.1.1 and 6.3.1.2);
    /// leading zeros do not count.
    ///
    /// # Errors
    /// [`KeyError::TooSmall`], [`KeyError::TooLarge`] or [`KeyError::BadExponentOrModulus`]: the rule that
    /// the key breaks.
    pub fn new(modulus: &[u8], exponent: &[u8]) -> Result<Self, KeyError> {
        const MIN_BITS: usize = 2048;
        const MAX_BITS: usize = 8192;
        let modulus = strip_zeros(modulus);
        let exponent = strip_zeros(exponent);
        let bits = bits(modulus);
        if bits < MIN_BITS {
            return Err(KeyError::TooSmall);
        }
        if bits > MAX_BITS {
            return Err(KeyError::TooLarge);
        }
        let odd = |number: &[u8]| number.last().is_some_and(|byte| byte & 1 == 1);
        let tiny = exponent.len() <= 1 && exponent.first().is_none_or(|byte| *byte < 3);
        if !odd(modulus) || !odd(exponent) || tiny || exponent.len() > 5 {
            return Err(KeyError::BadExponentOrModulus);
        }
        let number = |bytes: &[u8]| BoxedUint::from_be_slice_vartime(bytes);
        let key = PublicKey::new_with_size_limits(number(modulus), number(exponent), MIN_BITS..=MAX_BITS)
            .map_err(|_| KeyError::BadExponentOrModulus)?;
        let spki = key.to_public_key_der().map_err(|_| KeyError::BadExponentOrModulus)?;
        Ok(Self { key, spki: spki.as_bytes().into(), size: modulus.len() })
    }

    /// The key as a DER `SubjectPublicKeyInfo` (RFC 5280 section 4.1).
    pub fn spki(&self) -> &[u8] {
        &self.spki
    }

    /// Whether a signature has the length of the modulus (RFC 8017 section 8.2.2, step 1).
    pub(super) fn has_length(&self, signature: &[u8]) -> bool {
        signature.len() == self.size
    }

    pub(super) fn verify(&self, algorithm: Algorithm, message: &[u8], signature: &[u8]) -> bool {
        if !self.has_length(signature) {
            return false;
        }
        let key = &self.key;
        match algorithm {
            Algorithm::Rs256 => {
                key.verify(Pkcs1v15Sign::new::<Sha256>(), &Sha256::digest(message), signature)
            }
            Algorithm::Rs384 => {
                key.verify(Pkcs1v15Sign::new::<Sha384>(), &Sha384::digest(message), signature)
            }
            Algorithm::Rs512 => {
                key.verify(Pkcs1v15Sign::new::<Sha512>(), &Sha512::digest(message), signature)
            }
            // The salt has the length of the hash (RFC 7518 section 3.5).
            Algorithm::Ps256 => {
                key.verify(Pss::<Sha256>::new_with_salt(32), &Sha256::digest(message), signature)
            }
            Algorithm::Ps384 => {
                key.verify(Pss::<Sha384>::new_with_salt(48), &Sha384::digest(message), signature)
            }
            Algorithm::Ps512 => {
                key.verify(Pss::<Sha512>::new_with_salt(64), &Sha512::digest(message), signature)
            }
            _ => return false,
        }
        .is_ok()
    }
}

fn strip_zeros(mut bytes: &[u8]) -> &[u8] {
    while let Some((0, rest)) = bytes.split_first() {
        bytes = rest;
    }
    bytes
}

/// The length in bits of a number without leading zero bytes.
fn bits(bytes: &[u8]) -> usize {
    let top = bytes.first().map_or(0, |byte| byte.leading_zeros() as usize);
    bytes.len().saturating_mul(8).saturating_sub(top)
}
