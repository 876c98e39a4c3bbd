//! The ingress as a host sees it: made, started, given routes, drained.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use roadstead_runtime::{BindError, HandlerContext, HandlerError, HostHandler, TriggerBinding, WorkloadId};
use tokio::net::TcpListener;

use crate::{
    app::Ingress,
    lifecycle::Lifecycle,
    listen::{self, Serving},
    metrics::Metrics,
    route::DynamicRouter,
};

/// Serves HTTP/1.1, and HTTP/2 by prior knowledge, on a TCP address.
pub struct HttpServer {
    router: DynamicRouter,
    address: SocketAddr,
    /// Until the start.
    listener: Mutex<Option<TcpListener>>,
    metrics: Arc<Metrics>,
    lifecycle: Arc<Lifecycle>,
}

impl HttpServer {
    /// Takes the address, so that a port in use is known before anything is deployed; port 0 takes a free one.
    /// Clients are answered once the server has been started.
    ///
    /// # Errors
    /// [`HandlerError::Listen`] when the address cannot be taken.
    pub async fn new(router: DynamicRouter, address: SocketAddr) -> Result<Self, HandlerError> {
        let listen_error = |source| HandlerError::Listen { address, source };
        let listener = TcpListener::bind(address).await.map_err(listen_error)?;
        let address = listener.local_addr().map_err(listen_error)?;
        Ok(Self {
            router,
            address,
            listener: Mutex::new(Some(listener)),
            metrics: Arc::new(Metrics::new()?),
            lifecycle: Arc::new(Lifecycle::new()),
        })
    }
}

#[async_trait]
impl HostHandler for HttpServer {
    /// Begins to answer; a second start does nothing.
    async fn start(&self, context: HandlerContext) -> Result<(), HandlerError> {
        let listener = self.listener.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(listener) = listener else { return Ok(()) };
        self.metrics.register(&context.registry)?;
        let ingress = Ingress {
            router: self.router.clone(),
            limits: context.limits.clone(),
            metrics: self.metrics.clone(),
            lifecycle: self.lifecycle.clone(),
        };
        let proxy = ingress.into_proxy().map_err(HandlerError::Setup)?;
        let serving =
            Serving { proxy, limits: context.limits, metrics: self.metrics.clone(), lifecycle: self.lifecycle.clone() };
        self.lifecycle.connections.spawn(listen::accept(listener, Arc::new(serving)));
        Ok(())
    }

    fn bind(&self, binding: TriggerBinding) -> Result<(), BindError> {
        self.router.bind(binding, &self.metrics)
    }

    fn unbind(&self, owner: &WorkloadId) {
        self.router.unbind(owner, &self.metrics);
    }

    async fn drain(&self, limit: Duration) -> usize {
        // A server that was never started gives its address back all the same.
        drop(self.listener.lock().unwrap_or_else(PoisonError::into_inner).take());
        self.lifecycle.drain(limit).await
    }

    fn address(&self) -> Option<SocketAddr> {
        Some(self.address)
    }
}
