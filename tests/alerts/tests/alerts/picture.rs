//! A picture of the dashboard, drawn from its own file and what a Prometheus holds: what its panels tell is seen before anybody has a
//! Grafana to load it into. `scripts/pictures` puts it into docs/.

use std::fmt::Write as _;

use anyhow::Result;
use serde_json::Value;

use crate::files::text;
use crate::prometheus::Prometheus;

/// How wide a column of the dashboard's grid is here, and how high a row.
const COLUMN: f64 = 50.0;
const ROW: f64 = 26.0;

/// So far down the picture goes: below are pushes, generators and nodes.
const LAST_ROW: f64 = 55.0;

/// How many rows of a table there is room for.
const MOST_ROWS: usize = 6;

const COLOURS: [&str; 8] = ["#3b7dd8", "#c4472d", "#2f8f5b", "#b7791f", "#7a4fb5", "#0f8a9d", "#a8326e", "#5c6470"];

const STYLE: &str = "text{font:12px sans-serif;fill:#1f2430}.q{fill:#5c6470;font-size:11px}.t{font-weight:600}.n{font-size:30px;font-weight:600}\
                     .r{font-size:14px;font-weight:600}.p{fill:#fff;stroke:#d5d9e0}.g{stroke:#e6e9ee}.l{fill:none;stroke-width:1.5}";

/// A series of a panel: what its legend says, and its points.
struct Series {
    name: String,
    points: Vec<(f64, f64)>,
}

/// A place of the picture.
#[derive(Clone, Copy)]
struct Place {
    x: f64,
    y: f64,
    w: f64,
    h: f64,
}

/// The picture of the last so many seconds, as SVG, and how many panels have something in them.
pub async fn draw(prometheus: &Prometheus, seconds: u64) -> Result<(String, usize)> {
    let dashboard: Value = serde_json::from_str(&text("config/chart/files/dashboard.json"))?;
    let (mut svg, mut filled) = (String::new(), 0);
    let (width, height) = (24.0 * COLUMN, LAST_ROW * ROW);
    write!(
        svg,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" width=\"{width}\" height=\"{height}\">\
         <style>{STYLE}</style><rect width=\"{width}\" height=\"{height}\" fill=\"#f3f5f8\"/>"
    )?;
    for panel in dashboard["panels"].as_array().into_iter().flatten() {
        let at = |field: &str| panel["gridPos"][field].as_f64().unwrap_or_default();
        if at("y") >= LAST_ROW {
            continue;
        }
        let place = Place {
            x: at("x") * COLUMN + 4.0,
            y: at("y") * ROW + 4.0,
            w: at("w") * COLUMN - 8.0,
            h: at("h") * ROW - 8.0,
        };
        let title = panel["title"].as_str().unwrap_or_default();
        if panel["type"] == "row" {
            label(&mut svg, "r", place.x + 2.0, place.y + 16.0, title, place.w);
            continue;
        }
        let Place { x, y, w, h } = place;
        write!(svg, "<rect class=\"p\" x=\"{x}\" y=\"{y}\" width=\"{w}\" height=\"{h}\" rx=\"3\"/>")?;
        label(&mut svg, "t", x + 8.0, y + 17.0, title, w - 16.0);
        filled += usize::from(drawn(&mut svg, prometheus, panel, place, seconds).await?);
    }
    svg.push_str("</svg>\n");
    Ok((svg, filled))
}

/// Draws what is in a panel; answers whether anything is.
async fn drawn(svg: &mut String, prometheus: &Prometheus, panel: &Value, place: Place, seconds: u64) -> Result<bool> {
    let unit = panel["fieldConfig"]["defaults"]["unit"].as_str().unwrap_or_default();
    let (mut found, mut series) = (Vec::new(), Vec::new());
    for target in panel["targets"].as_array().into_iter().flatten() {
        let query = target["expr"].as_str().unwrap_or_default();
        if panel["type"] == "timeseries" {
            let legend = target["legendFormat"].as_str().unwrap_or_default();
            series.extend(prometheus.range(query, seconds).await?.iter().map(|of| series_of(of, legend)));
        } else {
            found.extend(prometheus.query(query).await?);
        }
    }
    match panel["type"].as_str() {
        Some("stat") => {
            let value = found.first().map_or(0.0, |of| number(&of["value"][1]));
            label(svg, "n", place.x + 12.0, place.y + place.h - 18.0, &told(value, unit), place.w);
        }
        Some("timeseries") => lines(svg, &series, place, unit),
        _ => table(svg, &found, place, unit),
    }
    if found.is_empty() && series.is_empty() && panel["type"] != "stat" {
        label(svg, "q", place.x + 8.0, place.y + place.h / 2.0, "nothing", place.w);
    }
    Ok(!found.is_empty() || !series.is_empty())
}

fn series_of(of: &Value, legend: &str) -> Series {
    let mut name = legend.to_owned();
    for (label, value) in of["metric"].as_object().into_iter().flatten() {
        name = name.replace(&format!("{{{{{label}}}}}"), value.as_str().unwrap_or_default());
    }
    let values = of["values"].as_array().into_iter().flatten();
    let points = values.map(|point| (point[0].as_f64().unwrap_or_default(), number(&point[1])));
    Series { name, points: points.filter(|(_, value)| value.is_finite()).collect() }
}

/// Lines over the same time, from zero to the largest of all, and what they are.
fn lines(svg: &mut String, all: &[Series], Place { x, y, w, h }: Place, unit: &str) {
    let points = || all.iter().flat_map(|series| &series.points);
    let most = points().map(|(_, value)| *value).fold(0.0, f64::max);
    let top = if most > 0.0 { most * 1.1 } else { 1.0 };
    let (first, last) = points().fold((f64::MAX, f64::MIN), |(a, b), (at, _)| (a.min(*at), b.max(*at)));
    let area = Place { x: x + 52.0, y: y + 28.0, w: w - 62.0, h: h - 56.0 };
    for part in [0.0, 0.5, 1.0] {
        let at = area.y + area.h * (1.0 - part);
        let _ = write!(svg, "<path class=\"g\" d=\"M{:.0} {at:.0}h{:.0}\"/>", area.x, area.w);
        label(svg, "q", x + 6.0, at + 4.0, &told(top * part, unit), 46.0);
    }
    let mut next = x + 8.0;
    for (series, colour) in all.iter().zip(COLOURS.iter().cycle()) {
        let mut path = String::new();
        for (at, value) in &series.points {
            let across = if last > first { (at - first) / (last - first) } else { 0.0 };
            let begins = if path.is_empty() { 'M' } else { 'L' };
            let (px, py) = (area.x + area.w * across, area.y + area.h * (1.0 - value / top));
            let _ = write!(path, "{begins}{px:.1} {py:.1}");
        }
        let _ = write!(svg, "<path class=\"l\" stroke=\"{colour}\" d=\"{path}\"/>");
        let width = series.name.chars().count() as f64 * 6.2 + 22.0;
        if next + width < x + w && !series.name.is_empty() {
            let _ = write!(svg, "<path class=\"l\" stroke=\"{colour}\" d=\"M{next:.0} {:.0}h10\"/>", y + h - 12.0);
            label(svg, "q", next + 14.0, y + h - 8.0, &series.name, width);
            next += width;
        }
    }
}

/// A line for each that was found: what it is of, and how much.
fn table(svg: &mut String, found: &[Value], Place { x, y, w, .. }: Place, unit: &str) {
    for (n, of) in found.iter().take(MOST_ROWS).enumerate() {
        let at = y + 42.0 + 22.0 * n as f64;
        let metric = |label: &str| of["metric"][label].as_str().unwrap_or_default();
        let named = [metric("namespace"), metric("name")].into_iter().filter(|part| !part.is_empty());
        label(svg, "", x + 8.0, at, &named.collect::<Vec<_>>().join("/"), w - 120.0);
        label(svg, "", x + w - 100.0, at, &told(number(&of["value"][1]), unit), 92.0);
        let _ = write!(svg, "<path class=\"g\" d=\"M{:.0} {:.0}h{:.0}\"/>", x + 8.0, at + 7.0, w - 16.0);
    }
}

/// Prometheus writes numbers as texts.
fn number(value: &Value) -> f64 {
    value.as_str().and_then(|text| text.parse().ok()).unwrap_or_default()
}

fn told(value: f64, unit: &str) -> String {
    let plain = |value: f64| match value.abs() {
        large if large >= 10.0 || value == value.round() => format!("{value:.0}"),
        middle if middle >= 0.1 => format!("{value:.2}"),
        _ => format!("{value:.3}"),
    };
    match unit {
        "percentunit" => format!("{:.0} %", value * 100.0),
        "ops" => format!("{}/s", plain(value)),
        "s" if value.abs() >= 120.0 => format!("{:.0} min", value / 60.0),
        "s" if value > 0.0 && value < 1.0 => format!("{:.0} ms", value * 1000.0),
        "s" => format!("{} s", plain(value)),
        _ => plain(value),
    }
}

/// A text, cut off where it has no room.
fn label(svg: &mut String, class: &str, x: f64, y: f64, text: &str, room: f64) {
    let most = (room / 6.0) as usize;
    let kept: String = text.chars().take(most).collect();
    let escaped = kept.replace('&', "&amp;").replace('<', "&lt;");
    let _ = write!(svg, "<text class=\"{class}\" x=\"{x:.0}\" y=\"{y:.0}\">{escaped}</text>");
}
