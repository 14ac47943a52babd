//! The route that serves says what the request was judged by, or its answer is replaced; and what becomes of a
//! configuration that is refused where a refusal would open routes.

use serde_json::{Value, json};

use crate::fake_host::{Level, Plugin, Request, Status, Stream, Vm};
use crate::fixtures::{config, local_config, orders, token, with};

const METADATA: &str = "xds.route_metadata.filter_metadata.portcullis";

/// The properties of a route that says this under `rule` and `scopes`.
fn route(rule: Option<&str>, scopes: Option<&str>) -> Vec<(&'static str, Option<Vec<u8>>)> {
    let some = (rule.is_some() || scopes.is_some()).then(|| b"a structure".to_vec());
    let bytes = |text: Option<&str>| text.map(|text| text.as_bytes().to_vec());
    vec![
        (METADATA, some),
        ("xds.route_metadata.filter_metadata.portcullis.rule", bytes(rule)),
        ("xds.route_metadata.filter_metadata.portcullis.scopes", bytes(scopes)),
    ]
}

fn by(request: Request, route: Vec<(&'static str, Option<Vec<u8>>)>) -> Request {
    route.into_iter().fold(request, |request, (path, value)| match value {
        Some(value) => request.property(path, value),
        None => request,
    })
}

fn vm() -> Vm {
    Vm::start(local_config())
}

#[test]
fn an_answer_of_another_route_is_replaced() {
    let vm = vm();
    let good = token().sign();
    let ask = || orders(&good);
    for (name, read, serving, passes) in [
        ("nothing", route(None, None), route(None, None), true),
        ("the same scopes", route(None, Some("openid")), route(None, Some("openid")), true),
        ("more", route(None, None), route(None, Some("admin")), false),
        ("other scopes", route(None, Some("openid")), route(None, Some("admin")), false),
        ("less", route(None, Some("openid")), route(None, None), false),
        ("a rule, gone", route(Some("public"), None), route(None, None), false),
        ("another rule", route(Some("public"), None), route(Some("api"), None), false),
        ("the same rule", route(Some("api"), None), route(Some("api"), None), true),
        ("a rule, come", route(None, None), route(Some("public"), None), false),
        ("an unknown rule", route(None, None), route(Some("nobody"), None), false),
    ] {
        let stream = vm.request(by(ask(), read));
        assert!(stream.outcome().is_continued(), "{name}");
        stream.answer("text/plain", &serving);
        if passes {
            assert!(stream.outcome().is_continued(), "{name}");
        } else {
            let reply = stream.outcome().replied();
            assert_eq!(
                (reply.status, reply.details.as_str()),
                (403, "portcullis_request_ambiguous"),
                "{name}"
            );
            assert_eq!(stream.filter_state()["wasm.portcullis.decision"], b"deny", "{name}");
        }
    }
    vm.tick();
    assert_eq!(vm.world().stat("portcullis.route_changes"), 7);
    let told = vm.logged(Level::Info);
    assert!(
        told.iter().any(|line| line.contains("audit {") && line.contains("request_ambiguous")),
        "{told:?}"
    );
}

#[test]
fn a_call_is_told_in_its_own_terms_and_what_was_refused_stays_so() {
    let vm = vm();
    let stream = vm.request(orders(&token().sign()));
    stream.answer("application/grpc", &route(None, Some("admin")));
    assert_eq!(stream.outcome().replied().grpc_status, Some(7));
    // Its own refusals are answers too, of whatever route.
    let refused = by(orders("x"), route(None, Some("admin")));
    assert_eq!(vm.request(refused).outcome().replied().status, 401);
    let refused = by(Request::get("/nowhere"), route(None, Some("admin")));
    assert_eq!(vm.request(refused).outcome().replied().status, 403);
}

#[test]
fn where_the_route_cannot_be_read_the_answer_does_not_go_out() {
    let vm = vm();
    let stream = vm.request(orders(&token().sign()));
    vm.fail("proxy_get_property", Status::INTERNAL_FAILURE);
    stream.finish();
    vm.heal();
    assert_eq!(stream.outcome().replied().details, "portcullis_request_ambiguous");
}

#[test]
fn a_rule_that_only_reports_counts_other_scopes() {
    let vm = Vm::start(with(local_config(), "/rules/2/mode", json!("report")));
    let stream = vm.request(Request::get("/orders/7"));
    stream.answer("text/plain", &route(None, Some("admin")));
    assert!(stream.outcome().is_continued());
    let stream = vm.request(Request::get("/orders/7"));
    stream.answer("text/plain", &route(Some("api"), None));
    assert_eq!(stream.outcome().replied().status, 403);
    vm.tick();
    assert_eq!(vm.world().stat("portcullis.route_changes"), 2);
}

#[test]
fn a_waiting_request_is_held_to_its_route_too() {
    let vm = Vm::start(config());
    let call = crate::fixtures::the_fetch(&vm);
    let stream = vm.request(by(orders(&token().sign()), route(None, Some("openid"))));
    assert!(stream.outcome().is_waiting());
    vm.respond(&call, crate::fixtures::keys_answer());
    assert!(stream.outcome().is_continued());
    stream.answer("text/plain", &route(None, None));
    assert_eq!(stream.outcome().replied().status, 403);
}

/// The properties of a route that says `disabled` as a protobuf boolean, which the host hands over as one byte.
fn disabled(byte: &[u8]) -> Vec<(&'static str, Option<Vec<u8>>)> {
    vec![
        (METADATA, Some(b"a structure".to_vec())),
        ("xds.route_metadata.filter_metadata.portcullis.disabled", Some(byte.to_vec())),
    ]
}

#[test]
fn a_route_is_disabled_by_a_boolean_alone_and_where_the_configuration_allows_it() {
    let named = |name: &str| {
        vec![
            (METADATA, Some(b"a structure".to_vec())),
            ("xds.route_metadata.filter_metadata.portcullis.requirement", Some(name.as_bytes().to_vec())),
        ]
    };
    let map = json!({ "staff": { "provider_name": "corp" } });
    let allowing = with(local_config(), "/requirement_map", map);
    let allowing = with(allowing, "/route_rules", json!({ "allow_disable": true }));
    let not_allowing = local_config();
    for (config, byte, status) in [
        (&allowing, &[1][..], None),
        (&allowing, &[0], Some(401)),
        (&allowing, b"true", Some(403)),
        (&allowing, &[0, 0, 0, 0, 0, 0, 0xf0, 0x3f], Some(403)),
        (&allowing, &[2], Some(403)),
        (&not_allowing, &[1], Some(401)),
    ] {
        let vm = Vm::start(config.clone());
        let stream = vm.request(by(Request::get("/orders/7"), disabled(byte)));
        match status {
            None => assert!(stream.outcome().is_continued()),
            Some(status) => assert_eq!(stream.outcome().replied().status, status, "{byte:?}"),
        }
    }
    // The answer is of a route that is not disabled, or that names another requirement.
    let vm = Vm::start(allowing);
    for (read, serving) in [
        (disabled(&[1]), route(None, None)),
        (disabled(&[1]), named("staff")),
        (named("staff"), disabled(&[1])),
        (named("staff"), route(None, None)),
        (route(None, None), named("staff")),
    ] {
        let stream = vm.request(by(orders(&token().sign()), read));
        assert!(stream.outcome().is_continued());
        stream.answer("text/plain", &serving);
        assert_eq!(details(&stream), "portcullis_request_ambiguous");
    }
}

// ---- refused configurations

fn plugin(config: &Value, vm_id: &str) -> Plugin {
    Plugin { vm_id: vm_id.to_owned(), ..Plugin::from(config) }
}

const GATEWAY: &str = "envoyextensionpolicy/shop/orders/wasm/0";
const GAUGE: &str = "portcullis.configuration_refused.instance.orders";

fn details(stream: &Stream) -> String {
    stream.outcome().replied().details
}

#[test]
fn the_last_good_configuration_stays_where_a_refusal_would_open_routes() {
    let bad = json!({ "rules": 1 });
    let mut vm = Vm::start(plugin(&bad, GATEWAY));
    assert_eq!(details(&vm.request(orders(&token().sign()))), "portcullis_configuration_refused");
    assert_eq!(vm.request(Request::get("/healthz")).outcome().replied().status, 503);
    assert_eq!(vm.world().stat(GAUGE), 1);
    assert!(vm.errors().iter().any(|line| line.contains("rules: expected a list")), "{:?}", vm.errors());

    vm.update(plugin(&local_config(), GATEWAY)).expect("accepted");
    assert!(vm.request(orders(&token().sign())).outcome().is_continued());
    assert_eq!(vm.world().stat(GAUGE), 0);

    // The old context may be gone before the new one comes.
    vm.update(plugin(&bad, GATEWAY)).expect("accepted");
    vm.update(plugin(&json!([]), GATEWAY)).expect("accepted");
    assert!(vm.request(orders(&token().sign())).outcome().is_continued());
    assert_eq!(details(&vm.request(Request::get("/orders/7"))), "portcullis_token_missing");
    vm.tick();
    assert_eq!(vm.world().stat(GAUGE), 1);

    // Mended, while the refused context still serves its last request.
    let stream = vm.request(orders(&token().sign()));
    vm.update(plugin(&local_config(), GATEWAY)).expect("accepted");
    vm.tick();
    assert!(vm.roots() >= 2, "the refused context is still there");
    assert_eq!(vm.world().stat(GAUGE), 0);
    stream.finish();
    vm.update(plugin(&bad, GATEWAY)).expect("accepted");
    vm.tick();
    assert_eq!(vm.world().stat(GAUGE), 1);

    // Another plugin of the VM has no part in it, and its good configuration does not hide that this one was refused.
    let other = Plugin { name: "other".to_owned(), ..plugin(&bad, GATEWAY) };
    let root = vm.add_plugin(other).expect("accepted");
    let stream = vm.request_to(root, orders(&token().sign()));
    assert_eq!(details(&stream), "portcullis_configuration_refused");
    let other = Plugin { name: "third".to_owned(), ..plugin(&local_config(), GATEWAY) };
    vm.add_plugin(other).expect("accepted");
    vm.tick();
    assert_eq!(vm.world().stat(GAUGE), 1);
}

#[test]
fn elsewhere_the_host_refuses() {
    let bad = json!({ "rules": 1 });
    for vm_id in ["", "orders", "x/envoyextensionpolicy/", "envoyextensionpolicy"] {
        assert!(Vm::try_start(plugin(&bad, vm_id)).is_err(), "{vm_id}");
        let mut vm = Vm::start(plugin(&local_config(), vm_id));
        assert!(vm.update(plugin(&bad, vm_id)).is_err(), "{vm_id}");
        assert!(vm.request(orders(&token().sign())).outcome().is_continued());
    }
}
