//! A request body that can be sent more than once: what one attempt reads is kept, up to a limit,
//! for the next.

use std::{
    collections::VecDeque,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Frame, SizeHint};
use parking_lot::Mutex;

use crate::http::{Body, body::BodyError};

/// Bodies up to this size are kept for another attempt.
pub const MAX_KEPT: usize = 64 * 1024;

/// A body with a memory.
pub struct Replay(Kind);

/// Tells, while an attempt sends a body, whether it could be sent again.
pub struct Again(Repeat);

enum Repeat {
    Fixed(bool),
    WhileKept(Arc<Mutex<Kept>>),
}

enum Kind {
    /// Nothing to keep.
    Empty,
    /// Too large, or nothing would repeat it: usable once.
    Once(Option<Body>),
    Kept(Arc<Mutex<Kept>>),
}

struct Kept {
    /// What attempts have read so far.
    frames: Vec<Bytes>,
    trailers: Option<HeaderMap>,
    rest: Option<Body>,
    size: usize,
    limit: usize,
    /// Only the last attempt reads on; those before it have failed.
    attempt: u64,
}

impl Replay {
    /// `limit` is the most bytes kept; 0: the body is usable once.
    pub fn new(body: Body, limit: usize) -> Self {
        if http_body::Body::is_end_stream(&body) {
            return Self(Kind::Empty);
        }
        let least = http_body::Body::size_hint(&body).lower();
        if least > limit as u64 || limit == 0 {
            return Self(Kind::Once(Some(body)));
        }
        Self(Kind::Kept(Arc::new(Mutex::new(Kept {
            frames: Vec::new(),
            trailers: None,
            rest: Some(body),
            size: 0,
            limit,
            attempt: 0,
        }))))
    }

    /// Whether [`Replay::body`] would give the whole body.
    pub fn is_available(&self) -> bool {
        match &self.0 {
            Kind::Empty => true,
            Kind::Once(body) => body.is_some(),
            Kind::Kept(kept) => kept.lock().is_whole(),
        }
    }

    /// How much of it attempts have read, as far as it is kept.
    pub fn kept(&self) -> usize {
        match &self.0 {
            Kind::Empty | Kind::Once(_) => 0,
            Kind::Kept(kept) => kept.lock().size,
        }
    }

    /// The body, for one attempt; attempts before it read nothing more.
    pub fn body(&mut self) -> Option<Body> {
        if !self.is_available() {
            return None;
        }
        match &mut self.0 {
            Kind::Empty => Some(Body::empty()),
            Kind::Once(body) => body.take(),
            Kind::Kept(kept) => {
                let mut state = kept.lock();
                state.attempt += 1;
                Some(Body::new(Attempt {
                    attempt: state.attempt,
                    replayed: state.frames.iter().cloned().collect(),
                    ended: false,
                    kept: kept.clone(),
                }))
            }
        }
    }

    /// [`Replay::is_available`], for those who cannot hold on to the body itself.
    pub fn again(&self) -> Again {
        Again(match &self.0 {
            Kind::Kept(kept) => Repeat::WhileKept(kept.clone()),
            Kind::Empty | Kind::Once(_) => Repeat::Fixed(self.is_available()),
        })
    }

    /// Gives back a body that was not touched.
    pub fn give_back(&mut self, body: Body) {
        if let Kind::Once(slot) = &mut self.0 {
            *slot = Some(body);
        }
    }
}

impl Again {
    /// Whether it could now.
    pub fn is_possible(&self) -> bool {
        match &self.0 {
            Repeat::Fixed(possible) => *possible,
            Repeat::WhileKept(kept) => kept.lock().is_whole(),
        }
    }
}

impl Kept {
    fn is_whole(&self) -> bool {
        self.size <= self.limit
    }
}

/// One attempt's view of a kept body.
struct Attempt {
    attempt: u64,
    replayed: VecDeque<Bytes>,
    ended: bool,
    kept: Arc<Mutex<Kept>>,
}

impl http_body::Body for Attempt {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = self.get_mut();
        if let Some(bytes) = this.replayed.pop_front() {
            return Poll::Ready(Some(Ok(Frame::data(bytes))));
        }
        if this.ended {
            return Poll::Ready(None);
        }
        let mut kept = this.kept.lock();
        if kept.attempt != this.attempt {
            return Poll::Ready(Some(Err("superseded by another attempt".into())));
        }
        let Some(rest) = kept.rest.as_mut() else {
            this.ended = true;
            let trailers = kept.trailers.clone().map(|t| Ok(Frame::trailers(t)));
            return Poll::Ready(trailers);
        };
        let polled = Pin::new(rest).poll_frame(cx);
        match &polled {
            Poll::Ready(Some(Ok(frame))) => {
                if let Some(data) = frame.data_ref() {
                    kept.size = kept.size.saturating_add(data.len());
                    match kept.size <= kept.limit {
                        true => kept.frames.push(data.clone()),
                        false => kept.frames = Vec::new(),
                    }
                } else if let Some(trailers) = frame.trailers_ref() {
                    kept.trailers = Some(trailers.clone());
                    kept.rest = None;
                    this.ended = true;
                }
            }
            Poll::Ready(None) => {
                kept.rest = None;
                this.ended = true;
            }
            Poll::Ready(Some(Err(_))) => kept.size = usize::MAX,
            Poll::Pending => {}
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        if !self.replayed.is_empty() {
            return false;
        }
        let kept = self.kept.lock();
        let rest = kept.rest.as_ref();
        self.ended || (kept.trailers.is_none() && rest.is_none_or(http_body::Body::is_end_stream))
    }

    fn size_hint(&self) -> SizeHint {
        let replayed: u64 = self.replayed.iter().map(|b| b.len() as u64).sum();
        let kept = self.kept.lock();
        let rest = match &kept.rest {
            Some(rest) if !self.ended => rest.size_hint(),
            _ => SizeHint::with_exact(0),
        };
        let mut hint = SizeHint::new();
        hint.set_lower(rest.lower().saturating_add(replayed));
        if let Some(upper) = rest.upper() {
            hint.set_upper(upper.saturating_add(replayed));
        }
        hint
    }
}

#[cfg(test)]
mod tests {
    use futures::StreamExt;
    use http_body_util::{BodyExt, StreamBody};

    use super::*;

    fn chunks(chunks: &[&'static str]) -> Body {
        let frames: Vec<_> = chunks
            .iter()
            .map(|chunk| Ok::<_, BodyError>(Frame::data(Bytes::from_static(chunk.as_bytes()))))
            .collect();
        Body::new(StreamBody::new(futures::stream::iter(frames)))
    }

    async fn read(body: Body) -> Bytes {
        body.collect().await.unwrap().to_bytes()
    }

    #[tokio::test]
    async fn a_body_half_read_is_whole_again() {
        let mut replay = Replay::new(chunks(&["one", "two", "three"]), 1024);
        let mut first = replay.body().unwrap().into_data_stream();
        assert_eq!(first.next().await.unwrap().unwrap(), "one");
        assert!(replay.is_available());
        let second = replay.body().unwrap();
        assert!(first.next().await.unwrap().is_err(), "superseded");
        assert_eq!(read(second).await, "onetwothree");
        assert_eq!(read(replay.body().unwrap()).await, "onetwothree");
    }

    #[tokio::test]
    async fn a_body_beyond_the_limit_is_sent_once() {
        let mut replay = Replay::new(chunks(&["12345", "67890"]), 8);
        assert_eq!(read(replay.body().unwrap()).await, "1234567890");
        assert!(!replay.is_available());
        assert!(replay.body().is_none());

        let mut large = Replay::new(Body::full(vec![0; 9]), 8);
        assert!(large.body().is_some());
        assert!(large.body().is_none());
    }

    #[test]
    fn an_untouched_body_can_be_given_back() {
        let mut replay = Replay::new(Body::full("x"), 0);
        let body = replay.body().unwrap();
        assert!(!replay.is_available());
        replay.give_back(body);
        assert!(replay.is_available());
    }
}
