//! Pairs two sets of points, the closest first. Must not know what the points are.

use crate::geo::Point;

/// For each of `ones` the index of its partner among `others`, or none. A pair is at most `gate` metres apart; each
/// point has one partner at most; the closest pair is made first, and equal distances go by index.
pub(crate) fn pair(ones: &[Point], others: &[Point], gate: impl Fn(usize, usize) -> f64) -> Vec<Option<usize>> {
    let mut candidates: Vec<(f64, usize, usize)> = Vec::new();
    for (i, one) in ones.iter().enumerate() {
        for (j, other) in others.iter().enumerate() {
            let distance = one.distance(*other);
            if distance <= gate(i, j) {
                candidates.push((distance, i, j));
            }
        }
    }
    candidates.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)).then(a.2.cmp(&b.2)));
    let mut partners = vec![None; ones.len()];
    let mut taken = vec![false; others.len()];
    for (_, i, j) in candidates {
        if let (Some(partner), Some(taken)) = (partners.get_mut(i), taken.get_mut(j))
            && partner.is_none()
            && !*taken
        {
            *partner = Some(j);
            *taken = true;
        }
    }
    partners
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_closest_pair_is_made_first() {
        let ones = [Point { x: 0.0, y: 0.0 }, Point { x: 10.0, y: 0.0 }];
        let others = [Point { x: 9.0, y: 0.0 }, Point { x: 100.0, y: 0.0 }];
        assert_eq!(pair(&ones, &others, |_, _| 50.0), vec![None, Some(0)]);
    }
}
