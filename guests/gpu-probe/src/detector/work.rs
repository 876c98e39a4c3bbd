//! The work of Harbor Watch's detector on a square of made-up sea: its shader, what the shader is given, and how times
//! are told. It exists so that the probe, and the program of the `bench` crate that does the same without a host, do the
//! same; both are built with this file. Must not know an interface to a GPU.

use std::time::Duration;

/// The very shader of the detector.
pub(crate) const SHADER: &str = include_str!("../../../harbor-watch/sar-processor/src/cfar.wgsl");
/// Rounds before those that count.
pub(crate) const WARM_UP_ROUNDS: usize = 5;
/// Pixels in a row of the square, least and most.
pub(crate) const SIDE_PX: std::ops::RangeInclusive<u32> = 64..=1024;
/// Rounds that may be asked for.
pub(crate) const ROUNDS_MAX: usize = 1_000;
/// The list of candidates begins after its count.
pub(crate) const FOUND_HEADER_BYTES: usize = 16;
pub(crate) const CANDIDATE_BYTES: usize = 16;

/// The shader's `Tile`.
const PARAMETER_WORDS: usize = 12;
/// Three words for each cell: the shader's `Column`.
const COLUMN_BYTES: u64 = 12;
const WORD_BYTES: u64 = 4;
/// Cells that one invocation moves its windows over.
const STRIDE: u32 = 32;
/// Columns of a workgroup of `sum_columns`.
const COLUMNS_PER_GROUP: u32 = 64;
/// Stripes and rows of a workgroup of `test_cells`.
const SIDE_PER_GROUP: u32 = 8;
/// Cells for each of which there is room for one candidate.
const CELLS_PER_CANDIDATE: u32 = 16;
/// The shader's mark of land.
const LAND: u32 = u32::MAX;
/// A ship is this much brighter than the sea.
const SHIP: u32 = 64;
/// One cell of so many is a ship.
const CELLS_PER_SHIP: u64 = 2_048;
const THRESHOLD: f32 = 5.0;
const TRAINING_PX_MIN: u32 = 8;

/// One square.
pub(crate) struct Work {
    side: u32,
    /// What is seen in each cell, row by row.
    pub(crate) units: Vec<u32>,
    /// Candidates that there is room for.
    pub(crate) candidates_max: u32,
}

impl Work {
    /// A square whose sides have `side` pixels. All of it is whole numbers: equal wherever it is made.
    pub(crate) fn new(side: u32) -> Self {
        let cells = side * side;
        let mut state = 0x5eed_u64;
        let cell = |index: u32| {
            let random = splitmix(&mut state);
            // Four looks: their sum has the mean that the detector takes for 1.
            let sea: u32 = (0..4).map(|look| u32::try_from(random >> (16 * look) & 0x7ff).unwrap_or(0)).sum();
            let is_ship = splitmix(&mut state).is_multiple_of(CELLS_PER_SHIP);
            match index % side < side / 8 {
                true => LAND,
                false => sea * if is_ship { SHIP } else { 1 },
            }
        };
        let units = (0..cells).map(cell).collect();
        Self { side, units, candidates_max: cells.div_ceil(CELLS_PER_CANDIDATE) }
    }

    /// The words of the shader's `Tile`. Windows are those of a harbour that is 15.6 km wide.
    pub(crate) fn parameters(&self) -> [u32; PARAMETER_WORDS] {
        let guard = self.side.div_ceil(64);
        let training = 2 * guard;
        let (side, threshold) = (self.side, THRESHOLD.to_bits());
        let max = self.candidates_max;
        [side, side, 0, side, guard, guard, training, training, threshold, TRAINING_PX_MIN, max, 0]
    }

    pub(crate) fn parameters_bytes(&self) -> u64 {
        PARAMETER_WORDS as u64 * WORD_BYTES
    }

    pub(crate) fn units_bytes(&self) -> u64 {
        self.units.len() as u64 * WORD_BYTES
    }

    pub(crate) fn columns_bytes(&self) -> u64 {
        self.units.len() as u64 * COLUMN_BYTES
    }

    pub(crate) fn found_bytes(&self) -> u64 {
        FOUND_HEADER_BYTES as u64 + u64::from(self.candidates_max) * CANDIDATE_BYTES as u64
    }

    /// Workgroups of `sum_columns`.
    pub(crate) fn column_groups(&self) -> (u32, u32) {
        (self.side.div_ceil(COLUMNS_PER_GROUP), self.side.div_ceil(STRIDE))
    }

    /// Workgroups of `test_cells`.
    pub(crate) fn cell_groups(&self) -> (u32, u32) {
        (self.side.div_ceil(STRIDE).div_ceil(SIDE_PER_GROUP), self.side.div_ceil(SIDE_PER_GROUP))
    }
}

/// What one round found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Found {
    /// Candidates.
    pub(crate) count: u32,
    /// The sum of all words about them: they come in any order.
    pub(crate) sum: u64,
}

impl Found {
    /// Reads the shader's list.
    pub(crate) fn of(count: u32, candidates: &[u8]) -> Self {
        let words = candidates.chunks_exact(4).filter_map(|word| word.try_into().ok()).map(u32::from_le_bytes);
        Self { count, sum: words.map(u64::from).sum() }
    }
}

/// The count at the head of what the shader found.
pub(crate) fn count(header: &[u8]) -> Option<u32> {
    header.first_chunk().copied().map(u32::from_le_bytes)
}

/// How long rounds took, in microseconds. The least is what others on the machine disturb least.
pub(crate) struct Times {
    pub(crate) least_us: f64,
    pub(crate) median_us: f64,
    pub(crate) p90_us: f64,
}

impl Times {
    pub(crate) fn of(mut times: Vec<Duration>) -> Self {
        times.sort_unstable();
        let at = |percent: usize| {
            let place = (times.len() * percent / 100).min(times.len().saturating_sub(1));
            times.get(place).map_or(0.0, |time| time.as_secs_f64() * 1e6)
        };
        Self { least_us: at(0), median_us: at(50), p90_us: at(90) }
    }
}

/// A generator of random numbers: `SplitMix64`, Steele, Lea and Flood, 2014.
fn splitmix(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut word = *state;
    word = (word ^ word >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    word = (word ^ word >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^ word >> 31
}
