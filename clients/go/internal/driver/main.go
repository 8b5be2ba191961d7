// The driver of the conformance suite: it carries out the runner's commands with this client. Its protocol is
// tests/conformance/PROTOCOL.md.
package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"time"

	duebus "github.com/duebus/duebus/clients/go"
)

// exitWithin is how long to wait at the end of input.
const exitWithin = 4 * time.Second

func main() {
	logger := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelDebug}))
	driver := newDriver(&output{encoder: json.NewEncoder(os.Stdout)}, logger)
	input := bufio.NewReaderSize(os.Stdin, 1<<16)
	for {
		line, err := input.ReadBytes('\n')
		if err != nil {
			break
		}
		driver.receive(line)
	}
	time.AfterFunc(exitWithin, func() { os.Exit(0) })
	driver.close()
}

// output writes lines. Safe for many goroutines.
type output struct {
	mu      sync.Mutex
	encoder *json.Encoder
}

func (o *output) write(line any) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if err := o.encoder.Encode(line); err != nil {
		fmt.Fprintln(os.Stderr, "a line could not be written:", err)
	}
}

type answer struct {
	ID     int64 `json:"id"`
	Result any   `json:"result,omitempty"`
	Error  any   `json:"error,omitempty"`
}

type empty struct{}

// driverError is a command that the driver does not know, or whose arguments it can't read.
type driverError string

func (e driverError) Error() string { return string(e) }

type violationLine struct {
	Field       string `json:"field"`
	Description string `json:"description"`
}

type errorLine struct {
	Reason          string            `json:"reason"`
	Message         string            `json:"message"`
	FieldViolations []violationLine   `json:"field_violations"`
	RetryAfterMs    *int64            `json:"retry_after_ms"`
	Metadata        map[string]string `json:"metadata"`
	StoredEngines   []string          `json:"stored_engines"`
	StoredEventIDs  []string          `json:"stored_event_ids"`
}

// errorOf is an error as a line; nil for none.
func errorOf(err error) *errorLine {
	if err == nil {
		return nil
	}
	line := &errorLine{
		Reason: "DRIVER_ERROR", Message: err.Error(), FieldViolations: []violationLine{},
		Metadata: map[string]string{}, StoredEngines: []string{}, StoredEventIDs: []string{},
	}
	var typed *duebus.Error
	if !errors.As(err, &typed) {
		return line
	}
	line.Reason = string(typed.Reason)
	for _, each := range typed.FieldViolations {
		line.FieldViolations = append(line.FieldViolations, violationLine(each))
	}
	if typed.RetryAfter != 0 {
		after := typed.RetryAfter.Milliseconds()
		line.RetryAfterMs = &after
	}
	if typed.Metadata != nil {
		line.Metadata = typed.Metadata
	}
	for _, engine := range typed.StoredEngines {
		line.StoredEngines = append(line.StoredEngines, enumName(engine, "ENGINE_"))
	}
	line.StoredEventIDs = append(line.StoredEventIDs, typed.StoredEventIDs...)
	return line
}
