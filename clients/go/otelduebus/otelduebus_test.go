package otelduebus_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"sync"
	"sync/atomic"
	"testing"

	"go.opentelemetry.io/otel/codes"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"

	duebus "github.com/duebus/duebus/clients/go"
	"github.com/duebus/duebus/clients/go/duebustest"
	"github.com/duebus/duebus/clients/go/otelduebus"
)

// traced is a bus whose dispatches and handlers are traced.
type traced struct {
	*duebustest.Bus
	client   *duebus.Client
	topic    string
	spans    *tracetest.SpanRecorder
	provider trace.TracerProvider
}

func TestTraces(t *testing.T) {
	bus := duebustest.Start(t)
	for _, each := range []struct {
		name  string
		check func(*testing.T, traced)
	}{
		{"AnEventIsTracedFromItsProducerToItsHandler", checkAnEventIsTracedFromItsProducerToItsHandler},
		{"AnEventThatNamesASpanKeepsIt", checkAnEventThatNamesASpanKeepsIt},
		{"AFailureIsTheErrorOfItsSpan", checkAFailureIsTheErrorOfItsSpan},
	} {
		t.Run(each.name, func(t *testing.T) { each.check(t, tracedBus(t, bus, each.name)) })
	}
}

func tracedBus(t *testing.T, bus *duebustest.Bus, topic string) traced {
	t.Helper()
	spans := tracetest.NewSpanRecorder()
	provider := sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(spans))
	client, err := duebus.NewClient(bus.Address, otelduebus.TraceDispatches(otelduebus.WithTracerProvider(provider)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = client.Close() })
	return traced{bus, client, topic, spans, provider}
}

// handle runs a worker with this handler.
func (b traced) handle(t *testing.T, handler duebus.Handler) {
	t.Helper()
	tracing := otelduebus.TraceHandlers(otelduebus.WithTracerProvider(b.provider))
	worker := duebus.NewWorker(b.Client, duebus.WithHandlerInterceptor(recovering), tracing)
	worker.Handle(b.topic, handler)
	t.Cleanup(b.Run(worker))
}

// recovering makes an error of a panic, which would fail the test.
func recovering(next duebus.Handler) duebus.Handler {
	return func(ctx context.Context, d *duebus.Delivery) (err error) {
		defer func() {
			if value := recover(); value != nil {
				err = fmt.Errorf("panic: %v", value)
			}
		}()
		return next(ctx, d)
	}
}

// named are the ended spans with a name, in order.
func (b traced) named(name string) []sdktrace.ReadOnlySpan {
	var named []sdktrace.ReadOnlySpan
	for _, span := range b.spans.Ended() {
		if span.Name() == name {
			named = append(named, span)
		}
	}
	return named
}

func attributesOf(span sdktrace.ReadOnlySpan) map[string]string {
	attributes := map[string]string{}
	for _, each := range span.Attributes() {
		attributes[string(each.Key)] = each.Value.Emit()
	}
	return attributes
}

func checkAnEventIsTracedFromItsProducerToItsHandler(t *testing.T, bus traced) {
	delivered := make(chan *duebus.Delivery, 1)
	inner := make(chan trace.SpanContext, 1)
	bus.handle(t, func(ctx context.Context, d *duebus.Delivery) error {
		delivered <- d
		inner <- trace.SpanContextFromContext(ctx)
		return nil
	})
	ctx, request := bus.provider.Tracer("test").Start(t.Context(), "request")
	if _, err := bus.client.Dispatch(ctx, bus.topic, duebus.Event{ID: "order-42"}); err != nil {
		t.Fatal(err)
	}
	request.End()
	bus.Settle()

	dispatch := bus.named("dispatch " + bus.topic)[0]
	if dispatch.SpanKind() != trace.SpanKindProducer || dispatch.Parent().SpanID() != request.SpanContext().SpanID() {
		t.Errorf("the dispatch is a %v of %v", dispatch.SpanKind(), dispatch.Parent().SpanID())
	}
	expected := map[string]string{
		"messaging.system": "duebus", "messaging.operation.name": "dispatch", "messaging.operation.type": "send",
		"messaging.destination.name": bus.topic, "messaging.message.id": "order-42",
	}
	if got := attributesOf(dispatch); !maps.Equal(got, expected) {
		t.Errorf("the dispatch has %v", got)
	}
	of := dispatch.SpanContext()
	if got := (<-delivered).Attributes["traceparent"]; got != "00-"+of.TraceID().String()+"-"+of.SpanID().String()+"-01" {
		t.Errorf("the event names %q", got)
	}

	process := bus.named("process " + bus.topic)[0]
	if process.SpanKind() != trace.SpanKindConsumer || process.Parent().IsValid() ||
		process.SpanContext().SpanID() != (<-inner).SpanID() {
		t.Errorf("the handler's span is a %v of %v", process.SpanKind(), process.Parent())
	}
	if links := process.Links(); len(links) != 1 || links[0].SpanContext.SpanID() != of.SpanID() {
		t.Errorf("it links to %v", links)
	}
	expected = map[string]string{
		"messaging.system": "duebus", "messaging.operation.name": "process", "messaging.operation.type": "process",
		"messaging.destination.name": bus.topic, "messaging.consumer.group.name": "default",
		"messaging.message.id": "order-42", "duebus.attempt": "1",
	}
	if got := attributesOf(process); !maps.Equal(got, expected) {
		t.Errorf("it has %v", got)
	}
}

func checkAnEventThatNamesASpanKeepsIt(t *testing.T, bus traced) {
	var attributes sync.Map // by event
	bus.handle(t, func(_ context.Context, d *duebus.Delivery) error {
		attributes.Store(d.EventID, d.Attributes["traceparent"])
		return nil
	})
	const earlier = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
	events := []duebus.Event{{ID: "a", Attributes: map[string]string{"traceparent": earlier}}, {ID: "b"}}
	if _, err := bus.client.DispatchMany(t.Context(), bus.topic, events); err != nil {
		t.Fatal(err)
	}
	bus.Settle()
	dispatch := bus.named("dispatch " + bus.topic)[0]
	if count := attributesOf(dispatch)["messaging.batch.message_count"]; count != "2" {
		t.Errorf("it has dispatched %q events", count)
	}
	if links := dispatch.Links(); len(links) != 1 || links[0].SpanContext.SpanID().String() != "b7ad6b7169203331" {
		t.Errorf("it links to %v", links)
	}
	first, _ := attributes.Load("a")
	second, _ := attributes.Load("b")
	of := dispatch.SpanContext()
	if first != earlier || second != "00-"+of.TraceID().String()+"-"+of.SpanID().String()+"-01" {
		t.Errorf("the events name %q and %q", first, second)
	}
	if len(events[1].Attributes) != 0 {
		t.Errorf("the caller's event was changed: %v", events[1].Attributes)
	}
}

func checkAFailureIsTheErrorOfItsSpan(t *testing.T, bus traced) {
	var released atomic.Bool
	bus.handle(t, func(_ context.Context, d *duebus.Delivery) error {
		switch d.EventID {
		case "panics":
			panic("at the disco")
		case "waits":
			return fmt.Errorf("order %s: %w", d.EventID, context.DeadlineExceeded)
		case "returns":
			if !released.Swap(true) {
				return fmt.Errorf("not now: %w", duebus.ErrRelease)
			}
			return nil
		}
		return duebus.DeadLetter(errors.New("the card is stolen"))
	})
	for _, id := range []string{"dies", "panics", "waits", "returns"} {
		if _, err := bus.client.Dispatch(t.Context(), bus.topic, duebus.Event{ID: id, MaxRetries: new(uint32)}); err != nil {
			t.Fatal(err)
		}
		bus.Settle()
	}
	if _, err := bus.client.Dispatch(t.Context(), "", duebus.Event{}); err == nil {
		t.Fatal("a dispatch without a topic succeeded")
	}
	handled := bus.named("process " + bus.topic)
	last := len(handled) - 1
	if _, failed := attributesOf(handled[last])["error.type"]; failed {
		t.Errorf("the last has failed")
	}
	failed := append(handled[:last], bus.named("dispatch ")...)
	types := []string{"*duebus.DeadLetterError", "panic", "context.deadlineExceededError", "release", "NO_TOPIC_SPECIFIED"}
	if len(failed) != len(types) {
		t.Fatalf("%d spans", len(failed))
	}
	for i, span := range failed {
		if got := attributesOf(span)["error.type"]; got != types[i] || span.Status().Code != codes.Error {
			t.Errorf("%s has %q and %v", span.Name(), got, span.Status())
		}
	}
}
