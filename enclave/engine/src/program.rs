//! From the bytes of a program to something that runs.
//!
//! A component is checked, compiled and linked. A core module of WASI preview 1 is first made into a component with the
//! adapter of the wasmtime project, which costs nothing at run time but a few instructions a call. The
//! adapter ends a program by `exit(ok or error)` and would lose its exit code, so the import `proc_exit` is pointed at
//! `wasi:cli/exit#exit-with-code`, which has the same type.
//!
//! Programs come from anybody: they are validated before anything else looks at them, and what takes long or
//! much memory to compile is refused by size.

use std::{
    borrow::Cow,
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
};

use wasi_preview1_component_adapter_provider::{
    WASI_SNAPSHOT_PREVIEW1_ADAPTER_NAME as PREVIEW1, WASI_SNAPSHOT_PREVIEW1_COMMAND_ADAPTER as ADAPTER,
};
use wasmparser::{Encoding, ExternalKind, Parser, Payload};
use wasmtime::component::{Component, ComponentExportIndex, InstancePre, types::ComponentItem};
use wit_component::{ComponentEncoder, StringEncoding, embed_component_metadata};

use crate::{Engine, wasi::Guest};

/// Modules and components inside one program, and the functions in all of them.
const MAX_MODULES: usize = 256;
const MAX_FUNCTIONS: usize = 250_000;

/// A program that is ready to run. Cheap to clone.
#[derive(Clone)]
pub struct Compiled {
    pub(crate) pre: InstancePre<Guest>,
    pub(crate) run: ComponentExportIndex,
}

impl fmt::Debug for Compiled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Compiled").finish_non_exhaustive()
    }
}

/// Why a program is refused. All of it is the program's fault.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidProgram {
    /// It is larger than [`Config::max_program_bytes`](crate::Config::max_program_bytes).
    #[error("the program has {bytes} bytes, more than the {limit} that a worker accepts")]
    TooLarge {
        /// Its size.
        bytes: usize,
        /// The limit.
        limit: usize,
    },
    /// It does not begin like WebAssembly.
    #[error("the program is no WebAssembly binary")]
    NotWasm,
    /// It is WebAssembly, but not valid, or uses a proposal that jobs do not have.
    #[error("the program is not valid WebAssembly: {0}")]
    Malformed(String),
    /// It cannot be run: a component that does not export `wasi:cli/run`, or a module without `_start`.
    #[error("the program is not a command: {0}")]
    NotACommand(String),
    /// It imports something that jobs do not have.
    #[error("the program imports `{0}`, which jobs do not have")]
    UnknownImport(String),
    /// It would take too long or too much memory to compile, or to instantiate.
    #[error("the program is too complex: {0}")]
    TooComplex(String),
}

/// Why bytes of [`Compiled::serialize`] cannot be used; compile the program again.
#[derive(Debug, thiserror::Error)]
#[error("the compiled program cannot be used: {0}")]
pub struct DeserializeError(String);

impl Engine {
    /// Checks and compiles a program: a `wasi:cli/command` component, or a core module of WASI preview 1. Never panics.
    pub fn prepare(&self, code: &[u8]) -> Result<Compiled, InvalidProgram> {
        let limit = self.config.max_program_bytes;
        if code.len() > limit {
            return Err(InvalidProgram::TooLarge { bytes: code.len(), limit });
        }
        // The libraries below are made for such input, and yet every one of them has had its panics.
        catch_unwind(AssertUnwindSafe(|| self.compile(code)))
            .unwrap_or_else(|_| Err(InvalidProgram::Malformed("it cannot be compiled".into())))
    }

    fn compile(&self, code: &[u8]) -> Result<Compiled, InvalidProgram> {
        let component = match kind(code)? {
            Encoding::Component => {
                check_size(code, self.config.max_function_bytes)?;
                Cow::Borrowed(code)
            }
            Encoding::Module => {
                let module = check_module(self, code)?;
                Cow::Owned(adapt(&module)?)
            }
        };
        let component =
            Component::from_binary(&self.wasmtime, &component).map_err(|error| compile_error(&component, &error))?;
        self.link(&component)
    }

    /// Takes bytes of [`Compiled::serialize`] back. Microseconds instead of the seconds of [`Engine::prepare`].
    ///
    /// # Errors
    ///
    /// The bytes come from another version of wasmtime, another configuration or a processor with other features.
    ///
    /// # Safety
    ///
    /// The bytes are machine code, and are run without any further check. They must be exactly what
    /// [`Compiled::serialize`] returned: the caller has authenticated them, by a key that only this enclave has.
    #[allow(unsafe_code)]
    pub unsafe fn deserialize_authenticated(&self, bytes: &[u8]) -> Result<Compiled, DeserializeError> {
        // SAFETY: the caller guarantees that the bytes come from `Compiled::serialize`, which is wasmtime's
        // `Component::serialize`.
        let component = unsafe { Component::deserialize(&self.wasmtime, bytes) };
        let component = component.map_err(|error| DeserializeError(format!("{error:#}")))?;
        self.link(&component).map_err(|error| DeserializeError(error.to_string()))
    }

    fn link(&self, component: &Component) -> Result<Compiled, InvalidProgram> {
        let ty = component.component_type();
        let run = ty
            .exports(&self.wasmtime)
            .map(|(name, _)| name)
            .filter(|name| name.starts_with("wasi:cli/run@0.2."))
            .find_map(|name| {
                let instance = component.get_export_index(None, name)?;
                component.get_export(Some(&instance), "run")
            });
        let Some((ComponentItem::ComponentFunc(signature), run)) = run else {
            let names: Vec<_> = ty.exports(&self.wasmtime).take(5).map(|(name, _)| name).collect();
            let found = if names.is_empty() { "nothing".into() } else { names.join(", ") };
            return Err(InvalidProgram::NotACommand(format!(
                "it does not export `wasi:cli/run` of WASI 0.2, but {found}"
            )));
        };
        if signature.params().len() != 0 || signature.results().len() != 1 {
            return Err(InvalidProgram::NotACommand("its `wasi:cli/run` has another type".into()));
        }
        if let Some((name, _)) = ty.imports(&self.wasmtime).find(|(name, _)| !crate::wasi::is_known_import(name)) {
            return Err(InvalidProgram::UnknownImport(name.into()));
        }
        let pre = self.linker.instantiate_pre(component);
        let pre = pre.map_err(|error| InvalidProgram::UnknownImport(format!("{error:#}")))?;
        Ok(Compiled { pre, run })
    }
}

impl Compiled {
    /// Machine code for this enclave to keep under its own authentication; see
    /// [`Engine::deserialize_authenticated`].
    ///
    /// # Panics
    ///
    /// Where memory runs out.
    pub fn serialize(&self) -> Vec<u8> {
        self.pre.component().serialize().expect("compiled code is an image in memory, which is copied")
    }
}

/// Whether the bytes begin a component or a core module.
fn kind(code: &[u8]) -> Result<Encoding, InvalidProgram> {
    match code.get(..8) {
        Some([0, b'a', b's', b'm', 1, 0, 0, 0]) => Ok(Encoding::Module),
        Some([0, b'a', b's', b'm', _, _, 1, 0]) => Ok(Encoding::Component),
        Some([0, b'a', b's', b'm', ..]) => Err(InvalidProgram::Malformed("of an unknown version".into())),
        _ => Err(InvalidProgram::NotWasm),
    }
}

/// Refuses what would take too long to compile.
fn check_size(code: &[u8], max_function_bytes: usize) -> Result<(), InvalidProgram> {
    let (mut modules, mut functions) = (0usize, 0usize);
    for payload in Parser::new(0).parse_all(code) {
        match payload.map_err(malformed)? {
            Payload::Version { .. } => modules += 1,
            Payload::CodeSectionEntry(body) => {
                functions += 1;
                let bytes = body.range().len();
                if bytes > max_function_bytes {
                    let message = format!("a function has {bytes} bytes, more than {max_function_bytes}");
                    return Err(InvalidProgram::TooComplex(message));
                }
            }
            _ => {}
        }
        if modules > MAX_MODULES {
            return Err(InvalidProgram::TooComplex(format!("it has more than {MAX_MODULES} modules")));
        }
        if functions > MAX_FUNCTIONS {
            return Err(InvalidProgram::TooComplex(format!("it has more than {MAX_FUNCTIONS} functions")));
        }
    }
    Ok(())
}

/// Validates a core module and points its `proc_exit` at `exit-with-code`.
fn check_module<'a>(engine: &Engine, code: &'a [u8]) -> Result<Cow<'a, [u8]>, InvalidProgram> {
    check_size(code, engine.config.max_function_bytes)?;
    wasmtime::Module::validate(&engine.wasmtime, code).map_err(|error| InvalidProgram::Malformed(short(&error)))?;
    let adapter = exported_functions(ADAPTER)?;
    let mut module = Cow::Borrowed(code);
    let mut command = false;
    for payload in Parser::new(0).parse_all(code) {
        match payload.map_err(malformed)? {
            Payload::ImportSection(section) => {
                let range = section.range();
                let mut exits = false;
                for import in section.into_imports() {
                    let import = import.map_err(malformed)?;
                    if import.module != PREVIEW1 || !adapter.contains(&import.name) {
                        return Err(InvalidProgram::UnknownImport(format!("{}#{}", import.module, import.name)));
                    }
                    exits |= import.name == "proc_exit";
                }
                if exits {
                    module = Cow::Owned(redirect_exit(code, range)?);
                }
            }
            Payload::ExportSection(section) => {
                for export in section {
                    let export = export.map_err(malformed)?;
                    command |= export.name == "_start" && export.kind == ExternalKind::Func;
                }
            }
            _ => {}
        }
    }
    if !command {
        return Err(InvalidProgram::NotACommand("it is a core module without a function `_start`".into()));
    }
    Ok(module)
}

fn exported_functions(module: &[u8]) -> Result<Vec<&str>, InvalidProgram> {
    let mut names = Vec::new();
    for payload in Parser::new(0).parse_all(module) {
        if let Payload::ExportSection(section) = payload.map_err(malformed)? {
            for export in section {
                names.push(export.map_err(malformed)?.name);
            }
        }
    }
    Ok(names)
}

/// The module with every import of `proc_exit` renamed, and a note of the interface that it now imports.
///
/// `section` is where the contents of its import section lie.
fn redirect_exit(code: &[u8], section: std::ops::Range<usize>) -> Result<Vec<u8>, InvalidProgram> {
    let broken = || InvalidProgram::Malformed("its import section cannot be read".into());
    let contents = code.get(section.clone()).ok_or_else(broken)?;
    let old = [name(PREVIEW1), name("proc_exit")].concat();
    let new = [name("wasi:cli/exit@0.2.12"), name("exit-with-code")].concat();
    let mut imports = Vec::with_capacity(contents.len() + new.len());
    let mut rest = contents;
    while let Some((&first, tail)) = rest.split_first() {
        match rest.strip_prefix(old.as_slice()) {
            Some(tail) => {
                imports.extend_from_slice(&new);
                rest = tail;
            }
            None => {
                imports.push(first);
                rest = tail;
            }
        }
    }

    // Before the contents stand the section's number, 2, and its length in as many bytes as the compiler liked.
    let before = code.get(..section.start).ok_or_else(broken)?;
    let header = (2..=6).filter_map(|length| before.len().checked_sub(length)).find(|&start| {
        before.get(start) == Some(&2)
            && before.get(start + 1..).is_some_and(|length| leb128(length) == Some(contents.len()))
    });
    let header = header.ok_or_else(broken)?;
    let mut module = before.get(..header).ok_or_else(broken)?.to_vec();
    module.push(2);
    write_leb128(&mut module, imports.len());
    module.extend_from_slice(&imports);
    module.extend_from_slice(code.get(section.end..).ok_or_else(broken)?);

    let mut resolve = wit_parser::Resolve::default();
    let packages = "package phala:engine;
        world exits { import wasi:cli/exit@0.2.12; }
        package wasi:cli@0.2.12 { interface exit { exit: func(status: result); exit-with-code: func(status-code: u8); } }";
    let package = resolve.push_str("exit.wit", packages).map_err(malformed)?;
    let world = resolve.select_world(&[package], Some("exits")).map_err(malformed)?;
    embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8).map_err(malformed)?;
    Ok(module)
}

/// A name as a module writes it: its length, which is below 128 here, and its bytes.
fn name(name: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    write_leb128(&mut bytes, name.len());
    bytes.extend_from_slice(name.as_bytes());
    bytes
}

fn write_leb128(bytes: &mut Vec<u8>, mut value: usize) {
    while value >= 0x80 {
        bytes.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
}

/// The number that exactly these bytes encode.
fn leb128(bytes: &[u8]) -> Option<usize> {
    let (last, first) = bytes.split_last()?;
    if bytes.len() > 5 || *last >= 0x80 || first.iter().any(|byte| *byte < 0x80) {
        return None;
    }
    let digits = bytes.iter().enumerate();
    Some(digits.fold(0, |value, (index, byte)| value | usize::from(byte & 0x7f) << (7 * index)))
}

fn adapt(module: &[u8]) -> Result<Vec<u8>, InvalidProgram> {
    ComponentEncoder::default()
        .validate(true)
        .module(module)
        .and_then(|encoder| encoder.adapter(PREVIEW1, ADAPTER))
        .and_then(|mut encoder| encoder.encode())
        .map_err(|error| InvalidProgram::Malformed(format!("{error:#}")))
}

/// Compilation fails for what is invalid and for what is beyond the pool's limits.
fn compile_error(component: &[u8], error: &wasmtime::Error) -> InvalidProgram {
    let valid = wasmparser::Validator::new().validate_all(component).is_ok();
    if valid { InvalidProgram::TooComplex(short(error)) } else { InvalidProgram::Malformed(short(error)) }
}

fn malformed(error: impl fmt::Display) -> InvalidProgram {
    InvalidProgram::Malformed(format!("{error:#}"))
}

/// The error with its causes, without the listings that some come with.
fn short(error: &wasmtime::Error) -> String {
    format!("{error:#}").chars().take(500).collect()
}
