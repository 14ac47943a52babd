//! `portcullis admission`: `check` as a validating admission webhook of Kubernetes.

mod certificate;
mod review;
mod server;

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Args;

use crate::output::{Exit, Failure, Terminal};

/// Runs check as a webhook of Kubernetes, which refuses what the filter would before it is stored
///
/// Answers POST /validate with an AdmissionReview (admission.k8s.io/v1) for WasmPlugin, TrafficExtension,
/// EnvoyExtensionPolicy, EnvoyFilter and EnvoyPatchPolicy, and GET /healthz. What is not called portcullis is allowed
/// without a word. The certificate and its key are read anew when their files change. SIGTERM ends it in order.
#[derive(Args)]
#[command(
    after_help = "Example:\n  portcullis admission --listen 0.0.0.0:8443 --tls-cert /tls/tls.crt --tls-key /tls/tls.key"
)]
pub(crate) struct Command {
    /// The address to listen on
    #[arg(long, value_name = "ADDRESS:PORT")]
    listen: SocketAddr,
    /// The certificate chain, in PEM
    #[arg(long, value_name = "FILE")]
    tls_cert: PathBuf,
    /// Its private key, in PEM: PKCS#8, PKCS#1 or SEC1
    #[arg(long, value_name = "FILE")]
    tls_key: PathBuf,
}

impl Command {
    pub(crate) fn run(self, _: &Terminal) -> Result<Exit, Failure> {
        let certificate = certificate::Files::new(self.tls_cert, self.tls_key)?;
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .map_err(|error| Failure::of("admission", error))?;
        runtime.block_on(server::serve(self.listen, certificate))?;
        Ok(Exit::Good)
    }
}

/// A line of the log, on standard error: what happened, and nothing of what was sent.
fn log(line: impl std::fmt::Display) {
    eprintln!("portcullis admission: {line}");
}
