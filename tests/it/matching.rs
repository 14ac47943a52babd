//! Every condition of `match`, alone and in pairs: which requests a rule is for.

use std::collections::BTreeMap;

use harness::{Envoy, Filter, Listener, Wasm};
use portcullis::{Config, Request, RuleMatch};
use serde_json::{Value, json};

/// A request, in its parts.
#[derive(Clone, Debug)]
struct Head {
    method: String,
    host: String,
    path: String,
    query: Option<String>,
    headers: Vec<(String, Vec<u8>)>,
}

impl Head {
    fn get(path: &str) -> Self {
        let (path, query) = match path.split_once('?') {
            Some((path, query)) => (path.to_owned(), Some(query.to_owned())),
            None => (path.to_owned(), None),
        };
        let (method, host) = ("GET".to_owned(), "api.example".to_owned());
        Self { method, host, path, query, headers: Vec::new() }
    }

    fn method(self, method: &str) -> Self {
        Self { method: method.to_owned(), ..self }
    }

    fn host(self, host: &str) -> Self {
        Self { host: host.to_owned(), ..self }
    }

    fn header(mut self, name: &str, value: impl AsRef<[u8]>) -> Self {
        self.headers.push((name.to_owned(), value.as_ref().to_vec()));
        self
    }
}

fn parse(rules: &Value) -> Result<Config, Vec<String>> {
    let text = json!({ "providers": {}, "rules": rules }).to_string();
    let config = Config::parse(text.as_bytes(), &|_| None);
    config.map_err(|problems| problems.iter().map(ToString::to_string).collect())
}

fn config(rules: &Value) -> Config {
    parse(rules).unwrap_or_else(|problems| panic!("{rules}: {problems:?}"))
}

/// The rule that a request meets, and the path for which it does.
fn met(config: &Config, head: &Head) -> Option<(String, String)> {
    let target = match &head.query {
        Some(query) => format!("{}?{query}", head.path),
        None => head.path.clone(),
    };
    let mut fields: Vec<(&[u8], &[u8])> = vec![
        (b":method", head.method.as_bytes()),
        (b":authority", head.host.as_bytes()),
        (b":scheme", b"http"),
    ];
    if head.method != "CONNECT" {
        fields.push((b":path", target.as_bytes()));
    }
    fields.extend(head.headers.iter().map(|(name, value)| (name.as_bytes(), value.as_slice())));
    let view = config.rules.view(&Request::new(&fields));
    match config.rules.find(&view) {
        RuleMatch::Rule(rule) => {
            Some((rule.name.clone(), view.path().iter().next().unwrap().text.clone().into_owned()))
        }
        RuleMatch::Ambiguous(..) => Some(("ambiguous".to_owned(), String::new())),
        RuleMatch::Nothing => None,
    }
}

#[track_caller]
fn assert_matches(conditions: &Value, head: &Head, expected: bool) {
    let config = config(&json!([{ "name": "it", "match": conditions }]));
    let met = met(&config, head);
    assert_eq!(met.is_some(), expected, "{conditions} for {head:?}: {met:?}");
    assert!(met.is_none_or(|(name, _)| name == "it"), "{conditions} for {head:?}");
}

/// Whether it depends on who reads a request if it meets these conditions.
#[track_caller]
fn assert_parts(conditions: &Value, head: &Head) {
    let config = config(&json!([{ "name": "it", "match": conditions }]));
    let met = met(&config, head).map(|(name, _)| name);
    assert_eq!(met.as_deref(), Some("ambiguous"), "{conditions} for {head:?}");
}

/// Conditions, paths that meet them, and paths that do not.
type OfPaths = (Value, &'static [&'static str], &'static [&'static str]);

fn of_paths() -> Vec<OfPaths> {
    let uri_template = |template: &str| {
        json!({ "path_match_policy": { "name": "envoy.path.match.uri_template.uri_template_matcher", "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.path.match.uri_template.v3.UriTemplateMatchConfig",
            "path_template": template,
        } } })
    };
    let any_case = |mut conditions: Value| {
        conditions["case_sensitive"] = json!(false);
        conditions
    };
    vec![
        (json!({ "prefix": "/" }), &["/", "/a", "/a/b"][..], &[][..]),
        (json!({ "prefix": "/a" }), &["/a", "/ab", "/a/b", "/a;x/b", "/a?x"], &["/", "/b", "/A", "/ba"]),
        (json!({ "prefix": "/a/" }), &["/a/", "/a/b"], &["/a", "/ab"]),
        (json!({ "prefix": "/a%2d%c3%a9" }), &["/a-%c3%a9", "/a-%C3%A9x", "/a-%c3%A9"], &["/a-e"]),
        (json!({ "path": "/a/b" }), &["/a/b", "/a/b?c=/d"], &["/a/b/", "/a/bc", "/A/b", "/a"]),
        (json!({ "path": "/" }), &["/", "/?a"], &["/a"]),
        (
            json!({ "path_separated_prefix": "/a/b" }),
            &["/a/b", "/a/b/", "/a/b/c"],
            &["/a/bc", "/a", "/A/b", "/a/b.c"],
        ),
        (
            json!({ "path_template": "/t/{x}/o/**" }),
            &["/t/1/o/", "/t/1/o/2/3"],
            &["/t/1/o", "/t/o/", "/T/1/o/"],
        ),
        (json!({ "path_template": "/a/*" }), &["/a/b"], &["/a", "/a/", "/a/b/c"]),
        (
            json!({ "safe_regex": { "regex": "/a/[0-9]+" } }),
            &["/a/7", "/a/77?x"],
            &["/a/", "/a/7/", "/x/a/7", "/A/7"],
        ),
        (
            json!({ "safe_regex": { "google_re2": {}, "regex": "(?i)/a|/b" } }),
            &["/a", "/A", "/B"],
            &["/ab", "/c"],
        ),
        (json!({ "safe_regex": { "regex": "admin" } }), &[], &["/xadminx", "/admin", "/admin/admin"]),
        (
            uri_template("/videos/*/*/*.m4s"),
            &["/videos/1/hls/1.m4s"],
            &["/videos/1/1.m4s", "/videos/1/hls/1.m4sx"],
        ),
        (uri_template("/{kind=videos/*}/x"), &["/videos/1/x"], &["/videos/1", "/films/1/x"]),
        (uri_template("/**.mpd"), &["/a/b/c.mpd", "/c.mpd?x"], &["/a.mpd/b"]),
        (any_case(json!({ "prefix": "/Ab" })), &["/ab", "/AB/c", "/aBc"], &["/a", "/b"]),
        (any_case(json!({ "path": "/Ab/%c3%A9" })), &["/aB/%C3%A9", "/ab/%C3%a9"], &["/ab", "/ab/%c3%89"]),
        (any_case(json!({ "path_separated_prefix": "/Ab" })), &["/aB", "/AB/c"], &["/abc"]),
        (any_case(json!({ "path_template": "/Ab/{x}" })), &["/aB/X"], &["/ab", "/ab/x/y"]),
        // These decide for themselves, as in Envoy.
        (any_case(json!({ "safe_regex": { "regex": "/Ab" } })), &["/Ab"], &["/ab"]),
        (any_case(uri_template("/Ab/*")), &["/Ab/x"], &["/ab/x"]),
        (json!({ "path": "/a", "case_sensitive": true }), &["/a"], &["/A"]),
    ]
}

#[test]
fn each_condition_on_the_path_holds_for_its_paths_alone() {
    for (conditions, yes, no) in of_paths() {
        for path in yes {
            assert_matches(&conditions, &Head::get(path), true);
        }
        for path in no {
            assert_matches(&conditions, &Head::get(path), false);
        }
    }
}

/// A condition besides the path, and what a request must and must not have for it to hold.
struct Condition {
    field: &'static str,
    value: Value,
    yes: Vec<fn(Head) -> Head>,
    no: Vec<fn(Head) -> Head>,
}

/// A condition on the header `x-a`, with the values that meet it and those that do not; `None` stands for
/// a request without the header.
struct OfHeader(Value, &'static [Option<&'static str>], &'static [Option<&'static str>]);

fn of_headers() -> Vec<OfHeader> {
    vec![
        OfHeader(json!({}), &[Some(""), Some("v")], &[None]),
        OfHeader(json!({ "present_match": true }), &[Some(""), Some("v")], &[None]),
        OfHeader(json!({ "present_match": false }), &[None], &[Some(""), Some("v")]),
        OfHeader(json!({ "present_match": true, "invert_match": true }), &[None], &[Some("v")]),
        OfHeader(json!({ "present_match": false, "invert_match": true }), &[Some("v")], &[None]),
        OfHeader(json!({ "exact_match": "v" }), &[Some("v")], &[Some("V"), Some("vv"), Some(""), None]),
        OfHeader(json!({ "exact_match": "" }), &[Some("v"), Some("")], &[None]),
        OfHeader(
            json!({ "exact_match": "v", "invert_match": true }),
            &[Some("V"), Some("")],
            &[Some("v"), None],
        ),
        OfHeader(
            json!({ "prefix_match": "ab" }),
            &[Some("ab"), Some("abc")],
            &[Some("a"), Some("xab"), None],
        ),
        OfHeader(json!({ "suffix_match": "ab" }), &[Some("ab"), Some("xab")], &[Some("abx"), None]),
        OfHeader(json!({ "contains_match": "ab" }), &[Some("xabx")], &[Some("ba"), None]),
        OfHeader(
            json!({ "safe_regex_match": { "regex": "\\d{3}" } }),
            &[Some("123")],
            &[Some("1234"), Some("x123"), None],
        ),
        OfHeader(
            json!({ "safe_regex_match": { "regex": "\\d{3}" }, "invert_match": true }),
            &[Some("1234")],
            &[Some("123"), None],
        ),
        OfHeader(json!({ "string_match": { "exact": "v" } }), &[Some("v")], &[Some("V"), None]),
        OfHeader(
            json!({ "string_match": { "exact": "v", "ignore_case": true } }),
            &[Some("v"), Some("V")],
            &[Some("w"), None],
        ),
        OfHeader(
            json!({ "string_match": { "prefix": "Ab", "ignore_case": true } }),
            &[Some("aBc")],
            &[Some("xab")],
        ),
        OfHeader(
            json!({ "string_match": { "suffix": "Ab", "ignore_case": true } }),
            &[Some("xaB")],
            &[Some("abx")],
        ),
        OfHeader(
            json!({ "string_match": { "contains": "Ab", "ignore_case": true } }),
            &[Some("xaBx")],
            &[Some("ba")],
        ),
        OfHeader(
            json!({ "string_match": { "safe_regex": { "regex": "a|b" } } }),
            &[Some("b")],
            &[Some("ab"), None],
        ),
        OfHeader(
            json!({ "range_match": { "start": -10, "end": 10 } }),
            &[Some("-10"), Some("0"), Some("9"), Some("+3")],
            &[Some("10"), Some("-11"), Some("1.0"), Some("x"), Some(""), Some("99999999999999999999"), None],
        ),
        OfHeader(
            json!({ "range_match": { "start": "0", "end": "10" }, "invert_match": true }),
            &[Some("10"), Some("x")],
            &[Some("3"), None],
        ),
        OfHeader(
            json!({ "range_match": { "start": 0, "end": 10 }, "invert_match": true, "treat_missing_header_as_empty": true }),
            &[None, Some("10")],
            &[Some("3")],
        ),
        OfHeader(
            json!({ "exact_match": "v", "invert_match": true, "treat_missing_header_as_empty": true }),
            &[None],
            &[Some("v")],
        ),
    ]
}

#[test]
fn each_condition_on_a_header_is_envoys() {
    for OfHeader(condition, yes, no) in of_headers() {
        let mut conditions = json!({ "prefix": "/", "headers": [condition] });
        conditions["headers"][0]["name"] = json!("X-A");
        for (values, expected) in [(yes, true), (no, false)] {
            for value in values {
                let head = Head::get("/").header("x-b", "v");
                let head = match value {
                    Some(value) => head.header("x-a", value),
                    None => head,
                };
                assert_matches(&conditions, &head, expected);
            }
        }
    }
    let header = |condition: Value| json!({ "prefix": "/", "headers": [condition] });
    let exact = |name: &str, value: &str| header(json!({ "name": name, "exact_match": value }));
    // What Envoy's own fields say.
    let head = Head::get("/a?b").method("PUT").host("h.example");
    for (name, value) in [
        (":method", "PUT"),
        (":path", "/a?b"),
        (":authority", "h.example"),
        ("host", "h.example"),
        ("Host", "h.example"),
        (":scheme", "http"),
    ] {
        assert_matches(&exact(name, value), &head, true);
        assert_matches(&exact(name, "x"), &head, false);
    }
    // Bytes that are no text.
    let odd = Head::get("/").header("x-a", b"v\xff");
    assert_matches(&exact("x-a", "v"), &odd, false);
    assert_matches(&header(json!({ "name": "x-a", "prefix_match": "v" })), &odd, true);
}

fn of_parameters() -> Vec<OfPaths> {
    let exact = json!({ "name": "a", "string_match": { "exact": "1" } });
    let present = json!({ "name": "a", "present_match": true });
    vec![
        (
            exact.clone(),
            &["/?a=1", "/?b=2&a=1", "/?a=1&a=1", "/?&&a=1"][..],
            &["/", "/?a=2", "/?a=1%20", "/?A=1", "/?ba=1", "/?a=1,x"][..],
        ),
        (present, &["/?a", "/?a=", "/?a=x", "/?b&a"], &["/", "/?", "/?b=a"]),
        (json!({ "name": "a" }), &["/?a", "/?a=1"], &["/", "/?b"]),
        (json!({ "name": "a", "present_match": false }), &["/", "/?b"], &["/?a", "/?a=1"]),
        (
            json!({ "name": "a", "string_match": { "prefix": "X", "ignore_case": true } }),
            &["/?a=xy"],
            &["/?a=", "/?a"],
        ),
        (
            json!({ "name": "a", "string_match": { "safe_regex": { "regex": "[0-9]*" } } }),
            &["/?a", "/?a=12"],
            &["/?a=1x", "/"],
        ),
        (json!({ "name": "a", "string_match": { "exact": "1=2" } }), &["/?a=1=2"], &["/?a=1"]),
        (json!({ "name": "a", "string_match": { "exact": "1?2" } }), &["/?a=1?2"], &["/?a=1"]),
    ]
}

#[test]
fn each_condition_on_a_parameter_is_envoys() {
    for (condition, yes, no) in of_parameters() {
        let conditions = json!({ "prefix": "/", "query_parameters": [condition] });
        for (paths, expected) in [(yes, true), (no, false)] {
            for path in paths {
                assert_matches(&conditions, &Head::get(path), expected);
            }
        }
    }
}

#[test]
fn a_method_is_compared_to_the_letter_and_never_overridden() {
    let conditions = json!({ "prefix": "/", "methods": ["GET", "M-SEARCH"] });
    for (method, expected) in
        [("GET", true), ("M-SEARCH", true), ("get", false), ("HEAD", false), ("GETX", false), ("", false)]
    {
        assert_matches(&conditions, &Head::get("/").method(method), expected);
    }
    for name in ["x-http-method-override", "x-http-method", "x-method-override"] {
        assert_matches(&conditions, &Head::get("/").method("POST").header(name, "GET"), false);
        assert_matches(&conditions, &Head::get("/?_method=POST").header(name, "POST"), true);
    }
}

#[test]
fn a_host_is_compared_without_case_and_with_the_ports_that_the_operator_names() {
    let hosts =
        ["API.example.", "b.example:8080", "C.example:*", "*.Example.com", "*.d.example:*", "[::1]:8080"];
    let conditions = json!({ "prefix": "/", "hosts": hosts });
    for (host, expected) in [
        ("api.example", true),
        ("API.Example", true),
        ("b.example:8080", true),
        ("B.example:8080", true),
        ("b.example", false),
        ("b.example:8081", false),
        ("c.example", true),
        ("c.example:443", true),
        ("c.example:8080", true),
        ("a.example.com", true),
        ("a.b.example.com", true),
        ("x.d.example:1", true),
        ("x.d.example", true),
        ("d.example", false),
        ("example.com", false),
        ("evilexample.com", false),
        ("a.example.com.evil.test", false),
        ("[::1]:8080", true),
        ("[::1]", false),
        ("api.example.evil", false),
        ("x:8080", false),
    ] {
        assert_matches(&conditions, &Head::get("/").host(host), expected);
        // What others say of it does not count.
        assert_matches(&conditions, &Head::get("/").host("x").header("x-forwarded-host", host), false);
    }
    // Envoy chooses a virtual host by the port and the dot too.
    for host in [
        "api.example:443",
        "API.example:80",
        "api.example.",
        "b.example.:8080",
        "c.example.",
        "a.example.com:8443",
        // These have no meaning that programs agree on.
        "api.example:",
        "api.example:x",
        "api.example:443.",
        "api.example:99999",
        "evil@api.example",
        "api.example/x",
        "api.example,x",
        "api.example..",
        "",
        "x:y",
    ] {
        assert_parts(&conditions, &Head::get("/").host(host));
    }
}

/// Conditions, and requests of which it depends on the reader whether they meet them.
#[test]
fn a_request_that_is_a_rules_under_some_readings_alone_is_refused() {
    let paths = |conditions: Value, paths: &[&str]| {
        for path in paths {
            assert_parts(&conditions, &Head::get(path));
        }
    };
    paths(
        json!({ "prefix": "/a" }),
        &["/%61", "/%61?x", "/x/../a", "/a/../x", "//a", "/a%2f..%2fb", "/./a", "/a\\b"],
    );
    paths(json!({ "prefix": "/a-%c3%a9" }), &["/a-\u{e9}", "/%61-%c3%a9", "/a%2d%c3%a9"]);
    paths(json!({ "prefix": "/a%3bb" }), &["/a;b", "/a%3Bb"]);
    paths(json!({ "path": "/a:b" }), &["/a%3ab", "/a%3Ab"]);
    paths(json!({ "path": "/a%3ab" }), &["/a:b"]);
    paths(json!({ "path": "/a/b" }), &["/a;x/b", "/a/b;x", "/a/%62", "/a/b%3bx", "/a/%2562", "/a//b"]);
    paths(json!({ "path_separated_prefix": "/a/b" }), &["/a/b;x", "/a/%62", "/a;b/b"]);
    paths(json!({ "path_template": "/t/{x}/o" }), &["/t/1/o;x", "/t;x/1/o", "/t/1/%6f", "/t/;x/o"]);
    paths(json!({ "safe_regex": { "regex": "/a/[0-9]+" } }), &["/a/7;x", "/%61/7", "/a/%37"]);
    paths(json!({ "prefix": "/Ab", "case_sensitive": false }), &["/%41b", "/a%42"]);
    let exact = json!({ "name": "a", "string_match": { "exact": "1" } });
    for condition in [exact, json!({ "name": "a", "string_match": { "safe_regex": { "regex": "[1]" } } })] {
        paths(
            json!({ "prefix": "/", "query_parameters": [condition] }),
            &[
                "/?a=1&a=2",
                "/?a=2&a=1",
                "/?%61=1",
                "/?a=%31",
                "/?a=1;x",
                "/?x;a=1",
                "/?a=2;a=1",
                "/?a[]=1",
                "/?a%5b%5d=1",
                "/?+a=1",
                "/?%20a=1",
                "/?a%00=1",
                "/?a=2&%61=1",
                "/?a[x]=1",
            ],
        );
    }
    let absent = json!({ "prefix": "/", "query_parameters": [{ "name": "a", "present_match": false }] });
    paths(absent, &["/?%61=1", "/?%61", "/?b;a", "/?a[]=1"]);
    let folded = json!({ "prefix": "/", "query_parameters": [{ "name": "a_b" }] });
    paths(folded, &["/?a.b=1", "/?a%20b=1", "/?a+b", "/?a%5bb"]);
    for condition in [
        json!({ "exact_match": "1" }),
        json!({ "exact_match": "1,2" }),
        json!({ "exact_match": "2", "invert_match": true }),
        json!({ "prefix_match": "1" }),
        json!({ "suffix_match": "2" }),
        json!({ "safe_regex_match": { "regex": "2" } }),
        json!({ "range_match": { "start": 1, "end": 2 } }),
        json!({ "string_match": { "contains": "," } }),
    ] {
        let mut condition = condition;
        condition["name"] = json!("x-a");
        let conditions = json!({ "prefix": "/", "headers": [condition] });
        assert_parts(&conditions, &Head::get("/").header("x-a", "1").header("x-a", "2"));
        assert_parts(&conditions, &Head::get("/").header("x_a", "1").header("x-a", "2"));
    }
    let header = json!({ "prefix": "/", "headers": [{ "name": "x-a", "exact_match": "1" }] });
    for name in ["x_a", "x.a", "X_A", "x~a"] {
        assert_parts(&header, &Head::get("/").header(name, "1"));
    }
    let host = json!({ "prefix": "/", "headers": [{ "name": "host", "exact_match": "h.example" }] });
    for authority in ["h.example:80", "H.example", "h.example."] {
        assert_parts(&host, &Head::get("/").host(authority));
    }
    let path = json!({ "prefix": "/", "headers": [{ "name": ":path", "prefix_match": "/a" }] });
    for target in ["/%61?x", "/a;x/../b", "/;/a"] {
        assert_parts(&path, &Head::get(target));
    }
}

#[test]
fn connect_is_matched_by_its_own_condition_alone() {
    let others = json!([
        { "match": { "prefix": "/" } },
        { "match": { "safe_regex": { "regex": ".*" } } },
        { "match": { "path_template": "/**" } },
        { "match": { "prefix": "/", "case_sensitive": false } },
    ]);
    let connect = Head::get("/").method("CONNECT").host("internal:443");
    assert_eq!(met(&config(&others), &connect), None);
    let mut rules = others.as_array().unwrap().clone();
    rules.push(json!({ "name": "far", "match": { "connect_matcher": {}, "hosts": ["far.example:443"] } }));
    rules.push(json!({ "name": "near", "match": { "connect_matcher": {}, "headers": [{ "name": "x-a" }] } }));
    let config = config(&json!(rules));
    assert_eq!(met(&config, &connect), None);
    assert_eq!(met(&config, &connect.clone().host("far.example:443")), Some(("far".into(), "/".into())));
    assert_eq!(met(&config, &connect.header("x-a", "")), Some(("near".into(), "/".into())));
    // Any other request has a path, and an extended CONNECT is one.
    assert_eq!(met(&config, &Head::get("/chat").header("upgrade", "websocket")).unwrap().0, "rules[0]");
    let only = json!([{ "name": "it", "match": { "connect_matcher": {}, "methods": ["CONNECT"] } }]);
    let only = self::config(&only);
    for head in
        [Head::get("/"), Head::get("/").method("connect"), Head::get("/").header("upgrade", "connect-udp")]
    {
        assert_eq!(met(&only, &head), None, "{head:?}");
    }
    let target = [(&b":method"[..], &b"CONNECT"[..]), (b":path", b"/"), (b":authority", b"h")];
    assert!(matches!(only.rules.find(&only.rules.view(&Request::new(&target))), RuleMatch::Rule(_)));
}

#[test]
fn grpc_is_told_by_its_content_type() {
    for (content_type, expected) in [
        (Some("application/grpc"), true),
        (Some("application/grpc+proto"), true),
        (Some("application/json"), false),
        (None, false),
    ] {
        let head = Head::get("/pkg.Service/Call").method("POST");
        let head = match content_type {
            Some(content_type) => head.header("content-type", content_type),
            None => head,
        };
        assert_matches(&json!({ "prefix": "/", "grpc": {} }), &head, expected);
    }
    // A filter behind this one may make gRPC of it, or a server may be less strict than Envoy.
    for content_type in [
        "application/grpc-web",
        "application/grpc-web+proto",
        "application/grpc-web-text",
        "application/grpc;x=y",
        "Application/gRPC",
        "application/grpcx",
        "application/grpc, text/plain",
    ] {
        let head = Head::get("/").header("content-type", content_type);
        assert_parts(&json!({ "prefix": "/", "grpc": {} }), &head);
    }
    let twice =
        Head::get("/").header("content-type", "text/plain").header("content-type", "application/grpc");
    assert_parts(&json!({ "prefix": "/", "grpc": {} }), &twice);
}

fn conditions() -> Vec<Condition> {
    vec![
        Condition {
            field: "prefix",
            value: json!("/api/"),
            yes: vec![|head| Head { path: "/api/1".into(), ..head }],
            no: vec![|head| Head { path: "/".into(), ..head }],
        },
        Condition {
            field: "path",
            value: json!("/api"),
            yes: vec![|head| Head { path: "/api".into(), ..head }],
            no: vec![|head| Head { path: "/api/".into(), ..head }],
        },
        Condition {
            field: "path_separated_prefix",
            value: json!("/api"),
            yes: vec![|head| Head { path: "/api".into(), ..head }, |head| Head {
                path: "/api/x".into(),
                ..head
            }],
            no: vec![|head| Head { path: "/apix".into(), ..head }],
        },
        Condition {
            field: "path_template",
            value: json!("/api/{id}"),
            yes: vec![|head| Head { path: "/api/x".into(), ..head }],
            no: vec![|head| Head { path: "/api/".into(), ..head }],
        },
        Condition {
            field: "safe_regex",
            value: json!({ "regex": "/api/[a-z]+" }),
            yes: vec![|head| Head { path: "/api/x".into(), ..head }],
            no: vec![|head| Head { path: "/api/7".into(), ..head }],
        },
        Condition {
            field: "methods",
            value: json!(["PUT", "POST"]),
            yes: vec![|head| head.method("PUT"), |head| head.method("POST")],
            no: vec![|head| head.method("GET")],
        },
        Condition {
            field: "hosts",
            value: json!(["a.example", "*.b.example"]),
            yes: vec![|head| head.host("A.example"), |head| head.host("x.b.example")],
            no: vec![|head| head.host("b.example")],
        },
        Condition {
            field: "headers",
            value: json!([{ "name": "x-a", "exact_match": "1" }, { "name": "x-b", "present_match": false }]),
            yes: vec![|head| head.header("x-a", "1")],
            no: vec![|head| head, |head| head.header("x-a", "2"), |head| {
                head.header("x-a", "1").header("x-b", "")
            }],
        },
        Condition {
            field: "query_parameters",
            value: json!([{ "name": "q", "string_match": { "contains": "1" } }, { "name": "r" }]),
            yes: vec![|head| Head { query: Some("r&q=313".into()), ..head }],
            no: vec![|head| head, |head| Head { query: Some("q=1".into()), ..head }],
        },
        Condition {
            field: "grpc",
            value: json!({}),
            yes: vec![|head| head.header("content-type", "application/grpc")],
            no: vec![|head| head],
        },
    ]
}

#[test]
fn all_conditions_of_a_pair_must_hold() {
    let kinds = ["prefix", "path", "path_separated_prefix", "path_template", "safe_regex"];
    let all = conditions();
    let mut pairs = 0;
    for (at, one) in all.iter().enumerate() {
        for other in &all[at + 1..] {
            let of_path = |condition: &Condition| kinds.contains(&condition.field);
            if of_path(one) && of_path(other) {
                let rule = json!([{ "match": { one.field: one.value, other.field: other.value } }]);
                let problems = parse(&rule).map(drop).unwrap_err();
                assert!(problems[0].starts_with("rules[0].match: has "), "{problems:?}");
                continue;
            }
            let mut conditions = json!({ one.field: one.value, other.field: other.value });
            if !of_path(one) && !of_path(other) {
                conditions["prefix"] = json!("/");
            }
            let start = Head::get("/");
            let choices = |condition: &Condition| {
                let yes = condition.yes.iter().map(|change| (*change, true));
                yes.chain(condition.no.iter().map(|change| (*change, false))).collect::<Vec<_>>()
            };
            for (change, holds) in choices(one) {
                for (and, also) in choices(other) {
                    assert_matches(&conditions, &and(change(start.clone())), holds && also);
                }
            }
            pairs += 1;
        }
    }
    assert_eq!(pairs, 5 * 5 + 10);
}

#[test]
fn a_variable_is_the_decoded_text_of_its_segments() {
    let uri = "type.googleapis.com/envoy.extensions.path.match.uri_template.v3.UriTemplateMatchConfig";
    let templates = [
        json!({ "path_template": "/t/{tenant}/f/{rest=**}" }),
        json!({ "path_template": "/T/{tenant}/F/{rest=**}", "case_sensitive": false }),
        json!({ "path_match_policy": { "name": "x", "typed_config": { "@type": uri, "path_template": "/t/{tenant}/f/{rest=**}" } } }),
    ];
    for template in templates {
        let config = config(&json!([{ "match": template }]));
        let rule = config.rules.iter().next().unwrap();
        assert_eq!(rule.matches.variables(), ["tenant", "rest"]);
        for (path, tenant, rest) in [
            ("/t/acme/f/", "acme", ""),
            ("/t/Acme/f/a/b", "Acme", "a/b"),
            ("/t/a%20b/f/a/%c3%a9/", "a b", "a/é/"),
            ("/t/100%25/f/x", "100%", "x"),
        ] {
            let (_, path) = met(&config, &Head::get(path)).expect(path);
            let text = |name| rule.matches.variable(name, &path).map(|text| text.into_owned());
            assert_eq!(
                (text("tenant").as_deref(), text("rest").as_deref()),
                (Some(tenant), Some(rest)),
                "{path}"
            );
            assert_eq!(text("other"), None);
        }
    }
    let config = config(&json!([{ "match": { "prefix": "/" } }]));
    let rule = config.rules.iter().next().unwrap();
    assert!(rule.matches.variables().is_empty() && rule.matches.variable("x", "/").is_none());
}

#[test]
fn the_first_rule_that_matches_is_met_among_all_kinds() {
    let rules = json!([
        { "name": "host", "match": { "prefix": "/a", "hosts": ["h.example"] } },
        { "name": "domain", "match": { "prefix": "/a", "hosts": ["*.example"] } },
        { "name": "header", "match": { "prefix": "/a", "headers": [{ "name": "x-a", "exact_match": "1" }] } },
        { "name": "regex", "match": { "safe_regex": { "regex": "/a/b+" } } },
        { "name": "template", "match": { "path_template": "/a/{x}" } },
        { "name": "any case", "match": { "path": "/A/c/D", "case_sensitive": false } },
        { "name": "exact", "match": { "path": "/a/c/d" } },
        { "name": "separated", "match": { "path_separated_prefix": "/a/c" } },
        { "name": "prefix", "match": { "prefix": "/a" } },
        { "name": "never", "match": { "path": "/a" } },
    ]);
    let config = config(&rules);
    let head = |path: &str| Head::get(path).host("x");
    for (head, expected) in [
        (head("/a").host("H.example").header("x-a", "1"), Some("host")),
        (head("/a").host("i.example").header("x-a", "1"), Some("domain")),
        (head("/a/b").header("x-a", "1"), Some("header")),
        (head("/a/bb").header("x-a", "2"), Some("regex")),
        (head("/a/bc"), Some("template")),
        (head("/a/c/d"), Some("any case")),
        (head("/a/c/e"), Some("separated")),
        (head("/a/x/y"), Some("prefix")),
        (head("/a"), Some("prefix")),
        (head("/A/C/d"), Some("any case")),
        (head("/b"), None),
    ] {
        assert_eq!(met(&config, &head).map(|(name, _)| name).as_deref(), expected, "{head:?}");
    }
    let names: BTreeMap<_, _> = config.rules.iter().map(|rule| (&*rule.name, rule.id)).collect();
    assert_eq!(names.len(), 10);
    assert_eq!(config.rules.named("template").map(|rule| rule.id), names.get("template").copied());
}

/// What a table of rules makes of paths.
#[track_caller]
fn assert_met(otherwise: &str, rules: &Value, table: &[(&str, &str)]) {
    let text = json!({ "providers": {}, "rules": rules, "ambiguous_paths": otherwise }).to_string();
    let config = Config::parse(text.as_bytes(), &|_| None).unwrap_or_else(|problems| panic!("{problems:?}"));
    for (target, expected) in table {
        let fields =
            [(&b":method"[..], &b"GET"[..]), (b":path", target.as_bytes()), (b":authority", b"h.example")];
        let met = match config.rules.find(&config.rules.view(&Request::new(&fields))) {
            RuleMatch::Rule(rule) => rule.name.clone(),
            RuleMatch::Ambiguous(_, Some(rule)) => format!("400 {}", rule.name),
            RuleMatch::Ambiguous(_, None) => "400".to_owned(),
            RuleMatch::Nothing => "nothing".to_owned(),
        };
        assert_eq!(&met, expected, "{target} under {otherwise}");
    }
}

#[test]
fn an_ambiguous_path_is_rejected_by_the_rule_that_it_could_meet() {
    let rules = json!([
        { "name": "admin", "match": { "prefix": "/admin" } },
        { "name": "public", "match": { "prefix": "/public/" } },
    ]);
    assert_met(
        "reject",
        &rules,
        &[
            ("/admin/x", "admin"),
            ("/public/../admin", "400"),
            ("/public//x", "400"),
            ("/x/../y", "400"),
            ("/public/%zz", "400"),
            ("/public/;/x", "400"),
            ("/public;x/y", "400 public"),
            ("/public/x;y", "public"),
            ("/x", "nothing"),
            ("*", "400"),
        ],
    );
}

#[test]
fn an_ambiguous_path_passes_where_all_its_readings_meet_one_rule() {
    let rules = json!([
        { "name": "admin", "match": { "prefix": "/admin" } },
        { "name": "public", "match": { "prefix": "/public/" } },
    ]);
    assert_met(
        "normalize",
        &rules,
        &[
            ("/public/../admin/x", "400 admin"),
            ("/admin/delete%2f..%2f..%2fpublic/", "400 admin"),
            ("/public/%2e%2e/admin/x", "400 admin"),
            ("/public%2F..%5cadmin", "400 admin"),
            ("/public/..;x/admin", "400 admin"),
            ("/public/%252e%252e/admin", "400 admin"),
            ("/public/%2e%2e%2f%2e%2e/x", "400 public"),
            ("/public//x", "public"),
            ("/public/a/../x", "public"),
            ("/public/a/./x/", "public"),
            ("/public/a%2fx", "public"),
            ("/public/a%252fx", "public"),
            ("/public/a\\x", "public"),
            ("/public/x/..", "400 public"),
            ("/public/x/../", "public"),
            ("/admin/../public/x", "400 admin"),
            ("/admin/a/../b", "admin"),
            ("/x/../y", "nothing"),
            ("//admin", "400 admin"),
            ("//x", "400"),
            ("http://h.example/admin", "400"),
            ("/public/%zz", "400 public"),
            ("/public/x#", "400 public"),
            ("/y/%00", "400"),
            ("/public/a//../x", "public"),
            ("/public//../x", "400 public"),
        ],
    );
}

#[test]
fn a_path_is_compared_as_it_arrives_where_the_operator_asks_for_it() {
    let rules = json!([
        { "name": "escaped", "match": { "path": "/a%2Fb" } },
        { "name": "star", "match": { "path": "*" } },
        { "name": "template", "match": { "path_template": "/t//{x}" } },
        { "name": "regex", "match": { "safe_regex": { "regex": "/r/\\.\\./.*" } } },
        { "name": "admin", "match": { "prefix": "/admin" } },
        { "name": "public", "match": { "prefix": "/public/", "case_sensitive": false } },
    ]);
    assert_met(
        "match_raw",
        &rules,
        &[
            ("/a%2Fb?c", "escaped"),
            ("/a%2fb", "nothing"),
            ("*", "star"),
            ("/t//%zz", "template"),
            ("/r/../x", "regex"),
            ("/%61dmin", "nothing"),
            ("/admin;x", "admin"),
            ("/PUBLIC/../admin", "public"),
            ("/x#", "nothing"),
        ],
    );
}

#[test]
fn each_rule_has_its_own_mind_about_ambiguous_paths() {
    let rules = json!([
        { "name": "admin", "match": { "prefix": "/admin" } },
        { "name": "files", "match": { "prefix": "/files/" }, "ambiguous_paths": "normalize" },
        { "name": "raw", "match": { "prefix": "/raw/" }, "ambiguous_paths": "match_raw" },
        { "name": "rest", "match": { "prefix": "/" } },
    ]);
    assert_met(
        "reject",
        &rules,
        &[
            ("/files/a//b", "files"),
            ("/files/../admin", "400 admin"),
            ("/files/../raw/x", "400 files"),
            ("/raw/../files/x", "400 files"),
            ("/admin/../files/x", "400 admin"),
            ("/raw/a//b", "raw"),
            ("/raw/%zz", "raw"),
            ("/raw/x", "raw"),
            ("/raw/..%2fadmin", "400 admin"),
            // It could be read as /admin, and so it is not the business of the rule for raw paths.
            ("/raw/%zz/../../admin", "400 admin"),
            ("/raw/#/../../admin", "400 admin"),
            ("/files/%zz", "400 files"),
            ("/x//y", "400 rest"),
        ],
    );
}

/// Every condition that both have and every request of the tables above, asked of Envoy's own filter and of this
/// one in one Envoy: a request without a token is refused where the rule is for it.
#[test]
fn envoys_own_filter_takes_the_same_requests_for_each_condition() {
    let mut rules = Vec::new();
    let mut asked = Vec::new();
    let mut add = |mut conditions: Value, heads: Vec<(Head, bool)>| {
        // The rules of each condition are for its own requests.
        let mark = rules.len().to_string();
        let mut headers = conditions["headers"].as_array().cloned().unwrap_or_default();
        headers.push(json!({ "name": "x-case", "exact_match": mark }));
        conditions["headers"] = json!(headers);
        rules.push(json!({ "match": conditions, "requires": { "provider_name": "p" } }));
        asked.extend(heads.into_iter().map(|(head, expected)| (head.header("x-case", &mark), expected)));
    };
    // What differs on purpose: escapes and parameters are not compared as they are.
    let compared = |path: &&&str| !path.contains([';', '%', '\u{e9}']) || path.contains('?');
    for (table, of_query) in [(of_paths(), false), (of_parameters(), true)] {
        for (conditions, yes, no) in table {
            // Envoy has no such condition of its own.
            if conditions["path_template"].is_string() {
                continue;
            }
            let conditions = if of_query {
                json!({ "prefix": "/", "query_parameters": [conditions] })
            } else {
                conditions
            };
            let paths = [(yes, true), (no, false)].into_iter().flat_map(|(paths, expected)| {
                paths.iter().filter(compared).map(move |path| (Head::get(path), expected))
            });
            // Envoy's own prefixes may go on into the query.
            add(conditions, paths.collect());
        }
    }
    for OfHeader(mut condition, yes, no) in of_headers() {
        condition["name"] = json!("x-a");
        let heads = [(yes, true), (no, false)].into_iter().flat_map(|(values, expected)| {
            values.iter().map(move |value| {
                let head = Head::get("/");
                (value.map_or(head.clone(), |value| head.header("x-a", value)), expected)
            })
        });
        add(json!({ "prefix": "/", "headers": [condition] }), heads.collect());
    }
    let set = harness::idp::jwks([&harness::Key::cached(harness::Alg::RS256, "k")]).to_string();
    let provider = json!({ "issuer": "i", "local_jwks": { "inline_string": set } });
    let native = json!({ "providers": { "p": provider }, "rules": rules });
    let mut own = native.clone();
    own["unmatched"] = json!("allow");
    let answer = || json!([{ "match": { "prefix": "/" }, "direct_response": { "status": 200 } }]);
    let envoy = Envoy::builder()
        .shared()
        .main(|listener| listener.routes(answer()))
        .listener(Listener::new("native").filter(Filter::JwtAuthn(native)).routes(answer()))
        .listener(Listener::new("own").filter(Wasm::portcullis(own)).routes(answer()))
        .start()
        .unwrap_or_else(|error| panic!("{error}"));
    let mut wrong = Vec::new();
    let (mut refused, mut passed) = (0, 0);
    let count = asked.len();
    for (head, expected) in asked {
        let target = head.query.as_ref().map_or(head.path.clone(), |query| format!("{}?{query}", head.path));
        let request = harness::Request::new(&head.method, &target).host(&head.host);
        let request = head.headers.iter().fold(request, |request, (name, value)| request.header(name, value));
        let [native, own] = ["native", "own"].map(|name| request.send(envoy.addr_of(name)).status);
        let matched = if expected { 401 } else { 200 };
        if (native, own) != (matched, matched) {
            wrong.push(format!("{target} {:?}: Envoy {native}, own {own}, expected {matched}", head.headers));
        }
        *(if expected { &mut refused } else { &mut passed }) += 1;
    }
    eprintln!("{count} requests, {refused} of them for their rule, {passed} not");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(refused > 80 && passed > 80, "{refused} {passed}");
}
