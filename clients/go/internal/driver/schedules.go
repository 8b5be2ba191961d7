package main

import (
	"context"
	"strings"
	"time"

	duebus "github.com/duebus/duebus/clients/go"
	"github.com/duebus/duebus/clients/go/duebusv1"
)

type scheduleArguments struct {
	Engine          string    `json:"engine"`
	Name            string    `json:"name"`
	Topic           string    `json:"topic"`
	Event           eventLine `json:"event"`
	Cron            string    `json:"cron"`
	EveryMs         millis    `json:"every_ms"`
	TimeZone        string    `json:"time_zone"`
	StartAtMs       *int64    `json:"start_at_ms"`
	EndAtMs         *int64    `json:"end_at_ms"`
	MaxRuns         uint64    `json:"max_runs"`
	JitterMs        millis    `json:"jitter_ms"`
	Overlap         string    `json:"overlap"`
	CatchUp         string    `json:"catch_up"`
	CatchUpWindowMs millis    `json:"catch_up_window_ms"`
	Paused          bool      `json:"paused"`
	Note            string    `json:"note"`
	RequestID       string    `json:"request_id"`
	PageSize        uint32    `json:"page_size"`
	Count           uint32    `json:"count"`
	AfterAtMs       *int64    `json:"after_at_ms"`
}

func (a scheduleArguments) schedule() duebus.Schedule {
	return duebus.Schedule{
		Name: a.Name, Topic: a.Topic, Event: a.Event.event(), Cron: a.Cron, Every: a.EveryMs.duration(),
		TimeZone: a.TimeZone, Start: momentOf(a.StartAtMs), End: momentOf(a.EndAtMs), MaxRuns: a.MaxRuns,
		Jitter: a.JitterMs.duration(), CatchUpWindow: a.CatchUpWindowMs.duration(), Paused: a.Paused, Note: a.Note,
		Overlap: duebus.Overlap(duebusv1.Schedule_Overlap_value["OVERLAP_"+strings.ToUpper(a.Overlap)]),
		CatchUp: duebus.CatchUp(duebusv1.Schedule_CatchUp_value["CATCH_UP_"+strings.ToUpper(a.CatchUp)]),
	}
}

type scheduleCall func(context.Context, duebus.Schedules, scheduleArguments) (any, error)

var scheduleCommands = map[string]scheduleCall{
	"schedule.put": func(ctx context.Context, s duebus.Schedules, a scheduleArguments) (any, error) {
		info, err := s.Put(ctx, a.schedule())
		return lineOfSchedule(info), err
	},
	"schedule.get": func(ctx context.Context, s duebus.Schedules, a scheduleArguments) (any, error) {
		info, err := s.Get(ctx, a.Name)
		return lineOfSchedule(info), err
	},
	"schedule.list": listSchedules,
	"schedule.delete": func(ctx context.Context, s duebus.Schedules, a scheduleArguments) (any, error) {
		return empty{}, s.Delete(ctx, a.Name)
	},
	"schedule.pause": func(ctx context.Context, s duebus.Schedules, a scheduleArguments) (any, error) {
		return empty{}, s.Pause(ctx, a.Name)
	},
	"schedule.resume": func(ctx context.Context, s duebus.Schedules, a scheduleArguments) (any, error) {
		return empty{}, s.Resume(ctx, a.Name)
	},
	"schedule.trigger": func(ctx context.Context, s duebus.Schedules, a scheduleArguments) (any, error) {
		id, err := s.Trigger(ctx, a.Name, a.RequestID)
		return map[string]any{"event_id": id}, err
	},
	"schedule.backfill": func(ctx context.Context, s duebus.Schedules, a scheduleArguments) (any, error) {
		ids, err := s.Backfill(ctx, a.Name, momentOf(a.StartAtMs), momentOf(a.EndAtMs), a.RequestID)
		return map[string]any{"event_ids": append([]string{}, ids...)}, err
	},
	"schedule.preview": func(ctx context.Context, s duebus.Schedules, a scheduleArguments) (any, error) {
		options := duebus.PreviewOptions{Count: a.Count, After: momentOf(a.AfterAtMs)}
		preview, err := s.Preview(ctx, a.schedule(), options)
		return map[string]any{"times_at_ms": millisOfAll(preview.Times), "description": preview.Description}, err
	},
}

func (d *driver) schedule(ctx context.Context, c command, call scheduleCall) (any, error) {
	var arguments scheduleArguments
	if err := c.read(&arguments); err != nil {
		return nil, err
	}
	client, err := d.client(c.Client)
	if err != nil {
		return nil, err
	}
	engine, err := engineOf(arguments.Engine)
	if err != nil {
		return nil, err
	}
	return call(ctx, client.Schedules().On(engine), arguments)
}

func listSchedules(ctx context.Context, s duebus.Schedules, a scheduleArguments) (any, error) {
	names := []string{}
	for each, err := range s.All(ctx, a.PageSize) {
		if err != nil {
			return nil, err
		}
		names = append(names, each.Schedule.Name)
	}
	return map[string]any{"names": names}, nil
}

func lineOfSchedule(info duebus.ScheduleInfo) map[string]any {
	schedule, event := info.Schedule, info.Schedule.Event
	return map[string]any{
		"name": schedule.Name, "topic": schedule.Topic,
		"event": map[string]any{
			"data": append([]byte{}, event.Data...), "content_type": event.ContentType, "attributes": event.Attributes,
			"key": event.Key, "max_retries": event.MaxRetries,
		},
		"cron": schedule.Cron, "every_ms": millisOrNil(schedule.Every), "time_zone": schedule.TimeZone,
		"start_at_ms": momentOrNil(schedule.Start), "end_at_ms": momentOrNil(schedule.End), "max_runs": schedule.MaxRuns,
		"jitter_ms": schedule.Jitter.Milliseconds(), "overlap": enumName(schedule.Overlap, "OVERLAP_"),
		"catch_up": enumName(schedule.CatchUp, "CATCH_UP_"), "catch_up_window_ms": millisOrNil(schedule.CatchUpWindow),
		"paused": schedule.Paused, "note": schedule.Note, "next_at_ms": millisOfAll(info.Next),
		"last_fired_at_ms": momentOrNil(info.LastFiredAt), "last_event_id": info.LastEventID, "runs": info.Runs,
		"skipped": info.Skipped, "missed": info.Missed, "description": info.Description,
	}
}

func momentOf(millis *int64) time.Time {
	if millis == nil {
		return time.Time{}
	}
	return time.UnixMilli(*millis)
}

func momentOrNil(moment time.Time) *int64 {
	if moment.IsZero() {
		return nil
	}
	millis := moment.UnixMilli()
	return &millis
}

func millisOrNil(length time.Duration) *int64 {
	if length == 0 {
		return nil
	}
	millis := length.Milliseconds()
	return &millis
}

func millisOfAll(moments []time.Time) []int64 {
	all := make([]int64, len(moments))
	for i, each := range moments {
		all[i] = each.UnixMilli()
	}
	return all
}
