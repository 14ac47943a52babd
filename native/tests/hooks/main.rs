//! The module's hooks, called as Envoy calls them by an Envoy that fails where a test wants it to: nothing panics, nobody
//! gets in who must not, nothing is read too late or kept for ever.
//!
//! `make sanitize` runs these under a sanitizer. `tests/hooks_of_1_38` is what an older Envoy lacks.

#![allow(missing_docs, reason = "a test")]

extern crate portcullis_native as _;

mod envoy;
mod identity;
mod later;

mod calls;
mod configurations;
mod faults;
mod metadata;
mod requests;
mod threads;

#[test]
fn unsafe_code_stays_in_one_file() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let files =
        std::fs::read_dir(&folder).expect("the module's sources").map(|entry| entry.expect("a file").path());
    let allowing = files.filter(|file| {
        let text = std::fs::read_to_string(file).expect("a text");
        text.contains("allow(unsafe_code") || text.contains("expect(unsafe_code")
    });
    let names: Vec<_> =
        allowing.filter_map(|file| Some(file.file_name()?.to_string_lossy().into_owned())).collect();
    assert_eq!(names, ["abi.rs"], "lib.rs denies it, and one file allows it");
}
