//! The one runtime on which every server of this process runs.

use std::sync::OnceLock;

use tokio::runtime::{Builder, Runtime};

/// The shared runtime. It is made on first use and lives as long as the process.
///
/// All tests of a process share it: what takes a while belongs into `tokio::task::block_in_place`, or the servers of
/// another test fall silent.
pub(crate) fn runtime() -> &'static Runtime {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    RUNTIME.get_or_init(|| {
        Builder::new_multi_thread()
            .worker_threads(4)
            .thread_name("harness-server")
            .enable_all()
            .build()
            .expect("a runtime for the harness's servers")
    })
}
