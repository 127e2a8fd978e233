//! All routes, and the layers in front of them: logging, limits on bodies, CORS and access control.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{DefaultBodyLimit, MatchedPath, Request, State};
use axum::http::{HeaderName, HeaderValue, Method, StatusCode, Uri, header};
use axum::middleware::{self, Next};
use axum::response::Response;
use axum::routing::{delete, get, post};
use http_body_util::LengthLimitError;
use tokio::sync::Semaphore;
use tower_http::cors::{AllowHeaders, AllowMethods, AllowOrigin, CorsLayer};

use crate::anthropic::{self, messages};
use crate::app::App;
use crate::body::MAX_BODY_BYTES;
use crate::failure::Failure;
use crate::ollama::{self, embed, generate, library};
use crate::openai::responses::handler::responses;
use crate::openai::{self, completions, embeddings, models};
use crate::openapi::route::description;
use crate::{guard, native, page};

/// A client has this long to send a body.
const BODY_TIME: Duration = Duration::from_secs(60);

/// Larger bodies are read only while all of them together stay below a limit.
const SMALL_BODY_BYTES: usize = 64 << 10;
const BODY_UNIT: usize = 1 << 20;
static LARGE_BODIES: Semaphore = Semaphore::const_new(128);

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

fn routes() -> Router<Arc<App>> {
    Router::new()
        .route("/", get(page::index))
        .route("/page/{name}", get(page::file))
        .route("/openapi.json", get(description))
        .route("/health", get(native::health))
        .route("/metrics", get(native::metrics))
        .route("/stats", get(native::stats))
        .route("/plan", get(native::plan))
        .route("/tokenize", post(native::tokenize))
        .route("/detokenize", post(native::detokenize))
        .route("/apply-template", post(native::apply_template))
        .route("/api/version", get(library::version))
        .route("/api/tags", get(library::tags))
        .route("/api/ps", get(library::ps))
        .route("/api/show", post(library::show))
        .route("/api/generate", post(generate::generate))
        .route("/api/chat", post(ollama::chat::chat))
        .route("/api/embed", post(embed::embed))
        .route("/api/embeddings", post(embed::embeddings))
        .route("/api/pull", post(library::pull))
        .route("/api/push", post(library::push))
        .route("/api/create", post(library::create))
        .route("/api/copy", post(library::copy))
        .route("/api/delete", delete(library::delete))
        .route("/api/blobs/{digest}", post(library::blob).head(library::blob_head))
        .route("/v1/models", get(models::list))
        .route("/v1/models/{*id}", get(models::one))
        .route("/v1/chat/completions", post(openai::chat::chat))
        .route("/v1/completions", post(completions::completions))
        .route("/v1/embeddings", post(embeddings::embeddings))
        .route("/v1/responses", post(responses))
        .route("/v1/messages", post(messages::messages))
        .route("/v1/messages/count_tokens", post(messages::count_tokens))
}

/// The whole service.
pub(crate) fn router(app: &Arc<App>) -> Router {
    let origins = app.options.origins.clone();
    let is_allowed =
        move |origin: &HeaderValue, _: &_| origin.to_str().is_ok_and(|o| guard::is_known_origin(&origins, o));
    let cors = CorsLayer::new()
        .allow_origin(AllowOrigin::predicate(is_allowed))
        .allow_methods(AllowMethods::list([Method::GET, Method::HEAD, Method::POST, Method::DELETE]))
        .allow_headers(AllowHeaders::mirror_request())
        .expose_headers([REQUEST_ID]);
    routes()
        .fallback(async |method: Method, uri: Uri| no_route(&method, uri.path()))
        .method_not_allowed_fallback(wrong_method)
        .layer(middleware::from_fn_with_state(Arc::clone(app), guard::guard))
        .layer(middleware::from_fn(write_failures))
        .layer(cors)
        .layer(DefaultBodyLimit::max(MAX_BODY_BYTES))
        .layer(middleware::from_fn_with_state(Arc::clone(app), log))
        .with_state(Arc::clone(app))
}

fn no_route(method: &Method, path: &str) -> Failure {
    Failure::not_found(format!("there is nothing at {method} {path}"))
}

async fn wrong_method(method: Method, uri: Uri) -> Failure {
    Failure::new(StatusCode::METHOD_NOT_ALLOWED, format!("{} does not take {method}", uri.path()))
}

/// Writes failures in the format of the API that the path belongs to.
async fn write_failures(request: Request, next: Next) -> Response {
    let path = request.uri().path().to_owned();
    let mut response = next.run(request).await;
    let Some(failure) = response.extensions_mut().remove() else { return response };
    let mut refused = written(&path, &failure);
    let allow = response.headers_mut().remove(header::ALLOW);
    refused.headers_mut().extend(allow.map(|allow| (header::ALLOW, allow)));
    refused
}

fn written(path: &str, failure: &Failure) -> Response {
    let mut response = if path.starts_with("/v1/messages") {
        anthropic::errors::error(failure)
    } else if path == "/" || path.starts_with("/api/") {
        ollama::reply::error(failure)
    } else {
        openai::reply::error(failure)
    };
    if failure.status == StatusCode::SERVICE_UNAVAILABLE {
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("5"));
    }
    response
}

/// Gives every request an id, reads its body within a time limit, and logs it.
async fn log(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    let start = std::time::Instant::now();
    let id = format!("{:016x}", rand::random::<u64>());
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    // Preflight requests are answered only for paths that exist.
    let is_nowhere = method == Method::OPTIONS && request.extensions().get::<MatchedPath>().is_none();
    let mut response = match whole_body(request).await {
        Ok(_) if is_nowhere => written(&path, &no_route(&method, &path)),
        Ok((request, body)) => {
            if app.options.logs_prompts {
                tracing::info!("{id} {}", String::from_utf8_lossy(&body));
            }
            next.run(request).await
        }
        Err(failure) => written(&path, &failure),
    };
    // The answer to a preflight request has no body.
    if method == Method::OPTIONS && response.status() == StatusCode::OK {
        *response.status_mut() = StatusCode::NO_CONTENT;
    }
    app.metrics.responded(response.status().as_u16());
    tracing::info!("{id} {method} {path} {} after {} ms", response.status().as_u16(), start.elapsed().as_millis());
    response.headers_mut().insert(REQUEST_ID, HeaderValue::from_str(&id).expect("hexadecimal digits are a header"));
    response
}

/// The request with its body in memory.
async fn whole_body(request: Request) -> Result<(Request, axum::body::Bytes), Failure> {
    let (head, body) = request.into_parts();
    let too_large = || {
        let message = format!("the request's body is larger than {} MiB", MAX_BODY_BYTES >> 20);
        Failure::new(StatusCode::PAYLOAD_TOO_LARGE, message)
    };
    let length = match head.headers.get(header::CONTENT_LENGTH) {
        Some(length) => length.to_str().ok().and_then(|length| length.parse().ok()),
        // Without either header there is no body.
        None => (!head.headers.contains_key(header::TRANSFER_ENCODING)).then_some(0),
    };
    let is_too_large = length.is_some_and(|length: u64| length > MAX_BODY_BYTES as u64);
    if is_too_large {
        return Err(too_large());
    }
    let length = length.and_then(|length| usize::try_from(length).ok());
    let n_units = length.unwrap_or(MAX_BODY_BYTES).min(MAX_BODY_BYTES).div_ceil(BODY_UNIT);
    let read = tokio::time::timeout(BODY_TIME, async {
        // Small bodies never wait for large ones.
        let _room = match length {
            Some(length) if length <= SMALL_BODY_BYTES => None,
            _ => Some(LARGE_BODIES.acquire_many(u32::try_from(n_units).unwrap_or(1)).await),
        };
        axum::body::to_bytes(body, MAX_BODY_BYTES).await
    })
    .await;
    let too_slow = |_| Failure::new(StatusCode::REQUEST_TIMEOUT, "the request's body took too long");
    let body = read.map_err(too_slow)?.map_err(|error| match is_limit(&error) {
        true => too_large(),
        false => Failure::bad(format!("the request's body cannot be read to its end: {}", root(&error))),
    })?;
    Ok((Request::from_parts(head, body.clone().into()), body))
}

/// Whether a body failed because it is too large, not because it is malformed.
fn is_limit(error: &axum::Error) -> bool {
    error.source().is_some_and(|cause| cause.is::<LengthLimitError>())
}

/// The first cause of an error.
fn root(error: &dyn Error) -> String {
    error.source().map_or_else(|| error.to_string(), root)
}
