//! A request as it travels.

use std::fmt;

use portcullis::HeaderField as Field;

/// The head of a request, and what the route that Envoy chose for it says.
#[derive(Clone, PartialEq, Eq)]
pub struct Head {
    pub method: String,
    pub authority: String,
    pub target: String,
    pub fields: Vec<(String, String)>,
    /// The rule that the metadata of the route names.
    pub route_rule: Option<String>,
}

impl Head {
    /// `GET target` for `www.example`.
    pub fn get(target: &str) -> Self {
        Self {
            method: "GET".to_owned(),
            authority: "www.example".to_owned(),
            target: target.to_owned(),
            fields: Vec::new(),
            route_rule: None,
        }
    }

    /// The same with one field more.
    pub fn with(mut self, name: &str, value: &str) -> Self {
        self.fields.push((name.to_owned(), value.to_owned()));
        self
    }

    /// All fields as the filter is handed them.
    pub fn to_fields(&self) -> Vec<Field<'_>> {
        let pseudo = [(":method", &self.method), (":authority", &self.authority), (":path", &self.target)];
        let pseudo = pseudo.into_iter().map(|(name, value)| (name.as_bytes(), value.as_bytes()));
        let fields = self.fields.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes()));
        pseudo.chain(fields).collect()
    }

    /// What stands before the query.
    pub fn path(&self) -> &str {
        self.target.split('?').next().unwrap_or_default()
    }

    /// What stands behind the first `?`.
    pub fn query(&self) -> &str {
        self.target.split_once('?').map_or("", |(_, query)| query)
    }
}

impl fmt::Display for Head {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {:?} host {:?}", self.method, self.target, self.authority)?;
        for (name, value) in &self.fields {
            let short: String = value.chars().take(160).collect();
            write!(f, "\n  {name}: {short:?}")?;
        }
        if let Some(rule) = &self.route_rule {
            write!(f, "\n  (the route names the rule {rule})")?;
        }
        Ok(())
    }
}
