//! One HTTP/2 connection: pingora serves its streams, this counts them, so that a connection does not live for ever. It
//! reads no request.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use pingora_core::{
    apps::{HttpServerApp, HttpServerOptions, ReusedHttpStream, ServerApp},
    protocols::http::{ServerSession, v2::server::H2Options},
    server::ShutdownWatch,
};
use pingora_proxy::HttpProxy;
use roadstead_config::Limits;
use tokio::{
    sync::{Notify, watch},
    time::sleep,
};

use crate::{app::Ingress, io::Connection};

/// Serves `connection` until it ends: by itself, or after `requests_per_connection_max` requests. The client is told
/// (GOAWAY) and finishes what is under way; one that goes on regardless is cut off.
pub(super) async fn serve(
    proxy: Arc<HttpProxy<Ingress>>,
    connection: Box<Connection>,
    limits: &Limits,
    mut draining: ShutdownWatch,
) {
    let (last, goaway) = watch::channel(false);
    let counted = Arc::new(Counted {
        proxy,
        requests: AtomicU64::new(0),
        under_way: AtomicU64::new(0),
        requests_max: limits.requests_per_connection_max.max(1),
        // What the client may have sent before it read that there is an end.
        overtime_max: limits.h2_streams_max,
        last,
        too_many: Notify::new(),
        draining: draining.clone(),
    });
    let host_drains = async {
        // An error means that the host is gone, which is an end as well.
        let _ = draining.wait_for(|draining| *draining).await;
        counted.last.send_replace(true);
        std::future::pending::<()>().await;
    };
    let idle = Duration::from_millis(limits.keepalive_idle_ms);
    tokio::select! {
        _ = counted.process_new(connection, &goaway) => {}
        () = counted.too_many.notified() => {}
        () = counted.silent_after_its_last(goaway.clone(), idle) => {}
        () = host_drains => {}
    }
}

/// pingora's application, with its requests counted.
struct Counted {
    proxy: Arc<HttpProxy<Ingress>>,
    requests: AtomicU64,
    under_way: AtomicU64,
    requests_max: u64,
    overtime_max: u64,
    /// Turns true when the client is to be told that it ends.
    last: watch::Sender<bool>,
    /// The client does not listen.
    too_many: Notify,
    draining: ShutdownWatch,
}

impl Counted {
    /// Ends when a connection that was told to end has had nothing under way for a while. pingora itself bounds the
    /// silence of those only that were not told.
    async fn silent_after_its_last(&self, mut goaway: ShutdownWatch, idle: Duration) {
        // An error cannot be: the sender is in `self`.
        let _ = goaway.wait_for(|told| *told).await;
        loop {
            let before = self.requests.load(Ordering::Relaxed);
            sleep(idle).await;
            if self.under_way.load(Ordering::Relaxed) == 0 && self.requests.load(Ordering::Relaxed) == before {
                return;
            }
        }
    }
}

#[async_trait]
impl HttpServerApp for Counted {
    async fn process_new_http(
        self: &Arc<Self>,
        session: ServerSession,
        _goaway: &ShutdownWatch,
    ) -> Option<ReusedHttpStream> {
        let number = self.requests.fetch_add(1, Ordering::Relaxed) + 1;
        if number == self.requests_max {
            self.last.send_replace(true);
        }
        if number > self.requests_max.saturating_add(self.overtime_max) {
            self.too_many.notify_one();
            return None;
        }
        self.under_way.fetch_add(1, Ordering::Relaxed);
        let _under_way = super::scopeguard(|| {
            self.under_way.fetch_sub(1, Ordering::Relaxed);
        });
        self.proxy.process_new_http(session, &self.draining).await
    }

    fn h2_options(&self) -> Option<H2Options> {
        self.proxy.h2_options()
    }

    fn server_options(&self) -> Option<&HttpServerOptions> {
        HttpServerApp::server_options(&*self.proxy)
    }
}
