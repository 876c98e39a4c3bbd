//! CA-CFAR on the processor, at a cost per pixel that does not depend on the window.
//!
//! Each window is summed with a banded integral image: column sums over the window's rows, moved down one row at a
//! time, and their running total along the row. It needs memory for one row instead of the whole scene. Must not know
//! where the image came from.

use super::{CfarParameters, Detector, DetectorError, Image, Total, Window, ratio, units};

/// The detector that is always there.
#[derive(Clone, Copy, Debug, Default)]
pub struct CpuDetector;

impl Detector for CpuDetector {
    fn backend(&self) -> &'static str {
        "CPU"
    }

    fn ratios(&self, image: &Image<'_>, parameters: &CfarParameters) -> Result<Vec<f32>, DetectorError> {
        let pixels = image.width_px * image.height_px;
        if image.width_px == 0 || image.intensity.len() != pixels || image.sea.len() != pixels {
            let reason = "the image does not have the size it declares".to_owned();
            return Err(DetectorError { backend: self.backend(), reason });
        }
        let mut outer = Band::new(image, parameters.training);
        let mut inner = Band::new(image, parameters.guard);
        let mut ratios = Vec::with_capacity(pixels);
        let rows = image.intensity.chunks_exact(image.width_px).zip(image.sea.chunks_exact(image.width_px));
        for (row, (intensity, sea)) in rows.enumerate() {
            outer.move_to(row);
            inner.move_to(row);
            for (column, (&value, &is_sea)) in intensity.iter().zip(sea).enumerate() {
                let clutter = outer.sum(column).without(inner.sum(column));
                ratios.push(if is_sea { ratio(units(value), clutter, parameters) } else { 0.0 });
            }
        }
        Ok(ratios)
    }
}

impl Total {
    fn with(self, other: Self) -> Self {
        Self { units: self.units + other.units, count: self.count + other.count }
    }

    /// Without a part of itself.
    fn without(self, part: Self) -> Self {
        Self { units: self.units.wrapping_sub(part.units), count: self.count.wrapping_sub(part.count) }
    }
}

/// The rows that a window covers, summed by column, and the running total of those sums.
struct Band<'a> {
    image: &'a Image<'a>,
    window: Window,
    columns: Vec<Total>,
    /// One longer than a row: entry i is the total of the columns before i.
    running: Vec<Total>,
    /// Rows added so far.
    next_row: usize,
}

impl<'a> Band<'a> {
    fn new(image: &'a Image<'a>, window: Window) -> Self {
        let columns = vec![Total::default(); image.width_px];
        let running = vec![Total::default(); image.width_px + 1];
        Self { image, window, columns, running, next_row: 0 }
    }

    /// Covers the rows around `row`. Rows are visited in order, each once.
    fn move_to(&mut self, row: usize) {
        let end = (row + self.window.rows + 1).min(self.image.height_px);
        while self.next_row < end {
            self.account(self.next_row, Total::with);
            self.next_row += 1;
        }
        if let Some(left_behind) = row.checked_sub(self.window.rows + 1) {
            self.account(left_behind, Total::without);
        }
        let mut total = Total::default();
        for (running, column) in self.running.iter_mut().skip(1).zip(&self.columns) {
            total = total.with(*column);
            *running = total;
        }
    }

    /// Puts a row to the column sums, or takes it away.
    fn account(&mut self, row: usize, change: fn(Total, Total) -> Total) {
        let width = self.image.width_px;
        let range = row * width..(row + 1) * width;
        let (Some(intensity), Some(sea)) = (self.image.intensity.get(range.clone()), self.image.sea.get(range)) else {
            return;
        };
        for ((column, &value), &is_sea) in self.columns.iter_mut().zip(intensity).zip(sea) {
            if is_sea {
                *column = change(*column, Total { units: units(value).into(), count: 1 });
            }
        }
    }

    /// The total of the window around `column`, cut at the edges of the image.
    fn sum(&self, column: usize) -> Total {
        let first = column.saturating_sub(self.window.columns);
        let end = (column + self.window.columns + 1).min(self.image.width_px);
        match (self.running.get(first), self.running.get(end)) {
            (Some(before), Some(up_to)) => up_to.without(*before),
            _ => Total::default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PARAMETERS: CfarParameters = CfarParameters {
        guard: Window { columns: 1, rows: 2 },
        training: Window { columns: 4, rows: 5 },
        threshold: 1.3,
        training_px_min: 4,
    };

    /// The definition, pixel by pixel.
    fn by_definition(image: &Image<'_>, column: i64, row: i64) -> f32 {
        let inside =
            |window: Window, dx: i64, dy: i64| dx.abs() <= window.columns as i64 && dy.abs() <= window.rows as i64;
        let (mut sum, mut count) = (0.0, 0.0);
        for dy in -5..=5 {
            for dx in -4..=4 {
                let (x, y) = (column + dx, row + dy);
                if x < 0 || y < 0 || x >= image.width_px as i64 || y >= image.height_px as i64 {
                    continue;
                }
                let index = y as usize * image.width_px + x as usize;
                if inside(PARAMETERS.training, dx, dy) && !inside(PARAMETERS.guard, dx, dy) && image.sea[index] {
                    sum += f64::from(image.intensity[index]);
                    count += 1.0;
                }
            }
        }
        let index = row as usize * image.width_px + column as usize;
        if !image.sea[index] || count < 4.0 {
            return 0.0;
        }
        let ratio = (f64::from(image.intensity[index]) / (sum / count)) as f32;
        if ratio >= PARAMETERS.threshold { ratio } else { 0.0 }
    }

    #[test]
    fn the_band_sums_are_the_definition() {
        let (width_px, height_px) = (23, 17);
        let intensity: Vec<f32> = (0..width_px * height_px).map(|index| ((index * 37) % 11) as f32 + 1.0).collect();
        let sea: Vec<bool> = (0..width_px * height_px).map(|index| index % 7 != 0 && index > 40).collect();
        let image = Image { width_px, height_px, intensity: &intensity, sea: &sea };
        let ratios = CpuDetector.ratios(&image, &PARAMETERS).unwrap();
        for row in 0..height_px {
            for column in 0..width_px {
                let expected = by_definition(&image, column as i64, row as i64);
                let found = ratios[row * width_px + column];
                // The intensities here are whole numbers of steps, so that nothing is rounded.
                assert_eq!(found, expected, "{column},{row}");
            }
        }
    }

    #[test]
    fn a_wrong_size_is_an_error() {
        let image = Image { width_px: 4, height_px: 4, intensity: &[1.0; 15], sea: &[true; 16] };
        assert!(CpuDetector.ratios(&image, &PARAMETERS).is_err());
    }
}
