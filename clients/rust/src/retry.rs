use std::time::Duration;

use tokio::time::{Instant, sleep, timeout_at};
use tonic::{Code, Request, Response, Status};

use crate::client::{Bus, Client};
use crate::error::{Error, Reason};

/// The answer of a retried call, and whether it took more than one try.
pub(crate) struct Answer<R> {
    pub(crate) response: R,
    pub(crate) again: bool,
}

impl Client {
    /// Makes a call with as many tries as the client's timeout allows. Unavailability is retried, and so is a
    /// call that the server has cancelled, as it does when there are too many at once; everything else is reported at
    /// once.
    pub(crate) async fn repeated<Q, R, F>(
        &self,
        request: Q,
        call: impl Fn(Bus, Request<Q>) -> F,
    ) -> Result<Answer<R>, Error>
    where
        Q: Clone,
        F: Future<Output = Result<Response<R>, Status>>,
    {
        self.repeated_noting(request, call, |_| ()).await
    }

    /// [`Client::repeated`]; `note` gets each failure that a retry may cure.
    pub(crate) async fn repeated_noting<Q, R, F>(
        &self,
        request: Q,
        call: impl Fn(Bus, Request<Q>) -> F,
        note: impl Fn(&Error),
    ) -> Result<Answer<R>, Error>
    where
        Q: Clone,
        F: Future<Output = Result<Response<R>, Status>>,
    {
        let deadline = Instant::now() + self.timeout;
        let mut pauses = Backoff::new(Duration::from_millis(100), Duration::from_secs(2));
        let mut last = None;
        loop {
            match self.once(deadline, request.clone(), &call).await {
                Ok(response) => return Ok(Answer { response, again: last.is_some() }),
                // The error of the attempt before says more.
                Err(error) if *error.reason() == Reason::DeadlineExceeded => return Err(last.unwrap_or(error)),
                Err(error) if !error.reason().is_unavailable() && error.code() != Code::Cancelled => return Err(error),
                Err(error) => {
                    note(&error);
                    let pause = pauses.next().max(error.retry_after().unwrap_or_default());
                    if Instant::now() + pause >= deadline {
                        return Err(error);
                    }
                    self.unless_closed(sleep(pause)).await?;
                    last = Some(error);
                }
            }
        }
    }

    /// Makes a call that can't be repeated.
    pub(crate) async fn unrepeated<Q, R, F>(&self, request: Q, call: impl FnOnce(Request<Q>) -> F) -> Result<R, Error>
    where
        F: Future<Output = Result<Response<R>, Status>>,
    {
        self.once(Instant::now() + self.timeout, request, |_, request| call(request)).await
    }

    /// Waits for a call that takes as long as its work takes.
    pub(crate) async fn unlimited<R>(
        &self,
        call: impl Future<Output = Result<Response<R>, Status>>,
    ) -> Result<R, Error> {
        let answer = self.unless_closed(call).await?;
        Ok(answer.map_err(|status| self.error(status))?.into_inner())
    }

    /// Makes one attempt.
    pub(crate) async fn once<Q, R, F>(
        &self,
        deadline: Instant,
        request: Q,
        call: impl FnOnce(Bus, Request<Q>) -> F,
    ) -> Result<R, Error>
    where
        F: Future<Output = Result<Response<R>, Status>>,
    {
        let mut request = Request::new(request);
        request.set_timeout(deadline.saturating_duration_since(Instant::now()));
        let answer = self.unless_closed(timeout_at(deadline, call(self.bus.clone(), request))).await?;
        match answer {
            Ok(Ok(response)) => Ok(response.into_inner()),
            // The server or the channel may notice a moment before this clock does.
            Ok(Err(status)) if Instant::now() < deadline => Err(self.error(status)),
            _ => Err(Error::new(Reason::DeadlineExceeded, "no answer in time")),
        }
    }

    /// Waits, until the client is closed at most.
    pub(crate) async fn unless_closed<T>(&self, wait: impl Future<Output = T>) -> Result<T, Error> {
        tokio::select! {
            biased;
            () = self.closed.cancelled() => Err(Error::closed()),
            done = wait => Ok(done),
        }
    }
}

/// Pauses that double from `initial` to `most`, each shortened at random by up to half: the jitter keeps clients from
/// reconnecting all at once when a server restarts.
#[derive(Debug)]
pub(crate) struct Backoff {
    initial: Duration,
    most: Duration,
    coming: Duration,
}

impl Backoff {
    pub(crate) fn new(initial: Duration, most: Duration) -> Self {
        Self { initial, most, coming: initial }
    }

    /// Short at first, because most broken streams can be reopened at once. It stays below three seconds, after which
    /// the leases of a killed server run out unless a worker has named or settled them.
    pub(crate) fn of_reconnects() -> Self {
        Self::new(Duration::from_millis(100), Duration::from_secs(1))
    }

    pub(crate) fn next(&mut self) -> Duration {
        let pause = self.coming;
        self.coming = (pause * 2).min(self.most);
        pause.mul_f64(0.5 + fastrand::f64() / 2.0)
    }

    pub(crate) fn reset(&mut self) {
        self.coming = self.initial;
    }
}
