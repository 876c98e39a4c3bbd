//! The last lines that a workload's components wrote, for who looks at them later or follows them. Who writes never
//! waits: who follows too slowly misses lines, and is told how many.

use std::{
    collections::VecDeque,
    sync::{Mutex, PoisonError},
    time::SystemTime,
};

use serde::Serialize;
use tokio::sync::Notify;

use super::as_rfc3339;
use crate::TraceId;

/// Lines that are kept of a workload.
const LINES_MAX: usize = 500;
/// Bytes of those lines.
const LINES_BYTES_MAX: usize = 64 << 10;

/// A line that a component wrote. Control characters are escaped.
#[derive(Debug, Clone, Serialize)]
pub struct LogLine {
    /// Counts the workload's lines.
    pub number: u64,
    #[serde(serialize_with = "as_rfc3339")]
    pub time: SystemTime,
    pub level: &'static str,
    pub component: String,
    /// What the component calls the place; its output streams are `stdout` and `stderr`.
    pub context: String,
    pub message: String,
    #[serde(rename = "traceId", skip_serializing_if = "Option::is_none")]
    pub trace_id: Option<String>,
}

/// Lines in a row.
#[derive(Debug, Clone, Serialize)]
pub struct LogPage {
    pub lines: Vec<LogLine>,
    /// Lines that came before these, were asked for, and are not kept any more.
    pub dropped: u64,
    /// The number after which to ask next.
    pub next: u64,
}

/// The last lines.
#[derive(Debug, Default)]
pub struct Lines {
    kept: Mutex<Kept>,
    more: Notify,
}

#[derive(Debug, Default)]
struct Kept {
    lines: VecDeque<LogLine>,
    bytes: usize,
    written: u64,
}

impl Kept {
    fn push(&mut self, line: LogLine) {
        self.bytes += size(&line);
        self.lines.push_back(line);
        while self.lines.len() > LINES_MAX || self.bytes > LINES_BYTES_MAX {
            let Some(oldest) = self.lines.pop_front() else { return };
            self.bytes = self.bytes.saturating_sub(size(&oldest));
        }
    }
}

/// What a line takes, about.
fn size(line: &LogLine) -> usize {
    std::mem::size_of::<LogLine>() + line.component.len() + line.context.len() + line.message.len()
}

impl Lines {
    /// Keeps a line whose texts are clean already.
    pub(crate) fn write(
        &self,
        level: &'static str,
        component: &str,
        (context, message): (String, String),
        trace: Option<TraceId>,
    ) {
        let time = SystemTime::now();
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.written += 1;
        let (number, component) = (kept.written, component.to_owned());
        let trace_id = trace.map(|trace| trace.to_string());
        kept.push(LogLine { number, time, level, component, context, message, trace_id });
        drop(kept);
        self.more.notify_waiters();
    }

    /// The last `count` lines.
    pub fn last(&self, count: usize) -> LogPage {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let skipped = kept.lines.len().saturating_sub(count);
        LogPage { lines: kept.lines.iter().skip(skipped).cloned().collect(), dropped: 0, next: kept.written }
    }

    /// The lines after number `seen`.
    pub fn after(&self, seen: u64) -> LogPage {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        // A number of another life of the workload is one that was never written.
        let seen = seen.min(kept.written);
        let lines: Vec<LogLine> = kept.lines.iter().filter(|line| line.number > seen).cloned().collect();
        let dropped = (kept.written - seen).saturating_sub(lines.len() as u64);
        LogPage { lines, dropped, next: kept.written }
    }

    /// The same, once there are some.
    pub async fn next_after(&self, seen: u64) -> LogPage {
        loop {
            let more = self.more.notified();
            let page = self.after(seen);
            if !page.lines.is_empty() || page.dropped > 0 {
                return page;
            }
            more.await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(lines: &Lines, text: &str) {
        lines.write("INFO", "component", (String::new(), text.to_owned()), None);
    }

    #[tokio::test]
    async fn so_many_lines_are_kept_and_who_comes_too_late_is_told_what_was_missed() {
        let lines = Lines::default();
        for n in 0..LINES_MAX + 3 {
            write(&lines, &n.to_string());
        }
        let page = lines.last(2);
        assert_eq!(page.lines.iter().map(|line| line.number).collect::<Vec<_>>(), [502, 503]);
        let page = lines.next_after(1).await;
        let first = page.lines.first().unwrap();
        assert_eq!((page.lines.len(), page.dropped, first.number, page.next), (LINES_MAX, 2, 4, 503));
        assert!(lines.after(503).lines.is_empty() && lines.after(u64::MAX).dropped == 0);
    }

    #[test]
    fn so_many_bytes_are_kept() {
        let lines = Lines::default();
        for _ in 0..20 {
            write(&lines, &"x".repeat(8_192));
        }
        let kept: usize = lines.last(usize::MAX).lines.iter().map(size).sum();
        assert!(kept <= LINES_BYTES_MAX && kept > LINES_BYTES_MAX / 2, "{kept}");
        // One that is larger than all is not kept.
        write(&lines, &"x".repeat(LINES_BYTES_MAX));
        assert!(lines.last(usize::MAX).lines.is_empty());
    }

    #[tokio::test]
    async fn who_follows_is_woken() {
        let lines = std::sync::Arc::new(Lines::default());
        let following = tokio::spawn({
            let lines = lines.clone();
            async move { lines.next_after(0).await }
        });
        tokio::task::yield_now().await;
        write(&lines, "first");
        assert_eq!(following.await.unwrap().lines[0].message, "first");
    }
}
