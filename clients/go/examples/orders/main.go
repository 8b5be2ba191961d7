// Orders: a service that places orders, and workers that bill and ship them. The service knows neither.
//
//	go run ./examples/orders            places three orders, handles them, and ends
//	go run ./examples/orders place 42   places one order
//	go run ./examples/orders work       handles orders until Ctrl-C
//
// The events are JSON on the topic order.created, so either half may be in another language. The server is the one that
// DUEBUS_SERVER names, 127.0.0.1:50051 by default.
package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"strconv"
	"sync"
	"syscall"
	"time"

	duebus "github.com/duebus/duebus/clients/go"
)

type order struct {
	ID int `json:"id"`
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(ctx context.Context, arguments []string) error {
	bus, err := duebus.NewClient(cmp.Or(os.Getenv("DUEBUS_SERVER"), "127.0.0.1:50051"))
	if err != nil {
		return err
	}
	defer func() { _ = bus.Close() }()
	switch {
	case len(arguments) == 0:
		return demonstrate(ctx, bus)
	case arguments[0] == "work" && len(arguments) == 1:
		return workers(bus, func() {}).Run(ctx)
	case arguments[0] == "place" && len(arguments) == 2:
		id, err := strconv.Atoi(arguments[1])
		if err != nil {
			return fmt.Errorf("%q is not the number of an order", arguments[1])
		}
		return place(ctx, bus, id)
	}
	return errors.New("usage: orders [work | place NUMBER]")
}

// place places an order. The id makes it safe to place the same order twice.
func place(ctx context.Context, bus *duebus.Client, id int) error {
	event, err := duebus.JSON(order{id})
	if err != nil {
		return err
	}
	event.ID = fmt.Sprintf("order-%d", id)
	placed, err := bus.Dispatch(ctx, "order.created", event)
	if err != nil {
		return err
	}
	fmt.Printf("order %d is placed (already: %t)\n", id, placed.Duplicate)
	return nil
}

// workers are two groups: each gets its own copy of every order. handled is called for each that is done with.
func workers(bus *duebus.Client, handled func()) *duebus.Worker {
	worker := duebus.NewWorker(bus, duebus.WithMaxInFlight(16))
	worker.Handle("order.created", func(_ context.Context, d *duebus.Delivery) error {
		var placed order
		if err := d.JSON(&placed); err != nil {
			return duebus.DeadLetter(err) // a retry can't help
		}
		if placed.ID%2 == 1 && d.Attempt == 1 {
			return duebus.RetryAfter(100*time.Millisecond, errors.New("the card is busy"))
		}
		fmt.Printf("order %d is billed, at attempt %d\n", placed.ID, d.Attempt)
		handled()
		return nil
	}, duebus.WithGroup("billing"))
	worker.Handle("order.created", func(_ context.Context, d *duebus.Delivery) error {
		fmt.Printf("%s is shipped\n", d.EventID)
		handled()
		return nil
	}, duebus.WithGroup("shipping"))
	return worker
}

// demonstrate runs both halves until three new orders are billed and shipped.
func demonstrate(ctx context.Context, bus *duebus.Client) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	var left sync.WaitGroup
	left.Add(3 * 2)
	worker := workers(bus, left.Done)
	ended := make(chan error, 1)
	go func() { ended <- worker.Run(ctx) }()
	select {
	case <-worker.Ready():
	case err := <-ended:
		return err
	}
	first := int(time.Now().UnixMilli())
	for id := first; id < first+3; id++ {
		if err := place(ctx, bus, id); err != nil {
			return err
		}
	}
	left.Wait()
	stop() // only because this is an example; a worker runs until its context ends
	return <-ended
}
