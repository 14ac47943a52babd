//! Asks a transmitter for its events (RFC 8936), and acknowledges each once it is on the disk.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use http::header::RETRY_AFTER;
use portcullis::{Endpoint, Json, JsonNumber, Timestamp, parse_json};
use serde_json::json;
use tokio::sync::watch;

use crate::client::{Answer, Ask};
use crate::config::{Authorization, Poll};
use crate::event::Way;
use crate::intake::{NotTaken, Receiver, Taken};
use crate::routes::MAX_BODY;

/// How many events are asked for at a time.
const MAX_EVENTS: usize = 50;
/// The largest answer with events, in bytes.
pub const MAX_ANSWER: usize = 4 << 20;
/// The largest answer with a token.
const MAX_TOKEN_ANSWER: usize = 64 * 1024;
/// The longest pause after failures, and the longest that a transmitter may ask for.
const MAX_PAUSE: Duration = Duration::from_secs(60);
const MAX_ASKED_PAUSE: Duration = Duration::from_secs(300);
/// How long before its end a token is renewed.
const AHEAD: Duration = Duration::from_secs(10);

const POLLS: &str = "portcullis_receive_polls_total";

/// What a poll led to.
enum Polled {
    /// Nothing is left, as far as it says.
    Empty,
    /// There may be more, and what was taken is to be acknowledged.
    More,
    /// The token that was sent is good no more.
    Unauthorized,
    /// It did not work; why, and for how long to wait where the transmitter says.
    Failed(String, Option<Duration>),
}

/// A transmitter that is polled.
pub(crate) struct Poller {
    receiver: Rc<Receiver>,
    at: usize,
    /// What the next request acknowledges, and what it reports as wrong.
    acknowledged: Vec<String>,
    errors: BTreeMap<String, (&'static str, String)>,
    /// A token of the authorization server, and until when it is used.
    token: Option<(String, Option<Timestamp>)>,
}

impl Poller {
    pub(crate) fn new(receiver: Rc<Receiver>, at: usize) -> Self {
        Self { receiver, at, acknowledged: Vec::new(), errors: BTreeMap::new(), token: None }
    }

    /// Polls until `stop` says so. What was begun is finished, so that nothing is acknowledged that is not kept.
    pub(crate) async fn run(mut self, mut stop: watch::Receiver<bool>) {
        let receiver = Rc::clone(&self.receiver);
        let Some(poll) = receiver.config.polls.get(self.at) else { return };
        let (mut failures, mut renewed) = (0u32, false);
        loop {
            let polled = self.once(poll).await;
            let outcome = match &polled {
                Polled::Empty | Polled::More => "ok",
                Polled::Unauthorized => "unauthorized",
                Polled::Failed(..) => "failed",
            };
            self.receiver.metrics.count(POLLS, &[("endpoint", &poll.name), ("outcome", outcome)]);
            let pause = match polled {
                Polled::Empty | Polled::More => {
                    (failures, renewed) = (0, false);
                    if matches!(polled, Polled::More) { Duration::ZERO } else { poll.interval }
                }
                // Once a new token is tried at once; after that it is not the token.
                Polled::Unauthorized if self.forget_token() && !renewed => {
                    renewed = true;
                    Duration::ZERO
                }
                Polled::Unauthorized => self.failed(poll, &mut failures, "status 401", None),
                Polled::Failed(why, asked) => self.failed(poll, &mut failures, &why, asked),
            };
            tokio::select! {
                () = tokio::time::sleep(pause), if !*stop.borrow() => {}
                _ = stop.wait_for(|stop| *stop) => {
                    // What was taken is acknowledged now rather than taken again.
                    if !self.acknowledged.is_empty() {
                        let _ = self.ask(poll, 0).await;
                    }
                    return;
                }
            }
        }
    }

    fn failed(&self, poll: &Poll, failures: &mut u32, why: &str, asked: Option<Duration>) -> Duration {
        let doubled = Duration::from_secs(1).saturating_mul(1u32.checked_shl(*failures).unwrap_or(u32::MAX));
        *failures = failures.saturating_add(1).min(10);
        let pause = doubled.min(MAX_PAUSE).max(asked.unwrap_or_default().min(MAX_ASKED_PAUSE));
        // Those that failed together do not come back together.
        let spread = f64::from(self.receiver.clock.now().as_nanos() as u32) / f64::from(u32::MAX);
        let pause = pause.mul_f64(1.0 + spread / 4.0);
        let members = [
            ("endpoint", poll.name.as_str().into()),
            ("why", why.into()),
            ("again_in", pause.as_secs_f64().into()),
        ];
        crate::log::warn("a poll failed", &members);
        pause
    }

    /// Whether there was one that can be had anew.
    fn forget_token(&mut self) -> bool {
        self.token.take().is_some()
    }

    async fn once(&mut self, poll: &Poll) -> Polled {
        let answer = match self.ask(poll, MAX_EVENTS).await {
            Ok(answer) => answer,
            Err(why) => return Polled::Failed(why, None),
        };
        match answer.status {
            200 => {}
            401 => return Polled::Unauthorized,
            status => return Polled::Failed(format!("status {status}"), retry_after(&answer)),
        }
        // It has what the request reported.
        self.acknowledged.clear();
        self.errors.clear();
        let Ok(Json::Object(answer)) = parse_json(&answer.body) else {
            return Polled::Failed("the answer is no JSON object".to_owned(), None);
        };
        let Some(sets) = answer.get("sets").and_then(Json::as_object) else {
            return Polled::Failed("the answer has no object \"sets\"".to_owned(), None);
        };
        let mut is_progress = false;
        for (jti, token) in sets.iter() {
            match self.take(poll, jti, token).await {
                Ok(is_new) => is_progress |= is_new,
                Err(why) => return Polled::Failed(why, None),
            }
        }
        // A transmitter that hands out the same again and again is not asked without pause.
        match is_progress {
            true => Polled::More,
            false => Polled::Empty,
        }
    }

    /// Whether it is new here.
    async fn take(&mut self, poll: &Poll, jti: &str, token: &Json) -> Result<bool, String> {
        let token = token.as_str().filter(|token| token.len() <= MAX_BODY);
        let Some(token) = token else {
            let why = format!("is no text of at most {MAX_BODY} bytes");
            self.errors.insert(jti.to_owned(), ("invalid_request", why));
            return Ok(false);
        };
        match self.receiver.take(token.as_bytes(), Way::Poll, poll.issuer.as_deref()).await {
            // One that comes again was kept, and not acknowledged: it is now.
            Ok(taken) => {
                self.acknowledged.push(jti.to_owned());
                Ok(taken == Taken::New)
            }
            Err(NotTaken::Refused(refusal)) => {
                self.errors.insert(jti.to_owned(), (refusal.code, refusal.text));
                Ok(false)
            }
            // It is neither acknowledged nor refused: it comes again.
            Err(NotTaken::Unavailable(_)) => Err("an event cannot be taken now".to_owned()),
        }
    }

    async fn ask(&mut self, poll: &Poll, max_events: usize) -> Result<Answer, String> {
        let errors: serde_json::Map<String, serde_json::Value> = self
            .errors
            .iter()
            .map(|(jti, (code, text))| (jti.clone(), json!({ "err": code, "description": text })))
            .collect();
        let mut body =
            json!({ "maxEvents": max_events, "returnImmediately": true, "ack": self.acknowledged });
        if !errors.is_empty() {
            body["setErrs"] = errors.into();
        }
        let mut headers = vec![
            ("content-type".to_owned(), "application/json".to_owned()),
            ("accept".to_owned(), "application/json".to_owned()),
        ];
        if !self.errors.is_empty() {
            headers.push(("content-language".to_owned(), "en".to_owned()));
        }
        let token = self.bearer(poll).await?;
        headers.extend(token.map(|token| ("authorization".to_owned(), format!("Bearer {token}"))));
        let body = body.to_string().into_bytes();
        post(&self.receiver, &poll.endpoint, headers, body, MAX_ANSWER, poll.timeout).await
    }

    async fn bearer(&mut self, poll: &Poll) -> Result<Option<String>, String> {
        let (token_endpoint, id, secret, scope) = match &poll.authorization {
            Authorization::Nothing => return Ok(None),
            Authorization::Token(token) => return Ok(Some(token.clone())),
            Authorization::ClientCredentials { token_endpoint, client_id, client_secret, scope } => {
                (token_endpoint, client_id, client_secret, scope)
            }
        };
        let now = self.receiver.clock.now();
        if let Some((token, until)) = &self.token
            && until.is_none_or(|until| now < until)
        {
            return Ok(Some(token.clone()));
        }
        let mut form = form_urlencoded::Serializer::new(String::new());
        form.append_pair("grant_type", "client_credentials");
        if let Some(scope) = scope {
            form.append_pair("scope", scope);
        }
        let headers = vec![
            ("content-type".to_owned(), "application/x-www-form-urlencoded".to_owned()),
            ("accept".to_owned(), "application/json".to_owned()),
            ("authorization".to_owned(), basic(id, secret)),
        ];
        let body = form.finish().into_bytes();
        let answer =
            post(&self.receiver, token_endpoint, headers, body, MAX_TOKEN_ANSWER, poll.timeout).await;
        let answer = answer.map_err(|why| format!("the token endpoint: {why}"))?;
        if answer.status != 200 {
            return Err(format!("the token endpoint: status {}", answer.status));
        }
        let Ok(Json::Object(answer)) = parse_json(&answer.body) else {
            return Err("the token endpoint: the answer is no JSON object".to_owned());
        };
        let is_good = |token: &&str| !token.is_empty() && token.bytes().all(|byte| byte.is_ascii_graphic());
        let token = answer.get("access_token").and_then(Json::as_str).filter(is_good);
        let Some(token) = token else {
            return Err("the token endpoint: the answer has no \"access_token\"".to_owned());
        };
        let life = match answer.get("expires_in") {
            Some(Json::Number(JsonNumber::Unsigned(seconds))) => Some(Duration::from_secs(*seconds)),
            _ => None,
        };
        // A short one is used for at least half of its life.
        let until = life.map(|life| now.plus(life.saturating_sub(AHEAD).max(life / 2)));
        self.token = Some((token.to_owned(), until));
        Ok(Some(token.to_owned()))
    }
}

/// RFC 6749 section 2.3.1.
fn basic(id: &str, secret: &str) -> String {
    let encoded = |text: &str| form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>();
    let pair = format!("{}:{}", encoded(id), encoded(secret));
    format!("Basic {}", base64::Engine::encode(&base64::prelude::BASE64_STANDARD, pair))
}

fn retry_after(answer: &Answer) -> Option<Duration> {
    let seconds = answer.headers.get(RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds))
}

async fn post(
    receiver: &Receiver,
    uri: &str,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
    max_bytes: usize,
    timeout: Duration,
) -> Result<Answer, String> {
    let (scheme, authority, path) = Endpoint::split(uri).ok_or("the URI cannot be asked")?;
    let method = http::Method::POST;
    let ask = Ask {
        method,
        scheme: &scheme,
        authority: &authority,
        path: &path,
        headers,
        body,
        max_bytes,
        timeout,
    };
    receiver.client.ask(ask).await
}
