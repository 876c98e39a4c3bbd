//! What is answered to what. Knows neither HTTP bindings nor messages, so that its tests run natively.

use serde::Deserialize;
use serde_json::json;

/// What a request leads to.
#[derive(Debug, PartialEq, Eq)]
pub enum Route {
    /// An answer that needs nobody else.
    Answer(Answer),
    /// The worker is asked, with the request's body.
    Ask,
}

/// A whole answer.
#[derive(Debug, PartialEq, Eq)]
pub struct Answer {
    pub status: u16,
    pub content_type: &'static str,
    pub body: Vec<u8>,
}

/// Why a request's body could not be read.
#[derive(Debug, PartialEq, Eq)]
pub enum BodyError {
    TooLong { limit_bytes: usize },
    Broken,
}

/// What the worker replies when the request is wrong. A result has no such member.
#[derive(Deserialize)]
struct Refusal {
    error: String,
}

/// Decides by method and path; `target` may have a query.
pub fn route(method: &str, target: &str) -> Route {
    let path = target.split('?').next().unwrap_or_default();
    match (method, path) {
        ("GET", "/") => Route::Answer(text(200, "POST some text to /api/count\n")),
        ("POST", "/api/count") => Route::Ask,
        (_, "/" | "/api/count") => Route::Answer(problem(405, "the method is not allowed here")),
        _ => Route::Answer(problem(404, "there is no such path")),
    }
}

/// The worker has replied: its refusals are the client's mistakes.
pub fn replied(reply: Vec<u8>) -> Answer {
    match serde_json::from_slice::<Refusal>(&reply) {
        Ok(refusal) => problem(400, &refusal.error),
        Err(_) => Answer {
            status: 200,
            content_type: "application/json",
            body: reply,
        },
    }
}

/// Nobody has replied; `reason` is the host's or the worker's.
pub fn unanswered(reason: &str) -> Answer {
    problem(502, reason)
}

pub fn unreadable(error: &BodyError) -> Answer {
    match error {
        BodyError::TooLong { limit_bytes } => {
            problem(413, &format!("the body is longer than {limit_bytes} bytes"))
        }
        BodyError::Broken => problem(400, "the body ended early"),
    }
}

fn text(status: u16, text: &str) -> Answer {
    Answer {
        status,
        content_type: "text/plain; charset=utf-8",
        body: text.into(),
    }
}

fn problem(status: u16, reason: &str) -> Answer {
    let body = json!({ "error": reason }).to_string().into_bytes();
    Answer {
        status,
        content_type: "application/json",
        body,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(route: Route) -> Option<u16> {
        match route {
            Route::Answer(answer) => Some(answer.status),
            Route::Ask => None,
        }
    }

    #[test]
    fn the_worker_is_asked_where_it_has_to_do() {
        assert_eq!(route("POST", "/api/count"), Route::Ask);
        assert_eq!(route("POST", "/api/count?pretty"), Route::Ask);
        assert_eq!(status(route("GET", "/")), Some(200));
        assert_eq!(status(route("GET", "/api/count")), Some(405));
        assert_eq!(status(route("GET", "/else")), Some(404));
    }

    #[test]
    fn a_reply_is_passed_on_and_a_refusal_is_the_clients_mistake() {
        assert_eq!(replied(b"{\"words\":2}".to_vec()).status, 200);
        assert_eq!(replied(b"{\"error\":\"no\"}".to_vec()).status, 400);
        assert_eq!(unanswered("nobody subscribed").status, 502);
        assert_eq!(
            unreadable(&BodyError::TooLong { limit_bytes: 1 }).status,
            413
        );
    }
}
