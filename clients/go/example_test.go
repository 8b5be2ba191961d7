package duebus_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"os"
	"os/signal"
	"time"

	duebus "github.com/duebus/duebus/clients/go"
)

type order struct {
	Number int `json:"number"`
}

func ExampleClient_Dispatch() {
	bus, err := duebus.NewClient("127.0.0.1:50051")
	if err != nil {
		log.Fatal(err)
	}
	defer bus.Close()

	event, err := duebus.JSON(order{Number: 42})
	if err != nil {
		log.Fatal(err)
	}
	event.ID = "order-42" // a second dispatch adds nothing
	event.Delay = 30 * time.Minute
	_, err = bus.Dispatch(context.Background(), "order.check", event)
	if errors.Is(err, duebus.ErrMaxQueuedEventsReached) {
		log.Print("the topic is full")
	}
}

func ExampleHandle() {
	bus, err := duebus.NewClient("127.0.0.1:50051")
	if err != nil {
		log.Fatal(err)
	}
	defer bus.Close()

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	worker := duebus.NewWorker(bus, duebus.WithGroup("billing"))
	duebus.Handle(worker, "order.check", func(ctx context.Context, payload order, d *duebus.Delivery) error {
		if payload.Number == 0 {
			return duebus.DeadLetter(errors.New("an order has a number"))
		}
		return nil
	})
	if err := worker.Run(ctx); err != nil {
		log.Fatal(err)
	}
}

func ExampleSchedules_Put() {
	bus, err := duebus.NewClient("127.0.0.1:50051")
	if err != nil {
		log.Fatal(err)
	}
	defer bus.Close()

	ctx := context.Background()
	info, err := bus.Schedules().Put(ctx, duebus.Schedule{
		Name: "daily-report", Topic: "reports", Event: duebus.Event{Data: []byte("daily")},
		Cron: "0 9 * * MON-FRI", TimeZone: "Europe/Berlin", Overlap: duebus.OverlapSkip,
	})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(info.Description, info.Next)

	for each, err := range bus.Schedules().All(ctx, 0) {
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(each.Schedule.Name, each.Runs)
	}
}
