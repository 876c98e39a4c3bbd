//! Where operators reach a host beside its TCP address, and by what: the flags of the admin listener that every host has.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use clap::Args;
use roadstead_proxy::ListenAt;

use super::log::LogHandle;
use crate::admin::{
    AdminSettings,
    socket::SocketPlace,
    token::{TokenError, TokenFile},
};

/// Flags of the admin listener, but for its address.
#[derive(Debug, Args)]
pub(super) struct AdminArguments {
    /// Unix socket (mode 0600) at which `roadstead get` and the like find the host [default: admin.sock in
    /// $XDG_RUNTIME_DIR/roadstead, /run/roadstead, or a folder of this user's alone in the temporary folder].
    #[arg(long, value_name = "PATH", env = "ROADSTEAD_ADMIN_SOCKET")]
    admin_socket: Option<PathBuf>,
    /// File with the token (`Authorization: Bearer`) that the admin address then asks for. An address that other
    /// machines reach needs one. The file may get another token while the host runs [default: none].
    #[arg(long, value_name = "FILE", env = "ROADSTEAD_ADMIN_TOKEN_FILE")]
    admin_token_file: Option<PathBuf>,
}

impl AdminArguments {
    /// How the listener is set up, at the address `at`.
    pub(super) fn settings(&self, at: ListenAt, log: Arc<LogHandle>) -> Result<AdminSettings, TokenError> {
        let token = self.admin_token_file.as_deref().map(TokenFile::open).transpose()?;
        let socket = self.admin_socket.clone().map_or_else(default_socket, SocketPlace::At);
        Ok(AdminSettings { at, socket, token, log })
    }
}

/// Where a host of this user has its socket when nobody says otherwise.
pub(super) fn default_socket() -> SocketPlace {
    SocketPlace::by_default(std::env::var_os("XDG_RUNTIME_DIR").as_deref().map(Path::new))
}
