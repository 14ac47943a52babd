//! An AdmissionReview and its answer, as values.

use serde_json::{Value, json};

use crate::check::{self, Finding, Severity};
use crate::source::{File, Node};

/// What is answered to a review.
#[derive(Debug)]
pub(super) struct Answer {
    /// The AdmissionReview.
    pub(super) body: Value,
    /// What the log says of it, where anything was found.
    pub(super) line: Option<String>,
}

/// The longest warning that Kubernetes shows as it is.
const MAX_WARNING: usize = 256;

/// The most errors and warnings that are reported for one manifest.
const MAX_LINES: usize = 50;

/// Judges a review.
///
/// # Errors
/// Where it is none: what to say to the client.
pub(super) fn answer(body: &[u8]) -> Result<Answer, &'static str> {
    let text = std::str::from_utf8(body).map_err(|_| "the body is not UTF-8")?;
    let file = File::of("request.json".to_owned(), text.to_owned());
    let review = match file.documents.as_deref() {
        Ok([review]) if !review.members().is_empty() => review,
        _ => return Err("the body is not a JSON object"),
    };
    let is = |name: &str, value: &str| review.get(name).and_then(Node::as_str) == Some(value);
    if !is("apiVersion", "admission.k8s.io/v1") || !is("kind", "AdmissionReview") {
        return Err("the body is no AdmissionReview of admission.k8s.io/v1");
    }
    let request = review.get("request").ok_or("the AdmissionReview has no request")?;
    let uid = request.get("uid").and_then(Node::as_str).filter(|uid| !uid.is_empty());
    let uid = uid.ok_or("the request of the AdmissionReview has no uid")?;
    let operation = request.get("operation").and_then(Node::as_str).unwrap_or_default();
    let object = request.get("object").filter(|_| matches!(operation, "CREATE" | "UPDATE"));
    let object = object.filter(|object| object.at_path(&["metadata", "deletionTimestamp"]).is_none());
    let findings = object.map(check::manifest).unwrap_or_default();
    let of = |severity: Severity| findings.iter().filter(move |finding| finding.severity == severity);
    let errors: Vec<String> = of(Severity::Error).take(MAX_LINES).map(line_of).collect();
    let warnings: Vec<String> =
        of(Severity::Warning).take(MAX_LINES).map(|own| shortened(&line_of(own))).collect();
    let (counted, warned) = (errors.len(), warnings.len());
    let mut response = json!({ "uid": uid, "allowed": errors.is_empty() });
    if !errors.is_empty() {
        response["status"] = json!({ "code": 422, "reason": "Invalid", "message": errors.join("\n") });
    }
    if !warnings.is_empty() {
        response["warnings"] = json!(warnings);
    }
    let body =
        json!({ "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": response });
    let verdict = if counted == 0 { "allowed" } else { "refused" };
    let line = (counted + warned > 0).then(|| format!("{verdict}: {counted} errors, {warned} warnings"));
    Ok(Answer { body, line })
}

/// `spec.wasm[1].config: providers.corp.audience: unknown field; did you mean "audiences"?`
fn line_of(finding: &Finding) -> String {
    let Finding { entry, path, message, .. } = finding;
    let parts = [entry, path, message].map(|part| part.replace(['\n', '\r'], " "));
    let parts: Vec<String> = parts.into_iter().filter(|part| !part.is_empty()).collect();
    // What is around a configuration has the way in the document for its path.
    match parts.as_slice() {
        [entry, path, message] if path == entry || path.starts_with(&format!("{entry}.")) => {
            format!("{path}: {message}")
        }
        parts => parts.join(": "),
    }
}

fn shortened(text: &str) -> String {
    match text.chars().count() <= MAX_WARNING {
        true => text.to_owned(),
        false => text.chars().take(MAX_WARNING - 1).chain(['…']).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_warning_is_no_longer_than_kubernetes_shows() {
        let long = "é".repeat(300);
        assert_eq!(shortened(&long).chars().count(), MAX_WARNING);
        assert_eq!(shortened("short"), "short");
    }
}
