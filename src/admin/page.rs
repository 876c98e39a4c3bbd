//! The status page and what it plots: the bundle as it is compiled in, the host's figures just now, and the requests that
//! are remembered. The bundle tells nothing; what it asks for is asked as by everybody else.

use http::{HeaderValue, StatusCode, header};
use roadstead_runtime::{RequestFilter, RequestSummary};
use serde::Serialize;

use super::{
    access::Needs,
    routes::{Answer, Asked, At, Route, bytes, json, text},
};

/// Requests that are listed where nobody says how many, and at most.
const LISTED: usize = 50;
const LISTED_MAX: usize = 500;

/// What the page may do: load its own parts and ask this host.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; \
                      base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

macro_rules! part {
    ($path:literal, $file:literal, $content_type:literal) => {
        Route::get(At::Path($path), Needs::Nothing, |_| part($content_type, include_str!(concat!("page/", $file))))
    };
}

/// The page and its data.
pub(super) static ROUTES: &[Route] = &[
    part!("/", "index.html", "text/html; charset=utf-8"),
    part!("/page/page.css", "page.css", "text/css; charset=utf-8"),
    part!("/page/main.js", "main.js", "text/javascript; charset=utf-8"),
    part!("/page/host.js", "host.js", "text/javascript; charset=utf-8"),
    part!("/page/history.js", "history.js", "text/javascript; charset=utf-8"),
    part!("/page/plot.js", "plot.js", "text/javascript; charset=utf-8"),
    part!("/page/tables.js", "tables.js", "text/javascript; charset=utf-8"),
    part!("/page/timeline.js", "timeline.js", "text/javascript; charset=utf-8"),
    part!("/page/dom.js", "dom.js", "text/javascript; charset=utf-8"),
    Route::get(At::Path("/v1/live"), Needs::Reading, live),
    Route::get(At::Path("/v1/requests"), Needs::Reading, requests),
    Route::get(At::Below("/v1/requests/"), Needs::Reading, request),
];

fn part(content_type: &str, text: &'static str) -> Answer {
    let mut answer = bytes(StatusCode::OK, content_type, text);
    answer.headers_mut().insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
    answer
}

/// The host's figures just now.
fn live(asked: &Asked<'_>) -> Answer {
    match serde_json::to_vec(&asked.state.host.live()) {
        Ok(body) => bytes(StatusCode::OK, "application/json", body),
        Err(error) => text(StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")),
    }
}

/// The requests that are remembered.
#[derive(Serialize)]
struct Requests {
    /// Whether the host remembers any.
    keeps: bool,
    requests: Vec<RequestSummary>,
}

/// `?order=slowest`, `?failed=true`, `?namespace=N&trigger=T`, `?count=N`.
fn requests(asked: &Asked<'_>) -> Answer {
    let filter = RequestFilter {
        namespace: asked.parameter("namespace"),
        trigger: asked.parameter("trigger"),
        slowest_first: asked.parameter::<String>("order").as_deref() == Some("slowest"),
        failures: asked.parameter("failed").unwrap_or(false),
        count_max: listed(asked.parameter("count")),
    };
    let timelines = asked.state.host.timelines();
    let requests = timelines.map(|timelines| timelines.list(&filter)).unwrap_or_default();
    json(StatusCode::OK, &Requests { keeps: timelines.is_some(), requests })
}

/// How many are listed.
fn listed(asked: Option<usize>) -> usize {
    asked.unwrap_or(LISTED).min(LISTED_MAX)
}

/// One of them, with its spans.
fn request(asked: &Asked<'_>) -> Answer {
    let id = asked.rest.parse().ok();
    match id.and_then(|id| asked.state.host.timelines()?.request(id)) {
        Some(timeline) => json(StatusCode::OK, &timeline),
        None => text(StatusCode::NOT_FOUND, "no such request is kept; /v1/requests lists those that are\n"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bytes of the whole bundle: it is looked at over slow lines as well.
    const BUNDLE_BYTES: usize = 64 << 10;

    /// Every part of the bundle by its path.
    fn parts() -> Vec<(&'static str, &'static str)> {
        macro_rules! files {
            ($($file:literal)*) => { vec![$((concat!("page/", $file), include_str!(concat!("page/", $file)))),*] };
        }
        files!("index.html" "page.css" "main.js" "host.js" "history.js" "plot.js" "tables.js" "timeline.js" "dom.js")
    }

    #[test]
    fn the_bundle_is_small_and_asks_nobody_else() {
        assert!(parts().iter().map(|(_, text)| text.len()).sum::<usize>() <= BUNDLE_BYTES);
        for (file, text) in parts() {
            for foreign in
                ["https://", "//cdn", "@import", "innerHTML", "insertAdjacentHTML", "eval(", "style=", "onclick"]
            {
                assert!(!text.contains(foreign), "{file} has {foreign:?}");
            }
            assert!(!text.contains("http://") || file.ends_with("dom.js"), "{file} names an address");
        }
    }

    #[test]
    fn so_many_are_listed() {
        assert_eq!([None, Some(0), Some(7), Some(usize::MAX)].map(listed), [LISTED, 0, 7, LISTED_MAX]);
    }

    #[test]
    fn every_part_that_the_bundle_names_is_served() {
        let served: Vec<String> = ROUTES.iter().map(|route| format!("{:?}", route.at)).collect();
        for (_, text) in parts() {
            let named = text.split(['"', '\'']).filter(|word| word.ends_with(".js") || word.ends_with(".css"));
            for name in named {
                let name = name.trim_start_matches("./").trim_start_matches("page/");
                assert!(served.iter().any(|at| at.contains(&format!("/page/{name}"))), "{name}");
            }
        }
    }
}
