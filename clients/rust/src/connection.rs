use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio_util::sync::CancellationToken;
use tonic::codegen::StdError as BoxError;
use tonic::codegen::http::HeaderValue;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::Endpoint;
use tonic::{Request, Status};

use crate::client::ClientOptions;
use crate::error::Error;
use crate::servers::{Lookup, Servers};

/// The channel of the generated stubs, with the client's credentials.
pub type Connection = InterceptedService<Servers, Credentials>;

/// Adds the client's token to each call, refuses calls of a closed client, and calls the client's interceptors.
#[derive(Debug, Clone)]
pub struct Credentials {
    authorization: Option<MetadataValue<Ascii>>,
    closed: CancellationToken,
    interceptors: Vec<CallInterceptor>,
}

type Intercept = dyn Fn(Request<()>) -> Result<Request<()>, Status> + Send + Sync;

/// An interceptor of [`ClientOptions`].
#[derive(Clone)]
pub(crate) struct CallInterceptor(Arc<Intercept>);

impl CallInterceptor {
    pub(crate) fn new(intercept: impl Fn(Request<()>) -> Result<Request<()>, Status> + Send + Sync + 'static) -> Self {
        Self(Arc::new(intercept))
    }
}

impl fmt::Debug for CallInterceptor {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("CallInterceptor")
    }
}

type Provided = BoxFuture<'static, Result<String, BoxError>>;

/// Provides the token of each call.
#[derive(Clone)]
pub(crate) struct TokenProvider(Arc<dyn Fn() -> Provided + Send + Sync>);

impl TokenProvider {
    pub(crate) fn new<F>(provide: impl Fn() -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Result<String, BoxError>> + Send + 'static,
    {
        Self(Arc::new(move || Box::pin(provide())))
    }

    /// The header of a call.
    pub(crate) async fn authorization(&self) -> Result<HeaderValue, Status> {
        let token = (self.0)().await.map_err(|error| Status::unavailable(format!("no token: {error}")))?;
        if token.trim().is_empty() {
            return Err(Status::unavailable("no token: it is empty")); // for example a file that is being written
        }
        let value: Option<HeaderValue> = bearer(&token);
        let mut value = value.ok_or_else(|| Status::unauthenticated("the token is not printable ASCII"))?;
        value.set_sensitive(true);
        Ok(value)
    }
}

impl fmt::Debug for TokenProvider {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("TokenProvider")
    }
}

/// Marks the status of a call that a closed client refused: a stub keeps the metadata of an interceptor's status, not
/// its source.
pub(crate) const CLOSED: &str = "duebus-client-closed";

impl Interceptor for Credentials {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        if self.closed.is_cancelled() {
            let mut status = Status::cancelled("the client is closed");
            status.metadata_mut().insert(CLOSED, MetadataValue::from_static("true"));
            return Err(status);
        }
        if let Some(value) = &self.authorization {
            request.metadata_mut().insert("authorization", value.clone());
        }
        self.interceptors.iter().try_fold(request, |request, each| (each.0)(request))
    }
}

/// Makes the connection; it does not connect yet.
pub(crate) fn connection(
    target: &str,
    options: &ClientOptions,
    closed: CancellationToken,
    lookup: Lookup,
) -> Result<Connection, Error> {
    let names = target.strip_prefix("dns:///").unwrap_or(target).split(',').map(str::trim);
    let names = names.map(|name| Ok((name.to_owned(), endpoint(name, options)?))).collect::<Result<_, Error>>()?;
    let authorization = options.token.as_deref().filter(|token| !token.is_empty()).map(fixed).transpose()?;
    let credentials = Credentials { authorization, closed, interceptors: options.interceptors.clone() };
    Ok(InterceptedService::new(Servers::new(names, lookup, options.token_provider.clone()), credentials))
}

fn fixed(token: &str) -> Result<MetadataValue<Ascii>, Error> {
    if token.trim().is_empty() {
        return Err(Error::invalid_field("token", "is empty"));
    }
    let value: Option<MetadataValue<Ascii>> = bearer(token);
    let mut value = value.ok_or_else(|| Error::invalid_field("token", "is not printable ASCII"))?;
    value.set_sensitive(true);
    Ok(value)
}

/// The header of a token, unless it can't be sent: a header value itself takes any byte but control characters.
fn bearer<V: TryFrom<String>>(token: &str) -> Option<V> {
    V::try_from(format!("Bearer {}", token.trim())).ok().filter(|_| token.is_ascii())
}

fn endpoint(target: &str, options: &ClientOptions) -> Result<Endpoint, Error> {
    let scheme = if options.tls.is_some() { "https" } else { "http" };
    let is_name = |host: &str| !host.is_empty() && !host.contains(['/', '@', '?', '#']);
    if !target.rsplit_once(':').is_some_and(|(host, port)| is_name(host) && port.parse::<u16>().is_ok()) {
        return Err(Error::invalid_field("target", format!("{target:?} is not host:port")));
    }
    let endpoint = Endpoint::from_shared(format!("{scheme}://{target}"))
        .and_then(|endpoint| endpoint.user_agent(concat!("duebus-rust/", env!("CARGO_PKG_VERSION"))))
        .map_err(|error| Error::invalid_field("target", format!("{target:?}: {error}")))?
        .connect_timeout(Duration::from_secs(5))
        // A connection that died silently is noticed within 40 s, even while nothing is called.
        .http2_keep_alive_interval(Duration::from_secs(25))
        .keep_alive_timeout(Duration::from_secs(10))
        .keep_alive_while_idle(true);
    match &options.tls {
        None => Ok(endpoint),
        Some(tls) => endpoint.tls_config(tls.clone()).map_err(|error| Error::invalid_field("tls", error.to_string())),
    }
}
