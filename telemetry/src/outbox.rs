//! What waits to be sent, and the task that sends it in batches. Nobody who has something to send waits for it.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use opentelemetry_proto::tonic::{
    logs::v1::ResourceLogs,
    metrics::v1::ResourceMetrics,
    resource::v1::Resource,
    trace::v1::{ResourceSpans, ScopeSpans},
};
use prost::Message;
use roadstead_metrics::{CounterBy, CountersBy, Error, Metrics, catalogue::TELEMETRY_EXPORTS};
use tokio::{
    sync::mpsc,
    task::JoinHandle,
    time::{Instant, timeout, timeout_at},
};
use tokio_util::sync::CancellationToken;

use crate::{
    batch::{self, Export, Kind},
    settings::Settings,
    transport::{NotTaken, Transport, TransportError},
};

/// Things that wait to be sent, at most (`OTEL_BSP_MAX_QUEUE_SIZE`).
const QUEUE_MAX: usize = 2_048;
/// Bytes of them, at most.
const QUEUE_BYTES_MAX: usize = 16 << 20;
/// Things that are sent together (`OTEL_BSP_MAX_EXPORT_BATCH_SIZE`).
const BATCH_MAX: usize = 512;
/// Attempts to send a batch.
const ATTEMPTS_MAX: u32 = 3;
/// Pause after the first attempt that failed; it doubles.
const RETRY_PAUSE: Duration = Duration::from_secs(1);
/// Shortest time between two log lines about a collector that takes nothing.
const LOGGED_EVERY: Duration = Duration::from_secs(60);

/// Something to send. Each is the whole message of its resource, but for what many share one of.
#[derive(Debug)]
pub enum Signal {
    /// Spans of the process itself, all of the same resource.
    HostSpans {
        /// What is said of the process.
        resource: Arc<Resource>,
        /// Spans of one scope.
        spans: ScopeSpans,
    },
    /// Spans of one resource.
    Spans(ResourceSpans),
    /// Log records of one resource.
    Logs(ResourceLogs),
    /// Metrics of one resource.
    Metrics(ResourceMetrics),
}

impl Signal {
    fn kind(&self) -> Kind {
        match self {
            Self::HostSpans { .. } | Self::Spans(_) => Kind::Spans,
            Self::Logs(_) => Kind::Logs,
            Self::Metrics(_) => Kind::Metrics,
        }
    }

    fn bytes(&self) -> usize {
        match self {
            Self::HostSpans { spans, .. } => spans.encoded_len(),
            Self::Spans(spans) => spans.encoded_len(),
            Self::Logs(logs) => logs.encoded_len(),
            Self::Metrics(metrics) => metrics.encoded_len(),
        }
    }
}

/// Takes what is to be sent.
#[derive(Debug, Clone)]
pub struct Outbox {
    queue: mpsc::Sender<(Signal, usize)>,
    bytes: Arc<AtomicUsize>,
    counts: Counts,
}

/// The task that sends.
#[derive(Debug)]
pub struct Sending {
    task: JoinHandle<()>,
    closing: CancellationToken,
    timeout: Duration,
}

#[derive(Debug, Clone)]
struct Counts(Arc<Counted>);

#[derive(Debug)]
struct Counted {
    family: CountersBy<1>,
    by_signal: [(&'static str, CounterBy); 3],
}

impl Counts {
    fn new() -> Self {
        let family = CountersBy::new(&TELEMETRY_EXPORTS);
        let by_signal = ["spans", "logs", "metrics"].map(|signal| (signal, family.with([signal], &[])));
        Self(Arc::new(Counted { family, by_signal }))
    }

    fn add(&self, signal: &str, outcome: &str, count: u64) {
        let counters = self.0.by_signal.iter().find(|(of, _)| *of == signal);
        counters.into_iter().for_each(|(_, counters)| counters.inc_by(outcome, count));
    }
}

/// What an outbox has taken; nothing of it goes anywhere before [`Inbox::send`].
#[derive(Debug)]
pub struct Inbox {
    waiting: mpsc::Receiver<(Signal, usize)>,
    bytes: Arc<AtomicUsize>,
    counts: Counts,
}

impl Inbox {
    /// Begins to send as `settings` say; must be called on a runtime.
    ///
    /// # Errors
    /// When the address cannot be used. A collector that is not there is no error, then or later.
    ///
    /// # Panics
    /// Outside a runtime of tokio.
    pub fn send(self, settings: &Settings) -> Result<Sending, TransportError> {
        let closing = CancellationToken::new();
        let sender = Sender {
            transport: Transport::new(settings)?,
            waiting: self.waiting,
            bytes: self.bytes,
            counts: self.counts,
            closing: closing.clone(),
            timeout: settings.timeout,
            delay: settings.delay,
            logged: None,
        };
        Ok(Sending { task: tokio::spawn(sender.run()), closing, timeout: settings.timeout })
    }
}

impl Outbox {
    /// An empty one, and what it fills.
    pub fn new() -> (Self, Inbox) {
        let (queue, waiting) = mpsc::channel(QUEUE_MAX);
        let (bytes, counts) = (Arc::new(AtomicUsize::new(0)), Counts::new());
        let inbox = Inbox { waiting, bytes: bytes.clone(), counts: counts.clone() };
        (Self { queue, bytes, counts }, inbox)
    }

    /// Shows with a host's metrics what became of what was to be sent.
    ///
    /// # Errors
    /// When they have such a metric already.
    pub fn show(&self, metrics: &Metrics) -> Result<(), Error> {
        metrics.show(&self.counts.0.family)
    }

    /// Takes `signal` where there is room for it; else counts it.
    pub fn offer(&self, signal: Signal) {
        let (name, size) = (signal.kind().name(), signal.bytes());
        let waiting = self.bytes.fetch_add(size, Ordering::Relaxed);
        let fits = waiting.saturating_add(size) <= QUEUE_BYTES_MAX;
        let sent = fits && self.queue.try_send((signal, size)).is_ok();
        if !sent {
            self.bytes.fetch_sub(size, Ordering::Relaxed);
            self.counts.add(name, "dropped", 1);
        }
    }
}

impl Sending {
    /// Sends what waits, as far as that goes in the time of one export, and ends.
    pub async fn close(self) {
        self.closing.cancel();
        let _ = timeout(self.timeout, self.task).await;
    }
}

struct Sender {
    transport: Transport,
    waiting: mpsc::Receiver<(Signal, usize)>,
    bytes: Arc<AtomicUsize>,
    counts: Counts,
    closing: CancellationToken,
    timeout: Duration,
    delay: Duration,
    logged: Option<Instant>,
}

impl Sender {
    async fn run(mut self) {
        loop {
            let batch = self.gather().await;
            if batch.is_empty() {
                return;
            }
            let sizes: usize = batch.iter().map(|(_, size)| size).sum();
            self.send(batch.into_iter().map(|(signal, _)| signal)).await;
            self.bytes.fetch_sub(sizes, Ordering::Relaxed);
        }
    }

    /// What is sent next; nothing once all is over.
    async fn gather(&mut self) -> Vec<(Signal, usize)> {
        let mut batch = Vec::new();
        tokio::select! {
            () = self.closing.cancelled() => self.waiting.close(),
            first = self.waiting.recv() => match first {
                Some(first) => batch.push(first),
                None => return batch,
            },
        }
        let until = Instant::now() + self.delay;
        while batch.len() < BATCH_MAX {
            tokio::select! {
                () = self.closing.cancelled(), if !self.waiting.is_closed() => self.waiting.close(),
                next = timeout_at(until, self.waiting.recv()) => match next {
                    Ok(Some(next)) => batch.push(next),
                    Ok(None) | Err(_) => break,
                },
            }
        }
        batch
    }

    async fn send(&mut self, batch: impl Iterator<Item = Signal>) {
        for export in batch::exports(batch) {
            self.export(&export).await;
        }
    }

    async fn export(&mut self, export: &Export) {
        let (signal, count) = (export.kind.name(), export.count as u64);
        let mut pause = RETRY_PAUSE;
        for attempt in 1..=ATTEMPTS_MAX {
            let late = |_| NotTaken { is_passing: true, reason: format!("no answer within {:?}", self.timeout) };
            let sent = timeout(self.timeout, self.transport.send(export)).await;
            match sent.map_err(late).and_then(|sent| sent) {
                Ok(()) => return self.counts.add(signal, "sent", count),
                Err(NotTaken { is_passing: true, .. }) if attempt < ATTEMPTS_MAX && !self.closing.is_cancelled() => {
                    let _ = timeout(pause, self.closing.cancelled()).await;
                    pause *= 2;
                }
                Err(NotTaken { reason, .. }) => {
                    self.counts.add(signal, "failed", count);
                    return self.say(signal, &reason);
                }
            }
        }
    }

    /// Logs now and then that the collector takes nothing.
    fn say(&mut self, signal: &str, reason: &str) {
        if self.logged.is_none_or(|logged| logged.elapsed() >= LOGGED_EVERY) {
            self.logged = Some(Instant::now());
            tracing::warn!(signal, reason, "the collector (--otlp-endpoint) did not take what was sent");
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::{io::AsyncWriteExt, net::TcpListener};

    use super::*;
    use crate::{
        settings::Protocol,
        transport::tests::{read_request, settings},
    };

    fn signal(bytes: usize) -> Signal {
        Signal::Spans(ResourceSpans { schema_url: "x".repeat(bytes), ..ResourceSpans::default() })
    }

    fn counted(outbox: &Outbox, outcome: &str) -> u64 {
        outbox.counts.0.by_signal[0].1.get(outcome)
    }

    #[test]
    fn so_many_things_wait() {
        let (outbox, mut inbox) = Outbox::new();
        (0..QUEUE_MAX).for_each(|_| outbox.offer(signal(1)));
        assert_eq!(counted(&outbox, "dropped"), 0);
        outbox.offer(signal(1));
        assert_eq!(counted(&outbox, "dropped"), 1);
        inbox.waiting.try_recv().unwrap();
        outbox.offer(signal(1));
        assert_eq!(counted(&outbox, "dropped"), 1);
    }

    #[test]
    fn so_many_bytes_wait() {
        let (outbox, _inbox) = Outbox::new();
        // Half of it each time, but for what says how long it is.
        outbox.offer(signal(QUEUE_BYTES_MAX / 2 - 10));
        outbox.offer(signal(QUEUE_BYTES_MAX / 2 - 10));
        assert_eq!(counted(&outbox, "dropped"), 0);
        outbox.offer(signal(100));
        outbox.offer(signal(2 * QUEUE_BYTES_MAX));
        assert_eq!(counted(&outbox, "dropped"), 2);
        assert!(outbox.bytes.load(Ordering::Relaxed) <= QUEUE_BYTES_MAX);
    }

    #[tokio::test]
    async fn so_many_things_are_sent_together() {
        let (outbox, inbox) = Outbox::new();
        (0..=BATCH_MAX).for_each(|_| outbox.offer(signal(1)));
        let settings = settings("http://127.0.0.1:9", Protocol::Grpc);
        let mut sender = Sender {
            transport: Transport::new(&settings).unwrap(),
            waiting: inbox.waiting,
            bytes: inbox.bytes,
            counts: inbox.counts,
            closing: CancellationToken::new(),
            timeout: settings.timeout,
            delay: Duration::from_secs(600),
            logged: None,
        };
        assert_eq!(sender.gather().await.len(), BATCH_MAX);
        sender.closing.cancel();
        assert_eq!((sender.gather().await.len(), sender.gather().await.len()), (1, 0));
    }

    /// A collector that says `status` to each export.
    async fn sent_to(status: &'static str, attempts: u32) -> (Outbox, Duration) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (outbox, inbox) = Outbox::new();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let sending = inbox.send(&settings(&endpoint, Protocol::HttpProtobuf)).unwrap();
        outbox.offer(signal(1));
        let began = Instant::now();
        for _ in 0..attempts {
            let (mut stream, _) = listener.accept().await.unwrap();
            read_request(&mut stream).await;
            let answer = format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
            stream.write_all(answer.as_bytes()).await.unwrap();
        }
        let took = began.elapsed();
        sending.close().await;
        // Nobody has come again.
        assert!(timeout(Duration::from_millis(1), listener.accept()).await.is_err());
        (outbox, took)
    }

    #[tokio::test]
    async fn a_batch_is_tried_so_often() {
        let (outbox, took) = sent_to("503 Service Unavailable", ATTEMPTS_MAX).await;
        assert_eq!((counted(&outbox, "failed"), counted(&outbox, "sent")), (1, 0));
        // The second pause is the double of the first.
        assert!(took >= RETRY_PAUSE * 3, "{took:?}");
        assert_eq!(outbox.bytes.load(Ordering::Relaxed), 0);
    }

    #[tokio::test]
    async fn what_another_attempt_does_not_mend_is_given_up() {
        let (outbox, _) = sent_to("400 Bad Request", 1).await;
        assert_eq!((counted(&outbox, "failed"), counted(&outbox, "sent")), (1, 0));
        let (outbox, _) = sent_to("200 OK", 1).await;
        assert_eq!((counted(&outbox, "failed"), counted(&outbox, "sent")), (0, 1));
    }
}
