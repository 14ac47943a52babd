//! HTTP filters and how they are written in a bootstrap.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};

use crate::vectors::workspace;

/// One filter of a chain.
#[derive(Clone, Debug)]
#[allow(clippy::large_enum_variant, reason = "there are a few of them in a test")]
pub enum Filter {
    /// A wasm module.
    Wasm(Wasm),
    /// Envoy's own `jwt_authn` with this configuration (without its `@type`).
    JwtAuthn(Value),
    /// Any filter as it stands in a bootstrap: `{"name": …, "typed_config": …}`.
    Raw(Value),
}

impl From<Wasm> for Filter {
    fn from(wasm: Wasm) -> Self {
        Self::Wasm(wasm)
    }
}

impl Filter {
    /// What the environment of Envoy has to have for it.
    pub(super) fn envoy_environment(&self) -> &[(String, String)] {
        match self {
            Self::Wasm(wasm) => wasm.envoy_environment(),
            Self::JwtAuthn(_) | Self::Raw(_) => &[],
        }
    }

    pub(super) fn to_json(&self) -> Value {
        match self {
            Self::Wasm(wasm) => wasm.to_json(),
            Self::JwtAuthn(config) => {
                let mut config = config.clone();
                config["@type"] =
                    json!("type.googleapis.com/envoy.extensions.filters.http.jwt_authn.v3.JwtAuthentication");
                json!({ "name": "envoy.filters.http.jwt_authn", "typed_config": config })
            }
            Self::Raw(filter) => filter.clone(),
        }
    }
}

/// How the plugin configuration is handed over.
#[derive(Clone, Debug)]
pub enum PluginConfig {
    /// A `StringValue` that holds this JSON, as Istio and Envoy Gateway send it.
    Json(Value),
    /// A `StringValue` that holds this text, whatever it is.
    Text(String),
    /// A `Struct`, as native YAML in an Envoy file becomes.
    Struct(Value),
    /// A `BytesValue`.
    Bytes(Vec<u8>),
    /// No configuration at all.
    Absent,
}

/// What Envoy does after the module trapped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FailPolicy {
    /// A new virtual machine at the next request: what the examples use.
    Reload,
    /// 503 for ever.
    Closed,
    /// Requests pass by the filter. Only to show what that does.
    Open,
}

/// A wasm filter.
#[derive(Clone, Debug)]
pub struct Wasm {
    name: String,
    module: PathBuf,
    config: PluginConfig,
    environment: Vec<(String, String)>,
    host_environment: Vec<String>,
    fail_policy: FailPolicy,
    vm_id: String,
    root_id: String,
    patch: Map<String, Value>,
    host: Option<Host>,
}

impl Wasm {
    /// Portcullis from `dist/portcullis.wasm` (or the file that `$PORTCULLIS_WASM` names) with this configuration as
    /// JSON in a `StringValue`, failing by reload.
    pub fn portcullis(config: Value) -> Self {
        Self::new(&portcullis_module(), PluginConfig::Json(config))
    }

    /// Any module.
    pub fn new(module: &Path, config: PluginConfig) -> Self {
        Self {
            name: "portcullis".to_owned(),
            module: module.to_owned(),
            config,
            environment: Vec::new(),
            host_environment: Vec::new(),
            fail_policy: FailPolicy::Reload,
            vm_id: String::new(),
            root_id: String::new(),
            patch: Map::new(),
            host: None,
        }
    }

    /// On this host, whichever is under test.
    #[must_use]
    pub fn on(self, host: Host) -> Self {
        Self { host: Some(host), ..self }
    }

    /// The same configuration as a `Struct`.
    #[must_use]
    pub fn as_struct(mut self) -> Self {
        if let PluginConfig::Json(config) = self.config {
            self.config = PluginConfig::Struct(config);
        }
        self
    }

    /// Hands the configuration over in another way.
    #[must_use]
    pub fn config(mut self, config: PluginConfig) -> Self {
        self.config = config;
        self
    }

    /// The plugin's name, which is part of the names of its native statistics.
    #[must_use]
    pub fn name(mut self, name: &str) -> Self {
        name.clone_into(&mut self.name);
        self
    }

    /// Sets an environment variable inside the virtual machine.
    #[must_use]
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Lets an environment variable of Envoy's through.
    #[must_use]
    pub fn host_env(mut self, name: &str) -> Self {
        self.host_environment.push(name.to_owned());
        self
    }

    /// What happens after a trap.
    #[must_use]
    pub fn fail_policy(mut self, policy: FailPolicy) -> Self {
        self.fail_policy = policy;
        self
    }

    /// The id under which virtual machines share data. Istio leaves it empty, and so is the default.
    #[must_use]
    pub fn vm_id(mut self, id: &str) -> Self {
        id.clone_into(&mut self.vm_id);
        self
    }

    /// The plugin's root id.
    #[must_use]
    pub fn root_id(mut self, id: &str) -> Self {
        id.clone_into(&mut self.root_id);
        self
    }

    /// Sets any other field of Envoy's `PluginConfig`.
    #[must_use]
    pub fn field(mut self, name: &str, value: Value) -> Self {
        self.patch.insert(name.to_owned(), value);
        self
    }

    /// The module's file.
    pub fn module(&self) -> &Path {
        &self.module
    }

    /// The environment of the virtual machine, where it has one of its own; else Envoy's has to have it.
    pub(super) fn envoy_environment(&self) -> &[(String, String)] {
        if self.is_native() { &self.environment } else { &[] }
    }

    /// Whether the same configuration is handed to the dynamic module in the plugin's place.
    fn is_native(&self) -> bool {
        match self.host {
            Some(host) => host == Host::Native,
            None => Host::under_test() == Host::Native && self.module == portcullis_module(),
        }
    }

    /// The filter of the dynamic module, with the same configuration.
    fn to_native(&self) -> Value {
        let mut filter = json!({
            "@type": "type.googleapis.com/envoy.extensions.filters.http.dynamic_modules.v3.DynamicModuleFilter",
            "dynamic_module_config": { "name": self.library(), "do_not_close": true },
            "filter_name": self.name,
        });
        if let Some(configuration) = self.configuration() {
            filter["filter_config"] = configuration;
        }
        json!({ "name": format!("envoy.filters.http.dynamic_modules.{}", self.name), "typed_config": filter })
    }

    /// The name of the dynamic module: that of the file, where the filter is one (`dist/libNAME.so`).
    fn library(&self) -> &str {
        let name = self.module.file_name().and_then(OsStr::to_str).unwrap_or_default();
        name.strip_prefix("lib").and_then(|name| name.strip_suffix(".so")).unwrap_or("portcullis")
    }

    fn configuration(&self) -> Option<Value> {
        let string = |text: String| json!({ "@type": "type.googleapis.com/google.protobuf.StringValue", "value": text });
        match &self.config {
            PluginConfig::Json(config) => Some(string(config.to_string())),
            PluginConfig::Text(text) => Some(string(text.clone())),
            PluginConfig::Struct(config) => {
                Some(json!({ "@type": "type.googleapis.com/google.protobuf.Struct", "value": config }))
            }
            PluginConfig::Bytes(bytes) => Some(
                json!({ "@type": "type.googleapis.com/google.protobuf.BytesValue", "value": STANDARD.encode(bytes) }),
            ),
            PluginConfig::Absent => None,
        }
    }

    fn to_json(&self) -> Value {
        if self.is_native() {
            return self.to_native();
        }
        let variables: Map<String, Value> =
            self.environment.iter().map(|(name, value)| (name.clone(), json!(value))).collect();
        let mut vm = json!({
            "runtime": "envoy.wasm.runtime.v8",
            "vm_id": self.vm_id,
            "code": { "local": { "filename": self.module } },
        });
        if !variables.is_empty() || !self.host_environment.is_empty() {
            vm["environment_variables"] =
                json!({ "key_values": variables, "host_env_keys": self.host_environment });
        }
        let mut plugin = json!({
            "name": self.name,
            "root_id": self.root_id,
            "vm_config": vm,
            "failure_policy": match self.fail_policy {
                FailPolicy::Reload => "FAIL_RELOAD",
                FailPolicy::Closed => "FAIL_CLOSED",
                FailPolicy::Open => "FAIL_OPEN",
            },
        });
        if let Some(configuration) = self.configuration() {
            plugin["configuration"] = configuration;
        }
        for (name, value) in &self.patch {
            plugin[name] = value.clone();
        }
        json!({
            "name": format!("envoy.filters.http.wasm.{}", self.name),
            "typed_config": {
                "@type": "type.googleapis.com/envoy.extensions.filters.http.wasm.v3.Wasm",
                "config": plugin,
            },
        })
    }
}

/// What runs the gate in the Envoy of a test.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Host {
    /// The wasm plugin, in Envoy's virtual machine.
    Wasm,
    /// The dynamic module.
    Native,
}

impl Host {
    /// The one that `$HOST` names: `native`, else the plugin.
    ///
    /// # Panics
    /// The name is another one.
    pub fn under_test() -> Self {
        match std::env::var("HOST").as_deref() {
            Err(_) | Ok("" | "wasm") => Self::Wasm,
            Ok("native") => Self::Native,
            Ok(other) => panic!("HOST is {other:?}: write \"wasm\" or \"native\""),
        }
    }
}

/// How the names of the plugin's statistics begin, and those of the module's.
const STATISTICS: [&str; 2] = ["wasmcustom", "dynamicmodulescustom"];

/// The name of a statistic of the plugin, or a pattern for some, on the host under test.
pub(super) fn own_statistic(name: &str) -> String {
    match Host::under_test() {
        Host::Wasm => name.to_owned(),
        Host::Native => name.replace(STATISTICS[0], STATISTICS[1]),
    }
}

/// The name that a statistic of the host under test has for the plugin.
pub(super) fn common_statistic(name: &str) -> String {
    match Host::under_test() {
        Host::Wasm => name.to_owned(),
        Host::Native => name.replace(STATISTICS[1], STATISTICS[0]),
    }
}

/// What Prometheus reads of the host under test, under the names and in the order of labels that the plugin has.
pub(super) fn common_exposition(text: String) -> String {
    if Host::under_test() == Host::Wasm {
        return text;
    }
    let common = |line: &str| {
        let line = line.replace("envoy_dynamicmodulescustom_", "");
        let sorted = line.split_once('{').and_then(|(name, rest)| {
            let (labels, value) = rest.split_once('}')?;
            let mut labels: Vec<&str> = labels.split(',').collect();
            labels.sort_unstable();
            Some(format!("{name}{{{}}}{value}", labels.join(",")))
        });
        sorted.unwrap_or(line)
    };
    text.lines().map(common).collect::<Vec<_>>().join("\n")
}

/// The folder of the dynamic module under test: that of `$PORTCULLIS_NATIVE`, else `dist` in the repository.
pub fn native_folder() -> PathBuf {
    match std::env::var_os("PORTCULLIS_NATIVE").filter(|path| !path.is_empty()) {
        Some(path) => PathBuf::from(path),
        None => workspace().join("dist"),
    }
}

/// The filter under test: `$PORTCULLIS_WASM`, else `dist/portcullis.wasm` in the repository.
pub fn portcullis_module() -> PathBuf {
    match std::env::var_os("PORTCULLIS_WASM").filter(|path| !path.is_empty()) {
        Some(path) => PathBuf::from(path),
        None => workspace().join("dist/portcullis.wasm"),
    }
}
