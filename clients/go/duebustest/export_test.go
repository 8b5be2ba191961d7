package duebustest

import (
	"os/exec"
	"strconv"
	"testing"
	"time"
)

// Of is the same bus for another test, with another SettleTimeout.
func Of(bus *Bus, t testing.TB, timeout time.Duration) *Bus {
	other := *bus
	other.t, other.SettleTimeout = t, timeout
	return &other
}

// Kill kills the server that Start has started, and waits for its end.
func Kill(bus *Bus) { bus.server.end() }

// Freeze stops the process of the server that Start has started.
func Freeze(t testing.TB, bus *Bus) {
	t.Helper()
	if err := exec.Command("pkill", "-STOP", "-P", strconv.Itoa(bus.server.process.Process.Pid)).Run(); err != nil {
		t.Fatal(err)
	}
}
