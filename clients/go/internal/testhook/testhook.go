// Package testhook tells package duebustest what a worker does.
package testhook

import (
	"context"
	"io"
)

type key struct{}

// Watch is told what a worker does.
type Watch struct {
	// Running gets the client of a worker that begins to run.
	Running func(client io.Closer)
	// Panicked gets the topic and the id of an event whose handler has panicked, with what, and where.
	Panicked func(event string, value any, stack []byte)
	// Subscribed is called when the worker has subscribed for every handler.
	Subscribed func()
}

// With makes a context for workers that are watched.
func With(ctx context.Context, watch Watch) context.Context {
	return context.WithValue(ctx, key{}, watch)
}

// Running reports that a worker begins to run, if its context says to whom.
func Running(ctx context.Context, client io.Closer) {
	if watch, watched := ctx.Value(key{}).(Watch); watched {
		watch.Running(client)
	}
}

// Panicked reports a panic, if the handler's context says to whom.
func Panicked(ctx context.Context, event string, value any, stack []byte) {
	if watch, watched := ctx.Value(key{}).(Watch); watched {
		watch.Panicked(event, value, stack)
	}
}

// Subscribed reports that a worker has subscribed, if its context says to whom.
func Subscribed(ctx context.Context) {
	if watch, watched := ctx.Value(key{}).(Watch); watched {
		watch.Subscribed()
	}
}
