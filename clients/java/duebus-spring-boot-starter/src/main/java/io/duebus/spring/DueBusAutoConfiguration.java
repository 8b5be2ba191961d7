package io.duebus.spring;

import io.duebus.DueBus;
import io.duebus.Interceptor;
import io.grpc.ChannelCredentials;
import io.grpc.TlsChannelCredentials;
import io.micrometer.core.instrument.MeterRegistry;
import org.springframework.beans.factory.ObjectProvider;
import org.springframework.beans.factory.config.ConfigurableListableBeanFactory;
import org.springframework.boot.autoconfigure.AutoConfiguration;
import org.springframework.boot.autoconfigure.condition.ConditionalOnBean;
import org.springframework.boot.autoconfigure.condition.ConditionalOnClass;
import org.springframework.boot.autoconfigure.condition.ConditionalOnMissingBean;
import org.springframework.boot.autoconfigure.condition.ConditionalOnProperty;
import org.springframework.boot.context.properties.EnableConfigurationProperties;
import org.springframework.boot.health.autoconfigure.contributor.ConditionalOnEnabledHealthIndicator;
import org.springframework.boot.health.contributor.HealthIndicator;
import org.springframework.boot.ssl.SslBundles;
import org.springframework.boot.ssl.SslManagerBundle;
import org.springframework.context.annotation.Bean;
import org.springframework.context.annotation.Configuration;
import org.springframework.core.env.Environment;
import org.springframework.util.StringUtils;
import tools.jackson.databind.json.JsonMapper;

/** A client, a worker that calls the {@link DueBusListener} methods, its health, and its metrics. */
@AutoConfiguration(
        afterName = {
            "org.springframework.boot.jackson.autoconfigure.JacksonAutoConfiguration",
            "org.springframework.boot.micrometer.metrics.autoconfigure.CompositeMeterRegistryAutoConfiguration"
        })
@EnableConfigurationProperties(DueBusProperties.class)
public class DueBusAutoConfiguration {
    @Bean(destroyMethod = "close")
    @ConditionalOnMissingBean
    DueBus dueBus(
            DueBusProperties properties,
            ObjectProvider<SslBundles> bundles,
            ObjectProvider<Interceptor> interceptors,
            ObjectProvider<DueBusBuilderCustomizer> customizers) {
        var builder = DueBus.builder(properties.target()).timeout(properties.timeout());
        if (StringUtils.hasText(properties.token())) {
            builder.token(properties.token());
        }
        if (StringUtils.hasText(properties.ssl().bundle())) {
            builder.credentials(credentials(bundles.getObject().getBundle(properties.ssl().bundle()).getManagers()));
        } else if (properties.ssl().enabled()) {
            builder.tls();
        }
        interceptors.orderedStream().forEach(builder::intercept);
        customizers.orderedStream().forEach(each -> each.customize(builder));
        return builder.build();
    }

    private static ChannelCredentials credentials(SslManagerBundle managers) {
        return TlsChannelCredentials.newBuilder()
                .keyManager(managers.getKeyManagers())
                .trustManager(managers.getTrustManagers())
                .build();
    }

    @Bean
    @ConditionalOnProperty(name = "duebus.worker.enabled", matchIfMissing = true)
    ListenerWorker dueBusListenerWorker(
            DueBus bus,
            DueBusProperties properties,
            ConfigurableListableBeanFactory beans,
            ObjectProvider<PayloadReader> reader,
            Environment environment) {
        return new ListenerWorker(bus, properties.worker(), beans, reader::getObject, environment);
    }

    /** Payloads that are JSON. */
    @Configuration(proxyBeanMethods = false)
    @ConditionalOnClass(JsonMapper.class)
    static class JacksonConfiguration {
        @Bean
        @ConditionalOnBean(JsonMapper.class)
        @ConditionalOnMissingBean
        PayloadReader dueBusPayloadReader(JsonMapper mapper) {
            return (data, type) -> mapper.readValue(data, mapper.constructType(type));
        }
    }

    /** The health of the server, and of the worker. */
    @Configuration(proxyBeanMethods = false)
    @ConditionalOnClass({HealthIndicator.class, ConditionalOnEnabledHealthIndicator.class})
    @ConditionalOnEnabledHealthIndicator("duebus")
    static class HealthConfiguration {
        @Bean
        @ConditionalOnMissingBean(name = "dueBusHealthIndicator")
        HealthIndicator dueBusHealthIndicator(DueBus bus, ObjectProvider<ListenerWorker> worker) {
            return new DueBusHealthIndicator(bus, worker.getIfAvailable());
        }
    }

    /** Timers of dispatches and listeners. */
    @Configuration(proxyBeanMethods = false)
    @ConditionalOnClass(MeterRegistry.class)
    static class MetricsConfiguration {
        @Bean
        @ConditionalOnBean(MeterRegistry.class)
        @ConditionalOnMissingBean
        DueBusMetrics dueBusMetrics(MeterRegistry registry) {
            return new DueBusMetrics(registry);
        }
    }
}
