//! The sockets: accepting connections, their limits, and the end.

use std::error::Error;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use axum::Router;
use axum::extract::{DefaultBodyLimit, MatchedPath, Request, State};
use axum::http::{HeaderName, HeaderValue, Method, StatusCode, Uri, header};
use axum::middleware::{self, Next};
use axum::response::Response;
use engine::{EngineOptions, LoadedModel, ModelFile, Service, ServiceOptions};
use http_body_util::LengthLimitError;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tower_http::cors::{AllowHeaders, AllowMethods, AllowOrigin, CorsLayer};

use crate::app::{App, Facts};
use crate::body::MAX_BODY_BYTES;
use crate::failure::Failure;
use crate::keep_alive::KeepAlive;
use crate::metrics::Metrics;
use crate::options::ServerOptions;
use crate::{anthropic, guard, native, ollama, openai, openapi, page};

/// A client has so long to send a request's head, also when it keeps its connection for the next one.
const HEAD_TIME: Duration = Duration::from_secs(75);

/// And so long for its body.
const BODY_TIME: Duration = Duration::from_secs(60);

/// Bytes and lines of a request's head.
const MAX_HEAD_BYTES: usize = 64 << 10;
const MAX_HEADERS: usize = 128;

/// How often the server looks whether it is time to let go of the model.
const KEEP_ALIVE_POLL: Duration = Duration::from_millis(200);

/// After the requests have ended, so long until connections are cut.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// Bodies that are larger than this are read only while all of them together stay below a bound.
const SMALL_BODY_BYTES: usize = 64 << 10;
const BODY_UNIT: usize = 1 << 20;
static LARGE_BODIES: Semaphore = Semaphore::const_new(128);

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// A server that is ready to listen.
pub struct Server {
    app: Arc<App>,
}

impl Server {
    /// Puts a model behind HTTP. `predicted` are the tokens a second that its plan promises.
    ///
    /// Errors: the model's template does not compile, or its prompt cache cannot be used.
    pub fn new(
        file: &ModelFile,
        model: LoadedModel,
        service: ServiceOptions,
        predicted: Option<f64>,
        options: ServerOptions,
    ) -> Result<Server, engine::EngineError> {
        let engine: EngineOptions = service.engine.clone();
        let max_batch = service.limits.max_batch;
        let facts = Facts::new(file, &model, &engine, &options.name, predicted)?;
        let service = Arc::new(Service::start(file, model, service)?);
        let keep_alive = KeepAlive::new(options.keep_alive);
        Ok(Server {
            app: Arc::new(App {
                service,
                facts,
                options,
                metrics: Metrics::new(),
                keep_alive,
                grammars: OnceLock::new(),
                max_batch,
            }),
        })
    }

    /// Answers requests until `end` resolves, then lets those that run go on for the time that the options give them.
    /// `on_ready` hears the address.
    ///
    /// Errors: the address cannot be listened on, or the engine has failed, after which nothing can be answered.
    pub async fn run(&self, end: impl Future<Output = ()>, on_ready: impl FnOnce(SocketAddr)) -> io::Result<()> {
        let address = self.app.options.address;
        let refused = |error: io::Error| {
            let message = format!("cannot listen on {address}: {error}: is something else there? use another port");
            io::Error::new(error.kind(), message)
        };
        let listener = TcpListener::bind(address).await.map_err(refused)?;
        on_ready(listener.local_addr()?);
        let service = TowerToHyperService::new(router(&self.app));
        let mut http = hyper::server::conn::http1::Builder::new();
        http.timer(TokioTimer::new())
            .header_read_timeout(HEAD_TIME)
            .max_buf_size(MAX_HEAD_BYTES)
            .max_headers(MAX_HEADERS);
        let graceful = GracefulShutdown::new();
        let connections = Arc::new(Semaphore::new(self.app.options.max_connections));
        let keep_alive = tokio::spawn(keep_alive(Arc::clone(&self.app)));
        let failed = engine_failed(Arc::clone(&self.app));
        tokio::pin!(end, failed);
        loop {
            // Whoever finds no place waits in the system's queue.
            let permit = tokio::select! {
                permit = Arc::clone(&connections).acquire_owned() => permit.expect("nobody closes it"),
                () = &mut end => break,
                error = &mut failed => return Err(error),
            };
            let stream = tokio::select! {
                accepted = listener.accept() => match accepted {
                    Ok((stream, _)) => stream,
                    Err(error) => {
                        // Too many open files, most of the time: they will be fewer.
                        tracing::warn!("a connection was not accepted: {error}");
                        tokio::time::sleep(Duration::from_millis(50)).await;
                        continue;
                    }
                },
                () = &mut end => break,
                error = &mut failed => return Err(error),
            };
            // A token is a small packet that should not wait for the next one.
            let _ = stream.set_nodelay(true);
            let connection = graceful.watch(http.serve_connection(TokioIo::new(stream), service.clone()));
            tokio::spawn(async move {
                // Clients go away as they like.
                let _ = connection.await;
                drop(permit);
            });
        }
        drop(listener);
        keep_alive.abort();
        let (engine, drain) = (Arc::clone(&self.app.service), self.app.options.drain);
        // Its panic, if it had one, was reported when it happened.
        let _ = tokio::task::spawn_blocking(move || engine.stop(drain)).await;
        let _ = tokio::time::timeout(LAST_WORDS, graceful.shutdown()).await;
        Ok(())
    }
}

/// Resolves if the engine's thread ends, which it does not before the server.
async fn engine_failed(app: Arc<App>) -> io::Error {
    while !app.service.snapshot().has_failed {
        tokio::time::sleep(KEEP_ALIVE_POLL).await;
    }
    io::Error::other("the engine has failed")
}

/// Lets go of the model when its time is over.
async fn keep_alive(app: Arc<App>) {
    loop {
        tokio::time::sleep(KEEP_ALIVE_POLL).await;
        if app.keep_alive.is_over() && app.service.snapshot().is_loaded {
            app.service.unload();
        }
    }
}

/// All routes, behind what every request passes.
fn router(app: &Arc<App>) -> Router {
    let origins = app.options.origins.clone();
    let is_allowed =
        move |origin: &HeaderValue, _: &_| origin.to_str().is_ok_and(|o| guard::is_known_origin(&origins, o));
    let cors = CorsLayer::new()
        .allow_origin(AllowOrigin::predicate(is_allowed))
        .allow_methods(AllowMethods::list([Method::GET, Method::HEAD, Method::POST, Method::DELETE]))
        .allow_headers(AllowHeaders::mirror_request())
        .expose_headers([REQUEST_ID]);
    Router::new()
        .merge(ollama::routes::routes())
        .merge(openai::routes::routes())
        .merge(anthropic::routes::routes())
        .merge(native::routes())
        .merge(page::routes())
        .merge(openapi::route::routes())
        .fallback(async |method: Method, uri: Uri| no_route(&method, uri.path()))
        .method_not_allowed_fallback(wrong_method)
        .layer(middleware::from_fn_with_state(Arc::clone(app), guard::guard))
        .layer(cors)
        .layer(DefaultBodyLimit::max(MAX_BODY_BYTES))
        .layer(middleware::from_fn_with_state(Arc::clone(app), log))
        .with_state(Arc::clone(app))
}

fn no_route(method: &Method, path: &str) -> Response {
    guard::refuse(path, &Failure::not_found(format!("there is nothing at {method} {path}")))
}

async fn wrong_method(method: Method, uri: Uri) -> Response {
    let message = format!("{} does not take {method}", uri.path());
    guard::refuse(uri.path(), &Failure::new(StatusCode::METHOD_NOT_ALLOWED, message))
}

/// Gives every request a name, reads its body in a bounded time, and writes a line about it.
async fn log(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    let start = std::time::Instant::now();
    let id = format!("{:016x}", rand::random::<u64>());
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    // Whoever asks beforehand what a page may do is told so only where there is something.
    let is_nowhere = method == Method::OPTIONS && request.extensions().get::<MatchedPath>().is_none();
    let mut response = match whole_body(request).await {
        Ok(_) if is_nowhere => no_route(&method, &path),
        Ok((request, body)) => {
            if app.options.logs_prompts {
                tracing::info!("{id} {}", String::from_utf8_lossy(&body));
            }
            next.run(request).await
        }
        Err(failure) => guard::refuse(&path, &failure),
    };
    // What a preflight gets has no body.
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

/// Whether a body was given up because it is too large, and not because it is broken.
fn is_limit(error: &axum::Error) -> bool {
    error.source().is_some_and(|cause| cause.is::<LengthLimitError>())
}

/// The first cause of an error.
fn root(error: &dyn Error) -> String {
    error.source().map_or_else(|| error.to_string(), root)
}
