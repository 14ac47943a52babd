//! What was taken, in an embedded database. Whoever is answered that an event is stored finds it there after any crash.

use std::fs::{File, OpenOptions};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use redb::backends::FileBackend;
use redb::{Builder, Database, ReadableDatabase, ReadableTable, ReadableTableMetadata, TableDefinition};
use tokio::sync::{mpsc, oneshot};

use crate::clock::Clock;
use crate::entry::{Entry, Record};

/// Entries and cut-offs by [`Entry::id`].
const ENTRIES: TableDefinition<'static, &[u8], &[u8]> = TableDefinition::new("entries");
/// The tokens that were taken, and until when they would be believed.
const SEEN: TableDefinition<'static, &[u8], u64> = TableDefinition::new("seen");

/// How many entries and cut-offs are kept.
pub const MAX_ENTRIES: u64 = 1_000_000;
/// How many tokens are remembered.
pub const MAX_SEEN: u64 = 2_000_000;
/// How many requests wait for the database.
const MAX_WAITING: usize = 1024;
/// How many of them share one write to the disk.
const MAX_AT_ONCE: usize = 256;
/// How often what has ended is removed.
const SWEEP: Duration = Duration::from_secs(300);
/// How much of the database is kept in memory, in bytes.
const CACHE: usize = 64 << 20;

/// What became of an event.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Stored {
    /// It is on the disk.
    New,
    /// A token of this name was taken before; nothing is changed.
    Before,
    /// There is no room for more.
    Full,
}

/// The database cannot be written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Broken;

struct Write {
    /// Which token it is of, and until when that has to be remembered.
    seen: Option<([u8; 32], u64)>,
    entries: Vec<Entry>,
    done: oneshot::Sender<Result<Stored, Broken>>,
}

/// The database. One thread writes; whoever reads sees what was written whole.
#[derive(Clone)]
pub(crate) struct Store {
    database: Arc<Database>,
    writes: mpsc::Sender<Write>,
    generation: Arc<AtomicU64>,
    is_sound: Arc<AtomicBool>,
}

/// The database, and the thread that writes it: it ends once the last [`Store`] is gone.
pub(crate) struct Opened {
    pub(crate) store: Store,
    pub(crate) writer: thread::JoinHandle<()>,
}

impl Store {
    /// Opens or makes the file, which only its owner can read.
    ///
    /// # Errors
    /// What is wrong with the file, in words.
    pub(crate) fn open(path: &Path, clock: Clock) -> Result<Opened, String> {
        let failed = |error: &dyn std::fmt::Display| format!("{}: {error}", path.display());
        let database = open(path).map_err(|error| failed(&error))?;
        let database = Arc::new(database);
        let (writes, waiting) = mpsc::channel(MAX_WAITING);
        let generation = Arc::new(AtomicU64::new(1));
        let is_sound = Arc::new(AtomicBool::new(true));
        let writer = Writer {
            database: Arc::clone(&database),
            generation: Arc::clone(&generation),
            is_sound: Arc::clone(&is_sound),
            clock,
            swept: Instant::now(),
        };
        writer.sweep().map_err(|error| failed(&error))?;
        let writer = thread::Builder::new()
            .name("store".to_owned())
            .spawn(move || writer.run(waiting))
            .map_err(|error| error.to_string())?;
        Ok(Opened { store: Self { database, writes, generation, is_sound }, writer })
    }

    /// Keeps what an event says, and the event's name where it has one. When this returns it is on the disk.
    ///
    /// # Errors
    /// The database cannot be written: nothing is known of the event.
    pub(crate) async fn keep(
        &self,
        seen: Option<([u8; 32], u64)>,
        entries: Vec<Entry>,
    ) -> Result<Stored, Broken> {
        let (done, answer) = oneshot::channel();
        self.writes.send(Write { seen, entries, done }).await.map_err(|_| Broken)?;
        answer.await.unwrap_or(Err(Broken))
    }

    /// Whether the writer is there, and its last write came to the disk.
    pub(crate) fn is_sound(&self) -> bool {
        !self.writes.is_closed() && self.is_sound.load(Ordering::Acquire)
    }

    /// Changes whenever entries do.
    pub(crate) fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    /// All entries that have not ended, as they are at one moment: whether it is a cut-off, its key, and the rest.
    ///
    /// # Errors
    /// The database cannot be read.
    pub(crate) fn entries(
        &self,
        now: u64,
        mut each: impl FnMut(bool, [u8; 12], Record),
    ) -> Result<(), redb::Error> {
        let read = self.database.begin_read()?;
        let table = match read.open_table(ENTRIES) {
            Ok(table) => table,
            Err(redb::TableError::TableDoesNotExist(_)) => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        for item in table.iter()? {
            let (id, record) = item?;
            let Some((kind, key)) = id.value().split_first_chunk::<1>() else { continue };
            let (Some(key), Some(record)) = (key.first_chunk::<12>(), Record::from_bytes(record.value()))
            else {
                continue;
            };
            if record.drop_at > now {
                each(kind == &[1], *key, record);
            }
        }
        Ok(())
    }
}

fn open(path: &Path) -> Result<Database, Box<dyn std::error::Error>> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let file = options.open(path)?;
    let database = Builder::new().set_cache_size(CACHE).create_with_backend(FileBackend::new(file)?)?;
    // A file is not lost with its folder's entry.
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    File::open(folder.unwrap_or(Path::new(".")))?.sync_all()?;
    Ok(database)
}

struct Writer {
    database: Arc<Database>,
    generation: Arc<AtomicU64>,
    is_sound: Arc<AtomicBool>,
    clock: Clock,
    swept: Instant,
}

impl Writer {
    fn run(mut self, mut waiting: mpsc::Receiver<Write>) {
        while let Some(first) = waiting.blocking_recv() {
            let mut writes = vec![first];
            while writes.len() < MAX_AT_ONCE
                && let Ok(next) = waiting.try_recv()
            {
                writes.push(next);
            }
            let written = self.write(&writes);
            self.is_sound.store(written.is_ok(), Ordering::Release);
            match written {
                Ok(done) => {
                    self.generation.fetch_add(1, Ordering::AcqRel);
                    for (write, stored) in writes.into_iter().zip(done) {
                        let _ = write.done.send(Ok(stored));
                    }
                }
                Err(error) => {
                    crate::log::error(
                        "the database cannot be written",
                        &[("error", error.to_string().into())],
                    );
                    for write in writes {
                        let _ = write.done.send(Err(Broken));
                    }
                }
            }
            if self.swept.elapsed() > SWEEP {
                self.swept = Instant::now();
                if let Err(error) = self.sweep() {
                    crate::log::error("the database cannot be swept", &[("error", error.to_string().into())]);
                }
            }
        }
    }

    /// All of them, or none: one transaction, which is on the disk when this returns.
    fn write(&self, writes: &[Write]) -> Result<Vec<Stored>, redb::Error> {
        let transaction = self.database.begin_write()?;
        let mut done = Vec::with_capacity(writes.len());
        {
            let mut seen = transaction.open_table(SEEN)?;
            let mut entries = transaction.open_table(ENTRIES)?;
            for write in writes {
                if let Some((token, _)) = &write.seen
                    && seen.get(&token[..])?.is_some()
                {
                    done.push(Stored::Before);
                    continue;
                }
                let more = write.entries.len() as u64;
                if entries.len()?.saturating_add(more) > MAX_ENTRIES || seen.len()? >= MAX_SEEN {
                    done.push(Stored::Full);
                    continue;
                }
                for entry in &write.entries {
                    let id = entry.id();
                    let mut record = entry.to_record();
                    if let Some(other) = entries.get(&id[..])?.and_then(|own| Record::from_bytes(own.value()))
                    {
                        record.merge(&other);
                    }
                    entries.insert(&id[..], &record.to_bytes()[..])?;
                }
                if let Some((token, until)) = &write.seen {
                    seen.insert(&token[..], until)?;
                }
                done.push(Stored::New);
            }
        }
        transaction.commit()?;
        Ok(done)
    }

    /// Removes what has ended.
    fn sweep(&self) -> Result<(), redb::Error> {
        let now = self.clock.now().as_secs();
        let transaction = self.database.begin_write()?;
        {
            let mut entries = transaction.open_table(ENTRIES)?;
            entries
                .retain(|_, record| Record::from_bytes(record).is_some_and(|record| record.drop_at > now))?;
            let mut seen = transaction.open_table(SEEN)?;
            seen.retain(|_, until| until > now)?;
        }
        transaction.commit()?;
        Ok(())
    }
}
