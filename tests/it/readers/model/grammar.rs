//! A grammar of odd requests, and of rules for them to meet.

use super::choices::Choices;
use super::head::Head;
use super::parts::{Places, SUBPROTOCOLS};
use super::rules::{Bind, Condition, Demand, Expression, PathRule, Policy, Rule, RuleSet, ValueTest};

/// The tokens that requests carry.
#[derive(Clone, Debug)]
pub struct Token {
    pub text: String,
    /// Its claims `sub`, `tenant` and `site`.
    pub subject: &'static str,
    pub tenant: &'static str,
    pub site: &'static str,
}

/// Subject, tenant, site and scope of each good token.
pub const PEOPLE: [(&str, &str, &str, &str); 5] = [
    ("ann", "acme", "www.example", "read"),
    ("bob", "evil", "internal.example", "read"),
    ("root", "acme", "www.example", "read admin"),
    ("cyd", "acme corp", "www.example", "read"),
    ("eve", "evil", "www.example", "read admin"),
];

const EXACT: &[&str] =
    &["/healthz", "/public/x", "/admin", "/a%20b", "/caf%C3%A9", "/public", "/", "/admin/x"];
const PREFIXES: &[&str] = &["/", "/public", "/public/", "/admin", "/admin/", "/t/", "/a"];
const SEPARATED: &[&str] = &["/public", "/admin", "/t/acme", "/healthz", "/public/x"];
const TEMPLATES: &[&str] =
    &["/t/{tenant}/**", "/t/{tenant}", "/{tenant}/admin", "/*/admin/**", "/public/*", "/t/*/x", "/public/**"];
const EXPRESSIONS: &[Expression] = &[
    Expression { text: "/public/.*", holds: |path| path.starts_with(b"/public/") && !path.contains(&b'\n') },
    Expression { text: "/(public|healthz)", holds: |path| matches!(path, b"/public" | b"/healthz") },
    Expression { text: "/admin.*", holds: |path| path.starts_with(b"/admin") && !path.contains(&b'\n') },
    Expression {
        text: "/t/[a-z]+/x",
        holds: |path| {
            let piece = path.strip_prefix(b"/t/").and_then(|rest| rest.strip_suffix(b"/x"));
            piece.is_some_and(|piece| !piece.is_empty() && piece.iter().all(u8::is_ascii_lowercase))
        },
    },
];
const HOSTS: &[&str] = &["www.example", "internal.example", "other.test", "*.example"];
const HOSTS_WITH_PORT: &[&str] =
    &["www.example:8080", "internal.example:*", "www.example:*", "internal.example:80"];
const VALUES: &[ValueTest] = &[
    ValueTest::Exact("purge"),
    ValueTest::Exact("read"),
    ValueTest::Prefix("pur"),
    ValueTest::Suffix("ge"),
    ValueTest::Contains("urg"),
    ValueTest::Present,
];

/// What a rule set may have, since versions of the filter differ.
#[derive(Clone, Copy, Debug)]
pub struct Known {
    /// Whether `hosts` take ports.
    pub ports: bool,
}

/// Any rules.
pub fn rule_set(choices: &mut Choices<'_>, known: Known) -> RuleSet {
    let mut rules: Vec<Rule> = (0..2 + choices.below(5)).map(|_| rule(choices, known)).collect();
    if choices.chance(80) {
        let demand = choices.pick(&[Demand::Token, Demand::Token, Demand::Public, Demand::Admin]);
        rules.push(Rule { demand, ..plain_rule(PathRule::Prefix("/")) });
    }
    let all = [("authorization", "Bearer ")];
    let mut headers = if choices.chance(30) { vec![all[0], ("x-token", "")] } else { all.to_vec() };
    if choices.chance(20) {
        headers.push((SUBPROTOCOLS, "bearer"));
    }
    let ignores_proofs = choices.chance(20);
    if ignores_proofs {
        headers.push(("authorization", "DPoP "));
    }
    let places = Places {
        headers,
        cookies: if choices.chance(40) { vec!["session_id"] } else { Vec::new() },
        params: if choices.chance(40) { vec!["access_token"] } else { Vec::new() },
    };
    RuleSet {
        rules,
        policy: choices.pick(&[
            Policy::Reject,
            Policy::Reject,
            Policy::Normalize,
            Policy::Normalize,
            Policy::MatchRaw,
        ]),
        allow_unmatched: choices.chance(15),
        places,
        forward: choices.chance(40),
        ignores_proofs,
    }
}

/// These paths, all of them public.
pub fn plain_set(paths: &[PathRule]) -> RuleSet {
    RuleSet {
        rules: paths.iter().map(|path| plain_rule(path.clone())).collect(),
        policy: Policy::Reject,
        allow_unmatched: false,
        places: Places { headers: Vec::new(), cookies: Vec::new(), params: Vec::new() },
        forward: false,
        ignores_proofs: false,
    }
}

/// A public rule for a path.
pub fn plain_rule(path: PathRule) -> Rule {
    Rule {
        path,
        any_case: false,
        hosts: Vec::new(),
        headers: Vec::new(),
        query: Vec::new(),
        methods: Vec::new(),
        demand: Demand::Public,
        bind: None,
        report: false,
        policy: None,
    }
}

fn rule(choices: &mut Choices<'_>, known: Known) -> Rule {
    let path = match choices.below(6) {
        0 => PathRule::Exact(choices.pick(EXACT)),
        1 | 2 => PathRule::Prefix(choices.pick(PREFIXES)),
        3 => PathRule::Separated(choices.pick(SEPARATED)),
        4 => PathRule::Template(choices.pick(TEMPLATES)),
        _ => PathRule::Regex(choices.pick(EXPRESSIONS)),
    };
    let demands = [
        Demand::Public,
        Demand::Public,
        Demand::Token,
        Demand::Admin,
        Demand::AllowMissing,
        Demand::AllowMissingOrFailed,
    ];
    let mut rule = Rule { demand: choices.pick(&demands), ..plain_rule(path) };
    rule.any_case = !matches!(rule.path, PathRule::Regex(_) | PathRule::Template(_)) && choices.chance(8);
    if choices.chance(25) {
        let hosts = if known.ports && choices.chance(40) { HOSTS_WITH_PORT } else { HOSTS };
        rule.hosts.push(choices.pick(hosts));
    }
    if choices.chance(20) {
        rule.headers.push(condition(choices, "x-operation"));
    }
    if choices.chance(20) {
        rule.query.push(Condition { invert: false, ..condition(choices, "op") });
    }
    if choices.chance(12) {
        rule.methods.push(choices.pick(&["GET", "POST"]));
    }
    rule.report = choices.chance(15);
    if choices.chance(25) {
        rule.policy =
            Some(choices.pick(&[Policy::Reject, Policy::Normalize, Policy::Normalize, Policy::MatchRaw]));
    }
    if rule.demand.looks() {
        rule.bind = match &rule.path {
            PathRule::Template(text) if text.contains("{tenant}") && choices.chance(60) => Some(Bind::Path),
            _ if choices.chance(10) => Some(Bind::Header),
            _ if choices.chance(6) => Some(Bind::Host),
            _ => None,
        };
    }
    rule
}

fn condition(choices: &mut Choices<'_>, name: &'static str) -> Condition {
    Condition { name, test: choices.pick(VALUES), invert: choices.chance(25) }
}

/// A request, half of the time for one of these rules.
pub fn head(choices: &mut Choices<'_>, set: &RuleSet, tokens: &[Token], forged: &str) -> Head {
    let method = choices.pick(&["GET", "GET", "GET", "POST"]);
    let mut head = Head {
        method: method.to_owned(),
        authority: authority(choices),
        target: path(choices, set),
        fields: Vec::new(),
        route_rule: None,
    };
    let token = tokens[choices.below(tokens.len())].text.as_str();
    let carried = [token, token, forged];
    let query = query(choices, set, &carried);
    if !query.is_empty() || choices.chance(2) {
        head.target = format!("{}?{query}", head.target);
    }
    fields(choices, set, &carried, &mut head);
    let binding = set.rules.iter().position(|rule| rule.bind == Some(Bind::Path));
    if let Some(at) = binding
        && choices.chance(15)
    {
        head.route_rule = Some(format!("r{at}"));
    }
    head
}

fn authority(choices: &mut Choices<'_>) -> String {
    let host =
        choices.pick(&["www.example", "internal.example", "other.test", "a.example", "WWW.Example", "[::1]"]);
    if choices.chance(60) {
        return host.to_owned();
    }
    let end = choices.pick(&[
        "", ":80", ":8080", ":443", ".", ".:80", ":x", ":", ":80.", ":8080:80", ":+80", ":80x", "..",
    ]);
    let user =
        if choices.chance(12) { choices.pick(&["u@", "other.test@", "www.example:80@", "a:b@"]) } else { "" };
    format!("{user}{host}{end}")
}

const SLASHES: &[&str] = &[
    "/", "/", "/", "//", "%2f", "%2F", "%5c", "\\", "/./", "/;/", "/;x/", "/%2e/", "%252f", "/.;/", "%5C/",
    "/;%2f/",
];
const DOTS: &[&str] = &[
    "..",
    "..",
    "%2e%2e",
    ".%2E",
    "..;",
    "..;x=1",
    "%252e%252e",
    "..%3b",
    "%2e.;y",
    ".%252e",
    "..%00",
    "..%3bx",
];
const ENDS: &[&str] = &[
    "", "/", ";x", ";", "%3b", "%3bx", ";x=/", "/.", "/..", "/;", "%00", "%23", "%3f", "%3Fx", "%", "%zz",
    "%20", ".", "/..;/", ";/../", "%09", "//", "\\", "%5c", "#x", ";/..", "%25", "%253b", "%2f", "%252f",
    "%3b/..",
];

/// A path: one of the rules', led out of it and into another's, spelled oddly.
pub fn path(choices: &mut Choices<'_>, set: &RuleSet) -> String {
    let mut segments = segments(choices, set);
    if choices.chance(45) {
        return format!("/{}", segments.join("/"));
    }
    // Which oddities there are at all: few at a time, so that what is odd can also be near to the plain.
    let (slashes, dots, letters, ends) =
        (choices.chance(40), choices.chance(35), choices.chance(35), choices.chance(50));
    if dots {
        let depth = 1 + choices.below(segments.len().max(1));
        for _ in 0..depth {
            segments.push(choices.pick(DOTS).to_owned());
        }
        segments.extend(self::segments(choices, set));
    }
    let mut path = String::new();
    for segment in &segments {
        path.push_str(if slashes && choices.chance(50) { choices.pick(SLASHES) } else { "/" });
        path.push_str(&if letters && choices.chance(50) {
            respelled(choices, segment)
        } else {
            segment.clone()
        });
        if ends && choices.chance(20) {
            path.push_str(choices.pick(&[";x", ";", "%3bx", ";a=b", "%3b"]));
        }
    }
    if ends {
        path.push_str(choices.pick(ENDS));
    }
    if choices.chance(2) {
        path = format!("http://{}{path}", choices.pick(&["www.example", "internal.example"]));
    }
    // What would be no request line.
    path.replace(['\t', '\r', '\n', ' '], "")
}

/// A path that somebody may take for `/admin/x`: led there out of `/public`, or there at once, spelled oddly.
pub fn attack(choices: &mut Choices<'_>) -> String {
    let (slashes, letters, parameters) = (choices.chance(60), choices.chance(40), choices.chance(30));
    let mut segments: Vec<String> = Vec::new();
    if choices.chance(60) {
        segments.push("public".to_owned());
        let depth = choices.below(2);
        segments.extend((0..depth).map(|_| "x".to_owned()));
        segments.extend((0..=depth).map(|_| choices.pick(DOTS).to_owned()));
    }
    segments.extend(["admin", "x"].map(str::to_owned));
    let mut path = String::new();
    for (at, segment) in segments.iter().enumerate() {
        // The first one is a slash: all else is no path.
        let odd = slashes && choices.chance(50);
        path.push_str(match (at, odd) {
            (0, true) => choices
                .pick(&["//", "/;/", "/./", "/%2e/", "/;x/", "/%2f", "/\\", "/.;/", "/x/../", "/%5c", "///"]),
            (_, true) => choices.pick(SLASHES),
            (_, false) => "/",
        });
        path.push_str(&if letters && choices.chance(40) {
            respelled(choices, segment)
        } else {
            segment.clone()
        });
        if parameters && choices.chance(50) {
            path.push_str(choices.pick(&[";x", ";", "%3bx", ";a=b", "%3b"]));
        }
    }
    if choices.chance(15) {
        path.push_str(choices.pick(ENDS));
    }
    path
}

/// The segments of a path that some rule could be for.
fn segments(choices: &mut Choices<'_>, set: &RuleSet) -> Vec<String> {
    let rule = &set.rules[choices.below(set.rules.len())];
    let text = match &rule.path {
        PathRule::Exact(text)
        | PathRule::Prefix(text)
        | PathRule::Separated(text)
        | PathRule::Template(text) => text,
        PathRule::Regex(_) => &choices.pick(&["/public/x", "/healthz", "/admin/x", "/t/acme/x"]),
    };
    let mut segments: Vec<String> = Vec::new();
    for segment in text.split('/').filter(|segment| !segment.is_empty()) {
        segments.push(match segment {
            "**" => choices.pick(&["x", "admin", "x/y"]).to_owned(),
            "*" | "{tenant}" => {
                choices.pick(&["acme", "evil", "acme", "acme%20corp", "public", "x"]).to_owned()
            }
            literal => literal.to_owned(),
        });
    }
    if choices.chance(50) {
        segments.push(choices.pick(&["x", "admin", "y.txt", "", "evil", "public", "acme"]).to_owned());
    }
    segments
}

/// The text with one of its letters escaped, once or twice, or in the other case.
fn respelled(choices: &mut Choices<'_>, text: &str) -> String {
    let letters: Vec<usize> =
        text.bytes().enumerate().filter(|(_, b)| b.is_ascii_alphanumeric()).map(|(at, _)| at).collect();
    if letters.is_empty() || text.contains('%') {
        return text.to_ascii_lowercase();
    }
    let at = choices.pick(&letters);
    let byte = text.as_bytes()[at];
    let other = match choices.below(5) {
        0 => format!("%25{byte:02x}"),
        1 => format!("%{byte:02x}"),
        2 => char::from(byte ^ 0x20).to_string(),
        _ => format!("%{byte:02X}"),
    };
    format!("{}{other}{}", &text[..at], &text[at + 1..])
}

const WORDS: &[&str] =
    &["purge", "read", "purge", "read", "pur%67e", "purge;x", "PURGE", "", "pu", "xpurge", "purge,read"];

fn query(choices: &mut Choices<'_>, set: &RuleSet, tokens: &[&str]) -> String {
    let mut parts = Vec::new();
    let asked = set.rules.iter().any(|rule| !rule.query.is_empty());
    if choices.chance(if asked { 70 } else { 8 }) {
        for _ in 0..1 + choices.below(3) {
            let name = choices.pick(&[
                "op", "op", "op", "o%70", "op[]", "op[a]", "%20op", "+op", "op%00", "x", "OP", "op%5b%5d",
            ]);
            parts.push(format!("{name}={}", choices.pick(WORDS)));
        }
    }
    if choices.chance(if set.places.params.is_empty() { 2 } else { 35 }) {
        for _ in 0..1 + choices.below(2) {
            let names = [
                "access_token",
                "access_token",
                "access.token",
                "access%5ftoken",
                "access+token",
                "access_token[]",
                "access[token",
            ];
            let token = choices.pick(tokens);
            let value = match choices.below(10) {
                0 => String::new(),
                1 => token.replacen('.', "%2e", 1),
                2 => token.replacen('.', "%252e", 1),
                _ => token.to_owned(),
            };
            parts.push(format!("{}={value}", choices.pick(&names)));
        }
    }
    let between = choices.pick(&["&", "&", "&", ";", "&;", "&x;"]);
    parts.join(between)
}

fn fields(choices: &mut Choices<'_>, set: &RuleSet, tokens: &[&str], head: &mut Head) {
    let asked = set.rules.iter().any(|rule| !rule.headers.is_empty());
    if choices.chance(if asked { 60 } else { 4 }) {
        for _ in 0..1 + choices.below(3) {
            let name = choices.pick(&[
                "x-operation",
                "x-operation",
                "x-operation",
                "x_operation",
                "x.operation",
                "X-Operation",
            ]);
            let value = choices.pick(&[
                "purge",
                "read",
                "read",
                "purge,read",
                "read, purge",
                "PURGE",
                "",
                "urg",
                "xpurge",
            ]);
            head.fields.push((name.to_owned(), (*value).to_owned()));
        }
    }
    let tenants = set.rules.iter().any(|rule| rule.bind == Some(Bind::Header));
    if choices.chance(if tenants { 60 } else { 2 }) {
        for _ in 0..1 + choices.below(2) {
            let name =
                choices.pick(&["x-tenant", "x-tenant", "x_tenant", "x.tenant", "X-TENANT", "x~tenant"]);
            head.fields.push((name.to_owned(), choices.pick(&["acme", "evil", "acme,evil"]).to_owned()));
        }
    }
    if choices.chance(6) {
        let name = choices.pick(&["x-user", "x_user", "x.user", "x~user", "X-User", "x!user", "x*user"]);
        head.fields.push((name.to_owned(), "mallory".to_owned()));
    }
    if choices.chance(45) {
        authorization(choices, tokens, head);
    }
    let looks = set.places.headers.iter().any(|(name, _)| *name == "x-token");
    if choices.chance(if looks { 30 } else { 1 }) {
        for _ in 0..1 + choices.below(2) {
            let name = choices.pick(&["x-token", "x-token", "x_token", "x.token"]);
            head.fields.push((name.to_owned(), choices.pick(tokens).to_owned()));
        }
    }
    if choices.chance(if set.places.cookies.is_empty() { 2 } else { 45 }) {
        cookies(choices, tokens, head);
    }
    let lists = set.places.headers.iter().any(|(name, _)| *name == SUBPROTOCOLS);
    if choices.chance(if lists { 35 } else { 1 }) {
        subprotocols(choices, tokens, head);
    }
}

fn subprotocols(choices: &mut Choices<'_>, tokens: &[&str], head: &mut Head) {
    for _ in 0..if choices.chance(8) { 2 } else { 1 } {
        let mut list = String::new();
        for _ in 0..1 + choices.below(3) {
            if !list.is_empty() {
                list.push_str(choices.pick(&[", ", ", ", ",", " , ", ",,", ",\t"]));
            }
            let marker =
                choices.pick(&["bearer", "bearer", "bearer", "Bearer", "\"bearer\"", "bearer2", "chat"]);
            let token = choices.pick(tokens);
            list.push_str(&match choices.below(8) {
                0 => "chat".to_owned(),
                1 => format!("{marker} {token}"),
                2 => format!("{marker},{token}"),
                3 => marker.to_owned(),
                _ => format!("{marker}, {token}"),
            });
        }
        let name = choices.pick(&[SUBPROTOCOLS, SUBPROTOCOLS, SUBPROTOCOLS, "sec_websocket_protocol"]);
        head.fields.push((name.to_owned(), list));
    }
}

fn authorization(choices: &mut Choices<'_>, tokens: &[&str], head: &mut Head) {
    let again = choices.chance(10);
    for _ in 0..if again { 2 } else { 1 } {
        let token = choices.pick(tokens);
        let value = match choices.below(18) {
            0 => format!("bearer {token}"),
            1 => format!("Bearer\t{token}"),
            2 => "Basic dTpw".to_owned(),
            3 => format!("Basic dTpw, Bearer {token}"),
            4 => format!("Bearer  {token}"),
            5 => format!("Bearer {token},Bearer x"),
            6 => format!("DPoP {token}"),
            7 => format!("dpop\t{token}"),
            _ => format!("Bearer {token}"),
        };
        head.fields.push(("authorization".to_owned(), value));
    }
}

fn cookies(choices: &mut Choices<'_>, tokens: &[&str], head: &mut Head) {
    if choices.chance(5) {
        // What is split at commas alone is another token than what is split at blanks too.
        let field = format!("x=1{}session_id={} a=1", choices.pick(&[", ", ","]), choices.pick(tokens));
        head.fields.push(("cookie".to_owned(), field));
        return;
    }
    for _ in 0..1 + choices.below(2) {
        let mut field = String::new();
        for _ in 0..1 + choices.below(3) {
            if !field.is_empty() {
                field.push_str(choices.pick(&["; ", "; ", ";", " ", ", ", ",", "\t"]));
            }
            let name = choices.pick(&[
                "session_id",
                "session_id",
                "session_id",
                "x",
                "session.id",
                "session%5fid",
                "session[id",
                "session_id[]",
                "a",
            ]);
            let full = name.starts_with('s') && !choices.chance(8);
            let value: &str = if full { choices.pick(tokens) } else { choices.pick(&["y", "1", ""]) };
            let quoted = choices.chance(10);
            field.push_str(&if quoted { format!("{name}=\"{value}\"") } else { format!("{name}={value}") });
        }
        head.fields.push(("cookie".to_owned(), field));
    }
}
