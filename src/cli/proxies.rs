//! The flags of proxies in front: whose word about clients is taken. What they say is not known here.

use clap::Args;
use roadstead_config::Network;
use roadstead_proxy::HttpServer;

/// Flags of the proxies in front.
#[derive(Debug, Args)]
pub(super) struct ProxyArguments {
    /// Networks of the proxies in front, such as 10.0.0.0/8: what these say about their clients is believed.
    #[arg(long, value_name = "CIDR,...", value_delimiter = ',', env = "ROADSTEAD_TRUSTED_PROXIES")]
    trusted_proxies: Vec<Network>,
    /// Connections of the trusted proxies begin with a PROXY header (version 1 or 2), which names the client.
    #[arg(long, requires = "trusted_proxies")]
    proxy_protocol: bool,
}

impl ProxyArguments {
    /// Lets `server` know.
    pub(super) fn tell(&self, server: HttpServer) -> HttpServer {
        let server = server.with_trusted_proxies(self.trusted_proxies.iter().copied().collect());
        if self.proxy_protocol { server.with_proxy_protocol() } else { server }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        proxies: ProxyArguments,
    }

    #[test]
    fn proxies_are_trusted_by_their_networks() {
        let parse = |flags: &[&str]| Line::try_parse_from([&["roadstead"], flags].concat());
        let line =
            parse(&["--trusted-proxies", "10.0.0.0/8,fd00::/8", "--proxy-protocol"]).unwrap_or_else(|e| panic!("{e}"));
        assert_eq!(line.proxies.trusted_proxies.len(), 2);
        for (flags, why) in [
            (&["--proxy-protocol"][..], "--trusted-proxies"),
            (&["--trusted-proxies", "10.1.0.0/8"], "write 10.0.0.0/8"),
            (&["--trusted-proxies", "everybody"], "is no network such as"),
        ] {
            let error = parse(flags).err().map(|error| error.to_string()).unwrap_or_default();
            assert!(error.contains(why), "{flags:?}: {error}");
        }
    }
}
