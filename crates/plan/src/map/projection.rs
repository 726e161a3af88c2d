//! Equal Earth: an equal-area projection, so that a region's circles can be compared with another
//! region's (Šavrič, Patterson and Jenny, "The Equal Earth map projection", IJGIS 2019).

use anycast_fleet::Coordinates;

const A: [f64; 4] = [1.340_264, -0.081_106, 0.000_893, 0.003_796];

/// Where a place is: x from -2.707 to 2.707, y (north up) from -1.317 to 1.317.
pub(super) fn project(place: Coordinates) -> (f64, f64) {
    let (lat, lon) = (place.lat.to_radians(), place.lon.to_radians());
    let root = 3.0_f64.sqrt() / 2.0;
    let theta = (root * lat.sin()).asin();
    let (t2, t6) = (theta.powi(2), theta.powi(6));
    let slope = A[0] + 3.0 * A[1] * t2 + t6 * (7.0 * A[2] + 9.0 * A[3] * t2);
    let x = lon * theta.cos() / (root * slope);
    let y = theta * (A[0] + A[1] * t2 + t6 * (A[2] + A[3] * t2));
    (x, y)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_corners_of_the_world_are_where_the_paper_has_them() {
        for (lat, lon, x, y) in
            [(0.0, 0.0, 0.0, 0.0), (0.0, 180.0, 2.706_63, 0.0), (90.0, 0.0, 0.0, 1.317_362)]
        {
            let (got_x, got_y) = project(Coordinates { lat, lon });
            assert!((got_x - x).abs() < 1e-4 && (got_y - y).abs() < 1e-4, "{got_x} {got_y}");
        }
    }
}
