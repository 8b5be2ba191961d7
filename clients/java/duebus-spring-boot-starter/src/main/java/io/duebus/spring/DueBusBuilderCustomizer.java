package io.duebus.spring;

import io.duebus.DueBus;

/** Sets what no property can: a token provider, interceptors of gRPC. A bean. */
@FunctionalInterface
public interface DueBusBuilderCustomizer {
    /** Called before the client is made, after the properties. */
    void customize(DueBus.Builder builder);
}
