//! `cargo xtask bench gpu`: what it costs that the GPU has a process of its own: the detector of Harbor Watch on a warm device,
//! called by a component, beside the same work by wgpu in one process; then the whole example over HTTP, on the GPU and on
//! the processor. All take turns. What is started and asked is in `parts`, the judgement in `tables`.

mod parts;
mod tables;

use anyhow::{Context, Result, bail};
use clap::Args;
use serde_json::json;
use std::path::{Path, PathBuf};

use super::figures::{median, shown};
use super::http::in_turn;
use super::{Bench, Common, programs};
use crate::report::Step;
use crate::setup::gpu_driver;
use parts::{Backend, Figures, Way};

/// Sides of the squares that the detector runs on, pixels.
const DETECTOR_SIDES: [u32; 2] = [512, 1024];
/// Sides of the scenes that the example is asked for, pixels.
const SCENE_SIDES: [u32; 4] = [512, 1024, 2048, 4096];

/// Measure what the GPU process costs
#[derive(Args)]
#[command(
    long_about = "Prints the time of the example's detector on a warm device, the component's calls through the GPU process
beside the same commands by wgpu in one process, on the same adapter; both must find the same. Then the time of whole requests
to examples/harbor-watch/app-gpu.yaml over HTTP, on the GPU and on the processor, whose answers must be equal.

Where this machine has no Vulkan driver, Mesa's is installed, which computes on the processor. A turn starts the program
anew and calls the component anew; the first rounds of a turn do not count. Nothing is pinned to a core."
)]
#[command(after_help = "Examples:
  cargo xtask bench gpu                             (about 3 minutes)
  cargo xtask bench gpu --turns 9 --rounds 200
  cargo xtask bench gpu --gpu-adapter nvidia
  cargo xtask bench gpu --roadstead ./before --gpu-in-process ./target/release/gpu-in-process")]
pub(crate) struct Arguments {
    #[command(flatten)]
    common: Common,
    /// Take this program for the work in one process and build none
    #[arg(long, value_name = "PATH")]
    gpu_in_process: Option<PathBuf>,
    /// The adapter, as `roadstead run` has it
    #[arg(long, value_name = "NAME|INDEX")]
    gpu_adapter: Option<String>,
    /// Times that each way takes its turn
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=100))]
    turns: u32,
    /// Runs of the detector in a turn
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=1000))]
    rounds: u32,
    /// Leave out the requests over HTTP
    #[arg(long)]
    detector_only: bool,
}

/// The detector on one square: figures of each turn, in the same order.
#[derive(Debug)]
struct Detector {
    side: u32,
    in_process: Vec<Figures>,
    in_gpu_process: Vec<Figures>,
}

/// The whole example for one scene: milliseconds of each turn.
#[derive(Debug)]
struct Scene {
    side: u32,
    on_gpu_ms: Vec<f64>,
    on_cpu_ms: Vec<f64>,
}

/// Runs the command.
///
/// # Errors
/// When a part is missing, a request is not answered as it should be, or two ways find different things. A goal that is not
/// met is no error.
pub(crate) fn run(bench: &Bench<'_>, arguments: &Arguments) -> Result<()> {
    gpu_driver::ensure(gpu_driver::Driver::Any)?;
    let given =
        [("roadstead", arguments.common.roadstead.as_deref()), ("gpu-in-process", arguments.gpu_in_process.as_deref())];
    programs::build(bench.layout, &given)?;
    let [roadstead, in_process] = given.map(|(name, given)| programs::release(bench.layout, name, given));
    let (roadstead, in_process) = (roadstead?, in_process?);
    let detectors = detectors(bench, arguments, &roadstead, &in_process)?;
    let scenes = if arguments.detector_only { Vec::new() } else { scenes(bench, arguments, &roadstead)? };
    let surroundings = super::surroundings(bench, &roadstead);
    let text = tables::text(&detectors, &scenes, arguments, &surroundings);
    let json = json!({
        "surroundings": surroundings,
        "turns": arguments.turns,
        "rounds": arguments.rounds,
        "results": tables::json(&detectors, &scenes),
    });
    super::print(arguments.common.output, &text, &json);
    Ok(())
}

fn detectors(bench: &Bench<'_>, arguments: &Arguments, roadstead: &Path, in_process: &Path) -> Result<Vec<Detector>> {
    let adapter = arguments.gpu_adapter.as_deref();
    let mut host = parts::probe(bench, roadstead, adapter)?;
    let (turns, rounds) = (arguments.turns, arguments.rounds);
    let step = Step::begin("detector", format_args!("{turns} turns of {rounds} rounds a way and size"));
    let mut detectors = Vec::new();
    for side in DETECTOR_SIDES {
        let mut detector = Detector { side, in_process: Vec::new(), in_gpu_process: Vec::new() };
        for turn in 0..turns {
            for way in in_turn(turn, [Way::InProcess, Way::InGpuProcess].into_iter()) {
                bench.stop.check()?;
                let figures = match way {
                    Way::InProcess => parts::run_in_process(in_process, side, rounds, adapter),
                    Way::InGpuProcess => parts::ask_probe(&host, side, rounds),
                };
                detector.of(way).push(figures.with_context(|| way.name())?);
            }
        }
        detector.must_agree()?;
        super::progress(format_args!("{side}: {} times as long", shown(detector.ratio())));
        detectors.push(detector);
    }
    host.must_run()?;
    step.done("measured");
    Ok(detectors)
}

fn scenes(bench: &Bench<'_>, arguments: &Arguments, roadstead: &Path) -> Result<Vec<Scene>> {
    let mut host = parts::example(bench, roadstead, arguments.gpu_adapter.as_deref())?;
    let step = Step::begin("example", format_args!("{} turns of a request a scene and backend", arguments.turns));
    let mut scenes = Vec::new();
    for side in SCENE_SIDES {
        let mut scene = Scene { side, on_gpu_ms: Vec::new(), on_cpu_ms: Vec::new() };
        // The first requests make the device and the memory that the others find there.
        let mut wanted = None;
        for backend in Backend::ALL {
            let (_, answer) = parts::detect(&host, side, backend)?;
            if *wanted.get_or_insert_with(|| answer.clone()) != answer {
                bail!("{side}: the answers of both backends differ");
            }
        }
        for turn in 0..arguments.turns {
            for backend in in_turn(turn, Backend::ALL.into_iter()) {
                bench.stop.check()?;
                let (took, _) = parts::detect(&host, side, backend)?;
                let milliseconds = took.as_secs_f64() * 1e3;
                match backend {
                    Backend::Gpu => scene.on_gpu_ms.push(milliseconds),
                    Backend::Cpu => scene.on_cpu_ms.push(milliseconds),
                }
            }
        }
        scenes.push(scene);
    }
    host.must_run()?;
    step.done("measured");
    Ok(scenes)
}

impl Detector {
    fn of(&mut self, way: Way) -> &mut Vec<Figures> {
        match way {
            Way::InProcess => &mut self.in_process,
            Way::InGpuProcess => &mut self.in_gpu_process,
        }
    }

    /// # Errors
    /// When not all found the same on the same adapter.
    fn must_agree(&self) -> Result<()> {
        let mut all = self.in_process.iter().chain(&self.in_gpu_process);
        let Some(first) = all.next() else { bail!("nothing was measured") };
        match all.find(|other| {
            (&other.adapter, other.candidates, other.sum) != (&first.adapter, first.candidates, first.sum)
        }) {
            Some(other) => bail!("{}: not the same was found: {first:?} and {other:?}", self.side),
            None => Ok(()),
        }
    }

    /// The median of the component's medians over that of the program's.
    fn ratio(&self) -> f64 {
        let middle = |all: &[Figures]| median(&all.iter().map(|figures| figures.median_us).collect::<Vec<_>>());
        middle(&self.in_gpu_process) / middle(&self.in_process)
    }

    /// The ratio of each turn by itself.
    fn ratios(&self) -> Vec<f64> {
        let pairs = self.in_gpu_process.iter().zip(&self.in_process);
        pairs.map(|(component, program)| component.median_us / program.median_us).collect()
    }
}
