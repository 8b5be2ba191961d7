package io.duebus.spring;

import java.lang.reflect.Type;

/** Decodes payloads for methods that take them. With Jackson on the classpath, there is one that reads JSON. */
@FunctionalInterface
public interface PayloadReader {
    /** Returns the payload as the type, or throws if it does not fit. */
    Object read(byte[] data, Type type) throws Exception;
}
