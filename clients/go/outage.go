package duebus

import (
	"log/slog"
	"time"
)

// outage picks the level of log lines during an outage: a warning first and then once a minute, otherwise debug.
type outage struct {
	warned time.Time
}

// level is the level of the next failure's line.
func (o *outage) level() slog.Level {
	if time.Since(o.warned) < time.Minute {
		return slog.LevelDebug
	}
	o.warned = time.Now()
	return slog.LevelWarn
}

// over notes that the server has answered.
func (o *outage) over() { o.warned = time.Time{} }
