package duebustest

import (
	"bufio"
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"
)

// startTimeout is how long the server may take to start.
const startTimeout = time.Minute

// shell runs a command until its standard input ends: when the test has ended, however that was. A signal to the whole
// process group, such as that of Ctrl-C, must not end the shell first.
const shell = `trap "" HUP INT QUIT TERM; "$@" </dev/null & exec >&- 2>&-; read -r _; kill -KILL "$!"; wait "$!"`

var silent = slog.New(slog.DiscardHandler)

// server is a process that serves.
type server struct {
	process *exec.Cmd // the shell
	address string
	ended   chan struct{} // closed when it has ended
	log     bytes.Buffer  // complete when it has ended
	hold    io.Closer     // ends it
}

// serve starts a server that is killed at the end of the test: it has nothing to save.
func serve(t testing.TB) (*server, error) {
	command, err := exec.LookPath(cmp.Or(os.Getenv("DUEBUS_COMMAND"), "duebus"))
	if err != nil {
		return nil, fmt.Errorf(
			"the command duebus is missing: pip install 'duebus[server]', or set DUEBUS_COMMAND to its path (%w)", err)
	}
	process := exec.Command("sh", "-c", shell, "sh",
		command, "serve", "--test-clock", "--engine", "local", "--listen", "127.0.0.1:0")
	// The defaults, regardless of the test's environment.
	process.Env = slices.DeleteFunc(os.Environ(), func(each string) bool { return strings.HasPrefix(each, "DUEBUS_") })
	started := &server{process: process, ended: make(chan struct{})}
	process.Stderr = &started.log
	if started.hold, err = process.StdinPipe(); err != nil {
		return nil, err
	}
	out, err := process.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := process.Start(); err != nil {
		return nil, err
	}
	line := make(chan string, 1)
	go started.watch(out, line)
	if started.address, err = readAddress(line); err != nil {
		started.end()
		return nil, fmt.Errorf("%s serve: %w\n%s", command, err, started.log.String())
	}
	t.Cleanup(started.end)
	return started, nil
}

// watch passes the first line of the output on. The output ends with the server, and the shell when hold is closed.
func (s *server) watch(out io.Reader, line chan<- string) {
	output := bufio.NewReader(out)
	text, _ := output.ReadString('\n')
	line <- text
	_, _ = io.Copy(io.Discard, output)
	_ = s.hold.Close()
	_ = s.process.Wait() // its status is that of a killed server
	close(s.ended)
}

func (s *server) end() {
	_ = s.hold.Close()
	<-s.ended
}

// readAddress reads the line that a server prints when it serves: "duebus ready on HOST:PORT engines=local".
func readAddress(line <-chan string) (string, error) {
	select {
	case text := <-line:
		rest, found := strings.CutPrefix(text, "duebus ready on ")
		if !found {
			return "", errors.New("the server has not started")
		}
		return strings.Fields(rest)[0], nil
	case <-time.After(startTimeout):
		return "", fmt.Errorf("the server has not started within %v", startTimeout)
	}
}
