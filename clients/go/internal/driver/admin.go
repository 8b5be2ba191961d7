package main

import (
	"context"
	"iter"

	"google.golang.org/protobuf/proto"

	duebus "github.com/duebus/duebus/clients/go"
	"github.com/duebus/duebus/clients/go/duebusv1"
)

type adminCall func(context.Context, duebus.Admin, []byte) (proto.Message, error)

// read makes a call of one that takes a decoded request.
func read[Request any, Message interface {
	*Request
	proto.Message
	GetEngine() duebus.Engine
}](call func(context.Context, duebus.Admin, Message) (proto.Message, error)) adminCall {
	return func(ctx context.Context, admin duebus.Admin, encoded []byte) (proto.Message, error) {
		request := Message(new(Request))
		if err := proto.Unmarshal(encoded, request); err != nil {
			return nil, driverError(err.Error())
		}
		return call(ctx, admin.On(request.GetEngine()), request)
	}
}

// adminCalls are the SDK's calls under the names of the service. A list has only one page.
var adminCalls = map[string]adminCall{
	"ListTopics": read(func(ctx context.Context, a duebus.Admin, r *duebusv1.ListTopicsRequest) (proto.Message, error) {
		topics, err := all(a.Topics(ctx, r.PageSize))
		return &duebusv1.ListTopicsResponse{Topics: topics}, err
	}),
	"GetTopic": read(func(ctx context.Context, a duebus.Admin, r *duebusv1.GetTopicRequest) (proto.Message, error) {
		topic, err := a.Topic(ctx, r.Topic)
		return &duebusv1.GetTopicResponse{Topic: topic}, err
	}),
	"ConfigureTopic": read(
		func(ctx context.Context, a duebus.Admin, r *duebusv1.ConfigureTopicRequest) (proto.Message, error) {
			config, err := a.Configure(ctx, r.Topic, r.Group, r.Config)
			return &duebusv1.ConfigureTopicResponse{Config: config}, err
		}),
	"DeleteTopic": read(
		func(ctx context.Context, a duebus.Admin, r *duebusv1.DeleteTopicRequest) (proto.Message, error) {
			removed, err := a.DeleteTopic(ctx, r.Topic)
			return &duebusv1.DeleteTopicResponse{Removed: removed}, err
		}),
	"DeleteGroup": read(
		func(ctx context.Context, a duebus.Admin, r *duebusv1.DeleteGroupRequest) (proto.Message, error) {
			removed, err := a.DeleteGroup(ctx, r.Topic, r.Group)
			return &duebusv1.DeleteGroupResponse{Removed: removed}, err
		}),
	"PauseGroup": read(func(ctx context.Context, a duebus.Admin, r *duebusv1.PauseGroupRequest) (proto.Message, error) {
		return &duebusv1.PauseGroupResponse{}, a.PauseGroup(ctx, r.Topic, r.Group)
	}),
	"ResumeGroup": read(
		func(ctx context.Context, a duebus.Admin, r *duebusv1.ResumeGroupRequest) (proto.Message, error) {
			return &duebusv1.ResumeGroupResponse{}, a.ResumeGroup(ctx, r.Topic, r.Group)
		}),
	"ListEvents": read(func(ctx context.Context, a duebus.Admin, r *duebusv1.ListEventsRequest) (proto.Message, error) {
		events, err := all(a.Events(ctx, r))
		return &duebusv1.ListEventsResponse{Events: events}, err
	}),
	"GetEvent": read(func(ctx context.Context, a duebus.Admin, r *duebusv1.GetEventRequest) (proto.Message, error) {
		event, err := a.Event(ctx, r.Topic, r.EventId)
		return &duebusv1.GetEventResponse{Event: event}, err
	}),
	"ListKeys": read(func(ctx context.Context, a duebus.Admin, r *duebusv1.ListKeysRequest) (proto.Message, error) {
		keys, err := all(a.Keys(ctx, r.Topic, r.Group, r.PageSize))
		return &duebusv1.ListKeysResponse{Keys: keys}, err
	}),
	"CancelEvents": read(
		func(ctx context.Context, a duebus.Admin, r *duebusv1.CancelEventsRequest) (proto.Message, error) {
			return a.Cancel(ctx, r)
		}),
	"RescheduleEvents": read(
		func(ctx context.Context, a duebus.Admin, r *duebusv1.RescheduleEventsRequest) (proto.Message, error) {
			count, err := a.Reschedule(ctx, r)
			return &duebusv1.RescheduleEventsResponse{Rescheduled: count}, err
		}),
	"RedriveEvents": read(
		func(ctx context.Context, a duebus.Admin, r *duebusv1.RedriveEventsRequest) (proto.Message, error) {
			count, err := a.Redrive(ctx, r)
			return &duebusv1.RedriveEventsResponse{Redriven: count}, err
		}),
	"PurgeEvents": read(
		func(ctx context.Context, a duebus.Admin, r *duebusv1.PurgeEventsRequest) (proto.Message, error) {
			count, err := a.Purge(ctx, r)
			return &duebusv1.PurgeEventsResponse{Purged: count}, err
		}),
}

func all[T any](sequence iter.Seq2[T, error]) ([]T, error) {
	var items []T
	for each, err := range sequence {
		if err != nil {
			return nil, err
		}
		items = append(items, each)
	}
	return items, nil
}

func (d *driver) admin(ctx context.Context, c command) (any, error) {
	var arguments struct {
		Method  string `json:"method"`
		Request []byte `json:"request"`
	}
	if err := c.read(&arguments); err != nil {
		return nil, err
	}
	client, err := d.client(c.Client)
	if err != nil {
		return nil, err
	}
	call, ok := adminCalls[arguments.Method]
	if !ok {
		return nil, driverError("no admin call is named " + arguments.Method)
	}
	message, err := call(ctx, client.Admin(), arguments.Request)
	if err != nil {
		return nil, err
	}
	response, err := proto.Marshal(message)
	return map[string]any{"response": append([]byte{}, response...)}, err
}
