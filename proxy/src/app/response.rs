//! A response's head: from what a workload gave to what a client is sent, framed so that its end can be told from a
//! break. It touches no body.

use http::{HeaderMap, Method, StatusCode, header, response::Parts};
use pingora_core::Result;
use pingora_http::ResponseHeader;
use roadstead_runtime::{CallError, FaultKind};

use super::request::is_hop_by_hop;
use crate::respond::is_reserved;

/// What the request asked for, as far as it shapes the response.
#[derive(Debug, Clone, Copy)]
pub(super) struct Asked {
    pub(super) head_only: bool,
    pub(super) http_10: bool,
    pub(super) h2: bool,
}

impl Asked {
    pub(super) fn new(method: &Method, version: http::Version) -> Self {
        let (http_10, h2) = (version == http::Version::HTTP_10, version == http::Version::HTTP_2);
        Self { head_only: method == Method::HEAD, http_10, h2 }
    }
}

/// A head ready to be sent.
#[derive(Debug)]
pub(super) struct Prepared {
    pub(super) head: Box<ResponseHeader>,
    /// The body is not sent, whatever the workload has.
    pub(super) bodiless: bool,
    /// What the client has been promised, in bytes.
    pub(super) length: Option<u64>,
    /// Only the connection's close tells the end.
    pub(super) until_close: bool,
}

/// Makes the head of a workload's response fit to be sent. `known` is the length of the body where it is known.
pub(super) fn prepare(parts: &Parts, known: Option<u64>, asked: Asked) -> std::result::Result<Prepared, CallError> {
    let fault = |detail: &str| CallError::fault(FaultKind::GuestError, detail);
    if parts.status.is_informational() {
        return Err(fault("the response's status is an informational one"));
    }
    let bodiless = asked.head_only || matches!(parts.status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
    let declared = declared_length(&parts.headers).map_err(|()| fault("the response's content-length is invalid"))?;
    if !bodiless && declared.zip(known).is_some_and(|(declared, known)| declared != known) {
        return Err(fault("the response's content-length is not the length of its body"));
    }
    let length = match parts.status {
        StatusCode::NO_CONTENT => None,
        StatusCode::NOT_MODIFIED => declared,
        // An empty body to HEAD says nothing about what GET would get.
        _ if asked.head_only => declared.or(known.filter(|known| *known > 0)),
        _ => declared.or(known),
    };
    let until_close = asked.http_10 && !bodiless && length.is_none();
    let head = build(parts, length, !bodiless && !asked.h2 && !until_close)
        .map_err(|_| fault("the response's head cannot be written"))?;
    Ok(Prepared { head: Box::new(head), bodiless, length, until_close })
}

fn build(parts: &Parts, length: Option<u64>, chunk: bool) -> Result<ResponseHeader> {
    let mut head = ResponseHeader::build_no_case(parts.status, Some(parts.headers.len() + 3))?;
    let connection = parts.headers.get_all(header::CONNECTION);
    for (name, value) in &parts.headers {
        let own = name == header::CONTENT_LENGTH || is_reserved(name) || is_hop_by_hop(name, &connection);
        if !own {
            head.append_header(name, value)?;
        }
    }
    match length {
        Some(length) => head.insert_header(header::CONTENT_LENGTH, length)?,
        None if chunk => head.insert_header(header::TRANSFER_ENCODING, "chunked")?,
        None => {}
    }
    Ok(head)
}

/// The one `content-length` of a response, if it has one.
fn declared_length(headers: &HeaderMap) -> std::result::Result<Option<u64>, ()> {
    let mut values = headers.get_all(header::CONTENT_LENGTH).iter();
    match (values.next(), values.next()) {
        (None, _) => Ok(None),
        (Some(_), Some(_)) => Err(()),
        (Some(value), None) => {
            let digits = value.to_str().ok().filter(|text| text.bytes().all(|b| b.is_ascii_digit()));
            digits.and_then(|text| text.parse().ok()).map(Some).ok_or(())
        }
    }
}

/// Whether a client can tell the end of a response from a break, by its head.
pub(super) fn has_end(head: &ResponseHeader) -> bool {
    head.headers.contains_key(header::CONTENT_LENGTH) || head.headers.contains_key(header::TRANSFER_ENCODING)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_response_has_one_length_or_none() {
        let of = |values: &[&str]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(header::CONTENT_LENGTH, value.parse().unwrap());
            }
            declared_length(&headers)
        };
        assert_eq!((of(&[]), of(&["0"]), of(&["17"])), (Ok(None), Ok(Some(0)), Ok(Some(17))));
        for refused in [&["5", "5"][..], &["5", "6"], &["5, 5"], &["+5"], &["-1"], &["0x5"], &["18446744073709551616"]]
        {
            assert_eq!(of(refused), Err(()), "{refused:?}");
        }
    }
}
