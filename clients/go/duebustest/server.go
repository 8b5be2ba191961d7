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

// serve starts a server that is killed at the end of the test: it has nothing to save. It returns its address.
func serve(t testing.TB) (string, error) {
	command, err := exec.LookPath(cmp.Or(os.Getenv("DUEBUS_COMMAND"), "duebus"))
	if err != nil {
		return "", fmt.Errorf(
			"the command duebus is missing: pip install 'duebus[server]', or set DUEBUS_COMMAND to its path (%w)", err)
	}
	server := exec.Command("sh", "-c", shell, "sh",
		command, "serve", "--test-clock", "--engine", "local", "--listen", "127.0.0.1:0")
	// The defaults, regardless of the test's environment.
	server.Env = slices.DeleteFunc(os.Environ(), func(each string) bool { return strings.HasPrefix(each, "DUEBUS_") })
	var log bytes.Buffer
	server.Stderr = &log
	hold, err := server.StdinPipe()
	if err != nil {
		return "", err
	}
	out, err := server.StdoutPipe()
	if err != nil {
		return "", err
	}
	if err := server.Start(); err != nil {
		return "", err
	}
	end := func() {
		_ = hold.Close()
		_ = server.Wait() // its status is that of a killed server
	}
	address, err := readAddress(out)
	if err != nil {
		end()
		return "", fmt.Errorf("%s serve: %w\n%s", command, err, log.String())
	}
	t.Cleanup(end)
	return address, nil
}

// readAddress reads the line that a server prints when it serves: "duebus ready on HOST:PORT engines=local".
func readAddress(out io.Reader) (string, error) {
	line := make(chan string, 1)
	go func() {
		text, _ := bufio.NewReader(out).ReadString('\n')
		line <- text
	}()
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
