/**
 * A module for NestJS: a client to inject, and handlers that are methods of providers. It needs the packages
 * `@nestjs/common` and `@nestjs/core`.
 *
 * @module
 */
import { inspect } from "node:util";
import {
  type DynamicModule,
  type InjectionToken,
  type ModuleMetadata,
  Logger as NestLogger,
  type OnApplicationBootstrap,
  type OnApplicationShutdown,
  type OptionalFactoryDependency,
  type Provider,
  SetMetadata,
} from "@nestjs/common";
import { DiscoveryModule, DiscoveryService, MetadataScanner, Reflector } from "@nestjs/core";
import { Client, type ClientOptions } from "./client.js";
import type { Logger } from "./logger.js";
import type { Handler } from "./worker/executor.js";
import type { WorkerOptions } from "./worker/settings.js";
import { Worker } from "./worker/worker.js";

const HANDLER = "duebus:handler";
const OPTIONS = Symbol("duebus:options");

/** The options of the module. */
export interface DueBusModuleOptions extends ClientOptions {
  /** The server: `host:port`, several of them separated by commas, or any other name that gRPC resolves. */
  target: string;
  /** Apply to handlers unless their own options differ. */
  worker?: WorkerOptions | undefined;
}

/** Options that are made from other providers, such as `ConfigService`. */
export interface DueBusModuleAsyncOptions extends Pick<ModuleMetadata, "imports"> {
  inject?: (InjectionToken | OptionalFactoryDependency)[];
  // biome-ignore lint/suspicious/noExplicitAny: the parameters are what `inject` names, which TypeScript can't infer
  useFactory: (...injected: any[]) => DueBusModuleOptions | Promise<DueBusModuleOptions>;
}

interface Registration {
  topic: string;
  options: WorkerOptions;
}

/**
 * Makes a method of a provider or a controller the handler of a topic: it is called as a `Handler` is, with the delivery
 * and its context.
 */
export function DueBusHandler(topic: string, options: WorkerOptions = {}): MethodDecorator {
  return SetMetadata<string, Registration>(HANDLER, { topic, options });
}

/**
 * Provides the `Client` to every module, and runs the methods that `DueBusHandler` decorates.
 *
 * ```ts
 * @Module({ imports: [DueBusModule.forRoot({ target: "127.0.0.1:50051", worker: { group: "billing" } })] })
 * class AppModule {}
 * ```
 *
 * The handlers are subscribed when the application has started, or, while the server can't be reached, as soon as it
 * can. When the application closes, the worker is drained first; call `enableShutdownHooks` so that SIGTERM closes it.
 */
// biome-ignore lint/complexity/noStaticOnlyClass: a module of NestJS is a class
export class DueBusModule {
  static forRoot(options: DueBusModuleOptions): DynamicModule {
    return DueBusModule.forRootAsync({ useFactory: () => options });
  }

  /** As `forRoot`, with options that are made from other providers. */
  static forRootAsync({ imports = [], inject = [], useFactory }: DueBusModuleAsyncOptions): DynamicModule {
    const providers: Provider[] = [
      { provide: OPTIONS, inject, useFactory },
      {
        provide: Client,
        inject: [OPTIONS],
        useFactory: ({ target, worker: _, ...options }: DueBusModuleOptions) => new Client(target, options),
      },
      {
        provide: Handlers,
        inject: [Client, OPTIONS, DiscoveryService, MetadataScanner],
        useFactory: (
          client: Client,
          { worker }: DueBusModuleOptions,
          discovery: DiscoveryService,
          scanner: MetadataScanner,
        ) => new Handlers(client, worker ?? {}, discovery, scanner),
      },
    ];
    const module = { module: DueBusModule, imports: [...imports, DiscoveryModule], providers, exports: [Client] };
    return { ...module, global: true };
  }
}

/** Runs the decorated methods of all providers and controllers for as long as the application does. */
class Handlers implements OnApplicationBootstrap, OnApplicationShutdown {
  readonly #client: Client;
  readonly #options: WorkerOptions;
  readonly #discovery: DiscoveryService;
  readonly #scanner: MetadataScanner;
  readonly #log = new NestLogger("DueBus");
  #worker: Worker | undefined;

  constructor(client: Client, options: WorkerOptions, discovery: DiscoveryService, scanner: MetadataScanner) {
    this.#client = client;
    this.#options = { logger: nestLogger(this.#log), ...options };
    this.#discovery = discovery;
    this.#scanner = scanner;
  }

  onApplicationBootstrap(): void {
    const found = this.#find();
    if (found.length === 0) {
      return;
    }
    const worker = new Worker(this.#client, this.#options);
    for (const { topic, options, handler } of found) {
      worker.handle(topic, handler, options);
    }
    this.#worker = worker;
    worker.run().catch((error: unknown) => this.#log.error(`the worker has ended: ${String(error)}`));
  }

  async onApplicationShutdown(): Promise<void> {
    await this.#worker?.stop();
    this.#client.close();
  }

  #find(): (Registration & { handler: Handler })[] {
    const reflector = new Reflector();
    return [...this.#discovery.getProviders(), ...this.#discovery.getControllers()].flatMap(({ instance }) => {
      if (typeof instance !== "object" || instance === null) {
        return [];
      }
      const methods = instance as Record<string, Handler>;
      return this.#scanner.getAllMethodNames(Object.getPrototypeOf(instance)).flatMap((name) => {
        const method = methods[name];
        const registration = method && reflector.get<Registration | undefined>(HANDLER, method);
        return registration === undefined
          ? []
          : [{ ...registration, handler: (delivery, context) => methods[name]?.(delivery, context) }];
      });
    });
  }
}

function nestLogger(log: NestLogger): Logger {
  const line = (message: string, details: object): string =>
    `${message} ${inspect(details, { breakLength: Number.POSITIVE_INFINITY })}`;
  return {
    debug: (message, details) => log.debug(line(message, details)),
    info: (message, details) => log.log(line(message, details)),
    warn: (message, details) => log.warn(line(message, details)),
    error: (message, details) => log.error(line(message, details)),
  };
}
