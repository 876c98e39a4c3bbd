//! CA-CFAR on a device that takes the scene in tiles, and the plan of the tiles.
//!
//! A tile is some rows of the scene with as many more above and below as the training window reaches: each row is tested
//! in one tile, with all that its windows cover. The device sums and sieves; it may let more cells through than pass, and
//! what it lets through is judged here, from exact sums, by the same division as on the processor. So the answers are
//! equal to the processor's, bit for bit, also where a cell lies on the threshold. Must not know the device's interface.

use std::cell::RefCell;

use super::{CfarParameters, Detector, DetectorError, Image, Total, Window, ratio, units};

/// How a land pixel is written; no sea pixel is that bright.
pub const LAND: u32 = u32::MAX;
/// Widest half window, pixels: a column of 511 cells sums to less than 2^32 steps.
pub const HALF_WINDOW_MAX: usize = 255;
/// Most rows that are tested in one tile.
const TILE_ROWS_MAX: usize = 2048;
/// What the device keeps for each cell at most: a candidate.
const BYTES_PER_CELL: u64 = 16;
/// What the device keeps beside its lists.
const HEADER_BYTES: u64 = 16;
/// Cells for each of which room for one candidate is made at first: vessels are rare.
const CELLS_PER_CANDIDATE: usize = 16;
/// The part of the threshold that the device tests for: more than its rounding may hide.
const SIEVE: f32 = 1.0 - 1.0 / 1024.0;

/// What the device can take.
#[derive(Clone, Copy, Debug)]
pub struct TileLimits {
    /// Largest list that a shader can see, bytes.
    pub list_bytes_max: u64,
}

/// Some rows of the scene, as the device is given them.
#[derive(Clone, Copy, Debug)]
pub struct Tile<'a> {
    /// Pixels in a row.
    pub width_px: u32,
    /// Rows to be tested.
    pub rows: u32,
    /// Rows in `units` above the first one to be tested.
    pub rows_above: u32,
    /// The scene from there, in steps of 1/4096 of the sea's mean below 2^23, or [`LAND`]; whole rows.
    pub units: &'a [u32],
    /// Half widths: see [`CfarParameters::guard`].
    pub guard: Window,
    /// See [`CfarParameters::training`].
    pub training: Window,
    /// A cell is a candidate when it is about this many times its clutter.
    pub threshold: f32,
    /// See [`CfarParameters::training_px_min`].
    pub training_px_min: u32,
    /// Candidates that there is room for.
    pub candidates_max: u32,
}

/// A cell that may be a hit.
#[derive(Clone, Copy, Debug)]
pub struct Candidate {
    /// Its place among the tested cells of the tile, row by row.
    pub index: u32,
    /// Sum of its clutter, steps.
    pub units: u64,
    /// Number of pixels in the sum.
    pub count: u32,
}

/// What the device found in a tile.
#[derive(Clone, Debug, Default)]
pub struct Found {
    /// How many candidates there are; with more than there was room for, `candidates` is not all of them.
    pub count: u32,
    /// They, in any order.
    pub candidates: Vec<Candidate>,
}

/// A device that sums and sieves.
pub trait TileDevice {
    /// What the answer's `compute_backend` says.
    fn backend(&self) -> &'static str;

    /// What it can take.
    ///
    /// # Errors
    /// What went wrong, for people.
    fn limits(&mut self) -> Result<TileLimits, String>;

    /// Finds the candidates of a tile.
    ///
    /// # Errors
    /// What went wrong, for people.
    fn find(&mut self, tile: &Tile<'_>) -> Result<Found, String>;
}

/// The detector on such a device.
#[derive(Debug)]
pub struct TiledDetector<D>(RefCell<D>);

impl<D: TileDevice> TiledDetector<D> {
    /// The detector on `device`.
    pub fn new(device: D) -> Self {
        Self(RefCell::new(device))
    }
}

impl<D: TileDevice> Detector for TiledDetector<D> {
    fn backend(&self) -> &'static str {
        self.0.borrow().backend()
    }

    fn ratios(&self, image: &Image<'_>, parameters: &CfarParameters) -> Result<Vec<f32>, DetectorError> {
        let mut device = self.0.borrow_mut();
        let backend = device.backend();
        ratios(&mut *device, image, parameters).map_err(|reason| DetectorError { backend, reason })
    }
}

fn ratios(device: &mut dyn TileDevice, image: &Image<'_>, parameters: &CfarParameters) -> Result<Vec<f32>, String> {
    let pixels = image.width_px * image.height_px;
    if image.width_px == 0 || image.intensity.len() != pixels || image.sea.len() != pixels {
        return Err("the image does not have the size it declares".to_owned());
    }
    let rows_per_tile = rows_per_tile(image.width_px, parameters, device.limits()?)?;
    let mut ratios = vec![0.0; pixels];
    for first in (0..image.height_px).step_by(rows_per_tile) {
        let end = (first + rows_per_tile).min(image.height_px);
        let cells = first * image.width_px..end * image.width_px;
        let Some(tested) = ratios.get_mut(cells) else { continue };
        tile(device, image, parameters, (first, end), tested)?;
    }
    Ok(ratios)
}

/// How many rows of `width_px` pixels are tested at once.
fn rows_per_tile(width_px: usize, parameters: &CfarParameters, limits: TileLimits) -> Result<usize, String> {
    for window in [parameters.guard, parameters.training] {
        if window.columns.max(window.rows) > HALF_WINDOW_MAX {
            return Err(format!("a window of {window:?} is wider than {HALF_WINDOW_MAX} pixels"));
        }
    }
    let row_bytes = BYTES_PER_CELL * width_px as u64;
    let fitting = limits.list_bytes_max.saturating_sub(HEADER_BYTES) / row_bytes;
    // The rows around take a quarter of the bytes each.
    let around = (2 * parameters.training.rows as u64).div_ceil(4);
    let rows = fitting.saturating_sub(around).min(TILE_ROWS_MAX as u64);
    if rows == 0 {
        let list = limits.list_bytes_max;
        return Err(format!("a row of {width_px} pixels with its windows does not fit into a list of {list} bytes"));
    }
    Ok(rows as usize)
}

/// Tests the rows `first..end` and writes their ratios to `tested`.
fn tile(
    device: &mut dyn TileDevice,
    image: &Image<'_>,
    parameters: &CfarParameters,
    (first, end): (usize, usize),
    tested: &mut [f32],
) -> Result<(), String> {
    let given_first = first.saturating_sub(parameters.training.rows);
    let given_end = (end + parameters.training.rows).min(image.height_px);
    let given = given_first * image.width_px..given_end * image.width_px;
    let pixels = image.intensity.get(given.clone()).zip(image.sea.get(given)).ok_or("a tile lies outside the image")?;
    let units: Vec<u32> =
        pixels.0.iter().zip(pixels.1).map(|(&value, &is_sea)| if is_sea { units(value) } else { LAND }).collect();
    let mut tile = Tile {
        width_px: small(image.width_px)?,
        rows: small(end - first)?,
        rows_above: small(first - given_first)?,
        units: &units,
        guard: parameters.guard,
        training: parameters.training,
        threshold: parameters.threshold * SIEVE,
        training_px_min: parameters.training_px_min,
        candidates_max: small(tested.len().div_ceil(CELLS_PER_CANDIDATE))?,
    };
    let mut found = device.find(&tile)?;
    if found.count > tile.candidates_max {
        tile.candidates_max = small(tested.len())?;
        found = device.find(&tile)?;
    }
    if found.candidates.len() as u64 != u64::from(found.count) {
        return Err(format!("{} candidates were counted, {} were told", found.count, found.candidates.len()));
    }
    let units = units.get((first - given_first) * image.width_px..).unwrap_or_default();
    for candidate in found.candidates {
        let index = candidate.index as usize;
        let (Some(tested), Some(&units)) = (tested.get_mut(index), units.get(index)) else {
            return Err(format!("there is no cell {index} in the tile"));
        };
        let clutter = Total { units: candidate.units, count: candidate.count };
        *tested = ratio(units, clutter, parameters);
    }
    Ok(())
}

fn small(number: usize) -> Result<u32, String> {
    u32::try_from(number).map_err(|_| format!("{number} is more than a device can count"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detector::CpuDetector;

    const PARAMETERS: CfarParameters = CfarParameters {
        guard: Window { columns: 1, rows: 2 },
        training: Window { columns: 4, rows: 5 },
        threshold: 1.3,
        training_px_min: 4,
    };

    /// The device's part by its definition, with room for what it is told.
    struct Definition {
        list_bytes_max: u64,
        tiles: Vec<(u32, u32, u32, u32)>,
    }

    impl Definition {
        fn new(list_bytes_max: u64) -> TiledDetector<Self> {
            TiledDetector::new(Self { list_bytes_max, tiles: Vec::new() })
        }
    }

    impl TileDevice for Definition {
        fn backend(&self) -> &'static str {
            "definition"
        }

        fn limits(&mut self) -> Result<TileLimits, String> {
            Ok(TileLimits { list_bytes_max: self.list_bytes_max })
        }

        fn find(&mut self, tile: &Tile<'_>) -> Result<Found, String> {
            assert!((tile.units.len() as u64) * 4 <= self.list_bytes_max);
            assert!(u64::from(tile.candidates_max) * BYTES_PER_CELL + HEADER_BYTES <= self.list_bytes_max);
            let given_rows = tile.units.len() as u32 / tile.width_px;
            self.tiles.push((tile.rows, tile.rows_above, given_rows, tile.candidates_max));
            let mut found = Found::default();
            for index in 0..tile.rows * tile.width_px {
                let (row, column) = (index / tile.width_px + tile.rows_above, index % tile.width_px);
                let cell = tile.units[(row * tile.width_px + column) as usize];
                let (mut units, mut count) = (0_u64, 0);
                for (y, line) in tile.units.chunks_exact(tile.width_px as usize).enumerate() {
                    for (x, &pixel) in line.iter().enumerate() {
                        let (dx, dy) = (x.abs_diff(column as usize), y.abs_diff(row as usize));
                        let inside = |window: Window| dx <= window.columns && dy <= window.rows;
                        if inside(tile.training) && !inside(tile.guard) && pixel != LAND {
                            units += u64::from(pixel);
                            count += 1;
                        }
                    }
                }
                let mean = units as f32 / count as f32;
                if cell != LAND && count >= tile.training_px_min && cell as f32 >= tile.threshold * mean {
                    found.count += 1;
                    if found.count <= tile.candidates_max {
                        found.candidates.push(Candidate { index, units, count });
                    }
                }
            }
            Ok(found)
        }
    }

    fn scene(pixels: usize) -> (Vec<f32>, Vec<bool>) {
        let intensity = (0..pixels).map(|index| ((index * 7919) % 1013) as f32 / 97.0 + 0.01).collect();
        (intensity, (0..pixels).map(|index| index % 7 != 0 && index > 40).collect())
    }

    #[test]
    fn tiles_of_any_height_give_the_processors_answer() {
        let (width_px, height_px) = (23, 61);
        let (intensity, sea) = scene(width_px * height_px);
        let image = Image { width_px, height_px, intensity: &intensity, sea: &sea };
        let expected = CpuDetector.ratios(&image, &PARAMETERS).unwrap();
        assert!(expected.iter().filter(|ratio| **ratio > 0.0).count() > 100);
        let row_bytes = BYTES_PER_CELL * width_px as u64;
        for rows in [1, 2, 7, 30, 60, 61, 1000] {
            let detector = Definition::new(HEADER_BYTES + row_bytes * (rows + 3));
            assert_eq!(detector.ratios(&image, &PARAMETERS).unwrap(), expected, "{rows} rows");
            let tiles = detector.0.into_inner().tiles;
            assert!(tiles.iter().all(|(tested, above, given, _)| *tested <= rows as u32 && above + tested <= *given));
        }
    }

    #[test]
    fn a_tile_is_given_what_its_windows_cover_and_no_more() {
        let (width_px, height_px) = (8, 40);
        let (intensity, sea) = scene(width_px * height_px);
        let image = Image { width_px, height_px, intensity: &intensity, sea: &sea };
        let detector = Definition::new(HEADER_BYTES + BYTES_PER_CELL * width_px as u64 * (15 + 3));
        detector.ratios(&image, &PARAMETERS).unwrap();
        let mut tiles = detector.0.into_inner().tiles;
        tiles.dedup_by_key(|(rows, above, given, _)| (*rows, *above, *given));
        let shapes: Vec<_> = tiles.iter().map(|(rows, above, given, _)| (*rows, *above, *given)).collect();
        assert_eq!(shapes, [(15, 0, 20), (15, 5, 25), (10, 5, 15)]);
    }

    #[test]
    fn more_candidates_than_expected_are_asked_for_again() {
        let (width_px, height_px) = (16, 16);
        let image = Image { width_px, height_px, intensity: &[1.0; 256], sea: &[true; 256] };
        let parameters = CfarParameters { threshold: 1.0, ..PARAMETERS };
        let detector = Definition::new(1 << 20);
        assert_eq!(detector.ratios(&image, &parameters).unwrap(), [1.0; 256]);
        let room: Vec<u32> = detector.0.into_inner().tiles.iter().map(|tile| tile.3).collect();
        assert_eq!(room, [16, 256]);
    }

    #[test]
    fn what_does_not_fit_is_an_error() {
        let refusal = |list_bytes_max, parameters: &CfarParameters, pixels: usize| {
            let (intensity, sea) = scene(pixels);
            let image = Image { width_px: 64, height_px: 8, intensity: &intensity, sea: &sea };
            Definition::new(list_bytes_max).ratios(&image, parameters).unwrap_err().to_string()
        };
        let wide = CfarParameters { training: Window { columns: 256, rows: 1 }, ..PARAMETERS };
        let text = refusal(4096, &PARAMETERS, 512);
        assert!(text.ends_with("a row of 64 pixels with its windows does not fit into a list of 4096 bytes"), "{text}");
        assert!(refusal(1 << 20, &wide, 512).contains("wider than 255 pixels"));
        assert!(refusal(1 << 20, &PARAMETERS, 511).contains("size it declares"));
    }
}
