use futures_util::stream::{self, BoxStream};
use futures_util::{StreamExt, TryStreamExt};

use crate::error::Error;

/// One page of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Page<T> {
    /// What is on the page.
    pub items: Vec<T>,
    /// The token of the next page; empty after the last.
    pub next_page_token: String,
}

/// The items of all pages, each fetched by the token of the one before.
pub(crate) fn all_pages<T, F>(fetch: impl Fn(String) -> F + Send + 'static) -> BoxStream<'static, Result<T, Error>>
where
    T: Send + 'static,
    F: Future<Output = Result<Page<T>, Error>> + Send + 'static,
{
    let pages = stream::try_unfold(Some(String::new()), move |token| {
        let fetching = token.map(&fetch);
        async move {
            let Some(fetching) = fetching else { return Ok::<_, Error>(None) };
            let page = fetching.await?;
            let next = Some(page.next_page_token).filter(|token| !token.is_empty());
            Ok(Some((stream::iter(page.items.into_iter().map(Ok)), next)))
        }
    });
    pages.try_flatten().boxed()
}
