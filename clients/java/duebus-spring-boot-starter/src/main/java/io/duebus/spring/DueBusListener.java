package io.duebus.spring;

import java.lang.annotation.Documented;
import java.lang.annotation.ElementType;
import java.lang.annotation.Retention;
import java.lang.annotation.RetentionPolicy;
import java.lang.annotation.Target;

/**
 * Makes a method of a bean the handler of a topic. How the method ends decides about the event, as for {@link
 * io.duebus.Handler}. It takes the payload, the {@link io.duebus.Delivery}, or both in any order. A payload is {@code
 * byte[]}, {@code String}, or a type that the {@link PayloadReader} makes; one that does not fit becomes a dead letter with
 * the reason. What is not set here is set by the properties {@code duebus.worker}. Text may have placeholders such as
 * <code>${orders.topic}</code>.
 */
@Target(ElementType.METHOD)
@Retention(RetentionPolicy.RUNTIME)
@Documented
public @interface DueBusListener {
    /** The topic. */
    String value();

    /** The workers that share one copy of each event. */
    String group() default "";

    /** The group goes with its last worker; without a name, each instance of the application has its own. */
    boolean ephemeral() default false;

    /** How many events the subscription holds at once, 1 to 100,000; 0: as the properties say. */
    int maxInFlight() default 0;

    /** How many calls of the method run at once; 0: as the properties say. */
    int concurrency() default 0;
}
