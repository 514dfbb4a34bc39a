//! What the user of a phone sees and does: the prompt in their language, and
//! the keys that answer it. Nothing here touches a terminal or a network.

mod card;
mod dialog;
mod frame;
mod handset;
mod notification;
mod plain_text;
mod texts;

pub use card::card;
pub use dialog::{Answer, Dialog, Press};
pub use frame::Paint;
pub use handset::{Handset, Typed};
pub use notification::notification;
pub use plain_text::{plain_text, width, wrap};
pub use texts::{Text, Texts};
