//! What the integration tests share: a gateway on a real Envoy, a key endpoint that waits for its cue, and readings
//! of an answer.

pub mod allocations;
pub mod beside;
pub mod challenge;
pub mod configurations;
pub mod crd;
pub mod dearest;
pub mod native;
pub mod pages;

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::Duration;

use harness::envoy::{EnvoyBuilder, Host};
use harness::idp::b64;
use harness::{Envoy, Idp, Request, Response, Upstream, Wasm, eventually};
use serde_json::{Value, json};

pub use configurations::{AUDIENCE, corp, idp, local_provider, parts, provider, with};
pub use harness::SOON;
pub use harness::hostile::Random;

/// An Envoy with the filter between an identity provider and an upstream.
pub struct Gateway {
    pub idp: Idp,
    pub upstream: Upstream,
    pub envoy: Envoy,
}

impl Gateway {
    /// Starts all three; `config` is the filter's configuration. The Envoy is shared with other tests: what it logs and
    /// counts cannot be asked for.
    #[track_caller]
    pub fn start(config: impl FnOnce(&Idp) -> Value) -> Self {
        Self::start_with(config, EnvoyBuilder::shared)
    }

    /// The same with an Envoy of its own.
    #[track_caller]
    pub fn alone(config: impl FnOnce(&Idp) -> Value) -> Self {
        Self::start_with(config, |builder| builder)
    }

    /// The same with an Envoy that is changed first.
    #[track_caller]
    pub fn start_with(
        config: impl FnOnce(&Idp) -> Value,
        change: impl FnOnce(EnvoyBuilder) -> EnvoyBuilder,
    ) -> Self {
        let (idp, upstream) = (idp(), Upstream::start());
        let builder =
            Envoy::builder().upstream(&upstream).idp("idp", &idp).filter(Wasm::portcullis(config(&idp)));
        match change(builder).start() {
            Ok(envoy) => Self { idp, upstream, envoy },
            Err(error) => panic!("{error}"),
        }
    }

    pub fn addr(&self) -> SocketAddr {
        self.envoy.addr()
    }

    /// What the access log says of the request with this path.
    #[track_caller]
    pub fn logged(&self, path: &str) -> Value {
        self.envoy.logged(path, SOON)
    }

    /// Nothing trapped, nothing was reloaded, Envoy is there.
    #[track_caller]
    pub fn assert_sound(&self) {
        assert_sound(&self.envoy);
    }
}

/// Whether the gate of these tests is the dynamic module.
pub fn is_native() -> bool {
    Host::under_test() == Host::Native
}

/// Sends a request where Envoy takes what the gate counts with a request alone: what the dynamic module counts on Envoy
/// 1.38. `request` is one that the count is not about.
pub fn nudge(envoy: &Envoy, request: &Request) {
    nudge_at(envoy, envoy.addr(), request);
}

/// The same for the gate of another listener.
pub fn nudge_at(envoy: &Envoy, addr: SocketAddr, request: &Request) {
    if is_native() && envoy.version().minor < 39 {
        request.send(addr);
    }
}

/// Waits for something that the gate counts, with requests where it needs them.
#[track_caller]
pub fn wait_for_count(
    envoy: &Envoy,
    name: &str,
    patience: Duration,
    request: &Request,
    holds: impl Fn(u64) -> bool,
) -> u64 {
    eventually(name, patience, || {
        nudge(envoy, request);
        let count = envoy.stat(name);
        holds(count).then_some(count)
    })
}

/// What stands in a line of Envoy's log behind the words that say it is the gate's; none in another line.
pub fn own_part(line: &str) -> Option<&str> {
    let mark = if is_native() { "[dynamic_modules]" } else { "wasm log" };
    line.split_once(mark).map(|(_, rest)| rest)
}

/// Nothing trapped, no VM was lost, no log tells a token, and the process is there.
#[track_caller]
pub fn assert_sound(envoy: &Envoy) {
    let faults = envoy.faults();
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    let told = envoy.tokens_told();
    assert!(told.is_empty(), "a token is to be read in {}", told.join("\n"));
}

/// All that can be in the filter state.
pub const FILTER_STATE: [&str; 6] = ["decision", "reason", "rule", "provider", "subject", "scopes"];

/// One provider, `corp`, and these rules; the access log says all of what passes.
pub fn config(corp: Value, rules: Value) -> Value {
    json!({ "providers": { "corp": corp }, "rules": rules, "filter_state": FILTER_STATE })
}

/// A challenge taken apart: `None` where there is none, else its parameters.
#[track_caller]
pub fn challenge(response: &Response) -> Option<BTreeMap<String, String>> {
    let fields = response.headers_named("www-authenticate");
    assert!(fields.len() <= 1, "several challenges: {fields:?}");
    match challenge::bearer(fields.first()?) {
        Ok(parameters) => Some(parameters),
        Err(error) => panic!("{error}"),
    }
}

/// The answer is a problem document of this status, and tells this reason.
#[track_caller]
pub fn assert_problem(what: &str, response: &Response, status: u16, reason: &str) {
    assert_eq!(response.status, status, "{what}: {}", response.text());
    assert_eq!(response.header("content-type").as_deref(), Some("application/problem+json"), "{what}");
    let problem = response.json();
    let mut members: Vec<&str> =
        problem.as_object().expect("a JSON object").keys().map(String::as_str).collect();
    members.sort_unstable();
    assert_eq!(members, ["detail", "reason", "status", "title", "type"], "{what}");
    for text in ["type", "title", "detail"] {
        assert!(problem[text].as_str().is_some_and(|text| !text.is_empty()), "{what}: {text} in {problem}");
    }
    assert_eq!((&problem["status"], &problem["reason"]), (&json!(status), &json!(reason)), "{what}");
}

/// The seconds in `Retry-After`.
#[track_caller]
pub fn retry_after(response: &Response) -> u64 {
    let Some(field) = response.header("retry-after") else { panic!("no Retry-After: {response:?}") };
    match field.parse() {
        Ok(seconds) => seconds,
        Err(error) => panic!("Retry-After {field:?}: {error}"),
    }
}

/// A token of the three parts.
pub fn joined(header: impl AsRef<[u8]>, payload: impl AsRef<[u8]>, signature: impl AsRef<[u8]>) -> String {
    format!("{}.{}.{}", b64(header), b64(payload), b64(signature))
}

/// A key endpoint that takes requests and answers none of them before it is told to.
pub struct HeldKeys {
    addr: SocketAddr,
    asked: Arc<AtomicUsize>,
    open: Arc<(Mutex<bool>, Condvar)>,
}

impl HeldKeys {
    /// Will answer with this key set.
    pub fn start(jwks: &Value) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let addr = listener.local_addr().expect("an address");
        let (asked, open) = (Arc::new(AtomicUsize::new(0)), Arc::new((Mutex::new(false), Condvar::new())));
        let (counter, gate, body) = (asked.clone(), open.clone(), jwks.to_string());
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (counter, gate, body) = (counter.clone(), gate.clone(), body.clone());
                thread::spawn(move || hold(stream, &counter, &gate, &body));
            }
        });
        Self { addr, asked, open }
    }

    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    pub fn uri(&self) -> String {
        format!("http://{}/jwks.json", self.addr)
    }

    /// A provider whose keys come from here, through the cluster `held`.
    pub fn provider(&self, idp: &Idp) -> Value {
        let uri = json!({ "uri": self.uri(), "cluster": "held", "timeout": "30s" });
        json!({ "issuer": idp.issuer(), "audiences": [AUDIENCE], "remote_jwks": { "http_uri": uri } })
    }

    /// How often it was asked.
    pub fn asked(&self) -> usize {
        self.asked.load(Ordering::Acquire)
    }

    /// Answers everyone, from now on.
    pub fn release(&self) {
        let (open, changed) = &*self.open;
        *open.lock().expect("the state of the gate") = true;
        changed.notify_all();
    }
}

fn hold(mut stream: TcpStream, counter: &AtomicUsize, gate: &(Mutex<bool>, Condvar), body: &str) {
    let mut request = Vec::new();
    loop {
        let mut part = [0; 4096];
        match stream.read(&mut part) {
            Ok(length) if length > 0 => request.extend_from_slice(&part[..length]),
            _ => return,
        }
        while let Some(end) = request.windows(4).position(|bytes| bytes == b"\r\n\r\n") {
            request.drain(..end + 4);
            counter.fetch_add(1, Ordering::AcqRel);
            let (open, changed) = gate;
            let held = changed.wait_while(open.lock().expect("the state of the gate"), |open| !*open);
            drop(held.expect("the state of the gate"));
            let answer = format!(
                "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
                body.len()
            );
            if stream.write_all(answer.as_bytes()).is_err() {
                return;
            }
        }
    }
}

/// A token whose key id no key has: 401 where it was looked for in vain, 503 with `Retry-After` where it could be new and
/// no fetch may start yet.
pub fn assert_missing_kid(what: &str, response: &Response) {
    if response.status == 401 {
        return assert_problem(what, response, 401, "token_rejected");
    }
    assert_problem(what, response, 503, "keys_unavailable");
    assert!((1..=72).contains(&retry_after(response)), "{what}: {response:?}");
}

/// A service that answers every request with this head, and leaves the connection open until the other side ends it.
pub fn answering(head: &'static str) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let addr = listener.local_addr().expect("an address");
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            thread::spawn(move || {
                let mut bytes = [0; 8192];
                while stream.read(&mut bytes).is_ok_and(|length| length > 0) {
                    if stream.write_all(head.as_bytes()).is_err() {
                        break;
                    }
                }
            });
        }
    });
    addr
}

/// zlib without compression: a header, stored blocks, and the checksum.
pub fn zlib(bytes: &[u8]) -> Vec<u8> {
    let mut packed = vec![0x78, 0x01];
    let mut chunks = bytes.chunks(0xffff).peekable();
    while let Some(chunk) = chunks.next() {
        packed.push(u8::from(chunks.peek().is_none()));
        let length = u16::try_from(chunk.len()).expect("a block");
        packed.extend(length.to_le_bytes());
        packed.extend((!length).to_le_bytes());
        packed.extend(chunk);
    }
    let (mut a, mut b) = (1u32, 0u32);
    for byte in bytes {
        a = (a + u32::from(*byte)) % 65_521;
        b = (b + a) % 65_521;
    }
    packed.extend(((b << 16) | a).to_be_bytes());
    packed
}
