//! What the first process of a container owes to those whose parents are gone: the system makes it their parent, and until
//! it asks how they ended they stay behind as zombies. It knows no child of the host's own: who started one asks for it.

use std::{collections::BTreeSet, fs, time::Duration};

use rustix::process::{Pid, WaitOptions, getpid, waitpid};
use tokio::signal::unix::{SignalKind, signal};

/// Time in which whoever started a process asks how it ended. What is still there then is an orphan.
const OWNER_ASKS_WITHIN: Duration = Duration::from_secs(2);

/// Lets no orphan stay behind, where this is the first process of its container; elsewhere the system's own does so. To be
/// called in a runtime, which ends it.
pub(super) fn reap_if_first() {
    if getpid().is_init() {
        tokio::spawn(reap());
    }
}

async fn reap() {
    let mut ended = match signal(SignalKind::child()) {
        Ok(ended) => ended,
        Err(error) => {
            tracing::warn!(%error, "orphans are not waited for: this process is not told when a child ends");
            return;
        }
    };
    while ended.recv().await.is_some() {
        let mut seen = zombies();
        while !seen.is_empty() {
            tokio::time::sleep(OWNER_ASKS_WITHIN).await;
            let now = zombies();
            for orphan in now.intersection(&seen) {
                // That it has gone in the meantime is no error: this only asks, and never waits.
                let _ = Pid::from_raw(*orphan).map(|pid| waitpid(Some(pid), WaitOptions::NOHANG));
            }
            seen = &now - &seen;
        }
    }
}

/// Children of this process that have ended and that nobody has asked for.
fn zombies() -> BTreeSet<i32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let processes = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    processes
        .filter(|id| fs::read_to_string(format!("/proc/{id}/stat")).is_ok_and(|stat| is_zombie_of_first(&stat)))
        .collect()
}

/// Reads a line of `/proc/PID/stat` (proc_pid_stat(5)): after the name in brackets come the state and the parent.
fn is_zombie_of_first(stat: &str) -> bool {
    let Some((_, rest)) = stat.rsplit_once(')') else { return false };
    let mut fields = rest.split_whitespace();
    fields.next() == Some("Z") && fields.next() == Some("1")
}

#[cfg(test)]
mod tests {
    use super::is_zombie_of_first;

    #[test]
    fn zombies_of_the_first_process_are_known() {
        assert!(is_zombie_of_first("17 (sh) Z 1 17 17 0 -1"));
        assert!(is_zombie_of_first("17 (a ) Z 9 (b) Z 1 17"));
        for other in ["17 (sh) S 1 17", "17 (sh) Z 12 17", "17 (Z 1", "", "17 (sh) Z"] {
            assert!(!is_zombie_of_first(other), "{other}");
        }
    }
}
