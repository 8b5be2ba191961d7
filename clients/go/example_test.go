package duebus_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"os"
	"os/signal"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	duebus "github.com/duebus/duebus/clients/go"
	"github.com/duebus/duebus/clients/go/duebusv1"
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

func ExampleAdmin_Configure() {
	bus, err := duebus.NewClient("127.0.0.1:50051")
	if err != nil {
		log.Fatal(err)
	}
	defer bus.Close()

	ctx := context.Background()
	tenASecond := &duebusv1.Rate{Events: 10, Per: durationpb.New(time.Second)}
	config := &duebusv1.TopicConfig{Limits: &duebusv1.Limits{Rate: tenASecond}} // the other settings stay
	if _, err := bus.Admin().Configure(ctx, "orders", "", config); err != nil {
		log.Fatal(err)
	}

	dead := &duebusv1.ListEventsRequest{Topic: "orders", State: duebusv1.EventState_EVENT_STATE_DEAD}
	for each, err := range bus.Admin().Events(ctx, dead) {
		if err != nil {
			log.Fatal(err)
		}
		group := each.Groups[0]
		fmt.Println(each.Event.Id, "died at", group.DeadAt.AsTime(), "of", group.LastError)
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
