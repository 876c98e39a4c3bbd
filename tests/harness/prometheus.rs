//! A real Prometheus on a port of its own, and promtool.

use std::{
    fs,
    net::{SocketAddr, TcpListener},
    path::Path,
    process::Command,
};

use serde_json::Value;

use super::{PATIENCE, client::Client, nats::tool, process::Process};

pub struct Prometheus {
    address: SocketAddr,
    process: Process,
    /// Removed after the process has ended.
    _folder: tempfile::TempDir,
}

/// `cargo xtask setup` unpacks the programs there.
fn program(variable: &str, name: &str) -> Command {
    let own = Path::new(env!("CARGO_MANIFEST_DIR")).join(".tools/prometheus/usr/bin").join(name);
    let given = std::env::var_os(variable).is_some() || !own.is_file();
    Command::new(if given { tool(variable, name) } else { own })
}

/// promtool, with what it is to do.
pub fn promtool(arguments: &[&str]) -> Command {
    let mut command = program("ROADSTEAD_TEST_PROMTOOL", "promtool");
    command.args(arguments);
    command
}

impl Prometheus {
    /// Starts one that scrapes `target` several times a second, with these rules.
    pub fn start(target: SocketAddr, rules: &Path) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let configuration = format!(
            "global: {{scrape_interval: 250ms, evaluation_interval: 1s}}\nrule_files: ['{}']\nscrape_configs:\n  \
             - {{job_name: roadstead, static_configs: [{{targets: ['{target}']}}]}}\n",
            rules.display()
        );
        let file = folder.path().join("prometheus.yml");
        fs::write(&file, configuration).unwrap();
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let mut command = program("ROADSTEAD_TEST_PROMETHEUS", "prometheus");
        command.arg(format!("--config.file={}", file.display()));
        command.arg(format!("--storage.tsdb.path={}", folder.path().join("data").display()));
        command.arg(format!("--web.listen-address={address}"));
        let mut process = Process::start(command);
        process.wait_for_line_within(PATIENCE * 2, "Prometheus's readiness", |line| {
            line.contains("Server is ready to receive web requests").then_some(())
        });
        Self { address, process, _folder: folder }
    }

    /// What an API of it says; its text is in the failure where it says no.
    pub async fn api(&self, path: &str) -> Value {
        let text = Client::new(self.address, "localhost").get(path).send().await.text();
        let answer: Value = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error} in {text}"));
        assert_eq!(answer["status"], "success", "{text}\n{}", self.process.output());
        answer["data"].clone()
    }

    /// The number that a query gives; `None` where it gives nothing.
    pub async fn query(&self, query: &str) -> Option<f64> {
        let escaped: String = query.bytes().map(|byte| format!("%{byte:02x}")).collect();
        let data = self.api(&format!("/api/v1/query?query={escaped}")).await;
        data["result"][0]["value"][1].as_str()?.parse().ok()
    }
}
