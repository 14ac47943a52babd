//! Opaque tokens: issued, asked about (RFC 7662, signed answers of RFC 9701), and revoked (RFC 7009).

use std::collections::HashMap;

use axum::response::Response;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::header::{ACCEPT, AUTHORIZATION, CACHE_CONTROL, CONTENT_TYPE, HeaderMap};
use serde_json::{Value, json};

use super::behaviour::{Behaviour, respond};
use super::key::{b64, random};
use super::{Shared, now};

/// What every opaque token of this provider starts with.
pub const PREFIX: &str = "demo_at_";

/// The client that may ask about tokens, and its secret: known to everybody, as the whole demo is.
pub const GATE: (&str, &str) = ("gate", "demo-gate-secret");

/// A call of the introspection endpoint, as it came.
#[derive(Clone, Debug, Default)]
pub struct Introspection {
    /// The header fields, names in lower case.
    pub headers: Vec<(String, String)>,
    /// The form, as it came.
    pub body: String,
}

impl Introspection {
    /// The first field of this name.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// The form's parameters, decoded, in their order.
    pub fn form(&self) -> Vec<(String, String)> {
        form_urlencoded::parse(self.body.as_bytes())
            .map(|(name, value)| (name.into_owned(), value.into_owned()))
            .collect()
    }

    /// The token that was asked about; empty where the form has none.
    pub fn token(&self) -> String {
        self.form().into_iter().find(|(name, _)| name == "token").map(|(_, value)| value).unwrap_or_default()
    }
}

/// What the provider knows of opaque tokens, and what it was asked.
pub(super) struct Opaque {
    /// What is said of a token. One that is not here is not active.
    answers: HashMap<String, Answer>,
    /// Who may ask; `None` lets everybody.
    pub(super) client: Option<(String, String)>,
    pub(super) calls: Vec<Introspection>,
    at_once: usize,
    pub(super) most_at_once: usize,
}

enum Answer {
    /// These members, until their `exp`.
    Members(Value),
    /// Whatever this does.
    Behaves(Behaviour),
}

impl Default for Opaque {
    fn default() -> Self {
        Self {
            answers: HashMap::new(),
            client: Some((GATE.0.to_owned(), GATE.1.to_owned())),
            calls: Vec::new(),
            at_once: 0,
            most_at_once: 0,
        }
    }
}

impl Opaque {
    pub(super) fn put(&mut self, token: &str, members: Value) {
        self.answers.insert(token.to_owned(), Answer::Members(members));
    }

    pub(super) fn behave(&mut self, token: &str, behaviour: Behaviour) {
        self.answers.insert(token.to_owned(), Answer::Behaves(behaviour));
    }

    /// Whether it was known.
    pub(super) fn revoke(&mut self, token: &str) -> bool {
        self.answers.remove(token).is_some()
    }

    /// How an answer about this token misbehaves, if it does.
    pub(super) fn behaviour(&self, token: &str) -> Option<Behaviour> {
        match self.answers.get(token) {
            Some(Answer::Behaves(behaviour)) => Some(behaviour.clone()),
            Some(Answer::Members(_)) | None => None,
        }
    }

    /// The members of the answer about a token.
    fn members(&self, token: &str) -> Value {
        match self.answers.get(token) {
            Some(Answer::Members(members)) if !is_over(members) => members.clone(),
            _ => json!({ "active": false }),
        }
    }
}

fn is_over(members: &Value) -> bool {
    members["exp"].as_f64().is_some_and(|end| end <= now() as f64)
}

/// A call that is being answered; it is over when this is dropped, answered or not.
pub(super) struct Call(std::sync::Arc<Shared>);

impl Call {
    pub(super) fn begin(idp: &std::sync::Arc<Shared>, call: Introspection) -> Self {
        let opaque = &mut idp.lock().opaque;
        opaque.calls.push(call);
        opaque.at_once += 1;
        opaque.most_at_once = opaque.most_at_once.max(opaque.at_once);
        Self(idp.clone())
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        self.0.lock().opaque.at_once -= 1;
    }
}

impl Shared {
    /// A new opaque token with these claims.
    pub(super) fn issue_opaque(&self, mut claims: Value) -> String {
        let token = format!("{PREFIX}{}", b64(random(32)));
        claims["active"] = json!(true);
        for (name, value) in [("token_type", "Bearer"), ("client_id", "web")] {
            if claims.get(name).is_none() {
                claims[name] = json!(value);
            }
        }
        self.lock().opaque.put(&token, claims);
        token
    }

    /// The answer to a call: 401 to a client that is not the one, else what there is to say of the token.
    pub(super) fn introspect(&self, headers: &HeaderMap, call: &Introspection) -> Response {
        let (members, client) = {
            let state = self.lock();
            (state.opaque.members(&call.token()), state.opaque.client.clone())
        };
        if client.as_ref().is_some_and(|client| !shows(client, call)) {
            let fields = [(CONTENT_TYPE.as_str(), "application/json"), ("www-authenticate", "Basic")];
            return respond(401, &fields, json!({ "error": "invalid_client" }).to_string());
        }
        let signed = "application/token-introspection+jwt";
        let asks_for_jwt = headers.get_all(ACCEPT).iter().any(|value| {
            value.to_str().is_ok_and(|value| value.contains(signed) || value.contains("application/jwt"))
        });
        if !asks_for_jwt {
            let fields = [(CONTENT_TYPE.as_str(), "application/json"), (CACHE_CONTROL.as_str(), "no-store")];
            return respond(200, &fields, members.to_string());
        }
        let audience = client.map_or_else(|| "gate".to_owned(), |(id, _)| id);
        let answer = json!({
            "iss": self.issuer, "aud": audience, "iat": now(), "token_introspection": members,
        });
        respond(200, &[(CONTENT_TYPE.as_str(), signed)], self.sign_answer(&answer))
    }

    /// An answer as a JWT (RFC 9701 section 5).
    pub(super) fn sign_answer(&self, answer: &Value) -> String {
        let key = self.signing_key();
        let header = json!({ "typ": "token-introspection+jwt", "alg": key.alg().name(), "kid": key.kid() });
        key.sign_jws(&header, answer.to_string().as_bytes())
    }
}

/// Whether a call shows the client's secret: in the header (RFC 6749 section 2.3.1: form-encoded, then joined by a colon)
/// or in the form.
fn shows((id, secret): &(String, String), call: &Introspection) -> bool {
    let encoded = |text: &str| form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>();
    let decoded = |text: &str| {
        // A blank may come as a plus sign or as an escape, and more may be escaped than has to be.
        form_urlencoded::parse(format!("v={text}").as_bytes()).map(|(_, value)| encoded(&value)).next()
    };
    let basic = call.header(AUTHORIZATION.as_str()).and_then(|value| value.strip_prefix("Basic ")).and_then(
        |credentials| {
            let text = String::from_utf8(STANDARD.decode(credentials).ok()?).ok()?;
            let (id, secret) = text.split_once(':')?;
            Some((decoded(id)?, decoded(secret)?))
        },
    );
    if let Some(shown) = basic {
        return shown == (encoded(id), encoded(secret));
    }
    let form = call.form();
    let has = |name: &str, wanted: &String| form.iter().any(|(own, value)| own == name && value == wanted);
    has("client_id", id) && has("client_secret", secret)
}
