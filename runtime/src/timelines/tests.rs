//! What is kept of requests, and what is not.

use super::{store::*, *};

fn id(name: &str) -> WorkloadId {
    WorkloadId { namespace: "team".parse().unwrap(), name: name.parse().unwrap() }
}

fn head() -> RequestHead {
    RequestHead { method: "GET", path: "/".to_owned() }
}

fn end(status: u16, millis: u64) -> RequestEnd {
    RequestEnd { status, reason: None, duration: Duration::from_millis(millis), waited: None }
}

fn span(trace: &TraceContext, name: &str) -> EndedSpan {
    let (trace_id, span_id) = trace.child().ids();
    let begun = SystemTime::now();
    EndedSpan {
        trace_id,
        span_id,
        parent_id: trace.ids().1,
        name: name.to_owned(),
        begun,
        ended: begun + Duration::from_millis(2),
        namespace: None,
        workload: None,
        component: None,
        error: None,
        left_out: 0,
    }
}

fn timelines(change: impl FnOnce(&mut Limits)) -> Arc<Timelines> {
    let mut limits = Limits { timelines_per_second_max: 1_000_000, ..Limits::default() };
    change(&mut limits);
    Arc::new(Timelines::new(&limits))
}

fn all() -> RequestFilter {
    RequestFilter { count_max: usize::MAX, ..RequestFilter::default() }
}

fn triggers(timelines: &Timelines, filter: &RequestFilter) -> Vec<String> {
    timelines.list(filter).into_iter().map(|summary| summary.trigger).collect()
}

#[test]
fn a_request_has_its_spans_those_that_end_after_it_as_well() {
    let timelines = timelines(|limits| limits.request_spans_kept_max = 2);
    let trigger = Arc::new(TriggerTimelines::new(timelines.clone(), id("app")));
    let trace = TraceContext::generate();
    let (open, trace) = trigger.begin(&trace, Instant::now(), head).unwrap();
    assert!(trace.is_recorded() && !trace.is_sampled());
    assert!(timelines.follows(trace.ids().0));
    timelines.ended(span(&trace, "call a"));
    // Another of the same trace would have the same spans.
    assert!(trigger.begin(&trace, Instant::now(), head).is_none());
    let [running] = timelines.list(&all()).try_into().unwrap();
    assert_eq!((running.status, running.spans), (None, 1));
    open.end(end(200, 1));
    assert!(!timelines.follows(trace.ids().0));
    timelines.ended(span(&trace, "process b"));
    timelines.ended(EndedSpan { left_out: 5, ..span(&trace, "one too many") });
    timelines.ended(span(&TraceContext::generate(), "of another"));
    let timeline = timelines.request(running.id).unwrap();
    let names: Vec<&str> = timeline.timeline.iter().map(|span| span.name.as_str()).collect();
    assert_eq!((names, timeline.spans_left_out), (vec!["call a", "process b"], 6));
    assert_eq!((timeline.summary.status, timeline.summary.duration_us), (Some(200), 1_000));
    assert_eq!(timeline.timeline[0].duration_us, 2_000);
    assert!(timelines.request(running.id + 1).is_none());
}

#[test]
fn a_request_that_nobody_ends_is_forgotten() {
    let timelines = timelines(|_| {});
    let trigger = Arc::new(TriggerTimelines::new(timelines.clone(), id("app")));
    let (open, trace) = trigger.begin(&TraceContext::generate(), Instant::now(), head).unwrap();
    drop(open);
    timelines.ended(span(&trace, "late"));
    assert!(timelines.list(&all()).is_empty());
    assert!(timelines.store().is_empty());
}

#[test]
fn so_many_requests_are_kept_and_a_busy_trigger_pushes_no_quiet_one_out() {
    let timelines = timelines(|limits| limits.requests_kept_max = 4);
    let (busy, quiet) = (id("busy"), id("quiet"));
    let [busy, quiet] = [busy, quiet].map(|id| Arc::new(TriggerTimelines::new(timelines.clone(), id)));
    let request = |trigger: &Arc<TriggerTimelines>, end| {
        trigger.begin(&TraceContext::generate(), Instant::now(), head).unwrap().0.end(end);
    };
    request(&quiet, end(200, 1));
    (0..10).for_each(|_| request(&busy, end(200, 2)));
    assert_eq!(triggers(&timelines, &all()), ["busy", "busy", "busy", "quiet"]);
    // What was slow or failed has room of its own.
    request(&quiet, end(200, 5_000));
    (0..10).for_each(|_| request(&busy, end(503, 1)));
    let kept = triggers(&timelines, &all());
    assert_eq!(kept.iter().filter(|name| *name == "quiet").count(), 2, "{kept:?}");
    // Four notable ones, and of the ordinary ones one less: its place was another's until that was known to be notable.
    assert_eq!(kept.len(), 7);
    assert_eq!(triggers(&timelines, &RequestFilter { failures: true, ..all() }), ["busy"; 3]);
    let slowest = RequestFilter { slowest_first: true, count_max: 1, ..all() };
    assert_eq!(triggers(&timelines, &slowest), ["quiet"]);
    assert_eq!(triggers(&timelines, &RequestFilter { trigger: Some("quiet".into()), ..all() }), ["quiet"; 2]);
    assert_eq!(triggers(&timelines, &RequestFilter { namespace: Some("other".into()), ..all() }), [""; 0]);
}

#[test]
fn a_request_without_a_timeline_is_noted_where_it_was_slow_or_failed() {
    let timelines = timelines(|limits| limits.slow_request_ms = 100);
    let trigger = TriggerTimelines::new(timelines.clone(), id("app"));
    let note = |end| trigger.note(TraceContext::generate().trace_id(), Instant::now(), end, head);
    note(end(200, 99));
    assert!(timelines.list(&all()).is_empty());
    note(end(200, 100));
    note(end(500, 1));
    note(RequestEnd { reason: Some("client-gone"), ..end(200, 1) });
    let kept: Vec<(bool, bool)> =
        timelines.list(&all()).iter().map(|summary| (summary.is_slow, summary.is_failure)).collect();
    assert_eq!(kept, [(false, true), (false, true), (true, false)]);
}

/// `timelines_per_second_max`, of which one trigger has a fourth.
#[test]
fn so_many_are_begun_in_a_second_and_one_trigger_has_a_part_of_them() {
    let timelines = timelines(|limits| limits.timelines_per_second_max = 8);
    let at = Instant::now();
    let begun = |second: u64| -> Vec<usize> {
        let triggers = (0..8).map(|n| Arc::new(TriggerTimelines::new(timelines.clone(), id(&format!("t{n}")))));
        let at = at + Duration::from_secs(second);
        let of = |trigger: Arc<TriggerTimelines>| {
            (0..10).filter(|_| trigger.begin(&TraceContext::generate(), at, head).is_some()).count()
        };
        triggers.map(of).collect()
    };
    assert_eq!(8 / TRIGGER_PART, 2);
    assert_eq!(begun(1), [2, 2, 2, 2, 0, 0, 0, 0]);
    assert_eq!(begun(2), [2, 2, 2, 2, 0, 0, 0, 0]);
}

/// `store::SPAN_TEXT_BYTES_MAX`.
#[test]
fn the_texts_of_a_span_are_cut() {
    let timelines = timelines(|_| {});
    let trigger = Arc::new(TriggerTimelines::new(timelines.clone(), id("app")));
    let (open, trace) = trigger.begin(&TraceContext::generate(), Instant::now(), head).unwrap();
    let long = "é".repeat(SPAN_TEXT_BYTES_MAX);
    timelines.ended(EndedSpan { error: Some(long.clone()), ..span(&trace, &long) });
    open.end(end(200, 1));
    let id = timelines.list(&all())[0].id;
    let kept = timelines.request(id).unwrap().timeline;
    assert_eq!(kept[0].name.len(), SPAN_TEXT_BYTES_MAX);
    assert_eq!(kept[0].error.as_ref().map(String::len), Some(SPAN_TEXT_BYTES_MAX));
}
