//! No false alarm: what everyday clients send passes, natively and on a real Envoy, over HTTP/1.1 and HTTP/2.

use std::time::{SystemTime, UNIX_EPOCH};

use harness::{Envoy, Idp, Listener, Request, Response, Upstream, Wasm};
use portcullis::{Config, Environment, Gate, Outcome, StreamId, Timestamp};
use serde_json::{Value, json};

use crate::common::{assert_sound, corp, local_provider, with};

/// Paths of frameworks, file names, APIs and languages.
const PATHS: [&str; 38] = [
    "/",
    "/index.html",
    "/favicon.ico",
    "/robots.txt",
    "/api/v1/orders",
    "/api/v1/orders/",
    "/orders/123",
    "/orders/2026-11-30",
    "/files/report.final.v2.pdf",
    "/~user/home",
    "/a_b/c-d",
    "/users/alice@shop.example",
    "/caf%C3%A9",
    "/caf%c3%a9/menu",
    "/a%20b/c",
    "/search/c%2B%2B",
    "/v1/projects/p:batchGet",
    "/maps/@47.1,8.5,12z",
    "/odata/Orders(5)",
    "/wiki/Portcullis_(gate)",
    "/tags/a,b,c",
    "/math/1+1=2",
    "/.well-known/openid-configuration",
    "/.well-known/jwks.json",
    "/assets/app.3f2a.js",
    "/assets/img/a!b.png",
    "/price/$9",
    "/it's",
    "/x*y",
    "/rebate/100%25",
    "/%E6%97%A5%E6%9C%AC",
    "/matrix;v=1/x",
    "/page.jsp;jsessionid=A1B2",
    "/...",
    "/a..b",
    "/v1.0/x",
    "/tom&jerry",
    "/tenants/acme%20corp/orders/7",
];

/// Hosts; `PORT` stands for the listener's own port.
const HOSTS: [&str; 18] = [
    "plain.example",
    "PLAIN.example",
    "port.example",
    "port.example:8443",
    "any.example",
    "any.example:PORT",
    "any.example:443",
    "Any.Example:80",
    "a.wild.example",
    "b.a.wild.example",
    "other.example",
    "other.example:PORT",
    "127.0.0.1:PORT",
    "localhost:PORT",
    "[::1]:PORT",
    "[2001:db8::1]",
    "xn--caf-dma.example",
    "under_score.example:8080",
];

/// A target and fields; `TOKEN` stands for a good token, which is sent as Bearer where it stands nowhere.
type Row = (&'static str, &'static [(&'static str, &'static str)]);

const PARTS: [Row; 26] = [
    ("/x", &[("cookie", "theme=dark; lang=de")]),
    ("/x", &[("cookie", "a=1; session=TOKEN; b=2")]),
    ("/x", &[("cookie", "session=TOKEN")]),
    ("/x", &[("cookie", "theme=dark"), ("cookie", "session=TOKEN")]),
    ("/x", &[("cookie", "_ga=GA1.2.1234.5678; _gid=GA1.2.99; session=TOKEN")]),
    ("/x", &[("cookie", "prefs={\"a\":1,\"b\":2}; session=TOKEN")]),
    ("/x", &[("cookie", "blob=YWJjZA==; session=TOKEN; sessions=x; mysession=y")]),
    ("/x", &[("cookie", "name=\"Ann Lee\"; session=TOKEN")]),
    ("/x", &[("cookie", "consent=a%2Cb%3D1|c; session=TOKEN")]),
    ("/x?page=2&sort=-date", &[]),
    ("/x?q=a+b%20c", &[]),
    ("/x?filter[name]=x&filter[age]=3", &[]),
    ("/x?ids=1&ids=2&ids=3", &[]),
    ("/x?redirect=https%3A%2F%2Fshop.example%2Fy%3Fz%3D1", &[]),
    ("/x?redirect=https://shop.example/../y", &[]),
    ("/x?empty=&flag&=", &[]),
    ("/x?", &[]),
    ("/x?a=1;b=2", &[]),
    ("/x?access_token=TOKEN&page=2", &[]),
    ("/x?op=read&page=2", &[]),
    ("/x?page=2&op=read", &[]),
    ("/x", &[("x-operation", "read")]),
    ("/x", &[("accept", "text/html"), ("accept", "*/*;q=0.1"), ("accept-language", "de, en;q=0.5")]),
    ("/x", &[("x-forwarded-for", "203.0.113.7, 198.51.100.2"), ("x-request-id", "1-2-3")]),
    ("/x", &[("x-tenant", "acme"), ("x-tenants", "a,b"), ("x_custom", "1")]),
    ("/bound", &[("x-tenant", "acme")]),
];

/// Rules of every kind, none of which should stand in the way.
fn config(idp: &Idp) -> Value {
    let places = json!({
        "from_headers": [{ "name": "Authorization", "value_prefix": "Bearer " }],
        "from_cookies": ["session"],
        "from_params": ["access_token"],
        "claim_to_headers": [{ "header_name": "x-user", "claim_name": "sub" }],
    });
    let tenant = |place: &str, of: &str| json!({ "claims": [{ "claim": "tenant", place: of }] });
    let admin = json!({ "scopes": { "all_of": ["admin"] } });
    json!({
        "providers": { "corp": with(local_provider(idp), places) },
        "rules": [
            { "match": { "path": "/healthz" } },
            { "match": { "path_separated_prefix": "/assets" } },
            { "match": { "path_separated_prefix": "/admin" }, "requires": corp(), "authorize": admin },
            { "match": { "path_template": "/tenants/{tenant}/**" }, "requires": corp(),
              "authorize": { "claims": [{ "claim": "company", "equals_path": "tenant" }] } },
            { "match": { "path": "/bound" }, "requires": corp(), "authorize": tenant("equals_header", "x-tenant") },
            { "match": { "prefix": "/", "headers": [{ "name": "x-operation", "string_match": { "exact": "purge" } }] },
              "requires": corp(), "authorize": admin },
            { "match": { "prefix": "/", "query_parameters": [{ "name": "op", "string_match": { "exact": "purge" } }] },
              "requires": corp(), "authorize": admin },
            { "match": { "prefix": "/", "hosts": ["plain.example"] }, "requires": corp() },
            { "match": { "prefix": "/", "hosts": ["port.example", "port.example:8443"] }, "requires": corp() },
            { "match": { "prefix": "/", "hosts": ["any.example:*"] }, "requires": corp() },
            { "match": { "prefix": "/", "hosts": ["*.wild.example"] }, "requires": corp() },
            { "match": { "prefix": "/" }, "requires": corp() },
        ],
    })
}

/// One request of the table.
struct Everyday {
    host: String,
    target: String,
    fields: Vec<(String, String)>,
}

/// The whole table, for a listener with this port and with this token.
fn table(port: u16, token: &str) -> Vec<Everyday> {
    let put = |text: &str| text.replace("PORT", &port.to_string()).replace("TOKEN", token);
    let bearer = || ("authorization".to_owned(), format!("Bearer {token}"));
    let row =
        |host: &str, target: &str| Everyday { host: put(host), target: put(target), fields: vec![bearer()] };
    let paths = PATHS.iter().map(|path| row("plain.example", path));
    let hosts = HOSTS.iter().map(|host| row(host, "/x"));
    let parts = PARTS.iter().map(|(target, fields)| {
        let carries = target.contains("TOKEN") || fields.iter().any(|(_, value)| value.contains("TOKEN"));
        let mut all: Vec<(String, String)> =
            fields.iter().map(|(name, value)| ((*name).to_owned(), put(value))).collect();
        if !carries {
            all.push(bearer());
        }
        Everyday { fields: all, ..row("plain.example", target) }
    });
    paths.chain(hosts).chain(parts).collect()
}

fn token(idp: &Idp) -> String {
    idp.token(json!({ "tenant": "acme", "company": "acme corp", "scope": "read" }))
}

#[test]
fn everyday_requests_pass_natively() {
    let idp = crate::common::idp();
    let text = config(&idp).to_string();
    let config = Config::parse(text.as_bytes(), &|_| None).unwrap_or_else(|problems| panic!("{problems:?}"));
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs();
    let now = Timestamp::from_secs(now);
    let mut gate = Gate::new(config, Environment::alone(1), now);
    let table = table(10_000, &token(&idp));
    assert!(table.len() >= 60, "{} rows", table.len());
    let mut refused = Vec::new();
    for row in &table {
        let pseudo = [(":method", "GET"), (":authority", &row.host), (":path", &row.target)];
        let fields = row.fields.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        let all: Vec<_> =
            pseudo.into_iter().chain(fields).map(|(n, v)| (n.as_bytes(), v.as_bytes())).collect();
        if let Outcome::Deny(refusal) = gate.decide(StreamId(1), &portcullis::Request::new(&all), now) {
            refused.push(format!("{} {}: {refusal:?}", row.host, row.target));
        }
    }
    assert!(refused.is_empty(), "{}", refused.join("\n"));
}

/// The same filter behind a listener that normalizes paths, and behind one that changes nothing.
#[test]
fn everyday_requests_pass_on_a_real_envoy() {
    const NORMALIZING: &str = "normalizing";
    let idp = crate::common::idp();
    let upstream = Upstream::start();
    let filter = || Wasm::portcullis(config(&idp));
    let normalizing = Listener::new(NORMALIZING).filter(filter()).normalize_path(true).merge_slashes(true);
    let builder =
        Envoy::builder().shared().upstream(&upstream).idp("idp", &idp).filter(filter()).listener(normalizing);
    let envoy = builder.start().unwrap_or_else(|error| panic!("{error}"));
    let mut refused = Vec::new();
    for addr in [envoy.addr(), envoy.addr_of(NORMALIZING)] {
        for row in table(addr.port(), &token(&idp)) {
            let request = Request::get(&row.target).host(&row.host);
            let request =
                row.fields.iter().fold(request, |request, (name, value)| request.header(name, value));
            let http2 = request.try_send_h2(addr);
            let refuses = |answer: &Response| answer.status != 200;
            // What the client's own library does not write over HTTP/2 has no answer.
            for answer in [Some(request.send(addr)), http2.ok()].into_iter().flatten().filter(refuses) {
                refused.push(format!("{} {}: {} {}", row.host, row.target, answer.status, answer.text()));
            }
        }
    }
    assert!(refused.is_empty(), "{}", refused.join("\n"));
    assert_sound(&envoy);
}
