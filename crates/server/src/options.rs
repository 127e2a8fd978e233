//! What a server is told when it starts.

use std::net::SocketAddr;
use std::time::Duration;

/// How a server listens, whom it answers and how it ends.
#[derive(Clone, Debug)]
pub struct ServerOptions {
    /// Where it listens.
    pub address: SocketAddr,
    /// What that address is called, which clients may call it too.
    pub host: String,
    /// What clients must show, if anything.
    pub api_key: Option<String>,
    /// Pages of these origins may use the server besides those of this machine; `*` is all.
    pub origins: Vec<String>,
    /// How long the model stays in memory after a request that does not say so itself; `None` is for ever.
    pub keep_alive: Option<Duration>,
    /// How long requests may go on after the server has been asked to end.
    pub drain: Duration,
    /// The model's name for clients.
    pub name: String,
    /// Whether prompts and answers are written to the log.
    pub logs_prompts: bool,
    /// Connections at once.
    pub max_connections: usize,
}

impl ServerOptions {
    /// Whether only this machine can reach the server.
    pub(crate) fn is_local(&self) -> bool {
        self.address.ip().is_loopback()
    }
}
