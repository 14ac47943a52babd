//! Routes of Envoy's name the requirement that is asked for, or that nothing is asked; and nobody gets an answer of a
//! route that asks for something else.

use crate::common;

use common::{assert_problem, corp, local_provider, with};
use harness::{Envoy, Filter, Idp, Request, Response, Upstream, Wasm};
use serde_json::{Value, json};

/// A configuration without rules, as generators write it.
fn config(idp: &Idp, more: Value) -> Value {
    let provider = with(
        local_provider(idp),
        json!({ "claim_to_headers": [{ "header_name": "x-user", "claim_name": "sub" }] }),
    );
    let strict = json!({ "provider_and_audiences": { "provider_name": "corp", "audiences": ["vault"] } });
    let guests = json!({ "requires_any": { "requirements": [corp(), { "allow_missing": {} }] } });
    let map = json!({ "staff": corp(), "strict": strict, "guests": guests });
    with(json!({ "providers": { "corp": provider }, "requirement_map": map }), more)
}

fn route(prefix: &str, says: Value) -> Value {
    json!({
        "match": { "prefix": prefix },
        "route": { "cluster": "upstream" },
        "metadata": { "filter_metadata": { "portcullis": says } },
        "response_headers_to_add": [{ "header": { "key": "x-served", "value": prefix } }],
    })
}

struct World {
    idp: Idp,
    upstream: Upstream,
    envoy: Envoy,
}

impl World {
    fn start(routes: Value, more: Value) -> Self {
        Self::behind(Vec::new(), routes, more)
    }

    fn behind(filters: Vec<Filter>, routes: Value, more: Value) -> Self {
        let (idp, upstream) = (common::idp(), Upstream::start());
        let mut builder =
            Envoy::builder().shared().upstream(&upstream).main(|listener| listener.routes(routes));
        for filter in filters {
            builder = builder.filter(filter);
        }
        let envoy = builder.filter(Wasm::portcullis(config(&idp, more))).start();
        Self { envoy: envoy.unwrap_or_else(|error| panic!("{error}")), idp, upstream }
    }

    fn ask(&self, request: Request) -> Response {
        request.send(self.envoy.addr())
    }

    fn bearer(&self, path: &str) -> Request {
        Request::get(path).bearer(&self.idp.token(json!({ "sub": "alice", "scope": "reader" })))
    }
}

/// What the routes say, and what comes of a request without a token and of one with a good one. `allowed` is whether the
/// configuration heeds `disabled`.
fn table(allowed: bool) -> Vec<(&'static str, Value, &'static str, &'static str)> {
    let (off, off_good) = if allowed { ("", "") } else { ("route_unmatched", "route_unmatched") };
    let unknown = "route_unmatched";
    vec![
        ("/silent/", json!({}), unknown, unknown),
        ("/other/", json!({ "comment": "x" }), unknown, unknown),
        ("/staff/", json!({ "requirement": "staff" }), "token_missing", ""),
        ("/list/", json!({ "requirement": ["staff"] }), "token_missing", ""),
        ("/strict/", json!({ "requirement": "strict" }), "token_missing", "token_rejected"),
        ("/guests/", json!({ "requirement": "guests" }), "", ""),
        ("/scoped/", json!({ "requirement": "staff", "scopes": "reader" }), "token_missing", ""),
        (
            "/more/",
            json!({ "requirement": "guests", "scopes": ["admin"] }),
            "token_missing",
            "scope_insufficient",
        ),
        ("/nobody/", json!({ "requirement": "nobody" }), unknown, unknown),
        ("/case/", json!({ "requirement": "Staff" }), unknown, unknown),
        ("/two/", json!({ "requirement": ["staff", "guests"] }), unknown, unknown),
        ("/number/", json!({ "requirement": 7 }), unknown, unknown),
        ("/yes/", json!({ "requirement": true }), unknown, unknown),
        ("/object/", json!({ "requirement": { "name": "staff" } }), unknown, unknown),
        ("/rule/", json!({ "rule": "staff" }), unknown, unknown),
        ("/off/", json!({ "disabled": true }), off, off_good),
        ("/on/", json!({ "disabled": false, "requirement": "staff" }), "token_missing", ""),
        ("/text/", json!({ "disabled": "true" }), unknown, unknown),
        ("/one/", json!({ "disabled": 1 }), unknown, unknown),
        (
            "/both/",
            json!({ "disabled": true, "requirement": "staff" }),
            if allowed { unknown } else { "token_missing" },
            if allowed { unknown } else { "" },
        ),
    ]
}

#[test]
fn a_route_names_its_requirement_and_what_no_route_names_is_unmatched() {
    for allowed in [false, true] {
        let table = table(allowed);
        let routes: Vec<Value> = table.iter().map(|(prefix, says, ..)| route(prefix, says.clone())).collect();
        let more = if allowed { json!({ "route_rules": { "allow_disable": true } }) } else { json!({}) };
        let world = World::start(json!(routes), more);
        for (path, says, without, with_token) in &table {
            for (request, expected) in [(Request::get(*path), without), (world.bearer(path), with_token)] {
                let answer = world.ask(request.header("x-user", "mallory").header("x_user", "mallory"));
                match *expected {
                    "" => {
                        assert_eq!(answer.status, 200, "{allowed} {path} {says}: {}", answer.text());
                        let user = world.upstream.last().headers_named("x-user").join("|");
                        let is_disabled = allowed && says["disabled"] == true;
                        let is_alice = with_token.is_empty() && expected == with_token && !is_disabled;
                        assert!(user.is_empty() || (is_alice && user == "alice"), "{path}: {user}");
                        assert!(world.upstream.last().headers_named("x_user").is_empty(), "{path}");
                    }
                    reason => {
                        let status = if reason.starts_with("token_") { 401 } else { 403 };
                        assert_problem(path, &answer, status, reason);
                    }
                }
            }
        }
        let ambiguous = world.ask(Request::get("/off/..;/staff/"));
        assert_eq!(ambiguous.status, 400, "{}", ambiguous.text());
        common::assert_sound(&world.envoy);
    }
}

#[test]
fn beside_rules_a_route_changes_what_is_required_and_nothing_else() {
    let rules = json!([
        { "name": "open", "match": { "prefix": "/open/" } },
        { "name": "admin", "match": { "prefix": "/admin/" }, "requires": corp(),
          "authorize": { "scopes": { "all_of": ["admin"] } } },
        { "name": "reader", "match": { "prefix": "/reader/" }, "requires": corp(),
          "authorize": { "scopes": { "all_of": ["reader"] } } },
    ]);
    let says = |name: &str| json!({ "requirement": name });
    let table = [
        ("/open/staff", says("staff"), 401, 200),
        ("/open/", json!({}), 200, 200),
        ("/admin/guests", says("guests"), 401, 403),
        ("/reader/guests", says("guests"), 401, 200),
        ("/reader/strict", says("strict"), 401, 401),
        ("/elsewhere/", says("staff"), 401, 200),
        ("/nowhere/", json!({}), 403, 403),
        ("/named/", json!({ "rule": "admin", "requirement": "guests" }), 401, 403),
    ];
    let routes: Vec<Value> = table.iter().map(|(prefix, says, ..)| route(prefix, says.clone())).collect();
    let world = World::start(json!(routes), json!({ "rules": rules }));
    for (path, _, without, with_token) in &table {
        assert_eq!(world.ask(Request::get(*path)).status, *without, "{path}, no token");
        assert_eq!(world.ask(world.bearer(path)).status, *with_token, "{path}, a token");
    }
    common::assert_sound(&world.envoy);
}

/// What two routes of one path say, of which the first is judged and the second serves.
const PAIRS: [(&str, &str); 6] = [
    (r#"{"disabled":true}"#, r#"{"requirement":"staff"}"#),
    (r#"{"disabled":true}"#, "{}"),
    (r#"{"requirement":"guests"}"#, r#"{"requirement":"staff"}"#),
    (r#"{"requirement":"guests"}"#, r#"{"requirement":"guests","scopes":["admin"]}"#),
    (r#"{"requirement":"guests"}"#, r#"{"disabled":true}"#),
    (r#"{"requirement":"guests"}"#, "{}"),
];

#[test]
fn nobody_gets_an_answer_of_a_route_with_another_requirement() {
    let code = "function envoy_on_request(handle)\nhandle:headers():remove('x-beta')\nend";
    let lua = Filter::Raw(json!({
        "name": "envoy.filters.http.lua",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.http.lua.v3.Lua",
            "default_source_code": { "inline_string": code },
            "clear_route_cache": false,
        },
    }));
    // A filter before the gate takes away what chose the route, or the gate itself does.
    for (chosen_by, filters) in [("x-beta", vec![lua]), ("x_user", Vec::new())] {
        let mut routes = Vec::new();
        for (at, (first, second)) in PAIRS.iter().enumerate() {
            let says = |text: &str| serde_json::from_str(text).expect("JSON");
            let mut chosen = route(&format!("/{at}/"), says(first));
            chosen["match"]["headers"] = json!([{ "name": chosen_by, "present_match": true }]);
            routes.extend([chosen, route(&format!("/{at}/"), says(second))]);
        }
        // The gate always changes something, so that Envoy looks again.
        let more = json!({ "route_rules": { "allow_disable": true }, "unmatched": "allow" });
        let world = World::behind(filters, json!(routes), more);
        for (at, pair) in PAIRS.iter().enumerate() {
            let path = format!("/{at}/");
            let asked = Request::get(path.as_str()).header(chosen_by, "1").header("x-user", "mallory");
            let answer = world.ask(asked);
            assert_problem(&format!("{chosen_by} {pair:?}"), &answer, 403, "request_ambiguous");
        }
        common::assert_sound(&world.envoy);
    }
}
