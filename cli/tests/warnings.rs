//! Every warning of `check`: a file that has it, with its line, and the same file put right, which has none.

mod common;

use std::collections::BTreeSet;

use common::{Folder, findings};

/// A change of a good file that makes one warning appear.
struct Case {
    rule: &'static str,
    file: &'static str,
    /// What is replaced, and by what; in the order of the file, the last change is where the warning is.
    from: &'static str,
    to: &'static str,
    /// What the line of the warning has in it.
    line: &'static str,
}

/// A plugin configuration alone.
const PLUGIN: &str = "\
providers:
  corp:
    issuer: https://idp.example/
    audiences: [orders]
    required_claims: [scope]
    remote_jwks:
      http_uri: { uri: https://idp.example/jwks, cluster: idp, timeout: 5s }
rules:
  - name: health
    match: { path: /healthz }
  - name: admin
    match: { path_separated_prefix: /admin }
    requires: { provider_name: corp }
    authorize: { scopes: { all_of: [admin] } }
  - name: others
    match: { prefix: / }
    requires: { provider_name: corp }
    authorize: { scopes: { all_of: [use] } }
";

/// Envoy's file.
const ENVOY: &str = r#"
static_resources:
  listeners:
    - name: gateway
      filter_chains:
        - filters:
            - name: envoy.filters.network.http_connection_manager
              typed_config:
                "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
                normalize_path: true
                strip_any_host_port: true
                use_remote_address: true
                route_config:
                  virtual_hosts:
                    - name: all
                      domains: ["*"]
                      routes:
                        - match: { prefix: / }
                          route: { cluster: upstream }
                          metadata: { filter_metadata: { other: { scopes: [a] } } }
                http_filters:
                  - name: before
                    typed_config:
                      "@type": type.googleapis.com/envoy.extensions.filters.http.cors.v3.Cors
                  - name: gate
                    typed_config:
                      "@type": type.googleapis.com/envoy.extensions.filters.http.wasm.v3.Wasm
                      config:
                        name: portcullis
                        failure_policy: FAIL_RELOAD
                        allow_on_headers_stop_iteration: false
                        vm_config:
                          environment_variables: { key_values: { PORTCULLIS_REFUSED_CONFIGURATION: deny } }
                        configuration:
                          "@type": type.googleapis.com/google.protobuf.Struct
                          value:
                            providers:
                              corp:
                                issuer: https://idp.example/
                                audiences: [orders]
                                required_claims: [scope]
                                remote_jwks:
                                  http_uri: { uri: https://idp.example/jwks, cluster: idp, timeout: 5s }
                            limits: { failures: { per_client: 30 } }
                            rules:
                              - match: { prefix: /, hosts: [a.example] }
                                requires: { provider_name: corp }
                  - name: behind
                    typed_config:
                      "@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router
  clusters:
    - name: idp
    - name: upstream
"#;

/// Istio's and Envoy Gateway's manifests, in one file.
const MANIFESTS: &str = "\
apiVersion: extensions.istio.io/v1alpha1
kind: WasmPlugin
metadata: { name: portcullis }
spec:
  url: oci://registry.example/portcullis:0.1.0
  failStrategy: FAIL_RELOAD
  vmConfig:
    env: [{ name: PORTCULLIS_REFUSED_CONFIGURATION, value: deny }, { name: SECRET, valueFrom: HOST }]
  pluginConfig:
    shared_data_secret: { environment_variable: SECRET }
    providers:
      corp:
        issuer: https://idp.example/
        audiences: [orders]
        token_types: [at+jwt]
        remote_jwks:
          http_uri: { uri: https://idp.example/jwks, cluster: \"outbound|443||idp\", timeout: 5s }
    rules: [{ match: { prefix: / }, requires: { provider_name: corp } }]
---
apiVersion: gateway.envoyproxy.io/v1alpha1
kind: EnvoyExtensionPolicy
metadata: { name: gate, creationTimestamp: null }
spec:
  wasm:
    - name: portcullis
      code: { type: Image, image: { url: registry.example/other } }
      failOpen: false
      config:
        providers:
          policy-corp:
            issuer: https://idp.example/
            audiences: [orders]
            required_claims: [client_id]
            remote_jwks:
              http_uri: { uri: https://idp.example/jwks, cluster: httproute/a/b/rule/0, timeout: 5s }
        rules: [{ match: { prefix: / }, requires: { provider_name: policy-corp } }]
---
apiVersion: security.istio.io/v1
kind: RequestAuthentication
metadata: { name: jwt }
spec:
  jwtRules:
    - issuer: https://idp.example/
      audiences: [istio-orders]
      jwksUri: https://idp.example/istio-jwks
---
apiVersion: networking.istio.io/v1alpha3
kind: EnvoyFilter
metadata: { name: manager }
spec:
  configPatches:
    - applyTo: NETWORK_FILTER
      patch:
        operation: MERGE
        value:
          typed_config:
            \"@type\": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
            normalize_path: true
";

const fn case(
    rule: &'static str,
    file: &'static str,
    from: &'static str,
    to: &'static str,
    line: &'static str,
) -> Case {
    Case { rule, file, from, to, line }
}

const BEFORE: &str = "\"@type\": type.googleapis.com/envoy.extensions.filters.http.cors.v3.Cors";
const BEHIND: &str = "\"@type\": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router";
const HEALTH: &str = "match: { path: /healthz }";
const ADMIN: &str = "match: { path_separated_prefix: /admin }";
const OTHERS: &str = "    requires: { provider_name: corp }\n    authorize: { scopes: { all_of: [use] } }\n";

const CASES: &[Case] = &[
    case("public-over-stricter", PLUGIN, HEALTH, "match: { prefix: /admin }", "name: health"),
    case("public-over-stricter", PLUGIN, HEALTH, "match: { prefix: /ad, methods: [GET] }", "name: health"),
    case(
        "rule-never-matches",
        PLUGIN,
        HEALTH,
        "match: { path_template: \"/a/{b}\" }\n    requires: { provider_name: corp }\n    authorize: { scopes: { all_of: [a] } }\n  - match: { path: /a/c }\n    requires: { provider_name: corp }\n    authorize: { scopes: { all_of: [a] } }",
        "- match: { path: /a/c }",
    ),
    case(
        "rule-never-matches",
        PLUGIN,
        "prefix: / }",
        "path_separated_prefix: /admin/a, methods: [GET] }",
        "name: others",
    ),
    case(
        "method-dodges-rule",
        PLUGIN,
        ADMIN,
        "match: { path_separated_prefix: /others/a, methods: [POST] }",
        "",
    ),
    case(
        "header-dodges-rule",
        PLUGIN,
        ADMIN,
        "match: { path_separated_prefix: /others/a, headers: [{ name: x-admin, present_match: true }] }",
        "",
    ),
    case(
        "header-dodges-rule",
        PLUGIN,
        ADMIN,
        "match: { path_separated_prefix: /others/a, query_parameters: [{ name: admin }] }",
        "",
    ),
    case("header-dodges-rule", PLUGIN, ADMIN, "match: { path_separated_prefix: /others/a, grpc: {} }", ""),
    case(
        "metadata-can-be-missing",
        PLUGIN,
        ADMIN,
        "match: { path_separated_prefix: /others/a, metadata: [{ filter: f, path: [a], value: { bool_match: true } }] }",
        "",
    ),
    case("no-audience", PLUGIN, "    audiences: [orders]\n", "", "corp:"),
    case("no-audience", MANIFESTS, "      audiences: [istio-orders]\n", "", "- issuer:"),
    case("no-issuer", PLUGIN, "    issuer: https://idp.example/\n", "", "corp:"),
    case(
        "symmetric-algorithm",
        PLUGIN,
        "    remote_jwks:\n      http_uri: { uri: https://idp.example/jwks, cluster: idp, timeout: 5s }\n",
        "    local_jwks: { environment_variable: KEYS }\n    algorithms: [RS256, HS256]\n",
        "algorithms",
    ),
    case("fail-open", ENVOY, "FAIL_RELOAD", "FAIL_OPEN", "FAIL_OPEN"),
    case("fail-open", ENVOY, "failure_policy: FAIL_RELOAD", "fail_open: true", "fail_open"),
    case("fail-open", MANIFESTS, "FAIL_RELOAD", "FAIL_OPEN", "FAIL_OPEN"),
    case("fail-open", MANIFESTS, "failOpen: false", "failOpen: true", "failOpen"),
    case(
        "allow-on-headers-stop-iteration",
        ENVOY,
        "stop_iteration: false",
        "stop_iteration: true",
        "stop_iteration",
    ),
    case(
        "allow-on-headers-stop-iteration",
        ENVOY,
        "stop_iteration: false",
        "stop_iteration: { value: true }",
        "stop_iteration",
    ),
    case("normalize-path-off", ENVOY, "                normalize_path: true\n", "", "HttpConnectionManager"),
    case("normalize-path-off", ENVOY, "normalize_path: true", "normalize_path: false", "normalize_path"),
    case("normalize-path-off", MANIFESTS, "normalize_path: true", "normalize_path: false", "normalize_path"),
    case(
        "host-port-not-stripped",
        ENVOY,
        "strip_any_host_port: true",
        "strip_any_host_port: false",
        "strip_any_host_port",
    ),
    case("cluster-missing", ENVOY, "    - name: idp\n", "    - name: another\n", "cluster: idp"),
    case("jwks-over-http", PLUGIN, "uri: https", "uri: http", "http_uri"),
    case("jwks-over-http", ENVOY, "uri: https", "uri: http", "http_uri"),
    case(
        "jwks-over-http",
        MANIFESTS,
        "https://idp.example/istio-jwks",
        "http://idp.example/istio-jwks",
        "jwksUri",
    ),
    case(
        "provider-unused",
        PLUGIN,
        "providers:\n",
        "providers:\n  spare:\n    issuer: https://spare.example/\n    audiences: [a]\n    token_types: [at+jwt]\n    remote_jwks: { http_uri: { uri: https://spare.example/, cluster: idp } }\n",
        "spare:",
    ),
    case(
        "null-value",
        PLUGIN,
        "required_claims: [scope]",
        "required_claims: [scope]\n    subjects:",
        "subjects",
    ),
    case(
        "null-value",
        MANIFESTS,
        "metadata: { name: jwt }",
        "metadata: { name: jwt, labels: null }",
        "labels",
    ),
    case(
        "repeated-key",
        PLUGIN,
        "audiences: [orders]",
        "audiences: [orders]\n    audiences: [payments]",
        "payments",
    ),
    case(
        "repeated-key",
        MANIFESTS,
        "metadata: { name: jwt }",
        "metadata: { name: jwt }\nkind: RequestAuthentication",
        "kind: RequestAuthentication",
    ),
    case("id-token-passes", PLUGIN, OTHERS, "    requires: { provider_name: corp }\n", ""),
    case(
        "id-token-passes",
        PLUGIN,
        "required_claims: [scope]",
        "required_claims: [sub]\n    token_types: [JWT, at+jwt]",
        "",
    ),
    case("spiffe-not-bound", PLUGIN, "    issuer: https://idp.example/\n", "", ""),
    case(
        "resource-trailing-slash",
        PLUGIN,
        "rules:\n",
        "protected_resources: [{ resource: \"https://a.example/mcp/\", match: { prefix: /mcp, hosts: [a.example] } }]\nrules:\n",
        "resource",
    ),
    case(
        "route-changed-before-gate",
        ENVOY,
        BEFORE,
        "\"@type\": type.googleapis.com/envoy.extensions.filters.http.header_mutation.v3.HeaderMutation",
        "name: before",
    ),
    case(
        "headers-written-before-gate",
        ENVOY,
        BEFORE,
        "\"@type\": type.googleapis.com/envoy.extensions.filters.http.ext_authz.v3.ExtAuthz\n                      grpc_service: {}",
        "name: before",
    ),
    case(
        "headers-written-before-gate",
        ENVOY,
        BEFORE,
        "\"@type\": type.googleapis.com/envoy.extensions.filters.http.lua.v3.Lua\n                      default_source_code: { inline_string: \"function envoy_on_request(h) h:headers():replace('a', 'b') end\" }",
        "name: before",
    ),
    case(
        "grpc-web-behind-gate",
        ENVOY,
        BEHIND,
        "\"@type\": type.googleapis.com/envoy.extensions.filters.http.grpc_web.v3.GrpcWeb",
        "name: behind",
    ),
    case(
        "mcp-attributes-from-headers",
        ENVOY,
        BEFORE,
        "\"@type\": type.googleapis.com/envoy.extensions.filters.http.mcp.v3.Mcp\n                      attribute_source: HEADERS",
        "name: before",
    ),
    case(
        "limits-by-forwarded-address",
        ENVOY,
        "use_remote_address: true",
        "use_remote_address: false",
        "limits",
    ),
    case(
        "limits-by-forwarded-address",
        PLUGIN,
        "rules:\n",
        "limits: { failures: { per_client: 30 } }\nrules:\n",
        "limits",
    ),
    case("unknown-refused-configuration", ENVOY, "CONFIGURATION: deny", "CONFIGURATION: dney", "dney"),
    case("unknown-refused-configuration", MANIFESTS, "value: deny", "value: Deny", "Deny"),
    case("environment-variable-not-passed", MANIFESTS, ", { name: SECRET, valueFrom: HOST }", "", "SECRET"),
];

/// What a case needs of the good file, so that it is that one change that makes the difference.
fn good(case: &Case) -> String {
    let file = case.file;
    match case.rule {
        // A weaker rule behind.
        "method-dodges-rule" | "header-dodges-rule" | "metadata-can-be-missing" => {
            file.replace(HEALTH, "match: { path: /healthz }").replace(OTHERS, "")
        }
        // Scopes in every rule tell tokens apart.
        "id-token-passes" => file
            .replace(
                "    required_claims: [scope]\n",
                if case.from.contains("required") { "    required_claims: [scope]\n" } else { "" },
            )
            .replace(
                OTHERS,
                if case.from.contains("required") {
                    "    requires: { provider_name: corp }\n"
                } else {
                    OTHERS
                },
            ),
        "spiffe-not-bound" => file.replace("    remote_jwks:\n", "    remote_jwks:\n      format: spiffe\n"),
        "route-changed-before-gate" => {
            file.replace("filter_metadata: { other:", "filter_metadata: { portcullis:")
        }
        _ => file.to_owned(),
    }
}

#[test]
fn each_warning_is_told_of_a_file_that_has_it_and_of_none_that_has_not() {
    let folder = Folder::new("warnings");
    let mut wrong = Vec::new();
    let mut rules = BTreeSet::new();
    for (number, case) in CASES.iter().enumerate() {
        rules.insert(case.rule);
        let good = good(case);
        assert!(good.contains(case.from), "{}: {:?} is not in the file", case.rule, case.from);
        let bad = good.replacen(case.from, case.to, 1);
        let files = [("good", &good), ("bad", &bad)]
            .map(|(name, text)| folder.write(&format!("{number:02}-{name}.yaml"), text));
        let before = findings(&files[..1]);
        if !before.is_empty() {
            wrong.push(format!("{number} {}: the good file has {before:#?}", case.rule));
        }
        let after = findings(&files[1..]);
        let told: Vec<_> = after.iter().filter(|finding| finding.rule == case.rule).collect();
        let others = after.iter().filter(|finding| finding.severity == "error").count();
        let [told] = told[..] else {
            wrong.push(format!("{number} {}: found {after:#?}", case.rule));
            continue;
        };
        let line = bad.lines().nth(usize::try_from(told.line).expect("a line") - 1).unwrap_or_default();
        if others > 0 || !line.contains(case.line) {
            wrong.push(format!("{number} {}: {line:?} is the line of {told:#?}", case.rule));
        }
        if !told.message.contains([';', ':']) || told.message.len() < 60 {
            wrong.push(format!("{number} {}: says too little: {}", case.rule, told.message));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(rules.len() >= 24, "{rules:?}");
    let page = std::fs::read_to_string(common::project().join("docs/tool.md")).expect("the page");
    let unnamed: Vec<_> = rules.iter().filter(|rule| !page.contains(&format!("`{rule}`"))).collect();
    assert!(unnamed.is_empty(), "docs/tool.md does not name {unnamed:?}");
}

#[test]
fn every_example_of_the_project_is_without_findings() {
    let folder = Folder::new("examples");
    let mut names = std::collections::BTreeMap::new();
    for (number, (name, text)) in common::blocks_and_files().into_iter().enumerate() {
        // A page may show a part alone; that on migration has what other gates do, warnings and all.
        let is_whole = ["providers", "rules"].iter().all(|field| text.contains(field));
        let is_file = !name.contains(".md:");
        if name.contains("docs/migration.md") {
            continue;
        }
        if is_whole || is_file {
            names.insert(folder.write(&format!("{number:03}.yaml"), &text), name);
        }
    }
    assert!(names.len() > 60, "only {} examples", names.len());
    let found = findings(&names.keys().cloned().collect::<Vec<_>>());
    let found: Vec<_> = found.iter().map(|finding| (&names[&finding.file], finding)).collect();
    assert!(found.is_empty(), "{found:#?}");
}

#[test]
fn warnings_alone_are_good_unless_strict_and_a_file_can_say_that_they_are_meant() {
    let folder = Folder::new("strict");
    let text = PLUGIN.replace("uri: https", "uri: http");
    let file = folder.write("a.yaml", &text);
    let code = |arguments: &[&str], file: &std::path::Path| {
        let mut all: Vec<std::ffi::OsString> = vec!["check".into()];
        all.extend(arguments.iter().map(Into::into));
        all.push(file.into());
        common::run(&all).status.code()
    };
    assert_eq!((code(&[], &file), code(&["--strict"], &file)), (Some(0), Some(1)));
    let meant = folder.write("b.yaml", format!("# portcullis check: allow jwks-over-http\n{text}"));
    assert_eq!(code(&["--strict"], &meant), Some(0));
    let other = folder.write("c.yaml", format!("# portcullis check: allow no-audience\n{text}"));
    assert_eq!(code(&["--strict"], &other), Some(1));
    let error = folder.write("d.yaml", text.replace("audiences", "audience"));
    assert_eq!(code(&[], &error), Some(1));
    assert_eq!(code(&[], &folder.0.join("missing.yaml")), Some(2));
    assert_eq!(code(&["--no-such-option"], &file), Some(2));
}

/// What is wrong with a configuration besides, and where that is said.
const ERRORS: &[(&str, &str)] = &[
    ("nonsense: 1\n", "nonsense"),
    ("  - match: { prefix: /zz, nonsense: 1 }\n    public: true\n", "rules[3].match.nonsense"),
    (
        "  - match: { prefix: / }\n    requires: { provider_name: nobody }\n",
        "rules[3].requires.provider_name",
    ),
];

#[test]
fn what_can_be_judged_of_a_configuration_with_an_error_is_warned_of_and_nothing_else() {
    let folder = Folder::new("rest");
    let mut wrong = Vec::new();
    let mut count = 0;
    for (number, case) in CASES.iter().enumerate().filter(|(_, case)| case.file == PLUGIN) {
        let good = good(case);
        let bad = good.replacen(case.from, case.to, 1);
        for (at, (error, path)) in ERRORS.iter().enumerate() {
            let files = [("good", &good), ("bad", &bad)].map(|(name, text)| {
                folder.write(&format!("{number:02}-{at}-{name}.yaml"), format!("{text}{error}"))
            });
            let told = |file: usize| {
                let all = findings(&files[file..=file]);
                let (errors, warnings): (Vec<_>, Vec<_>) =
                    all.into_iter().partition(|finding| finding.severity == "error");
                assert_eq!(errors.len(), 1, "{errors:#?}");
                assert!(errors[0].path.contains(path.rsplit('.').next().expect("a name")), "{errors:#?}");
                warnings
            };
            // Whether a provider is used is told of whole files: the rule with the error may name it.
            let is_unsure = case.rule == "provider-unused" && path.starts_with("rules");
            let (before, after) = (told(0), told(1));
            let is_told = after.iter().any(|finding| finding.rule == case.rule);
            if !before.is_empty() || is_told == is_unsure {
                wrong.push(format!("{number} {} beside {path}: {before:#?} and {after:#?}", case.rule));
            }
            count += 1;
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(count >= 30, "only {count}");
}

#[test]
fn a_provider_with_an_error_is_not_warned_of_and_the_others_are() {
    let folder = Folder::new("provider");
    let other = "  other:\n    issuer: https://b.example\n    token_types: [at+jwt]\n    local_jwks: { inline_string: '{\"keys\":[{\"kty\":\"OKP\",\"crv\":\"Ed25519\",\"x\":\"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo\"}]}' }\n";
    let text = PLUGIN
        .replace("    audiences: [orders]\n", "    audience: [orders]\n")
        .replace("rules:\n", &format!("{other}rules:\n"))
        .replace("authorize: { scopes: { all_of: [admin] } }", "authorize: { scopes: { all_of: [] } }");
    let found = findings(&[folder.write("a.yaml", &text)]);
    let told: BTreeSet<_> =
        found.iter().map(|it| (it.severity.as_str(), it.rule.as_str(), it.path.as_str())).collect();
    let expected = [
        ("error", "configuration", "providers.corp.audience"),
        ("error", "configuration", "rules[1].authorize.scopes.all_of"),
        ("warning", "no-audience", "providers.other"),
    ];
    assert_eq!(told, expected.into(), "{found:#?}");
}

#[test]
fn a_native_gate_is_warned_of_as_any_other_is() {
    let folder = Folder::new("native");
    let text = "\
apiVersion: gateway.envoyproxy.io/v1alpha1
kind: EnvoyExtensionPolicy
metadata: { name: portcullis }
spec:
  dynamicModule:
    - name: portcullis
      config:
        stat_prefix: x
        providers:
          corp:
            issuer: https://idp.example/
            payload_in_metadata: payload
            local_jwks: { filename: /etc/keys.json }
          plain:
            issuer: https://b.example/
            audiences: [orders]
            token_types: [at+jwt]
            remote_jwks: { http_uri: { uri: http://b.example/jwks, cluster: b, timeout: 5s } }
        rules:
          - match: { prefix: / }
            public: true
          - match: { path: /admin }
            requires: { provider_name: corp }
";
    let found = findings(&[folder.write("native.yaml", text)]);
    let told: BTreeSet<_> = found.iter().map(|it| (it.rule.as_str(), it.path.as_str(), it.line)).collect();
    let expected = [
        // The module does not read it either.
        ("configuration", "stat_prefix", 8),
        ("no-audience", "providers.corp", 10),
        ("id-token-passes", "providers.corp", 10),
        ("jwks-over-http", "providers.plain.remote_jwks.http_uri.uri", 18),
        ("provider-unused", "providers.plain", 14),
        ("public-over-stricter", "rules[0]", 20),
        ("rule-never-matches", "rules[1]", 22),
    ];
    assert_eq!(told, expected.into(), "{found:#?}");
    let warnings = found.iter().filter(|finding| finding.severity == "warning").count();
    assert_eq!(warnings, found.len() - 1, "{found:#?}");
}
