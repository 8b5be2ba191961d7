import type { MethodDefinition } from "@grpc/grpc-js";
import { type Connection, usable } from "./connection.js";
import type { DeepPartial } from "./generated/duebus/v1/event_bus.js";
import type { CallOptions } from "./retry.js";

type Service = Readonly<Record<string, MethodDefinition<never, unknown>>>;

/** Makes a message from the fields that a caller names. */
interface Message {
  fromPartial(fields: object): never;
}

/**
 * The calls of a generated service, as promises that reject with `DueBusError`. They make one try. Fields that a request
 * does not name have their defaults.
 */
export type Stubs<S> = {
  readonly [Name in keyof S]: S[Name] extends {
    requestSerialize: (value: infer Request) => Buffer;
    responseDeserialize: (value: Buffer) => infer Response;
  }
    ? (request: DeepPartial<Request>, options?: CallOptions) => Promise<Response>
    : never;
};

/**
 * The stubs of a service all of whose calls are unary.
 *
 * @param messages the module of the service's messages: the request of `getTopic` is `GetTopicRequest`.
 */
export function stubs<S extends object>(
  service: S,
  messages: object,
  connection: Connection,
  timeoutMs: number,
): Stubs<S> {
  const calls = Object.entries(service as Service).map(([name, method]) => {
    const message = (messages as Record<string, Message>)[
      `${name[0]?.toUpperCase()}${name.slice(1)}Request`
    ] as Message;
    const call = async (fields: object, options: CallOptions = {}): Promise<unknown> => {
      const request = usable("request", () => checked(method, message.fromPartial(fields)));
      return connection.unary(method, request, {
        signal: options.signal,
        timeoutMs: options.timeoutMs ?? timeoutMs,
      });
    };
    return [name, call] as const;
  });
  return Object.freeze(Object.fromEntries(calls)) as Stubs<S>;
}

/** gRPC would report a field of a wrong type as an internal error. */
function checked(method: MethodDefinition<never, unknown>, request: never): never {
  method.requestSerialize(request);
  return request;
}
