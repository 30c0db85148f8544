//! What this process may use: cores, descriptors, a way of being scheduled.
#![allow(unsafe_code)]

use std::{fs::read_to_string, io};

use rustix::{
    process::{Resource, Rlimit, getrlimit, setrlimit},
    thread::sched_getaffinity,
};

/// Lets the calling thread run longer before others that wake up take its place (SCHED_BATCH, sched(7)).
pub fn use_batch_scheduling() -> io::Result<()> {
    let parameters = libc::sched_param { sched_priority: 0 };
    // SAFETY: 0 is the calling thread; the parameters outlive the call.
    let result = unsafe { libc::sched_setscheduler(0, libc::SCHED_BATCH, &raw const parameters) };
    if result == -1 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Gives memory that was freed back to the system, after a burst (malloc_trim(3)).
pub fn release_memory() {
    // SAFETY: it works on the allocator's own data under the allocator's own locks.
    unsafe { libc::malloc_trim(0) };
}

/// Cores that this process may use: its affinity, and the quota of its cgroup rounded up; at least one.
pub fn available_cores() -> u32 {
    let allowed = sched_getaffinity(None).map_or(1, |set| set.count()).max(1);
    match quota() {
        Some(quota) => allowed.min(quota.max(1)),
        None => allowed,
    }
}

/// The CPU quota in cores, where a cgroup sets one: version 2, else version 1.
fn quota() -> Option<u32> {
    let number = |text: &str| text.trim().parse::<u64>().ok();
    let (quota, period) = match read_to_string("/sys/fs/cgroup/cpu.max") {
        Ok(text) => {
            let (quota, period) = text.trim().split_once(' ')?;
            (number(quota)?, number(period)?)
        }
        Err(_) => {
            let quota = read_to_string("/sys/fs/cgroup/cpu/cpu.cfs_quota_us").ok()?;
            let period = read_to_string("/sys/fs/cgroup/cpu/cpu.cfs_period_us").ok()?;
            // -1 means that there is none; it is no number here.
            (number(&quota)?, number(&period)?)
        }
    };
    u32::try_from(quota.div_ceil(period.max(1))).ok()
}

/// Raises the limit of open files as far as it may be raised; returns what it is now.
pub fn raise_open_files() -> u64 {
    /// More descriptors than this only make others slow that close them all.
    const ENOUGH: u64 = 1 << 20;
    let limit = getrlimit(Resource::Nofile);
    let wanted = limit.maximum.unwrap_or(ENOUGH).min(ENOUGH);
    let current = limit.current.unwrap_or(ENOUGH);
    if wanted <= current {
        return current;
    }
    match setrlimit(Resource::Nofile, Rlimit { current: Some(wanted), maximum: limit.maximum }) {
        Ok(()) => wanted,
        Err(_) => current,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_something_to_use() {
        assert!(1 <= available_cores());
        assert!(256 <= raise_open_files());
        std::thread::spawn(|| use_batch_scheduling().unwrap()).join().unwrap();
    }
}
