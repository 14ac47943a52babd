//! The property, tried on the filter and on judges that are known to be wrong.

use std::env;

use harness::{Alg, Key};
use portcullis::PathStep;
use serde_json::{Value, json};

use crate::readers::model::blunted::{self, Blunt, Blunted};
use crate::readers::model::choices::Choices;
use crate::readers::model::gate::{Filter, Judge as _};
use crate::readers::model::grammar::{self, Known, PEOPLE, Token};
use crate::readers::model::machine::{Case, Machine, Tally};
use crate::readers::model::naive::Lacks;
use crate::readers::model::parts::{HostReader, TokenReader, Which};
use crate::readers::model::paths::{self, Step};
use crate::readers::model::rules::RuleSet;

const NOW: u64 = 1_750_000_000;

/// A number out of the environment.
pub fn number(name: &str, default: u64) -> u64 {
    let Some(text) = env::var_os(name) else { return default };
    let text = text.to_string_lossy();
    text.parse().unwrap_or_else(|_| panic!("{name} is a number, not {text:?}"))
}

fn secret() -> Vec<u8> {
    (0..32).collect()
}

fn keys() -> Value {
    json!({ "keys": [{ "kty": "oct", "kid": "h", "alg": "HS256", "k": harness::idp::b64(secret()) }] })
}

/// The machine with tokens for everybody, and whether `hosts` of this filter take ports.
fn machine() -> Machine {
    let sign = |key: &Key, (subject, tenant, site, scope): (&str, &str, &str, &str)| {
        let claims = json!({
            "iss": "https://idp.example/", "aud": "orders", "exp": NOW + 600, "iat": NOW - 10,
            "sub": subject, "tenant": tenant, "site": site, "scope": scope,
        });
        key.sign_jws(&json!({ "alg": "HS256", "kid": "h" }), claims.to_string().as_bytes())
    };
    let key = Key::hmac(Alg::HS256, "h", &secret());
    let tokens = PEOPLE.iter().map(|person| {
        let (subject, tenant, site, _) = *person;
        Token { text: sign(&key, *person), subject, tenant, site }
    });
    let forged = sign(&Key::hmac(Alg::HS256, "h", b"another secret, of thirty-two by"), PEOPLE[1]);
    let ports =
        json!({ "providers": {}, "rules": [{ "match": { "prefix": "/", "hosts": ["a.example:*"] } }] });
    let ports = portcullis::Config::parse(ports.to_string().as_bytes(), &|_| None).is_ok();
    Machine { readers: paths::readers(), tokens: tokens.collect(), forged, known: Known { ports } }
}

/// The seed of a rule set and its requests.
pub fn seed_of(seed: u64, at: u64) -> u64 {
    seed.wrapping_mul(1_000_003).wrapping_add(at)
}

fn shown(case: &Case, keys: &Value) -> String {
    let mut config = case.set.to_json(keys);
    config["providers"]["corp"]["local_jwks"] = json!("…");
    format!("[{}] {}\n  {}\n{}\n", case.found.kind, case.head, case.found.text, config)
}

#[test]
fn whatever_passes_is_a_request_of_that_rule_for_every_reader() {
    let machine = machine();
    let keys = keys();
    let (sets, requests, seed) = (
        number("PORTCULLIS_READERS_SETS", 120),
        number("PORTCULLIS_READERS_REQUESTS", 400),
        number("PORTCULLIS_READERS_SEED", 1),
    );
    let requests = usize::try_from(requests).expect("a number of requests");
    let mut tally = Tally::default();
    let mut found: Vec<Case> = Vec::new();
    let mut told = String::new();
    for at in 0..sets {
        let own_seed = seed_of(seed, at);
        let mut choices = Choices::Seed(own_seed);
        let set = grammar::rule_set(&mut choices, machine.known);
        let make = |set: &RuleSet| Filter::new(set, &keys, NOW).ok();
        let before = found.len();
        tally += machine.try_set(&set, &mut choices, requests, make, &mut found);
        for case in &found[before..] {
            told.push_str(&format!("seed {own_seed}: {}", shown(case, &keys)));
        }
    }
    println!("{tally:?} under {sets} rule sets, {} readers of a path", machine.readers.len());
    assert!(tally.passed * 20 > tally.asked, "hardly anything passes: {tally:?}");
    assert!(found.is_empty(), "{tally:?}, {} kinds\n{told}", found.len());
}

/// What each sabotage takes away from a judge that knows every reading. Not here, since the others imply them: escapes
/// of unreserved characters alone, and a path that is escaped anew.
fn sabotages() -> Vec<Lacks> {
    use HostReader::*;
    use Step::*;
    let steps = [Query, Cut, Decode, CutNul, Backslash, Merge, Authority, NormPath];
    let hosts: [&[HostReader]; 6] = [
        &[Literal, WithoutDot],
        &[WithoutPort, WithoutAnyPort, WithoutBoth, BehindUser],
        &[Literal, WithoutPort, WithoutAnyPort],
        &[WithoutDot, WithoutBoth, BehindUser],
        &[Literal, WithoutPort, WithoutDot],
        &[Literal, WithoutPort, WithoutAnyPort, WithoutDot, WithoutBoth],
    ];
    let which = [Which::First, Which::Last, Which::Joined(","), Which::Any];
    use TokenReader::*;
    let tokens = [
        LenientHeader,
        FoldedHeader,
        CookieCommas,
        CookieBlanks,
        CookieVariables,
        ParamSemicolons,
        ParamVariables,
        LenientSubprotocols,
    ];
    let mut all: Vec<Lacks> = steps.map(Lacks::Path).to_vec();
    all.extend([Lacks::AllDots, Lacks::SecondDecoding, Lacks::Report, Lacks::RouteRule]);
    all.extend(hosts.map(Lacks::AllHostsBut));
    all.extend(which.map(Lacks::Field));
    all.extend([Lacks::FoldedConditions, Lacks::FoldedBinding, Lacks::FoldedIdentity]);
    all.extend([Which::First, Which::Last].map(Lacks::QueryWhich));
    all.extend([Lacks::QuerySemicolons, Lacks::QueryDecoding, Lacks::QueryVariables]);
    all.extend(tokens.map(Lacks::Token));
    all
}

/// What the machine finds of a judge of its own that lacks this, within so many rule sets.
fn hunted(machine: &Machine, lacks: Option<Lacks>, sets: u64, requests: usize) -> (Tally, Vec<Case>) {
    let (mut tally, mut found) = (Tally::default(), Vec::new());
    for at in 0..sets {
        let mut choices = Choices::Seed(seed_of(7, at));
        let set = grammar::rule_set(&mut choices, machine.known);
        tally += machine.try_naive(&set, &mut choices, requests, lacks, &mut found);
        if !found.is_empty() {
            break;
        }
    }
    (tally, found)
}

#[test]
fn a_judge_that_misses_one_reading_is_caught() {
    let machine = machine();
    let (tally, found) = hunted(&machine, None, 60, 50);
    let told: Vec<String> = found.iter().map(|case| shown(case, &keys())).collect();
    assert!(found.is_empty(), "a judge that knows every reading: {tally:?}\n{}", told.join("\n"));
    let mut missed = Vec::new();
    for lacks in sabotages() {
        let began = std::time::Instant::now();
        let (tally, found) = hunted(&machine, Some(lacks), 3000, 50);
        println!(
            "{lacks:?}: {tally:?} {:?} {:?}",
            found.first().map(|case| case.found.kind),
            began.elapsed()
        );
        if found.is_empty() {
            missed.push(lacks);
        }
    }
    assert!(missed.is_empty(), "not caught: {missed:?}");
}

/// The same for the filter itself: each reading that can be taken from it.
#[test]
fn the_filter_without_one_of_its_readings_is_caught() {
    let (machine, keys) = (machine(), keys());
    let caught = |blunt: Option<Blunt>, sets: u64| {
        (0..sets).find_map(|at| {
            let mut choices = Choices::Seed(seed_of(11, at));
            let set = grammar::rule_set(&mut choices, machine.known);
            let [mut judge, mut whole] = [blunt, None].map(|blunt| Blunted::new(&set, &keys, blunt));
            let (judge, whole) = (judge.as_mut()?, whole.as_mut()?);
            (0..100).find_map(|_| {
                let mut head = grammar::head(&mut choices, &set, &machine.tokens, &machine.forged);
                head.route_rule = None;
                let passed = judge.ask(&head)?;
                let found = machine.rule(&set, &head, &passed)?;
                // It is the missing reading that lets it pass.
                let passes_all_the_same = |passed| machine.rule(&set, &head, &passed).is_some();
                (!whole.ask(&head).is_some_and(passes_all_the_same)).then_some(found)
            })
        })
    };
    let mut missed = Vec::new();
    for blunt in blunted::all() {
        // Each of these is part of another step but for a few requests of a million, which the tests of the readings
        // themselves have: escapes of unreserved characters are decoded where all are, bare dots resolved where
        // escaped ones are.
        let implied = matches!(
            blunt,
            Blunt::Path(PathStep::DecodeUnreserved | PathStep::DecodeSlashes | PathStep::RemoveDotSegments)
        );
        let found = caught(Some(blunt), if implied { 0 } else { 1500 });
        let name = match blunt {
            Blunt::Path(step) => format!("{step:?}"),
            Blunt::Shown(name, _) => name.to_owned(),
        };
        println!("without {name}: {:?}", found.as_ref().map(|found| found.kind));
        if found.is_none() && !implied {
            missed.push(name);
        }
    }
    assert!(missed.is_empty(), "not caught: {missed:?}");
}
