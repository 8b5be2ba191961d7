package duebus_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"math/big"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/protoadapt"
	"google.golang.org/protobuf/types/known/durationpb"

	duebus "github.com/duebus/duebus/clients/go"
	"github.com/duebus/duebus/clients/go/duebusv1"
)

func TestADispatchIsSentAsGiven(t *testing.T) {
	bus := newFakeBus(t)
	client := newClient(t, bus.address)

	event, err := duebus.JSON(map[string]int{"id": 42})
	if err != nil {
		t.Fatal(err)
	}
	event.ID, event.Delay, event.MaxRetries = "a", 2*time.Second, new(uint32)
	event.Attributes, event.Key = map[string]string{"trace": "t-1"}, "order-42"
	got, err := client.Dispatch(t.Context(), "order.created", event,
		duebus.OnEngines(duebus.Local, duebus.Redis), duebus.WithRequestID("r"), duebus.RequireSubscriber())
	if err != nil || got != (duebus.Dispatched{EventID: "a"}) {
		t.Fatalf("got %v, %v", got, err)
	}

	request := next(t, bus.dispatches)
	sent := request.Events[0]
	if request.Topic != "order.created" || request.RequestId != "r" || !request.RequireSubscriber ||
		len(request.Engines) != 2 || sent.Id != "a" || string(sent.Data) != `{"id":42}` ||
		sent.ContentType != "application/json" || sent.GetDelay().AsDuration() != 2*time.Second ||
		sent.MaxRetries == nil || *sent.MaxRetries != 0 || sent.Attributes["trace"] != "t-1" ||
		sent.Key != "order-42" {
		t.Errorf("sent %v", request)
	}
}

func TestEachEventOfADispatchIsSentWithItsKey(t *testing.T) {
	bus := newFakeBus(t)
	bus.dispatch = nil
	events := []duebus.Event{{ID: "a", Key: "x"}, {ID: "b"}, {ID: "c", Key: "y"}}
	if _, err := newClient(t, bus.address).DispatchMany(t.Context(), "t", events); err != nil {
		t.Fatal(err)
	}
	if sent := keys(next(t, bus.dispatches)); !slices.Equal(sent, []string{"x", "", "y"}) {
		t.Errorf("sent %q", sent)
	}
}

func keys(request *duebusv1.DispatchRequest) []string {
	var keys []string
	for _, event := range request.Events {
		keys = append(keys, event.Key)
	}
	return keys
}

func TestADispatchAtATimeIsSentWithThatTime(t *testing.T) {
	bus := newFakeBus(t)
	at := time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)
	if _, err := newClient(t, bus.address).Dispatch(t.Context(), "t", duebus.Event{DeliverAt: at}); err != nil {
		t.Fatal(err)
	}
	if sent := next(t, bus.dispatches).Events[0].GetDeliverAt().AsTime(); !sent.Equal(at) {
		t.Errorf("sent %v", sent)
	}
}

func TestADispatchIsRetriedWithItsRequestIDWhileTheServerIsUnavailable(t *testing.T) {
	bus := newFakeBus(t)
	later := &errdetails.RetryInfo{RetryDelay: durationpb.New(500 * time.Millisecond)}
	bus.dispatch = failingFirst(dispatched("a"),
		status.Error(codes.Unavailable, "away"), refusal(codes.Unavailable, "DISPATCHER_NOT_WORKING", later))

	begun := time.Now()
	got, err := newClient(t, bus.address).Dispatch(t.Context(), "t", duebus.Event{})
	if err != nil || got.EventID != "a" || time.Since(begun) < 500*time.Millisecond {
		t.Fatalf("got %v, %v after %v", got, err, time.Since(begun))
	}
	first, second, third := next(t, bus.dispatches), next(t, bus.dispatches), next(t, bus.dispatches)
	if first.RequestId == "" || first.RequestId != second.RequestId || first.RequestId != third.RequestId {
		t.Errorf("request ids %q, %q, %q", first.RequestId, second.RequestId, third.RequestId)
	}
	if _, err := newClient(t, bus.address).Dispatch(t.Context(), "t", duebus.Event{}); err != nil {
		t.Fatal(err)
	}
	if other := next(t, bus.dispatches); other.RequestId == first.RequestId {
		t.Error("another dispatch has the same request id")
	}
}

func TestErrorsThatNoRetryCanCureAreReportedAtOnceWithDetails(t *testing.T) {
	bus := newFakeBus(t)
	bus.dispatch = failingFirst(dispatched("a"), refusal(codes.InvalidArgument, "INVALID_ARGUMENT",
		&errdetails.BadRequest{FieldViolations: []*errdetails.BadRequest_FieldViolation{
			{Field: "events[0].delay", Description: "is -1 s"},
		}}))

	_, err := newClient(t, bus.address).Dispatch(t.Context(), "t", duebus.Event{Delay: -time.Second})
	if !errors.Is(err, duebus.ErrInvalidArgument) || errors.Is(err, duebus.ErrUnavailable) {
		t.Fatalf("got %v", err)
	}
	var typed *duebus.Error
	if !errors.As(err, &typed) || typed.Code != codes.InvalidArgument || typed.Metadata["topic"] != "t" {
		t.Fatalf("got %#v", err)
	}
	if want := (duebus.FieldViolation{Field: "events[0].delay", Description: "is -1 s"}); typed.FieldViolations[0] != want {
		t.Errorf("violations %v", typed.FieldViolations)
	}
	if want := "duebus: INVALID_ARGUMENT: refused (events[0].delay: is -1 s)"; err.Error() != want {
		t.Errorf("says %q", err)
	}
	if status.Code(err) != codes.InvalidArgument {
		t.Errorf("status %v", status.Code(err))
	}
	next(t, bus.dispatches)
	no(t, bus.dispatches)
}

func TestAFullTopicHasARetryDelay(t *testing.T) {
	bus := newFakeBus(t)
	later := &errdetails.RetryInfo{RetryDelay: durationpb.New(3 * time.Second)}
	bus.dispatch = failingFirst(dispatched("a"), refusal(codes.ResourceExhausted, "MAX_QUEUED_EVENTS_REACHED", later))
	_, err := newClient(t, bus.address).Dispatch(t.Context(), "t", duebus.Event{})
	var typed *duebus.Error
	if !errors.Is(err, duebus.ErrMaxQueuedEventsReached) || !errors.As(err, &typed) || typed.RetryAfter != 3*time.Second {
		t.Errorf("got %#v", err)
	}
}

func TestADispatchThatFailedPartwayNamesTheStoredEvents(t *testing.T) {
	bus := newFakeBus(t)
	partial := &duebusv1.PartialDispatch{StoredEngines: []duebusv1.Engine{duebus.Local}, EventIds: []string{"a"}}
	bus.dispatch = failingFirst(dispatched("a"),
		refusal(codes.ResourceExhausted, "MAX_QUEUED_EVENTS_REACHED", protoadapt.MessageV1Of(partial)))
	_, err := newClient(t, bus.address).Dispatch(t.Context(), "t", duebus.Event{})
	var typed *duebus.Error
	if !errors.As(err, &typed) || len(typed.StoredEngines) != 1 || typed.StoredEngines[0] != duebus.Local ||
		len(typed.StoredEventIDs) != 1 || typed.StoredEventIDs[0] != "a" {
		t.Errorf("got %#v", err)
	}
}

func TestReasonsMatchTheirWiderOnes(t *testing.T) {
	for _, each := range []struct{ reason, wider, not duebus.Reason }{
		{duebus.ErrNoTopicSpecified, duebus.ErrInvalidArgument, duebus.ErrNoEventSpecified},
		{duebus.ErrNoEventSpecified, duebus.ErrInvalidArgument, duebus.ErrNoTopicSpecified},
		{duebus.ErrDispatcherNotWorking, duebus.ErrUnavailable, duebus.ErrInvalidArgument},
		{duebus.ErrNotFound, duebus.ErrNotFound, duebus.ErrInvalidArgument},
	} {
		err := error(&duebus.Error{Reason: each.reason})
		if !errors.Is(err, each.reason) || !errors.Is(err, each.wider) || errors.Is(err, each.not) {
			t.Errorf("%v: %v", each.reason, err)
		}
	}
}

func TestErrorsWithoutDetailsHaveTheReasonOfTheirStatus(t *testing.T) {
	for code, reason := range map[codes.Code]duebus.Reason{
		codes.InvalidArgument:   duebus.ErrInvalidArgument,
		codes.NotFound:          duebus.ErrNotFound,
		codes.Internal:          duebus.ErrInternal,
		codes.Unimplemented:     duebus.ErrUnimplemented,
		codes.Unauthenticated:   duebus.ErrUnauthenticated,
		codes.PermissionDenied:  duebus.ErrPermissionDenied,
		codes.ResourceExhausted: "RESOURCE_EXHAUSTED",
		codes.DataLoss:          "DATA_LOSS",
	} {
		bus := newFakeBus(t)
		bus.dispatch = failingFirst(dispatched("a"), status.Error(code, "no"))
		_, err := newClient(t, bus.address).Dispatch(t.Context(), "t", duebus.Event{})
		if !errors.Is(err, reason) {
			t.Errorf("%v: got %v", code, err)
		}
	}
}

func TestATooLargeRequestIsBadInput(t *testing.T) {
	bus := newFakeBus(t, grpc.MaxRecvMsgSize(1000))
	_, err := newClient(t, bus.address).Dispatch(t.Context(), "t", duebus.Event{Data: make([]byte, 2000)})
	var typed *duebus.Error
	if !errors.Is(err, duebus.ErrInvalidArgument) || !errors.As(err, &typed) ||
		typed.FieldViolations[0].Field != "request" {
		t.Errorf("got %v", err)
	}
}

func TestBadInputIsNamedBeforeItIsSent(t *testing.T) {
	bus := newFakeBus(t)
	client := newClient(t, bus.address)
	_, both := client.DispatchMany(t.Context(), "t", []duebus.Event{{}, {Delay: 1, DeliverAt: time.Now()}})
	_, garbled := client.Dispatch(t.Context(), "t", duebus.Event{Attributes: map[string]string{"a": "\xff"}})
	_, key := client.DispatchMany(t.Context(), "t", []duebus.Event{{}, {Key: "\xff"}})
	_, topic := client.Dispatch(t.Context(), "\xff", duebus.Event{})
	_, payload := duebus.JSON(make(chan int))
	_, actions := client.Nack(t.Context(), duebus.Nack{DeadLetter: true, Release: true})
	_, token := client.Ack(t.Context(), "fine", "\xff")
	for field, err := range map[string]error{
		"events[1].delay": both, `events[0].attributes["a"]`: garbled, "events[1].key": key, "topic": topic,
		"data": payload, "nacks[0].action": actions, "lease_tokens[1]": token,
	} {
		var typed *duebus.Error
		if !errors.As(err, &typed) || typed.Reason != duebus.ErrInvalidArgument || typed.FieldViolations[0].Field != field {
			t.Errorf("%s: got %v", field, err)
		}
	}
	no(t, bus.dispatches)
}

func TestUnusableTargetsAndOptionsAreRefused(t *testing.T) {
	for _, target := range []string{
		"", "a", "a:", "a:port", "a:65536", "a:1/", "a:1,b", "a:1,", "http://a:1", "HTTPS://a:1", "::1",
	} {
		if err := errorOfNewClient(target); !errors.Is(err, duebus.ErrInvalidArgument) {
			t.Errorf("%q: got %v", target, err)
		}
	}
	if err := errorOfNewClient("a:1", duebus.WithTimeout(0)); !errors.Is(err, duebus.ErrInvalidArgument) {
		t.Errorf("no timeout: got %v", err)
	}
}

func TestUsableTargetsAreAccepted(t *testing.T) {
	for _, target := range []string{
		"a:1", " a:1 ", ":1", "[::1]:1", "[fe80::1%lo]:1", "[fe80::1%lo]:1,b:2", "a:1, b:2", "dns:///a", "dns:a:1", "passthrough:///a", "unix:/run/bus.sock", "unix:bus.sock",
	} {
		if err := errorOfNewClient(target); err != nil {
			t.Errorf("%q: got %v", target, err)
		}
	}
}

func TestAnAdminRequestMayBeNil(t *testing.T) {
	admin := newClient(t, unusedAddress(t), duebus.WithTimeout(time.Millisecond)).Admin().On(duebus.Redis)
	if _, err := admin.Cancel(t.Context(), nil); err == nil {
		t.Error("no error")
	}
}

func errorOfNewClient(target string, options ...duebus.ClientOption) error {
	_, err := duebus.NewClient(target, options...)
	return err
}

func TestDuplicatesAreTheLaterOnesOfTheSameID(t *testing.T) {
	bus := newFakeBus(t)
	bus.dispatch = func() (*duebusv1.DispatchResponse, error) {
		return &duebusv1.DispatchResponse{EventIds: []string{"a", "b", "a"}, DuplicateEventIds: []string{"a"}}, nil
	}
	got, err := newClient(t, bus.address).DispatchMany(t.Context(), "t", make([]duebus.Event, 3))
	if err != nil || got[0].Duplicate || got[1].Duplicate || !got[2].Duplicate {
		t.Errorf("got %v, %v", got, err)
	}
}

func TestAnAnswerWithoutIDsIsAnErrorAndNoPanic(t *testing.T) {
	bus := newFakeBus(t)
	bus.dispatch = func() (*duebusv1.DispatchResponse, error) { return dispatched(), nil }
	if _, err := newClient(t, bus.address).Dispatch(t.Context(), "t", duebus.Event{}); !errors.Is(err, duebus.ErrInternal) {
		t.Errorf("got %v", err)
	}
}

// unusedAddress is one that nobody listens on.
func unusedAddress(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = listener.Close() }()
	return listener.Addr().String()
}

func TestAnUnreachableServerIsUnavailableAfterTheTimeout(t *testing.T) {
	address := unusedAddress(t)
	client := newClient(t, address, duebus.WithTimeout(time.Second))
	_, err := client.Dispatch(t.Context(), "t", duebus.Event{})
	if !errors.Is(err, duebus.ErrUnavailable) {
		t.Errorf("got %v", err)
	}

	// With a timeout that it does not reach: a call gives up early when its next try would come too late.
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(500*time.Millisecond, cancel)
	_, err = newClient(t, address).Dispatch(ctx, "t", duebus.Event{})
	if !errors.Is(err, duebus.ErrUnavailable) || !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: got %v", err)
	}
}

func TestAServerThatDoesNotAnswerIsDeadlineExceeded(t *testing.T) {
	bus := newFakeBus(t)
	release := make(chan struct{})
	t.Cleanup(func() { close(release) })
	bus.dispatch = func() (*duebusv1.DispatchResponse, error) { <-release; return dispatched("a"), nil }
	ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
	defer cancel()
	_, err := newClient(t, bus.address).Dispatch(ctx, "t", duebus.Event{})
	if !errors.Is(err, duebus.ErrDeadlineExceeded) || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
}

func TestCallsOfAClosedClientFail(t *testing.T) {
	bus := newFakeBus(t)
	release := make(chan struct{})
	t.Cleanup(func() { close(release) })
	bus.dispatch = func() (*duebusv1.DispatchResponse, error) { <-release; return dispatched("a"), nil }
	client := newClient(t, bus.address)
	under := make(chan error, 1)
	go func() {
		_, err := client.Dispatch(context.Background(), "t", duebus.Event{})
		under <- err
	}()
	next(t, bus.dispatches)
	if err := errors.Join(client.Close(), client.Close()); err != nil {
		t.Fatal(err)
	}
	if err := next(t, under); !errors.Is(err, duebus.ErrClientClosed) {
		t.Errorf("a call under way: got %v", err)
	}
	if _, err := client.Ack(t.Context(), "token"); !errors.Is(err, duebus.ErrClientClosed) {
		t.Errorf("a later call: got %v", err)
	}
}

func TestCloseEndsTheWaitForTheNextTry(t *testing.T) {
	bus := newFakeBus(t)
	later := &errdetails.RetryInfo{RetryDelay: durationpb.New(2 * waitTimeout)}
	stopped := refusal(codes.Unavailable, "DISPATCHER_NOT_WORKING", later)
	bus.dispatch = func() (*duebusv1.DispatchResponse, error) { return nil, stopped }
	answered := make(chan struct{}, 10)
	watching := grpc.WithChainUnaryInterceptor(func(
		ctx context.Context, method string, request, reply any, conn *grpc.ClientConn, invoke grpc.UnaryInvoker,
		options ...grpc.CallOption,
	) error {
		defer func() { answered <- struct{}{} }()
		return invoke(ctx, method, request, reply, conn, options...)
	})
	client := newClient(t, bus.address, duebus.WithTimeout(3*waitTimeout), duebus.WithDialOptions(watching))
	waiting := make(chan error, 1)
	go func() {
		_, err := client.Dispatch(context.Background(), "t", duebus.Event{})
		waiting <- err
	}()
	next(t, answered)
	if err := client.Close(); err != nil {
		t.Fatal(err)
	}
	if err := next(t, waiting); !errors.Is(err, duebus.ErrClientClosed) {
		t.Errorf("got %v", err)
	}
}

func TestAnEmptyTokenIsNone(t *testing.T) {
	bus := newFakeBus(t)
	if _, err := newClient(t, bus.address, duebus.WithToken("")).Dispatch(t.Context(), "t", duebus.Event{}); err != nil {
		t.Fatal(err)
	}
	if sent := next(t, bus.tokens); len(sent) != 0 {
		t.Error(sent)
	}
}

func TestTheTokenIsSentWithEachCall(t *testing.T) {
	bus := newFakeBus(t)
	if _, err := newClient(t, bus.address, duebus.WithToken("secret")).Dispatch(t.Context(), "t", duebus.Event{}); err != nil {
		t.Fatal(err)
	}
	if sent := next(t, bus.tokens); len(sent) != 1 || sent[0] != "Bearer secret" {
		t.Errorf("sent %q", sent)
	}
}

// certificate is a fresh one for 127.0.0.1, and what trusts it.
func certificate(t *testing.T) (tls.Certificate, *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		IsCA: true, BasicConstraintsValid: true,
	}
	raw, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	parsed, err := x509.ParseCertificate(raw)
	if err != nil {
		t.Fatal(err)
	}
	authorities := x509.NewCertPool()
	authorities.AddCert(parsed)
	return tls.Certificate{Certificate: [][]byte{raw}, PrivateKey: key}, authorities
}

func TestTLSAndMismatches(t *testing.T) {
	own, authorities := certificate(t)
	secure := newFakeBus(t, grpc.Creds(credentials.NewServerTLSFromCert(&own)))
	plain := newFakeBus(t)
	_, others := certificate(t)
	short := duebus.WithTimeout(2 * time.Second)

	trusting := newClient(t, secure.address, duebus.WithTLS(&tls.Config{RootCAs: authorities}))
	if _, err := trusting.Dispatch(t.Context(), "t", duebus.Event{}); err != nil {
		t.Errorf("TLS: %v", err)
	}
	for name, client := range map[string]*duebus.Client{
		"plaintext to TLS":  newClient(t, secure.address, short),
		"TLS to plaintext":  newClient(t, plain.address, short, duebus.WithTLS(&tls.Config{RootCAs: authorities})),
		"default TLS":       newClient(t, plain.address, short, duebus.WithTLS(nil)),
		"another authority": newClient(t, secure.address, short, duebus.WithTLS(&tls.Config{RootCAs: others})),
	} {
		if _, err := client.Dispatch(t.Context(), "t", duebus.Event{}); !errors.Is(err, duebus.ErrUnavailable) {
			t.Errorf("%s: got %v", name, err)
		}
	}
}

func TestOneOfSeveralServersIsEnough(t *testing.T) {
	own, authorities := certificate(t)
	bus := newFakeBus(t, grpc.Creds(credentials.NewServerTLSFromCert(&own)))
	target := unusedAddress(t) + "," + bus.address
	client := newClient(t, target, duebus.WithTLS(&tls.Config{RootCAs: authorities}))
	if _, err := client.Dispatch(t.Context(), "t", duebus.Event{}); err != nil {
		t.Error(err)
	}
}

func TestManySettlesGoInSeveralCalls(t *testing.T) {
	bus := newFakeBus(t)
	client := newClient(t, bus.address)
	if failures, err := client.Ack(t.Context(), make([]string, 10_001)...); err != nil || failures != nil {
		t.Fatalf("got %v, %v", failures, err)
	}
	if first, second := next(t, bus.acks), next(t, bus.acks); len(first.LeaseTokens) != 10_000 || len(second.LeaseTokens) != 1 {
		t.Errorf("calls of %d and %d", len(first.LeaseTokens), len(second.LeaseTokens))
	}
	if failures, err := client.Ack(t.Context()); err != nil || failures != nil {
		t.Errorf("no tokens: got %v, %v", failures, err)
	}
	no(t, bus.acks)
}

func TestSettlesReturnWhatTheyCouldNotSettle(t *testing.T) {
	bus := newFakeBus(t)
	client := newClient(t, bus.address)
	settled := &duebusv1.AckResponse{Failures: []*duebusv1.LeaseFailure{
		{LeaseToken: "a", Reason: duebus.LeaseSettled}, {LeaseToken: "b", Reason: duebus.LeaseMalformed},
	}}
	bus.ack = failingFirst(settled)
	failures, err := client.Ack(t.Context(), "a", "b", "c")
	if err != nil || len(failures) != 2 || failures[0] != (duebus.LeaseFailure{LeaseToken: "a", Reason: duebus.LeaseSettled}) {
		t.Errorf("got %v, %v", failures, err)
	}

	// The answer to the first try was lost: that it is settled already is no failure.
	bus.set(func() { bus.ack = failingFirst(settled, status.Error(codes.Unavailable, "lost")) })
	failures, err = client.Ack(t.Context(), "a", "b", "c")
	if err != nil || len(failures) != 1 || failures[0].Reason != duebus.LeaseMalformed {
		t.Errorf("after a lost answer: got %v, %v", failures, err)
	}
}

func TestNacksAndExtendsAreSentAsGiven(t *testing.T) {
	bus := newFakeBus(t)
	client := newClient(t, bus.address)
	_, err := client.Nack(t.Context(), duebus.Nack{LeaseToken: "a", Error: "no"},
		duebus.Nack{LeaseToken: "b", Delay: new(time.Duration)}, duebus.Nack{LeaseToken: "c", DeadLetter: true},
		duebus.Nack{LeaseToken: "d", Release: true})
	if err != nil {
		t.Fatal(err)
	}
	sent := next(t, bus.nacks).Nacks
	if _, delayed := sent[1].Action.(*duebusv1.Nack_Delay); sent[0].Error != "no" || sent[0].Action != nil || !delayed ||
		!sent[2].GetDeadLetter() || !sent[3].GetRelease() {
		t.Errorf("sent %v", sent)
	}
	if _, err := client.Extend(t.Context(), time.Minute, "a"); err != nil {
		t.Fatal(err)
	}
	if _, err := client.Extend(t.Context(), 0, "a"); err != nil {
		t.Fatal(err)
	}
	if first, second := next(t, bus.extends), next(t, bus.extends); first.Lease.AsDuration() != time.Minute || second.Lease != nil {
		t.Errorf("sent %v, %v", first, second)
	}
}

func TestTheGeneratedStubsHaveTypedErrors(t *testing.T) {
	client := newClient(t, newFakeBus(t).address)
	_, err := client.AdminStub().ListTopics(t.Context(), &duebusv1.ListTopicsRequest{})
	if !errors.Is(err, duebus.ErrUnimplemented) {
		t.Errorf("a call: got %v", err)
	}
	if !strings.HasPrefix(err.Error(), "duebus: UNIMPLEMENTED") {
		t.Errorf("says %q", err)
	}

	bus := newFakeBus(t)
	bus.started = nil
	stream, err := newClient(t, bus.address).EventBus().Subscribe(t.Context(), &duebusv1.SubscribeRequest{Topic: "t"})
	if err != nil {
		t.Fatal(err)
	}
	next(t, bus.streams).end <- refusal(codes.FailedPrecondition, "NO_DISPATCHER_SPECIFIED")
	if _, err := stream.Recv(); !errors.Is(err, duebus.ErrNoDispatcherSpecified) {
		t.Errorf("a stream: got %v", err)
	}
}
