//! The runtime's WebAssembly comes to the same verdict on evidence as native code.

#[path = "../../../attestation/tests/recorded/mod.rs"]
mod recorded;

use codec::{Decode, Encode};
use phala_attestation::{
    Collateral, DcapPolicy, Error, Evidence, Generation, MinimumTcb, Policy, SevSnpPolicy, SigningKey, SnpTcb,
    TcbStatus, UnixSeconds, collect_collateral, files::Files, mint, verify, verify_document,
};
use sc_executor::WasmExecutor;
use sp_core::traits::{CallContext, CodeExecutor, RuntimeCode, WrappedRuntimeCode};
use std::collections::BTreeMap;

/// The runtime, as nodes execute it.
struct Runtime {
    executor: WasmExecutor<sp_io::SubstrateHostFunctions>,
    code: WrappedRuntimeCode<'static>,
}

impl Runtime {
    fn new() -> Self {
        let code = phala_runtime::WASM_BINARY.expect("the runtime's WebAssembly was built");
        Self { executor: WasmExecutor::builder().build(), code: WrappedRuntimeCode(code.into()) }
    }

    fn verify(
        &self,
        evidence: &Evidence,
        collateral: &Collateral,
        policy: &Policy,
        at: UnixSeconds,
    ) -> Result<Vec<u8>, Error> {
        let code = RuntimeCode { code_fetcher: &self.code, heap_pages: None, hash: b"phala".to_vec() };
        let (answer, _) = self.executor.call(
            &mut sp_io::TestExternalities::default().ext(),
            &code,
            "AttestationApi_verify_evidence",
            &(evidence, collateral, policy, at).encode(),
            CallContext::Offchain,
        );
        Decode::decode(&mut &answer.expect("the runtime answers")[..]).expect("the answer is what was declared")
    }

    /// The verdict of both, which is the same.
    fn agrees(
        &self,
        evidence: &Evidence,
        collateral: &Collateral,
        policy: &Policy,
        at: UnixSeconds,
    ) -> Result<(), Error> {
        let native = verify(evidence, collateral, policy, at).map(|verified| verified.encode());
        assert_eq!(self.verify(evidence, collateral, policy, at), native);
        native.map(drop)
    }
}

/// Allows what clouds need, and platforms whose configuration leaves some attack open.
fn lenient() -> Policy {
    Policy {
        dcap: DcapPolicy {
            allowed_statuses: vec![TcbStatus::UpToDate, TcbStatus::ConfigurationAndSWHardeningNeeded],
            allowed_advisories: None,
            minimum_evaluation_number: 0,
            allow_dynamic_platform: true,
            allow_cached_keys: true,
            allow_smt: true,
            ..DcapPolicy::default()
        },
        sev_snp: SevSnpPolicy {
            minimum_tcb: [Generation::Milan, Generation::Genoa, Generation::Turin]
                .map(|generation| MinimumTcb { generation, tcb: SnpTcb::default() })
                .to_vec(),
            allowed_signing_keys: vec![SigningKey::Vcek, SigningKey::Vlek],
            allowed_vmpls: vec![0, 1],
            allow_smt: true,
            require_alias_check: false,
            require_crl: false,
        },
        ..Policy::default()
    }
}

#[test]
fn recorded_evidence_gets_the_same_verdict_in_the_runtime() {
    let Some(folder) = recorded::folder() else { return };
    let runtime = Runtime::new();
    let mut accepted = 0;
    for (names, time) in recorded::ALL {
        let mut files = Files::default();
        for name in names {
            files.add(&std::fs::read(folder.join(name)).expect("it is there")).expect("it is of a known kind");
        }
        let (evidence, collateral) = files.finish().expect("it is complete");
        for policy in [lenient(), Policy::default()] {
            for at in [time, 0, time - 100_000_000, time + 100_000_000, UnixSeconds::MAX] {
                accepted += usize::from(runtime.agrees(&evidence, &collateral, &policy, at).is_ok());
            }
        }
        let other = match collateral {
            Collateral::Dcap(_) => Evidence::SevSnp { report: vec![0; 1184], endorsement: vec![] },
            _ => Evidence::Dcap { quote: vec![3, 0], pck_chain: None },
        };
        assert!(runtime.agrees(&other, &collateral, &lenient(), time).is_err());
    }
    assert!(accepted >= 7, "{accepted} are accepted");
}

#[test]
fn minted_evidence_gets_the_same_verdict_in_the_runtime() {
    let runtime = Runtime::new();
    let policy = Policy { simulated_vendors: Some(mint::roots()), ..Policy::default() };
    for (evidence, documents) in [mint::sgx(&[7; 64]), mint::tdx(&[7; 64]), mint::sev_snp(&[7; 64])] {
        let kept: BTreeMap<_, _> = documents
            .into_iter()
            .map(|document| (verify_document(&document, &policy, mint::VALID_FROM).expect("it is good").id(), document))
            .collect();
        let collateral = collect_collateral(&evidence, |id| kept.get(&id).cloned()).expect("nothing is missing");
        assert_eq!(runtime.agrees(&evidence, &collateral, &policy, mint::VALID_FROM), Ok(()));
        assert!(runtime.agrees(&evidence, &collateral, &policy, mint::VALID_UNTIL + 1).is_err());
        assert!(runtime.agrees(&evidence, &collateral, &Policy::default(), mint::VALID_FROM).is_err());
        let bytes = evidence.encode();
        for at in (1..bytes.len()).step_by(211) {
            let mut changed = bytes.clone();
            changed[at] ^= 1 << (at % 8);
            let Ok(changed) = Evidence::decode(&mut &changed[..]) else { continue };
            let _ = runtime.agrees(&changed, &collateral, &policy, mint::VALID_FROM);
        }
    }
}

/// The files in the runtime's source, which development networks start with.
#[test]
fn genesis_names_the_roots_that_the_mint_has() {
    let phala_attestation::VendorRoots { intel, amd } = mint::roots();
    assert_eq!(phala_runtime::genesis::SIMULATED_VENDORS, [&intel[..], &amd]);
}
