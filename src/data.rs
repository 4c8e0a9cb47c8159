//! `consilium audit`, `backup` and `restore`: what the manager keeps.

use std::path::Path;

use anyhow::{Context, bail};

use crate::config::Settings;
use crate::supervisor;

/// Goes through the record, and says what it holds or what is wrong.
pub async fn verify(settings: &Settings) -> anyhow::Result<()> {
    let database = settings.database();
    let verdict = manager_ui_server::verify_record(&database, &settings.data_dir);
    match verdict.await.context("the record cannot be read")? {
        Ok(whole) => {
            println!(
                "{} entries, {} signed checkpoints: whole",
                whole.entries, whole.checkpoints
            );
            Ok(())
        }
        Err(fault) => bail!("{fault}"),
    }
}

/// Copies the database.
pub async fn backup(settings: &Settings, to: &Path) -> anyhow::Result<()> {
    let database = settings.database();
    let copied = manager_ui_server::backup(&database, &settings.data_dir, to);
    copied.await.context("the database cannot be copied")?;
    println!("{}", to.display());
    Ok(())
}

/// Puts a copy in the place of the database.
pub async fn restore(settings: &Settings, from: &Path) -> anyhow::Result<()> {
    settings.prepare_data_dir()?;
    let _lock = supervisor::lock(settings)?;
    let database = settings.database();
    let restored = manager_ui_server::restore(&database, &settings.data_dir, from);
    restored.await.context("the database stays as it was")?;
    println!("{} is the database now", from.display());
    Ok(())
}
