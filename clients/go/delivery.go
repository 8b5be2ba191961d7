package duebus

import (
	"encoding/json"
	"time"

	"github.com/duebus/duebus/clients/go/duebusv1"
)

// Delivery is an event leased to this worker. The same event may be delivered more than once.
type Delivery struct {
	EventID     string
	Data        []byte
	ContentType string
	Attributes  map[string]string
	// Key is what the event is in order by; empty for none.
	Key string
	// Priority is the event's head start in seconds.
	Priority int32
	Topic    string
	Group    string
	// LeaseToken settles this delivery, on any replica. Opaque.
	LeaseToken string
	// FencingToken grows with every lease of the event, and of the events with its key: a write guarded by "only if
	// greater" can't be undone by a holder whose lease has run out.
	FencingToken uint64
	// Attempt is the number of the attempt, from 1. A release is not counted.
	Attempt uint32
	// DeliverAt is when the event was due; for a retry, when the retry was due.
	DeliverAt time.Time
	// DispatchedAt is when the engine stored the event, by the engine's clock.
	DispatchedAt time.Time
	// LeaseExpiresAt is by the engine's clock; a worker extends leases while handlers run.
	LeaseExpiresAt time.Time
	// LastError is why the previous attempt failed; empty on the first attempt.
	LastError string
}

// JSON decodes the payload, regardless of its media type.
func (d *Delivery) JSON(into any) error { return json.Unmarshal(d.Data, into) }

// NewDelivery reads a delivery of the generated stubs.
func NewDelivery(message *duebusv1.Delivery) *Delivery {
	event := message.GetEvent()
	return &Delivery{
		EventID:        event.GetId(),
		Data:           event.GetData(),
		ContentType:    event.GetContentType(),
		Attributes:     event.GetAttributes(),
		Key:            event.GetKey(),
		Priority:       event.GetPriority(),
		Topic:          message.GetTopic(),
		Group:          message.GetGroup(),
		LeaseToken:     message.GetLeaseToken(),
		FencingToken:   message.GetFencingToken(),
		Attempt:        message.GetAttempt(),
		DeliverAt:      message.GetDeliverAt().AsTime(),
		DispatchedAt:   message.GetDispatchedAt().AsTime(),
		LeaseExpiresAt: message.GetLeaseExpiresAt().AsTime(),
		LastError:      message.GetLastError(),
	}
}
