//! What a few runs say about all runs: medians and rates, each with an interval, without assuming a distribution.

use serde::Serialize;

/// A number and the interval that holds the true one with a confidence of at least 95 %.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Estimate {
    /// The number.
    pub value: f64,
    /// The lower end.
    pub low: f64,
    /// The upper end.
    pub high: f64,
}

/// The chance that an interval misses on either side.
const TAIL: f64 = 0.025;
/// The quantile of the normal distribution that leaves [`TAIL`] above it.
const Z: f64 = 1.959_964;

/// The median of the values, with the interval between two order statistics (sign test interval). With fewer than six
/// values no such interval reaches 95 %, and it is the whole range. `None` without values.
pub fn median(values: &[f64]) -> Option<Estimate> {
    let mut sorted = values.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    let (first, last) = (*sorted.first()?, *sorted.last()?);
    let (n, middle) = (sorted.len(), sorted.len() / 2);
    let value = if n % 2 == 1 { sorted[middle] } else { f64::midpoint(sorted[middle - 1], sorted[middle]) };
    // How many of n values fall below the true median is binomial with p = ½. The interval may leave out as many at
    // each end as fall there with a chance of at most `TAIL`.
    let mut left_out = 0;
    let (mut chance, mut below) = (0.5_f64.powi(i32::try_from(n).unwrap_or(i32::MAX)), 0.0);
    while left_out < middle {
        below += chance;
        if below > TAIL {
            break;
        }
        chance *= (n - left_out) as f64 / (left_out + 1) as f64;
        left_out += 1;
    }
    let (low, high) = match left_out {
        0 => (first, last),
        _ => (sorted[left_out - 1], sorted[n - left_out]),
    };
    Some(Estimate { value, low, high })
}

/// The rate of `hits` in `tries`, with Wilson's score interval (Wilson 1927). `None` without tries.
pub fn rate(hits: usize, tries: usize) -> Option<Estimate> {
    if tries == 0 {
        return None;
    }
    let (n, p) = (tries as f64, hits as f64 / tries as f64);
    let scale = 1.0 + Z * Z / n;
    let centre = (p + Z * Z / (2.0 * n)) / scale;
    let half = Z / scale * (p * (1.0 - p) / n + Z * Z / (4.0 * n * n)).sqrt();
    Some(Estimate { value: p, low: (centre - half).max(0.0), high: (centre + half).min(1.0) })
}

/// Whether the values lie on one side of nought more often than chance would have it: the two-sided sign test at 5 %,
/// values of nought left out.
pub fn differs(values: &[f64]) -> bool {
    let above = values.iter().filter(|value| **value > 0.0).count();
    let below = values.iter().filter(|value| **value < 0.0).count();
    let (n, rarer) = (above + below, above.min(below));
    if n == 0 {
        return false;
    }
    let (mut chance, mut tail) = (0.5_f64.powi(i32::try_from(n).unwrap_or(i32::MAX)), 0.0);
    for k in 0..=rarer {
        tail += chance;
        chance *= (n - k) as f64 / (k + 1) as f64;
    }
    tail <= TAIL
}

#[cfg(test)]
mod tests {
    use super::*;

    fn up_to(n: u32) -> Vec<f64> {
        (1..=n).map(f64::from).collect()
    }

    #[test]
    fn the_median_has_the_interval_of_the_sign_test() {
        let of = |n| median(&up_to(n)).map(|median| (median.value, median.low, median.high));
        assert_eq!(of(0), None);
        assert_eq!(of(1), Some((1.0, 1.0, 1.0)));
        // From tables of the sign test: n = 6 gives x(1)..x(6), n = 10 gives x(2)..x(9), n = 20 gives x(6)..x(15).
        assert_eq!(of(6), Some((3.5, 1.0, 6.0)));
        assert_eq!(of(10), Some((5.5, 2.0, 9.0)));
        assert_eq!(of(20), Some((10.5, 6.0, 15.0)));
    }

    #[test]
    fn a_rate_has_wilsons_interval() {
        let all = rate(10, 10).expect("ten tries");
        assert!(
            all.value == 1.0 && (all.low - 0.7225).abs() < 1e-3 && (all.high - 1.0).abs() < 1e-9,
            "{all:?}"
        );
        let half = rate(5, 10).expect("ten tries");
        assert!((half.low - 0.2366).abs() < 1e-3 && (half.high - 0.7634).abs() < 1e-3, "{half:?}");
        assert_eq!(rate(0, 0), None);
    }

    #[test]
    fn five_of_five_are_not_enough_to_differ_and_six_are() {
        assert!(!differs(&[1.0; 5]));
        assert!(differs(&[1.0; 6]));
        assert!(differs(&[-1.0; 6]));
        assert!(!differs(&[0.0; 100]));
        assert!(!differs(&[1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, -1.0]));
    }
}
