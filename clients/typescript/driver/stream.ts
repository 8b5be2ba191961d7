import type { Frame, Subscription } from "duebus";
import { type Fields, report } from "./lines.js";
import { readDelivery, readError } from "./values.js";

/** The first frame of a stream. */
export function readStarted({ started }: Subscription): Fields {
  return {
    session_id: started.sessionId,
    max_in_flight: started.maxInFlight,
    max_in_flight_bytes: started.maxInFlightBytes,
    lease_ms: started.leaseMs,
    disconnect_grace_ms: started.disconnectGraceMs,
    lost_lease_tokens: started.lostLeaseTokens,
    group: started.group,
  };
}

/** Reports the frames of a stream until it ends. */
export async function read(name: string, subscription: Subscription): Promise<void> {
  let error: Fields | null = null;
  try {
    for await (const frame of subscription) {
      report(frame.kind, { subscription: name, ...readFrame(frame) });
    }
  } catch (raised) {
    error = readError(raised);
  }
  report("ended", { subscription: name, error });
}

function readFrame(frame: Frame): Fields {
  switch (frame.kind) {
    case "deliveries":
      return { deliveries: frame.deliveries.map(readDelivery) };
    case "heartbeat":
      return { backlog: frame.backlog };
    case "closing":
      return { reason: frame.reason, reconnect_after_ms: frame.reconnectAfterMs };
  }
}
