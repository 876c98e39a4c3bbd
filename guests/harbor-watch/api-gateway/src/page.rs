//! `GET /`: the page, put together from its parts when the component is built. Must not know the interface behind it.

use guest_http::Response;

const PAGE: &str = concat!(
    include_str!("../page/head.html"),
    "<style>\n",
    include_str!("../page/page.css"),
    "</style>\n</head>\n",
    include_str!("../page/body.html"),
    "<script>\n",
    include_str!("../page/map.js"),
    include_str!("../page/page.js"),
    "</script>\n</body>\n</html>\n",
);

/// Nothing from anywhere else: no script, style, font, image or frame.
const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; \
    connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

pub(crate) fn page() -> Response {
    Response::new(200, "text/html; charset=utf-8", PAGE)
        .header("content-security-policy", CONTENT_SECURITY_POLICY)
        .header("x-content-type-options", "nosniff")
        .header("referrer-policy", "no-referrer")
}
