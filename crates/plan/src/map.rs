//! The catchments as a picture: a world map, a latency curve, a legend. SVG is made here, PNG from
//! it by `resvg`, with a font that comes along: a picture looks the same on every machine.

mod palette;
mod projection;
mod svg;

use resvg::{tiny_skia, usvg};

use crate::outcome::Outcome;
use crate::scene::Scene;

/// DejaVu Sans, the Latin letters; see `map/data/README.md`.
const FONT: &[u8] = include_bytes!("map/data/sans.ttf");
/// Pixels of a PNG for each of the SVG.
const SCALE: f32 = 1.5;

/// Why there is no picture.
#[derive(Debug, thiserror::Error)]
pub enum MapError {
    /// Neither the sites nor any network has a place.
    #[error(
        "no network has a place: give a table of networks with `lat` and `lon` (--networks) for a map"
    )]
    NoPlaces,
    /// The renderer refused it.
    #[error("the picture cannot be rendered: {0}")]
    Render(String),
}

/// The map as SVG.
///
/// # Errors
/// No network has a place.
pub fn svg(scene: &Scene, outcome: &Outcome, title: &str) -> Result<String, MapError> {
    if scene.networks.iter().all(|row| row.place.is_none() || row.weight <= 0.0) {
        return Err(MapError::NoPlaces);
    }
    Ok(svg::draw(scene, outcome, title))
}

/// An SVG of [`svg`] as PNG.
///
/// # Errors
/// The renderer refuses it.
pub fn png(svg: &str) -> Result<Vec<u8>, MapError> {
    let mut options = usvg::Options { font_family: "DejaVu Sans".to_owned(), ..Default::default() };
    options.fontdb_mut().load_font_data(FONT.to_vec());
    let refused = |why: &dyn std::fmt::Display| MapError::Render(why.to_string());
    let tree = usvg::Tree::from_str(svg, &options).map_err(|why| refused(&why))?;
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "some 2,000 pixels"
    )]
    let pixels = |length: f32| (length * SCALE).ceil() as u32;
    let (width, height) = (pixels(tree.size().width()), pixels(tree.size().height()));
    let mut pixmap =
        tiny_skia::Pixmap::new(width, height).ok_or_else(|| refused(&"it is too large"))?;
    let scale = tiny_skia::Transform::from_scale(SCALE, SCALE);
    resvg::render(&tree, scale, &mut pixmap.as_mut());
    pixmap.encode_png().map_err(|why| refused(&why))
}
