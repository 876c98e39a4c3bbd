//! Paths that call `wasi:keyvalue`. Must not know objects.

use guest_http::{Query, Response, read_body};
use wasip2::http::types::IncomingRequest;

use crate::{
    Outcome, found, lines, list, said, timing,
    wasi::keyvalue::{
        atomics, batch,
        store::{self, Bucket, Error},
    },
};

const BODY_BYTES_MAX: usize = 8 * 1024 * 1024;

pub(crate) fn reason(error: Error) -> String {
    match error {
        Error::NoSuchStore => "no such store".to_owned(),
        Error::AccessDenied => "access denied".to_owned(),
        Error::Other(reason) => reason,
    }
}

pub(crate) fn call(query: &Query, request: &IncomingRequest) -> Outcome {
    let named = query.text("bucket").unwrap_or_default();
    if query.path() == "/keys/open-many" {
        return open_many(query.number("count", 1));
    }
    let bucket = store::open(named).map_err(reason)?;
    let key = query.text("key").unwrap_or_default();
    let body = || read_body(request, BODY_BYTES_MAX).map_err(|error| error.to_string());
    match query.path() {
        "/keys/open" => said("open"),
        "/keys/get" => found(bucket.get(key).map_err(reason)?),
        "/keys/set" => said(bucket.set(key, &body()?).map(|()| "set").map_err(reason)?),
        "/keys/delete" => said(bucket.delete(key).map(|()| "deleted").map_err(reason)?),
        "/keys/exists" => said(bucket.exists(key).map_err(reason)?),
        "/keys/list-keys" => list_keys(&bucket, query),
        "/keys/timed" => timing::calls(&bucket, query),
        "/keys/increment" => {
            let (delta, times) = (query.number("delta", 1), query.number("times", 1));
            let mut sum = 0;
            for _ in 0..times {
                sum = atomics::increment(&bucket, key, delta).map_err(reason)?;
            }
            said(sum)
        }
        "/keys/get-many" => {
            let values = batch::get_many(&bucket, &list(query, "keys")).map_err(reason)?;
            lines(values.into_iter().map(|value| match value {
                Some((key, value)) => format!("{key}={}", String::from_utf8_lossy(&value)),
                None => "none".to_owned(),
            }))
        }
        "/keys/set-many" => {
            let body = body()?;
            let pairs: Vec<_> = list(query, "keys").into_iter().map(|key| (key, body.clone())).collect();
            said(batch::set_many(&bucket, &pairs).map(|()| "set").map_err(reason)?)
        }
        "/keys/delete-many" => {
            said(batch::delete_many(&bucket, &list(query, "keys")).map(|()| "deleted").map_err(reason)?)
        }
        _ => Ok(Response::text(404, "the probe has no such path\n")),
    }
}

/// One page from `cursor` on, or with `all` every page; the header `next` has the cursor that follows.
fn list_keys(bucket: &Bucket, query: &Query) -> Outcome {
    let mut cursor = query.text("cursor").and_then(|cursor| cursor.parse().ok());
    let (mut keys, mut pages) = (Vec::new(), 0);
    loop {
        let page = bucket.list_keys(cursor).map_err(reason)?;
        keys.extend(page.keys);
        pages += 1;
        cursor = page.cursor;
        if cursor.is_none() || query.text("all").is_none() {
            break;
        }
    }
    let next = cursor.map(|cursor| cursor.to_string()).unwrap_or_default();
    Ok(Response::text(200, keys.join("\n")).header("next", &next).header("pages", &pages.to_string()))
}

/// Opens buckets of other names until one is refused.
fn open_many(count: u64) -> Outcome {
    for number in 0..count {
        store::open(&format!("number-{number}")).map_err(|error| format!("{number}: {}", reason(error)))?;
    }
    said(count)
}
