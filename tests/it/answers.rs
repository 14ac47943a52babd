//! What a client is told, on a real Envoy, over HTTP/1.1, HTTP/2 and gRPC: every row of the table of answers, in every
//! form that the configuration can choose.

use crate::common;

use std::collections::BTreeMap;

use common::challenge::{Challenge, bearer, parse};
use common::{Gateway, SOON, config, corp, local_provider, with};
use harness::idp::{b64, flip_bit};
use harness::{Idp, Listener, Request, Response, Wasm};
use serde_json::{Value, json};

/// A refusal, and how it is to look.
struct Row {
    name: &'static str,
    method: &'static str,
    path: &'static str,
    fields: Vec<(&'static str, String)>,
    status: u16,
    /// For the operator.
    reason: &'static str,
    /// For the client; empty: the same.
    told: &'static str,
    /// The challenge but for its realm; none: no challenge at all.
    challenge: Option<Vec<(&'static str, &'static str)>>,
}

/// Words that stand in what clients send and nowhere else: none of them may come back.
const MARKS: [&str; 3] = ["markzero", "markone", "marktwo"];

/// An opaque token that nobody issued.
const NOBODYS: &str = "a token that nobody issued";

fn token(idp: &Idp) -> harness::TokenBuilder {
    idp.mint().claim("sub", MARKS[0]).claim("scope", "read")
}

fn rows(idp: &Idp) -> Vec<Row> {
    let row = |name, path, token: Option<String>, status, reason, told, challenge| Row {
        name,
        method: "POST",
        path,
        fields: token.map(|token| ("authorization", format!("Bearer {token}"))).into_iter().collect(),
        status,
        reason,
        told,
        challenge,
    };
    let good = token(idp).sign();
    // Parameters that a challenge has, error_description apart, of which only that it is there is asked.
    let invalid = || Some(vec![("error", "invalid_token"), ("error_description", "")]);
    let jwe =
        format!("{}..{}.{}.{}", b64(r#"{"alg":"dir","enc":"A128GCM"}"#), b64("iv"), b64("x"), b64("tag"));
    let unsigned = |reason| (401, reason, "token_rejected", invalid());
    let mut rows = vec![
        row("nothing", "/me", None, 401, "token_missing", "", Some(vec![])),
        row("nothing, a scope", "/all", None, 401, "token_missing", "", Some(vec![("scope", "read write")])),
        row(
            "nothing, one of two scopes",
            "/any",
            None,
            401,
            "token_missing",
            "",
            Some(vec![("scope", "admin")]),
        ),
        row("nothing, a scope forbidden", "/none", None, 401, "token_missing", "", Some(vec![])),
        row("no JWT", "/me", Some("opaque".to_owned()), 401, "token_malformed", "", invalid()),
        row("too large", "/me", Some("x".repeat(9000)), 401, "token_too_large", "", invalid()),
        row("encrypted", "/me", Some(jwe), 401, "token_encrypted", "", invalid()),
        row("expired", "/all", Some(token(idp).expires_in(-100).sign()), 401, "expired", "", invalid()),
        row(
            "early",
            "/me",
            Some(token(idp).claim("nbf", harness::idp::now() + 100).sign()),
            401,
            "not_yet_valid",
            "",
            invalid(),
        ),
        row(
            "scopes missing",
            "/all",
            Some(good.clone()),
            403,
            "scope_insufficient",
            "",
            Some(vec![("error", "insufficient_scope"), ("scope", "read write")]),
        ),
        row(
            "either scope missing",
            "/any",
            Some(good.clone()),
            403,
            "scope_insufficient",
            "",
            Some(vec![("error", "insufficient_scope"), ("scope", "admin")]),
        ),
        row(
            "a scope that is forbidden",
            "/none",
            Some(good.clone()),
            403,
            "scope_insufficient",
            "",
            Some(vec![("error", "insufficient_scope")]),
        ),
        row("a role missing", "/role", Some(good.clone()), 403, "role_insufficient", "", Some(vec![])),
        row(
            "a claim of another value",
            "/claim",
            Some(good.clone()),
            403,
            "claim_mismatch",
            "",
            Some(vec![]),
        ),
        row("no rule", "/elsewhere", Some(good.clone()), 403, "route_unmatched", "", None),
        row("an ambiguous path", "/me/..;/x", Some(good.clone()), 400, "path_ambiguous", "", None),
        row("not active", "/opaque", Some(b64(NOBODYS)), 401, "token_inactive", "", invalid()),
        row("nobody to ask", "/unasked", Some(b64(NOBODYS)), 503, "introspection_unavailable", "", None),
        row("no keys", "/keyless", Some(good.clone()), 503, "keys_unavailable", "", None),
        row("plaintext", "/secure", Some(good.clone()), 403, "transport_insecure", "", None),
        Row {
            fields: vec![("cookie", format!("session={good}"))],
            ..row("another site", "/web", None, 403, "csrf_suspected", "", None)
        },
        Row {
            fields: [&good, &good].map(|token| ("authorization", format!("Bearer {token}"))).to_vec(),
            ..row(
                "two tokens",
                "/me",
                None,
                400,
                "token_multiple",
                "",
                Some(vec![("error", "invalid_request")]),
            )
        },
    ];
    let strange = harness::Key::cached(harness::Alg::ES256, "strange");
    for (name, token, (status, reason, told, challenge)) in [
        ("a bad signature", flip_bit(&good), unsigned("signature_invalid")),
        ("a kid of nobody", token(idp).key(&strange).sign(), unsigned("key_not_found")),
        ("another issuer", token(idp).claim("iss", MARKS[1]).sign(), unsigned("issuer_unknown")),
        ("another audience", token(idp).claim("aud", MARKS[1]).sign(), unsigned("audience_mismatch")),
        ("unsigned", token(idp).unsigned(), unsigned("algorithm_not_allowed")),
        ("another type", token(idp).header("typ", "logout+jwt").sign(), unsigned("type_not_allowed")),
        ("without end", token(idp).without("exp").sign(), unsigned("expiration_missing")),
        (
            "from the future",
            token(idp).claim("iat", harness::idp::now() + 300).sign(),
            unsigned("issued_in_future"),
        ),
        ("crit", token(idp).header("crit", json!([MARKS[1]])).sign(), unsigned("critical_header")),
        ("bound", token(idp).claim("cnf", json!({ "jkt": MARKS[1] })).sign(), unsigned("token_bound")),
    ] {
        rows.push(row(name, "/me", Some(token), status, reason, told, challenge));
    }
    rows
}

/// The rules; plaintext is what the test sends, so that TLS can be asked for in a listener of its own only.
fn rules() -> Value {
    let of = |path: &str, provider: &str, authorize: Value| json!({ "match": { "path": path }, "requires": { "provider_name": provider }, "authorize": authorize });
    let scopes = |scopes: Value| json!({ "scopes": scopes });
    json!([
        of("/all", "corp", scopes(json!({ "all_of": ["read", "write"] }))),
        of("/any", "corp", scopes(json!({ "any_of": ["admin", "write"] }))),
        of("/none", "corp", scopes(json!({ "none_of": ["read"] }))),
        of("/role", "corp", json!({ "roles": { "any_of": ["markrole"] } })),
        of("/claim", "corp", json!({ "claims": [{ "claim": "tenant", "equals": "markclaim" }] })),
        { "match": { "path": "/keyless" }, "requires": { "provider_name": "keyless" } },
        { "match": { "path": "/opaque" }, "requires": { "provider_name": "opaque" } },
        { "match": { "path": "/unasked" }, "requires": { "provider_name": "unasked" } },
        { "match": { "path": "/web" }, "requires": { "provider_name": "web" } },
        { "match": { "path": "/me" }, "requires": corp() },
        { "match": { "path": "/secure" }, "requires": corp() },
    ])
}

fn configuration(idp: &Idp, more: Value) -> Value {
    let mut all = config(local_provider(idp), rules());
    all["providers"]["web"] =
        with(local_provider(idp), json!({ "from_cookies": ["session"], "csrf": { "allowed_origins": [] } }));
    let nowhere =
        json!({ "http_uri": { "uri": "http://nowhere.example/", "cluster": "nowhere", "timeout": "1s" } });
    let mut keyless = with(local_provider(idp), json!({ "remote_jwks": nowhere }));
    keyless.as_object_mut().expect("an object").remove("local_jwks");
    all["providers"]["keyless"] = keyless;
    let asked = |cluster: &str| {
        let http_uri = json!({ "uri": idp.introspection_uri(), "cluster": cluster, "timeout": "5s" });
        json!({
            "issuer": idp.issuer(),
            "audiences": [idp.audience()],
            "introspection": { "http_uri": http_uri, "auth_method": "none" },
        })
    };
    all["providers"]["opaque"] = asked("idp");
    all["providers"]["unasked"] = asked("nowhere");
    with(all, more)
}

/// How refusals are told.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Form {
    Problem,
    Text,
    Nothing,
    Stripped,
}

/// A listener of each form, with and without a realm of its own.
fn styles() -> Vec<(&'static str, Form, Option<&'static str>, Value)> {
    vec![
        ("problem", Form::Problem, None, json!({})),
        ("problem-named", Form::Problem, None, json!({ "error_body": "problem" })),
        (
            "realm",
            Form::Problem,
            Some(r#"the "orders" \ shop, realm=x"#),
            json!({ "realm": r#"the "orders" \ shop, realm=x"# }),
        ),
        ("text", Form::Text, None, json!({ "error_body": "text" })),
        ("none", Form::Nothing, None, json!({ "error_body": "none" })),
        ("stripped", Form::Stripped, None, json!({ "strip_failure_response": true })),
        (
            "stripped-text",
            Form::Stripped,
            Some("r"),
            json!({ "strip_failure_response": true, "error_body": "text", "realm": "r" }),
        ),
    ]
}

fn start() -> Gateway {
    let mut listeners = Vec::new();
    let gateway = |listeners: &mut Vec<Listener>, idp: &Idp| {
        for (name, _, _, more) in styles() {
            let open = configuration(idp, more.clone());
            let secure = with(open.clone(), json!({ "require_tls": "connection" }));
            listeners.push(Listener::new(name).filter(Wasm::portcullis(open)));
            listeners.push(Listener::new(&secure_of(name)).filter(Wasm::portcullis(secure)));
        }
        configuration(idp, json!({}))
    };
    let idp = common::idp();
    let main = gateway(&mut listeners, &idp);
    let upstream = harness::Upstream::start();
    idp.set_introspection_client(None);
    let builder = harness::Envoy::builder()
        .shared()
        .upstream(&upstream)
        .idp("idp", &idp)
        .filter(Wasm::portcullis(main));
    let builder = listeners.into_iter().fold(builder, |builder, listener| builder.listener(listener));
    let envoy = builder.start().unwrap_or_else(|error| panic!("{error}"));
    Gateway { idp, upstream, envoy }
}

fn secure_of(listener: &str) -> String {
    format!("{listener}-secure")
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Protocol {
    Http1,
    Http2,
    Grpc,
}

fn parameters(row: &Row, realm: &str) -> Option<BTreeMap<String, String>> {
    let others = row.challenge.as_ref()?;
    let all = std::iter::once(("realm", realm)).chain(others.iter().copied());
    Some(all.map(|(name, value)| (name.to_owned(), value.to_owned())).collect())
}

/// Holds an answer to a row.
fn judge(what: &str, row: &Row, form: Form, realm: &str, protocol: Protocol, response: &Response) {
    let grpc = protocol == Protocol::Grpc;
    assert_eq!(response.status, if grpc { 200 } else { row.status }, "{what}: {response:?}");
    assert_eq!(response.headers_named("cache-control"), ["no-store"], "{what}");

    // The challenge.
    let mut challenge = common::challenge(response);
    if let Some(description) = challenge.as_mut().and_then(|all| all.get_mut("error_description")) {
        assert!(!description.is_empty() && !description.contains('_'), "{what}: words: {description:?}");
        description.clear();
    }
    let expected = parameters(row, realm).filter(|_| form != Form::Stripped);
    assert_eq!(challenge, expected, "{what}");

    // When to come again.
    let retry = response.headers_named("retry-after");
    match row.status {
        503 => assert!(
            retry.len() == 1 && retry[0].parse::<u64>().is_ok_and(|s| (1..=60).contains(&s)),
            "{what}: {retry:?}"
        ),
        _ => assert_eq!(retry, [""; 0], "{what}"),
    }

    // The body.
    let told = if row.told.is_empty() { row.reason } else { row.told };
    let content_type = response.headers_named("content-type");
    let field = |name: &str| response.trailer(name).or_else(|| response.header(name));
    if grpc {
        let code = match row.status {
            400 => "3",
            401 => "16",
            403 => "7",
            _ => "14",
        };
        assert_eq!(field("grpc-status").as_deref(), Some(code), "{what}: {response:?}");
        assert_eq!(content_type, ["application/grpc"], "{what}");
        let message = field("grpc-message").unwrap_or_default();
        let silent = matches!(form, Form::Nothing | Form::Stripped);
        assert_eq!(message.is_empty(), silent, "{what}: {message:?}");
        assert!(!message.contains(['\n', '%', '{', '_']), "{what}: {message:?}");
        assert_eq!(response.text(), "", "{what}");
    } else {
        assert_eq!(field("grpc-status"), None, "{what}");
        let text = response.text();
        match form {
            Form::Problem => common::assert_problem(what, response, row.status, told),
            Form::Text => {
                assert_eq!(content_type, ["text/plain; charset=utf-8"], "{what}");
                assert!(
                    text.ends_with(".\n") && text.lines().count() == 1 && !text.contains(['{', '_']),
                    "{what}: {text:?}"
                );
            }
            Form::Nothing | Form::Stripped => {
                assert_eq!((text.as_str(), content_type), ("", vec![]), "{what}")
            }
        }
        if let Some(length) = field("content-length") {
            assert_eq!(length, text.len().to_string(), "{what}");
        }
    }
    tells_nothing(what, response);
}

/// Nothing that the client sent, and nothing that was expected of it, is in an answer.
fn tells_nothing(what: &str, response: &Response) {
    let fields = response.headers.iter().chain(&response.trailers);
    let mut all: Vec<String> =
        fields.map(|(name, value)| format!("{name}: {}", String::from_utf8_lossy(value))).collect();
    all.push(response.text());
    for text in all {
        for word in MARKS.iter().chain(&["markrole", "markclaim", "eyJ", common::AUDIENCE]) {
            assert!(!text.contains(word), "{what}: {word} in {text:?}");
        }
    }
}

#[test]
fn every_refusal_is_told_as_the_table_says_in_every_form_and_protocol() {
    let gateway = start();
    let rows = rows(&gateway.idp);
    let mut details = Vec::new();
    for (number, row) in rows.iter().enumerate() {
        for (listener, form, realm, _) in styles() {
            let listener = if row.path == "/secure" { secure_of(listener) } else { listener.to_owned() };
            let addr = gateway.envoy.addr_of(&listener);
            let named = |name: &&str| matches!(*name, "keyless" | "web" | "opaque" | "unasked");
            let provider = row.path.strip_prefix('/').filter(named);
            let realm = realm.unwrap_or(provider.unwrap_or("corp"));
            for protocol in [Protocol::Http1, Protocol::Http2, Protocol::Grpc] {
                let path = format!("{}?{listener}-{number}-{protocol:?}", row.path);
                let request = match protocol {
                    Protocol::Grpc => Request::grpc(&path),
                    _ => Request::new(row.method, &path).body("x"),
                };
                let request =
                    row.fields.iter().fold(request, |request, (name, value)| request.header(name, value));
                let response =
                    if protocol == Protocol::Http1 { request.send(addr) } else { request.send_h2(addr) };
                let what = format!("{}, {listener}, {protocol:?}", row.name);
                judge(&what, row, form, realm, protocol, &response);
                details.push((path, row.reason, what));
            }
        }
    }
    assert_eq!(gateway.upstream.count(), 0);
    let lines = gateway.envoy.wait_for_access_log(details.len(), SOON);
    let lines: BTreeMap<&str, &Value> =
        lines.iter().filter_map(|line| Some((line["path"].as_str()?, line))).collect();
    for (path, reason, what) in details {
        let line = lines.get(path.as_str()).unwrap_or_else(|| panic!("{what}: no line"));
        assert_eq!(line["details"], format!("portcullis_{reason}"), "{what}");
        assert_eq!((&line["decision"], &line["reason"]), (&json!("deny"), &json!(reason)), "{what}");
    }
    gateway.assert_sound();
}

#[test]
fn a_head_request_gets_the_fields_and_no_body() {
    let gateway = start();
    let get = Request::get("/all").send(gateway.addr());
    let head = Request::new("HEAD", "/all").send(gateway.addr());
    assert_eq!((head.status, head.text().as_str()), (401, ""));
    for name in ["www-authenticate", "cache-control", "content-type"] {
        assert_eq!(head.headers_named(name), get.headers_named(name), "{name}");
    }
    gateway.assert_sound();
}

/// Values that would end a field, a quoted string, a JSON text or a line of the log, were they repeated in one.
const BREAKS: &[&str] = &[
    "markone\r\nx-injected: marktwo",
    "markone\n\nmarktwo",
    "markone\", error=\"marktwo",
    "markone\\\", x=\\\"marktwo",
    "markone\u{0}marktwo",
    "markone\u{7f}\u{85}\u{2028}marktwo",
    "markone%0d%0ax-injected:%20marktwo",
    "markone\u{e9}\u{1f512}marktwo",
    "markone{\"reason\":\"marktwo\"}",
    "markone</title><script>marktwo</script>",
    "markone, Basic realm=\"marktwo\"",
    "${jndi:markone} marktwo",
];

#[test]
fn nothing_that_a_client_sends_breaks_out_of_an_answer() {
    let gateway = start();
    let idp = &gateway.idp;
    let mut sent = 0;
    for (listener, ..) in styles() {
        let addr = gateway.envoy.addr_of(listener);
        for text in BREAKS {
            let claims = token(idp).claim("tenant", *text).claim("roles", json!([text]));
            let in_header = |name: &str| token(idp).header(name, *text).sign();
            let field: String = text.chars().filter(|c| !c.is_control()).collect();
            let escaped: String = text.bytes().map(|byte| format!("%{byte:02x}")).collect();
            for (what, request) in [
                ("a role", Request::get("/role").bearer(&claims.sign())),
                ("a claim", Request::get("/claim").bearer(&claims.sign())),
                ("a scope", Request::get("/all").bearer(&token(idp).claim("scope", *text).sign())),
                ("an issuer", Request::get("/me").bearer(&token(idp).claim("iss", *text).sign())),
                ("an audience", Request::get("/me").bearer(&token(idp).claim("aud", *text).sign())),
                ("a kid", Request::get("/me").bearer(&in_header("kid"))),
                ("an alg", Request::get("/me").bearer(&in_header("alg"))),
                ("a typ", Request::get("/me").bearer(&in_header("typ"))),
                ("a token", Request::get("/me").header("authorization", format!("Bearer {field}"))),
                ("a scheme", Request::get("/me").header("authorization", &field)),
                ("a cookie", Request::post("/web", "").header("cookie", format!("session={field}"))),
                (
                    "an origin",
                    Request::post("/web", "").header("origin", &field).header("cookie", "session=x"),
                ),
                ("a path", Request::get(format!("/{escaped}"))),
                ("a query", Request::get(format!("/me?access_token={escaped}"))),
                (
                    "a field",
                    Request::get("/me").header("x-forwarded-proto", &field).header("x-request-id", &field),
                ),
            ] {
                for (version, response) in [("1.1", request.try_send(addr)), ("2", request.try_send_h2(addr))]
                {
                    let what = format!("{listener}: {what} of {text:?} over HTTP/{version}");
                    // What no client library and no Envoy sends on is no request.
                    let Ok(response) = response else { continue };
                    sent += 1;
                    assert!((400..500).contains(&response.status), "{what}: {response:?}");
                    assert_eq!(response.header("x-injected"), None, "{what}");
                    let _ = common::challenge(&response);
                    tells_nothing(&what, &response);
                }
            }
        }
    }
    assert!(sent > 1000, "only {sent} requests were requests");
    assert_eq!(gateway.upstream.count(), 0);
    // Only the audit line repeats what a client sent, as JSON on a line of its own.
    let log = gateway.envoy.log();
    let marked = |line: &&str| MARKS.iter().any(|mark| line.contains(mark));
    let mut audited = 0;
    for line in log
        .lines()
        .filter(marked)
        .filter(|line| common::own_part(line).is_some() || line.starts_with("x-injected"))
    {
        let (before, audit) = line.split_once(" audit ").unwrap_or((line, ""));
        assert!(!marked(&before), "{line}");
        assert!(serde_json::from_str::<Value>(audit).is_ok_and(|audit| audit.is_object()), "{line}");
        assert!(!audit.chars().any(char::is_control), "{line}");
        audited += 1;
    }
    assert!(audited > 0, "no audit line was looked at");
    gateway.assert_sound();
}

#[test]
fn a_challenge_is_read_to_the_letter() {
    let one = |parameters: &[(&str, &str)]| {
        let parameters = parameters.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        Ok(vec![Challenge { scheme: "Bearer".to_owned(), parameters: parameters.collect() }])
    };
    assert_eq!(parse("Bearer"), one(&[]));
    assert_eq!(parse("Bearer realm=\"a\""), one(&[("realm", "a")]));
    assert_eq!(parse("Bearer realm=a, error=\"b c\""), one(&[("realm", "a"), ("error", "b c")]));
    assert_eq!(parse(r#"Bearer realm="a\"b\\c , d=e""#), one(&[("realm", "a\"b\\c , d=e")]));
    assert_eq!(parse("Bearer realm=\"\" ,scope=\"x\""), one(&[("realm", ""), ("scope", "x")]));
    // The example of RFC 9110 section 11.6.1.
    let two =
        parse(r#"Basic realm="simple", Newauth realm="apps", type=1, title="Login to \"apps\"""#).unwrap();
    assert_eq!(two.iter().map(|one| one.scheme.as_str()).collect::<Vec<_>>(), ["Basic", "Newauth"]);
    assert_eq!(two[1].parameters[2], ("title".to_owned(), "Login to \"apps\"".to_owned()));
    for wrong in [
        "",
        " Bearer",
        "Bearer ",
        "Bearer realm",
        "Bearer realm=",
        "Bearer realm=\"a",
        "Bearer realm=\"a\\\"",
        "Bearer realm=\"a\"b",
        "Bearer realm=\"a\",",
        "Bearer realm=\"a\",,b=c",
        "Bearer realm =\"a\"",
        "Bearer realm= \"a\"",
        "Bearer realm=\"a\" b=c",
        "Bearer realm=\"\u{e9}\"",
        "Bearer realm=\"a\r\nb\"",
        "Bearer realm=\"\\a\"",
        "Bearer realm=a b",
        "Bearer, =a",
    ] {
        assert!(parse(wrong).is_err(), "{wrong:?}: {:?}", parse(wrong));
    }
    for wrong in [
        "Bearer",
        "bearer realm=\"a\"",
        "Bearer realm=\"a\", realm=\"b\"",
        "Bearer realm=\"a\", x=\"b\"",
        "Bearer scope=\"a  b\"",
        "Bearer scope=\"\"",
        "Bearer scope=\"a\\\"b\"",
        "Bearer error=\"\"",
        "Bearer realm=\"a\", Bearer realm=\"b\"",
        "Bearer realm=\"a\", Basic realm=\"b\"",
    ] {
        assert!(bearer(wrong).is_err(), "{wrong:?}: {:?}", bearer(wrong));
    }
}
