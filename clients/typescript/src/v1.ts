/** The generated messages and services of `duebus.v1`, for programs that need only those. */
export * from "./generated/duebus/v1/admin.js";
export { ErrorReason, PartialDispatch } from "./generated/duebus/v1/error_details.js";
export * from "./generated/duebus/v1/event_bus.js";
// Both files have the same ones.
export { type DeepPartial, type MessageFns, protobufPackage } from "./generated/duebus/v1/event_bus.js";
// It names only one of the files.
export const protobufFileName = "duebus/v1";
