//! A request as all of them are asked.

use std::fmt;

use portcullis::HeaderField as Field;

/// The head of a request, and where it comes from.
#[derive(Clone, Debug, Default)]
pub struct Ask {
    pub method: String,
    pub host: String,
    /// The path and the query.
    pub target: String,
    pub fields: Vec<(String, String)>,
    /// The caller's identity in the mesh, such as `cluster.local/ns/shop/sa/web`.
    pub peer: String,
    /// The port that it came to.
    pub port: u16,
    /// What is unusual about it: the rows of the pages' tables that may show.
    pub traits: Vec<&'static str>,
    /// What its token is called.
    pub token: &'static str,
}

impl Ask {
    pub fn path(&self) -> &str {
        self.target.split('?').next().unwrap_or_default()
    }

    /// The value of a header that is there once.
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut found = self.fields.iter().filter(|(own, _)| own.eq_ignore_ascii_case(name));
        let (_, value) = found.next()?;
        assert!(found.next().is_none(), "{name} is there twice");
        Some(value)
    }

    /// The values of a query parameter.
    pub fn parameters<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        let query = self.target.split_once('?').map_or("", |(_, query)| query);
        query
            .split('&')
            .filter_map(|pair| pair.split_once('='))
            .filter(move |(own, _)| *own == name)
            .map(|it| it.1)
    }

    /// The values of a cookie.
    pub fn cookies<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        let field = self.header("cookie").unwrap_or_default();
        field
            .split("; ")
            .filter_map(|pair| pair.split_once('='))
            .filter(move |(own, _)| *own == name)
            .map(|it| it.1)
    }

    /// Whether a browser asks whether it may.
    pub fn is_preflight(&self) -> bool {
        self.method == "OPTIONS"
            && self.header("origin").is_some()
            && self.header("access-control-request-method").is_some()
    }

    /// All fields as the filter is handed them.
    pub fn to_fields(&self) -> Vec<Field<'_>> {
        let pseudo = [(":method", &self.method), (":authority", &self.host), (":path", &self.target)];
        let pseudo = pseudo.into_iter().map(|(name, value)| (name.as_bytes(), value.as_bytes()));
        let fields = self.fields.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes()));
        pseudo.chain(fields).collect()
    }
}

impl fmt::Display for Ask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { method, host, token, traits, .. } = self;
        let target: String = self.target.chars().take(80).collect();
        write!(
            f,
            "{method} {target} of {host}, token {token:?}, {traits:?}, peer {:?}, port {}",
            self.peer, self.port
        )?;
        for (name, value) in &self.fields {
            let short: String = value.chars().take(40).collect();
            write!(f, ", {name}: {short}")?;
        }
        Ok(())
    }
}
