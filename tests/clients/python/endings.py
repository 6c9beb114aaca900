"""Ends of a consume stream, seen from a client: a cancel, a closed channel, a deadline, and a clean end.

    python endings.py CONTEXT QUEUE LETTERS

Queues are full names. QUEUE has to be empty, with leases of one second, three attempts, and LETTERS for its dead
letters.
"""

import os
import queue
import sys
import time

import grpc
from connection import Context, connect
from posthouse.v1 import consumer_pb2, consumer_pb2_grpc, publisher_pb2, publisher_pb2_grpc

PATIENCE_SECONDS = 60


class Stream:
    """One consume stream that receives one delivery and settles nothing."""

    def __init__(self, channel, name, session_id, timeout=None):
        self._outgoing = queue.SimpleQueue()
        opened = consumer_pb2.OpenConsume(
            protocol_version=1, queue=name, session_id=session_id, credit=consumer_pb2.Credit(messages=1)
        )
        self._outgoing.put(consumer_pb2.ConsumeRequest(open=opened))
        stub = consumer_pb2_grpc.ConsumerStub(channel)
        self.call = stub.Consume(iter(self._outgoing.get, None), timeout=timeout or PATIENCE_SECONDS)
        self.resumed = 0

    def delivery(self):
        for frame in self.call:
            kind = frame.WhichOneof("frame")
            if kind == "opened":
                self.resumed = frame.opened.resumed_leases
            elif kind == "deliveries":
                return frame.deliveries.deliveries[0]
        raise RuntimeError("the stream ended before it delivered anything")

    def close(self):
        """The clean end: ends our side and waits for the server's end. The leases are released."""
        self._outgoing.put(None)
        for _ in self.call:
            pass
        if self.call.code() != grpc.StatusCode.OK:
            raise RuntimeError(f"the stream did not end well: {self.call.code()}")


def cancel(_channel, stream):
    stream.call.cancel()


def close_channel(channel, _stream):
    channel.close()


def wait_for_deadline(_channel, stream):
    try:
        for _ in stream.call:
            pass
    except grpc.RpcError as error:
        if error.code() == grpc.StatusCode.DEADLINE_EXCEEDED:
            return
        raise
    raise RuntimeError("the deadline was not met")


def half_close_and_cancel(_channel, stream):
    stream._outgoing.put(None)
    stream.call.cancel()


# Ends that look clean to the client and are not.
BREAKS = {
    "call.cancel()": (cancel, None),
    "channel.close()": (close_channel, None),
    "a deadline": (wait_for_deadline, 5),
    "a half-close followed by a cancel": (half_close_and_cancel, None),
}


def publish(context, name, payload):
    with connect(context) as channel:
        message = publisher_pb2.NewMessage(payload=payload)
        request = publisher_pb2.PublishRequest(queue=name, messages=[message])
        publisher_pb2_grpc.PublisherStub(channel).Publish(request, timeout=PATIENCE_SECONDS)


def take_one(context, name):
    """Receives and settles the next message."""
    with connect(context) as channel:
        consumer = consumer_pb2_grpc.ConsumerStub(channel)
        deadline = time.monotonic() + PATIENCE_SECONDS
        while time.monotonic() < deadline:
            request = consumer_pb2.ReceiveRequest(queue=name, max_messages=1)
            request.wait.seconds = 10
            for delivery in consumer.Receive(request, timeout=PATIENCE_SECONDS).deliveries:
                ack = consumer_pb2.Settlement(token=delivery.token, action=consumer_pb2.SETTLE_ACTION_ACK)
                consumer.Settle(consumer_pb2.SettleRequest(queue=name, settlements=[ack]), timeout=PATIENCE_SECONDS)
                return delivery
    raise RuntimeError(f"nothing came from {name}")


def expect(what, found, wanted):
    if found != wanted:
        raise RuntimeError(f"{what}: {found} instead of {wanted}")


def breaks_count(context, name, letters):
    """A message whose consumers never end cleanly is dead-lettered after three attempts."""
    for how, (break_off, timeout) in BREAKS.items():
        publish(context, name, how.encode())
        attempts = []
        for _ in range(3):
            channel = connect(context)
            stream = Stream(channel, name, os.urandom(16), timeout)
            attempts.append(stream.delivery().attempt)
            break_off(channel, stream)
            channel.close()
        expect(f"attempts seen after {how}", attempts, [1, 2, 3])
        letter = take_one(context, letters)
        expect(f"the dead letter after {how}", letter.message.payload, how.encode())
        expect(f"its attempts after {how}", letter.message.dead_letter.attempts, 3)


def clean_ends_do_not(context, name):
    """A message whose consumers end cleanly keeps its attempts."""
    publish(context, name, b"released")
    attempts = []
    for _ in range(5):
        with connect(context) as channel:
            stream = Stream(channel, name, os.urandom(16))
            attempts.append(stream.delivery().attempt)
            stream.close()
    expect("attempts seen after clean ends", attempts, [1] * 5)
    expect("the message that was released", take_one(context, name).message.payload, b"released")


def sessions_resume(context, name):
    """After an unclean end, the same session gets the same leases again, until they expire."""
    publish(context, name, b"resumed")
    for how, (break_off, timeout) in BREAKS.items():
        if timeout:
            continue  # the lease of a second does not last so long
        channel, session_id = connect(context), os.urandom(16)
        stream = Stream(channel, name, session_id)
        held = stream.delivery()
        break_off(channel, stream)
        channel.close()
        with connect(context) as channel:
            stream = Stream(channel, name, session_id)
            again = stream.delivery()
            expect(f"the delivery again after {how}", (stream.resumed, again.resumed), (1, True))
            expect(f"its token after {how}", again.token, held.token)
            expect(f"its attempt after {how}", again.attempt, 1)
            stream.close()
    expect("the message that was resumed", take_one(context, name).message.payload, b"resumed")


def main(context, name, letters):
    context = Context(context)
    breaks_count(context, name, letters)
    clean_ends_do_not(context, name)
    sessions_resume(context, name)
    print(
        "python: after " + ", ".join(BREAKS) + ": attempts 1, 2, 3, then a dead letter; "
        "a half-close releases uncounted; a session that broke off gets its leases again"
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
