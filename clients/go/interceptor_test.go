package duebus_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	duebus "github.com/duebus/duebus/clients/go"
)

func TestATokenProviderIsAskedForEachCallAndEachStream(t *testing.T) {
	bus := newFakeBus(t)
	asked := make(chan int, 100)
	provide := func(context.Context) (string, error) {
		asked <- 1
		return fmt.Sprintf("token-%d", len(asked)), nil
	}
	client := newClient(t, bus.address, duebus.WithTokenProvider(provide))
	for range 2 {
		if _, err := client.Dispatch(t.Context(), "t", duebus.Event{}); err != nil {
			t.Fatal(err)
		}
	}
	first, second := next(t, bus.tokens), next(t, bus.tokens)
	if !slices.Equal(first, []string{"Bearer token-1"}) || !slices.Equal(second, []string{"Bearer token-2"}) {
		t.Errorf("sent %q and %q", first, second)
	}
	workWith(t, client, acking)
	next(t, bus.streams).end <- nil
	next(t, bus.streams)
	if len(asked) != 4 {
		t.Errorf("asked %d times for two calls and two streams", len(asked))
	}
}

func TestACallIsRetriedUntilTheProviderHasAToken(t *testing.T) {
	bus := newFakeBus(t)
	tokens := failingFirst("secret", errors.New("the token service is away"))
	provide := func(context.Context) (string, error) { return tokens() }
	client := newClient(t, bus.address, duebus.WithTokenProvider(provide))
	if _, err := client.Dispatch(t.Context(), "t", duebus.Event{}); err != nil {
		t.Fatal(err)
	}
	if sent := next(t, bus.tokens); !slices.Equal(sent, []string{"Bearer secret"}) {
		t.Errorf("sent %q", sent)
	}
}

func TestACallWithoutATokenIsUnavailableAndSaysWhy(t *testing.T) {
	bus := newFakeBus(t)
	provide := func(context.Context) (string, error) { return "", errors.New("the token service is away") }
	client := newClient(t, bus.address, duebus.WithTokenProvider(provide), duebus.WithTimeout(500*time.Millisecond))
	_, err := client.Dispatch(t.Context(), "t", duebus.Event{})
	var failure *duebus.Error
	if !errors.As(err, &failure) || !errors.Is(err, duebus.ErrUnavailable) ||
		failure.Message != "no token: the token service is away" {
		t.Errorf("got %v", err)
	}
}

func TestTheLineBreakAtTheEndOfATokenIsNotSent(t *testing.T) {
	bus := newFakeBus(t)
	provide := func(context.Context) (string, error) { return "secret\n", nil }
	for _, option := range []duebus.ClientOption{duebus.WithToken("secret\n"), duebus.WithTokenProvider(provide)} {
		if _, err := newClient(t, bus.address, option).Dispatch(t.Context(), "t", duebus.Event{}); err != nil {
			t.Fatal(err)
		}
		if sent := next(t, bus.tokens); !slices.Equal(sent, []string{"Bearer secret"}) {
			t.Errorf("sent %q", sent)
		}
	}
}

func TestAnEmptyTokenIsUnavailableAndOneThatCanNotBeSentIsUnauthenticated(t *testing.T) {
	bus := newFakeBus(t)
	for token, expected := range map[string]error{"": duebus.ErrUnavailable, "a\nb": duebus.ErrUnauthenticated} {
		provide := func(context.Context) (string, error) { return token, nil }
		client := newClient(t, bus.address, duebus.WithTokenProvider(provide), duebus.WithTimeout(500*time.Millisecond))
		if _, err := client.Dispatch(t.Context(), "t", duebus.Event{}); !errors.Is(err, expected) {
			t.Errorf("%q: got %v", token, err)
		}
	}
}

func TestADispatchForWhichAnInterceptorHasNoResultFails(t *testing.T) {
	bus := newFakeBus(t)
	dropping := func(duebus.DispatchFunc) duebus.DispatchFunc {
		return func(context.Context, string, []duebus.Event) ([]duebus.Dispatched, error) { return nil, nil }
	}
	client := newClient(t, bus.address, duebus.WithDispatchInterceptor(dropping))
	if _, err := client.Dispatch(t.Context(), "t", duebus.Event{}); !errors.Is(err, duebus.ErrInternal) {
		t.Errorf("got %v", err)
	}
}

// marking is an interceptor that adds its mark to an attribute of each event.
func marking(mark string) func(duebus.DispatchFunc) duebus.DispatchFunc {
	return func(next duebus.DispatchFunc) duebus.DispatchFunc {
		return func(ctx context.Context, topic string, events []duebus.Event) ([]duebus.Dispatched, error) {
			marked := slices.Clone(events)
			for i := range marked {
				attributes := maps.Clone(marked[i].Attributes)
				if attributes == nil {
					attributes = map[string]string{}
				}
				attributes["marks"] += mark
				marked[i].Attributes = attributes
			}
			return next(ctx, topic, marked)
		}
	}
}

func TestInterceptorsOfDispatchesAreCalledInTheirOrder(t *testing.T) {
	bus := newFakeBus(t)
	bus.dispatch = nil
	client := newClient(t, bus.address,
		duebus.WithDispatchInterceptor(marking("a")), duebus.WithDispatchInterceptor(marking("b")))
	one := func(event duebus.Event) error {
		_, err := client.Dispatch(t.Context(), "t", event)
		return err
	}
	alone := func(event duebus.Event) error {
		_, err := client.Dispatch(t.Context(), "t", event, duebus.WithRequestID("r"))
		return err
	}
	many := func(event duebus.Event) error {
		_, err := client.DispatchMany(t.Context(), "t", []duebus.Event{event, event})
		return err
	}
	for _, dispatch := range []func(duebus.Event) error{one, alone, many} {
		if err := dispatch(duebus.Event{}); err != nil {
			t.Fatal(err)
		}
		for _, event := range next(t, bus.dispatches).Events {
			if event.Attributes["marks"] != "ab" {
				t.Errorf("sent %v", event.Attributes)
			}
		}
	}
}

func TestAnInterceptorSeesTheErrorOfADispatch(t *testing.T) {
	bus := newFakeBus(t)
	var seen error
	watching := func(next duebus.DispatchFunc) duebus.DispatchFunc {
		return func(ctx context.Context, topic string, events []duebus.Event) ([]duebus.Dispatched, error) {
			dispatched, err := next(ctx, topic, events)
			seen = err
			return dispatched, err
		}
	}
	client := newClient(t, bus.address, duebus.WithDispatchInterceptor(watching))
	_, err := client.Dispatch(t.Context(), "t", duebus.Event{ID: "\xff"})
	if !errors.Is(err, duebus.ErrInvalidArgument) || seen != err {
		t.Errorf("got %v, seen %v", err, seen)
	}
}

func TestInterceptorsOfHandlersAreCalledInTheirOrder(t *testing.T) {
	bus := newFakeBus(t)
	calls := make(chan string, 10)
	noting := func(name string) func(duebus.Handler) duebus.Handler {
		return func(next duebus.Handler) duebus.Handler {
			return func(ctx context.Context, d *duebus.Delivery) error {
				calls <- name
				return next(ctx, d)
			}
		}
	}
	failing := func(duebus.Handler) duebus.Handler {
		return func(context.Context, *duebus.Delivery) error { return duebus.DeadLetter(errors.New("refused")) }
	}
	work(t, bus.address, acking, duebus.WithHandlerInterceptor(noting("a")),
		duebus.WithHandlerInterceptor(noting("b")), duebus.WithHandlerInterceptor(failing))
	next(t, bus.streams).deliver("1")
	if first, second := next(t, calls), next(t, calls); first != "a" || second != "b" {
		t.Errorf("called %s, then %s", first, second)
	}
	if nack := next(t, bus.nacks).Nacks[0]; nack.Error != "refused" || !nack.GetDeadLetter() {
		t.Errorf("sent %v", nack)
	}
}
