package duebus

import (
	"context"
	"sync"
	"time"
)

// stage is where a delivery stands in this worker.
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
	// cancelled: its handler was cancelled and has not ended. Its lease is not extended any more, so that a handler
	// that doesn't end can't hold the event forever.
	cancelled
	// settling: to be acked, nacked or released; the server has not confirmed it yet.
	settling
	// gone: settled, or the lease was lost. Nothing may be settled for it.
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
	// lead is how far this host's clock was ahead of the engine's when the delivery came, if it took no time to come.
	lead time.Duration
}

func (l *lease) token() string { return l.delivery.LeaseToken }

// leases are those that one subscription holds, by lease token.
//
// They know when a lease may have run out while its delivery was on the way or waited here: the process or the host was
// frozen, the network stood still. Such a delivery is not started before the server has confirmed its lease. The engine's
// clock need not agree with this host's: ahead is how far this one is ahead of it, at most. It starts at 0; a delivery
// that comes in less time lowers it, and one whose lease the server confirms although it seemed to have run out raises it.
type leases struct {
	mu     sync.Mutex
	held   map[string]*lease
	empty  chan struct{} // closed while none is held
	length time.Duration // of a lease, as the stream says
	ahead  time.Duration
}

func newLeases(length time.Duration) *leases {
	empty := make(chan struct{})
	close(empty)
	return &leases{held: map[string]*lease{}, empty: empty, length: length}
}

// lasts sets how long the leases of deliveries to come last.
func (s *leases) lasts(length time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.length = length
}

// add takes a delivery that came now, waiting.
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

// mayHavePassed says of a delivery that waits that its lease has run out, unless the server says otherwise.
func (s *leases) mayHavePassed(l *lease) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return l.stage == waiting && wallClock().After(l.expires)
}

// confirm says that the server has extended these leases: they last so long from the moment when it was asked.
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

// cancel cancels a handler that runs; nothing happens the second time.
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

// unsettled are those of a batch whose lease was not lost while they waited to be sent.
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
// there the settle overtook the question.
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

// cancelAll cancels all handlers that run.
func (s *leases) cancelAll(cause error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, l := range s.held {
		s.cancelLocked(l, cause)
	}
}

// tokens names all leases that are held, those that are being settled included.
func (s *leases) tokens() []string { return s.tokensWhere(func(*lease) bool { return true }) }

// extendable names the leases to be extended.
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
