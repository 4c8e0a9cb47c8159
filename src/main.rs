//! `consilium`: one binary for the supervisor and for each process that it watches.

mod cli;
mod config;
mod supervisor;

use anyhow::Context;
use clap::Parser;
use tracing_subscriber::EnvFilter;

use crate::cli::{Cli, Command};
use crate::config::Settings;

fn main() -> anyhow::Result<()> {
    let cli = Cli::parse();
    if let Command::CheckConfig { file } = &cli.command {
        Settings::from_file(file)?;
        println!("{}: ok", file.display());
        return Ok(());
    }
    let settings = cli.settings()?;
    start_log(&settings);
    settings.prepare_data_dir()?;
    match cli.command {
        Command::Serve(_) => block_on(supervisor::serve(&settings)),
        Command::Media(_) => mcu_media::run(settings.media()),
        Command::Control(_) => block_on(until_told(mcu_control::run(settings.control()))),
        Command::Manager(_) => block_on(until_told(async {
            manager_ui_server::run(settings.manager())
                .await
                .context("manager")
        })),
        Command::CheckConfig { .. } => unreachable!("handled above"),
    }
}

fn block_on(task: impl Future<Output = anyhow::Result<()>>) -> anyhow::Result<()> {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("start the runtime")?
        .block_on(task)
}

/// Runs a process's task until it ends by itself or the process is told to stop.
async fn until_told(task: impl Future<Output = anyhow::Result<()>>) -> anyhow::Result<()> {
    let mut stop = supervisor::StopSignals::new()?;
    tokio::select! {
        result = task => result,
        () = stop.recv() => Ok(()),
    }
}

fn start_log(settings: &Settings) {
    let filter = EnvFilter::try_from_env("CONSILIUM_LOG")
        .unwrap_or_else(|_| EnvFilter::new(settings.log_filter()));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .init();
}
