//! A host inside a program, with a capability of the program's own: `HostBuilder` and `HostApi` without any scheduler.
//!
//! Run it with the manifest beside this file: `cargo run --example custom-plugin`.

mod ledger;

use std::{fs, sync::Arc, time::Duration};

use roadstead::{
    config::{Limits, SourceFile, load},
    host::{
        HostApi, HostBuilder, WorkloadRequest, WorkloadState,
        http::{DynamicRouter, HttpServer},
    },
    plugin::wasi_logging::TracingLogger,
};

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    tracing_subscriber::fmt::init();
    let mut arguments = std::env::args().skip(1);
    let manifest = arguments.next().unwrap_or_else(|| "examples/custom-plugin/app.yaml".into());
    let address = arguments.next().unwrap_or_else(|| "127.0.0.1:8080".into());

    // The plugin stands beside those that come with the host.
    let http = HttpServer::new(DynamicRouter::default(), address.parse()?).await?;
    let host = HostBuilder::new()
        .with_host_name("custom-plugin")
        .with_plugin(Arc::new(TracingLogger::default()))?
        .with_plugin(Arc::new(ledger::Ledger::new()?))?
        .with_http_handler(Arc::new(http))
        .start()
        .await?;

    let file = SourceFile { name: manifest.as_str().into(), bytes: fs::read(&manifest)? };
    let set = load(&[file], &Limits::default()).map_err(|problems| {
        let lines: Vec<String> = problems.iter().map(ToString::to_string).collect();
        anyhow::anyhow!("{}", lines.join("\n"))
    })?;
    let mut ids = Vec::new();
    for request in set.documents.iter().filter_map(WorkloadRequest::from_document) {
        ids.push(request.id.clone());
        let status = host.workload_start(request).await;
        if status.state != WorkloadState::Running {
            anyhow::bail!("{}: {}", status.name, status.reason.unwrap_or_default());
        }
    }
    let heartbeat = host.heartbeat().await;
    println!("{} workloads on {}", heartbeat.workloads.len(), http_address(&host)?);

    tokio::signal::ctrl_c().await?;
    for id in &ids {
        host.workload_stop(id).await;
    }
    let cut_off = host.stop(Duration::from_secs(10)).await;
    println!("stopped, {cut_off} requests were cut off");
    Ok(())
}

fn http_address(host: &roadstead::host::Host) -> anyhow::Result<std::net::SocketAddr> {
    host.http_address().ok_or_else(|| anyhow::anyhow!("the host answers no HTTP"))
}
