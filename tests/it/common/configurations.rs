//! Parts of configurations, and the provider that they are about.

use harness::{Alg, Idp, Key};
use serde_json::{Value, json};

/// The audience of the tokens. The word stands nowhere else, so that an answer that tells it is found out.
pub const AUDIENCE: &str = "warehouse-gateway";

/// An identity provider with an RS256 and an ES256 key, which are made once in a process.
pub fn idp() -> Idp {
    let keys = [Key::cached(Alg::RS256, "rsa-1"), Key::cached(Alg::ES256, "ec-1")];
    Idp::builder().audience(AUDIENCE).keys(keys).start().expect("the identity provider starts")
}

/// A provider whose keys come from the identity provider through the cluster `idp`.
pub fn provider(idp: &Idp) -> Value {
    json!({
        "issuer": idp.issuer(),
        "audiences": [idp.audience()],
        "remote_jwks": { "http_uri": { "uri": idp.jwks_uri(), "cluster": "idp", "timeout": "20s" } },
    })
}

/// A provider whose keys stand in the configuration.
pub fn local_provider(idp: &Idp) -> Value {
    json!({
        "issuer": idp.issuer(),
        "audiences": [idp.audience()],
        "local_jwks": { "inline": idp.jwks() },
    })
}

/// `object` with the members of `more` on top.
#[track_caller]
pub fn with(mut object: Value, more: Value) -> Value {
    let Value::Object(members) = more else { panic!("an object, not {more}") };
    for (name, value) in members {
        object[name] = value;
    }
    object
}

/// The requirement of a token of `corp`.
pub fn corp() -> Value {
    json!({ "provider_name": "corp" })
}

/// The parts of a token, decoded.
pub fn parts(token: &str) -> [Vec<u8>; 3] {
    use base64::Engine as _;
    use base64::prelude::BASE64_URL_SAFE_NO_PAD;
    let parts: Vec<Vec<u8>> =
        token.split('.').map(|part| BASE64_URL_SAFE_NO_PAD.decode(part).expect("base64url")).collect();
    parts.try_into().expect("three parts")
}
