//! What was found, and the forms in which it is reported.

use anstyle::{AnsiColor, Style};
use serde::Serialize;
use serde_sarif::sarif;

use crate::output::{Terminal, printable};
use crate::source::Mark;

/// How bad it is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Severity {
    /// The filter refuses the configuration.
    Error,
    /// The filter takes it, and something about it is dangerous or has no effect.
    Warning,
}

/// One thing to look at.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub(crate) struct Finding {
    pub(crate) severity: Severity,
    /// The name of the check, for those who filter.
    pub(crate) rule: &'static str,
    pub(crate) file: String,
    pub(crate) line: usize,
    pub(crate) column: usize,
    /// The path in the plugin configuration; for what is around it, in the document.
    pub(crate) path: String,
    /// What is wrong, and what to write instead.
    pub(crate) message: String,
    /// Where in the document the plugin configuration is; not part of any output of `check`.
    #[serde(skip)]
    pub(crate) entry: String,
}

/// What the findings of one document are added to.
pub(crate) struct Findings<'f> {
    pub(crate) file: &'f str,
    pub(crate) list: Vec<Finding>,
}

impl Findings<'_> {
    pub(crate) fn add(
        &mut self,
        severity: Severity,
        rule: &'static str,
        at: Mark,
        path: impl Into<String>,
        message: impl Into<String>,
    ) {
        let finding = Finding {
            severity,
            rule,
            file: self.file.to_owned(),
            line: at.line,
            column: at.column,
            path: path.into(),
            message: message.into(),
            entry: String::new(),
        };
        // A value can be reached in two ways: as a part of the document, and of the configuration in it.
        let is_known = |known: &Finding| {
            (known.rule, known.line, known.column) == (rule, at.line, at.column)
                && known.severity == severity
                && (rule == "null-value" || rule == "repeated-key" || known.message == finding.message)
        };
        if !self.list.iter().any(is_known) {
            self.list.push(finding);
        }
    }

    pub(crate) fn warn(
        &mut self,
        rule: &'static str,
        at: Mark,
        path: impl Into<String>,
        message: impl Into<String>,
    ) {
        self.add(Severity::Warning, rule, at, path, message);
    }
}

/// A line for each, as compilers write them.
pub(super) fn text(findings: &[Finding], terminal: &Terminal) -> String {
    let mut out = String::new();
    for finding in findings {
        let Finding { file, line, column, rule, path, message, .. } = finding;
        let (word, colour) = match finding.severity {
            Severity::Error => ("error", AnsiColor::Red),
            Severity::Warning => ("warning", AnsiColor::Yellow),
        };
        let word = terminal.styled(Style::new().bold().fg_color(Some(colour.into())), word);
        let path = if path.is_empty() { "configuration" } else { path };
        let place = terminal.styled(Style::new().bold(), format!("{}:{line}:{column}", printable(file)));
        let message = printable(message);
        out += &format!("{place}: {word}[{rule}]: {}: {message}\n", printable(path));
    }
    out
}

#[derive(Serialize)]
struct Report<'f> {
    version: &'static str,
    findings: &'f [Finding],
}

/// `{ "findings": [ … ] }`
pub(super) fn json(findings: &[Finding]) -> Result<String, serde_json::Error> {
    let report = Report { version: env!("CARGO_PKG_VERSION"), findings };
    Ok(serde_json::to_string_pretty(&report)? + "\n")
}

/// SARIF 2.1.0, which code hosts show beside the lines of a change.
pub(super) fn sarif(findings: &[Finding]) -> Result<String, serde_json::Error> {
    let mut names: Vec<&str> = findings.iter().map(|finding| finding.rule).collect();
    names.sort_unstable();
    names.dedup();
    let rules = names.into_iter().map(|name| sarif::ReportingDescriptor::builder().id(name).build());
    let driver = sarif::ToolComponent::builder()
        .name("portcullis")
        .version(env!("CARGO_PKG_VERSION"))
        .rules(rules.collect::<Vec<_>>())
        .build();
    let run = sarif::Run::builder()
        .tool(sarif::Tool::builder().driver(driver).build())
        .results(findings.iter().map(result).collect::<Vec<_>>())
        .column_kind(serde_json::json!("unicodeCodePoints"))
        .build();
    let log = sarif::Sarif::builder()
        .schema("https://json.schemastore.org/sarif-2.1.0.json")
        .version(serde_json::json!("2.1.0"))
        .runs(vec![run])
        .build();
    Ok(serde_json::to_string_pretty(&log)? + "\n")
}

fn result(finding: &Finding) -> sarif::Result {
    let region = sarif::Region::builder()
        .start_line(i64::try_from(finding.line).unwrap_or(1))
        .start_column(i64::try_from(finding.column).unwrap_or(1))
        .build();
    let place = sarif::PhysicalLocation::builder()
        .artifact_location(sarif::ArtifactLocation::builder().uri(&finding.file).build())
        .region(region)
        .build();
    let text = match finding.path.as_str() {
        "" => finding.message.clone(),
        path => format!("{path}: {}", finding.message),
    };
    sarif::Result::builder()
        .rule_id(finding.rule)
        .level(match finding.severity {
            Severity::Error => sarif::ResultLevel::Error,
            Severity::Warning => sarif::ResultLevel::Warning,
        })
        .message(sarif::Message::builder().text(text).build())
        .locations(vec![sarif::Location::builder().physical_location(place).build()])
        .build()
}
