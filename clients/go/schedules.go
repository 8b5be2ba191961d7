package duebus

import (
	"context"
	"crypto/rand"
	"iter"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/duebus/duebus/clients/go/duebusv1"
)

// Overlap is what happens to a firing while the event of an earlier one is unfinished: neither acked nor dead in some
// group.
type Overlap = duebusv1.Schedule_Overlap

const (
	// OverlapAllow dispatches the event anyway; the default.
	OverlapAllow = duebusv1.Schedule_OVERLAP_ALLOW
	// OverlapSkip skips the firing if the last event is unfinished.
	OverlapSkip = duebusv1.Schedule_OVERLAP_SKIP
	// OverlapBufferOne skips the firing if the last two events are unfinished. An event without a key gets the
	// schedule's name as its key, so that the second waits for the first.
	OverlapBufferOne = duebusv1.Schedule_OVERLAP_BUFFER_ONE
)

// CatchUp is what happens to nominal times that passed while nothing could fire.
type CatchUp = duebusv1.Schedule_CatchUp

const (
	// CatchUpLast fires the last of them, if it is at most a year ago; the default.
	CatchUpLast = duebusv1.Schedule_CATCH_UP_LAST
	// CatchUpAll fires each of them, at most 1,000, and none older than Schedule.CatchUpWindow.
	CatchUpAll = duebusv1.Schedule_CATCH_UP_ALL
	// CatchUpNone fires none of them.
	CatchUpNone = duebusv1.Schedule_CATCH_UP_NONE
)

// Schedule is a rule, and the event that it dispatches. The server chooses the fields with their zero value.
type Schedule struct {
	// Name is unique in its engine: `[A-Za-z0-9][A-Za-z0-9._-]{0,199}`.
	Name string
	// Topic is where the events go. It can't be changed.
	Topic string
	// Event is what is dispatched, without ID, Delay and DeliverAt. The id of each is NAME@TIME, for example
	// "report@2026-11-30T08:00:00Z", and the attributes duebus-schedule and duebus-scheduled-for are added.
	Event Event
	// Cron is the rule: five fields, such as "0 9 * * MON-FRI", or six with the second first. This or Every.
	Cron string
	// Every is the rule as an interval: 1 s to 366 days, counted from Start, or else from 1970.
	Every time.Duration
	// TimeZone is that of Cron, such as "Europe/Berlin"; empty: UTC.
	TimeZone string
	// Start and End are the first and the last moment at which it may fire; zero: no limit.
	Start, End time.Time
	// MaxRuns is how many times it fires; 0: no limit.
	MaxRuns uint64
	// Jitter delays each firing by up to this much, at most 24 h.
	Jitter  time.Duration
	Overlap Overlap
	CatchUp CatchUp
	// CatchUpWindow is for CatchUpAll: 1 s to 31 days; 0: 1 h.
	CatchUpWindow time.Duration
	// Paused counts only when the schedule is created.
	Paused bool
	// Note is for people, at most 1,000 bytes.
	Note string
}

// ScheduleInfo is a schedule, and what it has done.
type ScheduleInfo struct {
	Schedule Schedule
	// Next is the next ten nominal times; fewer if it ends before, none while it is paused.
	Next []time.Time
	// LastFiredAt is the nominal time of the last event, and LastEventID its id; zero if there was none.
	LastFiredAt time.Time
	LastEventID string
	// Runs, Skipped and Missed count the nominal times that dispatched an event, that were skipped because of Overlap,
	// and that were missed because nothing could fire or the topic was full.
	Runs, Skipped, Missed uint64
	// Description is the rule in words.
	Description string
}

// Preview is when a rule fires, and the rule in words.
type Preview struct {
	Times       []time.Time
	Description string
}

// PreviewOptions are the options of a preview.
type PreviewOptions struct {
	// Count is how many times, 1 to 1,000; 0: 10.
	Count uint32
	// After is the moment after which they are; zero: now.
	After time.Time
}

// Schedules are the schedules of an engine. Their calls are retried like a dispatch, except Delete.
//
// Errors of a call that names a schedule: ErrNotFound if there is none.
type Schedules struct {
	client *Client
	stub   duebusv1.EventBusSchedulesClient
	engine Engine
}

// Schedules returns those of the server's default engine.
func (c *Client) Schedules() Schedules {
	return Schedules{client: c, stub: duebusv1.NewEventBusSchedulesClient(c.conn)}
}

// On returns the schedules of another engine.
func (s Schedules) On(engine Engine) Schedules {
	s.engine = engine
	return s
}

// Put creates a schedule, or replaces the one of this name; an equal one changes nothing. A replaced schedule keeps its
// counters and its pause. It returns the schedule as it is stored now.
//
// Errors: ErrInvalidArgument names the field, for example schedule.cron; ErrTopicHasSchedules if the schedule exists with
// another topic.
func (s Schedules) Put(ctx context.Context, schedule Schedule) (ScheduleInfo, error) {
	encoded, err := schedule.encode()
	if err != nil {
		return ScheduleInfo{}, err
	}
	request := &duebusv1.PutScheduleRequest{Engine: s.engine, Schedule: encoded}
	response, _, err := repeated(ctx, s.client, s.stub.PutSchedule, request)
	if err != nil {
		return ScheduleInfo{}, err
	}
	return readScheduleInfo(response.Schedule), nil
}

// Get returns one schedule: when it fires next, and what it has done.
func (s Schedules) Get(ctx context.Context, name string) (ScheduleInfo, error) {
	request := &duebusv1.GetScheduleRequest{Engine: s.engine, Name: name}
	response, err := named(ctx, s.client, s.stub.GetSchedule, request, name)
	if err != nil {
		return ScheduleInfo{}, err
	}
	return readScheduleInfo(response.Schedule), nil
}

// All returns the schedules by name, fetched a page at a time: pageSize is 1 to 1,000, 0 means 100. An error ends the
// sequence.
func (s Schedules) All(ctx context.Context, pageSize uint32) iter.Seq2[ScheduleInfo, error] {
	return allPages(func(token string) ([]ScheduleInfo, string, error) { return s.Page(ctx, pageSize, token) })
}

// Page returns one page of the schedules by name, and the token of the next one, which is empty after the last. The
// token of the first page is empty.
func (s Schedules) Page(ctx context.Context, pageSize uint32, pageToken string) ([]ScheduleInfo, string, error) {
	if err := checkText("page_token", pageToken); err != nil {
		return nil, "", err
	}
	request := &duebusv1.ListSchedulesRequest{Engine: s.engine, PageSize: pageSize, PageToken: pageToken}
	response, _, err := repeated(ctx, s.client, s.stub.ListSchedules, request)
	if err != nil {
		return nil, "", err
	}
	schedules := make([]ScheduleInfo, len(response.Schedules))
	for i, each := range response.Schedules {
		schedules[i] = readScheduleInfo(each)
	}
	return schedules, response.NextPageToken, nil
}

// Delete removes a schedule. Events that it has dispatched are kept. It is not retried, because a second try would find
// the schedule gone.
func (s Schedules) Delete(ctx context.Context, name string) error {
	if err := checkText("name", name); err != nil {
		return err
	}
	request := &duebusv1.DeleteScheduleRequest{Engine: s.engine, Name: name}
	_, err := once(ctx, s.client, s.stub.DeleteSchedule, request)
	return err
}

// Pause stops a schedule from firing until it is resumed. Pausing one that is paused is not an error.
func (s Schedules) Pause(ctx context.Context, name string) error {
	request := &duebusv1.PauseScheduleRequest{Engine: s.engine, Name: name}
	_, err := named(ctx, s.client, s.stub.PauseSchedule, request, name)
	return err
}

// Resume ends a pause. What would have fired during it is not made up for.
func (s Schedules) Resume(ctx context.Context, name string) error {
	request := &duebusv1.ResumeScheduleRequest{Engine: s.engine, Name: name}
	_, err := named(ctx, s.client, s.stub.ResumeSchedule, request, name)
	return err
}

// Trigger dispatches the event of a schedule once, now, even if it is paused. It returns the event's id. A requestID
// lets the caller repeat the call safely; empty: each call dispatches an event.
func (s Schedules) Trigger(ctx context.Context, name, requestID string) (string, error) {
	if err := checkText("request_id", requestID); err != nil {
		return "", err
	}
	request := &duebusv1.TriggerScheduleRequest{Engine: s.engine, Name: name, RequestId: orOwnID(requestID)}
	response, err := named(ctx, s.client, s.stub.TriggerSchedule, request, name)
	return response.GetEventId(), err
}

// Backfill dispatches an event, now, for each nominal time of a schedule from start, inclusive, to end, exclusive: all
// of them or none. It returns their ids. requestID is as in Trigger.
//
// Errors: ErrInvalidArgument, also when there are more than 1,000 nominal times.
func (s Schedules) Backfill(ctx context.Context, name string, start, end time.Time, requestID string) ([]string, error) {
	if err := checkText("request_id", requestID); err != nil {
		return nil, err
	}
	request := &duebusv1.BackfillScheduleRequest{
		Engine: s.engine, Name: name, Start: timestamppb.New(start), End: timestamppb.New(end),
		RequestId: orOwnID(requestID),
	}
	response, err := named(ctx, s.client, s.stub.BackfillSchedule, request, name)
	return response.GetEventIds(), err
}

// Preview returns when a schedule would fire. Nothing is stored, and it needs no name, topic and event.
func (s Schedules) Preview(ctx context.Context, schedule Schedule, options PreviewOptions) (Preview, error) {
	encoded, err := schedule.encode()
	if err != nil {
		return Preview{}, err
	}
	request := &duebusv1.PreviewScheduleRequest{
		Schedule: encoded, Count: options.Count, After: timestampOrNil(options.After),
	}
	response, _, err := repeated(ctx, s.client, s.stub.PreviewSchedule, request)
	if err != nil {
		return Preview{}, err
	}
	return Preview{readTimes(response.Times), response.Description}, nil
}

// named makes a call about a schedule.
func named[Request, Response any](
	ctx context.Context, c *Client, invoke call[Request, Response], request *Request, name string,
) (*Response, error) {
	if err := checkText("name", name); err != nil {
		return nil, err
	}
	response, _, err := repeated(ctx, c, invoke, request)
	return response, err
}

func orOwnID(requestID string) string {
	if requestID == "" {
		return rand.Text() // of 26 characters: a name leaves room for so many in an event's id
	}
	return requestID
}

// allPages is a sequence over the items of pages.
func allPages[T any](fetch func(token string) ([]T, string, error)) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		token := ""
		for {
			items, next, err := fetch(token)
			for _, each := range items {
				if !yield(each, nil) {
					return
				}
			}
			if err != nil {
				var none T
				yield(none, err)
			}
			if err != nil || next == "" {
				return
			}
			token = next
		}
	}
}

func (s Schedule) encode() (*duebusv1.Schedule, error) {
	err := checkText("schedule.name", s.Name, "schedule.topic", s.Topic, "schedule.cron", s.Cron,
		"schedule.time_zone", s.TimeZone, "schedule.note", s.Note)
	if err != nil {
		return nil, err
	}
	event, err := s.Event.encode("schedule.event.")
	if err != nil {
		return nil, err
	}
	schedule := &duebusv1.Schedule{
		Name: s.Name, Topic: s.Topic, Event: event, TimeZone: s.TimeZone,
		Start: timestampOrNil(s.Start), End: timestampOrNil(s.End), MaxRuns: s.MaxRuns,
		Overlap: s.Overlap, CatchUp: s.CatchUp, Paused: s.Paused, Note: s.Note,
		Jitter: positiveOrNil(s.Jitter), CatchUpWindow: positiveOrNil(s.CatchUpWindow),
	}
	switch {
	case s.Cron != "" && s.Every != 0:
		return nil, invalidField("schedule.cron", "can't be set together with every")
	case s.Cron != "":
		schedule.Rule = &duebusv1.Schedule_Cron{Cron: s.Cron}
	case s.Every != 0:
		schedule.Rule = &duebusv1.Schedule_Every{Every: durationpb.New(s.Every)}
	}
	return schedule, nil
}

// positiveOrNil leaves out the zero value.
func positiveOrNil(length time.Duration) *durationpb.Duration {
	if length == 0 {
		return nil
	}
	return durationpb.New(length)
}

func timestampOrNil(moment time.Time) *timestamppb.Timestamp {
	if moment.IsZero() {
		return nil
	}
	return timestamppb.New(moment)
}

func readScheduleInfo(info *duebusv1.ScheduleInfo) ScheduleInfo {
	return ScheduleInfo{
		Schedule: readSchedule(info.GetSchedule()), Next: readTimes(info.GetNext()),
		LastFiredAt: readTime(info.GetLastFiredAt()), LastEventID: info.GetLastEventId(),
		Runs: info.GetRuns(), Skipped: info.GetSkipped(), Missed: info.GetMissed(), Description: info.GetDescription(),
	}
}

func readSchedule(schedule *duebusv1.Schedule) Schedule {
	event := schedule.GetEvent()
	return Schedule{
		Name: schedule.GetName(), Topic: schedule.GetTopic(),
		Event: Event{
			Data: event.GetData(), ContentType: event.GetContentType(), Attributes: event.GetAttributes(),
			MaxRetries: maxRetries(event), Key: event.GetKey(), Priority: event.GetPriority(),
		},
		Cron: schedule.GetCron(), Every: schedule.GetEvery().AsDuration(), TimeZone: schedule.GetTimeZone(),
		Start: readTime(schedule.GetStart()), End: readTime(schedule.GetEnd()), MaxRuns: schedule.GetMaxRuns(),
		Jitter: schedule.GetJitter().AsDuration(), Overlap: schedule.GetOverlap(), CatchUp: schedule.GetCatchUp(),
		CatchUpWindow: schedule.GetCatchUpWindow().AsDuration(), Paused: schedule.GetPaused(), Note: schedule.GetNote(),
	}
}

func maxRetries(event *duebusv1.Event) *uint32 {
	if event == nil {
		return nil
	}
	return event.MaxRetries
}

func readTimes(moments []*timestamppb.Timestamp) []time.Time {
	times := make([]time.Time, len(moments))
	for i, each := range moments {
		times[i] = readTime(each)
	}
	return times
}

// readTime is the zero time for a moment that is unset.
func readTime(moment *timestamppb.Timestamp) time.Time {
	if moment == nil {
		return time.Time{}
	}
	return moment.AsTime()
}
