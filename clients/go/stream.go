package duebus

import (
	"context"
	"errors"
	"io"
	"iter"
	"time"

	"google.golang.org/grpc"

	"github.com/duebus/duebus/clients/go/duebusv1"
)

// SubscribeOptions are the options of a stream. The server chooses the fields with their zero value.
type SubscribeOptions struct {
	// Group is the workers that share one copy of each event; empty: "default".
	Group string
	// Ephemeral: the group goes with its last stream; see WithEphemeral.
	Ephemeral bool
	Engine    Engine
	// Consumer identifies the stream in the admin views.
	Consumer string
	// MaxInFlight and MaxInFlightBytes are how many events, and bytes of them, the stream holds at once.
	MaxInFlight      uint32
	MaxInFlightBytes uint64
	// Lease is how long a delivery is leased, 100 ms to 12 h.
	Lease time.Duration
	// DisconnectGrace is how long leases last after the stream breaks, 0 to 1 h; nil: the server's setting.
	DisconnectGrace *time.Duration
	// HeldLeaseTokens are the leases of an earlier stream that are still held; the stream keeps them.
	HeldLeaseTokens []string
	// Timeout is how long the server may take to start the stream; 0: the client's.
	Timeout time.Duration
}

// Stream is one stream of deliveries. It is not resumed: a Worker does that.
type Stream struct {
	// Started is the first frame: the limits in force, and the named leases that are lost.
	Started *duebusv1.Started
	client  *Client
	frames  grpc.ServerStreamingClient[duebusv1.SubscribeResponse]
	cancel  context.CancelCauseFunc
}

// Frame is Deliveries, Heartbeat or Closing.
type Frame interface{ isFrame() }

// Deliveries are to be settled by Ack or Nack.
type Deliveries []*Delivery

// Heartbeat comes when there was nothing else for a while.
type Heartbeat struct {
	// Backlog is how many events of the group are due and not leased.
	Backlog uint64
}

// Closing is the last frame: the server ends the stream.
type Closing struct {
	Reason duebusv1.Closing_Reason
	// ReconnectAfter is how long to wait before the next stream.
	ReconnectAfter time.Duration
}

func (Deliveries) isFrame() {}
func (Heartbeat) isFrame()  {}
func (Closing) isFrame()    {}

// Subscribe opens one stream of deliveries, until ctx ends or Close. It returns when the server has started it.
//
// Errors: ErrInvalidArgument names the field; ErrMaxStreamsReached; ErrUnavailable; ErrDeadlineExceeded.
func (c *Client) Subscribe(ctx context.Context, topic string, options SubscribeOptions) (*Stream, error) {
	err := checkText("topic", topic, "group", options.Group, "consumer", options.Consumer)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	timeout := options.Timeout
	if timeout == 0 {
		timeout = c.timeout
	}
	late := time.AfterFunc(timeout, func() { cancel(errNotStarted()) })
	frames, err := c.bus.Subscribe(ctx, options.request(topic))
	var frame *duebusv1.SubscribeResponse
	if err == nil {
		frame, err = frames.Recv()
	}
	if !late.Stop() && ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	if err == io.EOF || err == nil && frame.GetStarted() == nil {
		err = &Error{Reason: ErrUnavailable, Message: "the server ended the stream before it started"}
	}
	if err != nil {
		cancel(nil)
		return nil, c.closedOr(err)
	}
	return &Stream{Started: frame.GetStarted(), client: c, frames: frames, cancel: cancel}, nil
}

// Close ends the stream. What it holds and no other stream names is delivered again after the disconnect grace.
func (s *Stream) Close() { s.cancel(nil) }

// Frames returns the frames after the first, until the stream ends. An error ends the sequence; none is yielded when
// the server, Close or the context has ended the stream.
func (s *Stream) Frames() iter.Seq2[Frame, error] {
	return func(yield func(Frame, error) bool) {
		for {
			message, err := s.frames.Recv()
			switch {
			case err == io.EOF || err != nil && s.isEnded(err):
				return
			case err != nil:
				yield(nil, s.client.closedOr(err))
				return
			}
			if frame := readFrame(message); frame != nil && !yield(frame, nil) {
				return
			}
		}
	}
}

// isEnded is whether Close or the context has ended the stream, and not the client or the server.
func (s *Stream) isEnded(err error) bool {
	return s.frames.Context().Err() != nil && !s.client.isClosed() && errors.Is(err, ErrCancelled)
}

// readFrame is nil for a kind of frame that this client is too old to know.
func readFrame(message *duebusv1.SubscribeResponse) Frame {
	switch frame := message.Frame.(type) {
	case *duebusv1.SubscribeResponse_Deliveries:
		deliveries := make(Deliveries, 0, len(frame.Deliveries.Deliveries))
		for _, each := range frame.Deliveries.Deliveries {
			deliveries = append(deliveries, NewDelivery(each))
		}
		return deliveries
	case *duebusv1.SubscribeResponse_Heartbeat:
		return Heartbeat{frame.Heartbeat.Backlog}
	case *duebusv1.SubscribeResponse_Closing:
		return Closing{frame.Closing.Reason, frame.Closing.ReconnectAfter.AsDuration()}
	}
	return nil
}

func (o SubscribeOptions) request(topic string) *duebusv1.SubscribeRequest {
	return &duebusv1.SubscribeRequest{
		Topic: topic, Group: o.Group, Engine: o.Engine, Consumer: o.Consumer, MaxInFlight: o.MaxInFlight,
		MaxInFlightBytes: o.MaxInFlightBytes, Lease: positiveOrNil(o.Lease),
		DisconnectGrace: durationOrNil(o.DisconnectGrace), HeldLeaseTokens: o.HeldLeaseTokens, Ephemeral: o.Ephemeral,
	}
}
