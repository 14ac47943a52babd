//! The proofs of client libraries, and published cases: each holds, or not, as it should.

use std::collections::BTreeMap;
use std::fs;

use portcullis::{
    Backend, Config, Confirmation, Dpop, Reason, Rejected, Request, SingleUse, Timestamp, parse_json,
};
use serde_json::{Value, json};

/// What a provider with these origins asks of proofs.
fn dpop(origins: &[&str], more: Value) -> Dpop {
    let dpop = crate::common::with(json!({ "origins": origins }), more);
    let key = harness::Key::cached(harness::Alg::ES256, "issuer");
    let provider = json!({
        "local_jwks": { "inline": harness::idp::jwks([&key]) }, "sender_constrained": "enforce", "dpop": dpop,
    });
    let config = json!({ "providers": { "p": provider }, "rules": [] });
    let config = Config::parse(config.to_string().as_bytes(), &|_| Some("s".repeat(32)));
    let config = config.unwrap_or_else(|problems| panic!("{problems:?}"));
    config.providers[0].dpop().expect("dpop").clone()
}

/// A request as it comes, and the token that goes with it.
struct Sent<'s> {
    method: &'s str,
    authority: &'s str,
    target: &'s str,
    token: &'s str,
    jkt: &'s str,
    proofs: &'s [&'s str],
}

fn judged(dpop: &Dpop, sent: &Sent<'_>, now: u64) -> Result<SingleUse, Rejected> {
    let claims = json!({ "cnf": { "jkt": sent.jkt } }).to_string();
    let claims = parse_json(claims.as_bytes()).expect("JSON");
    let confirmation = Confirmation::of(claims.as_object().expect("an object")).expect("cnf");
    let mut fields = vec![
        (&b":method"[..], sent.method.as_bytes()),
        (b":authority", sent.authority.as_bytes()),
        (b":path", sent.target.as_bytes()),
    ];
    fields.extend(sent.proofs.iter().map(|proof| (&b"dpop"[..], proof.as_bytes())));
    let now = Timestamp::from_secs(now);
    dpop.check(&confirmation, sent.token.as_bytes(), &Request::new(&fields), &Backend::portable(), now)
}

fn lines(path: &str, test: &str) -> Option<Vec<Value>> {
    let Some(file) = harness::shared(path) else {
        harness::skip(test, &harness::missing(path));
        return None;
    };
    let text = fs::read_to_string(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    Some(text.lines().map(|line| serde_json::from_str(line).expect("a line of JSON")).collect())
}

#[test]
fn the_proofs_of_client_libraries_hold_unless_something_is_wrong_with_them() {
    let test = "the_proofs_of_client_libraries_hold_unless_something_is_wrong_with_them";
    let Some(lines) = lines("clients/dpop-clients/proofs.jsonl", test) else { return };
    // What is wrong with a proof; other oddities are borne.
    const FAULTS: [&str; 4] =
        ["ath missing", "ath in hex", "htm is not the method as sent", "user information in htu"];
    let origins = [
        "https://api.example",
        "https://api.example:8443",
        "https://xn--bcher-kva.example",
        "https://[::1]:8443",
        "http://localhost:8080",
    ];
    let dpop = dpop(&origins, json!({}));
    let (mut counts, mut wrong) = (BTreeMap::<bool, usize>::new(), Vec::new());
    for line in &lines {
        let text = |name: &str| line[name].as_str().unwrap_or_default();
        let is_faulty = line["flaws"]
            .as_array()
            .expect("flaws")
            .iter()
            .any(|flaw| FAULTS.contains(&flaw.as_str().expect("a text")));
        let holds = line["as_envoy_reads"] == json!(true) && !is_faulty;
        *counts.entry(holds).or_default() += 1;
        let query = text("wire_target").split_once('?').map(|(_, query)| format!("?{query}"));
        let behind = format!("{}{}", text("path_after_envoy"), query.unwrap_or_default());
        // As it was sent, and as Envoy hands it over.
        for target in [text("wire_target"), &behind] {
            let sent = Sent {
                method: text("wire_method"),
                authority: text("wire_host"),
                target,
                token: text("access_token"),
                jkt: text("jkt"),
                proofs: &[text("proof")],
            };
            let found = judged(&dpop, &sent, line["iat"].as_u64().expect("iat"));
            let expected = if holds { None } else { Some(Reason::ProofInvalid) };
            if found.as_ref().err().map(|rejected| rejected.reason) != expected {
                wrong.push(format!("{} {} for {target}: {found:?}", text("library"), text("htu")));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    println!("{} hold, {} do not", counts[&true], counts[&false]);
    assert!(counts[&true] > 900 && counts[&false] > 200, "{counts:?}");
}

#[test]
fn published_proofs_are_judged_as_published() {
    let Some(lines) = lines("vectors/dpop_cases.jsonl", "published_proofs_are_judged_as_published") else {
        return;
    };
    let mut judged_cases = 0;
    for line in &lines {
        let text = |name: &str| line[name].as_str().unwrap_or_default();
        let id = text("id");
        let url = text("url");
        let (scheme, rest) = url.split_once("://").expect("a URL");
        let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        // There is no gate for plaintext.
        if scheme == "http" {
            continue;
        }
        let expected = match id {
            // A proof for a token endpoint, and what counts at the gate and not in a function: the scheme, and what came before.
            "dpop/rfc9449-fig2-token-request" => false,
            "dpop/rfc.bearer-downgrade" | "dpop/rfc.replay" => true,
            // Both sides are read as Envoy reads a path.
            "dpop/c.htu-dot" => true,
            _ => text("expect") == "valid",
        };
        let more = json!({
            "max_age": format!("{}s", line["max_age"]),
            "clock_skew_seconds": line["future_skew"],
        });
        let more = if line["nonce"].is_null() {
            more
        } else {
            crate::common::with(more, json!({ "nonce": { "key": { "environment_variable": "KEY" } } }))
        };
        let dpop = dpop(&[&format!("https://{authority}")], more);
        let proofs: Vec<&str> = line["dpop"]
            .as_array()
            .expect("proofs")
            .iter()
            .map(|proof| proof.as_str().expect("a text"))
            .collect();
        let sent = Sent {
            method: text("method"),
            authority,
            target: path,
            token: text("access_token"),
            jkt: text("expected_jkt"),
            proofs: &proofs,
        };
        let found = judged(&dpop, &sent, line["now"].as_u64().expect("now"));
        assert_eq!(found.is_ok(), expected, "{id} ({}): {found:?}", text("reason"));
        let reason = found.err().map(|rejected| rejected.reason);
        match id {
            "dpop/rfc.no-header" => assert_eq!(reason, Some(Reason::ProofMissing), "{id}"),
            "dpop/rfc.nonce-missing" | "dpop/c.nonce-wrong" => {
                assert_eq!(reason, Some(Reason::NonceRequired), "{id}");
            }
            _ => assert_eq!(reason, (!expected).then_some(Reason::ProofInvalid), "{id}"),
        }
        judged_cases += 1;
    }
    assert!(judged_cases > 40, "{judged_cases}");
}
