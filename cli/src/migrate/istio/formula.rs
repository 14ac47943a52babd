//! What is asked of a token, as a formula of conditions on its claims.

use serde_json::{Value, json};

/// A formula.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Formula {
    Is(bool),
    /// A condition on a claim: an entry of `claims`, or `scopes`. No request without a token meets it.
    Claim(Value),
    Not(Box<Formula>),
    All(Vec<Formula>),
    Any(Vec<Formula>),
}

impl Formula {
    pub(crate) fn all(parts: impl IntoIterator<Item = Self>) -> Self {
        Self::joined(parts, true)
    }

    pub(crate) fn any(parts: impl IntoIterator<Item = Self>) -> Self {
        Self::joined(parts, false)
    }

    /// Joined by "and" or "or", without what does not matter.
    fn joined(parts: impl IntoIterator<Item = Self>, is_all: bool) -> Self {
        let mut kept: Vec<Self> = Vec::new();
        for part in parts {
            let inner = match part {
                Self::Is(value) if value == is_all => continue,
                Self::Is(value) => return Self::Is(value),
                Self::All(inner) if is_all => inner,
                Self::Any(inner) if !is_all => inner,
                other => vec![other],
            };
            for part in inner {
                if !kept.contains(&part) {
                    kept.push(part);
                }
            }
        }
        match (kept.len(), is_all) {
            (0, _) => Self::Is(is_all),
            (1, _) => kept.pop().unwrap_or(Self::Is(is_all)),
            (_, true) => Self::All(kept),
            (_, false) => Self::Any(kept),
        }
    }

    pub(crate) fn not(self) -> Self {
        match self {
            Self::Is(value) => Self::Is(!value),
            Self::Not(inner) => *inner,
            other => Self::Not(Box::new(other)),
        }
    }

    /// Whether a request without a token meets it.
    pub(crate) fn is_met_without_token(&self) -> bool {
        match self {
            Self::Is(value) => *value,
            Self::Claim(_) => false,
            Self::Not(inner) => !inner.is_met_without_token(),
            Self::All(parts) => parts.iter().all(Self::is_met_without_token),
            Self::Any(parts) => parts.iter().any(Self::is_met_without_token),
        }
    }

    /// As `authorize`; none where nothing is asked.
    pub(crate) fn to_authorize(&self) -> Option<Value> {
        Some(match self {
            Self::Is(true) => return None,
            Self::Is(false) => json!({ "claims": [{ "claim": "iss", "present": false }] }),
            Self::Claim(value) => value.clone(),
            Self::Not(inner) => json!({ "not": inner.to_authorize()? }),
            Self::Any(parts) => {
                json!({ "any": parts.iter().filter_map(Self::to_authorize).collect::<Vec<_>>() })
            }
            Self::All(parts) => {
                let is_claims =
                    |part: &Self| matches!(part, Self::Claim(value) if value.get("claims").is_some());
                let (claims, others): (Vec<&Self>, Vec<&Self>) =
                    parts.iter().partition(|part| is_claims(part));
                let claims: Vec<Value> = claims
                    .into_iter()
                    .filter_map(Self::to_authorize)
                    .flat_map(|value| value["claims"].as_array().cloned().unwrap_or_default())
                    .collect();
                let mut out = json!({});
                if !claims.is_empty() {
                    out["claims"] = json!(claims);
                }
                let others: Vec<Value> = others.into_iter().filter_map(Self::to_authorize).collect();
                if !others.is_empty() {
                    out["all"] = json!(others);
                }
                out
            }
        })
    }
}

/// A condition on a claim: any of these patterns, in the four forms that Istio has.
///
/// # Errors
/// A pattern that cannot be said of scopes.
pub(crate) fn claim(path: &[&str], patterns: &[&str]) -> Result<Formula, String> {
    let is_plain = |pattern: &&&str| !pattern.starts_with('*') && !pattern.ends_with('*');
    let exact: Vec<&str> = patterns.iter().filter(is_plain).copied().collect();
    if path == ["scope"] {
        return match exact.len() == patterns.len() {
            true => Ok(Formula::Claim(json!({ "scopes": { "any_of": exact } }))),
            false => Err("scopes with a star cannot be said here; name them".to_owned()),
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
    let mut parts = vec![claim(&["sub"], &[subject])?];
    if issuer != "*" {
        parts.insert(0, claim(&["iss"], &[issuer])?);
    }
    Ok(Formula::all(parts))
}
