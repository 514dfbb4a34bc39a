//! What is written to a connection is gathered, and sent when all tasks that
//! could add to it have had their turn.
//!
//! HTTP/2 here carries many short answers, and the library makes a system call
//! for each message and one more for its trailers: more than the answers
//! themselves cost. So flushing only asks for a turn after all tasks that are
//! ready now (Tokio's `yield_now`: when the worker has nothing else to do, after
//! some dozens of polls at the latest), and what has come together by then goes
//! out at once. Whoever then reads, flushes or shuts down sends it: a connection
//! that has flushed and is neither polled again nor shut down would keep it.

use std::{
    io,
    pin::{Pin, pin},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, Wake, Waker, ready},
};

use bytes::{Buf as _, BytesMut};
use parking_lot::Mutex;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    task::yield_now,
};

/// Bytes gathered at most: what comes beyond waits until these are sent.
const MOST: usize = 64 << 10;

/// Set aside at the first write; given back when all is sent, so that silent
/// connections have nothing.
const FIRST: usize = 4 << 10;

/// A connection that gathers what is written.
pub(super) struct Gathering<S> {
    inner: S,
    unsent: BytesMut,
    turn: Option<Arc<Turn>>,
}

/// A turn that was asked for.
#[derive(Default)]
struct Turn {
    come: AtomicBool,
    task: Mutex<Option<Waker>>,
}

impl Wake for Turn {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.come.store(true, Ordering::Release);
        let task = self.task.lock().take();
        if let Some(task) = task {
            task.wake();
        }
    }
}

impl Turn {
    /// Asks for a turn of the task that is being polled.
    fn ask(cx: &Context<'_>) -> Arc<Self> {
        let turn = Arc::<Self>::default();
        turn.is_of(cx);
        let waker = Waker::from(turn.clone());
        // The first poll only leaves the waker behind.
        if pin!(yield_now())
            .poll(&mut Context::from_waker(&waker))
            .is_ready()
        {
            turn.come.store(true, Ordering::Release);
        }
        turn
    }

    fn is_of(&self, cx: &Context<'_>) {
        let mut task = self.task.lock();
        match &mut *task {
            Some(task) => task.clone_from(cx.waker()),
            None => *task = Some(cx.waker().clone()),
        }
    }

    /// Whether it has come. If not, the task being polled is woken when it does.
    fn has_come_to(&self, cx: &Context<'_>) -> bool {
        if self.come.load(Ordering::Acquire) {
            return true;
        }
        self.is_of(cx);
        // It may have come in between, and found the waker of an earlier poll.
        self.come.load(Ordering::Acquire)
    }
}

impl<S> Gathering<S> {
    pub(super) fn new(inner: S) -> Self {
        Self {
            inner,
            unsent: BytesMut::new(),
            turn: None,
        }
    }
}

impl<S: AsyncWrite + Unpin> Gathering<S> {
    fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.unsent.has_remaining() {
            match ready!(Pin::new(&mut self.inner).poll_write(cx, self.unsent.chunk()))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                sent => self.unsent.advance(sent),
            }
        }
        self.unsent = BytesMut::new();
        Poll::Ready(Ok(()))
    }

    /// Sends what is there if its turn has come, and tells whether it has.
    fn poll_turn(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<bool>> {
        if let Some(turn) = &self.turn
            && !turn.has_come_to(cx)
        {
            return Poll::Ready(Ok(false));
        }
        ready!(self.poll_send(cx))?;
        self.turn = None;
        Poll::Ready(Ok(true))
    }

    /// How many more bytes are taken now.
    fn poll_room(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        if self.unsent.len() >= MOST {
            ready!(self.poll_send(cx))?;
        }
        if self.unsent.capacity() == 0 {
            self.unsent.reserve(FIRST);
        }
        Poll::Ready(Ok(MOST.saturating_sub(self.unsent.len())))
    }

    fn take(&mut self, bytes: &[u8], room: usize) -> usize {
        let taken = bytes.get(..room).unwrap_or(bytes);
        self.unsent.extend_from_slice(taken);
        taken.len()
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for Gathering<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        // Who has flushed may go on to wait for an answer.
        if self.turn.is_some()
            && let Poll::Ready(Err(error)) = self.poll_turn(cx)
        {
            return Poll::Ready(Err(error));
        }
        Pin::new(&mut self.inner).poll_read(cx, buf)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Gathering<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let room = ready!(self.poll_room(cx))?;
        Poll::Ready(Ok(self.take(buf, room)))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let room = ready!(self.poll_room(cx))?;
        let mut taken = 0_usize;
        for buf in bufs {
            let left = room.saturating_sub(taken);
            taken = taken.saturating_add(self.take(buf, left));
        }
        Poll::Ready(Ok(taken))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.turn.is_none() {
            if !self.unsent.is_empty() {
                self.turn = Some(Turn::ask(cx));
                return Poll::Ready(Ok(()));
            }
        } else if !ready!(self.poll_turn(cx))? {
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_send(cx))?;
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    /// Takes at most so many bytes at a time, and notes each call.
    #[derive(Default)]
    struct Wire {
        sent: Vec<Vec<u8>>,
        at_a_time: Option<usize>,
        full: bool,
        ended: bool,
    }

    impl Wire {
        fn bytes(&self) -> Vec<u8> {
            self.sent.concat()
        }
    }

    impl AsyncWrite for Wire {
        fn poll_write(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
            buf: &[u8],
        ) -> Poll<io::Result<usize>> {
            if self.full {
                return Poll::Pending;
            }
            let taken = buf.len().min(self.at_a_time.unwrap_or(usize::MAX));
            self.sent.push(buf.get(..taken).unwrap().to_vec());
            Poll::Ready(Ok(taken))
        }
        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
        fn poll_shutdown(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            self.ended = true;
            Poll::Ready(Ok(()))
        }
    }

    #[tokio::test]
    async fn what_comes_together_goes_out_at_once_after_the_others_had_their_turn() {
        let mut connection = Gathering::new(Wire::default());
        for part in ["one ", "two ", "three"] {
            connection.write_all(part.as_bytes()).await.unwrap();
            connection.flush().await.unwrap();
        }
        assert_eq!(connection.inner.sent.len(), 0);
        yield_now().await;
        connection.flush().await.unwrap();
        assert_eq!(connection.inner.sent, [b"one two three".to_vec()]);
        // And again, from the beginning.
        connection.write_all(b"four").await.unwrap();
        connection.flush().await.unwrap();
        assert_eq!(connection.inner.sent.len(), 1);
        yield_now().await;
        connection.flush().await.unwrap();
        assert_eq!(connection.inner.bytes(), b"one two threefour");
        assert_eq!(connection.unsent.capacity(), 0);
    }

    #[tokio::test]
    async fn the_task_is_woken_when_its_turn_has_come() {
        let task = tokio::spawn(async {
            let mut connection = Gathering::new(Wire::default());
            connection.write_all(b"answer").await.unwrap();
            // As a connection does: flushes whenever it is polled, and ends here
            // only when it was polled again.
            std::future::poll_fn(|cx| {
                let flushed = Pin::new(&mut connection).poll_flush(cx);
                assert!(flushed.is_ready());
                if connection.inner.sent.is_empty() {
                    Poll::Pending
                } else {
                    Poll::Ready(())
                }
            })
            .await;
            connection.inner.bytes()
        });
        assert_eq!(task.await.unwrap(), b"answer");
    }

    impl AsyncRead for Wire {
        fn poll_read(
            self: Pin<&mut Self>,
            _: &mut Context<'_>,
            buf: &mut ReadBuf<'_>,
        ) -> Poll<io::Result<()>> {
            if self.sent.is_empty() {
                return Poll::Pending;
            }
            buf.put_slice(b"!");
            Poll::Ready(Ok(()))
        }
    }

    #[tokio::test]
    async fn who_waits_for_an_answer_has_asked_first() {
        let mut connection = Gathering::new(Wire::default());
        connection.write_all(b"question").await.unwrap();
        connection.flush().await.unwrap();
        let mut answer = [0];
        connection.read_exact(&mut answer).await.unwrap();
        assert_eq!(connection.inner.sent, [b"question".to_vec()]);
    }

    #[tokio::test]
    async fn nothing_is_lost_at_the_end() {
        let wire = Wire {
            at_a_time: Some(3),
            ..Wire::default()
        };
        let mut connection = Gathering::new(wire);
        connection.write_all(b"good bye").await.unwrap();
        connection.flush().await.unwrap();
        connection.shutdown().await.unwrap();
        assert_eq!(connection.inner.bytes(), b"good bye");
        assert!(connection.inner.ended);
    }

    #[tokio::test]
    async fn no_more_is_gathered_than_allowed_and_the_order_stays() {
        let all: Vec<u8> = (0..3 * MOST).map(|n| (n % 251) as u8).collect();
        let mut connection = Gathering::new(Wire::default());
        for part in all.chunks(1000) {
            let (head, tail) = part.split_at(part.len() / 2);
            let parts = [io::IoSlice::new(head), io::IoSlice::new(tail)];
            let taken = connection.write_vectored(&parts).await.unwrap();
            connection
                .write_all(part.get(taken..).unwrap())
                .await
                .unwrap();
            assert!(connection.unsent.len() <= MOST);
        }
        connection.shutdown().await.unwrap();
        assert_eq!(connection.inner.bytes(), all);
    }

    #[tokio::test]
    async fn who_does_not_read_holds_up_the_writer() {
        let wire = Wire {
            full: true,
            ..Wire::default()
        };
        let mut connection = Gathering::new(wire);
        let mut taken = 0;
        let held_up = std::future::poll_fn(|cx| {
            loop {
                match Pin::new(&mut connection).poll_write(cx, &[0; 1000]) {
                    Poll::Ready(more) => taken += more.unwrap(),
                    Poll::Pending => return Poll::Ready(()),
                }
            }
        });
        held_up.await;
        assert_eq!(taken, MOST);
        let flushing = |connection: &mut Gathering<Wire>, cx: &mut Context<'_>| {
            Poll::Ready(Pin::new(connection).poll_flush(cx).is_pending())
        };
        std::future::poll_fn(|cx| flushing(&mut connection, cx)).await;
        yield_now().await;
        assert!(std::future::poll_fn(|cx| flushing(&mut connection, cx)).await);
        connection.inner.full = false;
        connection.flush().await.unwrap();
        assert_eq!(connection.inner.bytes().len(), MOST);
    }
}
