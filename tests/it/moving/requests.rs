//! The requests that a set of policies is asked: made of what the policies speak of, of what lies next to it, and of every
//! token.

use std::collections::BTreeSet;

use serde_json::Value;

use super::ask::Ask;
use super::tokens::{Token, Tokens, named};
use crate::common::Random;

/// A way to send a token.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Place {
    Header(String, String),
    Parameter(String),
    Cookie(String),
}

/// What the policies speak of.
#[derive(Default)]
struct Spoken {
    paths: BTreeSet<String>,
    methods: BTreeSet<String>,
    /// Each list of hosts.
    hosts: Vec<Vec<String>>,
    peers: BTreeSet<String>,
    ports: BTreeSet<u16>,
    fields: BTreeSet<(String, String)>,
    places: BTreeSet<Place>,
}

fn texts(value: &Value) -> impl Iterator<Item = &str> {
    value.as_array().into_iter().flatten().filter_map(Value::as_str)
}

impl Spoken {
    /// Whatever stands in a document, at any depth.
    fn read(&mut self, value: &Value) {
        let Value::Object(members) = value else {
            return value.as_array().into_iter().flatten().for_each(|item| self.read(item));
        };
        if let Some(header) = value["key"].as_str().and_then(|key| key.strip_prefix("request.headers[")) {
            let name = header.trim_end_matches(']').to_owned();
            let values = texts(&value["values"]).chain(texts(&value["notValues"]));
            self.fields.extend(values.map(|value| (name.clone(), value.replace('*', "x"))));
        }
        for (name, member) in members {
            let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
            match name.as_str() {
                "paths" | "notPaths" => self.paths.extend(texts(member).map(str::to_owned)),
                "path" => self.paths.extend([example(&member["value"])]),
                "methods" | "notMethods" => {
                    self.methods.extend(texts(member).map(|it| it.replace('*', "GET")))
                }
                "hosts" | "notHosts" => self.hosts.push(texts(member).map(str::to_owned).collect()),
                "principals" | "notPrincipals" => {
                    self.peers.extend(texts(member).map(|it| it.replace('*', "x")))
                }
                "namespaces" => {
                    self.peers.extend(texts(member).map(|it| format!("cluster.local/ns/{it}/sa/x")))
                }
                "ports" | "notPorts" => {
                    self.ports.extend(texts(member).filter_map(|it| it.parse::<u16>().ok()))
                }
                "fromParams" | "params" => {
                    self.places.extend(texts(member).map(|it| Place::Parameter(it.to_owned())))
                }
                "fromCookies" | "cookies" => {
                    self.places.extend(texts(member).map(|it| Place::Cookie(it.to_owned())))
                }
                "fromHeaders" | "headers" => {
                    for header in member.as_array().into_iter().flatten() {
                        let values: Vec<&str> = texts(&header["values"]).collect();
                        let prefix = [text(&header["prefix"]), text(&header["valuePrefix"])].concat();
                        if values.is_empty() {
                            self.places.insert(Place::Header(text(&header["name"]), prefix));
                        }
                        self.fields
                            .extend(values.into_iter().map(|it| (text(&header["name"]), it.to_owned())));
                    }
                }
                _ => {}
            }
            self.read(member);
        }
    }
}

/// A path that an expression of the sets takes; any other path as it stands.
fn example(value: &Value) -> String {
    value.as_str().unwrap_or("/").replace("[0-9]+", "7").replace(".*", "x")
}

/// A path that a pattern is about.
fn plain(pattern: &str) -> String {
    let plain = pattern.replace("{**}", "x/y").replace("{*}", "x");
    match plain.as_str() {
        "*" => "/x".to_owned(),
        it if it.starts_with('*') => it.replacen('*', "/deep/x", 1),
        it => it.replace('*', "x"),
    }
}

/// Paths that a pattern is about, and paths next to them.
fn around(pattern: &str) -> Vec<(String, &'static [&'static str])> {
    let plain = plain(pattern);
    let parent = plain.rsplit_once('/').map_or("", |(parent, _)| parent).to_owned();
    const TWICE: &[&str] = &["path_twice"];
    let mut all: Vec<(String, &'static [&'static str])> = vec![
        (plain.clone(), &[]),
        (format!("{plain}?a=1"), &["query"]),
        (format!("{plain}/"), &[]),
        (format!("{plain}x"), &[]),
        (format!("{plain}/x"), &[]),
        (format!("{plain}/x/y"), &[]),
        (plain.to_uppercase(), &[]),
        (format!("{plain};v=1"), TWICE),
        (format!("{parent};v=1/x"), TWICE),
        (format!("/{plain}"), TWICE),
        (format!("{plain}%2Fx"), TWICE),
        (format!("{parent}/%2e%2e/x"), TWICE),
    ];
    if !parent.is_empty() {
        all.push((parent, &[]));
    }
    all
}

/// Whether every list with a host also has it with any port.
fn is_with_ports(lists: &[Vec<String>], host: &str) -> bool {
    let any_port = format!("{host}:*");
    lists.iter().any(|list| list.contains(&any_port))
        && lists.iter().all(|list| list.contains(&any_port) || !list.iter().any(|own| own == host))
}

/// Hosts that a pattern is about, and hosts next to them.
fn hosts_around(pattern: &str, lists: &[Vec<String>]) -> Vec<(String, &'static [&'static str])> {
    let plain = match pattern.split_once(":*") {
        Some((name, _)) => name.to_owned(),
        None => pattern.replace('*', "shop"),
    };
    const TWICE: &[&str] = &["host_twice"];
    vec![
        (plain.clone(), &[]),
        (plain.to_uppercase(), &[]),
        (format!("{plain}:8080"), if is_with_ports(lists, &plain) { &[] } else { TWICE }),
        (format!("{plain}."), TWICE),
        (format!("{plain}.evil.example"), &[]),
        (format!("a.{plain}"), &[]),
    ]
}

/// The choices for each part of a request.
struct Choices<'t> {
    paths: Vec<(String, &'static [&'static str])>,
    hosts: Vec<(String, &'static [&'static str])>,
    methods: Vec<String>,
    peers: Vec<String>,
    ports: Vec<u16>,
    fields: Vec<(String, String)>,
    places: Vec<Place>,
    tokens: &'t Tokens,
}

impl<'t> Choices<'t> {
    fn new(documents: &[Value], tokens: &'t Tokens) -> Self {
        let mut spoken = Spoken::default();
        documents.iter().for_each(|document| spoken.read(document));
        let mut paths: Vec<_> = spoken.paths.iter().flat_map(|path| around(path)).collect();
        // Where one pattern is about an end and another about a beginning.
        let ends: Vec<&str> = spoken.paths.iter().filter_map(|path| path.strip_prefix('*')).collect();
        for path in spoken.paths.iter().filter(|path| !path.starts_with('*')) {
            paths.extend(ends.iter().map(|end| (format!("{}{end}", plain(path)), &[][..])));
        }
        paths.extend(["/", "/elsewhere", "/orders"].map(|path| (path.to_owned(), &[][..])));
        let named: BTreeSet<&String> = spoken.hosts.iter().flatten().collect();
        let mut hosts: Vec<_> =
            named.into_iter().flat_map(|host| hosts_around(host, &spoken.hosts)).collect();
        hosts.insert(0, ("www.example.com".to_owned(), &[]));
        spoken.methods.extend(["GET", "POST", "OPTIONS"].map(str::to_owned));
        spoken.peers.insert("cluster.local/ns/other/sa/other".to_owned());
        spoken.ports.insert(8080);
        let fields = spoken
            .fields
            .iter()
            .flat_map(|(name, value)| [value.clone(), "other".to_owned()].map(|value| (name.clone(), value)));
        let places = [Place::Header("authorization".to_owned(), "Bearer ".to_owned())]
            .into_iter()
            .chain(spoken.places);
        Self {
            paths,
            hosts,
            methods: spoken.methods.into_iter().collect(),
            peers: spoken.peers.into_iter().collect(),
            ports: spoken.ports.into_iter().collect(),
            fields: fields.collect(),
            places: places.collect(),
            tokens,
        }
    }

    /// A request with all parts chosen.
    fn ask(&self, path: usize, host: usize, method: &str, token: Option<(&Place, &Token)>) -> Ask {
        let (target, host) = (&self.paths[path], &self.hosts[host]);
        let mut ask = Ask {
            method: method.to_owned(),
            host: host.0.clone(),
            target: target.0.clone(),
            peer: self.peers[0].clone(),
            port: self.ports[0],
            traits: [target.1, host.1].concat(),
            ..Ask::default()
        };
        if let Some((place, token)) = token {
            ask.token = token.name;
            ask.traits.extend(&token.traits);
            put(&mut ask, place, &token.text);
        }
        ask
    }

    fn random(&self, random: &mut Random) -> Ask {
        let some = |random: &mut Random, count: usize| random.below(count);
        let all: Vec<&Token> = self.tokens.values().collect();
        let place = &self.places[some(random, self.places.len())];
        let token = all[some(random, all.len())];
        let with = (random.below(8) > 0).then_some((place, token));
        // Every other request is for a host and a path that have nothing odd.
        let (path, host) = (some(random, self.paths.len()), some(random, self.hosts.len()));
        let method = self.methods[some(random, self.methods.len())].clone();
        let mut ask = self.ask(path, if random.below(2) == 0 { 0 } else { host }, &method, with);
        ask.peer = self.peers[some(random, self.peers.len())].clone();
        ask.port = self.ports[some(random, self.ports.len())];
        if !self.fields.is_empty() && random.below(3) > 0 {
            ask.fields.push(self.fields[some(random, self.fields.len())].clone());
        }
        if method == "OPTIONS" && random.below(2) == 0 {
            ask.fields.push(("origin".to_owned(), "https://app.example".to_owned()));
            ask.fields.push(("access-control-request-method".to_owned(), "GET".to_owned()));
            ask.traits.push("preflight");
        }
        ask
    }
}

/// Puts a token into a request.
fn put(ask: &mut Ask, place: &Place, token: &str) {
    match place {
        Place::Header(name, prefix) => {
            ask.fields.push((name.to_ascii_lowercase(), format!("{prefix}{token}")))
        }
        Place::Parameter(name) => {
            let mark = if ask.target.contains('?') { '&' } else { '?' };
            ask.target = format!("{}{mark}{name}={token}", ask.target);
            ask.traits.push("query");
        }
        Place::Cookie(name) => ask.fields.push(("cookie".to_owned(), format!("a=b; {name}={token}; c=d"))),
    }
}

/// What a set of policies is asked: each token at each path, the oddities, and as many more by chance.
pub fn asks(documents: &[Value], tokens: &Tokens, more: usize) -> Vec<Ask> {
    let choices = Choices::new(documents, tokens);
    let place = &choices.places[choices.places.len() - 1];
    let mut all = Vec::new();
    for path in (0..choices.paths.len()).filter(|path| choices.paths[*path].1.is_empty()) {
        all.push(choices.ask(path, 0, "GET", None));
        all.extend(tokens.values().map(|token| choices.ask(path, 0, "GET", Some((place, token)))));
    }
    let (good, forged) = (named(tokens, "good"), named(tokens, "forged"));
    let some = ["admin of several", "realm admin", "writer"].map(|name| named(tokens, name));
    for path in 0..choices.paths.len() {
        for token in [None, Some(good), Some(forged)].into_iter().chain(some.map(Some)) {
            let token = token.map(|token| (place, token));
            all.extend(choices.methods.iter().map(|method| choices.ask(path, 0, method, token)));
            all.extend((1..choices.hosts.len()).map(|host| choices.ask(path, host, "GET", token)));
        }
    }
    // Where only one place is named, the second token is where Istio and Envoy Gateway look besides.
    let second = match choices.places.as_slice() {
        [.., _, second, _] => second.clone(),
        _ => Place::Parameter("access_token".to_owned()),
    };
    for path in 0..choices.paths.len() {
        for (token, extra) in [(good, good), (good, forged), (forged, good)] {
            let mut ask = choices.ask(path, 0, "GET", Some((place, token)));
            put(&mut ask, &second, &extra.text);
            ask.traits.extend(["several", "query_token"]);
            all.push(ask);
        }
        for (start, token, name) in [
            ("bearer ", &good.text, "scheme"),
            ("bearer ", &forged.text, "scheme"),
            ("Basic ", &"dTpw".to_owned(), "basic"),
        ] {
            let mut ask = choices.ask(path, 0, "GET", None);
            put(&mut ask, &Place::Header("authorization".to_owned(), start.to_owned()), token);
            ask.traits.push(name);
            all.push(ask);
        }
        for token in [good, forged] {
            let mut ask = choices.ask(path, 0, "GET", None);
            put(&mut ask, &Place::Parameter("access_token".to_owned()), &token.text);
            ask.traits.push("query_token");
            all.push(ask);
        }
    }
    let mut random = Random(0x5eed);
    all.extend((0..more).map(|_| choices.random(&mut random)));
    all
}
