//! A member of a PEM map: a certificate (RFC 5280) or a public key (RFC 7468 section 13) under its
//! kid. Dates and names of a certificate are not looked at: it is trusted because of where it came
//! from, like any other member of a key set.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use rsa::pkcs1::RsaPublicKey;
use x509_cert::Certificate;
use x509_cert::der::Decode as _;
use x509_cert::der::asn1::{ObjectIdentifier, UintRef};
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

const BEGIN: &str = "-----BEGIN ";

/// Whether a value of a JSON object looks like a member of a PEM map.
pub(super) fn is_pem(value: &Json) -> bool {
    value.as_str().is_some_and(|text| text.trim_start().starts_with(BEGIN))
}

/// Reads one member.
pub(super) fn parse(kid: &str, pem: &Json) -> Result<Jwk, JwkRejection> {
    let pem = pem.as_str().ok_or(JwkRejection::BadPem)?;
    if pem.contains("PRIVATE KEY-----") {
        return Err(JwkRejection::PrivateMaterial);
    }
    let (label, contents) = first_block(pem).ok_or(JwkRejection::BadPem)?;
    let bad = |_| JwkRejection::BadPem;
    let key = match label {
        "CERTIFICATE" => {
            let certificate = Certificate::from_der(&contents).map_err(bad)?;
            material(certificate.tbs_certificate().subject_public_key_info())?
        }
        "PUBLIC KEY" => material(&SubjectPublicKeyInfoOwned::from_der(&contents).map_err(bad)?)?,
        "RSA PUBLIC KEY" => rsa(&contents)?,
        _ => return Err(JwkRejection::BadPem),
    };
    Ok(Jwk::new(Some(kid.to_owned()), None, key))
}

/// The label and the contents of the first block of a text (RFC 7468 section 2), however its lines are broken. In a chain
/// of certificates the first is the key's own.
fn first_block(text: &str) -> Option<(&str, Vec<u8>)> {
    let (_, rest) = text.split_once(BEGIN)?;
    let (label, rest) = rest.split_once("-----")?;
    let (body, _) = rest.split_once(&format!("-----END {label}-----"))?;
    let body: String = body.split_ascii_whitespace().collect();
    Some((label, BASE64_STANDARD.decode(body).ok()?))
}

fn rsa(der: &[u8]) -> Result<Key, JwkRejection> {
    let key = RsaPublicKey::<UintRef<'_>>::from_der(der).map_err(|_| JwkRejection::BadPem)?;
    let (modulus, exponent) = (key.modulus.as_bytes(), key.public_exponent.as_bytes());
    RsaKey::new(modulus, exponent).map(Key::Rsa).map_err(JwkRejection::Key)
}

fn material(info: &SubjectPublicKeyInfoOwned) -> Result<Key, JwkRejection> {
    let bytes = info.subject_public_key.as_bytes().ok_or(JwkRejection::BadPem)?;
    match info.algorithm.oid {
        RSA => rsa(bytes),
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
