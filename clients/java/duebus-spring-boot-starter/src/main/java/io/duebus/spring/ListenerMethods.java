package io.duebus.spring;

import java.lang.reflect.Method;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import org.springframework.aop.framework.autoproxy.AutoProxyUtils;
import org.springframework.aop.scope.ScopedObject;
import org.springframework.aop.scope.ScopedProxyUtils;
import org.springframework.aop.support.AopUtils;
import org.springframework.beans.factory.config.ConfigurableListableBeanFactory;
import org.springframework.core.MethodIntrospector;
import org.springframework.core.annotation.AnnotatedElementUtils;
import org.springframework.core.annotation.AnnotationUtils;

/** Finds the methods with {@link DueBusListener}. */
final class ListenerMethods {
    /** @param type the class of the bean, behind its proxy */
    record Found(Object bean, Class<?> type, Method method, DueBusListener listener) {}

    private ListenerMethods() {}

    /** Those of all beans; a bean that has some is made if it is not yet. */
    static List<Found> in(ConfigurableListableBeanFactory beans) {
        var found = new ArrayList<Found>();
        for (String name : beans.getBeanNamesForType(Object.class)) {
            Class<?> type = typeOf(name, beans);
            Map<Method, DueBusListener> listeners = listeners(type);
            if (!listeners.isEmpty()) {
                Object bean = beans.getBean(name);
                listeners.forEach((method, listener) -> found.add(
                        new Found(bean, type, AopUtils.selectInvocableMethod(method, bean.getClass()), listener)));
            }
        }
        return found;
    }

    /** Null if it is not known, or if another bean is its proxy. */
    private static Class<?> typeOf(String name, ConfigurableListableBeanFactory beans) {
        if (ScopedProxyUtils.isScopedTarget(name)) {
            return null;
        }
        Class<?> type = AutoProxyUtils.determineTargetClass(beans, name);
        return type != null && ScopedObject.class.isAssignableFrom(type)
                ? AutoProxyUtils.determineTargetClass(beans, ScopedProxyUtils.getTargetBeanName(name))
                : type;
    }

    private static Map<Method, DueBusListener> listeners(Class<?> type) {
        if (type == null || !AnnotationUtils.isCandidateClass(type, DueBusListener.class)) {
            return Map.of();
        }
        MethodIntrospector.MetadataLookup<DueBusListener> lookup =
                method -> AnnotatedElementUtils.findMergedAnnotation(method, DueBusListener.class);
        return MethodIntrospector.selectMethods(type, lookup);
    }
}
