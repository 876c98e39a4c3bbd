//! `wasi:http/outgoing-handler` as components are linked to it: wasmtime's own, and the request's options, which a component
//! hands over with each request, are given up after it. wasmtime 48 keeps them until the instance ends, so that a component
//! that lives long would in the end have no room for another resource. What is sent, and where, is not known here.

use wasmtime::{
    StoreContextMut,
    component::{Linker, Resource},
};
use wasmtime_wasi_http::{
    WasiHttpView,
    p2::{
        bindings::http::{
            outgoing_handler::Host as _,
            types::{ErrorCode, RequestOptions},
        },
        types::{HostFutureIncomingResponse, HostOutgoingRequest},
    },
};

use crate::{InstanceState, grant::WASI_VERSION};

type Arguments = (Resource<HostOutgoingRequest>, Option<Resource<RequestOptions>>);
type Answer = Result<Resource<HostFutureIncomingResponse>, ErrorCode>;

/// Links components to it.
///
/// # Errors
/// Those of the engine.
pub(crate) fn add_to_linker(linker: &mut Linker<InstanceState>) -> wasmtime::Result<()> {
    let mut interface = linker.instance(&format!("wasi:http/outgoing-handler@{WASI_VERSION}"))?;
    interface.func_wrap("handle", |mut store: StoreContextMut<'_, InstanceState>, arguments: Arguments| {
        handle(store.data_mut(), arguments).map(|answer| (answer,))
    })
}

fn handle(state: &mut InstanceState, (request, options): Arguments) -> wasmtime::Result<Answer> {
    let mut view = state.http();
    let given = options.as_ref().map(|options| Resource::<RequestOptions>::new_own(options.rep()));
    let sent = view.handle(request, options);
    if let Some(given) = given {
        // An entry that is gone is what was wanted.
        let _ = view.table.delete(given);
    }
    match sent {
        Ok(response) => Ok(Ok(response)),
        Err(error) => error.downcast().map(Err),
    }
}
