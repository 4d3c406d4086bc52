//! The memory that this process may still allocate: the minimum of what the kernel reports as
//! available and what remains under the limits of its control groups (a container, a Slurm job, a
//! systemd unit), of version 1 and 2, at every level up to the root.

use std::path::{Path, PathBuf};

/// Free bytes; `None` if unknown. `root` is `/`, or in tests a folder with `proc` and `sys`.
pub fn free(root: &Path) -> Option<f64> {
    let machine = kilobytes(&root.join("proc/meminfo"), "MemAvailable:");
    let groups = levels(root).iter().filter_map(Level::free).collect::<Vec<f64>>();
    machine.into_iter().chain(groups).reduce(f64::min)
}

fn number(path: PathBuf) -> Option<f64> {
    // "max" means no limit.
    std::fs::read_to_string(path).ok()?.trim().parse::<f64>().ok()
}

fn kilobytes(path: &Path, name: &str) -> Option<f64> {
    let text = std::fs::read_to_string(path).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    Some(line.trim().strip_suffix("kB")?.trim().parse::<f64>().ok()? * 1024.0)
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Version {
    V1,
    V2,
}

/// The process's control group or an ancestor of it.
struct Level {
    version: Version,
    folder: PathBuf,
}

impl Level {
    /// The bytes left under its limit. Inactive file pages count as free: the kernel reclaims them
    /// first.
    fn free(&self) -> Option<f64> {
        let read = |name: &str| number(self.folder.join(name));
        let (limits, usage, cache) = match self.version {
            // Above `high` the kernel throttles a group heavily.
            Version::V2 => {
                ([read("memory.max"), read("memory.high")], "memory.current", "inactive_file ")
            }
            // No limit is a number near 2⁶³, which is never the minimum.
            Version::V1 => (
                [read("memory.limit_in_bytes"), None],
                "memory.usage_in_bytes",
                "total_inactive_file ",
            ),
        };
        let limit = limits.into_iter().flatten().reduce(f64::min)?;
        let stat = std::fs::read_to_string(self.folder.join("memory.stat")).unwrap_or_default();
        let cache = stat.lines().find_map(|line| line.strip_prefix(cache)?.trim().parse().ok());
        let used = (read(usage).unwrap_or(0.0) - cache.unwrap_or(0.0)).max(0.0);
        Some((limit - used).max(0.0))
    }
}

/// The memory control groups of the process, from its own to the root of each mount.
fn levels(root: &Path) -> Vec<Level> {
    let read = |path: &str| std::fs::read_to_string(root.join(path)).unwrap_or_default();
    let (groups, mounts) = (read("proc/self/cgroup"), read("proc/self/mountinfo"));
    let mut levels = Vec::new();
    for line in groups.lines() {
        // hierarchy:controllers:path
        let mut parts = line.splitn(3, ':');
        let (Some(_), Some(controllers), Some(path)) = (parts.next(), parts.next(), parts.next())
        else {
            continue;
        };
        let version = match controllers {
            "" => Version::V2,
            _ if controllers.split(',').any(|name| name == "memory") => Version::V1,
            _ => continue,
        };
        for mount in mounts.lines().filter_map(|line| Mount::parse(line, version)) {
            let top = root.join(mount.point.strip_prefix("/").unwrap_or(&mount.point));
            // In a container the mount's root may be its own group, and a group outside of its
            // namespace is shown as `..`.
            let inside = Path::new(path).strip_prefix(&mount.root).unwrap_or(Path::new(""));
            let inside = if inside.components().any(|part| part.as_os_str() == "..") {
                Path::new("")
            } else {
                inside
            };
            let groups = inside.ancestors().map(|part| top.join(part));
            levels.extend(groups.map(|folder| Level { version, folder }));
        }
    }
    levels
}

/// A mount of a control group hierarchy, and the group at its root.
struct Mount {
    root: PathBuf,
    point: PathBuf,
}

impl Mount {
    /// Parses a line of `/proc/self/mountinfo` if it mounts this version (of 1, the memory controller).
    fn parse(line: &str, version: Version) -> Option<Mount> {
        let (place, source) = line.split_once(" - ")?;
        let mut source = source.split(' ');
        let (kind, options) = (source.next()?, source.nth(1).unwrap_or(""));
        let fits = match version {
            Version::V2 => kind == "cgroup2",
            Version::V1 => kind == "cgroup" && options.split(',').any(|name| name == "memory"),
        };
        let mut place = place.split(' ').skip(3).map(|path| PathBuf::from(unescaped(path)));
        fits.then(|| Some(Mount { root: place.next()?, point: place.next()? })).flatten()
    }
}

/// Decodes the octal escapes of `mountinfo`, such as `\040` for a space.
fn unescaped(path: &str) -> String {
    let mut parts = path.split('\\');
    let mut text = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        match part.get(..3).and_then(|code| u8::from_str_radix(code, 8).ok()) {
            Some(code) => {
                text.push(char::from(code));
                text.push_str(&part[3..]);
            }
            None => {
                text.push('\\');
                text.push_str(part);
            }
        }
    }
    text
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const GB: f64 = 1e9;

    /// A root with these files, and 64 GB of memory available on the machine.
    fn root(files: &[(&str, &str)]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        let meminfo = ("proc/meminfo", "MemTotal: 70000000 kB\nMemAvailable:   62500000 kB\n");
        for (path, text) in files.iter().chain([&meminfo]) {
            let path = root.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        root
    }

    const V2: (&str, &str) = (
        "proc/self/mountinfo",
        "23 28 0:21 / /proc rw - proc proc rw\n30 23 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw\n",
    );

    #[test]
    fn without_a_limit_it_is_the_machines_memory() {
        assert_eq!(free(root(&[]).path()), Some(64.0 * GB));
        let unlimited = [
            V2,
            ("proc/self/cgroup", "0::/user.slice\n"),
            ("sys/fs/cgroup/user.slice/memory.max", "max\n"),
            ("sys/fs/cgroup/user.slice/memory.current", "1000000000\n"),
        ];
        assert_eq!(free(root(&unlimited).path()), Some(64.0 * GB));
        assert_eq!(free(Path::new("/nowhere")), None);
    }

    #[test]
    fn a_limit_at_any_level_up_to_the_root_counts() {
        let own = "sys/fs/cgroup/system.slice/slurmstepd.scope/job_7";
        let files = |own_max: &'static str, job_max: &'static str| {
            root(&[
                V2,
                (
                    "proc/self/cgroup",
                    "0::/system.slice/slurmstepd.scope/job_7/step_0/user/task_0\n",
                ),
                (&format!("{own}/step_0/user/task_0/memory.max"), own_max),
                (&format!("{own}/step_0/user/task_0/memory.current"), "1000000000\n"),
                (&format!("{own}/memory.max"), job_max),
                (&format!("{own}/memory.current"), "3000000000\n"),
                (&format!("{own}/memory.stat"), "anon 5\ninactive_file 500000000\nactive_file 7\n"),
            ])
        };
        // 8 GB, of which 3 are used, 0.5 of them by inactive cache.
        assert_eq!(free(files("max\n", "8000000000\n").path()), Some(5.5 * GB));
        assert_eq!(free(files("4000000000\n", "8000000000\n").path()), Some(3.0 * GB));
        assert_eq!(free(files("max\n", "2000000000\n").path()), Some(0.0));
    }

    #[test]
    fn limits_of_version_1_count() {
        let folder = "sys/fs/cgroup/memory/slurm/uid_0/job_9";
        let files = root(&[
            (
                "proc/self/cgroup",
                "12:pids:/\n9:cpu,cpuacct:/slurm\n4:memory:/slurm/uid_0/job_9/step_0\n0::/\n",
            ),
            (
                "proc/self/mountinfo",
                "33 25 0:29 / /sys/fs/cgroup/memory rw,nosuid shared:12 - cgroup cgroup rw,memory\n\
                 34 25 0:30 / /sys/fs/cgroup/pids rw - cgroup cgroup rw,pids\n",
            ),
            (&format!("{folder}/step_0/memory.limit_in_bytes"), "9223372036854771712\n"),
            (&format!("{folder}/step_0/memory.usage_in_bytes"), "2000000000\n"),
            (&format!("{folder}/memory.limit_in_bytes"), "6000000000\n"),
            (&format!("{folder}/memory.usage_in_bytes"), "2000000000\n"),
            (&format!("{folder}/memory.stat"), "inactive_file 1\ntotal_inactive_file 1000000000\n"),
        ]);
        assert_eq!(free(files.path()), Some(5.0 * GB));
    }

    #[test]
    fn limits_are_found_inside_a_container() {
        // Without a namespace of its own: the mount shows /docker/abc as its root.
        let shown = root(&[
            ("proc/self/cgroup", "4:memory:/docker/abc\n"),
            (
                "proc/self/mountinfo",
                "33 25 0:29 /docker/abc /sys/fs/cgroup/mem\\040ory ro - cgroup cgroup rw,memory\n",
            ),
            ("sys/fs/cgroup/mem ory/memory.limit_in_bytes", "3000000000\n"),
            ("sys/fs/cgroup/mem ory/memory.usage_in_bytes", "1000000000\n"),
        ]);
        assert_eq!(free(shown.path()), Some(2.0 * GB));
        // With one, a group outside of it is named by `..`.
        let outside = root(&[
            V2,
            ("proc/self/cgroup", "0::/../other\n"),
            ("sys/fs/cgroup/memory.max", "3000000000\n"),
            ("sys/fs/cgroup/memory.high", "2500000000\n"),
            ("sys/fs/cgroup/memory.current", "1000000000\n"),
        ]);
        assert_eq!(free(outside.path()), Some(1.5 * GB));
    }
}
