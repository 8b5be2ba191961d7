package io.duebus;

/**
 * Decodes payloads into values of one type, with any library. With Jackson:
 *
 * <pre>{@code
 * Decoder<Order> orders = data -> mapper.readValue(data, Order.class);
 * }</pre>
 */
@FunctionalInterface
public interface Decoder<T> {
    /** Returns the value, which is not null, or throws if the payload does not fit. */
    T decode(byte[] data) throws Exception;
}
