// A connection to a Posthouse server: mutual TLS, and a token on every call.

import { readFileSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { dirname, resolve } from 'node:path';

import grpc from '@grpc/grpc-js';
import protoLoader from '@grpc/proto-loader';
import { parse } from 'smol-toml';

const FILES = ['posthouse/v1/publisher.proto', 'posthouse/v1/consumer.proto', 'google/rpc/error_details.proto'];

/** The services and messages of the schema in a folder, which is `proto/` of this repository. */
export function loadSchema(folder) {
  const definition = protoLoader.loadSync(FILES, {
    includeDirs: [folder],
    keepCase: true, // names as in the schema
    longs: Number, // sequences stay below 2^53
    enums: String,
    oneofs: true, // frame.frame names the field that is set
  });
  return { definition, services: grpc.loadPackageDefinition(definition).posthouse.v1 };
}

/** A context file: where the server is and who is calling. Its paths are relative to its own folder. */
export function loadContext(path) {
  const values = parse(readFileSync(path, 'utf8'));
  const file = (name) => resolve(dirname(path), values[name]);
  return {
    endpoint: values.endpoint,
    serverName: values.server_name ?? values.endpoint.replace(/:\d+$/, ''),
    authority: file('authority'),
    certificate: file('certificate'),
    key: file('key'),
    tokenFile: file('token_file'),
  };
}

/** What a client is made with: address, credentials, options. */
export function connection(context) {
  const tls = grpc.credentials.createSsl(
    readFileSync(context.authority),
    readFileSync(context.key),
    readFileSync(context.certificate),
  );
  // The file is read for every call, so that a new token only has to replace it.
  const token = grpc.credentials.createFromMetadataGenerator((_call, callback) => {
    readFile(context.tokenFile, 'utf8').then(
      (text) => {
        const metadata = new grpc.Metadata();
        metadata.set('authorization', `Bearer ${text.trim()}`);
        callback(null, metadata);
      },
      (error) => callback(error),
    );
  });
  const options = {
    // The name in the server's certificate, if the endpoint has another.
    'grpc.ssl_target_name_override': context.serverName,
    'grpc.default_authority': context.serverName,
    // Large enough for a batch of deliveries, and for one message that is larger than a batch.
    'grpc.max_receive_message_length': 64 * 1024 * 1024,
    // Pings find a dead connection when nothing is sent.
    'grpc.keepalive_time_ms': 30_000,
  };
  return [context.endpoint, grpc.credentials.combineChannelCredentials(tls, token), options];
}

/** The stable reason of a refusal, for example "TOKEN_EXPIRED": what a program decides by. */
export function reasonOf(error, { definition }) {
  const [trailer] = error.metadata?.get('grpc-status-details-bin') ?? [];
  if (!trailer) return undefined;
  for (const detail of definition['google.rpc.Status'].deserialize(trailer).details ?? []) {
    if (!detail.type_url.endsWith('/google.rpc.ErrorInfo')) continue;
    const info = definition['google.rpc.ErrorInfo'].deserialize(detail.value);
    if (info.domain === 'posthouse.v1') return info.reason;
  }
  return undefined;
}
