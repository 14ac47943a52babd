//! One configuration, read by the filter's own reader.

use std::cell::RefCell;
use std::collections::BTreeSet;

use portcullis::{Config, HostFeatures, Problem, WritesMetadata};

use super::entries::{Entry, Given, Kind};
use super::finding::{Findings, Severity};
use super::mend::{LeftOut, mend};
use super::written::{self, Dialect, place};
use crate::source::{Mark, Node};

/// A configuration that was read.
pub(super) struct Judged {
    /// What it says, with its places; none where that is not known.
    pub(super) tree: Option<Node>,
    /// It, where the filter takes it; else what is left without that which it refuses.
    pub(super) config: Option<Config>,
    /// What of it could not be judged.
    pub(super) left_out: LeftOut,
}

/// What stands for the value of a variable that is not set here: good for a secret, and as a key set.
const PLACEHOLDERS: &[&str] = &["0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef", KEYS];

/// A key set for what has none that can be read here.
pub(super) const KEYS: &str =
    r#"{"keys":[{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}"#;

/// How the filter's errors begin where a variable is not set.
const NOT_SET: &str = "this environment variable is not set";

/// How it begins that a host cannot do what Envoy's own filter can.
pub(super) const NOT_ON_THIS_HOST: &str = "cannot be done in ";

/// Reads it, and adds every error and warning of the filter's own.
pub(super) fn judge(entry: &Entry, raw: Option<&str>, findings: &mut Findings<'_>) -> Judged {
    let (text, tree) = given(entry, raw, findings);
    let read = read(&text, entry);
    let mark = |path: &str| tree.as_ref().map_or(entry.at, |tree| place(tree, path));
    let (config, left_out, errors) = match read.result {
        Ok(good) => (Some(good), LeftOut::default(), Vec::new()),
        Err(errors) => {
            // Of a text with repeated names or the like there is no rest.
            let text = tree.as_ref().map(|tree| written::json(tree, dialect(&entry.given)));
            let rest = text
                .and_then(|text| mend(&text, &errors, &|text| with_placeholders(text, entry, &read.names)));
            let (config, left_out) =
                rest.map_or((None, LeftOut::default()), |(config, out)| (Some(config), out));
            (config, left_out, errors)
        }
    };
    for Problem { path, message } in config.iter().flat_map(|config| &config.warnings) {
        if !is_known_otherwise(entry, message) && !left_out.has(path) {
            findings.warn(rule_of(message), mark(path), path, message);
        }
    }
    for Problem { path, message } in errors {
        if read.not_set.contains(&path) {
            continue;
        }
        let at = match (path.is_empty(), within(&message, &entry.given, raw)) {
            (true, Some(at)) => at,
            _ => mark(&path),
        };
        findings.add(Severity::Error, "configuration", at, path, message);
    }
    for name in read.unknown {
        let path = read.names.iter().find(|(_, own)| *own == name).map_or("", |(path, _)| path);
        findings.warn(
            "environment-variable-not-passed",
            mark(path),
            path,
            "the VM does not get this environment variable, and the filter refuses the configuration without it; name it in the environment of the VM (Envoy: vm_config.environment_variables, Istio: vmConfig.env, Envoy Gateway: env.hostKeys)",
        );
    }
    Judged { tree, config, left_out }
}

/// The text that the filter gets, and what it says.
fn given(entry: &Entry, raw: Option<&str>, findings: &mut Findings<'_>) -> (String, Option<Node>) {
    match &entry.given {
        Given::Nothing => (String::new(), None),
        Given::Values(node, dialect) => {
            let text = match raw {
                Some(text) => text.to_owned(),
                None => written::json(node, *dialect),
            };
            super::lint(node, &entry.way, findings);
            (text, Some(node.clone()))
        }
        Given::Text(node) => {
            let tree = node.inner_json().and_then(Result::ok);
            if let Some(tree) = &tree {
                super::lint(tree, "", findings);
            }
            (node.as_str().unwrap_or_default().to_owned(), tree)
        }
    }
}

/// What the host of a configuration can do: a dynamic module's, as far as the newest Envoy lets it.
fn host(entry: &Entry) -> HostFeatures {
    // A file of another machine: any key set stands for it.
    fn read_file(_: &str) -> Result<Vec<u8>, String> {
        Ok(KEYS.as_bytes().to_vec())
    }
    match entry.kind {
        Kind::Native => HostFeatures {
            read_file: Some(read_file),
            skips_empty_headers: true,
            writes_metadata: WritesMetadata::Yes,
        },
        Kind::Wasm | Kind::JwtAuthn | Kind::RequestAuthentication => HostFeatures::default(),
    }
}

/// What the filter says of a text.
struct Read {
    result: Result<Config, Vec<Problem>>,
    /// The paths at which it asks for a variable that is not set here.
    not_set: BTreeSet<String>,
    /// The variables that the document does not give to the filter.
    unknown: BTreeSet<String>,
    /// The paths at which variables are named.
    names: Vec<(String, String)>,
}

/// The value of a variable that the document gives.
fn value(entry: &Entry, name: &str) -> Option<String> {
    let own = entry.variables.as_ref()?.iter().rfind(|(own, _)| own == name)?;
    own.1.as_ref().map(|(_, value)| value.clone())
}

/// A variable that is not set here may be set where the filter runs: a placeholder stands for it.
fn read(text: &str, entry: &Entry) -> Read {
    let asked = RefCell::new(Vec::<String>::new());
    let strict = Config::parse_for(host(entry), text.as_bytes(), &|name| {
        let value = value(entry, name);
        if value.is_none() {
            asked.borrow_mut().push(name.to_owned());
        }
        value
    });
    let asked = asked.into_inner();
    let mut read =
        Read { result: strict, not_set: BTreeSet::new(), unknown: BTreeSet::new(), names: Vec::new() };
    if asked.is_empty() {
        return read;
    }
    if let Err(errors) = &read.result {
        let paths: Vec<_> =
            errors.iter().filter(|e| e.message.starts_with(NOT_SET)).map(|e| &e.path).collect();
        read.names = paths.iter().map(|path| path.to_string()).zip(asked.iter().cloned()).collect();
        read.not_set = read.names.iter().map(|(path, _)| path.clone()).collect();
    }
    let is_passed = |name: &String| match &entry.variables {
        Some(own) => own.iter().any(|(own, _)| own == name),
        None => true,
    };
    read.unknown = asked.iter().filter(|name| !is_passed(name)).cloned().collect();
    read.result = with_placeholders(text, entry, &read.names);
    read
}

/// Reads a text with placeholders for what is not set. `names`: the paths at which variables are named.
fn with_placeholders(text: &str, entry: &Entry, names: &[(String, String)]) -> Result<Config, Vec<Problem>> {
    // What a value is for shows in what is said of the wrong one: the first placeholder that leaves nothing but that.
    let with = |is_all_keys: bool| {
        let is_keys = |name: &str| {
            let path = names.iter().find(|(_, own)| own == name).map(|(path, _)| path.as_str());
            is_all_keys || path.is_some_and(|path| path.contains("local_jwks") || path.contains("localJwks"))
        };
        Config::parse_for(host(entry), text.as_bytes(), &|name| {
            let placeholder = || PLACEHOLDERS.get(usize::from(is_keys(name))).map(|text| (*text).to_owned());
            value(entry, name).or_else(placeholder)
        })
    };
    let first = with(false);
    if first.is_ok() { first } else { with(true).or(first) }
}

/// How the plain words of a configuration are read.
fn dialect(given: &Given) -> Dialect {
    match given {
        Given::Values(_, dialect) => *dialect,
        Given::Text(_) | Given::Nothing => Dialect::Core,
    }
}

/// The place that a message about the whole text ends with: `(line 1, column 13)`.
fn within(message: &str, given: &Given, raw: Option<&str>) -> Option<Mark> {
    let (_, behind) = message.rsplit_once("(line ")?;
    let (line, column) = behind.split_once(')')?.0.split_once(", column ")?;
    let (line, column) = (line.parse().ok()?, column.parse().ok()?);
    match given {
        Given::Text(node) => node.within(line, column),
        _ if raw.is_some() => Some(Mark { line, column }),
        _ => None,
    }
}

/// Whether a warning depends on what is around the configuration, and that is known.
fn is_known_otherwise(entry: &Entry, message: &str) -> bool {
    let is_alone = entry.way.is_empty();
    rule_of(message) == "limits-by-forwarded-address" && !entry.is_of_istio && !is_alone
}

/// The name of the check that a warning of the filter's comes from.
fn rule_of(message: &str) -> &'static str {
    const RULES: &[(&str, &str)] = &[
        ("no \"audiences\"", "no-audience"),
        ("no \"issuer\"", "no-issuer"),
        ("trust domain", "spiffe-not-bound"),
        ("ends with \"/\": clients compare", "resource-trailing-slash"),
        ("tells clients apart by the address", "limits-by-forwarded-address"),
        ("is null, which is the same as no field", "null-value"),
        ("\"allow_disable\"", "route-can-disable"),
        ("\"sender_constrained\" is \"ignore\"", "bound-tokens-ignored"),
        ("is \"ignore\": tokens that", "revocation-ignored"),
        ("is \"allow\": whoever can cut", "revocation-can-be-cut-off"),
        ("is http: whoever", "revocation-over-http"),
        ("tokens in a URL", "token-in-url"),
        ("no \"csrf\"", "cookie-without-csrf"),
        ("\"any_tenant\"", "any-tenant"),
        ("is not used:", "key-not-used"),
        ("compares paths as they arrive", "paths-matched-raw"),
        ("compared literally", "looks-like-a-pattern"),
        ("takes the certificate from the header", "certificate-from-header"),
        ("another content type", "header-dodges-rule"),
    ];
    RULES.iter().find(|(text, _)| message.contains(text)).map_or("configuration", |(_, rule)| rule)
}
