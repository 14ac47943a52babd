//! Token Status Lists as tables: lists with the statuses that are in them, and tokens with what becomes of them. The rows
//! are made here; where published ones of the same form are at hand, they are read as well.

use std::collections::BTreeMap;
use std::fs;

use base64::Engine as _;
use base64::prelude::{BASE64_STANDARD_NO_PAD, BASE64_URL_SAFE_NO_PAD};
use harness::idp::{Alg, Key, jwks};
use miniz_oxide::deflate::compress_to_vec_zlib;
use serde_json::{Value, json};

use crate::common::zlib;
use crate::revoked::fleet::{Fleet, ISSUER, START, Served, config, key, signed, token};
use crate::revoked::status_lists::{PATH, URI, judged, list_claims, lst, read, referring, sources};

/// How many tokens a large list is for.
const ENTRIES: u64 = 1 << 20;

/// The lists that the draft prints in section 4, and a large one of each width: every status that the width has room
/// for, spread over the list, and the last place of all.
fn own_lists() -> Vec<Value> {
    let printed = |id: &str, bits: u8, lst: &str, statuses: &[u8]| {
        let expect: Vec<_> = statuses.iter().enumerate().collect();
        json!({ "id": id, "status_list": { "bits": bits, "lst": lst }, "entries": statuses.len(),
            "all_other": 0, "expect": expect })
    };
    let large = |bits: u8| {
        let last = u8::MAX >> (8 - bits);
        let spread = (0..=last).map(|status| (u64::from(status) * 4093 + u64::from(status % 7), status));
        let expect: Vec<_> = spread.chain([(ENTRIES - 1, last)]).collect();
        let each = u64::from(8 / bits);
        let mut bytes = vec![0; usize::try_from(ENTRIES / each).expect("a length")];
        for (at, status) in &expect {
            let byte = usize::try_from(at / each).expect("a place");
            bytes[byte] += status * (1 << (at % each * u64::from(bits)));
        }
        let lst = BASE64_URL_SAFE_NO_PAD.encode(compress_to_vec_zlib(&bytes, 9));
        json!({ "id": format!("{bits} bits, large"), "status_list": { "bits": bits, "lst": lst },
            "entries": ENTRIES, "all_other": 0, "expect": expect })
    };
    let mut all = vec![
        printed("1 bit, section 4.1", 1, "eNrbuRgAAhcBXQ", &[1, 0, 0, 1, 1, 1, 0, 1, 1, 1, 0, 0, 0, 1, 0, 1]),
        printed("2 bits, section 4.1", 2, "eNo76fITAAPfAgc", &[1, 2, 0, 3, 0, 1, 0, 1, 1, 2, 3, 3]),
    ];
    all.extend([1, 2, 4, 8].map(large));
    all
}

#[test]
fn every_published_list_has_the_statuses_that_it_is_published_with() {
    let own = own_lists();
    let published: Vec<Value> = harness::shared("vectors/statuslist_vectors.json")
        .map_or_else(Vec::new, |path| {
            serde_json::from_str(&fs::read_to_string(path).expect("the vectors")).expect("JSON")
        });
    let (mut read_places, count) = (0, own.len() + published.len());
    for vector in own.iter().chain(&published) {
        read_places += has_its_statuses(vector);
    }
    assert!(count >= 6 && read_places > 4 * ENTRIES, "{count} lists, {read_places} places");
}

/// How many places of a list have the status that its row says.
fn has_its_statuses(vector: &Value) -> u64 {
    let (id, list) = (&vector["id"], &vector["status_list"]);
    let read = read(list["bits"].as_u64().expect("bits"), list["lst"].as_str().expect("lst"), 16 << 20);
    let read = read.unwrap_or_else(|error| panic!("{id}: {error}"));
    let pair = |pair: &Value| Some((pair[0].as_u64()?, u8::try_from(pair[1].as_u64()?).ok()?));
    let pairs = vector["expect"].as_array().expect("statuses").iter();
    let expected: BTreeMap<u64, u8> = pairs.map(|it| pair(it).expect("a place and a status")).collect();
    for (at, status) in &expected {
        assert_eq!(read.get(*at), Some(*status), "{id}: {at}");
    }
    let (Some(entries), Some(other)) = (vector["entries"].as_u64(), vector["all_other"].as_u64()) else {
        return 0;
    };
    for at in (0..entries).filter(|at| !expected.contains_key(at)) {
        assert_eq!(read.get(at).map(u64::from), Some(other), "{id}: {at}");
    }
    assert!(read.get(entries).is_none(), "{id}: one past the end");
    entries
}

/// A row: the name, what the gate says, the token, and what the place of the list answers.
type Case = (&'static str, &'static str, String, (u16, String));

/// Eight statuses of two bits each: good, invalid, suspended, one of the application's own, and four that are good.
const STATUSES: [u8; 2] = [0b1110_0100, 0];

/// The token of a list, with some of its claims replaced.
fn list_of(key: &Key, typ: &str, more: Value) -> String {
    signed(typ, key, list_claims(2, &STATUSES, more))
}

/// The usual list, whose member `status_list` says this.
fn packed(bits: u64, lst: &str) -> String {
    list_of(&key(), "statuslist+jwt", json!({ "status_list": { "bits": bits, "lst": lst } }))
}

/// A token whose claim `status` is this.
fn with_status(status: Value) -> String {
    token(json!({ "status": status }))
}

/// Tokens of every status and of none, beside a list that is as it should be.
fn cases_of_tokens() -> Vec<Case> {
    let at = |idx: Value| with_status(json!({ "status_list": { "idx": idx, "uri": URI } }));
    let elsewhere = |uri: &str| with_status(json!({ "status_list": { "idx": 0, "uri": uri } }));
    let rows = [
        ("good", "allow", referring(0)),
        ("good, the last place", "allow", referring(7)),
        ("invalid", "revoked", referring(1)),
        ("suspended", "revoked", referring(2)),
        ("a status of the application's own", "revoked", referring(3)),
        ("one past the end", "claim_invalid", referring(8)),
        ("a place that wraps to the first in 32 bits", "claim_invalid", referring(1u64 << 32)),
        ("the largest place", "claim_invalid", referring(u64::MAX)),
        ("a place below the first", "claim_invalid", at(json!(-1))),
        ("a place that is a text", "claim_invalid", at(json!("0"))),
        ("a place between two", "claim_invalid", at(json!(0.5))),
        ("a list of places", "claim_invalid", at(json!([0]))),
        ("no place", "claim_invalid", with_status(json!({ "status_list": { "uri": URI } }))),
        ("no list", "claim_invalid", with_status(json!({ "status_list": { "idx": 0 } }))),
        ("an empty status", "claim_invalid", with_status(json!({}))),
        ("a status of another mechanism", "claim_invalid", with_status(json!({ "other": { "idx": 0 } }))),
        ("a status that is a number", "claim_invalid", with_status(json!(0))),
        ("a status that is a list", "claim_invalid", with_status(json!([{ "idx": 0, "uri": URI }]))),
        ("no status at all", "allow", token(json!({}))),
        ("a list at another host", "claim_invalid", elsewhere("https://lists.evil.example/lists/1")),
        ("a list in plaintext", "claim_invalid", elsewhere("http://status.example/lists/1")),
        ("expired, and good", "expired", with(json!({ "exp": START - 100 }), 0)),
        ("for another audience, and invalid", "audience_mismatch", with(json!({ "aud": "other" }), 1)),
        ("of another issuer, and good", "issuer_unknown", with(json!({ "iss": "https://x.example" }), 0)),
    ];
    let list = || (200, list_of(&key(), "statuslist+jwt", json!({})));
    rows.into_iter().map(|(id, said, token)| (id, said, token, list())).collect()
}

/// A token that refers to this place, with some claims replaced.
fn with(more: Value, at: u64) -> String {
    let status = json!({ "status": { "status_list": { "idx": at, "uri": URI } } });
    token(crate::common::with(status, more))
}

/// Lists of every kind that says nothing, for a token of the first place.
fn cases_of_lists() -> Vec<Case> {
    let own = |more: Value| list_of(&key(), "statuslist+jwt", more);
    let stranger = Key::cached(Alg::ES256, "stranger");
    let whole = zlib(&STATUSES);
    let text = |bytes: &[u8]| BASE64_URL_SAFE_NO_PAD.encode(bytes);
    let mut damaged = whole.clone();
    *damaged.last_mut().expect("bytes") ^= 0x80;
    // A byte that the two alphabets write in different ways.
    let standard = BASE64_STANDARD_NO_PAD.encode(zlib(&[0xfb, 0xff, 0xbe, 0xfb, 0xef]));
    assert!(standard.contains(['+', '/']));
    let bomb = text(&compress_to_vec_zlib(&vec![0; 64 << 20], 9));
    assert!(bomb.len() < 100_000);
    let refused = "revocation_unavailable";
    let rows = [
        ("another sub", refused, own(json!({ "sub": "https://status.example/lists/2" }))),
        ("no sub", refused, own(json!({ "sub": null }))),
        ("an access token", refused, list_of(&key(), "JWT", json!({}))),
        ("of another media type", refused, list_of(&key(), "statuslist+cwt", json!({}))),
        ("expired", refused, own(json!({ "exp": START - 60 }))),
        ("issued in the future", refused, own(json!({ "iat": START + 86_400 }))),
        ("no iat", refused, own(json!({ "iat": null }))),
        ("of a key that nobody knows", refused, list_of(&stranger, "statuslist+jwt", json!({}))),
        (
            "of another key of that name",
            refused,
            list_of(&stranger.with_kid(key().kid()), "statuslist+jwt", json!({})),
        ),
        ("a bit turned", refused, harness::idp::flip_bit(&own(json!({})))),
        ("without statuses", refused, own(json!({ "status_list": null }))),
        ("no bits", refused, packed(0, &lst(&STATUSES))),
        ("three bits", refused, packed(3, &lst(&STATUSES))),
        ("sixteen bits", refused, packed(16, &lst(&STATUSES))),
        ("no zlib", refused, packed(2, &text(&STATUSES))),
        ("a wrong checksum", refused, packed(2, &text(&damaged))),
        ("cut short", refused, packed(2, &text(&whole[..whole.len() - 5]))),
        ("padded", refused, packed(2, &format!("{}==", text(&whole)))),
        ("the other alphabet", refused, packed(2, &standard)),
        ("64 MiB of zeros", refused, packed(2, &bomb)),
        ("a page", refused, "<!DOCTYPE html><title>Sign in</title>".to_owned()),
        ("nothing", refused, String::new()),
        ("the largest ttl", "allow", own(json!({ "ttl": u64::MAX }))),
    ];
    let mut cases: Vec<Case> =
        rows.into_iter().map(|(id, said, list)| (id, said, referring(0), (200, list))).collect();
    for (id, status) in [("redirected", 302), ("not found", 404), ("gone", 410), ("broken", 503)] {
        cases.push((id, refused, referring(0), (status, String::new())));
    }
    cases
}

/// The rows of [`cases_of_tokens`] and [`cases_of_lists`] in the form of the published ones, and what is said besides.
fn own_cases() -> Vec<Value> {
    let row = |(id, said, token, (status, body)): Case| {
        let expect = if said == "allow" { "valid" } else { "invalid" };
        json!({ "id": id, "said": said, "token": token, "jwks": jwks([&key()]), "now": START,
            "status_http": status, "status_token": body, "expect": expect, "reason": id,
            "config": { "issuer": ISSUER, "audiences": ["api"] } })
    };
    cases_of_tokens().into_iter().chain(cases_of_lists()).map(row).collect()
}

#[test]
fn every_case_of_a_token_and_its_status_list_comes_out_as_it_should() {
    let own = own_cases();
    let published = harness::shared("vectors/statuslist_cases.jsonl")
        .map_or_else(String::new, |path| fs::read_to_string(path).expect("the cases"));
    let published = published.lines().map(|line| serde_json::from_str(line).expect("JSON"));
    let cases: Vec<Value> = own.into_iter().chain(published).collect();
    let wrong: Vec<String> = cases.iter().filter_map(|case| comes_out_as_it_should(case).err()).collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let valid = cases.iter().filter(|case| case["expect"] == "valid").count();
    assert!(valid >= 4 && cases.len() >= 50, "{} cases, {valid} of them valid", cases.len());
}

/// What a case says and does not come out.
fn comes_out_as_it_should(case: &Value) -> Result<(), String> {
    let id = case["id"].as_str().expect("an id");
    let mut config = config(sources(json!({ "uri_prefix": "https://status.example/lists/" })));
    config["providers"]["p"] = json!({
        "issuer": case["config"]["issuer"],
        "audiences": case["config"]["audiences"],
        "local_jwks": { "inline_string": case["jwks"].to_string() },
    });
    let mut fleet = Fleet::start(1, &config);
    fleet.now = portcullis::Timestamp::from_secs(case["now"].as_u64().expect("a time"));
    let served = match (case["status_http"].as_u64(), case["status_token"].as_str()) {
        (Some(200), Some(body)) => Served::Plain(body.as_bytes().to_vec()),
        (Some(status), _) => Served::Status(u16::try_from(status).expect("a status")),
        other => panic!("{id}: {other:?}"),
    };
    fleet.serve(PATH, served);
    let said = judged(&mut fleet, case["token"].as_str().expect("a token"));
    let expected = match id {
        "tsl/revoked" => Some("revoked"),
        "tsl/expired-token-status-valid" => Some("expired"),
        _ => case["said"].as_str().or((case["expect"] == "valid").then_some("allow")),
    };
    if (said == "allow") != (case["expect"] == "valid") || expected.is_some_and(|expected| said != expected) {
        return Err(format!("{id}: {said}, and not {expected:?}: {}", case["reason"]));
    }
    // Nothing is asked for on behalf of a token that fails by itself, nor from where the operator mapped nothing.
    let fails_by_itself = ["expired", "audience_mismatch", "issuer_unknown"].contains(&said);
    if (fails_by_itself || id == "tsl/uri-other") && !fleet.asked.is_empty() {
        return Err(format!("{id}: {:?} was asked for", fleet.asked));
    }
    Ok(())
}
