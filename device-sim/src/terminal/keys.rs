//! What is typed.

use std::io::{BufRead as _, IsTerminal as _};

use crossterm::event::{Event, EventStream, KeyCode, KeyEventKind, KeyModifiers};
use futures_util::StreamExt as _;
use tokio::sync::mpsc;

/// Something typed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Key {
    /// A character.
    Char(char),
    /// Backspace or Delete.
    Backspace,
    /// Enter, or the end of a line.
    Enter,
    /// Esc.
    Escape,
    /// Ctrl-C, Ctrl-D, Ctrl-\ or a signal: the user wants out.
    Quit,
    /// The terminal has another size.
    Resize,
    /// Nothing more will be typed.
    Closed,
}

/// The keyboard: single keys of a terminal, or else the characters of the
/// lines that come on standard input. A terminal gets its ways back on drop.
#[derive(Debug)]
pub struct Keys {
    keys: mpsc::Receiver<Key>,
    raw: bool,
}

impl Keys {
    /// Starts to read; must be called inside a tokio runtime.
    #[must_use]
    pub fn open() -> Self {
        let (sender, keys) = mpsc::channel(64);
        tokio::spawn(watch_signals(sender.clone()));
        let terminal = std::io::stdin().is_terminal() && std::io::stdout().is_terminal();
        let raw = terminal && crossterm::terminal::enable_raw_mode().is_ok();
        if raw {
            tokio::spawn(read_terminal(sender));
        } else {
            // Not on the runtime: a read that nobody ends would keep it alive.
            std::thread::spawn(move || read_lines(&sender));
        }
        Self { keys, raw }
    }

    /// Whether single keys are read from a terminal.
    #[must_use]
    pub fn is_terminal(&self) -> bool {
        self.raw
    }

    /// The next key; after [`Key::Closed`] only signals.
    pub async fn next(&mut self) -> Key {
        self.keys.recv().await.unwrap_or(Key::Quit)
    }
}

impl Drop for Keys {
    fn drop(&mut self) {
        if self.raw {
            // Nothing to be done about a terminal that is gone.
            drop(crossterm::terminal::disable_raw_mode());
        }
    }
}

async fn read_terminal(sender: mpsc::Sender<Key>) {
    let mut events = EventStream::new();
    while let Some(Ok(event)) = events.next().await {
        if let Some(key) = translate(&event)
            && sender.send(key).await.is_err()
        {
            return;
        }
    }
    // Whoever waits has gone if nobody takes it.
    drop(sender.send(Key::Closed).await);
}

fn translate(event: &Event) -> Option<Key> {
    match event {
        Event::Resize(..) => Some(Key::Resize),
        Event::Key(key) if key.kind != KeyEventKind::Release => match key.code {
            KeyCode::Char('c' | 'd' | '\\') if key.modifiers.contains(KeyModifiers::CONTROL) => {
                Some(Key::Quit)
            }
            KeyCode::Char(_)
                if key
                    .modifiers
                    .intersects(KeyModifiers::CONTROL | KeyModifiers::ALT) =>
            {
                None
            }
            KeyCode::Char(c) => Some(Key::Char(c)),
            KeyCode::Backspace | KeyCode::Delete => Some(Key::Backspace),
            KeyCode::Enter => Some(Key::Enter),
            KeyCode::Esc => Some(Key::Escape),
            _ => None,
        },
        _ => None,
    }
}

fn read_lines(sender: &mpsc::Sender<Key>) {
    for line in std::io::stdin().lock().lines() {
        let Ok(line) = line else { break };
        let keys = line.chars().map(Key::Char).chain([Key::Enter]);
        for key in keys {
            if sender.blocking_send(key).is_err() {
                return;
            }
        }
    }
    drop(sender.blocking_send(Key::Closed));
}

async fn watch_signals(sender: mpsc::Sender<Key>) {
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        if let Ok(mut terminate) = signal(SignalKind::terminate()) {
            tokio::select! {
                _ = tokio::signal::ctrl_c() => {}
                _ = terminate.recv() => {}
            }
            drop(sender.send(Key::Quit).await);
            return;
        }
    }
    if tokio::signal::ctrl_c().await.is_ok() {
        drop(sender.send(Key::Quit).await);
    }
}

#[cfg(test)]
mod tests {
    use crossterm::event::KeyEvent;

    use super::*;

    fn press(code: KeyCode, modifiers: KeyModifiers) -> Option<Key> {
        translate(&Event::Key(KeyEvent::new(code, modifiers)))
    }

    #[test]
    fn control_keys_are_not_answers() {
        assert_eq!(
            press(KeyCode::Char('g'), KeyModifiers::NONE),
            Some(Key::Char('g'))
        );
        assert_eq!(
            press(KeyCode::Char('G'), KeyModifiers::SHIFT),
            Some(Key::Char('G'))
        );
        assert_eq!(
            press(KeyCode::Char('c'), KeyModifiers::CONTROL),
            Some(Key::Quit)
        );
        assert_eq!(press(KeyCode::Char('g'), KeyModifiers::CONTROL), None);
        assert_eq!(press(KeyCode::Char('g'), KeyModifiers::ALT), None);
        assert_eq!(
            press(KeyCode::Backspace, KeyModifiers::NONE),
            Some(Key::Backspace)
        );
        let mut release = KeyEvent::new(KeyCode::Char('g'), KeyModifiers::NONE);
        release.kind = KeyEventKind::Release;
        assert_eq!(translate(&Event::Key(release)), None);
    }
}
