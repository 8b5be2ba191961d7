// The program that tests/bench/clients.py measures: callers that dispatch single events, and a worker that drains them.
//
// The other clients have the same program. It takes its arguments as JSON, prints "ready" before and after each part,
// waits for a line on standard input each time, and prints its result as JSON.
package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	duebus "github.com/duebus/duebus/clients/go"
)

type arguments struct {
	Target       string `json:"target"`
	Topic        string `json:"topic"`
	PayloadBytes int    `json:"payload_bytes"`
	WarmUp       int    `json:"warm_up"`
	Events       int    `json:"events"`
	Callers      int    `json:"callers"`
	Backlog      int    `json:"backlog"`
	MaxInFlight  int    `json:"max_in_flight"`
}

type result struct {
	DispatchPerS float64 `json:"dispatch_per_s"`
	drained
}

type drained struct {
	DrainPerS float64 `json:"drain_per_s"`
	Handled   int     `json:"handled"`
	Distinct  int     `json:"distinct"`
}

func main() {
	if err := run(context.Background()); err != nil {
		log.Fatal(err)
	}
}

// run warms up, measures both parts, and prints the result.
func run(ctx context.Context) error {
	var given arguments
	if err := json.Unmarshal([]byte(os.Args[1]), &given); err != nil {
		return err
	}
	bus, err := duebus.NewClient(given.Target)
	if err != nil {
		return err
	}
	defer func() { _ = bus.Close() }()
	goOn := bufio.NewReader(os.Stdin)
	if _, err := dispatch(ctx, bus, given, given.WarmUp); err != nil {
		return err
	}
	if _, err := drain(ctx, bus, given, given.WarmUp); err != nil {
		return err
	}
	awaitSignal(goOn)
	rate, err := dispatch(ctx, bus, given, given.Events)
	if err != nil {
		return err
	}
	awaitSignal(goOn)
	drained, err := drain(ctx, bus, given, given.Backlog)
	if err != nil {
		return err
	}
	awaitSignal(goOn)
	return json.NewEncoder(os.Stdout).Encode(result{rate, drained})
}

func awaitSignal(input *bufio.Reader) {
	fmt.Println("ready")
	_, _ = input.ReadString('\n')
}

// dispatch has each caller dispatch one event after the other, until there are enough. It returns how many a second.
func dispatch(ctx context.Context, bus *duebus.Client, given arguments, events int) (float64, error) {
	data := bytes.Repeat([]byte("x"), given.PayloadBytes)
	var taken atomic.Int64
	callers, ctx := errgroup.WithContext(ctx)
	began := time.Now()
	for range given.Callers {
		callers.Go(func() error {
			for taken.Add(1) <= int64(events) {
				if _, err := bus.Dispatch(ctx, given.Topic, duebus.Event{Data: data}); err != nil {
					return err
				}
			}
			return nil
		})
	}
	err := callers.Wait()
	return float64(events) / time.Since(began).Seconds(), err
}

// drain handles all events of the topic. It returns how many a second, from the first handler to the last.
func drain(ctx context.Context, bus *duebus.Client, given arguments, events int) (drained, error) {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	var mu sync.Mutex
	var began, ended time.Time
	handled, seen := 0, make(map[string]struct{}, events)
	worker := duebus.NewWorker(bus, duebus.WithMaxInFlight(given.MaxInFlight))
	worker.Handle(given.Topic, func(_ context.Context, d *duebus.Delivery) error {
		mu.Lock()
		defer mu.Unlock()
		handled++
		if handled == 1 {
			began = time.Now()
		}
		seen[d.EventID] = struct{}{}
		if len(seen) == events && ended.IsZero() {
			ended = time.Now()
			stop()
		}
		return nil
	})
	err := worker.Run(ctx)
	return drained{float64(events) / ended.Sub(began).Seconds(), handled, len(seen)}, err
}
