//! What was acknowledged is there after any crash, and the list is never half written.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use harness::{Connection, SOON, eventually, get};
use serde_json::json;

use crate::common::{Options, Receiver, config, fresh, idp, logout_request, logout_token};

/// How often it is killed: 25 times, or as often as the environment says.
fn kills() -> usize {
    std::env::var("PORTCULLIS_KILLS").ok().and_then(|kills| kills.parse().ok()).unwrap_or(25)
}

#[test]
fn killed_at_any_moment_no_acknowledged_event_is_lost() {
    let idp = idp();
    let mut receiver = Receiver::start(config(&idp));
    let mut acknowledged: Vec<String> = Vec::new();
    let mut last = 0;
    for round in 0..kills() {
        let is_over = Arc::new(AtomicBool::new(false));
        let addr = receiver.addr();
        let clients: Vec<_> = (0..4)
            .map(|client| {
                let is_over = Arc::clone(&is_over);
                // Signed beforehand: it is the receiver that is to be busy.
                let tokens: Vec<(String, String)> = (0..60)
                    .map(|_| fresh(&format!("s{client}")))
                    .map(|sid| (logout_token(&idp, &sid).sign(), sid))
                    .collect();
                thread::spawn(move || {
                    let mut taken = Vec::new();
                    for (token, sid) in tokens {
                        if is_over.load(Ordering::Relaxed) {
                            break;
                        }
                        match logout_request(&token).timeout(SOON).try_send(addr) {
                            Ok(response) if response.status == 200 => taken.push(sid),
                            Ok(response) => panic!("{}: {}", response.status, response.text()),
                            Err(_) => break,
                        }
                    }
                    taken
                })
            })
            .collect();
        // Somewhere in the middle of it; where exactly differs with each round.
        thread::sleep(Duration::from_millis(5 + (round as u64 * 37) % 90));
        receiver.kill();
        is_over.store(true, Ordering::Relaxed);
        acknowledged.extend(clients.into_iter().flat_map(|client| client.join().expect("no panic")));
        receiver.begin();
        receiver.wait_ready();
        let list = receiver.list();
        let entries = list["entries"].as_array().map_or(0, Vec::len);
        assert!(entries >= last, "entries went away: {entries} of {last}");
        last = entries;
        if entries < 4000 {
            let text = list.to_string();
            let lost: Vec<_> =
                acknowledged.iter().filter(|sid| !text.contains(&format!("\"{sid}\""))).collect();
            assert!(lost.is_empty(), "round {round}: acknowledged and lost: {lost:?}");
        } else {
            // Before the list is served in pages, which name nobody: begin anew.
            receiver = Receiver::start(config(&idp));
            (acknowledged, last) = (Vec::new(), 0);
        }
    }
    assert!(kills() == 0 || !acknowledged.is_empty(), "nothing was acknowledged at all");
}

#[test]
fn a_stop_answers_what_has_begun() {
    let idp = idp();
    let mut receiver = Receiver::start(config(&idp));
    let token = logout_token(&idp, "begun").sign();
    let body = format!("logout_token={token}");
    let (first, second) = body.split_at(body.len() / 2);
    let mut connection = Connection::open(receiver.addr()).expect("a connection");
    let head = format!(
        "POST /backchannel-logout HTTP/1.1\r\nhost: a\r\ncontent-type: application/x-www-form-urlencoded\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    connection.write_raw(format!("{head}{first}").as_bytes()).expect("the beginning");
    // The receiver has read the head once it counts the connection.
    eventually("the connection is there", SOON, || {
        get(receiver.addr(), "/metrics").text().contains("portcullis_receive_connections").then_some(())
    });
    receiver.signal();
    eventually("it stops listening", SOON, || {
        std::net::TcpStream::connect(receiver.addr()).is_err().then_some(())
    });
    connection.write_raw(second.as_bytes()).expect("the rest");
    let response = connection.read(false, std::time::Instant::now() + SOON).expect("an answer");
    assert_eq!(response.status, 200, "{}", response.text());
    assert_eq!(receiver.terminate(), Some(0));
    receiver.begin();
    receiver.wait_ready();
    assert_eq!(receiver.entries().len(), 1);
}

#[test]
fn entries_fall_out_after_keep() {
    let idp = idp();
    let mut written = config(&idp);
    written["keep"] = json!("2s");
    let receiver = Receiver::start(written);
    assert_eq!(receiver.logout(&logout_token(&idp, "s").sign()).status, 200);
    assert_eq!(receiver.entries().len(), 1);
    eventually("the entry falls out", SOON, || receiver.entries().is_empty().then_some(()));
}

#[test]
fn what_does_not_come_to_the_disk_is_not_acknowledged() {
    let idp = idp();
    let options = Options { largest_file: Some(600 << 10), ..Options::default() };
    let mut receiver = Receiver::start_with(config(&idp), options);
    let until = harness::idp::now() + 3600;
    let mut acknowledged = 0;
    let refused = (0..40).find_map(|round| {
        let entry = |at| json!({ "jti": format!("t{round}-{at}"), "until": until });
        let entries: Vec<_> = (0..100).map(entry).collect();
        let response = receiver.revoke(&json!({ "entries": entries }));
        acknowledged += if response.status == 200 { 100 } else { 0 };
        (response.status != 200).then_some(response)
    });
    let refused = refused.expect("the disk is full before it is over");
    assert_eq!(refused.status, 503, "{}", refused.text());
    assert!(acknowledged > 0);
    assert_eq!(get(receiver.addr(), "/healthz").status, 503);
    assert_eq!(receiver.entries().len(), acknowledged, "the list is served all the same");
    receiver.kill();
    receiver.largest_file = None;
    receiver.begin();
    receiver.wait_ready();
    assert_eq!(receiver.entries().len(), acknowledged);
    assert_eq!(receiver.logout(&logout_token(&idp, "s").sign()).status, 200);
    assert_eq!(get(receiver.addr(), "/healthz").status, 200);
}
