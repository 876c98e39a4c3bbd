//! A scene to look at: small, in shades of grey. Must not know how scenes are drawn, nor any format of images.

/// The scene of a request.
pub struct Scene {
    width_px: usize,
    height_px: usize,
    intensity: Vec<f32>,
}

/// A small image, one byte a pixel, row by row from the north-west; 0 is black.
pub struct Quicklook {
    /// Pixels in a row.
    pub width_px: usize,
    /// Rows.
    pub height_px: usize,
    /// `width_px * height_px` values.
    pub grey: Vec<u8>,
}

/// The intensity that is white: 20 dB over the mean of the open sea. Grey goes with the amplitude, its square root.
const WHITE: f32 = 100.0;

impl Scene {
    pub(crate) fn new(width_px: usize, height_px: usize, intensity: Vec<f32>) -> Self {
        Self { width_px, height_px, intensity }
    }

    /// The scene with sides of at most `side_px_max` pixels, each the brightest of those it stands for, so that a vessel
    /// stays to be seen.
    pub fn quicklook(&self, side_px_max: usize) -> Quicklook {
        let step = self.width_px.max(self.height_px).div_ceil(side_px_max.max(1)).max(1);
        let width_px = self.width_px.div_ceil(step);
        let mut grey = Vec::with_capacity(width_px * self.height_px.div_ceil(step));
        let mut brightest = vec![0; self.width_px];
        for band in self.intensity.chunks(self.width_px.max(1) * step) {
            // Down the columns first, in long loops, which is the most of the work.
            brightest.fill(0);
            for row in band.chunks(self.width_px.max(1)) {
                for (most, pixel) in brightest.iter_mut().zip(row) {
                    *most = u32::max(*most, order(*pixel));
                }
            }
            let of_pixels = |pixels: &[u32]| f32::from_bits(pixels.iter().copied().fold(0, u32::max));
            grey.extend(brightest.chunks(step).map(|pixels| shade(of_pixels(pixels))));
        }
        Quicklook { width_px, height_px: self.height_px.div_ceil(step), grey }
    }
}

/// A whole number that is greater for a greater intensity: of speckle the greater of two is anybody's guess, and whole numbers
/// are compared without a branch.
fn order(intensity: f32) -> u32 {
    // No intensity is negative, so that the bits are in the order of the numbers.
    intensity.to_bits()
}

fn shade(intensity: f32) -> u8 {
    // The conversion stays within 0 and 255.
    (255.0 * (intensity / WHITE).sqrt()) as u8
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_brightest_pixel_is_kept() {
        let mut intensity = vec![0.0; 5 * 3];
        if let Some(pixel) = intensity.get_mut(2 * 5 + 4) {
            *pixel = 1_000.0;
        }
        let look = Scene::new(5, 3, intensity).quicklook(3);
        assert_eq!((look.width_px, look.height_px), (3, 2));
        assert_eq!(look.grey, [0, 0, 0, 0, 0, 255]);
    }

    #[test]
    fn a_small_scene_stays_as_it_is() {
        let look = Scene::new(2, 2, vec![1.0, 0.01, 100.0, 0.0]).quicklook(256);
        assert_eq!((look.width_px, look.height_px, look.grey), (2, 2, vec![25, 2, 255, 0]));
    }
}
