package io.duebus.testing;

import static org.junit.jupiter.api.Assertions.assertEquals;

import io.duebus.Event;
import io.duebus.Worker;
import io.duebus.testing.Bus;
import io.duebus.testing.DueBusExtension;
import java.time.Duration;
import java.util.List;
import java.util.concurrent.CopyOnWriteArrayList;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.extension.ExtendWith;

@ExtendWith(DueBusExtension.class)
class CheckTest {
    @Test
    void anOrderThatIsNotPaidIsCancelled(Bus duebus) {
        var cancelled = new CopyOnWriteArrayList<String>();
        var worker = Worker.builder(duebus.client())
                .handle("order.check", delivery -> cancelled.add(delivery.text()))
                .build();

        duebus.running(worker, () -> {
            duebus.client().dispatch("order.check", Event.json("42").delay(Duration.ofMinutes(30)).build());
            duebus.advance(Duration.ofMinutes(29));
            duebus.settle();
            assertEquals(List.of(), cancelled);

            duebus.advance(Duration.ofMinutes(1));
            duebus.settle();
            assertEquals(List.of("42"), cancelled);
        });
    }
}
