//! The rules of ARCHITECTURE.md, read off the manifests and the sources.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use crate::support::root;

/// The libraries and what each may use.
const ARROWS: [(&str, &[&str]); 5] = [
    ("network", &[]),
    ("bounds", &["network"]),
    ("checker", &["network"]),
    ("driver", &["bounds", "checker", "network"]),
    ("model", &["network"]),
];

/// Shaders without a twin: they move data that the host has in place, schedule, or choose as `host.rs` does between kernels.
const GPU_ONLY: [&str; 3] = ["assign_rows", "split_choice", "store_slopes"];

/// Shaders that share another's twin: the same for some shapes, faster, or a part of what the twin does at once.
const VARIANTS: [(&str, &str); 2] = [("back_dense_tiled", "back_dense"), ("split_share", "split_score")];

/// Shaders whose results are compared in the state or the result that they leave, not one by one.
const COMPARED_BY_STATE: [&str; 9] = [
    "interval_add",
    "interval_conv",
    "interval_dense",
    "interval_max_pool",
    "interval_sparse",
    "relax",
    "select",
    "concretize",
    "split_score",
];

/// Shaders of lanes, and what they are compared with: a native twin, or the field of the result that shows what they did.
const LANES: [(&str, &str); 13] = [
    ("assign_lanes", "until_positive"),
    ("back_lanes", "kernels::back_lanes"),
    ("end_lanes", "kernels::conclude"),
    ("keep_signs", "kernels::note_signs"),
    ("lane_splits", "got.beta"),
    ("onward_conv", "kernels::onward_conv"),
    ("onward_lines", "kernels::onward_lines"),
    ("onward_max_pool", "kernels::onward_max_pool"),
    ("pack_lanes", "got.minimiser"),
    ("seed_lanes", "kernels::seed"),
    ("start_lanes", "got.alpha"),
    ("store_best", "the best slopes"),
    ("take_gaps", "got.gaps"),
];

/// Shaders of whole programs, and the methods that launch them.
const FUSED: [(&str, &str); 3] = [("bound_boxes", "bound"), ("branch_boxes", "branch"), ("advance", "branch")];

/// Most lines of a source file, test files left out.
const MOST_LINES: usize = 600;

/// Names of dependencies in a manifest, those of tests left out.
fn dependencies(manifest: &Path) -> BTreeSet<String> {
    let text = fs::read_to_string(manifest).unwrap();
    let mut section = String::new();
    let mut names = BTreeSet::new();
    for line in text.lines() {
        if let Some(name) = line.strip_prefix('[') {
            section = String::from(name.trim_end_matches(']'));
        } else if section.ends_with("dependencies") && !section.contains("dev-") && !section.contains("workspace") {
            let name = line.split(['.', '=', ' ']).next().unwrap_or_default();
            if !name.is_empty() && !name.starts_with('#') {
                names.insert(name.to_owned());
            }
        }
    }
    names
}

/// All files under a folder with this extension, in order.
fn files(folder: &Path, extension: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display())) {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path, extension));
        } else if path.extension().is_some_and(|found| found == extension) {
            found.push(path);
        }
    }
    found.sort();
    found
}

fn relative(path: &Path) -> String {
    path.strip_prefix(root()).unwrap().to_string_lossy().replace('\\', "/")
}

fn stem(path: &Path) -> String {
    path.file_stem().unwrap().to_string_lossy().into_owned()
}

fn is_test(path: &str) -> bool {
    path.contains("/tests/") || path.ends_with("/tests.rs")
}

/// A source without its unit tests and comments.
fn code(path: &Path) -> String {
    let text = fs::read_to_string(path).unwrap();
    let text = text.split("#[cfg(test)]\nmod ").next().unwrap_or_default();
    text.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n")
}

#[test]
fn crates_use_only_what_the_arrows_allow() {
    let ours: Vec<&str> = ARROWS.iter().map(|(name, _)| *name).collect();
    for (name, allowed) in ARROWS {
        let used = dependencies(&root().join("crates").join(name).join("Cargo.toml"));
        for other in &ours {
            assert!(!used.contains(*other) || allowed.contains(other), "{name} must not use {other}");
        }
    }
    let folders: BTreeSet<String> = fs::read_dir(root().join("crates"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    let expected: BTreeSet<String> = ours.iter().copied().chain(["cli"]).map(str::to_owned).collect();
    assert_eq!(folders, expected, "a new crate needs its arrows here and in ARCHITECTURE.md");
}

#[test]
fn special_dependencies_stay_where_they_belong() {
    let manifests = [
        ("", "cli"),
        ("crates/network", "network"),
        ("crates/bounds", "bounds"),
        ("crates/checker", "checker"),
        ("crates/driver", "driver"),
        ("crates/model", "model"),
    ];
    for (folder, name) in manifests {
        let used = dependencies(&root().join(folder).join("Cargo.toml"));
        for (dependency, owner) in [
            ("wgpu", "bounds"),
            ("naga", "bounds"),
            ("pollster", "bounds"),
            ("anyhow", "cli"),
            ("clap", "cli"),
            ("prost", "network"),
            ("image", "cli model"),
            ("burn", "model"),
        ] {
            let is_owner = owner.split(' ').any(|owner| name == owner);
            assert!(!used.contains(dependency) || is_owner, "{dependency} belongs to {owner}, not to {name}");
        }
    }
}

#[test]
fn only_the_command_line_prints() {
    for (name, _) in ARROWS {
        for path in files(&root().join("crates").join(name).join("src"), "rs") {
            if is_test(&relative(&path)) {
                continue;
            }
            let code = code(&path);
            for macro_name in ["println!", "print!", "eprintln!", "eprint!"] {
                assert!(!code.contains(macro_name), "{} prints", relative(&path));
            }
        }
    }
}

#[test]
fn nothing_is_left_undone() {
    for path in files(&root().join("crates"), "rs") {
        let code = code(&path);
        for macro_name in ["todo!(", "unimplemented!(", "dbg!("] {
            assert!(!code.contains(macro_name), "{}: {macro_name}", relative(&path));
        }
    }
}

#[test]
fn every_shader_of_an_algorithm_has_a_twin_that_it_is_compared_with() {
    let kernels = root().join("crates/bounds/src/kernels");
    let comparison = fs::read_to_string(root().join("crates/bounds/src/device/gpu/tests.rs")).unwrap();
    let shaders = ["interval", "back"].map(|family| files(&root().join("shaders").join(family), "wgsl")).concat();
    assert!(shaders.len() > GPU_ONLY.len());
    for shader in &shaders {
        let stem = stem(shader);
        let stem = VARIANTS.iter().find(|(variant, _)| *variant == stem).map_or(stem, |(_, twin)| (*twin).to_owned());
        if GPU_ONLY.contains(&stem.as_str()) {
            assert!(!kernels.join(format!("{stem}.rs")).exists(), "{stem} has a twin: it is not for the GPU alone");
            continue;
        }
        assert!(kernels.join(format!("{stem}.rs")).exists(), "{} has no twin", relative(shader));
        let call =
            if COMPARED_BY_STATE.contains(&stem.as_str()) { "host::state(".into() } else { format!("kernels::{stem}") };
        assert!(comparison.contains(&call), "{} is not compared with its twin", relative(shader));
    }
}

#[test]
fn every_shader_of_lanes_is_compared_with_the_host() {
    let comparison = fs::read_to_string(root().join("crates/bounds/src/device/gpu/lanes/tests.rs")).unwrap();
    for shader in files(&root().join("shaders/lanes"), "wgsl") {
        let stem = stem(&shader);
        let call = LANES.iter().find(|(shader, _)| *shader == stem).map(|(_, call)| *call);
        assert!(call.is_some_and(|call| comparison.contains(call)), "{} is not compared", relative(&shader));
    }
    // The products of a relaxed forward pass are entry points of the backward ones.
    for call in ["kernels::onward_dense", "kernels::onward_sparse", "kernels::onward_merge"] {
        assert!(comparison.contains(call), "{call} is not compared");
    }
}

#[test]
fn every_fused_shader_is_compared_with_the_host() {
    let folder = root().join("crates/bounds/src/device/gpu/fused");
    let comparison = fs::read_to_string(folder.join("tests.rs")).unwrap();
    assert!(comparison.contains("host::bound("), "whole programs have the host's executor for a twin");
    for shader in files(&root().join("shaders/fused"), "wgsl") {
        let stem = stem(&shader);
        let launcher = FUSED.iter().find(|(shader, _)| *shader == stem).map(|(_, method)| format!(".{method}("));
        assert!(launcher.is_some_and(|call| comparison.contains(&call)), "{} is not compared", relative(&shader));
    }
}

#[test]
fn files_stay_short() {
    for path in files(&root().join("crates"), "rs") {
        let (name, n_lines) = (relative(&path), fs::read_to_string(&path).unwrap().lines().count());
        if is_test(&name) {
            continue;
        }
        assert!(n_lines <= MOST_LINES, "{name} has {n_lines} lines: look for the second noun");
    }
}

#[test]
fn every_test_file_is_part_of_the_tests() {
    let main = fs::read_to_string(root().join("tests/main.rs")).unwrap();
    for path in files(&root().join("tests"), "rs") {
        let stem = stem(&path);
        assert!(stem == "main" || main.contains(&format!("mod {stem};")), "tests/{stem}.rs is never run");
    }
}

#[test]
fn sources_name_no_machine() {
    let sources = ["crates", "tests", "benches", "examples"].map(|folder| files(&root().join(folder), "rs")).concat();
    for path in sources {
        let text = fs::read_to_string(&path).unwrap();
        // Spelled in parts, so that this line is not found.
        for place in [["/wo", "rk/"], ["/ho", "me/"], ["/ro", "ot/"], ["/tm", "p/"]] {
            assert!(!text.contains(&place.concat()), "{} names {}", relative(&path), place.concat());
        }
    }
}
