package duebus

import (
	"context"
	"sync"
	"time"
)

// stage is the stage of a delivery in this worker.
//
//	waiting --start--> running --handler has ended--> settling --settled--> gone
//	   |                  |--cancelled--> cancelled ------^
//	   |--released----------------------------------------|
//	from every stage: --lease lost--> gone
type stage int

const (
	// waiting: its handler has not been started.
	waiting stage = iota
	running
	// cancelled: its handler was cancelled and has not ended. Its lease is no longer extended, so that a handler
	// that doesn't end can't hold the event forever.
	cancelled
	// settling: being acked, nacked or released; the server has not confirmed it yet.
	settling
	// gone: settled, or the lease was lost. It must not be settled.
	gone
)

// lease is one delivery and the state of its handling. Its owner's lock guards what changes.
type lease struct {
	delivery *Delivery
	stage    stage
	// cause is why the handler was cancelled.
	cause error
	// cancel ends the handler's context.
	cancel context.CancelCauseFunc
	// leftBehind: the handler did not end when it was cancelled; it keeps its slot.
	leftBehind bool
	// tried: a settle was sent, and its outcome is unknown.
	tried bool
	// expires is when the lease runs out, by this host's clock, unless it has been extended meanwhile.
	expires time.Time
	// lead is how far this host's clock was ahead of the engine's when the delivery arrived, if it arrived instantly.
	lead time.Duration
}

func (l *lease) token() string { return l.delivery.LeaseToken }

// leases are those that one subscription holds, by lease token.
//
// They know when a lease may have run out while its delivery was on its way or waited here, because the process, the
// host or the network was frozen. Such a delivery is not started until the server has confirmed its lease. The engine's
// clock need not agree with this host's: ahead is the most by which this one is ahead of it. It starts at 0; a delivery
// that comes in less time lowers it, and one whose lease the server confirms although it seemed to have run out raises it.
type leases struct {
	mu     sync.Mutex
	held   map[string]*lease
	empty  chan struct{} // closed while none is held
	length time.Duration // how long a lease lasts, from the stream
	ahead  time.Duration
}

func newLeases(length time.Duration) *leases {
	empty := make(chan struct{})
	close(empty)
	return &leases{held: map[string]*lease{}, empty: empty, length: length}
}

// lasts sets how long the leases of future deliveries last.
func (s *leases) lasts(length time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.length = length
}

// add adds a delivery that has just arrived, waiting.
func (s *leases) add(delivery *Delivery) *lease {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.held) == 0 {
		s.empty = make(chan struct{})
	}
	lead := wallClock().Sub(delivery.LeaseExpiresAt) + s.length
	s.ahead = min(s.ahead, lead)
	added := &lease{delivery: delivery, lead: lead, expires: delivery.LeaseExpiresAt.Add(s.ahead)}
	s.held[added.token()] = added
	return added
}

// wallClock also counts the time that the host is suspended, which the monotonic clock of time.Now leaves out.
func wallClock() time.Time { return time.Now().Round(0) }

// mayHavePassed reports whether the lease of a waiting delivery has run out, unless the server confirms it.
func (s *leases) mayHavePassed(l *lease) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return l.stage == waiting && wallClock().After(l.expires)
}

// confirm notes that the server has extended these leases: they last their whole length from the time of the request.
func (s *leases) confirm(tokens []string, asked time.Time, length time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, token := range tokens {
		if l, held := s.held[token]; held {
			l.expires = asked.Add(length)
			if l.stage == waiting {
				s.ahead = max(s.ahead, l.lead)
			}
		}
	}
}

// start returns false when the lease was lost or released before its handler began.
func (s *leases) start(l *lease) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if l.stage != waiting {
		return false
	}
	l.stage = running
	return true
}

// cancel cancels a running handler; a second call does nothing.
func (s *leases) cancel(l *lease, cause error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.cancelLocked(l, cause)
}

func (s *leases) cancelLocked(l *lease, cause error) {
	if l.stage == running {
		l.stage, l.cause = cancelled, cause
		l.cancel(cause)
	}
}

// settle marks a lease as being settled. It returns why its handler was cancelled, if it was, and false when the lease
// is gone or is being settled already.
func (s *leases) settle(l *lease) (cause error, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if l.stage == settling || l.stage == gone {
		return l.cause, false
	}
	l.stage = settling
	return l.cause, true
}

// unsettled returns the settlements of a batch whose lease was not lost while they waited.
func (s *leases) unsettled(batch []settlement) []settlement {
	s.mu.Lock()
	defer s.mu.Unlock()
	left := make([]settlement, 0, len(batch))
	for _, each := range batch {
		if each.lease.stage == settling {
			left = append(left, each)
		}
	}
	return left
}

// discard ends leases that were settled.
func (s *leases) discard(tokens []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, token := range tokens {
		s.discardLocked(token)
	}
}

func (s *leases) discardLocked(token string) {
	l, held := s.held[token]
	if !held {
		return
	}
	l.stage = gone
	delete(s.held, token)
	if len(s.held) == 0 {
		close(s.empty)
	}
}

// lose ends leases that the server reports lost, and cancels their handlers. It doesn't count those being settled:
// there their settle was faster than the question.
func (s *leases) lose(tokens []string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	lost := 0
	for _, token := range tokens {
		l, held := s.held[token]
		if !held {
			continue
		}
		if l.stage != settling {
			lost++
		}
		s.cancelLocked(l, ErrLeaseLost)
		s.discardLocked(token)
	}
	return lost
}

// cancelAll cancels all running handlers.
func (s *leases) cancelAll(cause error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, l := range s.held {
		s.cancelLocked(l, cause)
	}
}

// tokens names all leases held, including those that are being settled.
func (s *leases) tokens() []string { return s.tokensWhere(func(*lease) bool { return true }) }

// extendable names the leases to extend.
func (s *leases) extendable() []string {
	return s.tokensWhere(func(l *lease) bool { return l.stage != cancelled })
}

func (s *leases) tokensWhere(wanted func(*lease) bool) []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	tokens := make([]string, 0, len(s.held))
	for token, l := range s.held {
		if wanted(l) {
			tokens = append(tokens, token)
		}
	}
	return tokens
}

// none is closed when no lease is held, until one is added.
func (s *leases) none() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.empty
}
