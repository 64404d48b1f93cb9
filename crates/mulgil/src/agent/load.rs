//! From how busy a machine is to the share of work it should get. Pure: readings and time come in.

use std::time::Duration;

/// What is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resource {
    /// Processor time in use.
    Cpu,
    /// Tasks that want a processor.
    RunQueue,
    /// Memory that is not available.
    Memory,
    /// The busiest direction of the busiest network interface.
    Network,
    /// The busiest disk.
    Disk,
}

/// All of them, in the order of [`Busy`] and [`Policy::weights`].
pub const RESOURCES: [(Resource, &str); 5] = [
    (Resource::Cpu, "cpu"),
    (Resource::RunQueue, "run-queue"),
    (Resource::Memory, "memory"),
    (Resource::Network, "network"),
    (Resource::Disk, "disk"),
];

/// How busy each resource is, 0 (idle) to 1 (no more to give); `None` where nobody knows.
pub type Busy = [Option<f64>; 5];

/// What counts how much, and how calm the answer is.
#[derive(Clone, Debug, PartialEq)]
pub struct Policy {
    /// What each resource counts beside the others; 0 leaves it out.
    pub weights: [u32; 5],
    /// The time after which two thirds of a change have reached the answer; zero: at once.
    pub smooth: Duration,
    /// The answer moves only by as many percent or more.
    pub hysteresis: u32,
    /// The smallest answer, percent: a busy server is not a dead one.
    pub floor: u32,
}

impl Default for Policy {
    fn default() -> Policy {
        Policy {
            weights: [10, 5, 5, 5, 5],
            smooth: Duration::from_secs(5),
            hysteresis: 5,
            floor: 1,
        }
    }
}

/// The load of one machine over time.
#[derive(Clone, Debug)]
pub struct Load {
    policy: Policy,
    smoothed: Option<f64>,
    said: Option<u32>,
}

impl Load {
    /// Nothing is known yet: all of the weight.
    pub fn new(policy: Policy) -> Load {
        Load {
            policy,
            smoothed: None,
            said: None,
        }
    }

    /// Takes readings that are `since` younger than the ones before.
    pub fn observe(&mut self, busy: &Busy, since: Duration) {
        let known = busy.iter().zip(self.policy.weights);
        let known = known.filter_map(|(b, w)| Some((b.filter(|b| b.is_finite())?, f64::from(w))));
        let (sum, weights) = known.fold((0.0, 0.0), |(sum, weights), (busy, weight)| {
            (sum + busy.clamp(0.0, 1.0) * weight, weights + weight)
        });
        if weights == 0.0 {
            return;
        }
        let load = sum / weights;
        let smooth = self.policy.smooth.as_secs_f64();
        let smoothed = match self.smoothed {
            Some(old) if smooth > 0.0 => {
                let part = 1.0 - (-since.as_secs_f64() / smooth).exp();
                old + (load - old) * part
            }
            _ => load,
        };
        self.smoothed = Some(smoothed);
        let floor = self.policy.floor.min(100);
        let next = ((1.0 - smoothed) * 100.0).round() as u32;
        let next = next.clamp(floor, 100);
        let settled = match self.said {
            // The ends are always reached, so that an idle machine gets all of its weight back.
            Some(said) => {
                said.abs_diff(next) < self.policy.hysteresis && next != floor && next != 100
            }
            None => false,
        };
        if !settled {
            self.said = Some(next);
        }
    }

    /// The weight to ask for, percent of the configured one.
    pub fn percent(&self) -> u32 {
        self.said.unwrap_or(100)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn at_once() -> Policy {
        Policy {
            smooth: Duration::ZERO,
            hysteresis: 0,
            ..Policy::default()
        }
    }

    fn only(resource: usize, busy: f64) -> Busy {
        let mut all = [None; 5];
        all[resource] = Some(busy);
        all
    }

    #[test]
    fn an_idle_machine_gets_all_and_a_busy_one_what_is_left() {
        let mut load = Load::new(at_once());
        assert_eq!(load.percent(), 100);
        load.observe(&only(0, 0.0), SECOND);
        assert_eq!(load.percent(), 100);
        load.observe(&only(0, 0.7), SECOND);
        assert_eq!(load.percent(), 30);
        load.observe(&only(0, 1.0), SECOND);
        assert_eq!(load.percent(), 1, "the floor");
    }

    #[test]
    fn resources_count_as_they_are_weighted_and_unknown_ones_do_not() {
        let mut load = Load::new(Policy {
            weights: [3, 0, 1, 0, 0],
            ..at_once()
        });
        load.observe(&[Some(1.0), Some(1.0), Some(0.0), None, None], SECOND);
        assert_eq!(load.percent(), 25);
        load.observe(&[None, None, Some(0.5), None, None], SECOND);
        assert_eq!(load.percent(), 50);
        load.observe(&[None; 5], SECOND);
        assert_eq!(load.percent(), 50, "nothing new is known");
    }

    #[test]
    fn a_peak_moves_the_answer_only_so_far() {
        let mut load = Load::new(Policy {
            smooth: Duration::from_secs(10),
            ..at_once()
        });
        load.observe(&only(0, 0.0), SECOND);
        load.observe(&only(0, 1.0), SECOND);
        assert!((88..95).contains(&load.percent()), "{}", load.percent());
        for _ in 0..60 {
            load.observe(&only(0, 1.0), SECOND);
        }
        assert_eq!(load.percent(), 1);
    }

    #[test]
    fn small_changes_do_not_move_the_answer_but_the_ends_are_reached() {
        let mut load = Load::new(Policy {
            hysteresis: 10,
            ..at_once()
        });
        load.observe(&only(0, 0.50), SECOND);
        load.observe(&only(0, 0.55), SECOND);
        assert_eq!(load.percent(), 50);
        load.observe(&only(0, 0.61), SECOND);
        assert_eq!(load.percent(), 39);
        load.observe(&only(0, 0.04), SECOND);
        load.observe(&only(0, 0.0), SECOND);
        assert_eq!(load.percent(), 100);
    }

    proptest! {
        #[test]
        fn the_answer_is_always_a_percentage_between_floor_and_all(
            readings in proptest::collection::vec(
                (proptest::array::uniform5(proptest::option::of(any::<f64>())), 0u64..100_000),
                0..20,
            ),
            floor in 0u32..=100,
            hysteresis in 0u32..=100,
        ) {
            let mut load = Load::new(Policy { floor, hysteresis, ..Policy::default() });
            for (busy, since) in readings {
                load.observe(&busy, Duration::from_millis(since));
                prop_assert!((floor..=100).contains(&load.percent()));
            }
        }

        #[test]
        fn more_load_never_asks_for_more(low in 0.0f64..1.0, more in 0.0f64..1.0) {
            let answer = |busy| {
                let mut load = Load::new(at_once());
                load.observe(&only(0, busy), SECOND);
                load.percent()
            };
            prop_assert!(answer((low + more).min(1.0)) <= answer(low));
        }
    }
}
