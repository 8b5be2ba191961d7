use std::time::Duration;

use tokio_util::sync::CancellationToken;
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

/// Adds the client's token to each call, and refuses calls of a closed client.
#[derive(Debug, Clone)]
pub struct Credentials {
    authorization: Option<MetadataValue<Ascii>>,
    closed: CancellationToken,
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
        Ok(request)
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
    let authorization = options.token.as_deref().map(bearer).transpose()?;
    Ok(InterceptedService::new(Servers::new(names, lookup), Credentials { authorization, closed }))
}

fn bearer(token: &str) -> Result<MetadataValue<Ascii>, Error> {
    let mut value = MetadataValue::try_from(format!("Bearer {token}"))
        .map_err(|_| Error::invalid_field("token", "is not printable ASCII"))?;
    value.set_sensitive(true);
    Ok(value)
}

fn endpoint(target: &str, options: &ClientOptions) -> Result<Endpoint, Error> {
    let scheme = if options.tls.is_some() { "https" } else { "http" };
    if !target.rsplit_once(':').is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok()) {
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
