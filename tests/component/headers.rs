//! What the upstream is told: nothing that a client made up, and nothing lost of what it sent.

use serde_json::{Value, json};

use crate::fake_host::{Request, Vm};
use crate::fixtures::{config, fetch_keys, local_config, orders, reads_as, token, warm, with};

/// Spellings of the filter's own headers that an upstream may fold into them.
const SPELLINGS: [&str; 8] =
    ["x-user", "X-User", "x_user", "X_USER", "x-tenant", "x_tenant", "x-jwt-payload", "x_jwt-payload"];
const OWN: [&str; 3] = ["x-user", "x-tenant", "x-jwt-payload"];

fn spoofed(mut request: Request) -> Request {
    for name in SPELLINGS {
        request = request.header(name, "mallory").header(name, "mallory, again");
    }
    request
}

#[test]
fn identity_headers_that_a_client_sends_never_reach_the_upstream() {
    let vm = warm();
    let nameless = token().without("tenant").sign();
    for (name, request, user) in [
        ("a public path", Request::get("/healthz"), None),
        ("a public prefix", Request::get("/public/a"), None),
        ("a public POST", Request::new("POST", "/public/a"), None),
        (
            "a preflight on a public path",
            Request::new("OPTIONS", "/public/a").header("origin", "https://a.example"),
            None,
        ),
        ("a token", orders(&token().sign()), Some("alice")),
        ("a token without the claim", orders(&nameless), Some("alice")),
        ("a token where none is needed", Request::get("/public/a").bearer(&token().sign()), None),
    ] {
        let forwarded = vm.request(spoofed(request)).outcome().continued();
        assert_eq!(reads_as(&forwarded.headers, "x-user"), Vec::from_iter(user), "{name}");
        for own in OWN {
            let values = reads_as(&forwarded.headers, own);
            assert!(values.iter().all(|value| !value.contains("mallory")), "{name}: {own}: {values:?}");
        }
    }
    let forwarded = vm.request(spoofed(orders(&nameless))).outcome().continued();
    assert_eq!(reads_as(&forwarded.headers, "x-tenant"), [""; 0]);
}

#[test]
fn on_routes_that_no_rule_matches_they_are_removed_too() {
    let vm = Vm::start(with(config(), "/unmatched", json!("allow")));
    fetch_keys(&vm);
    let forwarded = vm.request(spoofed(Request::get("/elsewhere"))).outcome().continued();
    for own in OWN {
        assert_eq!(reads_as(&forwarded.headers, own), [""; 0], "{own}");
    }
}

#[test]
fn trailers_carry_no_identity_either() {
    let vm = warm();
    for request in [Request::new("POST", "/public/a"), Request::new("POST", "/api/x").bearer(&token().sign())]
    {
        let mut request = request.body(b"x").trailer("grpc-status", "0");
        for name in SPELLINGS {
            request = request.trailer(name, "mallory");
        }
        let forwarded = vm.request(request).outcome().continued();
        assert_eq!(forwarded.trailers, [(b"grpc-status".to_vec(), b"0".to_vec())]);
    }
}

#[test]
fn bytes_that_are_no_text_are_no_trouble() {
    let vm = warm();
    let good = token().sign();
    for (name, value) in [
        (&b"x-latin"[..], &b"caf\xe9"[..]),
        (b"x-broken", b"\xff\xfe\x80"),
        (b"cookie", b"a=\xc3\x28"),
        (b"x-empty", b""),
        (b"x-na\xefve", b"1"),
        (b"\xff\xff", b"\x01\x7f"),
        (b"", b"nameless"),
        (b"x-nul", b"a\0b"),
    ] {
        let request = orders(&good).raw_header(name, value);
        let forwarded = vm.request(request).outcome().continued();
        assert!(forwarded.headers.contains(&(name.to_vec(), value.to_vec())), "{name:?} was lost");
    }
    // Where it matters, it is refused.
    for request in [
        Request::get("/orders/7").header("authorization", b"Bearer \xff\xfe"),
        Request::get("/orders/7").header("authorization", [b"Bearer ", good.as_bytes(), b"\xe9"].concat()),
        Request::get("/orders/7").header("authorization", b"\xff"),
    ] {
        assert_eq!(vm.request(request).outcome().replied().status, 401);
    }
    let odd_method = Request::bare().raw_header(":method", b"\xff").raw_header(":path", "/healthz2");
    assert_eq!(vm.request(odd_method).outcome().replied().status, 403);
    let odd_path = Request::bare().raw_header(":method", "GET").raw_header(":path", b"/orders/\xff");
    assert_eq!(vm.request(odd_path).outcome().replied().status, 400);
}

#[test]
fn requests_that_are_barely_requests_are_refused() {
    let vm = warm();
    for (name, request) in [
        ("no header at all", Request::bare()),
        ("no path", Request::bare().raw_header(":method", "GET")),
        (
            "CONNECT",
            Request::bare().raw_header(":method", "CONNECT").raw_header(":authority", "orders.example:443"),
        ),
        ("an empty path", Request::get("")),
        ("an asterisk", Request::new("OPTIONS", "*")),
        ("an absolute target", Request::get("http://orders.example/healthz")),
        ("no method", Request::bare().raw_header(":path", "/orders/7")),
    ] {
        let reply = vm.request(request).outcome().replied();
        assert!(matches!(reply.status, 400 | 401 | 403 | 503), "{name}: {reply:?}");
    }
}

#[test]
fn claims_become_headers_in_the_form_that_was_asked_for() {
    let write = |claim: &str, format: Value| {
        let mut entry = json!({ "header_name": "x-out", "claim_name": claim });
        if !format.is_null() {
            entry["list_format"] = format;
        }
        Vm::start(with(local_config(), "/providers/corp/claim_to_headers", json!([entry])))
    };
    let groups = json!(["a", "b"]);
    let mut wrong = Vec::new();
    for (claim, format, value, expected) in [
        ("g", Value::Null, json!("plain"), &["plain"][..]),
        ("g", Value::Null, json!(7), &["7"]),
        ("g", Value::Null, json!(true), &["true"]),
        ("g", Value::Null, Value::Null, &[]),
        ("g", Value::Null, groups.clone(), &["WyJhIiwiYiJd"]),
        ("g", json!("csv"), groups.clone(), &["a,b"]),
        ("g", json!("json"), groups.clone(), &[r#"["a","b"]"#]),
        ("g", json!("repeat"), groups.clone(), &["a", "b"]),
        ("g.inner", Value::Null, json!({ "inner": "deep" }), &["deep"]),
        // What would become another header, or another value, is none.
        ("g", Value::Null, json!("a\r\nx-admin: 1"), &[]),
        ("g", Value::Null, json!("a\u{0}b"), &[]),
        ("g", json!("csv"), json!(["a,b", "c"]), &[]),
        // A server trims the blanks around a value: " admin" would arrive as "admin".
        ("g", Value::Null, json!(" admin"), &[]),
        ("g", Value::Null, json!("admin "), &[]),
        // Beyond ASCII it is UTF-8.
        ("g", Value::Null, json!("J\u{fc}rgen"), &["J\u{fc}rgen"]),
        ("g", json!("csv"), json!(["\u{5c71}\u{7530}", "b"]), &["\u{5c71}\u{7530},b"]),
    ] {
        let vm = write(claim, format.clone());
        let request = orders(&token().claim("g", value.clone()).sign()).header("x-out", "mallory");
        let forwarded = vm.request(request).outcome().continued();
        let written = forwarded.values("x-out");
        if written != expected {
            wrong.push(format!("{claim} as {format}: {value} becomes {written:?}"));
        }
        assert!(!forwarded.has("x-admin"));
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn what_the_filter_does_not_own_it_does_not_touch() {
    let vm = warm();
    let request = orders(&token().sign())
        .header("cookie", "session=1")
        .header("cookie", "theme=dark")
        .header("x-forwarded-for", "10.0.0.1")
        .header("x-users", "kept")
        .header("accept", "*/*");
    let forwarded = vm.request(request).outcome().continued();
    assert_eq!(forwarded.values("cookie"), ["session=1", "theme=dark"]);
    for (name, value) in [
        ("x-forwarded-for", "10.0.0.1"),
        ("x-users", "kept"),
        ("accept", "*/*"),
        (":method", "GET"),
        (":path", "/orders/7"),
    ] {
        assert_eq!(forwarded.values(name), [value]);
    }
    assert_eq!(forwarded.trailers, []);
}

#[test]
fn an_untouched_request_keeps_its_route() {
    let vm = warm();
    let stream = vm.request(Request::get("/healthz"));
    assert!(stream.outcome().is_continued());
    assert!(!stream.route_cache_cleared(), "nothing was changed, yet Envoy has to route anew");
}

#[test]
fn a_token_is_taken_from_where_the_configuration_says() {
    let from = json!([
        { "name": "X-Api-Token" },
        { "name": "authorization", "value_prefix": "Token " },
    ]);
    let vm = Vm::start(with(local_config(), "/providers/corp/from_headers", from));
    let good = token().sign();
    let get = || Request::get("/orders/7");
    for (request, expected) in [
        (get().header("x-api-token", &good), "passes"),
        (get().header("authorization", format!("Token {good}")), "passes"),
        (get().header("authorization", format!("token {good}")), "passes"),
        (get().bearer(&good), "portcullis_token_missing"),
        (
            get().header("x-api-token", &good).header("authorization", format!("Token {good}")),
            "portcullis_token_multiple",
        ),
        (get().header("x-api-token", &good).header("x-api-token", &good), "portcullis_token_multiple"),
    ] {
        match vm.request(request).outcome() {
            crate::fake_host::Outcome::Continued(forwarded) => {
                assert_eq!(expected, "passes");
                assert!(!forwarded.has("x-api-token") && !forwarded.has("authorization"));
            }
            other => assert_eq!(other.replied().details, expected),
        }
    }
}
