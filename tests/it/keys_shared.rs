//! What one instance of a proxy fetched, another knows when it is asked: natively, two gates over one store.

use std::rc::Rc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use harness::idp::{Alg, Key, TokenBuilder, jwks};
use portcullis::{
    Config, Effect, Environment, Gate, HttpResponse, InMemoryStore, Outcome, Request, StreamId, Timestamp,
    Waited,
};
use serde_json::{Value, json};

const ISSUER: &str = "https://idp.example/";

fn gate(store: &Rc<InMemoryStore>, random: u64, now: Timestamp) -> Gate {
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
    Gate::new(
        config,
        Environment { store: Rc::<InMemoryStore>::clone(store), ..Environment::alone(random) },
        now,
    )
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
        Outcome::Answer(_) => panic!("no resource is configured"),
        Outcome::Wait => "wait",
        Outcome::Deny(refusal) => refusal.response.reason.as_str(),
    }
}

/// Ticks; where the gate fetches, these keys are the answer. Gives what was fetched and who was woken.
fn tick(gate: &mut Gate, keys: &[&Key], now: Timestamp) -> (usize, usize) {
    let (mut fetches, mut woken) = (0, 0);
    gate.tick(now);
    while let Some(effect) = gate.next_effect() {
        match effect {
            Effect::Fetch { lookup, .. } => {
                fetches += 1;
                let body = jwks(keys.iter().copied()).to_string().into_bytes();
                gate.fetched(lookup, Ok(HttpResponse { status: 200, body, ..HttpResponse::default() }), now);
            }
            Effect::Wake(..) => woken += 1,
            Effect::Close(_) | Effect::Log(..) => {}
        }
    }
    (fetches, woken)
}

#[test]
fn a_key_that_another_worker_has_fetched_is_waited_for_though_no_fetch_is_left() {
    let (old, new) = (Key::cached(Alg::ES256, "old"), Key::cached(Alg::ES256, "new"));
    let mut now = wall_clock();
    let store = Rc::<InMemoryStore>::default();
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

/// A set of `count` keys of which the one at `at` is ours, with these members on top; `null` takes one away.
fn set_with(count: usize, at: usize, own: &Key, more: &Value) -> Vec<Value> {
    let mut members: Vec<Value> =
        (0..count).map(|n| Key::cached(Alg::ES256, &format!("other-{n}")).public_jwk()).collect();
    members[at] = own.public_jwk();
    for member in &mut members {
        for (name, value) in more.as_object().expect("members") {
            member[name] = value.clone();
            if value.is_null() {
                member.as_object_mut().expect("a key").remove(name);
            }
        }
    }
    members
}

/// What becomes of a token under this set, remote and local, where so many keys are tried; and what the log says.
fn said_of(token: &str, members: &[Value], tried: Option<usize>) -> (String, String) {
    let now = wall_clock();
    let set = json!({ "keys": members }).to_string();
    let mut said = Vec::new();
    for local in [false, true] {
        let mut keys = match local {
            true => json!({ "inline_string": set }),
            false => json!({ "http_uri": { "uri": "https://idp.example/jwks", "cluster": "idp" } }),
        };
        if let Some(tried) = tried {
            keys["keys_tried_without_kid"] = json!(tried);
        }
        let source = if local { "local_jwks" } else { "remote_jwks" };
        let config = json!({
            "providers": { "corp": { "issuer": ISSUER, "audiences": ["orders"], source: keys } },
            "rules": [{ "match": { "prefix": "/" }, "requires": { "provider_name": "corp" } }],
        });
        let config = Config::parse(config.to_string().as_bytes(), &|_| None).expect("a sound configuration");
        let warnings = config.warnings.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n");
        let mut gate = Gate::new(config, Environment::alone(1), now);
        let mut log = String::new();
        gate.tick(now);
        while let Some(effect) = gate.next_effect() {
            match effect {
                Effect::Fetch { lookup, .. } => {
                    let answer = HttpResponse {
                        status: 200,
                        body: set.clone().into_bytes(),
                        ..HttpResponse::default()
                    };
                    gate.fetched(lookup, Ok(answer), now);
                }
                Effect::Log(level, text) => log.push_str(&format!("{level} {text}\n")),
                _ => {}
            }
        }
        let mut outcome = asked(&mut gate, token, now);
        if outcome == "wait" {
            // A kid that no key has is looked for first; then the keys without one are tried.
            while gate.next_effect().is_some() {}
            gate.tick(now);
            while let Some(effect) = gate.next_effect() {
                match effect {
                    Effect::Fetch { lookup, .. } => {
                        let answer = HttpResponse {
                            status: 200,
                            body: set.clone().into_bytes(),
                            ..HttpResponse::default()
                        };
                        gate.fetched(lookup, Ok(answer), now);
                    }
                    Effect::Wake(stream, waited) => outcome = resumed(&mut gate, stream, waited, token, now),
                    _ => {}
                }
            }
        }
        said.push((outcome.to_owned(), if local { warnings } else { log }));
    }
    let [(remote, log), (local, warnings)] = said.try_into().expect("two");
    assert_eq!(remote, local, "remote and local keys");
    let warns = |text: &str| text.contains("\"keys_tried_without_kid\"");
    assert_eq!(warns(&log), warns(&warnings), "{log} and {warnings}");
    (remote, log)
}

fn resumed(gate: &mut Gate, stream: StreamId, waited: Waited, token: &str, now: Timestamp) -> &'static str {
    let bearer = format!("Bearer {token}");
    let fields = [(":method", "GET"), (":path", "/"), ("authorization", &bearer)];
    let fields: Vec<_> = fields.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes())).collect();
    match gate.resume(stream, waited, &Request::new(&fields), now) {
        Outcome::Allow(_) => "allow",
        Outcome::Answer(_) => panic!("no resource is configured"),
        Outcome::Wait => "wait",
        Outcome::Deny(refusal) => refusal.response.reason.as_str(),
    }
}

#[test]
fn a_token_that_names_no_key_is_tried_against_the_first_few_that_fit_and_no_others() {
    let own = Key::cached(Alg::ES256, "our-own");
    let token = |kid: Option<&str>| {
        let token = TokenBuilder::new(&own, ISSUER, "orders").expires_in(3600);
        match kid {
            None => token.without_header("kid").sign(),
            Some(kid) => token.kid(kid).sign(),
        }
    };
    let without = json!({ "kid": null });
    let mut forms = 0;
    for tried in [None, Some(1), Some(2), Some(4), Some(5), Some(32)] {
        let limit = tried.unwrap_or(4);
        for at in [0, limit - 1, limit, limit + 3] {
            for (what, kid, more) in [
                ("keys and token without a kid", None, without.clone()),
                ("a kid that no key has, keys without one", Some("unknown"), without.clone()),
                ("named keys, a token without a kid", None, json!({})),
                ("alg left out", None, json!({ "kid": null, "alg": null })),
            ] {
                let members = set_with(limit + 4, at, &own, &more);
                let (said, log) = said_of(&token(kid), &members, tried);
                let expected = if at < limit { "allow" } else { "signature_invalid" };
                assert_eq!(said, expected, "{what}: {tried:?}, key {at}");
                let warned = log.contains("WARN") && log.contains("\"keys_tried_without_kid\"");
                assert_eq!(warned, more.get("kid").is_some(), "{what}: {log}");
                forms += 1;
            }
        }
    }
    assert_eq!(forms, 96);
}

#[test]
fn keys_that_cannot_have_signed_a_token_take_nothing_from_those_that_are_tried() {
    let own = Key::cached(Alg::ES256, "our-own");
    let token = TokenBuilder::new(&own, ISSUER, "orders").expires_in(3600).without_header("kid").sign();
    let nameless = |key: &Key, more: Value| {
        let mut member = key.public_jwk();
        member.as_object_mut().expect("a key").remove("kid");
        for (name, value) in more.as_object().expect("members") {
            member[name] = value.clone();
        }
        member
    };
    let other = Key::cached(Alg::ES256, "other-0");
    let beside = [
        ("another kind", nameless(&Key::cached(Alg::RS256, "rsa"), json!({}))),
        ("another kind", nameless(&Key::cached(Alg::EdDSA, "ed"), json!({}))),
        ("another curve", nameless(&Key::cached(Alg::ES384, "p384"), json!({}))),
        ("for encryption", nameless(&other, json!({ "use": "enc" }))),
        ("another algorithm", nameless(&other, json!({ "alg": "ES384" }))),
        ("not for verifying", nameless(&other, json!({ "key_ops": ["deriveKey"] }))),
    ];
    for (what, member) in beside {
        for tried in [1, 4] {
            let mut members = vec![member.clone(); 6];
            members.extend(
                (1..tried).map(|n| nameless(&Key::cached(Alg::ES256, &format!("other-{n}")), json!({}))),
            );
            members.push(nameless(&own, json!({})));
            assert_eq!(said_of(&token, &members, Some(tried)).0, "allow", "{what}, {tried}");
            // One more that fits, and it is one too many.
            let at = members.len() - 1;
            members.insert(at, nameless(&other, json!({})));
            assert_eq!(said_of(&token, &members, Some(tried)).0, "signature_invalid", "{what}, {tried}");
        }
    }
    // Keys of one name are bounded too.
    let named = TokenBuilder::new(&own, ISSUER, "orders").expires_in(3600).kid("one").sign();
    for (at, expected) in [(0, "allow"), (31, "allow"), (32, "signature_invalid"), (40, "signature_invalid")]
    {
        let members = set_with(41, at, &own, &json!({ "kid": "one" }));
        assert_eq!(said_of(&named, &members, Some(1)).0, expected, "{at}");
    }
}

#[test]
fn how_many_keys_are_tried_is_a_whole_number_from_1_to_32() {
    let set = json!({ "keys": [Key::cached(Alg::ES256, "our-own").public_jwk()] }).to_string();
    for (value, holds) in [
        (json!(1), true),
        (json!(32), true),
        (json!(0), false),
        (json!(33), false),
        (json!(-1), false),
        (json!(1.5), false),
        (json!(true), false),
        (json!([4]), false),
    ] {
        let uri = json!({ "uri": "https://idp.example/jwks", "cluster": "idp" });
        for keys in [
            json!({ "local_jwks": { "inline_string": set } }),
            json!({ "remote_jwks": { "http_uri": uri } }),
            json!({ "discovery": { "http_uri": uri } }),
        ] {
            let mut provider = keys.clone();
            let (name, _) = keys.as_object().expect("a source").iter().next().expect("one");
            provider[name]["keys_tried_without_kid"] = value.clone();
            provider["issuer"] = json!(ISSUER);
            let config = json!({ "providers": { "corp": provider }, "rules": [] });
            let read = Config::parse(config.to_string().as_bytes(), &|_| None);
            assert_eq!(read.is_ok(), holds, "{name}: {value}");
        }
    }
}
