package io.duebus;

/** How the events of one handler are subscribed to and handled; what is not set is the worker's. */
public final class HandlerOptions extends HandlingOptions<HandlerOptions> {
    HandlerOptions(Worker.Builder worker) {
        super(worker);
    }

    @Override
    HandlerOptions self() {
        return this;
    }
}
