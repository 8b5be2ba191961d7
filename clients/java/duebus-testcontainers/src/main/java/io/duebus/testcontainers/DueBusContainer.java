package io.duebus.testcontainers;

import io.duebus.testing.Bus;
import java.io.IOException;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.TimeoutException;
import org.testcontainers.containers.ContainerLaunchException;
import org.testcontainers.containers.GenericContainer;
import org.testcontainers.containers.output.FrameConsumerResultCallback;
import org.testcontainers.containers.output.OutputFrame;
import org.testcontainers.containers.output.OutputFrame.OutputType;
import org.testcontainers.containers.output.WaitingConsumer;
import org.testcontainers.containers.wait.strategy.AbstractWaitStrategy;
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
        waitingFor(new Serving());
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

    /** Follows its log until the line that says that it serves. Unlike {@code Wait.forLogMessage}, it notices the log's end. */
    private static final class Serving extends AbstractWaitStrategy {
        @Override
        protected void waitUntilReady() {
            var lines = new WaitingConsumer();
            var log = waitStrategyTarget.getDockerClient().logContainerCmd(waitStrategyTarget.getContainerId());
            try (var following = new FrameConsumerResultCallback()) {
                following.addConsumer(OutputType.STDOUT, lines);
                log.withFollowStream(true).withStdOut(true).exec(following);
                lines.waitUntil(Serving::isReady, startupTimeout.toMillis(), TimeUnit.MILLISECONDS, 1);
            } catch (IOException | TimeoutException e) {
                throw new ContainerLaunchException("It does not serve after " + startupTimeout.toSeconds() + " s", e);
            }
        }

        private static boolean isReady(OutputFrame line) {
            if (line.getType() == OutputType.END) throw new ContainerLaunchException("It has ended before it served");
            return line.getUtf8String().startsWith("duebus ready on ");
        }
    }
}
