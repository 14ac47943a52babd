//! Requests that no client should send, and the run of ten million of them behind `make hostile`.
//!
//! None of the requests of that run may pass: none has a good token whole, and no path is open. What each is answered is
//! counted; after each million a good token must still pass, and the memory of Envoy must not have grown.

mod mutants;
mod pipe;
mod random;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use serde_json::json;

pub use mutants::{Stock, bent};
pub use random::Random;

use crate::envoy::{Envoy, Wasm};
use crate::{Alg, Idp, Request};
use pipe::{Answer, Pipe};

/// How many connections stay open.
const CONNECTIONS: usize = 64;
/// How many requests are on each at a time: Envoy takes three that wait for their answers on one connection for an attack.
const DEPTH: usize = 2;
/// How many mutants are made at a time.
const BATCH: usize = 4096;
/// How often one is sent again that had no answer.
const TRIES: usize = 3;
/// The field that the answer to a request has that passed.
const PASSED: &str = "x-passed";
/// How often each batch is sent, in another order each time.
const TURNS: usize = 5;

/// How much is sent, and what of the memory may grow.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// How many requests.
    pub requests: usize,
    /// How many of them come before the memory is looked at for the first time: everything grows as far as it will.
    pub warm_up: usize,
    /// After how many a good token must pass, and the memory is looked at.
    pub every: usize,
    /// What repeats a run.
    pub seed: u64,
    /// By how many bytes what Envoy has allocated, and what the process has resident, may grow after the warm-up.
    pub growth: u64,
}

impl Plan {
    /// A run of so many requests.
    pub fn of(requests: usize, seed: u64) -> Self {
        let warm_up = (requests / 10).min(500_000);
        Self { requests, warm_up, every: (requests / 10).clamp(1, 1_000_000), seed, growth: 8 << 20 }
    }
}

/// The memory of an Envoy, in bytes.
#[derive(Clone, Copy, Debug, Default)]
pub struct Memory {
    /// What the process has resident.
    pub resident: u64,
    /// What is allocated, as Envoy's `/memory` says.
    pub allocated: u64,
}

impl Memory {
    fn of(envoy: &Envoy) -> Self {
        let told: serde_json::Value =
            serde_json::from_str(&envoy.admin("GET", "/memory").text()).unwrap_or_default();
        let allocated = told["allocated"].as_str().and_then(|text| text.parse().ok()).unwrap_or_default();
        Self { resident: envoy.memory(), allocated }
    }
}

/// What came of a run.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// How many requests were sent.
    pub sent: usize,
    /// How many answers came, by their status.
    pub answers: BTreeMap<u16, usize>,
    /// How many requests were cut off or reset in the middle by their sender.
    pub cut_off: usize,
    /// How many had no answer because Envoy closed the connection.
    pub closed: usize,
    /// After the warm-up.
    pub before: Memory,
    /// At the end.
    pub after: Memory,
    /// The largest in between.
    pub most: Memory,
    /// How long it took.
    pub elapsed: Duration,
}

/// Runs a plan on the host that `$HOST` names, and tells `progress` how far it is.
///
/// # Errors
/// Envoy does not start or ends, a hostile request passes, a good token does not, an answer does not come, or memory grows.
pub fn run(plan: Plan, progress: &mut dyn FnMut(&Report, Memory)) -> Result<Report, String> {
    let idp = Idp::builder().algs([Alg::RS256, Alg::ES256]).start().map_err(|error| error.to_string())?;
    let envoy = envoy(&idp)?;
    let stock = Stock::new(&idp);
    let mut sender = Sender::new(&envoy, &stock)?;
    let began = Instant::now();
    sender.good_token_passes()?;
    let (mut random, mut looked) = (Random(plan.seed), 0);
    while sender.report.sent < plan.requests {
        let mut batch = sender.batch(&mut random);
        for _ in 0..TURNS {
            let left = plan.requests - sender.report.sent;
            shuffle(&mut batch, &mut random);
            sender.send(&batch[..left.min(BATCH)], &mut random)?;
        }
        if sender.report.before.resident == 0 && sender.report.sent >= plan.warm_up {
            sender.report.before = Memory::of(&envoy);
        }
        if sender.report.sent / plan.every > looked {
            looked = sender.report.sent / plan.every;
            let now = sender.look(&envoy, plan)?;
            sender.report.elapsed = began.elapsed();
            progress(&sender.report, now);
        }
    }
    sender.report.after = sender.look(&envoy, plan)?;
    sender.report.elapsed = began.elapsed();
    let faults = envoy.faults();
    if faults.is_empty() { Ok(sender.report) } else { Err(faults.join("\n")) }
}

/// One whose every path needs a token.
fn envoy(idp: &Idp) -> Result<Envoy, String> {
    let config = json!({
        "providers": { "corp": {
            "issuer": idp.issuer(),
            "audiences": [idp.audience()],
            "remote_jwks": {
                "http_uri": { "uri": idp.jwks_uri(), "cluster": "idp", "timeout": "5s" },
                "unknown_kid_cooldown": "1s",
            },
            "forward_payload_header": "x-jwt-payload",
            "claim_to_headers": [
                { "header_name": "x-user", "claim_name": "sub" },
                { "header_name": "x-groups", "claim_name": "realm.groups", "list_format": "repeat" },
            ],
        } },
        "rules": [
            { "match": { "path_template": "/tenants/{tenant}/**" }, "requires": { "provider_name": "corp" },
              "authorize": { "scopes": { "any_of": ["a", "b"] } } },
            { "match": { "prefix": "/" }, "requires": { "provider_name": "corp" } },
        ],
    });
    Envoy::builder()
        .concurrency(2)
        .log_level("warning", "wasm:warning")
        .idp("idp", idp)
        .main(|listener| {
            listener
                .without_access_log()
                .routes(json!([{
                    "match": { "prefix": "/" },
                    "direct_response": { "status": 200 },
                    // A refusal of a gRPC call has the status 200, too.
                    "response_headers_to_add": [{ "header": { "key": PASSED, "value": "yes" } }],
                }]))
                .filter(Wasm::portcullis(config))
        })
        .start()
        .map_err(|error| error.to_string())
}

fn shuffle<T>(items: &mut [T], random: &mut Random) {
    for at in (1..items.len()).rev() {
        items.swap(at, random.below(at + 1));
    }
}

/// One request.
#[derive(Clone)]
struct Mutant {
    bytes: Rc<[u8]>,
    way: Way,
    /// How often Envoy closed the connection instead of an answer.
    unanswered: usize,
}

/// How it is sent.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    /// On a connection with others.
    Kept,
    /// On one of its own, which is closed after the answer.
    Alone,
    /// So many bytes of it, and then a reset.
    CutOff(usize),
}

/// What sends them.
struct Sender<'s> {
    addr: SocketAddr,
    stock: &'s Stock,
    pipes: Vec<Option<Pipe>>,
    /// Those that Envoy did not read because it closed the connection after the one before.
    unread: Vec<Mutant>,
    report: Report,
}

impl<'s> Sender<'s> {
    fn new(envoy: &Envoy, stock: &'s Stock) -> Result<Self, String> {
        Ok(Self {
            addr: envoy.addr(),
            stock,
            pipes: (0..CONNECTIONS).map(|_| None).collect(),
            unread: Vec::new(),
            report: Report::default(),
        })
    }

    /// New mutants, none of which may pass.
    fn batch(&self, random: &mut Random) -> Vec<Mutant> {
        let one = |_| {
            loop {
                let mut bytes = self.stock.request(random).to_bytes();
                let is_bent = random.below(16) == 0;
                if is_bent {
                    bytes = bent(bytes, random);
                }
                // Envoy takes a carriage return that stands alone out of a value.
                let read: Vec<u8> = bytes.iter().copied().filter(|byte| *byte != b'\r').collect();
                let is_good = |good: &String| memchr::memmem::find(&read, good.as_bytes()).is_some();
                if bytes.is_empty() || self.stock.good().iter().any(is_good) {
                    continue;
                }
                let way = if random.below(32) == 0 {
                    Way::CutOff(random.below(bytes.len()))
                } else if is_bent || !pipe::is_plain(&bytes) {
                    Way::Alone
                } else {
                    Way::Kept
                };
                return Mutant { bytes: bytes.into(), way, unanswered: 0 };
            }
        };
        (0..BATCH).map(one).collect()
    }

    /// Sends them: those that share connections two at a time on each, the others between.
    fn send(&mut self, batch: &[Mutant], random: &mut Random) -> Result<(), String> {
        let mut kept = batch.iter().filter(|mutant| mutant.way == Way::Kept);
        let mut others = batch.iter().filter(|mutant| mutant.way != Way::Kept);
        self.report.sent += batch.len();
        let mut on_the_way: Vec<Vec<Mutant>> = vec![Vec::new(); CONNECTIONS];
        let mut at = 0;
        loop {
            let again = self.unread.pop();
            let depth = if again.is_some() { 0 } else { 1 + random.below(DEPTH) };
            let next: Vec<Mutant> = again.into_iter().chain(kept.by_ref().take(depth).cloned()).collect();
            let sent = std::mem::take(&mut on_the_way[at]);
            self.collect(at, &sent)?;
            if next.is_empty() && self.unread.is_empty() && on_the_way.iter().all(Vec::is_empty) {
                break;
            }
            if !next.is_empty() {
                self.write(at, &next)?;
                on_the_way[at] = next;
            }
            at = (at + 1) % CONNECTIONS;
            if at.is_multiple_of(4)
                && let Some(other) = others.next()
            {
                self.alone(other)?;
            }
        }
        others.try_for_each(|other| self.alone(other))
    }

    fn write(&mut self, at: usize, mutants: &[Mutant]) -> Result<(), String> {
        let bytes: Vec<u8> = mutants.iter().flat_map(|mutant| mutant.bytes.iter().copied()).collect();
        let mut pipe = match self.pipes[at].take() {
            Some(pipe) => pipe,
            None => Pipe::open(self.addr).map_err(|error| format!("no connection to Envoy: {error}"))?,
        };
        // What cannot be written any more was answered before its end.
        let _ = pipe.write(&bytes);
        self.pipes[at] = Some(pipe);
        Ok(())
    }

    /// Reads the answers to what was sent on a connection.
    fn collect(&mut self, at: usize, sent: &[Mutant]) -> Result<(), String> {
        for (index, mutant) in sent.iter().enumerate() {
            let Some(pipe) = self.pipes[at].as_mut() else { return Ok(()) };
            match pipe.answer() {
                Ok(Some(answer)) => {
                    self.count(answer, &mutant.bytes)?;
                    if answer.closes {
                        self.unread.extend_from_slice(&sent[index + 1..]);
                        self.pipes[at] = None;
                    }
                }
                Ok(None) => {
                    // It may have closed it before it had read this one.
                    match mutant.unanswered {
                        ..TRIES => {
                            self.unread.push(Mutant { unanswered: mutant.unanswered + 1, ..mutant.clone() })
                        }
                        _ => self.report.closed += 1,
                    }
                    self.unread.extend_from_slice(&sent[index + 1..]);
                    self.pipes[at] = None;
                }
                Err(error) => {
                    return Err(format!("no answer: {error}: {}", mutant.bytes.escape_ascii()));
                }
            }
        }
        Ok(())
    }

    /// Sends one on a connection of its own.
    fn alone(&mut self, mutant: &Mutant) -> Result<(), String> {
        let failed = |error: std::io::Error| format!("no connection to Envoy: {error}");
        let pipe = Pipe::open(self.addr).map_err(failed)?;
        if let Way::CutOff(at) = mutant.way {
            self.report.cut_off += 1;
            pipe.write_and_reset(&mutant.bytes[..at]);
            return Ok(());
        }
        let answers = pipe
            .write_and_end(&mutant.bytes)
            .map_err(|error| format!("no answer: {error}: {}", mutant.bytes.escape_ascii()))?;
        if answers.is_empty() {
            self.report.closed += 1;
        }
        // Bytes put between can make more than one request of it.
        answers.into_iter().try_for_each(|answer| self.count(answer, &mutant.bytes))
    }

    fn count(&mut self, answer: Answer, bytes: &[u8]) -> Result<(), String> {
        *self.report.answers.entry(answer.status).or_default() += 1;
        match answer.passed {
            true => Err(format!("it passed: {}", bytes.escape_ascii())),
            false => Ok(()),
        }
    }

    fn good_token_passes(&self) -> Result<(), String> {
        for good in self.stock.good() {
            let answer = Request::get("/orders/7").bearer(good).try_send(self.addr);
            let answer = answer.map_err(|error| format!("no answer to a good token: {error}"))?;
            if answer.status != 200 || answer.header(PASSED).is_none() {
                return Err(format!("a good token gets {}: {}", answer.status, answer.text()));
            }
        }
        Ok(())
    }

    /// A good token passes, and the memory has not grown.
    fn look(&mut self, envoy: &Envoy, plan: Plan) -> Result<Memory, String> {
        if !envoy.is_running() {
            return Err(envoy.faults().join("\n"));
        }
        self.good_token_passes()?;
        let (now, before) = (Memory::of(envoy), self.report.before);
        let most = &mut self.report.most;
        *most = Memory {
            resident: most.resident.max(now.resident),
            allocated: most.allocated.max(now.allocated),
        };
        let pairs =
            [("resident", before.resident, now.resident), ("allocated", before.allocated, now.allocated)];
        for (name, before, now) in pairs {
            if before > 0 && now > before + plan.growth {
                return Err(format!(
                    "{name}: {before} bytes became {now} after {} requests",
                    self.report.sent
                ));
            }
        }
        Ok(now)
    }
}
