//! One component and its calls: an instance for each, nothing kept between two. It knows no clock and counts nothing.

use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use tokio::sync::oneshot;
use wasmtime::component::{Component, Linker, ResourceTable};
use wasmtime::{Engine, Error, Result, Store};
use wasmtime_wasi::{WasiCtx, WasiCtxView, WasiView};
use wasmtime_wasi_http::{
    Error as HttpError, RequestOptions, WasiBody, WasiHttpCtx, WasiHttpCtxView, WasiHttpHooks, WasiHttpView,
    p2::{
        add_only_http_to_linker_async,
        bindings::{Proxy, ProxyPre, http::types::Scheme},
    },
};

/// Ticks of the epoch clock after which a running guest lets others run.
const TICKS_BETWEEN_YIELDS: u64 = 1;

/// A component, compiled and linked with WASI 0.2 and wasi:http 0.2.
pub struct Bare {
    engine: Engine,
    pre: ProxyPre<State>,
}

impl Bare {
    /// Compiles and links a component.
    ///
    /// # Errors
    /// When the bytes are no component, or one that imports or exports something else.
    pub fn new(engine: &Engine, component: &[u8]) -> Result<Self> {
        let component = Component::new(engine, component)?;
        let mut linker = Linker::new(engine);
        wasmtime_wasi::p2::add_to_linker_async(&mut linker)?;
        add_only_http_to_linker_async(&mut linker)?;
        let pre = ProxyPre::new(linker.instantiate_pre(&component)?)?;
        Ok(Self { engine: engine.clone(), pre })
    }

    /// Makes an instance and drops it.
    ///
    /// # Errors
    /// When the instance cannot be made.
    pub async fn instantiate(&self) -> Result<()> {
        self.instance().await.map(drop)
    }

    /// Makes an instance, lets it answer `GET /`, and reads the answer. Returns the length of its body in bytes.
    ///
    /// # Errors
    /// When the instance cannot be made, fails, or answers with an error or another status than 200.
    pub async fn call(&self) -> Result<usize> {
        let (mut store, guest) = self.instance().await?;
        let (sender, answer) = oneshot::channel();
        let body = Empty::<Bytes>::new().map_err(|never| -> HttpError { match never {} });
        let request = http::Request::get("http://bare.test/").body(body)?;
        let request = store.data_mut().http().new_incoming_request(Scheme::Http, request)?;
        let outparam = store.data_mut().http().new_response_outparam(sender)?;
        let read = async {
            let response = answer.await??;
            if response.status() != http::StatusCode::OK {
                return Err(Error::msg(format!("the guest answered {}", response.status())));
            }
            Ok(response.into_body().collect().await?.to_bytes().len())
        };
        let (called, read) =
            tokio::join!(guest.wasi_http_incoming_handler().call_handle(&mut store, request, outparam), read);
        called?;
        read
    }

    async fn instance(&self) -> Result<(Store<State>, Proxy)> {
        let mut store = Store::new(&self.engine, State::new());
        store.set_epoch_deadline(TICKS_BETWEEN_YIELDS);
        store.epoch_deadline_async_yield_and_update(TICKS_BETWEEN_YIELDS);
        let guest = self.pre.instantiate_async(&mut store).await?;
        Ok((store, guest))
    }
}

/// What a store holds: no more than WASI asks for.
struct State {
    wasi: WasiCtx,
    http: WasiHttpCtx,
    hooks: NoOutgoing,
    table: ResourceTable,
}

impl State {
    fn new() -> Self {
        let wasi = WasiCtx::builder().build();
        Self { wasi, http: WasiHttpCtx::new(), hooks: NoOutgoing, table: ResourceTable::new() }
    }
}

impl WasiView for State {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView { ctx: &mut self.wasi, table: &mut self.table }
    }
}

impl WasiHttpView for State {
    fn http(&mut self) -> WasiHttpCtxView<'_> {
        WasiHttpCtxView { ctx: &mut self.http, table: &mut self.table, hooks: &mut self.hooks }
    }
}

/// Requests of the guest's own go nowhere.
struct NoOutgoing;

type SendResult = Result<(http::Response<WasiBody>, Box<dyn Future<Output = Result<(), HttpError>> + Send>), HttpError>;

impl WasiHttpHooks for NoOutgoing {
    fn send_request(
        &mut self,
        _request: http::Request<WasiBody>,
        _options: Option<RequestOptions>,
        _done: Box<dyn Future<Output = Result<(), HttpError>> + Send>,
    ) -> Box<dyn Future<Output = SendResult> + Send> {
        Box::new(async { Err(HttpError::HttpRequestDenied) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use roadstead_config::Limits;
    use roadstead_runtime::EngineWithClock;

    #[test]
    fn what_is_no_component_is_refused() {
        let engine = EngineWithClock::new(&Limits { instances_max: 1, ..Limits::default() }).unwrap();
        assert!(Bare::new(engine.engine(), b"no component").is_err());
    }
}
