//! A provider's key set as a fetched document: what is asked, how an answer is read, how long keys serve.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use super::budget::Budgets;
use super::discovery::jwks_endpoint;
use super::form::Format;
use super::kids::{Kids, Name};
use super::remote::{Origin, Remote, UNBOUND};
use super::set::{KeySet, Reading, SetError};
use crate::fetch::{
    Age, Around, Copy, Document, Endpoint, FetchError, Fetched, Held, HttpRequest, HttpResponse, Next,
    Restored, SharedSlot, State, Store, max_age,
};
use crate::time::Timestamp;

/// The media types of key sets (RFC 7517 section 8.5) and metadata documents.
const ACCEPT: &str = "application/jwk-set+json, application/json";
/// The shortest lifetime that an answer can ask for.
const MIN_LIFE: Duration = Duration::from_secs(60);
/// How often a source without keys is asked while requests need them and it fails.
const NEEDED_PAUSE: Duration = Duration::from_secs(5);

/// The keys of a provider.
#[derive(Debug)]
pub(super) struct KeyDocument {
    pub(super) remote: Remote,
    pub(super) kids: Kids,
    pub(super) budgets: Budgets,
    /// A request asks for keys, and there are none.
    pub(super) needed: bool,
    /// A kid was seen that was removed from the set: should it come back, that is noticed within a minute.
    pub(super) retired_seen: bool,
    /// Where in the last part of their life keys are refreshed: 0.8 to 0.9.
    refresh_at: f64,
}

/// What one instance read, for the others.
#[derive(Debug)]
struct KeysAsRead {
    body: Vec<u8>,
    reading: (Reading, usize),
    set: Arc<KeySet>,
}

/// What is asked.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Step {
    /// The metadata document
    Metadata(Endpoint),
    /// The key set
    Keys(Endpoint),
}

impl KeyDocument {
    /// The keys of a source. `refresh_at` says where in their life they are refreshed.
    pub(super) fn new(remote: Remote, refresh_at: f64) -> Self {
        Self {
            kids: Kids::default(),
            budgets: Budgets::new(remote.unknown_kid_cooldown),
            needed: false,
            retired_seen: false,
            refresh_at,
            remote,
        }
    }

    fn life(&self, held: &Held<Arc<KeySet>>) -> Duration {
        let asked = [held.copy.max_age, held.value.refresh_hint()].into_iter().flatten().min();
        lifetime(self.remote.cache_duration, asked)
    }

    fn parse(&self, body: &[u8]) -> Result<KeySet, SetError> {
        let (reading, tried) = self.reading();
        KeySet::parse(body, reading).map(|set| set.trying_without_kid(tried))
    }

    /// How the keys are read, and how many are tried for a token that names none.
    fn reading(&self) -> (Reading, usize) {
        // All that reach the endpoint can read it: no secret comes from there.
        let Remote { format, max_keys, tried_without_kid, .. } = self.remote;
        (Reading { format, max_keys, symmetric: false }, tried_without_kid)
    }

    /// The keys as another instance of this process read them from the same text in the same way.
    fn kept(&self, body: &[u8], around: &Around<'_, '_, Self>) -> Option<Arc<KeySet>> {
        let kept = around.parts.kept_whole::<KeysAsRead>()?;
        (kept.reading == self.reading() && kept.body == body).then(|| Arc::clone(&kept.set))
    }

    fn keep(&self, body: &[u8], set: &Arc<KeySet>, around: &Around<'_, '_, Self>) {
        let as_read = || KeysAsRead { body: body.to_vec(), reading: self.reading(), set: Arc::clone(set) };
        around.parts.keep_whole(|| Arc::new(as_read()));
    }

    /// Reads an answer. How large it may be depends on what it is.
    fn fetched(&self, body: &[u8]) -> Result<KeySet, FetchError> {
        let set = self.parse(body);
        let is_bundle = match &set {
            Ok(set) => set.is_bundle(),
            Err(error) => matches!(error, SetError::NoTokenKeys { .. }),
        };
        let (size, limit) = (body.len(), self.remote.max_bytes);
        if size > limit && !is_bundle {
            return Err(FetchError::TooLarge { size, limit });
        }
        set.map_err(|error| FetchError::Unusable(error.to_string()))
    }

    fn jwks_endpoint(&self, body: &[u8]) -> Result<Endpoint, FetchError> {
        let Origin::Discovery { document, issuers, elsewhere } = &self.remote.origin else {
            return Err(FetchError::NoAnswer);
        };
        jwks_endpoint(body, document, issuers, elsewhere.as_ref())
            .map_err(|error| FetchError::Unusable(error.to_string()))
    }
}

impl Document for KeyDocument {
    type Value = Arc<KeySet>;
    type Step = Step;
    type Restoring = ();
    type Trust<'t> = ();

    fn patience(&self) -> Duration {
        match &self.remote.origin {
            Origin::Jwks(jwks) => jwks.timeout,
            Origin::Discovery { document, .. } => document.timeout,
        }
    }

    fn max_pause(&self) -> Duration {
        self.remote.max_pause
    }

    fn not_before(&self, state: &State, is_usable: bool) -> Timestamp {
        let not_before = if self.needed && !is_usable {
            state.started.plus(NEEDED_PAUSE).min(state.not_before)
        } else {
            state.not_before
        };
        not_before.max(state.hold_until)
    }

    fn clamped(&self, state: State, now: Timestamp) -> State {
        self.budgets.clamped(state, now)
    }

    fn due_at(&self, held: &Held<Self::Value>) -> Timestamp {
        let life = self.life(held).mul_f64(self.refresh_at);
        held.copy.fetched_at.plus(if self.retired_seen { life.min(MIN_LIFE) } else { life })
    }

    fn fresh_until(&self, held: &Held<Self::Value>) -> Timestamp {
        held.copy.fetched_at.plus(self.life(held))
    }

    fn usable_until(&self, held: &Held<Self::Value>) -> Timestamp {
        self.fresh_until(held).plus(self.remote.stale_if_error)
    }

    fn first(&self) -> Step {
        match &self.remote.origin {
            Origin::Jwks(jwks) => Step::Keys(jwks.clone()),
            Origin::Discovery { document, .. } => Step::Metadata(document.clone()),
        }
    }

    fn request(&self, step: &Step) -> HttpRequest {
        let (endpoint, max_bytes) = match step {
            Step::Metadata(endpoint) => (endpoint, self.remote.max_bytes),
            Step::Keys(endpoint) => (endpoint, self.remote.max_answer_bytes()),
        };
        HttpRequest::get(endpoint.clone(), ACCEPT, &self.remote.headers, max_bytes)
    }

    fn is_conditional(&self, step: &Step) -> bool {
        matches!(step, Step::Keys(_))
    }

    fn read(
        &self,
        step: Step,
        response: HttpResponse,
        around: &Around<'_, '_, Self>,
    ) -> Result<Next<Self>, FetchError> {
        if let Step::Metadata(_) = step {
            return self.jwks_endpoint(&response.body).map(|endpoint| Next::Ask(Step::Keys(endpoint)));
        }
        let set = Arc::new(self.fetched(&response.body)?);
        self.keep(&response.body, &set, around);
        let max_age = max_age(&response);
        let HttpResponse { etag, last_modified, body, .. } = response;
        Ok(Next::Done(Fetched { value: set, body, at: around.now, max_age, etag, last_modified }))
    }

    fn begin(&self, _: &Copy, _: Option<()>) -> Option<()> {
        Some(())
    }

    fn restore(&self, copy: &Copy, (): &mut (), around: &Around<'_, '_, Self>) -> Restored<Self::Value> {
        if let Some(set) = self.kept(&copy.body, around) {
            return Restored::Whole(set);
        }
        match self.parse(&copy.body).map(Arc::new) {
            Ok(set) => {
                self.keep(&copy.body, &set, around);
                Restored::Whole(set)
            }
            Err(error) => Restored::Unusable(format!("shared keys are not used: {error}")),
        }
    }

    fn is_same(&self, before: &Held<Self::Value>, after: &Held<Self::Value>) -> bool {
        fingerprints(&before.value) == fingerprints(&after.value)
    }

    fn replaced(&mut self, before: Option<&Self::Value>, after: &Self::Value) {
        self.retired_seen = false;
        let kids = before.iter().flat_map(|before| before.keys()).filter_map(|key| key.kid.as_deref());
        for gone in kids.filter(|kid| !after.has_kid(kid)) {
            self.kids.retire(Name::new(gone));
        }
    }

    fn before_publishing(&mut self, slot: &SharedSlot, store: &dyn Store, now: Timestamp) {
        self.kids.exchange(slot, store, true, now);
    }

    fn describe(
        &self,
        before: Option<&Self::Value>,
        after: &Self::Value,
    ) -> impl Iterator<Item = (log::Level, String)> {
        let text = describe(before.map(|before| &**before), after);
        // A bundle that the configuration knows as one is warned of there.
        let unbound = after.is_bundle() && !self.remote.is_bound && self.remote.format == Format::Auto;
        let warnings = after.warnings().chain(unbound.then(|| UNBOUND.to_owned()));
        std::iter::once((log::Level::Info, text)).chain(warnings.map(|text| (log::Level::Warn, text)))
    }

    fn failure(&self, error: &FetchError, is_usable: bool) -> String {
        let kept = if is_usable { "the keys at hand stay in use" } else { "there are no keys" };
        format!("fetching keys failed: {error}; {kept}")
    }

    fn aged(&self, age: Age, since: Duration) -> Option<(log::Level, String)> {
        let since = since.as_secs();
        let max = self.remote.stale_if_error.as_secs();
        Some(match age {
            Age::Fresh => (log::Level::Info, "keys are fresh again".to_owned()),
            Age::Stale => (
                log::Level::Warn,
                format!(
                    "keys were last confirmed {since} s ago and are past their life; they are used for at most {max} s more"
                ),
            ),
            Age::Expired => (
                log::Level::Error,
                format!(
                    "keys were last confirmed {since} s ago, too long to trust them; their tokens are answered with 503"
                ),
            ),
        })
    }
}

/// `cache_duration`, lowered by `max-age` but not under a minute.
pub(super) fn lifetime(cache_duration: Duration, max_age: Option<u64>) -> Duration {
    max_age.map_or(cache_duration, |age| Duration::from_secs(age).max(MIN_LIFE).min(cache_duration))
}

fn fingerprints(set: &KeySet) -> BTreeSet<&[u8; 32]> {
    let mut fingerprints = BTreeSet::new();
    // Unlike `collect`, which sorts first, with a sort for this type alone in the module.
    fingerprints.extend(set.keys().iter().map(|key| &key.fingerprint));
    fingerprints
}

/// The keys in words: how many, which came and went, and which members are not used and why.
fn describe(before: Option<&KeySet>, set: &KeySet) -> String {
    let mut text = format!("{} keys", set.keys().len());
    if let Some(before) = before {
        for (word, from, to) in [("added", before, set), ("removed", set, before)] {
            let known = fingerprints(from);
            let kids: Vec<String> = to
                .keys()
                .iter()
                .filter(|key| !known.contains(&key.fingerprint))
                .take(10)
                .map(|key| shown(key.kid.as_deref().unwrap_or("(no kid)")))
                .collect();
            if !kids.is_empty() {
                text.push_str(&format!("; {word}: {}", kids.join(", ")));
            }
        }
    }
    if !set.skipped().is_empty() {
        text.push_str(&format!("; {} not used:", set.skipped().len()));
        for (at, skip) in set.skipped().iter().take(5) {
            text.push_str(&format!(" keys[{at}] {};", skip.as_str()));
        }
    }
    text
}

/// A kid in a log line: cut, and with nothing raw that could end the line.
fn shown(kid: &str) -> String {
    kid.chars().take(64).flat_map(char::escape_default).collect()
}
