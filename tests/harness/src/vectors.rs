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

/// `path` inside the folder of shared test data, if it is there: `$PORTCULLIS_SHARED`, else `shared` beside the repository.
///
/// ```
/// fn published_vectors_hold() {
///     let Some(_folder) = harness::shared("vectors") else {
///         return harness::skip("published_vectors_hold", "../shared/vectors is missing");
///     };
/// }
/// # published_vectors_hold();
/// ```
pub fn shared(path: &str) -> Option<PathBuf> {
    let root = match env::var_os("PORTCULLIS_SHARED") {
        Some(folder) => PathBuf::from(folder),
        None => workspace().parent()?.join("shared"),
    };
    let found = root.join(path);
    found.exists().then_some(found)
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
