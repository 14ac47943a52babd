//! A status list as a fetched document.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use super::status::{StatusError, StatusList};
use super::status_source::{StatusSource, Verify};
use crate::fetch::{
    Age, Around, Copy, Document, Endpoint, FetchError, Fetched, Held, HttpRequest, HttpResponse, Next,
    Restored,
};
use crate::time::Timestamp;
use crate::token::ProviderId;

/// The media type of a list (section 5.1 of the draft).
const ACCEPT: &str = "application/statuslist+jwt";
/// The longest pause between two tries that fail.
const MAX_PAUSE: Duration = Duration::from_secs(30);

const OLDER: &str = "its \"iat\" is before that of the list at hand";

/// One status list.
#[derive(Debug)]
pub(super) struct StatusDocument {
    pub(super) source: Rc<StatusSource>,
    /// Whose keys verify it.
    pub(super) provider: ProviderId,
    pub(super) uri: String,
    pub(super) endpoint: Endpoint,
}

impl StatusDocument {
    fn verify(&self, body: &[u8], verify: Verify<'_>) -> Result<Arc<StatusList>, StatusError> {
        verify(self.provider, &self.uri, body, self.source.max_list_bytes).map(Arc::new)
    }
}

/// Whether a list was issued before the one at hand: it would undo what was revoked since. Of two of the same `iat` the
/// one that comes later counts, for a list may be signed anew within a second.
fn is_older(list: &StatusList, held: Option<&Held<Arc<StatusList>>>) -> bool {
    held.is_some_and(|held| list.issued < held.value.issued)
}

impl Document for StatusDocument {
    type Value = Arc<StatusList>;
    type Step = ();
    type Restoring = ();
    type Trust<'t> = Verify<'t>;

    fn patience(&self) -> Duration {
        self.source.timeout
    }

    fn max_pause(&self) -> Duration {
        MAX_PAUSE
    }

    fn due_at(&self, held: &Held<Self::Value>) -> Timestamp {
        let due = held.copy.fetched_at.plus(self.source.life(held.value.ttl));
        held.value.expires.map_or(due, |expires| due.min(expires))
    }

    fn fresh_until(&self, held: &Held<Self::Value>) -> Timestamp {
        self.usable_until(held)
    }

    fn usable_until(&self, held: &Held<Self::Value>) -> Timestamp {
        let stale = held.copy.fetched_at.plus(self.source.max_staleness);
        held.value.expires.map_or(stale, |expires| stale.min(expires))
    }

    fn first(&self) {}

    fn request(&self, (): &()) -> HttpRequest {
        HttpRequest::get(self.endpoint.clone(), ACCEPT, &self.source.headers, self.source.max_bytes)
    }

    fn is_conditional(&self, (): &()) -> bool {
        true
    }

    fn read(
        &self,
        (): (),
        response: HttpResponse,
        around: &Around<'_, '_, Self>,
    ) -> Result<Next<Self>, FetchError> {
        let HttpResponse { etag, body, .. } = response;
        let verified = self.verify(&body, around.trust);
        let value = verified.map_err(|error| FetchError::Unusable(error.to_string()))?;
        if is_older(&value, around.held) {
            return Err(FetchError::Unusable(OLDER.to_owned()));
        }
        around.parts.keep_whole(|| Arc::clone(&value));
        Ok(Next::Done(Fetched { value, body, at: around.now, max_age: None, etag, last_modified: None }))
    }

    fn begin(&self, _: &Copy, _: Option<()>) -> Option<()> {
        Some(())
    }

    fn restore(&self, copy: &Copy, (): &mut (), around: &Around<'_, '_, Self>) -> Restored<Self::Value> {
        let unusable = |why: &str| Restored::Unusable(format!("a shared status list is not used: {why}"));
        match self.verify(&copy.body, around.trust) {
            Ok(list) if is_older(&list, around.held) => unusable(OLDER),
            // Each verifies it, by its own keys; memory it takes once for the process.
            Ok(list) => {
                Restored::Whole(around.parts.kept_whole().filter(|kept| *kept == list).unwrap_or(list))
            }
            // The keys are on their way here too.
            Err(StatusError::NoKeys) => Restored::NotYet,
            Err(error) => unusable(&error.to_string()),
        }
    }

    fn is_same(&self, before: &Held<Self::Value>, after: &Held<Self::Value>) -> bool {
        before.value == after.value
    }

    fn describe(
        &self,
        _: Option<&Self::Value>,
        _: &Self::Value,
    ) -> impl Iterator<Item = (log::Level, String)> {
        std::iter::empty()
    }

    fn failure(&self, error: &FetchError, _: bool) -> String {
        format!("fetching failed: {error}")
    }

    fn aged(&self, _: Age, _: Duration) -> Option<(log::Level, String)> {
        None
    }
}
