package duebus

import (
	"context"
	"fmt"
	"net"
	"strings"
	"time"

	"google.golang.org/grpc"
	grpcbackoff "google.golang.org/grpc/backoff"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/resolver"
	"google.golang.org/grpc/status"
)

const (
	maxReceive = 16 << 20
	// A server that has been silent for pingAfter is pinged, and must answer within pingTimeout.
	pingAfter   = 25 * time.Second
	pingTimeout = 10 * time.Second
	// With several servers, all are connected and calls are spread over them: a stream whose server drains moves to
	// another.
	serviceConfig = `{"loadBalancingConfig": [{"` + turnsName + `": {}}]}`
)

func dial(target string, settings clientSettings) (*grpc.ClientConn, error) {
	options := []grpc.DialOption{
		grpc.WithUserAgent("duebus-go"),
		grpc.WithDefaultServiceConfig(serviceConfig),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxReceive)),
		// The client retries itself: it keeps the request id and knows which errors a retry can cure.
		grpc.WithDisableRetry(),
		// A connection that died silently is noticed within 40 s, even while nothing is called.
		grpc.WithKeepaliveParams(keepalive.ClientParameters{
			Time: pingAfter, Timeout: pingTimeout, PermitWithoutStream: true,
		}),
		// Avoid stacking the connection's backoff on top of the pauses between calls and streams. By default it grows
		// to two minutes.
		grpc.WithConnectParams(grpc.ConnectParams{
			Backoff: grpcbackoff.Config{
				BaseDelay: 100 * time.Millisecond, Multiplier: 1.6, Jitter: 0.2, MaxDelay: 500 * time.Millisecond,
			},
			MinConnectTimeout: 5 * time.Second,
		}),
		grpc.WithChainUnaryInterceptor(typedErrors),
		grpc.WithChainStreamInterceptor(typedStreamErrors),
		grpc.WithTransportCredentials(settings.transport),
	}
	if settings.token != nil {
		options = append(options, grpc.WithPerRPCCredentials(settings.token))
	}
	target, servers, err := parseTarget(target)
	if err != nil {
		return nil, err
	}
	if servers != nil {
		options = append(options, grpc.WithResolvers(servers))
	}
	return grpc.NewClient(target, append(options, settings.dial...)...)
}

// bearer provides tokens; the caller decides whether the connection is safe enough for them.
type bearer func(context.Context) (string, error)

func (b bearer) GetRequestMetadata(ctx context.Context, _ ...string) (map[string]string, error) {
	token, err := b(ctx)
	token = strings.TrimSpace(token)
	switch {
	case err != nil:
		return nil, status.Errorf(codes.Unavailable, "no token: %v", err)
	case token == "": // for example a file that is being written
		return nil, status.Error(codes.Unavailable, "no token: it is empty")
	case strings.ContainsFunc(token, func(r rune) bool { return r < ' ' || r > '~' }):
		return nil, status.Error(codes.Unauthenticated, "the token is not printable ASCII")
	}
	return map[string]string{"authorization": "Bearer " + token}, nil
}

func (b bearer) RequireTransportSecurity() bool { return false }

// parseTarget distinguishes a list of servers from a name that gRPC resolves, for which the resolver is nil.
func parseTarget(target string) (string, resolver.Builder, error) {
	if isResolved(target) {
		return target, nil, nil
	}
	var servers serverList
	for address := range strings.SplitSeq(target, ",") {
		address = strings.TrimSpace(address)
		host, port, err := net.SplitHostPort(address)
		if err == nil {
			_, err = net.LookupPort("tcp", port)
		}
		if err != nil || port == "" {
			return "", nil, fmt.Errorf("%q is not host:port", address)
		}
		servers = append(servers, resolver.Address{Addr: address, ServerName: host})
	}
	name := strings.ReplaceAll(servers[0].Addr, "%", "%25") // of an IPv6 address with a zone: gRPC parses it as a URL
	if len(servers) == 1 {
		return name, nil, nil
	}
	return servers.Scheme() + ":///" + name, servers, nil
}

// isResolved reports whether a target names its resolver. gRPC would look up an http URL as a host.
func isResolved(target string) bool {
	scheme, rest, _ := strings.Cut(strings.ToLower(target), ":")
	return scheme != "http" && scheme != "https" && strings.HasPrefix(rest, "//") || resolver.Get(scheme) != nil
}

// serverList is a resolver for servers that are listed by address.
type serverList []resolver.Address

func (s serverList) Scheme() string { return "duebus-servers" }

func (s serverList) Build(
	_ resolver.Target, conn resolver.ClientConn, _ resolver.BuildOptions,
) (resolver.Resolver, error) {
	return s, conn.UpdateState(resolver.State{Addresses: s})
}

func (s serverList) ResolveNow(resolver.ResolveNowOptions) {}

func (s serverList) Close() {}
