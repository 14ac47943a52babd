//! The plugin configuration that a command is about, wherever it is written.

use std::path::Path;

use portcullis::Problem;
use portcullis_explain::Bench;

use crate::check::entries;
use crate::check::written;
use crate::output::{Failure, printable};
use crate::source::File;

/// The gate of the configuration in a file: the file itself, or the one configuration in a file for Envoy, Istio or Envoy
/// Gateway.
///
/// # Errors
/// A file that cannot be read, that has none or several, or one that the filter refuses. Of several `FILE#2` is the second.
pub(crate) fn bench_of(path: &Path) -> Result<Bench, Failure> {
    let (name, text) = text_of(path)?;
    bench(&name, text.as_bytes())
}

/// The name of a file, and the text that the filter gets for the configuration in it.
///
/// # Errors
/// As [`bench_of`], but for what the filter says.
pub(crate) fn text_of(path: &Path) -> Result<(String, String), Failure> {
    let (path, number) = numbered(path);
    let file = File::read(path)?;
    let found = entries::of_gates(file.readable()?);
    let entry = match (number, &found[..]) {
        (None, [entry]) => entry,
        (Some(number), all) if (1..=all.len()).contains(&number) => &all[number - 1],
        (_, []) => return Err(Failure::of(&file.name, "no configuration of Portcullis is in it")),
        (_, all) => {
            let lines =
                all.iter().zip(1..).map(|(entry, number)| format!("#{number} on line {}", entry.at.line));
            let (count, lines) = (all.len(), lines.collect::<Vec<_>>().join(", "));
            let text =
                format!("it has {count} configurations ({lines}); name one, for example {}#1", file.name);
            return Err(Failure::of(&file.name, text));
        }
    };
    let text = written::text(&file, entry);
    Ok((file.name, text))
}

/// A file, and the number of the configuration in it that is meant: `FILE#2`. A file of that very name comes first.
fn numbered(path: &Path) -> (&Path, Option<usize>) {
    let split = path.to_str().and_then(|text| text.rsplit_once('#'));
    match split.and_then(|(file, number)| Some((Path::new(file), number.parse().ok()?))) {
        Some((file, number)) if !path.exists() => (file, Some(number)),
        _ => (path, None),
    }
}

/// The gate of the bytes of a configuration.
///
/// # Errors
/// Everything that the filter says of it.
pub(crate) fn bench(name: &str, bytes: &[u8]) -> Result<Bench, Failure> {
    let environment = |variable: &str| std::env::var(variable).ok();
    Bench::with_stand_ins(bytes, &environment).map_err(|problems| {
        let lines = problems.iter().map(|Problem { path, message }| {
            if path.is_empty() { format!("\n  {message}") } else { format!("\n  {path}: {message}") }
        });
        let text = format!("the filter refuses this configuration:{}", printable(&lines.collect::<String>()));
        Failure::of(name, text)
    })
}
