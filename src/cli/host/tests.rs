//! The flags of `roadstead host`: the published names are there, with their defaults, and what they lead to.

use clap::{CommandFactory, Parser};

use super::*;

#[derive(Parser)]
struct Line {
    #[command(flatten)]
    host: HostArguments,
}

fn parse(line: &str) -> Result<HostArguments, String> {
    let line = Line::try_parse_from(std::iter::once("roadstead").chain(line.split_whitespace()));
    line.map(|line| line.host).map_err(|error| error.to_string())
}

#[test]
fn the_published_flags_are_there_with_their_defaults() {
    let command = Line::command();
    let argument = |flag: &str| {
        let found = command.get_arguments().find(|argument| {
            argument.get_long() == Some(flag) || argument.get_visible_aliases().unwrap_or_default().contains(&flag)
        });
        found.unwrap_or_else(|| panic!("--{flag} is not there"))
    };
    let default =
        |flag: &str| argument(flag).get_default_values().first().map(|text| text.to_str().unwrap().to_owned());
    for (flag, published) in [
        ("host-group", Some("default")),
        ("host-name", None),
        ("scheduler-nats-url", Some("nats://localhost:4222")),
        ("data-nats-url", Some("nats://localhost:4222")),
        ("http-addr", None),
        ("postgres-url", None),
        ("environment", None),
        ("max-connections", None),
        ("tls-cert-path", None),
        ("tls-key-path", None),
        ("tls-ca-path", None),
        ("request-timeout", Some("300s")),
        ("registry-pull-timeout", Some("30s")),
        ("oci-cache-dir", None),
        ("oci-ca-path", None),
    ] {
        assert_eq!(default(flag).as_deref(), published, "--{flag}");
    }
    for connection in ["scheduler", "data"] {
        for flag in ["tls-ca", "nats-tls-ca", "nats-tls-cert", "nats-tls-key", "nats-creds"] {
            assert_eq!(default(&format!("{connection}-{flag}")), None);
        }
        argument(&format!("{connection}-nats-tls-first"));
    }
    for switch in ["allow-host-loopback", "allow-insecure-registries"] {
        assert!(!argument(switch).get_action().takes_values(), "--{switch}");
    }
    let without_variable = ["help", "limit", "no-component-cache", "proxy-protocol", "log-level", "log-format"];
    for argument in command.get_arguments() {
        let flag = argument.get_long().unwrap();
        assert!(without_variable.contains(&flag) || argument.get_env().is_some(), "--{flag} has no variable");
        assert!(argument.get_help().is_some(), "--{flag} says nothing");
    }
}

#[test]
fn connections_have_their_own_files() {
    let host = parse(
        "--scheduler-nats-url tls://a:1 --scheduler-tls-ca a.pem --scheduler-nats-tls-cert c.pem \
         --scheduler-nats-tls-key k.pem --scheduler-nats-tls-first --data-nats-url nats://b:2 --data-tls-ca b.pem \
         --data-nats-creds b.creds",
    )
    .unwrap();
    let (scheduler, data) = (host.scheduler.server(), host.data.server());
    assert_eq!((scheduler.url.as_str(), data.url.as_str()), ("tls://a:1", "nats://b:2"));
    assert_eq!((scheduler.ca_file, data.ca_file), (Some("a.pem".into()), Some("b.pem".into())));
    assert_eq!(scheduler.certificate, Some(("c.pem".into(), "k.pem".into())));
    assert!(scheduler.is_tls_first && !data.is_tls_first && data.certificate.is_none());
    assert_eq!((scheduler.credentials_file, data.credentials_file), (None, Some("b.creds".into())));
    for half in ["--scheduler-nats-tls-cert c.pem", "--data-nats-tls-key k.pem"] {
        assert!(parse(half).is_err(), "{half}");
    }
    assert!(parse("--data-nats-creds a --nats-creds-dir b").is_err());
}

#[test]
fn limits_come_from_their_flags() {
    let limits = parse("--request-timeout 5s --drain-timeout 1m --max-connections 7").unwrap().limits();
    assert_eq!((limits.request_timeout_ms, limits.drain_timeout_ms, limits.connections_max), (5_000, 60_000, 7));
    assert_eq!(parse("").unwrap().limits(), Limits::default());
    assert_eq!(parse("--max-connections 7 --limit connections_max=8").unwrap().limits().connections_max, 8);
}

#[test]
fn certificates_without_an_address_of_their_own_are_for_the_http_address() {
    let files = |line: &str| parse(line).unwrap().tls_files().map(|files| files.is_some()).ok();
    let pair = "--tls-cert-path a.crt --tls-key-path a.key";
    assert_eq!(files("--http-addr 127.0.0.1:80"), Some(false));
    assert_eq!(files(&format!("--http-addr 127.0.0.1:80 {pair}")), Some(true));
    assert_eq!(files(&format!("--https-addr 127.0.0.1:443 {pair}")), Some(true));
    assert_eq!(files("--https-addr 127.0.0.1:443"), Some(true));
    assert_eq!(files(pair), None);
}
