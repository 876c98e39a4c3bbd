//! Paths on which the component does what a good component does not: loop, trap, leave, hoard, break its word.
//! Must not know messages or logs.
#![allow(clippy::panic, reason = "panicking is the point")]

use std::hint::black_box;

use guest_http::{Query, Response, start};
use wasip2::http::types::ResponseOutparam;

use super::streaming::sleep_milliseconds;

const MEBIBYTE: usize = 1024 * 1024;
const PAGE_BYTES: usize = 64 * 1024;

/// Uses the processor for ever.
pub(crate) fn spin() -> ! {
    let mut turns = 0_u64;
    loop {
        turns = black_box(turns.wrapping_add(1));
    }
}

/// Panics, which is a trap.
pub(crate) fn trap() -> ! {
    panic!("asked to trap")
}

/// Leaves the instance with a failure status before any answer.
pub(crate) fn exit() -> ! {
    std::process::exit(3)
}

/// Recurses without end, or `depth` calls deep when that is given.
pub(crate) fn recurse(query: &Query) -> Response {
    let deepest = descend(query.number("depth", u64::MAX));
    Response::text(200, format!("came back from {deepest}\n"))
}

#[inline(never)]
fn descend(left: u64) -> u64 {
    // The frame is used after the call, so that the call cannot become a loop.
    let frame = black_box([left; 16]);
    if left == 0 { 0 } else { descend(left - 1) + u64::from(!black_box(frame).is_empty()) }
}

/// Sends a head without a length and one piece of body, then traps.
pub(crate) fn fail_midbody(outparam: ResponseOutparam) {
    let headers = [("content-type".to_owned(), b"text/plain".to_vec())];
    if let Ok(mut writer) = start(outparam, 200, &headers) {
        writer.write(b"the first part\n").and_then(|()| writer.flush()).ok();
    }
    trap()
}

/// Promises 100 bytes, sends 10, and ends the body.
pub(crate) fn short_body(outparam: ResponseOutparam) {
    let headers = [("content-length".to_owned(), b"100".to_vec())];
    if let Ok(mut writer) = start(outparam, 200, &headers) {
        writer.write(b"0123456789").ok();
        writer.finish().ok();
    }
}

/// Sends a whole answer and goes on after it: asleep for `ms` milliseconds when that is given, else busy for ever.
pub(crate) fn go_on(query: &Query, outparam: ResponseOutparam) {
    Response::text(200, "that was all\n").send(outparam).ok();
    match query.text("ms") {
        Some(_) => sleep_milliseconds(query.number("ms", 0)),
        None => spin(),
    }
}

/// Takes and touches `mb` mebibytes, then says so.
pub(crate) fn alloc(query: &Query) -> Response {
    let mebibytes = query.number("mb", 1);
    let length = usize::try_from(mebibytes).unwrap_or(usize::MAX).saturating_mul(MEBIBYTE);
    let mut memory = vec![0_u8; length];
    for page in memory.chunks_mut(PAGE_BYTES) {
        if let Some(first) = page.first_mut() {
            *first = 1;
        }
    }
    Response::text(200, format!("allocated {mebibytes} MiB, {} pages\n", black_box(memory).len() / PAGE_BYTES))
}
