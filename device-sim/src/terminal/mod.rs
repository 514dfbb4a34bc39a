//! The terminal: keys that come in, lines and one changing card that go out.

mod keys;
mod screen;

pub use keys::{Key, Keys};
pub use screen::Screen;
