package main

import (
	"fmt"
	"math"
	"strings"
	"time"

	duebus "github.com/duebus/duebus/clients/go"
	"github.com/duebus/duebus/clients/go/duebusv1"
)

// millis is a length of time on the wire of the driver.
type millis int64

// duration is cut to what Go can say: 292 years.
func (m millis) duration() time.Duration {
	most := int64(math.MaxInt64 / time.Millisecond)
	return time.Duration(min(max(int64(m), -most), most)) * time.Millisecond
}

func durationOf(length *millis) *time.Duration {
	if length == nil {
		return nil
	}
	duration := length.duration()
	return &duration
}

type eventLine struct {
	ID          string            `json:"id"`
	Data        []byte            `json:"data"`
	ContentType string            `json:"content_type"`
	Attributes  map[string]string `json:"attributes"`
	DelayMs     *millis           `json:"delay_ms"`
	DeliverAtMs *int64            `json:"deliver_at_ms"`
	MaxRetries  *uint32           `json:"max_retries"`
	Key         string            `json:"key"`
	Priority    int32             `json:"priority"`
}

func (e eventLine) event() duebus.Event {
	event := duebus.Event{
		ID: e.ID, Data: e.Data, ContentType: e.ContentType, Attributes: e.Attributes, MaxRetries: e.MaxRetries,
		Key: e.Key, Priority: e.Priority,
	}
	if e.DelayMs != nil {
		event.Delay = e.DelayMs.duration()
	}
	if e.DeliverAtMs != nil {
		event.DeliverAt = time.UnixMilli(*e.DeliverAtMs)
	}
	return event
}

type nackLine struct {
	LeaseToken string     `json:"lease_token"`
	Error      string     `json:"error"`
	DelayMs    *millis    `json:"delay_ms"`
	DeadLetter bool       `json:"dead_letter"`
	Release    bool       `json:"release"`
	Pause      *pauseLine `json:"pause"`
}

type pauseLine struct {
	DurationMs millis `json:"duration_ms"`
	Scope      string `json:"scope"`
}

func (p *pauseLine) pause() *duebus.Pause {
	if p == nil {
		return nil
	}
	return &duebus.Pause{Duration: p.DurationMs.duration(), Scope: scopeOf(p.Scope)}
}

func scopeOf(name string) duebus.PauseScope {
	return duebus.PauseScope(duebusv1.Nack_Pause_Scope_value["SCOPE_"+strings.ToUpper(name)])
}

func (n nackLine) nack() duebus.Nack {
	return duebus.Nack{
		LeaseToken: n.LeaseToken, Error: n.Error, Delay: durationOf(n.DelayMs),
		DeadLetter: n.DeadLetter, Release: n.Release, Pause: n.Pause.pause(),
	}
}

type deliveryLine struct {
	EventID          string            `json:"event_id"`
	Data             []byte            `json:"data"`
	ContentType      string            `json:"content_type"`
	Attributes       map[string]string `json:"attributes"`
	Key              string            `json:"key"`
	Priority         int32             `json:"priority"`
	Topic            string            `json:"topic"`
	Group            string            `json:"group"`
	LeaseToken       string            `json:"lease_token"`
	FencingToken     uint64            `json:"fencing_token"`
	Attempt          uint32            `json:"attempt"`
	DeliverAtMs      int64             `json:"deliver_at_ms"`
	DispatchedAtMs   int64             `json:"dispatched_at_ms"`
	LeaseExpiresAtMs int64             `json:"lease_expires_at_ms"`
	LastError        string            `json:"last_error"`
}

func lineOf(d *duebus.Delivery) deliveryLine {
	line := deliveryLine{
		EventID: d.EventID, Data: d.Data, ContentType: d.ContentType, Attributes: d.Attributes, Key: d.Key,
		Priority: d.Priority,
		Topic:    d.Topic, Group: d.Group, LeaseToken: d.LeaseToken, FencingToken: d.FencingToken, Attempt: d.Attempt,
		DeliverAtMs: d.DeliverAt.UnixMilli(), DispatchedAtMs: d.DispatchedAt.UnixMilli(),
		LeaseExpiresAtMs: d.LeaseExpiresAt.UnixMilli(), LastError: d.LastError,
	}
	if line.Data == nil {
		line.Data = []byte{} // an empty text and not null
	}
	if line.Attributes == nil {
		line.Attributes = map[string]string{}
	}
	return line
}

type failureLine struct {
	LeaseToken string `json:"lease_token"`
	Reason     string `json:"reason"`
}

type failuresLine struct {
	Failures []failureLine `json:"failures"`
}

func failuresOf(failures []duebus.LeaseFailure) failuresLine {
	lines := []failureLine{}
	for _, each := range failures {
		lines = append(lines, failureLine{each.LeaseToken, enumName(each.Reason, "REASON_")})
	}
	return failuresLine{lines}
}

// enumName is the name of the proto without its prefix, in lower case.
func enumName(value fmt.Stringer, prefix string) string {
	return strings.ToLower(strings.TrimPrefix(value.String(), prefix))
}

// engineOf reads the name of an engine; a name that is none is sent as a number that is none.
func engineOf(name string) (duebus.Engine, error) {
	if name == "" {
		return duebus.DefaultEngine, nil
	}
	number, ok := duebusv1.Engine_value["ENGINE_"+strings.ToUpper(name)]
	if !ok {
		return 0, driverError("no engine is called " + name)
	}
	return duebus.Engine(number), nil
}

func enginesOf(names []string) ([]duebus.Engine, error) {
	var engines []duebus.Engine
	for _, name := range names {
		engine, err := engineOf(name)
		if err != nil {
			return nil, err
		}
		engines = append(engines, engine)
	}
	return engines, nil
}
