const INTERVAL_MS = 60_000;

/**
 * Picks the level of log lines during an outage: a warning first and then once a minute, otherwise debug.
 */
export class Outage {
  #warnedAt = Number.NEGATIVE_INFINITY;

  /** The level of the next failure's line. */
  level(): "warn" | "debug" {
    if (performance.now() - this.#warnedAt < INTERVAL_MS) {
      return "debug";
    }
    this.#warnedAt = performance.now();
    return "warn";
  }

  /** Notes that the server has answered. */
  over(): void {
    this.#warnedAt = Number.NEGATIVE_INFINITY;
  }
}
