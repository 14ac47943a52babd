//! What a request costs as things grow, and what a refusal costs.

use super::plan::{Part, Variant};
use crate::idp::Alg;

/// The algorithm of the tokens for what grows: they are made quickly.
pub(super) const GROWN: Alg = Alg::ES256;

/// Lines that are measured side by side and compared with the first of them.
#[derive(Clone, Debug)]
pub struct Group {
    /// What it shows.
    pub title: String,
    /// The tokens' algorithm.
    pub alg: Alg,
    /// The lines.
    pub lines: Vec<Line>,
}

impl Group {
    /// What its lines have before their routes.
    pub(super) fn variants(&self) -> impl Iterator<Item = &Variant> {
        self.lines.iter().map(|line| &line.variant)
    }
}

/// A kind of request to one variant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// What it is called in the table.
    pub title: &'static str,
    /// What stands before the route.
    pub variant: Variant,
    /// What is asked.
    pub traffic: Traffic,
}

/// What is asked again and again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Traffic {
    /// So many good tokens in turn.
    Good(usize),
    /// One good token of about 4 KB.
    Long,
    /// No token at all.
    Missing,
    /// Something that is no token.
    Malformed,
    /// A token past its time.
    Expired,
    /// A token of an issuer that is not configured.
    Foreign,
    /// The public key taken for a secret.
    OtherAlgorithm,
    /// So many tokens whose signatures do not hold.
    Forged(usize),
}

impl Traffic {
    /// The status that every answer has.
    pub fn status(self) -> &'static str {
        match self {
            Self::Good(_) | Self::Long => "200",
            _ => "401",
        }
    }
}

/// All groups; `pool` is how many tokens are enough for none to be remembered when its turn comes again.
pub(super) fn groups(pool: usize) -> Vec<Group> {
    let line = |title, variant, traffic| Line { title, variant, traffic };
    let hit = Traffic::Good(1);
    let own = |title, traffic| line(title, Variant::Portcullis, traffic);
    let group = |title: &str, lines| Group { title: title.to_owned(), alg: GROWN, lines };
    vec![
        group(
            "what is written; a token seen before",
            vec![
                line("jwt_authn with its cache", Variant::NativeCached, hit),
                line("Portcullis, small: no filter state, no rules on routes", Variant::Quiet, hit),
                line("Portcullis, all filter state", Variant::Portcullis, hit),
                line("Portcullis, rules + scope + 2 claim headers", Variant::PortcullisFull, hit),
            ],
        ),
        group(
            "what is left out; a token seen before",
            vec![
                own("nothing", hit),
                line("filter state", Variant::Without(Part::State), hit),
                line("rules on routes", Variant::Without(Part::RouteRules), hit),
                line("taking the token away", Variant::Without(Part::Removal), hit),
                line("filter state and rules on routes", Variant::Quiet, hit),
            ],
        ),
        group(
            "rules; a token seen before",
            vec![
                line("10 rules", Variant::Rules(10), hit),
                line("1,000 rules", Variant::Rules(1000), hit),
                line("10,000 rules", Variant::Rules(10_000), hit),
            ],
        ),
        group(
            "keys; tokens each seen once",
            vec![
                line("1 key", Variant::Keys(1), Traffic::Good(pool)),
                line("100 keys", Variant::Keys(100), Traffic::Good(pool)),
            ],
        ),
        group(
            "tokens in the cache",
            vec![
                line("1 token", Variant::Cache(20_000), hit),
                line("1,000 tokens", Variant::Cache(20_000), Traffic::Good(1000)),
                line("10,000 tokens", Variant::Cache(20_000), Traffic::Good(10_000)),
            ],
        ),
        group(
            "length of a token seen before",
            vec![own("about 500 bytes", hit), own("about 4 KB", Traffic::Long)],
        ),
        group(
            "refusals beside a token seen before",
            vec![
                own("seen before, passes", hit),
                own("no token", Traffic::Missing),
                own("malformed", Traffic::Malformed),
                own("expired", Traffic::Expired),
                own("unknown issuer", Traffic::Foreign),
                own("wrong algorithm", Traffic::OtherAlgorithm),
            ],
        ),
        group(
            "a flood of forged signatures",
            vec![
                line("jwt_authn as it comes", Variant::Native, Traffic::Forged(pool)),
                own("Portcullis", Traffic::Forged(pool)),
                line("Portcullis as a dynamic module", Variant::Dynamic, Traffic::Forged(pool)),
            ],
        ),
    ]
}
