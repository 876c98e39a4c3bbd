//! What is kept of a request for its metrics and its line in the access log. Both are written when the record is
//! dropped, so that a request that is cut off anywhere is counted too.

use std::{borrow::Cow, net::IpAddr, sync::Arc, time::Duration};

use http::{HeaderValue, Method, StatusCode, Uri, Version, header};
use roadstead_config::HostName;
use roadstead_metrics::Held;
use roadstead_runtime::{CallSpan, OpenTimeline, RequestEnd, RequestHead, SpanId, TraceId, call_span};
use tokio::time::Instant;
use tracing::field::Empty;

use super::request::Received;
use crate::{
    facts::{ConnectionFacts, TlsFacts},
    lifecycle::RequestGuard,
    metrics::{Metrics, TriggerMetrics},
    respond::{Answer, Refusal},
    route::Route,
};

/// Bytes of a path that the log shows.
const PATH_BYTES_SHOWN: usize = 256;
/// Bytes of a method that the log shows.
const METHOD_BYTES_SHOWN: usize = 32;
/// Bytes of a user agent that the log shows.
const USER_AGENT_BYTES_SHOWN: usize = 128;
/// The status of a request whose client left before there was one.
const CLIENT_GONE: u16 = 499;

/// A step of a request; it ends when this is dropped.
#[must_use]
pub(super) struct Step(Option<CallSpan>);

impl Step {
    /// The request ends here.
    pub(super) fn refused(self, refusal: Refusal) -> Refusal {
        if let Some(span) = &self.0 {
            span.fail(Answer::from(&refusal).kind, String::new);
        }
        refusal
    }
}

/// A request as it will be remembered.
pub(crate) struct Record {
    metrics: Arc<Metrics>,
    started: Instant,
    connection: Option<Arc<ConnectionFacts>>,
    route: Option<Arc<Route>>,
    client: Option<IpAddr>,
    method: Option<Method>,
    version: Option<Version>,
    host: Option<HostName>,
    uri: Option<Uri>,
    user_agent: Option<HeaderValue>,
    id: Option<HeaderValue>,
    trace: Option<(TraceId, SpanId)>,
    span: Option<CallSpan>,
    /// Where the request is one of those that are remembered with their spans.
    timeline: Option<OpenTimeline>,
    status: Option<u16>,
    reason: Option<&'static str>,
    /// Time in the queue before the trigger.
    waited: Option<Duration>,
    request_bytes: usize,
    response_bytes: usize,
    finished: bool,
    /// Last, so that a drained host has counted all its requests.
    _under_way: Option<RequestGuard>,
}

impl Record {
    /// A request whose head has just been read, over a connection of which `facts` are known.
    pub(super) fn new(metrics: Arc<Metrics>, facts: Option<Arc<ConnectionFacts>>, under_way: RequestGuard) -> Self {
        let peer = facts.as_ref().map(|facts| facts.peer.address);
        let mut record = Self::begin(metrics, peer, Some(under_way));
        record.connection = facts;
        record
    }

    /// Remembers at once what was refused before it was a request.
    pub(crate) fn of_refused_head(metrics: &Arc<Metrics>, client: Option<IpAddr>, answer: &Answer) {
        let mut record = Self::begin(metrics.clone(), client, None);
        record.status(answer.status);
        record.reason = Some(answer.kind);
        record.finished = true;
    }

    fn begin(metrics: Arc<Metrics>, client: Option<IpAddr>, under_way: Option<RequestGuard>) -> Self {
        Self {
            metrics,
            started: Instant::now(),
            connection: None,
            route: None,
            client,
            method: None,
            version: None,
            host: None,
            uri: None,
            user_agent: None,
            id: None,
            trace: None,
            span: None,
            timeline: None,
            status: None,
            reason: None,
            waited: None,
            request_bytes: 0,
            response_bytes: 0,
            finished: false,
            _under_way: under_way,
        }
    }

    /// When the head had been read.
    pub(super) fn started(&self) -> Instant {
        self.started
    }

    pub(super) fn request_line(&mut self, method: Method, version: Version) {
        self.method = Some(method);
        self.version = Some(version);
    }

    pub(super) fn target(&mut self, received: &Received) {
        self.client = received.origin.client;
        self.user_agent = received.headers.get(header::USER_AGENT).cloned();
        self.id = Some(received.id.clone());
        self.host = Some(received.host.clone());
        self.uri = Some(received.uri.clone());
        self.trace = Some((received.trace.trace_id(), received.trace.span_id()));
        if received.trace.is_sampled() {
            self.span = Some(self.begin_span(received));
        }
    }

    /// The request's span, with the attributes that OpenTelemetry's conventions give a server's.
    fn begin_span(&self, received: &Received) -> CallSpan {
        CallSpan::at(received.trace.clone(), received.trace_parent.as_ref(), || {
            let method = known_method(&received.method);
            call_span!(
                method,
                "server",
                http.request.method = method,
                url.scheme = received.origin.scheme.as_str(),
                url.path = shown(received.uri.path(), PATH_BYTES_SHOWN),
                server.address = received.host.as_str(),
                client.address = received.origin.client.map(tracing::field::display),
                network.protocol.version = self.version.map(protocol_version),
                user_agent.original = self.user_agent.as_ref().map(user_agent).as_deref(),
                http.response.status_code = Empty,
                http.route = Empty,
                roadstead.namespace = Empty,
                roadstead.trigger = Empty,
                roadstead.request_id = received.id.to_str().unwrap_or_default(),
            )
        })
    }

    fn end_span(&self, status: u16) {
        let Some(span) = &self.span else { return };
        let (namespace, trigger) = self.labels();
        if !trigger.is_empty() {
            span.rename(|| format!("{} {trigger}", self.method.as_ref().map_or("HTTP", known_method)));
            span.record("roadstead.namespace", namespace);
            span.record("roadstead.trigger", trigger);
            let pattern = self.route.as_ref().zip(self.uri.as_ref()).and_then(|(route, uri)| route.pattern(uri.path()));
            if let Some(pattern) = pattern {
                span.record("http.route", pattern.as_str());
            }
        }
        span.record("http.response.status_code", status);
        match self.reason {
            Some(reason) => span.fail(reason, String::new),
            None if status >= 500 => span.fail(&status.to_string(), String::new),
            None => {}
        }
    }

    /// A step on the way to the workload, as a span below the request's where that has one.
    pub(super) fn step(&self, name: &'static str) -> Step {
        Step(self.span.as_ref().map(|span| CallSpan::below(span.context(), || call_span!(name, "internal"))))
    }

    pub(super) fn route(&mut self, route: Arc<Route>, received: &mut Received) {
        route.metrics.in_flight.inc();
        if let Some((timeline, trace)) = route
            .timelines
            .as_ref()
            .and_then(|timelines| timelines.begin(&received.trace, self.started, || self.remembered(&route)))
        {
            received.trace = trace;
            self.timeline = Some(timeline);
            if self.span.is_none() {
                self.span = Some(self.begin_span(received));
            }
        }
        self.route = Some(route);
    }

    /// What is remembered of the request from the start: nothing that its client wrote.
    fn remembered(&self, route: &Route) -> RequestHead {
        let path = self.uri.as_ref().and_then(|uri| route.pattern(uri.path()));
        let path = path.map_or_else(String::new, ToString::to_string);
        RequestHead { method: self.method.as_ref().map_or("", known_method), path }
    }

    /// Remembers how the request ended, where it is remembered at all.
    fn end_timeline(&mut self, status: u16, duration: Duration) {
        let end = || RequestEnd { status, reason: self.reason, duration, waited: self.waited };
        if let Some(timeline) = self.timeline.take() {
            return timeline.end(end());
        }
        if let Some((route, (trace, _))) = self.route.as_ref().zip(self.trace)
            && let Some(timelines) = &route.timelines
        {
            timelines.note(trace, self.started, end(), || self.remembered(route));
        }
    }

    pub(super) fn status(&mut self, status: StatusCode) {
        self.status = Some(status.as_u16());
    }

    /// The request waits for its turn, until the guard is dropped.
    pub(super) fn waits(&mut self) -> Waiting<'_> {
        let counted = self.trigger().waiting.hold(1);
        Waiting { record: self, _counted: counted, since: Instant::now() }
    }

    /// The request ends with an answer of the ingress.
    pub(super) fn refuse(&mut self, answer: &Answer, refusal: &Refusal) {
        self.status(answer.status);
        self.reason = Some(answer.kind);
        if let Refusal::Call(error) = refusal {
            let (namespace, trigger) = self.labels();
            tracing::debug!(namespace, trigger, %error, "a call failed");
        }
    }

    /// The request breaks off.
    pub(super) fn broken(&mut self, reason: &'static str) {
        self.reason = Some(reason);
    }

    /// The request has been dealt with to its end.
    pub(super) fn bytes(&mut self, request_bytes: usize, response_bytes: usize) {
        self.request_bytes = request_bytes;
        self.response_bytes = response_bytes;
        self.finished = true;
    }

    fn labels(&self) -> (&str, &str) {
        self.route.as_ref().map_or(("", ""), |route| (route.owner.namespace.as_str(), route.owner.name.as_str()))
    }

    fn tls(&self) -> Option<&TlsFacts> {
        self.connection.as_ref()?.tls.as_ref()
    }

    fn trigger(&self) -> &TriggerMetrics {
        self.route.as_ref().map_or(&self.metrics.unrouted, |route| &route.metrics)
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        if !self.finished {
            // The connection was cut, or a panic went through.
            self.reason.get_or_insert("other");
        }
        let status = self.status.unwrap_or(CLIENT_GONE);
        let duration = self.started.elapsed();
        self.end_span(status);
        drop(self.span.take());
        self.end_timeline(status, duration);
        let trigger = self.trigger();
        trigger.count(status);
        trigger.duration.observe(duration.as_secs_f64());
        trigger.request_bytes.inc_by(self.request_bytes as u64);
        trigger.response_bytes.inc_by(self.response_bytes as u64);
        if let Some(reason) = self.reason {
            trigger.count_error(reason);
        }
        if self.route.is_some() {
            trigger.in_flight.dec();
        }
        let (namespace, trigger) = self.labels();
        let tls = self.tls();
        tracing::info!(
            target: "roadstead::access",
            client = self.client.map(tracing::field::display),
            namespace,
            trigger,
            protocol = self.version.map(protocol),
            method = shown(self.method.as_ref().map_or("", Method::as_str), METHOD_BYTES_SHOWN),
            host = self.host.as_ref().map_or("", HostName::as_str),
            path = shown(self.uri.as_ref().map_or("", Uri::path), PATH_BYTES_SHOWN),
            status,
            request_bytes = self.request_bytes,
            response_bytes = self.response_bytes,
            duration_ms = milliseconds(duration),
            waited_ms = self.waited.map(milliseconds),
            user_agent = self.user_agent.as_ref().map(user_agent).as_deref(),
            request_id = self.id.as_ref().and_then(|id| id.to_str().ok()),
            trace_id = self.trace.map(|(trace, _)| tracing::field::display(trace)),
            span_id = self.trace.map(|(_, span)| tracing::field::display(span)),
            tls = tls.map(|tls| tls.version),
            server_name = tls.and_then(|tls| tls.server_name.as_ref()).map(HostName::as_str),
            client_certificate = tls.and_then(|tls| tls.client.as_ref()).map(tracing::field::display),
            reason = self.reason,
            response_flags = self.reason.map_or("-", response_flags),
        );
    }
}

/// A request in the queue before its trigger.
pub(super) struct Waiting<'a> {
    record: &'a mut Record,
    _counted: Held,
    since: Instant,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.record.waited = Some(self.since.elapsed());
    }
}

/// A duration in milliseconds, to the microsecond.
fn milliseconds(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1e6).round() / 1e3
}

/// A version of HTTP as Envoy writes it.
fn protocol(version: Version) -> &'static str {
    match version {
        Version::HTTP_10 => "HTTP/1.0",
        Version::HTTP_11 => "HTTP/1.1",
        Version::HTTP_2 => "HTTP/2",
        _ => "-",
    }
}

/// A version of HTTP as OpenTelemetry writes it.
fn protocol_version(version: Version) -> &'static str {
    match version {
        Version::HTTP_10 => "1.0",
        Version::HTTP_11 => "1.1",
        Version::HTTP_2 => "2",
        _ => "",
    }
}

/// A method by which spans may be told apart; `_OTHER` for one that no standard knows.
fn known_method(method: &Method) -> &'static str {
    match method.as_str() {
        "GET" => "GET",
        "HEAD" => "HEAD",
        "POST" => "POST",
        "PUT" => "PUT",
        "PATCH" => "PATCH",
        "DELETE" => "DELETE",
        "OPTIONS" => "OPTIONS",
        "TRACE" => "TRACE",
        _ => "_OTHER",
    }
}

/// The flag by which Envoy's access log names such an end, for those who have tools for it; `-` where it has none.
fn response_flags(reason: &'static str) -> &'static str {
    match reason {
        "no-route" => "NR",
        "no-replica" | "not-running" => "UH",
        "deadline" => "UT",
        "client-gone" => "DC",
        "bad-request" | "target-too-long" | "headers-too-large" => "DPE",
        "head-timeout" | "body-timeout" => "SI",
        "trigger-rate" | "trigger-concurrency" | "trigger-queue-timeout" => "RL",
        "tenant-rate" | "tenant-concurrency" | "tenant-queue-timeout" => "RL",
        "workload-busy" | "tenant-busy" | "host-busy" | "admission-timeout" => "UO",
        "trap" | "stack-overflow" | "memory-limit" | "cpu-limit" | "exit" | "no-response" | "guest-error" => "UC",
        "instantiation" | "host-panic" => "UF",
        _ => "-",
    }
}

/// The beginning of what a client calls itself, with whatever is not plain text escaped.
fn user_agent(value: &HeaderValue) -> Cow<'_, str> {
    match value.to_str() {
        Ok(text) => shown(text, USER_AGENT_BYTES_SHOWN).into(),
        Err(_) => {
            let bytes = value.as_bytes().get(..USER_AGENT_BYTES_SHOWN).unwrap_or(value.as_bytes());
            bytes.escape_ascii().to_string().into()
        }
    }
}

/// The beginning of a text.
fn shown(text: &str, bytes_max: usize) -> &str {
    text.get(..text.floor_char_boundary(bytes_max)).unwrap_or(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_many_bytes_are_shown_of_whole_characters() {
        assert_eq!((shown("abc", 3), shown("abcd", 3), shown("ab\u{e9}", 3)), ("abc", "abc", "ab"));
    }

    #[test]
    fn a_duration_has_three_decimals() {
        assert_eq!(milliseconds(Duration::from_nanos(16_562_281)).to_string(), "16.562");
        assert_eq!(milliseconds(Duration::from_nanos(5_002_100_411)).to_string(), "5002.1");
        assert_eq!(milliseconds(Duration::from_nanos(499)).to_string(), "0");
    }
}
