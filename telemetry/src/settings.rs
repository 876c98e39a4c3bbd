//! What an operator says of the collector, in the words of OpenTelemetry's own variables, checked. Nothing is read from the
//! environment here.

use std::{fmt, str::FromStr, time::Duration};

use http::{HeaderName, HeaderValue};
use percent_encoding::percent_decode_str;
use url::Url;

/// Headers that are sent with each export at most.
const HEADERS_MAX: usize = 32;
/// Attributes of the resource that may be given at most.
const RESOURCE_ATTRIBUTES_MAX: usize = 64;

/// Where, how and how much.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The collector (`OTEL_EXPORTER_OTLP_ENDPOINT`).
    pub endpoint: Endpoint,
    /// How it is spoken to (`OTEL_EXPORTER_OTLP_PROTOCOL`).
    pub protocol: Protocol,
    /// What is sent along (`OTEL_EXPORTER_OTLP_HEADERS`).
    pub headers: OtlpHeaders,
    /// Longest time of one export (`OTEL_EXPORTER_OTLP_TIMEOUT`).
    pub timeout: Duration,
    /// Time after which what waits is sent (`OTEL_BSP_SCHEDULE_DELAY`).
    pub delay: Duration,
    /// `service.name` (`OTEL_SERVICE_NAME`).
    pub service_name: String,
    /// Further attributes of this host (`OTEL_RESOURCE_ATTRIBUTES`).
    pub resource: ResourceAttributes,
}

/// How a collector is spoken to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// OTLP over gRPC.
    Grpc,
    /// OTLP over HTTP with protocol buffers.
    HttpProtobuf,
}

/// The address of a collector: http or https, without credentials, query or fragment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint(Url);

/// Why a text is no address of a collector.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EndpointError {
    /// It is no URL.
    #[error("this is no URL; write for example http://collector:4317")]
    Url(#[source] url::ParseError),
    /// Its scheme is another one.
    #[error("the scheme is neither http nor https; write for example http://collector:4317")]
    Scheme,
    /// It has more than scheme, host, port and path.
    #[error("a collector's address has no credentials, query or fragment; headers go into OTEL_EXPORTER_OTLP_HEADERS")]
    TooMuch,
}

impl Endpoint {
    /// The address itself.
    pub fn as_str(&self) -> &str {
        self.0.as_str().trim_end_matches('/')
    }
}

impl FromStr for Endpoint {
    type Err = EndpointError;

    fn from_str(text: &str) -> Result<Self, EndpointError> {
        let url = Url::parse(text).map_err(EndpointError::Url)?;
        if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
            return Err(EndpointError::Scheme);
        }
        let bare = url.username().is_empty() && url.password().is_none();
        if !bare || url.query().is_some() || url.fragment().is_some() {
            return Err(EndpointError::TooMuch);
        }
        Ok(Self(url))
    }
}

/// Headers of an export. They often have keys in them, and are never shown.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct OtlpHeaders(Vec<(HeaderName, HeaderValue)>);

/// Why a text is no list of headers. It does not repeat the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HeadersError {
    /// An element has no `=`, or is no header.
    #[error("element {number} is no header; write name=value,name=value, with %-codes in values where they are needed")]
    Element {
        /// Its place, from 1 on.
        number: usize,
    },
    /// There are too many.
    #[error("there are more than {HEADERS_MAX} headers")]
    TooMany,
}

impl OtlpHeaders {
    pub(crate) fn iter(&self) -> impl Iterator<Item = &(HeaderName, HeaderValue)> {
        self.0.iter()
    }
}

impl fmt::Debug for OtlpHeaders {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.iter().map(|(name, _)| name)).finish()
    }
}

impl FromStr for OtlpHeaders {
    type Err = HeadersError;

    fn from_str(text: &str) -> Result<Self, HeadersError> {
        let mut headers = Vec::new();
        for (number, (name, value)) in pairs(text) {
            let header = value.and_then(|value| {
                let mut value = HeaderValue::from_str(&value).ok()?;
                value.set_sensitive(true);
                Some((HeaderName::from_str(&name.to_ascii_lowercase()).ok()?, value))
            });
            headers.push(header.ok_or(HeadersError::Element { number })?);
        }
        if headers.len() > HEADERS_MAX { Err(HeadersError::TooMany) } else { Ok(Self(headers)) }
    }
}

/// Attributes of a host, beside those that are found out.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ResourceAttributes(pub(crate) Vec<(String, String)>);

/// Why a text is no list of attributes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ResourceError {
    /// An element has no `=`, or no name.
    #[error(
        "element {number} is no attribute; write name=value,name=value, with %-codes in values where they are needed"
    )]
    Element {
        /// Its place, from 1 on.
        number: usize,
    },
    /// There are too many.
    #[error("there are more than {RESOURCE_ATTRIBUTES_MAX} attributes")]
    TooMany,
}

impl FromStr for ResourceAttributes {
    type Err = ResourceError;

    fn from_str(text: &str) -> Result<Self, ResourceError> {
        let mut attributes = Vec::new();
        for (number, (name, value)) in pairs(text) {
            let value = value.filter(|_| !name.is_empty()).ok_or(ResourceError::Element { number })?;
            attributes.push((name.to_owned(), value));
        }
        if attributes.len() > RESOURCE_ATTRIBUTES_MAX { Err(ResourceError::TooMany) } else { Ok(Self(attributes)) }
    }
}

/// The elements of `name=value,name=value`, numbered from 1 on; values without their %-codes.
fn pairs(text: &str) -> impl Iterator<Item = (usize, (&str, Option<String>))> {
    let elements = text.split(',').map(str::trim).filter(|element| !element.is_empty());
    elements.enumerate().map(|(at, element)| {
        let pair = match element.split_once('=') {
            Some((name, value)) => {
                let value = percent_decode_str(value.trim()).decode_utf8().ok();
                (name.trim(), value.map(std::borrow::Cow::into_owned))
            }
            None => (element, None),
        };
        (at + 1, pair)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_is_an_address_and_nothing_else() {
        assert_eq!("http://127.0.0.1:4318/".parse::<Endpoint>().unwrap().as_str(), "http://127.0.0.1:4318");
        assert_eq!("https://c.example/otlp".parse::<Endpoint>().unwrap().as_str(), "https://c.example/otlp");
        for bad in
            ["", "collector:4317", "grpc://c:1", "http://u:p@c:1", "http://c:1/?key=1", "http://c:1/#a", "http://"]
        {
            assert!(bad.parse::<Endpoint>().is_err(), "{bad}");
        }
    }

    #[test]
    fn headers_are_read_and_not_shown() {
        let headers: OtlpHeaders = "Authorization=Bearer%20abc, x-tenant = a ,".parse().unwrap();
        let read: Vec<_> = headers.iter().map(|(name, value)| (name.as_str(), value.to_str().unwrap())).collect();
        assert_eq!(read, [("authorization", "Bearer abc"), ("x-tenant", "a")]);
        assert!(!format!("{headers:?}").contains("abc"));
        for (bad, number) in [("a", 1), ("a=b,c d=e", 2), ("a=%0a", 1), ("=b", 1)] {
            assert_eq!(bad.parse::<OtlpHeaders>(), Err(HeadersError::Element { number }), "{bad}");
        }
        let many = (0..=HEADERS_MAX).map(|n| format!("h{n}=1")).collect::<Vec<_>>().join(",");
        assert_eq!(many.parse::<OtlpHeaders>(), Err(HeadersError::TooMany));
    }

    #[test]
    fn resource_attributes_are_counted() {
        let read: ResourceAttributes = "deployment.environment.name=test,zone=a%2Cb".parse().unwrap();
        assert_eq!(read.0, [("deployment.environment.name".into(), "test".into()), ("zone".into(), "a,b".into())]);
        assert_eq!("=b".parse::<ResourceAttributes>(), Err(ResourceError::Element { number: 1 }));
        let many = (0..=RESOURCE_ATTRIBUTES_MAX).map(|n| format!("h{n}=1")).collect::<Vec<_>>().join(",");
        assert_eq!(many.parse::<ResourceAttributes>(), Err(ResourceError::TooMany));
    }
}
