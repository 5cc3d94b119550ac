//! Every command line of the README works.

use std::fs;
use std::path::Path;

use crate::support::{Run, diadem, root};

#[test]
fn every_command_line_of_the_readme_works() {
    let Ok(readme) = fs::read_to_string(root().join("README.md")) else {
        eprintln!("SKIPPED: there is no README.md");
        return;
    };
    // Commands may write files: they run in a copy.
    let folder = tempfile::tempdir().unwrap();
    for name in ["examples", "configs"] {
        copy(&root().join(name), &folder.path().join(name));
    }
    for line in command_lines(&readme) {
        let program = ["diadem", "target/release/diadem", "./target/release/diadem", "cargo run --release --"];
        let arguments = program.iter().find_map(|program| line.strip_prefix(program)?.strip_prefix(' '));
        let arguments = arguments
            .unwrap_or_else(|| panic!("README.md: the test cannot run `{line}`; mark it `# not run by the tests`"));
        let arguments: Vec<&str> = arguments.split_whitespace().collect();
        let run = Run::of(diadem(&arguments).current_dir(folder.path()));
        assert!(run.status < 2, "README.md: `{line}` ends with {}: {}", run.status, run.stderr);
    }
}

/// The lines of fenced `sh` blocks, but for comments, set-up, and what is marked.
fn command_lines(readme: &str) -> Vec<String> {
    let mut lines = Vec::new();
    let mut is_shell = false;
    let mut continued = String::new();
    for line in readme.lines() {
        if let Some(language) = line.trim_start().strip_prefix("```") {
            is_shell = !is_shell && language.trim() == "sh";
            continue;
        }
        if !is_shell {
            continue;
        }
        if let Some(start) = line.strip_suffix('\\') {
            continued.push_str(start);
            continue;
        }
        let line = std::mem::take(&mut continued) + line;
        let is_marked = line.contains("# not run by the tests");
        let command = line.split(" #").next().unwrap_or_default().trim().to_owned();
        let is_set_up =
            ["git clone ", "cd ", "cargo build", "cargo install"].iter().any(|start| command.starts_with(start));
        if !is_marked && !is_set_up && !command.is_empty() && !command.starts_with('#') {
            lines.push(command);
        }
    }
    lines
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

#[test]
fn command_lines_are_found() {
    let readme = "text\n```sh\n# a comment\ngit clone x\ndiadem a \\\n  b  # why\ndiadem c  # not run by the tests\n```\n\
                  ```rust\nlet x = 1;\n```\n```sh\ndiadem d\n```\n";
    assert_eq!(command_lines(readme), ["diadem a   b", "diadem d"]);
}
