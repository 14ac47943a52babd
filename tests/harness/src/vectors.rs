//! Shared test data, and tests that cannot run without it.

use std::env;
use std::fs::OpenOptions;
use std::io::Write;
use std::path::PathBuf;

/// The root of the repository.
pub fn workspace() -> PathBuf {
    let here = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    here.ancestors().nth(2).map_or(here.clone(), PathBuf::from)
}

/// `path` inside the folder of shared test data, if it is there: `$PORTCULLIS_SHARED`, else `shared` beside the repository;
/// else among the published data that `make test-data` fetches.
///
/// ```no_run
/// fn published_vectors_hold() {
///     let Some(_folder) = harness::shared("vectors") else {
///         return harness::skip("published_vectors_hold", &harness::missing("vectors"));
///     };
/// }
/// # published_vectors_hold();
/// ```
pub fn shared(path: &str) -> Option<PathBuf> {
    let root = match env::var_os("PORTCULLIS_SHARED") {
        Some(folder) => PathBuf::from(folder),
        None => workspace().parent()?.join("shared"),
    };
    let fetched = is_published(path).then(|| workspace().join(".cache/test-data"));
    [Some(root), fetched].into_iter().flatten().map(|folder| folder.join(path)).find(|found| found.exists())
}

/// Whether `scripts/test-data` fetches it.
fn is_published(path: &str) -> bool {
    ["crds", "envoy-gateway", "vectors/jose", "vectors/wycheproof"].iter().any(|part| path.starts_with(part))
}

/// Why a test that reads `path` of the shared data is skipped, and how to get the data.
pub fn missing(path: &str) -> String {
    let remedy = match is_published(path) {
        true => "`make test-data` fetches it (with cargo and Go)",
        false => "it is not published; PORTCULLIS_SHARED names the folder that holds it",
    };
    format!("the shared data {path} is missing: {remedy}")
}

/// Says that a test did not run, and why: on standard error, and as a line `test<TAB>reason` in the file that
/// `$PORTCULLIS_SKIPS` names, from which the test runner counts.
pub fn skip(test: &str, reason: &str) {
    eprintln!("skipped: {test}: {reason}");
    let Some(file) = env::var_os("PORTCULLIS_SKIPS") else {
        return;
    };
    let line = format!("{test}\t{reason}\n");
    let written = OpenOptions::new()
        .create(true)
        .append(true)
        .open(&file)
        .and_then(|mut file| file.write_all(line.as_bytes()));
    if let Err(error) = written {
        panic!("cannot note a skipped test in {}: {error}", file.display());
    }
}
