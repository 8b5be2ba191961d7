package duebus

import (
	"encoding/json"
	"fmt"
	"time"
	"unicode/utf8"

	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/duebus/duebus/clients/go/duebusv1"
)

// Engine is where events wait.
type Engine = duebusv1.Engine

const (
	// DefaultEngine is the server's first engine.
	DefaultEngine = duebusv1.Engine_ENGINE_UNSPECIFIED
	// Local is one server process: durable if it has a data directory.
	Local = duebusv1.Engine_ENGINE_LOCAL
	// Redis is shared by all replicas, and durable as far as that Redis is.
	Redis = duebusv1.Engine_ENGINE_REDIS
)

// Event is an event to dispatch. The server chooses the fields with their zero value.
type Event struct {
	// ID is unique within the topic, at most 255 bytes of printable text. An event whose id the topic holds, or held
	// within its dedupe window, adds nothing. Empty: the server makes a UUIDv7.
	ID string
	// Data is the payload, at most 1 MiB, opaque to the bus.
	Data []byte
	// ContentType is the media type of Data, at most 255 bytes.
	ContentType string
	// Attributes are for handlers, at most 64 KiB of names and values together.
	Attributes map[string]string
	// Delay is how long after it was stored the event is due, up to 10 years.
	Delay time.Duration
	// DeliverAt is when the event is due, instead of Delay; a past time means now.
	DeliverAt time.Time
	// MaxRetries is how many times the event is retried before it is dead; nil: by the topic's retry policy.
	MaxRetries *uint32
	// Key is what the event is in order by, for example an order's number: at most 255 bytes of printable text. A group
	// gets the events of a key one at a time, in the order in which they are due. Empty: in no order.
	Key string
	// Priority is a head start in seconds, -86,400 to 86,400: of the events of a group that are due, one of priority p is
	// delivered as if it had been due p seconds earlier. It is never early, and does not overtake events with its key.
	Priority int32
}

// JSON makes an event of anything that encoding/json can encode.
//
// Errors: ErrInvalidArgument if it can't.
func JSON(payload any) (Event, error) {
	data, err := json.Marshal(payload)
	if err != nil {
		return Event{}, invalidField("data", "can't be encoded: "+err.Error())
	}
	return Event{Data: data, ContentType: "application/json"}, nil
}

// encode makes the protobuf event; path is a prefix for its field names in errors, for example "events[3].".
func (e Event) encode(path string) (*duebusv1.Event, error) {
	if err := e.checkText(path); err != nil {
		return nil, err
	}
	event := &duebusv1.Event{
		Id: e.ID, Data: e.Data, ContentType: e.ContentType, Attributes: e.Attributes, MaxRetries: e.MaxRetries,
		Key: e.Key, Priority: e.Priority,
	}
	switch {
	case e.Delay != 0 && !e.DeliverAt.IsZero():
		return nil, invalidField(path+"delay", "can't be set together with deliver_at")
	case e.Delay != 0:
		event.Due = &duebusv1.Event_Delay{Delay: durationpb.New(e.Delay)}
	case !e.DeliverAt.IsZero():
		event.Due = &duebusv1.Event_DeliverAt{DeliverAt: timestamppb.New(e.DeliverAt)}
	}
	return event, nil
}

func (e Event) checkText(path string) error {
	if err := checkText(path+"id", e.ID, path+"content_type", e.ContentType, path+"key", e.Key); err != nil {
		return err
	}
	for name, value := range e.Attributes {
		if err := checkText(path+"attributes", name, fmt.Sprintf("%sattributes[%q]", path, name), value); err != nil {
			return err
		}
	}
	return nil
}

// checkText finds text that protobuf can't encode, in pairs of a field's name and its value.
func checkText(pairs ...string) error {
	for i := 0; i < len(pairs); i += 2 {
		if !utf8.ValidString(pairs[i+1]) {
			return invalidField(pairs[i], "is not valid UTF-8")
		}
	}
	return nil
}

func durationOrNil(length *time.Duration) *durationpb.Duration {
	if length == nil {
		return nil
	}
	return durationpb.New(*length)
}
