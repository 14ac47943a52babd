//! `portcullis revlist`: large lists of revoked tokens, as a folder that any web server can serve.

use std::collections::HashSet;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use clap::{Args, Subcommand};
use portcullis::{
    RevocationDocument as Document, RevocationDraft as Draft, RevocationIndex as Index,
    RevocationList as List, Timestamp, limits::MAX_ENTRIES,
};

/// How long an entry stays in the pages past its end.
const KEPT_PAST_END: Duration = Duration::from_secs(24 * 3600);

/// What can be done with lists.
#[derive(Subcommand)]
pub(crate) enum Command {
    /// Makes the index and the pages of a list; serve the folder, and name its index.json in "revocation.lists"
    Build(Build),
}

/// Where from and where to.
#[derive(Args)]
#[command(
    after_help = "A line of a .jsonl file: { \"jti\": \"4f1c\", \"until\": 1800000000 }. docs/revocation.md has all members, and how to serve the folder.\n\n\
                  Example:\n  portcullis revlist build --issuer https://idp.example/ --out /srv/lists revoked.jsonl"
)]
pub(crate) struct Build {
    /// Lists: JSON documents, or files that end in .jsonl with an entry or cut-off on each line
    #[arg(required = true, value_name = "LIST")]
    inputs: Vec<PathBuf>,
    /// The folder to write; pages of the index that it holds stay, so that no proxy misses one on its way
    #[arg(long, value_name = "FOLDER")]
    out: PathBuf,
    /// The issuer of entries that name none
    #[arg(long, value_name = "URL")]
    issuer: Option<String>,
    /// How many entries a page has at the most, on average; fewer make a change cheaper, and the first load longer
    #[arg(long, value_name = "COUNT", default_value_t = 8192, value_parser = clap::value_parser!(u32).range(1..=65_536))]
    page_entries: u32,
}

impl Command {
    /// Does it; what there is to say afterwards.
    pub(crate) fn run(self) -> Result<String, String> {
        match self {
            Self::Build(build) => build.run(),
        }
    }
}

impl Build {
    fn run(self) -> Result<String, String> {
        let mut draft = Draft::default();
        for input in &self.inputs {
            self.read(input, &mut draft)?;
        }
        let read = draft.len();
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_err(|error| error.to_string())?;
        // A token lives on for the clock skew of its gate past its end, and this clock may be ahead.
        let then = Timestamp::from_secs(now.as_secs()).minus(KEPT_PAST_END);
        let list = draft.finish(self.page_entries as usize, then);
        let written = self.write(&list)?;
        Ok(format!(
            "{} of {read} entries and cut-offs have not ended; {} pages, {written} of them new",
            list.len(),
            list.pages().len()
        ))
    }

    fn read(&self, input: &Path, draft: &mut Draft) -> Result<(), String> {
        let named = |error: &dyn std::fmt::Display| format!("{}: {error}", input.display());
        let issuer = self.issuer.as_deref();
        if input.extension().is_some_and(|extension| extension == "jsonl") {
            let file = File::open(input).map_err(|error| named(&error))?;
            for (line, number) in BufReader::new(file).lines().zip(1u64..) {
                let line = line.map_err(|error| named(&error))?;
                if !line.trim().is_empty() {
                    draft
                        .line(line.as_bytes(), issuer)
                        .map_err(|error| named(&format!("line {number}: {error}")))?;
                }
            }
            return Ok(());
        }
        let text = fs::read(input).map_err(|error| named(&error))?;
        match Document::parse(&text, issuer, usize::MAX).map_err(|error| named(&error))? {
            Document::List(list) => draft.add(list),
            Document::Index(_) => return Err(named(&"is an index of pages, not a list")),
        }
        Ok(())
    }

    /// Writes the pages first and then, in one step, the index that names them. How many pages are new.
    fn write(&self, list: &List) -> Result<usize, String> {
        let failed = |path: &Path, error: &dyn std::fmt::Display| format!("{}: {error}", path.display());
        let path = |name: &str| self.out.join(name.trim_start_matches('/'));
        let pages = path("pages");
        fs::create_dir_all(&pages).map_err(|error| failed(&pages, &error))?;
        let index = path("index.json");
        let mut kept: HashSet<PathBuf> = HashSet::new();
        let before = fs::read(&index).ok().and_then(|text| Document::parse(&text, None, MAX_ENTRIES).ok());
        if let Some(Document::Index(before)) = before {
            kept.extend(before.digests().iter().map(|digest| path(&Index::page_path("/index.json", digest))));
        }
        let mut new = 0;
        for page in list.pages() {
            let file = path(&Index::page_path("/index.json", page.digest()));
            if !file.exists() {
                replace(&file, page.bytes()).map_err(|error| failed(&file, &error))?;
                new += 1;
            }
            kept.insert(file);
        }
        replace(&index, list.index().to_json().as_bytes()).map_err(|error| failed(&index, &error))?;
        for entry in fs::read_dir(&pages).map_err(|error| failed(&pages, &error))?.filter_map(Result::ok) {
            let file = entry.path();
            if file.extension().is_some_and(|extension| extension == "bin") && !kept.contains(&file) {
                fs::remove_file(&file).map_err(|error| failed(&file, &error))?;
            }
        }
        Ok(new)
    }
}

/// Writes a file so that a reader sees all of it or what was there before.
fn replace(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let beside = path.with_extension("new");
    let mut file = File::create(&beside)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&beside, path)
}
