//! Who does the arithmetic: Rust, or the host's own cryptography where it has some.

use std::fmt;
use std::rc::Rc;

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;

use super::{Algorithm, EcKey, Hash, Key, RsaKey};

/// The host's cryptography.
pub trait HostCrypto {
    /// Whether `signature` holds over `message` under the key of a DER `SubjectPublicKeyInfo`:
    /// RSASSA-PKCS1-v1_5 for an RSA key, ECDSA with a DER signature for an EC key.
    ///
    /// # Errors
    /// The host cannot say.
    fn verify(&self, hash: Hash, spki: &[u8], signature: &[u8], message: &[u8]) -> Result<bool, HostFailed>;
}

/// The host could not answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct HostFailed;

/// Where signatures are checked.
#[derive(Clone, Default)]
pub struct Backend {
    rsa: Option<Rc<dyn HostCrypto>>,
    ec: Option<Rc<dyn HostCrypto>>,
}

impl fmt::Debug for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Backend({self})")
    }
}

impl fmt::Display for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match (&self.rsa, &self.ec) {
            (Some(_), Some(_)) => "the host verifies RSA PKCS #1 v1.5 and ECDSA",
            (Some(_), None) => "the host verifies RSA PKCS #1 v1.5",
            (None, Some(_)) => "the host verifies ECDSA",
            (None, None) => "every signature is verified in the filter",
        })
    }
}

impl Backend {
    /// Everything in Rust.
    pub fn portable() -> Self {
        Self::default()
    }

    /// The host's cryptography for the kinds of key for which it tells a signature that holds from
    /// ones that do not (RFC 7515 appendices A.2 and A.3); Rust for the others.
    pub fn detect(host: Rc<dyn HostCrypto>) -> Self {
        let passes =
            |known: Option<Known>| known.is_some_and(|known| known.passes(&*host)).then(|| Rc::clone(&host));
        Self { rsa: passes(Known::rsa()), ec: passes(Known::ec()) }
    }

    /// Whether `signature` is this key's over `message` under `algorithm`.
    pub fn verify(&self, key: &Key, algorithm: Algorithm, message: &[u8], signature: &[u8]) -> bool {
        if !key.suits(algorithm) {
            return false;
        }
        let by_host = match (key, algorithm) {
            (Key::Rsa(key), Algorithm::Rs256 | Algorithm::Rs384 | Algorithm::Rs512) => {
                if !key.has_length(signature) {
                    return false;
                }
                self.rsa.as_ref().map(|host| host.verify(algorithm.hash(), key.spki(), signature, message))
            }
            (Key::Ec(key), _) => {
                let Some(der) = key.signature_der(signature) else { return false };
                self.ec.as_ref().map(|host| host.verify(algorithm.hash(), key.spki(), &der, message))
            }
            _ => None,
        };
        match by_host {
            Some(Ok(holds)) => holds,
            Some(Err(HostFailed)) | None => key.verify(algorithm, message, signature),
        }
    }
}

/// A signature that is known to hold.
struct Known {
    message: &'static str,
    spki: Vec<u8>,
    signature: Vec<u8>,
}

/// The signing input of RFC 7515 appendix A.2, and its signature and modulus.
const RSA_MESSAGE: &str = "eyJhbGciOiJSUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ";
const RSA_SIGNATURE: &str = "cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7AAuHIm4Bh-0Qc_lF5YKt_O8W2Fp5jujGbds9uJdbF9CUAr7t1dnZcAcQjbKBYNX4BAynRFdiuB--f_nZLgrnbyTyWzO75vRK5h6xBArLIARNPvkSjtQBMHlb1L07Qe7K0GarZRmB_eSN9383LcOLn6_dO--xi12jzDwusC-eOkHWEsqtFZESc6BfI7noOPqvhJ1phCnvWh6IeYI2w9QOYEUipUTI8np6LbgGY9Fs98rqVt5AXLIhWkWywlVmtVrBp0igcN_IoypGlUPQGe77Rw";
const RSA_MODULUS: &str = "ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4d4QlL-yRT-SFd2lZS-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpaSHSXndS5z5rexMdbBYUsLA9e-KXBdQOS-UTo7WTBEMa2R2CapHg665xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_h9iaGNj8q2ethFkMLs91kzk2PAcDTW9gb54h4FRWyuXpoQ";
/// The signing input of RFC 7515 appendix A.3, and its signature and point.
const EC_MESSAGE: &str = "eyJhbGciOiJFUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ";
const EC_SIGNATURE: &str =
    "DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q";
const EC_X: &str = "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU";
const EC_Y: &str = "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0";

impl Known {
    fn rsa() -> Option<Self> {
        let key = RsaKey::new(&bytes(RSA_MODULUS)?, &[1, 0, 1]).ok()?;
        Some(Self { message: RSA_MESSAGE, spki: key.spki().to_vec(), signature: bytes(RSA_SIGNATURE)? })
    }

    fn ec() -> Option<Self> {
        let key = EcKey::new("P-256", &bytes(EC_X)?, &bytes(EC_Y)?)?.ok()?;
        let signature = key.signature_der(&bytes(EC_SIGNATURE)?)?;
        Some(Self { message: EC_MESSAGE, spki: key.spki().to_vec(), signature })
    }

    /// It must hold, and neither over another message nor with another last bit.
    fn passes(&self, host: &dyn HostCrypto) -> bool {
        let ask = |signature: &[u8], message: &str| {
            host.verify(Hash::Sha256, &self.spki, signature, message.as_bytes())
        };
        let mut other = self.signature.clone();
        if let Some(last) = other.last_mut() {
            *last ^= 1;
        }
        ask(&self.signature, self.message) == Ok(true)
            && ask(&self.signature, "another message") == Ok(false)
            && ask(&other, self.message) == Ok(false)
    }
}

fn bytes(text: &str) -> Option<Vec<u8>> {
    BASE64_URL_SAFE_NO_PAD.decode(text).ok()
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    /// Answers by the portable code, or always the same.
    struct Fake {
        answer: Option<Result<bool, HostFailed>>,
        calls: Cell<usize>,
    }

    impl HostCrypto for Fake {
        fn verify(&self, _: Hash, spki: &[u8], signature: &[u8], message: &[u8]) -> Result<bool, HostFailed> {
            self.calls.set(self.calls.get() + 1);
            if let Some(answer) = self.answer {
                return answer;
            }
            let rsa = RsaKey::new(&bytes(RSA_MODULUS).unwrap(), &[1, 0, 1]).unwrap();
            if spki == rsa.spki() {
                return Ok(Key::Rsa(rsa).verify(Algorithm::Rs256, message, signature));
            }
            let raw = p256::ecdsa::Signature::from_der(signature).map_err(|_| HostFailed)?.to_bytes();
            let ec = EcKey::new("P-256", &bytes(EC_X).unwrap(), &bytes(EC_Y).unwrap()).unwrap().unwrap();
            Ok(Key::Ec(ec).verify(Algorithm::Es256, message, &raw))
        }
    }

    fn detect(answer: Option<Result<bool, HostFailed>>) -> Backend {
        Backend::detect(Rc::new(Fake { answer, calls: Cell::new(0) }))
    }

    #[test]
    fn a_host_is_used_only_where_it_tells_good_from_bad() {
        let kinds = |backend: Backend| (backend.rsa.is_some(), backend.ec.is_some());
        assert_eq!(kinds(detect(None)), (true, true));
        assert_eq!(kinds(detect(Some(Ok(true)))), (false, false));
        assert_eq!(kinds(detect(Some(Ok(false)))), (false, false));
        assert_eq!(kinds(detect(Some(Err(HostFailed)))), (false, false));
    }

    #[test]
    fn what_the_host_cannot_answer_is_answered_here() {
        let failing: Rc<dyn HostCrypto> =
            Rc::new(Fake { answer: Some(Err(HostFailed)), calls: Cell::new(0) });
        let backend = Backend { rsa: Some(Rc::clone(&failing)), ec: Some(failing) };
        let key = Key::Rsa(RsaKey::new(&bytes(RSA_MODULUS).unwrap(), &[1, 0, 1]).unwrap());
        let signature = bytes(RSA_SIGNATURE).unwrap();
        assert!(backend.verify(&key, Algorithm::Rs256, RSA_MESSAGE.as_bytes(), &signature));
        assert!(!backend.verify(&key, Algorithm::Rs256, b"other", &signature));
    }

    #[test]
    fn a_signature_of_the_wrong_length_never_reaches_the_host() {
        let fake = Rc::new(Fake { answer: Some(Ok(true)), calls: Cell::new(0) });
        let host: Rc<dyn HostCrypto> = fake.clone();
        let backend = Backend { rsa: Some(Rc::clone(&host)), ec: Some(host) };
        let rsa = Key::Rsa(RsaKey::new(&bytes(RSA_MODULUS).unwrap(), &[1, 0, 1]).unwrap());
        let ec = EcKey::new("P-256", &bytes(EC_X).unwrap(), &bytes(EC_Y).unwrap()).unwrap().unwrap();
        let ec = Key::Ec(ec);
        for length in [0, 1, 63, 65, 255, 257] {
            assert!(!backend.verify(&rsa, Algorithm::Rs256, b"m", &vec![1; length]), "{length}");
            assert!(!backend.verify(&ec, Algorithm::Es256, b"m", &vec![1; length]), "{length}");
        }
        assert!(!backend.verify(&ec, Algorithm::Es256, b"m", &[0; 64]), "r = s = 0");
        assert!(!backend.verify(&ec, Algorithm::Es384, b"m", &[1; 96]), "another curve");
        assert!(!backend.verify(&rsa, Algorithm::Hs256, b"m", &[1; 32]), "another kind");
        assert_eq!(fake.calls.get(), 0);
    }
}
