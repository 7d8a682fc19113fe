//! Streams around another one, `io`, that only add something: what passes goes straight through.

/// Implements `AsyncRead` by the stream's `io`, which is an `I` unless its type is told.
#[macro_export]
macro_rules! read_through {
    ($stream:ident) => {
        $crate::read_through!($stream, I);
    };
    ($stream:ident, $io:ty) => {
        impl<I> tokio::io::AsyncRead for $stream<I>
        where
            $io: tokio::io::AsyncRead + Unpin,
            Self: Unpin,
        {
            fn poll_read(
                mut self: std::pin::Pin<&mut Self>,
                cx: &mut std::task::Context<'_>,
                buf: &mut tokio::io::ReadBuf<'_>,
            ) -> std::task::Poll<std::io::Result<()>> {
                std::pin::Pin::new(&mut self.io).poll_read(cx, buf)
            }
        }
    };
}

/// Implements `AsyncWrite` by the stream's `io`, which is an `I` unless its type is told.
#[macro_export]
macro_rules! write_through {
    ($stream:ident) => {
        $crate::write_through!($stream, I);
    };
    ($stream:ident, $io:ty) => {
        impl<I> tokio::io::AsyncWrite for $stream<I>
        where
            $io: tokio::io::AsyncWrite + Unpin,
            Self: Unpin,
        {
            fn poll_write(
                mut self: std::pin::Pin<&mut Self>,
                cx: &mut std::task::Context<'_>,
                buf: &[u8],
            ) -> std::task::Poll<std::io::Result<usize>> {
                std::pin::Pin::new(&mut self.io).poll_write(cx, buf)
            }

            fn poll_write_vectored(
                mut self: std::pin::Pin<&mut Self>,
                cx: &mut std::task::Context<'_>,
                bufs: &[std::io::IoSlice<'_>],
            ) -> std::task::Poll<std::io::Result<usize>> {
                std::pin::Pin::new(&mut self.io).poll_write_vectored(cx, bufs)
            }

            fn is_write_vectored(&self) -> bool {
                tokio::io::AsyncWrite::is_write_vectored(&self.io)
            }

            fn poll_flush(
                mut self: std::pin::Pin<&mut Self>,
                cx: &mut std::task::Context<'_>,
            ) -> std::task::Poll<std::io::Result<()>> {
                std::pin::Pin::new(&mut self.io).poll_flush(cx)
            }

            fn poll_shutdown(
                mut self: std::pin::Pin<&mut Self>,
                cx: &mut std::task::Context<'_>,
            ) -> std::task::Poll<std::io::Result<()>> {
                std::pin::Pin::new(&mut self.io).poll_shutdown(cx)
            }
        }
    };
}
