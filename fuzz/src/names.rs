use phala_primitives::{AppId, WorkerId, hash_from_hex, input::is_file_name};
use std::{
    fmt::{Debug, Display},
    path::{Component, Path},
    str::FromStr,
};

use crate::Target;

pub(crate) const TARGETS: &[Target] = &[Target {
    name: "names",
    run: names,
    seeds,
    tokens: &[b"0x", b"0X", b"/", b"\\", b"..", b".", b"\0", b"+1", b"aB", "é".as_bytes(), b"\""],
    memory_per_byte: Some(64),
}];

/// What names things: apps and workers by their ids, and files. As text, from users, nodes and programs.
pub fn names(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    check_id::<AppId>(text);
    check_id::<WorkerId>(text);
    if let Ok(hash) = hash_from_hex(text) {
        assert_eq!(AppId(hash).to_string(), format!("0x{}", text.to_ascii_lowercase()));
    }
    if let Ok(id) = serde_json::from_str::<AppId>(text) {
        let json = serde_json::to_string(&id).expect("an id is a string");
        assert_eq!(serde_json::from_str::<AppId>(&json).ok(), Some(id));
    }
    if is_file_name(text) {
        let parts: Vec<_> = Path::new(text).components().collect();
        assert!(matches!(parts[..], [Component::Normal(name)] if name == text), "{text:?} leaves its folder");
    }
}

fn check_id<T: FromStr + Display + PartialEq + Debug>(text: &str) {
    let Ok(id) = text.parse::<T>() else { return };
    let digits = text.strip_prefix("0x").unwrap_or(text);
    assert_eq!(id.to_string(), format!("0x{}", digits.to_ascii_lowercase()));
    assert_eq!(id.to_string().parse::<T>().ok(), Some(id));
}

fn seeds() -> Vec<Vec<u8>> {
    let id = AppId([0xa5; 32]).to_string();
    let json = format!("\"{id}\"");
    [id.as_str(), &id[2..], &json, "flights.csv", "files/by/month.csv", "..", "program-00"].map(Vec::from).into()
}
