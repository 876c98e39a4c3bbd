//! Manifests for the measurements, as a user writes them. It knows the format and no measurement.

/// A trigger in a namespace of its own that has one component; it may log and ask over messaging.
pub(crate) fn trigger(name: &str, host: &str, timeout: &str, image: &str) -> String {
    format!(
        "\
apiVersion: control.cosmonic.io/v1alpha1
kind: HTTPTrigger
metadata:
  name: {name}
  namespace: bench
spec:
  ingress:
    host: '{host}'
  timeout: {timeout}
  template:
    spec:
      hostInterfaces:
        - {{namespace: wasi, package: logging, version: 0.1.0-draft, interfaces: [logging]}}
        - {{namespace: wasmcloud, package: messaging, version: '0.2.0', interfaces: [consumer, types]}}
      components:
        - name: {name}
          image: file:{image}
---
"
    )
}

/// A worker on one subject, with warm instances.
pub(crate) fn worker(name: &str, subject: &str, pool_size: u32, image: &str) -> String {
    format!(
        "\
apiVersion: runtime.wasmcloud.dev/v1alpha1
kind: WorkloadDeployment
metadata:
  name: {name}
  namespace: bench
spec:
  template:
    spec:
      hostInterfaces:
        - namespace: wasmcloud
          package: messaging
          version: '0.2.0'
          interfaces: [handler, consumer, types]
          config:
            subscriptions: {subject}
      components:
        - name: {name}
          image: file:{image}
          poolSize: {pool_size}
---
"
    )
}

/// A worker on one subject that has the GPU and one warm instance; it may log and answer.
pub(crate) fn gpu_worker(name: &str, subject: &str, image: &str) -> String {
    const BEFORE: &str = "      hostInterfaces:\n";
    const GPU: &str = "        - {namespace: wasi, package: logging, version: 0.1.0-draft, interfaces: [logging]}
        - {namespace: wasi, package: webgpu, version: 0.0.1, interfaces: [webgpu]}
        - {namespace: wasi, package: graphics-context, version: 0.0.1, interfaces: [graphics-context]}
";
    worker(name, subject, 1, image).replacen(BEFORE, &format!("{BEFORE}{GPU}"), 1)
}
