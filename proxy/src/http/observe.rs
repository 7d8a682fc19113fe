//! Watching a body on its way: one wrapper for everybody who counts, times or gives back.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use http_body::{Body as _, Frame, SizeHint};

use super::{Body, body::BodyError};

/// What passed.
pub enum Seen<'a> {
    /// A frame.
    Frame {
        /// It.
        frame: &'a Frame<Bytes>,
        /// Whether it is known to be the last.
        last: bool,
    },
    /// The end: nothing follows.
    End,
    /// The body broke off, and why.
    Failed(&'a BodyError),
}

impl Seen<'_> {
    /// Whether nothing more will pass.
    pub fn is_over(&self) -> bool {
        match self {
            Self::Frame { last, .. } => *last,
            Self::End | Self::Failed(_) => true,
        }
    }
}

/// Somebody who watches a body. Dropped with it, which may be before its end.
pub trait Observer: Send + Unpin + 'static {
    /// Something passed.
    fn saw(&mut self, seen: Seen<'_>);

    /// Asked where the body has nothing for now; `true` if it is worth asking the body once more.
    fn bring(&mut self, _cx: &mut Context<'_>) -> bool {
        false
    }

    /// Ready when the body must break off here.
    fn poll_cut(&mut self, _cx: &mut Context<'_>) -> Poll<BodyError> {
        Poll::Pending
    }
}

/// The body with somebody watching. A body that is empty is told of at once and stays as it is.
pub fn observe<O: Observer>(body: Body, mut observer: O) -> Body {
    if body.is_end_stream() {
        observer.saw(Seen::End);
        return body;
    }
    Body::new(Observed { body, observer })
}

/// The body with something that is dropped at its end, or with it.
pub fn hold<G: Send + Unpin + 'static>(body: Body, held: G) -> Body {
    observe(body, Held(Some(held)))
}

struct Held<G>(Option<G>);

impl<G: Send + Unpin + 'static> Observer for Held<G> {
    fn saw(&mut self, seen: Seen<'_>) {
        if seen.is_over() {
            self.0 = None;
        }
    }
}

struct Observed<O> {
    body: Body,
    observer: O,
}

impl<O: Observer> http_body::Body for Observed<O> {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = &mut *self;
        if let Poll::Ready(error) = this.observer.poll_cut(cx) {
            this.observer.saw(Seen::Failed(&error));
            return Poll::Ready(Some(Err(error)));
        }
        let mut polled = Pin::new(&mut this.body).poll_frame(cx);
        if polled.is_pending() && this.observer.bring(cx) {
            polled = Pin::new(&mut this.body).poll_frame(cx);
        }
        match &polled {
            Poll::Pending => {}
            Poll::Ready(Some(Ok(frame))) => {
                let last = frame.is_trailers() || this.body.is_end_stream();
                this.observer.saw(Seen::Frame { frame, last });
            }
            Poll::Ready(None) => this.observer.saw(Seen::End),
            Poll::Ready(Some(Err(error))) => this.observer.saw(Seen::Failed(error)),
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;

    use super::*;

    struct Cut;

    impl Observer for Cut {
        fn saw(&mut self, _: Seen<'_>) {}

        fn poll_cut(&mut self, _: &mut Context<'_>) -> Poll<BodyError> {
            Poll::Ready("enough".into())
        }
    }

    #[tokio::test]
    async fn a_body_that_is_cut_breaks_off() {
        let body = observe(Body::full("x"), Cut);
        assert_eq!(body.collect().await.unwrap_err().to_string(), "enough");
    }
}
