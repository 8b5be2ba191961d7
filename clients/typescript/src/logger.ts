/** Where a worker logs. `console` is one. */
export interface Logger {
  debug(message: string, details: object): void;
  info(message: string, details: object): void;
  warn(message: string, details: object): void;
  error(message: string, details: object): void;
}

export const LEVELS: readonly (keyof Logger)[] = ["debug", "info", "warn", "error"];

/** Warnings and errors, on standard error. */
export const defaultLogger: Logger = {
  debug: () => {},
  info: () => {},
  warn: (message, details) => console.warn(message, details),
  error: (message, details) => console.error(message, details),
};

/** A logger that adds these details to each line. */
export function withDetails(logger: Logger, common: object): Logger {
  return {
    debug: (message, details) => logger.debug(message, { ...common, ...details }),
    info: (message, details) => logger.info(message, { ...common, ...details }),
    warn: (message, details) => logger.warn(message, { ...common, ...details }),
    error: (message, details) => logger.error(message, { ...common, ...details }),
  };
}
