package duebus_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"

	duebus "github.com/duebus/duebus/clients/go"
	"github.com/duebus/duebus/clients/go/duebusv1"
)

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

func TestAWorkerOfALimitedGroupPrefetchesNothing(t *testing.T) {
	bus := newFakeBus(t)
	bus.started.Limited = true
	holding := newHolding()
	work(t, bus.address, holding.handle, duebus.WithMaxInFlight(8), duebus.WithConcurrency(2))
	first := next(t, bus.streams)
	first.deliver("a", "b", "c")
	second := next(t, bus.streams)
	if first.request.MaxInFlight != 8 || second.request.MaxInFlight != 2 {
		t.Errorf("asked for %d, then for %d", first.request.MaxInFlight, second.request.MaxInFlight)
	}
	if held := second.request.HeldLeaseTokens; len(held) != 3 {
		t.Errorf("held %v", held)
	}
	for range 3 {
		holding.finish <- nil
	}
	for acked := 0; acked < 3; {
		acked += len(next(t, bus.acks).LeaseTokens)
	}
	no(t, bus.streams)
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

func TestStreamsThatAreRebalancedGoInTurnToAllServersAtOnce(t *testing.T) {
	one, other := newFakeBus(t), newFakeBus(t)
	lines := &lockedBuffer{}
	logger := slog.New(slog.NewTextHandler(lines, nil))
	client := newClient(t, one.address+","+other.address, duebus.WithLogger(logger))
	holding := newHolding()
	w := workWith(t, client, holding.handle)
	opened := func() (stream *fakeStream, onOne int) {
		t.Helper()
		select {
		case stream = <-one.streams:
			return stream, 1
		case stream = <-other.streams:
			return stream, 0
		case <-time.After(waitTimeout):
			t.Fatal("not subscribed")
			return nil, 0
		}
	}
	stream, onOne := opened()
	stream.deliver("a")
	next(t, holding.begun)

	// Both are connected once each has had a call.
	for begun, called := time.Now(), map[*fakeBus]bool{}; len(called) < 2; {
		if _, err := client.Dispatch(t.Context(), "t", duebus.Event{}); err != nil || time.Since(begun) > waitTimeout {
			t.Fatalf("%d of two servers were called: %v", len(called), err)
		}
		select {
		case <-one.dispatches:
			called[one] = true
		case <-other.dispatches:
			called[other] = true
		}
	}
	const rounds = 20
	for range rounds {
		// A worker that paused as after any other closing would not come within the test's time.
		stream.closeFor(duebusv1.Closing_REASON_REBALANCE, time.Hour)
		var isOnOne int
		stream, isOnOne = opened()
		onOne += isOnOne
		if held := stream.request.HeldLeaseTokens; len(held) != 1 || held[0] != "lease-a" {
			t.Fatalf("held %v", held)
		}
		if _, err := client.Dispatch(t.Context(), "t", duebus.Event{}); err != nil {
			t.Fatal(err)
		}
	}
	if onOne < rounds/3 || onOne > rounds*2/3 {
		t.Errorf("%d of %d streams were on the first of two servers", onOne, rounds)
	}

	holding.finish <- nil
	w.stop()
	next(t, w.ended)
	if text := lines.String(); strings.Contains(text, "level=WARN") || strings.Contains(text, "level=ERROR") {
		t.Error(text)
	}
}

// workLogged runs a worker, and returns the lines of its log.
func workLogged(t *testing.T, bus *fakeBus) (*running, *lockedBuffer) {
	t.Helper()
	lines := &lockedBuffer{}
	client := newClient(t, bus.address, duebus.WithLogger(slog.New(slog.NewTextHandler(lines, nil))))
	return workWith(t, client, acking), lines
}

func endsAfterOneWarning(t *testing.T, w *running, lines *lockedBuffer) {
	t.Helper()
	w.stop()
	next(t, w.ended)
	if count := strings.Count(lines.String(), "level=WARN"); count != 1 {
		t.Errorf("%d warnings:\n%s", count, lines.String())
	}
}

func TestAnOutageIsLoggedOnce(t *testing.T) {
	bus := newFakeBus(t)
	bus.started = nil
	w, lines := workLogged(t, bus)
	for range 4 {
		next(t, bus.streams).end <- status.Error(codes.Unavailable, "away")
	}
	endsAfterOneWarning(t, w, lines)
}

func TestAnErrorThatNoRetryCanCureIsLoggedAsTheEnd(t *testing.T) {
	bus := newFakeBus(t)
	bus.started = nil
	w, lines := workLogged(t, bus)
	next(t, bus.streams).end <- status.Error(codes.InvalidArgument, "no such topic")
	next(t, w.ended)
	if text := lines.String(); strings.Contains(text, "next_try_in") || strings.Count(text, "level=ERROR") != 1 {
		t.Error(text)
	}
}

func TestAWorkerWithANilLoggerLogsToTheDefault(t *testing.T) {
	bus := newFakeBus(t)
	w := workWith(t, newClient(t, bus.address, duebus.WithLogger(nil)), acking)
	next(t, bus.streams)
	w.stop()
	if err := next(t, w.ended); err != nil {
		t.Error(err)
	}
}

func TestAStoppedEngineIsLoggedOnce(t *testing.T) {
	bus := newFakeBus(t)
	stopped := &duebusv1.AckResponse{Failures: []*duebusv1.LeaseFailure{
		{LeaseToken: "lease-a", Reason: duebus.LeaseEngineStopped},
	}}
	bus.ack = func() (*duebusv1.AckResponse, error) { return stopped, nil }
	w, lines := workLogged(t, bus)
	next(t, bus.streams).deliver("a")
	for range 3 {
		next(t, bus.acks)
	}
	bus.set(func() { bus.ack = func() (*duebusv1.AckResponse, error) { return &duebusv1.AckResponse{}, nil } })
	endsAfterOneWarning(t, w, lines)
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
	w := workWith(t, newClient(t, bus.address, duebus.WithTimeout(50*time.Millisecond)), acking)
	next(t, bus.streams)
	next(t, bus.streams)
	no(t, w.worker.Ready())
	w.stop()
	if err := next(t, w.ended); err != nil {
		t.Error(err)
	}
}

func TestAWorkerWithADeadlineWaitsBetweenTries(t *testing.T) {
	bus := newFakeBus(t)
	worker := duebus.NewWorker(newClient(t, bus.address))
	worker.Handle("order.created", acking)
	ctx, stop := context.WithTimeout(t.Context(), 2*time.Second)
	defer stop()
	ended := make(chan error, 1)
	go func() { ended <- worker.Run(ctx) }()
	next(t, bus.streams).close(time.Hour)
	if err := next(t, ended); err != nil {
		t.Error(err)
	}
	no(t, bus.streams)
}
