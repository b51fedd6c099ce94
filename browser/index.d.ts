/**
 * Verification of TEE evidence: quotes of Intel SGX and TDX, reports of AMD SEV-SNP, and workers of a Phala chain. The same
 * code as in the chain and in `phala verify`, as WebAssembly.
 *
 * Refused evidence is an answer. Exceptions are `AttestationError`, where there was nothing to verify, and `TypeError` and
 * `RangeError`, where a field is not what is declared here.
 */

/** Bytes; of a string, those of its UTF-8. */
export type Content = Uint8Array | ArrayBuffer | string;

/** A value in SCALE: bytes, or a string of `0x` and their hexadecimal digits, as hosts and nodes have it. */
export type Scale = Uint8Array | ArrayBuffer | string;

/** Verifies evidence and workers. Keeps nothing of what it was given. */
export class Verifier {
  /** From the compiled `attestation.wasm`. */
  constructor(module: WebAssembly.Module);

  /** From `attestation.wasm`: where it is, an answer with it, or its bytes. */
  static load(
    source: URL | Response | BufferSource | WebAssembly.Module | Promise<Response | BufferSource | WebAssembly.Module>,
  ): Promise<Verifier>;

  /** Verifies evidence against the roots of its vendor. */
  verifyEvidence(request: EvidenceRequest): Promise<Verdict>;

  /** Verifies a worker's evidence as its chain would, and that it binds the statement. */
  verifyWorker(request: WorkerRequest): Promise<WorkerVerdict>;
}

/** Evidence and what its vendor publishes for checking it. */
export interface EvidenceRequest {
  /**
   * The contents of files, in any order: a quote or report, and its collateral. Raw or as hexadecimal text; certificates and
   * lists in PEM or DER; documents of Intel in JSON, also all in one as `dcap-qvl` has it.
   */
  files: Content[];
  /** Which evidence is good enough, also as JSON. What is left out is as in the strict default. */
  policy?: Policy | string;
  /** The time of the verification, in seconds since 1970. By default now. */
  at?: number;
}

/** What a worker's host serves as `GET /v1/evidence`, and what the chain keeps. */
export interface WorkerRequest {
  statement: Scale;
  evidence: Scale;
  /** From a node that you trust. What is missing is as in a chain that keeps nothing. */
  chain?: Chain;
  /** The time of the verification, in seconds since 1970. By default now. */
  at?: number;
}

/** Values of a chain's storage, under `Attestation`, as `state_getStorage` has them. */
export interface Chain {
  /** `Hardware`: which evidence is good enough. Missing, it is the strict default. */
  hardware?: Scale | null;
  /** `SimulatedRoot`. Missing, simulated evidence is refused. */
  simulatedRoot?: Scale | null;
  /** `SimulatedVendors`, of development networks. Missing, the real vendors' roots are. */
  simulatedVendors?: Scale | null;
  /** `Documents`: those that the evidence is verified with. None for simulated evidence. */
  documents?: Scale[];
}

/** Evidence that was accepted or refused. */
export type Verdict = Accepted | Refused;

/** A worker's evidence that was accepted or refused. */
export type WorkerVerdict = (Accepted & Bound) | Refused;

/** Evidence that does not hold, or is not good enough. */
export interface Refused {
  accepted: false;
  /** The time of the verification, in seconds since 1970. */
  at: number;
  /** What was wrong, and what to do. */
  reason: string;
}

/** Evidence whose signatures, dates and policy hold. Hexadecimal text starts with `0x`. */
export interface Accepted {
  accepted: true;
  /** The time of the verification, in seconds since 1970. */
  at: number;
  kind: "sgx" | "tdx" | "sev-snp" | "simulated";
  /** What identifies the image: a hash of `measurements`. */
  measurement: string;
  /** In the vendor's terms, such as `MRTD`: hexadecimal, and numbers in decimal. */
  measurements: Record<string, string>;
  /** What the guest chose to be signed: 64 bytes. */
  report_data: string;
  /** What identifies the platform; `null` where nothing does. */
  platform: string | null;
  /** For people. */
  hardware: string;
  /** The platforms that share its weaknesses: `fmspc:00a067110000`, `generation:milan` or `simulated:development`. */
  family: string;
  /** What the policy thinks of the platform. */
  tier: "full" | "limited";
  /** Intel's status; `null` elsewhere. */
  tcb_status: TcbStatus | null;
  /** Intel's, such as `INTEL-SA-00615`. */
  advisories: string[];
  /** Of Intel's documents; `null` elsewhere. */
  tcb_evaluation_number: number | null;
  /** The last second at which every certificate and document is valid. */
  valid_until: number;
  /** Everything that such evidence can prove, and whether it was checked. */
  checks: Claim[];
}

/** What a worker's evidence binds. Compare it with what the chain has of the worker before you send anything. */
export interface Bound {
  vendor: "intel" | "amd" | `simulated:${string}`;
  /** Whether there is no TEE: whoever runs the host can read everything. */
  simulated: boolean;
  /** Who to encrypt to with `age`, so that only this enclave can read it. */
  recipient: string;
  /** What the report data is the hash of. */
  statement: Statement;
}

/** What evidence is bound to. */
export interface Statement {
  role: "worker";
  /** Ed25519; also the worker's id. */
  signing_key: string;
  /** X25519; `recipient` is the same. */
  encryption_key: string;
  genesis_hash: string;
  /** The account that owns the worker. */
  operator: string;
  /** A block that was recent when the evidence was made. */
  block_number: number;
  block_hash: string;
}

/** One thing that evidence can prove. */
export interface Claim {
  /** Such as `certificate-chain`. */
  claim: string;
  /** Nothing may rest on what was not checked. */
  status: "checked" | "not-checked";
  /** What exactly, or why not. */
  detail: string;
}

/** Intel's status of a TCB level. */
export type TcbStatus =
  | "UpToDate"
  | "SWHardeningNeeded"
  | "ConfigurationNeeded"
  | "ConfigurationAndSWHardeningNeeded"
  | "OutOfDate"
  | "OutOfDateConfigurationNeeded"
  | "TDRelaunchAdvised"
  | "TDRelaunchAdvisedConfigurationNeeded"
  | "Revoked";

/** Which evidence is good enough. What is left out is as in the strict default, which most clouds fail; unknown fields are refused. */
export interface Policy extends Requirements {
  /** What is asked of platforms that fail the rest, to be of the limited tier. By default there is none. */
  limited?: Requirements | null;
}

/** What is asked of platforms. */
export interface Requirements {
  /** For SGX and TDX. */
  dcap?: {
    /** By default `UpToDate` alone. */
    allowed_statuses?: TcbStatus[];
    /** By default none; `null` allows all that are not denied. */
    allowed_advisories?: string[] | null;
    denied_advisories?: string[];
    /** The lowest `tcbEvaluationDataNumber` of the documents. */
    minimum_evaluation_number?: number;
    allow_dynamic_platform?: boolean;
    allow_cached_keys?: boolean;
    allow_smt?: boolean;
  };
  /** For SEV-SNP. */
  sev_snp?: {
    /** The allowed generations, and the lowest TCB of each. */
    minimum_tcb?: { generation: "milan" | "genoa" | "turin"; tcb: SnpTcb }[];
    /** By default `vcek` alone. */
    allowed_signing_keys?: ("vcek" | "vlek")[];
    /** By default 0 alone. */
    allowed_vmpls?: number[];
    allow_smt?: boolean;
    /** By default so. */
    require_alias_check?: boolean;
    /** By default so. */
    require_crl?: boolean;
  };
}

/** The security versions of an AMD platform's firmware. */
export interface SnpTcb {
  fmc?: number;
  bootloader: number;
  tee: number;
  snp: number;
  microcode: number;
}

/** Why there was nothing to verify. */
export class AttestationError extends Error {
  constructor(error: { code: AttestationError["code"]; message: string; file?: number | null }, options?: ErrorOptions);
  /** `trap` is a fault of the module's, after which it can be used on; all others are of what it was given. */
  readonly code:
    | "too-large"
    | "unknown-file"
    | "td-report"
    | "foreign-root"
    | "unknown-issuer"
    | "twice"
    | "no-quote"
    | "missing"
    | "policy"
    | "malformed"
    | "no-worker"
    | "trap";
  /** The index in `files` of the one that it is about. */
  readonly file?: number;
}
