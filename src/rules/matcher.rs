//! The conditions under which a rule is for a request.

use super::template::Template;

/// The conditions of a rule; all of them must hold.
#[derive(Clone, Debug)]
pub struct Match {
    /// What the path must be.
    pub path: PathMatch,
    /// One of these methods, to the letter (RFC 9110 section 9.1); none: every method.
    pub methods: Vec<String>,
}

/// A condition on the canonical path.
#[derive(Clone, Debug)]
pub enum PathMatch {
    /// It starts with this text; like Envoy's, this does not stop at a `/`.
    Prefix(String),
    /// It is this text.
    Exact(String),
    /// It has this form.
    Template(Template),
}

impl Match {
    /// The names of the variables that the path binds.
    pub fn variables(&self) -> Vec<String> {
        match &self.path {
            PathMatch::Template(template) => template.variables().map(str::to_owned).collect(),
            PathMatch::Prefix(_) | PathMatch::Exact(_) => Vec::new(),
        }
    }

    pub(super) fn holds(&self, method: &[u8], path: &str) -> bool {
        let method_fits = self.methods.is_empty() || self.methods.iter().any(|own| own.as_bytes() == method);
        method_fits
            && match &self.path {
                PathMatch::Prefix(prefix) => path.starts_with(prefix.as_str()),
                PathMatch::Exact(exact) => path == exact,
                PathMatch::Template(template) => template.matches(path),
            }
    }
}
