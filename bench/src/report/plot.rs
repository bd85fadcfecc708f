//! The chart: one way to one reader, over the sizes, both axes logarithmic.

use anyhow::{Result, anyhow};
use plotters::prelude::*;

use super::units::{size as bytes, time};
use crate::figures::{Figures, Peer};

const WIDTH: u32 = 1100;
const HEIGHT: u32 = 640;
/// Where the names begin.
const LEGEND: u32 = 790;

/// Draws it as SVG.
///
/// # Errors
///
/// If there is nothing to draw.
pub(super) fn chart(figures: &Figures) -> Result<String> {
    let mut svg = String::new();
    draw(figures, &mut svg).map_err(|error| anyhow!("failed to draw the chart: {error}"))?;
    // Every viewer has one of these; plotters names the first only.
    Ok(svg.replace("font-family=\"sans-serif\"", "font-family=\"Helvetica, Arial, sans-serif\""))
}

/// The figures of one transport: its place in the sizes, and nanoseconds.
fn line(figures: &Figures, peer: &Peer, sizes: &[usize]) -> Vec<(f64, f64)> {
    let cell = |size: &usize| figures.cell(peer.id, *size, 1).map(|cell| cell.latency_ns.median());
    sizes.iter().enumerate().filter_map(|(place, size)| Some((place as f64, cell(size)?))).collect()
}

fn draw(figures: &Figures, svg: &mut String) -> Result<(), Box<dyn std::error::Error>> {
    let sizes = figures.sizes(1);
    let lines: Vec<(&Peer, Vec<(f64, f64)>)> = figures
        .transports
        .iter()
        .map(|peer| (peer, line(figures, peer, &sizes)))
        .filter(|(_, points)| !points.is_empty())
        .collect();
    let times = || lines.iter().flat_map(|(_, points)| points.iter().map(|&(_, time)| time));
    let (lowest, highest) = times().fold((f64::MAX, 0.0_f64), |(low, high), time| (low.min(time), high.max(time)));
    if lines.is_empty() || lowest <= 0.0 {
        return Err("nothing was measured".into());
    }
    let root = SVGBackend::with_string(svg, (WIDTH, HEIGHT)).into_drawing_area();
    root.fill(&WHITE)?;
    let (left, legend) = root.split_horizontally(LEGEND);
    let right_end = sizes.len() as f64 - 0.8;
    let mut chart = ChartBuilder::on(&left)
        .caption("One way to one reader: from before the write until the reader holds the frame", ("sans-serif", 17))
        .margin(10)
        .margin_bottom(62)
        .x_label_area_size(34)
        .y_label_area_size(64)
        .build_cartesian_2d(-0.2..right_end, (lowest / 1.6..highest * 1.6).log_scale())?;
    chart
        .configure_mesh()
        .disable_x_mesh()
        .x_labels(sizes.len())
        .x_label_formatter(&|place| sizes.get(place.round() as usize).map_or(String::new(), |&size| bytes(size)))
        .y_label_formatter(&|nanoseconds| time(*nanoseconds))
        .label_style(("sans-serif", 14))
        .light_line_style(RGBColor(235, 235, 235))
        .draw()?;
    for (index, (peer, points)) in lines.iter().enumerate() {
        let style = style(index, peer);
        chart.draw_series(LineSeries::new(points.iter().copied(), style))?;
        chart.draw_series(
            points.iter().map(|&point| Circle::new(point, if peer.ours { 4 } else { 3 }, style.filled())),
        )?;
        let y = 60 + 28 * i32::try_from(index)?;
        legend.draw(&PathElement::new([(0, y), (28, y)], style))?;
        legend.draw(&Circle::new((14, y), if peer.ours { 4 } else { 3 }, style.filled()))?;
        legend.draw(&Text::new(peer.name, (36, y - 8), ("sans-serif", 15)))?;
    }
    for (index, text) in figures.machine.lines().into_iter().chain([figures.settings.command.clone()]).enumerate() {
        let y = i32::try_from(HEIGHT)? - 58 + 18 * i32::try_from(index)?;
        root.draw(&Text::new(text, (16, y), ("sans-serif", 13).into_font().color(&RGBColor(90, 90, 90))))?;
    }
    root.present()?;
    Ok(())
}

/// Ours are thick and in strong colours.
fn style(index: usize, peer: &Peer) -> ShapeStyle {
    if peer.ours {
        let shades = [RGBColor(0, 90, 200), RGBColor(110, 170, 240), RGBColor(0, 130, 70), RGBColor(110, 200, 150)];
        return shades[index % shades.len()].stroke_width(3);
    }
    let shades = [
        RGBColor(214, 39, 40),
        RGBColor(255, 127, 14),
        RGBColor(40, 40, 40),
        RGBColor(148, 103, 189),
        RGBColor(140, 86, 75),
        RGBColor(227, 119, 194),
        RGBColor(188, 150, 20),
        RGBColor(150, 150, 150),
        RGBColor(0, 190, 200),
    ];
    shades[index % shades.len()].stroke_width(2)
}
