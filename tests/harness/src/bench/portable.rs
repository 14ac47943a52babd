//! What verifying costs inside V8, for each algorithm.
//!
//! Envoy can withhold a host call from a module. Without the one to its cryptography the very filter that is released
//! verifies every signature by itself, as it does on a host that lacks the call. Beside it stands a small filter that does
//! nothing but verify, with `rsa` 0.9 or `p256` 0.13 as they come (`benches/baseline`).

use serde_json::{Map, Value, json};

use super::growth::{Group, Line, Traffic};
use super::load::Load;
use super::plan::{Plan, Variant};
use super::stage::Stage;
use crate::envoy::Wasm;
use crate::idp::Alg;

/// How many tokens come in turn, and how many of them the cache holds: none is known when its turn comes again.
const POOL: usize = 100;
const CACHE: usize = 10;

/// What the module may ask of the host and the host of the module (`scripts/check-imports` has the lists), but for
/// `proxy_call_foreign_function`.
const CAPABILITIES: &str = "
    proxy_log proxy_get_log_level proxy_get_current_time_nanoseconds proxy_set_tick_period_milliseconds
    proxy_get_buffer_bytes proxy_get_header_map_pairs proxy_get_header_map_value proxy_add_header_map_value
    proxy_replace_header_map_value proxy_remove_header_map_value proxy_get_property proxy_set_property
    proxy_get_shared_data proxy_set_shared_data proxy_continue_stream proxy_close_stream proxy_send_local_response
    proxy_http_call proxy_set_effective_context proxy_done proxy_define_metric proxy_get_metric
    proxy_increment_metric proxy_record_metric
    proxy_on_memory_allocate proxy_on_context_create proxy_on_vm_start proxy_on_configure proxy_on_tick
    proxy_on_request_headers proxy_on_request_trailers proxy_on_http_call_response proxy_on_done proxy_on_delete
    args_get args_sizes_get environ_get environ_sizes_get clock_time_get random_get proc_exit
    fd_write fd_read fd_seek fd_close fd_fdstat_get fd_prestat_get fd_prestat_dir_name path_open";

/// The filter, without the host's cryptography.
pub(super) fn without_host_crypto(wasm: Wasm) -> Wasm {
    let allowed: Map<String, Value> =
        CAPABILITIES.split_whitespace().map(|name| (name.to_owned(), json!({}))).collect();
    wasm.field("capability_restriction_config", json!({ "allowed_capabilities": allowed }))
}

/// A group for each algorithm; the first line is what the others are compared with.
pub(super) fn groups(algs: &[Alg]) -> Vec<Group> {
    let group = |alg: &Alg| {
        let baseline = match alg {
            Alg::RS256 | Alg::RS384 | Alg::RS512 | Alg::PS256 | Alg::PS384 | Alg::PS512 => {
                Some("rsa 0.9 as it comes, in V8")
            }
            Alg::ES256 => Some("p256 0.13 as it comes, in V8"),
            _ => None,
        };
        // The host has a call for PKCS #1 v1.5 and ECDSA.
        let host = match alg {
            Alg::RS256 | Alg::RS384 | Alg::RS512 | Alg::ES256 | Alg::ES384 | Alg::ES512 => {
                Some("Portcullis, verified by the host")
            }
            _ => None,
        };
        let line = |title, variant| Line { title, variant, traffic: Traffic::Good(POOL) };
        let baseline = baseline.map(|title| line(title, Variant::Baseline(*alg)));
        let own = line("Portcullis, verified in V8", Variant::Portable(CACHE));
        let host = host.map(|title| line(title, Variant::Cache(CACHE)));
        Group {
            title: format!("{alg}, tokens each seen once"),
            alg: *alg,
            lines: baseline.into_iter().chain([own]).chain(host).collect(),
        }
    };
    algs.iter().map(group).collect()
}

/// How much of the plan is run: one verification takes as long as some ten or a hundred other requests.
pub(super) fn scaled(plan: &Plan) -> Plan {
    Plan {
        rounds: plan.rounds.div_ceil(2),
        requests: plan.requests.div_ceil(20),
        warm_up: plan.warm_up.div_ceil(100),
        ..plan.clone()
    }
}

/// That Envoy withheld its cryptography from the filter, and that everything verifies nevertheless.
pub(super) fn check(stage: &Stage, groups: &[Group]) -> Result<(), String> {
    // The filter says so when it is configured.
    if !stage.envoy.log().contains("every signature is verified in the filter") {
        return Err("Envoy did not withhold its cryptography from the filter".to_owned());
    }
    let forged = Traffic::Forged(1);
    for (group, line) in groups.iter().flat_map(|group| group.lines.iter().map(move |line| (group, line))) {
        Load::open(stage.envoy.addr_of(&line.variant.name()), 1, forged.status())
            .and_then(|mut load| load.drive(&stage.traffic(group.alg, forged), 1))
            .map_err(|error| format!("{}, {}, a forged signature: {error}", group.alg, line.title))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_algorithm_is_measured_in_v8_beside_what_there_is() {
        let lines = |alg| groups(&[alg]).remove(0).variants().cloned().collect::<Vec<_>>();
        let (own, host) = (Variant::Portable(CACHE), Variant::Cache(CACHE));
        assert_eq!(lines(Alg::RS256), [Variant::Baseline(Alg::RS256), own.clone(), host.clone()]);
        assert_eq!(lines(Alg::PS256), [Variant::Baseline(Alg::PS256), own.clone()]);
        assert_eq!(lines(Alg::ES384), [own.clone(), host]);
        assert_eq!(lines(Alg::EdDSA), [own]);
    }
}
