//! Another device's screen, from here: what is done there on its way, and what is seen of it.
//!
//! There is at most one device that is controlled and one that is seen, and each only while that is wanted:
//! leaving the page drops the stream, which ends it on the other device too.

use super::link::Sink;
use super::updates::{Over, Reached, Seen, Update};
use bus::Client;
use bus::input::{Event, Phase, State, Way};
use futures::StreamExt as _;
use picture::{Canvas, Fitted, Part, Place};
use slint::{Rgb8Pixel, SharedPixelBuffer};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

/// What is sent at once.
const MOST_EVENTS: usize = 64;
/// How long to wait where the other device says that it is too much.
const TOO_MANY: Duration = Duration::from_millis(250);
/// What was done while a session began is done in it when that took no longer.
const AT_ONCE: Duration = Duration::from_secs(1);

/// A device that is wanted, by its id; another number wants it anew.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// Its id.
    pub device: String,
    /// Which time this is.
    pub time: u64,
}

/// Controls the device that is wanted, for as long as it is.
pub(super) async fn control(
    client: &Client,
    sink: &Sink,
    mut wanted: watch::Receiver<Option<Wanted>>,
    mut events: UnboundedReceiver<Event>,
) {
    let tell = |reached| sink(Update::Controlled(reached));
    while let Some(now) = next(&mut wanted).await {
        tell(Reached::Connecting);
        let there = client.to_device(now.device.as_str());
        let over = tokio::select! {
            over = session(&there, &tell, &mut events) => Some(over),
            () = other(&mut wanted, &now) => None,
        };
        if let Some(over) = over {
            tell(Reached::Over(over));
            other(&mut wanted, &now).await;
        }
        // What was meant for one session is not for another.
        forget(&mut events);
    }
}

fn forget(events: &mut UnboundedReceiver<Event>) {
    while events.try_recv().is_ok() {}
}

/// The device that is wanted next; none when the screen ends.
async fn next(wanted: &mut watch::Receiver<Option<Wanted>>) -> Option<Wanted> {
    let now = wanted.wait_for(Option::is_some).await.ok()?;
    now.clone()
}

/// Until something else is wanted.
async fn other(wanted: &mut watch::Receiver<Option<Wanted>>, than: &Wanted) {
    // Fails only when the screen ends.
    let _ = wanted.wait_for(|now| now.as_ref() != Some(than)).await;
}

/// One session; why it ended.
async fn session(
    there: &Client,
    tell: &impl Fn(Reached),
    events: &mut UnboundedReceiver<Event>,
) -> Over {
    let began = Instant::now();
    let mut states = match bus::input::begin(there).await {
        Ok(states) => states,
        Err(error) => return Over::Lost(error.to_string()),
    };
    let (number, mut numbers) = watch::channel(None);
    let hear = async {
        while let Some(state) = states.next().await {
            match state {
                Ok(State::Taken(session)) => {
                    number.send_replace(Some(session));
                    tell(Reached::There);
                }
                Ok(State::Reserved(session)) => {
                    number.send_replace(Some(session));
                    tell(Reached::Reserved);
                }
                Ok(State::Over(ending)) => return ended(ending),
                Err(error) => return Over::Lost(error.to_string()),
            }
        }
        Over::Lost("The other device ended it.".into())
    };
    let send = async {
        let Ok(session) = numbers.wait_for(Option::is_some).await.map(|now| *now) else {
            return Over::Replaced;
        };
        let session = session.unwrap_or_default();
        if began.elapsed() > AT_ONCE {
            // The owner was asked: what was done before that is not done now.
            forget(events);
        }
        while let Some(batch) = gathered(events).await {
            use bus::input::Error;
            match bus::input::send(there, session, &batch).await {
                Ok(Ok(()) | Err(Error::Reserved)) => {}
                Ok(Err(Error::TooMany)) => tokio::time::sleep(TOO_MANY).await,
                Ok(Err(Error::Unfit(reason))) => {
                    tracing::warn!("the other device did not take what was sent: {reason}");
                }
                // The other end says why.
                Ok(Err(Error::Over)) => std::future::pending().await,
                Err(error) => return Over::Lost(error.to_string()),
            }
        }
        Over::Replaced
    };
    tokio::select! {
        over = hear => over,
        over = send => over,
    }
}

/// What is to be sent, once there is something: motions that follow each other as one.
async fn gathered(events: &mut UnboundedReceiver<Event>) -> Option<Vec<Event>> {
    let mut batch = vec![events.recv().await?];
    while batch.len() < MOST_EVENTS
        && let Ok(event) = events.try_recv()
    {
        join(&mut batch, event);
    }
    Some(batch)
}

fn join(batch: &mut Vec<Event>, event: Event) {
    let further = |before: &Way, more: &Way| Way {
        x: before.x + more.x,
        y: before.y + more.y,
    };
    match (batch.last_mut(), event) {
        (Some(Event::Move(before)), Event::Move(more))
        | (Some(Event::Scroll(before)), Event::Scroll(more)) => *before = further(before, &more),
        (Some(Event::Touch(before)), Event::Touch(now))
            if before.phase == Phase::Moved && now.phase == Phase::Moved =>
        {
            *before = now;
        }
        (_, event) => batch.push(event),
    }
}

fn ended(ending: bus::input::Ending) -> Over {
    use bus::input::Ending;
    match ending {
        Ending::Stopped => Over::Stopped,
        Ending::Recently => Over::Recently,
        Ending::Occupied => Over::Occupied,
        Ending::Replaced => Over::Replaced,
    }
}

/// Sees the device that is wanted, for as long as it is, in the room that there is.
pub(super) async fn view(
    client: &Client,
    sink: &Sink,
    mut wanted: watch::Receiver<Option<Wanted>>,
    mut room: watch::Receiver<(u32, u32)>,
) {
    let nothing = |reached| sink(Update::Seen(Seen::Nothing(reached)));
    while let Some(now) = next(&mut wanted).await {
        nothing(Reached::Connecting);
        let there = client.to_device(now.device.as_str());
        let over = tokio::select! {
            over = watching(&there, sink, &mut room) => over,
            () = other(&mut wanted, &now) => continue,
        };
        nothing(Reached::Over(over));
        other(&mut wanted, &now).await;
    }
}

async fn watching(there: &Client, sink: &Sink, room: &mut watch::Receiver<(u32, u32)>) -> Over {
    let mut updates = match bus::view::watch(there).await {
        Ok(updates) => updates,
        Err(error) => return Over::Lost(error.to_string()),
    };
    let mut screen = Screen::default();
    loop {
        let whole = tokio::select! {
            update = updates.next() => match screen.take(update, &room.borrow()) {
                Ok(Some(nothing)) => {
                    sink(Update::Seen(Seen::Nothing(nothing)));
                    false
                }
                Ok(None) => screen.whole,
                Err(over) => return over,
            },
            changed = room.changed() => {
                if changed.is_err() {
                    return Over::Replaced;
                }
                screen.fit(&[], *room.borrow_and_update());
                screen.whole
            }
        };
        if whole && let Some(buffer) = screen.buffer() {
            // One at a time: whoever draws slowly sees fewer, and none that is old.
            let taken = Arc::new(Notify::new());
            sink(Update::Seen(Seen::Picture(buffer, Arc::clone(&taken))));
            taken.notified().await;
        }
    }
}

/// The other device's screen, as far as it was seen.
#[derive(Debug, Default)]
struct Screen {
    canvas: Canvas,
    fitted: Fitted,
    /// Whether it is as it was at one moment.
    whole: bool,
}

impl Screen {
    /// Takes an update in; how things stand where there is nothing to see, or why it is over.
    fn take(
        &mut self,
        update: Option<Result<bus::view::Update, bus::Error>>,
        room: &(u32, u32),
    ) -> Result<Option<Reached>, Over> {
        use bus::view::{Ending, Update};
        let update = match update {
            Some(Ok(update)) => update,
            Some(Err(error)) => return Err(Over::Lost(error.to_string())),
            None => return Err(Over::Lost("The other device ended it.".into())),
        };
        let nothing = match update {
            Update::Picture(sent) => {
                let changed = put(&mut self.canvas, &sent).map_err(|error| {
                    Over::Lost(format!("What it sends cannot be shown: {error}."))
                })?;
                self.whole = sent.whole;
                self.fit(&changed, *room);
                return Ok(None);
            }
            Update::Hidden => Reached::Reserved,
            Update::Dark => Reached::Dark,
            Update::Over(ending) => {
                return Err(match ending {
                    Ending::Stopped => Over::Stopped,
                    Ending::Recently => Over::Recently,
                    Ending::Occupied => Over::Occupied,
                    Ending::Replaced => Over::Replaced,
                    Ending::Impossible => Over::Impossible,
                });
            }
        };
        *self = Self::default();
        Ok(Some(nothing))
    }

    fn fit(&mut self, changed: &[Place], room: (u32, u32)) {
        self.fitted.follow(&self.canvas, changed, room);
    }

    fn buffer(&self) -> Option<SharedPixelBuffer<Rgb8Pixel>> {
        let (width, height) = self.fitted.size();
        let some = width > 0 && height > 0;
        some.then(|| SharedPixelBuffer::clone_from_slice(self.fitted.pixels(), width, height))
    }
}

/// Puts what was sent into a canvas; where something changed.
///
/// # Errors
///
/// What no screen sends is refused.
pub fn put(canvas: &mut Canvas, sent: &bus::view::Picture) -> Result<Vec<Place>, picture::Unfit> {
    let parts: Vec<_> = sent
        .parts
        .iter()
        .map(|part| Part {
            place: Place {
                x: part.x,
                y: part.y,
                width: part.width,
                height: part.height,
            },
            packed: &part.pixels,
        })
        .collect();
    canvas.put(sent.width, sent.height, &parts)
}

#[cfg(test)]
mod tests {
    use super::*;
    use bus::input::{Finger, Key};

    #[test]
    fn motions_that_follow_each_other_are_sent_as_one_and_nothing_overtakes() {
        let way = |x: f32| Way { x, y: 1.0 };
        let finger = |phase, x| Event::Touch(Finger { phase, x, y: 0.0 });
        let mut batch = Vec::new();
        for event in [
            Event::Move(way(1.0)),
            Event::Move(way(2.0)),
            Event::Button(true),
            Event::Move(way(4.0)),
            Event::Scroll(way(8.0)),
            Event::Scroll(way(1.0)),
            finger(Phase::Down, 0.1),
            finger(Phase::Moved, 0.2),
            finger(Phase::Moved, 0.3),
            finger(Phase::Up, 0.3),
            Event::Key(Key::Ok),
            Event::Key(Key::Ok),
        ] {
            join(&mut batch, event);
        }
        assert_eq!(batch.len(), 9, "{batch:?}");
        assert!(matches!(&batch[0], Event::Move(way) if way.x == 3.0 && way.y == 2.0));
        assert!(matches!(&batch[3], Event::Scroll(way) if way.x == 9.0));
        assert!(matches!(&batch[5], Event::Touch(finger) if finger.x == 0.3));
    }
}
