//! What was revoked stays revoked for as long as its token could be used: past its end by the clock skew, while
//! clocks go astray, and whatever older list somebody serves.

use portcullis::{
    RevocationDraft as Draft, RevocationIndex as Index, RevocationKey as Key, RevocationKind as Kind,
    Timestamp,
};
use serde_json::{Value, json};

use crate::revoked::fleet::{Fleet, ISSUER, START, Served, config, polled, signed, token};
use crate::revoked::status_lists::{PATH, URI, judged, list, list_claims, referring, sources};

const END: u64 = START + 1000;

fn at(seconds: f64) -> Timestamp {
    Timestamp::from_nanos((seconds * 1e9) as u64)
}

/// Every kind of entry and cut-off that ends with its token, and the claims that it is about.
fn entries() -> Vec<(&'static str, Value, Value)> {
    let entry = |more: Value| {
        let mut entry = json!({ "issuer": ISSUER, "until": END });
        entry.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        json!({ "version": 1, "entries": [entry] })
    };
    let cutoff = |more: Value| {
        let mut cutoff = json!({ "issued_before": START, "until": END });
        cutoff.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        json!({ "version": 1, "cutoffs": [cutoff] })
    };
    vec![
        ("jti", entry(json!({ "jti": "a" })), json!({ "jti": "a" })),
        ("sid", entry(json!({ "sid": "a" })), json!({ "sid": "a" })),
        ("sub", entry(json!({ "sub": "a" })), json!({ "sub": "a" })),
        ("client_id", entry(json!({ "client_id": "a" })), json!({ "client_id": "a" })),
        ("azp", entry(json!({ "client_id": "a" })), json!({ "azp": "a" })),
        ("the subject's", cutoff(json!({ "issuer": ISSUER, "sub": "a" })), json!({ "sub": "a" })),
        ("the client's", cutoff(json!({ "issuer": ISSUER, "client_id": "a" })), json!({ "azp": "a" })),
        ("the issuer's", cutoff(json!({ "issuer": ISSUER })), json!({})),
        ("everyone's", cutoff(json!({ "everyone": true })), json!({})),
    ]
}

/// A configuration with this clock skew beside another provider's.
fn skewed(revocation: Value, skew: u64, other: u64) -> Value {
    let mut config = config(revocation);
    config["providers"]["p"]["clock_skew_seconds"] = json!(skew);
    let mut second = config["providers"]["p"].clone();
    second["issuer"] = json!("https://other.example");
    second["clock_skew_seconds"] = json!(other);
    config["providers"]["other"] = second;
    config
}

/// A fleet that has the list, in this form.
fn fleet(form: &str, list: &Value, skew: u64, other: u64) -> Fleet {
    let inline = form == "inline";
    let revocation =
        if inline { json!({ "inline": list }) } else { polled(json!({ "max_staleness": "86400s" })) };
    let mut fleet = Fleet::start(2, &skewed(revocation, skew, other));
    match form {
        "inline" => {}
        "list" => fleet.list(list),
        _ => {
            let mut draft = Draft::default();
            for (name, cut) in [("entries", false), ("cutoffs", true)] {
                for line in list[name].as_array().into_iter().flatten() {
                    assert_eq!(line.get("issued_before").is_some(), cut);
                    draft.line(line.to_string().as_bytes(), None).expect("a line");
                }
            }
            let pages = draft.finish(1, Timestamp::default());
            fleet.serve("/r/list.json", Served::Well(pages.index().to_json().into_bytes()));
            for page in pages.pages() {
                let path = Index::page_path("/r/list.json", page.digest());
                fleet.serve(&path, Served::Plain(page.bytes().to_vec()));
            }
        }
    }
    fleet.seconds(2);
    fleet
}

#[test]
fn an_entry_outlives_its_token_by_the_largest_clock_skew() {
    let mut forms = 0;
    for form in ["inline", "list", "pages"] {
        for (name, list, claims) in entries() {
            for (skew, other) in [(60, 5), (0, 0), (5, 300)] {
                let what = format!("{form}, {name}, skew {skew} beside {other}");
                let mut fleet = fleet(form, &list, skew, other);
                let mut own = claims.clone();
                own["exp"] = json!(END);
                let (ends, longer) = (token(own), token(claims.clone()));
                let last = END + skew.max(other);
                for second in [END - 1, END, (END + skew).saturating_sub(1), last - 1] {
                    if second >= last {
                        continue;
                    }
                    fleet.now = Timestamp::from_secs(second);
                    if second >= END + skew {
                        assert_eq!(fleet.show(&ends), "expired", "{what}, {second}");
                        assert_eq!(fleet.show(&longer), "revoked", "{what}, {second}");
                    } else {
                        assert_eq!(fleet.show(&ends), "revoked", "{what}, {second}");
                    }
                }
                fleet.now = Timestamp::from_secs(last);
                assert_eq!(fleet.show(&ends), "expired", "{what}");
                assert_eq!(fleet.show(&longer), "allow", "{what}: entries do end");
                forms += 1;
            }
        }
    }
    assert_eq!(forms, 81);
}

#[test]
fn an_exp_with_a_fraction_lasts_no_longer_than_the_entry_that_was_made_of_it() {
    for (name, list, claims) in entries() {
        let mut fleet = fleet("list", &list, 60, 0);
        let mut own = claims.clone();
        own["exp"] = json!(END as f64 + 0.75);
        let own = token(own);
        for (second, expected) in [(60.0, "revoked"), (60.5, "revoked"), (60.75, "expired")] {
            fleet.now = at(END as f64 + second);
            assert_eq!(fleet.show(&own), expected, "{name}, {second}");
        }
    }
}

#[test]
fn a_list_that_was_read_while_the_clock_was_ahead_lacks_nothing_when_it_is_set_back() {
    for form in ["inline", "list", "pages"] {
        for (name, list, claims) in entries() {
            let what = format!("{form}, {name}");
            let mut fleet = Fleet::start(1, &config(json!({ "inline": list })));
            if form != "inline" {
                let early = self::fleet(form, &list, 60, 0);
                // The same network, and workers whose clocks are a day ahead when they read the list.
                fleet = Fleet::start(0, &config(polled(json!({ "max_staleness": "86400s" }))));
                fleet.served = early.served;
                fleet.now = Timestamp::from_secs(START + 86_400);
                fleet.join();
                fleet.join();
                fleet.seconds(2);
            }
            let mut own = claims.clone();
            own["exp"] = json!(END);
            let (own, longer) = (token(own), token(claims));
            fleet.now = Timestamp::from_secs(START + 86_400 - 600);
            assert_eq!(fleet.show(&own), "expired", "{what}");
            assert_eq!(fleet.show(&longer), "allow", "{what}: ended, as far as this clock knows");
            fleet.now = Timestamp::from_secs(START + 10);
            // At once, not with the next tick, and from then on.
            for _ in 0..3 {
                assert_eq!((fleet.show(&own), fleet.show(&longer)), ("revoked", "revoked"), "{what}");
                fleet.seconds(11);
            }
        }
    }
}

#[test]
fn an_older_status_list_takes_no_newer_ones_place() {
    let mut forms = 0;
    for (issued, taken) in [
        (json!(START - 100), false),
        (json!(START - 1), false),
        (json!(START), true),
        (json!(START as f64 - 0.5), false),
        (json!(START as f64 + 0.5), true),
        (json!(START + 1), true),
        (json!(0), false),
    ] {
        for (before, after, older) in [(0b0010u8, 0b0000u8, "revoked"), (0b0000, 0b0010, "allow")] {
            for workers in [1, 3] {
                let mut fleet = Fleet::start(workers, &config(sources(json!({ "max_staleness": "60s" }))));
                fleet.serve(PATH, list(&[before], json!({ "iat": START })));
                let token = referring(1);
                judged(&mut fleet, &token);
                for worker in 0..workers {
                    fleet.on(worker, "/", &token);
                }
                fleet.seconds(1);
                assert_eq!(fleet.show(&token), older);
                fleet.serve(PATH, list(&[after], json!({ "iat": issued })));
                fleet.seconds(25);
                let newer = if older == "revoked" { "allow" } else { "revoked" };
                let expected = if taken { newer } else { older };
                assert_eq!(fleet.show(&token), expected, "{issued}, {before} and {after}, {workers}");
                let said = fleet.log.iter().any(|line| line.contains("its \"iat\" is before"));
                assert_eq!(said, !taken, "{issued}: {:?}", fleet.log);
                if !taken && older == "allow" {
                    // An old list does not confirm the newer one either.
                    fleet.seconds(60);
                    assert_ne!(fleet.show(&token), "allow", "{issued}: it is too old to trust");
                }
                forms += 1;
            }
        }
    }
    assert!(forms >= 20);
}

#[test]
fn a_status_list_that_is_too_old_to_trust_still_revokes_what_it_revoked() {
    for on_unavailable in ["allow", "deny"] {
        for more in [json!({ "exp": START + 30 }), json!({ "exp": null })] {
            let more_config = json!({ "max_staleness": "60s", "on_unavailable": on_unavailable });
            let mut fleet = Fleet::start(2, &config(sources(more_config)));
            fleet.serve(PATH, list(&[0b0010], more.clone()));
            let (bad, good) = (referring(1), referring(0));
            judged(&mut fleet, &bad);
            fleet.on(1, "/", &bad);
            fleet.seconds(1);
            fleet.serve(PATH, Served::Status(500));
            fleet.seconds(100);
            assert_eq!(fleet.show(&bad), "revoked", "{on_unavailable}, {more}");
            let expected = if on_unavailable == "allow" { "allow" } else { "revocation_unavailable" };
            assert_eq!(fleet.show(&good), expected, "{on_unavailable}, {more}");
        }
    }
}

#[test]
fn a_status_list_is_asked_for_while_its_tokens_are_used_however_long_it_may_serve() {
    let mut fleet = Fleet::start(2, &config(sources(json!({ "max_staleness": "86400s" }))));
    fleet.serve(PATH, list(&[0], json!({ "iat": START })));
    let token = referring(1);
    judged(&mut fleet, &token);
    fleet.on(1, "/", &token);
    for _ in 0..90 {
        fleet.seconds(10);
        assert_eq!(fleet.show(&token), "allow");
    }
    let issued = json!({ "iat": START + 900 });
    let revoked = signed("statuslist+jwt", &crate::revoked::fleet::key(), list_claims(1, &[0b0010], issued));
    fleet.serve(PATH, Served::Well(revoked.into_bytes()));
    fleet.seconds(25);
    assert_eq!(fleet.show(&token), "revoked", "fifteen minutes later: {URI}");
}

#[test]
fn a_name_of_another_type_than_text_refuses_the_token_where_revocation_is_configured() {
    let others = [
        json!(7),
        json!(-1),
        json!(1.5),
        json!(true),
        json!(false),
        json!(["a"]),
        json!([]),
        json!({ "a": "b" }),
        json!({}),
        Value::Null,
    ];
    let nobody = json!({ "version": 1, "entries": [] });
    let mut fleets = [
        Fleet::start(1, &config(json!({ "inline": nobody }))),
        Fleet::start(1, &config(polled(json!({})))),
        Fleet::start(1, &config(sources(json!({})))),
    ];
    fleets[1].list(&nobody);
    let mut off = config(json!({}));
    off.as_object_mut().expect("fields").remove("revocation");
    let mut off = Fleet::start(1, &off);
    off.seconds(1);
    let mut forms = 0;
    for fleet in &mut fleets {
        fleet.seconds(1);
        for name in ["client_id", "azp", "sid"] {
            for value in &others {
                let mut claims = crate::revoked::fleet::claims(json!({ "jti": "a" }));
                claims[name] = value.clone();
                let token = signed("JWT", &crate::revoked::fleet::key(), claims);
                for _ in 0..2 {
                    assert_eq!(fleet.show(&token), "claim_invalid", "{name}: {value}");
                }
                assert_eq!(fleet.on(0, "/glass", &token), "allow", "a rule that ignores revocations");
                assert_eq!(off.show(&token), "allow", "nobody asks for the name");
                forms += 1;
            }
            for value in ["", "a", "7", "null"] {
                assert_eq!(fleet.show(&token(json!({ name: value }))), "allow", "{name}: {value:?}");
            }
        }
    }
    assert_eq!(forms, 90);
    assert_ne!(Key::new(Kind::Client, ISSUER, "7").0, Key::new(Kind::Session, ISSUER, "7").0);
}

/// A list of this number, and a token whose status is in it.
fn numbered(fleet: &mut Fleet, number: usize, bits: u8) -> String {
    let uri = format!("https://status.example/lists/n{number}");
    let claims = list_claims(1, &[bits], json!({ "sub": uri }));
    let body = signed("statuslist+jwt", &crate::revoked::fleet::key(), claims);
    fleet.serve(&format!("/lists/n{number}"), Served::Well(body.into_bytes()));
    token(json!({ "status": { "status_list": { "idx": 1, "uri": uri } } }))
}

/// The names in the shared store, and how many bytes their values have.
fn shared(fleet: &Fleet) -> (usize, usize) {
    use portcullis::Store;
    let names = fleet.store.names();
    let size = |name: &String| fleet.store.get(name).map_or(0, |(value, _)| value.len());
    (names.len(), names.iter().filter(|name| !name.ends_with(".notes")).map(size).sum())
}

#[test]
fn forgotten_status_lists_leave_nothing_in_the_shared_store_but_a_fixed_number_of_empty_places() {
    for workers in [1, 3] {
        let more = json!({ "max_lists": 4, "max_staleness": "60s" });
        let mut fleet = Fleet::start(workers, &config(sources(more)));
        let mut most = 0;
        for number in 0..60 {
            let token = numbered(&mut fleet, number, if number % 2 == 0 { 0 } else { 0b10 });
            for worker in 0..workers {
                fleet.on(worker, "/", &token);
            }
            fleet.seconds(3);
            let expected = if number % 2 == 0 { "allow" } else { "revoked" };
            assert_eq!(fleet.show(&token), expected, "list {number}: {:?}", fleet.log.last());
            let fetched = fleet.asked.iter().filter(|path| **path == format!("/lists/n{number}")).count();
            assert_eq!(fetched, 1, "one fetch for the proxy");
            most = most.max(shared(&fleet).0);
            fleet.seconds(40);
        }
        assert!(most <= 2 * 16 + 1, "{most} names");
        let (_, before) = shared(&fleet);
        assert!(before > 0);
        fleet.seconds(800);
        assert_eq!(shared(&fleet).1, 0, "{workers} workers: the values of forgotten lists are empty");
        // And the places serve again.
        let token = numbered(&mut fleet, 1000, 0b10);
        fleet.on(0, "/", &token);
        fleet.seconds(3);
        assert_eq!(judged(&mut fleet, &token), "revoked");
        assert!(shared(&fleet).0 <= 2 * 16 + 1);
    }
}

#[test]
fn a_list_whose_place_went_to_another_finds_a_new_one_and_says_the_same() {
    let mut fleet = Fleet::start(2, &config(sources(json!({ "max_lists": 1, "max_staleness": "60s" }))));
    let first = numbered(&mut fleet, 0, 0b10);
    for number in 1..30 {
        let other = numbered(&mut fleet, number, 0);
        for token in [&first, &other] {
            fleet.seconds(61);
            judged(&mut fleet, token);
            fleet.on(1, "/", token);
            fleet.seconds(3);
            let expected = if token == &first { "revoked" } else { "allow" };
            assert_eq!(fleet.show(token), expected, "{number}");
        }
    }
    assert!(shared(&fleet).0 <= 2 * 4 + 1);
}

#[test]
fn more_lists_than_there_is_room_for_are_refused_and_no_wrong_list_is_asked() {
    let mut fleet = Fleet::start(1, &config(sources(json!({ "max_lists": 2 }))));
    let tokens: Vec<String> =
        (0..6).map(|number| numbered(&mut fleet, number, (number as u8 % 2) << 1)).collect();
    let said: Vec<&str> = tokens.iter().map(|token| judged(&mut fleet, token)).collect();
    let denied = "revocation_unavailable";
    assert_eq!(said, ["allow", "revoked", denied, denied, denied, denied]);
}
