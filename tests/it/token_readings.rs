//! One token, one place, under every reading: what a lenient server behind would find besides the token that was
//! judged never reaches it, over HTTP/1.1 and HTTP/2 on a real Envoy; and everyday requests pass as they are.

use crate::common;

use std::collections::BTreeSet;

use common::{Gateway, SOON, assert_problem, config, corp, local_provider, with};
use harness::idp::flip_bit;
use harness::{Idp, Record, Request, Response};
use serde_json::{Value, json};

/// The cookies that hold tokens.
const COOKIE_NAMES: [&str; 2] = ["session", "app_token"];

/// The parameter that does.
const PARAM_NAMES: [&str; 1] = ["access_token"];

fn configuration(idp: &Idp) -> Value {
    let places = json!({
        "from_headers": [{ "name": "Authorization", "value_prefix": "Bearer " }, { "name": "x-token" }],
        "from_cookies": ["session", "app_token"],
        "from_params": ["access_token"],
        "claim_to_headers": [{ "header_name": "x-user", "claim_name": "sub" }],
    });
    let kept = with(local_provider(idp), places.clone());
    let forwarded = with(local_provider(idp), with(places, json!({ "forward": true })));
    let optional = |part: &str| json!({ "requires_any": { "requirements": [corp(), { part: {} }] } });
    let mut config = config(
        kept,
        json!([
            { "match": { "prefix": "/public" } },
            { "match": { "prefix": "/strict" }, "requires": corp() },
            { "match": { "prefix": "/missing" }, "requires": optional("allow_missing") },
            { "match": { "prefix": "/failed" }, "requires": optional("allow_missing_or_failed") },
            { "match": { "prefix": "/forward" }, "requires": { "provider_name": "forwarded" } },
            { "match": { "prefix": "/report" }, "requires": corp(), "mode": "report" },
            {
                "match": { "prefix": "/tenant" },
                "requires": corp(),
                "authorize": { "claims": [{ "claim": "tenant", "equals_header": "x-tenant" }] },
            },
        ]),
    );
    config["providers"]["forwarded"] = forwarded;
    config
}

/// Rules under which a request that has two readings is refused.
const ENFORCED: [&str; 4] = ["/strict", "/missing", "/failed", "/forward"];

/// The answer over HTTP/1.1 or HTTP/2; none where this client cannot say such a thing over HTTP/2.
fn ask(gateway: &Gateway, request: &Request, h2: bool) -> Option<Response> {
    if !h2 {
        return Some(request.send(gateway.addr()));
    }
    match request.try_send_h2(gateway.addr()) {
        Ok(response) => Some(response),
        Err(error) if error.kind() == std::io::ErrorKind::InvalidInput => None,
        Err(error) => panic!("{request:?}: {error}"),
    }
}

/// What lenient servers find in a request that reached them: a model of its own, with nothing of the filter's.
mod lenient {
    use super::*;

    /// A name as a program may have it: escapes decoded once or twice, and then as PHP names a variable.
    fn names(raw: &str) -> BTreeSet<String> {
        let once = unescaped(raw);
        let twice = unescaped(&once);
        let mut all = BTreeSet::new();
        for name in [raw.to_owned(), once, twice] {
            let name = name.replace('+', " ");
            let name = name.split('\0').next().expect("a part").trim().trim_matches('"').to_owned();
            let element = name.split('[').next().expect("a part").to_owned();
            for name in [name, element] {
                all.insert(name.replace(['.', ' ', '[', '+'], "_"));
                all.insert(name);
            }
        }
        all
    }

    fn unescaped(text: &str) -> String {
        let mut out = Vec::new();
        let bytes = text.as_bytes();
        let mut at = 0;
        while at < bytes.len() {
            let digits = text.get(at + 1..at + 3).filter(|_| bytes[at] == b'%');
            match digits.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
                Some(byte) => {
                    out.push(byte);
                    at += 3;
                }
                None => {
                    out.push(bytes[at]);
                    at += 1;
                }
            }
        }
        String::from_utf8_lossy(&out).into_owned()
    }

    fn add(found: &mut BTreeSet<String>, wanted: &[&str], pair: &str) {
        let Some((name, value)) = pair.split_once('=') else { return };
        if names(name).iter().any(|name| wanted.contains(&name.as_str())) {
            found.insert(value.trim().trim_matches('"').to_owned());
        }
    }

    /// All that some server takes for a token in the places of the configuration.
    pub fn tokens(record: &Record) -> BTreeSet<String> {
        let mut found = BTreeSet::new();
        for (name, value) in &record.headers {
            let value = String::from_utf8_lossy(value).into_owned();
            match name.to_ascii_lowercase().replace(|c: char| !c.is_ascii_alphanumeric(), "-").as_str() {
                "cookie" => {
                    value.split(';').for_each(|pair| add(&mut found, &COOKIE_NAMES, pair));
                    value.split([';', ',']).for_each(|pair| add(&mut found, &COOKIE_NAMES, pair));
                    value
                        .split(|c: char| matches!(c, ';' | ',' | '"') || c.is_whitespace())
                        .for_each(|pair| add(&mut found, &COOKIE_NAMES, pair));
                }
                "x-token" => {
                    found.insert(value);
                }
                "authorization" => {
                    let mut words = value.split(|c: char| c.is_whitespace() || c.is_control());
                    let mut words = words.by_ref().skip_while(|word| !word.eq_ignore_ascii_case("bearer"));
                    if words.next().is_some() {
                        found.extend(words.next().map(str::to_owned));
                    }
                }
                _ => {}
            }
        }
        let path = record.path();
        let query = path.split_once('?').map_or("", |(_, query)| query);
        query.split('&').for_each(|pair| add(&mut found, &PARAM_NAMES, pair));
        query.split(['&', ';']).for_each(|pair| add(&mut found, &PARAM_NAMES, pair));
        found
    }
}

/// A request for this place with these fields and this query.
fn request(path: &str, query: &str, fields: &[(&str, String)]) -> Request {
    let target = if query.is_empty() { path.to_owned() } else { format!("{path}?{query}") };
    fields.iter().fold(Request::get(target), |request, (name, value)| request.header(name, value))
}

type Fields = Vec<(&'static str, String)>;

/// What a lenient server could read otherwise, beside a good token or without one.
fn oddities(good: &str, forged: &str) -> Vec<(String, Fields)> {
    let mut all: Vec<(String, Fields)> = Vec::new();
    for cookie in [
        "x=y session=F",
        "x=y, session=F",
        "x=y,session=F",
        "x=y\tsession=F",
        "x=y  session = F",
        "theme=\"a session=F\"",
        "theme=\"session=F\"",
        "theme=\"a, session=F\"",
        "theme=\"session=F; b\"",
        "\"session\"=F",
        "%73ession=F",
        "%2573ession=F",
        "+session=F",
        "%20session=F",
        "session[]=F",
        "session[0]=F",
        "session%5B%5D=F",
        "session%00=F",
        "session%00x=F",
        "app.token=F",
        "app token=F",
        "app+token=F",
        "app[token=F",
        "app%2Etoken=F",
        "app%20token=F",
        "x=y; app.token=F; z",
    ] {
        let cookie = cookie.replace("=F", &format!("={forged}")).replace("= F", &format!("= {forged}"));
        all.push((String::new(), vec![("cookie", cookie.clone())]));
        all.push((String::new(), vec![("cookie", format!("session={good}; {cookie}"))]));
        all.push((String::new(), vec![("cookie", format!("{cookie}; session={good}"))]));
        all.push((String::new(), vec![("cookie", cookie.clone()), ("cookie", format!("session={good}"))]));
        all.push((String::new(), vec![("cookie", cookie), ("authorization", format!("Bearer {good}"))]));
    }
    for query in [
        "a=1;access_token=F",
        ";access_token=F",
        "access_token[]=F",
        "access_token[0]=F",
        "access_token%5B%5D=F",
        "access.token=F",
        "access+token=F",
        "access%20token=F",
        "access%2Etoken=F",
        "access[token=F",
        "access_token%00=F",
        "access_token%00x=F",
        "+access_token=F",
        "%20access_token=F",
        "%2561ccess_token=F",
        "access%255Ftoken=F",
        "access_token+=F",
        "a=1&b=2;c=3;access_token=F&d=4",
        "a=1;access%5Ftoken=F",
        "a;access_token=F",
        "x=%3B;access_token=F",
    ] {
        let query = query.replace("=F", &format!("={forged}"));
        all.push((query.clone(), Vec::new()));
        all.push((format!("access_token={good}&{query}"), Vec::new()));
        all.push((format!("{query}&access_token={good}"), Vec::new()));
        all.push((query, vec![("x-token", good.to_owned())]));
    }
    for name in ["x_token", "x.token", "x~token", "x!token", "X_Token", "x|token", "x+token"] {
        all.push((String::new(), vec![(name, forged.to_owned())]));
        all.push((String::new(), vec![(name, forged.to_owned()), ("x-token", good.to_owned())]));
    }
    all
}

#[test]
fn what_only_a_lenient_server_finds_is_refused_whatever_the_rule_allows() {
    let gateway = Gateway::start(configuration);
    let good = gateway.idp.token(json!({}));
    let forged = flip_bit(&gateway.idp.token(json!({ "sub": "root" })));
    let odd = oddities(&good, &forged);
    assert!(odd.len() >= 200, "{}", odd.len());
    for (number, (query, fields)) in odd.iter().enumerate() {
        for h2 in [false, true] {
            // Every form under one of the rules, and under all of them over the whole table.
            let path = ENFORCED[(number + usize::from(h2)) % ENFORCED.len()];
            let Some(response) = ask(&gateway, &request(path, query, fields), h2) else { continue };
            let what = format!("{path} {query} {fields:?}, HTTP/2 {h2}");
            assert_problem(&what, &response, 400, "request_ambiguous");
            assert_eq!(response.header("www-authenticate"), None, "{what}");
            assert_eq!(gateway.upstream.take().len(), 0, "{what}: it reached the upstream");
        }
        // A rule that only reports says so, lets it through as it came, and tells nobody's name.
        if number % 4 == 0 {
            let response = request("/report", query, fields).send(gateway.addr());
            assert_eq!(response.status, 200, "{query} {fields:?}");
            let record = gateway.upstream.take().pop().expect("a request");
            assert_eq!(record.headers_named("x-user"), [""; 0], "{query} {fields:?}");
            let headers = record.headers.iter().map(|(_, value)| String::from_utf8_lossy(value).into_owned());
            let came = headers.chain([record.path()]).any(|text| text.contains(&forged));
            assert!(came, "{query} {fields:?}: as it came");
        }
    }
    // A public rule looks for no token.
    let fields = vec![("cookie", format!("x=y session={forged}"))];
    assert_eq!(request("/public", "", &fields).send(gateway.addr()).status, 200);
    // gRPC is told in its own way.
    let call = Request::grpc("/strict/Call").header("cookie", format!("x=y session={forged}"));
    assert_eq!(call.send_h2(gateway.addr()).header("grpc-status").as_deref(), Some("3"));
    gateway.assert_sound();
}

#[test]
fn two_tokens_are_several_however_a_server_reads_them() {
    let gateway = Gateway::start(configuration);
    let good = gateway.idp.token(json!({}));
    let forged = flip_bit(&good);
    for (query, fields) in [
        (String::new(), vec![("cookie", format!("session={good}; session={forged}"))]),
        (String::new(), vec![("cookie", format!("session={good};session={good}"))]),
        (String::new(), vec![("cookie", format!("session={good}; app_token={forged}"))]),
        (String::new(), vec![("cookie", format!("session={good}")), ("cookie", format!("session={forged}"))]),
        (format!("access_token={good}&access_token={forged}"), vec![]),
        (format!("access_token={good}&access%5Ftoken={forged}"), vec![]),
        (format!("access_token={good}"), vec![("cookie", format!("session={forged}"))]),
        (String::new(), vec![("authorization", format!("Bearer {good}, Bearer {forged}"))]),
        (String::new(), vec![("authorization", format!("Bearer\t{forged}")), ("x-token", good.clone())]),
    ] {
        for (path, h2) in
            ["/strict", "/missing", "/forward"].iter().flat_map(|path| [(path, false), (path, true)])
        {
            let Some(response) = ask(&gateway, &request(path, &query, &fields), h2) else { continue };
            assert_problem(&format!("{path} {query} {fields:?}"), &response, 400, "token_multiple");
        }
        let response = request("/failed", &query, &fields).send(gateway.addr());
        assert_eq!(response.status, 200, "{query} {fields:?}");
        let record = gateway.upstream.take().pop().expect("a request");
        assert_eq!(lenient::tokens(&record), BTreeSet::new(), "{query} {fields:?}");
    }
    gateway.assert_sound();
}

/// What stands between the scheme and the token where it is not the blank of RFC 9110.
#[test]
fn another_blank_behind_the_scheme_is_no_missing_token() {
    let gateway = Gateway::start(configuration);
    let good = gateway.idp.token(json!({}));
    let forms = [
        "Bearer\t{}",
        "bearer\t{}",
        "BEARER\t\t{}",
        "Bearer\t {}",
        "Bearer\u{b}{}",
        "Bearer\u{c}{}",
        "Bearer\u{1f}{}",
        "Bearer\u{a0}{}",
        "Bearer\u{85}{}",
        "Bearer\u{2003}{}",
        "Bearer\u{3000}{}",
        "Bearer\u{feff}{}",
        "Bearer\u{200b}{}",
        "\u{a0}Bearer {}",
        "\"Bearer {}\"",
        "'Bearer {}'",
        "Basic dTpw Bearer {}",
        "Basic dTpw\tBearer {}",
        "Basic dTpw; Bearer {}",
        "Token=Bearer {}",
        "=Bearer {}",
        "x Bearer\t{}",
    ];
    for form in forms {
        let mut values = vec![form.replace("{}", &good).into_bytes()];
        // The same in Latin-1.
        if form.chars().all(|c| u32::from(c) < 256) {
            values.push(form.replace("{}", &good).chars().map(|c| c as u8).collect());
        }
        for (value, h2) in values.iter().flat_map(|value| [(value, false), (value, true)]) {
            for path in ["/strict", "/missing", "/forward"] {
                let Some(response) = ask(&gateway, &Request::get(path).header("authorization", value), h2)
                else {
                    continue;
                };
                // Some of them are nothing that Envoy takes for a field.
                if response.header("content-type").as_deref() != Some("application/problem+json") {
                    assert_eq!(response.status, 400, "{form:?}: {}", response.text());
                    continue;
                }
                assert_problem(&format!("{path} {form:?} {h2}"), &response, 401, "token_malformed");
            }
            assert_eq!(gateway.upstream.take().len(), 0, "{form:?}");
            // Where a bad token may pass, it passes without the token.
            let request = Request::get("/failed").header("authorization", value);
            let Some(response) = ask(&gateway, &request, h2) else { continue };
            for record in gateway.upstream.take() {
                assert_eq!(response.status, 200, "{form:?}");
                assert_eq!(record.headers_named("authorization"), [""; 0], "{form:?}");
            }
        }
    }
    gateway.assert_sound();
}

#[test]
fn a_credential_of_another_scheme_is_no_place_of_a_token() {
    let gateway = Gateway::start(configuration);
    let good = gateway.idp.token(json!({}));
    for (value, stays) in [
        ("Basic dTpw", true),
        ("basic  dTpw", true),
        ("Negotiate YIIg", true),
        ("Digest username=\"a\", realm=\"b\"", true),
        ("AWS4-HMAC-SHA256 Credential=a/b, SignedHeaders=host;x-amz-date, Signature=c", true),
        ("Token abc", true),
        ("DPoP abc", true),
        ("BearerX abc", true),
        ("Basic", false),
        ("abc.def.ghi", false),
        ("Bearer:abc", false),
        ("Bearer=abc", false),
        ("Digest username=\"Bearer\", realm=\"x\"", false),
    ] {
        for (path, h2) in ["/missing", "/failed"].into_iter().flat_map(|path| [(path, false), (path, true)]) {
            let request = Request::get(path).header("authorization", value);
            let response = ask(&gateway, &request, h2).expect("an answer");
            assert_eq!(response.status, 200, "{value}: {}", response.text());
            let record = gateway.upstream.take().pop().expect("a request");
            let expected = if stays { vec![value] } else { Vec::new() };
            assert_eq!(record.headers_named("authorization"), expected, "{path} {value}");
        }
        // It stays beside a token from elsewhere, too.
        let request = Request::get("/strict").header("authorization", value).header("x-token", &good);
        assert_eq!(request.send(gateway.addr()).status, 200, "{value}");
        let record = gateway.upstream.take().pop().expect("a request");
        assert_eq!(record.headers_named("authorization").len(), usize::from(stays), "{value}");
        assert_eq!(record.headers_named("x-token"), [""; 0], "{value}");
    }
    gateway.assert_sound();
}

/// Cookies of everyday sites.
const COOKIES: [&str; 30] = [
    "_ga=GA1.2.1234567890.1717430400; _gid=GA1.2.987654321.1717430400",
    "_ga_ABC123=GS1.1.1717430400.3.1.1717431000.60.0.0",
    "_fbp=fb.1.1717430400000.1234567890",
    "prefs={\"theme\":\"dark\",\"session\":\"short\",\"n\":1}",
    "prefs=%7B%22theme%22%3A%22dark%22%2C%22session%22%3A%22x%22%7D",
    "last_visit=Tue, 03 Jun 2025 12:00:00 GMT; lang=en",
    "expires=Thu, 01 Jan 1970 00:00:00 GMT; path=/",
    "OptanonConsent=isGpcEnabled=0&datestamp=Tue+Jun+03+2025+12%3A00%3A00&groups=C0001%3A1%2CC0002%3A1",
    "cart=aGVsbG8gd29ybGQ=; sig=Zm9vYmFyYmF6cXV4==",
    "remember_user_token=W1sxXSwiJDJhJDEwJGFiYyJd--0123456789abcdef",
    "JSESSIONID=0000A1B2C3:-1; SESSION=Y2Fm; PHPSESSID=abcdef0123456789",
    "Session=abc; xsession=def; sessions=ghi; session_id=jkl",
    "session.sig=abc; session-legacy=def",
    "csrftoken=abc; sessionid=def",
    "connect.sid=s%3Aabc.def%2Fghi",
    "ref=/login?session=abc&next=/",
    "utm=source=news&session=abc",
    "name=Jos\u{e9}; city=M\u{fc}nchen",
    "note=my session was long; greeting=hello, session",
    "quoted=\"a b, c\"; other=\"d\"",
    "list=a,b,c; pipe=a|b|c",
    "cf_clearance=abc-1717430400-1.0.1.1-xyz; __cf_bm=abc",
    "AWSALB=abc+def/ghi=; AWSALBCORS=abc+def/ghi=",
    "intercom-session-abc=x; mp_123_mixpanel={\"distinct_id\": \"a\"}",
    "__Host-id=abc; __Secure-id=def; __Host-other=ghi",
    "$Version=1; theme=dark; $Path=/",
    "tz=Europe/Berlin; screen=1920x1080; dnt",
    "a=1;b=2;  c = 3;;d=4",
    "spaces=  two  ; tabs=\tone; empty=; =nameless",
    "_hjid=11111111-1111-4111-8111-111111111111; _hjSession_1=eyJpZCI6IngifQ==",
];

/// Queries of everyday sites.
const QUERIES: [&str; 20] = [
    "q=hello+world&page=2",
    "q=a;b;c&sort=asc",
    "filter[name]=x&filter[token]=y",
    "ids[]=1&ids[]=2",
    "redirect=https%3A%2F%2Fapp.example%2F%3Faccess_token%3Dx",
    "redirect=https://app.example/cb?access_token=x",
    "token=abc&access_tokens=1&my_access_token=2&Access_Token=3",
    "json=%7B%22access_token%22%3A%22x%22%7D",
    "utm_source=a&utm_medium=b&gclid=Cj0KCQjw",
    "date=2025-06-03T12:00:00%2B02:00",
    "x=%zz&y=%",
    "bbox=1.5,2.5,3.5,4.5",
    "a=b=c&d==e",
    "a=1&&b=&c",
    "lang=de-DE;q=0.9",
    "callback=jQuery123&_=1717430400",
    "name=Jos%C3%A9&x=%20",
    "scope=openid%20profile+email&state=abc.def",
    "v=1.2.3&path=%2Fa%2Fb",
    "access-token=x&accessToken=y",
];

#[test]
fn everyday_requests_pass_and_what_stands_beside_a_token_stays_to_the_byte() {
    let gateway = Gateway::start(configuration);
    let good = gateway.idp.token(json!({}));
    for (cookie, h2) in COOKIES.iter().flat_map(|cookie| [(cookie, false), (cookie, true)]) {
        let sent = |path: &str, cookie: &str, bearer: bool| {
            let request = Request::get(path).header("cookie", cookie);
            let request = if bearer { request.bearer(&good) } else { request };
            let response = ask(&gateway, &request, h2).expect("an answer");
            assert_eq!(response.status, 200, "{path} {cookie}: {}", response.text());
            gateway.upstream.take().pop().expect("a request").headers_named("cookie")
        };
        for (path, bearer) in [("/public", false), ("/missing", false), ("/failed", false), ("/strict", true)]
        {
            assert_eq!(sent(path, cookie, bearer), [*cookie], "{path}");
        }
        // A token behind them, before them and among them.
        assert_eq!(sent("/strict", &format!("{cookie}; session={good}"), false), [*cookie]);
        assert_eq!(sent("/strict", &format!("session={good}; {cookie}"), false), [*cookie]);
        assert_eq!(
            sent("/strict", &format!("first=1; session={good}; {cookie}"), false),
            [format!("first=1; {cookie}")]
        );
        let whole = format!("{cookie}; session={good}");
        assert_eq!(sent("/forward", &whole, false), [whole.as_str()]);
    }
    // A value in quotes is the same token.
    let quoted = Request::get("/strict").header("cookie", format!("theme=\"dark\"; session=\"{good}\""));
    assert_eq!(quoted.send(gateway.addr()).status, 200);
    assert_eq!(gateway.upstream.take().pop().expect("a request").headers_named("cookie"), ["theme=\"dark\""]);
    for (query, h2) in QUERIES.iter().flat_map(|query| [(query, false), (query, true)]) {
        for (target, expected) in [
            (format!("/public?{query}"), format!("/public?{query}")),
            (format!("/missing?{query}"), format!("/missing?{query}")),
            (format!("/strict?{query}&access_token={good}"), format!("/strict?{query}")),
            (format!("/strict?access_token={good}&{query}"), format!("/strict?{query}")),
            (format!("/strict?first=%2F&access_token={good}&{query}"), format!("/strict?first=%2F&{query}")),
            (
                format!("/forward?{query}&access_token={good}"),
                format!("/forward?{query}&access_token={good}"),
            ),
        ] {
            let response = ask(&gateway, &Request::get(&target), h2).expect("an answer");
            assert_eq!(response.status, 200, "{target}: {}", response.text());
            assert_eq!(gateway.upstream.take().pop().expect("a request").path(), expected, "{target}");
        }
    }
    gateway.assert_sound();
}

/// Whatever passes an enforced rule shows every lenient server the token that was judged, or none.
#[test]
fn a_lenient_server_behind_finds_the_judged_token_or_none() {
    let gateway = Gateway::start(configuration);
    let good = gateway.idp.token(json!({}));
    let forged = flip_bit(&gateway.idp.token(json!({ "sub": "root" })));
    let mut random = common::Random(13);
    let parts = [
        "session",
        "app_token",
        "app.token",
        "access_token",
        "access.token",
        "x",
        "=",
        "=",
        "=",
        ";",
        "; ",
        ",",
        " ",
        "\t",
        "\"",
        "&",
        "+",
        "%20",
        "%00",
        "%73",
        "[",
        "]",
        ".",
        "<G>",
        "<F>",
        "<G>",
        "<F>",
        "theme=dark",
        "session=<G>",
        "session=<F>",
        "access_token=<G>",
        "access_token=<F>",
    ];
    let whole = |text: &str| text.replace("<G>", &good).replace("<F>", &forged);
    let mut text = |most: usize| -> String { (0..random.below(most)).map(|_| random.pick(&parts)).collect() };
    let mut passed = 0;
    for number in 0..1200 {
        let (cookie, query) = (text(8), text(6));
        let query = query.replace([' ', '\t', '"'], "%20");
        let path = ENFORCED[number % ENFORCED.len()];
        let cookies = if number % 2 == 0 { cookie } else { format!("session=<G>; {cookie}") };
        let fields = [("cookie", whole(&cookies))];
        let asked = request(path, &whole(&query), &fields[..usize::from(!cookies.is_empty())]);
        let Some(response) = ask(&gateway, &asked, number % 3 == 0) else { continue };
        assert!(matches!(response.status, 200 | 400 | 401), "{}", response.status);
        for record in gateway.upstream.take() {
            passed += 1;
            let mut found = lenient::tokens(&record);
            // Without a value nobody is called anything.
            found.remove("");
            if path == "/forward" {
                found.remove(&good);
            }
            assert!(found.is_empty(), "{path}: {query:?} and {cookies:?} show a server {found:?}");
        }
    }
    assert!(passed >= 100, "only {passed} passed");
    gateway.assert_sound();
}

#[test]
fn a_claim_equals_a_header_only_where_no_other_reads_like_it() {
    let gateway = Gateway::start(configuration);
    let token = gateway.idp.token(json!({ "tenant": "acme" }));
    let ask_with = |fields: &[(&str, &str)], h2: bool| {
        let request = Request::get("/tenant").bearer(&token);
        let request = fields.iter().fold(request, |request, (name, value)| request.header(name, value));
        ask(&gateway, &request, h2).expect("an answer")
    };
    for h2 in [false, true] {
        assert_eq!(ask_with(&[("x-tenant", "acme")], h2).status, 200);
        assert_eq!(
            ask_with(&[("x-tenant", "acme"), ("x-tenant-id", "evil"), ("xtenant", "evil")], h2).status,
            200
        );
        for other in [
            "x_tenant", "x.tenant", "x~tenant", "x!tenant", "x#tenant", "x$tenant", "x%tenant", "x&tenant",
            "x'tenant", "x*tenant", "x+tenant", "x^tenant", "x`tenant", "x|tenant", "x-tenant", "X_TENANT",
            "X.Tenant", "X-TENANT", "x_Tenant", "X~tenant",
        ] {
            let before = ask_with(&[(other, "evil"), ("x-tenant", "acme")], h2);
            assert_problem(other, &before, 403, "claim_mismatch");
            let behind = ask_with(&[("x-tenant", "acme"), (other, "acme")], h2);
            assert_problem(other, &behind, 403, "claim_mismatch");
        }
    }
    gateway.assert_sound();
}

/// What a token says of its caller is one line of an access log, and one word of it.
#[test]
fn a_subject_or_a_scope_is_one_entry_of_a_text_log() {
    let gateway = Gateway::start_with(configuration, |builder| {
        builder.shared().main(|listener| {
            listener.access_log_field(
                "told",
                "%FILTER_STATE(wasm.portcullis.subject:PLAIN)%|%FILTER_STATE(wasm.portcullis.scopes:PLAIN)%",
            )
        })
    });
    for (number, (subject, scopes, told)) in [
        ("alice", json!(["a", "b"]), "alice|a b"),
        ("alice admin", json!(["a b"]), "alice admin|-"),
        ("alice\nforged line", json!(["a", "b c"]), "-|a"),
        ("alice\r\nforged line", json!(["a\nb", "c"]), "-|c"),
        ("alice\rforged", json!(["a\tb", "c"]), "-|c"),
        ("alice\0", json!(["\u{a0}", "c"]), "-|c"),
        ("alice\u{85}forged", json!(["a\u{2003}b", "c"]), "-|c"),
        ("alice\u{2028}forged", json!(["a\u{2028}b", "c"]), "-|c"),
        ("alice\u{2029}forged", json!(["c\u{1b}[2J"]), "-|-"),
        ("\n", json!("a  b"), "-|a b"),
        ("\u{1b}[2Jalice", json!("a\nb c"), "-|c"),
        ("alice\u{7f}", json!([""]), "-|-"),
        ("DOMAIN\\alice", json!(["urn:a:b", "https://a/b"]), "DOMAIN\\alice|urn:a:b https://a/b"),
        ("Zo\u{eb}", json!(["caf\u{e9}"]), "Zo\u{eb}|caf\u{e9}"),
    ]
    .into_iter()
    .enumerate()
    {
        let path = format!("/strict/{number}");
        let token = gateway.idp.token(json!({ "sub": subject, "scope": scopes }));
        assert_eq!(
            Request::get(&path).bearer(&token).send(gateway.addr()).status,
            200,
            "{subject:?} {scopes}"
        );
        let line = gateway.envoy.logged(&path, SOON);
        // An entry that is empty shows as one that is not there.
        let shown = line["told"].as_str().expect("a text").to_owned();
        let shown: Vec<&str> =
            shown.split('|').map(|part| if part.is_empty() { "-" } else { part }).collect();
        assert_eq!(shown.join("|"), told, "{subject:?} {scopes}");
    }
    gateway.assert_sound();
}
