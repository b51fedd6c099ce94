//! The workspace's own unsafe code is where `docs/dependencies.md` says it is, and nowhere else.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

/// Not ours, not in the repository, or built from it.
const SKIPPED: &[&str] = &[".git", "enclave/compiler", "node_modules", "target"];

/// In two parts, so that this file has no unsafe code.
const KEYWORD: &str = concat!("un", "safe");

/// What follows the keyword where it means something, beside the parenthesis of an attribute.
const FOLLOWERS: &[&str] = &["{", "fn ", "impl ", "impl<", "trait ", "extern "];

#[test]
fn unsafe_code_is_documented() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let page = fs::read_to_string(root.join("docs/dependencies.md")).unwrap();
    let (_, section) = page.split_once("## Unsafe code").expect("the page has a section about it");
    let section = section.split("\n## ").next().unwrap_or_default();
    // The first column of its table.
    let cells = section.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next());
    let documented: BTreeSet<String> = cells.map(str::to_owned).collect();
    let mut found = BTreeSet::new();
    for path in rust_files(root, root) {
        if has_unsafe_code(&fs::read_to_string(&path).unwrap()) {
            found.insert(path.strip_prefix(root).unwrap().display().to_string());
        }
    }
    assert_eq!(found, documented, "left: the files with unsafe code; right: those in docs/dependencies.md");
}

#[test]
fn unsafe_code_is_seen_and_words_are_not() {
    for source in ["@ { f() }", "pub @ fn f()", "@ impl Send for X {}", "#[@(no_mangle)]", "@\n{", "@ extern \"C\" {}"]
    {
        assert!(has_unsafe_code(&source.replace('@', KEYWORD)), "{source}");
    }
    for source in ["#[expect(@_code)]", "// needs @ code", "--@-force", "an_@ {", "// @ (see below)"] {
        assert!(!has_unsafe_code(&source.replace('@', KEYWORD)), "{source}");
    }
}

fn has_unsafe_code(source: &str) -> bool {
    source.match_indices(KEYWORD).any(|(at, _)| {
        let inside_a_word = source[..at].ends_with(|before: char| before.is_alphanumeric() || before == '_');
        let rest = &source[at + KEYWORD.len()..];
        let means_it = FOLLOWERS.iter().any(|follower| rest.trim_start().starts_with(follower));
        !inside_a_word && (rest.starts_with('(') || means_it)
    })
}

fn rust_files(root: &Path, folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.strip_prefix(root).unwrap();
        if SKIPPED.iter().any(|skipped| name.ends_with(skipped)) {
            continue;
        }
        if path.is_dir() {
            files.extend(rust_files(root, &path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files
}
