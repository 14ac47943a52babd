//! Opaque tokens, an endpoint that misbehaves, and somebody who makes tokens up: nobody passes whom the provider does not
//! know, what is revoked is refused in time, calls are few, and everybody gets an answer.

use std::collections::BTreeMap;
use std::time::Duration;

use portcullis::{
    Config, Effect, Environment, FetchError, Gate, HttpResponse, LookupId, Outcome, StreamId, Timestamp,
};
use serde_json::json;

use crate::chance::Chance;
use crate::plan::START;
use crate::request::request;

/// What holds in every run.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Promise {
    /// Only a token passes of which the provider says that it is active.
    OnlyActiveTokens,
    /// A token that was revoked is refused `active` and a second later.
    RevokedInTime,
    /// So many calls at once in each worker, and one for each token.
    CallsAreBounded,
    /// While the endpoint is well, a token is asked about once in its time.
    OneCallInEachPeriod,
    /// Nobody waits for longer than the timeout.
    NobodyWaitsTooLong,
    /// Some seconds after the endpoint is well again, nobody is refused for want of an answer.
    HealsInTime,
}

/// Something that is broken on purpose.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Sabotage {
    None,
    /// The provider says that every token is active.
    KnowsAll,
    /// The provider notices a revocation ten seconds late.
    RevokesLate,
    /// The gate may make more calls than is said.
    CallsMore,
    /// The gate forgets what it knew, now and then.
    Forgets,
    /// Nobody who waits is woken.
    WakesNobody,
    /// The endpoint stays ill.
    StaysIll,
}

/// How the endpoint is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Health {
    Well,
    /// It answers this.
    Says(u16, &'static str),
    /// It asks to be left alone for two seconds.
    Busy,
    /// It says nothing, and the proxy tells.
    Silent,
    /// It says nothing, and nobody tells.
    Lost,
}

const ILL: [Health; 10] = [
    Health::Says(500, ""),
    Health::Says(401, r#"{"error":"invalid_client"}"#),
    Health::Says(302, ""),
    Health::Says(400, ""),
    Health::Says(200, "<html>active: true</html>"),
    Health::Says(200, r#"{"active":"true"}"#),
    Health::Says(200, "{}"),
    Health::Busy,
    Health::Silent,
    Health::Lost,
];

const STEP: Duration = Duration::from_millis(20);
const TIMEOUT: Duration = Duration::from_secs(2);
const TOKENS: usize = 12;
/// The longest pause of the gate, a lost call, and what an unclear answer is kept for.
const HEALING: Duration = Duration::from_secs(11);
const LENGTH: Duration = Duration::from_secs(150);

struct Call {
    worker: usize,
    lookup: LookupId,
    token: String,
    sent: Timestamp,
    /// When the endpoint looks at it, and when its answer comes.
    looked: Timestamp,
    answered: Timestamp,
    answer: Option<Result<HttpResponse, FetchError>>,
}

struct Run {
    chance: Chance,
    sabotage: Sabotage,
    active: u64,
    most: usize,
    config: String,
    gates: Vec<Gate>,
    ticks: Vec<Timestamp>,
    now: Timestamp,
    health: Health,
    well_since: Timestamp,
    /// When each token was revoked.
    revoked: BTreeMap<String, Timestamp>,
    calls: Vec<Call>,
    /// When a worker last learnt that a token is active, by a call of then.
    learnt: BTreeMap<(usize, String), Timestamp>,
    stream: u32,
    waiting: BTreeMap<u32, (usize, String, Timestamp)>,
    happened: BTreeMap<&'static str, u64>,
    broken: Option<(Promise, String)>,
}

/// What came of a run: what happened, or the promise that was broken.
pub(crate) type Report = Result<BTreeMap<&'static str, u64>, (Promise, String)>;

fn token(number: usize) -> String {
    format!("opaque-token-number-{number}")
}

pub(crate) fn run(seed: u64, workers: usize, sabotage: Sabotage) -> Report {
    let mut chance = Chance::new(seed ^ 0x1f83_d9ab);
    let active = chance.pick(&[3, 5, 10, 30]);
    let most = chance.pick(&[1, 2, 4, 16]);
    let allowed = if sabotage == Sabotage::CallsMore { most + 5 } else { most };
    let config = json!({
        "providers": { "corp": { "issuer": "https://idp", "introspection": {
            "http_uri": { "uri": "https://idp/introspect", "cluster": "idp", "timeout": format!("{}s", TIMEOUT.as_secs()) },
            "auth_method": "none", "max_in_flight": allowed,
            "cache": { "active": format!("{active}s"), "inactive": "2s", "size": 50 },
        } } },
        "rules": [{ "match": { "prefix": "/" }, "requires": { "provider_name": "corp" } }],
    });
    let mut run = Run {
        chance,
        sabotage,
        active,
        most,
        config: config.to_string(),
        gates: Vec::new(),
        ticks: vec![Timestamp::default(); workers],
        now: Timestamp::from_secs(START),
        health: Health::Well,
        well_since: Timestamp::from_secs(START),
        revoked: BTreeMap::new(),
        calls: Vec::new(),
        learnt: BTreeMap::new(),
        stream: 0,
        waiting: BTreeMap::new(),
        happened: BTreeMap::new(),
        broken: None,
    };
    for _ in 0..workers {
        let gate = run.gate();
        run.gates.push(gate);
    }
    run.play();
    match run.broken {
        Some((promise, text)) => {
            let what = format!("seed {seed}, {workers} workers, active {active} s, {most} calls at once");
            Err((promise, format!("{promise:?}: {text}; {what}")))
        }
        None => Ok(run.happened),
    }
}

impl Run {
    fn gate(&mut self) -> Gate {
        let config = Config::parse(self.config.as_bytes(), &|_| None).expect("a sound configuration");
        Gate::new(config, Environment::alone(self.chance.number()), self.now)
    }

    fn play(&mut self) {
        let start = self.now;
        let mut turns = start.plus(Duration::from_secs(10));
        let mut number = 0;
        let flood = self.chance.pick(&[0, 3, 20, 200]);
        while self.broken.is_none() && self.now.since(start) < LENGTH {
            self.now = self.now.plus(STEP);
            self.look();
            self.deliver();
            self.tick();
            if self.now >= turns {
                self.turn();
                turns = self.now.plus(self.chance.between(Duration::from_secs(2), Duration::from_secs(25)));
            }
            if self.chance.once_in(400) {
                let token = token(self.chance.below(TOKENS));
                let now = self.now;
                self.revoked.entry(token).or_insert(now);
            }
            if self.sabotage == Sabotage::Forgets && self.chance.once_in(50) {
                let (worker, gate) = (self.chance.below(self.gates.len()), self.gate());
                if !self.waiting.values().any(|(own, ..)| *own == worker) {
                    self.gates[worker] = gate;
                    self.calls.retain(|call| call.worker != worker);
                }
            }
            if self.chance.once_in(5) {
                let token = token(self.chance.below(TOKENS));
                self.send(&token);
            }
            if flood > 0 && self.chance.once_in(1 + 200 / flood) {
                number += 1;
                self.send(&format!("made-up-token-number-{number}"));
            }
            for (token, since) in self.waiting.values().map(|(_, token, since)| (token, since)) {
                if self.now.since(*since) > TIMEOUT + Duration::from_millis(300) {
                    let text = format!("{token} has waited since {since:?}");
                    self.broken.get_or_insert((Promise::NobodyWaitsTooLong, text));
                }
            }
        }
    }

    /// The endpoint falls ill, or is well again.
    fn turn(&mut self) {
        let stays = self.sabotage == Sabotage::StaysIll && self.health != Health::Well;
        self.health = match self.health {
            Health::Well => self.chance.pick(&ILL),
            _ if stays => {
                // It says that it is well.
                self.well_since = self.now;
                return;
            }
            _ => Health::Well,
        };
        self.well_since = match self.health {
            Health::Well => self.now,
            _ => Timestamp::from_nanos(u64::MAX),
        };
    }

    /// The endpoint looks at what has arrived.
    fn look(&mut self) {
        let (now, health, sabotage) = (self.now, self.health, self.sabotage);
        for call in self.calls.iter_mut().filter(|call| call.answer.is_none() && call.looked <= now) {
            let late = if sabotage == Sabotage::RevokesLate { 10 } else { 0 };
            let revoked = self.revoked.get(&call.token);
            let is_issued = call.token.starts_with("opaque") || sabotage == Sabotage::KnowsAll;
            let is_active = is_issued && revoked.is_none_or(|at| at.plus(Duration::from_secs(late)) > now);
            let said = |status, body: &str| {
                Ok(HttpResponse { status, body: body.as_bytes().to_vec(), ..HttpResponse::default() })
            };
            call.answer = Some(match health {
                Health::Well => {
                    said(200, if is_active { r#"{"active":true}"# } else { r#"{"active":false}"# })
                }
                Health::Says(status, body) => said(status, body),
                Health::Busy => Ok(HttpResponse {
                    status: 429,
                    retry_after: Some("2".to_owned()),
                    ..HttpResponse::default()
                }),
                Health::Silent | Health::Lost => {
                    call.answered = call.sent.plus(TIMEOUT);
                    if health == Health::Lost {
                        call.answered = Timestamp::from_nanos(u64::MAX);
                    }
                    Err(FetchError::NoAnswer)
                }
            });
        }
    }

    fn deliver(&mut self) {
        let due: Vec<Call> =
            self.calls.extract_if(.., |call| call.answer.is_some() && call.answered <= self.now).collect();
        for call in due {
            let answer = call.answer.expect("it was looked at");
            let says = |text: &str| answer.as_ref().is_ok_and(|answer| answer.body == text.as_bytes());
            if says(r#"{"active":true}"#) {
                self.learnt.insert((call.worker, call.token.clone()), call.sent);
            } else {
                self.learnt.remove(&(call.worker, call.token.clone()));
            }
            self.gates[call.worker].fetched(call.lookup, answer, self.now);
            self.work(call.worker);
        }
        // What is lost ends with its gate's patience.
        self.calls.retain(|call| self.now.since(call.sent) < TIMEOUT + Duration::from_secs(1));
    }

    fn tick(&mut self) {
        for worker in 0..self.gates.len() {
            if self.now < self.ticks[worker] {
                continue;
            }
            self.gates[worker].tick(self.now);
            self.work(worker);
            let span = self.gates[worker].poll_timeout(self.now).unwrap_or(Duration::from_secs(1));
            self.ticks[worker] = self.now.plus(span.max(Duration::from_millis(10)));
        }
    }

    fn work(&mut self, worker: usize) {
        while let Some(effect) = self.gates[worker].next_effect() {
            match effect {
                Effect::Close(_) | Effect::Log(..) => {}
                Effect::Fetch { lookup, request } => {
                    let form = String::from_utf8(request.body).expect("a form");
                    let token = form.split(['=', '&']).nth(1).expect("a token").to_owned();
                    self.call(worker, lookup, token);
                }
                Effect::Wake(stream, waited) => {
                    if self.sabotage == Sabotage::WakesNobody {
                        continue;
                    }
                    let Some((_, token, since)) = self.waiting.remove(&stream.0) else { continue };
                    let outcome = request(&token, |request| {
                        self.gates[worker].resume(stream, waited, request, self.now)
                    });
                    self.judge(worker, stream.0, (token, since), outcome);
                }
            }
        }
    }

    fn call(&mut self, worker: usize, lookup: LookupId, token: String) {
        *self.happened.entry("calls").or_default() += 1;
        let looked = self.now.plus(self.chance.between(Duration::from_millis(1), Duration::from_millis(200)));
        let answered = looked.plus(self.chance.between(Duration::from_millis(1), Duration::from_millis(200)));
        let given_up = |call: &Call| self.now.since(call.sent) >= TIMEOUT + Duration::from_millis(500);
        let own = self.calls.iter().filter(|call| call.worker == worker && !given_up(call));
        let (same, all) = (own.clone().filter(|call| call.token == token).count(), own.count());
        if same > 0 || all >= self.most {
            let text = format!("{all} calls are in flight, {same} of {token}");
            self.broken.get_or_insert((Promise::CallsAreBounded, text));
        }
        let period = Duration::from_secs(self.active);
        if let Some(learnt) = self.learnt.get(&(worker, token.clone()))
            && self.now.since(*learnt) < period
        {
            let text = format!("{token} is asked about {:?} after an answer", self.now.since(*learnt));
            self.broken.get_or_insert((Promise::OneCallInEachPeriod, text));
        }
        let sent = self.now;
        self.calls.push(Call { worker, lookup, token, sent, looked, answered, answer: None });
    }

    fn send(&mut self, token: &str) {
        let worker = self.chance.below(self.gates.len());
        self.stream += 1;
        let stream = self.stream;
        let outcome =
            request(token, |request| self.gates[worker].decide(StreamId(stream), request, self.now));
        self.judge(worker, stream, (token.to_owned(), self.now), outcome);
        self.work(worker);
        if self.waiting.contains_key(&stream) {
            self.ticks[worker] = self.ticks[worker].min(self.now.plus(Duration::from_millis(10)));
        }
    }

    fn judge(&mut self, worker: usize, stream: u32, (token, since): (String, Timestamp), outcome: Outcome) {
        let said = match &outcome {
            Outcome::Allow(_) => "passes",
            Outcome::Answer(_) => panic!("no resource is configured"),
            Outcome::Wait => "waits",
            Outcome::Deny(refusal) => refusal.response.reason.as_str(),
        };
        *self.happened.entry(said).or_default() += 1;
        let revoked = self.revoked.get(&token).copied();
        let broken = match said {
            "waits" => {
                self.waiting.insert(stream, (worker, token, since));
                return;
            }
            "passes" if !token.starts_with("opaque") => Some(Promise::OnlyActiveTokens),
            "passes" => {
                let grace = Duration::from_secs(self.active + 1);
                revoked.filter(|at| self.now > at.plus(grace)).map(|_| Promise::RevokedInTime)
            }
            "introspection_unavailable" => {
                // Where more come than the calls that are allowed can ask about, some do not get their turn in time.
                let had_no_turn = self.now.since(since) >= TIMEOUT;
                let is_well = self.now > self.well_since.plus(HEALING);
                (is_well && !had_no_turn).then_some(Promise::HealsInTime)
            }
            "token_inactive" if token.starts_with("opaque") && revoked.is_none() => {
                Some(Promise::OnlyActiveTokens)
            }
            _ => None,
        };
        if let Some(promise) = broken {
            let after = self.now.since(Timestamp::from_secs(START)).as_secs_f64();
            self.broken
                .get_or_insert((promise, format!("after {after:.2} s, {token} {said} at worker {worker}")));
        }
    }
}
