//! The examples for `jwt_authn`, and the sets of policies, on a real Envoy: today's filters beside Portcullis.

use harness::{Cluster, Envoy, Filter, Listener, Request, Upstream, Wasm};
use serde_json::Value;

use super::ask::Ask;
use super::compare::{Pair, Sides, with_keys};
use super::requests::asks;
use super::tokens::{named, tokens};
use super::{gateway_filters, istiod, page, sets};
use crate::common::assert_sound;
use crate::common::native::Asked;

/// The filters of a block of the page, with keys inside.
fn written(block: &Value) -> Vec<Filter> {
    let filters = block["http_filters"].as_array().into_iter().flatten().cloned();
    let with_keys = |mut filter: Value| {
        if filter["typed_config"].get("providers").is_some() {
            filter["typed_config"] = with_keys(filter["typed_config"].take());
        }
        Filter::Raw(filter)
    };
    filters.map(with_keys).collect()
}

/// A listener with these filters, and the routes of the first of these blocks that has some.
fn listener<'b>(name: &str, filters: Vec<Filter>, blocks: impl IntoIterator<Item = &'b Value>) -> Listener {
    let listener = filters.into_iter().fold(Listener::new(name), Listener::filter);
    let routes = blocks.into_iter().find_map(|block| block.get("routes"));
    match routes {
        Some(routes) => listener.routes(routes.clone()),
        None => listener,
    }
}

#[test]
fn the_examples_of_jwt_authn_give_the_same_as_before() {
    let (upstream, tokens) = (Upstream::start(), tokens());
    let examples = page::native();
    let mut builder =
        Envoy::builder().shared().upstream(&upstream).cluster("orders", Cluster::new(upstream.addr()));
    for (index, (today, then)) in examples.iter().enumerate() {
        let config = then.iter().find(|block| block.get("providers").is_some()).expect("a configuration");
        let mut own =
            vec![Wasm::portcullis(with_keys(config.clone())).name(&format!("example-{index}")).into()];
        own.extend(then.iter().flat_map(written));
        builder = builder
            .listener(listener(&format!("{index}-today"), written(today), [today]))
            .listener(listener(&format!("{index}-then"), own, then));
    }
    let envoy = builder.start().unwrap_or_else(|error| panic!("{error}"));
    let names =
        ["good", "admin", "admin of several", "expired", "forged", "for billing", "partner's", "no JWT"];
    for index in 0..examples.len() {
        let mut passed = 0;
        let sides = ["today", "then"].map(|side| format!("{index}-{side}"));
        for path in ["/healthz", "/catalog/1", "/orders/1"] {
            for token in [None].into_iter().chain(names.map(Some)) {
                let request = Request::get(path).header("x-user", "mallory").header("x-seen", "mallory");
                let token = token.map(|name| named(&tokens, name));
                let request = token.iter().fold(request, |request, token| request.bearer(&token.text));
                let answers = sides.each_ref().map(|side| {
                    let passes = Asked::new(&envoy, side).allows(&request);
                    passes.then(|| upstream.last().headers_named("x-seen"))
                });
                passed += usize::from(answers[0].is_some());
                assert_eq!(answers[0], answers[1], "{index} {path} {:?}", token.map(|token| token.name));
            }
        }
        assert!((1..20).contains(&passed), "{index}: {passed} pass");
    }
    assert_sound(&envoy);
}

fn request(ask: &Ask) -> Request {
    let request = Request::new(&ask.method, &ask.target).host(&ask.host);
    ask.fields.iter().fold(request, |request, (name, value)| request.header(name, value))
}

#[test]
fn the_filters_of_istio_and_envoy_gateway_and_portcullis_do_on_an_envoy_what_the_models_say() {
    let (upstream, tokens) = (Upstream::start(), tokens());
    // There are no peers of a mesh here.
    let all = sets().into_iter().chain(page::pairs());
    let is_istio = |pair: &Pair| pair.today.iter().all(|policy| policy["kind"] != "SecurityPolicy");
    let is_set = |pair: &Pair| pair.name.starts_with(|first: char| first.is_ascii_digit());
    let sets: Vec<Pair> =
        all.filter(|pair| pair.stays.is_empty() && (is_set(pair) || is_istio(pair))).collect();
    let of_istio = sets.iter().filter(|pair| is_istio(pair)).count();
    assert!(of_istio >= 12, "{of_istio} sets of Istio's policies");
    let mut builder = Envoy::builder().shared().upstream(&upstream);
    for pair in &sets {
        let wasm = Wasm::portcullis(with_keys(pair.ours.clone())).name(&pair.name);
        let filters = match pair.today.as_slice() {
            [policy] if policy["kind"] == "SecurityPolicy" => gateway_filters::filters(policy),
            policies => istiod::filters(&pair.name, policies),
        };
        builder = builder
            .listener(listener(&format!("{}-today", pair.name), filters, []))
            .listener(listener(&format!("{}-then", pair.name), vec![wasm.into()], []));
    }
    let envoy = builder.start().unwrap_or_else(|error| panic!("{error}"));
    for pair in &sets {
        let mut sides = Sides::new(pair);
        let mut today = Asked::new(&envoy, format!("{}-today", pair.name));
        let mut then = Asked::new(&envoy, format!("{}-then", pair.name));
        // Envoy would read such a path in its own way before any filter sees it.
        let mut all = asks(&pair.today, &tokens, 600);
        all.retain(|ask| !ask.traits.contains(&"path_twice"));
        let chosen: Vec<&Ask> = all.iter().step_by(all.len() / 310).collect();
        assert!(chosen.len() >= 300, "{}: {} requests", pair.name, chosen.len());
        for ask in chosen {
            let (model, own, refused) = sides.ask(ask, &tokens);
            let request = request(ask);
            let passes = today.allows(&request);
            assert_eq!(passes, model, "{}: {ask}: the filters, and the model", pair.name);
            let row = sides.row(ask, refused.as_deref());
            assert!(passes == own || row.is_some(), "{}: {ask}: they differ, and no row says so", pair.name);
            assert_eq!(
                then.allows(&request),
                own,
                "{}: {ask}: Portcullis, on Envoy and asked alone",
                pair.name
            );
        }
    }
    assert_sound(&envoy);
}
