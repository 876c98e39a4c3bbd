//! Names and values that a guest gathers: limits that it asks for, constants of its pipelines.

use roadstead_runtime::InstanceState;
use wasmtime::{component::Resource, format_err};

use super::{Gpu, generated, wit};

/// The functions of one kind of record.
macro_rules! record {
    ($host:ident, $type:ty, $value:ty) => {
        impl wit::$host for InstanceState {
            async fn new(&mut self) -> wasmtime::Result<Resource<$type>> {
                self.hand(<$type>::default())
            }

            async fn add(&mut self, this: Resource<$type>, key: String, value: $value) -> wasmtime::Result<()> {
                self.table().get_mut(&this)?.set(key, value).map_err(|text| format_err!("{text}"))
            }

            async fn get(&mut self, this: Resource<$type>, key: String) -> wasmtime::Result<Option<$value>> {
                Ok(self.table().get(&this)?.get(&key))
            }

            async fn has(&mut self, this: Resource<$type>, key: String) -> wasmtime::Result<bool> {
                Ok(self.table().get(&this)?.get(&key).is_some())
            }

            async fn remove(&mut self, this: Resource<$type>, key: String) -> wasmtime::Result<()> {
                self.table().get_mut(&this)?.remove(&key);
                Ok(())
            }

            async fn keys(&mut self, this: Resource<$type>) -> wasmtime::Result<Vec<String>> {
                Ok(self.table().get(&this)?.entries().iter().map(|(key, _)| key.clone()).collect())
            }

            async fn values(&mut self, this: Resource<$type>) -> wasmtime::Result<Vec<$value>> {
                Ok(self.table().get(&this)?.entries().iter().map(|(_, value)| *value).collect())
            }

            async fn entries(&mut self, this: Resource<$type>) -> wasmtime::Result<Vec<(String, $value)>> {
                Ok(self.table().get(&this)?.entries().to_vec())
            }

            async fn drop(&mut self, this: Resource<$type>) -> wasmtime::Result<()> {
                self.give_up(this)
            }
        }
    };
}

record!(HostRecordOptionGpuSize64, generated::RequiredLimits, Option<u64>);
record!(HostRecordGpuPipelineConstantValue, generated::Constants, f64);
