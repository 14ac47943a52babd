//! Signatures by AWS-LC.

use std::cell::RefCell;
use std::num::NonZeroUsize;
use std::rc::Rc;

use aws_lc_rs::signature::{self, ParsedPublicKey, VerificationAlgorithm};
use lru::LruCache;
use portcullis::{Backend, HashAlgorithm, HostCrypto, HostFailed};

/// The backend of this host.
pub(crate) fn backend() -> Backend {
    Backend::detect(Rc::new(AwsLc::default()))
}

/// How many keys of a worker are kept in the form in which they are used.
const KEPT: NonZeroUsize = NonZeroUsize::new(256).unwrap();

/// Keys by their DER.
type Keys = LruCache<Box<[u8]>, Rc<ParsedPublicKey>>;

/// The library, and the keys that were used last with each hash function.
struct AwsLc {
    keys: [RefCell<Keys>; 3],
}

impl Default for AwsLc {
    fn default() -> Self {
        Self { keys: std::array::from_fn(|_| RefCell::new(LruCache::new(KEPT))) }
    }
}

/// The kind of a DER `SubjectPublicKeyInfo`, by the object identifiers in its `AlgorithmIdentifier` (RFC 5480 section
/// 2.1.1, RFC 3279 section 2.3.1).
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Rsa,
    P256,
    P384,
    P521,
}

const KINDS: [(Kind, &[u8]); 4] = [
    (Kind::Rsa, &[0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01]),
    (Kind::P256, &[0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07]),
    (Kind::P384, &[0x06, 0x05, 0x2b, 0x81, 0x04, 0x00, 0x22]),
    (Kind::P521, &[0x06, 0x05, 0x2b, 0x81, 0x04, 0x00, 0x23]),
];

/// An `AlgorithmIdentifier` ends within these bytes: what follows is the key.
const HEAD: usize = 32;

fn kind(spki: &[u8]) -> Option<Kind> {
    let head = spki.get(..HEAD)?;
    let has = |id: &[u8]| head.windows(id.len()).any(|window| window == id);
    KINDS.iter().find(|(_, id)| has(id)).map(|(kind, _)| *kind)
}

fn algorithm(kind: Kind, hash: HashAlgorithm) -> &'static dyn VerificationAlgorithm {
    use HashAlgorithm::{Sha256, Sha384, Sha512};
    match (kind, hash) {
        (Kind::Rsa, Sha256) => &signature::RSA_PKCS1_2048_8192_SHA256,
        (Kind::Rsa, Sha384) => &signature::RSA_PKCS1_2048_8192_SHA384,
        (Kind::Rsa, Sha512) => &signature::RSA_PKCS1_2048_8192_SHA512,
        (Kind::P256, Sha256) => &signature::ECDSA_P256_SHA256_ASN1,
        (Kind::P256, Sha384) => &signature::ECDSA_P256_SHA384_ASN1,
        (Kind::P256, Sha512) => &signature::ECDSA_P256_SHA512_ASN1,
        (Kind::P384, Sha256) => &signature::ECDSA_P384_SHA256_ASN1,
        (Kind::P384, Sha384) => &signature::ECDSA_P384_SHA384_ASN1,
        (Kind::P384, Sha512) => &signature::ECDSA_P384_SHA512_ASN1,
        (Kind::P521, Sha256) => &signature::ECDSA_P521_SHA256_ASN1,
        (Kind::P521, Sha384) => &signature::ECDSA_P521_SHA384_ASN1,
        (Kind::P521, Sha512) => &signature::ECDSA_P521_SHA512_ASN1,
    }
}

impl AwsLc {
    fn key(&self, hash: HashAlgorithm, spki: &[u8]) -> Result<Rc<ParsedPublicKey>, HostFailed> {
        let [sha256, sha384, sha512] = &self.keys;
        let keys = match hash {
            HashAlgorithm::Sha256 => sha256,
            HashAlgorithm::Sha384 => sha384,
            HashAlgorithm::Sha512 => sha512,
        };
        let mut keys = keys.borrow_mut();
        if let Some(known) = keys.get(spki) {
            return Ok(Rc::clone(known));
        }
        let kind = kind(spki).ok_or(HostFailed)?;
        let key = ParsedPublicKey::new(algorithm(kind, hash), spki).map_err(|_| HostFailed)?;
        let key = Rc::new(key);
        keys.put(Box::from(spki), Rc::clone(&key));
        Ok(key)
    }
}

impl HostCrypto for AwsLc {
    fn verify(
        &self,
        hash: HashAlgorithm,
        spki: &[u8],
        signature: &[u8],
        message: &[u8],
    ) -> Result<bool, HostFailed> {
        Ok(self.key(hash, spki)?.verify_sig(message, signature).is_ok())
    }
}
