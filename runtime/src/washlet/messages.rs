//! The messages of the package `wasmcloud.runtime.v2`, field by field as published. What they mean to a host is not known
//! here. Peers refuse unknown fields: a message gets a field when the published one has it, and not before.

use std::collections::BTreeMap;

use super::json::{Secret, Timestamp, enumeration, message};

message! {
    /// What a host tells of itself.
    HostHeartbeat {
        id: String,
        hostname: String,
        friendly_name: String,
        version: String,
        labels: BTreeMap<String, String>,
        started_at: Option<Timestamp>,
        os_arch: String,
        os_name: String,
        os_kernel: String,
        /// Percent of all processors together.
        system_cpu_usage: f32,
        /// Bytes.
        system_memory_total: u64,
        /// Bytes.
        system_memory_free: u64,
        component_count: u64,
        workload_count: u64,
        imports: Vec<WitInterface>,
        exports: Vec<WitInterface>,
        http_port: u32,
        environment: String,
    }
}

message! {
    /// Interfaces of one WIT package.
    WitInterface {
        namespace: String,
        package: String,
        version: String,
        interfaces: Vec<String>,
        config: BTreeMap<String, String>,
        name: String,
    }
}

message! {
    /// Start a workload.
    WorkloadStartRequest {
        workload_id: String,
        workload: Option<Workload>,
    }
}

message! {
    /// What to start.
    Workload {
        namespace: String,
        name: String,
        annotations: BTreeMap<String, String>,
        service: Option<Service>,
        wit_world: Option<WitWorld>,
        volumes: Vec<Volume>,
    }
}

message! {
    /// The components of a workload, and what they may use of the host.
    WitWorld {
        components: Vec<Component>,
        host_interfaces: Vec<WitInterface>,
    }
}

message! {
    /// One component.
    Component {
        name: String,
        image: String,
        local_resources: Option<LocalResources>,
        /// Not set where it is not positive, as the next two.
        pool_size: i32,
        max_invocations: i32,
        max_concurrency: i32,
        image_pull_secret: Option<ImagePullSecret>,
        image_pull_policy: ImagePullPolicy,
    }
}

message! {
    /// The one long-running component of a workload.
    Service {
        image: String,
        local_resources: Option<LocalResources>,
        max_restarts: u64,
        image_pull_secret: Option<ImagePullSecret>,
        image_pull_policy: ImagePullPolicy,
    }
}

message! {
    /// What a registry is shown.
    ImagePullSecret {
        username: String,
        password: Secret,
    }
}

message! {
    /// What one component gets and may do.
    LocalResources {
        /// Not set where it is not positive, as the next one.
        memory_limit_mb: i32,
        cpu_limit: i32,
        config: BTreeMap<String, String>,
        environment: BTreeMap<String, String>,
        volume_mounts: Vec<VolumeMount>,
        allowed_hosts: Vec<String>,
        allowed_ip_name_lookups: Vec<String>,
        allowed_host_loopback_ports: Vec<u32>,
    }
}

message! {
    /// A volume in a component.
    VolumeMount {
        name: String,
        mount_path: String,
        read_only: bool,
    }
}

message! {
    /// A volume of a workload: one of the two.
    Volume {
        name: String,
        host_path: Option<HostPathVolume>,
        empty_dir: Option<EmptyDirVolume>,
    }
}

message! {
    /// A folder of the host.
    HostPathVolume {
        local_path: String,
    }
}

message! {
    /// A folder that ends with the workload.
    EmptyDirVolume {}
}

message! {
    /// The answer to a start.
    WorkloadStartResponse {
        workload_status: Option<WorkloadStatus>,
    }
}

message! {
    /// Stop a workload.
    WorkloadStopRequest {
        workload_id: String,
    }
}

message! {
    /// The answer to a stop.
    WorkloadStopResponse {
        workload_status: Option<WorkloadStatus>,
    }
}

message! {
    /// Tell of a workload.
    WorkloadStatusRequest {
        workload_id: String,
    }
}

message! {
    /// The answer to a question for a status.
    WorkloadStatusResponse {
        workload_status: Option<WorkloadStatus>,
    }
}

message! {
    /// How a workload is.
    WorkloadStatus {
        workload_id: String,
        workload_state: WorkloadState,
        message: String,
    }
}

enumeration! {
    /// The states of a workload.
    WorkloadState, "a WORKLOAD_STATE such as WORKLOAD_STATE_RUNNING, or its number from 0 to 6" {
        Unspecified = "WORKLOAD_STATE_UNSPECIFIED",
        Starting = "WORKLOAD_STATE_STARTING",
        Running = "WORKLOAD_STATE_RUNNING",
        Completed = "WORKLOAD_STATE_COMPLETED",
        Stopping = "WORKLOAD_STATE_STOPPING",
        Error = "WORKLOAD_STATE_ERROR",
        NotFound = "WORKLOAD_STATE_NOT_FOUND",
    }
}

enumeration! {
    /// When an image is fetched although a copy is at hand.
    ImagePullPolicy, "IMAGE_PULL_POLICY_ALWAYS, _IF_NOT_PRESENT, _NEVER or _UNSPECIFIED, or its number from 0 to 3" {
        Unspecified = "IMAGE_PULL_POLICY_UNSPECIFIED",
        Always = "IMAGE_PULL_POLICY_ALWAYS",
        IfNotPresent = "IMAGE_PULL_POLICY_IF_NOT_PRESENT",
        Never = "IMAGE_PULL_POLICY_NEVER",
    }
}

#[cfg(test)]
mod tests;
