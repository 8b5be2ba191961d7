import type { Socket } from "node:net";
import type { ChannelCredentials } from "@grpc/grpc-js";

/**
 * The credentials, with a limit on how long a server that has accepted a connection may stay silent. gRPC itself waits
 * for its first byte forever, and opens no other connection to the server meanwhile.
 */
export function withHandshakeTimeout(credentials: ChannelCredentials, timeoutMs: number): ChannelCredentials {
  const create = credentials._createSecureConnector.bind(credentials);
  credentials._createSecureConnector = (...given) => {
    const connector = create(...given);
    const connect = connector.connect.bind(connector);
    connector.connect = (socket) => {
      const closed = new Promise<never>((_, reject) => {
        socket.once("close", () => reject(new Error("the connection was closed during the handshake")));
      });
      closed.catch(() => {}); // of a connection that was open
      endIfSilent(socket, timeoutMs);
      return Promise.race([connect(socket), closed]);
    };
    return connector;
  };
  return credentials;
}

function endIfSilent(socket: Socket, timeoutMs: number): void {
  const before = socket.bytesRead;
  const timer = setTimeout(() => {
    if (socket.bytesRead === before) {
      socket.destroy(new Error(`the server has accepted the connection, but did not answer within ${timeoutMs} ms`));
    }
  }, timeoutMs).unref();
  socket.once("close", () => clearTimeout(timer));
}
