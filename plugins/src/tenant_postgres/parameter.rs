//! What a statement is sent with: values, each in the server's own form, beside the text and never in it.

use std::{error::Error, sync::Arc};

use bytes::{BufMut, Bytes, BytesMut};
use tokio_postgres::types::{IsNull, ToSql, Type, to_sql_checked};

/// One value. The server's type of it has to be the one that is named.
#[derive(Debug, Clone)]
pub(crate) enum Parameter {
    /// `text`, without a NUL.
    Text(Arc<str>),
    /// `bytea`.
    Bytes(Bytes),
    /// `bigint`.
    Number(i64),
}

impl Parameter {
    pub(crate) fn text(text: &str) -> Self {
        Self::Text(text.into())
    }

    pub(crate) fn bytes(text: &str) -> Self {
        Self::Bytes(Bytes::copy_from_slice(text.as_bytes()))
    }

    /// A number as `bigint` holds it: what is larger is the largest.
    pub(crate) fn number(number: u64) -> Self {
        Self::Number(i64::try_from(number).unwrap_or(i64::MAX))
    }
}

#[derive(Debug, thiserror::Error)]
#[error("a parameter is of another type than the statement's")]
struct WrongType;

impl ToSql for Parameter {
    fn to_sql(&self, kind: &Type, out: &mut BytesMut) -> Result<IsNull, Box<dyn Error + Sync + Send>> {
        match (self, kind) {
            (Self::Text(text), &Type::TEXT) => out.put_slice(text.as_bytes()),
            (Self::Bytes(bytes), &Type::BYTEA) => out.put_slice(bytes),
            (Self::Number(number), &Type::INT8) => out.put_i64(*number),
            _ => return Err(Box::new(WrongType)),
        }
        Ok(IsNull::No)
    }

    fn accepts(kind: &Type) -> bool {
        matches!(*kind, Type::TEXT | Type::BYTEA | Type::INT8)
    }

    to_sql_checked!();
}
