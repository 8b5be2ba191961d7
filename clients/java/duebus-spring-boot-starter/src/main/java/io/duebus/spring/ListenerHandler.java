package io.duebus.spring;

import io.duebus.DeadLetter;
import io.duebus.Delivery;
import io.duebus.Handler;
import java.lang.reflect.InvocationTargetException;
import java.lang.reflect.Method;
import java.lang.reflect.Type;
import java.util.ArrayList;
import java.util.List;
import java.util.function.Supplier;
import org.springframework.core.GenericTypeResolver;
import org.springframework.util.ReflectionUtils;

/** Calls a method with the delivery and its payload. */
final class ListenerHandler implements Handler {
    @FunctionalInterface
    private interface Argument {
        Object of(Delivery delivery) throws Exception;
    }

    private final Object bean;
    private final Method method;
    private final List<Argument> arguments = new ArrayList<>();

    /**
     * @param beanType names the types that the method's class leaves open
     * @param reader is asked for if a parameter needs it
     */
    ListenerHandler(Object bean, Class<?> beanType, Method method, Supplier<PayloadReader> reader) {
        this.bean = bean;
        this.method = method;
        ReflectionUtils.makeAccessible(method);
        for (Type type : method.getGenericParameterTypes()) {
            arguments.add(argument(GenericTypeResolver.resolveType(type, beanType), reader));
        }
    }

    private static Argument argument(Type type, Supplier<PayloadReader> readers) {
        if (type == Delivery.class) {
            return delivery -> delivery;
        }
        if (type == byte[].class) {
            return Delivery::data;
        }
        if (type == String.class) {
            return Delivery::text;
        }
        PayloadReader reader = readers.get();
        return delivery -> payload(reader, delivery, type);
    }

    private static Object payload(PayloadReader reader, Delivery delivery, Type type) {
        Object payload;
        try {
            payload = reader.read(delivery.data(), type);
        } catch (Exception error) {
            throw new DeadLetter("the payload does not fit " + type.getTypeName() + ": " + error.getMessage(), error);
        }
        if (payload == null) {
            throw new DeadLetter("the payload does not fit " + type.getTypeName() + ": it is null");
        }
        return payload;
    }

    @Override
    public void handle(Delivery delivery) throws Exception {
        var values = new Object[arguments.size()];
        for (int i = 0; i < values.length; i++) {
            values[i] = arguments.get(i).of(delivery);
        }
        try {
            method.invoke(bean, values);
        } catch (InvocationTargetException error) {
            throw thrown(error.getCause());
        }
    }

    /** An Error, such as a failed assertion, is passed on as it is. */
    private static Exception thrown(Throwable cause) {
        if (cause instanceof Error error) {
            throw error;
        }
        return (Exception) cause;
    }
}
