import { createInterface } from "node:readline";

/** A line of the protocol, or a part of it. Its readers check it. */
export type Fields = Record<string, unknown>;

/** Writes a line to standard output. */
export function write(line: Fields): void {
  process.stdout.write(`${JSON.stringify(line)}\n`);
}

export function answer(id: unknown, result: Fields): void {
  write({ id, result });
}

export function report(event: string, fields: Fields): void {
  write({ event, ...fields });
}

/** The lines of standard input, until it ends. */
export async function* lines(): AsyncGenerator<Fields> {
  for await (const line of createInterface({ input: process.stdin, crlfDelay: Number.POSITIVE_INFINITY })) {
    yield JSON.parse(line) as Fields;
  }
}
