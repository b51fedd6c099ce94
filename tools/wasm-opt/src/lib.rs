//! A stand-in for the `wasm-opt` crate, which wraps Binaryen.
//!
//! `substrate-wasm-builder` asks `wasm-opt` for two passes on a runtime that was built for `wasm32v1-none`: to
//! strip DWARF, and to lower sign-extension instructions, of which that target has none. Stripping custom
//! sections is all that remains, and saves compiling Binaryen (C++, ten minutes).

use std::{fs, io, path::Path};

/// The passes that `substrate-wasm-builder` names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pass {
    /// Remove the `.debug_*` custom sections.
    StripDwarf,
    /// Lower sign-extension instructions: nothing to do for `wasm32v1-none`, which never emits them.
    SignextLowering,
}

/// What to do to a module; see [`OptimizationOptions::run`].
#[derive(Debug, Default)]
pub struct OptimizationOptions {
    passes: Vec<Pass>,
}

impl OptimizationOptions {
    /// No optimization: only the passes added.
    pub fn new_opt_level_0() -> Self {
        Self::default()
    }

    /// Accepted for compatibility: the module is copied as it is.
    pub fn mvp_features_only(&mut self) -> &mut Self {
        self
    }

    /// Accepted for compatibility: the name section is always kept.
    pub fn debug_info(&mut self, _: bool) -> &mut Self {
        self
    }

    /// Adds a pass.
    pub fn add_pass(&mut self, pass: Pass) -> &mut Self {
        self.passes.push(pass);
        self
    }

    /// Reads the module at `input`, applies the passes and writes it to `output`.
    ///
    /// # Errors
    /// When a file cannot be read or written, or `input` is not a WASM module.
    pub fn run(&self, input: impl AsRef<Path>, output: impl AsRef<Path>) -> io::Result<()> {
        let module = fs::read(input)?;
        let module = if self.passes.contains(&Pass::StripDwarf) { strip_dwarf(&module)? } else { module };
        fs::write(output, module)
    }
}

/// Copies `module` without its `.debug_*` custom sections.
fn strip_dwarf(module: &[u8]) -> io::Result<Vec<u8>> {
    const PREAMBLE: &[u8] = b"\0asm\x01\0\0\0";
    let malformed = || io::Error::new(io::ErrorKind::InvalidData, "not a WASM module");
    let mut rest = module.strip_prefix(PREAMBLE).ok_or_else(malformed)?;
    let mut out = PREAMBLE.to_vec();
    while let Some((&id, body)) = rest.split_first() {
        let (length, header) = leb128(body).ok_or_else(malformed)?;
        let end = 1 + header + length;
        let section = rest.get(..end).ok_or_else(malformed)?;
        if !(id == 0 && custom_name(&section[1 + header..]).is_some_and(|name| name.starts_with(b".debug_"))) {
            out.extend_from_slice(section);
        }
        rest = &rest[end..];
    }
    Ok(out)
}

fn custom_name(section: &[u8]) -> Option<&[u8]> {
    let (length, header) = leb128(section)?;
    section.get(header..header + length)
}

/// An unsigned LEB128 of at most 32 bits: its value and how many bytes it took.
fn leb128(bytes: &[u8]) -> Option<(usize, usize)> {
    let mut value = 0usize;
    for (index, &byte) in bytes.iter().take(5).enumerate() {
        value |= usize::from(byte & 0x7f) << (7 * index);
        if byte & 0x80 == 0 {
            return Some((value, index + 1));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_debug_sections_are_stripped() {
        let mut module = b"\0asm\x01\0\0\0".to_vec();
        let kept = [&[0u8, 6, 4][..], b"name", &[7]].concat();
        module.extend_from_slice(&kept);
        module.extend_from_slice(&[&[0u8, 13, 11][..], b".debug_info", &[1]].concat());
        assert_eq!(strip_dwarf(&module).unwrap(), [b"\0asm\x01\0\0\0", &kept[..]].concat());
    }

    #[test]
    fn a_truncated_module_is_an_error() {
        assert!(strip_dwarf(b"\0asm\x01\0\0\0\x01\x7f").is_err());
        assert!(strip_dwarf(b"ELF").is_err());
    }
}
