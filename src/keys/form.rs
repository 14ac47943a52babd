//! The forms in which keys are published, and what else is found where keys should be.

use std::fmt;

use super::jwk::given;
use super::pem::is_pem;
use crate::json::{Json, Object};

/// The form in which keys are published.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Format {
    /// What the document is: a JWK set, a SPIFFE bundle that says that it is one, or a map of PEM texts
    #[default]
    Auto,
    /// A JWK set (RFC 7517)
    Jwks,
    /// An object whose members are certificates or public keys in PEM, each under its kid
    PemMap,
    /// A SPIFFE bundle: a JWK set whose keys for tokens have the `use` `jwt-svid`
    Spiffe,
}

/// A document with keys.
#[derive(Debug)]
pub(super) enum Form<'j> {
    /// A JWK set
    Set(&'j [Json]),
    /// A SPIFFE bundle
    Bundle(&'j Object, &'j [Json]),
    /// A map from kids to PEM texts
    PemMap(&'j Object),
}

/// What a document is that is not of the form that was asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum OtherForm {
    /// One key, not in a set
    SingleKey,
    /// A list, of keys perhaps
    List,
    /// A JWK set where PEM texts were asked for
    KeySet,
    /// A map of PEM texts where a JWK set was asked for
    PemMap,
    /// A PEM text by itself
    Pem,
    /// A metadata document, which names the URI of a key set
    Metadata,
    /// A page for people
    Page,
    /// An object whose `keys` is no list
    KeysNotAList,
    /// An object without `keys`
    NoKeys,
    /// No object and no list
    NotAnObject,
}

impl fmt::Display for OtherForm {
    /// What it is, and what to write instead.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::SingleKey => {
                "a single key (a JWK), not a key set: put it into one, {\"keys\": [ … ]}; where the provider publishes it so, write that set into \"local_jwks\""
            }
            Self::List => {
                "a list, not a key set: put the keys into one, {\"keys\": [ … ]}; where the provider publishes a list, write that set into \"local_jwks\""
            }
            Self::KeySet => {
                "a key set, not a map from key ids to PEM texts: write \"format\": \"jwks\", or \"auto\""
            }
            Self::PemMap => {
                "a map of PEM texts, not a key set: write \"format\": \"pem_map\", or \"auto\""
            }
            Self::Pem => {
                "a PEM text, not a key set: write a map from key ids to PEM texts, {\"KEY-ID\": \"-----BEGIN PUBLIC KEY-----…\"}"
            }
            Self::Metadata => {
                "a metadata document, not a key set: use its \"jwks_uri\" as \"uri\", or write \"discovery\" instead of \"remote_jwks\""
            }
            Self::Page => "an HTML or XML page, not a key set: check the URI of the key set",
            Self::KeysNotAList => "not a key set: \"keys\" is not a list; write {\"keys\": [ … ]}",
            Self::NoKeys => {
                "not a key set: no list \"keys\" and no PEM texts; write {\"keys\": [ … ]}, or a map from key ids to PEM texts"
            }
            Self::NotAnObject => "not a key set: not an object; write {\"keys\": [ … ]}",
        })
    }
}

/// What a text begins like that is not JSON.
pub(super) fn other_text(text: &[u8]) -> Option<OtherForm> {
    let text = text.trim_ascii_start();
    match text {
        [b'<', ..] => Some(OtherForm::Page),
        _ if text.starts_with(b"-----BEGIN ") => Some(OtherForm::Pem),
        _ => None,
    }
}

/// The form of a document.
///
/// # Errors
/// What it is, where that is not what `format` asks for.
pub(super) fn form(json: &Json, format: Format) -> Result<Form<'_>, OtherForm> {
    let document = match json {
        Json::Object(document) => document,
        Json::Array(_) => return Err(OtherForm::List),
        _ => return Err(OtherForm::NotAnObject),
    };
    let members = document.get("keys").and_then(Json::as_array);
    match (format, members) {
        (Format::PemMap, Some(_)) => Err(OtherForm::KeySet),
        (Format::PemMap, None) => Ok(Form::PemMap(document)),
        (Format::Jwks, Some(members)) => Ok(Form::Set(members)),
        (Format::Spiffe, Some(members)) => Ok(Form::Bundle(document, members)),
        (Format::Auto, Some(members)) if is_bundle(document, members) => Ok(Form::Bundle(document, members)),
        (Format::Auto, Some(members)) => Ok(Form::Set(members)),
        (Format::Auto, None) if document.iter().any(|(_, value)| is_pem(value)) => Ok(Form::PemMap(document)),
        (Format::Auto | Format::Jwks | Format::Spiffe, None) => Err(other(document)),
    }
}

/// A SPIFFE bundle says so by a member of its own, or by what its keys are for (SPIFFE Trust Domain and Bundle, section
/// 4.2.2, and WIT-SVID).
fn is_bundle(document: &Object, members: &[Json]) -> bool {
    let svid = |member: &Json| {
        let wanted = member.as_object().and_then(|jwk| jwk.get("use")).and_then(Json::as_str);
        matches!(wanted, Some("jwt-svid" | "x509-svid" | "wit-svid"))
    };
    document.iter().any(|(name, _)| name.starts_with("spiffe_")) || members.iter().any(svid)
}

/// Whether a member of a bundle may be a key for tokens. Keys of other uses, and authorities for certificates that are
/// published without a `use`, are for others.
pub(super) fn is_for_tokens(member: &Json) -> bool {
    let Some(jwk) = member.as_object() else { return true };
    match given(jwk, "use") {
        Some(wanted) => wanted.as_str() == Some("jwt-svid"),
        None => given(jwk, "kid").is_some() && given(jwk, "x5c").is_none(),
    }
}

fn other(document: &Object) -> OtherForm {
    if document.contains("keys") {
        OtherForm::KeysNotAList
    } else if document.contains("kty") {
        OtherForm::SingleKey
    } else if document.iter().any(|(_, value)| is_pem(value)) {
        OtherForm::PemMap
    } else if document.contains("jwks_uri") {
        OtherForm::Metadata
    } else {
        OtherForm::NoKeys
    }
}
