// What may be asked, and what may not.

import { AttestationError, Verifier, type WorkerVerdict } from "@phala/attestation";

export async function recipient(verifier: Verifier, answer: Response, simulatedRoot: string | null): Promise<string> {
  const { statement, evidence } = (await answer.json()) as { statement: string; evidence: string };
  const verdict: WorkerVerdict = await verifier.verifyWorker({ statement, evidence, chain: { simulatedRoot }, at: 1 });
  // @ts-expect-error: refused evidence names nobody to encrypt to.
  verdict.recipient;
  return verdict.accepted ? verdict.recipient : Promise.reject(new Error(verdict.reason));
}

export const code = (error: unknown): string => (error instanceof AttestationError ? error.code : "other");

// @ts-expect-error: there is no such field.
export const unknown = (verifier: Verifier) => verifier.verifyEvidence({ files: [], policy: { dcapp: {} } });
// @ts-expect-error: seconds are a number.
export const time = (verifier: Verifier) => verifier.verifyEvidence({ files: [], at: "now" });
