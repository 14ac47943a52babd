//! RSA public keys and RSASSA-PKCS1-v1_5 (RFC 8017 section 8.2.2).

use ::rsa::signature::Verifier as _;
use ::rsa::{BoxedUint, RsaPublicKey, pkcs1v15};
use sha2::Sha256;

use super::KeyError;

/// An RSA public key of 2048 to 8192 bits with an odd exponent from 3 to 33 bits.
#[derive(Clone, Debug)]
pub struct RsaKey(RsaPublicKey);

impl RsaKey {
    /// A key of a modulus and an exponent, both big-endian.
    ///
    /// # Errors
    /// The rule that the key breaks.
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
        RsaPublicKey::new_with_size_limits(number(modulus), number(exponent), MIN_BITS..=MAX_BITS)
            .map(Self)
            .map_err(|_| KeyError::BadExponentOrModulus)
    }

    /// RSASSA-PKCS1-v1_5 with SHA-256.
    pub(super) fn verify_pkcs1(&self, message: &[u8], signature: &[u8]) -> bool {
        let Ok(signature) = pkcs1v15::Signature::try_from(signature) else {
            return false;
        };
        pkcs1v15::VerifyingKey::<Sha256>::new(self.0.clone()).verify(message, &signature).is_ok()
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
