//! What is counted, and under which names it is reported.
//!
//! Requests are counted here, in memory, and handed to the host with the next tick: a request costs no
//! host call for it. A name has only what the operator wrote and words of this project, never anything
//! that a client sent. Labels are in it as `.<label>.<value>`.

use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use sha2::{Digest as _, Sha256};

use crate::config::Config;
use crate::reason::Reason;
use crate::rules::RuleId;
use crate::token::ProviderId;
use crate::upstream::Decision;

/// The kind of a metric.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Kind {
    /// It grows.
    Counter,
    /// It is what it is now.
    Gauge,
    /// Single values, of which the host makes a distribution.
    Histogram,
}

/// A value for the host: what to add to a counter, to set a gauge to, or to record.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Sample {
    /// The kind.
    pub kind: Kind,
    /// The name, without what the host puts before it.
    pub name: String,
    /// The value.
    pub value: u64,
}

/// Something that happens to a provider's tokens and keys.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Event {
    /// A token was found in the cache.
    CacheHit,
    /// A token was not found in the cache, and its signature is checked.
    CacheMiss,
    /// Its keys were fetched.
    Fetched,
    /// Its keys could not be fetched.
    FetchFailed,
    /// A claim could not become a header and was left out.
    ClaimLeftOut,
    /// A token passed although it could not be known whether it was revoked.
    Unchecked,
    /// What the provider said of a token was known.
    AnswerKnown,
    /// It was not, and the provider is asked.
    AnswerUnknown,
    /// The provider said that a token is active.
    AnsweredActive,
    /// The provider said that a token is not active.
    AnsweredInactive,
    /// The provider answered, and not whether the token is active.
    AnswerUnclear,
    /// The introspection endpoint refused this gate.
    IntrospectionRefused,
    /// The introspection endpoint failed, or gave no answer.
    IntrospectionFailed,
    /// A stream was ended, for its token had expired.
    StreamExpired,
    /// A stream was ended, for its token had been revoked.
    StreamRevoked,
    /// A stream would have been ended by a rule that does not only report, for its token had expired.
    StreamWouldExpire,
    /// The same, for its token had been revoked.
    StreamWouldBeRevoked,
}

const EVENTS: [(Event, &str, &str); 17] = [
    (Event::CacheHit, "token_cache", ".result.hit"),
    (Event::CacheMiss, "token_cache", ".result.miss"),
    (Event::Fetched, "jwks_fetches", ".outcome.success"),
    (Event::FetchFailed, "jwks_fetches", ".outcome.failure"),
    (Event::ClaimLeftOut, "claims_left_out", ""),
    (Event::Unchecked, "revocation_unchecked", ""),
    (Event::AnswerKnown, "introspection_cache", ".result.hit"),
    (Event::AnswerUnknown, "introspection_cache", ".result.miss"),
    (Event::AnsweredActive, "introspection_calls", ".outcome.active"),
    (Event::AnsweredInactive, "introspection_calls", ".outcome.inactive"),
    (Event::AnswerUnclear, "introspection_calls", ".outcome.unclear"),
    (Event::IntrospectionRefused, "introspection_calls", ".outcome.refused"),
    (Event::IntrospectionFailed, "introspection_calls", ".outcome.failure"),
    (Event::StreamExpired, "streams_ended", ".reason.expired"),
    (Event::StreamRevoked, "streams_ended", ".reason.revoked"),
    (Event::StreamWouldExpire, "streams_would_end", ".reason.expired"),
    (Event::StreamWouldBeRevoked, "streams_would_end", ".reason.revoked"),
];

/// How many rules have counters of their own; all others share one.
pub const MAX_RULES: usize = 200;

/// A count. One thread adds to it, and one thread takes what came to it; each may be another one.
#[derive(Debug, Default)]
struct Counter {
    all: AtomicU64,
    taken: AtomicU64,
}

impl Counter {
    /// One more. Nobody else adds, so what is read is still so when it is written.
    fn add(&self) {
        self.all.store(self.all.load(Ordering::Relaxed).wrapping_add(1), Ordering::Relaxed);
    }

    /// How many came since the last time.
    fn take(&self) -> u64 {
        let all = self.all.load(Ordering::Relaxed);
        let taken = self.taken.load(Ordering::Relaxed);
        self.taken.store(all, Ordering::Relaxed);
        all.wrapping_sub(taken)
    }
}

/// A counter for each of `N`.
#[derive(Debug)]
struct Counters<const N: usize>([Counter; N]);

impl<const N: usize> Default for Counters<N> {
    fn default() -> Self {
        Self(std::array::from_fn(|_| Counter::default()))
    }
}

impl<const N: usize> Counters<N> {
    fn each(length: usize) -> Vec<Self> {
        (0..length).map(|_| Self::default()).collect()
    }
}

/// The decisions of one provider's requests: what passed, and by reason what was, or would have been,
/// refused.
#[derive(Debug, Default)]
struct Decisions {
    allowed: Counter,
    refused: Counters<{ Reason::ALL.len() }>,
    reported: Counters<{ Reason::ALL.len() }>,
}

/// What was counted since the last time that it was taken. It is counted by the gate alone, and can be taken from another
/// thread.
#[derive(Debug, Default)]
pub struct Metrics {
    /// The providers' names as labels; the last one is for none.
    providers: Vec<String>,
    decisions: Vec<Decisions>,
    events: Vec<Counters<{ EVENTS.len() }>>,
    /// The names of the polled revocation lists, and behind them the places of the status lists.
    lists: Vec<String>,
    /// How often each was fetched, and how often that failed.
    list_fetches: Vec<Counters<2>>,
    /// The rules' names as labels; behind the first [`MAX_RULES`] one for all others.
    rules: Vec<String>,
    by_rule: Vec<Counters<3>>,
    /// Responses of routes that ask for something else than the routes by which their requests were judged.
    route_changes: Counter,
    /// Tokens that count as failures of their clients, and clients that were blocked for these.
    client_failures: Counter,
    clients_blocked: Counter,
    /// Nanoseconds that new tokens took to verify.
    verifications: Mutex<Vec<u64>>,
}

/// How many verifications are timed between two ticks: enough to see how long they take, where each costs three calls
/// to the host.
const MAX_TIMES: usize = 64;

impl Metrics {
    /// Nothing counted yet.
    pub fn new(config: &Config) -> Self {
        let names: Vec<&str> = config.providers.iter().map(|provider| provider.name.as_str()).collect();
        let mut providers = labels(&names, "none");
        providers.push("none".to_owned());
        let rules = config.rules.iter().chain(config.requirements.values().map(|rule| &**rule));
        let names: Vec<&str> = rules.take(MAX_RULES).map(|rule| &*rule.name).collect();
        let mut rules = labels(&names, "other");
        rules.push("other".to_owned());
        let places = (0..config.revocation.status_lists.len()).map(|at| format!("status_lists[{at}]"));
        let places: Vec<String> = places.collect();
        let names = config.revocation.lists.iter().map(|list| list.name.as_str());
        let lists = labels(&names.chain(places.iter().map(String::as_str)).collect::<Vec<_>>(), "");
        Self {
            decisions: providers.iter().map(|_| Decisions::default()).collect(),
            events: Counters::each(providers.len()),
            by_rule: Counters::each(rules.len()),
            list_fetches: Counters::each(lists.len()),
            lists,
            providers,
            rules,
            route_changes: Counter::default(),
            client_failures: Counter::default(),
            clients_blocked: Counter::default(),
            verifications: Mutex::default(),
        }
    }

    /// A request was decided: why it was, or would have been, refused, by which rule, and by the token of which
    /// provider.
    pub fn decided(
        &self,
        decision: Decision,
        reason: Option<Reason>,
        rule: Option<RuleId>,
        provider: Option<ProviderId>,
    ) {
        let none = self.providers.len().saturating_sub(1);
        let provider = provider.map_or(none, |provider| provider.0);
        if let Some(decisions) = self.decisions.get(provider) {
            let reason = reason.map_or(0, |reason| reason as usize);
            let place = match decision {
                Decision::Allow => Some(&decisions.allowed),
                Decision::Deny => decisions.refused.0.get(reason),
                Decision::WouldDeny => decisions.reported.0.get(reason),
            };
            add_one(place);
        }
        if let Some(rule) = rule {
            let at = rule.0.min(self.rules.len().saturating_sub(1));
            add_one(self.by_rule.get(at).and_then(|counts| counts.0.get(decision as usize)));
        }
    }

    /// A response came from a route that asks for something else than the one by which its request was judged.
    pub fn route_changed(&self) {
        self.route_changes.add();
    }

    /// A token counted as a failure of its client, which may be blocked for that from now on.
    pub fn client_failed(&self, begins_block: bool) {
        self.client_failures.add();
        add_one(begins_block.then_some(&self.clients_blocked));
    }

    /// Something happened to a provider's tokens or keys.
    pub fn happened(&self, provider: ProviderId, event: Event) {
        let at = EVENTS.iter().position(|(own, _, _)| *own == event);
        add_one(self.events.get(provider.0).zip(at).and_then(|(counts, at)| counts.0.get(at)));
    }

    /// A revocation list was fetched, or could not be. The places of status lists follow those of the polled lists.
    pub fn list_fetched(&self, list: usize, outcome: Result<(), ()>) {
        let at = usize::from(outcome.is_err());
        add_one(self.list_fetches.get(list).and_then(|counts| counts.0.get(at)));
    }

    /// Whether the next verification is to be timed.
    pub fn wants_time(&self) -> bool {
        self.verifications.lock().is_ok_and(|times| times.len() < MAX_TIMES)
    }

    /// The verification of a new token's signature took this long.
    pub fn verified(&self, nanos: u64) {
        if let Ok(mut times) = self.verifications.lock()
            && times.len() < MAX_TIMES
        {
            times.push(nanos);
        }
    }

    /// Takes out what was counted.
    pub fn take(&self) -> Vec<Sample> {
        let mut samples = Vec::new();
        let mut counted = |count: &Counter, name: &dyn Fn() -> String| {
            let value = count.take();
            if value > 0 {
                samples.push(Sample { kind: Kind::Counter, name: name(), value });
            }
        };
        for (provider, decisions) in self.providers.iter().zip(&self.decisions) {
            let name = |decision: &str, reason: &str| {
                format!("portcullis.requests.decision.{decision}.provider.{provider}.reason.{reason}")
            };
            counted(&decisions.allowed, &|| name("allow", "none"));
            for (reason, count) in Reason::ALL.iter().zip(&decisions.refused.0) {
                counted(count, &|| name("deny", reason.as_str()));
            }
            for (reason, count) in Reason::ALL.iter().zip(&decisions.reported.0) {
                counted(count, &|| name("would_deny", reason.as_str()));
            }
        }
        for (provider, counts) in self.providers.iter().zip(&self.events) {
            for ((_, what, rest), count) in EVENTS.iter().zip(&counts.0) {
                counted(count, &|| format!("portcullis.{what}.provider.{provider}{rest}"));
            }
        }
        for (list, counts) in self.lists.iter().zip(&self.list_fetches) {
            for (outcome, count) in ["success", "failure"].iter().zip(&counts.0) {
                counted(count, &|| format!("portcullis.revocation_fetches.list.{list}.outcome.{outcome}"));
            }
        }
        for (rule, counts) in self.rules.iter().zip(&self.by_rule) {
            let decisions = [Decision::Allow, Decision::Deny, Decision::WouldDeny];
            for (decision, count) in decisions.iter().zip(&counts.0) {
                counted(count, &|| format!("portcullis.rules.rule.{rule}.decision.{}", decision.as_str()));
            }
        }
        counted(&self.route_changes, &|| "portcullis.route_changes".to_owned());
        counted(&self.client_failures, &|| "portcullis.client_failures".to_owned());
        counted(&self.clients_blocked, &|| "portcullis.clients_blocked".to_owned());
        let times =
            self.verifications.lock().map(|mut times| std::mem::take(&mut *times)).unwrap_or_default();
        let times = times.into_iter().map(|nanos| Sample {
            kind: Kind::Histogram,
            name: "portcullis.verification_microseconds".to_owned(),
            value: nanos.div_ceil(1000),
        });
        samples.extend(times);
        samples
    }

    /// A gauge of a provider.
    pub fn gauge(&self, provider: ProviderId, what: &str, value: u64) -> Sample {
        let label = self.providers.get(provider.0).map_or("none", String::as_str);
        Sample { kind: Kind::Gauge, name: format!("portcullis.{what}.provider.{label}"), value }
    }

    /// A gauge of a polled revocation list, by its place among them.
    pub fn list_gauge(&self, list: usize, what: &str, value: u64) -> Sample {
        let label = self.lists.get(list).map_or("none", String::as_str);
        Sample { kind: Kind::Gauge, name: format!("portcullis.{what}.list.{label}"), value }
    }

    /// Whether the configuration was refused and the one before serves, or none, as a gauge.
    pub fn configuration_refused(refused: bool) -> Sample {
        let name = "portcullis.configuration_refused".to_owned();
        Sample { kind: Kind::Gauge, name, value: u64::from(refused) }
    }

    /// What stands behind each name of a plugin's metrics that is told apart from others of the same proxy.
    pub fn instance_suffix(instance: &str) -> String {
        format!(".instance.{}", Self::instance_label(instance))
    }

    /// What a plugin is called in its metrics.
    pub fn instance_label(instance: &str) -> String {
        label(instance)
    }

    /// The version of this filter, as a gauge that is 1.
    pub fn version() -> Sample {
        let name = format!("portcullis.build.version.{}", label(env!("CARGO_PKG_VERSION")));
        Sample { kind: Kind::Gauge, name, value: 1 }
    }
}

fn add_one(count: Option<&Counter>) {
    if let Some(count) = count {
        count.add();
    }
}

/// A name as a label: letters, digits, `_` and `-`; dots end a label.
fn label(name: &str) -> String {
    let letter = |c: char| if c.is_ascii_alphanumeric() || c == '-' { c } else { '_' };
    name.chars().take(100).map(letter).collect()
}

/// Each name as a label of its own. Names that would share one, or have the one that is `taken`, end in a
/// part of their digest, which does not depend on the order in which they stand.
fn labels(names: &[&str], taken: &str) -> Vec<String> {
    let plain: Vec<String> = names.iter().map(|name| label(name)).collect();
    let mut uses: HashMap<&str, usize> = HashMap::from([(taken, 2)]);
    for label in &plain {
        let count = uses.entry(label).or_default();
        *count = count.saturating_add(1);
    }
    let shared = |label: &String| uses.get(label.as_str()).is_some_and(|count| *count > 1);
    let own = |(name, label): (&&str, &String)| {
        if !shared(label) || (name == label && label != taken) {
            return label.clone();
        }
        let digest = Sha256::digest(name.as_bytes());
        let digest: String = digest.iter().take(4).map(|byte| format!("{byte:02x}")).collect();
        format!("{label}-{digest}")
    };
    names.iter().zip(&plain).map(own).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONFIG: &str = r#"{"providers":{"a b.c":{"local_jwks":{"inline_string":"{\"keys\":[{\"kty\":\"EC\",\"crv\":\"P-256\",\"x\":\"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU\",\"y\":\"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0\"}]}"}}},
        "rules":[{"name":"read","match":{"prefix":"/"}}]}"#;

    fn named(samples: &[Sample]) -> Vec<(&str, u64)> {
        samples.iter().map(|sample| (sample.name.as_str(), sample.value)).collect()
    }

    #[test]
    fn what_was_decided_is_counted_once_under_names_of_the_operator() {
        let config = Config::parse(CONFIG.as_bytes(), &|_| None).unwrap();
        let metrics = Metrics::new(&config);
        let (rule, provider) = (Some(RuleId(0)), Some(ProviderId(0)));
        metrics.decided(Decision::Allow, None, rule, provider);
        metrics.decided(Decision::Allow, None, rule, provider);
        metrics.decided(Decision::Deny, Some(Reason::Expired), rule, provider);
        metrics.decided(Decision::Deny, Some(Reason::RouteUnmatched), None, None);
        metrics.happened(ProviderId(0), Event::CacheMiss);
        metrics.verified(1500);
        assert_eq!(
            named(&metrics.take()),
            [
                ("portcullis.requests.decision.allow.provider.a_b_c.reason.none", 2),
                ("portcullis.requests.decision.deny.provider.a_b_c.reason.expired", 1),
                ("portcullis.requests.decision.deny.provider.none.reason.route_unmatched", 1),
                ("portcullis.token_cache.provider.a_b_c.result.miss", 1),
                ("portcullis.rules.rule.read.decision.allow", 2),
                ("portcullis.rules.rule.read.decision.deny", 1),
                ("portcullis.verification_microseconds", 2),
            ]
        );
        assert_eq!(metrics.take(), []);
    }

    #[test]
    fn rules_beyond_the_most_share_one_counter() {
        let rules: Vec<String> =
            (0..MAX_RULES + 50).map(|at| format!(r#"{{"match":{{"path":"/{at}"}}}}"#)).collect();
        let config = format!(r#"{{"providers":{{}},"rules":[{}]}}"#, rules.join(","));
        let config = Config::parse(config.as_bytes(), &|_| None).unwrap();
        let metrics = Metrics::new(&config);
        for rule in config.rules.iter() {
            metrics.decided(Decision::Allow, None, Some(rule.id), None);
        }
        let samples = metrics.take();
        let rules: Vec<_> = samples.iter().filter(|sample| sample.name.contains(".rules.")).collect();
        assert_eq!(rules.len(), MAX_RULES + 1);
        assert!(rules.iter().any(|sample| sample.name.contains("rule.other.") && sample.value == 50));
    }

    #[test]
    fn names_that_look_alike_as_labels_are_told_apart_in_any_order() {
        let names = ["a b", "a.b", "a_b", "none", "c"];
        let shown = labels(&names, "none");
        assert_eq!((shown[2].as_str(), shown[4].as_str()), ("a_b", "c"));
        assert!(shown[0].starts_with("a_b-") && shown[1].starts_with("a_b-"), "{shown:?}");
        assert!(shown[3].starts_with("none-"), "{shown:?}");
        let distinct: std::collections::BTreeSet<&String> = shown.iter().collect();
        assert_eq!(distinct.len(), names.len(), "{shown:?}");
        let mut backwards = names;
        backwards.reverse();
        let mut other = labels(&backwards, "none");
        other.reverse();
        assert_eq!(other, shown);
        let long = ["x".repeat(200), "x".repeat(201)];
        let shown = labels(&[&long[0], &long[1]], "");
        assert_ne!(shown[0], shown[1]);
    }
}
