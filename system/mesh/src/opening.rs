//! This device is open for somebody nearby, for a while, and says so to all.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::discovery::Purpose;
use crate::node::Node;

/// How long a device stays open.
pub const OPEN: Duration = Duration::from_secs(120);

#[derive(Debug)]
struct State<T> {
    /// What belongs to being open; none while it is not.
    content: Option<T>,
    /// Counts openings, so that the end of one does not end the next.
    number: u64,
}

/// Being open for one purpose, with what belongs to that.
#[derive(Debug)]
pub struct Opening<T> {
    node: Arc<Node>,
    purpose: Purpose,
    state: Mutex<State<T>>,
}

impl<T: Clone + Send + 'static> Opening<T> {
    /// It is not open.
    pub fn new(node: Arc<Node>, purpose: Purpose) -> Arc<Self> {
        Arc::new(Self {
            node,
            purpose,
            state: Mutex::new(State {
                content: None,
                number: 0,
            }),
        })
    }

    fn state(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Opens the device. When its time is over and nobody has closed it, `over` is called, which does.
    pub fn open(self: &Arc<Self>, content: T, over: impl FnOnce() + Send + 'static) {
        let number = {
            let mut state = self.state();
            state.content = Some(content);
            state.number += 1;
            state.number
        };
        let purpose = self.purpose;
        self.node.look(|interest| interest.open = Some(purpose));
        let this = Arc::clone(self);
        tokio::spawn(async move {
            tokio::time::sleep(OPEN).await;
            if this.state().number == number {
                over();
            }
        });
    }

    /// What belongs to it, while it is open.
    pub fn content(&self) -> Option<T> {
        self.state().content.clone()
    }

    /// Closes it. None where it was not open.
    pub fn close(&self) -> Option<T> {
        let content = self.state().content.take()?;
        let purpose = self.purpose;
        self.node.look(|interest| {
            if interest.open == Some(purpose) {
                interest.open = None;
            }
        });
        Some(content)
    }
}
