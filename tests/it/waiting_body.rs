//! A request that waits for keys is held whole, however its body and its trailers arrive, and whether or not the plugin
//! says `allow_on_headers_stop_iteration`: nothing of it reaches the upstream before its token was judged, and all of
//! it does when the token is good.

use crate::common;

use std::collections::BTreeMap;
use std::thread;
use std::time::Instant;

use common::{AUDIENCE, HeldKeys, SOON, assert_problem, config, corp, provider, with};
use harness::idp::flip_bit;
use harness::{Cluster, Connection, Envoy, Idp, Record, Request, Response, Upstream, Wasm, eventually};
use serde_json::json;

const LARGE: usize = 100_000;
const HUGE: usize = 3_000_000;

/// A body of which every part differs from the others.
fn body(length: usize) -> Vec<u8> {
    (0..length).map(|at| b"0123456789abcdefghijklmnopqrstuvwxyz!"[(at / 7 + at) % 37]).collect()
}

/// How a request is sent.
#[derive(Clone, Copy, Debug)]
enum Form {
    /// `GET` without a body
    Bare,
    /// `POST` with `Content-Length`
    Length(usize),
    /// In chunks of this size, or in one
    Chunks(usize, usize),
    /// The same and trailers, of which one is what only the gateway may write
    Trailers(usize),
    /// `Expect: 100-continue`
    Expect(usize),
    /// The headers, then each byte by itself
    Dribble(usize),
    /// A gRPC call
    Grpc(usize),
}

const FORMS: [Form; 16] = [
    Form::Bare,
    Form::Length(0),
    Form::Length(1),
    Form::Length(LARGE),
    Form::Length(HUGE),
    Form::Chunks(1, 1),
    Form::Chunks(LARGE, LARGE),
    Form::Chunks(LARGE, 1000),
    Form::Chunks(HUGE, 65_536),
    Form::Trailers(0),
    Form::Trailers(1),
    Form::Trailers(LARGE),
    Form::Trailers(HUGE),
    Form::Expect(LARGE),
    Form::Dribble(40),
    Form::Grpc(LARGE),
];

impl Form {
    fn length(self) -> usize {
        match self {
            Self::Bare => 0,
            Self::Length(length)
            | Self::Chunks(length, _)
            | Self::Trailers(length)
            | Self::Expect(length)
            | Self::Dribble(length)
            | Self::Grpc(length) => length,
        }
    }

    fn has_trailers(self) -> bool {
        matches!(self, Self::Trailers(_))
    }

    fn request(self, path: &str, token: &str) -> Request {
        let request = match self {
            Self::Bare => Request::get(path),
            Self::Trailers(length) => {
                let request = Request::post(path, body(length));
                request.trailer("x-checksum", "1").trailer("x-user", "mallory").trailer("x_user", "mallory")
            }
            Self::Expect(length) => Request::post(path, body(length)).header("expect", "100-continue"),
            Self::Grpc(length) => {
                Request::post(path, body(length)).header("content-type", "application/grpc")
            }
            Self::Length(length) | Self::Chunks(length, _) | Self::Dribble(length) => {
                Request::post(path, body(length))
            }
        };
        request.bearer(token).header("x-user", "mallory").header("x_user", "mallory").timeout(SOON)
    }

    /// Over HTTP/1.1.
    fn send(self, envoy: &Envoy, path: &str, token: &str) -> Response {
        let request = self.request(path, token);
        let mut connection = Connection::open(envoy.addr()).expect("a connection");
        let whole = request.to_bytes();
        let head = whole.windows(4).position(|bytes| bytes == b"\r\n\r\n").expect("an end of the head") + 4;
        let written = match self {
            Self::Chunks(length, size) => {
                let head = String::from_utf8(whole[..head].to_vec()).expect("text");
                let mut bytes = head
                    .replace(&format!("content-length: {length}"), "transfer-encoding: chunked")
                    .into_bytes();
                for chunk in body(length).chunks(size) {
                    bytes.extend(format!("{:x}\r\n", chunk.len()).into_bytes());
                    bytes.extend(chunk);
                    bytes.extend(b"\r\n");
                }
                bytes.extend(b"0\r\n\r\n");
                connection.write_raw(&bytes)
            }
            Self::Dribble(_) => {
                whole[head..].chunks(1).fold(connection.write_raw(&whole[..head]), |so_far, byte| {
                    so_far.and_then(|()| connection.write_raw(byte))
                })
            }
            _ => connection.write_raw(&whole),
        };
        let answer = connection.read(false, Instant::now() + SOON);
        // Whoever is refused need not be read to the end.
        answer.unwrap_or_else(|error| panic!("{self:?} {path}: {error}; written: {written:?}"))
    }
}

/// A token of the provider's issuer that no key of it signed, as long as a good one.
fn forged(idp: &Idp) -> String {
    flip_bit(&idp.token(json!({ "sub": "mallory" })))
}

/// What reached the upstream, by its path.
fn arrived(upstream: &Upstream) -> BTreeMap<String, Record> {
    upstream.requests().into_iter().map(|record| (record.path(), record)).collect()
}

fn a_waiting_request_is_held_whole(stop_iteration: bool) {
    let (idp, upstream) = (common::idp(), Upstream::start());
    let keys = HeldKeys::start(&idp.jwks());
    let remote = json!({ "http_uri": { "uri": keys.uri(), "cluster": "held", "timeout": "60s" } });
    let writes = json!([{ "header_name": "x-user", "claim_name": "sub" }]);
    let corp_config = with(provider(&idp), json!({ "remote_jwks": remote, "claim_to_headers": writes }));
    let rules = json!([{ "match": { "prefix": "/" }, "requires": corp() }]);
    let wasm = Wasm::portcullis(config(corp_config, rules));
    let envoy = Envoy::builder()
        // HTTP/1.1 would lose the trailers.
        .cluster("upstream", Cluster::new(upstream.addr()).http2())
        .main(|listener| listener.hcm("http_protocol_options", json!({ "enable_trailers": true })))
        .cluster("held", Cluster::new(keys.addr()))
        .filter(wasm.field("allow_on_headers_stop_iteration", json!(stop_iteration)))
        .start()
        .unwrap_or_else(|error| panic!("{error}"));
    let (good, bad) = (idp.token(json!({ "sub": "alice" })), forged(&idp));
    assert_eq!(idp.audience(), AUDIENCE);
    let mut answers = Vec::new();
    thread::scope(|scope| {
        let mut clients = Vec::new();
        for (number, form) in FORMS.into_iter().enumerate() {
            for (whose, token) in [("good", &good), ("forged", &bad)] {
                for version in ["1", "2"] {
                    let path = format!("/{whose}/{number}/{version}");
                    let envoy = &envoy;
                    clients.push(scope.spawn(move || {
                        let answer = if version == "1" {
                            form.send(envoy, &path, token)
                        } else {
                            form.request(&path, token).send_h2(envoy.addr())
                        };
                        (form, whose, path, answer)
                    }));
                }
            }
        }
        let all = u64::try_from(clients.len()).expect("64 bits");
        envoy.wait_for_stat("http.main.downstream_rq_active", SOON, |active| active == all);
        // By now the parts of bodies that were to release their headers have done so.
        eventually("the small bodies to be read", SOON, || {
            (envoy.stat("http.main.downstream_cx_rx_bytes_total") > 1_000_000).then_some(())
        });
        let early: Vec<String> = arrived(&upstream).into_keys().collect();
        assert!(early.is_empty(), "reached the upstream before any key was there: {early:?}");
        keys.release();
        answers.extend(clients.into_iter().map(|client| client.join().expect("an answer")));
    });
    let arrived = arrived(&upstream);
    for (form, whose, path, answer) in &answers {
        let grpc = matches!(form, Form::Grpc(_));
        if *whose == "forged" {
            assert!(!arrived.contains_key(path), "{form:?} {path}: a forged token reached the upstream");
            match grpc {
                true => assert_eq!(answer.header("grpc-status").as_deref(), Some("16"), "{form:?} {path}"),
                false => assert_problem(&format!("{form:?} {path}"), answer, 401, "token_rejected"),
            }
            continue;
        }
        assert_eq!(answer.status, 200, "{form:?} {path}: {}", answer.text());
        let record = arrived.get(path).unwrap_or_else(|| panic!("{form:?} {path} never arrived"));
        assert_eq!(record.headers_named("x-user"), ["alice"], "{form:?} {path}");
        assert_eq!(record.headers_named("x_user"), Vec::<String>::new(), "{form:?} {path}");
        assert_eq!(record.body_length, form.length(), "{form:?} {path}");
        let whole = body(form.length());
        assert!(record.body == whole[..whole.len().min(1 << 20)], "{form:?} {path}: another body");
        let trailers: Vec<&str> = record.trailers.iter().map(|(name, _)| name.as_str()).collect();
        if form.has_trailers() {
            assert_eq!(trailers, ["x-checksum"], "{form:?} {path}");
        }
        assert!(!trailers.contains(&"x-user") && !trailers.contains(&"x_user"), "{form:?} {path}");
    }
    assert_eq!(answers.len(), FORMS.len() * 4);
    common::assert_sound(&envoy);
}

#[test]
fn with_allow_on_headers_stop_iteration() {
    a_waiting_request_is_held_whole(true);
}

#[test]
fn without_allow_on_headers_stop_iteration() {
    a_waiting_request_is_held_whole(false);
}
