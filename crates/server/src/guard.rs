//! Access control: the API key, and for a server on the loopback interface, protection from web pages.
//!
//! A page of any site can send requests to this machine, and by DNS rebinding it could read the answers. So a server on the
//! loopback interface accepts only local hosts, and only origins of this machine, of desktop applications and those that were
//! allowed.

use std::net::IpAddr;

use axum::extract::{Request, State};
use axum::http::uri::Authority;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, header};
use axum::middleware::Next;
use axum::response::Response;
use std::sync::Arc;
use subtle::ConstantTimeEq;

use crate::app::App;
use crate::failure::Failure;

/// Readable without a key, as the page's files are: monitors and clients can see that there is a server, and the page can ask
/// for the key.
const OPEN: [&str; 2] = ["/", "/health"];

/// Origins that applications have.
const APP_SCHEMES: [&str; 5] = ["app://", "file://", "tauri://", "vscode-webview://", "vscode-file://"];

/// Refuses requests that are not allowed.
pub(crate) async fn guard(State(app): State<Arc<App>>, request: Request, next: Next) -> Result<Response, Failure> {
    check(&app, &request)?;
    Ok(next.run(request).await)
}

fn check(app: &App, request: &Request) -> Result<(), Failure> {
    let (path, headers) = (request.uri().path(), request.headers());
    let forbidden = |message: String| Err(Failure::new(StatusCode::FORBIDDEN, message));
    let host = host_of(request.uri(), headers)?;
    if app.options.is_local() && !is_local_host(host) && !without_port(host).eq_ignore_ascii_case(&app.options.host) {
        return forbidden(format!("host {host:?} is not this machine: use localhost, or start the server with --host"));
    }
    if let Some(origin) = headers.get(header::ORIGIN)
        && !is_allowed_origin(app, origin, host)
    {
        return forbidden("this origin may not use the server: start it with --allow-origin".to_owned());
    }
    let is_open = request.method() == Method::OPTIONS || OPEN.contains(&path) || path.starts_with("/page/");
    match &app.options.api_key {
        Some(key) if !is_open && !has_key(headers, key) => Err(Failure::new(
            StatusCode::UNAUTHORIZED,
            "the API key is missing or wrong: send it as `Authorization: Bearer KEY`",
        )),
        _ => Ok(()),
    }
}

/// The host that a request is meant for; an empty one for those of old that name none.
///
/// Errors: it names more than one. What stands between a client and this server may take another one of them for true.
fn host_of<'a>(uri: &'a Uri, headers: &'a HeaderMap) -> Result<&'a str, Failure> {
    let mut named = headers.get_all(header::HOST).iter().map(|host| host.to_str().map_err(|_| "is no text"));
    let host = match (named.next().transpose(), named.next()) {
        (Ok(host), None) => Ok(host.unwrap_or("")),
        (Ok(_), Some(_)) => Err("is there more than once"),
        (Err(problem), _) => Err(problem),
    };
    let host = match (host, uri.authority().map(Authority::as_str)) {
        (Ok(host), Some(other)) if !host.is_empty() && host != other => Err("is not that of the address"),
        (Ok(""), Some(other)) => Ok(other),
        (host, _) => host,
    };
    host.map_err(|problem| {
        Failure::bad(format!("the header Host {problem}: send one, with the server's name and port"))
    })
}

/// Compares in a time that does not depend on where the keys differ.
fn has_key(headers: &HeaderMap, key: &str) -> bool {
    let bearer = headers.get(header::AUTHORIZATION).and_then(|value| value.as_bytes().split_at_checked(7));
    // The scheme's name is the same in any case (RFC 9110, section 11.1).
    let bearer = bearer.filter(|(scheme, _)| scheme.eq_ignore_ascii_case(b"Bearer ")).map(|(_, key)| key);
    let shown = bearer.or_else(|| headers.get("x-api-key").map(HeaderValue::as_bytes));
    shown.is_some_and(|shown| shown.ct_eq(key.as_bytes()).into())
}

/// A host without its port.
fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) && !name.ends_with(':') => name,
        _ => host,
    }
}

/// Names that resolve to this machine whatever a page's owner does, and addresses that no page can be served from.
fn is_local_host(host: &str) -> bool {
    let name = without_port(host).trim_matches(['[', ']']).to_lowercase();
    if let Ok(address) = name.parse::<IpAddr>() {
        return match address {
            IpAddr::V4(v4) => v4.is_loopback() || v4.is_private() || v4.is_unspecified(),
            IpAddr::V6(v6) => v6.is_loopback() || v6.is_unspecified(),
        };
    }
    let is_own = name.is_empty() || name == "localhost";
    is_own || [".localhost", ".local", ".internal"].iter().any(|end| name.ends_with(end))
}

fn is_allowed_origin(app: &App, origin: &HeaderValue, host: &str) -> bool {
    let Ok(origin) = origin.to_str() else { return false };
    is_known_origin(&app.options.origins, origin) || origin.split_once("://").is_some_and(|(_, of)| of == host)
}

/// Whether pages of an origin may read answers.
pub(crate) fn is_known_origin(allowed: &[String], origin: &str) -> bool {
    let is_app = APP_SCHEMES.iter().any(|scheme| origin.starts_with(scheme));
    let site = origin.strip_prefix("http://").or_else(|| origin.strip_prefix("https://")).map(without_port);
    let is_own = site.is_some_and(|site| matches!(site, "localhost" | "127.0.0.1" | "0.0.0.0" | "[::1]"));
    let is_like = |one: &String| {
        let scheme = one.strip_suffix('*').filter(|scheme| scheme.is_empty() || scheme.ends_with("://"));
        one == origin || scheme.is_some_and(|scheme| origin.starts_with(scheme))
    };
    is_app || is_own || allowed.iter().any(is_like)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_hosts_of_this_machine_are_local() {
        for host in [
            "localhost",
            "localhost:11434",
            "127.0.0.1:1",
            "[::1]:80",
            "LOCALHOST",
            "a.localhost",
            "host.docker.internal:11434",
            "192.168.1.5",
        ] {
            assert!(is_local_host(host), "{host}");
        }
        for host in [
            "example.com",
            "example.com:11434",
            "127.0.0.1.example.com",
            "localhost.example.com",
            "8.8.8.8",
            "[2001:db8::1]",
        ] {
            assert!(!is_local_host(host), "{host}");
        }
    }

    #[test]
    fn a_request_is_meant_for_one_host() {
        let of = |uri: &'static str, hosts: &[&'static str]| {
            let headers = hosts.iter().map(|host| (header::HOST, HeaderValue::from_static(host))).collect();
            let uri = Uri::from_static(uri);
            host_of(&uri, &headers).map(str::to_owned).map_err(|failure| failure.status.as_u16())
        };
        assert_eq!(of("/", &["localhost:1"]), Ok("localhost:1".to_owned()));
        assert_eq!(of("/", &[]), Ok(String::new()));
        assert_eq!(of("http://evil.example.com/", &[]), Ok("evil.example.com".to_owned()));
        assert_eq!(of("http://localhost:1/", &["localhost:1"]), Ok("localhost:1".to_owned()));
        assert_eq!(of("http://evil.example.com/", &["localhost"]), Err(400));
        assert_eq!(of("/", &["localhost", "evil.example.com"]), Err(400));
        assert_eq!(of("/", &["localhost", "localhost"]), Err(400));
    }

    #[test]
    fn only_known_origins_are_allowed() {
        let allowed = ["https://chat.example.com", "moz-extension://*"].map(str::to_owned);
        for origin in [
            "http://localhost:3000",
            "https://127.0.0.1",
            "app://obsidian.md",
            "https://chat.example.com",
            "http://[::1]:80",
            "moz-extension://1f-2e",
        ] {
            assert!(is_known_origin(&allowed, origin), "{origin}");
        }
        for origin in ["https://example.com", "null", "http://localhost.example.com", "https://chat.example.com.evil"] {
            assert!(!is_known_origin(&allowed, origin), "{origin}");
        }
        assert!(is_known_origin(&["*".to_owned()], "https://example.com"));
    }

    #[test]
    fn the_key_is_a_bearer_or_a_header_of_its_own() {
        let headers = |name: &'static str, value: &'static str| {
            HeaderMap::from_iter([(header::HeaderName::from_static(name), HeaderValue::from_static(value))])
        };
        assert!(has_key(&headers("authorization", "Bearer secret"), "secret"));
        assert!(has_key(&headers("authorization", "bearer secret"), "secret"));
        assert!(has_key(&headers("x-api-key", "secret"), "secret"));
        for wrong in ["Bearer secre", "Bearer secret1", "secret", "Basic secret", "Bearer "] {
            assert!(!has_key(&headers("authorization", wrong), "secret"), "{wrong}");
        }
        assert!(!has_key(&HeaderMap::new(), "secret"));
    }
}
