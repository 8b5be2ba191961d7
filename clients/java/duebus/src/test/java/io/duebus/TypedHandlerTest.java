package io.duebus;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.nio.charset.StandardCharsets;
import java.util.Map;
import java.util.concurrent.LinkedBlockingQueue;
import org.junit.jupiter.api.Test;

/** The fake bus delivers the event's id as its payload. */
class TypedHandlerTest extends WorkerTestBase {
    private static Integer number(byte[] data) {
        var text = new String(data, StandardCharsets.UTF_8);
        return text.equals("null") ? null : Integer.valueOf(text);
    }

    @Test
    void aTypedHandlerGetsTheDecodedPayload() throws Exception {
        var got = new LinkedBlockingQueue<Map.Entry<Integer, String>>();
        start(Handler.typed(TypedHandlerTest::number, (number, delivery) -> {
            got.add(Map.entry(number + 1, delivery.eventId()));
        }));
        FakeBus.next(server.streams).deliver("42");

        assertEquals(Map.entry(43, "42"), FakeBus.next(got));
        assertEquals(FakeBus.tokensOf("42"), FakeBus.next(server.acks).getLeaseTokensList());
    }

    @Test
    void aPayloadThatDoesNotFitATypedHandlerIsADeadLetter() throws Exception {
        var got = new LinkedBlockingQueue<Integer>();
        start(Handler.typed(TypedHandlerTest::number, (number, delivery) -> got.add(number)));
        var stream = FakeBus.next(server.streams);

        stream.deliver("x");
        var nack = nextNack();
        assertTrue(nack.getDeadLetter());
        assertEquals("the payload does not fit: For input string: \"x\"", nack.getError());

        stream.deliver("null");
        nack = nextNack();
        assertTrue(nack.getDeadLetter());
        assertEquals("the payload does not fit: it is null", nack.getError());
        assertTrue(got.isEmpty());
    }
}
