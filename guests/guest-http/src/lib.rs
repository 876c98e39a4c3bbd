//! The little that a component needs to answer HTTP over `wasi:http` 0.2: read a bounded body, send a whole answer,
//! stream one piece by piece, take a query string apart.
//!
//! It exists so that the components say what they answer and not how a body is written. It must not know any of them,
//! nor any interface other than `wasi:http` and `wasi:io`.

mod body;
mod query;
mod response;

pub use body::{BodyError, chunks, read_body};
pub use query::Query;
pub use response::{BodyWriter, Response, SendError, start};
