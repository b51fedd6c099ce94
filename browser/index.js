/**
 * Verification of TEE evidence, as WebAssembly. See index.d.ts for what everything is.
 *
 * Each request gets an instance of the module of its own: it answers one request, and is thrown away.
 */

/** Why there was nothing to verify. */
export class AttestationError extends Error {
  constructor({ code, message, file }, options) {
    super(message, options);
    this.name = "AttestationError";
    this.code = code;
    this.file = file ?? undefined;
  }
}

/** Verifies evidence and workers. */
export class Verifier {
  #module;

  constructor(module) {
    if (!(module instanceof WebAssembly.Module)) throw new TypeError("module is not a WebAssembly.Module");
    this.#module = module;
  }

  static async load(source) {
    source = await (source instanceof URL ? fetch(source) : source);
    if (source instanceof WebAssembly.Module) return new Verifier(source);
    if (source instanceof Response) {
      if (!source.ok) throw new Error(`${source.url} answers with status ${source.status}`);
      source = await source.arrayBuffer();
    }
    return new Verifier(await WebAssembly.compile(source));
  }

  async verifyEvidence({ files, policy, at }) {
    const text = typeof policy === "object" && policy !== null ? JSON.stringify(policy) : policy;
    return this.#answer([
      Uint8Array.of(0),
      ...list(each("files", files, content)),
      ...option(optional("policy", text, content)),
      seconds(at),
    ]);
  }

  async verifyWorker({ statement, evidence, chain = {}, at }) {
    return this.#answer([
      Uint8Array.of(1),
      ...bytes(scale("statement", statement)),
      ...bytes(scale("evidence", evidence)),
      ...option(optional("chain.hardware", chain.hardware, scale)),
      ...option(optional("chain.simulatedRoot", chain.simulatedRoot, scale)),
      ...option(optional("chain.simulatedVendors", chain.simulatedVendors, scale)),
      ...list(each("chain.documents", chain.documents ?? [], scale)),
      seconds(at),
    ]);
  }

  /** Gives an instance the parts of a request, and takes its answer. */
  async #answer(parts) {
    const answer = JSON.parse(await call(this.#module, parts));
    if (answer.error) throw new AttestationError(answer.error);
    return answer;
  }
}

/** In a function of its own: what `memory` holds goes with it. */
async function call(module, parts) {
  const length = parts.reduce((sum, part) => sum + part.length, 0);
  if (length >= 2 ** 30) throw new RangeError("the request is larger than 1 GiB");
  try {
    const { memory, room, answer } = (await WebAssembly.instantiate(module)).exports;
    const request = room(length) >>> 0;
    let end = request;
    for (const part of parts) {
      new Uint8Array(memory.buffer).set(part, end);
      end += part.length;
    }
    const pointer = answer(request, length) >>> 0;
    const bytes = new DataView(memory.buffer).getUint32(pointer, true);
    return new TextDecoder().decode(new Uint8Array(memory.buffer, pointer + 4, bytes));
  } catch (cause) {
    throw new AttestationError({ code: "trap", message: `the module failed: ${cause.message}` }, { cause });
  }
}

// SCALE, of which requests are made.

function compact(length) {
  const size = length < 2 ** 6 ? 1 : length < 2 ** 14 ? 2 : 4;
  const value = length * 4 + (size >> 1);
  return Uint8Array.from({ length: size }, (_, index) => value / 2 ** (8 * index));
}

const bytes = (content) => [compact(content.length), content];
const list = (contents) => [compact(contents.length), ...contents.flatMap(bytes)];
const option = (content) => (content === undefined ? [Uint8Array.of(0)] : [Uint8Array.of(1), ...bytes(content)]);

function seconds(at = Math.floor(Date.now() / 1000)) {
  if (typeof at !== "number") throw new TypeError("at is not a number");
  if (!Number.isSafeInteger(at) || at < 0) throw new RangeError("at is not a whole number of seconds since 1970");
  const buffer = new ArrayBuffer(8);
  new DataView(buffer).setBigUint64(0, BigInt(at), true);
  return new Uint8Array(buffer);
}

function content(name, value) {
  if (typeof value === "string") return new TextEncoder().encode(value);
  if (value instanceof ArrayBuffer) return new Uint8Array(value);
  if (value instanceof Uint8Array) return value;
  throw new TypeError(`${name} is neither a Uint8Array, an ArrayBuffer nor a string`);
}

function scale(name, value) {
  if (typeof value !== "string") return content(name, value);
  if (value.length % 2 !== 0 || !/^0x[0-9a-f]*$/i.test(value)) {
    throw new AttestationError({ code: "malformed", message: `the ${name} is not 0x and pairs of hexadecimal digits` });
  }
  return Uint8Array.from({ length: value.length / 2 - 1 }, (_, at) => parseInt(value.slice(2 * at + 2, 2 * at + 4), 16));
}

function each(name, values, convert) {
  if (!Array.isArray(values)) throw new TypeError(`${name} is not an array`);
  return values.map((value, index) => convert(`${name}[${index}]`, value));
}

const optional = (name, value, convert) => (value === undefined || value === null ? undefined : convert(name, value));
