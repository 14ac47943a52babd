//! Portcullis: a proxy-wasm filter that validates the JSON Web Token of each HTTP request and enforces per-route rules.
//!
//! A [`Gate`] of a [`Config`] decides about a [`Request`]: [`Gate::decide`] gives an [`Outcome`], and
//! [`Gate::next_effect`] what else is to be done outside. It does no I/O: bytes, the time and random numbers come in as
//! values. The feature `plugin` adds [`mod@host`], which turns the callbacks of the proxy into those values and carries
//! out what the gate says; it decides nothing.
//!
//! | question | module |
//! | --- | --- |
//! | What did the operator write, and is it valid? | `config` |
//! | What could a program behind the gate take a request for? | `request` |
//! | Which rule does a request match, and what does it require? | `rules` |
//! | Where is the token, and what does it claim? | `token` |
//! | What does its sender prove besides having it? | `proof` |
//! | Is this signature valid? | `crypto` |
//! | What is fetched, by which instance, and when again? | `fetch` |
//! | Which keys are there? | `keys` |
//! | Was the token revoked? | `revocation` |
//! | May this request pass, step by step? | `gate` |
//! | What is the client told, and why? | `response`, `reason` |
//! | What is the upstream told? | `upstream` |
//! | What is written to the log of decisions? | `audit` |
//! | What is counted? | `metrics` |

#![deny(unsafe_code)]
#![cfg_attr(
    not(test),
    deny(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::unreachable,
        clippy::todo,
        clippy::indexing_slicing,
        clippy::string_slice,
        clippy::arithmetic_side_effects,
        clippy::disallowed_methods,
        clippy::too_many_lines
    )
)]

mod audit;
mod config;
mod crypto;
mod fetch;
mod gate;
#[cfg(feature = "plugin")]
pub mod host;
mod introspection;
mod json;
mod keys;
mod metrics;
mod proof;
mod reason;
mod request;
mod response;
mod revocation;
mod rules;
mod text;
mod time;
mod token;
mod upstream;

pub use config::{
    CacheSize, Config, HostFeatures, Keys, Problem, Provider, Unmatched, WritesMetadata, member_path,
};
pub use crypto::{
    Algorithm, Backend, EcKey, Ed25519Key, Hash as HashAlgorithm, HostCrypto, HostFailed,
    Key as VerificationKey, KeyError, KeyKind, RsaKey, Secret as HmacSecret,
};
pub use fetch::{
    CasVersion, Conflict, Endpoint, FetchError, HttpMethod, HttpRequest, HttpResponse, InMemoryStore,
    LookupId, Parsed, ParsedStore, SourceEvent, Store,
};
pub use gate::{
    Accepted, Allow, Answer, CachedToken, Check, Effect, Environment, FilterState, Gate, Outcome, Rejection,
    RouteCheck, Served, Step, StepName, StepOutcome, StreamId, Waited,
};
#[cfg(feature = "native")]
pub use json::decode_struct;
pub use json::{Json, Number as JsonNumber, Object as JsonObject, Text as JsonText, parse as parse_json};
pub use keys::{
    Format as KeyFormat, JwkRejection, KeySet, OtherForm, Reading as KeySetOptions, SetError as KeySetError,
    Source as RemoteKeySet, UnknownKid,
};
pub use metrics::{Kind as MetricKind, Metrics, Sample};
pub use proof::{Confirmation, Constraint, Dpop, SingleUse};
pub use reason::{Reason, Rejected};
pub use request::{
    Authority, Field as HeaderField, Held as Certainty, HostProperties, Metadata as RouteMetadataValue,
    PathKind, PathReadings, PathStep, PeerName, Request, RequestView, canonical as canonical_path,
    decoded as decoded_path,
};
pub use response::{CorsFields, ErrorResponse, LocalReply};
pub use revocation::{
    Bits as StatusBits, Document as RevocationDocument, Draft as RevocationDraft,
    Identity as RevocationIdentity, Index as RevocationIndex, Key as RevocationKey, Kind as RevocationKind,
    List as RevocationList, OnUnavailable, Page as RevocationPage, PageError as RevocationPageError,
    Poll as PolledList, Polled as PolledListSettings, RevocationStatus, StatusError,
};
pub use rules::{
    AmbiguousPaths, Authorize, Match as RequestMatch, Mode as RuleMode, Requirement, Rule, RuleMatch,
    Template as PathTemplate, Trial as RuleTrial, UriTemplate,
};
pub use time::Timestamp;
pub use token::{
    Bindings, ClaimPath, Claims, Grants, Issuer, Jws, Location as TokenLocation, Policy as TokenPolicy,
    ProviderId, Signed, Unverified, Verified,
};
pub use upstream::{Decision, FilterStateField};
#[cfg(feature = "native")]
pub use upstream::{METADATA_NAMESPACE, MetadataOutputs};

/// What bounds the work and the memory of the gate.
pub mod limits {
    pub use crate::gate::{LEFT_OUT_SECONDS, MAX_DOUBTFUL, MAX_STREAMS, MAX_TEXT, MAX_WAITING};
    pub use crate::introspection::{MAX_ANSWER_BYTES, MAX_OPAQUE, MAX_QUEUED, MIN_OPAQUE};
    pub use crate::json::MAX_DEPTH;
    pub use crate::proof::{MAX_CLIENT_CERT, MAX_PROOF};
    pub use crate::reason::MAX_EXCERPT;
    pub use crate::request::{
        MAX_METADATA, MAX_PARAMETER_READINGS, MAX_QUERY, MAX_READ_PATH, MAX_READINGS, MAX_READINGS_BYTES,
    };
    pub use crate::response::MAX_RESOURCES;
    pub use crate::revocation::{MAX_ENTRIES, MAX_PAGES};
    pub use crate::text::{MATCHED_EACH, MAX_MATCHED, MAX_MATCHED_IN_ALL, MAX_REGEX};
    pub use crate::time::MAX_REMEMBERED;
    pub use crate::token::MAX_HEADER;
    pub use crate::upstream::{MAX_FIELDS, MAX_VALUE};
}
