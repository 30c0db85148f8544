//! How much memory is left: on this machine, and in our own memory cgroup (version 2, else 1) where that is less.

use std::fs::read_to_string;

/// Memory in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FreeMemory {
    /// That can be had without swapping; caches that can be given up count.
    pub free: u64,
    /// In all.
    pub total: u64,
}

impl FreeMemory {
    /// What is left now; `None` where the system does not tell.
    pub fn now() -> Option<Self> {
        let machine = Self::of_machine(&read_to_string("/proc/meminfo").ok()?)?;
        Some(match Self::of_cgroup(machine) {
            Some(cgroup) if cgroup.free < machine.free => cgroup,
            _ => machine,
        })
    }

    /// Less than a twentieth is left.
    pub fn is_scarce(self) -> bool {
        self.free < self.total / 20
    }

    fn of_machine(meminfo: &str) -> Option<Self> {
        let kib = |name: &str| number_behind(meminfo, name).map(|kib| kib << 10);
        Some(Self { free: kib("MemAvailable:")?, total: kib("MemTotal:")? })
    }

    fn of_cgroup(machine: Self) -> Option<Self> {
        let read = |path: &str| read_to_string(format!("/sys/fs/cgroup/{path}")).ok();
        let number = |path: &str| read(path)?.trim().parse::<u64>().ok();
        let (limit, used, caches) = match number("memory.max") {
            Some(limit) => (limit, number("memory.current")?, read("memory.stat")),
            None => (
                number("memory/memory.limit_in_bytes")?,
                number("memory/memory.usage_in_bytes")?,
                read("memory/memory.stat"),
            ),
        };
        // No limit is written as a number beyond any machine.
        let total = limit.min(machine.total);
        let caches = caches.and_then(|stat| number_behind(&stat, "inactive_file ")).unwrap_or(0);
        Some(Self { free: total.saturating_sub(used.saturating_sub(caches)), total })
    }
}

fn number_behind(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_kernel_writes_is_read() {
        let meminfo = "MemTotal:       1000 kB\nMemFree:         10 kB\nMemAvailable:    40 kB\n";
        let memory = FreeMemory::of_machine(meminfo).unwrap();
        assert_eq!(memory, FreeMemory { free: 40 << 10, total: 1000 << 10 });
        assert!(memory.is_scarce());
        assert!(!FreeMemory { free: 51, total: 1000 }.is_scarce());
        assert_eq!(FreeMemory::of_machine("MemTotal: x"), None);
        assert_eq!(number_behind("cache 5\ninactive_file 7\n", "inactive_file "), Some(7));
        let now = FreeMemory::now().unwrap();
        assert!(0 < now.free && now.free <= now.total, "{now:?}");
    }
}
