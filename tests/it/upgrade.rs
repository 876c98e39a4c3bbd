//! One host takes over from another under load: on sockets that a service manager passes to both, and on an address
//! that both share. No request is lost.

use std::{
    net::{SocketAddr, TcpListener},
    process::Command,
    sync::Arc,
};

use rustix::process::Signal;

use crate::harness::{
    askers::{
        Askers,
        Manner::{self, H2, Kept, Short},
        Target, roots,
    },
    certificates::Authority,
    host::{Host, Options, roadstead, write_application},
    manifest::trigger,
    process::Process,
};

/// Answers before, during and after the take-over together.
const REQUESTS: u64 = 10_000;
/// The clients.
const MANNERS: [Manner; 6] = [Short, Kept, Short, Kept, Short, H2];

fn options() -> Options {
    Options::default().flag("--log-level", "info,roadstead::access=warn")
}

fn start(options: Options) -> Host {
    Host::start_with(&trigger("gateway", "probe.test", "probe-gateway").yaml(), options)
}

/// Lets clients ask the first host, then starts the second, stops the first, and tells how the clients fared.
async fn take_over(target: &Target, mut first: Host, second: impl FnOnce() -> Host) {
    let askers = Askers::start(target, &MANNERS);
    askers.answers(REQUESTS / 2).await;
    // The clients go on while it starts.
    let second = tokio::task::block_in_place(second);
    askers.answers(REQUESTS / 10).await;
    first.signal(Signal::TERM);
    askers.answers(REQUESTS / 2).await;
    assert!(tokio::task::block_in_place(|| first.wait()).success());
    assert!(first.log().contains("\"cut_off\":0"), "{}", first.log());
    let told = askers.end().await;
    println!("{told:?}");
    assert!(second.metric("roadstead_http_requests_total", &["\"200\""]).await >= REQUESTS as f64 / 2.0);
    // That no answer is missing is what the clients look at. One that closes as soon as it has its answer can be seen to
    // leave before the end of the workload's body, which the host still waits for: the last request of each, at most.
    let text = second.admin("/metrics").await.text();
    let errors = text.lines().filter(|line| line.starts_with("roadstead_http_errors_total{") && !line.ends_with(" 0"));
    let errors: Vec<_> = errors.filter(|line| !line.contains("\"client-gone\"")).collect();
    assert!(errors.is_empty(), "{errors:?}");
    assert!(second.metric("roadstead_http_errors_total", &["\"client-gone\""]).await <= MANNERS.len() as f64);
    assert!(told.answered >= REQUESTS && told.connections >= REQUESTS / 10 && told.crossed == 0, "{told:?}");
}

fn listener() -> (Arc<TcpListener>, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    (Arc::new(listener), address)
}

#[tokio::test(flavor = "multi_thread")]
async fn no_request_is_lost_when_a_host_takes_over_passed_sockets() {
    let (socket, address) = listener();
    let options = options().passed("http", &socket);
    let target = Target { address, host: "probe.test", roots: None };
    let first = start(options.clone());
    assert_eq!(first.http_address(), address);
    take_over(&target, first, || start(options)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_request_over_tls_is_lost_when_a_host_takes_over_passed_sockets() {
    let (http, _) = listener();
    let (https, address) = listener();
    let (folder, authority) = (tempfile::tempdir().unwrap(), Authority::new("authority"));
    authority.issue(&["probe.test"], "server").write(folder.path(), "probe.test");
    let options = options().passed("https", &https).passed("http", &http);
    let options = options.flag("--tls-dir", folder.path().to_str().unwrap());
    let target = Target { address, host: "probe.test", roots: Some(roots(&authority)) };
    let first = start(options.clone());
    assert_eq!(first.https_address(), address);
    take_over(&target, first, || start(options)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_request_is_lost_when_a_host_takes_over_a_shared_address() {
    let first = start(options().switch("--reuse-port"));
    let address = first.http_address();
    let options = options().switch("--reuse-port").flag("--http-addr", &address.to_string());
    let target = Target { address, host: "probe.test", roots: None };
    take_over(&target, first, || start(options)).await;
}

#[tokio::test]
async fn who_waits_while_no_host_runs_is_answered_by_the_next() {
    let (socket, address) = listener();
    let options = options().passed("http", &socket);
    let mut first = start(options.clone());
    first.signal(Signal::TERM);
    assert!(first.wait().success());
    let waiting = tokio::spawn(crate::harness::client::Client::new(address, "probe.test").get("/hello").send());
    let _second = tokio::task::spawn_blocking(|| start(options)).await.unwrap();
    assert_eq!(waiting.await.unwrap().text(), "hello from roadstead\n");
}

#[tokio::test]
async fn the_admin_socket_can_be_passed() {
    let (socket, address) = listener();
    let host = start(options().passed("admin", &socket));
    let ready = crate::harness::client::Client::new(address, "localhost").get("/readyz").send().await;
    assert_eq!(ready.text(), "ready\n");
    // Closed in whatever the host starts (O_CLOEXEC): its compiler is to have no socket.
    let flags = std::fs::read_to_string(format!("/proc/{}/fdinfo/3", host.id())).unwrap();
    let flags = flags.lines().find_map(|line| line.strip_prefix("flags:")).unwrap().trim();
    assert_eq!(u32::from_str_radix(flags, 8).unwrap() & 0o2_000_000, 0o2_000_000, "{flags}");
}

/// Runs to its end with a shell's own sockets, or what else it has at 3.
fn refused(at_3: &str, names: &str) -> String {
    let folder = tempfile::tempdir().unwrap();
    write_application(folder.path(), &trigger("gateway", "probe.test", "probe-gateway").yaml());
    let mut shell = Command::new("sh");
    let script = format!("exec {at_3}; export LISTEN_PID=$$ LISTEN_FDS=1 LISTEN_FDNAMES={names}; exec \"$0\" \"$@\"");
    shell.arg("-c").arg(script).arg(roadstead().get_program()).arg("run").arg(folder.path().join("app.yaml"));
    let mut process = Process::start(shell);
    assert_eq!(process.wait().code(), Some(2), "{}", process.output());
    process.output()
}

#[test]
fn sockets_that_do_not_fit_are_refused() {
    for (at_3, names, wanted) in [
        ("3</dev/null", "http", "the passed socket http cannot be used: it must be a listening TCP socket"),
        ("3<&-", "http", "the passed socket http cannot be used"),
        ("3</dev/null", "web", "the names are http, https and admin"),
        ("3</dev/null", "http:https", "1 sockets were passed with 2 names"),
    ] {
        let told = refused(at_3, names);
        assert!(told.contains(wanted), "{told}");
    }
}
