//! The container file of the guide: it holds what the program needs and nothing that it should not, and
//! what it says agrees with the program (MCU-20 in part).

use std::fs;
use std::path::Path;
use std::process::Command;

use tests::root;
use tests::server::binary;

/// In every Debian.
const ALWAYS_THERE: [&str; 2] = ["libc6", "libgcc-s1"];

fn container_file() -> String {
    fs::read_to_string(root().join("docs/guide/container/Containerfile")).unwrap()
}

/// The words of all lines that begin with this one, continued lines included.
fn instructions<'a>(text: &'a str, name: &str) -> Vec<Vec<&'a str>> {
    let mut found = Vec::new();
    let mut lines = text.lines().filter(|line| !line.starts_with('#'));
    while let Some(mut line) = lines.next() {
        let mut words: Vec<&str> = line.split_whitespace().collect();
        while line.ends_with('\\') {
            line = lines.next().unwrap();
            words.extend(line.split_whitespace());
        }
        if words.first() == Some(&name) {
            found.push(words.split_off(1));
        }
    }
    found
}

fn only<'a>(text: &'a str, name: &str) -> Vec<&'a str> {
    let mut found = instructions(text, name);
    assert_eq!(found.len(), 1, "{name}");
    found.remove(0)
}

/// Libraries that the dynamic linker loads for the program itself.
fn needed(program: &Path) -> Vec<String> {
    let output = Command::new("readelf")
        .args(["--dynamic", "--wide"])
        .arg(program)
        .output()
        .expect("run readelf");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let names = text.lines().filter(|line| line.contains("(NEEDED)"));
    let name = |line: &str| Some(line.split_once('[')?.1.trim_end_matches(']').to_owned());
    names.filter_map(name).collect()
}

/// The Debian package that a library of this machine comes from.
fn package_of(library: &str) -> String {
    let output = Command::new("dpkg")
        .args(["--search", &format!("*/{library}")])
        .output()
        .expect("run dpkg");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let package = text.split(':').next().unwrap();
    assert!(!package.is_empty(), "{library}: {output:?}");
    package.to_owned()
}

#[test]
fn it_installs_the_libraries_that_the_program_is_linked_with() {
    let text = container_file();
    let runs = instructions(&text, "RUN");
    let installed = runs.last().unwrap();
    let libraries = needed(&binary());
    assert!(libraries.len() > 4, "{libraries:?}");
    for library in libraries {
        let package = package_of(&library);
        let there = ALWAYS_THERE.contains(&&*package) || installed.contains(&&*package);
        assert!(there, "{package}, for {library}, is not installed");
    }
}

#[test]
fn it_runs_as_nobody_in_particular_and_ends_orderly() {
    let text = container_file();
    let user = only(&text, "USER").join(" ");
    assert_eq!(user, "10001:10001");
    assert!(text.contains("--uid 10001 "));
    // What `consilium serve` takes for hanging all calls up.
    assert_eq!(only(&text, "STOPSIGNAL"), ["SIGTERM"]);
    let entry: Vec<String> = serde_json::from_str(&only(&text, "ENTRYPOINT").join(" ")).unwrap();
    let words = ["/usr/bin/tini", "--", "/usr/local/bin/consilium"];
    assert_eq!(entry, words);
    let command: Vec<String> = serde_json::from_str(&only(&text, "CMD").join(" ")).unwrap();
    assert_eq!(command[0], "serve");
    assert!(!text.contains("--demo"), "closed by default");
    let kept = only(&text, "VOLUME").join(" ");
    assert_eq!(command.last(), Some(&kept));
}

#[test]
fn it_names_the_default_ports_and_no_secret() {
    let text = container_file();
    let ports = ["8443/tcp", "5060/tcp", "5060/udp", "20000-23999/udp"];
    assert_eq!(only(&text, "EXPOSE"), ports);
    let reference = fs::read_to_string(root().join("docs/ref/configuration.md")).unwrap();
    for default in ["[::]:8443", "[::]:5060", "\"20000-23999\""] {
        assert!(reference.contains(default), "{default}");
    }
    assert!(instructions(&text, "ENV").is_empty());
    for argument in instructions(&text, "ARG") {
        assert!(argument[0].contains("=docker.io/library/"), "{argument:?}");
    }
    // Nothing of the builder's comes along but the program.
    let copies = instructions(&text, "COPY");
    let kept = copies.last().unwrap();
    let words = [
        "--from=build",
        "/src/target/release/consilium",
        "/usr/local/bin/consilium",
    ];
    assert_eq!(*kept, words);
    assert_eq!(instructions(&text, "FROM").len(), 2);
}
