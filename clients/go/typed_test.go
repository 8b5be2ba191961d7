package duebus_test

import (
	"context"
	"strings"
	"testing"

	duebus "github.com/duebus/duebus/clients/go"
)

// workTyped runs a worker whose handler takes a T, and returns what the handler gets. The fake bus delivers {"id":42}.
func workTyped[T any](t *testing.T, bus *fakeBus) <-chan T {
	t.Helper()
	got := make(chan T, 1)
	worker := duebus.NewWorker(newClient(t, bus.address), duebus.WithGroup("default"))
	duebus.Handle(worker, "order.created", func(_ context.Context, payload T, delivery *duebus.Delivery) error {
		if delivery.EventID != "a" {
			t.Errorf("got %v", delivery)
		}
		got <- payload
		return nil
	}, duebus.WithGroup("billing"))
	start(t, worker)
	stream := next(t, bus.streams)
	if stream.request.Group != "billing" {
		t.Errorf("subscribed with %v", stream.request)
	}
	stream.deliver("a")
	return got
}

func TestATypedHandlerGetsTheDecodedPayload(t *testing.T) {
	bus := newFakeBus(t)
	if order := next(t, workTyped[struct{ ID int }](t, bus)); order.ID != 42 {
		t.Errorf("got %v", order)
	}
	if tokens := next(t, bus.acks).LeaseTokens; tokens[0] != "lease-a" {
		t.Errorf("acked %v", tokens)
	}
}

func TestAPayloadThatDoesNotFitATypedHandlerIsADeadLetter(t *testing.T) {
	bus := newFakeBus(t)
	got := workTyped[struct{ ID string }](t, bus)
	nack := next(t, bus.nacks).Nacks[0]
	if !nack.GetDeadLetter() || !strings.HasPrefix(nack.Error, "the payload does not fit struct { ID string }: ") {
		t.Errorf("got %v", nack)
	}
	no(t, got)
	no(t, bus.acks)
}

func TestATypedHandlerIsRequired(t *testing.T) {
	worker := duebus.NewWorker(newClient(t, newFakeBus(t).address))
	duebus.Handle[int](worker, "order.created", nil)
	if err := worker.Run(t.Context()); err == nil || !strings.Contains(err.Error(), "handler: is nil") {
		t.Errorf("got %v", err)
	}
}
