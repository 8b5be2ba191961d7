// Package testhook tells package duebustest which handlers have panicked.
package testhook

import "context"

type key struct{}

// Report gets the topic and the id of an event whose handler has panicked, with what, and where.
type Report func(event string, value any, stack []byte)

// WithReport makes a context for workers whose handlers are watched.
func WithReport(ctx context.Context, report Report) context.Context {
	return context.WithValue(ctx, key{}, report)
}

// Panicked reports a panic, if the handler's context says to whom.
func Panicked(ctx context.Context, event string, value any, stack []byte) {
	if report, watched := ctx.Value(key{}).(Report); watched {
		report(event, value, stack)
	}
}
