package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"log/slog"
	"sync"

	duebus "github.com/duebus/duebus/clients/go"
)

// driver carries out commands, each on its own goroutine.
type driver struct {
	out    *output
	logger *slog.Logger
	ctx    context.Context // ends with the input
	end    context.CancelFunc
	busy   sync.WaitGroup

	mu            sync.Mutex
	clients       map[string]*duebus.Client
	workers       map[string]*scriptedWorker
	subscriptions map[string]*subscription
}

func newDriver(out *output, logger *slog.Logger) *driver {
	ctx, end := context.WithCancel(context.Background())
	return &driver{
		out: out, logger: logger, ctx: ctx, end: end, clients: map[string]*duebus.Client{},
		workers: map[string]*scriptedWorker{}, subscriptions: map[string]*subscription{},
	}
}

// command is what all commands have; the rest of the line is read by the one that it names.
type command struct {
	ID      int64  `json:"id"`
	Command string `json:"command"`

	Client       string  `json:"client"`
	Worker       string  `json:"worker"`
	Subscription string  `json:"subscription"`
	TimeoutMs    *millis `json:"timeout_ms"`

	line []byte
}

func (c command) read(into any) error {
	if err := json.Unmarshal(c.line, into); err != nil {
		return driverError(err.Error())
	}
	return nil
}

// handlers are the commands by name. Those that name something new are carried out in order of arrival.
func (d *driver) handlers(name string) (handle func(context.Context, command) (any, error), inOrder bool) {
	switch name {
	case "hello":
		return d.hello, true
	case "connect":
		return d.connect, true
	case "close":
		return d.closeClient, false
	case "dispatch":
		return d.dispatch, false
	case "ack":
		return d.ack, false
	case "nack":
		return d.nack, false
	case "extend":
		return d.extend, false
	case "stop":
		return d.stop, false
	case "admin":
		return d.admin, false
	case "is_serving":
		return d.isServing, false
	case "subscribe":
		return d.subscribe, false
	case "unsubscribe":
		return d.unsubscribe, false
	case "worker.start":
		return d.startWorker, true
	case "worker.finish":
		return d.finish, false
	case "worker.stop":
		return d.stopWorker, false
	}
	if call, ok := scheduleCommands[name]; ok {
		return func(ctx context.Context, c command) (any, error) { return d.schedule(ctx, c, call) }, false
	}
	return d.unknown, true
}

func (d *driver) receive(line []byte) {
	received := command{line: bytes.Clone(line)}
	if err := received.read(&received); err != nil {
		d.out.write(answer{ID: received.ID, Error: errorOf(err)})
		return
	}
	handle, inOrder := d.handlers(received.Command)
	carryOut := func() {
		ctx := d.ctx
		if received.TimeoutMs != nil && received.Command != "connect" && received.Command != "subscribe" {
			var cancel context.CancelFunc
			ctx, cancel = context.WithTimeout(ctx, received.TimeoutMs.duration())
			defer cancel()
		}
		result, err := handle(ctx, received)
		if err != nil {
			d.out.write(answer{ID: received.ID, Error: errorOf(err)})
			return
		}
		if result != nil { // otherwise the command has answered itself
			d.out.write(answer{ID: received.ID, Result: result})
		}
	}
	if inOrder {
		carryOut()
		return
	}
	d.start(carryOut)
}

// start runs something beside the commands, until it ends; close waits for it.
func (d *driver) start(run func()) {
	d.busy.Add(1)
	go func() {
		defer d.busy.Done()
		run()
	}()
}

// close closes everything that is open.
func (d *driver) close() {
	d.end()
	d.mu.Lock()
	workers, clients := d.workers, d.clients
	d.workers, d.clients = map[string]*scriptedWorker{}, map[string]*duebus.Client{}
	d.mu.Unlock()
	for _, worker := range workers {
		<-worker.stopped
	}
	d.busy.Wait()
	for _, client := range clients {
		_ = client.Close()
	}
}

func (d *driver) client(name string) (*duebus.Client, error) {
	return named(d, d.clients, name)
}

// named finds what the runner has named.
func named[T any](d *driver, things map[string]T, name string) (T, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	thing, ok := things[name]
	if !ok {
		return thing, driverError("nothing is called " + name)
	}
	return thing, nil
}

func (d *driver) hello(context.Context, command) (any, error) {
	return map[string]any{"language": "go", "protocol": 1}, nil
}

func (d *driver) unknown(_ context.Context, c command) (any, error) {
	return nil, driverError("no command is called " + c.Command)
}

func (d *driver) connect(_ context.Context, c command) (any, error) {
	var arguments struct {
		Target string `json:"target"`
		Token  string `json:"token"`
		TLS    *struct {
			CA   string `json:"ca"`
			Cert string `json:"cert"`
			Key  string `json:"key"`
		} `json:"tls"`
	}
	if err := c.read(&arguments); err != nil {
		return nil, err
	}
	options := []duebus.ClientOption{duebus.WithLogger(d.logger), duebus.WithToken(arguments.Token)}
	if c.TimeoutMs != nil {
		options = append(options, duebus.WithTimeout(c.TimeoutMs.duration()))
	}
	if arguments.TLS != nil {
		authorities := x509.NewCertPool()
		authorities.AppendCertsFromPEM([]byte(arguments.TLS.CA))
		config := &tls.Config{RootCAs: authorities}
		if arguments.TLS.Cert != "" {
			own, err := tls.X509KeyPair([]byte(arguments.TLS.Cert), []byte(arguments.TLS.Key))
			if err != nil {
				return nil, err
			}
			config.Certificates = []tls.Certificate{own}
		}
		options = append(options, duebus.WithTLS(config))
	}
	client, err := duebus.NewClient(arguments.Target, options...)
	if err != nil {
		return nil, err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.clients[c.Client] = client
	return empty{}, nil
}

func (d *driver) closeClient(_ context.Context, c command) (any, error) {
	client, err := d.client(c.Client)
	if err != nil {
		return nil, err
	}
	return empty{}, client.Close()
}

func (d *driver) dispatch(ctx context.Context, c command) (any, error) {
	var arguments struct {
		Topic             string      `json:"topic"`
		Events            []eventLine `json:"events"`
		Engines           []string    `json:"engines"`
		RequestID         string      `json:"request_id"`
		RequireSubscriber bool        `json:"require_subscriber"`
	}
	if err := c.read(&arguments); err != nil {
		return nil, err
	}
	client, err := d.client(c.Client)
	if err != nil {
		return nil, err
	}
	engines, err := enginesOf(arguments.Engines)
	if err != nil {
		return nil, err
	}
	options := []duebus.DispatchOption{duebus.OnEngines(engines...), duebus.WithRequestID(arguments.RequestID)}
	if arguments.RequireSubscriber {
		options = append(options, duebus.RequireSubscriber())
	}
	events := make([]duebus.Event, len(arguments.Events))
	for i, each := range arguments.Events {
		events[i] = each.event()
	}
	dispatched, err := dispatchAll(ctx, client, arguments.Topic, events, options)
	if err != nil {
		return nil, err
	}
	ids, duplicates := []string{}, []string{}
	for _, each := range dispatched {
		ids = append(ids, each.EventID)
		if each.Duplicate {
			duplicates = append(duplicates, each.EventID)
		}
	}
	return map[string]any{"event_ids": ids, "duplicate_event_ids": duplicates}, nil
}

func dispatchAll(
	ctx context.Context, client *duebus.Client, topic string, events []duebus.Event, options []duebus.DispatchOption,
) ([]duebus.Dispatched, error) {
	if len(events) != 1 {
		return client.DispatchMany(ctx, topic, events, options...)
	}
	dispatched, err := client.Dispatch(ctx, topic, events[0], options...)
	return []duebus.Dispatched{dispatched}, err
}

type settleArguments struct {
	LeaseTokens []string   `json:"lease_tokens"`
	LeaseMs     *millis    `json:"lease_ms"`
	Nacks       []nackLine `json:"nacks"`
}

func (d *driver) ack(ctx context.Context, c command) (any, error) {
	return d.settle(c, func(client *duebus.Client, a settleArguments) ([]duebus.LeaseFailure, error) {
		return client.Ack(ctx, a.LeaseTokens...)
	})
}

func (d *driver) nack(ctx context.Context, c command) (any, error) {
	return d.settle(c, func(client *duebus.Client, a settleArguments) ([]duebus.LeaseFailure, error) {
		nacks := make([]duebus.Nack, len(a.Nacks))
		for i, each := range a.Nacks {
			nacks[i] = each.nack()
		}
		return client.Nack(ctx, nacks...)
	})
}

func (d *driver) extend(ctx context.Context, c command) (any, error) {
	return d.settle(c, func(client *duebus.Client, a settleArguments) ([]duebus.LeaseFailure, error) {
		lease := a.LeaseMs
		if lease == nil {
			lease = new(millis)
		}
		return client.Extend(ctx, lease.duration(), a.LeaseTokens...)
	})
}

func (d *driver) settle(
	c command, call func(*duebus.Client, settleArguments) ([]duebus.LeaseFailure, error),
) (any, error) {
	var arguments settleArguments
	if err := c.read(&arguments); err != nil {
		return nil, err
	}
	client, err := d.client(c.Client)
	if err != nil {
		return nil, err
	}
	failures, err := call(client, arguments)
	return failuresOf(failures), err
}

func (d *driver) stop(ctx context.Context, c command) (any, error) {
	var arguments struct {
		Engines        []string `json:"engines"`
		DrainTimeoutMs *millis  `json:"drain_timeout_ms"`
	}
	if err := c.read(&arguments); err != nil {
		return nil, err
	}
	client, err := d.client(c.Client)
	if err != nil {
		return nil, err
	}
	engines, err := enginesOf(arguments.Engines)
	if err != nil {
		return nil, err
	}
	stopped, err := client.Stop(ctx, durationOf(arguments.DrainTimeoutMs), engines...)
	lines := []map[string]any{}
	for _, each := range stopped {
		engine := enumName(each.Engine, "ENGINE_")
		lines = append(lines, map[string]any{"engine": engine, "released": each.Released, "queued": each.Queued})
	}
	return map[string]any{"engines": lines}, err
}

func (d *driver) isServing(ctx context.Context, c command) (any, error) {
	var arguments struct {
		Service string `json:"service"`
	}
	if err := c.read(&arguments); err != nil {
		return nil, err
	}
	client, err := d.client(c.Client)
	if err != nil {
		return nil, err
	}
	serving, err := client.IsServing(ctx, arguments.Service)
	return map[string]any{"serving": serving}, err
}
