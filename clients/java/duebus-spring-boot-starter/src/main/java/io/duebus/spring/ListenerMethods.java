package io.duebus.spring;

import java.lang.reflect.Method;
import java.util.ArrayList;
import java.util.List;
import org.springframework.aop.framework.AopProxyUtils;
import org.springframework.aop.support.AopUtils;
import org.springframework.beans.factory.config.BeanPostProcessor;
import org.springframework.core.MethodIntrospector;
import org.springframework.core.annotation.AnnotatedElementUtils;

/** Finds the methods with {@link DueBusListener}. */
final class ListenerMethods implements BeanPostProcessor {
    record Found(Object bean, Method method, DueBusListener listener) {}

    private final List<Found> found = new ArrayList<>();

    List<Found> found() {
        return List.copyOf(found);
    }

    @Override
    public Object postProcessAfterInitialization(Object bean, String name) {
        MethodIntrospector.MetadataLookup<DueBusListener> lookup =
                method -> AnnotatedElementUtils.findMergedAnnotation(method, DueBusListener.class);
        MethodIntrospector.selectMethods(AopProxyUtils.ultimateTargetClass(bean), lookup)
                .forEach((method, listener) ->
                        found.add(new Found(bean, AopUtils.selectInvocableMethod(method, bean.getClass()), listener)));
        return bean;
    }
}
