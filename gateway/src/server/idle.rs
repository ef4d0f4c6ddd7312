//! When a connection is of no use any more: no request is under way, and nothing was written for a while.
//!
//! That one rule covers a client that never sends anything, one that sends a head byte by byte, one that does not read
//! its answers, and a kept connection that nobody uses. What is read does not count, or a slow sender could stay for ever.

use std::{
    cell::RefCell,
    convert::Infallible,
    io,
    net::IpAddr,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use axum::body::Body;
use hyper::{Request, Response, body::Incoming, service::Service};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};

use crate::{
    finish::Noted,
    routes::{Answer, App},
};

/// What is known of a connection's use.
#[derive(Debug, Default)]
pub(super) struct Activity {
    under_way: AtomicUsize,
    /// How often something was written or answered; a counter costs less than a look at the clock.
    uses: AtomicUsize,
}

impl Activity {
    /// Ends once the connection has been of no use for `limit`, at most a quarter later.
    pub(super) async fn ends(&self, limit: Duration) {
        let mut ticks = tokio::time::interval(limit / 4);
        let (mut seen, mut quiet) = (self.uses.load(Ordering::Relaxed), 0);
        ticks.tick().await;
        while quiet < 4 {
            ticks.tick().await;
            let uses = self.uses.load(Ordering::Relaxed);
            let is_used = uses != seen || self.under_way.load(Ordering::Relaxed) > 0;
            quiet = if is_used { 0 } else { quiet + 1 };
            seen = uses;
        }
    }

    fn used(&self) {
        self.uses.fetch_add(1, Ordering::Relaxed);
    }
}

/// Up to so many bytes of an answer, its head and its body, are written as one piece: to copy them costs less than the system call
/// that takes a list (docs/measurements.md).
const PIECE: usize = 4096;

thread_local! {
    /// Where pieces are put together: for a thread and not a connection, of which there are many that are idle.
    static PIECES: RefCell<Vec<u8>> = RefCell::new(Vec::with_capacity(PIECE));
}

/// A stream whose writes are noticed.
#[derive(Debug)]
pub(super) struct Watched {
    pub(super) stream: TcpStream,
    pub(super) activity: Arc<Activity>,
}

impl Watched {
    fn noticed(&self, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if let Poll::Ready(Ok(_)) = written {
            self.activity.used();
        }
        written
    }
}

impl AsyncRead for Watched {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Watched {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.noticed(written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let stream = Pin::new(&mut self.stream);
        let written = match bytes {
            [alone] => stream.poll_write(context, alone),
            _ if bytes.iter().map(|some| some.len()).sum::<usize>() > PIECE => {
                stream.poll_write_vectored(context, bytes)
            }
            _ => PIECES.with_borrow_mut(|piece| {
                piece.clear();
                for some in bytes {
                    piece.extend_from_slice(some);
                }
                stream.poll_write(context, piece)
            }),
        };
        self.noticed(written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

/// What is served; its requests are counted.
#[derive(Clone, Debug)]
pub(super) struct Counted {
    pub(super) app: App,
    pub(super) activity: Arc<Activity>,
    pub(super) peer: IpAddr,
}

struct UnderWay(Arc<Activity>);

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.under_way.fetch_sub(1, Ordering::Relaxed);
        // From here on the connection is idle.
        self.0.used();
    }
}

impl Service<Request<Incoming>> for Counted {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Counting;

    fn call(&self, mut request: Request<Incoming>) -> Counting {
        request.extensions_mut().insert(Noted::from_peer(self.peer));
        self.activity.under_way.fetch_add(1, Ordering::Relaxed);
        let under_way = UnderWay(self.activity.clone());
        Counting { answer: self.app.answer(request.map(Body::new)), _under_way: under_way }
    }
}

pin_project_lite::pin_project! {
    /// An answer to come; its request is under way until then.
    pub(super) struct Counting {
        #[pin]
        answer: Answer,
        _under_way: UnderWay,
    }
}

impl Future for Counting {
    type Output = Result<Response<Body>, Infallible>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        self.project().answer.poll(context)
    }
}
