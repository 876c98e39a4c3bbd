//! The workload that a command is about: by its name alone where only one has it, in whatever namespace. What is asked of
//! it is not known here.

use clap::Args;
use roadstead_config::{Namespace, ResourceName};

use super::{
    asking::{AskError, Asking},
    shown::{list, text},
};

/// Which workload.
#[derive(Debug, Args)]
pub(super) struct NamedWorkload {
    /// Name of the workload.
    name: ResourceName,
    /// Its namespace [default: the one that has a workload of this name].
    #[arg(short, long, value_name = "NAMESPACE")]
    namespace: Option<Namespace>,
}

impl NamedWorkload {
    /// Its namespace and name.
    ///
    /// # Errors
    /// When no host answers, or none or several have the name.
    pub(super) async fn find(&self, asking: &Asking) -> Result<(Namespace, &ResourceName), AskError> {
        if let Some(namespace) = &self.namespace {
            return Ok((namespace.clone(), &self.name));
        }
        let all = asking.get("/v1/workloads").await?;
        let of_name = list(&all, "items").iter().filter(|item| text(item, "name") == self.name.as_str());
        let mut namespaces: Vec<Namespace> = of_name.filter_map(|item| text(item, "namespace").parse().ok()).collect();
        match (namespaces.pop(), namespaces.as_slice()) {
            (Some(namespace), []) => Ok((namespace, &self.name)),
            (None, _) => Err(AskError::NoWorkload { name: self.name.to_string() }),
            (Some(last), _) => {
                namespaces.push(last);
                let namespaces = namespaces.iter().map(Namespace::to_string).collect();
                Err(AskError::SeveralWorkloads { name: self.name.to_string(), namespaces })
            }
        }
    }
}
