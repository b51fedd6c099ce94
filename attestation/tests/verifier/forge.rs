//! Vendors of our own, so that evidence with a wrong field can be signed all the same.
//!
//! Flipping a bit of recorded evidence only shows that signatures are checked. Here, what the hardware or the vendor would
//! have to say is said and signed by keys whose secrets are in this file, under roots that only these tests pass in.

use p256::ecdsa::signature::Signer;
use rsa::{BoxedUint, RsaPrivateKey, pss, signature::RandomizedSigner, traits::PublicKeyParts};
use sha2::{Digest, Sha256, Sha384};

use crate::{roots::Roots, *};

/// The primes of two RSA keys, which have to be made once: making them anew takes seconds.
const PRIMES: [[&str; 2]; 2] = [
    [
        concat!(
            "C03BF2BCCD7D3B715267ABFE9224AC1935F6B139F062ABC58C736AA754A5C4182B4C1E5ADE86224E031D3EE81574A89C4E78",
            "6FED27A012E51FFEA6E104FF5117F5337DBA24CAC338EED9102AB064BD1DC32CBDDE8DE78EE7A76392650C0CFCD0CF671EC4",
            "9A0837A94CC8BBBC0254BC573C7BB2050C9F1AA74027EAC076D5A1FB"
        ),
        concat!(
            "EC9C871647A08993671B90AFDD9F6DF66C2F57FB3F7012953A371379B89EA8E1C69A9B9AF69BDF473E8E677C6ADB04C7971C",
            "830B973273504C8710E168FB0AD718967460D2001A58A961934210C72E06E3679F7E842F5B8FC885BF6F24CACBEB18FCFF26",
            "F8208DA68FFA6A20CFFD6D2562FAFBBD1736E63121C25E88092BE8E7"
        ),
    ],
    [
        concat!(
            "E35D43C91D86EA559C6289AB19E6B754CCBEE7DC71FBC4AEEA45334E780D3A3A0BDCF37B25EB67F63141EE6716D3E9800476",
            "91E0445C417C87299653E070DB2E58F25F1AFC08E7890A3F8C08CF339A006C454F7F59B48DB8BA900523DECA01E46973E92C",
            "0E36FFB33DAF32FD92B792C3FF0986575D6B479353240B0BBA48A4B1"
        ),
        concat!(
            "D10FA1CC1FD739AF45AEC5D79BD47CAAA2FF149E84D509929EAD4EC5D415A6F07885050F05C0307BCAAC898F03F54BD73178",
            "A43A248574B484067C5B2CEC8453E2D3D98E58F81340ED95180AAD19EF0D236707214744A894F3000FD502E771668901ACAA",
            "314DD54E67FFC764DEAED090E6C609E7AEF8187671322207C7FF4BA9"
        ),
    ],
];

/// When forged documents are valid: from `START` to `END`, both inclusive.
pub const START: UnixSeconds = 1_800_000_000;
pub const NOW: UnixSeconds = START + 1000;
pub const END: UnixSeconds = START + 86_400;
/// As in X.509, and as in Intel's JSON.
const START_TEXT: (&str, &str) = ("270115080000Z", "2027-01-15T08:00:00Z");
const END_TEXT: (&str, &str) = ("270116080000Z", "2027-01-16T08:00:00Z");

// DER.

fn tlv(tag: u8, content: impl AsRef<[u8]>) -> Vec<u8> {
    let content = content.as_ref();
    let length = content.len().to_be_bytes();
    let header = match content.len() {
        0..128 => vec![tag, content.len() as u8],
        128..256 => vec![tag, 0x81, length[7]],
        _ => vec![tag, 0x82, length[6], length[7]],
    };
    [header.as_slice(), content].concat()
}

fn seq(parts: &[Vec<u8>]) -> Vec<u8> {
    tlv(0x30, parts.concat())
}

fn oid(text: &str) -> Vec<u8> {
    tlv(0x06, der::asn1::ObjectIdentifier::new_unwrap(text).as_bytes())
}

fn integer(number: u64) -> Vec<u8> {
    let bytes = number.to_be_bytes();
    let start = (0..7).find(|index| bytes[*index] != 0 || bytes[*index + 1] >= 128).unwrap_or(7);
    let sign: &[u8] = if bytes[start] >= 128 { &[0] } else { &[] };
    tlv(0x02, [sign, &bytes[start..]].concat())
}

fn big_integer(bytes: &[u8]) -> Vec<u8> {
    tlv(0x02, [&[0], bytes].concat())
}

fn octets(bytes: &[u8]) -> Vec<u8> {
    tlv(0x04, bytes)
}

fn bits(bytes: &[u8]) -> Vec<u8> {
    tlv(0x03, [&[0], bytes].concat())
}

fn name(common_name: &str) -> Vec<u8> {
    seq(&[tlv(0x31, seq(&[oid("2.5.4.3"), tlv(0x0c, common_name)]))])
}

fn extension(id: &str, value: &[u8]) -> Vec<u8> {
    seq(&[oid(id), octets(value)])
}

/// Key usage: `0x04` for certificates, `0x02` for lists.
pub fn key_usage(usages: u8) -> Vec<u8> {
    seq(&[oid("2.5.29.15"), tlv(0x01, [0xff]), octets(&tlv(0x03, [usages.trailing_zeros() as u8, usages]))])
}

/// An extension that nobody knows, and has to be understood.
pub fn critical() -> Vec<u8> {
    seq(&[oid("1.2.3.4"), tlv(0x01, [0xff]), octets(&[])])
}

// Keys.

pub enum Key {
    P256(Box<p256::ecdsa::SigningKey>),
    P384(Box<p384::ecdsa::SigningKey>),
    Rsa(Box<RsaPrivateKey>),
}

impl Key {
    pub fn p256(seed: u8) -> Self {
        Self::P256(Box::new(p256::ecdsa::SigningKey::from_slice(&[seed; 32]).unwrap()))
    }

    pub fn p384(seed: u8) -> Self {
        Self::P384(Box::new(p384::ecdsa::SigningKey::from_slice(&[seed; 48]).unwrap()))
    }

    pub fn rsa(index: usize) -> Self {
        let [p, q] = PRIMES[index].map(|prime| {
            let bytes: Vec<u8> =
                (0..prime.len()).step_by(2).map(|at| u8::from_str_radix(&prime[at..at + 2], 16).unwrap()).collect();
            BoxedUint::from_be_slice_vartime(&bytes)
        });
        Self::Rsa(Box::new(RsaPrivateKey::from_p_q(p, q, BoxedUint::from(65_537_u64)).unwrap()))
    }

    fn algorithm(&self) -> Vec<u8> {
        seq(&[oid(match self {
            Self::P256(_) => "1.2.840.10045.4.3.2",
            Self::P384(_) => "1.2.840.10045.4.3.3",
            Self::Rsa(_) => "1.2.840.113549.1.1.10",
        })])
    }

    fn info(&self) -> Vec<u8> {
        let ec = |curve, point: &[u8]| seq(&[seq(&[oid("1.2.840.10045.2.1"), oid(curve)]), bits(point)]);
        match self {
            Self::P256(key) => ec("1.2.840.10045.3.1.7", key.verifying_key().to_sec1_point(false).as_bytes()),
            Self::P384(key) => ec("1.3.132.0.34", key.verifying_key().to_sec1_point(false).as_bytes()),
            Self::Rsa(key) => {
                let public = seq(&[big_integer(&key.n().to_be_bytes()), integer(65_537)]);
                seq(&[seq(&[oid("1.2.840.113549.1.1.1"), tlv(0x05, [])]), bits(&public)])
            }
        }
    }

    /// `r` and `s` for elliptic curves.
    pub fn sign(&self, message: &[u8]) -> Vec<u8> {
        match self {
            Self::P256(key) => Signer::<p256::ecdsa::Signature>::sign(&**key, message).to_bytes().to_vec(),
            Self::P384(key) => Signer::<p384::ecdsa::Signature>::sign(&**key, message).to_bytes().to_vec(),
            Self::Rsa(key) => {
                let key = pss::SigningKey::<Sha384>::new_with_salt_len((**key).clone(), 48);
                Box::<[u8]>::from(key.sign_with_rng(&mut rand::rng(), message)).into_vec()
            }
        }
    }

    fn sign_der(&self, message: &[u8]) -> Vec<u8> {
        let signature = self.sign(message);
        if matches!(self, Self::Rsa(_)) {
            return signature;
        }
        let (r, s) = signature.split_at(signature.len() / 2);
        seq(&[positive(r), positive(s)])
    }

    /// The public key, `x` and `y`.
    fn point(&self) -> Vec<u8> {
        let Self::P256(key) = self else { panic!("not of P-256") };
        key.verifying_key().to_sec1_point(false).as_bytes()[1..].to_vec()
    }
}

fn positive(bytes: &[u8]) -> Vec<u8> {
    let bytes = &bytes[bytes.iter().position(|byte| *byte != 0).unwrap()..];
    if bytes[0] >= 128 { big_integer(bytes) } else { tlv(0x02, bytes) }
}

// Certificates and lists.

/// A certificate before it is signed.
#[derive(Clone)]
pub struct Draft {
    pub serial: u64,
    pub issuer: &'static str,
    pub subject: &'static str,
    pub from: &'static str,
    pub until: &'static str,
    pub authority: bool,
    pub extensions: Vec<Vec<u8>>,
}

impl Draft {
    pub fn new(issuer: &'static str, subject: &'static str) -> Self {
        let (from, until) = (START_TEXT.0, END_TEXT.0);
        Self { serial: 7, issuer, subject, from, until, authority: false, extensions: vec![] }
    }

    pub fn authority(issuer: &'static str, subject: &'static str) -> Self {
        Self { authority: true, ..Self::new(issuer, subject) }
    }

    pub fn sign(&self, key: &Key, issuer: &Key) -> Vec<u8> {
        let constraints = if self.authority { tlv(0x01, [0xff]) } else { vec![] };
        let mut extensions = self.extensions.clone();
        extensions.push(seq(&[oid("2.5.29.19"), tlv(0x01, [0xff]), octets(&tlv(0x30, constraints))]));
        let signed = seq(&[
            tlv(0xa0, integer(2)),
            integer(self.serial),
            issuer.algorithm(),
            name(self.issuer),
            seq(&[tlv(0x17, self.from), tlv(0x17, self.until)]),
            name(self.subject),
            key.info(),
            tlv(0xa3, seq(&extensions)),
        ]);
        seq(&[signed.clone(), issuer.algorithm(), bits(&issuer.sign_der(&signed))])
    }
}

/// A revocation list of certificates with the serials `revoked`.
pub fn list(issuer: &str, key: &Key, revoked: &[u64]) -> Vec<u8> {
    list_with(issuer, key, revoked, (START_TEXT.0, END_TEXT.0), &[])
}

fn list_with(issuer: &str, key: &Key, revoked: &[u64], dates: (&str, &str), others: &[Vec<u8>]) -> Vec<u8> {
    let entries: Vec<_> = revoked.iter().map(|serial| seq(&[integer(*serial), tlv(0x17, START_TEXT.0)])).collect();
    let signed = seq(&[
        integer(1),
        key.algorithm(),
        name(issuer),
        tlv(0x17, dates.0),
        tlv(0x17, dates.1),
        if revoked.is_empty() { vec![] } else { seq(&entries) },
        tlv(0xa0, seq(&[vec![extension("2.5.29.20", &integer(1))], others.to_vec()].concat())),
    ]);
    seq(&[signed.clone(), key.algorithm(), bits(&key.sign_der(&signed))])
}

// Intel.

/// A DCAP quote and its collateral, to be changed and then signed.
#[derive(Clone)]
pub struct Dcap {
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
    pub crl_until: [&'static str; 2],
    pub crl_from: [&'static str; 2],
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
pub const OTHER: u8 = 9;

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
        let dates = format!(r#""issueDate":"{}","nextUpdate":"{}""#, START_TEXT.1, END_TEXT.1);
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
            fmspc: [0, 0xa0, 0x67, 0x11, 0, 0],
            pce_svn: 11,
            cpu_svn: [2; 16],
            flags: Some([false; 3]),
            root: Draft::authority("Intel SGX Root CA", "Intel SGX Root CA"),
            ca: Draft::authority("Intel SGX Root CA", "Intel SGX PCK Platform CA"),
            pck: Draft::new("Intel SGX PCK Platform CA", "Intel SGX PCK Certificate"),
            tcb_info_signer: signer.clone(),
            qe_identity_signer: signer,
            revoked_by_root: vec![],
            revoked_by_ca: vec![],
            crl_from: [START_TEXT.0; 2],
            crl_until: [END_TEXT.0; 2],
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
            seq(&[id("1"), octets(&[0x33; 16])]),
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

    pub fn verify(&self, policy: &Policy, now: UnixSeconds) -> Result<VerifiedEvidence, Error> {
        let (intel, evidence, collateral) = self.build();
        verify_under::<NoneKnown>(&Roots { intel: &intel, ..Roots::PINNED }, &evidence, &collateral, policy, now)
    }
}

// AMD.

/// An SEV-SNP report and its collateral, to be changed and then signed.
#[derive(Clone)]
pub struct Snp {
    pub report: Vec<u8>,
    pub ark: Draft,
    pub ask: Draft,
    pub endorsement: Draft,
    pub product: &'static str,
    /// By the last part of the extension's identifier.
    pub spl: Vec<(u8, u8)>,
    pub hardware_id: Option<Vec<u8>>,
    pub provider: Option<&'static str>,
    pub crl: Option<Vec<u64>>,
    pub crl_dates: (&'static str, &'static str),
    pub crl_issuer: &'static str,
    pub crl_key: usize,
    pub crl_extensions: Vec<Vec<u8>>,
    pub report_key: u8,
}

impl Snp {
    pub fn milan() -> Self {
        let mut report = vec![0; 0x2a0];
        report[0] = 3;
        report[0x08..0x10].copy_from_slice(&0x20000_u64.to_le_bytes());
        report[0x34] = 1;
        report[0x40] = 0x20;
        report[0x50..0x90].copy_from_slice(&[0x22; 64]);
        report[0x90..0xc0].copy_from_slice(&[0x11; 48]);
        report[0x188..0x18b].copy_from_slice(&[0x19, 1, 1]);
        report[0x1a0..0x1e0].copy_from_slice(&[0x44; 64]);
        let tcb = [4, 1, 0, 0, 0, 0, 24, 220];
        for offset in [0x38, 0x180, 0x1e0, 0x1f0] {
            report[offset..offset + 8].copy_from_slice(&tcb);
        }
        Self {
            report,
            ark: Draft::authority("ARK-Milan", "ARK-Milan"),
            ask: Draft { serial: 8, ..Draft::authority("ARK-Milan", "SEV-Milan") },
            endorsement: Draft::new("SEV-Milan", "SEV-VCEK"),
            product: "Milan-B0",
            spl: vec![(1, 4), (2, 1), (3, 24), (8, 220)],
            hardware_id: Some(vec![0x44; 64]),
            provider: None,
            crl: Some(vec![]),
            crl_dates: (START_TEXT.0, END_TEXT.0),
            crl_issuer: "ARK-Milan",
            crl_key: 0,
            crl_extensions: vec![],
            report_key: 6,
        }
    }

    pub fn milan_vlek() -> Self {
        Self::milan().change(|snp| {
            snp.ask.subject = "SEV-VLEK-Milan";
            snp.endorsement = Draft::new("SEV-VLEK-Milan", "SEV-VLEK");
            snp.product = "Milan";
            snp.hardware_id = None;
            snp.provider = Some("CN=cc-us-east-2.amazonaws.com");
            snp.report[0x48] = 1 << 2;
            snp.report[0x1a0..0x1e0].fill(0);
        })
    }

    pub fn turin() -> Self {
        Self::milan().change(|snp| {
            snp.ark = Draft::authority("ARK-Turin", "ARK-Turin");
            snp.ask = Draft { serial: 8, ..Draft::authority("ARK-Turin", "SEV-Turin") };
            snp.endorsement = Draft::new("SEV-Turin", "SEV-VCEK");
            snp.crl_issuer = "ARK-Turin";
            snp.product = "Turin";
            snp.spl = vec![(9, 1), (1, 2), (2, 3), (3, 4), (8, 70)];
            snp.hardware_id = Some(vec![0x44; 8]);
            snp.report[0x188..0x18b].copy_from_slice(&[0x1a, 2, 1]);
            snp.report[0x1a8..0x1e0].fill(0);
            for offset in [0x38, 0x180, 0x1e0, 0x1f0] {
                snp.report[offset..offset + 8].copy_from_slice(&[1, 2, 3, 4, 0, 0, 0, 70]);
            }
        })
    }

    pub fn change(mut self, change: impl FnOnce(&mut Self)) -> Self {
        change(&mut self);
        self
    }

    /// The root, the report and its collateral.
    pub fn build(&self) -> (Vec<u8>, Evidence, Collateral) {
        let [ark, ask] = [0, 1].map(Key::rsa);
        let key = Key::p384(6);
        let mut endorsement = self.endorsement.clone();
        let amd = |suffix: &str, value: &[u8]| extension(&format!("1.3.6.1.4.1.3704.1.{suffix}"), value);
        endorsement.extensions.push(amd("2", &tlv(0x16, self.product)));
        endorsement
            .extensions
            .extend(self.spl.iter().map(|(id, number)| amd(&format!("3.{id}"), &integer(u64::from(*number)))));
        endorsement.extensions.extend(self.hardware_id.iter().map(|id| amd("4", id)));
        endorsement.extensions.extend(self.provider.map(|provider| amd("5", &tlv(0x16, provider))));

        let mut signature = Key::p384(self.report_key).sign(&self.report);
        let (r, s) = signature.split_at_mut(48);
        r.reverse();
        s.reverse();
        let mut report = self.report.clone();
        report.resize(0x4a0, 0);
        report[0x2a0..0x2d0].copy_from_slice(r);
        report[0x2e8..0x318].copy_from_slice(s);

        let collateral = SevSnpCollateral {
            intermediate: self.ask.sign(&ask, &ark),
            crl: self.crl.as_ref().map(|revoked| {
                let key = Key::rsa(self.crl_key);
                list_with(self.crl_issuer, &key, revoked, self.crl_dates, &self.crl_extensions)
            }),
        };
        let evidence = Evidence::SevSnp { report, endorsement: endorsement.sign(&key, &ask) };
        (self.ark.sign(&ark, &ark), evidence, Collateral::SevSnp(collateral))
    }

    pub fn verify(&self, policy: &Policy, now: UnixSeconds) -> Result<VerifiedEvidence, Error> {
        let (ark, evidence, collateral) = self.build();
        let roots = Roots { milan: &ark, genoa: &ark, turin: &ark, ..Roots::PINNED };
        verify_under::<NoneKnown>(&roots, &evidence, &collateral, policy, now)
    }
}
