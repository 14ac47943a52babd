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

/// The tags of DER (X.690 sections 8.3 and 8.9).
const INTEGER: u8 = 2;
const SEQUENCE: u8 = 0x30;

/// The orders of the curves' base points (SEC 2 sections 2.4.2, 2.5.1 and 2.6.1), big-endian.
const P256_ORDER: [u8; 32] = [
    0xff, 0xff, 0xff, 0xff, 0x00, 0x00, 0x00, 0x00, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xbc,
    0xe6, 0xfa, 0xad, 0xa7, 0x17, 0x9e, 0x84, 0xf3, 0xb9, 0xca, 0xc2, 0xfc, 0x63, 0x25, 0x51,
];
const P384_ORDER: [u8; 48] = [
    0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
    0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xc7, 0x63, 0x4d, 0x81, 0xf4, 0x37, 0x2d, 0xdf, 0x58, 0x1a,
    0x0d, 0xb2, 0x48, 0xb0, 0xa7, 0x7a, 0xec, 0xec, 0x19, 0x6a, 0xcc, 0xc5, 0x29, 0x73,
];
const P521_ORDER: [u8; 66] = [
    0x01, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
    0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xfa,
    0x51, 0x86, 0x87, 0x83, 0xbf, 0x2f, 0x96, 0x6b, 0x7f, 0xcc, 0x01, 0x48, 0xf7, 0x09, 0xa5, 0xd0, 0x3b,
    0xb5, 0xc9, 0xb8, 0x89, 0x9c, 0x47, 0xae, 0xbb, 0x6f, 0xb7, 0x1e, 0x91, 0x38, 0x64, 0x09,
];

impl EcKey {
    /// How many bytes a coordinate of a curve has (RFC 7518 section 6.2.1.2); none for a curve that is not verified here.
    pub fn coordinate_size(curve: &str) -> Option<usize> {
        match curve {
            "P-256" => Some(32),
            "P-384" => Some(48),
            "P-521" => Some(66),
            _ => None,
        }
    }

    /// A key of the name of its curve and its two coordinates at full length, big-endian (RFC 7518
    /// sections 6.2.1.1 to 6.2.1.3: 32, 48 or 66 bytes each); none for a curve that
    /// is not verified here.
    ///
    /// # Errors
    /// [`KeyError::WrongLength`] for a coordinate of another length, [`KeyError::NotOnCurve`] for a point
    /// that is not on the curve.
    pub fn new(curve: &str, x: &[u8], y: &[u8]) -> Option<Result<Self, KeyError>> {
        let size = Self::coordinate_size(curve)?;
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
        let order: &[u8] = match &self.point {
            Point::P256(_) => &P256_ORDER,
            Point::P384(_) => &P384_ORDER,
            Point::P521(_) => &P521_ORDER,
        };
        let (r, s) = signature.split_at_checked(order.len())?;
        let in_range = |number: &[u8]| number.iter().any(|byte| *byte != 0) && number < order;
        if s.len() != order.len() || !in_range(r) || !in_range(s) {
            return None;
        }
        let mut numbers = Vec::with_capacity(order.len().saturating_mul(2).saturating_add(16));
        for number in [r, s] {
            let start = number.iter().position(|byte| *byte != 0)?;
            let number = number.get(start..)?;
            // A number that began with a set bit would be a negative one.
            let sign: &[u8] = if number.first()? & 0x80 == 0 { &[] } else { &[0] };
            let length = number.len().checked_add(sign.len())?;
            numbers.extend([INTEGER, u8::try_from(length).ok()?]);
            numbers.extend(sign);
            numbers.extend(number);
        }
        let length = u8::try_from(numbers.len()).ok()?;
        let head: &[u8] = if length < 0x80 { &[SEQUENCE, length] } else { &[SEQUENCE, 0x81, length] };
        numbers.splice(..0, head.iter().copied());
        Some(numbers)
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    type Expected = fn(&[u8]) -> Option<Vec<u8>>;

    /// A key of each curve, the curve's order, and a signature as the curve's crate writes it.
    fn keys() -> [(EcKey, &'static [u8], Expected); 3] {
        let p256 = p256::SecretKey::from_slice(&[1; 32]).unwrap().public_key().to_sec1_bytes();
        let p384 = p384::SecretKey::from_slice(&[1; 48]).unwrap().public_key().to_sec1_bytes();
        let p521 = p521::SecretKey::from_slice(&[1; 66]).unwrap().public_key().to_sec1_bytes();
        let key = |curve, point| EcKey::from_point(curve, point).unwrap();
        [
            (key("P-256", &p256), &P256_ORDER, |signature| {
                Some(p256::ecdsa::Signature::from_slice(signature).ok()?.to_der().as_bytes().into())
            }),
            (key("P-384", &p384), &P384_ORDER, |signature| {
                Some(p384::ecdsa::Signature::from_slice(signature).ok()?.to_der().as_bytes().into())
            }),
            (key("P-521", &p521), &P521_ORDER, |signature| {
                Some(p521::ecdsa::Signature::from_slice(signature).ok()?.to_der().as_bytes().into())
            }),
        ]
    }

    fn with_last(order: &[u8], by: i16) -> Vec<u8> {
        let (last, rest) = order.split_last().unwrap();
        [rest, &[u8::try_from(i16::from(*last) + by).unwrap()]].concat()
    }

    /// A number that begins with many like bytes, is small, is near the order of its curve, or has any length.
    fn number(order: &'static [u8]) -> impl Strategy<Value = Vec<u8>> {
        let width = order.len();
        let filled = (any::<u8>(), 0..=width, any::<[u8; 66]>()).prop_map(move |(fill, count, bytes)| {
            let mut number = bytes[..width].to_vec();
            number[..count].fill(fill);
            number
        });
        let small = any::<u8>().prop_map(move |last| with_last(&vec![0; width], last.into()));
        let near = (-2i16..=2).prop_map(move |by| with_last(order, by));
        prop_oneof![4 => filled, 2 => small, 2 => near, 1 => prop::collection::vec(any::<u8>(), 0..70)]
    }

    proptest! {
        #[test]
        fn a_signature_is_written_as_the_crate_of_its_curve_writes_it(
            (at, r, s) in (0..3usize).prop_flat_map(|at| {
                let order = keys()[at].1;
                (Just(at), number(order), number(order))
            })
        ) {
            let (key, _, expected) = &keys()[at];
            let signature = [r, s].concat();
            prop_assert_eq!(key.signature_der(&signature), expected(&signature));
        }
    }

    #[test]
    fn the_numbers_of_a_signature_end_below_the_order() {
        for (key, order, expected) in keys() {
            let below = with_last(order, -1);
            let whole = [below.clone(), below.clone()].concat();
            assert!(expected(&whole).is_some());
            assert_eq!(key.signature_der(&whole), expected(&whole));
            assert_eq!(key.signature_der(&[&below, order].concat()), None);
            assert_eq!(key.signature_der(&[order, &below].concat()), None);
            assert_eq!(key.signature_der(&[&below[1..], &below].concat()), None);
        }
    }
}
