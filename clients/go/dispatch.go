package duebus

import (
	"context"
	"crypto/rand"
	"fmt"

	"google.golang.org/grpc/metadata"

	"github.com/duebus/duebus/clients/go/duebusv1"
)

// Dispatched is an event that the bus has stored.
type Dispatched struct {
	EventID string
	// Duplicate: it added nothing, because the topic holds an event with that id or held one within its dedupe window.
	Duplicate bool
}

// DispatchFunc stores events and returns one Dispatched for each, in order. It may be called by many goroutines at once.
type DispatchFunc func(ctx context.Context, topic string, events []Event) ([]Dispatched, error)

// DispatchOption is an option of one dispatch.
type DispatchOption func(*duebusv1.DispatchRequest)

// OnEngines sets the engines that store the events.
func OnEngines(engines ...Engine) DispatchOption {
	return func(r *duebusv1.DispatchRequest) { r.Engines = engines }
}

// WithRequestID lets the caller repeat a dispatch safely: within the dedupe window the same id, of at most 255 bytes,
// returns the first answer and adds nothing. Otherwise each dispatch gets its own id, for the client's retries.
func WithRequestID(id string) DispatchOption {
	return func(r *duebusv1.DispatchRequest) { r.RequestId = id }
}

// RequireSubscriber fails with ErrNoHandlerFound unless a subscriber of the topic is connected to some replica.
func RequireSubscriber() DispatchOption {
	return func(r *duebusv1.DispatchRequest) { r.RequireSubscriber = true }
}

// Dispatch stores an event, to be delivered to each group of the topic, now or when it is due.
//
// Calls for one topic that are made while another is running share the next request to the server. One with
// WithRequestID, with several engines, or with gRPC metadata in its context has a request of its own.
//
// Errors: ErrInvalidArgument, ErrNoDispatcherSpecified, ErrNoHandlerFound, ErrMaxQueuedEventsReached, ErrUnavailable,
// ErrDeadlineExceeded.
func (c *Client) Dispatch(
	ctx context.Context, topic string, event Event, options ...DispatchOption,
) (Dispatched, error) {
	var store DispatchFunc = func(ctx context.Context, topic string, events []Event) ([]Dispatched, error) {
		request, err := newDispatchRequest(topic, events, options)
		if err != nil {
			return nil, err
		}
		_, own := metadata.FromOutgoingContext(ctx)
		if own || request.RequestId != "" || len(request.Engines) > 1 || len(events) != 1 {
			return c.dispatch(ctx, request, nil)
		}
		dispatched, err := c.dispatcher.dispatch(ctx, request)
		if err != nil {
			return nil, err
		}
		return []Dispatched{dispatched}, nil
	}
	dispatched, err := intercepted(store, c.interceptors)(ctx, topic, []Event{event})
	if err != nil {
		return Dispatched{}, err
	}
	if len(dispatched) == 0 {
		return Dispatched{}, &Error{Reason: ErrInternal, Message: "an interceptor has returned no result for the event"}
	}
	return dispatched[0], nil
}

// DispatchMany stores 1 to 1000 events, of at most 4 MiB together: all of them or none. It returns one Dispatched for
// each event, in order. The errors are those of Dispatch.
func (c *Client) DispatchMany(
	ctx context.Context, topic string, events []Event, options ...DispatchOption,
) ([]Dispatched, error) {
	var store DispatchFunc = func(ctx context.Context, topic string, events []Event) ([]Dispatched, error) {
		request, err := newDispatchRequest(topic, events, options)
		if err != nil {
			return nil, err
		}
		return c.dispatch(ctx, request, nil)
	}
	return intercepted(store, c.interceptors)(ctx, topic, events)
}

func newDispatchRequest(topic string, events []Event, options []DispatchOption) (*duebusv1.DispatchRequest, error) {
	request := &duebusv1.DispatchRequest{Topic: topic, Events: make([]*duebusv1.Event, len(events))}
	for _, option := range options {
		option(request)
	}
	if err := checkText("topic", topic, "request_id", request.RequestId); err != nil {
		return nil, err
	}
	for i, event := range events {
		encoded, err := event.encode(fmt.Sprintf("events[%d].", i))
		if err != nil {
			return nil, err
		}
		request.Events[i] = encoded
	}
	return request, nil
}

// dispatch makes the call, and gives note, unless it is nil, each failure that a retry may cure.
func (c *Client) dispatch(
	ctx context.Context, request *duebusv1.DispatchRequest, note func(*Error),
) ([]Dispatched, error) {
	if request.RequestId == "" {
		request.RequestId = rand.Text()
	}
	response, _, err := repeatedNoting(ctx, c, c.bus.Dispatch, request, note)
	if err != nil {
		return nil, err
	}
	return readDispatched(response, len(request.Events))
}

func readDispatched(response *duebusv1.DispatchResponse, events int) ([]Dispatched, error) {
	if len(response.EventIds) != events {
		message := fmt.Sprintf("the server answered %d event ids for %d events", len(response.EventIds), events)
		return nil, &Error{Reason: ErrInternal, Message: message}
	}
	duplicates := make(map[string]int, len(response.DuplicateEventIds))
	for _, id := range response.DuplicateEventIds {
		duplicates[id]++
	}
	// Of several events with one id in a request, the first is the one that was stored.
	dispatched := make([]Dispatched, len(response.EventIds))
	for i := len(response.EventIds) - 1; i >= 0; i-- {
		id := response.EventIds[i]
		dispatched[i] = Dispatched{EventID: id, Duplicate: duplicates[id] > 0}
		duplicates[id]--
	}
	return dispatched, nil
}
