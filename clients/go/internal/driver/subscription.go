package main

import (
	"context"
	"errors"
	"io"
	"time"

	duebus "github.com/duebus/duebus/clients/go"
	"github.com/duebus/duebus/clients/go/duebusv1"
)

// subscription is one stream of the generated stubs.
type subscription struct {
	cancel context.CancelFunc
	ended  chan struct{}
}

type subscribeArguments struct {
	Topic             string   `json:"topic"`
	Group             string   `json:"group"`
	Engine            string   `json:"engine"`
	Consumer          string   `json:"consumer"`
	MaxInFlight       uint32   `json:"max_in_flight"`
	MaxInFlightBytes  uint64   `json:"max_in_flight_bytes"`
	LeaseMs           *millis  `json:"lease_ms"`
	DisconnectGraceMs *millis  `json:"disconnect_grace_ms"`
	HeldLeaseTokens   []string `json:"held_lease_tokens"`
	Ephemeral         bool     `json:"ephemeral"`
}

func (a subscribeArguments) request() (*duebusv1.SubscribeRequest, error) {
	engine, err := engineOf(a.Engine)
	return &duebusv1.SubscribeRequest{
		Topic: a.Topic, Group: a.Group, Engine: engine, Consumer: a.Consumer, MaxInFlight: a.MaxInFlight,
		MaxInFlightBytes: a.MaxInFlightBytes, Lease: protoDuration(a.LeaseMs),
		DisconnectGrace: protoDuration(a.DisconnectGraceMs), HeldLeaseTokens: a.HeldLeaseTokens,
		Ephemeral: a.Ephemeral,
	}, err
}

func (d *driver) subscribe(ctx context.Context, c command) (any, error) {
	var arguments subscribeArguments
	if err := c.read(&arguments); err != nil {
		return nil, err
	}
	client, err := d.client(c.Client)
	if err != nil {
		return nil, err
	}
	request, err := arguments.request()
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	stream, frame, err := open(ctx, cancel, client, request, c.TimeoutMs)
	if err != nil {
		cancel()
		return nil, err
	}
	opened := &subscription{cancel, make(chan struct{})}
	d.mu.Lock()
	d.subscriptions[c.Subscription] = opened
	d.mu.Unlock()
	started := frame.GetStarted()
	lost := append([]string{}, started.LostLeaseTokens...)
	// The answer must come before the frames.
	d.out.write(answer{ID: c.ID, Result: map[string]any{
		"session_id": started.SessionId, "max_in_flight": started.MaxInFlight,
		"max_in_flight_bytes": started.MaxInFlightBytes, "lease_ms": started.Lease.AsDuration().Milliseconds(),
		"disconnect_grace_ms": started.DisconnectGrace.AsDuration().Milliseconds(), "lost_lease_tokens": lost,
		"group": started.Group,
	}})
	d.busy.Go(func() { d.read(ctx, c.Subscription, opened, stream) })
	return nil, nil
}

type stream interface {
	Recv() (*duebusv1.SubscribeResponse, error)
}

// open opens a stream and waits for its first frame.
func open(
	ctx context.Context, cancel context.CancelFunc, client *duebus.Client, request *duebusv1.SubscribeRequest,
	timeout *millis,
) (stream, *duebusv1.SubscribeResponse, error) {
	within := 30 * time.Second
	if timeout != nil {
		within = timeout.duration()
	}
	late := time.AfterFunc(within, cancel)
	defer late.Stop()
	stream, err := client.EventBus().Subscribe(ctx, request)
	if err != nil {
		return nil, nil, err
	}
	frame, err := stream.Recv()
	switch {
	case ctx.Err() != nil:
		err = &duebus.Error{Reason: duebus.ErrDeadlineExceeded, Message: "the stream did not start in time"}
	case err == nil && frame.GetStarted() == nil, errors.Is(err, io.EOF):
		err = &duebus.Error{Reason: duebus.ErrUnavailable, Message: "the server ended the stream before it started"}
	}
	return stream, frame, err
}

func (d *driver) read(ctx context.Context, name string, s *subscription, stream stream) {
	defer close(s.ended)
	defer s.cancel()
	var err error
	for err == nil {
		var frame *duebusv1.SubscribeResponse
		if frame, err = stream.Recv(); err == nil {
			d.writeFrame(name, frame)
		}
	}
	if errors.Is(err, io.EOF) || ctx.Err() != nil {
		err = nil
	}
	d.out.write(map[string]any{"event": "ended", "subscription": name, "error": errorOf(err)})
}

func (d *driver) writeFrame(name string, frame *duebusv1.SubscribeResponse) {
	switch frame := frame.Frame.(type) {
	case *duebusv1.SubscribeResponse_Deliveries:
		lines := []deliveryLine{}
		for _, each := range frame.Deliveries.Deliveries {
			lines = append(lines, lineOf(duebus.NewDelivery(each)))
		}
		d.out.write(map[string]any{"event": "deliveries", "subscription": name, "deliveries": lines})
	case *duebusv1.SubscribeResponse_Heartbeat:
		d.out.write(map[string]any{"event": "heartbeat", "subscription": name, "backlog": frame.Heartbeat.Backlog})
	case *duebusv1.SubscribeResponse_Closing:
		d.out.write(map[string]any{
			"event": "closing", "subscription": name, "reason": enumName(frame.Closing.Reason, "REASON_"),
			"reconnect_after_ms": frame.Closing.ReconnectAfter.AsDuration().Milliseconds(),
		})
	}
}

func (d *driver) unsubscribe(_ context.Context, c command) (any, error) {
	opened, err := named(d, d.subscriptions, c.Subscription)
	if err != nil {
		return nil, err
	}
	opened.cancel()
	<-opened.ended
	return empty{}, nil
}
