//! A filter that verifies the signature of each request's token with `rsa` 0.9 or `p256` 0.13 as they come, and looks at
//! nothing else of it: what the filter's own arithmetic is measured beside.
//!
//! `make bench` builds it into `dist/baseline.wasm`. Its configuration is the name of an algorithm, a space, and the public
//! key as base64 of its DER (`SubjectPublicKeyInfo`).

#![allow(missing_docs, unsafe_code, reason = "the SDK's macro exports functions")]

use std::rc::Rc;

use base64::Engine as _;
use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD};
use proxy_wasm::traits::{Context, HttpContext, RootContext};
use proxy_wasm::types::{Action, ContextType};
use rsa::RsaPublicKey;
use rsa::pkcs8::DecodePublicKey as _;
use rsa::signature::Verifier;
use rsa::{pkcs1v15, pss};
use sha2::{Sha256, Sha384, Sha512};

proxy_wasm::main! {{
    proxy_wasm::set_root_context(|_| Box::new(Root(None)));
}}

/// Whether a signature holds over a message.
type Verify = Rc<dyn Fn(&[u8], &[u8]) -> bool>;

struct Root(Option<Verify>);

impl Context for Root {}

impl RootContext for Root {
    fn on_configure(&mut self, _: usize) -> bool {
        let configuration = self.get_plugin_configuration().unwrap_or_default();
        self.0 = std::str::from_utf8(&configuration).ok().and_then(verify);
        self.0.is_some()
    }

    fn create_http_context(&self, _: u32) -> Option<Box<dyn HttpContext>> {
        Some(Box::new(Request(self.0.clone()?)))
    }

    fn get_type(&self) -> Option<ContextType> {
        Some(ContextType::HttpContext)
    }
}

struct Request(Verify);

impl Context for Request {}

impl HttpContext for Request {
    fn on_http_request_headers(&mut self, _: usize, _: bool) -> Action {
        let holds = self.get_http_request_header("authorization").is_some_and(|value| {
            let parts = value.strip_prefix("Bearer ").and_then(|token| token.rsplit_once('.'));
            parts.is_some_and(|(message, signature)| {
                let signature = BASE64_URL_SAFE_NO_PAD.decode(signature);
                signature.is_ok_and(|signature| (self.0)(message.as_bytes(), &signature))
            })
        });
        if holds {
            return Action::Continue;
        }
        self.send_http_response(401, Vec::new(), None);
        Action::Pause
    }
}

/// What a configuration asks for; none where it is not understood.
fn verify(configuration: &str) -> Option<Verify> {
    let (algorithm, key) = configuration.split_once(' ')?;
    let der = BASE64_STANDARD.decode(key).ok()?;
    let rsa = || RsaPublicKey::from_public_key_der(&der).ok();
    Some(match algorithm {
        "RS256" => with(pkcs1v15::VerifyingKey::<Sha256>::new(rsa()?)),
        "RS384" => with(pkcs1v15::VerifyingKey::<Sha384>::new(rsa()?)),
        "RS512" => with(pkcs1v15::VerifyingKey::<Sha512>::new(rsa()?)),
        "PS256" => with(pss::VerifyingKey::<Sha256>::new(rsa()?)),
        "PS384" => with(pss::VerifyingKey::<Sha384>::new(rsa()?)),
        "PS512" => with(pss::VerifyingKey::<Sha512>::new(rsa()?)),
        "ES256" => {
            with::<p256::ecdsa::Signature, _>(p256::ecdsa::VerifyingKey::from_public_key_der(&der).ok()?)
        }
        _ => return None,
    })
}

/// The crate's own way, whichever it is.
fn with<S, K>(key: K) -> Verify
where
    S: for<'s> TryFrom<&'s [u8]>,
    K: Verifier<S> + 'static,
{
    Rc::new(move |message, signature| {
        S::try_from(signature).is_ok_and(|signature| key.verify(message, &signature).is_ok())
    })
}
