//! The web page at `/`, for clients that accept HTML; others get Ollama's plain greeting.

use axum::extract::Path;
use axum::extract::rejection::PathRejection;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};

/// The page may load its own files, talk to this server, and nothing else.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; \
                      form-action 'none'; base-uri 'none'; frame-ancestors 'none'";

const HTML: &str = "text/html; charset=utf-8";

const JS: &str = "text/javascript; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const SVG: &str = "image/svg+xml";

const INDEX: &str = include_str!("../assets/page/index.html");

/// The page's other files, with their types.
const FILES: [(&str, &str, &str); 16] = [
    ("answers.js", JS, include_str!("../assets/page/answers.js")),
    ("api.js", JS, include_str!("../assets/page/api.js")),
    ("app.js", JS, include_str!("../assets/page/app.js")),
    ("connection.js", JS, include_str!("../assets/page/connection.js")),
    ("dialogs.js", JS, include_str!("../assets/page/dialogs.js")),
    ("dom.js", JS, include_str!("../assets/page/dom.js")),
    ("export.js", JS, include_str!("../assets/page/export.js")),
    ("format.js", JS, include_str!("../assets/page/format.js")),
    ("icon.svg", SVG, include_str!("../assets/page/icon.svg")),
    ("inline.js", JS, include_str!("../assets/page/inline.js")),
    ("live.js", JS, include_str!("../assets/page/live.js")),
    ("markdown.js", JS, include_str!("../assets/page/markdown.js")),
    ("messages.js", JS, include_str!("../assets/page/messages.js")),
    ("store.js", JS, include_str!("../assets/page/store.js")),
    ("style.css", CSS, include_str!("../assets/page/style.css")),
    ("theme.js", JS, include_str!("../assets/page/theme.js")),
];

pub(crate) async fn index(headers: HeaderMap) -> Response {
    let wants_html =
        headers.get(header::ACCEPT).and_then(|accept| accept.to_str().ok()).is_some_and(|a| a.contains("text/html"));
    if wants_html { served(HTML, INDEX) } else { "Ollama is running".into_response() }
}

pub(crate) async fn file(name: Result<Path<String>, PathRejection>) -> Response {
    match FILES.iter().find(|(file, _, _)| name.as_ref().is_ok_and(|name| name.0 == *file)) {
        Some((_, kind, text)) => served(kind, text),
        None => StatusCode::NOT_FOUND.into_response(),
    }
}

fn served(kind: &'static str, text: &'static str) -> Response {
    let headers = [
        (header::CONTENT_TYPE, kind),
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        // A newer program has a newer page.
        (header::CACHE_CONTROL, "no-cache"),
    ];
    (headers, text).into_response()
}
