/**
 * The client of DueBus: {@link io.duebus.DueBus} dispatches events, now or for later, and {@link io.duebus.Worker} handles
 * them when they are due. Errors are {@link io.duebus.DueBusException}s.
 */
package io.duebus;
