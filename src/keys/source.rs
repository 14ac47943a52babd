//! The life of a remote key source: when to fetch, what to trust, how long.
//!
//! A state machine without I/O. The clock and the answers come in; [`Source::due`] says when a fetch
//! should start, and the caller starts it.

use std::fmt;
use std::rc::Rc;
use std::time::Duration;

use super::set::{Format, KeySet, Reading, SetError};
use crate::time::Timestamp;

/// How a source is reached and how long its keys last.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Remote {
    /// `https` or `http`: what the configured URI says.
    pub scheme: String,
    /// The authority of the URI: host, and port where it names one.
    pub authority: String,
    /// The path and query of the URI.
    pub path: String,
    /// The name of the Envoy cluster that the request goes to.
    pub cluster: String,
    /// How long a fetch may take.
    pub timeout: Duration,
    /// How long keys are fresh, where the answer does not say less.
    pub cache_duration: Duration,
    /// How long keys serve on past that while the source fails.
    pub stale_if_error: Duration,
    /// One more fetch for an unknown kid each time this has passed.
    pub unknown_kid_cooldown: Duration,
    /// The largest key set that is read, in bytes.
    pub max_bytes: usize,
    /// The most keys that a set may have.
    pub max_keys: usize,
    /// The form in which the keys are published.
    pub format: Format,
}

/// What came back from a fetch, as far as it can be used.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Fetched {
    /// The body of a 200.
    pub body: Vec<u8>,
    /// `Cache-Control`, where the answer has it.
    pub cache_control: Option<String>,
}

/// Why a fetch brought no keys.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum FetchError {
    /// The host did not take the request: the cluster is not known or has no healthy member
    NotSent {
        /// The cluster of the configuration
        cluster: String,
    },
    /// No answer: the connection was reset, or the answer was larger than the host takes
    NoAnswer,
    /// An answer other than 200
    Status(u16),
    /// A body larger than `max_bytes`
    TooLarge {
        /// Its size in bytes
        size: usize,
        /// How large it may be
        limit: usize,
    },
    /// A body that is not a usable key set
    Set(SetError),
}

impl fmt::Display for FetchError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotSent { cluster } => {
                write!(f, "the cluster {cluster:?} is unknown or has no healthy endpoint")
            }
            Self::NoAnswer => f.write_str("no complete answer"),
            Self::Status(status @ 300..=399) => {
                write!(f, "status {status}; redirects are not followed")
            }
            Self::Status(status) => write!(f, "status {status}"),
            Self::TooLarge { size, limit } => {
                write!(f, "the answer has {size} bytes, more than max_bytes ({limit})")
            }
            Self::Set(error) => write!(f, "{error}"),
        }
    }
}

/// What an unknown kid should do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum UnknownKid {
    /// Wait: a fetch is under way, or due now, that may bring it.
    Wait,
    /// Do without: it was looked for in vain, or too many others were.
    GiveUp,
}

/// A remote key source and the keys it has given so far.
#[derive(Debug)]
pub struct Source {
    remote: Remote,
    keys: Option<Trusted>,
    next_fetch: Timestamp,
    /// When the fetch under way counts as lost.
    in_flight: Option<Timestamp>,
    failures: u32,
    kid_fetches: Bucket,
    missing_kids: Vec<(String, Timestamp)>,
    random: Random,
}

#[derive(Debug)]
struct Trusted {
    set: Rc<KeySet>,
    until: Timestamp,
}

/// Known-missing kids that are remembered at most.
const MAX_MISSING: usize = 256;
/// Past its timeout, how long an answer may take to reach us before the fetch counts as lost.
const GRACE: Duration = Duration::from_secs(1);
/// The shortest lifetime that an answer can ask for.
const SHORTEST_LIFE: Duration = Duration::from_secs(60);

impl Source {
    /// A source that was not asked yet and is due at once. `seed` spreads the refreshes of many
    /// instances; it need not be secret.
    pub fn new(remote: Remote, seed: u64) -> Self {
        let kid_fetches = Bucket::new(remote.unknown_kid_cooldown);
        Self {
            remote,
            keys: None,
            next_fetch: Timestamp::default(),
            in_flight: None,
            failures: 0,
            kid_fetches,
            missing_kids: Vec::new(),
            random: Random(seed),
        }
    }

    /// How the source is reached.
    pub fn remote(&self) -> &Remote {
        &self.remote
    }

    /// The keys, if there are any that may still be trusted.
    pub fn keys(&self, now: Timestamp) -> Option<&Rc<KeySet>> {
        self.keys.as_ref().filter(|keys| now < keys.until).map(|keys| &keys.set)
    }

    /// Whether a fetch should start now. The caller starts it and says so with [`Self::started`].
    pub fn due(&self, now: Timestamp) -> bool {
        match self.in_flight {
            Some(lost_at) => now >= lost_at,
            None => now >= self.next_fetch,
        }
    }

    /// A fetch was started.
    pub fn started(&mut self, now: Timestamp) {
        self.in_flight = Some(now.plus(self.remote.timeout).plus(GRACE));
    }

    /// Whether an answer is under way, or the first fetch has not started yet.
    pub fn expects_answer(&self) -> bool {
        self.in_flight.is_some() || self.next_fetch == Timestamp::default()
    }

    /// The fetch ended with a body. The new keys replace the old ones at once, whatever is missing
    /// from them: a key that is no longer listed was withdrawn.
    ///
    /// # Errors
    /// Why the body is no key set; the keys that were there stay.
    pub fn arrived(&mut self, fetched: &Fetched, now: Timestamp) -> Result<&Rc<KeySet>, FetchError> {
        let size = fetched.body.len();
        let limit = self.remote.max_bytes;
        let set = if size > limit {
            Err(FetchError::TooLarge { size, limit })
        } else {
            // Whoever can reach the endpoint can read it: no secret comes from there.
            let Remote { format, max_keys, .. } = self.remote;
            let reading = Reading { format, max_keys, symmetric: false };
            KeySet::parse(&fetched.body, reading).map_err(FetchError::Set)
        };
        match set {
            Err(error) => {
                self.failed(now);
                Err(error)
            }
            Ok(set) => {
                let life = lifetime(self.remote.cache_duration, fetched.cache_control.as_deref());
                // Ahead of the end, and not all instances at once.
                let refresh = self.random.between(life.mul_f64(0.8), life.mul_f64(0.9));
                self.in_flight = None;
                self.failures = 0;
                self.next_fetch = now.plus(refresh);
                let until = now.plus(life).plus(self.remote.stale_if_error);
                Ok(&self.keys.insert(Trusted { set: Rc::new(set), until }).set)
            }
        }
    }

    /// The fetch ended without a body that can be used. The next try comes after 1 s, 2 s, 4 s … up
    /// to a minute, give or take a fifth.
    pub fn failed(&mut self, now: Timestamp) {
        let pause = Duration::from_secs(1 << self.failures.min(6)).min(Duration::from_secs(60));
        self.failures = self.failures.saturating_add(1);
        self.in_flight = None;
        self.next_fetch = now.plus(self.random.between(pause.mul_f64(0.8), pause.mul_f64(1.2)));
    }

    /// When the next fetch starts, seen from now.
    pub fn next_fetch_in(&self, now: Timestamp) -> Duration {
        self.next_fetch.since(now)
    }

    /// A token in order but for its kid, which no key has: is it worth a fetch? Where it is, the
    /// fetch becomes due.
    pub fn unknown_kid(&mut self, kid: &str, now: Timestamp) -> UnknownKid {
        // Whoever asks before the fetch has started waits for the same one.
        if self.in_flight.is_some() || self.due(now) {
            return UnknownKid::Wait;
        }
        self.missing_kids.retain(|(_, until)| now < *until);
        if self.missing_kids.iter().any(|(missing, _)| missing == kid) || !self.kid_fetches.take(now) {
            return UnknownKid::GiveUp;
        }
        self.next_fetch = now;
        UnknownKid::Wait
    }

    /// A kid was waited for in vain; it is not fetched for again within the cooldown.
    pub fn still_missing(&mut self, kid: &str, now: Timestamp) {
        if self.missing_kids.len() >= MAX_MISSING {
            self.missing_kids.swap_remove(0);
        }
        self.missing_kids.push((kid.to_owned(), now.plus(self.remote.unknown_kid_cooldown)));
    }
}

/// `cache_duration`, lowered by `max-age` (RFC 9111 section 5.2.2.1) but not under a minute.
fn lifetime(cache_duration: Duration, cache_control: Option<&str>) -> Duration {
    let max_age = cache_control.and_then(|value| {
        value.split(',').find_map(|directive| {
            let (name, seconds) = directive.trim().split_once('=')?;
            let seconds = seconds.trim_matches('"').parse().ok()?;
            name.eq_ignore_ascii_case("max-age").then_some(Duration::from_secs(seconds))
        })
    });
    max_age.map_or(cache_duration, |age| age.max(SHORTEST_LIFE).min(cache_duration))
}

/// Three fetches at once, then one each time the cooldown has passed.
#[derive(Debug)]
struct Bucket {
    cooldown: Duration,
    /// When the bucket was last full, moved on by a cooldown for each fetch taken since.
    full_at: Timestamp,
}

impl Bucket {
    const CAPACITY: u32 = 3;

    fn new(cooldown: Duration) -> Self {
        Self { cooldown, full_at: Timestamp::default() }
    }

    fn take(&mut self, now: Timestamp) -> bool {
        let start = self.full_at.max(now);
        let after = start.plus(self.cooldown);
        if after.since(now) > self.cooldown.saturating_mul(Self::CAPACITY) {
            return false;
        }
        self.full_at = after;
        true
    }
}

/// SplitMix64: spreads retries; nothing depends on it being hard to guess.
#[derive(Debug)]
struct Random(u64);

impl Random {
    fn between(&mut self, low: Duration, high: Duration) -> Duration {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^= z >> 31;
        let share = (z >> 11) as f64 / (1u64 << 53) as f64;
        low.saturating_add(high.saturating_sub(low).mul_f64(share))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SET: &str = r#"{"keys":[{"kty":"EC","crv":"P-256","kid":"a",
        "x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
        "y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}]}"#;

    fn secs(secs: u64) -> Duration {
        Duration::from_secs(secs)
    }

    fn at(secs: u64) -> Timestamp {
        Timestamp::from_secs(1_000_000 + secs)
    }

    fn source() -> Source {
        let remote = Remote {
            scheme: "https".to_owned(),
            authority: "idp".to_owned(),
            path: "/jwks".to_owned(),
            cluster: "idp".to_owned(),
            timeout: secs(5),
            cache_duration: secs(600),
            stale_if_error: secs(3600),
            unknown_kid_cooldown: secs(30),
            max_bytes: 10_000,
            max_keys: 10,
            format: Format::Auto,
        };
        Source::new(remote, 7)
    }

    fn body(text: &str) -> Fetched {
        Fetched { body: text.as_bytes().to_vec(), cache_control: None }
    }

    #[test]
    fn keys_are_refreshed_before_they_end_and_outlive_an_outage_for_a_while() {
        let mut source = source();
        assert!(source.due(at(0)) && source.expects_answer() && source.keys(at(0)).is_none());
        source.started(at(0));
        assert!(!source.due(at(5)));
        source.arrived(&body(SET), at(1)).unwrap();
        assert!(!source.due(at(1 + 479)) && source.due(at(1 + 541)));
        for n in 0..20 {
            source.started(at(600 + n));
            source.failed(at(600 + n));
        }
        assert!(source.keys(at(4200)).is_some());
        assert!(source.keys(at(4201)).is_none());
    }

    #[test]
    fn a_bad_answer_never_replaces_good_keys() {
        let mut source = source();
        source.arrived(&body(SET), at(0)).unwrap();
        let large = " ".repeat(10_001);
        for text in ["", "<html>", "{}", r#"{"keys":[]}"#, r#"{"keys":[{"kty":"oct","k":"AA"}]}"#, &large] {
            source.started(at(600));
            assert!(source.arrived(&body(text), at(600)).is_err(), "{text}");
            assert!(source.keys(at(600)).unwrap().has_kid("a"));
        }
    }

    #[test]
    fn tries_come_ever_more_rarely_up_to_a_minute() {
        let mut source = source();
        for expected in [1, 2, 4, 8, 16, 32, 60, 60] {
            source.started(at(0));
            source.failed(at(0));
            let pause = source.next_fetch_in(at(0)).as_secs_f64() / f64::from(expected);
            assert!((0.8..=1.2).contains(&pause), "{pause} of {expected}");
        }
    }

    #[test]
    fn a_lost_answer_is_not_waited_for_for_ever() {
        let mut source = source();
        source.started(at(0));
        assert!(!source.due(at(5)));
        assert!(source.due(at(6)));
    }

    #[test]
    fn unknown_kids_cost_three_fetches_and_then_one_a_cooldown() {
        let mut source = source();
        source.arrived(&body(SET), at(0)).unwrap();
        for n in 0..10 {
            assert_eq!(source.unknown_kid(&format!("at once {n}"), at(0)), UnknownKid::Wait);
        }
        source.started(at(0));
        source.arrived(&body(SET), at(0)).unwrap();
        let mut fetches = 1;
        for n in 0..600 {
            let kid = format!("k{n}");
            let now = at(n / 10);
            if source.unknown_kid(&kid, now) == UnknownKid::Wait {
                assert!(source.due(now));
                source.started(now);
                source.arrived(&body(SET), now).unwrap();
                source.still_missing(&kid, now);
                fetches += 1;
            }
        }
        assert_eq!(fetches, 3 + 1);
    }

    #[test]
    fn a_kid_that_was_looked_for_in_vain_is_not_looked_for_again_at_once() {
        let mut source = source();
        source.arrived(&body(SET), at(0)).unwrap();
        source.still_missing("x", at(0));
        assert_eq!(source.unknown_kid("x", at(29)), UnknownKid::GiveUp);
        assert_eq!(source.unknown_kid("x", at(30)), UnknownKid::Wait);
    }

    #[test]
    fn the_answer_may_shorten_the_life_of_keys_but_not_under_a_minute() {
        for (cache_duration, header, expected) in [
            (600, None, 600),
            (600, Some("public, max-age=300"), 300),
            (600, Some("Max-Age=\"120\", must-revalidate"), 120),
            (600, Some("max-age=15"), 60),
            (600, Some("max-age=0"), 60),
            (600, Some("no-store"), 600),
            (600, Some("max-age=86400"), 600),
            (600, Some("max-age=x"), 600),
            (30, Some("max-age=5"), 30),
        ] {
            assert_eq!(lifetime(secs(cache_duration), header), secs(expected), "{header:?}");
        }
    }
}
