package duebus

import (
	"context"
	"log/slog"
	"slices"
	"sync"
	"time"
)

// The shortest pause between extensions, and the longest after a failure, regardless of lease and grace.
const (
	shortestPeriod = 20 * time.Millisecond
	retryPeriod    = time.Second
)

// keeper extends the leases of one subscription while its deliveries are handled, wait, or are being settled: every
// third of a lease. While no stream is open, every third of the disconnect grace, after which the leases of a broken
// stream run out.
type keeper struct {
	client *Client
	leases *leases
	logger *slog.Logger
	change chan struct{} // signals that the stream has begun or ended
	urgent chan struct{} // signals that some leases must be extended now
	// confirmed is called when leases were extended.
	confirmed func()
	outage    outage

	mu           sync.Mutex
	lease, grace time.Duration
	attached     bool
	failed       bool
}

func newKeeper(client *Client, held *leases, settings *workerSettings, confirmed func()) *keeper {
	return &keeper{
		client: client, leases: held, logger: settings.logger, change: make(chan struct{}, 1),
		urgent: make(chan struct{}, 1), confirmed: confirmed, lease: settings.lease, grace: settings.lease,
	}
}

// attach notes that a stream is open: the server has renewed the leases that it named.
func (k *keeper) attach(lease, grace time.Duration) {
	k.mu.Lock()
	k.lease, k.grace, k.attached = lease, grace, true
	k.mu.Unlock()
	signal(k.change)
}

// detach notes that the stream has ended.
func (k *keeper) detach() {
	k.mu.Lock()
	k.attached = false
	k.mu.Unlock()
	signal(k.change)
}

// extendNow extends all leases without waiting for the end of the period.
func (k *keeper) extendNow() { signal(k.urgent) }

// run extends until the context ends. It returns an error that no retry can cure.
func (k *keeper) run(ctx context.Context) error {
	for {
		timer := time.NewTimer(k.period())
		select {
		case <-ctx.Done():
			timer.Stop()
			return nil
		case <-k.change:
			timer.Stop()
			continue
		case <-k.urgent:
			timer.Stop()
		case <-timer.C:
		}
		if err := k.extendAll(ctx); err != nil {
			return err
		}
	}
}

func (k *keeper) period() time.Duration {
	k.mu.Lock()
	defer k.mu.Unlock()
	length := k.lease
	if !k.attached {
		length = min(k.lease, k.grace)
	}
	period := max(length/3, shortestPeriod)
	if k.failed {
		return min(period, retryPeriod)
	}
	return period
}

func (k *keeper) extendAll(ctx context.Context) error {
	tokens := k.leases.extendable()
	k.mu.Lock()
	lease := k.lease
	k.failed = false
	k.mu.Unlock()
	if len(tokens) == 0 {
		return nil
	}
	limited, cancel := context.WithTimeout(ctx, lease) // a later answer is useless
	defer cancel()
	asked := wallClock()
	failures, err := k.client.Extend(limited, lease, tokens...)
	k.drop(failures)
	if err == nil {
		k.outage.over()
		k.leases.confirm(extended(tokens, failures), asked, lease)
		k.confirmed()
	}
	if err == nil || ctx.Err() != nil {
		return nil
	}
	if !heals(err) {
		return err
	}
	k.mu.Lock()
	k.failed = true
	k.mu.Unlock()
	k.logger.Log(ctx, k.outage.level(), "leases could not be extended", "count", len(tokens), "error", err)
	return nil
}

// extended returns the tokens that did not fail.
func extended(tokens []string, failures []LeaseFailure) []string {
	failed := make(map[string]bool, len(failures))
	for _, each := range failures {
		failed[each.LeaseToken] = true
	}
	return slices.DeleteFunc(tokens, func(token string) bool { return failed[token] })
}

// drop ends lost leases. Those of a stopped engine are kept: another replica may still accept them.
func (k *keeper) drop(failures []LeaseFailure) {
	var tokens []string
	for _, failure := range failures {
		if failure.Reason != LeaseEngineStopped {
			tokens = append(tokens, failure.LeaseToken)
		}
	}
	if lost := k.leases.lose(tokens); lost > 0 {
		k.logger.Warn("leases were lost; their handlers were cancelled", "count", lost)
	}
}
