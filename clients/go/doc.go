// Package duebus is the Go client of DueBus, an event bus that delivers events when they are due.
//
// A Client dispatches events. A Worker handles them: it keeps its subscriptions open, extends leases while handlers
// run, and settles what they have done. The messages and stubs of the wire are in package duebusv1.
//
// Delivery is at least once: handlers should be idempotent.
package duebus
