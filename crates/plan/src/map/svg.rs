//! The picture itself.

use std::collections::BTreeMap;
use std::fmt::Write;

use anycast_fleet::Coordinates;

use super::palette::colours;
use super::projection::project;
use crate::outcome::{Distribution, Outcome};
use crate::scene::Scene;

/// Outlines of land; see `map/data/README.md`.
const LAND: &str = include_str!("data/land.txt");

const WIDTH: f64 = 1400.0;
const MAP_TOP: f64 = 64.0;
/// Of one unit of the projection.
const UNIT: f64 = 255.0;
/// South of it nothing is drawn.
const SOUTH: f64 = -57.0;
const BOTTOM_TOP: f64 = 672.0;
/// Rows of the legend in one column.
const ROWS: usize = 8;
/// The area of a circle for all of the weight, in square pixels.
const AREA: f64 = 90_000.0;
/// No circle is smaller: one user more than none must be seen.
const LEAST_RADIUS: f64 = 1.1;
/// Networks within so many degrees are one circle.
const CELL: f64 = 1.5;

/// Users near one place.
#[derive(Clone, Debug, Default)]
struct Cell {
    weight: f64,
    lat: f64,
    lon: f64,
    /// The weight that lands at each site for sure, and that which does by tie.
    sure: Vec<f64>,
    tied: Vec<f64>,
    nowhere: f64,
}

pub(super) fn draw(scene: &Scene, outcome: &Outcome, title: &str) -> String {
    let colours = colours(&scene.sites);
    let rows = scene.sites.len().min(ROWS) + 1;
    #[expect(clippy::cast_precision_loss, reason = "a few rows")]
    let height = BOTTOM_TOP + f64::max(250.0, 60.0 + rows as f64 * 21.0);
    let mut out = String::new();
    start(&mut out, height, &colours, title, scene);
    land(&mut out);
    let mut cells: Vec<Cell> = cells(scene, outcome).into_values().collect();
    // Large ones first, so that small ones are not hidden.
    cells.sort_by(|a, b| b.weight.total_cmp(&a.weight));
    let placed: f64 = cells.iter().map(|cell| cell.weight).sum();
    for cell in &cells {
        circle(&mut out, cell, placed, &colours);
    }
    sites(&mut out, scene, &colours);
    scales(&mut out);
    legend(&mut out, scene, outcome, &colours);
    curve(&mut out, scene, &outcome.distribution(scene));
    out.push_str("</svg>\n");
    out
}

macro_rules! put {
    ($out:expr, $($words:tt)*) => {
        writeln!($out, $($words)*).expect("a string takes all")
    };
}

fn at(place: Coordinates) -> (f64, f64) {
    let (x, y) = project(place);
    (WIDTH / 2.0 + x * UNIT, MAP_TOP + 335.0 - y * UNIT)
}

/// Text in XML.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            letter if letter.is_control() => out.push('\u{fffd}'),
            letter => out.push(letter),
        }
    }
    out
}

fn start(out: &mut String, height: f64, colours: &[&str], title: &str, scene: &Scene) {
    put!(
        out,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH}\" height=\"{height}\" \
         viewBox=\"0 0 {WIDTH} {height}\" font-family=\"DejaVu Sans, Verdana, sans-serif\" \
         font-size=\"13\" fill=\"#222\">"
    );
    put!(out, "<title>{}</title>", escaped(title));
    put!(out, "<defs>");
    for (at, colour) in colours.iter().enumerate() {
        // A tie: the colour of the site, with white stripes.
        put!(
            out,
            "<pattern id=\"tie{at}\" width=\"4\" height=\"4\" patternUnits=\"userSpaceOnUse\" \
             patternTransform=\"rotate(45)\"><rect width=\"4\" height=\"4\" fill=\"{colour}\"/>\
             <rect width=\"1.7\" height=\"4\" fill=\"#fff\"/></pattern>"
        );
    }
    put!(out, "</defs>");
    put!(out, "<rect width=\"{WIDTH}\" height=\"{height}\" fill=\"#fff\"/>");
    put!(out, "<text x=\"24\" y=\"32\" font-size=\"20\">{}</text>", escaped(title));
    let counted = scene.weighted_by.as_deref().unwrap_or("networks");
    put!(
        out,
        "<text x=\"24\" y=\"52\" fill=\"#555\">{}; {} networks; circles by {}</text>",
        escaped(&scene.source),
        scene.graph.len(),
        escaped(counted)
    );
}

fn land(out: &mut String) {
    let mut path = String::new();
    for ring in LAND.lines().filter(|line| !line.starts_with('#')) {
        for (step, point) in ring.split(' ').enumerate() {
            let (lon, lat) = point.split_once(',').expect("land.txt is ours");
            let tenth = |text: &str| text.parse::<f64>().expect("land.txt is ours") / 10.0;
            let place = Coordinates { lat: tenth(lat).max(SOUTH), lon: tenth(lon) };
            let (x, y) = at(place);
            let letter = if step == 0 { 'M' } else { 'L' };
            write!(path, "{letter}{x:.1} {y:.1}").expect("a string takes all");
        }
        path.push('Z');
    }
    put!(
        out,
        "<path d=\"{path}\" fill=\"#e6e6e2\" stroke=\"#c4c4be\" stroke-width=\"0.5\" \
         fill-rule=\"evenodd\"/>"
    );
}

/// Users by place. Keys are whole cells, so the order is always the same.
fn cells(scene: &Scene, outcome: &Outcome) -> BTreeMap<(i32, i32), Cell> {
    let mut cells: BTreeMap<(i32, i32), Cell> = BTreeMap::new();
    let width = scene.sites.len();
    for id in scene.graph.ids() {
        let row = scene.network(id);
        let shown = |place: &Coordinates| row.weight > 0.0 && place.lat > SOUTH;
        let Some(place) = row.place.filter(shown) else { continue };
        #[expect(clippy::cast_possible_truncation, reason = "at most 240 cells")]
        let key = ((place.lat / CELL).round() as i32, (place.lon / CELL).round() as i32);
        let cell = cells.entry(key).or_insert_with(|| Cell {
            sure: vec![0.0; width],
            tied: vec![0.0; width],
            ..Cell::default()
        });
        cell.weight += row.weight;
        cell.lat += row.weight * place.lat;
        cell.lon += row.weight * place.lon;
        let tie = outcome.tied[id.index()].len() > 1;
        let into = if tie { &mut cell.tied } else { &mut cell.sure };
        let mut left = 1.0;
        for (sum, share) in into.iter_mut().zip(outcome.shares(id)) {
            *sum += row.weight * f64::from(*share);
            left -= f64::from(*share);
        }
        cell.nowhere += row.weight * left.max(0.0);
    }
    cells
}

fn circle(out: &mut String, cell: &Cell, total: f64, colours: &[&str]) {
    let place = Coordinates { lat: cell.lat / cell.weight, lon: cell.lon / cell.weight };
    let (x, y) = at(place);
    let radius = (AREA * cell.weight / total / std::f64::consts::PI).sqrt().max(LEAST_RADIUS);
    let mut parts: Vec<(f64, String)> = Vec::new();
    for (site, colour) in colours.iter().enumerate() {
        parts.push((cell.sure[site], (*colour).to_owned()));
        // Stripes cannot be seen in a dot.
        let tie = if radius < 3.0 { (*colour).to_owned() } else { format!("url(#tie{site})") };
        parts.push((cell.tied[site], tie));
    }
    parts.push((cell.nowhere, "#777".to_owned()));
    parts.retain(|(weight, _)| *weight > cell.weight * 0.004);
    let sum: f64 = parts.iter().map(|(weight, _)| weight).sum();
    let most = parts.iter().max_by(|a, b| a.0.total_cmp(&b.0));
    let Some((largest, fill)) = most else { return };
    let outline = if radius < 3.0 { "" } else { " stroke=\"#fff\" stroke-width=\"0.6\"" };
    if *largest > 0.995 * sum || radius < 3.0 {
        put!(
            out,
            "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"{radius:.1}\" fill=\"{fill}\" fill-opacity=\"0.85\"{outline}/>"
        );
        return;
    }
    let mut turn = -std::f64::consts::FRAC_PI_2;
    for (weight, fill) in &parts {
        let next = turn + weight / sum * std::f64::consts::TAU;
        let large = i32::from(next - turn > std::f64::consts::PI);
        let (x0, y0) = (x + radius * turn.cos(), y + radius * turn.sin());
        let (x1, y1) = (x + radius * next.cos(), y + radius * next.sin());
        put!(
            out,
            "<path d=\"M{x:.1} {y:.1}L{x0:.2} {y0:.2}A{radius:.2} {radius:.2} 0 {large} 1 {x1:.2} \
             {y1:.2}Z\" fill=\"{fill}\" fill-opacity=\"0.85\"{outline}/>"
        );
        turn = next;
    }
}

fn sites(out: &mut String, scene: &Scene, colours: &[&str]) {
    let places: Vec<Option<(f64, f64)>> =
        scene.sites.iter().map(|site| site.place.map(at)).collect();
    for ((x, y), colour) in places.iter().zip(colours).filter_map(|(at, it)| Some(((*at)?, it))) {
        put!(
            out,
            "<path d=\"M{x:.1} {:.1}l7 7l-7 7l-7 -7Z\" fill=\"{colour}\" stroke=\"#000\" \
             stroke-width=\"1.4\"/>",
            y - 7.0
        );
    }
    // Left, right, top and bottom of what is taken already.
    let around = |(x, y): (f64, f64)| [x - 8.0, x + 8.0, y - 8.0, y + 8.0];
    let mut taken: Vec<[f64; 4]> = places.iter().flatten().map(|at| around(*at)).collect();
    for (site, place) in scene.sites.iter().zip(&places) {
        let Some((x, y)) = *place else { continue };
        #[expect(clippy::cast_precision_loss, reason = "at most 63 letters")]
        let width = 7.2 * site.name.chars().count() as f64;
        // Right, left, above, below; else farther out.
        let label = |(dx, dy): (f64, f64)| [x + dx, x + dx + width, y + dy - 10.0, y + dy + 2.0];
        let mut tries =
            vec![(10.0, 4.0), (-10.0 - width, 4.0), (-width / 2.0, -11.0), (-width / 2.0, 20.0)];
        tries.extend(
            [18.0, 31.0, 44.0].iter().flat_map(|dy| {
                [(10.0, *dy), (-10.0 - width, *dy), (10.0, -dy), (-10.0 - width, -dy)]
            }),
        );
        let apart =
            |a: &[f64; 4], b: &[f64; 4]| a[1] < b[0] || b[1] < a[0] || a[3] < b[2] || b[3] < a[2];
        let free = |by: &&(f64, f64)| taken.iter().all(|other| apart(&label(**by), other));
        let by = *tries.iter().find(free).unwrap_or(&tries[0]);
        taken.push(label(by));
        put!(
            out,
            "<text x=\"{:.1}\" y=\"{:.1}\" font-size=\"12\" stroke=\"#fff\" stroke-width=\"3\" \
             stroke-linejoin=\"round\" paint-order=\"stroke\">{}</text>",
            x + by.0,
            y + by.1,
            escaped(&site.name)
        );
    }
}

/// What circles and lengths mean.
fn scales(out: &mut String) {
    let mut x = 60.0;
    let y = 600.0;
    put!(out, "<text x=\"24\" y=\"{}\" fill=\"#555\">share of all</text>", y - 48.0);
    for share in [0.05, 0.01, 0.001] {
        let radius = (AREA * share / std::f64::consts::PI).sqrt();
        put!(
            out,
            "<circle cx=\"{x:.1}\" cy=\"{y}\" r=\"{radius:.1}\" fill=\"none\" stroke=\"#555\"/>\
             <text x=\"{x:.1}\" y=\"{}\" text-anchor=\"middle\" fill=\"#555\">{}%</text>",
            y + 54.0,
            share * 100.0
        );
        x += 34.0 + radius + 24.0;
    }
    let (x0, y0) = at(Coordinates { lat: 0.0, lon: -160.0 });
    let degrees = 5_000.0 / (2.0 * std::f64::consts::PI * 6371.0) * 360.0;
    let (x1, _) = at(Coordinates { lat: 0.0, lon: degrees - 160.0 });
    put!(
        out,
        "<path d=\"M{x0:.1} {:.1}v6H{x1:.1}v-6\" fill=\"none\" stroke=\"#555\"/>\
         <text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\" fill=\"#555\">5,000 km at the \
         equator</text>",
        y0 - 3.0,
        f64::midpoint(x0, x1),
        y0 + 20.0
    );
}

fn legend(out: &mut String, scene: &Scene, outcome: &Outcome, colours: &[&str]) {
    let loads = outcome.loads(scene);
    let mut order: Vec<usize> = (0..scene.sites.len()).collect();
    order.sort_by(|a, b| loads[*b].total_cmp(&loads[*a]).then(a.cmp(b)));
    let columns = order.len().div_ceil(ROWS).max(1);
    #[expect(clippy::cast_precision_loss, reason = "a few columns")]
    let step = f64::min(190.0, 800.0 / columns as f64);
    let counted = scene.weighted_by.as_deref().unwrap_or("networks");
    put!(
        out,
        "<text x=\"24\" y=\"{}\" font-size=\"15\">Expected share of {}</text>",
        BOTTOM_TOP + 14.0,
        escaped(counted)
    );
    for (place, site) in order.iter().enumerate() {
        #[expect(clippy::cast_precision_loss, reason = "a few rows")]
        let (x, y) =
            (24.0 + (place / ROWS) as f64 * step, BOTTOM_TOP + 38.0 + (place % ROWS) as f64 * 21.0);
        let name: String = scene.sites[*site].name.chars().take(14).collect();
        put!(
            out,
            "<rect x=\"{x:.1}\" y=\"{:.1}\" width=\"13\" height=\"13\" fill=\"{}\"/>\
             <text x=\"{:.1}\" y=\"{:.1}\">{} {:.1}%</text>",
            y - 11.0,
            colours[*site],
            x + 19.0,
            y,
            escaped(&name),
            100.0 * loads[*site]
        );
    }
    #[expect(clippy::cast_precision_loss, reason = "a few rows")]
    let y = BOTTOM_TOP + 46.0 + order.len().min(ROWS) as f64 * 21.0;
    put!(
        out,
        "<rect x=\"24\" y=\"{:.1}\" width=\"13\" height=\"13\" fill=\"url(#tie0)\"/>\
         <text x=\"43\" y=\"{y:.1}\">striped: another site is possible</text>\
         <rect x=\"340\" y=\"{:.1}\" width=\"13\" height=\"13\" fill=\"#777\"/>\
         <text x=\"359\" y=\"{y:.1}\">not reached</text>\
         <path d=\"M478 {:.1}l7 7l-7 7l-7 -7Z\" fill=\"#fff\" stroke=\"#000\" \
         stroke-width=\"1.4\"/><text x=\"491\" y=\"{y:.1}\">a site</text>",
        y - 11.0,
        y - 11.0,
        y - 12.0
    );
}

/// How much of the weight is within a round trip.
fn curve(out: &mut String, scene: &Scene, distribution: &Distribution) {
    let (left, right, top, bottom) = (920.0, 1360.0, BOTTOM_TOP + 32.0, BOTTOM_TOP + 208.0);
    let most = 300.0;
    put!(
        out,
        "<text x=\"{left}\" y=\"{}\" font-size=\"15\">Within an estimated round trip of</text>",
        BOTTOM_TOP + 14.0
    );
    let x = |ms: f64| left + (right - left) * ms / most;
    let y = |share: f64| bottom - (bottom - top) * share;
    for share in [0.0, 0.25, 0.5, 0.75, 1.0] {
        put!(
            out,
            "<path d=\"M{left} {0:.1}H{right}\" stroke=\"#ddd\"/><text x=\"{1}\" y=\"{2:.1}\" \
             text-anchor=\"end\" fill=\"#555\">{3}%</text>",
            y(share),
            left - 6.0,
            y(share) + 4.0,
            share * 100.0
        );
    }
    for ms in [0.0, 50.0, 100.0, 150.0, 200.0, 250.0, 300.0] {
        put!(
            out,
            "<path d=\"M{0:.1} {bottom}v5\" stroke=\"#555\"/><text x=\"{0:.1}\" y=\"{1}\" \
             text-anchor=\"middle\" fill=\"#555\">{ms} ms</text>",
            x(ms),
            bottom + 20.0
        );
    }
    let points: Vec<String> = (0..=150)
        .map(|step| {
            let ms = f64::from(step) * most / 150.0;
            format!("{:.1},{:.1}", x(ms), y(distribution.within(ms / scene.ms(1.0))))
        })
        .collect();
    put!(
        out,
        "<polyline points=\"{}\" fill=\"none\" stroke=\"#0072B2\" stroke-width=\"2.2\"/>",
        points.join(" ")
    );
    // The names stand apart even if the points do not.
    for (name, share, below) in [("median", 0.5, 16.0), ("95%", 0.95, 18.0)] {
        let Some(ms) = distribution.quantile(share).map(|km| scene.ms(km)) else { continue };
        put!(
            out,
            "<circle cx=\"{0:.1}\" cy=\"{1:.1}\" r=\"3.5\" fill=\"#0072B2\"/>\
             <text x=\"{2:.1}\" y=\"{3:.1}\">{name} {ms:.0} ms</text>",
            x(ms.min(most)),
            y(share),
            (x(ms.min(most)) + 8.0).min(right - 95.0),
            y(share) + below
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn land_is_on_earth_and_each_ring_is_closed() {
        let rings: Vec<&str> = LAND.lines().filter(|line| !line.starts_with('#')).collect();
        assert!(rings.len() > 50);
        for ring in rings {
            assert_eq!(ring.split(' ').next(), ring.split(' ').next_back());
            for point in ring.split(' ') {
                let (lon, lat) = point.split_once(',').unwrap();
                assert!(lon.parse::<i32>().unwrap().abs() <= 1800);
                assert!(lat.parse::<i32>().unwrap().abs() <= 900);
            }
        }
    }

    #[test]
    fn names_cannot_break_the_picture() {
        assert_eq!(escaped("a<b>&\"\u{7}"), "a&lt;b&gt;&amp;&quot;\u{fffd}");
    }
}
