const INTERVAL_MS = 60_000;

/**
 * Picks the level of the log lines while a server is away: a warning at first and then once a minute; the others are for
 * debugging.
 */
export class Outage {
  #warnedAt = Number.NEGATIVE_INFINITY;

  /** The level of the line about the next failure. */
  level(): "warn" | "debug" {
    if (performance.now() - this.#warnedAt < INTERVAL_MS) {
      return "debug";
    }
    this.#warnedAt = performance.now();
    return "warn";
  }

  /** The server has answered. */
  over(): void {
    this.#warnedAt = Number.NEGATIVE_INFINITY;
  }
}
