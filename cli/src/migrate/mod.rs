//! `portcullis migrate`: what is there today, as a configuration of Portcullis.

mod change;
mod formula;
mod gateway;
mod input;
mod istio;
mod jwt_authn;
mod provider;
mod verify;
mod yaml;

use std::path::PathBuf;

use clap::Args;
use portcullis::Problem;
use serde_json::Value;

use crate::configuration;
use crate::output::{Exit, Failure, Terminal, printable};
use crate::source::File;
use change::Changes;
use gateway::Gateway;
use input::{Source, Today};
use istio::Istio;
use verify::Behind;

/// Writes what is there today, of jwt_authn, Istio or Envoy Gateway, as a configuration of Portcullis that means the same
#[derive(Args)]
#[command(
    after_help = "The configuration goes to standard output, with each change of meaning as a comment at its place; a report of them to\n\
                  standard error. What is open today stays open, and is said.\n\n\
                  Exit status: 0 it was carried over, 1 --verify found a difference that the report does not name, 2 it cannot be carried over.\n\n\
                  Examples:\n  portcullis migrate envoy.yaml > portcullis.yaml\n  portcullis migrate --verify authentication.yaml policies.yaml > portcullis.yaml\n  \
                  portcullis migrate --verify security-policy.yaml > portcullis.yaml"
)]
pub(crate) struct Command {
    /// A configuration of jwt_authn, alone or in a configuration of Envoy; the RequestAuthentications and AuthorizationPolicies of a workload of Istio; or a SecurityPolicy of Envoy Gateway; "-" is standard input
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Put generated requests and tokens to a model of what is there today and to the gate, and list what differs
    #[arg(long)]
    verify: bool,
}

impl Command {
    pub(crate) fn run(self, terminal: &Terminal) -> Result<Exit, Failure> {
        let files = self.files.iter().map(|path| File::read(path)).collect::<Result<Vec<_>, _>>()?;
        let Migrated { place, from, today, behind, config, changes } = migrated(input::read(&files)?)?;
        let bench = configuration::bench(&place, config.to_string().as_bytes())
            .map_err(|failure| Failure::of("cannot be carried over", failure))?;
        terminal.write(&yaml::text(&config, &changes))?;
        let mut report = changes.report();
        if !bench.config().warnings.is_empty() {
            report.push_str("The filter warns of it:\n");
        }
        for Problem { path, message } in &bench.config().warnings {
            report.push_str(&format!("  {path}: {message}\n"));
        }
        eprint!("{}: from {from}\n{}", printable(&place), printable(&report));
        if !self.verify {
            return Ok(Exit::Good);
        }
        let verified = verify::verify(&today, &behind, bench, &changes)?;
        eprint!("{}", printable(&verified.text()));
        Ok(if verified.unexplained.is_empty() { Exit::Good } else { Exit::Findings })
    }
}

pub(crate) use input::{list, normal};
pub(crate) use verify::example_of;

/// A value as YAML.
pub(crate) fn yaml(value: &Value) -> String {
    yaml::text(value, &Changes::default())
}

/// What is there today, and what it becomes.
struct Migrated {
    place: String,
    from: &'static str,
    /// The `jwt_authn` of today.
    today: Value,
    behind: Behind,
    config: Value,
    changes: Changes,
}

fn migrated(source: Source) -> Result<Migrated, Failure> {
    let failed = |error: String| Failure::of("cannot be carried over", error);
    match source {
        Source::JwtAuthn(Today { place, config: today, routes }) => {
            let (config, changes) = jwt_authn::migrate(&today, &routes, true);
            Ok(Migrated { place, from: "jwt_authn", today, behind: Behind::Nothing, config, changes })
        }
        Source::Istio(manifests) => {
            let Istio { jwt_authn: today, policies, config, changes } =
                istio::migrate(&manifests).map_err(failed)?;
            let place = manifests.first().map(|(place, _)| place.clone()).unwrap_or_default();
            let behind = Behind::Istio(policies);
            Ok(Migrated { place, from: "Istio's policies", today, behind, config, changes })
        }
        Source::Gateway { place, policy, maps } => {
            let Gateway { jwt_authn: today, authorization, config, changes } =
                gateway::migrate(&place, &policy, &maps).map_err(failed)?;
            let behind = Behind::Gateway(authorization);
            Ok(Migrated { place, from: "Envoy Gateway's SecurityPolicy", today, behind, config, changes })
        }
    }
}
