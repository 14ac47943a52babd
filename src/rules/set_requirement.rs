//! A rule's demand on the scopes or the roles of a token.

/// The names that a token must and must not hold; every list that is not empty counts. Names are compared
/// whole and to the letter (RFC 6749 section 3.3).
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct SetRequirement {
    /// It holds each of these.
    pub all_of: Vec<String>,
    /// It holds at least one of these.
    pub any_of: Vec<String>,
    /// It holds none of these.
    pub none_of: Vec<String>,
}

impl SetRequirement {
    /// Whether a token satisfies this of which `holds` says what it holds.
    pub fn satisfied_by(&self, holds: impl Fn(&str) -> bool) -> bool {
        let holds = |name: &String| holds(name);
        self.all_of.iter().all(holds)
            && (self.any_of.is_empty() || self.any_of.iter().any(holds))
            && !self.none_of.iter().any(holds)
    }

    /// What is enough to ask for: all of `all_of`, and the first of `any_of`.
    pub fn wanted(&self) -> impl Iterator<Item = &str> {
        self.all_of.iter().chain(self.any_of.first()).map(String::as_str)
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
