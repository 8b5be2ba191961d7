package io.duebus.testcontainers;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.duebus.Event;
import io.duebus.Worker;
import java.time.Duration;
import java.util.List;
import java.util.concurrent.CopyOnWriteArrayList;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.testcontainers.containers.ContainerLaunchException;

/** It needs a Docker engine, and the image that DUEBUS_IMAGE names: {@code make image-test} runs it. */
class DueBusContainerIT {
    @Test
    void anOrderThatIsNotPaidIsCancelled() {
        try (var container = new DueBusContainer(System.getenv("DUEBUS_IMAGE"))) {
            container.start();
            try (var duebus = container.bus()) {
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
            try (var again = container.bus()) {
                assertEquals("order.check", again.client().admin().topics().findFirst().orElseThrow().topic());
            }
        }
    }

    @Test
    @Timeout(300)
    void theErrorOfAContainerThatEndsComesAtOnceAndHasWhatItPrinted() {
        try (var container = new DueBusContainer(System.getenv("DUEBUS_IMAGE"))
                .withEnv("DUEBUS_MAX_QUEUED", "lots")
                .withStartupTimeout(Duration.ofDays(1))) {
            var error = assertThrows(ContainerLaunchException.class, container::start);
            assertTrue(error.getMessage().contains("max_queued: 'lots' is not a whole number"), error.getMessage());
        }
    }
}
