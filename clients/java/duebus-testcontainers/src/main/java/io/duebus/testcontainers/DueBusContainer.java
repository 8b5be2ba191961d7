package io.duebus.testcontainers;

import io.duebus.testing.Bus;
import org.testcontainers.containers.GenericContainer;
import org.testcontainers.containers.wait.strategy.Wait;
import org.testcontainers.utility.DockerImageName;

/**
 * The image of DueBus for tests, in memory, with a clock that the test moves. It needs a Docker engine.
 *
 * <pre>{@code
 * try (var container = new DueBusContainer(image)) {
 *     container.start();
 *     try (var duebus = container.bus()) { ... }
 * }
 * }</pre>
 */
public final class DueBusContainer extends GenericContainer<DueBusContainer> {
    private static final int PORT = 50051;

    /** A container of an image of DueBus. */
    public DueBusContainer(String image) {
        this(DockerImageName.parse(image));
    }

    /** A container of an image of DueBus. */
    public DueBusContainer(DockerImageName image) {
        super(image);
        withCommand("serve", "--test-clock");
        withExposedPorts(PORT);
        waitingFor(Wait.forLogMessage("duebus ready on .*\\n", 1));
    }

    /**
     * Where it listens, {@code host:port}, for clients and workers.
     *
     * @throws IllegalStateException it is not running
     */
    public String address() {
        return getHost() + ":" + getMappedPort(PORT);
    }

    /**
     * Connects to it. Each bus has a client of its own, and closing it leaves the container running.
     *
     * @throws IllegalStateException it is not running
     */
    public Bus bus() {
        return Bus.connect(address());
    }
}
