//! The workers of one proxy, a clock, and a network.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use harness::idp::{Alg, Key, jwks};
use portcullis::{
    Backend, CasVersion, Config, Conflict, Effect, Environment, FetchError, Gate, HttpResponse,
    InMemoryStore, Outcome, Parsed, ParsedStore, Request, Store, StreamId, Timestamp, Waited,
};
use serde_json::{Value, json};

pub(crate) const START: u64 = 1_800_000_000;
pub(crate) const ISSUER: &str = "https://issuer.example";
const STEP: Duration = Duration::from_millis(100);

/// What the network does with requests for a path.
#[derive(Clone)]
pub(crate) enum Served {
    /// This body, and 304 to whoever has it.
    Well(Vec<u8>),
    /// This body without an `ETag`.
    Plain(Vec<u8>),
    /// Nothing, ever.
    Hang,
    /// This failure.
    Fails(FetchError),
    /// This status.
    Status(u16),
}

pub(crate) struct Fleet {
    pub(crate) gates: Vec<Gate>,
    pub(crate) now: Timestamp,
    pub(crate) served: BTreeMap<String, Served>,
    /// The paths that were asked for.
    pub(crate) asked: Vec<String>,
    pub(crate) log: Vec<String>,
    /// What became of requests that waited.
    pub(crate) woken: Vec<&'static str>,
    /// The streams that were ended.
    pub(crate) ended: Vec<u32>,
    texts: BTreeMap<u32, (String, String)>,
    pub(crate) stream: u32,
    text: String,
    pub(crate) store: Rc<InMemoryStore>,
    /// What workers keep for each other, where they are threads of one process.
    pub(crate) process: Option<Rc<Process>>,
}

/// The store of workers that have their memory in common.
#[derive(Default)]
pub(crate) struct Process {
    store: Rc<InMemoryStore>,
    pub(crate) parsed: RefCell<BTreeMap<String, Parsed>>,
}

impl Store for Process {
    fn get(&self, key: &str) -> Option<(Vec<u8>, CasVersion)> {
        self.store.get(key)
    }

    fn replace(&self, key: &str, value: &[u8], stamp: Option<CasVersion>) -> Result<(), Conflict> {
        self.store.replace(key, value, stamp)
    }

    fn put(&self, key: &str, value: &[u8]) -> Result<(), Conflict> {
        self.store.put(key, value)
    }

    fn parsed(&self) -> Option<&dyn ParsedStore> {
        Some(self)
    }
}

impl ParsedStore for Process {
    fn get(&self, key: &str) -> Option<Parsed> {
        self.parsed.borrow().get(key).cloned()
    }

    fn put(&self, key: &str, parsed: Parsed) {
        self.parsed.borrow_mut().insert(key.to_owned(), parsed);
    }

    fn release(&self, key: &str) {
        self.parsed.borrow_mut().remove(key);
    }
}

pub(crate) fn key() -> Key {
    Key::cached(Alg::ES256, "k-1")
}

/// A configuration with this `revocation`.
pub(crate) fn config(revocation: Value) -> Value {
    json!({
        "providers": { "p": {
            "issuer": ISSUER,
            "audiences": ["api"],
            "local_jwks": { "inline_string": jwks([&key()]).to_string() },
        } },
        "rules": [
            { "name": "glass", "match": { "prefix": "/glass" }, "requires": { "provider_name": "p" }, "revocation": "ignore" },
            { "name": "open", "match": { "prefix": "/open" }, "requires": { "allow_missing_or_failed": {} } },
            { "match": { "prefix": "/" }, "requires": { "provider_name": "p" } },
        ],
        "revocation": revocation,
    })
}

/// A polled list at `/list.json`, with some fields replaced.
pub(crate) fn polled(more: Value) -> Value {
    let mut list = json!({ "http_uri": { "uri": "https://lists.example/r/list.json", "cluster": "lists", "timeout": "2s" } });
    for (name, value) in more.as_object().expect("fields") {
        list[name] = value.clone();
    }
    json!({ "lists": [list] })
}

/// A token with these claims on top of the usual ones; `null` takes one away.
pub(crate) fn token(more: Value) -> String {
    signed("JWT", &key(), claims(more))
}

pub(crate) fn claims(more: Value) -> Value {
    let mut claims =
        json!({ "iss": ISSUER, "aud": "api", "sub": "alice", "iat": START - 10, "exp": START + 100_000 });
    for (name, value) in more.as_object().expect("claims") {
        claims[name] = value.clone();
        if value.is_null() {
            claims.as_object_mut().expect("claims").remove(name);
        }
    }
    claims
}

pub(crate) fn signed(typ: &str, key: &Key, claims: Value) -> String {
    let header = json!({ "alg": key.alg().name(), "kid": key.kid(), "typ": typ });
    key.sign_jws(&header, claims.to_string().as_bytes())
}

impl Fleet {
    /// So many workers of one proxy.
    pub(crate) fn start(count: usize, config: &Value) -> Self {
        let mut fleet = Self::of(config);
        (0..count).for_each(|_| fleet.join());
        fleet
    }

    /// So many workers that have their memory in common, as on the dynamic module.
    pub(crate) fn in_one_process(count: usize, config: &Value) -> Self {
        let mut fleet = Self::of(config);
        let store = Rc::clone(&fleet.store);
        fleet.process = Some(Rc::new(Process { store, ..Process::default() }));
        (0..count).for_each(|_| fleet.join());
        fleet
    }

    fn of(config: &Value) -> Self {
        Self {
            gates: Vec::new(),
            now: Timestamp::from_secs(START),
            served: BTreeMap::new(),
            asked: Vec::new(),
            log: Vec::new(),
            woken: Vec::new(),
            ended: Vec::new(),
            texts: BTreeMap::new(),
            stream: 0,
            text: config.to_string(),
            store: Rc::default(),
            process: None,
        }
    }

    /// One more worker.
    pub(crate) fn join(&mut self) {
        let config = Config::parse(self.text.as_bytes(), &|_| None);
        let config = config.unwrap_or_else(|problems| panic!("{problems:?}"));
        let random = 0x1234_5678_9abc_def1u64.wrapping_mul(self.gates.len() as u64 + 1);
        let store: Rc<dyn Store> = match &self.process {
            Some(process) => Rc::clone(process) as Rc<dyn Store>,
            None => Rc::clone(&self.store) as Rc<dyn Store>,
        };
        let world = Environment { backend: Backend::portable(), store, ..Environment::alone(random) };
        self.gates.push(Gate::new(config, world, self.now));
    }

    pub(crate) fn serve(&mut self, path: &str, served: Served) {
        self.served.insert(path.to_owned(), served);
    }

    /// Serves this as the polled list.
    pub(crate) fn list(&mut self, list: &Value) {
        self.serve("/r/list.json", Served::Well(list.to_string().into_bytes()));
    }

    /// Lets time go by, with ticks as the host makes them.
    pub(crate) fn pass(&mut self, time: Duration) {
        let end = self.now.plus(time);
        while self.now < end {
            self.now = self.now.plus(STEP);
            self.turn();
        }
    }

    pub(crate) fn seconds(&mut self, seconds: u64) {
        self.pass(Duration::from_secs(seconds));
    }

    /// One tick of every worker.
    pub(crate) fn turn(&mut self) {
        for at in 0..self.gates.len() {
            self.gates[at].tick(self.now);
            self.work(at);
        }
    }

    fn work(&mut self, at: usize) {
        while let Some(effect) = self.gates[at].next_effect() {
            match effect {
                Effect::Log(_, text) => self.log.push(text),
                Effect::Close(stream) => self.ended.push(stream.0),
                Effect::Fetch { lookup, request } => {
                    self.asked.push(request.endpoint.path.clone());
                    let condition = request.headers.iter().find(|(name, _)| name == "if-none-match");
                    let condition = condition.map(|(_, value)| value.0.clone());
                    let answer = match self.served.get(&request.endpoint.path) {
                        None => Ok(HttpResponse { status: 404, ..HttpResponse::default() }),
                        Some(Served::Hang) => continue,
                        Some(Served::Fails(error)) => Err(error.clone()),
                        Some(Served::Status(status)) => {
                            Ok(HttpResponse { status: *status, ..HttpResponse::default() })
                        }
                        Some(Served::Plain(body)) => {
                            Ok(HttpResponse { status: 200, body: body.clone(), ..HttpResponse::default() })
                        }
                        Some(Served::Well(body)) => {
                            let etag = Some(format!("\"{}\"", harness::idp::b64(body)));
                            let known = condition.is_some() && condition == etag;
                            let (status, body) = if known { (304, Vec::new()) } else { (200, body.clone()) };
                            Ok(HttpResponse { status, etag, body, ..HttpResponse::default() })
                        }
                    };
                    self.gates[at].fetched(lookup, answer, self.now);
                }
                Effect::Wake(stream, waited) => {
                    let (path, token) = self.texts[&stream.0].clone();
                    let outcome = self.judge(at, stream, Some(waited), &path, &token);
                    if outcome != "wait" {
                        self.woken.push(outcome);
                    }
                }
            }
        }
    }

    fn judge(
        &mut self,
        at: usize,
        stream: StreamId,
        waited: Option<Waited>,
        path: &str,
        token: &str,
    ) -> &'static str {
        match self.outcome(at, stream, waited, path, token) {
            Outcome::Answer(_) => panic!("no resource is configured"),
            Outcome::Wait => "wait",
            Outcome::Allow(_) => "allow",
            Outcome::Deny(refusal) => refusal.response.reason.as_str(),
        }
    }

    fn outcome(
        &mut self,
        at: usize,
        stream: StreamId,
        waited: Option<Waited>,
        path: &str,
        token: &str,
    ) -> Outcome {
        let authorization = format!("Bearer {token}");
        let fields = [
            (&b":method"[..], &b"GET"[..]),
            (b":path", path.as_bytes()),
            (b"authorization", authorization.as_bytes()),
        ];
        let request = Request::new(&fields);
        match waited {
            None => self.gates[at].decide(stream, &request, self.now),
            Some(waited) => self.gates[at].resume(stream, waited, &request, self.now),
        }
    }

    /// What one worker makes of a request.
    pub(crate) fn on(&mut self, at: usize, path: &str, token: &str) -> &'static str {
        self.stream += 1;
        self.texts.insert(self.stream, (path.to_owned(), token.to_owned()));
        let outcome = self.judge(at, StreamId(self.stream), None, path, token);
        self.drain(at);
        outcome
    }

    /// How a request goes on that a worker lets pass.
    pub(crate) fn allowed(&mut self, at: usize, path: &str, token: &str) -> portcullis::Allow {
        self.stream += 1;
        match self.outcome(at, StreamId(self.stream), None, path, token) {
            Outcome::Allow(allow) => allow,
            other => panic!("{other:?}"),
        }
    }

    /// The refusal of one worker, in full.
    pub(crate) fn refusal(&mut self, at: usize, token: &str) -> portcullis::LocalReply {
        self.stream += 1;
        match self.outcome(at, StreamId(self.stream), None, "/", token) {
            Outcome::Deny(refusal) => refusal.response.reply(false),
            other => panic!("{other:?}"),
        }
    }

    fn drain(&mut self, at: usize) {
        self.work(at);
    }

    /// What every worker makes of a token; they must agree.
    #[track_caller]
    pub(crate) fn show(&mut self, token: &str) -> &'static str {
        let all: Vec<&str> = (0..self.gates.len()).map(|at| self.on(at, "/", token)).collect();
        assert!(all.iter().all(|one| *one == all[0]), "the workers disagree: {all:?}");
        all[0]
    }
}
