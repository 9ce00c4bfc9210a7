//! Which tests reach a mutant, and whether one of them fails with it.

use crate::build::Program;
use std::collections::{BTreeMap, HashSet};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

/// Tests that take longer, in seconds, judge nothing.
const LONGEST: f64 = 30.0;

/// One test, by itself.
pub(crate) struct Test<'p> {
    program: &'p Program,
    name: String,
    seconds: f64,
    reaches: HashSet<usize>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Verdict {
    /// A test failed.
    Caught,
    /// A test came to no end and was stopped.
    Ended,
    /// All tests passed.
    Left,
}

/// The tests `names` of `program`, with so many seconds to end. `timeout` of the
/// coreutils stops them then, with all that they have started, even when this
/// program is no more.
fn command(program: &Program, names: &[&str], seconds: f64) -> Command {
    let mut command = Command::new("timeout");
    // Few lives in each test; `log_lives` is nothing but lives.
    let lives = if program.name == "log_lives" {
        "10"
    } else {
        "1"
    };
    command
        .args(["--kill-after=1", &format!("{seconds:.0}")])
        .arg(&program.path)
        .arg("--exact")
        .args(names)
        .current_dir(&program.folder)
        .env("NRD_LIVES", lives)
        .env("NRD_CASES", "20")
        .env("RUST_BACKTRACE", "0")
        .env_remove("NRD_REQUIRE_ALL")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    command
}

/// True or false as the tests pass; `None` when they were stopped.
fn run(mut command: Command) -> Result<Option<bool>, String> {
    let status = command.status().map_err(|e| format!("timeout: {e}"))?;
    Ok(match status.code() {
        Some(124 | 137) => None,
        _ => Some(status.success()),
    })
}

/// Does `work` on each of `items`, as many at a time as there are cores.
fn side_by_side<T: Sync, R: Send>(
    items: &[T],
    work: impl Fn(&T) -> Result<R, String> + Sync,
) -> Result<Vec<R>, String> {
    let next = AtomicUsize::new(0);
    let done = Mutex::new(Vec::new());
    let cores = std::thread::available_parallelism().map_or(1, |n| n.get());
    std::thread::scope(|scope| {
        for _ in 0..cores {
            scope.spawn(|| {
                while let Some((n, item)) = {
                    let n = next.fetch_add(1, Ordering::Relaxed);
                    items.get(n).map(|item| (n, item))
                } {
                    let result = work(item);
                    done.lock().expect("no panic").push((n, result));
                }
            });
        }
    });
    let mut done = done.into_inner().expect("no panic");
    done.sort_by_key(|(n, _)| *n);
    done.into_iter().map(|(_, result)| result).collect()
}

/// Runs every test once, all mutants off, and notes what each reaches.
pub(crate) fn reach<'p>(programs: &'p [Program], work: &Path) -> Result<Vec<Test<'p>>, String> {
    let mut all = Vec::new();
    for program in programs {
        let listed = Command::new(&program.path)
            .args(["--list", "--format", "terse"])
            .current_dir(&program.folder)
            .output()
            .map_err(|e| e.to_string())?;
        let listed = String::from_utf8_lossy(&listed.stdout).into_owned();
        let names = listed.lines().filter_map(|l| l.strip_suffix(": test"));
        all.extend(names.map(|name| (program, name.to_owned())));
    }
    let notes = tempfile::tempdir_in(work).map_err(|e| e.to_string())?;
    let found = side_by_side(&all, |(program, name)| {
        let note = notes
            .path()
            .join(format!("{}-{}", program.name, name.replace(':', "_")));
        let mut command = command(program, &[name], 600.0);
        command
            .env("NRD_MUTANT", "reach")
            .env("NRD_MUTANTS_REACHED", &note);
        let begun = Instant::now();
        let passed = run(command)?;
        let seconds = begun.elapsed().as_secs_f64();
        if passed != Some(true) {
            eprintln!(
                "{} {name} fails without a mutant: it judges nothing",
                program.name
            );
            return Ok(None);
        }
        if seconds > LONGEST {
            eprintln!(
                "{} {name} takes {seconds:.0} s: it judges nothing",
                program.name
            );
            return Ok(None);
        }
        let text = std::fs::read_to_string(&note).unwrap_or_default();
        Ok(Some(Test {
            program,
            name: name.clone(),
            seconds,
            reaches: text.lines().filter_map(|l| l.parse().ok()).collect(),
        }))
    })?;
    let mut tests: Vec<Test<'_>> = found.into_iter().flatten().collect();
    tests.sort_by(|a, b| a.seconds.total_cmp(&b.seconds));
    Ok(tests)
}

/// Judges `numbers`, in their order; calls `left` for each that no test notices.
pub(crate) fn judge(
    tests: &[Test<'_>],
    numbers: &[usize],
    left: impl Fn(usize) + Sync,
) -> Result<Vec<Verdict>, String> {
    side_by_side(numbers, |&number| {
        let verdict = verdict(tests, number)?;
        if verdict == Verdict::Left {
            left(number);
        }
        Ok(verdict)
    })
}

/// The quickest tests first, more and more of them at a time.
fn verdict(tests: &[Test<'_>], number: usize) -> Result<Verdict, String> {
    let mut rest = tests
        .iter()
        .filter(|t| t.reaches.contains(&number))
        .peekable();
    let mut most = 0.5;
    while rest.peek().is_some() {
        let mut together: BTreeMap<&Path, Vec<&Test<'_>>> = BTreeMap::new();
        let mut seconds = 0.0;
        while let Some(test) = rest.next_if(|t| seconds == 0.0 || seconds + t.seconds <= most) {
            seconds += test.seconds;
            together.entry(&test.program.path).or_default().push(test);
        }
        most = (most * 3.0).min(20.0);
        for tests in together.into_values() {
            let Some(first) = tests.first() else { continue };
            let names: Vec<&str> = tests.iter().map(|t| t.name.as_str()).collect();
            let usual: f64 = tests.iter().map(|t| t.seconds).sum();
            let mut command = command(first.program, &names, 15.0 + 6.0 * usual);
            command.env("NRD_MUTANT", number.to_string());
            match run(command)? {
                Some(true) => {}
                Some(false) => return Ok(Verdict::Caught),
                None => return Ok(Verdict::Ended),
            }
        }
    }
    Ok(Verdict::Left)
}
