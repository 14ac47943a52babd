//! What clients do with a refusal of an upload: those that ask before they send, and those that send before they read.

use crate::common;

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};

use common::{SOON, assert_sound};
use harness::envoy::Listener;
use harness::{Envoy, Idp, Upstream, Wasm};
use serde_json::{Value, json};

/// What comes first of the answer to these headers, of an upload of this length that is not sent yet.
fn first_line(addr: SocketAddr, headers: &str, length: usize) -> (TcpStream, String) {
    let mut stream = TcpStream::connect(addr).expect("a connection");
    stream.set_read_timeout(Some(SOON)).expect("a timeout");
    let request = format!("POST /upload HTTP/1.1\r\nHost: a\r\n{headers}Content-Length: {length}\r\n\r\n");
    stream.write_all(request.as_bytes()).expect("the headers are sent");
    let mut line = Vec::new();
    let mut byte = [0];
    while !line.ends_with(b"\r\n") && stream.read(&mut byte).expect("an answer") == 1 {
        line.push(byte[0]);
    }
    (stream, String::from_utf8_lossy(&line).trim_end().to_owned())
}

/// An Envoy with a listener of Envoy's own ways, and one whose connection manager leaves 100 to the service.
fn start(upstream: &Upstream, idp: &Idp) -> Envoy {
    let gate = || Wasm::portcullis(common::config(common::local_provider(idp), rules()));
    Envoy::builder()
        .upstream(upstream)
        .filter(gate())
        .listener(Listener::new("asks").filter(gate().name("asks")).hcm("proxy_100_continue", json!(true)))
        .start()
        .unwrap_or_else(|error| panic!("{error}"))
}

fn rules() -> Value {
    json!([{ "match": { "prefix": "/" }, "requires": { "provider_name": "corp" } }])
}

#[test]
fn an_upload_is_refused_before_its_body_where_envoy_leaves_the_continue_to_the_service() {
    let (upstream, idp) = (Upstream::start(), common::idp());
    let envoy = start(&upstream, &idp);
    let asks = "Expect: 100-continue\r\n";
    let (_own, line) = first_line(envoy.addr(), asks, 50_000_000);
    assert_eq!(line, "HTTP/1.1 100 Continue", "Envoy answers before any filter, unless it is told not to");
    let (_asks, line) = first_line(envoy.addr_of("asks"), asks, 50_000_000);
    assert_eq!(line, "HTTP/1.1 401 Unauthorized");
    let good = format!("{asks}Authorization: Bearer {}\r\n", idp.token(json!({})));
    let (_good, line) = first_line(envoy.addr_of("asks"), &good, 50_000_000);
    assert_eq!(line, "HTTP/1.1 100 Continue", "the service says so");
    assert_sound(&envoy);
}

#[test]
fn a_client_that_sends_all_before_it_reads_is_cut_off_and_its_refusal_is_there_to_read() {
    let (upstream, idp) = (Upstream::start(), common::idp());
    let envoy = start(&upstream, &idp);
    for addr in [envoy.addr(), envoy.addr_of("asks")] {
        let mut stream = TcpStream::connect(addr).expect("a connection");
        stream.set_read_timeout(Some(SOON)).expect("a timeout");
        let length = 50_000_000;
        write!(stream, "POST /upload HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n")
            .expect("the headers are sent");
        let cut_off = stream.write_all(&vec![b'x'; length]).expect_err("Envoy closes the connection");
        assert!(matches!(cut_off.kind(), ErrorKind::ConnectionReset | ErrorKind::BrokenPipe), "{cut_off}");
        let mut answer = [0; 12];
        stream.read_exact(&mut answer).expect("the answer came before the end of the connection");
        assert_eq!(&answer, b"HTTP/1.1 401");
    }
    assert_eq!(upstream.count(), 0, "nothing of it reaches the service");
    assert_sound(&envoy);
}
