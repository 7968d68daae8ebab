//! A line for each name, and on it a dot for each ratio.

use anyhow::{Context as _, Result};
use plotters::{
    coord::Shift,
    prelude::{Circle, DrawingArea, IntoDrawingArea as _, PathElement, SVGBackend, Text},
    style::{Color as _, IntoFont as _, TextStyle, WHITE},
};

use super::{COLOURS, FONT, GREY, LIGHT, colour, count, distinct};
use crate::report::{Report, Row};

type Canvas<'a> = DrawingArea<SVGBackend<'a>, Shift>;

/// Where things are, in pixels.
const WIDTH: u32 = 960;
const TOP: i32 = 86;
const LINE: i32 = 20;
const LEFT: i32 = 250;
const RIGHT: i32 = 930;
/// Pixels of a line's height that a text of it is above the middle.
const RISE: i32 = 5;

/// The lines and the scale.
struct Axes<'a> {
    names: Vec<&'a str>,
    flows: Vec<u64>,
    most: f64,
}

impl<'a> Axes<'a> {
    fn of(rows: &'a [Row]) -> Self {
        let mut flows = distinct(rows.iter().map(|row| row.flows));
        flows.sort_unstable();
        let most = rows.iter().map(|row| row.ratio).fold(1.0, f64::max);
        Self {
            names: distinct(rows.iter().map(|row| row.name.as_str())),
            flows,
            most: step(most) * (most / step(most)).ceil(),
        }
    }

    #[expect(clippy::cast_possible_truncation, reason = "pixels of a picture")]
    fn x(&self, ratio: f64) -> i32 {
        LEFT + (f64::from(RIGHT - LEFT) * ratio / self.most).round() as i32
    }

    fn y(&self, name: &str) -> i32 {
        let line = self.names.iter().position(|known| *known == name).unwrap_or(0);
        TOP + LINE * i32::try_from(line).unwrap_or(0) + LINE / 2
    }

    fn bottom(&self) -> i32 {
        TOP + LINE * i32::try_from(self.names.len()).unwrap_or(0)
    }
}

pub fn ratios(report: &Report) -> Result<String> {
    let axes = Axes::of(&report.rows);
    let height = u32::try_from(axes.bottom() + 40).context("more lines than a picture has")?;
    let mut picture = String::new();
    {
        let canvas = SVGBackend::with_string(&mut picture, (WIDTH, height)).into_drawing_area();
        canvas.fill(&WHITE)?;
        title(&canvas, report)?;
        legend(&canvas, &axes)?;
        scale(&canvas, &axes)?;
        for name in &axes.names {
            let y = axes.y(name);
            canvas.draw(&Text::new((*name).to_owned(), (20, y - RISE), text(13)))?;
            canvas.draw(&PathElement::new(vec![(LEFT, y), (RIGHT, y)], LIGHT))?;
        }
        for row in report.rows.iter().filter(|row| row.ratio.is_finite()) {
            let index = axes.flows.iter().position(|flows| *flows == row.flows);
            let at = (axes.x(row.ratio), axes.y(&row.name));
            canvas.draw(&Circle::new(at, 4, colour(index.unwrap_or(0)).mix(0.85).filled()))?;
        }
        canvas.present().context("draw the results")?;
    }
    Ok(picture)
}

fn title(canvas: &Canvas<'_>, report: &Report) -> Result<()> {
    let bases = distinct(report.rows.iter().map(|row| row.base.as_str()));
    let title = format!(
        "xlb, bench {}: times the base ({})",
        report.suite,
        bases.join(", ")
    );
    canvas.draw(&Text::new(title, (20, 12), text(16)))?;
    let below = format!("{}, {}", report.machine, report.date);
    canvas.draw(&Text::new(below, (20, 34), text(12).color(&GREY)))?;
    Ok(())
}

/// Which colour is how many flows; nothing where all are the same.
fn legend(canvas: &Canvas<'_>, axes: &Axes<'_>) -> Result<()> {
    if axes.flows.len() < 2 {
        return Ok(());
    }
    let mut x = LEFT;
    for (index, &flows) in axes.flows.iter().enumerate().take(COLOURS.len()) {
        canvas.draw(&Circle::new((x, 60), 4, colour(index).filled()))?;
        canvas.draw(&Text::new(count(flows), (x + 9, 60 - RISE), text(12)))?;
        x += 75;
    }
    Ok(())
}

fn scale(canvas: &Canvas<'_>, axes: &Axes<'_>) -> Result<()> {
    let step = step(axes.most);
    let mut at = 0.0;
    while at <= axes.most {
        let x = axes.x(at);
        canvas.draw(&PathElement::new(vec![(x, TOP), (x, axes.bottom())], LIGHT))?;
        canvas.draw(&Text::new(
            format!("{at}"),
            (x - 4, axes.bottom() + 8),
            text(12).color(&GREY),
        ))?;
        at += step;
    }
    // The base itself.
    let x = axes.x(1.0);
    canvas.draw(&PathElement::new(vec![(x, TOP), (x, axes.bottom())], GREY))?;
    Ok(())
}

/// Steps of a scale that has no more than ten of them.
fn step(most: f64) -> f64 {
    [0.25, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0]
        .into_iter()
        .find(|step| most / step <= 10.0)
        .unwrap_or(most / 10.0)
}

fn text(size: i32) -> TextStyle<'static> {
    (FONT, size).into_font().into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::Samples;

    fn row(name: &str, flows: u64, figure: f64) -> Row {
        let samples: Samples = [figure].into_iter().collect();
        let base: Samples = [1.0].into_iter().collect();
        Row::new(name, flows, "ns", &samples, "send", &base)
    }

    #[test]
    fn rows_of_one_name_share_a_line_and_the_scale_holds_all_of_them() {
        let rows = [row("a", 1, 1.2), row("b", 1, 4.6), row("a", 100, 1.4)];
        let axes = Axes::of(&rows);
        assert_eq!(
            (axes.names.len(), axes.flows.as_slice()),
            (2, [1, 100].as_slice())
        );
        assert!(axes.x(0.0) == LEFT && axes.x(4.6) <= RIGHT && axes.y("b") == axes.y("a") + LINE);
    }

    #[test]
    fn a_scale_has_ten_steps_at_most() {
        assert_eq!([1.0, 2.6, 9.0, 45.0].map(step), [0.25, 0.5, 1.0, 5.0]);
        assert_eq!(step(4000.0), 400.0);
    }
}
