//! What one call, one component or one tenant may do to the others inside a host, tried with a capability that can be
//! told to fail. It knows neither the ingress nor messaging.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::{
    fs,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use async_trait::async_trait;
use roadstead_config::{InterfaceName, Limits, SourceFile};
use roadstead_runtime::{
    Call, CallError, ComponentHandle, FaultKind, InstanceState, PluginError,
    host::{Host, HostApi, HostBuilder, WorkloadRequest, WorkloadState, WorkloadStatus},
    plugin::{Activation, HostPlugin, InterfaceOffer},
};
use wasmtime::component::{Linker, TypedFunc};

const HOST: &str = "test:probe/host@1.0.0";
const GUEST: &str = "test:probe/guest@1.0.0";

/// A component whose exports each call the host function of their name, or do what it says.
const PROBE: &str = r#"
(component
  (import "test:probe/host@1.0.0" (instance $host (export "panic" (func)) (export "wait" (func)) (export "work" (func))))
  (core func $panic (canon lower (func $host "panic")))
  (core func $wait (canon lower (func $host "wait")))
  (core func $work (canon lower (func $host "work")))
  (core module $module
    (import "host" "panic" (func $panic))
    (import "host" "wait" (func $wait))
    (import "host" "work" (func $work))
    MORE
    (func (export "fine"))
    (func (export "panic") (call $panic))
    (func (export "wait") (call $wait))
    (func (export "work") (call $work))
    (func (export "spin") (loop $again (br $again))))
  (core instance $instance (instantiate $module
    (with "host" (instance (export "panic" (func $panic)) (export "wait" (func $wait))
      (export "work" (func $work))))))
  (func $call_fine (canon lift (core func $instance "fine")))
  (func $call_panic (canon lift (core func $instance "panic")))
  (func $call_wait (canon lift (core func $instance "wait")))
  (func $call_work (canon lift (core func $instance "work")))
  (func $call_spin (canon lift (core func $instance "spin")))
  (instance $guest
    (export "fine" (func $call_fine)) (export "panic" (func $call_panic)) (export "wait" (func $call_wait))
    (export "work" (func $call_work)) (export "spin" (func $call_spin)))
  (export "test:probe/guest@1.0.0" (instance $guest)))
"#;

/// Serves `test:probe` and hands out the components that were activated.
struct Probe {
    offers: [InterfaceOffer; 1],
    components: Mutex<Vec<Arc<ComponentHandle>>>,
}

impl Probe {
    fn new() -> Arc<Self> {
        let offer = InterfaceOffer::new("test", "probe", "1.0.0").unwrap();
        let offers = [offer.with_imports(&["host"]).with_exports(&["guest"])];
        Arc::new(Self { offers, components: Mutex::default() })
    }

    fn component(&self, namespace: &str) -> Arc<ComponentHandle> {
        let components = self.components.lock().unwrap();
        components.iter().find(|component| component.workload().namespace.as_str() == namespace).unwrap().clone()
    }
}

#[async_trait]
impl HostPlugin for Probe {
    fn id(&self) -> &'static str {
        "probe"
    }

    fn offers(&self) -> &[InterfaceOffer] {
        &self.offers
    }

    fn link(&self, _: &[InterfaceName], linker: &mut Linker<InstanceState>) -> wasmtime::Result<()> {
        let mut host = linker.instance(HOST)?;
        host.func_wrap("panic", |_, ()| -> wasmtime::Result<()> { panic!("a defect of the host") })?;
        host.func_wrap("work", |_, ()| {
            let begun = thread_time();
            while thread_time() - begun < Duration::from_millis(30) {}
            Ok(())
        })?;
        host.func_wrap_async("wait", |_, ()| {
            Box::new(async {
                tokio::time::sleep(Duration::from_secs(60)).await;
                Ok(())
            })
        })
    }

    async fn activate(&self, component: Arc<ComponentHandle>) -> Result<Option<Box<dyn Activation>>, PluginError> {
        self.components.lock().unwrap().push(component);
        Ok(None)
    }
}

/// What this thread has had of the processor.
fn thread_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.try_into().unwrap(), time.tv_nsec.try_into().unwrap())
}

struct Tried {
    host: Arc<Host>,
    probe: Arc<Probe>,
    folder: tempfile::TempDir,
}

impl Tried {
    async fn start(limits: Limits) -> Self {
        let probe = Probe::new();
        let host = HostBuilder::new().with_limits(limits).with_plugin(probe.clone()).unwrap().start().await.unwrap();
        Self { host, probe, folder: tempfile::tempdir().unwrap() }
    }

    /// Deploys the probe, with `more` in its module, in `namespace`, with further lines of the component.
    async fn deploy(&self, namespace: &str, more: &str, lines: &str) -> WorkloadStatus {
        self.deploy_text(namespace, &PROBE.replace("MORE", more), lines).await
    }

    async fn deploy_text(&self, namespace: &str, component: &str, lines: &str) -> WorkloadStatus {
        let image = format!("{namespace}.wasm");
        fs::write(self.folder.path().join(&image), wat::parse_str(component).unwrap()).unwrap();
        let manifest = format!(
            "\
apiVersion: runtime.wasmcloud.dev/v1alpha1
kind: WorkloadDeployment
metadata: {{name: probe, namespace: {namespace}}}
spec:
  template:
    spec:
      hostInterfaces:
        - {{namespace: test, package: probe, version: 1.0.0, interfaces: [host, guest]}}
      components:
        - {{name: probe, image: 'file:{image}'{lines}}}
"
        );
        let name = self.folder.path().join("app.yaml").display().to_string().into();
        let file = SourceFile { name, bytes: manifest.into_bytes() };
        let set = roadstead_config::load(&[file], self.host.limits()).unwrap();
        let request = WorkloadRequest::from_document(&set.documents[0]).unwrap();
        self.host.workload_start(request).await
    }

    /// Instances alive, of all workloads.
    fn instances(&self) -> f64 {
        let counted = self.host.registry().gather();
        let alive = counted.iter().find(|family| family.name() == "roadstead_instances").unwrap();
        alive.get_metric().iter().map(|metric| metric.get_gauge().get_value()).sum()
    }

    async fn call(&self, namespace: &str, function: &'static str) -> Result<(), CallError> {
        call(&self.probe.component(namespace), function).await
    }
}

async fn call(component: &Arc<ComponentHandle>, function: &'static str) -> Result<(), CallError> {
    let work = component.call(Call::new(Duration::from_secs(5)), |store, instance| {
        Box::pin(async move {
            let guest = instance.get_export_index(&mut *store, None, GUEST).unwrap();
            let function = instance.get_export_index(&mut *store, Some(&guest), function).unwrap();
            let function: TypedFunc<(), ()> = instance.get_typed_func(&mut *store, function)?;
            function.call_async(store, ()).await
        })
    });
    work.await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_panic_ends_one_call_and_not_the_host() {
    let tried = Tried::start(Limits::default()).await;
    for (namespace, lines) in [("fresh", ""), ("pooled", ", poolSize: 1")] {
        assert_eq!(tried.deploy(namespace, "", lines).await.state, WorkloadState::Running);
        for _ in 0..3 {
            let panicked = tried.call(namespace, "panic").await.unwrap_err();
            let CallError::Fault { kind: FaultKind::HostPanic, detail } = &panicked else { panic!("{panicked:?}") };
            assert!(detail.contains("a defect of the host"), "{detail}");
            // The caller learns nothing of it.
            assert_eq!(panicked.public_message(), "the component failed (host-panic)");
            tried.call(namespace, "fine").await.unwrap();
        }
    }
    let counted = tried.host.registry().gather();
    let calls = counted.iter().find(|family| family.name() == "roadstead_calls_total").unwrap();
    let panics = calls.get_metric().iter().filter(|metric| {
        metric.get_label().iter().any(|label| label.name() == "outcome" && label.value() == "host-panic")
    });
    assert_eq!(panics.map(|metric| metric.get_counter().get_value()).sum::<f64>(), 6.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_tenant_cannot_take_all_instances_of_a_host() {
    let limits = Limits { instances_max: 4, tenant_instances_max: 3, ..Limits::default() };
    let tried = Tried::start(limits).await;
    for namespace in ["greedy", "modest"] {
        assert_eq!(tried.deploy(namespace, "", "").await.state, WorkloadState::Running);
    }
    let greedy = tried.probe.component("greedy");
    let waiting: Vec<_> = (0..3)
        .map(|_| {
            let greedy = greedy.clone();
            tokio::spawn(async move { call(&greedy, "wait").await })
        })
        .collect();
    let begun = Instant::now();
    while tried.instances() < 3.0 {
        assert!(begun.elapsed() < Duration::from_secs(30), "the calls do not begin");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let refused = call(&greedy, "fine").await.unwrap_err();
    assert!(matches!(refused, CallError::TenantBusy { limit: 3 }), "{refused:?}");
    assert_eq!(refused.kind(), "tenant-busy");
    tried.call("modest", "fine").await.unwrap();
    for call in waiting {
        call.abort();
        assert!(call.await.unwrap_err().is_cancelled());
    }
    // The share is whole again.
    call(&greedy, "fine").await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_instance_with_two_memories_counts_twice() {
    let limits = Limits { instances_max: 4, tenant_instances_max: 1, ..Limits::default() };
    let tried = Tried::start(limits).await;
    let status = tried.deploy("one", "(memory 1)", "").await;
    assert_eq!(status.state, WorkloadState::Running, "{status:?}");
    tried.call("one", "fine").await.unwrap();
    let twice =
        PROBE.replace("(core instance $instance", "(core instance (instantiate $other))\n(core instance $instance");
    let twice =
        twice.replacen("(component", "(component (core module $other (memory 1))", 1).replace("MORE", "(memory 1)");
    let status = tried.deploy_text("two", &twice, "").await;
    assert_eq!(status.state, WorkloadState::Running, "{status:?}");
    assert!(matches!(tried.call("two", "fine").await, Err(CallError::TenantBusy { .. })));
}

/// The probe, whose `fine` makes so many handles of a resource of its own.
fn holding(handles: u32) -> String {
    let made = format!(
        "(func (export \"fine\") (local $made i32) (loop $again (drop (call $new (i32.const 1)))
            (local.set $made (i32.add (local.get $made) (i32.const 1)))
            (br_if $again (i32.lt_u (local.get $made) (i32.const {handles})))))"
    );
    let resource = "(type $thing (resource (rep i32))) (core func $new (canon resource.new $thing))";
    let import = r#"(import "host" "new" (func $new (param i32) (result i32)))"#;
    let panic = r#"(import "host" "panic" (func $panic))"#;
    let given = r#"(instance (export "panic""#;
    PROBE
        .replacen("(core func $panic", &format!("{resource} (core func $panic"), 1)
        .replacen(panic, &format!("{import} {panic}"), 1)
        .replacen(given, &given.replace("(export", r#"(export "new" (func $new)) (export"#), 1)
        .replace(r#"(func (export "fine"))"#, &made)
        .replace("MORE", "")
}

#[tokio::test(flavor = "multi_thread")]
async fn an_instance_has_so_many_handles() {
    let tried = Tried::start(Limits { component_handles_max: 100, ..Limits::default() }).await;
    for (namespace, handles) in [("modest", 99), ("greedy", 101)] {
        let status = tried.deploy_text(namespace, &holding(handles), "").await;
        assert_eq!(status.state, WorkloadState::Running, "{status:?}");
    }
    tried.call("modest", "fine").await.unwrap();
    let refused = tried.call("greedy", "fine").await.unwrap_err();
    assert!(matches!(refused, CallError::Fault { kind: FaultKind::Trap, .. }), "{refused:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_component_that_loops_at_its_start_does_not_hold_up_the_host() {
    let tried = Tried::start(Limits { start_timeout_ms: 200, ..Limits::default() }).await;
    let begun = Instant::now();
    let status = tried.deploy("loops", "(func $start (loop $again (br $again))) (start $start)", ", poolSize: 1").await;
    assert_eq!(status.state, WorkloadState::Error);
    let reason = status.reason.unwrap();
    assert!(reason.contains("component probe cannot be started: the call did not end within its time"), "{reason}");
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    assert_eq!(tried.deploy("fine", "", ", poolSize: 1").await.state, WorkloadState::Running);
    tried.call("fine", "fine").await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn each_call_has_its_own_processor_time() {
    let tried = Tried::start(Limits::default()).await;
    for (namespace, more) in [("fresh", ""), ("pooled", ", poolSize: 1")] {
        let lines = format!("{more}, localResources: {{cpuLimit: 50}}");
        assert_eq!(tried.deploy(namespace, "", &lines).await.state, WorkloadState::Running);
        for _ in 0..3 {
            tried.call(namespace, "work").await.unwrap();
        }
        let begun = Instant::now();
        let ended = tried.call(namespace, "spin").await.unwrap_err();
        let CallError::Fault { kind: FaultKind::CpuLimit, detail } = &ended else { panic!("{ended:?}") };
        assert_eq!(detail, "the call took more than the 50 ms of processor time that it may (cpuLimit)");
        assert!(begun.elapsed() < Duration::from_secs(4), "{:?}", begun.elapsed());
        tried.call(namespace, "work").await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_in_a_pool_is_no_call() {
    let tried = Tried::start(Limits::default()).await;
    let start = "(func $start (call $work) (call $work)) (start $start)";
    let status = tried.deploy("slow", start, ", poolSize: 1, localResources: {cpuLimit: 50}").await;
    assert_eq!(status.state, WorkloadState::Running, "{status:?}");
    tried.call("slow", "work").await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn settings_have_a_size() {
    let tried = Tried::start(Limits { environment_bytes_max: 10, config_bytes_max: 10, ..Limits::default() }).await;
    let table = [
        ("environment: {config: {NAME: 'seven b'}}", "the environment of component probe has 11 bytes; it may have 10"),
        ("config: {name: 'seven b'}", "the configuration of component probe has 11 bytes; it may have 10"),
    ];
    for (lines, expected) in table {
        let status = tried.deploy("large", "", &format!(", localResources: {{{lines}}}")).await;
        assert!(status.reason.as_deref().is_some_and(|reason| reason.contains(expected)), "{status:?}");
        tried.host.workload_stop(&"large".parse().map(id).unwrap()).await;
    }
    let lines = ", localResources: {environment: {config: {NAME: 'sixbyt'}}}";
    assert_eq!(tried.deploy("small", "", lines).await.state, WorkloadState::Running);
}

fn id(namespace: roadstead_config::Namespace) -> roadstead_runtime::WorkloadId {
    roadstead_runtime::WorkloadId { namespace, name: "probe".parse().unwrap() }
}
