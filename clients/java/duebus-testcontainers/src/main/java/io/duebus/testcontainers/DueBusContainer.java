package io.duebus.testcontainers;

import io.duebus.testing.Bus;
import org.testcontainers.containers.ContainerLaunchException;
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

    /** What a container has printed that did not come to serve. */
    private String printed = "";

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
     * Starts it, and returns when it serves.
     *
     * @throws ContainerLaunchException it does not; the message has what it printed
     */
    @Override
    public void start() {
        try {
            super.start();
        } catch (ContainerLaunchException e) {
            throw printed.isEmpty() ? e : new ContainerLaunchException(e.getMessage() + "\n" + printed, e);
        }
    }

    @Override
    protected void waitUntilContainerStarted() {
        try {
            super.waitUntilContainerStarted();
        } catch (RuntimeException e) {
            printed = getLogs();
            throw e;
        }
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
