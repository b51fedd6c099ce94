//! `phala key`.

use anyhow::{Context as _, bail};
use phala_sdk::{Account, Signer, key};
use secrecy::ExposeSecret;
use serde_json::json;
use std::{fs, io::IsTerminal, os::unix::fs::DirBuilderExt};

use crate::{
    Status,
    args::Key,
    context::{Context, is_key_name},
    output::{Output, facts, table},
};

pub(crate) async fn run(command: Key, context: &Context, output: &Output) -> Status {
    match command {
        Key::Generate { name } => generate(&name, context, output),
        Key::Import { name, from } => import(&name, from, context, output),
        Key::List => list(context, output),
        Key::Show { key } => show(&key, context, output),
        Key::Export { name } => {
            let path = context.key_file(&name)?;
            let text = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
            key::keystore_account(&text)?;
            output.stdout(text.trim_end().as_bytes())?;
            output.stdout(b"\n")?;
            Ok(0)
        }
    }
}

fn generate(name: &str, context: &Context, output: &Output) -> Status {
    check_new(name, context)?;
    let password = context.new_password()?;
    let mnemonic = key::generate_mnemonic()?;
    let account = store(name, mnemonic.expose_secret(), password.expose_secret(), context)?;
    let value = json!({ "name": name, "account": account, "mnemonic": mnemonic.expose_secret() });
    output.result(&value, || {
        format!(
            "{}\nWrite the mnemonic down and keep it secret: it is the key, and is not shown again.",
            facts(&[
                ("Name", name.to_owned()),
                ("Account", account.to_string()),
                ("Mnemonic", mnemonic.expose_secret().to_owned()),
            ])
        )
    })?;
    Ok(0)
}

fn import(name: &str, from: Option<std::path::PathBuf>, context: &Context, output: &Output) -> Status {
    check_new(name, context)?;
    let account = match from {
        Some(path) => {
            let text = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
            let password = context.password("Password of the keystore file: ")?;
            // A file that does not open is of no use later.
            let signer = Signer::from_keystore_json(&text, password.expose_secret())?;
            write(name, &text, context)?;
            signer.account()
        }
        None => {
            let secret = if std::io::stdin().is_terminal() {
                rpassword::prompt_password("Mnemonic (not shown): ").context("cannot read the mnemonic")?
            } else {
                std::io::read_to_string(std::io::stdin()).context("cannot read the mnemonic")?
            };
            Signer::from_uri(&secret)?;
            let password = context.new_password()?;
            store(name, &secret, password.expose_secret(), context)?
        }
    };
    output.result(&json!({ "name": name, "account": account }), || format!("{name} is {account}"))?;
    Ok(0)
}

fn list(context: &Context, output: &Output) -> Status {
    let mut keys = Vec::new();
    let folder = context.keys_folder();
    for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
        let path = entry.path();
        let name = path.file_stem().and_then(|name| name.to_str()).filter(|name| is_key_name(name));
        let (Some(name), Some("json")) = (name, path.extension().and_then(|extension| extension.to_str())) else {
            continue;
        };
        match fs::read_to_string(&path).map_err(anyhow::Error::from).and_then(|text| Ok(key::keystore_account(&text)?))
        {
            Ok(account) => keys.push((name.to_owned(), account)),
            Err(error) => output.warn(&format!("{}: {error}", path.display())),
        }
    }
    keys.sort();
    let value: Vec<_> = keys.iter().map(|(name, account)| json!({ "name": name, "account": account })).collect();
    output.result(&value, || match keys.is_empty() {
        true => format!("No keys in {}; make one with `phala key generate NAME`.", folder.display()),
        false => {
            table(&["name", "account"], keys.iter().map(|(name, account)| vec![name.clone(), account.to_string()]))
        }
    })?;
    Ok(0)
}

fn show(key: &str, context: &Context, output: &Output) -> Status {
    let account = context.account(key)?;
    let public = format!("0x{}", hex::encode(account.0));
    let file = context.key_file(key).ok();
    let value = json!({ "account": account, "public_key": public, "file": file });
    output.result(&value, || {
        let mut rows = vec![("Account", account.to_string()), ("Public key", public)];
        rows.extend(file.map(|path| ("File", path.display().to_string())));
        facts(&rows)
    })?;
    Ok(0)
}

/// Encrypts a key into the keystore.
fn store(name: &str, secret: &str, password: &str, context: &Context) -> anyhow::Result<Account> {
    let text = key::encrypt_keystore(secret, name, password)?;
    write(name, &text, context)?;
    Ok(key::keystore_account(&text)?)
}

fn write(name: &str, text: &str, context: &Context) -> anyhow::Result<()> {
    let folder = context.keys_folder();
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(&folder)
        .with_context(|| format!("cannot make {}", folder.display()))?;
    Ok(phala_sdk::job::write_private(&folder.join(format!("{name}.json")), text.as_bytes())?)
}

fn check_new(name: &str, context: &Context) -> anyhow::Result<()> {
    if !is_key_name(name) {
        bail!("`{name}` cannot name a key: use letters, digits, - and _");
    }
    if context.keys_folder().join(format!("{name}.json")).exists() {
        bail!("there is a key `{name}` already; choose another name");
    }
    Ok(())
}
