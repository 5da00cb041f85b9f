//! A hybrid logical clock (Kulkarni et al., *Logical Physical Clocks*, 2014): wall time where clocks are right, and an order
//! that never contradicts what a device had already seen where they are not.

use serde::{Deserialize, Serialize};

/// 48 bits of milliseconds since 1970 (to the year 10889), 16 bits of counter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
pub struct Time(pub u64);

impl Time {
    /// The time at `millis` since 1970 with counter 0.
    pub fn from_millis(millis: u64) -> Self {
        Self(millis.min((1 << 48) - 1) << 16)
    }

    /// Milliseconds since 1970.
    pub fn millis(self) -> u64 {
        self.0 >> 16
    }
}

/// How far ahead of our own clock another's time may be and still move ours: one hour.
const TRUSTED_AHEAD: u64 = 60 * 60 * 1000;

/// Gives times that increase. Nothing is ever refused for its time: a clock that is wrong only orders its own entries oddly.
#[derive(Debug, Clone, Copy, Default)]
pub struct Clock(Time);

impl Clock {
    /// A clock that continues after `last`.
    pub fn after(last: Time) -> Self {
        Self(last)
    }

    /// A new time, later than every one given or observed, and not before `now` (milliseconds since 1970).
    pub fn tick(&mut self, now: u64) -> Time {
        self.0 = Time::from_millis(now).max(Time(self.0.0.saturating_add(1)));
        self.0
    }

    /// The latest time that may still move a clock that shows `now`: one hour ahead.
    pub fn horizon(now: u64) -> Time {
        Time::from_millis(now.saturating_add(TRUSTED_AHEAD))
    }

    /// Takes note of another device's time, unless it is more than an hour ahead of `now`.
    pub fn observe(&mut self, time: Time, now: u64) {
        if time.millis() <= Self::horizon(now).millis() {
            self.0 = self.0.max(time);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_increase_whatever_the_wall_clock_does() {
        let mut clock = Clock::default();
        let mut last = Time::default();
        for now in [5, 5, 5, 0, 253_402_300_799_999, 3, u64::MAX, 1] {
            let time = clock.tick(now);
            assert!(time > last);
            last = time;
        }
    }

    #[test]
    fn a_time_of_the_year_9999_does_not_move_ours() {
        let mut clock = Clock::default();
        clock.observe(Time::from_millis(253_402_300_799_999), 1_000);
        assert_eq!(clock.tick(1_000).millis(), 1_000);
        clock.observe(Time::from_millis(2_000), 1_000);
        assert_eq!(clock.tick(1_000).millis(), 2_000);
    }
}
