//! docs/attacks.md names tests that exist, and counts them right.

use anyhow::{Context, Result, ensure};
use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

/// Where tests are.
const FOLDERS: &[&str] =
    &["attestation", "chain", "enclave", "host", "primitives", "protocol", "sdk", "simulation", "tests"];

/// A row of a table: attack, what happens, scenarios, unit tests, marks.
struct Row {
    scenarios: Vec<String>,
    units: Vec<String>,
    marks: String,
}

fn names(cell: &str) -> Vec<String> {
    cell.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

fn rows(page: &str) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    for line in page.lines().filter(|line| line.starts_with('|') && !line.starts_with("|---")) {
        let cells: Vec<_> = line.trim_matches('|').split('|').map(str::trim).collect();
        let [attack, _, scenarios, units, marks] = cells[..] else {
            anyhow::bail!("a row without five cells: {line}");
        };
        if attack != "attack" {
            rows.push(Row { scenarios: names(scenarios), units: names(units), marks: marks.to_owned() });
        }
    }
    Ok(rows)
}

/// All Rust sources below `folder`.
fn sources(folder: &Path, text: &mut String) -> Result<()> {
    for entry in fs::read_dir(folder).with_context(|| format!("listing {}", folder.display()))? {
        let path = entry?.path();
        if path.is_dir() && !path.ends_with("target") && !path.ends_with("node_modules") {
            sources(&path, text)?;
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            text.push_str(&fs::read_to_string(&path)?);
        }
    }
    Ok(())
}

#[test]
fn every_test_of_the_table_of_attacks_exists() -> Result<()> {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..");
    let page = fs::read_to_string(root.join("docs/attacks.md"))?;
    let rows = rows(&page)?;
    let mut text = String::new();
    for folder in FOLDERS {
        sources(&root.join(folder), &mut text)?;
    }
    let functions: BTreeSet<&str> =
        text.split("fn ").skip(1).filter_map(|rest| Some(rest.split_once(['(', '<'])?.0)).collect();
    let named = rows.iter().flat_map(|row| row.scenarios.iter().chain(&row.units));
    let missing: Vec<_> = named.filter(|name| !functions.contains(name.as_str())).collect();
    ensure!(missing.is_empty(), "docs/attacks.md names tests that are not there: {missing:?}");

    let count = |marked: &dyn Fn(&Row) -> bool| -> usize {
        rows.iter().filter(|row| marked(row)).flat_map(|row| &row.scenarios).collect::<BTreeSet<_>>().len()
    };
    let (all, byzantine) = (count(&|_| true), count(&|row| row.marks.contains('B')));
    let claim = format!("**{all} scenarios, {byzantine} of them Byzantine**");
    ensure!(page.contains(&claim), "docs/attacks.md should say: {claim}");
    ensure!(all >= 40 && byzantine >= 15, "{claim}");
    Ok(())
}
