//! The two backends, and a host whose cryptography is not ours.

use std::rc::Rc;

use aws_lc_rs::signature::{self, UnparsedPublicKey, VerificationAlgorithm};
use portcullis::{Backend, HashAlgorithm as Hash, HostCrypto, HostFailed};

/// What Envoy's `verify_signature` does, by a relative of the library that Envoy uses: a key as DER
/// `SubjectPublicKeyInfo`, an ECDSA signature as DER.
struct Host;

/// The object identifiers of a key's algorithm and curve in DER, as they stand in its first bytes.
const RSA: &[u8] = &[0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01];
const P256: &[u8] = &[0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07];
const P384: &[u8] = &[0x06, 0x05, 0x2b, 0x81, 0x04, 0x00, 0x22];
const P521: &[u8] = &[0x06, 0x05, 0x2b, 0x81, 0x04, 0x00, 0x23];

impl HostCrypto for Host {
    fn verify(&self, hash: Hash, spki: &[u8], signature: &[u8], message: &[u8]) -> Result<bool, HostFailed> {
        let head = &spki[..spki.len().min(32)];
        let of = |oid: &[u8]| head.windows(oid.len()).any(|part| part == oid);
        let algorithm: &'static dyn VerificationAlgorithm = match hash {
            Hash::Sha256 if of(RSA) => &signature::RSA_PKCS1_2048_8192_SHA256,
            Hash::Sha384 if of(RSA) => &signature::RSA_PKCS1_2048_8192_SHA384,
            Hash::Sha512 if of(RSA) => &signature::RSA_PKCS1_2048_8192_SHA512,
            Hash::Sha256 if of(P256) => &signature::ECDSA_P256_SHA256_ASN1,
            Hash::Sha384 if of(P384) => &signature::ECDSA_P384_SHA384_ASN1,
            Hash::Sha512 if of(P521) => &signature::ECDSA_P521_SHA512_ASN1,
            // The filter never asks for another pair: a test that gets here should fail.
            _ => panic!("asked for {hash:?} with the key {spki:02x?}"),
        };
        Ok(UnparsedPublicKey::new(algorithm, spki).verify(message, signature).is_ok())
    }
}

/// Both backends, each with its name.
pub(crate) fn backends() -> [(&'static str, Backend); 2] {
    [("portable", Backend::portable()), ("host", Backend::detect(Rc::new(Host)))]
}

#[test]
fn the_host_passes_the_known_answer_test() {
    let [(_, portable), (_, host)] = backends();
    assert_eq!(host.to_string(), "the host verifies RSA PKCS #1 v1.5 and ECDSA");
    assert_eq!(portable.to_string(), "every signature is verified in the filter");
}
