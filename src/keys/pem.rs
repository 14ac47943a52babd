//! A member of a PEM map: a certificate (RFC 5280) or a public key (RFC 7468 section 13) under its
//! kid. Dates and names of a certificate are not looked at: it is trusted because of where it came
//! from, like any other member of a key set.

use rsa::pkcs1::RsaPublicKey;
use x509_cert::Certificate;
use x509_cert::der::asn1::{ObjectIdentifier, UintRef};
use x509_cert::der::{Decode as _, DecodePem as _};
use x509_cert::spki::SubjectPublicKeyInfoOwned;

use super::jwk::{Jwk, JwkRejection};
use crate::crypto::{EcKey, Ed25519Key, Key, RsaKey};
use crate::json::Json;

const RSA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1");
const EC: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");
const ED25519: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.101.112");
const CURVES: &[(ObjectIdentifier, &str)] = &[
    (ObjectIdentifier::new_unwrap("1.2.840.10045.3.1.7"), "P-256"),
    (ObjectIdentifier::new_unwrap("1.3.132.0.34"), "P-384"),
    (ObjectIdentifier::new_unwrap("1.3.132.0.35"), "P-521"),
];

/// Reads one member.
pub(super) fn parse(kid: &str, pem: &Json) -> Result<Jwk, JwkRejection> {
    let pem = pem.as_str().ok_or(JwkRejection::BadPem)?.trim();
    let info = match Certificate::from_pem(pem) {
        Ok(certificate) => certificate.tbs_certificate().subject_public_key_info().clone(),
        Err(_) => SubjectPublicKeyInfoOwned::from_pem(pem).map_err(|_| JwkRejection::BadPem)?,
    };
    Ok(Jwk::new(Some(kid.to_owned()), None, material(&info)?))
}

fn material(info: &SubjectPublicKeyInfoOwned) -> Result<Key, JwkRejection> {
    let bytes = info.subject_public_key.as_bytes().ok_or(JwkRejection::BadPem)?;
    match info.algorithm.oid {
        RSA => {
            let key = RsaPublicKey::<UintRef<'_>>::from_der(bytes).map_err(|_| JwkRejection::BadPem)?;
            let (modulus, exponent) = (key.modulus.as_bytes(), key.public_exponent.as_bytes());
            RsaKey::new(modulus, exponent).map(Key::Rsa).map_err(JwkRejection::Key)
        }
        EC => {
            let parameters = info.algorithm.parameters.as_ref().ok_or(JwkRejection::UnknownCurve)?;
            let oid: ObjectIdentifier = parameters.decode_as().map_err(|_| JwkRejection::UnknownCurve)?;
            let (_, curve) =
                CURVES.iter().find(|(known, _)| *known == oid).ok_or(JwkRejection::UnknownCurve)?;
            EcKey::from_point(curve, bytes).map(Key::Ec).map_err(JwkRejection::Key)
        }
        ED25519 => Ed25519Key::new(bytes).map(Key::Ed25519).map_err(JwkRejection::Key),
        _ => Err(JwkRejection::UnknownType),
    }
}
