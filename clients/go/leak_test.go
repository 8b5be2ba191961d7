package duebus_test

import (
	"context"
	"os"
	"runtime"
	"runtime/pprof"
	"testing"
	"time"

	duebus "github.com/duebus/duebus/clients/go"
)

func TestAHundredClientsAndWorkersLeaveNoGoroutineBehind(t *testing.T) {
	bus := newFakeBus(t)
	openAndClose(t, bus) // what the first one starts for all, such as the server's own goroutines, stays
	before := runtime.NumGoroutine()
	for range 100 {
		openAndClose(t, bus)
	}
	// A goroutine that has been told to end sends no signal when it has.
	deadline := time.Now().Add(waitTimeout)
	for runtime.NumGoroutine() > before && time.Now().Before(deadline) {
		time.Sleep(10 * time.Millisecond)
	}
	if left := runtime.NumGoroutine(); left > before {
		_ = pprof.Lookup("goroutine").WriteTo(os.Stderr, 1)
		t.Errorf("%d goroutines at the end, %d at the beginning", left, before)
	}
}

// openAndClose has a client and its worker handle an event each, and ends both.
func openAndClose(t *testing.T, bus *fakeBus) {
	t.Helper()
	client := newClient(t, bus.address)
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	worker := duebus.NewWorker(client)
	worker.Handle("order.created", acking)
	ended := make(chan error, 1)
	go func() { ended <- worker.Run(ctx) }()
	stream := next(t, bus.streams)
	if _, err := client.Dispatch(ctx, "order.created", duebus.Event{}); err != nil {
		t.Fatal(err)
	}
	stream.deliver("1")
	next(t, bus.acks)
	stop()
	if err := next(t, ended); err != nil {
		t.Fatal(err)
	}
	if err := client.Close(); err != nil {
		t.Fatal(err)
	}
	next(t, stream.gone)
}
