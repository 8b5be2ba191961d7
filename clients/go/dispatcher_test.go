package duebus_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	duebus "github.com/duebus/duebus/clients/go"
	"github.com/duebus/duebus/clients/go/duebusv1"
)

// sharing is a client with a call that the bus holds until release.
type sharing struct {
	t       *testing.T
	bus     *fakeBus
	client  *duebus.Client
	release func()
	first   <-chan dispatchOutcome
}

type dispatchOutcome struct {
	duebus.Dispatched
	err error
}

// shareBehind starts a first dispatch, of the event "first".
func shareBehind(t *testing.T) *sharing {
	t.Helper()
	bus := newFakeBus(t)
	held := make(chan struct{})
	bus.held, bus.dispatch = held, nil
	s := &sharing{t: t, bus: bus, client: newClient(t, bus.address), release: sync.OnceFunc(func() { close(held) })}
	t.Cleanup(s.release)
	s.first = s.dispatch(t.Context(), "first", nil)
	if request := next(t, bus.dispatches); ids(request)[0] != "first" {
		t.Fatalf("sent %v", request)
	}
	return s
}

func (s *sharing) dispatch(ctx context.Context, id string, data []byte) <-chan dispatchOutcome {
	outcome := make(chan dispatchOutcome, 1)
	go func() {
		dispatched, err := s.client.Dispatch(ctx, "t", duebus.Event{ID: id, Data: data, Key: "key-" + id})
		outcome <- dispatchOutcome{dispatched, err}
	}()
	return outcome
}

// behind starts a dispatch, and returns once it waits behind the first.
func (s *sharing) behind(ctx context.Context, id string) <-chan dispatchOutcome {
	s.t.Helper()
	before := s.client.WaitingDispatches()
	outcome := s.dispatch(ctx, id, nil)
	s.await(before + 1)
	return outcome
}

func (s *sharing) await(waiting int) {
	s.t.Helper()
	for begun := time.Now(); s.client.WaitingDispatches() != waiting; time.Sleep(time.Millisecond) {
		if time.Since(begun) > waitTimeout {
			s.t.Fatalf("%d dispatches wait, not %d", s.client.WaitingDispatches(), waiting)
		}
	}
}

func ids(request *duebusv1.DispatchRequest) []string { return stored(request).EventIds }

func TestSingleDispatchesThatArriveDuringACallShareTheNext(t *testing.T) {
	s := shareBehind(t)
	var waiting []<-chan dispatchOutcome
	for _, id := range []string{"a", "b", "c"} {
		waiting = append(waiting, s.behind(t.Context(), id))
	}
	s.release()
	for i, id := range []string{"a", "b", "c"} {
		if got := next(t, waiting[i]); got.err != nil || got.EventID != id || got.Duplicate {
			t.Errorf("%s: got %v", id, got)
		}
	}
	sent := next(t, s.bus.dispatches)
	if !slices.Equal(ids(sent), []string{"a", "b", "c"}) ||
		!slices.Equal(keys(sent), []string{"key-a", "key-b", "key-c"}) {
		t.Errorf("sent %v", sent)
	}
	no(t, s.bus.dispatches)
}

func TestACancelledDispatchThatWaitsIsNotSent(t *testing.T) {
	s := shareBehind(t)
	ctx, cancel := context.WithCancel(t.Context())
	hasty, patient := s.behind(ctx, "a"), s.behind(t.Context(), "b")
	cancel()
	if got := next(t, hasty); !errors.Is(got.err, context.Canceled) || !errors.Is(got.err, duebus.ErrCancelled) {
		t.Errorf("got %v", got.err)
	}
	s.release()
	if got := next(t, patient); got.err != nil {
		t.Error(got.err)
	}
	if sent := ids(next(t, s.bus.dispatches)); !slices.Equal(sent, []string{"b"}) {
		t.Errorf("sent %v", sent)
	}
}

func TestAnEventMayBeChangedOnceItsDispatchHasReturned(t *testing.T) {
	s := shareBehind(t)
	event := duebus.Event{ID: "a", Data: []byte("mine"), Attributes: map[string]string{"owner": "me"}}
	ctx, cancel := context.WithCancel(t.Context())
	returned := make(chan error, 1)
	go func() {
		_, err := s.client.Dispatch(ctx, "t", event)
		returned <- err
	}()
	s.await(1)
	held := make(chan struct{})
	s.bus.set(func() {
		s.bus.held = held
		s.bus.dispatch = failingFirst(dispatched("a"), status.Error(codes.Unavailable, "away"))
	})
	s.release()
	next(t, s.bus.dispatches)
	cancel()
	if err := next(t, returned); !errors.Is(err, duebus.ErrCancelled) {
		t.Errorf("got %v", err)
	}
	copy(event.Data, "another's")
	event.Attributes["owner"] = "another"
	close(held)
	sent := next(t, s.bus.dispatches).Events[0]
	if string(sent.Data) != "mine" || sent.Attributes["owner"] != "me" {
		t.Errorf("sent %v", sent)
	}
}

func TestACancelledFirstDispatchDoesNotHoldUpTheOthers(t *testing.T) {
	bus := newFakeBus(t)
	held := make(chan struct{})
	defer close(held)
	bus.held, bus.dispatch = held, nil
	s := &sharing{t: t, bus: bus, client: newClient(t, bus.address)}
	ctx, cancel := context.WithCancel(t.Context())
	first := s.dispatch(ctx, "first", nil)
	next(t, bus.dispatches)
	second := s.behind(t.Context(), "second")
	cancel()
	if got := next(t, first); !errors.Is(got.err, duebus.ErrCancelled) {
		t.Errorf("got %v", got.err)
	}
	if got := next(t, second); got.err != nil || got.EventID != "second" {
		t.Errorf("got %v", got)
	}
}

func TestASharedCallIsRepeatedAsItWas(t *testing.T) {
	s := shareBehind(t)
	waiting := []<-chan dispatchOutcome{s.behind(t.Context(), "a"), s.behind(t.Context(), "b")}
	answer := failingFirst(dispatched("a", "b"), status.Error(codes.Unavailable, "away"))
	s.bus.set(func() { s.bus.dispatch = answer })
	s.release()
	for _, each := range waiting {
		if got := next(t, each); got.err != nil {
			t.Error(got.err)
		}
	}
	if first, second := next(t, s.bus.dispatches), next(t, s.bus.dispatches); !proto.Equal(first, second) {
		t.Errorf("sent %v and then %v", first, second)
	}
}

func TestLargeEventsGoInSeveralSharedCalls(t *testing.T) {
	s := shareBehind(t)
	var waiting []<-chan dispatchOutcome
	for i := range 4 {
		waiting = append(waiting, s.dispatch(t.Context(), fmt.Sprint(i), make([]byte, 1<<20)))
		s.await(i + 1)
	}
	s.release()
	for _, each := range waiting {
		if got := next(t, each); got.err != nil {
			t.Error(got.err)
		}
	}
	first, second := ids(next(t, s.bus.dispatches)), ids(next(t, s.bus.dispatches))
	if !slices.Equal(first, []string{"0", "1"}) || !slices.Equal(second, []string{"2", "3"}) {
		t.Errorf("sent %v and %v", first, second)
	}
}

func TestADispatchWithMetadataHasACallOfItsOwn(t *testing.T) {
	s := shareBehind(t)
	ctx := metadata.AppendToOutgoingContext(t.Context(), "tenant", "x")
	if got := next(t, s.dispatch(ctx, "a", nil)); got.err != nil {
		t.Error(got.err)
	}
}

func TestADispatchThatTimesOutAfterAnOutageReportsTheOutage(t *testing.T) {
	bus := newFakeBus(t)
	held, hangs := make(chan struct{}), make(chan struct{})
	defer close(hangs)
	later := &errdetails.RetryInfo{RetryDelay: durationpb.New(time.Hour)}
	bus.held, bus.dispatch = held, failingFirst(dispatched(), refusal(codes.Unavailable, "DISPATCHER_NOT_WORKING", later))
	s := &sharing{t: t, bus: bus, client: newClient(t, bus.address, duebus.WithTimeout(2*time.Second))}
	first := s.dispatch(t.Context(), "first", nil)
	next(t, bus.dispatches)
	bus.set(func() { bus.held = hangs })
	second := s.behind(t.Context(), "second")
	close(held)
	for _, outcome := range []<-chan dispatchOutcome{first, second} {
		if got := next(t, outcome); !errors.Is(got.err, duebus.ErrDispatcherNotWorking) {
			t.Errorf("got %v", got.err)
		}
	}
	if sent := ids(next(t, bus.dispatches)); sent[0] != "second" {
		t.Errorf("sent %v", sent)
	}
}

func TestWhileTheServerIsAwayEveryDispatchReportsIt(t *testing.T) {
	client := newClient(t, unusedAddress(t), duebus.WithTimeout(2*time.Second))
	var outcomes []<-chan dispatchOutcome
	for range 5 {
		outcomes = append(outcomes, (&sharing{client: client}).dispatch(t.Context(), "", nil))
	}
	for _, outcome := range outcomes {
		if got := next(t, outcome); !errors.Is(got.err, duebus.ErrUnavailable) {
			t.Errorf("got %v", got.err)
		}
	}
}

func TestNothingIsLeftOfSharedCallsThatHaveEnded(t *testing.T) {
	bus := newFakeBus(t)
	bus.dispatch = nil
	client := newClient(t, bus.address)
	var callers sync.WaitGroup
	for caller := range 64 {
		callers.Add(1)
		go func() {
			defer callers.Done()
			for i := range 20 {
				id := fmt.Sprintf("%d-%d", caller, i)
				got, err := client.Dispatch(t.Context(), "t", duebus.Event{ID: id})
				if err != nil || got.EventID != id {
					t.Errorf("got %v, %v", got, err)
				}
			}
		}()
	}
	callers.Wait()
	for begun := time.Now(); client.DispatchLanes() > 0; time.Sleep(time.Millisecond) {
		if time.Since(begun) > waitTimeout {
			t.Fatal("a lane is left")
		}
	}
	if calls := len(bus.dispatches); calls >= 64*20 {
		t.Errorf("%d calls for %d events", calls, 64*20)
	}
}
