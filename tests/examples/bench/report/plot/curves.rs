//! A panel for each unit, and in it a curve for each name.

use anyhow::{Context as _, Result, anyhow};
use plotters::{
    chart::{ChartBuilder, SeriesLabelPosition},
    coord::Shift,
    prelude::{
        Circle, DrawingArea, IntoDrawingArea as _, IntoLogRange as _, LineSeries, PathElement, SVGBackend,
        Text,
    },
    style::{Color as _, IntoFont as _, TextStyle, WHITE},
};

use super::{FONT, GREY, colour, count, distinct};
use crate::report::{Report, Row};

const WIDTH: u32 = 960;
const PANEL: u32 = 380;
const TITLE: u32 = 56;

pub fn curves(report: &Report) -> Result<String> {
    let units = distinct(report.rows.iter().map(|row| row.unit.as_str()));
    let panels = u32::try_from(units.len()).context("more panels than a picture has")?;
    let mut picture = String::new();
    {
        let canvas =
            SVGBackend::with_string(&mut picture, (WIDTH, TITLE + PANEL * panels)).into_drawing_area();
        canvas.fill(&WHITE)?;
        let text = |size| TextStyle::from((FONT, size).into_font());
        canvas.draw(&Text::new(
            format!("xlb, bench {}", report.suite),
            (20, 12),
            text(16),
        ))?;
        let below = format!("{}, {}", report.machine, report.date);
        canvas.draw(&Text::new(below, (20, 34), text(12).color(&GREY)))?;
        let (_, canvas) = canvas.split_vertically(TITLE);
        for (area, unit) in canvas.split_evenly((units.len(), 1)).iter().zip(&units) {
            let rows: Vec<&Row> = report.rows.iter().filter(|row| row.unit == *unit).collect();
            panel(area, unit, &rows)?;
        }
        canvas.present().context("draw the results")?;
    }
    Ok(picture)
}

fn panel(area: &DrawingArea<SVGBackend<'_>, Shift>, unit: &str, rows: &[&Row]) -> Result<()> {
    let most = rows.iter().map(|row| row.flows).max().unwrap_or(1).max(2);
    let highest = rows.iter().map(|row| row.median).fold(0.0, f64::max);
    let mut chart = ChartBuilder::on(area)
        .margin(16)
        .x_label_area_size(28)
        .y_label_area_size(64)
        .build_cartesian_2d(
            (1_u64..most).log_scale(),
            0.0..(highest * 1.1).max(f64::MIN_POSITIVE),
        )?;
    chart
        .configure_mesh()
        .light_line_style(WHITE)
        .y_desc(unit)
        .x_label_formatter(&|&flows| count(flows))
        .label_style((FONT, 12))
        .draw()?;
    for (index, name) in distinct(rows.iter().map(|row| &row.name)).into_iter().enumerate() {
        let points: Vec<(u64, f64)> = rows
            .iter()
            .filter(|row| row.name == *name)
            .map(|row| (row.flows, row.median))
            .collect();
        let colour = colour(index);
        chart
            .draw_series(LineSeries::new(points.clone(), colour.stroke_width(2)))?
            .label(name.as_str())
            .legend(move |(x, y)| PathElement::new(vec![(x, y), (x + 18, y)], colour.stroke_width(2)));
        chart.draw_series(points.into_iter().map(|at| Circle::new(at, 3, colour.filled())))?;
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::UpperLeft)
        .background_style(WHITE.mix(0.8))
        .label_font((FONT, 12))
        .draw()
        .map_err(|error| anyhow!("draw the legend: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::Samples;

    #[test]
    fn each_unit_has_a_panel_with_a_curve_for_each_name() {
        let samples: Samples = [10.0].into_iter().collect();
        let mut report = Report::new("scale").unwrap();
        for services in [1, 100, 10_000] {
            report.add(Row::new(
                "ipip/services",
                services,
                "ns",
                &samples,
                "send",
                &samples,
            ));
            report.add(Row::new(
                "memory/services",
                services,
                "MiB",
                &samples,
                "one",
                &samples,
            ));
        }
        let picture = curves(&report).unwrap();
        for part in ["ns", "MiB", "ipip/services", "memory/services", "10 k"] {
            assert!(picture.contains(part), "{part}: {picture}");
        }
    }
}
