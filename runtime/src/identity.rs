//! Who a workload is.

use std::fmt;

use roadstead_config::{Namespace, ResourceName};

/// A workload of a host: its tenant and its name there. Triggers and deployments share one name space per tenant.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct WorkloadId {
    pub namespace: Namespace,
    pub name: ResourceName,
}

impl fmt::Display for WorkloadId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}
