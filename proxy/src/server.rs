//! The ingress as a host sees it: made, started, given routes, drained.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex, OnceLock, PoisonError},
    time::{Duration, SystemTime},
};

use async_trait::async_trait;
use roadstead_config::{HostPattern, TrustedProxies};
use roadstead_runtime::{
    BindError, HandlerContext, HandlerError, HostHandler, TriggerBinding, TriggerTraffic, WorkloadId,
};

use crate::{
    admit::Tenants,
    app::Ingress,
    lifecycle::Lifecycle,
    listen::{self, Serving},
    metrics::Metrics,
    resources::{Memory, Pressure},
    route::DynamicRouter,
    socket::{Claimed, ListenAt, ListenError},
    tls::{self, TlsFiles, TlsServer},
};

/// Serves HTTP/1.1 and HTTP/2: by prior knowledge on one TCP address, and with TLS on another where it is given one.
pub struct HttpServer {
    router: DynamicRouter,
    address: SocketAddr,
    /// Until connections are accepted.
    socket: Mutex<Option<Claimed>>,
    tls_address: Option<SocketAddr>,
    /// The same.
    tls_socket: Mutex<Option<Claimed>>,
    /// Until the start.
    tls_files: Mutex<Option<TlsFiles>>,
    held: bool,
    metrics: Arc<Metrics>,
    lifecycle: Arc<Lifecycle>,
    proxies: TrustedProxies,
    proxy_protocol: bool,
    /// From the start on.
    started: OnceLock<Started>,
}

/// What connections need.
struct Started {
    serving: Arc<Serving>,
    tls: Option<Arc<TlsServer>>,
    tenants: Tenants,
}

impl HttpServer {
    /// Takes the address, so that a port in use is known before anything is deployed; port 0 takes a free one.
    /// Clients are answered once the server has been started.
    ///
    /// # Errors
    /// [`HandlerError::Listen`] when the address cannot be taken.
    pub async fn new(router: DynamicRouter, address: SocketAddr) -> Result<Self, HandlerError> {
        Self::listening(router, address.into()).await
    }

    /// The same, on a socket that others have a part in.
    ///
    /// # Errors
    /// [`HandlerError::Listen`] when the address cannot be taken, or the socket is none that listens.
    pub async fn listening(router: DynamicRouter, at: ListenAt) -> Result<Self, HandlerError> {
        let claimed = at.take().map_err(listen_error)?;
        Self::over(router, claimed.address, Some(claimed))
    }

    /// Takes a further address, for TLS; port 0 takes a free one. The files are read when the server is started.
    ///
    /// # Errors
    /// [`HandlerError::Listen`] when the address cannot be taken.
    pub async fn with_tls(self, address: SocketAddr, files: TlsFiles) -> Result<Self, HandlerError> {
        self.with_tls_listening(address.into(), files).await
    }

    /// The same, on a socket that others have a part in.
    ///
    /// # Errors
    /// [`HandlerError::Listen`] when the address cannot be taken, or the socket is none that listens.
    pub async fn with_tls_listening(mut self, at: ListenAt, files: TlsFiles) -> Result<Self, HandlerError> {
        let claimed = at.take().map_err(listen_error)?;
        self.tls_address = Some(claimed.address);
        self.tls_socket = Mutex::new(Some(claimed));
        self.tls_files = Mutex::new(Some(files));
        Ok(self)
    }

    /// Takes one address alone, for TLS; port 0 takes a free one. Nothing is answered without TLS.
    ///
    /// # Errors
    /// [`HandlerError::Listen`] when the address cannot be taken.
    pub async fn tls_only(router: DynamicRouter, address: SocketAddr, files: TlsFiles) -> Result<Self, HandlerError> {
        let claimed = ListenAt::Address(address).take().map_err(listen_error)?;
        let server = Self::over(router, claimed.address, None)?;
        Ok(Self {
            tls_address: Some(claimed.address),
            tls_socket: Mutex::new(Some(claimed)),
            tls_files: Mutex::new(Some(files)),
            ..server
        })
    }

    fn over(router: DynamicRouter, address: SocketAddr, socket: Option<Claimed>) -> Result<Self, HandlerError> {
        Ok(Self {
            router,
            address,
            socket: Mutex::new(socket),
            tls_address: None,
            tls_socket: Mutex::new(None),
            tls_files: Mutex::new(None),
            held: false,
            metrics: Arc::new(Metrics::new()),
            lifecycle: Arc::new(Lifecycle::new()),
            proxies: TrustedProxies::default(),
            proxy_protocol: false,
            started: OnceLock::new(),
        })
    }

    /// Accepts no connection before [`HttpServer::open`], though it is started. For a host that takes the place of
    /// another: until it has its workloads, the other's clients are not to reach it.
    #[must_use]
    pub fn held(self) -> Self {
        Self { held: true, ..self }
    }

    /// Accepts connections from now on. Done by the start, unless the server is [held](HttpServer::held). Does nothing
    /// before the start, after a drain, or a second time.
    ///
    /// # Errors
    /// [`HandlerError::Listen`] when the system does not let it listen.
    pub fn open(&self) -> Result<(), HandlerError> {
        let Some(started) = self.started.get() else { return Ok(()) };
        let take = |socket: &Mutex<Option<Claimed>>| {
            let claimed = socket.lock().unwrap_or_else(PoisonError::into_inner).take();
            claimed.map(Claimed::listen).transpose().map_err(listen_error)
        };
        let (plain, encrypted) = (take(&self.socket)?, take(&self.tls_socket)?);
        for (listener, tls) in [(encrypted, started.tls.clone()), (plain, None)] {
            let accepted = listener.map(|listener| listen::accept(listener, tls, started.serving.clone()));
            accepted.map(|accepting| self.lifecycle.connections.spawn(accepting));
        }
        Ok(())
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
}

fn listen_error(error: ListenError) -> HandlerError {
    HandlerError::Listen { address: error.address, source: error.source }
}

#[async_trait]
impl HostHandler for HttpServer {
    /// Begins to answer; a second start does nothing.
    async fn start(&self, context: HandlerContext) -> Result<(), HandlerError> {
        if self.started.get().is_some() {
            return Ok(());
        }
        self.metrics.show(&context.metrics)?;
        if let Some(timelines) = context.timelines {
            let _ = self.metrics.timelines.set(timelines);
        }
        let files = self.tls_files.lock().unwrap_or_else(PoisonError::into_inner).take();
        let draining = &self.lifecycle.draining;
        let (limits, router) = (context.limits.clone(), self.router.clone());
        let tls = files.map(|files| tls::start(files, limits, &context.metrics, router, draining.clone()));
        let memory = Arc::new(Memory::new(&context.limits, &context.metrics)?);
        let ingress = Ingress {
            router: self.router.clone(),
            limits: context.limits.clone(),
            metrics: self.metrics.clone(),
            lifecycle: self.lifecycle.clone(),
            proxies: self.proxies.clone(),
            memory: memory.clone(),
        };
        let proxy = ingress.into_proxy().map_err(HandlerError::Setup)?;
        let tenants = Tenants::new(&context.limits);
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
        let started = Started { serving, tls: tls.transpose()?, tenants };
        // No connection, so that nobody waits for it.
        let cut = self.lifecycle.cut.clone();
        tokio::spawn(async move { memory.watch(cut).await });
        self.started.get_or_init(|| started);
        if self.held { Ok(()) } else { self.open() }
    }

    fn bind(&self, binding: TriggerBinding) -> Result<(), BindError> {
        let (started, owner) = (self.started.get(), binding.owner.clone());
        let tls = started.and_then(|started| started.tls.as_ref());
        let mut brought = None;
        if let (Some(tls), Some(certificate)) = (tls, binding.certificate.clone()) {
            let (namespace, pattern) = (owner.namespace.clone(), binding.host.clone());
            let read = tls.read_brought(&owner, tls::Claim { namespace, pattern, certificate });
            brought = Some(read.map_err(|reason| BindError::Certificate { host: binding.host.clone(), reason })?);
        }
        let tenant = started.and_then(|started| started.tenants.of(&owner.namespace));
        self.router.bind(binding, tenant, &self.metrics)?;
        if let Some(tls) = tls {
            tls.bring(&owner, brought);
        }
        Ok(())
    }

    fn unbind(&self, owner: &WorkloadId) {
        self.router.unbind(owner);
        if let Some(tls) = self.started.get().and_then(|started| started.tls.as_ref()) {
            tls.bring(owner, None);
        }
    }

    async fn drain(&self, limit: Duration) -> usize {
        // A server that was never started gives its address back all the same.
        drop(self.socket.lock().unwrap_or_else(PoisonError::into_inner).take());
        drop(self.tls_socket.lock().unwrap_or_else(PoisonError::into_inner).take());
        self.lifecycle.drain(limit).await
    }

    fn certificate_expires(&self, host: &HostPattern) -> Option<SystemTime> {
        self.started.get()?.tls.as_ref()?.expires(host)
    }

    fn refuses(&self) -> Option<&'static str> {
        match self.started.get()?.serving.memory.pressure() {
            Pressure::None => None,
            Pressure::Refusing => Some("the host is short of memory: requests are refused"),
            Pressure::Closed => Some("the host is short of memory: no connection is taken"),
        }
    }

    fn traffic(&self) -> Vec<TriggerTraffic> {
        self.router.traffic()
    }

    fn address(&self) -> Option<SocketAddr> {
        Some(self.address)
    }

    fn tls_address(&self) -> Option<SocketAddr> {
        self.tls_address
    }
}
