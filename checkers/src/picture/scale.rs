//! The time axis. What matters lasts milliseconds and lies seconds apart, so each stretch between two moments that
//! matter is as wide as the logarithm of its length: order is kept, proportions are not, and the axis says the times.

use crate::history::Time;

/// The most moments that get a place of their own.
const MOMENTS_MAX: usize = 60;

/// Maps times of a window to places.
pub(super) struct Scale {
    /// Moments and their places, both growing; at least two.
    places: Vec<(Time, f64)>,
}

impl Scale {
    /// A scale from the first to the last of the moments, between two places. Those of `important` come first if
    /// there are too many.
    pub(super) fn new(important: &[Time], others: &[Time], left: f64, right: f64) -> Self {
        let mut moments = important.to_vec();
        let (first, last) = (important.iter().min(), important.iter().max());
        let (first, last) = (first.copied().unwrap_or(0), last.copied().unwrap_or(0));
        moments.extend(others.iter().filter(|time| (first..=last).contains(time)).take(MOMENTS_MAX));
        moments.sort_unstable();
        moments.dedup();
        let margin = ((last - first) / 20).max(100_000);
        moments.insert(0, first.saturating_sub(margin));
        moments.push(last + margin);
        moments.dedup();
        let weight = |pair: &[Time]| 1.0 + (1.0 + (pair[1] - pair[0]) as f64 / 250_000.0).ln();
        let total: f64 = moments.windows(2).map(weight).sum();
        let mut places = vec![(moments[0], left)];
        let mut x = left;
        for pair in moments.windows(2) {
            x += weight(pair) / total * (right - left);
            places.push((pair[1], x));
        }
        Scale { places }
    }

    /// Begin and end of the window.
    pub(super) fn window(&self) -> (Time, Time) {
        (self.places[0].0, self.places[self.places.len() - 1].0)
    }

    /// The place of a time; of one outside the window, its edge.
    pub(super) fn place(&self, time: Time) -> f64 {
        let after = self.places.partition_point(|(moment, _)| *moment < time);
        let Some(&(end, right)) = self.places.get(after) else { return self.places[self.places.len() - 1].1 };
        let Some(&(begin, left)) = after.checked_sub(1).and_then(|before| self.places.get(before)) else {
            return self.places[0].1;
        };
        left + (time - begin) as f64 / (end - begin) as f64 * (right - left)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_is_kept_and_short_stretches_are_seen() {
        let scale = Scale::new(&[5_000_000, 5_001_000, 9_000_000_000], &[6_000_000], 0.0, 1000.0);
        let times = [0, 5_000_000, 5_000_500, 5_001_000, 6_000_000, 1_000_000_000, 9_000_000_000, u64::MAX];
        let places: Vec<f64> = times.iter().map(|time| scale.place(*time)).collect();
        assert!(places.is_sorted(), "{places:?}");
        assert!(places[3] - places[1] > 20.0, "a microsecond is wide enough to be seen: {places:?}");
        assert_eq!((places[0], places[7]), (0.0, 1000.0));
    }
}
