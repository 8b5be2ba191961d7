package duebus

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"
)

// cancelGrace is how long a cancelled handler may take to return before its event is settled without it.
const cancelGrace = time.Second

// executor runs the handler of one subscription's deliveries, a limited number at a time; the others wait in order of
// arrival.
type executor struct {
	handler      Handler
	maxExecution time.Duration
	leases       *leases
	settler      *settler
	logger       *slog.Logger
	base         context.Context // the handlers' context, which nothing ends

	mu      sync.Mutex
	queue   []*lease
	slots   int
	taken   int
	lost    int           // slots taken by handlers that were left behind
	paused  bool          // no handler is started
	stuck   func()        // called when all slots are lost
	doubt   func()        // called when the lease of the next delivery may have run out
	change  chan struct{} // closed when a handler has ended or was abandoned
	useable chan struct{} // closed while not all slots are lost
}

func newExecutor(base context.Context, settings *workerSettings, handler Handler, held *leases, s *settler) *executor {
	useable := make(chan struct{})
	close(useable)
	return &executor{
		handler: handler, maxExecution: settings.maxExecution, leases: held, settler: s, logger: settings.logger,
		base: base, slots: *settings.concurrency, stuck: func() {}, doubt: func() {}, useable: useable,
		change: make(chan struct{}, 1),
	}
}

// accept takes deliveries and starts as many as there are slots for.
func (e *executor) accept(deliveries []*Delivery) {
	e.mu.Lock()
	for _, delivery := range deliveries {
		e.queue = append(e.queue, e.leases.add(delivery))
	}
	e.mu.Unlock()
	e.startWaiting()
}

// pause stops starting handlers.
func (e *executor) pause() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.paused = true
}

// release releases the deliveries that were not started.
func (e *executor) release() {
	e.mu.Lock()
	queue := e.queue
	e.queue = nil
	e.mu.Unlock()
	for _, l := range queue {
		if _, ok := e.leases.settle(l); ok {
			e.settler.nack(l, Nack{LeaseToken: l.token(), Release: true})
		}
	}
}

// startWaiting starts as many deliveries as there are slots for. It stops at a delivery whose lease may have run out,
// and is called again when the server has answered.
func (e *executor) startWaiting() {
	e.mu.Lock()
	defer e.mu.Unlock()
	for len(e.queue) > 0 && e.taken < e.slots && !e.paused {
		l := e.queue[0]
		if e.leases.mayHavePassed(l) {
			e.doubt()
			return
		}
		e.queue = e.queue[1:]
		e.startLocked(l)
	}
}

func (e *executor) startLocked(l *lease) {
	ctx, cancel := context.WithCancelCause(e.base)
	l.cancel = cancel
	if !e.leases.start(l) {
		cancel(nil)
		return
	}
	e.taken++
	// The context ends first, so that nothing waits for a handler that ignores it.
	forget := context.AfterFunc(ctx, func() { time.AfterFunc(cancelGrace, func() { e.leaveBehind(l) }) })
	deadline := time.AfterFunc(e.maxExecution, func() { e.leases.cancel(l, ErrMaxExecution) })
	go invoke(ctx, e.handler, l.delivery, func(err error) {
		deadline.Stop()
		forget()
		cancel(nil)
		e.ended(l, err)
	})
}

// ended settles what a handler has done and makes room for the next.
func (e *executor) ended(l *lease, err error) {
	e.settle(l, err)
	e.mu.Lock()
	e.taken--
	if l.leftBehind {
		e.lost--
		if e.lost == e.slots-1 {
			close(e.useable)
		}
	} else {
		l.leftBehind = true // too late for leaveBehind
	}
	e.mu.Unlock()
	signal(e.change)
	e.startWaiting()
}

// leaveBehind settles the event of a cancelled handler that doesn't return, and abandons the handler.
func (e *executor) leaveBehind(l *lease) {
	e.mu.Lock()
	if l.leftBehind {
		e.mu.Unlock()
		return
	}
	l.leftBehind = true
	e.lost++
	all := e.lost == e.slots
	if all {
		e.useable = make(chan struct{})
	}
	stuck := e.stuck
	e.mu.Unlock()
	e.logger.Error("a cancelled handler has not returned; it keeps its slot until it does", about(l)...)
	e.settle(l, nil)
	signal(e.change)
	if all {
		stuck()
	}
}

// settle acks, nacks or releases an event, depending on how its handler ended or why it was cancelled.
func (e *executor) settle(l *lease, err error) {
	cause, ok := e.leases.settle(l)
	if !ok {
		return
	}
	switch {
	case errors.Is(cause, ErrStopped):
		err = ErrRelease
	case errors.Is(cause, ErrMaxExecution):
		err = fmt.Errorf("cancelled: the handler ran for longer than %v", e.maxExecution)
	}
	if err == nil {
		e.settler.ack(l)
		return
	}
	nack := nackOf(l.delivery, err)
	e.report(l, err, nack)
	e.settler.nack(l, nack)
}

func (e *executor) report(l *lease, err error, nack Nack) {
	attributes := append(about(l), "error", nack.Error)
	panicked, isPanic := err.(*panicError)
	switch {
	case isPanic:
		e.logger.Error("a handler panicked", append(attributes, "stack", string(panicked.stack))...)
	case nack.Release:
		e.logger.Debug("an event was released", attributes...)
	case nack.DeadLetter:
		e.logger.Warn("an event was dead-lettered", attributes...)
	case nack.Pause != nil:
		e.logger.Info("a handler asked for a pause", append(attributes, "scope", nack.Pause.Scope, "pause", nack.Pause.Duration)...)
	case nack.Delay != nil:
		e.logger.Info("a handler asked for a retry", attributes...)
	default:
		e.logger.Warn("a handler failed", attributes...)
	}
}

// finished waits until all handlers have ended, except abandoned ones; false if ctx ends first.
func (e *executor) finished(ctx context.Context) bool {
	for !e.idle() {
		select {
		case <-e.change:
		case <-ctx.Done():
			return false
		}
	}
	return true
}

func (e *executor) idle() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.taken == e.lost
}

// usable is closed while not all slots are taken by handlers that were left behind.
func (e *executor) usable() <-chan struct{} {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.useable
}

// whenStuck sets a function to call when all slots are lost, and reports whether they are now.
func (e *executor) whenStuck(stuck func()) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.stuck = stuck
	return e.lost >= e.slots
}

// about names a delivery in the log; the logger adds its topic and group.
func about(l *lease) []any {
	return []any{"event", l.delivery.EventID, "attempt", l.delivery.Attempt}
}
