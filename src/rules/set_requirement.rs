//! A rule's demand on the scopes or the roles of a token.

use std::fmt;

use crate::reason::excerpts;

/// The names that a token must and must not have; every list that is not empty counts. Names are compared
/// whole and to the letter (RFC 6749 section 3.3).
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct SetRequirement {
    /// It has each of these.
    pub all_of: Vec<String>,
    /// It has at least one of these.
    pub any_of: Vec<String>,
    /// It has none of these.
    pub none_of: Vec<String>,
}

impl SetRequirement {
    /// Whether a token satisfies this, of which `has` says what it has.
    pub fn satisfied_by(&self, has: impl Fn(&str) -> bool) -> bool {
        let has = |name: &String| has(name);
        self.all_of.iter().all(has)
            && (self.any_of.is_empty() || self.any_of.iter().any(has))
            && !self.none_of.iter().any(has)
    }

    /// Which demand a token does not satisfy of which `has` says what it has, in words; `kind` is what the names are of.
    pub(super) fn unmet(&self, kind: &str, has: impl Fn(&str) -> bool) -> Option<String> {
        let quoted = |names: &[&String]| excerpts(names.iter().map(|name| name.as_str()));
        let missing: Vec<_> = self.all_of.iter().filter(|name| !has(name)).collect();
        let forbidden: Vec<_> = self.none_of.iter().filter(|name| has(name)).collect();
        if !missing.is_empty() {
            Some(format!("{kind} {} is missing (all_of)", quoted(&missing)))
        } else if !self.any_of.is_empty() && !self.any_of.iter().any(|name| has(name)) {
            Some(format!("{kind} {} is missing (any_of)", quoted(&self.any_of.iter().collect::<Vec<_>>())))
        } else if !forbidden.is_empty() {
            Some(format!("{kind} {} is forbidden (none_of)", quoted(&forbidden)))
        } else {
            None
        }
    }

    /// What is enough to ask for: all of `all_of`, and the first of `any_of`.
    pub fn wanted(&self) -> impl Iterator<Item = &str> {
        self.all_of.iter().chain(self.any_of.first()).map(String::as_str)
    }
}

/// Names the lists that are not empty.
impl fmt::Display for SetRequirement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lists = [("all_of", &self.all_of), ("any_of", &self.any_of), ("none_of", &self.none_of)];
        for (at, (name, list)) in lists.iter().filter(|(_, list)| !list.is_empty()).enumerate() {
            let separator = if at > 0 { "; " } else { "" };
            write!(f, "{separator}{name} {}", excerpts(list.iter().map(String::as_str)))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(text: &str) -> Vec<String> {
        text.split_whitespace().map(str::to_owned).collect()
    }

    #[test]
    fn c16_names_are_compared_whole_and_to_the_letter() {
        for (all, any, none, held, expected) in [
            ("a b", "", "", "b a c", true),
            ("a b", "", "", "a", false),
            ("", "a b", "", "b", true),
            ("", "a b", "", "c", false),
            ("", "a", "", "", false),
            ("", "", "a", "b", true),
            ("", "", "a", "", true),
            ("", "", "a", "a b", false),
            ("a", "b c", "d", "a c", true),
            ("a", "b c", "d", "a c d", false),
            ("admin", "", "", "administrator read", false),
            ("admin", "", "", "ADMIN", false),
        ] {
            let members = SetRequirement { all_of: list(all), any_of: list(any), none_of: list(none) };
            let held = list(held);
            let satisfied = members.satisfied_by(|name| held.iter().any(|own| own == name));
            assert_eq!(satisfied, expected, "{members:?} with {held:?}");
        }
    }
}
