// A Posthouse client generated from the schema alone: it publishes, consumes, and is refused.
//
//     node sample.js PROTO_FOLDER CONTEXT QUEUE FOREIGN_QUEUE
//
// Queues are full names: tenants/T/departments/D/queues/Q. QUEUE has to be empty; FOREIGN_QUEUE belongs to another
// tenant.

import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { argv } from 'node:process';
import { promisify } from 'node:util';

import grpc from '@grpc/grpc-js';

import { connection, loadContext, loadSchema, reasonOf } from './connection.js';

const PROTOCOL_VERSION = 1;
// The credit: messages that the server may send at once.
const CREDIT = 8;
// The deadline of every call here; a service would keep its streams open, and open them again.
const deadline = () => ({ deadline: Date.now() + 60_000 });

const messages = (start, count) =>
  Array.from({ length: count }, (_, index) => ({
    payload: Buffer.from(`application ${start + index}`),
    attributes: { from: 'node' },
  }));

/** One batch, one answer. What is answered is on disk. */
async function publish(publisher, queue) {
  const call = promisify(publisher.Publish).bind(publisher);
  const { results } = await call({ queue, messages: messages(0, 4) }, deadline());
  // Each message has a result of its own: stored, duplicate or error.
  for (const result of results) assert.equal(result.result, 'stored');
}

/** Many batches on one stream. The producer session makes a retry safe: what is stored is not stored again. */
async function publishStream(publisher, queue) {
  const stream = publisher.PublishStream(deadline());
  const producer = { producer_id: randomBytes(16), epoch: 1 };
  stream.write({ open: { protocol_version: PROTOCOL_VERSION, queue, producer } });
  for (let batch = 0; batch < 4; batch += 1) {
    // first_sequence counts the messages of the session, from 0.
    stream.write({
      batch: { batch_id: batch, messages: messages(4 + 8 * batch, 8), first_sequence: 8 * batch },
    });
  }
  // The server ends its side after it has answered every batch.
  stream.end();
  let stored = 0;
  for await (const frame of stream) {
    if (frame.frame !== 'batch_result') continue;
    assert.equal(frame.batch_result.outcome, 'results');
    stored += frame.batch_result.results.all_stored.count;
  }
  assert.equal(stored, 32);
}

/** Takes what is in the queue, settles it, and returns the payloads once every settlement is on disk. */
async function consume(consumer, queue) {
  const stream = consumer.Consume(deadline());
  stream.write({
    open: {
      protocol_version: PROTOCOL_VERSION,
      queue,
      session_id: randomBytes(16), // a stream that is opened with the same id gets its leases again
      credit: { messages: CREDIT },
    },
  });
  const payloads = [];
  const unconfirmed = new Map();
  let settleId = 0;
  for await (const frame of stream) {
    switch (frame.frame) {
      case 'deliveries': {
        const { deliveries } = frame.deliveries;
        payloads.push(...deliveries.map(({ message }) => message.payload)); // here the work is done
        const settlements = deliveries.map(({ token }) => ({ token, action: 'SETTLE_ACTION_ACK' }));
        settleId += 1;
        unconfirmed.set(settleId, settlements.length);
        stream.write({ settle: { settle_id: settleId, settlements } });
        stream.write({ credit: { messages: settlements.length } }); // returns the credit that was used up
        break;
      }
      case 'settled':
        // Either all of them were settled, or there is a result for each.
        assert.equal(frame.settled.all_settled, unconfirmed.get(frame.settled.settle_id));
        unconfirmed.delete(frame.settled.settle_id);
        break;
      case 'idle': // nothing is ready or in flight
      case 'drain': // the server is about to stop, and a service would connect again
        stream.end();
        break;
      default: // opened, heartbeat: nothing to do
    }
  }
  assert.equal(unconfirmed.size, 0, 'the stream ended before every settlement was confirmed');
  return payloads;
}

/** Another tenant's queue is refused in the same way whether it exists or not. */
async function isRefused(publisher, queue, schema) {
  const call = promisify(publisher.Publish).bind(publisher);
  await assert.rejects(call({ queue, messages: messages(0, 1) }, deadline()), (error) => {
    assert.equal(error.code, grpc.status.PERMISSION_DENIED);
    assert.equal(reasonOf(error, schema), 'GRANT_MISSING');
    return true;
  });
}

const [protoFolder, contextFile, queue, foreignQueue] = argv.slice(2);
const schema = loadSchema(protoFolder);
const server = connection(loadContext(contextFile));
const publisher = new schema.services.Publisher(...server);
const consumer = new schema.services.Consumer(...server);

await publish(publisher, queue);
await publishStream(publisher, queue);
const payloads = await consume(consumer, queue);
assert.deepEqual(payloads, messages(0, 36).map(({ payload }) => payload));
await isRefused(publisher, foreignQueue, schema);
publisher.close();
consumer.close();
const count = payloads.length;
console.log(`node: published ${count}, consumed and settled ${count}, refused another tenant's queue`);
