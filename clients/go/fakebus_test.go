package duebus_test

import (
	"context"
	"io"
	"log/slog"
	"net"
	"sync"
	"testing"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/protoadapt"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	duebus "github.com/duebus/duebus/clients/go"
	"github.com/duebus/duebus/clients/go/duebusv1"
)

// waitTimeout is the timeout of each wait for something that must come.
const waitTimeout = 30 * time.Second

// fakeBus is a server whose answers the test sets. Its channels deliver the requests.
type fakeBus struct {
	duebusv1.UnimplementedEventBusServer
	address    string
	server     *grpc.Server
	dispatches chan *duebusv1.DispatchRequest
	tokens     chan []string // the authorization of each dispatch
	acks       chan *duebusv1.AckRequest
	nacks      chan *duebusv1.NackRequest
	extends    chan *duebusv1.ExtendRequest
	streams    chan *fakeStream

	mu       sync.Mutex
	held     chan struct{}                              // nil, or what the first dispatch waits for
	dispatch func() (*duebusv1.DispatchResponse, error) // nil: all events are stored
	ack      func() (*duebusv1.AckResponse, error)
	nack     func() (*duebusv1.NackResponse, error)
	extend   func(*duebusv1.ExtendRequest) (*duebusv1.ExtendResponse, error)
	started  *duebusv1.Started // nil: streams do not start
}

// fakeStream is an open stream of a worker.
type fakeStream struct {
	request *duebusv1.SubscribeRequest
	frames  chan *duebusv1.SubscribeResponse
	end     chan error
	gone    <-chan struct{} // closed when the worker has left
}

func newFakeBus(t *testing.T, options ...grpc.ServerOption) *fakeBus {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	bus := &fakeBus{
		address:    listener.Addr().String(),
		server:     grpc.NewServer(options...),
		dispatches: make(chan *duebusv1.DispatchRequest, 1000),
		tokens:     make(chan []string, 1000),
		acks:       make(chan *duebusv1.AckRequest, 1000),
		nacks:      make(chan *duebusv1.NackRequest, 1000),
		extends:    make(chan *duebusv1.ExtendRequest, 1000),
		streams:    make(chan *fakeStream, 1000),
		dispatch:   func() (*duebusv1.DispatchResponse, error) { return dispatched("a"), nil },
		ack:        func() (*duebusv1.AckResponse, error) { return &duebusv1.AckResponse{}, nil },
		nack:       func() (*duebusv1.NackResponse, error) { return &duebusv1.NackResponse{}, nil },
		extend: func(*duebusv1.ExtendRequest) (*duebusv1.ExtendResponse, error) {
			return &duebusv1.ExtendResponse{}, nil
		},
		started: &duebusv1.Started{
			SessionId: "s", MaxInFlight: 64,
			Lease: durationpb.New(30 * time.Second), DisconnectGrace: durationpb.New(time.Second),
		},
	}
	duebusv1.RegisterEventBusServer(bus.server, bus)
	go func() { _ = bus.server.Serve(listener) }()
	t.Cleanup(bus.server.Stop)
	return bus
}

// set changes an answer while the server runs.
func (b *fakeBus) set(change func()) {
	b.mu.Lock()
	defer b.mu.Unlock()
	change()
}

func (b *fakeBus) Dispatch(ctx context.Context, r *duebusv1.DispatchRequest) (*duebusv1.DispatchResponse, error) {
	b.dispatches <- r
	b.tokens <- metadata.ValueFromIncomingContext(ctx, "authorization")
	b.mu.Lock()
	answer, held := b.dispatch, b.held
	b.held = nil
	b.mu.Unlock()
	if held != nil {
		<-held
	}
	if answer != nil {
		return answer()
	}
	return stored(r), nil
}

func (b *fakeBus) Ack(_ context.Context, r *duebusv1.AckRequest) (*duebusv1.AckResponse, error) {
	b.acks <- r
	b.mu.Lock()
	answer := b.ack
	b.mu.Unlock()
	return answer()
}

func (b *fakeBus) Nack(_ context.Context, r *duebusv1.NackRequest) (*duebusv1.NackResponse, error) {
	b.nacks <- r
	b.mu.Lock()
	answer := b.nack
	b.mu.Unlock()
	return answer()
}

func (b *fakeBus) Extend(_ context.Context, r *duebusv1.ExtendRequest) (*duebusv1.ExtendResponse, error) {
	b.extends <- r
	b.mu.Lock()
	answer := b.extend
	b.mu.Unlock()
	return answer(r)
}

func (b *fakeBus) Subscribe(
	r *duebusv1.SubscribeRequest, out grpc.ServerStreamingServer[duebusv1.SubscribeResponse],
) error {
	stream := &fakeStream{
		request: r, frames: make(chan *duebusv1.SubscribeResponse, 100), end: make(chan error, 1),
		gone: out.Context().Done(),
	}
	b.mu.Lock()
	if b.started != nil {
		started := &duebusv1.SubscribeResponse_Started{Started: b.started}
		stream.frames <- &duebusv1.SubscribeResponse{Frame: started}
	}
	b.mu.Unlock()
	b.streams <- stream
	for {
		select {
		case frame := <-stream.frames:
			if err := out.Send(frame); err != nil {
				return err
			}
		case err := <-stream.end:
			return err
		case <-stream.gone:
			return nil
		}
	}
}

// deliver sends one frame with an event for each id; their lease tokens are "lease-ID", their keys "key-ID".
func (s *fakeStream) deliver(ids ...string) { s.deliverUntil(time.Now().Add(30*time.Second), ids...) }

// deliverUntil sends a frame of deliveries whose leases run out at the given time, by the engine's clock.
func (s *fakeStream) deliverUntil(expires time.Time, ids ...string) {
	frame := &duebusv1.Deliveries{}
	for _, id := range ids {
		frame.Deliveries = append(frame.Deliveries, &duebusv1.Delivery{
			Event: &duebusv1.Event{Id: id, Data: []byte(`{"id":42}`), Key: "key-" + id},
			Topic: "order.created", Group: "default",
			LeaseToken: "lease-" + id, Attempt: 1, LeaseExpiresAt: timestamppb.New(expires),
		})
	}
	s.frames <- &duebusv1.SubscribeResponse{Frame: &duebusv1.SubscribeResponse_Deliveries{Deliveries: frame}}
}

func (s *fakeStream) close(reconnectAfter time.Duration) {
	s.closeFor(duebusv1.Closing_REASON_DRAINING, reconnectAfter)
}

func (s *fakeStream) closeFor(reason duebusv1.Closing_Reason, reconnectAfter time.Duration) {
	closing := &duebusv1.Closing{Reason: reason, ReconnectAfter: durationpb.New(reconnectAfter)}
	s.frames <- &duebusv1.SubscribeResponse{Frame: &duebusv1.SubscribeResponse_Closing{Closing: closing}}
}

func dispatched(ids ...string) *duebusv1.DispatchResponse {
	return &duebusv1.DispatchResponse{EventIds: ids}
}

// stored is the answer to a request whose events have ids and are all stored.
func stored(request *duebusv1.DispatchRequest) *duebusv1.DispatchResponse {
	response := &duebusv1.DispatchResponse{}
	for _, event := range request.Events {
		response.EventIds = append(response.EventIds, event.Id)
	}
	return response
}

// refusal is an error in the server's form.
func refusal(code codes.Code, reason string, details ...protoadapt.MessageV1) error {
	info := &errdetails.ErrorInfo{Domain: "duebus", Reason: reason, Metadata: map[string]string{"topic": "t"}}
	refused, err := status.New(code, "refused").WithDetails(append([]protoadapt.MessageV1{info}, details...)...)
	if err != nil {
		panic(err)
	}
	return refused.Err()
}

// failingFirst answers the first calls with these errors, the others with the answer.
func failingFirst[T any](answer T, errs ...error) func() (T, error) {
	var mu sync.Mutex
	return func() (T, error) {
		mu.Lock()
		defer mu.Unlock()
		if len(errs) == 0 {
			return answer, nil
		}
		err := errs[0]
		errs = errs[1:]
		var none T
		return none, err
	}
}

func newClient(t *testing.T, target string, options ...duebus.ClientOption) *duebus.Client {
	t.Helper()
	quiet := slog.New(slog.NewTextHandler(io.Discard, nil))
	client, err := duebus.NewClient(target, append([]duebus.ClientOption{duebus.WithLogger(quiet)}, options...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = client.Close() })
	return client
}

// next receives from a channel; the test fails if nothing arrives.
func next[T any](t *testing.T, from <-chan T) T {
	t.Helper()
	select {
	case value := <-from:
		return value
	case <-time.After(waitTimeout):
		t.Fatalf("no %T came within %v", *new(T), waitTimeout)
		panic("unreachable")
	}
}

// no fails the test if something has arrived.
func no[T any](t *testing.T, from <-chan T) {
	t.Helper()
	select {
	case value := <-from:
		t.Fatalf("unexpected: %v", value)
	default:
	}
}
