//! An Envoy that withholds host calls and callbacks from the plugin: each alone, and all that the page says are not needed.
//! The answers are right, or a refusal that the log explains, once in each worker; nothing is open.

use crate::common;

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::thread;

use common::{HeldKeys, SOON, config, corp, local_provider, provider, with};
use harness::envoy::{EnvoyBuilder, FailPolicy, Filter, Listener};
use harness::idp::flip_bit;
use harness::{Cluster, Envoy, Idp, Request, Upstream, Wasm, eventually, workspace};
use serde_json::{Map, Value, json};

/// A list of `scripts/check-imports`.
fn names(list: &str) -> Vec<String> {
    let script = include_str!("../../scripts/check-imports");
    let (_, rest) = script.split_once(&format!("\n{list} = ")).expect("the list is there");
    let words = rest.split("\"\"\"").nth(1).expect("its names");
    words.split_whitespace().map(str::to_owned).collect()
}

fn with_prefix(prefix: &str, list: &str) -> Vec<String> {
    names(list).into_iter().map(|name| format!("{prefix}{name}")).collect()
}

/// All that the host may withhold.
fn everything() -> Vec<String> {
    let lists = [
        with_prefix("proxy_", "FILTER_CALLS"),
        with_prefix("proxy_", "SDK_CALLS"),
        with_prefix("proxy_on_", "EXPORTS"),
        names("WASI_CALLS"),
    ];
    lists.concat()
}

/// The plugin configuration's field that withholds these and nothing else.
pub(crate) fn withholding(wasm: Wasm, withheld: &[String]) -> Wasm {
    let known = everything();
    for name in withheld {
        assert!(known.contains(name), "the module neither imports nor exports {name}");
    }
    let allowed: Map<String, Value> =
        known.into_iter().filter(|name| !withheld.contains(name)).map(|name| (name, json!({}))).collect();
    wasm.field("capability_restriction_config", json!({ "allowed_capabilities": allowed }))
}

/// The answers to a request to a public path, one with a good token, one without, and one with a forged one.
type Answers = [&'static str; 4];

const RIGHT: Answers = ["200", "200", "401", "401"];
const NONE: Answers = ["503"; 4];
const FORBIDDEN: Answers = ["403"; 4];
/// Of a request that passes with a token that is taken away, and a header written.
const WITHOUT_CHANGE: Answers = ["200", "503", "401", "401"];
const WITHOUT_REPLY: Answers = ["200", "200", "reset", "reset"];
/// Where keys are to be fetched and never come.
const WITHOUT_KEYS: Answers = ["200", "503", "401", "503"];

/// What is withheld, the answers where the keys are in the configuration and where they are fetched, and what the log
/// names (in the second case alone where it begins with `+`).
struct Case {
    name: &'static str,
    withheld: Vec<String>,
    inline: Answers,
    remote: Answers,
    named: &'static str,
}

/// A row for each call and each callback without which Envoy starts.
const ROWS: [(&str, Answers, Answers, &str); 29] = [
    ("proxy_log", RIGHT, RIGHT, ""),
    ("proxy_get_current_time_nanoseconds", NONE, NONE, "proxy_get_current_time_nanoseconds"),
    ("proxy_set_tick_period_milliseconds", RIGHT, RIGHT, "proxy_set_tick_period_milliseconds"),
    ("proxy_get_header_map_pairs", NONE, NONE, "proxy_get_header_map_pairs"),
    ("proxy_add_header_map_value", WITHOUT_CHANGE, WITHOUT_CHANGE, "proxy_add_header_map_value"),
    ("proxy_replace_header_map_value", RIGHT, RIGHT, ""),
    ("proxy_remove_header_map_value", WITHOUT_CHANGE, WITHOUT_CHANGE, "proxy_remove_header_map_value"),
    ("proxy_get_property", FORBIDDEN, FORBIDDEN, "proxy_get_property"),
    ("proxy_set_property", RIGHT, RIGHT, "proxy_set_property"),
    ("proxy_get_shared_data", RIGHT, RIGHT, "proxy_get_shared_data"),
    ("proxy_set_shared_data", RIGHT, RIGHT, "proxy_set_shared_data"),
    ("proxy_continue_stream", RIGHT, RIGHT, ""),
    ("proxy_close_stream", RIGHT, RIGHT, ""),
    ("proxy_send_local_response", WITHOUT_REPLY, WITHOUT_REPLY, "proxy_send_local_response"),
    ("proxy_http_call", RIGHT, WITHOUT_KEYS, "+proxy_http_call"),
    ("proxy_set_effective_context", RIGHT, RIGHT, "proxy_set_effective_context"),
    ("proxy_call_foreign_function", RIGHT, RIGHT, "proxy_call_foreign_function"),
    ("proxy_define_metric", RIGHT, RIGHT, "proxy_define_metric"),
    ("proxy_increment_metric", RIGHT, RIGHT, "proxy_increment_metric"),
    ("proxy_record_metric", RIGHT, RIGHT, "proxy_record_metric"),
    ("proxy_on_memory_allocate", RIGHT, RIGHT, ""),
    ("proxy_on_configure", NONE, NONE, "proxy_on_configure"),
    ("proxy_on_tick", RIGHT, RIGHT, "proxy_on_tick"),
    ("proxy_on_request_headers", NONE, NONE, "proxy_on_request_headers"),
    ("proxy_on_request_body", RIGHT, RIGHT, ""),
    ("proxy_on_request_trailers", RIGHT, RIGHT, ""),
    ("proxy_on_response_headers", RIGHT, RIGHT, ""),
    ("proxy_on_http_call_response", RIGHT, WITHOUT_KEYS, ""),
    ("proxy_on_delete", RIGHT, RIGHT, ""),
];

/// Those without which Envoy does not start.
const NO_START: [&str; 3] = ["proxy_get_buffer_bytes", "proxy_on_context_create", "random_get"];

fn cases() -> Vec<Case> {
    let mut cases: Vec<Case> = ROWS
        .into_iter()
        .map(|(name, inline, remote, named)| Case {
            name,
            withheld: vec![name.to_owned()],
            inline,
            remote,
            named,
        })
        .collect();
    let wasi: Vec<String> = names("WASI_CALLS").into_iter().filter(|name| name != "random_get").collect();
    let mut group = |name, withheld, remote, named| {
        cases.push(Case { name, withheld, inline: RIGHT, remote, named });
    };
    group("nothing", Vec::new(), RIGHT, "");
    group("libraries", with_prefix("proxy_", "SDK_CALLS"), RIGHT, "");
    group("wasi", wasi, RIGHT, "environ_sizes_get");
    let bold = bold();
    let rest = everything().into_iter().filter(|name| !bold.contains(name)).collect();
    group("rest", rest, WITHOUT_KEYS, "proxy_get_property");
    cases
}

fn rules() -> Value {
    json!([{ "match": { "prefix": "/public/" } }, { "name": "orders", "match": { "prefix": "/" }, "requires": corp() }])
}

fn configuration(case: &Case, keys: Value) -> Value {
    let writes = json!({ "claim_to_headers": [{ "header_name": "x-user", "claim_name": "sub" }] });
    let whole = json!({ "filter_state": [], "route_rules": case.name != "rest" });
    with(config(with(keys, writes), rules()), whole)
}

/// What becomes of a request.
fn sent(request: &Request, addr: SocketAddr) -> String {
    match request.try_send(addr) {
        Ok(response) => response.status.to_string(),
        Err(error) if matches!(error.kind(), ErrorKind::TimedOut | ErrorKind::WouldBlock) => {
            "held".to_owned()
        }
        Err(_) => "reset".to_owned(),
    }
}

fn answers(case: &Case, addr: SocketAddr, token: &str) -> [String; 4] {
    let path = |place: &str| Request::get(format!("/{place}/{}", case.name));
    [
        path("public").header("x-case", "public"),
        path("orders").header("x-case", "good").bearer(token),
        path("orders").header("x-case", "none"),
        path("orders").header("x-case", "forged").bearer(&flip_bit(token)),
    ]
    .map(|request| sent(&request, addr))
}

/// Every answer is right or a refusal, from the first on; and they come to be what the row says.
#[track_caller]
fn check(case: &Case, expected: &Answers, addr: SocketAddr, token: &str) {
    let mut last = None;
    eventually(&format!("{}: {expected:?}", case.name), SOON, || {
        let answers = answers(case, addr, token);
        for (answer, right) in answers.iter().zip(RIGHT) {
            let refused = ["401", "403", "503", "reset"].contains(&answer.as_str());
            assert!(answer == right || refused, "{}: {answers:?}", case.name);
        }
        let same = answers == *expected;
        last = Some(answers);
        same.then_some(())
    });
}

/// The lines of a plugin's log that name something that is missing.
fn naming(log: &str, case: &Case) -> Vec<String> {
    let of_plugin = format!(" {}: portcullis: the host does not have ", case.name);
    log.lines().filter(|line| line.contains(&of_plugin)).map(str::to_owned).collect()
}

/// The canary of the start, the main thread's instance and the worker's.
const INSTANCES: usize = 3;

fn check_log(log: &str, case: &Case, is_remote: bool) {
    let lines = naming(log, case);
    let named = match case.named.strip_prefix('+') {
        Some(name) if is_remote => name,
        Some(_) => "",
        None => case.named,
    };
    // Other lines of these say what else hangs on it, as a callback that ends waiting.
    let of_it = lines.iter().filter(|line| !named.is_empty() && line.contains(named)).count();
    assert_eq!(of_it > 0, !named.is_empty(), "{}: {lines:#?}", case.name);
    assert!(of_it <= INSTANCES, "{}: {lines:#?}", case.name);
    if case.name == "nothing" {
        assert_eq!(lines, [""; 0]);
    }
}

/// How many plugins one Envoy has: each has virtual machines of its own.
const AT_ONCE: usize = 9;

fn run(is_remote: bool) {
    cases().chunks(AT_ONCE).for_each(|cases| run_some(cases, is_remote));
}

fn run_some(cases: &[Case], is_remote: bool) {
    let (idp, upstream) = (common::idp(), Upstream::start());
    // To start a virtual machine takes seconds on a busy machine.
    let mut builder = Envoy::builder().upstream(&upstream).idp("idp", &idp).start_timeout(SOON * 5);
    for case in cases {
        let keys = match is_remote {
            true => with(
                provider(&idp),
                json!({ "remote_jwks": { "http_uri": {
                "uri": idp.jwks_uri(), "cluster": "idp", "timeout": "2s",
            } } }),
            ),
            false => local_provider(&idp),
        };
        let wasm =
            Wasm::portcullis(configuration(case, keys)).vm_id(case.name).fail_policy(FailPolicy::Closed);
        builder = builder.listener(Listener::new(case.name).filter(withholding(wasm, &case.withheld)));
    }
    let envoy = builder.start().unwrap_or_else(|error| panic!("{error}"));
    let token = idp.token(json!({ "sub": "alice" }));
    for case in cases {
        let expected = if is_remote { case.remote } else { case.inline };
        check(case, &expected, envoy.addr_of(case.name), &token);
    }
    // A host without a timer is told from one whose timer is late by the second request.
    if let Some(ticks) = cases.iter().find(|case| case.name == "proxy_on_tick") {
        eventually("the log names the timer", SOON, || {
            check(ticks, &RIGHT, envoy.addr_of(ticks.name), &token);
            (!naming(&envoy.log(), ticks).is_empty()).then_some(())
        });
    }
    let log = envoy.log();
    cases.iter().for_each(|case| check_log(&log, case, is_remote));
    for request in upstream.requests() {
        let case = request.header("x-case").unwrap_or_default();
        let unjudged = request.path().ends_with("/proxy_on_request_headers");
        assert!(unjudged || ["public", "good"].contains(&case.as_str()), "{case} reached the upstream");
        if case == "good" && !unjudged {
            assert_eq!(request.headers_named("x-user"), ["alice"], "{}", request.path());
            assert_eq!(request.header("authorization"), None, "{}", request.path());
        }
    }
    // Where there is no other clock, what a request did is written and counted with it.
    let is_withheld = cases.iter().any(|case| case.name == "proxy_set_tick_period_milliseconds");
    let written = log.contains(" proxy_set_tick_period_milliseconds: portcullis: audit {");
    assert_eq!(written, is_withheld, "audit lines without a timer");
    assert!(envoy.is_running());
    assert!(envoy.tokens_told().is_empty());
}

#[test]
fn with_keys_in_the_configuration_each_withheld_call_leaves_right_answers_or_refusals() {
    run(false);
}

#[test]
fn with_fetched_keys_each_withheld_call_leaves_right_answers_or_refusals() {
    run(true);
}

/// An Envoy with one plugin from which this is withheld.
fn start(
    idp: &Idp,
    withheld: &[&str],
    configuration: Value,
    policy: FailPolicy,
    change: impl FnOnce(EnvoyBuilder) -> EnvoyBuilder,
) -> Result<(Envoy, Upstream), harness::StartError> {
    let upstream = Upstream::start();
    let withheld: Vec<String> = withheld.iter().map(|name| (*name).to_owned()).collect();
    let wasm = withholding(Wasm::portcullis(configuration).fail_policy(policy), &withheld);
    let envoy = change(Envoy::builder()).upstream(&upstream).idp("idp", idp).filter(wasm).start()?;
    Ok((envoy, upstream))
}

#[test]
fn what_nothing_goes_without_keeps_envoy_from_starting_whatever_its_failure_policy() {
    let idp = common::idp();
    for name in NO_START {
        for policy in [FailPolicy::Closed, FailPolicy::Open] {
            let started = start(&idp, &[name], config(local_provider(&idp), rules()), policy, |alone| alone);
            let Err(error) = started else { panic!("{name} is withheld under {policy:?}, and Envoy starts") };
            let explained = error.log.contains(name) && error.log.contains("portcullis");
            assert!(explained, "{name}: {}", error.log);
        }
    }
}

#[test]
fn a_configuration_that_cannot_be_used_opens_nothing_where_the_host_tells_too_little() {
    let idp = common::idp();
    let sound = config(local_provider(&idp), rules());
    for (withheld, configuration) in [
        (vec!["proxy_get_property"], json!({})),
        (vec!["environ_get", "environ_sizes_get"], json!({})),
        (vec!["environ_get"], json!({})),
        (vec!["proxy_get_property", "random_get"], sound),
    ] {
        let (envoy, upstream) = start(&idp, &withheld, configuration, FailPolicy::Open, EnvoyBuilder::shared)
            .unwrap_or_else(|error| panic!("{withheld:?}: {error}"));
        let token = idp.token(json!({}));
        for path in ["/public/a", "/orders"] {
            let response = Request::get(path).bearer(&token).send(envoy.addr());
            assert_eq!(response.status, 503, "{withheld:?}");
            assert_eq!(
                envoy.logged(path, SOON)["details"],
                "portcullis_configuration_refused",
                "{withheld:?}"
            );
        }
        assert_eq!(upstream.count(), 0);
        envoy.wait_for_log("configuration rejected", SOON);
    }
}

/// Filters before this one answer for themselves: the gate was not asked, and takes nothing for unjudged.
#[test]
fn the_answer_of_an_earlier_filter_stays() {
    let (idp, upstream) = (common::idp(), Upstream::start());
    let abort = json!({
        "name": "envoy.filters.http.fault",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.http.fault.v3.HTTPFault",
            "abort": { "http_status": 418, "percentage": { "numerator": 100, "denominator": "HUNDRED" } },
        },
    });
    let wasm = Wasm::portcullis(config(local_provider(&idp), rules()));
    let envoy = Envoy::builder().upstream(&upstream).filter(Filter::Raw(abort)).filter(wasm).start();
    let envoy = envoy.unwrap_or_else(|error| panic!("{error}"));
    for request in [Request::get("/orders"), Request::post("/orders", "some"), Request::get("/public/a")] {
        assert_eq!(request.send(envoy.addr()).status, 418);
    }
    // Envoy's own answers too, to what no filter sees.
    assert_eq!(Request::raw("GET /orders HTTP/1.1\r\n\r\n").send(envoy.addr()).status, 400);
}

/// A body is kept back while its request waits, and whole afterwards, although the filter is never asked about it.
#[test]
fn without_its_callback_a_body_waits_with_its_headers() {
    let idp = common::idp();
    let (held, upstream) = (HeldKeys::start(&idp.jwks()), Upstream::start());
    let keys = held.provider(&idp);
    let withheld = ["proxy_on_request_body".to_owned()];
    let mut builder = Envoy::builder().upstream(&upstream).cluster("held", Cluster::new(held.addr()));
    for (name, stops_alone) in [("stops-all", false), ("stops-headers", true)] {
        let wasm = Wasm::portcullis(config(keys.clone(), rules()))
            .vm_id(name)
            .field("allow_on_headers_stop_iteration", json!(stops_alone));
        builder = builder.listener(Listener::new(name).filter(withholding(wasm, &withheld)));
    }
    let envoy = builder.start().unwrap_or_else(|error| panic!("{error}"));
    let body = vec![b'x'; 200_000];
    let token = idp.token(json!({}));
    let mut clients = Vec::new();
    for name in ["stops-all", "stops-headers"] {
        for (token, expected) in [(token.clone(), 200), (flip_bit(&token), 401)] {
            let (addr, body) = (envoy.addr_of(name), body.clone());
            clients.push(thread::spawn(move || {
                let status = Request::post("/orders", body).bearer(&token).send(addr).status;
                assert_eq!(status, expected);
            }));
        }
    }
    eventually("both ask for keys", SOON, || (held.asked() >= 2).then_some(()));
    assert_eq!(upstream.count(), 0);
    held.release();
    for client in clients {
        client.join().expect("the answer is the expected one");
    }
    let bodies: Vec<usize> = upstream.requests().iter().map(|request| request.body.len()).collect();
    assert_eq!(bodies, [body.len(), body.len()]);
}

/// Envoy stops the callback in which an answer was sent, whoever got it. On a worker without ticks it is the callbacks of
/// other requests that find the keys which another worker fetched.
#[test]
fn an_answer_to_a_request_that_waited_does_not_hold_up_another_one() {
    const MANY: usize = 24;
    let idp = common::idp();
    let (held, upstream) = (HeldKeys::start(&idp.jwks()), Upstream::start());
    let keys = held.provider(&idp);
    let rules = json!([
        { "match": { "prefix": "/public" } },
        { "match": { "prefix": "/" }, "requires": corp(),
          "authorize": { "scopes": { "all_of": ["nobody:has-it"] } } },
    ]);
    let wasm = withholding(Wasm::portcullis(config(keys, rules)), &["proxy_on_tick".to_owned()]);
    let builder =
        Envoy::builder().upstream(&upstream).cluster("held", Cluster::new(held.addr())).concurrency(2);
    let envoy = builder.filter(wasm).start().unwrap_or_else(|error| panic!("{error}"));
    let (addr, token) = (envoy.addr(), idp.token(json!({})));
    let waiting =
        thread::spawn(move || harness::burst(addr, MANY, |_| Request::get("/orders").bearer(&token)));
    eventually("all of them wait", SOON, || {
        (envoy.stat("http.main.downstream_rq_active") == MANY as u64).then_some(())
    });
    held.release();
    // A few at a time: each of them may be the one that finds the keys.
    while !waiting.is_finished() {
        for answer in harness::burst(addr, 4, |_| Request::get("/public")) {
            assert_eq!(answer.status, 200, "{}", answer.text());
        }
    }
    for answer in waiting.join().expect("an answer to each") {
        assert_eq!(answer.status, 403, "{}", answer.text());
    }
}

/// The rows of a table of the page, each with the names of its first column.
fn rows() -> Vec<(Vec<String>, String)> {
    let page = workspace().join("docs/operations.md");
    let page = std::fs::read_to_string(page).expect("the page");
    let (_, section) = page.split_once("\n## Hosts that offer less\n").expect("the section");
    let section = section.split("\n## ").next().unwrap_or_default();
    let names = |cell: &str| cell.split('`').skip(1).step_by(2).map(str::to_owned).collect();
    let rows = section.lines().filter(|line| line.starts_with("| ") && line.contains('`'));
    rows.filter_map(|row| row.split('|').nth(1).map(|cell| (names(cell), cell.to_owned()))).collect()
}

/// What the page says is needed where keys are in the configuration.
fn bold() -> Vec<String> {
    let is_bold = |(_, cell): &(Vec<String>, String)| cell.contains("**");
    rows().into_iter().filter(is_bold).flat_map(|(names, _)| names).collect()
}

#[test]
fn the_page_has_a_row_for_whatever_can_be_withheld() {
    let mut rows_of: BTreeMap<String, usize> = BTreeMap::new();
    for name in rows().into_iter().flat_map(|(names, _)| names) {
        *rows_of.entry(name).or_default() += 1;
    }
    let mut listed = everything();
    listed.sort();
    let told: Vec<String> = rows_of.keys().cloned().collect();
    assert_eq!(told, listed);
    assert!(rows_of.values().all(|count| *count == 1), "{rows_of:?}");
    // Each of them is withheld in one of the tests.
    let cases: Vec<String> = cases().into_iter().flat_map(|case| case.withheld).collect();
    for name in listed {
        assert!(cases.contains(&name) || NO_START.contains(&&*name), "nothing withholds {name}");
    }
}
