//! Whom an event is about: subject identifiers (RFC 9493), simple or complex (OpenID Shared Signals Framework 1.0 section 3).

use portcullis::{Json, JsonObject};

use super::{Refusal, required_text};

/// Whom an event is about.
#[derive(Default, Debug)]
pub(super) struct Subject {
    pub(super) user: Option<User>,
    /// A session's name.
    pub(super) session: Option<String>,
    /// A token, by its issuer and `jti`.
    pub(super) token: Option<(String, String)>,
    /// A name that stands alone: a session's or a user's.
    pub(super) either: Option<String>,
}

/// A user, by the names that tokens have.
#[derive(Debug)]
pub(super) struct User {
    /// None: the issuer of the event.
    pub(super) issuer: Option<String>,
    pub(super) sub: String,
}

/// How many aliases are looked at.
const MAX_ALIASES: usize = 16;

/// The subject of an event: `sub_id`, or as earlier drafts have it the event's own `subject`, or the token's `sub`.
pub(super) fn subject(claims: &JsonObject, event: &JsonObject) -> Result<Subject, Refusal> {
    let object = |json: &Json| match json.as_object() {
        Some(object) => Ok(object.clone()),
        None => Err(Refusal::request("its subject is no object")),
    };
    if let Some(found) = claims.get("sub_id").or_else(|| event.get("subject")) {
        return read(&object(found)?);
    }
    if claims.contains("sub") {
        let sub = required_text(claims, "sub")?.to_owned();
        return Ok(Subject { user: Some(User { issuer: None, sub }), ..Subject::default() });
    }
    Err(Refusal::request("names no subject: it has neither \"sub_id\" nor \"sub\""))
}

fn read(id: &JsonObject) -> Result<Subject, Refusal> {
    let mut subject = Subject::default();
    let is_complex = ["user", "session"].iter().any(|member| id.contains(member));
    if is_complex || format(id) == Some("complex".to_owned()) {
        let member = |name: &str| match id.get(name) {
            None => Ok(None),
            Some(Json::Object(object)) => Ok(Some(object)),
            Some(_) => Err(Refusal::request(format!("its subject's {name:?} is no object"))),
        };
        if let Some(session) = member("session")? {
            subject.session = Some(required_text(session, "id")?.to_owned());
        }
        if let Some(user) = member("user")? {
            subject.user = self::user(user, true)?;
        }
        return Ok(subject);
    }
    match format(id).as_deref() {
        Some("opaque") => subject.either = Some(required_text(id, "id")?.to_owned()),
        Some("jwt_id") => {
            let text = |name| required_text(id, name).map(str::to_owned);
            subject.token = Some((text("iss")?, text("jti")?));
        }
        _ => subject.user = user(id, false)?,
    }
    Ok(subject)
}

/// The format's name; earlier drafts write it with hyphens, under another member.
fn format(id: &JsonObject) -> Option<String> {
    let format = id.get("format").or_else(|| id.get("subject_type")).and_then(Json::as_str)?;
    Some(format.replace('-', "_"))
}

/// A user in a form that tokens have; none for one by e-mail address, telephone number and the like.
fn user(id: &JsonObject, opaque: bool) -> Result<Option<User>, Refusal> {
    let text = |name| required_text(id, name).map(str::to_owned);
    match format(id).as_deref() {
        Some("iss_sub") => Ok(Some(User { issuer: Some(text("iss")?), sub: text("sub")? })),
        Some("opaque") if opaque => Ok(Some(User { issuer: None, sub: text("id")? })),
        Some("aliases") => {
            let aliases = id.get("identifiers").and_then(Json::as_array).unwrap_or_default();
            for alias in aliases.iter().take(MAX_ALIASES).filter_map(Json::as_object) {
                if format(alias).as_deref() != Some("aliases")
                    && let Some(user) = user(alias, opaque)?
                {
                    return Ok(Some(user));
                }
            }
            Ok(None)
        }
        Some(_) => Ok(None),
        None => Err(Refusal::request("its subject has no \"format\"")),
    }
}
