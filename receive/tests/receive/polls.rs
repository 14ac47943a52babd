//! A transmitter is asked for its events, which are acknowledged once they are kept.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

use harness::{Idp, SOON, eventually};
use serde_json::{Value, json};

use crate::common::{Receiver, config, fresh, idp, revoked_token};

/// A stand-in: a poll endpoint (RFC 8936) and a token endpoint (RFC 6749 section 4.4).
struct Transmitter {
    addr: SocketAddr,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    pending: BTreeMap<String, String>,
    acknowledged: BTreeSet<String>,
    errors: BTreeMap<String, Value>,
    /// The bearer tokens that are good; none: any request is.
    tokens: Option<BTreeSet<String>>,
    handed_out: usize,
    expires_in: Option<u64>,
    polls: usize,
    refused: usize,
    /// How many answers from now on are a 503.
    failing: usize,
    last_authorization: String,
}

impl Transmitter {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let addr = listener.local_addr().expect("an address");
        let state = Arc::<Mutex<State>>::default();
        let shared = Arc::clone(&state);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let _ = serve(stream, &shared);
            }
        });
        Self { addr, state }
    }

    fn with<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        change(&mut self.state.lock().expect("the state"))
    }

    fn add(&self, token: &str) -> String {
        let jti = fresh("set");
        self.with(|state| state.pending.insert(jti.clone(), token.to_owned()));
        jti
    }

    /// What a receiver's configuration says of it.
    fn poll(&self, more: Value) -> Value {
        let mut poll = json!({ "endpoint": format!("http://{}/poll", self.addr), "interval": "0.1s" });
        let (Value::Object(poll_map), Value::Object(more)) = (&mut poll, more) else { panic!("objects") };
        poll_map.extend(more);
        poll
    }

    fn credentials(&self) -> Value {
        json!({ "client_credentials": {
            "token_endpoint": format!("http://{}/token", self.addr),
            "client_id": "gate keeper",
            "client_secret": { "environment_variable": "RECEIVE_SECRET" },
            "scope": "ssf.read",
        } })
    }

    #[track_caller]
    fn until(&self, what: &str, holds: impl Fn(&State) -> bool) {
        eventually(what, SOON, || self.with(|state| holds(state)).then_some(()));
    }
}

fn serve(stream: TcpStream, state: &Mutex<State>) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let path = line.split(' ').nth(1).unwrap_or_default().to_owned();
    let (mut length, mut authorization) = (0, String::new());
    loop {
        line.clear();
        if reader.read_line(&mut line)? == 0 {
            // Whoever asked was killed in the middle of it.
            return Ok(());
        }
        let Some((name, value)) = line.trim().split_once(':') else { break };
        match name.to_ascii_lowercase().as_str() {
            "content-length" => length = value.trim().parse().unwrap_or(0),
            "authorization" => authorization = value.trim().to_owned(),
            _ => {}
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    let (status, answer) = answer(&path, &authorization, &body, &mut state.lock().expect("the state"));
    let answer = answer.to_string();
    let head = format!(
        "HTTP/1.1 {status} x\r\ncontent-type: application/json\r\nconnection: close\r\ncontent-length: {}\r\n\r\n",
        answer.len()
    );
    (&stream).write_all(format!("{head}{answer}").as_bytes())
}

fn answer(path: &str, authorization: &str, body: &[u8], state: &mut State) -> (u16, Value) {
    if path == "/token" {
        state.handed_out += 1;
        state.last_authorization = authorization.to_owned();
        let text = String::from_utf8_lossy(body).into_owned();
        assert!(text.contains("grant_type=client_credentials") && text.contains("scope=ssf.read"), "{text}");
        let token = format!("handed-out-{}", state.handed_out);
        state.tokens.get_or_insert_default().insert(token.clone());
        return (
            200,
            json!({ "access_token": token, "token_type": "Bearer", "expires_in": state.expires_in }),
        );
    }
    state.polls += 1;
    let is_good = state.tokens.as_ref().is_none_or(|tokens| {
        authorization.strip_prefix("Bearer ").is_some_and(|token| tokens.contains(token))
    });
    if !is_good {
        state.refused += 1;
        return (401, json!({}));
    }
    if state.failing > 0 {
        state.failing -= 1;
        return (503, json!({}));
    }
    let asked: Value = serde_json::from_slice(body).expect("JSON");
    for jti in asked["ack"].as_array().into_iter().flatten().filter_map(Value::as_str) {
        assert!(
            state.pending.remove(jti).is_some() || state.acknowledged.contains(jti),
            "{jti} was never sent"
        );
        state.acknowledged.insert(jti.to_owned());
    }
    for (jti, error) in asked["setErrs"].as_object().into_iter().flatten() {
        state.pending.remove(jti);
        state.errors.insert(jti.clone(), error.clone());
    }
    let most = asked["maxEvents"].as_u64().and_then(|most| usize::try_from(most).ok()).unwrap_or(usize::MAX);
    let sets: serde_json::Map<String, Value> =
        state.pending.iter().take(most).map(|(jti, token)| (jti.clone(), json!(token))).collect();
    (200, json!({ "moreAvailable": state.pending.len() > sets.len(), "sets": sets }))
}

fn user(idp: &Idp, sub: &str) -> Value {
    json!({ "format": "iss_sub", "iss": idp.issuer(), "sub": sub })
}

fn with_poll(idp: &Idp, poll: Value) -> Value {
    let mut written = config(idp);
    written["ssf_poll"] = json!([poll]);
    written
}

#[test]
fn events_are_acknowledged_once_they_are_kept_and_wrong_ones_are_reported() {
    let (idp, transmitter) = (idp(), Transmitter::start());
    let good: Vec<String> = (0..120)
        .map(|at| transmitter.add(&revoked_token(&idp, user(&idp, &format!("u{at}"))).sign()))
        .collect();
    let wrong = transmitter.add("no.token.here");
    let nonce = transmitter.add(&revoked_token(&idp, user(&idp, "u")).claim("nonce", "n").sign());
    // The same again: it was kept, so it is acknowledged.
    let again = revoked_token(&idp, user(&idp, "again")).sign();
    let twice = [transmitter.add(&again), transmitter.add(&again)];
    let receiver = Receiver::start(with_poll(&idp, transmitter.poll(json!({}))));
    transmitter.until("all are settled", |state| state.pending.is_empty());
    transmitter.with(|state| {
        assert!(good.iter().chain(&twice).all(|jti| state.acknowledged.contains(jti)));
        assert_eq!(state.errors.keys().collect::<BTreeSet<_>>(), BTreeSet::from([&wrong, &nonce]));
        assert!(
            state
                .errors
                .values()
                .all(|error| error["err"] == "invalid_request" && error["description"].is_string())
        );
    });
    assert_eq!(receiver.entries().len(), 121);
}

#[test]
fn what_was_kept_and_not_acknowledged_is_acknowledged_after_a_crash() {
    let (idp, transmitter) = (idp(), Transmitter::start());
    let mut receiver = Receiver::start(with_poll(&idp, transmitter.poll(json!({}))));
    let mut kept = 0;
    for round in 0..5 {
        let jti = transmitter.add(&revoked_token(&idp, user(&idp, &format!("r{round}"))).sign());
        if round % 2 == 0 {
            eventually("it is kept", SOON, || (receiver.entries().len() > kept).then_some(()));
        }
        receiver.kill();
        receiver.begin();
        receiver.wait_ready();
        transmitter.until("it is acknowledged", |state| state.acknowledged.contains(&jti));
        kept += 1;
        assert_eq!(receiver.entries().len(), kept);
        assert!(transmitter.with(|state| state.errors.is_empty()));
    }
}

#[test]
fn a_token_of_client_credentials_is_renewed_when_it_ends_and_after_a_401() {
    let (idp, transmitter) = (idp(), Transmitter::start());
    transmitter.with(|state| state.tokens = Some(BTreeSet::new()));
    let receiver = Receiver::start(with_poll(&idp, transmitter.poll(transmitter.credentials())));
    let jti = transmitter.add(&revoked_token(&idp, user(&idp, "u1")).sign());
    transmitter.until("an event is taken", |state| state.acknowledged.contains(&jti));
    transmitter.with(|state| {
        assert_eq!((state.handed_out, state.refused), (1, 0));
        // gate+keeper:s3cret%2F%2B%26 (RFC 6749 section 2.3.1).
        assert_eq!(state.last_authorization, "Basic Z2F0ZStrZWVwZXI6czNjcmV0JTJGJTJCJTI2");
        state.tokens = Some(BTreeSet::new());
        state.expires_in = Some(1);
    });
    transmitter.until("a 401 leads to a new one", |state| state.handed_out == 2);
    transmitter.until("one that ends is renewed before it is refused", |state| state.handed_out >= 4);
    assert_eq!(transmitter.with(|state| state.refused), 1);
    let jti = transmitter.add(&revoked_token(&idp, user(&idp, "u2")).sign());
    transmitter.until("events are taken", |state| state.acknowledged.contains(&jti));
    let log = receiver.log();
    assert!(!log.contains("handed-out") && !log.contains("s3cret"), "{log}");
}

#[test]
fn a_token_that_stays_refused_is_not_asked_for_without_end() {
    let (idp, transmitter) = (idp(), Transmitter::start());
    transmitter.with(|state| state.tokens = Some(BTreeSet::from(["another".to_owned()])));
    let fixed = json!({ "token": { "environment_variable": "RECEIVE_SECRET" } });
    let _receiver = Receiver::start(with_poll(&idp, transmitter.poll(fixed)));
    transmitter.until("it is refused", |state| state.refused >= 1);
    thread::sleep(std::time::Duration::from_secs(2));
    // After 1 s, and after 2 s more; not ten times a second.
    let refused = transmitter.with(|state| state.refused);
    assert!(refused <= 3, "{refused} requests");
}

#[test]
fn a_transmitter_that_fails_is_asked_again() {
    let (idp, transmitter) = (idp(), Transmitter::start());
    transmitter.with(|state| state.failing = 1);
    let jti = transmitter.add(&revoked_token(&idp, user(&idp, "u")).sign());
    let receiver = Receiver::start(with_poll(&idp, transmitter.poll(json!({}))));
    transmitter.until("it is taken", |state| state.acknowledged.contains(&jti));
    assert!(receiver.log().contains("status 503"), "{}", receiver.log());
}
