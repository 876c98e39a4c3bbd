//! A request from its head to the end of its response, inside pingora's `request_filter`. It knows pingora's session
//! and the dispatch seam; how a workload answers is not its business.

mod body;
mod exchange;
mod forwarded;
pub(crate) mod origin;
mod record;
mod request;
mod response;

use std::{io, sync::Arc, time::Duration};

use async_trait::async_trait;
use pingora_core::{
    Error, ErrorType, apps::HttpServerOptions, modules::http::HttpModules,
    protocols::http::v2::server::default_h2_options, server::configuration::ServerConf, upstreams::peer::HttpPeer,
};
use pingora_proxy::{FailToProxy, HttpProxy, ProxyHttp, Session, http_proxy};
use roadstead_config::{Limits, TrustedProxies};
use roadstead_runtime::{Call, Dispatch};

use crate::{
    admit::{Admission, Entry},
    clock,
    facts::ConnectionFacts,
    io::Connection,
    lifecycle::Lifecycle,
    metrics::Metrics,
    resources::{Memory, Pressure},
    respond::{Answer, Refusal, wants_problem},
    route::{DynamicRouter, Route},
};
use exchange::{Exchange, Failure};
use origin::Origin;
pub(crate) use record::Record;
use request::Received;

/// An empty bundle of certificate authorities. pingora wants one for upstream connections, of which this ingress
/// makes none, and panics where it finds no readable one.
const NO_AUTHORITIES: &str = "/dev/null";

/// The application that pingora runs for every request.
pub(crate) struct Ingress {
    pub(crate) router: DynamicRouter,
    pub(crate) limits: Arc<Limits>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) lifecycle: Arc<Lifecycle>,
    pub(crate) proxies: TrustedProxies,
    pub(crate) memory: Arc<Memory>,
}

impl Ingress {
    /// Puts pingora around the application.
    pub(crate) fn into_proxy(self) -> io::Result<Arc<HttpProxy<Self>>> {
        std::fs::File::open(NO_AUTHORITIES)?;
        let limits = self.limits.clone();
        let conf = ServerConf { ca_file: Some(NO_AUTHORITIES.to_owned()), ..ServerConf::default() };
        let mut proxy = http_proxy(&Arc::new(conf), self);
        let mut options = HttpServerOptions::default();
        options.h2_idle_timeout = Some(Duration::from_millis(limits.keepalive_idle_ms));
        // So that CONNECT gets this ingress's own answer; nothing is ever proxied.
        options.allow_connect_method_proxying = true;
        proxy.server_options = Some(options);
        let mut h2 = default_h2_options();
        h2.max_concurrent_streams(u32::try_from(limits.h2_streams_max).unwrap_or(u32::MAX));
        h2.max_header_list_size(u32::try_from(limits.header_bytes_max).unwrap_or(u32::MAX));
        proxy.h2_options = Some(h2);
        Ok(Arc::new(proxy))
    }

    /// Answers one request; `Err` ends the connection or the stream without a clean end.
    async fn serve(&self, session: &mut Session) -> pingora_core::Result<()> {
        let facts = ConnectionFacts::of(session).cloned();
        let mut record = Record::new(self.metrics.clone(), facts.clone(), self.lifecycle.enter());
        session.set_read_timeout(None);
        if session.is_http2() {
            // On HTTP/1 the connection itself bounds each write.
            session.set_write_timeout(Some(Duration::from_millis(self.limits.write_stall_ms)));
        }
        let outcome = match self.answer(session, facts.as_deref(), &mut record).await {
            Ok(()) => Ok(()),
            Err(Failure::Refused(refusal)) => {
                let answer = Answer::from(&refusal);
                record.refuse(&answer, &refusal);
                self.announce_drain(session);
                let problem = wants_problem(session.req_header().headers.get_all(http::header::ACCEPT));
                answer.send(session, problem).await
            }
            Err(Failure::Broken(reason)) => {
                record.broken(reason);
                Self::break_off(session).await;
                Err(Error::explain(ErrorType::Custom("exchange broken off"), reason))
            }
        };
        record.bytes(session.body_bytes_read(), session.body_bytes_sent());
        outcome
    }

    async fn answer(
        &self,
        session: &mut Session,
        facts: Option<&ConnectionFacts>,
        record: &mut Record,
    ) -> Result<(), Failure> {
        let head = session.req_header();
        record.request_line(head.method.clone(), head.version);
        let origin = Origin::read(facts, &head.headers, &self.proxies);
        let mut received = Received::read(head, origin, &self.limits)?;
        record.target(&received);
        if let Some(tls) = facts.and_then(|facts| facts.tls.as_ref())
            && !tls.admits(&received.host)
        {
            return Err(Refusal::Misdirected.into());
        }
        let routing = record.step("route");
        let route = self.router.find(&received.host, received.uri.path());
        let route = route.ok_or(Refusal::NoRoute).map_err(|refusal| routing.refused(refusal))?;
        record.route(route.clone(), &mut received);
        let body_bytes_max = route.body_bytes_max.unwrap_or(self.limits.body_bytes_max);
        let timeout = received.patience.map_or(route.timeout, |patience| patience.min(route.timeout));
        let call = Call { deadline: clock::after(record.started(), timeout), trace: received.trace.clone() };
        let admission = record.step("admit");
        let (target, entry) = match self.admit(&route, received.length, body_bytes_max) {
            Ok(admitted) => admitted,
            Err(refusal) => return Err(admission.refused(refusal).into()),
        };
        if received.expects_continue && !session.is_body_empty() {
            // pingora takes the response that precedes the body for the last of the connection.
            let keepalive = session.get_keepalive();
            session.write_continue_response().await.map_err(|_| Failure::Broken("client-gone"))?;
            session.set_keepalive(keepalive);
        }
        let exchange = Exchange::new(session, &self.limits, body_bytes_max, &self.lifecycle, call.deadline);
        exchange.run((entry, admission), &*target, received, call, record).await
    }

    /// Whether a request may go on to its workload, and to which, now or when its turn comes.
    fn admit<'r>(
        &self,
        route: &'r Route,
        length: Option<u64>,
        body_bytes_max: u64,
    ) -> Result<(Arc<dyn Dispatch>, Option<Entry<'r>>), Refusal> {
        if length.is_some_and(|length| length > body_bytes_max) {
            return Err(Refusal::BodyTooLarge);
        }
        if self.memory.pressure() > Pressure::None {
            return Err(Refusal::MemoryPressure);
        }
        let target = route.target.clone().ok_or(Refusal::NoReplica)?;
        let entry = route.admission.as_ref().map(Admission::enter).transpose().map_err(Refusal::OverLimit)?;
        Ok((target, entry))
    }

    /// Tells an HTTP/1 client of a draining host that this response is the connection's last.
    fn announce_drain(&self, session: &mut Session) {
        if self.lifecycle.draining.is_cancelled() {
            session.set_keepalive(None);
        }
    }

    /// Ends an exchange so that the client cannot take what it got for the whole.
    async fn break_off(session: &mut Session) {
        let framed = session.response_written().is_none_or(response::has_end);
        if let Some(stream) = session.as_downstream().stream().filter(|_| !framed)
            && let Some(connection) = stream.as_any().downcast_ref::<Connection>()
        {
            // An orderly close would be the response's clean end.
            connection.reset_on_close();
            return;
        }
        // What the client is still sent is worth a moment, not a stall.
        let _ = tokio::time::timeout(exchange::PARTING_TIME, session.as_downstream_mut().shutdown()).await;
    }
}

#[async_trait]
impl ProxyHttp for Ingress {
    type CTX = ();

    fn new_ctx(&self) -> Self::CTX {}

    fn init_downstream_modules(&self, _: &mut HttpModules) {}

    async fn request_filter(&self, session: &mut Session, (): &mut Self::CTX) -> pingora_core::Result<bool> {
        self.serve(session).await.map(|()| true)
    }

    async fn upstream_peer(&self, _: &mut Session, (): &mut Self::CTX) -> pingora_core::Result<Box<HttpPeer>> {
        Err(Error::explain(ErrorType::InternalError, "this ingress has no upstreams"))
    }

    /// All that there is to say has been said by [`Ingress::serve`].
    async fn fail_to_proxy(&self, _: &mut Session, _: &Error, (): &mut Self::CTX) -> FailToProxy {
        FailToProxy { error_code: 0, can_reuse_downstream: false }
    }

    fn suppress_error_log(&self, _: &Session, (): &Self::CTX, _: &Error) -> bool {
        true
    }
}
