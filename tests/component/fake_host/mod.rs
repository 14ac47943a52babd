//! A host for the filter that is not Envoy but behaves like it, linked natively.
//!
//! The filter's real callbacks run in here; only the other side of the ABI is a model. A [`Vm`] lives on a
//! thread of its own, because what the callbacks know is thread-local: each VM is as isolated as a worker's, and
//! several of them can share one [`World`] (clock, clusters, shared data, stats) as the workers of a process do.
//!
//! | question | module |
//! | --- | --- |
//! | What does a host function do? | `exports` |
//! | What does the host remember of a VM, its streams, its callouts? | `state` |
//! | In what order does Envoy call the guest? | `vm` |
//! | What do VMs share? | `world` |
//! | How do header lists and statuses look on the wire? | `wire` |

mod exports;
mod guest;
mod state;
mod vm;
mod wire;
mod world;

use std::collections::BTreeMap;
use std::sync::Arc;

pub(crate) use guest::Guest;
pub(crate) use state::{Call, Fault, Level, Reply};
pub(crate) use vm::Vm;
pub(crate) use wire::{Header, Status, encode_pairs};
pub(crate) use world::{Cluster, START, World};

/// A plugin as Envoy configures it.
#[derive(Clone, Debug)]
pub(crate) struct Plugin {
    pub(crate) name: String,
    pub(crate) root_id: String,
    pub(crate) vm_id: String,
    /// The bytes that the guest reads; empty where the configuration is absent.
    pub(crate) configuration: Vec<u8>,
}

impl Plugin {
    pub(crate) fn bytes(configuration: impl Into<Vec<u8>>) -> Plugin {
        Plugin {
            name: "portcullis".to_owned(),
            root_id: "portcullis".to_owned(),
            vm_id: String::new(),
            configuration: configuration.into(),
        }
    }

    /// As where the operator wrote no configuration at all.
    pub(crate) fn unconfigured() -> Plugin {
        Plugin::bytes(Vec::new())
    }
}

impl From<&serde_json::Value> for Plugin {
    fn from(configuration: &serde_json::Value) -> Plugin {
        Plugin::bytes(configuration.to_string())
    }
}

impl From<serde_json::Value> for Plugin {
    fn from(configuration: serde_json::Value) -> Plugin {
        Plugin::from(&configuration)
    }
}

impl From<&str> for Plugin {
    fn from(configuration: &str) -> Plugin {
        Plugin::bytes(configuration)
    }
}

/// The filter refused its configuration.
#[derive(Debug)]
pub(crate) struct Refused {
    /// What it logged as errors.
    pub(crate) errors: Vec<String>,
}

/// What a callout brings, as the test decides.
#[derive(Clone, Debug)]
pub(crate) struct Response(state::Answer);

/// A request on its way to the filter.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    headers: Vec<Header>,
    body: Vec<u8>,
    trailers: Vec<Header>,
    properties: BTreeMap<String, state::Property>,
}

/// Of headers with these names Envoy's codec joins several into one, with a comma.
const JOINED: [&[u8]; 3] = [b"authorization", b"x-forwarded-for", b"x-forwarded-proto"];

impl Request {
    pub(crate) fn get(path: &str) -> Request {
        Request::new("GET", path)
    }

    pub(crate) fn new(method: &str, path: &str) -> Request {
        Request::bare()
            .raw_header(":method", method)
            .raw_header(":path", path)
            .raw_header(":scheme", "http")
            .raw_header(":authority", "orders.example")
            .raw_header("user-agent", "component-test")
            .raw_header("x-request-id", "4d3c7b1e-0000-4000-8000-000000000001")
    }

    /// Without any header, not even `:method`.
    pub(crate) fn bare() -> Request {
        Request { headers: Vec::new(), body: Vec::new(), trailers: Vec::new(), properties: BTreeMap::new() }
    }

    /// One header more, as it would come through Envoy's codec.
    pub(crate) fn header(mut self, name: &str, value: impl AsRef<[u8]>) -> Request {
        let key = name.to_ascii_lowercase().into_bytes();
        let earlier = self.headers.iter_mut().find(|(name, _)| *name == key);
        match earlier {
            Some((_, old)) if JOINED.contains(&key.as_slice()) => {
                old.push(b',');
                old.extend_from_slice(value.as_ref());
                self
            }
            _ => self.raw_header(key, value),
        }
    }

    /// One header more, as it is: not joined, not lower-cased, of any bytes.
    pub(crate) fn raw_header(mut self, name: impl AsRef<[u8]>, value: impl AsRef<[u8]>) -> Request {
        let header = (name.as_ref().to_vec(), value.as_ref().to_vec());
        self.headers.push(header);
        self
    }

    pub(crate) fn bearer(self, token: &str) -> Request {
        self.header("authorization", format!("Bearer {token}"))
    }

    pub(crate) fn body(mut self, body: &[u8]) -> Request {
        self.body = body.to_vec();
        self
    }

    pub(crate) fn trailer(mut self, name: &str, value: &str) -> Request {
        let name = name.to_ascii_lowercase().into_bytes();
        self.trailers.push((name, value.as_bytes().to_vec()));
        self
    }
}

/// One request in the filter's hands.
pub(crate) struct Stream {
    core: Arc<vm::VmCore>,
    id: u32,
}

/// How a request stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// The upstream has it.
    Continued(Forwarded),
    /// The filter answered it.
    Replied(Reply),
    /// The filter reset it: the client gets no answer.
    Reset,
    /// The filter holds it.
    Waiting,
    /// The client left.
    HungUp,
}

/// A request as the upstream and later filters see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Forwarded {
    pub(crate) headers: Vec<Header>,
    pub(crate) trailers: Vec<Header>,
    /// With Envoy's `wasm.` in front of each key.
    pub(crate) filter_state: BTreeMap<String, Vec<u8>>,
}

/// Every value of a header, in order, as text.
fn values(headers: &[Header], name: &str) -> Vec<String> {
    let same = headers.iter().filter(|(key, _)| key == name.as_bytes());
    same.map(|(_, value)| String::from_utf8_lossy(value).into_owned()).collect()
}

impl Forwarded {
    pub(crate) fn values(&self, name: &str) -> Vec<String> {
        values(&self.headers, name)
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        !self.values(name).is_empty()
    }
}

impl Reply {
    pub(crate) fn values(&self, name: &str) -> Vec<String> {
        values(&self.headers, name)
    }

    /// The one value of a header, or nothing.
    pub(crate) fn header(&self, name: &str) -> Option<String> {
        let mut all = self.values(name);
        assert!(all.len() < 2, "{name} was sent {} times", all.len());
        all.pop()
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The gRPC status that a gRPC client sees: the filter's, else Envoy's translation.
    pub(crate) fn effective_grpc_status(&self) -> i32 {
        self.grpc_status.unwrap_or(match self.status {
            400 => 13,
            401 => 16,
            403 => 7,
            429 | 502..=504 => 14,
            _ => 2,
        })
    }
}

impl Outcome {
    #[track_caller]
    pub(crate) fn continued(self) -> Forwarded {
        match self {
            Outcome::Continued(forwarded) => forwarded,
            other => panic!("expected the request to pass, but: {other:?}"),
        }
    }

    #[track_caller]
    pub(crate) fn replied(self) -> Reply {
        match self {
            Outcome::Replied(reply) => reply,
            other => panic!("expected an answer from the filter, but: {other:?}"),
        }
    }

    pub(crate) fn is_continued(&self) -> bool {
        matches!(self, Outcome::Continued(_))
    }

    pub(crate) fn is_waiting(&self) -> bool {
        matches!(self, Outcome::Waiting)
    }
}
