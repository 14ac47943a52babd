//! Any bytes as a token; and any header and claims, signed with a key that the provider trusts.
//!
//! The input is a token; or, behind a `!`, a header and claims with a line feed between them.

#![no_main]

use std::cell::OnceCell;

use libfuzzer_sys::fuzz_target;
use portcullis::{Backend, Config, Keys, Reason, Unverified, Verified};
use portcullis_fuzz::{JOE, NOW, ann, config, now, signed};
use serde_json::Value;

thread_local! {
    static CONFIG: OnceCell<Config> = const { OnceCell::new() };
}

fuzz_target!(|input: &[u8]| {
    CONFIG.with(|config_once| {
        let config = config_once.get_or_init(config);
        match input.strip_prefix(b"!") {
            None => {
                let token = String::from_utf8_lossy(input);
                for at in 0..config.providers.len() {
                    if judge(config, at, input).is_ok() {
                        assert!(token == JOE || token == ann(), "a forged token passes");
                    }
                }
            }
            Some(parts) => {
                let split = parts.iter().position(|byte| *byte == b'\n').unwrap_or(parts.len());
                let (header, claims) = (&parts[..split], parts.get(split + 1..).unwrap_or_default());
                let token = signed(header, claims);
                for at in 0..config.providers.len() {
                    if let Ok(verified) = judge(config, at, token.as_bytes()) {
                        let name = config.providers[at].name.as_str();
                        check(name, header, claims, &verified);
                    }
                }
            }
        }
    });
});

fn judge(config: &Config, at: usize, token: &[u8]) -> Result<Verified, Reason> {
    let provider = &config.providers[at];
    let Keys::Local(keys) = &provider.keys else { panic!("the keys are local") };
    let token = Unverified::parse(token, &provider.policy)?;
    provider.policy.check(&token, &provider.policy.audiences, now())?;
    let kid = token.header().kid.clone();
    let candidates = keys.candidates(kid.as_deref(), token.header().algorithm);
    let signed = token.verify(&Backend::portable(), candidates)?;
    let verified = signed.read(&provider.policy, &provider.policy.audiences, now())?;
    // What the upstream would be told.
    for (_, value) in provider.outputs.headers(&verified).headers {
        assert!(!value.chars().any(char::is_control), "a header with a control character");
    }
    Ok(verified)
}

/// What must be so where a token with a right signature passes.
fn check(provider: &str, header: &[u8], claims: &[u8], verified: &Verified) {
    let header: Value = serde_json::from_slice(header).expect("a header that passes is JSON");
    let claims: Value = serde_json::from_slice(claims).expect("claims that pass are JSON");
    assert_eq!(header["alg"], "HS256");
    assert!(header.get("kid").is_none_or(|kid| kid == "h"));
    for name in ["crit", "b64", "enc", "zip"] {
        assert!(header.get(name).is_none(), "{name}");
    }
    let date = |name: &str| claims.get(name).map(|date| date.as_f64().expect("a date is a number"));
    let now = NOW as f64;
    assert!(date("exp").expect("exp") > now - 60.0);
    assert!(date("nbf").is_none_or(|nbf| nbf <= now + 60.0));
    assert!(date("iat").is_none_or(|iat| iat <= now + 60.0));
    assert!(claims.get("cnf").is_none());
    for name in ["sub", "jti"] {
        assert!(claims.get(name).is_none_or(Value::is_string));
    }
    if provider == "joe" {
        assert_eq!(claims["iss"], "joe");
    } else {
        assert!(claims["iss"] == "https://a/1" || claims["iss"] == "https://a/2");
        let aud = &claims["aud"];
        assert!(aud == "orders" || aud.as_array().is_some_and(|list| list.iter().any(|one| one == "orders")));
    }
    assert_eq!(verified.claims().all().len(), claims.as_object().expect("claims are an object").len());
}
