//! Options of a server.

use std::net::SocketAddr;
use std::time::Duration;

/// How a server listens, whom it answers and how it shuts down.
#[derive(Clone, Debug)]
pub struct ServerOptions {
    /// The address to listen on.
    pub address: SocketAddr,
    /// The host name of that address, which clients may use too.
    pub host: String,
    /// The API key that clients must send, if any.
    pub api_key: Option<String>,
    /// Origins whose pages may use the server, besides those of this machine; `*` allows all.
    pub origins: Vec<String>,
    /// Idle time after which the model is unloaded, unless a request says otherwise; `None` keeps it loaded.
    pub keep_alive: Option<Duration>,
    /// How long running requests may take to finish at shutdown.
    pub drain: Duration,
    /// The model name shown to clients.
    pub name: String,
    /// Whether request bodies are logged.
    pub logs_prompts: bool,
    /// Maximum number of open connections.
    pub max_connections: usize,
}

impl ServerOptions {
    /// Whether the server is reachable from this machine only.
    pub(crate) fn is_local(&self) -> bool {
        self.address.ip().is_loopback()
    }
}
