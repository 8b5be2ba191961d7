package io.duebus;

import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Timeout;

/** A fake bus, and a client of it. */
@Timeout(30)
abstract class BusTestBase {
    FakeBus server;
    DueBus bus;

    @BeforeEach
    void connect() throws Exception {
        server = new FakeBus();
        bus = DueBus.connect(server.address());
    }

    @AfterEach
    void disconnect() {
        bus.close();
        server.close();
    }
}
