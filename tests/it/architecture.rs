//! The structure of the source is the one that docs/architecture.md shows: modules in one order without a circle, what
//! knows the host in one folder, and every path that the page names.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use harness::workspace;

/// A file of the source: its path below src/, and its code without comments and tests.
struct Source {
    path: String,
    code: String,
}

impl Source {
    fn new(path: &str, text: &str) -> Self {
        let code = text.split("\n#[cfg(test)]\nmod tests {").next().unwrap_or_default();
        let without_comments = |line: &str| line.split("//").next().unwrap_or_default().to_owned();
        let code: Vec<String> = code.lines().map(without_comments).collect();
        Self { path: path.to_owned(), code: code.join("\n") }
    }

    /// The module of the crate that the file belongs to; none for the root itself.
    fn module(&self) -> Option<&str> {
        let first = self.path.split('/').next()?;
        Some(first.strip_suffix(".rs").unwrap_or(first)).filter(|module| *module != "lib")
    }

    /// The modules of the crate that the file names.
    fn used(&self) -> BTreeSet<&str> {
        let names = |path: &'static str| {
            self.code.match_indices(path).filter_map(move |(at, _)| {
                let rest = &self.code[at + path.len()..];
                let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(rest.len());
                (end > 0).then(|| &rest[..end])
            })
        };
        names("crate::").collect()
    }
}

/// The files of src/, without those that hold tests alone.
fn sources() -> Vec<Source> {
    let root = workspace().join("src");
    let mut files = Vec::new();
    collect(&root, &mut files);
    let is_test = |path: &str| path.contains("tests") || path.ends_with("testing.rs");
    let name = |file: &PathBuf| file.strip_prefix(&root).expect("below src/").display().to_string();
    let named = files.iter().map(|file| (name(file), file));
    let sources =
        named.filter(|(path, _)| !is_test(path)).map(|(path, file)| Source::new(&path, &text(file)));
    sources.collect()
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("a folder").flatten() {
        let path = entry.path();
        if path.is_dir() {
            collect(&path, files);
        } else if path.extension().is_some_and(|it| it == "rs") {
            files.push(path);
        }
    }
    files.sort();
}

fn text(file: &Path) -> String {
    fs::read_to_string(file).unwrap_or_else(|error| panic!("{}: {error}", file.display()))
}

fn page() -> String {
    text(&workspace().join("docs/architecture.md"))
}

/// The modules in the order of the page, from the lowest to the highest: the list between the words that introduce it
/// and the next paragraph.
fn order(page: &str) -> Vec<String> {
    let list = page.split("<!-- the order of the modules -->").nth(1).expect("the order of the modules");
    let list = list.split("<!-- end -->").next().unwrap_or_default();
    list.lines().filter_map(|line| Some(line.split('`').nth(1)?.trim_end_matches('/').to_owned())).collect()
}

/// Every place where a file uses a module above its own.
fn upward(sources: &[Source], order: &[String]) -> Vec<String> {
    let place = |module: &str| order.iter().position(|own| own == module);
    let mut found = Vec::new();
    for source in sources {
        let Some(module) = source.module() else { continue };
        let Some(own) = place(module) else {
            found.push(format!("{}: the order does not have {module}", source.path));
            continue;
        };
        for used in source.used().into_iter().filter(|used| *used != module) {
            match place(used) {
                Some(other) if other < own => {}
                Some(_) => found.push(format!("{} uses {used}, which is above {module}", source.path)),
                None => found.push(format!("{} uses {used}, which the order does not have", source.path)),
            }
        }
    }
    found
}

#[test]
fn no_module_uses_one_above_it() {
    let order = order(&page());
    assert!(order.len() > 10, "{order:?}");
    let upward = upward(&sources(), &order);
    assert!(upward.is_empty(), "{}", upward.join("\n"));
}

#[test]
fn one_use_that_points_up_is_found() {
    let order: Vec<String> = ["json", "keys", "gate"].map(str::to_owned).to_vec();
    for (path, line, is_found) in [
        ("keys/set.rs", "use crate::json::Json;", false),
        ("keys/set.rs", "use crate::gate::Gate;", true),
        ("keys.rs", "fn of(gate: &crate::gate::Gate) {}", true),
        ("json/mod.rs", "use crate::keys::KeySet;", true),
        ("keys/set.rs", "use crate::elsewhere::KeySet;", true),
        ("other.rs", "use crate::json::Json;", true),
        ("keys/set.rs", "// as crate::gate::Gate does", false),
        ("keys/set.rs", "\n#[cfg(test)]\nmod tests {\nuse crate::gate::Gate;\n}", false),
    ] {
        let sources = [Source::new(path, line)];
        assert_eq!(!upward(&sources, &order).is_empty(), is_found, "{path}: {line}");
    }
}

/// The files of one folder that a file of it uses.
fn siblings<'s>(source: &'s Source, all: &BTreeSet<&'s str>) -> BTreeSet<&'s str> {
    all.iter().copied().filter(|name| source.code.contains(&format!("super::{name}::"))).collect()
}

#[test]
fn no_circle_is_among_the_files_of_a_folder() {
    let sources = sources();
    let mut folders: BTreeMap<&str, Vec<(&str, &Source)>> = BTreeMap::new();
    for source in &sources {
        let Some((folder, file)) = source.path.rsplit_once('/') else { continue };
        let name = file.strip_suffix(".rs").expect("a file of Rust");
        if name != "mod" {
            folders.entry(folder).or_default().push((name, source));
        }
    }
    for (folder, files) in folders {
        let names: BTreeSet<&str> = files.iter().map(|(name, _)| *name).collect();
        let mut left: BTreeMap<&str, BTreeSet<&str>> =
            files.iter().map(|(name, source)| (*name, siblings(source, &names))).collect();
        // What uses nothing that is left goes, until nothing does.
        while let Some(free) =
            left.iter().find(|(own, used)| used.iter().all(|used| used == *own || !left.contains_key(used)))
        {
            let free = *free.0;
            left.remove(free);
        }
        assert!(left.is_empty(), "src/{folder}: a circle among {left:?}");
    }
}

#[test]
fn only_the_host_folder_knows_the_host() {
    let mut declaring = Vec::new();
    for source in sources() {
        if source.module() != Some("host") {
            assert!(!source.code.contains("proxy_wasm"), "{} names the SDK", source.path);
        }
        if source.code.contains("extern \"C\" {") {
            declaring.push(source.path);
        }
    }
    assert_eq!(declaring, ["host/hostcalls.rs"]);
    let lines = text(&workspace().join("src/host/hostcalls.rs")).lines().count();
    assert!(lines <= 150, "{lines} lines of declarations");
}

#[test]
fn files_are_short_enough_to_be_read_at_once() {
    for source in sources() {
        let lines = source.code.lines().count();
        assert!(lines <= 500, "src/{} has {lines} lines without its tests", source.path);
    }
}

#[test]
fn every_path_that_the_page_names_is_there() {
    let page = page();
    let mut named = 0;
    for path in page.split('`').skip(1).step_by(2) {
        let is_path = ["src/", "tests/", "docs/", "scripts/", "benches/", "fuzz/", "cli/", "envoy/"]
            .iter()
            .any(|folder| path.starts_with(folder));
        if is_path && !path.contains(['*', ' ', '<']) {
            named += 1;
            assert!(workspace().join(path).exists(), "{path} is not there");
        }
    }
    assert!(named > 30, "{named} paths");
}
