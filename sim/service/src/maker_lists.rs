//! The maker's lists: which devices it no longer vouches for, and what its models
//! are built of. Read from files that an operator puts in place, and read again
//! when they change; a device that a list bars gets nothing any more but its
//! orders.

use crate::error::{Error, Result};
use crate::{Service, short_id};
use nrd_sim_forensics::verify::{ListError, Lists, Revocation};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError, RwLock};
use std::time::SystemTime;

/// No list is longer, in bytes.
const LONGEST: u64 = 8 << 20;

/// Where the lists are kept, and what was read of them.
#[derive(Default)]
pub(crate) struct MakerFiles {
    files: Mutex<Vec<(PathBuf, Option<SystemTime>)>>,
    lists: RwLock<Lists>,
}

impl MakerFiles {
    /// The lists at hand.
    pub(crate) fn lists(&self) -> Lists {
        let lists = self.lists.read().unwrap_or_else(PoisonError::into_inner);
        lists.clone()
    }

    /// What bars a device, in words; `None` for one that is not barred.
    fn bars(&self, device_id: &str, model: &str, agent: &str) -> Option<String> {
        let lists = self.lists.read().unwrap_or_else(PoisonError::into_inner);
        lists.status()?.names(device_id, model, agent)
    }
}

fn read(path: &Path) -> Result<(Vec<u8>, Option<SystemTime>)> {
    let file = |e| Error::File(path.to_owned(), e);
    let about = std::fs::metadata(path).map_err(file)?;
    if about.len() > LONGEST {
        return Err(Error::Content(
            path.to_owned(),
            "longer than any list of a maker".to_owned(),
        ));
    }
    let bytes = std::fs::read(path).map_err(file)?;
    Ok((bytes, about.modified().ok()))
}

impl Service {
    /// Reads the maker's lists in these files, and looks after them from now on.
    ///
    /// # Errors
    /// A file cannot be read, or is no list of this maker.
    pub fn use_lists(&self, paths: Vec<PathBuf>) -> Result<()> {
        let mut files = Vec::new();
        for path in paths {
            let changed = self.take_list(&path)?;
            files.push((path, changed));
        }
        let mut held = self
            .maker
            .files
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        *held = files;
        Ok(())
    }

    fn take_list(&self, path: &Path) -> Result<Option<SystemTime>> {
        let (frame, changed) = read(path)?;
        let mut lists = self
            .maker
            .lists
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        match lists.take(&frame, &self.keys.maker_public()) {
            Ok(()) => Ok(changed),
            Err(e @ (ListError::Frame(_) | ListError::Older)) => {
                Err(Error::Content(path.to_owned(), e.to_string()))
            }
        }
    }

    /// Reads again what has changed. What cannot be read leaves the list before in
    /// force, and is told in the log.
    pub(crate) fn read_lists_again(&self) {
        let mut files = self
            .maker
            .files
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        for (path, known) in files.iter_mut() {
            let now = std::fs::metadata(&*path).and_then(|m| m.modified()).ok();
            if now == *known {
                continue;
            }
            match self.take_list(path) {
                Ok(changed) => {
                    *known = changed;
                    tracing::info!(file = %path.display(), "a list of the maker's was read");
                }
                Err(e) => tracing::error!(error = %e, "the list before stays in force"),
            }
        }
        let status = self.maker.lists();
        let now = self.now_s();
        let late = status.status().map(|list| list.look_up("", "", "", now));
        if let Some(Revocation::OutOfDate { number, .. }) = late {
            tracing::warn!(
                number,
                "the maker's status list is not in date: ask for the newest"
            );
        }
    }

    /// What the maker's status list bars of a device, in words.
    pub(crate) fn barred(&self, device_id: &str, model: &str, agent: &str) -> Option<String> {
        self.maker.bars(device_id, model, agent)
    }

    /// The same of an activation's device, told in the log.
    pub(crate) fn barred_activation(&self, id: &[u8; 16], device: (&str, &str, &str)) -> bool {
        let (device_id, model, agent) = device;
        let barred = self.barred(device_id, model, agent);
        if let Some(what) = &barred {
            tracing::warn!(activation = %short_id(id), what, "barred by its maker");
        }
        barred.is_some()
    }
}
