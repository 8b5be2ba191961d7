package duebus_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
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

// work runs a worker with one handler; it is stopped at the end of the test at the latest.
func work(t *testing.T, target string, handler duebus.Handler, options ...duebus.WorkerOption) *running {
	t.Helper()
	worker := duebus.NewWorker(newClient(t, target), options...)
	worker.Handle("order.created", handler)
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
	if err := delivery.JSON(&payload); err != nil || payload.ID != 42 || delivery.EventID != "a" || delivery.Attempt != 1 {
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
	bus.started.Lease = durationpb.New(150 * time.Millisecond)
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

func TestLeasesAreExtendedWhileAHandlerRuns(t *testing.T) {
	bus := newFakeBus(t)
	bus.started.Lease = durationpb.New(150 * time.Millisecond)
	holding := newHolding()
	work(t, bus.address, holding.handle, duebus.WithConcurrency(1))
	next(t, bus.streams).deliver("a", "waits")
	next(t, holding.begun)
	for range 3 {
		extended := next(t, bus.extends)
		if len(extended.LeaseTokens) != 2 || extended.Lease.AsDuration() != 150*time.Millisecond {
			t.Errorf("extended %v", extended)
		}
	}
}

func TestAHandlerWhoseLeaseIsLostIsCancelledAndSettlesNothing(t *testing.T) {
	bus := newFakeBus(t)
	bus.started.Lease = durationpb.New(150 * time.Millisecond)
	bus.extend = func(r *duebusv1.ExtendRequest) (*duebusv1.ExtendResponse, error) {
		lost := &duebusv1.LeaseFailure{LeaseToken: r.LeaseTokens[0], Reason: duebus.LeaseExpired}
		return &duebusv1.ExtendResponse{Failures: []*duebusv1.LeaseFailure{lost}}, nil
	}
	holding := newHolding()
	w := work(t, bus.address, holding.handle)
	next(t, bus.streams).deliver("a")
	next(t, holding.begun)
	if cause := next(t, holding.cancelled); !errors.Is(cause, duebus.ErrLeaseLost) {
		t.Errorf("cancelled by %v", cause)
	}
	w.stop()
	next(t, w.ended)
	no(t, bus.acks)
	no(t, bus.nacks)
}

func TestADeliveryWhoseLeaseHasRunOutIsNotStarted(t *testing.T) {
	bus := newFakeBus(t)
	bus.extend = func(r *duebusv1.ExtendRequest) (*duebusv1.ExtendResponse, error) {
		answer := &duebusv1.ExtendResponse{}
		if slices.Contains(r.LeaseTokens, "lease-stale") {
			lost := &duebusv1.LeaseFailure{LeaseToken: "lease-stale", Reason: duebus.LeaseExpired}
			answer.Failures = append(answer.Failures, lost)
		}
		return answer, nil
	}
	w := work(t, bus.address, acking)
	stream := next(t, bus.streams)

	// The worker was frozen while these came.
	stream.deliverUntil(time.Now().Add(-time.Second), "stale")
	stream.deliver("fresh")

	if acked := next(t, bus.acks).LeaseTokens; len(acked) != 1 || acked[0] != "lease-fresh" {
		t.Errorf("acked %v", acked)
	}
	w.stop()
	next(t, w.ended)
	no(t, bus.acks)
	no(t, bus.nacks)
}

func TestADeliveryThatWaitedUntilItsLeaseRanOutIsNotStarted(t *testing.T) {
	bus := newFakeBus(t)
	bus.extend = func(*duebusv1.ExtendRequest) (*duebusv1.ExtendResponse, error) {
		lost := &duebusv1.LeaseFailure{LeaseToken: "lease-waits", Reason: duebus.LeaseExpired}
		return &duebusv1.ExtendResponse{Failures: []*duebusv1.LeaseFailure{lost}}, nil
	}
	holding := newHolding()
	work(t, bus.address, holding.handle, duebus.WithConcurrency(1))
	stream := next(t, bus.streams)
	stream.deliver("first")
	next(t, holding.begun)
	stream.deliverUntil(time.Now(), "waits")
	stream.deliver("last")
	holding.finish <- nil
	if begun := next(t, holding.begun); begun != "last" {
		t.Errorf("began %v", begun)
	}
}

func TestDifferingClocksDoNotKeepDeliveriesFromStarting(t *testing.T) {
	bus := newFakeBus(t)
	w := work(t, bus.address, acking)
	stream := next(t, bus.streams)
	engine := time.Now().Add(-time.Hour) // this host's clock is an hour ahead
	for _, id := range []string{"a", "b", "c"} {
		stream.deliverUntil(engine.Add(30*time.Second), id)
		if acked := next(t, bus.acks).LeaseTokens; acked[0] != "lease-"+id {
			t.Errorf("acked %v", acked)
		}
	}
	w.stop()
	next(t, w.ended)
	if extends := len(bus.extends); extends != 1 {
		t.Errorf("the server was asked %d times; the first answer tells how the clocks differ", extends)
	}
}

func TestReadyEndsIfTheWorkerCanNotSubscribe(t *testing.T) {
	bus := newFakeBus(t)
	bus.started = nil
	w := work(t, bus.address, acking)
	next(t, bus.streams).end <- refusal(codes.PermissionDenied, "PERMISSION_DENIED")
	next(t, w.worker.Ready())
	if err := next(t, w.ended); !errors.Is(err, duebus.ErrPermissionDenied) {
		t.Error(err)
	}
}

func TestReadyEndsWhenRunFailsWhileAHandlerStillRuns(t *testing.T) {
	bus := newFakeBus(t)
	holding := newHolding()
	worker := duebus.NewWorker(newClient(t, bus.address), duebus.WithDrainTimeout(time.Hour))
	worker.Handle("order.created", holding.handle)
	bus.started = nil
	worker.Handle("order.paid", acking)
	ended := make(chan error, 1)
	go func() { ended <- worker.Run(t.Context()) }()
	streams := map[string]*fakeStream{}
	for range 2 {
		stream := next(t, bus.streams)
		streams[stream.request.Topic] = stream
	}
	streams["order.created"].deliver("a")
	next(t, holding.begun)
	streams["order.paid"].end <- refusal(codes.PermissionDenied, "PERMISSION_DENIED")
	next(t, worker.Ready())
	holding.finish <- nil
	if err := next(t, ended); !errors.Is(err, duebus.ErrPermissionDenied) {
		t.Error(err)
	}
}

func TestAHandlerThatRunsTooLongIsCancelledAndItsEventNacked(t *testing.T) {
	bus := newFakeBus(t)
	holding := newHolding()
	work(t, bus.address, holding.handle, duebus.WithMaxExecution(50*time.Millisecond))
	next(t, bus.streams).deliver("a")
	next(t, holding.begun)
	if cause := next(t, holding.cancelled); !errors.Is(cause, duebus.ErrMaxExecution) {
		t.Errorf("cancelled by %v", cause)
	}
	if nack := next(t, bus.nacks).Nacks[0]; nack.Error != "cancelled: the handler ran for longer than 50ms" || nack.Action != nil {
		t.Errorf("nacked %v", nack)
	}
	no(t, bus.acks)
}

func TestHandlersThatIgnoreCancellationDoNotHoldTheirEvents(t *testing.T) {
	bus := newFakeBus(t)
	begun, release := make(chan string, 10), make(chan struct{})
	w := work(t, bus.address, func(_ context.Context, d *duebus.Delivery) error {
		begun <- d.EventID
		<-release
		return nil
	}, duebus.WithMaxExecution(20*time.Millisecond), duebus.WithMaxInFlight(2), duebus.WithConcurrency(1))
	stream := next(t, bus.streams)
	stream.deliver("stuck", "waits")

	// The event is nacked, what waits is released, and the worker unsubscribes while it can handle nothing.
	for settled := map[string]bool{}; len(settled) < 2; {
		for _, nack := range next(t, bus.nacks).Nacks {
			settled[nack.LeaseToken] = true
			if nack.GetRelease() != (nack.LeaseToken == "lease-waits") {
				t.Errorf("nacked %v", nack)
			}
		}
	}
	next(t, stream.gone)
	no(t, bus.streams)

	// It comes back when the handler returns.
	close(release)
	next(t, bus.streams).deliver("later")
	if first, second := next(t, begun), next(t, begun); first != "stuck" || second != "later" {
		t.Errorf("began %v, %v", first, second)
	}
	if acked := next(t, bus.acks).LeaseTokens; acked[0] != "lease-later" {
		t.Errorf("acked %v", acked)
	}
	w.stop()
	if err := next(t, w.ended); err != nil {
		t.Error(err)
	}
}

func TestABrokenStreamIsResumedWithTheLeasesStillHeld(t *testing.T) {
	bus := newFakeBus(t)
	holding := newHolding()
	work(t, bus.address, holding.handle)
	first := next(t, bus.streams)
	first.deliver("a", "b")
	next(t, holding.begun)
	next(t, holding.begun)
	bus.set(func() { bus.started.LostLeaseTokens = []string{"lease-b"} })
	first.end <- status.Error(codes.Unavailable, "broken")

	if held := next(t, bus.streams).request.HeldLeaseTokens; len(held) != 2 {
		t.Errorf("held %v", held)
	}
	if cause := next(t, holding.cancelled); !errors.Is(cause, duebus.ErrLeaseLost) {
		t.Errorf("cancelled by %v", cause)
	}
	holding.finish <- nil
	if acked := next(t, bus.acks).LeaseTokens; len(acked) != 1 || acked[0] != "lease-a" {
		t.Errorf("acked %v", acked)
	}
}

func TestWhileNoStreamIsOpenLeasesAreExtendedWithinTheGrace(t *testing.T) {
	bus := newFakeBus(t)
	bus.started.DisconnectGrace = durationpb.New(150 * time.Millisecond)
	holding := newHolding()
	work(t, bus.address, holding.handle)
	stream := next(t, bus.streams)
	stream.deliver("a")
	next(t, holding.begun)
	no(t, bus.extends)
	stream.close(time.Hour)
	next(t, bus.extends)
	next(t, bus.extends)
}

func TestAClosedStreamIsReopenedAfterTheServersDelay(t *testing.T) {
	bus := newFakeBus(t)
	work(t, bus.address, acking)
	stream := next(t, bus.streams)
	closed := time.Now()
	stream.close(300 * time.Millisecond)
	next(t, bus.streams)
	if waited := time.Since(closed); waited < 300*time.Millisecond {
		t.Errorf("came back after %v", waited)
	}
}

func TestAnOutageIsLoggedOnce(t *testing.T) {
	bus := newFakeBus(t)
	bus.started = nil
	var lines lockedBuffer
	logger := slog.New(slog.NewTextHandler(&lines, nil))
	worker := duebus.NewWorker(newClient(t, bus.address, duebus.WithLogger(logger)))
	worker.Handle("order.created", acking)
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- worker.Run(ctx) }()
	for range 4 {
		next(t, bus.streams).end <- status.Error(codes.Unavailable, "away")
	}
	stop()
	next(t, ended)
	if count := strings.Count(lines.String(), "level=WARN"); count != 1 {
		t.Errorf("%d warnings:\n%s", count, lines.String())
	}
}

func TestAStoppedEngineIsLoggedOnce(t *testing.T) {
	bus := newFakeBus(t)
	stopped := &duebusv1.AckResponse{Failures: []*duebusv1.LeaseFailure{
		{LeaseToken: "lease-a", Reason: duebus.LeaseEngineStopped},
	}}
	bus.ack = func() (*duebusv1.AckResponse, error) { return stopped, nil }
	var lines lockedBuffer
	logger := slog.New(slog.NewTextHandler(&lines, nil))
	worker := duebus.NewWorker(newClient(t, bus.address, duebus.WithLogger(logger)))
	worker.Handle("order.created", acking)
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- worker.Run(ctx) }()
	next(t, bus.streams).deliver("a")
	for range 3 {
		next(t, bus.acks)
	}
	bus.set(func() { bus.ack = func() (*duebusv1.AckResponse, error) { return &duebusv1.AckResponse{}, nil } })
	stop()
	next(t, ended)
	if count := strings.Count(lines.String(), "level=WARN"); count != 1 {
		t.Errorf("%d warnings:\n%s", count, lines.String())
	}
}

// lockedBuffer is a buffer for many goroutines.
type lockedBuffer struct {
	mu     sync.Mutex
	buffer bytes.Buffer
}

func (b *lockedBuffer) Write(line []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buffer.Write(line)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buffer.String()
}

func TestATemporaryErrorDoesNotEndTheWorker(t *testing.T) {
	bus := newFakeBus(t)
	work(t, bus.address, acking)
	later := &errdetails.RetryInfo{RetryDelay: durationpb.New(200 * time.Millisecond)}
	refused := time.Now()
	next(t, bus.streams).end <- refusal(codes.Unavailable, "DISPATCHER_NOT_WORKING", later)
	next(t, bus.streams)
	if waited := time.Since(refused); waited < 200*time.Millisecond {
		t.Errorf("came back after %v", waited)
	}
}

func TestAnotherReplicaTakesOver(t *testing.T) {
	one, other := newFakeBus(t), newFakeBus(t)
	holding := newHolding()
	work(t, one.address+","+other.address, holding.handle)
	used, left := one, other
	var stream *fakeStream
	select {
	case stream = <-one.streams:
	case stream = <-other.streams:
		used, left = other, one
	case <-time.After(waitTimeout):
		t.Fatal("not subscribed")
	}
	stream.deliver("a")
	next(t, holding.begun)
	used.server.Stop()
	if held := next(t, left.streams).request.HeldLeaseTokens; len(held) != 1 || held[0] != "lease-a" {
		t.Errorf("held %v", held)
	}
	holding.finish <- nil
	next(t, left.acks)
}

func TestAStreamThatDoesNotStartIsRetried(t *testing.T) {
	bus := newFakeBus(t)
	bus.started = nil
	worker := duebus.NewWorker(newClient(t, bus.address, duebus.WithTimeout(50*time.Millisecond)))
	worker.Handle("order.created", acking)
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- worker.Run(ctx) }()
	next(t, bus.streams)
	next(t, bus.streams)
	no(t, worker.Ready())
	stop()
	if err := next(t, ended); err != nil {
		t.Error(err)
	}
}

func TestAStopFinishesRunningHandlersAndReleasesTheRest(t *testing.T) {
	bus := newFakeBus(t)
	holding := newHolding()
	w := work(t, bus.address, holding.handle, duebus.WithConcurrency(1))
	stream := next(t, bus.streams)
	stream.deliver("begun", "waits")
	next(t, holding.begun)
	w.stop()
	nack := next(t, bus.nacks).Nacks[0]
	if nack.LeaseToken != "lease-waits" || !nack.GetRelease() {
		t.Errorf("nacked %v", nack)
	}
	next(t, stream.gone)
	no(t, w.ended)
	holding.finish <- nil
	if acked := next(t, bus.acks).LeaseTokens; acked[0] != "lease-begun" {
		t.Errorf("acked %v", acked)
	}
	if err := next(t, w.ended); err != nil {
		t.Error(err)
	}
	no(t, holding.begun)
}

func TestAStopReleasesAFrameInFlight(t *testing.T) {
	bus := newFakeBus(t)
	holding := newHolding()
	w := work(t, bus.address, holding.handle)
	stream := next(t, bus.streams)
	next(t, w.worker.Ready())
	w.stop()
	stream.deliver("late")
	if nack := next(t, bus.nacks).Nacks[0]; nack.LeaseToken != "lease-late" || !nack.GetRelease() {
		t.Errorf("nacked %v", nack)
	}
	if err := next(t, w.ended); err != nil {
		t.Error(err)
	}
	no(t, holding.begun)
}

func TestAStopWaitsAtMostItsTimeout(t *testing.T) {
	bus := newFakeBus(t)
	holding := newHolding()
	w := work(t, bus.address, holding.handle, duebus.WithDrainTimeout(50*time.Millisecond))
	next(t, bus.streams).deliver("a")
	next(t, holding.begun)
	w.stop()
	if cause := next(t, holding.cancelled); !errors.Is(cause, duebus.ErrStopped) {
		t.Errorf("cancelled by %v", cause)
	}
	if nack := next(t, bus.nacks).Nacks[0]; !nack.GetRelease() {
		t.Errorf("nacked %v", nack)
	}
	if err := next(t, w.ended); err != nil {
		t.Error(err)
	}
}

func TestAWorkerStopsWhileTheServerIsUnreachable(t *testing.T) {
	w := work(t, unusedAddress(t), acking)
	w.stop()
	if err := next(t, w.ended); err != nil {
		t.Error(err)
	}
}

func TestAnErrorThatNoRetryCanCureEndsTheWorker(t *testing.T) {
	for name, refused := range map[duebus.Reason]error{
		duebus.ErrUnauthenticated:       status.Error(codes.Unauthenticated, "who are you?"),
		duebus.ErrNoDispatcherSpecified: refusal(codes.FailedPrecondition, "NO_DISPATCHER_SPECIFIED"),
		duebus.ErrInvalidArgument:       refusal(codes.InvalidArgument, "INVALID_ARGUMENT"),
	} {
		bus := newFakeBus(t)
		holding := newHolding()
		w := work(t, bus.address, holding.handle)
		stream := next(t, bus.streams)
		stream.deliver("a")
		next(t, holding.begun)
		stream.end <- refused
		holding.finish <- nil
		next(t, bus.acks) // what has begun is finished
		if err := next(t, w.ended); !errors.Is(err, name) {
			t.Errorf("%v: ended with %v", name, err)
		}
	}
}

func TestAPermanentlyRefusedSettleEndsTheWorker(t *testing.T) {
	bus := newFakeBus(t)
	bus.ack = func() (*duebusv1.AckResponse, error) { return nil, status.Error(codes.PermissionDenied, "no") }
	w := work(t, bus.address, acking)
	next(t, bus.streams).deliver("a")
	if err := next(t, w.ended); !errors.Is(err, duebus.ErrPermissionDenied) {
		t.Errorf("ended with %v", err)
	}
}

func TestClosingAClientEndsItsWorkers(t *testing.T) {
	bus := newFakeBus(t)
	client := newClient(t, bus.address)
	worker := duebus.NewWorker(client)
	worker.Handle("order.created", acking)
	ended := make(chan error, 1)
	go func() { ended <- worker.Run(context.Background()) }()
	next(t, bus.streams)
	_ = client.Close()
	if err := next(t, ended); !errors.Is(err, duebus.ErrClientClosed) {
		t.Errorf("ended with %v", err)
	}
}

func TestOneFailedSubscriptionEndsTheWorker(t *testing.T) {
	bus := newFakeBus(t)
	worker := duebus.NewWorker(newClient(t, bus.address), duebus.WithGroup("billing"))
	worker.Handle("order.created", acking)
	worker.Handle("order.paid", acking, duebus.WithGroup("shipping"))
	ended := make(chan error, 1)
	go func() { ended <- worker.Run(context.Background()) }()
	streams := map[string]*fakeStream{}
	for range 2 {
		stream := next(t, bus.streams)
		streams[stream.request.Topic+"/"+stream.request.Group] = stream
	}
	next(t, worker.Ready())
	streams["order.paid/shipping"].end <- refusal(codes.FailedPrecondition, "NO_DISPATCHER_SPECIFIED")
	next(t, streams["order.created/billing"].gone)
	if err := next(t, ended); !errors.Is(err, duebus.ErrNoDispatcherSpecified) {
		t.Errorf("ended with %v", err)
	}
}

func TestUnusableWorkersAreRefused(t *testing.T) {
	client := newClient(t, unusedAddress(t))
	for field, option := range map[string]duebus.WorkerOption{
		"max_in_flight": duebus.WithMaxInFlight(0),
		"concurrency":   duebus.WithConcurrency(-1),
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

func TestAWorkerWithADeadlineWaitsBetweenTries(t *testing.T) {
	bus := newFakeBus(t)
	worker := duebus.NewWorker(newClient(t, bus.address))
	worker.Handle("order.created", acking)
	ctx, stop := context.WithTimeout(t.Context(), 500*time.Millisecond)
	defer stop()
	ended := make(chan error, 1)
	go func() { ended <- worker.Run(ctx) }()
	next(t, bus.streams).close(time.Hour)
	if err := next(t, ended); err != nil {
		t.Error(err)
	}
	no(t, bus.streams)
}
