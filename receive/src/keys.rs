//! Whether a signature is an issuer's. Keys that are fetched live as the gate's do: refreshed ahead, one fetch at a time, and
//! what made-up key ids can cause is bounded.

use std::cell::RefCell;
use std::hash::{BuildHasher as _, RandomState};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use portcullis::{
    Backend, InMemoryStore, Jws, KeySet, Keys, Reason, RemoteKeySet, SourceEvent, Timestamp, UnknownKid,
};
use tokio::sync::Notify;

use crate::client::Client;
use crate::clock::Clock;
use crate::event::Refusal;
use crate::metrics::Metrics;

/// How long a request waits for keys.
const PATIENCE: Duration = Duration::from_secs(8);
/// How soon it looks again at the soonest.
const AGAIN: Duration = Duration::from_millis(50);
/// The longest pause after a fetch that failed. It is shorter than a gate's: providers send an event once and do not wait
/// long for the answer (Keycloak: 5 s), so that one which comes after an outage must not find the keys out of reach.
const MAX_PAUSE: Duration = Duration::from_secs(2);
/// The shortest and the longest pause between two looks at a source.
const TICK: (Duration, Duration) = (Duration::from_millis(5), Duration::from_secs(30));

/// Why a signature is not accepted.
#[derive(Debug)]
pub(crate) enum Unverified {
    /// It is not the issuer's.
    Refused(Refusal),
    /// It cannot be said now; perhaps after this time.
    Unavailable(Duration),
}

/// The keys of an issuer.
pub(crate) enum KeySource {
    /// They are in the configuration.
    Local(Arc<KeySet>),
    /// They are fetched.
    Remote(Rc<Remote>),
}

/// Keys that are fetched.
pub(crate) struct Remote {
    issuer: String,
    source: RefCell<RemoteKeySet>,
    store: InMemoryStore,
    /// Wakes the one that fetches.
    wake: Notify,
    /// Wakes those that wait for keys.
    changed: Notify,
    clock: Clock,
}

enum Judged {
    Good,
    Wait,
    /// The source fails; the next try is after this time.
    Failing(Duration),
    Not(Unverified),
}

impl KeySource {
    pub(crate) fn new(issuer: &str, keys: &Keys, clock: Clock) -> Option<Self> {
        match keys {
            Keys::Local(set) => Some(Self::Local(Arc::clone(set))),
            Keys::Remote(remote) => {
                let random = RandomState::new().hash_one(issuer);
                let mut remote = (**remote).clone();
                remote.max_pause = MAX_PAUSE;
                let source = RefCell::new(RemoteKeySet::new(remote, random, None));
                let (store, wake, changed) = (InMemoryStore::default(), Notify::new(), Notify::new());
                let issuer = issuer.to_owned();
                Some(Self::Remote(Rc::new(Remote { issuer, source, store, wake, changed, clock })))
            }
            Keys::None => None,
        }
    }

    /// Checks a signature, and waits where keys are being fetched.
    ///
    /// # Errors
    /// [`Unverified`].
    pub(crate) async fn check(&self, jws: &Jws<'_>) -> Result<(), Unverified> {
        match self {
            Self::Local(keys) => verify(jws, keys).map_err(|_| Unverified::Refused(not_signed())),
            Self::Remote(remote) => remote.check(jws).await,
        }
    }
}

fn verify(jws: &Jws<'_>, keys: &KeySet) -> Result<(), Reason> {
    let header = jws.header();
    let candidates = keys.candidates(header.kid.as_deref(), header.algorithm);
    jws.verify(&Backend::portable(), candidates).map(|_| ()).map_err(|rejected| rejected.reason)
}

fn not_signed() -> Refusal {
    Refusal::new("invalid_key", "is not signed with a key of its issuer")
}

impl Remote {
    async fn check(&self, jws: &Jws<'_>) -> Result<(), Unverified> {
        let since = self.clock.now();
        let deadline = tokio::time::Instant::now() + PATIENCE;
        let mut has_waited = false;
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            // From here on no change is missed.
            changed.as_mut().enable();
            let until = match self.judge(jws, since, has_waited) {
                Judged::Good => return Ok(()),
                Judged::Wait => deadline,
                Judged::Failing(after) => {
                    let next = tokio::time::Instant::now() + after.max(AGAIN);
                    // It may be over while this one can still wait.
                    if next >= deadline {
                        return Err(Unverified::Unavailable(after));
                    }
                    next
                }
                Judged::Not(why) => return Err(why),
            };
            self.wake.notify_one();
            if tokio::time::timeout_at(until, changed).await.is_err() && until == deadline {
                return Err(Unverified::Unavailable(MAX_PAUSE));
            }
            has_waited = true;
        }
    }

    fn judge(&self, jws: &Jws<'_>, since: Timestamp, has_waited: bool) -> Judged {
        let now = self.clock.now();
        let mut source = self.source.borrow_mut();
        let Some(keys) = source.keys(now).cloned() else {
            source.need(now);
            if source.expects_answer(now) {
                return Judged::Wait;
            }
            return Judged::Failing(source.retry_in(now));
        };
        match verify(jws, &keys) {
            Ok(()) => return Judged::Good,
            Err(Reason::SignatureInvalid | Reason::KeyNotFound) => {}
            Err(_) => return Judged::Not(Unverified::Refused(not_signed())),
        }
        let unknown = jws.header().kid.as_deref().filter(|kid| !keys.has_kid(kid));
        let Some(kid) = unknown else {
            return match source.signature_failed(&self.store, since, now) {
                true => Judged::Wait,
                false => Judged::Not(Unverified::Refused(not_signed())),
            };
        };
        // A fetch that began after the token came would have brought its key.
        let unknown = if has_waited && since <= source.last_looked() {
            source.still_missing(&self.store, kid, since, now);
            UnknownKid::Missing
        } else {
            source.unknown_kid(&self.store, kid, !has_waited, now)
        };
        match unknown {
            UnknownKid::Wait => Judged::Wait,
            UnknownKid::Missing => Judged::Not(Unverified::Refused(not_signed())),
            UnknownKid::Unavailable if source.is_failing() => Judged::Failing(source.retry_in(now)),
            UnknownKid::Unavailable => Judged::Not(Unverified::Unavailable(source.retry_in(now))),
        }
    }

    /// Fetches what is due, for ever.
    pub(crate) async fn drive(self: Rc<Self>, client: Rc<Client>, metrics: Rc<Metrics>) {
        loop {
            let mut events = self.source.borrow_mut().tick(&self.store, self.clock.now());
            while !events.is_empty() {
                let mut more = Vec::new();
                for event in events {
                    more.extend(self.react(event, &client, &metrics).await);
                }
                self.changed.notify_waiters();
                events = more;
            }
            let now = self.clock.now();
            let pause = self.source.borrow().wake_at(false, now).since(now).clamp(TICK.0, TICK.1);
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = self.wake.notified() => {}
            }
        }
    }

    async fn react(&self, event: SourceEvent, client: &Client, metrics: &Metrics) -> Vec<SourceEvent> {
        match event {
            SourceEvent::Ask(request) => {
                let answer = client.fetch(&request).await;
                self.source.borrow_mut().answered(&self.store, answer, self.clock.now())
            }
            SourceEvent::Tried(outcome) => {
                let outcome = if outcome.is_ok() { "ok" } else { "failed" };
                let labels = [("issuer", self.issuer.as_str()), ("outcome", outcome)];
                metrics.count("portcullis_receive_key_fetches_total", &labels);
                Vec::new()
            }
            SourceEvent::Log(level, text) => {
                let level = level.as_str().to_ascii_lowercase();
                crate::log::line(&level, &text, &[("issuer", self.issuer.as_str().into())]);
                Vec::new()
            }
            SourceEvent::Ended | SourceEvent::Changed => Vec::new(),
        }
    }
}
