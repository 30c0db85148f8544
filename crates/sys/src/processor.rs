//! How much the processors have done: for this machine's cores that we may use, and for one process.

use std::{fs::read_to_string, time::Duration};

use rustix::{
    param::clock_ticks_per_second,
    thread::{CpuSet, sched_getaffinity},
};

/// For how long the cores that this process may use have had nothing to do, all together, since the machine was started
/// (proc_stat(5)); `None` where the system does not tell.
pub fn idle_time() -> Option<Duration> {
    let allowed = sched_getaffinity(None).ok()?;
    idle_ticks(&read_to_string("/proc/stat").ok()?, &allowed).map(ticks)
}

/// How long a process has computed, in all its threads (proc_pid_stat(5)); `None` for one that has gone.
pub fn process_time(pid: u32) -> Option<Duration> {
    process_ticks(&read_to_string(format!("/proc/{pid}/stat")).ok()?).map(ticks)
}

fn ticks(count: u64) -> Duration {
    Duration::from_millis(count * 1000 / clock_ticks_per_second().max(1))
}

fn idle_ticks(stat: &str, allowed: &CpuSet) -> Option<u64> {
    let mut cores = stat.lines().filter_map(|line| {
        let mut fields = line.strip_prefix("cpu")?.split(' ');
        let core = fields.next()?.parse::<usize>().ok()?;
        // user, nice, system, idle, iowait
        let mut numbers = fields.map_while(|field| field.parse::<u64>().ok()).skip(3);
        let idle = numbers.next()? + numbers.next().unwrap_or(0);
        (core < CpuSet::MAX_CPU && allowed.is_set(core)).then_some(idle)
    });
    let first = cores.next()?;
    Some(first + cores.sum::<u64>())
}

fn process_ticks(stat: &str) -> Option<u64> {
    // The name in parentheses may hold anything; the fields behind it begin with the third.
    let mut fields = stat.rsplit(')').next()?.split_whitespace().skip(14 - 3);
    let user = fields.next()?.parse::<u64>().ok()?;
    Some(user + fields.next()?.parse::<u64>().ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_kernel_writes_is_read() {
        let stat = "cpu  9 9 9 900 9 0\ncpu0 1 2 3 40 5 6\ncpu1 1 2 3 70 1 0\ncpu2 1 2 3 500 1\nintr 5 5 5 5 5\n";
        let mut allowed = CpuSet::new();
        allowed.set(0);
        allowed.set(1);
        assert_eq!(idle_ticks(stat, &allowed), Some(40 + 5 + 70 + 1));
        assert_eq!(idle_ticks("cpu  9 9 9 900 9\n", &allowed), None);
        let process = "7 (a) b) S 1 7 7 0 -1 4194560 1 0 0 0 250 50 3 4 20 0 1 0";
        assert_eq!(process_ticks(process), Some(300));
        assert_eq!(process_ticks("7 (a)"), None);
    }

    #[test]
    fn whoever_computes_is_seen() {
        let before = process_time(std::process::id()).unwrap();
        let mut sum = 0u64;
        while process_time(std::process::id()).unwrap() < before + Duration::from_millis(50) {
            sum = std::hint::black_box((0..100_000u64).fold(sum, u64::wrapping_add));
        }
        assert!(idle_time().is_some());
        assert_eq!(process_time(u32::MAX), None);
    }
}
