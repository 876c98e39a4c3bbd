//! From bytes to valid types: manifests, names, limits.
//!
//! A value of a type of this crate is valid; there is nothing to call afterwards. The crate does no I/O and
//! knows neither tokio nor wasmtime: it is given bytes and returns values or diagnostics.

mod decode;
pub mod diagnostic;
pub mod digest;
pub mod duration;
pub mod egress;
pub mod http;
pub mod image;
pub mod interface;
pub mod limits;
pub mod manifest;
pub mod messaging;
pub mod name;
pub mod network;
mod node;
pub mod path;
pub mod registry;
pub mod secret;
pub mod set;
pub mod source;
pub mod store;
pub mod subject;

pub use diagnostic::Diagnostic;
pub use digest::{DigestError, Sha256Digest};
pub use duration::parse_duration;
pub use egress::{AddressClass, EgressNetworks, ProhibitedAddress, Target, TargetError, TargetHost, TargetScheme};
pub use http::{HostName, HostPattern, PathMatch, PathMatchKind, RoutePath};
pub use image::{ImageError, ImageReference, OciReference, PullPolicy};
pub use interface::{InterfaceName, InterfaceVersion, PackageName};
pub use limits::{LimitError, LimitSetting, Limits};
pub use messaging::{ConsumerGroup, MessagingConfig, MessagingConfigError};
pub use name::{NameError, Namespace, ResourceName};
pub use network::{Network, NetworkError, TrustedProxies};
pub use path::{ManifestPath, ManifestPathError};
pub use registry::{CredentialsError, RegistryCredentials, RegistryError, RegistryHost, RegistryMirror};
pub use secret::{SecretKey, SecretKeyError, SecretVariable, SecretVariableError};
pub use set::{ManifestSet, load};
pub use source::SourceFile;
pub use store::{ObjectName, StoreKey, StoreName, StoreNameError};
pub use subject::{QueueGroup, Subject, SubjectPattern};
