//! Conditions of Istio's as formulas.

use serde_json::json;

use super::super::formula::Formula;

/// A condition on a claim: any of these patterns, in the four forms that Istio has. `roles`: the claim that is taken apart
/// at blanks, as scopes are.
///
/// # Errors
/// A pattern that cannot be said of scopes.
pub(crate) fn claim(path: &[&str], patterns: &[&str], roles: Option<&str>) -> Result<Formula, String> {
    let is_plain = |pattern: &&&str| !pattern.starts_with('*') && !pattern.ends_with('*');
    let exact: Vec<&str> = patterns.iter().filter(is_plain).copied().collect();
    let split = match path {
        ["scope"] => Some("scopes"),
        [name] if Some(*name) == roles => Some("roles"),
        _ => None,
    };
    if let Some(field) = split {
        return match exact.len() == patterns.len() {
            true => Ok(Formula::Claim(json!({ field: { "any_of": exact } }))),
            false => Err(format!("{field} with a star cannot be said here; name them")),
        };
    }
    let name = match path {
        [one] if !one.contains('.') => json!(one),
        several => json!(several),
    };
    let mut parts = Vec::new();
    if !exact.is_empty() {
        parts.push(Formula::Claim(json!({ "claims": [{ "claim": name, "any_of": exact }] })));
    }
    let expression = |pattern: &&&str| match (pattern.strip_prefix('*'), pattern.strip_suffix('*')) {
        _ if **pattern == "*" => ".+".to_owned(),
        (Some(end), _) => format!(".*{}", regex_lite::escape(end)),
        (_, start) => format!("{}.*", regex_lite::escape(start.unwrap_or_default())),
    };
    let forms: Vec<String> =
        patterns.iter().filter(|pattern| !is_plain(pattern)).map(|pattern| expression(&pattern)).collect();
    if !forms.is_empty() {
        let matches = forms.join("|");
        parts.push(Formula::Claim(json!({ "claims": [{ "claim": name, "matches": matches }] })));
    }
    Ok(Formula::any(parts))
}

/// A principal, `issuer/subject`: Istio takes it apart at the last slash.
///
/// # Errors
/// As [`claim`].
pub(crate) fn principal(pattern: &str) -> Result<Formula, String> {
    let (issuer, subject) = match pattern.rsplit_once('/') {
        _ if pattern == "*" => ("*", "*"),
        Some(both) => both,
        None if pattern.starts_with('*') => ("*", pattern),
        None if pattern.ends_with('*') => (pattern, "*"),
        None => (pattern, ""),
    };
    let mut parts = vec![claim(&["sub"], &[subject], None)?];
    if issuer != "*" {
        parts.insert(0, claim(&["iss"], &[issuer], None)?);
    }
    Ok(Formula::all(parts))
}
