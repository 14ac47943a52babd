use super::super::document::lifetime;
use super::super::form::Format;
use super::super::remote::Origin;
use super::*;
use crate::fetch::{
    CasVersion, Conflict, Endpoint, HttpRequest, InMemoryStore, Parsed, ParsedStore, SecretValue, SharedSlot,
    max_age,
};

const SET: &str = r#"{"keys":[{"kty":"EC","crv":"P-256","kid":"a",
    "x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
    "y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}]}"#;

fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

fn at(secs: u64) -> Timestamp {
    Timestamp::from_secs(1_000_000 + secs)
}

fn endpoint(path: &str) -> Endpoint {
    Endpoint {
        scheme: "https".to_owned(),
        authority: "idp".to_owned(),
        path: path.to_owned(),
        cluster: "idp".to_owned(),
        timeout: secs(5),
    }
}

fn remote(origin: Origin) -> Remote {
    Remote {
        origin,
        headers: Vec::new(),
        cache_duration: secs(600),
        stale_if_error: secs(3600),
        max_pause: secs(60),
        unknown_kid_cooldown: secs(30),
        max_bytes: 10_000,
        max_bundle_bytes: 20_000,
        max_keys: 10,
        format: Format::Auto,
        tried_without_kid: 4,
        is_bound: false,
    }
}

fn source(random: u64) -> Source {
    Source::new(remote(Origin::Jwks(endpoint("/jwks"))), random, None)
}

fn answer(status: u16, body: &str) -> Result<HttpResponse, FetchError> {
    Ok(HttpResponse { status, body: body.as_bytes().to_vec(), ..HttpResponse::default() })
}

fn asks(news: &[SourceEvent]) -> Option<&HttpRequest> {
    news.iter().find_map(|news| match news {
        SourceEvent::Ask(query) => Some(query),
        _ => None,
    })
}

fn log(news: &[SourceEvent]) -> String {
    let lines = news.iter().filter_map(|news| match news {
        SourceEvent::Log(level, text) => Some(format!("{level} {text}")),
        _ => None,
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// A source that was given keys at second 0.
fn warm(store: &InMemoryStore, random: u64) -> Source {
    let mut source = source(random);
    assert!(asks(&source.tick(store, at(0))).is_some());
    source.answered(store, answer(200, SET), at(0));
    assert!(source.keys(at(0)).is_some());
    source
}

#[test]
fn keys_are_refreshed_before_they_end_and_outlive_an_outage_for_a_while() {
    let store = InMemoryStore::default();
    let mut source = warm(&store, 7);
    assert!(asks(&source.tick(&store, at(479))).is_none());
    for second in 541..4300 {
        if asks(&source.tick(&store, at(second))).is_some() {
            source.answered(&store, answer(500, ""), at(second));
        }
        assert_eq!(source.keys(at(second)).is_some(), second < 4200, "{second}");
    }
}

#[test]
fn what_becomes_of_the_keys_is_logged_once_each() {
    let store = InMemoryStore::default();
    let mut source = source(7);
    source.tick(&store, at(0));
    assert_eq!(log(&source.answered(&store, answer(200, SET), at(0))), "INFO 1 keys");
    let other = SET.replace("\"a\"", "\"b\\n\"");
    source.tick(&store, at(550));
    assert_eq!(
        log(&source.answered(&store, answer(200, &other), at(550))),
        "INFO 1 keys; added: b\\n; removed: a"
    );
    assert!(log(&source.tick(&store, at(1150))).starts_with("WARN keys were last confirmed 600 s ago"));
    let failed = log(&source.answered(&store, answer(302, ""), at(1151)));
    assert!(failed.starts_with("WARN fetching keys failed: status 302; redirects are not followed; the keys at hand stay in use; next try in "), "{failed}");
    source.tick(&store, at(1153));
    assert_eq!(log(&source.answered(&store, answer(200, &other), at(1153))), "INFO keys are fresh again");
    source.tick(&store, at(1700));
    assert!(
        log(&source.tick(&store, at(5353))).contains("ERROR keys were last confirmed 4200 s ago, too long")
    );
}

#[test]
fn a_bad_answer_never_replaces_good_keys() {
    let large = " ".repeat(10_001);
    let symmetric = r#"{"keys":[{"kty":"oct","k":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"}]}"#;
    for (status, text) in [
        (200, ""),
        (200, "<html>"),
        (200, "{}"),
        (200, r#"{"keys":[]}"#),
        (200, symmetric),
        (200, &large),
        (204, SET),
        (304, ""),
        (302, SET),
        (404, SET),
        (500, SET),
    ] {
        let store = InMemoryStore::default();
        let mut source = warm(&store, 7);
        assert!(asks(&source.tick(&store, at(600))).is_some());
        let news = source.answered(&store, answer(status, text), at(600));
        assert!(
            news.contains(&SourceEvent::Ended) && !news.contains(&SourceEvent::Changed),
            "{status} {text}"
        );
        assert!(log(&news).starts_with("WARN fetching keys failed"), "{status} {text}");
        assert!(source.keys(at(600)).unwrap().has_kid("a"));
    }
}

#[test]
fn tries_come_ever_more_rarely_up_to_a_minute() {
    let store = InMemoryStore::default();
    let mut source = source(7);
    let mut now = at(0);
    for expected in [1, 2, 4, 8, 16, 32, 60, 60] {
        assert!(asks(&source.tick(&store, now)).is_some());
        source.answered(&store, Err(FetchError::NoAnswer), now);
        let pause = source.next_fetch_in(now);
        let share = pause.as_secs_f64() / f64::from(expected);
        assert!((0.8..=1.2).contains(&share), "{pause:?} of {expected}");
        assert!(asks(&source.tick(&store, now.plus(pause).minus(Duration::from_nanos(1)))).is_none());
        now = now.plus(pause);
    }
}

#[test]
fn one_of_many_fetches_and_the_others_take_over_what_it_got() {
    let store = InMemoryStore::default();
    let mut sources: Vec<Source> = (1..=5).map(source).collect();
    let asked: Vec<usize> = (0..5).filter(|n| asks(&sources[*n].tick(&store, at(0))).is_some()).collect();
    assert_eq!(asked, [0]);
    sources[0].answered(&store, answer(200, SET), at(1));
    for source in &mut sources {
        let news = source.tick(&store, at(1));
        assert!(asks(&news).is_none());
        assert!(source.keys(at(1)).is_some());
    }
    let mut late = source(99);
    late.read_store(&store, at(2));
    assert!(late.keys(at(2)).is_some(), "starts warm");
    assert!(asks(&late.tick(&store, at(2))).is_none());
}

#[test]
fn the_others_learn_of_a_failure_and_wait_as_long() {
    let store = InMemoryStore::default();
    let (mut one, mut two) = (source(1), source(2));
    one.tick(&store, at(0));
    two.tick(&store, at(0));
    assert!(two.expects_answer(at(0)));
    one.answered(&store, answer(500, ""), at(0));
    assert!(two.tick(&store, at(0)).contains(&SourceEvent::Ended));
    assert!(!two.expects_answer(at(0)));
    assert_eq!(one.next_fetch_in(at(0)), two.next_fetch_in(at(0)));
}

#[test]
fn a_lease_whose_holder_is_gone_ends() {
    let store = InMemoryStore::default();
    let (mut one, mut two) = (source(1), source(2));
    assert!(asks(&one.tick(&store, at(0))).is_some());
    drop(one);
    assert!(asks(&two.tick(&store, at(5))).is_none());
    assert!(asks(&two.tick(&store, at(6))).is_some());
}

#[test]
fn who_waits_for_the_new_key_of_a_lost_fetch_asks_for_it_anew() {
    let store = InMemoryStore::default();
    let (mut one, mut two) = (warm(&store, 1), source(2));
    two.tick(&store, at(0));
    assert_eq!(one.unknown_kid(&store, "b", true, at(1)), UnknownKid::Wait);
    assert!(asks(&one.tick(&store, at(1))).is_some());
    drop(one);
    two.tick(&store, at(2));
    assert_eq!(two.unknown_kid(&store, "b", true, at(2)), UnknownKid::Wait);
    assert!(!two.tick(&store, at(6)).contains(&SourceEvent::Ended));
    assert!(two.tick(&store, at(7)).contains(&SourceEvent::Ended), "it has not ended in time");
    assert!(!two.tick(&store, at(8)).contains(&SourceEvent::Ended), "said once");
    assert_eq!(two.unknown_kid(&store, "b", false, at(8)), UnknownKid::Wait);
    assert!(asks(&two.tick(&store, at(8))).is_some());
}

#[test]
fn a_fetch_that_is_handed_over_is_carried_out_by_the_other_one() {
    let store = InMemoryStore::default();
    let (mut worker, mut main) = (source(1), source(2));
    assert!(main.take_on(&store, at(0)).is_empty(), "there is none");
    assert!(!worker.hand_over(&store), "there is none");
    assert!(asks(&worker.tick(&store, at(0))).is_some());
    assert!(worker.hand_over(&store));
    assert!(!worker.hand_over(&store), "it was handed over before");
    assert!(worker.expects_answer(at(1)));
    assert!(worker.answered(&store, answer(200, SET), at(1)).is_empty(), "it is none of its own");
    assert!(worker.keys(at(1)).is_none());
    assert!(asks(&main.take_on(&store, at(1))).is_some());
    assert!(asks(&main.take_on(&store, at(1))).is_none(), "it was taken on before");
    main.answered(&store, answer(200, SET), at(2));
    assert!(worker.tick(&store, at(2)).contains(&SourceEvent::Ended));
    assert!(worker.keys(at(2)).is_some());
    assert_eq!(worker.last_looked(), at(0), "as the fetch began");
}

#[test]
fn a_fetch_that_is_handed_over_to_nobody_is_lost_after_its_time() {
    let store = InMemoryStore::default();
    let (mut worker, mut main) = (source(1), source(2));
    assert!(asks(&worker.tick(&store, at(0))).is_some());
    assert!(worker.hand_over(&store));
    assert!(asks(&worker.tick(&store, at(5))).is_none());
    assert!(asks(&worker.tick(&store, at(6))).is_some());
    assert!(worker.hand_over(&store));
    assert!(asks(&main.take_on(&store, at(12))).is_none(), "it is told too late");
    assert!(asks(&main.tick(&store, at(12))).is_some(), "one of its own, for it has no keys");
}

#[test]
fn an_answer_that_is_lost_is_given_up() {
    let store = InMemoryStore::default();
    let mut source = source(1);
    source.tick(&store, at(0));
    assert!(!source.tick(&store, at(5)).contains(&SourceEvent::Ended));
    assert!(source.tick(&store, at(6)).contains(&SourceEvent::Ended));
    assert!(source.answered(&store, answer(200, SET), at(7)).is_empty(), "too late");
}

#[test]
fn unknown_kids_cost_the_whole_proxy_three_fetches_and_then_one_a_cooldown() {
    let store = InMemoryStore::default();
    let mut sources = [warm(&store, 1), source(2), source(3)];
    let mut fetches = 0;
    for n in 0..1200u64 {
        let now = at(n / 10);
        let source = &mut sources[usize::try_from(n % 3).unwrap()];
        source.tick(&store, now);
        let kid = format!("k{n}");
        if source.unknown_kid(&store, &kid, true, now) == UnknownKid::Wait {
            if asks(&source.tick(&store, now)).is_some() {
                fetches += 1;
                source.answered(&store, answer(200, SET), now);
            }
            source.still_missing(&store, &kid, now, now);
        }
    }
    assert_eq!(fetches, 3 + 3, "in 120 seconds; the reserve is for those who come again");
}

#[test]
fn everyone_who_asks_at_once_waits_for_one_fetch() {
    let store = InMemoryStore::default();
    let mut source = warm(&store, 1);
    for n in 0..100 {
        assert_eq!(source.unknown_kid(&store, &format!("k{n}"), true, at(1)), UnknownKid::Wait);
    }
    assert!(asks(&source.tick(&store, at(1))).is_some());
    assert_eq!(source.unknown_kid(&store, "x", true, at(1)), UnknownKid::Wait);
    assert_eq!(source.refresher.state().started, at(1));
}

#[test]
fn a_kid_that_was_looked_for_in_vain_is_not_looked_for_again_at_once() {
    let store = InMemoryStore::default();
    let mut source = warm(&store, 1);
    let mut looks = Vec::new();
    for tenth in 0..1200 {
        let now = at(0).plus(Duration::from_millis(100 * tenth + 1));
        source.tick(&store, now);
        if source.unknown_kid(&store, "x", true, now) == UnknownKid::Wait {
            assert!(asks(&source.tick(&store, now)).is_some());
            source.answered(&store, answer(200, SET), now);
            source.still_missing(&store, "x", now, now);
            looks.push(tenth / 10);
        }
        assert_eq!(source.unknown_kid(&store, "x", true, now), UnknownKid::Missing);
    }
    assert_eq!(looks, [0, 1, 5, 15, 45, 75, 105]);
}

#[test]
fn a_set_that_did_not_change_is_asked_for_by_its_tag() {
    let store = InMemoryStore::default();
    let mut source = source(1);
    let query = source.tick(&store, at(0));
    assert_eq!(asks(&query).unwrap().headers.len(), 2, "what is accepted, in which coding, and no condition");
    let tagged = HttpResponse {
        status: 200,
        etag: Some("\"1\"".to_owned()),
        last_modified: Some("yesterday".to_owned()),
        body: SET.as_bytes().to_vec(),
        ..HttpResponse::default()
    };
    source.answered(&store, Ok(tagged), at(0));
    let news = source.tick(&store, at(550));
    let headers = &asks(&news).unwrap().headers;
    assert_eq!(headers[2], ("if-none-match".to_owned(), SecretValue("\"1\"".to_owned())));
    assert_eq!(headers[3], ("if-modified-since".to_owned(), SecretValue("yesterday".to_owned())));
    let news = source.answered(&store, answer(304, ""), at(550));
    assert!(!news.contains(&SourceEvent::Changed));
    assert!(source.keys(at(550 + 4199)).is_some() && source.keys(at(550 + 4200)).is_none());
}

#[test]
fn discovery_leads_to_the_keys_and_nowhere_else() {
    let origin = Origin::Discovery {
        document: endpoint("/.well-known/openid-configuration"),
        issuers: vec!["https://idp".to_owned()],
        elsewhere: None,
    };
    let store = InMemoryStore::default();
    let mut source = Source::new(remote(origin), 1, None);
    let news = source.tick(&store, at(0));
    assert_eq!(asks(&news).unwrap().endpoint.path, "/.well-known/openid-configuration");
    let document = r#"{"issuer":"https://idp","jwks_uri":"https://idp/k"}"#;
    let news = source.answered(&store, answer(200, document), at(0));
    assert_eq!(asks(&news).unwrap().endpoint.path, "/k");
    source.answered(&store, answer(200, SET), at(0));
    assert!(source.keys(at(0)).is_some());
    let news = source.tick(&store, at(550));
    assert!(asks(&news).unwrap().endpoint.path.starts_with("/.well-known"), "it may have moved");
    let evil = document.replace("https://idp/k", "https://evil/k");
    let news = source.answered(&store, answer(200, &evil), at(550));
    assert!(asks(&news).is_none());
    assert!(log(&news).contains("name that host and its cluster in discovery.jwks"));
    assert!(source.keys(at(550)).is_some());
}

#[test]
fn damage_and_lies_in_the_store_keep_nobody_from_its_keys() {
    let store = InMemoryStore::default();
    let secret = Some("0123456789abcdef0123456789abcdef");
    let remote = remote(Origin::Jwks(endpoint("/jwks")));
    let mut honest = Source::new(remote.clone(), 1, secret);
    honest.tick(&store, at(0));
    honest.answered(&store, answer(200, SET), at(0));
    // Somebody without the secret writes what the same source would write without one.
    let mut forger = Source::new(remote.clone(), 2, None);
    assert!(asks(&forger.tick(&store, at(0))).is_some(), "sees nothing");
    forger.answered(&store, answer(200, &SET.replace("\"a\"", "\"evil\"")), at(0));
    let mut other = Source::new(remote, 3, secret);
    other.read_store(&store, at(1));
    assert!(other.keys(at(1)).is_none());
    let news = other.tick(&store, at(1));
    assert!(asks(&news).is_some(), "fetches for itself");
    other.answered(&store, answer(200, SET), at(1));
    assert!(other.keys(at(1)).unwrap().has_kid("a"));
    // The honest one keeps what it has.
    honest.tick(&store, at(2));
    assert!(honest.keys(at(2)).unwrap().has_kid("a"));
}

#[test]
fn a_clock_that_was_set_back_stops_nobody() {
    let store = InMemoryStore::default();
    let mut source = warm(&store, 1);
    let (mut fresh, before) = (Source::new(source.remote().clone(), 2, None), Timestamp::from_secs(900_000));
    source.tick(&store, at(550));
    // 27 hours earlier, a lease and a copy lie far in the future.
    fresh.read_store(&store, before);
    assert!(
        !fresh.expects_answer(before)
            || asks(&fresh.tick(&store, before)).is_some()
            || fresh.keys(before).is_some()
    );
    assert!(fresh.keys(before.plus(secs(4200))).is_none(), "not trusted for longer than ever");
}

#[test]
fn the_answer_may_shorten_the_life_of_keys_but_not_under_a_minute() {
    for (cache_duration, header, expected) in [
        (600, None, 600),
        (600, Some("public, max-age=300"), 300),
        (600, Some("Max-Age=\"120\", must-revalidate"), 120),
        (600, Some("max-age=15"), 60),
        (600, Some("max-age=0"), 60),
        (600, Some("no-store"), 60),
        (600, Some("private, No-Cache"), 60),
        (600, Some("no-cache=\"set-cookie\""), 60),
        (600, Some("no-cache, max-age=300"), 300),
        (600, Some("max-age=300, no-store"), 300),
        (600, Some("no-transform"), 600),
        (600, Some("must-revalidate"), 600),
        (30, Some("no-store"), 30),
        (600, Some("max-age=86400"), 600),
        (600, Some("max-age=x"), 600),
        (30, Some("max-age=5"), 30),
    ] {
        let cache_control = header.map(str::to_owned);
        let max_age = max_age(&HttpResponse { cache_control, ..HttpResponse::default() });
        assert_eq!(lifetime(secs(cache_duration), max_age), secs(expected), "{header:?}");
    }
}

#[test]
fn keys_at_hand_do_not_last_longer_for_a_clock_that_was_set_back() {
    let store = InMemoryStore::default();
    let mut source = warm(&store, 1);
    source.still_missing(&store, "x", at(0), at(0));
    assert_eq!(source.unknown_kid(&store, "x", true, at(0)), UnknownKid::Missing);
    let back = Timestamp::from_secs(900_000);
    source.tick(&store, back);
    assert_eq!(
        source.unknown_kid(&store, "x", true, back),
        UnknownKid::Wait,
        "not remembered for longer either"
    );
    assert!(source.next_fetch_in(back) <= secs(540));
    for (later, there) in [(4199, true), (4200, false)] {
        assert_eq!(source.keys(back.plus(secs(later))).is_some(), there, "{later} s later");
    }
}

#[test]
fn one_that_was_held_up_takes_over_what_another_fetched_meanwhile() {
    let store = InMemoryStore::default();
    let (mut one, mut two) = (source(1), source(2));
    assert!(asks(&one.tick(&store, at(0))).is_some());
    // Its thread is stuck for longer than its lease.
    assert!(asks(&two.tick(&store, at(7))).is_some());
    two.answered(&store, answer(200, SET), at(7));
    let news = one.tick(&store, at(8));
    assert!(asks(&news).is_none(), "it does not fetch once more");
    assert!(one.keys(at(8)).unwrap().has_kid("a"));
}

#[test]
fn a_set_that_was_fetched_after_the_shared_state_was_lost_is_seen_by_everyone() {
    let store = InMemoryStore::default();
    let mut one = warm(&store, 1);
    let mut two = source(2);
    two.read_store(&store, at(0));
    // Somebody empties the value from which the instances know what there is.
    store.put(&SharedSlot::new(&one.remote().identity(), None).state_name(), b"").unwrap();
    assert!(asks(&one.tick(&store, at(550))).is_some());
    one.answered(&store, answer(200, &SET.replace("\"a\"", "\"b\"")), at(550));
    two.tick(&store, at(550));
    assert!(two.keys(at(550)).unwrap().has_kid("b"));
}

/// A set with keys of these kids.
fn set_of(kids: &[&str]) -> String {
    let key = |kid: &&str| {
        format!(
            r#"{{"kty":"EC","crv":"P-256","kid":"{kid}","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}}"#
        )
    };
    format!(r#"{{"keys":[{}]}}"#, kids.iter().map(key).collect::<Vec<_>>().join(","))
}

/// Instances of one proxy that have the keys of second 0.
fn proxy(store: &InMemoryStore, count: u64, kids: &[&str]) -> Vec<Source> {
    let mut all: Vec<Source> = (1..=count).map(source).collect();
    assert!(asks(&all[0].tick(store, at(0))).is_some());
    all[0].answered(store, answer(200, &set_of(kids)), at(0));
    for source in &mut all {
        source.tick(store, at(0));
        assert!(source.keys(at(0)).is_some());
    }
    all
}

#[test]
fn a_kid_that_one_instance_looked_for_costs_the_others_nothing() {
    for count in [2, 4, 8] {
        let store = InMemoryStore::default();
        let mut all = proxy(&store, count, &["a"]);
        let mut fetches = 0;
        // Once a second for half a minute, each time with the next instance.
        for second in 1..=30 {
            let now = at(second);
            let one = &mut all[usize::try_from(second % count).unwrap()];
            one.tick(&store, now);
            if one.unknown_kid(&store, "dead", true, now) == UnknownKid::Wait {
                fetches += 1;
                assert!(asks(&one.tick(&store, now)).is_some());
                one.answered(&store, answer(200, &set_of(&["a"])), now);
                one.still_missing(&store, "dead", now, now);
            }
            for other in &mut all {
                other.tick(&store, now);
            }
            let later = now.plus(Duration::from_millis(500));
            for other in &mut all {
                assert_eq!(other.unknown_kid(&store, "dead", true, later), UnknownKid::Missing, "{second}");
            }
        }
        assert_eq!(fetches, 4, "at once, and 1, 5 and 15 seconds later");
        let mut late = source(99);
        late.read_store(&store, at(31));
        assert_eq!(
            late.unknown_kid(&store, "dead", true, at(31)),
            UnknownKid::Missing,
            "one that comes later"
        );
    }
}

#[test]
fn a_kid_whose_key_is_gone_is_looked_for_by_nobody_and_its_return_is_noticed_within_a_minute() {
    let store = InMemoryStore::default();
    let mut all = proxy(&store, 4, &["a", "b"]);
    all[2].unknown_kid(&store, "x", true, at(10));
    assert!(asks(&all[2].tick(&store, at(10))).is_some());
    all[2].answered(&store, answer(200, &set_of(&["b"])), at(10));
    for source in &mut all {
        source.tick(&store, at(10));
    }
    all.push(source(99));
    all[4].read_store(&store, at(10));
    for tenth in 1..480 {
        let now = at(10).plus(Duration::from_millis(100 * tenth));
        for source in &mut all {
            assert!(asks(&source.tick(&store, now)).is_none(), "{tenth}");
            assert_eq!(source.unknown_kid(&store, "a", true, now), UnknownKid::Missing, "{tenth}");
        }
    }
    // The bucket is as full as it was.
    assert_eq!(all[0].unknown_kid(&store, "y", true, at(58)), UnknownKid::Wait);
    let due = (58..=71).find(|second| asks(&all[1].tick(&store, at(*second))).is_some());
    assert!(due.is_some(), "the key may have come back");
}

#[test]
fn the_reserve_serves_a_kid_that_comes_again_and_never_one_that_is_made_up_anew() {
    let store = InMemoryStore::default();
    let mut all = proxy(&store, 2, &["a"]);
    let mut asked = Vec::new();
    for half in 0..240u64 {
        let now = at(10).plus(Duration::from_millis(500 * half));
        let one = &mut all[usize::try_from(half % 2).unwrap()];
        one.tick(&store, now);
        let said = one.unknown_kid(&store, &format!("made-up-{half}"), true, now);
        if said == UnknownKid::Wait {
            assert!(asks(&one.tick(&store, now)).is_some());
            one.answered(&store, answer(200, &set_of(&["a"])), now);
            one.still_missing(&store, &format!("made-up-{half}"), now, now);
            asked.push(half / 2);
        } else {
            assert_eq!(said, UnknownKid::Unavailable, "it could be new");
            assert!(one.retry_in(now) <= secs(5));
        }
    }
    assert_eq!(asked.len(), 3 + 3, "{asked:?}");
    // The bucket is empty; this one is new, and comes again, at another instance.
    let now = at(129).plus(Duration::from_millis(600));
    all.iter_mut().for_each(|one| drop(one.tick(&store, now)));
    assert_eq!(all[0].unknown_kid(&store, "new", true, now), UnknownKid::Unavailable);
    assert_eq!(all[0].unknown_kid(&store, "new", false, now), UnknownKid::Unavailable, "the same request");
    let now = now.plus(secs(1));
    assert_eq!(all[1].unknown_kid(&store, "new", true, now), UnknownKid::Wait);
    assert!(asks(&all[1].tick(&store, now)).is_some());
}

#[test]
fn whatever_kids_come_again_the_fetches_are_bounded() {
    for (kids, pause) in [(1u64, 100u64), (2, 100), (5, 100), (20, 100), (100, 100), (10_000, 10), (3, 1000)]
    {
        let store = InMemoryStore::default();
        let mut all = proxy(&store, 4, &["a"]);
        let mut fetches = 0;
        let mut turn = 0u64;
        let mut now = at(1);
        while now < at(121) {
            let one = &mut all[usize::try_from(turn % 4).unwrap()];
            one.tick(&store, now);
            let kid = format!("k{}", turn % kids);
            if one.unknown_kid(&store, &kid, true, now) == UnknownKid::Wait
                && asks(&one.tick(&store, now)).is_some()
            {
                one.answered(&store, answer(200, &set_of(&["a"])), now);
                one.still_missing(&store, &kid, now, now);
                fetches += 1;
            }
            turn += 1;
            now = now.plus(Duration::from_millis(pause));
        }
        assert!(fetches <= 3 + 4 + 2 + 24, "{fetches} in 120 s for {kids} kids");
    }
}

#[test]
fn while_the_provider_fails_an_unknown_kid_could_be_new_and_tries_cost_the_bucket_nothing() {
    let store = InMemoryStore::default();
    let mut one = proxy(&store, 1, &["a"]).remove(0);
    assert_eq!(one.unknown_kid(&store, "new", true, at(10)), UnknownKid::Wait);
    let mut now = at(10);
    for _ in 0..8 {
        assert!(asks(&one.tick(&store, now)).is_some());
        one.answered(&store, answer(500, ""), now);
        assert_eq!(one.unknown_kid(&store, "new", true, now), UnknownKid::Unavailable);
        let wait = one.retry_in(now);
        assert!(wait > Duration::ZERO && wait <= secs(72), "{wait:?}");
        assert_eq!(one.unknown_kid(&store, "new", true, now.plus(wait / 2)), UnknownKid::Unavailable);
        now = now.plus(wait);
        assert_eq!(one.unknown_kid(&store, "new", true, now), UnknownKid::Wait);
    }
    assert!(asks(&one.tick(&store, now)).is_some());
    one.answered(&store, answer(200, &set_of(&["a", "new"])), now);
    assert!(one.keys(now).unwrap().has_kid("new"));
    let kids = ["w", "x", "y", "z"].map(|kid| {
        let said = one.unknown_kid(&store, kid, true, now);
        let asked = asks(&one.tick(&store, now)).is_some();
        one.answered(&store, answer(200, &set_of(&["a", "new"])), now);
        (said, asked)
    });
    let wait = (UnknownKid::Wait, true);
    assert_eq!(kids, [wait, wait, wait, (UnknownKid::Unavailable, false)]);
}

#[test]
fn what_was_sealed_earlier_takes_nothing_newers_place() {
    let secret = Some("0123456789abcdef0123456789abcdef");
    let remote = remote(Origin::Jwks(endpoint("/jwks")));
    let shelf = SharedSlot::new(&remote.identity(), secret);
    let [state, copy, kids] = ["state", "keys", "notes"].map(|what| {
        let name = shelf.state_name();
        format!("{}.{what}", name.strip_suffix(".state").unwrap())
    });
    // Which of the values are put there again, and how many times before the last state of affairs.
    for replayed in [vec![&state], vec![&copy], vec![&state, &copy], vec![&kids], vec![&state, &copy, &kids]]
    {
        for age in 1..=4usize {
            let store = InMemoryStore::default();
            let mut all: Vec<Source> =
                (1..=3).map(|random| Source::new(remote.clone(), random, secret)).collect();
            let mut before = Vec::new();
            for (turn, kid) in ["a", "b", "c", "d", "e"].iter().enumerate() {
                let now = at(turn as u64 * 600);
                let one = turn % 3;
                assert!(asks(&all[one].tick(&store, now)).is_some(), "{turn}");
                all[one].answered(&store, answer(200, &set_of(&[kid])), now);
                all.iter_mut().for_each(|one| drop(one.tick(&store, now)));
                before
                    .push([&state, &copy, &kids].map(|name| (name, store.get(name).map(|(value, _)| value))));
            }
            let now = at(4 * 600 + 1);
            let bucket = |one: &mut Source, now| {
                (0..9)
                    .filter(|n| {
                        let said = one.unknown_kid(&store, &format!("{now:?}{n}"), true, now);
                        let asked = said == UnknownKid::Wait && asks(&one.tick(&store, now)).is_some();
                        one.answered(&store, answer(200, &set_of(&["e"])), now);
                        asked
                    })
                    .count()
            };
            assert_eq!(bucket(&mut all[0], now), 3);
            for (name, value) in &before[4 - age] {
                if let Some(value) = value.as_ref().filter(|_| replayed.contains(name)) {
                    store.put(name, value).unwrap();
                }
            }
            for second in 2..20 {
                for one in &mut all {
                    one.tick(&store, at(4 * 600 + second));
                    let keys = one.keys(at(4 * 600 + second)).unwrap();
                    assert!(keys.has_kid("e") && keys.keys().len() == 1, "{replayed:?}, {age} earlier");
                    assert_eq!(
                        one.unknown_kid(&store, "a", true, at(4 * 600 + second)),
                        UnknownKid::Missing,
                        "it was removed"
                    );
                }
            }
            assert_eq!(bucket(&mut all[0], at(4 * 600 + 20)), 0, "{replayed:?}: nor does it fill the bucket");
        }
    }
}

#[test]
fn a_provider_that_says_when_to_come_again_is_heeded_within_bounds() {
    for (status, header, expected) in [
        (503, Some("7"), Some(7)),
        (429, Some("30"), Some(30)),
        (429, Some(" 120 "), Some(120)),
        (500, Some("1"), Some(1)),
        (503, Some("0"), Some(1)),
        (503, Some("300"), Some(300)),
        (503, Some("301"), Some(300)),
        (503, Some("86400"), Some(300)),
        (302, Some("9"), Some(9)),
        (404, Some("9"), Some(9)),
        (503, None, None),
        (503, Some(""), None),
        (503, Some("soon"), None),
        (503, Some("-1"), None),
        (503, Some("1.5"), None),
        (503, Some("99999999999999999999999"), None),
        (503, Some("Fri, 31 Dec 1999 23:59:59 GMT"), None),
    ] {
        for kept in [false, true] {
            let store = InMemoryStore::default();
            let (mut one, mut two) = (source(1), source(2));
            if kept {
                one = warm(&store, 1);
            }
            let now = at(if kept { 550 } else { 0 });
            assert!(asks(&one.tick(&store, now)).is_some());
            let told =
                HttpResponse { status, retry_after: header.map(str::to_owned), ..HttpResponse::default() };
            one.answered(&store, Ok(told), now);
            two.tick(&store, now);
            for source in [&mut one, &mut two] {
                source.need(now);
                let pause = source.next_fetch_in(now).as_secs_f64();
                match expected {
                    Some(expected) => assert_eq!(pause, f64::from(expected), "{status} {header:?}"),
                    None => assert!((0.8..=1.2).contains(&pause), "{status} {header:?}: {pause}"),
                }
            }
        }
    }
}

#[test]
fn a_source_without_keys_is_asked_again_for_a_request_at_most_every_five_seconds() {
    let store = InMemoryStore::default();
    let (mut one, mut two) = (source(1), source(2));
    let mut asked = Vec::new();
    for tenth in 0..1200u64 {
        let now = at(0).plus(Duration::from_millis(100 * tenth));
        for source in [&mut one, &mut two] {
            // Nobody asks for a while in between.
            if !(400..800).contains(&tenth) {
                source.need(now);
            }
            if asks(&source.tick(&store, now)).is_some() {
                asked.push(tenth);
                source.answered(&store, answer(500, ""), now);
            }
        }
    }
    let pauses = |from: u64, to: u64| {
        let within: Vec<u64> = asked.iter().copied().filter(|tenth| (from..to).contains(tenth)).collect();
        within.windows(2).map(|pair| pair[1] - pair[0]).collect::<Vec<_>>()
    };
    assert!(pauses(100, 400).iter().all(|pause| (50..=51).contains(pause)), "{asked:?}");
    assert!(pauses(100, 400).len() >= 4, "{asked:?}");
    assert!(pauses(450, 800).is_empty(), "{asked:?}");
    assert!(pauses(800, 1200).iter().all(|pause| (50..=51).contains(pause)), "{asked:?}");
}

#[test]
fn a_kid_that_is_listed_ten_seconds_late_is_found_within_sixteen_however_rarely_it_comes() {
    let pick = |seed: u64, max: u64| seed.wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29) % max;
    for seed in 1..=400u64 {
        let store = InMemoryStore::default();
        let mut all = proxy(&store, 1 + seed % 4, &["a"]);
        let count = all.len() as u64;
        let first = at(100).plus(Duration::from_millis(1));
        let listed_at = first.plus(Duration::from_millis(pick(seed, 10_001)));
        let (mut now, mut turn, mut fetches) = (first, 0, 0);
        loop {
            let one = &mut all[usize::try_from(pick(seed + turn, count)).unwrap()];
            one.tick(&store, now);
            let mut is_there = one.keys(now).unwrap().has_kid("late");
            if !is_there && one.unknown_kid(&store, "late", true, now) == UnknownKid::Wait {
                assert!(asks(&one.tick(&store, now)).is_some());
                fetches += 1;
                let kids: &[&str] = if now >= listed_at { &["a", "late"] } else { &["a"] };
                one.answered(&store, answer(200, &set_of(kids)), now);
                is_there = one.keys(now).unwrap().has_kid("late");
                if !is_there {
                    one.still_missing(&store, "late", now, now);
                }
            }
            if now >= first.plus(secs(16)) {
                assert!(is_there, "seed {seed}, listed {:?} late", listed_at.since(first));
                break;
            }
            turn += 1;
            // Now and then, and once for sure when the time has come.
            now =
                now.plus(Duration::from_millis(50 + pick(seed * 31 + turn, 7000))).min(first.plus(secs(16)));
        }
        assert!(fetches <= 4, "seed {seed}: {fetches}");
    }
}

/// Lets time pass in steps of a tenth until then, with a tick of each; gives the seconds at which one of them asked,
/// and answers with this.
fn seconds_of_fetches(
    store: &InMemoryStore,
    all: &mut [Source],
    span: std::ops::Range<u64>,
    body: &str,
    mut each: impl FnMut(&mut Source, Timestamp),
) -> Vec<u64> {
    let mut asked = Vec::new();
    for tenth in span.start * 10..span.end * 10 {
        let now = at(0).plus(Duration::from_millis(100 * tenth));
        for source in all.iter_mut() {
            if asks(&source.tick(store, now)).is_some() {
                asked.push(tenth / 10);
                source.answered(store, answer(200, body), now);
            }
            each(source, now);
        }
    }
    asked
}

#[test]
fn signatures_that_do_not_hold_cost_a_fetch_in_each_cooldown_and_no_more() {
    for count in [1, 4] {
        let store = InMemoryStore::default();
        let mut all = proxy(&store, count, &["a"]);
        let mut waits = 0;
        // 4,800 of them, at all instances.
        let asked = seconds_of_fetches(&store, &mut all, 1..121, &set_of(&["a"]), |source, now| {
            waits += u32::from(source.signature_failed(&store, now, now));
        });
        assert_eq!(asked, [30, 60, 90, 120], "{count} instances");
        assert!(waits <= 4 * u32::try_from(count).unwrap(), "{waits} wait");
        // Kids that are new find all that there is.
        for kid in ["x", "y", "z"] {
            assert_eq!(all[0].unknown_kid(&store, kid, true, at(121)), UnknownKid::Wait);
            assert!(asks(&all[0].tick(&store, at(121))).is_some());
            all[0].answered(&store, answer(200, &set_of(&["a"])), at(121));
        }
    }
}

#[test]
fn a_key_that_was_replaced_under_its_kid_is_fetched_within_the_cooldown_for_a_single_token() {
    let other = set_of(&["a"]).replace(
        "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
        "MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4",
    );
    let other = other.replace(
        "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0",
        "4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM",
    );
    // When it comes; whether it waits; when the fetch is made.
    for (second, waits, fetched) in
        [(1, false, 30), (29, false, 30), (30, true, 30), (31, true, 31), (300, true, 300)]
    {
        let store = InMemoryStore::default();
        let mut all = proxy(&store, 3, &["a"]);
        let before = all[1].keys(at(1)).unwrap().keys()[0].fingerprint;
        assert!(seconds_of_fetches(&store, &mut all, 1..second, &other, |_, _| {}).is_empty());
        all.iter_mut().for_each(|one| drop(one.tick(&store, at(second))));
        assert_eq!(all[1].signature_failed(&store, at(second), at(second)), waits, "{second}");
        let asked = seconds_of_fetches(&store, &mut all, second..second + 40, &other, |_, _| {});
        assert_eq!(asked, [fetched], "{second}");
        for one in &all {
            assert_ne!(one.keys(at(second + 40)).unwrap().keys()[0].fingerprint, before, "{second}");
        }
    }
}

#[test]
fn what_was_fetched_after_a_token_came_settles_its_signature_and_what_is_under_way_is_waited_for() {
    let store = InMemoryStore::default();
    let mut all = proxy(&store, 2, &["a"]);
    all.iter_mut().for_each(|one| drop(one.tick(&store, at(40))));
    assert!(all[0].signature_failed(&store, at(40), at(40)));
    assert!(asks(&all[0].tick(&store, at(41))).is_some());
    all[1].tick(&store, at(41));
    assert!(all[1].signature_failed(&store, at(41).plus(secs(1)), at(42)), "another instance asks");
    all[0].answered(&store, answer(200, &set_of(&["a"])), at(43));
    assert!(all[1].signature_failed(&store, at(42), at(43)), "it has not taken over yet");
    all[1].tick(&store, at(43));
    for one in &mut all {
        assert!(!one.signature_failed(&store, at(40), at(43)), "it was fetched after that");
        assert!(
            !one.signature_failed(&store, at(42), at(43)),
            "it was fetched before that, and not long ago"
        );
    }
    let asked = seconds_of_fetches(&store, &mut all, 44..100, &set_of(&["a"]), |_, _| {});
    assert_eq!(asked, [71], "a cooldown after the last one began");
}

#[test]
fn while_the_provider_fails_a_doubtful_signature_is_looked_after_by_the_tries_of_the_outage() {
    let store = InMemoryStore::default();
    let mut one = proxy(&store, 1, &["a"]).remove(0);
    one.tick(&store, at(40));
    assert!(one.signature_failed(&store, at(40), at(40)));
    let mut tries = Vec::new();
    for second in 40..400 {
        if asks(&one.tick(&store, at(second))).is_some() {
            tries.push(second);
            one.answered(&store, answer(500, ""), at(second));
        }
        let waits = one.signature_failed(&store, at(second), at(second));
        assert!(
            !waits || one.wake_at(true, at(second)) <= at(second),
            "nobody waits for what has yet to be due"
        );
    }
    assert!((6..=13).contains(&tries.len()), "{tries:?}");
    let asked =
        seconds_of_fetches(&store, std::slice::from_mut(&mut one), 400..600, &set_of(&["a"]), |_, _| {});
    assert!((1..=2).contains(&asked.len()) && asked[0] <= 472, "{asked:?}");
}

/// The store of instances that have their memory in common.
#[derive(Default)]
struct OneProcess(InMemoryStore, std::cell::RefCell<std::collections::HashMap<String, Parsed>>);

impl Store for OneProcess {
    fn get(&self, key: &str) -> Option<(Vec<u8>, CasVersion)> {
        self.0.get(key)
    }

    fn replace(&self, key: &str, value: &[u8], stamp: Option<CasVersion>) -> Result<(), Conflict> {
        self.0.replace(key, value, stamp)
    }

    fn put(&self, key: &str, value: &[u8]) -> Result<(), Conflict> {
        self.0.put(key, value)
    }

    fn parsed(&self) -> Option<&dyn ParsedStore> {
        Some(self)
    }
}

impl ParsedStore for OneProcess {
    fn get(&self, key: &str) -> Option<Parsed> {
        self.1.borrow().get(key).cloned()
    }

    fn put(&self, key: &str, parsed: Parsed) {
        self.1.borrow_mut().insert(key.to_owned(), parsed);
    }

    fn release(&self, key: &str) {
        self.1.borrow_mut().remove(key);
    }
}

#[test]
fn instances_of_one_process_use_the_same_keys_unless_they_read_them_in_another_way() {
    let store = OneProcess::default();
    let mut first = source(7);
    assert!(asks(&first.tick(&store, at(0))).is_some());
    first.answered(&store, answer(200, SET), at(0));
    let keys = Arc::clone(first.keys(at(0)).unwrap());
    let mut second = source(8);
    second.read_store(&store, at(1));
    assert!(Arc::ptr_eq(&keys, second.keys(at(1)).unwrap()), "read once");

    // Of another configuration, with the same keys.
    let remote = Remote { tried_without_kid: 1, ..remote(Origin::Jwks(endpoint("/jwks"))) };
    let mut other = Source::new(remote, 9, None);
    other.read_store(&store, at(1));
    let its = other.keys(at(1)).unwrap();
    assert!(!Arc::ptr_eq(&keys, its), "read in its own way");
    assert_eq!(its.keys().len(), 1);

    // What is kept is not of this answer.
    first.tick(&store, at(560));
    let two = SET.replace(r#""keys":["#, r#""keys":[{},"#);
    first.answered(&store, answer(200, &two), at(560));
    let kept = store.1.borrow().clone();
    first.tick(&store, at(1120));
    first.answered(&store, answer(200, SET), at(1120));
    *store.1.borrow_mut() = kept;
    second.tick(&store, at(1121));
    assert!(second.keys(at(1121)).unwrap().skipped().is_empty(), "the keys of the answer itself");
}
