//! The sockets: accepting connections, their limits, and the end.

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

/// A client has so long to send a request's head, also when it keeps its connection for the next one.
const HEAD_TIME: Duration = Duration::from_secs(75);

/// Bytes and lines of a request's head.
const MAX_HEAD_BYTES: usize = 64 << 10;
const MAX_HEADERS: usize = 128;

/// How often the server looks whether it is time to let go of the model.
const KEEP_ALIVE_POLL: Duration = Duration::from_millis(200);

/// After the requests have ended, so long until connections are cut.
const LAST_WORDS: Duration = Duration::from_secs(2);

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
