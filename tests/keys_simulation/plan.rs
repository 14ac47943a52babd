//! What a run is like: drawn from its seed.

use std::time::Duration;

use serde_json::{Value, json};

use crate::chance::Chance;

/// Something that is broken on purpose, to see that the run notices.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Sabotage {
    None,
    /// One instance sees the store as it was when it first had keys.
    LooksAway,
    /// The gates have another `stale_if_error` than they should.
    TrustsTooLong,
    /// Each instance has a store of its own.
    SharesNothing,
    /// Now and then a request that should wake is left waiting.
    WakesNotAll,
    /// A good answer with several keys reaches the gate without one of them.
    ForgetsKeys,
    /// After a few failures no query is sent any more.
    GivesUp,
}

pub(crate) const ISSUER: &str = "https://idp.example";
pub(crate) const AUDIENCE: &str = "orders";
/// When every run begins, in seconds since 1970.
pub(crate) const START: u64 = 1_800_000_000;
pub(crate) const HOUR: Duration = Duration::from_secs(3600);

#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan {
    /// Workers and the main thread.
    pub(crate) instances: usize,
    pub(crate) discovery: bool,
    pub(crate) cache_duration: Duration,
    pub(crate) stale_if_error: Duration,
    pub(crate) cooldown: Duration,
    pub(crate) timeout: Duration,
    /// How late the tick of an instance with nothing to do may come.
    pub(crate) idle_tick: Duration,
    /// How often a request comes, on average.
    pub(crate) request_every: Duration,
    /// How long the provider stays as it is, on average.
    pub(crate) mood_lasts: Duration,
    /// How long its keys stay as they are, on average.
    pub(crate) keys_last: Duration,
    /// Whether others write nonsense into the store.
    pub(crate) vandals: bool,
}

impl Plan {
    pub(crate) fn draw(chance: &mut Chance) -> Self {
        let secs = Duration::from_secs;
        Self {
            instances: 2 + chance.below(4),
            discovery: chance.once_in(3),
            cache_duration: secs(chance.pick(&[20, 60, 90, 300, 300, 600, 600])),
            stale_if_error: secs(chance.pick(&[0, 30, 300, 3600])),
            cooldown: secs(chance.pick(&[2, 10, 30, 120])),
            timeout: Duration::from_millis(chance.pick(&[200, 1000, 5000, 20_000])),
            idle_tick: Duration::from_millis(chance.pick(&[200, 1000, 1000, 1000, 2500, 2500, 5000, 5000])),
            request_every: Duration::from_millis(chance.pick(&[1500, 4000, 10_000])),
            mood_lasts: secs(chance.pick(&[5, 60, 400])),
            keys_last: secs(chance.pick(&[20, 200, 200, 900])),
            vandals: chance.once_in(5),
        }
    }

    /// How long a request may wait.
    pub(crate) fn patience(&self) -> Duration {
        if self.discovery { self.timeout * 2 } else { self.timeout }
    }

    /// How long keys are fresh that came with this `max-age`.
    pub(crate) fn life(&self, max_age: Option<u64>) -> Duration {
        let asked = max_age.map_or(self.cache_duration, |age| Duration::from_secs(age.max(60)));
        asked.min(self.cache_duration)
    }

    /// The longest pause between two tries, a lease whose holder has died, and everybody looking up twice.
    pub(crate) fn recovery(&self) -> Duration {
        Duration::from_secs(72 + 1 + 2) + self.patience() * 2 + self.idle_tick * 3
    }

    /// The configuration of every gate.
    pub(crate) fn config(&self, sabotage: Sabotage) -> String {
        let text = |span: Duration| format!("{}s", span.as_secs_f64());
        let stale = match sabotage {
            Sabotage::TrustsTooLong => self.stale_if_error * 2 + Duration::from_secs(60),
            _ => self.stale_if_error,
        };
        let path = if self.discovery { "/.well-known/openid-configuration" } else { "/jwks" };
        let uri = format!("{ISSUER}{path}");
        let source: Value = json!({
            "http_uri": { "uri": uri, "cluster": "idp", "timeout": text(self.timeout) },
            "cache_duration": text(self.cache_duration),
            "stale_if_error": text(stale),
            "unknown_kid_cooldown": text(self.cooldown),
            "max_bytes": 4096,
        });
        let mut provider = json!({ "issuer": ISSUER, "audiences": [AUDIENCE] });
        provider[if self.discovery { "discovery" } else { "remote_jwks" }] = source;
        json!({
            "providers": { "corp": provider },
            "rules": [{ "match": { "prefix": "/" }, "requires": { "provider_name": "corp" } }],
        })
        .to_string()
    }
}
