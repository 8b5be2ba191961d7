import type { MethodDefinition } from "@grpc/grpc-js";
import type { Connection } from "./connection.js";
import type { CallOptions } from "./retry.js";

type Service = Readonly<Record<string, MethodDefinition<never, unknown>>>;

/** The calls of a generated service, as promises that reject with `DueBusError`. They make one try. */
export type Stubs<S> = {
  readonly [Name in keyof S]: S[Name] extends {
    requestSerialize: (value: infer Request) => Buffer;
    responseDeserialize: (value: Buffer) => infer Response;
  }
    ? (request: Request, options?: CallOptions) => Promise<Response>
    : never;
};

/** The stubs of a service all of whose calls are unary. */
export function stubs<S extends object>(service: S, connection: Connection, timeoutMs: number): Stubs<S> {
  const calls = Object.entries(service as Service).map(([name, method]) => {
    const call = (request: never, options: CallOptions = {}): Promise<unknown> =>
      connection.unary(method, request, { signal: options.signal, timeoutMs: options.timeoutMs ?? timeoutMs });
    return [name, call] as const;
  });
  return Object.freeze(Object.fromEntries(calls)) as Stubs<S>;
}
