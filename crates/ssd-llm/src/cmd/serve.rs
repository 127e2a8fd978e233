//! `serve`: serves a model over HTTP.

use std::net::{SocketAddr, ToSocketAddrs};
use std::time::Duration;

use anyhow::Context;
use engine::{EngineOptions, Limits, ModelFile, ServiceOptions};
use server::{Server, ServerOptions};

use crate::flags::ServeArgs;
use crate::output;
use crate::usage::Usage;

/// The environment variable of the API key; unlike a flag it does not show in lists of processes.
const API_KEY: &str = "SSD_LLM_API_KEY";

/// Answers requests until it is asked to stop.
pub(crate) fn run(args: &ServeArgs) -> anyhow::Result<()> {
    let addresses = resolve(&args.host, args.port)?;
    let api_key = args.api_key.clone().or_else(|| std::env::var(API_KEY).ok()).filter(|key| !key.is_empty());
    let is_local = addresses.iter().all(|address| address.ip().is_loopback());
    if !is_local && api_key.is_none() && !args.allow_unauthenticated {
        let message = format!(
            "--host {} lets other machines connect: set --api-key (or {API_KEY}), or pass --allow-unauthenticated",
            args.host
        );
        return Err(Usage(message).into());
    }
    if args.api_key.as_deref() == Some("") || args.name.as_deref() == Some("") {
        return Err(Usage("--api-key and --name must not be empty".to_owned()).into());
    }
    let file = ModelFile::open(&args.model)?;
    let prompt_files = args.cache.prompt_cache.is_some();
    let engine =
        EngineOptions { max_sequences: args.max_batch, grammars: true, prompt_files, ..args.engine.options()? };
    // Measured before the memory is allocated.
    let plan = file.plan(&engine)?;
    let predicted = file.measure(&engine).ok().map(|speed| speed.tokens_per_second(&plan));
    let model = file.load(&engine)?;
    output::warn_if_capped(&engine, &model.plan);
    // Free pages hold the prefixes of finished requests until running ones need them.
    let cache_pages = plan_pages(model.model.page_bytes(), model.plan.budget.kv_bytes);
    let limits = Limits { max_batch: args.max_batch, max_queue: args.max_queue, cache_pages };
    let cache = args.cache.folder()?.map(|folder| (folder, args.cache.prompt_cache_budget));
    let stem = args.model.file_stem().map(|stem| stem.to_string_lossy().into_owned());
    let options = ServerOptions {
        address: addresses[0],
        host: args.host.clone(),
        api_key,
        origins: args.allow_origin.clone(),
        keep_alive: args.keep_alive,
        drain: Duration::from_secs(args.drain_seconds),
        name: args.name.clone().or(stem).unwrap_or_else(|| "model".to_owned()),
        logs_prompts: args.log_prompts,
        max_connections: args.max_connections,
    };
    let name = options.name.clone();
    let server = Server::new(&file, model, ServiceOptions { engine, limits, cache }, predicted, options)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(WORKERS)
        .max_blocking_threads(PREPARERS)
        .enable_all()
        .build();
    let runtime = runtime.context("cannot start the server's threads")?;
    let on_ready = |address: SocketAddr| {
        let speed =
            predicted.map_or_else(String::new, |speed| format!(", {speed:.1} tokens/s expected for a single request"));
        output::say(&format!("{name} at http://{address}{speed}; press Ctrl-C to stop"));
    };
    let served = runtime.block_on(async { server.run(ended(), on_ready).await });
    // Requests that are still being prepared are abandoned.
    runtime.shutdown_background();
    Ok(served?)
}

/// The addresses of a host, at least one; IPv4 first, which all clients try.
fn resolve(host: &str, port: u16) -> anyhow::Result<Vec<SocketAddr>> {
    let found = (host.trim_matches(['[', ']']), port).to_socket_addrs();
    let mut all: Vec<SocketAddr> = found.as_ref().map(|all| all.clone().collect()).unwrap_or_default();
    all.sort_by_key(SocketAddr::is_ipv6);
    if all.is_empty() {
        let why = found.err().map_or_else(|| "no address found".to_owned(), |error| error.to_string());
        let message = format!("--host {host}: {why}; use an address or name of this machine, such as 127.0.0.1");
        return Err(Usage(message).into());
    }
    Ok(all)
}

/// HTTP needs little time; the cores are for the model.
const WORKERS: usize = 2;

/// Threads that prepare prompts. With one per connection the allocator would keep free memory for each.
const PREPARERS: usize = 4;

fn plan_pages(page_bytes: usize, kv_bytes: u64) -> usize {
    usize::try_from(kv_bytes / page_bytes.max(1) as u64).unwrap_or(usize::MAX)
}

/// Resolves when the program is asked to stop; the second time it exits at once.
async fn ended() {
    let asked = || async {
        #[cfg(unix)]
        {
            use tokio::signal::unix::{SignalKind, signal};
            let Ok(mut terminate) = signal(SignalKind::terminate()) else { return std::future::pending().await };
            tokio::select! {
                _ = tokio::signal::ctrl_c() => {}
                _ = terminate.recv() => {}
            }
        }
        #[cfg(not(unix))]
        {
            // Without a handler the system terminates the program.
            let _ = tokio::signal::ctrl_c().await;
        }
    };
    asked().await;
    output::say("shutting down after running requests finish; press Ctrl-C again to exit now");
    tokio::spawn(async move {
        asked().await;
        std::process::exit(130);
    });
}
