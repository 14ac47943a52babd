//! A revoked token stops working, on every worker of a real Envoy and in time, and nobody else is harmed.

use crate::common;

use std::time::{Duration, Instant};

use common::{SOON, assert_problem, assert_sound, config, corp, local_provider, retry_after, with};
use harness::idp::now;
use harness::{
    Behaviour, Cluster, Connection, Documents, Envoy, Idp, Request, Response, Upstream, Wasm, eventually,
};
use portcullis::{
    RevocationDraft as Draft, RevocationIndex as Index, RevocationKey as Key, RevocationKind as Kind,
    Timestamp,
};
use serde_json::{Value, json};

/// How often the lists are asked for.
const INTERVAL: Duration = Duration::from_secs(1);
/// Within the interval and one second more a revocation acts; what the machine adds is not the filter's.
const PROMISED: Duration = Duration::from_secs(2);

/// Two workers, a list that is polled every second, and connections to both workers.
struct Stage {
    idp: Idp,
    upstream: Upstream,
    /// Serves the list in place of keys.
    lists: Idp,
    envoy: Envoy,
    connections: Vec<Connection>,
}

fn document(list: &Value) -> Option<Vec<u8>> {
    Some(list.to_string().into_bytes())
}

fn nothing() -> Value {
    json!({ "version": 1, "entries": [] })
}

impl Stage {
    /// With a list that every worker has.
    fn start(more: Value) -> Self {
        let mut stage = Self::start_polling(|_| {}, more);
        let token = stage.idp.token(json!({ "jti": "first" }));
        stage.until(&token, "there", |response| response.status == 200);
        stage
    }

    /// With a source that cannot be reached.
    fn start_without_list(more: Value) -> Self {
        Self::start_polling(Idp::go_away, more)
    }

    fn start_polling(prepare: impl FnOnce(&Idp), more: Value) -> Self {
        Self::start_with(prepare, |lists| {
            let uri = json!({ "uri": lists.jwks_uri(), "cluster": "lists", "timeout": "1s" });
            json!({ "lists": [with(json!({ "http_uri": uri, "poll_interval": "1s", "name": "ours" }), more)] })
        })
    }

    fn start_with(prepare: impl FnOnce(&Idp), revocation: impl FnOnce(&Idp) -> Value) -> Self {
        let (idp, upstream, lists) = (common::idp(), Upstream::start(), common::idp());
        lists.publish(document(&nothing()));
        prepare(&lists);
        let rules = json!([
            { "match": { "prefix": "/glass" }, "requires": corp(), "revocation": "ignore" },
            { "match": { "prefix": "/" }, "requires": corp() },
        ]);
        let config = with(config(local_provider(&idp), rules), json!({ "revocation": revocation(&lists) }));
        let envoy = Envoy::builder()
            .upstream(&upstream)
            .idp("lists", &lists)
            .concurrency(2)
            .filter(Wasm::portcullis(config))
            .start()
            .unwrap_or_else(|error| panic!("{error}"));
        let mut stage = Self { idp, upstream, lists, envoy, connections: Vec::new() };
        stage.connect();
        stage
    }

    /// Opens connections until both workers have some: the kernel spreads them as it likes.
    fn connect(&mut self) {
        eventually("connections to both workers", SOON, || {
            let addr = self.envoy.addr();
            self.connections.push(Connection::open(addr).expect("a connection"));
            self.connections.push(Connection::open(addr).expect("a connection"));
            let counts = self.envoy.stats_matching(r"listener\..*\.worker_\d\.downstream_cx_active");
            let busy = counts.iter().filter(|(name, count)| !name.contains("admin") && **count > 0).count();
            (busy >= 2).then_some(())
        });
    }

    /// What each connection, and so each worker, answers.
    fn all(&mut self, path: &str, token: &str) -> Vec<Response> {
        let deadline = Instant::now() + SOON;
        let request = Request::get(path).bearer(token);
        for connection in &mut self.connections {
            connection.write(&request).expect("a request is sent");
        }
        let read = |connection: &mut Connection| connection.read(false, deadline).expect("an answer");
        self.connections.iter_mut().map(read).collect()
    }

    #[track_caller]
    fn passes(&mut self, token: &str) {
        for response in self.all("/orders", token) {
            assert_eq!(response.status, 200, "{}", response.text());
        }
    }

    #[track_caller]
    fn is_refused(&mut self, token: &str, status: u16, reason: &str) {
        for response in self.all("/orders", token) {
            assert_problem("refused", &response, status, reason);
        }
    }

    /// Waits until every worker refuses the token; how long that took.
    #[track_caller]
    fn until_refused(&mut self, token: &str, reason: &str) -> Duration {
        self.until(token, reason, |response| response.status != 200)
    }

    #[track_caller]
    fn until(&mut self, token: &str, what: &str, holds: impl Fn(&Response) -> bool) -> Duration {
        let start = Instant::now();
        while !self.all("/orders", token).iter().all(&holds) {
            assert!(start.elapsed() < SOON, "still not {what}");
            std::thread::sleep(Duration::from_millis(20));
        }
        start.elapsed()
    }
}

#[test]
fn each_kind_of_entry_and_cut_off_acts_on_both_workers_in_time_and_on_no_other_token() {
    let mut stage = Stage::start(json!({}));
    let issuer = stage.idp.issuer().to_owned();
    let until = now() + 600;
    let entry = |name: &str| json!({ "version": 1, "entries": [{ "issuer": issuer, name: "mallory-1", "until": until }] });
    let cutoff = |more: Value| json!({ "version": 1, "cutoffs": [with(json!({ "issued_before": now() - 50, "until": until }), more)] });
    let old = json!({ "iat": now() - 100 });
    let cases = [
        ("jti", entry("jti"), json!({ "jti": "mallory-1" })),
        ("sid", entry("sid"), json!({ "sid": "mallory-1" })),
        ("sub", entry("sub"), json!({ "sub": "mallory-1" })),
        ("client_id", entry("client_id"), json!({ "client_id": "mallory-1" })),
        (
            "a subject's old tokens",
            cutoff(json!({ "issuer": issuer, "sub": "mallory-2" })),
            with(old.clone(), json!({ "sub": "mallory-2" })),
        ),
        (
            "a client's old tokens",
            cutoff(json!({ "issuer": issuer, "client_id": "c" })),
            with(old.clone(), json!({ "azp": "c" })),
        ),
        ("an issuer's old tokens", cutoff(json!({ "issuer": issuer })), old.clone()),
        ("all old tokens", cutoff(json!({ "everyone": true })), old),
    ];
    let bystander = stage.idp.token(json!({ "jti": "bystander" }));
    for (name, list, claims) in cases {
        let token = stage.idp.token(claims);
        stage.passes(&token);
        stage.lists.publish(document(&list));
        let took = stage.until_refused(&token, name);
        eprintln!(
            "{name}: refused by both workers after {took:?} (promised: {PROMISED:?}, interval {INTERVAL:?})"
        );
        stage.is_refused(&token, 401, "revoked");
        stage.passes(&bystander);
        assert!(stage.all("/glass", &token).iter().all(|response| response.status == 200), "{name}");
        stage.lists.publish(document(&nothing()));
        stage.until(&token, "let in again", |response| response.status == 200);
    }
    let line = stage.envoy.access_log().into_iter().find(|line| line["details"] == "portcullis_revoked");
    assert!(line.is_some(), "the access log says why");
    assert_sound(&stage.envoy);
}

/// What an entry lasts past its `until`: the default of `clock_skew_seconds`.
const SKEW: i64 = 60;

#[test]
fn an_entry_that_ends_lets_a_token_pass_that_is_still_valid() {
    let mut stage = Stage::start(json!({}));
    let token = stage.idp.token(json!({ "jti": "paused" }));
    let list = json!({ "version": 1, "entries": [{ "issuer": stage.idp.issuer(), "jti": "paused", "until": now() + 6 - SKEW }] });
    stage.lists.publish(document(&list));
    stage.until_refused(&token, "paused");
    stage.is_refused(&token, 401, "revoked");
    let fetches = stage.lists.fetches();
    stage.until(&token, "let in again", |response| response.status == 200);
    assert!(
        stage.lists.not_modified() > 0 && stage.lists.fetches() > fetches,
        "the list was the same all the time"
    );
    assert_sound(&stage.envoy);
}

#[test]
fn no_kind_of_broken_source_lets_a_revoked_token_in_or_a_good_one_out_while_the_list_is_fresh() {
    let mut stage = Stage::start(json!({ "max_bytes": 100_000 }));
    let issuer = stage.idp.issuer().to_owned();
    let list = json!({ "version": 1, "entries": [{ "issuer": issuer, "jti": "out", "until": now() + 600 }] });
    let (good, bad) = (stage.idp.token(json!({ "jti": "in" })), stage.idp.token(json!({ "jti": "out" })));
    stage.lists.publish(document(&list));
    stage.until_refused(&bad, "revoked");
    for (name, behaviour) in [
        ("an error", Behaviour::Status(500)),
        ("nothing there", Behaviour::Status(404)),
        ("a redirect", Behaviour::Redirect("http://127.0.0.1:1/".to_owned())),
        ("a web page", Behaviour::Html),
        ("half a document", Behaviour::Truncated),
        ("a reset", Behaviour::Reset),
        ("another document", Behaviour::json("{}")),
        ("more than max_bytes", Behaviour::Huge(200_000)),
        ("100 MB", Behaviour::Huge(100 << 20)),
        ("no answer", Behaviour::Hang),
        ("slow", Behaviour::Delay(Duration::from_millis(700))),
    ] {
        stage.lists.behave(behaviour);
        let before = stage.lists.fetches();
        stage.lists.wait_for_fetches(before + 2, SOON);
        stage.passes(&good);
        stage.is_refused(&bad, 401, "revoked");
        eprintln!("{name}: as before");
    }
    stage.lists.go_away();
    std::thread::sleep(INTERVAL * 2);
    stage.passes(&good);
    stage.is_refused(&bad, 401, "revoked");
    stage.lists.come_back();
    stage.lists.behave(Behaviour::Well);
    stage.lists.publish(document(&nothing()));
    stage.until(&bad, "healed", |response| response.status == 200);
    assert!(stage.envoy.memory() < 400 << 20, "{} MB", stage.envoy.memory() >> 20);
    assert_sound(&stage.envoy);
}

#[test]
fn a_source_that_is_gone_at_the_start_lets_nobody_in_and_heals() {
    let mut stage = Stage::start_without_list(json!({}));
    let token = stage.idp.token(json!({}));
    for response in stage.all("/orders", &token) {
        assert_problem("no list", &response, 503, "revocation_unavailable");
        assert!((1..=120).contains(&retry_after(&response)));
        assert_eq!(common::challenge(&response), None, "no token could be any better");
    }
    stage.is_refused("x.y.z", 401, "token_malformed");
    assert_eq!(stage.upstream.count(), 0);
    stage.lists.come_back();
    stage.until(&token, "let in", |response| response.status == 200);
    assert_sound(&stage.envoy);
}

#[test]
fn a_list_that_grows_too_old_is_not_trusted_any_more() {
    let mut stage = Stage::start(json!({ "max_staleness": "3s" }));
    let token = stage.idp.token(json!({}));
    stage.passes(&token);
    stage.lists.go_away();
    stage.until_refused(&token, "too old");
    stage.is_refused(&token, 503, "revocation_unavailable");
    stage.envoy.wait_for_log("too long to trust it", SOON);
    stage.lists.come_back();
    stage.until(&token, "let in again", |response| response.status == 200);
    assert_sound(&stage.envoy);
}

#[test]
fn on_unavailable_allow_lets_tokens_in_and_the_log_and_the_metrics_say_so() {
    let mut stage = Stage::start_without_list(json!({ "on_unavailable": "allow" }));
    let token = stage.idp.token(json!({}));
    stage.passes(&token);
    let count = stage.connections.len() as u64;
    stage.envoy.wait_for_log("passed unchecked", SOON);
    let name = "wasmcustom.portcullis.revocation_unchecked.provider.corp";
    common::wait_for_count(&stage.envoy, name, SOON, &Request::get("/orders"), |all| all == count);
    assert_sound(&stage.envoy);
}

#[test]
fn under_load_a_revocation_acts_and_no_other_request_fails() {
    let mut stage = Stage::start(json!({}));
    let addr = stage.envoy.addr();
    let good = stage.idp.token(json!({ "jti": "in" }));
    let bad = stage.idp.token(json!({ "jti": "out" }));
    let list = json!({ "version": 1, "entries": [{ "issuer": stage.idp.issuer(), "jti": "out", "until": now() + 600 }] });
    let stop = std::sync::atomic::AtomicBool::new(false);
    let (served, took) = std::thread::scope(|scope| {
        let load: Vec<_> = (0..2)
            .map(|_| {
                scope.spawn(|| {
                    let mut served = 0;
                    while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                        for response in harness::burst(addr, 50, |_| Request::get("/orders").bearer(&good)) {
                            assert_eq!(response.status, 200, "{}", response.text());
                            served += 1;
                        }
                    }
                    served
                })
            })
            .collect();
        stage.passes(&bad);
        stage.lists.publish(document(&list));
        let took = stage.until_refused(&bad, "revoked");
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
        (load.into_iter().map(|load| load.join().expect("the load")).sum::<usize>(), took)
    });
    eprintln!("revoked after {took:?} while {served} requests of another token were served");
    assert!(served > 0);
    assert_sound(&stage.envoy);
}

#[test]
fn a_list_in_pages_reaches_both_workers_and_a_change_costs_the_pages_that_it_is_on() {
    let (idp, upstream, documents) = (common::idp(), Upstream::start(), Documents::start());
    let pages = serve_pages(&documents, idp.issuer(), 60_000);
    let uri = json!({ "uri": documents.uri("/index.json"), "cluster": "lists", "timeout": "20s" });
    let revocation = json!({ "lists": [{ "http_uri": uri, "poll_interval": "1s" }] });
    let rules = json!([{ "match": { "prefix": "/" }, "requires": corp() }]);
    let config = with(config(local_provider(&idp), rules), json!({ "revocation": revocation }));
    let envoy = Envoy::builder()
        .upstream(&upstream)
        .cluster("lists", Cluster::new(documents.addr()))
        .concurrency(2)
        .filter(Wasm::portcullis(config))
        .start()
        .unwrap_or_else(|error| panic!("{error}"));
    let mut stage = Stage { idp, upstream, lists: common::idp(), envoy, connections: Vec::new() };
    stage.connect();
    let [first, fresh, other] = ["jti-0", "jti-60000", "x"].map(|jti| stage.idp.token(json!({ "jti": jti })));
    stage.until_refused(&first, "revoked");
    stage.is_refused(&first, 401, "revoked");
    stage.passes(&other);
    stage.passes(&fresh);
    let before = documents.fetches();
    assert!(before > pages, "{before} fetches of {pages} pages");
    let start = Instant::now();
    serve_pages(&documents, stage.idp.issuer(), 60_001);
    let took = stage.until_refused(&fresh, "revoked");
    stage.passes(&other);
    let polls = start.elapsed().as_secs() as usize + 2;
    let fetched = documents.fetches() - before;
    assert!(fetched <= polls + 1, "{fetched} fetches in {polls} polls for one page that changed");
    eprintln!("a new entry among 60,000 in pages: refused by both workers after {took:?}");
    assert_sound(&stage.envoy);
}

#[test]
fn a_status_list_revokes_its_tokens_on_both_workers() {
    let signed = |idp: &Idp, uri: &str, bytes: &[u8]| {
        let claims = json!({ "sub": uri, "iat": now(), "exp": now() + 600, "ttl": 5,
            "status_list": { "bits": 1, "lst": harness::idp::b64(common::zlib(bytes)) } });
        let key = idp.signing_key();
        let header = json!({ "alg": key.alg().name(), "kid": key.kid(), "typ": "statuslist+jwt" });
        key.sign_jws(&header, claims.to_string().as_bytes()).into_bytes()
    };
    let mut stage = Stage::start_with(
        |lists| lists.publish(None),
        |lists| json!({ "status_lists": [{ "uri_prefix": format!("{}/", lists.url()), "cluster": "lists", "timeout": "20s", "max_ttl": "5s" }] }),
    );
    let uri = stage.lists.jwks_uri();
    let status = |at: u64| json!({ "status": { "status_list": { "idx": at, "uri": uri } } });
    let (ours, other) = (stage.idp.token(status(9)), stage.idp.token(status(8)));
    stage.lists.publish(Some(signed(&stage.idp, &uri, &[0, 0])));
    assert_eq!(stage.lists.fetches(), 0, "nothing is fetched before a token names it");
    stage.is_refused(&harness::idp::flip_bit(&ours), 401, "token_rejected");
    assert_eq!(stage.lists.fetches(), 0, "nor for a token that is bad");
    stage.passes(&ours);
    stage.passes(&other);
    assert_eq!(stage.lists.fetches(), 1, "one fetch for the proxy");
    stage.lists.publish(Some(signed(&stage.idp, &uri, &[0, 0b10])));
    let took = stage.until_refused(&ours, "revoked");
    eprintln!("revoked after {took:?}; the ttl is 5 s");
    stage.is_refused(&ours, 401, "revoked");
    stage.passes(&other);
    let elsewhere =
        json!({ "status": { "status_list": { "idx": 0, "uri": "http://elsewhere.example/list" } } });
    let elsewhere = stage.idp.token(elsewhere);
    stage.is_refused(&elsewhere, 401, "token_rejected");
    assert_sound(&stage.envoy);
}

/// Serves a list of so many tokens in pages; how many pages there are.
fn serve_pages(documents: &Documents, issuer: &str, count: usize) -> usize {
    let mut draft = Draft::default();
    for number in 0..count {
        draft.entry(Key::new(Kind::Token, issuer, &format!("jti-{number}")), None);
    }
    let list = draft.finish(1024, Timestamp::from_secs(0));
    for page in list.pages() {
        documents.put(&Index::page_path("/index.json", page.digest()), page.bytes().to_vec());
    }
    documents.put("/index.json", list.index().to_json());
    list.pages().len()
}
