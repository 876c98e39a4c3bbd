//! What is known to bring compilers down, found in a shader before they see it: memory of a workgroup or an invocation
//! beyond all measure, and functions that become huge when each is written out where it is called.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
};

use roadstead_gpu_wire::reply::GpuError;
use wgpu::naga::{
    AddressSpace, Block, Expression, Function, GlobalVariable, Handle, Module, ShaderStage, Statement,
    back::{PipelineConstants, pipeline_constants::process_overrides},
    front::wgsl,
    valid::{Capabilities, ModuleInfo, ValidationFlags, Validator},
};

/// What a shader may have.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bounds {
    /// Bytes of `var<workgroup>` that one entry point uses.
    pub(crate) workgroup_bytes_max: u64,
    /// Bytes of `var<private>` that one entry point uses, and of the variables of its functions.
    pub(crate) private_bytes_max: u64,
    /// Expressions and statements of an entry point with all functions written out where they are called.
    pub(crate) size_max: u64,
    /// Invocations of a workgroup in each direction, and all of them.
    pub(crate) workgroup_max: ([u32; 3], u32),
}

/// A shader whose memory depends on constants that only its pipelines give.
pub(crate) struct Overridable {
    module: Module,
    info: ModuleInfo,
}

/// Checks a shader. One that is no WGSL, or not valid, is the compiler's to refuse.
///
/// # Errors
/// A validation error that names the limit.
pub(crate) fn check(code: &str, bounds: Bounds) -> Result<Option<Arc<Overridable>>, GpuError> {
    let Ok(module) = wgsl::parse_str(code) else { return Ok(None) };
    measure(&module, bounds)?;
    if module.overrides.is_empty() {
        return Ok(None);
    }
    let validated = Validator::new(ValidationFlags::all(), Capabilities::all()).validate(&module);
    Ok(validated.ok().map(|info| Arc::new(Overridable { module, info })))
}

impl Overridable {
    /// Whether the shader has a constant that goes by this name: its number where it has one, otherwise its name.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.module.overrides.iter().any(|(_, constant)| match constant.id {
            Some(id) => name.parse() == Ok(id),
            None => constant.name.as_deref() == Some(name),
        })
    }

    /// Checks the shader with the constants of a pipeline. Constants that do not fit are the compiler's to refuse.
    ///
    /// # Errors
    /// A validation error that names the limit.
    pub(crate) fn check(
        &self,
        stage: ShaderStage,
        entry_point: Option<&str>,
        constants: &[(String, f64)],
        bounds: Bounds,
    ) -> Result<(), GpuError> {
        let constants: PipelineConstants = constants.iter().cloned().collect();
        let entry = entry_point.map(|name| (stage, name));
        match process_overrides(&self.module, &self.info, entry, &constants) {
            Ok((module, _)) => {
                let entries = module.entry_points.iter().filter(|entry| entry.stage == ShaderStage::Compute);
                entries.map(|entry| entry.workgroup_size).try_for_each(|size| workgroup_fits(size, bounds))?;
                measure(&module, bounds)
            }
            Err(_) => Ok(()),
        }
    }
}

/// Where constants make the size of a workgroup, the compiler looks at no limit.
fn workgroup_fits(size: [u32; 3], bounds: Bounds) -> Result<(), GpuError> {
    let (each_max, all_max) = bounds.workgroup_max;
    let all = size.iter().fold(1_u64, |all, one| all.saturating_mul(u64::from(*one)));
    let fits = size.iter().zip(each_max).all(|(one, max)| (1..=max).contains(one)) && all <= u64::from(all_max);
    if fits {
        return Ok(());
    }
    Err(GpuError::validation(format!(
        "a workgroup of {size:?} invocations; the device has from 1 to {each_max:?}, and {all_max} in all"
    )))
}

/// What a function takes with all that it calls.
#[derive(Clone, Default)]
struct Cost {
    size: u64,
    local_bytes: u64,
    globals: BTreeSet<Handle<GlobalVariable>>,
}

fn measure(module: &Module, bounds: Bounds) -> Result<(), GpuError> {
    // A function comes after those that it calls.
    let mut costs: HashMap<Handle<Function>, Cost> = HashMap::new();
    for (handle, function) in module.functions.iter() {
        let cost = cost_of(module, function, &costs)?;
        if cost.size > bounds.size_max {
            return Err(too_large(function.name.as_deref(), bounds));
        }
        costs.insert(handle, cost);
    }
    for entry in &module.entry_points {
        let cost = cost_of(module, &entry.function, &costs)?;
        if cost.size > bounds.size_max {
            return Err(too_large(Some(&entry.name), bounds));
        }
        let of_space = |space: AddressSpace| {
            let globals = cost.globals.iter().filter_map(|handle| module.global_variables.try_get(*handle).ok());
            let sizes = globals.filter(|variable| variable.space == space).map(|variable| size_of(module, variable.ty));
            sizes.sum::<Result<u64, GpuError>>()
        };
        let workgroup = of_space(AddressSpace::WorkGroup)?;
        if workgroup > bounds.workgroup_bytes_max {
            return Err(GpuError::validation(format!(
                "{} uses {workgroup} bytes of workgroup memory; the device has {}",
                entry.name, bounds.workgroup_bytes_max
            )));
        }
        let private = of_space(AddressSpace::Private)?.saturating_add(cost.local_bytes);
        if private > bounds.private_bytes_max {
            return Err(GpuError::validation(format!(
                "{} uses {private} bytes of private memory, more than {} (gpu_private_bytes_max)",
                entry.name, bounds.private_bytes_max
            )));
        }
    }
    Ok(())
}

fn too_large(name: Option<&str>, bounds: Bounds) -> GpuError {
    GpuError::validation(format!(
        "{} has more than {} expressions and statements with all that it calls (gpu_shader_size_max)",
        name.unwrap_or("a function"),
        bounds.size_max
    ))
}

fn size_of(module: &Module, ty: Handle<wgpu::naga::Type>) -> Result<u64, GpuError> {
    let too_large = || GpuError::validation("a type is larger than 4 GiB");
    let ty = module.types.get_handle(ty).map_err(|_| too_large())?;
    ty.inner.try_size(module.to_ctx()).map(u64::from).ok_or_else(too_large)
}

fn cost_of(module: &Module, function: &Function, costs: &HashMap<Handle<Function>, Cost>) -> Result<Cost, GpuError> {
    let mut cost = Cost { size: function.expressions.len() as u64, ..Cost::default() };
    for (_, variable) in function.local_variables.iter() {
        cost.local_bytes = cost.local_bytes.saturating_add(size_of(module, variable.ty)?);
    }
    for (_, expression) in function.expressions.iter() {
        if let Expression::GlobalVariable(handle) = expression {
            cost.globals.insert(*handle);
        }
    }
    let mut deepest = 0;
    let mut blocks: Vec<&Block> = vec![&function.body];
    while let Some(block) = blocks.pop() {
        for statement in block.iter() {
            cost.size = cost.size.saturating_add(1);
            match statement {
                Statement::Block(inner) => blocks.push(inner),
                Statement::If { accept, reject, .. } => blocks.extend([accept, reject]),
                Statement::Switch { cases, .. } => blocks.extend(cases.iter().map(|case| &case.body)),
                Statement::Loop { body, continuing, .. } => blocks.extend([body, continuing]),
                Statement::Call { function, .. } => {
                    if let Some(called) = costs.get(function) {
                        cost.size = cost.size.saturating_add(called.size);
                        cost.globals.extend(&called.globals);
                        deepest = deepest.max(called.local_bytes);
                    }
                }
                _ => {}
            }
        }
    }
    cost.local_bytes = cost.local_bytes.saturating_add(deepest);
    Ok(cost)
}

#[cfg(test)]
mod tests {
    use std::fmt::Write;

    use super::*;

    const BOUNDS: Bounds = Bounds {
        workgroup_bytes_max: 16_384,
        private_bytes_max: 65_536,
        size_max: 100_000,
        workgroup_max: ([256, 256, 64], 256),
    };

    fn refused(code: &str) -> String {
        check(code, BOUNDS).err().map(|error| error.message).unwrap_or_default()
    }

    #[test]
    fn what_is_ordinary_passes() {
        let code = "var<workgroup> tile: array<f32, 1024>;
            @compute @workgroup_size(64) fn main(@builtin(local_invocation_index) i: u32) { tile[i] = f32(i); }";
        assert_eq!(refused(code), "");
    }

    #[test]
    fn huge_memory_is_refused() {
        let workgroup = "var<workgroup> tile: array<f32, 100000>;
            @compute @workgroup_size(1) fn main() { tile[0] = 1.0; }";
        assert!(refused(workgroup).contains("400000 bytes of workgroup memory"), "{}", refused(workgroup));
        let private = "var<private> mine: array<f32, 100000>; @compute @workgroup_size(1) fn main() { mine[0] = 1.0; }";
        assert!(refused(private).contains("gpu_private_bytes_max"), "{}", refused(private));
        let local = "@compute @workgroup_size(1) fn main() { var a: array<array<f32, 1000>, 1000>; a[0][0] = 1.0; }";
        assert!(refused(local).contains("gpu_private_bytes_max"), "{}", refused(local));
    }

    #[test]
    fn memory_that_is_not_used_does_not_count() {
        let code = "var<workgroup> tile: array<f32, 100000>; @compute @workgroup_size(1) fn main() {}";
        assert_eq!(refused(code), "");
    }

    #[test]
    fn functions_that_grow_without_measure_are_refused() {
        let mut code = "fn f0(x: u32) -> u32 { return x + 1u; }\n".to_owned();
        for level in 1..30 {
            let below = level - 1;
            let _ = writeln!(code, "fn f{level}(x: u32) -> u32 {{ return f{below}(x) + f{below}(x + 1u); }}");
        }
        code.push_str("@compute @workgroup_size(1) fn main() { var x = f29(1u); x += 1u; }");
        assert!(refused(&code).contains("gpu_shader_size_max"), "{}", refused(&code));
    }

    #[test]
    fn constants_make_no_workgroup_that_is_too_large() {
        let code = "override n: u32; @compute @workgroup_size(n, 2) fn main() {}";
        let overridable = check(code, BOUNDS).unwrap_or_else(|e| panic!("{e:?}"));
        let overridable = overridable.unwrap_or_else(|| panic!("it has overrides"));
        let with = |n: f64| overridable.check(ShaderStage::Compute, Some("main"), &[("n".to_owned(), n)], BOUNDS);
        assert_eq!(with(128.0), Ok(()));
        assert!(with(129.0).is_err() && with(257.0).is_err());
    }

    #[test]
    fn constants_of_a_pipeline_count() {
        let code = "override n: u32; var<workgroup> tile: array<f32, n>;
            @compute @workgroup_size(1) fn main() { tile[0] = 1.0; }";
        let overridable = check(code, BOUNDS).unwrap_or_else(|e| panic!("{e:?}"));
        let overridable = overridable.unwrap_or_else(|| panic!("it has overrides"));
        let with = |n: f64| overridable.check(ShaderStage::Compute, Some("main"), &[("n".to_owned(), n)], BOUNDS);
        assert_eq!(with(16.0), Ok(()));
        assert!(with(1e6).is_err());
        assert!(overridable.has("n") && !overridable.has("m") && !overridable.has("0"));
    }
}
