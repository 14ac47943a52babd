//! The list of attacks, row by row: which vectors prove a row, and the tests of what no vector shows. The vectors of
//! `made_cases` and `made_sets` have the name of their row in theirs; those that are named here are published ones.
//! The rows are named as in the list: A algorithms and keys, S signatures, F format, C claims, J key
//! sets.

mod algorithms;
mod claims;
mod format;
mod signatures;
mod verdicts;

use std::collections::BTreeSet;
use std::path::Path;

use serde_json::Value;

use crate::vectors::{judge, key_sets, made_cases, made_sets, providers, wycheproof};

/// What proves a row.
enum Proof {
    /// Every published vector whose id starts so, judged in `cases` and `key_sets`.
    Vectors(&'static str),
    /// A test.
    Test(fn()),
    /// Nothing that a test can show: what the code does about it.
    Review(&'static str),
}

use Proof::{Review, Test, Vectors};

const ROWS: &[(&str, &[Proof])] = &[
    (
        "A1",
        &[
            Vectors("attack-docs/jwt_tool.alg-none"),
            Vectors("attack-docs/jwt_tool.null"),
            Test(algorithms::a1_to_a4_a18),
        ],
    ),
    (
        "A2",
        &[
            Vectors("attack-docs/jwt_tool.alg-nOnE"),
            Vectors("crafted/alg.zwsp"),
            Test(algorithms::a1_to_a4_a18),
        ],
    ),
    ("A3", &[Vectors("crafted/alg.missing"), Vectors("crafted/alg.array"), Test(algorithms::a1_to_a4_a18)]),
    ("A4", &[Vectors("crafted/alg.variant."), Test(algorithms::a1_to_a4_a18)]),
    (
        "A5",
        &[
            Vectors("crafted/confuse."),
            Vectors("crafted-unpinned/confuse."),
            Test(algorithms::a5_public_material_is_no_secret),
        ],
    ),
    (
        "A6",
        &[Vectors("crafted/alg.RS512-on-RS256-key"), Test(algorithms::a6_a7_a8_a10_one_key_one_algorithm)],
    ),
    (
        "A7",
        &[
            Vectors("crafted/alg.ES384-on-P256"),
            Test(wycheproof::a7_a8_no_signature_holds_under_another_algorithm),
        ],
    ),
    (
        "A8",
        &[
            Vectors("crafted/alg.PS256-header-RS256-sig"),
            Test(wycheproof::a7_a8_no_signature_holds_under_another_algorithm),
        ],
    ),
    (
        "A9",
        &[
            Vectors("golang-jwt/jwt/Basic-PS256"),
            Test(wycheproof::rsa_and_the_curves_are_judged_as_the_files_say),
        ],
    ),
    ("A10", &[Vectors("crafted/alg.RS256-kid-of-EC"), Test(algorithms::a6_a7_a8_a10_one_key_one_algorithm)]),
    (
        "A11",
        &[
            Vectors("crafted/inject.jwk"),
            Vectors("wycheproof/jws-32"),
            Test(algorithms::a11_a12_a13_a_token_does_not_choose_its_key),
        ],
    ),
    ("A12", &[Vectors("crafted/inject.jku"), Test(algorithms::a11_a12_a13_a_token_does_not_choose_its_key)]),
    (
        "A13",
        &[
            Vectors("crafted/inject.x5c"),
            Vectors("crafted/inject.x5t"),
            Test(algorithms::a11_a12_a13_a_token_does_not_choose_its_key),
        ],
    ),
    (
        "A14",
        &[
            Vectors("crafted/kid.traversal"),
            Vectors("attack-docs/jwt_tool.kid-sqli"),
            Test(algorithms::a14_a_kid_is_compared_and_nothing_else),
        ],
    ),
    ("A15", &[Vectors("crafted/kid.type-"), Test(algorithms::a15_a_kid_of_another_type_is_malformed)]),
    (
        "A16",
        &[
            Vectors("crafted/kid.trailing-space"),
            Vectors("crafted/kid.unicode-hyphen"),
            Test(algorithms::a16_a_kid_that_is_nearly_right_is_wrong),
        ],
    ),
    ("A17", &[Vectors("wycheproof/jwk-4"), Test(algorithms::a17_every_key_of_a_kid_is_tried)]),
    ("A18", &[Vectors("authlib/joserfc/jwe-"), Test(algorithms::a1_to_a4_a18)]),
    (
        "S1",
        &[
            Vectors("wycheproof/jws-386"),
            Vectors("wycheproof/jws-401"),
            Vectors("crafted/sig.ecdsa.r0-s0"),
            Vectors("crafted-unpinned/sig.psychic."),
        ],
    ),
    (
        "S2",
        &[
            Vectors("attack-docs/OWASP-WSTG."),
            Vectors("crafted/sig.ecdsa.der"),
            Test(wycheproof::s2_a_der_signature_is_refused_and_its_numbers_are_judged),
        ],
    ),
    (
        "S3",
        &[
            Vectors("crafted/sig.ecdsa.6"),
            Vectors("crafted/sig.ecdsa.trimmed"),
            Vectors("crafted/sig.ecdsa.padded-66"),
            Test(signatures::s3_s6_a_signature_has_one_length),
        ],
    ),
    (
        "S4",
        &[
            Vectors("crafted/sig.ecdsa.rmax-smax"),
            Test(wycheproof::rsa_and_the_curves_are_judged_as_the_files_say),
        ],
    ),
    ("S5", &[Test(signatures::s5_the_high_twin_of_a_signature_holds_and_is_a_token_of_its_own)]),
    (
        "S6",
        &[
            Vectors("crafted/sig.n"),
            Vectors("crafted/sig.zero"),
            Test(signatures::s3_s6_a_signature_has_one_length),
            Test(signatures::s6_a_signature_past_the_modulus_is_refused),
        ],
    ),
    (
        "S7",
        &[
            Vectors("wycheproof/jws-46"),
            Vectors("wycheproof/jws-25"),
            Vectors("crafted/key.rsa-e3-bleichenbacher"),
            Test(wycheproof::rsa_and_the_curves_are_judged_as_the_files_say),
        ],
    ),
    ("S8", &[Vectors("wycheproof/jwk-8"), Test(signatures::s8_s9_s10_a_key_is_bounded)]),
    (
        "S9",
        &[
            Vectors("wycheproof/jwk-9"),
            Vectors("crafted/key.rsa-e1"),
            Test(signatures::s8_s9_s10_a_key_is_bounded),
        ],
    ),
    (
        "S10",
        &[
            Vectors("crafted/key.rsa-e-huge"),
            Vectors("crafted/key.rsa-16384"),
            Test(signatures::s8_s9_s10_a_key_is_bounded),
        ],
    ),
    (
        "S11",
        &[Vectors("wycheproof/jwk-7"), Review("optional; not looked for, as the pin of the vector says")],
    ),
    (
        "S12",
        &[
            Vectors("wycheproof/jwk-22"),
            Vectors("crafted/key.ec-zero-point"),
            Test(signatures::s12_a_point_is_on_its_curve_and_of_full_length),
        ],
    ),
    ("S13", &[Vectors("crafted/key.ed25519.low-order-")]),
    (
        "S14",
        &[
            Vectors("crafted/sig.ed25519.s+L"),
            Test(wycheproof::rsa_and_the_curves_are_judged_as_the_files_say),
        ],
    ),
    (
        "S15",
        &[
            Vectors("wycheproof/jwk-10"),
            Vectors("wycheproof/jwk-16"),
            Test(wycheproof::s15_hmac_takes_whole_tags_and_long_secrets_alone),
            Test(signatures::s15_s16_a_secret_is_long_and_local),
        ],
    ),
    ("S16", &[Test(signatures::s15_s16_a_secret_is_long_and_local)]),
    ("S17", &[Review("Mac::verify_slice compares in constant time, and the whole tag")]),
    (
        "S18",
        &[
            Vectors("crafted/jwks.private-rsa"),
            Review("no private key is ever read: there is no type for one"),
        ],
    ),
    (
        "F1",
        &[
            Vectors("crafted/enc.dotdot"),
            Vectors("crafted/sig.missing-segment"),
            Test(format::f1_a_million_dots_cost_one_look_each),
        ],
    ),
    ("F2", &[Vectors("rfc/rfc7520.4_1.rsa_v15_signature.json"), Vectors("crafted/enc.json-general")]),
    (
        "F3",
        &[
            Vectors("rfc/rfc7516.A1.jwe"),
            Vectors("crafted/jwe."),
            Test(format::f3_f20_what_is_encrypted_is_not_even_decoded),
        ],
    ),
    ("F4", &[Vectors("crafted/enc.pad-"), Test(format::f4_to_f9_one_token_has_one_text)]),
    ("F5", &[Vectors("crafted/enc.std-alphabet"), Test(format::f4_to_f9_one_token_has_one_text)]),
    (
        "F6",
        &[
            Vectors("wycheproof/jws-36"),
            Vectors("crafted/enc.space-inside-sig"),
            Test(format::f4_to_f9_one_token_has_one_text),
        ],
    ),
    ("F7", &[Vectors("crafted/enc.noncanonical-sig"), Test(format::f4_to_f9_one_token_has_one_text)]),
    ("F8", &[Test(format::f4_to_f9_one_token_has_one_text)]),
    ("F9", &[Test(format::f4_to_f9_one_token_has_one_text)]),
    ("F10", &[Vectors("crafted/json.dup-alg"), Test(format::f10_f11_a_member_stands_once)]),
    (
        "F11",
        &[
            Vectors("crafted/json.dup-sub"),
            Vectors("crafted/json.dup-nested"),
            Test(format::f10_f11_a_member_stands_once),
        ],
    ),
    ("F12", &[Vectors("nst/JSONTestSuite/payload."), Vectors("nst/JSONTestSuite/claim.")]),
    (
        "F13",
        &[
            Vectors("crafted/json.payload-utf16"),
            Vectors("crafted/json.payload-overlong"),
            Test(format::f13_the_text_is_utf_8),
        ],
    ),
    ("F14", &[Vectors("crafted/json.depth-"), Test(format::f14_nesting_is_bounded_in_header_and_claims)]),
    ("F15", &[Vectors("crafted/size."), Test(format::f15_a_token_and_its_header_are_bounded)]),
    (
        "F16",
        &[
            Vectors("crafted/json.payload-array"),
            Vectors("crafted/json.header-array"),
            Test(format::f16_header_and_claims_are_objects),
        ],
    ),
    (
        "F17",
        &[
            Vectors("crafted/crit."),
            Vectors("rfc/rfc7515.E.crit-none"),
            Test(format::f17_f18_f19_no_extension_is_understood),
        ],
    ),
    (
        "F18",
        &[
            Vectors("rfc/rfc7797."),
            Vectors("crafted/crit.b64-false-no-crit"),
            Test(format::f17_f18_f19_no_extension_is_understood),
        ],
    ),
    ("F19", &[Vectors("crafted/zip."), Test(format::f17_f18_f19_no_extension_is_understood)]),
    ("F20", &[Test(format::f3_f20_what_is_encrypted_is_not_even_decoded)]),
    ("F21", &[Test(format::f21_no_claim_breaks_out_of_a_header)]),
    (
        "C1",
        &[
            Vectors("crafted/claim.exp-string"),
            Vectors("crafted/claim.nbf-null"),
            Test(claims::c1_to_c3_a_date_is_a_number_in_range),
        ],
    ),
    ("C2", &[Vectors("crafted/claim.exp-now+1"), Test(claims::c1_to_c3_a_date_is_a_number_in_range)]),
    (
        "C3",
        &[
            Vectors("crafted/claim.exp-2^64"),
            Vectors("crafted/claim.exp-raw-1e400"),
            Test(claims::c1_to_c3_a_date_is_a_number_in_range),
        ],
    ),
    ("C4", &[Vectors("Keats/jsonwebtoken/auth0.rs.at-exp"), Test(claims::c4_to_c7_time_is_kept)]),
    (
        "C5",
        &[
            Vectors("crafted/claim.exp-leeway-"),
            Vectors("crafted/claim.nbf-leeway"),
            Test(claims::c4_to_c7_time_is_kept),
        ],
    ),
    ("C6", &[Test(claims::c4_to_c7_time_is_kept)]),
    ("C7", &[Test(claims::c4_to_c7_time_is_kept)]),
    (
        "C8",
        &[
            Vectors("crafted/claim.aud-mixed-array"),
            Vectors("crafted/claim.aud-missing"),
            Test(claims::c8_c9_c10_the_audience_is_ours),
        ],
    ),
    (
        "C9",
        &[
            Vectors("crafted/claim.aud-superstring"),
            Vectors("crafted/claim.aud-wildcard"),
            Test(claims::c8_c9_c10_the_audience_is_ours),
        ],
    ),
    ("C10", &[Vectors("crafted/claim.aud-slash"), Test(claims::c8_c9_c10_the_audience_is_ours)]),
    (
        "C11",
        &[
            Vectors("crafted/claim.iss-prefix-attack"),
            Vectors("crafted/claim.iss-array"),
            Test(claims::c11_the_issuer_is_one_of_ours_to_the_letter),
        ],
    ),
    (
        "C12",
        &[
            Vectors("istio/istio/TokenIssuer2.wrong-issuer"),
            Test(claims::c12_a_key_serves_its_own_provider_alone),
        ],
    ),
    (
        "C13",
        &[
            Vectors("crafted/claim.sub-"),
            Vectors("crafted/claim.jti-number"),
            Test(claims::c13_subjects_and_required_claims),
        ],
    ),
    (
        "C14",
        &[
            Vectors("crafted/typ.id-token-aud-api"),
            Test(providers::c14_the_token_of_another_purpose_is_refused),
            Test(claims::c14_c15_a_token_of_another_type_is_refused),
        ],
    ),
    (
        "C15",
        &[
            Vectors("crafted/typ.secevent"),
            Vectors("rfc/tsl-draft20.as-access-token"),
            Test(claims::c14_c15_a_token_of_another_type_is_refused),
        ],
    ),
    ("C16", &[Test(claims::c16_scopes_are_compared_whole)]),
    ("C17", &[Test(claims::c17_c18_the_issuer_goes_with_the_subject_and_names_are_taken_whole)]),
    ("C18", &[Test(claims::c17_c18_the_issuer_goes_with_the_subject_and_names_are_taken_whole)]),
    ("C19", &[Test(claims::c19_a_bound_token_is_no_bearer_token)]),
    (
        "J4",
        &[
            Vectors("jwks/crafted.html"),
            Test(key_sets::j4_a_page_an_error_or_an_empty_set_leaves_the_keys_as_they_were),
        ],
    ),
    (
        "J5",
        &[
            Vectors("jwks/crafted.big-unknown"),
            Vectors("jwks/crafted.many"),
            Test(key_sets::j5_a_set_is_bounded_in_bytes_keys_and_depth),
        ],
    ),
    (
        "J6",
        &[
            Vectors("crafted/jwks.broken-key-first"),
            Vectors("jwks/crafted.mlkem"),
            Test(key_sets::j6_to_j9_one_bad_key_does_not_spoil_the_set),
        ],
    ),
    (
        "J7",
        &[
            Vectors("wycheproof/jws-353"),
            Vectors("wycheproof/jws-356"),
            Test(key_sets::j6_to_j9_one_bad_key_does_not_spoil_the_set),
        ],
    ),
    (
        "J8",
        &[Vectors("crafted/jwks.oct-in-remote"), Test(key_sets::j6_to_j9_one_bad_key_does_not_spoil_the_set)],
    ),
    (
        "J9",
        &[Vectors("crafted/jwks.private-rsa"), Test(key_sets::j6_to_j9_one_bad_key_does_not_spoil_the_set)],
    ),
    (
        "J10",
        &[
            Test(key_sets::j10_a_redirect_is_a_failure),
            Test(algorithms::a11_a12_a13_a_token_does_not_choose_its_key),
        ],
    ),
    ("J14", &[Test(verdicts::j14_no_token_takes_the_verdict_of_another)]),
    ("J15", &[Test(verdicts::j12_j15_a_verdict_ends_with_its_token_and_its_key)]),
    ("J16", &[Test(key_sets::j16_a_map_of_pem_texts_is_read_where_it_may_be_one)]),
];

/// Each row has a proof, and each vector that is named is there.
#[test]
fn every_row_of_the_list_has_its_proof() {
    let names: Vec<_> = ROWS.iter().map(|(row, _)| *row).collect();
    let numbered = |letter: char, last: usize| (1..=last).map(move |number| format!("{letter}{number}"));
    let key_sets = (4..=10).chain(14..=16).map(|number| format!("J{number}"));
    let expected: Vec<_> = numbered('A', 18)
        .chain(numbered('S', 18))
        .chain(numbered('F', 21))
        .chain(numbered('C', 19))
        .chain(key_sets)
        .collect();
    assert_eq!(names, expected);
    let made: Vec<String> = made_cases::rows().iter().chain(&made_sets::rows()).map(id_of).collect();
    let rows_of_made: BTreeSet<&str> = made.iter().map(|id| row_of(id)).filter(|row| *row != "ok").collect();
    for row in &rows_of_made {
        assert!(names.contains(row), "{row} is no row of the list");
    }
    for (row, proofs) in ROWS {
        let is_shown = proofs.iter().any(|proof| !matches!(proof, Vectors(_))) || rows_of_made.contains(row);
        assert!(is_shown, "{row}: nothing here shows it, only what is published");
    }
    if let Some(folder) = harness::shared("vectors/cases.jsonl").as_deref().and_then(Path::parent) {
        the_published_vectors_are_there(folder);
    }
    let mut tests = BTreeSet::new();
    let mut vectors = 0;
    for (row, proof) in ROWS.iter().flat_map(|(row, proofs)| proofs.iter().map(move |proof| (row, proof))) {
        match proof {
            Vectors(_) => vectors += 1,
            Test(test) => drop(tests.insert(*test as usize)),
            Review(why) => println!("{row}, by review: {why}"),
        }
    }
    println!(
        "{} rows: {} vectors of our own, {vectors} published ones and groups of them, {} tests",
        ROWS.len(),
        made.len(),
        tests.len()
    );
}

fn id_of(vector: &Value) -> String {
    judge::text(vector, "id").to_owned()
}

/// The row of the list that a vector of our own is for.
fn row_of(id: &str) -> &str {
    id.trim_start_matches("made/").split('.').next().unwrap_or_default()
}

fn the_published_vectors_are_there(folder: &Path) {
    let files = ["cases.jsonl", "jwks_cases.jsonl"].map(|file| judge::rows(&folder.join(file)));
    let ids: Vec<String> = files.iter().flatten().map(id_of).collect();
    for (row, proof) in ROWS.iter().flat_map(|(row, proofs)| proofs.iter().map(move |proof| (row, proof))) {
        if let Vectors(start) = proof {
            assert!(ids.iter().any(|id| id.starts_with(start)), "{row}: there is no vector {start}");
        }
    }
}
