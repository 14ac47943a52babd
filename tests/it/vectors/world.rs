//! A gate for each backend, and the tokens that are shown to both.

use harness::idp::{Alg, Key, jwks};
use portcullis::{
    Allow, Config, Effect, Environment, Gate, HttpResponse, Outcome, ProviderId, Request, StreamId, Timestamp,
};
use serde_json::{Value, json};

use crate::vectors::host::backends;

/// The time at which tokens are shown, unless a test says otherwise.
pub(crate) const NOW: u64 = 1_800_000_000;
pub(crate) const ISSUER: &str = "https://issuer.example";
pub(crate) const AUDIENCE: &str = "api";

/// The provider's key.
pub(crate) fn key() -> Key {
    Key::cached(Alg::ES256, "k-1")
}

/// The attacker's key, under the provider's kid.
pub(crate) fn foreign() -> Key {
    Key::cached(Alg::ES256, "foreign").with_kid("k-1")
}

/// A provider's configuration with these local keys.
pub(crate) fn trusting<'k>(keys: impl IntoIterator<Item = &'k Key>) -> Value {
    json!({
        "issuer": ISSUER,
        "audiences": [AUDIENCE],
        "local_jwks": { "inline_string": jwks(keys).to_string() },
    })
}

/// The same with some fields replaced.
pub(crate) fn with(mut provider: Value, more: Value) -> Value {
    for (name, value) in more.as_object().expect("an object of fields") {
        provider[name] = value.clone();
    }
    provider
}

/// A provider of which all but a few fields are as usual.
pub(crate) fn usual(more: Value) -> Value {
    with(trusting([&key()]), more)
}

/// Claims that pass, with some of them replaced; `null` takes one away.
pub(crate) fn claims(more: Value) -> Value {
    let mut claims = json!({ "iss": ISSUER, "aud": AUDIENCE, "sub": "alice", "iat": NOW, "exp": NOW + 300 });
    for (name, value) in more.as_object().expect("an object of claims") {
        claims[name] = value.clone();
        if value.is_null() {
            claims.as_object_mut().expect("claims").remove(name);
        }
    }
    claims
}

/// A token of a key with the usual header and these claims.
pub(crate) fn token(key: &Key, more: Value) -> String {
    headed(key, json!({}), more)
}

/// A token with more in its header; `null` takes a parameter away.
pub(crate) fn headed(key: &Key, header: Value, more: Value) -> String {
    let mut all = json!({ "alg": key.alg().name(), "kid": key.kid(), "typ": "JWT" });
    for (name, value) in header.as_object().expect("an object of parameters") {
        all[name] = value.clone();
        if value.is_null() {
            all.as_object_mut().expect("a header").remove(name);
        }
    }
    key.sign_jws(&all, claims(more).to_string().as_bytes())
}

/// A token whose claims are any text at all.
pub(crate) fn raw(key: &Key, payload: &str) -> String {
    let header = json!({ "alg": key.alg().name(), "kid": key.kid() });
    key.sign_jws(&header, payload.as_bytes())
}

/// One gate for each backend, which must agree on everything.
pub(crate) struct Gates {
    gates: [Gate; 2],
    stream: u32,
}

impl Gates {
    /// Gates of one provider, which every path asks for.
    pub(crate) fn of(provider: &Value) -> Self {
        Self::new(&json!({
            "providers": { "p": provider },
            "rules": [{ "match": { "prefix": "/" }, "requires": { "provider_name": "p" } }],
        }))
    }

    pub(crate) fn new(config: &Value) -> Self {
        let text = config.to_string();
        let gates = backends().map(|(_, backend)| {
            let config = Config::parse(text.as_bytes(), &|_| None);
            let world = Environment { backend, ..Environment::alone(1) };
            let config = config.unwrap_or_else(|problems| panic!("{problems:?}"));
            Gate::new(config, world, Timestamp::from_secs(NOW))
        });
        Self { gates, stream: 0 }
    }

    /// What becomes of a token: `allow`, `wait` or the reason.
    pub(crate) fn show(&mut self, token: &str) -> &'static str {
        self.show_at("/", token, NOW)
    }

    pub(crate) fn show_at(&mut self, path: &str, token: &str, now: u64) -> &'static str {
        let [portable, host] = self.outcomes(path, token, now).map(|outcome| match outcome {
            Outcome::Allow(_) => "allow",
            Outcome::Answer(_) => panic!("no resource is configured"),
            Outcome::Wait => "wait",
            Outcome::Deny(refusal) => refusal.response.reason.as_str(),
        });
        assert_eq!(portable, host, "{token}: the backends disagree (portable, host)");
        portable
    }

    /// How a request with this token goes on.
    pub(crate) fn allowed(&mut self, token: &str) -> Allow {
        let [outcome, _] = self.outcomes("/", token, NOW);
        match outcome {
            Outcome::Allow(allow) => allow,
            other => panic!("{other:?}"),
        }
    }

    fn outcomes(&mut self, path: &str, token: &str, now: u64) -> [Outcome; 2] {
        let authorization = format!("Bearer {token}");
        let fields = [
            (&b":method"[..], &b"GET"[..]),
            (b":path", path.as_bytes()),
            (b"authorization", authorization.as_bytes()),
        ];
        self.stream += 1;
        let stream = StreamId(self.stream);
        self.gates
            .each_mut()
            .map(|gate| gate.decide(stream, &Request::new(&fields), Timestamp::from_secs(now)))
    }

    /// The provider's keys arrive, if a fetch is under way or due.
    pub(crate) fn fetched(&mut self, keys: &Value, now: u64) {
        for gate in &mut self.gates {
            let now = Timestamp::from_secs(now);
            let body = keys.to_string().into_bytes();
            gate.tick(now);
            gate.fetched(
                gate.keys_lookup(ProviderId(0)).expect("a remote source"),
                Ok(HttpResponse { status: 200, body, ..HttpResponse::default() }),
                now,
            );
        }
    }

    /// How many fetches are due, and all that was logged.
    pub(crate) fn effects(&mut self, now: u64) -> (usize, Vec<String>) {
        let [gate, _] = &mut self.gates;
        gate.tick(Timestamp::from_secs(now));
        let (mut fetches, mut log) = (0, Vec::new());
        while let Some(effect) = gate.next_effect() {
            match effect {
                Effect::Fetch { .. } => fetches += 1,
                Effect::Log(_, text) => log.push(text),
                Effect::Wake(..) | Effect::Close(_) => {}
            }
        }
        (fetches, log)
    }
}

/// Whether the configuration of one provider is refused.
pub(crate) fn is_refused(provider: &Value) -> bool {
    let config = json!({ "providers": { "p": provider }, "rules": [] });
    Config::parse(config.to_string().as_bytes(), &|_| None).is_err()
}
