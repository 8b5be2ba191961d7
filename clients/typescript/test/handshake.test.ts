import assert from "node:assert/strict";
import { once } from "node:events";
import { type AddressInfo, connect, createServer, type Server, type Socket } from "node:net";
import { afterEach, test } from "node:test";
import { createSecureContext, createServer as createTlsServer } from "node:tls";
import { promisify } from "node:util";
import { type ChannelCredentials, Client, credentials, status } from "@grpc/grpc-js";
import { withHandshakeTimeout } from "../src/handshake.js";
import { FakeBus } from "./fakebus.js";

const WAIT_TIMEOUT_MS = 180_000;

/** TLS in which neither side has a certificate. */
const ANONYMOUS = { ciphers: "AECDH-AES128-SHA:@SECLEVEL=0", maxVersion: "TLSv1.2" } as const;

const ended: (() => void)[] = [];

afterEach(() => {
  for (const end of ended.splice(0)) {
    end();
  }
});

const secureServer = (): Server => createTlsServer({ ...ANONYMOUS, ALPNProtocols: ["h2"] });

const secureChannel = (): ChannelCredentials =>
  credentials.createFromSecureContext(createSecureContext(ANONYMOUS), { rejectUnauthorized: false });

async function listening(server: Server): Promise<Server> {
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  ended.push(() => server.close());
  return server;
}

/** Reads from a connection, and never answers. */
function ignore(incoming: Socket): void {
  incoming.on("error", () => {}).resume();
  ended.push(() => incoming.destroy());
}

function passOn(incoming: Socket, bus: FakeBus): void {
  const outgoing = connect(Number(bus.target.split(":")[1]), "127.0.0.1").on("error", () => {});
  incoming.on("error", () => {});
  incoming.pipe(outgoing).pipe(incoming);
  ended.push(
    () => incoming.destroy(),
    () => outgoing.destroy(),
  );
}

async function startBus(): Promise<FakeBus> {
  const bus = await new FakeBus().start();
  ended.push(() => bus.stop());
  return bus;
}

function open(server: Server, channel: ChannelCredentials): Client {
  const client = new Client(`localhost:${(server.address() as AddressInfo).port}`, withHandshakeTimeout(channel, 100), {
    "grpc.initial_reconnect_backoff_ms": 100,
  });
  ended.push(() => client.close());
  return client;
}

async function ready(client: Client): Promise<void> {
  await promisify(client.waitForReady).call(client, Date.now() + WAIT_TIMEOUT_MS);
}

/** The status of a call that the server does not know. */
function answer(client: Client): Promise<status | undefined> {
  const bytes = (each: Buffer): Buffer => each;
  return new Promise((resolve) => {
    client.makeUnaryRequest("/none/None", bytes, bytes, Buffer.of(), (error) => resolve(error?.code));
  });
}

async function isOpenedTwice(server: Server, event: string, channel: ChannelCredentials): Promise<void> {
  const twice = new Promise<void>((resolve) => {
    let accepted = 0;
    server.on(event, (incoming: Socket) => {
      ignore(incoming);
      accepted += 1;
      if (accepted === 2) {
        resolve();
      }
    });
  });
  open(await listening(server), channel)
    .getChannel()
    .getConnectivityState(true);
  await Promise.race([twice, once(server, "error", { signal: AbortSignal.timeout(WAIT_TIMEOUT_MS) })]);
}

test("a connection on which the server is silent is given up for another one", async () => {
  const bus = await startBus();
  let accepted = 0;
  const server = createServer((incoming) => {
    accepted += 1;
    accepted === 1 ? ignore(incoming) : passOn(incoming, bus);
  });
  await ready(open(await listening(server), credentials.createInsecure()));
});

test("one whose TLS handshake is not answered is given up, too", async () => {
  await isOpenedTwice(createServer(), "connection", credentials.createSsl());
});

test("one that is silent after the TLS handshake is given up, too", async () => {
  await isOpenedTwice(secureServer(), "secureConnection", secureChannel());
});

for (const { kind, server, event, channel } of [
  { kind: "plain", server: createServer(), event: "connection", channel: credentials.createInsecure() },
  { kind: "secure", server: secureServer(), event: "secureConnection", channel: secureChannel() },
]) {
  test(`a ${kind} connection on which the server has answered is kept`, async (t) => {
    const bus = await startBus();
    t.mock.timers.enable({ apis: ["setTimeout"] });
    let accepted = 0;
    server.on(event, (incoming: Socket) => {
      accepted += 1;
      passOn(incoming, bus);
    });
    const client = open(await listening(server), channel);
    await ready(client);
    t.mock.timers.tick(100);
    assert.equal(await answer(client), status.UNIMPLEMENTED);
    assert.equal(accepted, 1);
  });
}
