//! `revocation`: where revoked tokens are listed.

use std::rc::Rc;
use std::time::Duration;

use super::Variables;
use super::fields::{Fields, Item, join};
use super::requirement::{Providers, use_one_of};
use super::values::{endpoint, request_headers};
use crate::fetch::{Endpoint, SecretValue};
use crate::revocation::{Document, List, OnUnavailable, Polled, StatusSource};
use crate::time::Timestamp;

/// The sources that say which tokens were revoked.
#[derive(Clone, Debug, Default)]
pub struct Revocation {
    /// What the configuration itself says.
    pub inline: Option<Rc<List>>,
    /// The lists that are polled.
    pub lists: Vec<Polled>,
    /// Where the lists are to which tokens refer.
    pub status_lists: Vec<StatusSource>,
}

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
const FIVE_SECONDS: Duration = Duration::from_secs(5);
const FIVE_MINUTES: Duration = Duration::from_secs(300);
const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(24 * 3600);

/// How many lists are polled at most: each request asks each.
const MAX_LISTS: usize = 8;
/// How many places of status lists there may be.
const MAX_STATUS_SOURCES: usize = 32;

impl Revocation {
    /// Whether nothing is configured.
    pub fn is_off(&self) -> bool {
        self.inline.is_none() && self.lists.is_empty() && self.status_lists.is_empty()
    }

    /// How long a request may wait for what they say.
    pub fn patience(&self) -> Duration {
        let lists = self.lists.iter().map(|list| list.endpoint.timeout);
        let statuses = self.status_lists.iter().map(|source| source.timeout);
        lists.chain(statuses).max().unwrap_or_default()
    }
}

pub(super) fn read(
    item: &Item<'_>,
    providers: &Providers<'_>,
    environment: Variables<'_>,
) -> Option<Revocation> {
    let mut fields = item.fields()?;
    let inline = fields.get("inline");
    let polled_lists = fields.get("lists");
    let status_lists = fields.get("status_lists");
    // What is there and wrong has an error of its own.
    let is_nothing = |item: &Option<Item<'_>>| {
        item.as_ref().is_none_or(|item| item.json.as_array().is_some_and(<[_]>::is_empty))
    };
    let is_empty = [&inline, &polled_lists, &status_lists].into_iter().all(is_nothing);
    let inline = inline.and_then(|item| self::inline(&item));
    let mut lists: Vec<Polled> = Vec::new();
    for (at, item) in items(polled_lists, MAX_LISTS).iter().enumerate() {
        let Some(list) = polled(at, item, environment) else { continue };
        if let Some(other) = lists.iter().position(|other| other.name == list.name) {
            item.error(format!("has the name {:?} of lists[{other}]; give each list its own", list.name));
        }
        lists.push(list);
    }
    let status_lists = items(status_lists, MAX_STATUS_SOURCES);
    let status_lists: Vec<_> =
        status_lists.iter().filter_map(|item| status_source(item, providers, environment)).collect();
    fields.finish();
    if is_empty {
        item.error("is empty; give \"lists\", \"status_lists\" or \"inline\", or leave it out");
    }
    Some(Revocation { inline, lists, status_lists })
}

fn items(item: Option<Item<'_>>, max: usize) -> Vec<Item<'_>> {
    let Some(item) = item else { return Vec::new() };
    let items = item.list().unwrap_or_default();
    if items.len() > max {
        item.error(format!("has {} elements; keep at most {max}", items.len()));
    }
    items
}

/// A list in the configuration, for an emergency.
fn inline(item: &Item<'_>) -> Option<Rc<List>> {
    match Document::from_json(item.json, None) {
        Ok(Document::List(draft)) => Some(Rc::new(draft.finish(4096, Timestamp::default()))),
        Ok(Document::Index(_)) => {
            item.error("names pages; give \"entries\" and \"cutoffs\" here, or the pages' URI in \"lists\"");
            None
        }
        Err(error) => {
            item.error(format!(
                "{error}; write {{ \"version\": 1, \"entries\": [ … ], \"cutoffs\": [ … ] }}, each with its own \"issuer\""
            ));
            None
        }
    }
}

fn polled(at: usize, item: &Item<'_>, environment: Variables<'_>) -> Option<Polled> {
    let mut fields = item.fields()?;
    let name = fields.get("name").and_then(|item| {
        let name = item.text()?;
        let sound = name.len() <= 128 && !name.chars().any(char::is_control);
        if !sound {
            item.error("must have at most 128 bytes and no control characters");
        }
        sound.then(|| name.to_owned())
    });
    let endpoint =
        fields.required("http_uri", "give { uri, cluster, timeout }").and_then(|item| endpoint(&item));
    if let Some(endpoint) = &endpoint {
        warn_of_http(&fields, endpoint);
    }
    let headers = fields.get("headers").and_then(|item| request_headers(&item, environment));
    let interval = fields.duration("poll_interval", SECOND, HOUR, Duration::from_secs(10));
    let on_unavailable = on_unavailable(&mut fields);
    let max_staleness = fields.duration("max_staleness", SECOND, DAY, FIVE_MINUTES);
    if max_staleness < interval {
        fields.error(
            "has a \"max_staleness\" below its \"poll_interval\", so that the list is too old before the next poll; raise \"max_staleness\" or lower \"poll_interval\"",
        );
    }
    let max_bytes = fields.whole("max_bytes", 256, 32 << 20).unwrap_or(8 << 20);
    let issuer = fields.text("issuer").map(str::to_owned);
    fields.finish();
    Some(Polled {
        name: name.unwrap_or_else(|| format!("lists[{at}]")),
        endpoint: endpoint?,
        headers: headers.unwrap_or_default(),
        interval,
        on_unavailable,
        max_staleness,
        max_bytes: usize::try_from(max_bytes).ok()?,
        issuer,
    })
}

fn on_unavailable(fields: &mut Fields<'_>) -> OnUnavailable {
    let words = [("deny", OnUnavailable::Deny), ("allow", OnUnavailable::Allow)];
    let chosen = fields.choice("on_unavailable", &words, OnUnavailable::Deny);
    if chosen == OnUnavailable::Allow {
        let path = join(&fields.path, "on_unavailable");
        let text = "is \"allow\": whoever can cut this source off lets revoked tokens pass";
        fields.report.warning(&path, text);
    }
    chosen
}

fn warn_of_http(fields: &Fields<'_>, endpoint: &Endpoint) {
    if endpoint.scheme == "http" {
        let path = join(&fields.path, "http_uri");
        let text = "is http: whoever is on the way can revoke tokens, or keep them from being revoked";
        fields.report.warning(&path, text);
    }
}

fn status_source(
    item: &Item<'_>,
    providers: &Providers<'_>,
    environment: Variables<'_>,
) -> Option<StatusSource> {
    let mut fields = item.fields()?;
    let prefix = fields.required("uri_prefix", "give what the URIs of the lists begin with, up to a \"/\"");
    let uri_prefix = prefix.and_then(|item| {
        let text = item.text()?;
        let sound = Endpoint::split(text).is_some() && text.ends_with('/') && !text.contains('?');
        if !sound {
            item.error("must be absolute and end with a slash, such as https://status.example/lists/");
        }
        sound.then(|| text.to_owned())
    });
    let cluster = fields
        .required("cluster", "name the Envoy cluster that reaches the host")
        .and_then(|item| item.text())
        .map(str::to_owned);
    let timeout = fields.duration("timeout", Duration::from_millis(1), MINUTE, Duration::from_secs(5));
    let provider = fields.get("provider").and_then(|item| {
        let found = providers.get(item.text()?).copied();
        if found.is_none() {
            item.error(format!(
                "no such provider is configured; {}",
                use_one_of(providers.keys(), "providers")
            ));
        }
        found
    });
    let headers: Option<Vec<(String, SecretValue)>> =
        fields.get("headers").and_then(|item| request_headers(&item, environment));
    let on_unavailable = on_unavailable(&mut fields);
    let max_staleness = fields.duration("max_staleness", SECOND, DAY, FIVE_MINUTES);
    let max_ttl = fields.duration("max_ttl", FIVE_SECONDS, DAY, MINUTE);
    let size = |value: Option<u64>, default| usize::try_from(value.unwrap_or(default)).ok();
    let max_bytes = size(fields.whole("max_bytes", 256, 32 << 20), 1 << 20);
    let max_list_bytes = size(fields.whole("max_list_bytes", 1, 16 << 20), 4 << 20);
    let max_lists = size(fields.whole("max_lists", 1, 1024), 32);
    fields.finish();
    Some(StatusSource {
        uri_prefix: uri_prefix?,
        cluster: cluster?,
        timeout,
        provider,
        headers: headers.unwrap_or_default(),
        on_unavailable,
        max_staleness,
        max_ttl,
        max_bytes: max_bytes?,
        max_list_bytes: max_list_bytes?,
        max_lists: max_lists?,
    })
}
