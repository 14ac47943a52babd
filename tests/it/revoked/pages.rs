//! A large list in pages.

use std::sync::Arc;
use std::time::Duration;

use portcullis::{
    RevocationDraft as Draft, RevocationIndex as Index, RevocationKey as Key, RevocationKind as Kind,
    RevocationList as List, RevocationPage as Page, RevocationPageError as PageError, Timestamp,
    limits::MAX_PAGES,
};
use serde_json::json;

use crate::revoked::fleet::{Fleet, ISSUER, START, Served, config, polled, token};

/// A list of these `jti`s on about so many pages.
fn list(names: impl IntoIterator<Item = String>, most: usize) -> List {
    let mut draft = Draft::default();
    names.into_iter().for_each(|name| draft.entry(Key::new(Kind::Token, ISSUER, &name), Some(START + 1000)));
    draft.finish(most, Timestamp::from_secs(START))
}

fn names(count: usize) -> impl Iterator<Item = String> {
    (0..count).map(|number| format!("jti-{number}"))
}

impl Fleet {
    pub(crate) fn paged(&mut self, list: &List) {
        self.serve("/r/list.json", Served::Well(list.index().to_json().into_bytes()));
        for page in list.pages() {
            let path = Index::page_path("/r/list.json", page.digest());
            self.serve(&path, Served::Plain(page.bytes().to_vec()));
        }
    }
}

#[test]
fn a_list_in_pages_reaches_every_worker_and_a_change_costs_its_pages_alone() {
    let mut fleet = Fleet::start(3, &config(polled(json!({}))));
    let first = list(names(20_000), 256);
    assert_eq!(first.pages().len(), 128);
    fleet.paged(&first);
    fleet.seconds(2);
    assert_eq!(fleet.asked.len(), 129, "the index and each page, once for the proxy");
    for number in [0, 1, 9_999, 19_999] {
        assert_eq!(fleet.show(&token(json!({ "jti": format!("jti-{number}") }))), "revoked", "{number}");
    }
    let fresh = token(json!({ "jti": "jti-20000" }));
    assert_eq!(fleet.show(&fresh), "allow");
    fleet.asked.clear();
    fleet.paged(&list(names(20_001), 256));
    fleet.seconds(11);
    assert_eq!(fleet.asked.len(), 2, "the index and the one page that changed: {:?}", fleet.asked);
    assert_eq!(fleet.show(&fresh), "revoked");
    fleet.join();
    fleet.seconds(1);
    assert_eq!(fleet.show(&fresh), "revoked", "a worker that comes later takes the pages over");
    assert_eq!(fleet.show(&token(json!({ "jti": "x" }))), "allow");
}

#[test]
fn taking_a_large_list_over_is_spread_over_ticks_and_the_old_list_serves_meanwhile() {
    let mut fleet = Fleet::start(1, &config(polled(json!({}))));
    fleet.paged(&list(names(200_000), 4096));
    fleet.seconds(2);
    fleet.join();
    let known = token(json!({ "jti": "jti-7" }));
    assert_eq!(fleet.on(1, "/", &known), "wait", "3.2 MB are not taken over at once");
    let at_once = |fleet: &Fleet| fleet.gates[1].poll_timeout(fleet.now) == Some(Duration::ZERO);
    assert!(at_once(&fleet), "it asks for the next tick at once");
    let mut ticks = 0;
    while at_once(&fleet) {
        fleet.turn();
        ticks += 1;
    }
    assert!((8..=16).contains(&ticks), "{ticks}");
    assert_eq!(fleet.on(1, "/", &known), "revoked");
    assert_eq!(fleet.woken, ["revoked"]);
}

#[test]
fn a_page_that_is_not_the_one_of_the_index_changes_nothing() {
    let good = list(names(1000), 64);
    type Change = fn(&mut Vec<u8>);
    let broken: [(&str, Change); 5] = [
        ("a bit", |page| page[20] ^= 1),
        ("cut", |page| page.truncate(page.len() - 1)),
        ("longer", |page| page.push(0)),
        ("empty", Vec::clear),
        ("no page", |page| *page = b"<!doctype html>".to_vec()),
    ];
    for (name, break_it) in broken {
        let mut fleet = Fleet::start(2, &config(polled(json!({}))));
        fleet.paged(&list(names(500), 64));
        fleet.seconds(1);
        let (old, new) = (token(json!({ "jti": "jti-1" })), token(json!({ "jti": "jti-999" })));
        fleet.paged(&good);
        for page in good.pages().iter().skip(3) {
            let mut bytes = page.bytes().to_vec();
            break_it(&mut bytes);
            fleet.serve(&Index::page_path("/r/list.json", page.digest()), Served::Plain(bytes));
        }
        fleet.seconds(30);
        assert_eq!(
            (fleet.show(&old), fleet.show(&new)),
            ("revoked", "allow"),
            "{name}: the last good list serves"
        );
        fleet.paged(&good);
        fleet.seconds(16);
        assert_eq!((fleet.show(&old), fleet.show(&new)), ("revoked", "revoked"), "{name}: healed");
    }
}

#[test]
fn a_page_that_could_lead_a_search_astray_is_no_page() {
    let whole = list(names(64), 16);
    let (at, page) = whole.pages().iter().enumerate().max_by_key(|(_, page)| page.entries()).expect("pages");
    let count = whole.pages().len();
    let bytes = page.bytes().to_vec();
    assert!(page.entries() > 2 && count > 1);
    assert!(Page::parse(bytes.clone(), at, count).is_ok());
    assert_eq!(Page::parse(bytes.clone(), at ^ 1, count), Err(PageError::OutOfOrder), "another's place");
    let mut swapped = bytes.clone();
    let (first, second) = (bytes[16..32].to_vec(), bytes[32..48].to_vec());
    swapped[16..32].copy_from_slice(&second);
    swapped[32..48].copy_from_slice(&first);
    assert_eq!(Page::parse(swapped, at, count), Err(PageError::OutOfOrder));
    let mut twice = bytes.clone();
    twice[32..48].copy_from_slice(&first);
    assert_eq!(Page::parse(twice, at, count), Err(PageError::OutOfOrder));
    for length in 0..bytes.len() {
        assert_eq!(Page::parse(bytes[..length].to_vec(), at, count), Err(PageError::Malformed), "{length}");
    }
    for byte in 0..16 {
        let mut wrong = bytes.clone();
        wrong[byte] ^= 0x40;
        assert_eq!(Page::parse(wrong, at, count), Err(PageError::Malformed), "header byte {byte}");
    }
}

#[test]
fn every_number_of_entries_is_found_again_on_its_pages() {
    for (count, most) in [(0, 1), (1, 1), (2, 1), (100, 1), (1000, 10), (5000, 1)] {
        let list = list(names(count), most);
        assert_eq!(list.len(), count);
        assert!(list.pages().len().is_power_of_two() && list.pages().len() <= MAX_PAGES);
        let read: Vec<Arc<Page>> = list
            .pages()
            .iter()
            .enumerate()
            .map(|(at, page)| {
                Arc::new(Page::parse(page.bytes().to_vec(), at, list.pages().len()).expect("a page"))
            })
            .collect();
        assert_eq!(List::new(read).index(), list.index());
    }
}

#[test]
fn a_page_that_somebody_else_put_into_the_shared_store_is_not_taken_over() {
    use portcullis::Store as _;
    let mut fleet = Fleet::start(1, &config(polled(json!({}))));
    fleet.paged(&list(names(100), 1000));
    fleet.seconds(1);
    // Sound as a page, and empty: it would let everybody in.
    let forged: Vec<u8> = b"PRL1".iter().copied().chain([0; 12]).collect();
    assert!(Page::parse(forged.clone(), 0, 1).is_ok());
    let page = fleet.store.names().into_iter().find(|name| name.ends_with(".0")).expect("a page is there");
    fleet.store.put(&page, &forged).expect("it is written");
    fleet.join();
    assert_eq!(fleet.on(1, "/", &token(json!({ "jti": "jti-1" }))), "wait", "nothing is taken over");
    fleet.seconds(12);
    assert_eq!(fleet.show(&token(json!({ "jti": "jti-1" }))), "revoked");
}
