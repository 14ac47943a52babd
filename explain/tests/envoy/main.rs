//! `explain` says beforehand what a real Envoy with the filter does: status, reason, rule, the answer, and what the upstream
//! gets.

mod beside;
#[allow(dead_code)]
#[path = "../../../tests/it/common/configurations.rs"]
mod common;
// The rows of another comparison are in it, too.
#[allow(dead_code)]
#[path = "../../../tests/it/pasted_forms.rs"]
mod pasted_forms;
#[path = "../../../tests/it/request_vectors.rs"]
mod request_vectors;

use std::collections::BTreeSet;

use beside::{bench, differences, explain, sketch};
use common::with;
use harness::{Envoy, Listener, SOON, Upstream, Wasm};
use pasted_forms::{forms, requests};
use request_vectors::{Vectors, configuration, read, settings};
use serde_json::{Value, json};

#[test]
fn what_is_explained_is_what_an_envoy_does() {
    let (idp, upstream) = (common::idp(), Upstream::start());
    // What a route says is asked of the tool otherwise.
    let forms: Vec<_> = forms(&idp).into_iter().filter(|form| form.routes.is_none()).collect();
    let named = || json!({ "filter_state": ["decision", "reason", "rule"] });
    let configs: Vec<Value> =
        forms.iter().map(|form| with(with(form.config.clone(), form.own.clone()), named())).collect();
    let log = json!({
        "case": "%REQ(X-CASE)%",
        "details": "%RESPONSE_CODE_DETAILS%",
        "decision": "%FILTER_STATE(wasm.portcullis.decision:PLAIN)%",
        "reason": "%FILTER_STATE(wasm.portcullis.reason:PLAIN)%",
        "rule": "%FILTER_STATE(wasm.portcullis.rule:PLAIN)%",
    });
    let mut builder = Envoy::builder().upstream(&upstream).idp("idp", &idp);
    for (at, config) in configs.iter().enumerate() {
        let wasm = Wasm::portcullis(config.clone()).name(&format!("own-{at}"));
        let listener = Listener::new(&format!("own-{at}")).access_log(log.clone());
        builder = builder.listener(listener.filter(wasm));
    }
    let envoy = builder.start().unwrap_or_else(|error| panic!("{error}"));
    let (mut wrong, mut explained) = (Vec::new(), Vec::new());
    for (at, (form, config)) in forms.iter().zip(&configs).enumerate() {
        let bench = bench(config, &idp.jwks());
        for asked in requests(&idp) {
            let request = asked.request.header("x-case", explained.len().to_string());
            let Some(sketch) = sketch(&request) else { continue };
            let response = request.send(envoy.addr_of(&format!("own-{at}")));
            let explanation = explain(&bench, &sketch);
            let name = format!("{}, {}", form.name, asked.name);
            let differ = differences(&explanation, &response, &upstream.take());
            wrong.extend(differ.into_iter().map(|what| format!("{name}: {what}")));
            explained.push((name, explanation));
        }
    }
    assert!(explained.len() >= 2_000, "{} requests", explained.len());
    for line in envoy.wait_for_access_log(explained.len(), SOON) {
        let case: usize = line["case"].as_str().and_then(|case| case.parse().ok()).expect("a case");
        let (name, explanation) = &explained[case];
        let found = |entry: &str| line[entry].as_str().filter(|text| *text != "-").map(str::to_owned);
        let told = (found("decision"), found("reason"), found("rule"));
        let own = (
            Some(explanation.decision.to_owned()),
            explanation.reason.map(str::to_owned),
            explanation.rule.clone(),
        );
        if told != own {
            wrong.push(format!("{name}: explained {own:?}, and Envoy logs {line}"));
        }
    }
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), explained.len(), wrong.join("\n"));
    // Enough of each kind, so that this could have shown something.
    let passed = explained.iter().filter(|(_, explanation)| explanation.reason.is_none()).count();
    let reasons: BTreeSet<_> = explained.iter().filter_map(|(_, explanation)| explanation.reason).collect();
    assert!(passed >= 500 && reasons.len() >= 12, "{passed} passed; {reasons:?}");
    println!(
        "{} requests, {passed} of which pass, {} reasons: explained as Envoy does",
        explained.len(),
        reasons.len()
    );
}

#[test]
fn the_published_request_cases_are_explained_as_an_envoy_judges_them() {
    let (tokens, rows) = read();
    let (idp, upstream) = (common::idp(), Upstream::start());
    let vectors = Vectors::read(&tokens, &idp);
    let configs: Vec<(&str, Value)> = settings()
        .iter()
        .map(|(name, of_provider, of_all)| (*name, configuration(&idp, of_provider, of_all)))
        .collect();
    let mut builder = Envoy::builder().upstream(&upstream).idp("idp", &idp);
    for (name, config) in &configs {
        let listener = Listener::new(name).filter(Wasm::portcullis(config.clone()).name(name));
        let upgrades = json!([{ "upgrade_type": "websocket" }]);
        builder = builder.listener(listener.hcm("upgrade_configs", upgrades));
    }
    let envoy = builder.start().unwrap_or_else(|error| panic!("{error}"));
    let (mut wrong, mut compared) = (Vec::new(), 0);
    for row in &rows {
        let (name, config) =
            configs.iter().find(|(name, _)| row["config"] == *name).expect("a configuration");
        let request = vectors.request(row, false);
        let Some(sketch) = sketch(&request) else { continue };
        let Ok(response) = request.try_send(envoy.addr_of(name)) else { continue };
        let explanation = explain(&bench(config, &idp.jwks()), &sketch);
        let differ = differences(&explanation, &response, &upstream.take());
        wrong.extend(differ.into_iter().map(|what| format!("{}: {what}", row["id"])));
        compared += 1;
    }
    assert!(wrong.is_empty(), "{} of {compared}:\n{}", wrong.len(), wrong.join("\n"));
    assert!(rows.len() >= 120 && compared * 8 >= rows.len() * 7, "{compared} of {} rows", rows.len());
}
