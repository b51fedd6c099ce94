//! The chain's specification for the enclave: the node's own, with boot nodes that the host can dial.
//!
//! The enclave verifies finality from genesis, so a checkpoint in the specification is of no use to it, and is removed. The
//! last specification that an enclave took is kept on disk: the host can start while the node is away, and an enclave that
//! runs already gets the very same start again.

use std::{net::IpAddr, sync::Arc, time::Duration};

use futures::future::BoxFuture;
use phala_protocol::{Start, StartRole};
use serde_json::Value;
use tokio::time::sleep;

use super::{Node, Throttle};
use crate::{blocking, enclave::StartSource, store::Store};

/// Why a node's specification is of no use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SpecError {
    /// It is no JSON object.
    #[error("the chain's specification is no JSON object")]
    NotAnObject,
    /// It lacks the raw genesis.
    #[error("the chain's specification has no raw genesis; export it with `--raw`")]
    NotRaw,
}

/// The specification for the enclave, from what the node at `url` gives: `spec`, and the addresses it listens on.
///
/// # Errors
/// See [`SpecError`].
pub fn enclave_spec(mut spec: Value, addresses: &[String], url: &str) -> Result<String, SpecError> {
    if let Value::String(text) = &spec {
        spec = serde_json::from_str(text).map_err(|_| SpecError::NotAnObject)?;
    }
    let object = spec.as_object_mut().ok_or(SpecError::NotAnObject)?;
    if object.get("genesis").and_then(|genesis| genesis.get("raw")).is_none() {
        return Err(SpecError::NotRaw);
    }
    object.remove("lightSyncState");
    let boot_nodes = boot_nodes(addresses, url);
    if !boot_nodes.is_empty() {
        object.insert("bootNodes".into(), boot_nodes.into());
    }
    Ok(spec.to_string())
}

/// The addresses at which the host reaches the node: loopback ones when the node is on this machine, else public
/// ones, else the node's RPC host with the port it listens on. TCP without WebSocket first.
fn boot_nodes(addresses: &[String], url: &str) -> Vec<String> {
    let host = url_host(url);
    let local = host == "localhost" || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback());
    let mut reachable: Vec<&String> =
        addresses.iter().filter(|address| is_tcp(address) && is_loopback(address) == local).collect();
    if local {
        // One IPv4 address is enough; on machines without IPv6 the other would only fail.
        let v4: Vec<_> = reachable.iter().copied().filter(|address| address.starts_with("/ip4/")).collect();
        reachable = if v4.is_empty() { reachable } else { v4 };
    }
    let plain = |address: &&String| !address.contains("/ws");
    if reachable.iter().any(plain) {
        reachable.retain(plain);
    }
    if !reachable.is_empty() {
        return reachable.into_iter().cloned().collect();
    }
    let prefix = match host.parse::<IpAddr>() {
        Ok(IpAddr::V4(_)) => format!("/ip4/{host}"),
        Ok(IpAddr::V6(_)) => format!("/ip6/{host}"),
        Err(_) => format!("/dns/{host}"),
    };
    let mut rebased: Vec<_> = addresses
        .iter()
        .filter(|address| is_tcp(address) && !address.contains("/ws"))
        .filter_map(|address| address.find("/tcp/").map(|at| format!("{prefix}{}", &address[at..])))
        .collect();
    rebased.sort();
    rebased.dedup();
    rebased
}

fn is_tcp(address: &str) -> bool {
    address.contains("/tcp/") && address.contains("/p2p/")
}

fn is_loopback(address: &str) -> bool {
    let ip = address.split('/').nth(2).and_then(|ip| ip.parse::<IpAddr>().ok());
    ip.is_some_and(|ip| ip.is_loopback())
}

/// The host of a URL, without the brackets of an IPv6 address.
fn url_host(url: &str) -> &str {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let authority = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    match authority.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((ip, _)) => ip,
        None => authority.rsplit_once(':').map_or(authority, |(host, _)| host),
    }
}

/// Whether two specifications are of one chain.
fn same_chain(one: &str, other: &str) -> bool {
    let genesis = |spec: &str| serde_json::from_str::<Value>(spec).ok()?.get("genesis").cloned();
    genesis(one).is_some_and(|one| genesis(other) == Some(one))
}

/// Makes an enclave's [`Start`]s.
pub struct Starts {
    node: Arc<dyn Node>,
    store: Arc<Store>,
    url: String,
    spec: Option<Value>,
    operator: [u8; 32],
    role: StartRole,
}

impl Starts {
    /// For an enclave that works for `operator` in a role. `spec`, if given, is used instead of the
    /// specification that the node at `url` gives.
    pub fn new(
        node: Arc<dyn Node>,
        store: Arc<Store>,
        url: String,
        spec: Option<Value>,
        operator: [u8; 32],
        role: StartRole,
    ) -> Self {
        Self { node, store, url, spec, operator, role }
    }

    async fn fresh(&self) -> Result<String, String> {
        let (spec, addresses) = match (&self.spec, self.node.chain_spec().await) {
            // A node that is away keeps nobody from using the boot nodes in the file.
            (Some(spec), answer) => (spec.clone(), answer.map(|(_, addresses)| addresses).unwrap_or_default()),
            (None, answer) => answer.map_err(|error| error.to_string())?,
        };
        enclave_spec(spec, &addresses, &self.url).map_err(|error| error.to_string())
    }

    async fn kept(&self) -> Option<String> {
        let store = self.store.clone();
        let loaded = blocking::run(move || store.load_chain_spec()).await;
        loaded.inspect_err(|error| tracing::warn!(%error, "could not read the chain's specification")).ok()?
    }
}

impl StartSource for Starts {
    fn candidates(&self) -> BoxFuture<'_, Vec<Start>> {
        Box::pin(async {
            let mut throttle = Throttle::default();
            let specs = loop {
                match (self.fresh().await, self.kept().await) {
                    // An enclave that runs already was started with the kept one: perhaps other boot nodes.
                    (Ok(fresh), Some(kept)) if kept != fresh && same_chain(&kept, &fresh) => break vec![fresh, kept],
                    (Ok(fresh), _) => break vec![fresh],
                    (Err(error), Some(kept)) => {
                        tracing::warn!(%error, "starting the enclave with the chain specification kept from earlier");
                        break vec![kept];
                    }
                    (Err(error), None) => {
                        if throttle.ready() {
                            tracing::warn!(%error, "waiting for the chain's specification");
                        }
                    }
                }
                sleep(Duration::from_secs(2)).await;
            };
            let start = |chain_spec| Start { chain_spec, operator: self.operator, role: self.role };
            specs.into_iter().map(start).collect()
        })
    }

    fn taken(&self, start: &Start) -> BoxFuture<'_, ()> {
        let (store, spec) = (self.store.clone(), start.chain_spec.clone());
        Box::pin(async move {
            if let Err(error) = blocking::run(move || store.store_chain_spec(&spec)).await {
                tracing::warn!(%error, "could not keep the chain's specification");
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const ADDRESSES: [&str; 6] = [
        "/ip4/127.0.0.1/tcp/30333/p2p/12D3",
        "/ip4/127.0.0.1/tcp/30334/ws/p2p/12D3",
        "/ip6/::1/tcp/30333/p2p/12D3",
        "/ip4/10.0.0.5/tcp/30333/p2p/12D3",
        "/ip4/10.0.0.5/tcp/30334/ws/p2p/12D3",
        "/ip4/127.0.0.1/udp/30333/quic-v1/p2p/12D3",
    ];

    fn addresses() -> Vec<String> {
        ADDRESSES.map(String::from).to_vec()
    }

    fn raw() -> Value {
        json!({"name": "Phala", "bootNodes": ["old"], "lightSyncState": {}, "genesis": {"raw": {"top": {}}}})
    }

    #[test]
    fn a_local_node_is_dialed_on_its_loopback_address() {
        let spec: Value =
            serde_json::from_str(&enclave_spec(raw(), &addresses(), "ws://127.0.0.1:9944").unwrap()).unwrap();
        assert_eq!(spec["bootNodes"], json!([ADDRESSES[0]]));
        assert_eq!(spec.get("lightSyncState"), None);
        assert_eq!(boot_nodes(&addresses(), "ws://localhost:9944"), [ADDRESSES[0]]);
        assert_eq!(boot_nodes(&addresses(), "ws://[::1]:9944"), [ADDRESSES[0]]);
        assert_eq!(boot_nodes(&addresses()[1..2], "ws://localhost:9944"), [ADDRESSES[1]]);
    }

    #[test]
    fn a_remote_node_is_dialed_on_its_public_address() {
        assert_eq!(boot_nodes(&addresses(), "wss://rpc.example.org/path"), [ADDRESSES[3]]);
    }

    #[test]
    fn a_remote_node_without_public_addresses_is_dialed_where_its_rpc_is() {
        assert_eq!(boot_nodes(&addresses()[..3], "wss://rpc.example.org"), ["/dns/rpc.example.org/tcp/30333/p2p/12D3"]);
        assert_eq!(boot_nodes(&addresses()[..1], "ws://10.1.1.1:9944"), ["/ip4/10.1.1.1/tcp/30333/p2p/12D3"]);
    }

    #[test]
    fn without_addresses_the_boot_nodes_stay() {
        let spec: Value = serde_json::from_str(&enclave_spec(raw(), &[], "ws://127.0.0.1:9944").unwrap()).unwrap();
        assert_eq!(spec["bootNodes"], json!(["old"]));
    }

    #[test]
    fn useless_specifications_are_refused() {
        assert_eq!(enclave_spec(json!([]), &[], ""), Err(SpecError::NotAnObject));
        assert_eq!(enclave_spec(json!("{"), &[], ""), Err(SpecError::NotAnObject));
        assert_eq!(enclave_spec(json!({"genesis": {"runtimeGenesis": {}}}), &[], ""), Err(SpecError::NotRaw));
    }
}
