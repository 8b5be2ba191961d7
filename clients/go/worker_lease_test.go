package duebus_test

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	duebus "github.com/duebus/duebus/clients/go"
	"github.com/duebus/duebus/clients/go/duebusv1"
)

// losing answers extensions: the lease with this token has run out, the others are renewed.
func losing(token string) func(*duebusv1.ExtendRequest) (*duebusv1.ExtendResponse, error) {
	return func(r *duebusv1.ExtendRequest) (*duebusv1.ExtendResponse, error) {
		answer := &duebusv1.ExtendResponse{}
		if slices.Contains(r.LeaseTokens, token) {
			answer.Failures = []*duebusv1.LeaseFailure{{LeaseToken: token, Reason: duebus.LeaseExpired}}
		}
		return answer, nil
	}
}

// endsWithoutSettling stops a worker that has settled nothing, or nothing more.
func endsWithoutSettling(t *testing.T, w *running, bus *fakeBus) {
	t.Helper()
	w.stop()
	next(t, w.ended)
	no(t, bus.acks)
	no(t, bus.nacks)
}

func TestLeasesAreExtendedWhileAHandlerRuns(t *testing.T) {
	bus := newFakeBus(t)
	bus.started.Lease = durationpb.New(600 * time.Millisecond)
	holding := newHolding()
	work(t, bus.address, holding.handle, duebus.WithConcurrency(1))
	next(t, bus.streams).deliver("a", "waits")
	next(t, holding.begun)
	for range 3 {
		extended := next(t, bus.extends)
		if len(extended.LeaseTokens) != 2 || extended.Lease.AsDuration() != 600*time.Millisecond {
			t.Errorf("extended %v", extended)
		}
	}
}

func TestAHandlerWhoseLeaseIsLostIsCancelledAndSettlesNothing(t *testing.T) {
	bus := newFakeBus(t)
	bus.started.Lease = durationpb.New(600 * time.Millisecond)
	bus.extend = losing("lease-a")
	holding := newHolding()
	w := work(t, bus.address, holding.handle)
	next(t, bus.streams).deliver("a")
	next(t, holding.begun)
	if cause := next(t, holding.cancelled); !errors.Is(cause, duebus.ErrLeaseLost) {
		t.Errorf("cancelled by %v", cause)
	}
	endsWithoutSettling(t, w, bus)
}

func TestADeliveryWhoseLeaseHasRunOutIsNotStarted(t *testing.T) {
	bus := newFakeBus(t)
	bus.extend = losing("lease-stale")
	w := work(t, bus.address, acking)
	stream := next(t, bus.streams)

	// The worker was frozen while these came.
	stream.deliverUntil(time.Now().Add(-time.Second), "stale")
	stream.deliver("fresh")

	if acked := next(t, bus.acks).LeaseTokens; len(acked) != 1 || acked[0] != "lease-fresh" {
		t.Errorf("acked %v", acked)
	}
	endsWithoutSettling(t, w, bus)
}

func TestADeliveryThatWaitedUntilItsLeaseRanOutIsNotStarted(t *testing.T) {
	bus := newFakeBus(t)
	bus.extend = losing("lease-waits")
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
		t.Errorf("the server was asked %d times; the first answer shows how the clocks differ", extends)
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
	}, duebus.WithMaxExecution(300*time.Millisecond), duebus.WithMaxInFlight(2), duebus.WithConcurrency(1))
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
