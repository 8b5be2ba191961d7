import type { Socket } from "node:net";
import type { ChannelCredentials } from "@grpc/grpc-js";

/**
 * The credentials, with a limit on how long a server that has accepted a connection may take until it speaks HTTP/2,
 * after the handshake of TLS if there is one. gRPC itself waits forever, and opens no other connection to the server
 * meanwhile.
 */
export function withHandshakeTimeout(credentials: ChannelCredentials, timeoutMs: number): ChannelCredentials {
  if (typeof credentials._createSecureConnector !== "function") {
    return credentials; // it is internal to grpc-js, which may rename it
  }
  const create = credentials._createSecureConnector.bind(credentials);
  credentials._createSecureConnector = (...given) => {
    const connector = create(...given);
    const connect = connector.connect.bind(connector);
    connector.connect = (socket) => {
      const closed = new Promise<never>((_, reject) => {
        socket.once("close", () => reject(new Error("the connection was closed during the handshake")));
      });
      closed.catch(() => {}); // of a connection that was open
      const connected = Promise.race([connect(socket), closed]);
      endIfSilent(socket, connected, timeoutMs);
      return connected;
    };
    return connector;
  };
  return credentials;
}

/** @param connected the socket that HTTP/2 reads from: that of TLS counts only what is decrypted. */
function endIfSilent(socket: Socket, connected: Promise<{ socket: Socket }>, timeoutMs: number): void {
  let isSilent = (): boolean => true;
  connected.then(
    ({ socket: reader }) => {
      const before = reader.bytesRead;
      isSilent = () => reader.bytesRead === before;
    },
    () => {}, // gRPC reports it
  );
  const timer = setTimeout(() => {
    if (isSilent()) {
      socket.destroy(new Error(`the server has accepted the connection, but did not answer within ${timeoutMs} ms`));
    }
  }, timeoutMs).unref();
  socket.once("close", () => clearTimeout(timer));
}
