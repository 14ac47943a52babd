//! Test data in the forms of other programs: what is made here, and what was captured, where the shared folder has it.
//!
//! A test goes through both, so that it says the same of both, and a clone by itself skips nothing.

mod providers;
mod servers;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

/// The files of a folder, by name.
type Files = BTreeMap<String, String>;

/// A place with a folder for each provider or server.
pub(crate) enum Root {
    Made(BTreeMap<String, Files>),
    Captured(PathBuf),
}

/// A folder of a [`Root`].
pub(crate) enum Folder {
    Made(String, Files),
    Captured(PathBuf),
}

/// The providers' tokens: what is made, then what the shared folder `idp` has.
pub(crate) fn idp() -> Vec<Root> {
    roots("idp", providers::folders())
}

/// The tokens and key sets of servers: what is made, then what the shared folder `captured` has.
pub(crate) fn captured() -> Vec<Root> {
    roots("captured", servers::folders())
}

fn roots(shared: &str, made: BTreeMap<String, Files>) -> Vec<Root> {
    [Some(Root::Made(made)), harness::shared(shared).map(Root::Captured)].into_iter().flatten().collect()
}

impl Root {
    /// The names of its folders.
    pub(crate) fn names(&self) -> BTreeSet<String> {
        match self {
            Self::Made(folders) => folders.keys().cloned().collect(),
            Self::Captured(path) => {
                names_in(path).into_iter().filter(|name| path.join(name).is_dir()).collect()
            }
        }
    }

    pub(crate) fn folder(&self, name: &str) -> Folder {
        match self {
            Self::Made(folders) => {
                let files = folders.get(name).unwrap_or_else(|| panic!("{name}: nothing is made"));
                Folder::Made(name.to_owned(), files.clone())
            }
            Self::Captured(path) => Folder::Captured(path.join(name)),
        }
    }
}

impl Folder {
    /// The names of its files.
    pub(crate) fn names(&self) -> BTreeSet<String> {
        match self {
            Self::Made(_, files) => files.keys().cloned().collect(),
            Self::Captured(path) => names_in(path),
        }
    }

    pub(crate) fn has(&self, file: &str) -> bool {
        match self {
            Self::Made(_, files) => files.contains_key(file),
            Self::Captured(path) => path.join(file).exists(),
        }
    }

    /// The text of a file, without the white space at its end.
    pub(crate) fn text(&self, file: &str) -> String {
        match self {
            Self::Made(name, files) => {
                files.get(file).cloned().unwrap_or_else(|| panic!("{name}: {file} is not made"))
            }
            Self::Captured(path) => {
                let path = path.join(file);
                let text = fs::read_to_string(&path);
                text.unwrap_or_else(|error| panic!("{}: {error}", path.display())).trim_end().to_owned()
            }
        }
    }

    pub(crate) fn document(&self, file: &str) -> Value {
        serde_json::from_str(&self.text(file)).unwrap_or_else(|error| panic!("{file}: {error}"))
    }
}

fn names_in(folder: &Path) -> BTreeSet<String> {
    let entries = folder.read_dir().unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
}
