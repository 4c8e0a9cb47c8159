//! `consilium`: one binary for the supervisor and for each process that it watches.

mod cli;
mod config;
mod data;
mod dial;
mod doctor;
mod figures;
mod host;
mod supervisor;
mod transfer;

use std::io::IsTerminal;
use std::process::ExitCode;

use anyhow::Context;
use clap::Parser;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use tracing::warn;

use crate::cli::{Cli, Command};
use crate::config::{Filter, Settings};
use crate::supervisor::StopSignals;

/// Overrides `[log] filter`.
const LOG_VARIABLE: &str = "CONSILIUM_LOG";

fn main() -> ExitCode {
    match run(&Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // The chain in one line; a backtrace would only hide it.
            eprintln!("consilium: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(cli: &Cli) -> anyhow::Result<()> {
    if let Command::CheckConfig { file } = &cli.command {
        Settings::from_file(file)?;
        println!("{}: ok", file.display());
        return Ok(());
    }
    if let Command::Doctor { flags, ntp, json } = &cli.command {
        let wishes = doctor::Wishes {
            config: flags.config.as_deref(),
            ntp: ntp.as_deref(),
            json: *json,
        };
        let sound = runtime()?.block_on(doctor::run(cli.settings(), wishes));
        return sound.then_some(()).context("something does not work");
    }
    let settings = cli.settings()?;
    if let Command::Dial { room, to, .. } = &cli.command {
        return dial::run(&settings.control_socket(), room, to);
    }
    if let Command::Transfer { room, who, to, .. } = &cli.command {
        return transfer::run(&settings.control_socket(), room, who, to);
    }
    if let Command::Upgrade(_) = &cli.command {
        return supervisor::upgrade::ask(&settings.supervisor_socket());
    }
    match &cli.command {
        Command::Audit { .. } => return runtime()?.block_on(data::verify(&settings)),
        Command::Backup { to, .. } => return runtime()?.block_on(data::backup(&settings, to)),
        Command::Restore { from, .. } => {
            return runtime()?.block_on(data::restore(&settings, from));
        }
        _ => {}
    }
    figures::begin();
    start_log(&settings)?;
    // Started from /proc/self/exe, a process would be `exe` to ps and top.
    let _ = nix::sys::prctl::set_name(c"consilium");
    raise_file_limit();
    forbid_core_dump();
    settings.prepare_data_dir()?;
    match &cli.command {
        Command::Serve(flags) => {
            runtime()?.block_on(supervisor::serve(&settings, flags.config.clone()))
        }
        Command::Media(_) => mcu_media::run(settings.media()),
        Command::Control(_) => run_task(control(settings.control())),
        Command::Manager(_) => run_task(manager(settings.manager())),
        Command::CheckConfig { .. }
        | Command::Dial { .. }
        | Command::Transfer { .. }
        | Command::Audit { .. }
        | Command::Backup { .. }
        | Command::Doctor { .. }
        | Command::Restore { .. }
        | Command::Upgrade(_) => unreachable!("handled above"),
    }
}

fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("start the runtime")
}

/// Runs a task on the threads of those that it starts: a socket's task then wakes it on its own thread,
/// which costs a fraction of waking the main thread.
fn run_task(task: impl Future<Output = anyhow::Result<()>> + Send + 'static) -> anyhow::Result<()> {
    let runtime = runtime()?;
    let task = runtime.spawn(task);
    runtime.block_on(task).context("main task")?
}

/// SIGTERM ends this process alone, and calls go on. SIGINT tells that the whole server stops.
async fn control(config: mcu_control::Config) -> anyhow::Result<()> {
    let (mut terminate, mut interrupt) = StopSignals::new()?.split();
    let server_stops = async move {
        interrupt.recv().await;
    };
    tokio::select! {
        result = mcu_control::run_until(config, server_stops) => result,
        _ = terminate.recv() => Ok(()),
    }
}

async fn manager(config: manager_ui_server::Config) -> anyhow::Result<()> {
    let mut stop = StopSignals::new()?;
    let server = manager_ui_server::Server::bind(config)
        .await
        .context("manager")?;
    let address = server.local_addr().context("manager")?;
    let say = server.tell_ready(move |ready| supervisor::say_ready(address, ready));
    let told = async {
        tokio::select! {
            never = say => match never {},
            () = stop.recv() => {}
        }
    };
    server.run_until(told).await.context("manager")
}

fn start_log(settings: &Settings) -> anyhow::Result<()> {
    let filter = match std::env::var(LOG_VARIABLE) {
        Ok(text) if !text.is_empty() => text
            .parse::<Filter>()
            .map_err(|reason| anyhow::anyhow!("{LOG_VARIABLE}: {reason}"))?,
        _ => settings.log_filter().clone(),
    };
    tracing_subscriber::fmt()
        .with_env_filter(filter.env_filter())
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .init();
    Ok(())
}

/// Each leg and each browser holds file descriptors. The usual soft limit of 1,024 is there for
/// programs that use `select`.
fn raise_file_limit() {
    let raised = getrlimit(Resource::RLIMIT_NOFILE)
        .and_then(|(_, hard)| setrlimit(Resource::RLIMIT_NOFILE, hard, hard));
    if let Err(error) = raised {
        warn!(%error, "the limit of open files stays as it is");
    }
}

/// A dump would hold sound, pictures, keys and names of meetings, and while that of media is written,
/// which takes seconds, no other can have its ports. Who wants one raises the limit by prlimit(1).
fn forbid_core_dump() {
    let forbidden = getrlimit(Resource::RLIMIT_CORE)
        .and_then(|(_, hard)| setrlimit(Resource::RLIMIT_CORE, 0, hard));
    if let Err(error) = forbidden {
        warn!(%error, "a death of this process may leave a dump of its memory");
    }
}
