//! The host's cryptography: Envoy's foreign function `verify_signature`.

use std::rc::Rc;

use prost::Message;

use super::abi;
use crate::crypto::{Backend, Hash, HostCrypto, HostFailed};

/// The backend of this host: its own where it has one that works.
pub(super) fn backend() -> Backend {
    Backend::detect(Rc::new(Foreign))
}

struct Foreign;

/// The arguments of `verify_signature` that are used here.
#[derive(Clone, PartialEq, Message)]
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

#[derive(Clone, PartialEq, Message)]
struct Verdict {
    #[prost(bool, tag = "1")]
    result: bool,
}

impl HostCrypto for Foreign {
    fn verify(&self, hash: Hash, spki: &[u8], signature: &[u8], message: &[u8]) -> Result<bool, HostFailed> {
        let arguments = Arguments {
            hash_function: hash.name().to_owned(),
            public_key: spki.to_vec(),
            signature: signature.to_vec(),
            text: message.to_vec(),
        };
        let answer = abi::call_foreign_function("verify_signature", &arguments.encode_to_vec());
        let answer = answer.map_err(|_| HostFailed)?;
        Verdict::decode(answer.as_slice()).map(|verdict| verdict.result).map_err(|_| HostFailed)
    }
}
