//! A device's parts in a folder, so that a device is a process that can be
//! killed and started again.
//!
//! | file | what |
//! |---|---|
//! | `device.json` | what the factory decided: id, kind, flash sizes, certificate, pinned keys |
//! | `root.key` | the fuses: 64 hexadecimal digits; readable by the owner alone |
//! | `flash.bin` | the cells, byte for byte |
//! | `unstable.bin` | per byte the bits that a cut left unstable |
//! | `wear.bin` | erases of each erase unit, u32 little-endian |
//! | `counter` | the monotonic counter, u64 little-endian |
//! | `ca.pem` | the pinned TLS root |
//! | `lock` | held while a process runs the device |
//!
//! Files are written without syncing: killing the process loses nothing, since
//! the system holds what was written. A power cut of the *host* is no part of
//! the simulation; cuts of the device are simulated in the cells.

use super::chip::{Chip, ChipSpec, Hardware, Kept};
use nrd_agent::wire::DeviceKind;
use nrd_hal::Geometry;
use nrd_hal::layout::Layout;
use nrd_sim_base::{hex, random, secret_file, unhex};
use serde::{Deserialize, Serialize};
use std::fs::{self, File, OpenOptions};
use std::io::{Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

/// What the factory decided about one device.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Made {
    /// Device id.
    pub device_id: String,
    /// `set-top-box`, `console` or `computer`.
    #[serde(with = "kind_word")]
    pub kind: DeviceKind,
    /// Model, for people.
    pub model: String,
    /// Size of the flash in bytes.
    pub size: u32,
    /// Smallest programmable unit in bytes.
    pub write_size: u32,
    /// Smallest erasable unit in bytes.
    pub erase_size: u32,
    /// Best erase unit in bytes.
    pub best_erase: u32,
    /// Units may be programmed to zero again.
    pub multiwrite: bool,
    /// The maker certificate's frame, hexadecimal.
    pub certificate: String,
    /// The service root that the firmware pins, hexadecimal.
    pub service_root: String,
}

/// A device kind as its word; an unknown word is an error that names it.
mod kind_word {
    use nrd_agent::wire::DeviceKind;
    use serde::de::{Deserialize as _, Deserializer, Error as _};
    use serde::ser::Serializer;

    pub(super) fn serialize<S: Serializer>(kind: &DeviceKind, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(kind.name())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<DeviceKind, D::Error> {
        let word = String::deserialize(d)?;
        DeviceKind::from_name(&word).ok_or_else(|| {
            let known: Vec<_> = DeviceKind::ALL.iter().map(|k| k.name()).collect();
            let known = known.join(", ");
            let word: String = word.chars().take(24).collect();
            D::Error::custom(format!("`{word}` is no kind of device; known are {known}"))
        })
    }
}

impl Made {
    /// The flash part.
    pub fn chip(&self) -> ChipSpec {
        ChipSpec {
            geometry: Geometry {
                size: self.size,
                write_size: self.write_size,
                erase_size: self.erase_size,
                best_erase: self.best_erase,
            },
            can_overwrite: self.multiwrite,
        }
    }
}

/// Why a folder is no device.
#[derive(Debug)]
pub enum DeviceDirError {
    /// A file cannot be read or written.
    File(PathBuf, std::io::Error),
    /// A file is not what it should be.
    Content(PathBuf, String),
    /// Another process runs this device.
    InUse(PathBuf),
}

impl std::fmt::Display for DeviceDirError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            DeviceDirError::File(path, e) => write!(f, "{}: {e}", path.display()),
            DeviceDirError::Content(path, what) => write!(f, "{}: {what}", path.display()),
            DeviceDirError::InUse(path) => {
                write!(f, "{}: another process runs this device", path.display())
            }
        }
    }
}

impl std::error::Error for DeviceDirError {}

/// A device's folder, opened and locked.
pub struct Folder {
    /// What the factory decided.
    pub made: Made,
    /// Chip and counter.
    pub hw: Hardware,
    /// The fuses. Only the platform and forensic tools may look.
    pub root: [u8; 32],
    /// The pinned TLS root, PEM.
    pub ca_pem: String,
    _lock: File,
}

impl Folder {
    /// True when the folder already holds a device.
    pub fn exists(dir: &Path) -> bool {
        dir.join("device.json").exists()
    }

    /// Makes a device: its flash holds what a factory leaves, all `0xFF`.
    pub fn make(
        dir: &Path,
        made: &Made,
        root: &[u8; 32],
        ca_pem: &str,
    ) -> Result<(), DeviceDirError> {
        let at = |name: &str| dir.join(name);
        let file = |name: &str, e| DeviceDirError::File(at(name), e);
        fs::create_dir_all(dir).map_err(|e| DeviceDirError::File(dir.to_owned(), e))?;
        let n = made.size as usize;
        let units = (made.size / made.erase_size) as usize;
        let parts: [(&str, Vec<u8>); 5] = [
            ("flash.bin", vec![0xFF; n]),
            ("unstable.bin", vec![0; n]),
            ("wear.bin", vec![0; units * 4]),
            ("counter", vec![0; 8]),
            ("ca.pem", ca_pem.as_bytes().to_vec()),
        ];
        for (name, bytes) in parts {
            fs::write(at(name), bytes).map_err(|e| file(name, e))?;
        }
        #[expect(
            clippy::let_underscore_must_use,
            reason = "what is not there needs no removal; the write that follows reports the rest"
        )]
        let _ = fs::remove_file(at("root.key"));
        secret_file::write(&at("root.key"), &(hex(root) + "\n"))
            .map_err(|e| file("root.key", e))?;
        // Last: it says that the rest is complete.
        let json = serde_json::to_string_pretty(made)
            .map_err(|e| DeviceDirError::Content(at("device.json"), e.to_string()))?;
        fs::write(at("device.json"), json + "\n").map_err(|e| file("device.json", e))
    }

    /// Opens a device and locks it against other processes.
    pub fn open(dir: &Path) -> Result<Folder, DeviceDirError> {
        let at = |name: &str| dir.join(name);
        let read = |name: &str| fs::read(at(name)).map_err(|e| DeviceDirError::File(at(name), e));
        let lock = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(at("lock"))
            .map_err(|e| DeviceDirError::File(at("lock"), e))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(fs::TryLockError::WouldBlock) => return Err(DeviceDirError::InUse(dir.to_owned())),
            Err(fs::TryLockError::Error(e)) => return Err(DeviceDirError::File(at("lock"), e)),
        }
        let made = Made::read(dir)?;
        let sized = |name: &str, expected: usize| {
            let bytes = read(name)?;
            if bytes.len() == expected {
                Ok(bytes)
            } else {
                Err(DeviceDirError::Content(
                    at(name),
                    format!(
                        "{} bytes, but device.json says {expected}: restore the file, or start with an empty folder",
                        bytes.len()
                    ),
                ))
            }
        };
        let n = made.size as usize;
        let wear = sized("wear.bin", (made.size / made.erase_size) as usize * 4)?;
        let counter = sized("counter", 8)?;
        let kept = Kept {
            cells: sized("flash.bin", n)?,
            unstable: sized("unstable.bin", n)?,
            wear: wear
                .chunks_exact(4)
                .map(|c| u32::from_le_bytes([c[0], c[1], c[2], c[3]]))
                .collect(),
            counter: u64::from_le_bytes(counter.try_into().unwrap_or_default()),
        };
        let root = String::from_utf8(read("root.key")?)
            .ok()
            .and_then(|t| unhex(&t))
            .ok_or_else(|| {
                DeviceDirError::Content(at("root.key"), "64 hexadecimal digits are expected".into())
            })?;
        let ca_pem = String::from_utf8(read("ca.pem")?)
            .map_err(|_| DeviceDirError::Content(at("ca.pem"), "this is no PEM file".into()))?;
        let open = |name: &str| {
            OpenOptions::new()
                .write(true)
                .open(at(name))
                .map_err(|e| DeviceDirError::File(at(name), e))
        };
        let mirror = Mirror(Mutex::new(Files {
            flash: open("flash.bin")?,
            unstable: open("unstable.bin")?,
            wear: open("wear.bin")?,
            counter: open("counter")?,
            failure: None,
        }));
        // Found: without the system's randomness the seed was 7, in silence, and
        // every cut of every such device tore the same bits.
        let seed = random().map_err(|e| {
            DeviceDirError::File(dir.to_owned(), std::io::Error::other(e.to_string()))
        })?;
        let seed = u64::from_le_bytes(seed);
        let chip = Chip::kept(made.chip(), kept, Arc::new(mirror), seed);
        Ok(Folder {
            made,
            hw: Hardware::new(chip),
            root,
            ca_pem,
            _lock: lock,
        })
    }
}

impl Made {
    /// Reads and checks `device.json` of a folder.
    pub fn read(dir: &Path) -> Result<Made, DeviceDirError> {
        let path = dir.join("device.json");
        let text = fs::read_to_string(&path).map_err(|e| DeviceDirError::File(path.clone(), e))?;
        let made: Made = serde_json::from_str(&text).map_err(|e| {
            DeviceDirError::Content(path.clone(), format!("this is no device: {e}"))
        })?;
        match Layout::plan(&made.chip().geometry) {
            Ok(_) if made.size <= 64 << 20 => Ok(made),
            _ => Err(DeviceDirError::Content(
                path,
                "the flash sizes make no sense: restore the file, or start with an empty folder"
                    .into(),
            )),
        }
    }
}

/// The files behind a chip.
#[derive(Debug)]
pub(super) struct Mirror(Mutex<Files>);

#[derive(Debug)]
struct Files {
    flash: File,
    unstable: File,
    wear: File,
    counter: File,
    failure: Option<String>,
}

impl Mirror {
    /// False when a file could not be written: the part is then dead.
    pub(super) fn keep(
        &self,
        at: usize,
        cells: &[u8],
        unstable: &[u8],
        first_unit: usize,
        wear: &[u32],
    ) -> bool {
        let wear: Vec<u8> = wear.iter().flat_map(|w| w.to_le_bytes()).collect();
        self.with(|f| {
            // Doubt first: a kill in between then leaves too much of it.
            write_at(&mut f.unstable, at, unstable)?;
            write_at(&mut f.flash, at, cells)?;
            write_at(&mut f.wear, first_unit * 4, &wear)
        })
    }

    pub(super) fn keep_counter(&self, value: u64) -> bool {
        self.with(|f| write_at(&mut f.counter, 0, &value.to_le_bytes()))
    }

    pub(super) fn failure(&self) -> Option<String> {
        let files = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        files.failure.clone()
    }

    fn with(&self, write: impl FnOnce(&mut Files) -> std::io::Result<()>) -> bool {
        let mut files = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match write(&mut files) {
            Ok(()) => true,
            Err(e) => {
                files.failure = Some(e.to_string());
                false
            }
        }
    }
}

fn write_at(file: &mut File, at: usize, bytes: &[u8]) -> std::io::Result<()> {
    file.seek(SeekFrom::Start(at as u64))?;
    file.write_all(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MADE: &str = r#"{"device_id":"NRD-1","kind":"KIND","model":"M","size":1,"write_size":1,
        "erase_size":1,"best_erase":1,"multiwrite":true,"certificate":"","service_root":""}"#;

    #[test]
    fn a_device_of_an_unknown_kind_is_refused_by_name_and_never_taken_for_another() {
        let read = |word: &str| serde_json::from_str::<Made>(&MADE.replace("KIND", word));
        for kind in DeviceKind::ALL {
            let made = read(kind.name()).unwrap();
            assert_eq!(made.kind, *kind);
            let again = serde_json::to_string(&made).unwrap();
            assert!(
                again.contains(&format!("\"kind\":\"{}\"", kind.name())),
                "{again}"
            );
        }
        let said = read("toaster").unwrap_err().to_string();
        assert!(said.contains("`toaster` is no kind of device"), "{said}");
        assert!(said.contains("set-top-box, console, computer"), "{said}");
    }
}
