//! What a rule asks for and what a request brings: every form of `requires`, places of tokens, report mode, rules on
//! routes, TLS, and providers without keys. Decisions alone, with a clock of their own; no proxy.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use harness::idp::{flip_bit, jwks, now};
use harness::{Alg, Key, TokenBuilder};
use portcullis::{
    Allow, Config, Effect, Environment, FetchError, FilterStateField, Gate, HostProperties, HttpResponse,
    LookupId, Outcome, ProviderId, Request, RouteMetadataValue as Metadata, StreamId, Timestamp, Waited,
};
use serde_json::{Value, json};

fn key(name: &str) -> Key {
    Key::cached(Alg::ES256, name)
}

fn issuer(name: &str) -> String {
    format!("https://{name}.example/")
}

/// A token of the provider `name`, for somebody who is called after it.
fn token(name: &str) -> TokenBuilder {
    TokenBuilder::new(&key(name), &issuer(name), "orders").claim("sub", format!("sub-of-{name}"))
}

/// A provider with its keys at hand, which writes two headers: one that all write, and one of its own.
fn provider(name: &str, more: Value) -> Value {
    let mut provider = json!({
        "issuer": issuer(name),
        "audiences": ["orders"],
        "local_jwks": { "inline": jwks([&key(name)]) },
        "claim_to_headers": [
            { "header_name": "x-user", "claim_name": "sub" },
            { "header_name": format!("x-{name}"), "claim_name": "iss" },
        ],
    });
    for (field, value) in more.as_object().expect("members") {
        provider[field] = value.clone();
    }
    provider
}

/// The same with its keys far away.
fn remote(name: &str, more: Value) -> Value {
    let mut provider = provider(name, more);
    provider.as_object_mut().expect("an object").remove("local_jwks");
    let uri = format!("{}jwks.json", issuer(name));
    provider["remote_jwks"] = json!({ "http_uri": { "uri": uri, "cluster": name, "timeout": "5s" } });
    provider
}

/// `a` and `b` share the usual place; `c` has three of its own; `d` has one, and lets its token pass on.
fn providers() -> Value {
    json!({
        "a": provider("a", json!({})),
        "b": provider("b", json!({})),
        "c": provider("c", json!({
            "from_headers": [{ "name": "X-Token" }],
            "from_cookies": ["session"],
            "from_params": ["access_token"],
        })),
        "d": provider("d", json!({ "from_headers": [{ "name": "x-d-token", "value_prefix": "D " }], "forward": true })),
    })
}

/// `e` and `f`, which share a place and let their tokens pass on.
fn sharers() -> Value {
    let shared = json!({ "from_headers": [{ "name": "x-token" }], "forward": true });
    json!({ "e": provider("e", shared.clone()), "f": provider("f", shared) })
}

/// A gate, its clock, and the requests that wait in it.
struct Desk {
    gate: Gate,
    now: Timestamp,
    streams: u32,
}

/// The surroundings of a request that a test makes up.
#[derive(Default)]
struct Around {
    tls: bool,
    metadata: BTreeMap<&'static str, Metadata>,
    /// What was asked for.
    asked: RefCell<Vec<String>>,
}

impl HostProperties for Around {
    fn is_tls(&self) -> bool {
        self.tls
    }

    fn client_address(&self) -> Option<String> {
        None
    }

    fn route_metadata(&self, key: &str) -> Metadata {
        self.asked.borrow_mut().push(key.to_owned());
        self.metadata.get(key).cloned().unwrap_or(Metadata::Absent)
    }
}

type Fields = Vec<(String, String)>;

fn fields(method: &str, path: &str, more: &[(&str, &str)]) -> Fields {
    let mut all = vec![(":method", method), (":path", path), (":authority", "api.example")];
    all.extend(more);
    all.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

impl Desk {
    #[track_caller]
    fn new(config: &Value) -> Self {
        let text = config.to_string();
        let config = Config::parse(text.as_bytes(), &|_| None).unwrap_or_else(|errors| panic!("{errors:?}"));
        let now = Timestamp::from_secs(u64::try_from(now()).expect("a clock after 1970"));
        Self { gate: Gate::new(config, Environment::alone(1), now), now, streams: 0 }
    }

    fn of(rules: Value) -> Self {
        Self::new(&json!({ "providers": providers(), "rules": rules }))
    }

    fn ask(&mut self, fields: &Fields) -> Outcome {
        self.ask_within(fields, &Around::default())
    }

    fn ask_within(&mut self, fields: &Fields, around: &Around) -> Outcome {
        self.streams += 1;
        let (stream, now) = (StreamId(self.streams), self.now);
        with_request(fields, around, |request| self.gate.decide(stream, request, now))
    }

    fn resume(&mut self, fields: &Fields, (stream, waited): (StreamId, Waited)) -> Outcome {
        let now = self.now;
        with_request(fields, &Around::default(), |request| self.gate.resume(stream, waited, request, now))
    }

    /// Lets time pass, and does what is then due: the providers to be asked, the requests to be woken.
    fn pass(&mut self, seconds: u64) -> (Vec<ProviderId>, Vec<(StreamId, Waited)>) {
        self.now = self.now.plus(Duration::from_secs(seconds));
        self.gate.tick(self.now);
        self.due()
    }

    fn due(&mut self) -> (Vec<ProviderId>, Vec<(StreamId, Waited)>) {
        let (mut fetches, mut woken) = (Vec::new(), Vec::new());
        while let Some(effect) = self.gate.next_effect() {
            match effect {
                Effect::Fetch { lookup, .. } => fetches.push(self.provider_of(lookup)),
                Effect::Wake(stream, waited) => woken.push((stream, waited)),
                Effect::Close(_) | Effect::Log(..) => {}
            }
        }
        (fetches, woken)
    }

    /// Whose keys these are.
    fn provider_of(&self, lookup: LookupId) -> ProviderId {
        let ids = (0..self.gate.config().providers.len()).map(ProviderId);
        ids.into_iter().find(|id| self.gate.keys_lookup(*id) == Some(lookup)).expect("keys of a provider")
    }

    /// A provider answers with its keys, or fails; who waited for it is woken.
    fn answer(&mut self, id: ProviderId, keys: Option<&Key>) -> Vec<(StreamId, Waited)> {
        let answer = match keys {
            Some(key) => Ok(HttpResponse {
                status: 200,
                body: jwks([key]).to_string().into_bytes(),
                ..HttpResponse::default()
            }),
            None => Err(FetchError::Status(500)),
        };
        let lookup = self.gate.keys_lookup(id).expect("a remote source");
        self.gate.fetched(lookup, answer, self.now);
        self.due().1
    }

    /// The id of the provider of that name.
    fn id(&self, name: &str) -> ProviderId {
        let names: Vec<&str> =
            self.gate.config().providers.iter().map(|provider| provider.name.as_str()).collect();
        ProviderId(names.iter().position(|own| *own == name).unwrap_or_else(|| panic!("{name} in {names:?}")))
    }
}

fn with_request<T>(fields: &Fields, around: &Around, act: impl FnOnce(&Request<'_>) -> T) -> T {
    let fields: Vec<_> = fields.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes())).collect();
    act(&Request::new(&fields).within(around))
}

/// An outcome in a word: the reason of a refusal, or the provider of whoever is let in, `-` for nobody, with `~`
/// before both where the rule only reports.
fn told(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Answer(_) => panic!("no resource is configured"),
        Outcome::Wait => "wait".to_owned(),
        Outcome::Deny(refusal) => {
            assert_eq!(refusal.state.get(FilterStateField::Decision), Some("deny"));
            assert_eq!(refusal.state.get(FilterStateField::Reason), Some(refusal.response.reason.as_str()));
            refusal.response.reason.as_str().to_owned()
        }
        Outcome::Allow(allow) => {
            let state = |entry| allow.state.get(entry);
            match state(FilterStateField::Decision) {
                Some("would_deny") => format!("~{}", state(FilterStateField::Reason).unwrap_or("no reason")),
                Some("allow") => {
                    assert_eq!(state(FilterStateField::Reason), None);
                    let who = state(FilterStateField::Provider);
                    let subject = who.map(|name| format!("sub-of-{name}"));
                    assert_eq!(
                        state(FilterStateField::Subject),
                        subject.as_deref(),
                        "the subject is that provider's"
                    );
                    who.unwrap_or("-").to_owned()
                }
                other => panic!("a decision {other:?}"),
            }
        }
    }
}

#[track_caller]
fn allowed(outcome: Outcome) -> Allow {
    match outcome {
        Outcome::Allow(allow) => allow,
        other => panic!("{other:?}"),
    }
}

/// What is left of the cookies where a token was among them.
fn cookies_left(allow: &Allow) -> Option<String> {
    let text = |field: &Vec<u8>| String::from_utf8_lossy(field).into_owned();
    let fields: Vec<String> = allow.left_of("cookie")?.iter().map(text).collect();
    Some(fields.join("; "))
}

fn removed(allow: &Allow) -> Vec<String> {
    let mut names: Vec<_> =
        allow.remove.iter().map(|name| String::from_utf8_lossy(name).into_owned()).collect();
    names.sort();
    names
}

fn added(allow: &Allow) -> Vec<(String, String)> {
    allow.added().map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

/// What a request may bring, by name.
fn brought(what: &str) -> Fields {
    let bearer = |token: String| ("authorization", format!("Bearer {token}"));
    let fields_of = match what {
        "nothing" => vec![],
        "a" => vec![bearer(token("a").sign())],
        "b" => vec![bearer(token("b").sign())],
        "c" => vec![("x-token", token("c").sign())],
        "a c" => vec![bearer(token("a").sign()), ("x-token", token("c").sign())],
        "b c" => vec![bearer(token("b").sign()), ("x-token", token("c").sign())],
        "bad a" => vec![bearer(flip_bit(&token("a").sign()))],
        "bad a, c" => vec![bearer(flip_bit(&token("a").sign())), ("x-token", token("c").sign())],
        "a, bad c" => vec![bearer(token("a").sign()), ("x-token", flip_bit(&token("c").sign()))],
        "old a" => vec![bearer(token("a").expires_in(-100).sign())],
        // Of its issuer, by the key of another.
        "a by b" => vec![bearer(token("a").key(&key("b")).kid("a").sign())],
        "stranger" => vec![bearer(token("stranger").sign())],
        "a for billing" => vec![bearer(token("a").claim("aud", "billing").sign())],
        "no token" => vec![("authorization", "Bearer x".to_owned())],
        "basic" => vec![("authorization", "Basic dTpw".to_owned())],
        "two" => vec![bearer(token("a").sign()), bearer(token("b").sign())],
        other => panic!("{other}"),
    };
    let fields_of: Vec<_> = fields_of.iter().map(|(name, value)| (*name, value.as_str())).collect();
    fields("GET", "/x", &fields_of)
}

const BROUGHT: [&str; 16] = [
    "nothing",
    "a",
    "b",
    "c",
    "a c",
    "b c",
    "bad a",
    "bad a, c",
    "a, bad c",
    "old a",
    "a by b",
    "stranger",
    "a for billing",
    "no token",
    "basic",
    "two",
];

/// A requirement, and what comes of each of [`BROUGHT`].
struct Row {
    requires: Value,
    comes: [&'static str; 16],
}

fn any(parts: Value) -> Value {
    json!({ "requires_any": { "requirements": parts } })
}

fn all(parts: Value) -> Value {
    json!({ "requires_all": { "requirements": parts } })
}

fn of(name: &str) -> Value {
    json!({ "provider_name": name })
}

fn missing() -> Value {
    json!({ "allow_missing": {} })
}

fn failed() -> Value {
    json!({ "allow_missing_or_failed": {} })
}

const NONE: &str = "token_missing";
const ISSUER: &str = "issuer_unknown";
const SIGNATURE: &str = "signature_invalid";
const AUDIENCE: &str = "audience_mismatch";
const SHAPE: &str = "token_malformed";
const SEVERAL: &str = "token_multiple";

#[rustfmt::skip]
fn table() -> Vec<Row> {
    let row = |requires: Value, comes| Row { requires, comes };
    vec![
        //  nothing a      b       c     a c     b c     bad a      bad a, c   a, bad c   old a      a by b     stranger billing   no token basic  two
        row(of("a"),
            [NONE, "a",    ISSUER, NONE, "a",    ISSUER, SIGNATURE, SIGNATURE, "a",       "expired", SIGNATURE, ISSUER, AUDIENCE, SHAPE,  NONE,   SEVERAL]),
        row(of("c"),
            [NONE, NONE,   NONE,   "c",  "c",    "c",    NONE,      "c",       SIGNATURE, NONE,      NONE,      NONE,   NONE,     NONE,   NONE,   NONE]),
        row(json!({ "provider_and_audiences": { "provider_name": "a", "audiences": ["billing", "x"] } }),
            [NONE, AUDIENCE, ISSUER, NONE, AUDIENCE, ISSUER, AUDIENCE, AUDIENCE, AUDIENCE, "expired", AUDIENCE, ISSUER, "a",   SHAPE,  NONE,   SEVERAL]),
        // Of several failures the one that says most.
        row(any(json!([of("a"), of("b")])),
            [NONE, "a",    "b",    NONE, "a",    "b",    SIGNATURE, SIGNATURE, "a",       "expired", SIGNATURE, ISSUER, AUDIENCE, SHAPE,  NONE,   SEVERAL]),
        row(any(json!([of("b"), of("a")])),
            [NONE, "a",    "b",    NONE, "a",    "b",    SIGNATURE, SIGNATURE, "a",       "expired", SIGNATURE, ISSUER, AUDIENCE, SHAPE,  NONE,   SEVERAL]),
        // The first that holds speaks.
        row(any(json!([of("a"), of("c")])),
            [NONE, "a",    ISSUER, "c",  "a",    "c",    SIGNATURE, "c",       "a",       "expired", SIGNATURE, ISSUER, AUDIENCE, SHAPE,  NONE,   SEVERAL]),
        row(any(json!([of("c"), of("a")])),
            [NONE, "a",    ISSUER, "c",  "c",    "c",    SIGNATURE, "c",       "a",       "expired", SIGNATURE, ISSUER, AUDIENCE, SHAPE,  NONE,   SEVERAL]),
        // One provider with two audiences, each of its own.
        row(any(json!([of("a"), { "provider_and_audiences": { "provider_name": "a", "audiences": ["billing"] } }])),
            [NONE, "a",    ISSUER, NONE, "a",    ISSUER, SIGNATURE, SIGNATURE, "a",       "expired", SIGNATURE, ISSUER, "a",      SHAPE,  NONE,   SEVERAL]),
        row(all(json!([of("a"), of("c")])),
            [NONE, NONE,   ISSUER, NONE, "a",    ISSUER, SIGNATURE, SIGNATURE, SIGNATURE, "expired", SIGNATURE, ISSUER, AUDIENCE, SHAPE,  NONE,   SEVERAL]),
        row(all(json!([of("c"), of("a")])),
            [NONE, NONE,   NONE,   NONE, "c",    ISSUER, NONE,      SIGNATURE, SIGNATURE, NONE,      NONE,      NONE,   NONE,     NONE,   NONE,   NONE]),
        // One token cannot be of two.
        row(all(json!([of("a"), of("b")])),
            [NONE, ISSUER, ISSUER, NONE, ISSUER, ISSUER, SIGNATURE, SIGNATURE, ISSUER,    "expired", SIGNATURE, ISSUER, AUDIENCE, SHAPE,  NONE,   SEVERAL]),
        // Whoever it is of; what is there must hold.
        row(missing(),
            ["-",  "a",    "b",    "c",  "a",    "b",    SIGNATURE, SIGNATURE, SIGNATURE, "expired", SIGNATURE, ISSUER, AUDIENCE, SHAPE,  "-",    SEVERAL]),
        row(failed(),
            ["-",  "a",    "b",    "c",  "a",    "b",    "-",       "c",       "a",       "-",       "-",       "-",    "-",      "-",    "-",    "-"]),
        // Within a list, the providers of the list.
        row(any(json!([of("a"), missing()])),
            ["-",  "a",    ISSUER, "-",  "a",    ISSUER, SIGNATURE, SIGNATURE, "a",       "expired", SIGNATURE, ISSUER, AUDIENCE, SHAPE,  "-",    SEVERAL]),
        row(any(json!([missing(), of("a")])),
            ["-",  "a",    ISSUER, "-",  "a",    ISSUER, SIGNATURE, SIGNATURE, "a",       "expired", SIGNATURE, ISSUER, AUDIENCE, SHAPE,  "-",    SEVERAL]),
        row(any(json!([of("a"), of("b"), of("c"), missing()])),
            ["-",  "a",    "b",    "c",  "a",    "b",    SIGNATURE, "c",       "a",       "expired", SIGNATURE, ISSUER, AUDIENCE, SHAPE,  "-",    SEVERAL]),
        row(any(json!([of("a"), failed()])),
            ["-",  "a",    "-",    "-",  "a",    "-",    "-",       "-",       "a",       "-",       "-",       "-",    "-",      "-",    "-",    "-"]),
        row(any(json!([of("a"), of("c"), failed()])),
            ["-",  "a",    "-",    "c",  "a",    "c",    "-",       "c",       "a",       "-",       "-",       "-",    "-",      "-",    "-",    "-"]),
        row(any(json!([all(json!([of("a"), of("c")])), of("b")])),
            [NONE, ISSUER, "b",    NONE, "a",    "b",    SIGNATURE, SIGNATURE, SIGNATURE, "expired", SIGNATURE, ISSUER, AUDIENCE, SHAPE,  NONE,   SEVERAL]),
        row(all(json!([any(json!([of("a"), of("b")])), any(json!([of("c"), missing()]))])),
            [NONE, "a",    "b",    NONE, "a",    "b",    SIGNATURE, SIGNATURE, SIGNATURE, "expired", SIGNATURE, ISSUER, AUDIENCE, SHAPE,  NONE,   SEVERAL]),
        // The shape that Istio writes for two issuers.
        row(any(json!([of("a"), of("c"), all(json!([any(json!([of("a"), missing()])), any(json!([of("c"), missing()]))]))])),
            ["-",  "a",    ISSUER, "c",  "a",    "c",    SIGNATURE, "c",       "a",       "expired", SIGNATURE, ISSUER, AUDIENCE, SHAPE,  "-",    SEVERAL]),
    ]
}

#[test]
fn a_requirement_is_met_or_not_whatever_a_request_brings() {
    let (mut wrong, mut asked) = (Vec::new(), 0);
    for Row { requires, comes } in table() {
        // In the rule, and by its name in the map.
        let by_name = json!({
            "providers": providers(),
            "requirement_map": { "it": requires, "other": of("d") },
            "rules": [{ "match": { "prefix": "/" }, "requirement_name": "it" }],
        });
        let own = json!([{ "match": { "prefix": "/" }, "requires": requires }]);
        for (form, mut desk) in [("requires", Desk::of(own)), ("requirement_name", Desk::new(&by_name))] {
            for (what, expected) in BROUGHT.iter().zip(comes) {
                // Once as a token seen for the first time, once as one that is remembered.
                for time in ["first", "second"] {
                    let got = told(&desk.ask(&brought(what)));
                    asked += 1;
                    if got != expected {
                        wrong.push(format!("{form} {requires}: {what}, {time}: {got}, not {expected}"));
                    }
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{} of {asked}:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn what_holds_is_told_and_what_was_brought_is_taken_away() {
    // Requirement, what is brought, what is written, what is taken away.
    for (requires, what, written, taken) in [
        (of("a"), "a", &["x-user sub-of-a", "x-a https://a.example/"][..], &["authorization"][..]),
        (of("a"), "a c", &["x-user sub-of-a", "x-a https://a.example/"], &["authorization"]),
        (
            any(json!([of("a"), of("c")])),
            "a c",
            &["x-user sub-of-a", "x-a https://a.example/"],
            &["authorization", "x-token"],
        ),
        (
            any(json!([of("a"), of("c")])),
            "bad a, c",
            &["x-user sub-of-c", "x-c https://c.example/"],
            &["authorization", "x-token"],
        ),
        // Of two tokens that would write one header, the first does.
        (
            all(json!([of("a"), of("c")])),
            "a c",
            &["x-user sub-of-a", "x-a https://a.example/", "x-c https://c.example/"],
            &["authorization", "x-token"],
        ),
        (
            all(json!([of("c"), of("a")])),
            "a c",
            &["x-user sub-of-c", "x-c https://c.example/", "x-a https://a.example/"],
            &["authorization", "x-token"],
        ),
        (missing(), "nothing", &[], &[]),
        (missing(), "b", &["x-user sub-of-b", "x-b https://b.example/"], &["authorization"]),
        (failed(), "bad a", &[], &["authorization"]),
        (failed(), "bad a, c", &["x-user sub-of-c", "x-c https://c.example/"], &["authorization", "x-token"]),
        (failed(), "two", &[], &["authorization"]),
        // Another scheme is no token that was not judged.
        (failed(), "basic", &[], &[]),
        (missing(), "basic", &[], &[]),
        // Nobody asked for two: one of them speaks, and both are taken away.
        (missing(), "a c", &["x-user sub-of-a", "x-a https://a.example/"], &["authorization", "x-token"]),
        (failed(), "b c", &["x-user sub-of-b", "x-b https://b.example/"], &["authorization", "x-token"]),
        (any(json!([of("a"), failed()])), "stranger", &[], &["authorization"]),
    ] {
        let mut desk = Desk::of(json!([{ "match": { "prefix": "/" }, "requires": requires }]));
        let mut fields = brought(what);
        // Whatever comes of it, nobody else writes these.
        for name in ["x-user", "X_User", "x-b", "x-other"] {
            fields.push((name.to_owned(), "mallory".to_owned()));
        }
        let allow = allowed(desk.ask(&fields));
        let got: Vec<String> = added(&allow).iter().map(|(name, value)| format!("{name} {value}")).collect();
        assert_eq!(got, written, "{requires}: {what}");
        let mut expected: Vec<&str> = taken.to_vec();
        expected.extend(["X_User", "x-b", "x-user"]);
        expected.sort_unstable();
        assert_eq!(removed(&allow), expected, "{requires}: {what}");
    }
}

#[test]
fn a_token_is_taken_from_its_place_and_from_there_alone() {
    let mut desk = Desk::of(json!([
        { "match": { "prefix": "/c" }, "requires": of("c") },
        { "match": { "prefix": "/d" }, "requires": of("d") },
        { "match": { "prefix": "/failed" }, "requires": any(json!([of("c"), of("d"), failed()])) },
        { "match": { "prefix": "/" } },
    ]));
    let (c, d) = (token("c").sign(), token("d").sign());
    let bad = flip_bit(&d);
    let cookie = |token: &str| format!("theme=dark; session={token}; lang=\"en\"");
    let text =
        |bytes: &Option<Vec<u8>>| bytes.as_ref().map(|bytes| String::from_utf8_lossy(bytes).into_owned());
    let d_prefixed = format!("D {d}");
    let bad_prefixed = format!("D {bad}");
    let misled = format!("D {}", token("d").claim("aud", "billing").sign());
    for (path, more, who, taken, cookies, target) in [
        ("/c?x=1".to_owned(), vec![("x-token", c.as_str())], "c", &["x-token"][..], None, None),
        ("/c?x=1".to_owned(), vec![("cookie", &cookie(&c))], "c", &[], Some("theme=dark; lang=\"en\""), None),
        ("/c".to_owned(), vec![("cookie", &format!("session={c}"))], "c", &[], Some(""), None),
        // HTTP/1 brings several fields.
        (
            "/c".to_owned(),
            vec![("cookie", "a=b"), ("cookie", &format!("session={c}")), ("cookie", "c=d")],
            "c",
            &[],
            Some("a=b; c=d"),
            None,
        ),
        (format!("/c?x=1&access_token={c}&y=2"), vec![], "c", &[], None, Some("/c?x=1&y=2")),
        (format!("/c?access%5Ftoken={c}"), vec![], "c", &[], None, Some("/c")),
        // Other places, and other names, are left alone.
        (
            "/c".to_owned(),
            vec![("x-token", &c), ("authorization", "Basic dTpw"), ("cookie", "xsession=1")],
            "c",
            &["x-token"],
            None,
            None,
        ),
        // What is to be forwarded stays, unless it failed.
        ("/d".to_owned(), vec![("x-d-token", &d_prefixed)], "d", &[], None, None),
        ("/failed".to_owned(), vec![("x-d-token", &d_prefixed)], "d", &[], None, None),
        ("/failed".to_owned(), vec![("x-d-token", &bad_prefixed)], "-", &["x-d-token"], None, None),
        ("/failed".to_owned(), vec![("x-d-token", &misled)], "-", &["x-d-token"], None, None),
        // Another scheme in that place is no token.
        ("/failed".to_owned(), vec![("x-d-token", "Basic dTpw")], "-", &[], None, None),
        // Where nothing is asked for, nothing is taken.
        (
            format!("/public?access_token={c}"),
            vec![("x-token", &c), ("cookie", &cookie(&c))],
            "-",
            &[],
            None,
            None,
        ),
    ] {
        let outcome = desk.ask(&fields("GET", &path, &more));
        assert_eq!(told(&outcome), who, "{path} {more:?}");
        let allow = allowed(outcome);
        assert_eq!(removed(&allow), taken, "{path} {more:?}");
        assert_eq!(cookies_left(&allow).as_deref(), cookies, "{path} {more:?}");
        assert_eq!(text(&allow.target).as_deref(), target, "{path} {more:?}");
    }
    // Of two providers that look at one token, one does not know it; it has not failed for all that.
    for requires in [
        any(json!([of("e"), of("f")])),
        any(json!([of("f"), of("e"), failed()])),
        missing(),
        failed(),
        any(
            json!([{ "provider_and_audiences": { "provider_name": "f", "audiences": ["billing"] } }, of("f")]),
        ),
    ] {
        let rules = json!([{ "match": { "prefix": "/" }, "requires": requires }]);
        let mut desk = Desk::new(&json!({ "providers": sharers(), "rules": rules }));
        let good = token("f").sign();
        let outcome = desk.ask(&fields("GET", "/", &[("x-token", &good)]));
        assert_eq!(told(&outcome), "f", "{requires}");
        assert_eq!(removed(&allowed(outcome)), [""; 0], "{requires}: it is to be forwarded");
        let outcome = desk.ask(&fields("GET", "/", &[("x-token", &flip_bit(&good))]));
        if let Outcome::Allow(allow) = outcome {
            assert_eq!(removed(&allow), ["x-token"], "{requires}: it failed");
        }
    }
    let session = cookie(&c);
    // An empty cookie is no second token, and goes with the first.
    let outcome = desk.ask(&fields("GET", "/c", &[("cookie", &session), ("cookie", "session=")]));
    assert_eq!(told(&outcome), "c");
    assert_eq!(cookies_left(&allowed(outcome)).as_deref(), Some("theme=dark; lang=\"en\""));
    // Two of the places, or one of them twice (RFC 6750 section 2).
    for (path, more) in [
        (format!("/c?access_token={c}"), vec![("x-token", c.as_str())]),
        (format!("/c?access_token={c}"), vec![("cookie", session.as_str())]),
        ("/c".to_owned(), vec![("x-token", &c), ("cookie", &session)]),
        (format!("/c?access_token={c}&access_token={c}"), vec![]),
        (format!("/c?access_token={c}&access%5ftoken="), vec![]),
        ("/c".to_owned(), vec![("x-token", &c), ("x-token", &c)]),
        ("/c".to_owned(), vec![("x-token", &c), ("X-Token", "")]),
        ("/c".to_owned(), vec![("cookie", &session), ("cookie", &session)]),
    ] {
        assert_eq!(told(&desk.ask(&fields("GET", &path, &more))), SEVERAL, "{path} {more:?}");
    }
}

#[test]
fn whoever_may_be_nobody_must_still_be_somebody_to_be_authorized() {
    let scopes = json!({ "scopes": { "all_of": ["read"] } });
    let mut desk = Desk::of(json!([
        { "match": { "prefix": "/missing" }, "requires": any(json!([of("a"), missing()])), "authorize": scopes },
        { "match": { "prefix": "/failed" }, "requires": any(json!([of("a"), failed()])), "authorize": scopes },
        { "match": { "prefix": "/none" }, "requires": any(json!([of("a"), missing()])),
          "authorize": { "scopes": { "none_of": ["trial"] } } },
        // Of two tokens, the first speaks.
        { "match": { "prefix": "/both" }, "requires": all(json!([of("a"), of("c")])), "authorize": scopes },
    ]));
    let bearer = |token: String| ("authorization", format!("Bearer {token}"));
    let reads = || bearer(token("a").claim("scope", "read").sign());
    let plain = || bearer(token("a").sign());
    let c_reads = || ("x-token", token("c").claim("scope", "read").sign());
    let c = || ("x-token", token("c").sign());
    for (path, brought, expected, scope) in [
        ("/missing", vec![], NONE, Some("read")),
        ("/missing", vec![reads()], "a", None),
        ("/missing", vec![plain()], "scope_insufficient", Some("read")),
        ("/missing", vec![bearer("x".to_owned())], SHAPE, Some("read")),
        ("/failed", vec![], NONE, Some("read")),
        ("/failed", vec![reads()], "a", None),
        ("/failed", vec![bearer(flip_bit(&reads().1[7..]))], SIGNATURE, Some("read")),
        ("/failed", vec![bearer(token("a").claim("aud", "billing").sign())], AUDIENCE, Some("read")),
        ("/none", vec![], NONE, None),
        ("/none", vec![plain()], "a", None),
        ("/none", vec![bearer(token("a").claim("scope", "trial").sign())], "scope_insufficient", None),
        ("/both", vec![reads(), c()], "a", None),
        ("/both", vec![plain(), c_reads()], "scope_insufficient", Some("read")),
    ] {
        let brought: Vec<_> = brought.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let outcome = desk.ask(&fields("GET", path, &brought));
        assert_eq!(told(&outcome), expected, "{path}");
        if let Outcome::Deny(refusal) = outcome {
            assert_eq!(refusal.response.scope.as_deref(), scope, "{path} {expected}");
            assert_eq!(refusal.response.verified, expected == "scope_insufficient", "{path} {expected}");
        }
    }
}

#[test]
fn a_rule_that_reports_lets_everything_through_as_it_came() {
    let config = json!({
        "providers": { "a": provider("a", json!({
            "from_headers": [{ "name": "Authorization", "value_prefix": "Bearer " }],
            "from_cookies": ["session"],
            "from_params": ["t"],
        })), "far": remote("far", json!({})) },
        "rules": [
            { "name": "report", "match": { "prefix": "/a" }, "requires": of("a"), "mode": "report",
              "authorize": { "scopes": { "all_of": ["read"] } } },
            { "name": "far", "match": { "prefix": "/far" }, "requires": of("far"), "mode": "report" },
            { "name": "enforce", "match": { "prefix": "/" }, "requires": of("a") },
        ],
    });
    let mut desk = Desk::new(&config);
    let good = token("a").claim("scope", "read").sign();
    let poor = token("a").sign();
    let bearer = |token: &str| ("authorization".to_owned(), format!("Bearer {token}"));
    let cookie = |token: &str| ("cookie".to_owned(), format!("session={token}"));
    for (path, brought, expected, writes) in [
        ("/a".to_owned(), vec![], "~token_missing", false),
        ("/a".to_owned(), vec![bearer(&good)], "a", true),
        ("/a".to_owned(), vec![cookie(&good)], "a", true),
        (format!("/a?t={good}"), vec![], "a", true),
        ("/a".to_owned(), vec![bearer(&poor)], "~scope_insufficient", false),
        ("/a".to_owned(), vec![bearer(&flip_bit(&good))], "~signature_invalid", false),
        ("/a".to_owned(), vec![bearer("x")], "~token_malformed", false),
        ("/a".to_owned(), vec![bearer(&good), cookie(&good)], "~token_multiple", false),
        (format!("/a?t={poor}"), vec![], "~scope_insufficient", false),
        // It waits for nothing, for it is let through anyway.
        ("/far".to_owned(), vec![bearer(&token("far").sign())], "~keys_unavailable", false),
        ("/enforced".to_owned(), vec![], NONE, false),
    ] {
        let brought: Vec<_> = brought.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        let spoofed = [("x-user", "mallory"), ("X_A", "mallory")];
        let outcome = desk.ask(&fields("GET", &path, &[&brought[..], &spoofed].concat()));
        assert_eq!(told(&outcome), expected, "{path}");
        let Outcome::Allow(allow) = outcome else { continue };
        assert_eq!(
            removed(&allow),
            ["X_A", "x-user"],
            "{path} {expected}: the token stays, the lie does not"
        );
        assert_eq!((allow.left.len(), &allow.target), (0, &None), "{path} {expected}");
        assert_eq!(!added(&allow).is_empty(), writes, "{path} {expected}");
    }
}

#[test]
fn a_preflight_passes_where_it_is_told_to_and_nothing_else_does() {
    for bypass in [true, false] {
        let config = json!({
            "providers": providers(),
            "rules": [{ "match": { "prefix": "/" }, "requires": of("a") }],
            "bypass_cors_preflight": bypass,
        });
        let mut desk = Desk::new(&config);
        let origin = ("origin", "https://app.example");
        let asks = ("access-control-request-method", "GET");
        let passes = if bypass { "-" } else { NONE };
        for (method, more, expected) in [
            ("OPTIONS", vec![origin, asks], passes),
            ("OPTIONS", vec![origin, asks, ("x-user", "root"), ("x_a", "root")], passes),
            ("OPTIONS", vec![origin], NONE),
            ("OPTIONS", vec![asks], NONE),
            ("OPTIONS", vec![origin, (asks.0, "")], NONE),
            ("OPTIONS", vec![("origin", ""), asks], NONE),
            ("OPTIONS", vec![], NONE),
            ("options", vec![origin, asks], NONE),
            ("GET", vec![origin, asks], NONE),
            ("POST", vec![origin, asks, ("x-http-method-override", "OPTIONS")], NONE),
        ] {
            let outcome = desk.ask(&fields(method, "/x", &more));
            assert_eq!(told(&outcome), expected, "{method} {more:?}, bypass: {bypass}");
            if let Outcome::Allow(allow) = outcome {
                let lies = more.iter().filter(|(name, _)| matches!(*name, "x-user" | "x_a")).count();
                assert_eq!(removed(&allow).len(), lies, "{more:?}");
                assert_eq!(added(&allow), []);
            }
        }
        let ambiguous = fields("OPTIONS", "/a/../b", &[origin, asks]);
        assert_eq!(told(&desk.ask(&ambiguous)), "path_ambiguous");
    }
}

fn texts(texts: &[&str]) -> Metadata {
    Metadata::Texts(texts.iter().map(|text| (*text).to_owned()).collect())
}

#[test]
fn a_route_chooses_its_rule_and_asks_for_scopes() {
    let rules = json!([
        { "name": "public", "match": { "prefix": "/public" } },
        { "name": "reports", "match": { "prefix": "/reports" }, "requires": of("a"), "mode": "report" },
        { "name": "admin", "match": { "path": "/nowhere" }, "requires": of("a"),
          "authorize": { "scopes": { "all_of": ["admin"] } } },
        { "name": "usual", "match": { "prefix": "/a" }, "requires": of("a") },
    ]);
    let config =
        |unmatched: &str| json!({ "providers": providers(), "rules": rules, "unmatched": unmatched });
    let unreadable = || Metadata::Unreadable;
    let plain = format!("Bearer {}", token("a").sign());
    let admin = format!("Bearer {}", token("a").claim("scope", "admin read").sign());
    const ROUTE: &str = "route_unmatched";
    const SCOPE: &str = "scope_insufficient";
    // Path, token, the route's rule and scopes; what comes of it, and under which rule.
    for (path, bearer, rule, scopes, expected, under) in [
        ("/a", &plain, None, None, "a", Some("usual")),
        ("/a", &plain, Some(texts(&["admin"])), None, SCOPE, Some("admin")),
        ("/a", &admin, Some(texts(&["admin"])), None, "a", Some("admin")),
        ("/public", &plain, Some(texts(&["admin"])), None, SCOPE, Some("admin")),
        ("/a", &plain, Some(texts(&["public"])), None, "-", Some("public")),
        ("/elsewhere", &plain, Some(texts(&["usual"])), None, "a", Some("usual")),
        // A name that nobody has, and what is no name.
        ("/a", &admin, Some(texts(&["Admin"])), None, ROUTE, None),
        ("/a", &admin, Some(texts(&[""])), None, ROUTE, None),
        ("/public", &admin, Some(texts(&["nobody"])), None, ROUTE, None),
        ("/reports", &admin, Some(texts(&["nobody"])), None, ROUTE, None),
        ("/a", &admin, Some(texts(&["usual", "admin"])), None, ROUTE, None),
        ("/a", &admin, Some(texts(&[])), None, ROUTE, None),
        ("/a", &admin, Some(unreadable()), None, ROUTE, None),
        ("/public", &admin, Some(unreadable()), None, ROUTE, None),
        ("/reports", &admin, Some(unreadable()), None, ROUTE, None),
        // Scopes, as a list and as one text.
        ("/a", &plain, None, Some(texts(&["read"])), SCOPE, Some("usual")),
        ("/a", &admin, None, Some(texts(&["read"])), "a", Some("usual")),
        ("/a", &admin, None, Some(texts(&["read admin"])), "a", Some("usual")),
        ("/a", &admin, None, Some(texts(&["read", "write"])), SCOPE, Some("usual")),
        ("/a", &admin, None, Some(texts(&["read write"])), SCOPE, Some("usual")),
        ("/a", &admin, None, Some(texts(&[])), "a", Some("usual")),
        ("/a", &admin, None, Some(unreadable()), ROUTE, Some("usual")),
        ("/a", &admin, Some(texts(&["admin"])), Some(texts(&["write"])), SCOPE, Some("admin")),
        ("/a", &admin, Some(texts(&["admin"])), Some(unreadable()), ROUTE, Some("admin")),
        // A rule that reports does so by the scopes of the route too, and never for another rule.
        ("/reports", &plain, None, Some(texts(&["read"])), "~scope_insufficient", Some("reports")),
        ("/reports", &plain, None, Some(unreadable()), "~route_unmatched", Some("reports")),
        ("/reports", &plain, Some(texts(&["usual"])), Some(unreadable()), ROUTE, Some("usual")),
        ("/a", &plain, Some(texts(&["reports"])), Some(unreadable()), "~route_unmatched", Some("reports")),
        // Nobody can grant scopes where nobody is asked for a token.
        ("/public", &admin, None, Some(texts(&["read"])), ROUTE, Some("public")),
        ("/public", &admin, None, Some(unreadable()), ROUTE, Some("public")),
        ("/elsewhere", &admin, None, Some(texts(&["read"])), ROUTE, None),
        ("/elsewhere", &admin, None, Some(unreadable()), ROUTE, None),
    ] {
        for unmatched in ["deny", "allow"] {
            let mut desk = Desk::new(&config(unmatched));
            let mut around = Around::default();
            around.metadata.extend(rule.clone().map(|rule| ("rule", rule)));
            around.metadata.extend(scopes.clone().map(|scopes| ("scopes", scopes)));
            let outcome = desk.ask_within(&fields("GET", path, &[("authorization", bearer)]), &around);
            let what = format!("{path}, rule {rule:?}, scopes {scopes:?}, unmatched {unmatched}");
            assert_eq!(told(&outcome), expected, "{what}");
            let state = match &outcome {
                Outcome::Allow(allow) => &allow.state,
                Outcome::Deny(refusal) => &refusal.state,
                Outcome::Answer(_) => panic!("no resource is configured"),
                Outcome::Wait => panic!("{what}"),
            };
            assert_eq!(state.get(FilterStateField::Rule), under, "{what}");
            assert!(
                around
                    .asked
                    .borrow()
                    .iter()
                    .all(|key| matches!(key.as_str(), "rule" | "requirement" | "scopes")),
                "{what}"
            );
        }
    }
    // Whatever a route says, what no rule matches is denied or allowed as before.
    for (unmatched, expected) in [("deny", ROUTE), ("allow", "-")] {
        assert_eq!(told(&Desk::new(&config(unmatched)).ask(&fields("GET", "/elsewhere", &[]))), expected);
    }
    // The challenge asks for the route's scopes besides the rule's.
    let mut around = Around::default();
    around.metadata.extend([("rule", texts(&["admin"])), ("scopes", texts(&["read", "admin"]))]);
    let outcome =
        Desk::new(&config("deny")).ask_within(&fields("GET", "/a", &[("authorization", &plain)]), &around);
    let Outcome::Deny(refusal) = outcome else { panic!("{outcome:?}") };
    assert_eq!(refusal.response.scope.as_deref(), Some("admin read"));
}

#[test]
fn a_token_that_came_in_the_clear_is_refused_where_it_must_not() {
    let bearer = format!("Bearer {}", token("a").sign());
    let with_token = |more: &[(&'static str, &'static str)]| {
        let mut fields = fields("GET", "/a", more);
        fields.push(("authorization".to_owned(), bearer.clone()));
        fields
    };
    const CLEAR: &str = "transport_insecure";
    let proto = |value: &'static str| ("x-forwarded-proto", value);
    for (setting, tls, more, expected) in [
        (None, false, vec![], "a"),
        (Some("none"), false, vec![proto("http")], "a"),
        (Some("connection"), true, vec![], "a"),
        (Some("connection"), true, vec![proto("http")], "a"),
        (Some("connection"), false, vec![], CLEAR),
        // Nobody but the proxy knows of this hop.
        (Some("connection"), false, vec![proto("https"), (":scheme", "https")], CLEAR),
        (Some("forwarded_proto"), false, vec![proto("https")], "a"),
        (Some("forwarded_proto"), false, vec![proto("HTTPS")], "a"),
        (Some("forwarded_proto"), false, vec![proto("http")], CLEAR),
        (Some("forwarded_proto"), true, vec![proto("http")], CLEAR),
        (Some("forwarded_proto"), true, vec![], CLEAR),
        (Some("forwarded_proto"), false, vec![proto("")], CLEAR),
        (Some("forwarded_proto"), false, vec![proto("https,http")], CLEAR),
        (Some("forwarded_proto"), false, vec![proto("http,https")], CLEAR),
        (Some("forwarded_proto"), false, vec![proto("https"), proto("http")], CLEAR),
        (Some("forwarded_proto"), false, vec![proto("https"), proto("https")], CLEAR),
        (Some("forwarded_proto"), false, vec![proto("https://")], CLEAR),
    ] {
        let mut config = json!({
            "providers": providers(),
            "rules": [
                { "match": { "prefix": "/public" } },
                { "match": { "prefix": "/optional" }, "requires": any(json!([of("a"), missing()])) },
                { "match": { "prefix": "/failed" }, "requires": any(json!([of("a"), failed()])) },
                { "match": { "prefix": "/" }, "requires": of("a") },
            ],
        });
        if let Some(setting) = setting {
            config["require_tls"] = json!(setting);
        }
        let mut desk = Desk::new(&config);
        let around = Around { tls, ..Around::default() };
        let what = format!("{setting:?}, TLS {tls}, {more:?}");
        let outcome = desk.ask_within(&with_token(&more), &around);
        assert_eq!(told(&outcome), expected, "{what}");
        if let Outcome::Deny(refusal) = outcome {
            let reply = refusal.response.reply(false);
            assert_eq!(reply.status, 403, "{what}");
            assert!(!reply.headers.iter().any(|(name, _)| *name == "www-authenticate"), "{what}: {reply:?}");
        }
        // Seen before, it is judged as if it were not.
        assert_eq!(told(&desk.ask_within(&with_token(&more), &around)), expected, "{what}");
        // Without a token there is nothing to be protected; a token that came in the clear is a bad one.
        let mut at = |path: &str, mut fields: Fields| {
            fields[1].1 = path.to_owned();
            told(&desk.ask_within(&fields, &around))
        };
        assert_eq!(at("/a", fields("GET", "/", &more)), NONE, "{what}");
        assert_eq!(at("/public", with_token(&more)), "-", "{what}");
        assert_eq!(at("/optional", fields("GET", "/", &more)), "-", "{what}");
        assert_eq!(at("/optional", with_token(&more)), expected, "{what}");
        assert_eq!(at("/failed", with_token(&more)), if expected == CLEAR { "-" } else { "a" }, "{what}");
    }
}

/// Two providers far away, and `a` at hand; `open` ones do not say whose tokens are theirs.
fn cold(requires: &Value, open: bool) -> Desk {
    let of = |name: &str| {
        let mut provider = remote(name, json!({}));
        if open {
            provider.as_object_mut().expect("an object").remove("issuer");
        }
        provider
    };
    let rules = json!([{ "match": { "prefix": "/" }, "requires": requires }]);
    let providers = json!({ "far": of("far"), "farther": of("farther"), "a": provider("a", json!({})) });
    let mut desk = Desk::new(&json!({ "providers": providers, "rules": rules }));
    desk.pass(0);
    desk
}

fn bearing(token: &str) -> Fields {
    fields("GET", "/x", &[("authorization", &format!("Bearer {token}"))])
}

#[test]
fn a_request_waits_for_the_keys_of_its_own_issuer_alone() {
    let requires = any(json!([of("far"), of("farther"), of("a")]));
    // Who is known by the issuer needs nobody else's keys.
    let mut desk = cold(&requires, false);
    assert_eq!(told(&desk.ask(&bearing(&token("a").sign()))), "a");
    assert_eq!(told(&desk.ask(&bearing(&token("stranger").sign()))), ISSUER);
    assert_eq!(told(&desk.ask(&bearing(&flip_bit(&token("a").sign())))), SIGNATURE);
    assert_eq!(told(&desk.ask(&brought("nothing"))), NONE);
    assert_eq!(told(&desk.ask(&bearing(&token("far").expires_in(-100).sign()))), "expired");

    let fields = bearing(&token("farther").sign());
    assert_eq!(told(&desk.ask(&fields)), "wait");
    let (far, farther) = (desk.id("far"), desk.id("farther"));
    assert_eq!(desk.answer(far, Some(&key("far"))), [], "it does not wait for these");
    let woken = desk.answer(farther, Some(&key("farther")));
    assert_eq!(woken.len(), 1);
    assert_eq!(told(&desk.resume(&fields, woken[0])), "farther");
}

#[test]
fn without_keys_it_is_503_only_for_tokens_that_nobody_else_takes() {
    let requires = any(json!([of("far"), of("farther"), of("a")]));
    let mut desk = cold(&requires, false);
    let (far, farther) = (desk.id("far"), desk.id("farther"));
    desk.answer(far, None);
    desk.answer(farther, None);
    for (token, expected) in [
        (token("far").sign(), "keys_unavailable"),
        (token("farther").sign(), "keys_unavailable"),
        (token("a").sign(), "a"),
        (token("stranger").sign(), ISSUER),
        (flip_bit(&token("a").sign()), SIGNATURE),
        (token("far").claim("aud", "billing").sign(), AUDIENCE),
        ("x".to_owned(), SHAPE),
    ] {
        let outcome = desk.ask(&bearing(&token));
        assert_eq!(told(&outcome), expected);
        if let Outcome::Deny(refusal) = outcome {
            let reply = refusal.response.reply(false);
            let retry = reply.headers.iter().find(|(name, _)| *name == "retry-after");
            assert_eq!(retry.is_some(), expected == "keys_unavailable", "{reply:?}");
            assert_eq!(reply.status == 503, expected == "keys_unavailable", "{reply:?}");
        }
    }
    // Who may fail may be without keys, too.
    let mut desk = cold(&any(json!([of("far"), failed()])), false);
    let far = desk.id("far");
    desk.answer(far, None);
    let outcome = desk.ask(&bearing(&token("far").sign()));
    assert_eq!(told(&outcome), "-");
    assert_eq!(removed(&allowed(outcome)), ["authorization"]);
    let mut desk = cold(&any(json!([of("far"), missing()])), false);
    desk.answer(far, None);
    assert_eq!(told(&desk.ask(&bearing(&token("far").sign()))), "keys_unavailable");
}

#[test]
fn providers_that_may_each_be_meant_are_waited_for_one_after_the_other() {
    let requires = any(json!([of("far"), of("farther"), of("a")]));
    // Whoever holds in the end, in the order of the list.
    for (holder, waits) in [("far", 1), ("farther", 2)] {
        let mut desk = cold(&requires, true);
        let fields = bearing(&token(holder).sign());
        assert_eq!(told(&desk.ask(&fields)), "wait");
        let mut waited = 1;
        let mut last = String::new();
        for name in ["far", "farther"] {
            let id = desk.id(name);
            let woken = desk.answer(id, Some(&key(name)));
            assert_eq!(woken.len(), usize::from(last != holder), "{holder}: {name}");
            for woken in woken {
                assert_eq!(desk.provider_of(woken.1.lookup), id);
                last = told(&desk.resume(&fields, woken));
                waited += u32::from(last == "wait");
            }
        }
        assert_eq!((last.as_str(), waited), (holder, waits));
    }
    // One that could mean any may be of the one that has its keys, once the others have failed.
    let mut desk = cold(&requires, true);
    let fields = bearing(&token("a").sign());
    assert_eq!(told(&desk.ask(&fields)), "wait");
    let (far, farther) = (desk.id("far"), desk.id("farther"));
    let woken = desk.answer(far, None);
    assert_eq!(told(&desk.resume(&fields, woken[0])), "wait");
    let woken = desk.answer(farther, None);
    assert_eq!(told(&desk.resume(&fields, woken[0])), "a");
}

#[test]
fn whoever_waits_for_several_has_one_deadline() {
    for requires in
        [any(json!([of("far"), of("farther")])), missing(), failed(), all(json!([of("far"), of("farther")]))]
    {
        let mut desk = cold(&requires, true);
        let fields = bearing(&token("farther").sign());
        assert_eq!(told(&desk.ask(&fields)), "wait", "{requires}");
        desk.now = desk.now.plus(Duration::from_secs(3));
        // The first has keys, by which it is not; then it waits for the second.
        let far = desk.id("far");
        let woken = desk.answer(far, Some(&key("far")));
        let Waited { since, deadline, .. } = woken[0].1;
        let outcome = told(&desk.resume(&fields, woken[0]));
        if requires.get("requires_all").is_some() {
            assert!(matches!(outcome.as_str(), SIGNATURE | "key_not_found"), "{outcome}");
            continue;
        }
        assert_eq!(outcome, "wait", "{requires}");
        assert_eq!(desk.pass(1), (vec![], vec![]), "{requires}: not yet");
        let mut woken = Vec::new();
        while desk.now < deadline {
            woken.extend(desk.pass(1).1);
        }
        assert_eq!(woken.len(), 1, "{requires}");
        assert_eq!(
            (woken[0].1.since, woken[0].1.deadline),
            (since, deadline),
            "{requires}: it is the same deadline"
        );
        assert_eq!(deadline, since.plus(Duration::from_secs(5)), "{requires}");
        let expected =
            if requires.get("allow_missing_or_failed").is_some() { "-" } else { "keys_unavailable" };
        assert_eq!(told(&desk.resume(&fields, woken[0])), expected, "{requires}");
        assert!(!desk.gate.is_waited_for());
    }
}

#[test]
fn a_csrf_check_is_for_cookies_and_comes_before_the_token_is_read() {
    let web = json!({
        "from_headers": [{ "name": "Authorization", "value_prefix": "Bearer " }],
        "from_cookies": ["session"],
        "csrf": { "allowed_origins": ["https://app.example"] },
    });
    let config = |requires: &Value| {
        json!({
            "providers": { "a": provider("a", web.clone()), "b": provider("b", json!({})) },
            "rules": [{ "match": { "prefix": "/" }, "requires": requires }],
        })
    };
    let good = token("a").sign();
    let cookie = format!("session={good}");
    let bad_cookie = format!("session={}", flip_bit(&good));
    let bearer = format!("Bearer {good}");
    const CSRF: &str = "csrf_suspected";
    for (method, more, expected, optional) in [
        ("GET", vec![("cookie", cookie.as_str())], "a", "a"),
        ("POST", vec![("cookie", &cookie)], CSRF, "-"),
        ("POST", vec![("cookie", &bad_cookie)], CSRF, "-"),
        ("POST", vec![("cookie", &cookie), ("origin", "https://app.example")], "a", "a"),
        ("POST", vec![("cookie", &cookie), ("origin", "https://evil.example")], CSRF, "-"),
        ("POST", vec![("cookie", &cookie), ("sec-fetch-site", "same-origin")], "a", "a"),
        ("POST", vec![("cookie", &cookie), ("sec-fetch-site", "cross-site")], CSRF, "-"),
        ("POST", vec![("authorization", &bearer)], "a", "a"),
        ("POST", vec![("authorization", &bearer), ("origin", "https://evil.example")], "a", "a"),
        ("GET", vec![("cookie", &cookie), ("upgrade", "websocket")], CSRF, "-"),
        ("POST", vec![], NONE, "-"),
    ] {
        let fields = fields(method, "/x", &more);
        assert_eq!(told(&Desk::new(&config(&of("a"))).ask(&fields)), expected, "{method} {more:?}");
        let lenient = any(json!([of("a"), failed()]));
        let outcome = Desk::new(&config(&lenient)).ask(&fields);
        assert_eq!(told(&outcome), optional, "{method} {more:?}");
        let has_cookie = more.iter().any(|(name, _)| *name == "cookie");
        assert_eq!(
            cookies_left(&allowed(outcome)).is_some(),
            has_cookie,
            "{method} {more:?}: it is taken away"
        );
    }
}

#[test]
fn one_verdict_is_shared_and_never_by_two_providers() {
    // The same token, under a provider that knows its key and one that has another of that name.
    let config = json!({
        "providers": {
            "a": provider("a", json!({})),
            "twin": provider("a", json!({ "local_jwks": { "inline": jwks([&key("b").with_kid("a")]) } })),
        },
        "rules": [
            { "match": { "prefix": "/twin" }, "requires": of("twin") },
            { "match": { "prefix": "/" }, "requires": of("a") },
        ],
    });
    let mut desk = Desk::new(&config);
    let bearer = format!("Bearer {}", token("a").sign());
    let mut at = |path: &str| desk.ask(&fields("GET", path, &[("authorization", &bearer)]));
    let first = allowed(at("/a"));
    let second = allowed(at("/a"));
    assert!(Rc::ptr_eq(&first.identity[0].token, &second.identity[0].token), "it is remembered");
    assert_eq!(told(&at("/twin")), SIGNATURE);
    assert_eq!(told(&at("/a")), "a");
}

fn audiences(name: &str, audiences: &[&str]) -> Value {
    json!({ "provider_and_audiences": { "provider_name": name, "audiences": audiences } })
}

/// Whatever shape the requirement has: a part that asks for less does not accept what the part beside it refused.
#[test]
fn a_lenient_part_accepts_no_token_that_a_strict_one_refused() {
    let billing = || audiences("a", &["billing"]);
    let named = json!({ "strict": any(json!([billing(), missing()])) });
    // What is required; what comes of a token for orders, of one for billing, of none, and of one of `b`.
    for (requires, orders, for_billing, nothing, of_b) in [
        (any(json!([billing(), missing()])), AUDIENCE, "a", "-", ISSUER),
        (any(json!([missing(), billing()])), AUDIENCE, "a", "-", ISSUER),
        (any(json!([billing(), failed()])), "-", "a", "-", "-"),
        (any(json!([failed(), billing()])), "-", "a", "-", "-"),
        (any(json!([billing(), missing(), failed()])), "-", "a", "-", "-"),
        (any(json!([billing(), of("b"), missing()])), AUDIENCE, "a", "-", "b"),
        (any(json!([of("b"), billing(), failed()])), "-", "a", "-", "b"),
        (any(json!([billing(), of("c"), missing()])), AUDIENCE, "a", "-", ISSUER),
        // In lists within lists.
        (any(json!([any(json!([billing(), of("c")])), missing()])), AUDIENCE, "a", "-", ISSUER),
        (any(json!([any(json!([billing(), of("c")])), failed()])), "-", "a", "-", "-"),
        (any(json!([billing(), any(json!([of("c"), missing()]))])), AUDIENCE, "a", "-", ISSUER),
        (any(json!([billing(), any(json!([of("c"), failed()]))])), "-", "a", "-", "-"),
        (any(json!([all(json!([billing(), of("c")])), missing()])), AUDIENCE, "a", "-", ISSUER),
        (any(json!([all(json!([billing(), of("c")])), failed()])), "-", "a", "-", "-"),
        (any(json!([billing(), all(json!([missing(), missing()]))])), AUDIENCE, "a", "-", ISSUER),
        (any(json!([billing(), all(json!([failed(), missing()]))])), AUDIENCE, "a", "-", ISSUER),
        (all(json!([billing(), missing()])), AUDIENCE, "a", NONE, ISSUER),
        (all(json!([missing(), billing()])), AUDIENCE, "a", NONE, ISSUER),
        (all(json!([any(json!([billing(), missing()])), missing()])), AUDIENCE, "a", "-", ISSUER),
        (all(json!([any(json!([billing(), failed()])), missing()])), AUDIENCE, "a", "-", "b"),
        (all(json!([any(json!([billing(), failed()])), failed()])), "-", "a", "-", "b"),
        (all(json!([failed(), any(json!([billing(), failed()]))])), "-", "a", "-", "b"),
        (any(json!([any(json!([missing(), failed()])), billing()])), "-", "a", "-", "-"),
        // Who asks for either takes either.
        (any(json!([billing(), of("a"), missing()])), "a", "a", "-", ISSUER),
        (any(json!([of("a"), billing(), failed()])), "a", "a", "-", "-"),
        (
            any(json!([audiences("a", &["x"]), audiences("a", &["billing"]), missing()])),
            AUDIENCE,
            "a",
            "-",
            ISSUER,
        ),
        (json!({ "requirement_name": "strict" }), AUDIENCE, "a", "-", ISSUER),
    ] {
        let rule = match requires.get("requirement_name") {
            Some(name) => json!({ "match": { "prefix": "/" }, "requirement_name": name }),
            None => json!({ "match": { "prefix": "/" }, "requires": requires }),
        };
        let config = json!({ "providers": providers(), "requirement_map": named, "rules": [rule] });
        let mut desk = Desk::new(&config);
        for (what, expected) in
            [("a", orders), ("a for billing", for_billing), ("nothing", nothing), ("b", of_b)]
        {
            for time in ["first", "second"] {
                let outcome = desk.ask(&brought(what));
                assert_eq!(told(&outcome), expected, "{requires}: {what}, {time}");
                // Whoever is let in as nobody brings no token to the upstream.
                if let Outcome::Allow(allow) = outcome {
                    let there = what != "nothing";
                    assert_eq!(
                        removed(&allow),
                        ["authorization"][..usize::from(there)],
                        "{requires}: {what}"
                    );
                }
            }
        }
    }
}

/// Two providers that let their tokens travel, one that does not, each in a place of its own.
fn travellers() -> Value {
    let place =
        |header: &str, forward: bool| json!({ "from_headers": [{ "name": header }], "forward": forward });
    json!({
        "a": provider("a", place("x-a-token", true)),
        "b": provider("b", place("x-b-token", true)),
        "c": provider("c", place("x-c-token", false)),
        // In the place of `a`.
        "e": provider("e", place("x-a-token", false)),
        "f": provider("f", place("x-a-token", true)),
        "g": provider("g", json!({ "from_headers": [{ "name": "Authorization", "value_prefix": "Bearer " }], "forward": true })),
        "h": provider("h", json!({ "from_cookies": ["session"], "from_params": ["t"], "forward": true })),
    })
}

#[test]
fn what_was_not_judged_does_not_travel() {
    let bad = |name: &str| flip_bit(&token(name).sign());
    let good = |name: &str| token(name).sign();
    let [a, b, c, f] = ["a", "b", "c", "f"].map(good);
    // What is required, what is brought, who is let in, what is taken away.
    for (requires, brought, who, taken) in [
        (of("a"), vec![("x-a-token", a.clone())], "a", &[][..]),
        // The first that holds is enough; the others were not looked at.
        (
            any(json!([of("a"), of("b")])),
            vec![("x-a-token", a.clone()), ("x-b-token", bad("b"))],
            "a",
            &["x-b-token"],
        ),
        (
            any(json!([of("b"), of("a")])),
            vec![("x-a-token", a.clone()), ("x-b-token", bad("b"))],
            "a",
            &["x-b-token"],
        ),
        (
            any(json!([of("a"), of("b")])),
            vec![("x-a-token", bad("a")), ("x-b-token", b.clone())],
            "b",
            &["x-a-token"],
        ),
        (
            any(json!([of("b"), of("a")])),
            vec![("x-a-token", bad("a")), ("x-b-token", b.clone())],
            "b",
            &["x-a-token"],
        ),
        (
            any(json!([of("a"), of("b")])),
            vec![("x-a-token", a.clone()), ("x-b-token", b.clone())],
            "a",
            &["x-b-token"],
        ),
        (
            any(json!([of("b"), of("a")])),
            vec![("x-a-token", a.clone()), ("x-b-token", b.clone())],
            "b",
            &["x-a-token"],
        ),
        (
            any(json!([of("c"), of("b")])),
            vec![("x-c-token", c.clone()), ("x-b-token", bad("b"))],
            "c",
            &["x-b-token", "x-c-token"],
        ),
        (
            any(json!([of("b"), of("c")])),
            vec![("x-c-token", c.clone()), ("x-b-token", b.clone())],
            "b",
            &["x-c-token"],
        ),
        (
            any(json!([of("c"), of("a"), missing()])),
            vec![("x-c-token", c.clone()), ("x-a-token", bad("a"))],
            "c",
            &["x-a-token", "x-c-token"],
        ),
        (
            any(json!([of("c"), of("a"), failed()])),
            vec![("x-c-token", bad("c")), ("x-a-token", bad("a"))],
            "-",
            &["x-a-token", "x-c-token"],
        ),
        // Each was asked for, and each was judged.
        (all(json!([of("a"), of("b")])), vec![("x-a-token", a.clone()), ("x-b-token", b.clone())], "a", &[]),
        (
            all(json!([of("c"), of("b")])),
            vec![("x-c-token", c.clone()), ("x-b-token", b.clone())],
            "c",
            &["x-c-token"],
        ),
        (
            all(json!([of("a"), any(json!([of("b"), failed()]))])),
            vec![("x-a-token", a.clone()), ("x-b-token", bad("b"))],
            "a",
            &["x-b-token"],
        ),
        (
            all(json!([of("a"), missing()])),
            vec![("x-a-token", a.clone()), ("x-b-token", b.clone())],
            "a",
            &[],
        ),
        (
            all(json!([of("a"), missing()])),
            vec![("x-a-token", a.clone()), ("x-c-token", c.clone())],
            "a",
            &["x-c-token"],
        ),
        (
            all(json!([of("a"), failed()])),
            vec![("x-a-token", a.clone()), ("x-b-token", bad("b"))],
            "a",
            &["x-b-token"],
        ),
        (
            missing(),
            vec![("x-a-token", a.clone()), ("x-b-token", b.clone()), ("x-c-token", c.clone())],
            "a",
            &["x-c-token"],
        ),
        (
            failed(),
            vec![("x-a-token", a.clone()), ("x-b-token", bad("b")), ("x-c-token", bad("c"))],
            "a",
            &["x-b-token", "x-c-token"],
        ),
        // One place of several providers: who accepted the text says whether it travels.
        (any(json!([of("e"), of("f")])), vec![("x-a-token", f.clone())], "f", &[]),
        (any(json!([of("f"), of("e")])), vec![("x-a-token", good("e"))], "e", &["x-a-token"]),
        (any(json!([of("e"), of("a"), failed()])), vec![("x-a-token", bad("a"))], "-", &["x-a-token"]),
        // Something in the place that is no token of the provider's, and no credential of another scheme.
        (
            any(json!([of("c"), of("g")])),
            vec![("x-c-token", c.clone()), ("authorization", a.clone())],
            "c",
            &["authorization", "x-c-token"],
        ),
        (
            any(json!([of("c"), of("g")])),
            vec![("x-c-token", c.clone()), ("authorization", "Bearer:x".into())],
            "c",
            &["authorization", "x-c-token"],
        ),
        (
            any(json!([of("c"), of("g")])),
            vec![("x-c-token", c.clone()), ("authorization", "Bearer\tx".into())],
            "c",
            &["authorization", "x-c-token"],
        ),
        (
            any(json!([of("c"), of("g")])),
            vec![("x-c-token", c.clone()), ("authorization", "Basic x Bearer y".into())],
            "c",
            &["authorization", "x-c-token"],
        ),
        (
            any(json!([of("c"), of("g")])),
            vec![("x-c-token", c.clone()), ("authorization", "Basic dTpw".into())],
            "c",
            &["x-c-token"],
        ),
        (
            any(json!([of("g"), failed()])),
            vec![("authorization", "Bearer\tx".into())],
            "-",
            &["authorization"],
        ),
        (any(json!([of("g"), missing()])), vec![("authorization", "Basic dTpw".into())], "-", &[]),
    ] {
        let rules = json!([{ "match": { "prefix": "/" }, "requires": requires }]);
        let mut desk = Desk::new(&json!({ "providers": travellers(), "rules": rules }));
        let shown: Vec<_> = brought.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let outcome = desk.ask(&fields("GET", "/", &shown));
        assert_eq!(told(&outcome), who, "{requires} {shown:?}");
        assert_eq!(removed(&allowed(outcome)), taken, "{requires} {shown:?}");
    }
    // Cookies and parameters beside a token that holds.
    for (requires, cookie, target) in [
        (any(json!([of("a"), of("h")])), Some("theme=dark"), Some("/?x=1")),
        (any(json!([of("h"), of("a")])), Some("theme=dark"), Some("/?x=1")),
        (of("a"), None, None),
    ] {
        let rules = json!([{ "match": { "prefix": "/" }, "requires": requires }]);
        let mut desk = Desk::new(&json!({ "providers": travellers(), "rules": rules }));
        let cookies = format!("theme=dark; session={}", bad("h"));
        let brought = [("x-a-token", a.as_str()), ("cookie", &cookies)];
        let allow = allowed(desk.ask(&fields("GET", "/?x=1", &brought)));
        assert_eq!(cookies_left(&allow).as_deref(), cookie, "{requires}");
        let path = format!("/?x=1&t={}", bad("h"));
        let allow = allowed(desk.ask(&fields("GET", &path, &brought[..1])));
        assert_eq!(allow.target.as_deref(), target.map(str::as_bytes), "{requires}");
    }
}

/// What only some servers would find in the place of a token is refused before any token is looked at, by whatever
/// the rule asks for; report mode says so and lets it through as it came.
#[test]
fn a_place_that_servers_read_otherwise_is_refused_before_any_token() {
    let c = token("c").sign();
    let a = format!("Bearer {}", token("a").sign());
    let d = format!("D {}", token("d").sign());
    let session = format!("session={c}");
    let spoilt = format!("session={c}; x=y session=F");
    let cases: Vec<(String, Vec<(&str, &str)>)> = vec![
        ("/".into(), vec![("cookie", "x=y session=F")]),
        ("/".into(), vec![("cookie", "x=y, session=F")]),
        ("/".into(), vec![("cookie", "x=\"y session=F\"")]),
        ("/".into(), vec![("cookie", "%73ession=F")]),
        ("/".into(), vec![("cookie", "session[]=F")]),
        ("/".into(), vec![("cookie", "session%00=F")]),
        ("/".into(), vec![("cookie", &spoilt)]),
        ("/".into(), vec![("cookie", &session), ("cookie", "x=y session=F")]),
        ("/".into(), vec![("x-token", &c), ("cookie", "x=y\tsession=F")]),
        ("/?a=1;access_token=F".into(), vec![]),
        (format!("/?access_token={c}&access.token=F"), vec![]),
        (format!("/?access_token={c}&access%20token=F"), vec![]),
        (format!("/?access_token={c};access_token=F"), vec![]),
        ("/?access_token[]=F".into(), vec![("x-token", &c)]),
        ("/?+access_token=F".into(), vec![("x-token", &c)]),
        ("/?access%255Ftoken=F".into(), vec![]),
        ("/".into(), vec![("x_token", "F")]),
        ("/".into(), vec![("x.token", "F"), ("x-token", &c)]),
        ("/".into(), vec![("x~token", "F"), ("cookie", &session)]),
        ("/".into(), vec![("authorization", &a), ("cookie", "x=y session=F")]),
        ("/".into(), vec![("authorization", &a), ("x_token", "F")]),
    ];
    for requires in [
        of("c"),
        any(json!([of("c"), missing()])),
        any(json!([of("c"), failed()])),
        any(json!([of("a"), of("c")])),
        any(json!([of("c"), of("a"), failed()])),
        all(json!([of("a"), any(json!([of("c"), failed()]))])),
        missing(),
        failed(),
    ] {
        let rules = |mode: &str| json!([{ "match": { "prefix": "/" }, "requires": requires, "mode": mode }]);
        for (path, brought) in &cases {
            let fields = fields("GET", path, brought);
            let told_of = |mode: &str| told(&Desk::of(rules(mode)).ask(&fields));
            assert_eq!(told_of("enforce"), "request_ambiguous", "{requires} {path} {brought:?}");
            assert_eq!(told_of("report"), "~request_ambiguous", "{requires} {path} {brought:?}");
            let allow = allowed(Desk::of(rules("report")).ask(&fields));
            assert_eq!(
                (removed(&allow).len(), allow.left.len(), &allow.target),
                (0, 0, &None),
                "{path} {brought:?}"
            );
            assert_eq!(added(&allow), [], "{path} {brought:?}: nobody is told of");
        }
    }
    // A rule that has no such place does not look there.
    for (path, brought) in &cases {
        let mut all = vec![("x-d-token", d.as_str())];
        all.extend(brought);
        let mut desk = Desk::of(json!([{ "match": { "prefix": "/" }, "requires": of("d") }]));
        assert_eq!(told(&desk.ask(&fields("GET", path, &all))), "d", "{path} {brought:?}");
    }
    // What is plainly several, and what is plainly none.
    let several = format!("session={c}; session=F");
    for (more, expected) in [
        (vec![("cookie", several.as_str())], SEVERAL),
        (vec![("cookie", "session=a"), ("cookie", "session=b")], SEVERAL),
        (vec![("cookie", "xsession=F; Session=F; session.sig=F")], NONE),
    ] {
        let mut desk = Desk::of(json!([{ "match": { "prefix": "/" }, "requires": of("c") }]));
        assert_eq!(told(&desk.ask(&fields("GET", "/", &more))), expected, "{more:?}");
    }
}

/// Who writes which header, by configuration.
#[test]
fn a_header_is_written_by_the_first_that_is_configured_to_and_filled_up_by_nobody() {
    let place = |header: &str, claims: &[(&str, &str)]| {
        let claims: Vec<_> = claims
            .iter()
            .map(|(header, claim)| json!({ "header_name": header, "claim_name": claim }))
            .collect();
        json!({ "from_headers": [{ "name": header }], "claim_to_headers": claims })
    };
    let config = |requires: &Value| {
        json!({
            "providers": {
                "a": provider("a", place("t-a", &[("x-user", "sub"), ("x-groups", "groups"), ("x-mail", "mail")])),
                "b": provider("b", place("t-b", &[("x-user", "sub"), ("x_groups", "groups"), ("x-plan", "plan")])),
            },
            "rules": [{ "match": { "prefix": "/" }, "requires": requires }],
        })
    };
    let full = |name: &str| {
        let claims = json!({ "groups": format!("{name}-staff"), "mail": format!("{name}@x"), "plan": format!("{name}-gold") });
        token(name).claims(claims)
    };
    let poor = |name: &str| token(name).without("sub");
    let both = || all(json!([of("a"), of("b")]));
    let turned = || all(json!([of("b"), of("a")]));
    let istio = || all(json!([any(json!([of("a"), missing()])), any(json!([of("b"), missing()]))]));
    for (requires, of_a, of_b, written) in [
        // Each token was asked for; each header has one owner.
        (
            both(),
            full("a"),
            full("b"),
            &["x-user sub-of-a", "x-groups a-staff", "x-mail a@x", "x-plan b-gold"][..],
        ),
        (both(), token("a"), full("b"), &["x-user sub-of-a", "x-plan b-gold"]),
        (both(), poor("a"), full("b"), &["x-plan b-gold"]),
        (both(), full("a"), poor("b"), &["x-user sub-of-a", "x-groups a-staff", "x-mail a@x"]),
        (turned(), token("a"), full("b"), &["x-user sub-of-b", "x_groups b-staff", "x-plan b-gold"]),
        (turned(), full("a"), token("b"), &["x-user sub-of-b", "x-mail a@x"]),
        (turned(), full("a"), poor("b"), &["x-mail a@x"]),
        (istio(), token("a"), full("b"), &["x-user sub-of-a", "x-plan b-gold"]),
        // Nobody asked for a second one: it does not speak at all.
        (missing(), full("a"), full("b"), &["x-user sub-of-a", "x-groups a-staff", "x-mail a@x"]),
        (missing(), token("a"), full("b"), &["x-user sub-of-a"]),
        (missing(), poor("a"), full("b"), &[]),
        (failed(), token("a"), full("b"), &["x-user sub-of-a"]),
        (failed(), poor("a"), full("b"), &[]),
        (any(json!([of("a"), of("b")])), token("a"), full("b"), &["x-user sub-of-a"]),
        (any(json!([of("b"), of("a")])), full("a"), token("b"), &["x-user sub-of-b"]),
        (any(json!([of("a"), of("b"), missing()])), poor("a"), full("b"), &[]),
        (all(json!([of("a"), missing()])), token("a"), full("b"), &["x-user sub-of-a"]),
        (all(json!([of("b"), failed()])), full("a"), token("b"), &["x-user sub-of-b", "x-mail a@x"]),
        (
            any(json!([all(json!([of("a"), of("b")])), of("a")])),
            token("a"),
            full("b"),
            &["x-user sub-of-a", "x-plan b-gold"],
        ),
        (all(json!([missing(), of("b")])), token("a"), full("b"), &["x-user sub-of-a", "x-plan b-gold"]),
    ] {
        let mut desk = Desk::new(&config(&requires));
        let (a, b) = (of_a.sign(), of_b.sign());
        let allow = allowed(desk.ask(&fields("GET", "/", &[("t-a", &a), ("t-b", &b), ("x-groups", "root")])));
        let got: Vec<String> = added(&allow).iter().map(|(name, value)| format!("{name} {value}")).collect();
        assert_eq!(got, written, "{requires}");
    }
}

#[test]
fn a_request_that_brings_a_header_of_ours_is_refused_where_that_is_asked_for() {
    let config = |spoofed: &str| {
        json!({
            "providers": providers(),
            "rules": [
                { "match": { "prefix": "/public" } },
                { "match": { "prefix": "/report" }, "requires": of("a"), "mode": "report" },
                { "match": { "prefix": "/missing" }, "requires": any(json!([of("a"), missing()])) },
                { "match": { "prefix": "/failed" }, "requires": any(json!([of("a"), failed()])) },
                { "match": { "prefix": "/x" }, "requires": of("a") },
            ],
            "bypass_cors_preflight": true,
            "spoofed_headers": spoofed,
        })
    };
    let bearer = format!("Bearer {}", token("a").sign());
    let forged = format!("Bearer {}", flip_bit(&token("a").sign()));
    let preflight = [("origin", "https://app.example"), ("access-control-request-method", "GET")];
    let spellings = [
        "x-user", "X-User", "x_user", "x.user", "x~user", "x!user", "x|user", "x^user", "x`user", "x'user",
        "x*user", "x+user", "x#user", "x$user", "x%user", "x&user", "X_USER", "x-a", "x_a", "X.A", "x-d",
        "x_d",
    ];
    for name in spellings {
        for (method, path, more) in [
            ("GET", "/public", vec![]),
            ("GET", "/missing", vec![]),
            ("GET", "/failed", vec![]),
            ("GET", "/failed", vec![("authorization", forged.as_str())]),
            ("GET", "/x", vec![("authorization", bearer.as_str())]),
            ("GET", "/x", vec![]),
            ("GET", "/nowhere", vec![]),
            ("OPTIONS", "/x", preflight.to_vec()),
        ] {
            let mut all = more.clone();
            all.push((name, "mallory"));
            let refused = told(&Desk::new(&config("reject")).ask(&fields(method, path, &all)));
            assert_eq!(refused, "request_ambiguous", "{name} {method} {path}");
            let outcome = Desk::new(&config("strip")).ask(&fields(method, path, &all));
            if let Outcome::Allow(allow) = outcome {
                assert!(removed(&allow).iter().any(|removed| removed == name), "{name} {path}: {allow:?}");
            }
            let without = told(&Desk::new(&config("reject")).ask(&fields(method, path, &more)));
            assert_ne!(without, "request_ambiguous", "{method} {path}");
        }
        // Report mode counts it, and strips it all the same.
        let outcome = Desk::new(&config("reject")).ask(&fields(
            "GET",
            "/report",
            &[("authorization", &bearer), (name, "mallory")],
        ));
        assert_eq!(told(&outcome), "~request_ambiguous", "{name}");
        let allow = allowed(outcome);
        assert_eq!((removed(&allow), added(&allow)), (vec![name.to_owned()], vec![]), "{name}");
    }
    for other in ["x-userx", "xuser", "x--user", "user", "y-user", "x-use", "authorization-x"] {
        let outcome = Desk::new(&config("reject")).ask(&fields("GET", "/public", &[(other, "v")]));
        assert_eq!(told(&outcome), "-", "{other}");
    }
}

/// A second field that a server takes for the one that a claim is compared with.
#[test]
fn a_claim_equals_a_header_only_where_no_other_reads_like_it() {
    let rules = json!([{ "match": { "prefix": "/" }, "requires": of("a"), "authorize": {
        "claims": [{ "claim": "tenant", "equals_header": "x-tenant" }] } }]);
    let mut desk = Desk::of(rules);
    let bearer = format!("Bearer {}", token("a").claim("tenant", "acme").sign());
    let mut ask = |more: &[(&str, &str)]| {
        let all = [&[("authorization", bearer.as_str())], more].concat();
        told(&desk.ask(&fields("GET", "/", &all)))
    };
    assert_eq!(ask(&[("x-tenant", "acme")]), "a");
    assert_eq!(ask(&[("X-Tenant", "acme")]), "a");
    assert_eq!(ask(&[("x-tenant", "acme"), ("x-tenant-id", "evil"), ("xtenant", "evil")]), "a");
    for other in [
        "x_tenant", "X_TENANT", "x.tenant", "x~tenant", "x!tenant", "x#tenant", "x$tenant", "x%tenant",
        "x&tenant", "x'tenant", "x*tenant", "x+tenant", "x^tenant", "x`tenant", "x|tenant", "x-tenant",
        "X-TENANT", "X.Tenant", "X~TENANT", "x_Tenant",
    ] {
        for value in ["evil", "acme", ""] {
            let before = ask(&[(other, value), ("x-tenant", "acme")]);
            let behind = ask(&[("x-tenant", "acme"), (other, value)]);
            assert_eq!([before, behind], ["claim_mismatch", "claim_mismatch"], "{other}: {value}");
        }
    }
    for alone in ["x_tenant", "x.tenant", "x~tenant"] {
        assert_eq!(ask(&[(alone, "acme")]), "claim_mismatch", "{alone}");
    }
}
