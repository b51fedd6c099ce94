//! How much memory there is, and whether it can be swapped out.

use std::{fs, path::Path};

/// Where control groups are.
const GROUPS: &str = "/sys/fs/cgroup";

/// The bytes of memory that this process may use in all: the machine's, or what its control groups leave of it.
pub fn available() -> u64 {
    let machine = rustix::system::sysinfo();
    let machine = machine.totalram.saturating_mul(machine.mem_unit.into());
    let own = own_groups();
    let limits = [
        limit(&own, "", Path::new(GROUPS), "memory.max"),
        limit(&own, "memory", &Path::new(GROUPS).join("memory"), "memory.limit_in_bytes"),
    ];
    limits.into_iter().flatten().fold(machine, u64::min)
}

/// Whether this process's memory can go to a disk: the machine has swap, and its control groups let the process use it.
pub fn can_be_swapped() -> bool {
    rustix::system::sysinfo().totalswap > 0 && limit(&own_groups(), "", Path::new(GROUPS), "memory.swap.max") != Some(0)
}

/// The control groups of this process, as cgroups(7) has them: lines of `hierarchy:controllers:path`.
fn own_groups() -> String {
    fs::read_to_string("/proc/self/cgroup").unwrap_or_default()
}

/// The smallest number in `file` of the control group that `controller` has this process in, and of all above it; version 2
/// has one for all controllers, and its name is empty. `None` when none of them sets a limit.
fn limit(own: &str, controller: &str, root: &Path, file: &str) -> Option<u64> {
    let group = own.lines().find_map(|line| {
        let (_, line) = line.split_once(':')?;
        let (controllers, path) = line.split_once(':')?;
        controllers.split(',').any(|name| name == controller).then_some(path)
    })?;
    let groups = Path::new(group.trim_start_matches('/')).ancestors();
    groups.filter_map(|group| fs::read_to_string(root.join(group).join(file)).ok()?.trim().parse().ok()).min()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_smallest_limit_of_a_group_and_those_above_counts() {
        let root = tempfile::tempdir().unwrap();
        let set = |group: &str, value: &str| {
            let folder = root.path().join(group);
            fs::create_dir_all(&folder).unwrap();
            fs::write(folder.join("memory.max"), value).unwrap();
        };
        set("", "9000\n");
        set("slice", "5000\n");
        set("slice/unit", "max\n");
        set("other", "1\n");
        let limit = |own: &str| limit(own, "", root.path(), "memory.max");
        assert_eq!(limit("3:cpu:/other\n0::/slice/unit\n"), Some(5000));
        assert_eq!(limit("0::/\n"), Some(9000));
        assert_eq!(limit("3:memory,cpu:/slice\n"), None);
        assert_eq!(limit("nonsense"), None);
        fs::write(root.path().join("memory.max"), "max\n").unwrap();
        assert_eq!(limit("0::/\n"), None);
    }

    #[test]
    fn a_controller_of_version_1_has_its_own_group() {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir_all(root.path().join("a")).unwrap();
        fs::write(root.path().join("a/memory.limit_in_bytes"), "77\n").unwrap();
        assert_eq!(limit("4:hugetlb,memory:/a\n0::/b\n", "memory", root.path(), "memory.limit_in_bytes"), Some(77));
    }

    #[test]
    fn this_machine_has_memory() {
        assert!(available() > 1 << 20);
    }
}
