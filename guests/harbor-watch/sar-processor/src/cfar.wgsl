// CA-CFAR over one tile of a scene, in two passes: `sum_columns` sums each window's rows by column, `test_cells` sums
// those along the row and keeps the cells that may be hits. Both slide their windows, so that the cost of a cell does not
// depend on the window. All sums are of whole numbers: exact, and the same on every device. The only rounding is in the
// comparison with the threshold, which therefore only sieves; who gets the candidates judges them.

struct Tile {
    width: u32,
    // Rows to be tested, rows given above the first of them, rows given in all.
    rows: u32,
    rows_above: u32,
    rows_given: u32,
    // Half widths of the windows.
    guard_columns: u32,
    guard_rows: u32,
    training_columns: u32,
    training_rows: u32,
    threshold: f32,
    training_px_min: u32,
    candidates_max: u32,
    reserved: u32,
}

// Of one column's cells in the rows of both windows. A window has at most 511 rows, and a cell less than 2^23 steps.
struct Column {
    training: u32,
    guard: u32,
    // Cells that are sea: training in the low half, guard in the high half.
    counts: u32,
}

struct Candidate {
    index: u32,
    units_low: u32,
    units_high: u32,
    count: u32,
}

struct Found {
    count: atomic<u32>,
    reserved_0: u32,
    reserved_1: u32,
    reserved_2: u32,
    candidates: array<Candidate>,
}

// Steps of intensity and number of cells, the steps in two words.
struct Total {
    low: u32,
    high: u32,
    count: u32,
}

const LAND: u32 = 0xffffffffu;
// Cells that one invocation moves its windows over.
const STRIDE: u32 = 32u;
const WORD: f32 = 4294967296.0;

@group(0) @binding(0) var<uniform> tile: Tile;
@group(0) @binding(1) var<storage, read> units: array<u32>;
@group(0) @binding(2) var<storage, read_write> columns: array<Column>;
@group(0) @binding(3) var<storage, read_write> found: Found;

// Steps and number of one cell: nothing for land and for rows that are not there.
fn cell(row: i32, column: u32) -> vec2<u32> {
    if row < 0 || row >= i32(tile.rows_given) {
        return vec2<u32>(0u, 0u);
    }
    let value = units[u32(row) * tile.width + column];
    return select(vec2<u32>(value, 1u), vec2<u32>(0u, 0u), value == LAND);
}

@compute @workgroup_size(64)
fn sum_columns(@builtin(global_invocation_id) id: vec3<u32>) {
    let column = id.x;
    let first = id.y * STRIDE;
    if column >= tile.width || first >= tile.rows {
        return;
    }
    let last = min(first + STRIDE, tile.rows);
    let guard = i32(tile.guard_rows);
    let training = i32(tile.training_rows);
    var outer = vec2<u32>(0u, 0u);
    var inner = vec2<u32>(0u, 0u);
    // All but the last row of each window around the first cell.
    var row = i32(first + tile.rows_above);
    for (var at = row - training; at < row + training; at++) {
        outer += cell(at, column);
    }
    for (var at = row - guard; at < row + guard; at++) {
        inner += cell(at, column);
    }
    for (var tested = first; tested < last; tested++) {
        outer += cell(row + training, column);
        inner += cell(row + guard, column);
        columns[tested * tile.width + column] = Column(outer.x, inner.x, outer.y | (inner.y << 16u));
        outer -= cell(row - training, column);
        inner -= cell(row - guard, column);
        row++;
    }
}

fn with_column(total: Total, units: u32, count: u32) -> Total {
    let low = total.low + units;
    return Total(low, total.high + select(0u, 1u, low < units), total.count + count);
}

fn without(total: Total, part: Total) -> Total {
    let borrowed = select(0u, 1u, total.low < part.low);
    return Total(total.low - part.low, total.high - part.high - borrowed, total.count - part.count);
}

fn training_of(row: u32, column: i32) -> Total {
    if column < 0 || column >= i32(tile.width) {
        return Total(0u, 0u, 0u);
    }
    let sums = columns[row * tile.width + u32(column)];
    return Total(sums.training, 0u, sums.counts & 0xffffu);
}

fn guard_of(row: u32, column: i32) -> Total {
    if column < 0 || column >= i32(tile.width) {
        return Total(0u, 0u, 0u);
    }
    let sums = columns[row * tile.width + u32(column)];
    return Total(sums.guard, 0u, sums.counts >> 16u);
}

fn keep(row: u32, column: u32, clutter: Total) {
    let value = units[(row + tile.rows_above) * tile.width + column];
    if value == LAND || clutter.count < tile.training_px_min {
        return;
    }
    // The cell over the mean, without the division.
    let sum = f32(clutter.high) * WORD + f32(clutter.low);
    if f32(value) * f32(clutter.count) < tile.threshold * sum {
        return;
    }
    let place = atomicAdd(&found.count, 1u);
    if place < tile.candidates_max {
        let index = row * tile.width + column;
        found.candidates[place] = Candidate(index, clutter.low, clutter.high, clutter.count);
    }
}

@compute @workgroup_size(8, 8)
fn test_cells(@builtin(global_invocation_id) id: vec3<u32>) {
    let first = id.x * STRIDE;
    let row = id.y;
    if first >= tile.width || row >= tile.rows {
        return;
    }
    let last = min(first + STRIDE, tile.width);
    let guard = i32(tile.guard_columns);
    let training = i32(tile.training_columns);
    var outer = Total(0u, 0u, 0u);
    var inner = Total(0u, 0u, 0u);
    for (var at = i32(first) - training; at < i32(first) + training; at++) {
        let sums = training_of(row, at);
        outer = with_column(outer, sums.low, sums.count);
    }
    for (var at = i32(first) - guard; at < i32(first) + guard; at++) {
        let sums = guard_of(row, at);
        inner = with_column(inner, sums.low, sums.count);
    }
    for (var column = first; column < last; column++) {
        let at = i32(column);
        let outer_new = training_of(row, at + training);
        let inner_new = guard_of(row, at + guard);
        outer = with_column(outer, outer_new.low, outer_new.count);
        inner = with_column(inner, inner_new.low, inner_new.count);
        keep(row, column, without(outer, inner));
        outer = without(outer, training_of(row, at - training));
        inner = without(inner, guard_of(row, at - guard));
    }
}
