package duebus_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	duebus "github.com/duebus/duebus/clients/go"
	"github.com/duebus/duebus/clients/go/duebusv1"
)

// running is a running worker.
type running struct {
	worker *duebus.Worker
	stop   context.CancelFunc
	ended  chan error
}

// work runs a worker with one handler; it is stopped by the end of the test.
func work(t *testing.T, target string, handler duebus.Handler, options ...duebus.WorkerOption) *running {
	t.Helper()
	return workWith(t, newClient(t, target), handler, options...)
}

// workWith is work with a client of the test's own.
func workWith(
	t *testing.T, client *duebus.Client, handler duebus.Handler, options ...duebus.WorkerOption,
) *running {
	t.Helper()
	worker := duebus.NewWorker(client, options...)
	worker.Handle("order.created", handler)
	return start(t, worker)
}

func start(t *testing.T, worker *duebus.Worker) *running {
	t.Helper()
	ctx, stop := context.WithCancel(context.Background())
	started := &running{worker, stop, make(chan error, 1)}
	go func() { started.ended <- worker.Run(ctx) }()
	t.Cleanup(stop)
	return started
}

// acking handles everything at once.
func acking(context.Context, *duebus.Delivery) error { return nil }

// holding is a handler that reports its delivery and waits for the test, or for the end of its context.
type holding struct {
	begun     chan string
	finish    chan error
	cancelled chan error
}

func newHolding() *holding {
	return &holding{make(chan string, 100), make(chan error, 100), make(chan error, 100)}
}

func (h *holding) handle(ctx context.Context, delivery *duebus.Delivery) error {
	h.begun <- delivery.EventID
	select {
	case err := <-h.finish:
		return err
	case <-ctx.Done():
		h.cancelled <- context.Cause(ctx)
		return nil // its result no longer counts
	}
}

func TestAnEventIsAckedWhenItsHandlerReturns(t *testing.T) {
	bus := newFakeBus(t)
	got := make(chan *duebus.Delivery, 1)
	w := work(t, bus.address, func(_ context.Context, d *duebus.Delivery) error { got <- d; return nil },
		duebus.WithGroup("billing"), duebus.WithConsumer("c"), duebus.WithMaxInFlight(7), duebus.WithEngine(duebus.Redis),
		duebus.WithMaxInFlightBytes(1000), duebus.WithLease(time.Minute), duebus.WithDisconnectGrace(0))
	stream := next(t, bus.streams)
	next(t, w.worker.Ready())
	if r := stream.request; r.Topic != "order.created" || r.Group != "billing" || r.Consumer != "c" ||
		r.MaxInFlight != 7 || r.Engine != duebus.Redis || r.MaxInFlightBytes != 1000 ||
		r.Lease.AsDuration() != time.Minute || r.DisconnectGrace == nil {
		t.Errorf("subscribed with %v", r)
	}
	stream.deliver("a")
	delivery := next(t, got)
	var payload struct{ ID int }
	if err := delivery.JSON(&payload); err != nil || payload.ID != 42 || delivery.EventID != "a" ||
		delivery.Key != "key-a" || delivery.Attempt != 1 {
		t.Errorf("got %+v, %v, %v", delivery, payload, err)
	}
	if tokens := next(t, bus.acks).LeaseTokens; len(tokens) != 1 || tokens[0] != "lease-a" {
		t.Errorf("acked %v", tokens)
	}
	w.stop()
	if err := next(t, w.ended); err != nil {
		t.Error(err)
	}
	no(t, bus.nacks)
}

type badError struct{}

func (badError) Error() string { panic("no text") }

type incomparableError struct{}

func (incomparableError) Error() string { return "no" }

func (incomparableError) Is(error) bool { panic("no comparison") }

func TestAHandlerDecidesAboutItsEvent(t *testing.T) {
	cause := errors.New("the card is busy")
	for name, each := range map[string]struct {
		handler duebus.Handler
		want    *duebusv1.Nack
	}{
		"an error": {
			func(context.Context, *duebus.Delivery) error { return cause },
			&duebusv1.Nack{Error: "the card is busy"},
		},
		"a wrapped retry": {
			func(context.Context, *duebus.Delivery) error {
				return fmt.Errorf("billing: %w", duebus.RetryAfter(time.Second, cause))
			},
			&duebusv1.Nack{
				Error: "billing: the card is busy", Action: &duebusv1.Nack_Delay{Delay: durationpb.New(time.Second)},
			},
		},
		"a retry at once, for no reason": {
			func(context.Context, *duebus.Delivery) error { return duebus.RetryAfter(-1, nil) },
			&duebusv1.Nack{Error: "retry after 0s", Action: &duebusv1.Nack_Delay{Delay: durationpb.New(0)}},
		},
		"a retry made without RetryAfter, sooner than the bus accepts": {
			func(context.Context, *duebus.Delivery) error {
				return &duebus.RetryAfterError{Delay: -time.Hour, Err: cause}
			},
			&duebusv1.Nack{Error: "the card is busy", Action: &duebusv1.Nack_Delay{Delay: durationpb.New(0)}},
		},
		"a rate limit made without RateLimited, shorter than the bus accepts": {
			func(context.Context, *duebus.Delivery) error {
				return &duebus.RateLimitedError{Scope: duebus.PauseGroup, Err: cause}
			},
			&duebusv1.Nack{
				Error: "the card is busy",
				Pause: &duebusv1.Nack_Pause{Duration: durationpb.New(time.Millisecond), Scope: duebus.PauseGroup},
			},
		},
		"a rate limit of an unknown scope": {
			func(context.Context, *duebus.Delivery) error { return duebus.RateLimited(time.Second, 77, cause) },
			&duebusv1.Nack{Error: "the card is busy", Action: &duebusv1.Nack_Delay{Delay: durationpb.New(time.Second)}},
		},
		"a rate limit, longer than the bus accepts": {
			func(context.Context, *duebus.Delivery) error {
				return fmt.Errorf("billing: %w", duebus.RateLimited(2*time.Hour, duebus.PauseGroup, cause))
			},
			&duebusv1.Nack{
				Error: "billing: the card is busy",
				Pause: &duebusv1.Nack_Pause{Duration: durationpb.New(time.Hour), Scope: duebus.PauseGroup},
			},
		},
		"a dead letter": {
			func(context.Context, *duebus.Delivery) error { return duebus.DeadLetter(cause) },
			&duebusv1.Nack{Error: "the card is busy", Action: &duebusv1.Nack_DeadLetter{DeadLetter: true}},
		},
		"a release": {
			func(context.Context, *duebus.Delivery) error { return fmt.Errorf("not now: %w", duebus.ErrRelease) },
			&duebusv1.Nack{Action: &duebusv1.Nack_Release{Release: true}},
		},
		"a panic": {
			func(context.Context, *duebus.Delivery) error { panic("boom") },
			&duebusv1.Nack{Error: "panic: boom"},
		},
		"the end of its goroutine": {
			func(context.Context, *duebus.Delivery) error { runtime.Goexit(); return nil },
			&duebusv1.Nack{Error: "the handler called runtime.Goexit"},
		},
		"an error that can't be compared": {
			func(context.Context, *duebus.Delivery) error { return incomparableError{} },
			&duebusv1.Nack{Error: "duebus_test.incomparableError"},
		},
		"an error without a text": {
			func(context.Context, *duebus.Delivery) error { return badError{} },
			&duebusv1.Nack{Error: "duebus_test.badError"},
		},
		"an error that is no UTF-8, and long": {
			func(context.Context, *duebus.Delivery) error { return errors.New("\xff" + strings.Repeat("ä", 4000)) },
			&duebusv1.Nack{Error: "\uFFFD" + strings.Repeat("ä", 2046)},
		},
	} {
		bus := newFakeBus(t)
		work(t, bus.address, each.handler)
		next(t, bus.streams).deliver("a")
		each.want.LeaseToken = "lease-a"
		if got := next(t, bus.nacks).Nacks[0]; got.String() != each.want.String() {
			t.Errorf("%s: nacked %v", name, got)
		}
		no(t, bus.acks)
	}
}

func TestConcurrencyLimitsRunningHandlers(t *testing.T) {
	bus := newFakeBus(t)
	holding := newHolding()
	work(t, bus.address, holding.handle, duebus.WithMaxInFlight(4), duebus.WithConcurrency(2))
	next(t, bus.streams).deliver("a", "b", "c", "d")
	next(t, holding.begun)
	next(t, holding.begun)
	no(t, holding.begun)
	holding.finish <- nil
	next(t, holding.begun)
	no(t, holding.begun)
	for range 3 {
		holding.finish <- nil
	}
	next(t, holding.begun)
}

func TestAcksThatAccumulateDuringACallGoIntoTheNext(t *testing.T) {
	bus := newFakeBus(t)
	release := make(chan struct{})
	bus.ack = func() (*duebusv1.AckResponse, error) { <-release; return &duebusv1.AckResponse{}, nil }
	var handled atomic.Int32
	all := make(chan struct{})
	work(t, bus.address, func(context.Context, *duebus.Delivery) error {
		if handled.Add(1) == 51 {
			close(all)
		}
		return nil
	}, duebus.WithMaxInFlight(100))
	stream := next(t, bus.streams)
	stream.deliver("first")
	next(t, bus.acks)
	ids := make([]string, 50)
	for i := range ids {
		ids[i] = fmt.Sprint(i)
	}
	stream.deliver(ids...)
	next(t, all)
	close(release)
	calls, acked := 0, 0
	for acked < 50 {
		acked += len(next(t, bus.acks).LeaseTokens)
		calls++
	}
	if calls > 2 { // the last handlers may return when the first call is over
		t.Errorf("%d calls", calls)
	}
}

func TestSettlesExtensionsAndHeldTokensFitIntoTheLargestRequest(t *testing.T) {
	bus := newFakeBus(t)
	bus.started.MaxRequestBytes = 64 << 10
	bus.started.Lease = durationpb.New(time.Second)
	release := make(chan struct{})
	work(t, bus.address, func(context.Context, *duebus.Delivery) error {
		<-release
		return errors.New(strings.Repeat("x", 4096))
	}, duebus.WithMaxInFlight(1000), duebus.WithConcurrency(50))
	stream := next(t, bus.streams)
	ids := make([]string, 1000)
	for i := range ids {
		ids[i] = fmt.Sprintf("%0100d", i)
	}
	stream.deliver(ids...)

	fits := func(message proto.Message) {
		if size := proto.Size(message); size > 64<<10 {
			t.Errorf("a %T of %d bytes", message, size)
		}
	}
	for extended := 0; extended < len(ids); {
		request := next(t, bus.extends)
		fits(request)
		extended += len(request.LeaseTokens)
	}
	stream.end <- status.Error(codes.Unavailable, "broken")
	held := next(t, bus.streams).request
	if fits(held); len(held.HeldLeaseTokens) < 100 {
		t.Errorf("only %d leases were named", len(held.HeldLeaseTokens))
	}
	close(release)
	for nacked := 0; nacked < 50; {
		request := next(t, bus.nacks)
		fits(request)
		nacked += len(request.Nacks)
	}
}

func TestSettlesAreRetriedUntilTheySucceed(t *testing.T) {
	bus := newFakeBus(t)
	stopped := &duebusv1.AckResponse{Failures: []*duebusv1.LeaseFailure{
		{LeaseToken: "lease-a", Reason: duebus.LeaseEngineStopped},
	}}
	answers := []func() (*duebusv1.AckResponse, error){
		func() (*duebusv1.AckResponse, error) { return nil, status.Error(codes.Unavailable, "away") },
		func() (*duebusv1.AckResponse, error) { return stopped, nil },
		func() (*duebusv1.AckResponse, error) { return &duebusv1.AckResponse{}, nil },
	}
	var calls atomic.Int32
	bus.ack = func() (*duebusv1.AckResponse, error) { return answers[calls.Add(1)-1]() }
	w := work(t, bus.address, acking)
	next(t, bus.streams).deliver("a")
	for range answers {
		if tokens := next(t, bus.acks).LeaseTokens; len(tokens) != 1 || tokens[0] != "lease-a" {
			t.Errorf("acked %v", tokens)
		}
	}
	w.stop()
	next(t, w.ended)
	no(t, bus.acks)
}

func TestUnusableWorkersAreRefused(t *testing.T) {
	client := newClient(t, unusedAddress(t))
	for field, option := range map[string]duebus.WorkerOption{
		"max_in_flight": duebus.WithMaxInFlight(0),
		"concurrency":   duebus.WithConcurrency(0),
		"lease":         duebus.WithLease(time.Millisecond),
		"max_execution": duebus.WithMaxExecution(0),
		"drain_timeout": duebus.WithDrainTimeout(-1),
		"group":         duebus.WithGroup("\xff"),
	} {
		worker := duebus.NewWorker(client, option)
		worker.Handle("t", acking)
		var typed *duebus.Error
		if err := worker.Run(t.Context()); !errors.As(err, &typed) || typed.FieldViolations[0].Field != field {
			t.Errorf("%s: got %v", field, err)
		}
		if err := worker.Run(t.Context()); !errors.Is(err, duebus.ErrInvalidArgument) {
			t.Errorf("again: got %v", err)
		}
	}
	if err := duebus.NewWorker(client).Run(t.Context()); !errors.Is(err, duebus.ErrInvalidArgument) {
		t.Errorf("no handler: got %v", err)
	}
}

func TestAPauseOfAKeyThatCanNotBePausedIsARetry(t *testing.T) {
	bus := newFakeBus(t)
	noKey := &duebusv1.LeaseFailure{LeaseToken: "lease-a", Reason: duebus.LeaseNoKey}
	bus.nack = func() (*duebusv1.NackResponse, error) {
		return &duebusv1.NackResponse{Failures: []*duebusv1.LeaseFailure{noKey}}, nil
	}
	work(t, bus.address, func(context.Context, *duebus.Delivery) error {
		return duebus.RateLimited(time.Minute, duebus.PauseKey, errors.New("too many requests"))
	})
	next(t, bus.streams).deliver("a")
	if paused := next(t, bus.nacks).Nacks[0]; paused.Pause.GetDuration().AsDuration() != time.Minute {
		t.Errorf("got %v", paused)
	}
	want := &duebusv1.Nack{
		LeaseToken: "lease-a", Error: "too many requests",
		Action: &duebusv1.Nack_Delay{Delay: durationpb.New(time.Minute)},
	}
	if retried := next(t, bus.nacks).Nacks[0]; !proto.Equal(retried, want) {
		t.Errorf("got %v", retried)
	}
	no(t, bus.nacks)
}
