//! The results of `cargo xtask bench gpu` as Markdown and as JSON, beside the goal. It measures nothing.

use serde_json::{Value, json};

use super::parts::Figures;
use super::{Arguments, Detector, Scene};
use crate::bench::figures::{largest, median, shown, table};

/// A round through the GPU process, as a multiple of one in one process.
const RATIO_MAX: f64 = 1.25;
/// The square that the goal is about.
const GOAL_SIDE: u32 = 512;

pub(super) fn text(detectors: &[Detector], scenes: &[Scene], arguments: &Arguments, surroundings: &str) -> String {
    let adapter =
        detectors.iter().flat_map(|detector| &detector.in_process).map(|figures| figures.adapter.as_str()).next();
    let mut text = format!(
        "{surroundings}. Adapter: {}. Medians of {} turns of {} rounds.\n\n{}\n{}",
        adapter.unwrap_or("none"),
        arguments.turns,
        arguments.rounds,
        detector_table(detectors),
        goal_table(detectors),
    );
    if !scenes.is_empty() {
        text += &format!("\nWhole requests over HTTP, milliseconds:\n\n{}", scene_table(scenes));
    }
    text
}

fn of_all(all: &[Figures], figure: fn(&Figures) -> f64) -> Vec<f64> {
    all.iter().map(figure).collect()
}

fn smallest(values: &[f64]) -> f64 {
    values.iter().copied().fold(f64::NAN, f64::min)
}

fn detector_table(detectors: &[Detector]) -> String {
    let row = |detector: &Detector| {
        let middle = |all: &[Figures], figure| median(&of_all(all, figure));
        let least = |all: &[Figures]| smallest(&of_all(all, |figures| figures.least_us));
        let (program, component) = (&detector.in_process, &detector.in_gpu_process);
        let figures = [
            middle(program, |figures| figures.median_us),
            middle(program, |figures| figures.p90_us),
            least(program),
            middle(component, |figures| figures.median_us),
            middle(component, |figures| figures.p90_us),
            least(component),
            detector.ratio(),
        ];
        let ratios = detector.ratios();
        let spread = format!("{} to {}", shown(smallest(&ratios)), shown(largest(&ratios)));
        let of_least = shown(least(component) / least(program));
        let side = [format!("{0} x {0}", detector.side)].into_iter();
        side.chain(figures.map(shown)).chain([spread, of_least]).collect()
    };
    let heads = [
        "square",
        "one process: us/round",
        "p90",
        "least",
        "GPU process: us/round",
        "p90",
        "least",
        "ratio",
        "of single turns",
        "of the least",
    ];
    table(&heads, 1, &detectors.iter().map(row).collect::<Vec<Vec<String>>>())
}

/// The ratio that the goal is about; not a number where it was not measured.
fn ratio(detectors: &[Detector]) -> f64 {
    detectors.iter().find(|detector| detector.side == GOAL_SIDE).map_or(f64::NAN, Detector::ratio)
}

fn goal_table(detectors: &[Detector]) -> String {
    let found = ratio(detectors);
    let met = if found <= RATIO_MAX { "yes" } else { "NO" };
    let goal = format!("warm, {GOAL_SIDE}, through the GPU process of in one process");
    let row = vec![goal, shown(found), format!("at most {}", shown(RATIO_MAX)), met.to_owned()];
    table(&["goal", "found", "wanted", "met"], 1, &[row])
}

fn scene_table(scenes: &[Scene]) -> String {
    let row = |scene: &Scene| {
        let (gpu, cpu) = (median(&scene.on_gpu_ms), median(&scene.on_cpu_ms));
        [format!("{0} x {0}", scene.side)].into_iter().chain([gpu, cpu, gpu / cpu].map(shown)).collect()
    };
    let rows: Vec<Vec<String>> = scenes.iter().map(row).collect();
    table(&["scene", "GPU", "processor", "ratio"], 1, &rows)
}

/// Every figure of every turn.
pub(super) fn json(detectors: &[Detector], scenes: &[Scene]) -> Value {
    let way = |all: &[Figures]| {
        json!({
            "adapter": all.first().map(|figures| figures.adapter.as_str()),
            "candidates": all.first().map(|figures| figures.candidates),
            "least_us": of_all(all, |figures| figures.least_us),
            "median_us": of_all(all, |figures| figures.median_us),
            "p90_us": of_all(all, |figures| figures.p90_us),
        })
    };
    let detector = |detector: &Detector| {
        json!({
            "side": detector.side,
            "in_process": way(&detector.in_process),
            "in_gpu_process": way(&detector.in_gpu_process),
            "ratio": detector.ratio(),
            "ratios": detector.ratios(),
        })
    };
    let scene = |scene: &Scene| json!({"side": scene.side, "gpu_ms": scene.on_gpu_ms, "cpu_ms": scene.on_cpu_ms});
    json!({
        "detector": detectors.iter().map(detector).collect::<Vec<_>>(),
        "example": scenes.iter().map(scene).collect::<Vec<_>>(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figures(candidates: u64, median_us: f64) -> Figures {
        Figures { adapter: "a".to_owned(), candidates, sum: 1, least_us: median_us, median_us, p90_us: median_us }
    }

    fn detector(in_process: &[f64], in_gpu_process: &[f64]) -> Detector {
        let all = |medians: &[f64]| medians.iter().map(|median_us| figures(3, *median_us)).collect();
        Detector { side: 512, in_process: all(in_process), in_gpu_process: all(in_gpu_process) }
    }

    #[test]
    fn the_goal_is_judged_by_medians() {
        let met = detector(&[100.0, 90.0, 900.0], &[125.0, 2_000.0, 80.0]);
        assert_eq!(met.ratio(), 1.25);
        assert!(goal_table(&[met]).contains("| 1.25 | at most 1.25 | yes |"));
        assert!(goal_table(&[detector(&[100.0], &[126.0])]).contains("| 1.26 | at most 1.25 | NO |"));
        assert!(goal_table(&[]).contains("| NO |"), "what was not measured is not met");
    }

    #[test]
    fn both_must_find_the_same() {
        let mut detector = detector(&[1.0], &[1.0]);
        assert!(detector.must_agree().is_ok());
        detector.in_gpu_process = vec![figures(4, 1.0)];
        assert!(detector.must_agree().unwrap_err().to_string().contains("candidates: 4"));
    }
}
