//! Generated requests through a model of `jwt_authn` and through the gate.

mod matching;
mod model;
mod policy;
mod requests;
mod tokens;

use std::cell::Cell;
use std::fmt::Write as _;

use portcullis::Timestamp;
use portcullis_explain::Bench;
use serde_json::Value;

use super::change::Changes;
use super::istio::policy::Policies;
use crate::output::Failure;
use model::Model;

/// The time at which all is judged.
const NOW: u64 = 1_800_000_000;

/// How many requests are asked at most.
const MOST: usize = 4_000;

/// How many differences are written out.
const SHOWN: usize = 20;

/// What came of it.
pub(crate) struct Verified {
    asked: usize,
    passed: usize,
    left_out: usize,
    /// Differences that a reported change is about.
    explained: Vec<Difference>,
    /// Those that none is about: defects.
    pub(crate) unexplained: Vec<Difference>,
}

pub(crate) struct Difference {
    request: String,
    passed_before: bool,
    reason: String,
    rows: Vec<&'static str>,
}

/// Asks both sides.
///
/// # Errors
/// Something in the configuration that the model does not know.
pub(crate) fn verify(
    today: &Value,
    policies: Option<&Policies>,
    mut bench: Bench,
    changes: &Changes,
) -> Result<Verified, Failure> {
    let failed = |error: String| Failure::of("cannot be verified", error);
    let tokens = tokens::forge(today, &policies.map(policy::claims).unwrap_or_default(), &mut bench, NOW)
        .map_err(failed)?;
    let mut asks = requests::asks(today, policies, &tokens);
    let left_out = asks.len().saturating_sub(MOST);
    if left_out > 0 {
        // Evenly, so that every rule keeps some.
        let all = asks.len();
        let mut at = 0;
        asks.retain(|_| {
            at += 1;
            at * MOST / all != (at - 1) * MOST / all
        });
    }
    let model = Model { config: today, policies, tokens: &tokens, now: NOW, is_gone: Cell::new(false) };
    let mut verified =
        Verified { asked: asks.len(), passed: 0, left_out, explained: Vec::new(), unexplained: Vec::new() };
    for mut ask in asks {
        model.is_gone.set(false);
        let passed_before = model.passes(&ask.request).map_err(failed)?;
        let explanation = bench.explain(&ask.request, Timestamp::from_secs(NOW), &[]);
        let passes = explanation.decision == "allow";
        verified.passed += usize::from(passes);
        if passed_before == passes {
            continue;
        }
        ask.rows.extend(model.is_gone.get().then_some("twice"));
        let covered = changes.cover(&ask.rows, passed_before);
        let difference = Difference {
            request: ask.name,
            passed_before,
            reason: explanation.reason.unwrap_or_default().to_owned(),
            rows: ask.rows,
        };
        match covered {
            true => verified.explained.push(difference),
            false => verified.unexplained.push(difference),
        }
    }
    Ok(verified)
}

impl Verified {
    /// The result in lines.
    pub(crate) fn text(&self) -> String {
        let mut out = String::new();
        let Self { asked, passed, explained, unexplained, left_out } = self;
        let same = asked - explained.len() - unexplained.len();
        let _ = writeln!(
            out,
            "Verified with {asked} requests, of which {passed} pass: {same} judged as before, {} otherwise as reported, {} otherwise without a reason",
            explained.len(),
            unexplained.len()
        );
        if *left_out > 0 {
            let _ = writeln!(out, "  ({left_out} more were left out, to end in time)");
        }
        let mut seen: Vec<&str> = Vec::new();
        for Difference { request, passed_before, rows, .. } in explained {
            let row = rows.first().copied().unwrap_or_default();
            if !seen.contains(&row) {
                seen.push(row);
                let was = if *passed_before { "passed, and is refused" } else { "was refused, and passes" };
                let _ = writeln!(out, "  as reported [{row}], for one: {request}: {was}");
            }
        }
        for Difference { request, passed_before, reason, .. } in unexplained.iter().take(SHOWN) {
            let was = match passed_before {
                true => format!("passed, and is refused: {reason}"),
                false => "was refused, and passes".to_owned(),
            };
            let _ = writeln!(out, "  DIFFERS: {request}: {was}");
        }
        if unexplained.len() > SHOWN {
            let _ = writeln!(out, "  … and {} more", unexplained.len() - SHOWN);
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::jwt_authn::migrate;
    use super::*;

    #[test]
    fn what_was_not_carried_over_is_found() {
        let keys = json!({ "keys": [{ "kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo" }] });
        let partner =
            json!({ "issuer": "https://b.example", "local_jwks": { "inline_string": keys.to_string() } });
        let corp = json!({ "issuer": "https://a.example/", "audiences": ["a"], "local_jwks": { "inline_string": keys.to_string() } });
        let today = json!({
            "providers": { "corp": corp, "partner": partner },
            "rules": [{ "match": { "prefix": "/a" }, "requires": { "provider_name": "corp" } }],
        });
        let (whole, changes) = migrate(&today, &[], true);
        let unexplained = |config: &Value| {
            let bench = Bench::new(config.to_string().as_bytes(), &|_| None).expect("good");
            verify(&today, None, bench, &changes).expect("verified").unexplained.len()
        };
        assert_eq!(unexplained(&whole), 0);
        let changed: [fn(&mut Value); 6] = [
            |config| config["unmatched"] = json!("deny"),
            |config| config["providers"]["corp"]["audience_match"] = json!("exact"),
            |config| config["providers"]["corp"]["require_expiration"] = json!(true),
            |config| config["providers"]["corp"]["sender_constrained"] = json!("reject"),
            |config| config["rules"][0]["requires"] = json!({ "provider_name": "partner" }),
            |config| config["rules"][0]["match"] = json!({ "path": "/a" }),
        ];
        for (at, change) in changed.iter().enumerate() {
            let mut config = whole.clone();
            change(&mut config);
            assert!(unexplained(&config) > 0, "the change {at} was not seen");
        }
    }
}
