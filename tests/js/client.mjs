// An ordinary JavaScript client, with polkadot-js as it comes from npm: checks that a Phala chain describes itself, reads
// our pallets, and moves 1 PHA from //Alice to //Bob. Exits with 0 when everything holds.
//
// node client.mjs ws://127.0.0.1:9944

import { ApiPromise, Keyring, WsProvider } from '@polkadot/api';

const PHA = 10n ** 12n;
const TIMEOUT_MS = 120_000;

class Failure extends Error {}

function check(condition, message) {
  if (!condition) throw new Failure(message);
  console.log(`ok: ${message}`);
}

function show(planck) {
  const digits = planck.toString().padStart(13, '0');
  return `${digits.slice(0, -12)}.${digits.slice(-12)} PHA`;
}

async function connect(url) {
  const provider = new WsProvider(url, false);
  const connected = new Promise((resolve, reject) => {
    provider.on('connected', resolve);
    provider.on('error', () => reject(new Failure(`cannot connect to ${url}; is the node up? (phala dev up)`)));
  });
  await provider.connect();
  await connected;
  return ApiPromise.create({ provider, noInitWarn: true, throwOnConnect: true });
}

async function describe(api) {
  check(api.registry.chainSS58 === 30, 'addresses have the SS58 prefix 30');
  check(api.registry.chainDecimals[0] === 12, 'amounts have 12 decimals');
  check(api.registry.chainTokens[0] === 'PHA', 'the token is PHA');
  const issuance = (await api.query.balances.totalIssuance()).toBigInt();
  // Fees that are burnt could make it less, nothing makes it more.
  check(issuance > 0n && issuance <= 1_000_000_000n * PHA, `no more than 1,000,000,000 PHA exist: ${show(issuance)}`);
  const finalized = await api.rpc.chain.getHeader(await api.rpc.chain.getFinalizedHead());
  console.log(`finalized block ${finalized.number.toString()}`);
}

async function readPallets(api) {
  for (const pallet of ['attestation', 'workers', 'apps', 'jobs']) {
    check(api.query[pallet] && api.tx[pallet], `the chain has the pallet ${pallet}`);
  }

  const images = await api.query.attestation.images.entries();
  console.log(`${images.length} allowed images`);
  for (const [key, image] of images) console.log(`  ${key.args[0].toHex()} ${JSON.stringify(image.toJSON())}`);

  const workers = await api.query.workers.workers.entries();
  console.log(`${workers.length} workers`);
  for (const [key, option] of workers) {
    const worker = option.unwrap();
    const id = key.args[0].toHex();
    check(/^0x[0-9a-f]{64}$/.test(id), `worker ${id} has an id of 32 bytes`);
    check(worker.vendor.isSimulated, `  SIMULATED evidence, as a development chain has`);
    console.log(`  ${worker.status.toString()}, ${show(worker.price.toBigInt())} for 10^9 fuel, at ${worker.endpoint.toUtf8()}`);
  }

  const apps = await api.query.apps.apps.entries();
  console.log(`${apps.length} apps`);

  const next = (await api.query.jobs.nextJob()).toBigInt();
  console.log(`${next} jobs so far`);
  if (next > 0n) {
    const newest = (await api.query.jobs.jobs(next - 1n)).unwrapOr(null);
    check(newest !== null, `job ${next - 1n} can be read`);
    console.log(`  ${newest.status.type}, at most ${show(newest.maxPrice.toBigInt())}`);
  }
}

async function transfer(api) {
  const keyring = new Keyring({ type: 'sr25519', ss58Format: api.registry.chainSS58 });
  const alice = keyring.addFromUri('//Alice');
  const bob = keyring.addFromUri('//Bob');
  const free = async (at, account) => (await at.query.system.account(account.address)).data.free.toBigInt();

  const { block, events } = await new Promise((resolve, reject) => {
    api.tx.balances
      .transferKeepAlive(bob.address, PHA)
      .signAndSend(alice, (result) => {
        if (result.dispatchError) {
          const error = result.dispatchError;
          const name = error.isModule ? api.registry.findMetaError(error.asModule).name : error.toString();
          reject(new Failure(`the transfer failed: ${name}`));
        } else if (result.isError) {
          reject(new Failure(`the transfer was not included: ${result.status.type}`));
        } else if (result.isFinalized) {
          resolve({ block: result.status.asFinalized, events: result.events });
        }
      })
      .catch(reject);
  });
  const { number, parentHash } = await api.rpc.chain.getHeader(block);
  console.log(`transferred in block ${number.toString()}, now finalized`);

  const moved = events.find(({ event }) => api.events.balances.Transfer.is(event));
  check(moved, 'the chain reports the transfer');
  check(moved.event.data.amount.toBigInt() === PHA, 'it is 1 PHA');
  const [before, after] = [await api.at(parentHash), await api.at(block)];
  const difference = (await free(after, bob)) - (await free(before, bob));
  check(difference === PHA, `the balance of ${bob.address} grew by ${show(difference)}`);
}

async function main(url) {
  const timer = setTimeout(() => {
    console.error(`error: not done after ${TIMEOUT_MS / 1000} s; does the chain finalize blocks?`);
    process.exit(1);
  }, TIMEOUT_MS);
  const api = await connect(url);
  console.log(`connected to ${(await api.rpc.system.chain()).toString()} at ${url}`);
  await describe(api);
  await readPallets(api);
  await transfer(api);
  clearTimeout(timer);
  await api.disconnect();
  console.log('everything holds');
}

if (process.argv.length !== 3) {
  console.error('usage: node client.mjs WS_URL');
  process.exit(2);
}
main(process.argv[2]).then(
  () => process.exit(0),
  (error) => {
    console.error(`error: ${error instanceof Failure ? error.message : error.stack ?? error}`);
    process.exit(1);
  },
);
