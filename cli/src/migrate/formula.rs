//! What is asked of a token, as a formula of conditions on its claims.

use serde_json::{Map, Value, json};

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
                let mut out = Map::new();
                parts.iter().filter_map(Self::to_authorize).for_each(|part| add(&mut out, part));
                Value::Object(out)
            }
        })
    }
}

/// Asks for more: in a field of its own, where none stands there yet.
fn add(out: &mut Map<String, Value>, part: Value) {
    let Value::Object(members) = part else { return };
    for (name, value) in members {
        match (out.get_mut(&name), value) {
            (Some(Value::Array(own)), Value::Array(more)) if ["claims", "all"].contains(&name.as_str()) => {
                own.extend(more);
            }
            (Some(_), value) => {
                let all = out.entry("all").or_insert_with(|| json!([]));
                if let Some(all) = all.as_array_mut() {
                    all.push(json!({ name: value }));
                }
            }
            (None, value) => _ = out.insert(name, value),
        }
    }
}
