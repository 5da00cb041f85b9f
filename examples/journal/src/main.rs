//! A journal in the terminal, kept in a Rhizome pod: the whole product on a laptop, with nothing but the library's public interface.
//!
//! `cli` says what can be typed, `commands` does it, `output` is the only module that prints. What a person writes goes to the pod and
//! to the screen, never to a log.

mod cli;
mod commands;
mod entry;
mod failure;
mod markdown;
mod output;
mod when;

use cli::Cli;
use failure::Failure;
use output::Output;

fn main() {
    // Not yet parsed when parsing fails.
    let asked_for_json = std::env::args_os().any(|word| word == "--json");
    let code = match Cli::read() {
        Ok(cli) => run(&cli),
        Err(cli::NotACommand::Asked(text)) => {
            Output::new(asked_for_json).text(text.trim_end());
            0
        }
        Err(cli::NotACommand::Wrong(failure)) => {
            Output::new(asked_for_json).failure(&failure);
            2
        }
    };
    // Threads may still wait for a key on the terminal: the process ends all the same.
    std::process::exit(code);
}

fn run(cli: &Cli) -> i32 {
    let output = Output::new(cli.json);
    log_to_stderr(cli.json);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let result = match runtime {
        Ok(runtime) => runtime.block_on(commands::run(cli, &output)),
        Err(error) => Err(Failure::new("system", format!("cannot start: {error}"))),
    };
    match result {
        Ok(()) => 0,
        Err(failure) => {
            output.failure(&failure.for_pod(cli));
            if failure.kind == "interrupted" { 130 } else { 1 }
        }
    }
}

/// Warnings of the library, or what `RHIZOME_LOG` asks for. Scripts read stderr as JSON: they get none unless they ask.
fn log_to_stderr(json: bool) {
    let quiet = if json { "off" } else { "rhizome=warn" };
    let filter = std::env::var("RHIZOME_LOG").unwrap_or_else(|_| quiet.to_owned());
    let filter = tracing_subscriber::EnvFilter::try_new(filter).unwrap_or_default();
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .init();
}
