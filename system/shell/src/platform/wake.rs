//! The way onto the thread of the user interface from any other.

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use rustix::event::{EventfdFlags, eventfd};

type Task = Box<dyn FnOnce() + Send>;

struct Shared {
    tasks: Mutex<VecDeque<Task>>,
    /// Readable while there is something to do.
    wake: OwnedFd,
    /// Where the loop is not ours: how it is brought to run the tasks.
    foreign: Option<fn(UiLoop)>,
    quit: AtomicBool,
    gone: AtomicBool,
}

/// The loop that ran the user interface has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Gone;

impl fmt::Display for Gone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the user interface has ended")
    }
}

impl std::error::Error for Gone {}

/// A handle to the thread of the user interface, for any thread.
#[derive(Clone)]
pub struct UiLoop {
    shared: Arc<Shared>,
}

impl UiLoop {
    /// One that no screen runs, for tests.
    #[cfg(test)]
    pub(crate) fn detached() -> io::Result<Self> {
        Self::new()
    }

    pub(super) fn new() -> io::Result<Self> {
        Self::with(None)
    }

    /// One on a loop that is not ours. `bring` is called from any thread and makes the loop call
    /// [`UiLoop::run_tasks`].
    #[cfg(feature = "desktop")]
    pub(crate) fn on_foreign_loop(bring: fn(UiLoop)) -> io::Result<Self> {
        Self::with(Some(bring))
    }

    fn with(foreign: Option<fn(UiLoop)>) -> io::Result<Self> {
        let wake = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        Ok(Self {
            shared: Arc::new(Shared {
                tasks: Mutex::default(),
                wake,
                foreign,
                quit: AtomicBool::new(false),
                gone: AtomicBool::new(false),
            }),
        })
    }

    /// Runs `task` on the thread of the user interface, after those that were posted before.
    pub fn post(&self, task: impl FnOnce() + Send + 'static) -> Result<(), Gone> {
        {
            let mut tasks = self.tasks();
            // Under the lock, so that no task can slip in after the last ones were thrown away.
            if self.shared.gone.load(Ordering::Acquire) {
                return Err(Gone);
            }
            tasks.push_back(Box::new(task));
        }
        self.wake();
        Ok(())
    }

    /// Runs `task` on the thread of the user interface and answers what it answers.
    pub async fn call<T: Send + 'static>(
        &self,
        task: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Gone> {
        let (sender, receiver) = tokio::sync::oneshot::channel();
        self.post(move || {
            // Nobody waits any more when the caller gave up: then the answer is not wanted.
            let _ = sender.send(task());
        })?;
        receiver.await.map_err(|_| Gone)
    }

    /// Ends the loop.
    pub fn quit(&self) {
        self.shared.quit.store(true, Ordering::Release);
        self.wake();
    }

    pub(crate) fn is_quitting(&self) -> bool {
        self.shared.quit.load(Ordering::Acquire)
    }

    /// Readable when [`UiLoop::run_tasks`] has something to do.
    pub(super) fn descriptor(&self) -> BorrowedFd<'_> {
        self.shared.wake.as_fd()
    }

    /// Runs what was posted so far; what that posts in turn waits for the next round, so that
    /// tasks cannot keep the screen from being drawn.
    pub(crate) fn run_tasks(&self) {
        let mut count = [0; 8];
        // Empties the counter; that it was empty already is no matter.
        let _ = rustix::io::read(&self.shared.wake, &mut count);
        let tasks = std::mem::take(&mut *self.tasks());
        for task in tasks {
            task();
        }
    }

    /// From now on everything that is posted is refused.
    pub(super) fn close(&self) {
        let mut tasks = self.tasks();
        self.shared.gone.store(true, Ordering::Release);
        tasks.clear();
    }

    fn wake(&self) {
        match self.shared.foreign {
            Some(bring) => bring(self.clone()),
            // The only failure is a full counter, and then the loop is awake.
            None => _ = rustix::io::write(&self.shared.wake, &1u64.to_ne_bytes()),
        }
    }

    fn tasks(&self) -> std::sync::MutexGuard<'_, VecDeque<Task>> {
        // A queue is whole between any two of its operations, whatever panicked meanwhile.
        self.shared
            .tasks
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl slint::platform::EventLoopProxy for UiLoop {
    fn quit_event_loop(&self) -> Result<(), slint::EventLoopError> {
        self.quit();
        Ok(())
    }

    fn invoke_from_event_loop(
        &self,
        event: Box<dyn FnOnce() + Send>,
    ) -> Result<(), slint::EventLoopError> {
        self.post(event)
            .map_err(|Gone| slint::EventLoopError::EventLoopTerminated)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    #[test]
    fn tasks_of_another_thread_run_in_their_order() {
        let ui = UiLoop::new().unwrap();
        let (sender, receiver) = mpsc::channel();
        let other = ui.clone();
        std::thread::spawn(move || {
            for i in 0..100 {
                let sender = sender.clone();
                other.post(move || sender.send(i).unwrap()).unwrap();
            }
        })
        .join()
        .unwrap();
        ui.run_tasks();
        assert_eq!(
            receiver.try_iter().collect::<Vec<_>>(),
            (0..100).collect::<Vec<_>>()
        );
    }

    #[test]
    fn a_task_that_posts_itself_does_not_keep_the_loop() {
        fn again(ui: UiLoop, runs: Arc<Mutex<u32>>) {
            *runs.lock().unwrap() += 1;
            let next = ui.clone();
            next.post(move || again(ui, runs)).unwrap();
        }
        let ui = UiLoop::new().unwrap();
        let runs = Arc::new(Mutex::new(0));
        again(ui.clone(), runs.clone());
        ui.run_tasks();
        assert_eq!(*runs.lock().unwrap(), 2);
    }

    #[test]
    fn after_the_end_everything_is_refused() {
        let ui = UiLoop::new().unwrap();
        ui.close();
        assert_eq!(ui.post(|| unreachable!()), Err(Gone));
    }
}
