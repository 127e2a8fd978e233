//! What comes before any API: bodies that break off, hosts that contradict one another, and what browsers ask beforehand.

use serde_json::Value;
use testkit::CHATML;

use crate::support::{Response, serve};

/// Where each API's errors have their words.
const ROUTES: [(&str, &str); 3] =
    [("/api/chat", "/error"), ("/v1/chat/completions", "/error/message"), ("/v1/messages", "/error/message")];

#[track_caller]
fn words(response: &Response, pointer: &str) -> String {
    response.json().pointer(pointer).and_then(Value::as_str).unwrap_or_else(|| panic!("{response:?}")).to_owned()
}

#[test]
fn a_body_that_breaks_off_is_not_called_too_large() {
    let server = serve(CHATML);
    for (path, pointer) in ROUTES {
        let head = format!("POST {path} HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n");
        let broken = server.send(&head, b"5\r\n{\"a\":\r\nxyz\r\n");
        assert_eq!(broken.status, 400, "{broken:?}");
        assert!(words(&broken, pointer).starts_with("the request's body cannot be read to its end: "), "{broken:?}");
        let large = server.send(&head, &[b"800001\r\n".as_slice(), &vec![b' '; 0x80_0001], b"\r\n0\r\n\r\n"].concat());
        assert_eq!(large.status, 413, "{large:?}");
        assert!(words(&large, pointer).contains("larger than 8 MiB"), "{large:?}");
    }
}

#[test]
fn a_request_names_one_host() {
    let server = serve(CHATML);
    let get = |head: &str| server.send(&format!("GET {head}\r\n"), b"");
    let twice = get("/api/tags HTTP/1.1\r\nHost: localhost\r\nHost: evil.example.com");
    assert_eq!(twice.status, 400);
    assert!(words(&twice, "/error").contains("more than once"), "{twice:?}");
    assert_eq!(get("http://evil.example.com/api/tags HTTP/1.1\r\nHost: localhost").status, 400);
    assert_eq!(get("/api/tags HTTP/1.1\r\nHost: evil.example.com").status, 403);
    for known in ["localhost", "localhost:11434", "tiny.example.com:80"] {
        assert_eq!(get(&format!("/api/tags HTTP/1.1\r\nHost: {known}")).status, 200, "{known}");
    }
}

#[test]
fn browsers_may_ask_beforehand_where_there_is_something() {
    let server = serve(CHATML);
    let ask =
        |path: &str, more: &str| server.send(&format!("OPTIONS {path} HTTP/1.1\r\nHost: localhost\r\n{more}"), b"");
    let preflight = "Origin: http://localhost:3000\r\nAccess-Control-Request-Method: POST\r\n";
    for path in ["/api/chat", "/v1/models/a/b", "/page/style.css"] {
        let allowed = ask(path, preflight);
        assert_eq!((allowed.status, allowed.header("access-control-allow-origin")), (204, "http://localhost:3000"));
    }
    for path in ["/nothing", "/api/nothing", "/v1/messages/nothing"] {
        for more in ["", preflight] {
            assert_eq!(ask(path, more).status, 404, "{path}");
        }
    }
}
