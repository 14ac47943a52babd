//! What lets pages of other origins read the gate's own answers (Fetch, CORS protocol).

use std::rc::Rc;

use crate::request::Request;

/// The origins whose pages may read the gate's own answers.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Cors {
    origins: Vec<Rc<CorsFields>>,
}

/// What an answer says to a page of one of these origins.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CorsFields {
    /// The origin, as browsers write it (RFC 6454 section 6.1).
    pub origin: String,
    /// The names of the fields that the page may read, separated by commas.
    pub exposed: String,
}

/// The fields of the gate's own answers that a client needs.
const EXPOSED: [&str; 4] = ["www-authenticate", "retry-after", "grpc-status", "grpc-message"];

impl Cors {
    /// For these origins, in lower case. Beside the fields of its own answers, whose names clients need, these are
    /// exposed.
    pub fn new(origins: Vec<String>, more: &[String]) -> Self {
        let mut names = EXPOSED.to_vec();
        for name in more {
            if !names.contains(&name.as_str()) {
                names.push(name);
            }
        }
        let exposed = names.join(", ");
        let fields = |origin| Rc::new(CorsFields { origin, exposed: exposed.clone() });
        Self { origins: origins.into_iter().map(fields).collect() }
    }

    /// What the answer to a request says: nothing, unless it has the one `Origin` of a page that may read it.
    pub fn fields(&self, request: &Request<'_>) -> Option<Rc<CorsFields>> {
        let mut all = request.all("origin");
        let (Some(origin), None) = (all.next(), all.next()) else { return None };
        self.origins.iter().find(|own| own.origin.as_bytes() == origin).map(Rc::clone)
    }
}
