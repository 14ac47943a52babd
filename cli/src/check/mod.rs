//! `portcullis check`: configurations and manifests as the filter reads them, and what is dangerous about them.

mod around;
pub(crate) mod entries;
mod finding;
mod judge;
mod mend;
mod policy;
pub(crate) mod written;

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use crate::output::{Exit, Failure, Terminal};
use crate::source::{File, Mark, Node, START, Unreadable, Value};
use entries::{Entry, Given, Kind};
use finding::Findings;
pub(crate) use finding::{Finding, Severity};

/// Reads configurations and manifests as the filter does, and says what is wrong or dangerous
///
/// Takes plugin configurations alone (YAML or JSON), Envoy's files, and the manifests of Istio and Envoy Gateway, with
/// several documents in a file, and finds every configuration of Portcullis and of jwt_authn in them. An error is what
/// the filter refuses, in its own words; a warning is what it takes and is dangerous. Clusters are looked for in all
/// files together. An environment variable that is not set here is no error.
/// A comment "# portcullis check: allow RULE" in a file says that warnings of that rule are meant there.
#[derive(Args)]
#[command(
    after_help = "Exit status: 1 with an error, or with a warning and --strict; else 0.\n\nExample:\n  portcullis check envoy.yaml policies/*.yaml\n  portcullis check --format sarif --strict envoy.yaml > findings.sarif"
)]
pub(crate) struct Command {
    /// The files; "-" is standard input
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// A line for each finding, one JSON object, or SARIF for code hosts
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
    /// Warnings count as errors for the exit status
    #[arg(long)]
    strict: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
enum Format {
    Text,
    Json,
    Sarif,
}

impl Command {
    pub(crate) fn run(self, terminal: &Terminal) -> Result<Exit, Failure> {
        let files = self.files.iter().map(|path| File::read(path)).collect::<Result<Vec<_>, _>>()?;
        let checked = check(&files);
        let findings = &checked.findings;
        let failed = |error| Failure::of("the findings", error);
        match self.format {
            Format::Text => {
                terminal.write(&finding::text(findings, terminal))?;
                for file in &checked.empty {
                    eprintln!("portcullis: {file}: has no configuration of Portcullis or jwt_authn");
                }
                terminal.line(&summary(findings, checked.configurations, files.len()))?;
            }
            Format::Json => terminal.write(&finding::json(findings).map_err(failed)?)?,
            Format::Sarif => terminal.write(&finding::sarif(findings).map_err(failed)?)?,
        }
        let counts = |finding: &Finding| self.strict || finding.severity == Severity::Error;
        Ok(if findings.iter().any(counts) { Exit::Findings } else { Exit::Good })
    }
}

/// `portcullis 0.1.0: 2 configurations in 3 files: 1 error, 0 warnings`
fn summary(findings: &[Finding], configurations: usize, files: usize) -> String {
    let errors = findings.iter().filter(|finding| finding.severity == Severity::Error).count();
    let many = |count: usize, word: &str| format!("{count} {word}{}", if count == 1 { "" } else { "s" });
    format!(
        "portcullis {}: {} in {}: {}, {}",
        env!("CARGO_PKG_VERSION"),
        many(configurations, "configuration"),
        many(files, "file"),
        many(errors, "error"),
        many(findings.len() - errors, "warning"),
    )
}

/// What came of all files.
pub(crate) struct Checked {
    /// In the order of files and lines.
    pub(crate) findings: Vec<Finding>,
    /// How many configurations were found.
    configurations: usize,
    /// The names of files that hold none.
    empty: Vec<String>,
}

/// Checks files that belong together.
pub(crate) fn check(files: &[File]) -> Checked {
    let all: Vec<around::Clusters> = files.iter().flat_map(documents).map(around::clusters).collect();
    let known: Vec<String> = all.iter().flat_map(|clusters| clusters.names.clone()).collect();
    let mut checked = Checked { findings: Vec::new(), configurations: 0, empty: Vec::new() };
    for file in files {
        let mut findings = Findings { file: &file.name, list: Vec::new() };
        let mut count = 0;
        match &file.documents {
            Ok(documents) if documents.is_empty() => {
                count = document(file, &nothing(), &known, &mut findings);
            }
            Ok(documents) => {
                for own in documents {
                    count += document(file, own, &known, &mut findings);
                }
            }
            Err(error) => {
                count = 1;
                unreadable(file, error, &mut findings);
            }
        }
        if count == 0 {
            checked.empty.push(file.name.clone());
        }
        checked.configurations += count;
        let allowed = allowed(&file.text);
        let is_allowed =
            |finding: &Finding| finding.severity == Severity::Warning && allowed.contains(&finding.rule);
        findings.list.retain(|finding| !is_allowed(finding));
        findings.list.sort_by_key(|finding| (finding.line, finding.column, finding.severity));
        checked.findings.append(&mut findings.list);
    }
    checked
}

/// The warnings that a file says are meant: `# portcullis check: allow RULE, RULE`.
fn allowed(text: &str) -> Vec<&str> {
    let rules = text.lines().filter_map(|line| line.split_once("# portcullis check: allow "));
    rules.flat_map(|(_, rules)| rules.split([',', ' '])).collect()
}

fn documents(file: &File) -> impl Iterator<Item = &Node> {
    file.documents.iter().flatten()
}

/// An empty file, as a value.
fn nothing() -> Node {
    Node { value: Value::Plain(String::new()), at: START }
}

/// A text that is neither: where it could be a plugin configuration, the filter says it in its own words.
fn unreadable(file: &File, error: &Unreadable, findings: &mut Findings<'_>) {
    if file.is_json {
        let none = nothing();
        let entry = Entry::alone(Given::Values(none, written::Dialect::Core), START);
        judge::judge(&entry, Some(&file.text), findings);
    }
    if findings.list.is_empty() {
        findings.add(
            Severity::Error,
            "syntax",
            error.at,
            "",
            format!("the file {}; correct the text there", error.message),
        );
    }
}

/// Checks one document; how many configurations it has.
fn document(file: &File, document: &Node, known: &[String], findings: &mut Findings<'_>) -> usize {
    let found = entries::find(document);
    let own = around::clusters(document);
    for (error, way) in &found.unreadable {
        findings.add(Severity::Error, "syntax", error.at, way, format!("the text {}", error.message));
    }
    let is_alone =
        matches!(found.entries.as_slice(), [entry] if entry.way.is_empty() && entry.chain.is_none());
    for entry in &found.entries {
        let is_json = is_alone && file.is_json;
        let text = if document.is_null() { Some("") } else { Some(file.text.as_str()).filter(|_| is_json) };
        let from = findings.list.len();
        self::entry(entry, text, findings);
        let is_static = own.is_whole || (!known.is_empty() && !is_manifest(document) && !is_alone);
        if is_static && let Some(tree) = tree(entry) {
            around::warn_of_clusters(&tree, known, findings);
        }
        for finding in findings.list.iter_mut().skip(from) {
            finding.entry.clone_from(&entry.way);
        }
    }
    around::warn_of_managers(&found.managers, findings);
    // The filter itself says it of a text that is JSON.
    if !(is_alone && file.is_json) {
        lint(document, "", findings);
    } else {
        lint_nulls(document, "", findings);
    }
    found.entries.len()
}

fn is_manifest(document: &Node) -> bool {
    document.get("apiVersion").is_some()
}

fn tree(entry: &Entry) -> Option<Node> {
    match &entry.given {
        Given::Values(node, _) => Some(node.clone()),
        Given::Text(node) => node.inner_json()?.ok(),
        Given::Nothing => None,
    }
}

/// Checks a manifest as Kubernetes has it: what is found about the configurations of Portcullis in it.
pub(crate) fn manifest(object: &Node) -> Vec<Finding> {
    let mut findings = Findings { file: "", list: Vec::new() };
    if object.get("apiVersion").is_none() || object.get("kind").is_none() {
        return findings.list;
    }
    let found = entries::find(object).entries.into_iter();
    let own: Vec<Entry> = found.filter(|entry| matches!(entry.kind, Kind::Wasm | Kind::Native)).collect();
    for entry in &own {
        let from = findings.list.len();
        self::entry(entry, None, &mut findings);
        for finding in findings.list.iter_mut().skip(from) {
            finding.entry.clone_from(&entry.way);
        }
    }
    if let Some(spec) = object.get("spec").filter(|_| !own.is_empty()) {
        lint(spec, "spec", &mut findings);
    }
    findings.list
}

/// Checks one configuration.
fn entry(entry: &Entry, raw: Option<&str>, findings: &mut Findings<'_>) {
    if entry.kind == Kind::RequestAuthentication {
        return request_authentication(entry, findings);
    }
    let judged = judge::judge(entry, raw, findings);
    let from = findings.list.len();
    if let (Some(config), Some(tree)) = (&judged.config, &judged.tree) {
        policy::Policy { config, tree, kind: entry.kind }.warn(findings);
    }
    around::warn(entry, judged.config.as_ref(), judged.tree.as_ref(), findings);
    let of_all = findings.list.split_off(from);
    findings.list.extend(of_all.into_iter().filter(|finding| judged.left_out.allows(finding)));
}

/// Istio's own rules for tokens: what can be said of them without a filter that reads them.
fn request_authentication(entry: &Entry, findings: &mut Findings<'_>) {
    let Some(spec) = tree(entry) else { return };
    for (at, rule) in spec.get("jwtRules").map(Node::elements).unwrap_or_default().iter().enumerate() {
        let path = format!("{}.jwtRules[{at}]", entry.way);
        if rule.get("audiences").is_none_or(|list| list.elements().is_empty()) {
            findings.warn(
                "no-audience",
                rule.at,
                &path,
                "no \"audiences\": a token that the issuer made for another service passes here too; name the audiences of this one",
            );
        }
        if let Some(uri) = rule.member("jwksUri")
            && uri.value.as_str().is_some_and(|text| text.starts_with("http://"))
        {
            findings.warn(
                "jwks-over-http",
                uri.at,
                format!("{path}.jwksUri"),
                "fetches keys over http: whoever is on the way can put keys of their own in, and sign every token; write https",
            );
        }
    }
}

/// Warns of keys that come twice and of values that are null, anywhere.
pub(crate) fn lint(node: &Node, way: &str, findings: &mut Findings<'_>) {
    lint_keys(node, way, findings);
    // In a file for `portcullis test` a null says that something is not there.
    if !(node.get("config").is_some() && node.get("tests").is_some()) {
        lint_nulls(node, way, findings);
    }
}

fn each(node: &Node, way: &str, to: &mut impl FnMut(&Node, &str)) {
    to(node, way);
    for member in node.members() {
        each(&member.value, &entries::join(way, &member.key), to);
    }
    for (at, element) in node.elements().iter().enumerate() {
        each(element, &format!("{way}[{at}]"), to);
    }
}

fn lint_keys(node: &Node, way: &str, findings: &mut Findings<'_>) {
    each(node, way, &mut |node, way| {
        for (at, member) in node.members().iter().enumerate() {
            let before = node.members().iter().take(at).rfind(|before| before.key == member.key);
            if let Some(before) = before {
                let line = before.at.line;
                findings.warn(
                    "repeated-key",
                    member.at,
                    entries::join(way, &member.key),
                    format!("is written in line {line} already: readers of YAML keep one of the two without a word, and not all the same one; keep one"),
                );
            }
        }
    });
}

fn lint_nulls(node: &Node, way: &str, findings: &mut Findings<'_>) {
    let mut warn = |at: Mark, way: String| {
        findings.warn(
            "null-value",
            at,
            way,
            "is null: kubectl and others drop it without a word, so that it is as if it was not written; give it a value, or remove it",
        );
    };
    each(node, way, &mut |node, way| {
        for member in node.members().iter().filter(|member| member.value.is_null()) {
            // kubectl itself writes it.
            if member.key != "creationTimestamp" {
                warn(member.at, entries::join(way, &member.key));
            }
        }
        for (at, element) in node.elements().iter().enumerate().filter(|(_, element)| element.is_null()) {
            warn(element.at, format!("{way}[{at}]"));
        }
    });
}
