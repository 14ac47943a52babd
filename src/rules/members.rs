//! A rule's demand on the scopes of a token (RFC 6749 section 3.3).

/// The scopes that a token must and must not grant; every list that is not empty counts.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Scopes {
    /// It grants each of these.
    pub all_of: Vec<String>,
    /// It grants at least one of these.
    pub any_of: Vec<String>,
    /// It grants none of these.
    pub none_of: Vec<String>,
}

impl Scopes {
    /// Whether a token that grants `held` satisfies this.
    pub fn satisfied_by(&self, held: &[String]) -> bool {
        let holds = |scope: &String| held.contains(scope);
        self.all_of.iter().all(holds)
            && (self.any_of.is_empty() || self.any_of.iter().any(holds))
            && !self.none_of.iter().any(holds)
    }

    /// The `scope` of a challenge (RFC 6750 section 3): what a client should ask for. All of
    /// `all_of`, and the first of `any_of`; nothing where only `none_of` is asked.
    pub fn challenge(&self) -> Option<String> {
        let scopes: Vec<&str> = self.all_of.iter().chain(self.any_of.first()).map(String::as_str).collect();
        (!scopes.is_empty()).then(|| scopes.join(" "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(text: &str) -> Vec<String> {
        text.split_whitespace().map(str::to_owned).collect()
    }

    #[test]
    fn scopes_are_compared_whole_and_to_the_letter() {
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
            let scopes = Scopes { all_of: list(all), any_of: list(any), none_of: list(none) };
            assert_eq!(scopes.satisfied_by(&list(held)), expected, "{scopes:?} with {held:?}");
        }
    }
}
