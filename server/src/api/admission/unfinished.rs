//! Messages that have begun and not ended, of callers that are not proven: a
//! phone proves itself by a signature over its message, so until that has come
//! nobody knows who it is. Whoever likes can begin thousands and end none.
//!
//! Hence there are so many and no more, and when another comes, the one that
//! has been waited for longest is given up. Whoever wants to keep a phone out
//! must begin as many anew as there are places in the time that the phone's
//! message takes to come, again and again; holding them is worth nothing. A
//! message that is there already when it is first looked for, as nearly all
//! are, takes no place.

use std::{
    collections::BTreeMap,
    future::poll_fn,
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll},
};

use parking_lot::Mutex;
use tokio::sync::oneshot;

/// Those that are being waited for.
#[derive(Debug)]
pub(super) struct Unfinished {
    most: usize,
    waiting: Mutex<Waiting>,
}

#[derive(Debug, Default)]
struct Waiting {
    next: u64,
    /// By age. Dropping one gives it up.
    turns: BTreeMap<u64, oneshot::Sender<()>>,
}

/// One that is being waited for; ends when dropped.
pub(super) struct Turn {
    all: Arc<Unfinished>,
    number: u64,
    given_up: oneshot::Receiver<()>,
}

impl Unfinished {
    pub(super) fn new(most: usize) -> Arc<Self> {
        Arc::new(Self {
            most: most.max(1),
            waiting: Mutex::default(),
        })
    }

    /// Another one is waited for; the oldest makes room for it.
    pub(super) fn enter(self: &Arc<Self>) -> Turn {
        let (turn, given_up) = oneshot::channel();
        let mut waiting = self.waiting.lock();
        let number = waiting.next;
        waiting.next += 1;
        waiting.turns.insert(number, turn);
        let oldest = if waiting.turns.len() > self.most {
            waiting.turns.pop_first()
        } else {
            None
        };
        drop(waiting);
        // Wakes its task: not under the lock.
        drop(oldest);
        Turn {
            all: self.clone(),
            number,
            given_up,
        }
    }

    /// Waits for what is read; none when it was given up.
    pub(super) async fn read<T>(self: &Arc<Self>, read: impl Future<Output = T>) -> Option<T> {
        let mut read = pin!(read);
        let mut turn = None;
        poll_fn(|cx| match read.as_mut().poll(cx) {
            Poll::Ready(done) => Poll::Ready(Some(done)),
            Poll::Pending => {
                let turn = turn.get_or_insert_with(|| self.enter());
                turn.poll_given_up(cx).map(|()| None)
            }
        })
        .await
    }
}

impl Turn {
    /// Ready when it has been waited for long enough.
    pub(super) fn poll_given_up(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        Pin::new(&mut self.given_up).poll(cx).map(|_| ())
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let own = self.all.waiting.lock().turns.remove(&self.number);
        drop(own);
    }
}

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};

    use futures_util::FutureExt as _;

    use super::*;

    #[test]
    fn the_oldest_gives_way() {
        let all = Unfinished::new(2);
        let mut calls: Vec<_> = (0..2)
            .map(|_| Box::pin(all.read(pending::<()>())))
            .collect();
        for call in &mut calls {
            assert_eq!(call.now_or_never(), None);
        }
        // What has come already takes no place.
        assert_eq!(all.read(ready(1)).now_or_never(), Some(Some(1)));
        assert_eq!(all.waiting.lock().turns.len(), 2);
        let mut third = Box::pin(all.read(pending::<()>()));
        assert_eq!((&mut third).now_or_never(), None);
        let given_up: Vec<_> = calls.iter_mut().map(|call| call.now_or_never()).collect();
        assert_eq!(given_up, [Some(None), None]);
        // Places are given back.
        drop((calls, third));
        assert!(all.waiting.lock().turns.is_empty());
    }
}
