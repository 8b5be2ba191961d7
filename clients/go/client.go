package duebus

import (
	"context"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"

	"github.com/duebus/duebus/clients/go/duebusv1"
)

// Client is a client of the bus. It connects on the first call and reconnects automatically. Its methods may be called
// by many goroutines at once.
//
// A call is retried with a growing backoff while the server is unavailable, until it succeeds or its deadline passes:
// a dispatch has a request id, so a retry adds nothing, and a lease is settled only once. Stop, IsServing and the
// calls of the generated stubs are not retried. Every error is an *Error.
type Client struct {
	conn       *grpc.ClientConn
	bus        duebusv1.EventBusClient
	timeout    time.Duration
	logger     *slog.Logger
	dispatcher *dispatcher
	// interceptors of dispatches, the outermost first.
	interceptors []func(DispatchFunc) DispatchFunc
	closed       chan struct{} // closed by Close
	closing      sync.Once
	// requestBytes is the largest request of lease tokens or nacks; a subscription learns it from the server.
	requestBytes atomic.Int64
}

// NewClient makes a client of the server at target: "host:port", several of them separated by commas, or any other name
// that gRPC resolves, such as "dns:///host:port", "unix:path", or "scheme:///name" of a resolver of your own. Several
// servers, or addresses of a name, are replicas that share one Redis; calls go in turn to those that answer, and so do
// streams. It does not connect yet.
//
// Errors: ErrInvalidArgument if the target or an option can't be used.
func NewClient(target string, options ...ClientOption) (*Client, error) {
	settings := clientSettings{
		timeout: 30 * time.Second, logger: slog.Default(), transport: insecure.NewCredentials(),
	}
	for _, option := range options {
		option(&settings)
	}
	if settings.timeout <= 0 {
		return nil, invalidField("timeout", "must be positive, not "+settings.timeout.String())
	}
	client := &Client{timeout: settings.timeout, logger: settings.logger, interceptors: settings.interceptors}
	client.closed = make(chan struct{})
	conn, err := dial(target, settings)
	if err != nil {
		return nil, invalidField("target", err.Error())
	}
	client.requestBytes.Store(maxRequestBytes)
	client.conn, client.bus = conn, duebusv1.NewEventBusClient(conn)
	client.dispatcher = newDispatcher(client)
	return client, nil
}

// Close ends open calls and subscriptions and disconnects. Workers of the client end with ErrClientClosed, without waiting
// for what they can't settle any more: cancel the context of their Run first, and wait for its end. Closing twice is not an error.
func (c *Client) Close() (err error) {
	c.closing.Do(func() {
		close(c.closed)
		err = c.conn.Close()
	})
	return err
}

func (c *Client) isClosed() bool {
	select {
	case <-c.closed:
		return true
	default:
		return false
	}
}

// EventBus returns the generated stubs, on the same connection and with the same credentials.
func (c *Client) EventBus() duebusv1.EventBusClient { return c.bus }

// StoppedEngine is an engine that Stop has stopped.
type StoppedEngine struct {
	Engine Engine
	// Released counts the leases that were released because they were not settled in time.
	Released uint64
	// Queued counts the events that the engine holds: on Local they are lost with the process, on Redis they stay.
	Queued uint64
}

// Stop drains engines and stops them, all if none is named; when none is left, the server process ends. It returns when
// that is done or the context ends. It is not retried, because a server that has stopped can't
// answer.
//
// drainTimeout is how long to wait for leases to be settled, 0 to 1 h; nil: the server's setting.
func (c *Client) Stop(ctx context.Context, drainTimeout *time.Duration, engines ...Engine) ([]StoppedEngine, error) {
	request := &duebusv1.StopRequest{Engines: engines, DrainTimeout: durationOrNil(drainTimeout)}
	response, err := c.bus.Stop(ctx, request)
	if err != nil {
		return nil, c.closedOr(err)
	}
	stopped := make([]StoppedEngine, 0, len(response.Engines))
	for _, each := range response.Engines {
		stopped = append(stopped, StoppedEngine{each.Engine, each.Released, each.Queued})
	}
	return stopped, nil
}

// IsServing asks the gRPC health service whether the server accepts new work: false while it drains. service is one of
// the server's services, such as "duebus.v1.EventBus"; empty: the server as a whole. It is not retried.
//
// Errors: ErrNotFound if the server has no such service.
func (c *Client) IsServing(ctx context.Context, service string) (bool, error) {
	if err := checkText("service", service); err != nil {
		return false, err
	}
	request := &healthpb.HealthCheckRequest{Service: service}
	response, err := once(ctx, c, healthpb.NewHealthClient(c.conn).Check, request)
	return response.GetStatus() == healthpb.HealthCheckResponse_SERVING, err
}

// closedOr distinguishes a call that Close ended from one that failed.
func (c *Client) closedOr(err error) error {
	if err != nil && c.isClosed() {
		return &Error{Reason: ErrClientClosed, Message: "the client is closed", cause: err}
	}
	return err
}
