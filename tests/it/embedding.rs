//! A host inside another program, with a plugin of that program's own: here one whose host function panics.

use std::{fs, sync::Arc, time::Duration};

use async_trait::async_trait;
use http::StatusCode;
use roadstead::{
    config::{InterfaceName, Limits, SourceFile, load},
    host::{
        HostBuilder, WorkloadRequest, WorkloadState,
        http::{DynamicRouter, HttpServer},
    },
    plugin::{HostPlugin, InterfaceOffer},
};
use roadstead_runtime::InstanceState;
use wasmtime::component::Linker;

use crate::harness::client::Client;

/// Offers `test:faults/now@0.1.0`, whose one function panics.
struct Panics {
    offers: [InterfaceOffer; 1],
}

#[async_trait]
impl HostPlugin for Panics {
    fn id(&self) -> &'static str {
        "panics"
    }

    fn offers(&self) -> &[InterfaceOffer] {
        &self.offers
    }

    fn link(&self, interfaces: &[InterfaceName], linker: &mut Linker<InstanceState>) -> wasmtime::Result<()> {
        for interface in interfaces {
            linker
                .instance(&interface.to_string())?
                .func_wrap("panic", |_, (): ()| -> wasmtime::Result<()> { panic!("asked for by a test") })?;
        }
        Ok(())
    }
}

/// An HTTP component whose handler calls the function.
const COMPONENT: &str = r#"
(component
  (import "wasi:http/types@0.2.0" (instance $types
    (export "incoming-request" (type (sub resource)))
    (export "response-outparam" (type (sub resource)))))
  (import "test:faults/now@0.1.0" (instance $faults (export "panic" (func))))
  (alias export $types "incoming-request" (type $request))
  (alias export $types "response-outparam" (type $outparam))
  (core func $panic (canon lower (func $faults "panic")))
  (core module $module
    (import "faults" "panic" (func $panic))
    (func (export "handle") (param i32 i32) (call $panic)))
  (core instance $instance (instantiate $module (with "faults" (instance (export "panic" (func $panic))))))
  (func $handle (param "request" (own $request)) (param "response-out" (own $outparam))
    (canon lift (core func $instance "handle")))
  (instance $handler (export "handle" (func $handle)))
  (export "wasi:http/incoming-handler@0.2.0" (instance $handler)))"#;

const MANIFEST: &str = "\
apiVersion: control.cosmonic.io/v1alpha1
kind: HTTPTrigger
metadata: {name: panics, namespace: tenant}
spec:
  ingress: {host: panics.test}
  template:
    spec:
      hostInterfaces:
        - {namespace: test, package: faults, version: 0.1.0, interfaces: [now]}
      components:
        - name: panics
          image: file:panics.wasm
";

#[tokio::test(flavor = "multi_thread")]
async fn a_panic_of_a_host_function_ends_one_call() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("panics.wasm"), wat::parse_str(COMPONENT).unwrap()).unwrap();
    let name = folder.path().join("app.yaml").to_str().unwrap().into();
    let limits = Limits::default();
    let set = load(&[SourceFile { name, bytes: MANIFEST.into() }], &limits).unwrap();

    let http = HttpServer::new(DynamicRouter::default(), "127.0.0.1:0".parse().unwrap()).await.unwrap();
    let offer = InterfaceOffer::new("test", "faults", "0.1.0").unwrap().with_imports(&["now"]);
    let host = HostBuilder::new()
        .with_limits(limits)
        .with_plugin(Arc::new(Panics { offers: [offer] }))
        .unwrap()
        .with_http_handler(Arc::new(http))
        .start()
        .await
        .unwrap();
    for request in set.documents.iter().filter_map(WorkloadRequest::from_document) {
        let status = host.workload_apply(request).await;
        assert_eq!(status.state, WorkloadState::Running, "{:?}", status.reason);
    }

    let client = Client::new(host.http_address().unwrap(), "panics.test");
    for _ in 0..3 {
        let response = client.get("/").send().await;
        assert_eq!(response.status, StatusCode::BAD_GATEWAY);
        assert_eq!(response.header("x-roadstead-error"), "host-panic");
        assert!(!response.text().contains("asked for"), "{}", response.text());
    }
    let counted = |name: &str, labels: &[&str]| {
        let families = host.registry().gather();
        let family = families.iter().find(|family| family.name() == name).unwrap();
        let of_labels = |metric: &&prometheus::proto::Metric| {
            labels.iter().all(|wanted| metric.get_label().iter().any(|label| label.value() == *wanted))
        };
        let metric = family.get_metric().iter().find(of_labels).unwrap();
        metric.get_counter().get_value() + metric.get_gauge().get_value()
    };
    assert_eq!(counted("roadstead_calls_total", &["panics", "host-panic"]), 3.0);
    assert_eq!(counted("roadstead_instances", &["panics"]), 0.0);
    assert_eq!(host.stop(Duration::from_secs(5)).await, 0);
}
