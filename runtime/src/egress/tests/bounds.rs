//! What bounds outgoing requests: connections, names, addresses, heads, bodies and times.

use bytes::Bytes;
use futures::future::join_all;
use http_body::Frame;
use http_body_util::StreamBody;
use wasmtime_wasi_http::RequestOptions;

use super::{
    super::{
        LOOKUPS_MAX, WORKLOAD_LOOKUPS_MAX,
        body::{EMPTY_IN_A_ROW_MAX, Ended, OutgoingBody},
        connect::{ADDRESSES_CHECKED_MAX, ADDRESSES_MAX, HEADERS_MAX},
        pool::{READY_TIME, WAITING_MAX},
        quota::Quota,
    },
    *,
};

fn limits(settings: &[(&str, u64)]) -> Limits {
    let mut limits = Limits::default();
    settings.iter().for_each(|(name, value)| limits.set(name, *value).unwrap());
    limits
}

#[tokio::test]
async fn a_request_waits_for_a_connection_and_no_longer_than_it_may() {
    let (one, two) = (Server::local().await, Server::local().await);
    let allowed = [one.address.port(), two.address.port()].map(|port| format!("127.0.0.1:{port}"));
    let limits = limits(&[("outgoing_connections_max", 1), ("outgoing_wait_ms", 300)]);
    let setup = Setup { networks: vec!["127.0.0.1"], limits, ..Setup::default() };
    let component = setup.component(&[&allowed[0], &allowed[1]], &[]).await;
    // One that nobody uses is closed for another.
    assert_eq!(ask(&component, &one.url("127.0.0.1")).await.as_deref(), Ok("ok"));
    assert_eq!(ask(&component, &two.url("127.0.0.1")).await.as_deref(), Ok("ok"));
    // One that is in use is not.
    let held = send(&component, &one.url("127.0.0.1")).await.unwrap();
    assert_eq!(ask(&component, &two.url("127.0.0.1")).await, Err("no-connection"));
    let url = two.url("127.0.0.1");
    let (waits, _) = tokio::join!(ask(&component, &url), async {
        tokio::task::yield_now().await;
        held.into_body().collect().await.unwrap()
    });
    assert_eq!(waits.as_deref(), Ok("ok"));
    assert_eq!((one.connections(), two.connections()), (2, 2));
}

/// As many as `pool::WAITING_MAX`.
#[tokio::test]
async fn so_many_requests_wait() {
    let limits = limits(&[("outgoing_connections_max", 0)]);
    let component =
        Setup { networks: vec!["127.0.0.1"], limits, ..Setup::default() }.component(&["127.0.0.1"], &[]).await;
    let waiting: Vec<_> = (0..WAITING_MAX)
        .map(|_| {
            let component = component.clone();
            tokio::spawn(async move { ask(&component, "http://127.0.0.1").await })
        })
        .collect();
    let waiting_metric = &component.workload.metrics.waiting;
    until("all wait", || waiting_metric.get() == i64::try_from(WAITING_MAX).unwrap()).await;
    let refused = tokio::time::timeout(Duration::from_secs(4), ask(&component, "http://127.0.0.1"));
    assert_eq!(refused.await.unwrap(), Err("no-connection"));
    waiting.into_iter().for_each(|waits| waits.abort());
}

async fn until(what: &str, condition: impl Fn() -> bool) {
    let begun = std::time::Instant::now();
    while !condition() {
        assert!(begun.elapsed() < PATIENCE, "in vain: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// A resolver that never answers, and counts who asks.
#[derive(Default)]
struct Silent(AtomicUsize);

#[async_trait]
impl Resolve for Silent {
    async fn resolve(&self, _: &str) -> io::Result<Vec<IpAddr>> {
        self.0.fetch_add(1, Ordering::SeqCst);
        std::future::pending().await
    }
}

/// As many as `egress::LOOKUPS_MAX`, and of a workload `egress::WORKLOAD_LOOKUPS_MAX`.
#[tokio::test]
async fn so_many_names_are_looked_up_at_a_time() {
    let resolver = Arc::new(Silent::default());
    let limits = limits(&[("outgoing_connect_ms", 500)]);
    let host = Setup { resolver: resolver.clone(), limits, ..Setup::default() }.host();
    let workloads = LOOKUPS_MAX / WORKLOAD_LOOKUPS_MAX + 1;
    let first = component(&host, "first", &["*"], &[]).await;
    let asked = join_all((0..2 * WORKLOAD_LOOKUPS_MAX).map(|_| ask(&first, "http://a.test"))).await;
    assert!(asked.iter().all(|asked| *asked == Err("dns-timeout")), "{asked:?}");
    // Those who gave up keep nobody of their own workload from asking, but their questions are still there.
    assert!((WORKLOAD_LOOKUPS_MAX..=2 * WORKLOAD_LOOKUPS_MAX).contains(&resolver.0.load(Ordering::SeqCst)));
    for number in 0..workloads {
        let component = component(&host, &format!("w{number}"), &["*"], &[]).await;
        join_all((0..WORKLOAD_LOOKUPS_MAX).map(|_| ask(&component, "http://a.test"))).await;
    }
    assert_eq!(resolver.0.load(Ordering::SeqCst), LOOKUPS_MAX);
}

/// `connect::ADDRESSES_CHECKED_MAX` and `connect::ADDRESSES_MAX`.
#[tokio::test]
async fn so_many_addresses_of_a_name_are_looked_at_and_dialled() {
    let last = Server::start(([127, 0, 0, 99], 0), OK).await;
    let address = |number: usize| format!("127.0.1.{number}");
    let list = |count: usize| (1..=count).map(address).collect::<Vec<_>>().join(" ") + " 127.0.0.99";
    let inside = vec!["10.0.0.1"; ADDRESSES_CHECKED_MAX];
    let resolver = Scripted::default()
        .name("few.test", &[&list(ADDRESSES_MAX - 1)])
        .name("many.test", &[&list(ADDRESSES_MAX)])
        .name("hidden.test", &[&(inside.join(" ") + " 127.0.0.99")]);
    let setup = Setup { resolver: Arc::new(resolver), networks: vec!["127.0.0.0/8"], ..Setup::default() };
    let component = setup.component(&[&format!("*:{}", last.address.port())], &[]).await;
    assert_eq!(ask(&component, &last.url("few.test")).await.as_deref(), Ok("ok"));
    assert_eq!(ask(&component, &last.url("many.test")).await, Err("connection-refused"));
    assert_eq!(ask(&component, &last.url("hidden.test")).await, Err("address-prohibited"));
}

/// `connect::HEADERS_MAX` fields.
#[tokio::test]
async fn a_head_has_so_many_fields_and_bytes() {
    let head = |fields: usize, bytes: usize| {
        let fields: String = (0..fields).map(|number| format!("x-{number}: {}\r\n", "v".repeat(bytes))).collect();
        format!("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n{fields}\r\n")
    };
    for (answer, outcome) in [
        (head(HEADERS_MAX - 1, 1), Ok("")),
        (head(HEADERS_MAX, 1), Err("head-too-large")),
        (head(1, 19_000), Ok("")),
        (head(1, 21_000), Err("head-too-large")),
        ("HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n".into(), Err("protocol-error")),
        ("SSH-2.0-OpenSSH_9.2\r\n\r\n".into(), Err("protocol-error")),
    ] {
        let server = Server::start((Ipv4Addr::LOCALHOST, 0), &answer).await;
        let limits = Limits { outgoing_head_bytes_max: 20_000, ..Limits::default() };
        let setup = Setup { networks: vec!["127.0.0.1"], limits, ..Setup::default() };
        let component = setup.component(&[&format!("*:{}", server.address.port())], &[]).await;
        assert_eq!(ask(&component, &server.url("127.0.0.1")).await, outcome.map(str::to_owned));
    }
}

#[tokio::test]
async fn a_call_makes_so_many_requests() {
    let server = Server::local().await;
    let limits = limits(&[("outgoing_requests_per_call_max", 2)]);
    let setup = Setup { networks: vec!["127.0.0.1"], limits, ..Setup::default() };
    let component = setup.component(&[&format!("*:{}", server.address.port())], &[]).await;
    let mut of_call = component.begin(&call());
    for outcome in [None, None, Some("too-many-requests")] {
        let sent = of_call.send(request(&server.url("127.0.0.1")), None).await;
        assert_eq!(sent.err().map(|error| error.kind()), outcome);
    }
    assert!(component.begin(&call()).send(request(&server.url("127.0.0.1")), None).await.is_ok());
}

fn no_quota() -> Quota {
    Quota::new(u64::MAX, u64::MAX)
}

#[tokio::test]
async fn a_call_moves_so_many_bytes() {
    let server = Server::local().await;
    let bounds = [("outgoing_request_bytes_per_call_max", 10), ("outgoing_response_bytes_per_call_max", 6)];
    let setup = Setup { networks: vec!["127.0.0.1"], limits: limits(&bounds), ..Setup::default() };
    let component = setup.component(&[&format!("*:{}", server.address.port())], &[]).await;
    let post = |bytes: usize| {
        let pieces: Vec<_> = (0..bytes).map(|_| Ok(Frame::data(Bytes::from_static(b"x")))).collect();
        let body = StreamBody::new(futures::stream::iter(pieces)).boxed_unsync();
        Request::post(server.url("127.0.0.1")).body(body).unwrap()
    };
    let mut of_call = component.begin(&call());
    for (bytes, outcome) in [(4, None), (6, None), (1, Some("request-too-large"))] {
        match of_call.send(post(bytes), None).await {
            Ok(response) => {
                assert_eq!(response.into_body().collect().await.unwrap().to_bytes().len(), 2, "{bytes}");
                assert_eq!(outcome, None, "{bytes}");
            }
            Err(error) => {
                assert_eq!(Some(error.kind()), outcome, "{bytes}");
                let code = wasmtime_wasi_http::Error::from(error);
                assert!(matches!(code, wasmtime_wasi_http::Error::HttpRequestBodySize(Some(10))), "{code:?}");
            }
        }
    }
    let read = async |response: Response<WasiBody>| response.into_body().collect().await.map(drop);
    let third = of_call.send(request(&server.url("127.0.0.1")), None).await.unwrap();
    assert!(read(third).await.is_ok());
    let fourth = of_call.send(request(&server.url("127.0.0.1")), None).await.unwrap();
    let code = read(fourth).await.unwrap_err();
    assert!(matches!(code, wasmtime_wasi_http::Error::HttpResponseBodySize(Some(6))), "{code:?}");
    // The next call begins anew.
    assert_eq!(ask(&component, &server.url("127.0.0.1")).await.as_deref(), Ok("ok"));
}

/// A server that answers before the request's body is there keeps its connection for `pool::READY_TIME` alone.
#[tokio::test]
async fn a_connection_that_is_not_ready_in_time_is_closed() {
    let server = Server::local().await;
    let setup = Setup { networks: vec!["127.0.0.1"], ..Setup::default() };
    let component = setup.component(&[&format!("*:{}", server.address.port())], &[]).await;
    let free = component.workload.pool.free();
    let never = StreamBody::new(futures::stream::pending::<Result<Frame<Bytes>, wasmtime_wasi_http::Error>>());
    let request = Request::post(server.url("127.0.0.1")).body(never.boxed_unsync()).unwrap();
    let begun = std::time::Instant::now();
    let mut of_call = component.begin(&call());
    let response = of_call.send(request, None).await.unwrap();
    response.into_body().collect().await.unwrap();
    assert_eq!(component.workload.pool.free(), free - 1);
    until("it is closed", || component.workload.pool.free() == free).await;
    assert!(begun.elapsed() >= READY_TIME);
}

/// What is sent of a body that its guest does not finish never looks whole.
#[tokio::test]
async fn a_body_ends_with_its_call() {
    let body = || StreamBody::new(futures::stream::iter([Ok(Frame::data(Bytes::from_static(b"123")))])).boxed_unsync();
    for (over, declared, whole) in [
        (false, None, true),
        (false, Some(3), true),
        (false, Some(4), false),
        (false, Some(2), false),
        (true, None, false),
    ] {
        let ended = Ended::default();
        let sent = OutgoingBody::new(body(), ended.clone(), declared, no_quota());
        if over {
            ended.set();
        }
        assert_eq!(sent.collect().await.is_ok(), whole, "{over} {declared:?}");
    }
}

/// GHSA-f8mm-ggr3-89wh: behind an HTTP/2 connection they would pile up. `body::EMPTY_IN_A_ROW_MAX` in a row are looked at.
#[tokio::test]
async fn empty_pieces_are_left_out() {
    let empty = (0..2 * EMPTY_IN_A_ROW_MAX).map(|_| Ok(Frame::data(Bytes::new())));
    let pieces = empty.chain([Ok(Frame::data(Bytes::from_static(b"x")))]);
    let mut body = OutgoingBody::new(
        StreamBody::new(futures::stream::iter(pieces)).boxed_unsync(),
        Ended::default(),
        None,
        no_quota(),
    );
    // So many at once, then others have their turn.
    assert!(futures::poll!(body.frame()).is_pending());
    assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), "x");
    assert!(body.frame().await.is_none());
}

#[tokio::test]
async fn options_bound_each_part() {
    let silent = Server::start((Ipv4Addr::LOCALHOST, 0), "").await;
    let stalls = Server::start((Ipv4Addr::LOCALHOST, 0), "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n1").await;
    let setup = Setup { networks: vec!["127.0.0.1"], ..Setup::default() };
    let component =
        setup.component(&[&format!("*:{}", silent.address.port()), &format!("*:{}", stalls.address.port())], &[]).await;
    let short = Some(Duration::from_millis(100));
    let first = RequestOptions { first_byte_timeout: short, ..RequestOptions::default() };
    let sent = component.begin(&call()).send(request(&silent.url("127.0.0.1")), Some(first)).await;
    assert_eq!(sent.err().map(|error| error.kind()), Some("response-timeout"));
    let between = RequestOptions { between_bytes_timeout: short, ..RequestOptions::default() };
    let mut of_call = component.begin(&call());
    let answered = of_call.send(request(&stalls.url("127.0.0.1")), Some(between)).await.unwrap();
    let broken = answered.into_body().collect().await.err();
    assert!(matches!(broken, Some(wasmtime_wasi_http::Error::ConnectionReadTimeout)), "{broken:?}");
    // A time of zero is over at once (GHSA-w4qr-p94g-mjhv: the engine's own client panicked).
    let zero = Some(Duration::ZERO);
    for (options, kind) in [
        (RequestOptions { connect_timeout: zero, ..RequestOptions::default() }, "connection-timeout"),
        (RequestOptions { first_byte_timeout: zero, ..RequestOptions::default() }, "response-timeout"),
    ] {
        let other = component_of(&component, "zero", &[&format!("*:{}", silent.address.port())]).await;
        let sent = other.begin(&call()).send(request(&silent.url("127.0.0.1")), Some(options)).await;
        assert_eq!(sent.err().map(|error| error.kind()), Some(kind));
    }
    let between = RequestOptions { between_bytes_timeout: zero, ..RequestOptions::default() };
    let answered = component.begin(&call()).send(request(&stalls.url("127.0.0.1")), Some(between)).await.unwrap();
    assert!(answered.into_body().collect().await.is_err());
    // The call's own end bounds all of them.
    let brief = Call::new(Duration::from_millis(100));
    let sent = component.begin(&brief).send(request(&silent.url("127.0.0.1")), None).await;
    assert_eq!(sent.err().map(|error| error.kind()), Some("response-timeout"));
    let answered = component.begin(&brief.narrowed(Duration::ZERO)).send(request(&stalls.url("127.0.0.1")), None).await;
    assert!(answered.is_err());
}

/// Heads that are none yet (1xx) may come without end: they are read and forgotten, until the time is over.
#[tokio::test]
async fn interim_responses_do_not_go_on_for_ever() {
    let answer = "HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n".repeat(10_000);
    let server = Server::start((Ipv4Addr::LOCALHOST, 0), &answer).await;
    let setup = Setup { networks: vec!["127.0.0.1"], ..Setup::default() };
    let component = setup.component(&[&format!("*:{}", server.address.port())], &[]).await;
    let options = RequestOptions { first_byte_timeout: Some(Duration::from_millis(500)), ..RequestOptions::default() };
    let sent = component.begin(&call()).send(request(&server.url("127.0.0.1")), Some(options)).await;
    assert_eq!(sent.err().map(|error| error.kind()), Some("response-timeout"));
}
