//! Requests of which it is known what must become of them, and who keeps sending them.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crate::client::{Request, Response};
use crate::idp::flip_bit;

/// The most rounds that [`Traffic`] sends: it ends by itself, whatever becomes of the test.
const MAX_ROUNDS: usize = 2000;
/// Between two rounds.
const PAUSE: Duration = Duration::from_millis(20);

/// A request, and what must become of it.
#[derive(Clone, Debug)]
struct Case {
    name: &'static str,
    request: Request,
    status: u16,
    /// The reason that the client is told, where the status alone could come of something else.
    reason: Option<&'static str>,
    /// Judging it takes keys: without any, 503 is the right answer.
    takes_keys: bool,
}

/// What a gateway can know of the provider's keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Keys {
    /// It has some, or can get them.
    Known,
    /// It may have none, and the provider is away: whatever needs keys is refused with 503.
    Unknown,
}

/// Requests of every kind, made from tokens of one provider.
#[derive(Clone, Debug)]
pub(super) struct Cases {
    good: String,
    revoked: String,
    all: Arc<Vec<Case>>,
}

impl Cases {
    /// `good` holds `orders:read`, `poor` holds nothing, `expired` has expired, `revoked` is like `good` and on the list
    /// of revoked tokens; all four are signed by the provider.
    pub(super) fn new(good: &str, poor: &str, expired: &str, revoked: &str) -> Self {
        let orders = || Request::get("/orders/7").host("gateway.example");
        let case =
            |name, request, status, takes_keys| Case { name, request, status, reason: None, takes_keys };
        let all = vec![
            case("a public path", Request::get("/healthz").host("gateway.example"), 200, false),
            case("a good token", orders().bearer(good), 200, true),
            case("no token", orders(), 401, false),
            case("a forged token", orders().bearer(&flip_bit(good)), 401, true),
            case("a token without scopes", orders().bearer(poor), 403, true),
            case("an expired token", orders().bearer(expired), 401, true),
            case(
                "a path without a rule",
                Request::get("/admin").host("gateway.example").bearer(good),
                403,
                true,
            ),
            Case { reason: Some("revoked"), ..case("a revoked token", orders().bearer(revoked), 401, true) },
        ];
        Self { good: good.to_owned(), revoked: revoked.to_owned(), all: Arc::new(all) }
    }

    /// The token that passes.
    pub(super) fn good_token(&self) -> &str {
        &self.good
    }

    /// The token that would pass, were it not revoked.
    pub(super) fn revoked_token(&self) -> &str {
        &self.revoked
    }

    /// Sends each of them; `Err` tells of the first that came out wrong or got no answer.
    pub(super) fn judge(&self, gateway: SocketAddr, keys: Keys) -> Result<(), String> {
        for case in self.all.iter() {
            let answer = case.request.try_send(gateway).map_err(|error| format!("{}: {error}", case.name))?;
            case.check(&answer, keys)?;
        }
        Ok(())
    }
}

impl Case {
    fn check(&self, answer: &Response, keys: Keys) -> Result<(), String> {
        let told = answer.reason();
        let unavailable = answer.status == 503
            && told.as_deref() == Some("keys_unavailable")
            && answer.header("retry-after").is_some();
        let right =
            answer.status == self.status && self.reason.is_none_or(|reason| told.as_deref() == Some(reason));
        if right || (keys == Keys::Unknown && self.takes_keys && unavailable) {
            return Ok(());
        }
        let shown = |status: u16, reason: Option<&str>| match reason {
            Some(reason) => format!("{status} {reason}"),
            None => status.to_string(),
        };
        let expected = shown(self.status, self.reason);
        Err(format!("{}: expected {expected}, got {}", self.name, shown(answer.status, told.as_deref())))
    }
}

/// Sends the cases to a gateway, round after round, until it is stopped.
pub(super) struct Traffic {
    stop: Arc<AtomicBool>,
    sender: JoinHandle<Sent>,
}

/// What became of the traffic.
#[derive(Clone, Debug, Default)]
pub(super) struct Sent {
    /// Requests that got the answer that they should.
    pub(super) right: usize,
    /// Requests without an answer: the gateway was not there.
    pub(super) unanswered: usize,
    /// What got another.
    pub(super) wrong: Vec<String>,
}

impl Traffic {
    /// `gateway` answers where it is now, for that may change.
    pub(super) fn start(
        cases: &Cases,
        keys: Keys,
        gateway: impl Fn() -> Option<SocketAddr> + Send + 'static,
    ) -> Self {
        let (stop, cases) = (Arc::new(AtomicBool::new(false)), cases.clone());
        let stopped = stop.clone();
        let sender = thread::spawn(move || {
            let mut sent = Sent::default();
            for _ in 0..MAX_ROUNDS {
                if stopped.load(Ordering::Acquire) {
                    break;
                }
                for case in cases.all.iter() {
                    let request = case.request.clone().timeout(Duration::from_secs(20));
                    let answer = gateway().and_then(|gateway| request.try_send(gateway).ok());
                    match answer.map(|answer| case.check(&answer, keys)) {
                        None => sent.unanswered += 1,
                        Some(Ok(())) => sent.right += 1,
                        Some(Err(error)) => sent.wrong.push(error),
                    }
                }
                thread::sleep(PAUSE);
            }
            sent
        });
        Self { stop, sender }
    }

    /// Ends it; `Err` if an answer was wrong, or if there was none at all.
    pub(super) fn end(self, whose: &str) -> Result<Sent, String> {
        self.stop.store(true, Ordering::Release);
        let sent = self.sender.join().map_err(|_| format!("{whose}: the traffic died"))?;
        if let Some(first) = sent.wrong.first() {
            return Err(format!("{whose}: {} wrong verdicts, the first of them: {first}", sent.wrong.len()));
        }
        if sent.right == 0 {
            return Err(format!("{whose}: not one of {} requests was answered", sent.unanswered));
        }
        Ok(sent)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16, reason: &str) -> Response {
        let body = format!("{{\"reason\":\"{reason}\"}}").into_bytes();
        let headers = vec![("retry-after".to_owned(), b"1".to_vec())];
        Response { status, headers, body, ..Response::default() }
    }

    #[test]
    fn a_503_is_right_only_without_keys_and_only_where_keys_are_needed() {
        let case =
            |takes_keys| Case { name: "", request: Request::get("/"), status: 200, reason: None, takes_keys };
        let unavailable = answer(503, "keys_unavailable");
        assert!(case(true).check(&unavailable, Keys::Unknown).is_ok());
        assert!(case(true).check(&unavailable, Keys::Known).is_err());
        assert!(case(false).check(&unavailable, Keys::Unknown).is_err());
        assert!(case(true).check(&answer(503, "overloaded"), Keys::Unknown).is_err());
        assert!(case(true).check(&answer(401, "token_rejected"), Keys::Unknown).is_err());
        assert!(case(true).check(&answer(200, ""), Keys::Known).is_ok());
    }

    #[test]
    fn a_revoked_token_is_refused_for_that_and_nothing_else() {
        let cases = Cases::new("a.b.c", "a.b.c", "a.b.c", "a.b.c");
        let case = cases.all.iter().find(|case| case.name == "a revoked token").expect("the case");
        assert!(case.check(&answer(401, "revoked"), Keys::Known).is_ok());
        for (status, reason) in [(200, ""), (401, "token_rejected"), (503, "revocation_unavailable")] {
            for keys in [Keys::Known, Keys::Unknown] {
                assert!(case.check(&answer(status, reason), keys).is_err(), "{status} {reason}");
            }
        }
    }
}
