//! What a tree of processes costs, from `/proc`.

use std::fs;
use std::time::Duration;

/// User and system time of a process, of its living descendants, and of those that have ended and
/// were waited for. Processes that end between the reads may be missed.
pub fn cpu_of_tree(root: u32) -> Duration {
    let all: Vec<Stat> = fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter_map(read)
        .collect();
    let mut tree = vec![root];
    let mut next = 0;
    while let Some(&parent) = tree.get(next) {
        let children = all
            .iter()
            .filter(|s| s.parent == parent && !tree.contains(&s.pid));
        tree.extend(children.map(|s| s.pid).collect::<Vec<_>>());
        next += 1;
    }
    let ticks: u64 = all
        .iter()
        .filter(|s| tree.contains(&s.pid))
        .map(|s| s.ticks)
        .sum();
    Duration::from_secs_f64(ticks as f64 / ticks_per_second())
}

/// User and system time of one process, its threads that have ended among them, but not its children.
pub fn cpu_of(pid: u32) -> Duration {
    let ticks = read(pid).map_or(0, |stat| stat.own_ticks);
    Duration::from_secs_f64(ticks as f64 / ticks_per_second())
}

/// Memory of a process that is resident now, in kB.
pub fn resident_kb(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kb = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse().ok());
    kb.unwrap_or(0)
}

/// Child of `parent` whose first argument is `word`.
pub fn child_of(parent: u32, word: &str) -> Option<u32> {
    let pids = fs::read_dir("/proc").ok()?.flatten();
    let pids = pids.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let mut children = pids.filter(|&pid| read(pid).is_some_and(|stat| stat.parent == parent));
    children.find(|pid| {
        let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        line.split(|byte| *byte == 0).nth(1) == Some(word.as_bytes())
    })
}

/// User and system time of this process and thread, for what is measured in place.
pub fn cpu_of_thread() -> Duration {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: the pointer is to a timespec of ours that lives through the call.
    let failed = unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut time) };
    if failed != 0 {
        return Duration::ZERO;
    }
    Duration::new(time.tv_sec.unsigned_abs(), time.tv_nsec as u32)
}

struct Stat {
    pid: u32,
    parent: u32,
    own_ticks: u64,
    ticks: u64,
}

fn read(pid: u32) -> Option<Stat> {
    parse(pid, &fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

/// proc_pid_stat(5): fields are counted from the end of the name, which may hold anything.
fn parse(pid: u32, stat: &str) -> Option<Stat> {
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let number = |i: usize| fields.get(i)?.parse::<u64>().ok();
    // utime, stime, and the same of children that were waited for.
    let own_ticks = (11..=12).map(number).sum::<Option<u64>>()?;
    let ticks = (11..=14).map(number).sum::<Option<u64>>()?;
    Some(Stat {
        pid,
        parent: number(1)? as u32,
        own_ticks,
        ticks,
    })
}

fn ticks_per_second() -> f64 {
    // SAFETY: sysconf takes a number and returns one.
    let ticks = unsafe { libc::sysconf(libc::_SC_CLK_TCK) };
    if ticks > 0 { ticks as f64 } else { 100.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_brackets_and_blanks_does_not_shift_the_fields() {
        let stat = "7 (a) b (c) S 3 7 7 0 -1 4194560 1 2 3 4 10 20 30 40 20 0 1 0 5 6 7";
        let read = parse(7, stat).unwrap();
        assert_eq!((read.parent, read.own_ticks, read.ticks), (3, 30, 100));
        assert!(parse(7, "7 (a").is_none());
    }

    #[test]
    fn work_of_this_process_and_thread_shows() {
        let (tree, thread) = (cpu_of_tree(std::process::id()), cpu_of_thread());
        let mut sum = 0u64;
        while cpu_of_thread() - thread < Duration::from_millis(50) {
            sum = (0..10_000u64).fold(sum, |a, b| std::hint::black_box(a ^ b));
        }
        assert!(
            cpu_of_tree(std::process::id()) >= tree + Duration::from_millis(20),
            "{sum}"
        );
    }
}
