package duebus

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/duebus/duebus/clients/go/internal/testhook"
)

// maxErrorBytes is how much of an error the bus keeps.
const maxErrorBytes = 4096

// Handler handles one delivery. What happens to the event:
//
//   - it returns nil: acked;
//   - it returns an error or panics: nacked with the message, retried after the topic's backoff;
//   - it returns RetryAfter, RateLimited, DeadLetter or ErrRelease, wrapped or not: what they ask for;
//   - its context ends, because it ran for too long (ErrMaxExecution) or the worker stops and no longer waits
//     (ErrStopped): nacked, or released. Its result is then ignored. A handler that has not returned a second
//     later is abandoned: it keeps its slot until it returns;
//   - its context ends because the lease was lost (ErrLeaseLost): nothing is settled, because another worker may have
//     the event.
//
// context.Cause says why the context ended.
type Handler func(ctx context.Context, delivery *Delivery) error

// sentinel is an error that is compared by errors.Is.
type sentinel string

func (s sentinel) Error() string { return string(s) }

const (
	// ErrRelease is returned by a handler to release the event: it is ready again at once, and the attempt
	// is not counted.
	ErrRelease = sentinel("duebus: the event is released")
	// ErrMaxExecution is the cause of a handler's context that ran for too long.
	ErrMaxExecution = sentinel("duebus: the handler ran for too long")
	// ErrStopped is the cause of a handler's context when the worker stops and no longer waits.
	ErrStopped = sentinel("duebus: the worker stops")
	// ErrLeaseLost is the cause of a handler's context whose lease is lost.
	ErrLeaseLost = sentinel("duebus: the lease was lost")
)

// RetryAfterError is what RetryAfter returns.
type RetryAfterError struct {
	Delay time.Duration
	Err   error
}

// RetryAfter is returned by a handler to retry the event after delay, 0 to 10 years; it is dead if no retries are
// left. The message of err becomes the event's last error; nil is allowed.
func RetryAfter(delay time.Duration, err error) error {
	return &RetryAfterError{Delay: delay, Err: err}
}

// maxDelay is the longest delay that the bus accepts: 10 years.
const maxDelay = 3650 * 24 * time.Hour

// delay is within what the bus accepts.
func (e *RetryAfterError) delay() time.Duration { return min(max(e.Delay, 0), maxDelay) }

func (e *RetryAfterError) Error() string {
	if e.Err == nil {
		return "retry after " + e.delay().String()
	}
	return e.Err.Error()
}

func (e *RetryAfterError) Unwrap() error { return e.Err }

// RateLimitedError is what RateLimited returns.
type RateLimitedError struct {
	After time.Duration
	Scope PauseScope
	Err   error
}

// RateLimited is returned by a handler whose work was refused because there is too much of it, for example with the HTTP
// status 429. Nothing of the event's key (PauseKey) or of its group (PauseGroup) is delivered for after, 1 ms to 1 h, to
// any worker, and the attempt is not counted. If the event has no key that could be paused, or the scope is neither, the
// event is retried after that time. The message of err is for the log; nil is allowed.
func RateLimited(after time.Duration, scope PauseScope, err error) error {
	return &RateLimitedError{After: after, Scope: scope, Err: err}
}

// maxPause is the longest pause that the bus accepts.
const maxPause = time.Hour

// after is within what the bus accepts.
func (e *RateLimitedError) after() time.Duration {
	return min(max(e.After, time.Millisecond), maxPause)
}

func (e *RateLimitedError) Error() string {
	if e.Err == nil {
		return "rate limited for " + e.after().String()
	}
	return e.Err.Error()
}

func (e *RateLimitedError) Unwrap() error { return e.Err }

// pauseOf is the nack of a delivery whose handler was rate limited.
func (e *RateLimitedError) pauseOf(delivery *Delivery, message string) Nack {
	nack := Nack{LeaseToken: delivery.LeaseToken, Error: message, Pause: &Pause{e.after(), e.Scope}}
	pausesKey := e.Scope == PauseKey && delivery.Key != ""
	if !pausesKey && e.Scope != PauseGroup {
		nack.retryInstead()
	}
	return nack
}

// retryInstead makes of a pause a retry after the same time.
func (n *Nack) retryInstead() { n.Delay, n.Pause = &n.Pause.Duration, nil }

// DeadLetterError is what DeadLetter returns.
type DeadLetterError struct {
	Err error
}

// DeadLetter is returned by a handler to make the event a dead letter at once, if a retry can't help. The message
// of err becomes the event's last error; nil is allowed.
func DeadLetter(err error) error { return &DeadLetterError{Err: err} }

func (e *DeadLetterError) Error() string {
	if e.Err == nil {
		return "dead letter"
	}
	return e.Err.Error()
}

func (e *DeadLetterError) Unwrap() error { return e.Err }

// panicError is the error of a handler that panicked.
type panicError struct {
	value any
	stack []byte
}

func (e *panicError) Error() string { return fmt.Sprintf("panic: %v", e.value) }

// errGoexit is the error of a handler that ended its goroutine.
const errGoexit = sentinel("the handler called runtime.Goexit")

// invoke calls the handler and then done with its result, even if it panics or ends its goroutine.
func invoke(ctx context.Context, handler Handler, delivery *Delivery, done func(error)) {
	var err error = errGoexit
	defer func() {
		if value := recover(); value != nil {
			stack := debug.Stack()
			testhook.Panicked(ctx, delivery.Topic+"/"+delivery.EventID, value, stack)
			err = &panicError{value, stack}
		}
		done(err)
	}()
	err = handler(ctx, delivery)
}

// nackOf decides what a handler's error means for its event. An error whose own methods panic is like any other
// failure.
func nackOf(delivery *Delivery, err error) (nack Nack) {
	token := delivery.LeaseToken
	defer func() {
		if recover() != nil {
			nack = Nack{LeaseToken: token, Error: fmt.Sprintf("%T", err)}
		}
	}()
	nack = Nack{LeaseToken: token, Error: message(err)}
	var later *RetryAfterError
	var limited *RateLimitedError
	var dead *DeadLetterError
	switch {
	case errors.Is(err, ErrRelease):
		return Nack{LeaseToken: token, Release: true}
	case errors.As(err, &dead):
		nack.DeadLetter = true
	case errors.As(err, &limited):
		return limited.pauseOf(delivery, nack.Error)
	case errors.As(err, &later):
		delay := later.delay()
		nack.Delay = &delay
	}
	return nack
}

// message is an error's text in at most 4 KiB of UTF-8.
func message(err error) string {
	text := strings.ToValidUTF8(err.Error(), string(utf8.RuneError))
	if len(text) <= maxErrorBytes {
		return text
	}
	return strings.ToValidUTF8(text[:maxErrorBytes], "")
}
