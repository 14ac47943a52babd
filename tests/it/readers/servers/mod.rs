//! Real servers behind a real Envoy: none of them hands out guarded content without a token, however a path is spelled.
//!
//! Each server is lenient where it can be set so. One that is not installed is a skip that says so; `.ci/run` installs
//! all of them. `PORTCULLIS_READERS_REAL` says how many requests all servers together get (2,000).

mod kinds;
mod stage;

use std::collections::BTreeMap;

use harness::client::Connection;
use harness::{Request, Response, skip};

use crate::readers::model::choices::Choices;
use crate::readers::model::grammar;
use crate::readers::model::rules::RuleSet;
use crate::readers::property::{number, seed_of};
use kinds::Kind;
use stage::{GUARDED, Guarded, PUBLIC, STAGE, Stage};

/// Whether PHP can be started here.
///
/// # Errors
/// What is missing.
pub fn is_php_here() -> Result<(), String> {
    Kind::Php.is_installed()
}

/// How many requests a server gets by itself, to see that the corpus says anything to it.
const ALONE: usize = 300;

/// A server under trial.
struct Trial<'s> {
    stage: &'s Stage,
    kind: Kind,
    connections: BTreeMap<String, Connection>,
}

impl Trial<'_> {
    /// The answer to a request for this server at one of Envoy's listeners; none where the connection was closed.
    fn ask(&mut self, listener: &str, target: &str, token: Option<&str>) -> Option<Response> {
        let mut request = Request::get(target).host("www.example").header("x-server", self.kind.name());
        if let Some(token) = token {
            request = request.bearer(token);
        }
        let addr = self.stage.envoy.addr_of(listener);
        let open = self.connections.remove(listener);
        let mut connection = open.or_else(|| Connection::open(addr).ok())?;
        let response = match connection.try_send(&request) {
            Ok(response) => response,
            // The last answer has closed it.
            Err(_) => {
                connection = Connection::open(addr).ok()?;
                connection.try_send(&request).ok()?
            }
        };
        let closes = response.header("connection").is_some_and(|value| value.eq_ignore_ascii_case("close"));
        if !closes {
            self.connections.insert(listener.to_owned(), connection);
        }
        Some(response)
    }
}

/// Something of the corpus: mostly another name for what is guarded.
fn target(choices: &mut Choices<'_>, set: &RuleSet) -> String {
    if choices.chance(70) { grammar::attack(choices) } else { grammar::path(choices, set) }
}

fn is_guarded(response: &Response) -> bool {
    response.text().contains(GUARDED)
}

/// The tests of one server: it serves, the corpus would get at its guarded content without the filter, and does not
/// with it.
fn hands_out_nothing(kind: Kind) {
    let name = format!("servers::{}", kind.test());
    if let Err(why) = kind.is_installed() {
        return skip(&name, &why);
    }
    let stage = STAGE.get_or_init(Stage::start);
    let addr = stage.wait_for(kind);
    let mut trial = Trial { stage, kind, connections: BTreeMap::new() };
    for listener in stage.listeners() {
        let open = trial.ask(&listener.name, "/public/x", Some(&stage.token)).expect("an answer");
        assert!(open.text().contains(PUBLIC), "{kind:?} at {}: {open:?}", listener.name);
        let guarded = trial.ask(&listener.name, "/admin/x", Some(&stage.token)).expect("an answer");
        assert!(is_guarded(&guarded), "{kind:?} at {}: {guarded:?}", listener.name);
    }
    let requests = usize::try_from(number("PORTCULLIS_READERS_REAL", 2000)).expect("a number of requests");
    let (mut open, mut passed, mut vouched) = (Vec::new(), 0, 0);
    // Each server has requests of its own.
    let place = Kind::ALL.iter().position(|own| *own == kind).unwrap_or_default();
    let mut choices = Choices::Seed(seed_of(number("PORTCULLIS_READERS_SEED", 1), place as u64));
    let set = stage::corpus();
    let listeners = stage.listeners();
    for at in 0..requests.div_ceil(Kind::ALL.len()) {
        let target = target(&mut choices, &set);
        let listener = &listeners[at % listeners.len()];
        let Some(response) = trial.ask(&listener.name, &target, None) else { continue };
        passed += usize::from(response.status == 200);
        match listener.guarded {
            Guarded::Always if is_guarded(&response) => open.push(format!("{} {target}", listener.name)),
            Guarded::Vouched => vouched += usize::from(is_guarded(&response)),
            Guarded::Always => {}
        }
    }
    let bites = (0..ALONE).filter(|_| {
        let target = target(&mut choices, &set);
        let answer = Request::get(&target).host("www.example").try_send(addr);
        !target.starts_with("/admin") && answer.is_ok_and(|answer| is_guarded(&answer))
    });
    let bites = bites.count();
    println!(
        "{kind:?}: {passed} passed; under match_raw {vouched} guarded; alone {bites} of {ALONE} guarded by other names"
    );
    assert!(open.is_empty(), "{kind:?} hands out guarded content without a token:\n{}", open.join("\n"));
    assert!(bites > 0, "{kind:?}: nothing in the corpus is another name for guarded content");
}

macro_rules! servers {
    ($($test:ident $kind:ident)*) => {
        $(#[test]
        fn $test() {
            hands_out_nothing(Kind::$kind);
        })*
    };
}

servers! {
    nginx_hands_out_nothing Nginx
    nginx_without_merged_slashes_hands_out_nothing NginxUnmerged
    lighttpd_hands_out_nothing Lighttpd
    apache_hands_out_nothing Apache
    python_hands_out_nothing Python
    werkzeug_hands_out_nothing Werkzeug
    aiohttp_hands_out_nothing Aiohttp
    php_hands_out_nothing Php
    node_url_hands_out_nothing NodeUrl
    node_decoding_hands_out_nothing NodeDecoding
    node_in_the_old_way_hands_out_nothing NodeLegacy
    node_with_windows_paths_hands_out_nothing NodeWindows
    tomcat_hands_out_nothing Tomcat
}
