//! A PostgreSQL server of a test's own, reached by a unix socket.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use nix::unistd::geteuid;
use tempfile::TempDir;

/// A running server. Dropping it ends it.
pub struct Postgres {
    dir: TempDir,
}

impl Postgres {
    /// Makes its files and starts it.
    pub fn start() -> Self {
        let dir = tempfile::tempdir().expect("make a folder");
        let postgres = Self { dir };
        // It refuses to run as root.
        if geteuid().is_root() {
            let mut chown = Command::new("chown");
            let done = chown.arg("postgres").arg(postgres.dir.path()).status();
            assert!(done.expect("run chown").success());
        }
        let path = postgres.path();
        postgres.run(&format!(
            "initdb --no-sync -A trust -U consilium -E UTF8 --locale C.UTF-8 -D {path}/data"
        ));
        postgres.resume();
        postgres
    }

    /// Starts it again.
    pub fn resume(&self) {
        let path = self.path();
        self.run(&format!(
            "pg_ctl -w -D {path}/data -l {path}/log -o '-c listen_addresses= -c fsync=off -k {path}' start"
        ));
    }

    /// Ends it as a crash does.
    pub fn kill(&self) {
        self.run(&format!("pg_ctl -m immediate -D {}/data stop", self.path()));
    }

    /// The address of an empty database, new if there is none of this name.
    pub fn database(&self, name: &str) -> String {
        let path = self.path();
        // PostgreSQL cuts names at 63 bytes.
        let name: String = name.chars().take(60).collect();
        self.run(&format!("createdb -h {path} -U consilium {name}"));
        format!("postgres://consilium@{}/{name}", path.replace('/', "%2F"))
    }

    fn path(&self) -> String {
        self.dir.path().display().to_string()
    }

    fn run(&self, command: &str) {
        let script = format!("exec {}/{command}", newest_binaries().display());
        let mut shell = match geteuid().is_root() {
            true => {
                let mut shell = Command::new("runuser");
                shell.args(["-u", "postgres", "--", "sh", "-c", &script]);
                shell
            }
            false => {
                let mut shell = Command::new("sh");
                shell.args(["-c", &script]);
                shell
            }
        };
        let output = shell.stdin(Stdio::null()).output().expect("run a shell");
        let told = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{command}: {told}");
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        if self.dir.path().join("data/postmaster.pid").exists() {
            self.kill();
        }
    }
}

/// Where Debian keeps the server of the newest version.
fn newest_binaries() -> PathBuf {
    let versions = std::fs::read_dir("/usr/lib/postgresql").expect("PostgreSQL is installed");
    let mut paths: Vec<PathBuf> = versions.flatten().map(|entry| entry.path()).collect();
    paths.sort();
    paths.pop().expect("a version").join("bin")
}
