package duebustest_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	duebus "github.com/duebus/duebus/clients/go"
	"github.com/duebus/duebus/clients/go/duebustest"
)

// All have the same bus, and topics of their own: to start one for each would take longer than they do.
func TestABus(t *testing.T) {
	bus := duebustest.Start(t)
	for _, each := range []struct {
		name  string
		check func(*testing.T, *duebustest.Bus)
	}{
		{"ADelayOf30MinutesTakesMilliseconds", checkADelayOf30MinutesTakesMilliseconds},
		{"SettleWaitsForARunningHandlerAndNotForARetry", checkSettleWaitsForARunningHandlerAndNotForARetry},
		{"AScheduleFiresAtEachOfItsTimesOnTheWay", checkAScheduleFiresAtEachOfItsTimesOnTheWay},
		{"TheClockIsAheadByWhatItWasMoved", checkTheClockIsAheadByWhatItWasMoved},
		{"AServerGoesOnAfterATestThatIsConnectedToIt", checkAServerGoesOnAfterATestThatIsConnectedToIt},
		{"AStoppedWorkerHandlesNothing", checkAStoppedWorkerHandlesNothing},
		{"AWorkerThatFailsIsNotRun", checkAWorkerThatFailsIsNotRun},
		{"WhatIsNotSettledIsNamed", checkWhatIsNotSettledIsNamed},
		{"AHandlerThatPanicsFailsTheTest", checkAHandlerThatPanicsFailsTheTest},
	} {
		t.Run(each.name, func(t *testing.T) { each.check(t, duebustest.Of(bus, t, bus.SettleTimeout)) })
	}
}

// counting is a worker that counts what it handles.
func counting(bus *duebustest.Bus, topic string) (*duebus.Worker, func() int) {
	handled := make(chan struct{}, 1000)
	worker := duebus.NewWorker(bus.Client)
	worker.Handle(topic, func(context.Context, *duebus.Delivery) error {
		handled <- struct{}{}
		return nil
	})
	return worker, func() int { return len(handled) }
}

func checkADelayOf30MinutesTakesMilliseconds(t *testing.T, bus *duebustest.Bus) {
	worker, handled := counting(bus, "order.check")
	bus.Run(worker)
	begun := time.Now()
	if _, err := bus.Client.Dispatch(t.Context(), "order.check", duebus.Event{Delay: 30 * time.Minute}); err != nil {
		t.Fatal(err)
	}
	bus.Advance(29 * time.Minute)
	bus.Settle()
	early := handled()
	bus.Advance(time.Minute)
	bus.Settle()
	if early != 0 || handled() != 1 {
		t.Errorf("handled %d before it was due, %d in all", early, handled())
	}
	if took := time.Since(begun); took > time.Minute {
		t.Errorf("it took %v", took)
	}
}

func checkSettleWaitsForARunningHandlerAndNotForARetry(t *testing.T, bus *duebustest.Bus) {
	attempts := make(chan uint32, 10)
	worker := duebus.NewWorker(bus.Client)
	worker.Handle("t", func(_ context.Context, d *duebus.Delivery) error {
		attempts <- d.Attempt
		if d.Attempt == 1 {
			return duebus.RetryAfter(time.Hour, errors.New("busy"))
		}
		return nil
	})
	bus.Run(worker)
	if _, err := bus.Client.Dispatch(t.Context(), "t", duebus.Event{}); err != nil {
		t.Fatal(err)
	}
	bus.Settle()
	if len(attempts) != 1 {
		t.Fatalf("after it has settled: %d attempts", len(attempts))
	}
	bus.Advance(time.Hour)
	bus.Settle()
	if len(attempts) != 2 {
		t.Errorf("an hour later: %d attempts", len(attempts))
	}
}

func checkAScheduleFiresAtEachOfItsTimesOnTheWay(t *testing.T, bus *duebustest.Bus) {
	worker, handled := counting(bus, "reports")
	bus.Run(worker)
	hourly := duebus.Schedule{Name: "hourly", Topic: "reports", Every: time.Hour}
	if _, err := bus.Client.Schedules().Put(t.Context(), hourly); err != nil {
		t.Fatal(err)
	}
	bus.Advance(24 * time.Hour)
	bus.Settle()
	if handled() != 24 {
		t.Errorf("handled %d", handled())
	}
}

func checkTheClockIsAheadByWhatItWasMoved(t *testing.T, bus *duebustest.Bus) {
	before := bus.Now()
	bus.Advance(48 * time.Hour)
	if ahead := bus.Now().Sub(before); ahead < 48*time.Hour || ahead > 48*time.Hour+time.Minute {
		t.Errorf("moved by %v", ahead)
	}
}

func checkAServerGoesOnAfterATestThatIsConnectedToIt(t *testing.T, bus *duebustest.Bus) {
	before := bus.Now()
	t.Run("Connected", func(t *testing.T) { duebustest.Connect(t, bus.Address).Advance(2 * time.Hour) })
	if ahead := bus.Now().Sub(before); ahead < 2*time.Hour {
		t.Errorf("moved by %v", ahead)
	}
}

func checkAStoppedWorkerHandlesNothing(t *testing.T, bus *duebustest.Bus) {
	worker, handled := counting(bus, "t")
	bus.Run(worker)()
	if _, err := bus.Client.Dispatch(t.Context(), "t", duebus.Event{}); err != nil {
		t.Fatal(err)
	}
	bus.Settle() // the group has no subscriber
	if handled() != 0 {
		t.Errorf("handled %d", handled())
	}
}

// failing is a test that records why it failed. Fatalf ends its goroutine.
type failing struct {
	testing.TB
	reason chan string
}

func (f failing) Helper() {}

func (f failing) Errorf(format string, arguments ...any) {
	f.reason <- fmt.Sprintf(format, arguments...)
}

func (f failing) Fatalf(format string, arguments ...any) {
	f.reason <- fmt.Sprintf(format, arguments...)
	panic(f)
}

// failureOf is why a test fails.
func failureOf(t *testing.T, test func(testing.TB)) string {
	t.Helper()
	failed := failing{t, make(chan string, 1)}
	func() {
		defer func() { _ = recover() }()
		test(failed)
	}()
	select {
	case reason := <-failed.reason:
		return reason
	default:
		t.Fatal("it has not failed")
		return ""
	}
}

func TestAWorkerWhoseServerHasEndedDoesNotDrain(t *testing.T) {
	bus := duebustest.Start(t)
	failed := failing{t, make(chan string, 1)}
	handling := make(chan struct{})
	own, err := duebus.NewClient(bus.Address) // not bus.Client, as in a test of a program that makes its own
	if err != nil {
		t.Fatal(err)
	}
	defer own.Close()
	worker := duebus.NewWorker(own)
	worker.Handle("t", func(ctx context.Context, _ *duebus.Delivery) error {
		close(handling)
		<-ctx.Done()
		return ctx.Err()
	})
	stop := duebustest.Of(bus, failed, bus.SettleTimeout).Run(worker)
	if _, err := bus.Client.Dispatch(t.Context(), "t", duebus.Event{}); err != nil {
		t.Fatal(err)
	}
	<-handling
	duebustest.Kill(bus)
	begun := time.Now()
	stop()
	if took := time.Since(begun); took > 15*time.Second {
		t.Errorf("it took %v", took)
	}
	select {
	case reason := <-failed.reason:
		if !strings.Contains(reason, "the server has ended before all was settled") {
			t.Errorf("it says %q", reason)
		}
	default:
		t.Error("the test has not failed")
	}
}

func TestAFrozenServerFailsTheTest(t *testing.T) {
	t.Parallel()
	bus := duebustest.Start(t)
	bus.Now() // connects
	duebustest.Freeze(t, bus)
	failed := make(chan string, 1)
	go func() {
		failed <- failureOf(t, func(t testing.TB) { duebustest.Of(bus, t, bus.SettleTimeout).Advance(time.Minute) })
	}()
	select {
	case reason := <-failed:
		if !strings.Contains(reason, "the clock can't be moved by 1m0s") {
			t.Errorf("it says %q", reason)
		}
	case <-time.After(time.Minute):
		t.Error("it has not failed")
	}
}

func checkAWorkerThatFailsIsNotRun(t *testing.T, bus *duebustest.Bus) {
	reason := failureOf(t, func(t testing.TB) {
		duebustest.Of(bus, t, bus.SettleTimeout).Run(duebus.NewWorker(bus.Client))
	})
	if !strings.Contains(reason, "the worker ended: ") || !strings.Contains(reason, "has no handler") {
		t.Errorf("it says %q", reason)
	}
}

func TestAMissingCommandIsNamed(t *testing.T) {
	t.Setenv("DUEBUS_COMMAND", filepath.Join(t.TempDir(), "duebus"))
	reason := failureOf(t, func(t testing.TB) { duebustest.Start(t) })
	if !strings.Contains(reason, "pip install 'duebus[server]', or set DUEBUS_COMMAND") {
		t.Errorf("it says %q", reason)
	}
}

func TestAServerThatDoesNotStartIsQuoted(t *testing.T) {
	command := filepath.Join(t.TempDir(), "duebus")
	script := "#!/bin/sh\necho 'serve needs the extra server' >&2\nexit 2\n"
	if err := os.WriteFile(command, []byte(script), 0o700); err != nil {
		t.Fatal(err)
	}
	t.Setenv("DUEBUS_COMMAND", command)
	reason := failureOf(t, func(t testing.TB) { duebustest.Start(t) })
	if !strings.Contains(reason, "serve needs the extra server") {
		t.Errorf("it says %q", reason)
	}
}

func checkWhatIsNotSettledIsNamed(t *testing.T, bus *duebustest.Bus) {
	release := make(chan struct{})
	worker := duebus.NewWorker(bus.Client)
	worker.Handle("stuck", func(context.Context, *duebus.Delivery) error { <-release; return nil })
	bus.Run(worker)
	if _, err := bus.Client.Dispatch(t.Context(), "stuck", duebus.Event{}); err != nil {
		t.Fatal(err)
	}
	reason := failureOf(t, func(t testing.TB) { duebustest.Of(bus, t, 100*time.Millisecond).Settle() })
	close(release)
	if !strings.Contains(reason, "stuck/default (0 ready, 1 leased)") {
		t.Errorf("it says %q", reason)
	}
}

func checkAHandlerThatPanicsFailsTheTest(t *testing.T, bus *duebustest.Bus) {
	failed := failing{t, make(chan string, 1)}
	worker := duebus.NewWorker(bus.Client)
	worker.Handle("panics", func(context.Context, *duebus.Delivery) error { panic("the amount is wrong") })
	duebustest.Of(bus, failed, bus.SettleTimeout).Run(worker)
	wrong := duebus.Event{ID: "order-42", MaxRetries: new(uint32)}
	if _, err := bus.Client.Dispatch(t.Context(), "panics", wrong); err != nil {
		t.Fatal(err)
	}
	bus.Settle()
	select {
	case reason := <-failed.reason:
		named := strings.Contains(reason, "the handler of panics/order-42 panicked: the amount is wrong")
		if !named || !strings.Contains(reason, "duebustest_test.go") {
			t.Errorf("it says %q", reason)
		}
	default:
		t.Error("it is settled, and has not failed")
	}
}

// inAProcessOfItsOwn runs one test of this file in a process, which it can then kill.
const inAProcessOfItsOwn = "DUEBUSTEST_CHILD"

// In a process of its own, because it fails there.
func TestAnAssertionThatFailsInAHandlerFailsTheTest(t *testing.T) {
	if os.Getenv(inAProcessOfItsOwn) != "" {
		assertInAHandler(t)
		return
	}
	child := exec.Command(os.Args[0], "-test.run", "^"+t.Name()+"$")
	child.Env = append(os.Environ(), inAProcessOfItsOwn+"=1")
	said, err := child.CombinedOutput()
	var failed *exec.ExitError
	if !errors.As(err, &failed) || !strings.Contains(string(said), "--- FAIL: "+t.Name()) {
		t.Errorf("it ended with %v", err)
	}
	for _, expected := range []string{"the amount of order-42 is wrong", "it is settled"} {
		if !strings.Contains(string(said), expected) {
			t.Errorf("it does not say that %s, but:\n%s", expected, said)
		}
	}
}

func assertInAHandler(t *testing.T) {
	bus := duebustest.Start(t)
	worker := duebus.NewWorker(bus.Client)
	worker.Handle("order.paid", func(_ context.Context, d *duebus.Delivery) error {
		if string(d.Data) != "41" {
			t.Fatalf("the amount of %s is wrong", d.EventID)
		}
		return nil
	})
	bus.Run(worker)
	wrong := duebus.Event{ID: "order-42", Data: []byte("42"), MaxRetries: new(uint32)}
	if _, err := bus.Client.Dispatch(t.Context(), "order.paid", wrong); err != nil {
		t.Fatal(err)
	}
	bus.Settle() // the handler has ended, and its event is dead
	t.Log("it is settled")
}

func TestTheServerEndsWithAProcessThatIsKilled(t *testing.T) {
	checkTheServerEndsWithAProcess(t, func(process int) error { return syscall.Kill(process, syscall.SIGKILL) })
}

// As Ctrl-\ does.
func TestTheServerEndsWithAProcessThatASignalToItsGroupEnds(t *testing.T) {
	checkTheServerEndsWithAProcess(t, func(process int) error { return syscall.Kill(-process, syscall.SIGQUIT) })
}

func checkTheServerEndsWithAProcess(t *testing.T, end func(process int) error) {
	t.Helper()
	if os.Getenv(inAProcessOfItsOwn) != "" {
		fmt.Println("address", duebustest.Start(t).Address)
		select {}
	}
	child := exec.Command(os.Args[0], "-test.run", "^"+t.Name()+"$")
	child.Env = append(os.Environ(), inAProcessOfItsOwn+"=1")
	child.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	out, err := child.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	var address string
	if _, err := fmt.Fscanf(out, "address %s\n", &address); err != nil {
		t.Fatal(err)
	}
	stream, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	if err := end(child.Process.Pid); err != nil {
		t.Fatal(err)
	}
	_ = child.Wait()
	_ = stream.SetReadDeadline(time.Now().Add(3 * time.Second))
	for err == nil { // the server's settings, then the end of the connection
		_, err = stream.Read(make([]byte, 1024))
	}
	if errors.Is(err, os.ErrDeadlineExceeded) {
		t.Error("the server has outlived its test")
	}
}
