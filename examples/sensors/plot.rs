//! The picture: a panel for each series with the signal, the labelled windows and the alarms, as SVG.

use std::path::Path;

use common::{Failure, about};
use plotters::coord::Shift;
use plotters::coord::types::RangedCoordf64;
use plotters::prelude::*;

use crate::detect::DAY_MS;
use crate::nab::{Window, text_of};
use crate::reading::Reading;
use crate::score::Score;
use crate::series::Series;
use crate::watch::Alarm;

const WIDTH: u32 = 1_400;
const PANEL_HEIGHT: u32 = 300;
const LEGEND_HEIGHT: u32 = 34;
/// So many pixels wide is the signal.
const COLUMNS: usize = 1_280;
const SIGNAL: RGBColor = RGBColor(31, 90, 150);
const LABELLED: RGBColor = RGBColor(245, 190, 70);
const ALARM: RGBColor = RGBColor(205, 25, 40);

type Panel<'a> = DrawingArea<SVGBackend<'a>, Shift>;
/// Days since 1970, so that the axis has its marks at midnight, and values.
type Axes<'a, 'b> = ChartContext<'a, SVGBackend<'b>, Cartesian2d<RangedCoordf64, RangedCoordf64>>;

pub(crate) fn draw(file: &Path, panels: &[(&Series, Vec<Alarm>)]) -> Result<(), Failure> {
    let height = LEGEND_HEIGHT + PANEL_HEIGHT * panels.len() as u32;
    let area = SVGBackend::new(file, (WIDTH, height)).into_drawing_area();
    let draw_all = || {
        area.fill(&WHITE)?;
        let (top, rest) = area.split_vertically(LEGEND_HEIGHT);
        legend(&top)?;
        let parts = rest.split_evenly((panels.len(), 1));
        parts.iter().zip(panels).try_for_each(|(part, (series, alarms))| panel(part, series, alarms))?;
        area.present().map_err(Failure::from)
    };
    draw_all().map_err(|failure| about(file, failure))
}

/// Above all panels, where it hides nothing.
fn legend(area: &Panel<'_>) -> Result<(), Failure> {
    let y = LEGEND_HEIGHT as i32 / 2;
    let font = ("sans-serif", 14).into_font().color(&BLACK);
    let text = |x, text| Text::new(text, (x, y - 7), font.clone());
    area.draw(&PathElement::new([(76, y), (100, y)], SIGNAL.stroke_width(2)))?;
    area.draw(&text(108, "readings"))?;
    area.draw(&Rectangle::new([(216, y - 7), (240, y + 7)], LABELLED.mix(0.4).filled()))?;
    area.draw(&text(248, "labelled as anomalous"))?;
    area.draw(&TriangleMarker::new((446, y), 6, ALARM.filled()))?;
    area.draw(&text(456, "an alarm begins"))?;
    area.draw(&Rectangle::new([(596, y - 7), (620, y + 7)], ALARM.mix(0.22).filled()))?;
    area.draw(&text(628, "it lasts"))?;
    Ok(())
}

fn panel(area: &Panel<'_>, series: &Series, alarms: &[Alarm]) -> Result<(), Failure> {
    let readings = &series.readings;
    let (first, last) = extent(readings.iter().map(|reading| days(reading.at)), 0.01);
    let (lowest, highest) = extent(readings.iter().map(|reading| reading.value), 0.1);
    let mut axes = ChartBuilder::on(area)
        .caption(caption(series, alarms), ("sans-serif", 17))
        .margin(8)
        .margin_right(24)
        .x_label_area_size(26)
        .y_label_area_size(64)
        .build_cartesian_2d(first..last, lowest..highest)?;
    axes.configure_mesh()
        .x_labels(14)
        .y_labels(6)
        .x_label_formatter(&|day| date(*day))
        .y_label_formatter(&|value| format!("{}", (value * 1e6).round() / 1e6))
        .light_line_style(TRANSPARENT)
        .bold_line_style(BLACK.mix(0.08))
        .label_style(("sans-serif", 13))
        .draw()?;
    draw_windows(&mut axes, series.windows.as_deref().unwrap_or_default(), lowest..highest)?;
    draw_signal(&mut axes, readings, (last - first) / COLUMNS as f64)?;
    draw_alarms(&mut axes, alarms, lowest..highest)?;
    Ok(())
}

fn caption(series: &Series, alarms: &[Alarm]) -> String {
    let name = &series.name;
    match &series.windows {
        None => format!("{name}: {} alarms, no labels", alarms.len()),
        Some(windows) => {
            let Score { labelled, found, alarms, inside } = Score::of(alarms, windows);
            format!("{name}: {found} of {labelled} windows found, {inside} of {alarms} alarms begin in one")
        }
    }
}

fn draw_windows(
    axes: &mut Axes<'_, '_>,
    windows: &[Window],
    height: std::ops::Range<f64>,
) -> Result<(), Failure> {
    let style = LABELLED.mix(0.4).filled();
    let boxes = windows.iter().map(|window| {
        Rectangle::new([(days(window.start), height.start), (days(window.end), height.end)], style)
    });
    axes.draw_series(boxes)?;
    Ok(())
}

/// Of the readings in a column of pixels only the lowest and the highest can be seen. The line is broken
/// where readings are missing.
fn draw_signal(axes: &mut Axes<'_, '_>, readings: &[Reading], column: f64) -> Result<(), Failure> {
    let gap = longest_usual_interval(readings);
    let pieces = readings.chunk_by(|before, after| days(after.at) - days(before.at) <= gap);
    let lines = pieces.map(|piece| PathElement::new(thinned(piece, column), SIGNAL.stroke_width(1)));
    axes.draw_series(lines)?;
    // A reading between two gaps is no line.
    let pieces = readings.chunk_by(|before, after| days(after.at) - days(before.at) <= gap);
    let lonely = pieces.filter(|piece| piece.len() == 1).flatten();
    axes.draw_series(
        lonely.map(|reading| Circle::new((days(reading.at), reading.value), 1, SIGNAL.filled())),
    )?;
    Ok(())
}

fn draw_alarms(
    axes: &mut Axes<'_, '_>,
    alarms: &[Alarm],
    height: std::ops::Range<f64>,
) -> Result<(), Failure> {
    let bands = alarms.iter().map(|alarm| {
        Rectangle::new(
            [(days(alarm.began), height.start), (days(alarm.ended), height.end)],
            ALARM.mix(0.22).filled(),
        )
    });
    axes.draw_series(bands)?;
    let lines = alarms.iter().map(|alarm| {
        PathElement::new(
            [(days(alarm.began), height.start), (days(alarm.began), height.end)],
            ALARM.stroke_width(1),
        )
    });
    axes.draw_series(lines)?;
    let top = height.end - 0.04 * (height.end - height.start);
    let heads = alarms.iter().map(|alarm| TriangleMarker::new((days(alarm.began), top), 6, ALARM.filled()));
    axes.draw_series(heads)?;
    Ok(())
}

/// First and last reading of each column, and lowest and highest between them.
fn thinned(readings: &[Reading], column: f64) -> Vec<(f64, f64)> {
    let same = |before: &Reading, after: &Reading| {
        (days(before.at) / column).floor() == (days(after.at) / column).floor()
    };
    let ends_of = |readings: &[Reading]| {
        let by_value = |a: &&Reading, b: &&Reading| a.value.total_cmp(&b.value);
        let mut kept = [
            readings.first(),
            readings.iter().min_by(by_value),
            readings.iter().max_by(by_value),
            readings.last(),
        ];
        kept.sort_by_key(|reading| reading.map(|reading| reading.at));
        kept.into_iter().flatten().map(|reading| (days(reading.at), reading.value)).collect::<Vec<_>>()
    };
    readings.chunk_by(same).flat_map(ends_of).collect()
}

/// In days: what is more than six times the usual interval is a gap.
fn longest_usual_interval(readings: &[Reading]) -> f64 {
    let mut intervals: Vec<_> = readings.windows(2).map(|pair| pair[1].at - pair[0].at).collect();
    intervals.sort_unstable();
    intervals.get(intervals.len() * 9 / 10).map_or(1.0, |usual| 6.0 * days(*usual))
}

/// The smallest and the largest, and a margin.
fn extent(values: impl Iterator<Item = f64> + Clone, margin: f64) -> (f64, f64) {
    let lowest = values.clone().fold(f64::INFINITY, f64::min);
    let highest = values.fold(f64::NEG_INFINITY, f64::max);
    let size = highest - lowest;
    // A constant series has a height too.
    let margin = if size > 0.0 { margin * size } else { margin.max(lowest.abs() * 1e-6) };
    (lowest - margin, highest + margin)
}

fn days(at: i64) -> f64 {
    at as f64 / DAY_MS as f64
}

/// The day, and the time where it is not midnight.
fn date(day: f64) -> String {
    let text = text_of((day * DAY_MS as f64).round() as i64);
    text.strip_suffix(" 00:00:00").or(text.strip_suffix(":00")).unwrap_or(&text).to_owned()
}
