import { MAX_TIMER_MS } from "../values.js";

interface Waiting {
  holds: () => boolean;
  done: (held: boolean) => void;
}

/** Lets the parts of a worker wait for conditions. Code that changes a condition calls `notify`. */
export class Changes {
  readonly #waiting = new Set<Waiting>();

  notify(): void {
    for (const each of this.#waiting) {
      if (each.holds()) {
        each.done(true);
      }
    }
  }

  /** Waits until the condition holds; false if `ms` pass first. */
  until(holds: () => boolean, ms = MAX_TIMER_MS): Promise<boolean> {
    if (holds()) {
      return Promise.resolve(true);
    }
    return new Promise((resolve) => {
      const done = (held: boolean): void => {
        clearTimeout(timer);
        this.#waiting.delete(waiting);
        resolve(held);
      };
      const waiting = { holds, done };
      const timer = setTimeout(done, ms, false);
      this.#waiting.add(waiting);
    });
  }
}
