//! `portcullis explain`: what the gate does with one request, and why.

use std::io::Read as _;
use std::path::PathBuf;

use anstyle::{AnsiColor, Style};
use clap::{Args, ValueEnum};
use portcullis::{JsonObject, Timestamp, parse_json};
use portcullis_explain::{Bench, Forge, KeysGiven, RequestSketch, TokenSketch, Tone, as_text, parse_time};
use serde_json::Value;

use crate::configuration;
use crate::output::{Exit, Failure, Terminal};

/// No token, no answer and no key set is read beyond this.
const MAX_INPUT: u64 = 16 << 20;

/// Says what the gate does with one request, and why
///
/// Which rule decides and why not the ones before, each check of the token, the answer, and what goes on to the upstream.
#[derive(Args)]
#[command(
    after_help = "Keys that the filter would fetch come from --jwks; --claims signs with a key that is thrown away. Revocation lists\n\
                  are taken as empty. Nothing is sent over a network, and no token is printed.\n\n\
                  Exit status: 0 whatever the decision, 2 it cannot be told.\n\n\
                  Examples:\n  portcullis explain --config portcullis.yaml --path /orders/7 --claims '{\"scope\": \"orders:read\"}'\n  \
                  portcullis explain --config envoy.yaml --method POST --path /orders -H 'x-tenant: acme' --token - --jwks keys.json < token.txt"
)]
pub(crate) struct Command {
    /// The configuration, alone or in a file for Envoy, Istio or Envoy Gateway; of several the second is FILE#2
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// The request's method
    #[arg(long, default_value = "GET")]
    method: String,
    /// Its path, with its query
    #[arg(long, default_value = "/")]
    path: String,
    /// Its host
    #[arg(long, default_value = "localhost")]
    host: String,
    /// A header field; again for each
    #[arg(short = 'H', long = "header", value_name = "NAME: VALUE")]
    headers: Vec<String>,
    /// A token, sent as "Authorization: Bearer"; "-" is standard input, which no list of processes shows
    #[arg(long, value_name = "TOKEN", conflicts_with = "claims", allow_hyphen_values = true)]
    token: Option<String>,
    /// Sign a token with these claims beside the usual ones; null leaves one out
    #[arg(long, value_name = "JSON")]
    claims: Option<String>,
    /// Whose token is signed, in place of the provider that the rule asks for
    #[arg(long, value_name = "NAME", requires = "claims")]
    provider: Option<String>,
    /// The algorithm that it is signed with
    #[arg(long, value_name = "ALG", requires = "claims")]
    alg: Option<String>,
    /// The keys that a provider publishes, or all do
    #[arg(long, value_name = "[PROVIDER=]FILE", conflicts_with = "claims")]
    jwks: Vec<String>,
    /// What introspection endpoints answer (RFC 7662)
    #[arg(long, value_name = "JSON")]
    introspection: Option<String>,
    /// The time, such as 2026-01-31T12:00:00Z, or seconds since 1970
    #[arg(long, value_name = "TIME")]
    now: Option<String>,
    /// The connection is TLS
    #[arg(long)]
    tls: bool,
    /// The address of the client
    #[arg(long, value_name = "ADDRESS")]
    client_address: Option<String>,
    /// The metadata that filters before the gate wrote, by namespace
    #[arg(long, value_name = "JSON")]
    metadata: Option<String>,
    /// What the route's metadata says: rule, requirement, scopes, disabled
    #[arg(long, value_name = "JSON")]
    route: Option<String>,
    /// The form of what is written
    #[arg(long, value_enum, default_value_t = Form::Text)]
    format: Form,
}

#[derive(Clone, Copy, ValueEnum)]
enum Form {
    Text,
    Json,
}

impl Command {
    pub(crate) fn run(self, terminal: &Terminal) -> Result<Exit, Failure> {
        let mut bench = configuration::bench_of(&self.config)?;
        let now = match &self.now {
            Some(text) => parse_time(text).map_err(|error| Failure::of("--now", error))?,
            None => system_time(),
        };
        let mut request = self.request()?;
        for keys in &self.jwks {
            set_keys(&mut bench, keys)?;
        }
        if let Some(answer) = &self.introspection {
            bench.set_introspection(answer.clone().into_bytes());
        }
        let mut secrets = Vec::new();
        if let Some(token) = self.token()? {
            request.headers.push(("authorization".to_owned(), format!("Bearer {token}")));
            secrets.push(token);
        }
        if let Some(claims) = &self.claims {
            let sketch = TokenSketch {
                claims: object("--claims", claims)?,
                alg: self.alg.clone(),
                ..TokenSketch::default()
            };
            let signed =
                bench.carry(&mut request, &sketch, self.provider.as_deref(), (&mut Forge::default(), now));
            secrets.push(signed.map_err(|error| Failure::of("--claims", error))?);
        }
        let explanation = bench.explain(&request, Timestamp::from_secs(now), &secrets);
        terminal.write(&match self.format {
            Form::Json => {
                let json = serde_json::to_string_pretty(&explanation);
                json.map_err(|error| Failure::of("standard output", error))? + "\n"
            }
            Form::Text => as_text(&explanation, &|tone, text| paint(terminal, tone, text)),
        })?;
        Ok(Exit::Good)
    }

    fn request(&self) -> Result<RequestSketch, Failure> {
        let headers = self.headers.iter().map(|line| RequestSketch::header_of(line));
        let headers = headers.collect::<Result<_, _>>().map_err(|error| Failure::of("--header", error))?;
        let has_blank = |text: &str| {
            text.is_empty() || text.contains(|c: char| c.is_ascii_whitespace() || c.is_control())
        };
        for (option, text) in [("--method", &self.method), ("--path", &self.path), ("--host", &self.host)] {
            if has_blank(text) {
                return Err(Failure::of(
                    option,
                    "is empty or has a blank; no proxy lets such a request through",
                ));
            }
        }
        Ok(RequestSketch {
            method: self.method.clone(),
            path: self.path.clone(),
            host: self.host.clone(),
            headers,
            tls: self.tls,
            client_address: self.client_address.clone(),
            metadata: match &self.metadata {
                Some(text) => metadata(text).map_err(|error| Failure::of("--metadata", error))?,
                None => JsonObject::default(),
            },
            route: match &self.route {
                Some(text) => serde_json::from_str(text).map_err(|error| Failure::of("--route", error))?,
                None => Default::default(),
            },
        })
    }

    /// The token that was given, without blanks around it.
    fn token(&self) -> Result<Option<String>, Failure> {
        let text = match self.token.as_deref() {
            Some("-") => {
                let mut text = String::new();
                let read = std::io::stdin().lock().take(MAX_INPUT).read_to_string(&mut text);
                read.map_err(|error| Failure::of("standard input", error))?;
                text
            }
            Some(text) => text.to_owned(),
            None => return Ok(None),
        };
        let text = text.trim();
        if text.is_empty() || text.contains(|c: char| c.is_whitespace() || c.is_control()) {
            return Err(Failure::of(
                "--token",
                "is empty or has a blank within it; give the token alone, without \"Bearer\"",
            ));
        }
        Ok(Some(text.to_owned()))
    }
}

/// What filters before the gate wrote, by namespace.
pub(crate) fn metadata(text: &str) -> Result<JsonObject, String> {
    match parse_json(text.as_bytes()) {
        Ok(portcullis::Json::Object(object)) => Ok(object),
        Ok(_) => Err("is no object; write { \"NAMESPACE\": { … } }".to_owned()),
        Err(error) => Err(error.to_string()),
    }
}

/// An object of JSON.
fn object(option: &str, text: &str) -> Result<serde_json::Map<String, Value>, Failure> {
    match serde_json::from_str(text) {
        Ok(Value::Object(object)) => Ok(object),
        Ok(_) => Err(Failure::of(option, "is no object; write { \"NAME\": VALUE }")),
        Err(error) => Err(Failure::of(option, error)),
    }
}

/// Gives a provider the keys of a file, or all of them.
fn set_keys(bench: &mut Bench, keys: &str) -> Result<(), Failure> {
    let named = keys.split_once('=');
    let named =
        named.filter(|(name, _)| bench.config().providers.iter().any(|provider| provider.name == *name));
    let (provider, file) = named.map_or((None, keys), |(name, file)| (Some(name), file));
    let mut bytes = Vec::new();
    let read = std::fs::File::open(file).and_then(|file| file.take(MAX_INPUT).read_to_end(&mut bytes));
    read.map_err(|error| Failure::of(file, error))?;
    bench.set_keys(provider, &bytes, KeysGiven::Fetched).map_err(|error| Failure::of(file, error))
}

/// The time of this machine's clock.
pub(crate) fn system_time() -> u64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    now.map_or(0, |now| now.as_secs())
}

/// A piece of an explanation in its colour.
pub(crate) fn paint(terminal: &Terminal, tone: Tone, text: &str) -> String {
    let style = match tone {
        Tone::Good => AnsiColor::Green.on_default(),
        Tone::Bad => AnsiColor::Red.on_default().bold(),
        Tone::Faint => Style::new().dimmed(),
        Tone::Strong => Style::new().bold(),
    };
    terminal.styled(style, crate::output::printable(text))
}
