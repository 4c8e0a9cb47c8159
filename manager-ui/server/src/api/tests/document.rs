//! The description of the interface, from which the page's client is made (WS/T 545: ARC-15).

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use crate::api::{described, document};

/// Set to have the file written where it differs.
const WRITE: &str = "CONSILIUM_WRITE_OPENAPI";

#[test]
fn the_page_is_made_from_the_description_that_the_code_gives() {
    let mut document = described().into_openapi();
    document::finish(&mut document);
    let mut told = serde_json::to_string_pretty(&document).unwrap();
    told.push('\n');
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../web/openapi.json");
    let kept = fs::read_to_string(&file).unwrap_or_default();
    // Written or not, what was checked in is not what the code gives.
    if kept != told && std::env::var_os(WRITE).is_some() {
        fs::write(&file, &told).unwrap();
    }
    let help = format!(
        "the interface has changed: run this test with {WRITE}=1, which writes the file and fails once \
         more, then `npm ci && npm run check && npm test` in manager-ui/web, which say what new words \
         the page needs"
    );
    assert!(kept == told, "{help}");
}

/// Descriptions of the same name take each other's place, and requests are told a wrong body.
#[test]
fn every_type_of_the_interface_has_a_name_of_its_own() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/api");
    let mut named: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|ending| ending != "rs") {
            continue;
        }
        for name in described_types(&fs::read_to_string(&path).unwrap()) {
            named
                .entry(name)
                .or_default()
                .push(path.display().to_string());
        }
    }
    assert!(named.len() >= 15, "{named:?}");
    named.retain(|_, files| files.len() > 1);
    assert!(named.is_empty(), "give them `#[schema(as = …)]`: {named:?}");
}

/// Names in the description of a file's types: their own, or the one of `#[schema(as = …)]`.
fn described_types(source: &str) -> Vec<String> {
    let mut names = Vec::new();
    let mut lines = source.lines();
    while let Some(line) = lines.next() {
        if !line.starts_with("#[derive(") || !line.contains("ToSchema") {
            continue;
        }
        let mut given = None;
        for line in lines.by_ref() {
            let word = |text: &str| -> String {
                let is_part = |c: &char| c.is_alphanumeric() || *c == '_';
                text.chars().take_while(is_part).collect()
            };
            if let Some((_, name)) = line.split_once("(as = ") {
                given = Some(word(name));
            }
            let item = [" struct ", " enum "].iter().find_map(|kind| {
                let line = format!(" {line}");
                line.split_once(kind).map(|(_, name)| word(name))
            });
            if let Some(own) = item.filter(|_| !line.trim_start().starts_with("//")) {
                names.push(given.unwrap_or(own));
                break;
            }
        }
    }
    names
}
