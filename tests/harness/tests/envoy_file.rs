//! The Envoy file that people paste is one that Envoy accepts.

use std::fs;
use std::process::Command;

use harness::envoy::{find, portcullis_module};
use harness::workspace;

/// What Envoy says of the file with `from` replaced by `to`: whether it accepts it, and its log.
fn validate(name: &str, from: &str, to: &str) -> (bool, String) {
    let binary = find().expect("an Envoy");
    let text = fs::read_to_string(workspace().join("envoy/envoy.yaml")).expect("envoy/envoy.yaml");
    let text = text.replace("dist/portcullis.wasm", &portcullis_module().to_string_lossy()).replace(from, to);
    let file = std::env::temp_dir().join(format!("portcullis-{name}-{}.yaml", std::process::id()));
    fs::write(&file, text).expect("a copy of it");
    let output = Command::new(binary.path)
        .args(["--mode", "validate", "--disable-hot-restart", "--config-path"])
        .arg(&file)
        .output()
        .expect("Envoy runs");
    let _ = fs::remove_file(&file);
    (output.status.success(), String::from_utf8_lossy(&output.stderr).into_owned())
}

#[test]
fn envoy_accepts_the_example() {
    if !portcullis_module().is_file() {
        return harness::skip("envoy_accepts_the_example", "dist/portcullis.wasm is not built");
    }
    let (accepted, log) = validate("good", "", "");
    assert!(accepted, "{log}");

    // That it looks at the plugin configuration at all:
    let (accepted, log) = validate("bad", "\"audiences\"", "\"audience\"");
    assert!(!accepted && log.contains("providers.demo.audience:"), "{log}");
}
