//! Paths that call `wasi:blobstore`. Must not know keys.

use guest_http::{BodyError, Query, Response, chunks};
use wasip2::http::types::{Fields, IncomingRequest, OutgoingBody, OutgoingResponse, ResponseOutparam};
use wasip2::io::streams::{OutputStream, StreamError};

use crate::{
    Outcome, lines, list, said,
    wasi::blobstore::{
        blobstore,
        container::Container,
        types::{IncomingValue, ObjectId, OutgoingValue},
    },
};

/// Most bytes moved in one step.
const STEP_BYTES: u64 = 64 * 1024;

pub(crate) fn call(query: &Query, request: &IncomingRequest) -> Outcome {
    let named = query.text("container").unwrap_or_default();
    match query.path() {
        "/blobs/create-container" => said(blobstore::create_container(named)?.name()?),
        "/blobs/get-container" => said(blobstore::get_container(named)?.name()?),
        "/blobs/delete-container" => said(blobstore::delete_container(named).map(|()| "deleted")?),
        "/blobs/container-exists" => said(blobstore::container_exists(named)?),
        "/blobs/copy-object" => {
            let (from, to) = ends(query);
            said(blobstore::copy_object(&from, &to).map(|()| "copied")?)
        }
        "/blobs/move-object" => {
            let (from, to) = ends(query);
            said(blobstore::move_object(&from, &to).map(|()| "moved")?)
        }
        _ => in_container(&blobstore::get_container(named)?, query, request),
    }
}

fn ends(query: &Query) -> (ObjectId, ObjectId) {
    let end = |container: &str, object: &str| ObjectId {
        container: query.text(container).unwrap_or_default().to_owned(),
        object: query.text(object).unwrap_or_default().to_owned(),
    };
    (end("container", "object"), end("to-container", "to-object"))
}

fn in_container(container: &Container, query: &Query, request: &IncomingRequest) -> Outcome {
    let object = query.text("object").unwrap_or_default();
    match query.path() {
        "/blobs/info" => {
            let info = container.info()?;
            said(format!("{} {}", info.name, info.created_at))
        }
        "/blobs/write" => write(container, query, request),
        "/blobs/read-sync" => {
            let value = part(container, query)?;
            let size = value.size();
            let bytes = IncomingValue::incoming_value_consume_sync(value)?;
            Ok(Response::new(200, "application/octet-stream", bytes).header("size", &size.to_string()))
        }
        "/blobs/list-objects" => list_objects(container, query),
        "/blobs/delete-object" => said(container.delete_object(object).map(|()| "deleted")?),
        "/blobs/delete-objects" => said(container.delete_objects(&list(query, "objects")).map(|()| "deleted")?),
        "/blobs/has-object" => said(container.has_object(object)?),
        "/blobs/object-info" => {
            let info = container.object_info(object)?;
            said(format!("{} {} {}", info.container, info.name, info.size))
        }
        "/blobs/clear" => said(container.clear().map(|()| "clear")?),
        _ => Ok(Response::text(404, "the probe has no such path\n")),
    }
}

fn part(container: &Container, query: &Query) -> Result<IncomingValue, String> {
    let object = query.text("object").unwrap_or_default();
    container.get_data(object, query.number("start", 0), query.number("end", u64::MAX))
}

/// With `skip` leaves out so many names, then reads `len` at a time; `names` of them, or all.
fn list_objects(container: &Container, query: &Query) -> Outcome {
    let names = container.list_objects()?;
    let skip = query.number("skip", 0);
    if skip > 0 {
        names.skip_stream_object_names(skip)?;
    }
    let mut all = Vec::new();
    loop {
        let (some, end) = names.read_stream_object_names(query.number("len", 10))?;
        all.extend(some);
        if end {
            return lines(all.into_iter());
        }
    }
}

/// Writes the request's body, or `mb` mebibytes; with `order=body-first` says only then where it goes, with `order=
/// unfinished` does not finish it.
fn write(container: &Container, query: &Query, request: &IncomingRequest) -> Outcome {
    let object = query.text("object").unwrap_or_default();
    let order = query.text("order").unwrap_or_default();
    let value = OutgoingValue::new_outgoing_value();
    let body = value.outgoing_value_write_body().map_err(|()| "no stream".to_owned())?;
    if order != "body-first" {
        container.write_data(object, &value)?;
    }
    match query.number("mb", 0) {
        0 => chunks(request, |chunk| write_all(&body, &chunk)).map_err(|Refused(reason)| reason)?,
        mebibytes => {
            let step = vec![b'm'; 64 * 1024];
            for _ in 0..mebibytes * 16 {
                write_all(&body, &step).map_err(|Refused(reason)| reason)?;
            }
        }
    }
    drop(body);
    match order {
        "unfinished" => return said("dropped"),
        "body-first" => container.write_data(object, &value)?,
        _ => {}
    }
    OutgoingValue::finish(value)?;
    said("written")
}

struct Refused(String);

impl From<BodyError> for Refused {
    fn from(error: BodyError) -> Self {
        Self(error.to_string())
    }
}

fn write_all(stream: &OutputStream, bytes: &[u8]) -> Result<(), Refused> {
    let mut rest = bytes;
    while !rest.is_empty() {
        let room = stream.check_write().map_err(|error| Refused(words(error)))?;
        if room == 0 {
            stream.subscribe().block();
            continue;
        }
        let (now, later) = rest.split_at(rest.len().min(usize::try_from(room).unwrap_or(usize::MAX)));
        stream.write(now).map_err(|error| Refused(words(error)))?;
        rest = later;
    }
    stream.flush().map_err(|error| Refused(words(error)))
}

fn words(error: StreamError) -> String {
    match error {
        StreamError::Closed => "closed".to_owned(),
        StreamError::LastOperationFailed(error) => error.to_debug_string(),
    }
}

/// Answers with an object, or a part of it, as it comes.
pub(crate) fn read(query: &Query, outparam: ResponseOutparam) {
    let opened = blobstore::get_container(query.text("container").unwrap_or_default())
        .and_then(|container| part(&container, query))
        .and_then(IncomingValue::incoming_value_consume_async);
    let input = match opened {
        Ok(input) => input,
        Err(reason) => {
            Response::text(409, reason).send(outparam).ok();
            return;
        }
    };
    let response = OutgoingResponse::new(Fields::new());
    let Ok(body) = response.body() else { return };
    ResponseOutparam::set(outparam, Ok(response));
    let Ok(output) = body.write() else { return };
    let mut whole = true;
    loop {
        match input.blocking_read(STEP_BYTES) {
            Ok(bytes) => whole = write_all(&output, &bytes).is_ok(),
            Err(StreamError::Closed) => break,
            Err(StreamError::LastOperationFailed(_)) => whole = false,
        }
        if !whole {
            break;
        }
    }
    drop(output);
    // A body that is not finished is broken off for the client as well.
    if whole {
        OutgoingBody::finish(body, None).ok();
    }
}
