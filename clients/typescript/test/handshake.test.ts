import { once } from "node:events";
import { type AddressInfo, connect, createServer, type Server } from "node:net";
import { afterEach, test } from "node:test";
import { promisify } from "node:util";
import { type ChannelCredentials, Client, credentials } from "@grpc/grpc-js";
import { withHandshakeTimeout } from "../src/handshake.js";
import { FakeBus } from "./fakebus.js";

const ended: (() => void)[] = [];

afterEach(() => {
  for (const end of ended.splice(0)) {
    end();
  }
});

/** Accepts connections, and passes on all but the first, to which it never answers. */
async function silentAtFirst(port: number): Promise<Server> {
  let accepted = 0;
  const server = createServer((incoming) => {
    accepted += 1;
    incoming.on("error", () => {});
    ended.push(() => incoming.destroy());
    if (accepted === 1) {
      incoming.resume();
      return;
    }
    const outgoing = connect(port, "127.0.0.1").on("error", () => {});
    incoming.pipe(outgoing).pipe(incoming);
    ended.push(() => outgoing.destroy());
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  ended.push(() => server.close());
  return server;
}

function open(server: Server, channel: ChannelCredentials): Client {
  const client = new Client(`localhost:${(server.address() as AddressInfo).port}`, channel, {
    "grpc.initial_reconnect_backoff_ms": 100,
  });
  ended.push(() => client.close());
  return client;
}

test("a connection on which the server is silent is given up for another one", async () => {
  const bus = await new FakeBus().start();
  ended.push(() => bus.stop());
  const server = await silentAtFirst(Number(bus.target.split(":")[1]));
  const client = open(server, withHandshakeTimeout(credentials.createInsecure(), 100));
  await promisify(client.waitForReady).call(client, Date.now() + 20_000);
});

test("one whose TLS handshake is not answered is given up, too", async () => {
  const server = createServer((incoming) => {
    incoming.on("error", () => {}).resume();
    ended.push(() => incoming.destroy());
    server.emit("accepted");
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  ended.push(() => server.close());
  const first = once(server, "accepted");
  open(server, withHandshakeTimeout(credentials.createSsl(), 100)).getChannel().getConnectivityState(true);
  await first;
  await once(server, "accepted", { signal: AbortSignal.timeout(20_000) });
});
