//! The scale of an axis: positions of values, and its labels.

use std::ops::Range;

use plotters::coord::ranged1d::{DefaultFormatting, KeyPointHint, Ranged};

use super::Unit;

/// Range and labels of an axis.
#[derive(Debug, Clone, PartialEq)]
pub struct Scale {
    log: bool,
    /// Positions of the lowest and the highest value.
    pub range: (f64, f64),
    /// Positions of the labels.
    pub ticks: Vec<f64>,
}

impl Scale {
    /// The scale of these values; a linear one begins at zero.
    pub fn of(values: &[f64], unit: Unit, log: bool) -> Self {
        let values = values.iter().copied().filter(|value| value.is_finite() && (!log || *value > 0.0));
        let (mut low, mut high) = (f64::INFINITY, 0.0_f64);
        for value in values {
            (low, high) = (low.min(value), high.max(value));
        }
        if high <= 0.0 {
            (low, high) = (1.0, 1.0);
        }
        if log { Self::log(low, high, unit) } else { Self::linear(high, unit) }
    }

    fn linear(high: f64, unit: Unit) -> Self {
        let step = step(high / 5.0, unit);
        let count = (high / step).ceil().max(1.0);
        let ticks = (0..=count as u32).map(|tick| f64::from(tick) * step).collect();
        Self { log: false, range: (0.0, count * step), ticks }
    }

    fn log(low: f64, high: f64, unit: Unit) -> Self {
        // The labels of sizes are powers of two.
        let (base, digits): (f64, &[f64]) =
            if unit == Unit::Bytes { (16.0, &[1.0, 4.0]) } else { (10.0, &[1.0, 2.0, 5.0]) };
        let first = low.log(base).floor();
        let last = high.log(base).ceil().max(first + 1.0);
        let digits = if last - first <= 2.0 { digits } else { &digits[..1] };
        let (from, to) = (first * base.log10(), last * base.log10());
        let mut ticks = Vec::new();
        for power in first as i32..=last as i32 {
            ticks.extend(digits.iter().map(|digit| f64::from(power) * base.log10() + digit.log10()));
        }
        ticks.retain(|tick| *tick <= to + 1e-9);
        Self { log: true, range: (from, to), ticks }
    }

    /// The scale of a curve's points, with a margin around them; the points are the labels if there are at most
    /// `max_labels`.
    pub fn of_points(points: &[f64], unit: Unit, log: bool, max_labels: usize) -> Self {
        let mut scale = Self::of(points, unit, log);
        let mut positions: Vec<f64> =
            points.iter().filter(|x| !log || **x > 0.0).map(|x| scale.position(*x)).collect();
        positions.sort_by(f64::total_cmp);
        positions.dedup();
        let (Some(first), Some(last)) = (positions.first().copied(), positions.last().copied()) else {
            return scale;
        };
        let air = if last > first { (last - first) * 0.04 } else { 0.5 };
        if log {
            scale.range = (first - air, last + air);
            let apart = positions.windows(2).map(|pair| pair[1] - pair[0]).fold(f64::INFINITY, f64::min);
            if apart * max_labels as f64 >= last - first {
                scale.ticks = positions;
            }
            scale.ticks.retain(|tick| (first - air..=last + air).contains(tick));
        }
        scale
    }

    /// Position of a value.
    pub fn position(&self, value: f64) -> f64 {
        if self.log { value.max(f64::MIN_POSITIVE).log10().max(-300.0) } else { value }
    }

    /// Value at a position.
    pub fn value(&self, position: f64) -> f64 {
        if self.log { 10_f64.powf(position) } else { position }
    }
}

impl Ranged for Scale {
    type FormatOption = DefaultFormatting;
    type ValueType = f64;

    fn map(&self, position: &f64, limit: (i32, i32)) -> i32 {
        let share = (position - self.range.0) / (self.range.1 - self.range.0);
        limit.0 + (share * f64::from(limit.1 - limit.0)).round() as i32
    }

    fn key_points<Hint: KeyPointHint>(&self, hint: Hint) -> Vec<f64> {
        if hint.weight().allow_light_points() { Vec::new() } else { self.ticks.clone() }
    }

    fn range(&self) -> Range<f64> {
        self.range.0..self.range.1
    }
}

/// The next round step above this value.
fn step(rough: f64, unit: Unit) -> f64 {
    if unit == Unit::Bytes {
        return rough.log2().ceil().exp2();
    }
    let decade = 10_f64.powf(rough.log10().floor());
    let digit = [1.0, 2.0, 5.0].into_iter().find(|digit| digit * decade >= rough).unwrap_or(10.0);
    digit * decade
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_linear_scale_begins_at_zero_and_has_round_steps() {
        let scale = Scale::of(&[7.0, 437.0], Unit::Plain, false);
        assert_eq!(scale.ticks, [0.0, 100.0, 200.0, 300.0, 400.0, 500.0]);
        assert_eq!(scale.range, (0.0, 500.0));
        assert_eq!(Scale::of(&[900.0], Unit::Bytes, false).ticks[1], 256.0);
    }

    #[test]
    fn a_logarithmic_scale_holds_its_values_between_decades() {
        let scale = Scale::of(&[3.0, 40_000.0], Unit::Plain, true);
        assert_eq!((scale.range, scale.ticks.len()), ((0.0, 5.0), 6));
        assert!((scale.value(scale.position(1_234.0)) - 1_234.0).abs() < 1e-6);
        let sizes = Scale::of(&[5_000.0, 90_000.0], Unit::Bytes, true);
        let written: Vec<String> =
            sizes.ticks.iter().map(|tick| Unit::Bytes.show(sizes.value(*tick))).collect();
        assert_eq!(written, ["4 KiB", "16 KiB", "64 KiB", "256 KiB", "1 MiB"]);
    }

    #[test]
    fn nothing_and_zero_have_a_scale() {
        for values in [&[][..], &[0.0], &[f64::NAN]] {
            for log in [false, true] {
                let scale = Scale::of(values, Unit::Plain, log);
                assert!(scale.range.0 < scale.range.1 && scale.ticks.len() > 1, "{values:?} {scale:?}");
            }
        }
    }

    #[test]
    fn points_are_written_only_if_they_fit() {
        let wide = Scale::of_points(&[1.0, 10.0, 1_000.0], Unit::Plain, true, 9);
        assert_eq!(wide.ticks, [0.0, 1.0, 3.0]);
        let narrow = Scale::of_points(&[100.0, 101.0, 10_000.0], Unit::Plain, true, 9);
        assert_eq!(narrow.ticks.len(), 7, "{narrow:?}");
    }
}
