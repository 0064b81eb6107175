//! Contacts of a touch screen, by the kernel's multitouch protocol B: a device keeps slots, says
//! which one it speaks of, and a tracking number in a slot is a finger.

use super::{Touch, TouchPhase};

/// More than any screen reports; what lies beyond is ignored.
const MOST: usize = 16;

#[derive(Debug, Clone, Copy, Default, PartialEq)]
struct Slot {
    /// The number that the kernel gave this finger; none while there is none.
    tracking: Option<i32>,
    position: (i32, i32),
    /// The finger that was told last, if it has not been lifted.
    told: Option<i32>,
    moved: bool,
}

/// The contacts of one device.
#[derive(Debug, Clone)]
pub struct Contacts {
    slots: [Slot; MOST],
    /// The slot that the device speaks of; beyond the last one when it is one too many.
    current: usize,
}

impl Default for Contacts {
    fn default() -> Self {
        Self {
            slots: [Slot::default(); MOST],
            current: 0,
        }
    }
}

impl Contacts {
    /// The device speaks of this slot from now on.
    pub fn slot(&mut self, number: i32) {
        self.current = usize::try_from(number).unwrap_or(MOST);
    }

    /// The finger in the slot; a negative number when it was lifted.
    pub fn tracking(&mut self, number: i32) {
        if let Some(slot) = self.slots.get_mut(self.current) {
            slot.tracking = (number >= 0).then_some(number);
        }
    }

    /// The finger's place, in the device's units.
    pub fn x(&mut self, value: i32) {
        if let Some(slot) = self.slots.get_mut(self.current) {
            slot.position.0 = value;
            slot.moved = true;
        }
    }

    /// The finger's place, in the device's units.
    pub fn y(&mut self, value: i32) {
        if let Some(slot) = self.slots.get_mut(self.current) {
            slot.position.1 = value;
            slot.moved = true;
        }
    }

    /// The device has said everything about this moment: what fingers did since the last one.
    /// `place` turns the device's units into a share of the screen.
    pub fn report(
        &mut self,
        place: impl Fn((i32, i32)) -> (f32, f32),
        mut tell: impl FnMut(Touch),
    ) {
        for (contact, slot) in self.slots.iter_mut().enumerate() {
            let position = place(slot.position);
            let mut say = |phase| {
                tell(Touch {
                    contact: contact as u32,
                    phase,
                    position,
                })
            };
            if slot.told.is_some() && slot.told != slot.tracking {
                say(TouchPhase::Up);
                slot.told = None;
            }
            match (slot.told, slot.tracking) {
                (None, Some(finger)) => {
                    say(TouchPhase::Down);
                    slot.told = Some(finger);
                }
                (Some(_), Some(_)) if slot.moved => say(TouchPhase::Moved),
                _ => {}
            }
            slot.moved = false;
        }
    }

    /// Everything about fingers is unknown: none of them means anything any more.
    pub fn cancel(
        &mut self,
        place: impl Fn((i32, i32)) -> (f32, f32),
        mut tell: impl FnMut(Touch),
    ) {
        for (contact, slot) in self.slots.iter_mut().enumerate() {
            if slot.told.take().is_some() {
                tell(Touch {
                    contact: contact as u32,
                    phase: TouchPhase::Cancelled,
                    position: place(slot.position),
                });
            }
            slot.tracking = None;
            slot.moved = false;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn shares((x, y): (i32, i32)) -> (f32, f32) {
        (x as f32, y as f32)
    }

    fn report(contacts: &mut Contacts) -> Vec<(u32, TouchPhase)> {
        let mut told = Vec::new();
        contacts.report(shares, |touch| told.push((touch.contact, touch.phase)));
        told
    }

    #[test]
    fn two_fingers_come_move_and_go() {
        let mut contacts = Contacts::default();
        contacts.tracking(7);
        contacts.x(10);
        contacts.slot(1);
        contacts.tracking(8);
        assert_eq!(
            report(&mut contacts),
            [(0, TouchPhase::Down), (1, TouchPhase::Down)]
        );
        contacts.x(20);
        assert_eq!(report(&mut contacts), [(1, TouchPhase::Moved)]);
        contacts.slot(0);
        contacts.tracking(-1);
        assert_eq!(report(&mut contacts), [(0, TouchPhase::Up)]);
        assert_eq!(report(&mut contacts), []);
    }

    #[test]
    fn another_finger_in_the_same_slot_is_lifted_and_set_down() {
        let mut contacts = Contacts::default();
        contacts.tracking(1);
        report(&mut contacts);
        contacts.tracking(2);
        assert_eq!(
            report(&mut contacts),
            [(0, TouchPhase::Up), (0, TouchPhase::Down)]
        );
    }

    #[test]
    fn a_lost_finger_is_cancelled_and_its_movements_mean_nothing() {
        let mut contacts = Contacts::default();
        contacts.tracking(1);
        report(&mut contacts);
        let mut told = Vec::new();
        contacts.cancel(shares, |touch| told.push(touch.phase));
        assert_eq!(told, [TouchPhase::Cancelled]);
        contacts.x(4);
        assert_eq!(report(&mut contacts), []);
    }

    proptest! {
        #[test]
        fn fingers_come_down_before_they_move_or_lift(steps in proptest::collection::vec((0u8..6, -3i32..40), 0..300)) {
            let mut contacts = Contacts::default();
            let mut down = [false; MOST];
            for (step, value) in steps {
                let mut told = Vec::new();
                match step {
                    0 => contacts.slot(value),
                    1 => contacts.tracking(value),
                    2 => contacts.x(value),
                    3 => contacts.y(value),
                    4 => contacts.report(shares, |touch| told.push(touch)),
                    _ => contacts.cancel(shares, |touch| told.push(touch)),
                }
                for touch in told {
                    let is_down = &mut down[touch.contact as usize];
                    prop_assert_eq!(*is_down, touch.phase != TouchPhase::Down);
                    *is_down = matches!(touch.phase, TouchPhase::Down | TouchPhase::Moved);
                }
            }
        }
    }
}
