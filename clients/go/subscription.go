package duebus

import (
	"cmp"
	"context"
	"errors"
	"io"
	"log/slog"
	"sync"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/duebus/duebus/clients/go/duebusv1"
)

// A frame in flight when the handlers are paused arrives within quiet; quietAtMost bounds the wait for a server that
// keeps sending.
const (
	quiet       = 50 * time.Millisecond
	quietAtMost = time.Second
)

// subscription handles the events of one topic and group: a stream that is reopened whenever it ends, the executor that
// it feeds, and the keeper of their leases.
type subscription struct {
	client   *Client
	settings *workerSettings
	topic    string
	logger   *slog.Logger
	leases   *leases
	settler  *settler
	executor *executor
	keeper   *keeper
	pauses   backoff
	arrival  chan struct{}
	started  chan struct{} // closed when a stream was open for the first time
	outage   outage
	held     []string // the leases that the stream names: all, if so many fit into the request
	limited  bool     // the group has limits, so that nothing is prefetched
	starting sync.Once
}

func newSubscription(base context.Context, client *Client, entry *entry) *subscription {
	settings := *entry.settings
	settings.logger = client.logger.With("topic", entry.topic, "group", groupName(&settings))
	held := newLeases(settings.lease)
	settles := newSettler(client, held, settings.logger)
	handler := intercepted(entry.handler, settings.interceptors)
	handlers := newExecutor(base, &settings, handler, held, settles)
	extends := newKeeper(client, held, &settings, handlers.startWaiting)
	handlers.doubt = extends.extendNow
	return &subscription{
		client: client, settings: &settings, topic: entry.topic, logger: settings.logger, leases: held,
		settler: settles, executor: handlers, keeper: extends, pauses: reconnectBackoff(),
		arrival: make(chan struct{}, 1), started: make(chan struct{}),
	}
}

// groupName is the group in logs.
func groupName(settings *workerSettings) string {
	if settings.group == "" && settings.ephemeral {
		return "ephemeral"
	}
	return cmp.Or(settings.group, "default")
}

// run handles events until stop ends, and then drains: it finishes running handlers, for at most the drain timeout, and
// releases the rest. It returns an error that no retry can cure.
func (s *subscription) run(stop context.Context) error {
	working, end := context.WithCancel(context.WithoutCancel(stop))
	stop, stopNow := context.WithCancel(stop)
	helpers := make(chan error, 1)
	go func() {
		defer stopNow() // without them, reading is useless
		defer end()
		helpers <- untilFirst(working, s.settler.run, s.keeper.run)
	}()
	failure := s.read(stop)
	err := s.finish(working, end)
	end()
	return cmp.Or(failure, <-helpers, err)
}

// finish waits for the handlers and for their settles; working ends when nothing can be settled any more. It returns an
// error if that is because the client was closed.
func (s *subscription) finish(working context.Context, end func()) error {
	go func() {
		select {
		case <-s.client.closed:
			end()
		case <-working.Done():
		}
	}()
	if s.settled(working, working, s.settings.drainTimeout) {
		return nil
	}
	s.leases.cancelAll(ErrStopped)
	if s.settled(context.WithoutCancel(working), working, 2*cancelGrace) {
		return nil
	}
	left := len(s.leases.tokens())
	s.logger.Warn("stopped with unsettled leases; their events will be delivered again", "count", left)
	if s.client.isClosed() {
		return s.client.closedOr(ErrStopped)
	}
	return nil
}

// settled waits for the handlers until ctx ends, and for their settles until working ends too.
func (s *subscription) settled(ctx, working context.Context, timeout time.Duration) bool {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	if !s.executor.finished(ctx) {
		return false
	}
	select {
	case <-s.leases.none():
		return true
	case <-working.Done():
		return false
	case <-ctx.Done():
		return false
	}
}

// read reads streams until stop ends. Deliveries that were not started are then released.
func (s *subscription) read(stop context.Context) error {
	defer func() {
		s.executor.pause()
		s.executor.release()
		s.settler.resume()
	}()
	for stop.Err() == nil {
		if !s.waitUsable(stop) {
			return nil
		}
		pause, err := s.readOne(stop)
		if stop.Err() != nil {
			return nil
		}
		if err != nil {
			s.logger.Error("the subscription ended", "error", err)
			return err
		}
		s.client.wait(stop, pause)
	}
	return nil
}

// waitUsable returns false when stop ends. While abandoned handlers take every slot, other workers can handle what
// waits here.
func (s *subscription) waitUsable(stop context.Context) bool {
	select {
	case <-s.executor.usable():
		return true
	default:
	}
	s.logger.Error("cancelled handlers occupy every slot; unsubscribed until one returns")
	s.executor.release()
	select {
	case <-s.executor.usable():
		return true
	case <-stop.Done():
		return false
	}
}

// readOne reads a stream until it ends; it returns how long to wait before the next.
func (s *subscription) readOne(stop context.Context) (time.Duration, error) {
	ctx, cancel := context.WithCancelCause(context.WithoutCancel(stop))
	defer cancel(nil)
	defer s.keeper.detach()
	defer s.whenStopped(stop, func() { cancel(nil) })()
	if s.executor.whenStuck(func() { cancel(nil) }) {
		return 0, nil
	}
	unstarted := time.AfterFunc(s.client.timeout, func() { cancel(errNotStarted()) })
	defer unstarted.Stop()
	held := s.leases.tokens()
	s.held = held[:fitting(s.client, held, tokenSize)]
	stream, err := s.client.bus.Subscribe(ctx, s.request())
	for err == nil {
		var frame *duebusv1.SubscribeResponse
		if frame, err = stream.Recv(); err != nil {
			break
		}
		if closing := frame.GetClosing(); closing != nil {
			return s.pauseAfterClosing(closing), nil
		}
		unstarted.Stop()
		wide := !s.limited
		s.take(frame)
		if wide && s.limited && *s.settings.concurrency < s.settings.maxInFlight {
			defer s.narrow(stop, func() { cancel(nil) })()
		}
	}
	return s.pauseAfter(ctx, s.client.closedOr(err))
}

func errNotStarted() error {
	return &Error{Reason: ErrDeadlineExceeded, Message: "the server did not start the subscription in time"}
}

// whenStopped drains the stream and then closes it when stop ends. It returns what ends the watch, and waits for it.
func (s *subscription) whenStopped(stop context.Context, closeStream func()) func() {
	drained := make(chan struct{})
	unwatch := context.AfterFunc(stop, func() {
		defer close(drained)
		s.drainStream()
		closeStream()
	})
	return func() {
		if !unwatch() {
			<-drained
		}
	}
}

// narrow closes the stream once nothing is in flight on it, so that the next one prefetches nothing. It returns what waits
// for that.
func (s *subscription) narrow(stop context.Context, closeStream func()) func() {
	narrowed := make(chan struct{})
	s.settler.hold() // each settle makes the server send more
	go func() {
		defer close(narrowed)
		s.awaitQuiet()
		closeStream()
		if stop.Err() == nil {
			s.settler.resume()
		}
	}()
	return func() { <-narrowed }
}

// drainStream waits until no delivery is in flight. One that arrives after the stream is closed can't be released: it
// costs an attempt and the disconnect grace.
func (s *subscription) drainStream() {
	s.executor.pause()
	s.settler.hold()
	s.awaitQuiet()
}

func (s *subscription) awaitQuiet() {
	atMost := time.After(quietAtMost)
	for {
		select {
		case <-s.arrival:
		case <-time.After(quiet):
			return
		case <-atMost:
			return
		}
	}
}

func (s *subscription) request() *duebusv1.SubscribeRequest {
	settings := s.settings
	return &duebusv1.SubscribeRequest{
		Topic:            s.topic,
		Group:            settings.group,
		Engine:           settings.engine,
		Consumer:         settings.consumer,
		MaxInFlight:      uint32(s.window()),
		MaxInFlightBytes: settings.maxInFlightBytes,
		Lease:            durationpb.New(settings.lease),
		DisconnectGrace:  durationOrNil(settings.disconnectGrace),
		HeldLeaseTokens:  s.held,
		Ephemeral:        settings.ephemeral,
	}
}

// window is how many events the stream may hold.
func (s *subscription) window() int {
	if s.limited {
		return min(*s.settings.concurrency, s.settings.maxInFlight)
	}
	return s.settings.maxInFlight
}

func (s *subscription) take(frame *duebusv1.SubscribeResponse) {
	switch frame := frame.Frame.(type) {
	case *duebusv1.SubscribeResponse_Started:
		s.onStarted(frame.Started)
	case *duebusv1.SubscribeResponse_Deliveries:
		deliveries := make([]*Delivery, 0, len(frame.Deliveries.Deliveries))
		for _, each := range frame.Deliveries.Deliveries {
			deliveries = append(deliveries, NewDelivery(each))
		}
		s.executor.accept(deliveries)
		signal(s.arrival)
	}
}

func (s *subscription) onStarted(frame *duebusv1.Started) {
	s.settings.group = cmp.Or(frame.Group, s.settings.group) // the server has named an ephemeral group that had no name
	lost := s.leases.lose(frame.LostLeaseTokens)
	kept := len(s.leases.tokens())
	if kept > len(s.held) {
		s.keeper.extendNow() // leases that the stream did not name run out
	}
	s.logger.Info("subscribed", "session", frame.SessionId, "leases_kept", kept, "leases_lost", lost)
	s.client.limitRequests(frame.MaxRequestBytes)
	s.limited = frame.Limited
	s.leases.lasts(frame.Lease.AsDuration())
	s.keeper.attach(frame.Lease.AsDuration(), frame.DisconnectGrace.AsDuration())
	s.settler.retryNow()
	s.pauses.reset()
	s.outage.over()
	s.starting.Do(func() { close(s.started) })
}

func (s *subscription) pauseAfterClosing(frame *duebusv1.Closing) time.Duration {
	if frame.Reason == duebusv1.Closing_REASON_REBALANCE {
		s.logger.Debug("the server asked to subscribe again, so that all servers have their share")
		return 0
	}
	// The added backoff spreads out the workers of a server that closes all its streams at once.
	pause := frame.ReconnectAfter.AsDuration() + s.pauses.next()
	s.logger.Info("the server closed the stream", "reason", frame.Reason, "next_try_in", pause)
	return pause
}

func (s *subscription) pauseAfter(ctx context.Context, err error) (time.Duration, error) {
	if err == io.EOF {
		return s.pauses.next(), nil
	}
	var cause *Error
	switch {
	case errors.As(context.Cause(ctx), &cause):
		err = cause
	case ctx.Err() != nil && !errors.Is(err, ErrClientClosed):
		return 0, nil // the worker has closed the stream
	}
	if !heals(err) {
		return 0, err
	}
	pause := s.pauses.next() + retryAfter(err)
	s.logger.Log(ctx, s.outage.level(), "the stream broke", "error", err, "next_try_in", pause)
	return pause, nil
}

// reconnectBackoff starts short, because most broken streams can be reopened at once. It stays below three seconds,
// after which the leases of a killed server run out unless a worker has named or settled them.
func reconnectBackoff() backoff {
	return backoff{initial: 100 * time.Millisecond, most: time.Second}
}
