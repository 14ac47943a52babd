//! What a provider's tokens grant: the scopes and roles in their claims, and what a scope stands for.

use super::ClaimPath;
use crate::json::{Json, Object, Text};
use crate::reason::Reason;

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
    /// Adds the roles of a token. An absent claim and `null` hold none.
    ///
    /// # Errors
    /// [`Reason::ClaimInvalid`] where the claim has not the form that was told: what cannot be read is not
    /// taken for a token without roles, which `none_of` and `not` would let through.
    pub(super) fn add(&self, claims: &Object, roles: &mut Vec<Text>) -> Result<(), Reason> {
        match (self.claim.find(claims), self.format) {
            (None | Some(Json::Null), _) => {}
            (Some(Json::Object(members)), RoleFormat::Keys) => {
                members.names().for_each(|name| add_once(roles, name));
            }
            (Some(_), RoleFormat::Keys) => return Err(Reason::ClaimInvalid),
            (Some(Json::String(role)), RoleFormat::Auto) => add_once(roles, role),
            (Some(Json::String(list)), RoleFormat::Space) => {
                list.split(' ').for_each(|role| add_part(roles, list, role));
            }
            (Some(Json::String(list)), RoleFormat::Comma) => {
                list.split(',').for_each(|role| add_part(roles, list, role.trim()));
            }
            (Some(Json::Array(list)), _) => {
                for role in list {
                    add_once(roles, role.as_text().ok_or(Reason::ClaimInvalid)?);
                }
            }
            (Some(_), _) => return Err(Reason::ClaimInvalid),
        }
        Ok(())
    }
}

/// Adds a name that is not empty and not there yet.
pub(super) fn add_once(names: &mut Vec<Text>, name: &Text) {
    if !name.is_empty() && !names.contains(name) {
        names.push(name.clone());
    }
}

/// The same for a part of a text.
pub(super) fn add_part(names: &mut Vec<Text>, text: &Text, part: &str) {
    if !part.is_empty() && !names.iter().any(|held| *held == *part) {
        names.push(text.part(part));
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

    /// What these scopes stand for besides themselves.
    pub(super) fn implied(&self, scopes: &[Text]) -> Vec<Text> {
        let mut implied = Vec::new();
        for (left, right) in &self.0 {
            if scopes.iter().any(|scope| left.takes(scope)) {
                let new = right.iter().filter(|scope| !scopes.contains(scope));
                new.for_each(|scope| add_once(&mut implied, scope));
            }
        }
        implied
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
            assert_eq!(hierarchy.implied(&texts(held)), texts(implied), "{lines:?} with {held:?}");
        }
    }

    #[test]
    fn a_long_chain_and_a_large_circle_end() {
        let lines = (0..500).map(|at| (format!("s{at}"), vec![format!("s{}", (at + 1) % 500)]));
        assert_eq!(ScopeHierarchy::new(lines).implied(&texts("s7")).len(), 499);
    }

    #[test]
    fn roles_are_read_in_the_form_that_was_told_and_in_no_other() {
        use RoleFormat::*;
        const INVALID: Result<&str, Reason> = Err(Reason::ClaimInvalid);
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
            let got = got.map(|()| roles.iter().map(Text::as_str).collect::<Vec<_>>().join("|"));
            assert_eq!(got.as_deref().map_err(|reason| *reason), expected, "{claim} {format:?}");
        }
        let mut roles = Vec::new();
        for format in [Auto, Space, Comma, Keys] {
            let read = RoleClaim { claim: ClaimPath::parse("r"), format };
            assert_eq!(read.add(&json::Object::default(), &mut roles), Ok(()));
        }
        assert!(roles.is_empty());
    }
}
