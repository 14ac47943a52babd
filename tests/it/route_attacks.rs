//! The known ways to get past the rules of a gateway, one test a row of the table of attacks (P1 to P21), each on a
//! real Envoy, with its path normalisation off and on, over HTTP/1.1 and HTTP/2.

use crate::common;

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::sync::OnceLock;

use common::{Gateway, SOON, assert_problem, config, corp, local_provider, with};
use harness::{Cluster, Idp, Request, Response, shared, workspace};
use portcullis::Config;
use serde_json::{Value, json};

/// Everybody may see what is public, whoever has a token the rest, and who has the scope `admin` what is under `/admin`.
fn rules() -> Value {
    let admin = json!({ "scopes": { "all_of": ["admin"] } });
    json!([
        { "match": { "path": "/healthz", "hosts": ["api.example"] } },
        { "match": { "prefix": "/public/" } },
        { "match": { "safe_regex": { "regex": "assets" } } },
        { "match": { "safe_regex": { "regex": "/assets/([a-z]+)+" } } },
        { "match": { "prefix": "/admin" }, "requires": corp(), "authorize": admin },
        { "match": { "path_separated_prefix": "/team" }, "requires": corp(), "authorize": admin },
        { "match": { "prefix": "/read", "methods": ["GET"] } },
        { "match": { "prefix": "/kept" }, "requires": { "provider_name": "kept" } },
        { "match": { "prefix": "/" }, "requires": corp() },
    ])
}

fn configuration(idp: &Idp) -> Value {
    let corp = with(
        local_provider(idp),
        json!({ "claim_to_headers": [{ "header_name": "x-user", "claim_name": "sub" }] }),
    );
    let mut config = config(corp.clone(), rules());
    config["providers"]["kept"] = with(corp, json!({ "forward": true }));
    config
}

/// One for Envoy's path normalisation off, one for on. Nobody looks at what the upstream records: it answers with it.
fn gateways() -> &'static [Gateway; 2] {
    static GATEWAYS: OnceLock<[Gateway; 2]> = OnceLock::new();
    GATEWAYS.get_or_init(|| {
        [false, true].map(|on| {
            let (redirecting, socket) = (redirecting(), socket());
            Gateway::start_with(configuration, |builder| {
                let redirected = json!({ "cluster": "redirecting", "internal_redirect_policy": {} });
                let short =
                    json!({ "cluster": "socket", "max_stream_duration": { "max_stream_duration": "0.5s" } });
                let routes = json!([
                    { "match": { "prefix": "/x/socket" }, "route": short },
                    { "match": { "prefix": "/x/redirected" }, "route": redirected },
                    { "match": { "prefix": "/kept/redirected" }, "route": redirected },
                    { "match": { "prefix": "/" }, "route": { "cluster": "upstream", "timeout": "10s" } },
                ]);
                let builder = builder.shared().cluster("redirecting", Cluster::new(redirecting));
                builder.cluster("socket", Cluster::new(socket)).main(|listener| {
                    let listener = listener.routes(routes).normalize_path(on).merge_slashes(on);
                    listener.hcm("upgrade_configs", json!([{ "upgrade_type": "websocket" }]))
                })
            })
        })
    })
}

/// A service that sends everybody to `/admin/of-the-redirect`.
fn redirecting() -> SocketAddr {
    common::answering(
        "HTTP/1.1 302 Found\r\nlocation: http://gateway.test/admin/of-the-redirect\r\ncontent-length: 0\r\n\r\n",
    )
}

/// A service that opens WebSockets.
fn socket() -> SocketAddr {
    common::answering(
        "HTTP/1.1 101 Switching Protocols\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\
         sec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n",
    )
}

/// Who asks.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Who {
    Nobody,
    User,
    Admin,
}

fn by(request: &Request, who: Who, gateway: &Gateway) -> Request {
    match who {
        Who::Nobody => request.clone(),
        Who::User => request.clone().bearer(&gateway.idp.token(json!({ "scope": "orders" }))),
        Who::Admin => request.clone().bearer(&gateway.idp.token(json!({ "scope": "admin" }))),
    }
}

/// The answers in every setting, each with its name. What HTTP/2 or Envoy does not take for a request has none.
fn answers(request: &Request, who: Who) -> Vec<(String, Response)> {
    let mut answers = Vec::new();
    for (gateway, on) in gateways().iter().zip([false, true]) {
        let request = by(request, who, gateway);
        for (version, answer) in
            [("HTTP/1.1", request.try_send(gateway.addr())), ("HTTP/2", request.try_send_h2(gateway.addr()))]
        {
            answers.extend(answer.map(|answer| (format!("{version}, normalize_path: {on}"), answer)));
        }
    }
    assert!(!answers.is_empty(), "no answer to {request:?}");
    answers
}

/// Whether Envoy has made a path of it, before any filter, that can be read in one way only, and is public: then that
/// is judged, and that is forwarded.
fn was_made_public(setting: &str, answer: &Response) -> bool {
    let echoed = answer.json();
    let plain = |path: &str| {
        path.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'/') && !path.contains("//")
    };
    setting.ends_with("true")
        && echoed["path"].as_str().is_some_and(|path| path.starts_with("/public/") && plain(path))
}

/// None of these paths leads anywhere for them.
#[track_caller]
fn assert_shut(who: Who, paths: &[&str]) {
    let mut open = Vec::new();
    for path in paths {
        for (setting, answer) in answers(&Request::get(path), who) {
            let shut = matches!(answer.status, 400..=404);
            if !shut && (answer.status != 200 || !was_made_public(&setting, &answer)) {
                open.push(format!("{path} by {who:?}: {setting}: {} {}", answer.status, answer.text()));
            }
        }
    }
    assert!(open.is_empty(), "{}", open.join("\n"));
}

#[track_caller]
fn assert_status(request: &Request, who: Who, status: u16) {
    for (setting, answer) in answers(request, who) {
        assert_eq!(answer.status, status, "{request:?} by {who:?}: {setting}: {}", answer.text());
    }
}

#[track_caller]
fn assert_gets(who: Who, path: &str, status: u16) {
    assert_status(&Request::get(path), who, status);
}

#[test]
fn p1_dot_segments_lead_out_of_nothing() {
    let paths = [
        "/public/../admin",
        "/public/../admin/x",
        "/public/%2e%2e/admin",
        "/public/%2E%2e/admin",
        "/public/.%2e/admin",
        "/public/%2e./admin",
        "/public/x/../../admin",
        "/public/./../admin",
        "/public/%2e/%2e%2e/admin",
        "/public/x/%2e%2e/%2e%2e/admin",
    ];
    assert_shut(Who::Nobody, &paths);
    assert_shut(Who::User, &paths);
    assert_shut(Who::User, &["/./admin", "/%2e/admin", "/x/../admin", "/team/../admin", "/x/../team"]);
    assert_shut(Who::Nobody, &["/..", "/public/..", "/public/../", "/public/../x", "/assets/../x"]);
}

#[test]
fn p2_empty_segments_hide_nothing() {
    assert_shut(Who::Nobody, &["/public//../admin", "/public/.//../admin", "//x", "/public//../x", "///x"]);
    assert_shut(Who::User, &["//admin", "/.//admin", "//admin//x", "///admin", "/x/..//admin", "//team"]);
}

#[test]
fn p3_escaped_slashes_and_backslashes_are_no_part_of_a_name() {
    let out = [
        "/public/..%2fadmin",
        "/public/..%2Fadmin",
        "/public%2f..%2fadmin",
        "/public/..%5cadmin",
        "/public/..%5Cadmin",
        "/public\\..\\admin",
        "/public/..\\admin",
        "/public/x%2f..%2f..%2fadmin",
    ];
    assert_shut(Who::Nobody, &out);
    assert_shut(Who::User, &out);
    assert_shut(Who::User, &["/%2fadmin", "/%5cadmin", "\\admin", "/x%2f..%2fadmin", "/x\\..\\admin"]);
    // Whoever may be there still is not understood in one way only.
    for (setting, answer) in answers(&Request::get("/admin%2fx"), Who::Admin) {
        assert_problem(&setting, &answer, 400, "path_ambiguous");
    }
}

#[test]
fn p4_nothing_is_decoded_twice() {
    let paths = [
        "/public/%252e%252e/admin",
        "/public/..%252fadmin",
        "/public/..%255cadmin",
        "/public/%25252e%25252e/admin",
        "/public/%252E%252E%252Fadmin",
    ];
    assert_shut(Who::Nobody, &paths);
    assert_shut(Who::User, &paths);
    assert_shut(Who::User, &["/%252fadmin", "/%252e/admin"]);
}

#[test]
fn p5_parameters_of_segments_hide_nothing() {
    let paths = [
        "/public/..;/admin",
        "/public/..;x=1/admin",
        "/public;/../admin",
        "/public/%2e%2e;/admin",
        "/public/..%3b/admin",
        "/public/x;/..;/..;/admin",
    ];
    assert_shut(Who::Nobody, &paths);
    assert_shut(Who::User, &paths);
    assert_shut(Who::User, &["/admin;x=1", "/admin;x=1/y", "/admin;", "/;/admin", "/team;a/x", "/team;"]);
    assert_gets(Who::Admin, "/admin;x=1/y", 200);
}

#[test]
fn p6_a_fragment_is_no_part_of_a_target() {
    let paths = ["/public#/../admin", "/public/%23/../admin", "/admin#/public/", "/admin%23"];
    assert_shut(Who::Nobody, &paths);
    for gateway in gateways() {
        assert_eq!(Request::get("/public/x#y").send(gateway.addr()).status, 400);
    }
    assert_shut(Who::User, &["/admin#/public/", "/admin%23x", "/x%23/admin"]);
}

#[test]
fn p7_the_query_has_no_say() {
    for path in
        ["/x?/public/", "/x?a=/public/x", "/public?/public/", "/?/healthz", "/xassets?assets", "/x?assets"]
    {
        assert_gets(Who::Nobody, path, 401);
    }
    for path in ["/admin?/public/", "/admin/x?y=/public/x", "/admin?", "/team?x"] {
        assert_gets(Who::User, path, 403);
    }
    assert_gets(Who::Nobody, "/public/x?/admin/../..", 200);
}

#[test]
fn p8_another_case_is_another_path_that_still_needs_a_token() {
    for path in ["/ADMIN", "/Admin/x", "/PUBLIC/x", "/Public/x", "/HEALTHZ", "/ASSETS/a"] {
        assert_gets(Who::Nobody, path, 401);
    }
    assert_shut(Who::User, &["/admi%6E", "/%61dmin", "/%61dmin/x"]);
}

#[test]
fn p9_what_lies_beside_a_prefix_falls_to_the_last_rule() {
    for path in
        ["/admin", "/admin/", "/adminx", "/team", "/team/", "/teamx", "/public", "/publicx", "/healthz/"]
    {
        assert_gets(Who::Nobody, path, 401);
    }
    for path in ["/admin", "/admin/", "/adminx", "/admin.json", "/team", "/team/", "/team/x"] {
        assert_gets(Who::User, path, 403);
    }
    assert_gets(Who::User, "/teamx", 200);
}

#[test]
fn p10_bytes_that_end_or_break_a_text_are_refused() {
    for who in [Who::Nobody, Who::User] {
        assert_shut(
            who,
            &[
                "/public/x%00/../admin",
                "/admin%00",
                "/public/%00",
                "/public/%01",
                "/public/%0d%0a",
                "/public/%7f",
                "/public/%c0%ae%c0%ae/admin",
                "/public/%c0%af../admin",
                "/public/%e0%80%ae",
                "/public/%ff",
                "/public/%ed%a0%80",
                "/public/%",
                "/public/%zz",
                "/public/%2",
                "/public/%u002e%u002e/admin",
            ],
        );
    }
    for raw in [&b"/public/\x01"[..], b"/public/\xff", b"/public/\xc0\xae\xc0\xae/admin", b"/public/\x7f"] {
        for gateway in gateways() {
            let answer = Request::get(raw).send(gateway.addr());
            assert!(matches!(answer.status, 400..=404), "{raw:?}: {}", answer.status);
        }
    }
}

#[test]
fn p11_other_forms_of_a_target_are_judged_by_their_path_or_refused() {
    assert_shut(
        Who::Nobody,
        &["http://gateway.test/x", "http://gateway.test/admin", "*", "admin", "public/x", ""],
    );
    assert_shut(Who::User, &["http://gateway.test/admin", "http://gateway.test/public/../admin", "admin"]);
    // The host of an absolute target counts, not the field (RFC 9112 section 3.2.2).
    for gateway in gateways() {
        let send = |target: &str, host: &str| Request::get(target).host(host).send(gateway.addr()).status;
        assert_eq!(send("http://evil.example/healthz", "api.example"), 401);
        assert_eq!(send("http://api.example/healthz", "evil.example"), 200);
    }
}

/// Fields in which a proxy or a framework would look for another path.
const OTHER_PATHS: &[&str] = &[
    "x-original-url",
    "x-rewrite-url",
    "x-forwarded-uri",
    "x-original-uri",
    "x-envoy-original-path",
    "x-forwarded-path",
    "x-forwarded-prefix",
    "x-envoy-decorator-operation",
    "x-path",
];

#[test]
fn p12_no_field_names_another_path() {
    for name in OTHER_PATHS {
        assert_status(&Request::get("/x").header(name, "/public/x"), Who::Nobody, 401);
        assert_status(&Request::get("/admin").header(name, "/public/x"), Who::User, 403);
        assert_status(&Request::get("/public/x").header(name, "/admin"), Who::Nobody, 200);
    }
}

#[test]
fn p13_the_path_that_is_forwarded_is_the_one_that_was_judged() {
    for path in [
        "/public/x",
        "/public/%41%20b",
        "/public/x;v=1",
        "/public/%C3%A9",
        "/public/x/?a=..%2f&b=//",
        "/public/...",
        "/public/a.b",
        "/public/~x",
        "/assets/x",
    ] {
        for (setting, answer) in answers(&Request::get(path), Who::Nobody) {
            assert_eq!(answer.status, 200, "{path}: {setting}: {}", answer.text());
            let forwarded = answer.json()["path"].as_str().expect("a path").to_owned();
            // What came, but for what Envoy has made of it before the filters; and that is judged as this was.
            assert!(forwarded == path || setting.ends_with("true"), "{path}: {setting}: {forwarded}");
            assert_gets(Who::Nobody, &forwarded, 200);
        }
    }
}

#[test]
fn p14_whatever_no_rule_speaks_of_is_refused() {
    let gateway = Gateway::start(|idp| {
        config(
            local_provider(idp),
            json!([
                // A rule for everything but /admin would be one of these.
                { "match": { "safe_regex": { "regex": "/[^a].*|/a[^d].*" } } },
                { "match": { "path_separated_prefix": "/admin" }, "requires": corp() },
            ]),
        )
    });
    for path in ["/admix", "/ad", "/adminx", "/a", "/"] {
        for answer in [Request::get(path).send(gateway.addr()), Request::get(path).send_h2(gateway.addr())] {
            assert_problem(path, &answer, 403, "route_unmatched");
        }
    }
    assert_eq!(Request::get("/admin").send(gateway.addr()).status, 401);
    gateway.assert_sound();
}

#[test]
fn p15_a_host_counts_without_case_port_and_dot_and_as_a_whole() {
    let get = |host: &str| Request::get("/healthz").host(host);
    for host in ["api.example", "API.example", "API.EXAMPLE"] {
        assert_status(&get(host), Who::Nobody, 200);
    }
    // For Envoy these may be another host, for the service this one.
    for host in ["api.example:443", "api.example.", "API.EXAMPLE.:8443", "api.example:x", "user@api.example"]
    {
        for (setting, answer) in answers(&get(host), Who::Nobody) {
            assert_eq!(answer.status, 400, "{host}, {setting}: {}", answer.text());
        }
    }
    for host in ["evil.example", "api.example.evil.example", "xapi.example", "api"] {
        assert_status(&get(host), Who::Nobody, 401);
    }
    let lied = get("evil.example").header("x-forwarded-host", "api.example");
    assert_status(&lied, Who::Nobody, 401);
}

#[test]
fn p16_an_expression_matches_as_a_whole_and_in_linear_time() {
    for path in
        ["/xassetsx", "/assets", "/assets/", "/x/assets/a", "/assets/a/b", "/assets/A", "/assets/a%20"]
    {
        assert_gets(Who::Nobody, path, 401);
    }
    assert_gets(Who::Nobody, "/assets/abc", 200);
    // One that would take a backtracking engine longer than the age of the universe.
    assert_gets(Who::Nobody, &format!("/assets/{}!", "a".repeat(3000)), 401);
    for expression in ["(a*)*\\1", "a(?=b)", "(?<!a)b", "(((a{100}){100}){100}){100}"] {
        let rules = json!([{ "match": { "safe_regex": { "regex": expression } } }]);
        let config = json!({ "providers": {}, "rules": rules });
        let problems = Config::parse(config.to_string().as_bytes(), &|_| None).expect_err(expression);
        assert!(
            problems[0].to_string().starts_with("rules[0].match.safe_regex"),
            "{expression}: {problems:?}"
        );
    }
}

#[test]
fn p17_the_method_is_the_one_that_came() {
    assert_gets(Who::Nobody, "/read", 200);
    for method in ["POST", "DELETE", "get", "Get", "HEAD", "OPTIONS", "FOO"] {
        for name in ["x-http-method-override", "x-http-method", "x-method-override", "x-original-method"] {
            let request = Request::new(method, "/read?_method=GET").header(name, "GET");
            assert!(
                answers(&request, Who::Nobody).iter().all(|(_, answer)| matches!(answer.status, 400 | 401))
            );
        }
    }
}

#[test]
fn p18_only_a_preflight_is_a_preflight_and_it_is_nobody() {
    let gateway = Gateway::start(|idp| with(configuration(idp), json!({ "bypass_cors_preflight": true })));
    let addr = gateway.addr();
    let both = |request: &Request| [request.send(addr), request.send_h2(addr)];
    let preflight = |method: &str| {
        Request::new(method, "/x")
            .header("origin", "https://a.example")
            .header("access-control-request-method", "DELETE")
    };
    for answer in both(&preflight("OPTIONS").header("x-user", "mallory").header("x_user", "root")) {
        assert_eq!(answer.status, 200);
        let fields = answer.text().to_lowercase().replace('_', "-");
        assert!(!fields.contains("x-user"), "{fields}");
    }
    for request in [
        preflight("GET"),
        preflight("POST").header("x-http-method-override", "OPTIONS"),
        Request::new("OPTIONS", "/x"),
        Request::new("OPTIONS", "/x").header("origin", "https://a.example"),
        Request::new("OPTIONS", "/x").header("access-control-request-method", "GET"),
        Request::new("OPTIONS", "/x")
            .header("origin", "https://a.example")
            .header("access-control-request-method", ""),
    ] {
        for answer in both(&request) {
            assert_problem(&format!("{request:?}"), &answer, 401, "token_missing");
        }
    }
    gateway.assert_sound();
    // Off unless it is asked for.
    assert_status(&preflight("OPTIONS"), Who::Nobody, 401);
}

#[test]
fn p19_upgrades_and_tunnels_need_what_their_path_needs() {
    let upgrade = |path: &str| {
        Request::get(path)
            .header("connection", "Upgrade")
            .header("upgrade", "websocket")
            .header("sec-websocket-version", "13")
            .header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==")
    };
    for gateway in gateways() {
        let token = gateway.idp.token(json!({}));
        let send = |request: Request| request.send(gateway.addr());
        assert_problem("a WebSocket", &send(upgrade("/x")), 401, "token_missing");
        let in_protocol = upgrade("/x").header("sec-websocket-protocol", format!("bearer, {token}"));
        assert_problem("a token in the protocol", &send(in_protocol), 401, "token_missing");
        assert_problem("no scope", &send(upgrade("/admin").bearer(&token)), 403, "scope_insufficient");
        // Another upgrade than those that Envoy passes on.
        let other = Request::get("/x").header("connection", "Upgrade").header("upgrade", "h2c");
        assert!(matches!(send(other).status, 401 | 403));
        // One that is open is not judged again; the route ends it.
        let mut stream = TcpStream::connect(gateway.addr()).expect("a connection");
        stream.set_read_timeout(Some(SOON)).expect("a deadline");
        stream.write_all(&upgrade("/x/socket").bearer(&token).to_bytes()).expect("a request");
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).expect("an end before the deadline");
        let answer = String::from_utf8_lossy(&answer);
        assert!(answer.starts_with("HTTP/1.1 101 "), "{answer}");
        // A tunnel has no path, so that no rule here is for it, whoever asks.
        for target in ["api.example:443", "gateway.test:443"] {
            let answer = Request::new("CONNECT", target).bearer(&token).try_send(gateway.addr());
            assert!(answer.is_ok_and(|answer| matches!(answer.status, 400..=404)), "CONNECT {target}");
        }
    }
}

#[test]
fn p20_a_grpc_client_is_told_in_its_own_terms() {
    for gateway in gateways() {
        let call = |path: &str, who: Who| by(&Request::grpc(path), who, gateway).send_h2(gateway.addr());
        for (path, who, status) in [
            ("/pkg.Svc/M", Who::Nobody, "16"),
            ("/admin.Svc/M", Who::User, "7"),
            ("/public/..%2fadmin.Svc/M", Who::Nobody, "3"),
        ] {
            let answer = call(path, who);
            assert_eq!(answer.trailer("grpc-status").as_deref(), Some(status), "{path}: {answer:?}");
            assert_eq!((answer.status, answer.body.len()), (200, 0), "{path}");
        }
        let passed = call("/pkg.Svc/M", Who::User);
        assert_eq!(passed.json()["path"], "/pkg.Svc/M");
    }
}

#[test]
fn p21_a_redirect_inside_is_judged_anew() {
    for (who, path, status) in [
        // The token is gone after the first pass.
        (Who::User, "/x/redirected", 401),
        (Who::Admin, "/x/redirected", 401),
        (Who::User, "/kept/redirected", 403),
        (Who::Admin, "/kept/redirected", 200),
        (Who::Nobody, "/kept/redirected", 401),
    ] {
        for (setting, answer) in answers(&Request::get(path), who) {
            assert_eq!(answer.status, status, "{path} by {who:?}: {setting}: {}", answer.text());
            if status == 200 {
                assert_eq!(answer.json()["path"], "/admin/of-the-redirect", "{setting}");
                assert_eq!(answer.echoed("x-user"), ["alice"], "{setting}");
            }
        }
    }
}

/// The names of the attacks that the table of threats in `docs/security.md` names, in lower case.
fn named_attacks(page: &str, module: &str, letter: char) -> BTreeSet<String> {
    let start = format!("`{module}::{letter}");
    let numbers = page.split(&start).skip(1).filter_map(|rest| rest.split('_').next()?.parse::<u8>().ok());
    numbers.map(|number| format!("{letter}{number}")).collect()
}

/// The attacks are numbered without a gap, and each has its test. Where the list is there by which they were numbered,
/// none of it is missing here.
#[test]
fn every_attack_of_the_tables_has_its_test() {
    let read = |page: &Path| std::fs::read_to_string(page).expect("a readable file");
    let own = read(&workspace().join("docs/security.md"));
    let listed = shared("design/security.md").map(|page| read(&page));
    let (fields, routes) = (include_str!("attacks.rs"), include_str!("route_attacks.rs"));
    for (letter, module, tests, count) in [('h', "attacks", fields, 18), ('p', "route_attacks", routes, 21)] {
        let named = named_attacks(&own, module, letter);
        let numbered: BTreeSet<String> = (1..=count).map(|number| format!("{letter}{number}")).collect();
        assert_eq!(named, numbered, "docs/security.md");
        let rows = listed.iter().flat_map(|page| page.lines());
        let rows = rows.filter_map(|line| Some(line.strip_prefix("| ")?.split(" |").next()?.to_lowercase()));
        let of_letter = |row: &String| row.strip_prefix(letter).is_some_and(|it| it.parse::<u8>().is_ok());
        for row in numbered.iter().cloned().chain(rows.filter(of_letter)) {
            assert!(tests.contains(&format!("\nfn {row}_")), "{row} has no test");
        }
    }
}
