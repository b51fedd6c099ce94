//! DCAP quotes and Intel's documents.

use alloc::{
    format,
    string::{String, ToString},
    vec,
    vec::Vec,
};
use sha2::{Digest, Sha256};

use super::{
    VALID_FROM, VALID_UNTIL,
    certificates::{Draft, json_time, list_with},
    der::{extension, integer, octets, oid, seq, tlv},
    keys::Key,
};
use crate::{Collateral, DcapCollateral, Evidence, UnixSeconds};

/// A DCAP quote and its collateral, to be changed and then signed.
#[derive(Clone)]
pub(crate) struct Dcap {
    pub version: u16,
    pub key_type: u16,
    pub tee: u32,
    pub body_type: u16,
    pub body: Vec<u8>,
    pub qe_report: Vec<u8>,
    pub qe_data: Vec<u8>,
    pub outer_type: u16,
    pub certification_type: u16,
    pub tcb_info: String,
    pub qe_identity: String,
    pub ppid: [u8; 16],
    pub fmspc: [u8; 6],
    pub pce_svn: u64,
    pub cpu_svn: [u8; 16],
    /// Dynamic platform, cached keys, SMT.
    pub flags: Option<[bool; 3]>,
    pub root: Draft,
    pub ca: Draft,
    pub pck: Draft,
    pub tcb_info_signer: Draft,
    pub qe_identity_signer: Draft,
    pub revoked_by_root: Vec<u64>,
    pub revoked_by_ca: Vec<u64>,
    pub crl_until: [UnixSeconds; 2],
    pub crl_from: [UnixSeconds; 2],
    /// Signs what another key should: the quote's report, the QE's report.
    pub attestation_key: u8,
    pub claimed_attestation_key: u8,
    pub qe_report_key: u8,
}

const ROOT: u8 = 1;
const CA: u8 = 2;
const PCK: u8 = 3;
const SIGNER: u8 = 4;
const ATTESTATION: u8 = 5;
pub(crate) const OTHER: u8 = 9;

impl Dcap {
    fn new(tee: u32, version: u16, body: Vec<u8>) -> Self {
        let sgx = tee == 0;
        let mut qe_report = vec![0; 384];
        qe_report[48] = 0x11;
        qe_report[128..160].copy_from_slice(&[0xaa; 32]);
        qe_report[256..258].copy_from_slice(&2_u16.to_le_bytes());
        qe_report[258..260].copy_from_slice(&4_u16.to_le_bytes());
        let components = |name: &str| format!(r#""{name}":[{}]"#, [r#"{"svn":2}"#; 16].join(","));
        let tdx = [
            format!(
                r#","tdxModule":{{"mrsigner":"{0}","attributes":"{1}","attributesMask":"FFFFFFFFFFFFFFFF"}},"tdxModuleIdentities":[{{"id":"TDX_01","mrsigner":"{0}","attributes":"{1}","attributesMask":"FFFFFFFFFFFFFFFF","tcbLevels":[{{"tcb":{{"isvsvn":2}},"tcbDate":"2026-01-01T00:00:00Z","tcbStatus":"UpToDate"}}]}}]"#,
                "0".repeat(96),
                "0".repeat(16)
            ),
            format!(",{}", components("tdxtcbcomponents")),
        ];
        let [module, tdx_components] = if sgx { [String::new(), String::new()] } else { tdx };
        let dates = format!(r#""issueDate":"{}","nextUpdate":"{}""#, json_time(VALID_FROM), json_time(VALID_UNTIL));
        let signer = Draft::new("Intel SGX Root CA", "Intel SGX TCB Signing");
        Self {
            version,
            key_type: 2,
            tee,
            body_type: if body.len() == 648 { 3 } else { 2 },
            body,
            qe_report,
            qe_data: vec![3; 32],
            outer_type: 6,
            certification_type: 5,
            tcb_info: format!(
                r#"{{"id":"{}","version":3,{dates},"fmspc":"00A067110000","pceId":"0000","tcbType":0,"tcbEvaluationDataNumber":20{module},"tcbLevels":[{{"tcb":{{{}{tdx_components},"pcesvn":11}},"tcbDate":"2026-01-01T00:00:00Z","tcbStatus":"UpToDate"}}]}}"#,
                if sgx { "SGX" } else { "TDX" },
                components("sgxtcbcomponents"),
            ),
            qe_identity: format!(
                r#"{{"id":"{}","version":2,{dates},"tcbEvaluationDataNumber":20,"miscselect":"00000000","miscselectMask":"FFFFFFFF","attributes":"11{zeros}","attributesMask":"FB{ones}0000000000000000","mrsigner":"{}","isvprodid":2,"tcbLevels":[{{"tcb":{{"isvsvn":4}},"tcbDate":"2026-01-01T00:00:00Z","tcbStatus":"UpToDate"}}]}}"#,
                if sgx { "QE" } else { "TD_QE" },
                "AA".repeat(32),
                zeros = "0".repeat(30),
                ones = "F".repeat(14),
            ),
            ppid: [0x33; 16],
            fmspc: [0, 0xa0, 0x67, 0x11, 0, 0],
            pce_svn: 11,
            cpu_svn: [2; 16],
            flags: Some([false; 3]),
            root: Draft::root("Intel SGX Root CA"),
            ca: Draft::authority("Intel SGX Root CA", "Intel SGX PCK Platform CA"),
            pck: Draft::new("Intel SGX PCK Platform CA", "Intel SGX PCK Certificate"),
            tcb_info_signer: signer.clone(),
            qe_identity_signer: signer,
            revoked_by_root: vec![],
            revoked_by_ca: vec![],
            crl_from: [VALID_FROM; 2],
            crl_until: [VALID_UNTIL; 2],
            attestation_key: ATTESTATION,
            claimed_attestation_key: ATTESTATION,
            qe_report_key: PCK,
        }
    }

    pub fn sgx() -> Self {
        let mut body = vec![0; 384];
        body[48] = 0x05;
        body[64..96].copy_from_slice(&[0x11; 32]);
        body[320..].copy_from_slice(&[0x22; 64]);
        Self::new(0, 3, body)
    }

    pub fn tdx() -> Self {
        let mut body = vec![0; 584];
        // TEE_TCB_SVN: version 1 of the module, and the rest at the level's minimum.
        body[..16].copy_from_slice(&[2; 16]);
        body[1] = 1;
        // SEPT_VE_DISABLE.
        body[120 + 3] = 0x10;
        body[136..184].copy_from_slice(&[0x11; 48]);
        body[520..].copy_from_slice(&[0x22; 64]);
        Self::new(0x81, 4, body)
    }

    pub fn tdx_15() -> Self {
        let mut body = Self::tdx().body;
        let svn: Vec<u8> = body[..16].to_vec();
        body.extend_from_slice(&svn);
        body.extend_from_slice(&[0; 48]);
        Self::new(0x81, 5, body)
    }

    /// Everything but the root from `from` until `until`.
    pub fn valid(mut self, from: UnixSeconds, until: UnixSeconds) -> Self {
        for draft in [&mut self.ca, &mut self.pck, &mut self.tcb_info_signer, &mut self.qe_identity_signer] {
            (draft.from, draft.until) = (from, until);
        }
        (self.crl_from, self.crl_until) = ([from; 2], [until; 2]);
        for json in [&mut self.tcb_info, &mut self.qe_identity] {
            *json = json.replace(&json_time(VALID_FROM), &json_time(from));
            *json = json.replace(&json_time(VALID_UNTIL), &json_time(until));
        }
        self
    }

    /// Replaces text that occurs once in the TCB info.
    pub fn tcb_info(mut self, from: &str, to: &str) -> Self {
        assert!(self.tcb_info.contains(from), "{from}");
        self.tcb_info = self.tcb_info.replacen(from, to, 1);
        self
    }

    /// Replaces text in the QE identity.
    pub fn qe_identity(mut self, from: &str, to: &str) -> Self {
        assert!(self.qe_identity.contains(from), "{from}");
        self.qe_identity = self.qe_identity.replacen(from, to, 1);
        self
    }

    /// Repeats the only TCB level until the TCB info has about that many bytes.
    pub fn repeat_tcb_level(&mut self, bytes: usize) {
        let start = self.tcb_info.find(r#""tcbLevels":["#).unwrap() + r#""tcbLevels":["#.len();
        let level = self.tcb_info[start..self.tcb_info.len() - 2].to_string();
        let more = bytes.saturating_sub(self.tcb_info.len()) / (level.len() + 1);
        for _ in 0..more {
            self.tcb_info.insert(start, ',');
            self.tcb_info.insert_str(start, &level);
        }
    }

    pub fn change(mut self, change: impl FnOnce(&mut Self)) -> Self {
        change(&mut self);
        self
    }

    /// The root, the quote and its collateral.
    pub fn build(&self) -> (Vec<u8>, Evidence, Collateral) {
        let [root, ca, pck, signer] = [ROOT, CA, PCK, SIGNER].map(Key::p256);
        let attestation = Key::p256(self.attestation_key);
        let root_der = self.root.sign(&root, &root);
        let ca_der = self.ca.sign(&ca, &root);
        let mut pck_draft = self.pck.clone();
        pck_draft.extensions.push(extension("1.2.840.113741.1.13.1", &self.sgx_extension()));
        let pck_der = pck_draft.sign(&pck, &ca);

        let mut quote = Vec::new();
        quote.extend_from_slice(&self.version.to_le_bytes());
        quote.extend_from_slice(&self.key_type.to_le_bytes());
        quote.extend_from_slice(&self.tee.to_le_bytes());
        quote.extend_from_slice(&[0; 4]);
        quote.extend_from_slice(&[
            0x93, 0x9a, 0x72, 0x33, 0xf7, 0x9c, 0x4c, 0xa9, 0x94, 0x0a, 0x0d, 0xb3, 0x95, 0x7f, 0x06, 0x07,
        ]);
        quote.extend_from_slice(&[0; 20]);
        if self.version == 5 {
            quote.extend_from_slice(&self.body_type.to_le_bytes());
            quote.extend_from_slice(&(self.body.len() as u32).to_le_bytes());
        }
        quote.extend_from_slice(&self.body);
        let signature = attestation.sign(&quote);

        let claimed = Key::p256(self.claimed_attestation_key).point();
        let mut qe_report = self.qe_report.clone();
        let hash = Sha256::new().chain_update(Key::p256(ATTESTATION).point()).chain_update(&self.qe_data).finalize();
        qe_report[320..352].copy_from_slice(&hash);
        let mut nested = qe_report.clone();
        nested.extend_from_slice(&Key::p256(self.qe_report_key).sign(&qe_report));
        nested.extend_from_slice(&(self.qe_data.len() as u16).to_le_bytes());
        nested.extend_from_slice(&self.qe_data);
        let chain: String = [&pck_der, &ca_der, &root_der]
            .into_iter()
            .map(|der| crate::certificates::encode_pem(der).unwrap())
            .collect();
        nested.extend_from_slice(&self.certification_type.to_le_bytes());
        nested.extend_from_slice(&(chain.len() as u32).to_le_bytes());
        nested.extend_from_slice(chain.as_bytes());
        let mut tail = [signature, claimed].concat();
        if self.version > 3 {
            tail.extend_from_slice(&self.outer_type.to_le_bytes());
            tail.extend_from_slice(&(nested.len() as u32).to_le_bytes());
        }
        tail.extend_from_slice(&nested);
        quote.extend_from_slice(&(tail.len() as u32).to_le_bytes());
        quote.extend_from_slice(&tail);

        let crl = |index: usize, issuer, key, revoked| {
            list_with(issuer, key, revoked, (self.crl_from[index], self.crl_until[index]), &[])
        };
        let collateral = DcapCollateral {
            tcb_info_signature: signer.sign(self.tcb_info.as_bytes()).try_into().unwrap(),
            tcb_info: self.tcb_info.clone(),
            tcb_info_signer: self.tcb_info_signer.sign(&signer, &root),
            qe_identity_signature: signer.sign(self.qe_identity.as_bytes()).try_into().unwrap(),
            qe_identity: self.qe_identity.clone(),
            qe_identity_signer: self.qe_identity_signer.sign(&signer, &root),
            root_ca_crl: crl(0, "Intel SGX Root CA", &root, &self.revoked_by_root),
            pck_crl: crl(1, "Intel SGX PCK Platform CA", &ca, &self.revoked_by_ca),
        };
        (root_der, Evidence::Dcap { quote, pck_chain: None }, Collateral::Dcap(collateral))
    }

    fn sgx_extension(&self) -> Vec<u8> {
        let id = |suffix: &str| oid(&format!("1.2.840.113741.1.13.1.{suffix}"));
        let mut entries = vec![
            seq(&[id("1"), octets(&self.ppid)]),
            seq(&[
                id("2"),
                seq(&[seq(&[id("2.17"), integer(self.pce_svn)]), seq(&[id("2.18"), octets(&self.cpu_svn)])]),
            ]),
            seq(&[id("3"), octets(&[0, 0])]),
            seq(&[id("4"), octets(&self.fmspc)]),
            seq(&[id("5"), tlv(0x0a, [1])]),
        ];
        if let Some(flags) = self.flags {
            let flag = |index: usize| {
                let value = tlv(0x01, [if flags[index] { 0xff } else { 0 }]);
                seq(&[id(&format!("7.{}", index + 1)), value])
            };
            entries.push(seq(&[id("7"), seq(&[flag(0), flag(1), flag(2)])]));
        }
        seq(&entries)
    }
}
