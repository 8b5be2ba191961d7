package io.duebus.spring;

import io.duebus.DueBus;
import org.springframework.boot.health.contributor.AbstractHealthIndicator;
import org.springframework.boot.health.contributor.Health;

/** Up while the server accepts work and the listeners run; out of service while it drains. The client's timeout applies. */
final class DueBusHealthIndicator extends AbstractHealthIndicator {
    private final DueBus bus;
    private final ListenerWorker worker; // null without one

    DueBusHealthIndicator(DueBus bus, ListenerWorker worker) {
        super("the server can't be asked");
        this.bus = bus;
        this.worker = worker;
    }

    @Override
    protected void doHealthCheck(Health.Builder builder) {
        if (worker != null && worker.failure().isPresent()) {
            builder.down(worker.failure().get());
        } else if (bus.isServing("")) {
            builder.up();
        } else {
            builder.outOfService();
        }
    }
}
