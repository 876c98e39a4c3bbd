//! Manifests as a user writes them, for the test components.

/// A trigger for `host` with one component; it may ask over messaging and log.
pub fn trigger(name: &str, host: &str, component: &str) -> Trigger {
    Trigger {
        namespace: "default".into(),
        name: name.into(),
        host: host.into(),
        path: "/".into(),
        timeout: "10s".into(),
        tls: String::new(),
        limits: String::new(),
        publish: None,
        component: component.into(),
        component_lines: String::new(),
    }
}

/// An `HTTPTrigger` document.
#[derive(Clone)]
pub struct Trigger {
    namespace: String,
    name: String,
    host: String,
    path: String,
    timeout: String,
    tls: String,
    limits: String,
    publish: Option<String>,
    component: String,
    component_lines: String,
}

impl Trigger {
    pub fn namespace(self, namespace: &str) -> Self {
        Self { namespace: namespace.into(), ..self }
    }

    pub fn path(self, path: &str) -> Self {
        Self { path: path.into(), ..self }
    }

    pub fn timeout(self, timeout: &str) -> Self {
        Self { timeout: timeout.into(), ..self }
    }

    /// `spec.ingress.tls` with the files `STEM.crt` and `STEM.key`.
    pub fn certificate(self, stem: &str) -> Self {
        Self { tls: format!("    tls: {{certFile: {stem}.crt, keyFile: {stem}.key}}\n"), ..self }
    }

    /// `spec.limits`, in braces.
    pub fn limits(self, limits: &str) -> Self {
        Self { limits: format!("  limits: {limits}\n"), ..self }
    }

    /// The subjects that it may send to.
    pub fn publish(self, subjects: &str) -> Self {
        Self { publish: Some(subjects.into()), ..self }
    }

    /// A further line of the component.
    pub fn with(mut self, line: &str) -> Self {
        self.component_lines += &format!("          {line}\n");
        self
    }

    pub fn yaml(&self) -> String {
        let Self { namespace, name, host, path, timeout, tls, limits, publish, component, component_lines } = self;
        let config =
            publish.as_ref().map(|subjects| format!(", config: {{publish: '{subjects}'}}")).unwrap_or_default();
        format!(
            "\
apiVersion: control.cosmonic.io/v1alpha1
kind: HTTPTrigger
metadata:
  name: {name}
  namespace: {namespace}
spec:
  ingress:
    host: {host}
{tls}    paths:
      - pathType: Prefix
        path: {path}
  timeout: {timeout}
{limits}  template:
    spec:
      hostInterfaces:
        - {{namespace: wasi, package: logging, version: 0.1.0-draft, interfaces: [logging]}}
        - {{namespace: wasmcloud, package: messaging, version: '0.2.0', interfaces: [consumer, types]{config}}}
      components:
        - name: {component}
          image: file:{component}.wasm
{component_lines}---
"
        )
    }
}

/// A deployment of the probe worker on `subscriptions`, with further lines of the component.
pub fn worker(name: &str, subscriptions: &str, component_lines: &[&str]) -> String {
    worker_in("default", name, subscriptions, component_lines)
}

/// The same in another namespace.
pub fn worker_in(namespace: &str, name: &str, subscriptions: &str, component_lines: &[&str]) -> String {
    let more: String = component_lines.iter().map(|line| format!("          {line}\n")).collect();
    format!(
        "\
apiVersion: runtime.wasmcloud.dev/v1alpha1
kind: WorkloadDeployment
metadata:
  name: {name}
  namespace: {namespace}
spec:
  template:
    spec:
      hostInterfaces:
        - {{namespace: wasi, package: logging, version: 0.1.0-draft, interfaces: [logging]}}
        - namespace: wasmcloud
          package: messaging
          version: '0.2.0'
          interfaces: [handler, consumer, types]
          config:
            subscriptions: {subscriptions}
      components:
        - name: probe-worker
          image: file:probe-worker.wasm
{more}---
"
    )
}
