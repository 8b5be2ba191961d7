use std::fmt;
use std::sync::Arc;

use futures_util::future::BoxFuture;

/// What interceptors are put around: it takes a `T`.
pub(crate) type Call<T, R> = Arc<dyn Fn(T) -> BoxFuture<'static, R> + Send + Sync>;

type Interceptor<T, R> = Arc<dyn Fn(T, Next<T, R>) -> BoxFuture<'static, R> + Send + Sync>;

/// What an interceptor passes on to: the next one, or what all of them are around.
pub struct Next<T, R>(Call<T, R>);

impl<T, R> Next<T, R> {
    /// Passes it on, and returns what comes back.
    pub async fn run(self, passed: T) -> R {
        (self.0)(passed).await
    }
}

impl<T, R> Clone for Next<T, R> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T, R> fmt::Debug for Next<T, R> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Next")
    }
}

/// Interceptors, the outermost first.
pub(crate) struct Interceptors<T, R>(Vec<Interceptor<T, R>>);

impl<T: 'static, R: 'static> Interceptors<T, R> {
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn add_innermost<F>(&mut self, interceptor: impl Fn(T, Next<T, R>) -> F + Send + Sync + 'static)
    where
        F: Future<Output = R> + Send + 'static,
    {
        self.0.push(Arc::new(move |passed, next| Box::pin(interceptor(passed, next))));
    }

    #[cfg(feature = "testing")]
    pub(crate) fn add_outermost<F>(&mut self, interceptor: impl Fn(T, Next<T, R>) -> F + Send + Sync + 'static)
    where
        F: Future<Output = R> + Send + 'static,
    {
        self.add_innermost(interceptor);
        self.0.rotate_right(1);
    }

    /// A call with the interceptors around it.
    pub(crate) fn around(&self, call: Call<T, R>) -> Call<T, R> {
        self.0.iter().rev().fold(call, |inner, interceptor| {
            let interceptor = Arc::clone(interceptor);
            Arc::new(move |passed| interceptor(passed, Next(Arc::clone(&inner))))
        })
    }
}

impl<T, R> Default for Interceptors<T, R> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T, R> Clone for Interceptors<T, R> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<T, R> fmt::Debug for Interceptors<T, R> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{} interceptors", self.0.len())
    }
}
