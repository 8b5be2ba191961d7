package io.duebus;

import static org.junit.jupiter.api.Assertions.assertEquals;

import io.duebus.v1.Nack;
import io.duebus.v1.NackRequest;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.function.UnaryOperator;
import org.junit.jupiter.api.AfterEach;

/** Workers that are stopped after the test. */
abstract class WorkerTestBase extends BusTestBase {
    final BlockingQueue<String> handled = new LinkedBlockingQueue<>();
    final CountDownLatch finish = new CountDownLatch(1);
    private final List<Worker> workers = new ArrayList<>();

    @AfterEach
    void stop() {
        finish.countDown();
        workers.forEach(Worker::close);
    }

    Worker start(Handler handler, UnaryOperator<Worker.Builder> more) {
        var worker = more.apply(Worker.builder(bus).handle("t", delivery -> {
                    handled.add(delivery.eventId());
                    handler.handle(delivery);
                }))
                .build();
        workers.add(worker);
        return worker.start();
    }

    Worker start(Handler handler) {
        return start(handler, builder -> builder);
    }

    /** A handler that holds until the test has ended, or it is interrupted. */
    void hold(Delivery delivery) throws InterruptedException {
        finish.await();
    }

    Nack nextNack() throws InterruptedException {
        NackRequest request = FakeBus.next(server.nacks);
        assertEquals(1, request.getNacksCount());
        return request.getNacks(0);
    }
}
