//! The container image: what is in it, and how a host lives in it. Each line of the Dockerfile is built as it stands.
//!
//! What is not shown: that the compiler's stage builds the program, since a stand-in for cargo brings the one under test
//! (`cargo xtask image` compiles it there); that the packages which it installs are to be had, since a stand-in for apt-get
//! installs none; that the public base of that stage has what Debian's own has; and what isolation a container engine adds.

use std::{
    collections::BTreeSet,
    fs,
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
};

use rustix::process::Signal;
use serde_json::json;

use crate::harness::{
    PATIENCE,
    askers::{
        Askers,
        Manner::{H2, Kept, Short},
        Target,
    },
    client::Client,
    eventually, guests,
    host::write_application,
    image::{Buildah, Image, ImageHost, OWN_PORTS, ended},
    manifest::trigger,
    programs::{printed, program},
};

/// Answers before and after the host is told to stop.
const REQUESTS: u64 = 2_000;
/// What the image may weigh without the program, in bytes.
const BASE_BYTES_MAX: u64 = 10_000_000;
/// All files but libraries, which are those of Debian's packages, and those that come with each of them.
const FILES: [&str; 8] = [
    "etc/group",
    "etc/nsswitch.conf",
    "etc/os-release",
    "etc/passwd",
    "etc/ssl/certs/ca-certificates.crt",
    "lib64/ld-linux-x86-64.so.2",
    "usr/lib/os-release",
    "usr/local/bin/roadstead",
];
const SCENE: &str =
    r#"{"region":"singapore","sar_width":512,"sar_height":512,"seed":42,"density":0.5,"force_cpu":true}"#;

/// Arguments of the build.
const LABELS: [&str; 2] = ["VERSION=9.9.9", "REVISION=abc"];

fn image() -> Image {
    Buildah::shared().image(None, &LABELS)
}

/// All that is below a folder, links not followed.
fn below(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_path_buf()];
    while let Some(next) = folders.pop() {
        for entry in fs::read_dir(next).unwrap().flatten() {
            if entry.file_type().unwrap().is_dir() {
                folders.push(entry.path());
            }
            found.push(entry.path());
        }
    }
    found
}

/// The folder for `/app`: manifests of the example, and one that answers `GET /hello`.
fn application(example: &str) -> tempfile::TempDir {
    let (folder, from) =
        (tempfile::tempdir().unwrap(), Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/harbor-watch"));
    write_application(folder.path(), &trigger("gateway", "probe.test", "probe-gateway").yaml());
    let manifest = fs::read_to_string(from.join(example)).unwrap();
    fs::write(folder.path().join("example.yaml"), &manifest).unwrap();
    fs::create_dir(folder.path().join("components")).unwrap();
    for component in manifest.lines().filter_map(|line| line.trim().strip_prefix("image: file:")) {
        let component = component.split_whitespace().next().unwrap();
        let name = component.strip_prefix("components/").unwrap().strip_suffix(".wasm").unwrap();
        fs::copy(guests::path(name), folder.path().join(component)).unwrap();
    }
    for path in below(folder.path()) {
        let mode = if path.is_dir() { 0o755 } else { 0o644 };
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    folder
}

async fn ask_example(host: &ImageHost, scene: &str) -> String {
    let address = host.http.to_string();
    let (host, url) = ("Host: harborwatch.localhost", format!("http://{address}/api/detect"));
    let mut arguments = vec!["--silent", "--show-error", "--fail-with-body", "--max-time", "60", "--header", host];
    arguments.extend(["--header", "Content-Type: application/json", "--data", scene, &url]);
    printed(program("curl", &arguments), 2 * PATIENCE).await
}

#[test]
fn an_image_has_what_a_host_needs_and_no_more() {
    let image = image();
    let config = image.config();
    assert_eq!(config["User"], "65532:65532");
    assert_eq!((&config["Entrypoint"], &config["Cmd"]), (&json!(["roadstead"]), &json!(["run", "/app"])));
    assert_eq!(config["Healthcheck"]["Test"], json!(["CMD", "roadstead", "health"]));
    assert_eq!((&config["StopSignal"], &config["WorkingDir"]), (&json!("SIGTERM"), &json!("/app")));
    assert_eq!(config["ExposedPorts"], json!({"8080/tcp": {}, "9090/tcp": {}}));
    let label = |name: &str| config["Labels"][format!("org.opencontainers.image.{name}")].clone();
    assert_eq!((label("version"), label("revision")), (json!("9.9.9"), json!("abc")));
    assert_eq!((label("title"), label("licenses")), (json!("Roadstead"), json!("Apache-2.0")));

    let container = image.container();
    let all = below(&container.root);
    let mut files = BTreeSet::new();
    let mut bytes = 0;
    for path in &all {
        let (data, name) =
            (path.symlink_metadata().unwrap(), path.strip_prefix(&container.root).unwrap().to_str().unwrap());
        assert_eq!((data.uid(), data.gid()), (0, 0), "{name} is not root's");
        let others = if data.is_symlink() { 0 } else { data.mode() & 0o7022 };
        assert_eq!(others, 0, "{name} can be written to, or runs as somebody else: {:o}", data.mode());
        bytes += if data.is_file() { data.len() } else { 0 };
        let with_each = name.starts_with("var/lib/dpkg/status.d/") || name.ends_with("/copyright");
        let is_library = name.starts_with("lib/") && name.contains(".so");
        if !data.is_dir() && !with_each && !is_library {
            files.insert(name);
        }
    }
    assert_eq!(files, BTreeSet::from(FILES), "a shell, say, is not to be there");
    let program = container.root.join("usr/local/bin/roadstead").metadata().unwrap();
    println!("{bytes} bytes of files, {} of which are the program", program.len());
    assert!(bytes - program.len() < BASE_BYTES_MAX, "{} bytes beside the program", bytes - program.len());
}

#[test]
fn the_same_content_makes_the_same_layers() {
    let (first, second) = (image(), Buildah::shared().image_again(None, &LABELS));
    let layers = |image: &Image| image.inspect("{{.OCIv1.RootFS.DiffIDs}}");
    assert_eq!(layers(&first), layers(&second));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_from_the_image_answers_the_example_and_loses_no_request_at_its_end() {
    let (image, app) = tokio::task::block_in_place(|| (image(), application("app.yaml")));
    let container = image.container();
    let command = container.by_buildah(app.path(), &OWN_PORTS, &[]);
    let mut host = tokio::task::block_in_place(|| ImageHost::start(command));
    assert_eq!(
        (host.kernel_says("Uid"), host.kernel_says("CapEff")),
        ("65532 65532 65532 65532".into(), "0".repeat(16))
    );
    let answer = ask_example(&host, SCENE).await;
    assert!(answer.contains("\"FeatureCollection\""), "{answer}");

    let admin = host.admin.to_string();
    let health = || {
        let environment = [("ROADSTEAD_ADMIN_ADDR", admin.as_str())];
        tokio::task::block_in_place(|| ended(container.by_buildah(app.path(), &environment, &["health", "--ready"])))
    };
    let (status, told) = health();
    assert!(status.success(), "{told}");

    let target = Target { address: host.http, host: "probe.test", roots: None };
    let askers = Askers::start(&target, &[Short, Kept, Short, Kept, H2]);
    askers.answers(REQUESTS).await;
    // With them one that takes its time, which a drain has to wait for.
    let slow = tokio::spawn(Client::new(host.http, "probe.test").get("/sleep?ms=1500").send());
    askers.answers(REQUESTS / 10).await;
    askers.may_be_refused();
    host.signal(Signal::TERM);
    let status = tokio::task::block_in_place(|| host.wait());
    assert_eq!(status.code(), Some(0), "{}", host.log());
    assert_eq!(slow.await.unwrap().text(), "slept 1500 ms\n");
    let told = askers.end().await;
    println!("{told:?}");
    assert!(told.answered > REQUESTS && told.crossed == 0, "{told:?}");
    assert!(host.log().contains("\"cut_off\":0"), "{}", host.log());
    let (status, told) = health();
    assert!(status.code() == Some(1) && told.contains("no host answers"), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_is_process_1_on_a_root_that_cannot_be_written_to() {
    let (image, app) = tokio::task::block_in_place(|| (image(), application("app.yaml")));
    let container = image.container();
    let command = container.as_engine(app.path(), &OWN_PORTS, &[]);
    let mut host = tokio::task::block_in_place(|| ImageHost::start(command));
    assert!(host.kernel_says("NSpid").ends_with(" 1"), "{}", host.kernel_says("NSpid"));
    assert_eq!(
        (host.kernel_says("Uid"), host.kernel_says("CapEff")),
        ("65532 65532 65532 65532".into(), "0".repeat(16))
    );
    assert_eq!(host.kernel_says("NoNewPrivs"), "1");
    let mounts = fs::read_to_string(format!("/proc/{}/mountinfo", host.id())).unwrap();
    let options = |path: &str| {
        let line = mounts.lines().rfind(|line| line.split(' ').nth(4) == Some(path)).unwrap();
        line.split(' ').nth(5).unwrap().to_owned()
    };
    assert!(options("/").starts_with("ro") && options("/app").starts_with("ro"), "{mounts}");
    let answer = ask_example(&host, SCENE).await;
    assert!(answer.contains("\"FeatureCollection\""), "{answer}");
    // It has compiled in processes of its own, each of which has ended.
    host.no_zombie_stays().await;

    // A process whose parent ends before it becomes the host's child, as process 1.
    let id = host.id().to_string();
    let script = "/bin/sleep 0.5 & echo started";
    let enter = program("nsenter", &["--target", &id, "--pid", "sh", "-c", script]);
    assert_eq!(printed(enter, PATIENCE).await, "started\n");
    eventually("an orphan that has ended", async || host.children().iter().any(|(_, _, zombie)| *zombie).then_some(()))
        .await;
    host.no_zombie_stays().await;

    host.signal(Signal::TERM);
    let status = tokio::task::block_in_place(|| host.wait());
    assert_eq!(status.code(), Some(0), "{}", host.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_gpu_target_finds_a_driver_and_outlives_its_gpu_process() {
    let packages = "GPU_PACKAGES=libvulkan1 libx11-6 libxext6 mesa-vulkan-drivers";
    let (image, app) = tokio::task::block_in_place(|| {
        (Buildah::shared().image(Some("gpu"), &[packages]), application("app-gpu.yaml"))
    });
    let container = image.container();
    let all = below(&container.root);
    let bytes: u64 = all
        .iter()
        .filter_map(|path| path.symlink_metadata().ok())
        .filter(|data| data.is_file())
        .map(|data| data.len())
        .sum();
    println!("{bytes} bytes of files with Mesa's drivers");
    let programs = all.into_iter().filter(|path| {
        let data = path.symlink_metadata().unwrap();
        data.is_file() && data.mode() & 0o111 != 0 && !path.to_str().unwrap().contains(".so")
    });
    assert_eq!(programs.collect::<Vec<_>>(), [container.root.join("usr/local/bin/roadstead")]);
    let list = container.as_engine(app.path(), &[], &["gpu"]);
    let (status, adapters) = tokio::task::block_in_place(|| ended(list));
    assert!(status.success() && adapters.contains("llvmpipe"), "{adapters}");

    let environment = [OWN_PORTS.as_slice(), &[("ROADSTEAD_GPU_ALLOW_SOFTWARE", "true")]].concat();
    let command = container.as_engine(app.path(), &environment, &[]);
    let mut host = tokio::task::block_in_place(|| ImageHost::start(command));
    let gpu = |host: &ImageHost| {
        let children = host.children().into_iter();
        children.filter(|(_, command, zombie)| command == "gpu-child" && !zombie).map(|(id, ..)| id).next()
    };
    let scene = SCENE.replace("512", "256").replace("true", "false");
    let answer = ask_example(&host, &scene).await;
    assert!(answer.contains("\"compute_backend\":\"WebGPU\""), "{answer}");
    let first = gpu(&host).expect("a GPU process");
    rustix::process::kill_process(rustix::process::Pid::from_raw(first as i32).unwrap(), Signal::KILL).unwrap();
    eventually("another GPU process", async || gpu(&host).filter(|id| *id != first)).await;
    host.no_zombie_stays().await;
    host.signal(Signal::TERM);
    let status = tokio::task::block_in_place(|| host.wait());
    assert_eq!(status.code(), Some(0), "{}", host.log());
}
