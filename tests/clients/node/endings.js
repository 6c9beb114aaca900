// Ends of a consume stream, seen from a client: a cancel, a closed channel, a deadline, and a clean end.
//
//     node endings.js PROTO_FOLDER CONTEXT QUEUE LETTERS
//
// Queues are full names. QUEUE has to be empty, with leases of one second, three attempts, and LETTERS for its dead
// letters.

import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { argv } from 'node:process';
import { promisify } from 'node:util';

import grpc from '@grpc/grpc-js';

import { connection, loadContext, loadSchema } from './connection.js';

const PATIENCE_MS = 60_000;

const [protoFolder, contextFile, queue, letters] = argv.slice(2);
const { services } = loadSchema(protoFolder);
const server = connection(loadContext(contextFile));
const unary = (client, method) => (request) =>
  promisify(client[method]).bind(client)(request, { deadline: Date.now() + PATIENCE_MS });

/** One consume stream that takes one delivery and settles nothing. */
class Stream {
  constructor(sessionId, milliseconds = PATIENCE_MS) {
    // A client of its own has a connection of its own, unless another has the same options.
    this.client = new services.Consumer(server[0], server[1], { ...server[2], 'grpc.use_local_subchannel_pool': 1 });
    this.call = this.client.Consume({ deadline: Date.now() + milliseconds });
    this.frames = this.call[Symbol.asyncIterator]();
    this.call.write({
      open: { protocol_version: 1, queue, session_id: sessionId, credit: { messages: 1 } },
    });
  }

  async delivery() {
    for (;;) {
      const { value, done } = await this.frames.next();
      assert.ok(!done, 'the stream ended before it delivered anything');
      if (value.frame === 'opened') this.resumed = value.opened.resumed_leases;
      if (value.frame === 'deliveries') return value.deliveries.deliveries[0];
    }
  }

  /** The rest of the stream, which ends with this code. */
  async ends(code) {
    try {
      while (!(await this.frames.next()).done);
      assert.equal(code, grpc.status.OK);
    } catch (error) {
      assert.equal(error.code, code, error);
    }
  }

  /** The clean end: our side is ended, and the server's end is waited for. The leases are released. */
  async close() {
    this.call.end();
    await this.ends(grpc.status.OK);
    this.client.close();
  }
}

// Ends that look clean to the client and are not.
const breaks = {
  'call.cancel()': {
    breakOff: async (stream) => {
      stream.call.cancel();
      await stream.ends(grpc.status.CANCELLED);
    },
  },
  'a deadline': { breakOff: (stream) => stream.ends(grpc.status.DEADLINE_EXCEEDED), milliseconds: 5_000 },
  'a half-close followed by a cancel': {
    breakOff: async (stream) => {
      stream.call.end();
      stream.call.cancel();
      await stream.ends(grpc.status.CANCELLED);
    },
  },
};

const publisher = new services.Publisher(...server);
const consumer = new services.Consumer(...server);

async function publish(payload) {
  await unary(publisher, 'Publish')({ queue, messages: [{ payload: Buffer.from(payload) }] });
}

/** The next message of a queue, which is settled. */
async function takeOne(name) {
  for (let tries = 0; tries < 6; tries += 1) {
    const { deliveries } = await unary(consumer, 'Receive')({ queue: name, max_messages: 1, wait: { seconds: 10 } });
    for (const { token, message } of deliveries) {
      await unary(consumer, 'Settle')({ queue: name, settlements: [{ token, action: 'SETTLE_ACTION_ACK' }] });
      return message;
    }
  }
  return assert.fail(`nothing came from ${name}`);
}

for (const [how, { breakOff, milliseconds }] of Object.entries(breaks)) {
  await publish(how);
  const attempts = [];
  for (let attempt = 0; attempt < 3; attempt += 1) {
    const stream = new Stream(randomBytes(16), milliseconds);
    attempts.push((await stream.delivery()).attempt);
    await breakOff(stream);
    stream.client.close();
  }
  assert.deepEqual(attempts, [1, 2, 3], how);
  const letter = await takeOne(letters);
  assert.deepEqual([letter.payload.toString(), letter.dead_letter.attempts], [how, 3]);
}

await publish('released');
for (let round = 0; round < 5; round += 1) {
  const stream = new Stream(randomBytes(16));
  assert.equal((await stream.delivery()).attempt, 1);
  await stream.close();
}

const sessionId = randomBytes(16);
const first = new Stream(sessionId);
const held = await first.delivery();
await breaks['call.cancel()'].breakOff(first);
first.client.close();
const second = new Stream(sessionId);
const again = await second.delivery();
assert.deepEqual([second.resumed, again.resumed, again.attempt], [1, true, 1]);
assert.deepEqual(again.token, held.token);
await second.close();
assert.equal((await takeOne(queue)).payload.toString(), 'released');
publisher.close();
consumer.close();
console.log(
  `node: after ${Object.keys(breaks).join(', ')}: attempts 1, 2, 3, then a dead letter; ` +
    'a half-close releases uncounted; a session that broke off gets its leases again',
);
