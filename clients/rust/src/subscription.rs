use std::pin::Pin;
use std::task::{Context, Poll};

use tokio_stream::Stream;
use tokio_util::sync::WaitForCancellationFutureOwned;
use tonic::Streaming;

use crate::client::Client;
use crate::error::Error;
use crate::proto::SubscribeResponse;
use crate::proto::subscribe_response::Frame;

/// The frames of one stream, from [`Client::subscribe`](crate::Client::subscribe). Dropping it ends the stream.
#[derive(Debug)]
pub struct Subscription {
    frames: Streaming<SubscribeResponse>,
    client: Client,
    closed: Pin<Box<WaitForCancellationFutureOwned>>,
}

impl Subscription {
    pub(crate) fn new(frames: Streaming<SubscribeResponse>, client: Client) -> Self {
        let closed = Box::pin(client.closed.clone().cancelled_owned());
        Self { frames, client, closed }
    }
}

impl Stream for Subscription {
    type Item = Result<Frame, Error>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.closed.as_mut().poll(context).is_ready() {
            return Poll::Ready(Some(Err(Error::closed())));
        }
        loop {
            return match Pin::new(&mut self.frames).poll_next(context) {
                Poll::Pending => Poll::Pending,
                Poll::Ready(None) => Poll::Ready(None),
                Poll::Ready(Some(Err(status))) => Poll::Ready(Some(Err(self.client.error(status)))),
                Poll::Ready(Some(Ok(SubscribeResponse { frame: Some(frame) }))) => Poll::Ready(Some(Ok(frame))),
                // A kind of frame that a newer server knows.
                Poll::Ready(Some(Ok(SubscribeResponse { frame: None }))) => continue,
            };
        }
    }
}
