//! What the host lets this plugin do.
//!
//! Envoy leaves out what `capability_restriction_config` does not list, and other proxies never had all of it. What is
//! missing is found out when a plugin is configured, where the ABI lets it be asked for then, and else by the first call
//! that fails so. The log names it once, with what it means and what to write. Nothing is open for it: a request that
//! cannot be judged without it is refused.

use super::hostcalls;
use super::status::Status;
use crate::config::Config;
use crate::upstream::FilterStateFields;

/// A host call or a callback that a host may lack.
pub(super) struct Capability {
    /// Its place among the bits of [`Missing`].
    bit: u32,
    /// Its name in the ABI, and in Envoy's `allowed_capabilities`.
    name: &'static str,
    /// What it means that it is missing, and what to write.
    meaning: &'static str,
    /// Whether requests that should pass are refused without it.
    refuses: fn(&Config) -> bool,
}

/// The capabilities, each with what its absence means.
macro_rules! capabilities {
    ($($id:ident $bit:literal $name:literal $refuses:expr, $meaning:literal;)*) => {
        $(pub(super) const $id: Capability =
            Capability { bit: 1 << $bit, name: $name, meaning: $meaning, refuses: $refuses };)*
    };
}

capabilities! {
    CLOCK 0 "proxy_get_current_time_nanoseconds" |_| true,
        "without the time no token can be judged, and every request gets 503";
    HEADERS 1 "proxy_get_header_map_pairs" |_| true,
        "no request can be read, and every one gets 503";
    REMOVE 2 "proxy_remove_header_map_value" |_| true,
        "no header can be taken away: a request gets 503 that has a token which is not forwarded (\"forward\": true \
         forwards it), or a header that only this filter may write";
    ADD 3 "proxy_add_header_map_value" |_| true,
        "no header can be written: a request gets 503 whose token has a claim for one (\"claim_to_headers\", \
         \"forward_payload_header\"), or whose token is taken out of a cookie";
    REPLACE 4 "proxy_replace_header_map_value" |_| false,
        "a token cannot be taken out of a query: a request with one gets 503 (\"forward\": true leaves it there)";
    LOCAL_REPLY 5 "proxy_send_local_response" |_| true,
        "a request that is refused gets no answer: its stream is reset";
    CLOSE 6 "proxy_close_stream" |_| true,
        "a request that is refused gets neither an answer nor a reset: it is held until a timeout of the host ends it. Open \
         streams outlive their tokens, whatever \"streams\" says";
    RESUME 7 "proxy_continue_stream" |_| true,
        "a request that waited for keys or lists cannot go on, and gets 503 with Retry-After";
    CONTEXT 8 "proxy_set_effective_context" |_| true,
        "a request that waits could not be woken: none waits for keys or lists, and gets 503 with Retry-After instead. \
         Open streams outlive their tokens, whatever \"streams\" says";
    TIMER 9 "proxy_set_tick_period_milliseconds with proxy_on_tick" Config::takes_once,
        "nothing is done by the clock: keys and lists are fetched, and counts and audit lines are written, when a \
         request comes, and each worker fetches for itself. Requests with proofs (\"dpop\"), and of rules with \
         \"one_time\", get 503";
    CALLS 10 "proxy_http_call" |_| true,
        "nothing can be fetched: tokens get 503 whose keys or lists are to be fetched; write keys into the \
         configuration (\"local_jwks\"), and lists too (\"revocation.inline\")";
    PROPERTY 11 "proxy_get_property" |config| config.route_rules.is_on,
        "what a route says cannot be read, so that every request gets 403 unless \"route_rules\" is false: write \
         that where no route has rules. \"require_tls\": \"connection\" refuses every token, and audit lines name no \
         client";
    FILTER_STATE 12 "proxy_set_property" |config| config.filter_state != FilterStateFields::NONE,
        "access logs and other filters get no filter state. Where \"filter_state\" names entries, a request that \
         should pass gets 503, since a filter behind may rely on them: write \"filter_state\": []";
    SHARED_DATA 13 "proxy_get_shared_data with proxy_set_shared_data" Config::takes_once,
        "workers share nothing: each fetches keys and lists for itself. Requests with proofs (\"dpop\"), and of rules \
         with \"one_time\", get 503, since no worker knows what came to another";
    FOREIGN_FUNCTIONS 14 "proxy_call_foreign_function" |_| false,
        "every signature is verified in the filter, which takes longer, and \"clear_route_cache\" has no effect";
    DEFINE_METRIC 15 "proxy_define_metric" |_| false, "there are no metrics";
    INCREMENT_METRIC 16 "proxy_increment_metric" |_| false, "there are no counters among the metrics";
    RECORD_METRIC 17 "proxy_record_metric" |_| false, "there are no gauges and histograms among the metrics";
    CREATE 21 "proxy_on_context_create" |_| true, "there is no plugin to be configured: its configuration is refused";
    CONFIGURE 18 "proxy_on_configure" |_| true, "no configuration came, and every request gets 503";
    REQUEST_HEADERS 19 "proxy_on_request_headers" |_| true,
        "requests reach the upstream unjudged. Their answers are replaced by 503, as far as the host shows them: \
         allow this callback";
    ENVIRONMENT 20 "environ_sizes_get with environ_get" |_| false,
        "environment variables cannot be read. A configuration that cannot be used is accepted then, and every \
         request gets 503, as under PORTCULLIS_REFUSED_CONFIGURATION=deny";
}

/// What a host has been found to lack.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Missing(u32);

impl Missing {
    /// Asks for what can be asked for in the root context `root` without changing anything.
    pub(super) fn find(root: u32) -> Self {
        const PROBE: &str = "portcullis.probe";
        let mut missing = Self::default();
        for (capability, result) in [
            (&CLOCK, hostcalls::now().map(drop)),
            // There is no request to write it for: the host says so, or that it does not do this at all.
            (&FILTER_STATE, hostcalls::set_property(PROBE, b"")),
            (&PROPERTY, hostcalls::property(b"plugin_name").map(drop)),
            (&CONTEXT, hostcalls::proxy_set_effective_context(root).ok()),
            (&FOREIGN_FUNCTIONS, hostcalls::call_foreign_function(PROBE, b"").map(drop)),
        ] {
            if result.is_err_and(Status::is_missing) {
                missing.add(capability);
            }
        }
        // A store that fails in any other way serves no better.
        let read = hostcalls::shared_data(PROBE).is_err_and(|status| status != Status::NOT_FOUND);
        if read || hostcalls::set_shared_data(PROBE, b"", 0).is_err() {
            missing.add(&SHARED_DATA);
        }
        if !super::wasi::has_environment() {
            missing.add(&ENVIRONMENT);
        }
        missing
    }

    pub(super) fn has(self, capability: &Capability) -> bool {
        self.0 & capability.bit != 0
    }

    /// Says whether it is new.
    pub(super) fn add(&mut self, capability: &Capability) -> bool {
        let before = self.0;
        self.0 |= capability.bit;
        self.0 != before
    }

    pub(super) fn remove(&mut self, capability: &Capability) {
        self.0 &= !capability.bit;
    }

    /// Everything of it.
    pub(super) fn all(self) -> impl Iterator<Item = &'static Capability> {
        ALL.iter().filter(move |capability| self.has(capability))
    }
}

impl Capability {
    /// Names it in the log.
    pub(super) fn tell(&self, config: Option<&Config>) {
        let level = match config.is_none_or(self.refuses) {
            true => log::Level::Error,
            false => log::Level::Warn,
        };
        log::log!(level, "the host does not have {}, or does not allow it: {}", self.name, self.meaning);
    }

    /// Its name in the ABI.
    pub(super) fn name(&self) -> &'static str {
        self.name
    }
}

static ALL: [Capability; 21] = [
    CLOCK,
    HEADERS,
    REMOVE,
    ADD,
    REPLACE,
    LOCAL_REPLY,
    CLOSE,
    RESUME,
    CONTEXT,
    TIMER,
    CALLS,
    PROPERTY,
    FILTER_STATE,
    SHARED_DATA,
    FOREIGN_FUNCTIONS,
    DEFINE_METRIC,
    INCREMENT_METRIC,
    RECORD_METRIC,
    CONFIGURE,
    REQUEST_HEADERS,
    ENVIRONMENT,
];
