//! `phala encrypt`.

use anyhow::{Context as _, bail};
use phala_primitives::AppId;
use phala_sdk::{NetworkKeys, encryption::encrypt_to_app, job::JobError};
use serde_json::json;
use std::{
    fs::{self, File, Permissions},
    io::{self, IsTerminal, Read},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    time::{SystemTime, UNIX_EPOCH},
};

use crate::{
    Status, args,
    context::Context,
    output::{Output, bytes, short},
};

pub(crate) async fn run(options: args::Encrypt, context: &Context, output: &Output) -> Status {
    let file = options.file.filter(|path| path != Path::new("-"));
    // Before anything else is done.
    match &options.output {
        Some(path) => check_free(path, options.force)?,
        None if io::stdout().is_terminal() => {
            bail!("an encrypted file is not for the terminal; name one with --output FILE, or redirect standard output")
        }
        None => {}
    }
    let keys = match &options.network_keys {
        Some(path) => offline(path, output)?,
        None => online(options.app, context, output).await?,
    };
    let mut input = Watched::open(file, output)?;
    let encrypted = match &options.output {
        Some(path) => {
            write_whole(path, options.force, |file| Ok(encrypt_to_app(&mut input, options.app, &keys, file)?))?
        }
        None => encrypt_to_app(&mut input, options.app, &keys, &mut io::stdout().lock())?,
    };
    let value = json!({
        "app": options.app,
        "genesis_hash": format!("0x{}", hex::encode(keys.genesis_hash)),
        "network_keys": options.network_keys,
        "epoch": keys.epoch,
        "app_key_version": keys.app_key_version,
        "usable_until_block": keys.usable_until_block,
        "file": options.output,
        "plain_bytes": encrypted.plain_bytes,
        "bytes": encrypted.bytes,
        // As in job inputs and in hosts' URLs.
        "sha256": hex::encode(encrypted.sha256),
    });
    let human = || {
        let source = options.network_keys.as_ref().map_or_else(String::new, |path| {
            format!(", with the key in {}, which was not compared with the chain's", path.display())
        });
        format!(
            "{} encrypted to app {} in epoch {}{source}; jobs can use it until block {} at least.",
            bytes(encrypted.plain_bytes),
            short(&options.app),
            keys.epoch,
            keys.usable_until_block
        )
    };
    match &options.output {
        Some(_) => output.result(&value, human)?,
        None => output.report(&value, human)?,
    }
    Ok(0)
}

/// The network's keys as the chain has them, which also has the app.
async fn online(app: AppId, context: &Context, output: &Output) -> anyhow::Result<NetworkKeys> {
    output.progress("Asking the chain for the network's key …");
    let chain = context.chain().await?;
    let known = chain.read(async |state| state.app(app).await).await?.ok_or(JobError::UnknownApp(app))?;
    if known.retired {
        output.warn(&JobError::Retired(app).to_string());
    }
    NetworkKeys::read(&chain).await?.context(
        "the network has no keys yet, so nothing can be encrypted to an app: gatekeepers have to make them first, see `phala \
         network keys`",
    )
}

/// The network's keys from a file, whoever it is from.
fn offline(path: &Path, output: &Output) -> anyhow::Result<NetworkKeys> {
    let json = fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    let keys = NetworkKeys::from_json(&json).with_context(|| format!("cannot use {}", path.display()))?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |elapsed| elapsed.as_secs());
    if now >= keys.usable_until {
        output.warn(&format!(
            "{} is old: maybe nobody can open any more what is encrypted with it; make it anew with `phala network keys --json`",
            path.display()
        ));
    }
    Ok(keys)
}

/// What is encrypted, while somebody watches.
struct Watched<'a> {
    inner: Box<dyn Read>,
    done: u64,
    total: Option<u64>,
    output: &'a Output,
}

impl<'a> Watched<'a> {
    fn open(file: Option<PathBuf>, output: &'a Output) -> anyhow::Result<Self> {
        let Some(path) = file else {
            return Ok(Self { inner: Box::new(io::stdin()), done: 0, total: None, output });
        };
        let open = || {
            let file = File::open(&path)?;
            let metadata = file.metadata()?;
            let total = metadata.is_file().then_some(metadata.len());
            Ok::<_, io::Error>(Self { inner: Box::new(file), done: 0, total, output })
        };
        open().with_context(|| format!("cannot read {}", path.display()))
    }
}

impl Read for Watched<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.done += count as u64;
        let of = self.total.map_or_else(String::new, |total| format!(" of {}", bytes(total)));
        self.output.progress(&format!("Encrypting: {}{of}", bytes(self.done)));
        Ok(count)
    }
}

/// Whether a file can be written at `path`.
fn check_free(path: &Path, force: bool) -> anyhow::Result<()> {
    match fs::metadata(path) {
        Ok(metadata) if !metadata.is_file() => bail!("{} is no file", path.display()),
        Ok(_) if !force => bail!("{} is there already; --force writes over it", path.display()),
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot write {}", path.display()))
        }
        _ => Ok(()),
    }
}

/// Makes a file of what `write` writes, whole or not at all.
fn write_whole<T>(path: &Path, force: bool, write: impl FnOnce(&mut File) -> anyhow::Result<T>) -> anyhow::Result<T> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let context = || format!("cannot write {}", path.display());
    // Ciphertext may be read by whom the user's umask lets read files.
    let permissions = Permissions::from_mode(0o666);
    let file = tempfile::Builder::new().prefix(".phala-").permissions(permissions).tempfile_in(folder);
    let mut file = file.with_context(context)?;
    let written = write(file.as_file_mut())?;
    file.as_file().sync_all().with_context(context)?;
    // Somebody may have made a file there in the meantime.
    let kept = if force { file.persist(path) } else { file.persist_noclobber(path) };
    kept.map_err(|error| error.error).with_context(context)?;
    Ok(written)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn a_file_is_written_whole_or_not_at_all() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("out.age");
        let failed: anyhow::Result<()> = write_whole(&path, false, |file| {
            file.write_all(b"half")?;
            bail!("no more")
        });
        assert!(failed.is_err_and(|error| error.to_string() == "no more"));
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
        let write = |force, text: &[u8]| write_whole(&path, force, |file| Ok(file.write_all(text)?));
        write(false, b"first").unwrap();
        assert!(write(false, b"second").is_err() && fs::read(&path).unwrap() == b"first");
        write(true, b"third").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"third");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn nothing_is_overwritten_unless_told_and_never_what_is_no_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("out.age");
        check_free(&path, false).unwrap();
        fs::write(&path, "x").unwrap();
        assert!(check_free(&path, false).is_err());
        check_free(&path, true).unwrap();
        for path in [folder.path(), Path::new("/dev/null"), &path.join("below")] {
            assert!(check_free(path, true).is_err(), "{}", path.display());
        }
    }
}
