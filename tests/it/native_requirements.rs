//! The `jwt_authn` filters of Envoy's documentation and examples, pasted into both filters in one Envoy.
//!
//! Each [`Page`] is a configuration of one of those shapes. Portcullis gets it as it stands and is told
//! `unmatched: allow`, nothing else. Both get the same requests, and come to the same verdicts and write the same for
//! the upstream, but for the [`DIFFERENCES`]. A case that differs without one, one that no longer differs, and a
//! difference that no case shows all fail the test.

use crate::common::native;

use std::collections::BTreeSet;
use std::time::Duration;

use harness::envoy::{EnvoyBuilder, Version};
use harness::idp::{flip_bit, jwks};
use harness::{Alg, Envoy, Filter, Key, Listener, Record, Request, TokenBuilder, Upstream, Wasm};
use native::{Asked, Difference, NATIVE, OWN, Verdicts, differs, forwards, merged, misfit, reasons};
use serde_json::{Value, json};

#[rustfmt::skip]
const DIFFERENCES: &[Difference] = &[
    differs("scheme", &[], "jwt_authn compares `Bearer ` with case; a scheme has none (RFC 9110 section 11.1)"),
    forwards("scheme_optional", "where a token may be missing, jwt_authn does not see one behind `bearer `, and passes it on"),
    differs("any_good", &["signature_invalid"], "under allow_missing one good token of several is enough for jwt_authn where it comes first; a token that is there and bad fails, but for allow_missing_or_failed"),
    differs("taken_early", &[], "jwt_authn takes a token away as soon as it has verified it, so that a later part of the requirement finds none; here the whole requirement is judged, then tokens are taken away"),
    forwards("every_place", "jwt_authn takes away the tokens that it came to verify; here the places of every provider that the rule names are cleared of what was not accepted to travel"),
    forwards("failed_token", "jwt_authn passes on a token that failed and was let through; an upstream could take it for a good one, whatever forward says"),
    forwards("cookie", "jwt_authn passes cookies on, whatever forward says; with forward: false the token is taken out of them"),
    forwards("number", "jwt_authn writes fractions with six digits; a number is written as it stands in the token"),
];

fn key(name: &str) -> Key {
    Key::cached(Alg::ES256, name)
}

fn issuer(name: &str) -> String {
    format!("https://{name}.example.com")
}

fn token(name: &str) -> TokenBuilder {
    TokenBuilder::new(&key(name), &issuer(name), "bookstore_android.apps.example.com")
}

/// A provider as the documentation has it, with its keys inline.
fn provider(name: &str, more: Value) -> Value {
    let usual = json!({
        "issuer": issuer(name),
        "audiences": ["bookstore_android.apps.example.com", "bookstore_web.apps.example.com"],
        "local_jwks": { "inline_string": jwks([&key(name)]).to_string() },
    });
    merged(&[&usual, &more])
}

fn of(name: &str) -> Value {
    json!({ "provider_name": name })
}

fn any(parts: Value) -> Value {
    json!({ "requires_any": { "requirements": parts } })
}

fn all(parts: Value) -> Value {
    json!({ "requires_all": { "requirements": parts } })
}

fn missing() -> Value {
    json!({ "allow_missing": {} })
}

fn failed() -> Value {
    json!({ "allow_missing_or_failed": {} })
}

/// A configuration, and its name.
struct Page {
    name: &'static str,
    config: Value,
}

/// The first provider in the usual place, the second in a header of its own.
fn two() -> Value {
    json!({
        "a": provider("a", json!({})),
        "b": provider("b", json!({ "from_headers": [{ "name": "x-token" }] })),
    })
}

/// The same, with tokens that pass on.
fn forwarded() -> Value {
    json!({
        "a": provider("a", json!({ "forward": true })),
        "b": provider("b", json!({ "forward": true, "from_headers": [{ "name": "x-token" }] })),
    })
}

/// Both in the usual place.
fn neighbours() -> Value {
    json!({ "a": provider("a", json!({})), "b": provider("b", json!({})) })
}

fn pages() -> Vec<Page> {
    let rules = |requires: Value| json!([{ "match": { "path": "/health" } }, { "match": { "prefix": "/x" }, "requires": requires }]);
    let page = |name, providers: Value, requires: Value| Page {
        name,
        config: json!({ "providers": providers, "rules": rules(requires) }),
    };
    let alone = |more: Value| json!({ "a": provider("a", more) });
    let billing = json!({ "provider_and_audiences": { "provider_name": "a", "audiences": ["billing"] } });
    let istio = json!([
        of("a"),
        of("b"),
        all(json!([any(json!([of("a"), missing()])), any(json!([of("b"), missing()]))]))
    ]);
    vec![
        page("single", alone(json!({})), of("a")),
        page("any", neighbours(), any(json!([of("a"), of("b")]))),
        page("any-apart", two(), any(json!([of("a"), of("b")]))),
        page("missing", alone(json!({})), any(json!([of("a"), missing()]))),
        page("missing-alone", two(), missing()),
        page("failed", alone(json!({})), any(json!([of("a"), failed()]))),
        page("failed-alone", two(), failed()),
        page("audiences", alone(json!({})), billing),
        page("all", two(), all(json!([of("a"), of("b")]))),
        page("nested", two(), any(json!([all(json!([of("a"), of("b")])), any(json!([of("b"), of("a")]))]))),
        page(
            "nested-forward",
            forwarded(),
            any(json!([all(json!([of("a"), of("b")])), any(json!([of("b"), of("a")]))])),
        ),
        page("istio", two(), any(istio)),
        Page {
            name: "map",
            config: json!({
                "providers": neighbours(),
                "requirement_map": { "either": any(json!([of("a"), of("b")])), "first": of("a") },
                "rules": [{ "match": { "prefix": "/x" }, "requirement_name": "either" }],
            }),
        },
        page(
            "prefix",
            alone(json!({ "from_headers": [{ "name": "x-token", "value_prefix": "Token " }] })),
            of("a"),
        ),
        page("params", alone(json!({ "from_params": ["token"] })), of("a")),
        page("cookies", alone(json!({ "from_cookies": ["session"] })), of("a")),
        page(
            "headers",
            alone(json!({
                "claim_to_headers": [
                    { "header_name": "x-user", "claim_name": "sub" },
                    { "header_name": "x-tenant", "claim_name": "org.tenant.name" },
                    { "header_name": "x-level", "claim_name": "org.level" },
                    { "header_name": "x-admin", "claim_name": "org.admin" },
                    { "header_name": "x-groups", "claim_name": "groups" },
                ],
                "forward_payload_header": "x-payload",
                "pad_forward_payload_header": true,
            })),
            of("a"),
        ),
        page(
            "forward",
            alone(json!({ "forward": true, "forward_payload_header": "x-payload" })),
            any(json!([of("a"), failed()])),
        ),
        Page {
            name: "cors",
            config: json!({
                "providers": alone(json!({ "claim_to_headers": [{ "header_name": "x-user", "claim_name": "sub" }] })),
                "rules": rules(of("a")),
                "bypass_cors_preflight": true,
            }),
        },
    ]
}

/// A request for both.
struct Case {
    page: &'static str,
    what: String,
    request: Request,
    differs: &'static str,
}

/// What is asked of every page. Each has a path of its own, `/x/<number>`, by which the access log tells it.
fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for Page { name: page, .. } in pages() {
        let (a, b) = (token("a").sign(), token("b").sign());
        let (bad_a, bad_b) = (flip_bit(&a), flip_bit(&b));
        let nested = || {
            token("a").claims(json!({ "org": { "tenant": { "name": "acme" }, "level": 7, "admin": true } }))
        };
        let rich = nested().claim("groups", json!(["staff", "ops"])).sign();
        let preflight = |request: Request| {
            request.header("origin", "https://a.example").header("access-control-request-method", "GET")
        };
        let mut add = |what: &str, start: &str, change: &dyn Fn(Request) -> Request| {
            let (method, start) = start.split_once(' ').unwrap_or(("GET", start));
            let (path, query) = start.split_once('?').map_or((start, ""), |(path, query)| (path, query));
            let query = if query.is_empty() { String::new() } else { format!("?{query}") };
            let request = change(Request::new(method, format!("{path}/{}{query}", cases.len())));
            cases.push(Case { page, what: what.to_owned(), request, differs: difference(page, what) });
        };
        add("nothing", "/x", &|request| request);
        for (what, token) in [
            ("a", a.clone()),
            ("b", b.clone()),
            ("bad a", bad_a.clone()),
            ("old a", token("a").expires_in(-100).sign()),
            ("early a", token("a").claim("nbf", harness::idp::now() + 100).sign()),
            ("a stranger", token("stranger").sign()),
            ("a by b", token("a").key(&key("b")).kid("a").sign()),
            ("a for billing", token("a").claim("aud", "billing").sign()),
            ("a for several", token("a").claim("aud", json!(["billing", "bookstore_web.apps.example.com"])).sign()),
            ("a for nobody", token("a").without("aud").sign()),
            ("a without subject", token("a").without("sub").sign()),
            ("a with more", rich.clone()),
            ("a with odd claims", token("a").claims(json!({ "sub": "a, b; c=\"d\"", "org": { "level": -1.5, "admin": null, "tenant": [] }, "groups": {} })).sign()),
            ("a with claims of another shape", token("a").claims(json!({ "org": "acme", "groups": [] })).sign()),
            ("no token", "x".to_owned()),
        ] {
            add(what, "/x", &|request| request.bearer(&token));
        }
        add("basic", "/x", &|request| request.header("authorization", "Basic dTpw"));
        add("bearer in small letters", "/x", &|request| {
            request.header("authorization", format!("bearer {a}"))
        });
        add("a in a header", "/x", &|request| request.header("x-token", &a));
        add("b in a header", "/x", &|request| request.header("x-token", &b));
        add("bad b in a header", "/x", &|request| request.header("x-token", &bad_b));
        add("a with a prefix", "/x", &|request| request.header("x-token", format!("Token {a}")));
        add("bad a with a prefix", "/x", &|request| request.header("x-token", format!("Token {bad_a}")));
        add("a in a parameter", &format!("/x?x=1&token={a}&y=2"), &|request| request);
        add("bad a in a parameter", &format!("/x?token={bad_a}"), &|request| request);
        add("a in a cookie", "/x", &|request| {
            request.header("cookie", format!("theme=dark; session={a}; lang=en"))
        });
        add("bad a in a cookie", "/x", &|request| request.header("cookie", format!("session={bad_a}")));
        add("a and b", "/x", &|request| request.bearer(&a).header("x-token", &b));
        add("bad a and b", "/x", &|request| request.bearer(&bad_a).header("x-token", &b));
        add("a and bad b", "/x", &|request| request.bearer(&a).header("x-token", &bad_b));
        add("bad a and bad b", "/x", &|request| request.bearer(&bad_a).header("x-token", &bad_b));
        add("b and a", "/x", &|request| request.bearer(&b).header("x-token", &a));
        let lies = |request: Request| request.header("x-user", "mallory").header("x-payload", "mallory");
        add("lies and nothing", "/x", &lies);
        add("lies and a", "/x", &|request| lies(request).bearer(&a));
        add("lies and a without subject", "/x", &|request| {
            lies(request).bearer(&token("a").without("sub").sign())
        });
        add("lies where no rule is", "/elsewhere", &lies);
        add("nothing where no rule is", "/elsewhere", &|request| request);
        add("a where no rule is", "/elsewhere", &|request| request.bearer(&a));
        add("bad a where no rule is", "/elsewhere", &|request| request.bearer(&bad_a));
        add("POST with a", "POST /x", &|request| request.body("text").bearer(&a));
        add("POST with nothing", "POST /x", &|request| request.body("text"));
        add("a preflight", "OPTIONS /x", &preflight);
        add("a preflight with lies", "OPTIONS /x", &|request| lies(preflight(request)));
        add("a preflight with bad a", "OPTIONS /x", &|request| preflight(request).bearer(&bad_a));
        add("half a preflight", "OPTIONS /x", &|request| request.header("origin", "https://a.example"));
        add("a preflight that is a GET", "/x", &preflight);
    }
    cases
}

/// The difference that a case shows; "" where there is none.
fn difference(page: &str, what: &str) -> &'static str {
    match (page, what) {
        ("missing" | "missing-alone" | "istio" | "failed" | "failed-alone" | "forward", SMALL) => {
            "scheme_optional"
        }
        (
            "single" | "any" | "any-apart" | "nested" | "nested-forward" | "map" | "headers" | "cors",
            SMALL,
        ) => "scheme",
        ("missing-alone", "a and bad b") => "any_good",
        ("any-apart" | "istio", "a and b" | "bad a and b" | "a and bad b") | ("nested", "bad a and b") => {
            "every_place"
        }
        ("nested", what) if FIRST_OF_TWO.contains(&what) => "taken_early",
        ("failed" | "failed-alone" | "forward", what) if FAILS.contains(&what) => "failed_token",
        ("failed" | "failed-alone" | "forward", "a for billing" | "a for nobody") => "failed_token",
        ("nested-forward", "bad a and b" | "a and bad b") => "failed_token",
        ("failed-alone", "a and bad b") => "failed_token",
        ("failed-alone", what) if what.ends_with("in a header") && what != "b in a header" => "failed_token",
        ("failed-alone", "a with a prefix" | "bad a with a prefix") => "failed_token",
        ("cookies", "a in a cookie") => "cookie",
        ("headers", "a with odd claims") => "number",
        _ => "",
    }
}

const SMALL: &str = "bearer in small letters";

/// A good token of the first provider, and no good one of the second.
const FIRST_OF_TWO: [&str; 10] = [
    "a",
    "a for several",
    "a without subject",
    "a with more",
    "a with odd claims",
    "a with claims of another shape",
    "a and bad b",
    "lies and a",
    "lies and a without subject",
    "POST with a",
];

/// A bad token in the usual place.
const FAILS: [&str; 11] = [
    "b",
    "bad a",
    "old a",
    "early a",
    "a stranger",
    "a by b",
    "no token",
    "bad a and b",
    "bad a and bad b",
    "b and a",
    "a preflight with bad a",
];

/// The first Envoy whose `jwt_authn` takes the fields that it writes away also where it asks for no token; an earlier
/// one hands on what the client made up.
const STRIPS_EVERYWHERE: Version = Version { major: 1, minor: 40, patch: 0 };

fn listener(page: &str, whose: &str) -> String {
    format!("{page}.{whose}")
}

fn start(upstream: &Upstream) -> Envoy {
    let builder = pages().into_iter().fold(
        Envoy::builder().shared(),
        |builder: EnvoyBuilder, Page { name, config }| {
            let own = merged(&[&config, &json!({ "unmatched": "allow" })]);
            let add = |whose, filter: Filter| Listener::new(&listener(name, whose)).filter(filter);
            builder
                .listener(add(NATIVE, Filter::JwtAuthn(config)))
                .listener(add(OWN, Wasm::portcullis(own).into()))
        },
    );
    builder.upstream(upstream).start().unwrap_or_else(|error| panic!("{error}"))
}

/// What the upstream is told: method, target and all fields, but for those that differ from request to request.
fn told(records: &[Record]) -> Vec<String> {
    let [record] = records else { return vec![format!("{} requests", records.len())] };
    let mut told: Vec<String> = record
        .headers
        .iter()
        .filter(|(name, _)| name != "x-request-id")
        .map(|(name, value)| format!("{name}: {}", String::from_utf8_lossy(value)))
        .collect();
    told.sort();
    told.insert(0, format!("{} {}", record.method, record.path()));
    told
}

/// What one has and the other has not, with long values cut off.
fn only_in<'t>(one: &'t [String], other: &[String]) -> Vec<&'t str> {
    one.iter().filter(|line| !other.contains(line)).map(|line| line.get(..60).unwrap_or(line)).collect()
}

#[test]
fn a_pasted_filter_gives_the_same_verdicts_and_the_same_fields_but_for_what_is_written_down() {
    let upstream = Upstream::start();
    let envoy = start(&upstream);
    let cases = cases();
    assert!(cases.len() >= 400, "only {} cases", cases.len());

    let mut results = Vec::new();
    for Page { name, .. } in pages() {
        let mut native = Asked::new(&envoy, listener(name, NATIVE));
        let mut own = Asked::new(&envoy, listener(name, OWN));
        for case in cases.iter().filter(|case| case.page == name) {
            let ask = |asked: &mut Asked<'_>| (asked.allows(&case.request), told(&upstream.take()));
            results.push((ask(&mut native), ask(&mut own)));
        }
    }

    envoy.wait_for_access_log(2 * cases.len(), Duration::from_secs(30));
    let reasons = reasons(&envoy, |listener| listener.ends_with(OWN));
    let (mut wrong, mut shown) = (Vec::new(), BTreeSet::new());
    let gullible = envoy.version() < STRIPS_EVERYWHERE;
    for (number, (case, ((native, native_told), (own, own_told)))) in cases.iter().zip(&results).enumerate() {
        let lies_pass = || {
            let more = only_in(native_told, own_told);
            only_in(own_told, native_told).is_empty() && more.iter().all(|field| field.ends_with(": mallory"))
        };
        let verdicts = Verdicts {
            native: *native,
            own: *own,
            same_fields: !(*native && *own) || native_told == own_told || (gullible && lies_pass()),
        };
        let reason = reasons.get(&number).map_or("", String::as_str);
        if let Some(misfit) = misfit(DIFFERENCES, case.differs, verdicts, reason) {
            let fields = if verdicts.same_fields {
                String::new()
            } else {
                let (native, own) = (only_in(native_told, own_told), only_in(own_told, native_told));
                format!(": jwt_authn {native:?}, Portcullis {own:?}")
            };
            wrong.push(format!("{}: {} {misfit}{fields}", case.page, case.what));
        }
        shown.insert(case.differs);
    }
    assert!(wrong.is_empty(), "{} of {} cases:\n{}", wrong.len(), cases.len(), wrong.join("\n"));
    for Difference { id, why, .. } in DIFFERENCES {
        assert!(shown.contains(id), "no case shows the difference {id:?}: {why}");
    }
    let allowed = results.iter().filter(|((native, _), _)| *native).count();
    println!("{} cases, of which jwt_authn allows {allowed}; {} differences", cases.len(), DIFFERENCES.len());
}
