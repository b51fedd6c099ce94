//! `wasi:sockets`: there is no network.
//!
//! Programs link against sockets because their standard libraries do. Making a socket or looking up a name is denied;
//! no other function can be reached, since all of them need a socket.

use phala_primitives::FailureReason;
use wasmtime::{
    Error, Result, StoreContextMut,
    component::{ComponentType, Lift, Linker, Lower, Resource, ResourceType},
};

use super::Guest;
use crate::run::Stop;

/// The network, which every program may hold and nobody can use.
struct Network;

/// What cannot be made: a socket, or what comes from one.
enum Socket {}
enum UdpSocket {}
enum IncomingDatagrams {}
enum OutgoingDatagrams {}
enum Addresses {}

/// `wasi:sockets/network.error-code`.
#[derive(ComponentType, Lower, Clone, Copy)]
#[component(enum)]
#[repr(u8)]
#[allow(dead_code)]
enum ErrorCode {
    #[component(name = "unknown")]
    Unknown,
    #[component(name = "access-denied")]
    AccessDenied,
    #[component(name = "not-supported")]
    NotSupported,
    #[component(name = "invalid-argument")]
    InvalidArgument,
    #[component(name = "out-of-memory")]
    OutOfMemory,
    #[component(name = "timeout")]
    Timeout,
    #[component(name = "concurrency-conflict")]
    ConcurrencyConflict,
    #[component(name = "not-in-progress")]
    NotInProgress,
    #[component(name = "would-block")]
    WouldBlock,
    #[component(name = "invalid-state")]
    InvalidState,
    #[component(name = "new-socket-limit")]
    NewSocketLimit,
    #[component(name = "address-not-bindable")]
    AddressNotBindable,
    #[component(name = "address-in-use")]
    AddressInUse,
    #[component(name = "remote-unreachable")]
    RemoteUnreachable,
    #[component(name = "connection-refused")]
    ConnectionRefused,
    #[component(name = "connection-reset")]
    ConnectionReset,
    #[component(name = "connection-aborted")]
    ConnectionAborted,
    #[component(name = "datagram-too-large")]
    DatagramTooLarge,
    #[component(name = "name-unresolvable")]
    NameUnresolvable,
    #[component(name = "temporary-resolver-failure")]
    TemporaryResolverFailure,
    #[component(name = "permanent-resolver-failure")]
    PermanentResolverFailure,
}

/// `wasi:sockets/network.ip-address-family`.
#[derive(ComponentType, Lift, Clone, Copy)]
#[component(enum)]
#[repr(u8)]
#[allow(dead_code)]
enum IpAddressFamily {
    #[component(name = "ipv4")]
    Ipv4,
    #[component(name = "ipv6")]
    Ipv6,
}

const TCP: &[&str] = &[
    "start-bind",
    "finish-bind",
    "start-connect",
    "finish-connect",
    "start-listen",
    "finish-listen",
    "accept",
    "local-address",
    "remote-address",
    "is-listening",
    "address-family",
    "set-listen-backlog-size",
    "keep-alive-enabled",
    "set-keep-alive-enabled",
    "keep-alive-idle-time",
    "set-keep-alive-idle-time",
    "keep-alive-interval",
    "set-keep-alive-interval",
    "keep-alive-count",
    "set-keep-alive-count",
    "hop-limit",
    "set-hop-limit",
    "receive-buffer-size",
    "set-receive-buffer-size",
    "send-buffer-size",
    "set-send-buffer-size",
    "subscribe",
    "shutdown",
];

const UDP: &[&str] = &[
    "start-bind",
    "finish-bind",
    "stream",
    "local-address",
    "remote-address",
    "address-family",
    "unicast-hop-limit",
    "set-unicast-hop-limit",
    "receive-buffer-size",
    "set-receive-buffer-size",
    "send-buffer-size",
    "set-send-buffer-size",
    "subscribe",
];

pub(super) fn add_to_linker(linker: &mut Linker<Guest>) -> Result<()> {
    let mut network = linker.instance("wasi:sockets/network@0.2.12")?;
    network.resource("network", ResourceType::host::<Network>(), |mut store, handle| {
        store.data_mut().table.delete(Resource::<Network>::new_own(handle))?;
        Ok(())
    })?;
    linker.instance("wasi:sockets/instance-network@0.2.12")?.func_wrap(
        "instance-network",
        |mut store: StoreContextMut<'_, Guest>, (): ()| {
            let guest = store.data_mut();
            guest.charge(0);
            Ok((guest.table.push(Network)?,))
        },
    )?;

    let mut lookup = linker.instance("wasi:sockets/ip-name-lookup@0.2.12")?;
    lookup.resource("resolve-address-stream", ResourceType::host::<Addresses>(), |_, _| unreachable())?;
    methods(&mut lookup, "resolve-address-stream", &["resolve-next-address", "subscribe"])?;
    lookup.func_wrap(
        "resolve-addresses",
        |mut store: StoreContextMut<'_, Guest>, (_network, name): (Resource<Network>, String)| {
            store.data_mut().charge(name.len() as u64);
            Ok((Err::<Resource<Addresses>, _>(ErrorCode::AccessDenied),))
        },
    )?;

    let mut tcp = linker.instance("wasi:sockets/tcp@0.2.12")?;
    tcp.resource("tcp-socket", ResourceType::host::<Socket>(), |_, _| unreachable())?;
    methods(&mut tcp, "tcp-socket", TCP)?;
    linker.instance("wasi:sockets/tcp-create-socket@0.2.12")?.func_wrap("create-tcp-socket", deny::<Socket>)?;

    let mut udp = linker.instance("wasi:sockets/udp@0.2.12")?;
    udp.resource("udp-socket", ResourceType::host::<UdpSocket>(), |_, _| unreachable())?;
    udp.resource("incoming-datagram-stream", ResourceType::host::<IncomingDatagrams>(), |_, _| unreachable())?;
    udp.resource("outgoing-datagram-stream", ResourceType::host::<OutgoingDatagrams>(), |_, _| unreachable())?;
    methods(&mut udp, "udp-socket", UDP)?;
    methods(&mut udp, "incoming-datagram-stream", &["receive", "subscribe"])?;
    methods(&mut udp, "outgoing-datagram-stream", &["check-send", "send", "subscribe"])?;
    linker.instance("wasi:sockets/udp-create-socket@0.2.12")?.func_wrap("create-udp-socket", deny::<UdpSocket>)
}

/// Denies a socket.
fn deny<S: 'static>(
    mut store: StoreContextMut<'_, Guest>,
    (_family,): (IpAddressFamily,),
) -> Result<(std::result::Result<Resource<S>, ErrorCode>,)> {
    store.data_mut().charge(0);
    Ok((Err(ErrorCode::AccessDenied),))
}

/// Methods of what does not exist.
fn methods(
    linker: &mut wasmtime::component::LinkerInstance<'_, Guest>,
    resource: &str,
    methods: &[&str],
) -> Result<()> {
    for method in methods {
        linker.func_new(&format!("[method]{resource}.{method}"), |_, _, _, _| unreachable())?;
    }
    Ok(())
}

fn unreachable<T>() -> Result<T> {
    Err(Error::new(Stop::Failed(FailureReason::Trap)))
}
