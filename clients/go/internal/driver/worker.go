package main

import (
	"context"
	"errors"
	"runtime"
	"sync"
	"time"

	duebus "github.com/duebus/duebus/clients/go"
)

// outcome says how a handler ends.
type outcome struct {
	Do      string `json:"do"`
	Message string `json:"message"`
	DelayMs millis `json:"delay_ms"`
	Scope   string `json:"scope"`
}

// scriptedWorker is a worker of the SDK whose handler follows a script.
type scriptedWorker struct {
	name    string
	out     *output
	script  []outcome
	stop    context.CancelFunc
	stopped chan struct{}

	mu    sync.Mutex
	holds map[string]chan outcome // by event id
}

type workerArguments struct {
	Topic          string    `json:"topic"`
	Group          string    `json:"group"`
	Ephemeral      bool      `json:"ephemeral"`
	Engine         string    `json:"engine"`
	Consumer       string    `json:"consumer"`
	MaxInFlight    *int      `json:"max_in_flight"`
	Concurrency    *int      `json:"concurrency"`
	LeaseMs        *millis   `json:"lease_ms"`
	MaxExecutionMs *millis   `json:"max_execution_ms"`
	DrainTimeoutMs *millis   `json:"drain_timeout_ms"`
	Script         []outcome `json:"script"`
	Typed          bool      `json:"typed"`
}

func (a workerArguments) options() ([]duebus.WorkerOption, error) {
	engine, err := engineOf(a.Engine)
	options := []duebus.WorkerOption{duebus.WithGroup(a.Group), duebus.WithEngine(engine)}
	if a.Ephemeral {
		options = append(options, duebus.WithEphemeral())
	}
	if a.Consumer != "" {
		options = append(options, duebus.WithConsumer(a.Consumer))
	}
	if a.MaxInFlight != nil {
		options = append(options, duebus.WithMaxInFlight(*a.MaxInFlight))
	}
	if a.Concurrency != nil {
		options = append(options, duebus.WithConcurrency(*a.Concurrency))
	}
	if a.LeaseMs != nil {
		options = append(options, duebus.WithLease(a.LeaseMs.duration()))
	}
	if a.MaxExecutionMs != nil {
		options = append(options, duebus.WithMaxExecution(a.MaxExecutionMs.duration()))
	}
	if a.DrainTimeoutMs != nil {
		options = append(options, duebus.WithDrainTimeout(a.DrainTimeoutMs.duration()))
	}
	return options, err
}

func (d *driver) startWorker(ctx context.Context, c command) (any, error) {
	var arguments workerArguments
	if err := c.read(&arguments); err != nil {
		return nil, err
	}
	client, err := d.client(c.Client)
	if err != nil {
		return nil, err
	}
	options, err := arguments.options()
	if err != nil {
		return nil, err
	}
	ctx, stop := context.WithCancel(ctx)
	scripted := &scriptedWorker{
		name: c.Worker, out: d.out, script: arguments.Script, stop: stop,
		stopped: make(chan struct{}), holds: map[string]chan outcome{},
	}
	d.mu.Lock()
	d.workers[c.Worker] = scripted
	d.mu.Unlock()
	worker := duebus.NewWorker(client, options...)
	if arguments.Typed {
		duebus.Handle(worker, arguments.Topic, scripted.handlePayload)
	} else {
		worker.Handle(arguments.Topic, scripted.handle)
	}
	d.out.write(answer{ID: c.ID, Result: empty{}}) // before the events that follow
	go scripted.announce(worker)
	go scripted.run(ctx, worker)
	return nil, nil
}

func (w *scriptedWorker) announce(worker *duebus.Worker) {
	select {
	case <-worker.Ready():
		w.out.write(map[string]any{"event": "ready", "worker": w.name})
	case <-w.stopped:
	}
}

func (w *scriptedWorker) run(ctx context.Context, worker *duebus.Worker) {
	err := worker.Run(ctx)
	w.out.write(map[string]any{"event": "stopped", "worker": w.name, "error": errorOf(err)})
	close(w.stopped)
}

// order is the payload of a typed handler.
type order struct {
	Number int    `json:"number"`
	Item   string `json:"item"`
}

func (w *scriptedWorker) handlePayload(ctx context.Context, payload order, delivery *duebus.Delivery) error {
	return w.follow(ctx, delivery, map[string]any{"payload": payload})
}

func (w *scriptedWorker) handle(ctx context.Context, delivery *duebus.Delivery) error {
	return w.follow(ctx, delivery, map[string]any{})
}

// follow reports the delivery with the given fields, and ends as the script says.
func (w *scriptedWorker) follow(ctx context.Context, delivery *duebus.Delivery, report map[string]any) error {
	next := w.outcome(delivery.Attempt)
	var held chan outcome
	if next.Do == "hold" {
		held = w.hold(delivery.EventID)
	}
	report["event"], report["worker"] = "handling", w.name
	report["at_ms"], report["delivery"] = time.Now().UnixMilli(), lineOf(delivery)
	w.out.write(report)
	if held != nil {
		select {
		case next = <-held:
		case <-ctx.Done():
			w.letGo(delivery.EventID, held)
			w.out.write(map[string]any{
				"event": "cancelled", "worker": w.name, "event_id": delivery.EventID, "attempt": delivery.Attempt,
			})
			return context.Cause(ctx)
		}
	}
	return next.end()
}

// outcome is the script's for this attempt; the last one applies to all later attempts.
func (w *scriptedWorker) outcome(attempt uint32) outcome {
	if len(w.script) == 0 {
		return outcome{Do: "ack"}
	}
	return w.script[min(int(attempt), len(w.script))-1]
}

func (w *scriptedWorker) hold(eventID string) chan outcome {
	w.mu.Lock()
	defer w.mu.Unlock()
	held := make(chan outcome, 1)
	w.holds[eventID] = held
	return held
}

func (w *scriptedWorker) letGo(eventID string, held chan outcome) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.holds[eventID] == held {
		delete(w.holds, eventID)
	}
}

type unprintable struct{}

func (unprintable) Error() string { panic("the error has no text") }

func (o outcome) end() error {
	switch o.Do {
	case "ack":
		return nil
	case "fail":
		return errors.New(o.Message)
	case "retry_after":
		return duebus.RetryAfter(o.DelayMs.duration(), errors.New(o.Message))
	case "rate_limited":
		return duebus.RateLimited(o.DelayMs.duration(), scopeOf(o.Scope), errors.New(o.Message))
	case "dead_letter":
		return duebus.DeadLetter(errors.New(o.Message))
	case "release":
		return duebus.ErrRelease
	case "exit":
		runtime.Goexit()
	case "unprintable":
		return unprintable{}
	}
	panic(o.Message)
}

func (d *driver) finish(_ context.Context, c command) (any, error) {
	var arguments struct {
		EventID string  `json:"event_id"`
		Outcome outcome `json:"outcome"`
	}
	if err := c.read(&arguments); err != nil {
		return nil, err
	}
	worker, err := named(d, d.workers, c.Worker)
	if err != nil {
		return nil, err
	}
	worker.mu.Lock()
	defer worker.mu.Unlock()
	held, ok := worker.holds[arguments.EventID]
	if !ok {
		return nil, driverError("nobody holds " + arguments.EventID)
	}
	delete(worker.holds, arguments.EventID)
	held <- arguments.Outcome
	return empty{}, nil
}

func (d *driver) stopWorker(_ context.Context, c command) (any, error) {
	worker, err := named(d, d.workers, c.Worker)
	if err != nil {
		return nil, err
	}
	worker.stop()
	<-worker.stopped
	return empty{}, nil
}
