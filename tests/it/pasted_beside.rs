//! Configurations of `jwt_authn` beside the real filter in one Envoy: both come to the same status and tell the upstream
//! the same, but for the rows of "Where the two differ" of `docs/migration.md`. A difference without a row, a row that is
//! not on the page, and a row that nothing shows fail the test.

use crate::common;
use crate::pasted;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use common::{AUDIENCE, corp, with};
use harness::idp::{jwks, now};
use harness::{Alg, Envoy, Filter, Idp, Key, Listener, Request, TokenBuilder, Upstream, Wasm, workspace};
use portcullis::Config;
use serde_json::{Value, json};

const PARTNER: &str = "https://partner.example";

/// Stands for every request in the rows of a configuration; that each of them differs is not asked.
const ANY: &str = "";

/// How a difference shows.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Shows {
    /// `jwt_authn` lets the request pass, Portcullis does not.
    Stricter,
    /// Portcullis lets it pass, `jwt_authn` does not.
    Looser,
    /// Both do, and the upstream is told something else.
    Fields,
    /// Both refuse, with another status.
    Status,
}

use Shows::{Fields, Looser, Status, Stricter};

/// The rows that a request shows here, and how.
const SHOWN: &[(&str, &[Shows])] = &[
    ("unmatched", &[Stricter]),
    ("places", &[Stricter, Fields]),
    ("bearer", &[Stricter, Looser, Fields]),
    ("several", &[Stricter, Status]),
    ("audiences", &[Stricter]),
    ("no_exp", &[Stricter]),
    ("skew_zero", &[Stricter]),
    ("iat", &[Stricter]),
    ("algorithms", &[Stricter]),
    ("keys", &[Stricter]),
    ("kinds", &[Stricter]),
    ("kid", &[Stricter]),
    ("path", &[Stricter, Status]),
    ("cookie", &[Fields]),
    ("other_place", &[Fields]),
    ("failed_token", &[Fields]),
    ("first_alone", &[Fields]),
    ("any_good", &[Stricter]),
    ("twice", &[Looser]),
    ("number", &[Fields]),
    ("answer", &[Status]),
];

/// The rows about a field that Portcullis refuses: a field, and what is written there.
const REFUSED: &[(&str, &str)] = &[
    ("filename", r#"{"providers":{"corp":{"local_jwks":{"filename":"/etc/jwks.json"}}}}"#),
    ("metadata", r#"{"providers":{"corp":{"payload_in_metadata":"payload"}}}"#),
    ("filter_state_rules", r#"{"filter_state_rules":{"name":"x","requires":{}}}"#),
    (
        "extract_only",
        r#"{"rules":[{"match":{"prefix":"/"},"requires":{"extract_only_without_validation":{}}}]}"#,
    ),
];

/// The rows that other tests show, each with its file.
const ELSEWHERE: &[(&str, &str)] = &[
    ("expiry", "tests/it/native_differential.rs"),
    ("cache", "tests/it/metrics.rs"),
    ("per_route", "tests/it/route_requirements.rs"),
    ("grants", "tests/it/authorize.rs"),
];

/// A configuration for both.
struct Form {
    name: &'static str,
    config: Value,
    /// What Portcullis is told beside it.
    own: Value,
    /// The routes of each, where they say something: of `jwt_authn`, and of Portcullis.
    routes: Option<[Value; 2]>,
    /// Which requests differ, and in which row.
    rows: &'static [(&'static str, &'static str)],
}

fn partner_key() -> Key {
    Key::cached(Alg::ES256, "partner")
}

fn partner() -> TokenBuilder {
    TokenBuilder::new(&partner_key(), PARTNER, AUDIENCE).claim("sub", "bob")
}

fn secret() -> Key {
    Key::hmac(Alg::HS256, "secret", b"0123456789abcdef0123456789abcdef")
}

fn any(parts: Value) -> Value {
    json!({ "requires_any": { "requirements": parts } })
}

fn all(parts: Value) -> Value {
    json!({ "requires_all": { "requirements": parts } })
}

fn second() -> Value {
    json!({ "provider_name": "partner" })
}

fn x_token() -> Value {
    json!([{ "name": "x-token" }])
}

const SECOND_IN_X_TOKEN: &[(&str, &str)] =
    &[("two issuers", "other_place"), ("a bad one in x-token beside", "other_place")];

/// What people write, beyond the forms of one and the same configuration in `pasted`.
fn forms(idp: &Idp) -> Vec<Form> {
    let local = json!({ "inline_string": idp.jwks().to_string() });
    let first = |more: Value| {
        with(json!({ "issuer": idp.issuer(), "audiences": [AUDIENCE], "local_jwks": local }), more)
    };
    let theirs = |more: Value| {
        let keys = json!({ "inline_string": jwks([&partner_key()]).to_string() });
        with(json!({ "issuer": PARTNER, "audiences": [AUDIENCE], "local_jwks": keys }), more)
    };
    let whole = |providers: Value, requires: Value| {
        json!({
            "providers": providers,
            "rules": [{ "match": { "path": "/open" } }, { "match": { "prefix": "/" }, "requires": requires }],
        })
    };
    let form = |name, config: Value, rows| Form {
        name,
        config,
        own: json!({ "unmatched": "allow" }),
        routes: None,
        rows,
    };
    let one = |name, more: Value, rows| form(name, whole(json!({ "corp": first(more) }), corp()), rows);
    let two = |name, requires: Value, rows| {
        let providers =
            json!({ "corp": first(json!({})), "partner": theirs(json!({ "from_headers": x_token() })) });
        form(name, whole(providers, requires), rows)
    };
    let both = |name, requires: Value, rows| {
        form(name, whole(json!({ "corp": first(json!({})), "partner": theirs(json!({})) }), requires), rows)
    };
    let matches = |name, matches: Value| {
        let config = json!({ "providers": { "corp": first(json!({})) }, "rules": [{ "match": matches, "requires": corp() }] });
        form(name, config, &[])
    };
    let keys = |name, keys: Value, rows| {
        let provider =
            theirs(json!({ "local_jwks": { "inline_string": json!({ "keys": keys }).to_string() } }));
        form(name, whole(json!({ "corp": provider }), corp()), rows)
    };
    let remote = |more: Value| {
        let uri = json!({ "http_uri": { "uri": idp.jwks_uri(), "cluster": "idp", "timeout": "10s" } });
        json!({ "local_jwks": null, "remote_jwks": with(uri, more) })
    };
    let without = |mut provider: Value, name: &str| {
        provider.as_object_mut().expect("a provider").remove(name);
        provider
    };
    let writes = |header: &str, claim: &str| json!([{ "header_name": header, "claim_name": claim }]);
    let jwk = |key: &Key, more: Value| with(key.public_jwk(), more);
    let without_kid = without(partner_key().public_jwk(), "kid");
    let decoy = idp.key(Alg::ES256);
    let type_of = "type.googleapis.com/envoy.extensions.filters.http.jwt_authn.v3.PerRouteConfig";
    let routes = |says: [Value; 2]| {
        let [native, own] = says;
        let native = with(json!({ "@type": type_of }), native);
        let route = |more: Value| {
            json!([with(json!({ "match": { "prefix": "/" }, "route": { "cluster": "upstream" } }), more)])
        };
        Some([
            route(json!({ "typed_per_filter_config": { "envoy.filters.http.jwt_authn": native } })),
            route(json!({ "metadata": { "filter_metadata": { "portcullis": own } } })),
        ])
    };
    let named = json!({
        "providers": { "corp": first(json!({})) },
        "requirement_map": { "staff": corp(), "guests": any(json!([corp(), { "allow_missing": {} }])) },
    });
    let mut found = vec![
        // Requirements
        both("any of two issuers", any(json!([corp(), second()])), &[]),
        two("any of two places", any(json!([corp(), second()])), SECOND_IN_X_TOKEN),
        two("all of two places", all(json!([corp(), second()])), &[]),
        two("one, or both", any(json!([corp(), all(json!([corp(), second()]))])), SECOND_IN_X_TOKEN),
        two(
            "each where it is there",
            all(json!([
                any(json!([corp(), { "allow_missing": {} }])),
                any(json!([second(), { "allow_missing": {} }]))
            ])),
            &[],
        ),
        form(
            "the same twice",
            whole(json!({ "corp": first(json!({})) }), all(json!([corp(), corp()]))),
            &[(ANY, "twice"), ("a good token", "twice")],
        ),
        form(
            "only allow_missing",
            whole(json!({ "corp": first(json!({})) }), json!({ "allow_missing": {} })),
            &[],
        ),
        form(
            "only allow_missing_or_failed",
            whole(json!({ "corp": first(json!({})) }), json!({ "allow_missing_or_failed": {} })),
            &[],
        ),
        form(
            "allow_missing of two that write",
            whole(
                json!({
                    "corp": first(json!({ "claim_to_headers": writes("x-corp", "sub") })),
                    "partner": theirs(json!({ "from_headers": x_token(), "claim_to_headers": writes("x-partner", "sub") })),
                }),
                json!({ "allow_missing": {} }),
            ),
            &[("two issuers", "first_alone"), ("a bad one in x-token beside", "any_good")],
        ),
        form(
            "audiences of the rule",
            whole(
                json!({ "corp": first(json!({})) }),
                json!({ "provider_and_audiences": { "provider_name": "corp", "audiences": ["billing", "vault"] } }),
            ),
            &[],
        ),
        // Places
        one(
            "two headers",
            json!({ "from_headers": [{ "name": "Authorization", "value_prefix": "Bearer " }, { "name": "X-Token" }] }),
            &[
                ("the same in x-token too", "several"),
                ("two issuers", "several"),
                ("a bad one in x-token beside", "several"),
            ],
        ),
        one(
            "a prefix of its own",
            json!({ "from_headers": [{ "name": "x-token", "value_prefix": "Token " }] }),
            &[],
        ),
        one("a cookie", json!({ "from_cookies": ["session"] }), &[("in a cookie", "cookie")]),
        one("a parameter", json!({ "from_params": ["token"] }), &[]),
        one("a parameter that stays", json!({ "from_params": ["token"], "forward": true }), &[]),
        // What is told
        one("forward", json!({ "forward": true }), &[]),
        one("the payload", json!({ "forward_payload_header": "x-payload" }), &[]),
        one(
            "the payload, padded",
            json!({ "forward_payload_header": "x-payload", "pad_forward_payload_header": true }),
            &[],
        ),
        one("a claim", json!({ "claim_to_headers": writes("x-user", "sub") }), &[]),
        one(
            "a claim within",
            json!({ "claimToHeaders": [{ "headerName": "x-tenant", "claimName": "org.tenant" }] }),
            &[],
        ),
        one(
            "a list and a number",
            json!({ "claim_to_headers": [
            { "header_name": "x-groups", "claim_name": "groups" }, { "header_name": "x-level", "claim_name": "level" },
        ] }),
            &[],
        ),
        one(
            "a fraction",
            json!({ "claim_to_headers": writes("x-share", "share") }),
            &[(ANY, "number"), ("a good token", "number")],
        ),
        one(
            "another route",
            json!({ "clear_route_cache": true, "claim_to_headers": writes("x-user", "sub") }),
            &[],
        ),
        // Times
        one(
            "no skew",
            json!({ "clock_skew_seconds": 0 }),
            &[("expired within the default skew", "skew_zero")],
        ),
        one("much skew", json!({ "clock_skew_seconds": 300 }), &[]),
        one("a lifetime", json!({ "max_lifetime": { "seconds": 86_400 } }), &[]),
        one(
            "no lifetime without an end",
            json!({ "require_expiration": true, "max_lifetime": "86400s" }),
            &[],
        ),
        // Issuers, audiences, subjects
        form("any audience", whole(json!({ "corp": without(first(json!({})), "audiences") }), corp()), &[]),
        form("any issuer", whole(json!({ "corp": without(first(json!({})), "issuer") }), corp()), &[]),
        one(
            "several audiences",
            json!({ "audiences": ["billing", AUDIENCE, "https://vault.example/"] }),
            &[],
        ),
        one("a subject", json!({ "subjects": { "exact": "alice" } }), &[]),
        one(
            "subjects by an expression",
            json!({ "subjects": { "safe_regex": { "regex": "ali.*|carol" } } }),
            &[],
        ),
        // Keys
        one("fetched keys", remote(json!({})), &[]),
        one("fetched keys, kept", remote(json!({ "cache_duration": { "seconds": 300 } })), &[]),
        one(
            "fetched keys, ahead",
            remote(
                json!({ "async_fetch": { "fast_listener": false }, "retry_policy": { "num_retries": 3 }, "cacheDuration": "300s" }),
            ),
            &[],
        ),
        one(
            "a cache",
            json!({ "jwt_cache_config": { "jwt_cache_size": 100, "jwt_max_token_size": 4096 } }),
            &[],
        ),
        keys(
            "a secret beside a key",
            json!([partner_key().public_jwk(), secret().public_jwk()]),
            &[("a secret's", "algorithms")],
        ),
        keys(
            "a key for encrypting",
            json!([jwk(&partner_key(), json!({ "use": "enc" })), decoy.public_jwk()]),
            &[("another issuer's", "keys")],
        ),
        keys(
            "a key without the name that another has",
            json!([without_kid, jwk(&decoy, json!({ "kid": "partner" }))]),
            &[("another issuer's", "kid")],
        ),
        // Rules
        Form {
            own: json!({}),
            ..form(
                "no rule for the rest",
                json!({ "providers": { "corp": first(json!({})) }, "rules": [{ "match": { "prefix": "/admin" }, "requires": corp() }] }),
                &[(ANY, "unmatched"), ("no token", "unmatched")],
            )
        },
        matches("an exact path", json!({ "path": "/orders" })),
        matches("an expression for the path", json!({ "safe_regex": { "regex": "/(orders|open)" } })),
        matches(
            "a method",
            json!({ "prefix": "/", "headers": [{ "name": ":method", "string_match": { "exact": "GET" } }] }),
        ),
        matches(
            "no such header",
            json!({ "prefix": "/", "headers": [{ "name": "x-n", "present_match": true, "invert_match": true }] }),
        ),
        matches(
            "a parameter",
            json!({ "prefix": "/", "query_parameters": [{ "name": "token", "present_match": true }] }),
        ),
        // The whole
        form(
            "no texts in answers",
            with(
                whole(json!({ "corp": first(json!({})) }), corp()),
                json!({ "strip_failure_response": true }),
            ),
            &[],
        ),
        form(
            "preflights pass",
            with(
                whole(json!({ "corp": first(json!({})) }), corp()),
                json!({ "bypass_cors_preflight": true }),
            ),
            &[],
        ),
        // Routes
        Form {
            routes: routes([json!({ "requirement_name": "staff" }), json!({ "requirement": "staff" })]),
            ..form("a route for staff", named.clone(), &[])
        },
        Form {
            routes: routes([json!({ "requirement_name": "guests" }), json!({ "requirement": "guests" })]),
            ..form("a route for guests", named.clone(), &[])
        },
        Form {
            own: json!({ "route_rules": { "allow_disable": true } }),
            routes: routes([json!({ "disabled": true }), json!({ "disabled": true })]),
            ..form("a route for everybody", named, &[])
        },
    ];
    found.extend(pasted::forms(idp).into_iter().map(|(name, config)| form(name, config, &[])));
    found
}

/// A request for every configuration, and the rows that it may show with any.
struct Asked {
    name: &'static str,
    request: Request,
    rows: &'static [&'static str],
}

fn requests(idp: &Idp) -> Vec<Asked> {
    let token = || {
        idp.mint()
            .claim("sub", "alice")
            .claim("org", json!({ "tenant": "acme" }))
            .claim("groups", json!(["a", "b"]))
            .claim("level", 7)
            .claim("share", 0.5)
    };
    let good = token().sign();
    let theirs = partner().sign();
    let orders = || Request::get("/orders");
    let bearer = |token: TokenBuilder| orders().bearer(&token.sign());
    let asked = |name, request, rows| Asked { name, request, rows };
    vec![
        asked("no token", orders(), &[]),
        asked("no token, open", Request::get("/open"), &[]),
        asked("a good token", orders().bearer(&good), &[]),
        asked("a good token, open", Request::get("/open").bearer(&good), &[]),
        asked("another audience", bearer(token().claim("aud", "billing")), &["failed_token"]),
        asked("two audiences", bearer(token().claim("aud", json!(["vault", "billing"]))), &["failed_token"]),
        asked("another issuer", bearer(token().claim("iss", "https://elsewhere.example")), &["failed_token"]),
        asked("another subject", bearer(token().claim("sub", "bob")), &["failed_token"]),
        asked("expired", bearer(token().expires_in(-120)), &["failed_token"]),
        asked("expired within the default skew", bearer(token().expires_in(-45)), &["failed_token"]),
        asked("far too long", bearer(token().expires_in(100_000)), &["failed_token"]),
        asked("no JWT", orders().bearer("x"), &["failed_token"]),
        asked("a number in a header", orders().header("x-n", "2"), &[]),
        asked("another scheme", orders().header("authorization", "Basic dTpw"), &[]),
        asked("in any letters", orders().header("authorization", format!("bearer {good}")), &["bearer"]),
        asked("words behind it", orders().header("authorization", format!("Bearer {good} x")), &["bearer"]),
        asked("in the query", Request::get(format!("/orders?access_token={good}")), &["places"]),
        asked("in a parameter", Request::get(format!("/orders?a=1&token={good}&b=2")), &[]),
        asked("in x-token", orders().header("x-token", &good), &["failed_token"]),
        asked("with a prefix", orders().header("x-token", format!("Token {good}")), &["failed_token"]),
        asked("in a cookie", orders().header("cookie", format!("theme=dark; session={good}")), &[]),
        asked("the same in x-token too", orders().bearer(&good).header("x-token", &good), &["other_place"]),
        asked("two issuers", orders().bearer(&good).header("x-token", &theirs), &[]),
        asked("a bad one in x-token beside", orders().bearer(&good).header("x-token", "x"), &[]),
        asked("another issuer's", orders().bearer(&theirs), &["failed_token"]),
        asked("a secret's", bearer(partner().key(&secret())), &["failed_token"]),
        asked(
            "an audience and a slash",
            bearer(token().claim("aud", format!("{AUDIENCE}/"))),
            &["audiences", "failed_token"],
        ),
        asked("no end", bearer(token().without("exp")), &["no_exp", "failed_token"]),
        asked("issued later", bearer(token().claim("iat", now() + 120)), &["iat"]),
        asked("another kind", bearer(token().header("typ", "logout+jwt")), &["kinds"]),
        asked("bound to a key", bearer(token().claim("cnf", json!({ "jkt": "x" }))), &["kinds"]),
        asked("two slashes", Request::get("/orders//1").bearer(&good), &["path"]),
        asked("lies beside a token", orders().bearer(&good).header("x-user", "mallory"), &[]),
        asked(
            "a preflight",
            Request::new("OPTIONS", "/orders")
                .header("origin", "https://a.example")
                .header("access-control-request-method", "GET"),
            &[],
        ),
    ]
}

/// The rows of the page: their ids, and what they say.
fn rows() -> BTreeMap<String, String> {
    let page = fs::read_to_string(workspace().join("docs/migration.md")).expect("the page");
    let (_, rest) = page.split_once("\n### Where the two differ\n").expect("the section");
    let section = rest.split("\n#").next().unwrap_or_default();
    let row = |line: &str| {
        let id = line.split('`').nth(1).expect("an id").to_owned();
        (id, line.to_owned())
    };
    section.lines().filter(|line| line.starts_with("| `")).map(row).collect()
}

/// What came of a request: the status, and what the upstream was told.
type Outcome = (u16, Vec<String>);

fn outcome(envoy: &Envoy, upstream: &Upstream, listener: &str, request: &Request) -> Outcome {
    let answer = request.send(envoy.addr_of(listener));
    let records = upstream.take();
    let mut told = Vec::new();
    for record in &records {
        told.push(format!("{} {}", record.method, record.path()));
        let fields = record.headers.iter().filter(|(name, _)| name != "x-request-id");
        told.extend(fields.map(|(name, value)| format!("{name}: {}", String::from_utf8_lossy(value))));
    }
    told.sort();
    (answer.status, told)
}

/// How two outcomes differ, if they do.
fn difference(native: &Outcome, own: &Outcome) -> Option<Shows> {
    match (native.0 == 200, own.0 == 200) {
        (true, true) => (native.1 != own.1).then_some(Fields),
        (true, false) => Some(Stricter),
        (false, true) => Some(Looser),
        (false, false) => (native.0 != own.0).then_some(Status),
    }
}

/// Whether a row says that a status is another: the answer's own row speaks of 401 for another audience.
fn is_status(row: &str, native: &Outcome, own: &Outcome) -> bool {
    match row {
        "answer" => (native.0, own.0) == (403, 401),
        _ => own.0 == 400,
    }
}

#[test]
fn sixty_configurations_are_judged_as_jwt_authn_judges_them_but_for_the_rows_of_the_page() {
    let (idp, upstream) = (common::idp(), Upstream::start());
    let forms = forms(&idp);
    assert!(forms.len() >= 60, "{} configurations", forms.len());
    let mut builder = Envoy::builder().upstream(&upstream).idp("idp", &idp);
    for (at, form) in forms.iter().enumerate() {
        let own = Wasm::portcullis(with(form.config.clone(), form.own.clone())).name(&format!("own-{at}"));
        let filters = [("native", Filter::JwtAuthn(form.config.clone())), ("own", own.into())];
        for (which, (whose, filter)) in filters.into_iter().enumerate() {
            let mut listener = Listener::new(&format!("{whose}-{at}")).without_access_log().filter(filter);
            if let Some(routes) = &form.routes {
                listener = listener.routes(routes[which].clone());
            }
            builder = builder.listener(listener);
        }
    }
    let envoy = builder.start().unwrap_or_else(|error| panic!("{error}"));
    let (mut wrong, mut shown, mut compared) = (Vec::new(), BTreeSet::new(), 0);
    for (at, form) in forms.iter().enumerate() {
        // Made for each, so that what is almost too old stays so.
        for asked in &requests(&idp) {
            let of = |whose: &str| outcome(&envoy, &upstream, &format!("{whose}-{at}"), &asked.request);
            let (native, own) = (of("native"), of("own"));
            compared += 1;
            let of = |whose: &str| -> Vec<&str> {
                form.rows.iter().filter(|(name, _)| *name == whose).map(|(_, row)| *row).collect()
            };
            let meant = of(asked.name);
            let Some(shows) = difference(&native, &own) else {
                if !meant.is_empty() {
                    wrong.push(format!("{}, {}: {meant:?} does not show", form.name, asked.name));
                }
                continue;
            };
            let fits = |row: &&str| {
                let known = SHOWN.iter().any(|(id, ways)| id == row && ways.contains(&shows));
                known && (shows != Status || is_status(row, &native, &own))
            };
            let rows = if meant.is_empty() { [&of(ANY), asked.rows, &["answer"]].concat() } else { meant };
            match rows.into_iter().find(fits) {
                Some(row) => _ = shown.insert(row),
                None => {
                    let only = |one: &Outcome, other: &Outcome| {
                        let fields = one.1.iter().filter(|field| !other.1.contains(field));
                        fields.map(|field| field.chars().take(50).collect()).collect::<Vec<String>>()
                    };
                    wrong.push(format!(
                        "{}, {}: {shows:?}: jwt_authn {} {:?}, Portcullis {} {:?}",
                        form.name,
                        asked.name,
                        native.0,
                        only(&native, &own),
                        own.0,
                        only(&own, &native)
                    ));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{} of {compared}:\n{}", wrong.len(), wrong.join("\n"));
    for (row, _) in SHOWN {
        assert!(shown.contains(row), "nothing shows the row {row:?}");
    }
    common::assert_sound(&envoy);
}

#[test]
fn the_rows_of_the_page_are_those_that_tests_show() {
    let page: BTreeSet<String> = rows().into_keys().collect();
    let ids = [
        SHOWN.iter().map(|(id, _)| *id).collect(),
        REFUSED.iter().map(|(id, _)| *id).collect(),
        ELSEWHERE.iter().map(|(id, _)| *id).collect::<Vec<_>>(),
    ];
    let tested: BTreeSet<String> = ids.concat().into_iter().map(str::to_owned).collect();
    assert_eq!(page, tested, "the ids on the page, and those of the tests");
    for (id, file) in ELSEWHERE {
        assert!(workspace().join(file).is_file(), "{id}: there is no {file}");
    }
    for (id, config) in REFUSED {
        let problems = Config::parse(config.as_bytes(), &|_| None).expect_err("refused");
        let says = |text: &str| problems.iter().any(|problem| problem.message.contains(text));
        assert!(says("cannot be done in a wasm filter; "), "{id}: {problems:#?}");
        let field = problems.iter().find(|problem| problem.message.contains("wasm filter")).expect("said");
        let name = field.path.rsplit('.').next().unwrap_or_default();
        assert!(
            rows()[*id].contains(&format!("`{name}`")) || rows()[*id].contains(&format!("{name}`")),
            "{id}: {name}"
        );
    }
}
