package duebus

import (
	"context"
	"fmt"
	"os"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/duebus/duebus/clients/go/internal/testhook"
)

// Worker runs handlers on the events of topics until it is stopped.
//
//	worker := duebus.NewWorker(client, duebus.WithGroup("billing"))
//	worker.Handle("order.created", bill)
//	err := worker.Run(ctx)
//
// Leases are extended while handlers run. Acks and nacks go in batches. A broken stream is always reopened, with the
// leases still held.
type Worker struct {
	client   *Client
	defaults []WorkerOption
	entries  []*entry
	ready    chan struct{}
	run      sync.Once
}

// entry is a handler on a topic.
type entry struct {
	topic    string
	handler  Handler
	settings *workerSettings
}

// NewWorker makes a worker. The options apply to its handlers unless their own options differ.
func NewWorker(client *Client, options ...WorkerOption) *Worker {
	return &Worker{client: client, defaults: options, ready: make(chan struct{})}
}

// Handle registers a handler for a topic, before Run. Each handler has a subscription of its own, in the group that its
// options name.
func (w *Worker) Handle(topic string, handler Handler, options ...WorkerOption) {
	settings := defaultSettings()
	for _, option := range append(append([]WorkerOption{}, w.defaults...), options...) {
		option(settings)
	}
	w.entries = append(w.entries, &entry{topic, handler, settings})
}

// Ready is closed when the worker has subscribed for every handler: events dispatched from then on are handled. It is
// also closed when Run begins to end before that, because of an error or because its context ended.
func (w *Worker) Ready() <-chan struct{} { return w.ready }

// Run handles events until ctx ends. Then it drains and returns nil: running handlers are finished and their events
// settled, for at most the drain timeout; then their contexts end and the events are released. Deliveries that were not
// started are released.
//
// Handlers get the values of ctx, but not its cancellation. A worker runs once.
//
// Errors: ErrInvalidArgument for a bad option, and those that no retry can cure, after a drain: a topic or a group that
// the server refuses, ErrNoDispatcherSpecified, ErrUnauthenticated, ErrPermissionDenied, ErrUnimplemented,
// ErrClientClosed.
func (w *Worker) Run(ctx context.Context) error {
	testhook.Running(ctx, w.client)
	err := error(invalidField("worker", "is already running, or has run"))
	w.run.Do(func() {
		ready := sync.OnceFunc(func() { close(w.ready) })
		defer ready()
		err = w.runOnce(ctx, ready)
	})
	return err
}

func (w *Worker) runOnce(ctx context.Context, ready func()) error {
	base := context.WithoutCancel(ctx)
	var subscriptions []*subscription
	var runs []func(context.Context) error
	for _, each := range w.entries {
		if err := each.check(); err != nil {
			return err
		}
		opened := newSubscription(base, w.client, each)
		subscriptions = append(subscriptions, opened)
		runs = append(runs, opened.run)
	}
	if len(runs) == 0 {
		return invalidField("worker", "has no handler")
	}
	announce := func(ctx context.Context) error {
		if awaitStarted(ctx, subscriptions) {
			testhook.Subscribed(ctx)
		}
		ready()
		return nil
	}
	return untilFirst(ctx, append(runs, announce)...)
}

// awaitStarted returns when each subscription was open once, or false when the context ends.
func awaitStarted(ctx context.Context, subscriptions []*subscription) bool {
	for _, each := range subscriptions {
		select {
		case <-each.started:
		case <-ctx.Done():
			return false
		}
	}
	return true
}

func (e *entry) check() error {
	s := e.settings
	switch {
	case e.handler == nil:
		return invalidField("handler", "is nil")
	case s.maxInFlight < 1 || s.maxInFlight > 100_000:
		return invalidField("max_in_flight", fmt.Sprintf("must be 1 to 100000, not %d", s.maxInFlight))
	case s.lease < 100*time.Millisecond || s.lease > 12*time.Hour:
		return invalidField("lease", fmt.Sprintf("must be 100ms to 12h, not %v", s.lease))
	case s.maxExecution <= 0:
		return invalidField("max_execution", fmt.Sprintf("must be positive, not %v", s.maxExecution))
	case s.drainTimeout < 0:
		return invalidField("drain_timeout", fmt.Sprintf("must not be negative, but is %v", s.drainTimeout))
	}
	if s.concurrency == nil {
		s.concurrency = &s.maxInFlight
	}
	if *s.concurrency < 1 {
		return invalidField("concurrency", fmt.Sprintf("must be at least 1, not %d", *s.concurrency))
	}
	return checkText("topic", e.topic, "group", s.group, "consumer", s.consumer)
}

// untilFirst runs all until their context ends or one fails, waits for the others, and returns the first error.
func untilFirst(ctx context.Context, runs ...func(context.Context) error) error {
	group, ctx := errgroup.WithContext(ctx)
	for _, run := range runs {
		group.Go(func() error { return run(ctx) })
	}
	return group.Wait()
}

func defaultConsumer() string {
	host, err := os.Hostname()
	if err != nil {
		host = "unknown"
	}
	return fmt.Sprintf("%s-%d", host, os.Getpid())
}

func defaultSettings() *workerSettings {
	return &workerSettings{
		consumer: defaultConsumer(), maxInFlight: 64, lease: 30 * time.Second,
		maxExecution: 50 * time.Second, drainTimeout: 25 * time.Second,
	}
}
