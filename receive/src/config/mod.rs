//! What the operator wrote, checked whole before anything starts.

mod fields;
mod issuer;
mod poll;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use portcullis::Problem;
use serde_json::Value;

use fields::{Fields, Item, Report};
pub(crate) use issuer::Issuer;
pub(crate) use poll::{Authorization, Poll};

/// Where the values of environment variables come from.
pub type Variables<'e> = &'e dyn Fn(&str) -> Option<String>;

const SECOND: Duration = Duration::from_secs(1);
const DAY: Duration = Duration::from_secs(24 * 3600);

/// A sound configuration.
pub struct Config {
    /// Where requests are taken.
    pub(crate) listen: SocketAddr,
    /// The file of the database.
    pub(crate) database: PathBuf,
    /// How long an entry that an event made stays.
    pub(crate) keep: Duration,
    /// What `POST /revocations` must bring; none: nobody may.
    pub(crate) admin: Option<String>,
    /// Whose events are taken.
    pub(crate) issuers: Vec<Issuer>,
    /// Where events are asked for.
    pub(crate) polls: Vec<Poll>,
    /// What is legal and worth a second look.
    pub warnings: Vec<Problem>,
}

impl Config {
    /// Reads a configuration in YAML or JSON.
    ///
    /// # Errors
    /// Every problem that was found, each with its path; never none.
    pub fn parse(text: &str, environment: Variables<'_>) -> Result<Self, Vec<Problem>> {
        let whole = |message: String| vec![Problem { path: String::new(), message }];
        if text.len() > MAX_CONFIG {
            return Err(whole(format!("has more than {MAX_CONFIG} bytes")));
        }
        // The reader's own value refuses a key that is there twice; another one would take the last.
        let yaml: serde_norway::Value = serde_norway::from_str(text)
            .map_err(|error| whole(format!("is neither YAML nor JSON: {error}")))?;
        let value = serde_json::to_value(yaml)
            .map_err(|error| whole(format!("has what JSON cannot say: {error}")))?;
        let report = Report::default();
        let config = read(&value, environment, &report);
        let problems = report.into_problems();
        match config {
            Some(config) if problems.is_empty() => Ok(config),
            _ if problems.is_empty() => Err(whole("cannot be read".to_owned())),
            _ => Err(problems),
        }
    }
}

/// The longest configuration that is read, in bytes.
const MAX_CONFIG: usize = 1 << 20;

fn read(value: &Value, environment: Variables<'_>, report: &Report) -> Option<Config> {
    let mut fields = Item::root(value, report).fields()?;
    let mut warnings = Vec::new();
    let listen = fields.required("listen", "give an address and a port, such as 127.0.0.1:8090");
    let listen = listen.and_then(|item| {
        let address = item.text()?.parse().ok();
        if address.is_none() {
            item.error("must be an IP address and a port, such as 127.0.0.1:8090 or [::]:8090");
        }
        address
    });
    let database = fields.required("database", "name the file in which events are kept");
    let database = database.and_then(|item| item.text()).map(PathBuf::from);
    let keep = fields.duration("keep", (SECOND, DAY * 366), DAY);
    let admin = admin(&mut fields, environment, &mut warnings);
    let issuers = issuer::read_all(&mut fields, environment, report, &mut warnings);
    let polls = fields.get("ssf_poll").and_then(|item| poll::read_all(&item, environment));
    fields.finish();
    let (polls, issuers) = (polls.unwrap_or_default(), issuers?);
    for (at, poll) in polls.iter().enumerate() {
        if let Some(name) = &poll.issuer
            && !issuers.iter().any(|issuer| issuer.issuer == *name)
        {
            report.error(
                &format!("ssf_poll[{at}].issuer"),
                "is none of \"issuers\"; add it there, with its keys",
            );
        }
    }
    if issuers.is_empty() && (admin.is_none() || !polls.is_empty()) {
        report.error("issuers", "is empty; name whose events are taken, or give \"admin\"");
    }
    Some(Config { listen: listen?, database: database?, keep, admin, issuers, polls, warnings })
}

/// A token of fewer bytes could be guessed.
const MIN_ADMIN_TOKEN: usize = 32;

fn admin(fields: &mut Fields<'_>, environment: Variables<'_>, warnings: &mut Vec<Problem>) -> Option<String> {
    let mut fields = fields.get("admin")?.fields()?;
    let item = fields.required("token", "write { environment_variable: NAME }");
    let token = item.and_then(|item| item.secret(environment));
    if token.as_ref().is_some_and(|token| token.len() < MIN_ADMIN_TOKEN) {
        warnings.push(Problem {
            path: "admin.token".to_owned(),
            message: format!(
                "has fewer than {MIN_ADMIN_TOKEN} bytes and could be guessed; take 32 or more from a random source"
            ),
        });
    }
    fields.finish();
    token
}

/// Whether a URI may be asked: over TLS, on this very machine, or where the operator says so.
fn check_https(item: &Item<'_>, uri: &str, plain: bool) -> bool {
    let Some((scheme, authority, _)) = portcullis::Endpoint::split(uri) else {
        item.error("must be absolute and plain: write https://host/path, without user or fragment");
        return false;
    };
    let host = authority.parse::<http::uri::Authority>().map(|authority| authority.host().to_owned());
    let Ok(host) = host else {
        item.error("has no host that could be asked; write https://host/path");
        return false;
    };
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    let is_here =
        bare == "localhost" || bare.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback());
    let is_good = scheme == "https" || plain || is_here;
    if !is_good {
        item.error("must be https: whoever is on the way could answer; http is for loopback addresses, or where \"insecure_http: true\" stands beside it");
    }
    is_good
}

#[cfg(test)]
mod tests;
