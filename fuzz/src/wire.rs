use codec::{Decode, Encode};
use phala_attestation::{Role, simulated::development_root};
use phala_primitives::{GatekeeperId, Outcome, gatekeeper::KeyReply};
use phala_protocol::{
    Attestation, EnclaveMessage, EnclaveNotice, EnclaveReply, EnclaveRequest, EnclaveStatus, Hello, HostMessage,
    HostNotice, HostReply, HostRequest, JobState, LogLevel, Message, Pause, Refusal, Registration, Start, StartRole,
    wire,
};

use crate::{Target, canonical, evidence, gatekeepers, signed};

pub(crate) const TARGETS: &[Target] = &[
    Target { name: "host_frames", run: host_frames, seeds: host_seeds, tokens: TOKENS, memory_per_byte: Some(64) },
    Target {
        name: "enclave_frames",
        run: enclave_frames,
        seeds: enclave_seeds,
        tokens: TOKENS,
        memory_per_byte: Some(64),
    },
];

const TOKENS: &[&[u8]] = &[b"PHALA", &[0], &[1], &[2], &[3], &[0, 0, 0x80, 0], &[1, 0, 0x80, 0]];

/// What an enclave reads from its host: one frame's body, and a stream of frames.
pub fn host_frames(data: &[u8]) {
    check::<HostMessage>(data);
}

/// What a host reads from its enclave.
pub fn enclave_frames(data: &[u8]) {
    check::<EnclaveMessage>(data);
}

fn check<M: Decode + Encode>(data: &[u8]) {
    canonical::<M>(data);
    if let Ok(hello) = wire::decode::<Hello>(data) {
        assert_eq!(wire::check_hello(&hello).is_ok(), data == Hello::CURRENT.encode());
    }
    let mut rest = data;
    loop {
        let stream = rest;
        let Ok(message) = wire::read::<M>(&mut rest) else { return };
        assert!(wire::encode(&message) == stream[..stream.len() - rest.len()], "a frame has more than one encoding");
    }
}

/// Every message by itself, and all of them in a stream.
fn seeds<M: Encode>(messages: Vec<M>) -> Vec<Vec<u8>> {
    let mut seeds: Vec<_> = messages.iter().map(Encode::encode).collect();
    seeds.push(messages.iter().flat_map(wire::encode).collect());
    seeds.push(Hello::CURRENT.encode());
    seeds
}

fn refusal() -> Refusal {
    Refusal { reason: "not now".into(), retry: true }
}

fn host_seeds() -> Vec<Vec<u8>> {
    let spec = r#"{"name":"n","id":"i","bootNodes":[],"genesis":{"raw":{"top":{}}}}"#;
    let requests = [
        HostRequest::Start(Start {
            chain_spec: spec.into(),
            operator: [4; 32],
            role: StartRole::Worker { capacity: 4 },
        }),
        HostRequest::Register,
        HostRequest::Heartbeat,
        HostRequest::Status,
        HostRequest::Challenge { nonce: [2; 32] },
        HostRequest::StartJob { job: 5, attempt: 1, input: [5; 32] },
    ];
    let replies = [
        Ok(HostReply::Done),
        Ok(HostReply::Bytes(vec![7; 100])),
        Ok(HostReply::Sealed(None)),
        Ok(HostReply::Sealed(Some(vec![7; 100]))),
        Ok(HostReply::Key(KeyReply { ceremony: 3, encapsulated_key: [6; 32], ciphertext: vec![7; 68] })),
        Err(refusal()),
    ];
    let notices = [HostNotice::Received { connection: 3, bytes: vec![1, 2, 3] }, HostNotice::Closed { connection: 3 }];
    let mut messages: Vec<HostMessage> = Vec::new();
    messages.extend(requests.map(|request| Message::Request { id: 1, request }));
    messages.extend(replies.map(|reply| Message::Reply { id: u64::MAX, reply }));
    messages.extend(notices.map(Message::Notice));
    seeds(messages)
}

fn enclave_seeds() -> Vec<Vec<u8>> {
    let name = "keys-00";
    let (statement, evidence) =
        evidence::bundle(&evidence::statement(Role::Worker), &development_root(), 1, u64::MAX, false);
    let requests = [
        EnclaveRequest::Dial { connection: 3, address: "127.0.0.1:30333".into() },
        EnclaveRequest::ReadBlob { blob: [5; 32], offset: 0, length: 1 << 20 },
        EnclaveRequest::WriteOutput { job: 5, offset: 0, bytes: vec![7; 100] },
        EnclaveRequest::LoadSealed { name: name.into() },
        EnclaveRequest::StoreSealed { name: name.into(), bytes: vec![7; 100] },
        EnclaveRequest::ReadCache { name: name.into(), offset: 0, length: 1 << 20 },
        EnclaveRequest::WriteCache { name: name.into(), offset: 0, bytes: vec![7; 100], last: true },
        EnclaveRequest::Key { gatekeeper: GatekeeperId([8; 32]), request: Box::new(gatekeepers::key_request()) },
        EnclaveRequest::ClaimSealingKey(Box::new(Attestation {
            statement: statement.clone(),
            evidence: evidence.clone(),
        })),
    ];
    let registration = Registration { statement, evidence, performance: signed::performance() };
    let pause = Some(Pause::NoFinality { seconds: 120 });
    let replies = [
        Ok(EnclaveReply::Started { signing_key: [1; 32], encryption_key: [2; 32], measurement: [3; 32] }),
        Ok(EnclaveReply::Registration(Box::new(registration))),
        Ok(EnclaveReply::Heartbeat(signed::heartbeat())),
        Ok(EnclaveReply::Liveness(signed::liveness(None))),
        Ok(EnclaveReply::Status(EnclaveStatus { finalized_block: Some(9), pause, ..EnclaveStatus::default() })),
        Ok(EnclaveReply::JobAccepted { blobs: vec![[5; 32]; 3] }),
        Err(refusal()),
    ];
    let receipt = Box::new(signed::receipt(Outcome::Completed { exit_code: 0 }));
    let notices = [
        EnclaveNotice::Send { connection: 3, bytes: vec![1, 2, 3] },
        EnclaveNotice::Close { connection: 3 },
        EnclaveNotice::JobProgress { job: 5, attempt: 1, state: JobState::Running },
        EnclaveNotice::JobEnded { job: 5, receipt },
        EnclaveNotice::JobRefused { job: 5, attempt: 1, refusal: refusal() },
        EnclaveNotice::Log { level: LogLevel::Warn, message: "hello".into() },
    ];
    let mut messages: Vec<EnclaveMessage> = Vec::new();
    messages.extend(requests.map(|request| Message::Request { id: 1, request }));
    messages.extend(replies.map(|reply| Message::Reply { id: u64::MAX, reply }));
    messages.extend(notices.map(Message::Notice));
    seeds(messages)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// All but the stream and the greeting.
    fn check_seeds<M: Decode>(seeds: &[Vec<u8>]) {
        let messages = seeds.iter().filter(|seed| wire::decode::<M>(seed).is_ok()).count();
        assert_eq!(messages, seeds.len() - 2);
    }

    #[test]
    fn the_seeds_are_messages() {
        check_seeds::<HostMessage>(&host_seeds());
        check_seeds::<EnclaveMessage>(&enclave_seeds());
    }
}
