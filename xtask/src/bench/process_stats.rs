//! What Linux tells about a process: processor time, memory, open files, threads. It reads /proc and nothing else.

use anyhow::{Context, Result};
use std::fs;
use std::time::Duration;

/// The unit of times in /proc: Linux tells user space 100 of them a second on all that we run on (USER_HZ).
const TICKS_PER_SECOND: u64 = 100;

/// What a process uses now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Usage {
    pub(crate) resident_kib: u64,
    pub(crate) threads: u64,
    pub(crate) open_files: u64,
}

/// Processor time of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct CpuTime {
    /// In its own code.
    pub(crate) user: Duration,
    /// In the kernel.
    pub(crate) system: Duration,
}

/// Processor time of a process so far, of all its threads; that of its children apart.
pub(crate) fn cpu_time(pid: u32) -> Result<Duration> {
    cpu_times(pid).map(|CpuTime { user, system }| user + system)
}

/// The same, in the process and in the kernel.
pub(crate) fn cpu_times(pid: u32) -> Result<CpuTime> {
    parse_cpu_time(&read(pid, "stat")?).with_context(|| format!("/proc/{pid}/stat is not as documented"))
}

/// Resident memory of a process in KiB.
pub(crate) fn resident_kib(pid: u32) -> Result<u64> {
    parse_status(&read(pid, "status")?, "VmRSS").with_context(|| format!("/proc/{pid}/status has no VmRSS"))
}

/// All of [`Usage`].
pub(crate) fn usage(pid: u32) -> Result<Usage> {
    let status = read(pid, "status")?;
    let field = |name| parse_status(&status, name).with_context(|| format!("/proc/{pid}/status has no {name}"));
    let files = fs::read_dir(format!("/proc/{pid}/fd")).with_context(|| format!("cannot list /proc/{pid}/fd"))?;
    Ok(Usage { resident_kib: field("VmRSS")?, threads: field("Threads")?, open_files: files.count() as u64 })
}

fn read(pid: u32, file: &str) -> Result<String> {
    fs::read_to_string(format!("/proc/{pid}/{file}")).with_context(|| format!("the server {pid} has ended by itself"))
}

/// Fields 14 and 15 of proc_pid_stat(5). The second field is a name in brackets that may itself have blanks and brackets.
fn parse_cpu_time(stat: &str) -> Option<CpuTime> {
    let (_, after_name) = stat.rsplit_once(')')?;
    let mut fields = after_name.split_whitespace().skip(11);
    let mut next = || Some(Duration::from_millis(fields.next()?.parse::<u64>().ok()? * 1000 / TICKS_PER_SECOND));
    Some(CpuTime { user: next()?, system: next()? })
}

fn parse_status(status: &str, name: &str) -> Option<u64> {
    let value = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    value.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_behind_any_name() {
        let stat = "4242 (a ) b) S 1 4242 4242 0 -1 4194560 9000 0 7 0 123 45 6 7 20 0 5 0 100 1000 200 184467";
        let time = CpuTime { user: Duration::from_millis(1230), system: Duration::from_millis(450) };
        assert_eq!(parse_cpu_time(stat), Some(time));
        assert_eq!(parse_cpu_time("4242 (a) S 1"), None);
        assert_eq!(parse_cpu_time(""), None);
    }

    #[test]
    fn status_is_read_by_name() {
        let status = "Name:\tx\nVmRSSx:\t1 kB\nVmRSS:\t   43204 kB\nThreads:\t9\n";
        assert_eq!(parse_status(status, "VmRSS"), Some(43204));
        assert_eq!(parse_status(status, "Threads"), Some(9));
        assert_eq!(parse_status(status, "VmSize"), None);
    }

    #[test]
    fn our_own_process_has_all_of_it() {
        let pid = std::process::id();
        let usage = usage(pid).unwrap();
        assert!(usage.resident_kib > 100 && usage.threads >= 1 && usage.open_files >= 3, "{usage:?}");
        assert!(cpu_time(pid).is_ok());
        assert!(cpu_time(u32::MAX).unwrap_err().to_string().contains("ended by itself"));
    }
}
