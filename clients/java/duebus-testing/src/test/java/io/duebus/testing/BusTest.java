package io.duebus.testing;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.duebus.DueBus;
import io.duebus.DueBusException;
import io.duebus.Event;
import io.duebus.Handler;
import io.duebus.Reason;
import io.duebus.Schedule;
import io.duebus.ScheduleRule;
import io.duebus.Worker;
import io.duebus.v1.Engine;
import java.net.ConnectException;
import java.net.Socket;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.time.Instant;
import java.util.List;
import java.util.Set;
import java.util.concurrent.CopyOnWriteArrayList;
import java.util.concurrent.CountDownLatch;
import java.util.stream.Collectors;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.extension.ExtendWith;
import org.junit.jupiter.api.io.TempDir;

@Timeout(60)
@ExtendWith(DueBusExtension.class)
class BusTest {
    private static Bus bus;

    @BeforeAll
    static void keep(Bus shared) {
        bus = shared;
    }

    private static Event event() {
        return Event.json("{}").maxRetries(0).build();
    }

    private static Worker worker(String topic, Handler handler) {
        return Worker.builder(bus.client()).group("g").handle(topic, handler).build();
    }

    @Test
    void theReadmeHasTheExampleOfATest() throws Exception {
        String example = Files.readString(Path.of("src/test/java/io/duebus/testing/CheckTest.java"));
        String body = example.substring(example.indexOf("import"));
        assertTrue(Files.readString(Path.of("../README.md")).contains("```java\n" + body + "```"));
    }

    @Test
    void theTestsOfAClassShareTheBusThatBeforeAllAskedFor(Bus own) {
        assertEquals(bus, own);
    }

    @Test
    void aServerGoesOnWhenABusThatIsConnectedToItIsClosed() {
        Instant before = bus.now();
        try (var other = Bus.connect(bus.address())) {
            other.advance(Duration.ofHours(2));
        }
        assertTrue(bus.now().isAfter(before.plus(Duration.ofHours(2))));
    }

    @Test
    void aScheduleFiresAtEachOfItsTimesWhileTheClockIsMoved() {
        var fired = new CopyOnWriteArrayList<String>();
        var worker = worker("report", delivery -> fired.add(delivery.attributes().get("duebus-scheduled-for")));
        bus.running(worker, () -> {
            var hourly = Schedule.builder("hourly", "report", event(), ScheduleRule.every(Duration.ofHours(1)))
                    .overlap(Schedule.Overlap.SKIP)
                    .build();
            bus.client().schedules().put(hourly);
            Instant begin = bus.now();
            bus.advance(Duration.ofHours(3));
            assertEquals(3, fired.size()); // with SKIP, each was handled before the next
            assertFalse(bus.now().isBefore(begin.plus(Duration.ofHours(3))));
        });
        bus.client().schedules().delete("hourly");
    }

    @Test
    void anEventThatIsNotHandledInTimeIsNamed() {
        var free = new CountDownLatch(1);
        bus.running(worker("held", delivery -> free.await()), () -> {
            bus.client().dispatch("held", event());
            var late = assertThrows(IllegalStateException.class, () -> bus.settle(Duration.ofMillis(50)));
            assertTrue(late.getMessage().contains("held/g ("), late.getMessage());
            free.countDown();
            bus.settle();
        });
    }

    @Test
    void theFailedAssertionOfAHandlerIsThrownBySettle() {
        bus.running(worker("wrong", delivery -> assertEquals(1, 2)), () -> {
            bus.client().dispatch("wrong", event());
            assertThrows(AssertionError.class, bus::settle);
            bus.settle();
        });
    }

    @Test
    void theFailedAssertionOfAHandlerThatNoSettleHasSeenIsThrownAtTheEnd() {
        var begun = new CountDownLatch(1);
        var worker = worker("unseen", delivery -> {
            begun.countDown();
            assertEquals(1, 2);
        });
        assertThrows(AssertionError.class, () -> bus.running(worker, () -> {
            bus.client().dispatch("unseen", event());
            begun.await();
        }));
    }

    @Test
    void theFailedAssertionOfAHandlerIsWhyTheBlockHasFailed() {
        var begun = new CountDownLatch(1);
        var worker = worker("cause", delivery -> {
            begun.countDown();
            assertEquals(1, 2, "of the handler");
        });
        var error = assertThrows(AssertionError.class, () -> bus.running(worker, () -> {
            bus.client().dispatch("cause", event());
            begun.await();
            throw new IllegalStateException("nothing has come");
        }));
        assertTrue(error.getMessage().contains("of the handler"), error.getMessage());
        bus.settle(); // it is not left for the next test
    }

    @Test
    void aWorkerThatIsNotSubscribedInTimeIsNamed() {
        try (var nowhere = DueBus.connect("127.0.0.1:1")) {
            var worker = Worker.builder(nowhere).handle("t", delivery -> {}).build();
            var error = assertThrows(
                    IllegalStateException.class, () -> bus.running(worker, () -> {}, Duration.ofMillis(50)));
            assertTrue(error.getMessage().contains(bus.address()), error.getMessage());
        }
    }

    @Test
    void theServerEndsWithAProcessThatASignalToItsGroupEnds() throws Exception {
        // With job control, a shell gives each job a process group of its own, as it does in a terminal.
        var java = Path.of(System.getProperty("java.home"), "bin", "java").toString();
        String classes = System.getProperty("surefire.test.class.path", System.getProperty("java.class.path"));
        var shell = new ProcessBuilder(
                        "bash", "-c", "set -m; \"$@\" & read -r _; kill -QUIT -- \"-$!\"; kill -KILL \"$!\"", "bash",
                        java, "-cp", classes, OfItsOwn.class.getName())
                .redirectError(ProcessBuilder.Redirect.INHERIT)
                .start();
        String[] address = shell.inputReader().readLine().split(":");
        try (var connection = new Socket(address[0], Integer.parseInt(address[1]))) {
            connection.setSoTimeout(30_000);
            shell.getOutputStream().close();
            while (connection.getInputStream().read() >= 0) {} // the server's settings, then the end
        }
        shell.waitFor();
    }

    /** A program with a bus that it does not close. */
    static final class OfItsOwn {
        public static void main(String[] arguments) throws Exception {
            System.out.println(Bus.start().address());
            Thread.sleep(Long.MAX_VALUE);
        }
    }

    @Test
    void theErrorThatEndedAWorkerIsThrown() {
        var worker = Worker.builder(bus.client()).engine(Engine.ENGINE_REDIS).handle("t", delivery -> {}).build();
        var error = assertThrows(DueBusException.class, () -> bus.running(worker, () -> {}));
        assertTrue(error.is(Reason.NO_DISPATCHER_SPECIFIED));
    }

    @Test
    void aClockCantGoBack() {
        assertThrows(DueBusException.class, () -> bus.advance(Duration.ofMinutes(-1)));
    }

    @Test
    void aServerWhoseClientCantBeMadeIsEnded() {
        var before = ProcessHandle.current().children().toList();
        assertThrows(ArithmeticException.class, () -> Bus.start(client -> {
            throw new ArithmeticException();
        }));
        assertEquals(before, ProcessHandle.current().children().toList());
    }

    @Test
    void aMissingCommandIsNamed() {
        var error = assertThrows(IllegalStateException.class, () -> ServerProcess.start("no-such-command"));
        assertTrue(error.getMessage().startsWith("the command no-such-command is missing: pip install"));
    }

    @Test
    void whatAServerSaysThatDoesNotStartIsInTheError(@TempDir Path folder) throws Exception {
        Path command = Files.writeString(folder.resolve("duebus"), "#!/bin/sh\necho no such setting >&2; exit 2\n");
        assertTrue(command.toFile().setExecutable(true));
        var error = assertThrows(IllegalStateException.class, () -> ServerProcess.start(command.toString()));
        assertEquals("duebus serve did not start: no such setting", error.getMessage());
    }

    @Test
    void aClosedBusHasEndedItsServerAndCanBeClosedAgain() {
        var own = Bus.start();
        own.close();
        own.close();
        String[] address = own.address().split(":");
        assertThrows(ConnectException.class, () -> new Socket(address[0], Integer.parseInt(address[1])).close());
    }

    @Test
    void aHundredClientsAndWorkersThatWereClosedLeaveNoThread() throws Exception {
        openAndClose(); // starts what all clients share
        Set<Thread> before = threads();
        for (int round = 0; round < 100; round++) {
            openAndClose();
        }
        Instant end = Instant.now().plusSeconds(30);
        Set<Thread> left = threads();
        left.removeAll(before);
        for (Thread thread : left) {
            thread.join(Math.max(1, Duration.between(Instant.now(), end).toMillis()));
        }
        left.removeIf(thread -> !thread.isAlive());
        assertEquals(Set.of(), left);
    }

    private static void openAndClose() throws Exception {
        try (var client = DueBus.connect(bus.address())) {
            var handled = new CountDownLatch(1);
            var worker = Worker.builder(client)
                    .ephemeral(true)
                    .handle("leaks", delivery -> handled.countDown())
                    .build();
            try (worker) {
                worker.start().ready().join();
                client.dispatchAsync("leaks", event()).join();
                handled.await();
                assertEquals(1, client.subscribe("leaks", options -> options.ephemeral(true).maxInFlight(1))
                        .started()
                        .maxInFlight());
            }
        }
    }

    /** Without those of the pool that all gRPC channels share, which end when they were idle for a minute. */
    private static Set<Thread> threads() {
        return Thread.getAllStackTraces().keySet().stream()
                .filter(thread -> thread.isAlive() && !thread.getName().startsWith("grpc-default-executor-"))
                .collect(Collectors.toSet());
    }
}
