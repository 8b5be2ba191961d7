// The driver of the conformance suite: it carries out the runner's commands with this client. Its protocol is
// tests/conformance/PROTOCOL.md.
import { Driver } from "./driver.js";
import { lines } from "./lines.js";

/** How long to wait at the end of input. */
const EXIT_WITHIN_MS = 4000;

const driver = new Driver();
for await (const line of lines()) {
  void driver.carryOut(line);
}
setTimeout(() => process.exit(0), EXIT_WITHIN_MS).unref();
await driver.close();
