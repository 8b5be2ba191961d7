export type { Admin, AdminCallOptions, CancelTarget, DeadLetterFilter, Due, ListOptions } from "./admin.js";
export type {
  Attempt,
  AttemptOutcome,
  Cancelled,
  EventGroupInfo,
  EventInfo,
  EventState,
  GroupInfo,
  GroupMinute,
  KeyInfo,
  KeyPolicy,
  Lateness,
  Limits,
  OnDead,
  Rate,
  RetryPolicy,
  Subscriber,
  TopicChanges,
  TopicConfig,
  TopicInfo,
  TopicMinute,
} from "./admin-types.js";
export { Client, type ClientOptions, type StoppedEngine } from "./client.js";
export type { TlsOptions, TokenProvider } from "./connection.js";
export { Delivery } from "./delivery.js";
export type { Dispatched, DispatchOptions } from "./dispatch.js";
export { DueBusError, type ErrorDetails, type FieldViolation, type Reason } from "./errors.js";
export type { NewEvent } from "./event.js";
export type { Interceptor } from "./interceptor.js";
export type { Logger } from "./logger.js";
export type { CallOptions } from "./retry.js";
export type {
  CatchUp,
  Overlap,
  ScheduleCallOptions,
  ScheduledEvent,
  ScheduleInfo,
  ScheduleOptions,
  SchedulePreview,
  ScheduleRule,
  Schedules,
} from "./schedules.js";
export type { LeaseFailure, LeaseFailureReason, Nack, Pause, PauseScope } from "./settle.js";
export type { Frame, Started, SubscribeOptions, Subscription } from "./subscription.js";
export { type PayloadOf, type Schema, type Schemas, type Topics, type TypedHandler, topics } from "./topics.js";
export type { Engine } from "./values.js";
export type { Handler, HandlerContext } from "./worker/executor.js";
export { DeadLetter, RateLimited, Release, RetryAfter } from "./worker/outcome.js";
export type { WorkerOptions } from "./worker/settings.js";
export { Worker } from "./worker/worker.js";
