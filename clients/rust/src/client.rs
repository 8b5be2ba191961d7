use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tonic::client::Grpc;
use tonic::codegen::StdError as BoxError;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::transport::ClientTlsConfig;
use tonic::{Request, Status};
use tonic_prost::ProstCodec;

use crate::connection::{CallInterceptor, Connection, TokenProvider, connection};
use crate::dispatch::{Dispatch, DispatchInterceptors, Dispatched};
use crate::dispatcher::Lanes;
use crate::error::Error;
use crate::interceptor::Next;
use crate::proto::Engine;
use crate::proto::event_bus_admin_client::EventBusAdminClient;
use crate::proto::event_bus_client::EventBusClient;
use crate::proto::{StopRequest, SubscribeRequest};
use crate::servers::{Lookup, system_lookup};
use crate::settle::to_proto;
use crate::subscription::Subscription;

pub(crate) type Bus = EventBusClient<Connection>;

/// The largest answer that is read, in bytes.
const MAX_RECEIVE: usize = 16 << 20;
/// The largest request of lease tokens or nacks, in bytes, until a server announces its limit: gRPC's default.
const MAX_REQUEST: usize = 4 << 20;
/// The longest timeout: clocks, and the header that tells it to the server, have no room for `Duration::MAX`.
const MAX_TIMEOUT: Duration = Duration::from_secs(10 * 365 * 24 * 3600);

/// The options of a [`Client`]:
///
/// ```
/// # use duebus::ClientOptions;
/// let options = ClientOptions::default().token("secret").timeout(std::time::Duration::from_secs(5));
/// ```
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ClientOptions {
    /// Sent as a bearer token with each call; none if it is empty.
    pub token: Option<String>,
    /// None: plaintext. `ClientTlsConfig::new().with_native_roots()` trusts the system's authorities.
    pub tls: Option<ClientTlsConfig>,
    /// How long a call may take including retries; 30 s by default.
    pub timeout: Duration,
    /// Instead of `token`.
    pub(crate) token_provider: Option<TokenProvider>,
    pub(crate) interceptors: Vec<CallInterceptor>,
    pub(crate) dispatch_interceptors: DispatchInterceptors,
}

impl Default for ClientOptions {
    fn default() -> Self {
        let timeout = Duration::from_secs(30);
        let dispatch_interceptors = DispatchInterceptors::default();
        Self { token: None, tls: None, timeout, token_provider: None, interceptors: Vec::new(), dispatch_interceptors }
    }
}

impl ClientOptions {
    /// With a bearer token, sent with each call; empty: none. Over plaintext, anyone on the network path can read it.
    #[must_use]
    pub fn token(self, token: impl Into<String>) -> Self {
        Self { token: Some(token.into()), token_provider: None, ..self }
    }

    /// With a bearer token that `provide` returns. It is asked for each call and each stream, so tokens may rotate; it
    /// should cache them. White space around a token is left out. If it fails or there is no token, the call fails with
    /// [`Reason::Unavailable`](crate::Reason::Unavailable): it is retried until its timeout, and a worker tries again.
    ///
    /// ```
    /// # use duebus::ClientOptions;
    /// let path = "/var/run/secrets/tokens/duebus";
    /// let options = ClientOptions::default().token_provider(move || async move { Ok(std::fs::read_to_string(path)?) });
    /// ```
    #[must_use]
    pub fn token_provider<P, F>(self, provide: P) -> Self
    where
        P: Fn() -> F + Send + Sync + 'static,
        F: Future<Output = Result<String, BoxError>> + Send + 'static,
    {
        Self { token: None, token_provider: Some(TokenProvider::new(provide)), ..self }
    }

    /// With an interceptor of each call and each stream, which may add metadata or refuse it. Several are called in the
    /// order in which they are added.
    #[must_use]
    pub fn interceptor<I>(mut self, interceptor: I) -> Self
    where
        I: Fn(Request<()>) -> Result<Request<()>, Status> + Send + Sync + 'static,
    {
        self.interceptors.push(CallInterceptor::new(interceptor));
        self
    }

    /// With an interceptor of each dispatch. It may pass on other events, and must return one result for each of those
    /// that it got. Of several, the first that is added is called first.
    ///
    /// ```
    /// # use duebus::ClientOptions;
    /// let options = ClientOptions::default().dispatch_interceptor(async |mut dispatch, next| {
    ///     for event in &mut dispatch.events {
    ///         event.attributes.insert("tenant".to_owned(), "acme".to_owned());
    ///     }
    ///     next.run(dispatch).await
    /// });
    /// ```
    #[must_use]
    pub fn dispatch_interceptor<I, F>(mut self, interceptor: I) -> Self
    where
        I: Fn(Dispatch, Next<Dispatch, Result<Vec<Dispatched>, Error>>) -> F + Send + Sync + 'static,
        F: Future<Output = Result<Vec<Dispatched>, Error>> + Send + 'static,
    {
        self.dispatch_interceptors.add_innermost(interceptor);
        self
    }

    /// With TLS.
    #[must_use]
    pub fn tls(self, config: ClientTlsConfig) -> Self {
        Self { tls: Some(config), ..self }
    }

    /// With this time for a call, including retries.
    #[must_use]
    pub fn timeout(self, timeout: Duration) -> Self {
        Self { timeout, ..self }
    }
}

/// A client of the bus. Clones share one connection.
#[derive(Debug, Clone)]
pub struct Client {
    pub(crate) bus: Bus,
    connection: Connection,
    pub(crate) timeout: Duration,
    pub(crate) closed: CancellationToken,
    pub(crate) lanes: Arc<Lanes>,
    pub(crate) interceptors: DispatchInterceptors,
    target: Arc<str>,
    max_request_bytes: Arc<AtomicUsize>,
}

/// An engine that [`Client::stop`] has stopped.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct StoppedEngine {
    /// The engine.
    pub engine: Engine,
    /// How many leases were released because they were not settled in time.
    pub released: u64,
    /// How many events the engine holds: on local they are lost with the process, on redis they stay.
    pub queued: u64,
}

impl Client {
    /// A client of the server at `target`, `host:port`; several separated by commas are replicas that share one Redis, and
    /// so are the addresses of a name. Calls go to them in turn. It does not connect yet.
    ///
    /// # Errors
    /// [`Reason::InvalidArgument`](crate::Reason::InvalidArgument) when the target or an option can't be used.
    #[expect(clippy::needless_pass_by_value, reason = "a caller has no use for them afterwards")]
    pub fn new(target: &str, options: ClientOptions) -> Result<Self, Error> {
        Self::with_lookup(target, &options, system_lookup())
    }

    pub(crate) fn with_lookup(target: &str, options: &ClientOptions, lookup: Lookup) -> Result<Self, Error> {
        if options.timeout.is_zero() {
            return Err(Error::invalid_field("timeout", "must be positive"));
        }
        let closed = CancellationToken::new();
        let connection = connection(target, options, closed.clone(), lookup)?;
        let bus = EventBusClient::new(connection.clone()).max_decoding_message_size(MAX_RECEIVE);
        let max_request_bytes = Arc::new(AtomicUsize::new(MAX_REQUEST));
        Ok(Self {
            bus,
            connection,
            timeout: options.timeout.min(MAX_TIMEOUT),
            closed,
            lanes: Arc::default(),
            interceptors: options.dispatch_interceptors.clone(),
            target: target.into(),
            max_request_bytes,
        })
    }

    /// The largest request of lease tokens or nacks.
    pub(crate) fn max_request_bytes(&self) -> usize {
        self.max_request_bytes.load(Ordering::Relaxed)
    }

    /// Notes the largest request that the server accepts; 0 if it does not say.
    pub(crate) fn limit_requests(&self, bytes: u64) {
        if bytes > 0 {
            self.max_request_bytes.store(usize::try_from(bytes).unwrap_or(usize::MAX), Ordering::Relaxed);
        }
    }

    /// The error of a call; it names the target if the connection failed.
    pub(crate) fn error(&self, status: Status) -> Error {
        Error::from(status).at(&self.target)
    }

    /// The same client with another timeout for calls, including retries.
    #[must_use]
    pub fn with_timeout(&self, timeout: Duration) -> Self {
        Self { timeout: timeout.min(MAX_TIMEOUT), ..self.clone() }
    }

    /// Ends the open calls and subscriptions of all clones; later ones fail with
    /// [`Reason::ClientClosed`](crate::Reason::ClientClosed). Stop workers first.
    pub fn close(&self) {
        self.closed.cancel();
    }

    /// The generated stubs, on the same connection and with the same credentials.
    #[must_use]
    pub fn event_bus(&self) -> EventBusClient<Connection> {
        self.bus.clone()
    }

    /// The generated stubs of the admin calls.
    #[must_use]
    pub fn admin_stub(&self) -> EventBusAdminClient<Connection> {
        EventBusAdminClient::new(self.connection.clone()).max_decoding_message_size(MAX_RECEIVE)
    }

    /// The channel, with the client's credentials.
    pub(crate) fn connection(&self) -> Connection {
        self.connection.clone()
    }

    /// Asks the gRPC health service whether the server accepts new work: false while it drains. `service` is one of the
    /// server's services, such as `duebus.v1.EventBus`; empty: the server as a whole. It is not retried.
    ///
    /// # Errors
    /// [`Reason::NotFound`](crate::Reason::NotFound) if the server has no such service.
    pub async fn is_serving(&self, service: &str) -> Result<bool, Error> {
        const CHECK: &str = "/grpc.health.v1.Health/Check";
        const SERVING: i32 = 1;
        // Both messages of the call have one field, with the number 1, so they are encoded as the wrappers of their types.
        let codec = ProstCodec::<String, i32>::default();
        let mut grpc = Grpc::new(self.connection());
        let check = |request| async move {
            grpc.ready().await.map_err(|error| Status::unavailable(error.to_string()))?;
            grpc.unary(request, PathAndQuery::from_static(CHECK), codec).await
        };
        Ok(self.unrepeated(service.to_owned(), check).await? == SERVING)
    }

    /// Opens one stream of deliveries, which is not resumed: a [`Worker`](crate::Worker) does that. It has started when
    /// its first frame has arrived.
    ///
    /// # Errors
    /// Those of the server, and [`Reason::Unavailable`](crate::Reason::Unavailable).
    pub async fn subscribe(&self, request: SubscribeRequest) -> Result<Subscription, Error> {
        let mut bus = self.bus.clone();
        let opened = self.unless_closed(bus.subscribe(request)).await?;
        let frames = opened.map_err(|status| self.error(status))?.into_inner();
        Ok(Subscription::new(frames, self.clone()))
    }

    /// Drains engines and stops them, all if none is named; when none is left, the server process ends. It returns when
    /// that is done. It is not retried, because a server that has stopped can't answer.
    ///
    /// `drain_timeout` is how long to wait for leases to be settled, up to 1 h; `None`: the server's setting.
    ///
    /// # Errors
    /// [`Reason::InvalidArgument`](crate::Reason::InvalidArgument),
    /// [`Reason::NoDispatcherSpecified`](crate::Reason::NoDispatcherSpecified),
    /// [`Reason::Unavailable`](crate::Reason::Unavailable).
    pub async fn stop(&self, engines: &[Engine], drain_timeout: Option<Duration>) -> Result<Vec<StoppedEngine>, Error> {
        let engines = engines.iter().map(|&each| each.into()).collect();
        let request = StopRequest { engines, drain_timeout: drain_timeout.map(to_proto) };
        let response = self.unlimited(self.bus.clone().stop(request)).await?;
        let stopped = response.engines.into_iter().map(|each| StoppedEngine {
            engine: each.engine(),
            released: each.released,
            queued: each.queued,
        });
        Ok(stopped.collect())
    }
}
