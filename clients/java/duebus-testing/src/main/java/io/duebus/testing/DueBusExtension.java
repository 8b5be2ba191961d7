package io.duebus.testing;

import org.junit.jupiter.api.extension.ExtensionContext;
import org.junit.jupiter.api.extension.ExtensionContext.Namespace;
import org.junit.jupiter.api.extension.ParameterContext;
import org.junit.jupiter.api.extension.ParameterResolver;

/**
 * Passes a {@link Bus} to JUnit's tests:
 *
 * <pre>{@code
 * @ExtendWith(DueBusExtension.class)
 * class CheckTest {
 *     @Test
 *     void anOrderThatIsNotPaidIsCancelled(Bus duebus) { ... }
 * }
 * }</pre>
 *
 * <p>Each test has its own, which starts empty and ends with the test. The tests of a class share the one that a
 * {@code @BeforeAll} method has asked for.
 */
public final class DueBusExtension implements ParameterResolver {
    private static final Namespace NAMESPACE = Namespace.create(DueBusExtension.class);

    @Override
    public boolean supportsParameter(ParameterContext parameter, ExtensionContext context) {
        return parameter.getParameter().getType() == Bus.class;
    }

    @Override
    @SuppressWarnings("deprecation") // what JUnit 6 has in its place, JUnit 5 lacks
    public Bus resolveParameter(ParameterContext parameter, ExtensionContext context) {
        return context.getStore(NAMESPACE).getOrComputeIfAbsent(Kept.class, key -> new Kept(Bus.start()), Kept.class).bus;
    }

    /** JUnit closes it with the test, or with the class. */
    private record Kept(Bus bus) implements AutoCloseable {
        @Override
        public void close() {
            bus.close();
        }
    }
}
