//! A gate without Envoy, whose introspection endpoint answers as a test says: at any moment in time, in no time.

use std::rc::Rc;

use harness::idp::b64;
use portcullis::{
    Backend, Config, Effect, Environment, FetchError, Gate, HttpRequest, HttpResponse, InMemoryStore,
    Outcome, Request, StreamId, Timestamp,
};
use serde_json::{Value, json};

/// The endpoint's answer to a call.
pub(super) type Answer = Result<HttpResponse, FetchError>;

/// 200, and this as JSON.
pub(super) fn json_answer(body: impl ToString) -> Answer {
    status(200, body)
}

/// This status, and this body.
pub(super) fn status(status: u16, body: impl ToString) -> Answer {
    Ok(HttpResponse { status, body: body.to_string().into_bytes(), ..HttpResponse::default() })
}

/// The gate's secret, unless a test says otherwise.
pub(super) const SECRET: &str = "s3cret-value";

/// A gate, and the calls that it made.
pub(super) struct Replay {
    pub gate: Gate,
    stream: u32,
    /// Every call so far.
    pub calls: Vec<HttpRequest>,
    pub log: Vec<String>,
}

impl Replay {
    pub(super) fn new(config: &Value, now: u64) -> Self {
        Self::sharing(config, now, &Rc::new(InMemoryStore::default()))
    }

    /// One that shares what workers share.
    pub(super) fn sharing(config: &Value, now: u64, store: &Rc<InMemoryStore>) -> Self {
        Self::with_secret(config, now, store, SECRET)
    }

    /// One whose environment has this secret.
    pub(super) fn with_secret(config: &Value, now: u64, store: &Rc<InMemoryStore>, secret: &str) -> Self {
        let text = config.to_string();
        let read = Config::parse(text.as_bytes(), &|name| (name == "SECRET").then(|| secret.into()));
        let config = read.unwrap_or_else(|problems| panic!("{text}: {problems:?}"));
        let world =
            Environment { backend: Backend::portable(), store: store.clone(), ..Environment::alone(1) };
        let gate = Gate::new(config, world, Timestamp::from_secs(now));
        Self { gate, stream: 0, calls: Vec::new(), log: Vec::new() }
    }

    /// What becomes of a request for `path` with this token: `allow` or the reason. `answer` is asked for each call.
    pub(super) fn ask(
        &mut self,
        path: &str,
        authorization: &str,
        now: u64,
        mut answer: impl FnMut(&HttpRequest) -> Answer,
    ) -> String {
        let fields = [(":method", "GET"), (":path", path), ("authorization", authorization)];
        let fields: Vec<_> = fields.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes())).collect();
        let (request, at) = (Request::new(&fields), Timestamp::from_secs(now));
        self.stream += 1;
        let stream = StreamId(self.stream);
        let mut outcome = self.gate.decide(stream, &request, at);
        // What a request waits for comes in a few steps; more would be a circle.
        for _ in 0..8 {
            if !matches!(outcome, Outcome::Wait) {
                break;
            }
            let mut woken = None;
            while let Some(effect) = self.gate.next_effect() {
                match effect {
                    Effect::Fetch { lookup, request } => {
                        let came = answer(&request);
                        self.calls.push(request);
                        self.gate.fetched(lookup, came, at);
                    }
                    Effect::Wake(own, waited) if own == stream => woken = Some(waited),
                    Effect::Wake(..) => {}
                    Effect::Log(_, text) => self.log.push(text),
                }
            }
            match woken {
                Some(waited) => outcome = self.gate.resume(stream, waited, &request, at),
                None => {
                    self.gate.tick(at);
                }
            }
        }
        while let Some(effect) = self.gate.next_effect() {
            if let Effect::Log(_, text) = effect {
                self.log.push(text);
            }
        }
        match outcome {
            Outcome::Allow(_) => "allow".to_owned(),
            Outcome::Deny(refusal) => refusal.response.reason.as_str().to_owned(),
            Outcome::Answer(_) => panic!("no resource is configured"),
            Outcome::Wait => "wait".to_owned(),
        }
    }

    /// The same for a bearer token under any path.
    pub(super) fn bearer(
        &mut self,
        token: &str,
        now: u64,
        answer: impl FnMut(&HttpRequest) -> Answer,
    ) -> String {
        self.ask("/", &format!("Bearer {token}"), now, answer)
    }
}

/// A call's field.
pub(super) fn field<'r>(call: &'r HttpRequest, name: &str) -> Option<&'r str> {
    call.headers.iter().find(|(own, _)| own == name).map(|(_, value)| value.0.as_str())
}

/// A call's form.
pub(super) fn form(call: &HttpRequest) -> String {
    String::from_utf8(call.body.clone()).expect("a form is ASCII")
}

/// An introspection block with these fields on top of the usual ones.
pub(super) fn introspection(more: Value) -> Value {
    let usual = json!({
        "http_uri": { "uri": "https://id.example/introspect", "cluster": "id", "timeout": "5s" },
        "client_id": "gate",
        "client_secret": { "environment_variable": "SECRET" },
    });
    crate::common::with(usual, more)
}

/// One provider, `p`, and one rule for everything.
pub(super) fn config(provider: &Value, rule: Value) -> Value {
    let rule = crate::common::with(
        json!({ "match": { "prefix": "/" }, "requires": { "provider_name": "p" } }),
        rule,
    );
    json!({ "providers": { "p": provider }, "rules": [rule] })
}

/// An opaque token that is no other.
pub(super) fn opaque(number: u64) -> String {
    format!("opaque-{}", b64(number.to_be_bytes().repeat(3)))
}
