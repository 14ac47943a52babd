//! An identity provider that fails, in every way that it can: at the start, later, and for too long. Nobody gets in who
//! must not, everyone gets the documented answer, good keys stay in use, and all is well with the first try after it.

use crate::common;

use std::collections::BTreeMap;
use std::thread;
use std::time::Duration;

use common::{SOON, assert_problem, provider, retry_after, with};
use harness::idp::flip_bit;
use harness::{Alg, Behaviour, Endpoint, Envoy, Idp, Key, Request, Response, Upstream, Wasm, eventually};
use serde_json::{Value, json};

/// What is wrong with a provider.
#[derive(Clone)]
enum Fault {
    /// One of its endpoints.
    At(Endpoint, Behaviour),
    /// It takes no connections.
    Gone,
}

/// A way to fail, and what the log says of it.
struct Kind {
    name: &'static str,
    fault: Fault,
    cause: &'static str,
}

impl Kind {
    /// Found through its metadata document.
    fn discovered(&self) -> bool {
        matches!(self.fault, Fault::At(Endpoint::Discovery, _))
    }

    /// It never answers.
    fn silent(&self) -> bool {
        matches!(self.fault, Fault::At(_, Behaviour::Hang))
    }

    /// It answers in time: this is no failure.
    fn only_slow(&self) -> bool {
        self.cause.is_empty()
    }
}

/// `elsewhere` would serve keys, if anyone went there.
fn kinds(elsewhere: &Idp) -> Vec<Kind> {
    let document =
        |issuer: &str| Behaviour::json(json!({ "issuer": issuer, "jwks_uri": elsewhere.jwks_uri() }));
    let keys = |name, behaviour, cause| Kind { name, fault: Fault::At(Endpoint::Jwks, behaviour), cause };
    let metadata =
        |name, behaviour, cause| Kind { name, fault: Fault::At(Endpoint::Discovery, behaviour), cause };
    vec![
        keys("slow", Behaviour::Delay(Duration::from_millis(500)), ""),
        keys(
            "hung",
            Behaviour::Hang,
            "status 504 from Envoy itself and not from the endpoint (upstream request timeout)",
        ),
        Kind {
            name: "refusing",
            fault: Fault::Gone,
            cause: "status 503 from Envoy itself and not from the endpoint (upstream connect error",
        },
        keys("resetting", Behaviour::Reset, "no complete answer"),
        // What the provider itself says is no answer of Envoy's.
        keys("broken", Behaviour::Status(500), "status 500; "),
        keys("unavailable", Behaviour::Status(503), "status 503; "),
        keys("missing", Behaviour::Status(404), "status 404; "),
        // 204 has no body (RFC 9110 section 15.3.5), and this one does: Envoy cannot read it.
        keys(
            "no-http",
            Behaviour::Status(204),
            "status 502 from Envoy itself and not from the endpoint (upstream connect error",
        ),
        keys("redirecting", Behaviour::Redirect(elsewhere.jwks_uri()), "redirects are not followed"),
        keys("html", Behaviour::Html, "not a key set"),
        keys("truncated", Behaviour::Truncated, "no complete answer"),
        keys("large", Behaviour::Huge(10 << 20), "more than max_bytes"),
        keys("empty", Behaviour::json(json!({ "keys": [] })), "the key set is empty"),
        metadata(
            "other-issuer",
            document("https://idp.evil.example"),
            "names another issuer than the configuration: \"https://idp.evil.example\", and not \"http",
        ),
        metadata("no-document", Behaviour::Status(404), "status 404"),
        metadata("document-hung", Behaviour::Hang, "status 504 from Envoy itself"),
    ]
}

/// One Envoy with a provider for each kind, and a rule for each provider.
struct Matrix {
    envoy: Envoy,
    upstream: Upstream,
    kinds: Vec<(Kind, Idp)>,
    elsewhere: Idp,
}

/// A key that no other provider has, made once in a process.
fn key(name: &str, number: usize) -> Key {
    Key::cached(Alg::ES256, &format!("{name}-{number}"))
}

impl Matrix {
    /// The sources of keys have these fields; the providers are well or not.
    fn start(source: &Value, well: bool) -> Self {
        let (upstream, elsewhere) = (Upstream::start(), common::idp());
        let mut builder = Envoy::builder().upstream(&upstream).concurrency(2);
        let (mut providers, mut rules) = (json!({}), Vec::new());
        let kinds: Vec<(Kind, Idp)> = kinds(&elsewhere)
            .into_iter()
            .map(|kind| {
                let idp = Idp::builder().audience(common::AUDIENCE).keys([key(kind.name, 1)]);
                (kind, idp.start().expect("an identity provider"))
            })
            .collect();
        for (kind, idp) in &kinds {
            if !well {
                fail(kind, idp);
            }
            builder = builder.idp(kind.name, idp);
            let discovery = format!("{}/.well-known/openid-configuration", idp.url());
            let uri = if kind.discovered() { discovery } else { idp.jwks_uri() };
            // Who says nothing is given up soon; nobody else is too slow, whatever else the machine does.
            let timeout = if kind.silent() { "2s" } else { "60s" };
            let http_uri = json!({ "uri": uri, "cluster": kind.name, "timeout": timeout });
            let source = with(source.clone(), json!({ "http_uri": http_uri }));
            let mut provider = provider(idp);
            let name = if kind.discovered() { "discovery" } else { "remote_jwks" };
            provider.as_object_mut().expect("an object").remove("remote_jwks");
            providers[kind.name] = with(provider, json!({ name: source }));
            rules.push(json!({
                "match": { "path": format!("/{}", kind.name) },
                "requires": { "provider_name": kind.name },
            }));
        }
        let config = json!({ "providers": providers, "rules": rules });
        let envoy = builder.filter(Wasm::portcullis(config)).start();
        Self { envoy: envoy.unwrap_or_else(|error| panic!("{error}")), upstream, kinds, elsewhere }
    }

    fn ask(&self, kind: &Kind, token: &str) -> Response {
        Request::get(format!("/{}", kind.name)).bearer(token).send(self.envoy.addr())
    }

    /// Every kind at once; their pauses add up otherwise.
    fn each(&self, act: impl Fn(&Kind, &Idp) + Sync) {
        thread::scope(|scope| {
            for (kind, idp) in &self.kinds {
                let act = &act;
                thread::Builder::new()
                    .name(kind.name.to_owned())
                    .spawn_scoped(scope, move || act(kind, idp))
                    .expect("a thread");
            }
        });
    }

    /// Waits until this many tries of this kind have reached their end.
    fn wait_for_failures(&self, kind: &Kind, count: usize) {
        let needle = format!("provider {:?}: fetching keys failed: ", kind.name);
        let lines = || self.envoy.log().lines().filter(|line| line.contains(&needle)).count();
        eventually(&format!("{count} failures of {}", kind.name), SOON, || (lines() >= count).then_some(()));
    }

    fn finish(&self) {
        assert_eq!(self.elsewhere.fetches(), 0, "no answer sends the filter to another place");
        common::assert_sound(&self.envoy);
    }
}

fn fail(kind: &Kind, idp: &Idp) {
    match &kind.fault {
        Fault::At(endpoint, behaviour) => idp.behave_on(*endpoint, behaviour.clone()),
        Fault::Gone => idp.go_away(),
    }
}

fn heal(kind: &Kind, idp: &Idp) {
    match &kind.fault {
        Fault::At(endpoint, _) => idp.behave_on(*endpoint, Behaviour::Well),
        Fault::Gone => idp.come_back(),
    }
}

#[test]
fn a_provider_that_fails_from_the_start_gives_503_and_heals_with_the_first_try_after_it() {
    let matrix = Matrix::start(&json!({}), false);
    matrix.each(|kind, idp| {
        let good = idp.token(json!({}));
        for _ in 0..6 {
            let response = matrix.ask(kind, &good);
            if kind.only_slow() {
                assert_eq!(response.status, 200, "{}: {}", kind.name, response.text());
                let forged = matrix.ask(kind, &flip_bit(&good));
                assert_problem(kind.name, &forged, 401, "token_rejected");
            } else {
                assert_problem(kind.name, &response, 503, "keys_unavailable");
                assert!((1..=120).contains(&retry_after(&response)), "{}: {response:?}", kind.name);
                let forged = matrix.ask(kind, &flip_bit(&good));
                assert_problem(kind.name, &forged, 503, "keys_unavailable");
            }
        }
        heal(kind, idp);
        let tries = idp.fetches();
        eventually(&format!("healed after {}", kind.name), SOON, || {
            (matrix.ask(kind, &good).status == 200).then_some(())
        });
        assert!(idp.fetches() <= tries + 1, "{}: {} tries", kind.name, idp.fetches() - tries);
        for _ in 0..4 {
            assert_eq!(matrix.ask(kind, &good).status, 200, "{}: on every worker", kind.name);
            let forged = matrix.ask(kind, &flip_bit(&good));
            assert_problem(kind.name, &forged, 401, "token_rejected");
        }
    });
    let log = matrix.envoy.log();
    for (kind, _) in matrix.kinds.iter().filter(|(kind, _)| !kind.only_slow()) {
        let line = failure(&log, kind.name);
        assert!(line.contains(kind.cause), "{}: {line}", kind.name);
        assert!(line.contains("there are no keys; next try in "), "{}: {line}", kind.name);
        assert!(line.contains("[warning]"), "{}: {line}", kind.name);
    }
    matrix.finish();
}

#[test]
fn a_provider_that_fails_later_leaves_its_keys_in_use_and_heals() {
    let matrix = Matrix::start(&json!({ "cache_duration": "1s", "stale_if_error": "600s" }), true);
    matrix.each(|kind, idp| {
        let (good, fresh) = (idp.token(json!({})), idp.mint().claim("jti", "fresh"));
        assert_eq!(matrix.ask(kind, &good).status, 200, "{}", kind.name);
        fail(kind, idp);
        if kind.only_slow() {
            idp.wait_for_fetches(idp.fetches() + 2, SOON);
        } else {
            // Something to say that is not "as before"; it gets lost on the way.
            idp.set_keys([key(kind.name, 2)]);
            matrix.wait_for_failures(kind, 2);
        }
        for number in 0..6 {
            // A token that nobody has seen yet, so that a key is needed for it.
            let fresh = fresh.clone().claim("n", number).sign();
            assert_eq!(matrix.ask(kind, &fresh).status, 200, "{}", kind.name);
            let forged = matrix.ask(kind, &flip_bit(&good));
            assert_problem(kind.name, &forged, 401, "token_rejected");
        }
        if !kind.only_slow() {
            // Its key could be new, and nobody can say: it is not the token's fault.
            let early = matrix.ask(kind, &idp.token(json!({})));
            assert_problem(kind.name, &early, 503, "keys_unavailable");
            assert!((1..=72).contains(&common::retry_after(&early)), "{}: {early:?}", kind.name);
        }
        // It comes back, with other keys.
        idp.set_keys([key(kind.name, 2)]);
        heal(kind, idp);
        let next = idp.token(json!({}));
        eventually(&format!("the new key after {}", kind.name), SOON, || {
            (matrix.ask(kind, &next).status == 200).then_some(())
        });
        for _ in 0..4 {
            eventually(&format!("the old key is gone after {}", kind.name), SOON, || {
                (matrix.ask(kind, &good).status == 401).then_some(())
            });
            assert_eq!(matrix.ask(kind, &next).status, 200, "{}", kind.name);
        }
    });
    let log = matrix.envoy.log();
    for (kind, _) in matrix.kinds.iter().filter(|(kind, _)| !kind.only_slow()) {
        let line = failure(&log, kind.name);
        assert!(line.contains(kind.cause), "{}: {line}", kind.name);
        assert!(line.contains("the keys at hand stay in use; next try in "), "{}: {line}", kind.name);
        assert_logged(
            &log,
            "[warning]",
            kind.name,
            "are past their life; they are used for at most 600 s more",
        );
        let (old, new) = (key(kind.name, 1), key(kind.name, 2));
        assert_logged(
            &log,
            "[info]",
            kind.name,
            &format!("1 keys; added: {}; removed: {}", new.kid(), old.kid()),
        );
        assert_logged(&log, "[info]", kind.name, "keys are fresh again");
    }
    matrix.finish();
}

#[test]
fn a_provider_that_fails_for_too_long_gives_503_and_heals() {
    let matrix = Matrix::start(&json!({ "cache_duration": "1s", "stale_if_error": "1s" }), true);
    matrix.each(|kind, idp| {
        let good = idp.token(json!({}));
        assert_eq!(matrix.ask(kind, &good).status, 200, "{}", kind.name);
        fail(kind, idp);
        if kind.only_slow() {
            idp.wait_for_fetches(idp.fetches() + 3, SOON);
            assert_eq!(matrix.ask(kind, &good).status, 200, "{}", kind.name);
            return;
        }
        idp.set_keys([key(kind.name, 2)]);
        // Also a token whose verdict is known.
        let refused = eventually(&format!("{} ends", kind.name), SOON, || {
            Some(matrix.ask(kind, &good)).filter(|response| response.status != 200)
        });
        assert_problem(kind.name, &refused, 503, "keys_unavailable");
        assert!(retry_after(&refused) >= 1, "{}", kind.name);
        idp.set_keys([key(kind.name, 1)]);
        heal(kind, idp);
        eventually(&format!("healed after {}", kind.name), SOON, || {
            (matrix.ask(kind, &good).status == 200).then_some(())
        });
        assert_problem(kind.name, &matrix.ask(kind, &flip_bit(&good)), 401, "token_rejected");
    });
    let log = matrix.envoy.log();
    for (kind, _) in matrix.kinds.iter().filter(|(kind, _)| !kind.only_slow()) {
        assert_logged(
            &log,
            "[error]",
            kind.name,
            "too long to trust them; their tokens are answered with 503",
        );
        assert_logged(&log, "[info]", kind.name, "keys are fresh again");
    }
    assert!(matrix.upstream.count() > 0);
    matrix.finish();
}

/// The first failure of this provider in the log.
fn failure(log: &str, name: &str) -> String {
    let needle = format!("provider {name:?}: fetching keys failed: ");
    let found = log.lines().find(|line| line.contains(&needle));
    found.unwrap_or_else(|| panic!("nothing of {name} in the log:\n{log}")).to_owned()
}

/// The log says this of the provider, at this level.
#[track_caller]
fn assert_logged(log: &str, level: &str, name: &str, text: &str) {
    let needle = format!("provider {name:?}: ");
    let ours: BTreeMap<usize, &str> =
        log.lines().enumerate().filter(|(_, line)| line.contains(&needle)).collect();
    let found = ours.values().any(|line| line.contains(level) && line.contains(text));
    assert!(found, "{level} {text:?} is not in the log of {name}:\n{ours:#?}");
}
