package io.duebus;

import java.util.ArrayList;
import java.util.Collection;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.function.Consumer;
import java.util.function.Predicate;

/** The leases that one subscription holds, by lease token. Its callers hold the monitor of the subscription. */
final class Leases {
    private final Object monitor;
    private final Consumer<Lease> onCancel;
    private final Map<String, Lease> held = new LinkedHashMap<>();

    /** @param onCancel is called with each cancelled handler */
    Leases(Object monitor, Consumer<Lease> onCancel) {
        this.monitor = monitor;
        this.onCancel = onCancel;
    }

    Lease add(Delivery delivery) {
        var lease = new Lease(delivery);
        held.put(lease.token(), lease);
        return lease;
    }

    boolean isEmpty() {
        return held.isEmpty();
    }

    int size() {
        return held.size();
    }

    /** Interrupts a running handler; a second call does nothing. */
    void cancel(Lease lease, Lease.Cause cause) {
        if (lease.stage != Lease.Stage.RUNNING) {
            return;
        }
        lease.stage = Lease.Stage.CANCELLED;
        lease.cause = cause;
        if (lease.thread != null) {
            lease.thread.interrupt();
        }
        onCancel.accept(lease);
    }

    void cancelAll(Lease.Cause cause) {
        List.copyOf(held.values()).forEach(each -> cancel(each, cause));
    }

    /** Marks a lease as being settled; false if it is gone or already being settled. */
    boolean settle(Lease lease) {
        if (lease.stage == Lease.Stage.SETTLING || lease.stage == Lease.Stage.GONE) {
            return false;
        }
        lease.stage = Lease.Stage.SETTLING;
        return true;
    }

    /** Ends a lease that was settled. */
    void discard(Lease lease) {
        lease.stage = Lease.Stage.GONE;
        held.remove(lease.token(), lease);
        monitor.notifyAll();
    }

    /**
     * Ends leases that the server reports lost, and cancels their handlers. Doesn't count those being settled: there
     * their settle was faster than the question.
     */
    int lose(Collection<String> tokens) {
        int lost = 0;
        for (Lease lease : find(tokens)) {
            lost += lease.stage == Lease.Stage.SETTLING ? 0 : 1;
            cancel(lease, Lease.Cause.LOST);
            discard(lease);
        }
        return lost;
    }

    /** The tokens whose lease is held. */
    List<Lease> find(Collection<String> tokens) {
        return tokens.stream().map(held::get).filter(Objects::nonNull).toList();
    }

    /** Names all, including those that are being settled. */
    List<String> tokens() {
        return tokens(each -> true);
    }

    /** Names the leases to extend. */
    List<String> extendable() {
        return tokens(each -> each.stage != Lease.Stage.CANCELLED);
    }

    private List<String> tokens(Predicate<Lease> wanted) {
        var tokens = new ArrayList<String>(held.size());
        held.forEach((token, lease) -> {
            if (wanted.test(lease)) {
                tokens.add(token);
            }
        });
        return tokens;
    }
}
