package main

import (
	"context"

	duebus "github.com/duebus/duebus/clients/go"
)

// subscription is one stream.
type subscription struct {
	stream *duebus.Stream
	ended  chan struct{}
}

type subscribeArguments struct {
	Topic             string   `json:"topic"`
	Group             string   `json:"group"`
	Engine            string   `json:"engine"`
	Consumer          string   `json:"consumer"`
	MaxInFlight       uint32   `json:"max_in_flight"`
	MaxInFlightBytes  uint64   `json:"max_in_flight_bytes"`
	LeaseMs           millis   `json:"lease_ms"`
	DisconnectGraceMs *millis  `json:"disconnect_grace_ms"`
	HeldLeaseTokens   []string `json:"held_lease_tokens"`
	Ephemeral         bool     `json:"ephemeral"`
	TimeoutMs         millis   `json:"timeout_ms"`
}

func (a subscribeArguments) options() (duebus.SubscribeOptions, error) {
	engine, err := engineOf(a.Engine)
	return duebus.SubscribeOptions{
		Group: a.Group, Ephemeral: a.Ephemeral, Engine: engine, Consumer: a.Consumer, MaxInFlight: a.MaxInFlight,
		MaxInFlightBytes: a.MaxInFlightBytes, Lease: a.LeaseMs.duration(),
		DisconnectGrace: durationOf(a.DisconnectGraceMs), HeldLeaseTokens: a.HeldLeaseTokens,
		Timeout: a.TimeoutMs.duration(),
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
	options, err := arguments.options()
	if err != nil {
		return nil, err
	}
	stream, err := client.Subscribe(ctx, arguments.Topic, options)
	if err != nil {
		return nil, err
	}
	opened := &subscription{stream: stream, ended: make(chan struct{})}
	d.mu.Lock()
	d.subscriptions[c.Subscription] = opened
	d.mu.Unlock()
	started := stream.Started
	// The answer must come before the frames.
	d.out.write(answer{ID: c.ID, Result: map[string]any{
		"session_id": started.SessionId, "max_in_flight": started.MaxInFlight,
		"max_in_flight_bytes": started.MaxInFlightBytes, "lease_ms": started.Lease.AsDuration().Milliseconds(),
		"disconnect_grace_ms": started.DisconnectGrace.AsDuration().Milliseconds(),
		"lost_lease_tokens":   append([]string{}, started.LostLeaseTokens...), "group": started.Group,
	}})
	d.start(func() { d.read(c.Subscription, opened) })
	return nil, nil
}

func (d *driver) read(name string, s *subscription) {
	defer close(s.ended)
	defer s.stream.Close()
	var failed error
	for frame, err := range s.stream.Frames() {
		if err != nil {
			failed = err
			break
		}
		d.writeFrame(name, frame)
	}
	d.out.write(map[string]any{"event": "ended", "subscription": name, "error": errorOf(failed)})
}

func (d *driver) writeFrame(name string, frame duebus.Frame) {
	switch frame := frame.(type) {
	case duebus.Deliveries:
		lines := []deliveryLine{}
		for _, each := range frame {
			lines = append(lines, lineOf(each))
		}
		d.out.write(map[string]any{"event": "deliveries", "subscription": name, "deliveries": lines})
	case duebus.Heartbeat:
		d.out.write(map[string]any{"event": "heartbeat", "subscription": name, "backlog": frame.Backlog})
	case duebus.Closing:
		d.out.write(map[string]any{
			"event": "closing", "subscription": name, "reason": enumName(frame.Reason, "REASON_"),
			"reconnect_after_ms": frame.ReconnectAfter.Milliseconds(),
		})
	}
}

func (d *driver) unsubscribe(_ context.Context, c command) (any, error) {
	opened, err := named(d, d.subscriptions, c.Subscription)
	if err != nil {
		return nil, err
	}
	opened.stream.Close()
	<-opened.ended
	return empty{}, nil
}
