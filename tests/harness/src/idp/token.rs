//! Tokens, claim by claim.

use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Map, Value, json};

use super::key::{Alg, Key, b64};

/// A token under construction. It starts with what a well-behaved provider would issue; tests then bend it.
#[derive(Clone, Debug)]
pub struct TokenBuilder {
    keys: Vec<Key>,
    key: Key,
    header: Map<String, Value>,
    claims: Map<String, Value>,
}

impl TokenBuilder {
    /// A token of `key` with the claims `iss`, `aud`, `sub` (alice), `iat` (now) and `exp` (in five minutes).
    pub fn new(key: &Key, issuer: &str, audience: &str) -> Self {
        let now = now();
        let Value::Object(claims) = json!({
            "iss": issuer,
            "aud": audience,
            "sub": "alice",
            "iat": now,
            "exp": now + 300,
        }) else {
            unreachable!("an object literal")
        };
        let mut made = Self { keys: Vec::new(), key: key.clone(), header: Map::new(), claims };
        made.header.insert("typ".to_owned(), json!("JWT"));
        made.take_key(key.clone());
        made
    }

    pub(super) fn among(mut self, keys: Vec<Key>) -> Self {
        self.keys = keys;
        self
    }

    /// Sets a claim.
    #[must_use]
    pub fn claim(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.claims.insert(name.to_owned(), value.into());
        self
    }

    /// Sets every claim of a JSON object.
    ///
    /// # Panics
    /// When `claims` is not an object.
    #[must_use]
    pub fn claims(mut self, claims: Value) -> Self {
        let Value::Object(claims) = claims else { panic!("claims are a JSON object, not {claims}") };
        self.claims.extend(claims);
        self
    }

    /// Leaves a claim out.
    #[must_use]
    pub fn without(mut self, claim: &str) -> Self {
        self.claims.remove(claim);
        self
    }

    /// Sets `exp` to this many seconds from now; a negative number has passed.
    #[must_use]
    pub fn expires_in(self, seconds: i64) -> Self {
        self.claim("exp", now() + seconds)
    }

    /// Sets a header parameter.
    #[must_use]
    pub fn header(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.header.insert(name.to_owned(), value.into());
        self
    }

    /// Leaves a header parameter out.
    #[must_use]
    pub fn without_header(mut self, name: &str) -> Self {
        self.header.remove(name);
        self
    }

    /// Sets the header's `kid` to something else than the key's.
    #[must_use]
    pub fn kid(self, kid: &str) -> Self {
        self.header("kid", kid)
    }

    /// Signs with another key, and names that one in the header.
    #[must_use]
    pub fn key(mut self, key: &Key) -> Self {
        self.take_key(key.clone());
        self
    }

    /// Signs with the provider's key of this algorithm.
    ///
    /// # Panics
    /// When the provider has none.
    #[must_use]
    pub fn alg(mut self, alg: Alg) -> Self {
        let Some(key) = self.keys.iter().find(|key| key.alg() == alg) else {
            panic!("the identity provider has no key for {alg}, only {:?}", self.keys)
        };
        self.take_key(key.clone());
        self
    }

    /// The claims as they stand.
    pub fn payload(&self) -> Value {
        Value::Object(self.claims.clone())
    }

    /// The signed token.
    pub fn sign(&self) -> String {
        self.key.sign_jws(&Value::Object(self.header.clone()), self.payload().to_string().as_bytes())
    }

    /// The token without a signature: the header says `alg: none` and nothing follows the last dot.
    pub fn unsigned(&self) -> String {
        let mut header = self.header.clone();
        header.insert("alg".to_owned(), json!("none"));
        format!("{}.{}.", b64(Value::Object(header).to_string()), b64(self.payload().to_string()))
    }

    fn take_key(&mut self, key: Key) {
        self.header.insert("alg".to_owned(), json!(key.alg().name()));
        self.header.insert("kid".to_owned(), json!(key.kid()));
        self.key = key;
    }
}

/// The token with one bit of its signature turned over: still well-formed, still canonical base64url, no longer signed.
///
/// # Panics
/// When `token` has no signature part.
pub fn flip_bit(token: &str) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let at = token.rfind('.').expect("a token has dots") + 1;
    let mut bytes = token.as_bytes().to_vec();
    // The first character carries six bits of the signature's first byte, all of them significant.
    let first = bytes.get_mut(at).expect("a token has a signature");
    let bits = ALPHABET.iter().position(|letter| letter == first).expect("a signature is base64url");
    *first = ALPHABET[bits ^ 1];
    String::from_utf8(bytes).expect("a token is ASCII")
}

/// Seconds since 1970.
pub fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock after 1970");
    i64::try_from(since.as_secs()).expect("a clock before the year 292 billion")
}
