//! Open streams end with their tokens: WebSockets, server-sent events and calls of gRPC on a real Envoy, in time, and no
//! other stream of their connection.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use harness::client::Stream;
use harness::idp::now;
use harness::{Cluster, Endless, Idp, Next, Request, Streams, eventually};
use serde_json::{Value, json};

use crate::common::{self, Gateway, SOON, assert_sound, config, corp, local_provider, with};

/// `clock_skew_seconds`, and `grace` of the rules.
const AFTER: f64 = 2.0;
/// Within a second more a stream is reset.
const PROMISED: f64 = 1.0;
/// How long Envoy leaves a connection of HTTP/1.1 open behind a reset, by its `delayed_close_timeout`.
const DELAYED_CLOSE: f64 = 1.0;
/// What a busy machine may add.
const MACHINE: f64 = 1.5;

/// A gateway to an upstream whose answers do not end, and a list of revoked tokens that is polled every second.
struct Stage {
    gateway: Gateway,
    upstream: Endless,
    lists: Idp,
}

fn rules() -> Value {
    let ends = json!({ "end_with_token": true, "grace": "1s" });
    json!([
        { "match": { "prefix": "/still" }, "requires": corp() },
        { "match": { "prefix": "/report" }, "requires": corp(), "mode": "report", "streams": ends },
        { "match": { "prefix": "/glass" }, "requires": corp(), "revocation": "ignore", "streams": ends },
        { "match": { "prefix": "/" }, "requires": corp(), "streams": ends },
    ])
}

fn configuration(idp: &Idp, lists: &Idp) -> Value {
    let corp = with(local_provider(idp), json!({ "clock_skew_seconds": 1 }));
    let uri = json!({ "uri": lists.jwks_uri(), "cluster": "lists", "timeout": "1s" });
    let list = json!({ "http_uri": uri, "poll_interval": "1s", "name": "ours" });
    with(config(corp, rules()), json!({ "revocation": { "lists": [list] } }))
}

impl Stage {
    fn start(workers: u32) -> Self {
        let (upstream, lists) = (Endless::start(), common::idp());
        lists.publish(Some(json!({ "version": 1, "entries": [] }).to_string().into_bytes()));
        let to = |cluster: &str| json!({ "cluster": cluster, "timeout": "0s" });
        let routes = json!([
            { "match": { "prefix": "/", "grpc": {} }, "route": to("grpc") },
            { "match": { "prefix": "/" }, "route": to("upstream") },
        ]);
        let gateway = Gateway::start_with(
            |idp| configuration(idp, &lists),
            |builder| {
                builder
                    .cluster("upstream", Cluster::new(upstream.addr()))
                    .cluster("grpc", Cluster::new(upstream.addr()).http2())
                    .idp("lists", &lists)
                    .concurrency(workers)
                    .main(|main| {
                        let upgrades = json!([{ "upgrade_type": "websocket" }]);
                        main.hcm("upgrade_configs", upgrades).routes(routes)
                    })
            },
        );
        Self { gateway, upstream, lists }
    }

    fn token(&self, claims: Value) -> String {
        self.gateway.idp.token(claims)
    }

    /// What was counted of streams, by what stands behind `streams_`.
    fn counted(&self) -> Vec<(String, u64)> {
        let all = self.gateway.envoy.stats_matching(r"portcullis\.streams_");
        let short = |name: &str| name.split("streams_").last().unwrap_or_default().to_owned();
        all.into_iter().map(|(name, count)| (short(&name), count)).collect()
    }

    #[track_caller]
    fn wait_for_count(&self, name: &str, count: u64) {
        eventually(&format!("{count} of {name}"), SOON, || {
            self.counted().contains(&(name.to_owned(), count)).then_some(())
        });
    }
}

fn clock() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock").as_secs_f64()
}

/// A stream over HTTP/1.1 that has begun; gives when its connection ended.
#[track_caller]
fn http1(addr: SocketAddr, path: &str, token: &str, websocket: bool) -> JoinHandle<f64> {
    let upgrade = "connection: Upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    let more = if websocket { upgrade } else { "accept: text/event-stream\r\n" };
    let mut stream = TcpStream::connect(addr).expect("a connection");
    stream.set_read_timeout(Some(SOON)).expect("a timeout");
    let head =
        format!("GET {path} HTTP/1.1\r\nhost: gateway.test\r\nauthorization: Bearer {token}\r\n{more}\r\n");
    stream.write_all(head.as_bytes()).expect("it is sent");
    let mut answer = vec![0; 4096];
    let length = stream.read(&mut answer).expect("an answer");
    let expected = if websocket { "HTTP/1.1 101" } else { "HTTP/1.1 200" };
    let answer = String::from_utf8_lossy(&answer[..length]).into_owned();
    assert!(answer.starts_with(expected), "{path}: {answer}");
    if websocket {
        stream.write_all(b"hello").expect("it is sent");
    }
    thread::spawn(move || {
        let (mut part, begin) = (vec![0; 4096], Instant::now());
        while begin.elapsed() < SOON {
            match stream.read(&mut part) {
                Ok(0) => return clock(),
                Ok(_) => {}
                Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => return clock(),
                Err(error) => panic!("neither data nor an end: {error}"),
            }
        }
        panic!("the stream does not end");
    })
}

fn get(path: &str, token: &str) -> Request {
    Request::get(path).bearer(token)
}

#[track_caller]
fn begin(streams: &mut Streams, request: &Request) -> Stream {
    let stream = streams.begin(request).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(stream.status, 200);
    stream
}

/// Reads until a stream is reset; when that was, and with which code.
#[track_caller]
fn until_reset(stream: &mut Stream) -> (f64, u32) {
    let begin = Instant::now();
    while begin.elapsed() < SOON {
        match stream.next(SOON) {
            Next::Data(_) => {}
            Next::Reset(code) => return (clock(), code),
            Next::End => panic!("it ended as if it were complete"),
        }
    }
    panic!("the stream does not end");
}

/// Reads what has come, and then what comes.
#[track_caller]
fn goes_on(what: &str, stream: &mut Stream) {
    let mut fresh = 0;
    while fresh < 2 {
        let begin = Instant::now();
        let next = stream.next(SOON);
        assert!(matches!(next, Next::Data(_)), "{what}: {next:?}");
        fresh += usize::from(begin.elapsed() > Duration::from_millis(20));
    }
}

#[track_caller]
fn assert_in_time(what: &str, ended: f64, due: f64, more: f64) {
    eprintln!("{what}: ended {:.2} s after it was due", ended - due);
    assert!(ended >= due - 0.01, "{what}: {:.2} s too early", due - ended);
    assert!(ended <= due + PROMISED + more + MACHINE, "{what}: {:.2} s after it was due", ended - due);
}

#[test]
fn each_kind_of_stream_ends_with_its_token_and_no_other_stream_of_its_connection_does() {
    let stage = Stage::start(1);
    let addr = stage.gateway.addr();
    let exp = now() + 3;
    let (short, long) = (stage.token(json!({ "exp": exp })), stage.token(json!({})));
    let due = exp as f64 + AFTER;
    let (websocket, events) = (http1(addr, "/chat", &short, true), http1(addr, "/events", &short, false));
    let mut streams = Streams::open(addr).expect("a connection");
    let grpc = |token: &str| Request::grpc("/orders.Orders/Watch").bearer(token);
    let mut ours = [begin(&mut streams, &get("/events", &short)), begin(&mut streams, &grpc(&short))];
    let mut others = [
        begin(&mut streams, &get("/events", &long)),
        begin(&mut streams, &grpc(&long)),
        begin(&mut streams, &get("/still", &short)),
        begin(&mut streams, &get("/report", &short)),
    ];
    assert_eq!(stage.upstream.open(), 8);
    for (at, stream) in ours.iter_mut().enumerate() {
        let (ended, code) = until_reset(stream);
        // INTERNAL_ERROR: gRPC makes status 13 of it.
        assert_eq!(code, 2);
        assert_in_time(["events over HTTP/2", "gRPC"][at], ended, due, 0.0);
    }
    assert_in_time("WebSocket", websocket.join().expect("it ends"), due, DELAYED_CLOSE);
    assert_in_time("events", events.join().expect("it ends"), due, DELAYED_CLOSE);
    for (at, stream) in others.iter_mut().enumerate() {
        goes_on(&format!("other stream {at}"), stream);
    }
    eventually("the upstream is told of the ends", SOON, || (stage.upstream.open() == 4).then_some(()));
    stage.wait_for_count("ended.provider.corp.reason.expired", 4);
    stage.wait_for_count("would_end.provider.corp.reason.expired", 1);
    // The same token opens no new one.
    assert_eq!(streams.begin(&get("/events", &short)).expect("an answer").status, 401);
    assert_sound(&stage.gateway.envoy);
}

#[test]
fn a_stream_ends_on_each_worker_after_its_token_was_revoked() {
    let stage = Stage::start(2);
    let addr = stage.gateway.addr();
    let (gone, kept) = (stage.token(json!({ "sid": "gone" })), stage.token(json!({ "sid": "kept" })));
    // As the kernel spreads them, each worker has some.
    let mut connections: Vec<Streams> = (0..8).map(|_| Streams::open(addr).expect("a connection")).collect();
    let mut ours = Vec::new();
    let mut others = Vec::new();
    for streams in &mut connections {
        ours.push(begin(streams, &get("/events", &gone)));
        for (path, token) in [("/events", &kept), ("/glass", &gone), ("/report", &gone), ("/still", &gone)] {
            others.push(begin(streams, &get(path, token)));
        }
    }
    let websocket = http1(addr, "/chat", &gone, true);
    let entry = json!({ "issuer": stage.gateway.idp.issuer(), "sid": "gone", "until": now() + 600 });
    let due = clock();
    stage.lists.publish(Some(json!({ "version": 1, "entries": [entry] }).to_string().into_bytes()));
    for (at, stream) in ours.iter_mut().enumerate() {
        let (ended, _) = until_reset(stream);
        // The interval, and a second more.
        assert_in_time(&format!("connection {at}"), ended, due, 1.0);
    }
    assert_in_time("WebSocket", websocket.join().expect("it ends"), due, 1.0 + DELAYED_CLOSE);
    for (at, stream) in others.iter_mut().enumerate() {
        goes_on(&format!("other stream {at}"), stream);
    }
    stage.wait_for_count("ended.provider.corp.reason.revoked", 9);
    stage.wait_for_count("would_end.provider.corp.reason.revoked", 8);
    assert_sound(&stage.gateway.envoy);
}

#[test]
fn requests_that_are_over_leave_nothing_to_end() {
    let gateway = Gateway::start_with(
        |idp| {
            let provider = with(local_provider(idp), json!({ "clock_skew_seconds": 1 }));
            let ends = json!({ "end_with_token": true });
            config(provider, json!([{ "match": { "prefix": "/" }, "requires": corp(), "streams": ends }]))
        },
        |builder| builder,
    );
    let token = gateway.idp.token(json!({ "exp": now() + 3 }));
    for number in 0..50 {
        let request = get(&format!("/{number}"), &token);
        let response =
            if number % 2 == 0 { request.send(gateway.addr()) } else { request.send_h2(gateway.addr()) };
        assert_eq!(response.status, 200);
    }
    // One is answered too late, and says when the time of all has come.
    let delay = Duration::from_secs(30);
    gateway.upstream.answer_with(Some(harness::upstream::Answer { delay, ..Default::default() }));
    let slow = get("/slow", &token).try_send_h2(gateway.addr());
    assert!(slow.is_err(), "{slow:?}");
    eventually("one stream was ended", SOON, || {
        common::nudge(&gateway.envoy, &Request::get("/"));
        let counts = gateway.envoy.stats_matching(r"portcullis\.streams_");
        let counts: Vec<u64> = counts.into_values().collect();
        assert!(counts.iter().sum::<u64>() <= 1, "{counts:?}");
        (counts == [1]).then_some(())
    });
    gateway.assert_sound();
}
