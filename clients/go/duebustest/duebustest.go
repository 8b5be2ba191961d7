// Package duebustest runs a DueBus server for a test, with a clock that the test moves: a test of a delay of 30 minutes
// takes milliseconds.
//
//	func TestAnOrderThatIsNotPaidIsCancelled(t *testing.T) {
//		bus := duebustest.Start(t)
//		cancelled := make(chan string, 1)
//		worker := duebus.NewWorker(bus.Client)
//		worker.Handle("order.check", func(_ context.Context, d *duebus.Delivery) error {
//			cancelled <- d.EventID
//			return nil
//		})
//		bus.Run(worker)
//
//		_, err := bus.Client.Dispatch(t.Context(), "order.check", duebus.Event{ID: "42", Delay: 30 * time.Minute})
//		...
//		bus.Advance(30 * time.Minute)
//		bus.Settle()
//		...
//	}
//
// It is the real server: the command duebus, which pip install 'duebus[server]' brings, in memory and on a free local
// port. The command is looked up in PATH, unless the environment variable DUEBUS_COMMAND has its path. It needs a POSIX
// shell.
package duebustest

import (
	"context"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/protobuf/types/known/durationpb"

	duebus "github.com/duebus/duebus/clients/go"
	"github.com/duebus/duebus/clients/go/duebusv1"
	"github.com/duebus/duebus/clients/go/internal/testhook"
)

// In real time: how long a worker may take to subscribe, and a call to be answered, beyond what it waits for.
const answerTimeout = 10 * time.Second

// pings are those of duebus.Client: a server that has been silent for 25 s must answer one within 10 s.
var pings = grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: 25 * time.Second, Timeout: 10 * time.Second})

// Bus is a server with a clock that its test moves. In between, the clock runs on. The server that Start starts ends with
// the test, and its events with it. If the bus fails, so does the test.
//
// Its methods are called by the goroutine that runs the test.
type Bus struct {
	// Address is where it listens, HOST:PORT, for clients and workers.
	Address string
	// Client is connected to it. It logs nowhere.
	Client *duebus.Client
	// SettleTimeout is how long Settle and Advance wait, in real time: 5 s.
	SettleTimeout time.Duration

	t     testing.TB
	clock duebusv1.TestClockClient
	// server is the one that Start has started.
	server *server
}

// Start starts a server, which begins without events.
func Start(t testing.TB) *Bus {
	t.Helper()
	started, err := serve(t)
	if err != nil {
		t.Fatalf("duebustest: %v", err)
	}
	bus := Connect(t, started.address)
	bus.server = started
	return bus
}

// Connect returns the bus of a server that something else runs, for example a container: duebus serve --test-clock. Only
// the connection ends with the test.
func Connect(t testing.TB, address string) *Bus {
	t.Helper()
	client, err := duebus.NewClient(address, duebus.WithLogger(silent))
	if err != nil {
		t.Fatalf("duebustest: %v", err)
	}
	t.Cleanup(func() { _ = client.Close() })
	conn, err := grpc.NewClient(address, grpc.WithTransportCredentials(insecure.NewCredentials()), pings)
	if err != nil {
		t.Fatalf("duebustest: %v", err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return &Bus{
		Address: address, Client: client, SettleTimeout: 5 * time.Second,
		t: t, clock: duebusv1.NewTestClockClient(conn),
	}
}

// Now returns the time of its clock.
func (b *Bus) Now() time.Time {
	b.t.Helper()
	return b.advance(0)
}

// Advance moves its clock forward. Events become due and leases run out as if the time had passed. A schedule fires at
// each of its times on the way; what it has fired is handled, as by Settle, before the clock is moved further.
//
// Settle waits until the due events are handled. If handlers may still be running, call Settle first too, or their
// leases may run out.
func (b *Bus) Advance(by time.Duration) {
	b.t.Helper()
	b.advance(by)
}

func (b *Bus) advance(by time.Duration) time.Time {
	b.t.Helper()
	// Without a deadline: a schedule may fire thousands of times on the way, and each may take SettleTimeout. The pings
	// end the call if the server is frozen.
	answer, err := b.clock.AdvanceTime(context.Background(), &duebusv1.AdvanceTimeRequest{
		Target:        &duebusv1.AdvanceTimeRequest_By{By: durationpb.New(by)},
		SettleTimeout: durationpb.New(b.SettleTimeout),
	})
	if err != nil {
		b.t.Fatalf("duebustest: the clock can't be moved by %v: %v", by, err)
	}
	b.settled(answer.Unsettled)
	return answer.Now.AsTime()
}

// Settle waits until no event is due or leased in any group that has a subscriber. An event that failed and waits for
// its retry is not waited for: move the clock to its due time.
func (b *Bus) Settle() {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), b.SettleTimeout+answerTimeout)
	defer cancel()
	answer, err := b.clock.Settle(ctx, &duebusv1.SettleRequest{Timeout: durationpb.New(b.SettleTimeout)})
	if err != nil {
		b.t.Fatalf("duebustest: %v", err)
	}
	b.settled(answer.Unsettled)
}

func (b *Bus) settled(unsettled []string) {
	b.t.Helper()
	if len(unsettled) > 0 {
		b.t.Fatalf("duebustest: after %v these are not settled: %s", b.SettleTimeout, strings.Join(unsettled, ", "))
	}
}

// Run runs a worker of Client, or of another client of Address, until the end of the test, or until stop is called,
// which returns when the worker has drained. If the server that Start has started ends before that, the worker can't
// settle its events any more, and the test fails. Run returns when the worker has subscribed to all its topics; one that
// ends before that fails the test, as does a handler that panics.
func (b *Bus) Run(worker *duebus.Worker) (stop func()) {
	b.t.Helper()
	subscribed, client := make(chan struct{}), make(chan io.Closer, 1)
	watched := testhook.With(context.Background(), testhook.Watch{
		Running: func(its io.Closer) { client <- its },
		Panicked: func(event string, value any, stack []byte) {
			b.t.Errorf("duebustest: the handler of %s panicked: %v\n%s", event, value, stack)
		},
		Subscribed: func() { close(subscribed) },
	})
	ctx, cancel := context.WithCancel(watched)
	ended := make(chan error, 1)
	go func() { ended <- worker.Run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := b.join(ended, client); err != nil {
			b.t.Errorf("duebustest: the worker ended: %v", err)
		}
	})
	b.t.Cleanup(stop)
	select {
	case <-subscribed:
	case err := <-ended:
		ended <- nil // for stop
		b.t.Fatalf("duebustest: the worker ended: %v", err)
	case <-time.After(answerTimeout):
		b.t.Fatalf("duebustest: after %v the worker is not subscribed; is it connected to %s?", answerTimeout, b.Address)
	}
	return stop
}

// join waits until a stopped worker has ended. Without the server, it can't settle anything: closing its client ends its
// drain.
func (b *Bus) join(ended <-chan error, client <-chan io.Closer) error {
	if b.server == nil {
		return <-ended
	}
	select {
	case err := <-ended:
		return err
	case <-b.server.ended:
	}
	_ = (<-client).Close()
	if err := <-ended; err != nil {
		return fmt.Errorf("the server has ended before all was settled: %w\n%s", err, b.server.log.String())
	}
	return nil
}
