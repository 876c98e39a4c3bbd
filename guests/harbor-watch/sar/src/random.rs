//! Seeded randomness: one independent stream for each purpose, so that a change in one part of a scene leaves the
//! others as they were. Must not know what the numbers are for, and has no source of entropy.

use rand_core::Rng as _;
use rand_pcg::Pcg32;

/// What a stream of numbers is for. The number is the generator's stream: never reuse one.
#[derive(Clone, Copy)]
pub(crate) enum Purpose {
    Fleet = 1,
    Speckle = 2,
    Ais = 3,
    Swell = 4,
}

/// A stream of pseudo-random numbers.
pub(crate) struct Stream(Pcg32);

impl Stream {
    pub(crate) fn new(seed: u64, purpose: Purpose) -> Self {
        Self(Pcg32::new(seed, purpose as u64))
    }

    /// Between 0 and 1, neither included.
    pub(crate) fn unit(&mut self) -> f64 {
        (f64::from(self.0.next_u32()) + 0.5) / 4_294_967_296.0
    }

    /// Between `low` and `high`.
    pub(crate) fn between(&mut self, low: f64, high: f64) -> f64 {
        low + (high - low) * self.unit()
    }

    /// True with this probability.
    pub(crate) fn chance(&mut self, probability: f64) -> bool {
        self.unit() < probability
    }

    /// A whole number below `bound`; 0 when the bound is 0.
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        let drawn = (self.unit() * bound as f64) as usize;
        drawn.min(bound.saturating_sub(1))
    }

    /// One of `choices`.
    pub(crate) fn pick<'a, T>(&mut self, choices: &'a [T]) -> Option<&'a T> {
        let index = self.below(choices.len());
        choices.get(index)
    }

    /// Normally distributed with mean 0 and the given standard deviation (Box and Muller).
    pub(crate) fn normal(&mut self, deviation: f64) -> f64 {
        let radius = libm::sqrt(-2.0 * libm::log(self.unit()));
        radius * libm::cos(core::f64::consts::TAU * self.unit()) * deviation
    }

    /// Multi-look speckle: gamma distributed with mean 1 and shape `looks`, the mean of that many exponentials.
    pub(crate) fn speckle(&mut self, looks: u32) -> f64 {
        // One logarithm of a product costs less than a sum of logarithms. Four factors stay far above underflow.
        let product: f64 = (0..looks).map(|_| self.unit()).product();
        -libm::log(product) / f64::from(looks)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_of_one_seed_differ_and_repeat() {
        let draw = |purpose| Stream::new(42, purpose).unit().to_bits();
        assert_eq!(draw(Purpose::Fleet), draw(Purpose::Fleet));
        assert_ne!(draw(Purpose::Fleet), draw(Purpose::Ais));
    }

    #[test]
    fn speckle_has_mean_one_and_variance_one_over_looks() {
        let mut stream = Stream::new(1, Purpose::Speckle);
        let drawn: Vec<f64> = (0..100_000).map(|_| stream.speckle(4)).collect();
        let mean = drawn.iter().sum::<f64>() / 1e5;
        let variance = drawn.iter().map(|value| (value - mean) * (value - mean)).sum::<f64>() / 1e5;
        assert!((mean - 1.0).abs() < 0.01, "{mean}");
        assert!((variance - 0.25).abs() < 0.01, "{variance}");
    }
}
