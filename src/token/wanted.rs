//! Which claims a first look at a token keeps.

use super::{ClaimPath, Issuer};

/// Names of claims, of which each is found in a few steps.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Wanted {
    /// Each behind its first eight bytes, in order.
    names: Vec<(u64, String)>,
    /// A bit for each length and first letter that a name has.
    name_bits: u64,
}

impl Wanted {
    /// The registered claims, `events`, and those at which these demands look.
    pub fn new(issuers: &[Issuer], audience_claims: &[ClaimPath], required_claims: &[ClaimPath]) -> Self {
        const ALWAYS: [&str; 9] = ["iss", "sub", "aud", "exp", "nbf", "iat", "jti", "cnf", "events"];
        let paths = audience_claims.iter().chain(required_claims).flat_map(ClaimPath::claims);
        let more = paths.chain(issuers.iter().flat_map(Issuer::claims));
        let all = ALWAYS.into_iter().chain(more);
        let mut names: Vec<_> = all.map(|name| (start(name.as_bytes()), name.to_owned())).collect();
        names.sort_unstable();
        names.dedup();
        let name_bits = names.iter().fold(0, |all, (_, name)| all | name_bit(name.as_bytes()));
        Self { names, name_bits }
    }

    /// Whether it is one of them.
    pub(super) fn contains(&self, name: &[u8]) -> bool {
        if self.name_bits & name_bit(name) == 0 {
            return false;
        }
        let start = start(name);
        let first = self.names.partition_point(|(own, _)| *own < start);
        let alike = self.names.iter().skip(first).take_while(|(own, _)| *own == start);
        alike.into_iter().any(|(_, own)| own.as_bytes() == name)
    }
}

/// The first eight bytes of a name as a number.
fn start(name: &[u8]) -> u64 {
    if let Some(eight) = name.first_chunk::<8>() {
        return u64::from_be_bytes(*eight);
    }
    name.iter().fold(0, |start, byte| start.wrapping_shl(8) | u64::from(*byte))
}

/// One of 64 bits, the same for the same name: its length and its first letter.
fn name_bit(name: &[u8]) -> u64 {
    let first = name.first().copied().map_or(0, u32::from);
    1u64.wrapping_shl((name.len() as u32).wrapping_mul(5) ^ first)
}
