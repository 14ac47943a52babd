//! `portcullis jwks`: whatever keys come in, as a key set for `local_jwks`.

mod convert;

use std::fmt::Write as _;
use std::io::Read as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use portcullis::{Algorithm, KeyFormat, KeySet, KeySetOptions};
use serde_json::{Value, json};
use ureq::tls::{Certificate, RootCerts, TlsConfig};

use crate::output::{Exit, Failure, Terminal, printable};

/// Writes keys in PEM, DER, certificates or JWKs as a key set for "local_jwks"
///
/// Writes a JWK set with the keys that the filter will use to standard output, and to standard error each key: what it
/// is used for, or why it is not. A file with a private key or a secret in it is refused as a whole, and nothing of it
/// is printed.
#[derive(Args)]
#[command(
    after_help = "Exit status: 1 where the filter can use none of the keys.\n\nExample:\n  portcullis jwks idp.pem > jwks.json\n  portcullis jwks --online https://idp.example/.well-known/jwks.json"
)]
pub(crate) struct Command {
    /// A file of PEM, DER or JSON; "-" is standard input
    #[arg(value_name = "FILE", required_unless_present = "online", conflicts_with = "online")]
    file: Option<PathBuf>,
    /// Fetch the keys from there, over https
    #[arg(long, value_name = "URL")]
    online: Option<String>,
    /// The key id of a single key that has none; the thumbprint of the key otherwise (RFC 7638)
    #[arg(long, value_name = "KID")]
    kid: Option<String>,
}

/// No document of keys is longer.
const MAX_BYTES: u64 = 8 << 20;

impl Command {
    pub(crate) fn run(self, terminal: &Terminal) -> Result<Exit, Failure> {
        let (name, bytes) = match (&self.online, &self.file) {
            (Some(url), _) => (url.clone(), fetch(url)?),
            (None, Some(path)) => (path.display().to_string(), read(path)?),
            (None, None) => return Err("give a file".to_owned().into()),
        };
        let members =
            convert::members(&bytes, self.kid.as_deref()).map_err(|error| Failure::of(&name, error))?;
        let (report, used) = judge(&members);
        eprint!("{}", printable(&report));
        let used: Vec<&Value> = used.into_iter().filter_map(|at| members.get(at)).collect();
        if used.is_empty() {
            return Ok(Exit::Findings);
        }
        let text = serde_json::to_string_pretty(&json!({ "keys": used }));
        terminal.write(&(text.map_err(|error| Failure::of(&name, error))? + "\n"))?;
        Ok(Exit::Good)
    }
}

fn read(path: &PathBuf) -> Result<Vec<u8>, Failure> {
    let failed = |error| Failure::of(path.display(), error);
    let mut bytes = Vec::new();
    let read = match path.to_str() {
        Some("-") => std::io::stdin().take(MAX_BYTES + 1).read_to_end(&mut bytes),
        _ => std::fs::File::open(path).map_err(failed)?.take(MAX_BYTES + 1).read_to_end(&mut bytes),
    };
    read.map_err(failed)?;
    match bytes.len() as u64 > MAX_BYTES {
        true => Err(Failure::of(path.display(), "is larger than 8 MiB")),
        false => Ok(bytes),
    }
}

fn fetch(url: &str) -> Result<Vec<u8>, Failure> {
    if !url.starts_with("https://") {
        return Err(Failure::of(
            url,
            "is not https: keys that came over an unchecked connection prove nothing",
        ));
    }
    // Those of this machine: a provider inside a company has an authority of the company's own.
    let trusted = rustls_native_certs::load_native_certs().certs;
    let trusted: Vec<Certificate<'static>> =
        trusted.iter().map(|der| Certificate::from_der(der).to_owned()).collect();
    if trusted.is_empty() {
        return Err(Failure::of(url, "this machine has no trusted certificates (Debian: ca-certificates)"));
    }
    let tls = TlsConfig::builder()
        .root_certs(RootCerts::new_with_certs(&trusted))
        .unversioned_rustls_crypto_provider(Arc::new(rustls::crypto::ring::default_provider()));
    let agent: ureq::Agent = ureq::Agent::config_builder()
        .tls_config(tls.build())
        .timeout_global(Some(Duration::from_secs(30)))
        .https_only(true)
        .build()
        .into();
    let failed = |error: ureq::Error| Failure::of(url, error);
    let mut response = agent.get(url).header("accept", "application/json").call().map_err(failed)?;
    response.body_mut().with_config().limit(MAX_BYTES).read_to_vec().map_err(failed)
}

/// What the filter makes of each key, and the places of those that it uses. Each is read by itself by the filter's own
/// reader, so that one does not hide another.
fn judge(members: &[Value]) -> (String, Vec<usize>) {
    let (mut report, mut used) = (String::new(), Vec::new());
    for (at, member) in members.iter().enumerate() {
        let options = KeySetOptions { format: KeyFormat::Jwks, max_keys: 1, symmetric: false };
        let kid = member["kid"].as_str().map(|kid| format!(" {kid:?}")).unwrap_or_default();
        let line = match KeySet::parse(json!({ "keys": [member] }).to_string().as_bytes(), options) {
            Ok(set) => {
                used.push(at);
                let names = set.keys().iter().flat_map(|key| {
                    let all = Algorithm::ALL.iter().copied();
                    all.filter(|algorithm| key.allows(*algorithm)).map(Algorithm::name)
                });
                let names: Vec<&str> = names.collect();
                let warnings: String = set.warnings().map(|warning| format!("; {warning}")).collect();
                format!("is used for {}{warnings}", names.join(", "))
            }
            Err(portcullis::KeySetError::NoneUsable { first: Some((_, reason)), .. }) => {
                format!("is not used: {}", reason.as_str())
            }
            Err(error) => format!("is not used: {error}"),
        };
        let _ = writeln!(report, "portcullis: keys[{at}]{kid} {line}");
    }
    if members.len() > KeySet::MAX_KEYS {
        let most = KeySet::MAX_KEYS;
        let _ = writeln!(
            report,
            "portcullis: these are {} keys; \"local_jwks\" takes at most {most}",
            members.len()
        );
    }
    (report, used)
}
