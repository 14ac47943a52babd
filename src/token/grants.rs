//! What a provider's tokens grant: the scopes and roles in their claims, and what a scope stands for.

use super::ClaimPath;
use super::reading::{MIXED_LIST, wrong_type};
use crate::json::{Json, Object, Text};
use crate::reason::{Reason, Rejected};

/// Where the tokens of a provider name what they grant.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Grants {
    /// The claims that hold scopes: each a text separated by spaces (RFC 6749 section 3.3), or a list.
    pub scope_claims: Vec<ClaimPath>,
    /// The claims that hold roles.
    pub role_claims: Vec<RoleClaim>,
    /// Which scopes stand for others.
    pub hierarchy: ScopeHierarchy,
}

impl Grants {
    /// How to name a claim that would have what a token lacks, as [`ClaimPath::hint`] says it.
    pub fn hint(&self, reason: Reason, claims: &Object) -> String {
        let hint = |claim: &ClaimPath| Some(claim.hint(claims)).filter(|hint| !hint.is_empty());
        let found = match reason {
            Reason::ScopeInsufficient => self.scope_claims.iter().find_map(hint),
            Reason::RoleInsufficient => self.role_claims.iter().find_map(|role| hint(&role.claim)),
            _ => None,
        };
        found.unwrap_or_default()
    }
}

/// A claim that holds roles, and how it holds them.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RoleClaim {
    /// The claim.
    pub claim: ClaimPath,
    /// How it holds them.
    pub format: RoleFormat,
}

/// How a claim holds roles. The elements of a list are roles as they stand, in every form but the last.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum RoleFormat {
    /// A list of texts, or a text that is one role, blanks and all: a group that is called `site admin`
    /// makes nobody an `admin`
    #[default]
    Auto,
    /// Roles separated by spaces
    Space,
    /// Roles separated by commas; blanks around them do not count
    Comma,
    /// The names of an object's members, whatever their values are
    Keys,
}

impl RoleClaim {
    /// Adds the roles of a token as they stand, repeated and empty ones among them. An absent claim and `null` hold none.
    ///
    /// # Errors
    /// [`ClaimInvalid`](crate::reason::Reason::ClaimInvalid) where the claim does not have the configured form: what
    /// cannot be read is not taken for a token without roles, which `none_of` and `not` would let through.
    pub(super) fn add(&self, claims: &Object, roles: &mut Vec<Text>) -> Result<(), Rejected> {
        const EXPECTED: &str = "a string or a list of strings";
        match (self.claim.find(claims), self.format) {
            (None | Some(Json::Null), _) => {}
            (Some(Json::Object(members)), RoleFormat::Keys) => {
                roles.extend(members.names().cloned());
            }
            (Some(other), RoleFormat::Keys) => {
                return Err(wrong_type(&self.claim, other.kind(), "an object whose members are roles"));
            }
            (Some(Json::String(role)), RoleFormat::Auto) => roles.push(role.clone()),
            (Some(Json::String(list)), RoleFormat::Space) => {
                roles.extend(list.split(' ').map(|role| list.part(role)));
            }
            (Some(Json::String(list)), RoleFormat::Comma) => {
                roles.extend(list.split(',').map(|role| list.part(role.trim())));
            }
            (Some(Json::Array(list)), _) => {
                for role in list {
                    let text = role.as_text().ok_or_else(|| wrong_type(&self.claim, MIXED_LIST, EXPECTED))?;
                    roles.push(text.clone());
                }
            }
            (Some(other), _) => return Err(wrong_type(&self.claim, other.kind(), EXPECTED)),
        }
        Ok(())
    }
}

/// Which of a list of names comes where in their order, so that each is found in a few steps. Of few names there is
/// none: they are looked at one by one.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Order(Vec<u32>);

/// How many names are few.
const FEW: usize = 16;

impl Order {
    /// Of these names those that are not empty, each once, as they came, with their order.
    pub(super) fn of(mut names: Vec<Text>) -> (Vec<Text>, Self) {
        names.retain(|name| !name.is_empty());
        if names.len() <= FEW {
            let mut once: Vec<Text> = Vec::with_capacity(names.len());
            for name in names {
                if !once.contains(&name) {
                    once.push(name);
                }
            }
            return (once, Self::default());
        }
        let mut places: Vec<(&Text, u32)> = names.iter().zip(0u32..).collect();
        places.sort_unstable();
        let mut repeated = vec![false; names.len()];
        for [(one, _), (other, place)] in places.array_windows::<2>() {
            if let Some(repeated) = repeated.get_mut(*place as usize) {
                *repeated = one == other;
            }
        }
        let mut once = Vec::with_capacity(names.len());
        once.extend(
            names.iter().zip(&repeated).filter(|(_, repeated)| !**repeated).map(|(name, _)| name.clone()),
        );
        if once.len() <= FEW {
            return (once, Self::default());
        }
        // Where each name went when those before it were left out.
        let mut gone = 0u32;
        let shifts: Vec<u32> = repeated
            .iter()
            .map(|repeated| {
                gone = gone.saturating_add(u32::from(*repeated));
                gone
            })
            .collect();
        let new = |place: u32| {
            let at = place as usize;
            (!*repeated.get(at)?).then(|| Some(place.saturating_sub(*shifts.get(at)?)))?
        };
        let order = places.iter().filter_map(|(_, place)| new(*place)).collect();
        (once, Self(order))
    }

    /// Whether `names`, of which this is the order, hold this one.
    pub(super) fn holds(&self, names: &[Text], name: &str) -> bool {
        if self.0.is_empty() {
            return names.iter().any(|own| *own == *name);
        }
        self.first(names, name).is_some_and(|own| own == name)
    }

    /// Whether one of them starts with this.
    fn starts(&self, names: &[Text], prefix: &str) -> bool {
        if self.0.is_empty() {
            return names.iter().any(|own| own.starts_with(prefix));
        }
        self.first(names, prefix).is_some_and(|own| own.starts_with(prefix))
    }

    /// The first of them that does not come before this one.
    fn first<'n>(&self, names: &'n [Text], name: &str) -> Option<&'n str> {
        let own = |place: &u32| names.get(*place as usize).map_or("", Text::as_str);
        let at = self.0.partition_point(|place| own(place) < name);
        names.get(*self.0.get(at)? as usize).map(Text::as_str)
    }
}

/// Which scopes stand for others: who holds the one on the left holds those on the right. Followed to its
/// end when it is made, so that a token costs one look a scope; a circle is no harm.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct ScopeHierarchy(Vec<(Left, Vec<Text>)>);

/// The left side of a line.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Left {
    Scope(String),
    /// Every scope that starts with this.
    Prefix(String),
}

impl Left {
    fn takes(&self, scope: &str) -> bool {
        match self {
            Self::Scope(own) => scope == own,
            Self::Prefix(prefix) => scope.starts_with(prefix.as_str()),
        }
    }

    fn takes_one_of(&self, scopes: &[Text], order: &Order) -> bool {
        match self {
            Self::Scope(own) => order.holds(scopes, own),
            Self::Prefix(prefix) => order.starts(scopes, prefix),
        }
    }
}

/// Adds a name that is not empty and not there yet.
fn add_once(names: &mut Vec<Text>, name: &Text) {
    if !name.is_empty() && !names.contains(name) {
        names.push(name.clone());
    }
}

impl ScopeHierarchy {
    /// The hierarchy of these lines. `orders:*` on the left takes every scope that starts with `orders:`.
    pub fn new(lines: impl IntoIterator<Item = (String, Vec<String>)>) -> Self {
        let lines: Vec<(Left, Vec<Text>)> = lines
            .into_iter()
            .map(|(left, right)| {
                let right = right.into_iter().map(Text::from).collect();
                match left.strip_suffix('*') {
                    Some(prefix) => (Left::Prefix(prefix.to_owned()), right),
                    None => (Left::Scope(left), right),
                }
            })
            .collect();
        let closed = lines.iter().map(|(left, right)| {
            let mut all: Vec<Text> = Vec::new();
            right.iter().for_each(|scope| add_once(&mut all, scope));
            let mut at = 0;
            while let Some(scope) = all.get(at).cloned() {
                for (_, right) in lines.iter().filter(|(left, _)| left.takes(&scope)) {
                    right.iter().for_each(|scope| add_once(&mut all, scope));
                }
                at = at.saturating_add(1);
            }
            (left.clone(), all)
        });
        Self(closed.collect())
    }

    /// What these scopes, of which `order` is the order, stand for besides themselves.
    pub(super) fn implied(&self, scopes: &[Text], order: &Order) -> (Vec<Text>, Order) {
        let met = self.0.iter().filter(|(left, _)| left.takes_one_of(scopes, order));
        let new = met.flat_map(|(_, right)| right).filter(|scope| !order.holds(scopes, scope));
        Order::of(new.cloned().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json;

    fn words(text: &str) -> Vec<String> {
        text.split_whitespace().map(str::to_owned).collect()
    }

    fn texts(text: &str) -> Vec<Text> {
        text.split_whitespace().map(Text::from).collect()
    }

    #[test]
    fn a_scope_stands_for_others_to_the_end_of_the_chain() {
        for (lines, held, implied) in [
            (&[][..], "a b", ""),
            (&[("a", "b c")], "a", "b c"),
            (&[("a", "b c")], "b", ""),
            (&[("a", "b c")], "a b", "c"),
            (&[("a", "b"), ("b", "c"), ("c", "d")], "a", "b c d"),
            (&[("c", "d"), ("b", "c"), ("a", "b")], "a", "b c d"),
            (&[("a", "b"), ("b", "a")], "a", "b"),
            (&[("a", "a")], "a", ""),
            (&[("orders:*", "orders:list")], "orders:write", "orders:list"),
            (&[("orders:*", "orders:list")], "orders:*", "orders:list"),
            (&[("orders:*", "orders:list")], "orders", ""),
            (&[("orders:*", "orders:list")], "reorders:write", ""),
            (&[("orders:*", "orders:list")], "Orders:write", ""),
            (&[("admin", "orders:write"), ("orders:*", "audit")], "admin", "orders:write audit"),
            (&[("orders:*", "x"), ("x", "orders:y")], "orders:a", "x orders:y"),
        ] {
            let hierarchy = ScopeHierarchy::new(lines.iter().map(|(l, r)| ((*l).to_owned(), words(r))));
            let (held, order) = Order::of(texts(held));
            assert_eq!(hierarchy.implied(&held, &order).0, texts(implied), "{lines:?} with {held:?}");
        }
    }

    #[test]
    fn a_long_chain_and_a_large_circle_end() {
        let lines = (0..500).map(|at| (format!("s{at}"), vec![format!("s{}", (at + 1) % 500)]));
        assert_eq!(ScopeHierarchy::new(lines).implied(&texts("s7"), &Order::default()).0.len(), 499);
    }

    #[test]
    fn names_stand_once_in_their_order_and_each_is_found() {
        let mut random = 1u64;
        let mut next = |max: u64| {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (random >> 33) % max
        };
        for round in 0..2000 {
            let (count, kinds) = (next(60), 1 + next(80));
            let names: Vec<Text> = (0..count)
                .map(|_| match next(kinds) {
                    0 => Text::from(""),
                    name => Text::from(format!("{}{name}", ["a", "b:", "é"][(name % 3) as usize])),
                })
                .collect();
            let mut expected: Vec<Text> = Vec::new();
            names.iter().for_each(|name| add_once(&mut expected, name));
            let (once, order) = Order::of(names);
            assert_eq!(once, expected, "round {round}");
            assert_eq!(order.0.is_empty(), once.len() <= FEW, "round {round}");
            for name in once.iter().map(Text::as_str).chain(["", "a", "b:", "zz", "é"]) {
                assert_eq!(
                    order.holds(&once, name),
                    once.iter().any(|own| own == name),
                    "{name} in {once:?}"
                );
                let starts = once.iter().any(|own| own.starts_with(name));
                assert_eq!(order.starts(&once, name), starts, "{name}* in {once:?}");
            }
        }
    }

    #[test]
    fn roles_are_read_in_the_form_that_was_told_and_in_no_other() {
        use RoleFormat::*;
        const INVALID: Result<&str, crate::reason::Reason> = Err(crate::reason::Reason::ClaimInvalid);
        for (claim, format, expected) in [
            (r#"["a","b c","a",""]"#, Auto, Ok("a|b c")),
            (r#""authenticated""#, Auto, Ok("authenticated")),
            (r#""site admin""#, Auto, Ok("site admin")),
            (r#""a,b""#, Auto, Ok("a,b")),
            (r#""""#, Auto, Ok("")),
            ("[]", Auto, Ok("")),
            ("null", Auto, Ok("")),
            (r#"{"admin":false}"#, Auto, INVALID),
            (r#"["a",7]"#, Auto, INVALID),
            (r#"["a",null]"#, Auto, INVALID),
            (r#"[["a"]]"#, Auto, INVALID),
            ("7", Auto, INVALID),
            ("true", Auto, INVALID),
            (r#""a  b,c""#, Space, Ok("a|b,c")),
            (r#"["a b"]"#, Space, Ok("a b")),
            ("{}", Space, INVALID),
            (r#""manage, read,,""#, Comma, Ok("manage|read")),
            (r#""site admin,x""#, Comma, Ok("site admin|x")),
            (r#"["a,b"]"#, Comma, Ok("a,b")),
            ("null", Comma, Ok("")),
            (r#"{"admin":{"1":"x"},"ops":null}"#, Keys, Ok("admin|ops")),
            ("{}", Keys, Ok("")),
            ("null", Keys, Ok("")),
            (r#"["a"]"#, Keys, INVALID),
            (r#""a""#, Keys, INVALID),
        ] {
            let claims = json::parse(format!(r#"{{"r":{claim}}}"#).as_bytes()).unwrap();
            let mut roles = Vec::new();
            let read = RoleClaim { claim: ClaimPath::parse("r"), format };
            let got = read.add(claims.as_object().unwrap(), &mut roles);
            let (roles, _) = Order::of(roles);
            let got = got.map(|()| roles.iter().map(Text::as_str).collect::<Vec<_>>().join("|"));
            assert_eq!(got.as_deref().map_err(|rejected| rejected.reason), expected, "{claim} {format:?}");
        }
        let mut roles = Vec::new();
        for format in [Auto, Space, Comma, Keys] {
            let read = RoleClaim { claim: ClaimPath::parse("r"), format };
            assert_eq!(read.add(&json::Object::default(), &mut roles), Ok(()));
        }
        assert!(roles.is_empty());
    }
}
