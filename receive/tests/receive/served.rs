//! What is served: the list in both forms, health, metrics.

use std::collections::HashSet;
use std::net::TcpStream;
use std::time::Duration;

use harness::idp::now;
use harness::{Request, SOON, get};
use portcullis::limits::MAX_ENTRIES;
use portcullis::{RevocationDocument, RevocationIndex, RevocationPage};
use serde_json::json;

use crate::common::{Receiver, config, idp, logout_token};

#[test]
fn the_list_has_an_etag_and_gates_can_read_it() {
    let idp = idp();
    let receiver = Receiver::start(config(&idp));
    let empty = get(receiver.addr(), "/revoked.json");
    assert_eq!(empty.status, 200);
    assert!(matches!(
        RevocationDocument::parse(empty.text().as_bytes(), None, MAX_ENTRIES),
        Ok(RevocationDocument::List(list)) if list.is_empty()
    ));
    let etag = empty.header("etag").expect("an etag");
    let conditional =
        |etag: &str| Request::get("/revoked.json").header("if-none-match", etag).send(receiver.addr());
    for tags in [etag.clone(), format!("W/{etag}"), format!("\"x\", {etag}"), "*".to_owned()] {
        assert_eq!(conditional(&tags).status, 304, "{tags}");
    }
    assert_eq!(receiver.logout(&logout_token(&idp, "s\"\\\u{e9}").sign()).status, 200);
    let changed = conditional(&etag);
    assert_eq!(changed.status, 200);
    assert_ne!(changed.header("etag"), Some(etag));
    assert!(matches!(
        RevocationDocument::parse(changed.text().as_bytes(), None, MAX_ENTRIES),
        Ok(RevocationDocument::List(list)) if list.len() == 1
    ));
    let head = Request::new("HEAD", "/revoked.json").send(receiver.addr());
    assert_eq!((head.status, head.text().as_str()), (200, ""));
    assert_eq!(head.header("etag"), changed.header("etag"));
}

#[test]
fn a_long_list_is_served_in_pages_and_pages_of_before_stay() {
    let idp = idp();
    let receiver = Receiver::start(config(&idp));
    let until = now() + 3600;
    let add = |from: usize| {
        let entries: Vec<_> =
            (from..from + 1000).map(|at| json!({ "jti": format!("t{at}"), "until": until })).collect();
        assert_eq!(receiver.revoke(&json!({ "entries": entries })).status, 200);
    };
    (0..5).for_each(|at| add(at * 1000));
    let index = || {
        let text = get(receiver.addr(), "/revoked.json").text();
        match RevocationDocument::parse(text.as_bytes(), None, MAX_ENTRIES) {
            Ok(RevocationDocument::Index(index)) => index,
            other => panic!("no index: {other:?}"),
        }
    };
    let pages = |index: &RevocationIndex| {
        let count = index.digests().len();
        let each = index.digests().iter().enumerate().map(|(at, digest)| {
            let path = RevocationIndex::page_path("/revoked.json", digest);
            let response = get(receiver.addr(), &path);
            assert_eq!(response.status, 200, "{path}");
            let page = RevocationPage::parse(response.body.to_vec(), at, count).expect("a sound page");
            assert_eq!(page.digest(), digest);
            page.entries()
        });
        each.sum::<usize>()
    };
    let first = index();
    assert_eq!(pages(&first), 5000);
    add(5000);
    let second = harness::eventually("the change is served", SOON, || {
        let second = index();
        (second != first).then_some(second)
    });
    assert_eq!((pages(&second), pages(&first)), (6000, 5000));
    assert_eq!(get(receiver.addr(), "/pages/00.bin").status, 404);
    assert_eq!(get(receiver.addr(), "/pages/../revoked.json").status, 404);
}

#[test]
fn health_and_metrics_say_how_it_is() {
    let idp = idp();
    let receiver = Receiver::start(config(&idp));
    assert_eq!(get(receiver.addr(), "/healthz").text(), "ok\n");
    assert_eq!(receiver.logout(&logout_token(&idp, "s").sign()).status, 200);
    assert_eq!(receiver.logout("x").status, 400);
    let metrics = get(receiver.addr(), "/metrics");
    assert!(metrics.header("content-type").is_some_and(|kind| kind.starts_with("text/plain; version=0.0.4")));
    let metrics = metrics.text();
    for line in [
        r#"portcullis_receive_events_total{way="backchannel_logout",kind="backchannel_logout",outcome="taken"} 1"#,
        r#"portcullis_receive_events_total{way="backchannel_logout",kind="unread",outcome="refused"} 1"#,
        "portcullis_receive_entries 1",
        "# TYPE portcullis_receive_events_total counter",
    ] {
        assert!(metrics.lines().any(|own| own == line), "{line} is not in {metrics}");
    }
    let mut names = HashSet::new();
    let twice = metrics.lines().filter(|line| line.starts_with("# TYPE")).find(|line| !names.insert(*line));
    assert_eq!(twice, None);
}

#[test]
fn those_who_send_nothing_keep_nobody_out() {
    let idp = idp();
    let receiver = Receiver::start(config(&idp));
    let silent: Vec<_> =
        (0..300).map(|_| TcpStream::connect(receiver.addr()).expect("a connection")).collect();
    assert_eq!(receiver.logout(&logout_token(&idp, "s").sign()).status, 200);
    // Each of them is closed after some seconds.
    let mut first = silent.into_iter().next().expect("one");
    first.set_read_timeout(Some(Duration::from_secs(30))).expect("a timeout");
    let read = std::io::Read::read(&mut first, &mut [0; 512]);
    assert!(read.is_ok(), "it was left open: {read:?}");
}
