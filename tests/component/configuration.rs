//! What an operator writes: accepted in every form it comes in, or refused with each error named by its path.

use serde_json::{Value, json};

use crate::fake_host::{Level, Plugin, Request, Vm};
use crate::fixtures::{config, fetch_keys, jwks, local_config, orders, struct_bytes, token, with};

/// The errors of a configuration that must be refused.
#[track_caller]
fn refused(name: &str, plugin: impl Into<Plugin>) -> String {
    match Vm::try_start(plugin) {
        Ok(_) => panic!("{name}: accepted"),
        Err(refused) => {
            assert!(!refused.errors.is_empty(), "{name}: refused without a word");
            refused.errors.join("\n")
        }
    }
}

#[test]
fn json_and_struct_mean_the_same() {
    let camel = json!({
        "providers": { "corp": {
            "issuer": crate::fixtures::ISSUER,
            "audiences": [crate::fixtures::AUDIENCE],
            "clockSkewSeconds": 10,
            "requireExpiration": true,
            "localJwks": { "inlineString": jwks() },
            "fromHeaders": [{ "name": "Authorization", "valuePrefix": "Bearer " }],
            "forwardPayloadHeader": "x-jwt-payload",
            "claimToHeaders": [{ "headerName": "x-user", "claimName": "sub" }],
        } },
        "rules": [{ "match": { "pathTemplate": "/orders/{id}" }, "requires": { "providerName": "corp" },
                    "authorize": { "scopes": { "allOf": ["orders:read"] } } }],
    });
    for (name, config) in [("snake_case", local_config()), ("camelCase", camel)] {
        for plugin in [Plugin::from(&config), Plugin::bytes(struct_bytes(&config))] {
            let vm = Vm::start(plugin);
            let forwarded = vm.request(orders(&token().sign())).outcome().continued();
            assert_eq!(forwarded.values("x-user"), ["alice"], "{name}");
            let unauthorized = vm.request(orders(&token().claim("scope", "x").sign()));
            assert_eq!(unauthorized.outcome().replied().status, 403, "{name}");
        }
    }
    // Numbers of a Struct are doubles.
    let skew = with(config(), "/providers/corp/clock_skew_seconds", json!(10));
    let vm = Vm::start(Plugin::bytes(struct_bytes(&skew)));
    fetch_keys(&vm);
    let expired = token().claim("exp", crate::fixtures::NOW - 10).sign();
    assert_eq!(vm.request(orders(&expired)).outcome().replied().details, "portcullis_expired");
}

#[test]
fn durations_come_as_text_or_as_an_object() {
    let timeout = "/providers/corp/remote_jwks/http_uri/timeout";
    for (written, milliseconds) in [
        (json!("5s"), 5_000),
        (json!("1.5s"), 1_500),
        (json!("0.250s"), 250),
        (json!({ "seconds": 3 }), 3_000),
        (json!({ "seconds": 1, "nanos": 500_000_000 }), 1_500),
    ] {
        let vm = Vm::start(with(config(), timeout, written.clone()));
        let call = crate::fixtures::the_fetch(&vm);
        assert_eq!(call.timeout.as_millis(), milliseconds, "{written}");
    }
}

#[test]
fn what_is_no_configuration_is_refused() {
    for (name, bytes) in [
        ("nothing", &b""[..]),
        ("blanks", b"  \n "),
        ("no JSON", b"providers: {}"),
        ("half of it", b"{\"providers\": {"),
        ("more than one value", b"{}{}"),
        ("a list", b"[]"),
        ("a string", b"\"{}\""),
        ("a number", b"7"),
        ("null", b"null"),
        ("an empty object", b"{}"),
        ("a broken Struct", b"\x0a\xff\xff\xff\xff\x7f"),
        ("zeros", b"\0\0\0\0"),
        ("no UTF-8", b"{\"providers\": \"\xff\"}"),
        ("a name twice", b"{\"rules\": [], \"rules\": [], \"providers\": {}}"),
        ("a comment", b"// none\n{}"),
    ] {
        refused(name, Plugin::bytes(bytes));
    }
    refused("deep nesting", Plugin::bytes("[".repeat(200_000)));
    refused("no configuration", Plugin::unconfigured());
}

/// A change to the good configuration, and the path under which its error must stand.
fn broken() -> Vec<(&'static str, Value, &'static str)> {
    let corp = "providers.corp";
    vec![
        ("/provider", json!({}), "provider"),
        ("/providers", json!([]), "providers"),
        ("/providers", Value::Null, "providers"),
        ("/rules", Value::Null, "rules"),
        ("/rules", json!({}), "rules"),
        ("/unmatched", json!("maybe"), "unmatched"),
        ("/unmatched", json!(true), "unmatched"),
        ("/filter_state_rules", json!({}), "filter_state_rules"),
        ("/providers/corp", json!("https://idp.example"), corp),
        ("/providers/corp/isuer", json!("x"), "providers.corp.isuer"),
        ("/providers/corp/issuer", json!(7), "providers.corp.issuer"),
        ("/providers/corp/issuer", json!(""), "providers.corp.issuer"),
        ("/providers/corp/audiences", json!({ "orders": true }), "providers.corp.audiences"),
        ("/providers/corp/audiences", json!(["a", 7]), "providers.corp.audiences[1]"),
        ("/providers/corp/algorithms", json!(["ES256", "none"]), "providers.corp.algorithms[1]"),
        ("/providers/corp/algorithms", json!(["es256"]), "providers.corp.algorithms[0]"),
        ("/providers/corp/algorithms", json!(["HS256"]), "providers.corp.algorithms"),
        ("/providers/corp/algorithms", json!([]), "providers.corp.algorithms"),
        ("/providers/corp/clock_skew_seconds", json!(301), "providers.corp.clock_skew_seconds"),
        ("/providers/corp/clock_skew_seconds", json!(-1), "providers.corp.clock_skew_seconds"),
        ("/providers/corp/clock_skew_seconds", json!("60s"), "providers.corp.clock_skew_seconds"),
        ("/providers/corp/clock_skew_seconds", json!(1.5), "providers.corp.clock_skew_seconds"),
        ("/providers/corp/require_expiration", json!("yes"), "providers.corp.require_expiration"),
        ("/providers/corp/forward", json!(0), "providers.corp.forward"),
        ("/providers/corp/remote_jwks", Value::Null, corp),
        ("/providers/corp/local_jwks", json!({ "inline_string": jwks() }), corp),
        ("/providers/corp/remote_jwks/http_uri", Value::Null, "providers.corp.remote_jwks.http_uri"),
        (
            "/providers/corp/remote_jwks/http_uri/cluster",
            Value::Null,
            "providers.corp.remote_jwks.http_uri.cluster",
        ),
        (
            "/providers/corp/remote_jwks/http_uri/cluster",
            json!(""),
            "providers.corp.remote_jwks.http_uri.cluster",
        ),
        (
            "/providers/corp/remote_jwks/http_uri/uri",
            json!("/jwks.json"),
            "providers.corp.remote_jwks.http_uri.uri",
        ),
        (
            "/providers/corp/remote_jwks/http_uri/uri",
            json!("https://a b/"),
            "providers.corp.remote_jwks.http_uri.uri",
        ),
        (
            "/providers/corp/remote_jwks/http_uri/uri",
            json!("file:///k"),
            "providers.corp.remote_jwks.http_uri.uri",
        ),
        (
            "/providers/corp/remote_jwks/http_uri/timeout",
            json!("5"),
            "providers.corp.remote_jwks.http_uri.timeout",
        ),
        (
            "/providers/corp/remote_jwks/http_uri/timeout",
            json!("-1s"),
            "providers.corp.remote_jwks.http_uri.timeout",
        ),
        (
            "/providers/corp/remote_jwks/http_uri/timeout",
            json!("0s"),
            "providers.corp.remote_jwks.http_uri.timeout",
        ),
        (
            "/providers/corp/remote_jwks/cache_duration",
            json!("0s"),
            "providers.corp.remote_jwks.cache_duration",
        ),
        (
            "/providers/corp/remote_jwks/cache_duraton",
            json!("1s"),
            "providers.corp.remote_jwks.cache_duraton",
        ),
        ("/providers/corp/from_headers", json!([]), "providers.corp.from_headers"),
        ("/providers/corp/from_headers", json!([{ "name": "a b" }]), "providers.corp.from_headers[0].name"),
        ("/providers/corp/from_headers", json!([{}]), "providers.corp.from_headers[0].name"),
        ("/providers/corp/forward_payload_header", json!("x y"), "providers.corp.forward_payload_header"),
        ("/providers/corp/forward_payload_header", json!(":path"), "providers.corp.forward_payload_header"),
        ("/providers/corp/forward_payload_header", json!("host"), "providers.corp.forward_payload_header"),
        (
            "/providers/corp/claim_to_headers/0/header_name",
            json!(":authority"),
            "providers.corp.claim_to_headers[0].header_name",
        ),
        (
            "/providers/corp/claim_to_headers/0/header_name",
            json!("host"),
            "providers.corp.claim_to_headers[0].header_name",
        ),
        (
            "/providers/corp/claim_to_headers/1/claim_name",
            Value::Null,
            "providers.corp.claim_to_headers[1].claim_name",
        ),
        (
            "/providers/corp/claim_to_headers/1/header_name",
            json!("X-User"),
            "providers.corp.claim_to_headers[1].header_name",
        ),
        ("/providers/corp/payload_in_metadata", json!("p"), "providers.corp.payload_in_metadata"),
        ("/rules/0/match", Value::Null, "rules[0].match"),
        ("/rules/0/match", json!({}), "rules[0].match"),
        ("/rules/0/match", json!({ "path": "/a", "prefix": "/b" }), "rules[0].match"),
        ("/rules/0/match/path", json!("healthz"), "rules[0].match.path"),
        ("/rules/0/match/path", json!("/a/../b"), "rules[0].match.path"),
        ("/rules/0/match/pth", json!("/"), "rules[0].match.pth"),
        ("/rules/0/name", json!("public"), "rules[1]"),
        ("/rules/2/match/path_template", json!("/a/{b"), "rules[2].match.path_template"),
        ("/rules/2/match/path_template", json!("/**/a"), "rules[2].match.path_template"),
        ("/rules/2/match/methods", json!([]), "rules[2].match.methods"),
        ("/rules/2/match/methods", json!(["get"]), "rules[2].match.methods[0]"),
        ("/rules/2/requires", Value::Null, "rules[2].authorize"),
        ("/rules/2/requires", json!({}), "rules[2].requires"),
        ("/rules/2/requires/provider_name", json!("crop"), "rules[2].requires.provider_name"),
        ("/rules/2/authorize/scopes", json!({}), "rules[2].authorize.scopes"),
        ("/rules/2/authorize/scopes", json!(["orders:read"]), "rules[2].authorize.scopes"),
        ("/rules/2/authorize/scopes/all_of", json!([]), "rules[2].authorize.scopes.all_of"),
        ("/rules/2/authorize/scopes/all_of", json!(["a b"]), "rules[2].authorize.scopes.all_of[0]"),
        ("/rules/2/authorize/scope", json!({}), "rules[2].authorize.scope"),
        ("/rules/-", json!("everything"), "rules[4]"),
    ]
}

/// Whether an error line names this path, and not a longer one that starts like it.
fn names(line: &str, path: &str) -> bool {
    line.match_indices(path).any(|(at, _)| {
        let after = line[at + path.len()..].chars().next();
        after.is_none_or(|c| !c.is_ascii_alphanumeric() && c != '_')
    })
}

#[test]
fn a_broken_configuration_is_refused_under_the_path_of_its_error() {
    let mut wrong = Vec::new();
    for (pointer, value, path) in broken() {
        let broken = format!("{pointer} = {value}");
        match Vm::try_start(with(config(), pointer, value)) {
            Ok(_) => wrong.push(format!("{broken}: accepted")),
            Err(refused) if refused.errors.iter().any(|line| names(line, path)) => {}
            Err(refused) => wrong.push(format!("{broken}: none names {path}: {:#?}", refused.errors)),
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn a_misspelt_field_is_told_its_name() {
    let errors = refused("isuer", with(config(), "/providers/corp/isuer", json!("x")));
    assert!(errors.contains("\"issuer\""), "{errors}");
    let errors = refused("filename", {
        let config = with(config(), "/providers/corp/remote_jwks", Value::Null);
        with(config, "/providers/corp/local_jwks", json!({ "filename": "/etc/jwks.json" }))
    });
    assert!(errors.contains("local_jwks.filename") && errors.contains("inline"), "{errors}");
}

#[test]
fn all_errors_are_told_at_once() {
    let mut config = config();
    for (pointer, value) in [
        ("/providers/corp/clock_skew_seconds", json!(1000)),
        ("/providers/corp/audience", json!([])),
        ("/rules/0/match", json!({ "path": "nope" })),
        ("/rules/2/requires/provider_name", json!("nobody")),
        ("/unmatched", json!("perhaps")),
    ] {
        config = with(config, pointer, value);
    }
    let errors = refused("five errors", config);
    for path in [
        "providers.corp.clock_skew_seconds",
        "providers.corp.audience",
        "rules[0].match.path",
        "rules[2].requires.provider_name",
        "unmatched",
    ] {
        assert!(errors.contains(path), "{path} is not among:\n{errors}");
    }
}

#[test]
fn secrets_are_not_echoed() {
    let private = r#"{"keys":[{"kty":"EC","crv":"P-256","d":"TOPSECRET","kid":7}]}"#;
    for broken in [
        json!({ "inline_string": private }),
        json!({ "inline_string": "TOPSECRET" }),
        json!({ "inline": { "keys": ["TOPSECRET"] } }),
    ] {
        let config = with(config(), "/providers/corp/remote_jwks", Value::Null);
        let errors = refused("a broken key set", with(config, "/providers/corp/local_jwks", broken));
        assert!(errors.contains("local_jwks") && !errors.contains("TOPSECRET"), "{errors}");
    }
}

#[test]
fn what_is_legal_and_dangerous_is_warned_of() {
    for (pointer, word) in [("/providers/corp/issuer", "issuer"), ("/providers/corp/audiences", "audiences")]
    {
        let vm = Vm::start(with(config(), pointer, Value::Null));
        let warnings = vm.logged(Level::Warn).join("\n");
        assert!(warnings.contains("providers.corp") && warnings.contains(word), "{warnings}");
    }
}

#[test]
fn a_sound_configuration_logs_no_error_and_says_what_runs() {
    let vm = Vm::start(config());
    assert_eq!(vm.logged(Level::Warn), [""; 0]);
    let version = env!("CARGO_PKG_VERSION");
    assert!(vm.logged(Level::Info).iter().any(|line| line.contains(version)), "{:?}", vm.logs());
}

#[test]
fn rules_are_read_in_order_and_the_rest_is_denied_unless_allowed() {
    let vm = Vm::start(local_config());
    let passes = |vm: &Vm, path: &str| vm.request(Request::get(path)).outcome().is_continued();
    for (path, expected) in [
        ("/healthz", true),
        ("/healthz?full=1", true),
        // Envoy does not decode it, nor a program that compares what arrives.
        ("/%68ealthz", false),
        ("/healthz;x", false),
        ("/healthz/", false),
        ("/healthzz", false),
        ("/Healthz", false),
        ("/public/", true),
        ("/public/a/b", true),
        ("/public", false),
        ("/orders", false),
        ("/orders/7", false),
        ("/", false),
    ] {
        assert_eq!(passes(&vm, path), expected, "{path}");
    }
    let vm = Vm::start(with(local_config(), "/unmatched", json!("allow")));
    assert!(passes(&vm, "/elsewhere"));
    assert!(!passes(&vm, "/orders/7"));
    // What could be read in two ways is refused even so.
    assert!(!passes(&vm, "/elsewhere/..;/orders/7"));
}
