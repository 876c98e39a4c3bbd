//! The ingress as a host sees it: made, started, given routes, drained.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex, OnceLock, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use roadstead_config::TrustedProxies;
use roadstead_runtime::{BindError, HandlerContext, HandlerError, HostHandler, TriggerBinding, WorkloadId};
use tokio::net::TcpListener;

use crate::{
    admit::Tenants,
    app::Ingress,
    lifecycle::Lifecycle,
    listen::{self, Serving},
    metrics::Metrics,
    resources::{Memory, Pressure},
    route::DynamicRouter,
    tls::{self, TlsFiles},
};

/// Serves HTTP/1.1 and HTTP/2: by prior knowledge on one TCP address, and with TLS on another where it is given one.
pub struct HttpServer {
    router: DynamicRouter,
    address: SocketAddr,
    /// Until the start.
    listener: Mutex<Option<TcpListener>>,
    tls_address: Option<SocketAddr>,
    /// The same.
    tls: Mutex<Option<(TcpListener, TlsFiles)>>,
    metrics: Arc<Metrics>,
    lifecycle: Arc<Lifecycle>,
    proxies: TrustedProxies,
    proxy_protocol: bool,
    /// From the start on.
    tenants: OnceLock<Tenants>,
    /// The same.
    memory: OnceLock<Arc<Memory>>,
}

impl HttpServer {
    /// Takes the address, so that a port in use is known before anything is deployed; port 0 takes a free one.
    /// Clients are answered once the server has been started.
    ///
    /// # Errors
    /// [`HandlerError::Listen`] when the address cannot be taken.
    pub async fn new(router: DynamicRouter, address: SocketAddr) -> Result<Self, HandlerError> {
        let (listener, address) = listen_on(address).await?;
        Ok(Self {
            router,
            address,
            listener: Mutex::new(Some(listener)),
            tls_address: None,
            tls: Mutex::new(None),
            metrics: Arc::new(Metrics::new()?),
            lifecycle: Arc::new(Lifecycle::new()),
            proxies: TrustedProxies::default(),
            proxy_protocol: false,
            tenants: OnceLock::new(),
            memory: OnceLock::new(),
        })
    }

    /// Takes a further address, for TLS; port 0 takes a free one. The files are read when the server is started.
    ///
    /// # Errors
    /// [`HandlerError::Listen`] when the address cannot be taken.
    pub async fn with_tls(mut self, address: SocketAddr, files: TlsFiles) -> Result<Self, HandlerError> {
        let (listener, address) = listen_on(address).await?;
        self.tls_address = Some(address);
        self.tls = Mutex::new(Some((listener, files)));
        Ok(self)
    }

    /// Takes the word of these proxies about the clients for which they speak. Without it a client is whoever connects,
    /// and what requests say about their way to here is dropped.
    #[must_use]
    pub fn with_trusted_proxies(self, proxies: TrustedProxies) -> Self {
        Self { proxies, ..self }
    }

    /// Takes it that the trusted proxies begin each connection with a PROXY header (version 1 or 2), and closes those
    /// of theirs that begin otherwise. Nobody else's connection may have one.
    #[must_use]
    pub fn with_proxy_protocol(self) -> Self {
        Self { proxy_protocol: true, ..self }
    }

    /// The address for TLS, where there is one.
    pub fn tls_address(&self) -> Option<SocketAddr> {
        self.tls_address
    }
}

async fn listen_on(address: SocketAddr) -> Result<(TcpListener, SocketAddr), HandlerError> {
    let listen_error = |source| HandlerError::Listen { address, source };
    let listener = TcpListener::bind(address).await.map_err(listen_error)?;
    let address = listener.local_addr().map_err(listen_error)?;
    Ok((listener, address))
}

#[async_trait]
impl HostHandler for HttpServer {
    /// Begins to answer; a second start does nothing.
    async fn start(&self, context: HandlerContext) -> Result<(), HandlerError> {
        let listener = self.listener.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(listener) = listener else { return Ok(()) };
        self.metrics.register(&context.registry)?;
        self.tenants.get_or_init(|| Tenants::new(&context.limits));
        let encrypted = self.tls.lock().unwrap_or_else(PoisonError::into_inner).take();
        let mut secure = None;
        if let Some((listener, files)) = encrypted {
            let tls = tls::start(files, context.limits.clone(), &context.registry, self.lifecycle.draining.clone());
            secure = Some((listener, tls?));
        }
        let memory = Arc::new(Memory::new(&context.limits)?);
        memory.register(&context.registry)?;
        let memory = self.memory.get_or_init(|| memory).clone();
        let ingress = Ingress {
            router: self.router.clone(),
            limits: context.limits.clone(),
            metrics: self.metrics.clone(),
            lifecycle: self.lifecycle.clone(),
            proxies: self.proxies.clone(),
            memory: memory.clone(),
        };
        let proxy = ingress.into_proxy().map_err(HandlerError::Setup)?;
        let serving = Arc::new(Serving {
            proxy,
            free: listen::places(&context.limits),
            clients: listen::Clients::new(context.limits.connections_per_client_max),
            limits: context.limits,
            metrics: self.metrics.clone(),
            lifecycle: self.lifecycle.clone(),
            proxies: self.proxies.clone(),
            proxy_protocol: self.proxy_protocol,
            memory: memory.clone(),
        });
        // No connection, so that nobody waits for it.
        let cut = self.lifecycle.cut.clone();
        tokio::spawn(async move { memory.watch(cut).await });
        if let Some((listener, tls)) = secure {
            self.lifecycle.connections.spawn(listen::accept(listener, Some(tls), serving.clone()));
        }
        self.lifecycle.connections.spawn(listen::accept(listener, None, serving));
        Ok(())
    }

    fn bind(&self, binding: TriggerBinding) -> Result<(), BindError> {
        let tenant = self.tenants.get().and_then(|tenants| tenants.of(&binding.owner.namespace));
        self.router.bind(binding, tenant, &self.metrics)
    }

    fn unbind(&self, owner: &WorkloadId) {
        self.router.unbind(owner, &self.metrics);
    }

    async fn drain(&self, limit: Duration) -> usize {
        // A server that was never started gives its address back all the same.
        drop(self.listener.lock().unwrap_or_else(PoisonError::into_inner).take());
        drop(self.tls.lock().unwrap_or_else(PoisonError::into_inner).take());
        self.lifecycle.drain(limit).await
    }

    fn refuses(&self) -> Option<&'static str> {
        match self.memory.get()?.pressure() {
            Pressure::None => None,
            Pressure::Refusing => Some("the host is short of memory: requests are refused"),
            Pressure::Closed => Some("the host is short of memory: no connection is taken"),
        }
    }

    fn address(&self) -> Option<SocketAddr> {
        Some(self.address)
    }
}
