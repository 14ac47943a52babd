//! Token Status Lists: the rows of the list of attacks that are about them. `status_cases` has the tables.

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use harness::idp::{Alg, Key, jwks};
use portcullis::{FetchError, StatusBits as Bits, StatusError};
use serde_json::{Value, json};

use crate::common::zlib;
use crate::revoked::fleet::{Fleet, START, Served, claims, config, key, signed, token};

pub(crate) const URI: &str = "https://status.example/lists/1";
pub(crate) const PATH: &str = "/lists/1";

pub(crate) fn sources(more: Value) -> Value {
    let mut source =
        json!({ "uri_prefix": "https://status.example/lists/", "cluster": "status", "timeout": "2s" });
    for (name, value) in more.as_object().expect("fields") {
        source[name] = value.clone();
    }
    json!({ "status_lists": [source] })
}

pub(crate) fn lst(bytes: &[u8]) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(zlib(bytes))
}

/// The claims of a status list token, with some replaced; `null` takes one away.
pub(crate) fn list_claims(bits: u8, bytes: &[u8], more: Value) -> Value {
    let mut all = json!({ "sub": URI, "iat": START, "exp": START + 100_000, "ttl": 20,
        "status_list": { "bits": bits, "lst": lst(bytes) } });
    for (name, value) in more.as_object().expect("claims") {
        all[name] = value.clone();
        if value.is_null() {
            all.as_object_mut().expect("claims").remove(name);
        }
    }
    all
}

pub(crate) fn list(bytes: &[u8], more: Value) -> Served {
    let claims = list_claims(1, bytes, more);
    Served::Well(signed("statuslist+jwt", &key(), claims).into_bytes())
}

/// A token whose status is at this place.
pub(crate) fn referring(at: impl Into<Value>) -> String {
    token(json!({ "status": { "status_list": { "idx": at.into(), "uri": URI } } }))
}

/// What a fleet makes of a token, once what it waited for is there.
pub(crate) fn judged(fleet: &mut Fleet, token: &str) -> &'static str {
    match fleet.on(0, "/", token) {
        "wait" => {
            fleet.seconds(4);
            fleet.woken.pop().expect("it is woken")
        }
        other => other,
    }
}

#[test]
fn a_token_works_is_revoked_and_is_refused_by_every_worker_within_the_ttl() {
    let mut fleet = Fleet::start(3, &config(sources(json!({}))));
    fleet.serve(PATH, list(&[0b0000_0000], json!({})));
    let (ours, other) = (referring(3), referring(4));
    assert_eq!(judged(&mut fleet, &ours), "allow");
    for worker in 0..3 {
        assert_eq!(fleet.on(worker, "/", &other), if worker == 0 { "allow" } else { "wait" });
    }
    fleet.seconds(1);
    assert_eq!((fleet.show(&ours), fleet.show(&other)), ("allow", "allow"));
    assert_eq!(fleet.asked, [PATH], "one fetch for the proxy");
    fleet.serve(PATH, list(&[0b0000_1000], json!({})));
    fleet.seconds(21);
    assert_eq!((fleet.show(&ours), fleet.show(&other)), ("revoked", "allow"));
    fleet.serve(PATH, list(&[0b0000_0000], json!({})));
    fleet.seconds(21);
    assert_eq!(fleet.show(&ours), "allow", "a suspension that ended");
    assert_eq!(fleet.show(&token(json!({}))), "allow", "a token without status needs no list");
}

#[test]
fn t1_a_place_that_is_not_in_the_list_or_no_place_at_all_is_refused() {
    for at in [
        json!(8),
        json!(1 << 20),
        json!(u64::MAX),
        json!(1.8e19),
        json!(-1),
        json!("0"),
        json!(0.5),
        json!(null),
        json!([0]),
    ] {
        let mut fleet = Fleet::start(1, &config(sources(json!({}))));
        fleet.serve(PATH, list(&[0], json!({})));
        let token = token(json!({ "status": { "status_list": { "idx": at, "uri": URI } } }));
        assert_eq!(judged(&mut fleet, &token), "claim_invalid", "{at}");
    }
    for status in [
        json!({}),
        json!("x"),
        json!({ "status_list": {} }),
        json!({ "status_list": { "idx": 0 } }),
        json!({ "other": 1 }),
        json!(null),
    ] {
        let mut fleet = Fleet::start(1, &config(sources(json!({}))));
        let header = json!({ "alg": "ES256", "kid": key().kid(), "typ": "JWT" });
        let mut all = claims(json!({}));
        all["status"] = status.clone();
        let token = key().sign_jws(&header, all.to_string().as_bytes());
        assert_eq!(fleet.on(0, "/", &token), "claim_invalid", "{status}");
    }
}

#[test]
fn t2_the_first_status_is_in_the_lowest_bits() {
    let bytes = [0xb9, 0xa3];
    let cases: [(u8, &[u8]); 4] = [
        (1, &[1, 0, 0, 1, 1, 1, 0, 1, 1, 1, 0, 0, 0, 1, 0, 1]),
        (2, &[1, 2, 3, 2, 3, 0, 2, 2]),
        (4, &[9, 11, 3, 10]),
        (8, &[0xb9, 0xa3]),
    ];
    for (bits, expected) in cases {
        let read = read(bits.into(), &lst(&bytes), 100).expect("a list");
        let found: Vec<u8> = (0..).map_while(|at| read.get(at)).collect();
        assert_eq!(found, expected, "{bits} bits");
    }
}

pub(super) fn read(bits: u64, lst: &str, most: usize) -> Result<Bits, StatusError> {
    let text = json!({ "bits": bits, "lst": lst }).to_string();
    let Ok(portcullis::Json::Object(list)) = portcullis::parse_json(text.as_bytes()) else {
        panic!("an object")
    };
    Bits::read(&list, most)
}

#[test]
fn t3_a_list_of_another_place_type_signer_or_time_is_no_list() {
    let foreign = Key::cached(Alg::ES256, "foreign").with_kid("k-1");
    let unknown = Key::cached(Alg::ES256, "foreign");
    let jwt = |key: &Key, typ: &str, more: Value| signed(typ, key, list_claims(1, &[0], more)).into_bytes();
    let ours = |more: Value| jwt(&key(), "statuslist+jwt", more);
    let cases = [
        ("other sub", ours(json!({ "sub": format!("{URI}x") }))),
        ("no sub", ours(json!({ "sub": null }))),
        ("typ JWT", jwt(&key(), "JWT", json!({}))),
        ("typ at+jwt", jwt(&key(), "at+jwt", json!({}))),
        ("another signer", jwt(&foreign, "statuslist+jwt", json!({}))),
        ("an unknown key", jwt(&unknown, "statuslist+jwt", json!({}))),
        ("expired", ours(json!({ "exp": START }))),
        ("from the future", ours(json!({ "iat": START + 1000 }))),
        ("no iat", ours(json!({ "iat": null }))),
        ("no list", ours(json!({ "status_list": null }))),
        ("a ttl that is a text", ours(json!({ "ttl": "20" }))),
        ("a negative ttl", ours(json!({ "ttl": -1 }))),
        ("no token", b"<!doctype html>".to_vec()),
        ("nothing", Vec::new()),
    ];
    for (name, body) in cases {
        let mut fleet = Fleet::start(1, &config(sources(json!({}))));
        fleet.serve(PATH, Served::Plain(body));
        assert_eq!(judged(&mut fleet, &referring(0)), "revocation_unavailable", "{name}");
        fleet.serve(PATH, list(&[0], json!({})));
        fleet.seconds(40);
        assert_eq!(judged(&mut fleet, &referring(0)), "allow", "{name}: healed");
    }
    let mut fleet = Fleet::start(1, &config(sources(json!({}))));
    fleet.serve(PATH, Served::Plain(jwt(&key(), "application/StatusList+JWT", json!({}))));
    assert_eq!(
        judged(&mut fleet, &referring(0)),
        "allow",
        "media types have no case (RFC 7515 section 4.1.9)"
    );
}

#[test]
fn t4_what_unpacks_to_too_much_or_is_no_zlib_is_no_list() {
    let whole = zlib(&[0; 100]);
    let text = |bytes: &[u8]| BASE64_URL_SAFE_NO_PAD.encode(bytes);
    let mut checksum = whole.clone();
    *checksum.last_mut().expect("bytes") ^= 1;
    assert!(read(1, &text(&whole), 100).is_ok());
    assert_eq!(read(1, &text(&whole), 99), Err(StatusError::TooLong(99)));
    for (name, bytes) in [
        ("raw deflate", &whole[2..whole.len() - 4]),
        ("bad checksum", &checksum[..]),
        ("cut", &whole[..whole.len() - 10]),
        ("without its checksum", &whole[..whole.len() - 4]),
        ("empty", &[]),
    ] {
        assert_eq!(read(1, &text(bytes), 1000), Err(StatusError::Compression), "{name}");
    }
    assert_eq!(read(1, &format!("{}=", text(&whole)), 1000), Err(StatusError::Compression), "padding");
    assert_eq!(read(1, "+/+/", 1000), Err(StatusError::Compression), "the other alphabet");
    for bits in [0, 3, 5, 16, 255] {
        assert_eq!(read(bits, &text(&whole), 1000), Err(StatusError::Bits), "{bits}");
    }
}

#[test]
fn t5_nothing_is_asked_of_a_place_that_the_operator_did_not_map() {
    for uri in [
        "https://evil.example/lists/1",
        "https://status.example.evil/lists/1",
        "https://status.example@evil.example/lists/1",
        "https://status.example/lists",
        "https://status.example/lists/",
        "https://status.example/lists/../admin",
        "https://status.example/lists/./1",
        "https://status.example/lists//1",
        "https://status.example/lists/%2e%2e/admin",
        "https://status.example/lists/..%2fadmin",
        "https://status.example/lists/1#x",
        "https://status.example/lists/1\\..",
        "https://status.example/lists/1 HTTP/1.1\r\nhost: evil",
        "http://status.example/lists/1",
        "HTTPS://status.example/lists/1",
        "//status.example/lists/1",
        "/lists/1",
        "",
    ] {
        let mut fleet = Fleet::start(1, &config(sources(json!({}))));
        let token = token(json!({ "status": { "status_list": { "idx": 0, "uri": uri } } }));
        assert_eq!(fleet.on(0, "/", &token), "claim_invalid", "{uri}");
        fleet.seconds(5);
        assert!(fleet.asked.is_empty(), "{uri}: {:?}", fleet.asked);
    }
}

#[test]
fn t6_a_token_is_judged_first_and_nothing_is_asked_for_one_that_fails() {
    let status = json!({ "status": { "status_list": { "idx": 0, "uri": URI } } });
    let with = |more: Value| {
        let mut all = status.clone();
        all.as_object_mut().expect("claims").extend(more.as_object().expect("claims").clone());
        token(all)
    };
    let foreign = Key::cached(Alg::ES256, "foreign").with_kid("k-1");
    for (token, reason) in [
        (with(json!({ "exp": START - 100 })), "expired"),
        (with(json!({ "nbf": START + 1000 })), "not_yet_valid"),
        (with(json!({ "aud": "other" })), "audience_mismatch"),
        (with(json!({ "iss": "https://other.example" })), "issuer_unknown"),
        (signed("JWT", &foreign, claims(status.clone())), "signature_invalid"),
    ] {
        let mut fleet = Fleet::start(1, &config(sources(json!({}))));
        fleet.serve(PATH, list(&[0], json!({})));
        assert_eq!(fleet.on(0, "/", &token), reason);
        fleet.seconds(5);
        assert!(fleet.asked.is_empty(), "{reason}");
    }
}

#[test]
fn t7_a_list_that_cannot_be_had_lets_nobody_in_unless_the_operator_says_so() {
    for (name, served) in [
        ("an error", Served::Status(500)),
        ("a redirect", Served::Status(302)),
        ("no answer", Served::Hang),
        ("a reset", Served::Fails(FetchError::NoAnswer)),
        ("not modified, unasked", Served::Status(304)),
        ("too large", Served::Plain(vec![b'.'; (1 << 20) + 1])),
    ] {
        let mut fleet = Fleet::start(1, &config(sources(json!({}))));
        fleet.serve(PATH, served.clone());
        assert_eq!(judged(&mut fleet, &referring(0)), "revocation_unavailable", "{name}");
        let mut fleet = Fleet::start(1, &config(sources(json!({ "on_unavailable": "allow" }))));
        fleet.serve(PATH, served.clone());
        assert_eq!(judged(&mut fleet, &referring(0)), "allow", "{name}");
        assert_eq!(fleet.gates[0].unchecked(), 1, "{name}");
        if name == "not modified, unasked" {
            continue;
        }
        // A good list serves on while its source fails, but not for ever.
        let mut fleet = Fleet::start(2, &config(sources(json!({ "max_staleness": "60s" }))));
        fleet.serve(PATH, list(&[0b10], json!({})));
        assert_eq!(judged(&mut fleet, &referring(0)), "allow", "{name}");
        fleet.serve(PATH, served);
        fleet.seconds(50);
        assert_eq!(fleet.on(0, "/", &referring(0)), "allow", "{name}");
        assert_eq!(fleet.on(0, "/", &referring(1)), "revoked", "{name}");
        fleet.seconds(10);
        assert_eq!(judged(&mut fleet, &referring(0)), "revocation_unavailable", "{name}");
    }
}

#[test]
fn t8_ttl_and_exp_are_clamped() {
    // How often it is asked for in 601 seconds.
    let asked = |more: Value| {
        let mut fleet = Fleet::start(1, &config(sources(json!({ "max_ttl": "60s" }))));
        fleet.serve(PATH, list(&[0], more));
        let token = referring(0);
        assert_eq!(judged(&mut fleet, &token), "allow");
        for _ in 0..600 {
            fleet.seconds(1);
            fleet.on(0, "/", &token);
        }
        fleet.asked.len()
    };
    assert!((100..=121).contains(&asked(json!({ "ttl": 0 }))), "5 s at least");
    for ttl in [json!(1_000_000_000_000u64), json!(u64::MAX), json!(1e300), json!(null)] {
        let count = asked(json!({ "ttl": ttl }));
        assert!((10..=11).contains(&count), "60 s at most: {count} for {ttl}");
    }
    // Its end ends it, whatever the ttl says.
    let mut fleet = Fleet::start(1, &config(sources(json!({}))));
    fleet.serve(PATH, list(&[0], json!({ "exp": START + 10, "ttl": 1000 })));
    assert_eq!(judged(&mut fleet, &referring(0)), "allow");
    fleet.serve(PATH, Served::Status(500));
    fleet.seconds(10);
    assert_eq!(judged(&mut fleet, &referring(0)), "revocation_unavailable");
}

#[test]
fn a_list_that_has_expired_takes_no_good_lists_place() {
    let mut fleet = Fleet::start(1, &config(sources(json!({}))));
    fleet.serve(PATH, list(&[1], json!({})));
    assert_eq!(judged(&mut fleet, &referring(0)), "revoked");
    fleet.serve(PATH, list(&[0], json!({ "exp": START + 1 })));
    fleet.seconds(40);
    assert_eq!(fleet.on(0, "/", &referring(0)), "revoked");
    assert!(fleet.log.iter().any(|line| line.contains("not accepted: expired")), "{:?}", fleet.log);
}

#[test]
fn a_list_under_a_new_key_makes_the_key_be_looked_for() {
    let new = Key::cached(Alg::ES256, "k-2");
    let keys = |keys: &[&Key]| Served::Plain(jwks(keys.iter().copied()).to_string().into_bytes());
    let mut config = config(sources(json!({})));
    let provider = config["providers"]["p"].as_object_mut().expect("a provider");
    provider.remove("local_jwks");
    let uri = json!({ "uri": "https://idp.example/keys", "cluster": "idp", "timeout": "2s" });
    provider.insert("remote_jwks".to_owned(), json!({ "http_uri": uri }));
    let mut fleet = Fleet::start(1, &config);
    fleet.serve("/keys", keys(&[&key()]));
    fleet.seconds(1);
    fleet.serve("/keys", keys(&[&key(), &new]));
    let claims = list_claims(1, &[2], json!({}));
    fleet.serve(PATH, Served::Well(signed("statuslist+jwt", &new, claims).into_bytes()));
    judged(&mut fleet, &referring(0));
    fleet.seconds(4);
    assert_eq!(
        (fleet.on(0, "/", &referring(0)), fleet.on(0, "/", &referring(1))),
        ("allow", "revoked"),
        "{:?}",
        fleet.log
    );
    assert_eq!(fleet.asked.iter().filter(|path| *path == "/keys").count(), 2, "{:?}", fleet.asked);
}

#[test]
fn the_number_of_lists_is_bounded_and_those_in_use_stay() {
    let mut fleet = Fleet::start(1, &config(sources(json!({ "max_lists": 2 }))));
    let named = |number: usize| {
        let uri = format!("https://status.example/lists/{number}");
        token(json!({ "status": { "status_list": { "idx": 0, "uri": uri } } }))
    };
    for number in 1..=3 {
        let more = json!({ "sub": format!("https://status.example/lists/{number}") });
        fleet.serve(&format!("/lists/{number}"), list(&[0], more));
    }
    assert_eq!((judged(&mut fleet, &named(1)), judged(&mut fleet, &named(2))), ("allow", "allow"));
    assert_eq!(fleet.on(0, "/", &named(3)), "revocation_unavailable");
    for _ in 0..61 {
        fleet.seconds(1);
        assert_eq!(fleet.on(0, "/", &named(2)), "allow");
    }
    assert_eq!(judged(&mut fleet, &named(3)), "allow", "in the place of the first");
    assert_eq!(fleet.on(0, "/", &named(2)), "allow");
}

#[test]
fn a_provider_of_their_own_may_sign_the_lists() {
    let theirs = Key::cached(Alg::ES256, "status-1");
    let mut config = config(sources(json!({ "provider": "s" })));
    config["providers"]["s"] = json!({ "issuer": "https://s.example", "audiences": ["x"],
        "local_jwks": { "inline_string": jwks([&theirs]).to_string() } });
    let mut fleet = Fleet::start(1, &config);
    fleet.serve(PATH, list(&[0], json!({})));
    assert_eq!(
        judged(&mut fleet, &referring(0)),
        "revocation_unavailable",
        "the token's issuer does not sign them"
    );
    let mut fleet = Fleet::start(1, &config);
    fleet.serve(
        PATH,
        Served::Well(signed("statuslist+jwt", &theirs, list_claims(1, &[2], json!({}))).into_bytes()),
    );
    assert_eq!(judged(&mut fleet, &referring(0)), "allow");
    assert_eq!(fleet.on(0, "/", &referring(1)), "revoked");
}
