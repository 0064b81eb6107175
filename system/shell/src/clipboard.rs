//! What text fields copy to and paste from.
//!
//! A text field asks for text and gets it in the same breath, so the text is here, and the link to
//! the services keeps it and the clipboard of the owner's devices the same. Without that service,
//! copying and pasting works on this screen alone.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bus::Client;
use bus::clipboard::Item;
use futures::StreamExt as _;
use tokio::sync::watch;

/// The clipboard of the screen. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Clipboard {
    state: Arc<Mutex<State>>,
    /// Counts what was copied here.
    copied: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct State {
    text: Option<String>,
    /// What was copied here and the service does not have yet. Until it has, what the service says
    /// is older.
    unsent: Option<String>,
}

impl Default for Clipboard {
    fn default() -> Self {
        Self {
            state: Arc::default(),
            copied: watch::Sender::new(0),
        }
    }
}

impl Clipboard {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What there is to paste into a text field.
    pub fn text(&self) -> Option<String> {
        self.state().text.clone()
    }

    /// Copies from a text field.
    pub fn copy(&self, text: &str) {
        {
            let mut state = self.state();
            state.text = Some(text.to_owned());
            state.unsent = Some(text.to_owned());
        }
        self.copied.send_modify(|copied| *copied += 1);
    }

    /// The clipboard of the owner's devices has this.
    fn take(&self, item: Option<Item>) {
        let text = item
            .filter(|item| item.media_type == "text/plain")
            .and_then(|item| String::from_utf8(item.data.to_vec()).ok());
        let mut state = self.state();
        if state.unsent.is_none() {
            state.text = text;
        }
    }

    /// The service has this text, unless another was copied meanwhile.
    fn sent(&self, text: &str) {
        let mut state = self.state();
        if state.unsent.as_deref() == Some(text) {
            state.unsent = None;
        }
    }

    /// Keeps this and the clipboard of the owner's devices the same until that fails. `tell` hears
    /// whether there is text to paste.
    pub async fn keep(&self, client: &Client, tell: impl Fn(bool)) -> Result<(), bus::Error> {
        let mut copied = self.copied.subscribe();
        tell(self.text().is_some());
        let mut items = bus::clipboard::watch(client).await?;
        loop {
            copied.borrow_and_update();
            tell(self.state().text.is_some());
            let unsent = self.state().unsent.clone();
            if let Some(text) = unsent {
                let item = Item {
                    media_type: "text/plain".into(),
                    data: text.clone().into(),
                    secret: false,
                };
                let set = bus::clipboard::set(client, &item).await?;
                self.sent(&text);
                match set {
                    // What came while that was under way was not taken.
                    Ok(()) => self.take(bus::clipboard::get(client).await?),
                    Err(reason) => {
                        tracing::warn!("what was copied stays on this screen: {reason}");
                    }
                }
                continue;
            }
            tokio::select! {
                // It is as alive as this is.
                _ = copied.changed() => {}
                item = items.next() => match item {
                    Some(item) => self.take(item?),
                    None => return Ok(()),
                },
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn item(text: &str) -> Option<Item> {
        Some(Item {
            media_type: "text/plain".into(),
            data: text.to_owned().into(),
            secret: false,
        })
    }

    #[test]
    fn what_was_copied_here_stands_until_the_service_has_it() {
        let clipboard = Clipboard::default();
        assert_eq!(clipboard.text(), None);
        clipboard.take(item("from the tablet"));
        assert_eq!(clipboard.text().as_deref(), Some("from the tablet"));
        clipboard.copy("typed");
        clipboard.take(item("from before"));
        assert_eq!(clipboard.text().as_deref(), Some("typed"));
        clipboard.sent("something else");
        clipboard.take(item("from before"));
        assert_eq!(clipboard.text().as_deref(), Some("typed"));
        clipboard.sent("typed");
        clipboard.take(item("newer"));
        assert_eq!(clipboard.text().as_deref(), Some("newer"));
        clipboard.take(None);
        assert_eq!(clipboard.text(), None);
    }

    #[test]
    fn a_picture_is_no_text_to_paste() {
        let clipboard = Clipboard::default();
        clipboard.take(item("text"));
        let picture = Item {
            media_type: "image/png".into(),
            data: vec![1, 2, 3].into(),
            secret: false,
        };
        clipboard.take(Some(picture));
        assert_eq!(clipboard.text(), None);
    }
}
