//! Plots as SVG.

mod bars;
mod lines;
mod scale;

use std::path::Path;

use anyhow::{Context as _, Result};
use plotters::{
    coord::Shift,
    prelude::{DrawingArea, IntoDrawingArea as _, SVGBackend, Text},
    style::{
        Color as _, IntoTextStyle as _, RGBColor,
        text_anchor::{HPos, Pos, VPos},
    },
};

use super::{POSTHOUSE, pick::Spread, text};

pub use self::{bars::bars, lines::lines};

/// A bar with a whisker from the lowest to the highest round.
#[derive(Debug, Clone, PartialEq)]
pub struct Bar {
    /// The system, which decides the colour.
    pub system: String,
    /// The text before the bar.
    pub name: String,
    /// Length of the bar and of its whisker.
    pub spread: Spread,
}

/// Bars under a common title.
#[derive(Debug, Clone, PartialEq)]
pub struct Block {
    /// The title; may be empty.
    pub title: String,
    /// The bars from the top down.
    pub bars: Vec<Bar>,
}

/// A system's curve.
#[derive(Debug, Clone, PartialEq)]
pub struct Line {
    /// The system, which decides the colour and the name in the legend.
    pub system: String,
    /// The points from left to right.
    pub points: Vec<(f64, f64)>,
}

/// The horizontal axis that all panels of a plot share.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Axis {
    /// Text below the axis.
    pub title: &'static str,
    /// Unit of the values.
    pub unit: Unit,
    /// Whether the axis is logarithmic.
    pub log: bool,
}

/// One chart of a plot.
#[derive(Debug, Clone, PartialEq)]
pub struct Panel {
    /// Text beside the vertical axis.
    pub title: &'static str,
    /// Unit of the values.
    pub unit: Unit,
    /// Whether the vertical axis is logarithmic.
    pub log: bool,
    /// The curves of the systems.
    pub lines: Vec<Line>,
}

/// Unit of the values on an axis.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// Numbers.
    Plain,
    /// Sizes in bytes.
    Bytes,
    /// Durations in microseconds.
    Micros,
}

impl Unit {
    fn show(self, value: f64) -> String {
        match self {
            _ if value == 0.0 => "0".to_owned(),
            Self::Plain => text::short(value),
            Self::Bytes => text::bytes(value),
            Self::Micros if value >= 1e6 => format!("{} s", text::trimmed(value / 1e6)),
            Self::Micros if value >= 1e3 => format!("{} ms", text::trimmed(value / 1e3)),
            Self::Micros => format!("{} µs", text::trimmed(value)),
        }
    }
}

type Root<'a> = DrawingArea<SVGBackend<'a>, Shift>;

const INK: RGBColor = RGBColor(40, 44, 52);
const PALE: RGBColor = RGBColor(225, 228, 233);
const PAPER: RGBColor = RGBColor(255, 255, 255);

/// Colour of a system, the same in all plots.
fn colour(system: &str) -> RGBColor {
    match system {
        POSTHOUSE => RGBColor(23, 84, 176),
        "rabbitmq" => RGBColor(240, 120, 20),
        "nats" => RGBColor(70, 170, 80),
        "nats-always" => RGBColor(20, 100, 60),
        "redis-always" => RGBColor(190, 30, 45),
        "redis-everysec" => RGBColor(240, 140, 155),
        "postgres" => RGBColor(130, 85, 170),
        _ => RGBColor(150, 155, 165),
    }
}

fn canvas(path: &Path, size: (u32, u32)) -> Result<Root<'_>> {
    let root = SVGBackend::new(path, size).into_drawing_area();
    root.fill(&PAPER).with_context(|| format!("drawing {}", path.display()))?;
    Ok(root)
}

/// Writes text at a point; the anchor says which part of the text is at the point.
fn label(root: &Root<'_>, text: &str, at: (i32, i32), size: i32, anchor: (HPos, VPos)) -> Result<()> {
    let style = ("sans-serif", size).into_text_style(root).pos(Pos::new(anchor.0, anchor.1));
    root.draw(&Text::new(text.to_owned(), at, style.color(&INK.to_rgba()))).context("drawing text")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_system_has_a_colour_of_its_own() {
        let names =
            [POSTHOUSE, "rabbitmq", "nats", "nats-always", "redis-always", "redis-everysec", "postgres", "x"];
        let colours: BTreeSet<_> =
            names.iter().map(|name| colour(name)).map(|it| (it.0, it.1, it.2)).collect();
        assert_eq!(colours.len(), names.len());
    }
}
