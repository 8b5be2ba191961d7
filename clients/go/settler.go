package duebus

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/duebus/duebus/clients/go/duebusv1"
)

// settlement is a lease to settle; the nack of an ack is not used.
type settlement struct {
	lease *lease
	nack  Nack
}

func (s settlement) size() int { return len(s.lease.token()) + len(s.nack.Error) }

// settler sends acks and nacks, in batches. What is settled while no call is in flight is sent at once; what
// accumulates during a call goes into the next. Nothing is dropped while its lease is held.
type settler struct {
	acks, nacks *lane
}

func newSettler(client *Client, held *leases, logger *slog.Logger) *settler {
	return &settler{
		acks:  newLane("ack", client, client.ackOnce, held, logger),
		nacks: newLane("nack", client, client.nackOnce, held, logger),
	}
}

func (s *settler) ack(l *lease)             { s.acks.put(settlement{lease: l}) }
func (s *settler) nack(l *lease, nack Nack) { s.nacks.put(settlement{l, nack}) }

// hold sends nothing until resume, because each settle makes the server send more.
func (s *settler) hold() {
	s.acks.hold(true)
	s.nacks.hold(true)
}

func (s *settler) resume() {
	s.acks.hold(false)
	s.nacks.hold(false)
}

// retryNow sends what waits for the next try, because the server can be reached again.
func (s *settler) retryNow() {
	signal(s.acks.again)
	signal(s.nacks.again)
}

// run sends until the context ends. It returns an error that no retry can cure.
func (s *settler) run(ctx context.Context) error {
	return untilFirst(ctx, s.acks.run, s.nacks.run)
}

// lane are the settlements of one kind, one call at a time.
type lane struct {
	kind   string
	client *Client
	send   func(context.Context, []settlement) ([]*duebusv1.LeaseFailure, error)
	leases *leases
	logger *slog.Logger
	pauses backoff
	outage outage
	wanted chan struct{} // something may be sent
	again  chan struct{} // the next try may be made now

	mu      sync.Mutex
	pending []settlement
	held    bool
}

func newLane(
	kind string, client *Client, send func(context.Context, []settlement) ([]*duebusv1.LeaseFailure, error),
	held *leases, logger *slog.Logger,
) *lane {
	return &lane{
		kind: kind, client: client, send: send, leases: held, logger: logger, pauses: reconnectBackoff(),
		wanted: make(chan struct{}, 1), again: make(chan struct{}, 1),
	}
}

func (l *lane) put(each settlement) {
	l.mu.Lock()
	l.pending = append(l.pending, each)
	l.mu.Unlock()
	signal(l.wanted)
}

func (l *lane) hold(held bool) {
	l.mu.Lock()
	l.held = held
	l.mu.Unlock()
	signal(l.wanted)
}

func (l *lane) run(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-l.wanted:
		}
		for batch := l.take(); len(batch) > 0; batch = l.take() {
			done, err := l.deliver(ctx, batch)
			if err != nil || ctx.Err() != nil {
				return err
			}
			if !done {
				l.pause(ctx)
			}
		}
	}
}

// take returns the next batch, without those whose lease was lost meanwhile; none if there is nothing to send.
func (l *lane) take() []settlement {
	l.mu.Lock()
	defer l.mu.Unlock()
	for len(l.pending) > 0 && !l.held {
		count := fitting(l.client, l.pending[:min(len(l.pending), maxLeases)], settlement.size)
		batch := l.leases.unsettled(l.pending[:count])
		l.pending = l.pending[count:]
		if len(batch) > 0 {
			return batch
		}
	}
	return nil
}

// deliver returns false when some of the batch must be retried.
func (l *lane) deliver(ctx context.Context, batch []settlement) (bool, error) {
	drained(l.again)
	failures, err := l.send(ctx, batch)
	switch {
	case err == nil:
		return l.conclude(ctx, batch, failures), nil
	case ctx.Err() != nil:
		return false, nil
	case !heals(err):
		return false, err
	}
	l.logger.Log(ctx, l.outage.level(), "settles failed; they will be retried", "kind", l.kind, "count", len(batch), "error", err)
	for _, each := range batch {
		each.lease.tried = true
	}
	l.putBack(batch)
	return false, nil
}

func (l *lane) conclude(ctx context.Context, batch []settlement, failures []*duebusv1.LeaseFailure) bool {
	reasons := make(map[string]LeaseFailureReason, len(failures))
	for _, failure := range failures {
		reasons[failure.LeaseToken] = failure.Reason
	}
	var stopped, unpaused []settlement
	settled := make([]string, 0, len(batch))
	for _, each := range batch {
		reason, failed := reasons[each.lease.token()]
		if reason == LeaseEngineStopped {
			stopped = append(stopped, each)
			continue
		}
		if reason == LeaseNoKey && each.nack.Pause != nil {
			each.nack.retryInstead()
			unpaused = append(unpaused, each)
			continue
		}
		settled = append(settled, each.lease.token())
		if failed && !each.lease.tried { // a try whose answer was lost may have settled it
			l.logger.Warn("a settle had no effect", append(about(each.lease), "kind", l.kind, "reason", reason)...)
		}
	}
	l.leases.discard(settled)
	l.putBack(unpaused)
	if len(stopped) > 0 {
		level := l.outage.level()
		l.logger.Log(ctx, level, "the engine is stopped; settles will be retried", "kind", l.kind, "count", len(stopped))
		l.putBack(stopped)
		return false
	}
	l.pauses.reset()
	l.outage.over()
	return true
}

func (l *lane) putBack(batch []settlement) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.pending = append(batch, l.pending...)
}

func (l *lane) pause(ctx context.Context) {
	timer := time.NewTimer(l.pauses.next())
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-l.again:
	case <-l.client.closed:
	case <-ctx.Done():
	}
}

// ackOnce makes one attempt; the lane retries it.
func (c *Client) ackOnce(ctx context.Context, batch []settlement) ([]*duebusv1.LeaseFailure, error) {
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	request := &duebusv1.AckRequest{LeaseTokens: make([]string, len(batch))}
	for i, each := range batch {
		request.LeaseTokens[i] = each.lease.token()
	}
	response, err := c.bus.Ack(ctx, request)
	return response.GetFailures(), c.closedOr(err)
}

// nackOnce makes one attempt; the lane retries it.
func (c *Client) nackOnce(ctx context.Context, batch []settlement) ([]*duebusv1.LeaseFailure, error) {
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	nacks := make([]Nack, len(batch))
	for i, each := range batch {
		nacks[i] = each.nack
	}
	encoded, err := encodeNacks(nacks)
	if err != nil {
		return nil, err
	}
	response, err := c.bus.Nack(ctx, &duebusv1.NackRequest{Nacks: encoded})
	return response.GetFailures(), c.closedOr(err)
}

// signal wakes the receiver of a channel of capacity 1, now or at its next receive.
func signal(wake chan struct{}) {
	select {
	case wake <- struct{}{}:
	default:
	}
}

// drained removes a signal that was not received.
func drained(wake chan struct{}) {
	select {
	case <-wake:
	default:
	}
}
