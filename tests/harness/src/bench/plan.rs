//! What is compared, and how often.

use std::borrow::Cow;
use std::path::PathBuf;

use crate::idp::Alg;

/// What stands before the route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Variant {
    /// Nothing: what every request costs anyway.
    None,
    /// A wasm filter that does nothing: what entering the VM costs.
    Empty,
    /// Envoy's `jwt_authn` as it comes: every token is verified every time.
    Native,
    /// `jwt_authn` with its token cache.
    NativeCached,
    /// Portcullis: one rule, one provider.
    Portcullis,
    /// Portcullis with rules for paths and methods, a scope, and two claims in headers.
    PortcullisFull,
    /// Portcullis that writes no filter state, heeds no metadata of routes and leaves the token where it is.
    Quiet,
    /// Portcullis that leaves out one thing that it does for every request.
    Without(Part),
    /// Portcullis with so many rules, of which the last but one is the request's.
    Rules(usize),
    /// Portcullis with so many keys, of which the last is the token's.
    Keys(usize),
    /// Portcullis with a cache for so many tokens.
    Cache(usize),
    /// Portcullis as in [`Self::Portcullis`], from another module: before and after a change.
    Module {
        /// What it is called.
        name: String,
        /// Where it is.
        path: PathBuf,
    },
}

impl Variant {
    /// Every variant of the main table; the first is what the others are compared with.
    pub const ALL: [Self; 7] = [
        Self::None,
        Self::Empty,
        Self::Native,
        Self::NativeCached,
        Self::Quiet,
        Self::Portcullis,
        Self::PortcullisFull,
    ];

    /// The name of its listener, and in the results.
    pub fn name(&self) -> Cow<'_, str> {
        Cow::Borrowed(match self {
            Self::None => "none",
            Self::Empty => "empty",
            Self::Native => "jwt_authn",
            Self::NativeCached => "jwt_authn_cached",
            Self::Portcullis => "portcullis",
            Self::PortcullisFull => "portcullis_full",
            Self::Quiet => "portcullis_quiet",
            Self::Without(part) => return Cow::Owned(format!("portcullis_without_{part:?}").to_lowercase()),
            Self::Rules(count) => return Cow::Owned(format!("portcullis_rules_{count}")),
            Self::Keys(count) => return Cow::Owned(format!("portcullis_keys_{count}")),
            Self::Cache(count) => return Cow::Owned(format!("portcullis_cache_{count}")),
            Self::Module { name, .. } => name,
        })
    }

    /// What it is called in the table.
    pub fn title(&self) -> Cow<'_, str> {
        Cow::Borrowed(match self {
            Self::None => "no filter",
            Self::Empty => "empty wasm filter",
            Self::Native => "jwt_authn as it comes",
            Self::NativeCached => "jwt_authn with its cache",
            Self::Portcullis => "Portcullis",
            Self::PortcullisFull => "Portcullis, rules + scope + 2 claim headers",
            Self::Quiet => "Portcullis, small: no filter state, no rules on routes, token kept",
            Self::Without(Part::State) => "Portcullis, no filter state",
            Self::Without(Part::RouteRules) => "Portcullis, no rules on routes",
            Self::Without(Part::Removal) => "Portcullis, token kept",
            Self::Rules(count) => return Cow::Owned(format!("Portcullis, {count} rules")),
            Self::Keys(count) => return Cow::Owned(format!("Portcullis, {count} keys")),
            Self::Cache(count) => return Cow::Owned(format!("Portcullis, cache for {count} tokens")),
            Self::Module { name, .. } => name,
        })
    }
}

/// Something that Portcullis does for every request unless it is told not to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// Writing filter state
    State,
    /// Asking for the metadata of the route
    RouteRules,
    /// Taking the token away
    Removal,
}

/// How often a token comes back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tokens {
    /// One token again and again.
    One,
    /// A thousand tokens in turn: as many as the caches hold.
    Thousand,
    /// Each token once; or once more when every cache has long lost it.
    Once,
}

impl Tokens {
    /// Every kind.
    pub const ALL: [Self; 3] = [Self::One, Self::Thousand, Self::Once];

    /// The name in the results.
    pub fn name(self) -> &'static str {
        match self {
            Self::One => "one",
            Self::Thousand => "1000",
            Self::Once => "once",
        }
    }

    /// What it is called in the table.
    pub fn title(self) -> &'static str {
        match self {
            Self::One => "one token again and again",
            Self::Thousand => "1,000 tokens",
            Self::Once => "tokens each seen once",
        }
    }
}

/// What is run.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The algorithms of the tokens.
    pub algs: Vec<Alg>,
    /// How often tokens come back.
    pub tokens: Vec<Tokens>,
    /// What is compared.
    pub variants: Vec<Variant>,
    /// How many rounds count.
    pub rounds: usize,
    /// Requests to each listener in a round.
    pub requests: usize,
    /// How many tokens there are that are each seen once: far more than the caches hold, so that none is known any
    /// more when its turn comes again.
    pub pool: usize,
    /// Requests to each listener before the first round.
    pub warm_up: usize,
    /// Connections to each listener, each with one request in flight.
    pub connections: usize,
    /// Whether Envoy's worker gets a processor of its own.
    pub pin: bool,
    /// Whether it is measured what growth and refusals cost.
    pub growth: bool,
    /// Whether memory and time to start are measured.
    pub footprint: bool,
}

impl Default for Plan {
    fn default() -> Self {
        Self {
            algs: vec![Alg::RS256, Alg::ES256],
            tokens: Tokens::ALL.to_vec(),
            variants: Variant::ALL.to_vec(),
            rounds: 60,
            requests: 500,
            pool: 4000,
            warm_up: 6000,
            connections: 16,
            pin: true,
            growth: true,
            footprint: true,
        }
    }
}

impl Plan {
    /// Reads command-line arguments; `Ok(None)` when they ask for help.
    ///
    /// # Errors
    /// What is wrong with them.
    pub fn parse(arguments: impl IntoIterator<Item = String>) -> Result<Option<Self>, String> {
        let mut plan = Self::default();
        let mut modules = Vec::new();
        let mut arguments = arguments.into_iter();
        while let Some(argument) = arguments.next() {
            let mut value = || arguments.next().ok_or(format!("{argument} needs a value"));
            match argument.as_str() {
                "--help" | "-h" => return Ok(None),
                "--quick" => (plan.rounds, plan.pool, plan.warm_up) = (10, 2000, 2000),
                "--no-pin" => plan.pin = false,
                "--main" => (plan.growth, plan.footprint) = (false, false),
                "--growth" => (plan.algs, plan.footprint) = (Vec::new(), false),
                "--footprint" => (plan.algs, plan.growth) = (Vec::new(), false),
                "--algs" => plan.algs = list(&value()?, |name| name.parse().ok())?,
                "--tokens" => {
                    plan.tokens =
                        list(&value()?, |name| Tokens::ALL.into_iter().find(|one| one.name() == name))?;
                }
                "--variants" => {
                    plan.variants =
                        list(&value()?, |name| Variant::ALL.into_iter().find(|one| one.name() == name))?;
                    plan.variants.retain(|variant| *variant != Variant::None);
                    plan.variants.insert(0, Variant::None);
                }
                "--module" => {
                    let value = value()?;
                    let (name, path) = value.split_once('=').ok_or("--module needs NAME=FILE")?;
                    modules.push(Variant::Module { name: name.to_owned(), path: PathBuf::from(path) });
                }
                "--rounds" => plan.rounds = number(&value()?)?,
                "--requests" => plan.requests = number(&value()?)?,
                "--pool" => plan.pool = number(&value()?)?,
                "--warm-up" => plan.warm_up = number(&value()?)?,
                "--connections" => plan.connections = number(&value()?)?,
                _ => return Err(format!("{argument} is not an option of the benchmark")),
            }
        }
        plan.variants.extend(modules);
        let symmetric: Vec<_> = plan.algs.iter().filter(|alg| alg.is_symmetric()).collect();
        if !symmetric.is_empty() {
            return Err(format!("--algs: {symmetric:?} have no public keys"));
        }
        Ok(Some(plan))
    }

    /// What the arguments are.
    pub fn usage() -> String {
        let names = |names: Vec<&str>| names.join(",");
        format!(
            "\
  --quick              ten rounds: to see that it works, not to believe
  --main               the main table alone
  --growth             growth and refusals alone
  --footprint          memory and time to start alone
  --algs LIST          RS256,ES256 and any other with a public key
  --tokens LIST        {}
  --variants LIST      {}
  --module NAME=FILE   another module beside the one under test; may be repeated
  --rounds N           rounds that count (60)
  --requests N         requests to each listener in a round (500)
  --pool N             tokens that are each seen once (4000)
  --warm-up N          requests to each listener before the first round (6000)
  --connections N      connections to each listener (16)
  --no-pin             leave Envoy's worker on whichever processor the kernel likes",
            names(Tokens::ALL.iter().map(|tokens| tokens.name()).collect()),
            Variant::ALL.each_ref().map(|variant| variant.name()).join(","),
        )
    }
}

fn list<T>(text: &str, read: impl Fn(&str) -> Option<T>) -> Result<Vec<T>, String> {
    text.split(',')
        .map(|name| read(name).ok_or(format!("{name:?} is none of the names known here")))
        .collect()
}

fn number(text: &str) -> Result<usize, String> {
    text.parse().ok().filter(|number| *number > 0).ok_or(format!("{text:?} is no number above 0"))
}
