//! [`Watched`]: a stream that tells how a connection gets on.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::bounds::{ConnectionBounds, Lingers};
use crate::progress::{Phase, Progress};

pub(crate) struct Watched<S> {
    stream: S,
    progress: Arc<Progress>,
    lingers: Lingers,
    /// How many more bytes are read and thrown away.
    discardable: usize,
}

impl<S> Watched<S> {
    pub(crate) fn new(stream: S, progress: Arc<Progress>, bounds: &ConnectionBounds) -> Self {
        Self { stream, progress, lingers: bounds.lingers, discardable: bounds.discarded }
    }
}

impl<S: AsyncRead + Unpin> Watched<S> {
    /// Reads on until the other side hangs up.
    fn poll_discard(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut scratch = [0; 4096];
        while self.discardable > 0 {
            let mut buffer = ReadBuf::new(&mut scratch);
            ready!(Pin::new(&mut self.stream).poll_read(context, &mut buffer))?;
            if buffer.filled().is_empty() {
                break;
            }
            self.discardable = self.discardable.saturating_sub(buffer.filled().len());
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Watched<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(context, buffer))?;
        if buffer.filled().len() > before && self.progress.phase() == Phase::Idle {
            self.progress.enter(Phase::Head);
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Watched<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffers: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, buffers)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    /// hyper flushes when it has written all that it has. With an answer ready, that is the answer's end.
    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(Pin::new(&mut self.stream).poll_flush(context))?;
        if self.progress.phase() == Phase::Answer {
            self.progress.enter(Phase::Idle);
        }
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(Pin::new(&mut self.stream).poll_shutdown(context))?;
        let phase = self.progress.phase();
        if phase == Phase::Closing {
            return self.poll_discard(context);
        }
        if self.lingers == Lingers::WithinRequests && phase != Phase::Head {
            return Poll::Ready(Ok(()));
        }
        self.progress.enter(Phase::Closing);
        self.poll_discard(context)
    }
}
