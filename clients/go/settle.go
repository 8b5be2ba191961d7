package duebus

import (
	"context"
	"fmt"
	"slices"
	"time"
	"unicode/utf8"

	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/duebus/duebus/clients/go/duebusv1"
)

// LeaseFailureReason is why a lease was not settled or extended.
type LeaseFailureReason = duebusv1.LeaseFailure_Reason

const (
	// LeaseExpired: the event is still in the group, but no longer under this lease.
	LeaseExpired = duebusv1.LeaseFailure_REASON_EXPIRED
	// LeaseSettled: the event is gone from the group: acked, dead or cancelled.
	LeaseSettled = duebusv1.LeaseFailure_REASON_SETTLED
	// LeaseMalformed: not a lease token of this bus.
	LeaseMalformed = duebusv1.LeaseFailure_REASON_MALFORMED
	// LeaseEngineStopped: the engine is stopped, or the server does not run it.
	LeaseEngineStopped = duebusv1.LeaseFailure_REASON_ENGINE_STOPPED
	// LeaseNoKey: a pause of the key of an event that has none, or in a group that ignores keys. The delivery is still
	// held.
	LeaseNoKey = duebusv1.LeaseFailure_REASON_NO_KEY
)

// PauseScope is what a pause holds up.
type PauseScope = duebusv1.Nack_Pause_Scope

const (
	// PauseKey holds up the events with the key of the one that is given back.
	PauseKey = duebusv1.Nack_Pause_SCOPE_KEY
	// PauseGroup holds up all events of the group.
	PauseGroup = duebusv1.Nack_Pause_SCOPE_GROUP
)

// Pause holds up deliveries for a while, because a service that the handler calls is overloaded.
type Pause struct {
	// Duration is how long, from now: 1 ms to 1 h.
	Duration time.Duration
	Scope    PauseScope
}

// LeaseFailure is a lease that was not settled or extended. Nothing was changed.
type LeaseFailure struct {
	LeaseToken string
	Reason     LeaseFailureReason
}

// Nack gives one delivery back. At most one of Delay, DeadLetter and Release may be set; without one, the event is
// retried after the topic's backoff, or dead if no retries are left.
type Nack struct {
	LeaseToken string
	// Error becomes the event's last error, cut to 4 KiB.
	Error string
	// Delay is when to retry it, up to 10 years.
	Delay *time.Duration
	// DeadLetter makes the event a dead letter at once.
	DeadLetter bool
	// Release makes the event ready again at once, without counting the attempt.
	Release bool
	// Pause also holds up the deliveries of the event's key or of its group. Without Delay, DeadLetter and Release, the
	// event is then released.
	Pause *Pause
}

// Ack acks deliveries. It returns the leases that could not be settled. A Worker does that automatically:
// Ack, Nack and Extend are for programs that read the stream of EventBus().Subscribe.
func (c *Client) Ack(ctx context.Context, leaseTokens ...string) ([]LeaseFailure, error) {
	if err := checkTokens(leaseTokens); err != nil {
		return nil, err
	}
	var failures []LeaseFailure
	for batch := range batches(c, leaseTokens, tokenSize) {
		response, again, err := repeated(ctx, c, c.bus.Ack, &duebusv1.AckRequest{LeaseTokens: batch})
		if err != nil {
			return failures, err
		}
		failures = appendFailures(failures, response.Failures, again, LeaseSettled)
	}
	return failures, nil
}

// Nack gives deliveries back. It returns the leases that could not be settled.
func (c *Client) Nack(ctx context.Context, nacks ...Nack) ([]LeaseFailure, error) {
	encoded, err := encodeNacks(nacks)
	if err != nil {
		return nil, err
	}
	var failures []LeaseFailure
	for batch := range batches(c, encoded, nackSize) {
		response, again, err := repeated(ctx, c, c.bus.Nack, &duebusv1.NackRequest{Nacks: batch})
		if err != nil {
			return failures, err
		}
		failures = appendFailures(failures, response.Failures, again, LeaseSettled, LeaseExpired)
	}
	return failures, nil
}

// Extend renews leases: they expire lease from now, 100 ms to 12 h; 0: the topic's setting. It returns the
// leases that could not be extended.
func (c *Client) Extend(ctx context.Context, lease time.Duration, leaseTokens ...string) ([]LeaseFailure, error) {
	if err := checkTokens(leaseTokens); err != nil {
		return nil, err
	}
	var failures []LeaseFailure
	for batch := range batches(c, leaseTokens, tokenSize) {
		request := &duebusv1.ExtendRequest{LeaseTokens: batch}
		if lease != 0 {
			request.Lease = durationpb.New(lease)
		}
		response, again, err := repeated(ctx, c, c.bus.Extend, request)
		if err != nil {
			return failures, err
		}
		failures = appendFailures(failures, response.Failures, again)
	}
	return failures, nil
}

func nackSize(nack *duebusv1.Nack) int { return len(nack.LeaseToken) + len(nack.Error) }

func checkTokens(leaseTokens []string) error {
	for i, token := range leaseTokens {
		if !utf8.ValidString(token) {
			return invalidField(fmt.Sprintf("lease_tokens[%d]", i), "is not valid UTF-8")
		}
	}
	return nil
}

func encodeNacks(nacks []Nack) ([]*duebusv1.Nack, error) {
	encoded := make([]*duebusv1.Nack, len(nacks))
	for i, each := range nacks {
		message, err := each.encode(fmt.Sprintf("nacks[%d].", i))
		if err != nil {
			return nil, err
		}
		encoded[i] = message
	}
	return encoded, nil
}

func (n Nack) encode(path string) (*duebusv1.Nack, error) {
	if err := checkText(path+"lease_token", n.LeaseToken, path+"error", n.Error); err != nil {
		return nil, err
	}
	message := &duebusv1.Nack{LeaseToken: n.LeaseToken, Error: n.Error}
	actions := 0
	if n.Delay != nil {
		message.Action = &duebusv1.Nack_Delay{Delay: durationpb.New(*n.Delay)}
		actions++
	}
	if n.DeadLetter {
		message.Action = &duebusv1.Nack_DeadLetter{DeadLetter: true}
		actions++
	}
	if n.Release {
		message.Action = &duebusv1.Nack_Release{Release: true}
		actions++
	}
	if actions > 1 {
		return nil, invalidField(path+"action", "only one of delay, dead_letter and release can be set")
	}
	if n.Pause != nil {
		message.Pause = &duebusv1.Nack_Pause{Duration: durationpb.New(n.Pause.Duration), Scope: n.Pause.Scope}
	}
	return message, nil
}

// appendFailures leaves out the failures of a retried settle whose first attempt may have taken effect: the lease is
// over, and nothing is left for the caller to do.
func appendFailures(
	failures []LeaseFailure, answered []*duebusv1.LeaseFailure, again bool, doneByLostTry ...LeaseFailureReason,
) []LeaseFailure {
	for _, each := range answered {
		if again && slices.Contains(doneByLostTry, each.Reason) {
			continue
		}
		failures = append(failures, LeaseFailure{each.LeaseToken, each.Reason})
	}
	return failures
}
