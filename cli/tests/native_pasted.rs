//! Configurations of `jwt_authn` that write metadata are checked as they are, where they stand in the dynamic module's
//! filter.

mod common;

use std::fs;

use common::{Folder, findings, project};
use serde_json::{Value, json};

const KEYS: &str = r#"{"keys":[{"kty":"EC","crv":"P-256","kid":"a","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}]}"#;

/// The same in base64.
const BASE64_KEYS: &str = "eyJrZXlzIjpbeyJrdHkiOiJFQyIsImNydiI6IlAtMjU2Iiwia2lkIjoiYSIsIngiOiJmODNPSjNEMnhGMUJnOHZ1Yjl0TGUxZ0hNelY3NmU4VHVzOXVQSHZSVkVVIiwieSI6InhfRkV6UnU5bTM2SExOX3R1ZTY1OUxOcFhXNnBDeVN0aWtZaktJV0k1YTAifV19";

/// The text of the forms, with what stands for issuers and keys filled in; `KEYS` is text within JSON.
fn filled(form: &Value) -> String {
    let quoted = json!(KEYS).to_string();
    let words = [
        ("AUDIENCE", json!("orders").to_string()),
        ("ISSUER", json!("https://issuer.example").to_string()),
        ("OTHER", json!("https://other.example").to_string()),
        ("KEYS", quoted.clone()),
        ("OTHER_KEYS", quoted),
        ("KEYS_BASE64", json!(BASE64_KEYS).to_string()),
        ("KEYS_FILE", json!("/etc/keys.json").to_string()),
        ("KEYS_URI", json!("https://issuer.example/jwks").to_string()),
    ];
    words.iter().fold(form.to_string(), |text, (word, value)| text.replace(&format!("\"{word}\""), value))
}

#[test]
fn configurations_that_write_metadata_have_no_error_in_the_modules_filter() {
    let text = fs::read_to_string(project().join("tests/it/pasted_metadata.yaml")).expect("the forms");
    let forms: Vec<Value> = serde_norway::from_str(&text).expect("YAML");
    assert!(forms.len() >= 24, "{}", forms.len());
    let folder = Folder::new("native-pasted");
    for form in &forms {
        let filter = |config: &Value| {
            json!({ "http_filters": [{
            "name": "portcullis",
            "typed_config": {
                "@type": "type.googleapis.com/envoy.extensions.filters.http.dynamic_modules.v3.DynamicModuleFilter",
                "dynamic_module_config": { "name": "portcullis", "do_not_close": true },
                "filter_name": "portcullis",
                "filter_config": { "@type": "type.googleapis.com/google.protobuf.Struct", "value": config },
            },
        }] })
        };
        let found = findings(&[folder.write("filter.yaml", filled(&filter(&form["config"])))]);
        let errors: Vec<_> = found.iter().filter(|finding| finding.severity == "error").collect();
        assert!(errors.is_empty(), "{}: {errors:#?}", form["name"]);
        let mut wrong = form["config"].clone();
        wrong["providers"]["corp"]["payload_in_metadatum"] = json!("x");
        let found = findings(&[folder.write("wrong.yaml", filled(&filter(&wrong)))]);
        assert!(found.iter().any(|finding| finding.severity == "error"), "{}: it is read", form["name"]);
    }
    // As a wasm plugin's configuration each of them is refused: it is the module that takes them.
    for form in &forms {
        let found = findings(&[folder.write("plugin.yaml", filled(&form["config"]))]);
        let refused =
            found.iter().any(|finding| finding.severity == "error" && finding.path.contains("etadata"));
        assert!(refused, "{}: {found:#?}", form["name"]);
    }
}
