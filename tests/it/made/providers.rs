//! The folders of providers: a token, its key set, and what a gate must find in it.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use harness::{Alg, Key};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::Files;
use crate::key_forms::certificate;

/// When the tokens are looked at.
const VERIFY_AT: u64 = 1_764_000_060;
/// When those of servers were made whose folders do not say when they hold.
const SERVERS_ISSUED: u64 = 1_795_311_980;

/// A row of `providers.yaml`, which says what each member is.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Row {
    #[serde(default = "rs256")]
    algorithm: String,
    #[serde(default)]
    header: Map<String, Value>,
    #[serde(default)]
    header_ends: bool,
    claims: Map<String, Value>,
    #[serde(default)]
    dates: Vec<String>,
    #[serde(default = "an_hour")]
    lifetime: u64,
    #[serde(default)]
    published: Map<String, Value>,
    token_from: Option<Value>,
    also_from: Option<Value>,
    #[serde(default)]
    expect: Map<String, Value>,
    #[serde(default)]
    key: Map<String, Value>,
    #[serde(default)]
    encryption_key: bool,
    #[serde(default)]
    certificates: bool,
}

fn rs256() -> String {
    "RS256".to_owned()
}

fn an_hour() -> u64 {
    3600
}

/// Each provider's folder.
pub(super) fn folders() -> BTreeMap<String, Files> {
    let rows: BTreeMap<String, Row> =
        serde_norway::from_str(include_str!("providers.yaml")).unwrap_or_else(|error| panic!("{error}"));
    let mut folders: BTreeMap<_, _> = rows.into_iter().map(|(name, row)| (name, row.files())).collect();
    folders.insert("emu-moto-cognito".to_owned(), moto());
    folders.insert("real-glewlwyd".to_owned(), glewlwyd());
    folders
}

impl Row {
    fn files(self) -> Files {
        let alg: Alg = self.algorithm.parse().expect("an algorithm");
        let key = Key::cached(alg, "a provider").with_kid("made-1");
        let (header, claims) = self.parts(&key);
        let token = key.sign_jws(&header, claims.to_string().as_bytes());
        let mut files = Files::from([
            ("token.jwt".to_owned(), token),
            ("header.json".to_owned(), header.to_string()),
            ("claims.json".to_owned(), claims.to_string()),
            ("meta.json".to_owned(), self.meta(&header, &claims).to_string()),
        ]);
        // Amazon publishes no key set.
        if alg == Alg::ES384 {
            files.insert("public_key.pem".to_owned(), key.public_pem());
        } else {
            files.insert("jwks.json".to_owned(), self.jwks(&key).to_string());
        }
        if self.certificates {
            let map = json!({ key.kid(): certificate::pem_of(&key) });
            files.insert("x509_map.json".to_owned(), map.to_string());
        }
        files
    }

    /// The header and the claims.
    fn parts(&self, key: &Key) -> (Value, Value) {
        let issued = VERIFY_AT - 20;
        let (mut header, mut claims) = (self.header.clone(), self.claims.clone());
        header.insert("alg".to_owned(), json!(key.alg().name()));
        header.insert("kid".to_owned(), json!(key.kid()));
        if self.header_ends {
            header.insert("exp".to_owned(), json!(issued + 120));
        }
        claims.insert("iat".to_owned(), json!(issued));
        claims.extend(self.dates.iter().map(|name| (name.clone(), json!(issued))));
        if self.lifetime > 0 {
            claims.insert("exp".to_owned(), json!(issued + self.lifetime));
        }
        (Value::Object(header), Value::Object(claims))
    }

    fn meta(&self, header: &Value, claims: &Value) -> Value {
        let mut meta = Value::Object(self.published.clone());
        meta["issuer"] = claims.get("iss").or_else(|| header.get("iss")).expect("an issuer").clone();
        meta["verify_at"] = json!(VERIFY_AT);
        meta["expect"] = Value::Object(self.expect.clone());
        for (name, place) in [("token_from", &self.token_from), ("also_from", &self.also_from)] {
            if let Some(place) = place {
                meta[name] = place.clone();
            }
        }
        meta
    }

    fn jwks(&self, key: &Key) -> Value {
        let mut jwk = key.public_jwk();
        let members = jwk.as_object_mut().expect("a key");
        members.extend(self.key.clone());
        members.retain(|_, value| !value.is_null());
        let mut keys = vec![jwk];
        if self.encryption_key {
            let mut other = Key::cached(Alg::RS256, "for encryption").public_jwk();
            other["use"] = json!("enc");
            other["alg"] = json!("RSA-OAEP");
            keys.insert(0, other);
        }
        json!({ "keys": keys })
    }
}

/// The tokens of Cognito's emulator, whose key is the same for every pool.
fn moto() -> Files {
    let key = Key::cached(Alg::RS256, "a provider").with_kid("dummy");
    let token = |more: Value| {
        let mut claims = json!({
            "iss": "https://cognito-idp.us-east-1.amazonaws.com/us-east-1_9a8e604c6cba4a64b02af6fddb497b11",
            "sub": "00000000-0000-4000-8000-00000000000e", "jti": "made-8", "cognito:groups": ["admin"],
            "iat": SERVERS_ISSUED, "auth_time": SERVERS_ISSUED, "exp": SERVERS_ISSUED + 3600,
        });
        claims.as_object_mut().expect("claims").extend(more.as_object().expect("claims").clone());
        let header = json!({ "alg": "RS256", "kid": "dummy", "typ": "JWT" });
        key.sign_jws(&header, claims.to_string().as_bytes())
    };
    let client = "f1b36fcaab1e47d8bcbe5da028";
    let access = token(json!({
        "client_id": client, "token_use": "access", "username": "joe", "scope": "aws.cognito.signin.user.admin",
    }));
    let id = token(json!({ "aud": client, "token_use": "id", "cognito:username": "joe" }));
    Files::from([
        ("AccessToken.jwt".to_owned(), access),
        ("IdToken.jwt".to_owned(), id),
        ("jwks.json".to_owned(), json!({ "keys": [key.public_jwk()] }).to_string()),
    ])
}

/// Glewlwyd's tokens through a rotation. It has a key of each algorithm, and leaves out a coordinate's first zero.
fn glewlwyd() -> Files {
    let key = |alg, kid: &str| Key::cached(alg, &format!("glewlwyd {kid}")).with_kid(kid);
    let (first, next) = (key(Alg::RS256, "rs256-1"), key(Alg::RS256, "rs256-2"));
    let keys = [
        key(Alg::RS512, "rs512-1"),
        key(Alg::PS256, "ps256-1"),
        key(Alg::ES256, "es256-1"),
        with_a_zero_in_front("es512-1"),
        key(Alg::ES384, "es384-1"),
        key(Alg::EdDSA, "ed-1"),
    ];
    let mut files = Files::new();
    let mut sign = |file: &str, key: &Key, audience: &str| {
        let claims = json!({
            "iss": "http://127.0.0.1:4593/api/oidc", "sub": "joe", "aud": audience, "client_id": "web", "jti": file,
            "type": "access_token", "scope": "orders.read",
            "iat": SERVERS_ISSUED, "nbf": SERVERS_ISSUED, "exp": SERVERS_ISSUED + 3600,
        });
        let header = json!({ "typ": "at+jwt", "alg": key.alg().name(), "kid": key.kid() });
        files.insert(format!("{file}.jwt"), key.sign_jws(&header, claims.to_string().as_bytes()));
    };
    for (file, key) in
        [("access_token", &first), ("access_token.rotated", &next), ("access_token.retired", &next)]
    {
        sign(file, key, "orders.read orders.write");
    }
    for key in &keys {
        sign(&format!("access_token.{}", key.kid()), key, "https://orders.example.com/");
    }
    let before: Vec<_> = [&first].into_iter().chain(&keys).map(shortened).collect();
    let during: Vec<_> = before.iter().cloned().chain([next.public_jwk()]).collect();
    for (file, keys) in
        [("jwks.json", before), ("jwks.rotated.json", during), ("jwks.retired.json", vec![next.public_jwk()])]
    {
        files.insert(file.to_owned(), json!({ "keys": keys }).to_string());
    }
    files
}

/// The bytes of a key's second coordinate.
fn y_of(jwk: &Value) -> Option<Vec<u8>> {
    BASE64_URL_SAFE_NO_PAD.decode(jwk["y"].as_str()?).ok()
}

/// A key for ES512 whose y begins with a zero, as that of every second key does.
fn with_a_zero_in_front(kid: &str) -> Key {
    let mut keys = std::iter::repeat_with(|| Key::generate(Alg::ES512, kid));
    keys.find(|key| y_of(&key.public_jwk()).is_some_and(|y| y.starts_with(&[0]))).expect("one of them")
}

/// The key as the server publishes it.
fn shortened(key: &Key) -> Value {
    let mut jwk = key.public_jwk();
    if let (Alg::ES512, Some(y)) = (key.alg(), y_of(&jwk)) {
        jwk["y"] = json!(BASE64_URL_SAFE_NO_PAD.encode(&y[1..]));
    }
    jwk
}
