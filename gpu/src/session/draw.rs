//! Render passes and render bundles, which share most of their commands.

use std::ops::Range;

use roadstead_gpu_wire::{
    Id,
    op::{DebugOp, DrawOp, RenderOp, RenderPassDesc},
    reply::GpuError,
};

use crate::panics::quietly;

use super::{
    Session,
    create::Made,
    encoders::debug,
    objects::{BundleObject, COMMANDS_MAX, Object, PassObject},
};

/// A command with what it names.
enum Drawing {
    Pipeline(wgpu::RenderPipeline),
    BindGroup {
        index: u32,
        group: Option<wgpu::BindGroup>,
        offsets: Vec<u32>,
    },
    IndexBuffer {
        buffer: wgpu::Buffer,
        format: wgpu::IndexFormat,
        range: Range<u64>,
    },
    VertexBuffer {
        slot: u32,
        buffer: Option<(wgpu::Buffer, Range<u64>)>,
    },
    Draw {
        vertices: Range<u32>,
        instances: Range<u32>,
    },
    DrawIndexed {
        indices: Range<u32>,
        base_vertex: i32,
        instances: Range<u32>,
    },
    DrawIndirect {
        buffer: wgpu::Buffer,
        offset: u64,
    },
    DrawIndexedIndirect {
        buffer: wgpu::Buffer,
        offset: u64,
    },
    /// A mark for debuggers, which bundles do without.
    Mark,
}

/// Runs a command on a pass or a bundle encoder.
macro_rules! draw {
    ($to:expr, $drawing:expr) => {
        match $drawing {
            Drawing::Pipeline(pipeline) => $to.set_pipeline(pipeline),
            Drawing::BindGroup { index, group, offsets } => $to.set_bind_group(*index, group.as_ref(), offsets),
            Drawing::IndexBuffer { buffer, format, range } => {
                $to.set_index_buffer(buffer.slice(range.clone()), *format)
            }
            Drawing::VertexBuffer { slot, buffer } => {
                $to.set_vertex_buffer(*slot, buffer.as_ref().map(|(buffer, range)| buffer.slice(range.clone())))
            }
            Drawing::Draw { vertices, instances } => $to.draw(vertices.clone(), instances.clone()),
            Drawing::DrawIndexed { indices, base_vertex, instances } => {
                $to.draw_indexed(indices.clone(), *base_vertex, instances.clone())
            }
            Drawing::DrawIndirect { buffer, offset } => $to.draw_indirect(buffer, *offset),
            Drawing::DrawIndexedIndirect { buffer, offset } => $to.draw_indexed_indirect(buffer, *offset),
            Drawing::Mark => {}
        }
    };
}

/// The bytes of a buffer that are bound; at least one, since wgpu has no others.
fn bound(buffer: &wgpu::Buffer, offset: u64, size: Option<u64>) -> Result<Range<u64>, String> {
    let whole = buffer.size();
    let end = match size {
        Some(size) => offset.checked_add(size),
        None => Some(whole),
    };
    match end {
        Some(end) if end <= whole && offset < end => Ok(offset..end),
        _ => Err(format!("bytes from {offset} of a buffer of {whole} bytes cannot be bound")),
    }
}

fn counted(first: u32, count: u32) -> Result<Range<u32>, String> {
    let end = first.checked_add(count).ok_or_else(|| format!("{count} from {first} are more than there can be"))?;
    Ok(first..end)
}

impl Session {
    /// Finds what a command names, for `user`, which keeps it alive.
    fn drawing(&mut self, user: Id, op: DrawOp) -> Result<Drawing, String> {
        Ok(match op {
            DrawOp::SetPipeline(pipeline) => Drawing::Pipeline(self.objects.render_pipeline(pipeline)?.clone()),
            DrawOp::SetBindGroup { index, group, offsets } => {
                let found = group.map(|group| self.objects.bind_group(group).cloned()).transpose()?;
                if let Some(group) = group {
                    self.objects.keep(user, group);
                }
                Drawing::BindGroup { index, group: found, offsets }
            }
            DrawOp::SetIndexBuffer { buffer, format, offset, size } => {
                let buffer = self.used_buffer(user, buffer)?;
                let range = bound(&buffer, offset, size)?;
                Drawing::IndexBuffer { buffer, format, range }
            }
            DrawOp::SetVertexBuffer { slot, buffer, offset, size } => {
                let buffer = buffer.map(|buffer| self.used_buffer(user, buffer)).transpose()?;
                let range = buffer.as_ref().map(|buffer| bound(buffer, offset, size)).transpose()?;
                Drawing::VertexBuffer { slot, buffer: buffer.zip(range) }
            }
            DrawOp::Draw { vertices, instances, first_vertex, first_instance } => Drawing::Draw {
                vertices: counted(first_vertex, vertices)?,
                instances: counted(first_instance, instances)?,
            },
            DrawOp::DrawIndexed { indices, instances, first_index, base_vertex, first_instance } => {
                let (indices, instances) = (counted(first_index, indices)?, counted(first_instance, instances)?);
                Drawing::DrawIndexed { indices, base_vertex, instances }
            }
            DrawOp::DrawIndirect { buffer, offset } => {
                Drawing::DrawIndirect { buffer: self.used_buffer(user, buffer)?, offset }
            }
            DrawOp::DrawIndexedIndirect { buffer, offset } => {
                Drawing::DrawIndexedIndirect { buffer: self.used_buffer(user, buffer)?, offset }
            }
            DrawOp::Debug(_) => Drawing::Mark,
        })
    }

    pub(super) fn begin_render(&mut self, encoder: Id, desc: &RenderPassDesc) -> Result<Made, GpuError> {
        let invalid = GpuError::validation;
        let timestamps = self.timestamps(encoder, desc.timestamps)?;
        let view = |session: &mut Self, id: Id| {
            let found = session.objects.view(id).map_err(invalid)?.clone();
            session.objects.keep(encoder, id);
            Ok::<_, GpuError>(found)
        };
        let mut colors = Vec::with_capacity(desc.colors.len());
        for color in &desc.colors {
            colors.push(match color {
                Some(color) => {
                    let target = color.resolve_target.map(|target| view(self, target)).transpose()?;
                    Some((view(self, color.view)?, target, color))
                }
                None => None,
            });
        }
        let depth = desc.depth_stencil.as_ref().map(|depth| Ok::<_, GpuError>((view(self, depth.view)?, depth)));
        let depth = depth.transpose()?;
        let queries = desc.occlusion_query_set.map(|set| self.objects.query_set(set).cloned()).transpose();
        let queries = queries.map_err(invalid)?;
        if let Some(set) = desc.occlusion_query_set {
            self.objects.keep(encoder, set);
        }
        let color_attachments: Vec<_> = colors
            .iter()
            .map(|color| {
                color.as_ref().map(|(view, target, color)| wgpu::RenderPassColorAttachment {
                    view,
                    depth_slice: color.depth_slice,
                    resolve_target: target.as_ref(),
                    ops: color.ops,
                })
            })
            .collect();
        let full = wgpu::RenderPassDescriptor {
            label: desc.label.as_deref(),
            color_attachments: &color_attachments,
            depth_stencil_attachment: depth.as_ref().map(|(view, depth)| wgpu::RenderPassDepthStencilAttachment {
                view,
                depth_ops: depth.depth,
                stencil_ops: depth.stencil,
            }),
            timestamp_writes: timestamps.as_ref().map(|(query_set, writes)| wgpu::RenderPassTimestampWrites {
                query_set,
                beginning_of_pass_write_index: writes.begin,
                end_of_pass_write_index: writes.end,
            }),
            occlusion_query_set: queries.as_ref(),
            multiview_mask: None,
        };
        let Some(Object::Encoder(open)) = self.objects.get_mut(encoder) else {
            return Err(GpuError::validation("the command encoder is finished or not valid"));
        };
        let mut pass = open.encoder.begin_render_pass(&full).forget_lifetime();
        // WebGPU has this for a pass that sets none; wgpu has an error.
        pass.set_blend_constant(wgpu::Color::TRANSPARENT);
        Ok(Made::of(Object::RenderPass(Box::new(PassObject { pass, encoder }))))
    }

    pub(super) fn render_pass(&mut self, id: Id, op: RenderOp) {
        let Some(Object::RenderPass(found)) = self.objects.get(id) else {
            return self.raise(GpuError::validation("the render pass has ended or is not valid"));
        };
        let encoder = found.encoder;
        if let RenderOp::End = op {
            // Dropping the pass ends it.
            if let Some(object) = self.objects.get_mut(id) {
                *object = Object::Invalid;
            }
            return;
        }
        if self.count_command(encoder)
            && let Err(why) = self.render(id, encoder, op)
        {
            self.break_encoder(encoder, why);
        }
    }

    fn render(&mut self, id: Id, encoder: Id, op: RenderOp) -> Result<(), String> {
        match op {
            RenderOp::Draw(DrawOp::Debug(op)) => debug!(self.open_render(id)?, op),
            RenderOp::Draw(op) => {
                let drawing = self.drawing(encoder, op)?;
                draw!(self.open_render(id)?, &drawing);
            }
            RenderOp::Viewport { x, y, width, height, min_depth, max_depth } => {
                if [x, y, width, height, min_depth, max_depth].iter().any(|part| !part.is_finite()) {
                    return Err("the viewport has a part that is no finite number".to_owned());
                }
                self.open_render(id)?.set_viewport(x, y, width, height, min_depth, max_depth);
            }
            RenderOp::Scissor { x, y, width, height } => self.open_render(id)?.set_scissor_rect(x, y, width, height),
            RenderOp::BlendConstant(color) => self.open_render(id)?.set_blend_constant(color),
            RenderOp::StencilReference(reference) => self.open_render(id)?.set_stencil_reference(reference),
            RenderOp::BeginOcclusionQuery(index) => self.open_render(id)?.begin_occlusion_query(index),
            RenderOp::EndOcclusionQuery => self.open_render(id)?.end_occlusion_query(),
            RenderOp::ExecuteBundles(bundles) => {
                let found: Result<Vec<_>, _> = bundles.iter().map(|id| self.objects.bundle(*id).cloned()).collect();
                let found = found?;
                bundles.iter().for_each(|bundle| self.objects.keep(encoder, *bundle));
                self.open_render(id)?.execute_bundles(&found);
            }
            RenderOp::End => {}
        }
        Ok(())
    }

    fn open_render(&mut self, id: Id) -> Result<&mut wgpu::RenderPass<'static>, String> {
        match self.objects.get_mut(id) {
            Some(Object::RenderPass(found)) => Ok(&mut found.pass),
            _ => Err("the render pass has ended or is not valid".to_owned()),
        }
    }

    /// Writes down a command of a bundle.
    pub(super) fn bundle(&mut self, id: Id, op: DrawOp) {
        let Some(Object::BundleEncoder(found)) = self.objects.get_mut(id) else {
            return self.raise(GpuError::validation("the render bundle encoder is finished or not valid"));
        };
        match &op {
            DrawOp::Debug(DebugOp::Push(_)) => found.debug_depth += 1,
            DrawOp::Debug(DebugOp::Pop) => match found.debug_depth.checked_sub(1) {
                Some(depth) => found.debug_depth = depth,
                None => {
                    found.broken.get_or_insert("a debug group is closed that was not opened".to_owned());
                }
            },
            _ => {}
        }
        if found.counted.add() {
            found.commands.push(op);
        } else {
            found.broken.get_or_insert(format!("more than {COMMANDS_MAX} commands wait for their submit"));
        }
    }

    /// Makes a bundle of what was written down; the encoder is used up.
    pub(super) fn finish_bundle(&mut self, id: Id, label: Option<&str>) -> Result<Made, GpuError> {
        let invalid = || GpuError::validation("the render bundle encoder is finished or not valid");
        let entry = self.objects.entry_mut(id).ok_or_else(invalid)?;
        let Object::BundleEncoder(found) = std::mem::replace(&mut entry.object, Object::Invalid) else {
            return Err(invalid());
        };
        let BundleObject { desc, commands, counted: _counted, debug_depth, broken } = *found;
        if let Some(why) = broken {
            return Err(GpuError::validation(why));
        }
        if debug_depth > 0 {
            return Err(GpuError::validation("a debug group is not closed"));
        }
        let drawings: Result<Vec<_>, _> = commands.into_iter().map(|op| self.drawing(id, op)).collect();
        let drawings = drawings.map_err(GpuError::validation)?;
        let Some(open) = &self.device else { return Err(invalid()) };
        let device = open.device.clone();
        // wgpu has no other answer to a bundle that is not valid than a panic, in which nothing is half done.
        let made = quietly(|| {
            let mut encoder = device.create_render_bundle_encoder(&wgpu::RenderBundleEncoderDescriptor {
                label: desc.label.as_deref(),
                color_formats: &desc.colors,
                depth_stencil: desc.depth_stencil,
                sample_count: desc.sample_count,
                multiview: None,
            });
            drawings.iter().for_each(|drawing| draw!(encoder, drawing));
            encoder.finish(&wgpu::RenderBundleDescriptor { label })
        });
        let bundle = made.map_err(|panic| GpuError::validation(panic_text(&*panic)))?;
        let kept = self.objects.entry_mut(id).map(|entry| std::mem::take(&mut entry.kept)).unwrap_or_default();
        Ok(Made { kept, ..Made::of(Object::Bundle(bundle)) })
    }
}

fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied());
    text.unwrap_or("the render bundle is not valid").to_owned()
}
