//! Horizontal bars, with names beside them.

use std::path::Path;

use anyhow::{Context as _, Result};
use plotters::{
    coord::ranged1d::Ranged as _,
    prelude::{PathElement, Rectangle},
    style::{
        Color as _, RGBColor,
        text_anchor::{HPos, VPos},
    },
};

use super::{Block, INK, PALE, Root, Unit, canvas, colour, label, scale::Scale};

const WIDTH: i32 = 960;
const LEFT: i32 = 170;
const RIGHT: i32 = WIDTH - 100;
const TOP: i32 = 56;
const BOTTOM: i32 = 64;
const BAR: i32 = 26;
const TITLE: i32 = 32;

/// Draws blocks of bars over one scale.
pub fn bars(path: &Path, title: &str, axis: &str, unit: Unit, log: bool, blocks: &[Block]) -> Result<()> {
    let height: i32 = blocks.iter().map(height).sum();
    let root = canvas(path, (WIDTH.unsigned_abs(), (TOP + height + BOTTOM).unsigned_abs()))?;
    let ends = |block: &Block| {
        block.bars.iter().flat_map(|bar| [bar.spread.min, bar.spread.max]).collect::<Vec<_>>()
    };
    let scale = Scale::of(&blocks.iter().flat_map(ends).collect::<Vec<_>>(), unit, log);
    label(&root, title, (WIDTH / 2, 26), 22, (HPos::Center, VPos::Center))?;
    grid(&root, &scale, unit, TOP + height)?;
    let axis = if log { format!("{axis} (logarithmic)") } else { axis.to_owned() };
    label(&root, &axis, (i32::midpoint(LEFT, RIGHT), TOP + height + 46), 17, (HPos::Center, VPos::Center))?;
    let mut y = TOP;
    for block in blocks {
        draw(&root, block, &scale, unit, y)?;
        y += self::height(block);
    }
    root.present().with_context(|| format!("writing {}", path.display()))
}

fn height(block: &Block) -> i32 {
    let title = if block.title.is_empty() { 0 } else { TITLE };
    title + BAR * i32::try_from(block.bars.len()).unwrap_or(0)
}

fn x(scale: &Scale, position: f64) -> i32 {
    scale.map(&position, (LEFT, RIGHT)).clamp(LEFT, RIGHT)
}

fn line(root: &Root<'_>, points: Vec<(i32, i32)>, colour: RGBColor) -> Result<()> {
    root.draw(&PathElement::new(points, colour.stroke_width(1))).context("drawing a line")
}

fn grid(root: &Root<'_>, scale: &Scale, unit: Unit, bottom: i32) -> Result<()> {
    for tick in &scale.ticks {
        let x = x(scale, *tick);
        line(root, vec![(x, TOP), (x, bottom + 5)], PALE)?;
        let text = unit.show(scale.value(*tick));
        label(root, &text, (x, bottom + 18), 15, (HPos::Center, VPos::Center))?;
    }
    line(root, vec![(LEFT, bottom), (RIGHT, bottom)], INK)
}

fn draw(root: &Root<'_>, block: &Block, scale: &Scale, unit: Unit, top: i32) -> Result<()> {
    let mut y = top;
    if !block.title.is_empty() {
        label(root, &block.title, (12, y + TITLE / 2 + 2), 18, (HPos::Left, VPos::Center))?;
        y += TITLE;
    }
    for bar in &block.bars {
        let middle = y + BAR / 2;
        let at = |value: f64| x(scale, scale.position(value));
        let (low, end, high) = (at(bar.spread.min), at(bar.spread.median), at(bar.spread.max));
        label(root, &bar.name, (LEFT - 10, middle), 16, (HPos::Right, VPos::Center))?;
        let corners = [(LEFT, y + 4), (end.max(LEFT + 1), y + BAR - 4)];
        root.draw(&Rectangle::new(corners, colour(&bar.system).filled())).context("drawing a bar")?;
        if high - low > 1 {
            line(root, vec![(low, middle), (high, middle)], INK)?;
            line(root, vec![(low, middle - 4), (low, middle + 4)], INK)?;
            line(root, vec![(high, middle - 4), (high, middle + 4)], INK)?;
        }
        let beside = (high.max(end) + 8, middle);
        label(root, &value(unit, bar.spread.median), beside, 15, (HPos::Left, VPos::Center))?;
        y += BAR;
    }
    Ok(())
}

fn value(unit: Unit, value: f64) -> String {
    match unit {
        Unit::Plain => crate::report::text::number(value),
        Unit::Bytes => crate::report::text::bytes(value),
        Unit::Micros => crate::report::text::micros(value),
    }
}
