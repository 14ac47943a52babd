//! The host's cryptography: Envoy's foreign function `verify_signature`.

use std::cell::RefCell;
use std::rc::Rc;

use prost::encoding::{WireType, encode_key, encode_varint};

use super::capabilities::{FOREIGN_FUNCTIONS, Missing};
use super::hostcalls;
use crate::crypto::{Backend, Hash, HostCrypto, HostFailed};

/// The backend of this host: its own where it has one that works.
pub(super) fn backend(missing: Missing) -> Backend {
    match missing.has(&FOREIGN_FUNCTIONS) {
        true => Backend::portable(),
        false => Backend::detect(Rc::new(VerifySignature::default())),
    }
}

/// The function, and the room in which its arguments are put together: the same for every call.
#[derive(Default)]
struct VerifySignature {
    arguments: RefCell<Vec<u8>>,
}

/// The fields of Envoy's `VerifySignatureArguments` that are used here.
const HASH_FUNCTION: u32 = 1;
const PUBLIC_KEY: u32 = 2;
const SIGNATURE: u32 = 3;
const TEXT: u32 = 4;

impl HostCrypto for VerifySignature {
    fn verify(&self, hash: Hash, spki: &[u8], signature: &[u8], message: &[u8]) -> Result<bool, HostFailed> {
        let mut arguments = self.arguments.try_borrow_mut().map_err(|_| HostFailed)?;
        arguments.clear();
        put(&mut arguments, HASH_FUNCTION, hash.name().as_bytes());
        put(&mut arguments, PUBLIC_KEY, spki);
        put(&mut arguments, SIGNATURE, signature);
        put(&mut arguments, TEXT, message);
        let answer =
            hostcalls::call_foreign_function("verify_signature", &arguments).map_err(|_| HostFailed)?;
        verdict(&answer).ok_or(HostFailed)
    }
}

/// Writes a field of bytes. The message as a type would own them, and each call copy them once more.
fn put(message: &mut Vec<u8>, field: u32, bytes: &[u8]) {
    encode_key(field, WireType::LengthDelimited, message);
    encode_varint(bytes.len() as u64, message);
    message.extend_from_slice(bytes);
}

/// The field `result` of a `VerifySignatureResult`: true only where it is there and says so. Protobuf
/// leaves out a field that is false; what is no such message gives nothing.
fn verdict(message: &[u8]) -> Option<bool> {
    const RESULT: u8 = 1 << 3;
    const ERROR: u8 = 2 << 3 | 2;
    match message {
        [] => Some(false),
        [RESULT, 1] => Some(true),
        [RESULT, 0] | [RESULT, 0, ERROR, ..] | [ERROR, ..] => Some(false),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The message as a protobuf library reads it.
    #[derive(Clone, PartialEq, prost::Message)]
    struct Arguments {
        #[prost(string, tag = "1")]
        hash_function: String,
        #[prost(bytes = "vec", tag = "2")]
        public_key: Vec<u8>,
        #[prost(bytes = "vec", tag = "3")]
        signature: Vec<u8>,
        #[prost(bytes = "vec", tag = "4")]
        text: Vec<u8>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    struct Verdict {
        #[prost(bool, tag = "1")]
        result: bool,
        #[prost(string, tag = "2")]
        error: String,
    }

    #[test]
    fn arguments_are_what_a_protobuf_library_reads() {
        for length in [0, 1, 127, 128, 300, 16_383, 16_384, 100_000] {
            let wanted = Arguments {
                hash_function: "sha256".to_owned(),
                public_key: vec![1; length],
                signature: vec![2; length / 2],
                text: vec![3; length.saturating_mul(2)],
            };
            let mut message = Vec::new();
            put(&mut message, HASH_FUNCTION, wanted.hash_function.as_bytes());
            put(&mut message, PUBLIC_KEY, &wanted.public_key);
            put(&mut message, SIGNATURE, &wanted.signature);
            put(&mut message, TEXT, &wanted.text);
            let read = <Arguments as prost::Message>::decode(message.as_slice()).unwrap();
            assert_eq!(read, wanted, "{length}");
        }
    }

    #[test]
    fn a_verdict_is_what_a_protobuf_library_wrote() {
        for (result, error) in [(true, ""), (false, ""), (false, "Failed to verify"), (false, "\u{1}")] {
            let written = prost::Message::encode_to_vec(&Verdict { result, error: error.to_owned() });
            assert_eq!(verdict(&written), Some(result), "{error:?}");
        }
    }

    #[test]
    fn only_a_plain_yes_is_one() {
        for message in [&[8][..], &[8, 2], &[8, 1, 0], &[8, 1, 18, 1, 65], &[0], &[24, 1], &[8, 0, 8, 1]] {
            assert_ne!(verdict(message), Some(true), "{message:?}");
        }
    }
}
