//! Runs a program under plain wasmtime with its usual WASI: what a job's result is compared with. `phala-bench engine`
//! compares the speed, in one process.
//!
//! `plain PROGRAM.wasm [--stdin FILE] [--dir HOST::GUEST]... [-- ARGUMENTS...]`
//!
//! The program may be a `wasi:cli/command` component or a WASI preview 1 command module. Its standard output and error
//! are this process's, and so is its exit code; its input is empty without `--stdin`.

use anyhow::{Context, Result, anyhow, bail};
use std::{env, fs, path::PathBuf, process};
use wasmtime::{
    Engine, Module, Store,
    component::{Component, ResourceTable},
};
use wasmtime_wasi::{
    FsPerms, I32Exit, WasiCtx, WasiCtxBuilder, WasiCtxView, WasiView,
    cli::InputFile,
    p1::{self, WasiP1Ctx},
    p2::{self, bindings::sync::Command},
};

#[derive(Default)]
struct Options {
    program: PathBuf,
    stdin: Option<PathBuf>,
    folders: Vec<(String, String)>,
    arguments: Vec<String>,
}

struct State {
    context: WasiCtx,
    table: ResourceTable,
}

impl WasiView for State {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView { ctx: &mut self.context, table: &mut self.table }
    }
}

fn main() -> Result<()> {
    let options = parse_options(env::args().skip(1))?;
    let code = fs::read(&options.program).with_context(|| format!("cannot read {}", options.program.display()))?;
    // After the magic number comes the version of core modules or, with another layer, of components.
    let result = if code.get(4..8) == Some(&[1, 0, 0, 0]) {
        run_module(&code, &options)?
    } else {
        run_component(&code, &options)?
    };
    match result {
        Ok(()) => Ok(()),
        Err(error) => match error.downcast_ref::<I32Exit>() {
            Some(exit) => process::exit(exit.0),
            None => bail!("the program trapped: {error:?}"),
        },
    }
}

fn parse_options(mut arguments: impl Iterator<Item = String>) -> Result<Options> {
    let mut options = Options::default();
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().with_context(|| format!("{argument} needs a value"));
        match argument.as_str() {
            "--stdin" => options.stdin = Some(value()?.into()),
            "--dir" => {
                let value = value()?;
                let (host, guest) = value.split_once("::").context("--dir takes HOST::GUEST")?;
                options.folders.push((host.into(), guest.into()));
            }
            "--" => options.arguments = arguments.by_ref().collect(),
            other if other.starts_with('-') => bail!("unknown option {other}"),
            program => options.program = program.into(),
        }
    }
    if options.program.as_os_str().is_empty() {
        bail!("usage: plain PROGRAM.wasm [--stdin FILE] [--dir HOST::GUEST]... [-- ARGUMENTS...]");
    }
    Ok(options)
}

fn context(options: &Options) -> Result<WasiCtxBuilder> {
    let mut builder = WasiCtxBuilder::new();
    builder.inherit_stdout().inherit_stderr().allow_blocking_current_thread(true);
    if let Some(path) = &options.stdin {
        builder.stdin(InputFile::new(fs::File::open(path).with_context(|| format!("cannot open {}", path.display()))?));
    }
    builder.arg(options.program.file_stem().unwrap_or_default().to_string_lossy());
    builder.args(&options.arguments);
    for (host, guest) in &options.folders {
        builder
            .preopened_dir(host, guest, FsPerms::ReadWrite)
            .map_err(|error| anyhow!("cannot open {host}: {error}"))?;
    }
    Ok(builder)
}

/// What the program did: the outer error is ours.
fn run_module(code: &[u8], options: &Options) -> Result<wasmtime::Result<()>> {
    let engine = Engine::default();
    let mut linker = wasmtime::Linker::<WasiP1Ctx>::new(&engine);
    wasm(p1::add_to_linker_sync(&mut linker, |context| context))?;
    let module = wasm(Module::new(&engine, code))?;
    let mut store = Store::new(&engine, context(options)?.build_p1());
    let instance = wasm(linker.instantiate(&mut store, &module))?;
    let main = wasm(instance.get_typed_func::<(), ()>(&mut store, "_start"))?;
    Ok(main.call(&mut store, ()))
}

/// The same for a component.
fn run_component(code: &[u8], options: &Options) -> Result<wasmtime::Result<()>> {
    let engine = Engine::default();
    let mut linker = wasmtime::component::Linker::<State>::new(&engine);
    wasm(p2::add_to_linker_sync(&mut linker))?;
    let component = wasm(Component::new(&engine, code))?;
    let state = State { context: context(options)?.build(), table: ResourceTable::new() };
    let mut store = Store::new(&engine, state);
    let command = wasm(Command::instantiate(&mut store, &component, &linker))?;
    // The world's `run` reports failure without a code; preview 1 programs exit by `I32Exit`.
    let result = command.wasi_cli_run().call_run(&mut store);
    Ok(result.and_then(|outcome| outcome.map_err(|()| I32Exit(1).into())))
}

fn wasm<T>(result: wasmtime::Result<T>) -> Result<T> {
    result.map_err(|error| anyhow!("{error:?}"))
}
