//! What one instance of a proxy fetched, another knows when it is asked: natively, two gates over one store.

use std::rc::Rc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use harness::idp::{Alg, Key, TokenBuilder, jwks};
use portcullis::config::Config;
use portcullis::gate::{Effect, Gate, Outcome, StreamId, World};
use portcullis::keys::{Alone, Answer};
use portcullis::request::Request;
use portcullis::rules::ProviderId;
use portcullis::time::Timestamp;
use serde_json::json;

const ISSUER: &str = "https://idp.example/";

fn gate(store: &Rc<Alone>, random: u64, now: Timestamp) -> Gate {
    let config = json!({
        "providers": { "corp": {
            "issuer": ISSUER,
            "audiences": ["orders"],
            "remote_jwks": {
                "http_uri": { "uri": "https://idp.example/jwks", "cluster": "idp" },
                "unknown_kid_cooldown": "3600s",
            },
        } },
        "rules": [{ "match": { "prefix": "/" }, "requires": { "provider_name": "corp" } }],
    });
    let config = Config::parse(config.to_string().as_bytes(), &|_| None).expect("a sound configuration");
    Gate::new(config, World { store: Rc::<Alone>::clone(store), ..World::alone(random) }, now)
}

/// The tokens are made for today.
fn wall_clock() -> Timestamp {
    Timestamp::from_secs(SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs())
}

/// How a request with this token goes on, by name.
fn asked(gate: &mut Gate, token: &str, now: Timestamp) -> &'static str {
    let bearer = format!("Bearer {token}");
    let fields = [(":method", "GET"), (":path", "/"), ("authorization", &bearer)];
    let fields: Vec<_> = fields.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes())).collect();
    match gate.decide(StreamId(1), &Request::new(&fields), now) {
        Outcome::Allow(_) => "allow",
        Outcome::Wait => "wait",
        Outcome::Deny(refusal) => refusal.denial.reason.as_str(),
    }
}

/// Ticks; where the gate fetches, these keys are the answer. Gives what was fetched and who was woken.
fn tick(gate: &mut Gate, keys: &[&Key], now: Timestamp) -> (usize, usize) {
    let (mut fetches, mut woken) = (0, 0);
    gate.tick(now);
    while let Some(effect) = gate.next_effect() {
        match effect {
            Effect::Fetch { .. } => {
                fetches += 1;
                let body = jwks(keys.iter().copied()).to_string().into_bytes();
                gate.answered(ProviderId(0), Ok(Answer { status: 200, body, ..Answer::default() }), now);
            }
            Effect::Wake(..) => woken += 1,
            Effect::FetchList { .. } => panic!("no list is configured"),
            Effect::Log(..) => {}
        }
    }
    (fetches, woken)
}

#[test]
fn a_key_that_another_worker_has_fetched_is_waited_for_though_no_fetch_is_left() {
    let (old, new) = (Key::cached(Alg::ES256, "old"), Key::cached(Alg::ES256, "new"));
    let mut now = wall_clock();
    let store = Rc::<Alone>::default();
    let (mut one, mut other) = (gate(&store, 1, now), gate(&store, 2, now));
    let sign = |key: &Key| TokenBuilder::new(key, ISSUER, "orders").expires_in(3600).sign();
    let fresh = sign(&new);
    assert_eq!(tick(&mut one, &[&old], now), (1, 0));
    assert_eq!(tick(&mut other, &[&old], now), (0, 0));
    assert_eq!(asked(&mut other, &sign(&old), now), "allow");

    // Made-up kids take the fetches that there are, as both know. Then the usual refresh brings a new key to one.
    for kid in ["x", "y", "z"] {
        now = now.plus(Duration::from_millis(100));
        let made_up = TokenBuilder::new(&new, ISSUER, "orders").kid(kid).sign();
        assert_eq!(asked(&mut one, &made_up, now), "wait");
        assert_eq!(tick(&mut one, &[&old], now).0, 1);
        assert_eq!(tick(&mut other, &[], now).0, 0);
    }
    assert_eq!(asked(&mut other, &fresh, now), "keys_unavailable", "it could be new");
    now = now.plus(Duration::from_secs(560));
    let fresh = sign(&new);
    assert_eq!(tick(&mut one, &[&old, &new], now).0, 1);
    assert_eq!(asked(&mut one, &fresh, now), "allow");

    // The other one has not had its tick since, and there is no fetch left; but it need not fetch.
    assert_eq!(asked(&mut other, &fresh, now), "wait");
    assert_eq!(tick(&mut other, &[], now), (0, 1));
    assert_eq!(asked(&mut other, &fresh, now), "allow");
    // What nobody has is still answered at once.
    let made_up = TokenBuilder::new(&new, ISSUER, "orders").kid("w").expires_in(3600).sign();
    assert_eq!(asked(&mut other, &made_up, now.plus(Duration::from_millis(100))), "keys_unavailable");
}
