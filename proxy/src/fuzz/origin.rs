//! What proxies write about where a request comes from, behind what a client wrote before them.

use std::net::{IpAddr, SocketAddr};

use http::{HeaderMap, HeaderName, HeaderValue, uri::Scheme};
use roadstead_config::{Network, TrustedProxies};

use super::LONGEST_INPUT_BYTES;
use crate::{app::origin::Origin, facts::ConnectionFacts};

const PROXY: &str = "10.0.0.1";
const CLIENT: &str = "203.0.113.7";

/// Lines `name: value`, as a client sends them to a trusted proxy, and to the host.
///
/// # Panics
/// When the client that is found is another than the one that the proxy names, or, where the client has spoilt the
/// field that the proxy appends to, the proxy itself.
pub fn forwarded(data: &[u8]) {
    if data.len() > LONGEST_INPUT_BYTES {
        return;
    }
    let mut sent = HeaderMap::new();
    for line in data.split(|byte| *byte == b'\n').take(50) {
        let Some(colon) = line.iter().position(|byte| *byte == b':') else { continue };
        let name = HeaderName::from_bytes(&line[..colon]);
        if let (Ok(name), Ok(value)) = (name, HeaderValue::from_bytes(line[colon + 1..].trim_ascii())) {
            sent.append(name, value);
        }
    }
    let direct = origin(CLIENT, &sent);
    assert_eq!((direct.client, &direct.scheme), (Some(address(CLIENT)), &Scheme::HTTP));
    let through = origin(PROXY, &sent);
    assert!(through.client.is_some_and(|client| client == client.to_canonical()));
    for (field, says, others) in [
        ("x-forwarded-for", CLIENT, "forwarded"),
        ("forwarded", "for=203.0.113.7;proto=http", "x-forwarded-for"),
        ("forwarded", "for=\"203.0.113.7:4711\"", "x-forwarded-for"),
    ] {
        let field = HeaderName::from_static(field);
        let mut sent = sent.clone();
        // The proxy writes one of the two; of the other it is told in the documentation to let none through.
        sent.remove(others);
        let mut own_field = sent.clone();
        own_field.append(field.clone(), HeaderValue::from_static(says));
        assert_eq!(origin(PROXY, &own_field).client, Some(address(CLIENT)), "{own_field:?}");
        let Some(before) = sent.remove(&field) else { continue };
        let joined = [before.as_bytes(), b", ", says.as_bytes()].concat();
        sent.insert(field, HeaderValue::from_bytes(&joined).unwrap());
        let client = origin(PROXY, &sent).client;
        assert!([Some(address(CLIENT)), Some(address(PROXY))].contains(&client), "{client:?} from {sent:?}");
    }
    for origin in [direct, through] {
        let patience = origin.patience(&sent);
        assert!(
            patience.is_none()
                || sent.contains_key("grpc-timeout")
                || sent.contains_key("x-envoy-expected-rq-timeout-ms")
        );
    }
}

fn address(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn origin(peer: &str, headers: &HeaderMap) -> Origin {
    let proxies: TrustedProxies = ["10.0.0.0/8".parse::<Network>().unwrap()].into_iter().collect();
    let facts = ConnectionFacts::plain(SocketAddr::new(address(peer), 80));
    Origin::read(Some(&facts), headers, &proxies)
}
