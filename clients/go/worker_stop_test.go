package duebus_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	duebus "github.com/duebus/duebus/clients/go"
	"github.com/duebus/duebus/clients/go/duebusv1"
)

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
	w := workWith(t, client, acking)
	next(t, bus.streams)
	_ = client.Close()
	if err := next(t, w.ended); !errors.Is(err, duebus.ErrClientClosed) {
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
