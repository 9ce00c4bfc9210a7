//! The docs name only what exists: every relative link, every heading that a
//! link points to, every path of the repository, every test that is cited as
//! evidence. Every page is reached from the README, every dependency has its
//! reason, PORTING's C compiles, and no withdrawn standard is claimed.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// A path that begins with one of these is one of the repository.
const FOLDERS: [&str; 8] = [
    "agent/", "hal/", "sim/", "tests/", "docs/", "xtask/", ".ci/", ".cargo/",
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Every page, as a path from the root.
fn pages() -> Vec<PathBuf> {
    let mut pages: Vec<PathBuf> = [
        "README.md",
        "CHANGELOG.md",
        "CONTRIBUTING.md",
        "SECURITY.md",
    ]
    .iter()
    .map(PathBuf::from)
    .collect();
    let mut folders = vec![PathBuf::from("docs")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(root().join(&folder)).unwrap() {
            let entry = entry.unwrap();
            let path = folder.join(entry.file_name());
            if entry.file_type().unwrap().is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|e| e == "md") {
                pages.push(path);
            }
        }
    }
    pages.sort();
    pages
}

fn read(page: &Path) -> String {
    fs::read_to_string(root().join(page)).unwrap_or_else(|e| panic!("{}: {e}", page.display()))
}

/// Each line with its number, and whether it stands in a fenced block.
fn lines(text: &str) -> impl Iterator<Item = (usize, &str, bool)> {
    let mut fenced = false;
    text.lines().enumerate().map(move |(n, line)| {
        let fence = line.trim_start().starts_with("```");
        fenced ^= fence;
        (n + 1, line, fenced || fence)
    })
}

/// Targets of the Markdown links and pictures of a line.
fn links(line: &str) -> Vec<&str> {
    line.split("](")
        .skip(1)
        .filter_map(|rest| rest.split_once(')').map(|(target, _)| target))
        .collect()
}

/// The name under which a link finds a heading, as GitHub makes it.
fn anchor(heading: &str) -> String {
    heading
        .to_lowercase()
        .chars()
        .filter_map(|c| match c {
            ' ' => Some('-'),
            c if c.is_alphanumeric() || c == '-' || c == '_' => Some(c),
            _ => None,
        })
        .collect()
}

fn anchors(page: &Path) -> BTreeSet<String> {
    let text = read(page);
    lines(&text)
        .filter(|(_, _, fenced)| !fenced)
        .filter_map(|(_, line, _)| line.strip_prefix('#'))
        .map(|rest| anchor(rest.trim_start_matches('#').trim()))
        .collect()
}

/// Words of a line that name a path of the repository.
fn paths(line: &str) -> Vec<&str> {
    line.split(|c: char| c.is_whitespace() || "`()|,;\"'".contains(c))
        .map(|word| word.trim_start_matches("../").trim_end_matches(['.', ':']))
        .filter(|word| FOLDERS.iter().any(|folder| word.starts_with(folder)))
        // `file.rs:71`, `PAGE.md#heading` and `folder/*.toml`.
        .map(|word| word.split_once([':', '#']).map_or(word, |(path, _)| path))
        .map(|word| match word.split_once('*') {
            Some((before, _)) => before.rsplit_once('/').map_or("", |(folder, _)| folder),
            None => word,
        })
        .collect()
}

#[test]
fn every_relative_link_leads_to_a_file_and_to_a_heading_in_it() {
    let mut broken = Vec::new();
    let mut seen = 0;
    for page in pages() {
        let folder = page.parent().unwrap();
        for (n, line, fenced) in lines(&read(&page)) {
            for link in links(line).into_iter().filter(|_| !fenced) {
                if link.contains("://") || link.starts_with("mailto:") {
                    continue;
                }
                seen += 1;
                let (file, heading) = link.split_once('#').unwrap_or((link, ""));
                let target = match file {
                    "" => page.clone(),
                    file => folder.join(file),
                };
                let found = root().join(&target).exists()
                    && (heading.is_empty() || anchors(&target).contains(heading));
                if !found {
                    broken.push(format!("{}:{n}: {link}", page.display()));
                }
            }
        }
    }
    assert!(seen > 50, "only {seen} links were found");
    assert!(broken.is_empty(), "\n{}", broken.join("\n"));
}

#[test]
fn every_path_that_a_page_names_exists() {
    let mut broken = Vec::new();
    let mut seen = 0;
    for page in pages() {
        // What a command printed, and what was, name files in their own way.
        let history = page.starts_with("docs/reports") || page == Path::new("CHANGELOG.md");
        for (n, line, _) in lines(&read(&page)).filter(|_| !history) {
            for path in paths(line) {
                seen += 1;
                if !root().join(path).exists() {
                    broken.push(format!("{}:{n}: {path}", page.display()));
                }
            }
        }
    }
    assert!(seen > 100, "only {seen} paths were found");
    assert!(broken.is_empty(), "\n{}", broken.join("\n"));
}

/// The tests that a line cites as `path.rs::name`, with their files.
fn cited_tests(line: &str) -> Vec<(&str, &str)> {
    line.split(|c: char| c.is_whitespace() || "`()|,;\"'".contains(c))
        .filter_map(|word| word.split_once(".rs::").map(|(_, name)| (word, name)))
        .map(|(word, name)| (&word[..word.len() - name.len() - 2], name))
        .collect()
}

/// True when `text` has a test of this name: a mention or a helper is none.
fn has_test(text: &str, name: &str) -> bool {
    let lines: Vec<&str> = text.lines().map(str::trim).collect();
    let head = format!("fn {name}(");
    (0..lines.len())
        .filter(|&n| lines[n].trim_start_matches("async ").starts_with(&head))
        .any(|n| {
            let before = lines[..n].iter().rev();
            before
                .take_while(|line| line.starts_with("#[") || line.starts_with("//"))
                .any(|line| line.starts_with("#[") && line.contains("test"))
        })
}

#[test]
fn every_test_that_a_page_cites_exists_and_is_a_test() {
    let mut broken = Vec::new();
    let mut seen = BTreeSet::new();
    for page in pages() {
        for (n, line, _) in lines(&read(&page)) {
            for (file, name) in cited_tests(line) {
                let text = fs::read_to_string(root().join(file)).unwrap_or_default();
                if !has_test(&text, name) {
                    broken.push(format!("{}:{n}: {file}::{name}", page.display()));
                }
                seen.insert(name.to_owned());
            }
        }
    }
    assert!(seen.len() > 40, "only {} tests are cited", seen.len());
    assert!(broken.is_empty(), "\n{}", broken.join("\n"));
}

/// Every text file of the repository that people read or that is compiled.
fn sources() -> Vec<PathBuf> {
    const KINDS: [&str; 10] = [
        "c", "css", "h", "html", "js", "md", "rs", "sql", "toml", "txt",
    ];
    let mut found: Vec<PathBuf> = pages();
    let mut folders: Vec<PathBuf> = FOLDERS.iter().map(PathBuf::from).collect();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(root().join(&folder)).into_iter().flatten() {
            let entry = entry.unwrap();
            let path = folder.join(entry.file_name());
            let kind = entry.file_type().unwrap();
            if kind.is_dir() && entry.file_name() != "target" {
                folders.push(path);
            } else if kind.is_file()
                && path
                    .extension()
                    .is_some_and(|e| KINDS.iter().any(|k| e == *k))
            {
                found.push(path);
            }
        }
    }
    found
}

#[test]
fn nothing_claims_the_withdrawn_revision_of_sp_800_88() {
    // In parts, so that this file does not find itself.
    let claims = ["Rev. 1", "Rev 1", "Rev.1", "Revision 1", "r1"].map(|revision| {
        format!(
            "800-88{}{revision}",
            if revision == "r1" { "" } else { " " }
        )
    });
    // The one sentence that says what happened to it.
    let told = format!("NIST withdrew SP {}", claims[0]);
    let mut broken = Vec::new();
    let mut seen = 0;
    for file in sources() {
        // The past is not rewritten.
        if file == Path::new("CHANGELOG.md") {
            continue;
        }
        let Ok(text) = fs::read_to_string(root().join(&file)) else {
            continue;
        };
        // A claim may go on in the next line of a comment.
        let words = text.split_whitespace();
        let text = words
            .filter(|word| !["///", "//!", "//", "*"].contains(word))
            .collect::<Vec<_>>()
            .join(" ")
            .replace(&told, "");
        seen += usize::from(text.contains("800-88"));
        if let Some(claim) = claims.iter().find(|claim| text.contains(claim.as_str())) {
            broken.push(format!("{}: {claim}", file.display()));
        }
    }
    assert!(seen > 5, "only {seen} files name the standard");
    assert!(broken.is_empty(), "\n{}", broken.join("\n"));
}

#[test]
fn every_page_can_be_reached_from_the_readme() {
    let mut reached = BTreeSet::from([PathBuf::from("README.md")]);
    let mut next = vec![PathBuf::from("README.md")];
    while let Some(page) = next.pop() {
        let folder = page.parent().unwrap();
        for (_, line, _) in lines(&read(&page)) {
            for link in links(line) {
                let file = link.split('#').next().unwrap_or_default();
                if !file.ends_with(".md") || file.contains("://") {
                    continue;
                }
                let mut target = PathBuf::new();
                for part in folder.join(file).components() {
                    match part.as_os_str().to_str() {
                        Some("..") => drop(target.pop()),
                        _ => target.push(part),
                    }
                }
                if root().join(&target).exists() && reached.insert(target.clone()) {
                    next.push(target);
                }
            }
        }
    }
    let all: BTreeSet<PathBuf> = pages().into_iter().collect();
    let lost: Vec<_> = all.difference(&reached).collect();
    assert!(lost.is_empty(), "no link leads to {lost:?}");
}

#[test]
fn every_direct_dependency_has_a_row_with_its_reason() {
    let manifest = |folder: &str| -> toml::Table {
        let path = root().join(folder).join("Cargo.toml");
        let text = fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        text.parse().unwrap()
    };
    let workspace = manifest("");
    let members = workspace["workspace"]["members"].as_array().unwrap();
    let own_workspaces = [
        "tests/bench",
        "tests/fuzz",
        "tests/mutants",
        "tests/firmware/m33",
    ];
    let page = read(Path::new("docs/DEPENDENCIES.md"));
    let named: BTreeSet<&str> = page
        .lines()
        .filter(|line| line.starts_with("| "))
        .flat_map(|line| line.split(|c: char| c.is_whitespace() || ",()`|".contains(c)))
        .collect();
    let folders = members.iter().map(|m| m.as_str().unwrap());
    let mut missing = BTreeSet::new();
    for folder in folders.chain(own_workspaces) {
        let manifest = manifest(folder);
        for section in ["dependencies", "dev-dependencies", "build-dependencies"] {
            let names = manifest.get(section).and_then(|s| s.as_table());
            for name in names.into_iter().flat_map(|s| s.keys()) {
                if !name.starts_with("nrd-") && !named.contains(name.as_str()) {
                    missing.insert(format!("{folder}: {name}"));
                }
            }
        }
    }
    assert!(missing.is_empty(), "no row in DEPENDENCIES: {missing:?}");
}

#[test]
fn the_c_of_porting_compiles_against_the_header() {
    let text = read(Path::new("docs/PORTING.md"));
    let blocks: Vec<&str> = text
        .split("```c\n")
        .skip(1)
        .map(|rest| rest.split("```").next().unwrap_or_default())
        .collect();
    assert!(!blocks.is_empty(), "no C in PORTING");
    // What the page leaves to the board and its operating system.
    const BOARD: &str = "#include \"nrd_agent.h\"\n\
        typedef uint32_t TickType_t;\n\
        #define pdMS_TO_TICKS(ms) ((TickType_t)(ms))\n\
        struct message { int what; };\n\
        int xQueueReceive(void *, struct message *, TickType_t);\n\
        void board_reset(void);\n\
        uint64_t board_uptime_ms(void);\n\
        void obey(struct message *);\n";
    for (n, block) in blocks.iter().enumerate() {
        let source = format!(
            "{BOARD}void task{n}(NrdAgent *agent, NrdHttps *https, NrdLink link, void *inbox) {{\n\
             {block}}}\n"
        );
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("porting.c");
        fs::write(&file, source).unwrap();
        let out = Command::new("cc")
            .args([
                "-std=c11",
                "-Wall",
                "-Wextra",
                "-Werror",
                "-fsyntax-only",
                "-I",
            ])
            .arg(root().join("agent/capi/include"))
            .arg(&file)
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&out.stderr);
        assert!(out.status.success(), "block {n}:\n{said}");
    }
}
