//! The job engine against plain wasmtime.
//!
//! Plain wasmtime is the same release with its default configuration: no fuel, no limits, no determinism, WASI preview 1
//! through `wasmtime-wasi`. The engine gets its input as the enclave does: as an `age` file that is decrypted while the
//! program reads. Compilation is left out on both sides: an enclave compiles a program once.

use anyhow::{Context, Result, anyhow, ensure};
use phala_engine::{Config, Engine, Job, Source, SourceError};
use phala_primitives::{Limits, Outcome};
use std::{
    fs,
    io::{Cursor, Read, Seek, SeekFrom, Write},
    path::Path,
};
use wasmtime::{Linker, Module, Store};
use wasmtime_wasi::{
    FsPerms, I32Exit, WasiCtxBuilder,
    p1::{self, WasiP1Ctx},
    p2::pipe::MemoryOutputPipe,
};

use crate::statistics::{Samples, compare};

/// Runs of the program that does nothing, for quantiles.
const INSTANTIATIONS: usize = 500;

pub fn run(programs: &Path, data: &Path, runs: usize) -> Result<()> {
    let engine = Engine::new(Config::default())?;
    let plain = Plain::new()?;

    let read = |name: &str| {
        let path = programs.join(name).with_extension("wasm");
        fs::read(&path).with_context(|| format!("reading {}; tests/programs/build.sh makes it", path.display()))
    };
    let data = fs::read(data).with_context(|| format!("reading {}", data.display()))?;

    println!("{:<28} {:>14} {:>14} {:>8}", "", "enclave", "wasmtime", "ratio");
    let empty = read("empty")?;
    let (ours, theirs) = pair(&engine, &plain, &empty, &[], None, INSTANTIATIONS)?;
    for percent in [50, 99] {
        let (ours, theirs) = (ours.quantile(percent), theirs.quantile(percent));
        let ratio = ours.as_secs_f64() / theirs.as_secs_f64();
        let [ours, theirs] = [ours, theirs].map(|time| format!("{:.1} µs", time.as_secs_f64() * 1e6));
        println!("{:<28} {ours:>14} {theirs:>14} {ratio:>7.3}x", format!("empty job, p{percent}"));
    }

    let (ours, theirs) = pair(&engine, &plain, &read("compute")?, &["100"], None, runs)?;
    compare("compute-heavy job", &ours, &theirs);
    let (ours, theirs) = pair(&engine, &plain, &read("parse")?, &["data.csv"], Some(&data), runs)?;
    compare("data-heavy job", &ours, &theirs);
    Ok(())
}

/// Times both, taking turns, and checks that both print the same.
fn pair(
    engine: &Engine,
    plain: &Plain,
    code: &[u8],
    arguments: &[&str],
    data: Option<&[u8]>,
    runs: usize,
) -> Result<(Samples, Samples)> {
    let program = engine.prepare(code)?;
    let module = Module::new(&plain.engine, code).map_err(|error| anyhow!("{error:?}"))?;
    let identity = age::x25519::Identity::generate();
    let ciphertext = data.map(|data| encrypt(data, &identity)).transpose()?;
    let folder = tempfile::tempdir()?;
    if let Some(data) = data {
        fs::write(folder.path().join("data.csv"), data)?;
    }
    let (mut ours, mut theirs) = (Samples::default(), Samples::default());
    // The first of each only warms up.
    for turn in 0..=runs {
        let (mut our_time, mut their_time) = (Samples::default(), Samples::default());
        let execution = our_time.time(|| {
            let mut files: Vec<(String, Box<dyn Source>)> = Vec::new();
            if let Some(ciphertext) = &ciphertext {
                files.push(("data.csv".into(), Box::new(Decrypted::open(ciphertext.clone(), &identity)?)));
            }
            let limits = Limits { fuel: Limits::MAX.fuel, ..Limits::DEFAULT };
            let arguments = arguments.iter().map(|argument| (*argument).to_owned()).collect();
            anyhow::Ok(engine.run(&program, Job { arguments, files, limits, ..Job::default() })?)
        })?;
        ensure!(execution.outcome == Outcome::Completed { exit_code: 0 }, "the program failed: {execution:?}");
        let printed = their_time.time(|| plain.run(&module, arguments, folder.path()))?;
        ensure!(execution.stdout == printed, "the program printed other things under plain wasmtime");
        if turn > 0 {
            ours.add(our_time.minimum());
            theirs.add(their_time.minimum());
        }
    }
    Ok((ours, theirs))
}

fn encrypt(data: &[u8], identity: &age::x25519::Identity) -> Result<Vec<u8>> {
    let recipient = identity.to_public();
    let encryptor = age::Encryptor::with_recipients(std::iter::once(&recipient as &dyn age::Recipient))?;
    let mut ciphertext = Vec::new();
    let mut writer = encryptor.wrap_output(&mut ciphertext)?;
    writer.write_all(data)?;
    writer.finish()?;
    Ok(ciphertext)
}

/// An `age` file as a source: decrypted as it is read.
struct Decrypted {
    stream: age::stream::StreamReader<Cursor<Vec<u8>>>,
    length: u64,
    position: u64,
}

impl Decrypted {
    fn open(ciphertext: Vec<u8>, identity: &age::x25519::Identity) -> Result<Self> {
        let decryptor = age::Decryptor::new(Cursor::new(ciphertext))?;
        let mut stream = decryptor.decrypt(std::iter::once(identity as &dyn age::Identity))?;
        let length = stream.seek(SeekFrom::End(0))?;
        stream.seek(SeekFrom::Start(0))?;
        Ok(Self { stream, length, position: 0 })
    }
}

impl Source for Decrypted {
    fn len(&self) -> u64 {
        self.length
    }

    fn read_at(&mut self, offset: u64, buffer: &mut [u8]) -> Result<usize, SourceError> {
        let invalid = |error: std::io::Error| SourceError::Invalid(error.to_string());
        if offset != self.position {
            self.stream.seek(SeekFrom::Start(offset)).map_err(invalid)?;
        }
        let read = self.stream.read(buffer).map_err(invalid)?;
        self.position = offset + read as u64;
        Ok(read)
    }
}

/// Plain wasmtime.
struct Plain {
    engine: wasmtime::Engine,
    linker: Linker<WasiP1Ctx>,
}

impl Plain {
    fn new() -> Result<Self> {
        let engine = wasmtime::Engine::default();
        let mut linker = Linker::new(&engine);
        p1::add_to_linker_sync(&mut linker, |context| context).map_err(|error| anyhow!("{error:?}"))?;
        Ok(Self { engine, linker })
    }

    /// Runs a module that finds `folder` as `/input`, and returns what it prints.
    fn run(&self, module: &Module, arguments: &[&str], folder: &Path) -> Result<Vec<u8>> {
        let stdout = MemoryOutputPipe::new(64 << 20);
        let mut context = WasiCtxBuilder::new();
        context.allow_blocking_current_thread(true).stdout(stdout.clone()).arg("app").args(arguments);
        context.preopened_dir(folder, "/input", FsPerms::ReadWrite).map_err(|error| anyhow!("{error:?}"))?;
        let mut store = Store::new(&self.engine, context.build_p1());
        let result = self
            .linker
            .instantiate(&mut store, module)
            .and_then(|instance| instance.get_typed_func::<(), ()>(&mut store, "_start"))
            .and_then(|main| main.call(&mut store, ()));
        match result {
            Ok(()) => {}
            Err(error) if error.downcast_ref::<I32Exit>().is_some_and(|exit| exit.0 == 0) => {}
            Err(error) => return Err(anyhow!("{error:?}")),
        }
        Ok(stdout.contents().to_vec())
    }
}
