//! Proofs as client libraries make them, and cases of good and bad ones: each holds, or not, as it should. The rows are
//! those of `made_proofs`; where captured and published ones of the same form are at hand, they are judged as well.

use std::collections::BTreeMap;
use std::fs;

use portcullis::{
    Backend, Config, Confirmation, Dpop, Reason, Rejected, Request, SingleUse, Timestamp, parse_json,
};
use serde_json::{Value, json};

use super::made_proofs;

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

/// The rows of a file of shared data; none where it is not there.
fn lines(path: &str) -> Vec<Value> {
    let Some(file) = harness::shared(path) else { return Vec::new() };
    let text = fs::read_to_string(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    text.lines().map(|line| serde_json::from_str(line).expect("a line of JSON")).collect()
}

#[test]
fn the_proofs_of_client_libraries_hold_unless_something_is_wrong_with_them() {
    let counts = judge_clients(&made_proofs::of_clients());
    assert!(counts[&true] >= 300 && counts[&false] >= 300, "{counts:?}");
    let captured = lines("clients/dpop-clients/proofs.jsonl");
    if !captured.is_empty() {
        let counts = judge_clients(&captured);
        assert!(counts[&true] > 900 && counts[&false] > 200, "{counts:?}");
    }
}

/// How many proofs hold, and how many do not, each as its row says.
fn judge_clients(lines: &[Value]) -> BTreeMap<bool, usize> {
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
    for line in lines {
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
    counts
}

#[test]
fn published_proofs_are_judged_as_published() {
    let own = made_proofs::cases();
    let (valid, invalid) = own.iter().partition::<Vec<_>, _>(|case| case["expect"] == "valid");
    assert!(valid.len() >= 12 && invalid.len() >= 40, "{} and {}", valid.len(), invalid.len());
    assert_eq!(own.iter().filter(|case| is_judged_as_published(case)).count(), own.len());
    let published = lines("vectors/dpop_cases.jsonl");
    let judged = published.iter().filter(|case| is_judged_as_published(case)).count();
    assert!(published.is_empty() || judged > 40, "{judged}");
}

/// Whether a case is for this gate at all; it comes out as it should then.
fn is_judged_as_published(line: &Value) -> bool {
    let text = |name: &str| line[name].as_str().unwrap_or_default();
    let id = text("id");
    let url = text("url");
    let (scheme, rest) = url.split_once("://").expect("a URL");
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    // There is no gate for plaintext.
    if scheme == "http" {
        return false;
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
    let proofs = line["dpop"].as_array().expect("proofs").iter();
    let proofs: Vec<&str> = proofs.map(|proof| proof.as_str().expect("a text")).collect();
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
    let refused = match id {
        "no proof" | "dpop/rfc.no-header" => Reason::ProofMissing,
        "no nonce" | "another nonce" | "dpop/rfc.nonce-missing" | "dpop/c.nonce-wrong" => {
            Reason::NonceRequired
        }
        _ => Reason::ProofInvalid,
    };
    assert_eq!(reason, (!expected).then_some(refused), "{id}");
    true
}
