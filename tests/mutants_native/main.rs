//! A million mutants of good tokens, a third of them signed after they were changed, each judged by
//! the filter and by an independent verifier. Both must say the same of every one, but for the
//! differences that [`Difference`] writes down; and none may panic.
//!
//! `PORTCULLIS_MUTANTS_NATIVE` is how many, `PORTCULLIS_MUTANTS_SEED` the seed, which is printed.
//! The keys are made anew in each run; a disagreement is printed with all that it takes to look
//! into it.

mod date;
mod mutants;
mod random;
mod reader;
mod verifier;
mod world;

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{SystemTime, UNIX_EPOCH};
use std::{env, thread};

use harness::Alg;
use portcullis::gate::{Outcome, StreamId};
use portcullis::keys::KeySet;
use portcullis::request::Request;
use portcullis::time::Timestamp;
use portcullis::token::Unverified;

use mutants::{Mutant, Pool, mutant};
use random::Random;
use reader::{base64url, json};
use verifier::{Accepted, Difference, Verifier};
use world::{PROVIDERS, Portcullis, World};

#[test]
fn a_million_mutants_are_judged_as_an_independent_verifier_judges_them() {
    let number = |name: &str| env::var(name).ok().map(|text| text.parse().expect(name));
    let count = number("PORTCULLIS_MUTANTS_NATIVE").unwrap_or(1_000_000);
    let clock = || SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock").as_nanos() as u64;
    let seed = number("PORTCULLIS_MUTANTS_SEED").unwrap_or_else(clock);
    println!("{count} mutants of seed {seed}");

    let world = World::new();
    let pool = Pool::new(&world, &mut Random::of(seed, u64::MAX));
    let threads = thread::available_parallelism().map_or(2, |cores| cores.get().min(8)) as u64;
    let mut sum = Tally::default();
    thread::scope(|scope| {
        let run = |first| {
            let (world, pool) = (&world, &pool);
            move || judge_all((first..count).step_by(threads as usize), seed, world, pool)
        };
        let all: Vec<_> = (0..threads).map(|first| scope.spawn(run(first))).collect();
        for one in all {
            sum.add(one.join().expect("a thread that judges mutants"));
        }
    });

    println!("{sum}");
    if !sum.disagreements.is_empty() {
        println!("key set: {}", world.set);
        for text in &sum.disagreements {
            println!("{text}");
        }
        panic!("{} mutants are judged otherwise than by the independent verifier", sum.disagreements.len());
    }
    // Were all refused, or all for one thing, the agreement would say little.
    if count >= 100_000 {
        assert!(sum.signed * 3 >= count, "{sum}");
        assert!(sum.accepted * 50 >= count && sum.accepted_signed * 20 >= sum.signed, "{sum}");
        for alg in Alg::ALL {
            assert!(
                sum.by_algorithm.get(alg.name()).is_some_and(|n| *n > 0),
                "no good token of {alg}: {sum}"
            );
        }
        assert!(sum.refused.values().filter(|n| **n > 0).count() >= 20, "{sum}");
    }
}

/// What became of many mutants.
#[derive(Default)]
struct Tally {
    signed: u64,
    accepted: u64,
    accepted_signed: u64,
    by_algorithm: BTreeMap<String, u64>,
    /// How many the independent verifier refused, by the first reason.
    refused: BTreeMap<&'static str, u64>,
    differences: BTreeMap<String, u64>,
    disagreements: Vec<String>,
}

impl Tally {
    fn add(&mut self, other: Self) {
        self.signed += other.signed;
        self.accepted += other.accepted;
        self.accepted_signed += other.accepted_signed;
        for (name, n) in other.by_algorithm {
            *self.by_algorithm.entry(name).or_default() += n;
        }
        for (reason, n) in other.refused {
            *self.refused.entry(reason).or_default() += n;
        }
        for (name, n) in other.differences {
            *self.differences.entry(name).or_default() += n;
        }
        self.disagreements.extend(other.disagreements);
    }
}

impl std::fmt::Display for Tally {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { signed, accepted, accepted_signed, .. } = self;
        writeln!(f, "{signed} signed after the change; {accepted} accepted, {accepted_signed} of these")?;
        writeln!(f, "accepted by algorithm: {:?}", self.by_algorithm)?;
        writeln!(f, "refused: {:?}", self.refused)?;
        write!(f, "written-down differences met: {:?}", self.differences)
    }
}

fn judge_all(indexes: impl Iterator<Item = u64>, seed: u64, world: &World, pool: &Pool) -> Tally {
    let mut all: Vec<Portcullis> = (0..PROVIDERS.len()).map(|at| Portcullis::new(at, world)).collect();
    let mut tally = Tally::default();
    for index in indexes {
        let mutant = mutant(seed, index, world, pool);
        let portcullis = &mut all[mutant.provider];
        let theirs = |difference| {
            let demands = &PROVIDERS[mutant.provider];
            Verifier { keys: &world.keys, demands, difference }.judge(&mutant.token, &mutant.now())
        };
        let expected = theirs(Difference::None);
        tally.signed += u64::from(mutant.signed);
        match &expected {
            Ok(_) => {
                tally.accepted += 1;
                tally.accepted_signed += u64::from(mutant.signed);
                *tally.by_algorithm.entry(algorithm(&mutant.token)).or_default() += 1;
            }
            Err(reason) => *tally.refused.entry(reason).or_default() += 1,
        }
        let judged = catch_unwind(AssertUnwindSafe(|| judge(portcullis, &mutant, index)));
        let ours = judged.unwrap_or_else(|_| Err("it panicked".to_owned()));
        if same(&ours, &expected) {
            continue;
        }
        if let Some(known) = Difference::ALL.into_iter().find(|known| same(&ours, &theirs(*known))) {
            *tally.differences.entry(format!("{known:?}")).or_default() += 1;
            continue;
        }
        let token = String::from_utf8_lossy(&mutant.token);
        let Mutant { provider, seconds, nanoseconds, .. } = mutant;
        tally.disagreements.push(format!(
            "seed {seed}, mutant {index}, provider {provider}, at {seconds}.{nanoseconds:09}: {token:?}\n  \
             {}\n  Portcullis: {ours:?}\n  independent: {expected:?}",
            said(&token)
        ));
        if tally.disagreements.len() >= 10 {
            break;
        }
    }
    tally
}

fn same(ours: &Result<Accepted, String>, theirs: &Result<Accepted, &'static str>) -> bool {
    match (ours, theirs) {
        (Ok(ours), Ok(theirs)) => ours == theirs,
        (Err(ours), Err(_)) => ours != "it panicked" && !ours.starts_with("inconsistent"),
        _ => false,
    }
}

/// The filter's verdict: by its own arithmetic, now and then by the host's too, and now and then by the
/// whole gate. They must not differ.
fn judge(portcullis: &mut Portcullis, mutant: &Mutant, index: u64) -> Result<Accepted, String> {
    let now =
        Timestamp::from_secs(mutant.seconds).plus(std::time::Duration::from_nanos(mutant.nanoseconds.into()));
    let portcullis::config::Keys::Local(keys) = &portcullis.provider.keys else { return Err(String::new()) };
    // RSA costs the filter's own arithmetic ten times as much as the host's.
    let [own, host] = &portcullis.backends;
    let (first, second) = if index.is_multiple_of(2) { (own, host) } else { (host, own) };
    let verdict = by_steps(portcullis, keys, first, mutant, now);
    if index.is_multiple_of(5) {
        let other = by_steps(portcullis, keys, second, mutant, now);
        if other != verdict {
            return Err(format!("inconsistent: {first} {verdict:?}, {second} {other:?}"));
        }
    }
    // A header field's value: nothing that HTTP refuses, and the blanks before a credential are none
    // of it. More than max_token_size is the gate's to refuse.
    let token = &mutant.token;
    let plain = token.iter().all(|byte| byte.is_ascii_graphic() && *byte != b',') && !token.is_empty();
    if index.is_multiple_of(4) && plain {
        let value = [b"Bearer ", &token[..]].concat();
        let fields: [(&[u8], &[u8]); 3] =
            [(b":method", b"GET"), (b":path", b"/"), (b"authorization", &value)];
        let outcome = portcullis.gate.decide(StreamId(1), &Request::new(&fields), now);
        let passes = matches!(outcome, Outcome::Allow(_));
        let small = token.len() <= portcullis.provider.policy.max_token_size;
        if passes != (verdict.is_ok() && small) {
            return Err(format!("inconsistent: {verdict:?}, but the gate says {outcome:?}"));
        }
    }
    verdict
}

fn by_steps(
    portcullis: &Portcullis,
    keys: &KeySet,
    backend: &portcullis::crypto::Backend,
    mutant: &Mutant,
    now: Timestamp,
) -> Result<Accepted, String> {
    let policy = &portcullis.provider.policy;
    let reason = |rejected: portcullis::reason::Rejected| rejected.reason.as_str().to_owned();
    let token = Unverified::parse(&mutant.token, policy).map_err(reason)?;
    policy.check(&token, &policy.audiences, now).map_err(reason)?;
    let kid = token.header().kid.clone();
    let candidates = keys.candidates(kid.as_deref(), token.header().algorithm);
    let token = token.verify(backend, candidates).map_err(reason)?;
    let token = token.read(policy, &policy.audiences, now).map_err(reason)?;
    let claims = token.claims();
    Ok(Accepted {
        issuer: claims.issuer.clone().map(String::from),
        subject: claims.subject.clone().map(String::from),
        scopes: claims.scopes.iter().map(ToString::to_string).collect(),
        claims: claims.all().len(),
    })
}

/// The name in the header of a token that was accepted.
fn algorithm(token: &[u8]) -> String {
    let text = String::from_utf8_lossy(token);
    let header = text.split('.').next().and_then(base64url).and_then(|bytes| json(&bytes));
    header.and_then(|header| Some(header.member("alg")?.text()?.to_owned())).unwrap_or_default()
}

/// Header and claims of a token, as far as they can be read.
fn said(token: &str) -> String {
    let read = |part: &str| base64url(part).map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    format!("{:?}", token.split('.').take(2).map(read).collect::<Vec<_>>())
}
