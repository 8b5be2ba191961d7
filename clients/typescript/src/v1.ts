/** The generated messages and services of `duebus.v1`, for `Client.admin` and for programs that need only those. */
export * from "./generated/duebus/v1/admin.js";
export { ErrorReason, PartialDispatch } from "./generated/duebus/v1/error_details.js";
export * from "./generated/duebus/v1/event_bus.js";
// Both files have these; they are the same.
export { type DeepPartial, type MessageFns, protobufPackage } from "./generated/duebus/v1/event_bus.js";
// It would name one of the files alone.
export const protobufFileName = "duebus/v1";
