// Run by bench.rs: PACKAGE RUNS AT POLICY FILE…. Prints milliseconds: loading, the first verification, the median of all.

import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { pathToFileURL } from "node:url";

const [folder, runs, at, policy, ...paths] = process.argv.slice(2);
const { Verifier } = await import(pathToFileURL(`${folder}/index.js`));
const wasm = await readFile(`${folder}/attestation.wasm`);
const files = await Promise.all(paths.map((path) => readFile(path)));

const timed = async (action) => {
  const start = performance.now();
  const result = await action();
  return [performance.now() - start, result];
};

const [loading, verifier] = await timed(() => Verifier.load(wasm));
const times = [];
for (let run = 0; run < Number(runs); run++) {
  const [time, { accepted }] = await timed(() => verifier.verifyEvidence({ files, policy, at: Number(at) }));
  assert.ok(accepted);
  times.push(time);
}
const [first] = times;
times.sort((a, b) => a - b);
console.log(loading, first, times[times.length / 2]);
