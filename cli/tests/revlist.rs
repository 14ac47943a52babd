//! `portcullis revlist build`, as an operator runs it.

mod common;

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use common::Folder;
use portcullis::{
    RevocationDocument as Document, RevocationIndex as Index, RevocationKey as Key, RevocationKind as Kind,
    RevocationPage as Page, limits::MAX_ENTRIES,
};

fn build(inputs: &[&Path], out: &Path, more: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_portcullis"));
    command.args(["revlist", "build"]).args(inputs).arg("--out").arg(out).args(more);
    command.output().expect("it runs")
}

/// The pages that the index names, read as the filter reads them.
fn pages(out: &Path) -> Vec<Page> {
    let text = fs::read(out.join("index.json")).expect("an index");
    let Ok(Document::Index(index)) = Document::parse(&text, None, MAX_ENTRIES) else { panic!("no index") };
    let count = index.digests().len();
    let read = |(at, digest)| {
        let path = out.join(Index::page_path("index.json", digest).trim_start_matches('/'));
        let page = Page::parse(fs::read(path).expect("a page"), at, count).expect("a sound page");
        assert_eq!(page.digest(), digest);
        page
    };
    index.digests().iter().enumerate().map(read).collect()
}

const LATER: u64 = 4_000_000_000;

fn lines(count: usize) -> String {
    (0..count).map(|n| format!("{{\"jti\":\"{n}\",\"until\":{LATER}}}\n")).collect()
}

#[test]
fn a_list_becomes_pages_and_a_change_makes_few_new_ones() {
    let folder = Folder::new("change");
    let out = folder.0.join("out");
    let input = folder.write("list.jsonl", lines(5000));
    let more = ["--issuer", "https://i.example", "--page-entries", "100"];
    let done = build(&[&input], &out, &more);
    assert!(done.status.success(), "{done:?}");
    let said = String::from_utf8_lossy(&done.stdout).into_owned();
    assert!(said.contains("5000 of 5000") && said.contains("64 pages, 64 of them new"), "{said}");
    assert_eq!(pages(&out).iter().map(Page::entries).sum::<usize>(), 5000);
    let input = folder.write("list.jsonl", lines(5001));
    let said = build(&[&input], &out, &more);
    assert!(String::from_utf8_lossy(&said.stdout).contains("64 pages, 1 of them new"), "{said:?}");
    assert_eq!(
        fs::read_dir(out.join("pages")).expect("pages").count(),
        65,
        "the pages of the index before stay"
    );
    let _ = build(&[&input], &out, &more);
    assert_eq!(fs::read_dir(out.join("pages")).expect("pages").count(), 64, "and then go");
}

#[test]
fn documents_and_lines_are_taken_together_and_what_has_ended_is_left_out() {
    let folder = Folder::new("together");
    let out = folder.0.join("out");
    let document = folder.write(
        "list.json",
        format!(
            r#"{{"version":1,"entries":[{{"issuer":"i","sub":"a","until":{LATER}}},{{"issuer":"i","sub":"b","until":5}}],
            "cutoffs":[{{"everyone":true,"issued_before":5}}]}}"#
        ),
    );
    let lines = folder.write(
        "list.jsonl",
        format!("{{\"issuer\":\"i\",\"sid\":\"s\",\"until\":{LATER}}}\n\n{{\"issuer\":\"i\",\"client_id\":\"c\",\"issued_before\":7}}\n"),
    );
    let done = build(&[&document, &lines], &out, &[]);
    assert!(String::from_utf8_lossy(&done.stdout).contains("4 of 5"), "{done:?}");
    let [page] = &pages(&out)[..] else { panic!("one page") };
    assert_eq!((page.entries(), page.cutoffs()), (2, 2));
    let wanted = Key::new(Kind::Session, "i", "s").0;
    assert!(page.bytes().windows(12).any(|bytes| bytes == wanted));
}

#[test]
fn a_line_that_is_wrong_is_named_and_nothing_is_written() {
    let folder = Folder::new("wrong");
    let out = folder.0.join("out");
    for (line, part) in [
        ("{\"jti\":\"a\",\"until\":5}", "has no \"issuer\""),
        ("{\"issuer\":\"i\",\"jit\":\"a\",\"until\":5}", "not known"),
        ("{\"issuer\":\"i\",\"until\":5}", "needs exactly one of"),
        ("[]", "not an object"),
        ("{", "too early"),
    ] {
        let input =
            folder.write("list.jsonl", format!("{{\"issuer\":\"i\",\"jti\":\"a\",\"until\":5}}\n{line}\n"));
        let done = build(&[&input], &out, &[]);
        let said = String::from_utf8_lossy(&done.stderr).into_owned();
        assert!(!done.status.success() && said.contains("line 2: ") && said.contains(part), "{line}: {said}");
        assert!(!out.exists());
    }
    let done = build(&[&folder.0.join("missing.json")], &out, &[]);
    assert!(!done.status.success());
}
