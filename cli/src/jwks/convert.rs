//! Public keys in their usual forms as JWKs (RFC 7517, RFC 7518 section 6, RFC 8037).

use base64::Engine as _;
use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD as BASE64_URL};
use rsa::pkcs1::RsaPublicKey;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use x509_cert::Certificate;
use x509_cert::der::Decode as _;
use x509_cert::der::asn1::{ObjectIdentifier, UintRef};
use x509_cert::spki::SubjectPublicKeyInfoOwned;

const RSA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1");
const EC: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");
const ED25519: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.101.112");
/// Each with the length of a coordinate.
const CURVES: &[(ObjectIdentifier, &str, usize)] = &[
    (ObjectIdentifier::new_unwrap("1.2.840.10045.3.1.7"), "P-256", 32),
    (ObjectIdentifier::new_unwrap("1.3.132.0.34"), "P-384", 48),
    (ObjectIdentifier::new_unwrap("1.3.132.0.35"), "P-521", 66),
];

/// What only a private or a symmetric key has.
const SECRETS: &[&str] = &["d", "p", "q", "dp", "dq", "qi", "oth", "k"];

const PRIVATE: &str = "has a private key or a secret in it, and nothing of it is printed; take the public key alone (openssl pkey -pubout, or the provider's JWKS), and if this key was published, replace it";

/// The keys of a document, each as a JWK.
///
/// # Errors
/// What it is instead, in words without anything of it.
pub(super) fn members(bytes: &[u8], kid: Option<&str>) -> Result<Vec<Value>, String> {
    let mut members = match std::str::from_utf8(bytes) {
        Ok(text) if text.trim_start_matches('\u{feff}').trim_start().starts_with(['{', '[']) => {
            of_json(text)?
        }
        Ok(text) if text.contains("-----BEGIN ") => of_pem(text)?,
        _ => vec![of_der(bytes)?],
    };
    if let (Some(kid), [member]) = (kid, members.as_mut_slice())
        && member.get("kid").is_none()
    {
        member["kid"] = json!(kid);
    }
    for member in &mut members {
        if member.get("kid").is_none()
            && let Some(thumbprint) = thumbprint(member)
        {
            member["kid"] = json!(thumbprint);
        }
    }
    Ok(members)
}

/// A JWK set, one JWK, a list of them, or a map of key ids to PEM.
fn of_json(text: &str) -> Result<Vec<Value>, String> {
    let value: Value = serde_json::from_str(text.trim_start_matches('\u{feff}'))
        .map_err(|error| format!("is not valid JSON (line {}, column {})", error.line(), error.column()))?;
    let members = match value {
        Value::Array(members) => members,
        Value::Object(mut object) => match object.remove("keys") {
            Some(Value::Array(members)) => members,
            Some(_) => return Err("has \"keys\" that are no list".to_owned()),
            None if object.contains_key("kty") => vec![Value::Object(object)],
            None if object.contains_key("jwks_uri") => {
                return Err(
                    "is a metadata document; give the document that its \"jwks_uri\" names".to_owned()
                );
            }
            None => return of_pem_map(&object),
        },
        _ => Vec::new(),
    };
    let is_secret =
        |member: &Value| SECRETS.iter().any(|name| member.get(name).is_some_and(|own| !own.is_null()));
    if members.iter().any(is_secret) {
        return Err(PRIVATE.to_owned());
    }
    match members.is_empty() {
        true => Err("has no keys".to_owned()),
        false => Ok(members),
    }
}

fn of_pem_map(object: &serde_json::Map<String, Value>) -> Result<Vec<Value>, String> {
    let member = |(kid, value): (&String, &Value)| {
        let text = value.as_str().filter(|text| text.contains("-----BEGIN "));
        let text = text.ok_or("is neither a key set, nor a JWK, nor a map of key ids to PEM")?;
        let mut first = of_pem(text)?.into_iter().next().ok_or("has a member without a key")?;
        first["kid"] = json!(kid);
        Ok(first)
    };
    object.iter().map(member).collect()
}

/// The blocks of a PEM text (RFC 7468).
fn of_pem(text: &str) -> Result<Vec<Value>, String> {
    let mut members = Vec::new();
    for (at, rest) in text.split("-----BEGIN ").skip(1).enumerate() {
        let (label, rest) = rest.split_once("-----").ok_or("has a PEM block without a label")?;
        if label.ends_with("PRIVATE KEY") {
            return Err(PRIVATE.to_owned());
        }
        let body = rest.split_once("-----END ").ok_or(format!("has a PEM block without an end ({label})"))?.0;
        let body: String = body.split_ascii_whitespace().collect();
        let contents =
            BASE64_STANDARD.decode(body).map_err(|_| format!("block {at} ({label}) is not base64"))?;
        let member = match label {
            "CERTIFICATE" | "X509 CERTIFICATE" | "TRUSTED CERTIFICATE" => of_certificate(&contents),
            "PUBLIC KEY" => of_info(&contents),
            "RSA PUBLIC KEY" => of_rsa(&contents),
            // What tools write beside a key.
            "EC PARAMETERS" => continue,
            _ => None,
        };
        members.push(member.ok_or_else(|| format!("block {at} ({label}) is no public key of a kind that the filter knows (RSA, P-256, P-384, P-521, Ed25519)"))?);
    }
    match members.is_empty() {
        true => Err("has no keys".to_owned()),
        false => Ok(members),
    }
}

fn of_der(bytes: &[u8]) -> Result<Value, String> {
    let public = of_certificate(bytes).or_else(|| of_info(bytes)).or_else(|| of_rsa(bytes));
    if let Some(member) = public {
        return Ok(member);
    }
    // PKCS#8, PKCS#1 and SEC1 all begin with a sequence and a version.
    let version = [&[0x02, 0x01, 0x00][..], &[0x02, 0x01, 0x01]];
    let begins = |length: usize| bytes.get(length..length + 3).is_some_and(|own| version.contains(&own));
    match bytes.first() == Some(&0x30) && [2, 3, 4].into_iter().any(begins) {
        true => Err(PRIVATE.to_owned()),
        false => Err("is neither PEM nor DER nor JSON with a public key that the filter knows (RSA, P-256, P-384, P-521, Ed25519)".to_owned()),
    }
}

fn of_certificate(der: &[u8]) -> Option<Value> {
    material(Certificate::from_der(der).ok()?.tbs_certificate().subject_public_key_info())
}

fn of_info(der: &[u8]) -> Option<Value> {
    material(&SubjectPublicKeyInfoOwned::from_der(der).ok()?)
}

fn of_rsa(der: &[u8]) -> Option<Value> {
    let key = RsaPublicKey::<UintRef<'_>>::from_der(der).ok()?;
    let (n, e) = (encoded(key.modulus.as_bytes()), encoded(key.public_exponent.as_bytes()));
    Some(json!({ "kty": "RSA", "n": n, "e": e }))
}

fn material(info: &SubjectPublicKeyInfoOwned) -> Option<Value> {
    let bytes = info.subject_public_key.as_bytes()?;
    match info.algorithm.oid {
        RSA => of_rsa(bytes),
        EC => {
            let oid: ObjectIdentifier = info.algorithm.parameters.as_ref()?.decode_as().ok()?;
            let (_, curve, length) = CURVES.iter().find(|(known, ..)| *known == oid)?;
            // An uncompressed point (SEC 1 section 2.3.3); a JWK has no other form.
            let (x, y) = bytes.strip_prefix(&[4])?.split_at_checked(*length)?;
            (y.len() == *length)
                .then(|| json!({ "kty": "EC", "crv": curve, "x": encoded(x), "y": encoded(y) }))
        }
        ED25519 => {
            (bytes.len() == 32).then(|| json!({ "kty": "OKP", "crv": "Ed25519", "x": encoded(bytes) }))
        }
        _ => None,
    }
}

fn encoded(bytes: &[u8]) -> String {
    BASE64_URL.encode(bytes)
}

/// The thumbprint of a key (RFC 7638): the hash of its required members, in the order of their names.
fn thumbprint(member: &Value) -> Option<String> {
    let names: &[&str] = match member["kty"].as_str()? {
        "RSA" => &["e", "kty", "n"],
        "EC" => &["crv", "kty", "x", "y"],
        "OKP" => &["crv", "kty", "x"],
        _ => return None,
    };
    let members =
        names.iter().map(|name| Some(format!("{}:{}", json!(name), json!(member.get(name)?.as_str()?))));
    let members = members.collect::<Option<Vec<String>>>()?;
    Some(encoded(&Sha256::digest(format!("{{{}}}", members.join(",")))))
}
