//! In which order services end when the device turns off, and how long they may take.

use std::collections::VecDeque;
use std::time::Duration;

use crate::manifest::Interface;

/// All services together have so long to end.
pub const DEADLINE: Duration = Duration::from_secs(10);

/// What a service has to do with others.
#[derive(Clone, Debug, Default)]
pub struct Ties {
    /// What it serves.
    pub serves: Vec<Interface>,
    /// What it may call.
    pub calls: Vec<Interface>,
}

/// Groups of services in the order in which they are to end: whoever may call another ends before
/// it, so that no service loses what it stands on while it still works. Those that call each other
/// in a circle end together.
pub fn order(services: &[Ties]) -> Vec<Vec<usize>> {
    let calls = |caller: usize, server: usize| {
        caller != server
            && services[server]
                .serves
                .iter()
                .any(|served| services[caller].calls.contains(served))
    };
    let mut left: Vec<usize> = (0..services.len()).collect();
    let mut groups = Vec::new();
    while !left.is_empty() {
        let free: Vec<usize> = left
            .iter()
            .copied()
            .filter(|&server| !left.iter().any(|&caller| calls(caller, server)))
            .collect();
        let group = if free.is_empty() {
            circle(&left, calls)
        } else {
            free
        };
        left.retain(|service| !group.contains(service));
        groups.push(group);
    }
    groups
}

/// Of services that are all called by one another somehow, those of a circle that nobody outside
/// of it calls.
fn circle(left: &[usize], calls: impl Fn(usize, usize) -> bool) -> Vec<usize> {
    let callers_of = |service: usize| {
        let mut callers = vec![service];
        let mut next = 0;
        while let Some(&server) = callers.get(next) {
            let more = left.iter().filter(|&&caller| calls(caller, server));
            for caller in more.copied().collect::<Vec<_>>() {
                if !callers.contains(&caller) {
                    callers.push(caller);
                }
            }
            next += 1;
        }
        callers
    };
    let mut smallest = left
        .iter()
        .map(|&service| callers_of(service))
        .min_by_key(Vec::len)
        .unwrap_or_default();
    smallest.sort_unstable();
    smallest
}

/// A shutdown under way: who is to be asked to end next, and when patience ends.
#[derive(Debug)]
pub struct Shutdown {
    groups: VecDeque<Vec<usize>>,
    current: Vec<usize>,
    /// When the current group is killed.
    deadline: Duration,
    end: Duration,
}

/// What is to be done next.
#[derive(Debug, PartialEq, Eq)]
pub enum Next {
    /// Ask these to end.
    Terminate(Vec<usize>),
    /// These had time enough.
    Kill(Vec<usize>),
    /// Nothing until something ends or the deadline comes.
    Wait,
    /// All have ended.
    Done,
}

impl Shutdown {
    /// Begins at `now`, with groups in the order of [`order`].
    pub fn new(groups: Vec<Vec<usize>>, now: Duration) -> Self {
        Self {
            groups: groups.into(),
            current: Vec::new(),
            deadline: now,
            end: now + DEADLINE,
        }
    }

    /// When [`Self::next`] is to be called even if nothing ended.
    pub fn deadline(&self) -> Duration {
        self.deadline
    }

    /// What to do, given which services still have a process.
    pub fn next(&mut self, now: Duration, alive: impl Fn(usize) -> bool) -> Next {
        self.current.retain(|&service| alive(service));
        if !self.current.is_empty() {
            if now < self.deadline {
                return Next::Wait;
            }
            // What SIGKILL does not end is stuck in the kernel: the device turns off without it.
            self.deadline = now + Duration::from_secs(1);
            if now >= self.end + Duration::from_secs(2) {
                self.current.clear();
            } else {
                return Next::Kill(self.current.clone());
            }
        }
        while let Some(group) = self.groups.pop_front() {
            self.current = group
                .into_iter()
                .filter(|&service| alive(service))
                .collect();
            if !self.current.is_empty() {
                // Each group may use half of what is left, the last one all of it.
                let left = self.end.saturating_sub(now);
                self.deadline = now
                    + if self.groups.is_empty() {
                        left
                    } else {
                        left / 2
                    };
                return Next::Terminate(self.current.clone());
            }
        }
        Next::Done
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn ties(serves: &[&str], calls: &[&str]) -> Ties {
        let interfaces = |names: &[&str]| {
            names
                .iter()
                .map(|name| format!("hyper:{name}/{name}@1.0.0").parse().unwrap())
                .collect()
        };
        Ties {
            serves: interfaces(serves),
            calls: interfaces(calls),
        }
    }

    #[test]
    fn who_calls_ends_before_who_is_called() {
        let services = [
            ties(&["settings"], &[]),
            ties(&["time"], &["settings", "network"]),
            ties(&["network"], &["settings"]),
            ties(&["notify"], &["time", "settings"]),
        ];
        assert_eq!(order(&services), [vec![3], vec![1], vec![2], vec![0]]);
    }

    #[test]
    fn a_circle_ends_together_and_before_what_it_stands_on() {
        let services = [
            ties(&["settings"], &["notify"]),
            ties(&["notify"], &["settings", "time"]),
            ties(&["time"], &[]),
        ];
        assert_eq!(order(&services), [vec![0, 1], vec![2]]);
    }

    #[test]
    fn a_service_that_does_not_end_is_killed_and_the_rest_follow() {
        let second = Duration::from_secs(1);
        let mut shutdown = Shutdown::new(vec![vec![0], vec![1]], Duration::ZERO);
        assert_eq!(
            shutdown.next(Duration::ZERO, |_| true),
            Next::Terminate(vec![0])
        );
        assert_eq!(shutdown.next(second, |_| true), Next::Wait);
        assert_eq!(shutdown.next(5 * second, |_| true), Next::Kill(vec![0]));
        assert_eq!(
            shutdown.next(5 * second, |service| service != 0),
            Next::Terminate(vec![1])
        );
        assert!(shutdown.deadline() <= DEADLINE);
        assert_eq!(shutdown.next(6 * second, |_| false), Next::Done);
    }

    #[test]
    fn a_process_that_cannot_be_killed_does_not_keep_the_device_on() {
        let mut shutdown = Shutdown::new(vec![vec![0], vec![1]], Duration::ZERO);
        let mut now = Duration::ZERO;
        for _ in 0..100 {
            if shutdown.next(now, |_| true) == Next::Done {
                break;
            }
            now = shutdown.deadline().max(now);
        }
        assert!(now <= DEADLINE * 2, "still waiting at {now:?}");
    }

    proptest! {
        #[test]
        fn every_service_ends_once(edges in proptest::collection::vec((0usize..6, 0usize..6), 0..20)) {
            let names = ["a", "b", "c", "d", "e", "f"];
            let services: Vec<_> = (0..6)
                .map(|service| {
                    let mut calls: Vec<_> = edges.iter()
                        .filter(|(caller, _)| *caller == service)
                        .map(|&(_, server)| names[server]).collect();
                    calls.dedup();
                    ties(&[names[service]], &calls)
                })
                .collect();
            let mut ended: Vec<_> = order(&services).into_iter().flatten().collect();
            ended.sort_unstable();
            prop_assert_eq!(ended, (0..6).collect::<Vec<_>>());
        }
    }
}
