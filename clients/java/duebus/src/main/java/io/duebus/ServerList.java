package io.duebus;

import io.grpc.Attributes;
import io.grpc.EquivalentAddressGroup;
import io.grpc.NameResolver;
import io.grpc.NameResolverProvider;
import io.grpc.NameResolverRegistry;
import io.grpc.StatusOr;
import java.net.InetSocketAddress;
import java.net.URI;
import java.net.URISyntaxException;
import java.util.Arrays;
import java.util.List;
import java.util.concurrent.Executor;

/** Servers that are listed by address, separated by commas. */
final class ServerList extends NameResolverProvider {
    private static final String SCHEME = "duebus-servers";

    static {
        NameResolverRegistry.getDefaultRegistry().register(new ServerList());
    }

    private ServerList() {}

    /** The target as gRPC understands it. */
    static String target(String target) {
        if (target.isBlank()) {
            throw DueBusException.invalid("target", "is empty");
        }
        if (target.contains("://") || !target.contains(",")) {
            return target;
        }
        split(target).forEach(ServerList::parse);
        try {
            return new URI(SCHEME, "", "/" + target, null).toString();
        } catch (URISyntaxException error) {
            throw DueBusException.invalid("target", error.getMessage());
        }
    }

    private static List<String> split(String target) {
        return Arrays.stream(target.split(",", -1)).map(String::strip).toList();
    }

    private static URI parse(String server) {
        URI uri;
        try {
            uri = new URI("//" + server);
        } catch (URISyntaxException error) {
            throw DueBusException.invalid("target", error.getMessage());
        }
        if (uri.getHost() == null || uri.getPort() < 0) {
            throw DueBusException.invalid("target", "\"" + server + "\" is not host:port");
        }
        return uri;
    }

    @Override
    protected boolean isAvailable() {
        return true;
    }

    @Override
    protected int priority() {
        return 5;
    }

    @Override
    public String getDefaultScheme() {
        return SCHEME;
    }

    @Override
    public NameResolver newNameResolver(URI target, NameResolver.Args args) {
        if (!SCHEME.equals(target.getScheme())) {
            return null;
        }
        return new Resolver(split(target.getPath().substring(1)), args.getOffloadExecutor());
    }

    private static final class Resolver extends NameResolver {
        private final List<String> servers;
        private final Executor executor;
        private Listener2 listener;

        Resolver(List<String> servers, Executor executor) {
            this.servers = servers;
            this.executor = executor;
        }

        @Override
        public String getServiceAuthority() {
            return servers.get(0);
        }

        @Override
        public void start(Listener2 listener) {
            this.listener = listener;
            refresh();
        }

        @Override
        public void refresh() {
            executor.execute(this::resolve);
        }

        private void resolve() {
            var addresses = servers.stream().map(Resolver::address).toList();
            listener.onResult(ResolutionResult.newBuilder().setAddressesOrError(StatusOr.fromValue(addresses)).build());
        }

        /** Each server has a certificate for its own name. */
        private static EquivalentAddressGroup address(String server) {
            URI uri = parse(server);
            String host = uri.getHost().replaceAll("[\\[\\]]", "");
            var attributes = Attributes.newBuilder()
                    .set(EquivalentAddressGroup.ATTR_AUTHORITY_OVERRIDE, server)
                    .build();
            return new EquivalentAddressGroup(new InetSocketAddress(host, uri.getPort()), attributes);
        }

        @Override
        public void shutdown() {}
    }
}
