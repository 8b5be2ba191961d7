package io.duebus.spring;

import java.time.Duration;
import org.springframework.boot.context.properties.ConfigurationProperties;
import org.springframework.boot.context.properties.bind.DefaultValue;

/**
 * The client and its worker. The descriptions of the parameters are those that IDEs show for the properties.
 *
 * @param target The server: HOST:PORT, several of them separated by commas, or any other name that gRPC resolves.
 * @param token A bearer token, sent with each call. Empty: none.
 * @param timeout How long a call may take, including retries.
 * @param ssl Whether and how to connect with TLS.
 * @param worker How listeners are subscribed, unless their annotations differ.
 */
@ConfigurationProperties("duebus")
public record DueBusProperties(
        @DefaultValue("127.0.0.1:50051") String target,
        String token,
        @DefaultValue("30s") Duration timeout,
        @DefaultValue Ssl ssl,
        @DefaultValue Worker worker) {

    /**
     * TLS.
     *
     * @param enabled Whether to connect with TLS. Naming a bundle does that too.
     * @param bundle The SSL bundle of Spring Boot with the authorities to trust, and a certificate of the client if it
     *     needs one. By default, the authorities that Java trusts.
     */
    public record Ssl(boolean enabled, String bundle) {}

    /**
     * The worker that calls the listeners.
     *
     * @param enabled Whether the worker runs.
     * @param group The workers that share one copy of each event. Empty: "default".
     * @param maxInFlight How many events a subscription holds at once, 1 to 100,000.
     * @param concurrency How many calls of a listener run at once. By default, as many as max-in-flight.
     * @param lease How soon an event goes to another worker when this one hangs.
     * @param maxExecution How long a listener may run. Then its thread is interrupted, and the event is retried.
     * @param drainTimeout How long a shutdown waits for running listeners.
     */
    public record Worker(
            @DefaultValue("true") boolean enabled,
            @DefaultValue("") String group,
            @DefaultValue("64") int maxInFlight,
            Integer concurrency,
            @DefaultValue("30s") Duration lease,
            @DefaultValue("50s") Duration maxExecution,
            @DefaultValue("25s") Duration drainTimeout) {}
}
