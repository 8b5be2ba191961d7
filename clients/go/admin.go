package duebus

import (
	"context"
	"iter"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/duebus/duebus/clients/go/duebusv1"
)

// Admin are the admin calls about one engine. Messages of package duebusv1 say what to do, with as many fields as the
// caller wants to set, and what was found; their comments are the reference.
//
// Calls that read, Configure, Pause and Resume are retried like a dispatch. The others are not, because their answers
// count what they did. Delete, Redrive and Purge take as long as their work takes: only the context limits them.
//
// Errors of all: ErrNotFound if there is no such topic, group or event; ErrPermissionDenied.
type Admin struct {
	client *Client
	stub   duebusv1.EventBusAdminClient
	engine Engine
}

// Admin returns the calls about the server's default engine.
func (c *Client) Admin() Admin { return Admin{client: c, stub: c.AdminStub()} }

// AdminStub returns the generated stubs of the admin calls, on the same connection and with the same credentials.
func (c *Client) AdminStub() duebusv1.EventBusAdminClient {
	return duebusv1.NewEventBusAdminClient(c.conn)
}

// On returns the calls about another engine.
func (a Admin) On(engine Engine) Admin {
	a.engine = engine
	return a
}

// Topics returns all topics by name, fetched a page at a time: pageSize is 1 to 1,000, 0 means 100. An error ends the
// sequence.
func (a Admin) Topics(ctx context.Context, pageSize uint32) iter.Seq2[*duebusv1.TopicInfo, error] {
	return allPages(func(token string) ([]*duebusv1.TopicInfo, string, error) {
		request := &duebusv1.ListTopicsRequest{Engine: a.engine, PageSize: pageSize, PageToken: token}
		response, _, err := repeated(ctx, a.client, a.stub.ListTopics, request)
		return response.GetTopics(), response.GetNextPageToken(), err
	})
}

// Topic returns a topic: its settings, and what its groups hold.
func (a Admin) Topic(ctx context.Context, topic string) (*duebusv1.TopicInfo, error) {
	request := &duebusv1.GetTopicRequest{Engine: a.engine, Topic: topic}
	response, _, err := repeated(ctx, a.client, a.stub.GetTopic, request)
	return response.GetTopic(), err
}

// Configure changes the settings of a topic that config has; with a group, those of the group. It returns all that are
// now set.
//
// Errors: ErrInvalidArgument names the field, for example config.lease.
func (a Admin) Configure(
	ctx context.Context, topic, group string, config *duebusv1.TopicConfig,
) (*duebusv1.TopicConfig, error) {
	request := &duebusv1.ConfigureTopicRequest{Engine: a.engine, Topic: topic, Group: group, Config: config}
	response, _, err := repeated(ctx, a.client, a.stub.ConfigureTopic, request)
	return response.GetConfig(), err
}

// DeleteTopic removes a topic with its groups and events. It returns how many events that were.
//
// Errors: ErrTopicHasSchedules.
func (a Admin) DeleteTopic(ctx context.Context, topic string) (uint64, error) {
	response, err := a.stub.DeleteTopic(ctx, &duebusv1.DeleteTopicRequest{Engine: a.engine, Topic: topic})
	return response.GetRemoved(), a.client.closedOr(err)
}

// DeleteGroup removes a group and its copies of events. It returns how many that were. An empty group is "default", as
// in all calls about a group.
func (a Admin) DeleteGroup(ctx context.Context, topic, group string) (uint64, error) {
	request := &duebusv1.DeleteGroupRequest{Engine: a.engine, Topic: topic, Group: group}
	response, err := a.stub.DeleteGroup(ctx, request)
	return response.GetRemoved(), a.client.closedOr(err)
}

// PauseGroup stops deliveries to a group until it is resumed. Pausing one that is paused is not an error.
func (a Admin) PauseGroup(ctx context.Context, topic, group string) error {
	request := &duebusv1.PauseGroupRequest{Engine: a.engine, Topic: topic, Group: group}
	_, _, err := repeated(ctx, a.client, a.stub.PauseGroup, request)
	return err
}

// ResumeGroup ends a pause.
func (a Admin) ResumeGroup(ctx context.Context, topic, group string) error {
	request := &duebusv1.ResumeGroupRequest{Engine: a.engine, Topic: topic, Group: group}
	_, _, err := repeated(ctx, a.client, a.stub.ResumeGroup, request)
	return err
}

// Events returns the events of a topic that match the request, which needs only Topic, fetched a page at a time. An
// error ends the sequence.
func (a Admin) Events(
	ctx context.Context, request *duebusv1.ListEventsRequest,
) iter.Seq2[*duebusv1.EventInfo, error] {
	return allPages(func(token string) ([]*duebusv1.EventInfo, string, error) {
		page := on(a, request)
		if token != "" {
			page.PageToken = token
		}
		response, _, err := repeated(ctx, a.client, a.stub.ListEvents, page)
		return response.GetEvents(), response.GetNextPageToken(), err
	})
}

// Event returns an event: its state and its history in each group.
func (a Admin) Event(ctx context.Context, topic, eventID string) (*duebusv1.EventInfo, error) {
	request := &duebusv1.GetEventRequest{Engine: a.engine, Topic: topic, EventId: eventID}
	response, _, err := repeated(ctx, a.client, a.stub.GetEvent, request)
	return response.GetEvent(), err
}

// Keys returns the keys of a group that hold something, those with the most blocked events first, fetched a page at a
// time as in Topics. An error ends the sequence.
func (a Admin) Keys(ctx context.Context, topic, group string, pageSize uint32) iter.Seq2[*duebusv1.KeyInfo, error] {
	return allPages(func(token string) ([]*duebusv1.KeyInfo, string, error) {
		request := &duebusv1.ListKeysRequest{
			Engine: a.engine, Topic: topic, Group: group, PageSize: pageSize, PageToken: token,
		}
		response, _, err := repeated(ctx, a.client, a.stub.ListKeys, request)
		return response.GetKeys(), response.GetNextPageToken(), err
	})
}

// Cancel removes events that are not leased: those with the ids, or those with the key. The answer names those that were
// leased or missing.
func (a Admin) Cancel(
	ctx context.Context, request *duebusv1.CancelEventsRequest,
) (*duebusv1.CancelEventsResponse, error) {
	return once(ctx, a.client, a.stub.CancelEvents, on(a, request))
}

// Reschedule gives events another due time: all of them or none. It returns how many.
//
// Errors: ErrConcurrentModification names an event that is leased.
func (a Admin) Reschedule(ctx context.Context, request *duebusv1.RescheduleEventsRequest) (uint64, error) {
	response, err := once(ctx, a.client, a.stub.RescheduleEvents, on(a, request))
	return response.GetRescheduled(), err
}

// Redrive makes dead letters ready again, with all their retries. It returns how many.
func (a Admin) Redrive(ctx context.Context, request *duebusv1.RedriveEventsRequest) (uint64, error) {
	response, err := a.stub.RedriveEvents(ctx, on(a, request))
	return response.GetRedriven(), a.client.closedOr(err)
}

// Purge removes dead letters. It returns how many.
func (a Admin) Purge(ctx context.Context, request *duebusv1.PurgeEventsRequest) (uint64, error) {
	response, err := a.stub.PurgeEvents(ctx, on(a, request))
	return response.GetPurged(), a.client.closedOr(err)
}

// on is a copy of a request, about the engine of a unless the request names one.
func on[Request interface {
	proto.Message
	GetEngine() Engine
}](a Admin, request Request) Request {
	copied := request.ProtoReflect().New().Interface().(Request) // of a nil request, too
	proto.Merge(copied, request)
	if copied.GetEngine() == DefaultEngine {
		reflected := copied.ProtoReflect()
		field := reflected.Descriptor().Fields().ByName("engine")
		reflected.Set(field, protoreflect.ValueOfEnum(a.engine.Number()))
	}
	return copied
}
