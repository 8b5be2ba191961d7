package duebus

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// Reason is why a call failed, the same in every language. errors.Is compares it:
//
//	if errors.Is(err, duebus.ErrMaxQueuedEventsReached) { ... }
type Reason string

// Error makes a Reason a target of errors.Is.
func (r Reason) Error() string { return string(r) }

// The reasons that a server names. ErrNoTopicSpecified and ErrNoEventSpecified are also ErrInvalidArgument, and
// ErrDispatcherNotWorking is also ErrUnavailable.
const (
	// ErrInvalidArgument: a field is missing, malformed, unknown or out of its range; Error.FieldViolations names it.
	ErrInvalidArgument Reason = "INVALID_ARGUMENT"
	// ErrNoTopicSpecified: the topic is empty.
	ErrNoTopicSpecified Reason = "NO_TOPIC_SPECIFIED"
	// ErrNoEventSpecified: the dispatch has no events.
	ErrNoEventSpecified Reason = "NO_EVENT_SPECIFIED"
	// ErrNoDispatcherSpecified: the server does not run the requested engine.
	ErrNoDispatcherSpecified Reason = "NO_DISPATCHER_SPECIFIED"
	// ErrNoHandlerFound: RequireSubscriber, and the topic has no live subscriber on any replica.
	ErrNoHandlerFound Reason = "NO_HANDLER_FOUND"
	// ErrTopicHasSchedules: a topic with schedules can't be deleted, and a schedule can't move to another topic.
	ErrTopicHasSchedules Reason = "TOPIC_HAS_SCHEDULES"
	// ErrDuplicateInitialized: an engine is started twice in one process.
	ErrDuplicateInitialized Reason = "DUPLICATE_INITIALIZED"
	// ErrMaxQueuedEventsReached: the topic is full and nothing was stored; Error.RetryAfter says when to repeat.
	ErrMaxQueuedEventsReached Reason = "MAX_QUEUED_EVENTS_REACHED"
	// ErrMaxStreamsReached: this connection has as many open subscriptions as the server allows.
	ErrMaxStreamsReached Reason = "MAX_STREAMS_REACHED"
	// ErrConcurrentModification: an event was leased or changed meanwhile; nothing was changed.
	ErrConcurrentModification Reason = "CONCURRENT_MODIFICATION"
	// ErrDispatcherNotWorking: the engine is stopped or draining, or its storage can't be reached.
	ErrDispatcherNotWorking Reason = "DISPATCHER_NOT_WORKING"
	// ErrNotFound: no such topic, group or event; Error.Metadata names it.
	ErrNotFound Reason = "NOT_FOUND"
	// ErrInternal: an unexpected error in the server; Error.Metadata["log_id"] finds it in the server's log.
	ErrInternal Reason = "INTERNAL"
	// ErrUnimplemented: the server, or its engine, can't do that yet.
	ErrUnimplemented Reason = "UNIMPLEMENTED"
)

// The reasons of the client itself, and of gRPC and proxies, which have only a status.
const (
	// ErrUnavailable: the server can't be reached. The call may or may not have taken effect.
	ErrUnavailable Reason = "UNAVAILABLE"
	// ErrDeadlineExceeded: no answer in time. The call may or may not have taken effect.
	ErrDeadlineExceeded Reason = "DEADLINE_EXCEEDED"
	// ErrCancelled: the caller's context was cancelled. The call may or may not have taken effect.
	ErrCancelled Reason = "CANCELLED"
	// ErrUnauthenticated: credentials are required, or these are not accepted.
	ErrUnauthenticated Reason = "UNAUTHENTICATED"
	// ErrPermissionDenied: these credentials do not allow that.
	ErrPermissionDenied Reason = "PERMISSION_DENIED"
	// ErrClientClosed: the client was closed, before the call or during it.
	ErrClientClosed Reason = "CLIENT_CLOSED"
)

// parents names the wider reason that a reason belongs to.
func (r Reason) parent() Reason {
	switch r {
	case ErrNoTopicSpecified, ErrNoEventSpecified:
		return ErrInvalidArgument
	case ErrDispatcherNotWorking:
		return ErrUnavailable
	}
	return ""
}

// FieldViolation is one wrong field: its path, for example "events[3].delay", and what is wrong with it.
type FieldViolation struct {
	Field       string
	Description string
}

// Error is the error of a call that failed. All calls of this package, the generated stubs of Client.EventBus and
// Client.Admin included, return it; errors.As finds it, and errors.Is compares its reason.
type Error struct {
	Reason Reason
	// Message is for people.
	Message string
	// Code is the gRPC status; OK if the client itself found the error.
	Code codes.Code
	// Metadata names the subject of the error: topic, group, engine, ...
	Metadata map[string]string
	// FieldViolations are the wrong fields; empty unless the input was bad.
	FieldViolations []FieldViolation
	// RetryAfter is how long to wait before repeating the call; 0 if the server did not say.
	RetryAfter time.Duration
	// StoredEngines are, if a dispatch to several engines failed partway, the ones that hold the events. Repeating
	// the dispatch with the same RequestID is safe.
	StoredEngines []Engine
	// StoredEventIDs are the ids under which StoredEngines hold the events, in request order.
	StoredEventIDs []string

	cause error
}

// Error is one line: the reason, the message, and the wrong fields that the message does not name.
func (e *Error) Error() string {
	line := "duebus: " + string(e.Reason)
	if message := strings.Join(strings.Fields(e.Message), " "); message != "" {
		line += ": " + message
	}
	for _, violation := range e.FieldViolations {
		if !strings.Contains(line, violation.Field) {
			line += fmt.Sprintf(" (%s: %s)", violation.Field, violation.Description)
		}
	}
	return line
}

// Is reports whether target is the error's Reason, or the wider reason that it belongs to.
func (e *Error) Is(target error) bool {
	reason, ok := target.(Reason)
	return ok && (reason == e.Reason || reason == e.Reason.parent())
}

// Unwrap returns the context's error when the context ended the call.
func (e *Error) Unwrap() error { return e.cause }

// GRPCStatus lets status.FromError and status.Code read the original status.
func (e *Error) GRPCStatus() *status.Status {
	if e.Code == codes.OK {
		return status.New(codes.Unknown, e.Error())
	}
	return status.New(e.Code, e.Message)
}

// invalidField is the error of one wrong field that the client itself found.
func invalidField(field, description string) error {
	return &Error{
		Reason:          ErrInvalidArgument,
		Message:         field + ": " + description,
		FieldViolations: []FieldViolation{{field, description}},
	}
}

// heals is false if repeating the call can't help: a worker ends with such an error.
func heals(err error) bool {
	for _, hopeless := range [...]Reason{
		ErrClientClosed, ErrInvalidArgument, ErrNoDispatcherSpecified,
		ErrPermissionDenied, ErrUnauthenticated, ErrUnimplemented,
	} {
		if errors.Is(err, hopeless) {
			return false
		}
	}
	return true
}
