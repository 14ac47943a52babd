//! The client sends every byte as told, and the upstream sees it.

use std::time::Duration;

use harness::upstream::Answer;
use harness::{Connection, Request, Upstream, burst};
use serde_json::json;

#[test]
fn the_echo_shows_the_request() {
    let upstream = Upstream::start();
    let answer = Request::new("PUT", "/%2e%2E/a b?x=%zz".replace(' ', "%20"))
        .header("X-User", "mallory")
        .header("x-user", [0xff, b'a'])
        .body("hello")
        .send(upstream.addr());
    let json = answer.json();
    assert_eq!((&json["method"], &json["path"]), (&json!("PUT"), &json!("/%2e%2E/a%20b?x=%zz")));
    assert_eq!((&json["authority"], &json["body_length"]), (&json!("gateway.test"), &json!(5)));
    assert_eq!(answer.echoed("x-user"), ["mallory", "\u{fffd}a"]);
    let record = upstream.last();
    assert_eq!(record.headers[2], ("x-user".to_owned(), vec![0xff, b'a']));
    assert_eq!(record.body, b"hello");
}

#[test]
fn nothing_that_arrives_goes_unnoticed() {
    let upstream = Upstream::start();
    let answer = Request::raw("GE\x01T / HTTP/9\r\n\r\n").send(upstream.addr());
    assert_eq!(answer.status, 400);
    assert!(upstream.last().malformed);
    assert_eq!(upstream.count(), 1);
}

#[test]
fn trailers_chunks_and_kept_connections() {
    let upstream = Upstream::start();
    let mut connection = Connection::open(upstream.addr()).expect("a connection");
    for number in 0..3 {
        let answer = connection.send(&Request::post("/", format!("{number}")).trailer("X-Sum", "7"));
        assert_eq!(answer.json()["trailers"], json!([["x-sum", "7"]]));
    }
    assert_eq!(connection.send(&Request::new("HEAD", "/")).status, 200);
    assert_eq!(connection.send(&Request::get("/after")).json()["path"], "/after");
    assert_eq!(upstream.take().len(), 5);
}

#[test]
fn http2_with_trailers_and_grpc() {
    let upstream = Upstream::start();
    let answer =
        Request::post("/x?y=1", "body").header("x-a", "1").trailer("x-sum", "7").send_h2(upstream.addr());
    let json = answer.json();
    assert_eq!((&json["version"], &json["path"]), (&json!("HTTP/2"), &json!("/x?y=1")));
    assert_eq!((&json["body_length"], &json["trailers"]), (&json!(4), &json!([["x-sum", "7"]])));
    let answer = Request::grpc("/orders.Orders/Get").send_h2(upstream.addr());
    assert_eq!(answer.trailer("grpc-status").as_deref(), Some("0"));
}

#[test]
fn a_burst_is_in_flight_at_once() {
    let upstream = Upstream::start();
    upstream.answer_with(Some(Answer {
        delay: Duration::from_millis(200),
        status: 204,
        ..Answer::default()
    }));
    let start = std::time::Instant::now();
    let answers = burst(upstream.addr(), 50, |number| Request::get(format!("/{number}")));
    assert!(answers.iter().all(|answer| answer.status == 204));
    assert!(start.elapsed() < Duration::from_secs(10), "one after the other it would be ten seconds");
    assert_eq!(upstream.count(), 50);
}
