import { experimental } from "@grpc/grpc-js";
import { invalid } from "./errors.js";
import { text } from "./values.js";

const SCHEME = "duebus-servers";
/** Matches targets with commas that gRPC itself parses. */
const NAMED_SCHEME = /^(dns|ipv4|ipv6|unix):/;

/**
 * What gRPC resolves: the target itself, or the list of several servers separated by commas.
 *
 * @throws DueBusError `INVALID_ARGUMENT` when an address is not `host:port`.
 */
export function resolvable(target: string): string {
  if (text("target", target) === "") {
    throw invalid("target", "is empty");
  }
  if (/^https?:\/\//i.test(target)) {
    throw invalid("target", `${JSON.stringify(target)} is a URL; give host:port, and tls among the options`);
  }
  const addresses = target.split(",").map((each) => each.trim());
  if (addresses.length === 1 || NAMED_SCHEME.test(target)) {
    return target;
  }
  for (const address of addresses) {
    hostPort(address);
  }
  return `${SCHEME}:${addresses.join(",")}`;
}

function hostPort(address: string): { host: string; port: number } {
  const parsed = experimental.splitHostPort(address);
  if (parsed?.port === undefined || parsed.host === "" || /[/\s]/.test(parsed.host)) {
    throw invalid("target", `${JSON.stringify(address)} is not host:port`);
  }
  return { host: parsed.host, port: parsed.port };
}

/** Servers that are listed by address. The system resolves their hosts on connecting. */
class ServerList implements experimental.Resolver {
  readonly #endpoints: experimental.Endpoint[];
  readonly #listener: experimental.ResolverListener;
  #reported = false;

  constructor(target: experimental.GrpcUri, listener: experimental.ResolverListener) {
    this.#listener = listener;
    this.#endpoints = target.path.split(",").map((address) => ({ addresses: [hostPort(address)] }));
  }

  updateResolution(): void {
    if (!this.#reported) {
      this.#reported = true;
      process.nextTick(() => this.#listener(experimental.statusOrFromValue(this.#endpoints), {}, null, ""));
    }
  }

  destroy(): void {
    this.#reported = false;
  }

  static getDefaultAuthority(target: experimental.GrpcUri): string {
    return target.path.split(",")[0] ?? "";
  }
}

experimental.registerResolver(SCHEME, ServerList);
