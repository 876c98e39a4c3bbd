//! Where the host listens: at addresses that flags name, or on sockets that a service manager passes (LISTEN_FDS). What
//! is answered there is not known here.

use std::{collections::BTreeMap, env, fmt, io, net::SocketAddr, net::TcpListener};

use clap::Args;
use listenfd::ListenFd;
use roadstead_proxy::ListenAt;

/// Where workloads are reached, when neither a flag nor a socket says so.
const HTTP_ADDR_DEFAULT: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 8080);
/// The same for operators.
pub(super) const ADMIN_ADDR_DEFAULT: SocketAddr =
    SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 9090);

/// Flags of the addresses; that of TLS is with its certificates.
#[derive(Debug, Args)]
pub(super) struct SocketArguments {
    /// Address that answers the workloads' HTTP requests [default: 127.0.0.1:8080, or the passed socket `http`].
    #[arg(long, env = "ROADSTEAD_HTTP_ADDR", value_name = "ADDR")]
    http_addr: Option<SocketAddr>,
    /// Address of /metrics, /healthz, /readyz and /status [default: 127.0.0.1:9090, or the passed socket `admin`].
    #[arg(long, env = "ROADSTEAD_ADMIN_ADDR", value_name = "ADDR")]
    admin_addr: Option<SocketAddr>,
    /// Take --http-addr and --https-addr beside another host of the same user that has this flag, to take over from it.
    #[arg(long)]
    reuse_port: bool,
}

/// What a socket is for. Service managers name it so.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Purpose {
    Http,
    Https,
    Admin,
}

impl Purpose {
    const ALL: [Self; 3] = [Self::Http, Self::Https, Self::Admin];

    fn flag(self) -> &'static str {
        match self {
            Self::Http => "--http-addr",
            Self::Https => "--https-addr",
            Self::Admin => "--admin-addr",
        }
    }
}

impl fmt::Display for Purpose {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Http => "http",
            Self::Https => "https",
            Self::Admin => "admin",
        })
    }
}

/// Why the sockets that were passed cannot be used.
#[derive(Debug, thiserror::Error)]
pub(super) enum SocketError {
    #[error("{count} sockets were passed (LISTEN_FDS); there is use for http, https and admin")]
    TooMany { count: String },
    #[error("{count} sockets were passed with {names} names (LISTEN_FDNAMES); give each the name http, https or admin")]
    Unnamed { count: usize, names: usize },
    #[error(
        "a socket was passed with the name {name:?}; the names are http, https and admin (FileDescriptorName= in its unit)"
    )]
    Unknown { name: String },
    #[error("two sockets with the name {purpose} were passed")]
    Twice { purpose: Purpose },
    #[error("the passed socket {purpose} cannot be used: it must be a listening TCP socket")]
    Unusable {
        purpose: Purpose,
        #[source]
        source: io::Error,
    },
    #[error(
        "the passed socket {purpose} listens on {socket}, but {flag} is {address}; leave the flag out, or correct one of the two"
    )]
    Elsewhere { purpose: Purpose, socket: SocketAddr, flag: &'static str, address: SocketAddr },
}

/// The sockets that a service manager has opened for this process.
#[derive(Debug, Default)]
pub(super) struct PassedSockets {
    listeners: BTreeMap<Purpose, TcpListener>,
    /// There are some, but for another process.
    pub(super) of_another: bool,
}

impl PassedSockets {
    /// Takes them; to be called once, before the process has threads: it changes the environment.
    pub(super) fn take() -> Result<Self, SocketError> {
        let Ok(count) = env::var("LISTEN_FDS") else { return Ok(Self::default()) };
        let process = env::var("LISTEN_PID").unwrap_or_default();
        if process != std::process::id().to_string() {
            return Ok(Self { of_another: true, ..Self::default() });
        }
        // Before the library makes a list of that length.
        let Some(count) = count.parse().ok().filter(|count| *count <= Purpose::ALL.len()) else {
            return Err(SocketError::TooMany { count });
        };
        let purposes = purposes(count, env::var("LISTEN_FDNAMES").ok().as_deref())?;
        let mut passed = ListenFd::from_env();
        let mut listeners = BTreeMap::new();
        for (index, purpose) in purposes.into_iter().enumerate() {
            let gone = || io::Error::other("it is not there");
            let listener = passed.take_tcp_listener(index).and_then(|listener| listener.ok_or_else(gone));
            let listener = listener.map_err(|source| SocketError::Unusable { purpose, source })?;
            listeners.insert(purpose, listener);
        }
        Ok(Self { listeners, of_another: false })
    }

    /// Whether one is for TLS.
    pub(super) fn has_https(&self) -> bool {
        self.listeners.contains_key(&Purpose::Https)
    }

    /// The socket for a purpose, or else the flag's address.
    fn or_address(&mut self, purpose: Purpose, flag: Option<SocketAddr>) -> Result<Option<ListenAt>, SocketError> {
        let Some(listener) = self.listeners.remove(&purpose) else { return Ok(flag.map(ListenAt::Address)) };
        let socket = listener.local_addr().map_err(|source| SocketError::Unusable { purpose, source })?;
        match flag {
            Some(address) if address != socket => {
                Err(SocketError::Elsewhere { purpose, socket, flag: purpose.flag(), address })
            }
            _ => Ok(Some(ListenAt::Given(listener))),
        }
    }
}

/// What the sockets are for, by their names. A single one without a name is for HTTP.
fn purposes(count: usize, names: Option<&str>) -> Result<Vec<Purpose>, SocketError> {
    let names: Vec<&str> =
        names.filter(|names| !names.is_empty()).map_or(Vec::new(), |names| names.split(':').collect());
    if names.is_empty() && count == 1 {
        return Ok(vec![Purpose::Http]);
    }
    if names.len() != count {
        return Err(SocketError::Unnamed { count, names: names.len() });
    }
    let mut found = Vec::new();
    for name in names {
        let known = Purpose::ALL.into_iter().find(|purpose| purpose.to_string() == name);
        let purpose = known.ok_or_else(|| SocketError::Unknown { name: name.to_owned() })?;
        if found.contains(&purpose) {
            return Err(SocketError::Twice { purpose });
        }
        found.push(purpose);
    }
    Ok(found)
}

/// Where everything listens.
#[derive(Debug)]
pub(super) struct Places {
    pub(super) http: ListenAt,
    pub(super) https: Option<ListenAt>,
    pub(super) admin: ListenAt,
}

impl Places {
    /// From flags and passed sockets, which must not contradict each other.
    pub(super) fn new(
        arguments: &SocketArguments,
        https_addr: Option<SocketAddr>,
        mut passed: PassedSockets,
    ) -> Result<Self, SocketError> {
        let shared = |at| match at {
            ListenAt::Address(address) if arguments.reuse_port => ListenAt::Shared(address),
            at => at,
        };
        let http = passed.or_address(Purpose::Http, arguments.http_addr)?;
        let admin = passed.or_address(Purpose::Admin, arguments.admin_addr)?;
        Ok(Self {
            http: shared(http.unwrap_or(ListenAt::Address(HTTP_ADDR_DEFAULT))),
            https: passed.or_address(Purpose::Https, https_addr)?.map(shared),
            // Each host has an admin address of its own: whoever asks one must know which.
            admin: admin.unwrap_or(ListenAt::Address(ADMIN_ADDR_DEFAULT)),
        })
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        sockets: SocketArguments,
    }

    fn places(flags: &[&str], passed: PassedSockets) -> Result<Places, SocketError> {
        let line = Line::parse_from([&["roadstead"], flags].concat());
        Places::new(&line.sockets, None, passed)
    }

    fn passed(purpose: Purpose) -> (PassedSockets, SocketAddr) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        (PassedSockets { listeners: [(purpose, listener)].into(), of_another: false }, address)
    }

    #[test]
    fn nobody_elsewhere_is_answered_unless_the_operator_says_so() {
        let Places { http, https, admin } = places(&[], PassedSockets::default()).unwrap();
        for at in [http, admin] {
            assert!(matches!(at, ListenAt::Address(address) if address.ip().is_loopback()), "{at:?}");
        }
        assert!(https.is_none());
    }

    #[test]
    fn addresses_are_shared_but_for_the_admin_address() {
        let places = places(&["--reuse-port", "--admin-addr", "127.0.0.1:1"], PassedSockets::default()).unwrap();
        assert!(matches!(places.http, ListenAt::Shared(HTTP_ADDR_DEFAULT)));
        assert!(matches!(places.admin, ListenAt::Address(_)));
    }

    #[test]
    fn a_passed_socket_takes_the_place_of_its_flag_and_does_not_contradict_it() {
        let (sockets, address) = passed(Purpose::Http);
        let places_now = places(&["--http-addr", &address.to_string()], sockets).unwrap();
        assert!(matches!(places_now.http, ListenAt::Given(_)));
        let (sockets, address) = passed(Purpose::Admin);
        let error = places(&["--admin-addr", "127.0.0.1:1"], sockets).unwrap_err().to_string();
        assert!(error.contains(&address.to_string()) && error.contains("--admin-addr is 127.0.0.1:1"), "{error}");
    }

    #[test]
    fn sockets_are_known_by_their_names() {
        use Purpose::{Admin, Http, Https};
        assert_eq!(purposes(0, None).unwrap(), []);
        assert_eq!(purposes(1, None).unwrap(), [Http]);
        assert_eq!(purposes(3, Some("admin:https:http")).unwrap(), [Admin, Https, Http]);
        for (count, names, wanted) in [
            (2, None, "2 sockets were passed with 0 names"),
            (2, Some("http"), "2 sockets were passed with 1 names"),
            (1, Some("roadstead.socket"), "the name \"roadstead.socket\""),
            (2, Some("http:http"), "two sockets with the name http"),
        ] {
            let error = purposes(count, names).unwrap_err().to_string();
            assert!(error.contains(wanted), "{error}");
        }
    }
}
