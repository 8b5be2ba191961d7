import type { Delivery } from "./delivery.js";
import type { Dispatched } from "./dispatch.js";
import type { NewEvent } from "./event.js";
import type { Handler, HandlerContext } from "./worker/executor.js";

/**
 * Comes between a client and the calls of its user: for traces, metrics, defaults. Each method is optional. Of several
 * interceptors, the first is the outermost.
 */
export interface Interceptor {
  /**
   * Called for each `dispatch` and `dispatchMany`.
   *
   * @param next dispatches the events, or others in their place; the results are in their order.
   */
  dispatch?(
    topic: string,
    events: readonly NewEvent[],
    next: (events: readonly NewEvent[]) => Promise<Dispatched[]>,
  ): Promise<Dispatched[]>;
  /**
   * Called for each delivery that a worker of the client handles. How it ends decides about the event, as it does for a
   * `Handler`.
   *
   * @param next calls the handler.
   */
  handle?(delivery: Delivery, context: HandlerContext, next: () => Promise<void>): Promise<void>;
  /** Metadata that each call and each stream carries; called when it begins. */
  metadata?(): Readonly<Record<string, string>>;
}

/** The results of a dispatch through the interceptors. */
export function intercepted(
  interceptors: readonly Interceptor[],
  topic: string,
  events: readonly NewEvent[],
  send: (events: readonly NewEvent[]) => Promise<Dispatched[]>,
): Promise<Dispatched[]> {
  const chain = interceptors.reduceRight<(events: readonly NewEvent[]) => Promise<Dispatched[]>>(
    (next, each) => (given) => (each.dispatch === undefined ? next(given) : each.dispatch(topic, given, next)),
    send,
  );
  return chain(events);
}

/** The handler, called through the interceptors. */
export function interceptedHandler(interceptors: readonly Interceptor[], handler: Handler): Handler {
  return interceptors.reduceRight<Handler>((inner, each) => {
    if (each.handle === undefined) {
      return inner;
    }
    return (delivery, context) =>
      each.handle?.(delivery, context, async () => {
        await inner(delivery, context);
      });
  }, handler);
}
