//! The servers that a target names: calls go to them in turn.

use std::error::Error as StdError;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::future::BoxFuture;
use http_body_util::{BodyExt, Full};
use hyper_util::rt::TokioIo;
use tokio::net::{TcpStream, lookup_host};
use tokio::sync::watch;
use tokio::time::Instant;
use tonic::body::Body;
use tonic::codegen::http::{Request, Response, Uri, header};
use tonic::codegen::{Service, StdError as BoxError};
use tonic::transport::{Channel, Endpoint};
use tonic::{ConnectError, Status};

use crate::connection::TokenProvider;

/// How long to wait before a server that calls pass over is connected again, and before a name is resolved again.
const PAUSE: Duration = Duration::from_secs(1);

/// How often a request is tried that could not be sent.
const MAX_TRIES: usize = 3;

/// Finds the addresses of a `host:port`.
pub(crate) type Lookup = Arc<dyn Fn(String) -> BoxFuture<'static, io::Result<Vec<SocketAddr>>> + Send + Sync>;

/// Asks the system's resolver.
pub(crate) fn system_lookup() -> Lookup {
    Arc::new(|name| Box::pin(async move { Ok(lookup_host(name).await?.collect()) }))
}

/// The channel of the stubs: each call goes to the next server, and so does each stream, in a turn of its own. Servers
/// that can't be reached are left out. The names are resolved again when a connection is lost.
#[derive(Clone)]
pub struct Servers(Arc<Shared>);

struct Shared {
    /// `host:port`, and how to connect to it.
    names: Vec<(String, Endpoint)>,
    lookup: Lookup,
    token_provider: Option<TokenProvider>,
    known: Mutex<Known>,
    /// Whether a connection was lost since the names were resolved.
    is_stale: Arc<AtomicBool>,
    resolving: tokio::sync::Mutex<()>,
    calls: AtomicUsize,
    streams: AtomicUsize,
}

#[derive(Default)]
struct Known {
    servers: Vec<Arc<Server>>,
    resolved: Option<Instant>,
}

impl fmt::Debug for Servers {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_list().entries(self.0.names.iter().map(|(name, _)| name)).finish()
    }
}

impl Servers {
    pub(crate) fn new(names: Vec<(String, Endpoint)>, lookup: Lookup, token_provider: Option<TokenProvider>) -> Self {
        // A random one is the first, so that many clients do not all begin with the same server.
        let first = fastrand::usize(..1 << 16);
        Self(Arc::new(Shared {
            names,
            lookup,
            token_provider,
            known: Mutex::default(),
            is_stale: Arc::default(),
            resolving: tokio::sync::Mutex::default(),
            calls: AtomicUsize::new(first),
            streams: AtomicUsize::new(first),
        }))
    }
}

impl Service<Request<Body>> for Servers {
    type Response = Response<Body>;
    type Error = BoxError;
    type Future = BoxFuture<'static, Result<Response<Body>, BoxError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let shared = Arc::clone(&self.0);
        Box::pin(async move {
            // Of one message: no call of the service streams requests.
            let (mut head, body) = request.into_parts();
            let body = body.collect().await?.to_bytes();
            if let Some(provider) = &shared.token_provider {
                head.headers.insert(header::AUTHORIZATION, provider.authorization().await?);
            }
            let turn = if head.uri.path().ends_with("/Subscribe") { &shared.streams } else { &shared.calls };
            let mut tries = 0;
            loop {
                let (server, mut channel) = shared.next(turn.fetch_add(1, Ordering::Relaxed)).await?;
                let request = Request::from_parts(head.clone(), Body::new(Full::new(body.clone())));
                let error = match channel.call(request).await {
                    Ok(response) => return Ok(response),
                    Err(error) => error,
                };
                tries += 1;
                if !server.was_unsent(&error) || tries == MAX_TRIES {
                    return Err(error.into());
                }
            }
        })
    }
}

impl Shared {
    /// The server whose turn it is, connected: those that can't be reached are passed over.
    async fn next(self: &Arc<Self>, turn: usize) -> Result<(Arc<Server>, Channel), BoxError> {
        let servers = self.servers().await?;
        let in_turn = (0..servers.len()).map(|offset| &servers[turn.wrapping_add(offset) % servers.len()]);
        let (usable, others): (Vec<_>, Vec<_>) = in_turn.partition(|server| server.is_usable());
        let mut last = None;
        for server in usable.into_iter().chain(others) {
            match server.channel().await {
                Ok(channel) => return Ok((Arc::clone(server), channel)),
                Err(error) => last = Some(error),
            }
        }
        Err(last.map_or_else(|| no_address(None).into(), BoxError::from))
    }

    async fn servers(self: &Arc<Self>) -> Result<Vec<Arc<Server>>, BoxError> {
        let (servers, is_due) = {
            let known = self.known();
            (known.servers.clone(), known.resolved.is_none_or(|resolved| resolved.elapsed() >= PAUSE))
        };
        if servers.is_empty() {
            return self.resolve().await;
        }
        if is_due && self.is_stale.swap(false, Ordering::Relaxed) {
            let shared = Arc::clone(self);
            tokio::spawn(async move { shared.resolve().await });
        }
        Ok(servers)
    }

    /// Looks the names up. The servers of a name that can't be resolved stay as they are.
    async fn resolve(&self) -> Result<Vec<Arc<Server>>, BoxError> {
        let _one_at_a_time = self.resolving.lock().await;
        let before = self.known().servers.clone();
        let (mut servers, mut failure) = (Vec::new(), None);
        for (name, endpoint) in &self.names {
            match (self.lookup)(name.clone()).await {
                Ok(addresses) => servers.extend(addresses.into_iter().map(|address| {
                    let kept = before.iter().find(|each| each.address == address && each.name == *name);
                    kept.map_or_else(|| Server::new(name, address, endpoint, &self.is_stale), Arc::clone)
                })),
                Err(error) => {
                    servers.extend(before.iter().filter(|each| each.name == *name).cloned());
                    failure = Some(error);
                }
            }
        }
        *self.known() = Known { servers: servers.clone(), resolved: Some(Instant::now()) };
        if servers.is_empty() { Err(no_address(failure).into()) } else { Ok(servers) }
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn no_address(failure: Option<io::Error>) -> Status {
    let failure = failure.unwrap_or_else(|| io::Error::new(io::ErrorKind::NotFound, "the name has no address"));
    let mut status = Status::unavailable("the name can't be resolved");
    status.set_source(Arc::new(failure));
    status
}

/// One address of a name.
struct Server {
    name: String,
    address: SocketAddr,
    endpoint: Endpoint,
    is_stale: Arc<AtomicBool>,
    state: watch::Sender<State>,
}

/// `Idle -> Connecting -> Connected -> Idle`, or `Connecting -> Failed -> Connecting`.
#[derive(Clone)]
enum State {
    Idle,
    Connecting,
    Connected(Channel),
    Failed(Instant, Arc<tonic::transport::Error>),
}

impl Server {
    fn new(name: &str, address: SocketAddr, endpoint: &Endpoint, is_stale: &Arc<AtomicBool>) -> Arc<Self> {
        Arc::new(Self {
            name: name.to_owned(),
            address,
            endpoint: endpoint.clone(),
            is_stale: Arc::clone(is_stale),
            state: watch::Sender::new(State::Idle),
        })
    }

    /// Whether a call may go there in its turn. One that could not be reached is connected in the background.
    fn is_usable(self: &Arc<Self>) -> bool {
        let state = self.state.borrow().clone();
        if matches!(state, State::Failed(at, _) if at.elapsed() >= PAUSE) {
            self.connect();
        }
        matches!(state, State::Idle | State::Connected(_))
    }

    /// Its channel, connected.
    async fn channel(self: &Arc<Self>) -> Result<Channel, Arc<tonic::transport::Error>> {
        let mut states = self.state.subscribe();
        let mut tried = false;
        loop {
            let state = states.borrow_and_update().clone();
            match state {
                State::Connected(mut channel) => {
                    if std::future::poll_fn(|context| channel.poll_ready(context)).await.is_ok() {
                        return Ok(channel);
                    }
                    self.forget(); // the runtime that it belongs to has ended
                }
                State::Failed(_, error) if tried => return Err(error),
                State::Idle | State::Failed(..) => self.connect(),
                State::Connecting => {
                    tried = true;
                    let _ = states.changed().await; // the sender lives as long as the server
                }
            }
        }
    }

    /// Begins to connect, unless that is under way.
    fn connect(self: &Arc<Self>) {
        let begins = self.state.send_if_modified(|state| {
            let begins = matches!(state, State::Idle | State::Failed(..));
            if begins {
                *state = State::Connecting;
            }
            begins
        });
        if begins {
            let abandoned = Connecting(Arc::clone(self));
            tokio::spawn(async move {
                let connector = Connector { address: abandoned.0.address, is_stale: Arc::clone(&abandoned.0.is_stale) };
                let connected = abandoned.0.endpoint.connect_with_connector(connector).await;
                abandoned.0.state.send_replace(match connected {
                    Ok(channel) => State::Connected(channel),
                    Err(error) => State::Failed(Instant::now(), Arc::new(error)),
                });
            });
        }
    }

    /// Whether the request was not sent, because the connection had ended or could not be made again.
    fn was_unsent(&self, error: &tonic::transport::Error) -> bool {
        let mut cause: Option<&(dyn StdError + 'static)> = Some(error);
        while let Some(error) = cause {
            if error.is::<ConnectError>() {
                self.forget();
                return true;
            }
            if error.downcast_ref::<hyper::Error>().is_some_and(hyper::Error::is_canceled) {
                return true;
            }
            cause = error.source();
        }
        false
    }

    /// Connects again before the next call.
    fn forget(&self) {
        self.is_stale.store(true, Ordering::Relaxed);
        self.state.send_if_modified(|state| {
            let connected = matches!(state, State::Connected(_));
            if connected {
                *state = State::Idle;
            }
            connected
        });
    }
}

/// An attempt to connect; a runtime that ends drops it.
struct Connecting(Arc<Server>);

impl Drop for Connecting {
    fn drop(&mut self) {
        self.0.state.send_if_modified(|state| {
            let abandoned = matches!(state, State::Connecting);
            if abandoned {
                *state = State::Idle;
            }
            abandoned
        });
    }
}

/// Connects to an address, whatever the name in the URI; the certificate is checked against the name.
#[derive(Clone)]
struct Connector {
    address: SocketAddr,
    is_stale: Arc<AtomicBool>,
}

impl Service<Uri> for Connector {
    type Response = TokioIo<TcpStream>;
    type Error = io::Error;
    type Future = BoxFuture<'static, io::Result<TokioIo<TcpStream>>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        let address = self.address;
        // Of a lost connection: other servers may have come, and this one be gone.
        self.is_stale.store(true, Ordering::Relaxed);
        Box::pin(async move {
            let stream = TcpStream::connect(address).await?;
            stream.set_nodelay(true)?;
            Ok(TokioIo::new(stream))
        })
    }
}
