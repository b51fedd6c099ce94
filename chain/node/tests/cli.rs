//! The command line, as far as it needs no chain.

use std::process::{Command, Output};

fn node(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_phala-node")).args(arguments).output().expect("the node's executable runs")
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).expect("output is UTF-8")
}

#[test]
fn keys_have_phala_addresses() {
    let output = node(&["key", "inspect", "//Alice"]);
    assert!(output.status.success());
    assert!(text(&output.stdout).contains("45R2pfjQUW2s9PQRHU48HQKLKHVMaDja7N3wpBtmF28UYDs2"));
}

#[test]
fn an_unknown_chain_is_refused_with_the_known_ones() {
    for chain in ["", "/nowhere/chain.json"] {
        let output = node(&["export-chain-spec", "--chain", chain]);
        assert!(!output.status.success());
        assert!(text(&output.stderr).contains("dev"), "{}", text(&output.stderr));
    }
}
