//! `ssf_poll[]`: transmitters that are asked for their events (RFC 8936).

use std::time::Duration;

use super::fields::{Fields, Item};
use super::{SECOND, Variables, check_https};

/// One transmitter.
pub(crate) struct Poll {
    /// Its name in logs and metrics: its host.
    pub(crate) name: String,
    /// Where events are asked for (RFC 8936 section 2.4).
    pub(crate) endpoint: String,
    /// The one issuer whose events it may hand out; none: any that is configured.
    pub(crate) issuer: Option<String>,
    /// How often it is asked.
    pub(crate) interval: Duration,
    /// How long an answer may take.
    pub(crate) timeout: Duration,
    /// What it asks of us.
    pub(crate) authorization: Authorization,
}

/// What a transmitter asks of whoever asks it.
pub(crate) enum Authorization {
    /// Nothing.
    Nothing,
    /// A bearer token (RFC 6750) that does not change.
    Token(String),
    /// One from its authorization server (RFC 6749 section 4.4).
    ClientCredentials {
        token_endpoint: String,
        client_id: String,
        client_secret: String,
        scope: Option<String>,
    },
}

/// How many transmitters there may be.
const MAX_POLLS: usize = 16;

pub(super) fn read_all(item: &Item<'_>, environment: Variables<'_>) -> Option<Vec<Poll>> {
    let list = item.list()?;
    if list.len() > MAX_POLLS {
        item.error(format!("has more than {MAX_POLLS} members"));
        return None;
    }
    list.iter().map(|item| read(item, environment)).collect()
}

fn read(item: &Item<'_>, environment: Variables<'_>) -> Option<Poll> {
    let mut fields = item.fields()?;
    let plain = fields.bool("insecure_http");
    let endpoint = uri(&mut fields, "endpoint", "give the URI of the poll endpoint", plain);
    let issuer = fields.get("issuer").and_then(|item| item.text()).map(str::to_owned);
    let interval = fields.duration("interval", (Duration::from_millis(100), SECOND * 3600), SECOND * 10);
    let timeout = fields.duration("timeout", (Duration::from_millis(100), SECOND * 60), SECOND * 10);
    let token = fields.get("token");
    let credentials = fields.get("client_credentials");
    if token.is_some() && credentials.is_some() {
        fields.error("has \"token\" and \"client_credentials\"; keep one");
    }
    let authorization = match (&token, &credentials) {
        (Some(item), _) => item.secret(environment).map(Authorization::Token),
        (None, Some(item)) => client_credentials(item, environment, plain),
        (None, None) => Some(Authorization::Nothing),
    };
    fields.finish();
    let endpoint = endpoint?;
    let name = portcullis::Endpoint::split(&endpoint).map(|(_, authority, _)| authority)?;
    Some(Poll { name, endpoint, issuer, interval, timeout, authorization: authorization? })
}

fn client_credentials(item: &Item<'_>, environment: Variables<'_>, plain: bool) -> Option<Authorization> {
    let mut fields = item.fields()?;
    let token_endpoint = uri(&mut fields, "token_endpoint", "give the URI that hands out tokens", plain);
    let client_id = fields.required("client_id", "name the client");
    let client_id = client_id.and_then(|item| item.text()).map(str::to_owned);
    let client_secret = fields.required("client_secret", "write { environment_variable: NAME }");
    let client_secret = client_secret.and_then(|item| item.secret(environment));
    let scope = fields.get("scope").map(|item| item.text().map(str::to_owned));
    fields.finish();
    Some(Authorization::ClientCredentials {
        token_endpoint: token_endpoint?,
        client_id: client_id?,
        client_secret: client_secret?,
        scope: scope.flatten(),
    })
}

fn uri(fields: &mut Fields<'_>, name: &'static str, hint: &str, plain: bool) -> Option<String> {
    let item = fields.required(name, hint)?;
    let uri = item.text()?;
    check_https(&item, uri, plain).then(|| uri.to_owned())
}
