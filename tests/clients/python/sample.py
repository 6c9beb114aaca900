"""A Posthouse client generated from the schema alone: it publishes, consumes, and is refused.

    python sample.py CONTEXT QUEUE FOREIGN_QUEUE

Queues are full names: tenants/T/departments/D/queues/Q. QUEUE has to be empty; FOREIGN_QUEUE belongs to another tenant.
"""

import os
import queue
import sys

import grpc
from connection import Context, connect, reason_of
from posthouse.v1 import consumer_pb2, consumer_pb2_grpc, publisher_pb2, publisher_pb2_grpc

PROTOCOL_VERSION = 1
DEADLINE_SECONDS = 60  # of every call here; a service would let its streams live and open them again
CREDIT = 8  # messages that may be on their way here at once


def messages(start, count):
    return [
        publisher_pb2.NewMessage(payload=f"application {number}".encode(), attributes={"from": "python"})
        for number in range(start, start + count)
    ]


def publish(publisher, name):
    """Publishes one batch. When it is answered, it is on disk."""
    request = publisher_pb2.PublishRequest(queue=name, messages=messages(0, 4))
    answer = publisher.Publish(request, timeout=DEADLINE_SECONDS)
    for result in answer.results:
        # Each message has a result of its own: stored, duplicate or error.
        if result.WhichOneof("result") != "stored":
            raise RuntimeError(f"not stored: {result}")


def publish_stream(publisher, name):
    """Publishes many batches on one stream. The producer session makes retries safe: no message is stored twice."""

    def frames():
        producer = publisher_pb2.PublishStreamRequest.Producer(producer_id=os.urandom(16), epoch=1)
        opened = publisher_pb2.PublishStreamRequest.Open(
            protocol_version=PROTOCOL_VERSION, queue=name, producer=producer
        )
        yield publisher_pb2.PublishStreamRequest(open=opened)
        for batch_id in range(4):
            # first_sequence counts the messages of the session, from 0.
            batch = publisher_pb2.PublishStreamRequest.Batch(
                batch_id=batch_id, messages=messages(4 + 8 * batch_id, 8), first_sequence=8 * batch_id
            )
            yield publisher_pb2.PublishStreamRequest(batch=batch)

    stored = 0
    # The stream ends when frames() does, after every batch has been answered.
    for frame in publisher.PublishStream(frames(), timeout=DEADLINE_SECONDS):
        if frame.WhichOneof("frame") != "batch_result":
            continue
        results = frame.batch_result.results
        if frame.batch_result.WhichOneof("outcome") == "error" or not results.HasField("all_stored"):
            raise RuntimeError(f"not all stored: {frame}")
        stored += results.all_stored.count
    if stored != 32:
        raise RuntimeError(f"{stored} messages stored instead of 32")


def consume(consumer, name):
    """Receives and settles all messages of the queue; returns the payloads once every settlement is on disk."""
    # The frames to send, while the loop below reads those of the server. None ends our side of the stream.
    outgoing = queue.SimpleQueue()

    def send(**frame):
        outgoing.put(consumer_pb2.ConsumeRequest(**frame))

    send(
        open=consumer_pb2.OpenConsume(
            protocol_version=PROTOCOL_VERSION,
            queue=name,
            session_id=os.urandom(16),  # opened again with the same id, a stream gets its leases again
            credit=consumer_pb2.Credit(messages=CREDIT),
        )
    )
    payloads, settle_id, unconfirmed = [], 0, {}
    for frame in consumer.Consume(iter(outgoing.get, None), timeout=DEADLINE_SECONDS):
        kind = frame.WhichOneof("frame")
        if kind == "deliveries":
            deliveries = frame.deliveries.deliveries
            payloads += [delivery.message.payload for delivery in deliveries]  # here the work is done
            acks = [
                consumer_pb2.Settlement(token=delivery.token, action=consumer_pb2.SETTLE_ACTION_ACK)
                for delivery in deliveries
            ]
            settle_id += 1
            unconfirmed[settle_id] = len(acks)
            send(settle=consumer_pb2.SettleFrame(settle_id=settle_id, settlements=acks))
            send(credit=consumer_pb2.Credit(messages=len(acks)))  # what was used up, given back
        elif kind == "settled":
            # Either all of them were settled, or there is a result for each.
            if frame.settled.all_settled != unconfirmed.pop(frame.settled.settle_id):
                raise RuntimeError(f"not all settled: {frame.settled.results}")
        elif kind in ("idle", "drain"):
            # Nothing is ready or in flight; or the server is about to stop, and a service would connect again.
            outgoing.put(None)
        # opened, heartbeat: nothing to do.
    if unconfirmed:
        raise RuntimeError("the stream ended before every settlement was confirmed")
    return payloads


def is_refused(publisher, name):
    """Another tenant's queue is refused in the same way whether it exists or not."""
    try:
        publisher.Publish(publisher_pb2.PublishRequest(queue=name, messages=messages(0, 1)), timeout=DEADLINE_SECONDS)
    except grpc.RpcError as error:
        if (error.code(), reason_of(error)) == (grpc.StatusCode.PERMISSION_DENIED, "GRANT_MISSING"):
            return
        raise
    raise RuntimeError(f"{name} was not refused")


def main(context, name, foreign_name):
    with connect(Context(context)) as channel:
        publisher = publisher_pb2_grpc.PublisherStub(channel)
        publish(publisher, name)
        publish_stream(publisher, name)
        payloads = consume(consumer_pb2_grpc.ConsumerStub(channel), name)
        if payloads != [message.payload for message in messages(0, 36)]:
            raise RuntimeError(f"consumed something else than was published: {payloads}")
        is_refused(publisher, foreign_name)
    print(f"python: published {len(payloads)}, consumed and settled {len(payloads)}, refused another tenant's queue")


if __name__ == "__main__":
    main(*sys.argv[1:])
