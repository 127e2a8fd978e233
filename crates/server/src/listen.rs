//! Sockets: accepting connections, their limits, and shutdown.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use engine::{EngineOptions, LoadedModel, ModelFile, Service, ServiceOptions};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

use crate::app::{App, Facts};
use crate::keep_alive::KeepAlive;
use crate::metrics::Metrics;
use crate::options::ServerOptions;
use crate::router::router;

/// A client has this long to send the head of a request, including the idle time of a kept-alive connection.
const HEAD_TIME: Duration = Duration::from_secs(75);

/// Limits on the head of a request.
const MAX_HEAD_BYTES: usize = 64 << 10;
const MAX_HEADERS: usize = 128;

/// How often the server checks whether to unload the model.
const KEEP_ALIVE_POLL: Duration = Duration::from_millis(200);

/// Connections are cut this long after the last request has ended.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// A server, ready to listen.
pub struct Server {
    app: Arc<App>,
}

impl Server {
    /// Puts a model behind HTTP. `predicted` is the speed in tokens per second that its plan predicts.
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

    /// Serves until `end` resolves, then lets running requests finish within the time of the options. Calls `on_ready` with
    /// the address.
    ///
    /// Errors: the address cannot be bound, or the engine has failed.
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
            // Further connections wait in the queue of the system.
            let permit = tokio::select! {
                permit = Arc::clone(&connections).acquire_owned() => permit.expect("the semaphore is never closed"),
                () = &mut end => break,
                error = &mut failed => return Err(error),
            };
            let stream = tokio::select! {
                accepted = listener.accept() => match accepted {
                    Ok((stream, _)) => stream,
                    Err(error) => {
                        // Mostly too many open files, which pass.
                        tracing::warn!("cannot accept a connection: {error}");
                        tokio::time::sleep(Duration::from_millis(50)).await;
                        continue;
                    }
                },
                () = &mut end => break,
                error = &mut failed => return Err(error),
            };
            // Tokens are small packets that must not wait for each other.
            let _ = stream.set_nodelay(true);
            let connection = graceful.watch(http.serve_connection(TokioIo::new(stream), service.clone()));
            tokio::spawn(async move {
                // A client may disconnect at any time.
                let _ = connection.await;
                drop(permit);
            });
        }
        drop(listener);
        keep_alive.abort();
        let (engine, drain) = (Arc::clone(&self.app.service), self.app.options.drain);
        // A panic was reported when it happened.
        let _ = tokio::task::spawn_blocking(move || engine.stop(drain)).await;
        let _ = tokio::time::timeout(LAST_WORDS, graceful.shutdown()).await;
        Ok(())
    }
}

/// Resolves if the engine's thread ends early.
async fn engine_failed(app: Arc<App>) -> io::Error {
    while !app.service.snapshot().has_failed {
        tokio::time::sleep(KEEP_ALIVE_POLL).await;
    }
    io::Error::other("the engine has failed")
}

/// Unloads the model after its idle time.
async fn keep_alive(app: Arc<App>) {
    loop {
        tokio::time::sleep(KEEP_ALIVE_POLL).await;
        if app.keep_alive.is_over() && app.service.snapshot().is_loaded {
            app.service.unload();
        }
    }
}
