package io.duebus;

import io.duebus.v1.DeleteScheduleRequest;
import io.duebus.v1.DeleteScheduleResponse;
import io.duebus.v1.EventBusSchedulesGrpc;
import io.duebus.v1.ListSchedulesRequest;
import io.duebus.v1.ListSchedulesResponse;
import io.duebus.v1.PutScheduleRequest;
import io.duebus.v1.PutScheduleResponse;
import io.duebus.v1.ScheduleInfo;
import io.duebus.v1.TriggerScheduleRequest;
import io.duebus.v1.TriggerScheduleResponse;
import io.grpc.Status;
import io.grpc.stub.StreamObserver;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.LinkedBlockingQueue;

/** Answers about schedules: a put one has run three times; a and b are listed on one page, c on the next. */
final class FakeSchedules extends EventBusSchedulesGrpc.EventBusSchedulesImplBase {
    final BlockingQueue<PutScheduleRequest> puts = new LinkedBlockingQueue<>();
    final BlockingQueue<ListSchedulesRequest> pages = new LinkedBlockingQueue<>();
    final BlockingQueue<TriggerScheduleRequest> triggers = new LinkedBlockingQueue<>();
    final BlockingQueue<DeleteScheduleRequest> deletions = new LinkedBlockingQueue<>();

    @Override
    public void putSchedule(PutScheduleRequest request, StreamObserver<PutScheduleResponse> answer) {
        puts.add(request);
        var info = ScheduleInfo.newBuilder().setSchedule(request.getSchedule()).setRuns(3);
        FakeBus.answer(request, each -> PutScheduleResponse.newBuilder().setSchedule(info).build(), answer);
    }

    @Override
    public void listSchedules(ListSchedulesRequest request, StreamObserver<ListSchedulesResponse> answer) {
        pages.add(request);
        var page = request.getPageToken().isEmpty() ? page("a", "b").setNextPageToken("2") : page("c");
        FakeBus.answer(request, each -> page.build(), answer);
    }

    private static ListSchedulesResponse.Builder page(String... names) {
        var page = ListSchedulesResponse.newBuilder();
        for (String name : names) {
            page.addSchedulesBuilder().getScheduleBuilder().setName(name);
        }
        return page;
    }

    /** Fails at the first try. */
    @Override
    public void triggerSchedule(TriggerScheduleRequest request, StreamObserver<TriggerScheduleResponse> answer) {
        triggers.add(request);
        FakeBus.answer(request, this::triggered, answer);
    }

    private TriggerScheduleResponse triggered(TriggerScheduleRequest request) {
        if (triggers.size() == 1) {
            throw FakeBus.error(Status.Code.UNAVAILABLE, Reason.DISPATCHER_NOT_WORKING);
        }
        return TriggerScheduleResponse.newBuilder().setEventId(request.getRequestId()).build();
    }

    /** Fails always. */
    @Override
    public void deleteSchedule(DeleteScheduleRequest request, StreamObserver<DeleteScheduleResponse> answer) {
        deletions.add(request);
        answer.onError(FakeBus.error(Status.Code.UNAVAILABLE, Reason.DISPATCHER_NOT_WORKING));
    }
}
