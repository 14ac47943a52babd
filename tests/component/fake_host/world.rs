//! What the VMs of one Envoy process have in common: the clock, the clusters, shared data, stats.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use super::state::Fault;
use super::vm::VmCore;
use super::wire::Status;

/// Shared by every VM that is started in it. Cloning gives another handle.
#[derive(Clone)]
pub(crate) struct World {
    inner: Arc<Mutex<Shared>>,
}

/// What a foreign function does with its argument.
pub(crate) type Foreign = Arc<dyn Fn(&[u8]) -> Result<Vec<u8>, Status> + Send + Sync>;

pub(crate) struct Shared {
    /// What the guest reads as the time: since 1970. A test may set it to anything.
    pub(crate) wall: Duration,
    /// What timers run on.
    pub(crate) uptime: Duration,
    pub(crate) clusters: HashMap<String, Cluster>,
    pub(crate) shared_data: HashMap<String, SharedData>,
    pub(crate) stats: BTreeMap<String, Stat>,
    pub(crate) foreign: HashMap<String, Foreign>,
    pub(crate) vms: Vec<Weak<VmCore>>,
    /// Faults that a VM is born with.
    pub(crate) faults: Vec<Fault>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cluster {
    Healthy,
    /// No host to send to: a call fails at once.
    Unhealthy,
}

/// Envoy's default circuit breaker: calls under way per cluster.
pub(crate) const MAX_PENDING_PER_CLUSTER: usize = 1024;

#[derive(Clone, Debug)]
pub(crate) struct Stat {
    pub(crate) value: u64,
    pub(crate) recorded: Vec<u64>,
}

/// Envoy's shared data of one `vm_id`.
#[derive(Default)]
pub(crate) struct SharedData {
    values: BTreeMap<Vec<u8>, (Vec<u8>, u32)>,
    last_cas: u32,
}

impl SharedData {
    pub(crate) fn get(&self, key: &[u8]) -> Option<(Vec<u8>, u32)> {
        self.values.get(key).cloned()
    }

    /// A wrong `cas` is refused, but for a key that is not there: then any will do.
    pub(crate) fn set(&mut self, key: &[u8], value: &[u8], cas: u32) -> Result<(), Status> {
        if let Some((_, current)) = self.values.get(key)
            && cas != 0
            && cas != *current
        {
            return Err(Status::CAS_MISMATCH);
        }
        self.last_cas += 1;
        self.values.insert(key.to_vec(), (value.to_vec(), self.last_cas));
        Ok(())
    }
}

/// A Tuesday in 2025, far from every edge.
pub(crate) const START: Duration = Duration::from_secs(1_750_000_000);

impl World {
    pub(crate) fn new() -> World {
        World {
            inner: Arc::new(Mutex::new(Shared {
                wall: START,
                uptime: Duration::ZERO,
                clusters: HashMap::from([("idp".to_owned(), Cluster::Healthy)]),
                shared_data: HashMap::new(),
                stats: BTreeMap::new(),
                foreign: HashMap::new(),
                vms: Vec::new(),
                faults: Vec::new(),
            })),
        }
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, Shared> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Seconds since 1970 by the host's clock.
    pub(crate) fn now(&self) -> u64 {
        self.lock().wall.as_secs()
    }

    /// Sets the clock without letting the time in between pass: no tick, no timeout.
    pub(crate) fn set_clock(&self, seconds: u64) {
        self.lock().wall = Duration::from_secs(seconds);
    }

    pub(crate) fn set_cluster(&self, name: &str, cluster: Cluster) {
        self.lock().clusters.insert(name.to_owned(), cluster);
    }

    pub(crate) fn remove_cluster(&self, name: &str) {
        self.lock().clusters.remove(name);
    }

    /// Every VM that starts from now on meets this fault from its first host call on.
    pub(crate) fn fail_new_vms(&self, fault: Fault) {
        self.lock().faults.push(fault);
    }

    pub(crate) fn install_foreign(
        &self,
        name: &str,
        function: impl Fn(&[u8]) -> Result<Vec<u8>, Status> + Send + Sync + 'static,
    ) {
        let function = Arc::new(function);
        self.lock().foreign.insert(name.to_owned(), function);
    }

    /// A counter's or a gauge's value; 0 where nothing of that name was ever defined.
    pub(crate) fn stat(&self, name: &str) -> u64 {
        self.lock().stats.get(name).map_or(0, |stat| stat.value)
    }

    /// Lets time pass in every VM: ticks fall due, callouts time out, in the order of their time.
    pub(crate) fn advance(&self, by: Duration) {
        let target = self.lock().uptime + by;
        loop {
            let vms: Vec<Arc<VmCore>> = self.lock().vms.iter().filter_map(Weak::upgrade).collect();
            let next = vms.iter().filter_map(|vm| Some((vm.next_event()?, vm))).min_by_key(|(due, _)| *due);
            match next {
                Some((due, vm)) if due <= target => {
                    self.lock().pass_until(due);
                    vm.run_due();
                }
                _ => break,
            }
        }
        self.lock().pass_until(target);
    }
}

impl Shared {
    fn pass_until(&mut self, uptime: Duration) {
        let passed = uptime.saturating_sub(self.uptime);
        self.uptime += passed;
        self.wall += passed;
    }
}
