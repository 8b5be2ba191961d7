// Package otelduebus traces events with OpenTelemetry, from the producer, through delay and retries, to the handler:
//
//	bus, err := duebus.NewClient(target, otelduebus.TraceDispatches())
//	worker := duebus.NewWorker(bus, otelduebus.TraceHandlers())
//
// Spans follow OpenTelemetry's conventions for messaging. A dispatch is a span of kind PRODUCER, which its events name in
// their attributes traceparent and tracestate, as the other clients of DueBus do. Each call of a handler is a span of kind
// CONSUMER in a trace of its own that links to it: a single trace would last as long as the delay.
//
// The calls themselves are traced by otelgrpc: duebus.WithDialOptions(grpc.WithStatsHandler(otelgrpc.NewClientHandler())).
package otelduebus

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"

	duebus "github.com/duebus/duebus/clients/go"
)

const (
	system = "duebus"
	scope  = "github.com/duebus/duebus/clients/go/otelduebus"
)

var traceContext propagation.TraceContext

// Option is an option of TraceDispatches and TraceHandlers.
type Option func(*settings)

type settings struct {
	provider trace.TracerProvider
}

// WithTracerProvider sets what makes the spans; otel.GetTracerProvider() otherwise.
func WithTracerProvider(provider trace.TracerProvider) Option {
	return func(s *settings) { s.provider = provider }
}

func tracer(options []Option) trace.Tracer {
	s := settings{provider: otel.GetTracerProvider()}
	for _, option := range options {
		option(&s)
	}
	return s.provider.Tracer(scope)
}

// TraceDispatches makes a span of each dispatch. Its events name it, unless they name a span already: then it links to
// that.
func TraceDispatches(options ...Option) duebus.ClientOption {
	tracer := tracer(options)
	return duebus.WithDispatchInterceptor(func(next duebus.DispatchFunc) duebus.DispatchFunc {
		return func(ctx context.Context, topic string, events []duebus.Event) ([]duebus.Dispatched, error) {
			named := attributes("dispatch", "send", topic)
			if len(events) != 1 {
				named = append(named, attribute.Int("messaging.batch.message_count", len(events)))
			}
			ctx, span := tracer.Start(ctx, "dispatch "+topic, trace.WithSpanKind(trace.SpanKindProducer),
				trace.WithLinks(links(events...)...), trace.WithAttributes(named...))
			defer span.End()
			dispatched, err := next(ctx, topic, naming(ctx, events))
			if len(dispatched) == 1 {
				span.SetAttributes(messageID(dispatched[0].EventID))
			}
			record(span, err)
			return dispatched, err
		}
	})
}

// TraceHandlers makes a span of each call of a handler, which has it in its context.
func TraceHandlers(options ...Option) duebus.WorkerOption {
	tracer := tracer(options)
	return duebus.WithHandlerInterceptor(func(next duebus.Handler) duebus.Handler {
		return func(ctx context.Context, d *duebus.Delivery) error {
			named := append(attributes("process", "process", d.Topic),
				attribute.String("messaging.consumer.group.name", d.Group),
				messageID(d.EventID),
				attribute.Int64("duebus.attempt", int64(d.Attempt)))
			ctx, span := tracer.Start(ctx, "process "+d.Topic, trace.WithSpanKind(trace.SpanKindConsumer),
				trace.WithNewRoot(), trace.WithAttributes(named...),
				trace.WithLinks(links(duebus.Event{Attributes: d.Attributes})...))
			err := error(panicked{})
			defer func() {
				record(span, err)
				span.End()
			}()
			err = next(ctx, d)
			return err
		}
	})
}

func attributes(name, kind, topic string) []attribute.KeyValue {
	return []attribute.KeyValue{
		attribute.String("messaging.system", system),
		attribute.String("messaging.operation.name", name),
		attribute.String("messaging.operation.type", kind),
		attribute.String("messaging.destination.name", topic),
	}
}

func messageID(eventID string) attribute.KeyValue {
	return attribute.String("messaging.message.id", eventID)
}

// links are to the spans that events name.
func links(events ...duebus.Event) []trace.Link {
	var links []trace.Link
	for _, event := range events {
		named := traceContext.Extract(context.Background(), propagation.MapCarrier(event.Attributes))
		if span := trace.SpanContextFromContext(named); span.IsValid() {
			links = append(links, trace.Link{SpanContext: span})
		}
	}
	return links
}

// naming are events that name the span of the context, unless they name one already.
func naming(ctx context.Context, events []duebus.Event) []duebus.Event {
	span := propagation.MapCarrier{}
	traceContext.Inject(ctx, span)
	named := slices.Clone(events)
	for i, event := range events {
		if _, names := event.Attributes["traceparent"]; names {
			continue
		}
		named[i].Attributes = maps.Clone(map[string]string(span))
		maps.Copy(named[i].Attributes, event.Attributes)
	}
	return named
}

// panicked is the error of a handler that panicked, or ended its goroutine.
type panicked struct{}

func (panicked) Error() string { return "the handler panicked" }

// record notes a failure in a span.
func record(span trace.Span, err error) {
	if err != nil {
		span.SetAttributes(attribute.String("error.type", typeOf(err)))
		span.SetStatus(codes.Error, err.Error())
	}
}

// typeOf is the reason of a call that failed, and otherwise the type of the error. It is one of few, as the conventions
// demand: an error that only adds a text to another counts as that.
func typeOf(err error) string {
	var failure *duebus.Error
	switch {
	case errors.As(err, &failure):
		return string(failure.Reason)
	case err == error(panicked{}):
		return "panic"
	case errors.Is(err, duebus.ErrRelease):
		return "release"
	}
	for fmt.Sprintf("%T", err) == "*fmt.wrapError" {
		err = errors.Unwrap(err)
	}
	return fmt.Sprintf("%T", err)
}
