//! A registry that does not keep to its word, each repository in its own way. What it is asked is kept.

use std::{
    collections::HashMap,
    convert::Infallible,
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::Bytes;
use futures::StreamExt;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full, StreamBody, combinators::BoxBody};
use hyper::{
    body::{Frame, Incoming},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tokio::{net::TcpListener, task::JoinHandle};

const IMAGE: &str = "application/vnd.oci.image.manifest.v1+json";
const INDEX: &str = "application/vnd.oci.image.index.v1+json";

type Body = BoxBody<Bytes, std::io::Error>;
type Answer = Response<Body>;

pub struct LyingRegistry {
    address: SocketAddr,
    script: Arc<Script>,
    accepting: JoinHandle<()>,
}

/// One request, as it came.
#[derive(Clone, Debug)]
pub struct Asked {
    pub path: String,
    pub authorization: Option<String>,
}

struct Script {
    address: SocketAddr,
    component: Bytes,
    asked: Mutex<Vec<Asked>>,
    /// How often each lie was told.
    told: Mutex<HashMap<String, u32>>,
    honest: Mutex<bool>,
}

impl Drop for LyingRegistry {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

impl LyingRegistry {
    /// Starts it with a component of which it has, or pretends to have, images.
    pub async fn start(component: Vec<u8>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let script = Arc::new(Script {
            address,
            component: component.into(),
            asked: Mutex::default(),
            told: Mutex::default(),
            honest: Mutex::new(false),
        });
        let for_connections = script.clone();
        let accepting = tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                let script = for_connections.clone();
                let service = service_fn(move |request| {
                    let script = script.clone();
                    async move { Ok::<_, Infallible>(script.answer(&request)) }
                });
                tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(socket), service));
            }
        });
        Self { address, script, accepting }
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The image of the repository that tells `lie`.
    pub fn image(&self, lie: &str) -> String {
        format!("http://{}/{lie}:1", self.address)
    }

    /// From now on it tells the truth.
    pub fn become_honest(&self) {
        *self.script.honest.lock().unwrap() = true;
    }

    /// What was asked of a repository, in order.
    pub fn asked(&self, lie: &str) -> Vec<Asked> {
        self.asked_below(&format!("/v2/{lie}/"))
    }

    /// What was asked below a path, in order.
    pub fn asked_below(&self, prefix: &str) -> Vec<Asked> {
        self.script.asked.lock().unwrap().iter().filter(|asked| asked.path.starts_with(prefix)).cloned().collect()
    }
}

impl Script {
    fn answer(&self, request: &Request<Incoming>) -> Answer {
        let path = request.uri().path().to_owned();
        let authorization = request.headers().get("authorization").map(|value| value.to_str().unwrap().to_owned());
        self.asked.lock().unwrap().push(Asked { path: path.clone(), authorization: authorization.clone() });
        if path == "/token" {
            return text(StatusCode::OK, r#"{"token": "t0k3n"}"#);
        }
        if path == "/endless" {
            return endless("token".into());
        }
        if path == "/elsewhere" {
            return whole(StatusCode::OK, self.component.clone());
        }
        let Some((lie, rest)) = path.strip_prefix("/v2/").and_then(|rest| rest.split_once('/')) else {
            return text(StatusCode::OK, "");
        };
        let lie = if *self.honest.lock().unwrap() { "good" } else { lie };
        if let Some(answer) = self.refusal(lie, authorization.as_deref(), rest.starts_with("manifests/")) {
            return answer;
        }
        match rest.split_once('/') {
            Some(("manifests", _)) => self.manifest(lie),
            Some(("blobs", _)) => self.blob(lie),
            _ => text(StatusCode::NOT_FOUND, ""),
        }
    }

    /// How often the lie has been told before.
    fn told(&self, lie: &str) -> u32 {
        let mut told = self.told.lock().unwrap();
        let count = told.entry(lie.to_owned()).or_default();
        *count += 1;
        *count - 1
    }

    fn refusal(&self, lie: &str, authorization: Option<&str>, of_manifest: bool) -> Option<Answer> {
        let answer = |status: u16, headers: &[(&str, &str)]| {
            let mut answer = text(StatusCode::from_u16(status).unwrap(), r#"{"errors": [{"code": "DENIED"}]}"#);
            for (name, value) in headers {
                answer.headers_mut().insert(http::HeaderName::try_from(*name).unwrap(), value.parse().unwrap());
            }
            Some(answer)
        };
        let bearer = format!("Bearer realm=\"http://{}/token\",service=\"lies\"", self.address);
        match lie {
            "basic-loop" => answer(401, &[("www-authenticate", "Basic realm=\"lies\"")]),
            "bearer-loop" => answer(401, &[("www-authenticate", &bearer)]),
            "bearer" | "redirect-good" if authorization != Some("Bearer t0k3n") => {
                answer(401, &[("www-authenticate", &bearer)])
            }
            "token-bomb" => {
                let endless = bearer.replace("/token", "/endless");
                answer(401, &[("www-authenticate", &endless)])
            }
            "refusal-bomb" => {
                let mut answer = endless("no".into());
                *answer.status_mut() = StatusCode::FORBIDDEN;
                Some(answer)
            }
            "realm-inside" => answer(401, &[("www-authenticate", "Bearer realm=\"http://169.254.169.254/token\"")]),
            "strange-challenge" => answer(401, &[("www-authenticate", "Negotiate")]),
            "echo" => match authorization {
                None => answer(401, &[("www-authenticate", "Basic realm=\"lies\"")]),
                // What it was told, in every place where it might be shown.
                Some(secret) => {
                    let body = json!({ "errors": [{ "code": secret, "message": secret, "detail": secret }] });
                    let mut answer = text(StatusCode::FORBIDDEN, &body.to_string());
                    answer.headers_mut().insert("x-secret", secret.parse().unwrap());
                    Some(answer)
                }
            },
            "denied" => answer(403, &[]),
            "missing" => answer(404, &[]),
            "teapot" => answer(418, &[]),
            "errors" => answer(500, &[]),
            "errors-then-good" if self.told(lie) < 3 => answer(503, &[]),
            "busy" => answer(429, &[("retry-after", "3600")]),
            "busy-then-good" if self.told(lie) < 2 => answer(429, &[("retry-after", "1")]),
            "redirect-inside" if !of_manifest => {
                answer(307, &[("location", "http://169.254.169.254/latest/meta-data")])
            }
            "redirect-loop" => answer(307, &[("location", "/v2/redirect-loop/manifests/1")]),
            "redirect-file" => answer(307, &[("location", "file:///etc/passwd")]),
            "redirect-nowhere" => answer(307, &[]),
            "redirect-good" if !of_manifest => {
                answer(307, &[("location", &format!("http://localhost:{}/elsewhere", self.address.port()))])
            }
            _ => None,
        }
    }

    fn manifest(&self, lie: &str) -> Answer {
        let layer =
            |kind: &str, bytes: u64| json!({ "mediaType": kind, "digest": digest(&self.component), "size": bytes });
        let size = self.component.len() as u64;
        let image = |layers: Vec<Value>| {
            json!({ "schemaVersion": 2, "mediaType": IMAGE, "config": layer("application/vnd.wasm.config.v0+json", 2),
                "layers": layers })
        };
        let good = image(vec![layer("application/wasm", size)]);
        let manifest = match lie {
            "huge" => image(vec![layer("application/wasm", u64::MAX)]),
            "negative" => json!({ "schemaVersion": 2, "layers": [{ "mediaType": "application/wasm", "size": -1 }] }),
            "not-wasm" => image(vec![layer("application/vnd.oci.image.layer.v1.tar+gzip", size)]),
            "two-components" => image(vec![layer("application/wasm", size), layer("application/wasm", size)]),
            "old-kind" => image(vec![layer("application/vnd.wasm.content.layer.v1+wasm", size)]),
            "index-without-wasm" | "index" => {
                let os = if lie == "index" { ("wasip2", "wasm") } else { ("linux", "amd64") };
                let entry = json!({ "mediaType": IMAGE, "digest": digest(good.to_string().as_bytes()), "size": 1,
                    "platform": { "os": os.0, "architecture": os.1 } });
                // Asked for by its digest, the manifest itself is given.
                if lie == "index" && self.told(lie) % 2 == 1 {
                    good
                } else {
                    json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": [entry] })
                }
            }
            _ => good,
        };
        let kind = manifest["mediaType"].as_str().unwrap_or(IMAGE).to_owned();
        let mut answer = match lie {
            "no-json" => text(StatusCode::OK, "<html>sign in</html>"),
            "deep" => text(StatusCode::OK, &format!("{{\"schemaVersion\": 2, \"a\": {}", "[".repeat(100_000))),
            "manifest-bomb" => endless(manifest.to_string().into()),
            _ => text(StatusCode::OK, &manifest.to_string()),
        };
        answer.headers_mut().insert("content-type", kind.parse().unwrap());
        match lie {
            "other-manifest" => {
                answer.headers_mut().insert("docker-content-digest", digest(b"another").parse().unwrap());
            }
            "encoded-manifest" => {
                answer.headers_mut().insert("content-encoding", "gzip".parse().unwrap());
            }
            "long-head" | "many-fields" => {
                let (fields, bytes) = if lie == "long-head" { (95, 2_000) } else { (150, 10) };
                for number in 0..fields {
                    let name = http::HeaderName::try_from(format!("x-{number}")).unwrap();
                    answer.headers_mut().insert(name, "x".repeat(bytes).parse().unwrap());
                }
            }
            _ => {}
        }
        answer
    }

    fn blob(&self, lie: &str) -> Answer {
        let component = self.component.clone();
        let half = component.slice(..component.len() / 2);
        let size = component.len();
        match lie {
            "wrong-digest" => {
                let mut other = component.to_vec();
                other[size / 2] ^= 1;
                whole(StatusCode::OK, other.into())
            }
            "shorter" => whole(StatusCode::OK, half),
            "longer" => whole(StatusCode::OK, [&component[..], b"more"].concat().into()),
            "endless" => endless(component),
            "truncated" => cut(half, size),
            "truncated-then-good" if self.told(lie) < 2 => cut(half, size),
            "encoded" => {
                let mut answer = whole(StatusCode::OK, component);
                answer.headers_mut().insert("content-encoding", "br".parse().unwrap());
                answer
            }
            "slow" => trickle(component, Duration::from_millis(100)),
            "stalls" => trickle(half, Duration::from_secs(3_600)),
            _ => whole(StatusCode::OK, component),
        }
    }
}

pub fn digest(bytes: &[u8]) -> String {
    let digest: [u8; 32] = Sha256::digest(bytes).into();
    digest.iter().fold("sha256:".to_owned(), |text, byte| text + &format!("{byte:02x}"))
}

fn whole(status: StatusCode, body: Bytes) -> Answer {
    let body = Full::new(body).map_err(|never| match never {}).boxed();
    Response::builder().status(status).body(body).unwrap()
}

fn text(status: StatusCode, body: &str) -> Answer {
    whole(status, Bytes::from(body.to_owned()))
}

fn streamed(frames: impl futures::Stream<Item = std::io::Result<Bytes>> + Send + Sync + 'static) -> Answer {
    Response::new(BodyExt::boxed(StreamBody::new(frames.map(|piece| piece.map(Frame::data)))))
}

/// The piece over and over, without a length.
fn endless(piece: Bytes) -> Answer {
    streamed(futures::stream::repeat_with(move || Ok(piece.clone())))
}

/// A piece of what was promised, then the end of the connection.
fn cut(piece: Bytes, promised: usize) -> Answer {
    let cut = async {
        // What was said before is to arrive.
        tokio::time::sleep(Duration::from_millis(50)).await;
        Err(std::io::Error::other("cut"))
    };
    let mut answer = streamed(futures::stream::iter([Ok(piece)]).chain(futures::stream::once(cut)));
    answer.headers_mut().insert("content-length", promised.into());
    answer
}

/// Byte by byte, with a pause after each.
fn trickle(bytes: Bytes, pause: Duration) -> Answer {
    streamed(futures::stream::unfold((bytes, 0), move |(bytes, at)| async move {
        if at > 0 {
            tokio::time::sleep(pause).await;
        }
        let piece = bytes.slice(at..(at + 1).min(bytes.len()));
        (!piece.is_empty()).then_some((Ok(piece), (bytes, at + 1)))
    }))
}
