//! A gate without Envoy, whose introspection endpoint answers as a test says: at any moment in time, in no time.

use std::collections::VecDeque;
use std::rc::Rc;

use harness::idp::b64;
use portcullis::{
    Backend, Config, Effect, Environment, FetchError, Gate, HostProperties, HttpRequest, HttpResponse,
    InMemoryStore, LookupId, Outcome, Request, RouteMetadataValue, StreamId, Timestamp, Waited,
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

/// What becomes of a request that waits.
pub(super) const WAITS: &str = "wait";

/// The gate's secret, unless a test says otherwise.
pub(super) const SECRET: &str = "s3cret-value";

/// Where requests come from.
#[derive(Clone, Default)]
struct Client(Option<String>);

impl HostProperties for Client {
    fn is_tls(&self) -> bool {
        true
    }

    fn client_address(&self) -> Option<String> {
        self.0.clone()
    }

    fn route_metadata(&self, _: &str) -> RouteMetadataValue {
        RouteMetadataValue::Absent
    }
}

/// A gate, and the calls that it made.
pub(super) struct Replay {
    gate: Gate,
    /// The fields of each request.
    streams: Vec<Vec<(String, String)>>,
    woken: VecDeque<(StreamId, Waited)>,
    client: Client,
    /// The calls that have no answer yet.
    pub in_flight: Vec<(LookupId, HttpRequest)>,
    /// Every call so far.
    pub calls: Vec<HttpRequest>,
    pub log: Vec<String>,
    /// What the latest refusal told of when to come again, in seconds.
    pub retry_after: Option<u64>,
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
        Self {
            gate,
            streams: Vec::new(),
            woken: VecDeque::new(),
            client: Client::default(),
            in_flight: Vec::new(),
            calls: Vec::new(),
            log: Vec::new(),
            retry_after: None,
        }
    }

    /// What becomes of a request for `path` with this token: `allow` or the reason. `answer` is asked for each call.
    pub(super) fn ask(
        &mut self,
        path: &str,
        authorization: &str,
        now: u64,
        answer: impl FnMut(&HttpRequest) -> Answer,
    ) -> String {
        self.ask_with(&[(":path", path), ("authorization", authorization)], now, answer)
    }

    /// The same for a GET with these fields.
    pub(super) fn ask_with(
        &mut self,
        fields: &[(&str, &str)],
        now: u64,
        mut answer: impl FnMut(&HttpRequest) -> Answer,
    ) -> String {
        let (stream, mut became) = self.begin_with(fields, now);
        // What a request waits for comes in a few steps; more would be a circle.
        for _ in 0..8 {
            if became != WAITS {
                break;
            }
            if self.in_flight.is_empty() {
                self.gate.tick(Timestamp::from_secs(now));
                self.take_effects();
            }
            for (lookup, request) in std::mem::take(&mut self.in_flight) {
                let woken = self.answered(lookup, answer(&request), now);
                became =
                    woken.into_iter().find(|(own, _)| *own == stream).map_or(became, |(_, became)| became);
            }
        }
        became
    }

    /// The same from a client at this address.
    pub(super) fn ask_as(
        &mut self,
        client: &str,
        fields: &[(&str, &str)],
        now: u64,
        answer: impl FnMut(&HttpRequest) -> Answer,
    ) -> String {
        self.client = Client(Some(client.to_owned()));
        self.ask_with(fields, now, answer)
    }

    /// A request comes, and no call is answered: its number, and what becomes of it so far ([`WAITS`], maybe).
    pub(super) fn begin(&mut self, path: &str, authorization: &str, now: u64) -> (StreamId, String) {
        self.begin_with(&[(":path", path), ("authorization", authorization)], now)
    }

    pub(super) fn begin_with(&mut self, fields: &[(&str, &str)], now: u64) -> (StreamId, String) {
        let own = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        self.streams.push(fields.iter().map(own).collect());
        let stream = StreamId(u32::try_from(self.streams.len()).expect("few"));
        let became = self.judge(stream, None, now);
        (stream, became)
    }

    /// A call is answered: what becomes of those who waited for it.
    pub(super) fn answered(&mut self, lookup: LookupId, answer: Answer, now: u64) -> Vec<(StreamId, String)> {
        self.in_flight.retain(|(own, _)| *own != lookup);
        self.gate.fetched(lookup, answer, Timestamp::from_secs(now));
        self.wake(now)
    }

    /// Time passes: what becomes of those who wait no more.
    pub(super) fn tick(&mut self, now: u64) -> Vec<(StreamId, String)> {
        self.gate.tick(Timestamp::from_secs(now));
        self.wake(now)
    }

    fn wake(&mut self, now: u64) -> Vec<(StreamId, String)> {
        self.take_effects();
        let mut became = Vec::new();
        // Whoever is woken may wake others.
        while let Some((stream, waited)) = self.woken.pop_front() {
            let outcome = self.judge(stream, Some(waited), now);
            became.push((stream, outcome));
        }
        became
    }

    fn take_effects(&mut self) {
        while let Some(effect) = self.gate.next_effect() {
            match effect {
                Effect::Fetch { lookup, request } => {
                    self.calls.push(request.clone());
                    self.in_flight.push((lookup, request));
                }
                Effect::Wake(stream, waited) => self.woken.push_back((stream, waited)),
                Effect::Log(_, text) => self.log.push(text),
                Effect::Close(_) => {}
            }
        }
    }

    fn judge(&mut self, stream: StreamId, waited: Option<Waited>, now: u64) -> String {
        let at = usize::try_from(stream.0).expect("few") - 1;
        let own = self.streams[at].clone();
        let mut fields = vec![(&b":method"[..], &b"GET"[..])];
        fields.extend(own.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes())));
        let client = self.client.clone();
        let (request, now) = (Request::new(&fields).within(&client), Timestamp::from_secs(now));
        let outcome = match waited {
            Some(waited) => self.gate.resume(stream, waited, &request, now),
            None => self.gate.decide(stream, &request, now),
        };
        self.take_effects();
        match outcome {
            Outcome::Allow(_) => "allow".to_owned(),
            Outcome::Deny(refusal) => {
                self.retry_after = refusal.response.retry_after;
                refusal.response.reason.as_str().to_owned()
            }
            Outcome::Answer(_) => panic!("nobody asks for the document of a resource"),
            Outcome::Wait => WAITS.to_owned(),
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
