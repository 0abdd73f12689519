//! The arithmetic of a bent clock: from real time to what a program reads, and back to when a wait must end.
//!
//! A bent clock is a straight line from its last change on: `fake = base_fake + (real - base_real) * rate`. Every change
//! begins a new line where the old one ends, so that only a step makes it jump. All times are in nanoseconds.

/// A rate of one, in signed 32.32 fixed point: the hook multiplies and shifts, it does not divide.
pub(super) const RATE_ONE: i64 = 1 << 32;

/// The longest that a wait is made: about 30 years, which no clock overflows by.
pub(super) const FOREVER_NS: i64 = 1_000_000_000_000_000_000;

/// A rate in per cent as the hook wants it.
pub(super) fn rate_of_percent(percent: i64) -> i64 {
    let fixed = i128::from(RATE_ONE) * i128::from(percent) / 100;
    i64::try_from(fixed).expect("rates are far below 2^31")
}

/// A straight line from real to fake time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Bend {
    pub(super) base_real_ns: i64,
    pub(super) base_fake_ns: i64,
    /// In 32.32 fixed point, never negative.
    pub(super) rate: i64,
}

impl Bend {
    /// The line of a clock that nobody bends, as seen from this moment.
    pub(super) fn straight(real_ns: i64) -> Self {
        Self { base_real_ns: real_ns, base_fake_ns: real_ns, rate: RATE_ONE }
    }

    /// What the program reads at this real time. The hook computes exactly this, rounding down as well.
    pub(super) fn fake_ns(self, real_ns: i64) -> i64 {
        let run = i128::from(real_ns - self.base_real_ns) * i128::from(self.rate);
        self.base_fake_ns.wrapping_add((run >> 32) as i64)
    }

    /// The first real time at which the program reads `fake_ns`: when a wait until then must end. A clock that stands
    /// still never gets there.
    pub(super) fn real_ns(self, fake_ns: i64) -> i64 {
        let ahead = i128::from(fake_ns) - i128::from(self.base_fake_ns);
        if self.rate == 0 {
            return if ahead <= 0 { self.base_real_ns } else { FOREVER_NS.saturating_add(self.base_real_ns) };
        }
        // Rounded up: a wait must not end before its time.
        let run = div_ceil(ahead << 32, i128::from(self.rate));
        let real = i128::from(self.base_real_ns) + run;
        real.clamp(0, i128::from(FOREVER_NS) + i128::from(self.base_real_ns)) as i64
    }

    /// How long a wait of this fake length really is.
    pub(super) fn real_duration_ns(self, fake_ns: i64) -> i64 {
        if self.rate == 0 {
            return if fake_ns <= 0 { 0 } else { FOREVER_NS };
        }
        let real = div_ceil(i128::from(fake_ns) << 32, i128::from(self.rate));
        real.clamp(0, i128::from(FOREVER_NS)) as i64
    }

    /// The line that goes on from here, after a step and with another rate.
    pub(super) fn changed(self, real_ns: i64, step_ns: i64, rate: i64) -> Self {
        Self { base_real_ns: real_ns, base_fake_ns: self.fake_ns(real_ns).wrapping_add(step_ns), rate }
    }
}

fn div_ceil(dividend: i128, divisor: i128) -> i128 {
    -(-dividend).div_euclid(divisor)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECOND: i64 = 1_000_000_000;

    #[test]
    fn a_clock_at_three_times_the_speed_ends_waits_in_a_third() {
        let bend = Bend::straight(10 * SECOND).changed(20 * SECOND, 0, 3 * RATE_ONE);
        assert_eq!(bend.fake_ns(21 * SECOND), 23 * SECOND);
        assert_eq!(bend.real_ns(23 * SECOND), 21 * SECOND);
        assert_eq!(bend.real_duration_ns(3 * SECOND), SECOND);
    }

    #[test]
    fn a_step_moves_the_clock_and_deadlines_but_no_duration() {
        let bend = Bend::straight(0).changed(SECOND, 5 * SECOND, RATE_ONE);
        assert_eq!(bend.fake_ns(2 * SECOND), 7 * SECOND);
        assert_eq!(bend.real_ns(7 * SECOND), 2 * SECOND);
        assert_eq!(bend.real_duration_ns(SECOND), SECOND);
    }

    #[test]
    fn a_clock_that_stands_still_ends_no_wait() {
        let bend = Bend::straight(0).changed(SECOND, 0, 0);
        assert_eq!(bend.fake_ns(100 * SECOND), SECOND);
        assert_eq!(bend.real_duration_ns(1), FOREVER_NS);
        assert!(bend.real_ns(SECOND + 1) >= FOREVER_NS);
        assert_eq!(bend.real_ns(SECOND), SECOND, "this moment is there already");
    }

    #[test]
    fn per_cent_are_fixed_point() {
        assert_eq!(rate_of_percent(100), RATE_ONE);
        assert_eq!(rate_of_percent(1500), 15 * RATE_ONE);
        assert_eq!(rate_of_percent(0), 0);
    }

    proptest! {
        #[test]
        fn a_wait_ends_at_the_first_moment_that_reads_its_deadline(
            base in 0..1_000 * SECOND,
            step in -500 * SECOND..500 * SECOND,
            percent in 1_i64..2_000,
            wait in 0..100 * SECOND,
        ) {
            let bend = Bend::straight(base).changed(base, step, rate_of_percent(percent));
            let deadline = bend.fake_ns(base) + wait;
            let end = bend.real_ns(deadline);
            prop_assert!(bend.fake_ns(end) >= deadline);
            prop_assert!(wait == 0 || bend.fake_ns(end - 1) < deadline);
            prop_assert!((bend.real_duration_ns(wait) - (end - base)).abs() <= 1);
        }

        #[test]
        fn a_change_of_rate_is_continuous(
            now in 0..1_000 * SECOND,
            from in 0_i64..2_000,
            to in 0_i64..2_000,
        ) {
            let before = Bend::straight(0).changed(0, 0, rate_of_percent(from));
            let after = before.changed(now, 0, rate_of_percent(to));
            prop_assert_eq!(before.fake_ns(now), after.fake_ns(now));
        }
    }
}
