package duebus

import (
	"log/slog"
	"time"
)

// outage picks the level of the log lines while a server is away: a warning at first and then once a minute; the others are
// for debugging.
type outage struct {
	warned time.Time
}

// level is that of the line about the next failure.
func (o *outage) level() slog.Level {
	if time.Since(o.warned) < time.Minute {
		return slog.LevelDebug
	}
	o.warned = time.Now()
	return slog.LevelWarn
}

// over says that the server has answered.
func (o *outage) over() { o.warned = time.Time{} }
