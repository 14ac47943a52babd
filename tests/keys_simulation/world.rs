//! A proxy in virtual time: instances of the gate, a store that they share, a provider, clients, and mishaps.

use std::cell::{Cell, RefCell};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::rc::{Rc, Weak};
use std::time::Duration;

use portcullis::{
    Config, Effect, Environment as Surroundings, FetchError, Gate, HttpRequest, HttpResponse, LookupId,
    Outcome, Request, StreamId, Timestamp, Waited,
};

use crate::chance::Chance;
use crate::oracle::{Broken, Counts, Promise};
use crate::plan::{HOUR, Plan, START, Sabotage};
use crate::provider::{self, KEYS, Listing, Meaning, Mood, Provider};
use crate::store::{Shared, View};

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Event {
    /// An instance's tick; one of an older number was replaced.
    Tick(usize, u64),
    /// A query reaches the provider.
    Arrive(u64),
    /// Its answer, or the host's patience, reaches the instance.
    Deliver(u64),
    Mood,
    Rotate,
    Request,
    HangUp(usize, u32),
    Crash,
    Revive,
    Update,
    /// An instance of an earlier configuration ends.
    Retire(usize),
    Spoil,
}

/// An instance, beside its gate.
#[derive(Clone, Copy, Debug, Default)]
struct Instance {
    alive: bool,
    /// New requests come to it.
    serving: bool,
    /// How many good answers it can know of.
    knows: usize,
    next_tick: Timestamp,
    tick: u64,
}

/// A query under way.
struct Call {
    instance: usize,
    lookup: LookupId,
    query: HttpRequest,
    sent: Timestamp,
    /// When the provider has nothing to do with it any more.
    ends: Timestamp,
    answer: Option<(Result<HttpResponse, FetchError>, Option<Meaning>)>,
}

/// A key set that an instance was given.
struct Good {
    at: Timestamp,
    listing: Listing,
    life: Duration,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Token {
    Of(usize),
    /// Under the kid of this key, and not signed by it.
    Forged(usize),
    MadeUp(u64),
}

struct Waiter {
    token: Token,
    deadline: Timestamp,
}

struct Inner {
    chance: Chance,
    provider: Provider,
    events: BinaryHeap<Reverse<(Timestamp, u64, Event)>>,
    number: u64,
    instances: Vec<Instance>,
    calls: BTreeMap<u64, Call>,
    good: Vec<Good>,
    max_age: Option<u64>,
    waiting: BTreeMap<(usize, u32), Waiter>,
    streams: u32,
    made_up: u64,
    /// Since when the provider is well and nothing else has happened.
    calm_since: Timestamp,
    failures: u64,
    broken: Option<Broken>,
    counts: Counts,
}

pub(crate) struct World {
    seed: u64,
    plan: Plan,
    sabotage: Sabotage,
    tell: bool,
    config: String,
    shared: Rc<Shared>,
    gates: RefCell<Vec<Rc<RefCell<Option<Gate>>>>>,
    inner: RefCell<Inner>,
    now: Cell<Timestamp>,
    /// An instance has its turn within another's.
    within: Cell<bool>,
}

fn start() -> Timestamp {
    Timestamp::from_secs(START)
}

impl World {
    /// Runs an hour; the first promise that was broken, and what happened. `tell` prints it all.
    pub(crate) fn run(seed: u64, sabotage: Sabotage, tell: bool) -> (Result<(), Broken>, Counts) {
        let mut chance = Chance::new(seed.wrapping_mul(0x2545_f491_4f6c_dd1d) ^ 0x5bd1_e995);
        let mut plan = Plan::draw(&mut chance);
        plan.vandals &= sabotage == Sabotage::None;
        let provider = Provider::new(&mut chance);
        let inner = Inner {
            chance,
            provider,
            events: BinaryHeap::new(),
            number: 0,
            instances: Vec::new(),
            calls: BTreeMap::new(),
            good: Vec::new(),
            max_age: None,
            waiting: BTreeMap::new(),
            streams: 0,
            made_up: 0,
            calm_since: start(),
            failures: 0,
            broken: None,
            counts: Counts::default(),
        };
        let world = Rc::new(Self {
            seed,
            plan,
            sabotage,
            tell,
            config: plan.config(sabotage),
            shared: Rc::default(),
            gates: RefCell::default(),
            inner: RefCell::new(inner),
            now: Cell::new(start()),
            within: Cell::new(false),
        });
        world.say(|| format!("{plan:#?}"));
        world.begin();
        while world.inner.borrow().broken.is_none() {
            let Some(Reverse((at, _, event))) = world.inner.borrow_mut().events.pop() else { break };
            if at.since(start()) > HOUR {
                break;
            }
            world.now.set(at.max(world.now.get()));
            world.happen(event);
        }
        let inner = world.inner.borrow();
        (inner.broken.clone().map_or(Ok(()), Err), inner.counts.clone())
    }

    fn begin(self: &Rc<Self>) {
        for _ in 0..self.plan.instances {
            self.add_instance();
        }
        self.after(Duration::ZERO, Event::Request);
        let Plan { mood_lasts, keys_last, .. } = self.plan;
        for (event, mean) in [
            (Event::Mood, mood_lasts),
            (Event::Rotate, keys_last),
            (Event::Crash, Duration::from_secs(600)),
            (Event::Update, Duration::from_secs(1200)),
            (Event::Spoil, Duration::from_secs(60)),
        ] {
            self.after_about(mean, event);
        }
    }

    fn happen(self: &Rc<Self>, event: Event) {
        match event {
            Event::Tick(instance, number) => self.tick(instance, number),
            Event::Arrive(call) => self.arrive(call),
            Event::Deliver(call) => self.deliver(call),
            Event::Mood => self.mood(),
            Event::Rotate => {
                let mut inner = self.inner.borrow_mut();
                let Inner { chance, provider, counts, .. } = &mut *inner;
                provider.rotate(chance);
                counts.rotations += 1;
                let listing = provider.listing().clone();
                drop(inner);
                self.say(|| format!("the provider lists {listing:?}"));
                self.after_about(self.plan.keys_last, Event::Rotate);
            }
            Event::Request => {
                self.request();
                self.after_about(self.plan.request_every, Event::Request);
            }
            Event::HangUp(instance, stream) => {
                if self.inner.borrow_mut().waiting.remove(&(instance, stream)).is_some() {
                    self.inner.borrow_mut().counts.hung_up += 1;
                    self.with_gate(instance, |gate| gate.forget(StreamId(stream)));
                }
            }
            Event::Crash => self.crash(),
            Event::Revive => {
                self.add_instance();
            }
            Event::Update => self.update(),
            Event::Retire(instance) => self.retire(instance),
            Event::Spoil => {
                if self.plan.vandals {
                    let number = self.inner.borrow_mut().chance.number();
                    self.inner.borrow_mut().counts.spoilt_values += 1;
                    self.shared.spoil(number);
                    self.say(|| "somebody spoils a shared value".to_owned());
                }
                self.after_about(Duration::from_secs(60), Event::Spoil);
            }
        }
    }

    // Time and talk.

    fn after(&self, span: Duration, event: Event) {
        let at = self.now.get().plus(span);
        let mut inner = self.inner.borrow_mut();
        inner.number += 1;
        let number = inner.number;
        inner.events.push(Reverse((at, number, event)));
    }

    fn after_about(&self, mean: Duration, event: Event) {
        let span = self.inner.borrow_mut().chance.about(mean);
        self.after(span, event);
    }

    fn say(&self, text: impl FnOnce() -> String) {
        if self.tell {
            println!("{:>10.3} {}", self.now.get().since(start()).as_secs_f64(), text());
        }
    }

    fn broke(&self, promise: Promise, what: String) {
        self.say(|| format!("BROKEN: {promise:?}: {what}"));
        let after = self.now.get().since(start());
        let broken = Broken { seed: self.seed, promise, after, what };
        self.inner.borrow_mut().broken.get_or_insert(broken);
    }

    // Instances.

    fn with_gate<T>(&self, instance: usize, act: impl FnOnce(&mut Gate) -> T) -> Option<T> {
        let gate = self.gates.borrow().get(instance).cloned()?;
        let mut gate = gate.try_borrow_mut().ok()?;
        gate.as_mut().map(act)
    }

    fn new_gate(self: &Rc<Self>, instance: usize) -> Gate {
        let looks_away = self.sabotage == Sabotage::LooksAway && instance == 1;
        let shared = match self.sabotage {
            Sabotage::SharesNothing => Rc::default(),
            _ => Rc::clone(&self.shared),
        };
        let world: Weak<Self> = Rc::downgrade(self);
        let view = View { shared, world, instance, frozen: looks_away.then(RefCell::default) };
        let random = self.inner.borrow_mut().chance.number();
        let config = Config::parse(self.config.as_bytes(), &|_| None).expect("a sound configuration");
        Gate::new(
            config,
            Surroundings { store: Rc::new(view), ..Surroundings::alone(random) },
            self.now.get(),
        )
    }

    fn add_instance(self: &Rc<Self>) {
        let instance = self.gates.borrow().len();
        self.gates.borrow_mut().push(Rc::default());
        let gate = self.new_gate(instance);
        let slot = Rc::clone(&self.gates.borrow()[instance]);
        *slot.borrow_mut() = Some(gate);
        let mut inner = self.inner.borrow_mut();
        let knows = inner.good.len();
        inner.instances.push(Instance { alive: true, serving: true, knows, ..Instance::default() });
        drop(inner);
        self.say(|| format!("instance {instance} begins"));
        self.settle(instance);
        self.tick_within(instance, Duration::from_millis(10));
    }

    /// Another instance may have its turn while this one is in the middle of something.
    pub(crate) fn interlude(self: &Rc<Self>, instance: usize) {
        if self.within.get() {
            return;
        }
        let mut inner = self.inner.borrow_mut();
        if inner.instances.is_empty() || !inner.chance.once_in(30) {
            return;
        }
        let count = inner.instances.len();
        let other = inner.chance.below(count);
        if other == instance || !inner.instances[other].alive {
            return;
        }
        inner.counts.turns_in_between += 1;
        drop(inner);
        self.within.set(true);
        self.turn(other);
        self.within.set(false);
    }

    fn tick(self: &Rc<Self>, instance: usize, number: u64) {
        let Instance { alive, tick, .. } = self.inner.borrow().instances[instance];
        if !alive || tick != number {
            return;
        }
        self.turn(instance);
        let now = self.now.get();
        let asked =
            |gate: &mut Gate| (gate.is_waited_for(), gate.poll_timeout(now).expect("keys are fetched"));
        let (busy, span) = self.with_gate(instance, asked).unwrap_or((true, Duration::ZERO));
        let mut inner = self.inner.borrow_mut();
        // It comes late: threads are busy.
        let late = if busy { Duration::from_millis(190) } else { self.plan.idle_tick };
        let late = inner.chance.between(Duration::ZERO, late);
        let span = span.max(Duration::from_millis(10)) + late;
        inner.instances[instance].next_tick = Timestamp::default();
        drop(inner);
        self.tick_within(instance, span);
    }

    /// The next tick of an instance comes within this span.
    fn tick_within(&self, instance: usize, span: Duration) {
        let at = self.now.get().plus(span);
        let mut inner = self.inner.borrow_mut();
        let current = &mut inner.instances[instance];
        if current.next_tick > Timestamp::default() && current.next_tick <= at {
            return;
        }
        current.next_tick = at;
        current.tick += 1;
        let event = Event::Tick(instance, current.tick);
        drop(inner);
        self.after(span, event);
    }

    /// An instance looks up.
    fn turn(self: &Rc<Self>, instance: usize) {
        let now = self.now.get();
        let known = self.inner.borrow().good.len();
        if self.with_gate(instance, |gate| gate.tick(now)).is_none() {
            return;
        }
        self.knows(instance, known);
        self.settle(instance);
        let late = self.inner.borrow().waiting.iter().find_map(|((waits_at, stream), waiter)| {
            (*waits_at == instance && waiter.deadline <= now).then_some(*stream)
        });
        if let Some(stream) = late {
            let what = format!("request {stream} waits at instance {instance} past its deadline");
            self.broke(Promise::NobodyWaitsTooLong, what);
        }
    }

    fn knows(&self, instance: usize, known: usize) {
        let current = &mut self.inner.borrow_mut().instances[instance];
        current.knows = current.knows.max(known);
    }

    /// Carries out what an instance wants done.
    fn settle(self: &Rc<Self>, instance: usize) {
        while let Some(Some(effect)) = self.with_gate(instance, Gate::next_effect) {
            match effect {
                Effect::Log(level, text) => self.say(|| format!("instance {instance}: {level} {text}")),
                Effect::Fetch { lookup, request } => self.send(instance, lookup, request),
                Effect::Wake(stream, waited) => self.wake(instance, stream, waited),
                Effect::Close(_) => {}
            }
        }
    }

    fn crash(self: &Rc<Self>) {
        self.after_about(Duration::from_secs(600), Event::Crash);
        let mut inner = self.inner.borrow_mut();
        let count = inner.instances.len();
        let instance = inner.chance.below(count);
        let Instance { alive, serving, .. } = inner.instances[instance];
        if !alive {
            return;
        }
        inner.counts.crashes += 1;
        let fetching = inner.calls.values().any(|call| call.instance == instance);
        inner.counts.crashes_during_a_fetch += u64::from(fetching);
        // Who waits in a VM that traps is lost; Envoy's own timeout ends it.
        inner.waiting.retain(|(waits_at, _), _| *waits_at != instance);
        drop(inner);
        self.say(|| format!("instance {instance} crashes"));
        self.end(instance);
        if serving {
            let span = self.inner.borrow_mut().chance.between(Duration::ZERO, Duration::from_secs(2));
            self.after(span, Event::Revive);
        }
    }

    /// A new configuration: new instances, and the old ones live on for a while. Envoy tries the configuration in an
    /// instance that it drops at once.
    fn update(self: &Rc<Self>) {
        self.after_about(Duration::from_secs(1200), Event::Update);
        self.say(|| "a new configuration comes".to_owned());
        let serving = {
            let mut inner = self.inner.borrow_mut();
            inner.counts.updates += 1;
            let serving: Vec<usize> =
                (0..inner.instances.len()).filter(|at| inner.instances[*at].serving).collect();
            for instance in &serving {
                inner.instances[*instance].serving = false;
            }
            serving
        };
        drop(self.new_gate(usize::MAX));
        for _ in 0..self.plan.instances {
            self.add_instance();
        }
        for instance in serving {
            self.after_about(Duration::from_secs(10), Event::Retire(instance));
        }
    }

    fn retire(self: &Rc<Self>, instance: usize) {
        if self.with_gate(instance, Gate::release_all).is_none() {
            return;
        }
        self.settle(instance);
        if self.inner.borrow().waiting.keys().any(|(waits_at, _)| *waits_at == instance) {
            let what = format!("instance {instance} ended and left somebody waiting");
            self.broke(Promise::NobodyWaitsTooLong, what);
        }
        self.say(|| format!("instance {instance} ends"));
        self.end(instance);
    }

    fn end(&self, instance: usize) {
        *self.gates.borrow()[instance].borrow_mut() = None;
        let mut inner = self.inner.borrow_mut();
        inner.instances[instance].alive = false;
        inner.instances[instance].serving = false;
        inner.calm_since = self.now.get();
        // Envoy cancels its calls, at once or when it makes the next VM.
        if inner.chance.once_in(2) {
            inner.calls.retain(|_, call| call.instance != instance);
        }
    }

    // Fetches.

    fn send(self: &Rc<Self>, instance: usize, lookup: LookupId, query: HttpRequest) {
        let now = self.now.get();
        let mut inner = self.inner.borrow_mut();
        let other = inner.calls.values().find(|call| call.ends > now).map(|call| call.instance);
        if inner.provider.mood == Mood::Unknown {
            inner.counts.not_sent += 1;
            drop(inner);
            let error = FetchError::NotSent { cluster: query.endpoint.cluster.clone() };
            self.with_gate(instance, |gate| gate.fetched(lookup, Err(error), now));
            return; // The caller carries out what follows.
        }
        inner.counts.fetches += 1;
        if self.sabotage == Sabotage::GivesUp && inner.failures >= 3 {
            return;
        }
        let longest = (query.endpoint.timeout / 4).min(Duration::from_millis(80));
        let way = inner.chance.between(Duration::from_micros(200), longest);
        inner.number += 1;
        let number = inner.number;
        let ends = now.plus(query.endpoint.timeout);
        self.say(|| format!("instance {instance} asks for {}", query.endpoint.path));
        inner.calls.insert(number, Call { instance, lookup, query, sent: now, ends, answer: None });
        drop(inner);
        if let Some(other) = other
            && !self.plan.vandals
        {
            let what = format!("instance {instance} asks while the question of instance {other} is open");
            self.broke(Promise::OneFetchAtOnce, what);
        }
        self.after(way, Event::Arrive(number));
    }

    /// The provider decides what it answers, and when.
    fn arrive(&self, number: u64) {
        let now = self.now.get();
        let mut inner = self.inner.borrow_mut();
        let Inner { calls, chance, provider, counts, .. } = &mut *inner;
        let Some(call) = calls.get_mut(&number) else { return };
        let timeout = call.query.endpoint.timeout;
        let longest = match provider.mood {
            Mood::Slow => timeout * 3 / 2,
            _ => (timeout / 4).min(Duration::from_millis(150)),
        };
        let answers_at = now.plus(chance.between(Duration::from_micros(100), longest));
        let gives_up_at = call.sent.plus(timeout);
        call.answer = provider.answer(&call.query).filter(|_| answers_at < gives_up_at);
        if call.answer.is_some() {
            call.ends = answers_at;
        } else {
            counts.timeouts += 1;
            // What the host makes of a timeout.
            call.answer = Some((Ok(HttpResponse { status: 504, ..HttpResponse::default() }), None));
            if provider.mood != Mood::Slow && chance.once_in(10) {
                counts.lost_answers += 1;
                return;
            }
        }
        // Threads are busy, now and then for long.
        let most = Duration::from_millis(if chance.once_in(20) { 400 } else { 5 });
        let delay = chance.between(Duration::ZERO, most);
        let span = call.ends.plus(delay).since(now);
        drop(inner);
        self.after(span, Event::Deliver(number));
    }

    fn deliver(self: &Rc<Self>, number: u64) {
        let now = self.now.get();
        let Some(call) = self.inner.borrow_mut().calls.remove(&number) else { return };
        let Some((mut answer, meaning)) = call.answer else { return };
        if let (Sabotage::ForgetsKeys, Some(meaning), Ok(answer)) = (self.sabotage, &meaning, &mut answer)
            && let [_, rest @ ..] = meaning.listing.as_slice()
            && !rest.is_empty()
            && answer.status == 200
        {
            answer.body = provider::set(rest);
        }
        let status = answer.as_ref().ok().map(|answer| answer.status);
        self.say(|| format!("instance {}: answer {status:?}, {meaning:?}", call.instance));
        if self.with_gate(call.instance, |gate| gate.fetched(call.lookup, answer, now)).is_none() {
            return; // It is gone.
        }
        let mut inner = self.inner.borrow_mut();
        if let Some(meaning) = meaning {
            inner.counts.good_answers += 1;
            inner.counts.not_modified += u64::from(status == Some(304));
            inner.failures = 0;
            if !meaning.inherits {
                inner.max_age = meaning.max_age;
            }
            let life = self.plan.life(inner.max_age);
            inner.good.push(Good { at: now, listing: meaning.listing, life });
            let known = inner.good.len();
            inner.instances[call.instance].knows = known;
        } else if status != Some(200) || !call.query.endpoint.path.starts_with("/.well-known") {
            inner.counts.bad_answers += 1;
            inner.failures += 1;
        }
        drop(inner);
        self.settle(call.instance);
    }

    fn mood(&self) {
        let mut inner = self.inner.borrow_mut();
        let Inner { chance, provider, counts, calm_since, .. } = &mut *inner;
        provider.mood = provider.mood.next(chance);
        counts.moods += 1;
        *calm_since = self.now.get();
        let mood = provider.mood;
        drop(inner);
        self.say(|| format!("the provider is {mood:?}"));
        self.after_about(self.plan.mood_lasts, Event::Mood);
    }

    // Requests.

    fn request(self: &Rc<Self>) {
        self.check_health();
        let now = self.now.get();
        let mut inner = self.inner.borrow_mut();
        let serving: Vec<usize> =
            (0..inner.instances.len()).filter(|at| inner.instances[*at].serving).collect();
        if serving.is_empty() {
            return;
        }
        let instance = inner.chance.pick(&serving);
        let listing = inner.provider.listing().clone();
        let token = match inner.chance.below(10) {
            0 => {
                inner.made_up += 1;
                Token::MadeUp(inner.made_up)
            }
            1..=3 => Token::Of(inner.chance.below(KEYS)),
            4 => Token::Forged(inner.chance.pick(&listing)),
            _ => Token::Of(inner.chance.pick(&listing)),
        };
        inner.streams += 1;
        inner.counts.requests += 1;
        let stream = inner.streams;
        drop(inner);
        let outcome = ask(token, |request| {
            self.with_gate(instance, |gate| gate.decide(StreamId(stream), request, now))
        });
        let Some(outcome) = outcome else { return };
        self.judge(instance, stream, token, now.plus(self.plan.patience()), outcome);
    }

    fn wake(self: &Rc<Self>, instance: usize, stream: StreamId, waited: Waited) {
        let mut inner = self.inner.borrow_mut();
        if self.sabotage == Sabotage::WakesNotAll && inner.chance.once_in(3) {
            return;
        }
        let Some(waiter) = inner.waiting.remove(&(instance, stream.0)) else { return };
        drop(inner);
        let now = self.now.get();
        let outcome = ask(waiter.token, |request| {
            self.with_gate(instance, |gate| gate.resume(stream, waited, request, now))
        });
        let Some(outcome) = outcome else { return };
        if !matches!(outcome, Outcome::Allow(_) | Outcome::Wait) {
            self.inner.borrow_mut().counts.waited_in_vain += 1;
        }
        self.judge(instance, stream.0, waiter.token, waiter.deadline, outcome);
    }

    /// Was that lawful?
    fn judge(&self, instance: usize, stream: u32, token: Token, deadline: Timestamp, outcome: Outcome) {
        let now = self.now.get();
        let mut inner = self.inner.borrow_mut();
        let Inner { instances, good, counts, waiting, chance, .. } = &mut *inner;
        // What the instance can go by: the last set that it can know of, or one that came since. Where others write
        // into the store, it may have missed some.
        let knows = instances[instance].knows;
        let lawful =
            good.get(if self.plan.vandals { 0 } else { knows.saturating_sub(1) }..).unwrap_or_default();
        let trusted = |set: &Good| now < set.at.plus(set.life).plus(self.plan.stale_if_error);
        let lists = |set: &Good| match token {
            Token::Of(key) | Token::Forged(key) => set.listing.contains(&key),
            Token::MadeUp(_) => false,
        };
        let broken = match &outcome {
            Outcome::Answer(_) => panic!("no resource is configured"),
            Outcome::Wait => {
                waiting.insert((instance, stream), Waiter { token, deadline });
                counts.began_to_wait += 1;
                if chance.once_in(20) {
                    let span = chance.about(self.plan.patience() / 2);
                    drop(inner);
                    self.after(span, Event::HangUp(instance, stream));
                } else {
                    drop(inner);
                }
                self.tick_within(instance, Duration::from_millis(10));
                return;
            }
            Outcome::Allow(_) => {
                counts.passed += 1;
                let stale = lawful.last().is_some_and(|set| now >= set.at.plus(set.life));
                counts.passed_on_stale_keys += u64::from(stale);
                if !lawful.iter().any(lists) || matches!(token, Token::Forged(_)) {
                    Some(Promise::OnlyListedKeys)
                } else if !lawful.iter().any(|set| lists(set) && trusted(set)) {
                    Some(Promise::NoKeyTooOld)
                } else {
                    None
                }
            }
            Outcome::Deny(refusal) => {
                let needless = match refusal.response.reason.as_str() {
                    "keys_unavailable" => {
                        counts.refused_without_keys += 1;
                        // A key that is not at hand could be new.
                        lawful.first().is_some_and(trusted) && knows > 0 && lawful.iter().all(lists)
                    }
                    "key_not_found" => {
                        match token {
                            Token::Of(_) | Token::Forged(_) => counts.refused_for_a_removed_key += 1,
                            Token::MadeUp(_) => counts.refused_for_a_made_up_kid += 1,
                        }
                        knows > 0 && lawful.iter().all(lists)
                    }
                    "signature_invalid" => {
                        counts.refused_for_a_forged_signature += 1;
                        !matches!(token, Token::Forged(_))
                    }
                    _ => true,
                };
                (needless && !self.plan.vandals).then_some(Promise::NobodyIsRefusedWithoutNeed)
            }
        };
        let outcome = match &outcome {
            Outcome::Deny(refusal) => refusal.response.reason.as_str(),
            _ => "passes",
        };
        let sets: Vec<_> = match broken {
            Some(_) => {
                lawful.iter().map(|set| (set.at.since(start()), set.listing.clone(), set.life)).collect()
            }
            None => Vec::new(),
        };
        drop(inner);
        self.say(|| format!("instance {instance}: request {stream} with {token:?}: {outcome}"));
        if let Some(promise) = broken {
            let what = format!("{token:?} at instance {instance}: {outcome}, where it has {sets:?}");
            self.broke(promise, what);
        }
    }

    /// Where all has been well for long enough, keys are fresh.
    fn check_health(&self) {
        let now = self.now.get();
        let inner = self.inner.borrow();
        let well = inner.provider.mood == Mood::Well
            && now.since(inner.calm_since) > self.plan.recovery()
            && !self.plan.vandals;
        let slack = self.plan.idle_tick * 2 + Duration::from_secs(2);
        let fresh = inner.good.last().is_some_and(|set| now < set.at.plus(set.life).plus(slack));
        drop(inner);
        if well && !fresh {
            self.broke(Promise::HealsInTime, "the provider is well, and the keys are not fresh".to_owned());
        }
    }
}

/// Puts a request with this token together and hands it on.
fn ask<T>(token: Token, hand: impl FnOnce(&Request<'_>) -> T) -> T {
    let bearer = match token {
        Token::Of(key) => format!("Bearer {}", provider::token(key)),
        Token::Forged(key) => format!("Bearer {}", provider::forged(key)),
        Token::MadeUp(number) => format!("Bearer {}", provider::made_up(number)),
    };
    let fields: [(&[u8], &[u8]); 3] =
        [(b":method", b"GET"), (b":path", b"/"), (b"authorization", bearer.as_bytes())];
    hand(&Request::new(&fields))
}
