//! Tokens, each with its verdict: those of `made_cases`, and where `cases.jsonl` is at hand, tokens of a dozen libraries'
//! tests, of the RFCs and of attacks, by the strict policy that its README states.

use std::collections::BTreeMap;

use portcullis::{Jws, KeySet, Reason, TokenPolicy as Policy};
use serde_json::{Value, json};

use crate::vectors::judge::{self, ALGORITHMS, Refusal, named, text};
use crate::vectors::made_cases;

/// Rows whose verdict can be argued either way: the one that holds here (`valid` or the name of the
/// reason; `keys` where the key set is refused), and why.
const PINNED: &[(&str, &str, &str)] = &[
    ("wycheproof/jwk-1", "valid", MIXED_SET),
    ("wycheproof/jwk-4", "valid", SAME_KID),
    ("wycheproof/jwk-7", "valid", ROCA),
    ("jpadilla/pyjwt/test_decode_allows_aud_to_be_none", "keys", SHORT_SECRET),
    ("Keats/jsonwebtoken/should_fail_on_invalid_timestamp", "keys", SHORT_SECRET),
    ("nst/JSONTestSuite/payload.i_number_double_huge_neg_exp", "token_malformed", NOT_AN_OBJECT),
    ("nst/JSONTestSuite/payload.i_number_too_big_pos_int", "token_malformed", NOT_AN_OBJECT),
    (
        "nst/JSONTestSuite/payload.i_object_key_lone_2nd_surrogate",
        "token_malformed",
        "RFC 8259 section 8.2: the behaviour of software that receives a lone surrogate is \"unpredictable\"; \
         no Rust string, hence no claim, can hold one",
    ),
    ("nst/JSONTestSuite/payload.i_string_UTF-16LE_with_BOM", "token_malformed", NOT_UTF8),
    ("nst/JSONTestSuite/payload.i_string_UTF8_surrogate_U+D800", "token_malformed", NOT_UTF8),
    ("nst/JSONTestSuite/payload.i_string_invalid_utf-8", "token_malformed", NOT_UTF8),
    ("nst/JSONTestSuite/payload.i_string_iso_latin_1", "token_malformed", NOT_UTF8),
    ("nst/JSONTestSuite/payload.i_string_utf16LE_no_BOM", "token_malformed", NOT_UTF8),
    ("crafted/inject.jwk-ignored", "valid", NOT_LOOKED_AT),
    ("crafted/inject.jku-ignored", "valid", NOT_LOOKED_AT),
    (
        "crafted/kid.kidless-jwk",
        "valid",
        "RFC 7517 section 4.5: \"kid\" is optional in a key, and one without says nothing against the token; \
         it serves only where no key of the set has the token's kid",
    ),
    (
        "crafted/key.rsa-e-huge",
        "keys",
        "an exponent over 33 bits is refused when the set is read: verifying under it costs hundreds of times more",
    ),
    (
        "crafted/key.rsa-e3-ok",
        "valid",
        "RFC 8017 section 3.1: e is \"an integer between 3 and n - 1\"; the check of the padding is exact, so \
         e = 3 opens no forgery",
    ),
    ("crafted/key.ec-crv-missing", "keys", "RFC 7518 section 6.2.1: \"crv\" must be present"),
    (
        "crafted/key.keyops-empty",
        "valid",
        "an empty list says nothing of what the key is for (RFC 7517 section 4.3), as publishers write it that write every \
         member: it counts as absent",
    ),
    (
        "crafted/jwks.private-rsa",
        "keys",
        "whoever reads the set can sign with this key; a signature under it proves nothing",
    ),
    ("crafted/json.dup-alg-none-first", "token_malformed", TWICE),
    ("crafted/json.dup-sub", "token_malformed", TWICE),
    ("crafted/json.dup-exp-rev", "token_malformed", TWICE),
    (
        "crafted/json.dup-nested",
        "token_malformed",
        "two readers of a nested object could differ as well; one rule at every depth",
    ),
    (
        "crafted/json.payload-nul-escape",
        "valid",
        "a NUL in a string is JSON (RFC 8259 section 7); headers made of claims are another module's concern",
    ),
    (
        "crafted/json.header-bom",
        "token_malformed",
        "RFC 8259 section 8.1: writers \"MUST NOT add a byte order mark\"; readers may ignore it, and need not",
    ),
    ("crafted/claim.exp-raw-bigint", "token_malformed", FAR),
    ("crafted/claim.exp-u63+1", "claim_invalid", FAR),
    ("crafted/claim.exp-u64max", "claim_invalid", FAR),
    ("crafted/claim.exp-2^64", "claim_invalid", FAR),
    ("crafted/claim.exp-2^53+1", "valid", "below 2^63 and read as an integer, not through a double"),
    (
        "crafted/claim.iat-future",
        "issued_in_future",
        "RFC 7519 section 4.1.6 gives no rule; a token of tomorrow shows a broken clock or a forgery, and \
         clock_skew_seconds gives the leeway",
    ),
    ("crafted/claim.aud-slash", "audience_mismatch", EXACT),
    ("crafted/claim.aud-scheme", "audience_mismatch", EXACT),
    (
        "crafted/claim.sub-null",
        "claim_invalid",
        "RFC 7519 section 4.1.2: sub is a string; null is another type, not an absent claim",
    ),
    (
        "crafted/crit.b64-true",
        "critical_header",
        "RFC 7797 section 7: \"b64\" is not for JWTs; and what is marked critical is not understood here \
         (RFC 7515 section 4.1.11)",
    ),
    (
        "crafted/zip.DEF-plain",
        "token_malformed",
        "\"zip\" is for JWE (RFC 7516 section 4.1.3); a sender that sets it meant something that was not done",
    ),
    ("crafted-unpinned/ok.RS256", "valid", NO_ALG),
    ("crafted-unpinned/ok.PS256", "valid", NO_ALG),
    ("crafted-unpinned/ok.PS384", "valid", NO_ALG),
    ("crafted-unpinned/ok.PS512", "valid", NO_ALG),
];

/// Why a set of mixed keys is read.
pub(crate) const MIXED_SET: &str = "RFC 7517 section 5 lets a set hold keys of every kind; each key can be used \
     with algorithms of its own kind alone, so the mixture confuses nothing, and a secret counts only in local \
     keys beside an HS algorithm";
/// Why a kid may stand twice.
pub(crate) const SAME_KID: &str = "RFC 7517 section 4.5: kids in a set \"SHOULD\" be distinct; every key of the \
     kid is tried, and one that is malformed is passed over";
/// Why a modulus is not searched for the ROCA pattern.
pub(crate) const ROCA: &str =
    "no RFC asks for the ROCA fingerprint; a provider's keys are trusted to be its own";
const SHORT_SECRET: &str =
    "refused already for its secret, which is shorter than the hash (RFC 7518 section 3.2)";
const NOT_AN_OBJECT: &str = "whatever the number is, a claims set is an object (RFC 7519 section 7.2)";
const NOT_UTF8: &str = "RFC 7519 section 7.2: the claims set is UTF-8";
const NOT_LOOKED_AT: &str = "RFC 7515 sections 4.1.2 and 4.1.3: use of jku and jwk is optional; the key that counts \
     is the provider's (RFC 8725 section 3.10)";
const TWICE: &str = "RFC 7515 section 4 and RFC 7519 section 4 let a reader refuse a name that stands twice; two \
     readers that take different ones would see different tokens";
const FAR: &str = "a date past 2^63 is refused, never wrapped and never taken for far away";
const EXACT: &str = "RFC 7519 section 4.1.3: values are compared as case-sensitive strings; audience_match \
     \"normalized\" is there for who wants jwt_authn's way";
const NO_ALG: &str =
    "RFC 7517 section 4.4: \"alg\" is optional in a key; a provider's \"algorithms\" narrow it";

/// Signed objects without a payload: the signature holds, and yet they are refused, for a claims set
/// is a JSON object (RFC 7519 section 7.2).
pub(crate) const EMPTY_PAYLOADS: &[&str] = &[
    "wycheproof/jws-259",
    "wycheproof/jws-264",
    "wycheproof/jws-268",
    "wycheproof/jws-272",
    "wycheproof/jws-320",
    "wycheproof/jws-325",
];

/// A status list is no access token: the default of `token_types` refuses it (RFC 8725 section 3.11),
/// and it passes where its type is named.
const STATUS_LIST: &str = "rfc/tsl-draft20.status-list-token";

/// What the beginnings of a row's `reason` allow for the reason of our refusal. A row that starts
/// with none of these is held to its verdict alone.
const RIGHT: &[(&str, &[&str])] = &[
    ("JSON serialization", &["token_malformed", "token_encrypted"]),
    ("JSON general", &["token_malformed"]),
    ("JSON value", &["token_malformed"]),
    ("JWE", &["token_encrypted"]),
    ("encrypted JWT", &["token_encrypted"]),
    ("nested JWT", &["token_encrypted"]),
    ("not JSON", &["token_malformed"]),
    // These two are found in a header whose "crit" or "b64" is refused first.
    ("payload: bad base64url", &["token_malformed", "critical_header"]),
    ("signature: bad base64url", &["token_malformed", "critical_header"]),
    ("payload", &["token_malformed"]),
    ("header", &["token_malformed"]),
    ("encoding", &["token_malformed"]),
    ("duplicate", &["token_malformed"]),
    ("zip", &["token_malformed"]),
    ("not a JWS", &["token_malformed"]),
    ("two segments", &["token_malformed"]),
    ("signature: ", &["token_malformed"]),
    ("kid must", &["token_malformed"]),
    ("alg is", &["token_malformed"]),
    ("alg missing", &["token_malformed"]),
    ("alg 'rs256'", &["algorithm_not_allowed"]),
    ("alg 'none", &["algorithm_not_allowed", "token_malformed"]),
    ("unsigned", &["algorithm_not_allowed"]),
    ("crit", &["critical_header"]),
    ("typ ", &["type_not_allowed"]),
    ("kid unknown", &["key_not_found"]),
    ("kid injection", &["key_not_found"]),
    ("HMAC keyed with public", &["key_not_found"]),
    ("low-order", &["key_not_found"]),
    ("exp literal -1e300", &["claim_invalid"]),
    ("exp literal", &["token_malformed"]),
    ("exp past", &["expired"]),
    ("exp zero", &["expired"]),
    ("exp ", &["claim_invalid", "expired"]),
    ("expired", &["expired"]),
    ("now at exp", &["expired"]),
    ("nbf future", &["not_yet_valid"]),
    ("now one second before nbf", &["not_yet_valid"]),
    ("nbf ", &["claim_invalid"]),
    ("iat ", &["claim_invalid", "issued_in_future"]),
    ("iss ", &["claim_invalid", "issuer_unknown"]),
    ("aud ", &["claim_invalid", "audience_mismatch"]),
    ("sub ", &["claim_invalid"]),
    ("jti ", &["claim_invalid"]),
    ("token >", &["token_too_large"]),
    ("ECDSA r", &["signature_invalid"]),
    ("signature =", &["signature_invalid"]),
    ("signature 0", &["signature_invalid"]),
    ("one bit", &["signature_invalid"]),
];

/// The fields of a provider that judges as the row's `config` asks.
fn fields(config: &Value) -> Value {
    let mut fields = json!({
        "algorithms": ALGORITHMS,
        "clock_skew_seconds": 0,
        "require_expiration": false,
        "max_token_size": 1 << 20,
    });
    for (name, value) in config.as_object().into_iter().flatten() {
        let (ours, value) = match name.as_str() {
            "issuer" | "audiences" => (name.as_str(), value.clone()),
            "algs" => ("algorithms", value.clone()),
            "leeway" => ("clock_skew_seconds", value.clone()),
            "require_exp" => ("require_expiration", value.clone()),
            "typ" => ("token_types", value.clone()),
            "subject" => ("subjects", json!({ "exact": value })),
            "max_lifetime" => ("max_lifetime", json!(format!("{value}s"))),
            "max_token" => ("max_token_size", value.clone()),
            // Ours is 64 levels, which every row with 128 is held to; the secrets and where the set
            // comes from are looked at below.
            "max_depth" | "hmac_short_ok" | "jwks_source" => continue,
            _ => panic!("a rule that this test does not know: {name}"),
        };
        fields[ours] = value;
    }
    fields
}

#[derive(Default)]
struct Tally {
    judged: usize,
    pinned: usize,
    short_secret: usize,
    empty_payload: usize,
    status_list: usize,
    right_reason: usize,
    verdicts: BTreeMap<&'static str, usize>,
}

#[test]
pub(crate) fn every_row_is_judged_as_it_says() {
    let own = made_cases::rows();
    judge::settle(&own.iter().filter_map(|row| judge_own_row(row).err()).collect::<Vec<_>>());
    let valid = own.iter().filter(|row| row["expect"] == "valid").count();
    println!("{} rows of our own, {valid} of them valid", own.len());
    assert!(own.len() >= 400 && valid >= 50, "{} rows, {valid} of them valid", own.len());
    let Some(file) = harness::shared("vectors/cases.jsonl") else { return };
    judge_published_rows(&judge::rows(&file));
}

/// A row of our own says for which reason it is refused.
fn judge_own_row(row: &Value) -> Result<(), String> {
    let (said, got) =
        (text(row, "said"), verdict(row, &judge::policy(&fields(&row["config"])), &keys_of(row)));
    check(named(&got) == said, || format!("{}: expected {said}, got {got:?}", text(row, "id")))
}

fn judge_published_rows(rows: &[Value]) {
    let mut tally = Tally::default();
    let mut complaints = Vec::new();
    for row in rows {
        if let Err(complaint) = judge_row(row, &mut tally) {
            complaints.push(format!("{}: {complaint}", text(row, "id")));
        }
    }
    let Tally { judged, pinned, short_secret, empty_payload, status_list, right_reason, verdicts } = tally;
    println!(
        "cases.jsonl: {} rows; {judged} judged, {right_reason} of them refused and the reason compared; \
         {pinned} ambiguous and pinned; {short_secret} with secrets too short (rule hmac_short_ok, which is not \
         offered: refused, and judged but for the signature); {empty_payload} without a payload; {status_list} \
         status list; {verdicts:?}",
        rows.len(),
    );
    judge::settle(&complaints);
    assert_eq!(
        (judged, pinned, short_secret, empty_payload, status_list),
        (990, PINNED.len(), 43, EMPTY_PAYLOADS.len(), 1)
    );
    assert_eq!(judged + pinned + short_secret + empty_payload + status_list, rows.len());
}

/// The key set of a row.
fn keys_of(row: &Value) -> Result<KeySet, Refusal> {
    match row["config"]["jwks_source"].as_str() {
        Some("remote") => judge::remote(&row["jwks"]),
        _ => judge::local(&row["jwks"]),
    }
}

/// Whether the claims of a row's token count, or its format and signature alone.
fn claims_count(row: &Value) -> bool {
    match text(row, "layer") {
        "jws" => false,
        "jwt" => true,
        layer => panic!("{}: a layer that this test does not know: {layer}", row["id"]),
    }
}

/// What becomes of the token of a row, by either backend.
fn verdict(row: &Value, policy: &Policy, keys: &Result<KeySet, Refusal>) -> Result<(), Refusal> {
    let keys = keys.as_ref().map_err(Clone::clone)?;
    let (token, now) = (text(row, "token").as_bytes(), row["now"].as_u64().unwrap_or(0));
    let verdict = judge::by_both(text(row, "id"), |backend| match claims_count(row) {
        true => judge::accepted(token, keys, policy, now, backend),
        false => judge::signed(token, keys, backend),
    });
    Ok(verdict?)
}

fn judge_row(row: &Value, tally: &mut Tally) -> Result<(), String> {
    let id = text(row, "id");
    let token = text(row, "token").as_bytes();
    let now = row["now"].as_u64().unwrap_or(0);
    let config = &row["config"];
    let policy = judge::policy(&fields(config));
    let without_key = || match claims_count(row) {
        true => judge::plausible(token, &policy, now).and_then(|_| judge::strict(token, &policy)),
        false => Jws::parse(token).and_then(|jws| jws.payload()).map(drop).map_err(Reason::from),
    };
    let keys = keys_of(row);
    let got = verdict(row, &policy, &keys);
    *tally.verdicts.entry(named(&got)).or_default() += 1;
    let expected = text(row, "expect") == "valid";

    if row.get("ambiguous").is_some() {
        tally.pinned += 1;
        let (_, pinned, why) =
            PINNED.iter().find(|(own, ..)| *own == id).ok_or("is ambiguous and not pinned")?;
        return check(named(&got) == *pinned, || format!("{pinned} ({why}), and not {got:?}"));
    }
    if config["hmac_short_ok"] == true {
        tally.short_secret += 1;
        check(named(&got) == "keys", || format!("refused for its short secret, and not {got:?}"))?;
        let got = without_key();
        return check(got.is_ok() == expected, || format!("{} but for the secret: {got:?}", row["expect"]));
    }
    if EMPTY_PAYLOADS.contains(&id) {
        tally.empty_payload += 1;
        let keys = keys.map_err(|refusal| format!("{refusal:?}"))?;
        let jws = Jws::parse(token).map_err(|reason| format!("{reason:?}"))?;
        let holds = judge::by_both(id, |backend| judge::holds(&jws, &keys, backend));
        let holds = (holds, jws.payload().map_err(Reason::from), named(&got));
        let expected = (Ok(()), Err(Reason::TokenMalformed), "token_malformed");
        return check(holds == expected, || format!("{expected:?}, and not {holds:?}"));
    }
    if id == STATUS_LIST {
        tally.status_list += 1;
        check(named(&got) == "type_not_allowed", || format!("refused for its type, and not {got:?}"))?;
        let keys = keys.map_err(|refusal| format!("{refusal:?}"))?;
        let mut named = fields(config);
        named["token_types"] = json!(["application/statuslist+jwt"]);
        let named = judge::policy(&named);
        let got = judge::by_both(id, |backend| judge::accepted(token, &keys, &named, now, backend));
        return check(got.is_ok(), || format!("valid where its type is named: {got:?}"));
    }
    tally.judged += 1;
    check(got.is_ok() == expected, || {
        format!("expected {} ({}), got {got:?}", row["expect"], row["reason"])
    })?;
    if expected {
        return Ok(());
    }
    // Where the key set is no good, the reason of the token itself, if there is one, is the one to compare.
    let reason = match (without_key(), &got) {
        (Err(reason), _) => reason.as_str(),
        (Ok(()), Err(Refusal::Keys(_))) => "key_not_found",
        (Ok(()), _) => named(&got),
    };
    match RIGHT.iter().find(|(start, _)| text(row, "reason").starts_with(start)) {
        None => Ok(()),
        Some((_, right)) => {
            tally.right_reason += 1;
            check(right.contains(&reason), || {
                format!("refused for {reason}, and not for one of {right:?} ({})", row["reason"])
            })
        }
    }
}

fn check(holds: bool, complaint: impl FnOnce() -> String) -> Result<(), String> {
    if holds { Ok(()) } else { Err(complaint()) }
}
