//! What a store holds: the guest's WASI world, its bounds, and the call that it is busy with.

use std::{any::Any, sync::Arc};

use roadstead_config::Limits;
use wasmtime::component::ResourceTable;
use wasmtime_wasi::{WasiCtx, WasiCtxView, WasiView};
use wasmtime_wasi_http::{WasiBody, WasiHttpCtx, WasiHttpCtxView, WasiHttpHooks, WasiHttpView};

use crate::{
    BackendHealth, Call, WorkloadId,
    cpu::CpuBudget,
    egress::{CallEgress, EgressError},
    guest_log::{GuestLog, LogStream},
    limiter::StoreLimiter,
    plan::ComponentPlan,
};

/// The data of a store. Plugins reach the call and their own state through it.
pub struct InstanceState {
    wasi: WasiCtx,
    http: WasiHttpCtx,
    /// Before the table: what it says of the call must be said before the bodies in the table are dropped.
    hooks: OutgoingHttp,
    table: ResourceTable,
    log: Arc<GuestLog>,
    output: [LogStream; 2],
    plan: Arc<ComponentPlan>,
    call: Call,
    call_state: http::Extensions,
    backend: Arc<BackendHealth>,
    pub(crate) limiter: StoreLimiter,
    /// `None` where the call's processor time has no limit.
    pub(crate) cpu: Option<Arc<CpuBudget>>,
}

impl InstanceState {
    pub(crate) fn new(plan: Arc<ComponentPlan>, limits: &Limits, call: Call) -> Self {
        let log = Arc::new(GuestLog::new(plan.workload.clone(), plan.name.clone(), plan.journal.clone(), limits));
        log.begin(&call);
        let output = [LogStream::stdout(log.clone()), LogStream::stderr(log.clone())];
        let [stdout, stderr] = output.clone();
        let wasi = WasiCtx::builder()
            .envs(&plan.environment)
            .arg(plan.name.as_str())
            .stdout(stdout)
            .stderr(stderr)
            .max_random_size(limits.random_bytes_max)
            .build();
        let mut http = WasiHttpCtx::new();
        http.set_field_size_limit(usize::try_from(limits.guest_header_bytes_max).unwrap_or(usize::MAX));
        let mut table = ResourceTable::new();
        table.set_max_capacity(usize::try_from(limits.table_entries_max).unwrap_or(usize::MAX));
        let cores_max = usize::try_from(limits.component_memories_max).unwrap_or(usize::MAX);
        let limiter = StoreLimiter::new(plan.memory_bytes_max, cores_max);
        let body_chunk_bytes_max = usize::try_from(limits.guest_body_chunk_bytes_max).unwrap_or(usize::MAX).max(1);
        let cpu = plan.cpu_budget();
        let egress = plan.egress.as_ref().map(|egress| egress.begin(&call));
        Self {
            wasi,
            http,
            hooks: OutgoingHttp { body_chunk_bytes_max, egress },
            table,
            log,
            output,
            plan,
            call,
            call_state: http::Extensions::new(),
            backend: Arc::default(),
            limiter,
            cpu,
        }
    }

    /// Prepares a pooled instance for its next call: nothing of the last one is left to see.
    pub(crate) fn begin_call(&mut self, call: Call) {
        self.log.begin(&call);
        self.hooks.egress = self.plan.egress.as_ref().map(|egress| egress.begin(&call));
        self.call = call;
        self.cpu = self.plan.cpu_budget();
        self.call_state.clear();
    }

    pub(crate) fn end_call(&mut self) {
        self.output.iter().for_each(LogStream::end_line);
        self.log.end();
        // What a guest has not sent whole by now breaks off.
        self.hooks.egress = None;
        self.call_state.clear();
    }

    /// The guest was interrupted by the clock.
    pub(crate) fn note_tick(&self) {
        self.plan.long_runs.look();
    }

    /// The call that the guest is busy with.
    pub fn call(&self) -> &Call {
        &self.call
    }

    /// The workload that the guest belongs to; its namespace is the tenant.
    pub fn workload(&self) -> &WorkloadId {
        &self.plan.workload
    }

    /// Where the guest's messages go.
    pub fn log(&self) -> &Arc<GuestLog> {
        &self.log
    }

    /// Notes, for operators, that something that the guest asked for failed: as a fault of its component. `message` may
    /// stand in a log, and names no secret.
    pub fn note_fault(&self, kind: &'static str, message: &str, remedy: &'static str) {
        let trace = self.call.trace.trace_id();
        self.plan.journal.fault(&self.plan.name, kind, message, remedy, Some(trace));
    }

    /// What a plugin prepared for this component when the workload was bound.
    pub fn bound<T: Any + Send + Sync>(&self) -> Option<Arc<T>> {
        self.plan.bound::<T>()
    }

    /// State that a plugin keeps for the length of one call.
    pub fn call_state(&mut self) -> &mut http::Extensions {
        &mut self.call_state
    }

    /// Whether what plugins put behind the instance is still there.
    pub fn backend(&self) -> &Arc<BackendHealth> {
        &self.backend
    }

    /// The handles of host resources that the guest holds.
    pub fn table(&mut self) -> &mut ResourceTable {
        &mut self.table
    }
}

impl WasiView for InstanceState {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView { ctx: &mut self.wasi, table: &mut self.table }
    }
}

impl WasiHttpView for InstanceState {
    fn http(&mut self) -> WasiHttpCtxView<'_> {
        WasiHttpCtxView { ctx: &mut self.http, table: &mut self.table, hooks: &mut self.hooks }
    }
}

/// Outgoing HTTP of one call.
struct OutgoingHttp {
    body_chunk_bytes_max: usize,
    /// `None` where the manifest allows no host: then a request is refused, and costs nobody else anything.
    egress: Option<CallEgress>,
}

type SendResult = Result<
    (http::Response<WasiBody>, Box<dyn Future<Output = Result<(), wasmtime_wasi_http::Error>> + Send>),
    wasmtime_wasi_http::Error,
>;

impl WasiHttpHooks for OutgoingHttp {
    fn send_request(
        &mut self,
        request: http::Request<WasiBody>,
        options: Option<wasmtime_wasi_http::RequestOptions>,
        _done: Box<dyn Future<Output = Result<(), wasmtime_wasi_http::Error>> + Send>,
    ) -> Box<dyn Future<Output = SendResult> + Send> {
        let Some(egress) = &mut self.egress else {
            return Box::new(async { Err(EgressError::Denied.into()) });
        };
        let sent = egress.send(request, options);
        Box::new(async move {
            let response = sent.await?;
            let nothing_more: Box<dyn Future<Output = _> + Send> = Box::new(std::future::ready(Ok(())));
            Ok((response, nothing_more))
        })
    }

    fn p2_outgoing_body_chunk_size(&mut self) -> usize {
        self.body_chunk_bytes_max
    }
}
