//! Checks of the tree itself: arrows between crates, lengths of functions and files.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;
use syn::spanned::Spanned;
use syn::visit::Visit;

/// Longest function and longest file before its tests, in lines.
const MAX_FUNCTION: usize = 70;
const MAX_FILE: usize = 800;

/// Functions and files that are longer. This list only shrinks.
const EXCEPTIONS: &[&str] = &[];

/// Which of our crates each may use. `mcu-api` is open to all, `tests` and `benches` to nobody else.
const ARROWS: &[(&str, &[&str])] = &[
    ("mcu-api", &[]),
    ("mcu-rtp", &["mcu-api"]),
    ("mcu-media", &["mcu-api", "mcu-rtp"]),
    ("sip", &["mcu-api"]),
    ("h323-bridge", &["mcu-api"]),
    ("mcu-control", &["mcu-api", "sip", "h323-bridge"]),
    ("manager-ui-server", &["mcu-api"]),
    ("recorder", &["mcu-api"]),
    (
        "consilium",
        &[
            "mcu-api",
            "mcu-rtp",
            "mcu-media",
            "mcu-control",
            "sip",
            "h323-bridge",
            "manager-ui-server",
            "recorder",
        ],
    ),
];

/// These may use anything.
const FREE: &[&str] = &["tests", "benches"];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .unwrap()
        .to_path_buf()
}

#[test]
fn crates_use_only_what_the_architecture_allows() {
    let output = Command::new(env!("CARGO"))
        .args([
            "metadata",
            "--format-version",
            "1",
            "--no-deps",
            "--offline",
        ])
        .current_dir(root())
        .output()
        .unwrap();
    let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
    let packages = metadata["packages"].as_array().unwrap();
    let ours: Vec<&str> = packages
        .iter()
        .map(|p| p["name"].as_str().unwrap())
        .collect();
    let allowed: BTreeMap<&str, &[&str]> = ARROWS.iter().copied().collect();
    let mut wrong = Vec::new();
    for package in packages {
        let name = package["name"].as_str().unwrap();
        if FREE.contains(&name) {
            continue;
        }
        let Some(may) = allowed.get(name) else {
            wrong.push(format!("{name} is not in the architecture"));
            continue;
        };
        for dependency in package["dependencies"].as_array().unwrap() {
            let used = dependency["name"].as_str().unwrap();
            if ours.contains(&used) && !may.contains(&used) {
                wrong.push(format!("{name} -> {used}"));
            }
        }
    }
    assert!(ours.len() >= ARROWS.len(), "metadata lists {ours:?}");
    assert!(wrong.is_empty(), "forbidden: {wrong:#?}");
}

#[test]
fn functions_and_files_stay_short() {
    let mut long = Vec::new();
    let mut seen = 0;
    for path in sources() {
        let shown = path.strip_prefix(root()).unwrap().display().to_string();
        let text = fs::read_to_string(&path).unwrap();
        seen += 1;
        let before_tests = text.find("#[cfg(test)]\nmod tests {").unwrap_or(text.len());
        let lines = text[..before_tests].lines().count();
        if lines > MAX_FILE {
            long.push(format!("{shown}: {lines} lines"));
        }
        if path.extension().is_some_and(|e| e == "rs") {
            let file = syn::parse_file(&text).unwrap_or_else(|e| panic!("{shown}: {e}"));
            let mut lengths = Lengths { found: Vec::new() };
            lengths.visit_file(&file);
            for (name, lines) in lengths.found {
                if lines > MAX_FUNCTION {
                    long.push(format!("{shown}: fn {name}: {lines} lines"));
                }
            }
        }
    }
    assert!(seen > 20, "only {seen} source files were found");
    long.retain(|l| !EXCEPTIONS.iter().any(|e| l.starts_with(e)));
    assert!(long.is_empty(), "too long: {long:#?}");
    for exception in EXCEPTIONS {
        assert!(
            root().join(exception.split(':').next().unwrap()).exists(),
            "{exception} is gone"
        );
    }
}

struct Lengths {
    found: Vec<(String, usize)>,
}

impl Lengths {
    fn add(&mut self, name: &syn::Ident, span: proc_macro2::Span) {
        self.found
            .push((name.to_string(), span.end().line - span.start().line + 1));
    }
}

impl<'ast> Visit<'ast> for Lengths {
    fn visit_item_fn(&mut self, item: &'ast syn::ItemFn) {
        self.add(&item.sig.ident, item.block.span());
        syn::visit::visit_item_fn(self, item);
    }

    fn visit_impl_item_fn(&mut self, item: &'ast syn::ImplItemFn) {
        self.add(&item.sig.ident, item.block.span());
        syn::visit::visit_impl_item_fn(self, item);
    }
}

/// Rust and TypeScript sources that git knows, or would add.
fn sources() -> Vec<PathBuf> {
    let output = Command::new("git")
        .args([
            "ls-files",
            "--cached",
            "--others",
            "--exclude-standard",
            "*.rs",
            "*.ts",
            "*.tsx",
        ])
        .current_dir(root())
        .output()
        .unwrap();
    let listed = String::from_utf8(output.stdout).unwrap();
    listed
        .lines()
        .map(|line| root().join(line))
        .filter(|path| path.exists())
        .collect()
}
