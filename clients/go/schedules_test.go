package duebus_test

import (
	"context"
	"errors"
	"net"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	duebus "github.com/duebus/duebus/clients/go"
	"github.com/duebus/duebus/clients/go/duebusv1"
)

// fakeSchedules is a server with two pages of schedules, of which the second may fail.
type fakeSchedules struct {
	duebusv1.UnimplementedEventBusSchedulesServer
	second error
}

func (f fakeSchedules) ListSchedules(
	_ context.Context, request *duebusv1.ListSchedulesRequest,
) (*duebusv1.ListSchedulesResponse, error) {
	if request.PageToken == "second" {
		return &duebusv1.ListSchedulesResponse{Schedules: scheduleInfos("c")}, f.second
	}
	return &duebusv1.ListSchedulesResponse{Schedules: scheduleInfos("a", "b"), NextPageToken: "second"}, nil
}

func scheduleInfos(names ...string) []*duebusv1.ScheduleInfo {
	var infos []*duebusv1.ScheduleInfo
	for _, name := range names {
		infos = append(infos, &duebusv1.ScheduleInfo{Schedule: &duebusv1.Schedule{Name: name}})
	}
	return infos
}

func schedulesOf(t *testing.T, fake fakeSchedules) duebus.Schedules {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer()
	duebusv1.RegisterEventBusSchedulesServer(server, fake)
	go func() { _ = server.Serve(listener) }()
	t.Cleanup(server.Stop)
	return newClient(t, listener.Addr().String()).Schedules()
}

func TestAllSchedulesAreReadFromEveryPage(t *testing.T) {
	var names string
	for each, err := range schedulesOf(t, fakeSchedules{}).All(t.Context(), 0) {
		if err != nil {
			t.Fatal(err)
		}
		names += each.Schedule.Name
	}
	if names != "abc" {
		t.Errorf("read %q", names)
	}
}

func TestAPageThatFailsEndsTheSchedulesWithItsError(t *testing.T) {
	schedules := schedulesOf(t, fakeSchedules{second: status.Error(codes.PermissionDenied, "no")})
	var names string
	var last error
	for each, err := range schedules.All(t.Context(), 0) {
		names, last = names+each.Schedule.Name, err
	}
	if names != "ab" || !errors.Is(last, duebus.ErrPermissionDenied) {
		t.Errorf("read %q, then %v", names, last)
	}
}

func TestAScheduleHasOneRule(t *testing.T) {
	both := duebus.Schedule{Name: "a", Topic: "t", Cron: "0 9 * * *", Every: time.Minute}
	_, err := schedulesOf(t, fakeSchedules{}).Put(t.Context(), both)
	if typed := (*duebus.Error)(nil); !errors.As(err, &typed) || typed.FieldViolations[0].Field != "schedule.cron" {
		t.Errorf("got %v", err)
	}
}
