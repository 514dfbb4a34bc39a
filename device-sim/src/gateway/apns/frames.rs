//! A filter on the bytes the emulator sends, for what the `h2` server can't say by itself: one
//! stream at first and more after the first authenticated answer, and a GOAWAY that names the last
//! processed stream, a code and Apple's reason. Frame layouts: RFC 9113, section 4.1, 6.5 and 6.8.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::{Buf, BufMut, BytesMut};
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

const FRAME_HEADER: usize = 9;
const SETTINGS: u8 = 0x4;
const GOAWAY: u8 = 0x7;
const ACK: u8 = 0x1;
const MAX_CONCURRENT_STREAMS: u16 = 0x3;
const INITIAL_WINDOW_SIZE: u16 = 0x4;
/// Bytes that may wait for the socket before the sender is held back.
const WAITING_LIMIT: usize = 256 * 1024;

/// Streams allowed until the first authenticated answer, and after. "Token-based: APNs allows only
/// one stream until you send a push request with a valid authentication token." The figure
/// for later is what Apple's servers have been seen to announce.
pub(super) const STREAMS_BEFORE: u32 = 1;
pub(super) const STREAMS_AFTER: u32 = 1000;

/// What the next GOAWAY shall say.
#[derive(Clone, Copy, Debug)]
pub(super) struct Goodbye {
    pub(super) last_stream: u32,
    pub(super) code: u32,
}

/// Shared between a connection and its filter.
pub(super) type GoodbyeSlot = Arc<Mutex<Option<Goodbye>>>;

/// The stream below `h2`.
pub(super) struct Frames<T> {
    inner: T,
    goodbye: GoodbyeSlot,
    settings_sent: bool,
    /// Received from `h2`, not yet a whole frame.
    incomplete: BytesMut,
    /// On the way to the socket.
    waiting: BytesMut,
}

impl<T> Frames<T> {
    pub(super) fn new(inner: T, goodbye: GoodbyeSlot) -> Self {
        Self {
            inner,
            goodbye,
            settings_sent: false,
            incomplete: BytesMut::new(),
            waiting: BytesMut::new(),
        }
    }

    /// Moves whole frames from `incomplete` to `waiting`, changed where need be.
    fn filter(&mut self) {
        loop {
            let mut head = self.incomplete.as_ref();
            if head.len() < FRAME_HEADER {
                return;
            }
            let Ok(length) = usize::try_from(head.get_uint(3)) else {
                return;
            };
            let kind = head.get_u8();
            let flags = head.get_u8();
            if head.len() < 4 + length {
                return;
            }
            let mut frame = self.incomplete.split_to(FRAME_HEADER + length);
            match kind {
                SETTINGS if flags & ACK == 0 => {
                    let entries = frame.split_off(FRAME_HEADER);
                    self.waiting.put(frame);
                    self.settings(entries);
                }
                GOAWAY => self.goaway(frame),
                _ => self.waiting.put(frame),
            }
        }
    }

    /// The first SETTINGS announce one stream. Later ones are sent by `h2` as a new window size,
    /// which is the only setting it can change; they go out as the new number of streams.
    fn settings(&mut self, mut entries: BytesMut) {
        let first = !std::mem::replace(&mut self.settings_sent, true);
        while entries.len() >= 6 {
            let (id, value) = (entries.get_u16(), entries.get_u32());
            let (id, value) = match id {
                MAX_CONCURRENT_STREAMS if first => (id, STREAMS_BEFORE),
                INITIAL_WINDOW_SIZE if !first => (MAX_CONCURRENT_STREAMS, STREAMS_AFTER),
                _ => (id, value),
            };
            self.waiting.put_u16(id);
            self.waiting.put_u32(value);
        }
    }

    fn goaway(&mut self, frame: BytesMut) {
        let Some(goodbye) = *self.goodbye.lock() else {
            self.waiting.put(frame);
            return;
        };
        // Apple: the connection is ended with a GOAWAY "whose payload includes JSON data with a
        // reason key".
        let reason = br#"{"reason":"Shutdown"}"#;
        self.waiting.put_uint(8 + reason.len() as u64, 3);
        self.waiting.put_u8(GOAWAY);
        self.waiting.put_u8(0);
        self.waiting.put_u32(0);
        self.waiting.put_u32(goodbye.last_stream);
        self.waiting.put_u32(goodbye.code);
        self.waiting.put_slice(reason);
    }
}

impl<T: AsyncWrite + Unpin> Frames<T> {
    fn poll_waiting(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.waiting.is_empty() {
            let written = ready!(Pin::new(&mut self.inner).poll_write(cx, &self.waiting))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.waiting.advance(written);
        }
        Poll::Ready(Ok(()))
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Frames<T> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        if this.waiting.len() >= WAITING_LIMIT {
            ready!(this.poll_waiting(cx))?;
        }
        this.incomplete.put_slice(bytes);
        this.filter();
        // What the socket won't take now goes with the flush.
        match this.poll_waiting(cx) {
            Poll::Ready(Err(failed)) => Poll::Ready(Err(failed)),
            Poll::Ready(Ok(())) | Poll::Pending => Poll::Ready(Ok(bytes.len())),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_waiting(cx))?;
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_waiting(cx))?;
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Frames<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_read(cx, buffer)
    }
}
