//! What an operator sees: every counter, gauge and histogram of a real Envoy has the right number under its documented
//! name, Prometheus shows the labels, the alerts are sound and one of them fires, and each query of the dashboard
//! gives data.

use crate::common;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use common::{AUDIENCE, SOON, assert_sound, corp, local_provider, provider, with};
use harness::idp::{GATE, flip_bit, now};
use harness::{
    Alg, Behaviour, Documents, Envoy, EnvoyBuilder, Idp, Key, Listener, Prometheus, Request, Tools, Upstream,
    Wasm, eventually, skip, workspace,
};
use serde_json::{Value, json};

/// The deadline of what hangs on the gauges, which are shown every ten seconds, and on scrapes and evaluations.
const LATER: Duration = Duration::from_secs(90);

/// What no name may hold: every request of the walk carries it somewhere.
const CLIENTS: &str = "zebra";

fn file(path: &str) -> PathBuf {
    workspace().join(path)
}

fn read(path: &str) -> String {
    fs::read_to_string(file(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn yaml(path: &str) -> Value {
    serde_norway::from_str(&read(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The bootstrap's part that turns labels into tags.
fn with_tags(builder: EnvoyBuilder) -> EnvoyBuilder {
    let tags = yaml("envoy/stats_tags.yaml")["stats_config"].clone();
    builder.patch(move |bootstrap| bootstrap["stats_config"] = tags)
}

/// An Envoy that has seen one of everything.
struct Walk {
    idp: Idp,
    other: Idp,
    lists: Documents,
    envoy: Envoy,
    /// Keeps the service up.
    _upstream: Upstream,
}

impl Walk {
    fn start(change: impl FnOnce(EnvoyBuilder) -> EnvoyBuilder) -> Self {
        let (idp, upstream, lists) = (common::idp(), Upstream::start(), Documents::start());
        let other = Idp::builder().audience(AUDIENCE).keys([Key::cached(Alg::ES256, "ec-2")]).start();
        let other = other.expect("the other identity provider starts");
        lists.put(
            "/revoked.json",
            json!({ "version": 1, "entries": [
            { "jti": "revoked", "issuer": idp.issuer(), "until": now() + 3600 },
        ] })
            .to_string(),
        );
        let uri = |path: &str| json!({ "uri": lists.uri(path), "cluster": "lists", "timeout": "2s" });
        let named = |header: &str| json!({ "from_headers": [{ "name": header }] });
        let asked = |client: &str, header: &str| {
            json!({
                "issuer": idp.issuer(),
                "audiences": [idp.audience()],
                "from_headers": [{ "name": header }],
                "introspection": {
                    "http_uri": { "uri": idp.introspection_uri(), "cluster": "idp", "timeout": "2s" },
                    "client_id": client,
                    "client_secret": { "environment_variable": "SECRET" },
                },
            })
        };
        let config = json!({
            "providers": {
                "corp": provider(&idp),
                // These two would look alike, and this last one like a label.
                "a b": with(local_provider(&other), named("x-one")),
                "a.b": with(local_provider(&other), named("x-two")),
                "reason": with(local_provider(&other), named("x-three")),
                "gone": with(provider(&other), json!({
                    "from_headers": [{ "name": "x-gone" }],
                    "remote_jwks": { "http_uri": { "uri": "http://gone.example/jwks.json", "cluster": "gone", "timeout": "1s" } },
                })),
                "opaque": asked("gate", "x-opaque"),
                "stranger": asked("stranger", "x-stranger"),
            },
            // So many that nobody is blocked, but for whom it is counted.
            "limits": { "failures": { "per_client": 100_000 } },
            "rules": [
                { "name": "public", "match": { "path": "/healthz" } },
                { "name": "orders", "match": { "prefix": "/orders" }, "requires": corp(),
                  "authorize": { "scopes": { "all_of": ["orders:read"] } } },
                { "name": "trial", "match": { "prefix": "/trial" }, "requires": corp(), "mode": "report" },
                { "match": { "prefix": "/one" }, "requires": { "provider_name": "a b" } },
                { "match": { "prefix": "/two" }, "requires": { "provider_name": "a.b" } },
                { "name": "decision", "match": { "prefix": "/three" }, "requires": { "provider_name": "reason" } },
                { "name": "gone", "match": { "prefix": "/gone" }, "requires": { "provider_name": "gone" } },
                { "name": "opaque", "match": { "prefix": "/opaque" }, "requires": { "provider_name": "opaque" } },
                { "name": "stranger", "match": { "prefix": "/stranger" }, "requires": { "provider_name": "stranger" } },
            ],
            "revocation": { "lists": [
                { "name": "security team", "http_uri": uri("/revoked.json"), "poll_interval": "1s" },
                { "name": "missing", "http_uri": uri("/missing.json"), "poll_interval": "1s", "on_unavailable": "allow" },
            ] },
        });
        let builder = Envoy::builder()
            .upstream(&upstream)
            .idp("idp", &idp)
            .cluster("lists", harness::Cluster::new(lists.addr()))
            .filter(Wasm::portcullis(config).env("SECRET", GATE.1));
        let envoy = change(builder).start().unwrap_or_else(|error| panic!("{error}"));
        let walk = Self { idp, other, lists, envoy, _upstream: upstream };
        walk.round();
        walk
    }

    /// One round of requests; what is asked carries a word that must not get into a name.
    fn round(&self) {
        let ask = |status: u16, path: &str, header: &str, token: &str| {
            let request = Request::get(format!("{path}/{CLIENTS}?{CLIENTS}={CLIENTS}"))
                .host(format!("{CLIENTS}.example"))
                .header("user-agent", CLIENTS);
            let request = match (header, token) {
                (_, "") => request,
                ("", token) => request.bearer(token),
                (header, token) => request.header(header, token),
            };
            let answer = request.send(self.envoy.addr());
            assert_eq!(answer.status, status, "{path} {header}: {}", answer.text());
        };
        let good =
            self.idp.mint().claims(json!({ "scope": format!("orders:read {CLIENTS}"), "sub": CLIENTS }));
        let (token, other) = (good.sign(), self.other.mint().claim("sub", CLIENTS).sign());
        for _ in 0..3 {
            ask(200, "/orders", "", &token);
        }
        ask(401, "/orders", "", "");
        ask(401, "/orders", "", &flip_bit(&token));
        ask(401, "/orders", "", &good.clone().expires_in(-600).sign());
        ask(401, "/orders", "", &good.clone().claim("iss", format!("https://{CLIENTS}.example")).sign());
        ask(401, "/orders", "", &good.clone().claim("jti", "revoked").sign());
        ask(403, "/orders", "", &good.clone().claim("scope", CLIENTS).sign());
        ask(403, "/nowhere", "", &token);
        ask(200, "/trial", "", &token);
        ask(200, "/trial", "", "");
        ask(200, "/one", "x-one", &other);
        ask(200, "/two", "x-two", &other);
        ask(200, "/two", "x-two", &other);
        ask(200, "/three", "x-three", &other);
        ask(503, "/gone", "x-gone", &other);
        let opaque = self.idp.opaque_token(json!({ "sub": CLIENTS }));
        ask(200, "/opaque", "x-opaque", &opaque);
        ask(200, "/opaque", "x-opaque", &opaque);
        ask(401, "/opaque", "x-opaque", &format!("{CLIENTS}-{}", opaque.replace("demo", "made")));
        // Nobody told the provider of this client.
        ask(503, "/stranger", "x-stranger", &opaque);
        let answer = Request::get("/healthz").send(self.envoy.addr());
        assert_eq!(answer.status, 200, "{}", answer.text());
    }

    /// A request that is counted where nobody looks.
    fn nudge(&self) {
        common::nudge(&self.envoy, &Request::get("/nobody%252Flooks"));
    }

    /// The filter's own counters and gauges, without what Envoy puts before them.
    fn stats(&self) -> BTreeMap<String, u64> {
        self.nudge();
        let stats = self.envoy.stats_matching(r"^wasmcustom\.");
        stats
            .into_iter()
            .map(|(name, value)| (name.trim_start_matches("wasmcustom.portcullis.").to_owned(), value))
            .collect()
    }
}

/// The label of a name that two names share; its end is a digest of the name.
fn own_label(stats: &BTreeMap<String, u64>, requests: u64) -> String {
    let found: Vec<&str> = stats
        .iter()
        .filter(|(name, value)| {
            name.contains(".provider.a_b-") && name.starts_with("requests.") && **value == requests
        })
        .filter_map(|(name, _)| name.split(".provider.").nth(1)?.split('.').next())
        .collect();
    assert_eq!(found.len(), 1, "one provider with {requests} requests: {stats:?}");
    found[0].to_owned()
}

#[test]
fn after_a_walk_every_counter_gauge_and_histogram_has_its_number_under_its_name() {
    let walk = Walk::start(|builder| builder);
    eventually("the counters of the walk", SOON, || {
        let allowed = walk.stats().get("rules.rule.public.decision.allow").copied();
        (allowed == Some(1)).then_some(())
    });
    let stats = walk.stats();
    let (one, two) = (own_label(&stats, 1), own_label(&stats, 2));
    assert_ne!(one, two);
    for (name, value) in [
        ("requests.decision.allow.provider.corp.reason.none", 4),
        ("requests.decision.deny.provider.corp.reason.token_missing", 1),
        ("requests.decision.deny.provider.corp.reason.signature_invalid", 1),
        ("requests.decision.deny.provider.corp.reason.expired", 1),
        ("requests.decision.deny.provider.corp.reason.issuer_unknown", 1),
        ("requests.decision.deny.provider.corp.reason.revoked", 1),
        ("requests.decision.deny.provider.corp.reason.scope_insufficient", 1),
        ("requests.decision.would_deny.provider.corp.reason.token_missing", 1),
        ("requests.decision.deny.provider.none.reason.route_unmatched", 1),
        ("requests.decision.allow.provider.none.reason.none", 1),
        ("requests.decision.deny.provider.gone.reason.keys_unavailable", 1),
        ("requests.decision.allow.provider.reason.reason.none", 1),
        ("client_failures", 2),
        ("rules.rule.orders.decision.allow", 3),
        ("rules.rule.orders.decision.deny", 6),
        ("rules.rule.trial.decision.allow", 1),
        ("rules.rule.trial.decision.would_deny", 1),
        ("rules.rule.rules_3_.decision.allow", 1),
        ("rules.rule.rules_4_.decision.allow", 2),
        ("rules.rule.decision.decision.allow", 1),
        ("rules.rule.gone.decision.deny", 1),
        ("requests.decision.allow.provider.opaque.reason.none", 2),
        ("requests.decision.deny.provider.opaque.reason.token_inactive", 1),
        ("requests.decision.deny.provider.stranger.reason.introspection_unavailable", 1),
        ("introspection_calls.provider.opaque.outcome.active", 1),
        ("introspection_calls.provider.opaque.outcome.inactive", 1),
        ("introspection_calls.provider.stranger.outcome.refused", 1),
        ("introspection_cache.provider.opaque.result.hit", 1),
        ("introspection_cache.provider.opaque.result.miss", 2),
        ("introspection_in_flight.provider.opaque", 0),
        ("token_cache.provider.corp.result.hit", 3),
        ("jwks_fetches.provider.corp.outcome.success", 1),
        ("keys.provider.corp", 2),
        ("keys.provider.gone", 0),
        ("keys_stale.provider.corp", 0),
        ("revocation_entries.list.security_team", 1),
        ("revocation_stale.list.security_team", 0),
        ("revocation_entries.list.missing", 0),
        ("revocation_stale.list.missing", 1),
        (
            concat!(
                "build.version.",
                env!("CARGO_PKG_VERSION_MAJOR"),
                "_",
                env!("CARGO_PKG_VERSION_MINOR"),
                "_",
                env!("CARGO_PKG_VERSION_PATCH")
            ),
            1,
        ),
    ] {
        // Gauges are shown every ten seconds.
        let found = eventually(&format!("{name} to be {value}"), SOON, || {
            let found = walk.stats().get(name).copied();
            (found == Some(value)).then_some(found)
        });
        assert_eq!(found, Some(value), "{name}");
    }
    let at_least = |name: &str, least: u64| {
        eventually(&format!("{name} to be {least} at least"), SOON, || {
            walk.stats().get(name).is_some_and(|value| *value >= least).then_some(())
        });
    };
    at_least("token_cache.provider.corp.result.miss", 4);
    at_least("jwks_fetches.provider.gone.outcome.failure", 1);
    at_least("revocation_fetches.list.security_team.outcome.success", 2);
    at_least("revocation_fetches.list.missing.outcome.failure", 2);
    at_least("revocation_unchecked.provider.corp", 1);
    let recent = u64::try_from(now()).expect("after 1970") - 600;
    at_least("keys_last_success_seconds.provider.corp", recent);
    at_least("introspection_last_success_seconds.provider.opaque", recent);
    let stats = walk.stats();
    assert!(stats["keys_age_seconds.provider.corp"] < 600, "{stats:?}");
    assert!(stats["introspection_age_seconds.provider.opaque"] < 600, "{stats:?}");
    assert!(stats["revocation_age_seconds.list.security_team"] < 600, "{stats:?}");
    // Envoy merges what its workers recorded every few seconds.
    eventually("a histogram of verification times", SOON, || {
        let text = walk.envoy.admin("GET", "/stats?filter=verification_microseconds").text();
        text.contains("custom.portcullis.verification_microseconds: P0").then_some(())
    });

    // Nothing that a client sent is in a name, whatever it sent.
    let all = walk.envoy.admin("GET", "/stats").text();
    assert!(!all.contains(CLIENTS), "{all}");
    assert_sound(&walk.envoy);
}

#[test]
fn a_provider_whose_fetches_fail_later_is_counted_and_its_keys_are_shown_as_stale() {
    let (idp, upstream) = (common::idp(), Upstream::start());
    idp.set_cache_control(Some("max-age=1"));
    let corp_keys = with(
        provider(&idp),
        json!({ "remote_jwks": {
        "http_uri": { "uri": idp.jwks_uri(), "cluster": "idp", "timeout": "2s" }, "cache_duration": "1s",
    } }),
    );
    let config = common::config(corp_keys, json!([{ "match": { "prefix": "/" }, "requires": corp() }]));
    let envoy =
        Envoy::builder().upstream(&upstream).idp("idp", &idp).filter(Wasm::portcullis(config)).start();
    let envoy = envoy.unwrap_or_else(|error| panic!("{error}"));
    let token = idp.token(json!({}));
    assert_eq!(Request::get("/").bearer(&token).send(envoy.addr()).status, 200);
    idp.behave(Behaviour::Status(500));
    let stat = |name: &str, holds: fn(u64) -> bool| {
        let name = format!("wasmcustom.portcullis.{name}.provider.corp");
        common::wait_for_count(&envoy, &name, LATER, &Request::get("/"), holds)
    };
    stat("keys_stale", |stale| stale == 1);
    stat("keys", |keys| keys == 2);
    let failures = "wasmcustom.portcullis.jwks_fetches.provider.corp.outcome.failure";
    common::wait_for_count(&envoy, failures, LATER, &Request::get("/"), |n| n >= 2);
    assert_eq!(Request::get("/").bearer(&token).send(envoy.addr()).status, 200, "its keys serve on");
    idp.behave(Behaviour::Well);
    stat("keys_stale", |stale| stale == 0);
    assert_sound(&envoy);
}

#[test]
fn prometheus_gets_the_labels_as_labels() {
    let walk = Walk::start(with_tags);
    let text = eventually("the counters of the walk", SOON, || {
        walk.nudge();
        let text = walk.envoy.prometheus();
        text.contains("rule=\"public\"").then_some(text)
    });
    let lines: BTreeSet<String> = text.lines().map(sorted).collect();
    for wanted in [
        r#"portcullis_requests{decision="deny",provider="corp",reason="expired"} 1"#,
        r#"portcullis_requests{decision="would_deny",provider="corp",reason="token_missing"} 1"#,
        r#"portcullis_requests{decision="allow",provider="reason",reason="none"} 1"#,
        r#"portcullis_rules{decision="allow",rule="decision"} 1"#,
        r#"portcullis_rules{decision="deny",rule="gone"} 1"#,
        r#"portcullis_token_cache{provider="corp",result="hit"} 3"#,
        r#"portcullis_jwks_fetches{outcome="success",provider="corp"} 1"#,
        r#"portcullis_introspection_calls{outcome="inactive",provider="opaque"} 1"#,
        r#"portcullis_introspection_cache{provider="opaque",result="hit"} 1"#,
        r#"portcullis_introspection_in_flight{provider="opaque"} 0"#,
        r#"portcullis_keys{provider="corp"} 2"#,
        r#"portcullis_keys_stale{provider="corp"} 0"#,
        r#"portcullis_revocation_entries{list="security_team"} 1"#,
        r#"portcullis_revocation_stale{list="missing"} 1"#,
        &format!(r#"portcullis_build{{version="{}"}} 1"#, env!("CARGO_PKG_VERSION").replace('.', "_")),
    ] {
        // Gauges, and those of a worker that was not asked, come with the next turn.
        eventually(wanted, LATER, || {
            walk.nudge();
            let text = walk.envoy.prometheus();
            text.lines().any(|line| sorted(line) == wanted).then_some(())
        });
    }
    assert!(
        lines.iter().any(|line| line.starts_with("portcullis_verification_microseconds_bucket{")),
        "{text}"
    );
    // A dynamic module has no virtual machine, and shows what has no label from the start.
    let is_native = common::is_native();
    assert!(
        is_native
            || lines
                .iter()
                .any(|line| line.starts_with("envoy_wasm_vm_reload_success{plugin=\"portcullis\"}")),
        "{text}"
    );
    let unlabelled: Vec<&String> = lines
        .iter()
        .filter(|line| line.starts_with("portcullis_") && !line.starts_with("portcullis_verification_"))
        // It has none.
        .filter(|line| {
            !(line.starts_with("portcullis_client_failures{}") || is_native && line.contains("{}"))
        })
        .filter(|line| line.contains("_provider_") || line.contains("_list_") || !line.contains("=\""))
        .collect();
    assert!(unlabelled.is_empty(), "{unlabelled:?}");
    assert!(!text.contains(CLIENTS), "{text}");
    assert_sound(&walk.envoy);
}

#[test]
fn every_metric_of_a_plugin_with_a_name_has_it_as_label() {
    let (idp, upstream) = (common::idp(), Upstream::start());
    let rules = json!([{ "name": "all", "match": { "prefix": "/" }, "requires": corp() }]);
    let plugin = |more: Value, name: &str| {
        let named = with(
            provider(&idp),
            json!({ "claim_to_headers": [{ "header_name": "x-user", "claim_name": "sub" }] }),
        );
        Wasm::portcullis(with(common::config(named, rules.clone()), more)).name(name)
    };
    let instance = |name: &str| json!({ "instance": name });
    let builder = Envoy::builder()
        .upstream(&upstream)
        .idp("idp", &idp)
        .filter(plugin(instance("instance"), "first"))
        .listener(Listener::new("second").filter(plugin(instance("orders eu.1"), "second")))
        .listener(Listener::new("third").filter(plugin(json!({}), "third")));
    let envoy = with_tags(builder).start().unwrap_or_else(|error| panic!("{error}"));
    let token = idp.token(json!({ "sub": "alice" }));
    for (listener, times) in [("main", 1), ("second", 2), ("third", 3)] {
        for _ in 0..times {
            let answer = Request::get("/").bearer(&token).send(envoy.addr_of(listener));
            assert_eq!(answer.status, 200, "{listener}");
        }
    }
    // Without a token: none of these is allowed.
    let nudge = || {
        for listener in ["main", "second", "third"] {
            common::nudge_at(&envoy, envoy.addr_of(listener), &Request::get("/"));
        }
    };
    let of = |labels: &str| format!("{{decision=\"allow\"{labels},rule=\"all\"}}");
    for wanted in [
        format!("portcullis_rules{} 1", of(",instance=\"instance\"")),
        format!("portcullis_rules{} 2", of(",instance=\"orders_eu_1\"")),
        format!("portcullis_rules{} 3", of("")),
        "portcullis_keys{instance=\"orders_eu_1\",provider=\"corp\"} 2".to_owned(),
    ] {
        eventually(&wanted, LATER, || {
            nudge();
            envoy.prometheus().lines().any(|line| sorted(line) == wanted).then_some(())
        });
    }
    // Each metric is there under each name, once its gauges were set; only who fetched the keys differs.
    let ours = eventually("all metrics under each name", LATER, || {
        nudge();
        let text = envoy.prometheus();
        let ours = text.lines().filter(|line| line.starts_with("portcullis_"));
        // What has no label is there before it was counted.
        let ours = ours.filter(|line| !common::is_native() || !line.contains("{}"));
        let ours: Vec<String> = ours.map(str::to_owned).collect();
        let labelled = |label: &str, wanted: bool| -> BTreeSet<String> {
            let own = ours.iter().filter(|line| line.contains(label) == wanted);
            own.map(|line| line.split(['{', ' ']).next().unwrap_or_default().to_owned()).collect()
        };
        let without = labelled("instance=\"", false);
        let is_whole = |name: &str| {
            let found = labelled(&format!("instance=\"{name}\""), true);
            without.difference(&found).all(|metric| metric.contains("jwks_fetches"))
        };
        (without.len() >= 8 && ["instance", "orders_eu_1"].into_iter().all(is_whole)).then_some(ours)
    });
    assert!(!ours.iter().any(|line| line.contains("_instance_")), "{ours:?}");
    assert_sound(&envoy);
}

/// A line of Prometheus's format with its labels in order and none that are empty.
fn sorted(line: &str) -> String {
    let Some((name, rest)) = line.split_once('{') else { return line.to_owned() };
    let Some((labels, value)) = rest.split_once('}') else { return line.to_owned() };
    let mut labels: Vec<&str> = labels.split(',').filter(|label| !label.is_empty()).collect();
    labels.sort_unstable();
    format!("{name}{{{}}}{value}", labels.join(","))
}

#[test]
fn the_envoys_of_the_compose_file_have_the_same_tags() {
    let compose = yaml("envoy/compose/envoy.yaml");
    assert_eq!(compose["stats_config"], yaml("envoy/stats_tags.yaml")["stats_config"]);
    let mounted = read("envoy/docker-compose.yaml");
    assert!(mounted.contains("./prometheus/portcullis.rules.yaml:/etc/prometheus/portcullis.rules.yaml:ro"));
}

#[test]
fn promtool_accepts_the_rules_and_their_tests_hold() {
    let Some(tools) = Tools::find() else {
        return skip("promtool_accepts_the_rules_and_their_tests_hold", Tools::MISSING);
    };
    let path = |name: &str| file(name).display().to_string();
    for name in ["portcullis", "portcullis.untagged"] {
        promtool(&tools, &["check", "rules", &path(&format!("envoy/prometheus/{name}.rules.yaml"))]);
        promtool(&tools, &["test", "rules", &path(&format!("envoy/prometheus/{name}.rules.test.yaml"))]);
    }
}

/// Runs promtool, which must say that all is well.
fn promtool(tools: &Tools, arguments: &[&str]) {
    let done = tools.promtool(arguments);
    let said = [done.stdout, done.stderr].map(|text| String::from_utf8_lossy(&text).into_owned()).concat();
    assert!(done.status.success(), "{arguments:?}: {said}");
}

/// A series as Prometheus sees it where Envoy's bootstrap has no tags: the labels stand in the name, in this order.
fn untagged(series: &str) -> String {
    const ORDER: [&str; 9] = [
        "rule",
        "decision",
        "provider",
        "list",
        "reason",
        "result",
        "outcome",
        "version",
        "exported_instance",
    ];
    let (name, rest) = series.split_once('{').expect("labels");
    let labels: BTreeMap<&str, &str> = rest
        .trim_end_matches('}')
        .split(',')
        .filter_map(|label| label.split_once('='))
        .map(|(label, value)| (label, value.trim_matches('"')))
        .collect();
    let mut name = name.to_owned();
    for label in ORDER {
        if let Some(value) = labels.get(label) {
            name.push_str(&format!("_{}_{value}", label.trim_start_matches("exported_")));
        }
    }
    // Envoy's own.
    if let Some(plugin) = labels.get("plugin") {
        name = name.replace("_vm_", &format!("_{plugin}_vm_"));
    }
    let others = labels.iter().filter(|(label, _)| !ORDER.contains(label) && **label != "plugin");
    let others: Vec<String> = others.map(|(label, value)| format!("{label}=\"{value}\"")).collect();
    format!("{}{{{}}}", name.replace('-', "_"), others.join(","))
}

#[test]
fn the_same_alerts_fire_where_labels_stand_in_names() {
    let Some(tools) = Tools::find() else {
        return skip("the_same_alerts_fire_where_labels_stand_in_names", Tools::MISSING);
    };
    // As text: "0x30" is a series of values, and a number to other readers of YAML.
    let mut renamed = 0;
    let mut tests = String::from("group_eval_order: [portcullis-untagged, portcullis]\n");
    for line in read("envoy/prometheus/portcullis.rules.test.yaml").lines() {
        if let Some((before, series)) = line.split_once("- series: ") {
            let own = untagged(series);
            renamed += usize::from(own != series);
            tests.push_str(&format!("{before}- series: {own}\n"));
        } else if !line.starts_with("rule_files:") {
            tests.push_str(&format!("{line}\n"));
        }
    }
    assert!(renamed > 30, "{renamed}");
    let [names, alerts] = ["portcullis.untagged", "portcullis"]
        .map(|name| file(&format!("envoy/prometheus/{name}.rules.yaml")).display().to_string());
    promtool(&tools, &["check", "rules", &names]);
    let path = std::env::temp_dir().join(format!("portcullis-untagged-{}.yaml", std::process::id()));
    let run = |rules: &[&str]| {
        fs::write(&path, format!("rule_files: {}\n{tests}", json!(rules))).expect("the tests are written");
        let done = tools.promtool(&["test", "rules", &path.display().to_string()]);
        fs::remove_file(&path).expect("the tests are removed");
        done
    };
    let done = run(&[&names, &alerts]);
    let said = [done.stdout, done.stderr].map(|text| String::from_utf8_lossy(&text).into_owned()).concat();
    assert!(done.status.success(), "{said}");
    assert!(!run(&[&alerts]).status.success(), "the alerts fire without the rules that make the labels");
}

/// The alerts of the rule file, by name.
fn alerts() -> BTreeMap<String, Value> {
    let groups =
        yaml("envoy/prometheus/portcullis.rules.yaml")["groups"].as_array().cloned().unwrap_or_default();
    let rules = groups.iter().flat_map(|group| group["rules"].as_array().cloned().unwrap_or_default());
    rules.filter_map(|rule| Some((rule["alert"].as_str()?.to_owned(), rule))).collect()
}

#[test]
fn every_alert_is_tested_to_fire_says_what_to_do_and_is_in_the_operators_page() {
    let parsed = yaml("envoy/prometheus/portcullis.rules.test.yaml");
    let mut fires = BTreeSet::new();
    for test in parsed["tests"].as_array().expect("tests") {
        for case in test["alert_rule_test"].as_array().into_iter().flatten() {
            if case["exp_alerts"].as_array().is_some_and(|alerts| !alerts.is_empty()) {
                fires.insert(case["alertname"].as_str().expect("a name").to_owned());
            }
        }
    }
    let page = read("docs/operations.md");
    let alerts = alerts();
    assert!(alerts.len() >= 8, "{alerts:?}");
    for (name, rule) in &alerts {
        assert!(fires.contains(name), "no unit test lets {name} fire");
        assert!(page.contains(&format!("`{name}`")), "docs/operations.md does not name {name}");
        assert!(rule["labels"]["severity"].is_string(), "{name}");
        for text in ["summary", "description"] {
            assert!(
                rule["annotations"][text].as_str().is_some_and(|text| !text.is_empty()),
                "{name}: {text}"
            );
        }
    }
}

/// The rules as they are, but for the time that an alert must hold before it fires.
fn hasty_rules() -> String {
    let text = read("envoy/prometheus/portcullis.rules.yaml");
    let hasty = text.lines().map(|line| match line.split_once("for:") {
        Some((before, _)) if before.trim().is_empty() => format!("{before}for: 1s\n"),
        _ => format!("{line}\n"),
    });
    hasty.collect()
}

/// The queries of the dashboard, as Grafana would send them with every variable at its default.
fn queries() -> Vec<(String, String)> {
    let dashboard: Value = serde_json::from_str(&read("envoy/prometheus/dashboard.json")).expect("JSON");
    let mut found = Vec::new();
    for panel in dashboard["panels"].as_array().expect("panels") {
        for target in panel["targets"].as_array().into_iter().flatten() {
            let query = target["expr"].as_str().expect("a query");
            let query = query.replace("$__rate_interval", "1m").replace("$instance", ".*");
            assert!(!query.contains('$'), "a variable that nobody fills in: {query}");
            found.push((panel["title"].as_str().expect("a title").to_owned(), query));
        }
    }
    found
}

#[test]
fn each_query_of_the_dashboard_gives_data_and_failing_sources_fire_their_alerts_in_a_real_prometheus() {
    const NAME: &str =
        "each_query_of_the_dashboard_gives_data_and_failing_sources_fire_their_alerts_in_a_real_prometheus";
    watched(NAME, true);
}

#[test]
fn the_same_in_a_real_prometheus_where_labels_stand_in_names() {
    if common::is_native() {
        // The module's have labels without the tags.
        return;
    }
    watched("the_same_in_a_real_prometheus_where_labels_stand_in_names", false);
}

/// A real Prometheus beside an Envoy with the tags in its bootstrap, or without.
fn watched(test: &str, is_tagged: bool) {
    let Some(tools) = Tools::find() else { return skip(test, Tools::MISSING) };
    let walk = Walk::start(|builder| if is_tagged { with_tags(builder) } else { builder });
    let rules = walk.envoy.folder().join("hasty.rules.yaml");
    fs::write(&rules, hasty_rules()).expect("the rules are written");
    let names = file("envoy/prometheus/portcullis.untagged.rules.yaml");
    let prometheus = Prometheus::start(&tools, walk.envoy.admin_addr(), &[&names, &rules]);
    let queries = queries();
    assert!(queries.len() >= 17, "{queries:?}");
    for (title, query) in &queries {
        if common::is_native() && query.contains("envoy_wasm_") {
            continue;
        }
        let mut last = String::new();
        let found = harness::wait::poll(LATER, || {
            walk.round();
            let series = match prometheus.query(query) {
                Ok(series) => series,
                Err(error) => panic!("{title}: {error}"),
            };
            last = format!("{series:?}");
            let number = |series: &Value| series["value"][1].as_str().is_some_and(|value| value != "NaN");
            (!series.is_empty() && series.iter().any(number)).then_some(())
        });
        assert!(found.is_some(), "{title}: {query} gives {last}\n{}", prometheus.log());
    }
    // The keys of one provider and one of the lists are not to be had from the start.
    let labels = |alert: &Value| -> (String, String) {
        let label = |name: &str| alert["labels"][name].as_str().unwrap_or_default().to_owned();
        (label("alertname"), format!("{}{}", label("provider"), label("list")))
    };
    for (name, whose) in [
        ("PortcullisKeyFetchesFail", "gone"),
        ("PortcullisNoKeys", "gone"),
        ("PortcullisRevocationFetchesFail", "missing"),
        ("PortcullisRevocationStale", "missing"),
        ("PortcullisRevocationUnchecked", "corp"),
        ("PortcullisIntrospectionRefused", "stranger"),
        ("PortcullisUnavailable", ""),
    ] {
        eventually(&format!("{name} {whose} fires"), LATER, || {
            walk.round();
            let alerts = prometheus.alerts().expect("alerts");
            let firing: Vec<_> =
                alerts.iter().filter(|alert| alert["state"] == "firing").map(labels).collect();
            firing.contains(&(name.to_owned(), whose.to_owned())).then_some(())
        });
    }
    // What is well is not complained of.
    for alert in prometheus.alerts().expect("alerts") {
        let (name, whose) = labels(&alert);
        let sound = name.contains("Keys") || name.contains("KeyFetches");
        assert!(!(sound && whose == "corp"), "{alert}");
        assert!(!(name.contains("IntrospectionRefused") && whose == "opaque"), "{alert}");
        assert!(!(name.contains("Revocation") && whose == "security_team"), "{alert}");
        assert_ne!(name, "PortcullisVmReloads", "{alert}");
    }
    assert!(walk.lists.fetches() > 0);
    assert_sound(&walk.envoy);
}
