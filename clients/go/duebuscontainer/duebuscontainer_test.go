//go:build image

// `make image-test` runs it: it needs a Docker engine, and the image that DUEBUS_IMAGE names.

package duebuscontainer_test

import (
	"context"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/testcontainers/testcontainers-go"

	duebus "github.com/duebus/duebus/clients/go"
	"github.com/duebus/duebus/clients/go/duebuscontainer"
	"github.com/duebus/duebus/clients/go/duebustest"
)

func TestAnOrderThatIsNotPaidIsCancelled(t *testing.T) {
	container, err := duebuscontainer.Run(t.Context(), os.Getenv("DUEBUS_IMAGE"))
	testcontainers.CleanupContainer(t, container)
	if err != nil {
		t.Fatal(err)
	}
	bus := duebustest.Connect(t, container.Address)
	cancelled := make(chan string, 10)
	worker := duebus.NewWorker(bus.Client)
	worker.Handle("order.check", func(_ context.Context, d *duebus.Delivery) error {
		cancelled <- d.EventID
		return nil
	})
	bus.Run(worker)

	unpaid := duebus.Event{ID: "order-42", Delay: 30 * time.Minute}
	if _, err := bus.Client.Dispatch(t.Context(), "order.check", unpaid); err != nil {
		t.Fatal(err)
	}
	bus.Advance(29 * time.Minute)
	bus.Settle()
	if len(cancelled) != 0 {
		t.Error("it was cancelled too early")
	}
	bus.Advance(time.Minute)
	bus.Settle()
	if len(cancelled) != 1 {
		t.Error("it was not cancelled")
	}
}

func TestAnImageThatDoesNotExistIsAnError(t *testing.T) {
	container, err := duebuscontainer.Run(t.Context(), "localhost:1/duebus:none")
	testcontainers.CleanupContainer(t, container)
	if err == nil {
		t.Error("it has started")
	}
}

func TestTheErrorOfAContainerThatEndsHasWhatItPrinted(t *testing.T) {
	wrong := testcontainers.WithEnv(map[string]string{"DUEBUS_MAX_QUEUED": "lots"})
	container, err := duebuscontainer.Run(t.Context(), os.Getenv("DUEBUS_IMAGE"), wrong)
	testcontainers.CleanupContainer(t, container)
	if err == nil || !strings.Contains(err.Error(), "max_queued: 'lots' is not a whole number") {
		t.Error(err)
	}
}
