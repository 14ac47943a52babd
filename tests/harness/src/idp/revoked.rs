//! Tokens that the provider revoked, and the list of them.

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value, json};

use super::now;

/// How long an entry is needed of which only the `jti` is known, in seconds: a day.
const UNKNOWN_LIFE: i64 = 24 * 60 * 60;

/// What is on the list.
#[derive(Default)]
pub(super) struct Revoked {
    /// Each `jti`, and until when somebody has to remember it.
    until: BTreeMap<String, u64>,
}

impl Revoked {
    pub(super) fn add(&mut self, jti: &str, until: u64) {
        self.until.insert(jti.to_owned(), until);
    }

    /// The list as a JSON document, in the form that `revocation.lists` reads.
    pub(super) fn document(&self, issuer: &str) -> Value {
        let entry = |(jti, until)| json!({ "issuer": issuer, "jti": jti, "until": until });
        json!({ "version": 1, "entries": self.until.iter().map(entry).collect::<Vec<_>>() })
    }
}

/// A token as a request to revoke it names it: its `jti`, and until when it would last.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Named {
    pub(super) jti: String,
    pub(super) until: u64,
}

impl Named {
    /// From `token`, a token itself, or from `jti` alone. Whoever asks is believed: it is a demo.
    ///
    /// # Errors
    /// What is missing, and what to send.
    pub(super) fn read(asked: &Map<String, Value>) -> Result<Self, String> {
        let text = |name: &str| asked.get(name).and_then(Value::as_str);
        let claims = match (text("token"), text("jti")) {
            (Some(token), None) => {
                claims(token).ok_or("token is no JWT, and no opaque token of this provider")?
            }
            (None, Some(jti)) => json!({ "jti": jti, "exp": now() + UNKNOWN_LIFE }),
            _ => return Err("send token=… or jti=…, one of them".to_owned()),
        };
        let jti = claims["jti"].as_str().ok_or("this token has no jti by which to name it")?;
        let until = claims["exp"].as_u64().ok_or("this token has no exp")?;
        Ok(Self { jti: jti.to_owned(), until })
    }
}

fn claims(token: &str) -> Option<Value> {
    let payload = URL_SAFE_NO_PAD.decode(token.split('.').nth(1)?).ok()?;
    serde_json::from_slice(&payload).ok()
}
