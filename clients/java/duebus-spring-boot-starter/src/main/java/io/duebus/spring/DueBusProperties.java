package io.duebus.spring;

import java.time.Duration;
import org.springframework.boot.context.properties.ConfigurationProperties;
import org.springframework.boot.context.properties.bind.DefaultValue;

/**
 * The client and its worker.
 *
 * @param target the server: {@code host:port}, several of them separated by commas, or any other name that gRPC resolves
 * @param token a bearer token, sent with each call; empty: none
 * @param timeout how long a call may take, including retries
 * @param ssl whether and how to connect with TLS
 * @param worker how listeners are subscribed, unless their annotations differ
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
     * @param enabled connects with TLS; naming a bundle does that too
     * @param bundle the SSL bundle of Spring Boot with the authorities to trust, and a certificate of the client if it
     *     needs one; by default, the authorities that Java trusts
     */
    public record Ssl(boolean enabled, String bundle) {}

    /**
     * The worker that calls the listeners.
     *
     * @param enabled whether it runs
     * @param group the workers that share one copy of each event; empty: "default"
     * @param maxInFlight how many events a subscription holds at once, 1 to 100,000
     * @param concurrency how many calls of a listener run at once; by default, as many as maxInFlight
     * @param lease how soon an event goes to another worker when this one hangs
     * @param maxExecution how long a listener may run; then its thread is interrupted, and the event is retried
     * @param drainTimeout how long a shutdown waits for running listeners
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
