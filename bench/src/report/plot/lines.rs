//! Curves of the systems, in one or two charts side by side.

use std::path::Path;

use anyhow::{Context as _, Result};
use plotters::{
    chart::ChartBuilder,
    prelude::{Circle, LineSeries, Rectangle},
    style::{
        Color as _, IntoTextStyle as _,
        text_anchor::{HPos, VPos},
    },
};

use super::{Axis, INK, Line, PALE, Panel, Root, canvas, colour, label, scale::Scale};

const WIDTH: u32 = 960;
const HEIGHT: u32 = 440;
const HEAD: i32 = 76;
/// Approximate width of a letter in the legend, in pixels.
const LETTER: i32 = 8;

/// Draws charts side by side, under one legend.
pub fn lines(path: &Path, title: &str, x: &Axis, panels: &[Panel]) -> Result<()> {
    let root = canvas(path, (WIDTH, HEIGHT))?;
    label(&root, title, (WIDTH as i32 / 2, 24), 22, (HPos::Center, VPos::Center))?;
    legend(&root, panels)?;
    let (_, body) = root.split_vertically(HEAD);
    for (panel, area) in panels.iter().zip(body.split_evenly((1, panels.len().max(1)))) {
        chart(&area, x, panel, 18 / panels.len().max(1))
            .with_context(|| format!("drawing {}", path.display()))?;
    }
    root.present().with_context(|| format!("writing {}", path.display()))
}

/// Draws the systems of all panels with their colours, in one line.
fn legend(root: &Root<'_>, panels: &[Panel]) -> Result<()> {
    let mut names: Vec<&str> = Vec::new();
    for line in panels.iter().flat_map(|panel| &panel.lines) {
        if !names.contains(&line.system.as_str()) {
            names.push(&line.system);
        }
    }
    let width = |name: &str| 34 + LETTER * i32::try_from(name.len()).unwrap_or(0);
    let mut left = (WIDTH as i32 - names.iter().map(|name| width(name)).sum::<i32>()).max(0) / 2;
    for name in names {
        let corners = [(left, 48), (left + 12, 60)];
        root.draw(&Rectangle::new(corners, colour(name).filled())).context("drawing the legend")?;
        label(root, name, (left + 18, 54), 15, (HPos::Left, VPos::Center))?;
        left += width(name);
    }
    Ok(())
}

fn chart(area: &Root<'_>, x: &Axis, panel: &Panel, max_labels: usize) -> Result<()> {
    let points = || panel.lines.iter().flat_map(|line| &line.points);
    let across =
        Scale::of_points(&points().map(|point| point.0).collect::<Vec<_>>(), x.unit, x.log, max_labels);
    let up = Scale::of(&points().map(|point| point.1).collect::<Vec<_>>(), panel.unit, panel.log);
    let mut chart = ChartBuilder::on(area)
        .margin(8)
        .margin_right(24)
        .x_label_area_size(52)
        .y_label_area_size(88)
        .build_cartesian_2d(across.clone(), up.clone())?;
    let named =
        |title: &str, log: bool| if log { format!("{title} (logarithmic)") } else { title.to_owned() };
    chart
        .configure_mesh()
        .light_line_style(PALE.mix(0.0))
        .bold_line_style(PALE)
        .axis_style(INK)
        .x_desc(named(x.title, x.log))
        .y_desc(named(panel.title, panel.log))
        .axis_desc_style(("sans-serif", 17).into_text_style(area).color(&INK))
        .label_style(("sans-serif", 15).into_text_style(area).color(&INK))
        .x_label_formatter(&|position| x.unit.show(across.value(*position)))
        .y_label_formatter(&|position| panel.unit.show(up.value(*position)))
        .draw()?;
    // Posthouse is drawn last, so that its curve is on top.
    for Line { system, points } in panel.lines.iter().rev() {
        let positions = points.iter().filter(|point| !x.log || point.0 > 0.0);
        let positions: Vec<_> =
            positions.map(|point| (across.position(point.0), up.position(point.1))).collect();
        let colour = colour(system);
        chart.draw_series(LineSeries::new(positions.clone(), colour.stroke_width(2)))?;
        if positions.len() <= 40 {
            chart.draw_series(positions.into_iter().map(|point| Circle::new(point, 3, colour.filled())))?;
        }
    }
    Ok(())
}
