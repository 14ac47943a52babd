//! A configuration that the filter refuses, where routes arrive by another way than the listener: as Envoy Gateway sends
//! them. Nothing is open while it stands, and nothing that was in force is lost.

use crate::common;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use common::{SOON, assert_problem, config, corp, local_provider, with};
use harness::envoy::portcullis_module;
use harness::{Envoy, Idp, PluginConfig, Request, StartError, Upstream, Wasm, eventually};
use serde_json::{Value, json};

/// A folder of this test's own, from which Envoy reads its listener and its routes.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("portcullis-refused-{}-{number}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).expect("a folder");
        Self(path)
    }

    /// Puts a list of one resource into the place from which Envoy reads it.
    fn put(&self, name: &str, kind: &str, mut resource: Value) {
        static VERSION: AtomicUsize = AtomicUsize::new(0);
        resource["@type"] = json!(format!("type.googleapis.com/envoy.config.{kind}"));
        let version = VERSION.fetch_add(1, Ordering::Relaxed).to_string();
        let content = json!({ "version_info": version, "resources": [resource] });
        let fresh = self.0.join(format!("{name}.new"));
        fs::write(&fresh, content.to_string()).expect("the file is written");
        fs::rename(fresh, self.0.join(name)).expect("the file is put in place");
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A policy: its configuration as text, none for none at all.
type Policies = BTreeMap<String, Option<String>>;

fn vm_id(policy: &str) -> String {
    format!("envoyextensionpolicy/shop/{policy}/wasm/0")
}

fn filter_name(policy: &str) -> String {
    format!("envoy.filters.http.wasm/{}", vm_id(policy))
}

/// One filter of the listener, turned off but for the routes that turn it on.
fn filter(policy: &str, configuration: Option<&str>) -> Value {
    let mut plugin = json!({
        "name": "portcullis",
        "vm_config": {
            "vm_id": vm_id(policy),
            "runtime": "envoy.wasm.runtime.v8",
            "code": { "local": { "filename": portcullis_module() } },
        },
    });
    if let Some(text) = configuration {
        plugin["configuration"] =
            json!({ "@type": "type.googleapis.com/google.protobuf.StringValue", "value": text });
    }
    json!({
        "name": filter_name(policy),
        "disabled": true,
        "typed_config": { "@type": "type.googleapis.com/envoy.extensions.filters.http.wasm.v3.Wasm", "config": plugin },
    })
}

fn files(folder: &Path, name: &str) -> Value {
    json!({
        "resource_api_version": "V3",
        "path_config_source": { "path": folder.join(name), "watched_directory": { "path": folder } },
    })
}

fn listener(folder: &Path, policies: &Policies, patch: impl Fn(&mut Value)) -> Value {
    let mut filters: Vec<Value> =
        policies.iter().map(|(name, configuration)| filter(name, configuration.as_deref())).collect();
    filters.iter_mut().for_each(|filter| patch(&mut filter["typed_config"]["config"]));
    filters.push(json!({
        "name": "envoy.filters.http.router",
        "typed_config": { "@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router" },
    }));
    let hcm = json!({
        "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "main",
        "rds": { "route_config_name": "shop/gateway/http", "config_source": files(folder, "routes.json") },
        "http_filters": filters,
    });
    json!({
        "name": "main",
        "address": { "socket_address": { "address": "127.0.0.1", "port_value": 0 } },
        "filter_chains": [{ "filters": [{ "name": "envoy.filters.network.http_connection_manager", "typed_config": hcm }] }],
    })
}

/// Routes by their prefix, each with its policy.
fn routes(all: &[(String, &str)]) -> Value {
    let route = |(prefix, policy): &(String, &str)| {
        json!({
            "name": format!("httproute{prefix}"),
            "match": { "path_separated_prefix": prefix },
            "route": { "cluster": "upstream" },
            "typed_per_filter_config": { filter_name(policy): {
                "@type": "type.googleapis.com/envoy.config.route.v3.FilterConfig", "config": {},
            } },
        })
    };
    let routes: Vec<Value> = all.iter().map(route).collect();
    json!({
        "name": "shop/gateway/http",
        "virtual_hosts": [{ "name": "all", "domains": ["*"], "routes": routes }],
    })
}

/// A gateway of these policies and routes, both by discovery.
struct Gateway {
    folder: Folder,
    _upstream: Upstream,
    envoy: Envoy,
}

impl Gateway {
    fn start(policies: &Policies, all: &[(String, &str)]) -> Self {
        let (folder, upstream) = (Folder::new(), Upstream::start());
        folder.put("listener.json", "listener.v3.Listener", listener(&folder.0, policies, |_| ()));
        folder.put("routes.json", "route.v3.RouteConfiguration", routes(all));
        let path = folder.0.clone();
        let envoy = Envoy::builder()
            .upstream(&upstream)
            .concurrency(u32::try_from(WORKERS).expect("32 bits"))
            .patch(move |bootstrap| {
                bootstrap["static_resources"].as_object_mut().expect("an object").remove("listeners");
                bootstrap["dynamic_resources"] = json!({ "lds_config": files(&path, "listener.json") });
            })
            .start()
            .unwrap_or_else(|error| panic!("{error}"));
        Self { folder, _upstream: upstream, envoy }
    }

    /// The listener first, so that routes never name a filter before it could be there; waits until Envoy has taken it.
    fn update(&self, policies: &Policies, all: &[(String, &str)]) {
        self.update_with(policies, all, |_| ());
    }

    /// The same with every plugin changed.
    fn update_with(&self, policies: &Policies, all: &[(String, &str)], patch: impl Fn(&mut Value)) {
        let updates = || self.envoy.stat("listener_manager.lds.update_success");
        let on_workers = || self.envoy.stat("listener_manager.listener_create_success");
        let (before, warm, had) =
            (updates(), self.envoy.stat("listener_manager.listener_modified"), on_workers());
        self.folder.put("listener.json", "listener.v3.Listener", listener(&self.folder.0, policies, patch));
        eventually("the listener", SOON, || {
            let rejected = self.envoy.stat("listener_manager.lds.update_rejected");
            assert_eq!(rejected, 0, "{}", self.envoy.log());
            (updates() > before).then_some(())
        });
        eventually("the listener to be changed", SOON, || {
            let modified = self.envoy.stat("listener_manager.listener_modified") > warm;
            let warming = self.envoy.stat("listener_manager.total_listeners_warming");
            (modified && warming == 0 && on_workers() >= had + WORKERS).then_some(())
        });
        self.folder.put("routes.json", "route.v3.RouteConfiguration", routes(all));
        eventually("the routes", SOON, || {
            let served = |path: &str| Request::get(path).send(self.envoy.addr()).status != 404;
            all.iter().all(|(path, _)| served(path)).then_some(())
        });
    }

    fn ask(&self, path: &str, token: Option<&str>) -> harness::Response {
        let request = Request::get(path);
        let request = token.iter().fold(request, |request, token| request.bearer(token));
        request.send(self.envoy.addr())
    }
}

/// Set at the end, of a test that fails too: else who waits for it would wait for ever.
struct SetAtTheEnd<'s>(&'s AtomicBool);

impl Drop for SetAtTheEnd<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
    }
}

/// Whoever asks without a token, all the time, on every path, finds no door open.
fn with_somebody_at_the_doors<R>(gateway: &Gateway, paths: &[String], act: impl FnOnce() -> R) -> R {
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        let attacker = scope.spawn(|| {
            let (mut open, mut asked) = (Vec::new(), 0);
            while !stop.load(Ordering::Acquire) || asked == 0 {
                for path in paths {
                    let Ok(answer) = Request::get(path).try_send(gateway.envoy.addr()) else { continue };
                    if !matches!(answer.status, 401 | 403 | 404 | 503) {
                        open.push(format!("{path}: {}", answer.status));
                    }
                    asked += 1;
                }
            }
            open
        });
        let result = {
            let _stop = SetAtTheEnd(&stop);
            act()
        };
        let open = attacker.join().expect("the attacker");
        assert!(open.is_empty(), "open: {open:?}");
        result
    })
}

/// Needs this scope.
fn sound(idp: &Idp, scope: &str) -> Value {
    let authorize = json!({ "scopes": { "all_of": [scope] } });
    let rules = json!([{ "match": { "prefix": "/" }, "requires": corp(), "authorize": authorize }]);
    with(config(local_provider(idp), rules), json!({ "route_rules": false }))
}

/// Configurations that are refused, of every kind, each with a word that its error says.
fn refused(idp: &Idp) -> Vec<(&'static str, Option<String>, &'static str)> {
    let good = || sound(idp, "orders");
    let changed = |pointer: &str, value: Value| {
        let mut config = good();
        let (parent, name) = pointer.rsplit_once('/').expect("a pointer");
        config.pointer_mut(parent).expect("a place")[name] = value;
        Some(config.to_string())
    };
    let expression = |at: usize| json!({ "match": { "safe_regex": { "regex": format!("/{at}/.*") } } });
    let expressions: Vec<Value> = (0..1100).map(expression).collect();
    let nested = format!("{}{}", "{\"a\":".repeat(200), "1").to_owned() + &"}".repeat(200);
    let text = good().to_string();
    vec![
        ("unknown-field", changed("/rules/0/mathc", json!({})), "unknown field"),
        ("wrong-type", changed("/rules", json!("all")), "expected a list"),
        ("not-json", Some("providers: {}\nrules: []\n".to_owned()), "neither JSON"),
        ("cut-off", Some(text[..text.len() - 2].to_owned()), "not valid JSON"),
        (
            "missing-secret",
            changed("/shared_data_secret", json!({ "environment_variable": "NOT_SET" })),
            "not set",
        ),
        ("absent", None, "empty"),
        ("empty", Some(String::new()), "empty"),
        ("empty-object", Some("{}".to_owned()), "is missing"),
        ("contradictory", changed("/rules/0/requirement_name", json!("other")), "keep one"),
        (
            "unknown-provider",
            changed("/rules/0/requires", json!({ "provider_name": "corpp" })),
            "no provider",
        ),
        ("too-large", changed("/rules", json!(expressions)), "all rules together have more than"),
        ("too-deep", Some(nested), "nest"),
        ("empty-requires", changed("/rules/0/requires", json!({})), "is empty"),
        ("null-requires", changed("/rules/0/requires", Value::Null), "instead of null"),
        ("repeated-key", Some(text.replacen('{', "{\"rules\":[],", 1)), "not valid JSON"),
        ("no-audience", changed("/providers/corp/audiences", json!([])), "at least one"),
        ("public-explicitly", changed("/public_rules", json!("explicitly")), "must be one of"),
    ]
}

fn policies<'a>(all: impl IntoIterator<Item = (&'a str, Option<String>)>) -> Policies {
    all.into_iter().map(|(name, configuration)| (name.to_owned(), configuration)).collect()
}

const WORKERS: u64 = 2;

const GAUGE: &str = "wasmcustom.portcullis.configuration_refused";

/// The gauge of a policy, which is labelled with its name.
fn gauge(policy: &str) -> String {
    format!("{GAUGE}.instance.{policy}")
}

#[test]
fn the_last_good_configuration_stays_in_force_and_new_routes_are_shut() {
    let idp = common::idp();
    let bad = refused(&idp);
    assert!(bad.len() >= 7);
    let good = |scope: &str| Some(sound(&idp, scope).to_string());
    let names: Vec<&str> = bad.iter().map(|(name, ..)| *name).collect();
    let first = policies(names.iter().map(|name| (*name, good("orders"))).chain([("calm", good("orders"))]));
    let mut all: Vec<(String, &str)> = names.iter().map(|name| (format!("/{name}"), *name)).collect();
    all.push(("/calm".to_owned(), "calm"));
    let gateway = Gateway::start(&first, &all);
    let (orders, admin) = (idp.token(json!({ "scope": "orders" })), idp.token(json!({ "scope": "admin" })));
    for (path, _) in &all {
        assert_eq!(gateway.ask(path, Some(&orders)).status, 200, "{path}");
        assert_eq!(gateway.ask(path, None).status, 401, "{path}");
    }
    assert!(names.iter().all(|name| gateway.envoy.stat(&gauge(name)) == 0));

    // All are refused at once, each gets a route of its own beside; a stricter update and another team come with them.
    let second = policies(
        bad.iter()
            .map(|(name, text, _)| (*name, text.clone()))
            .chain([("calm", good("admin")), ("team", good("admin"))]),
    );
    let mut more = all.clone();
    more.extend(names.iter().map(|name| (format!("/new/{name}"), *name)));
    more.push(("/team".to_owned(), "team"));
    let paths: Vec<String> = more.iter().map(|(path, _)| path.clone()).collect();
    with_somebody_at_the_doors(&gateway, &paths, || {
        gateway.update(&second, &more);
        eventually("the stricter update", SOON, || {
            (gateway.ask("/calm", Some(&orders)).status == 403).then_some(())
        });
        for (path, policy) in &more {
            let strict = matches!(*policy, "calm" | "team");
            let (takes, refuses) = if strict { (&admin, &orders) } else { (&orders, &admin) };
            assert_eq!(gateway.ask(path, Some(takes)).status, 200, "{path}: nothing is lost");
            assert_problem(path, &gateway.ask(path, Some(refuses)), 403, "scope_insufficient");
            assert_problem(path, &gateway.ask(path, None), 401, "token_missing");
        }
    });
    for name in &names {
        gateway.envoy.wait_for_stat(&gauge(name), SOON, |value| value == 1);
    }
    assert_eq!(gateway.envoy.stat(&gauge("calm")), 0, "it was never refused");
    let log = gateway.envoy.log();
    for (name, _, says) in &bad {
        assert!(log.contains(says), "{name}: no line says {says:?}");
    }
    assert!(log.contains("the last good configuration stays in force"));

    // Refused again, in another way: still the last good one.
    let again = policies(
        names
            .iter()
            .map(|name| (*name, Some("{\"rules\":1}".to_owned())))
            .chain([("calm", good("admin")), ("team", good("admin"))]),
    );
    with_somebody_at_the_doors(&gateway, &paths, || {
        gateway.update(&again, &all);
        for (path, policy) in &all {
            let token = if *policy == "calm" { &admin } else { &orders };
            assert_eq!(gateway.ask(path, Some(token)).status, 200, "{path}");
        }
    });

    // Mended, and stricter than before.
    let third = policies(
        names
            .iter()
            .map(|name| (*name, good("admin")))
            .chain([("calm", good("admin")), ("team", good("admin"))]),
    );
    with_somebody_at_the_doors(&gateway, &paths, || {
        gateway.update(&third, &all);
        for (path, _) in &all {
            eventually(&format!("{path} mended"), SOON, || {
                (gateway.ask(path, Some(&orders)).status == 403).then_some(())
            });
            assert_eq!(gateway.ask(path, Some(&admin)).status, 200, "{path}");
        }
    });
    for name in &names {
        gateway.envoy.wait_for_stat(&gauge(name), SOON, |value| value == 0);
    }
    common::assert_sound(&gateway.envoy);
}

#[test]
fn a_fresh_proxy_refuses_every_request_of_a_refused_policy_alone() {
    let idp = common::idp();
    let bad = refused(&idp);
    let good = |scope: &str| Some(sound(&idp, scope).to_string());
    let names: Vec<&str> = bad.iter().map(|(name, ..)| *name).collect();
    let first =
        policies(bad.iter().map(|(name, text, _)| (*name, text.clone())).chain([("calm", good("orders"))]));
    let mut all: Vec<(String, &str)> = names.iter().map(|name| (format!("/{name}"), *name)).collect();
    all.push(("/calm".to_owned(), "calm"));
    let gateway = Gateway::start(&first, &all);
    let orders = idp.token(json!({ "scope": "orders" }));
    assert_eq!(gateway.ask("/calm", Some(&orders)).status, 200);
    assert_eq!(gateway.ask("/calm", None).status, 401);
    for name in &names {
        for token in [None, Some(orders.as_str())] {
            let answer = gateway.ask(&format!("/{name}"), token);
            assert_problem(name, &answer, 503, "configuration_refused");
            assert!(common::retry_after(&answer) >= 1, "{name}");
        }
        let posted = Request::post(format!("/{name}"), vec![b'x'; 100_000]).send_h2(gateway.envoy.addr());
        assert_eq!(posted.status, 503, "{name}");
        let call = Request::grpc(&format!("/{name}/Get")).send_h2(gateway.envoy.addr());
        assert_eq!(call.header("grpc-status").as_deref(), Some("14"), "{name}: {call:?}");
    }
    assert!(names.iter().all(|name| gateway.envoy.stat(&gauge(name)) == 1));
    let paths: Vec<String> = all.iter().map(|(path, _)| path.clone()).collect();
    let mended = policies(names.iter().map(|name| (*name, good("orders"))).chain([("calm", good("orders"))]));
    with_somebody_at_the_doors(&gateway, &paths, || {
        gateway.update(&mended, &all);
        for (path, _) in &all {
            eventually(&format!("{path} mended"), SOON, || {
                (gateway.ask(path, Some(&orders)).status == 200).then_some(())
            });
            assert_eq!(gateway.ask(path, None).status, 401, "{path}");
        }
    });
    for name in &names {
        gateway.envoy.wait_for_stat(&gauge(name), SOON, |value| value == 0);
    }
    common::assert_sound(&gateway.envoy);
}

#[test]
fn another_virtual_machine_of_the_policy_knows_the_last_good_configuration() {
    let idp = common::idp();
    let good = sound(&idp, "orders").to_string();
    let all = [("/orders".to_owned(), "orders"), ("/other".to_owned(), "other")];
    let gateway = Gateway::start(&policies([("orders", Some(good.clone())), ("other", Some(good))]), &all);
    let token = idp.token(json!({ "scope": "orders" }));
    assert_eq!(gateway.ask("/orders", Some(&token)).status, 200);

    // Its environment is another, and its configuration wrong: Envoy makes another virtual machine.
    let bad = || Some("{\"rules\":1}".to_owned());
    let vms = gateway.envoy.stat("wasm.envoy.wasm.runtime.v8.created");
    with_somebody_at_the_doors(&gateway, &["/orders".to_owned()], || {
        gateway.update_with(&policies([("orders", bad()), ("other", bad())]), &all, |plugin| {
            plugin["vm_config"]["environment_variables"] = json!({ "key_values": { "ANOTHER": "one" } });
        });
        for path in ["/orders", "/other"] {
            assert_eq!(gateway.ask(path, Some(&token)).status, 200, "{path}: nothing is lost");
            assert_problem(path, &gateway.ask(path, None), 401, "token_missing");
        }
    });
    assert!(gateway.envoy.stat("wasm.envoy.wasm.runtime.v8.created") > vms, "{}", gateway.envoy.log());
    gateway.envoy.wait_for_stat(&gauge("orders"), SOON, |value| value == 1);
    common::assert_sound(&gateway.envoy);
}

#[test]
fn a_virtual_machine_that_is_used_again_serves_by_the_newest_good_configuration() {
    let idp = common::idp();
    let of = |text: String| policies([("orders", Some(text))]);
    let good = |scope: &str| sound(&idp, scope).to_string();
    let all = [("/orders".to_owned(), "orders")];
    let gateway = Gateway::start(&of(good("orders")), &all);
    let (orders, admin) = (idp.token(json!({ "scope": "orders" })), idp.token(json!({ "scope": "admin" })));
    assert_eq!(gateway.ask("/orders", Some(&orders)).status, 200);

    // Stricter, in another virtual machine; then a mistake, in the first one again, which has not gone yet.
    with_somebody_at_the_doors(&gateway, &["/orders".to_owned()], || {
        gateway.update_with(&of(good("admin")), &all, |plugin| {
            plugin["vm_config"]["environment_variables"] = json!({ "key_values": { "ANOTHER": "one" } });
        });
        eventually("the stricter one", SOON, || {
            (gateway.ask("/orders", Some(&orders)).status == 403).then_some(())
        });
        gateway.update(&of("{\"rules\":1}".to_owned()), &all);
        gateway.envoy.wait_for_stat(&gauge("orders"), SOON, |value| value == 1);
        assert_problem("newest", &gateway.ask("/orders", Some(&orders)), 403, "scope_insufficient");
        assert_eq!(gateway.ask("/orders", Some(&admin)).status, 200);
    });
    common::assert_sound(&gateway.envoy);
}

/// Starts an Envoy with one filter.
fn start(wasm: Wasm, upstream: &Upstream) -> Result<Envoy, StartError> {
    Envoy::builder().upstream(upstream).filter(wasm).start()
}

#[test]
fn elsewhere_envoy_refuses_unless_the_environment_says_otherwise() {
    let (idp, upstream) = (common::idp(), Upstream::start());
    let broken = || Wasm::portcullis(json!({ "rules": 1 }));
    let gateway = vm_id("orders");
    let word = |wasm: Wasm, word: &str| wasm.env("PORTCULLIS_REFUSED_CONFIGURATION", word);
    for (what, wasm, starts) in [
        ("plain", broken(), false),
        ("reject", word(broken(), "reject"), false),
        ("deny", word(broken(), "deny"), true),
        ("Envoy Gateway", broken().vm_id(&gateway), true),
        ("Envoy Gateway, reject", word(broken().vm_id(&gateway), "reject"), false),
        ("Envoy Gateway, an unknown word", word(broken().vm_id(&gateway), "refuse"), true),
        ("an unknown word", word(broken(), "Deny"), false),
        ("an unknown word beside what is sound", word(Wasm::portcullis(sound(&idp, "orders")), "yes"), false),
        ("nearly Envoy Gateway", broken().vm_id("x/envoyextensionpolicy/shop/orders/wasm/0"), false),
        ("no configuration", broken().config(PluginConfig::Absent).vm_id(&gateway), true),
    ] {
        // A dynamic module has no virtual machine that Envoy Gateway names.
        if common::is_native() && (what.contains("Gateway") || what == "no configuration") {
            continue;
        }
        match start(wasm, &upstream) {
            Ok(envoy) => {
                assert!(starts, "{what}: it started");
                let answer = Request::get("/x").send(envoy.addr());
                assert_problem(what, &answer, 503, "configuration_refused");
                let name = if what == "deny" { GAUGE.to_owned() } else { gauge("orders") };
                assert_eq!(envoy.stat(&name), 1, "{what}");
            }
            Err(error) => {
                assert!(!starts, "{what}: {error}");
                if what.contains("unknown word") {
                    let says = "PORTCULLIS_REFUSED_CONFIGURATION: is ";
                    assert!(
                        error.log.contains(says) && error.log.contains("\"deny\""),
                        "{what}: {}",
                        error.log
                    );
                }
            }
        }
    }
}

/// The names of policies, `NAMESPACE/POLICY`, that what Envoy Gateway sent to its proxies has virtual machines for; each
/// has its filter, too.
fn policies_in(sent: &str) -> Vec<String> {
    let is_own = |byte: char| byte.is_ascii_alphanumeric() || "-./_".contains(byte);
    let words: Vec<&str> = sent.split(|byte| !is_own(byte)).collect();
    let ids = words.iter().filter_map(|word| word.strip_prefix("envoyextensionpolicy/"));
    let policies = ids.filter_map(|id| id.split_once("/wasm/"));
    for (policy, number) in policies.clone() {
        let filter = format!("envoy.filters.http.wasm/envoyextensionpolicy/{policy}/wasm/{number}");
        assert!(words.contains(&filter.as_str()), "{policy} has no filter {filter}");
    }
    policies.map(|(policy, _)| policy.to_owned()).collect()
}

/// What Envoy Gateway sends, as its own tests have it in the release that `scripts/test-data` fetches.
#[test]
fn envoy_gateway_names_its_vms_as_these_tests_do() {
    let ours = vm_id("orders").replacen("envoyextensionpolicy/", "", 1);
    assert_eq!(ours, "shop/orders/wasm/0", "NAMESPACE/POLICY/wasm/N");
    let sent = ["envoy-gateway/wasm.listeners.yaml", "envoy-gateway/envoy-gateway-xds-shop.json"];
    let found: Vec<String> = sent
        .into_iter()
        .filter_map(harness::shared)
        .map(|file| fs::read_to_string(file).expect("text"))
        .collect();
    if found.is_empty() {
        let test = "envoy_gateway_names_its_vms_as_these_tests_do";
        return harness::skip(test, &harness::missing("envoy-gateway"));
    }
    for text in found {
        let policies = policies_in(&text);
        assert!(!policies.is_empty() && policies.iter().all(|it| it.split('/').count() == 2), "{policies:?}");
        if text.contains("portcullis-orders") {
            assert!(text.contains(&format!("\"{}\"", vm_id("portcullis-orders"))));
            assert!(text.contains(&format!("\"{}\"", filter_name("portcullis-orders"))));
        }
    }
}
