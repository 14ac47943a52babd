//! The one way in: a token is read, its signature checked, and what it says kept, before anybody is answered.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;

use crate::client::Client;
use crate::clock::Clock;
use crate::config::Config;
use crate::event::{self, Refusal, Way};
use crate::keys::{KeySource, Unverified};
use crate::list::Lists;
use crate::metrics::Metrics;
use crate::store::{Store, Stored};

/// All that requests and polls share.
pub(crate) struct Receiver {
    pub(crate) config: Config,
    pub(crate) keys: Vec<KeySource>,
    pub(crate) clock: Clock,
    pub(crate) store: Store,
    pub(crate) lists: Lists,
    pub(crate) client: Rc<Client>,
    pub(crate) metrics: Rc<Metrics>,
    /// How many events may go on without their requests.
    pub(crate) apart: Arc<Semaphore>,
}

/// What became of a token that is believed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Taken {
    /// It is kept.
    New,
    /// It was kept before.
    Before,
}

/// Why a token is not taken.
#[derive(Debug)]
pub(crate) enum NotTaken {
    /// It is wrong.
    Refused(Refusal),
    /// It may be good, and cannot be taken now; perhaps after this time.
    Unavailable(Duration),
}

/// When to come again while the database cannot be written.
const BROKEN: Duration = Duration::from_secs(5);
/// When to come again while there is no room.
const FULL: Duration = Duration::from_secs(60);

const EVENTS: &str = "portcullis_receive_events_total";

impl Receiver {
    /// Takes a token that a request brought, and goes on where its sender no longer waits for the answer: most providers send
    /// an event once.
    ///
    /// # Errors
    /// [`NotTaken`]: nothing of it was kept.
    pub(crate) async fn take_apart(self: &Rc<Self>, token: Vec<u8>, way: Way) -> Result<Taken, NotTaken> {
        let Ok(permit) = Arc::clone(&self.apart).try_acquire_owned() else {
            return self.take(&token, way, None).await;
        };
        let own = Rc::clone(self);
        let task = tokio::task::spawn_local(async move {
            let _permit = permit;
            own.take(&token, way, None).await
        });
        task.await.unwrap_or(Err(NotTaken::Unavailable(BROKEN)))
    }

    /// Takes a token.
    ///
    /// # Errors
    /// [`NotTaken`]: nothing of it was kept.
    pub(crate) async fn take(&self, token: &[u8], way: Way, from: Option<&str>) -> Result<Taken, NotTaken> {
        let path = match way {
            Way::Logout => "backchannel_logout",
            Way::Push => "push",
            Way::Poll => "poll",
        };
        let (issuer, kind, outcome) = self.taken(token, way, from).await;
        let word = match &outcome {
            Ok(Taken::New) => "taken",
            Ok(Taken::Before) => "before",
            Err(NotTaken::Refused(_)) => "refused",
            Err(NotTaken::Unavailable(_)) => "unavailable",
        };
        let labels = [("way", path), ("kind", kind), ("outcome", word)];
        self.metrics.count(EVENTS, &labels);
        let issuer = issuer.and_then(|at| self.config.issuers.get(at)).map(|own| own.issuer.as_str());
        let mut members = vec![
            ("way", path.into()),
            ("kind", kind.into()),
            ("outcome", word.into()),
            ("issuer", issuer.into()),
        ];
        match &outcome {
            Ok(_) => crate::log::info("event", &members),
            Err(NotTaken::Refused(refusal)) => {
                members.push(("error", refusal.code.into()));
                members.push(("why", refusal.text.as_str().into()));
                crate::log::warn("event", &members);
            }
            Err(NotTaken::Unavailable(_)) => crate::log::error("event", &members),
        }
        outcome
    }

    async fn taken(
        &self,
        token: &[u8],
        way: Way,
        from: Option<&str>,
    ) -> (Option<usize>, &'static str, Result<Taken, NotTaken>) {
        let Config { issuers, keep, .. } = &self.config;
        let event = match event::read(token, way, issuers, *keep, self.clock.now()) {
            Ok(event) => event,
            Err(refusal) => return (None, "unread", Err(NotTaken::Refused(refusal))),
        };
        let done = |outcome| (Some(event.issuer), event.kind, outcome);
        if let (Some(from), Some(issuer)) = (from, issuers.get(event.issuer))
            && from != issuer.issuer
        {
            let refusal =
                Refusal::new("invalid_issuer", "is of another issuer than the \"issuer\" of its poll");
            return done(Err(NotTaken::Refused(refusal)));
        }
        let Some(keys) = self.keys.get(event.issuer) else { return done(Err(NotTaken::Unavailable(BROKEN))) };
        match keys.check(&event.jws).await {
            Ok(()) => {}
            Err(Unverified::Refused(refusal)) => return done(Err(NotTaken::Refused(refusal))),
            Err(Unverified::Unavailable(after)) => return done(Err(NotTaken::Unavailable(after))),
        }
        let stored = self.store.keep(Some((event.seen, event.good_until)), event.entries.clone()).await;
        done(match stored {
            Ok(Stored::New) => Ok(Taken::New),
            Ok(Stored::Before) => Ok(Taken::Before),
            Ok(Stored::Full) => Err(NotTaken::Unavailable(FULL)),
            Err(_) => Err(NotTaken::Unavailable(BROKEN)),
        })
    }
}
