package io.duebus;

import io.duebus.v1.DispatchRequest;
import io.duebus.v1.Engine;
import io.duebus.v1.EventBusGrpc;
import java.time.Duration;
import java.util.ArrayDeque;
import java.util.ArrayList;
import java.util.Deque;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.UUID;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.Executor;
import java.util.concurrent.Future;
import java.util.function.Function;

/**
 * Dispatches single events. A lone one is sent at once. Those that arrive while a call of their kind is running share
 * the next call, which stores all or none of them.
 *
 * <p>If that call is refused for a reason that may lie in one event, each event is sent alone, so that no caller gets
 * the error of another's event; those with the same key are sent one after the other. If some of its events were
 * stored, every caller gets the error: an event without an id that is sent again could be stored twice.
 */
final class Dispatcher {
    // The server accepts 1000 events and 4 MiB in one call; a quarter is left for what surrounds the events.
    private static final int MAX_EVENTS = 1000;
    private static final int MAX_BYTES = 3 << 20;

    /** What dispatches must have in common to share a call. */
    private record Kind(String topic, List<Engine> engines, boolean requireSubscriber) {
        static Kind of(DispatchRequest request) {
            return new Kind(request.getTopic(), request.getEnginesList(), request.getRequireSubscriber());
        }

        DispatchRequest request(List<Waiting> batch) {
            var request = DispatchRequest.newBuilder()
                    .setTopic(topic)
                    .addAllEngines(engines)
                    .setRequestId(UUID.randomUUID().toString())
                    .setRequireSubscriber(requireSubscriber);
            batch.forEach(each -> request.addEvents(each.event));
            return request.build();
        }
    }

    /** The dispatches of one kind: one call at a time, and those that wait for the next. */
    private static final class Lane {
        final Kind kind;
        final Deque<Waiting> waiting = new ArrayDeque<>();
        volatile DueBusException failure; // the latest that a retry may cure, since a call last succeeded

        Lane(Kind kind) {
            this.kind = kind;
        }
    }

    /** A dispatch that waits for its turn or its answer; its result is done when its caller gives up. */
    private static final class Waiting {
        final io.duebus.v1.Event event;
        final Duration limit;
        final long deadline;
        final Executor completions;
        final CompletableFuture<List<Dispatched>> result = new CompletableFuture<>();

        Waiting(io.duebus.v1.Event event, Duration limit, Executor completions) {
            this.event = event;
            this.limit = limit;
            this.deadline = System.nanoTime() + Times.nanos(limit);
            this.completions = completions;
        }

        void answer(Dispatched dispatched) {
            completions.execute(() -> result.complete(List.of(dispatched)));
        }

        void fail(DueBusException error) {
            completions.execute(() -> result.completeExceptionally(error));
        }

        long left() {
            return Math.max(1_000_000, deadline - System.nanoTime());
        }
    }

    private final Connection connection;
    private final Map<Kind, Lane> lanes = new HashMap<>(); // a lane is here while one of its calls is running

    Dispatcher(Connection connection) {
        this.connection = connection;
    }

    /**
     * Sends an event, alone or with others. Cancelling the future gives up.
     *
     * @param request has one event and at most one engine
     * @param limit null: the client's timeout
     * @param completions completes the future, and so runs what depends on it
     */
    CompletableFuture<List<Dispatched>> dispatch(DispatchRequest request, Duration limit, Executor completions) {
        var kind = Kind.of(request);
        var own = new Waiting(request.getEvents(0), limit == null ? connection.timeout() : limit, completions);
        Lane lane;
        synchronized (lanes) {
            lane = lanes.get(kind);
            if (lane != null) {
                lane.waiting.add(own);
                expireInTime(lane, own);
                return own.result;
            }
            lane = new Lane(kind);
            lanes.put(kind, lane);
        }
        run(lane, List.of(own));
        return own.result;
    }

    private void expireInTime(Lane lane, Waiting own) {
        Future<?> timer = connection.schedule(own.limit, () -> {
            var late = new DueBusException(Reason.DEADLINE_EXCEEDED, "no answer within " + own.limit);
            own.fail(moreSpecific(late, lane.failure));
        });
        own.result.whenComplete((dispatched, error) -> timer.cancel(false));
    }

    /** Sends a batch, and then what has arrived meanwhile, until nothing waits. */
    private void run(Lane lane, List<Waiting> batch) {
        send(lane, batch).whenComplete((done, error) -> {
            Thread.yield(); // callers that just got their answers may dispatch again at once, and share the next call
            List<Waiting> next = nextBatch(lane);
            if (!next.isEmpty()) {
                run(lane, next);
            }
        });
    }

    /** Takes as many as fit into one call, without those whose callers gave up. The lane ends if there are none. */
    private List<Waiting> nextBatch(Lane lane) {
        var batch = new ArrayList<Waiting>();
        int bytes = 0;
        synchronized (lanes) {
            while (!lane.waiting.isEmpty() && batch.size() < MAX_EVENTS) {
                var first = lane.waiting.peek();
                if (!first.result.isDone()) {
                    bytes += first.event.getSerializedSize();
                    if (!batch.isEmpty() && bytes > MAX_BYTES) {
                        break;
                    }
                    batch.add(first);
                }
                lane.waiting.remove();
            }
            if (batch.isEmpty()) {
                lanes.remove(lane.kind);
            }
        }
        return batch;
    }

    /** One call for all of them. Completes when each has the result of its own event. */
    private CompletableFuture<Void> send(Lane lane, List<Waiting> batch) {
        var call = call(lane, batch);
        if (batch.size() == 1) {
            batch.get(0).result.whenComplete((dispatched, error) -> call.cancel(true));
        }
        return call.handle((dispatched, thrown) -> {
                    if (thrown == null) {
                        lane.failure = null;
                        for (int i = 0; i < batch.size(); i++) {
                            batch.get(i).answer(dispatched.get(i));
                        }
                        return CompletableFuture.<Void>completedFuture(null);
                    }
                    var error = moreSpecific(DueBusException.of(thrown), lane.failure);
                    if (batch.size() > 1 && mayLieInOne(error)) {
                        return sendEach(lane, batch);
                    }
                    batch.forEach(each -> each.fail(error));
                    return CompletableFuture.<Void>completedFuture(null);
                })
                .thenCompose(Function.identity());
    }

    /** The failure of the lane, if there is one, says more than that there was no answer. */
    private static DueBusException moreSpecific(DueBusException error, DueBusException failure) {
        return failure != null && error.is(Reason.DEADLINE_EXCEEDED) ? failure : error;
    }

    /** Sends each in a call of its own, those with the same key in turn. */
    private CompletableFuture<Void> sendEach(Lane lane, List<Waiting> batch) {
        var lasts = new HashMap<Object, CompletableFuture<Void>>(); // by key; each one without a key is its own
        for (var each : batch) {
            Object key = each.event.getKey().isEmpty() ? each : each.event.getKey();
            var last = lasts.getOrDefault(key, CompletableFuture.completedFuture(null));
            lasts.put(key, last.thenCompose(done -> each.result.isDone() ? last : send(lane, List.of(each))));
        }
        return CompletableFuture.allOf(lasts.values().toArray(CompletableFuture[]::new));
    }

    /** Until the last of their deadlines; the others stop waiting on their own. */
    private CompletableFuture<List<Dispatched>> call(Lane lane, List<Waiting> batch) {
        long left = batch.stream().mapToLong(Waiting::left).max().orElseThrow();
        return connection.repeat(
                EventBusGrpc.getDispatchMethod(),
                lane.kind.request(batch),
                Duration.ofNanos(left),
                (response, again) -> Dispatched.read(response, batch.size()),
                failure -> lane.failure = failure);
    }

    /** Whether the error of a shared call may lie in one of its events, and nothing was stored. */
    private static boolean mayLieInOne(DueBusException error) {
        boolean ofAnEvent = error.is(Reason.INVALID_ARGUMENT) || error.is(Reason.MAX_QUEUED_EVENTS_REACHED);
        return ofAnEvent && error.storedEngines().isEmpty();
    }
}
