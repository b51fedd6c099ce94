// Run by node.rs, which makes the cases and knows the verdicts of native code.

import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { readFile } from "node:fs/promises";
import { pathToFileURL } from "node:url";
import test from "node:test";

const folder = pathToFileURL(`${process.env.PHALA_BROWSER_PACKAGE}/`);
const { AttestationError, Verifier } = await import(new URL("index.js", folder));
const { recorded, failed, workers } = JSON.parse(await readFile(process.env.PHALA_CASES));
const wasm = await readFile(new URL("attestation.wasm", folder));
const verifier = await Verifier.load(wasm);

const bytes = (hex) => new Uint8Array(Buffer.from(hex, "hex"));
const quote = bytes(failed.at(-1).files[0]);
const worker = workers[0].request;

/** What is thrown, in the form of the module's answer. */
const failure = (error) => {
  assert.ok(error instanceof AttestationError, String(error));
  return { error: { code: error.code, message: error.message, file: error.file ?? null } };
};

test("recorded evidence gets the verdict of native code", { skip: recorded.length === 0 && "SKIPPED" }, async () => {
  for (const { files, policy, at, expected } of recorded) {
    assert.deepEqual(await verifier.verifyEvidence({ files: files.map(bytes), policy, at }), expected);
  }
  // In any order, as text, and under a policy that is an object.
  const { files, policy, at, expected } = recorded[0];
  const texts = [...files].reverse();
  assert.deepEqual(await verifier.verifyEvidence({ files: texts, policy: JSON.parse(policy), at }), expected);
});

test("workers get the verdict of native code", async () => {
  for (const { request, expected } of workers) {
    assert.deepEqual(await verifier.verifyWorker(request).catch(failure), expected);
  }
  assert.ok(workers.filter(({ expected }) => expected.accepted).length >= 4);
});

test("what is no evidence has an error with its code and file", async () => {
  for (const { files, file, code } of failed) {
    const { error } = await verifier.verifyEvidence({ files: files.map(bytes) }).then(assert.fail, failure);
    assert.deepEqual({ code: error.code, file: error.file }, { code, file });
    assert.ok(error.message.length > 10);
  }
});

test("policies that are none are refused", async () => {
  for (const policy of ["", "{", "null", "\0", { dcapp: {} }, { dcap: { allow: true } }, { dcap: { allow_smt: 1 } }]) {
    const { error } = await verifier.verifyEvidence({ files: [quote], policy }).then(assert.fail, failure);
    assert.equal(error.code, "policy", `${JSON.stringify(policy)}: ${error.message}`);
  }
  // A policy of JSON names no simulated root.
  const { error } = await verifier.verifyEvidence({ files: [quote], policy: { simulated_root: [] } }).then(assert.fail, failure);
  assert.match(error.message, /simulated_root/);
});

test("fields of other types are refused before anything is verified", async () => {
  const type = { name: "TypeError" };
  for (const request of [undefined, null, {}, { files: quote }, { files: "quote" }, { files: [1] }, { files: [null] }, { files: [[1]] }]) {
    await assert.rejects(verifier.verifyEvidence(request), type);
  }
  await assert.rejects(verifier.verifyEvidence({ files: [new Uint16Array(4)] }), type);
  await assert.rejects(verifier.verifyEvidence({ files: [quote], policy: 1 }), type);
  for (const at of [null, "0", 1n, new Date()]) await assert.rejects(verifier.verifyEvidence({ files: [quote], at }), type);
  for (const at of [-1, 0.5, NaN, Infinity, 2 ** 53]) {
    await assert.rejects(verifier.verifyEvidence({ files: [quote], at }), { name: "RangeError" });
  }
  for (const request of [undefined, {}, { ...worker, statement: 1 }, { ...worker, evidence: undefined }, { ...worker, chain: null }]) {
    await assert.rejects(verifier.verifyWorker(request), type);
  }
  await assert.rejects(verifier.verifyWorker({ ...worker, chain: { simulatedRoot: 1 } }), type);
  await assert.rejects(verifier.verifyWorker({ ...worker, chain: { documents: "0x" } }), type);
});

test("a worker's bytes are the same as their text", async () => {
  const { statement, evidence, chain, at } = worker;
  const raw = (text) => bytes(text.slice(2));
  const simulatedRoot = raw(chain.simulatedRoot).buffer;
  const request = { statement: raw(statement), evidence: raw(evidence), chain: { simulatedRoot }, at };
  assert.deepEqual(await verifier.verifyWorker(request), workers[0].expected);
});

test("text that is no bytes is malformed", async () => {
  for (const statement of ["", "0", "0x0", "00", "0xgg", "0x 1", `${worker.statement}\n`]) {
    const { error } = await verifier.verifyWorker({ ...worker, statement }).then(assert.fail, failure);
    assert.equal(error.code, "malformed", statement);
  }
});

test("without a time it is now, and without a chain there is no simulated root", async () => {
  const before = Math.floor(Date.now() / 1000);
  const { statement, evidence } = worker;
  const { accepted, at, reason } = await verifier.verifyWorker({ statement, evidence });
  assert.equal(accepted, false);
  assert.ok(at >= before && at <= before + 60);
  assert.match(reason, /simulated evidence is not accepted/);
});

test("the module loads from bytes, answers, URLs and itself, and from nothing else", async () => {
  const url = new URL(`data:application/wasm;base64,${wasm.toString("base64")}`);
  const { buffer } = new Uint8Array(wasm);
  for (const source of [buffer, new Response(wasm), Promise.resolve(new Response(wasm)), url, await WebAssembly.compile(wasm)]) {
    assert.ok((await (await Verifier.load(source)).verifyWorker(worker)).accepted);
  }
  for (const source of [undefined, "attestation.wasm", 1, new Uint8Array(8)]) await assert.rejects(Verifier.load(source));
  await assert.rejects(Verifier.load(new Response(wasm, { status: 404 })), /404/);
  assert.throws(() => new Verifier(wasm), { name: "TypeError" });
});

test("the module asks nothing of the page", () => {
  const module = new WebAssembly.Module(wasm);
  assert.deepEqual(WebAssembly.Module.imports(module), []);
  const functions = WebAssembly.Module.exports(module).filter(({ kind }) => kind === "function");
  assert.deepEqual(functions.map(({ name }) => name).sort(), ["answer", "room"]);
});

test("a module that traps is an error, and the next request is answered", async () => {
  // (memory 1) (func (export "room") (param i32) (result i32) unreachable)
  const trapping = Uint8Array.from([
    ...[0, 0x61, 0x73, 0x6d, 1, 0, 0, 0],
    ...[1, 6, 1, 0x60, 1, 0x7f, 1, 0x7f],
    ...[3, 2, 1, 0],
    ...[7, 8, 1, 4, 0x72, 0x6f, 0x6f, 0x6d, 0, 0],
    ...[10, 5, 1, 3, 0, 0, 0x0b],
  ]);
  const { error } = await (await Verifier.load(trapping)).verifyWorker(worker).then(assert.fail, failure);
  assert.equal(error.code, "trap");
  await assert.rejects(verifier.verifyEvidence({ files: [new ArrayBuffer(2 ** 30)] }), { name: "RangeError" });
  assert.ok((await verifier.verifyWorker(worker)).accepted);
});

test("requests at once do not disturb each other", async () => {
  const answers = await Promise.all(workers.map(({ request }) => verifier.verifyWorker(request).catch(failure)));
  assert.deepEqual(answers, workers.map(({ expected }) => expected));
});

test("thousands of random contents never trap", async () => {
  // The same ones each time.
  const random = (seed, length) => {
    const blocks = Array.from({ length: Math.ceil(length / 32) }, (_, block) => createHash("sha256").update(`${seed}/${block}`).digest());
    return new Uint8Array(Buffer.concat(blocks).subarray(0, length));
  };
  const starts = ["", "{", '{"tcbInfo":', "-----BEGIN CERTIFICATE-----", "HCLA", "0\x82\x02\x10", "0x", "\x03\x00\x02\x00", "\x04\x00\x02\x00\x81"];
  const heads = [...starts.map((text) => Uint8Array.from(Buffer.from(text, "latin1"))), quote];
  const accepted = ({ accepted }) => assert.equal(accepted, false);
  const told = (error) => assert.notEqual(failure(error).error.code, "trap");
  for (let round = 0; round < 4000; round++) {
    const head = heads[round % heads.length];
    const content = new Uint8Array([...head, ...random(round, (round * 7) % 1500)]);
    // Somewhere in what is known, too.
    if (head.length > 0) content[random(-round, 1)[0] % head.length] ^= round % 3;
    await verifier.verifyEvidence({ files: [content] }).then(accepted, told);
    const request = round % 2 === 0 ? { ...worker, evidence: content } : { ...worker, statement: content };
    await verifier.verifyWorker(request).then(accepted, told);
  }
});
