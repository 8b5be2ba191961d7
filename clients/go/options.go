package duebus

import (
	"cmp"
	"context"
	"crypto/tls"
	"log/slog"
	"slices"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
)

// ClientOption is an option of a Client.
type ClientOption func(*clientSettings)

type clientSettings struct {
	timeout      time.Duration
	transport    credentials.TransportCredentials
	token        bearer
	logger       *slog.Logger
	dial         []grpc.DialOption
	interceptors []func(DispatchFunc) DispatchFunc
}

// WithTimeout sets how long a call without a deadline in its context may take, including retries: 30 s by default.
func WithTimeout(timeout time.Duration) ClientOption {
	return func(s *clientSettings) { s.timeout = timeout }
}

// WithTLS connects with TLS; nil, as &tls.Config{}, trusts the system's authorities. Without this option, connections are
// plaintext.
func WithTLS(config *tls.Config) ClientOption {
	return func(s *clientSettings) { s.transport = credentials.NewTLS(config) }
}

// WithToken sends a bearer token with each call; empty: none. Over plaintext, anyone on the network path can read it.
func WithToken(token string) ClientOption {
	if token == "" {
		return WithTokenProvider(nil)
	}
	return WithTokenProvider(func(context.Context) (string, error) { return token, nil })
}

// WithTokenProvider sends a bearer token that provide returns. It is called for each call and each stream, by many
// goroutines at once, so tokens may rotate; it should cache them. The context is that of the call; for dispatches that
// share a request, that of one of them. White space around a token is left out. If it fails or there is no token, the
// call fails with ErrUnavailable: it is retried until its deadline, and a worker tries again.
func WithTokenProvider(provide func(ctx context.Context) (string, error)) ClientOption {
	return func(s *clientSettings) { s.token = provide }
}

// WithLogger sets where workers log; slog.Default() otherwise, and for nil.
func WithLogger(logger *slog.Logger) ClientOption {
	return func(s *clientSettings) { s.logger = cmp.Or(logger, slog.Default()) }
}

// WithDispatchInterceptor wraps Dispatch and DispatchMany. Of several interceptors, the first that is given is called
// first. It may pass other events on, and must not change those that it gets.
func WithDispatchInterceptor(interceptor func(next DispatchFunc) DispatchFunc) ClientOption {
	return func(s *clientSettings) { s.interceptors = append(s.interceptors, interceptor) }
}

// WithDialOptions adds gRPC options, for example interceptors of calls, after the client's own.
func WithDialOptions(options ...grpc.DialOption) ClientOption {
	return func(s *clientSettings) { s.dial = append(s.dial, options...) }
}

// WorkerOption is an option of a Worker, or of one of its handlers.
type WorkerOption func(*workerSettings)

type workerSettings struct {
	group            string
	ephemeral        bool
	engine           Engine
	consumer         string
	maxInFlight      int
	concurrency      *int // nil: as maxInFlight
	maxInFlightBytes uint64
	lease            time.Duration
	disconnectGrace  *time.Duration
	maxExecution     time.Duration
	drainTimeout     time.Duration
	interceptors     []func(Handler) Handler
	logger           *slog.Logger
}

// WithGroup names the workers that share one copy of each event; "default" otherwise.
func WithGroup(group string) WorkerOption {
	return func(s *workerSettings) { s.group = group }
}

// WithEphemeral makes the group go with its last worker, and get only what is dispatched while it exists. Without a
// name, the group belongs to this worker alone, so every instance of a program gets every event.
func WithEphemeral() WorkerOption {
	return func(s *workerSettings) { s.ephemeral = true }
}

// WithEngine sets the engine that holds the events; the server's default engine otherwise.
func WithEngine(engine Engine) WorkerOption {
	return func(s *workerSettings) { s.engine = engine }
}

// WithConsumer sets a name that identifies the worker in the admin views; the host's name and the process id otherwise.
func WithConsumer(name string) WorkerOption {
	return func(s *workerSettings) { s.consumer = name }
}

// WithMaxInFlight sets how many events a subscription holds at once, 1 to 100,000; 64 by default.
func WithMaxInFlight(events int) WorkerOption {
	return func(s *workerSettings) { s.maxInFlight = events }
}

// WithConcurrency sets how many handlers of a subscription run at once: as many as WithMaxInFlight by default. A
// smaller number prefetches: the next event is already here when a handler ends. In a group with limits, nothing is
// prefetched: it would count although no handler has begun.
func WithConcurrency(handlers int) WorkerOption {
	return func(s *workerSettings) { s.concurrency = &handlers }
}

// WithMaxInFlightBytes sets how many bytes of events a subscription holds at once, up to 1 GiB; 16 MiB by default, and for 0.
func WithMaxInFlightBytes(bytes uint64) WorkerOption {
	return func(s *workerSettings) { s.maxInFlightBytes = bytes }
}

// WithLease sets how soon an event goes to another worker when this one hangs and its connection stays open: 100 ms to
// 12 h, 30 s by default.
func WithLease(lease time.Duration) WorkerOption {
	return func(s *workerSettings) { s.lease = lease }
}

// WithDisconnectGrace sets how soon events go to another worker when the connection breaks: 0 to 1 h; the server's
// setting, 1 s, by default.
func WithDisconnectGrace(grace time.Duration) WorkerOption {
	return func(s *workerSettings) { s.disconnectGrace = &grace }
}

// WithMaxExecution sets how long a handler may run: 50 s by default. Then its context ends, and the event is nacked.
func WithMaxExecution(most time.Duration) WorkerOption {
	return func(s *workerSettings) { s.maxExecution = most }
}

// WithDrainTimeout sets how long a stop waits for running handlers: 25 s by default.
func WithDrainTimeout(timeout time.Duration) WorkerOption {
	return func(s *workerSettings) { s.drainTimeout = timeout }
}

// WithHandlerInterceptor wraps the handler. Of several interceptors, the first that is given is called first.
func WithHandlerInterceptor(interceptor func(next Handler) Handler) WorkerOption {
	return func(s *workerSettings) { s.interceptors = append(s.interceptors, interceptor) }
}

// intercepted is what interceptors make of a function.
func intercepted[F any](inner F, interceptors []func(F) F) F {
	for _, interceptor := range slices.Backward(interceptors) {
		inner = interceptor(inner)
	}
	return inner
}
