//! Processor time, and what can be said of a few measurements.

use std::fs;
use std::io;
use std::thread;
use std::time::{Duration, Instant};

/// Envoy's worker threads, whose time on the processor is the measure.
#[derive(Debug)]
pub struct Processor {
    /// The `schedstat` files of the threads, and their ids.
    threads: Vec<(libc::pid_t, String)>,
}

/// What one stretch of work cost.
#[derive(Clone, Copy, Debug)]
pub struct Slice {
    /// Time on the processor.
    pub cpu: Duration,
    /// Time on the clock.
    pub wall: Duration,
}

impl Processor {
    /// The worker threads of an Envoy.
    ///
    /// # Errors
    /// There are none, or this kernel does not account for them.
    pub fn of(pid: u32) -> Result<Self, String> {
        let tasks = format!("/proc/{pid}/task");
        let entries = fs::read_dir(&tasks).map_err(|error| format!("{tasks}: {error}"))?;
        let mut threads = Vec::new();
        for entry in entries.filter_map(Result::ok) {
            let Some(id) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
            let name = fs::read_to_string(entry.path().join("comm")).unwrap_or_default();
            if name.starts_with("wrk:worker") {
                threads.push((id, format!("{tasks}/{id}/schedstat")));
            }
        }
        if threads.is_empty() {
            return Err(format!("no worker thread in {tasks}"));
        }
        let made = Self { threads };
        made.time().map_err(|error| format!("this kernel has no schedstat: {error}"))?;
        Ok(made)
    }

    /// Time on the processor so far, of all workers.
    fn time(&self) -> io::Result<Duration> {
        Ok(self.times()?.into_iter().sum())
    }

    /// Time on the processor so far, worker by worker.
    pub(super) fn times(&self) -> io::Result<Vec<Duration>> {
        let time = |(_, file): &(_, String)| {
            let text = fs::read_to_string(file)?;
            let first = text.split_whitespace().next().and_then(|number| number.parse().ok());
            let nanos = first.ok_or_else(|| io::Error::other(format!("{file}: {text:?}")))?;
            Ok(Duration::from_nanos(nanos))
        };
        self.threads.iter().map(time).collect()
    }

    /// What `work` cost the workers.
    ///
    /// # Errors
    /// Those of `work`, or the accounts cannot be read.
    pub fn slice(&self, work: impl FnOnce() -> io::Result<()>) -> io::Result<Slice> {
        // The kernel books a thread's time when the thread goes to sleep.
        const SETTLE: Duration = Duration::from_millis(3);
        thread::sleep(SETTLE);
        let (before, start) = (self.time()?, Instant::now());
        work()?;
        let wall = start.elapsed();
        thread::sleep(SETTLE);
        Ok(Slice { cpu: self.time()?.saturating_sub(before), wall })
    }
}

/// The calling thread is kept off the workers' processors until this is dropped.
#[derive(Debug)]
pub struct Pinned {
    /// Where it may run otherwise.
    allowed: Vec<usize>,
}

impl Pinned {
    /// Gives each worker of an Envoy a processor of its own, from the last one down, and keeps the calling thread off those,
    /// or off the last one where nothing else is left. Several Envoys share the processors: one is measured at a time. Where
    /// there is one processor only, everything stays as it is.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn new(envoys: &[&Processor]) -> Result<Self, String> {
        let pinned = Self { allowed: affinity()? };
        let allowed = &pinned.allowed;
        if allowed.len() > 1 {
            for envoy in envoys {
                for ((thread, _), processor) in envoy.threads.iter().zip(allowed.iter().rev().cycle()) {
                    bind(*thread, &[*processor])?;
                }
            }
            let taken = envoys.iter().map(|envoy| envoy.threads.len()).max().unwrap_or_default();
            let left = if taken < allowed.len() { allowed.len() - taken } else { allowed.len() - 1 };
            bind(0, &allowed[..left])?;
        }
        Ok(pinned)
    }
}

impl Drop for Pinned {
    fn drop(&mut self) {
        // What it was allowed before it is allowed again.
        let _ = bind(0, &self.allowed);
    }
}

/// The processors that this thread may use.
fn affinity() -> Result<Vec<usize>, String> {
    // SAFETY: a plain bit set, for which all zeros is a value, filled in by the kernel up to its size.
    let mut set: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    // SAFETY: as above.
    if unsafe { libc::sched_getaffinity(0, size_of_val(&set), &mut set) } != 0 {
        return Err(format!("sched_getaffinity: {}", io::Error::last_os_error()));
    }
    let most = usize::try_from(libc::CPU_SETSIZE).unwrap_or(0);
    // SAFETY: the numbers are below the size of the set.
    Ok((0..most).filter(|cpu| unsafe { libc::CPU_ISSET(*cpu, &set) }).collect())
}

fn bind(thread: libc::pid_t, cpus: &[usize]) -> Result<(), String> {
    // SAFETY: as above.
    let mut set: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    for cpu in cpus {
        // SAFETY: as above.
        unsafe { libc::CPU_SET(*cpu, &mut set) };
    }
    // SAFETY: the kernel only reads the set.
    if unsafe { libc::sched_setaffinity(thread, size_of_val(&set), &set) } != 0 {
        return Err(format!("sched_setaffinity: {}", io::Error::last_os_error()));
    }
    Ok(())
}

/// A median and an interval in which the true one lies with 95 % confidence, whatever the distribution is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Estimate {
    /// The median.
    pub median: f64,
    /// The lower end of the interval.
    pub low: f64,
    /// The upper end of the interval.
    pub high: f64,
}

impl Estimate {
    /// Of some measurements. Where there are too few for 95 %, the interval spans them all.
    pub fn of(values: &[f64]) -> Self {
        let mut values = values.to_vec();
        values.sort_by(f64::total_cmp);
        let count = values.len();
        if count == 0 {
            return Self { median: f64::NAN, low: f64::NAN, high: f64::NAN };
        }
        let median = (values[(count - 1) / 2] + values[count / 2]) / 2.0;
        // How many of the smallest and of the largest may be left out: as long as the odds that the median lies
        // among those, which is a matter of coin tosses, stay below 2.5 % on either side.
        let (mut out, mut odds, mut term) = (0, 0.0, 0.5_f64.powi(i32::try_from(count).unwrap_or(i32::MAX)));
        loop {
            odds += term;
            if odds > 0.025 || out + 1 > (count - 1) / 2 {
                break;
            }
            out += 1;
            term *= (count - out + 1) as f64 / out as f64;
        }
        Self { median, low: values[out.saturating_sub(1)], high: values[count - out.max(1)] }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_calling_thread_is_kept_off_the_workers_processor_for_a_while() {
        let before = affinity().unwrap();
        // This thread is the worker, too.
        let worker = Processor { threads: vec![(0, String::new())] };
        let pinned = Pinned::new(&[&worker]).unwrap();
        if let [others @ .., last] = before.as_slice()
            && !others.is_empty()
        {
            assert!(!affinity().unwrap().contains(last));
        }
        drop(pinned);
        assert_eq!(affinity().unwrap(), before);
    }

    #[test]
    fn the_interval_of_a_median_leaves_out_what_it_may() {
        let of = |count: u32| Estimate::of(&(1..=count).map(f64::from).collect::<Vec<_>>());
        assert_eq!(of(1), Estimate { median: 1.0, low: 1.0, high: 1.0 });
        assert_eq!(of(5), Estimate { median: 3.0, low: 1.0, high: 5.0 });
        // From tables of the sign test: ranks 2 and 9 of 10, 6 and 15 of 20.
        assert_eq!(of(10), Estimate { median: 5.5, low: 2.0, high: 9.0 });
        assert_eq!(of(20), Estimate { median: 10.5, low: 6.0, high: 15.0 });
    }
}
