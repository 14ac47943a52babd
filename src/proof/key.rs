//! The key in a proof's header, and its thumbprint (RFC 7638).

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use sha2::{Digest as _, Sha256};

use crate::crypto::{Algorithm, EcKey, Ed25519Key, Key, RsaKey};
use crate::json::{Json, Object};

/// A public key that a proof brings along.
#[derive(Debug)]
pub(super) struct ProofKey {
    pub(super) key: Key,
    /// `alg`, where the key names the one algorithm that it is for (RFC 7517 section 4.4).
    pub(super) algorithm: Option<Algorithm>,
}

/// The members that only private and secret keys have (RFC 7518 sections 6.2.2, 6.3.2 and 6.4, RFC 8037 section 2).
const PRIVATE: [&str; 8] = ["d", "p", "q", "dp", "dq", "qi", "oth", "k"];

const NOT_KNOWN: &str = "\"jwk\" in its header is no public key that is known";

/// A member that says something.
fn given<'j>(jwk: &'j Object, name: &str) -> Option<&'j Json> {
    jwk.get(name).filter(|value| **value != Json::Null)
}

/// The thumbprint of the header member `jwk` (RFC 7638 section 3): base64url of the SHA-256 of the members that make the key
/// what it is, in order of their names. Numbers have their one length and their one text, so that a key has one
/// thumbprint, and none of the values has a character that JSON would escape. It costs far less than to make a key of it.
///
/// # Errors
/// What is wrong with it.
pub(super) fn thumbprint(jwk: &Json) -> Result<String, &'static str> {
    let jwk = jwk.as_object().ok_or("\"jwk\" in its header is no object")?;
    if PRIVATE.iter().any(|name| given(jwk, name).is_some()) {
        return Err("\"jwk\" in its header has members of a private key");
    }
    if given(jwk, "use").is_some_and(|value| value.as_str() != Some("sig")) {
        return Err("\"jwk\" in its header is not for signatures (\"use\")");
    }
    let members = members(jwk).ok_or(NOT_KNOWN)?;
    Ok(BASE64_URL_SAFE_NO_PAD.encode(Sha256::digest(members)))
}

fn members(jwk: &Object) -> Option<String> {
    let text = |name| jwk.get(name).and_then(Json::as_str);
    let number = |name| text(name).filter(|text| bytes(text).is_some_and(|bytes| bytes.first() != Some(&0)));
    let sized = |name, size| text(name).filter(|text| bytes(text).is_some_and(|bytes| bytes.len() == size));
    match text("kty")? {
        "EC" => {
            let curve = text("crv")?;
            let size = EcKey::coordinate_size(curve)?;
            let (x, y) = (sized("x", size)?, sized("y", size)?);
            Some(format!(r#"{{"crv":"{curve}","kty":"EC","x":"{x}","y":"{y}"}}"#))
        }
        "RSA" => {
            let (n, e) = (number("n")?, number("e")?);
            Some(format!(r#"{{"e":"{e}","kty":"RSA","n":"{n}"}}"#))
        }
        "OKP" if text("crv") == Some("Ed25519") => {
            let x = sized("x", 32)?;
            Some(format!(r#"{{"crv":"Ed25519","kty":"OKP","x":"{x}"}}"#))
        }
        _ => None,
    }
}

impl ProofKey {
    /// Makes a key of the header member `jwk`, which has a [`thumbprint`].
    ///
    /// # Errors
    /// What is wrong with it.
    pub(super) fn read(jwk: &Json) -> Result<Self, &'static str> {
        let jwk = jwk.as_object().ok_or(NOT_KNOWN)?;
        let key = material(jwk).ok_or(NOT_KNOWN)?;
        let algorithm = match given(jwk, "alg") {
            None => None,
            Some(alg) => {
                let known = alg.as_str().and_then(Algorithm::from_name).filter(|known| key.suits(*known));
                Some(known.ok_or("\"alg\" of \"jwk\" in its header does not go with the key")?)
            }
        };
        Ok(Self { key, algorithm })
    }
}

fn material(jwk: &Object) -> Option<Key> {
    let text = |name| jwk.get(name).and_then(Json::as_str);
    let number = |name| text(name).and_then(bytes);
    match text("kty")? {
        "EC" => EcKey::new(text("crv")?, &number("x")?, &number("y")?)?.ok().map(Key::Ec),
        "RSA" => RsaKey::new(&number("n")?, &number("e")?).ok().map(Key::Rsa),
        "OKP" => Ed25519Key::new(&number("x")?).ok().map(Key::Ed25519),
        _ => None,
    }
}

fn bytes(text: &str) -> Option<Vec<u8>> {
    BASE64_URL_SAFE_NO_PAD.decode(text).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json;

    /// The thumbprint of a key, and the algorithm that it names.
    fn read(members: &str) -> Result<(String, Option<Algorithm>), &'static str> {
        let jwk = json::parse(members.as_bytes()).unwrap();
        Ok((thumbprint(&jwk)?, ProofKey::read(&jwk)?.algorithm))
    }

    const EC: &str = r#""kty":"EC","x":"l8tFrhx-34tV3hRICRDY9zCkDlpBhF42UQUfWVAWBFs","y":"9VE4jf_Ok_o64zbTTlcuNJajHmt6v9TDVrU0CdvGRDA","crv":"P-256""#;
    /// RFC 7638 section 3.1.
    const RSA: &str = r#""kty":"RSA","n":"0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw","e":"AQAB""#;
    /// RFC 8037 appendix A.3.
    const OKP: &str = r#""kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo""#;

    #[test]
    fn a_key_has_the_thumbprint_that_the_standards_say() {
        for (members, thumbprint) in [
            (EC, "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I"),
            (RSA, "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs"),
            (OKP, "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"),
        ] {
            let more =
                r#""kid":"a","use":"sig","key_ops":["sign"],"ext":true,"x5c":["a"],"d":null,"alg":null"#;
            for members in [format!("{{{members}}}"), format!("{{{more},{members}}}")] {
                assert_eq!(read(&members).unwrap().0, thumbprint, "{members}");
            }
        }
    }

    #[test]
    fn a_private_key_and_what_has_another_text_is_none() {
        for private in ["d", "p", "q", "dp", "dq", "qi", "oth", "k"] {
            for key in [EC, RSA, OKP] {
                let found = read(&format!("{{{key},\"{private}\":\"AQAB\"}}"));
                assert_eq!(found.err(), Some("\"jwk\" in its header has members of a private key"));
            }
        }
        for (key, from, to) in [
            (EC, "l8tF", "AAl8tF"),
            (EC, "BFs\"", "BFs=\""),
            (EC, "WBFs", "WBFt"),
            (EC, "P-256", "P-384"),
            (EC, "P-256", "secp256k1"),
            (EC, "9VE4", "9VE5"),
            (EC, "\"EC\"", "\"oct\""),
            (RSA, "0vx7", "ANL8ew"),
            (RSA, "AQAB", "AAEAAQ"),
            (RSA, "AQAB", "AQ"),
            (RSA, "AQAB", "AQAB="),
            (OKP, "Ed25519", "X25519"),
            (OKP, "URo", "UR"),
        ] {
            let members = format!("{{{}}}", key.replacen(from, to, 1));
            assert!(read(&members).is_err(), "{members}");
        }
        for members in ["[]", "\"a\"", "null", "{}", r#"{"kty":7}"#, r#"{"kty":"oct","kid":"a"}"#] {
            assert!(read(members).is_err(), "{members}");
        }
        assert!(read(&format!("{{{EC},\"use\":\"enc\"}}")).is_err());
        assert!(read(&format!("{{{EC},\"alg\":\"ES384\"}}")).is_err());
        assert!(read(&format!("{{{EC},\"alg\":\"none\"}}")).is_err());
        assert_eq!(read(&format!("{{{EC},\"alg\":\"ES256\"}}")).unwrap().1, Some(Algorithm::Es256));
    }
}
