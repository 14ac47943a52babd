//! Where in a claims set a claim is.

use std::fmt;

use super::reading::{ClaimSet, ClaimValue};
use crate::json::{Json, Object};
use crate::reason::excerpt;

/// The path of a claim: a name, an RFC 6901 pointer (`/realm_access/roles`), a dotted path
/// (`realm_access.roles`) or a list of names. A claim whose whole name is the text of the path comes
/// first, so that `https://example.com/roles` needs no escape.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ClaimPath {
    /// The text, where there is one: a claim of this very name comes first.
    literal: Option<String>,
    names: Vec<String>,
}

impl ClaimPath {
    /// The path that a text names.
    pub fn parse(text: &str) -> Self {
        let names = match text.strip_prefix('/') {
            Some(pointer) => pointer.split('/').map(unescaped).collect(),
            None => text.split('.').map(str::to_owned).collect(),
        };
        Self { literal: Some(text.to_owned()), names }
    }

    /// The path of these names, one a level.
    pub fn of(names: Vec<String>) -> Self {
        Self { literal: None, names }
    }

    /// The value at this path.
    pub fn find<'c>(&self, claims: &'c Object) -> Option<&'c Json> {
        self.find_in(claims)
    }

    /// The same in claims of which perhaps not all were read.
    pub(super) fn find_in<'c, C: ClaimSet>(&self, claims: &'c C) -> Option<C::Value<'c>> {
        if let Some(value) = self.literal.as_deref().and_then(|name| claims.claim(name)) {
            return Some(value);
        }
        let (first, rest) = self.names.split_first()?;
        rest.iter().try_fold(claims.claim(first)?, |value, name| value.at(name))
    }

    /// What to write instead, as the end of a sentence, where a dotted text finds nothing and names with dots in them
    /// would: a client id such as `shop.web`. Else nothing.
    pub fn hint(&self, claims: &Object) -> String {
        let is_dotted = self.literal.as_ref().is_some_and(|text| !text.starts_with('/'));
        if !is_dotted || self.find(claims).is_some() {
            return String::new();
        }
        let Some(names) = with_dots(claims, &self.names) else { return String::new() };
        let quoted: Vec<String> = names.iter().map(|name| excerpt(name)).collect();
        format!("; a name has a dot in it: write [{}]", quoted.join(", "))
    }

    /// The names of the claims of which one holds the value at this path.
    pub(super) fn claims(&self) -> impl Iterator<Item = &str> {
        self.literal.as_deref().into_iter().chain(self.names.first().map(String::as_str))
    }
}

/// Writes it in quotes, as the operator wrote it; a list of names as an RFC 6901 pointer.
impl fmt::Display for ClaimPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.literal {
            Some(literal) => write!(f, "{literal:?}"),
            None => {
                let escaped = self.names.iter().map(|name| name.replace('~', "~0").replace('/', "~1"));
                write!(f, "{:?}", escaped.fold(String::new(), |path, name| path + "/" + &name))
            }
        }
    }
}

/// The names that lead to a value where some of `names` are parts of one, with dots between them.
fn with_dots(object: &Object, names: &[String]) -> Option<Vec<String>> {
    (1..=names.len()).find_map(|count| {
        let (these, rest) = names.split_at_checked(count)?;
        let name = these.join(".");
        let value = object.get(&name)?;
        let mut found = match (rest, value) {
            ([], _) => Vec::new(),
            (_, Json::Object(inner)) => with_dots(inner, rest)?,
            _ => return None,
        };
        found.insert(0, name);
        Some(found)
    })
}

/// One token of a pointer: `~1` is `/`, `~0` is `~` (RFC 6901 section 4).
fn unescaped(token: &str) -> String {
    token.replace("~1", "/").replace("~0", "~")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json;

    #[test]
    fn a_claim_is_found_by_every_form_of_path() {
        let claims = json::parse(
            br#"{"a":1,"b":{"c":{"d":2},"x/y":3,"m~n":4},"b.c":5,"https://e/roles":6,"l":[{"k":7}],"w":{"web.app":8},"/p":9}"#,
        )
        .unwrap();
        let claims = claims.as_object().unwrap();
        for (path, expected) in [
            ("a", Some("1")),
            ("/a", Some("1")),
            ("b.c.d", Some("2")),
            ("/b/c/d", Some("2")),
            ("/b/x~1y", Some("3")),
            ("/b/m~0n", Some("4")),
            ("b.c", Some("5")),
            ("/b/c", Some("{\"d\":2}")),
            ("https://e/roles", Some("6")),
            ("/l/0/k", Some("7")),
            ("/l/00/k", None),
            ("/l/1/k", None),
            ("/w/web.app", Some("8")),
            ("/p", Some("9")),
            ("none", None),
            ("a.b", None),
            ("", None),
            ("/", None),
        ] {
            let found = ClaimPath::parse(path).find(claims).map(ToString::to_string);
            assert_eq!(found.as_deref(), expected, "{path}");
        }
        let path = ClaimPath::of(vec!["w".to_owned(), "web.app".to_owned()]);
        assert_eq!(path.find(claims).map(ToString::to_string).as_deref(), Some("8"));
    }

    #[test]
    fn a_dotted_text_that_finds_nothing_is_told_how_to_name_what_has_dots() {
        let claims = json::parse(
            br#"{"resource_access":{"shop.web":{"roles":["a"]},"shop":{"x":1}},"a.b":{"c":1},"flat.name":1,"n":null}"#,
        )
        .unwrap();
        let claims = claims.as_object().unwrap();
        for (path, expected) in [
            ("resource_access.shop.web.roles", r#"["resource_access", "shop.web", "roles"]"#),
            ("a.b.c", r#"["a.b", "c"]"#),
            // Found, or not there in any form, or no dotted text.
            ("resource_access.shop.x", ""),
            ("flat.name", ""),
            ("n", ""),
            ("resource_access.other.web.roles", ""),
            ("resource_access.shop.web.groups", ""),
            ("flat.name.x", ""),
            ("/resource_access/shop/web", ""),
            ("none", ""),
        ] {
            let hint = ClaimPath::parse(path).hint(claims);
            let (found, rest) = hint.split_once('[').unwrap_or_default();
            let form = if hint.is_empty() { String::new() } else { format!("[{rest}") };
            assert_eq!(form, expected, "{path}: {found}");
        }
        let list = ClaimPath::of(["resource_access", "shop", "web"].map(str::to_owned).to_vec());
        assert_eq!(list.hint(claims), "");
    }
}
