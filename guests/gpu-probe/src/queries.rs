//! Queries: what was covered, and when. Must not know other passes.

use serde_json::{Value, json};

use crate::canvas::{self, Canvas, Drawn, all, rectangle};
use crate::drawing::RED_F;
use crate::make::{self, flags};
use crate::stage::{self, Stage};
use crate::webgpu::{
    CreateQuerySetErrorKind, GpuBuffer, GpuComputePassDescriptor, GpuComputePassTimestampWrites, GpuFeatureName,
    GpuQuerySet, GpuQuerySetDescriptor, GpuQueryType, GpuRenderPassTimestampWrites,
};
use crate::{Saw, Scenario, expect, must};

pub(crate) const SCENARIOS: &[Scenario] = &[
    ("queries.occlusion", occlusion),
    ("queries.timestamps", timestamps),
    ("queries.timestamps-without-the-feature", timestamps_without_the_feature),
    ("queries.refused", refused),
];

fn query_set(stage: &Stage, kind: GpuQueryType, count: u32) -> Result<GpuQuerySet, String> {
    let descriptor = GpuQuerySetDescriptor { type_: kind, count, label: Some("the queries".to_owned()) };
    call!(stage.device, create_query_set, &descriptor).map_err(|error| error.message)
}

/// A buffer that the answers of queries go to.
fn answers(stage: &Stage, count: u64) -> GpuBuffer {
    stage.buffer(count * 8, flags::QUERY_RESOLVE | flags::COPY_SRC)
}

fn read(stage: &Stage, buffer: &GpuBuffer) -> Result<Vec<u64>, String> {
    let bytes = stage.read(buffer)?;
    Ok(bytes.chunks_exact(8).filter_map(|answer| answer.try_into().ok()).map(u64::from_le_bytes).collect())
}

fn occlusion(_: &Value) -> Saw {
    let canvas = Canvas::new()?;
    let stage = &canvas.stage;
    let set = query_set(stage, GpuQueryType::Occlusion, 4)?;
    expect("its count", call!(set, count), 4)?;
    must(matches!(call!(set, type_), GpuQueryType::Occlusion), "it has its type")?;
    let pipeline = canvas.pipeline(Drawn::default());
    let (red, all) = (canvas.color(&pipeline, RED_F)?, canvas.vertices(&all())?);
    let outside = canvas.vertices(&rectangle(20.0, 20.0, 28.0, 28.0, 0.0))?;
    let mut descriptor = make::render_pass(make::attachment(&canvas.view, Some(make::BLACK)));
    descriptor.occlusion_query_set = Some(&set);
    canvas.drawn_in(&descriptor, |pass| {
        for (query, vertices) in [(2, &all), (1, &outside)] {
            call!(pass, begin_occlusion_query, query);
            canvas::draw(pass, &pipeline, &red, vertices, 6)?;
            call!(pass, end_occlusion_query);
        }
        Ok(())
    })?;
    let buffer = stage.buffer(512, flags::QUERY_RESOLVE | flags::COPY_SRC);
    stage.valid("resolving", || {
        let encoder = stage.encoder();
        call!(encoder, resolve_query_set, &set, 0, 4, &buffer, 256);
        stage.submit(&encoder);
    })?;
    let told = read(stage, &buffer)?;
    let told = told.get(32..36).unwrap_or_default().to_vec();
    let seen: Vec<bool> = told.iter().map(|count| *count > 0).collect();
    expect("what was seen", seen, vec![false, false, true, false])?;
    call!(set, destroy);
    call!(set, destroy);
    let destroyed = stage.invalid("resolving what was destroyed", || {
        let encoder = stage.encoder();
        call!(encoder, resolve_query_set, &set, 0, 4, &buffer, 0);
        stage.submit(&encoder);
    })?;
    Ok(json!({ "destroyed": destroyed }))
}

fn timestamps(_: &Value) -> Saw {
    let of_adapter = call!(stage::adapter()?, features);
    if !call!(of_adapter, has, "timestamp-query") {
        return Ok(json!({ "feature": false }));
    }
    let canvas = Canvas::on(Stage::with(&[GpuFeatureName::TimestampQuery])?);
    let stage = &canvas.stage;
    let set = query_set(stage, GpuQueryType::Timestamp, 4)?;
    must(matches!(call!(set, type_), GpuQueryType::Timestamp), "it has its type")?;
    let buffer = answers(stage, 4);
    let pipeline = stage.compute("@compute @workgroup_size(1) fn main() {}");
    stage.valid("the passes", || {
        let encoder = stage.encoder();
        let timestamp_writes = Some(GpuComputePassTimestampWrites {
            query_set: &set,
            beginning_of_pass_write_index: Some(0),
            end_of_pass_write_index: Some(1),
        });
        let descriptor = GpuComputePassDescriptor { timestamp_writes, label: None };
        let pass = call!(encoder, begin_compute_pass, Some(&descriptor));
        call!(pass, set_pipeline, &pipeline);
        call!(pass, dispatch_workgroups, 1, None, None);
        call!(pass, end);
        let mut descriptor = make::render_pass(make::attachment(&canvas.view, Some(make::BLACK)));
        descriptor.timestamp_writes = Some(GpuRenderPassTimestampWrites {
            query_set: &set,
            beginning_of_pass_write_index: Some(2),
            end_of_pass_write_index: Some(3),
        });
        let pass = call!(encoder, begin_render_pass, &descriptor);
        call!(pass, end);
        call!(encoder, resolve_query_set, &set, 0, 4, &buffer, 0);
        stage.submit(&encoder);
    })?;
    let times = read(stage, &buffer)?;
    let [begin, end, begin_render, end_render] = times[..] else {
        return Err(format!("{} times instead of 4", times.len()));
    };
    must(begin <= end && begin_render <= end_render, "passes begin before they end")?;
    Ok(json!({ "feature": true, "compute_ns": end - begin, "render_ns": end_render - begin_render }))
}

fn timestamps_without_the_feature(_: &Value) -> Saw {
    let stage = Stage::new()?;
    let descriptor = GpuQuerySetDescriptor { type_: GpuQueryType::Timestamp, count: 2, label: None };
    let made = stage.valid("no error for the scopes", || call!(stage.device, create_query_set, &descriptor))?;
    match made {
        Ok(_) => Err("a query set of timestamps was made".to_owned()),
        Err(error) => {
            must(matches!(error.kind, CreateQuerySetErrorKind::TypeError), "it is a TypeError")?;
            must(!error.message.is_empty(), "the error says something")?;
            Ok(json!({ "refused": error.message }))
        }
    }
}

fn refused(_: &Value) -> Saw {
    let canvas = Canvas::new()?;
    let stage = &canvas.stage;
    let set = query_set(stage, GpuQueryType::Occlusion, 2)?;
    let too_many = stage.invalid("too many queries", || query_set(stage, GpuQueryType::Occlusion, 4097).ok())?;
    let buffer = answers(stage, 64);
    let resolve = |first, count, offset| {
        stage.invalid("resolving", || {
            let encoder = stage.encoder();
            call!(encoder, resolve_query_set, &set, first, count, &buffer, offset);
            stage.submit(&encoder);
        })
    };
    let pass = |with_set: bool, queries: &[u32], ends: usize| {
        stage.invalid("a pass", || {
            let encoder = stage.encoder();
            let mut descriptor = make::render_pass(make::attachment(&canvas.view, Some(make::BLACK)));
            descriptor.occlusion_query_set = with_set.then_some(&set);
            let pass = call!(encoder, begin_render_pass, &descriptor);
            for query in queries {
                call!(pass, begin_occlusion_query, *query);
            }
            for _ in 0..ends {
                call!(pass, end_occlusion_query);
            }
            call!(pass, end);
            stage.submit(&encoder);
        })
    };
    Ok(json!({
        "too_many": too_many,
        "past_the_set": resolve(1, 2, 0)?,
        "overflow": resolve(u32::MAX, u32::MAX, 0)?,
        "unaligned": resolve(0, 1, 8)?,
        "past_the_buffer": resolve(0, 2, 512)?,
        "no_set": pass(false, &[0], 1)?,
        "past_the_queries": pass(true, &[2], 1)?,
        "one_in_another": pass(true, &[0, 1], 2)?,
        "no_begin": pass(true, &[], 1)?,
        "no_end": pass(true, &[0], 0)?,
    }))
}
