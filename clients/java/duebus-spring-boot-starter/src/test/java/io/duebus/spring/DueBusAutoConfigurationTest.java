package io.duebus.spring;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.duebus.Delivery;
import io.duebus.DueBus;
import io.duebus.Event;
import io.duebus.testing.Bus;
import io.micrometer.core.instrument.MeterRegistry;
import io.micrometer.core.instrument.simple.SimpleMeterRegistry;
import java.nio.file.Path;
import java.util.Map;
import java.util.Set;
import java.util.TreeMap;
import java.util.TreeSet;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.TimeUnit;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.springframework.beans.factory.config.ConfigurableBeanFactory;
import org.springframework.boot.WebApplicationType;
import org.springframework.boot.autoconfigure.EnableAutoConfiguration;
import org.springframework.boot.builder.SpringApplicationBuilder;
import org.springframework.boot.health.contributor.HealthIndicator;
import org.springframework.boot.health.contributor.Status;
import org.springframework.context.ConfigurableApplicationContext;
import org.springframework.context.annotation.Bean;
import org.springframework.context.annotation.Configuration;
import org.springframework.context.annotation.Scope;
import tools.jackson.databind.json.JsonMapper;

@Timeout(60)
class DueBusAutoConfigurationTest {
    private static Bus bus;

    @BeforeAll
    static void start() {
        bus = Bus.start();
    }

    @AfterAll
    static void stop() {
        bus.close();
    }

    record Order(int id) {}

    /** Listeners of all forms. */
    static class Shop {
        final BlockingQueue<String> seen = new LinkedBlockingQueue<>();

        @DueBusListener("${shop.topic}")
        void bill(Order order, Delivery delivery) {
            seen.add("billed " + order.id() + " in " + delivery.group());
        }

        @DueBusListener(value = "${shop.topic}", group = "shipping", concurrency = 2, maxInFlight = 4)
        void ship(String text) {
            seen.add("shipped " + text);
        }

        @DueBusListener(value = "${shop.topic}", ephemeral = true)
        void hear(byte[] data) {
            seen.add("heard " + data.length + " bytes");
        }
    }

    @Configuration
    @EnableAutoConfiguration
    static class Application {
        @Bean
        Shop shop() {
            return new Shop();
        }

        @Bean
        MeterRegistry meters() {
            return new SimpleMeterRegistry();
        }
    }

    @Configuration
    @EnableAutoConfiguration
    static class Producer {}

    private static ConfigurableApplicationContext run(Class<?> application, Map<String, Object> more) {
        return new SpringApplicationBuilder(application)
                .web(WebApplicationType.NONE)
                .properties(Map.of(
                        "spring.main.banner-mode", "off",
                        "logging.level.root", "off",
                        "duebus.target", bus.address(),
                        "duebus.worker.group", "billing",
                        "shop.topic", "order.created"))
                .properties(more)
                .run();
    }

    private static Set<String> take(BlockingQueue<String> seen, int count) throws InterruptedException {
        var taken = new TreeSet<String>();
        while (taken.size() < count) {
            String next = seen.poll(20, TimeUnit.SECONDS);
            assertTrue(next != null, "only " + taken);
            taken.add(next);
        }
        return taken;
    }

    @Test
    void listenersHandleEventsUntilTheApplicationIsClosed() throws Exception {
        DueBus client;
        try (var context = run(Application.class, Map.of())) {
            context.getBean(ListenerWorker.class).ready().join();
            client = context.getBean(DueBus.class);
            client.dispatch("order.created", Event.json("{\"id\":42}").build());
            var seen = context.getBean(Shop.class).seen;
            assertEquals(Set.of("billed 42 in billing", "shipped {\"id\":42}", "heard 9 bytes"), take(seen, 3));
            bus.settle();
            var meters = context.getBean(MeterRegistry.class);
            assertEquals(1, meters.get("duebus.dispatch").tags("topic", "order.created", "error", "none").timer().count());
            assertEquals(1, meters.get("duebus.handle").tags("group", "billing", "error", "none").timer().count());

            client.dispatch("order.created", Event.json("not an order").maxRetries(0).build());
            assertEquals(Set.of("shipped not an order", "heard 12 bytes"), take(seen, 2));
            bus.settle();
            assertEquals(1, meters.get("duebus.handle").tags("group", "billing", "error", "DeadLetter").timer().count());
        }
        assertThrows(Exception.class, () -> client.dispatch("order.created", Event.json("{}").build()));
        while (bus.client().admin().getTopic("order.created").groups().stream()
                .anyMatch(each -> !each.subscribers().isEmpty())) {
            Thread.onSpinWait(); // the server sees the end of a stream a little later
        }
    }

    @Test
    void theHealthIsThatOfTheServerAndOfTheListeners() {
        try (var context = run(Producer.class, Map.of())) {
            var health = context.getBean("dueBusHealthIndicator", HealthIndicator.class);
            assertEquals(Status.UP, health.health().getStatus());
        }
        try (var context = run(Producer.class, Map.of("duebus.target", "127.0.0.1:1"))) {
            var health = context.getBean("dueBusHealthIndicator", HealthIndicator.class);
            assertEquals(Status.DOWN, health.health().getStatus());
        }
        try (var context = run(Application.class, Map.of("duebus.worker.group", "not a group\n"))) {
            var worker = context.getBean(ListenerWorker.class);
            worker.ended().exceptionally(error -> null).join();
            var health = context.getBean("dueBusHealthIndicator", HealthIndicator.class);
            assertEquals(Status.DOWN, health.health().getStatus());
            assertTrue(worker.failure().isPresent());
        }
    }

    /** A listener whose payload is of a type that a subclass names. */
    abstract static class Handling<T> {
        final BlockingQueue<T> seen = new LinkedBlockingQueue<>();

        @DueBusListener("typed")
        void handle(T payload) {
            seen.add(payload);
        }
    }

    static class Orders extends Handling<Order> {}

    @Configuration
    @EnableAutoConfiguration
    static class TypedApplication {
        @Bean
        Orders orders() {
            return new Orders();
        }
    }

    @Test
    void aListenerOfALazyBeanHandlesEvents() throws Exception {
        try (var context = run(TypedApplication.class, Map.of("spring.main.lazy-initialization", "true"))) {
            context.getBean(ListenerWorker.class).ready().join();
            bus.client().dispatch("typed", Event.json("{\"id\":7}").build());
            assertEquals(new Order(7), context.getBean(Orders.class).seen.poll(20, TimeUnit.SECONDS));
        }
    }

    static class Counted {
        @DueBusListener("counted")
        void handle(String payload) {}
    }

    @Configuration
    @EnableAutoConfiguration
    static class PrototypeApplication {
        @Bean
        @Scope(ConfigurableBeanFactory.SCOPE_PROTOTYPE)
        Counted counted() {
            return new Counted();
        }
    }

    @Test
    void aPrototypeHasOneListenerHoweverManyAreMade() {
        try (var context = run(PrototypeApplication.class, Map.of())) {
            context.getBean(Counted.class);
            context.getBean(ListenerWorker.class).ready().join();
            var topic = bus.client().admin().getTopic("counted");
            assertEquals(1, topic.groups().get(0).subscribers().size());
        }
    }

    @Test
    void anEmptyTokenAndAnEmptyBundleAreNone() {
        try (var context = run(Producer.class, Map.of("duebus.token", "", "duebus.ssl.bundle", ""))) {
            assertTrue(context.getBean(DueBus.class).isServing(""));
        }
    }

    @Test
    void anIdeFindsTheDescriptionAndTheDefaultOfEachProperty() {
        var file = Path.of("target/classes/META-INF/spring-configuration-metadata.json");
        var defaults = new TreeMap<String, String>();
        for (var property : new JsonMapper().readTree(file.toFile()).get("properties")) {
            String description = property.path("description").asString("");
            assertTrue(description.matches("[A-Z].*\\."), property.toString());
            defaults.put(property.get("name").asString(), property.path("defaultValue").asString(""));
        }
        var expected = new TreeMap<>(Map.of(
                "duebus.target", "127.0.0.1:50051", "duebus.token", "", "duebus.timeout", "30s",
                "duebus.ssl.enabled", "false", "duebus.ssl.bundle", ""));
        expected.putAll(Map.of(
                "duebus.worker.enabled", "true", "duebus.worker.group", "", "duebus.worker.max-in-flight", "64",
                "duebus.worker.concurrency", "", "duebus.worker.lease", "30s",
                "duebus.worker.max-execution", "50s", "duebus.worker.drain-timeout", "25s"));
        assertEquals(expected, defaults);
    }

    @Test
    void theWorkerCanBeOff() {
        try (var context = run(Application.class, Map.of("duebus.worker.enabled", "false"))) {
            assertEquals(0, context.getBeansOfType(ListenerWorker.class).size());
        }
    }

    @Test
    void aCustomizerSetsWhatNoPropertyCan() {
        try (var context = run(Customized.class, Map.of())) {
            context.getBean(DueBus.class).isServing("");
            assertTrue(Customized.asked.contains("asked"));
        }
    }

    @Configuration
    @EnableAutoConfiguration
    static class Customized {
        static final BlockingQueue<String> asked = new LinkedBlockingQueue<>();

        @Bean
        DueBusBuilderCustomizer tokens() {
            return builder -> builder.tokenProvider(() -> {
                asked.add("asked");
                return "token";
            });
        }
    }
}
