//! The issuer's keys, and the providers that the mutants meet: each as a configuration for the filter
//! and as [`Demands`] for the independent verifier.

use std::rc::Rc;

use aws_lc_rs::signature::{self, UnparsedPublicKey, VerificationAlgorithm};
use harness::{Alg, Key};
use portcullis::{
    Backend, Config, Environment as Around, Gate, HashAlgorithm as Hash, HostCrypto, HostFailed, Keys,
    Provider,
};
use serde_json::{Value, json};

use crate::mutants_native::verifier::{Demands, Published};

/// The moment around which the tokens are made.
pub(crate) const NOW: u64 = 1_750_000_000;

pub(crate) const ISSUER: &str = "https://idp.example/";

/// What `typ` may be by default.
const TYPES: &[&str] = &["", "application/jwt", "application/at+jwt"];

/// What most providers ask.
const USUAL: Demands = Demands {
    issuers: &[ISSUER],
    tenants: &[],
    audiences: &["orders", "https://api.example/"],
    audience_claims: &[&["aud"]],
    normalized: false,
    subject_prefix: "",
    algorithms: &Alg::ALL,
    types: TYPES,
    bound_is_fine: false,
    skew: 60,
    expiration: true,
    max_lifetime: None,
    max_age: None,
    required: &[],
    scope_claims: &[&["scope"], &["scp"]],
};

/// Every provider. The configuration of each says what its demands say, and nothing else.
pub(crate) const PROVIDERS: [Demands; 6] = [
    USUAL,
    Demands {
        algorithms: &[Alg::ES256, Alg::EdDSA, Alg::HS256],
        types: &["application/at+jwt"],
        skew: 0,
        max_lifetime: Some(600),
        max_age: Some(300),
        required: &["sub", "jti"],
        ..USUAL
    },
    Demands {
        issuers: &[ISSUER, "https://other.example"],
        normalized: true,
        types: &["", "application/jwt", "application/at+jwt", "application/secevent+jwt", "text/jwt"],
        bound_is_fine: true,
        skew: 300,
        expiration: false,
        ..USUAL
    },
    Demands {
        issuers: &["https://login.example/common"],
        tenants: &["t1", "t2"],
        audience_claims: &[&["aud"], &["client_id"], &["azp", "app"]],
        subject_prefix: "ali",
        ..USUAL
    },
    Demands {
        issuers: &[],
        audiences: &[],
        expiration: false,
        scope_claims: &[&["realm", "perms"], &["scope"]],
        ..USUAL
    },
    Demands {
        algorithms: &[
            Alg::RS256,
            Alg::RS384,
            Alg::RS512,
            Alg::PS256,
            Alg::PS384,
            Alg::PS512,
            Alg::ES256,
            Alg::ES384,
            Alg::ES512,
            Alg::EdDSA,
        ],
        ..USUAL
    },
];

fn configuration(at: usize, keys: &Value) -> Value {
    let demands = &PROVIDERS[at];
    let mut provider = json!({ "local_jwks": { "inline": keys }, "clock_skew_seconds": demands.skew });
    let mut set = |name: &str, value: Value| provider[name] = value;
    if !demands.issuers.is_empty() {
        let mut issuers = demands.issuers.to_vec();
        if !demands.tenants.is_empty() {
            issuers.push("https://login.example/{tid}/v2.0");
            set("issuer_claims", json!({ "tid": demands.tenants }));
        }
        set("issuer", json!(issuers));
    }
    if !demands.audiences.is_empty() {
        set("audiences", json!(demands.audiences));
    }
    let path = |path: &&[&str]| json!(path.join("."));
    set("audience_claims", demands.audience_claims.iter().map(path).collect());
    set("audience_match", json!(if demands.normalized { "normalized" } else { "exact" }));
    if !demands.subject_prefix.is_empty() {
        set("subjects", json!({ "prefix": demands.subject_prefix }));
    }
    // The provider that names no algorithm stands for the default.
    if demands.algorithms.len() != 10 {
        set("algorithms", demands.algorithms.iter().map(|alg| json!(alg.name())).collect());
    }
    let types: Vec<_> = demands.types.iter().map(|typ| if typ.is_empty() { "absent" } else { typ }).collect();
    set("token_types", json!(types));
    set("sender_constrained", json!(if demands.bound_is_fine { "ignore" } else { "reject" }));
    set("require_expiration", json!(demands.expiration));
    if let Some(seconds) = demands.max_lifetime {
        set("max_lifetime", json!(format!("{seconds}s")));
    }
    if let Some(seconds) = demands.max_age {
        set("max_age", json!(format!("{seconds}s")));
    }
    if !demands.required.is_empty() {
        set("required_claims", json!(demands.required));
    }
    set("scope_claims", demands.scope_claims.iter().map(path).collect());
    json!({
        "providers": { "p": provider },
        "rules": [{ "match": { "prefix": "/" }, "requires": { "provider_name": "p" } }],
    })
}

/// What all threads share.
pub(crate) struct World {
    pub(crate) keys: Vec<Published>,
    /// Keys that nobody published, one of each kind.
    pub(crate) strangers: Vec<Key>,
    /// The issuer's key set, for the report of a disagreement.
    pub(crate) set: Value,
}

impl World {
    pub(crate) fn new() -> Self {
        let published = |kid, pinned, key| Published { kid, pinned, key, secret: None };
        let secret = |kid, pinned, alg, length: usize| {
            let bytes: Vec<u8> = (0..length).map(|at| (at * 7 + length) as u8).collect();
            Published { secret: Some(length), ..published(kid, pinned, Key::hmac(alg, "", &bytes)) }
        };
        let make = |alg| Key::generate(alg, "");
        let keys = vec![
            published(Some("rs256"), true, make(Alg::RS256)),
            published(Some("rsa"), false, make(Alg::RS256)),
            published(Some("ps512"), true, make(Alg::PS512)),
            published(Some("es256"), true, make(Alg::ES256)),
            published(Some("es384"), true, make(Alg::ES384)),
            published(Some("es512"), false, make(Alg::ES512)),
            published(Some("eddsa"), true, make(Alg::EdDSA)),
            // Two keys of one kid and kind, and one of another kind.
            published(Some("twin"), false, make(Alg::ES256)),
            published(Some("twin"), false, make(Alg::ES256)),
            published(Some("twin"), false, make(Alg::EdDSA)),
            // Keys without a kid.
            published(None, false, make(Alg::EdDSA)),
            published(None, true, make(Alg::ES256)),
            secret(Some("hs256"), true, Alg::HS256, 32),
            secret(Some("hs"), false, Alg::HS256, 64),
            secret(Some("hs-short"), false, Alg::HS256, 47),
            secret(Some("hs-tiny"), false, Alg::HS256, 31),
            secret(Some("hs384"), true, Alg::HS384, 48),
        ];
        let members: Vec<Value> = keys.iter().map(member).collect();
        let strangers = [Alg::RS256, Alg::ES256, Alg::ES384, Alg::ES512, Alg::EdDSA, Alg::HS256].map(make);
        Self { keys, strangers: strangers.into(), set: json!({ "keys": members }) }
    }
}

fn member(own: &Published) -> Value {
    let mut jwk = own.key.public_jwk();
    jwk["kid"] = json!(own.kid);
    for (name, stays) in [("kid", own.kid.is_some()), ("alg", own.pinned)] {
        if let Some(members) = jwk.as_object_mut().filter(|_| !stays) {
            members.remove(name);
        }
    }
    jwk
}

/// One provider as the filter has it, in one thread.
pub(crate) struct Portcullis {
    pub(crate) provider: std::rc::Rc<Provider>,
    /// With the filter's own arithmetic, and with the host's.
    pub(crate) backends: [Backend; 2],
    pub(crate) gate: Gate,
}

impl Portcullis {
    pub(crate) fn new(at: usize, world: &World) -> Self {
        let text = configuration(at, &world.set).to_string();
        let parse = || Config::parse(text.as_bytes(), &|_| None).expect("a configuration");
        let provider = parse().providers.remove(0);
        let Keys::Local(set) = &provider.keys else { panic!("the keys are local") };
        let secrets_count = PROVIDERS[at].algorithms.iter().any(|alg| alg.is_symmetric());
        let unread = world.keys.iter().filter(|own| !own.is_usable(secrets_count)).count();
        assert_eq!(set.skipped().len(), unread, "{:?}", set.skipped());
        let backends = [Backend::portable(), Backend::detect(Rc::new(Host))];
        assert_eq!(backends[1].to_string(), "the host verifies RSA PKCS #1 v1.5 and ECDSA");
        let around = Around { backend: Backend::detect(Rc::new(Host)), ..Around::alone(1) };
        Self { provider, backends, gate: Gate::new(parse(), around, portcullis::Timestamp::default()) }
    }
}

/// The host's cryptography, as Envoy has it: by BoringSSL's next of kin.
struct Host;

impl HostCrypto for Host {
    fn verify(&self, hash: Hash, spki: &[u8], signature: &[u8], message: &[u8]) -> Result<bool, HostFailed> {
        let algorithm: &'static dyn VerificationAlgorithm = match (spki.len(), hash) {
            (91, Hash::Sha256) => &signature::ECDSA_P256_SHA256_ASN1,
            (120, Hash::Sha384) => &signature::ECDSA_P384_SHA384_ASN1,
            (158, Hash::Sha512) => &signature::ECDSA_P521_SHA512_ASN1,
            (256.., Hash::Sha256) => &signature::RSA_PKCS1_2048_8192_SHA256,
            (256.., Hash::Sha384) => &signature::RSA_PKCS1_2048_8192_SHA384,
            (256.., Hash::Sha512) => &signature::RSA_PKCS1_2048_8192_SHA512,
            _ => return Err(HostFailed),
        };
        Ok(UnparsedPublicKey::new(algorithm, spki).verify(message, signature).is_ok())
    }
}
