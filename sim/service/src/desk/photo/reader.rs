//! Has photos read in a process of their own: a few at a time, others wait
//! in a short queue, and none for long.

use super::{Answer, MAX_FILE, PhotoError};
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::Command;
use tokio::sync::Semaphore;

/// Photos that are read at once.
const AT_ONCE: usize = 2;
/// Photos that are read or wait; one more is refused.
const AT_MOST: usize = 12;
/// How long a photo may take; its process is killed then.
const PATIENCE: Duration = Duration::from_secs(20);
/// Longest line that is taken from the process, in bytes.
const MAX_LINE: u64 = 8 * 1024;

/// Reads photos.
#[derive(Clone)]
pub struct PhotoReader {
    /// The program that has the command `read-photo`; `None`: no photos.
    program: Option<PathBuf>,
    reading: Arc<Semaphore>,
    inside: Arc<Semaphore>,
}

impl Default for PhotoReader {
    /// Reads none, and says so.
    fn default() -> PhotoReader {
        PhotoReader {
            program: None,
            reading: Arc::new(Semaphore::new(AT_ONCE)),
            inside: Arc::new(Semaphore::new(AT_MOST)),
        }
    }
}

impl PhotoReader {
    /// Reads with `program read-photo`, which is `nrd-sim`.
    pub fn with(program: PathBuf) -> PhotoReader {
        PhotoReader {
            program: Some(program),
            ..PhotoReader::default()
        }
    }

    /// Reads with the program that runs now, which must be `nrd-sim`.
    pub fn of_this_program() -> PhotoReader {
        match std::env::current_exe() {
            Ok(program) => PhotoReader::with(program),
            Err(e) => {
                tracing::warn!(error = %e, "photos of codes are not read");
                PhotoReader::default()
            }
        }
    }

    /// The text of the code in the photo `file`. Dropping the future kills
    /// the process: nobody waits for its answer.
    ///
    /// # Errors
    /// When there is none, or the picture is not one to be read.
    pub async fn read(&self, file: Vec<u8>) -> Result<String, PhotoError> {
        let program = self.program.as_ref().ok_or(PhotoError::NotHere)?;
        if file.len() > MAX_FILE {
            return Err(PhotoError::TooLarge);
        }
        let _inside = self.inside.try_acquire().map_err(|_| PhotoError::Busy)?;
        self.read_next(program, file).await
    }

    /// [`PhotoReader::read`] for one of many photos: it waits for its turn, however
    /// many others wait.
    ///
    /// # Errors
    /// The same, and never that others are being read.
    pub async fn read_in_turn(&self, file: Vec<u8>) -> Result<String, PhotoError> {
        let program = self.program.as_ref().ok_or(PhotoError::NotHere)?;
        if file.len() > MAX_FILE {
            return Err(PhotoError::TooLarge);
        }
        self.read_next(program, file).await
    }

    async fn read_next(&self, program: &PathBuf, file: Vec<u8>) -> Result<String, PhotoError> {
        let _reading = self.reading.acquire().await.map_err(|_| PhotoError::Busy)?;
        let read = self.ask(program, file);
        match tokio::time::timeout(PATIENCE, read).await {
            Ok(Ok(answer)) => answer.result(),
            Ok(Err(e)) => {
                tracing::error!(error = %e, "the process that reads photos");
                Err(PhotoError::NotHere)
            }
            Err(_) => Err(PhotoError::TooMuch),
        }
    }

    /// [`PhotoReader::read`] for a caller without a runtime.
    ///
    /// # Errors
    /// The same.
    pub fn read_blocking(&self, file: Vec<u8>) -> Result<String, PhotoError> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build();
        match runtime {
            Ok(runtime) => runtime.block_on(self.read(file)),
            Err(e) => {
                tracing::error!(error = %e, "photos of codes are not read");
                Err(PhotoError::NotHere)
            }
        }
    }

    async fn ask(&self, program: &PathBuf, file: Vec<u8>) -> std::io::Result<Answer> {
        let mut child = Command::new(program)
            .arg("read-photo")
            .env_clear()
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()?;
        let (Some(mut stdin), Some(stdout)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(std::io::Error::other("no pipes to it"));
        };
        let give = async move {
            // A process that ended before it read everything has said why.
            let _given = stdin.write_all(&file).await;
            drop((stdin, file));
            std::future::pending::<()>().await;
        };
        let mut line = String::new();
        let mut stdout = stdout.take(MAX_LINE);
        tokio::select! {
            heard = stdout.read_to_string(&mut line) => heard?,
            () = give => 0,
        };
        // It has nothing more to say, or says too much.
        child.kill().await?;
        Ok(Answer::parse(&line))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;
    use std::path::Path;

    /// A program that does `what` instead of reading a photo.
    fn program(dir: &Path, what: &str) -> PhotoReader {
        let path = dir.join("program");
        std::fs::write(&path, format!("#!/bin/sh\n{what}\n")).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o700)).unwrap();
        PhotoReader::with(path)
    }

    /// A program that notes its number and then does nothing for long.
    fn hanging(dir: &Path) -> PhotoReader {
        let note = dir.join("pids").display().to_string();
        program(dir, &format!("echo $$ >> {note}; exec /bin/sleep 600"))
    }

    async fn pids(dir: &Path, n: usize) -> Vec<String> {
        loop {
            let noted = std::fs::read_to_string(dir.join("pids")).unwrap_or_default();
            let pids: Vec<_> = noted.lines().map(str::to_owned).collect();
            if pids.len() >= n {
                return pids;
            }
            tokio::task::yield_now().await;
        }
    }

    /// Waits until the process is gone, or a zombie that tokio will reap.
    async fn gone(pid: &str) {
        loop {
            match std::fs::read_to_string(format!("/proc/{pid}/stat")) {
                Ok(stat) if !stat.contains(") Z") => tokio::task::yield_now().await,
                _ => return,
            }
        }
    }

    #[tokio::test]
    async fn what_a_process_says_is_an_answer_and_what_it_does_not_is_none() {
        let dir = tempfile::tempdir().unwrap();
        for (what, answer) in [
            ("cat > /dev/null; printf 'code NRD:1:X Y'", Ok("NRD:1:X Y")),
            ("printf no-code", Err(PhotoError::NoCode)),
            ("printf too-many-pixels", Err(PhotoError::TooManyPixels)),
            // It was ended, or its output is not what this program writes.
            ("kill -9 $$", Err(PhotoError::TooMuch)),
            ("exit 1", Err(PhotoError::TooMuch)),
            ("yes", Err(PhotoError::TooMuch)),
        ] {
            let reader = program(dir.path(), what);
            let read = reader.read(vec![7; 1 << 20]).await;
            assert_eq!(read, answer.map(str::to_owned), "{what}");
        }
        let nowhere = PhotoReader::with(dir.path().join("nothing"));
        assert_eq!(nowhere.read(Vec::new()).await, Err(PhotoError::NotHere));
        let none = PhotoReader::default();
        assert_eq!(none.read(Vec::new()).await, Err(PhotoError::NotHere));
        let reader = program(dir.path(), "printf no-code");
        let large = reader.read(vec![0; MAX_FILE + 1]).await;
        assert_eq!(large, Err(PhotoError::TooLarge));
    }

    /// Time is the test's: it jumps to the next timer when nothing else is left.
    #[tokio::test(start_paused = true)]
    async fn a_process_that_takes_too_long_is_killed() {
        let dir = tempfile::tempdir().unwrap();
        let reader = hanging(dir.path());
        let reading = tokio::spawn(async move { reader.read(vec![1]).await });
        let pid = pids(dir.path(), 1).await.remove(0);
        assert_eq!(reading.await.unwrap(), Err(PhotoError::TooMuch));
        gone(&pid).await;
    }

    #[tokio::test]
    async fn a_photo_that_nobody_waits_for_is_not_read_on() {
        let dir = tempfile::tempdir().unwrap();
        let reader = hanging(dir.path());
        let reading = tokio::spawn(async move { reader.read(vec![1]).await });
        let pid = pids(dir.path(), 1).await.remove(0);
        reading.abort();
        gone(&pid).await;
    }

    #[tokio::test]
    async fn two_are_read_a_few_wait_and_the_rest_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let reader = hanging(dir.path());
        let read = |_| {
            let reader = reader.clone();
            tokio::spawn(async move { reader.read(vec![1]).await })
        };
        let inside: Vec<_> = (0..AT_MOST).map(read).collect();
        pids(dir.path(), AT_ONCE).await;
        for refused in (0..64).map(read) {
            assert_eq!(refused.await.unwrap(), Err(PhotoError::Busy));
        }
        assert_eq!(pids(dir.path(), AT_ONCE).await.len(), AT_ONCE);
        inside.iter().for_each(|r| r.abort());
    }
}
