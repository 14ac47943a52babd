//! What is written to the dynamic metadata of a request that passes, or is refused: `jwt_authn`'s fields for it.

use super::fields::Fields;
#[cfg(feature = "native")]
use super::problem::WritesMetadata;
#[cfg(feature = "native")]
use crate::upstream::MetadataOutputs;

const PAYLOAD: &str = "payload_in_metadata";
const HEADER: &str = "header_in_metadata";
const FAILED_STATUS: &str = "failed_status_in_metadata";
const NORMALIZE: &str = "normalize_payload_in_metadata";

/// What a host cannot do that writes none, with the way here. The way depends on who reads it.
const REFUSED: &[(&str, &str)] = &[
    (
        PAYLOAD,
        "use \"forward_payload_header\" or \"claim_to_headers\" for the upstream, Lua, ext_authz and rate limits, and the filter state wasm.portcullis.subject, .scopes and .provider (name them in \"filter_state\") for RBAC and the access log. The dynamic module can write metadata",
    ),
    (
        HEADER,
        "use the filter state wasm.portcullis.provider in the access log, and the key id (\"kid\") of the audit line. The dynamic module can write metadata",
    ),
    (
        FAILED_STATUS,
        "use the filter state wasm.portcullis.reason in other filters and the access log, or %RESPONSE_CODE_DETAILS% in the access log. The dynamic module can write metadata",
    ),
    (
        NORMALIZE,
        "use \"authorize\" or the filter state wasm.portcullis.scopes, where scopes are split already, and \"claim_to_headers\" for the upstream. The dynamic module can write metadata",
    ),
];

/// Where nothing is written.
pub(super) fn refuse(fields: &mut Fields<'_>) {
    fields.refuse(REFUSED);
}

/// What is written; none where nothing is.
#[cfg(feature = "native")]
pub(super) fn read(fields: &mut Fields<'_>) -> Option<MetadataOutputs> {
    match fields.host().writes_metadata {
        WritesMetadata::Never => {
            refuse(fields);
            return None;
        }
        WritesMetadata::NotInThisProxy => {
            for name in [PAYLOAD, HEADER, FAILED_STATUS, NORMALIZE] {
                if let Some(item) = fields.get(name).filter(|item| item.json.as_str() != Some("")) {
                    item.error("needs Envoy 1.40 or newer: an older one takes no structures from a dynamic module; leave it out, or update Envoy");
                }
            }
            return None;
        }
        WritesMetadata::Yes => {}
    }
    // A name that is empty turns nothing on, as in Envoy.
    let mut key = |name| {
        let item = fields.get(name).filter(|item| item.json.as_str() != Some(""))?;
        item.text().map(str::to_owned)
    };
    let outputs = MetadataOutputs {
        payload: key(PAYLOAD),
        header: key(HEADER),
        failed_status: key(FAILED_STATUS),
        space_delimited: normalized(fields),
    };
    outputs.writes_any().then_some(outputs)
}

#[cfg(feature = "native")]
/// The claims that become lists, split at blanks.
fn normalized(fields: &mut Fields<'_>) -> Vec<String> {
    let Some(mut normalize) = fields.get(NORMALIZE).and_then(|item| item.message(NORMALIZED)) else {
        return Vec::new();
    };
    let claims = normalize.get(CLAIMS).and_then(|item| item.texts()).unwrap_or_default();
    normalize.finish();
    claims
}

#[cfg(feature = "native")]
const CLAIMS: &str = "space_delimited_claims";
#[cfg(feature = "native")]
const NORMALIZED: &[&str] = &[CLAIMS];
