//! Groups of processes with shares of the machine of their own, so that a load generator is not starved
//! by the server that it loads. cgroup v2, or the `cpu` controller of v1.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Where the kernel's controllers are, with the file for shares and what an ordinary group has there.
const CONTROLLERS: [(&str, &str, u32); 2] = [
    ("/sys/fs/cgroup/cpu", "cpu.shares", 1_024),
    ("/sys/fs/cgroup", "cpu.weight", 100),
];

/// A group; dropping it moves its processes back and takes it away.
pub struct Group {
    path: PathBuf,
}

impl Group {
    /// Makes one that counts `times` as much as an ordinary one where processors are short.
    ///
    /// # Errors
    /// When the system has no such controller, or does not let us.
    pub fn new(name: &str, times: u32) -> io::Result<Self> {
        let known = CONTROLLERS.iter().find(|(root, ..)| {
            let procs = Path::new(root).join("cgroup.procs");
            procs.exists()
        });
        let (root, file, ordinary) = known.ok_or(io::ErrorKind::NotFound)?;
        let path = Path::new(root).join(format!("{name}-{}", std::process::id()));
        fs::create_dir(&path)?;
        let group = Self { path };
        fs::write(group.path.join(file), (ordinary * times).to_string())?;
        Ok(group)
    }

    /// Moves a process with all its threads here; what it starts later is here, too.
    ///
    /// # Errors
    /// When there is no such process, or the system does not let us.
    pub fn take(&self, pid: u32) -> io::Result<()> {
        fs::write(self.path.join("cgroup.procs"), pid.to_string())
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        let Some(parent) = self.path.parent() else {
            return;
        };
        let held = fs::read_to_string(self.path.join("cgroup.procs")).unwrap_or_default();
        for pid in held.lines() {
            // One that has ended meanwhile is nowhere to be moved.
            let _ = fs::write(parent.join("cgroup.procs"), pid);
        }
        // An empty group left behind costs nothing.
        let _ = fs::remove_dir(&self.path);
    }
}
