"""A connection to a Posthouse server: mutual TLS, and a token on every call."""

import tomllib
from pathlib import Path

import grpc
from google.rpc import error_details_pb2
from grpc_status import rpc_status


class Context:
    """A context file: the server and the caller. Its paths are relative to its own folder."""

    def __init__(self, path):
        values = tomllib.loads(Path(path).read_text())
        folder = Path(path).parent
        self.endpoint = values["endpoint"]
        self.server_name = values.get("server_name", self.endpoint.rsplit(":", 1)[0])
        self.authority = folder / values["authority"]
        self.certificate = folder / values["certificate"]
        self.key = folder / values["key"]
        self.token_file = folder / values["token_file"]


class BearerToken(grpc.AuthMetadataPlugin):
    """Reads the token's file for every call, so that a new token only has to replace the file."""

    def __init__(self, file):
        self._file = file

    def __call__(self, _call, callback):
        try:
            token = self._file.read_text().strip()
        except OSError as error:
            callback((), error)
        else:
            callback((("authorization", f"Bearer {token}"),), None)


def connect(context):
    """A channel with the client's certificate, the server's checked, and the token."""
    tls = grpc.ssl_channel_credentials(
        root_certificates=context.authority.read_bytes(),
        private_key=context.key.read_bytes(),
        certificate_chain=context.certificate.read_bytes(),
    )
    token = grpc.metadata_call_credentials(BearerToken(context.token_file))
    options = (
        # The name in the server's certificate, if the endpoint has another.
        ("grpc.ssl_target_name_override", context.server_name),
        # Large enough for a batch of deliveries, and for one message that is larger than a batch.
        ("grpc.max_receive_message_length", 64 * 1024 * 1024),
        # Pings find a dead connection when nothing is sent.
        ("grpc.keepalive_time_ms", 30_000),
    )
    return grpc.secure_channel(context.endpoint, grpc.composite_channel_credentials(tls, token), options)


def reason_of(error):
    """The stable reason of a refusal, for example "TOKEN_EXPIRED", by which a program decides."""
    status = rpc_status.from_call(error)  # reads the trailer grpc-status-details-bin
    for detail in status.details if status else ():
        info = error_details_pb2.ErrorInfo()
        if detail.Unpack(info) and info.domain == "posthouse.v1":
            return info.reason
    return None
