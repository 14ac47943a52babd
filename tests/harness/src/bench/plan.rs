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
    /// A dynamic module that does nothing: what it costs Envoy to call one.
    EmptyModule,
    /// A Lua filter that reads one header, and nothing more.
    Lua,
    /// Envoy's `jwt_authn` as it comes: every token is verified every time.
    Native,
    /// `jwt_authn` with its token cache.
    NativeCached,
    /// Envoy's `ext_authz` over HTTP, to a listener of the same Envoy that allows everything: what asking a service costs
    /// that takes no time of its own. The one worker serves both sides, and both count.
    ExtAuthz,
    /// Envoy's `ext_authz` over gRPC, to a service outside of Envoy that allows everything. What the service takes does not
    /// count.
    ExtAuthzGrpc,
    /// Portcullis: one rule, one provider, all filter state.
    Portcullis,
    /// Portcullis with rules for paths and methods, a scope, and two claims in headers.
    PortcullisFull,
    /// Portcullis that writes no filter state and heeds no metadata of routes: what `jwt_authn` does, and no more.
    Quiet,
    /// [`Self::Quiet`] as a dynamic module.
    DynamicQuiet,
    /// [`Self::Portcullis`] as a dynamic module.
    Dynamic,
    /// [`Self::PortcullisFull`] as a dynamic module.
    DynamicFull,
    /// Portcullis that leaves out one thing that it does for every request.
    Without(Part),
    /// Portcullis with so many rules, of which the last but one is the request's.
    Rules(usize),
    /// Portcullis with so many keys, of which the last is the token's.
    Keys(usize),
    /// Portcullis with a cache for so many tokens.
    Cache(usize),
    /// Portcullis with such a cache, from which the host withholds its cryptography: every signature is verified in V8.
    Portable(usize),
    /// A wasm filter that verifies signatures of this algorithm with `rsa` 0.9 or `p256` 0.13 as they come, in V8.
    Baseline(Alg),
    /// Portcullis as in [`Self::Portcullis`], from another wasm module, or as in [`Self::DynamicQuiet`], from another dynamic
    /// module in `dist/`: before and after a change.
    Module {
        /// What it is called.
        name: String,
        /// Where it is.
        path: PathBuf,
    },
}

impl Variant {
    /// Every variant of the main table; the first is what the others are compared with.
    pub const ALL: [Self; 14] = [
        Self::None,
        Self::Empty,
        Self::EmptyModule,
        Self::Lua,
        Self::Native,
        Self::NativeCached,
        Self::ExtAuthz,
        Self::ExtAuthzGrpc,
        Self::Quiet,
        Self::Portcullis,
        Self::PortcullisFull,
        Self::DynamicQuiet,
        Self::Dynamic,
        Self::DynamicFull,
    ];

    /// The same on the wasm plugin, for one that is a dynamic module.
    pub(super) fn of_module(&self) -> Option<Self> {
        match self {
            Self::DynamicQuiet => Some(Self::Quiet),
            Self::Dynamic => Some(Self::Portcullis),
            Self::DynamicFull => Some(Self::PortcullisFull),
            _ => None,
        }
    }

    /// Whether it is Portcullis.
    pub(super) fn is_ours(&self) -> bool {
        !matches!(
            self,
            Self::None
                | Self::Empty
                | Self::EmptyModule
                | Self::Lua
                | Self::Native
                | Self::NativeCached
                | Self::ExtAuthz
                | Self::ExtAuthzGrpc
                | Self::Baseline(_)
        )
    }

    /// The name of its listener, and in the results.
    pub fn name(&self) -> Cow<'_, str> {
        Cow::Borrowed(match self {
            Self::None => "none",
            Self::Empty => "empty",
            Self::EmptyModule => "empty_module",
            Self::Lua => "lua",
            Self::Native => "jwt_authn",
            Self::NativeCached => "jwt_authn_cached",
            Self::ExtAuthz => "ext_authz",
            Self::ExtAuthzGrpc => "ext_authz_grpc",
            Self::Portcullis => "portcullis",
            Self::PortcullisFull => "portcullis_full",
            Self::Quiet => "portcullis_quiet",
            Self::DynamicQuiet => "module_quiet",
            Self::Dynamic => "module",
            Self::DynamicFull => "module_full",
            Self::Without(part) => return Cow::Owned(format!("portcullis_without_{part:?}").to_lowercase()),
            Self::Rules(count) => return Cow::Owned(format!("portcullis_rules_{count}")),
            Self::Keys(count) => return Cow::Owned(format!("portcullis_keys_{count}")),
            Self::Cache(count) => return Cow::Owned(format!("portcullis_cache_{count}")),
            Self::Portable(count) => return Cow::Owned(format!("portcullis_portable_cache_{count}")),
            Self::Baseline(alg) => return Cow::Owned(format!("baseline_{alg}").to_lowercase()),
            Self::Module { name, .. } => name,
        })
    }

    /// What it is called in the table.
    pub fn title(&self) -> Cow<'_, str> {
        Cow::Borrowed(match self {
            Self::None => "no filter",
            Self::Empty => "empty wasm filter",
            Self::EmptyModule => "empty dynamic module",
            Self::Lua => "Lua that reads one header",
            Self::Native => "jwt_authn as it comes",
            Self::NativeCached => "jwt_authn with its cache",
            Self::ExtAuthz => "ext_authz, its service in the same worker",
            Self::ExtAuthzGrpc => "ext_authz over gRPC, without its service",
            Self::Portcullis => "Portcullis",
            Self::PortcullisFull => "Portcullis, rules + scope + 2 claim headers",
            Self::Quiet => "Portcullis, small: no filter state, no rules on routes",
            Self::DynamicQuiet => "dynamic module, small: no filter state, no rules on routes",
            Self::Dynamic => "dynamic module",
            Self::DynamicFull => "dynamic module, rules + scope + 2 claim headers",
            Self::Without(Part::State) => "Portcullis, no filter state",
            Self::Without(Part::RouteRules) => "Portcullis, no rules on routes",
            Self::Without(Part::Removal) => "Portcullis, token kept",
            Self::Rules(count) => return Cow::Owned(format!("Portcullis, {count} rules")),
            Self::Keys(count) => return Cow::Owned(format!("Portcullis, {count} keys")),
            Self::Cache(count) => return Cow::Owned(format!("Portcullis, cache for {count} tokens")),
            Self::Portable(_) => "Portcullis, signatures verified in V8",
            Self::Baseline(alg) => return Cow::Owned(format!("{alg} by crates as they come")),
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

/// A table of the report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Section {
    /// Every variant with every kind of token
    Main,
    /// What growth and refusals cost
    Growth,
    /// Two workers beside one
    Workers,
    /// What verifying in V8 costs
    Portable,
    /// Memory and time to start
    Footprint,
}

impl Section {
    /// Every table.
    pub const ALL: [Self; 5] = [Self::Main, Self::Growth, Self::Workers, Self::Portable, Self::Footprint];

    /// The argument that asks for it.
    fn option(self) -> &'static str {
        match self {
            Self::Main => "--main",
            Self::Growth => "--growth",
            Self::Workers => "--workers",
            Self::Portable => "--portable",
            Self::Footprint => "--footprint",
        }
    }
}

/// What is run.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The algorithms of the tokens in the main table.
    pub algs: Vec<Alg>,
    /// The algorithms that are verified in V8.
    pub portable_algs: Vec<Alg>,
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
    /// Which tables there will be.
    pub sections: Vec<Section>,
}

impl Default for Plan {
    fn default() -> Self {
        Self {
            algs: vec![Alg::RS256, Alg::ES256],
            portable_algs: Alg::ALL.into_iter().filter(|alg| !alg.is_symmetric()).collect(),
            tokens: Tokens::ALL.to_vec(),
            variants: Variant::ALL.to_vec(),
            rounds: 80,
            requests: 500,
            pool: 4000,
            warm_up: 6000,
            connections: 16,
            pin: true,
            sections: Section::ALL.to_vec(),
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
        let (mut modules, mut sections) = (Vec::new(), Vec::new());
        let mut arguments = arguments.into_iter();
        while let Some(argument) = arguments.next() {
            let mut value = || arguments.next().ok_or(format!("{argument} needs a value"));
            match argument.as_str() {
                "--help" | "-h" => return Ok(None),
                "--quick" => (plan.rounds, plan.pool, plan.warm_up) = (10, 2000, 2000),
                "--no-pin" => plan.pin = false,
                "--algs" => {
                    plan.algs = list(&value()?, |name| name.parse().ok())?;
                    plan.portable_algs.clone_from(&plan.algs);
                }
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
                _ => match Section::ALL.into_iter().find(|section| section.option() == argument) {
                    Some(section) => sections.push(section),
                    None => return Err(format!("{argument} is not an option of the benchmark")),
                },
            }
        }
        if !sections.is_empty() {
            plan.sections = sections;
        }
        plan.variants.extend(modules);
        let symmetric: Vec<_> = plan.algs.iter().filter(|alg| alg.is_symmetric()).collect();
        if !symmetric.is_empty() {
            return Err(format!("--algs: {symmetric:?} have no public keys"));
        }
        Ok(Some(plan))
    }

    /// Whether there will be this table.
    pub fn has(&self, section: Section) -> bool {
        self.sections.contains(&section)
    }

    /// What the arguments are.
    pub fn usage() -> String {
        let names = |names: Vec<&str>| names.join(",");
        format!(
            "\
  --quick              ten rounds: to see that it works, not to believe
  --main               the main table; of this and the next four, those that are named, or all
  --growth             growth and refusals
  --workers            two workers beside one
  --portable           signatures verified in V8
  --footprint          memory and time to start
  --algs LIST          RS256,ES256 and any other with a public key
  --tokens LIST        {}
  --variants LIST      {}
  --module NAME=FILE   another module beside the one under test, a dynamic one small; may be repeated
  --rounds N           rounds that count (80)
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

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(arguments: &str) -> Result<Plan, String> {
        let plan = Plan::parse(arguments.split_whitespace().map(str::to_owned))?;
        Ok(plan.expect("no call for help"))
    }

    #[test]
    fn every_table_is_made_unless_some_are_named() {
        assert_eq!(parsed("").unwrap().sections, Section::ALL);
        assert_eq!(parsed("--rounds 3").unwrap().sections, Section::ALL);
        assert_eq!(parsed("--workers").unwrap().sections, [Section::Workers]);
        let both = parsed("--portable --rounds 3 --main").unwrap();
        assert!(both.has(Section::Main) && both.has(Section::Portable) && !both.has(Section::Growth));
        assert_eq!(both.rounds, 3);
        assert!(parsed("--nothing").unwrap_err().contains("--nothing"));
    }

    #[test]
    fn verifying_in_v8_is_measured_for_every_public_key_or_those_named() {
        assert_eq!(parsed("--portable").unwrap().portable_algs.len(), 10);
        assert_eq!(parsed("--portable --algs PS256,EdDSA").unwrap().portable_algs, [Alg::PS256, Alg::EdDSA]);
        assert!(parsed("--algs HS256").unwrap_err().contains("HS256"));
    }

    #[test]
    fn what_is_compared_always_has_the_listener_without_a_filter() {
        let variants = |list: &str| parsed(&format!("--variants {list}")).map(|plan| plan.variants);
        assert_eq!(
            variants("ext_authz,portcullis").unwrap(),
            [Variant::None, Variant::ExtAuthz, Variant::Portcullis]
        );
        assert!(variants("envoy").unwrap_err().contains("envoy"));
    }

    #[test]
    fn the_options_are_in_the_usage() {
        for section in Section::ALL {
            assert!(Plan::usage().contains(section.option()), "{section:?}");
        }
        for variant in Variant::ALL {
            assert!(Plan::usage().contains(&*variant.name()), "{variant:?}");
        }
    }
}
