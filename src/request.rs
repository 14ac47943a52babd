//! A request as the gate sees it: its header fields and nothing else.

/// One header field: its name, in lower case as Envoy hands it over, and its value.
pub type Field<'a> = (&'a [u8], &'a [u8]);

/// The head of a request.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    fields: &'a [Field<'a>],
}

impl<'a> Request<'a> {
    /// A request of these fields, pseudo-header fields (`:method`, `:path` …) among them, in the
    /// order in which they arrived.
    pub fn new(fields: &'a [Field<'a>]) -> Self {
        Self { fields }
    }

    /// All fields.
    pub fn fields(&self) -> &'a [Field<'a>] {
        self.fields
    }

    /// The first value of a field; `name` is in lower case.
    pub fn first(&self, name: &str) -> Option<&'a [u8]> {
        self.all(name).next()
    }

    /// Every value of a field; `name` is in lower case.
    pub fn all(&self, name: &str) -> impl Iterator<Item = &'a [u8]> {
        self.fields
            .iter()
            .filter(move |(field, _)| field.eq_ignore_ascii_case(name.as_bytes()))
            .map(|(_, value)| *value)
    }

    /// `:method`; empty where there is none.
    pub fn method(&self) -> &'a [u8] {
        self.first(":method").unwrap_or_default()
    }

    /// `:path` with its query. A CONNECT request has none (RFC 9113 section 8.5).
    pub fn target(&self) -> Option<&'a [u8]> {
        self.first(":path")
    }

    /// Whether the client speaks gRPC, and so expects a gRPC status.
    pub fn is_grpc(&self) -> bool {
        self.first("content-type").is_some_and(|value| {
            value
                .strip_prefix(b"application/grpc")
                .is_some_and(|rest| matches!(rest.first(), None | Some(b'+' | b';')))
        })
    }
}
