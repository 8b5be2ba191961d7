package duebus

import (
	"context"
	"crypto/rand"
	"errors"
	"runtime"
	"sync"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"

	"github.com/duebus/duebus/clients/go/duebusv1"
)

// The server accepts 1000 events and 4 MiB in one call; a quarter is left for what surrounds the events.
const (
	maxSharedEvents = 1000
	maxSharedBytes  = 3 << 20
)

// dispatcher dispatches single events. A lone one is sent at once. Those that arrive while a call of their kind is
// running share the next call, which stores all or none of them.
//
// If that call is refused for a reason that may lie in one event, each event is sent alone, so that no caller gets the
// error of another's event; those with the same key are sent one after the other. If some of its events were stored,
// every caller gets the error: an event without an id that is sent again could be stored twice.
type dispatcher struct {
	client *Client

	mu    sync.Mutex
	lanes map[dispatchKind]*dispatchLane // a lane is here while one of its calls is running
}

// dispatchKind is what dispatches must have in common to share a call.
type dispatchKind struct {
	topic             string
	engines           int // 0 or 1
	engine            Engine
	requireSubscriber bool
}

// dispatchLane are the dispatches of one kind: one call at a time, and those that wait for the next.
type dispatchLane struct {
	kind    dispatchKind
	waiting []*waitingDispatch
	failure *Error // the latest that a retry may cure, since a call last succeeded
}

// waitingDispatch is a dispatch that waits for its turn or its answer. Its caller waits until its context ends.
type waitingDispatch struct {
	ctx    context.Context
	event  *duebusv1.Event
	result chan dispatchResult // takes one without blocking
}

type dispatchResult struct {
	dispatched Dispatched
	err        error
}

func newDispatcher(client *Client) *dispatcher {
	return &dispatcher{client: client, lanes: map[dispatchKind]*dispatchLane{}}
}

func kindOf(request *duebusv1.DispatchRequest) dispatchKind {
	kind := dispatchKind{
		topic: request.Topic, engines: len(request.Engines), requireSubscriber: request.RequireSubscriber,
	}
	if kind.engines == 1 {
		kind.engine = request.Engines[0]
	}
	return kind
}

func (k dispatchKind) request(events ...*duebusv1.Event) *duebusv1.DispatchRequest {
	request := &duebusv1.DispatchRequest{
		Topic: k.topic, Events: events, RequestId: rand.Text(), RequireSubscriber: k.requireSubscriber,
	}
	if k.engines == 1 {
		request.Engines = []Engine{k.engine}
	}
	return request
}

// dispatch sends an event, alone or with others. The request has one event, no id, and at most one engine.
func (d *dispatcher) dispatch(ctx context.Context, request *duebusv1.DispatchRequest) (Dispatched, error) {
	kind, event := kindOf(request), request.Events[0]
	ctx, cancel := d.client.withDeadline(ctx)
	defer cancel()
	d.mu.Lock()
	lane, running := d.lanes[kind]
	if running {
		// A copy, because a caller that gives up may change what its event refers to while a call is under way.
		waiting := &waitingDispatch{ctx, proto.CloneOf(event), make(chan dispatchResult, 1)}
		lane.waiting = append(lane.waiting, waiting)
		d.mu.Unlock()
		return d.wait(lane, waiting)
	}
	lane = &dispatchLane{kind: kind}
	d.lanes[kind] = lane
	d.mu.Unlock()
	defer d.sendWaiting(lane)
	return d.sendOne(ctx, lane, event)
}

func (d *dispatcher) wait(lane *dispatchLane, waiting *waitingDispatch) (Dispatched, error) {
	select {
	case result := <-waiting.result:
		return result.dispatched, result.err
	case <-waiting.ctx.Done():
		return Dispatched{}, d.gaveUp(waiting.ctx, lane)
	}
}

// gaveUp is the error of a dispatch whose context ended while it waited. The failure of the lane, if there is one, says
// more.
func (d *dispatcher) gaveUp(ctx context.Context, lane *dispatchLane) error {
	if failure := d.lastFailure(lane, ctx.Err()); failure != nil {
		return failure
	}
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return &Error{
			Reason: ErrDeadlineExceeded, Code: codes.DeadlineExceeded, Message: "no answer in time", cause: ctx.Err(),
		}
	}
	return &Error{
		Reason: ErrCancelled, Code: codes.Canceled, Message: "the caller's context was cancelled", cause: ctx.Err(),
	}
}

// lastFailure is the failure of a lane with the cause of its caller, or nil if its latest call succeeded.
func (d *dispatcher) lastFailure(lane *dispatchLane, cause error) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if lane.failure == nil {
		return nil
	}
	own := *lane.failure
	own.cause = cause
	return &own
}

// sendWaiting sends, after the first call, the dispatches that arrived meanwhile.
func (d *dispatcher) sendWaiting(lane *dispatchLane) {
	batch := d.nextBatch(lane)
	if len(batch) == 0 {
		return
	}
	go func() {
		for len(batch) > 0 {
			d.send(lane, batch)
			runtime.Gosched() // callers that just got their answers may dispatch again at once, and share the next call
			batch = d.nextBatch(lane)
		}
	}()
}

// nextBatch takes as many as fit into one call, without those whose callers have given up. The lane ends if there are
// none.
func (d *dispatcher) nextBatch(lane *dispatchLane) []*waitingDispatch {
	d.mu.Lock()
	defer d.mu.Unlock()
	var batch []*waitingDispatch
	size := 0
	for len(lane.waiting) > 0 && len(batch) < maxSharedEvents {
		first := lane.waiting[0]
		if first.ctx.Err() == nil {
			size += proto.Size(first.event)
			if len(batch) > 0 && size > maxSharedBytes {
				break
			}
			batch = append(batch, first)
		}
		lane.waiting[0] = nil
		lane.waiting = lane.waiting[1:]
	}
	if len(batch) == 0 {
		delete(d.lanes, lane.kind)
	}
	return batch
}

// send makes one call for all of them. Each caller gets the result of its own event.
func (d *dispatcher) send(lane *dispatchLane, batch []*waitingDispatch) {
	events := make([]*duebusv1.Event, len(batch))
	for i, waiting := range batch {
		events[i] = waiting.event
	}
	ctx, cancel := untilLast(batch)
	defer cancel()
	dispatched, err := d.call(ctx, lane, events...)
	if mayLieInOne(err) {
		d.sendEach(lane, batch)
		return
	}
	for i, waiting := range batch {
		result := dispatchResult{err: err}
		if err == nil {
			result.dispatched = dispatched[i]
		}
		waiting.result <- result
	}
}

// sendEach sends each event in a call of its own, those with the same key in turn, and waits for all of them.
func (d *dispatcher) sendEach(lane *dispatchLane, batch []*waitingDispatch) {
	var calls sync.WaitGroup
	defer calls.Wait()
	for _, inTurn := range byKey(batch) {
		calls.Add(1)
		go func() {
			defer calls.Done()
			for _, waiting := range inTurn {
				if waiting.ctx.Err() == nil {
					dispatched, err := d.sendOne(waiting.ctx, lane, waiting.event)
					waiting.result <- dispatchResult{dispatched, err}
				}
			}
		}()
	}
}

// byKey puts those with the same key together, in order, and each one without a key alone.
func byKey(batch []*waitingDispatch) [][]*waitingDispatch {
	var lists [][]*waitingDispatch
	places := map[string]int{}
	for _, waiting := range batch {
		key := waiting.event.Key
		place, found := places[key]
		if key != "" && found {
			lists[place] = append(lists[place], waiting)
			continue
		}
		places[key] = len(lists)
		lists = append(lists, []*waitingDispatch{waiting})
	}
	return lists
}

func (d *dispatcher) sendOne(ctx context.Context, lane *dispatchLane, event *duebusv1.Event) (Dispatched, error) {
	dispatched, err := d.call(ctx, lane, event)
	if err != nil {
		return Dispatched{}, err
	}
	return dispatched[0], nil
}

func (d *dispatcher) call(ctx context.Context, lane *dispatchLane, events ...*duebusv1.Event) ([]Dispatched, error) {
	note := func(failure *Error) {
		d.mu.Lock()
		defer d.mu.Unlock()
		lane.failure = failure
	}
	dispatched, err := d.client.dispatch(ctx, lane.kind.request(events...), note)
	if err == nil {
		note(nil)
	} else if errors.Is(err, ErrDeadlineExceeded) {
		if failure := d.lastFailure(lane, context.DeadlineExceeded); failure != nil {
			return nil, failure
		}
	}
	return dispatched, err
}

// untilLast is a context that ends with the last of their deadlines; the others stop waiting on their own.
func untilLast(batch []*waitingDispatch) (context.Context, context.CancelFunc) {
	var last time.Time
	for _, waiting := range batch {
		if deadline, _ := waiting.ctx.Deadline(); deadline.After(last) {
			last = deadline
		}
	}
	return context.WithDeadline(context.WithoutCancel(batch[0].ctx), last)
}

// mayLieInOne reports whether an error of a shared call may lie in one of its events, and nothing was stored.
func mayLieInOne(err error) bool {
	var typed *Error
	if !errors.As(err, &typed) || len(typed.StoredEngines) > 0 {
		return false
	}
	return errors.Is(err, ErrInvalidArgument) || errors.Is(err, ErrMaxQueuedEventsReached)
}
