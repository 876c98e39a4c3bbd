//! The GPU on the command line: the flags of a host, `roadstead gpu`, and the process that serves one, which is not for
//! people.

use std::{
    env,
    ffi::OsString,
    io::stdin,
    os::fd::AsFd,
    process::{Command, ExitCode, Stdio},
    sync::Arc,
};

use clap::{Args, ValueEnum};
use roadstead_config::{Limits, PackageName};
use roadstead_gpu::{AdapterChoice, GpuProcessError, list_adapters, serve};
use roadstead_gpu_wire::control::{AdapterFacts, GpuLimits};
use roadstead_plugins::webgpu::{GpuError, GpuProgram, WebGpu};
use roadstead_runtime::{error_text, host::HostBuilder};

use super::{fail, limits::LimitArguments, output::Output};

/// Name of the command that serves a GPU.
pub(super) const CHILD: &str = "gpu-child";

/// Variables of the environment that tell where drivers are and how they behave: all that a GPU process sees of it.
const ENVIRONMENT: [&str; 3] = ["HOME", "LD_LIBRARY_PATH", RUNTIME_FOLDER];

/// Where programs of a user keep sockets.
const RUNTIME_FOLDER: &str = "XDG_RUNTIME_DIR";

/// Beginnings of the names of further ones.
const ENVIRONMENT_OF_DRIVERS: [&str; 9] =
    ["VK_", "MESA_", "LP_", "GALLIUM_", "LVP_", "NVIDIA_", "CUDA_", "__GL_", "DRI_"];

/// Why a host has no GPU although it was told to have one.
#[derive(Debug, thiserror::Error)]
pub(super) enum HostGpuError {
    #[error("the path of this program, which serves the GPU in a process of its own, cannot be found out")]
    Program(#[source] std::io::Error),
    #[error("--wasi-webgpu=require: no GPU")]
    Required(#[source] GpuError),
}

/// Whether components get a GPU.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Wanted {
    /// They get none.
    #[value(aliases = ["0", "no", "off"])]
    False,
    /// They get one if there is one; the host starts in any case.
    #[value(aliases = ["1", "yes", "on"])]
    True,
    /// They get one; without one the host does not start.
    Require,
}

/// Flags of the GPU.
#[derive(Debug, Args)]
pub(super) struct GpuArguments {
    /// Offer wasi:webgpu to components that declare it.
    #[arg(
        long,
        value_enum,
        num_args = 0..=1,
        require_equals = true,
        default_value = "false",
        default_missing_value = "true",
        env = "ROADSTEAD_WASI_WEBGPU"
    )]
    wasi_webgpu: Wanted,
    #[command(flatten)]
    choice: ChoiceArguments,
}

/// Which adapter is used.
#[derive(Debug, Args)]
struct ChoiceArguments {
    /// The adapter to use: its number in the list of `roadstead gpu`, or a part of its name.
    #[arg(long, value_name = "NAME|INDEX", env = "ROADSTEAD_GPU_ADAPTER")]
    gpu_adapter: Option<String>,
    /// Use a program that stands in for a GPU, such as lavapipe, where there is none.
    #[arg(long, env = "ROADSTEAD_GPU_ALLOW_SOFTWARE")]
    gpu_allow_software: bool,
}

impl ChoiceArguments {
    fn choice(&self) -> AdapterChoice {
        AdapterChoice { wanted: self.gpu_adapter.clone(), software: self.gpu_allow_software }
    }
}

impl GpuArguments {
    /// The plugin that the flags ask for, with its process started; none where they ask for none, or there is no GPU and
    /// the host is to start nonetheless, which then says so.
    pub(super) async fn plugin(&self, limits: &Limits) -> Result<Option<WebGpu>, HostGpuError> {
        if self.wasi_webgpu == Wanted::False {
            return Ok(None);
        }
        let program = program(&self.choice).map_err(HostGpuError::Program)?;
        match WebGpu::start(program, Arc::new(limits.clone())).await {
            Ok(plugin) => {
                tracing::info!(adapter = plugin.adapter(), "components get a GPU");
                Ok(Some(plugin))
            }
            Err(error) if self.wasi_webgpu == Wanted::Require => Err(HostGpuError::Required(error)),
            Err(error) => {
                tracing::warn!(reason = error_text(&error), "wasi:webgpu is not offered");
                Ok(None)
            }
        }
    }
}

impl GpuArguments {
    /// Has a host without a GPU say what would give it one.
    pub(super) fn explain(&self, host: HostBuilder) -> HostBuilder {
        let remedy = match self.wasi_webgpu {
            Wanted::False => "start the host with --wasi-webgpu",
            Wanted::True | Wanted::Require => {
                "the host was started with --wasi-webgpu, but found no GPU that it may use: `roadstead gpu` lists what there is"
            }
        };
        match PackageName::new("wasi", "webgpu") {
            Ok(package) => host.with_remedy(package, remedy),
            Err(_) => host,
        }
    }
}

/// This program, as the one that serves a GPU.
fn program(choice: &ChoiceArguments) -> std::io::Result<GpuProgram> {
    let mut arguments: Vec<OsString> = vec![CHILD.into()];
    if let Some(adapter) = &choice.gpu_adapter {
        arguments.extend(["--gpu-adapter".into(), adapter.into()]);
    }
    if choice.gpu_allow_software {
        arguments.push("--gpu-allow-software".into());
    }
    Ok(GpuProgram::new(env::current_exe()?, arguments, environment()))
}

/// What a GPU process sees of the environment.
fn environment() -> Vec<(OsString, OsString)> {
    let is_drivers = |name: &str| {
        ENVIRONMENT.contains(&name) || ENVIRONMENT_OF_DRIVERS.iter().any(|prefix| name.starts_with(prefix))
    };
    let mut seen: Vec<_> = env::vars_os().filter(|(name, _)| name.to_str().is_some_and(is_drivers)).collect();
    if !seen.iter().any(|(name, _)| name == RUNTIME_FOLDER) {
        // A library of the driver complains without one, and keeps nothing there.
        seen.push((RUNTIME_FOLDER.into(), env::temp_dir().into()));
    }
    seen
}

/// Flags of `roadstead gpu-child`.
#[derive(Debug, Args)]
pub(super) struct ChildArguments {
    #[command(flatten)]
    choice: ChoiceArguments,
    /// Print the adapters as JSON and end.
    #[arg(long)]
    list: bool,
    #[command(flatten)]
    limits: LimitArguments,
}

/// Serves a GPU on standard input until the host is gone.
pub(super) fn child(arguments: &ChildArguments) -> ExitCode {
    if arguments.list {
        return match serde_json::to_string(&list_adapters()) {
            Ok(json) => {
                println!("{json}");
                ExitCode::SUCCESS
            }
            Err(error) => fail(&error),
        };
    }
    let limits = limits_of(&arguments.limits.apply(Limits::default()));
    let served = match stdin().as_fd().try_clone_to_owned() {
        Ok(control) => serve(control, &arguments.choice.choice(), limits),
        Err(error) => return fail(&error),
    };
    match served {
        Ok(()) => ExitCode::SUCCESS,
        // The host says it.
        Err(GpuProcessError::NoAdapter(_)) => ExitCode::FAILURE,
        Err(error) => fail(&error),
    }
}

fn limits_of(limits: &Limits) -> GpuLimits {
    GpuLimits {
        devices_max: limits.gpu_devices_max,
        workload_devices_max: limits.gpu_workload_devices_max,
        memory_bytes_max: limits.gpu_memory_bytes_max,
        objects_max: limits.gpu_objects_max,
        dispatch_workgroups_max: limits.gpu_dispatch_workgroups_max,
        shader_bytes_max: limits.gpu_shader_bytes_max,
        private_bytes_max: limits.gpu_private_bytes_max,
        shader_size_max: limits.gpu_shader_size_max,
        compile_ms_max: limits.gpu_compile_ms_max,
        run_ms_max: limits.gpu_run_ms_max,
        queue_ms_max: limits.gpu_queue_ms_max,
        submits_in_flight_max: limits.gpu_submits_in_flight_max,
    }
}

/// Flags of `roadstead gpu`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  roadstead gpu                  the adapters of this machine and their limits
  roadstead gpu --output json    the same for programs")]
pub(super) struct ListArguments {
    /// How to print.
    #[arg(long, value_enum, default_value_t = Output::Text)]
    output: Output,
}

/// Lists the adapters. A driver that fails ends a process that is there for nothing else.
pub(super) fn list(arguments: &ListArguments) -> ExitCode {
    let listed = env::current_exe().and_then(|program| {
        let mut command = Command::new(program);
        command.args([CHILD, "--list"]).env_clear().envs(environment()).stderr(Stdio::inherit()).output()
    });
    let listed = match listed {
        Ok(listed) => listed,
        Err(error) => return fail(&error),
    };
    let adapters: Vec<AdapterFacts> = match serde_json::from_slice(&listed.stdout) {
        Ok(adapters) if listed.status.success() => adapters,
        _ => {
            eprintln!("error: a driver failed while it was asked for its adapters ({})", listed.status);
            return ExitCode::FAILURE;
        }
    };
    match arguments.output {
        Output::Json => println!("{}", String::from_utf8_lossy(&listed.stdout).trim_end()),
        Output::Text => print(&adapters),
    }
    ExitCode::SUCCESS
}

fn print(adapters: &[AdapterFacts]) {
    if adapters.is_empty() {
        println!("no adapters: no Vulkan driver was found");
        println!("on Debian: apt-get install mesa-vulkan-drivers libvulkan1");
        return;
    }
    for AdapterFacts { index, info, limits, .. } in adapters {
        println!("{index}  {}", info.name);
        println!("   kind            {}", kind(info));
        println!("   driver          {} {}", info.driver, info.driver_info);
        println!("   buffer          {} MiB at most", limits.max_buffer_size >> 20);
        println!("   storage binding {} MiB at most", limits.max_storage_buffer_binding_size >> 20);
        println!("   texture         {} texels a side at most", limits.max_texture_dimension_2d);
        println!(
            "   workgroup       {} invocations, {} KiB of memory at most",
            limits.max_compute_invocations_per_workgroup,
            limits.max_compute_workgroup_storage_size >> 10
        );
    }
}

fn kind(info: &roadstead_gpu_wire::wgt::AdapterInfo) -> &'static str {
    use roadstead_gpu_wire::wgt::DeviceType;
    match info.device_type {
        DeviceType::DiscreteGpu => "GPU",
        DeviceType::IntegratedGpu => "GPU, part of the processor",
        DeviceType::VirtualGpu => "GPU of the virtual machine's host",
        DeviceType::Cpu => "software (needs --gpu-allow-software)",
        DeviceType::Other => "other",
    }
}
