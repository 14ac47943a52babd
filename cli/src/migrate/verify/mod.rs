//! Generated requests through a model of `jwt_authn` and through the gate.

mod gateway;
mod matching;
mod model;
mod policy;
mod requests;
mod tokens;

use std::cell::Cell;
use std::fmt::Write as _;

use portcullis::Timestamp;
use portcullis_explain::{Bench, RequestSketch};
use serde_json::{Map, Value};

use super::change::Changes;
use super::istio::policy::Policies;
use crate::output::Failure;
use model::Model;
use tokens::Asked;

/// A text that meets a matcher of texts, if one can be guessed.
pub(crate) fn example_of(matcher: &Value) -> Option<String> {
    matcher.is_object().then(|| tokens::meeting(matcher))
}

/// The time at which all is judged.
const NOW: u64 = 1_800_000_000;

/// How many requests are asked at most.
const MAX_ASKS: usize = 4_000;

/// How many differences are written out.
const SHOWN: usize = 20;

/// What asks for more behind `jwt_authn`.
pub(crate) enum Behind {
    Nothing,
    Istio(Policies),
    /// The `authorization` of a SecurityPolicy; null where there is none.
    Gateway(Value),
}

impl Behind {
    /// Claims that it asks for.
    fn claims(&self) -> Vec<Asked> {
        match self {
            Self::Nothing => Vec::new(),
            Self::Istio(policies) => {
                let all = policy::claims(policies).into_iter();
                all.map(|claims| Asked { claims, rows: Vec::new() }).collect()
            }
            Self::Gateway(authorization) => gateway::claims(authorization),
        }
    }

    /// Requests about what it asks for.
    fn requests(&self) -> Vec<RequestSketch> {
        match self {
            Self::Nothing => Vec::new(),
            Self::Istio(policies) => policy::requests(policies),
            Self::Gateway(authorization) => gateway::requests(authorization),
        }
    }

    /// Whether it lets a request pass that has a token of this provider, with these claims, or none.
    fn passes(
        &self,
        request: &RequestSketch,
        token: Option<(&str, &Map<String, Value>)>,
    ) -> Result<bool, String> {
        match self {
            Self::Nothing => Ok(true),
            Self::Istio(policies) => {
                let claims = token.map_or(Value::Null, |(_, claims)| Value::Object(claims.clone()));
                Ok(policy::passes(policies, request, &claims))
            }
            Self::Gateway(authorization) => gateway::passes(authorization, request, token),
        }
    }
}

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
    /// What is reported about it.
    row: Option<&'static str>,
}

/// Asks both sides.
///
/// # Errors
/// Something in the configuration that the model does not know.
pub(crate) fn verify(
    today: &Value,
    behind: &Behind,
    mut bench: Bench,
    changes: &Changes,
) -> Result<Verified, Failure> {
    let failed = |error: String| Failure::of("cannot be verified", error);
    let tokens = tokens::forge(today, &behind.claims(), &mut bench, NOW).map_err(failed)?;
    let mut asks = requests::asks(today, behind.requests(), &tokens);
    let left_out = asks.len().saturating_sub(MAX_ASKS);
    if left_out > 0 {
        // Evenly, so that every rule keeps some.
        let all = asks.len();
        let mut at = 0;
        asks.retain(|_| {
            at += 1;
            at * MAX_ASKS / all != (at - 1) * MAX_ASKS / all
        });
    }
    let model = Model { config: today, behind, tokens: &tokens, now: NOW, is_gone: Cell::new(false) };
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
        let difference = Difference {
            request: ask.name,
            passed_before,
            reason: explanation.reason.unwrap_or_default().to_owned(),
            row: changes.row(&ask.rows, passed_before),
        };
        match difference.row {
            Some(_) => verified.explained.push(difference),
            None => verified.unexplained.push(difference),
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
        for Difference { request, passed_before, row, .. } in explained {
            let row = row.unwrap_or_default();
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

    use super::super::gateway;
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
            verify(&today, &Behind::Nothing, bench, &changes).expect("verified").unexplained.len()
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

    #[test]
    fn a_policy_of_envoy_gateway_that_was_not_carried_over_whole_is_found() {
        let keys = json!({ "keys": [{ "kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo" }] });
        let corp = json!({ "name": "corp", "issuer": "https://a.example/", "audiences": ["a"], "localJWKS": { "inline": keys.to_string() } });
        let jwt = |name: &str, value: &str| json!({ "jwt": { "provider": "corp", "claims": [{ "name": name, "values": [value] }] } });
        let document = json!({ "spec": {
            "jwt": { "providers": [corp] },
            "authorization": { "rules": [
                { "action": "Deny", "principal": jwt("status", "blocked") },
                { "action": "Allow", "operation": { "methods": ["GET"], "path": { "value": "/a" } }, "principal": { "jwt": { "provider": "corp", "scopes": ["a", "b"] } } },
                { "action": "Allow", "principal": jwt("org.role", "admin") },
            ] },
        } });
        let made = gateway::migrate("x", &document, &[]).expect("it goes over");
        let behind = Behind::Gateway(made.authorization);
        let unexplained = |config: &Value| {
            let bench = Bench::new(config.to_string().as_bytes(), &|_| None).expect("good");
            verify(&made.jwt_authn, &behind, bench, &made.changes).expect("verified").unexplained.len()
        };
        assert_eq!(unexplained(&made.config), 0);
        let changed: [fn(&mut Value); 6] = [
            |config| config["rules"][0]["match"] = json!({ "prefix": "/a", "methods": ["GET"] }),
            |config| config["rules"][0]["match"] = json!({ "path_separated_prefix": "/a" }),
            |config| {
                config["rules"][0]["authorize"]["any"][0] = json!({ "scopes": { "any_of": ["a", "b"] } })
            },
            |config| _ = config["rules"][0]["authorize"].as_object_mut().expect("it").remove("not"),
            |config| config["rules"][1]["authorize"]["claims"][0]["claim"] = json!(["org.role"]),
            |config| config["unmatched"] = json!("allow"),
        ];
        for (at, change) in changed.iter().enumerate() {
            let mut config = made.config.clone();
            change(&mut config);
            let found = unexplained(&config);
            // The last rule takes what no other does.
            assert_eq!(found == 0, at == 5, "the change {at}: {found} differences");
        }
    }
}
