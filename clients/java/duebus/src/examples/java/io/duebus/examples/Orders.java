package io.duebus.examples;

import io.duebus.DeadLetter;
import io.duebus.Delivery;
import io.duebus.DueBus;
import io.duebus.DueBusException;
import io.duebus.Event;
import io.duebus.RetryAfter;
import io.duebus.Worker;
import java.time.Duration;
import java.util.concurrent.CountDownLatch;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

/**
 * Orders: a service that places orders, and workers that bill and ship them. The service knows neither.
 *
 * <pre>
 * make example                     places three orders, handles them, and ends
 * make example ARGS='place 42'     places one order
 * make example ARGS=work           handles orders until Ctrl-C
 * </pre>
 *
 * <p>The events are JSON on the topic order.created, so either half may be in another language. The server is the one that
 * DUEBUS_SERVER names, 127.0.0.1:50051 by default.
 */
public final class Orders {
    private static final String TOPIC = "order.created";

    /** Use the JSON library of your choice; an example needs none. */
    private static final Pattern ORDER = Pattern.compile("\\{\"id\": *(\\d+)}");

    private Orders() {}

    public static void main(String[] arguments) throws InterruptedException {
        String server = System.getenv().getOrDefault("DUEBUS_SERVER", "127.0.0.1:50051");
        try (var bus = DueBus.connect(server)) {
            switch (String.join(" ", arguments).replaceAll("\\d+", "NUMBER")) {
                case "" -> demonstrate(bus);
                case "place NUMBER" -> place(bus, Long.parseLong(arguments[1]));
                case "work" -> work(bus);
                default -> fail("usage: orders [work | place NUMBER]");
            }
        } catch (DueBusException error) {
            fail(error.getMessage());
        }
    }

    private static void fail(String message) {
        System.err.println(message);
        System.exit(1);
    }

    /** Places an order. The id makes it safe to place the same order twice. */
    private static void place(DueBus bus, long id) {
        var event = Event.json("{\"id\": %d}".formatted(id)).id("order-" + id).build();
        var placed = bus.dispatch(TOPIC, event);
        System.out.printf("order %d is placed (already: %s)%n", id, placed.duplicate());
    }

    /** Two groups: each gets its own copy of every order. {@code handled} is run for each that is done with. */
    private static Worker workers(DueBus bus, Runnable handled) {
        return Worker.builder(bus)
                .maxInFlight(16)
                .handle(TOPIC, options -> options.group("billing"), delivery -> {
                    bill(delivery);
                    handled.run();
                })
                .handle(TOPIC, options -> options.group("shipping"), delivery -> {
                    System.out.println(delivery.eventId() + " is shipped");
                    handled.run();
                })
                .build();
    }

    private static void bill(Delivery delivery) {
        Matcher order = ORDER.matcher(delivery.text());
        if (!order.matches()) {
            throw new DeadLetter("not an order: " + delivery.text()); // a retry can't help
        }
        long id = Long.parseLong(order.group(1));
        if (id % 2 == 1 && delivery.attempt() == 1) {
            throw new RetryAfter(Duration.ofMillis(100), "the card is busy");
        }
        System.out.printf("order %d is billed, at attempt %d%n", id, delivery.attempt());
    }

    private static void work(DueBus bus) {
        var worker = workers(bus, () -> {});
        Runtime.getRuntime().addShutdownHook(new Thread(worker::close)); // SIGTERM and Ctrl-C drain
        worker.run();
    }

    /** Runs both halves until three new orders are billed and shipped. */
    private static void demonstrate(DueBus bus) throws InterruptedException {
        var left = new CountDownLatch(3 * 2);
        try (var worker = workers(bus, left::countDown).start()) {
            worker.ready().join();
            long first = System.currentTimeMillis();
            for (long id = first; id < first + 3; id++) {
                place(bus, id);
            }
            left.await();
        }
    }
}
