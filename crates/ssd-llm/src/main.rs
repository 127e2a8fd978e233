//! The `ssd-llm` program: parses flags and runs a command.
//!
//! Text goes to standard output; progress, statistics, warnings and errors go to standard error. The exit status is 0 on
//! success, 1 on failure and 2 on wrong usage.

mod cmd;
mod flag_values;
mod flags;
mod grammar;
mod interrupt;
mod measured;
mod output;
mod plot;
mod progress;
mod screen;
mod size;
mod usage;

use std::process::ExitCode;

use clap::Parser;
use clap::error::ErrorKind;
use tracing_subscriber::filter::LevelFilter;

use flags::{Cli, Command};

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return refuse(&error),
    };
    // A server logs its requests; the other commands log only warnings.
    let level = match cli.command {
        Command::Serve(_) => LevelFilter::INFO,
        _ => LevelFilter::WARN,
    };
    tracing_subscriber::fmt()
        .with_max_level(level)
        .with_writer(std::io::stderr)
        .without_time()
        .with_target(false)
        .init();
    let result = match cli.command {
        Command::Run(args) => cmd::run::run(&args),
        Command::Chat(args) => cmd::chat::run(&args),
        Command::Serve(args) => cmd::serve::run(&args),
        Command::Info(args) => cmd::info::run(&args),
        Command::Plan(args) => cmd::plan::run(&args),
        Command::Bench(args) => cmd::bench::run(&args),
        Command::Perplexity(args) => cmd::perplexity::run(&args),
        Command::Tokenize(args) => cmd::tokenize::run(&args),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            output::say(&format!("error: {}", output::chain(&error)));
            if error.is::<usage::Usage>() { ExitCode::from(2) } else { ExitCode::FAILURE }
        }
    }
}

/// Prints help if it was asked for, and otherwise what is wrong with the flags, in one line.
fn refuse(error: &clap::Error) -> ExitCode {
    let asked = matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion);
    if asked || error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
        // A closed output cannot be reported.
        let _ = error.print();
        return if asked { ExitCode::SUCCESS } else { ExitCode::from(2) };
    }
    let text = error.render().to_string();
    let lines = text.lines().map(str::trim).take_while(|l| !l.starts_with("Usage:") && !l.starts_with("For more"));
    let message = lines.filter(|l| !l.is_empty()).collect::<Vec<_>>().join(" ");
    output::say(&format!("{message} (see `ssd-llm help`)"));
    ExitCode::from(2)
}
