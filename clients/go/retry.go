package duebus

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"

	"google.golang.org/grpc"
)

// call is a generated stub of a unary RPC.
type call[Request, Response any] func(context.Context, *Request, ...grpc.CallOption) (*Response, error)

// repeated makes a call with as many attempts as its deadline allows, and reports whether there was more than one.
// ErrUnavailable is retried, and so is a call that the server has cancelled, as it does when there are too many at once;
// everything else is reported at once.
func repeated[Request, Response any](
	ctx context.Context, c *Client, invoke call[Request, Response], request *Request,
) (response *Response, again bool, err error) {
	return repeatedNoting(ctx, c, invoke, request, nil)
}

// repeatedNoting is repeated, and gives note, unless it is nil, each failure that a retry may cure.
func repeatedNoting[Request, Response any](
	ctx context.Context, c *Client, invoke call[Request, Response], request *Request, note func(*Error),
) (response *Response, again bool, err error) {
	ctx, cancel := c.withDeadline(ctx)
	defer cancel()
	pauses := backoff{initial: 100 * time.Millisecond, most: 2 * time.Second}
	var last error
	for {
		response, err = invoke(ctx, request)
		if err == nil {
			return response, last != nil, nil
		}
		if err = c.closedOr(err); !retryable(ctx, err) {
			return nil, last != nil, moreSpecific(ctx, err, last)
		}
		last = err
		if typed := (*Error)(nil); note != nil && errors.As(err, &typed) {
			own := *typed // the reported one gets a cause
			note(&own)
		}
		if !c.sleep(ctx, max(pauses.next(), retryAfter(err))) {
			return nil, true, moreSpecific(ctx, err, last)
		}
	}
}

// once makes a call that can't be repeated.
func once[Request, Response any](
	ctx context.Context, c *Client, invoke call[Request, Response], request *Request,
) (*Response, error) {
	ctx, cancel := c.withDeadline(ctx)
	defer cancel()
	response, err := invoke(ctx, request)
	return response, c.closedOr(err)
}

// withDeadline gives the client's timeout to a context without a deadline.
func (c *Client) withDeadline(ctx context.Context) (context.Context, context.CancelFunc) {
	if _, limited := ctx.Deadline(); limited {
		return ctx, func() {}
	}
	return context.WithTimeout(ctx, c.timeout)
}

func retryable(ctx context.Context, err error) bool {
	byServer := ctx.Err() == nil && !errors.Is(err, ErrClientClosed)
	return errors.Is(err, ErrUnavailable) || errors.Is(err, ErrCancelled) && byServer
}

// moreSpecific picks the error to report. If the deadline passed during an attempt, that is the error of the attempt
// before, which says more.
func moreSpecific(ctx context.Context, err, last error) error {
	var typed *Error
	over := ctx.Err()
	if errors.Is(err, context.DeadlineExceeded) {
		over = context.DeadlineExceeded
	}
	if over != nil && errors.As(last, &typed) {
		typed.cause = over
		return typed
	}
	return err
}

// sleep returns false if the context ends or would end first.
func (c *Client) sleep(ctx context.Context, pause time.Duration) bool {
	if deadline, limited := ctx.Deadline(); limited && time.Until(deadline) < pause {
		return false
	}
	return c.wait(ctx, pause)
}

// wait returns false when the context ends first. Close ends the pause: the next call says that the client is closed.
func (c *Client) wait(ctx context.Context, pause time.Duration) bool {
	timer := time.NewTimer(pause)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-c.closed:
		return true
	case <-ctx.Done():
		return false
	}
}

func retryAfter(err error) time.Duration {
	var typed *Error
	if errors.As(err, &typed) {
		return typed.RetryAfter
	}
	return 0
}

// backoff returns pauses that double from initial to most, each shortened at random by up to half: the jitter keeps
// clients from reconnecting all at once when a server restarts.
type backoff struct {
	initial, most time.Duration
	doublings     uint
}

func (b *backoff) next() time.Duration {
	pause := min(b.most, b.initial<<b.doublings)
	if pause < b.most {
		b.doublings++
	}
	return pause/2 + rand.N(pause/2+1)
}

func (b *backoff) reset() { b.doublings = 0 }
