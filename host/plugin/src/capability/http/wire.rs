//! What is counted while an exchange lasts: the bytes of the stream, and those of the bodies.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use eigenshift_env::Stream;
use http_body_util::combinators::UnsyncBoxBody;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use wasmtime_wasi_http::Error;

/// What a stream may carry beside twice a body: head, framing of chunks, TLS.
const OVERHEAD: u64 = 256 * 1024;

/// Why an exchange was cut off, for whoever reads or writes its bodies: the library only knows that it was.
#[derive(Debug, Default)]
pub(super) struct Cut(AtomicU8);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Why {
    Late = 1,
    RequestTooLarge = 2,
    ResponseTooLarge = 3,
}

impl Cut {
    /// The first reason stays.
    pub(super) fn set(&self, why: Why) {
        let _ = self.0.compare_exchange(0, why as u8, Ordering::AcqRel, Ordering::Acquire);
    }

    pub(super) fn error(&self) -> Option<Error> {
        match self.0.load(Ordering::Acquire) {
            1 => Some(Error::HttpResponseTimeout),
            2 => Some(Error::HttpRequestBodySize(None)),
            3 => Some(Error::HttpResponseBodySize(None)),
            _ => None,
        }
    }
}

/// A stream that ends when it carried too much in one direction.
pub(super) struct Metered {
    stream: Box<dyn Stream>,
    may_read: u64,
    may_write: u64,
    cut: Arc<Cut>,
}

impl Metered {
    pub(super) fn new(stream: Box<dyn Stream>, request_bytes: u64, response_bytes: u64, cut: Arc<Cut>) -> Self {
        let most = |body: u64| body.saturating_mul(2).saturating_add(OVERHEAD);
        Self { stream, may_read: most(response_bytes), may_write: most(request_bytes), cut }
    }

    fn too_much(&self, why: Why) -> io::Error {
        self.cut.set(why);
        io::Error::new(io::ErrorKind::QuotaExceeded, "the exchange carries more than it may")
    }
}

impl AsyncRead for Metered {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(cx, buffer))?;
        let read = (buffer.filled().len() - before) as u64;
        match self.may_read.checked_sub(read) {
            Some(left) => {
                self.may_read = left;
                Poll::Ready(Ok(()))
            }
            None => Poll::Ready(Err(self.too_much(Why::ResponseTooLarge))),
        }
    }
}

impl AsyncWrite for Metered {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if bytes.len() as u64 > self.may_write {
            return Poll::Ready(Err(self.too_much(Why::RequestTooLarge)));
        }
        let written = ready!(Pin::new(&mut self.stream).poll_write(cx, bytes))?;
        self.may_write = self.may_write.saturating_sub(written as u64);
        Poll::Ready(Ok(written))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// Lets data through as far as the bound goes; trailers end a body.
fn bounded(frame: Frame<Bytes>, left: &mut u64, over: impl FnOnce() -> Error) -> Option<Result<Frame<Bytes>, Error>> {
    let data = frame.into_data().ok()?;
    Some(match left.checked_sub(data.len() as u64) {
        Some(rest) => {
            *left = rest;
            Ok(Frame::data(data))
        }
        None => Err(over()),
    })
}

/// A request's body on its way out. Trailers are not sent.
pub(super) struct Outbound {
    body: UnsyncBoxBody<Bytes, Error>,
    left: u64,
    cut: Arc<Cut>,
}

impl Outbound {
    pub(super) fn new(body: UnsyncBoxBody<Bytes, Error>, most: u64, cut: Arc<Cut>) -> Self {
        Self { body, left: most, cut }
    }
}

impl Body for Outbound {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let frame = match ready!(Pin::new(&mut self.body).poll_frame(cx)) {
            Some(Ok(frame)) => frame,
            ended => return Poll::Ready(ended),
        };
        let this = &mut *self;
        Poll::Ready(bounded(frame, &mut this.left, || {
            this.cut.set(Why::RequestTooLarge);
            Error::HttpRequestBodySize(None)
        }))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// A response's body on its way in. Trailers are not given on.
pub(super) struct Inbound {
    body: Incoming,
    left: u64,
    cut: Arc<Cut>,
}

impl Inbound {
    pub(super) fn new(body: Incoming, most: u64, cut: Arc<Cut>) -> Self {
        Self { body, left: most, cut }
    }
}

impl Body for Inbound {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let frame = match ready!(Pin::new(&mut self.body).poll_frame(cx)) {
            None => return Poll::Ready(None),
            Some(Ok(frame)) => frame,
            Some(Err(_)) => {
                let why = self.cut.error().unwrap_or(Error::HttpResponseIncomplete);
                return Poll::Ready(Some(Err(why)));
            }
        };
        let this = &mut *self;
        Poll::Ready(bounded(frame, &mut this.left, || {
            this.cut.set(Why::ResponseTooLarge);
            Error::HttpResponseBodySize(None)
        }))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
