//! Many calls of `wasi:keyvalue` in one request, each timed by the guest's own clock: what a request costs does not hide what
//! a call costs. Must not know which backend it is.

use guest_http::Query;
use wasip2::clocks::monotonic_clock;

use crate::{Outcome, said, wasi::keyvalue::store::Bucket};

const KEY: &str = "timed";
/// Of the calls, how many are made before as many as asked for are timed: one in so many.
const WARM_UP_PART: u64 = 10;
const NANOSECONDS_PER_MICROSECOND: f64 = 1_000.0;

/// Calls `op` (`get` or `set`) `count` times with a value of `size` bytes, which is written before the first `get`; answers
/// `mean_us` and `p50_us` of a call, a line each.
pub(crate) fn calls(bucket: &Bucket, query: &Query) -> Outcome {
    let size = query.number("size", 64);
    let value = noise(size);
    let count = query.number("count", 1_000).max(1);
    let call = match query.text("op") {
        Some("get") => {
            bucket.set(KEY, &value).map_err(super::keys::reason)?;
            get
        }
        Some("set") => set,
        _ => return Err("op is get or set".to_owned()),
    };
    for _ in 0..count / WARM_UP_PART {
        call(bucket, &value)?;
    }
    let mut times = Vec::with_capacity(usize::try_from(count).unwrap_or(0));
    let begun = monotonic_clock::now();
    let mut before = begun;
    for _ in 0..count {
        call(bucket, &value)?;
        let now = monotonic_clock::now();
        times.push(now.saturating_sub(before));
        before = now;
    }
    let mean = before.saturating_sub(begun) as f64 / count as f64 / NANOSECONDS_PER_MICROSECOND;
    times.sort_unstable();
    let median = times.get(times.len() / 2).map_or(f64::NAN, |time| *time as f64 / NANOSECONDS_PER_MICROSECOND);
    said(format!("mean_us {mean:.3}\np50_us {median:.3}\n"))
}

fn get(bucket: &Bucket, value: &[u8]) -> Result<(), String> {
    match bucket.get(KEY).map_err(super::keys::reason)? {
        Some(found) if found.len() == value.len() => Ok(()),
        _ => Err("another value than was written".to_owned()),
    }
}

fn set(bucket: &Bucket, value: &[u8]) -> Result<(), String> {
    bucket.set(KEY, value).map_err(super::keys::reason)
}

/// Bytes that no store makes smaller, the same each time.
fn noise(size: u64) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let byte = |_| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[3]
    };
    (0..size).map(byte).collect()
}
