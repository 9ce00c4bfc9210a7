//! A copy of the project, for what changes it on purpose.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Makes `to` hold what git knows of the project at `root`, and nothing else.
///
/// # Panics
/// When git is missing or the disk is full.
pub fn copy_tree(root: &Path, to: &Path) {
    let listed = Command::new("git")
        .args(["ls-files", "-co", "--exclude-standard"])
        .current_dir(root)
        .output()
        .expect("git");
    let listed = String::from_utf8_lossy(&listed.stdout);
    let listed: Vec<&str> = listed.lines().filter(|f| root.join(f).is_file()).collect();
    let files: HashSet<PathBuf> = listed.iter().map(|file| to.join(file)).collect();
    remove_others(to, &files);
    for file in listed {
        let target = to.join(file);
        std::fs::create_dir_all(target.parent().expect("a folder")).expect("a folder");
        let bytes = std::fs::read(root.join(file)).expect("a file of the project");
        // Only what differs, so that cargo builds no more than it must.
        if std::fs::read(&target).ok().as_ref() != Some(&bytes) {
            std::fs::write(&target, bytes).expect("room on the disk");
        }
    }
}

/// Removes what an earlier run left and the project has no more.
fn remove_others(folder: &Path, files: &HashSet<PathBuf>) {
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            remove_others(&path, files);
        } else if !files.contains(&path) {
            std::fs::remove_file(&path).expect("a file that may be removed");
        }
    }
}
