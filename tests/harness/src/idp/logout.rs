//! A logout at the provider, told to whoever subscribed (OpenID Connect Back-Channel Logout 1.0).

use std::net::ToSocketAddrs as _;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value, json};

use super::Shared;
use super::key::{b64, random};
use crate::client::Request;

/// What a logout token says has happened.
const EVENT: &str = "http://schemas.openid.net/event/backchannel-logout";

/// Ends a session, by `sid`, or all of a user, by `sub`; of a `token`, its session if it has one. Tells the subscriber, if
/// there is one, and gives what it answered.
///
/// # Errors
/// What is missing, or why the subscriber was not reached.
pub(super) fn log_out(idp: &Shared, asked: &Map<String, Value>) -> Result<Value, String> {
    let token = asked.get("token").and_then(Value::as_str);
    let claims = token.map(|token| claims(token).ok_or("token is no JWT")).transpose()?;
    let text = |name: &str| {
        let own = asked.get(name).and_then(Value::as_str);
        let of_token = claims.as_ref().and_then(|claims| claims[name].as_str());
        own.or(of_token).map(str::to_owned)
    };
    let (sid, sub) = (text("sid"), text("sub"));
    if sid.is_none() && sub.is_none() {
        return Err("send sid=…, sub=… or token=…".to_owned());
    }
    let mut told = json!({ "jti": b64(random(12)), "events": { EVENT: {} } });
    for (name, value) in [("sid", &sid), ("sub", &sub)] {
        if let Some(value) = value {
            told[name] = json!(value);
        }
    }
    let minted = idp.mint().header("typ", "logout+jwt").without("sub").expires_in(120).claims(told);
    let Some(subscriber) = &idp.backchannel_logout_uri else {
        return Ok(json!({ "sid": sid, "sub": sub, "subscriber": null }));
    };
    let status = tell(subscriber, &minted.sign())?;
    Ok(json!({ "sid": sid, "sub": sub, "subscriber": subscriber, "status": status }))
}

fn tell(uri: &str, token: &str) -> Result<u16, String> {
    let failed = |error: &dyn std::fmt::Display| format!("{uri}: {error}");
    let rest = uri.strip_prefix("http://").ok_or_else(|| failed(&"the demo knows http:// alone"))?;
    let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
    let mut addrs = authority.to_socket_addrs().map_err(|error| failed(&error))?;
    let addr = addrs.next().ok_or_else(|| failed(&"has no address"))?;
    let request = Request::post(format!("/{path}"), format!("logout_token={token}"))
        .header("content-type", "application/x-www-form-urlencoded");
    Ok(request.host(authority).try_send(addr).map_err(|error| failed(&error))?.status)
}

fn claims(token: &str) -> Option<Value> {
    let payload = URL_SAFE_NO_PAD.decode(token.split('.').nth(1)?).ok()?;
    serde_json::from_slice(&payload).ok()
}
