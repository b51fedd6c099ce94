//! Which node, which key, which folders.

use anyhow::{Context as _, bail};
use phala_sdk::{
    Account, Signer,
    chain::Chain,
    host::Hosts,
    job::{Jobs, Store},
    key,
};
use secrecy::{ExposeSecret, SecretString};
use std::{
    fs,
    io::IsTerminal,
    path::{Path, PathBuf},
};

use crate::{args::Global, dev::state};

/// The node of a network that somebody started by hand.
const DEFAULT_NODE: &str = "ws://127.0.0.1:9944";

/// The global options, made sense of.
pub(crate) struct Context {
    global: Global,
    data: PathBuf,
}

impl Context {
    pub(crate) fn new(global: Global) -> anyhow::Result<Self> {
        let data = match &global.data {
            Some(data) => data.clone(),
            None => data_home()?.join("phala"),
        };
        Ok(Self { global, data })
    }

    /// Where development networks are by default.
    pub(crate) fn dev_folder(&self) -> PathBuf {
        self.data.join("dev")
    }

    /// Where what vendors publish is kept.
    pub(crate) fn collateral_folder(&self) -> PathBuf {
        self.data.join("collateral")
    }

    /// Where keystore files are.
    pub(crate) fn keys_folder(&self) -> PathBuf {
        self.data.join("keys")
    }

    /// The node's URL.
    pub(crate) fn node(&self) -> String {
        if let Some(node) = &self.global.node {
            return node.clone();
        }
        // A state that cannot be read is a matter for `phala dev`.
        let network = state::Network::load(&self.dev_folder()).ok().flatten();
        network.filter(state::Network::is_running).map_or_else(|| DEFAULT_NODE.into(), |network| network.node)
    }

    /// A connection to the node.
    pub(crate) async fn chain(&self) -> anyhow::Result<Chain> {
        let node = self.node();
        let chain = Chain::connect(&node).await;
        chain.with_context(|| match self.global.node {
            Some(_) => "is the node running, and is --node right?".to_owned(),
            None => "no network; start one with `phala dev up`, or name a node with --node".to_owned(),
        })
    }

    /// Jobs of the node's chain.
    pub(crate) async fn jobs(&self) -> anyhow::Result<Jobs> {
        let (store, hosts) = (Store::open(&self.data)?, self.hosts()?);
        Ok(Jobs::new(self.chain().await?, store).with_hosts(hosts))
    }

    /// How workers' hosts are reached.
    pub(crate) fn hosts(&self) -> anyhow::Result<Hosts> {
        let Some(path) = &self.global.tls_ca else { return Ok(Hosts::default()) };
        let pem = fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
        Hosts::with_roots(&pem).with_context(|| format!("cannot use {}", path.display()))
    }

    /// The key that signs.
    pub(crate) async fn signer(&self, chain: &Chain) -> anyhow::Result<Signer> {
        let is_development = chain.is_development().await?;
        match &self.global.key {
            None if is_development => Ok(Signer::from_uri("//Alice")?),
            None => bail!(
                "this is not a development chain: say which key signs with --key NAME; `phala key list` shows yours, and \
                 `phala key generate NAME` makes one"
            ),
            Some(key) if key.starts_with("//") && !is_development => {
                bail!("{key} is a development key that everybody has, and this is not a development chain")
            }
            Some(key) => self.key(key),
        }
    }

    /// A key by its name in the keystore, its file, or itself.
    pub(crate) fn key(&self, key: &str) -> anyhow::Result<Signer> {
        if is_secret(key) {
            return Ok(Signer::from_uri(key)?);
        }
        let path = self.key_file(key)?;
        let json = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        key::keystore_account(&json).with_context(|| path.display().to_string())?;
        let password = self.password(&format!("Password of {key}: "))?;
        Signer::from_keystore_json(&json, password.expose_secret()).with_context(|| path.display().to_string())
    }

    /// An account by its address, a key's name or a development key.
    pub(crate) fn account(&self, text: &str) -> anyhow::Result<Account> {
        if is_secret(text) {
            return Ok(Signer::from_uri(text)?.account());
        }
        if let Ok(path) = self.key_file(text) {
            return Ok(key::keystore_account(&fs::read_to_string(&path)?)?);
        }
        text.parse().with_context(|| format!("`{text}` is neither a key of yours (`phala key list`) nor an address"))
    }

    /// The account that signs, without asking for a password.
    pub(crate) async fn own_account(&self, chain: &Chain) -> anyhow::Result<Account> {
        match &self.global.key {
            Some(key) => self.account(key),
            None => Ok(self.signer(chain).await?.account()),
        }
    }

    /// A password: from the file that was named, or asked for.
    pub(crate) fn password(&self, prompt: &str) -> anyhow::Result<SecretString> {
        if let Some(path) = &self.global.password_file {
            let text = fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
            return Ok(text.lines().next().unwrap_or_default().to_owned().into());
        }
        if !std::io::stdin().is_terminal() {
            bail!("a password is needed and there is no terminal to ask at; give it with --password-file FILE");
        }
        Ok(rpassword::prompt_password(prompt).context("cannot read the password")?.into())
    }

    /// A new password, asked for twice.
    pub(crate) fn new_password(&self) -> anyhow::Result<SecretString> {
        let password = self.password("New password for the keystore file: ")?;
        if self.global.password_file.is_none() {
            let again = self.password("The same again: ")?;
            if again.expose_secret() != password.expose_secret() {
                bail!("the two passwords differ; nothing was written");
            }
        }
        if password.expose_secret().is_empty() {
            bail!("an empty password protects nothing; nothing was written");
        }
        Ok(password)
    }

    /// The keystore file of a name, or the file itself.
    pub(crate) fn key_file(&self, key: &str) -> anyhow::Result<PathBuf> {
        let named = self.keys_folder().join(format!("{key}.json"));
        if is_key_name(key) && named.is_file() {
            return Ok(named);
        }
        let path = Path::new(key);
        if path.is_file() {
            return Ok(path.into());
        }
        bail!("there is no key `{key}`; `phala key list` shows yours")
    }
}

/// Whether a key's name can be a file's.
pub(crate) fn is_key_name(name: &str) -> bool {
    (1..=64).contains(&name.len())
        && !name.starts_with('.')
        && name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'))
}

/// Whether a text is a key itself rather than the name of one: a development key, a seed or a mnemonic.
fn is_secret(text: &str) -> bool {
    text.starts_with("//") || text.split_whitespace().count() >= 12
}

fn data_home() -> anyhow::Result<PathBuf> {
    let set = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    if let Some(path) = set("XDG_DATA_HOME").filter(|path| path.is_absolute()) {
        return Ok(path);
    }
    let home = set("HOME").context("there is no home folder; say where to keep data with --data FOLDER")?;
    Ok(home.join(".local/share"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_no_paths_and_no_secrets() {
        assert!(is_key_name("savings-2.old"));
        for bad in ["", ".hidden", "a/b", "..", "a b", &"x".repeat(65)] {
            assert!(!is_key_name(bad), "{bad}");
        }
        assert!(is_secret("//Alice") && !is_secret("savings"));
    }
}
