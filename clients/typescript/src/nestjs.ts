/**
 * A module for NestJS: a client to inject, and handlers that are methods of providers. It needs the packages
 * `@nestjs/common` and `@nestjs/core`.
 *
 * @module
 */
import { inspect } from "node:util";
import {
  type BeforeApplicationShutdown,
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
import {
  ContextIdFactory,
  DiscoveryModule,
  DiscoveryService,
  MetadataScanner,
  ModuleRef,
  Reflector,
} from "@nestjs/core";
import { Client, type ClientOptions } from "./client.js";
import { DueBusError } from "./errors.js";
import type { Logger } from "./logger.js";
import type { Handler } from "./worker/executor.js";
import { given, type WorkerOptions } from "./worker/settings.js";
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

/** A provider or a controller. */
type Found = ReturnType<DiscoveryService["getProviders"]>[number];

/**
 * Makes a method of a provider or a controller the handler of a topic: it is called as a `Handler` is, with the delivery
 * and its context.
 */
export function DueBusHandler(topic: string, options: WorkerOptions = {}): MethodDecorator {
  return SetMetadata<string, Registration>(HANDLER, { topic, options });
}

/**
 * Provides the `Client` and `DueBusHealth` to every module, and runs the methods that `DueBusHandler` decorates.
 *
 * ```ts
 * @Module({ imports: [DueBusModule.forRoot({ target: "127.0.0.1:50051", worker: { group: "billing" } })] })
 * class AppModule {}
 * ```
 *
 * The handlers are subscribed when the application has started, or, while the server can't be reached, as soon as it
 * can. Call `enableShutdownHooks` so that SIGTERM closes the application. The worker is then drained before any
 * `onApplicationShutdown` is called: close there what handlers need, not in `onModuleDestroy`, which comes earlier. The
 * client is closed last.
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
        inject: [Client, OPTIONS, DiscoveryService, MetadataScanner, ModuleRef],
        useFactory: (
          client: Client,
          { worker }: DueBusModuleOptions,
          discovery: DiscoveryService,
          scanner: MetadataScanner,
          modules: ModuleRef,
        ) => new Handlers(client, worker ?? {}, discovery, scanner, modules),
      },
      {
        provide: DueBusHealth,
        inject: [Client, Handlers],
        useFactory: (client: Client, handlers: Handlers) => new DueBusHealth(client, () => handlers.failure),
      },
    ];
    const shared = { exports: [Client, DueBusHealth], global: true };
    return { module: DueBusModule, imports: [...imports, DiscoveryModule], providers, ...shared };
  }
}

/** For a health check of the application. */
export class DueBusHealth {
  readonly #client: Client;
  readonly #failure: () => unknown;

  /** @internal */
  constructor(client: Client, failure: () => unknown) {
    this.#client = client;
    this.#failure = failure;
  }

  /**
   * Resolves while the server accepts work and the worker has not failed.
   *
   * @throws what ended the worker for good, such as a `DueBusError` that a retry can't fix; `DISPATCHER_NOT_WORKING`
   * while the server drains; any other `DueBusError` when it can't be asked within the client's timeout.
   */
  async check(): Promise<void> {
    const failure = this.#failure();
    if (failure !== undefined) {
      throw failure;
    }
    if (!(await this.#client.isServing())) {
      throw new DueBusError("DISPATCHER_NOT_WORKING", "the server accepts no new work");
    }
  }
}

/** Runs the decorated methods of all providers and controllers for as long as the application does. */
class Handlers implements OnApplicationBootstrap, BeforeApplicationShutdown, OnApplicationShutdown {
  readonly #client: Client;
  readonly #options: WorkerOptions;
  readonly #discovery: DiscoveryService;
  readonly #scanner: MetadataScanner;
  readonly #modules: ModuleRef;
  readonly #log = new NestLogger("DueBus");
  #worker: Worker | undefined;
  /** What ended the worker for good. */
  failure: unknown;

  constructor(
    client: Client,
    options: WorkerOptions,
    discovery: DiscoveryService,
    scanner: MetadataScanner,
    modules: ModuleRef,
  ) {
    this.#client = client;
    this.#options = { logger: nestLogger(this.#log), ...given(options) };
    this.#discovery = discovery;
    this.#scanner = scanner;
    this.#modules = modules;
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
    worker.run().catch((error: unknown) => {
      this.failure = error;
      this.#log.error(`the worker has ended: ${String(error)}`);
    });
  }

  async beforeApplicationShutdown(): Promise<void> {
    await this.#worker?.stop();
  }

  onApplicationShutdown(): void {
    this.#client.close();
  }

  #find(): (Registration & { handler: Handler })[] {
    const reflector = new Reflector();
    // An alias has the instance of another provider.
    const all = [...this.#discovery.getProviders(), ...this.#discovery.getControllers()].filter(
      (each) => !each.isAlias,
    );
    return all.flatMap((found) => {
      const methods: unknown = found.instance;
      if (typeof methods !== "object" || methods === null) {
        return [];
      }
      return this.#scanner.getAllMethodNames(Object.getPrototypeOf(methods)).flatMap((name) => {
        const method = (methods as Record<string, Handler>)[name];
        const registration = method && reflector.get<Registration | undefined>(HANDLER, method);
        return registration === undefined ? [] : [{ ...registration, handler: this.#handler(found, name) }];
      });
    });
  }

  /** Calls a method of the instance, or, if its scope is a request, of one that is made for the delivery. */
  #handler(found: Found, name: string): Handler {
    const isShared = found.isDependencyTreeStatic() && !found.isTransient;
    return async (delivery, context) => {
      const instance: Record<string, Handler> = isShared
        ? found.instance
        : await this.#modules.resolve(found.token, ContextIdFactory.create(), { strict: false });
      await instance[name]?.(delivery, context);
    };
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
